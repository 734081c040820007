"""What a loaded set is: bytes or floats, targets, and how the inputs are scaled.

Images stay bytes, a quarter of the memory of floats; a batch becomes floats where it is used:

    x = (stored / 255 - shift) * scale        bytes (images)
    x = (stored - shift) * scale              floats (toys)

    raw            shift = 0       scale = 1
    centred        shift = mean    scale = 1
    standardised   shift = mean    scale = 1 / max(std, 0.1)

Mean and standard deviation are per feature and over the training part only. The floor of 0.1 is for
pixels that are nearly always blank: 94 of Fashion-MNIST's 784 pixels have a smaller deviation, down
to 0.0004, and dividing by that would turn one bright border pixel into an input of 280. With the
floor no image input leaves [-10, 10], and every other feature has a deviation of exactly 1.
"""

import math
import warnings
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tinydiv.errors import UsageError, check_known, unknown
from tinydiv.randomness import generator
from tinydiv.settings import rounded

INPUTS = ("raw", "centred", "standardised")
"""The ways in which inputs may be scaled."""

STD_FLOOR = 0.1
"""No feature is divided by less than this when inputs are standardised."""

CHUNK = 4096  # rows turned to float64 at once: 60,000 images at once would take 376 MB

Stored = npt.NDArray[np.uint8] | npt.NDArray[np.float32]
Floats = npt.NDArray[np.float32 | np.float64]
Labels = npt.NDArray[np.int64]
Targets = npt.NDArray[Any]  # int64 classes (N,), or float64 numbers (N, K)
Part = Literal["train", "test"]


