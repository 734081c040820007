"""The statistics, each against scipy, a definition worked out by brute force, or simulation.

Simulations use fixed seeds. Their bounds are about four standard errors around the figures in the
docstrings of tinydiv.stats, so that these figures are tested too.
"""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import scipy
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as reference

from tinydiv import stats
from tinydiv.errors import UsageError
from tinydiv.stats import Interval, PairedComparison, intervals, p_values

thousandths = st.integers(-(10**6), 10**6).map(lambda k: k / 1000)
few_values = st.integers(-6, 6)  # many zeros and ties
quick = settings(max_examples=40, deadline=None)


def mean(d):
    return np.mean(d, axis=-1)


def median(d):
    return np.median(d, axis=-1)


# ---------------------------------------------------------------- bootstrap


def scipy_bca(statistic, samples, seed, level, resamples):
    """scipy's interval; it draws places as we do, so equal seeds give the same resamples."""
    modern = tuple(int(part) for part in scipy.__version__.split(".")[:2]) >= (1, 15)
    rng = {"rng" if modern else "random_state": np.random.default_rng(seed)}
    found = reference.bootstrap(
        samples,
        statistic,
        paired=True,
        n_resamples=resamples,
        confidence_level=level,
        method="BCa",
        vectorized=True,
        axis=-1,
        **rng,
    ).confidence_interval
    return found.low, found.high


@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
@pytest.mark.parametrize("n", [12, 30, 101])
@pytest.mark.parametrize("statistic", [mean, median, stats.relative_gain])
def test_bca_matches_scipy_on_the_same_resamples(statistic, n, level):
    rng = np.random.default_rng(n)
    samples = [rng.lognormal(0, 1, n), rng.lognormal(0, 0.5, n)]
    if statistic is not stats.relative_gain:
        samples = samples[:1]
    ours = stats.bca_interval(statistic, *samples, seed=3, level=level, resamples=1999)

    def as_scipy_calls_it(*columns, axis=-1):
        return statistic(*columns)

    low, high = scipy_bca(as_scipy_calls_it, samples, 3, level, 1999)
    np.testing.assert_allclose([ours.low, ours.high], [low, high], rtol=1e-12)
    assert ours.estimate == pytest.approx(float(statistic(*samples)))
    assert ours.level == level


@pytest.mark.parametrize("n", [2, 3, 5, 8])
def test_bca_of_few_tied_values_matches_scipy(n):
    """Sums of whole numbers are exact, so that scipy sees each tie as a tie, as it should."""
    counts = np.random.default_rng(n).integers(-4, 9, n)
    ours = stats.bca_interval(mean, counts, seed=1, resamples=1999)

    def as_scipy_calls_it(d, axis):
        return np.mean(d, axis=axis)

    low, high = scipy_bca(as_scipy_calls_it, [counts], 1, 0.95, 1999)
    np.testing.assert_allclose([ours.low, ours.high], [low, high], rtol=1e-12)


def test_bca_is_not_the_plain_percentile_interval():
    d = np.random.default_rng(0).lognormal(0, 1, 30)
    ours = stats.bca_interval(mean, d, seed=1)
    draws = mean(d[np.random.default_rng(1).integers(0, 30, size=(9999, 30))])
    low, high = np.quantile(draws, [0.025, 0.975])
    assert ours.low > low + 0.02
    assert ours.high > high + 0.03


def test_the_named_intervals_are_those_of_their_statistics():
    rng = np.random.default_rng(5)
    a, b = rng.normal(2, 1, 15), rng.normal(1.5, 0.1, 15)
    assert stats.mean_difference_interval(a, b, seed=2) == stats.sign_flip_interval(a - b, seed=2)
    gain = stats.relative_gain_interval(a, b, seed=2, level=0.9)
    assert gain == stats.bca_interval(stats.relative_gain, a, b, seed=2, level=0.9)
    assert gain.estimate == pytest.approx(a.mean() / b.mean() - 1)


def test_bca_does_not_depend_on_the_chunk_size(monkeypatch):
    d = np.random.default_rng(0).normal(size=23)
    whole = stats.bca_interval(median, d, seed=4, resamples=500)
    monkeypatch.setattr(intervals, "CHUNK", 7 * 23)
    assert stats.bca_interval(median, d, seed=4, resamples=500) == whole
    monkeypatch.setattr(intervals, "CHUNK", 1)
    assert stats.bca_interval(median, d, seed=4, resamples=500) == whole


@pytest.mark.parametrize("seed", range(8))
def test_bca_counts_ties_as_ties_in_spite_of_rounding(seed):
    counts = np.random.default_rng(seed).integers(-3, 5, 12)  # exact: whole numbers
    whole = stats.bca_interval(mean, counts, seed=0, resamples=1999)
    base = 500 + 37 * np.arange(12)
    thousandths = (base + counts) / 1000 - base / 1000  # rounded, each in its own way
    parts = stats.bca_interval(mean, thousandths, seed=0, resamples=1999)
    expected = [whole.low / 1000, whole.high / 1000]
    np.testing.assert_allclose([parts.low, parts.high], expected, rtol=1e-9)
    draws = mean(counts[np.random.default_rng(0).integers(0, 12, size=(1999, 12))])
    assert np.mean(draws == mean(counts)) > 0.02  # so ties there are


