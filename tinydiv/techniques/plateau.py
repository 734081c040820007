"""Whether learning has stalled, per network, computed on the device without waiting for it.

The loss of one batch is noisy, so it is smoothed: m <- 0.98 m + 0.02 loss. A network is on a plateau
once `patience` steps have passed in which m did not fall below (1 - 0.01) times its best.
"""

from tinydiv.backend import Array, to_device, xp
from tinydiv.mlp import MLP

SMOOTHING = 0.98
TOLERANCE = 0.01


class Plateau:
    """Counts steps without progress, per network."""

    def __init__(self, patience: int, net: MLP) -> None:
        self.patience = patience
        self.smooth = xp.zeros(net.lead, dtype=net.dtype)
        self.best = xp.full(net.lead, xp.inf, dtype=net.dtype)
        self.waited = xp.zeros(net.lead, dtype="int32")
        self.seen = 0

    def watch(self, loss: Array) -> None:
        """Update with one step's loss (...,)."""
        if self.seen == 0:
            self.smooth[...] = loss
        else:
            self.smooth *= SMOOTHING
            self.smooth += (1 - SMOOTHING) * loss
        self.seen += 1
        better = self.smooth < (1 - TOLERANCE) * self.best
        xp.copyto(self.best, self.smooth, where=better)
        self.waited += 1
        xp.copyto(self.waited, 0, where=better)

    def reached(self) -> Array:
        """(...,) True where a network is on a plateau."""
        return self.waited >= self.patience

    def restart(self, mask: Array | None) -> None:
        """Start counting again for networks on which a technique has acted."""
        if mask is None:
            self.waited[...] = 0
        else:
            xp.copyto(self.waited, 0, where=mask)

    def state(self) -> dict[str, Array]:
        """What a checkpoint must keep."""
        return {key: getattr(self, key) for key in ("smooth", "best", "waited", "seen")}

    def load_state(self, state: dict[str, Array]) -> None:
        """Restore what `state` returned."""
        for key in ("smooth", "best", "waited"):
            getattr(self, key)[...] = to_device(state[key])
        self.seen = int(state["seen"])
