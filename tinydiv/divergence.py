"""Networks that diverge: found, frozen and reported, without a stop at the host.

A network whose loss or gradient is no longer finite would spoil every average over networks, and its
numbers mean nothing. From that step on its weights stay as they were before the step, the step and
the layer are noted, and its records are NaN, so that no mean can take it in silently. The others go on
undisturbed.
"""

from tinydiv.backend import Array, to_device, xp
from tinydiv.mlp import MLP, Trace

IN_GRADIENT = 0
"""Reported as the layer when every pre-activation was finite but the gradient was not."""


class Guard:
    """Watches R networks (or one). Every array has one entry per network, on the device."""

    def __init__(self, net: MLP) -> None:
        self.net = net
        self.alive = xp.ones(net.lead, dtype=bool)
        self.step = xp.full(net.lead, -1, dtype="int32")
        self.layer = xp.full(net.lead, -1, dtype="int32")
        self.before = net.theta.copy()

    def watch(self, trace: Trace, loss: Array, number: int) -> None:
        """After backward: who diverged in this step, and where? Keeps the weights from before it.

        The layer is the first whose pre-activations Z are not finite (1 is the first hidden layer),
        or IN_GRADIENT. A sum is finite if all its terms are and it does not overflow itself: 10^38
        is divergence too.
        """
        finite = xp.isfinite(loss) & xp.isfinite(xp.sum(self.net.dtheta, axis=-1))
        first = xp.full(self.net.lead, IN_GRADIENT, dtype="int32")
        for l in reversed(range(self.net.depth)):
            whole = xp.isfinite(xp.sum(trace.Z[l], axis=(-2, -1)))
            first = xp.where(whole, first, l + 1).astype("int32")
        new = self.alive & ~finite
        self.step = xp.where(new, number, self.step).astype("int32")
        self.layer = xp.where(new, first, self.layer).astype("int32")
        self.alive = self.alive & finite
        self.before[...] = self.net.theta
        # Zero gradients keep moments finite, and eigenvalue routines from failing for everybody.
        self.net.dtheta[...] = xp.where(self.alive[..., None], self.net.dtheta, 0)

    def hold(self) -> None:
        """After the update: whoever diverged goes back to the weights from before it."""
        self.net.theta[...] = xp.where(self.alive[..., None], self.net.theta, self.before)

    def marked(self, values: Array) -> Array:
        """Numbers per network (...,), NaN for those that diverged."""
        return xp.where(self.alive, values, xp.nan)

    def state(self) -> dict[str, Array]:
        """What a checkpoint must keep."""
        return {"alive": self.alive, "step": self.step, "layer": self.layer}

    def load_state(self, state: dict[str, Array]) -> None:
        """Take back what `state` gave."""
        self.alive, self.step, self.layer = (
            to_device(state[key]) for key in ("alive", "step", "layer")
        )