@quick
@given(st.lists(few_values, min_size=2, max_size=12), st.integers(1, 9), st.integers(-50, 50))
def test_bca_moves_and_scales_with_the_data(d, factor, shift):
    d = np.asarray(d, dtype=float)
    plain = stats.bca_interval(mean, d, resamples=199)
    moved = stats.bca_interval(mean, factor * d + shift, resamples=199)
    mirrored = stats.bca_interval(mean, -d, resamples=199)
    expected = [factor * plain.low + shift, factor * plain.high + shift]
    np.testing.assert_allclose([moved.low, moved.high], expected, rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose([-mirrored.high, -mirrored.low], [plain.low, plain.high], atol=1e-7)
    assert d.min() <= plain.low <= plain.high <= d.max()


@pytest.mark.parametrize("value", [0.0, 0.1, -3.7e5, 1e-12])
def test_equal_differences_give_an_interval_of_no_width(value):
    found = stats.bca_interval(mean, np.full(11, value))
    assert found.low == found.high == found.estimate == pytest.approx(value)


def test_bca_without_an_acceleration():
    """Leaving any one value out keeps this median at 0, yet resamples vary: 0 / 0 in the formula."""
    d = np.array([0.0, 0.0, 0.0, 0.0, 1.0])
    found = stats.bca_interval(median, d, level=0.999)
    assert (found.estimate, found.low, found.high) == (0.0, 0.0, 1.0)
    rough = np.array([0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1])
    assert intervals.acceleration_of(mean, [rough]) == 0.0  # not the third power of rounding


def test_bca_where_every_resample_lies_on_one_side():
    def distinct(d):
        return np.array([len(set(row)) for row in np.atleast_2d(d).tolist()], dtype=float)

    below = stats.bca_interval(distinct, np.arange(30.0), resamples=500)
    assert below.estimate == 30
    assert 20 < below.low <= below.high < 30
    above = stats.bca_interval(lambda d: -distinct(d), np.arange(30.0), resamples=500)
    assert (-above.high, -above.low) == (below.low, below.high)


def test_bca_of_tiny_differences_is_that_of_large_ones():
    d = np.random.default_rng(0).lognormal(size=12)
    plain, tiny = stats.bca_interval(mean, d), stats.bca_interval(mean, d * 2.0**-500)
    assert (tiny.low, tiny.high) == (plain.low * 2.0**-500, plain.high * 2.0**-500)


@pytest.mark.parametrize(("share", "end"), [(1 - 1e-7, 1.0), (1e-7, 0.0)])
def test_bca_shares_end_at_0_and_1_where_the_formula_would_turn_back(share, end):
    z0, acceleration = (4.0, 1 / 6) if end else (-4.0, -1 / 6)
    assert intervals.shifted_share(z0, acceleration, share) == end
    assert intervals.shifted_share(0.0, 0.0, share) == pytest.approx(share)


@pytest.mark.parametrize(
    ("draw", "n", "claimed"),
    [("normal", 10, 0.90), ("normal", 20, 0.93), ("lognormal", 10, 0.82), ("lognormal", 20, 0.87)],
)
def test_bca_coverage_is_that_of_the_docstring(draw, n, claimed):
    rng = np.random.default_rng(n)
    truth = 0.0 if draw == "normal" else math.exp(0.5)
    studies = getattr(rng, draw)(size=(1000, n))
    held = np.mean([truth in stats.bca_interval(mean, d, resamples=599) for d in studies])
    assert held == pytest.approx(claimed, abs=4 * math.sqrt(claimed * (1 - claimed) / 1000))


# ---------------------------------------------------------------- sign flips


def flips_by_hand(counts):
    """p of whole-number differences over every flip, one by one: no rounding anywhere."""
    observed = abs(sum(counts))
    flips = itertools.product((-1, 1), repeat=len(counts))
    reached = [abs(sum(s * d for s, d in zip(f, counts, strict=True))) >= observed for f in flips]
    return sum(reached) / len(reached)


@quick
@given(st.lists(few_values, min_size=1, max_size=9))
def test_sign_flip_p_is_the_share_of_all_flips(counts):
    by_hand = flips_by_hand(counts)
    assert stats.sign_flip_test(counts) == by_hand
    # The same differences as accuracies of a 1000-image test set carry rounding of 1e-16.
    rounded = [(800 + k) / 1000 - 800 / 1000 for k in counts]
    assert stats.sign_flip_test(rounded) == by_hand
    b = np.full(len(counts), 800)
    for dtype in (np.float64, np.float32):
        pair = ((b + counts) / 1000).astype(dtype), (b / 1000).astype(dtype)
        assert stats.compare(*pair, names=("a", "b"), seed=0).p == by_hand


def test_rounding_would_break_ties_without_the_tolerance():
    counts = [5, -6, -4, -5, 4, 0, 2]
    rounded = [(800 + k) / 1000 - 800 / 1000 for k in counts]
    assert stats.sign_flip_test(rounded, rounding=0.0) < flips_by_hand(counts)


@quick
@given(st.lists(thousandths, min_size=1, max_size=14), st.randoms())
def test_sign_flip_p_is_bounded_and_symmetric(d, random):
    p = stats.sign_flip_test(d)
    assert 2 / 2 ** len(d) <= p <= 1
    shuffled = random.sample(d, len(d))
    assert stats.sign_flip_test(shuffled) == p
    assert stats.sign_flip_test([-x for x in d]) == p
    assert stats.sign_flip_test([x * 2.0**-60 for x in d]) == p
    assert stats.sign_flip_test([*d, 0.0, 0.0]) == p  # zeros neither help nor harm


@pytest.mark.parametrize("n", [2, 5, 9, 13])
def test_sign_flip_matches_scipy(n):
    d = np.random.default_rng(n).normal(0.5, 1, n)
    expected = reference.permutation_test(
        (d,),
        lambda x, axis: np.mean(x, axis=axis),
        permutation_type="samples",
        n_resamples=np.inf,
        vectorized=True,
    ).pvalue
    assert stats.sign_flip_test(d) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("n", [1, 3, 10, 32])
def test_smallest_p_is_two_flips_in_all(n):
    assert stats.sign_flip_test(np.arange(1, n + 1)) == 2 / 2**n


def test_sign_flip_extremes():
    assert stats.sign_flip_test([0.0, 0.0]) == 1.0
    assert stats.sign_flip_test([1.0, -1.0]) == 1.0
    assert stats.sign_flip_test([1e-310, 2e-310, 3e-310]) == 0.25
    assert stats.sign_flip_test([1e308, 1.5e308, 1e308]) == 0.25
    far = np.full(60, 0.3)
    assert stats.sign_flip_test(far, flips=999) == 1 / 1000  # never 0
    assert stats.sign_flip_test(np.zeros(60)) == 1.0


@pytest.mark.parametrize("n", [7, 16, 29])
def test_random_flips_agree_with_all_flips(n, monkeypatch):
    d = np.random.default_rng(n).normal(0.35, 1, n)
    exact = stats.sign_flip_test(d)
    monkeypatch.setattr(p_values, "EXACT_UP_TO", 0)
    drawn = stats.sign_flip_test(d, seed=1)
    assert 0.01 < exact < 0.9
    assert drawn == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 99_999))
    assert drawn != exact
    assert drawn == stats.sign_flip_test(d, seed=1)
    assert drawn != stats.sign_flip_test(d, seed=2)


