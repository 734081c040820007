"""A validation part that is drawn from the training part, and the weights of the best epoch."""

import json

import numpy as np
import pytest

import tinydiv
from tests.helpers import network
from tests.test_checkpoint import assert_goes_on, assert_same
from tinydiv.backend import to_host
from tinydiv.data import load
from tinydiv.data.dataset import Dataset
from tinydiv.errors import UsageError
from tinydiv.loop import DeviceData, Loop, evaluate, train
from tinydiv.losses import cross_entropy
from tinydiv.optimizers import SGD, Adam
from tinydiv.techniques import layers_of
from tinydiv.train import command as train_command

MOONS = "moons:n_train=200,n_test=50,noise=0.4"
RUN = [
    *("--data", MOONS, "--hidden", "8", "--epochs", "6", "--replicas", "3", "--batch-size", "30"),
    *("--validation", "0.2", "--keep", "best", "--lr", "0.01/0.1/0.9", "--technique", "batch-norm"),
]


def moons():
    return load("moons", n_train=200, n_test=50, noise=0.4)


def run(*flags):
    return train_command.main([*flags, "--quiet", "--no-plot"])


def test_the_part_is_of_the_training_set_and_no_network_learns_from_it():
    whole = moons()
    data = DeviceData(whole, "float32", 0.2, seed=3)
    assert (data.n_train, data.n_validation) == (160, 40)
    parts = [to_host(a).tolist() for a in (data.train_x, data.validation_x)]
    assert sorted(parts[0] + parts[1]) == sorted(whole.train_x.tolist())
    np.testing.assert_array_equal(to_host(data.test_x), whole.test_x)
    other = DeviceData(whole, "float32", 0.2, seed=4)
    assert to_host(other.validation_x).tolist() != parts[1]


def test_standardised_inputs_are_those_of_what_is_learned_from():
    whole = load("moons", "standardised", n_train=200, n_test=50)
    data = DeviceData(whole, "float64", 0.2)
    X = to_host(data.floats(data.train_x))
    np.testing.assert_allclose(X.mean(axis=0), 0, atol=1e-6)


@pytest.mark.parametrize("replicas", [None, 3])
def test_each_network_gets_the_weights_of_its_own_best_epoch(backend, replicas):
    """The record at which a network's validation loss was lowest is what it computes afterwards."""
    net = network([2, 6, 2], replicas=replicas)
    data = DeviceData(moons(), net.dtype, 0.2)
    rates = 2.0 if replicas is None else [0.05, 2.0, 9.0]
    records = train(
        net, data, SGD(net, rates), epochs=8, batch_size=10, keep="best", metrics=(), seed=1
    )
    losses = np.array([record.validation_loss for record in records])
    loss, score = evaluate(net, data.validation_x, data.validation_y, data, cross_entropy)
    np.testing.assert_allclose(to_host(loss).reshape(-1), losses.min(axis=0), rtol=1e-5)
    best = losses.argmin(axis=0)
    assert any(best < len(records) - 1)
    scores = [records[e].validation_score[r] for r, e in enumerate(best)]
    np.testing.assert_allclose(to_host(score).reshape(-1), scores, rtol=1e-6)


def test_running_statistics_are_kept_with_the_weights(backend):
    layers = layers_of(["batch-norm"])
    net = network([2, 6, 2], replicas=2, layers=layers)
    data = DeviceData(moons(), net.dtype, 0.2)
    records = train(
        net,
        data,
        Adam(net, [0.3, 0.5]),
        ["batch-norm"],
        epochs=6,
        batch_size=10,
        keep="best",
        metrics=(),
    )
    found = to_host(evaluate(net, data.validation_x, data.validation_y, data, cross_entropy)[0])
    lowest = np.array([record.validation_loss for record in records]).min(axis=0)
    np.testing.assert_allclose(found, lowest, rtol=1e-5)


def test_a_network_that_diverges_keeps_an_epoch_before():
    net, loop = network([2, 6, 2], replicas=2), Loop()
    records = train(
        net,
        moons(),
        SGD(net, [0.1, 1e30]),
        epochs=3,
        batch_size=10,
        validation=0.2,
        keep="best",
        loop=loop,
        metrics=(),
    )
    assert np.isnan(records[-1].validation_loss[1])
    assert to_host(loop.best["epoch"]).tolist()[1] == 0
    assert np.isfinite(to_host(net.theta)).all()


