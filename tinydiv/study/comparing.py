"""Arms against their partners, seed by seed: the differences, their intervals, detectable effects.

One table is one readout in one setting and one regime; Holm's correction runs over all of its arms, but
not over the controls, whose results are known beforehand and are reported as checks of the study.
"""

import functools
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import numpy as np

from tinydiv import stats
from tinydiv.stats import Floats, Interval, PairedComparison, Uniformity
from tinydiv.study.readouts import Readout
from tinydiv.study.results import Cell, Results
from tinydiv.study.specification import digest

_COMPARED: WeakKeyDictionary[Results, dict[str, list["Comparison"]]] = WeakKeyDictionary()
"""Comparisons that were made before, by results and number of curves, because each takes time."""
AA_GROUP = 5
"""Pairs of one A/A p value: 32 signs, so that 100 seeds give 20 values."""


@dataclass(frozen=True)
class Comparison:
    """One arm against its partner in one readout.

    pairs: the difference for every seed that has a number on both sides.
    missing: how many seeds are left out because a number is missing on one side (not trained yet, diverged,
    a target not reached). detectable: the smallest true difference that so many pairs would have shown with
    a probability of .8 at a level of .05 / (arms of the table).
    """

    cell: Cell
    partner: str
    readout: Readout
    paired: PairedComparison
    pairs: Floats
    missing: int
    detectable: float

    @property
    def sentence(self) -> str:
        """The comparison in words."""
        r = self.readout
        return self.paired.sentence(
            unit=r.unit or r.title, scale=r.scale, lower_is_better=r.lower_is_better
        )


def compare_all(results: Results, setting: str, regime: str, readout: Readout) -> list[Comparison]:
    """Every arm of one table, in the order of arms, controls last; arms without pairs are left out."""
    known = _COMPARED.setdefault(results, {})
    key = f"{len(results.curves)} {setting} {regime} {readout.name}"
    if key not in known:
        known[key] = _compare_all(results, setting, regime, readout)
    return known[key]


def _compare_all(results: Results, setting: str, regime: str, readout: Readout) -> list[Comparison]:
    arms = [arm for arm in results.arms[setting] if arm != results.study.base_arm]
    found: list[Comparison] = []
    controls: list[Comparison] = []
    for arm in arms:
        partner = results.study.partner(arm)
        cell = Cell(setting, regime, arm.name)
        numbers = results.numbers(cell, readout)
        others = results.numbers(Cell(setting, regime, partner.name), readout)
        there = np.isfinite(numbers) & np.isfinite(others)
        if not there.any():
            continue
        paired = stats.compare(
            numbers[there],
            others[there],
            names=(arm.name, partner.name),
            seed=int(digest([setting, arm.name, readout.name])[:8], 16),
        )
        pairs = numbers[there] - others[there]
        one = Comparison(cell, partner.name, readout, paired, pairs, int((~there).sum()), np.nan)
        (controls if arm.control else found).append(one)
    if found:
        adjusted = stats.adjust([one.paired for one in found])
        found = [replace(one, paired=p) for one, p in zip(found, adjusted, strict=True)]
    alpha = 0.05 / max(len(found), 1)
    return [replace(one, detectable=detectable(one.pairs, alpha)) for one in [*found, *controls]]


def detectable(pairs: Floats, alpha: float) -> float:
    """The smallest true difference that pairs with this spread would show with a probability of .8."""
    if len(pairs) < 2:
        return float("inf")
    return float(np.std(pairs, ddof=1)) * detectable_sds(len(pairs), alpha)


@functools.cache
def detectable_sds(n: int, alpha: float) -> float:
    """The same in standard deviations of the pairs, to which it is proportional."""
    return stats.minimum_detectable_effect(n, 1.0, alpha=alpha)


# Successes -----------------------------------------------------------------------------------------


def share(results: Results, cell: Cell, readout: Readout) -> Interval | None:
    """The share of seeds that succeed, with Wilson's interval; None before there are any."""
    numbers = results.numbers(cell, readout)
    seen = numbers[np.isfinite(numbers)]
    return stats.wilson_interval(int(seen.sum()), len(seen)) if seen.size else None


# Diversity and accuracy ----------------------------------------------------------------------------


