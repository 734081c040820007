"""Numerical derivatives in float64, with which every gradient that was derived by hand is compared.

A function takes named arrays and gives one or several arrays. Its outputs are weighted by random
cotangents and summed to one number,

    F(x) = sum_k <cotangent_k, output_k(x)>

Plain sums would prove nothing: the sum of a softmax, or of centred activations, is constant, and a backward
pass of zeros would be right. The derivative of F along v is measured by central differences of fourth
order,

    D(h) = [8 (F(x+hv) - F(x-hv)) - (F(x+2hv) - F(x-2hv))] / 12h          error O(h^4) + O(eps / h)

with h = 2e-4 of the size of x: for a smooth function both errors are then near 1e-12. Where D differs from
the expected derivative, smaller steps are tried, and the step is taken whose result agrees best with that
of the next smaller one; the expected derivative plays no part in this choice. Results agree if both steps
stay on one side of a kink, and differ if one step crosses it. At a kink itself the slopes to the left and
to the right differ for every step, however small.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tinydiv.backend import Array, to_device, xp
from tinydiv.randomness import generator

Point = dict[str, Array]
"""Where a function is differentiated: its arrays by name."""

Function = Callable[[Point], Sequence[Array]]
"""The outputs at a point; the same outputs for the same point, every time."""

STEP = 2e-4
SMALLER_STEPS = (3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6, 3e-7, 1e-7)
TINY_STEPS = (1e-5, 1e-6)
"""Where slopes to the left and to the right are compared."""


@dataclass
class Slopes:
    """Derivatives along several directions, their uncertainties, and which have a kink at the point."""

    values: list[float] = field(default_factory=list)
    doubts: list[float] = field(default_factory=list)
    kinks: list[bool] = field(default_factory=list)
    stopped: bool = False
    """True where the last direction disagreed and the others were left out."""


def cotangents(outputs: Sequence[Array], seed: int) -> list[Array]:
    """Random weights for the outputs: of either sign, and none near zero."""
    rng = generator(seed, "noise")
    drawn = []
    for output in outputs:
        sizes = rng.uniform(0.5, 1.5, output.shape) * rng.choice([-1.0, 1.0], output.shape)
        drawn.append(to_device(sizes))
    return drawn


class Probe:
    """F as a function of one array of the point; all other arrays are fixed."""

    def __init__(
        self, function: Function, weights: Sequence[Array], point: Point, name: str
    ) -> None:
        self.function, self.weights, self.point, self.name = function, weights, point, name
        self.x = point[name]
        self.unit = self._unit()
        self.entrywise: Slopes | None = None
        """The derivative by every entry, once it was measured."""
        self.middle = function(point)
        """The outputs at the point itself."""
        size = sum(float(xp.sum(abs(w * f))) for w, f in zip(weights, self.middle, strict=True))
        self.floor = 5e-11 * size / self.unit
        """The derivative that rounding errors alone can produce: 50 times eps |F| / h. Where F is a
        difference of much larger numbers it is larger: see `rounding`."""
        self._rounding: float | None = None

    def _unit(self) -> float:
        """The size of x's entries: steps are counted in it."""
        square = float(xp.mean(self.x**2))
        return min(max(math.sqrt(square), 1e-3), 1e3)

    def rounding(self) -> float:
        """The same, measured: how much F changes between points that are 1e-12 apart."""
        if self._rounding is None:
            jumps = [self.floor]
            for v in random_directions(self.x, 4, seed=1):
                second = self._weighted(v, 1e-12, {-1: 1.0, 0: -2.0, 1: 1.0}) * 1e-12
                jumps.append(20 * abs(second) / STEP)
            self._rounding = max(jumps)
        return self._rounding

    def at(self, v: Array, step: float) -> Sequence[Array]:
        """The outputs at x + step * v, with the step counted in units of x."""
        return self.function({**self.point, self.name: self.x + step * self.unit * v})

    def _weighted(self, v: Array, step: float, factors: dict[int, float]) -> float:
        """sum_k factor_k F(x + k step v) / (step unit), subtracted entry by entry before the sum."""
        known = {k: self.middle if k == 0 else self.at(v, k * step) for k in factors}
        total = 0.0
        for i, weight in enumerate(self.weights):
            change = sum(factor * known[k][i] for k, factor in factors.items())
            total += float(xp.sum(weight * change))
        return total / (step * self.unit)

    def central(self, v: Array, step: float) -> float:
        """The derivative along v, by differences to both sides."""
        return self._weighted(v, step, {1: 2 / 3, -1: -2 / 3, 2: -1 / 12, -2: 1 / 12})

    def left_and_right(self, v: Array, step: float) -> tuple[float, float]:
        """The slopes to the left and to the right of x, of second order."""
        left = self._weighted(v, step, {0: 1.5, -1: -2.0, -2: 0.5})
        right = self._weighted(v, step, {0: -1.5, 1: 2.0, 2: -0.5})
        return left, right

    def settled(self, v: Array) -> tuple[float, float]:
        """The derivative where two neighbouring steps agree best, and its uncertainty: their difference
        plus the rounding error at that step."""
        found = [self.central(v, step) for step in SMALLER_STEPS]
        best = (found[0], math.inf)
        for (one, other), step in zip(pairwise(found), SMALLER_STEPS[1:], strict=True):
            doubt = abs(one - other) + self.rounding() / 50 * STEP / step
            if doubt < best[1]:
                best = (one, doubt)
        return best

    def kink(self, v: Array, mismatch: float) -> bool:
        """Whether the slopes to both sides differ, and still differ as the step shrinks.

        Where the function is smooth, the gap between both slopes is a hundred times smaller at a tenth of
        the step. At a kink it stays the same; at a jump of the value it is ten times larger. A gap far
        below the mismatch is not its cause, and does not count.
        """
        wide, narrow = (
            abs(right - left)
            for left, right in (self.left_and_right(v, step) for step in TINY_STEPS)
        )
        noise = self.floor * STEP / TINY_STEPS[1]
        return narrow > max(1e-3 * mismatch, noise) and 0.05 < wide / narrow < 2.0

    def measure(self, v: Array, expected: float, allowed: float) -> tuple[float, float, bool]:
        """The derivative along v, its uncertainty, and whether the point is a kink along v."""
        slope, doubt = self.central(v, STEP), 0.0
        close = self.floor + 0.01 * (allowed - self.floor)
        if abs(slope - expected) <= close:
            return slope, doubt, False
        if abs(slope - self.central(v, STEP / 10)) > close:
            slope, doubt = self.settled(v)
        mismatch = abs(slope - expected)
        if mismatch <= allowed:
            return slope, doubt, False
        return slope, doubt, self.kink(v, mismatch)


