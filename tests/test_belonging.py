"""train takes parts that belong together, and refuses others in one sentence."""

import numpy as np
import pytest
from helpers import close, network

import tinydiv
from tinydiv import data, loop
from tinydiv.backend import to_device, to_host
from tinydiv.data.dataset import Dataset
from tinydiv.divergence import Guard
from tinydiv.errors import UsageError
from tinydiv.files.model import save_model
from tinydiv.mlp import MLP
from tinydiv.optimizers import SGD, Adam
from tinydiv.techniques import Techniques, layers_of


def three_classes(K=3):
    X = np.random.default_rng(0).normal(size=(30, 4)).astype("float32")
    return Dataset("some", X, np.arange(30) % K, X, np.arange(30) % K, tuple("abc"[:K]))


@pytest.mark.parametrize("loss", ["cross-entropy", "binary-cross-entropy", "squared-error"])
@pytest.mark.parametrize(
    ("K", "outputs", "sentence"),
    [(2, 1, r"1 output, .*classes=\(\)"), (3, 1, "1 output"), (3, 2, "2 outputs")],
)
def test_fewer_outputs_than_classes_are_refused(loss, K, outputs, sentence):
    net = network([4, 5, outputs])
    with pytest.raises(UsageError, match=rf"{K} classes and the network {sentence}"):
        loop.train(net, three_classes(K), SGD(net), loss=loss, epochs=1, batch_size=10)


def parts(other):
    net = network([4, 5, 3])
    twin = network([4, 5, 3])
    return {
        "optimizer": (net, SGD(twin), None),
        "techniques": (net, SGD(net), Techniques(twin, ["decov"])),
        "another optimizer": (net, SGD(net), Techniques(net, ["decov"], SGD(net))),
    }[other]


@pytest.mark.parametrize("other", ["optimizer", "techniques", "another optimizer"])
def test_parts_of_another_network_are_refused_and_nothing_is_trained(other):
    net, optimizer, techniques = parts(other)
    before = net.theta.copy()
    with pytest.raises(UsageError, match=other):
        loop.train(net, three_classes(), optimizer, techniques, epochs=1, batch_size=10)
    np.testing.assert_array_equal(net.theta, before)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"epochs": 1.5}, "epochs must be a whole number from 0 up, got 1.5"),
        ({"epochs": "3"}, "epochs must be a whole number from 0 up, got '3'"),
        ({"batch_size": 2.5}, "the batch size must be a whole number from 1 up, got 2.5"),
        ({"every": 0}, "every must be a whole number from 1 up, got 0"),
    ],
)
def test_impossible_numbers_are_refused_in_one_sentence(settings, sentence):
    net = network([4, 5, 3])
    with pytest.raises(UsageError, match=sentence):
        loop.train(net, three_classes(), SGD(net), **settings)


def test_numpy_numbers_and_one_name_as_text_are_accepted():
    """NumPy's numbers, one metric and one technique as a text."""
    results = []
    for techniques, metrics, seed in (
        ("decov:strength=0.1", "correlation", np.int64(3)),
        (["decov:strength=0.1"], ["correlation"], 3),
    ):
        net = network([4, 5, 3])
        records = loop.train(
            *(net, three_classes(), SGD(net), techniques),
            epochs=np.int64(2),
            batch_size=np.int32(10),
            seed=seed,
            metrics=metrics,
        )
        assert list(records[-1].diversity) == ["correlation"]
        results.append(net.theta)
    np.testing.assert_array_equal(*results)


def test_a_second_call_goes_on_with_the_shuffles(backend):
    """Twice two epochs are four, with an optimizer that remembers nothing of the first call but itself."""
    nets = [network([4, 5, 3]) for _ in range(2)]
    optimizers = [Adam(net) for net in nets]
    loop.train(nets[0], three_classes(), optimizers[0], epochs=4, batch_size=10)
    for _ in range(2):
        loop.train(nets[1], three_classes(), optimizers[1], epochs=2, batch_size=10)
    close(nets[0].theta, nets[1].theta, 0, 0)
    assert nets[1].epochs == 4


def test_a_month_of_steps_later_masks_schedules_and_records_are_as_ever(backend):
    """The network has taken 2^33 steps before: counters, moments, masks and what is recorded."""
    records = []
    for steps in (0, 2**33):
        net = network([2, 6, 2], replicas=2, layers=layers_of(["dropout"]))
        net.steps, net.epochs = steps, steps // 25
        optimizer = Adam(net, lr=0.05)
        optimizer.steps = steps
        settings = {"epochs": 2, "batch_size": 8, "schedule": "cosine:warmup=5", "metrics": []}
        techniques = ["redo:every=10", "decov:strength=0.1,schedule=linear"]
        moons = data.load("moons", n_train=200, n_test=50)
        records.append(loop.train(net, moons, optimizer, ["dropout", *techniques], **settings))
        assert net.steps == steps + 50
        guard = Guard(net)
        net.dtheta[1] = float("nan")
        guard.count_from(steps + 50)
        guard.after_backward(net.forward(to_device(moons.train_x[:8])), net.theta[:, 0])
        assert to_host(guard.step).tolist() == [-1, steps + 50]
    fresh, late = (record[-1] for record in records)
    assert late.rate == fresh.rate
    assert all(np.isfinite(late.test_loss + late.train_loss))
    np.testing.assert_allclose(late.test_loss, fresh.test_loss, atol=0.2)


def test_a_saved_network_predicts_the_stored_images(tmp_path):
    dataset = data.load("fashion-mini", "standardised").take(100, 20)
    net = network([784, 5, 10])
    tinydiv.save(str(tmp_path / "a.npz"), net, dataset)
    found = tinydiv.load(tmp_path / "a.npz").predict(dataset.test_x)
    np.testing.assert_array_equal(to_host(found), to_host(net.predict(dataset.floats("test"))))


def test_what_cannot_be_saved_is_one_sentence(tmp_path):
    with pytest.raises(UsageError, match="takes a path and a network, got str"):
        save_model(MLP([4, 2]), "a.npz")
    net = MLP([4, 3, 2], layers=layers_of(["batch-norm"]))
    with pytest.raises(UsageError, match=r"layers \(batch-norm\).* pass layers="):
        save_model(tmp_path / "a.npz", net)
    save_model(tmp_path / "a.npz", net, layers=["batch-norm"])
    assert tinydiv.load(tmp_path / "a.npz").layers[0].label == "batch-norm"


def test_layers_are_objects():
    with pytest.raises(UsageError, match=r"write layers=layers_of\(\['batch-norm'\]\)"):
        MLP([4, 3, 2], layers=["batch-norm"])
