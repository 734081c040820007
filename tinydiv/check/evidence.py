"""What the doctor compares: a gradient as it was derived and as it was measured, and facts about it.

NumPy arrays on the host: nothing here is part of a training step.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

CLOSE = 2e-6
"""Two arrays are the same if they differ by less than this times the largest entry."""


@dataclass(frozen=True)
class Finding:
    """What is wrong: a short code for machines, a sentence for readers."""

    code: str
    words: str


@dataclass
class Facts:
    """What is known about a case beside its arrays. Everything may be left out."""

    samples: int = 0
    """N, the batch size."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    """Other sizes that a factor could equal, by their names: {"the number of neurons": 4}."""
    rows: Mapping[str, str] = field(default_factory=dict)
    """What the rows (axis -2) of an array are: "samples" or "inputs"."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """What one column (axis -1) of an array is: "neuron", "output", "input"."""
    upstream: bool = False
    """Do the gradients belong to random upstream gradients, made for this check?"""
    lead: bool = False
    """Do the arrays carry a leading axis of networks?"""
    strengths: np.ndarray | None = None
    """One strength per network, (R,), or that of a single network, (1,): for the gradients of a
    penalty."""
    off: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Where neurons are off, for arrays that are laid out as activations."""
    extras: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    """Other arrays of the same shape that may have been added by mistake, by array and by their names."""
    task: Mapping[str, np.ndarray] = field(default_factory=dict)
    """The part of each gradient that is not checked: the task's own, beside a penalty's."""
    before: Mapping[str, np.ndarray] = field(default_factory=dict)
    """The content of the arrays before they were filled."""
    parts: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    """What each upstream gradient gives on its own, by array and by its name (dlogits, dA[1], ...)."""
    variants: Sequence[tuple[Finding, Mapping[str, np.ndarray]]] = ()
    """What known faults would give, for all arrays at once."""


@dataclass
class Evidence:
    """One array as it was derived (a) and as it was measured (n)."""

    name: str
    a: np.ndarray
    n: np.ndarray
    kinks: np.ndarray
    x: np.ndarray
    facts: Facts = field(default_factory=Facts)
    others: Mapping[str, np.ndarray] = field(default_factory=dict)
    """The measured gradients of the other arrays, by name."""

    @property
    def scale(self) -> float:
        return float(max(np.abs(self.a).max(initial=0), np.abs(self.n).max(initial=0)))

    def same(self, p: np.ndarray, q: np.ndarray) -> bool:
        """Whether two arrays are equal, except at kinks, up to the errors of measurement."""
        if p.shape != q.shape:
            return False
        p, q = p[~self.kinks], q[~self.kinks]
        size = max(np.abs(p).max(initial=0), np.abs(q).max(initial=0))
        return bool(np.abs(p - q).max(initial=0) <= CLOSE * size)

    @property
    def wrong(self) -> np.ndarray:
        """Which entries differ."""
        entries: np.ndarray = (np.abs(self.a - self.n) > CLOSE * self.scale) & ~self.kinks
        return entries

    @property
    def right(self) -> bool:
        return not self.wrong.any()


def part(e: Evidence, index: tuple[slice | np.ndarray, ...]) -> Evidence:
    """The evidence for a part of the arrays, without the facts that hold for whole arrays only."""
    kept = replace(e.facts, extras={}, off={}, strengths=None, before={}, parts={}, variants=())
    return Evidence(e.name, e.a[index], e.n[index], e.kinks[index], e.x[index], kept)