def directions(x: Array) -> list[Array]:
    """One direction per entry of x."""
    found = []
    for i in range(x.size):
        v = xp.zeros(x.size, dtype=x.dtype)
        v[i] = 1
        found.append(v.reshape(x.shape))
    return found


def random_directions(x: Array, count: int, seed: int) -> list[Array]:
    """Random directions of length 1 through all entries of x at once."""
    rng = generator(seed, "redraw")
    drawn = [rng.standard_normal(x.shape) for _ in range(count)]
    return [to_device(v / (v**2).sum() ** 0.5) for v in drawn]


def along(gradient: Array, directions: Sequence[Array]) -> list[float]:
    """The derivative along each direction that follows from a gradient: <gradient, v>."""
    return [float(xp.sum(gradient * v)) for v in directions]


def slopes(
    probe: Probe,
    directions: Sequence[Array],
    expected: Sequence[float],
    tolerance: float,
    quick: bool = False,
) -> Slopes:
    """Measure along each direction; `expected` only decides where to measure more carefully.

    quick: stop at the first direction that disagrees.
    """
    allowed = tolerance * max([abs(e) for e in expected], default=0.0) + probe.floor
    found = Slopes()
    for v, e in zip(directions, expected, strict=True):
        value, doubt, kink = probe.measure(v, e, allowed)
        found.values.append(value)
        found.doubts.append(doubt)
        found.kinks.append(kink)
        if quick and (kink or not abs(value - e) <= allowed + 3 * doubt):
            found.stopped = True
            break
    return found


def complex_step(probe: Probe, directions: Sequence[Array]) -> list[float] | None:
    """Im F(x + i h v) / h with h = 1e-20: no subtraction, so exact to the last digits.

    None where the code does not take complex numbers (eigenvectors, stacked comparisons, float()); that
    is no error.
    """
    h = 1e-20
    found = []
    try:
        for v in directions:
            outputs = probe.function({**probe.point, probe.name: probe.x + 1j * h * v})
            pairs = zip(probe.weights, outputs, strict=True)
            found.append(sum(float(xp.sum(w * output.imag)) / h for w, output in pairs))
    except Exception:
        return None
    return found
