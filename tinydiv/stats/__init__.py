"""Statistics for paired comparisons: small pure functions on the host, NumPy only.

Every arm of a study has the same seeds, so an arm and its base are compared pair by pair: the differences
d = a - b are averaged, resampled, and their signs are flipped. Read the files in this order:

    comparison.py    compare                     one arm against its base, with a sentence about it
    intervals.py     mean_difference_interval    how large is the effect? (it inverts the sign-flip test)
                     relative_gain_interval      ... in percent? (by bootstrap, bca_interval)
    p_values.py      sign_flip_test              could chance alone explain it?
                     holm                        ... among all the arms of one table?
                     uniformity_check            are the p values of A/A arms uniform?
    power.py         minimum_detectable_effect   how small an effect would these seeds have shown?
    relations.py     spearman, wilson_interval   a monotone relation; a share of successes
    given.py                                     checks of the arguments of all functions

A value that is not finite is never dropped or replaced: every function raises UsageError for it.
"""

from tinydiv.stats.comparison import MIN_SEEDS, PairedComparison, adjust, compare
from tinydiv.stats.given import Floats
from tinydiv.stats.intervals import (
    Interval,
    Statistic,
    bca_interval,
    mean_difference_interval,
    relative_gain,
    relative_gain_interval,
    sign_flip_interval,
)
from tinydiv.stats.p_values import Uniformity, holm, sign_flip_test, uniformity_check
from tinydiv.stats.power import minimum_detectable_effect
from tinydiv.stats.relations import ranks, spearman, wilson_interval

__all__ = [
    "MIN_SEEDS",
    "Floats",
    "Interval",
    "PairedComparison",
    "Statistic",
    "Uniformity",
    "adjust",
    "bca_interval",
    "compare",
    "holm",
    "mean_difference_interval",
    "minimum_detectable_effect",
    "ranks",
    "relative_gain",
    "relative_gain_interval",
    "sign_flip_interval",
    "sign_flip_test",
    "spearman",
    "uniformity_check",
    "wilson_interval",
]