@pytest.mark.parametrize(("n", "studies"), [(6, 1500), (12, 1500), (40, 500)])
def test_sign_flip_false_alarms_keep_to_their_rate(n, studies):
    """Even for differences with tails so heavy that they have no mean."""
    d = np.random.default_rng(n).standard_cauchy(size=(studies, n))
    p = np.array([stats.sign_flip_test(row, flips=999) for row in d])
    for alpha in (0.0625, 0.25, 0.5):  # attainable at every n here
        assert np.mean(p <= alpha) == pytest.approx(
            alpha, abs=4 * math.sqrt(alpha * (1 - alpha) / studies)
        )


# ---------------------------------------------------------------- the interval that inverts the test


def subset_means(d):
    """The means of all subsets but the empty one, in order."""
    picks = itertools.chain.from_iterable(
        itertools.combinations(d, size) for size in range(1, len(d) + 1)
    )
    return sorted(math.fsum(pick) / len(pick) for pick in picks)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95])
@pytest.mark.parametrize("n", [6, 7, 10, 12])
def test_the_ends_are_order_statistics_of_the_subset_means(n, level):
    d = np.random.default_rng(n).lognormal(size=n)
    means = subset_means(d)
    k = math.floor((1 - level) * 2 ** (n - 1) + 1e-9)
    found = stats.sign_flip_interval(d, level=level)
    np.testing.assert_allclose([found.low, found.high], [means[k - 1], means[-k]], rtol=1e-12)
    assert found.estimate == pytest.approx(np.mean(d))


@pytest.mark.parametrize("n", [7, 12, 40])
def test_the_interval_holds_the_means_that_the_test_does_not_reject(n):
    d = np.random.default_rng(n).normal(0.4, 1, n)
    found = stats.sign_flip_interval(d, seed=3)
    for end, outward in ((found.low, -1), (found.high, 1)):
        assert stats.sign_flip_test(d - (end - outward * 1e-6), seed=3) > 0.05
        assert stats.sign_flip_test(d - (end + outward * 1e-6), seed=3) <= 0.05


