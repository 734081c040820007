"""The two kinds of error, the nearest spelling that they name, and how a command ends."""

import json
import os
import shlex
import signal
import subprocess
import sys

import numpy as np
import pytest

from tinydiv.check.suite import chosen
from tinydiv.command import cli, listing
from tinydiv.errors import FEW, LISTS, RunError, UsageError, check_known, near, nearest, unknown
from tinydiv.grow import command as grow
from tinydiv.settings import rounded
from tinydiv.study import command as study_command
from tinydiv.train import command as train


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("rleu", "did you mean 'relu'? Allowed: relu, tanh"),
        ("tan", "did you mean 'tanh'? Allowed: relu, tanh"),
        ("zzz", "allowed: relu, tanh"),
        ("", "allowed: relu, tanh"),
        ("t", "allowed: relu, tanh"),  # no nearest match for a single letter
        ("ReLU", "did you mean 'relu'? Allowed: relu, tanh"),
    ],
)
def test_the_nearest_name_or_else_all(name, sentence):
    assert nearest(name, iter(["relu", "tanh"])) == sentence


@pytest.mark.parametrize(
    ("kind", "name", "meant"),
    [
        ("initializers", "he", ["he-normal"]),
        ("initializers", "xavier", []),
        ("initializers", "normal", ["he-normal"]),
        ("initializers", "glorot_", ["glorot-normal"]),
        ("techniques", "decor", ["decorrelated-inputs", "decov"]),
        ("techniques", "energy", ["hyperspherical-energy"]),
        ("techniques", "DeCov", ["decov"]),
        ("techniques", "orthogonal", ["orthogonal-gradient", "reorthogonalise"]),
        ("metrics", "corr", ["correlation"]),
        ("metrics", "effective-rank", ["effective_rank"]),
        ("data", "fashion", ["fashion-mini"]),
        ("optimizers", "ada", ["adam"]),
        ("losses", "cross", ["cross-entropy"]),
        ("losses", "mse", []),
    ],
)
def test_half_a_name_is_near_enough(kind, name, meant):
    names = [str(one["name"]) for one in listing.entries(kind)[kind]]
    assert near(name, names) == meant


def test_two_near_names_are_both_suggested():
    printed = nearest("decor", ["decov", "decorrelated-inputs"])
    assert printed.startswith("did you mean 'decorrelated-inputs' or 'decov'? Allowed: decov, ")


def test_a_name_that_is_allowed_twice_is_listed_once():
    assert nearest("zzz", ["network", "relu", "network"]) == "allowed: network, relu"
    with pytest.raises(UsageError, match=r"llowed: network, activations, .*, and 51 more$"):
        chosen(["WRONG"])


@pytest.mark.parametrize(
    ("kind", "name"), [(k, n) for k in LISTS for n in ("zzz", "deco", "mnits")]
)
def test_of_many_names_a_message_says_what_shows_them(kind, name):
    names = [str(one["name"]) for one in listing.entries(LISTS[kind])[LISTS[kind]]]
    assert len(names) > FEW
    with pytest.raises(UsageError) as error:
        check_known(kind, name, names)
    message = str(error.value)
    assert message.endswith(f"python -m tinydiv.train --list {LISTS[kind]} shows all {len(names)}")
    assert all(f"did you mean {word!r}" in message for word in near(name, names)[:1])
    assert len(message) < 200


def test_an_unknown_name_is_a_users_mistake():
    error = unknown("activation", "rleu", {"relu": 1, "tanh": 2})
    assert isinstance(error, UsageError)
    assert str(error).startswith("there is no activation called 'rleu': did you mean 'relu'?")


def test_a_users_mistake_is_a_value_error_and_the_machines_is_none():
    assert issubclass(UsageError, ValueError)
    assert issubclass(RunError, RuntimeError)
    assert not issubclass(RunError, ValueError)


# Endings of a command ------------------------------------------------------------------------------

QUICK = ["--data", "xor", "--hidden", "3", "--epochs", "1", "--no-plot", "--metrics", "none"]


