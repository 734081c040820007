"""Neurons as an ensemble: neuron h of H awake ones outputs o_h = H a_h V_h, the network the mean of
all."""

from tinydiv.backend import Array, matmul, xp
from tinydiv.diversity.neurons import Neurons, safe


def mean_squares(n: Neurons) -> tuple[Array, Array]:
    """(mean_h |o_h|^2, |mean_h o_h|^2) summed over outputs, averaged over samples: each (...,)."""
    sizes = xp.sum(n.V**2, axis=-1)[..., None, :]  # (..., 1, H)
    apart = n.count * xp.mean(xp.sum(n.A**2 * sizes, axis=-1), axis=-1)
    together = xp.mean(xp.sum(matmul(n.A, n.V) ** 2, axis=-1), axis=-1)
    return apart, together


def ambiguity(n: Neurons) -> Array:
    """How much neurons, read as an ensemble, disagree with their mean (Krogh and Vedelsby, 1995).

    mean_h |o_h - f|^2 over the probe set, H sum_h a_h^2 |V_h|^2 - |sum_h a_h V_h|^2. It grows with the
    outputs' scale: compare networks of similar scale, or use coherence.
    """
    apart, together = mean_squares(n)
    return apart - together


def coherence(n: Neurons) -> Array:
    """How alike the neurons' contributions to the outputs are (after Krogh and Vedelsby, 1995).

    |mean_h o_h|^2 / mean_h |o_h|^2, in [0, 1]: 1 if all are equal, 1/H if they are orthogonal. It is
    ambiguity without its scale: ambiguity = (1 - coherence) mean_h |o_h|^2.
    """
    apart, together = mean_squares(n)
    return together / safe(apart)
