"""Barlow twins within a layer: the same neuron twice, once with noise on its inputs."""

from tinydiv.backend import Array, matmul, xp
from tinydiv.settings import setting
from tinydiv.similarity import correlations, off_diagonal
from tinydiv.techniques.base import Step, TwoViewPenalty


class Barlow(TwoViewPenalty):
    """Redundancy reduction between two views (Zbontar et al., ICML 2021).

        Z1, Z2 standardised activations on X and on X + noise;   R = Z1'Z2 / N
        L = sum_h (1 - R_hh)^2 + redundancy |off R|^2
        M = dL/dR = -2 diag(1 - R_hh) + 2 redundancy off(R)
        dZ1 = Z2 M' / N,  dZ2 = Z1 M / N;  then each view's similarity.Correlations.to_A

    A, B (..., N, H): the clean view is the step's own pass; the second pass is made for this penalty, and
    sent backward too. Views of an image would be crops and colours; input noise is the form that
    suits any data. The noise is uniform with the given standard deviation, drawn from the
    network's seed and the step.

    What it teaches: two goals in one matrix. Each neuron agrees with itself under noise (the diagonal),
    and differs from all others. With one view (noise=0) and eps near 0 the first goal is met already, and
    L is redundancy H (H - 1) times Pearson's. How a network cheats it: with small noise the diagonal costs
    nothing; a constant neuron costs 1 and gets no gradient, so dead neurons stay dead.
    Cost: a second forward and backward pass, and the noise: more than another step.
    """

    name = "barlow"
    family = "activations"
    fewest_samples = 2
    default_strength = 0.1

    redundancy: float = setting(0.0051, low=0, help="weight of the off-diagonal part")
    eps: float = setting(1e-4, above=0, help="added to variances; smaller is unsafe in float32")

    def __call__(self, A: Array, B: Array, step: Step) -> tuple[Array, Array, Array]:
        one, two = correlations(A, self.eps), correlations(B, self.eps)
        N = A.shape[-2]
        R = matmul(one.Z.mT, two.Z) / N
        identity = xp.eye(R.shape[-1], dtype=R.dtype)
        missing, off_R = (1 - R) * identity, off_diagonal(R)
        value = xp.sum(missing**2, axis=(-2, -1))
        value = value + self.redundancy * xp.sum(off_R**2, axis=(-2, -1))
        M = 2 * self.redundancy * off_R - 2 * missing
        dA = one.to_A(matmul(two.Z, M.mT) / N)
        dB = two.to_A(matmul(one.Z, M) / N)
        return value, dA, dB
