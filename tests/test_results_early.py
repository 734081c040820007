"""The pages on paper, atlas and the unseen sets follow from the runs, by the rules of the plan."""

import csv
import gzip
import json
import random
import re
import runpy
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from test_results import check_again

from tinydiv.errors import UsageError

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "results"
NAN = float("nan")


@cache
def early():
    """The script's own names, so that a test can replace them."""
    return runpy.run_path(str(RESULTS / "early.py"))["main"].__globals__


KEPT = early()["kept_studies"]()
WIDTHS = [f"widths, hidden {size}" for size in ("8", "64", "16-16")]


def test_the_study_paper_is_kept():
    assert "paper" in KEPT


# The rules, on runs that are made up -----------------------------------------------------------------


def made_up(monkeypatch, arms, *, noise=0.001, seeds=20, partners=None, study="paper"):
    """The script with runs of these arms: {arm: points over plain, in each setting} or, with regimes,
    {arm: {regime: points}}. NaN: all networks diverged. Correlation falls by the gain."""
    module, rng = early(), np.random.default_rng(0)
    places = {}
    for regime in module["REGIMES"]:
        for j, setting in enumerate(module["NAMES"]):
            pairing = rng.normal(0, 0.02, seeds)
            for arm, points in {"plain": [0] * 4, **arms}.items():
                gain = (points[regime] if isinstance(points, dict) else points)[j] / 100
                accuracy = 0.8 + gain + pairing + rng.normal(0, noise, seeds)
                places[regime, setting, arm] = {
                    seed: dict.fromkeys(
                        ("early", "epoch1", "final"), "" if np.isnan(y) else f"{y:.6f}"
                    )
                    | dict.fromkeys(("correlation@epoch1", "correlation@final"), f"{0.8 - y:.6f}")
                    | {"diverged_step": "3" if np.isnan(y) else ""}
                    for seed, y in enumerate(accuracy)
                }
    of = dict.fromkeys(arms, "plain") | (partners or {})
    monkeypatch.setitem(module, "runs", lambda name: places)
    monkeypatch.setitem(module, "arms_of", lambda name: of)
    for name in ("compared", "over_settings"):
        monkeypatch.setitem(module, name, getattr(module[name], "__wrapped__", module[name]))
    return module, places


@pytest.mark.parametrize(
    ("gains", "word", "better", "worse"),
    [
        ([1, 1, 1, 1], "supported", 4, 0),
        ([1, 1, 1, 0], "supported", 3, 0),
        ([1, 1, 1, -1], "mixed", 3, 1),
        ([1, 1, 0, 0], "mixed", 2, 0),
        ([0.3, 0.3, 0.3, 0.3], "both", 4, 0),
        ([2, 0.3, 0.3, 0.3], "both", 4, 0),
        ([0.6, 0.6, 0.6, 0.6], "supported", 4, 0),
        ([0, 0, 0, 1], "refuted", 1, 0),
        ([0, 0, 1, 1], "mixed", 2, 0),
        ([-1, -1, -1, -1], "refuted", 0, 4),
        ([1, 1, 1, NAN], "none", 3, 0),
    ],
)
def test_a_verdict_follows_the_rules_of_the_plan(monkeypatch, gains, word, better, worse):
    module, _ = made_up(monkeypatch, {"muon": gains})
    assert module["verdict"]("paper", "default", "muon") == word
    ways = module["shown_ways"]("paper", "default", "muon", "early")
    assert [len(one) for one in ways] == [better, worse]


def test_what_is_not_shown_and_not_excluded_is_mixed(monkeypatch):
    """The mean gain is small, and one of half a point lies in every interval."""
    module, _ = made_up(monkeypatch, {"muon": [0] * 4}, noise=0.012)
    found = [
        module["compared"]("paper", "default", one, "early")["muon"] for one in module["NAMES"]
    ]
    assert sum(one.difference < 0.005 for one in found) >= 3
    assert module["verdict"]("paper", "default", "muon") == "mixed"