@quick
@given(st.lists(few_values, min_size=6, max_size=11), st.sampled_from([0.5, 0.8, 0.95]))
def test_interval_and_p_agree_though_differences_tie_and_are_rounded(counts, level):
    b = np.full(len(counts), 800)
    for dtype in (np.float64, np.float32):
        pair = ((b + counts) / 1000).astype(dtype), (b / 1000).astype(dtype)
        found = stats.compare(*pair, names=("a", "b"), seed=0, level=level)
        assert (0.0 in found.interval) == (found.p > 1 - level)


@pytest.mark.parametrize("n", [16, 17, 24, 32, 33, 60])
def test_interval_and_p_agree_with_many_pairs(n):
    rng = np.random.default_rng(n)
    near = 2.0 / math.sqrt(n)  # about where p is .05
    for seed in range(30):
        a = rng.normal(near, 1, n) * rng.choice([-1, 1])
        found = stats.compare(a, np.zeros(n), names=("a", "b"), seed=seed)
        assert (0.0 in found.interval) == (found.p > 0.05)
        assert found.interval.low < found.difference < found.interval.high


@pytest.mark.parametrize(
    ("draw", "n", "claimed"),
    [
        *[("normal", n, 0.95) for n in (10, 20, 50)],
        *[("t3", n, 0.95) for n in (10, 20, 50)],
        *[("lognormal", n, c) for n, c in ((10, 0.84), (20, 0.87), (50, 0.90))],
    ],
)
def test_the_interval_keeps_its_level_and_skew_costs_what_the_docstring_states(draw, n, claimed):
    rng = np.random.default_rng(n)
    truth = math.exp(0.5) if draw == "lognormal" else 0.0
    draws = rng.standard_t(3, (1500, n)) if draw == "t3" else getattr(rng, draw)(size=(1500, n))
    found = [stats.sign_flip_interval(d, seed=i, flips=799) for i, d in enumerate(draws)]
    held = np.mean([truth in interval for interval in found])
    assert held == pytest.approx(claimed, abs=4 * math.sqrt(claimed * (1 - claimed) / 1500))
    if draw == "lognormal":
        above = np.mean([truth > interval.high for interval in found])
        assert above > 0.9 * (1 - held)


def test_five_pairs_have_no_interval_and_six_reach_from_the_least_to_the_largest():
    d = [0.3, -0.1, 0.4, 0.2, 0.6, 0.5]
    few = stats.sign_flip_interval(d[:5])
    assert (few.low, few.high) == (-math.inf, math.inf)
    six = stats.sign_flip_interval(d)
    assert (six.low, six.high) == pytest.approx((-0.1, 0.6))
    equal = stats.sign_flip_interval([0.25] * 9)
    assert equal.low == equal.high == equal.estimate == 0.25


def test_drawn_subsets_agree_with_all_of_them(monkeypatch):
    d = np.random.default_rng(0).normal(0.35, 1, 14)
    exact = stats.sign_flip_interval(d)
    monkeypatch.setattr(intervals, "SUBSETS_UP_TO", 0)
    drawn = stats.sign_flip_interval(d, seed=1)
    np.testing.assert_allclose([drawn.low, drawn.high], [exact.low, exact.high], atol=0.02)
    assert drawn != stats.sign_flip_interval(d, seed=2)


@pytest.mark.parametrize("n", [9, 40])
def test_the_interval_moves_scales_and_turns_with_the_data(n):
    d = np.random.default_rng(n).lognormal(size=n)
    plain = stats.sign_flip_interval(d)
    ends = np.array([plain.low, plain.high])
    for factor, shift in ((3.0, 2.0), (-2.0, 1.0), (1e-200, 0.0), (1e200, 0.0)):
        moved = stats.sign_flip_interval(factor * d + shift)
        np.testing.assert_allclose(
            [moved.low, moved.high], np.sort(factor * ends + shift), rtol=1e-9, atol=0
        )


# ---------------------------------------------------------------- Holm


def holm_by_closed_testing(p):
    """The principle behind Holm: p_i must survive in every group of hypotheses that holds i.

    A group S is rejected by Bonferroni, p(S) = |S| min_{j in S} p_j; adjusted p_i = max p(S).
    """
    m = len(p)
    groups = [g for size in range(1, m + 1) for g in itertools.combinations(range(m), size)]
    return [
        max(min(1.0, len(g) * min(p[j] for j in g)) for g in groups if i in g) for i in range(m)
    ]


@quick
@given(st.lists(st.floats(0, 1) | st.sampled_from([0.0, 0.01, 0.02, 1.0]), max_size=7))
def test_holm_is_closed_testing_with_bonferroni(p):
    np.testing.assert_allclose(stats.holm(p), holm_by_closed_testing(p), rtol=1e-12)


