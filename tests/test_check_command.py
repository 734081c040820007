"""python -m tinydiv.check: right is 0, wrong is 1, a mistake is 2, and nothing passes vacuously."""

import json

import pytest

from tinydiv.check import command as check

RIGHT = """
from tinydiv.backend import matmul, xp
from tinydiv.techniques import ActivationPenalty

class Mine(ActivationPenalty):
    def __call__(self, A, step):
        N = A.shape[-2]
        C = A - xp.mean(A, axis=-2, keepdims=True)
        S = matmul(C.mT, C) / N
        return xp.sum(S**2, axis=(-2, -1)) / 2, (2 / N) * matmul(C, S)
"""


def outcome(tmp_path, capsys, text, *flags):
    (tmp_path / "mine.py").write_text(text, encoding="utf-8")
    code = check.main([str(tmp_path / "mine.py"), *flags])
    return code, capsys.readouterr()


def test_every_gradient_of_the_package_is_right(capsys):
    """All of them, as the README's command checks them."""
    assert check.main(["--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["right"] is True


def test_a_right_technique_of_the_readers_passes(tmp_path, capsys):
    code, printed = outcome(tmp_path, capsys, RIGHT)
    assert code == 0
    assert "right" in printed.out


@pytest.mark.parametrize(
    ("right", "wrong", "words"),
    [
        ("(2 / N) * matmul", "(4 / N) * matmul", "2.000x too large"),
        ("(2 / N) * matmul", "-(2 / N) * matmul", "sign flipped"),
        ("(2 / N) * matmul(C, S)", "2 * matmul(C, S)", "not averaged over the batch"),
        ("(2 / N) * matmul(C, S)", "(2 / N) * matmul(A, S)", "mean"),
    ],
)
def test_a_wrong_one_is_named_in_words(tmp_path, capsys, right, wrong, words):
    code, printed = outcome(tmp_path, capsys, RIGHT.replace(right, wrong))
    assert code == 1
    assert words in printed.out + printed.err


def test_a_gradient_that_is_all_zero_proves_nothing(tmp_path, capsys):
    """A hinge that no point reaches: value and gradient are zero, and that is a failure."""
    hinge = RIGHT[: RIGHT.index("        C = ")] + (
        "        over = xp.maximum(A - 1e6, 0)\n"
        "        return xp.sum(over, axis=(-2, -1)) / N, (A > 1e6).astype(A.dtype) / N\n"
    )
    code, printed = outcome(tmp_path, capsys, hinge)
    assert code == 1
    assert "zero" in printed.out + printed.err


def test_a_gradient_that_is_not_a_number_fails(tmp_path, capsys):
    code, _ = outcome(tmp_path, capsys, RIGHT.replace("(2 / N) *", "xp.nan *"))
    assert code == 1


def test_mistakes_get_a_sentence_and_two(tmp_path, capsys):
    assert check.main(["--only", "decof"]) == 2
    assert "did you mean 'decov'" in capsys.readouterr().err
    assert check.main([str(tmp_path / "nowhere.py")]) == 2
    assert "nowhere.py" in capsys.readouterr().err
