"""The numbers in results/growing/README.md are those of the raw files beside it."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from tinydiv.growing import auxiliary_study, condense_study, fashion, mask_study
from tinydiv.growing.comparing import difference, ratio

HERE = Path(__file__).parent.parent / "results" / "growing"
README = (HERE / "README.md").read_text(encoding="utf-8")
TRIALS = sorted(path.parent.name for path in HERE.glob("*/trials.csv.gz"))
SEEDS = sorted(path.parent.name for path in HERE.glob("mask*/seeds.csv.gz"))
FASHION = sorted(path.parent.name for path in HERE.glob("fashion*/seeds.csv.gz"))
CONDENSED = sorted(path.parent.name for path in HERE.glob("condense*/table.md"))
SWEPT = (("growing", "grown"), ("growing-plain", "grown-plain"), ("growing", "grown-input-1"))
"""The bands of lambda that the text names."""


TEXT = " ".join(README.split())
TASKS = ("cubic", "bessel-sum", "quadratic", "quadratic-2", "step")
REGRESSION = ("bessel-window", *TASKS[:-1])


def config(name):
    return json.loads((HERE / name / "config.json").read_text())


def geometric(values):
    return np.exp(np.log(values).mean())


def rounded(value, digits=2):
    """A number as the text has it: 0.651 is .65."""
    return ("-" if value < 0 else "") + f"{abs(value):.{digits}f}".removeprefix("0")


def interval_of(found, digits=2):
    return [rounded(value, digits) for value in (found.estimate, found.low, found.high)]


def arms_of(task):
    trials = auxiliary_study.read_trials(HERE / task / "trials.csv.gz")
    return {arm: columns for (_, _, arm), columns in trials.items()}


def of_losses(task, a, b):
    """Losses of arm a over those of b: ratios of means and of geometric means."""
    arms = arms_of(task)
    return ratio(arms[a]["test"], arms[b]["test"])


@pytest.mark.parametrize("name", [*TRIALS, *SEEDS, *FASHION, *CONDENSED])
def test_every_table_is_in_the_readme(name):
    lines = (HERE / name / "table.md").read_text().strip().splitlines()
    assert len(lines) > 3
    if name == "sweep":  # many values: the README has them by band
        return
    for line in lines:
        assert line in README


@pytest.mark.parametrize("name", TRIALS)
def test_tables_of_trials_are_those_of_the_raw_files(name):
    trials = auxiliary_study.read_trials(HERE / name / "trials.csv.gz")
    lines = (HERE / name / "table.md").read_text().splitlines()
    number = config(name)["trials"]
    assert number == (64 if name.startswith("controls-") else 50 if name == "sweep" else 1000)
    for (task, lam, arm), columns in trials.items():
        assert sorted(columns["seed"]) == list(range(number)), (task, lam, arm)
    for a, b, what in auxiliary_study.COMPARISONS:
        for task, lam in {key[:2] for key in trials}:
            if (task, lam, a) not in trials or (task, lam, b) not in trials:
                continue
            one, other = (trials[task, lam, arm]["test"] for arm in (a, b))
            (line,) = [l for l in lines if l.startswith(f"| {task} | {lam} | {a} / {b} | {what} |")]
            means, typical = (
                float(re.match(r"[\d.e-]+", cell.strip())[0]) for cell in line.split("|")[6:8]
            )
            assert means == pytest.approx(one.mean() / other.mean(), rel=5e-3)
            assert typical == pytest.approx(geometric(one) / geometric(other), rel=5e-3)


@pytest.mark.parametrize("name", SEEDS)
def test_tables_of_seeds_are_those_of_the_raw_files(name):
    seeds = mask_study.read_seeds(HERE / name / "seeds.csv.gz")
    assert (HERE / name / "table.md").read_text() == mask_study.table(seeds)
    assert all(len(columns["seed"]) == config(name)["seeds"] for columns in seeds.values())


@pytest.mark.parametrize("name", FASHION)
def test_tables_of_images_are_those_of_the_raw_files(name):
    facts = config(name)
    del facts["comparison"]
    tuples = {key: tuple(v) if isinstance(v, list) else v for key, v in facts.items()}
    study, looks = fashion.Fashion(**tuples), fashion.read_seeds(HERE / name / "seeds.csv.gz")
    assert (HERE / name / "table.md").read_text() == fashion.table(study, looks)
    assert set(looks) == set(study.settings())
    assert all(columns["accuracy"].shape == (20, 12) for columns in looks.values())


@pytest.mark.parametrize("name", CONDENSED)
def test_tables_of_condensed_runs_are_those_of_the_raw_files(name):
    facts = config(name)
    study = condense_study.Condense(
        facts["run"], tuple(facts["taus"]), facts["layer"], facts["epochs"]
    )
    assert (HERE / name / "table.md").read_text() == condense_study.table(study, HERE / name)


def test_the_text_on_the_papers_arms_agrees_with_the_tables():
    trials = auxiliary_study.read_trials(HERE / "bessel-window" / "trials.csv.gz")
    losses = {arm: columns["test"] for (_, _, arm), columns in trials.items()}
    stuck = {arm: (values > 0.1).mean() for arm, values in losses.items()}
    assert f"{100 * stuck['grown']:.1f} % of its trials are stuck" in " ".join(README.split())
    assert stuck["grown-plain"] == stuck["grown-input-1"] == 0
    assert losses["grown"].mean() / losses["grown-input-1"].mean() == pytest.approx(15, abs=0.5)
    assert geometric(losses["grown"]) / geometric(losses["grown-input-1"]) == pytest.approx(
        2, abs=0.05
    )
    assert min(losses, key=lambda arm: geometric(losses[arm])) == "input-ramps"
    for mean in (np.mean, geometric):
        assert mean(losses["growing"]) < mean(losses["grown"])
        assert mean(losses["growing-plain"]) > mean(losses["grown-plain"])
        assert mean(losses["gate-ramps"]) > mean(losses["grown"])
        assert mean(losses["growing"]) > mean(losses["grown-input-1"])


def test_the_text_on_the_claim_and_on_the_rank_agrees_with_the_tables():
    both = of_losses("bessel-window", "growing", "grown")
    means, typical = rounded(both.means.estimate), rounded(both.geometric.estimate)
    assert f"{means} as a ratio of means and {typical} as a ratio of geometric means" in TEXT
    published = dict(auxiliary_study.PUBLISHED_BANDS)
    near = published[0.09, 0.11], published[0.1, 0.15]
    assert (
        f"are {rounded(near[0])} for lambda from .09 to .11 and {rounded(near[1])} from .1" in TEXT
    )
    assert both.geometric.low > max(near)  # "our interval lies above both figures"
    arms = arms_of("bessel-window")
    rank = difference(arms["growing-plain"]["rank"], arms["grown-plain"]["rank"])
    assert rank.high < 0


def test_the_short_answer_agrees_with_the_tables():
    assert all(of_losses(task, "growing-plain", "grown-plain").means.low > 1 for task in REGRESSION)
    assert len(REGRESSION) == 5
    assert "with no such input growing loses on all five regression tasks" in TEXT
    one = {task: of_losses(f"controls-{task}", "growing", "grown-input-1") for task in TASKS}
    one["bessel-window"] = of_losses("bessel-window", "growing", "grown-input-1")
    beaten = {task for task, found in one.items() if found.geometric.low > 1}
    assert beaten == {"bessel-window", "cubic", "bessel-sum", "step"}
    assert all(one[task].means.low > 1 for task in beaten)
    for task in ("quadratic", "quadratic-2"):
        for found in (one[task].means, one[task].geometric):
            assert found.low < 1 < found.high


def test_the_text_on_the_other_tasks_agrees_with_the_tables():
    paper = {task: of_losses(task, "growing", "grown") for task in TASKS}
    for task in ("quadratic", "quadratic-2", "step"):
        assert paper[task].means.high < 1
        assert paper[task].geometric.high < 1
    assert paper["cubic"].means.high < 1 < paper["cubic"].geometric.high
    assert paper["bessel-sum"].means.low > 1
    assert paper["bessel-sum"].geometric.low > 1
    plain = [of_losses(task, "growing-plain", "grown-plain") for task in REGRESSION]
    assert all(min(found.means.low, found.geometric.low) > 1 for found in plain)
    worse = [100 * (f.estimate - 1) for found in plain for f in (found.means, found.geometric)]
    assert f"by {min(worse):.0f} to {max(worse):.0f} %, whichever mean" in TEXT
    step = of_losses("step", "growing-plain", "grown-plain")
    for found in (step.means, step.geometric):
        assert found.high < 1
        assert 0.02 < 1 - found.estimate < 0.04  # "about 3 %"
    beside = {task: of_losses(task, "growing", "grown-plain") for task in TASKS}
    for task in ("cubic", "bessel-sum", "step"):
        assert min(beside[task].means.low, beside[task].geometric.low) > 1
    assert beside["quadratic"].geometric.high < 1 < beside["quadratic"].means.low
    found = beside["quadratic-2"]
    assert found.geometric.high < 1
    assert found.means.low < 1 < found.means.high


def test_the_text_on_the_mask_agrees_with_the_tables():
    seeds = mask_study.read_seeds(HERE / "mask-bessel" / "seeds.csv.gz")
    losses = {arm: columns["test"] for (_, _, lr, arm), columns in seeds.items() if lr == 0.001}
    assert f"{losses['gate'].mean():.1e}" == "1.6e-04"
    assert f"{losses['static'].mean():.1e}" == "1.3e-03"
    for mask in ("mask", "mask-closed"):
        assert geometric(losses[mask]) < 0.5 * geometric(losses["gate"])
    assert geometric(losses["gate-plain"]) < 0.2 * geometric(losses["static"])


def test_the_text_on_the_bands_of_lambda_agrees_with_the_tables():
    trials = auxiliary_study.read_trials(HERE / "sweep" / "trials.csv.gz")
    lams, found = {lam for _, lam, _ in trials}, {}
    for (low, high), published in auxiliary_study.PUBLISHED_BANDS:
        mine = [lam for lam in lams if low <= float(lam) <= high]
        cells = [f"{low:g} to {high:g}", str(len(mine)), f"{published:g}"]
        for a, b in SWEPT:
            logs = [
                np.log(trials["bessel-window", lam, a]["test"])
                - np.log(trials["bessel-window", lam, b]["test"])
                for lam in mine
            ]
            cells.append(f"{np.exp(np.mean(logs)):.2f}" if mine else "-")
        assert f"| {' | '.join(cells)} |" in README
        found[low] = float(cells[3])
    published = dict(auxiliary_study.PUBLISHED_BANDS)
    assert "by factors of 11.4 and 4.5, ours by 2.4 and not at all" in TEXT
    assert (published[0.01, 0.02], published[0.03, 0.05]) == (11.4, 4.5)
    assert found[0.01] == pytest.approx(2.4, abs=0.05)
    assert found[0.03] < 1
    assert min(published.values()) == published[0.15, 0.2] == 0.23
    assert found[0.15] == 0.44
    assert all(published[low, high] < found[low] for low, high in ((0.1, 0.15), (0.2, 0.3)))


LOST = {
    32: {"random": -0.4, "decorrelated": -0.2, "gradmax": -1.1, "net2net": -1.6, "residual": -4.6},
    16: {"random": -0.6, "decorrelated": -0.5, "gradmax": -0.8, "net2net": -1.8, "residual": -3.7},
}
"""Points of accuracy that growing loses to full size, as the README has them."""


@pytest.mark.parametrize("width", LOST)
def test_the_text_on_growing_on_images_agrees_with_the_tables(width):
    looks = fashion.read_seeds(HERE / "fashion" / "seeds.csv.gz")
    arms = {arm: found for (w, _, arm), found in looks.items() if w == width}
    early = {arm: found["accuracy"][1].mean() for arm, found in arms.items()}
    assert max(early, key=early.get) == "full"
    last = {arm: {k: v[-1] for k, v in found.items()} for arm, found in arms.items()}
    full = last.pop("full")
    lost = {arm: 100 * (found["accuracy"] - full["accuracy"]).mean() for arm, found in last.items()}
    assert lost == pytest.approx(LOST[width], abs=0.06)
    for found in last.values():
        assert difference(found["accuracy"], full["accuracy"]).high < 0
        assert found["rank"].mean() < full["rank"].mean()
    correlation = {arm: found["correlation"].mean() for arm, found in last.items()}
    above = [arm for arm, value in correlation.items() if value > full["correlation"].mean()]
    assert above == ["net2net"]
    assert min(correlation, key=correlation.get) == "decorrelated"
    gained = difference(last["decorrelated"]["accuracy"], last["random"]["accuracy"])
    assert gained.low < 0 < gained.high
    assert 100 * gained.estimate == pytest.approx(0.1, abs=0.05)


SCALES = ("0.01", "0.03", "0.1", "0.3", "1")


def condensed(scale, tau):
    """The means over the networks of one scale of the start."""
    with np.load(HERE / f"condense-{scale}" / "pieces" / f"tau-{tau}.npz") as file:
        return {key: file[key].mean() for key in file.files}


def points(interval, sign=1, digits=2):
    """ ".31 [.12, .43]" of a difference of accuracies; sign = -1: of how far the first is behind."""
    ends = (interval.estimate, interval.low, interval.high)
    middle, *bounds = (100 * sign * value for value in ends)
    low, high = (rounded(value, digits) for value in sorted(bounds))
    return f"{rounded(middle, digits)} [{low}, {high}]"


def test_the_text_on_waking_every_50_steps_agrees_with_the_tables():
    late, soon = (
        fashion.read_seeds(HERE / name / "seeds.csv.gz") for name in ("fashion", "fashion-every-50")
    )
    soon = {arm: found for (_, _, arm), found in soon.items()}
    full = soon.pop("full")
    assert "all 32 neurons are awake after 350 of 4,175 steps" in TEXT
    study = fashion.Fashion(every=(50,))
    assert study.awake(32, 50, "random", 349) < study.awake(32, 50, "random", 350) == 32
    assert len(study.cost(32, 50, "random")) == 4175
    np.testing.assert_array_equal(full["accuracy"], late[32, 200, "full"]["accuracy"])
    last = {arm: found["accuracy"][-1] for arm, found in soon.items()}
    behind = {arm: difference(values, full["accuracy"][-1]) for arm, values in last.items()}
    assert f"weights are {points(behind['random'], -1).replace(' ', ' points ', 1)} behind" in TEXT
    assert f"decorrelated ones {points(behind['decorrelated'], -1)}" in TEXT
    assert all(found.high < 0 for found in behind.values())
    other = {arm: 100 * behind[arm].estimate for arm in ("gradmax", "net2net", "residual")}
    assert other == pytest.approx({"gradmax": -0.8, "net2net": -1.0, "residual": -6.2}, abs=0.05)
    gained = {
        arm: difference(values, late[32, 200, arm]["accuracy"][-1]) for arm, values in last.items()
    }
    assert f"better by {points(gained['decorrelated']).replace(' ', ' points ', 1)}," in TEXT
    assert (
        f"GradMax by {points(gained['gradmax'])} and Net2Net by {points(gained['net2net'])};"
        in TEXT
    )
    assert f"random ones do not differ ({points(gained['random'])})" in TEXT
    assert f"is worse by {points(gained['residual'], -1, 1)}." in TEXT
    both = difference(last["decorrelated"], last["random"])
    assert f"are here {points(both).replace(' ', ' points ', 1)} better than random ones" in TEXT
    assert both.low > 0
    early = {arm: difference(x["accuracy"][1], full["accuracy"][1]) for arm, x in soon.items()}
    assert all(found.estimate < 0 for found in early.values())
    assert [arm for arm, found in early.items() if found.high > 0] == ["gradmax"]
    arms = [soon["random"], soon["decorrelated"], full]
    a, b, c = (rounded(found["correlation"][-1].mean(), 2) for found in arms)
    assert f"a correlation of {a} (random) and {b} (decorrelated) beside {c}" in TEXT
    a, b, c = (rounded(found["rank"][-1].mean(), 1) for found in arms)
    assert f"a rank of {a} and {b} beside {c}." in TEXT


def test_the_text_on_the_scale_of_the_start_agrees_with_the_tables():
    taus = (0.9, 0.7, 0.5)
    found = [[condensed(scale, tau) for tau in taus] for scale in SCALES]
    for scale, row in zip(SCALES, found, strict=True):
        left = " | ".join(f"{one['neurons']:.1f}" for one in row)
        assert f"| {scale} | {left} | {row[0]['full']:.4f} |" in README
    left = np.array([[one["neurons"] for one in row] for row in found])
    assert (np.diff(left, axis=0) >= 0).all()
    whole = [row[0]["full"] for row in found]
    assert whole == sorted(whole)
    assert f"by {rounded(100 * (whole[-1] - whole[0]))} points" in TEXT
    for way in ("condense", "merge", "prune"):
        change = [100 * (row[0][f"{way}-retrained"] - row[0]["full"]) for row in found]
        assert change[3:] == pytest.approx([-0.5, -0.9], abs=0.03)
        assert all(0.345 < value < 0.455 for value in change[:3])


def test_the_text_on_condensing_agrees_with_the_tables():
    half, small = condensed("0.01", 0.7), condensed("0.01", 0.5)
    assert (round(half["neurons"]), round(small["neurons"])) == (39, 21)
    for found, raw in ((half, (0.846, 0.824, 0.830)), (small, (0.820, 0.737, 0.635))):
        at_once = [found[f"{way}-raw"] for way in ("merge", "condense", "prune")]
        assert at_once == pytest.approx(raw, abs=6e-4)
    for scale in SCALES:
        assert condensed(scale, 0.5)["merge-raw"] > condensed(scale, 0.5)["condense-raw"]
    for way in ("merge", "condense"):
        assert abs(small[f"{way}-retrained"] - small["full"]) < 0.002
    for way in ("prune", "scratch"):
        assert 0.015 < small["full"] - small[f"{way}-retrained"] < 0.025


def test_the_text_on_the_full_set_agrees_with_the_tables():
    taus = (0.9, 0.7, 0.5)
    full, mini = ([condensed(scale, tau) for tau in taus] for scale in ("full-0.01", "0.01"))
    whole = [condensed("full-1", tau) for tau in taus]
    a, b, c = (f"{one['neurons']:.1f}" for one in whole)
    assert f"from the ordinary start {a}, {b} and {c} neurons are left." in TEXT
    large, small = whole[0]["full"], full[0]["full"]
    lost, beside = rounded(100 * (large - small)), f"{rounded(small, 4)} beside {rounded(large, 4)}"
    assert f"small start costs {lost} points of accuracy ({beside})." in TEXT
    (a, b, c), (d, e, f) = ([f"{one['neurons']:.1f}" for one in row] for row in (full, mini))
    assert f"{a}, {b} and {c} are left, where the small set leaves {d}, {e} and {f}." in TEXT
    half = full[2]
    a, b, c = (rounded(half[f"{way}-raw"], 3) for way in ("merge", "prune", "condense"))
    assert f"by response keeps {a}, pruning {b}, merging aligned weights {c}." in TEXT
    assert f"at the whole network's {rounded(half['full'], 3)} or above" in TEXT
    assert all(half[f"{way}-retrained"] > half["full"] for way in ("merge", "prune", "condense"))
    with np.load(HERE / "condense-full-0.01" / "pieces" / "tau-0.5.npz") as file:
        behind = difference(file["scratch-retrained"], file["full"])
    assert f"is {points(behind, -1).replace(' ', ' points ', 1)} behind" in TEXT


def test_the_text_on_tuned_rates_agrees_with_the_tables():
    seeds = mask_study.read_seeds(HERE / "mask-rates" / "seeds.csv.gz")
    rates, arms = (0.003, 0.01, 0.03), ("static", "gate", "mask", "mask-closed")
    found = {(lr, arm): seeds["bessel", 10, lr, arm] for lr in rates for arm in arms}
    best = {arm: mask_study.best_rate("bessel", arm, rates, found) for arm in arms}
    assert best == {"static": 0.01, "gate": 0.01, "mask": 0.003, "mask-closed": 0.003}
    odd = {arm: found[best[arm], arm]["test"][1::2] for arm in arms}
    for arm, typical in (("gate", "0.47"), ("mask", "0.45"), ("mask-closed", "0.50")):
        tuned = ratio(odd[arm], odd["static"])
        assert f"{tuned.geometric.estimate:.2f}" == typical
        assert tuned.geometric.high < 1 < tuned.means.high
        assert 0.615 < tuned.means.estimate < 0.695
        fast = ratio(found[0.03, arm]["test"], found[0.03, "static"]["test"])
        assert fast.geometric.low < 1 < fast.geometric.high
        for lr in rates:
            assert difference(found[lr, arm]["rank"], found[lr, "static"]["rank"]).high < 0
    first = mask_study.read_seeds(HERE / "mask-bessel" / "seeds.csv.gz")
    mask, static = (
        geometric(first["bessel", 10, 0.001, arm]["test"]) for arm in ("mask", "static")
    )
    assert static / mask == pytest.approx(33, abs=3)  # "a factor of 30"
    failed = found[0.03, "mask-closed"]["test"]
    assert failed.max() > 100 * np.median(failed)


def test_the_text_on_the_sweep_agrees_with_the_tables():
    trials = auxiliary_study.read_trials(HERE / "sweep" / "trials.csv.gz")

    def over(lam, a, b):
        arms = (trials["bessel-window", lam, arm]["test"] for arm in (a, b))
        return ratio(*arms).geometric

    lams = sorted({lam for _, lam, _ in trials}, key=float)
    assert lams == [f"{10 ** (-2 + i / 10):.4g}" for i in range(41)]
    assert f"at all {len(lams)} values" in README
    best = min(
        (over(lam, "growing-plain", "grown-plain") for lam in lams), key=lambda one: one.estimate
    )
    middle, low, high = interval_of(best)
    assert f"({middle} [{low}, {high}] at best)" in README
    for lam in lams:
        one = over(lam, "growing", "grown-input-1")
        assert one.estimate > 1
        assert (one.low < 1) == (0.1 <= float(lam) < 1.26)
        plain, paper = over(lam, "growing-plain", "grown-plain"), over(lam, "growing", "grown")
        assert plain.high > 1
        assert (plain.low > 1) == (float(lam) <= 0.04)
        assert (paper.low > 1) == (float(lam) <= 0.02)
        assert (paper.high < 1) == (0.07 < float(lam) <= 26)
        assert (paper.estimate < 0.5) == (0.1 <= float(lam) < 0.33)


def test_the_text_on_the_diversity_of_growing_networks_agrees_with_the_tables():
    looks = fashion.read_seeds(HERE / "fashion" / "seeds.csv.gz")

    def last(column, width, digits):
        arms = {arm: found[column][-1].mean() for (w, _, arm), found in looks.items() if w == width}
        return [rounded(arms[arm], digits) for arm in ("random", "decorrelated", "full")]

    random, decorrelated, full = last("correlation", 32, 2)
    assert (
        f"|correlation| of {random} (random) and {decorrelated} (decorrelated), beside {full}"
        in TEXT
    )
    random, decorrelated, full = last("rank", 32, 1)
    assert f"is not higher: it is {random} and {decorrelated} beside {full}." in TEXT
    alike, rank = last("correlation", 16, 2), last("rank", 16, 1)
    assert (
        f"{alike[0]} and {alike[1]} beside {alike[2]}, with a rank of {rank[0]} and {rank[1]} beside "
        f"{rank[2]}"
    ) in TEXT


def test_the_text_on_decov_beside_growth_agrees_with_the_tables():
    plain, decov = (
        fashion.read_seeds(HERE / name / "seeds.csv.gz") for name in ("fashion", "fashion-decov")
    )
    gained = {
        arm: difference(decov[32, 200, arm]["accuracy"][-1], plain[32, 200, arm]["accuracy"][-1])
        for arm in ("full", "random")
    }
    assert gained["full"].low > 0  # "Decov helps the full-size network and hinders growth"
    assert gained["random"].high < 0
    accuracy, rank = (
        {arm: decov[32, 200, arm][column][-1].mean() for arm in ("full", "random")}
        for column in ("accuracy", "rank")
    )
    assert f"rises to {rounded(accuracy['full'], 4)} (rank {rank['full']:.0f})" in TEXT
    assert f"falls to {rounded(accuracy['random'], 4)} (rank {rank['random']:.0f})" in TEXT
    for name, lost in (("fashion-decov", 1.9), ("fashion-he", 0.17)):
        looks = fashion.read_seeds(HERE / name / "seeds.csv.gz")
        full, grown = (looks[32, 200, arm]["accuracy"][-1] for arm in ("full", "random"))
        assert 100 * (full - grown).mean() == pytest.approx(lost, abs=0.05)


def test_the_text_on_the_controls_of_the_quadratic_agrees_with_the_tables():
    trials = auxiliary_study.read_trials(HERE / "controls-quadratic" / "trials.csv.gz")
    losses = {arm: columns["test"] for (_, _, arm), columns in trials.items()}
    grown, one = losses["grown"], losses["grown-input-1"]
    assert grown.mean() / one.mean() == pytest.approx(47, abs=0.5)
    assert geometric(grown) / geometric(one) == pytest.approx(2.2, abs=0.05)
    for mean in (np.mean, geometric):
        assert min(losses, key=lambda arm: mean(losses[arm])) == "input-ramps"
    gates, beside = ratio(losses["gate-ramps"], grown), ratio(losses["growing"], one)
    assert gates.means.estimate > 1
    assert gates.geometric.estimate > 1
    interval = beside.geometric
    assert [f"{v:.2f}" for v in (interval.estimate, interval.low, interval.high)] == [
        *("1.11", "0.74", "1.85")
    ]


def test_the_text_on_the_controls_of_step_agrees_with_the_tables():
    trials = auxiliary_study.read_trials(HERE / "controls-step" / "trials.csv.gz")
    losses = {arm: columns["test"] for (_, _, arm), columns in trials.items()}
    for mean in (np.mean, geometric):
        assert min(losses, key=lambda arm: mean(losses[arm])) == "grown-input-1"
    beside = ratio(losses["growing"], losses["grown-input-1"])
    middle, low, high = interval_of(beside.means)
    assert f"better than growing ({middle} [{low}, {high}] for growing over it)" in TEXT
    assert beside.means.low > 1
    assert beside.geometric.low > 1
    for arm in ("gate-ramps", "input-ramps"):
        found = ratio(losses[arm], losses["grown"])
        assert found.means.low < 1 < found.means.high
        assert found.geometric.low < 1 < found.geometric.high


@pytest.mark.parametrize("task", ["cubic", "bessel-sum", "quadratic-2"])
def test_the_text_on_the_controls_of_three_more_tasks_agrees_with_the_tables(task):
    trials = auxiliary_study.read_trials(HERE / f"controls-{task}" / "trials.csv.gz")
    losses = {arm: columns["test"] for (_, _, arm), columns in trials.items()}
    gates, inputs = (ratio(losses[arm], losses["grown"]) for arm in ("gate-ramps", "input-ramps"))
    growing = ratio(losses["growing"], losses["grown-input-1"])
    assert gates.means.low > 1
    assert gates.geometric.low > 1
    assert inputs.means.high < 1
    assert inputs.geometric.high < 1
    for found in (growing.means, growing.geometric):
        if task == "quadratic-2":
            assert found.low < 1 < found.high
        else:
            assert found.low > 1
            assert 1.445 <= found.estimate <= 1.675
    for mean in (np.mean, geometric):
        best = min(losses, key=lambda arm: mean(losses[arm]))
        assert (best == "input-ramps") == (task == "quadratic-2")


def test_the_text_on_spirals_agrees_with_the_tables():
    seeds = mask_study.read_seeds(HERE / "mask-spirals" / "seeds.csv.gz")
    rates, arms = (0.001, 0.01, 0.03), ("gate", "gate-closed", "mask", "mask-closed")
    found = {key[2:]: columns for key, columns in seeds.items()}
    assert set(found) == {(lr, arm) for lr in rates for arm in ("static", *arms)}
    ahead = {
        (lr, arm): difference(found[lr, arm]["test"], found[lr, "static"]["test"])
        for lr in rates
        for arm in arms
    }
    middle, low, high = (
        f"{100 * v:.1f}" for v in map(vars(ahead[0.001, "gate"]).get, ("estimate", "low", "high"))
    )
    assert f"the released gate is {middle} points [{low}, {high}] ahead" in TEXT
    opened, closed = (f"{100 * ahead[0.001, arm].estimate:.1f}" for arm in ("mask", "mask-closed"))
    assert f"true mask is {opened} points ahead (open) and {closed} (closed)" in TEXT
    alike = difference(found[0.001, "gate"]["test"], found[0.001, "gate-closed"]["test"])
    assert alike.low < 0 < alike.high
    for arm in arms:
        assert ahead[0.001, arm].low > 0
        for lr in (0.01, 0.03):
            assert ahead[lr, arm].low < 0 < ahead[lr, arm].high
    means = {key: columns["test"].mean() for key, columns in found.items()}
    fast = [value for (lr, _), value in means.items() if lr == 0.01]
    assert f"and none is ahead**: {rounded(min(fast), 3)} to {rounded(max(fast), 3)}," in TEXT
    slow = max(value for (lr, _), value in means.items() if lr == 0.001)
    assert min(value for (lr, _), value in means.items() if lr > 0.001) > slow
    gained = means[0.01, "static"] - means[0.001, "static"]
    assert f"Static itself gains {100 * gained:.1f} points" in TEXT
    assert round(gained / ahead[0.001, "gate"].estimate) == 3
    best = {arm: mask_study.best_rate("spirals", arm, rates, found) for arm in ("static", *arms)}
    assert set(best.values()) == {0.01}
    odd = {arm: found[0.01, arm]["test"][1::2] for arm in best}
    tuned = {arm: difference(odd[arm], odd["static"]) for arm in arms}
    assert all(tuned[arm].low < 0 < tuned[arm].high for arm in arms[:3])
    behind = tuned["mask-closed"]
    shown = [rounded(-100 * value) for value in (behind.estimate, behind.high, behind.low)]
    assert f"the closed mask is {shown[0]} points [{shown[1]}, {shown[2]}] behind" in TEXT


def test_the_text_on_the_widths_of_masks_agrees_with_the_tables():
    seeds = mask_study.read_seeds(HERE / "mask-widths" / "seeds.csv.gz")
    widths, rates = (10, 32, 128), (0.001, 0.01)
    found = {key[1:]: columns for key, columns in seeds.items()}

    def over(width, lr, arm):
        return ratio(found[width, lr, arm]["test"], found[width, lr, "static"]["test"]).geometric

    arms = {"mask": "the mask", "mask-closed": "the closed mask", "gate": "the released gate"}
    slow = {arm: [over(width, 0.001, arm) for width in widths] for arm in arms}
    for arm, name in arms.items():
        a, b, c = (f"{one.estimate:.2g}".removeprefix("0") for one in slow[arm])
        assert f"{a}, {b} and {c} for {name}," in TEXT
        assert all(one.high < 1 for one in slow[arm][: 2 if arm == "gate" else 3])
    assert slow["gate"][2].low > 1
    fast = {arm: [over(width, 0.01, arm) for width in widths] for arm in slow}
    a, b, c = (rounded(fast[arm][0].estimate) for arm in ("gate", "mask", "mask-closed"))
    assert f"ratios of {a} (gate), {b} (mask) and {c} (closed mask)" in TEXT
    for arm, (narrow, *wide) in fast.items():
        assert narrow.high < 1
        if arm != "gate":
            assert all(one.low < 1 < one.high for one in wide)
    gate = fast["gate"][2]
    assert f"by a factor of {gate.estimate:.1f} [{gate.low:.1f}, {gate.high:.0f}]" in TEXT
    best = {
        (width, arm): mask_study.best_rate(
            *("bessel", arm, rates, {key[1:]: v for key, v in found.items() if key[0] == width})
        )
        for width in widths
        for arm in ("static", *slow)
    }
    assert {best[10, arm] for arm in ("static", *slow)} == {0.01}
    assert {best[128, arm] for arm in ("static", *slow)} == {0.001}
    odd = (mask_study.held_out(found[128, 0.001, arm])["test"] for arm in ("mask", "static"))
    held = ratio(*odd).geometric
    assert f"({points(held, 0.01)})" in TEXT
    assert 1 / held.estimate == pytest.approx(5, abs=0.5)


def test_the_text_on_three_rates_at_width_32_agrees_with_the_tables():
    seeds = mask_study.read_seeds(HERE / "mask-width-32" / "seeds.csv.gz")
    found, rates = {key[2:]: columns for key, columns in seeds.items()}, (0.001, 0.003, 0.01)
    arms = ("static", "mask", "mask-closed", "gate")
    best = {arm: mask_study.best_rate("bessel", arm, rates, found) for arm in arms}
    assert best["static"] == 0.003
    odd = {arm: mask_study.held_out(found[best[arm], arm])["test"] for arm in arms}
    mask, closed, gate = (ratio(odd[arm], odd["static"]).geometric for arm in arms[1:])
    a, b = (f"of {1 / one.estimate:.0f} ({points(one, 0.01)})" for one in (mask, closed))
    assert f"better by a factor {a} and the closed mask {b};" in TEXT
    assert f"the gate does not differ ({points(gate, 0.01)})" in TEXT
    assert max(mask.high, closed.high) < 1 < gate.high


def test_the_text_on_the_widest_masks_agrees_with_the_tables():
    seeds = mask_study.read_seeds(HERE / "mask-widths-large" / "seeds.csv.gz")

    def over(width, arm):
        losses = (seeds["bessel", width, 0.001, one]["test"] for one in (arm, "static"))
        return ratio(*losses).geometric

    arms = ("gate", "mask", "mask-closed")
    widest = [over(512, arm) for arm in arms]
    assert all(found.low > 1 for found in widest)
    a, b, c = (f"{found.estimate:.1f}" for found in widest)
    assert f"by factors of {a} (gate), {b} (mask) and {c} (closed mask)" in TEXT
    gate, mask, closed = (over(256, arm) for arm in arms)
    assert f"the gate loses by {points(gate, 0.01, 1)}, the mask does not differ" in TEXT
    assert f"the closed mask wins ({points(closed, 0.01)})" in TEXT
    assert gate.low > 1 > closed.high
    assert f"({mask.estimate:.1f} [{rounded(mask.low)}, {rounded(mask.high)}])" in TEXT
    assert mask.low < 1 < mask.high


def test_the_text_on_the_decorrelated_start_agrees_with_the_tables():
    ours, he = (
        fashion.read_seeds(HERE / name / "seeds.csv.gz") for name in ("fashion", "fashion-he")
    )
    last = {
        arm: (ours[32, 200, arm]["accuracy"][-1], he[32, 200, arm]["accuracy"][-1])
        for arm in ("full", "random")
    }
    gained = {arm: points(difference(*both)) for arm, both in last.items()}
    beside = gained["full"].replace(" ", " points ", 1)
    assert f"full size {beside} and growth {gained['random']}." in TEXT
    full, grown = (one - other for one, other in last.values())
    assert f"difference of {points(difference(full, grown))} only just excludes 0" in TEXT
    assert difference(full, grown).low > 0