def test_holm_by_hand_keeps_the_order():
    np.testing.assert_allclose(stats.holm([0.03, 0.001, 0.02, 0.9]), [0.06, 0.004, 0.06, 0.9])


def test_holm_keeps_family_errors_at_alpha():
    p = np.random.default_rng(0).uniform(size=(4000, 5))
    wrong = np.mean([np.min(stats.holm(row)) <= 0.05 for row in p])
    assert wrong == pytest.approx(1 - (1 - 0.05 / 5) ** 5, abs=4 * math.sqrt(0.05 * 0.95 / 4000))


# ---------------------------------------------------------------- uniformity of A/A p values


@quick
@given(st.lists(st.floats(0, 1), min_size=5, max_size=40))
def test_uniformity_distance_matches_scipy(p):
    found = stats.uniformity_check(p)
    assert found.n == len(p)
    assert found.distance == pytest.approx(reference.kstest(p, "uniform").statistic, abs=1e-12)


@pytest.mark.parametrize(("n", "error"), [(5, 0.008), (10, 0.003), (50, 0.0005), (2000, 0.0001)])
def test_uniformity_p_is_as_close_as_the_docstring_states(n, error):
    shares = np.linspace(1e-4, 0.9999, 300)
    distances = reference.kstwo.isf(shares, n)
    found = [p_values.kolmogorov_tail(n, d) for d in distances]
    np.testing.assert_allclose(found, shares, atol=error)


def test_uniformity_p_at_the_ends():
    assert p_values.kolmogorov_tail(50, 0.0) == 1.0
    assert 0 <= p_values.kolmogorov_tail(50, 1.0) < 1e-40
    tail = [p_values.kolmogorov_tail(1000, d) for d in np.linspace(0, 0.1, 200)]
    assert np.all(np.diff(tail) <= 1e-12)


def test_uniformity_of_sign_flip_p_values_and_the_need_for_spacing():
    """With 6 pairs p moves in steps of 1/32: no failure of the test, and not to be counted."""
    d = np.random.default_rng(3).normal(size=(5000, 6))
    p = [stats.sign_flip_test(row) for row in d]
    assert stats.uniformity_check(p, spacing=2 / 2**6).p > 0.05
    assert stats.uniformity_check(p).p < 0.001


@pytest.mark.parametrize("spacing", [0.0, 2 / 2**8])
def test_uniformity_check_rejects_as_often_as_its_level(spacing):
    rng = np.random.default_rng(8)
    alarms = []
    for _ in range(1000):
        p = rng.uniform(size=60)
        if spacing:
            p = np.ceil(p / spacing) * spacing
        alarms.append(stats.uniformity_check(p, spacing=spacing).p <= 0.1)
    rate, slack = np.mean(alarms), 4 * math.sqrt(0.1 * 0.9 / 1000)
    assert rate <= 0.1 + slack
    assert rate >= (0.1 - slack if spacing == 0 else 0.04)


@pytest.mark.parametrize("power", [1.5, 0.6])
def test_uniformity_check_finds_p_values_that_are_too_small_or_too_large(power):
    p = np.random.default_rng(0).uniform(size=500) ** power
    assert stats.uniformity_check(p).p < 0.001


# ---------------------------------------------------------------- relations and proportions


@quick
@given(st.lists(st.tuples(few_values, few_values), min_size=4, max_size=30))
def test_spearman_and_ranks_match_scipy(points):
    x, y = (list(column) for column in zip(*points, strict=True))
    np.testing.assert_array_equal(stats.ranks(x), reference.rankdata(x))
    if len(set(x)) == 1 or len(set(y)) == 1:
        with pytest.raises(UsageError, match="is constant"):
            stats.spearman(x, y)
        return
    found = stats.spearman(x, y)
    assert found.estimate == pytest.approx(reference.spearmanr(x, y).statistic, abs=1e-12)
    assert -1 <= found.low <= found.estimate <= found.high <= 1
    mirrored = stats.spearman(x, [-value for value in y])
    np.testing.assert_allclose([-mirrored.high, -mirrored.low], [found.low, found.high])
    assert stats.spearman([value**3 for value in x], y) == found  # only the order matters


def test_spearman_interval_of_a_published_example():
    """The worked example for Bonett and Wright's interval in the manual of R's statpsych."""
    y = [21, 4, 9, 12, 35, 18, 10, 22, 24, 1, 6, 8, 13, 16, 19]
    x = [67, 28, 30, 28, 52, 40, 25, 37, 44, 10, 14, 20, 28, 40, 51]
    found = stats.spearman(x, y)
    expected = [0.8699639, 0.5840951, 0.9638297]
    np.testing.assert_allclose([found.estimate, found.low, found.high], expected, atol=1e-7)


