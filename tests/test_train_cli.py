"""The command that most readers meet first: python -m tinydiv.train.

Runs go through main() in this process, which is quick; a few need a process of their own.
"""

import csv
import dataclasses
import errno
import inspect
import io
import json
import os
import re
import subprocess
import sys
import threading
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from helpers import environment, python

import tinydiv
from tinydiv import activations, diversity, initializers, losses, optimizers, schedules
from tinydiv.command import cli, listing
from tinydiv.data import NAMES
from tinydiv.data.toys import TOYS
from tinydiv.errors import UsageError
from tinydiv.runs.build import build, filled_in, load_data
from tinydiv.runs.config import CURVES, USUAL_EPOCHS, TrainConfig
from tinydiv.study.specification import resolve
from tinydiv.techniques import TECHNIQUES, place
from tinydiv.train import command as train

ROOT = Path(__file__).parent.parent
TOY = ["--data", "moons:n_train=200,n_test=50", "--hidden", "5", "--epochs", "2", "--no-plot"]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    """Every test starts in an empty folder, as a new user does."""
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def command(capsys):
    """Run the command; gives (exit code, stdout, stderr)."""

    def run(*flags):
        code = train.main(list(flags))
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.fixture
def result(command):
    """Run the command with --json; gives the object that it printed."""

    def run(*flags):
        code, out, err = command(*flags, "--json", "--quiet")
        assert (code, err) == (0, "")
        return json.loads(out)

    return run


def metrics(folder):
    """The rows of a run's metrics.csv."""
    return list(csv.DictReader(Path(folder, "metrics.csv").read_text().splitlines()))


def refused(command, *flags, code=2):
    """The sentence with which something is refused: one line, no traceback, nothing on stdout."""
    found, out, err = command(*flags)
    assert found == code
    assert out == ""
    assert err.count("\n") == 1, err
    assert err.startswith("tinydiv.train: ")
    assert "Traceback" not in err
    assert "error in tinydiv" not in err
    return err


# A first run ---------------------------------------------------------------------------------------


def test_the_first_run_of_a_newcomer():
    done = python("-m", "tinydiv.train")
    assert done.returncode == 0
    (folder,) = Path("runs").iterdir()
    assert re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{4}", folder.name)
    names = sorted(path.name for path in folder.iterdir())
    pictures, tables = ["confusion.png", "picture.png"], ["checkpoint.npz", "metrics.csv"]
    assert names == sorted([".lock", "config.json", "model.npz", *pictures, *tables])
    assert done.stdout.endswith(f"run folder {folder}\n")
    assert len(re.findall(r"^epoch +\d+/10  loss", done.stderr, re.M)) == 11
    assert "Warning" not in done.stderr
    facts = json.loads((folder / "config.json").read_text())
    assert facts["config"]["hidden"] == [16]
    assert facts["config"]["data"] == "fashion-mini"
    assert facts["config"]["lr"] == [0.001]
    assert set(facts["environment"]["blas_threads"].values()) == {"1"}
    picture = (folder / "picture.png").read_bytes()
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    assert len(picture) > 20_000
    with np.load(folder / "model.npz") as model:
        assert model["W0"].shape == (784, 16)
    accuracy = float(re.search(r"test accuracy (0\.\d+)", done.stdout)[1])
    assert accuracy > 0.8


def test_help_and_version_are_quick_and_load_nothing_heavy():
    code = (
        "import sys, time\n"
        "from tinydiv.train import command as train\n"
        "assert train.main(['--help']) == 0\n"
        "assert train.main(['--version']) == 0\n"
        "heavy = {'numpy', 'matplotlib', 'tqdm'} & set(sys.modules)\n"
        "print('heavy', heavy, 'seconds', time.process_time())\n"
    )
    done = python("-c", code, check=True)
    assert "heavy set()" in done.stdout
    assert float(done.stdout.split("seconds ")[1]) < 0.5
    assert f"tinydiv {tinydiv.__version__}\n" in done.stdout
    assert "examples:" in done.stdout
    assert done.stderr == ""


def test_help_names_every_flag_with_its_default(command):
    code, out, err = command("--help")
    assert (code, err) == (0, "")
    words = " ".join(out.split())
    for flag in (
        *("--data", "--hidden", "--activation", "--init", "--technique", "--optimizer", "--lr"),
        *("--batch-size", "--epochs", "--replicas", "--seed", "--shuffle", "--inputs", "--backend"),
        *("--dtype", "--loss", "--schedule", "--weight-decay", "--metrics", "--config", "--out"),
        *("--no-plot", "--json", "--list", "--version", "--quiet", "--resume"),
        "--checkpoint-every",
    ):
        assert f" {flag} " in words or f"[{flag}]" in words
    assert "(default: fashion-mini)" in words
    assert "(default: 16)" in words


def test_every_toy_has_a_number_of_epochs_of_its_own(command):
    assert set(USUAL_EPOCHS) == set(TOYS)
    words = " ".join(command("--help")[1].split())
    assert all(f"{name} {epochs}" in words for name, epochs in USUAL_EPOCHS.items())


REACHED = {  # what nine of ten networks of sixteen neurons reach: accuracy, or the error of a number
    "xor": 1.0,
    "parity": 0.95,
    "life": 0.99,
    "moons": 0.98,
    "spirals": 0.85,  # five arms: guessing has 0.2
    "mixture": 0.9,  # the classes overlap
    "step": 1.0,
    "bessel-window": 0.001,
    "bessel-sum": 0.005,
    "cubic": 0.005,
    "cubic-2": 0.005,
    "quadratic": 0.001,
    "quadratic-2": 0.001,
}


@pytest.mark.parametrize("toy", TOYS)
def test_the_defaults_succeed_on_every_toy(toy):
    run = build(TrainConfig(data=toy, replicas=10, metrics=()))
    run.train()
    name, reached = run.records[-1].score
    if name == "test_error":
        assert sorted(reached)[8] <= REACHED[toy]
    else:
        assert sorted(reached)[1] >= REACHED[toy]


@pytest.mark.slow
@pytest.mark.parametrize("toy", CURVES)
def test_the_defaults_succeed_on_other_draws_of_a_curve(toy):
    """Eight draws of the points: the median error of a number is under 2 % of the values' variance for at
    least seven of them (test points may lie beyond the training points); of `step`, one of eight test
    points may lie at a jump."""
    good = 0
    for draw in range(8):
        run = build(TrainConfig(data=f"{toy}:seed={draw}", replicas=10, metrics=()))
        run.train()
        name, reached = run.records[-1].score
        middle = float(np.median(reached))
        least = 7 / 8 if name == "test_accuracy" else 0.02 * run.data.dataset.train_y.var()
        good += middle >= least if name == "test_accuracy" else middle <= least
    assert good >= (8 if toy == "step" else 7)


