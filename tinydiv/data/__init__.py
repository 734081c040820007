"""Data sets by name: load("fashion-mini") gives images, load("spirals") a toy, load("cubic") a curve.

`fashion-mini` lies in the package. `fashion-mnist` and `mnist` are looked for in TINYDIV_DATA_DIR,
then in the user's cache folder, then in Debian's /usr/share/datasets; they are never downloaded
unless asked for (python data_scripts/download.py), and a missing set is never replaced by another.
"""

from typing import NamedTuple

from tinydiv.data.catalogue import FASHION_MINI, FULL_SETS, ImageSet, cache_folder, search_folders
from tinydiv.data.dataset import INPUTS, STD_FLOOR, Dataset, InputTransform, check_inputs_name
from tinydiv.data.files import ImageParts, read_images
from tinydiv.data.toys import TOYS, ToyParts, make_toy, settings_of
from tinydiv.errors import UsageError, check_known

__all__ = [
    "INPUTS",
    "NAMES",
    "STD_FLOOR",
    "Dataset",
    "Description",
    "InputTransform",
    "cache_folder",
    "describe",
    "load",
    "search_folders",
]

_IMAGE_SETS: dict[str, ImageSet] = {FASHION_MINI.name: FASHION_MINI, **FULL_SETS}

NAMES = (*_IMAGE_SETS, *TOYS)
"""Every name that load takes."""


class Description(NamedTuple):
    """One line of a list of data sets: its name, what it is, where it comes from."""

    name: str
    line: str
    source: str


def describe() -> list[Description]:
    """Every data set in one line each, embedded and full image sets first, then toys."""
    images = [Description(s.name, s.line, s.paper) for s in _IMAGE_SETS.values()]
    toys = []
    for name, toy in TOYS.items():
        settings = ", ".join(f"{key}={value}" for key, value in settings_of(name).items())
        line = f"{toy.line}; settings {settings}" if settings else toy.line
        toys.append(Description(name, line, toy.source))
    return images + toys


def load(
    name: str, inputs: str = "raw", *, seed: int | None = None, **settings: int | float
) -> Dataset:
    """A data set by name, with its inputs "raw", "centred" or "standardised" (see dataset.py).

    The seed (0 where none is given) and the settings (load("spirals", arms=3, noise=0.1)) are for
    toys: describe() lists them. Image sets take neither.
    Raises UsageError for an unknown name, scaling or setting, and RunError for a set that is not on
    this machine or whose files are damaged.
    """
    check_known("data set", name, NAMES)
    check_inputs_name(inputs)
    if name not in TOYS and (settings or seed is not None):
        got = next(iter(settings), "seed")
        raise UsageError(f"the data set {name!r} takes no settings, got {got!r}")
    parts: ToyParts | ImageParts
    if name in TOYS:
        seed = 0 if seed is None else seed
        parts = make_toy(name, seed, settings)
        classes, image_shape = parts.classes, parts.image_shape
        source, licence = f"made by tinydiv, seed {seed}; {TOYS[name].source}", "that of tinydiv"
    else:
        image_set, parts = _IMAGE_SETS[name], read_images(name)
        classes, image_shape = image_set.classes, (28, 28)
        source, licence = f"{image_set.paper}; read from {parts.folder}", image_set.licence
    return Dataset(
        name=name,
        train_x=parts.train_x,
        train_y=parts.train_y,
        test_x=parts.test_x,
        test_y=parts.test_y,
        classes=classes,
        image_shape=image_shape,
        inputs=inputs,
        source=source,
        licence=licence,
    )