def test_spearman_of_a_perfect_order_is_not_certain():
    found = stats.spearman(range(5), range(5))
    assert (found.estimate, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(-0.17, abs=0.005)
    falling = stats.spearman(range(50), range(50, 0, -1))
    assert (falling.estimate, falling.low) == (-1.0, -1.0)
    assert -1 < falling.high < -0.999


@pytest.mark.parametrize(
    ("pearson", "claimed"), [(0.0, 0.96), (0.5, 0.96), (0.85, 0.96), (0.97, 0.92), (0.99, 0.85)]
)
def test_spearman_coverage_is_that_of_the_docstring(pearson, claimed):
    rng = np.random.default_rng(7)
    truth = 6 / math.pi * math.asin(pearson / 2)  # of the bivariate normal
    held = []
    for _ in range(1500):
        x, noise = rng.normal(size=(2, 25))
        y = pearson * x + math.sqrt(1 - pearson**2) * noise
        held.append(truth in stats.spearman(x, y))
    assert np.mean(held) == pytest.approx(
        claimed, abs=4 * math.sqrt(claimed * (1 - claimed) / 1500)
    )


@pytest.mark.parametrize("level", [0.8, 0.95, 0.999])
@pytest.mark.parametrize("n", [1, 2, 7, 40])
def test_wilson_matches_scipy(n, level):
    for k in range(n + 1):
        found = stats.wilson_interval(k, n, level=level)
        expected = reference.binomtest(k, n).proportion_ci(level, method="wilson")
        np.testing.assert_allclose([found.low, found.high], expected, atol=1e-12)
        assert 0 <= found.low <= found.estimate == k / n <= found.high <= 1


def test_wilson_coverage_is_that_of_the_docstring():
    for n in (10, 50):
        intervals = [stats.wilson_interval(k, n) for k in range(n + 1)]
        truths = np.linspace(1e-4, 1 - 1e-4, 4001)
        chance = reference.binom.pmf(np.arange(n + 1), n, truths[:, None])
        inside = np.array([[truth in interval for interval in intervals] for truth in truths])
        held = np.sum(chance * inside, axis=1)
        assert np.mean(held) == pytest.approx(0.95, abs=0.006)
        assert 0.83 <= np.min(held) < 0.85


def test_counts_of_successes_may_be_numpys_whole_numbers():
    assert stats.wilson_interval(np.int64(3), np.int32(5)).estimate == 0.6


# ---------------------------------------------------------------- planning


@pytest.mark.parametrize(
    ("n", "power", "alpha"),
    [
        (6, 0.8, 0.05),
        (10, 0.8, 0.05),
        (20, 0.9, 0.01),
        (100, 0.8, 0.05),
        (2, 0.9, 0.5),
        (1000, 0.99, 0.001),
    ],
)
def test_detectable_effect_has_the_power_that_scipy_computes(n, power, alpha):
    effect = stats.minimum_detectable_effect(n, 3.0, power=power, alpha=alpha)
    critical = reference.t.isf(alpha / 2, n - 1)
    centre = effect / 3.0 * math.sqrt(n)
    other_side = reference.nct.sf(critical, n - 1, -centre)  # NaN where it is far below 1e-10
    found = reference.nct.sf(critical, n - 1, centre) + np.nan_to_num(other_side)
    assert found == pytest.approx(power, abs=1e-8)


@pytest.mark.parametrize(("n", "claimed"), [(6, 0.62), (10, 0.79), (20, 0.80)])
def test_detectable_effect_is_found_by_sign_flips(n, claimed):
    effect = stats.minimum_detectable_effect(n, 2.0)
    d = np.random.default_rng(n).normal(effect, 2.0, size=(2000, n))
    found = np.mean([stats.sign_flip_test(row) <= 0.05 for row in d])
    assert found == pytest.approx(claimed, abs=0.03)


def test_detectable_effect_limits():
    assert stats.minimum_detectable_effect(5, 1.0) == math.inf  # 2 / 2^5 > .05
    assert stats.minimum_detectable_effect(6, 0.0) == 0.0
    assert math.isfinite(stats.minimum_detectable_effect(6, 1.0))
    large = stats.minimum_detectable_effect(4000, 1.0)
    assert large == pytest.approx((1.959964 + 0.841621) / math.sqrt(4000), rel=1e-3)


# ---------------------------------------------------------------- one arm against its base


def comparison(difference=0.012, low=0.008, high=0.016, n=100, p=0.0002, p_holm=None, means=None):
    arm_mean, base_mean = means or (0.8 + difference, 0.8)
    interval = Interval(difference, low, high, 0.95)
    return PairedComparison("arm", "base", n, arm_mean, base_mean, interval, None, p, p_holm)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (
            comparison(),
            "arm beats base by 1.2 points "
            "(95 % interval 0.8 to 1.6, 100 paired seeds, sign-flip p = .0002)",
        ),
        (
            comparison(-0.012, -0.016, -0.008, p=0.00002, p_holm=0.00031),
            "arm loses to base by 1.2 points (95 % interval 0.8 to 1.6, 100 paired seeds, "
            "sign-flip p < .0001, after Holm p = .0003)",
        ),
        (
            comparison(p=0.03, p_holm=0.3),
            "no difference shown: arm - base = +1.2 points (95 % interval 0.8 to 1.6, "
            "100 paired seeds, sign-flip p = .030, after Holm p = .30)",
        ),
        (
            comparison(-0.0011, -0.0032, 0.00101, p=0.999),
            "no difference shown: arm - base = -0.11 points (95 % interval -0.32 to 0.10, "
            "100 paired seeds, sign-flip p = 1)",
        ),
        (
            comparison(n=3, p=0.25),
            "3 paired seeds: too few seeds to compare arm with base "
            "(arm - base = +1.2 points so far; at least 10 seeds are needed, "
            "and the smallest p that 3 can reach is .25)",
        ),
        (
            comparison(0.0, 0.0, 0.0, p=1.0),
            "no difference shown: arm - base = 0.000 points (95 % interval 0.000 to 0.000, "
            "100 paired seeds, sign-flip p = 1)",
        ),
    ],
)
def test_sentences(found, words):
    assert found.sentence() == words


