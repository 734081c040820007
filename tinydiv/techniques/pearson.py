"""Pearson correlation between hidden neurons: its mean square, and its mean absolute value."""

from tinydiv.backend import Array, xp
from tinydiv.settings import setting
from tinydiv.similarity import as_matrix, correlations, off_diagonal
from tinydiv.techniques.base import ActivationPenalty, Step


class Pearson(ActivationPenalty):
    """Mean squared Pearson correlation between hidden neurons (Bao et al., 2013).

        s = sqrt(variance + eps);  Z = (A - mean) / s;  R = Z'Z / N
        L = |off R|^2 / P;   dL/dA = 4 / (P N) [Z off(R) - Z diag(R off(R))] / s

    A (..., N, H); P = H (H - 1) ordered pairs. Neurons whose standard deviation is below 1e-3 have no
    correlation: they are left out of L and P and get no gradient. debiased: independent neurons have
    E r^2 = b = 1/(N-1) by chance alone, so L becomes (L - b) / (1 - b), zero on average for
    independent neurons whatever the batch; the gradient keeps its direction.

    What it teaches: the second term, the derivative of the normalisation, is important: without it the
    gradient has another direction (cosine to the true one .9 for independent neurons, about .7 at r = .5).
    Unlike DeCov it does not depend on scale: <A, dA> is nearly 0. How a network cheats it: eps shrinks the
    correlation of a neuron whose deviation falls below sqrt(eps), and below 1e-3 it is not counted, so
    silent neurons lower L; the gradient, which grows as 1/s, tends to raise the number of dead neurons.
    Labels correlate neurons too: this penalises shared signal (class-decov does not). Cost: two products
    of N H^2 and a dozen passes.
    """

    name = "pearson"
    family = "activations"
    fewest_samples = 2
    default_strength = 0.2

    eps: float = setting(1e-4, above=0, help="added to variances; smaller is unsafe in float32")
    debiased: bool = setting(False, help="subtract the part that chance gives")

    def __call__(self, A: Array, step: Step) -> tuple[Array, Array]:
        c = correlations(A, self.eps)
        off_R = off_diagonal(c.R)
        value = (off_R**2).sum(axis=(-2, -1)) / c.pairs
        M = 2 * off_R / as_matrix(c.pairs)
        if self.debiased:
            value, slope = c.debiased(value)
            M = slope * M
        return value, c.backward(M)


class MeanAbsPearson(ActivationPenalty):
    """Mean absolute Pearson correlation between hidden neurons (after Bao et al., 2013).

        R as in Pearson;   L = sum_{i != j} |r_ij| / P;   M = dL/dR = sign(off R) / P
        dL/dA from M as in Correlations.backward

    A (..., N, H); P counts ordered pairs of alive neurons. It is the measure that studies quote
    (metric `correlation`) turned into a penalty; after Bao et al., 2013, who square it.

    What it teaches: L1 against L2. Every pair is pushed with the same force, however small its
    correlation, so small ones reach zero and large ones do not fall faster. How a network cheats it: as
    with Pearson, by silent neurons; and since chance alone gives E|r| about sqrt(2 / (pi N)), most of the
    force in a small batch acts on noise. At r = 0 there is a kink. Cost: as Pearson.
    """

    name = "mean-abs-pearson"
    family = "activations"
    fewest_samples = 2
    default_strength = 0.1

    eps: float = setting(1e-4, above=0, help="added to variances; smaller is unsafe in float32")

    def __call__(self, A: Array, step: Step) -> tuple[Array, Array]:
        c = correlations(A, self.eps)
        off_R = off_diagonal(c.R)
        value = abs(off_R).sum(axis=(-2, -1)) / c.pairs
        return value, c.backward(xp.sign(off_R) / as_matrix(c.pairs))