@pytest.mark.parametrize(
    ("data", "optimizer", "activation", "rate"),
    [
        ("fashion-mini", "adam", "relu", 0.001),
        ("moons", "adam", "relu", 0.01),
        ("spirals:arms=3", "sgd", "relu", 1.0),
        ("step:seed=3", "adam", "tanh", 0.03),
        ("step", "sgd", "tanh", 3.0),
        ("cubic", "adam", "tanh", 0.03),
        ("cubic", "sgd", "tanh", 0.1),
        ("cubic", "momentum", "tanh", 0.1),
    ],
)
def test_the_default_activation_and_rate_follow_from_the_data(data, optimizer, activation, rate):
    """In train and in a study: both read them from the same place."""
    config = filled_in(TrainConfig(data=data, optimizer=optimizer), load_data(data, "raw"))
    assert (config.activation, config.lr) == (activation, (pytest.approx(rate),))
    study = resolve([("[train]", {"data": data, "optimizer": optimizer})])
    assert (study.activation, study.lr) == (activation, pytest.approx(rate))
    own = filled_in(TrainConfig(data=data, activation="sigmoid"), load_data(data, "raw"))
    assert own.activation == "sigmoid"
    assert resolve([("[train]", {"data": data, "activation": "sigmoid"})]).activation == "sigmoid"


@pytest.mark.parametrize("optimizer", optimizers.OPTIMIZERS)
def test_no_default_rate_makes_a_curve_diverge(optimizer):
    for toy in CURVES:
        run = build(TrainConfig(data=toy, optimizer=optimizer, epochs=100, metrics=()))
        run.train()
        assert run.records[-1].diverged_step == [-1]


def test_matplotlib_is_loaded_only_for_a_picture():
    code = (
        "import sys\n"
        "from tinydiv.train import command as train\n"
        f"assert train.main({[*TOY, '--quiet']!r}) == 0\n"
        "assert 'matplotlib' not in sys.modules\n"
        "assert 'torch' not in sys.modules\n"
        "assert 'tinydiv.runs.own_files' not in sys.modules\n"  # a set that has a name
    )
    python("-c", code, check=True)


@pytest.mark.parametrize(
    "flags",
    [["--hidden", "none"], ["--hidden", "4,3", "--replicas", "2"], ["--data", "life", "--lr", "9"]],
)
def test_every_shape_of_run_has_a_picture(flags, command):
    flags = [*TOY[:-1], *flags, "--quiet", "--out", "run"]
    assert command(*flags)[0] == 0
    assert Path("run/picture.png").stat().st_size > 10_000


# What is printed and written -----------------------------------------------------------------------


def test_json_is_one_object_with_everything(result):
    found = result(*TOY, "--replicas", "3", "--seed", "5")
    assert found["config"]["replicas"] == 3
    assert found["config"]["seed"] == 5
    assert [record["epoch"] for record in found["history"]] == [1, 2]
    assert found["start"]["epoch"] == 0
    for record in (found["start"], *found["history"]):
        for key in ("train_loss", "test_accuracy", *diversity.METRICS):
            assert len(record[key]) == 3
            assert all(isinstance(value, float) for value in record[key])
    assert found["test_accuracy"] == found["history"][-1]["test_accuracy"]
    assert found["train_loss"] == found["history"][-1]["train_loss"]
    assert len({*found["train_loss"]}) == 3
    assert found["seconds"] > 0
    assert found["diverged"] == []
    assert Path(found["run_dir"], "model.npz").is_file()


def test_metrics_csv_is_tidy_and_agrees(result):
    found = result(*TOY, "--replicas", "2", "--technique", "decov", "--out", "run")
    rows = metrics("run")
    assert [(row["epoch"], row["network"]) for row in rows] == [
        (epoch, network) for epoch in "012" for network in "01"
    ]
    for row in rows[2:]:
        record = found["history"][int(row["epoch"]) - 1]
        for key in ("train_loss", "test_accuracy", "correlation", "penalty.decov"):
            assert float(row[key]) == record[key][int(row["network"])]
        assert float(row["rate"]) == record["rate"]
    assert rows[0]["penalty.decov"] == ""


def test_config_json_has_every_default_filled_in(result):
    found = result(*TOY, "--optimizer", "adamw", "--out", "run")
    facts = json.loads(Path("run/config.json").read_text())
    assert facts["config"] == found["config"]
    none = {key for key, value in facts["config"].items() if value is None}
    assert none == {"class_weights", "clip", "metrics_every"}
    assert facts["config"]["weight_decay"] == [0.01]
    assert facts["config"]["batch_size"] == 64
    assert facts["config"]["metrics"] == list(diversity.METRICS)
    assert facts["environment"]["tinydiv"] == tinydiv.__version__
    assert facts["environment"]["numpy"] == np.__version__


def test_results_go_to_stdout_and_all_else_to_stderr(command):
    code, out, err = command(*TOY)
    assert code == 0
    assert re.fullmatch(r"test accuracy 0\.\d+ after 2 epochs in .* s\nrun folder runs/.*\n", out)
    assert "epoch 2/2  loss" in err
    assert "MLP(2-5-2" in err
    code, out, err = command(*TOY, "--quiet", "--replicas", "3")
    assert err == ""
    assert re.match(r"test accuracy .*, mean of 3 networks \(0\.\d+ to 0\.\d+\)", out)


def test_what_an_own_technique_prints_goes_to_stderr(result, own):
    own("print('loading')", "print(A.shape)")
    stdout, err = io.StringIO(), io.StringIO()
    with redirect_stdout(stdout), redirect_stderr(err):
        code = train.main([*TOY, "--json", "--technique", "mine.py:Mine"])
    assert code == 0
    assert json.loads(stdout.getvalue())["config"]["technique"][0].endswith("mine.py:Mine")
    assert "loading" in err.getvalue()
    assert "(64, 5)" in err.getvalue()


def test_a_terminal_gets_a_progress_bar_and_a_pipe_does_not():
    pty, termios = pytest.importorskip("pty"), pytest.importorskip("termios")
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (25, 80))
    flags = ["--data", "fashion-mini", "--epochs", "3", "--no-plot"]
    child = subprocess.Popen(
        [sys.executable, "-m", "tinydiv.train", *flags],
        env=environment(TERM="xterm"),
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    )
    os.close(theirs)
    seen = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:  # the other end has closed
            break
        if not piece:
            break
        seen += piece
    os.close(ours)
    assert child.wait() == 0
    assert b"/279 [" in seen
    assert b"step/s" in seen
    assert len(re.findall(rb"epoch \d/3  loss", seen)) == 4
    assert "step/s" not in python("-m", "tinydiv.train", *TOY).stderr


