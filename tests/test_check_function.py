"""Any function with its gradients can be checked where it stands; mistakes are told in one sentence."""

import numpy as np
import pytest

from tinydiv.check.functions import check_function
from tinydiv.errors import UsageError

X = np.linspace(-1, 2, 12).reshape(4, 3)


def mean_square(w):
    z = X @ w
    return np.sum(z**2) / (2 * len(X)), {"w": X.T @ z / len(X)}


def test_a_right_gradient_is_right_to_the_last_digits():
    report = check_function(mean_square, {"w": np.array([0.5, -0.3, 0.8])}, samples=4)
    assert report.right
    assert report.rows[0].complex_error < 1e-12


@pytest.mark.parametrize(("factor", "code"), [(4, "not-averaged"), (-1, "sign"), (2, "scaled")])
def test_a_wrong_one_is_named(factor, code):
    def wrong(w):
        value, gradients = mean_square(w)
        return value, {"w": factor * gradients["w"]}

    report = check_function(wrong, {"w": np.array([0.5, -0.3, 0.8])}, samples=4)
    assert report.faults[0].worst.finding.code == code


def test_float32_and_more_than_one_number_are_refused():
    with pytest.raises(UsageError, match="checked in float64, but w is float32"):
        check_function(mean_square, {"w": np.ones(3, "float32")})
    with pytest.raises(UsageError, match=r"one number as its value, got shape \(4,\)"):
        check_function(lambda w: (X @ w, {"w": w}), {"w": np.ones(3)})


@pytest.mark.parametrize(("zeros", "said"), [(1, "1 entry at"), (2, "2 entries at")])
def test_entries_at_a_kink_are_counted_in_words(zeros, said):
    z = np.concatenate([np.zeros(zeros), [1.0, -2.0]])
    report = check_function(
        lambda z: (np.sum(np.maximum(0, z)), {"z": 1.0 * (z > 0)}), {"z": z}, samples=1
    )
    assert report.right
    assert report.rows[0].words == f"right; {said} a kink left out"
