"""What a plain training step costs on a GPU, counted on the stand-in: these numbers are upper bounds.

If a change makes one of them smaller, write the new number here; if larger, say why in the commit.
"""

import tracemalloc

import numpy as np
import pytest
from helpers import labels, network, numbers, python, step, targets_for

from tinydiv import check, losses, optimizers, study, trace
from tinydiv.backend import quick_sum, quiet, to_device, to_host
from tinydiv.divergence import Guard
from tinydiv.diversity import measure

FORWARD = {"relu": 5, "leaky-relu": 6, "tanh": 5, "sigmoid": 8, "gelu": 12, "identity": 4}
"""Two layers: a product and a bias each, and the activation."""
LOSS = {"cross-entropy": 18, "binary-cross-entropy": 16, "squared-error": 5}
BACKWARD = {"relu": 8, "leaky-relu": 10, "tanh": 9, "sigmoid": 12, "gelu": 23, "identity": 7}
"""Three products, two sums over samples, the derivative and the chain rule."""
GUARD = 28
"""The divergence guard: five sums, a copy, its counter, and small arrays with one entry per network."""
OPTIMIZER = {"sgd": 2, "momentum": 2, "nesterov": 2, "adam": 3, "adamw": 4}
"""One fused function; and each number of the step (rate, eps) is written into its array."""


def prepared(activation="relu", loss="cross-entropy", replicas=None, sizes=(6, 5, 3)):
    net = network(sizes, activation=activation, replicas=replicas)
    X = numbers(8, sizes[0], dtype="float32")
    return net, X, targets_for(loss, 8, sizes[-1], dtype="float32")


def counted(standin, work):
    """The counts of work(), once it has run a first time (a first time may prepare something)."""
    work()
    with standin.counting() as counts:
        work()
    return counts


@pytest.mark.parametrize("replicas", [None, 1, 5])
@pytest.mark.parametrize("optimizer", OPTIMIZER)
def test_a_plain_step_never_waits_copies_or_uploads(on_standin, optimizer, replicas):
    net, X, Y = prepared(replicas=replicas)
    moves = optimizers.get(optimizer)(net, weight_decay=0.0)
    counts = counted(on_standin, lambda: step(net, moves, X, Y))
    assert (counts.stops, counts.copies, counts.uploads) == (0, 0, 0)
    wanted = FORWARD["relu"] + LOSS["cross-entropy"] + BACKWARD["relu"] + OPTIMIZER[optimizer]
    assert counts.launches == wanted, counts.names["launches"]
    assert counts.names["launches"]["product"] == 5


@pytest.mark.parametrize("activation", FORWARD)
def test_forward_and_backward_of_each_activation(on_standin, activation):
    net, X, Y = prepared(activation)
    trace = net.forward(X)
    _, dlogits = losses.cross_entropy(trace.logits, Y)
    forward = counted(on_standin, lambda: net.forward(X))
    backward = counted(on_standin, lambda: net.backward(trace, dlogits))
    assert (forward.launches, backward.launches) == (FORWARD[activation], BACKWARD[activation])
    for counts in (forward, backward):
        assert (counts.stops, counts.copies, counts.uploads) == (0, 0, 0)


@pytest.mark.parametrize("loss", LOSS)
def test_each_loss(on_standin, loss):
    net, X, Y = prepared(loss=loss)
    logits = net.forward(X).logits
    counts = counted(on_standin, lambda: losses.get(loss)(logits, Y))
    assert counts.launches == LOSS[loss], counts.names["launches"]
    assert (counts.stops, counts.copies, counts.uploads) == (0, 0, 0)


@pytest.mark.parametrize("activation", FORWARD)
@pytest.mark.parametrize("loss", LOSS)
@pytest.mark.parametrize("optimizer", OPTIMIZER)
def test_no_temporary_array_of_a_float32_step_is_float64(on_standin, activation, loss, optimizer):
    net, X, Y = prepared(activation, loss, replicas=3)
    each = [0.01, 0.02, 0.03]
    moves = optimizers.get(optimizer)(net, each, weight_decay=each)
    counts = counted(on_standin, lambda: (step(net, moves, X, Y, loss, 0.5), moves.flush()))
    assert counts.dtypes <= {"float32", "int32", "int64", "bool"}


