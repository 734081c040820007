"""What a layer is: a piece of the network with its own forward and backward, at a named place.

A layer stands at one of three places of the network in mlp.py:

    inputs   on A[0] = X, before the first product
    before   on Z[l] of a hidden layer, before its activation function       (batch norm, whitening)
    after    on A[l+1] of a hidden layer, after its activation function      (dropout)

Its parameters live in the network's theta, beside W and b, so every optimizer moves them; its running
statistics live on the layer. The layers themselves are files in techniques/.
"""

import copy
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from tinydiv.backend import Array
from tinydiv.errors import UsageError


@dataclass(frozen=True)
class Context:
    """What a layer can read about the pass: whether it is training, and which step it is (for masks)."""

    training: bool = False
    step: int = 0


class Layer:
    """Base class: fill in `place`, `shapes_for`, `forward` and `backward`.

    `only` chooses hidden layers by number (1 is the first); None means every place where it fits.
    """

    place = "before"
    only: tuple[int, ...] | None = None
    label: str = "layer"

    depth: int = 0
    width: int = 0
    lead: tuple[int, ...] = ()
    dtype: str = "float32"
    parameters: MutableMapping[str, Array]
    gradients: MutableMapping[str, Array]

    def spread(self, sizes: Sequence[int]) -> list["Layer"]:
        """One copy of this layer per place where it stands in a network of these sizes.

        Raises UsageError for a layer number that does not exist.
        """
        depths = [0] if self.place == "inputs" else list(range(len(sizes) - 2))
        if self.only is not None and self.place != "inputs":
            wrong = [l for l in self.only if l - 1 not in depths]
            if wrong:
                raise UsageError(
                    f"{self.label} cannot stand at layer {wrong[0]}: the hidden layers are "
                    f"{', '.join(str(d + 1) for d in depths) or 'none'}"
                )
            depths = [d for d in depths if d + 1 in self.only]
        copies = []
        for depth in depths:
            one = copy.copy(self)
            one.depth = depth
            one.width = sizes[0] if self.place == "inputs" else sizes[depth + 1]
            copies.append(one)
        return copies

    def attach(self, lead: tuple[int, ...], dtype: str) -> None:
        """Called once with the network's leading axes and dtype; running statistics are made here."""
        self.lead, self.dtype = lead, dtype

    def seed(self, seeds: Sequence[int]) -> None:
        """Called with one seed per network, for layers that draw random numbers; Techniques passes
        those of the run."""

    @property
    def tag(self) -> str:
        """What makes this layer's blocks in theta unique: gamma[batch-norm.1]."""
        return f"[{self.label}.{self.depth + (self.place != 'inputs')}]"

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of what is learned, for one network: {} if nothing is."""
        return {}

    @property
    def paces(self) -> dict[str, float]:
        """Learning rates of learned parameters that have one of their own, as multiples of the rate."""
        return {}

    def openness(self) -> Array | None:
        """How far each neuron is open, (..., 1, H) from 0 (output 0) to 1, for layers with gates; else
        None."""
        return None

    def reset_parameters(self) -> None:
        """Give the learned parameters their first values."""

    def forward(self, x: Array, context: Context) -> tuple[Array, Array]:
        """(y, cache): the layer's output, of the shape of x, and what backward will need."""
        raise NotImplementedError

    def backward(self, dy: Array, cache: Array) -> tuple[Array, dict[str, Array]]:
        """(dx, gradients of the parameters by name), linear in dy."""
        raise NotImplementedError

    def fits(self, what: str, found: Array, like: Array) -> None:
        """Raise UsageError where an array that this layer returned has the wrong shape.

        like: an array of the right shape, None where the layer learns no parameter of that name. For
        inputs that networks share, one result per network is right too.
        """
        if like is None:
            known = ", ".join(f"d{key}" for key in self.shapes) or "none"
            raise UsageError(f"{self.label} returned {what}, but its gradients are: {known}")
        has, wanted = getattr(found, "shape", None), like.shape
        shared = len(wanted) == 2 and has == (*self.lead, *wanted)
        if has != wanted and not shared:
            at = self.depth + (self.place != "inputs")
            raise UsageError(
                f"{self.label}'s {what} at layer {at} must have shape {wanted}, and it has {has}"
            )

    def fold(self, W: Array, b: Array) -> tuple[Array, Array]:
        """W, b of one product that includes what the layer computes in evaluation mode.

        W, b are those of the neighbouring product: the one that precedes the layer for "before", the one
        that follows it for "inputs" and "after".

        Raises UsageError if the layer cannot be folded.
        """
        raise UsageError(f"{self.label} cannot be folded into weights")

    def renew(self, chosen: Array, Z: Array) -> None:
        """Reset the running statistics of chosen neurons (..., H), whose weights were replaced.

        Z (..., N, H): what arrives at this layer from the probe set, with the new weights.
        """

    def state(self) -> dict[str, Array]:
        """Running statistics, by name: what a checkpoint must keep."""
        return {}

    def load_state(self, state: dict[str, Array]) -> None:
        """Restore what `state` returned."""

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: all but the views, which the network makes anew (buffer.py)."""
        return {k: v for k, v in vars(self).items() if k not in ("parameters", "gradients")}

    def __repr__(self) -> str:
        return self.label
