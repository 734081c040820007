"""Facts about the image sets: files, sizes, checksums, mirrors, licences.

Only facts, and the folders where full sets are looked for. files.py and the scripts in data_scripts/ read
them from here, so each fact is written once.
"""

import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path

from tinydiv.errors import RunError

DATASETS_FOLDER = Path(__file__).resolve().parent.parent / "datasets"
"""Where the embedded set lies, inside the package."""


@dataclass(frozen=True)
class IdxFile:
    """One IDX file: its name without .gz, its array's shape, and its payload's SHA-256.

    The checksum is that of the *decompressed* bytes: every mirror compresses a little differently.
    """

    name: str
    shape: tuple[int, ...]
    sha256: str

    @property
    def n_bytes(self) -> int:
        """Size of the decompressed file: 4 bytes of magic, 4 per dimension, 1 per number."""
        return 4 + 4 * len(self.shape) + prod(self.shape)


@dataclass(frozen=True)
class ImageSet:
    """An image set: what it is, where it comes from, and its four files in the order of _four."""

    name: str
    line: str
    paper: str
    licence: str
    classes: tuple[str, ...]
    files: tuple[IdxFile, ...]
    mirrors: tuple[str, ...] = ()


def _four(n_train: int, n_test: int, checksums: tuple[str, str, str, str]) -> tuple[IdxFile, ...]:
    """Training images, training labels, test images, test labels, under MNIST's usual names."""
    names_and_shapes: tuple[tuple[str, tuple[int, ...]], ...] = (
        ("train-images-idx3-ubyte", (n_train, 28, 28)),
        ("train-labels-idx1-ubyte", (n_train,)),
        ("t10k-images-idx3-ubyte", (n_test, 28, 28)),
        ("t10k-labels-idx1-ubyte", (n_test,)),
    )
    return tuple(
        IdxFile(name, shape, checksum)
        for (name, shape), checksum in zip(names_and_shapes, checksums, strict=True)
    )


FASHION_MNIST = ImageSet(
    name="fashion-mnist",
    line="full Fashion-MNIST: 60,000 + 10,000 images of 10 kinds of clothing, 28x28 (to download)",
    paper="Xiao, Rasul, Vollgraf, Fashion-MNIST (2017), arXiv 1708.07747",
    licence="MIT, Zalando SE 2017",
    classes=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    files=_four(
        60000,
        10000,
        (
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    ),
    mirrors=(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    ),
)

FASHION_MINI = ImageSet(
    name="fashion-mini",
    line="embedded tenth of Fashion-MNIST: 600 + 100 images of each of 10 kinds of clothing, 28x28",
    paper=FASHION_MNIST.paper,
    licence=FASHION_MNIST.licence,
    classes=FASHION_MNIST.classes,
    files=_four(
        6000,
        1000,
        (
            "cf313073c7eb485392848071d5c433571d7166043e971e3345b095cc30518084",
            "097b93fbcf9bd5bc648b1a457ddc55c9e4ab49afb33f9ecae8ce068399a75e3a",
            "7cee33c3c6414b1b86c25e665a6c4f41584269de3b7cc9768b1d351922845eef",
            "3128d790775889812b73c4f13923559c8b9e281d112c6ea7862acf60a206a909",
        ),
    ),
)

MNIST = ImageSet(
    name="mnist",
    line="full MNIST: 60,000 + 10,000 images of handwritten digits, 28x28 (to download)",
    paper="LeCun, Cortes, Burges, The MNIST database of handwritten digits (1998)",
    licence="CC BY-SA 3.0 as usually stated, LeCun and Cortes",
    classes=tuple("0123456789"),
    files=_four(
        60000,
        10000,
        (
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
)

FULL_SETS = {image_set.name: image_set for image_set in (FASHION_MNIST, MNIST)}
"""The sets that are not embedded. They are downloaded on request only, never automatically."""


def cache_folder() -> Path:
    """The user's own cache folder for data: XDG_CACHE_HOME if set, else the system's usual place.

    Linux ~/.cache/tinydiv, macOS ~/Library/Caches/tinydiv, Windows %LOCALAPPDATA%/tinydiv.
    Raises RunError if the user has no home folder.
    """
    chosen = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(chosen):  # the XDG specification ignores a relative path
        return Path(chosen) / "tinydiv"
    if sys.platform == "win32" and os.environ.get("LOCALAPPDATA"):
        return Path(os.environ["LOCALAPPDATA"]) / "tinydiv"
    home = os.path.expanduser("~")
    if not os.path.isabs(home):  # neither HOME nor an entry in the list of users
        raise RunError("this user has no home folder: set XDG_CACHE_HOME, or TINYDIV_DATA_DIR")
    return Path(home, "Library/Caches" if sys.platform == "darwin" else ".cache", "tinydiv")


def search_folders() -> list[Path]:
    """Where full sets are looked for, first match wins: TINYDIV_DATA_DIR, the user's cache folder,
    Debian's folder."""
    chosen = os.environ.get("TINYDIV_DATA_DIR", "")
    found = [Path(os.path.expanduser(chosen))] if chosen else []
    with suppress(RunError):
        found.append(cache_folder())
    return [*found, Path("/usr/share/datasets")]
