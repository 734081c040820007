"""Weights and gradients stay views of their buffer, whatever is assigned, copied or pickled."""

import copy
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from helpers import close, labels, network, numbers

from tinydiv.backend import matmul, to_host, xp
from tinydiv.errors import UsageError
from tinydiv.layers import Context
from tinydiv.losses import cross_entropy
from tinydiv.mlp import MLP
from tinydiv.optimizers import OPTIMIZERS, Adam
from tinydiv.techniques import Techniques, layers_of

replicas = pytest.mark.parametrize("replicas", [None, 3])
LAYERS = ["batch-norm", "dropout"]


def trained_parts(replicas=None, optimizer=Adam, specs=("decov:strength=0.1", *LAYERS), seed=0):
    """(net, optimizer, techniques) that belong together, after three steps."""
    layers = layers_of([s for s in specs if s in LAYERS])
    net = network([6, 5, 4, 3], seed=seed, replicas=replicas, dtype="float64", layers=layers)
    moves = optimizer(net, lr=0.01)
    parts = net, moves, Techniques(net, specs, moves)
    train(*parts, range(3))
    return parts


def train(net, optimizer, techniques, numbers_of_steps, edit=None):
    """Some steps, each on a batch of its own; edit(net) between backward and update."""
    for number in numbers_of_steps:
        X, Y = numbers(16, 6, seed=number), labels(16, classes=3, seed=number)
        trace = net.forward(X, Context(training=True, step=number))
        loss, dlogits = cross_entropy(trace.logits, Y)
        step = techniques.backward(techniques.step(trace, Y, loss, dlogits, number))
        if edit is not None:
            edit(net)
        optimizer.step()
        techniques.after_update(step)
    return net.theta


def together(net):
    """Whether W, b, dW, db and what layers learn are the buffers' own numbers."""
    for buffer, views in ((net.theta, (net.W, net.b)), (net.dtheta, (net.dW, net.db))):
        before = buffer.copy()
        for views_of_one in views:
            for view in views_of_one:
                view += 1
        learned = (
            layer.parameters if buffer is net.theta else layer.gradients for layer in net.layers
        )
        for one in learned:
            for view in one.values():
                view += 1
        if not bool((buffer == before + 1).all()):
            return False
        buffer[...] = before
    return True


def halved_in_place(net):
    net.dW[0] *= 0.5


def halved(net):
    net.dW[0] = net.dW[0] * 0.5


def halved_all(net):
    net.dW = [net.dW[0] * 0.5, *net.dW[1:]]


def halved_in_the_buffer(net):
    dtheta = net.dtheta.copy()
    block = net.block("W0")
    dtheta[..., block.start : block.stop] *= 0.5
    net.dtheta = dtheta


@replicas
@pytest.mark.parametrize("edit", [halved, halved_all, halved_in_the_buffer])
def test_a_gradient_that_is_assigned_is_the_one_that_the_optimizer_uses(backend, replicas, edit):
    wanted, found = trained_parts(replicas), trained_parts(replicas)
    close(train(*found, range(3, 9), edit), train(*wanted, range(3, 9), halved_in_place), 0, 0)
    assert together(found[0])


@replicas
def test_weights_that_are_assigned_are_those_of_theta(backend, replicas):
    net = network([4, 3, 2], replicas=replicas, dtype="float64")
    X = numbers(7, 4)
    W = net.W[0] * 2
    net.W[0] = W
    net.b[1] = 3
    close(net.view(net.theta, "W0"), W)
    close(net.forward(X).Z[0], matmul(X, W) + net.b[0])
    net.W[0] = np.ones((4, 3))  # from the host, whatever the backend
    net.W[1] = [[1, 2], [3, 4], [5, 6]]
    net.db[0] = 0
    close(
        net.view(net.theta, "W1"), xp.zeros(net.W[1].shape) + xp.asarray([[1.0, 2], [3, 4], [5, 6]])
    )
    assert bool((net.view(net.theta, "b1") == 3).all())
    assert together(net)


def test_theta_is_restored_by_assignment(backend):
    net, optimizer, techniques = trained_parts()
    best = net.theta.copy()
    train(net, optimizer, techniques, range(3, 6))
    assert not bool((net.theta == best).all())
    net.theta = best
    close(net.W[0], net.view(best, "W0"), 0, 0)
    net.theta = net.theta.copy()  # and it learns on
    before = net.theta.copy()
    train(net, optimizer, techniques, [6])
    assert bool((net.theta != before).any())
    assert together(net)


