"""What a measure of diversity can read: one hidden layer's neurons on the probe set."""

from dataclasses import dataclass

from tinydiv.backend import Array, matmul, sum_over_samples, xp
from tinydiv.similarity import Correlations, correlations_of_centred

TINY_EPS = 1e-12
"""Avoids 0/0; far below the variance of any neuron that counts as alive."""


@dataclass(frozen=True)
class Neurons:
    """One hidden layer: incoming weights, activations on the probe set, outgoing weights."""

    W: Array
    """(..., D, H) incoming weights, one column per neuron."""
    b: Array
    """(..., 1, H) biases."""
    A: Array
    """(..., N, H) activations on the probe set."""
    V: Array
    """(..., H, K) outgoing weights, one row per neuron."""
    labels: Array = None
    """(N,) the probe set's classes, None where they are not known."""
    classes: int = 0
    """How many classes there are."""

    @property
    def H(self) -> int:
        """How many neurons there are."""
        return int(self.A.shape[-1])

    @property
    def awake(self) -> Array:
        """(..., H): 1 for neurons with a weight, in or out; 0 for those that sleep."""
        some = xp.any(self.W != 0, axis=-2) | xp.any(self.V != 0, axis=-1)
        return some.astype(self.A.dtype)

    @property
    def count(self) -> Array:
        """(...,): how many neurons are awake; H where none is."""
        count = xp.sum(self.awake, axis=-1)
        return xp.where(count > 0, count, self.H + 0 * count)

    @property
    def C(self) -> Array:
        """Centred activations, A - mean: exactly zero for a neuron that is constant.

        The computed mean of many equal numbers differs from them by rounding errors, which must not count
        as a response.
        """
        moves = xp.max(self.A, axis=-2, keepdims=True) != xp.min(self.A, axis=-2, keepdims=True)
        return moves * (self.A - sum_over_samples(self.A) / self.A.shape[-2])

    @property
    def correlations(self) -> Correlations:
        """Pearson correlations between the neurons that are alive."""
        return correlations_of_centred(self.C, self.A.shape[-2], TINY_EPS)

    @property
    def S(self) -> Array:
        """Their covariance C'C / N, (..., H, H)."""
        C = self.C
        return matmul(C.mT, C) / C.shape[-2]


def eigenvalues(S: Array) -> Array:
    """Eigenvalues of symmetric matrices with none below zero, smallest first, (..., H).

    One diverged network must not make the routine fail for all: its eigenvalues count as zero.
    """
    finite = xp.isfinite(xp.sum(S, axis=(-2, -1), keepdims=True))
    return xp.maximum(xp.linalg.eigvalsh(xp.where(finite, S, xp.zeros_like(S))), 0)


def safe(x: Array) -> Array:
    """x, at least the smallest normal number: for denominators."""
    return xp.maximum(x, xp.finfo(x.dtype).tiny)


def count_groups(linked: Array, counted: Array) -> Array:
    """How many connected groups a graph has: linked (..., H, H) 0 or 1, symmetric; counted (..., H).

    Nodes at a distance of two links become neighbours, again and again, until all nodes of a group are
    neighbours of each other; then each node counts as one over its group's size. These are whole-array
    operations, so nothing waits for the device. Neurons that are not counted must have no links.
    """
    H = linked.shape[-1]
    reach = xp.maximum(linked, xp.eye(H, dtype=linked.dtype))
    for _ in range(max(H - 1, 1).bit_length()):
        reach = (matmul(reach, reach) > 0).astype(linked.dtype)
    return xp.sum(counted / xp.sum(reach, axis=-1), axis=-1)
