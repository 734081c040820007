"""WLD-Reg: the similarity of two neurons is a Gaussian of the distance between their activations."""

from tinydiv.backend import Array, matmul, sum_over_samples, xp
from tinydiv.settings import setting
from tinydiv.similarity import off_diagonal
from tinydiv.techniques.base import ActivationPenalty, Step

DELTA = 1e-3
"""Added to the diagonal of S under a determinant: neurons that coincide make S singular."""


class WLDReg(ActivationPenalty):
    """Within-layer diversity by a Gaussian similarity (Laakom et al., AAAI 2023).

        E_bnm = exp(-gamma (a_bn - a_bm)^2);   S_nm = mean_b E_bnm
        direct       L = sum_{n != m} S_nm              M = 1
        det          L = -det(S + delta I)              M = -det(S + delta I) (S + delta I)^-1
        logdet       L = -logdet(S + delta I)           M = -(S + delta I)^-1
                     dA_bn = -4 gamma / N sum_m M_nm E_bnm (a_bn - a_bm)
        aggregated   L = sum_{n != m} exp(-gamma mean_b (a_bn - a_bm)^2)      the distance is averaged
                     Q = off(exp(...));  dA_bn = -4 gamma / N sum_m Q_nm (a_bn - a_bm)

    A (..., N, H), M = dL/dS, delta = 1e-3. aggregated is our cheap form: no array of N H^2.

    What it teaches: difference is not independence. Two neurons that differ only by a constant or a factor
    are far apart here; on images it *raises* the neurons' correlation. How a network
    cheats it: by biases and scale, for the same reason: spread the neurons' means, or enlarge
    everything, and every similarity falls to zero. DeCov is lowered by the opposite; and a dead neuron is
    far from an active one. det has almost no gradient where redundancy is large: the determinant is a
    product of many small numbers.
    Cost: a dozen passes over N H^2 (aggregated: two products of N H^2), the determinants H^3.
    """

    name = "wld-reg"
    family = "activations"
    fewest_samples = 2
    default_strength = 0.003

    form: str = setting(
        "direct",
        choices=("direct", "det", "logdet", "aggregated"),
        help="sum of similarities, their determinant, its logarithm; or distances averaged first",
    )
    gamma: float = setting(10.0, above=0, help="how fast similarity falls with distance squared")

    def __call__(self, A: Array, step: Step) -> tuple[Array, Array]:
        return self.aggregated(A) if self.form == "aggregated" else self.of_samples(A)

    def of_samples(self, A: Array) -> tuple[Array, Array]:
        """The forms that average similarities: direct, det, logdet."""
        N, H = A.shape[-2:]
        difference = A[..., :, :, None] - A[..., :, None, :]  # (..., N, H, H)
        E = xp.exp(-self.gamma * difference**2)
        S = xp.mean(E, axis=-3)
        if self.form == "direct":
            value, M = xp.sum(off_diagonal(S), axis=(-2, -1)), None
        else:
            regular = S + DELTA * xp.eye(H, dtype=A.dtype)
            _, logdet = xp.linalg.slogdet(regular)
            M = -xp.linalg.inv(regular)
            value = -logdet
            if self.form == "det":
                value = -xp.exp(logdet)  # the matrix has no negative eigenvalue, so no sign
                M = M * xp.exp(logdet)[..., None, None]
        weighted = E * difference
        if M is not None:
            weighted = weighted * M[..., None, :, :]
        return value, (-4 * self.gamma / N) * xp.sum(weighted, axis=-1)

    def aggregated(self, A: Array) -> tuple[Array, Array]:
        """One distance per pair of neurons: variances, a covariance, and means."""
        N = A.shape[-2]
        mean = sum_over_samples(A) / N
        C = A - mean
        S = matmul(C.mT, C) / N
        variance = sum_over_samples(C**2) / N
        # The distances, from centred activations, so that no digits are lost:
        apart = variance + variance.mT - 2 * S + (mean - mean.mT) ** 2
        Q = off_diagonal(xp.exp(-self.gamma * xp.maximum(apart, 0)))
        value = xp.sum(Q, axis=(-2, -1))
        dA = A * xp.sum(Q, axis=-2, keepdims=True) - matmul(A, Q)
        return value, (-4 * self.gamma / N) * dA
