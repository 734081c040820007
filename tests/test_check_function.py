"""Any function with its gradients can be checked, and the gradients in a network; mistakes are refused in
one sentence."""

import numpy as np
import pytest

from tinydiv import MLP, check_gradients, cross_entropy, initialize
from tinydiv.backend import to_device, to_host
from tinydiv.check.functions import check_function
from tinydiv.errors import UsageError
from tinydiv.layers import Context
from tinydiv.techniques import layers_of

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


@pytest.mark.parametrize(("zeros", "sentence"), [(1, "1 entry at"), (2, "2 entries at")])
def test_entries_at_a_kink_are_counted_in_words(zeros, sentence):
    z = np.concatenate([np.zeros(zeros), [1.0, -2.0]])
    report = check_function(
        lambda z: (np.sum(np.maximum(0, z)), {"z": 1.0 * (z > 0)}), {"z": z}, samples=1
    )
    assert report.right
    assert report.rows[0].words == f"right; {sentence} a kink left out"


# The numbers, and what cannot be checked -----------------------------------------------------------

INPUTS = np.random.default_rng(0).normal(size=(12, 3))
TARGETS = np.tanh(INPUTS @ np.array([1.0, -2.0, 0.5]))


def neuron(w, factor=1.0):
    a = np.tanh(INPUTS @ w)
    return np.sum((a - TARGETS) ** 2) / (2 * len(INPUTS)), {
        "w": factor * INPUTS.T @ ((a - TARGETS) * (1 - a**2)) / len(INPUTS)
    }


START = {"w": np.array([0.3, 0.2, -0.1])}


def test_a_right_function_passes_and_the_report_lists_what_was_not_tried():
    report = check_function(neuron, START)
    assert report.right
    assert "at this one point: other values and sizes were not tried" in str(report)


@pytest.mark.parametrize("seed", range(3))
def test_the_numbers_of_the_report_are_those_of_the_function(seed):
    """Not multiplied by the random cotangent of the value."""

    def wrong(w):
        value, found = neuron(w)
        return value, {"w": found["w"] + np.array([0.0, 0.5, -0.25])}

    report = check_function(wrong, START, seed=seed)
    (right,), (given,) = neuron(**START)[1].values(), wrong(**START)[1].values()
    words = report.faults[0].words
    assert f"most at [1]: {given[1]:.6g} where {right[1]:.6g} was measured" in words.replace(
        "-0 ", "0 "
    )


@pytest.mark.parametrize(
    ("samples", "words"), [(12, "N = 12 and N - 1 = 11 are mixed up"), (0, "12 / 11")]
)
def test_n_minus_one_is_named_with_and_without_the_number_of_samples(samples, words):
    report = check_function(lambda w: neuron(w, 12 / 11), START, samples=samples)
    assert words in report.faults[0].words


def test_a_function_that_changes_its_input_is_not_reported_as_random():
    def careless(w):
        w *= 2
        return np.sum(w**2), {"w": 2 * w}

    given = {"w": np.ones(3)}
    report = check_function(careless, given)
    assert "changes the array w that it is given" in report.faults[0].words
    assert given["w"].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("function", "at", "sentence"),
    [
        (neuron, {"w": np.zeros(0)}, r"w is empty, shape \(0,\)"),
        (neuron, {}, "no arrays were given"),
        (neuron, {"w": np.zeros(3, "float32")}, "checked in float64, but w is float32"),
        (lambda w: np.sum(w), START, r"must return \(value, gradients\).*it returned float64"),
        (lambda w: (np.sum(w), w), START, r"it returned \(float64, ndarray\)"),
        (lambda w: (w, {"w": w}), START, "should return one number as its value"),
    ],
)
def test_what_cannot_be_checked_is_one_sentence(function, at, sentence):
    with pytest.raises(UsageError, match=sentence):
        check_function(function, at)


# The gradients in a network --------------------------------------------------------------------------


