"""The two kinds of error, and the half sentence that names the nearest spelling."""

import pytest

from tinydiv.check.suite import chosen
from tinydiv.command import listing
from tinydiv.errors import RunError, UsageError, near, nearest, unknown


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("rleu", "did you mean 'relu'? Allowed: relu, tanh"),
        ("tan", "did you mean 'tanh'? Allowed: relu, tanh"),
        ("zzz", "allowed: relu, tanh"),
        ("", "allowed: relu, tanh"),
        ("t", "allowed: relu, tanh"),  # one letter says too little
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


def test_two_near_names_are_both_said():
    said = nearest("decor", ["decov", "decorrelated-inputs"])
    assert said.startswith("did you mean 'decorrelated-inputs' or 'decov'? Allowed: decov, ")


def test_a_name_that_is_allowed_twice_is_said_once():
    assert nearest("zzz", ["network", "relu", "network"]) == "allowed: network, relu"
    with pytest.raises(UsageError) as error:
        chosen(["WRONG"])
    listed = str(error.value).partition("llowed: ")[2].split(", ")
    assert len(listed) == len(set(listed)) > 50
    assert listed.count("network") == 1


def test_an_unknown_name_is_a_users_mistake():
    error = unknown("activation", "rleu", {"relu": 1, "tanh": 2})
    assert isinstance(error, UsageError)
    assert str(error).startswith("there is no activation called 'rleu': did you mean 'relu'?")


def test_a_users_mistake_is_a_value_error_and_the_machines_is_none():
    assert issubclass(UsageError, ValueError)
    assert issubclass(RunError, RuntimeError)
    assert not issubclass(RunError, ValueError)
