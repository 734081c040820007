"""The results of a study: numbers read from curves, comparisons, choices, controls, tables, pictures."""

import csv
import dataclasses
import io
import math

import numpy as np
import pytest
from studies import run, small_study, tuned_study

from tinydiv import stats
from tinydiv.errors import UsageError
from tinydiv.study import Arm, Controls, Measure, Setting, comparing, figures, page, tidy
from tinydiv.study.comparing import check_controls, compare_all, randomised_p
from tinydiv.study.keys import Training
from tinydiv.study.plan import TEST
from tinydiv.study.progress import Progress, in_words
from tinydiv.study.readouts import Circumstances, Readout, first_crossing, readouts_of
from tinydiv.study.results import Cell, DataFacts, Results, check_readable, entropy
from tinydiv.study.store import Curve

NO_CONTROLS = Controls(aa=False, planted=False)


def curve(accuracy, *, loss=None, metric=None, diverged=-1):
    """A curve measured at step 0, 5 (mid epoch), 10, 20, 30: ends of epochs 0, -, 1, 2, 3."""
    values = {"test_accuracy": np.array(accuracy, float)}
    values["test_loss"] = np.array(loss if loss is not None else [1.0] * 5)
    values["correlation"] = np.array(metric if metric is not None else [0.5] * 5)
    return Curve(
        step=np.array([0, 5, 10, 20, 30]),
        epoch=np.array([0, -1, 1, 2, 3]),
        values=values,
        diverged_step=diverged,
        diverged_layer=1 if diverged >= 0 else -1,
        facts={},
    )


def made_up(study, curve_for):
    """Results whose curves are curve_for(arm name, place of the seed) -> Curve or None."""
    facts = DataFacts("f", 320, 2, 2, math.log(2))
    results = Results(study, {}, {study.train["data"]: facts})
    found = {}
    for cell in results.cells:
        for i, one in enumerate(results.trials(cell) or []):
            made = curve_for(cell.arm, i)
            if made is not None:
                found[one.key] = made
    results.curves = found
    return results


# Readouts ------------------------------------------------------------------------------------------

HERE = Circumstances(Measure(early=2, success=0.9), 0.75, math.log(2), 0.5)
KNOWN = {
    "step5": 0.4,
    "step10": 0.6,
    "epoch1": 0.6,
    "early": 0.7,
    "final": 0.9,
    "success": 1.0,
    "reached": 1.0,
    "steps_to_target": 17.5,
    "seconds_to_target": 8.75,
    "plateau": 5 + 5 * (1.0 - 0.9 * math.log(2)) / 0.5,
    "correlation@step5": 0.3,
    "correlation@epoch1": 0.2,
    "correlation@final": 0.0,
}


@pytest.mark.parametrize("name", KNOWN)
def test_every_readout_on_a_curve_whose_numbers_are_known(name):
    one = curve(
        [0.1, 0.4, 0.6, 0.8, 0.9], loss=[2, 1, 0.5, 0.4, 0.3], metric=[0.4, 0.3, 0.2, 0.1, 0]
    )
    assert Readout(name, "").read(one, HERE) == pytest.approx(KNOWN[name])
    lost = curve([0.1, 0.4, 0.6, 0.8, 0.9], diverged=25)
    nothing = Readout(name, "").read(lost, HERE)
    assert nothing == 0 if name in ("success", "reached") else math.isnan(nothing)


def test_a_target_that_is_never_reached_has_no_time():
    one = curve([0.1, 0.4, 0.6, 0.7, 0.74])
    assert math.isnan(Readout("steps_to_target", "").read(one, HERE))
    assert Readout("reached", "").read(one, HERE) == 0
    assert Readout("success", "").read(one, HERE) == 0
    steps = np.array([0, 10])
    assert first_crossing(steps, np.array([0.8, 0.9]), 0.5) == 0
    assert math.isnan(first_crossing(steps, np.array([0.1, 0.9]), math.nan))


