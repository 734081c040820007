"""Networks that diverge: found, frozen and reported, and the host never waits for it.

A network whose loss, gradient or weights are no longer finite would make every average over networks
useless. From that step on its weights stay at their last finite values, the step and the place are
recorded, and its records are NaN, so that an average that includes it is NaN too. The other networks train
on as before.

What this costs a step: a sum over the gradients, a copy of the weights, a sum over the weights. All other
arrays have one entry per network, and what is written for networks that diverged is written for them alone.
On a CPU these lines are skipped while no network has diverged; on a GPU they always run, and change
nothing: to read the mask, the host would have to wait. Every array is changed in place, and the
number of the step is counted on the device, so that every step makes the same calls (a CUDA graph could
repeat them).
"""

from tinydiv.backend import Array, on_cpu, quick_sum, to_device, xp
from tinydiv.mlp import MLP, Trace

IN_GRADIENT = 0
"""Reported as the layer when every pre-activation was finite but the loss or the gradient was not."""
IN_UPDATE = -2
"""When loss and gradient were finite, but the weights after the update were not."""
IN_RECORD = -3
"""When a loss that was to be recorded was not finite, after an update that was."""


def where_diverged(layer: int) -> str:
    """In words where a network diverged, from Guard.layer."""
    words = {
        IN_GRADIENT: "in its gradient",
        IN_UPDATE: "in its update",
        IN_RECORD: "when evaluated",
    }
    return words.get(layer, f"in layer {layer}")


class Guard:
    """Watches R networks (or one). Every array has one entry per network, on the device."""

    def __init__(self, net: MLP) -> None:
        self.net = net
        self.alive = xp.ones(net.lead, dtype=bool)
        self.all_alive = on_cpu()
        """Whether no network has diverged, as far as the host knows: on a GPU it does not ask."""
        self.step = xp.full(net.lead, -1, dtype="int64")  # a month of steps is more than 2^31
        self.layer = xp.full(net.lead, -1, dtype="int32")
        self.before = xp.empty_like(net.theta)
        self.number = xp.zeros((), dtype="int64")

    def count_from(self, number: int) -> None:
        """The step that comes next has this number; each after_update adds one."""
        self.number[...] = number

    def after_backward(self, trace: Trace, loss: Array) -> None:
        """After backward: find which networks diverged in this step, and where; keep the weights from
        before it.

        The layer is the first whose pre-activations Z are not finite (1 is the first hidden layer),
        or IN_GRADIENT. A sum is finite only if all its terms are finite and it does not overflow, so
        values near 10^38 count as divergence too.
        """
        self._keep()
        finite = xp.isfinite(loss + quick_sum(self.net.dtheta))
        if not all_on_cpu(finite):
            first = xp.full(self.net.lead, IN_GRADIENT, dtype="int32")
            for l in reversed(range(self.net.depth)):
                whole = xp.isfinite(trace.Z[l].sum(axis=(-2, -1)))
                first = xp.where(whole, first, l + 1).astype("int32", copy=False)
            self._note(finite, first)
        if not self.all_alive:
            # Zero gradients keep moments finite, and keep eigenvalue routines from failing for all
            # networks.
            xp.copyto(self.net.dtheta, 0, where=~self.alive[..., None])

    def after_update(self) -> None:
        """After the update: find which networks diverged in it; give all diverged ones their last
        finite weights."""
        finite = xp.isfinite(quick_sum(self.net.theta))
        if not all_on_cpu(finite):
            self._note(finite, IN_UPDATE)
        if not self.all_alive:
            xp.copyto(self.net.theta, self.before, where=~self.alive[..., None])
        self.number += 1

    def before_record(self, values: Array) -> None:
        """Before a record: a network has diverged if the number to be recorded for it, in (...,), is
        not finite."""
        self._keep()
        finite = xp.isfinite(values)
        if not all_on_cpu(finite):
            self._note(finite, IN_RECORD)

    def _keep(self) -> None:
        """Remember the weights of the networks that have not diverged as their last finite ones."""
        if self.all_alive:
            self.before[...] = self.net.theta
        else:
            xp.copyto(self.before, self.net.theta, where=self.alive[..., None])

    def _note(self, finite: Array, layer: int | Array) -> None:
        """Record which networks have diverged now, and where."""
        diverged = self.alive & ~finite
        xp.copyto(self.step, self.number, where=diverged)
        xp.copyto(self.layer, layer, where=diverged)
        self.alive &= finite
        self.all_alive = all_on_cpu(self.alive)

    def nan_where_diverged(self, values: Array) -> Array:
        """Numbers per network (...,), NaN for those that diverged."""
        return xp.where(self.alive, values, xp.nan)

    def state(self) -> dict[str, Array]:
        """What a checkpoint must keep."""
        return {"alive": self.alive, "step": self.step, "layer": self.layer}

    def load_state(self, state: dict[str, Array]) -> None:
        """Restore what `state` returned, with the weights as they are."""
        for key, mine in self.state().items():
            mine[...] = to_device(state[key])
        self.all_alive = all_on_cpu(self.alive)
        self.before[...] = self.net.theta


def all_on_cpu(mask: Array) -> bool:
    """Whether every entry is true; always False on a GPU, where the host would have to wait for it."""
    return on_cpu() and bool(mask.all())
