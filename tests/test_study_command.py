"""python -m tinydiv.study: its output, its folder, its mistakes."""

import json
import shutil
from pathlib import Path

import pytest
from helpers import WITNESS, python, refused
from studies import TABLES, TOML, command, environment

from tinydiv.study import command as study
from tinydiv.study import load_study
from tinydiv.techniques import registry


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("command")
    (folder / "mine.toml").write_text(TOML)
    finished = command("mine.toml", "--quick", "--workers", "1", cwd=folder)
    assert finished.returncode == 0, finished.stderr
    return folder, finished


def test_results_go_to_stdout_and_the_rest_to_stderr_and_to_a_folder_of_its_own(done):
    folder, finished = done
    out = folder / "runs/study-mine-quick"
    assert finished.stdout.strip() == (out / "table.md").read_text().strip()
    assert finished.stdout.startswith("# Moons")
    assert "2 paired seeds" in finished.stdout
    assert f"everything is in {'runs/study-mine-quick'}" in finished.stderr
    expected = {"study.json", "costs.json", *TABLES}
    assert expected < {p.name for p in out.iterdir()}
    assert {"curves-default.png", "forest-default.png"} <= {
        p.name for p in (out / "figures").iterdir()
    }


def test_tables_alone_by_folder_and_by_study(done, monkeypatch, capsys):
    folder, finished = done
    monkeypatch.chdir(folder)
    for words in (
        ["runs/study-mine-quick", "--tables", "--no-figures"],
        ["mine.toml", "--quick", "--tables", "--no-figures"],
    ):
        assert study.main(words) == 0
        assert capsys.readouterr().out.strip() == finished.stdout.strip()


SHORT = ["--train", "data=moons:n_train=256,n_test=200", "--train", "hidden=[6]"]
SHORT += ["--train", "epochs=2", "--seeds", "2", "--executor", "serial", "--no-figures"]


def test_arms_on_the_command_line_make_a_study(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arms = ["--init", "glorot-normal", "--init", "orthogonal", "--technique", "decov:strength=0.1"]
    assert study.main([*arms, *SHORT]) == 0
    printed = capsys.readouterr().out
    assert "base arm: glorot-normal" in printed
    assert "orthogonal (adam" in printed
    assert "decov:strength=0.1 (adam" in printed
    kept = json.loads((tmp_path / "runs/study-arms/study.json").read_text())["study"]
    assert kept["train"] == {"data": "moons:n_train=256,n_test=200", "hidden": [6], "epochs": 2}
    assert [arm["changes"].get("init") for arm in kept["arms"]] == [
        *("glorot-normal", "orthogonal", "glorot-normal")
    ]
    assert study.main([*arms, *SHORT, "--tables"]) == 0
    assert capsys.readouterr().out == printed


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "name a study or a .toml file, or arms by --init and --technique"),
        (["paper", "--init", "he-normal"], "define a study: leave out the study"),
        (["--init", "he-norml"], "did you mean 'he-normal'"),
        (["--init", "he-normal", "--init", "he-normal"], "the arm 'he-normal' is used twice"),
        (["--technique", "decov", "--train", "epochs"], "is written KEY=VALUE"),
        (["--technique", "decov", "--train", "epoch=3"], "did you mean 'epochs'"),
        (["--technique", "decov", "--quick"], "--quick belongs to a study file"),
    ],
)
def test_wrong_arms_on_the_command_line_are_one_sentence(
    words, sentence, monkeypatch, capsys, tmp_path
):
    monkeypatch.chdir(tmp_path)
    assert study.main(words) == 2
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_study_in_the_help_can_be_read(tmp_path):
    text = study.parser().format_help().partition("A study in twelve lines")[2]
    lines = [line.removeprefix("  ") for line in text.splitlines()[1:] if line.startswith("  ")]
    (tmp_path / "my_study.toml").write_text("\n".join(lines))
    assert len(lines) == 12
    found = load_study(str(tmp_path / "my_study.toml"))
    assert [arm.name for arm in found.arms] == ["plain", "decov"]


def test_an_arm_that_fits_nowhere_is_not_left_out_silently(tmp_path, monkeypatch, capsys):
    misspelt = '\n[[arms]]\nname = "lost"\nonly = { data = "moos" }\n'
    (tmp_path / "mine.toml").write_text(TOML + misspelt)
    monkeypatch.chdir(tmp_path)
    assert study.main(["mine.toml", "--plan"]) == 0
    assert "the arm 'lost' takes part in no setting" in capsys.readouterr().out