def test_numbers_to_learn_have_a_validation_error():
    x = np.random.default_rng(0).normal(size=(60, 3))
    data = Dataset("sum", x, x.sum(axis=1), x[:20], x[:20].sum(axis=1))
    net = network([3, 4, 1])
    records = train(net, data, Adam(net), epochs=2, batch_size=8, validation=0.25, keep="best")
    assert records[-1].flat()["validation_error"] == records[-1].validation_score
    assert "validation_accuracy" not in records[-1].flat()


def test_what_cannot_be_is_one_sentence():
    net = network([2, 6, 2])
    for settings, sentence in (
        ({"keep": "best"}, "needs a validation part"),
        ({"keep": "first", "validation": 0.1}, "way to keep weights"),
        ({"validation": 1.0}, "share of the 200 training samples"),
        ({"validation": 0.001}, "share of the 200 training samples"),
    ):
        with pytest.raises(UsageError, match=sentence):
            train(net, moons(), SGD(net), **settings)
    several = network([2, 6, 2], replicas=3, layers=layers_of(["decorrelated-inputs"]))
    with pytest.raises(UsageError, match="is one for all of them"):
        train(
            *(several, moons(), SGD(several), ["decorrelated-inputs"]), validation=0.1, keep="best"
        )
    with pytest.raises(UsageError, match="DeviceData draws the part itself"):
        train(net, DeviceData(moons(), "float32"), SGD(net), validation=0.1)


# The command ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept") / "run"
    assert run(*RUN, "--out", str(folder)) == 0
    return folder


def test_the_model_is_that_of_the_best_epochs(whole, capsys):
    assert run("--resume", str(whole), "--json") == 0
    result = json.loads(capsys.readouterr().out)
    losses = [row["validation_loss"] for row in (result["start"], *result["history"])]
    best = [int(e) for e in np.argmin(losses, axis=0)]
    assert result["kept_epoch"] == best
    rows = [result["start"], *result["history"]]
    accuracy = [rows[e]["test_accuracy"][r] for r, e in enumerate(best)]
    assert result["test_accuracy"] == accuracy
    net, test = tinydiv.load(whole), moons()
    found = (to_host(net.predict(test.floats("test"))) == test.test_y).mean(axis=-1)
    np.testing.assert_allclose(found, accuracy, rtol=1e-6)
    assert result["config"]["validation"] == 0.2
    header = (whole / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"validation_loss", "validation_accuracy"} <= set(header)


@pytest.mark.parametrize("step", [3, 17])
def test_a_run_that_was_stopped_keeps_the_same_bits(step, whole, tmp_path, monkeypatch):
    assert_goes_on(RUN, step, tmp_path, monkeypatch, whole)


def test_three_processes_keep_the_same_bits(whole, tmp_path):
    folder = tmp_path / "three"
    assert run(*RUN, "--workers", "3", "--out", str(folder)) == 0
    assert_same(folder, whole)


def test_the_command_prints_what_was_drawn_and_what_was_kept(tmp_path, capsys):
    flags = ["--data", MOONS, "--epochs", "3", "--validation", "0.1", "--no-plot"]
    assert train_command.main([*flags, "--keep", "best", "--out", str(tmp_path / "run")]) == 0
    printed = capsys.readouterr()
    assert "20 of the 200 training samples were drawn for a validation part (seed 0)" in printed.err
    assert "validation loss" in printed.err
    assert "(best: " in printed.out
    assert run("--keep", "best", "--out", str(tmp_path / "no")) == 2
    assert "--keep best needs a validation part" in capsys.readouterr().err


def test_the_picture_has_a_line_for_the_validation_part():
    from tinydiv.plots.style import alt_text
    from tinydiv.train.run_picture import run_picture

    net, data = network([2, 6, 2]), moons()
    records = train(net, data, SGD(net), epochs=2, validation=0.2)
    assert "validation part" in alt_text(run_picture(records, net, data))


def test_a_second_training_draws_masks_that_follow(backend):
    """Dropout's masks of the second call are those of the steps after the first, not the same again."""
    net = network([2, 6, 2], layers=layers_of(["dropout:p=0.5"]))
    (dropout,) = net.layers
    train(net, moons(), SGD(net, 0.0), ["dropout:p=0.5"], epochs=1, batch_size=50, metrics=())
    assert net.steps == 4
    wanted = dropout.draws.keep(0.5, (5, 6), 4, 1)
    train(net, moons(), SGD(net, 0.0), ["dropout:p=0.5"], epochs=1, batch_size=50, metrics=())
    np.testing.assert_array_equal(to_host(dropout.draws.keep(0.5, (5, 6), 0, 1)), to_host(wanted))
    assert net.steps == 8
