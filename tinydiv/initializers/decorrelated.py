"""The project's own start: random, with incoming and outgoing weights of the hidden neurons decorrelated.

Neurons learn the same thing if their responses are alike or if their gradients are alike. The incoming
weights decide the first, the outgoing weights the second: the gradient that reaches neuron h is dlogits
V_h'. So both are decorrelated. The paper's claim for a decorrelated, stochastic start is tested with this
definition, which is ours.
"""

from dataclasses import dataclass

import numpy as np

from tinydiv.initializers.scheme import (
    DataScheme,
    LayerInfo,
    centring_bias,
    inverse_root,
    norms,
    polar,
    rescaled,
    with_norms,
)
from tinydiv.settings import setting


@dataclass(frozen=True)
class Decorrelated(DataScheme):
    """Uncorrelated responses, uncorrelated outgoing weights, and a scale computed from the data (this
    project's; the claim: Kovalenko, Kordik and Friedjungova, ICANN 2021).

        incoming   W = direction of (S + shrink mean(diag S) I)^{-1/2} W0 M,   M: W' S W diagonal
        biases     b = - a- W: every pre-activation has mean 0 on the batch
        outgoing   V = v Q,   Q'Q = I and 1'Q = 0:  Q the polar factor of V0 - (mean over the neurons)

    W0 and V0 are the base's draws, S the covariance of the layer's inputs, a- their mean. 1'Q = 0 removes
    what all neurons have in common (after ReLU: a positive mean) from every output. Where H - 1 < K there
    are no K orthogonal columns, and V is the nearest frame.

    decorrelated@base keeps each neuron's incoming norm and the Frobenius norm of the outgoing weights,
    not their directions: outgoing=no keeps those too. With no base named the scale is computed from the
    data:

        every pre-activation of the first layer has standard deviation `deviation` on the batch
        every pre-activation has mean `margin` of its standard deviations, in place of 0
        V (in deep networks V and all inner layers) gets the singular value (or neuron norm) g with
        g^(2 (depth - 1)) = curvature K / lambda,   lambda the largest eigenvalue of E[x x'],
        but g <= gain

    `curvature` is thereby the scale of the loss's second derivative along the first layer's weights,
    which limits the learning rate: one rule for data of any scaling. 48 suits rates near 0.01 and still
    trains at 0.1, where some neurons die; 24 is safe there, 160 fails (study initializers_rates). Inputs
    that hardly vary would need huge outgoing weights: `gain` is the upper limit. `margin` keeps ReLU
    neurons active for more than half of the samples, so that fewer die in the first steps.

    Chosen on tuning seeds and a validation split of the training sets of Fashion-MNIST and MNIST, and on
    the toy sets spirals and moons.
    """

    name = "decorrelated"
    incoming: bool = setting(True, help="decorrelate the responses")
    centre: bool = setting(True, help="centre the pre-activations by the hidden biases")
    outgoing: bool = setting(True, help="decorrelate the outgoing weights")
    shrink: float = setting(0.1, above=0, help="floor under the inputs' variances, on their mean")
    deviation: float = setting(0.1, above=0, help="of the first responses; only without a base")
    margin: float = setting(
        0.5, low=0, help="mean of responses, in deviations; only without a base"
    )
    curvature: float = setting(48.0, above=0, help="along the first layer; only without a base")
    gain: float = setting(
        4.0, above=0, help="upper limit of what a layer gains; only without a base"
    )

    def hidden(self, W: np.ndarray, b: np.ndarray, at: LayerInfo) -> tuple[np.ndarray, np.ndarray]:
        if not (self.incoming or at.bare):  # the weights stay as drawn
            return W, centring_bias(W, at.seen) if self.centre else b
        L, P = at.seen.principal[0][..., :, None], at.seen.principal[1]
        # In principal directions S is diagonal: only the changes of basis need full products.
        Y = P.mT @ W
        if self.incoming:
            Y = self.decorrelated_responses(Y, L)
        if at.bare and at.layer == 0:
            Y = rescaled(Y, deviation_of(Y, L), self.deviation, Y)
        elif at.bare:
            Y = with_norms(Y, self.gain_at(at), Y)
        W = np.asarray(P @ Y)
        if self.centre:
            b = centring_bias(W, at.seen)
            if at.bare:
                b = b + self.margin * deviation_of(Y, L)
        return W, b

    def output(self, W: np.ndarray, b: np.ndarray, at: LayerInfo) -> tuple[np.ndarray, np.ndarray]:
        if at.depth == 1:  # no hidden neurons to decorrelate
            return W, b
        V = separated(W) if self.outgoing else W
        if not at.bare:
            return V, b
        largest = np.linalg.norm(V, ord=2, axis=(-2, -1), keepdims=True)
        V *= self.gain_at(at) / np.where(largest > 0, largest, 1)
        return V, np.zeros_like(b)

    def decorrelated_responses(self, Y: np.ndarray, L: np.ndarray) -> np.ndarray:
        """Weights Y in principal directions of variances L: whitened, then decorrelated, at their norms."""
        floor = self.shrink * L.mean(axis=-2, keepdims=True)
        white = Y / np.sqrt(np.where(L + floor > 0, L + floor, 1))
        return with_norms(white @ inverse_root((L * white).mT @ white), norms(Y), Y)

    def gain_at(self, at: LayerInfo) -> np.ndarray:
        """g (., 1, 1): what every layer beyond the first multiplies by."""
        assert at.first is not None
        lam = np.where(at.first.peak > 0, at.first.peak, 1)
        g = (self.curvature * at.outputs / lam) ** (0.5 / (at.depth - 1))
        return np.asarray(np.minimum(g, self.gain))[..., None, None]


def deviation_of(Y: np.ndarray, L: np.ndarray) -> np.ndarray:
    """The standard deviation (., 1, n_out) of every response to inputs of variances L."""
    return np.asarray(np.sqrt((L * Y**2).sum(axis=-2, keepdims=True)))


def separated(V: np.ndarray) -> np.ndarray:
    """V (., H, K) without its mean over the neurons, columns orthogonal, its Frobenius norm kept."""
    H = V.shape[-2]
    if H == 1:
        return V
    Q = polar(V - V.mean(axis=-2, keepdims=True))
    size = np.linalg.norm(V, axis=(-2, -1), keepdims=True)
    return np.asarray(Q * (size / np.linalg.norm(Q, axis=(-2, -1), keepdims=True)))