def test_readouts_are_those_that_the_trials_allow():
    short = readouts_of(Training(epochs=2, lr=0.1), Measure(steps=(5, 100)), per_epoch=10)
    names = [r.name for r in short]
    assert "step5" in names
    assert "step100" not in names  # there are only 20 steps
    assert "epoch3" not in names
    assert "correlation@step5" in names
    sparse = readouts_of(Training(epochs=100, lr=0.1), Measure(steps=(), every=50), per_epoch=1)
    assert {"success", "plateau", "final"} <= {r.name for r in sparse}
    assert "early" not in [r.name for r in sparse]
    deep = readouts_of(Training(hidden=(4, 4), lr=0.1), Measure(metrics=("correlation",)), 10)
    assert "correlation.2@final" in [r.name for r in deep]
    bare = readouts_of(Training(hidden=(), lr=0.1), Measure(), 10)
    assert not [r for r in bare if "@" in r.name]


def test_the_entropy_of_labels_is_the_loss_of_the_best_constant_prediction():
    labels = np.array([0] * 3 + [1] * 5 + [2] * 2)
    shares = np.array([0.3, 0.5, 0.2])
    assert entropy(labels) == pytest.approx(-np.mean(np.log(shares[labels])))


# Comparisons ---------------------------------------------------------------------------------------


def noisy(arm, i, gain=0.0):
    rng = np.random.default_rng([i, len(arm)])
    level = 0.7 + 0.05 * np.random.default_rng(i).normal() + 0.01 * rng.normal() + gain
    return curve([0.5, 0.6, level, level, level])


def test_arms_are_compared_seed_by_seed_with_their_partner_and_controls_stay_out_of_holm():
    arms = [Arm("a"), Arm("bb", {"lr": 0.3}), Arm("ccc", {"lr": 0.4}, against="bb")]
    study = small_study(arms, seeds=12)
    results = made_up(study, lambda arm, i: noisy(arm, i, gain=0.05 if arm == "ccc" else 0.0))
    final = results.readout("all", "final")
    rows = compare_all(results, "all", "default", final)
    assert [(r.cell.arm, r.partner) for r in rows] == [
        *[("bb", "a"), ("ccc", "bb"), ("A/A", "a"), ("one epoch ahead", "a")]
    ]
    ours = results.numbers(Cell("all", "default", "ccc"), final)
    theirs = results.numbers(Cell("all", "default", "bb"), final)
    assert rows[1].paired.difference == pytest.approx(np.mean(ours - theirs))
    assert rows[1].paired.p == stats.sign_flip_test(ours - theirs)
    adjusted = stats.holm([rows[0].paired.p, rows[1].paired.p])
    assert [r.paired.p_holm for r in rows] == [*adjusted, None, None]
    sd = np.std(ours - theirs, ddof=1)
    wanted = stats.minimum_detectable_effect(12, sd, alpha=0.025)
    assert rows[1].detectable == pytest.approx(wanted, rel=1e-6)
    assert "ccc beats bb by" in rows[1].sentence


def test_a_seed_that_diverged_or_is_not_there_is_left_out_of_both_sides_and_counted():
    def some(arm, i):
        if arm == "bb" and i in (2, 5):
            return curve([0.5, 0.6, 9, 9, 9], diverged=7)
        return None if arm == "a" and i == 0 else noisy(arm, i)

    study = small_study([Arm("a"), Arm("bb", {"lr": 0.3})], seeds=8, controls=NO_CONTROLS)
    results = made_up(study, some)
    (row,) = compare_all(results, "all", "default", results.readout("all", "final"))
    assert (row.paired.n, row.missing) == (5, 3)
    assert row.paired.arm_mean < 1
    written = page.markdown(results)
    assert "2 of 8" in written
    assert "- bb, seed 2: step 7, in layer 1" in written
    assert "**Not finished:** 15 of 16 networks" in written
    rows = [r for r in tidy.trial_rows(results) if r["diverged_step"] is not None]
    where = [(r["seed"], r["diverged_step"], r["diverged_layer"]) for r in rows]
    assert where == [(2, 7, 1), (5, 7, 1)]
    success = results.readout("all", "success")
    found = comparing.share(results, Cell("all", "default", "bb"), success)
    assert (found.estimate, found.high) == (0, stats.wilson_interval(0, 8).high)


