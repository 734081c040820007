"""The numbers in results/carried_over are those of its runs, and one of the runs is reproduced."""

import csv
import gzip
import re
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent.parent / "results" / "carried_over"


@pytest.fixture
def tables(monkeypatch):
    """tables.py, which takes its names from measure.py, which needs PyTorch and scikit-learn."""
    pytest.importorskip("torch", reason="PyTorch is not installed: extra [torch]")
    pytest.importorskip("sklearn", reason="scikit-learn is not installed: extra [bench]")
    monkeypatch.syspath_prepend(HERE)
    yield __import__("tables")
    for name in ("tables", "measure"):
        sys.modules.pop(name, None)


def kept():
    """The comparisons that are in the repository, by (set, regime, readout, arm, base)."""
    with (HERE / "comparisons.csv").open(newline="") as rows:
        return {
            tuple(row[key] for key in ("set", "regime", "readout", "arm", "base")): row
            for row in csv.DictReader(rows)
        }


def test_the_table_is_that_of_the_runs(tables):
    """Rebuilt for one set; all of it is rebuilt by the command."""
    values, _ = tables.runs()
    some = {key: value for key, value in values.items() if key[0] == "digits"}
    found, rows = list(tables.comparisons(some)), kept()
    assert len(found) == 70
    for name, regime, readout, one in found:
        row = rows[name, regime, readout, one.arm, one.base]
        for number, key in (
            (one.difference, "difference"),
            (one.interval.low, "low"),
            (one.p, "p"),
        ):
            assert float(row[key]) == pytest.approx(number, abs=2e-6, rel=1e-2)
        assert one.shown == bool(int(row["shown"]))


def test_one_run_comes_out_again(tables):
    with gzip.open(HERE / "tables.csv.gz", "rt", newline="") as rows:
        runs = [row for row in csv.DictReader(rows) if row["set"] == "wine"]
    row = runs[731]
    optimizer = row["regime"].split()[0]
    early, final = tables.measure_one(
        row["set"], optimizer, float(row["rate"]), row["start"], int(row["seed"])
    )
    assert early == pytest.approx(
        float(row["early"]), abs=0.02
    )  # another PyTorch may round otherwise
    assert final == pytest.approx(float(row["final"]), abs=0.04)


def test_the_numbers_in_the_text_are_those_of_the_table():
    """ "39.4 points (digits, sgd 0.01, decorrelated - pytorch)": every number names its cell."""
    text = (HERE / "README.md").read_text(encoding="utf-8")
    text = " ".join(text.split())
    cited = re.findall(r"([+-]\d+\.\d) \(([\w-]+), ([\w. ]+), ([\w@-]+) - ([\w@-]+)\)", text)
    assert len(cited) >= 20
    rows = kept()
    for number, name, regime, arm, base in cited:
        row = rows[name, regime, "early", arm, base]
        assert f"{100 * float(row['difference']):+.1f}" == number, (name, regime, arm, base)


def test_the_counts_on_the_image_sets_are_those_of_the_table():
    text = " ".join((HERE / "README.md").read_text(encoding="utf-8").split())
    rows = [
        row
        for row in kept().values()
        if row["readout"] == "early" and row["set"] in ("fashion-mnist", "mnist")
    ]
    assert {row["n"] for row in rows} == {"20"}
    groups = {
        "mage sets, untuned": [
            r for r in rows if r["arm"] == "decorrelated" and not r["regime"].endswith("tuned")
        ],
        "mage sets, tuned": [
            r for r in rows if r["arm"] == "decorrelated" and r["regime"].endswith("tuned")
        ],
        "mage sets, equal scale": [r for r in rows if r["arm"] != "decorrelated"],
    }
    for words, some in groups.items():
        shown = [row for row in some if int(row["shown"])]
        above = sum(float(row["difference"]) > 0 for row in shown)
        sentence = (
            f"{words}: shown above zero in {above} of {len(some)}, below in {len(shown) - above}"
        )
        assert sentence in text
    not_shown = {
        (row["set"], row["regime"]) for row in groups["mage sets, untuned"] if not int(row["shown"])
    }
    assert not_shown == {("fashion-mnist", "sgd 0.1")}


def test_the_counts_in_the_text_are_those_of_the_table():
    text = (HERE / "README.md").read_text(encoding="utf-8")
    rows = [
        row
        for row in kept().values()
        if row["readout"] == "early" and row["set"] in ("iris", "wine", "breast_cancer", "digits")
    ]
    own = [row for row in rows if row["arm"] == "decorrelated"]
    for regimes, words in (("untuned", "untuned"), ("tuned", "tuned")):
        some = [row for row in own if row["regime"].endswith("tuned") == (regimes == "tuned")]
        shown = [row for row in some if int(row["shown"])]
        above = [row for row in shown if float(row["difference"]) > 0]
        assert (
            f"{words}: shown above zero in {len(above)} of {len(some)}, below in {len(shown) - len(above)}"
            in text
        )
    equal = [row for row in rows if row["arm"] != "decorrelated"]
    shown = [row for row in equal if int(row["shown"])]
    above = [row for row in shown if float(row["difference"]) > 0]
    words = f"equal scale: shown above zero in {len(above)} of {len(equal)}"
    assert f"{words}, below in {len(shown) - len(above)}" in text
    means = {(r["set"], r["regime"], r["base"]): float(r["base_mean"]) for r in own}
    for name, regime, base in means:
        if base == "orthogonal":
            other = means[name, regime, "preferential-attachment"]
            assert abs(means[name, regime, base] - other) < 0.02
