"""Reading what --data names (own_data.py) into a data set.

Inputs are numbers, one row per sample; bytes, and images (N, rows, columns), stay what they are.
Targets are class numbers or class names, (N,), or numbers with a decimal point to learn, (N,) or (N, K).
Nothing is downloaded, and no pickle is read.
"""

import csv
import gzip
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tinydiv.backend import Array
from tinydiv.data.dataset import Dataset
from tinydiv.data.files import GZIP_MAGIC
from tinydiv.data.idx import parse_idx
from tinydiv.errors import UsageError, note, unknown
from tinydiv.files import read
from tinydiv.runs.own_data import TEST_SHARE, OwnData, idx_paths
from tinydiv.settings import shown

MOST_BYTES = read.MOST_BYTES
"""The largest number of bytes that is read into memory."""
MOST_CLASSES = 1000
NAMES = (
    ("train_x", "train_y", "test_x", "test_y"),
    ("x_train", "y_train", "x_test", "y_test"),
    ("X_train", "y_train", "X_test", "y_test"),
    ("X", "y"),
    ("x", "y"),
)
"""How the arrays of an .npz file may be called: training part and test part, or one part."""
ADVICE = "write it again, or take another file"


def load(own: OwnData, inputs: str = "raw") -> tuple[Dataset, str]:
    """The data set, and the full spec of how it was made.

    Raises UsageError if the arrays do not fit together, RunError if a file is damaged.
    """
    parts: Mapping[str, Array]
    if own.path.is_dir():
        if own.weights is not None:
            raise UsageError(
                f"a folder of IDX files has no weights: leave out weights={own.weights}"
            )
        parts, weights = idx_parts(own.path), None
    elif own.path.suffix.lower() == ".csv":
        parts, weights = csv_parts(own)
    else:
        parts, weights = npz_parts(own)
    has_test = len(parts) == 4
    if has_test and own.test is not None:
        raise UsageError(f"{own.path} has a test part: leave out test={own.test:g}")
    x, names = list(parts.values())[::2], list(parts)[1::2]
    y, classes = as_targets(own.path, [parts[name] for name in names])
    dataset = Dataset(
        name=own.path.stem,
        train_x=x[0],
        train_y=y[0],
        test_x=x[-1],
        test_y=y[-1],
        classes=classes,
        inputs=inputs,
        source=f"read from {own.path}",
        weights=weights,
    )
    if has_test:
        return dataset, own.spec(None)
    test = TEST_SHARE if own.test is None else own.test
    n = len(dataset.train_x)
    dataset = dataset.split(max(1, round(test * n)), own.seed)
    if own.test is None:
        note(
            f"note: {own.path} has no test part, so {len(dataset.test_y)} of its {n} samples were drawn "
            f"for one (test={test:g},seed={own.seed})"
        )
    return dataset, own.spec(test)


# Files ---------------------------------------------------------------------------------------------


def npz_parts(own: OwnData) -> tuple[dict[str, Array], Array | None]:
    """The arrays of an .npz file, in the order of one line of NAMES, and the weights of samples.

    Raises UsageError for missing arrays.
    """
    path, more = own.path, [] if own.weights is None else [own.weights]
    with read.reading(path, ADVICE), zipfile.ZipFile(path) as archive:
        members = {m.filename.removesuffix(".npy"): m for m in archive.infolist()}
        names = next((names for names in NAMES if set(names) <= set(members)), None)
        if names is not None and set(more) <= set(members):
            read.refuse_much(members[name] for name in (*names, *more))
            arrays = {n: read.npy_array(archive.read(members[n])) for n in (*names, *more)}
            return {n: arrays[n] for n in names}, arrays[more[0]] if more else None
    if names is not None:
        raise unknown(f"array of {path}", more[0], members)
    wanted = "train_x, train_y, test_x, test_y, or X, y"
    raise UsageError(f"{path} should hold the arrays {wanted}; it holds {', '.join(members)}")