def test_a_trial_that_never_reaches_the_target_counts_as_infinitely_slow():
    def some(arm, i):
        return curve([0.1, 0.2, 0.3, 0.4, 0.9 if i < (3 if arm == "a" else 5) else 0.5])

    study = small_study(
        [Arm("a"), Arm("bb", {"lr": 0.3})],
        seeds=8,
        controls=NO_CONTROLS,
        measure=Measure(steps=(5,), target=0.8, metrics=("correlation",)),
    )
    written = page.markdown(made_up(study, some))
    lines = [line for line in written.splitlines() if line.startswith(("| a |", "| bb |"))]
    base, other = lines[:2]
    assert "never (median)" in base
    assert "38 % [14, 69]" in base
    assert "28 (median)" in other
    assert "Target: 80.00 % test accuracy." in written


def test_diversity_and_accuracy_are_related_within_one_arm_with_an_interval():
    def some(arm, i):
        level = 0.5 + 0.01 * ((7 * i) % 15)
        return curve([0, 0, 0, 0, level], metric=[0, 0, 0, 0, 1 - level + 0.02 * (i % 3)])

    study = small_study([Arm("a"), Arm("bb", {"lr": 0.3})], seeds=15, controls=NO_CONTROLS)
    results = made_up(study, some)
    found = comparing.relations(results, Cell("all", "default", "a"))
    numbers = [some("a", i).values for i in range(15)]
    wanted = stats.spearman(
        [v["correlation"][-1] for v in numbers], [v["test_accuracy"][-1] for v in numbers]
    )
    assert found["correlation"] == wanted
    assert wanted.estimate < -0.8
    row = f"| all | {wanted.estimate:+.2f} [{wanted.low:.2f}, {wanted.high:.2f}] |"
    assert row in page.markdown(results)
    few = made_up(dataclasses.replace(study, seeds=9), some)
    assert comparing.relations(few, Cell("all", "default", "a")) == {}
    assert "Diversity and accuracy" not in page.markdown(few)


# Choices -------------------------------------------------------------------------------------------


def test_tuning_takes_the_best_mean_never_a_rate_that_diverged_and_marks_the_grids_edge():
    study = tuned_study(
        arms=[
            Arm("a", {"lr": 0.1}),
            Arm("b", {"optimizer": "adam", "lr": 0.01}),
            Arm("c", {"lr": 0.2}),
            Arm("d", {"lr": 0.4}),
        ],
        controls=NO_CONTROLS,
    )
    facts = DataFacts("f", 320, 2, 2, math.log(2))
    results = Results(study, {}, {study.train["data"]: facts})
    found = {}
    for (_, arm), tried in results.tuning.items():
        for candidate, trials in tried.items():
            for trial in trials:
                level = {"a": 0.9 - abs(candidate.lr - 0.1), "c": 0.5}.get(arm, candidate.lr)
                lost = (arm == "b" and candidate.lr > 0.02) or (arm == "d" and candidate.lr < 0.2)
                if arm != "c":
                    found[trial.key] = curve(
                        [0, 0, level, level, level], diverged=3 if lost else -1
                    )
                assert trial.validation == 64
                assert TEST == -1
    results.curves = found
    a, b = results.choice("all", "a"), results.choice("all", "b")
    assert (a.chosen.lr, a.at_edge) == (pytest.approx(0.1), False)
    assert (b.chosen.lr, b.at_edge) == (pytest.approx(0.01), False)  # 0.03 was better, and diverged
    assert a.trials == b.trials == 3
    d = results.choice("all", "d")
    assert (d.chosen.lr, d.at_edge) == (pytest.approx(1.2), True)
    assert results.choice("all", "c") is None  # not finished
    assert results.trials(Cell("all", "tuned", "c")) is None
    tuned = results.trials(Cell("all", "tuned", "b"))
    assert {r.training.lr for r in tuned} == {b.chosen.lr}
    # All diverged: nothing is chosen, and the arm has no tuned runs.
    for trials in results.tuning["all", "c"].values():
        found |= {r.key: curve([0] * 5, diverged=1) for r in trials}
    assert results.choice("all", "c").chosen is None
    assert "every candidate diverged" in page.markdown(results)
    chosen = [row for row in tidy.tuning_rows(results) if row["chosen"]]
    assert [(row["arm"], row["lr"]) for row in chosen] == [
        *[("a", a.chosen.lr), ("b", b.chosen.lr), ("d", d.chosen.lr)]
    ]