def test_every_replica_count_costs_the_same_launches(on_standin):
    costs = []
    for replicas in (None, 1, 2, 40):
        net, X, Y = prepared(replicas=replicas)
        moves = optimizers.Adam(net)
        costs.append(counted(on_standin, lambda: step(net, moves, X, Y)).launches)  # noqa: B023
    assert len(set(costs)) == 1


def test_a_deeper_network_costs_the_same_more_for_each_layer(on_standin):
    costs = []
    for depth in (1, 2, 3):
        net, X, Y = prepared(sizes=(6, *[5] * depth, 3))
        moves = optimizers.Adam(net)
        costs.append(counted(on_standin, lambda: step(net, moves, X, Y)).launches)  # noqa: B023
    assert costs[2] - costs[1] == costs[1] - costs[0] == 9


@pytest.mark.parametrize(("rates", "more"), [(None, 0), ("lr", 1), ("decay", 2), ("both", 3)])
def test_a_rate_or_a_decay_per_network_costs_little(on_standin, rates, more):
    net, X, Y = prepared(replicas=3)
    each = [0.01, 0.02, 0.03]
    moves = optimizers.Adam(
        net,
        lr=each if rates in ("lr", "both") else 0.01,
        weight_decay=each if rates in ("decay", "both") else 0.0,
    )
    plain = optimizers.Adam(net)
    cost, usual = (counted(on_standin, lambda: step(net, o, X, Y)) for o in (moves, plain))  # noqa: B023
    assert cost.launches - usual.launches == more
    assert (cost.stops, cost.uploads) == (0, 0)


def test_the_flush_of_subnormal_moments_is_three_launches_per_moment(on_standin):
    net, X, Y = prepared()
    moves = optimizers.Adam(net)
    counts = counted(on_standin, moves.flush)
    assert (counts.launches, counts.stops, counts.uploads) == (6, 0, 0)
    every = [counted_once(on_standin, lambda: step(net, moves, X, Y)) for _ in range(65)]
    usual = every[0].launches
    assert [i for i, c in enumerate(every, start=1) if c.launches != usual] == [64]
    assert sum(c.stops for c in every) == 0


@pytest.mark.parametrize("replicas", [None, 3])
def test_the_guard_changes_its_arrays_in_place_and_never_waits(on_standin, replicas):
    net, X, Y = prepared(replicas=replicas)
    guard, moves = Guard(net), optimizers.Adam(net)
    kept = {id(a) for a in (*guard.state().values(), guard.before, net.theta, net.dtheta)}

    def guarded():
        trace = net.forward(X)
        loss, dlogits = losses.cross_entropy(trace.logits, Y)
        net.backward(trace, dlogits)
        guard.after_backward(trace, loss)
        moves.step()
        guard.after_update()

    with_guard, without = (
        counted(on_standin, guarded),
        counted(on_standin, lambda: step(net, moves, X, Y)),
    )
    assert (with_guard.stops, with_guard.copies, with_guard.uploads) == (0, 0, 0)
    more = with_guard.names["launches"] - without.names["launches"]
    assert more[".sum"] == 2 + net.depth
    assert sum(more.values()) == GUARD
    assert {id(a) for a in (*guard.state().values(), guard.before, net.theta, net.dtheta)} == kept


def test_a_step_of_training_rebinds_no_array_that_lasts(on_standin):
    """What a CUDA graph needs: weights, gradients and moments stay where they are, step after step."""
    net, X, Y = prepared(replicas=3)
    moves = optimizers.Adam(net)
    lasting = lambda: [net.theta, net.dtheta, *moves.moments.values(), *net.W, *net.dW]  # noqa: E731
    before = [id(a) for a in lasting()]
    for _ in range(3):
        step(net, moves, X, Y)
    moves.flush()
    moves.load_state(moves.state())
    assert [id(a) for a in lasting()] == before


