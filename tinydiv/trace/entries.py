"""What a traced step consists of: arrays in their order, each with a name and a formula.

The formulas can be evaluated as they are written (a test does it):

    A B          the matrix product            A'          A with rows and columns exchanged
    A * B        entry by entry                f'(Z)       the derivative of f at each entry of Z
    sum_n A      summed over samples         x <- ...    the new x, from the entries before it

Entries without a formula (the data, the start, a technique's own gradient) have a description instead.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tinydiv.backend import Array, to_host

Floats = npt.NDArray[np.float64]

STAGES = {
    "given": "What is given",
    "forward": "Forward: from the inputs to the outputs",
    "loss": "Loss: one number for the whole batch",
    "techniques": "Techniques: the gradients that each adds",
    "backward": "Backward: from the loss to every gradient",
    "update": "Update: what the optimizer makes of the gradients",
}
"""The stages of a step, in order, with their headings."""


@dataclass(frozen=True)
class Entry:
    """One array of the step: the numbers of one network, and the shape over all networks."""

    stage: str
    name: str
    formula: str
    values: Floats
    shape: tuple[int, ...]
    sign: str = "="
    """ "=" where the array is made, "<-" where it takes a new value."""
    given: bool = False
    """True where the formula is a description: it cannot be computed from the entries before it."""

    @property
    def rms(self) -> float:
        """The size of a typical entry: sqrt(mean of squares), taken so that no square overflows."""
        largest = self.largest
        if largest == 0 or not np.isfinite(largest):
            return largest
        return largest * float(np.sqrt(np.mean((self.values / largest) ** 2)))

    @property
    def largest(self) -> float:
        """The size of the largest entry: max |x|."""
        return float(np.abs(self.values).max())


@dataclass
class StepTrace:
    """A training step in order: all entries, and notes on what is not shown.

    number counts steps from 0; network is the one of several whose numbers are kept.
    """

    sizes: list[int]
    activation: str
    loss: str
    replicas: int | None = None
    network: int = 0
    number: int = 0
    entries: list[Entry] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(
        self, stage: str, name: str, formula: str, a: Array, sign: str = "=", given: bool = False
    ) -> None:
        """Keep a copy of one array: the numbers of the network that is shown, the shape of all."""
        host = np.array(to_host(a), dtype=np.float64)
        own = self.replicas is not None and host.ndim in (1, 3)  # (R,) or (R, rows, columns)
        values = np.asarray(host[self.network]) if own else host
        self.entries.append(Entry(stage, name, formula, values, host.shape, sign, given))

    def __getitem__(self, name: str) -> Entry:
        """The last entry of that name: trace["dW[0]"]."""
        for entry in reversed(self.entries):
            if entry.name == name:
                return entry
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return any(entry.name == name for entry in self.entries)