# Controls ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def controlled(tmp_path_factory):
    """300 seeds of one small arm, itself under other seeds, and itself with a head start."""
    study = small_study([Arm("plain", {"epochs": 2})], seeds=300)
    study = dataclasses.replace(study, measure=Measure(steps=(5,), metrics=()))
    return run(study, tmp_path_factory.mktemp("controlled") / "out")


def test_p_values_of_an_arm_against_itself_are_uniform(controlled):
    checks = check_controls(controlled.results)
    assert checks.aa.n == 60
    assert checks.aa.p > 0.01
    assert 0.3 < np.mean(checks.aa_p) < 0.7
    assert "no sign that they are not uniform" in controlled.markdown()


def test_a_planted_effect_is_found(controlled):
    checks = check_controls(controlled.results)
    assert not checks.lost
    (planted,) = checks.planted
    assert planted.cell.arm == "one epoch ahead"
    assert planted.paired.difference > 0.005
    assert "found in 1 of 1 tables" in controlled.markdown()


def test_a_difference_between_equal_arms_is_found(controlled):
    """A/A with an effect in it: for example the seeds of one side were chosen."""
    results = controlled.results
    other = Results(results.study, dict(results.curves), results.data)
    for one in results.trials(Cell("all", "default", "A/A")):
        before = results.curves[one.key]
        better = {**before.values, "test_accuracy": before.values["test_accuracy"] + 0.05}
        other.curves[one.key] = dataclasses.replace(before, values=better)
    checks = check_controls(other)
    assert checks.aa.p < 1e-4
    assert "do not rely on this study" in page.markdown(other)


def test_a_planted_effect_that_is_too_small_for_the_seeds_is_reported_as_lost(controlled):
    few = dataclasses.replace(controlled.results.study, seeds=3)
    results = Results(few, controlled.results.curves, controlled.results.data)
    checks = check_controls(results)
    assert len(checks.lost) == 1
    assert "**Planted effect NOT found**" in page.markdown(results)
    assert "**Fewer than 10 seeds support no claim:**" in page.markdown(results)


def test_randomised_p_values_are_uniform_even_where_everything_ties():
    rng = np.random.default_rng(0)
    tied = [randomised_p(rng.choice([-1.0, 0.0, 1.0], 5), rng.random()) for _ in range(2000)]
    assert stats.uniformity_check(tied).p > 0.01
    # Without randomisation the same values would not be: the usual p counts ties in full.
    rng = np.random.default_rng(0)
    usual = [stats.sign_flip_test(rng.choice([-1.0, 0.0, 1.0], 5)) for _ in range(2000)]
    assert stats.uniformity_check(usual, spacing=1 / 16).p < 1e-6
    d = np.array([0.3, -0.1, 0.25, 0.4, 0.05])
    assert randomised_p(d, 1.0) == pytest.approx(stats.sign_flip_test(d))
    assert randomised_p(np.zeros(5), 0.25) == 0.25


def test_a_group_of_seeds_is_used_in_one_setting_only():
    study = small_study([Arm("a")], seeds=20, grid={"hidden": [[3], [4]]})
    results = made_up(study, lambda arm, i: noisy(arm, i))
    assert len(check_controls(results).aa_p) == 4  # 20 seeds are 4 groups, however many settings


# From raw curves to tables, and to pictures --------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    study = tuned_study(seeds=10, grid={"hidden": [[4], [6]]})
    return run(study, tmp_path_factory.mktemp("finished") / "out", figures=True)


def read_csv(report, name):
    return list(csv.DictReader(io.StringIO((report.folder / name).read_text())))


