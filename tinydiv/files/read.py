"""Reading the files that tinydiv wrote: every failure gives one sentence.

    with read.reading(path, "delete it"):         any failure inside: "PATH is damaged: ...; delete it"
        facts = read.json_object(path)            a JSON object, without NaN
        rows = read.csv_rows(path)                a CSV table, one dictionary per row
        arrays, metadata = read.npz_arrays(path)  arrays of numbers, and a JSON object

Sizes that a file announces are compared with its length before memory is allocated, and nothing in a
file is run: no pickle, no name that is imported.
"""

import csv
import errno
import io
import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np

from tinydiv.backend import Array
from tinydiv.errors import RunError, UsageError
from tinydiv.files import atomic

METADATA = "metadata"
MOST_BYTES = 2**32
"""The most that is unpacked from a file of packed data."""


class DamagedError(RunError):
    """A file of tinydiv's that is not as tinydiv writes it."""


@contextmanager
def reading(path: Path, advice: str) -> Iterator[None]:
    """Turn every failure inside into a RunError: the file cannot be read, or it is damaged.

    advice: what to do about it. tinydiv's own sentence about the content is kept as the cause.
    """
    try:
        yield
    except DamagedError:
        raise
    except (UsageError, RunError) as error:
        raise DamagedError(f"{path} is damaged: {error}; {advice}") from error
    except OSError as error:
        # by a decoder, not the system; or damage sent the decoder to a place before the file
        if error.strerror is None or error.errno == errno.EINVAL:
            raise DamagedError(f"{path} is damaged: {cause(error)}; {advice}") from error
        raise RunError(f"cannot read {path}: {atomic.reason(error)}") from error
    except MemoryError as error:
        raise RunError(f"there is not enough memory to read {path}") from error
    except Exception as error:  # damaged bytes can make a decoder raise any error
        raise DamagedError(f"{path} is damaged: {cause(error)}; {advice}") from error


def cause(error: Exception) -> str:
    """A decoder's message, in one short line."""
    what = " ".join(str(error).split())[:200]
    if isinstance(error, KeyError):
        return f"{what} is missing"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return what or type(error).__name__


def json_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises errors of many kinds: call it inside `reading`."""
    return as_object(path.read_bytes())


def as_object(text: str | bytes) -> dict[str, Any]:
    """JSON text -> an object; NaN and infinity, which JSON does not have, are refused."""
    found = json.loads(text, parse_constant=_refuse_constant)
    if not isinstance(found, dict):
        raise ValueError(f"it should hold a JSON object, and holds a {type(found).__name__}")
    return found


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"it holds {word} in place of a number")


def csv_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV table by its columns' names, each as long as the first line."""
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file, strict=True)
    for number, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise ValueError(f"row {number} has {len(row)} cells and the first {len(header)}")
    return [dict(zip(header, row, strict=True)) for row in rows]


def npz_arrays(path: Path, form: str | None = None) -> tuple[dict[str, Array], dict[str, Any]]:
    """(arrays, metadata) of a file that npz.write made: members are stored as they are, whole.

    form: what metadata["format"] must be.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        announced, length = sum(member.file_size for member in members), path.stat().st_size
        if announced > length or any(m.compress_type != zipfile.ZIP_STORED for m in members):
            raise ValueError(f"it announces {announced:,} bytes and has {length:,}")
        arrays = {m.filename.removesuffix(".npy"): npy_array(archive.read(m)) for m in members}
    facts = as_object(str(arrays.pop(METADATA)))
    if form is not None and facts.get("format") != form:
        raise ValueError(f"it is no {form!r} but {facts.get('format')!r}")
    return arrays, facts


def packed_arrays(path: Path) -> dict[str, Array]:
    """The arrays of an .npz file whose members may be packed, as numpy.savez_compressed does it."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        refuse_much(members)
        return {m.filename.removesuffix(".npy"): npy_array(archive.read(m)) for m in members}


def refuse_much(members: Iterable[zipfile.ZipInfo]) -> None:
    """Raise ValueError if members of an archive announce more bytes than may be read."""
    if (announced := sum(member.file_size for member in members)) > MOST_BYTES:
        raise ValueError(f"it announces {announced:,} bytes, {MOST_BYTES:,} may be read")


def part(arrays: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    """The arrays whose names begin with a prefix, by the rest of their names."""
    return {k.removeprefix(prefix): a for k, a in arrays.items() if k.startswith(prefix)}


def npy_array(content: bytes) -> Array:
    """One array of numbers, or one text, from the bytes of an .npy file."""
    file = io.BytesIO(content)
    try:
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[np.lib.format.read_magic(file)]
        shape, in_columns, dtype = read_header(file)
    except (KeyError, MemoryError, RecursionError) as error:  # MemoryError: the parser's own
        raise ValueError("an array has no header that can be read") from error
    if dtype.kind not in "biufU":
        raise ValueError(f"an array holds {dtype}, not numbers")
    if min(shape, default=0) < 0 or prod(shape) * dtype.itemsize != len(content) - file.tell():
        raise ValueError(
            f"an array announces the shape {shape}, which does not fit its number of bytes"
        )
    order: Literal["F", "C"] = "F" if in_columns else "C"
    return np.ndarray(shape, dtype, content, file.tell(), order=order).copy()


def refuse_nan(name: str, array: Array) -> Array:
    """The array. Raises ValueError if a number in it is NaN or infinite."""
    if not np.isfinite(array).all():
        raise ValueError(f"{name} has NaN or infinity where numbers stand")
    return array