def csv_parts(own: OwnData) -> tuple[dict[str, Array], Array | None]:
    """A table's columns: numbers as inputs, and the target's column as it is written; and the weights'.

    Raises UsageError for missing columns, uneven rows, and inputs that are not numbers.
    """
    path = own.path
    with read.reading(path, ADVICE):
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"it has more than {MOST_BYTES:,} bytes")
        text = path.read_text(encoding="utf-8-sig")
        first = text.partition("\n")[0]
        delimiter = max(",;\t", key=first.count)
        header, *rows = [r for r in csv.reader(text.splitlines(), delimiter=delimiter) if r]
    if own.target is None or own.target not in header:
        missing = own.target or ""
        raise (
            unknown(f"column of {path}", missing, header)
            if missing
            else UsageError(f"name the column of the targets, --data {path}:target={header[-1]}")
        )
    if own.weights is not None and own.weights not in header:
        raise unknown(f"column of {path}", own.weights, header)
    for name in filter(None, (own.target, own.weights)):
        if header.count(name) > 1:
            raise UsageError(f"{path} has several columns called {name!r}")
    if own.weights == own.target:
        raise UsageError(f"{path}: the column {own.target!r} cannot be targets and weights at once")
    at = header.index(own.target)
    inputs = np.empty((len(rows), len(header) - 1), np.float64)
    for i, row in enumerate(rows):
        if len(row) != len(header):
            raise UsageError(
                f"{path}: row {i + 2} has {len(row)} cells, and the first row {len(header)}"
            )
        try:
            inputs[i] = [*row[:at], *row[at + 1 :]]
            read.refuse_nan("the row", inputs[i])
        except ValueError:
            wrong = next(j for j, cell in enumerate(row) if j != at and not is_number(cell))
            raise UsageError(
                f"{path}: row {i + 2} has {shown(row[wrong])} in the column {header[wrong]!r}, where "
                "a number is needed: leave that row or column out, or write numbers for its words"
            ) from None
    weights = None
    if own.weights is not None:
        column = [name for name in header if name != own.target].index(own.weights)
        weights, inputs = inputs[:, column], np.delete(inputs, column, axis=1)
    return {"the inputs": inputs, "the targets": typed([row[at].strip() for row in rows])}, weights


def is_number(cell: str) -> bool:
    """Whether a cell of a table is a finite number."""
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def typed(cells: list[str]) -> Array:
    """A column as whole numbers if all cells are, else as numbers, else as text."""
    for kind in (np.int64, np.float64):
        try:
            return np.array(cells).astype(kind)
        except (ValueError, OverflowError):
            continue
    return np.array(cells)


def idx_parts(folder: Path) -> dict[str, Array]:
    """The arrays of the IDX files in a folder. Raises UsageError if a file is missing."""
    parts = {}
    for name, path in idx_paths(folder).items():
        if path is None:
            raise UsageError(f"{folder} lacks the IDX file {name} (or {name}.gz)")
        with read.reading(path, ADVICE), path.open("rb") as raw:
            compressed = raw.read(2) == GZIP_MAGIC
            raw.seek(0)
            stream = gzip.GzipFile(fileobj=raw) if compressed else raw
            payload = stream.read(MOST_BYTES + 1)
            if len(payload) > MOST_BYTES:
                raise ValueError(f"it holds more than {MOST_BYTES:,} bytes")
            parts[name] = parse_idx(payload)
    return parts


# Arrays --------------------------------------------------------------------------------------------


def as_targets(path: Path, targets: list[Array]) -> tuple[list[Array], tuple[str, ...]]:
    """Class numbers from 0 and the classes' names, in order; or numbers to learn, and no classes.

    Numbers with a decimal point are to be learned, whole numbers and words are classes.

    Raises UsageError for targets of another kind, and for too many classes.
    """
    if any(y.dtype.kind == "f" for y in targets) and all(y.dtype.kind in "iuf" for y in targets):
        return [y.astype(np.float64) for y in targets], ()
    targets = [y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y for y in targets]
    for y in targets:
        if y.ndim != 1 or y.dtype.kind not in "biuU":
            raise UsageError(
                f"{path}: targets should be class numbers or names, one per sample, not {y.dtype} of "
                f"shape {y.shape}"
            )
    if len({y.dtype.kind == "U" for y in targets}) > 1:
        raise UsageError(f"{path}: one part has numbers as targets, and the other one names")
    found = np.unique(np.concatenate(targets))
    if len(found) > MOST_CLASSES:
        raise UsageError(
            f"{path} has {len(found):,} different targets, and {MOST_CLASSES:,} classes are allowed: write "
            "numbers to learn with a decimal point, as floats"
        )
    if found.dtype.kind == "U" and "" in found:
        raise UsageError(f"{path} has a sample without a class name")
    numbers = [np.searchsorted(found, y).astype(np.int64) for y in targets]
    return numbers, tuple(str(name) for name in found.tolist())
