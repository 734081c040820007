"""Local representation alignment, an exhibit: hidden layers learn without backpropagation."""

from collections.abc import Iterator

from tinydiv.backend import Array, matmul, sum_over_samples, xp
from tinydiv.errors import UsageError
from tinydiv.mlp import MLP, Trace
from tinydiv.settings import setting
from tinydiv.techniques.base import Intervention, Step

STREAM = 4000
"""Added to the layer's number: draws that no other technique uses."""


class LocalAlignment(Intervention):
    """Hidden layers learn from targets of their own, no weight is read backwards (after Ororbia and Mali,
    AAAI 2019; Ororbia et al., 2020).

    With feedback E[l] (n_{l+1}, n_l) that is drawn once and then changes as the weights above do:

        e[last] = dlogits
        target[l] = f(Z[l-1] - beta e[l+1] E[l]),   e[l] = (A[l] - target[l]) / beta
        dW[l-1] = A[l-1]' e[l],   db[l-1] = sum e[l]
        after the update:   E[l] += (W[l] - last W[l])'

    target[l] is the layer's output after a small step along the feedback; the difference to its present
    output is the layer's own error. For beta -> 0 e[l] -> f'(Z) * (e[l+1] E[l]): feedback alignment
    (Lillicrap et al., 2016), and backprop itself if E were W'.

    The feedback: the papers' authors learn E by a local rule of its own; here each E[l] receives the
    same change as W[l]' (Kolen and Pollack, 1994, without their decay), so that E - W' stays what it was
    at the start. The start decides whether that is small: `shrink` multiplies the first weights above
    the first hidden layer, once, when the technique is bound to the network, because a large random W[l]
    does not match random feedback. E's entries have the size of a Glorot draw.

    Penalties still work: those on activations are added to e[l] and passed down with it, in second passes
    too, and those on weights are added to dW. The output layer keeps its gradient.
    Cost: that of the backward pass, whose hidden part is not used.
    """

    name = "local-alignment"
    family = "exhibits"
    invariant = (
        "no gradient of a hidden layer depends on the weights above it, but for E, which "
        "changes as they do: E - W' stays what it was at the start"
    )
    acts_on = "whole network"
    edits_first = True
    in_every_step = True

    beta: float = setting(0.1, above=0, high=10, help="length of the step that makes the target")
    shrink: float = setting(
        0.1, above=0, high=1, help="factor on the first weights above the first hidden layer"
    )

    def prepare(self, net: MLP, layer: int, probe_inputs: Array | None) -> None:
        inside = [one.label for one in net.layers if one.place != "inputs"]
        if inside:
            raise UsageError(
                f"{self.name} has no rule for {inside[0]}: it replaces the backward pass of "
                f"plain hidden layers"
            )
        for W in net.W[1:]:
            W *= self.shrink

    def edit(self, step: Step, layer: int, mask: Array | None) -> None:
        net = step.net
        passes = [(step.trace, step.dlogits, step.dA)]
        passes += [(v.trace, xp.zeros_like(v.trace.logits), v.dA) for v in step.views.values()]
        every = [self.down(step, *one) for one in passes]
        for l, *parts in zip(reversed(range(1, net.depth)), *every, strict=True):
            for own, *news in zip((net.dW[l - 1], net.db[l - 1]), *parts, strict=True):
                new = sum(news) + sum(more for block, more in step.late if block is own)
                own[...] = new if mask is None else xp.where(mask[..., None, None], new, own)

    def down(
        self, step: Step, trace: Trace, dlogits: Array, dA: dict[int, Array]
    ) -> Iterator[tuple[Array, Array]]:
        """dW, db of every hidden layer from one forward pass and its upstream gradients, last layer
        first."""
        net, e = step.net, dlogits
        for l in reversed(range(1, net.depth)):
            Z, A = trace.Z[l - 1], trace.A[l]
            target = net.activation(Z - self.beta * matmul(e, self.matrix(step, l)))
            e = (A - target) / self.beta
            if l in dA:
                e = e + dA[l] * net.activation.derivative(Z)
            yield matmul(trace.A[l - 1].mT, e), sum_over_samples(e)

    def matrix(self, step: Step, l: int) -> Array:
        """E[l] (..., n_{l+1}, n_l), drawn in the first step from the networks' seeds."""
        if f"E{l}" not in self.kept:
            assert step.draws is not None
            n_in, n_out = step.net.sizes[l + 1], step.net.sizes[l]
            size = (2 / (n_in + n_out)) ** 0.5
            draw = step.draws.symmetric((n_in, n_out), 0, STREAM + l, step.net.dtype)
            self.kept[f"E{l}"] = size * draw
            self.kept[f"W{l}"] = step.net.W[l].copy()
        return self.kept[f"E{l}"]

    def move(self, step: Step, layer: int, mask: Array | None) -> None:
        for l in range(1, step.net.depth):
            W, last = step.net.W[l], self.kept[f"W{l}"]
            self.kept[f"E{l}"] += (W - last).mT
            last[...] = W
