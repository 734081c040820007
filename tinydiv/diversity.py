"""How different are the neurons of a layer? Measures of diversity, one number per network.

Every metric is a function of a hidden layer's incoming weights W (..., D, H) and its activations
A (..., N, H) on a fixed probe set, and returns (...,). None of them changes when neurons are permuted.
A neuron that is constant on the probe set has no correlation: it is left out of correlations and
counted by dead_fraction, never taken for an independent one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tinydiv.backend import Array, matmul, xp
from tinydiv.errors import unknown
from tinydiv.mlp import MLP, Trace
from tinydiv.techniques.blocks import correlations, cosines, off_diagonal

TINY_EPS = 1e-12
"""Keeps 0/0 away; far below the variance of any neuron that counts as alive."""


@dataclass(frozen=True)
class Metric:
    """A measure with its name, one line, its paper and its function (W, A) -> (...,)."""

    name: str
    summary: str
    paper: str
    measure: Callable[[Array, Array], Array]


def weight_cosine(W: Array, A: Array) -> Array:
    """Mean |cos(w_i, w_j)| over pairs of neurons. Random weights give sqrt(2 / (pi D)).

    A neuron whose weights are all zero has no direction and is left out.
    """
    c = cosines(W)
    return xp.sum(abs(off_diagonal(c.G)), axis=(-2, -1)) / c.pairs


def weight_cosine_max(W: Array, A: Array) -> Array:
    """Largest |cos(w_i, w_j)| over pairs of neurons."""
    return xp.max(abs(off_diagonal(cosines(W).G)), axis=(-2, -1))


def correlation(W: Array, A: Array) -> Array:
    """Mean |r_ij| over pairs of alive neurons, r the Pearson correlation of their activations."""
    c = correlations(A, TINY_EPS)
    return xp.sum(abs(off_diagonal(c.R)), axis=(-2, -1)) / c.pairs


def correlation_squared(W: Array, A: Array) -> Array:
    """Mean r_ij^2 over pairs of alive neurons, without what chance alone gives.

    Independent neurons have E r^2 = 1/(N-1), so the mean m is debiased: (m - b) / (1 - b), b = 1/(N-1).
    It can fall a little below zero.
    """
    c = correlations(A, TINY_EPS)
    mean = xp.sum(off_diagonal(c.R) ** 2, axis=(-2, -1)) / c.pairs
    chance = 1 / max(A.shape[-2] - 1, 2)
    return (mean - chance) / (1 - chance)


def covariance(A: Array) -> Array:
    """S = C'C / N of the activations, C = A - mean."""
    C = A - xp.mean(A, axis=-2, keepdims=True)
    return matmul(C.mT, C) / A.shape[-2]


def participation_ratio(W: Array, A: Array) -> Array:
    """(tr S)^2 / |S|^2 of the activations' covariance: how many directions carry the variance.

    1 if all neurons say the same, H if they are uncorrelated with equal variance; 0 if all are constant.
    """
    S = covariance(A)
    trace = xp.sum(S * xp.eye(S.shape[-1], dtype=S.dtype), axis=(-2, -1))
    tiny = xp.finfo(S.dtype).tiny
    return trace**2 / xp.maximum(xp.sum(S**2, axis=(-2, -1)), tiny)


def effective_rank(W: Array, A: Array) -> Array:
    """exp(entropy of p), p the eigenvalues of the activations' covariance over their sum.

    Roy and Vetterli (2007), on variances (sigma^2). 0 if all neurons are constant.
    """
    S = covariance(A)
    # One diverged network must not make the routine fail for all: its eigenvalues count as zero.
    S = xp.where(xp.isfinite(xp.sum(S, axis=(-2, -1), keepdims=True)), S, 0)
    values = xp.maximum(xp.linalg.eigvalsh(S), 0)
    total = xp.sum(values, axis=-1, keepdims=True)
    tiny = xp.finfo(values.dtype).tiny
    p = values / xp.maximum(total, tiny)
    entropy = -xp.sum(p * xp.log(xp.maximum(p, tiny)), axis=-1)
    return xp.where(total[..., 0] > 0, xp.exp(entropy), xp.zeros_like(entropy))


def dead_fraction(W: Array, A: Array) -> Array:
    """The share of neurons that are constant on the probe set (standard deviation below 1e-3)."""
    return 1 - xp.mean(correlations(A, TINY_EPS).alive[..., 0, :], axis=-1)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "weight_cosine",
            "mean |cosine| between neurons' incoming weights",
            "after Rodriguez et al., ICLR 2017",
            weight_cosine,
        ),
        Metric(
            "weight_cosine_max",
            "largest |cosine| between neurons' incoming weights",
            "coherence; after Bansal et al., NeurIPS 2018",
            weight_cosine_max,
        ),
        Metric(
            "correlation",
            "mean |Pearson correlation| between neurons' activations",
            "after Cogswell et al., ICLR 2016",
            correlation,
        ),
        Metric(
            "correlation_squared",
            "mean squared correlation, debiased for the probe set's size",
            "after Bao et al., 2013",
            correlation_squared,
        ),
        Metric(
            "participation_ratio",
            "how many directions carry the activations' variance",
            "after Gao et al., 2017",
            participation_ratio,
        ),
        Metric(
            "effective_rank",
            "exp(entropy) of the activations' spectrum",
            "Roy and Vetterli, 2007",
            effective_rank,
        ),
        Metric(
            "dead_fraction",
            "share of neurons that are constant on the probe set",
            "after Lu et al., 2019",
            dead_fraction,
        ),
    )
}
"""Every metric by name."""


def measure(net: MLP, trace: Trace, names: Sequence[str] | None = None) -> dict[str, Array]:
    """Chosen metrics (all by default) of every hidden layer, from a trace on the probe set.

    Keys are the metric's name, followed by .1, .2, ... where there are several hidden layers.
    Raises UsageError for an unknown name.
    """
    for name in names or ():
        if name not in METRICS:
            raise unknown("metric", name, METRICS)
    found = {}
    for layer in range(1, net.depth):
        for name in METRICS if names is None else names:
            key = name if net.depth == 2 else f"{name}.{layer}"
            found[key] = METRICS[name].measure(net.W[layer - 1], trace.A[layer])
    return found
