"""A monotone relation between two columns, and a share of successes, each with its interval."""

import math
import operator

import numpy as np
from numpy.typing import ArrayLike

from tinydiv.errors import UsageError
from tinydiv.stats.given import Floats, check_share, finite, pairs
from tinydiv.stats.intervals import NORMAL, Interval


def spearman(x: ArrayLike, y: ArrayLike, *, level: float = 0.95) -> Interval:
    """Spearman's rank correlation with a Fisher z interval (Spearman, 1904; Bonett & Wright, 2000).

        rho = Pearson correlation of the ranks; equal values share their mean rank
        var(atanh rho) ~ (1 + rho^2 / 2) / (n - 3)
        low, high = tanh( atanh rho -+ z sqrt(var) ),    z = Phi^-1((1 + level) / 2)

    At |rho| = 1 the formula gives an interval of no width. The inner end is then computed from the next
    value that ranks without ties can have, 1 - 12 / (n (n^2 - 1)): a perfect order of 5 pairs gives -.17
    to 1.
    Assumes independent pairs, and for its level roughly normal ones: with 25 of them a 95 %
    interval holds the truth 96 % of the time up to rho = .85, but 92 % at .97 and 85 % at .99, and
    many ties make it rougher. Misleads for relations that are not monotone (a U has rho
    near 0), and pooled arms can show a relation that no arm has.

    Raises UsageError for fewer than 4 pairs, unequal lengths, values that are not finite, or a
    constant x or y (whose rank correlation is undefined).
    """
    x, y = pairs(x, y, names=("x", "y"))
    check_share("level", level)
    n = len(x)
    if n < 4:
        raise UsageError(f"a rank correlation with an interval needs at least 4 pairs; got {n}")
    rx, ry = ranks(x), ranks(y)
    rx, ry = rx - np.mean(rx), ry - np.mean(ry)
    for name, r in (("x", rx), ("y", ry)):
        if not np.any(r):
            raise UsageError(f"{name} is constant, so its rank correlation is undefined")
    rho = float(np.sum(rx * ry) / math.sqrt(np.sum(rx * rx) * np.sum(ry * ry)))
    rho = min(max(rho, -1.0), 1.0)
    most = 1 - 12 / (n * (n * n - 1))
    inner = min(max(rho, -most), most)
    z = NORMAL.inv_cdf((1 + level) / 2)
    reach = z * math.sqrt((1 + inner * inner / 2) / (n - 3))
    low, high = math.tanh(math.atanh(inner) - reach), math.tanh(math.atanh(inner) + reach)
    if rho > most:
        high = 1.0
    if rho < -most:
        low = -1.0
    return Interval(rho, low, high, level)


def ranks(values: ArrayLike) -> Floats:
    """Ranks from 1, smallest first; equal values all get the mean of their ranks."""
    values = finite(values, "values")
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[group], dtype=np.float64)


def wilson_interval(successes: int, trials: int, *, level: float = 0.95) -> Interval:
    """Score interval of a success probability (Wilson, 1927).

        ph = successes / trials,   z = Phi^-1((1 + level) / 2)
        centre = (ph + z^2 / (2 n)) / (1 + z^2 / n)
        reach  = z / (1 + z^2 / n) * sqrt( ph (1 - ph) / n + z^2 / (4 n^2) )

    Both ends lie within 0..1, and for 0 of n the upper end is above 0. Assumes independent trials (one
    seed is one trial). Misleads as a comparison of two arms on the same seeds: these are paired, so use
    the interval of their difference. A 95 % interval holds the truth 95 % of the time on average over
    probabilities, and 83 % of the time at some probabilities near 0 or 1.

    Raises UsageError for no trials, counts that are not whole, or successes outside 0..trials.
    """
    check_share("level", level)
    try:
        k, n = operator.index(successes), operator.index(trials)
    except TypeError:
        raise UsageError(
            f"successes and trials must be whole counts; got {successes!r} of {trials!r}"
        ) from None
    if n < 1:
        raise UsageError(f"a proportion needs at least 1 trial; got {n}")
    if not 0 <= k <= n:
        raise UsageError(f"successes must lie between 0 and the {n} trials; got {k}")
    z = NORMAL.inv_cdf((1 + level) / 2)
    share = k / n
    shrink = 1 + z * z / n
    centre = (share + z * z / (2 * n)) / shrink
    reach = z / shrink * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low = 0.0 if k == 0 else centre - reach
    high = 1.0 if k == n else centre + reach
    return Interval(share, low, high, level)