@dataclass(frozen=True, eq=False)
class InputTransform:
    """How stored inputs become a network's inputs: x = (stored / 255 - shift) * scale.

    scale, shift: (n_inputs,) float32. Bytes are divided by 255, floats are not.
    """

    scale: npt.NDArray[np.float32]
    shift: npt.NDArray[np.float32]

    def apply(self, x: Stored, dtype: str = "float32") -> Floats:
        """Inputs (..., n_inputs) as stored -> a fresh float array of the same shape, on the host."""
        scale, shift = self.scale.astype(dtype), self.shift.astype(dtype)
        floats = x.astype(dtype)
        if x.dtype == np.uint8:
            floats /= 255
        floats -= shift
        floats *= scale
        return floats


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """A training part and a test part, with all that is needed to use and to cite them.

    train_x (N, n_inputs), test_x: bytes (uint8) stay bytes, other numbers become float32; images
    (N, rows, columns) become rows of pixels, and give image_shape where it is None.
    Two kinds of targets:
        classes            train_y (N,), test_y: int64 class numbers, 0 to n_classes - 1
        classes = ()       regression: numbers (N,) or (N, K), kept as float64 (N, K)
    image_shape: (rows, columns) if the inputs form a picture, else None.
    weights (N,): how much each training sample counts in the loss, 1 where None; 0 leaves it out.
    Lists, data frames and columns of them are taken by position: a frame's index is not used.
    Raises UsageError if the arrays do not fit together, or hold NaN or infinity.
    """

    name: str
    train_x: Stored
    train_y: Targets
    test_x: Stored
    test_y: Targets
    classes: tuple[str, ...] = ()
    image_shape: tuple[int, int] | None = None
    inputs: str = "raw"
    source: str = "the reader's own"
    licence: str = "not stated"
    weights: npt.NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        def put(name: str, value: object) -> None:
            object.__setattr__(
                self, name, value
            )  # the class is frozen: only this method sets fields

        check_inputs_name(self.inputs)
        if isinstance(self.classes, str):
            raise UsageError(f"classes is a list of names, got one text: write [{self.classes!r}]")
        put("classes", tuple(str(name) for name in self.classes))
        shape: tuple[int, ...] | None = self.image_shape
        for part, name in (("training", "train"), ("test", "test")):
            x, found = _as_inputs(f"the {part} inputs of {self.name!r}", getattr(self, f"{name}_x"))
            shape = found if shape is None else shape
            put(f"{name}_x", x)
            if x.size == 0:
                raise UsageError(f"the {part} part of {self.name!r} is empty")
            what = f"the {part} labels of {self.name!r}"
            put(f"{name}_y", _as_targets(what, getattr(self, f"{name}_y"), len(x), self.classes))
        put("image_shape", self._picture(shape))
        if (self.train_x.shape[1], self.train_x.dtype) != (self.test_x.shape[1], self.test_x.dtype):
            raise UsageError(
                f"{self.name!r} trains on {self.train_x.shape[1]} {self.train_x.dtype} inputs but "
                f"tests on {self.test_x.shape[1]} {self.test_x.dtype} inputs"
            )
        if self.train_y.shape[1:] != self.test_y.shape[1:]:
            raise UsageError(
                f"{self.name!r} trains on targets of shape {self.train_y.shape} but tests on targets of "
                f"shape {self.test_y.shape}"
            )
        if self.weights is not None:
            put(
                "weights",
                _as_weights(f"the weights of {self.name!r}", self.weights, len(self.train_x)),
            )
        if self.inputs != "standardised" and _bytes_as_floats(self.train_x):
            warnings.warn(
                f"the inputs of {self.name!r} are whole numbers from 0 to 255 as floats: networks learn "
                "badly from inputs that large. Give them as bytes, x.astype('uint8'), which are divided "
                "by 255, or choose inputs='standardised'",
                stacklevel=3,
            )

    @property
    def nbytes(self) -> int:
        """Bytes of both parts."""
        return sum(a.nbytes for a in (self.train_x, self.train_y, self.test_x, self.test_y))

    def _picture(self, shape: tuple[int, ...] | None) -> tuple[int, int] | None:
        """(rows, columns); (rows, columns, 1) is the same picture."""
        if shape is None:
            return None
        if np.prod(shape) != self.n_inputs:
            raise UsageError(f"{self.n_inputs} inputs do not form a picture of shape {shape}")
        if len(shape) == 3 and shape[2] == 1:
            shape = shape[:2]
        if len(shape) != 2:
            raise UsageError(
                f"image_shape is (rows, columns) of one grey picture, got {shape}: leave it out for others"
            )
        return int(shape[0]), int(shape[1])

    def __repr__(self) -> str:
        picture = (
            "" if self.image_shape is None else " as {} x {} pictures".format(*self.image_shape)
        )
        learned = f"{self.n_classes} classes"
        if self.regression:
            learned = f"{self.n_outputs} number{'s' * (self.n_outputs > 1)} to learn"
        return (
            f"Dataset({self.name!r}: {len(self.train_x)} training and {len(self.test_x)} test "
            f"samples, {self.n_inputs} {self.inputs} inputs{picture}, {learned})"
        )

    @property
    def n_inputs(self) -> int:
        """How many numbers one sample has."""
        return int(self.train_x.shape[1])

    @property
    def n_classes(self) -> int:
        """How many classes there are; 0 where the targets are numbers."""
        return len(self.classes)

    @property
    def regression(self) -> bool:
        """Whether the targets are numbers (N, K) and no classes."""
        return not self.classes

    @property
    def n_outputs(self) -> int:
        """How many outputs a network for this set has: one per class, or one per number to learn."""
        return self.n_classes or int(self.train_y.shape[1])

    @cached_property
    def transform(self) -> InputTransform:
        """Shift and scale of the chosen inputs, from this set's training part."""
        ones, zeros = np.ones(self.n_inputs, np.float32), np.zeros(self.n_inputs, np.float32)
        if self.inputs == "raw":
            return InputTransform(scale=ones, shift=zeros)
        mean, std = feature_statistics(self.train_x)
        shift = mean.astype(np.float32)
        if self.inputs == "centred":
            return InputTransform(scale=ones, shift=shift)
        return InputTransform(
            scale=(1 / np.maximum(std, STD_FLOOR)).astype(np.float32), shift=shift
        )

    def floats(self, part: Part, dtype: str = "float32") -> Floats:
        """The transformed inputs of a whole part, "train" or "test", as a fresh array (N, n_inputs)."""
        if part not in ("train", "test"):
            raise unknown("part of a data set", part, ("train", "test"))
        if dtype not in ("float32", "float64"):
            raise unknown("dtype for inputs", dtype, ("float32", "float64"))
        return self.transform.apply(self.train_x if part == "train" else self.test_x, dtype)

    def split(self, n_validation: int, seed: int) -> "Dataset":
        """Hold out a validation part: the same set, whose test part is drawn from its training part.

        For choices (a rate, a strength) that must not see the test part. Each class gives the share
        of n_validation that it has in the training part; the draw depends on the seed alone. The
        statistics of the inputs are then those of the smaller training part.

        Raises UsageError unless 0 < n_validation < the size of the training part.
        """
        n = len(self.train_y)
        if not 1 <= n_validation < n:
            raise UsageError(
                f"a validation part of {self.name!r} takes 1 to {n - 1} of its {n} training "
                f"samples, got {n_validation}"
            )
        order = generator(seed, "split").permutation(n)
        held_out = _stratified(self.train_y, n_validation, order)
        kept = np.setdiff1d(np.arange(n), held_out)
        return replace(
            self,
            train_x=self.train_x[kept],
            train_y=self.train_y[kept],
            weights=None if self.weights is None else self.weights[kept],
            test_x=self.train_x[held_out],
            test_y=self.train_y[held_out],
            source=f"{self.source}; tested on {n_validation} held-out training samples, seed {seed}",
        )

    def take(self, n_train: int | None = None, n_test: int | None = None) -> "Dataset":
        """A smaller set: the first samples of each class, in the order in which they lie.

        Each class keeps its share. None keeps a part whole. The statistics of the inputs are then
        those of the smaller training part.

        Raises UsageError for more samples than there are, or fewer than 1.
        """
        chosen = []
        for part, labels, n in (
            ("training", self.train_y, n_train),
            ("test", self.test_y, n_test),
        ):
            n = len(labels) if n is None else n
            if not 1 <= n <= len(labels):
                raise UsageError(
                    f"{self.name!r} has {len(labels)} {part} samples: 1 to {len(labels)} can be "
                    f"taken, not {n}"
                )
            chosen.append(_stratified(labels, n, np.arange(len(labels))))
        train, test = chosen
        return replace(
            self,
            train_x=self.train_x[train],
            train_y=self.train_y[train],
            weights=None if self.weights is None else self.weights[train],
            test_x=self.test_x[test],
            test_y=self.test_y[test],
            source=f"{self.source}; the first {len(train)} + {len(test)} of its samples",
        )