@pytest.mark.parametrize("bad", [None, np.nan, np.inf, -np.inf, 3e38])
def test_the_quick_sum_is_finite_where_the_sum_is(backend, bad):
    """A sum that overflows counts as divergence, as two numbers of 3e38."""
    a = np.ones((3, 1000), dtype="float32")
    if bad is not None:
        a[1, 400], a[1, 900] = bad, abs(bad)
    with quiet():
        found = to_host(quick_sum(to_device(a)))
        np.testing.assert_array_equal(np.isfinite(found), np.isfinite(a.sum(axis=-1)))
    assert found[0] == found[2] == 1000
    assert np.isfinite(found[1]) == (bad is None)


def test_on_a_cpu_the_guard_passes_over_the_weights_four_times():
    """A sum over the gradients, a copy of the weights (two passes), a sum over the weights; no array of
    their size is made."""
    net = network([300, 100, 10], replicas=8)
    guard = Guard(net)
    X, Y = numbers(4, 300, dtype="float32"), labels(4, classes=10)
    trace = net.forward(X)
    loss, dlogits = losses.cross_entropy(trace.logits, Y)
    net.backward(trace, dlogits)
    tracemalloc.start()
    guard.after_backward(trace, loss)
    guard.after_update()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < net.theta.nbytes / 10  # NumPy 2.0 adds in a buffer of 32 kB


@pytest.mark.parametrize(
    "name",
    ["train", "check", "trace", "study", "gallery", "starts", "predictions", "grow", "play"],
)
def test_help_loads_neither_numpy_nor_pictures(name):
    """So that it is there within a blink; the packages of commands import their parts when used."""
    script = (
        f"import sys, tinydiv.{name}; from tinydiv.{name}.command import main; main(['--help'])\n"
        "print({'numpy', 'matplotlib', 'torch', 'jax'} & set(sys.modules), file=sys.stderr)\n"
        "print(len([m for m in sys.modules if m.startswith('tinydiv')]) <= 12, file=sys.stderr)"
    )
    done = python("-c", script, check=True)
    assert done.stderr.split() == ["set()", "True"]
    assert f"python -m tinydiv.{name}" in done.stdout


BEFORE_THE_FIRST_STEP = """
import os, sys
called = set()

def note(frame, event, _):
    code = frame.f_code
    if event != "call" or os.sep + "tinydiv" + os.sep not in code.co_filename:
        return
    called.add((code.co_filename, code.co_name))
    if code.co_name == "step" and code.co_filename.endswith("optimizers.py"):
        named = {(file, name) for file, name in called if name[0] != "<"}
        print(len(named), len({file for file, _ in called}), "matplotlib" in sys.modules,
              file=sys.__stdout__, flush=True)
        os._exit(0)

sys.setprofile(note)
from tinydiv.train.command import main
main(["--data", "xor", "--epochs", "1", "--out", "run", "--quiet"])
"""


def test_a_run_loads_little_before_its_first_step(tmp_path):
    """Functions and classes that run, and files that are loaded: those of other techniques are not."""
    done = python("-c", BEFORE_THE_FIRST_STEP, cwd=tmp_path, check=True)
    functions, files, pictures = done.stdout.split()
    assert int(functions) <= 365
    assert int(files) <= 63
    assert pictures == "False"


@pytest.mark.parametrize("package", [check, study, trace])
def test_a_package_s_public_names_are_found_at_their_first_use(package):
    for name in package.__all__:
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = package.nothing


def counted_once(standin, work):
    with standin.counting() as counts:
        work()
    return counts


def test_accuracy_and_prediction_stay_on_the_device(on_standin):
    net, X, _ = prepared(replicas=3)
    Y = labels(8, classes=3)
    counts = counted(
        on_standin, lambda: losses.accuracy(net.forward(X).logits, Y) + net.predict(X)[0, 0]
    )
    assert (counts.stops, counts.copies, counts.uploads) == (0, 0, 0)


def test_all_metrics_at_once_are_more_operations_than_ten_steps(on_standin):
    """As the help of --metrics-every says; a few of them cost a fraction of that."""
    net, X, Y = prepared()
    moves = optimizers.Adam(net)
    one_step = counted(on_standin, lambda: step(net, moves, X, Y)).launches
    every, few = (
        counted(on_standin, lambda: measure(net, net.forward(X), names, Y)).launches  # noqa: B023
        for names in (None, ["correlation", "weight_cosine"])
    )
    assert 10 * one_step < every
    assert few < every / 5
