"""Numbers to learn in place of classes: data, training, records, files and pictures."""

import csv
import io

import numpy as np
import pytest
from helpers import close

from tinydiv import loop, losses
from tinydiv.backend import to_host
from tinydiv.data.dataset import Dataset
from tinydiv.errors import UsageError
from tinydiv.initializers import initialize
from tinydiv.mlp import MLP
from tinydiv.optimizers import Adam
from tinydiv.runs.folder import metrics_csv
from tinydiv.train.run_picture import run_picture


def sine(K=1, inputs=3, flat=False):
    """400 samples of smooth functions of the inputs; targets (N, K), or (N,) if flat."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, inputs))
    Y = np.stack([np.sin(X[:, 0] + k) + X[:, 1] / 2 for k in range(K)], axis=1)
    Y = Y[:, 0] if flat else Y
    return Dataset("sine", X[:300], Y[:300], X[300:], Y[300:])


def trained(dataset, replicas=None, epochs=5, dtype="float32", **settings):
    net = MLP([dataset.n_inputs, 16, dataset.n_outputs], "tanh", replicas, dtype)
    initialize(net, "he-normal", 0)
    return net, loop.train(net, dataset, Adam(net, 0.01), epochs=epochs, **settings)


def test_targets_are_a_column_or_rows_of_floats():
    flat, rows = sine(flat=True), sine(K=2)
    assert (flat.train_y.shape, rows.train_y.shape) == ((300, 1), (300, 2))
    assert (flat.regression, flat.n_classes, flat.n_outputs, rows.n_outputs) == (True, 0, 1, 2)
    assert repr(rows) == (
        "Dataset('sine': 300 training and 100 test samples, 3 raw inputs, 2 numbers to learn)"
    )
    assert len(rows.split(50, seed=1).test_y) == 50
    assert rows.take(20, 10).train_y.tolist() == rows.train_y[:20].tolist()


@pytest.mark.parametrize("replicas", [None, 3])
@pytest.mark.parametrize("K", [1, 2])
def test_a_network_learns_numbers_and_the_record_holds_its_mean_squared_error(backend, replicas, K):
    dataset = sine(K)
    net, records = trained(dataset, replicas, dtype="float64")
    outputs = to_host(
        net.forward(
            loop.DeviceData(dataset, "float64").floats(loop.to_device(dataset.test_x))
        ).logits
    )
    wanted = ((outputs - dataset.test_y) ** 2).mean(axis=(-2, -1)).reshape(-1)
    close(records[-1].test_error, list(wanted))
    close(records[-1].test_loss, list(wanted * K / 2))
    for first, last in zip(records[0].test_error, records[-1].test_error, strict=True):
        assert last < 0.4 * first
    assert records[-1].test_accuracy == []
    assert records[-1].score == ("test_error", records[-1].test_error)


def test_the_usual_loss_of_numbers_is_the_squared_error():
    _, usual = trained(sine(), epochs=1)
    _, named = trained(sine(), epochs=1, loss="squared-error")
    assert usual[-1].train_loss == named[-1].train_loss


def test_the_table_of_a_run_has_the_error_and_no_accuracy():
    _, records = trained(sine(), replicas=2, epochs=1)
    rows = list(csv.DictReader(io.StringIO(metrics_csv(records))))
    assert "test_accuracy" not in rows[0]
    assert [float(row["test_error"]) for row in rows[-2:]] == records[-1].test_error


@pytest.mark.parametrize("inputs", [2, 3])
@pytest.mark.parametrize("replicas", [None, 3])
def test_a_run_has_its_picture(inputs, replicas):
    dataset = sine(inputs=inputs)
    net, records = trained(dataset, replicas, epochs=2)
    figure = run_picture(records, net, dataset)
    labels = [ax.get_ylabel() for ax in figure.axes]
    assert "test error (mean squared)" in labels


def test_a_metric_that_needs_classes_is_left_out_or_refused():
    _, records = trained(sine(), epochs=0)
    assert "codes" not in records[0].diversity
    with pytest.raises(UsageError, match="codes needs the probe set's labels"):
        trained(sine(), epochs=0, metrics=["codes"])


@pytest.mark.parametrize(
    ("loss", "K", "sentence"),
    [
        ("cross-entropy", 2, r"numbers .* in rows of probabilities: choose loss='squared-error'"),
        ("binary-cross-entropy", 1, r"takes numbers from 0 to 1: choose loss='squared-error'"),
        (
            "squared-error",
            3,
            r"has 1 numbers to learn and the network 3 outputs: build MLP\(\[3, ..., 1\]",
        ),
    ],
)
def test_a_loss_or_outputs_that_do_not_fit_are_one_sentence(loss, K, sentence):
    dataset = sine(1 if loss != "cross-entropy" else 2)
    net = MLP([3, K])
    with pytest.raises(UsageError, match=sentence):
        loop.train(net, dataset, Adam(net), loss=loss, epochs=1)


def test_probabilities_are_numbers_that_cross_entropy_takes():
    X, Y = np.eye(3), np.array([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8]])
    net = MLP([3, 2], dtype="float64")
    records = loop.train(
        *(net, Dataset("soft", X, Y, X, Y), Adam(net, 0.1)),
        epochs=200,
        batch_size=3,
        loss=losses.cross_entropy,
    )
    entropy = -(Y * np.log(Y)).sum() / 3
    close(records[-1].test_loss, [entropy], rtol=1e-3)
