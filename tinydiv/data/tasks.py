"""The tasks of the growing-networks paper (Radhakrishnan et al., 2025): curves on [-1, 1].

A curve is a function y(x) of one number, whose points are drawn anew for every trial or shared by all:

    bessel-window   J0 on [0.1, 0.2], both axes rescaled to [-1, 1]
    bessel-sum      J0 + J1 + J2 on [-2 pi, 2 pi], x rescaled to [-1, 1]
    cubic           (45 x^3 + 45 x^2 - 45 x - 13) / 32
    quadratic       x^2 / 5 - x - 1 / 5
    cubic-2         g(-1) = g(1) = -1, g(1/3) = 2/3, g'(1/3) = 0:  g = -cubic
    quadratic-2     h(-1) = 1, h(1) = -1/2, h'(1/2) = 0:           h = 3/4 x^2 - 3/4 x - 1/2
    step            floor(1 + sin 2 pi x): class 0 or 1

`points` gives many trials at once. One trial is a toy set of the same name (toys.py): load("cubic", seed=3)
has the points of the trial with seed 3. The paper's spirals and its Gaussian mixture are toy sets, too.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tinydiv.errors import UsageError, check_known
from tinydiv.randomness import generator

Floats = npt.NDArray[np.float64]

TERMS = 40
"""Terms of the series below: enough for |x| <= 2 pi to the last digit."""


def bessel(n: int, x: npt.ArrayLike) -> Floats:
    """The Bessel function of the first kind J_n, n = 0, 1, 2, ..., by its series.

    J_n(x) = sum_k (-1)^k / (k! (k + n)!) (x / 2)^(2k + n)

    Exact to 1e-13 for |x| <= 2 pi; for larger |x| the terms grow before they fall, and digits are lost.
    """
    half: Floats = np.asarray(x, dtype=np.float64) / 2
    term: Floats = np.ones_like(half)
    for k in range(1, n + 1):
        term = term * half / k
    total: Floats = term.copy()
    for k in range(1, TERMS):
        term = -term * half**2 / (k * (k + n))
        total += term
    return total


def bessel_window(x: Floats) -> Floats:
    """J0 on [0.1, 0.2], both axes rescaled to [-1, 1]; J0 falls there, so y falls from 1 to -1."""
    high, low = bessel(0, [0.1, 0.2])
    y: Floats = 2 * (bessel(0, 0.15 + 0.05 * x) - low) / (high - low) - 1
    return y


def bessel_sum(x: Floats) -> Floats:
    """J0 + J1 + J2 at 2 pi x."""
    return bessel(0, 2 * np.pi * x) + bessel(1, 2 * np.pi * x) + bessel(2, 2 * np.pi * x)


class TargetCurve(NamedTuple):
    """A function on [-1, 1], and whether its values are the classes 0 and 1."""

    line: str
    y: Callable[[Floats], Floats]
    classes: bool = False


CURVES: dict[str, TargetCurve] = {
    "bessel-window": TargetCurve("J0 on [0.1, 0.2], rescaled", bessel_window),
    "bessel-sum": TargetCurve("J0 + J1 + J2 on [-2 pi, 2 pi]", bessel_sum),
    "cubic": TargetCurve("a cubic", lambda x: (45 * x**3 + 45 * x**2 - 45 * x - 13) / 32),
    "quadratic": TargetCurve("a quadratic, nearly a line", lambda x: x**2 / 5 - x - 1 / 5),
    "cubic-2": TargetCurve("minus the cubic", lambda x: (13 + 45 * x - 45 * x**2 - 45 * x**3) / 32),
    "quadratic-2": TargetCurve(
        "a quadratic with a minimum", lambda x: 0.75 * x**2 - 0.75 * x - 0.5
    ),
    "step": TargetCurve(
        "two classes in four stripes", lambda x: np.floor(1 + np.sin(2 * np.pi * x)), True
    ),
}
"""Every curve by name."""


class Points(NamedTuple):
    """Points of a curve for each trial: x and y of the training part (P, T), and of the test part."""

    x: Floats
    y: Floats
    test_x: Floats
    test_y: Floats


def curve(name: str) -> TargetCurve:
    """The curve of that name. Raises UsageError for one that does not exist."""
    check_known("task", name, CURVES)
    return CURVES[name]


def points(
    name: str, seeds: Sequence[int], n_train: int = 32, n_test: int = 8, *, shared: bool = False
) -> Points:
    """Uniform points of a curve on [-1, 1], drawn anew for each seed, or the first seed's for all.

    Raises UsageError for an unknown task or an empty part.
    """
    f = curve(name).y
    if min(n_train, n_test) < 1:
        raise UsageError(
            f"a task needs points to train and to test on, got {n_train} and {n_test}: one at least"
        )
    drawn = [
        generator(seed, "toy").uniform(-1, 1, n_train + n_test)
        for seed in (seeds[:1] if shared else seeds)
    ]
    x = np.stack(drawn * (len(seeds) if shared else 1), axis=1)
    y = f(x)
    return Points(x[:n_train], y[:n_train], x[n_train:], y[n_train:])
