"""A run that was stopped goes on to the same bits: weights, moments, technique state, records.

Most tests stop a run inside this process, at a chosen step or in the middle of a write; a few kill a
process of its own at a random moment, and 100 of them in the test marked slow.
"""

import csv
import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from helpers import WITNESS

from tinydiv import backend as backends
from tinydiv.backend import to_host
from tinydiv.data import load
from tinydiv.errors import RunError
from tinydiv.files import atomic, npz
from tinydiv.runs import folder as run_folder
from tinydiv.runs.build import build, filled_in
from tinydiv.runs.checkpoint import WORKED_OUT, load_checkpoint, save_checkpoint
from tinydiv.runs.config import TrainConfig
from tinydiv.techniques import TECHNIQUES, registry
from tinydiv.train import command as train

TOY = ["--data", "spirals:arms=3,n_train=400,n_test=60", "--hidden", "8", "--batch-size", "32"]
MIXED = [
    *TOY,
    *("--replicas", "3", "--lr", "0.001/0.01/0.1", "--shuffle", "own", "--schedule", "cosine"),
    *("--technique", "decov:strength=0.1/0.2/0,schedule=plateau,patience=4"),
    *("--technique", "negative-correlation:schedule=linear"),
    *("--technique", "batch-norm", "--technique", "muon"),
    *("--technique", "merge-recycle:every=5,threshold=0.3"),
    *("--epochs", "4", "--checkpoint-every", "3", "--seed", "3", "--metrics-every", "5"),
]
"""12 steps an epoch, 48 in all; every kind of memory that a run can have."""
STEPS = 48


class Killed(BaseException):
    """Stands for SIGKILL: it cannot be caught, and nothing is cleaned up."""


def run(*flags):
    return train.main([*flags, "--quiet", "--no-plot"])


