"""Parts of most penalties: the chain rule from dL/dR to activations and dL/dG to weights, and logdet.

R are Pearson correlations between neurons' activations, G cosines between their incoming weights.
A penalty that is a function of R or G needs only its derivative M with respect to every entry; the chain
rule through the normalisation is here. M counts both orders of a pair: where each pair counts once, fill
M_ij for one order and leave M_ji zero. Distances, trees and scores that penalties and measures share
follow below.
"""

from dataclasses import dataclass

from tinydiv.backend import Array, matmul, sum_over_samples, xp

ALIVE_STD = 1e-3
"""A neuron whose standard deviation is below this counts as constant and is left out of correlations."""
FLOOR = 1e-6
"""Added to squared distances: below a distance of about .001 the repulsion grows no further."""
FAR = 4.0
"""Stands for the distance to a neuron that is not alive; real ones lie in [0, 1]."""


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
    n = alive.sum(axis=(-2, -1))
    return xp.maximum(n * (n - 1), 1)


def lengths(W: Array) -> Array:
    """Lengths of the columns, (..., D, H) -> (..., 1, H)."""
    return xp.sqrt((W**2).sum(axis=-2, keepdims=True))


def unit(W: Array) -> Array:
    """The columns of W (..., D, H) at length 1; a column of zeros stays zero."""
    length = lengths(W)
    return W / xp.where(length > 0, length, 1)


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

    def debiased(self, mean: Array) -> tuple[Array, float]:
        """A mean r^2 over pairs (...,) without the part that chance gives, and its derivative by that
        mean.

        Independent neurons have E r^2 = b = 1/(N-1), so the result is (mean - b) / (1 - b); where there
        are no pairs the mean is 0 and stays 0.
        """
        chance = 1 / max(self.Z.shape[-2] - 1, 2)
        some = self.alive.sum(axis=(-2, -1)) > 1
        return xp.where(some, (mean - chance) / (1 - chance), mean), 1 / (1 - chance)

    def backward(self, M: Array) -> Array:
        """dA from M = dL/dR (..., H, H), exact for every eps: dZ = Z (M + M') / N, then `to_A`.

        Forward: R_ij = sum_n Z_ni Z_nj / N, and Z_i enters R in two places, so dZ has two parts:

            1. through row i of R:      sum_j M_ij Z_j / N,   the column i of Z M' / N
            2. through column i of R:   sum_j M_ji Z_j / N,   the column i of Z M / N
        """
        return self.to_A(matmul(self.Z, M + M.mT) / self.N)

    def to_A(self, dZ: Array) -> Array:
        """dA from dZ (..., N, H), through the standardisation:

        dA = [dZ - Z mean_n(dZ Z) - mean_n(dZ)] / s

        Forward: Z = (A - m) / s with m = mean A, s = sqrt(mean (A - m)^2 + eps), so dA has three parts:

            1. through A directly:   dZ / s
            2. through s:            ds = -sum_n(dZ Z) / s, and ds/dA = Z / N:   -Z mean_n(dZ Z) / s
            3. through m:            dm = -sum_n(dZ) / s, and dm/dA = 1/N:       -mean_n(dZ) / s

        Part 3 is not computed: every dZ here is a combination of centred columns, so its mean is zero.
        """
        along = sum_over_samples(dZ * self.Z) / self.N
        return self.alive * (dZ - self.Z * along) / self.s


def correlations(A: Array, eps: float = 1e-4) -> Correlations:
    """Pearson correlations of activations A (..., N, H), without neurons that are nearly constant.

        C = A - mean;  s = sqrt(mean C^2 + eps);  Z = C / s;  R = Z'Z / N

    A neuron that is constant has no correlation: it is left out (its row and column are zero, its
    gradient too) and can be counted through `alive`. It must not count as an independent neuron.
    """
    N = A.shape[-2]
    return correlations_of_centred(A - sum_over_samples(A) / N, N, eps)


