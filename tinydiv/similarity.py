"""The blocks under most penalties: from dL/dR to activations, from dL/dG to weights, and logdet.

R are Pearson correlations between neurons' activations, G cosines between their incoming weights.
A penalty that is a function of R or G needs only its derivative M with respect to every entry; these
blocks carry it on through the normalisation. M counts both orders of a pair: where each pair is meant
once, fill M_ij for one order and leave M_ji zero.
"""

from dataclasses import dataclass

from tinydiv.backend import Array, matmul, xp

ALIVE_STD = 1e-3
"""A neuron whose standard deviation is below this is left out of correlations: it has none."""


def off_diagonal(S: Array) -> Array:
    """S (..., H, H) with its diagonal set to zero."""
    return S * (1 - xp.eye(S.shape[-1], dtype=S.dtype))


def pair_mask(alive: Array) -> Array:
    """One where two different neurons are both alive, else zero: (..., 1, H) -> (..., H, H)."""
    return off_diagonal(alive.mT * alive)


def alive_pairs(alive: Array) -> Array:
    """How many ordered pairs of alive neurons there are, at least 1: (..., 1, H) -> (...,).

    What a mean over pairs divides by. With H (H - 1) in its place, every neuron that dies would lower
    the mean just as an independent one does.
    """
    n = xp.sum(alive, axis=(-2, -1))
    return xp.maximum(n * (n - 1), 1)


def as_matrix(numbers: Array) -> Array:
    """Numbers per network (...,) in the shape that meets matrices, (..., 1, 1)."""
    return numbers[..., None, None]


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
    N: int | Array
    """How many samples the means are over: a number, or one per matrix (..., 1, 1)."""

    @property
    def pairs(self) -> Array:
        """(...,) how many ordered pairs of alive neurons there are, at least 1."""
        return alive_pairs(self.alive)

    def backward(self, M: Array) -> Array:
        """dA from M = dL/dR (..., H, H), exact for every eps: dZ = Z (M + M') / N, then `to_A`."""
        return self.to_A(matmul(self.Z, M + M.mT) / self.N)

    def to_A(self, dZ: Array) -> Array:
        """dA from dZ (..., N, H), through the standardisation:

        dA = [dZ - Z mean_n(dZ Z) - mean_n(dZ)] / s

        The second term is the derivative of the normalisation, the third that of the mean. The third is
        not computed: every dZ here is a combination of centred columns, so its mean is zero.
        """
        along = xp.sum(dZ * self.Z, axis=-2, keepdims=True) / self.N
        return self.alive * (dZ - self.Z * along) / self.s


def correlations(A: Array, eps: float = 1e-4) -> Correlations:
    """Pearson correlations of activations A (..., N, H), with neurons that hardly move left out.

        C = A - mean;  s = sqrt(mean C^2 + eps);  Z = C / s;  R = Z'Z / N

    A neuron that is constant has no correlation: it is left out (its row and column are zero, its
    gradient too) and can be counted through `alive`. It must never pass for an independent one.
    """
    return correlations_of_centred(A - xp.mean(A, axis=-2, keepdims=True), A.shape[-2], eps)


def correlations_of_centred(C: Array, N: int | Array, eps: float) -> Correlations:
    """The same of C (..., N, H) that is centred already, by whatever means (of each class, say).

    N: how many samples count; rows of zeros (samples of other classes) may stand among them.
    """
    variance = xp.sum(C**2, axis=-2, keepdims=True) / N
    alive = (variance >= ALIVE_STD**2).astype(C.dtype)
    s = xp.sqrt(variance + eps)
    Z = alive * C / s
    return Correlations(matmul(Z.mT, Z) / N, Z, s, alive, N)


@dataclass(frozen=True)
class Cosines:
    """What cosines() computed: G and what its backward needs."""

    G: Array
    """(..., H, H) cosines between the columns of W."""
    U: Array
    """(..., D, H) columns of unit length; a column of zeros stays one."""
    n: Array
    """(..., 1, H) lengths of the columns."""
    alive: Array
    """(..., 1, H) one where a column has a direction, zero where it is all zeros."""

    @property
    def pairs(self) -> Array:
        """(...,) how many ordered pairs of columns with a direction there are, at least 1."""
        return alive_pairs(self.alive)

    def backward(self, M: Array) -> Array:
        """dW from M = dL/dG (..., H, H):

        dU = U (M + M');    dW = [dU - U sum_d(U dU)] / n

        The second term takes out the part along w: a cosine does not change with length.
        """
        dU = matmul(self.U, M + M.mT)
        along = xp.sum(self.U * dU, axis=-2, keepdims=True)
        return self.alive * (dU - self.U * along) / self.n


def cosines(W: Array) -> Cosines:
    """Cosines between neurons' incoming weights W (..., D, H): U = W / |w|, G = U'U.

    A column of zeros has no direction: its cosines are zero and its gradient too, and `alive` says so.
    """
    n = xp.sqrt(xp.sum(W**2, axis=-2, keepdims=True))
    alive = (n > 0).astype(W.dtype)
    safe = n + (1 - alive)
    U = W / safe
    return Cosines(matmul(U.mT, U), U, safe, alive)


def negative_logdet(S: Array, alive: Array, delta: float) -> tuple[Array, Array]:
    """L = -1/n logdet(S + delta I) over the n alive neurons, and M = dL/dS = -1/n (S + delta I)^-1.

    S (..., H, H) symmetric with eigenvalues >= 0, zero in the rows and columns of neurons that are not
    alive: (..., 1, H). Those get a one on the diagonal, whose logarithm is zero: left out. delta keeps
    the logarithm finite where neurons repeat each other; from 1e-3 up it is safe in float32.
    """
    n = xp.maximum(xp.sum(alive, axis=(-2, -1)), 1)
    diagonal = delta * alive + (1 - alive)
    regular = S + xp.eye(S.shape[-1], dtype=S.dtype) * diagonal
    _, logdet = xp.linalg.slogdet(regular)
    return -logdet / n, -xp.linalg.inv(regular) / as_matrix(n)