def test_a_plan_trains_nothing(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.toml").write_text(TOML)
    monkeypatch.chdir(tmp_path)
    assert study.main(["mine.toml", "--plan", "--seeds", "20"]) == 0
    message = capsys.readouterr().out
    # 4 arms and 2 controls; 20 seeds in two regimes, and 6 tuning runs for each arm of the file
    assert message.startswith("mine: 6 arms (controls included), 1 settings, 20 paired seeds")
    assert f"{4 * 6 + 2 * 6 * 20} networks" in message
    assert [p.name for p in tmp_path.iterdir()] == ["mine.toml"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name a study or a .toml file"),
        (["mine.toml", "--sedes", "3"], "there is no flag --sedes: did you mean '--seeds'"),
        (["mine.toml", "--seeds", "none"], "--seeds must be a whole number from 1"),
        (["mine.toml", "--workers", "0"], "--workers must be a whole number from 1"),
        (["mine.toml", "--executor", "dusk"], "there is no executor called 'dusk'"),
        (["mine.toml", "--backend", "cuda"], "there is no backend called 'cuda'"),
        (["papr"], "there is no study called 'papr': did you mean 'paper'"),
        (["mine.toml", "--out", " "], "--out needs the name of a folder"),
        (["nowhere", "--tables"], "nowhere holds no study"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(words, message, tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.toml").write_text(TOML)
    monkeypatch.chdir(tmp_path)
    assert refused(capsys, study.main, words, message).startswith("tinydiv.study: ")
    assert [p.name for p in tmp_path.iterdir()] == ["mine.toml"]


OWN = """
title = "Mine"
seeds = 2
[train]
data = "xor"
hidden = [3]
epochs = 1
[[arms]]
name = "plain"
[[arms]]
name = "mine"
technique = ["mine.py:Mine:every={strength}"]
strength = 2
"""


def test_code_that_only_a_study_names_is_run_only_when_it_is_allowed(tmp_path, monkeypatch, capsys):
    """A study's file and its folder may be a stranger's."""
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text(OWN)
    Path("mine.py").write_text(WITNESS)

    def outcome(*words):
        registry.IMPORTED.clear()  # as in a process of its own
        Path("was_run").unlink(missing_ok=True)
        code = study.main([*words, "--executor", "serial", "--no-figures"])
        return code, Path("was_run").exists(), capsys.readouterr().err

    for words in ["mine.toml"], ["mine.toml", "--plan"]:
        code, ran, sentence = outcome(*words)
        assert (code, ran) == (2, False)
        assert "mine.toml names the code in mine.py, which is run only with your perm" in sentence
    assert outcome("mine.toml", "--allow-code")[:2] == (0, True)
    code, ran, sentence = outcome("runs/study-mine", "--tables")
    assert (code, ran) == (2, False)
    assert "the study in runs/study-mine names the code in mine.py, which is" in sentence
    assert outcome("runs/study-mine", "--tables", "--allow-code")[:2] == (0, True)
    assert outcome("mine.toml", "--resume")[:2] == (2, False)
    assert outcome("mine.toml", "--resume", "--allow-code")[:2] == (0, True)
    technique = ["--technique", "mine.py:Mine", *("--train", "data=xor"), *("--seeds", "2")]
    assert outcome(*technique)[:2] == (0, True)  # it is named here
    tables = outcome("runs/study-arms", "--tables")[:2]
    assert tables == (0, False)  # without {strength} the code is not needed
    Path("mine.py").write_text(WITNESS + "# changed")
    for words in (["runs/study-mine", "--tables"], ["mine.toml", "--resume"]):
        code, ran, sentence = outcome(*words, "--allow-code")
        assert (code, ran) == (2, False)
        assert "mine.py was changed since the study in runs/study-mine was made" in sentence


def test_help_names_every_flag_and_shows_commands(capsys):
    assert study.main(["--help"]) == 0
    message = capsys.readouterr().out
    for flag in ("--quick", "--seeds", "--backend", "--executor", "--out", "--resume", "--workers"):
        assert flag in message
    assert "python -m tinydiv.study paper --quick" in message


SCRIPT = """
from tinydiv.study import Arm, Study, run_study
study = Study("s", [Arm("plain")], train={"data": "moons:n_train=64,n_test=64", "hidden": [3]}, seeds=2)
report = run_study(study, "out", workers=2, figures=False, show=False)
print("done", report.results.done())
"""


def test_a_script_needs_no_main_guard_and_standard_input_is_a_script_too(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    for words, given in (("script.py",), None), (("-",), SCRIPT), (("-c", SCRIPT), None):
        done = python(*words, input=given, cwd=tmp_path, env=environment())
        assert done.stdout == "done (6, 6)\n", done.stderr
        shutil.rmtree(tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["paper", "minima", "atlas"])
def test_the_small_version_of_a_named_study_runs_to_its_end(name, tmp_path):
    """Two minutes on two cores at most: the limit here leaves room for a busy machine."""
    finished = command(name, "--quick", "--out", "out", cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert "Planted effects: found in" in finished.stdout
    assert "NOT found" not in finished.stdout
    assert "do not rely" not in finished.stdout