def test_sentence_in_other_units():
    fewer = comparison(-120.0, -150.0, -90.0, means=(300.0, 420.0))
    words = fewer.sentence(unit="steps", scale=1, lower_is_better=True)
    assert words.startswith("arm beats base by 120 steps (95 % interval 90 to 150, ")
    more = comparison(120.0, 90.0, 150.0, means=(540.0, 420.0))
    words = more.sentence(unit="steps", scale=1, lower_is_better=True)
    assert words.startswith("arm loses to base by 120 steps (95 % interval 90 to 150, ")
    with pytest.raises(UsageError, match="means are 300 and 420: give unit= and scale="):
        fewer.sentence()


def test_no_claim_where_interval_and_p_disagree_or_seeds_are_few():
    assert comparison().shown
    assert not comparison(low=-0.001).shown
    assert not comparison(p=0.06).shown
    assert not comparison(p=0.01, p_holm=0.06).shown
    assert not comparison(n=9).shown


def test_compare_gives_what_its_parts_give():
    rng = np.random.default_rng(1)
    base = rng.normal(0.8, 0.02, 24)
    arm = base + rng.normal(0.012, 0.01, 24)
    found = stats.compare(arm, base, names=("decorrelated", "he"), seed=5, level=0.9)
    assert (found.arm, found.base, found.n) == ("decorrelated", "he", 24)
    assert found.difference == pytest.approx(np.mean(arm - base))
    assert found.relative == pytest.approx(arm.mean() / base.mean() - 1)
    assert (found.arm_mean, found.base_mean) == (arm.mean(), base.mean())
    assert found.p == stats.sign_flip_test(arm - base)
    wide = stats.mean_difference_interval(arm, base, seed=99, level=0.9)
    assert found.interval.level == 0.9
    np.testing.assert_allclose(
        [found.interval.low, found.interval.high], [wide.low, wide.high], atol=1e-4
    )
    assert found == stats.compare(arm, base, names=("decorrelated", "he"), seed=5, level=0.9)
    other = stats.compare(arm, base, names=("decorrelated", "he"), seed=6, level=0.9)
    assert other.interval != found.interval
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.p = 0.0  # type: ignore[misc]


def test_compare_with_hardly_any_pairs():
    one = stats.compare([0.9], [0.5], names=("arm", "base"), seed=0)
    assert (one.interval.low, one.interval.high, one.p) == (-math.inf, math.inf, 1.0)
    assert one.sentence().startswith("1 paired seed: too few seeds to compare arm with base")
    two = stats.compare([0.9, 0.8], [0.5, 0.5], names=("arm", "base"), seed=0)
    assert two.p == 0.5
    assert math.isinf(two.interval.low)
    assert math.isinf(two.interval.high)
    assert stats.compare([1.0] * 12, [-1.0] * 12, names=("arm", "base"), seed=0).relative is None


def test_adjust_corrects_a_whole_table():
    table = [comparison(p=p) for p in (0.02, 0.001, 0.03)]
    adjusted = stats.adjust(table)
    assert [c.p_holm for c in adjusted] == pytest.approx([0.04, 0.003, 0.04])
    assert [dataclasses.replace(c, p_holm=None) for c in adjusted] == table
    assert stats.adjust([]) == []


def test_a_planted_effect_is_found_and_an_arm_against_itself_is_not():
    rng = np.random.default_rng(2)
    found, false_alarms = [], []
    for seed in range(200):
        base, again = rng.normal(0.8, 0.02, size=(2, 12))
        better = base + rng.normal(0.01, 0.008, 12)
        found.append(stats.compare(better, base, names=("better", "base"), seed=seed).shown)
        false_alarms.append(stats.compare(again, base, names=("again", "base"), seed=seed).shown)
    assert np.mean(found) > 0.9
    assert np.mean(false_alarms) < 0.05 + 4 * math.sqrt(0.05 * 0.95 / 200)


