"""Finding image sets on this machine, and reading them only if every byte is right.

Nothing here downloads, and nothing stands in for a set that is missing.
"""

import gzip
import hashlib
import zlib
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
    """A data file whose bytes are not the ones that its checksum promises."""


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
        with path.open("rb") as raw:
            compressed = raw.read(2) == GZIP_MAGIC
            raw.seek(0)
            stream = gzip.GzipFile(fileobj=raw) if compressed else raw
            payload = stream.read(file.n_bytes + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DamagedFileError(f"{path} is damaged: it is no whole gzip file ({error})") from None
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror or error}") from None
    if len(payload) != file.n_bytes:
        found = f"only {len(payload)}" if len(payload) < file.n_bytes else "more"
        raise DamagedFileError(
            f"{path} is damaged: it should hold {file.n_bytes} bytes, decompressed, and has {found}"
        )
    checksum = hashlib.sha256(payload).hexdigest()
    if checksum != file.sha256:
        raise DamagedFileError(
            f"{path} is damaged: the SHA-256 of its decompressed bytes should begin with "
            f"{file.sha256[:12]} and begins with {checksum[:12]}"
        )
    return payload


def existing(folder: Path, file: IdxFile) -> Path | None:
    """The path of a file in a folder, plain or with .gz, or None."""
    candidates = (folder / file.name, folder / f"{file.name}.gz")
    return next((path for path in candidates if path.is_file()), None)


def _holds_another_set(folder: Path, image_set: ImageSet) -> bool:
    """Whether a folder holds the files of a *different* set: all sets use the same file names."""
    for other in FULL_SETS.values():
        smallest = min(other.files, key=lambda file: file.n_bytes)
        path = existing(folder, smallest)
        if other.name == image_set.name or path is None:
            continue
        try:
            read_payload(path, smallest)
        except RunError:
            continue
        return True
    return False


def find(image_set: ImageSet, bases: list[Path] | None = None) -> Path:
    """The first folder that holds all four files: BASE/NAME/, or BASE itself, for each base in turn.

    bases: search_folders() if None. Raises RunError that says how to get a missing set.
    """
    bases = search_folders() if bases is None else bases
    remarks = []
    for base in bases:
        for folder in (base / image_set.name, base):
            lacking = [file.name for file in image_set.files if existing(folder, file) is None]
            if len(lacking) == len(image_set.files):
                continue
            if folder == base and _holds_another_set(folder, image_set):
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

    Raises RunError naming the file and the way out if one is missing or damaged.
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
                else "delete it and fetch the set again with "
                f"`python data_scripts/download.py {image_set.name}`"
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
