"""How different neurons' activations are on the probe set."""

from tinydiv.backend import Array, matmul, xp
from tinydiv.diversity.neurons import Neurons, count_groups, eigenvalues, safe
from tinydiv.diversity.of_weights import SAME
from tinydiv.similarity import cosines, dormancy, off_diagonal, pair_mask

DORMANT = 0.025
"""ReDo's threshold on a neuron's share of the layer's mean |activation|."""


def correlation(n: Neurons) -> Array:
    """Mean |Pearson correlation| between neurons' activations (after Cogswell et al., ICLR 2016).

    The mean of |r_ij| is over pairs of alive neurons.
    """
    c = n.correlations
    return xp.sum(abs(off_diagonal(c.R)), axis=(-2, -1)) / c.pairs


def correlation_squared(n: Neurons) -> Array:
    """Mean squared correlation, debiased for the probe set's size (after Bao et al., 2013).

    Independent neurons have E r^2 = b = 1/(N-1) by chance, so the mean m over pairs of alive neurons
    becomes (m - b) / (1 - b). It can fall a little below zero.
    """
    c = n.correlations
    return c.debiased(xp.sum(off_diagonal(c.R) ** 2, axis=(-2, -1)) / c.pairs)[0]


def participation_ratio(n: Neurons) -> Array:
    """How many directions carry the activations' variance (after Gao et al., 2017).

    (tr S)^2 / |S|^2 of the activations' covariance S: 1 if all neurons are equal up to scale, H if
    uncorrelated with equal variance; 0 if all are constant.
    """
    S = n.S
    trace = xp.sum(S * xp.eye(n.H, dtype=S.dtype), axis=(-2, -1))
    share = S / safe(trace)[..., None, None]  # first: the squares of S may overflow or underflow
    ratio = 1 / safe(xp.sum(share**2, axis=(-2, -1)))
    return xp.where(trace > 0, ratio, 0 * trace)


def effective_rank(n: Neurons) -> Array:
    """exp(entropy) of the activations' spectrum (Roy and Vetterli, 2007).

    The spectrum is that of the activations' covariance, over its sum: variances (sigma^2), where the
    paper has sigma. 0 if all neurons are constant.
    """
    return spectral_rank(n.S)


def spectral_rank(S: Array) -> Array:
    """exp(entropy) of the eigenvalues of a covariance S (..., H, H), over their sum: (...,)."""
    values = eigenvalues(S)
    total = xp.sum(values, axis=-1, keepdims=True)
    p = values / safe(total)
    entropy = -xp.sum(p * xp.log(safe(p)), axis=-1)
    return xp.where(total[..., 0] > 0, xp.exp(entropy), xp.zeros_like(entropy))


def dead_fraction(n: Neurons) -> Array:
    """Share of neurons that are constant on the probe set (after Lu et al., 2019).

    Constant: a standard deviation below 1e-3. Neurons that sleep do not count, unless all do.
    """
    return share(1 - n.correlations.alive[..., 0, :], n)


def share(marked: Array, n: Neurons) -> Array:
    """The share of awake neurons that are marked, (..., H) -> (...,); 1 if none is awake."""
    found = xp.sum(marked * n.awake, axis=-1) / n.count
    return xp.where(xp.any(n.awake > 0, axis=-1), found, 1 + 0 * found)


def dormant_fraction(n: Neurons) -> Array:
    """Share of neurons with small activations, by ReDo's score (Sokar et al., ICML 2023).

    These are neurons with mean |a_h| at most 0.025 of the layer's mean. Sleeping ones do not count. Not
    the same as dead: a neuron whose activation is always 5 is dead and not dormant.
    """
    usual = (n.count / n.H)[..., None]  # the mean is over the awake neurons
    return share((dormancy(n.A) * usual <= DORMANT).astype(n.A.dtype), n)


CLEAR = 100
"""A half whose HSIC is below this many rounding errors counts as constant (group_cka)."""


