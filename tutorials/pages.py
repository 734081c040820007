"""What the site's pages have that their sources say in short: notes, and lists of modules.

> **For teachers**           in a notebook, where Jupyter and code hosts show it as a quotation:
>                            on the site a note with that title
> Let the class vote ...

```{modules}                 in a page: a heading and the docstrings for each module, and for a package
tinydiv.mlp                  the names that it gives: one module,
tinydiv.data.*               a package with every module in it that no page names otherwise,
techniques: weights          or the modules of all registered techniques of a family
```

```{techniques}              in a page: a table of all registered techniques
```

`tinydiv/mlp.py`             in a tutorial: a link to the page with that file's source

A tutorial begins with links to its notebook, and to Colab where Colab can fetch it.
"""

import importlib
import inspect
import json
import pkgutil
import re
from pathlib import Path

import tinydiv
from tinydiv.settings import sentence_and_paper
from tinydiv.techniques import TECHNIQUES

NOTE = re.compile(r"^> \*\*(?P<title>[^*\n]+)\*\*\n(?P<body>(?:>.*(?:\n|\Z))+)", re.MULTILINE)
MODULES = re.compile(r"^```\{modules\}\n(?P<names>.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"(?<![`\[])`(tinydiv/[\w/]+\.py)`(?!\])")
TABLE = re.compile(r"^```\{techniques\}\n```$", re.MULTILINE)


def with_notes(text: str) -> str:
    """Quotations that begin with a title in bold become notes."""

    def note(found: re.Match[str]) -> str:
        body = re.sub(r"^> ?", "", found["body"], flags=re.MULTILINE).strip("\n")
        return f"```{{admonition}} {found['title']}\n:class: note\n\n{body}\n```\n"

    return NOTE.sub(note, text)


def modules_in(page: Path) -> list[str]:
    """The modules that a page documents, each on the first page and line that can be meant."""
    return [name for where, name in placed(page.parent) if where == page]


def placed(folder: Path) -> list[tuple[Path, str]]:
    """(page, module) for every line of every page: single modules and families first, then packages."""
    lines = [
        (page, line)
        for page in sorted(folder.glob("*.md"))
        for found in MODULES.finditer(page.read_text(encoding="utf-8"))
        for line in found["names"].splitlines()
    ]
    named = {line for _, line in lines} | {cls.__module__ for cls in TECHNIQUES.values()}
    found: list[tuple[Path, str]] = []
    for page, line in lines:
        names = [name for name in meant(line) if not (line.endswith(".*") and name in named)]
        found += [(page, name) for name in names if name not in {module for _, module in found}]
    return found


def meant(line: str) -> list[str]:
    """The modules that one line of a list stands for."""
    if line.startswith("techniques: "):
        family = line.removeprefix("techniques: ")
        return list(dict.fromkeys(c.__module__ for c in TECHNIQUES.values() if c.family == family))
    if not line.endswith(".*"):
        return [line]
    package = line.removesuffix(".*")
    return [name for name in public_modules() if name == package or name.startswith(package + ".")]


def public_modules() -> list[str]:
    """Every module of the package whose name does not begin with an underscore."""
    walked = pkgutil.walk_packages(tinydiv.__path__, "tinydiv.")
    found = [module.name for module in walked if "._" not in module.name]  # no __main__ either
    return ["tinydiv", *found]


def documented(name: str) -> str:
    """The part of a page that documents one module: what it defines, and what else it gives."""
    module = importlib.import_module(name)
    given = [one for one in getattr(module, "__all__", []) if defined_elsewhere(module, one)]
    said = [f"Gives besides: {', '.join(f'`{one}`' for one in given)}.", ""] if given else []
    directive = [f".. automodule:: {name}", "   :members:", "   :ignore-module-all:"]
    if name in {cls.__module__ for cls in TECHNIQUES.values()}:
        directive.append("   :exclude-members: fewest_samples")  # the page of penalties has it once
    return "\n".join([f"## `{name}`", "", "```{eval-rst}", *directive, "```", "", *said])


def defined_elsewhere(module: object, name: str) -> bool:
    """Whether a package only passes a name on, whose documentation stands with its own module."""
    thing = getattr(module, name)
    named = inspect.isclass(thing) or inspect.isfunction(thing)
    return not named or thing.__module__ != module.__name__


def technique_table() -> str:
    """Every registered technique: the name that train takes, what it does, and where it stands."""
    rows = ["| name | what it does | class |", "|---|---|---|"]
    for name, cls in TECHNIQUES.items():
        place = f"{cls.__module__}.{cls.__name__}"
        words = sentence_and_paper(cls)[0].replace("|", "\\|")  # a bar would begin the next cell
        rows.append(f"| `{name}` | {words} | {{py:class}}`~{place}` |")
    return "\n".join(rows)


def expanded(page: Path) -> str:
    """A page with its lists of modules and its table written out."""
    mine = set(modules_in(page))

    def all_of(found: re.Match[str]) -> str:
        names = [name for line in found["names"].splitlines() for name in meant(line)]
        here = [name for name in dict.fromkeys(names) if name in mine]
        mine.difference_update(here)
        return "\n".join(documented(name) for name in here)

    text = MODULES.sub(all_of, page.read_text(encoding="utf-8"))
    return TABLE.sub(lambda _: technique_table(), text)


def with_sources(text: str) -> str:
    """Names of the package's files, in a tutorial, lead to the page with their source."""

    def link(found: re.Match[str]) -> str:
        place = found[1].removesuffix(".py").removesuffix("/__init__")
        if place.replace("/", ".") not in public_modules():
            return found[0]
        return f'<a href="../_modules/{place}.html"><code class="docutils">{found[1]}</code></a>'

    return FILE.sub(link, text)


def ways_to_run(stem: str, hosted: str) -> str:
    """The line below a tutorial's title: its notebook, and where it runs without an installation."""
    there = f" · [open in Colab]({hosted})" if hosted else ""
    return f"{{download}}`Download the notebook <../downloads/{stem}.ipynb>`{there}"


def sharp(cell: dict[str, object]) -> None:
    """A picture is shown at the size that its output states: a dense screen has more pixels for it."""
    for output in cell.get("outputs", []):
        size = output.get("metadata", {}).get("image/png")
        if size:
            about = cell["metadata"].setdefault("mystnb", {}).setdefault("image", {})
            about["width"] = f"{size['width']}px"


def prepare(source: Path, hosted: dict[str, str]) -> None:
    """Write out, in a copy of the site's sources, all that stands in short there.

    hosted: by the name of a tutorial, the address at which a hosted notebook opens it; empty for none.
    """
    pages = {page: expanded(page) for page in source.rglob("*.md")}
    for page, text in pages.items():
        page.write_text(text, encoding="utf-8")
    for path in (source / "tutorials").glob("*.ipynb"):
        book = json.loads(path.read_text(encoding="utf-8"))
        first = next(c for c in book["cells"] if "".join(c["source"]).startswith("# "))
        title, line_end, rest = "".join(first["source"]).partition("\n")
        first["source"] = [
            title + f"\n\n{ways_to_run(path.stem, hosted[path.stem])}\n" + line_end + rest
        ]
        for cell in book["cells"]:
            if cell["cell_type"] == "markdown":
                text = with_sources(with_notes("".join(cell["source"])))
                cell["source"] = text.splitlines(keepends=True)
            sharp(cell)
        path.write_text(json.dumps(book), encoding="utf-8")
