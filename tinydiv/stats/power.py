"""The smallest effect that a number of seeds can show: for planning a study, and for null results."""

import math
from collections.abc import Callable

import numpy as np

from tinydiv.errors import UsageError


def minimum_detectable_effect(
    n: int, sd: float, *, power: float = 0.8, alpha: float = 0.05
) -> float:
    """The smallest mean difference that n pairs find with the given power (two-sided, level alpha).

        T ~ noncentral t with n - 1 degrees of freedom and centre effect sqrt(n) / sd
        effect solves  P(|T| > t_crit) = power,   t_crit from  P(|T| > t_crit) = alpha  at effect 0

    sd: the standard deviation of the paired differences (ddof = 1), best from pilot seeds. Give this
    number with every result that shows no effect: a smaller effect would probably not have been found.
    With m arms in a table use alpha / m, which is at least as strict as Holm's correction.
    Approximation: the power is that of the paired t test on normal differences.
    The sign-flip test has a power of 79 % in place of 80 % at 10 pairs, and only 62 % at 6. Where alpha
    is below 2 / 2^n it finds no effect, however large, and infinity is returned.
    Misleads when sd comes from the same differences that are tested, or from a few pairs only.

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
    critical = rising_root(lambda t: -beyond(t, 0.0, n - 1), -alpha)
    centre = rising_root(lambda c: beyond(critical, c, n - 1), power)
    return centre * sd / math.sqrt(n)


def beyond(t: float, centre: float, freedom: int) -> float:
    """P(|T| > t) for the noncentral t, by averaging normal tails over the sample's spread s.

        T = (Z + centre) / s,   s^2 = chi^2_freedom / freedom,   density of u = log s:
        proportional to exp( freedom (u - e^(2u) / 2) )

    The density is smooth and falls fast on both sides, so a sum over a grid of u is exact to 1e-10.
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


def rising_root(f: Callable[[float], float], target: float) -> float:
    """Where a rising f on 0..infinity reaches target: double the bracket, then halve it."""
    low, high = 0.0, 1.0
    while f(high) < target:
        low, high = high, 2 * high
    while high - low > 1e-10 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if f(middle) < target else (low, middle)
    return (low + high) / 2