def test_a_closed_pipe_is_no_traceback():
    command = '"$1" -m tinydiv.train --list | head -1; exit ${PIPESTATUS[0]}'
    words = ["bash", "-c", command, "bash", sys.executable]  # whose path may hold a space
    done = subprocess.run(words, env=environment(), capture_output=True, text=True)
    assert done.stdout == "techniques\n"
    assert done.returncode in (0, 1)  # 0 if the pipe took it all before head left
    assert done.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "words",
    [
        ["train", "--list", "techniques"],
        ["train", "--help"],
        ["train", "--version"],
        ["train", *TOY, "--epochs", "0"],
        ["check", "--only", "relu"],
        ["check", "--only", "relu", "--json"],
        ["trace", "--help"],
    ],
    ids=" ".join,
)
def test_a_full_disk_behind_stdout_is_one_sentence(words, unbuffered, tmp_path):
    """Whatever prints a result; Python must not try again when it ends, either (exit code 120)."""
    how = {"capture_output": False, "stderr": subprocess.PIPE, "cwd": tmp_path}
    how["env"] = environment(PYTHONUNBUFFERED=unbuffered)
    with open("/dev/full", "w") as full:
        done = python("-m", f"tinydiv.{words[0]}", *words[1:], stdout=full, **how)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"tinydiv.{words[0]}: the result could not be written to standard output: "
        f"{os.strerror(errno.ENOSPC)}"
    )
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_it_works_without_a_terminal_and_outside_the_main_thread():
    """As in a hosted notebook: no file behind stdout, no signals to catch."""
    codes = []
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        worker = threading.Thread(target=lambda: codes.append(train.main([*TOY, "--json"])))
        worker.start()
        worker.join()
    assert codes == [0]
    assert json.loads(out.getvalue())["history"]
    assert "epoch 2/2" in err.getvalue()


def test_networks_that_diverge_are_named(command):
    flags = [*TOY, "--replicas", "2", "--lr", "0.01/1000", "--optimizer", "sgd"]
    flags += ["--loss", "squared-error", "--data", "spirals:n_train=400,n_test=50"]
    flags += ["--hidden", "8,8"]
    code, out, err = command(*flags, "--json", "--out", "run")
    assert code == 0
    assert re.search(r"network 1 diverged at step \d+ in (layer \d|its gradient)", err)
    found = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert found["test_accuracy"][1] is None
    assert found["test_accuracy"][0] > 0
    assert found["diverged"][0]["network"] == 1
    assert metrics("run")[-1]["train_loss"] == ""


def test_many_networks_that_diverge_are_counted(command):
    flags = ["--replicas", "8", "--lr", "1000", "--optimizer", "sgd", "--loss", "squared-error"]
    flags += ["--data", "spirals:n_train=400,n_test=50", "--hidden", "8,8", "--init", "he-normal"]
    code, out, err = command(*TOY, *flags, "--quiet")
    assert code == 0
    assert "test accuracy none (diverged), mean of 0 of 8 networks" in out
    assert err.count(" diverged at step ") == 5  # also with --quiet
    assert err.endswith("8 of 8 networks diverged\n")


@pytest.mark.parametrize(
    "flags",
    [
        "--loss squared-error --optimizer momentum --lr 100 --batch-size 6000 --hidden 16,16 --epochs 3",
        "--data xor --hidden 4 --replicas 4 --technique coherence:strength=1e38 --optimizer sgd --lr 1000"
        " --epochs 1",
    ],
)
def test_what_overflows_after_the_last_check_is_recorded_as_diverged(command, flags):
    """In the update of the last step, or in the evaluation after it."""
    code, out, err = command(
        *flags.split(), "--metrics", "none", "--no-plot", "--json", "--out", "run"
    )
    assert code == 0
    found = json.loads(out)
    assert found["diverged"]
    for one in found["diverged"]:
        assert found["test_accuracy"][one["network"]] is None
        assert f"network {one['network']} diverged at step {one['step']} " in err
    model = np.load("run/model.npz")
    assert all(np.isfinite(model[name]).all() for name in ("W0", "b0", "W1", "b1"))


def test_a_penalty_that_is_not_finite_is_reported(command):
    """Its gradient may well be finite, so that the networks go on."""
    Path("mine.py").write_text(
        "from tinydiv.backend import xp\n"
        "from tinydiv.techniques import ActivationPenalty\n\n\n"
        "class Mine(ActivationPenalty):\n"
        "    def __call__(self, A, step):\n"
        "        return xp.sum(A, axis=(-2, -1)) + xp.inf, xp.zeros_like(A)\n"
    )
    flags = "--data moons --hidden 4 --replicas 2 --epochs 1 --metrics none --no-plot --quiet"
    code, out, err = command(*flags.split(), "--technique", "mine.py:Mine:strength=1")
    assert code == 0
    assert "mean of 2 networks" in out
    assert re.search(
        r"the value of \S*[mM]ine is not finite for 2 of 2 networks: a smaller strength", err
    )


# What the flags do ---------------------------------------------------------------------------------


def test_network_r_is_the_network_of_seed_plus_r(result):
    flags = [*TOY, "--shuffle", "own", "--dtype", "float64"]
    together = result(*flags, "--replicas", "3", "--seed", "4")
    for r in range(3):
        alone = result(*flags, "--seed", str(4 + r))
        for key in ("train_loss", "test_loss", "weight_cosine", "correlation"):
            got = [record[key][r] for record in together["history"]]
            wanted = [record[key][0] for record in alone["history"]]
            np.testing.assert_allclose(got, wanted, rtol=1e-9)


def test_shared_batches_are_those_of_the_seed(result):
    together = result(*TOY, "--replicas", "2", "--dtype", "float64")
    alone = result(*TOY, "--dtype", "float64")
    own = result(*TOY, "--replicas", "2", "--dtype", "float64", "--shuffle", "own")
    np.testing.assert_allclose(together["train_loss"][0], alone["train_loss"][0], rtol=1e-9)
    np.testing.assert_allclose(own["train_loss"][0], alone["train_loss"][0], rtol=1e-9)
    assert own["train_loss"][1] != together["train_loss"][1]


