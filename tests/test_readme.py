"""The README is right: its code runs, its commands exist, its files and links are there."""

import ast
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from helpers import python
from test_names import COMMANDS, LESSON, ROOMS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
ROOMS_MAP = (ROOT / "tinydiv" / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README + ROOMS_MAP, re.DOTALL)


def commands(text):
    """Every `python -m tinydiv...` of a document, as lists of words."""
    found = re.findall(
        r"python (-m (?:tinydiv|tests\.bench)[.\w]*[^`\n&|]*|data_scripts/[^`\n&|]*)", text
    )
    return sorted({shlex.join(shlex.split(line)) for line in found})


def test_the_learners_loop_runs_as_it_stands(capsys):
    loop = next(block for block in BLOCKS if "replicas=100" in block)
    names = {}
    exec(compile(loop.replace("replicas=100", "replicas=3"), "README.md", "exec"), names)
    assert names["loss"].shape == (3,)
    assert (names["loss"] < 1.5).all()  # it learned: an untrained network has about 2.3
    assert names["number"] == 92


def test_the_first_lines_print_what_stands_below_them(capsys):
    """Eight plain lines; the gradient's numbers, and the checker's verdicts."""
    names = {}
    first = next(block for block in BLOCKS if "check_gradients" in block)
    lines = [line for line in first.splitlines() if line.strip()]
    assert len(lines) == len(ast.parse(first).body) == 8  # one statement a line
    exec(compile(first, "README.md", "exec"), names)
    shown = re.search(r"```text\n(.*?)```", README, re.DOTALL)[1]
    printed = capsys.readouterr().out

    def steady(text):
        lines = text.splitlines()
        return lines[:2], [re.sub(r"\d\.\de-\d+", "", line).split() for line in lines[2:]]

    (array, verdicts), (shown_array, shown_verdicts) = steady(printed), steady(shown)
    assert array == shown_array
    assert verdicts[: len(shown_verdicts)] == shown_verdicts
    net, changed = names["net"], names["net"].dtheta.copy()
    net.backward(names["trace"], names["dlogits"])
    half = net.view(net.dtheta, "W0") / 2  # plain assignment reached the buffer
    np.testing.assert_allclose(net.view(changed, "W0"), half, rtol=1e-12)


