"""python -m tinydiv.starts: pictures of what a start does, and the right numbers."""

import re

import pytest

from tinydiv.starts import command as starts


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The command, run once on few steps: (exit code, its output, folder)."""
    import contextlib
    import io

    folder, printed = tmp_path_factory.mktemp("starts") / "pictures", io.StringIO()
    specs = ["--init", "lowdin:mix=0.5@pytorch", "--init", "decorrelated", "--init", "adversarial"]
    with contextlib.redirect_stdout(printed):
        code = starts.main([*specs, "--steps", "40", "--networks", "4", "--out", str(folder)])
    return code, printed.getvalue(), folder


def test_a_picture_per_start(drawn):
    code, _, folder = drawn
    assert code == 0
    names = {path.name for path in folder.iterdir()}
    assert names == {"lowdin-mix-0.5-on-pytorch.png", "decorrelated.png", "adversarial.png"}
    for path in folder.iterdir():
        assert path.read_bytes()[:4] == b"\x89PNG"
        assert b"Histogram, correlation of two neurons' responses" in path.read_bytes()


def test_the_table_has_different_numbers_for_different_starts(drawn):
    rows = {line.split()[0]: [float(cell) for cell in line.split()[1:]] for line in lines(drawn)}
    assert rows["he-normal"][0] == pytest.approx((2 / (3.14159 * 784)) ** 0.5, rel=0.15)
    assert rows["he-normal"][1] > 0.15 > 0.05 > rows["decorrelated"][1]
    assert rows["adversarial"][0] > 0.95
    assert rows["decorrelated"][2] == pytest.approx(0.1, rel=0.3)
    assert rows["decorrelated"][3] > rows["he-normal"][3] > 0.1


def lines(drawn):
    return [line for line in drawn[1].splitlines()[1:] if not line.endswith("pictures")][:5]


def test_a_wrong_start_is_refused_before_anything_is_drawn(tmp_path, capsys):
    assert starts.main(["--init", "lodwin", "--out", str(tmp_path / "none")]) == 2
    assert "did you mean 'lowdin'" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_one_picture_is_one_picture(tmp_path, capsys):
    flags = ["--init", "orthogonal", "--hidden", "4", "--steps", "10"]
    assert starts.main([*flags, "--networks", "1", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.endswith(f"\n1 picture in {tmp_path}\n")


def test_networks_that_diverge_are_counted_and_have_no_accuracy(tmp_path, capsys):
    """Warnings are errors here: that numbers overflow is no surprise to the reader, either."""
    flags = ["--data", "moons", "--hidden", "5", "--init", "he-normal", "--lr", "1000"]
    flags += ["--steps", "40", "--out", str(tmp_path)]
    assert starts.main(flags) == 0
    assert re.search(r" (0\.\d{4}|diverged)   [1-8] of 8 diverged$", capsys.readouterr().out, re.M)
    assert starts.main([*flags, "--networks", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[3].endswith("  diverged   1 of 1 diverged")