def test_rates_belong_to_networks(result):
    found = result(*TOY, "--replicas", "2", "--lr", "0/0.01", "--epochs", "3")
    still = {record["test_loss"][0] for record in (found["start"], *found["history"])}
    moves = {record["test_loss"][1] for record in (found["start"], *found["history"])}
    assert len(still) == 1
    assert len(moves) == 4


def test_weight_decay_and_schedule_reach_the_optimizer(result):
    flags = [*TOY, "--optimizer", "adamw", "--lr", "0.1"]
    runs = [
        result(*flags, *more)["train_loss"]
        for more in (
            [],
            ["--weight-decay", "1"],
            ["--schedule", "cosine"],
            ["--schedule", "linear:warmup=3"],
        )
    ]
    assert len({repr(loss) for loss in runs}) == 4


def test_smoothing_weights_and_clip_reach_the_training(result):
    flags = ["--data", "moons", "--epochs", "2", "--replicas", "2"]
    softened = ["--label-smoothing", "0.1", "--class-weights", "1,3", "--clip", "0.01/0.02"]
    config = result(*flags, *softened)["config"]
    assert config["label_smoothing"] == 0.1
    assert config["class_weights"] == [1.0, 3.0]
    assert config["clip"] == [0.01, 0.02]
    plain = result(*flags)["train_loss"]
    for one in (softened[:2], softened[2:4], softened[4:], ["--class-weights", "balanced"]):
        same = result(*flags, *one)["train_loss"] == plain
        assert same == ("balanced" in one)  # moons has as many samples of each class


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--class-weights", "1,2"], "--class-weights needs 10 numbers, one per class, got 2"),
        (["--class-weights", "even"], "--class-weights must be a number from 0"),
        (["--label-smoothing", "2"], "--label-smoothing must be a number from 0 to 1"),
        (
            ["--label-smoothing", "0.1", "--loss", "squared-error"],
            "belong to the loss cross-entropy",
        ),
        (["--clip", "0"], "--clip must be a number from 1e-12"),
        (["--clip", "1/2"], "--clip has 2 numbers, and --replicas is 1"),
    ],
)
def test_smoothing_weights_and_clip_that_cannot_be_are_one_sentence(flags, sentence, command):
    assert sentence in refused(command, *flags)


def test_the_same_flags_give_the_same_numbers(result):
    first, second = result(*TOY, "--seed", "9"), result(*TOY, "--seed", "9")
    assert first["run_dir"] != second["run_dir"]  # in the same second, too
    assert first["train_loss"] == second["train_loss"]
    assert first["train_loss"] != result(*TOY, "--seed", "10")["train_loss"]


@pytest.mark.parametrize(
    ("flag", "names"),
    [
        ("--activation", activations.ACTIVATIONS),
        ("--loss", losses.LOSSES),
        ("--optimizer", optimizers.OPTIMIZERS),
        ("--schedule", schedules.SHAPES),
        ("--init", initializers.BASES),
        ("--inputs", ("raw", "centred", "standardised")),
        ("--dtype", ("float32", "float64")),
        ("--backend", ("numpy", "auto")),
    ],
)
def test_every_name_that_is_listed_can_be_used(flag, names, result):
    seen = set()
    for name in names:
        seen.add(repr(result(*TOY, flag, name)["train_loss"]))
    if flag != "--backend":
        assert len(seen) == len(names)  # and each does something else


def test_dtype_and_hidden_shape_the_model(result):
    result(*TOY, "--dtype", "float64", "--hidden", "7,4", "--out", "run")
    net = tinydiv.load("run")
    assert (net.sizes, net.dtype) == ([2, 7, 4, 2], "float64")
    result(*TOY, "--hidden", "none", "--out", "linear")
    assert tinydiv.load("linear").sizes == [2, 2]


def test_metrics_can_be_chosen_or_left_out(result):
    found = result(*TOY, "--metrics", "correlation,dead_fraction", "--hidden", "4,3")
    record = found["history"][-1]
    assert {key.split(".")[0] for key in record} & set(diversity.METRICS) == {
        "correlation",
        "dead_fraction",
    }
    assert {"correlation.1", "correlation.2"} <= record.keys()
    record = result(*TOY, "--metrics", "none")["history"][-1]
    assert not set(record) & set(diversity.METRICS)
    assert set(result(*TOY, "--metrics", "all")["start"]) >= set(diversity.METRICS)


def test_metrics_within_epochs_are_printed_and_kept(result):
    flags = ["--metrics", "correlation", "--metrics-every", "2", "--batch-size", "50"]
    found = result(*TOY, *flags, "--out", "run")  # 4 steps an epoch
    assert [row["step"] for row in found["history"][0]["between"]] == [2, 4]
    assert [row["epoch"] for row in found["history"][1]["between"]] == [1.5, 2.0]
    rows = metrics("run")
    assert [row["step"] for row in rows] == ["0", "2", "4", "4", "6", "8", "8"]
    between = found["history"][1]["between"][0]["correlation"][0]
    assert float(rows[4]["correlation"]) == between


def test_a_small_set_makes_the_usual_batch_smaller(result):
    assert result("--data", "xor", "--no-plot", "--epochs", "1")["config"]["batch_size"] == 4
    assert result(*TOY, "--epochs", "0")["history"] == []


def test_toys_take_settings_and_a_seed(result):
    one = result(*TOY, "--data", "spirals:arms=3,n_train=200,n_test=50,noise=0.5")
    two = result(*TOY, "--data", "spirals:arms=3,n_train=200,n_test=50,noise=0.5,seed=1")
    assert one["train_loss"] != two["train_loss"]


# Lists ---------------------------------------------------------------------------------------------

REGISTRIES = {
    "techniques": TECHNIQUES,
    "initializers": {**initializers.SCHEMES, **initializers.BASES},
    "data": NAMES,
    "activations": activations.ACTIVATIONS,
    "losses": losses.LOSSES,
    "optimizers": optimizers.OPTIMIZERS,
    "schedules": schedules.SHAPES,
    "metrics": diversity.METRICS,
    "backends": ("numpy", "cupy", "auto"),
}


