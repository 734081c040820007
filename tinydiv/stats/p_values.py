"""p values by sign flips, their correction for a table's size, and a check of them."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from tinydiv.errors import UsageError
from tinydiv.stats.given import Floats, check_p_values, finite, generator_of

EXACT_UP_TO = 32  # pairs whose 2^n sign flips are all counted; above, flips are drawn at random
ROUNDING = 1e-9  # sums that differ by less than this times sum |d| count as equal


def sign_flip_test(
    differences: ArrayLike, *, seed: int = 0, flips: int = 99_999, rounding: float = ROUNDING
) -> float:
    """Two-sided p value of the sign-flip test of paired differences (Fisher, 1935; Pitman, 1937).

        p = #{ s in {-1, +1}^n : |sum s_i d_i| >= |sum d_i| } / 2^n         n <= 32: all 2^n
        p = (1 + #{ the same among M random s }) / (1 + M)                  n > 32

    Never 0: the observed signs count too (Phipson & Smyth, 2010), so p >= 2 / 2^n, or 1 / (M + 1) above
    32 pairs. n counts the differences that are not zero: a zero does not change when it is flipped, and
    has no influence. Sums that differ by less than `rounding` * sum |d| count as equal: .831 - .829 is not
    exactly .002 in floating point, and without this p would be too small.

    Assumes independent pairs, and under the null that arm and base could be swapped within a pair
    (the differences are symmetric about 0): then P(p <= x) <= x exactly, at every n and x.
    Misleads as a test of the mean alone: strongly skewed differences with mean 0 can be
    rejected. Few pairs cannot reach small p: 3 pairs never get below .25.

    Raises UsageError for no differences, values that are not finite, or fewer than 99 flips.
    """
    d = finite(differences, "differences")
    if len(d) == 0:
        raise UsageError("a sign-flip test needs at least 1 difference; got none")
    if flips < 99:
        raise UsageError(f"flips is {flips}, but p = (1 + count) / (1 + flips) needs at least 99")
    generator = generator_of(seed)
    present = d[d != 0]
    if len(present) == 0:
        return 1.0
    if len(present) <= EXACT_UP_TO:
        d = present  # drawn flips keep the zeros: sign_flip_interval draws the same flips
    d = d / np.max(np.abs(d))  # so that neither huge nor tiny differences overflow in the sums
    threshold = abs(float(np.sum(d))) - rounding * float(np.sum(np.abs(d)))
    if threshold <= 0:
        return 1.0  # every |sum| is at least as large as the one observed
    if len(d) <= EXACT_UP_TO:
        return 2 * sums_reaching(threshold, d) / 2.0 ** len(d)
    reached = np.count_nonzero(np.abs(random_signed_sums(d, flips, generator)) >= threshold)
    return (1 + int(reached)) / (1 + flips)


def signed_sums(d: Floats) -> Floats:
    """All 2^n sums s_1 d_1 + ... + s_n d_n: each difference doubles the list."""
    sums = np.zeros(1)
    for value in d:
        sums = np.concatenate((sums + value, sums - value))
    return sums


def sums_reaching(threshold: float, d: Floats) -> int:
    """How many of the 2^n signed sums are >= threshold, without listing 2^n of them.

    Each sum is x + y with x from the first half of d and y from the second: for each of the
    2^(n/2) x, a binary search in the sorted y counts the y with x + y >= threshold.
    """
    middle = len(d) // 2
    x, y = signed_sums(d[:middle]), np.sort(signed_sums(d[middle:]))
    return int(np.sum(len(y) - np.searchsorted(y, threshold - x, side="left")))


def random_signed_sums(d: Floats, flips: int, generator: np.random.Generator) -> Floats:
    """Signed sums under random signs: one random byte picks eight signs from a table of 256."""
    sums = np.zeros(flips)
    for start in range(0, len(d), 8):
        table = signed_sums(d[start : start + 8])
        sums += table[generator.integers(0, len(table), size=flips, dtype=np.uint16)]
    return sums


def holm(p_values: ArrayLike) -> Floats:
    """Holm's adjusted p values for m tests of one table, in the order given (Holm, 1979).

        adjusted of the i-th smallest p = max over j <= i of min(1, (m - j + 1) p_(j))

    Rejecting where adjusted <= alpha keeps the chance of even one false rejection below alpha,
    whatever the dependence between the tests. Misleads when tests are left out of the list after their p
    values were seen: all arms of a table must be in it. It does not control the false-discovery rate.

    Raises UsageError for a p value that is NaN or outside 0..1.
    """
    p = finite(p_values, "p_values")
    check_p_values(p)
    m = len(p)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(m)
    scaled = np.minimum(1.0, (m - np.arange(m)) * p[order])
    adjusted[order] = np.maximum.accumulate(scaled)
    return adjusted


@dataclass(frozen=True)
class Uniformity:
    """Of n p values: the largest distance of their distribution from the uniform one, and the probability
    of a larger distance by chance."""

    n: int
    distance: float
    p: float


def uniformity_check(p_values: ArrayLike, *, spacing: float = 0.0) -> Uniformity:
    """Are the p values of A/A comparisons uniform? (Kolmogorov, 1933; Vrbik, 2020).

        F(x) = share of p values <= x;   D = max over the observed x of
               max( F(x) - x,  (x - spacing) - F(just below x) )
        K    = sqrt(n) D;    K' = K + 1 / (6 sqrt(n)) + (K - 1) / (4 n)
        p    = 2 sum_{k >= 1} (-1)^(k-1) exp(-2 k^2 K'^2)

    An arm against itself under other seeds has no effect, so its p values must be uniform. A small p here
    means that the tests of this study are not valid. Within .008 of the exact p for n = 5 and .003 from
    n = 10 on.

    spacing: the step between attainable p values (2 / 2^n for exact sign flips of n pairs, of
    which it is the smallest p; 0 for a continuous test). No p value can lie between two steps, so no
    distance is counted there, and p is a little too large rather than too small.
    Assumes independent p values: those of A/A arms that share a base arm are not. Misleads where so many
    differences are equal that the steps are coarser than `spacing`; finds little below n = 50.

    Raises UsageError for fewer than 5 p values, NaN, values outside 0..1, or a spacing outside 0..1.
    """
    p = np.sort(finite(p_values, "p_values"))
    check_p_values(p)
    n = len(p)
    if n < 5:
        raise UsageError(f"a uniformity check needs at least 5 p values; got {n}")
    if not 0 <= spacing <= 1:
        raise UsageError(f"spacing is {spacing}, but it must lie between 0 and 1")
    x, counts = np.unique(p, return_counts=True)
    share = np.cumsum(counts) / n
    below = share - counts / n
    distance = max(float(np.max(share - x)), float(np.max(x - spacing - below)), 0.0)
    return Uniformity(n, distance, kolmogorov_tail(n, distance))


def kolmogorov_tail(n: int, distance: float) -> float:
    """P(D_n >= distance) by Kolmogorov's series at Vrbik's corrected argument."""
    root_n = math.sqrt(n)
    argument = root_n * distance
    argument += 1 / (6 * root_n) + (argument - 1) / (4 * n)
    if argument < 0.2:
        return 1.0  # the tail is 1 to 12 digits here, where the series converges slowly
    k = np.arange(1, 51)
    series = 2 * float(np.sum((-1.0) ** (k - 1) * np.exp(-2 * (k * argument) ** 2)))
    return min(max(series, 0.0), 1.0)
