"""Networks in groups over several processes: the same bits, nothing lost, one sentence at the end."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tinydiv import loop as training
from tinydiv.data.catalogue import FASHION_MINI
from tinydiv.errors import UsageError
from tinydiv.runs import build as runs_build
from tinydiv.runs import splitting, workers
from tinydiv.runs.build import build
from tinydiv.runs.config import TrainConfig
from tinydiv.train import command as train

TOY = ["--data", "moons:n_train=200,n_test=50", "--hidden", "6", "--epochs", "3"]
TOY += ["--no-plot", "--quiet"]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def same(a, b):
    """Whether two run folders hold the same numbers, all but the times."""
    one, other = (np.load(f"{folder}/checkpoint.npz") for folder in (a, b))
    assert set(one.files) == set(other.files)
    for name in set(one.files) - {"metadata", "records"}:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)
    rows = []
    for folder in (a, b):
        lines = [line.split(",") for line in Path(folder, "metrics.csv").read_text().splitlines()]
        times = lines[0].index("seconds")
        rows.append([line[:times] + line[times + 1 :] for line in lines])
    assert rows[0] == rows[1]
    one.close(), other.close()


@pytest.mark.parametrize(
    "flags",
    [
        "--technique batch-norm --technique decov:strength=0.1",
        "--technique redo:every=5 --technique cosine:strength=0.1,schedule=plateau --shuffle own",
        "--technique dropout --technique muon --metrics-every 5 --init decorrelated",
        "--lr 0.001/0.002/0.003/0.004/0.005/0.006/0.007 --technique pearson:strength=0.1/0.2/0.3/0/1/2/3",
    ],
)
def test_three_processes_give_the_bits_of_one(flags):
    flags = [*TOY, *flags.split(), "--replicas", "7"]
    assert train.main([*flags, "--out", "one", "--workers", "1"]) == 0
    assert train.main([*flags, "--out", "three", "--workers", "3"]) == 0
    same("one", "three")


def test_networks_that_do_not_fit_at_once_are_trained_in_groups_to_the_same_bits():
    flags = [*TOY, "--hidden", "64", "--replicas", "100", "--epochs", "1", "--metrics", "none"]
    assert train.main([*flags, "--out", "one"]) == 0
    state_of, begun = workers.state_of, []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            workers, "state_of", lambda run, group: begun.append(group) or state_of(run, group)
        )
        assert train.main([*flags, "--out", "blocks", "--memory", "0.2"]) == 0
    assert [len(group) for group in begun] == [25, 25, 25, 25]
    same("one", "blocks")


@pytest.mark.parametrize("more", [[], ["--technique", "consensus"]])
def test_what_does_not_fit_in_groups_either_is_one_sentence_before_training(more, capsys):
    flags = [*TOY, "--hidden", "64", "--replicas", "100", "--memory", "0.12", "--out", "never"]
    assert train.main([*flags, *more]) == 1
    printed = capsys.readouterr().err
    assert "100 networks 2-64-2 need 0." in printed
    assert "GiB and --memory allows 0.12: choose fewer --replicas" in printed
    assert not os.path.exists("never")


def test_many_networks_are_evaluated_one_part_after_the_other_to_the_same_bits(monkeypatch):
    config = TrainConfig(
        data="moons:n_train=200,n_test=50", hidden=(6,), replicas=7, epochs=1, init="he-normal"
    )
    one = build(config).train()
    monkeypatch.setattr(training, "EVALUATION_NUMBERS", 3 * 6 * training.EVALUATION_ROWS)
    other = build(config).train()
    assert training.evaluated_at_once([2, 6, 2]) == 3
    for a, b in zip(one, other, strict=True):
        assert (a.test_loss, a.test_accuracy) == (b.test_loss, b.test_accuracy)
        assert a.train_loss == b.train_loss


@pytest.mark.slow
def test_ten_thousand_networks_train_within_four_gigabytes():
    """One step of 784-16-10 in blocks: the shared weights and moments, and each process's own memory."""
    flags = (
        "--replicas 10000 --init he-normal --epochs 1 --batch-size 6000 --metrics none --no-plot"
    )
    script = (
        "import resource, sys; from tinydiv.train.command import main; code = main(sys.argv[1:]);"
        "print(code, *(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF,"
        "resource.RUSAGE_CHILDREN)))"
    )
    words = [sys.executable, "-c", script, *flags.split(), "--memory", "4", "--workers", "2"]
    done = subprocess.run(words, capture_output=True, text=True)
    code, mine, child = map(int, done.stdout.split()[-3:])
    assert code == 0
    assert (mine + 2 * child) * 1024 < 6e9  # what is shared, 1.5e9, is counted in each of the three
    assert mine * 1024 < 3e9


