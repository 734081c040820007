"""Percent scripts: read into cells, run cell by cell, written as notebooks. Standard library + matplotlib.

    # %% [markdown]          a cell of text; every line begins with "# "
    # %%                     a cell of code, until the next mark
    # %% [asserts]           code that holds the text to its numbers: folded in notebooks, not on the site
    # %% mystnb={"image": {"alt": "what the picture shows"}}       the same, with metadata

A script is run here much as a notebook would run it, but in this process and without timing, so the
same run can be the test, the notebook and the page. Whatever stands last in a cell and is an
expression is shown; every open figure is shown at the end of its cell.
"""

import ast
import base64
import contextlib
import io
import json
import os
import re
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")

import matplotlib
import matplotlib.pyplot as plt
from PIL import Image  # matplotlib brings it

MARK = "# %%"
FOLDED = {"tags": ["remove-cell"], "jupyter": {"source_hidden": True}}
"""Metadata of the cells with asserts: they would tell the answer before it is seen."""
DPI = 110
DENSITY = 2
"""Pixels of a picture per pixel of its place on a page: dense screens show them all."""
SECONDS = re.compile(r"\b\d+(\.\d+)? (s|ms|us)\b(?=[),;]|$)", re.MULTILINE)
"""A measured time in printed text: different in every run, so it is not kept."""


@dataclass
class Cell:
    """One cell of a script, and what it showed when it ran."""

    kind: str
    source: str
    metadata: dict[str, object] = field(default_factory=dict)
    line: int = 0
    """The line of the script at which its source begins."""
    outputs: list[dict[str, object]] = field(default_factory=list)

    @property
    def folded(self) -> bool:
        """Whether it holds the text to its numbers, and is not for reading."""
        return self.metadata == FOLDED

    @property
    def pictures(self) -> int:
        return sum("image/png" in output.get("data", {}) for output in self.outputs)

    @property
    def alt(self) -> str:
        return self.metadata.get("mystnb", {}).get("image", {}).get("alt", "")


class TutorialError(Exception):
    """A script that is not well formed, or that failed while it ran."""


def read(path: Path) -> list[Cell]:
    """The cells of a percent script. Raises TutorialError for one that is not well formed."""
    cells: list[Cell] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.startswith(MARK):
            rest = line.removeprefix(MARK).strip()
            text, asserts = rest.startswith("[markdown]"), rest == "[asserts]"
            rest = rest.removeprefix("[markdown]").strip()
            about = dict(FOLDED) if asserts else metadata(rest, path, number)
            cells.append(Cell("markdown" if text else "code", "", about, number + 1))
        elif not cells:
            raise TutorialError(f"{path.name}, line {number}: a script begins with {MARK}")
        elif cells[-1].kind == "markdown" and line.strip():
            if line != "#" and not line.startswith("# "):
                raise TutorialError(f"{path.name}, line {number}: text in cells begins with '# '")
            cells[-1].source += line[2:] + "\n"
        else:
            cells[-1].source += line + "\n"
    for cell in cells:
        cell.source = cell.source.strip("\n")
    return [cell for cell in cells if cell.source]


def metadata(text: str, path: Path, number: int) -> dict[str, object]:
    """key=JSON after a cell's mark, at most one."""
    if not text:
        return {}
    key, _, value = text.partition("=")
    try:
        return {key.strip(): json.loads(value)}
    except json.JSONDecodeError as error:
        raise TutorialError(f"{path.name}, line {number}: {error}") from error


# Running -----------------------------------------------------------------------------------------


def run(cells: list[Cell], name: str) -> dict[str, object]:
    """Run the code cells in order, in a namespace and a folder of their own, and keep what they show.

    Returns the namespace. Raises TutorialError with the cell and the line where one fails; warnings count
    as failures.
    """
    space: dict[str, object] = {"__name__": "__main__"}
    began = Path.cwd()
    with (
        tempfile.TemporaryDirectory() as folder,
        warnings.catch_warnings(),
        matplotlib.rc_context(),
    ):
        warnings.simplefilter("error")
        plt.close("all")
        shown, plt.show = plt.show, lambda *args, **keywords: None
        os.chdir(folder)
        try:
            for cell in cells:
                if cell.kind == "code":
                    cell.outputs = list(run_cell(cell, name, space))
        finally:
            os.chdir(began)
            plt.show = shown
            plt.close("all")
    return space


def run_cell(cell: Cell, name: str, space: dict[str, object]) -> Iterator[dict[str, object]]:
    """Run one cell; give what it printed, its pictures, and its last expression."""
    tree = ast.parse(cell.source, name)
    ast.increment_lineno(tree, cell.line - 1)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed, value = io.StringIO(), None
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(tree, name, "exec"), space)
            if last is not None:
                value = eval(compile(ast.Expression(last.value), name, "eval"), space)
    except Exception as error:
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == name]
        said = printed.getvalue()
        raise TutorialError(
            f"{name}, line {lines[-1] if lines else cell.line}: {type(error).__name__}: {error}"
            + (f"\nprinted before:\n{said}" if said else "")
        ) from error
    text = SECONDS.sub("... s", printed.getvalue())
    if text:
        yield {"output_type": "stream", "name": "stdout", "text": text}
    if hasattr(value, "_repr_png_"):
        yield picture(value)
    for number in plt.get_fignums():
        yield picture(plt.figure(number))
    plt.close("all")
    if value is not None and not hasattr(value, "_repr_png_"):
        yield {"output_type": "execute_result", "data": {"text/plain": repr(value)}}


def picture(figure: matplotlib.figure.Figure) -> dict[str, object]:
    """A figure as PNG, without the name and version of what drew it, and the size at which it is shown."""
    stream = io.BytesIO()
    figure.savefig(stream, dpi=DENSITY * DPI, facecolor=figure.get_facecolor())
    with Image.open(stream) as image:
        width, height = (round(pixels / DENSITY) for pixels in image.size)
        few = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)  # a third of the bytes
    stream = io.BytesIO()
    few.save(stream, "png", optimize=True)
    return {
        "output_type": "display_data",
        "data": {
            "image/png": base64.b64encode(stream.getvalue()).decode(),
            "text/plain": "<Figure>",
        },
        "metadata": {"image/png": {"width": width, "height": height}},
    }


# As a notebook -----------------------------------------------------------------------------------


def notebook(cells: list[Cell]) -> dict[str, object]:
    """The notebook of some cells: fixed ids, nothing about the machine or the hour."""
    made, count = [], 0
    for number, cell in enumerate(cells):
        one: dict[str, object] = {
            "cell_type": cell.kind,
            "id": f"cell-{number:02}",
            "metadata": cell.metadata,
            "source": lines(cell.source),
        }
        if cell.kind == "code":
            count += 1
            one["execution_count"] = count
            one["outputs"] = [written(output, count) for output in cell.outputs]
        made.append(one)
    about = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return {"cells": made, "metadata": about, "nbformat": 4, "nbformat_minor": 5}


def written(output: dict[str, object], count: int) -> dict[str, object]:
    """One output in the notebook's form."""
    one = dict(output)
    if "text" in one:
        one["text"] = lines(one["text"])
    else:
        one.setdefault("metadata", {})
    if one["output_type"] == "execute_result":
        one["execution_count"] = count
    return one


def lines(text: str) -> list[str]:
    """Text as a notebook keeps it: lines with their ends."""
    return text.splitlines(keepends=True)


def as_text(book: dict[str, object]) -> str:
    """A notebook as its file holds it."""
    return json.dumps(book, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