def test_the_readers_own_technique_is_right_and_trains(tmp_path, monkeypatch):
    own = next(block for block in BLOCKS if "class Apart" in block)
    assert len([line for line in own.splitlines() if line.strip()]) <= 10
    (tmp_path / "mine.py").write_text(own, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    from tinydiv.check import command as check
    from tinydiv.train import command as train

    assert check.main(["mine.py"]) == 0
    line = next(c for c in commands(ROOMS_MAP) if "mine.py:Apart" in c)
    argv = [*shlex.split(line)[2:], "--epochs", "1", "--no-plot", "--quiet", "--out", "run"]
    assert train.main(argv) == 0
    assert (tmp_path / "run" / "model.npz").exists()


def test_the_lesson_is_counted_and_every_file_of_it_named():
    found = re.search(
        r"The lesson is (\d+) files, about ([\d,]+) lines.*?order:\*\*(.*?)\.\s", README, re.S
    )
    files, lines = int(found[1]), int(found[2].replace(",", ""))
    assert sorted(re.findall(r"`(\w+)\.py`", found[3] + ".")) == sorted(LESSON)
    assert files == len(LESSON)
    counted = sum(
        len((ROOT / "tinydiv" / f"{name}.py").read_text().splitlines()) for name in LESSON
    )
    assert abs(lines - counted) <= 150, f"README says {lines} lines, and there are {counted}"


def test_the_map_of_the_rooms_is_the_one_that_the_imports_keep():
    table = re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \| \[(.+)\]", ROOMS_MAP, re.MULTILINE)
    may = {room: set(re.findall(r"`(\w+)`", allowed)) for room, _, allowed, _ in table}
    assert may == {room: set(allowed) for room, allowed in ROOMS.items()}
    commands = re.findall(r"^\| `(\w+)` \| [^|]+ \| \[[^|]+\|$", ROOMS_MAP, re.MULTILINE)
    assert commands == list(COMMANDS)
    drawn = ROOMS_MAP.partition("```text")[2].partition("```")[0]
    assert set(re.findall(r"(\w+)/", drawn)) == {*ROOMS, *COMMANDS}


def test_a_network_is_read_by_numpy_alone_and_goes_to_pytorch_and_back(
    tmp_path, monkeypatch, capsys
):
    elsewhere = next(block for block in BLOCKS if "torch_export" in block)
    monkeypatch.chdir(tmp_path)
    from tinydiv.train import command as train

    line = next(c for c in commands(ROOMS_MAP) if "--out run" in c)
    argv = [*shlex.split(line)[2:], "--epochs", "1", "--no-plot", "--quiet"]
    assert train.main(argv) == 0
    capsys.readouterr()
    names = {}
    exec(compile(elsewhere, "README.md", "exec"), names)
    recipe, logits = capsys.readouterr().out, names["logits"]
    kept = names["tinydiv"].load("run")
    A = (names["A"]).astype(kept.dtype)
    assert logits.shape == (1000, 10)
    for net in (kept, names["net"]):
        np.testing.assert_allclose(net.forward(A).logits, logits, rtol=0, atol=1e-4)
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: extra [torch]")
    exec(recipe, names)
    there = names["model"](torch.from_numpy(A)).detach().numpy()
    np.testing.assert_allclose(there, logits, rtol=0, atol=1e-4)


def test_the_start_goes_to_jax_and_keras():
    """The arrays give our logits by the formula that the recipe has for JAX."""
    names = {}
    exec(compile(next(block for block in BLOCKS if "Keras" in block), "README.md", "exec"), names)
    arrays, X = names["arrays"], names["X"]
    assert [array.shape for array in arrays] == [(784, 16), (16,), (16, 10), (10,)]
    assert {array.dtype.name for array in (X, *arrays)} == {"float32"}
    logits = np.maximum(X @ arrays[0] + arrays[1], 0) @ arrays[2] + arrays[3]
    np.testing.assert_allclose(logits, names["net"].forward(X).logits, rtol=1e-4, atol=1e-5)
    jax = pytest.importorskip("jax", reason="JAX is not installed: extra [bench]")
    params = [jax.numpy.asarray(array) for array in arrays]
    theirs = jax.nn.relu(X @ params[0] + params[1]) @ params[2] + params[3]
    np.testing.assert_allclose(theirs, logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("line", commands(README + ROOMS_MAP + CONTRIBUTING))
def test_every_command_exists_and_takes_its_flags(line):
    """--help of each command names every flag that a document gives it."""
    words = shlex.split(line)
    program = words[:2] if words[0] == "-m" else words[:1]
    shown = python(*program, "--help", cwd=ROOT)
    assert shown.returncode == 0, shown.stderr
    for word in words:
        if word.startswith("--"):
            assert word.split("=")[0] in shown.stdout, f"{line}: no {word}"


def test_the_front_page_is_short_and_in_the_order_of_a_newcomers_questions():
    assert len(README.split()) <= 800
    first, *sections = re.split(r"^## ", README, flags=re.MULTILINE)
    _title, _sentence, picture, *_ = first.split("\n\n")
    assert "](results/readme/picture.png)" in picture
    titles = [section.splitlines()[0] for section in sections]
    assert titles == [
        "Every gradient is yours",
        "Learn",
        "The claim that started it",
        "Recipes",
        "Speeds and small print",
    ]


def test_links_and_pictures_lead_somewhere():
    for text, folder in ((README, ROOT), (CONTRIBUTING, ROOT), (ROOMS_MAP, ROOT / "tinydiv")):
        for target in re.findall(r"\]\(([^)#\s]+)\)", text):
            assert target.startswith("http") or (folder / target).exists(), target


def test_no_number_is_left_to_be_filled_in():
    assert not re.findall(r"@\w+@", README)