def test_one_of_many_arms_is_not_shown_by_its_own_p_alone(monkeypatch):
    arms = {f"arm {i}": [0, 0, 0, 0] for i in range(30)} | {"muon": [0.9] * 4}
    module, _ = made_up(monkeypatch, arms, noise=0.008)
    one = module["compared"]("paper", "default", "mnist, sgd", "early")["muon"]
    assert one.p < 0.05 < one.p_holm
    assert not one.shown


def test_an_arm_is_compared_with_its_own_partner_in_its_own_regime(monkeypatch):
    regimes = {"default": [1, 1, 1, 1], "tuned": [-1, -1, -1, -1]}
    arms = {"glorot": [1, 1, 1, 1], "glorot + centring": regimes}
    module, _ = made_up(monkeypatch, arms, partners={"glorot + centring": "glorot"})
    found = module["compared"]("paper", "default", "mnist, sgd", "early")
    assert found["glorot"].difference == pytest.approx(0.01, abs=0.001)
    assert found["glorot + centring"].difference == pytest.approx(0, abs=0.001)
    assert module["verdict"]("paper", "default", "glorot") == "supported"
    assert module["verdict"]("paper", "default", "glorot + centring") == "refuted"
    module, _ = made_up(monkeypatch, {"muon": regimes})
    assert module["verdict"]("paper", "default", "muon") == "supported"
    assert module["verdict"]("paper", "tuned", "muon") == "refuted"
    module, _ = made_up(monkeypatch, arms, partners={"glorot + centring": "glorot"})
    assert (
        module["over_settings"]("paper", "tuned", "glorot + centring", "early").difference < -0.01
    )


@pytest.mark.parametrize(("many", "word"), [(2, "supported"), (3, "none")])
@pytest.mark.parametrize("whose", ["muon", "plain"])
def test_more_than_a_tenth_of_lost_pairs_leaves_no_verdict(monkeypatch, many, word, whose):
    module, places = made_up(monkeypatch, {"muon": [1, 1, 1, 1]})
    for seed in range(5, 5 + many):
        places["default", "mnist, sgd", whose][seed] = {
            **places["default", "mnist, sgd", whose][seed],
            **{"early": "", "final": ""},
        }
    assert module["verdict"]("paper", "default", "muon") == word
    assert module["compared"]("paper", "default", "mnist, sgd", "early")["muon"].n == 20 - many
    over = module["over_settings"]("paper", "default", "muon", "early")
    assert over is None if word == "none" else over.n == 20 - many


def test_pairs_are_matched_by_seed(monkeypatch):
    module, places = made_up(monkeypatch, {"muon": [1, 1, 1, 1]})
    del places["default", "mnist, sgd", "muon"][0]
    del places["default", "mnist, sgd", "plain"][19]
    one = module["compared"]("paper", "default", "mnist, sgd", "early")["muon"]
    assert one.n == 18
    assert module["lost"]("paper", "default", "mnist, sgd", "muon") == 0  # missing is not diverged
    assert one.interval.high - one.interval.low < 0.002  # pairs that do not belong vary by 4 points


def test_a_claim_about_diversity_needs_both_at_the_same_moment(monkeypatch):
    module, places = made_up(monkeypatch, {"muon": [2, 2, 2, 2], "decov": [2, 2, 0, 0]})
    assert module["diverse"]("paper", "default", "muon", "epoch1")
    assert not module["diverse"]("paper", "default", "decov", "epoch1")
    for arm, value in (("decov", "-0.9"), ("muon", "0.9")):
        for row in places["default", "mnist, sgd", arm].values():
            row["correlation@epoch1"] = value
    # It fell in three settings, and accuracy rose in two of these.
    assert not module["diverse"]("paper", "default", "decov", "epoch1")
    # It rose in one of the four where accuracy rose.
    assert not module["diverse"]("paper", "default", "muon", "epoch1")
    assert module["diverse"]("paper", "default", "muon", "final")


