"""Toy sets: points in the plane, tasks whose every case can be listed, and curves y(x) to learn.

Each toy is a function of a seed and its own settings. Training and test noise come from separate
streams. Where every case is listed (xor, life, parity of up to 16 bits), test and training part are
the same: the question there is whether a network finds the rule at all, not whether it generalises.
"""

import inspect
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tinydiv.data import tasks
from tinydiv.errors import UsageError, check_known
from tinydiv.randomness import generator, seed_sequence

_Labels = npt.NDArray[np.int64]
_Numbers = npt.NDArray[np.float64]

MOST_LISTED_BITS = 16  # 65,536 patterns; beyond that, parity is drawn
MOST_BITS = 64
MOST_ARMS = 11
MOST_POINTS = 10_000_000
MOST_OF_A_MIXTURE = 1000  # classes, dimensions, clusters

PAPER = "Radhakrishnan et al., When less is more (2025), arXiv 2501.18012"


class ToyParts(NamedTuple):
    """The arrays of a toy set: float32 inputs (N, n), int64 labels (N,).

    With classes = () the targets are numbers to learn: float64 (N, 1).
    """

    train_x: npt.NDArray[np.float32]
    train_y: _Labels | _Numbers
    test_x: npt.NDArray[np.float32]
    test_y: _Labels | _Numbers
    classes: tuple[str, ...]
    image_shape: tuple[int, int] | None = None


class Toy(NamedTuple):
    """A toy set's line and source for lists, and the function that makes it."""

    line: str
    source: str
    make: Callable[..., ToyParts]


def spirals(
    seed: int, *, arms: int = 5, n_train: int = 26214, n_test: int = 6554, noise: float = 0.2
) -> ToyParts:
    """Interleaved spiral arms, one class each (the growing-networks paper, arXiv 2501.18012).

        arm k:  r = linspace(0, 5),  angle = linspace(4 k, 4 k + 4) + noise * N(0, 1)
        point = (r sin(angle), r cos(angle)), then min-max scaled to [-1, 1] by the training part

    The defaults are the paper's: 5 arms, 32,768 points, 80 % of them for training. At most 11 arms:
    44 radians are seven turns, so arm 11 would coincide with arm 0.
    """
    _check_whole("arms", arms, 2, MOST_ARMS)
    _check_sizes(n_train, n_test, at_least=arms)
    _check_number("noise", noise)

    def draw(n: int, rng: np.random.Generator) -> tuple[npt.NDArray[np.float64], _Labels]:
        points, labels = [], []
        for k in range(arms):
            size = n // arms + (k < n % arms)
            radius = np.linspace(0, 5, size)
            angle = np.linspace(4 * k, 4 * k + 4, size) + noise * rng.standard_normal(size)
            points.append(np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=1))
            labels.append(np.full(size, k))
        return np.concatenate(points), np.concatenate(labels)

    rng_train, rng_test = _streams(seed)
    train_x, train_y = _shuffled(*draw(n_train, rng_train), rng_train)
    test_x, test_y = _shuffled(*draw(n_test, rng_test), rng_test)
    low, high = train_x.min(axis=0), train_x.max(axis=0)
    width = np.where(high > low, high - low, 1)  # it is 0 with one point per arm, all at r = 0
    return ToyParts(
        (2 * (train_x - low) / width - 1).astype(np.float32),
        train_y,
        (2 * (test_x - low) / width - 1).astype(np.float32),
        test_y,
        tuple(f"arm {k}" for k in range(arms)),
    )


def moons(seed: int, *, n_train: int = 2000, n_test: int = 1000, noise: float = 0.15) -> ToyParts:
    """Two interleaved half circles.

    upper:  (cos t, sin t)           lower:  (1 - cos t, 1/2 - sin t)
    t uniform on [0, pi], then noise * N(0, 1) on both coordinates
    """
    _check_sizes(n_train, n_test, at_least=2)
    _check_number("noise", noise)

    def draw(n: int, rng: np.random.Generator) -> tuple[npt.NDArray[np.float32], _Labels]:
        labels = np.arange(n) % 2
        t = rng.uniform(0, np.pi, n)
        upper = np.stack([np.cos(t), np.sin(t)], axis=1)
        lower = np.stack([1 - np.cos(t), 0.5 - np.sin(t)], axis=1)
        points = np.where(labels[:, None] == 0, upper, lower)
        points += noise * rng.standard_normal(points.shape)
        return points.astype(np.float32), labels

    rng_train, rng_test = _streams(seed)
    return ToyParts(*draw(n_train, rng_train), *draw(n_test, rng_test), ("upper", "lower"))