def relations(results: Results, cell: Cell) -> dict[str, Interval]:
    """Over the seeds of one arm: the rank correlation of each diversity metric with the accuracy, both
    at the end, by metric. One arm at a time: pooled arms can show a relation that none of them has.
    Empty below stats.MIN_SEEDS seeds; a metric that is the same for all seeds is left out."""
    final = results.numbers(cell, Readout("final", ""))
    found = {}
    for readout in results.readouts(cell.setting):
        metric, _, moment = readout.name.partition("@")
        numbers = results.numbers(cell, readout)
        there = np.isfinite(numbers) & np.isfinite(final)
        x, y = numbers[there], final[there]
        if moment == "final" and len(x) >= stats.MIN_SEEDS and np.ptp(x) > 0 and np.ptp(y) > 0:
            found[metric] = stats.spearman(x, y)
    return found


# The controls, which check the study itself --------------------------------------------------------


@dataclass(frozen=True)
class Checks:
    """The results of the controls. aa: whether A/A p values are uniform, None below 5 of them. aa_p: these
    p values. planted: the comparisons of arms with a planted effect."""

    aa: Uniformity | None
    aa_p: tuple[float, ...]
    planted: tuple[Comparison, ...]

    @property
    def lost(self) -> list[Comparison]:
        """Planted effects that were not found."""
        return [one for one in self.planted if not found(one)]


def found(planted: Comparison) -> bool:
    """Whether a planted effect shows: better, with an interval that leaves zero out and p < .05."""
    gain = (
        -planted.paired.difference if planted.readout.lower_is_better else planted.paired.difference
    )
    return gain > 0 and planted.paired.p < 0.05 and 0.0 not in planted.paired.interval


def check_controls(results: Results) -> Checks:
    """The A/A arm's p values, and the planted effects.

    An A/A p value compares the base under AA_GROUP of the study's seeds with the base under others; it
    is randomised (see randomised_p), so that it is exactly uniform if the study has no fault. Two settings
    (or regimes) with the same seeds would give values that depend on each other. So every group of seeds
    is used in one setting only, in turn, and in the first regime.
    """
    p_values: list[float] = []
    planted: list[Comparison] = []
    settings = results.study.all_settings
    for i, setting in enumerate(settings):
        arms = results.arms[setting.name]
        primary = results.readout(setting.name, results.study.primary)
        for arm in arms:
            if arm.control == "A/A":
                p_values += aa_p_values(results, setting.name, arm.name, primary, i, len(settings))
        names = {arm.name for arm in arms if arm.control == "planted"}
        for regime in results.study.regimes if names else ():
            rows = compare_all(results, setting.name, regime, primary)
            planted += [row for row in rows if row.cell.arm in names]
    uniform = stats.uniformity_check(p_values) if len(p_values) >= 5 else None
    return Checks(uniform, tuple(p_values), tuple(planted))


def aa_p_values(
    results: Results, setting: str, arm: str, primary: Readout, turn: int, turns: int
) -> list[float]:
    """Sign-flip p values of groups of A/A pairs in one setting: group `turn`, `turn + turns`, ..."""
    regime = results.study.regimes[0]
    ours = results.numbers(Cell(setting, regime, results.study.base_arm.name), primary)
    theirs = results.numbers(Cell(setting, regime, arm), primary)
    return p_values_of_groups(theirs - ours, [setting, results.study.name], turn, turns)


def p_values_of_groups(apart: Floats, words: list[str], turn: int, turns: int) -> list[float]:
    """Sign-flip p values of groups of differences: group `turn`, `turn + turns`, ...; those with a NaN are
    left out. words: what the draws of the randomised p values depend on."""
    groups = apart[: len(apart) // AA_GROUP * AA_GROUP].reshape(-1, AA_GROUP)
    rng = np.random.default_rng(int(digest(words)[:12], 16))
    draws = rng.random(len(groups))
    return [
        randomised_p(group, draw)
        for group, draw in list(zip(groups, draws.tolist(), strict=True))[turn::turns]
        if np.isfinite(group).all()
    ]


def randomised_p(differences: Floats, draw: float) -> float:
    """A sign-flip p value that is exactly uniform where there is no effect, ties or not.

        p = ( #{|sum s d| > |sum d|} + draw * #{|sum s d| = |sum d|} ) / 2^n          over all signs s

    The usual p counts every tie in full. That is right for a test. But where differences tie (yes or no,
    accuracies on four samples), its values are larger than uniform ones, and a check of uniformity would
    reject a study without a fault. draw is uniform on 0..1.
    """
    signs = 1 - 2 * (np.arange(2 ** len(differences))[:, None] >> np.arange(len(differences)) & 1)
    sums = np.abs(signs @ differences)
    seen, rounding = abs(differences.sum()), 1e-9 * np.abs(differences).sum()
    larger = np.count_nonzero(sums > seen + rounding)
    equal = np.count_nonzero(np.abs(sums - seen) <= rounding)
    return float(larger + draw * equal) / len(sums)
