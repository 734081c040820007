"""Soft orthogonality and SRIP: how far W'W is from a multiple of the identity."""

from tinydiv.backend import Array, matmul, xp
from tinydiv.settings import setting
from tinydiv.similarity import as_matrix, unit
from tinydiv.techniques.base import Step, WeightPenalty


def from_isometry(W: Array, scaled: bool = True) -> Array:
    """W'W - a I (..., H, H), with a = |W|^2 / H, the mean squared length, or a = 1."""
    S = matmul(W.mT, W)
    H = W.shape[-1]
    a = as_matrix(xp.sum(W**2, axis=(-2, -1)) / H) if scaled else 1
    return S - a * xp.eye(H, dtype=W.dtype)


class SoftOrthogonality(WeightPenalty):
    """Squared distance of W'W from a multiple of the identity (Bansal, Chen and Wang, NeurIPS 2018).

        E = W'W - a I,  a = |W|^2 / H (scaled) or 1 (as in the paper);  L = |E|^2;  dL/dW = 4 W E

    W (..., D, H). a's own derivative drops out: trace E is zero when a is the mean of the diagonal.

    What it teaches: orthogonality and equal lengths are two goals. With a = 1 the penalty first moves all
    lengths to 1, which is far from the usual lengths for 784 inputs; scaled requires only equal lengths.
    The paper's "double" form |W'W - I|^2 + |WW' - I|^2 is exactly 2 L + (D - H) and adds nothing new. How
    a network cheats it: scaled, L is of degree 4 in W (<W, dW> = 4 L), so shorter weights lower it. Where
    H > D the minimum is not zero but, scaled, |W|^4 (1/D - 1/H).
    Cost: two products of D H^2, whatever the batch.
    """

    name = "soft-orthogonality"
    family = "weights"
    default_strength = 0.01

    scaled: bool = setting(True, help="compare with the mean squared length instead of 1")

    def __call__(self, W: Array, step: Step) -> tuple[Array, Array]:
        E = from_isometry(W, self.scaled)
        return xp.sum(E**2, axis=(-2, -1)), 4 * matmul(W, E)


class SRIP(WeightPenalty):
    """Spectral restricted isometry: the largest |eigenvalue| of W'W - a I (Bansal, Chen and Wang, NeurIPS
    2018).

        E = W'W - a I,  a = |W|^2 / H;   v a unit vector with |E v| largest;   u = E v / |E v|
        L = |E v| = |sigma|;   dL/dW = W (u v' + v u') - 2/H (u'v) W

    W (..., D, H); u = v or -v, by the sign of the eigenvalue. The paper has I for a I, which mostly fights
    the lengths. iterations=0: v from an eigendecomposition, the gradient is exact. iterations=n: v from n
    power steps v <- E v / |E v|, starting at E's longest column. The gradient takes v as given, which is
    correct only at an eigenvector. At 784-16 and after the paper's 2 steps: for random draws L falls short
    by 5 % and the gradient differs by 60 % (relative to the exact one), because the largest eigenvalues
    lie close together; with a direction that all neurons share, cosines about .08, by less than 1 %.

    What it teaches: the worst direction instead of all pairs, and what a cheap eigenvector costs. How
    a network cheats it: by shorter weights, as soft orthogonality; and all directions except one get no
    gradient. Two eigenvalues of one size are a kink. Cost: one product of D H^2 and 9 H^3 for the
    eigenvectors, or 2 n H^2.
    """

    name = "srip"
    family = "weights"
    default_strength = 0.03

    iterations: int = setting(
        0, low=0, checked=False, help="power iterations; 0 computes the eigenvector exactly"
    )

    def __call__(self, W: Array, step: Step) -> tuple[Array, Array]:
        E = from_isometry(W)
        v = power_vector(E, self.iterations) if self.iterations else extreme_vector(E)
        Ev = matmul(E, v)
        u = unit(Ev)
        Wu, Wv = matmul(W, u), matmul(W, v)
        aligned = xp.sum(u * v, axis=(-2, -1), keepdims=True)
        dW = matmul(Wu, v.mT) + matmul(Wv, u.mT) - (2 / W.shape[-1]) * aligned * W
        return xp.sum(u * Ev, axis=(-2, -1)), dW


def extreme_vector(E: Array) -> Array:
    """The eigenvector (..., H, 1) of symmetric E whose eigenvalue is largest in size."""
    # One diverged network must not make the routine fail for all.
    E = xp.where(xp.isfinite(xp.sum(E, axis=(-2, -1), keepdims=True)), E, 0)
    values, vectors = xp.linalg.eigh(E)
    largest = xp.argmax(abs(values), axis=-1)
    return xp.take_along_axis(vectors, as_matrix(largest), axis=-1)


def power_vector(E: Array, steps: int) -> Array:
    """The same by power iteration, starting at E's longest column.

    With that start the result does not depend on the order of the neurons, and no pair is missed: a vector
    of ones would be orthogonal to the eigenvector of a pair w and -w.
    """
    longest = xp.argmax(xp.sum(E**2, axis=-2), axis=-1)
    v = xp.take_along_axis(E, as_matrix(longest), axis=-1)
    for _ in range(steps):
        v = matmul(E, unit(v))
    return unit(v)
