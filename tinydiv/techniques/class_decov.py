"""DeCov and Pearson within classes: covariance that the labels explain does not count."""

from tinydiv.backend import Array, matmul, xp
from tinydiv.errors import UsageError
from tinydiv.losses import one_hot
from tinydiv.settings import setting
from tinydiv.similarity import (
    as_matrix,
    correlations_of_centred,
    off_diagonal,
)
from tinydiv.techniques.base import ActivationPenalty, Step


class ClassDeCov(ActivationPenalty):
    """Covariance (or correlation) of hidden neurons within classes (ours, after Cogswell et al., ICLR
    2016).

        C = A - mean of the sample's own class;  classes c with n_c of the N samples
        pooled, covariance        S = C'C / N;         L = 1/2 |off S|^2;    dA = 2/N C off(S)
        conditional, covariance   S_c = C_c'C_c / n_c; L = sum_c n_c/N 1/2 |off S_c|^2
                                  rows of class c: dA = 2/N C_c off(S_c)
        correlation               Pearson's L and gradient in place of DeCov's, with the same C

    A (..., N, H); labels are class numbers, those of the batch. The means' own derivative drops out
    here as well: the rows of C off(S) sum to zero within every class.

    What it teaches: neurons that learn one task must share signal. DeCov and Pearson punish that; here
    only what is left within a class counts (Fisher's within-class scatter, 1936). How a network
    cheats it: by activations that are constant within each class, the collapse at the end of training,
    where neurons may all respond alike. conditional requires the most, and needs n_c well above H: a
    batch of 64 has 6 samples of each of 10 classes, and correlations of 6 samples are mostly chance.
    Cost: pooled as DeCov, and the class means; conditional K times as much.
    """

    name = "class-decov"
    family = "activations"
    fewest_samples = 2
    default_strength = 0.1

    form: str = setting(
        "pooled", choices=("pooled", "conditional"), help="one matrix for all classes, or one each"
    )
    measure: str = setting(
        "covariance", choices=("covariance", "correlation"), help="as DeCov, or as Pearson"
    )
    eps: float = setting(
        1e-4, above=0, only=("measure", "correlation"), help="correlation: added to variances"
    )

    def __call__(self, A: Array, step: Step) -> tuple[Array, Array]:
        if step.targets.dtype.kind not in "iu":
            raise UsageError(
                "class-decov needs class numbers as targets: a regression has no classes"
            )
        Y = one_hot(step.targets, step.trace.logits)  # (..., N, K)
        counts = xp.sum(Y, axis=-2)[..., None]  # (..., K, 1)
        means = matmul(Y.mT, A) / xp.maximum(counts, 1)
        C = A - matmul(Y, means)
        if self.form == "pooled":
            return self.within(C, A.shape[-2])
        split = Y.mT[..., None] * C[..., None, :, :]  # (..., K, N, H): zero outside the class
        values, dA = self.within(split, xp.maximum(counts, 1)[..., None])
        share = counts[..., 0] / A.shape[-2]  # (..., K)
        return xp.sum(share * values, axis=-1), xp.sum(dA * as_matrix(share), axis=-3)

    def within(self, C: Array, N: int | Array) -> tuple[Array, Array]:
        """DeCov or Pearson of C (..., N, H) that is centred already."""
        if self.measure == "covariance":
            off_S = off_diagonal(matmul(C.mT, C) / N)
            return xp.sum(off_S**2, axis=(-2, -1)) / 2, matmul(C, off_S) * (2 / N)
        c = correlations_of_centred(C, N, self.eps)
        off_R = off_diagonal(c.R)
        value = xp.sum(off_R**2, axis=(-2, -1)) / c.pairs
        return value, c.backward(2 * off_R / as_matrix(c.pairs))
