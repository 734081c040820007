"""Orthogonal gradients: every neuron moves in a direction of its own."""

from tinydiv.backend import Array, xp
from tinydiv.settings import setting
from tinydiv.techniques.base import Intervention, Step
from tinydiv.techniques.muon import orthogonalise
from tinydiv.techniques.reorthogonalise import newton_schulz

RAISING, POLISHING = 8, 5
"""Quintic steps raise singular values down to 1e-4 of the largest; cubic ones bring them to 1."""


def polar_factor(G: Array) -> Array:
    """U V' of G = U S V' (..., D, H): all singular values 1, except those that are nearly zero.

    Muon's quintic leaves them between 0.7 and 1.2; a few cubic Newton-Schulz steps finish. No
    decomposition. Neurons without a gradient (columns of zeros) stay without one.
    """
    X = orthogonalise(G, RAISING)
    tall = X.shape[-2] >= X.shape[-1]
    X = X if tall else X.mT
    X = newton_schulz(X, POLISHING)
    return X if tall else X.mT


class OrthogonalGradient(Intervention):
    """Gradient orthogonalisation, without momentum (Tuddenham, Pruegel-Bennett and Hare, 2022).

        dW = U S V'   ->   size U V'

    dW (..., D, H), of the hidden layers. All singular values become equal, so the step is equally long in
    every direction of weight space, where the plain gradient moves mostly along the mean input.
    scale=unit: size 1, as in the paper, so the rate alone sets how far a step goes; scale=kept: the size
    that keeps |dW|, so that it stays small where the gradient is small. The optimizer gets the new
    gradient; Adam's own normalisation undoes part of it, so use it with sgd.
    Cost: 8 Newton-Schulz steps of two products D H^2 and one H^3, and 5 of two.
    """

    name = "orthogonal-gradient"
    family = "interventions"
    invariant = (
        "the gradient's singular vectors; its singular values become equal (scale=kept: |dW| stays)"
    )

    scale: str = setting("unit", choices=("unit", "kept"), help="singular values 1, or |dW| kept")

    def edit(self, step: Step, layer: int, mask: Array | None) -> None:
        dW = step.net.dW[layer - 1]
        new = polar_factor(dW)
        if self.scale == "kept":
            size = xp.sqrt(xp.sum(dW**2, axis=(-2, -1), keepdims=True))
            length = xp.sqrt(xp.sum(new**2, axis=(-2, -1), keepdims=True))
            new = new * (size / xp.maximum(length, xp.finfo(dW.dtype).tiny))
        dW[...] = new if mask is None else xp.where(mask[..., None, None], new, dW)
