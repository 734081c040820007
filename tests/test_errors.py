"""The two kinds of error, and the half sentence that names the nearest spelling."""

import pytest

from tinydiv.errors import RunError, UsageError, nearest, unknown


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("rleu", "did you mean 'relu'? Allowed: relu, tanh"),
        ("tan", "did you mean 'tanh'? Allowed: relu, tanh"),
        ("zzz", "allowed: relu, tanh"),
        ("", "allowed: relu, tanh"),
    ],
)
def test_the_nearest_name_or_else_all(name, sentence):
    assert nearest(name, iter(["relu", "tanh"])) == sentence


def test_an_unknown_name_is_a_users_mistake():
    error = unknown("activation", "rleu", {"relu": 1, "tanh": 2})
    assert isinstance(error, UsageError)
    assert str(error).startswith("there is no activation called 'rleu': did you mean 'relu'?")


def test_a_users_mistake_is_a_value_error_and_the_machines_is_none():
    assert issubclass(UsageError, ValueError)
    assert issubclass(RunError, RuntimeError)
    assert not issubclass(RunError, ValueError)