def test_every_seed_s_difference_is_averaged_over_the_settings(monkeypatch):
    module, _ = made_up(monkeypatch, {"muon": [1, 2, 3, 6]})
    one = module["over_settings"]("paper", "tuned", "muon", "early")
    assert (one.n, one.difference) == (20, pytest.approx(0.03, abs=0.001))


def test_a_technique_has_to_beat_the_best_cheap_baseline(monkeypatch):
    arms = {"momentum": [2] * 4, "adam": [NAN] * 4, "batch norm": [1] * 4, "muon": [3] * 4}
    module, _ = made_up(monkeypatch, arms)
    best, found = module["against_cheap"]("paper", "mnist, sgd")
    assert (best, list(found)) == ("momentum", ["muon"])
    assert found["muon"].difference == pytest.approx(0.01, abs=0.001)
    assert module["helpers_in"]("paper") == ["muon"]  # baselines are no techniques


def test_the_most_telling_arms_are_the_largest_both_ways_with_three_of_a_family(monkeypatch):
    arms = {"decov": [1] * 4, "muon": [-3] * 4, "momentum": [2] * 4, "orthogonal": [0.1] * 4}
    arms |= {"cosine": [NAN] * 4, "decov, lambda 0": [-9] * 4, "he x (2, 1)": [8] * 4}
    module, _ = made_up(monkeypatch, arms)
    monkeypatch.setitem(module, "kept_studies", lambda: ["paper"])
    names = [arm for _, arm in module["telling"]()]
    assert names == ["momentum", "decov", "orthogonal", "muon"]
    monkeypatch.setitem(module, "OF_ONE_FAMILY", 0)
    assert module["telling"]() == []
    table = [arm for _, arm in module["everything"]()]
    assert table[:3] == ["momentum", "he x (2, 1)", "orthogonal"]  # kind by kind
    assert table[3:] == ["decov", "muon", "decov, lambda 0", "cosine"]


def test_diversity_is_related_to_accuracy_with_its_sign_and_holm_over_all(monkeypatch):
    module, places = made_up(monkeypatch, {})
    for (_, setting, _), rows in places.items():
        for seed, row in rows.items():
            row |= {f"{metric}@final": str(seed % 7) for metric in module["METRICS"]}
            row["dead_fraction@final"] = "0"
            if setting.startswith("mnist"):
                row["effective_rank@final"] = row["weight_cosine@final"] = row["final"]
    found = module["relations"]("paper")
    assert len(found) == 16
    one, p = found["mnist, sgd", "effective_rank"]
    assert one.estimate == pytest.approx(1)
    assert p == pytest.approx(16 / 10_000)
    assert found["mnist, adam", "dead_fraction"] == (None, 1.0)
    lines = module["relations_table"]("paper").split("\n")
    ends = {line.split(" | ")[0].strip("| "): line.split(" | ")[-1] for line in lines}
    assert ends["effective rank"] == "supported |"
    assert ends["weight cosine"] == "not supported |"  # shown twice, with the other sign


def test_the_p_value_of_a_rank_correlation_is_the_share_of_orders_that_reach_it():
    permuted = early()["permuted"]
    assert permuted(np.arange(5.0), np.arange(5.0)) == pytest.approx(2 / 120, abs=0.005)
    assert permuted(np.arange(9.0), np.abs(np.arange(9.0) - 4)) > 0.9


@pytest.mark.parametrize(("planted", "words"), [(1, "8 of 8"), (0, "0 of 8")])
def test_a_study_whose_planted_effect_is_lost_is_void(monkeypatch, planted, words):
    arms = {"A/A": [0] * 4, "one epoch ahead": [planted] * 4}
    module, places = made_up(monkeypatch, arms, seeds=50, noise=0.005)
    for place, rows in list(places.items()):
        if place[2] == "A/A":  # its seeds are others
            places[place] = {10**10 + seed: row for seed, row in rows.items()}
    places["default", "mnist, sgd", "plain"][12]["early"] = (
        ""  # it diverged, so its group is left out
    )
    said = module["controls_words"]("paper")
    assert words in said
    assert "9 p values" in said
    assert ("void" in said) == (not planted)


