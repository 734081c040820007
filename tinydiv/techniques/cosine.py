"""Cosine squared: the similarity of neurons' incoming weights."""

from tinydiv.backend import Array
from tinydiv.similarity import as_matrix, cosines, off_diagonal
from tinydiv.techniques.base import Step, WeightPenalty


class CosineSquared(WeightPenalty):
    """Mean squared cosine between the incoming weights of hidden neurons (after Rodriguez et al., ICLR
    2017; Bansal et al., NeurIPS 2018).

        G_ij = cos(w_i, w_j);  L = |off G|^2 / P;  M = dL/dG = 2 off(G) / P
        dL/dW from M as in Cosines.backward

    W (..., D, H); P = H (H - 1) ordered pairs, columns of zeros left out. The measure is older than both
    papers, which discuss it.

    What it teaches: with D much larger than H random weights are orthogonal already, E|cos| =
    sqrt(2 / (pi D)), .028 at D = 784, so there is almost nothing to gain. The square matters: the mean
    of the *signed* cosines reaches its minimum -1/(H-1) with all neurons on one line, half of them
    flipped. How a network cheats it: the gradient is at right angles to every w, so descent lengthens
    the weights, which lowers the effective rate. Cost: two products of D H^2, whatever the batch.
    """

    name = "cosine"
    family = "weights"
    default_strength = 1.0

    def __call__(self, W: Array, step: Step) -> tuple[Array, Array]:
        c = cosines(W)
        off_G = off_diagonal(c.G)
        value = (off_G**2).sum(axis=(-2, -1)) / c.pairs
        dW = c.backward(2 * off_G / as_matrix(c.pairs))
        return value, dW
