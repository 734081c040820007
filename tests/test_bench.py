"""python -m tests.bench: what it times, and that it prints what it leaves out. No test checks a speed."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from bench import alignment, everything, growth, parts, tables
from bench import command as bench
from bench import ours as ours_module
from bench import peers as peers_module
from bench.in_frameworks import NAMES
from bench.job import Job
from bench.ours import Ours, ours
from bench.peers import peers
from helpers import close, numbers, refused

from tinydiv.errors import RunError
from tinydiv.techniques import TECHNIQUES

RESULTS = Path(__file__).parent.parent / "results" / "speed"


@pytest.fixture(autouse=True)
def kernels_as_usual(monkeypatch):
    monkeypatch.delenv("OPENBLAS_CORETYPE", raising=False)


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
def test_a_technique_gives_the_same_fifty_losses_in_pytorch(replicas, technique, torch):
    job = Job(replicas, (20, 6, 5, 4), 32, "sgd", technique, dtype="float64")
    first, plain = (Ours(one).steps(50) for one in (job, replace(job, technique="")))
    assert abs(first - plain).max() > 1e-3
    makers = {name: m for name, m in peers(job, gpu=False, quick=True).items() if "JAX" not in name}
    several = {"PyTorch vmap"} if replicas > 1 else set()
    assert set(makers) == {"PyTorch eager", "PyTorch fused"} | several
    for name, make in makers.items():
        bench.agree(name, make().steps(50), first)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # PyTorch's own, while it compiles
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler here")
@pytest.mark.parametrize("technique", ["", *NAMES])
@pytest.mark.parametrize("replicas", [1, 3])
def test_compiled_pytorch_gives_the_same_five_losses(replicas, technique, torch):
    job = Job(replicas, (20, 6, 4), 16, "adam", technique, dtype="float64")
    makers = peers(job, gpu=False, quick=False)
    bench.agree("compiled", makers["PyTorch compiled"]().steps(5), Ours(job).steps(5))


@pytest.mark.parametrize("technique", ["", *NAMES])
def test_jax_gives_the_same_five_losses(technique, monkeypatch):
    pytest.importorskip("jax", reason="JAX is not installed: extra [bench]")
    job = Job(3, (20, 6, 4), 16, "adam", technique, dtype="float64")
    bench.agree("JAX", peers_module.Jax(job).steps(5), Ours(job).steps(5))


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


@pytest.mark.parametrize(("name", "words"), [("torch", "PyTorch"), ("jax", "JAX")])
def test_on_a_gpu_nothing_is_compared_with_a_cpu(name, words, monkeypatch):
    monkeypatch.setattr(peers_module, "find_spec", lambda known: known in ("torch", "jax"))
    monkeypatch.setattr(peers_module, "_sees_a_gpu", lambda known: known != name)
    with pytest.raises(RunError, match=f"{words} sees no GPU"):
        peers(Job(1), gpu=True, quick=True)


class Failing(Ours):
    """A contender that fails at the start, or later, while it is timed."""

    last = 0

    def steps(self, n):
        if self.at >= self.last:
            raise ValueError("no memory left")
        return super().steps(n)


@pytest.mark.parametrize("last", [0, 70])
def test_a_contender_that_fails_is_named_and_the_others_are_timed(last, monkeypatch, capsys):
    monkeypatch.setattr(Failing, "last", last)
    monkeypatch.setattr(peers_module, "peers", lambda *args: {"theirs": lambda: Failing(args[0])})
    timings = bench.compare(Job(1, (20, 5, 4), batch=8), rounds=3, gpu=False, quick=True)
    assert [t.name for t in timings] == ["tinydiv", "floor"]
    said = capsys.readouterr().err
    assert said.count("theirs is left out: ValueError: no memory left") == 1


@pytest.mark.parametrize("last", [0, 70])
def test_where_tinydiv_itself_fails_the_benchmark_does(last, monkeypatch, capsys):
    monkeypatch.setattr(Failing, "last", last)
    monkeypatch.setattr(ours_module, "ours", lambda job, count: {"tinydiv": lambda: Failing(job)})
    monkeypatch.setattr(peers_module, "peers", lambda *args: {"theirs": lambda: Ours(args[0])})
    assert bench.main(["--replicas", "1", "--hidden", "3", "--batch-size", "4", "--quick"]) == 1
    assert "tinydiv failed: ValueError: no memory left" in capsys.readouterr().err


def test_growth_is_measured_along_four_axes(monkeypatch, capsys, tmp_path):
    small = {"networks": [1, 2, 4], "width": [2, 4], "depth": [1, 2], "samples": [64, 128]}
    monkeypatch.setattr(growth, "QUICK", small)
    out = tmp_path / "out"
    assert bench.main(["--growth", "--quick", "--rounds", "3", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert [printed.count(f"\n{axis:>10}  us/") for axis in small] == [1, 1, 1, 1]
    assert printed.count("slopes: time") == 4
    rows = (out / "growth.csv").read_text().splitlines()
    assert rows[0] == "axis,x,seconds,bytes"
    found = [(axis, int(x)) for axis, x, *_ in (row.split(",") for row in rows[1:])]
    assert found == [(axis, x) for axis, xs in small.items() for x in xs]
    assert (out / "growth.png").stat().st_size > 5000


def test_a_slope_is_that_of_the_upper_half():
    """Of c x^s it is s; what every step costs anyway bends the line only below."""
    x = [1, 2, 4, 8, 16, 32]
    assert growth.slope(x, [3 * v**1.5 for v in x]) == pytest.approx(1.5)
    assert growth.slope(x, [9, 9, 9, 8, 16, 32]) == pytest.approx(1)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--rounds", "2"], "--rounds must be a whole number from 3 to 100,000, got '2'"),
        (["--replicas", "0"], "--replicas must be a whole number from 1 to 100,000, got '0'"),
        (["--growth", "--techniques"], "--growth measures alone, on NumPy"),
        (["--all"], "--all writes its figures: name a folder with --out"),
        (["--backend", "cuda"], "there is no backend called 'cuda'"),
    ],
)
def test_a_mistake_is_one_sentence_before_anything_is_timed(words, sentence, capsys):
    refused(capsys, bench.main, words, sentence)


def test_pytorch_has_all_cores_though_numpy_has_one_thread(monkeypatch, torch):
    """It read the limit that the commands set for NumPy's products, and was timed on one thread."""
    before = torch.get_num_threads()
    monkeypatch.setattr(peers_module, "cores", lambda: 3)
    try:
        peers_module.Torch(Job(1, (4, 3, 2)), "eager", gpu=False)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_kernels_that_the_environment_chooses_for_numpy_alone_are_named(
    briefly, monkeypatch, capsys
):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setattr(
        bench, "technique_costs", lambda rounds: [bench.Timing("plain", 1, [1.0] * 3)]
    )
    assert bench.main(["--techniques"]) == 0
    assert "OPENBLAS_CORETYPE=Haswell chooses the kernels of NumPy" in capsys.readouterr().err
    assert ("NumPy's kernels", "OPENBLAS_CORETYPE=Haswell") in everything.machine(0.0)


