"""Run all tutorials and make their notebooks and their site from that one run.

    python tutorials/build.py                all: tutorials/notebooks/, tutorials/site/_build/html
    python tutorials/build.py --check        change nothing; say whether the notebooks are up to date
    python tutorials/build.py --notebooks    the notebooks alone
    python tutorials/build.py --site         the site alone, from the notebooks as they lie there

The scripts tutorials/NN_*.py are the only files that are written by hand. The site needs the extra [docs]
(python -m pip install -e ".[docs]") and no network.
"""

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
import tomllib
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(ROOT))  # a clone that is not installed will do

import pages
from percent import Cell, TutorialError, as_text, notebook, read, run

NOTEBOOKS, SITE = HERE / "notebooks", HERE / "site"
BUILT = SITE / "_build" / "html"

ROUNDING = 1e-7  # numbers below this are rounding, and differ from machine to machine
TOLERANCE = 2e-3  # relative; what is claimed in words is held by asserts, to the printed digit
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def scripts() -> list[Path]:
    """The tutorials, in order."""
    return sorted(HERE.glob("[0-9][0-9]_*.py"))


# The cell that only notebooks have ---------------------------------------------------------------

HINT = """\
[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({badge}) {dialog}

**To run this notebook** run the next cell first: it finds tinydiv, or installs it. No GPU is needed here:
these networks are so small that a GPU would wait more than it computes. For larger runs choose a machine
with a GPU (in Colab: Runtime, Change runtime type), `%pip install cupy-cuda12x` if it is not there yet, and
try `!python -m tinydiv.train --backend cupy --replicas 1000`. Text: CC BY 4.0; code: MIT."""

COLAB = "https://colab.research.google.com/"
DIALOG = "(the badge opens Colab: choose *Upload* there, and this file)"
"""Said as long as there is no address from which Colab could fetch the notebook itself."""

INSTALL = """\
import importlib
import importlib.util
import pathlib
import subprocess
import sys

REPOSITORY = "{address}"  # the address that you would give to git clone

if importlib.util.find_spec("tinydiv") is None:
    here = pathlib.Path.cwd()
    clones = [p for p in (here, *here.parents) if (p / "tinydiv" / "mlp.py").exists()]
    if clones:
        source = str(clones[0])  # this notebook lies in a clone: use that
    elif REPOSITORY:
        source = "git+" + REPOSITORY
    else:
        raise SystemExit(
            "tinydiv is not installed, and this notebook lies in no clone of it: write the address of its "
            "repository between the quotes after REPOSITORY, and run this cell again."
        )
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", source], check=True)
    importlib.invalidate_caches()"""


CHECKS = """\
{source}

import sys

sys.modules["checks"] = sys.modules[__name__]  # wherever the notebook lies""".replace(
    "{source}", (HERE / "checks.py").read_text(encoding="utf-8").rstrip()
)
"""The helper that the exercises import, for notebooks."""


def repository() -> str:
    """The project's public address; empty while pyproject.toml, its only place, states none."""
    with open(ROOT / "pyproject.toml", "rb") as file:
        return tomllib.load(file)["project"].get("urls", {}).get("Repository", "").rstrip("/")


def colab(script: Path, address: str) -> str:
    """Where Colab opens a tutorial's notebook by itself; empty where it cannot fetch it."""
    if not address.startswith("https://github.com/"):
        return ""
    where = address.removeprefix("https://github.com/").removesuffix(".git")
    return f"{COLAB}github/{where}/blob/main/tutorials/notebooks/{script.stem}.ipynb"


def opening(script: Path, address: str) -> list[Cell]:
    """The badge and the install cell, for a repository. They stand in the notebook and not on the site."""
    badge = colab(script, address)
    dialog = "" if badge else DIALOG
    hidden: dict[str, object] = {"tags": ["remove-cell"]}
    text = HINT.replace("{badge}", badge or COLAB).replace(" {dialog}", dialog and f" {dialog}")
    code = INSTALL.replace("{address}", address)
    sources = [("markdown", text), ("code", code), ("code", CHECKS)]
    return [Cell(kind, source, dict(hidden)) for kind, source in sources]