def test_list_json_has_every_name_with_its_line(command):
    code, out, err = command("--list", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found.keys() == REGISTRIES.keys() == listing.KINDS.keys()
    for kind, names in REGISTRIES.items():
        assert [entry["name"] for entry in found[kind]] == list(names)
        for entry in found[kind]:
            assert entry["summary"]
            assert "\n" not in entry["summary"]
    no_paper = [e["name"] for kind in found.values() for e in kind if not e["paper"]]
    assert set(no_paper) <= {"identity", "constant", "linear", "auto"}
    for entry in found["techniques"]:
        assert entry["family"]
        assert entry["kind"] in ("penalty", "layer", "intervention")
        assert entry["relative_cost"] > 0
        assert isinstance(entry["settings"], dict)
    starts = {entry["name"]: entry["settings"] for entry in found["initializers"]}
    assert starts["lowdin"]["mix"].items() >= {"default": 1.0, "low": 0, "high": 1}.items()
    assert starts["he-normal"] == {}


@pytest.mark.parametrize("kind", list(REGISTRIES))
def test_one_list_at_a_time(kind, command):
    code, out, _ = command("--list", kind)
    assert code == 0
    for name in REGISTRIES[kind]:
        assert re.search(rf"^  {re.escape(name)}  ", out, re.M)
    assert max(map(len, out.splitlines())) <= 110
    code, out, _ = command("--json", "--list", kind)
    assert list(json.loads(out)) == [kind]
    assert not Path("runs").exists()


def test_a_list_that_does_not_exist(command):
    assert "did you mean 'techniques'" in refused(command, "--list", "technique")
    assert "did you mean 'decov'" in refused(command, "--list", "decof")


@pytest.mark.parametrize("name", list(TECHNIQUES))
def test_list_of_one_technique_shows_all_of_it(name, command):
    """Each of its settings, with default, help and limits; and the docstring, as it stands."""
    code, out, _ = command("--list", name)
    assert code == 0
    assert inspect.getdoc(TECHNIQUES[name]) in out
    shown = " ".join(out.split())
    (one,) = listing.entries(name)["techniques"]
    fields = {field.name for field in dataclasses.fields(TECHNIQUES[name])}
    assert fields <= set(one["settings"])
    for key, limits in one["settings"].items():
        assert re.search(rf"^  {key}=\S+ +\S", out, re.M), key
        assert limits["help"] in shown, key
        for word in limits.get("choices", ()):
            assert word in shown
        if "only" in limits:
            assert f"only with {limits['only']}" in shown
    json.dumps(one, allow_nan=False)


@pytest.mark.parametrize("name", list(TECHNIQUES))
def test_the_limits_that_are_listed_are_those_that_hold(name):
    (one,) = listing.entries(name)["techniques"]
    for key, limits in one["settings"].items():
        only = f"{limits['only'].partition(' or ')[0]}," if "only" in limits else ""

        def taken(value, only=only, key=key):
            place(f"{name}:{only}{key}={value}")

        def refused_is(value, taken=taken):
            with pytest.raises(UsageError):
                taken(value)

        for value in limits.get("choices", ()):
            taken(value)
        if "choices" in limits:
            refused_is("nonsense")
        for end, beyond in (("low", -1), ("high", 1)):
            if end in limits:
                taken(f"{limits[end]:g}")
                refused_is(f"{limits[end] + beyond:g}")
        if "above" in limits:
            taken(f"{limits['above'] + 1e-9:.9f}")
            refused_is(f"{limits['above']:g}")
        if only:
            by_itself = f"{name}:{key}={listing.as_written(limits['default'])}"
            with pytest.raises(UsageError, match="only with"):
                place(by_itself)
        if limits["default"] is not None:
            taken(listing.as_written(limits["default"]))


def test_lambda_is_listed_beside_strength(command):
    _, out, _ = command("--list", "negative-correlation")
    assert "lambda=0.99" in out
    assert "strength = 1 - lambda; from 0 to 1" in " ".join(out.split())
    _, out, _ = command("--list", "techniques")
    assert "strength=0.01, lambda=0.99" in " ".join(out.split())


def test_a_name_of_two_kinds_is_listed_twice(command):
    _, out, _ = command("--list", "cosine", "--json")
    assert set(json.loads(out)) == {"techniques", "schedules"}


# Config files --------------------------------------------------------------------------------------


def test_a_config_file_sets_and_flags_win(result):
    Path("run.toml").write_text(
        'data = "moons:n_train=200,n_test=50"\nhidden = [6, 5]\nlr = [0.1, 0.2]\nreplicas = 2\n'
        'epochs = 1\nbatch-size = 20\ntechnique = ["decov:strength=0.2", "cosine"]\n'
        'metrics = ["correlation"]\nweight_decay = 1e-3\n'
    )
    config = result("--config", "run.toml", "--no-plot")["config"]
    assert config["hidden"] == [6, 5]
    assert config["lr"] == [0.1, 0.2]
    assert config["batch_size"] == 20
    assert config["technique"] == ["decov:strength=0.2", "cosine"]
    assert config["metrics"] == ["correlation"]
    assert config["weight_decay"] == [0.001]
    flags = ["--lr", "0.3", "--technique", "pearson", "--metrics", "all", "--hidden", "3"]
    config = result("--config", "run.toml", "--no-plot", *flags)["config"]
    assert config["lr"] == [0.3]
    assert config["technique"] == ["pearson"]
    assert config["hidden"] == [3]
    assert config["batch_size"] == 20
    flags = ["--config", "run.toml", "--no-plot", "--technique", "none"]
    assert result(*flags)["config"]["technique"] == []


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("epoch = 3", "run.toml has an unknown key 'epoch': did you mean 'epochs'?"),
        ("[train]\nepochs = 3", "unknown key 'train'"),
        ("out = 'x'", "unknown key 'out'"),
        (
            "epochs = true",
            "epochs in run.toml must be a whole number from 0 to 1,000,000, got True",
        ),
        ("epochs = 2.0", "must be a whole number"),
        ("batch-size = 0", "batch-size in run.toml must be a whole number from 1 to"),
        ("batch-size = 1\nbatch_size = 2", "sets batch_size twice"),
        ("lr = 'fast'", "lr in run.toml must be a number from 0 to 1,000, got 'fast'"),
        ("lr = nan", "must be a number from 0 to 1,000, got nan"),
        ("lr = []", "must not be an empty list"),
        ("data = 5", "data in run.toml must be some text, got 5"),
        ("hidden = {a = 1}", "every number of hidden in run.toml must be a whole number"),
        ("technique = [['decov']]", "technique in run.toml must be some text"),
        ("dtype = 2020-01-01", "dtype in run.toml cannot be datetime.date(2020, 1, 1)"),
        ("epochs = ", "run.toml cannot be read: "),
    ],
)
def test_a_config_file_that_does_not_fit_is_one_sentence(text, sentence, command):
    Path("run.toml").write_text(text)
    assert sentence in refused(command, "--config", "run.toml")


