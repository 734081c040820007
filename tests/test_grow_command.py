"""python -m tinydiv.grow: each comparison in small, resumed, and told off in one sentence."""

import numpy as np
import pytest

from tinydiv.grow.command import main
from tinydiv.growing import auxiliary_study
from tinydiv.growing.comparing import difference, ratio

SMALL = ["auxiliary", "--tasks", "cubic", "--trials", "6", "--epochs", "60", "--processes", "1"]


def test_auxiliary_compares_all_arms(tmp_path, capsys):
    out = tmp_path / "aux"
    assert main([*SMALL, "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "| growing / grown | the paper's two arms | 6 |" in text
    assert (out / "cubic.png").stat().st_size > 10_000
    assert text.strip() == (out / "table.md").read_text().strip()
    trials = auxiliary_study.read_trials(out / "trials.csv.gz")
    assert len(trials) == 7
    assert trials["cubic", "0.1", "grown"]["seed"].tolist() == list(range(6))
    assert trials["cubic", "0.1", "grown"]["size"] == pytest.approx(5, abs=0.1)
    assert (trials["cubic", "0.1", "growing"]["size"] < 1).all()


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


def test_quick_is_small_and_processes_change_nothing(tmp_path, capsys):
    flags = ["auxiliary", "--quick", "--epochs", "20", "--arms", "growing,grown", "--no-figures"]
    assert main([*flags, "--processes", "2", "--out", str(tmp_path / "two")]) == 0
    assert main([*flags, "--processes", "1", "--out", str(tmp_path / "one")]) == 0
    one, two = ((tmp_path / n / "table.md").read_text() for n in ("one", "two"))
    assert one == two
    assert "| 24 |" in one


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ([], "name a comparison: auxiliary"),
        (["auxiliery"], "there is no comparison 'auxiliery'"),
        (["auxiliary", "--room", "0"], "--room must be a whole number from 1"),
        (["auxiliary", "--goal", "12"], "the goal 12 lies beyond the room: there are 9 neurons"),
        (["auxiliary", "--lam", "-1"], "--lam must be a number from 0"),
        (["auxiliary", "--tasks", "cubik"], "cubic"),
        (["auxiliary", "--arms", "groing"], "growing"),
        (["auxiliary", "--arms", "none"], "nothing to compare"),
        (["auxiliary", "--sweep", "3", "--lam", "1"], "leave out --lam"),
        (["auxiliary", "--out", " "], "--out needs the name of a folder"),
        (["auxiliary", "--trails", "3"], "--trials"),
    ],
)
def test_mistakes_are_one_sentence(flags, sentence, capsys):
    assert main(flags) == 2
    said = capsys.readouterr().err.strip()
    assert sentence in said
    assert len(said.splitlines()) == 1


def test_another_comparison_is_refused_in_the_same_folder(tmp_path, capsys):
    flags = [*SMALL, "--arms", "growing", "--out", str(tmp_path / "a"), "--no-figures"]
    assert main(flags) == 0
    assert main([*flags, "--goal", "4"]) == 2
    assert "was begun with goal 5.0, not 4.0" in capsys.readouterr().err
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("x")
    assert main([*SMALL, "--out", str(tmp_path / "full")]) == 2
    assert "holds other files" in capsys.readouterr().err


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
