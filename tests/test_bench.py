"""python -m tests.bench: what it times, and that it says what it leaves out. No test judges a speed."""

import json
import re
from dataclasses import replace

import pytest
from bench import command as bench
from bench import peers as peers_module
from bench.in_torch import NAMES
from bench.job import Job
from bench.ours import Ours, ours
from bench.peers import peers
from helpers import refused

from tinydiv.errors import RunError
from tinydiv.techniques import TECHNIQUES


@pytest.fixture
def briefly(monkeypatch):
    """Few steps a round: the numbers mean nothing, the rest is as ever."""
    measure = bench.measure
    monkeypatch.setattr(
        bench, "measure", lambda s, replicas, rounds, seconds: measure(s, replicas, 3, 0)
    )


def test_every_technique_is_timed_that_one_network_can_have(briefly, capsys):
    assert bench.main(["--techniques", "--rounds", "3", "--json"]) == 0
    printed = capsys.readouterr()
    rows = json.loads(printed.out)
    left = re.findall(r"^tests.bench: (\S+) is left out: ", printed.err, re.MULTILINE)
    assert [row["name"] for row in rows] == ["plain", *(n for n in TECHNIQUES if n not in left)]
    assert "consensus" in left
    assert len(left) < 5
    assert all(row["median_us"] > 0 and row["replicas"] == 1 for row in rows)
    assert rows[0]["ratio"] == 1
    assert "consensus is left out: consensus averages over" in printed.err
    assert printed.err.count("\n") == len(left)


def test_the_table_has_a_row_per_contender(briefly, capsys):
    assert bench.main(["--techniques", "--rounds", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "1 network at once"
    assert lines[2].split() == ["us/step/network", "(quartiles)", "time", "/", "plain"]
    assert len(TECHNIQUES) - 2 <= len(lines) <= 3 + len(TECHNIQUES)
    assert lines[3].startswith("plain ")
    assert lines[3].endswith(" 1.00")


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize(("replicas", "hidden"), [(1, (5,)), (3, (5,)), (3, (5, 4))])
def test_every_contender_gives_the_same_fifty_losses(replicas, hidden, optimizer):
    pytest.importorskip("torch")
    job = Job(replicas, (20, *hidden, 4), batch=8, optimizer=optimizer, dtype="float64")
    makers = ours(job, 2) | {
        name: make for name, make in peers(job, gpu=False, quick=True).items() if "JAX" not in name
    }
    wanted = {"tinydiv", "PyTorch eager", "PyTorch fused"}
    assert wanted <= set(makers)
    first = Ours(job).steps(50)
    assert first.shape == (50, replicas)
    for name, make in makers.items():
        one = make()
        bench.agree(name, one.steps(50), first)
        getattr(one, "close", int)()
    with pytest.raises(RunError, match="mine and tinydiv compute different losses in 50 steps"):
        bench.agree("mine", first * (1 + 1e-8), first)


@pytest.mark.parametrize("technique", NAMES)
@pytest.mark.parametrize("replicas", [1, 3])
def test_a_technique_gives_the_same_fifty_losses_in_pytorch(replicas, technique):
    pytest.importorskip("torch")
    job = Job(replicas, (20, 6, 5, 4), 32, "sgd", technique, dtype="float64")
    first, plain = (Ours(one).steps(50) for one in (job, replace(job, technique="")))
    assert abs(first - plain).max() > 1e-3
    makers = peers(job, gpu=False, quick=False)
    assert set(makers) == {"PyTorch eager", "PyTorch fused"}
    for name, make in makers.items():
        bench.agree(name, make().steps(50), first)


def test_a_run_prints_and_keeps_every_contender_beside_the_floor(
    briefly, monkeypatch, capsys, tmp_path
):
    monkeypatch.setattr(peers_module, "find_spec", lambda name: name == "torch")
    pytest.importorskip("torch")
    words = ["--replicas", "2", "--hidden", "3", "--batch-size", "4", "--quick", "--rounds", "3"]
    assert bench.main([*words, "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    for name in ("tinydiv ", "PyTorch eager", "PyTorch fused", "PyTorch vmap", "floor"):
        assert f"\n{name}" in printed.out
    assert printed.err == ""
    rows = (tmp_path / "out" / "bench.csv").read_text().splitlines()
    assert rows[0] == "name,replicas,median_us,low_us,high_us,ratio"
    assert len(rows) == len(printed.out.splitlines()) - 2
    assert (tmp_path / "out" / "bench.png").stat().st_size > 5000


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_who_does_other_work_is_not_timed(dtype, monkeypatch):
    class Slower(Ours):
        def steps(self, n):
            return super().steps(n) if self.job.dtype != dtype else super().steps(n) + 0.01

    monkeypatch.setattr(peers_module, "peers", lambda *args: {"slower": lambda: Slower(args[0])})
    with pytest.raises(RunError, match="slower and tinydiv compute different losses"):
        bench.compare(Job(1, (20, 5, 4), batch=8), rounds=3, gpu=False, quick=True)


def test_on_a_gpu_nothing_is_compared_with_a_cpu(monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setattr(peers_module, "_torch_sees_a_gpu", lambda: False)
    with pytest.raises(RunError, match="PyTorch sees no GPU"):
        peers(Job(1), gpu=True, quick=True)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--rounds", "2"], "--rounds must be a whole number from 3 to 100,000, got '2'"),
        (["--replicas", "0"], "--replicas must be a whole number from 1 to 100,000, got '0'"),
        (["--backend", "cuda"], "there is no backend called 'cuda'"),
    ],
)
def test_a_mistake_is_one_sentence_before_anything_is_timed(words, sentence, capsys):
    refused(capsys, bench.main, words, sentence)
