"""Every command on a disk that takes no larger file, and with its streams closed or full."""

import os
import shlex
import subprocess
import sys

import helpers
import pytest
from studies import TOML

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell"),
]

SMALL = "--data xor --hidden 3"
WRITING = {  # each with a file that it writes
    "train": f"{SMALL} --epochs 1 --out out",
    "trace": f"{SMALL} --picture old.png",
    "study": "small.toml --quick --out out --workers 1",
    "gallery": f"{SMALL} --technique decov --epochs 1 --out old.png",
    "starts": f"{SMALL} --init he-normal --steps 10 --out out",
    "predictions": "run",
    "grow": "condense run --taus 0.9 --out out",
}
RIGHT = WRITING | {
    "check": "--only relu",
    "grow auxiliary": "--tasks step --trials 2 --epochs 20 --out out --workers 1",
    "train --list": "techniques",
    "train --help": "",
}
WRONG = dict.fromkeys([*WRITING, "check", "play"], "--nix")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run to read."""
    folder = tmp_path_factory.mktemp("machine") / "run"
    words = "-m tinydiv.train --data moons --hidden 4 --epochs 1 --replicas 4 --no-plot --out"
    assert helpers.python(*words.split(), str(folder)).returncode == 0
    return folder


@pytest.fixture
def command(run, tmp_path):
    """A command in a folder with small.toml, a run and an old picture: (exit code, stdout, stderr)."""
    (tmp_path / "small.toml").write_text(TOML)
    (tmp_path / "old.png").write_bytes(b"old")
    (tmp_path / "run").symlink_to(run)

    def started(name, words, before="", streams=""):
        line = f"{before} exec {shlex.quote(sys.executable)} -m tinydiv.{name} {words} {streams}"
        env = helpers.environment(PYTHONDONTWRITEBYTECODE="1")  # a limit leaves half a .pyc behind
        how = {"capture_output": True, "text": True, "check": False, "env": env}
        done = subprocess.run(["bash", "-c", line], cwd=tmp_path, **how)
        assert "Traceback" not in done.stdout + done.stderr
        assert "error in tinydiv" not in done.stderr
        return done.returncode, done.stdout, done.stderr

    return started


@pytest.mark.parametrize("blocks", [1, 2])  # of 1,024 bytes
@pytest.mark.parametrize("name", WRITING)
def test_a_file_that_does_not_fit_is_a_sentence_and_nothing_is_lost(
    name, blocks, command, tmp_path
):
    code, _, err = command(name, WRITING[name], before=f"ulimit -f {blocks};")
    assert code == 1
    last = err.splitlines()[-1]
    assert last.startswith(f"tinydiv.{name}: cannot write ")
    assert "file too large" in last
    assert (tmp_path / "old.png").read_bytes() == b"old"
    assert not list(tmp_path.rglob("*.part.*"))
    again = ["--resume out" if name == "train" and (tmp_path / "out").exists() else WRITING[name]]
    again += ["--resume"] * (name == "study")
    assert command(name, " ".join(again))[0] == 0


@pytest.mark.parametrize("streams", [">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full"])
@pytest.mark.parametrize("name", RIGHT)
def test_a_command_does_its_work_without_its_streams(name, streams, command):
    code, out, err = command(name, RIGHT[name], streams=streams)
    if streams == ">/dev/full":
        assert code == 1
        assert "could not be written to standard output: No space left on device" in err
    else:
        assert code == 0
    assert bool(out) == (streams == "2>&-")


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_sends_nothing_to_another_stream(name, command):
    assert command(name, WRONG[name], streams=">&-")[:2] == (2, "")
    assert command(name, WRONG[name], streams="2>&-") == (2, "", "")
    assert command(name, WRONG[name], streams=">&- 2>&-") == (2, "", "")
    code, out, err = command(name, WRONG[name], streams="2>/dev/full")
    assert (code, out, err) == (2, "", "")
