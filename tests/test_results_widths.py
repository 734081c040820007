"""The page on widths and depth follows from the runs, and its arms are those of paper and atlas."""

import sys
from pathlib import Path

import pytest

from tinydiv.errors import UsageError
from tinydiv.study import load_study

RESULTS = Path(__file__).parent.parent / "results"


@pytest.fixture(scope="module")
def widths():
    """The script, which imports the one beside it."""
    sys.path.insert(0, str(RESULTS))
    try:
        import widths as module
    finally:
        sys.path.remove(str(RESULTS))
    return module


def test_the_arms_are_those_that_the_rule_of_the_plan_chose(widths):
    chosen = widths.early.telling()
    assert widths.arms() == [arm for _, arm in chosen]
    for name, arm in chosen:
        ours, theirs = widths.early.arm_of(widths.WIDTHS, arm), load_study(name).arm(arm)
        assert ours == theirs


def test_everything_but_the_size_is_as_in_paper(widths):
    ours, paper = widths.early.study_of(widths.WIDTHS), load_study("paper")
    assert ours.seeds == widths.SEEDS
    assert ours.measure == paper.measure
    assert ours.grid == {"hidden": [[8], [64], [16, 16]], **paper.grid}
    theirs = {key: value for key, value in paper.train.items() if key != "hidden"}
    assert ours.train == theirs


def test_two_layers_are_read_by_their_mean(widths):
    row = {"correlation.1@final": "0.25", "correlation.2@final": "0.75", "early": "0.5"}
    assert widths.early.mean_of_layers(row) == {"correlation@final": "0.5"}
    assert widths.early.mean_of_layers({"correlation@final": "0.5"}) == {}
    row["correlation.2@final"] = ""  # the network diverged
    assert widths.early.mean_of_layers(row) == {}
    runs = widths.early.runs("widths, hidden 16-16")
    one = runs["default", "mnist, sgd", "decov"][0]
    layers = [float(one[f"correlation.{layer}@final"]) for layer in (1, 2)]
    assert float(one["correlation@final"]) == pytest.approx(sum(layers) / 2)


def test_every_size_is_whole(widths):
    page = (RESULTS / "widths" / "verdict.md").read_text("utf-8")
    assert widths.new() == widths.NEW
    for size, name in widths.NEW.items():
        runs = widths.early.runs(name)
        arms = {"plain", "A/A", "one epoch ahead", *widths.arms()}
        assert set(runs) == {("default", one, arm) for one in widths.NAMES for arm in arms}
        assert {len(rows) for rows in runs.values()} == {20}
        assert f"## {size}\n" in page


def test_a_size_that_is_not_whole_is_not_shown(widths, monkeypatch):
    every = {name: widths.early.runs(name) for name in widths.NEW.values()}
    name = widths.NEW["784-8-10"]
    place, rows = next(iter(every[name].items()))
    less = {**every, name: {**every[name], place: dict(list(rows.items())[1:])}}
    monkeypatch.setattr(widths.early, "runs", less.get)
    assert list(widths.new()) == ["784-64-10", "784-16-16-10"]
    assert widths.sizes() == ["784-16-10", "784-64-10", "784-16-16-10"]


@pytest.mark.long
def test_the_verdict_is_made_again_from_the_kept_runs(widths):
    assert widths.written() == (RESULTS / "widths" / "verdict.md").read_text("utf-8")


def test_each_size_is_compared_with_its_own_plain_network(widths):
    for size, name in widths.new().items():
        for setting in widths.NAMES:
            mine, plain = (
                widths.early.values(name, "default", setting, arm, "early")
                for arm in ("muon", "plain")
            )
            mean = sum(mine[seed] - plain[seed] for seed in plain) / len(plain)
            one = widths.early.compared(name, "default", setting, "early")["muon"]
            assert one.difference == pytest.approx(mean, abs=1e-9), (size, setting)


def test_a_folder_of_another_study_or_two_folders_are_refused(widths, tmp_path):
    (tmp_path / "study.json").write_text('{"study": {"name": "minima"}}')
    with pytest.raises(UsageError, match="holds minima; allowed: widths"):
        widths.main([str(tmp_path)])
    with pytest.raises(UsageError, match="one folder; got 2"):
        widths.main(["one", "two"])
