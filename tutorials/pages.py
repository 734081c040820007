"""What the site's pages have that their sources say in short: notes, and lists of modules.

> **For teachers**           in a notebook, where Jupyter and code hosts show it as a quotation:
>                            on the site a note with that title
> Let the class vote ...

```{modules}                 in a page: a heading and the docstrings for each of them, and for a
tinydiv.mlp                  package the names that it gives
```

```{techniques}              in a page: a table of all registered techniques
```
"""

import importlib
import inspect
import json
import pkgutil
import re
from pathlib import Path

import tinydiv
from tinydiv.techniques import TECHNIQUES

NOTE = re.compile(r"^> \*\*(?P<title>[^*\n]+)\*\*\n(?P<body>(?:>.*(?:\n|\Z))+)", re.MULTILINE)
MODULES = re.compile(r"^```\{modules\}\n(?P<names>.*?)^```$", re.MULTILINE | re.DOTALL)
TABLE = re.compile(r"^```\{techniques\}\n```$", re.MULTILINE)


def with_notes(text: str) -> str:
    """Quotations that begin with a title in bold become notes."""

    def note(found: re.Match[str]) -> str:
        body = re.sub(r"^> ?", "", found["body"], flags=re.MULTILINE).strip("\n")
        return f"```{{admonition}} {found['title']}\n:class: note\n\n{body}\n```\n"

    return NOTE.sub(note, text)


def modules_in(text: str) -> list[str]:
    """The modules that a page lists."""
    return [name for found in MODULES.finditer(text) for name in found["names"].split()]


def public_modules() -> list[str]:
    """Every module of the package whose name does not begin with an underscore."""
    walked = pkgutil.walk_packages(tinydiv.__path__, "tinydiv.")
    found = [module.name for module in walked if "._" not in module.name]
    return ["tinydiv", *found]


def documented(name: str) -> str:
    """The part of a page that documents one module: what it defines, and what else it gives."""
    module = importlib.import_module(name)
    given = [one for one in getattr(module, "__all__", []) if defined_elsewhere(module, one)]
    said = [f"Gives besides: {', '.join(f'`{one}`' for one in given)}.", ""] if given else []
    directive = [f".. automodule:: {name}", "   :members:", "   :ignore-module-all:"]
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
        rows.append(f"| `{name}` | {cls.summary} | {{py:class}}`~{place}` |")
    return "\n".join(rows)


def expanded(text: str) -> str:
    """A page with its lists of modules and its table written out."""

    def all_of(found: re.Match[str]) -> str:
        return "\n".join(documented(name) for name in found["names"].split())

    return TABLE.sub(lambda _: technique_table(), MODULES.sub(all_of, text))


def prepare(source: Path) -> None:
    """Write out, in a copy of the site's sources, all that stands in short there."""
    for page in source.rglob("*.md"):
        page.write_text(expanded(page.read_text(encoding="utf-8")), encoding="utf-8")
    for path in source.rglob("*.ipynb"):
        book = json.loads(path.read_text(encoding="utf-8"))
        for cell in book["cells"]:
            if cell["cell_type"] == "markdown":
                text = "".join(cell["source"])
                cell["source"] = with_notes(text).splitlines(keepends=True)
        path.write_text(json.dumps(book), encoding="utf-8")
