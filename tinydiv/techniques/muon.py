"""Muon: momentum whose update is made orthogonal before it moves the hidden weights."""

from tinydiv.backend import Array, matmul, xp
from tinydiv.mlp import MLP
from tinydiv.settings import setting
from tinydiv.techniques.base import Intervention, Step

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Jordan's quintic: raises all singular values to about 1 (between 0.7 and 1.2) in five steps."""


def orthogonalise(G: Array, steps: int = 5) -> Array:
    """U V' of G = U S V' (..., D, H), nearly, by Newton-Schulz steps and no decomposition.

        X = G / |G|;   X <- a X + b X (X'X) + c X (X'X)^2

    Works on the smaller Gram matrix. Singular values of the result lie in about [0.7, 1.2].
    """
    a, b, c = COEFFICIENTS
    tall = G.shape[-2] >= G.shape[-1]
    X = G if tall else G.mT
    X = X / (xp.sqrt((X**2).sum(axis=(-2, -1), keepdims=True)) + 1e-7)
    for _ in range(steps):
        S = matmul(X.mT, X)
        X = a * X + matmul(X, b * S + c * matmul(S, S))
    return X if tall else X.mT


class Muon(Intervention):
    """Orthogonalised momentum on hidden weights (Jordan et al., 2024; Tuddenham et al., 2022).

        M <- mu M + dW;   O = orthogonalise(dW + mu M);   W <- W - lr max(1, H/D)^1/2 O

    W (..., D, H). It owns the update of the hidden layers' W; biases and the output layer stay with
    the optimizer. lr is its own and follows the run's schedule. Every neuron then moves in a direction
    of its own: it decorrelates *gradients*, where weight penalties decorrelate weights.
    Cost: 5 steps of two products D H^2 and one H^3.
    """

    name = "muon"
    family = "interventions"
    invariant = (
        "the update of W has its singular values between 0.6 and 1.3 times lr max(1, H/D)^1/2, but for "
        "those of momentum that are below 1/500 of its length"
    )
    in_every_step = True

    lr: float = setting(0.02, above=0, help="learning rate of the hidden weights")
    momentum: float = setting(0.95, low=0, high=0.9999, help="mu")
    nesterov: bool = setting(True, help="orthogonalise dW + mu M, not M alone")

    @property
    def moments(self) -> dict[str, Array]:
        return self.kept

    def owns(self, layer: int) -> list[str]:
        return [f"W{layer - 1}"]

    def prepare(self, net: MLP, layer: int, probe_inputs: Array | None) -> None:
        self.moments[f"W{layer - 1}"] = xp.zeros_like(net.W[layer - 1])

    def update(self, step: Step, layer: int) -> None:
        W, dW = step.net.W[layer - 1], step.net.dW[layer - 1]
        M = self.moments[f"W{layer - 1}"]
        M *= self.momentum
        M += dW
        O = orthogonalise(dW + self.momentum * M if self.nesterov else M)
        D, H = W.shape[-2:]
        W -= (self.lr * step.factor * max(1.0, H / D) ** 0.5) * O
