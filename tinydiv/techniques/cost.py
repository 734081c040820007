"""What a technique costs, beside a plain training step: flops that are counted by formula.

Counted are multiplications, additions and other arithmetic on single numbers, one each:

    product (m, k) (k, n)      2 m k n
    elementwise, reductions    1 for every number that is read or made, exp and log included
    n x n decompositions       logdet 2/3 n^3, inverse 2 n^3, eigenvectors 9 n^3, a system with m right
                               sides 2/3 n^3 + 2 n^2 m (textbook figures)
    random numbers             DRAW each: ten rounds of Philox per four of them

A relative cost of 0.05 means 5 % more arithmetic than a plain step; what an intervention does every k
steps counts by its k-th part. It is no time: short rows and many small operations take longer than one
large product (tinydiv.bench measures).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinydiv.techniques.base import Technique


@dataclass(frozen=True)
class Shape:
    """One hidden layer at work: N samples, D inputs, H hidden neurons, K outputs (or next neurons).

    P: samples of the probe set, on which some interventions look.
    """

    N: int
    D: int
    H: int
    K: int
    P: int = 512

    @property
    def step(self) -> float:
        """Flops of the products of a plain training step, D-H-K: forward and backward.

        Three products per layer, but for the gradient that the inputs do not need:
        6 N (D H + H K) - 2 N D H.
        """
        return 6 * self.N * (self.D * self.H + self.H * self.K) - 2 * self.N * self.D * self.H

    @property
    def weights(self) -> int:
        """How many weights and biases the network has."""
        return self.D * self.H + self.H + self.H * self.K + self.K

    @property
    def probe(self) -> float:
        """Flops of a forward pass on the probe set, as a relu network makes it."""
        return 2 * self.P * (self.D * self.H + self.H * self.K) + self.P * (2 * self.H + self.K)


REFERENCE = Shape(N=64, D=784, H=16, K=10)
"""Where relative costs are quoted: 784-16-10 in batches of 64."""


DRAW = 28
"""Flops of one random number on (-1, 1) or of one entry of a mask (philox.py)."""


def relative_cost(
    technique: Technique, at: Shape = REFERENCE, every: int | None = None
) -> float | None:
    """A technique's flops per step over those of a plain step; None if it does not say.

    every: an intervention's trigger, its default if not given.
    """
    flops = technique.flops(at)
    usual: int = getattr(technique, "default_every", 1)
    return None if flops is None else flops / (every or usual) / at.step


def cost_text(technique: Technique, every: int | None = None) -> str:
    """The relative cost for a table: "+4.2 %", or "?" where a reader's own technique does not say."""
    cost = relative_cost(technique, every=every)
    return "?" if cost is None else f"+{100 * cost:.2g} %" if cost < 0.1 else f"+{100 * cost:.0f} %"
