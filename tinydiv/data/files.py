"""Finding image sets on this machine, and reading them only if every byte is right.

Nothing here downloads, and a missing set is never replaced by another.
"""

import gzip
import hashlib
import io
import os
import re
import zlib
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tinydiv.data.catalogue import (
    DATASETS_FOLDER,
    FASHION_MINI,
    FULL_SETS,
    IdxFile,
    ImageSet,
    search_folders,
)
from tinydiv.data.idx import parse_idx
from tinydiv.errors import RunError

GZIP_MAGIC = b"\x1f\x8b"


class DamagedFileError(RunError):
    """A data file whose bytes do not have its checksum."""


class ImageParts(NamedTuple):
    """The four arrays of an image set, images as rows of bytes, and the folder they lay in."""

    train_x: npt.NDArray[np.uint8]
    train_y: npt.NDArray[np.int64]
    test_x: npt.NDArray[np.uint8]
    test_y: npt.NDArray[np.int64]
    folder: Path


def read_payload(path: Path, file: IdxFile) -> bytes:
    """The decompressed bytes of a plain or gzip-compressed file, checked against its SHA-256.

    Reads no more than the expected size, so a wrong file cannot fill the memory.
    Raises DamagedFileError if a byte differs, RunError if the file cannot be read.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(file.n_bytes + file.n_bytes // 1000 + 1024)
        return decompressed(content, file)
    except ValueError as error:
        raise DamagedFileError(f"{path} {error}") from None
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror or error}") from None


def decompressed(content: bytes, file: IdxFile) -> bytes:
    """The payload in the bytes of a plain or gzip-compressed file.

    Raises ValueError if it is wrong, with the reason: "is damaged: ...".
    """
    payload = content
    if content.startswith(GZIP_MAGIC):
        try:
            payload = gzip.GzipFile(fileobj=io.BytesIO(content)).read(file.n_bytes + 1)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"is damaged: it is no whole gzip file ({error})") from None
    checksum = hashlib.sha256(payload).hexdigest()
    if checksum == file.sha256:
        return payload
    for other in FULL_SETS.values():
        if checksum in {known.sha256 for known in other.files}:
            raise ValueError(f"is undamaged but belongs to another set, {other.name!r}")
    if len(payload) == file.n_bytes and payload.startswith(bytes([0, 0, 8, len(file.shape)])):
        raise ValueError(
            f"is damaged, or of a set that only --data FOLDER reads: its SHA-256 should begin "
            f"with {file.sha256[:12]} and begins with {checksum[:12]}"
        )
    found = f"only {len(payload)}" if len(payload) < file.n_bytes else "more or others"
    raise ValueError(
        f"is damaged: it should hold {file.n_bytes} bytes, decompressed, and has {found}"
    )


def existing(folder: Path, file: IdxFile) -> Path | None:
    """The path of a file in a folder, under one of its usual names, or None.

    train-images-idx3-ubyte, train-images.idx3-ubyte, each plain, with .gz, or in a folder of its name.
    The checksum decides whether it is the right file, not the name.
    """
    names = (file.name, file.name.replace("-idx", ".idx"))
    candidates = [f"{name}{end}" for name in names for end in ("", ".gz")]
    candidates += [f"{outer}/{inner}" for outer in names for inner in names]
    return next((folder / c for c in candidates if os.path.isfile(folder / c)), None)


def set_folders(base: Path, image_set: ImageSet) -> list[Path]:
    """Where a set may lie below a folder: in BASE/NAME however it is spelt, in BASE, in raw/ of both."""
    wanted = image_set.name.replace("-", "")
    spelt = []
    with suppress(OSError):
        spelt = [n for n in os.listdir(base) if re.sub("[-_ ]", "", n).lower() == wanted]
    folders = [base / image_set.name, *(base / name for name in sorted(spelt)), base]
    return list(dict.fromkeys(found for folder in folders for found in (folder, folder / "raw")))


def _holds_another_set(folder: Path, image_set: ImageSet) -> bool:
    """Whether a folder holds the files of a *different* set: all sets use the same file names."""
    file = min(image_set.files, key=lambda file: file.n_bytes)
    path = existing(folder, file)
    if path is None:
        return False
    try:
        read_payload(path, file)
    except RunError as error:
        return "belongs to another set" in str(error)
    return False


def find(image_set: ImageSet, bases: list[Path] | None = None) -> Path:
    """The first folder that holds all four files, of those that set_folders names for each base.

    bases: search_folders() if None. Raises RunError that names the ways to get a missing set.
    """
    bases = search_folders() if bases is None else bases
    remarks = []
    for base in bases:
        for folder in set_folders(base, image_set):
            lacking = [file.name for file in image_set.files if existing(folder, file) is None]
            if len(lacking) == len(image_set.files):
                continue
            if _holds_another_set(folder, image_set):
                remarks.append(f"{folder} holds another set")
            elif lacking:
                remarks.append(f"{folder} lacks {' and '.join(lacking)}")
            else:
                return folder
    looked = ", ".join(str(base) for base in bases)
    aside = f"; {'; '.join(remarks)}" if remarks else ""
    raise RunError(
        f"the data set {image_set.name!r} is not on this machine (looked in {looked}{aside}): "
        f"run `python data_scripts/download.py {image_set.name}` in tinydiv's source folder, or set "
        "TINYDIV_DATA_DIR to a folder that holds it, or use 'fashion-mini', which comes with tinydiv"
    )


def read_image_set(image_set: ImageSet, folder: Path) -> ImageParts:
    """The four arrays of a set in one folder, every file checked.

    Raises RunError that names the file and the remedy if one is missing or damaged.
    """
    arrays = []
    for file in image_set.files:
        try:
            path = existing(folder, file)
            if path is None:
                raise RunError(f"{folder / file.name} is missing")
            arrays.append(parse_idx(read_payload(path, file)))
        except RunError as error:
            way_out = (
                "install tinydiv again"
                if image_set.name == FASHION_MINI.name
                else f"`python data_scripts/download.py {image_set.name}` fetches it again"
            )
            raise RunError(f"{error}; {way_out}") from None
    train_x, train_y, test_x, test_y = arrays
    return ImageParts(
        train_x.reshape(len(train_x), -1),
        train_y.astype(np.int64),
        test_x.reshape(len(test_x), -1),
        test_y.astype(np.int64),
        folder,
    )


def read_images(name: str) -> ImageParts:
    """An image set by name: the embedded one from the package, a full one from where it is found."""
    if name == FASHION_MINI.name:
        return read_image_set(FASHION_MINI, DATASETS_FOLDER / name)
    image_set = FULL_SETS[name]
    return read_image_set(image_set, find(image_set))