def check_inputs_name(inputs: str) -> None:
    """Raises UsageError unless inputs names a way of scaling."""
    check_known("scaling of inputs", inputs, INPUTS)


def feature_statistics(x: Stored) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean and standard deviation of each feature, in float64; bytes count as bytes / 255.

    mean = sum_i x_i / N          std = sqrt(sum_i (x_i - mean)^2 / N)
    """
    unit = 255 if x.dtype == np.uint8 else 1
    n = len(x)
    mean = x.sum(axis=0, dtype=np.float64) / (n * unit)
    squares = np.zeros(x.shape[1])
    for start in range(0, n, CHUNK):
        centred = x[start : start + CHUNK] / np.float64(unit) - mean
        squares += np.einsum("ij,ij->j", centred, centred)
    return mean, np.sqrt(squares / n)


def _as_inputs(what: str, x: npt.NDArray[Any]) -> tuple[Stored, tuple[int, ...] | None]:
    """Inputs as they are stored, (N, n_inputs), and the shape of one image if they were images."""
    x = np.asarray(x)
    if x.dtype.kind not in "biuf" or not 2 <= x.ndim <= 4:
        raise UsageError(
            f"{what} should be a matrix of numbers, one row per sample, not {x.dtype} of shape {x.shape}"
        )
    shape = None
    if x.ndim > 2:
        shape = x.shape[1:]
        x = x.reshape(len(x), math.prod(shape))
    if x.dtype not in (np.uint8, np.float32):
        with np.errstate(over="ignore"):
            x = x.astype(np.float32)
    return _finite(what, x), shape


def _as_targets(what: str, y: Targets, n: int, classes: tuple[str, ...]) -> Targets:
    """Class numbers (n,) as int64, or with no classes the numbers to learn (n, K) as float64."""
    y = np.asarray(y)
    if not classes:
        y = y[:, None] if y.ndim == 1 else y
        if y.dtype.kind != "f" or y.ndim != 2 or len(y) != n or not y.shape[1]:
            raise UsageError(
                f"{what} should be {n} floats, or {n} rows of floats, as classes=() means numbers to "
                f"learn: not {y.dtype} of shape {y.shape}. Class numbers need classes=(name, name, ...)"
            )
        return _finite(what, y.astype(np.float64, copy=False))
    if y.shape == (n, 1):
        y = y[:, 0]
    if y.shape != (n,) or y.dtype.kind not in "biu":
        advice = ""
        if y.ndim == 2 and y.dtype.kind in "biuf":
            advice = ". Write y.argmax(axis=1) for one-hot rows"
        elif y.dtype.kind == "f":
            advice = ". Write y.astype(int), or classes=() if they are numbers to learn"
        elif y.dtype.kind in "OUS":
            advice = ". Write classes, y = np.unique(y, return_inverse=True)"
        raise UsageError(
            f"{what} should be {n} whole numbers, the class of each row, not {y.dtype} of shape "
            f"{y.shape}{advice}"
        )
    if n and (y.min() < 0 or y.max() >= len(classes)):
        raise UsageError(
            f"{what} run from {y.min()} to {y.max()}, but there are {len(classes)} classes, 0 to "
            f"{len(classes) - 1}"
        )
    return y.astype(np.int64, copy=False)


def _as_weights(what: str, weights: npt.NDArray[Any], n: int) -> npt.NDArray[np.float64]:
    """Weights of n samples as float64: finite, none below 0, not all 0."""
    found = np.asarray(weights)
    if found.shape != (n,) or found.dtype.kind not in "biuf":
        raise UsageError(
            f"{what} should be {n} numbers, one per training sample, not {found.dtype} of shape "
            f"{found.shape}"
        )
    found = _finite(what, found.astype(np.float64))
    if found.min() < 0 or not found.any():
        raise UsageError(
            f"{what} should be numbers from 0 up, not all 0: they run from {rounded(found.min(), 6)} "
            f"to {rounded(found.max(), 6)}"
        )
    return found


def _finite(what: str, a: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The array, if all its numbers are finite."""
    if a.dtype.kind == "f" and not np.isfinite(a).all():
        wrong = np.argwhere(~np.isfinite(a))
        place = ", ".join(map(str, wrong[0]))
        raise UsageError(
            f"{what} hold NaN or infinity at {len(wrong)} place{'s' * (len(wrong) > 1)}, the first at "
            f"[{place}]: leave those rows out, or write numbers there"
        )
    return a


def _bytes_as_floats(x: Stored) -> bool:
    """Whether floats are whole numbers from 0 to 255, the largest above 100: very probably pixels."""
    few = x[:100]
    pixels = x.dtype == np.float32 and x.shape[1] >= 16 and 100 < few.max() <= 255
    return bool(pixels and few.min() >= 0 and (few == few.round()).all())


def _stratified(labels: Targets, n: int, order: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """n indices, sorted: of each class its share of n, the earliest in the given order.

    Shares are rounded down; the samples still missing go to the largest remainders, the lower class first.
    Numbers to learn have no classes: then they are the first n in that order.
    """
    if labels.dtype.kind == "f":
        return np.sort(order[:n])
    counts = np.bincount(labels)
    exact = counts * n  # shares times len(labels): whole numbers, so no rounding decides a tie
    quota = exact // len(labels)
    remainder = exact % len(labels)
    quota[np.argsort(-remainder, kind="stable")[: n - quota.sum()]] += 1
    ordered = labels[order]
    chosen = [order[ordered == k][: quota[k]] for k in range(len(counts))]
    return np.sort(np.concatenate(chosen))
