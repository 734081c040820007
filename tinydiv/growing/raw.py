"""The raw file of a comparison: every trial as a row of one CSV table, gzipped."""

import csv
import gzip
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinydiv.files import atomic, table

Columns = dict[str, np.ndarray]


def write(path: Path, rows: Iterable[table.Row]) -> None:
    """Rows, with numbers of five digits; equal rows give equal bytes. Raises RunError if it cannot."""
    text = table.as_csv({name: short(value) for name, value in row.items()} for row in rows)
    atomic.write_bytes(path, gzip.compress(text.encode(), mtime=0))


def short(value: object) -> object:
    """A number rounded to five digits; anything else as it is."""
    return float(f"{value:.5g}") if isinstance(value, float | np.floating) else value


def read(
    path: Path, keys: Mapping[str, Callable[[str], Any]], numbers: Sequence[str]
) -> dict[tuple[Any, ...], Columns]:
    """A raw file by its key columns: {key: {name: (rows,)}}, NaN for an empty cell.

    keys: the name of each key column, and the type of what stands there.
    """
    text = gzip.decompress(path.read_bytes()).decode()
    found: dict[tuple[Any, ...], dict[str, list[float]]] = {}
    for row in csv.DictReader(io.StringIO(text)):
        columns = found.setdefault(tuple(kind(row[name]) for name, kind in keys.items()), {})
        for name in numbers:
            columns.setdefault(name, []).append(float(row[name] or "nan"))
    return {
        key: {name: np.asarray(values) for name, values in columns.items()}
        for key, columns in found.items()
    }