def test_everything_is_measured_and_its_tables_stand_in_the_page(
    briefly, monkeypatch, capsys, tmp_path
):
    few = Job(2, (6, 3, 2), 4, samples=16)
    page = tmp_path / "out.md"
    page.write_text(f"before\n{tables.BEGIN}\nold\n{tables.END}\nafter\n")
    monkeypatch.setattr(everything, "SHAPES", [few, replace(few, replicas=1)])
    monkeypatch.setattr(everything, "TECHNIQUES", [replace(few, technique="decov")])
    monkeypatch.setattr(parts, "JOBS", [few])
    monkeypatch.setattr(parts, "SAMPLE", 0)
    monkeypatch.setattr(growth, "QUICK", {"networks": [1, 2, 4], "samples": [64, 128]})
    monkeypatch.setattr(peers_module, "find_spec", lambda name: None)
    flags = "--data xor --hidden 2 --replicas 2 --epochs 1 --metrics none --no-plot --quiet"
    monkeypatch.setattr(everything, "COMMAND", flags)
    monkeypatch.setattr(everything, "search_folders", lambda: [tmp_path])
    (tmp_path / "fashion-mnist").mkdir()
    monkeypatch.setattr(
        everything, "techniques", lambda quick: [("plain", 1.0, 1.0), ("muon", 2.0, 2.0)]
    )

    assert bench.main(["--all", "--quick", "--out", str(tmp_path / "out")]) == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *tables.PARTS,
        "machine.csv",
        "growth.png",
    }
    text = page.read_text()
    assert (
        text
        == f"before\n{tables.BEGIN}\n\n{tables.text(tmp_path / 'out')}\n\n{tables.END}\nafter\n"
    )
    assert "old" not in text
    commands = tables.read(tmp_path / "out" / "command.csv")
    assert sorted(row["variant"] for row in commands) == sorted(everything.VARIANTS)
    assert all(float(row["processor"]) > 0 for row in commands)
    steps = tables.by_job(tables.read(tmp_path / "out" / "steps.csv"), "name", "median_us")
    assert [job[0] + job[-1] for job in steps] == ["2", "1", "2decov"]
    assert list(steps["1", "3", "4", "adam", ""]) == ["tinydiv", "floor"]


def test_aims_are_judged_by_the_peers_that_they_name():
    job = ("1", "64", "64", "adam", "")
    times = {"tinydiv": 10.0, "PyTorch eager": 36.0, "PyTorch fused": 5.0, "JAX jit + scan": 9.0}
    assert tables.reached(job, times) == [("eager", 3.6, 3.5), ("JAX", 0.9, 1.0)]
    times |= {"tinydiv, 2 processes": 4.0, "floor": 1.0}
    assert tables.reached(("32", "16-16", *job[2:]), times) == [("fused", 1.25, 1.4)]
    assert tables.reached(("256", "64", *job[2:]), times) == [("fused", 1.25, 1.0)]
    assert tables.reached(("32", "16", "64", "adam", "decov"), times) == [("fused", 1.25, 1.0)]
    assert tables.reached(job, {"tinydiv": 10.0}) == []


def test_the_page_shows_what_the_files_hold_and_cost_grows_linearly_or_better():
    page = RESULTS.with_suffix(".md").read_text(encoding="utf-8")
    assert f"{tables.BEGIN}\n\n{tables.text(RESULTS)}\n\n{tables.END}" in page
    found = tables.slopes(RESULTS)
    assert set(found) == set(growth.AXES)
    for axis, both in found.items():
        assert max(both) <= tables.LINEAR, axis
    assert (RESULTS / "growth.png").stat().st_size > 5000


def test_rows_that_are_aligned_and_not_take_the_same_products(on_standin, monkeypatch):
    """For a GPU, where they may differ in time: both without a copy, with equal results."""
    monkeypatch.setattr(alignment, "REPLICAS", 3)
    X = numbers(4, 784, dtype="float32")
    with on_standin.counting() as counts:
        found = [alignment.products(columns, X) for columns in alignment.ROWS.values()]
    assert (counts.copies, counts.names["launches"]["product"]) == (0, 6)
    for a, b in zip(*found, strict=True):
        close(a, b)