def executed(script: Path) -> list[Cell]:
    """The cells of a tutorial after they ran. Raises TutorialError."""
    cells = read(script)
    run(cells, script.name)
    return cells


def book_of(script: Path, cells: list[Cell]) -> dict[str, object]:
    """The notebook of an executed tutorial."""
    return notebook([*opening(script, repository()), *cells])


# Is a notebook what its script would give? -------------------------------------------------------


def differences(old: dict[str, object], new: dict[str, object]) -> list[str]:
    """Where two notebooks of one tutorial differ: sources exactly, printed numbers beyond tolerance.

    Pictures must be there in both; their bytes belong to the drawing library's version.
    """
    if len(old["cells"]) != len(new["cells"]):
        return [f"{len(old['cells'])} cells in the notebook, {len(new['cells'])} in the script"]
    found = []
    for a, b in zip(old["cells"], new["cells"], strict=True):
        where = b["id"]
        for key in ("cell_type", "source", "metadata", "id"):
            if a[key] != b[key]:
                found.append(f"{where}: another {key}")
        one, two = shown(a), shown(b)
        if not same_text(one, two):
            found.append(f"{where}: the notebook shows\n{one}\nand the script\n{two}")
    return found


def shown(cell: dict[str, object]) -> str:
    """Everything that a cell shows, as text; a picture is a word."""
    parts = []
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        text = "<picture>" if "image/png" in data else data.get("text/plain", "")
        parts.append("".join(output.get("text", text)))
    return "\n".join(parts)


def same_text(one: str, two: str) -> bool:
    """Equal words; equal numbers, but for rounding."""
    if NUMBER.sub("#", one).split() != NUMBER.sub("#", two).split():
        return False
    numbers = zip(NUMBER.findall(one), NUMBER.findall(two), strict=True)
    return all(
        abs(float(p) - float(q)) <= ROUNDING + TOLERANCE * max(abs(float(p)), abs(float(q)))
        for p, q in numbers
    )


# The site ----------------------------------------------------------------------------------------


def build_site(out: Path = BUILT) -> None:
    """HTML pages from the site's own pages and the notebooks. Any warning is an error (RuntimeError)."""
    from sphinx.cmd.build import main as sphinx

    with tempfile.TemporaryDirectory() as work:
        source = Path(work) / "source"
        shutil.copytree(SITE, source, ignore=shutil.ignore_patterns("_build"))
        shutil.copytree(NOTEBOOKS, source / "tutorials")
        shutil.copytree(NOTEBOOKS, source / "downloads")
        shutil.copytree(HERE / "solutions", source / "solutions")
        pages.prepare(source, {script.stem: colab(script, repository()) for script in scripts()})
        shutil.rmtree(out, ignore_errors=True)
        jobs = [
            "-q",
            "-W",
            "--keep-going",
            "-j",
            "auto",
            "-b",
            "html",
            "-d",
            str(Path(work) / "doctrees"),
        ]
        if sphinx([*jobs, str(source), str(out)]) != 0:
            raise RuntimeError("the site has faults: see above")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="change nothing, compare")
    what.add_argument("--notebooks", action="store_true", help="only the notebooks")
    what.add_argument("--site", action="store_true", help="only the site")
    options = parser.parse_args()
    faults = 0
    for script in [] if options.site else scripts():
        try:
            new = book_of(script, executed(script))
        except TutorialError as error:
            print(error, file=sys.stderr)
            return 1
        path = NOTEBOOKS / f"{script.stem}.ipynb"
        if options.check:
            old = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"cells": []}
            for difference in differences(old, new):
                print(f"{path.name}: {difference}", file=sys.stderr)
                faults += 1
        else:
            NOTEBOOKS.mkdir(exist_ok=True)
            path.write_text(as_text(new), encoding="utf-8")
            print(path.relative_to(ROOT))
    if not (options.check or options.notebooks):
        build_site()
        print(BUILT.relative_to(ROOT) / "index.html")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