def left_behind(folder):
    """All that a finished run leaves, without the columns of time."""
    with np.load(folder / "checkpoint.npz") as found:
        arrays = {name: found[name] for name in found.files}
    records = json.loads(arrays.pop("records").tobytes())
    facts = json.loads(str(arrays.pop("metadata")))
    with open(folder / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for timed in (facts, *records, *rows):
        assert float(timed.pop("seconds") or 0) >= 0  # none within epochs
    return arrays, records, facts, rows, (folder / "model.npz").read_bytes()


def assert_same(folder, reference):
    arrays, *rest = left_behind(folder)
    wanted_arrays, *wanted = left_behind(reference)
    assert arrays.keys() == wanted_arrays.keys()
    for name, array in arrays.items():
        assert array.dtype == wanted_arrays[name].dtype, name
        assert array.tobytes() == wanted_arrays[name].tobytes(), name
    # NaN is unequal to itself: records are compared as text
    assert [repr(part) for part in rest] == [repr(part) for part in wanted]


def stop_at(monkeypatch, step, how):
    """Let a run be stopped after so many steps of this process."""
    from tinydiv import loop as training

    real, seen = training.Techniques.after_update, []

    def after_update(self, now):
        real(self, now)
        seen.append(now.number)
        if len(seen) == step:
            how()

    monkeypatch.setattr(training.Techniques, "after_update", after_update)


def assert_goes_on(flags, step, tmp_path, monkeypatch, whole=None):
    """Stopped by Ctrl-C after so many steps and taken up again, a run ends as one that was not stopped."""
    folder = tmp_path / "run"
    if whole is None:
        whole = tmp_path / "whole"
        assert run(*flags, "--out", str(whole)) == 0
    with monkeypatch.context() as patch:
        stop_at(patch, step, lambda: signal.raise_signal(signal.SIGINT))
        assert run(*flags, "--out", str(folder)) == 130
    assert run("--resume", str(folder)) == 0
    assert_same(folder, whole)


def killed():
    raise Killed


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The mixed run, never stopped."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert run(*MIXED, "--out", str(folder)) == 0
    return folder


def test_the_mixed_run_has_every_kind_of_state(whole):
    arrays, records, _, _, _ = left_behind(whole)
    for piece in (
        *("theta", "optimizer.m", "optimizer.v", "optimizer.steps", "guard.alive"),
        *("techniques.0.plateau.best", "techniques.3.muon.W0"),
        "techniques.layer[batch-norm.1].variance",
    ):
        assert piece in arrays
    assert [record["epoch"] for record in records] == [0, 1, 2, 3, 4]
    assert np.any(arrays["techniques.3.muon.W0"])


def test_a_run_is_the_same_twice(whole, tmp_path):
    assert run(*MIXED, "--out", str(tmp_path / "again")) == 0
    assert_same(tmp_path / "again", whole)


@pytest.mark.parametrize("step", [1, 2, 11, 12, 13, 25, 47, 48])
def test_ctrl_c_loses_nothing(step, whole, tmp_path, monkeypatch, capfd):
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        stop_at(patch, step, lambda: signal.raise_signal(signal.SIGINT))
        assert run(*MIXED, "--out", str(folder)) == 130
    printed = capfd.readouterr()
    assert f"stopped after step {step} of {STEPS}; to go on" in printed.err
    assert f"--resume {folder}" in printed.err
    assert "Traceback" not in printed.err
    assert not printed.out
    if step < STEPS:
        assert not (folder / "model.npz").exists()
        with np.load(folder / "checkpoint.npz") as found:
            assert json.loads(str(found["metadata"]))["step"] == step  # not one step was lost
    assert run("--resume", str(folder)) == 0
    assert_same(folder, whole)


def test_a_second_ctrl_c_stops_at_once_and_the_last_checkpoint_stands(
    whole, tmp_path, monkeypatch, capfd
):
    def twice():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        stop_at(patch, 20, twice)
        assert run(*MIXED, "--out", str(folder)) == 130
    assert "stopped at once" in capfd.readouterr().err
    with np.load(folder / "checkpoint.npz") as found:
        assert json.loads(str(found["metadata"]))["step"] == 18
    assert run("--resume", str(folder)) == 0
    assert_same(folder, whole)


def test_the_handler_of_ctrl_c_is_restored_after_a_run(whole):
    before = signal.getsignal(signal.SIGINT)
    assert run(*TOY, "--epochs", "1", "--out", str(whole.parent / "short")) == 0
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("step", [1, 3, 4, 12, 14, 36, 48])
def test_a_kill_between_checkpoints_costs_only_the_steps_since(step, whole, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        stop_at(patch, step, killed)
        with pytest.raises(Killed):
            run(*MIXED, "--out", str(folder))
    assert run("--resume", str(folder)) == 0
    assert_same(folder, whole)


def test_many_kills_in_one_run(whole, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    flags = [*MIXED, "--out", str(folder)]
    for step in (5, 9, 4, 13):
        with monkeypatch.context() as patch:
            stop_at(patch, step, killed)
            with pytest.raises(Killed):
                run(*flags)
        flags = ["--resume", str(folder), "--checkpoint-every", "2"]
    assert run(*flags) == 0
    assert_same(folder, whole)


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("nth", [2, 3, 4, 10, 11])
def test_a_kill_in_the_middle_of_a_write(call, nth, whole, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    real, calls = getattr(os, call), []

    def dies(*given):
        calls.append(given)
        if len(calls) == nth:
            raise Killed
        return real(*given)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, dies)
        patch.setattr(Path, "unlink", lambda *a, **k: None)  # a killed process cleans up nothing
        with pytest.raises(Killed):
            run(*MIXED, "--out", str(folder))
    assert list(folder.glob(".*.part.*"))
    assert run("--resume", str(folder)) == 0
    assert not list(folder.glob(".*.part.*"))
    assert_same(folder, whole)


NEEDS_INPUTS = ("cayley", "reorthogonalise", "orthogonal-noise")
"""These cannot act on neurons with two inputs, so they get a second hidden layer."""


@pytest.mark.parametrize("name", list(TECHNIQUES))
def test_every_technique_goes_on_from_its_state(name, tmp_path, monkeypatch):
    specs = [*TECHNIQUES[name].needs, name]
    flags = [*TOY, "--replicas", "2", "--epochs", "2"]
    flags += [word for spec in specs for word in ("--technique", spec)]
    if name in NEEDS_INPUTS:
        flags = [*flags[:-1], f"{name}:layers=2", "--hidden", "8,8"]
    assert_goes_on(flags, 15, tmp_path, monkeypatch)


@pytest.mark.parametrize("optimizer", ["sgd", "nesterov", "adamw"])
def test_every_optimizer_goes_on_from_its_state(optimizer, tmp_path, monkeypatch):
    flags = [*TOY, "--epochs", "2", "--optimizer", optimizer, "--dtype", "float64"]
    assert_goes_on(flags, 7, tmp_path, monkeypatch)


def test_a_network_that_diverged_stays_so(tmp_path, monkeypatch):
    flags = [*TOY, "--epochs", "2", "--replicas", "2", "--lr", "1/1000", "--optimizer", "sgd"]
    flags += ["--loss", "squared-error", "--hidden", "8,8"]
    assert_goes_on(flags, 18, tmp_path, monkeypatch)
    arrays, *_ = left_behind(tmp_path / "run")
    assert not arrays["guard.alive"][1]


def standing(steps=None):
    """A run of two kinds of technique on the backend of the test, trained so many steps, or to its end."""
    specs = ["decov:schedule=plateau,patience=3", "batch-norm", "merge-recycle:every=4,threshold=0"]
    settings = {"data": "moons:n_train=160,n_test=20", "hidden": (6,), "epochs": 2, "replicas": 2}
    config = TrainConfig(**settings, batch_size=20, technique=tuple(specs), init="he-normal")
    run = build(replace(config, backend=backends.name(), metrics=("correlation",), metrics_every=3))

    def stop(step, total):
        if step == steps:
            raise Killed

    with suppress(Killed):
        run.train(stop)
    return run


def test_a_checkpoint_holds_everything_on_every_backend(backend, tmp_path, monkeypatch):
    monkeypatch.setattr(backends, "use", lambda name: name)  # the fixture has chosen
    whole, stopped, fresh = standing(), standing(steps=13), standing(steps=1)
    path = tmp_path / "checkpoint.npz"
    save_checkpoint(path, stopped.standing, {})
    assert np.any(to_host(fresh.net.theta) != to_host(stopped.net.theta))
    load_checkpoint(path, fresh.standing, {})
    fresh.train()
    for a, b in zip(fresh.net.blocks, whole.net.blocks, strict=True):
        got, wanted = (
            fresh.net.view(fresh.net.theta, a.name),
            whole.net.view(whole.net.theta, b.name),
        )
        assert to_host(got).tobytes() == to_host(wanted).tobytes(), a.name
    for got, wanted in zip(fresh.records, whole.records, strict=True):
        assert repr(replace(got, seconds=0)) == repr(replace(wanted, seconds=0))


# What is refused -----------------------------------------------------------------------------------


def test_a_finished_run_is_only_reported_again(whole, capsys):
    before = (whole / "checkpoint.npz").read_bytes()
    assert run("--resume", str(whole), "--json") == 0
    assert json.loads(capsys.readouterr().out)["history"][-1]["epoch"] == 4
    assert (whole / "checkpoint.npz").read_bytes() == before


def test_equal_settings_may_be_repeated(whole):
    assert run("--resume", str(whole), *MIXED) == 0


@pytest.mark.parametrize(
    ("flags", "key"),
    [
        (["--lr", "0.5"], "lr"),
        (["--epochs", "3"], "epochs"),
        (["--technique", "decov"], "technique"),
        (["--shuffle", "shared"], "shuffle"),
        (["--backend", "auto"], "backend"),
    ],
)
def test_a_changed_setting_is_refused(flags, key, whole, capsys):
    before = (whole / "checkpoint.npz").read_bytes()
    assert run("--resume", str(whole), *flags) == 2
    printed = capsys.readouterr().err
    assert f"was begun with {key} = " in printed
    assert "keeps its settings" in printed
    assert (whole / "checkpoint.npz").read_bytes() == before


def test_a_finished_run_goes_on_with_more_epochs_to_the_bits_of_a_longer_one(tmp_path):
    flags = [*TOY, "--replicas", "2", "--technique", "dropout", "--technique", "decov"]
    flags += ["--validation", "0.1", "--keep", "best"]
    long, short = tmp_path / "long", tmp_path / "short"
    assert run(*flags, "--epochs", "5", "--out", str(long)) == 0
    assert run(*flags, "--epochs", "2", "--out", str(short)) == 0
    assert run("--resume", str(short), "--epochs", "5") == 0
    assert_same(short, long)
    settings = [json.loads((folder / "config.json").read_text()) for folder in (short, long)]
    assert settings[0] == settings[1]
    before = (short / "checkpoint.npz").read_bytes()
    assert run("--resume", str(short), "--epochs", "5") == 0
    assert (short / "checkpoint.npz").read_bytes() == before


def test_more_epochs_survive_a_kill_before_their_first_checkpoint(tmp_path, monkeypatch):
    """config.json has 4 epochs then and checkpoint.npz was made with 2."""
    long, short = tmp_path / "long", tmp_path / "short"
    assert run(*TOY, "--epochs", "4", "--out", str(long)) == 0
    assert run(*TOY, "--epochs", "2", "--out", str(short)) == 0
    with monkeypatch.context() as patch:
        stop_at(patch, 3, killed)
        with pytest.raises(Killed):
            run("--resume", str(short), "--epochs", "4")
    assert json.loads((short / "config.json").read_text())["config"]["epochs"] == 4
    assert run("--resume", str(short)) == 0
    assert_same(short, long)


@pytest.mark.parametrize(
    ("flags", "what"),
    [
        (["--schedule", "cosine"], "schedule cosine"),
        (["--schedule", "linear:warmup=3"], "schedule linear:warmup=3"),
        (["--technique", "decov:schedule=cosine"], "technique decov:schedule=cosine"),
    ],
)
def test_more_epochs_are_refused_where_a_schedule_runs_over_all_of_them(
    flags, what, tmp_path, capsys
):
    folder = tmp_path / "run"
    assert run(*TOY, *flags, "--epochs", "1", "--out", str(folder)) == 0
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert run("--resume", str(folder), "--epochs", "2") == 2
    assert (
        f"begun with epochs = 1, and its {what} depends on that number" in capsys.readouterr().err
    )
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


@pytest.fixture
def stopped(tmp_path, monkeypatch):
    """A run that was stopped in its second epoch."""
    folder = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        stop_at(patch, 17, lambda: signal.raise_signal(signal.SIGINT))
        assert run(*TOY, "--epochs", "3", "--out", str(folder)) == 130
    return folder


def as_before(folder, keys):
    """Make a run's folder what it was before there were settings other than these."""
    facts = json.loads((folder / "config.json").read_text())
    facts["config"] = {key: facts["config"][key] for key in keys}
    (folder / "config.json").write_text(json.dumps(facts))
    with np.load(folder / "checkpoint.npz") as found:
        arrays = dict(found)
    facts = json.loads(str(arrays.pop("metadata")))
    facts["config"] = {key: facts["config"][key] for key in keys}
    npz.write(folder / "checkpoint.npz", arrays, facts)


def test_a_run_from_before_settings_existed_goes_on(stopped, tmp_path):
    """As it was stopped; and when it is at its end, beyond it."""
    old = tmp_path / "old"
    shutil.copytree(stopped, old)
    keys = ["data", "hidden", "batch_size", "epochs"]  # those of TOY
    for flags in ([], ["--epochs", "4"]):
        as_before(old, keys)
        assert run("--resume", str(old), *flags) == 0
        assert run("--resume", str(stopped), *flags) == 0
        assert_same(old, stopped)
    usual = TrainConfig()
    filled = filled_in(usual, load(usual.data))
    assert {k for k, v in asdict(filled).items() if v != getattr(usual, k)} == set(WORKED_OUT)


def test_a_config_that_was_edited_is_refused(stopped, capsys):
    path = stopped / "config.json"
    facts = json.loads(path.read_text())
    facts["config"]["lr"] = [0.5]
    path.write_text(json.dumps(facts))
    assert run("--resume", str(stopped)) == 2
    assert "checkpoint.npz was made with lr = [0.01], not [0.5]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "damage", "code", "sentence"),
    [
        ("config.json", lambda b: b"", 1, "is damaged"),
        ("config.json", lambda b: b"[]", 1, "is damaged"),
        ("config.json", lambda b: b.replace(b'"hidden"', b'"hiden"'), 1, "did you mean 'hidden'"),
        ("config.json", lambda b: b.replace(b'"seed": 0', b'"seed": -1'), 1, "whole number from 0"),
        ("checkpoint.npz", lambda b: b[:5000], 1, "is damaged"),
        ("checkpoint.npz", lambda b: b"", 1, "is damaged"),
        ("checkpoint.npz", lambda b: b"\x80\x04N.", 1, "is damaged"),
        (
            "config.json",
            lambda b: b.replace(b'"seed": 0', b'"seed": NaN'),
            1,
            "in place of a number",
        ),
        ("config.json", lambda b: b"[" * 100_000, 1, "nested too deeply"),
        ("checkpoint.npz", lambda b: b.replace(b"theta", b"thetb"), 1, "is damaged"),
        ("checkpoint.npz", lambda b: b[:1200] + b"\xff" * 8 + b[1208:], 1, "is damaged"),
    ],
)
def test_damaged_files_are_one_sentence(name, damage, code, sentence, stopped, capsys):
    path = stopped / name
    path.write_bytes(damage(path.read_bytes()))
    assert run("--resume", str(stopped)) == code
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert str(path) in printed
    assert sentence in printed


def test_another_environment_is_reported(stopped, capsys):
    path = stopped / "config.json"
    facts = json.loads(path.read_text())
    facts["environment"]["numpy"] = "2.0.0"
    path.write_text(json.dumps(facts))
    assert run("--resume", str(stopped)) == 0
    assert "began with numpy 2.0.0 and goes on with" in capsys.readouterr().err


def test_two_processes_do_not_go_on_with_one_run(tmp_path, capsys):
    folder = tmp_path / "run"
    flags = ["--data", "moons", "--hidden", "4", "--epochs", "1", "--no-plot"]
    assert run(*flags, "--out", str(folder)) == 0
    capsys.readouterr()
    with run_folder.locked(folder):
        assert run("--resume", str(folder)) == 2
    assert f"another process is at work in {folder}" in capsys.readouterr().err
    assert run("--resume", str(folder)) == 0  # the lock went with its holder


def test_an_own_file_that_changed_is_refused(tmp_path, monkeypatch, capsys):
    mine = tmp_path / "mine.py"
    source = (
        "from tinydiv.backend import xp\n"
        "from tinydiv.techniques import ActivationPenalty\n"
        "class Mine(ActivationPenalty):\n"
        "    def __call__(self, A, step):\n"
        "        return xp.sum(A**2, axis=(-2, -1)) / 2, A\n"
    )
    mine.write_text(source)
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patch:
        stop_at(patch, 5, lambda: signal.raise_signal(signal.SIGINT))
        flags = [*TOY, "--epochs", "1", "--technique", "mine.py:Mine:strength=0.01"]
        assert run(*flags, "--out", "run") == 130
    mine.write_text(source.replace("/ 2, A", ", 2 * A"))
    assert capsys.readouterr().err.endswith("--resume run --allow-code\n")
    assert run("--resume", "run", "--allow-code") == 2
    assert "was changed since" in capsys.readouterr().err
    mine.unlink()
    assert run("--resume", "run", "--allow-code") == 2
    assert "is missing" in capsys.readouterr().err
    mine.write_text(source)
    monkeypatch.chdir("/")  # paths are kept whole: a run can be taken up from anywhere
    assert run("--resume", str(tmp_path / "run"), "--allow-code") == 0


def test_code_that_only_a_file_names_is_run_only_when_it_is_allowed(tmp_path, monkeypatch, capsys):
    """A run's folder and a file of settings may be a stranger's, with a digest that fits."""
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(WITNESS)
    Path("settings.toml").write_text('technique = ["mine.py:Mine"]\n')

    def outcome(*words):
        registry.IMPORTED.clear()  # as in a process of its own
        Path("was_run").unlink(missing_ok=True)
        return run(*words), Path("was_run").exists(), capsys.readouterr().err

    begin, named = ["--data", "xor", "--epochs", "1"], ["--technique", "./mine.py:Mine"]
    assert outcome(*begin, *named, "--out", "run") == (0, True, "")
    for words, what in (
        (["--resume", "run"], "the run in run"),
        (["--resume", "run", "--epochs", "2"], "the run in run"),
        (["--resume", "run", "--config", "settings.toml"], "settings.toml"),
        ([*begin, "--config", "settings.toml"], "settings.toml"),
        ([*begin, "--config", "settings.toml", "--technique", "decov"], "settings.toml"),
    ):
        code, ran, sentence = outcome(*words)
        assert (code, ran) == (2, False)
        assert f"{what} names the code in " in sentence
        assert sentence.endswith("only with your permission: --allow-code\n")
        if "decov" not in words:
            for permission in (named, ["--allow-code"]):
                assert outcome(*words, *permission) == (0, True, "")
    assert outcome("--resume", "run", "--technique", "decov")[:2] == (2, False)
    Path("mine.py").write_text(WITNESS + "# changed")
    for words in (["--resume", "run"], ["--resume", "run", "--epochs", "3"]):
        code, ran, sentence = outcome(*words, "--allow-code")
        assert (code, ran) == (2, False)
        assert "mine.py was changed since the run in run was made" in sentence


# Disks that are full -------------------------------------------------------------------------------


def full_after(n):
    """A disk on which the n-th file no longer fits."""
    real, calls = os.fsync, []

    def fsync(file):
        calls.append(file)
        if len(calls) >= n:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(file)

    return fsync


def test_a_full_disk_is_one_sentence_and_the_run_goes_on_later(
    whole, tmp_path, monkeypatch, capsys
):
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_after(6))
        assert run(*MIXED, "--out", str(folder)) == 1
    printed = capsys.readouterr().err
    assert "no space left on device" in printed
    assert printed.count("\n") == 1
    assert not list(folder.glob(".*.part.*"))
    assert run("--resume", str(folder)) == 0
    assert_same(folder, whole)


def test_a_disk_that_is_full_from_the_start_leaves_no_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(os, "fsync", full_after(1))
    assert run(*TOY, "--out", str(tmp_path / "run")) == 1
    assert "no space left on device" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_an_empty_folder_of_the_users_stays_when_nothing_was_learned(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    monkeypatch.setattr(os, "fsync", full_after(1))
    assert run(*TOY, "--out", str(tmp_path / "mine")) == 1
    assert not list((tmp_path / "mine").iterdir())


def test_old_content_stands_when_a_write_fails(tmp_path):
    path = tmp_path / "file"
    atomic.write_text(path, "old")

    def fails():
        with atomic.replacing(path) as part:
            part.write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(RunError, match="no space left on device"):
        fails()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


# Processes that are killed -------------------------------------------------------------------------


def kill_at_random(folder, seconds, how):
    """Start the mixed run in a process of its own, or go on with it, and stop it after a while."""
    again = (folder / "config.json").is_file()
    flags = ["--resume", str(folder)] if again else [*MIXED, "--out", str(folder)]
    flags += ["--checkpoint-every", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "tinydiv.train", *flags, "--quiet", "--no-plot"],
        cwd=Path(__file__).parent.parent,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    while not (folder / "config.json").exists():  # Python itself takes its time to start
        assert process.poll() is None
        time.sleep(0.002)
    time.sleep(seconds)
    process.send_signal(how)
    printed = process.communicate(timeout=60)[1].decode()
    assert "Traceback" not in printed
    return process.returncode


def kills(folder, whole, how_many, seed):
    dice = random.Random(seed)
    codes = set()
    for number in range(how_many):
        how = dice.choice([signal.SIGKILL, signal.SIGINT])
        codes.add(kill_at_random(folder / str(number), dice.uniform(0, 0.6), how))
    for number in range(how_many):
        assert run("--resume", str(folder / str(number))) == 0
        assert_same(folder / str(number), whole)
    return codes


def test_processes_killed_at_random_moments_go_on(whole, tmp_path):
    codes = kills(tmp_path, whole, 4, seed=1)
    assert codes - {0}


@pytest.mark.slow
def test_a_hundred_processes_killed_at_random_moments_go_on(whole, tmp_path):
    codes = kills(tmp_path, whole, 100, seed=2)
    # Both ways, in time; on a fast machine some come too late.
    assert {-signal.SIGKILL, 130} <= codes


def test_measurements_within_epochs_survive_a_stop(tmp_path, monkeypatch):
    flags = [*TOY, "--replicas", "2", "--epochs", "2", "--metrics-every", "5"]
    assert_goes_on(flags, 8, tmp_path, monkeypatch)  # one moment seen, unread
    rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    steps = [row.split(",")[2] for row in rows[1::2]]
    assert steps[:4] == ["0", "5", "10", "12"]
