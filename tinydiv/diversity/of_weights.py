"""How different neurons' weights are."""

from tinydiv.backend import Array, matmul, xp
from tinydiv.diversity.neurons import Neurons, count_groups, eigenvalues, safe
from tinydiv.similarity import FLOOR, cosines, off_diagonal, pair_mask, squared_distances

SAME = 0.95
"""Neurons whose cosine exceeds this count as one (condensation, codes)."""


def awake(n: Neurons) -> Array:
    """How many neurons take part: those with a weight, in or out (after Radhakrishnan et al., 2025).

    The others are asleep in a network that grows, or their gates are shut.
    """
    return xp.sum(n.awake, axis=-1)


def weight_cosine(n: Neurons) -> Array:
    """Mean |cosine| between neurons' incoming weights (after Rodriguez et al., ICLR 2017).

    Random weights give sqrt(2 / (pi D)). A neuron whose weights are all zero has no direction and is left
    out.
    """
    c = cosines(n.W)
    return xp.sum(abs(off_diagonal(c.G)), axis=(-2, -1)) / c.pairs


def weight_cosine_max(n: Neurons) -> Array:
    """Largest |cosine| between neurons' incoming weights (after Bansal et al., NeurIPS 2018)."""
    return xp.max(abs(off_diagonal(cosines(n.W).G)), axis=(-2, -1))


def stable_rank(n: Neurons) -> Array:
    """How many directions the weights fill: |W|^2 / sigma_1^2 (Rudelson and Vershynin, 2007).

    Small directions are not counted. 1 if all neurons lie on a line, min(D, H) if W is orthogonal; 0 if W
    is zero.
    """
    W = n.W if n.W.shape[-2] >= n.W.shape[-1] else n.W.mT
    values = eigenvalues(matmul(W.mT, W))
    return xp.sum(values, axis=-1) / safe(values[..., -1])


def energy(n: Neurons, half: bool) -> Array:
    """Mean of 1 / d_ij over pairs, d the distance of two neurons' directions on the unit sphere.

    half: every neuron with its mirror image, (1/d + 1/e) / 2, e the distance from u_i to -u_j. 1e-6 is
    added to squared distances, so identical neurons give 1000 and not infinity.
    """
    c = cosines(n.W)
    mask = pair_mask(c.alive)

    def inverse(sign: float) -> Array:
        return mask / xp.sqrt(squared_distances(c.U, sign) + FLOOR)

    potential = (inverse(-1.0) + inverse(1.0)) / 2 if half else inverse(-1.0)
    return xp.sum(potential, axis=(-2, -1)) / c.pairs


def hyperspherical_energy(n: Neurons) -> Array:
    """Mean inverse distance of neurons' directions on the sphere (Liu et al., NeurIPS 2018).

    It is low where they spread out.
    """
    return energy(n, half=False)


def half_space_energy(n: Neurons) -> Array:
    """Mean inverse distance of neurons' directions and their mirror images (Liu et al., NeurIPS 2018).

    For activations such as tanh, where the activation for -w is minus that for w.
    """
    return energy(n, half=True)


def condensation(n: Neurons) -> Array:
    """Groups of neurons that point the same way, cosine of [w; b] above 0.95 (after Chen et al.,
    Condensation, 2024).

    The bias counts as the weight of one more input. H where no two neurons point the same way, 1 where
    chains of similar neurons join all of them. Neurons of zero weights are not counted.
    """
    c = cosines(xp.concatenate([n.W, n.b], axis=-2))
    linked = pair_mask(c.alive) * (c.G > SAME)
    return count_groups(linked, c.alive[..., 0, :])
