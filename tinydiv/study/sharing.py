"""Data that many processes share: written once as .npy files, which all of them map into memory.

The operating system keeps one copy of a mapped file in memory for all workers. A worker on another machine,
where the folder does not exist, loads the same set by name and compares its fingerprint, so that other data
under the same name are refused.
"""

import functools
import hashlib
import io
import json
import shutil
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tinydiv.data.dataset import Dataset
from tinydiv.errors import RunError
from tinydiv.files import atomic
from tinydiv.loop import DeviceData
from tinydiv.runs.build import load_data
from tinydiv.study.keys import Training
from tinydiv.study.plan import TEST

PARTS = ("train_x", "train_y", "test_x", "test_y")
WEIGHTS = "weights"
SPLIT_SEED = 0


@dataclass(frozen=True)
class Origin:
    """Which samples: a set by name and settings, how much of it, and how much is held out."""

    data: str
    n_train: int | None
    n_test: int | None
    validation: int

    @classmethod
    def of(cls, training: Training, validation: int) -> "Origin":
        """Where the samples of a trial come from."""
        return cls(training.data, training.n_train, training.n_test, validation)


@dataclass(frozen=True)
class Source:
    """An origin, the folder with its arrays as files, and their fingerprint."""

    origin: Origin
    folder: str
    fingerprint: str


def load(origin: Origin) -> Dataset:
    """The samples of an origin, raw. Raises UsageError and RunError as data.load does."""
    dataset = load_data(origin.data, "raw")
    if origin.n_train is not None or origin.n_test is not None:
        dataset = dataset.take(origin.n_train, origin.n_test)
    return dataset if origin.validation == TEST else hold_out(dataset, origin.validation)


def hold_out(dataset: Dataset, n: int) -> Dataset:
    """The set with n training samples held out as its test part; with 0 the whole training part is both."""
    if n == 0:
        return replace(dataset, test_x=dataset.train_x, test_y=dataset.train_y)
    return dataset.split(n, SPLIT_SEED)


def arrays_of(dataset: Dataset) -> dict[str, npt.NDArray[Any]]:
    """All samples and targets, and the weights where there are some."""
    found = {part: getattr(dataset, part) for part in (*PARTS, WEIGHTS)}
    return {part: array for part, array in found.items() if array is not None}


def fingerprint(dataset: Dataset) -> str:
    """A digest of all samples and labels, 20 hexadecimal digits."""
    found = hashlib.sha256()
    for part, array in arrays_of(dataset).items():
        array = np.ascontiguousarray(array)
        found.update(f"{part} {array.shape} {array.dtype}".encode())
        found.update(array.data)
    return found.hexdigest()[:20]


def share(origin: Origin, dataset: Dataset, base: Path) -> Source:
    """Write a set's arrays where workers can map them. Raises RunError if there is no room."""
    digest = fingerprint(dataset)
    folder = base / digest
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for part, array in arrays_of(dataset).items():
            # A process may still read an earlier file of that name: it is replaced, not overwritten.
            # Through memory: NumPy does not notice when the end of a file does not fit on the disk.
            content = io.BytesIO()
            np.save(content, array)
            atomic.write_bytes(folder / f"{part}.npy", content.getvalue())
        about = {key: getattr(dataset, key) for key in ("name", "classes", "image_shape")}
        atomic.write_text(folder / "about.json", json.dumps(about))
    except OSError as error:
        raise RunError(f"cannot write {folder}: {error.strerror or error}") from error
    return Source(origin, str(folder.resolve()), digest)


def clear(base: Path) -> None:
    """Remove what `share` wrote."""
    with suppress(OSError):
        shutil.rmtree(base)


@functools.lru_cache(maxsize=8)
def mapped(source: Source, inputs: str) -> Dataset:
    """The set of a source with its inputs scaled: mapped where the folder exists, else loaded by name.

    Raises RunError if another machine has other samples under the same name.
    """
    folder = Path(source.folder)
    if (folder / "about.json").is_file():
        about = json.loads((folder / "about.json").read_text())
        parts = [*PARTS, *[WEIGHTS] * (folder / f"{WEIGHTS}.npy").exists()]
        arrays = {part: np.load(folder / f"{part}.npy", mmap_mode="r") for part in parts}
        return Dataset(
            **{part: np.asarray(array) for part, array in arrays.items()},  # type: ignore[arg-type]
            name=about["name"],
            classes=tuple(about["classes"]),
            image_shape=tuple(about["image_shape"]) if about["image_shape"] else None,
            inputs=inputs,
        )
    dataset = load(source.origin)
    if fingerprint(dataset) != source.fingerprint:
        raise RunError(
            f"this worker's {source.origin.data!r} differs from the one that the study began with"
        )
    return replace(dataset, inputs=inputs)


@functools.lru_cache(maxsize=4)
def on_device(source: Source, inputs: str, dtype: str, backend: str) -> DeviceData:
    """The same on the device of the current backend, kept for the next stack of this process."""
    return DeviceData(mapped(source, inputs), dtype)
