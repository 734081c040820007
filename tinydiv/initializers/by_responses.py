"""Schemes that read a probe batch: the responses (pre-activations) Z = A W + b of a layer.

a- is the mean of the layer's inputs over the batch, S their covariance; Cov(Z) = W' S W. The labels are
not used.
"""

from dataclasses import dataclass

import numpy as np

from tinydiv.initializers.scheme import (
    DataScheme,
    Inputs,
    LayerInfo,
    Scheme,
    centring_bias,
    directions,
    inverse_root,
    norms,
    polar,
    with_norms,
)
from tinydiv.settings import setting

GREEDY_ROWS = 512
"""How many rows of the probe batch a greedy choice by responses reads."""


def uncorrelated(W: np.ndarray, inputs: Inputs) -> np.ndarray:
    """W Cov(Z)^{-1/2}, each neuron scaled back to its norm: uncorrelated responses on the batch.

    Where the inputs vary in fewer directions than there are neurons, the correlations become those of a
    tight frame, the closest that is possible.
    """
    return with_norms(W @ inverse_root(inputs.response_covariance(W)), norms(W), W)


@dataclass(frozen=True)
class Centring(DataScheme):
    """The base's weights; hidden biases such that every pre-activation has mean 0 on the batch (a control
    of this project's; centring: LeCun, Bottou, Orr and Mueller, 1998).

        b = - a- W

    Keeps all weights of its base. It is the control for every scheme that reads data: what it gains is not
    due to decorrelation.
    """

    name = "centring"

    def hidden(self, W: np.ndarray, b: np.ndarray, at: LayerInfo) -> tuple[np.ndarray, np.ndarray]:
        return W, centring_bias(W, at.seen)


@dataclass(frozen=True)
class ResponseZCA(DataScheme):
    """Responses that start uncorrelated, by the smallest change of the draw (this project's; ZCA: Bell and
    Sejnowski, 1997).

        Z = (A - a-) W0,   W = n direction of (W0 Cov(Z)^{-1/2}),   b = - a- W

    Keeps each neuron's norm and the outgoing weights of its base. ZCA is the whitening that changes its
    input least, so the draw stays random. After ReLU a little correlation returns.
    """

    name = "response-zca"

    def hidden(self, W: np.ndarray, b: np.ndarray, at: LayerInfo) -> tuple[np.ndarray, np.ndarray]:
        W = uncorrelated(W, at.seen)
        return W, centring_bias(W, at.seen)


@dataclass(frozen=True)
class PCAWhite(DataScheme):
    """The top principal directions of the inputs, whitened and rotated at random (principal components:
    Pearson, 1901; Hotelling, 1933).

        S = P L P',   W = n direction of (P_r L_r^{-1/2} O),   b = - a- W

    O (r, H) is a random rotation, r = min(H, rank of S); the responses are uncorrelated where H <= r.
    white=no leaves L out: plain principal directions, rotated. Keeps each neuron's norm and the
    outgoing weights of its base.
    """

    name = "pca-white"
    white: bool = setting(True, help="whiten before rotating")

    def hidden(self, W: np.ndarray, b: np.ndarray, at: LayerInfo) -> tuple[np.ndarray, np.ndarray]:
        inputs, n_out = at.seen, W.shape[-1]
        variances, P = inputs.principal
        r = min(n_out, inputs.rank)
        if r == 0:  # the inputs are constant: no direction differs from another
            return W, centring_bias(W, inputs)
        O = polar(np.stack([rng.standard_normal((r, n_out)) for rng in at.rngs]))
        top = P[..., :r] / np.sqrt(variances[..., None, :r]) if self.white else P[..., :r]
        W = with_norms(top @ O, norms(W), W)
        return W, centring_bias(W, inputs)


@dataclass(frozen=True)
class LSUV(DataScheme):
    """Layer-sequential unit variance: orthogonal, then every layer scaled on a batch (Mishkin and Matas,
    ICLR 2016).

        W <- W / s,  b <- b / s,   s^2 = the variance of all of a layer's Z on the batch

    It sets the scale of every layer, the output layer too, so it keeps only the directions of its base.
    With no base named, its base is `orthogonal`, as in the paper.
    """

    name = "lsuv"
    base = "orthogonal"

    def hidden(self, W: np.ndarray, b: np.ndarray, at: LayerInfo) -> tuple[np.ndarray, np.ndarray]:
        s = layer_deviation(W, b, at.seen)
        s = np.where(s > 0, s, 1)
        return W / s, b / s

    output = hidden


def layer_deviation(W: np.ndarray, b: np.ndarray, inputs: Inputs) -> np.ndarray:
    """The standard deviation (., 1, 1) of a layer's pre-activations, over samples and neurons."""
    within = np.einsum("...ih,...ih->...h", W, inputs.covariance @ W).mean(axis=-1)
    between = (inputs.mean @ W + b).var(axis=(-2, -1))
    return np.asarray(np.sqrt(within + between)[..., None, None])


@dataclass(frozen=True)
class Greedy(Scheme):
    """Neuron after neuron, the candidate that is least like those already placed (best-candidate sampling:
    Mitchell, 1991).

    The candidates of a neuron are its base draw and random directions. Likeness is the largest
    |cosine| of weights (by=weights) or the largest |correlation| of pre-activations on up to 512 rows of
    the batch (by=responses). Keeps norms, biases and outgoing weights of its base.
    """

    name = "greedy"
    by: str = setting("weights", choices=("weights", "responses"), help="what is compared")
    candidates: int = setting(8, low=1, high=10_000, help="how many to choose from")

    @property
    def needs_data(self) -> bool:
        return self.by == "responses"

    def hidden(self, W: np.ndarray, b: np.ndarray, at: LayerInfo) -> tuple[np.ndarray, np.ndarray]:
        rows = None
        if self.by == "responses":
            rows = (at.seen.A[:, :GREEDY_ROWS] - at.seen.mean).astype(np.float64)
        chosen = [
            self.choose(rng, W[r], None if rows is None else rows[r % len(rows)])
            for r, rng in enumerate(at.rngs)
        ]
        return with_norms(np.stack(chosen), norms(W), W), b

    def choose(
        self, rng: np.random.Generator, W: np.ndarray, rows: np.ndarray | None
    ) -> np.ndarray:
        """The chosen directions of one network, (n_in, n_out)."""
        (n_in, n_out), K = W.shape, self.candidates
        drawn = rng.standard_normal((n_in, n_out, K - 1))
        pool = directions(np.concatenate([W[:, :, None], drawn], axis=-1).reshape(n_in, -1))
        seen = pool if rows is None else directions(rows @ pool)
        likeness = np.abs(seen.T @ seen).reshape(n_out, K, n_out, K)
        nearest = np.zeros((n_out, K))  # each candidate's largest likeness to those chosen so far
        picks = []
        for h in range(n_out):
            picks.append(int(np.argmin(nearest[h])))
            nearest = np.maximum(nearest, likeness[:, :, h, picks[-1]])
        return np.asarray(pool.reshape(n_in, n_out, K)[:, np.arange(n_out), picks])