def xor(seed: int) -> ToyParts:
    """The four pairs of bits; true where exactly one is 1. Nothing is drawn, test = training part."""
    listed = parity(seed, bits=2)
    return listed._replace(classes=("false", "true"))


def parity(seed: int, *, bits: int = 6, n_train: int = 32768, n_test: int = 8192) -> ToyParts:
    """Whether the number of ones is odd, for patterns of zeros and ones.

    Up to 16 bits all 2^bits patterns are listed, in counting order, test = training part, and
    n_train and n_test are not used; from 17 bits on that many patterns are drawn, each bit 0 or 1 with
    probability 1/2. The default of 6 bits makes 64 patterns: one batch of the usual size.
    """
    _check_whole("bits", bits, 1, MOST_BITS)
    _check_sizes(n_train, n_test, at_least=1)
    classes = ("even", "odd")
    if bits <= MOST_LISTED_BITS:
        x = _all_patterns(bits)
        y = _odd(x)
        return ToyParts(x, y, x, y, classes)
    rng_train, rng_test = _streams(seed)
    train_x = rng_train.integers(0, 2, (n_train, bits)).astype(np.float32)
    test_x = rng_test.integers(0, 2, (n_test, bits)).astype(np.float32)
    return ToyParts(train_x, _odd(train_x), test_x, _odd(test_x), classes)


def life(seed: int) -> ToyParts:
    """The Game of Life's rule: the centre's next state, for all 512 patches of 3 x 3 cells.

        alive next  <=>  3 of the 8 neighbours live, or 2 do and the centre lives

    Nothing is drawn; test = training part. 140 of the 512 patches have a living next state.
    """
    x = _all_patterns(9)
    centre = x[:, 4]
    neighbours = x.sum(axis=1) - centre
    alive = (neighbours == 3) | ((neighbours == 2) & (centre == 1))
    y = alive.astype(np.int64)
    return ToyParts(x, y, x, y, ("dead", "alive"), (3, 3))


def mixture(
    seed: int,
    *,
    classes: int = 5,
    dimensions: int = 2,
    clusters: int = 2,
    spread: float = 0.15,
    n_train: int = 2000,
    n_test: int = 1000,
) -> ToyParts:
    """A Gaussian mixture: each class is some clusters with centres uniform in [-1, 1]^dimensions.

    x = centre + spread * N(0, 1);   classes and their clusters are equally likely

    The growing-networks paper does not define its mixture: this definition is ours.
    """
    _check_whole("classes", classes, 2, MOST_OF_A_MIXTURE)
    _check_whole("dimensions", dimensions, 1, MOST_OF_A_MIXTURE)
    _check_whole("clusters", clusters, 1, MOST_OF_A_MIXTURE)
    _check_number("spread", spread)
    _check_sizes(n_train, n_test, at_least=1)
    rng = generator(seed, "toy")
    centres = rng.uniform(-1, 1, (classes, clusters, dimensions))
    n = n_train + n_test
    y = rng.integers(classes, size=n)
    x = centres[y, rng.integers(clusters, size=n)] + spread * rng.standard_normal((n, dimensions))
    rows = x.astype(np.float32)
    names = tuple(f"class {k}" for k in range(classes))
    return ToyParts(rows[:n_train], y[:n_train], rows[n_train:], y[n_train:], names)


