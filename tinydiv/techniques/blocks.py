"""The two blocks under most penalties: from dL/dR to activations, from dL/dG to weights.

R are Pearson correlations between neurons' activations, G cosines between their incoming weights.
A penalty that is a function of R or G needs only its derivative M with respect to every entry; these
blocks carry it on through the normalisation.
"""

from dataclasses import dataclass

from tinydiv.backend import Array, matmul, xp

ALIVE_STD = 1e-3
"""A neuron whose standard deviation is below this is left out of correlations: it has none."""


def off_diagonal(S: Array) -> Array:
    """S (..., H, H) with its diagonal set to zero."""
    return S * (1 - xp.eye(S.shape[-1], dtype=S.dtype))


@dataclass(frozen=True)
class Correlations:
    """What correlations() computed: R and what its backward needs."""

    R: Array
    """(..., H, H) correlations; rows and columns of neurons that are not alive are zero."""
    Z: Array
    """(..., N, H) standardised activations; zero for neurons that are not alive."""
    s: Array
    """(..., 1, H) sqrt(variance + eps)."""
    alive: Array
    """(..., 1, H) one where the standard deviation is at least ALIVE_STD, else zero."""

    def backward(self, M: Array) -> Array:
        """dA from M = dL/dR (..., H, H), exact for every eps:

        P = Z (M + M') / N;    dA = [P - Z mean_n(P Z) - mean_n(P)] / s

        The second term is the derivative of the normalisation, the third that of the mean (it
        vanishes, because the columns of Z sum to zero, and is not computed).
        """
        N = self.Z.shape[-2]
        P = matmul(self.Z, M + M.mT) / N
        along = xp.mean(P * self.Z, axis=-2, keepdims=True)
        return self.alive * (P - self.Z * along) / self.s


def correlations(A: Array, eps: float = 1e-4) -> Correlations:
    """Pearson correlations of activations A (..., N, H), with neurons that hardly move left out.

        C = A - mean;  s = sqrt(mean C^2 + eps);  Z = C / s;  R = Z'Z / N

    A neuron that is constant has no correlation: it is left out (its row and column are zero, its
    gradient too) and can be counted through `alive`. It must never pass for an independent one.
    """
    C = A - xp.mean(A, axis=-2, keepdims=True)
    variance = xp.mean(C**2, axis=-2, keepdims=True)
    alive = (variance >= ALIVE_STD**2).astype(A.dtype)
    s = xp.sqrt(variance + eps)
    Z = alive * C / s
    return Correlations(matmul(Z.mT, Z) / A.shape[-2], Z, s, alive)


@dataclass(frozen=True)
class Cosines:
    """What cosines() computed: G and what its backward needs."""

    G: Array
    """(..., H, H) cosines between the columns of W."""
    U: Array
    """(..., D, H) columns of unit length."""
    n: Array
    """(..., 1, H) lengths of the columns."""

    def backward(self, M: Array) -> Array:
        """dW from M = dL/dG (..., H, H):

        P = U (M + M');    dW = [P - U sum_d(U P)] / n

        The second term takes out the part along w: a cosine does not change with length.
        """
        P = matmul(self.U, M + M.mT)
        along = xp.sum(self.U * P, axis=-2, keepdims=True)
        return (P - self.U * along) / self.n


def cosines(W: Array) -> Cosines:
    """Cosines between neurons' incoming weights W (..., D, H): U = W / |w|, G = U'U.

    A column of zeros has no direction: its cosines are zero and its gradient too.
    """
    n = xp.sqrt(xp.sum(W**2, axis=-2, keepdims=True))
    safe = xp.where(n > 0, n, xp.ones_like(n))
    U = W / safe
    return Cosines(matmul(U.mT, U), U, safe)
