"""What the doctor compares: a hand-written gradient, the measured one, and facts about both.

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
    """What is known about a case beside its arrays. Every field may be left out."""

    samples: int = 0
    """N, the batch size."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    """Other sizes that a factor could equal, by their names: {"the number of neurons": 4}."""
    rows: Mapping[str, str] = field(default_factory=dict)
    """What the rows (axis -2) of an array are: "samples" or "inputs"."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """What one column (axis -1) of an array is: "neuron", "output", "input"."""
    upstream: bool = False
    """Whether the upstream gradients are random numbers, drawn for this check."""
    lead: bool = False
    """Whether the first axis of the arrays is that of the networks."""
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
    """The gradient that each upstream gradient causes alone, by array and by its name (dlogits, dA[1])."""
    variants: Sequence[tuple[Finding, Mapping[str, np.ndarray]]] = ()
    """Known faults, each with the arrays that a backward pass with this fault computes."""


@dataclass
class Evidence:
    """The gradient of one array x, as the code computes it and as it was measured."""

    name: str
    a: np.ndarray
    """The hand-written gradient."""
    n: np.ndarray
    """The measured one, the numerical derivative."""
    kinks: np.ndarray
    """True for entries at a kink of the function, where no derivative exists."""
    x: np.ndarray
    facts: Facts = field(default_factory=Facts)
    others: Mapping[str, np.ndarray] = field(default_factory=dict)
    """The measured gradients of the other arrays, by name."""

    @property
    def scale(self) -> float:
        """The largest |entry| of both gradients."""
        return float(max(np.abs(self.a).max(initial=0), np.abs(self.n).max(initial=0)))

    def same(self, p: np.ndarray, q: np.ndarray) -> bool:
        """Whether two arrays are equal up to errors of measurement; entries at kinks do not count."""
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
        """Whether no entry differs."""
        return not self.wrong.any()


def part(e: Evidence, index: tuple[slice | np.ndarray, ...]) -> Evidence:
    """The evidence for a part of the arrays, without the facts that hold for whole arrays only."""
    kept = replace(e.facts, extras={}, off={}, strengths=None, before={}, parts={}, variants=())
    return Evidence(e.name, e.a[index], e.n[index], e.kinks[index], e.x[index], kept)