def test_a_run_that_was_killed_goes_on_with_another_number_of_processes():
    flags = [*TOY, "--replicas", "8", "--epochs", "60", "--technique", "batch-norm"]
    assert train.main([*flags, "--out", "through"]) == 0
    command = [sys.executable, "-m", "tinydiv.train", *flags, "--out", "killed", "--workers", "2"]
    process = subprocess.Popen([*command, "--checkpoint-every", "3"])
    began = time.monotonic()
    while not os.path.exists("killed/checkpoint.npz") and time.monotonic() < began + 60:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert train.main(["--resume", "killed", "--workers", "3", "--no-plot", "--quiet"]) == 0
    same("through", "killed")


def test_ctrl_c_stops_all_after_a_checkpoint_and_no_process_is_left():
    flags = [*TOY, "--replicas", "8", "--epochs", "100000", "--out", "run", "--workers", "2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "tinydiv.train", *flags], stderr=subprocess.PIPE, text=True
    )
    began = time.monotonic()
    while not os.path.exists("run/checkpoint.npz") and time.monotonic() < began + 60:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, printed = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "to go on: python -m tinydiv.train --resume run" in printed
    assert "Traceback" not in printed
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True)
    assert children.stdout == ""


def test_a_process_that_dies_is_one_sentence(monkeypatch, capsys):
    started, begun = workers.started, []

    def dying():
        begun.append(started())
        if len(begun) == 2:
            begun[1][0].kill()
        return begun[-1]

    monkeypatch.setattr(workers, "started", dying)
    assert train.main([*TOY, "--replicas", "8", "--workers", "2"]) == 1
    assert "a process that trained some of the networks has ended" in capsys.readouterr().err


def test_processes_load_their_modules_side_by_side(monkeypatch):
    """Nothing is sent to one before all are started: beyond 64 KiB it would hold up the next one."""
    events, started, send = [], workers.started, workers.Connection.send

    def noted(connection, message):
        events.append("sent")
        send(connection, message)

    monkeypatch.setattr(workers, "started", lambda: events.append("started") or started())
    monkeypatch.setattr(workers.Connection, "send", noted)
    run = build(TrainConfig(data="xor", hidden=(4,), replicas=3))
    workers.Workers(run, 3).close()
    assert events == ["started"] * 3 + ["sent"] * 6  # their work, then whether they are ready


def test_networks_that_depend_on_each_other_are_not_split(capsys):
    flags = [*TOY, "--replicas", "4", "--technique", "consensus"]
    assert train.main([*flags, "--workers", "2"]) == 2
    assert "--workers 2 cannot split these networks: consensus lets" in capsys.readouterr().err
    assert train.main(flags) == 0


@pytest.mark.parametrize(
    ("settings", "processes"),
    [
        ({"replicas": 32, "epochs": 60}, 2),  # as long as an epoch of the full images
        ({"replicas": 32, "epochs": 1}, 1),
        ({"replicas": 31, "epochs": 600}, 1),  # too few for two
        ({"replicas": 256, "epochs": 60}, 4),
        ({"replicas": 32, "epochs": 600, "technique": ("consensus",)}, 1),
    ],
)
def test_processes_are_started_where_they_pay(monkeypatch, settings, processes):
    monkeypatch.setattr(splitting, "cores", lambda: 4)
    run = build(TrainConfig(data="fashion-mini", init="he-normal", **settings))
    assert usual(run) == processes


def usual(run):
    return splitting.usual(run.config, run.net.n_parameters, run.steps)