def test_a_config_file_that_cannot_be_read_is_one_sentence(command, monkeypatch):
    assert "there is no config file nothing.toml" in refused(command, "--config", "nothing.toml")
    assert "there is no config file" in refused(command, "--config", ".")
    Path("bytes.toml").write_bytes(b"\xff\xfe")
    assert "bytes.toml cannot be read" in refused(command, "--config", "bytes.toml")
    Path("deep.toml").write_text("a = " + "[" * 100_000)
    assert "deep.toml cannot be read" in refused(command, "--config", "deep.toml")

    def denied(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", denied)
    assert "cannot be read: Permission denied" in refused(command, "--config", "bytes.toml")


# What is refused -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ("--lrr 1", "there is no flag --lrr: did you mean '--lr'?"),
        ("--epoch=3", "there is no flag --epoch: did you mean '--epochs'?"),
        ("--lr", "--lr needs a value"),
        ("--json=1", "ignored explicit argument"),
        ("5", "'5' is not a flag"),
        ("--epochs -1", "--epochs must be a whole number from 0 to 1,000,000, got '-1'"),
        ("--epochs 1e3", "--epochs must be a whole number"),
        ("--batch-size 0", "--batch-size must be a whole number from 1 to 10,000,000, got '0'"),
        ("--batch-size 201", "must lie between 1 and 200 (the training set), got 201"),
        ("--replicas 0", "--replicas must be a whole number from 1 to 100,000, got '0'"),
        ("--seed -1", "--seed must be a whole number from 0 to"),
        ("--seed 1.5", "--seed must be a whole number from 0 to"),
        ("--hidden 16,0", "every number of --hidden must be a whole number from 1 to 65,536"),
        ("--hidden 16,,16", "every number of --hidden must be a whole number"),
        ("--hidden " + ",".join(["2"] * 65), "--hidden may have up to 64 numbers, got 65"),
        ("--lr -0.1", "--lr must be a number from 0 to 1,000, got '-0.1'"),
        ("--lr inf", "--lr must be a number from 0 to 1,000, got 'inf'"),
        ("--lr nan", "--lr must be a number from 0 to 1,000, got 'nan'"),
        ("--lr 1/2", "--lr has 2 numbers, and --replicas is 1: give one number, or --replicas 2"),
        (
            "--weight-decay 1/2/3 --replicas 2",
            "--weight-decay has 3 numbers, and --replicas is 2",
        ),
        ("--weight-decay x", "--weight-decay must be a number from 0 to 1,000, got 'x'"),
        ("--shuffle both", "--shuffle cannot be 'both': allowed: shared, own"),
        ("--dtype float16", "--dtype cannot be 'float16': did you mean 'float64'?"),
        ("--activation rleu", "no activation called 'rleu': did you mean 'relu'?"),
        ("--init he-norml", "no initializer called 'he-norml': did you mean 'he-normal'?"),
        ("--optimizer adm", "no optimizer called 'adm': did you mean 'adam'?"),
        ("--loss crossentropy", "no loss called 'crossentropy': did you mean 'cross-entropy'?"),
        ("--schedule cosin", "no schedule called 'cosin': did you mean 'cosine'?"),
        ("--schedule cosine:warmup=-1", "SHAPE:warmup=STEPS with a whole number"),
        ("--metrics corelation", "no metric called 'corelation': did you mean 'correlation'?"),
        ("--metrics correlation,,", "--metrics must be some text, got ''"),
        ("--inputs centered", "'centered'"),
        ("--backend cuda", "no backend called 'cuda'"),
        ("--data fashion", "no data set called 'fashion': did you mean 'fashion-mini'?"),
        ("--data moons:n_tran=3", "n_tran"),
        ("--data moons:noise=x", "settings are written moons:key=number"),
        ("--data moons:seed=0.5", "seed is a whole number"),
        ("--data fashion-mini:n=3", "takes no settings"),
        ("--data fashion-mini:seed=3", "takes no settings, got 'seed'"),
        ("--checkpoint-every 0", "--checkpoint-every must be a whole number from 1 to"),
        ("--technique decof", "no technique called 'decof': did you mean 'decov'?"),
        (
            "--technique decov:strenght=1",
            "decov has no setting 'strenght': did you mean 'strength'? "
            "Allowed: strength, layers, schedule, steps, patience",
        ),
        ("--technique decov:strength=-1", "strength must be a number from 0 up, got -1"),
        ("--technique decov:strength=nan", "strength must be a finite number, got nan"),
        ("--technique decov:strength=1/2", "one number or one per network (1), got 2"),
        ("--technique decov:layers=2", "the hidden layers are 1"),
        ("--technique muon --technique muon", "both own the update of W0"),
        ("--technique decov --hidden none", "acts on hidden layers, and this network has none"),
        ("--resume nowhere", "nowhere is not a run folder: there is no config.json in it"),
        ("--resume x --out y", "--resume continues in the run's own folder: leave out --out"),
    ],
)
def test_a_mistake_is_one_sentence(flags, sentence, command):
    assert sentence in refused(command, *TOY, *flags.split())
    assert not Path("runs").exists()


@pytest.mark.parametrize("flag", ["--data", "--config", "--out", "--resume", "--technique", "--lr"])
@pytest.mark.parametrize("value", ["", " ", "\0", "x\0y", "\udcff", "a\nb", "ü" * 2000])
def test_strange_values_are_one_sentence(flag, value, command):
    code, out, err = command(*TOY, flag, value)
    if flag == "--out" and code == 0:  # a strange name, but a name
        assert Path(value).is_dir()
        return
    assert code in (1, 2)
    assert out == ""
    assert err.count("\n") == 1
    assert "error in tinydiv" not in err


def test_what_can_never_fit_is_refused_before_the_machine_swaps(command):
    flags = ["--hidden", "65536,65536,65536", "--replicas", "100000"]
    printed = refused(command, *TOY, *flags, code=1)
    assert "GiB and this machine has" in printed
    assert "choose fewer --replicas or smaller --hidden layers" in printed


def test_a_decomposition_that_fails_is_one_sentence(command, monkeypatch):
    from tinydiv.runs import build as runs

    def overflows(*given):
        raise np.linalg.LinAlgError("Eigenvalues did not converge")

    monkeypatch.setattr(runs, "load_data", overflows)
    assert "a smaller --lr, milder settings" in refused(command, *TOY, code=1)


def test_no_memory_is_one_sentence(command, monkeypatch):
    from tinydiv.runs import build as runs

    def too_large(*given, **more):
        raise MemoryError("Unable to allocate 9 TiB")

    monkeypatch.setattr(runs, "MLP", too_large)
    printed = refused(command, *TOY, code=1)
    assert "not enough memory (Unable to allocate 9 TiB): use fewer --replicas" in printed