def test_every_number_of_a_comparison_can_be_made_from_the_raw_curves(finished):
    rows = read_csv(finished, "curves.csv")
    columns = "setting regime arm seed step epoch test_accuracy correlation"
    assert set(columns.split()) <= set(rows[0])
    early = {}
    for row in rows:
        if row["epoch"] in ("1", "2", "3"):
            key = row["setting"], row["regime"], row["arm"], int(row["seed"]) % 10**10
            early.setdefault(key, []).append(float(row["test_accuracy"]))
    by_arm = {}
    for (setting, regime, arm, seed), values in early.items():
        by_arm.setdefault((setting, regime, arm), {})[seed] = np.mean(values)
    compared = [r for r in read_csv(finished, "comparisons.csv") if r["readout"] == "early"]
    assert len(compared) == 2 * 2 * 4
    for row in compared:
        ours = by_arm[row["setting"], row["regime"], row["arm"]]
        base = by_arm[row["setting"], row["regime"], row["against"]]
        d = np.array([ours[s] - base[s] for s in range(10)])
        assert float(row["difference"]) == pytest.approx(d.mean(), abs=1e-12)
        assert float(row["p"]) == pytest.approx(stats.sign_flip_test(d))
        assert float(row["low"]) <= d.mean() <= float(row["high"])
    for row in read_csv(finished, "runs.csv"):
        key = row["setting"], row["regime"], row["arm"], int(row["seed"]) % 10**10
        assert float(row["early"]) == pytest.approx(np.mean(early[key]))


def test_the_page_holds_the_tables_numbers(finished):
    written = (finished.folder / "table.md").read_text()
    assert written == finished.markdown()
    for heading in ("## Controls", "## hidden 4, default regime", "## hidden 6, tuned regime"):
        assert heading in written
    assert "## What tuning chose" in written
    assert "## Cost per training step and network" in written
    compared = read_csv(finished, "comparisons.csv")
    keys, wanted = ("setting", "regime", "readout", "arm"), ["hidden 4", "default", "early", "adam"]
    row = next(r for r in compared if [r[key] for key in keys] == wanted)
    cell = f"{100 * float(row['difference']):+.2f} [{100 * float(row['low']):.2f}, "
    assert cell in written
    lines = [line for line in written.splitlines() if line.startswith("|")]
    assert all(line.count("|") >= 3 for line in lines)


def test_seconds_are_shown_and_not_tested(finished):
    """One timing per arm: its noise would be in every seed."""
    rows = [r for r in read_csv(finished, "comparisons.csv") if r["readout"] == "seconds_to_target"]
    assert rows
    for row in rows:
        assert row["difference"]
        assert row["low"] == row["high"] == row["p"] == row["p_holm"] == row["detectable"] == ""
    assert "seconds to the target (not tested)" in finished.markdown()
    study = small_study(primary="seconds_to_target")
    with pytest.raises(UsageError, match="cannot be the primary readout"):
        check_readable(made_up(study, lambda arm, i: None))


def test_costs_stand_beside_effects_and_energy_is_not_made_up(finished):
    rows = {(r["setting"], r["arm"]): r for r in read_csv(finished, "costs.csv")}
    plain, decov = rows["hidden 6", "plain"], rows["hidden 6", "decov"]
    assert float(plain["product_flops"]) == 3 * 2 * 32 * (2 * 6 + 6 * 2) - 2 * 32 * 2 * 6
    assert float(decov["product_flops"]) > float(plain["product_flops"])
    assert float(decov["array_calls"]) > float(plain["array_calls"])
    assert 0 < float(plain["step_seconds"]) < 0.1
    assert 0 < float(plain["start_seconds"]) < 0.1