def started(*flags, cwd, close=""):
    """train in a process of its own, with a stream closed: (exit code, stdout, stderr)."""
    words = shlex.join([sys.executable, "-m", "tinydiv.train", *flags])
    done = subprocess.run(
        ["sh", "-c", f"{words} {close}"], cwd=cwd, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
def test_a_closed_stderr_sends_nothing_to_stdout(tmp_path):
    assert started("--data", "nix", cwd=tmp_path, close="2>&-") == (2, "", "")
    code, out, _ = started(*QUICK, "--json", cwd=tmp_path, close="2>&-")
    assert code == 0
    assert json.loads(out)["config"]["data"] == "xor"


def test_two_dashes_are_no_value(capsys):
    assert train.main(["--data=--"]) == 2
    assert capsys.readouterr().err == "tinydiv.train: --data cannot be '--'\n"


def test_control_characters_of_a_files_name_do_not_reach_the_terminal(capsys):
    assert train.main(["--config", "a\x1b[2J\r\u202eb.toml"]) == 2
    printed = capsys.readouterr().err
    assert "a\\x1b[2J \\u202eb.toml" in printed
    assert printed.count("\n") == 1


@pytest.mark.skipif(os.name == "nt", reason="needs a file system that takes any name")
def test_no_command_writes_control_characters_of_names(tmp_path, monkeypatch, capsys):
    name = "a\x1b[2J\r\u202eb"
    monkeypatch.chdir(tmp_path)
    np.savez(f"{name}.npz", X=np.arange(60.0).reshape(20, 3), y=np.arange(20) % 2)
    flags = ["--data", f"{name}.npz", "--hidden", "3", "--epochs", "1", "--out", f"run{name}"]
    assert train.main(flags) == 0  # with a picture
    assert grow.main(["condense", f"run{name}", "--taus", "0.9", "--out", f"out{name}"]) == 0
    study = ["--technique", "decov", "--train", "data=xor", "--train", "epochs=1", "--seeds", "2"]
    assert study_command.main([*study, "--out", f"study{name}", "--no-figures"]) == 0
    printed = "".join(capsys.readouterr())
    assert printed.count("a\\x1b[2J") > 5
    assert not [c for c in printed if c in name[1:-1] and not c.isprintable()]


OWN = """\
import os
from tinydiv.backend import xp
from tinydiv.techniques import ActivationPenalty
class Stop(BaseException):
    pass
class Ends(ActivationPenalty):
    def __call__(self, A, step):
        raise Stop("no more")
class Moves(ActivationPenalty):
    def __call__(self, A, step):
        os.chdir("/")
        return xp.sum(A**2, axis=(-2, -1)) / 2, A
"""


def test_an_own_technique_may_raise_anything_and_go_anywhere(tmp_path, monkeypatch, capsys):
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    assert train.main([*QUICK, "--quiet", "--technique", "own.py:Ends", "--out", "a"]) == 1
    printed = capsys.readouterr().err
    assert "own.py, line 8: Stop: no more" in printed
    assert printed.count("\n") == 1
    assert not (tmp_path / "a").exists()
    assert train.main([*QUICK, "--quiet", "--technique", "own.py:Moves", "--out", "b"]) == 0
    assert (tmp_path / "b" / "model.npz").is_file()


def test_ctrl_c_that_an_import_turns_into_another_error_is_ctrl_c(capsys):
    def imports(argv):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("an import of NumPy failed") from None

    assert cli.run("tinydiv.train", imports, []) == 130
    assert capsys.readouterr().err == "tinydiv.train: stopped\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (5000, 3, "5,000"),
        (1234.5, 6, "1,234.5"),
        (999.7, 3, "1,000"),
        (12345, 2, "12,000"),
        (-1.234e6, 3, "-1,230,000"),
        (0.00421, 2, "0.0042"),
        (4.2e-5, 3, "4.2e-05"),
        (1e12, 6, "1e+12"),
        (0, 3, "0"),
        (float("inf"), 3, "inf"),
        (float("nan"), 3, "nan"),
    ],
)
def test_numbers_are_written_as_a_person_writes_them(value, digits, text):
    assert rounded(value, digits) == text
    assert rounded(value, digits, sign="+") == (text if text[0] == "-" else f"+{text}")