def curve(name: str, seed: int, *, n_train: int = 32, n_test: int = 8) -> ToyParts:
    """One trial of a curve of tasks.py: x uniform on [-1, 1], y(x) a number to learn or a class."""
    _check_sizes(n_train, n_test, at_least=1)
    x, y, test_x, test_y = tasks.points(name, [seed], n_train, n_test)
    inputs = [part.astype(np.float32) for part in (x, test_x)]
    if not tasks.curve(name).classes:
        return ToyParts(inputs[0], y, inputs[1], test_y, ())
    labels = [part[:, 0].astype(np.int64) for part in (y, test_y)]
    return ToyParts(inputs[0], labels[0], inputs[1], labels[1], ("0", "1"))


TOYS = {
    "spirals": Toy(
        "interleaved spiral arms in the plane, one class each",
        PAPER,
        spirals,
    ),
    "moons": Toy(
        "two interleaved half circles",
        "a classic; this definition is ours",
        moons,
    ),
    "xor": Toy(
        "exclusive or of two bits, all 4 cases (test = training part)",
        "Rumelhart, Hinton, Williams, Learning internal representations (1986)",
        xor,
    ),
    "parity": Toy(
        "is the number of ones odd? All patterns up to 16 bits (test = training part)",
        "Rumelhart, Hinton, Williams, Learning internal representations (1986)",
        parity,
    ),
    "life": Toy(
        "Game of Life: the centre's next state, all 512 patches of 3x3 (test = training part)",
        "Springer, Kenyon, It's Hard for Neural Networks To Learn the Game of Life (2020), "
        "arXiv 2009.01398",
        life,
    ),
    "mixture": Toy("Gaussian clusters, some for each class", f"after {PAPER}", mixture),
} | {
    name: Toy(
        f"{one.line}: {'two classes' if one.classes else 'a number to learn'} from one number in [-1, 1]",
        PAPER,
        partial(curve, name),
    )
    for name, one in tasks.CURVES.items()
}
"""Every toy by name."""


def settings_of(toy: str) -> dict[str, int | float]:
    """The settings of a toy and their defaults: {"arms": 5, "noise": 0.2, ...}."""
    parameters = inspect.signature(TOYS[toy].make).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def make_toy(name: str, seed: int, settings: dict[str, int | float]) -> ToyParts:
    """A toy by name. Raises UsageError for a setting that it does not have or cannot take."""
    seed_sequence(seed, "toy")  # a wrong seed is refused even where nothing is drawn
    allowed = settings_of(name)
    for setting in settings:
        if not allowed:
            raise UsageError(f"the toy set {name!r} takes no settings, got {setting!r}")
        check_known(f"setting of the toy set {name!r}", setting, allowed)
    return TOYS[name].make(seed, **settings)


def _streams(seed: int) -> list[np.random.Generator]:
    """Two independent generators: one for the training part, one for the test part."""
    return [np.random.default_rng(child) for child in seed_sequence(seed, "toy").spawn(2)]


def _shuffled(
    points: npt.NDArray[np.float64], labels: _Labels, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float64], _Labels]:
    """Both arrays in one random order, so that the classes do not lie one after the other."""
    order = rng.permutation(len(labels))
    return points[order], labels[order]


def _all_patterns(bits: int) -> npt.NDArray[np.float32]:
    """All 2^bits rows of zeros and ones in counting order, the first column the highest bit."""
    numbers = np.arange(2**bits)[:, None]
    return (numbers >> np.arange(bits)[::-1] & 1).astype(np.float32)


def _odd(x: npt.NDArray[np.float32]) -> _Labels:
    """1 for each row whose number of ones is odd, else 0."""
    ones: _Labels = x.astype(np.int64).sum(axis=1)
    return ones % 2


def _check_whole(setting: str, value: int, low: int, high: int) -> None:
    is_whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not is_whole or not low <= value <= high:
        raise UsageError(f"{setting} is a whole number from {low} to {high}, got {value!r}")


def _check_sizes(n_train: int, n_test: int, at_least: int) -> None:
    _check_whole("n_train", n_train, at_least, MOST_POINTS)
    _check_whole("n_test", n_test, at_least, MOST_POINTS)


def _check_number(setting: str, value: float) -> None:
    is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= 100:  # written with `not`, so that nan is refused too
        raise UsageError(f"{setting} is a number from 0 to 100, got {value!r}")