@pytest.mark.parametrize(
    "settings",
    [
        {"epochs": 60},
        {"epochs": 1},
        {"epochs": 60, "hidden": (1,)},
        {"epochs": 21, "validation": 0.5},
        {"epochs": 42, "validation": 0.5, "batch_size": 100},
        {"epochs": 60, "technique": ("consensus",)},
    ],
)
def test_how_many_pay_is_known_before_a_full_image_set_is_read(monkeypatch, settings):
    config = TrainConfig(data="fashion-mini", init="he-normal", replicas=32, **settings)
    assert (
        splitting.usual_before_reading(config) == 1
    )  # a small set: read before they would have begun
    monkeypatch.setitem(splitting.FULL_SETS, "fashion-mini", FASHION_MINI)
    monkeypatch.setattr(splitting, "cores", lambda: 2)
    assert splitting.usual_before_reading(config) == usual(build(config))


def test_processes_load_their_modules_while_the_data_are_read(monkeypatch):
    events, started, build_run = [], workers.started, runs_build.build
    monkeypatch.setattr(workers, "started", lambda: events.append("started") or started())
    monkeypatch.setattr(
        runs_build, "build", lambda *a, **k: events.append("read") or build_run(*a, **k)
    )
    assert train.main([*TOY, "--replicas", "8", "--workers", "2"]) == 0
    assert events == ["started", "started", "read"]
    events.clear()
    assert train.main([*TOY, "--replicas", "8", "--workers", "2", "--optimizer", "none"]) == 2
    assert multiprocessing.active_children() == []


def test_groups_are_even_small_enough_and_cover_all():
    for replicas in (1, 5, 31, 32, 33, 256, 1000):
        for count in (1, 2, 3, 16):
            blocks = splitting.split(replicas, count)
            assert [r for block in blocks for r in block] == list(range(replicas))
            sizes = [len(block) for block in blocks]
            assert max(sizes) <= splitting.GROUP
            assert max(sizes) - min(sizes) <= 1


def test_a_short_run_starts_no_process_and_a_long_one_takes_the_cores(monkeypatch):
    monkeypatch.setattr(splitting, "cores", lambda: 4)
    small = {"replicas": 256, "data": "moons", "epochs": 1, "init": "he-normal"}
    assert usual(build(TrainConfig(**small))) == 1
    assert usual(build(TrainConfig(**small | {"epochs": 10**6}))) == 4
    assert usual(build(TrainConfig(**small | {"epochs": 10**6, "replicas": 40}))) == 2
    alone = small | {"epochs": 10**6, "technique": ("consensus",)}
    assert usual(build(TrainConfig(**alone))) == 1
    with pytest.raises(UsageError, match="decorrelated-inputs learns from inputs"):
        workers.Workers(build(TrainConfig(**small | {"technique": ("decorrelated-inputs",)})), 2)


def test_data_go_to_a_process_through_shared_memory_and_small_things_as_they_are():
    shared = workers.Shared()
    large, small = np.arange(100_000.0), np.arange(3)
    pickled = shared.dumps({"a": large, "b": large, "c": small})
    assert len(pickled) < 1000
    attached = []
    found = workers.loads(pickled, attached)
    np.testing.assert_array_equal(found["a"], large)
    found["a"][0] = 7.0
    assert found["b"][0] == 7.0
    np.testing.assert_array_equal(found["c"], small)
    shared.unlink()


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are counted in /proc")
def test_thirty_runs_at_once_do_not_take_a_thread_per_core_each(tmp_path):
    """BLAS would start a thread per core in each of them: with 64 cores 1,920 threads."""
    free = {key: value for key, value in os.environ.items() if not key.endswith("_NUM_THREADS")}
    words = [sys.executable, "-m", "tinydiv.train", "--data", "xor", "--no-plot", "--quiet"]
    runs = [
        subprocess.Popen([*words, "--epochs", "60", "--seed", str(i), "--out", f"run{i}"], env=free)
        for i in range(30)
    ]
    most = 0
    while any(run.poll() is None for run in runs):
        for run in runs:
            with contextlib.suppress(OSError):
                most = max(most, len(os.listdir(f"/proc/{run.pid}/task")))
        time.sleep(0.05)
    assert [run.returncode for run in runs] == [0] * 30
    assert most <= 2  # its own, and that of the progress bar, which sleeps