def correlations_of_centred(C: Array, N: int | Array, eps: float) -> Correlations:
    """The same for C (..., N, H) that is centred already, for example by the mean of each class.

    N: how many samples count; rows of zeros (samples of other classes) may stand among them.
    """
    variance = sum_over_samples(C**2) / N
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
    """(..., D, H) columns of unit length; a column of zeros stays zero."""
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

        Forward: U = W / n with n = |w|, G = U'U. G has U twice, so dU adds M and M'; dW has two parts:

            1. through W directly:   dU / n
            2. through n:            dn = -sum_d(U dU) / n, and dn/dW = U:   -U sum_d(U dU) / n

        Part 2 takes out the component along w: a cosine does not change with length.
        """
        dU = matmul(self.U, M + M.mT)
        along = (self.U * dU).sum(axis=-2, keepdims=True)
        return self.alive * (dU - self.U * along) / self.n


def cosines(W: Array) -> Cosines:
    """Cosines between neurons' incoming weights W (..., D, H): U = W / |w|, G = U'U.

    A column of zeros has no direction: its cosines are zero and its gradient too, and `alive` is 0 for it.
    """
    n = lengths(W)
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
    n = xp.maximum(alive.sum(axis=(-2, -1)), 1)
    diagonal = delta * alive + (1 - alive)
    regular = S + xp.eye(S.shape[-1], dtype=S.dtype) * diagonal
    _, logdet = xp.linalg.slogdet(regular)
    return -logdet / n, -xp.linalg.inv(regular) / as_matrix(n)


def squared_distances(U: Array, sign: float) -> Array:
    """|u_i + sign u_j|^2 between unit columns of U (..., D, H) -> (..., H, H).

    From differences, one shift of the columns at a time: in float32 the shorter 2 + 2 sign cos loses all
    its digits where the distance is small, which is where it matters. The diagonal stays zero.
    """
    H = U.shape[-1]
    identity = xp.eye(H, dtype=U.dtype)
    found = xp.zeros((*U.shape[:-2], H, H), dtype=U.dtype)
    for shift in range(1, H // 2 + 1):
        square = ((U + sign * xp.roll(U, -shift, axis=-1)) ** 2).sum(axis=-2)  # i with i + shift
        found = found + square[..., :, None] * xp.roll(identity, shift, axis=-1)
    return xp.maximum(found, found.mT)  # each pair was computed in one order, or in both


def minimum_spanning_tree(distance: Array, alive: Array) -> Array:
    """The edges of the shortest tree that joins all alive neurons, for every network at once.

    Prim's algorithm: begin at one neuron and add, H - 1 times, the neuron that is nearest to the tree.
    Each addition takes a few whole-array operations, and none of them waits for the device.

    distance (..., H, H) symmetric, alive (..., 1, H). Returns (..., H, H) with a one per edge, in one
    order of its two ends only: row, the neuron that joined; column, the one that it joined to.
    """
    H = distance.shape[-1]
    neurons = xp.arange(H)
    mask = pair_mask(alive)
    distance = xp.where(mask > 0, distance, FAR).astype(distance.dtype)

    def row(chosen: Array) -> Array:
        """The distances of one neuron per network, chosen (..., 1) -> (..., H)."""
        return xp.take_along_axis(distance, chosen[..., None], axis=-2)[..., 0, :]

    chosen = xp.argmax(alive[..., 0, :], axis=-1)[..., None]
    inside = neurons == chosen
    nearest, source = row(chosen), chosen + 0 * neurons
    tree = xp.zeros_like(distance)
    for _ in range(H - 1):
        chosen = xp.argmin(xp.where(inside, xp.inf, nearest), axis=-1)[..., None]
        joined = neurons == chosen
        to = neurons == xp.take_along_axis(source, chosen, axis=-1)
        tree = tree + joined[..., :, None] * to[..., None, :]
        inside = inside | joined
        offered = row(chosen)
        source = xp.where(offered < nearest, chosen, source)
        nearest = xp.minimum(offered, nearest)
    return tree * mask


def dormancy(A: Array) -> Array:
    """ReDo's score of every neuron, (..., N, H) -> (..., H): its mean |a| over the layer's mean |a|.

    1 is usual, 0 is silent. In a layer that is silent as a whole every score is 0.
    """
    size = abs(A).mean(axis=-2)
    usual = size.mean(axis=-1, keepdims=True)
    return size / xp.maximum(usual, xp.finfo(A.dtype).tiny)
