"""python -m tinydiv.bench: what it times, and that it says what it leaves out. No test judges a speed."""

import json

import pytest

from tinydiv.bench import command as bench
from tinydiv.techniques import TECHNIQUES


@pytest.fixture
def briefly(monkeypatch):
    """Few steps a round: the numbers mean nothing, the rest is as ever."""
    measure = bench.measure
    monkeypatch.setattr(
        bench, "measure", lambda s, replicas, rounds, steps: measure(s, replicas, 3, 1)
    )


def test_every_technique_is_timed_that_one_network_can_have(briefly, capsys):
    assert bench.main(["--techniques", "--rounds", "3", "--json"]) == 0
    said = capsys.readouterr()
    rows = json.loads(said.out)
    assert [row["name"] for row in rows] == ["plain", *(n for n in TECHNIQUES if n != "consensus")]
    assert all(row["median_us"] > 0 and row["replicas"] == 1 for row in rows)
    assert rows[0]["ratio"] == 1
    assert said.err.startswith("tinydiv.bench: consensus is left out: consensus averages over")
    assert said.err.count("\n") == 1


def test_the_table_has_a_row_per_contender(briefly, capsys):
    assert bench.main(["--techniques", "--rounds", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "1 network at once"
    assert lines[2].split() == ["us/step/network", "(quartiles)", "time", "/", "plain"]
    assert len(lines) == 3 + len(TECHNIQUES)
    assert lines[3].startswith("plain ")
    assert lines[3].endswith(" 1.00")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--rounds", "2"], "--rounds must be a whole number from 3 to 100,000, got '2'"),
        (["--replicas", "0"], "--replicas must be a whole number from 1 to 100,000, got '0'"),
        (["--backend", "cuda"], "there is no backend called 'cuda'"),
    ],
)
def test_a_mistake_is_one_sentence_before_anything_is_timed(words, sentence, capsys):
    assert bench.main(words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert sentence in said.err
    assert said.err.count("\n") == 1
