"""One arm against its base over paired seeds: interval, p value, and a sentence in plain words."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from tinydiv.errors import UsageError
from tinydiv.settings import rounded
from tinydiv.stats.given import check_share, generator_of, pairs
from tinydiv.stats.intervals import Interval, relative_gain, sign_flip_interval
from tinydiv.stats.p_values import ROUNDING, holm, sign_flip_test

MIN_SEEDS = 10  # with fewer pairs no claim is made: see PairedComparison.sentence


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
        """Whether there are enough seeds, 0 is not in the interval, and p (after Holm's correction, if it
        was made) is below 1 - level."""
        p = self.p if self.p_holm is None else self.p_holm
        alpha = 1 - self.interval.level
        return self.n >= MIN_SEEDS and p < alpha and 0.0 not in self.interval

    def sentence(
        self, *, unit: str = "points", scale: float = 100.0, lower_is_better: bool = False
    ) -> str:
        """The comparison in plain words, with its interval, seeds and p.

        The values are multiplied by scale: by default fractions correct become percentage points; for
        other values give unit and scale, as in unit="steps", scale=1, lower_is_better=True.
        "beats" and "loses to" are used only where the difference is shown, and below 10 seeds no
        claim is made at all. Raises UsageError for points of values that are not fractions.
        """
        means = (self.arm_mean, self.base_mean)
        if unit == "points" and scale == 100 and not all(0 <= mean <= 1 for mean in means):
            raise UsageError(
                f"points are for fractions between 0 and 1, but the means are "
                f"{rounded(self.arm_mean, 6)} and {rounded(self.base_mean, 6)}: give unit= and scale="
            )
        sign = (
            -1.0 if self.difference < 0 else 1.0
        )  # the amount of a loss is given as a positive number
        ends = sorted(sign * scale * end for end in (self.interval.low, self.interval.high))
        amount, plain = sign * scale * self.difference, scale * self.difference
        digits = digits_for(ends[1] - ends[0])
        seeds = f"{self.n} paired seed{'s' if self.n > 1 else ''}"
        p = p_words(self.p)
        if self.p_holm is not None:
            p += f", after Holm {p_words(self.p_holm)}"
        gap = f"{self.arm} - {self.base} = {written(plain, digits, signed=True)} {unit}"
        if self.n < MIN_SEEDS:
            return (
                f"{seeds}: too few seeds to compare {self.arm} with {self.base} "
                f"({gap} so far; at least {MIN_SEEDS} seeds are needed, and the smallest p that "
                f"{self.n} can reach is {p_words(2 / 2**self.n).removeprefix('p = ')})"
            )
        if self.shown:
            verb = "beats" if (sign > 0) != lower_is_better else "loses to"
            claim = f"{self.arm} {verb} {self.base} by {written(amount, digits)} {unit}"
            low, high = ends
        else:
            claim = f"no difference shown: {gap}"
            low, high = scale * self.interval.low, scale * self.interval.high
        between = f"{written(low, digits)} to {written(high, digits)}"
        level = f"{100 * self.interval.level:g} %"
        return f"{claim} ({level} interval {between}, {seeds}, sign-flip {p})"


def compare(
    a: ArrayLike, b: ArrayLike, *, names: tuple[str, str], seed: int, level: float = 0.95
) -> PairedComparison:
    """Arm a against base b on the same seeds: the difference, its sign-flip interval and p value.

    a, b: (n,) one value per seed, in the same order of seeds. names: (arm, base). seed: of the random
    flips. The interval inverts the test, so 0 lies in it exactly where p > 1 - level; with up to 5 pairs
    it runs from -infinity to infinity. sign_flip_interval and sign_flip_test describe what both assume,
    and when they mislead. Here a pair is one seed, and the interval accounts for the spread over seeds
    alone: not for another data set, other test images or another tuning.

    Raises UsageError for no pairs, unequal lengths, or values that are not finite: a diverged
    seed is left out of *both* arms and reported beside the comparison, by the caller.
    """
    arm, base = names
    precision = max(precision_of(a), precision_of(b))
    a, b = pairs(a, b, names=(arm, base))
    check_share("level", level)
    if len(a) == 0:
        raise UsageError(f"{arm} and {base} have no pairs to compare")
    generator_of(seed)
    flip_seed = int(np.random.SeedSequence(seed).generate_state(2)[1])
    d = a - b
    # A difference has the rounding errors of a and b, which may be far larger than its own.
    noise = precision * float(np.sum(np.abs(a)) + np.sum(np.abs(b)))
    total = float(np.sum(np.abs(d)))
    rounding = max(ROUNDING, noise / total) if total > 0 else ROUNDING
    p = sign_flip_test(d, seed=flip_seed, rounding=rounding)
    interval = sign_flip_interval(d, seed=flip_seed, level=level, rounding=rounding)
    interval = agreeing(interval, p)
    base_mean = float(np.mean(b))
    relative = float(relative_gain(a, b)) if base_mean > 0 else None
    return PairedComparison(arm, base, len(d), float(np.mean(a)), base_mean, interval, relative, p)


def agreeing(interval: Interval, p: float) -> Interval:
    """The same interval, with 0 in it exactly where p does not reject 0.

    With 17 to 32 pairs p counts all flips, but the ends come from randomly drawn ones, so that an end may
    lie on the wrong side of 0 by chance. It is then moved to 0, or to the next number beyond it.
    """
    rejected = p <= 1 - interval.level
    if rejected != (0.0 in interval) or math.isinf(interval.low):
        return interval
    beyond = float(np.nextafter(0.0, interval.estimate)) if rejected else 0.0
    name = "low" if interval.estimate > 0 else "high"
    return replace(interval, **{name: beyond})


def precision_of(values: ArrayLike) -> float:
    """The relative rounding error of the values' type (float32: 1e-7)."""
    dtype = np.asarray(values).dtype
    return float(np.finfo(dtype if dtype.kind == "f" else np.float64).eps)


def adjust(comparisons: Sequence[PairedComparison]) -> list[PairedComparison]:
    """The comparisons of one table with p_holm filled in. All arms of the table must be given at once."""
    adjusted = holm([c.p for c in comparisons])
    return [replace(c, p_holm=float(p)) for c, p in zip(comparisons, adjusted, strict=True)]


def digits_for(width: float) -> int:
    """So many decimals that half of this width has one or two significant digits."""
    if not 0 < width < math.inf:
        return 3
    return max(0, math.ceil(-math.log10(width / 6)))


def written(value: float, digits: int, *, signed: bool = False) -> str:
    """A number with `digits` decimals; with its sign, if wanted."""
    text = f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
    return text if float(text) != 0 else text.lstrip("+-")  # no "-0.0"


def p_words(p: float) -> str:
    """A p value as text: "p = .0002", "p = .031", "p = .25", "p < .0001", "p = 1"."""
    if p < 0.0001:
        return "p < .0001"
    text = f"{p:.{4 if p < 0.001 else 3 if p < 0.1 else 2}f}"
    return f"p = {text.lstrip('0')}" if float(text) < 1 else "p = 1"
