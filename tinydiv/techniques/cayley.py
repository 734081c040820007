"""Cayley steps: the weights rotate and stay orthogonal (an orthogonal frame) in every step."""

from tinydiv.backend import Array, matmul, xp
from tinydiv.mlp import MLP
from tinydiv.settings import setting
from tinydiv.techniques.base import Intervention, Step
from tinydiv.techniques.reorthogonalise import (
    nearest_frame,
    newton_schulz,
    refuse_wide,
)


class Cayley(Intervention):
    """Gradient descent on orthogonal frames by Cayley's transform (Wen and Yin, Mathematical Programming
    142, 2013).

        W = s Q, Q'Q = I;   g = s dW;   P = [g, Q],   R = [Q, -g]
        Q <- Q - lr P (I + lr/2 R'P)^-1 R'Q          ( = (I + lr/2 A)^-1 (I - lr/2 A) Q, A = g Q' - Q g' )
        Q <- 1.5 Q - 0.5 Q Q'Q                        removes rounding errors, to second order

    W (..., D, H), H <= D; P, R (..., D, 2H), so the system that is solved is only 2H x 2H. A is skew,
    so its Cayley transform is a rotation: Q stays orthonormal at every rate. The start is moved to the
    nearest frame, even where neurons are equal or linearly dependent; s, one number per network, is the
    usual length of the drawn weights, so their scale is kept. It owns the update of the hidden W; biases
    and outputs stay with the optimizer.
    Cost: four products of D H^2 (two of 2H columns), a solve of 2H x 2H.
    """

    name = "cayley"
    family = "interventions"
    invariant = "W'W = s^2 I: the neurons stay orthogonal and of one length"
    in_every_step = True

    lr: float = setting(0.05, above=0, help="learning rate of the hidden weights")

    def owns(self, layer: int) -> list[str]:
        return [f"W{layer - 1}"]

    def prepare(self, net: MLP, layer: int, probe_inputs: Array | None) -> None:
        refuse_wide(self.name, net, layer)
        W = net.W[layer - 1]
        s = (xp.sum(W**2, axis=(-2, -1), keepdims=True) / W.shape[-1]) ** 0.5
        s = xp.where(s > 0, s, xp.ones_like(s))
        self.kept[f"scale{layer}"] = s  # (..., 1, 1)
        W[...] = s * nearest_frame(W, 40)

    def update(self, step: Step, layer: int) -> None:
        W, s = step.net.W[layer - 1], self.kept[f"scale{layer}"]
        W[...] = s * turned(W / s, s * step.net.dW[layer - 1], self.lr * step.factor)


def turned(Q: Array, g: Array, rate: float) -> Array:
    """One Cayley step from orthonormal columns Q (..., D, H) against the gradient g (..., D, H)."""
    P = xp.concatenate([g, Q], axis=-1)
    R = xp.concatenate([Q, -g], axis=-1)
    identity = xp.eye(P.shape[-1], dtype=Q.dtype)
    solved = xp.linalg.solve(identity + (rate / 2) * matmul(R.mT, P), matmul(R.mT, Q))
    return newton_schulz(Q - rate * matmul(P, solved), 1)
