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
        self.smooth = loss if self.seen == 0 else SMOOTHING * self.smooth + (1 - SMOOTHING) * loss
        self.seen += 1
        better = self.smooth < (1 - TOLERANCE) * self.best
        self.best = xp.where(better, self.smooth, self.best)
        self.waited = xp.where(better, 0, self.waited + 1)

    def reached(self) -> Array:
        """(...,) True where a network is on a plateau."""
        return self.waited >= self.patience

    def restart(self, mask: Array | None) -> None:
        """Start counting again for networks on which a technique has acted."""
        self.waited = self.waited * 0 if mask is None else xp.where(mask, 0, self.waited)

    def state(self) -> dict[str, Array]:
        return {
            "smooth": self.smooth,
            "best": self.best,
            "waited": self.waited,
            "seen": self.seen,
        }

    def load_state(self, state: dict[str, Array]) -> None:
        self.smooth, self.best, self.waited = (
            to_device(state[key]) for key in ("smooth", "best", "waited")
        )
        self.seen = int(state["seen"])
