"""Honest statistics for paired comparisons: small pure functions on the host, NumPy only.

Every arm of a study saw the same seeds, so an arm and its base are compared pair by pair: the
differences d = a - b are what is averaged, resampled and flipped. The order of reading:

    compare                     the bundle for one arm against its base, with a sentence in words
    mean_difference_interval    how large is the effect?  (bca_interval does the work)
    sign_flip_test              could chance alone have done it?
    holm                        ... among all the arms of one table?
    minimum_detectable_effect   how small an effect would these seeds have shown?
    spearman, wilson_interval   a monotone relation; a share of successes
    uniformity_check            are the p values of A/A arms what they claim to be?

No function drops, replaces or averages over a value that is not finite: each refuses it.
"""

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tinydiv.errors import UsageError

Floats = NDArray[np.float64]
Statistic = Callable[..., Floats]  # takes columns (..., n), all alike in shape; returns (...,)

MIN_SEEDS = 10  # fewer pairs than this say nothing: see PairedComparison.sentence
EXACT_UP_TO = 32  # pairs whose 2^n sign flips are all counted; above, flips are drawn at random
ROUNDING = 1e-9  # sums closer than this, relative to sum |d|, are ties that rounding has parted
_CHUNK = 1 << 20  # numbers gathered at a time, so that long samples need no giant array
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval [low, high] at the given level."""

    estimate: float
    low: float
    high: float
    level: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


# ---------------------------------------------------------------- bootstrap


def bca_interval(
    statistic: Statistic,
    *samples: ArrayLike,
    seed: int = 0,
    level: float = 0.95,
    resamples: int = 9999,
) -> Interval:
    """Bias-corrected and accelerated bootstrap interval of any statistic (Efron, 1987).

        t    = statistic(samples),   t*_1 .. t*_B on n places drawn with replacement
        z0   = Phi^-1( (#{t* < t} + #{t* = t} / 2) / B )            bias correction
        u_i  = mean_j t(-j) - t(-i)                                 t(-i): place i left out
        acc  = sum u^3 / (6 (sum u^2)^1.5)                          acceleration
        q(z) = Phi( z0 + (z0 + z) / (1 - acc (z0 + z)) )
        low, high = quantiles q(z_lower), q(z_upper) of the t*,     z_lower = Phi^-1((1 - level)/2)

    samples: one or more (n,) columns; place i of each is one pair, and pairs are resampled whole.
    statistic: takes the columns as (..., n) arrays and reduces the last axis.
        bca_interval(lambda d: np.median(d, axis=-1), a - b)
    Assumes independent pairs and that some transformation makes the statistic roughly normal.
    Misleads when n is small: the 95 % interval of a mean holds the truth 90 % of the time at
    n = 10 and 93 % at n = 20 for normal differences, 82 % and 87 % for lognormal ones. For the
    median the leave-one-out values are only two, so the acceleration is rough; and extremes
    (max, min) do not bootstrap.
    Where all resamples agree (say, all differences equal) the interval shrinks to the estimate:
    nothing was seen to vary, which is not proof that nothing does. Where the u are all zero
    acc = 0; where every t* lies on one side, half a resample is counted on the other.

    Raises UsageError for fewer than 2 pairs, columns of unequal length, values that are not
    finite, or a statistic that does not reduce the last axis or is not finite on a resample.
    """
    _check_share("level", level)
    if resamples < 100:
        raise UsageError(f"resamples is {resamples}, but quantiles need at least 100")
    columns = [_finite(sample, f"sample {i}") for i, sample in enumerate(samples)]
    if not columns or len({len(column) for column in columns}) != 1:
        lengths = ", ".join(str(len(column)) for column in columns) or "no samples"
        raise UsageError(f"a bootstrap needs samples of one common length; got {lengths}")
    n = len(columns[0])
    if n < 2:
        raise UsageError(f"a bootstrap interval needs at least 2 pairs; got {n}")

    generator = _generator(seed)
    everything = np.arange(n)[np.newaxis, :]
    estimate = float(_evaluate(statistic, columns, everything)[0])

    rows = max(1, _CHUNK // n)
    parts = []
    for start in range(0, resamples, rows):
        places = generator.integers(0, n, size=(min(rows, resamples - start), n))
        parts.append(_evaluate(statistic, columns, places))
    draws = np.concatenate(parts)
    rounding = 1e-12 * float(np.max(np.abs(draws)))

    # On discrete data (accuracies are k / N) many t* equal t, so ties must count half each.
    below = np.count_nonzero(draws < estimate - rounding)
    tied = np.count_nonzero(np.abs(draws - estimate) <= rounding)
    share = (below + tied / 2) / resamples
    half = 0.5 / resamples
    z0 = _NORMAL.inv_cdf(min(max(share, half), 1 - half))
    acceleration = _acceleration(statistic, columns)

    tail = (1 - level) / 2
    shares = [_shifted_share(z0, acceleration, q) for q in (tail, 1 - tail)]
    low, high = np.quantile(draws, shares)
    return Interval(estimate, float(low), float(high), level)


def mean_difference_interval(
    a: ArrayLike, b: ArrayLike, *, seed: int = 0, level: float = 0.95, resamples: int = 9999
) -> Interval:
    """BCa interval of mean(a - b) over pairs: see bca_interval for what it assumes and raises."""
    a, b = _pairs(a, b)
    return bca_interval(_mean, a - b, seed=seed, level=level, resamples=resamples)


def relative_gain(a: Floats, b: Floats) -> Floats:
    """Relative gain of means, mean(a) / mean(b) - 1, over the last axis: (..., n) -> (...).

    It is a ratio of means, not a mean of ratios, so single tiny b do not blow it up. Misleads
    where mean(b) is near zero. Raises UsageError where mean(b) is zero or negative.
    """
    base = np.mean(b, axis=-1)
    if np.any(base <= 0):
        raise UsageError(
            "a relative gain needs a base whose mean is positive, in every resample too: "
            "state the absolute difference instead"
        )
    return np.asarray(np.mean(a, axis=-1) / base - 1)


def relative_gain_interval(
    a: ArrayLike, b: ArrayLike, *, seed: int = 0, level: float = 0.95, resamples: int = 9999
) -> Interval:
    """BCa interval of mean(a) / mean(b) - 1 with pairs resampled whole: see bca_interval."""
    a, b = _pairs(a, b)
    return bca_interval(relative_gain, a, b, seed=seed, level=level, resamples=resamples)


def _mean(d: Floats) -> Floats:
    return np.asarray(np.mean(d, axis=-1))


def _evaluate(statistic: Statistic, columns: list[Floats], places: NDArray[np.int64]) -> Floats:
    """The statistic on each row of places, (m, k) -> (m,): one row is one resample."""
    values = np.asarray(statistic(*(column[places] for column in columns)), dtype=np.float64)
    if values.shape != places.shape[:1]:
        raise UsageError(
            f"the statistic must reduce the last axis only: from columns of shape {places.shape} "
            f"it made {values.shape}, not {places.shape[:1]} (use axis=-1)"
        )
    if not np.all(np.isfinite(values)):
        raise UsageError("the statistic is NaN or infinite on a resample, so it has no interval")
    return values


def _acceleration(statistic: Statistic, columns: list[Floats]) -> float:
    """Efron's acceleration from the n leave-one-out values; 0 where these do not vary."""
    n = len(columns[0])
    rows = max(1, _CHUNK // n)
    kept = np.arange(n - 1)
    parts = []
    for start in range(0, n, rows):
        left_out = np.arange(start, min(start + rows, n))[:, np.newaxis]
        parts.append(_evaluate(statistic, columns, kept + (kept >= left_out)))
    values = np.concatenate(parts)
    u = np.mean(values) - values
    largest = float(np.max(np.abs(u)))
    if largest <= 1e-12 * float(np.max(np.abs(values))):
        return 0.0
    u = u / largest  # the ratio below has no unit; this keeps tiny cubes from underflowing
    return float(np.sum(u**3) / (6 * np.sum(u**2) ** 1.5))


def _shifted_share(z0: float, acceleration: float, share: float) -> float:
    """The quantile of the t* that BCa reads in place of the plain percentile `share`."""
    z = z0 + _NORMAL.inv_cdf(share)
    stretch = 1 - acceleration * z
    if stretch <= 0:  # the curve q(z) has reached its end, 0 or 1
        return 1.0 if z > 0 else 0.0
    return _NORMAL.cdf(z0 + z / stretch)


# ---------------------------------------------------------------- tests


def sign_flip_test(
    differences: ArrayLike, *, seed: int = 0, flips: int = 99_999, rounding: float = ROUNDING
) -> float:
    """Two-sided p value of the sign-flip test of paired differences (Fisher, 1935; Pitman, 1937).

        p = #{ s in {-1, +1}^n : |sum s_i d_i| >= |sum d_i| } / 2^n         n <= 32: all 2^n
        p = (1 + #{ the same among M random s }) / (1 + M)                  n > 32

    Never 0: the signs as observed count too (Phipson & Smyth, 2010), so p >= 2 / 2^n, or
    1 / (M + 1) above 32 pairs. n counts the differences that are not zero: a zero looks the same
    flipped, and neither helps nor harms. Sums that differ by less than `rounding` * sum |d| are
    ties: .831 - .829 is not quite .002 in floating point, and a tie broken by rounding would make
    p too small.

    Assumes independent pairs, and under the null that arm and base could be swapped within a pair
    (the differences are symmetric about 0): then P(p <= x) <= x exactly, at every n and x.
    Misleads as a test of the mean alone: strongly skewed differences with mean 0 can be
    rejected. Few pairs cannot reach small p: 3 pairs never get below .25.

    Raises UsageError for no differences, values that are not finite, or fewer than 99 flips.
    """
    d = _finite(differences, "differences")
    if len(d) == 0:
        raise UsageError("a sign-flip test needs at least 1 difference; got none")
    if flips < 99:
        raise UsageError(f"flips is {flips}, but p = (1 + count) / (1 + flips) needs at least 99")
    generator = _generator(seed)
    d = d[d != 0]
    if len(d) == 0:
        return 1.0
    d = d / np.max(np.abs(d))  # so that neither huge nor tiny differences overflow in the sums
    threshold = abs(float(np.sum(d))) - rounding * float(np.sum(np.abs(d)))
    if threshold <= 0:
        return 1.0  # every |sum| is at least as large as the one observed
    if len(d) <= EXACT_UP_TO:
        return 2 * _sums_reaching(threshold, d) / 2.0 ** len(d)
    reached = np.count_nonzero(np.abs(_random_signed_sums(d, flips, generator)) >= threshold)
    return (1 + int(reached)) / (1 + flips)


def _signed_sums(d: Floats) -> Floats:
    """All 2^n sums s_1 d_1 + ... + s_n d_n: each difference doubles the list."""
    sums = np.zeros(1)
    for value in d:
        sums = np.concatenate((sums + value, sums - value))
    return sums


def _sums_reaching(threshold: float, d: Floats) -> int:
    """How many of the 2^n signed sums are >= threshold, without listing 2^n of them.

    Each sum is x + y with x from the first half of d and y from the second: for each of the
    2^(n/2) x, a binary search in the sorted y counts the partners that carry it over.
    """
    middle = len(d) // 2
    x, y = _signed_sums(d[:middle]), np.sort(_signed_sums(d[middle:]))
    return int(np.sum(len(y) - np.searchsorted(y, threshold - x, side="left")))


def _random_signed_sums(d: Floats, flips: int, generator: np.random.Generator) -> Floats:
    """Signed sums under random signs: one random byte picks eight signs from a table of 256."""
    sums = np.zeros(flips)
    for start in range(0, len(d), 8):
        table = _signed_sums(d[start : start + 8])
        sums += table[generator.integers(0, len(table), size=flips, dtype=np.uint16)]
    return sums


def holm(p_values: ArrayLike) -> Floats:
    """Holm's adjusted p values for m tests of one table, in the order given (Holm, 1979).

        adjusted of the i-th smallest p = max over j <= i of min(1, (m - j + 1) p_(j))

    Rejecting where adjusted <= alpha keeps the chance of even one false rejection below alpha,
    however the tests depend on each other. Misleads when tests are left out of the list after
    their p values were seen: all arms of a table go in. It is no false-discovery rate.

    Raises UsageError for a p value that is NaN or outside 0..1.
    """
    p = _finite(p_values, "p_values")
    _check_p_values(p)
    m = len(p)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(m)
    scaled = np.minimum(1.0, (m - np.arange(m)) * p[order])
    adjusted[order] = np.maximum.accumulate(scaled)
    return adjusted


@dataclass(frozen=True)
class Uniformity:
    """Of n p values: their largest distance from uniform, and how often chance exceeds it."""

    n: int
    distance: float
    p: float


def uniformity_check(p_values: ArrayLike, *, spacing: float = 0.0) -> Uniformity:
    """Are the p values of A/A comparisons uniform? (Kolmogorov, 1933; Vrbik, 2020).

        F(x) = share of p values <= x;   D = max over the observed x of
               max( F(x) - x,  (x - spacing) - F(just below x) )
        K    = sqrt(n) D;    K' = K + 1 / (6 sqrt(n)) + (K - 1) / (4 n)
        p    = 2 sum_{k >= 1} (-1)^(k-1) exp(-2 k^2 K'^2)

    An arm against itself under other seeds has no effect, so its p values must be uniform: a
    small p here means that the study's own tests cannot be believed. Within .008 of the exact p
    for n = 5 and .003 from n = 10 on.

    spacing: the step between attainable p values (2 / 2^n for exact sign flips of n pairs, of
    which it is the smallest p; 0 for a continuous test). Between two steps nothing could have
    fallen, so no distance is counted there, and p is a little too large rather than too small.
    Assumes independent p values: A/A arms that share a base arm are not. Misleads where
    differences tie so much that the steps are coarser than `spacing`, and says little below n = 50.

    Raises UsageError for fewer than 5 p values, NaN, values outside 0..1, or a spacing outside 0..1.
    """
    p = np.sort(_finite(p_values, "p_values"))
    _check_p_values(p)
    n = len(p)
    if n < 5:
        raise UsageError(f"a uniformity check needs at least 5 p values; got {n}")
    if not 0 <= spacing <= 1:
        raise UsageError(f"spacing is {spacing}, but it must lie between 0 and 1")
    x, counts = np.unique(p, return_counts=True)
    share = np.cumsum(counts) / n
    below = share - counts / n
    distance = max(float(np.max(share - x)), float(np.max(x - spacing - below)), 0.0)
    return Uniformity(n, distance, _kolmogorov_tail(n, distance))


def _kolmogorov_tail(n: int, distance: float) -> float:
    """P(D_n >= distance) by Kolmogorov's series at Vrbik's corrected argument."""
    root_n = math.sqrt(n)
    argument = root_n * distance
    argument += 1 / (6 * root_n) + (argument - 1) / (4 * n)
    if argument < 0.2:
        return 1.0  # the tail is 1 to 12 digits here, where the series converges slowly
    k = np.arange(1, 51)
    series = 2 * float(np.sum((-1.0) ** (k - 1) * np.exp(-2 * (k * argument) ** 2)))
    return min(max(series, 0.0), 1.0)


# ---------------------------------------------------------------- relations and proportions


def spearman(x: ArrayLike, y: ArrayLike, *, level: float = 0.95) -> Interval:
    """Spearman's rank correlation with a Fisher z interval (Spearman, 1904; Bonett & Wright, 2000).

        rho = Pearson correlation of the ranks; equal values share their mean rank
        var(atanh rho) ~ (1 + rho^2 / 2) / (n - 3)
        low, high = tanh( atanh rho -+ z sqrt(var) ),    z = Phi^-1((1 + level) / 2)

    At |rho| = 1 the formula has no width, so the inner end is taken at the next value that ranks
    without ties can have, 1 - 12 / (n (n^2 - 1)): a perfect order of 5 pairs gives -.17 to 1.
    Assumes independent pairs, and for its level roughly normal ones: with 25 of them a 95 %
    interval holds the truth 96 % of the time up to rho = .85, but 92 % at .97 and 85 % at .99, and
    many ties make it rougher. Misleads for relations that are not monotone (a U has rho
    near 0), and pooled arms can show a relation that no arm has.

    Raises UsageError for fewer than 4 pairs, unequal lengths, values that are not finite, or a
    constant x or y (whose rank correlation is undefined).
    """
    x, y = _pairs(x, y, names=("x", "y"))
    _check_share("level", level)
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
    z = _NORMAL.inv_cdf((1 + level) / 2)
    reach = z * math.sqrt((1 + inner * inner / 2) / (n - 3))
    low, high = math.tanh(math.atanh(inner) - reach), math.tanh(math.atanh(inner) + reach)
    if rho > most:
        high = 1.0
    if rho < -most:
        low = -1.0
    return Interval(rho, low, high, level)


def ranks(values: ArrayLike) -> Floats:
    """Ranks from 1, smallest first; equal values share the mean of the ranks that they fill."""
    values = _finite(values, "values")
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[group], dtype=np.float64)


def wilson_interval(successes: int, trials: int, *, level: float = 0.95) -> Interval:
    """Score interval of a success probability (Wilson, 1927).

        ph = successes / trials,   z = Phi^-1((1 + level) / 2)
        centre = (ph + z^2 / (2 n)) / (1 + z^2 / n)
        reach  = z / (1 + z^2 / n) * sqrt( ph (1 - ph) / n + z^2 / (4 n^2) )

    Never leaves 0..1, and 0 of n still leaves room above 0. Assumes independent trials (one seed
    is one trial). Misleads as a comparison of two arms on the same seeds: those are paired, so
    use the interval of their difference. At 95 % the truth is inside 95 % of the time on average
    over probabilities, at single ones near 0 or 1 as seldom as 83 %.

    Raises UsageError for no trials, counts that are not whole, or successes outside 0..trials.
    """
    _check_share("level", level)
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
    z = _NORMAL.inv_cdf((1 + level) / 2)
    share = k / n
    shrink = 1 + z * z / n
    centre = (share + z * z / (2 * n)) / shrink
    reach = z / shrink * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low = 0.0 if k == 0 else centre - reach
    high = 1.0 if k == n else centre + reach
    return Interval(share, low, high, level)


# ---------------------------------------------------------------- planning


def minimum_detectable_effect(
    n: int, sd: float, *, power: float = 0.8, alpha: float = 0.05
) -> float:
    """The smallest mean difference that n pairs find with the given power (two-sided, level alpha).

        T ~ noncentral t with n - 1 degrees of freedom and centre effect sqrt(n) / sd
        effect solves  P(|T| > t_crit) = power,   t_crit from  P(|T| > t_crit) = alpha  at effect 0

    sd: the standard deviation of the paired differences (ddof = 1), best from pilot seeds. Say
    this number beside every null result: it is the effect that could have stayed hidden. With m
    arms in a table, alpha / m is a safe stand-in for Holm.
    Approximation: the power is that of the paired t test on normal differences, exact for it.
    The sign-flip test reaches 79 % where 80 % is asked for at 10 pairs, and only 62 % at 6. Where
    alpha is below 2 / 2^n it can find no effect whatever, and the answer is infinity.
    Misleads when sd comes from the very differences that are judged, or from a few pairs only.

    Raises UsageError for n < 2, a negative or non-finite sd, or not 0 < alpha < power < 1.
    """
    if n < 2:
        raise UsageError(f"a detectable effect needs at least 2 pairs; got {n}")
    if not (math.isfinite(sd) and sd >= 0):
        raise UsageError(f"sd is {sd}, but it must be a finite number that is not negative")
    if not 0 < alpha < power < 1:
        raise UsageError(f"needs 0 < alpha < power < 1; got alpha {alpha} and power {power}")
    if alpha < 2 / 2**n:
        return math.inf
    critical = _rising_root(lambda t: -_beyond(t, 0.0, n - 1), -alpha)
    centre = _rising_root(lambda c: _beyond(critical, c, n - 1), power)
    return centre * sd / math.sqrt(n)


def _beyond(t: float, centre: float, freedom: int) -> float:
    """P(|T| > t) for the noncentral t, by averaging normal tails over the sample's spread s.

        T = (Z + centre) / s,   s^2 = chi^2_freedom / freedom,   density of u = log s:
        proportional to exp( freedom (u - e^(2u) / 2) )

    Smooth and falling fast on both sides, so a plain sum over a grid of u is exact to 1e-10.
    """
    width = 1 / math.sqrt(2 * freedom)
    u = np.linspace(-9 * width - 38 / freedom, 9 * width, 600)
    log_density = freedom * (u - np.exp(2 * u) / 2 + 0.5)
    weight = np.exp(np.maximum(log_density, -700))
    weight = weight / np.sum(weight)
    root2 = math.sqrt(2)
    tails = [
        math.erfc((t * s - centre) / root2) / 2 + math.erfc((t * s + centre) / root2) / 2
        for s in np.exp(u).tolist()
    ]
    return float(np.sum(weight * np.asarray(tails)))


def _rising_root(f: Callable[[float], float], target: float) -> float:
    """Where a rising f on 0..infinity reaches target: double the bracket, then halve it."""
    low, high = 0.0, 1.0
    while f(high) < target:
        low, high = high, 2 * high
    while high - low > 1e-10 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if f(middle) < target else (low, middle)
    return (low + high) / 2


# ---------------------------------------------------------------- one arm against its base


@dataclass(frozen=True)
class PairedComparison:
    """One arm against its base over n paired seeds, in the unit that was measured.

    interval is that of mean(arm - base); relative is mean(arm) / mean(base) - 1, or None where
    the base's mean is not positive; p is the sign-flip p; p_holm is filled by adjust().
    """

    arm: str
    base: str
    n: int
    arm_mean: float
    base_mean: float
    interval: Interval
    relative: float | None
    p: float
    p_holm: float | None = None

    @property
    def difference(self) -> float:
        """mean(arm - base)."""
        return self.interval.estimate

    @property
    def shown(self) -> bool:
        """Enough seeds, an interval without 0, and p (after Holm, if done) below 1 - level."""
        p = self.p if self.p_holm is None else self.p_holm
        alpha = 1 - self.interval.level
        return self.n >= MIN_SEEDS and p < alpha and 0.0 not in self.interval

    def sentence(
        self, *, unit: str = "points", scale: float = 100.0, lower_is_better: bool = False
    ) -> str:
        """The comparison in plain words, with its interval, seeds and p beside every claim.

        The values are multiplied by scale: fractions correct become percentage points as it
        stands; for anything else say so, as in unit="steps", scale=1, lower_is_better=True.
        "beats" and "loses to" appear only where the difference is shown, and below 10 seeds no
        claim is made at all. Raises UsageError for points of values that are not fractions.
        """
        if unit == "points" and scale == 100 and not self._holds_fractions():
            raise UsageError(
                f"points are for fractions between 0 and 1, but the means are "
                f"{self.arm_mean:g} and {self.base_mean:g}: give unit= and scale="
            )
        sign = -1.0 if self.difference < 0 else 1.0  # a loss is told as a positive amount
        ends = sorted(sign * scale * end for end in (self.interval.low, self.interval.high))
        amount, plain = sign * scale * self.difference, scale * self.difference
        digits = _digits(ends[1] - ends[0])
        seeds = f"{self.n} paired seed{'s' if self.n > 1 else ''}"
        p = _p_words(self.p)
        if self.p_holm is not None:
            p += f", after Holm {_p_words(self.p_holm)}"
        gap = f"{self.arm} - {self.base} = {_number(plain, digits, signed=True)} {unit}"
        if self.n < MIN_SEEDS:
            return (
                f"{seeds}: too few seeds to say anything about {self.arm} against {self.base} "
                f"({gap} so far; {MIN_SEEDS} seeds are the least, and the smallest p that "
                f"{self.n} can reach is {_p_words(2 / 2**self.n).removeprefix('p = ')})"
            )
        if self.shown:
            verb = "beats" if (sign > 0) != lower_is_better else "loses to"
            claim = f"{self.arm} {verb} {self.base} by {_number(amount, digits)} {unit}"
            low, high = ends
        else:
            claim = f"no difference shown: {gap}"
            low, high = scale * self.interval.low, scale * self.interval.high
        between = f"{_number(low, digits)} to {_number(high, digits)}"
        level = f"{100 * self.interval.level:g} %"
        return f"{claim} ({level} interval {between}, {seeds}, sign-flip {p})"

    def _holds_fractions(self) -> bool:
        return all(0 <= mean <= 1 for mean in (self.arm_mean, self.base_mean))


def compare(
    a: ArrayLike,
    b: ArrayLike,
    *,
    names: tuple[str, str],
    seed: int,
    level: float = 0.95,
) -> PairedComparison:
    """Arm a against base b on the same seeds: difference, BCa interval and sign-flip p in one.

    a, b: (n,) one value per seed, in the same order of seeds. names: (arm, base). seed: of the
    resamples and random flips, which use separate streams. One pair bounds nothing, so its
    interval runs from -infinity to infinity. What the parts assume, and when they mislead, is
    said at mean_difference_interval and sign_flip_test; here a pair is one seed, and only the
    seeds' own spread is in the interval: not that of the data set, the test images or the tuning.

    Raises UsageError for no pairs, unequal lengths, or values that are not finite: a diverged
    seed is left out of *both* arms and reported beside the comparison, by the caller.
    """
    arm, base = names
    precision = max(_precision(a), _precision(b))
    a, b = _pairs(a, b, names=(arm, base))
    _check_share("level", level)
    if len(a) == 0:
        raise UsageError(f"{arm} and {base} have no pairs to compare")
    _generator(seed)
    boot_seed, flip_seed = (int(s) for s in np.random.SeedSequence(seed).generate_state(2))
    d = a - b
    if len(d) == 1:
        interval = Interval(float(d[0]), -math.inf, math.inf, level)
    else:
        interval = bca_interval(_mean, d, seed=boot_seed, level=level)
    # A difference carries the rounding of a and b, which may be far larger than its own.
    noise = precision * float(np.sum(np.abs(a)) + np.sum(np.abs(b)))
    total = float(np.sum(np.abs(d)))
    rounding = max(ROUNDING, noise / total) if total > 0 else ROUNDING
    p = sign_flip_test(d, seed=flip_seed, rounding=rounding)
    base_mean = float(np.mean(b))
    relative = float(relative_gain(a, b)) if base_mean > 0 else None
    return PairedComparison(arm, base, len(d), float(np.mean(a)), base_mean, interval, relative, p)


def _precision(values: ArrayLike) -> float:
    """The relative rounding step of the type in which the values came (float32: 1e-7)."""
    dtype = np.asarray(values).dtype
    return float(np.finfo(dtype if dtype.kind == "f" else np.float64).eps)


def adjust(comparisons: Sequence[PairedComparison]) -> list[PairedComparison]:
    """The comparisons of one table with p_holm filled in: give all of its arms at once."""
    adjusted = holm([c.p for c in comparisons])
    return [replace(c, p_holm=float(p)) for c, p in zip(comparisons, adjusted, strict=True)]


def _digits(width: float) -> int:
    """Decimals that show an interval of this width with one to two figures of its half width."""
    if not 0 < width < math.inf:
        return 3
    return max(0, math.ceil(-math.log10(width / 6)))


def _number(value: float, digits: int, *, signed: bool = False) -> str:
    text = f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
    return text if float(text) != 0 else text.lstrip("+-")  # no "-0.0"


def _p_words(p: float) -> str:
    """ "p = .0002", "p = .031", "p = .25", "p < .0001", "p = 1"."""
    if p < 0.0001:
        return "p < .0001"
    text = f"{p:.{4 if p < 0.001 else 3 if p < 0.1 else 2}f}"
    return f"p = {text.lstrip('0')}" if float(text) < 1 else "p = 1"


# ---------------------------------------------------------------- checks of what was given


def _finite(values: ArrayLike, what: str) -> Floats:
    """The values as one float64 row, or one sentence that says what is wrong with them."""
    try:
        row = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise UsageError(f"{what} must be plain numbers on the host, one per seed") from None
    if row.ndim != 1:
        raise UsageError(f"{what} must be one row of numbers; got shape {row.shape}")
    bad = np.flatnonzero(~np.isfinite(row))
    if len(bad):
        raise UsageError(
            f"{what}: {len(bad)} of {len(row)} values are NaN or infinite, the first at position "
            f"{bad[0]}; leave such seeds out of both arms and report how many there were"
        )
    return row


def _pairs(
    a: ArrayLike, b: ArrayLike, names: tuple[str, str] = ("a", "b")
) -> tuple[Floats, Floats]:
    first, second = _finite(a, names[0]), _finite(b, names[1])
    if len(first) != len(second):
        raise UsageError(
            f"pairs need one value of each per seed, but {names[0]} has {len(first)} "
            f"and {names[1]} has {len(second)}"
        )
    return first, second


def _check_share(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise UsageError(f"{name} is {value}, but it must lie strictly between 0 and 1, like 0.95")


def _check_p_values(p: Floats) -> None:
    if np.any((p < 0) | (p > 1)):
        worst = p[np.argmax(np.abs(p - 0.5))]
        raise UsageError(f"p values lie between 0 and 1, but one is {worst}")


def _generator(seed: int) -> np.random.Generator:
    try:
        return np.random.default_rng(operator.index(seed))
    except (TypeError, ValueError):
        raise UsageError(f"seed must be a whole number from 0 up; got {seed!r}") from None