def after_backward(replicas=None, activation="tanh", dA=None, layers=()):
    """A network after its backward pass, with the pass's trace and upstream gradients."""
    net = MLP([3, 4, 5, 2], activation, replicas, "float64", layers)
    initialize(net, "pytorch", seed=1)
    rng = np.random.default_rng(2)
    trace = net.forward(to_device(rng.normal(size=(7, 3))))
    _, dlogits = cross_entropy(trace.logits, to_device(rng.integers(2, size=7)))
    upstream = {l: to_device(rng.normal(size=trace.A[l].shape)) for l in dA or ()}
    net.backward(trace, dlogits, upstream)
    return net, trace, dlogits, upstream


@pytest.mark.parametrize("replicas", [None, 3])
@pytest.mark.parametrize("dA", [None, (1, 2)])
def test_what_backward_fills_is_right_and_the_check_leaves_the_network_as_it_was(
    backend, replicas, dA
):
    net, *passed = after_backward(replicas, dA=dA)
    before = to_host(net.theta).copy(), to_host(net.dtheta).copy()
    report = check_gradients(net, *passed)
    assert report.right
    assert [row.array for row in report.rows] == [f"d{a}[{l}]" for l in range(3) for a in "Wb"]
    assert "at this one point" in str(report)
    net.dW[1] = 2 * net.dW[1]
    (fault,) = check_gradients(net, *passed).faults
    assert (fault.array, fault.worst.ratio) == ("dW[1]", pytest.approx(2))
    net.dW[1] = net.dW[1] / 2
    np.testing.assert_array_equal(to_host(net.theta), before[0])
    np.testing.assert_array_equal(to_host(net.dtheta), before[1])


@pytest.mark.parametrize(
    ("change", "array", "words"),
    [
        (lambda net: net.dW[0].__imul__(-1), "dW[0]", "sign flipped"),
        (lambda net: net.dW[2].__imul__(7), "dW[2]", "7"),
        (lambda net: net.db[1].fill(0), "db[1]", "zero"),
        (
            lambda net: net.dW[0].__setitem__((slice(None), 2), 0),
            "dW[0]",
            "3 of 12 entries are zero",
        ),
    ],
)
def test_a_change_by_hand_is_named(change, array, words):
    net, *passed = after_backward()
    change(net)
    (fault,) = check_gradients(net, *passed).faults
    assert fault.array == array
    assert words in fault.words


def test_a_pass_with_a_known_fault_is_named_as_for_a_whole_backward():
    """The slope is left out at the second hidden layer: below it the doctor recognises what that gives."""
    net, trace, dlogits, _ = after_backward(activation="relu")
    dH = dlogits @ net.W[2].T
    net.dW[1], net.db[1] = trace.A[1].T @ dH, dH.sum(axis=0, keepdims=True)
    report = check_gradients(net, trace, dlogits)
    assert "mask missing where the neuron is off" in report.of("net", failed=True)[0].words


def test_layers_that_compute_the_same_in_evaluation_are_checked_too():
    net, *passed = after_backward(layers=layers_of(["batch-norm"]))
    assert check_gradients(net, *passed).right
    training = net.forward(passed[0].inputs, Context(training=True))
    with pytest.raises(UsageError, match="without layers that compute something else in training"):
        check_gradients(net, training, passed[1])


def test_a_network_that_cannot_be_checked_is_refused_in_one_sentence():
    net, trace, dlogits, _ = after_backward()
    with pytest.raises(UsageError, match=r"dlogits has shape \(7, 1\)"):
        check_gradients(net, trace, dlogits[:, :1])
    net.W[0] = net.W[0] + 1
    with pytest.raises(UsageError, match="check before the weights change"):
        check_gradients(net, trace, dlogits)
    small = initialize(MLP([3, 2]), seed=0)
    with pytest.raises(UsageError, match=r"this network computes in float32: .*dtype=\"float64\""):
        check_gradients(small, trace, dlogits)
