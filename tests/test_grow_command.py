"""python -m tinydiv.grow: each comparison in small, resumed, and mistakes in one sentence."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers import environment, refused

from tinydiv.errors import RunError
from tinydiv.grow.command import main
from tinydiv.growing import auxiliary_study, mask_study, pieces, raw
from tinydiv.growing.comparing import difference, ratio
from tinydiv.growing.fashion import Fashion
from tinydiv.study import command as study
from tinydiv.train import command as train

SMALL = ["auxiliary", "--tasks", "cubic", "--trials", "6", "--epochs", "60", "--workers", "1"]


def test_auxiliary_compares_all_arms(tmp_path, capsys):
    out = tmp_path / "aux"
    assert main([*SMALL, "--epochs", "4", "--animate", "--out", str(out)]) == 0
    assert (out / "cubic.gif").read_bytes()[:3] == b"GIF"
    text = capsys.readouterr().out
    assert "| growing / grown | the paper's two arms | 6 |" in text
    assert (out / "cubic.png").stat().st_size > 10_000
    assert text.strip() == (out / "table.md").read_text().strip()
    trials = auxiliary_study.read_trials(out / "trials.csv.gz")
    assert len(trials) == 7
    assert trials["cubic", "0.1", "grown"]["seed"].tolist() == list(range(6))
    assert trials["cubic", "0.1", "grown"]["size"] == pytest.approx(5, abs=0.1)
    assert (trials["cubic", "0.1", "growing"]["size"] < 1).all()


def test_trials_draw_their_own_points_or_share_them(tmp_path, monkeypatch):
    seen = []

    def noted(setting, arm, seeds, shared):
        seen.append(shared)
        raise KeyboardInterrupt

    monkeypatch.setattr(auxiliary_study, "work", noted)
    flags = [*SMALL, "--arms", "growing", "--no-figures"]
    for name, more in (("a", []), ("b", ["--points", "shared"])):
        assert main([*flags, *more, "--out", str(tmp_path / name)]) == 130
    assert seen == [False, True]


def test_a_sweep_draws_the_band(tmp_path, capsys):
    out = tmp_path / "sweep"
    small = [*SMALL, "--sweep", "3", "--arms", "growing,grown", "--out", str(out)]
    small[2] = "bessel-window"
    assert main(small) == 0
    assert (out / "bessel-window-lambda.png").is_file()
    table = capsys.readouterr().out
    assert "| bessel-window | 0.01 |" in table
    assert "geometric 11.4" in table


def test_what_is_done_is_not_done_again(tmp_path, monkeypatch, capsys):
    flags = [*SMALL, "--arms", "growing,grown", "--out", str(tmp_path / "a"), "--no-figures"]
    real, done = auxiliary_study.work, []

    def stopping(*arguments):
        if done:
            raise KeyboardInterrupt
        done.append(1)
        return real(*arguments)

    monkeypatch.setattr(auxiliary_study, "work", stopping)
    assert main(flags) == 130
    monkeypatch.setattr(auxiliary_study, "work", real)
    kept = list((tmp_path / "a" / "pieces").glob("*.npz"))
    assert len(kept) == 1
    before = kept[0].stat().st_mtime_ns
    assert main(flags) == 0
    assert kept[0].stat().st_mtime_ns == before
    whole = [*SMALL, "--arms", "growing,grown", "--out", str(tmp_path / "b"), "--no-figures"]
    assert main(whole) == 0
    for name in ("trials.csv.gz", "table.md"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize(("workers", "notice"), [("1", "after this piece"), ("2", "half done")])
def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(tmp_path, workers, notice):
    out = tmp_path / "out"
    words = ["auxiliary", "--tasks", "cubic", "--sweep", "8", "--trials", "2", "--epochs", "2000"]
    words += ["--arms", "growing", "--workers", workers, "--no-figures", "--out", str(out)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tinydiv.grow", *words],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    patience = time.monotonic() + 60
    while not list(out.glob("pieces/*.npz")):
        assert time.monotonic() < patience
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    printed, message = process.communicate(timeout=60)
    kept = {path: path.stat().st_mtime_ns for path in out.glob("pieces/*.npz")}
    assert process.returncode == 130
    assert printed == ""
    assert f"{notice} (once more: at once)" in message
    assert f"stopped: {len(kept)} of 8 pieces are kept in {out}: give the same" in message
    assert "Traceback" not in message
    assert 0 < len(kept) < 8
    assert main(words) == 0
    assert len(list(out.glob("pieces/*.npz"))) == 8
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items())


def test_a_worker_that_dies_is_one_sentence(tmp_path):
    """os.abort stands for the kernel that kills a process for its memory."""
    parts = [pieces.Piece(name, os.abort, ()) for name in ("a", "b")]
    died = pytest.raises(
        RunError, match=r"a worker died .*kept in .*x: give the same command again"
    )
    with pieces.opened(tmp_path / "x", {"comparison": "none"}), died:
        pieces.run(tmp_path / "x", parts, 2)


def test_one_process_at_a_time_works_in_a_folder(tmp_path, capsys):
    out = tmp_path / "out"
    flags = [*SMALL, "--arms", "growing", "--no-figures", "--out", str(out)]
    assert main(flags) == 0
    kept = json.loads((out / "config.json").read_text())
    capsys.readouterr()
    with pieces.opened(out, kept):
        refused(capsys, main, flags, f"another process is at work in {out}: let it finish")
    assert main(flags) == 0  # the lock went with its holder


def test_a_damaged_piece_is_computed_again(tmp_path, capsys):
    out = tmp_path / "out"
    flags = [*SMALL, "--arms", "growing,grown", "--no-figures", "--out", str(out)]
    assert main(flags) == 0
    table, kept = (out / "table.md").read_bytes(), sorted(out.glob("pieces/*.npz"))
    contents = [path.read_bytes() for path in kept]
    for spoil in (
        lambda content: content[:-40],  # no directory of the archive
        lambda content: content.replace(b"PK\x01\x02", b"PK\x01\x03"),
        lambda content: content[:60] + bytes([content[60] ^ 16]) + content[61:],
        lambda content: b"",
        lambda content: b"[1]",
    ):
        kept[0].write_bytes(spoil(contents[0]))
        capsys.readouterr()
        assert main(flags) == 0
        assert f"note: {kept[0]} was damaged: it is computed again" in capsys.readouterr().err
        assert [path.read_bytes() for path in kept] == contents
        assert (out / "table.md").read_bytes() == table


@pytest.mark.parametrize("content", ["[1]", "7", "null", "{", "{" * 5000, '{"comparison": NaN}'])
def test_damaged_settings_are_one_sentence(content, tmp_path, capsys):
    (tmp_path / "config.json").write_text(content)
    flags = [*SMALL, "--no-figures", "--out", str(tmp_path)]
    refused(capsys, main, flags, "config.json is damaged: ", code=1)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_quick_is_small_and_processes_change_nothing(tmp_path, capsys):
    flags = ["auxiliary", "--quick", "--epochs", "20", "--arms", "growing,grown", "--no-figures"]
    assert main([*flags, "--workers", "2", "--out", str(tmp_path / "two")]) == 0
    assert main([*flags, "--workers", "1", "--out", str(tmp_path / "one")]) == 0
    one, two = ((tmp_path / n / "table.md").read_text() for n in ("one", "two"))
    assert one == two
    assert "| 24 |" in one


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ([], "name a comparison: auxiliary"),
        (["auxiliery"], "there is no comparison 'auxiliery'"),
        (["auxiliary", "--room", "0"], "--room must be a whole number from 1"),
        (["auxiliary", "--goal", "12"], "the goal 12 is too large: there are 9 neurons"),
        (["auxiliary", "--lam", "-1"], "--lam must be a number from 0"),
        (["auxiliary", "--tasks", "cubik"], "cubic"),
        (["auxiliary", "--arms", "groing"], "growing"),
        (["auxiliary", "--arms", "none"], "nothing to compare"),
        (["auxiliary", "--sweep", "3", "--lam", "1"], "leave out --lam"),
        (["auxiliary", "--out", " "], "--out needs the name of a folder"),
        (["auxiliary", "--trails", "3"], "--trials"),
        (["mask", "--tasks", "bezel"], "bessel"),
        (["mask", "--arms", "statik"], "static"),
        (["mask", "--widths", "0"], "every number of --widths must be a whole number from 1"),
        (["mask", "--widths", "none"], "nothing to compare"),
        (["mask", "--points", "3"], "--points must be a whole number from 10"),
        (["mask", "--lrs", "-1"], "--lrs must be a number from 0"),
        (["fashion", "--first", "40"], "--first 40 is more than the width 32"),
        (["fashion", "--arms", "rondom"], "random"),
        (["fashion", "--data", "fashion-mimi"], "fashion-mini"),
        (["fashion", "--beside", "decof"], "decov"),
        (["fashion", "--every", "none", "--data", "fashion-mini"], "nothing to compare"),
    ],
)
def test_mistakes_are_one_sentence(flags, sentence, capsys):
    refused(capsys, main, flags, sentence)


def test_another_comparison_is_refused_in_the_same_folder(tmp_path, capsys):
    flags = [*SMALL, "--arms", "growing", "--out", str(tmp_path / "a"), "--no-figures"]
    assert main(flags) == 0
    assert main([*flags, "--goal", "4"]) == 2
    assert "was begun with goal 5.0, not 4.0" in capsys.readouterr().err
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("x")
    assert main([*SMALL, "--out", str(tmp_path / "full")]) == 2
    assert "holds other files" in capsys.readouterr().err
    (tmp_path / "full" / "config.json").write_text("{}")  # a run of tinydiv.train has one, too
    assert main([*SMALL, "--out", str(tmp_path / "full")]) == 2
    assert "holds other files" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("specs", "sentence"),
    [
        (["grow:first=9"], "grow's first is 9 and layer 1 has room for 8 neurons"),
        (["net2net:first=0"], "net2net's first must be at least 1, got 0"),
        (["learned-size", "size-loss:goal=9"], "goal 9 is too large for layer 1"),
        (["learned-size", "size-loss:strength=-1"], "strength must be a number from 0 up, got -1"),
        (["residual-fitting", "sigmoid"], "needs an activation function with f(0) = 0"),
        (["grow", "empty"], "the training part of 'empty' is empty"),
    ],
)
def test_growth_that_cannot_be_is_one_sentence_in_train_and_study(
    specs, sentence, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    x, y = np.zeros((0, 2)), np.zeros(0, "int32")
    np.savez("empty.npz", train_x=x, train_y=y, test_x=x, test_y=y)
    data = "empty.npz" if "empty" in specs else "moons"
    activation = "sigmoid" if "sigmoid" in specs else "tanh"
    techniques = [spec for spec in specs if spec not in ("empty", "sigmoid")]
    flags = ["--data", data, "--hidden", "8", "--activation", activation, "--out", "run"]
    flags += [word for spec in techniques for word in ("--technique", spec)]
    refused(capsys, train.main, flags, sentence)
    Path("it.toml").write_text(
        f'seeds = 2\nbase = "g"\n[train]\nhidden = [8]\nactivation = "{activation}"\n[grid]\ndata = '
        f'["{data}"]\n[[arms]]\nname = "g"\ntechnique = {json.dumps(techniques)}\n'
    )
    refused(capsys, study.main, ["it.toml", "--out", "study"], sentence)
    assert not Path("run").exists()
    assert not Path("study").exists()
    if data == "empty.npz":
        refused(capsys, main, ["fashion", "--data", data, "--out", "grow"], sentence)


def test_a_raw_file_gives_back_what_was_written(tmp_path):
    losses = [np.float32(0.12345678), 2.0, np.nan]
    rows = [{"arm": "a", "width": 4, "seed": i, "test": v} for i, v in enumerate(losses)]
    for name in ("one.gz", "two.gz"):
        raw.write(tmp_path / name, rows)
    found = raw.read(tmp_path / "one.gz", {"arm": str, "width": int}, ("seed", "test"))
    assert list(found) == [("a", 4)]
    assert found["a", 4]["seed"].tolist() == [0, 1, 2]
    assert np.array_equal(found["a", 4]["test"], [0.12346, 2, np.nan], equal_nan=True)
    assert (tmp_path / "one.gz").read_bytes() == (tmp_path / "two.gz").read_bytes()


def test_ratios_and_differences():
    b = np.exp(np.random.default_rng(0).normal(size=200))
    found = ratio(b / 2, b)
    assert found.means.estimate == pytest.approx(0.5)
    assert found.geometric.estimate == pytest.approx(0.5)
    assert found.wins == 1
    spoiled = ratio(np.append(b / 2, np.nan), np.append(b, 1.0))
    assert (spoiled.trials, spoiled.left_out) == (200, 1)
    assert difference(b + 1, b).estimate == pytest.approx(1)
    assert ratio([1.0], [1.0]) is None


# The controller's mask ---------------------------------------------------------------------------

SMALL_MASK = ["mask", "--seeds", "4", "--epochs", "40", "--points", "50", "--workers", "1"]


def test_mask_compares_every_arm_at_its_best_rate(tmp_path, capsys):
    out = tmp_path / "mask"
    flags = [*SMALL_MASK, "--tasks", "all", "--arms", "all", "--lrs", "1e-3/1e-2"]
    assert main([*flags, "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "| bessel | 10 | 0.001 | static | 4 |" in text
    assert "0.01, best of 2 | mask-closed | 2 |" in text
    assert len(list(out.glob("*.png"))) == 4
    seeds = mask_study.read_seeds(out / "seeds.csv.gz")
    assert len(seeds) == 2 * 2 * 8
    static = seeds["bessel", 10, 0.001, "static"]
    assert (static["size"] == 1).all()
    assert (seeds["spirals", 10, 0.01, "mask"]["test"] >= 0).all()
    assert (seeds["bessel", 10, 0.01, "gate"]["size"] > 0.2).all()


# Images at equal flops ---------------------------------------------------------------------------


def test_every_arm_spends_the_same():
    study = Fashion(steps=300, every=(20,), widths=(16,))
    full = study.cost(16, 20, "full")
    growing = study.cost(16, 20, "random")
    assert len(full) == 300
    assert full[-1] == 300
    assert growing[-1] == pytest.approx(300, abs=1)
    assert growing[19] == pytest.approx(20 * 4 / 16)
    assert len(growing) > 300
    assert study.awake(16, 20, "random", 60) == 16


def test_fashion_compares_every_way_to_grow(tmp_path, capsys):
    out = tmp_path / "fashion"
    flags = ["fashion", "--data", "fashion-mini", "--steps", "60", "--every", "10", "--seeds", "2"]
    flags += ["--widths", "12", "--workers", "1", "--out", str(out)]
    assert main(flags) == 0
    text = capsys.readouterr().out
    for arm in ("full", "random", "decorrelated", "gradmax", "net2net", "residual"):
        assert f" | {arm} | " in text
    assert (out / "12.png").is_file()
    assert main([*flags, "--steps", "70"]) == 2
    assert "was begun with steps 60, not 70" in capsys.readouterr().err
