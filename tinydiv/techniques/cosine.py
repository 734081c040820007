"""Cosine squared: the similarity of neurons' incoming weights."""

from typing import ClassVar

from tinydiv.backend import Array, xp
from tinydiv.techniques.base import Step, WeightPenalty
from tinydiv.techniques.blocks import cosines, off_diagonal


class CosineSquared(WeightPenalty):
    """Mean squared cosine between the incoming weights of hidden neurons.

        G_ij = cos(w_i, w_j);  L = |off G|^2 / (H (H - 1));  M = dL/dG = 2 off(G) / (H (H - 1))
        dL/dW from M as in blocks.Cosines.backward

    W (..., D, H). A plain measure with many fathers; the surroundings are in Rodriguez et al., ICLR
    2017, and Bansal et al., NeurIPS 2018.

    What it teaches: with D much larger than H random weights are orthogonal already, E|cos| =
    sqrt(2 / (pi D)), .028 at D = 784, so there is almost nothing to gain. How a network cheats it: the
    gradient is at right angles to every w, so descent lengthens the weights, which lowers the
    effective rate. Cost: two products of D H^2, whatever the batch.
    """

    name: ClassVar[str] = "cosine"
    family: ClassVar[str] = "weights"
    summary: ClassVar[str] = "squared cosine between neurons' incoming weights"
    paper: ClassVar[str] = "after Rodriguez et al., ICLR 2017; Bansal et al., NeurIPS 2018"
    default_strength: ClassVar[float] = 1.0

    def __call__(self, W: Array, step: Step) -> tuple[Array, Array]:
        H = W.shape[-1]
        pairs = max(H * (H - 1), 1)
        c = cosines(W)
        off_G = off_diagonal(c.G)
        value = xp.sum(off_G**2, axis=(-2, -1)) / pairs
        dW = c.backward((2 / pairs) * off_G)
        return value, dW
