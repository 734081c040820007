"""Minus log-determinants: of the neurons' correlations, and of their weights' cosines."""

from tinydiv.backend import Array
from tinydiv.settings import setting
from tinydiv.similarity import (
    correlations,
    cosines,
    negative_logdet,
)
from tinydiv.techniques.base import ActivationPenalty, Step, WeightPenalty


class LogdetCorrelation(ActivationPenalty):
    """Minus the log-determinant of the neurons' correlation matrix, per neuron (after Watanabe, 1960).

        L = -1/H logdet(R + delta I);   M = dL/dR = -1/H (R + delta I)^-1
        dL/dA from M as in Correlations.backward

    A (..., N, H), R as in Pearson. With delta = 0, H L / 2 is the total correlation of Gaussian neurons
    (Watanabe, 1960): how many nats they share. Neurons that are nearly constant are left out, H counts the
    others.

    What it teaches: redundancy of the whole set and not of pairs: three neurons with c = a + b have
    moderate correlations but a determinant of zero. Its gradient is largest in the direction in which the
    activations vary least. How a network cheats it: a silent neuron is no longer counted; but a neuron
    that becomes silent raises L first, because eps makes its diagonal entry small, and no ReLU neuron
    dies where Pearson kills many. With fewer samples than neurons the matrix is singular whatever the
    network does, and L sits near a floor of log(1/delta) for every missing direction. delta below 1e-3 is
    unsafe in float32. Cost: two products of N H^2, one factorisation and one inverse of H^3.
    """

    name = "logdet-correlation"
    family = "activations"
    fewest_samples = 2
    default_strength = 0.1

    delta: float = setting(1e-3, above=0, help="added to the diagonal; below 1e-3 float64 only")
    eps: float = setting(1e-4, above=0, help="added to variances; smaller is unsafe in float32")

    def __call__(self, A: Array, step: Step) -> tuple[Array, Array]:
        c = correlations(A, self.eps)
        value, M = negative_logdet(c.R, c.alive, self.delta)
        return value, c.backward(M)


class LogdetWeights(WeightPenalty):
    """Minus the log-determinant of the neurons' cosines: a determinantal point process on directions
    (after Kulesza and Taskar, 2012).

        G_ij = cos(w_i, w_j);  L = -1/H logdet(G + delta I);  M = dL/dG = -1/H (G + delta I)^-1
        dL/dW from M as in Cosines.backward

    W (..., D, H). A determinantal point process (Kulesza and Taskar, 2012) draws a set of items with
    probability proportional to det of their similarities: L is small where the neurons, taken as
    such a set, are a likely one. Columns of zeros are left out, H counts the others.

    What it teaches: det G is the squared volume that the unit weights span, 1 for orthogonal and 0
    for dependent ones. How a network cheats it: as with cosine, only lengths grow; where H > D the volume
    is always zero, and L depends on delta. Cost: two products of D H^2, and H^3.
    """

    name = "logdet-weights"
    family = "weights"
    default_strength = 0.1

    delta: float = setting(1e-3, above=0, help="added to the diagonal; below 1e-3 float64 only")

    def __call__(self, W: Array, step: Step) -> tuple[Array, Array]:
        c = cosines(W)
        value, M = negative_logdet(c.G, c.alive, self.delta)
        return value, c.backward(M)
