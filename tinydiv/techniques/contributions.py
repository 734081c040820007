"""Two views of the neurons as an ensemble: how much their contributions agree.

A neuron contributes to the next layer's inputs as it does to the outputs, so both make sense at every
hidden layer: V are its outgoing weights there. Without layers= it is the last one.
"""

from tinydiv.backend import Array, matmul, sum_over_samples, xp
from tinydiv.similarity import as_matrix, off_diagonal
from tinydiv.techniques.base import EnsemblePenalty, Step


class ContributionCoherence(EnsemblePenalty):
    """How far the neurons' contributions to the outputs point the same way, in [0, 1] (ours, after Krogh
    and Vedelsby, 1995).

        neuron h contributes a_h V_h;   q = |A V|^2 / D,   D = n sum_{bh} a_bh^2 |V_h|^2
        dA = 2/D [A V V' - q n A |V|^2],   dV = 2/D [A'A V - q n (sum_b a^2) V],   dc = 0

    A (..., N, H), V (..., H, K); n neurons that contribute at all. Ambiguity (Krogh and Vedelsby, 1995)
    is D - |A V|^2 summed over the batch; as a reward it is unbounded, because larger weights increase it.
    q is the same comparison as a ratio: 1 if all contributions are equal, 1/n if they are orthogonal, 0 if
    they cancel.

    What it teaches: a bounded measure of disagreement that scale cannot change: <A, dA> = 0. How a network
    cheats it: by cancelling. The smallest q is a network whose neurons contribute nothing (only the bias c
    does), so the task must prevent it. Cost: as the output layer's forward and backward, and as much again.
    """

    name = "contribution-coherence"
    family = "ensemble"
    acts_on = "hidden layers"
    default_strength = 0.5

    def __call__(
        self, A: Array, V: Array, c: Array, step: Step
    ) -> tuple[Array, Array, Array, Array]:
        lengths = xp.sum(V**2, axis=-1)[..., None, :]  # (..., 1, H)
        squares = sum_over_samples(A**2)  # (..., 1, H)
        energy = squares * lengths
        n = xp.sum((energy > 0).astype(A.dtype), axis=(-2, -1))
        total = n * xp.sum(energy, axis=(-2, -1))
        total = xp.where(total > 0, total, 1)  # no neuron contributes: q is 0
        together = matmul(A, V)  # (..., N, K)
        q = xp.sum(together**2, axis=(-2, -1)) / total
        scale, qn = as_matrix(2 / total), as_matrix(q * n)
        dA = scale * (matmul(together, V.mT) - qn * A * lengths)
        dV = scale * (matmul(A.mT, together) - qn * squares.mT * V)
        return q, dA, dV, xp.zeros_like(c)


class ContributionGram(EnsemblePenalty):
    """Overlap between the neurons' contributions, pair by pair (ours, after Krogh and Vedelsby, 1995;
    Cogswell et al., ICLR 2016).

        Gamma = (A'A / N) * (V V');   L = 1/2 |off Gamma|^2 >= 0
        dA = 2/N A (off(Gamma) * V V'),   dV = 2 (off(Gamma) * A'A / N) V,   dc = 0

    A (..., N, H), V (..., H, K); Gamma_ij is the mean over samples of <a_i V_i, a_j V_j>. DeCov compares
    the neurons' activations, cosine their incoming weights; this compares their contributions.

    What it teaches: two neurons may be active together if they contribute to different classes, and
    contribute to the same class if they are never active together; either factor near zero is enough. How
    a network cheats it: by scale, it is of degree 4 in A and in V; a neuron with no contribution overlaps
    with no other; and A is not centred, so activations that are never negative always overlap. Cost: three
    products of N H^2 or fewer.
    """

    name = "contribution-gram"
    family = "ensemble"
    acts_on = "hidden layers"
    default_strength = 0.03

    def __call__(
        self, A: Array, V: Array, c: Array, step: Step
    ) -> tuple[Array, Array, Array, Array]:
        N = A.shape[-2]
        of_activations = matmul(A.mT, A) / N
        of_weights = matmul(V, V.mT)
        overlap = off_diagonal(of_activations * of_weights)
        value = xp.sum(overlap**2, axis=(-2, -1)) / 2
        dA = (2 / N) * matmul(A, overlap * of_weights)
        dV = 2 * matmul(overlap * of_activations, V)
        return value, dA, dV, xp.zeros_like(c)