def test_what_a_layer_learns_is_assigned_too(backend):
    net, *_ = trained_parts()
    layer = next(layer for layer in net.layers if layer.parameters)
    layer.parameters["gamma"] = layer.parameters["gamma"] * 2
    layer.gradients["gamma"] = 0
    close(net.view(net.theta, f"gamma{layer.tag}"), layer.parameters["gamma"], 0, 0)
    with pytest.raises(UsageError, match="is part of the network"):
        del layer.parameters["gamma"]
    assert together(net)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda net: net.dW.__setitem__(0, np.ones((3, 4))), r"dW\[0\] has shape \(4, 3\) and"),
        (lambda net: net.W.__setitem__(0, "much"), r"W\[0\] has shape .* from a str"),
        (
            lambda net: setattr(net, "theta", np.ones(3)),
            r"theta has shape \(23,\) and cannot be filled",
        ),
        (lambda net: setattr(net, "W", [np.ones((4, 3))]), "W has 2 arrays there, got 1"),
    ],
)
def test_what_does_not_fit_is_one_sentence_and_changes_nothing(change, sentence):
    net = network([4, 3, 2])
    before = net.theta.copy()
    with pytest.raises(UsageError, match=sentence):
        change(net)
    np.testing.assert_array_equal(net.theta, before)


COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda parts: pickle.loads(pickle.dumps(parts)),
    "deepcopy of a pickle": lambda parts: copy.deepcopy(pickle.loads(pickle.dumps(parts))),
}


@replicas
@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_copies_learn_as_the_original_does_and_leave_it_alone(replicas, how, optimizer):
    parts = trained_parts(replicas, OPTIMIZERS[optimizer])
    before = parts[0].theta.copy()
    copied = COPIES[how](parts)
    assert copied[1].net is copied[0] is copied[2].net
    assert together(copied[0])
    learned = train(*copied, range(3, 8))
    np.testing.assert_array_equal(parts[0].theta, before)
    close(learned, train(*parts, range(3, 8)), 0, 0)


def test_copies_on_the_stand_in(on_standin):
    parts = trained_parts()
    copied = copy.deepcopy(parts)
    close(train(*copied, range(3, 6)), train(*parts, range(3, 6)), 0, 0)


def test_an_optimizer_or_a_set_of_techniques_copied_alone_has_a_network_of_its_own():
    net, optimizer, techniques = trained_parts()
    for one in (copy.deepcopy(optimizer), copy.deepcopy(techniques)):
        assert one.net is not net
        assert together(one.net)
        np.testing.assert_array_equal(one.net.theta, net.theta)


def test_a_shallow_copy_shares_the_buffer():
    net = network([4, 3, 2])
    twin = copy.copy(net)
    twin.W[0] = 5
    assert (net.W[0] == 5).all()
    assert together(twin)


def after_some_steps(parts):
    return to_host(train(*parts, range(3, 6)))


def test_networks_go_through_a_process_pool():
    parts = trained_parts(2)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        there = pool.submit(after_some_steps, parts).result()
    close(there, after_some_steps(parts), 0, 0)


@pytest.mark.parametrize(
    "technique", ["muon", "cayley", "redo", "merge-recycle", "orthogonal-noise"]
)
def test_interventions_are_copied_with_their_state(technique):
    parts = trained_parts(specs=[technique])
    copied = copy.deepcopy(parts)
    close(train(*copied, range(3, 9)), train(*parts, range(3, 9)), 0, 0)


# What makes a network ----------------------------------------------------------------------------


def test_the_usual_kinds_of_numbers_and_names_are_taken():
    net = MLP(np.array([4, 3, 2]), activation=np.tanh, replicas=2.0, dtype=np.float64)
    assert (net.sizes, net.replicas) == ([4, 3, 2], 2)
    assert (net.dtype, net.activation.name) == ("float64", "tanh")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"sizes": "784"}, "sizes need at least inputs and outputs"),
        ({"sizes": [4, 2.5]}, "every size must be a whole number from 1 up, got 2.5"),
        ({"sizes": [4, 2], "replicas": 1.5}, "replicas must be a whole number from 1 up, got 1.5"),
        (
            {"sizes": [4, 2], "replicas": True},
            "replicas must be a whole number from 1 up, got True",
        ),
        ({"sizes": [4, 2], "activation": np.sin}, "no activation called 'sin'"),
    ],
)
def test_what_makes_no_network(arguments, sentence):
    with pytest.raises(UsageError, match=sentence):
        MLP(**arguments)


def test_bytes_are_pointed_to_the_data_sets_own_transform():
    with pytest.raises(UsageError, match=r"dataset\.transform\.apply"):
        MLP([4, 2]).predict(np.zeros((1, 4), "uint8"))
