"""Orthogonal noise: the two most similar neurons are turned apart, by a stated angle."""

from tinydiv.backend import Array, matmul, xp
from tinydiv.errors import UsageError
from tinydiv.mlp import MLP
from tinydiv.settings import setting
from tinydiv.similarity import cosines, lengths, off_diagonal, unit
from tinydiv.techniques.base import Intervention, Step

STREAM = 3000


class OrthogonalNoise(Intervention):
    """Turn one of the two most similar neurons away from the other, at random and by a known amount
    (ours).

    Our definition: for the pair i, j of a layer with the largest |cos(w_i, w_j)|, if it reaches
    `threshold`,

        n = a random vector, made orthogonal to w_i and w_j, |n| = kappa |w_i|
        w_i <- (w_i + n) / sqrt(1 + kappa^2)

    Then |w_i| is what it was and the new cosine is exactly cos / sqrt(1 + kappa^2): only the direction is
    random. W (..., D, H); D >= 3, for in a plane no direction is orthogonal to both. i is the one whose
    outgoing weights are shorter, so that the function changes less. Random noise separates neurons that a
    gradient cannot: equal neurons with equal outgoing weights always get equal gradients.
    Cost, every `every` steps: one product of D H^2.
    """

    name = "orthogonal-noise"
    family = "interventions"
    invariant = (
        "the length of every neuron's weights; the pair's new cosine is cos / sqrt(1 + kappa^2)"
    )
    default_every = 20

    kappa: float = setting(0.1, above=0, high=10, help="length of the noise beside the neuron's")
    threshold: float = setting(0.0, low=0, high=1, help="smallest |cosine| that is acted upon")

    def prepare(self, net: MLP, layer: int, probe_inputs: Array | None) -> None:
        if net.sizes[layer - 1] < 3:
            raise UsageError(
                f"{self.name} needs a direction orthogonal to two neurons, so at least 3 inputs per "
                f"neuron, and layer {layer} has {net.sizes[layer - 1]}"
            )

    def move(self, step: Step, layer: int, mask: Array | None) -> None:
        assert step.draws is not None
        W, V = step.net.W[layer - 1], step.net.W[layer]
        D, H = W.shape[-2:]
        if H < 2:
            return
        similarity = abs(off_diagonal(cosines(W).G))
        flat = similarity.reshape(*similarity.shape[:-2], H * H)
        best = xp.argmax(flat, axis=-1)[..., None]  # (..., 1)
        first, second = xp.arange(H) == best // H, xp.arange(H) == best % H  # (..., H)
        outgoing = xp.sum(V**2, axis=-1)
        of_first, of_second = (
            xp.sum(outgoing * one, axis=-1, keepdims=True) for one in (first, second)
        )
        turned = xp.where(of_first <= of_second, first, second)
        other = xp.where(of_first <= of_second, second, first)
        largest = xp.max(flat, axis=-1)[..., None]
        act = (largest >= self.threshold) & (largest > 0)  # zero: there is no pair
        if mask is not None:
            act = act & mask[..., None]

        w, w_other = (matmul(W, one.astype(W.dtype)[..., None]) for one in (turned, other))
        n = step.draws.symmetric((D, 1), step.number, STREAM + layer, step.net.dtype)
        n = orthogonal_to(n, w, w_other)
        length = lengths(w)
        new = (w + self.kappa * length * n) / (1 + self.kappa**2) ** 0.5
        new = new * (length / xp.maximum(lengths(new), xp.finfo(W.dtype).tiny))
        W[...] = xp.where((turned & act)[..., None, :], new, W)


def orthogonal_to(n: Array, first: Array, second: Array) -> Array:
    """n (..., D, 1) without its parts along two vectors, at length 1.

    Gram-Schmidt, twice: where the two are nearly parallel, one pass leaves rounding errors behind.
    """
    a = unit(first)
    b = second - a * matmul(a.mT, second)
    b = unit(b - a * matmul(a.mT, b))
    for _ in range(2):
        n = unit(n)
        n = n - a * matmul(a.mT, n)
        n = n - b * matmul(b.mT, n)
    return unit(n)