def group_cka(n: Neurons) -> Array:
    """Linear CKA between two halves of the neurons, debiased (Kornblith et al., ICML 2019;
    Song et al., 2012).

    It measures whether the halves respond alike.

        alive neurons by falling variance; P: the 1st, 3rd, 5th ...; Q: the 2nd, 4th, ...
        h(P, Q) / sqrt(h(P, P) h(Q, Q)),  h the unbiased estimate of HSIC (Song et al., 2012)

    1 if each half spans what the other does, about 0 for independent halves, where the plain form gives
    .20 for 16 neurons each at N = 64. Sorting makes the halves the same however neurons are numbered.
    In [-1, 1]: h is an inner product (of kernels without their row means; Szekely and Rizzo, 2014), and
    independent halves fall as often below zero as above. 0 where a half counts as constant: fewer than two
    neurons are alive, or those of a half respond to a single sample only, for which h is 0.
    """
    C = n.C * n.correlations.alive
    # So that no square overflows or underflows:
    C = C / safe(xp.max(abs(C), axis=(-2, -1), keepdims=True))
    place = places(C)[..., None, :]
    P, Q = (at_unit_norm(xp.where(place % 2 == half, C, xp.zeros_like(C))) for half in (0, 1))
    own, other = hsic(P, P), hsic(Q, Q)
    least = CLEAR * xp.finfo(C.dtype).eps / C.shape[-2] ** 2
    some = (own > least) & (other > least)
    ones = xp.ones_like(own)
    size = xp.sqrt(xp.where(some, own, ones)) * xp.sqrt(xp.where(some, other, ones))
    return xp.where(some, xp.clip(hsic(P, Q) / size, -1, 1), 0 * ones)


def places(C: Array) -> Array:
    """The place of every column of C (..., N, H) by falling variance, (..., H): 0, 1, 2, ...

    Variances that differ by less than one in a thousand count as equal, because rounding errors would
    decide their order. Among those the larger sum of C_nh sin(n) comes first: a number that depends on a
    neuron's activations and not on its index. Equal columns may stand in any order.
    """
    N, H = C.shape[-2:]
    wave = xp.sin(xp.arange(1, N + 1, dtype=C.dtype))[:, None]
    variance = xp.rint(1000 * xp.log(safe(xp.sum(C**2, axis=-2))))
    key = xp.sum(C * wave, axis=-2)
    number = xp.arange(H)

    def more(a: Array) -> Array:
        """(..., H, H): whether a of the row's neuron is larger than a of the column's."""
        return a[..., :, None] > a[..., None, :]

    def same(a: Array) -> Array:
        return a[..., :, None] == a[..., None, :]

    before = more(key) | (same(key) & (number[:, None] < number[None, :]))
    return xp.sum(more(variance) | (same(variance) & before), axis=-2)


def at_unit_norm(C: Array) -> Array:
    """C (..., N, p) with entries whose squares sum to 1: CKA does not depend on scale. Zeros stay zeros."""
    return C / safe(xp.sqrt(xp.sum(C**2, axis=(-2, -1), keepdims=True)))


def hsic(P: Array, Q: Array) -> Array:
    """Unbiased HSIC (...,) of centred P (..., N, p), Q (..., N, q) with linear kernels, in O(N p q).

    K = P P', L = Q Q' with zero diagonals; their entries' sums follow from k_n = |p_n|^2, l_n = |q_n|^2:
    tr(K L) = |P'Q|^2 - k l;   1'K 1 = - sum k;   1'K L 1 = k l         as the columns are centred
    h = [tr(K L) + 1'K 1 1'L 1 / ((N-1)(N-2)) - 2/(N-2) 1'K L 1] / (N (N-3))
    """
    N = max(P.shape[-2], 4)
    k, l = xp.sum(P**2, axis=-1), xp.sum(Q**2, axis=-1)
    both = xp.sum(k * l, axis=-1)
    trace = xp.sum(matmul(P.mT, Q) ** 2, axis=(-2, -1)) - both
    apart = xp.sum(k, axis=-1) * xp.sum(l, axis=-1) / ((N - 1) * (N - 2))
    return (trace + apart - 2 / (N - 2) * both) / (N * (N - 3))


def codes(n: Neurons) -> Array:
    """Distinct views of the classes, per neuron (after van Meegen and Sompolinsky, 2024).

    A neuron's code is its mean activation in every class, less its mean over classes. The result is the
    number of distinct codes over the number of neurons: those whose codes have a cosine above 0.95 count
    as one group, also through a chain of such pairs; neurons that respond to all classes alike have no
    code and are not counted. Needs the probe set's labels.
    """
    belongs = (n.labels[:, None] == xp.arange(n.classes)[None, :]).astype(n.A.dtype)  # (N, K)
    size = xp.sum(belongs, axis=0)[:, None]  # (K, 1)
    seen = (size > 0).astype(n.A.dtype)  # a class without samples does not count
    means = matmul(belongs.mT, n.A) / xp.maximum(size, 1)  # (..., K, H)
    middle = xp.sum(means, axis=-2, keepdims=True) / xp.maximum(xp.sum(seen), 1)
    code = seen * (means - middle)
    c = cosines(code)
    usual = xp.sqrt(xp.mean(n.A**2, axis=-2, keepdims=True))
    counted = c.alive * (c.n > 1e-5 * usual)  # a code of rounding errors only is left out
    linked = pair_mask(counted) * (c.G > SAME)
    return count_groups(linked, counted[..., 0, :]) / n.count
