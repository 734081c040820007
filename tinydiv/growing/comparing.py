"""Paired trials as numbers with intervals: ratios of means, of geometric means, and differences."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tinydiv.stats import Interval, bca_interval

Floats = NDArray[np.float64]

RESAMPLES = 4999


@dataclass(frozen=True)
class Ratio:
    """Losses of one arm over those of another, over the same trials."""

    trials: int
    left_out: int
    """Trials in which a loss of either is not finite."""
    means: Interval
    """mean(a) / mean(b), as in the paper; a few bad trials can dominate it."""
    geometric: Interval
    """exp(mean(log a - log b)): the ratio of a typical trial."""
    wins: float
    """The share of trials with a < b."""


def ratio(a: ArrayLike, b: ArrayLike) -> Ratio | None:
    """Losses a over losses b, pair by pair, with 95 % bootstrap intervals; None for fewer than 2 pairs."""
    one: Floats = np.asarray(a, dtype=float)
    other: Floats = np.asarray(b, dtype=float)
    fine = np.isfinite(one) & np.isfinite(other) & (one > 0) & (other > 0)
    one, other = one[fine], other[fine]
    if len(one) < 2:
        return None
    logs = np.log(one) - np.log(other)
    means = bca_interval(
        lambda x, y: x.mean(axis=-1) / y.mean(axis=-1), one, other, resamples=RESAMPLES
    )
    geometric = bca_interval(lambda d: np.exp(d.mean(axis=-1)), logs, resamples=RESAMPLES)
    wins = float(np.mean(one < other))
    return Ratio(len(one), int((~fine).sum()), means, geometric, wins)


def difference(a: ArrayLike, b: ArrayLike) -> Interval | None:
    """mean(a - b) over pairs, with a 95 % bootstrap interval; None for fewer than 2 pairs."""
    d = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    d = d[np.isfinite(d)]
    if len(d) < 2:
        return None
    return bca_interval(lambda x: x.mean(axis=-1), d, resamples=RESAMPLES)


def bounded(interval: Interval | None, digits: int = 3, *, signed: bool = False) -> str:
    """ ".093 [.05, .27]" of an interval; a dash for none."""
    if interval is None:
        return "-"
    sign = "+" if signed else ""
    numbers = (interval.estimate, interval.low, interval.high)
    middle, low, high = (f"{v:{sign}.{digits}g}" for v in numbers)
    return f"{middle} [{low}, {high}]"