def test_pictures_show_the_numbers_of_the_tables(finished):
    names = sorted(p.name for p in (finished.folder / "figures").iterdir())
    assert names == sorted(
        [f"heat-{regime}.png" for regime in ("default", "tuned")]
        + [
            f"{kind}-hidden-{h}-{regime}.png"
            for kind in ("curves", "paired", "forest")
            for h in (4, 6)
            for regime in ("default", "tuned")
        ]
    )
    drawn = dict(figures.pictures(finished.results))
    results = finished.results
    primary = results.readout("hidden 4", "early")
    rows = compare_all(results, "hidden 4", "default", primary)

    forest = drawn["forest-hidden-4-default"].axes[0]
    diamonds = [line for line in forest.lines if line.get_marker() == "D"]
    marks = [line.get_xdata()[0] for line in diamonds]
    assert marks == pytest.approx([100 * row.paired.difference for row in rows])
    filled = [line.get_markerfacecolor() == line.get_color() for line in diamonds]
    assert filled == [row.paired.shown for row in rows]  # as the stars in the table
    names = [text.get_text() for text in forest.get_yticklabels()]
    assert "(control: the base again, no effect)" in names[-2]
    assert "(control: must be found better)" in names[-1]
    assert "filled: shown after Holm's correction" in forest.get_title()
    dots = [line.get_xdata() for line in forest.lines if line.get_marker() == "."]
    np.testing.assert_allclose(dots[0], 100 * rows[0].pairs)

    heat = drawn["heat-default"].axes[0]
    shown = np.asarray(heat.images[0].get_array())
    assert shown.shape == (4, 2)
    np.testing.assert_allclose(shown[:, 0], [100 * row.paired.difference for row in rows])

    curves = drawn["curves-hidden-4-default"].axes[0]
    labels = [text.get_text() for text in curves.get_legend().get_texts()]
    assert labels == ["plain", "adam", "decov", "A/A", "one epoch ahead"]
    base = [c.values["test_accuracy"] for c in results.found(Cell("hidden 4", "default", "plain"))]
    line = next(line for line in curves.lines if line.get_label() == "plain")
    np.testing.assert_allclose(line.get_ydata(), np.mean(base, axis=0))

    paired = drawn["paired-hidden-4-default"].axes[0]
    ticks = [text.get_text() for text in paired.get_xticklabels()]
    assert ticks == labels


def test_pictures_of_a_study_that_has_just_begun_do_not_fail():
    study = small_study([Arm("a"), Arm("bb", {"lr": 0.3})], seeds=8, grid={"hidden": [[3], [4]]})
    assert not list(figures.pictures(made_up(study, lambda arm, i: None)))
    some = made_up(study, lambda arm, i: noisy(arm, i) if i == 0 else None)
    assert "forest-hidden-3-default" in dict(figures.pictures(some))
    assert "too few seeds" in page.markdown(some)


def test_success_is_drawn_and_written_as_a_share():
    study = small_study(
        [Arm("a"), Arm("bb", {"lr": 0.3})],
        seeds=20,
        primary="success",
        measure=Measure(steps=(), success=0.8, target="none", metrics=("correlation",)),
        settings=[
            Setting("one"),
            Setting("two", {"hidden": [5]}),
            Setting("three", {"hidden": [6]}, 0.7),
        ],
    )
    results = made_up(
        study, lambda arm, i: curve([0, 0, 0.5, 0.6, 0.9 if arm == "bb" or i < 5 else 0.7])
    )
    written = page.markdown(results)
    assert "25 % [11, 47]" in written
    titles = [results.readout(where, "success").title for where in ("two", "three")]
    assert titles == [f"share that ends at {least} or above" for least in (0.8, 0.7)]
    assert results.numbers(Cell("three", "default", "a"), Readout("success", "")).mean() == 1
    assert "| +75.00 [" in written
    assert "bb beats a by 75 points" in written
    names = set(dict(figures.pictures(results)))
    assert "heat-default" in names
    assert not [name for name in names if name.startswith("paired")]


# Progress ------------------------------------------------------------------------------------------


def test_progress_estimates_how_long_the_rest_will_take(monkeypatch):
    from tinydiv.study import progress

    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    file = io.StringIO()
    bar = Progress(40, 100.0, file=file)
    clock[0] = 20.0
    bar.step(10, 25.0)
    assert bar.left() == pytest.approx(60.0)
    assert file.getvalue() == ""  # not more than a line every half minute
    clock[0] = 40.0
    bar.step(10, 25.0)
    assert file.getvalue() == "20 of 40 networks, 50 %, about 40 s left\n"
    bar.expect(5, 25.0)  # fewer are left than it seemed
    assert bar.networks == 25
    assert bar.left() == pytest.approx(20.0)
    assert [in_words(s) for s in (0.4, 59, 60, 3599, 7260, math.nan)] == [
        *["0 s", "59 s", "1 min 0 s", "59 min 59 s", "2 h 1 min", "?"]
    ]


def test_a_terminal_gets_a_bar(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    file = Terminal()
    bar = Progress(4, 8.0, file=file)
    bar.step(3, 6.0)
    bar.print_line("a line between")
    bar.close()
    assert "75%" in file.getvalue()
    assert "3 of 4 networks" in file.getvalue()
    assert "left]" in file.getvalue()
    assert "a line between\n" in file.getvalue()
