"""Tables as CSV and Markdown, and numbers in JSON.

In CSV and JSON nothing is rounded; what is no number is an empty cell, or null.
"""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

Row = Mapping[str, object]


def as_csv(rows: Iterable[Row]) -> str:
    """Rows as CSV text; the columns are all that any row has, in the order of their appearance."""
    listed = list(rows)
    columns = list(dict.fromkeys(column for row in listed for column in row))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([cell(row.get(column)) for column in columns] for row in listed)
    return out.getvalue()


def as_markdown(heads: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """A Markdown table, without a line break at its end."""
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    lines += ["| " + " | ".join(text.replace("|", "\\|") for text in row) + " |" for row in body]
    return "\n".join(lines)


def cell(value: object) -> object:
    """A value as CSV has it: nothing for NaN and infinity, floats by their shortest exact text."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return repr(value) if isinstance(value, float) else value


def finite(value: float | list[float]) -> float | list[float | None] | None:
    """NaN and infinity as None, which JSON can hold."""
    if isinstance(value, list):
        return [v if math.isfinite(v) else None for v in value]
    return value if math.isfinite(value) else None