def test_an_unfinished_study_says_so(monkeypatch):
    module, places = made_up(monkeypatch, {"muon": [1] * 4}, seeds=50)
    assert "finished." in module["unfinished"]("paper")
    del places["tuned", "mnist, sgd", "muon"][3]
    assert "Not finished:** 50 seeds (default), 49 seeds (tuned)" in module["unfinished"]("paper")


def test_numbers_are_kept_to_six_digits_and_seeds_whole():
    rounded = early()["rounded"]
    assert [rounded(text) for text in ("0.12345678", "10000000003", "nan", "mnist, sgd", "")] == [
        *("0.123457", "10000000003", "nan", "mnist, sgd", "")
    ]


@pytest.mark.parametrize("name", ["minima", "widths"])
def test_another_study_is_not_kept(tmp_path, name):
    (tmp_path / "study.json").write_text(json.dumps({"study": {"name": name}}))
    with pytest.raises(UsageError, match=f"holds {name}; allowed: paper, atlas"):
        early()["main"]([str(tmp_path)])


# What is kept -----------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("name", KEPT)
def test_the_verdict_is_made_again_from_the_kept_runs(name):
    assert early()["written"](name) == (RESULTS / name / "verdict.md").read_text("utf-8")


def test_the_map_is_made_again_from_the_kept_runs():
    assert early()["map_page"]() == (RESULTS / "atlas" / "map.md").read_text("utf-8")


def test_the_readme_s_table_of_techniques_is_made_of_them():
    text = (ROOT / "README.md").read_text("utf-8")
    assert early()["readme_table"]() in text
    assert early()["with_table"](text) == text


@pytest.mark.parametrize("name", [*KEPT, "widths"])
def test_the_text_quotes_its_tables(name):
    """Rows are those of a table, and so is every difference with its interval."""
    text = (RESULTS / name / "README.md").read_text("utf-8")
    tables = (RESULTS / name / "verdict.md").read_text("utf-8")
    tables += (RESULTS / "atlas" / "map.md").read_text("utf-8")
    rows = [line for line in text.split("\n") if line.startswith("| ")]
    quoted = re.findall(r"[+-]\d[\d.]* \[[^]]+\]", text)
    assert rows
    assert quoted
    assert [line for line in rows if line not in tables.split("\n")] == []
    assert [words for words in quoted if words not in tables] == []


@pytest.mark.parametrize("name", [*KEPT, *WIDTHS])
def test_random_networks_are_trained_again(name, tmp_path):
    """Eight of thousands. The correlation grows apart most, hence it is compared after 100 steps alone."""
    runs = early()["runs"](name)
    arms = {"plain", *early()["arms_of"](name)}
    place = random.choice([one for one in runs if one[0] == "default" and one[2] in arms])
    near = {"step50": 0.002, "step100": 0.002, "correlation@step100": 0.002}
    near |= {"early": 0.02, "final": 0.03}
    kept = list(runs[place].values())
    check_again(early()["study_of"](name), kept, near, tmp_path, early()["mean_of_layers"])


@pytest.mark.parametrize("name", [*KEPT, *WIDTHS])
def test_the_curves_end_where_the_rows_do(name):
    runs = early()["runs"](name)
    folder = RESULTS / name.partition(", ")[0]
    with gzip.open(folder / "curves.csv.gz", "rt", newline="") as file:
        ends = {
            (row["regime"], row["setting"], row["arm"], int(row["seed"])): row["test_accuracy"]
            for row in csv.DictReader(file)
            if row["epoch"] == "5"
        }
    whole = {
        (place[0], row["setting"], place[2], seed): row["final"]
        for place, rows in runs.items()
        for seed, row in rows.items()
        if not row["diverged_step"]
    }
    assert {place: end for place, end in ends.items() if place in whole} == whole
