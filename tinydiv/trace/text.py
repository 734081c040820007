"""A traced step as text for a terminal or a projector, and as data."""

import textwrap
from collections.abc import Sequence
from itertools import zip_longest

import numpy as np

from tinydiv.files.table import finite
from tinydiv.settings import rounded
from tinydiv.trace.entries import STAGES, Entry, Floats, StepTrace

WIDTH = 100
LEFT = 48
"""Columns for name, formula and sizes; the numbers are to the right of them."""

LEGEND = (
    "A B is the matrix product, A * B goes entry by entry, A' has rows and columns exchanged,",
    "sum_n adds over samples, sum_k over classes, f' is f's derivative; dA: gradient of the loss by A.",
    "x <- ... is the new x. rms: root of the mean square; max: largest size.",
)


def number(value: float, digits: int) -> str:
    """A number with this many significant digits: 0.500, -1.31, 5,000, 2.40e-05; 0 only where exactly 0."""
    if abs(value) >= 10**digits:
        return rounded(value, digits)
    return f"{value:#.{digits}g}" if value else "0"


def aligned(numbers: Sequence[str]) -> list[str]:
    """A column of numbers with their decimal points in one line."""
    parts = [text.partition(".") for text in numbers]
    left = max(len(whole) for whole, _, _ in parts)
    right = max(len(point + rest) for _, point, rest in parts)
    return [whole.rjust(left) + (point + rest).ljust(right) for whole, point, rest in parts]


def matrix(values: Floats, rows: int, digits: int, width: int) -> list[str]:
    """The first numbers of an array as lines, as many rows and columns as fit."""
    table = values.reshape(-1, values.shape[-1])
    lines, room = [""] * min(rows, len(table)), width - len("  ...")
    for place, column in enumerate(table.T):
        cells = aligned([number(v, digits) for v in column[:rows]])
        longer = [line + "  " + cell for line, cell in zip(lines, cells, strict=True)]
        longest = max(len(line.rstrip()) for line in longer) - 2
        if longest > (width if place == table.shape[1] - 1 else room):
            lines = [line + "  ..." for line in lines]
            break
        lines = longer
    lines = [line[2:].rstrip() for line in lines]
    if len(table) > rows:
        lines.append("...")
    return lines


def block(entry: Entry, rows: int, digits: int) -> list[str]:
    """One array: on the left name, formula and sizes, on the right its first numbers."""
    formula = f"({entry.formula})" if entry.given else entry.formula
    left = textwrap.wrap(
        *(f"{entry.name} {entry.sign} {formula}", LEFT - 2),
        subsequent_indent="    ",
        break_on_hyphens=False,
    )
    sizes = f"{shape(entry.shape)}   rms {number(entry.rms, 3)}   max {number(entry.largest, 3)}"
    if not entry.values.ndim:
        right = [number(float(entry.values), digits)]
    elif rows == 0:
        right = [sizes]
    else:
        left.append(f"    {sizes}")
        right = matrix(entry.values, rows, digits, WIDTH - LEFT)
    return [f"{l:<{LEFT}}{r}".rstrip() for l, r in zip_longest(left, right, fillvalue="")]


def shape(sizes: Sequence[int]) -> str:
    """(4, 3) as 4 x 3."""
    return " x ".join(map(str, sizes))


def as_text(trace: StepTrace, title: str = "", *, rows: int = 4, digits: int = 3) -> str:
    """The whole step, 100 columns wide. rows: how many of each array are shown, 0 for none."""
    lines = [*textwrap.wrap(title, WIDTH), *LEGEND]
    if trace.replicas is not None:
        lines.append(
            f"{trace.replicas} networks learn at once: shapes are those of all, numbers those of "
            f"network {trace.network}."
        )
    stage = ""
    for entry in trace.entries:
        if entry.stage != stage:
            stage = entry.stage
            lines += ["", f"== {STAGES[stage]} ".ljust(WIDTH, "=")]
        lines += block(entry, rows, digits)
    if trace.notes:
        lines += ["", *(line for note in trace.notes for line in textwrap.wrap(note, WIDTH))]
    return "\n".join(lines)


def as_json(trace: StepTrace) -> dict[str, object]:
    """The whole step as data: every array with all numbers of the network that is shown."""
    arrays = [
        {
            "stage": entry.stage,
            "name": entry.name,
            "sign": entry.sign,
            "formula": entry.formula,
            "given": entry.given,
            "shape": list(entry.shape),
            "rms": finite(entry.rms),
            "max": finite(entry.largest),
            "values": numbers(entry.values),
        }
        for entry in trace.entries
    ]
    return {
        "sizes": trace.sizes,
        "activation": trace.activation,
        "loss": trace.loss,
        "replicas": trace.replicas,
        "network": trace.network,
        "step": trace.number + 1,
        "arrays": arrays,
        "notes": trace.notes,
    }


def numbers(values: Floats) -> object:
    """An array as lists in lists, None for what is not finite."""
    plain = values.astype(object)
    plain[~np.isfinite(values)] = None
    return plain.tolist()