# ---------------------------------------------------------------- bad input, everywhere


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, None])
def test_values_that_are_not_finite_are_refused_in_one_sentence(bad):
    good, holed = [0.1, 0.2, 0.3, 0.4, 0.5], [0.1, 0.2, bad, 0.4, bad]
    calls = [
        lambda: stats.compare(holed, good, names=("holed", "base"), seed=0),
        lambda: stats.compare(good, holed, names=("arm", "holed"), seed=0),
        lambda: stats.bca_interval(mean, holed),
        lambda: stats.mean_difference_interval(good, holed),
        lambda: stats.relative_gain_interval(holed, good),
        lambda: stats.sign_flip_test(holed),
        lambda: stats.spearman(good, holed),
        lambda: stats.ranks(holed),
        lambda: stats.holm(holed),
        lambda: stats.uniformity_check(holed),
    ]
    for call in calls:
        with pytest.raises(UsageError) as caught:
            call()
        assert "2 of 5 values are NaN or infinite, the first at position 2" in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: stats.bca_interval(mean, [1.0]), "at least 2 pairs; got 1"),
        (
            lambda: stats.bca_interval(stats.relative_gain, [1.0, 2.0], [1.0, 2.0, 3.0]),
            "one common length; got 2, 3",
        ),
        (lambda: stats.bca_interval(mean), "no samples"),
        (
            lambda: stats.bca_interval(np.mean, [1.0, 2.0, 3.0]),
            r"reduce the last axis only.*axis=-1",
        ),
        (
            lambda: stats.bca_interval(lambda d: np.where(mean(d) > 1.5, np.nan, 0.0), [1.0, 2.0]),
            "NaN or infinite on a resample",
        ),
        (lambda: stats.bca_interval(mean, [1.0, 2.0], level=95), "level is 95"),
        (lambda: stats.bca_interval(mean, [1.0, 2.0], resamples=10), "at least 100"),
        (lambda: stats.bca_interval(mean, [1.0, 2.0], seed=-1), "whole number from 0 up; got -1"),
        (
            lambda: stats.relative_gain_interval([1.0, 2.0, 3.0], [-1.0, 2.2, 2.3]),
            "a base whose mean is positive",
        ),
        (lambda: stats.sign_flip_test([]), "at least 1 difference"),
        (lambda: stats.sign_flip_test([1.0], flips=10), "at least 99"),
        (lambda: stats.sign_flip_interval([]), "at least 1 difference"),
        (lambda: stats.sign_flip_interval([1.0] * 8, flips=10), "flips is 10"),
        (lambda: stats.sign_flip_interval([1.0] * 8, level=95), "level is 95"),
        (lambda: stats.holm([0.1, float("nan")]), "p_values: 1 of 2 values are NaN"),
        (lambda: stats.holm([0.1, 1.5]), r"one is 1\.5"),
        (lambda: stats.uniformity_check([0.1, 0.2]), "at least 5 p values; got 2"),
        (lambda: stats.uniformity_check([0.5] * 5, spacing=2.0), r"spacing is 2\.0"),
        (lambda: stats.uniformity_check([0.5] * 5 + [-0.5]), r"one is -0\.5"),
        (lambda: stats.spearman([1, 2, 3], [1, 2, 3]), "at least 4 pairs; got 3"),
        (lambda: stats.spearman([1, 2, 3, 4], [1, 2, 3, 4, 5]), "x has 4 and y has 5"),
        (lambda: stats.wilson_interval(0, 0), "at least 1 trial"),
        (lambda: stats.wilson_interval(6, 5), "between 0 and the 5 trials; got 6"),
        (lambda: stats.wilson_interval(0.5, 5), r"whole counts; got 0\.5 of 5"),
        (lambda: stats.minimum_detectable_effect(1, 1.0), "at least 2 pairs"),
        (lambda: stats.minimum_detectable_effect(10, math.nan), "sd is nan"),
        (lambda: stats.minimum_detectable_effect(10, 1.0, power=0.01), "0 < alpha < power < 1"),
        (
            lambda: stats.compare([1, 2], [1, 2, 3], names=("arm", "base"), seed=0),
            "arm has 2 and base has 3",
        ),
        (lambda: stats.compare([], [], names=("arm", "base"), seed=0), "no pairs to compare"),
        (
            lambda: stats.sign_flip_test([[1.0, 2.0], [3.0, 4.0]]),
            r"one row of numbers; got shape \(2, 2\)",
        ),
        (lambda: stats.sign_flip_test(["much", "little"]), "plain numbers on the host"),
        (
            lambda: stats.compare([1, 2], [1, 2], names=("arm", "base"), seed=0.5),
            r"seed must be a whole number from 0 up; got 0\.5",
        ),
    ],
)
def test_bad_input_is_refused_in_one_sentence(call, sentence):
    with pytest.raises(UsageError, match=sentence):
        call()