def test_a_missing_set_is_refused_with_how_to_get_it(command, monkeypatch, tmp_path):
    monkeypatch.setenv("TINYDIV_DATA_DIR", str(tmp_path / "nothing"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert "data_scripts/download.py mnist" in refused(command, "--data", "mnist", code=1)


def test_no_gpu_is_one_sentence(command, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert "tinydiv[cuda13]" in refused(command, *TOY, "--backend", "cupy", code=1)


def test_no_matplotlib_is_one_sentence(command, monkeypatch):
    monkeypatch.setattr(cli, "find_spec", lambda name: None)
    assert "or --no-plot" in refused(command, *TOY[:-1], code=1)


# The run's folder ----------------------------------------------------------------------------------


def test_out_may_be_new_or_empty(result):
    Path("empty").mkdir()
    assert result(*TOY, "--out", "empty")["run_dir"] == "empty"
    result(*TOY, "--out", "deep/down")
    assert Path("deep/down/model.npz").is_file()


def test_out_with_something_in_it_is_refused(command):
    Path("full").mkdir()
    Path("full/thesis.tex").write_text("mine")
    printed = refused(command, *TOY, "--out", "full")
    assert "--out full is not empty: name one that is new or empty" in printed
    assert [path.name for path in Path("full").iterdir()] == ["thesis.tex"]
    assert command(*TOY, "--quiet", "--out", "run")[0] == 0
    assert "or go on with that run by --resume run" in refused(command, *TOY, "--out", "run")


def test_out_that_cannot_be_a_folder_is_refused(command, monkeypatch):
    Path("file").write_text("")
    assert "--out file is a file" in refused(command, *TOY, "--out", "file")
    assert "cannot make the folder file/x" in refused(command, *TOY, "--out", "file/x", code=1)
    long = "x" * 300
    assert "file name too long" in refused(command, *TOY, "--out", long, code=1)

    def denied(*given, **more):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", denied)
    assert "cannot make the folder y: permission denied" in refused(
        command, *TOY, "--out", "y", code=1
    )
    assert "cannot make the folder runs: permission denied" in refused(command, *TOY, code=1)


def test_runs_that_is_a_file_is_one_sentence(command):
    Path("runs").write_text("")
    assert "cannot make the folder runs: " in refused(command, *TOY, code=1)


# A reader's own technique --------------------------------------------------------------------------

MINE = """\
from tinydiv.backend import xp
from tinydiv.techniques import ActivationPenalty, setting
{top}

class Mine(ActivationPenalty):
    "Small activations."
    scale: float = setting(1.0, low=0)

    def __call__(self, A, step):
        {inside}
        N = A.shape[-2]
        return self.scale * xp.sum(A**2, axis=(-2, -1)) / (2 * N), self.scale * A / N
"""


@pytest.fixture
def own():
    """Write mine.py, with a line at its top and one inside."""

    def write(top="", inside="", name="mine.py"):
        Path(name).write_text(MINE.format(top=top, inside=inside))

    return write


@pytest.mark.parametrize("path", ["mine.py", "./mine.py", r"C:\course\mine.py", "a:b/mine.py"])
def test_an_own_technique_trains(path, own, result):
    """On Windows a drive letter brings a colon of its own; here it is a strange name of a file."""
    Path(path).parent.mkdir(exist_ok=True)
    own(name=path)
    plain = result(*TOY)
    weak = result(*TOY, "--technique", f"{path}:Mine:strength=0.1")
    strong = result(*TOY, "--technique", f"{path}:Mine:strength=0.1,scale=20")
    assert plain["train_loss"] < weak["train_loss"] < strong["train_loss"]
    penalty = weak["history"][-1]["penalty.Mine"][0]
    assert 0 < penalty < 10
    assert Path(weak["config"]["technique"][0].rsplit(":", 2)[0]).is_absolute()


@pytest.mark.parametrize(
    ("top", "spec", "sentence"),
    [
        ("", "nothing.py:Mine", "there is no file nothing.py"),
        ("", "mine.py", "names a file but no class in it: write mine.py:ClassName"),
        ("", "mine.py:", "names no technique"),
        ("", "mine.py:Mime", "mine.py has no technique 'Mime': did you mean 'Mine'?"),
        ("", "mine.py:Mine:scale=-1", "Mine's scale must be at least 0, got -1"),
        ("", "mine.py:Mine:scale=big", "Mine's scale must be a number, got 'big'"),
        ("", "mine.py:Mine:size=1", "Mine has no setting 'size'"),
        ("", "mine.py:Mine:scale", "'scale' is not key=value"),
        ("import nothing_like_it", "mine.py:Mine", "ModuleNotFoundError: No module named"),
        ("1 / 0", "mine.py:Mine", "mine.py cannot be imported: ZeroDivisionError"),
        ("def (:", "mine.py:Mine", "mine.py cannot be imported: SyntaxError"),
        ("raise SystemExit(0)", "mine.py:Mine", "mine.py cannot be imported: SystemExit"),
        ("raise ValueError('a\\nb')", "mine.py:Mine", "ValueError: a b"),
    ],
)
def test_an_own_file_that_cannot_be_used_is_one_sentence(top, spec, sentence, own, command):
    own(top)
    assert sentence in refused(command, *TOY, "--technique", spec)
    assert not Path("runs").exists()


SHAPELESS = """\
from tinydiv.backend import xp
from tinydiv.techniques import {base}

class Mine({base}):
    def {called}
"""
TOTAL = "xp.sum({0}**2, axis=(-2, -1))"


@pytest.mark.parametrize(
    ("base", "called", "sentence"),
    [
        (
            "ActivationPenalty",
            "__call__(self, A, step): return 3",
            "(value, dA), and it returned int",
        ),
        (
            "ActivationPenalty",
            "__call__(self, A, step): return xp.sum(A**2, axis=-1), A",
            "Mine's value at layer 1 must have shape {R}, one number per network, and it has {R+N}",
        ),
        (
            "ActivationPenalty",
            f"__call__(self, A, step): return {TOTAL.format('A')}, A.mT",
            "Mine's dA at layer 1 must have the shape of A, {R+N+5}, and it has {R+5+N}",
        ),
        (  # the two below would add up, to a meaningless value
            "ActivationPenalty",
            f"__call__(self, A, step): return {TOTAL.format('A')}, A[..., :1, :]",
            "Mine's dA at layer 1 must have the shape of A, {R+N+5}, and it has {R+1+5}",
        ),
        (
            "WeightPenalty",
            f"__call__(self, W, step): return {TOTAL.format('W')}, W[..., :1]",
            "Mine's dW at layer 1 must have the shape of W, {R+2+5}, and it has {R+2+1}",
        ),
        (
            "TwoViewPenalty",
            f"__call__(self, A, B, step): return {TOTAL.format('A')}, A, B.mT",
            "Mine's dB at layer 1 must have the shape of B, {R+N+5}, and it has {R+5+N}",
        ),
        (
            "NeuronPenalty",
            f"__call__(self, W, V, step): return {TOTAL.format('W')}, W, V.mT",
            "Mine's dV at layer 1 must have the shape of V, {R+5+2}, and it has {R+2+5}",
        ),
        (
            "OutputPenalty",
            f"__call__(self, Y, step): return {TOTAL.format('Y')}, Y[..., :1]",
            "Mine's dlogits at layer 2 must have the shape of logits, {R+N+2}, and it has {R+N+1}",
        ),
        (
            "EnsemblePenalty",
            f"__call__(self, A, V, c, step): return {TOTAL.format('A')}, A, V, c[..., 0, :1]",
            "Mine's dc at layer 1 must have the shape of c, {R+1+2}, and it has {R+1}",
        ),
        (
            "LayerTechnique",
            "forward(self, x, context): return x[..., :1], None",
            "Mine's output at layer 1 must have shape {R+M+5}, and it has {R+M+1}",
        ),
        (
            "LayerTechnique",
            "forward(self, x, context): return x, None\n"
            "    def backward(self, dy, cache): return dy.mT, {}",
            "Mine's dx at layer 1 must have shape {R+N+5}, and it has {R+5+N}",
        ),
        (
            "LayerTechnique",
            "forward(self, x, context): return x, None\n"
            "    def backward(self, dy, cache): return dy, {'g': dy[..., 0, :1]}\n"
            "    shapes = property(lambda self: {'g': (1, self.width)})",
            "Mine's dg at layer 1 must have shape {R+1+5}, and it has {R+1}",
        ),
        (
            "LayerTechnique",
            "forward(self, x, context): return x, None\n"
            "    def backward(self, dy, cache): return dy, {'gain': dy}",
            "Mine returned dgain, but its gradients are: none",
        ),
    ],
)
@pytest.mark.parametrize("replicas", [1, 3])
def test_an_own_gradient_of_a_wrong_shape_is_named(base, called, sentence, replicas, command):
    """The technique, the layer, the array, both shapes; {R+N+5}: ([replicas,] batch, 5), M: all."""
    Path("mine.py").write_text(SHAPELESS.format(base=base, called=called))
    lead = (replicas,) if replicas > 1 else ()

    def written(match):
        sizes = {"R": lead, "N": (64,), "M": (200,)}
        parts = [sizes[part] if part in sizes else (int(part),) for part in match[1].split("+")]
        return str(tuple(n for part in parts for n in part))

    flags = [*TOY, "--quiet", "--technique", "mine.py:Mine", "--replicas", str(replicas)]
    printed = refused(command, *flags)
    assert re.sub(r"\{(.*?)\}", written, sentence) in printed
    assert "Mine" in printed


@pytest.mark.parametrize(
    ("inside", "sentence"),
    [
        ("raise ValueError('oh')", "mine.py, line 10: ValueError: oh"),
        ("A.nonsense", "mine.py, line 10: AttributeError: "),
        ("A @ A", "mine.py, line 10: ValueError: matmul"),
        ("raise MemoryError", "not enough memory"),
        ("raise SystemExit", "mine.py, line 10: SystemExit"),
    ],
)
def test_an_own_technique_that_fails_names_its_line(inside, sentence, own, command, empty_folder):
    own(inside=inside)
    printed = refused(
        command, *TOY, "--quiet", "--technique", "mine.py:Mine", "--out", "run", code=1
    )
    assert sentence in printed
    assert str(empty_folder / "mine.py") in printed or "MemoryError" in inside
    assert not Path("run").exists()  # so that --out can be used again
    own()
    assert command(*TOY, "--quiet", "--technique", "mine.py:Mine", "--out", "run")[0] == 0


def test_the_traceback_is_printed_with_the_environment_variable(own, command, monkeypatch):
    own(inside="raise ValueError('oh')")
    monkeypatch.setenv("TINYDIV_TRACEBACK", "1")
    code, _, err = command(*TOY, "--quiet", "--technique", "mine.py:Mine")
    assert code == 1
    assert "Traceback (most recent call last)" in err
    assert err.splitlines()[-1].startswith("tinydiv.train: ")
    assert "mine.py, line 10: ValueError: oh" in err.splitlines()[-1]
    code, _, err = command("--lr", "x")
    assert code == 2
    assert "Traceback" in err


def test_a_fault_of_tinydiv_is_reported_as_its_own(command, monkeypatch):
    from tinydiv.runs import build as runs

    monkeypatch.setattr(runs, "load_data", lambda *given: 1 / 0)
    code, _, err = command(*TOY)
    assert code == 1
    assert "ZeroDivisionError: division by zero, in test_train_cli.py, line" in err
    assert "please report it" in err


def test_a_fault_of_another_package_is_not_reported_as_tinydivs(command, monkeypatch, tmp_path):
    """matplotlib with usetex and no LaTeX; NumPy older than what tinydiv needs."""
    from tinydiv.command import cli
    from tinydiv.runs import build as runs

    there = tmp_path / "site-packages" / "matplotlib" / "texmanager.py"
    names = {}
    exec(compile("def tex(*given): raise RuntimeError('no latex')", str(there), "exec"), names)
    monkeypatch.setattr(runs, "load_data", names["tex"])
    code, _, err = command(*TOY)
    assert code == 1
    assert "RuntimeError: no latex, in texmanager.py, line 1: this comes from matplotlib" in err
    versions = {"numpy": "1.26.4"}
    monkeypatch.setattr("importlib.metadata.version", lambda name: versions.get(name, "99.0"))
    assert "numpy 1.26.4 is installed and tinydiv needs 2.0 or newer" in cli.too_old()
    code, _, err = command(*TOY)
    assert 'pip install "numpy>=2.0"' in err


def test_ctrl_c_before_the_first_step_is_130(command, monkeypatch):
    from tinydiv.runs import build as runs

    def stopped(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "load_data", stopped)
    code, out, err = command(*TOY)
    assert (code, out, err) == (130, "", "tinydiv.train: stopped\n")
