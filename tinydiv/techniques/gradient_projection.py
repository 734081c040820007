"""Gradient projection: where the penalties' gradient opposes the task's, the opposing part is removed."""

from tinydiv.backend import Array, xp
from tinydiv.techniques.base import Intervention, Step


class GradientProjection(Intervention):
    """Keep the penalties' gradient from working against the task's (after Yu et al. (gradient surgery),
    NeurIPS 2020).

        g_task: the task's gradient alone;   g_div: what all penalties add to it
        if <g_task, g_div> < 0:    g_div <- g_div - <g_task, g_div> / |g_task|^2 g_task
        dtheta <- g_task + g_div

    All of theta counts, one inner product per network. The task is protected: <dtheta, g_task> is never
    less than |g_task|^2, so a small step always lowers the batch's task loss. (Projecting g_task instead
    would slow down the task.) Backward is linear in the upstream gradients, so the task's gradient is a
    second backward pass with the task's dlogits alone. Without penalties nothing changes. It acts before
    other interventions edit the gradient. Cost: one more backward pass.
    """

    name = "gradient-projection"
    family = "interventions"
    invariant = (
        "the task's gradient: its inner product with the sum is at least its own square, and nothing "
        "changes where penalties do not work against it"
    )
    acts_on = "whole network"
    edits_first = True

    def edit(self, step: Step, layer: int, mask: Array | None) -> None:
        net = step.net
        both = net.dtheta.copy()
        net.backward(step.trace, step.task_dlogits)
        task = net.dtheta
        diversity = both - task
        against = xp.minimum(xp.sum(task * diversity, axis=-1, keepdims=True), 0)
        if mask is not None:
            against = xp.where(mask[..., None], against, xp.zeros_like(against))
        square = xp.maximum(xp.sum(task**2, axis=-1, keepdims=True), xp.finfo(net.dtype).tiny)
        net.dtheta[...] = both - against / square * task
