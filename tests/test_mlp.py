"""The network: every gradient against PyTorch, one network against many, and mistakes in one sentence."""

import numpy as np
import pytest
from helpers import close, labels, network, numbers, step, targets_for

from tinydiv import activations, losses, optimizers
from tinydiv.backend import to_device, to_host, xp
from tinydiv.errors import UsageError
from tinydiv.layers import Layer
from tinydiv.mlp import MLP

SHAPES = {  # (sizes, replicas, inputs per network?)
    "no hidden layer": ([4, 3], None, False),
    "one hidden layer": ([4, 6, 3], None, False),
    "three hidden layers": ([4, 5, 6, 5, 2], None, False),
    "three networks": ([4, 6, 3], 3, False),
    "as many networks as neurons": ([4, 5, 5, 3], 5, False),
    "inputs of their own": ([4, 5, 3], 4, True),
    "one of one": ([4, 5, 3], 1, False),
}
N = 7


def case(shape, activation="tanh", loss="cross-entropy", dtype="float64"):
    """A network with inputs and targets."""
    sizes, replicas, own = SHAPES[shape]
    net = network(sizes, replicas=replicas, activation=activation, dtype=dtype)
    lead = net.lead if own else ()
    X = numbers(*lead, N, sizes[0], seed=1, dtype=dtype)
    return net, X, targets_for(loss, *lead, N, sizes[-1], seed=2, dtype=dtype)


def one_of(a, r, lead):
    """Network r's part of an array, on the host; or the whole array where all networks share it."""
    a = to_host(a)
    return a[r] if lead and a.shape[: len(lead)] == lead else a


# Gradients ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("loss", losses.LOSSES)
@pytest.mark.parametrize("activation", activations.ACTIVATIONS)
def test_gradients_are_those_of_autograd(backend, torch_reference, activation, loss, shape):
    net, X, Y = case(shape, activation, loss)
    trace = net.forward(X)
    value, dlogits = losses.get(loss)(trace.logits, Y)
    dX = net.backward(trace, dlogits, to_inputs=True)
    own = SHAPES[shape][2]
    for r in range(net.replicas or 1):
        W, b, dW, db = (
            [one_of(a, r, net.lead) for a in arrays] for arrays in (net.W, net.b, net.dW, net.db)
        )
        wanted, tW, tb, tX = torch_reference.gradients(
            W, b, *(to_host(a)[r] if own else to_host(a) for a in (X, Y)), activation, loss
        )
        close(one_of(value, r, net.lead), wanted)
        close(one_of(dX, r, net.lead), tX)
        for l in range(net.depth):
            close(dW[l], tW[l])
            close(db[l], tb[l])


def test_backward_is_linear_in_its_upstream_gradients(backend):
    net, X, Y = case("as many networks as neurons")
    trace = net.forward(X)
    _, task = losses.cross_entropy(trace.logits, Y)
    extra = {l: numbers(*trace.A[l].shape, seed=l) for l in (1, 2)}

    def run(dlogits, dA):
        dX = net.backward(trace, dlogits, dA, to_inputs=True)
        return to_host(net.dtheta).copy(), to_host(dX).copy()

    both, of_task, of_extra = run(task, extra), run(task, None), run(task * 0, extra)
    apart = [run(task * 0, {l: dA}) for l, dA in extra.items()]
    for i in range(2):
        assert np.abs(of_extra[i]).max() > 0.1  # the extra gradients do reach the weights
        close(both[i], of_task[i] + of_extra[i])
        close(of_extra[i], apart[0][i] + apart[1][i])
        close(run(2 * task, {l: 2 * dA for l, dA in extra.items()})[i], 2 * both[i])


def test_dA_are_gradients_with_respect_to_the_activations(backend, torch_reference):
    torch = torch_reference.torch
    net, X, _ = case("one hidden layer")
    trace = net.forward(X)
    dA = numbers(*trace.A[1].shape, seed=5)
    net.backward(trace, xp.zeros_like(trace.logits), {1: dA})
    W, b = (torch_reference.tensor(to_host(p[0]), grad=True) for p in (net.W, net.b))
    A = torch.tanh(torch_reference.tensor(to_host(X)) @ W + b)
    (A * torch_reference.tensor(to_host(dA))).sum().backward()
    close(net.dW[0], W.grad.numpy())
    close(net.db[0], b.grad.numpy())
    assert not to_host(net.dW[1]).any()


def test_an_upstream_gradient_on_the_inputs_goes_to_the_inputs_gradient(backend):
    net, X, Y = case("three networks")
    trace = net.forward(X)
    _, dlogits = losses.cross_entropy(trace.logits, Y)
    dA = numbers(*X.shape, seed=3)
    plain = to_host(net.backward(trace, dlogits, to_inputs=True))
    close(net.backward(trace, dlogits, {0: dA}, to_inputs=True), plain + to_host(dA))
    assert net.backward(trace, dlogits) is None


def test_accumulate_adds_and_the_default_replaces(backend):
    net, X, Y = case("inputs of their own")
    trace = net.forward(X)
    _, dlogits = losses.cross_entropy(trace.logits, Y)
    net.backward(trace, dlogits)
    once = to_host(net.dtheta).copy()
    net.backward(trace, dlogits, accumulate=True)
    close(net.dtheta, 2 * once)
    net.backward(trace, dlogits)
    close(net.dtheta, once)


def test_two_traces_live_at_once(backend):
    net, X, Y = case("one hidden layer")
    first = net.forward(X)
    _, dlogits = losses.cross_entropy(first.logits, Y)
    net.backward(first, dlogits)
    alone = to_host(net.dtheta).copy()
    net.forward(numbers(3, 4, seed=9))
    net.backward(first, dlogits)
    close(net.dtheta, alone, rtol=0, atol=0)


class Gain(Layer):
    """y = gain * x: the smallest layer with a parameter."""

    label = "gain"

    def __init__(self, place):
        self.place = place

    @property
    def shapes(self):
        return {"g": (1, self.width)}

    def reset_parameters(self):
        self.parameters["g"][...] = 1.5

    def forward(self, x, context):
        return self.parameters["g"] * x, x

    def backward(self, dy, cache):
        dg = xp.sum(dy * cache, axis=-2, keepdims=True)
        return self.parameters["g"] * dy, {"g": dg}


class GainOfSquare(Gain):
    """y = gain * x^2: does not commute with Gain, so their order shows."""

    label = "gain-of-square"

    def forward(self, x, context):
        return self.parameters["g"] * x**2, x

    def backward(self, dy, cache):
        dg = xp.sum(dy * cache**2, axis=-2, keepdims=True)
        return self.parameters["g"] * 2 * cache * dy, {"g": dg}


@pytest.mark.parametrize("kinds", [[Gain], [Gain, GainOfSquare], [GainOfSquare, Gain]])
@pytest.mark.parametrize("place", ["inputs", "before", "after"])
@pytest.mark.parametrize("replicas", [None, 3])
def test_layers_take_part_in_backward_wherever_they_stand(backend, replicas, place, kinds):
    net = MLP([4, 5, 3, 2], "tanh", replicas, "float64", layers=[kind(place) for kind in kinds])
    learned = net.theta + numbers(*net.theta.shape, seed=0) * 0.3
    X, Y = numbers(N, 4, seed=1), labels(N, classes=2, seed=2)

    def loss_at(theta):
        net.theta[...] = theta
        return losses.cross_entropy(net.forward(X).logits, Y)[0]

    direction, h = numbers(*net.theta.shape, seed=3), 1e-6
    numeric = (loss_at(learned + h * direction) - loss_at(learned - h * direction)) / (2 * h)
    net.theta[...] = learned
    trace = net.forward(X)
    net.backward(trace, losses.cross_entropy(trace.logits, Y)[1])
    close(xp.sum(net.dtheta * direction, axis=-1), numeric, rtol=1e-7)
    of_layer = to_host(net.view(net.dtheta, f"g{net.layers[0].tag}")).copy()
    assert np.abs(of_layer).min() > 0
    net.backward(trace, losses.cross_entropy(trace.logits, Y)[1], accumulate=True)
    close(net.view(net.dtheta, f"g{net.layers[0].tag}"), 2 * of_layer)


# One network and many ----------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", optimizers.OPTIMIZERS)
@pytest.mark.parametrize(
    "shape", ["three networks", "as many networks as neurons", "inputs of their own"]
)
def test_many_networks_at_once_are_each_what_they_are_alone(backend, shape, optimizer):
    """With a rate and a weight decay of their own. Up to 1e-12: only the order of sums may differ."""
    net, X, Y = case(shape, "gelu")
    R, own = net.replicas, SHAPES[shape][2]
    rates, decays = np.geomspace(0.003, 0.1, R).tolist(), np.linspace(0, 0.3, R).tolist()
    start = to_host(net.theta).copy()
    together = optimizers.get(optimizer)(net, lr=rates, weight_decay=decays)
    values = to_host(xp.stack([step(net, together, X, Y) for _ in range(6)]))
    for r in range(R):
        alone = MLP(net.sizes, "gelu", dtype="float64")
        alone.theta[...] = to_device(start[r])
        moves = optimizers.get(optimizer)(alone, lr=rates[r], weight_decay=decays[r])
        mine = (X[r], Y[r]) if own else (X, Y)
        losses_alone = xp.stack([step(alone, moves, *mine) for _ in range(6)])
        close(values[:, r], losses_alone, rtol=1e-12)
        close(net.theta[r], alone.theta, rtol=1e-12)
    assert np.abs(to_host(net.theta) - start).max() > 1e-3


@pytest.mark.parametrize("activation", activations.ACTIVATIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("replicas", [None, 3])
def test_every_array_of_a_step_keeps_the_dtype(backend, activation, dtype, replicas):
    net = network([4, 5, 3], replicas=replicas, activation=activation, dtype=dtype)
    X = numbers(N, 4, dtype=dtype)
    for loss in losses.LOSSES:
        trace = net.forward(X)
        value, dlogits = losses.get(loss)(trace.logits, targets_for(loss, N, 3, dtype=dtype))
        dX = net.backward(trace, dlogits, {1: trace.A[1]}, accumulate=True, to_inputs=True)
        slope = net.activation.derivative(trace.Z[0])
        found = [*trace.A, *trace.Z, value, dlogits, dX, slope, net.theta, net.dtheta]
        assert {str(a.dtype) for a in found} == {dtype}
    for name in optimizers.OPTIMIZERS:
        rate = 0.01 if replicas is None else [0.01, 0.02, 0.03]
        optimizer = optimizers.get(name)(net, rate, weight_decay=rate)
        optimizer.step(0.5)
        optimizer.flush()
        assert {str(a.dtype) for a in (net.theta, *optimizer.moments.values())} == {dtype}


# The buffer and its views ------------------------------------------------------------------------


def test_weights_and_gradients_are_views_of_one_buffer(backend):
    net = MLP([3, 4, 2], replicas=2)
    assert net.n_parameters == 3 * 4 + 4 + 4 * 2 + 2 == net.theta.shape[-1]
    for buffer, W, b in ((net.theta, net.W, net.b), (net.dtheta, net.dW, net.db)):
        for number, view in enumerate([W[0], b[0], W[1], b[1]], start=1):
            view[...] = number
        assert to_host(buffer)[1].tolist() == [1.0] * 12 + [2.0] * 4 + [3.0] * 8 + [4.0] * 2
        buffer[...] = 9.0
        assert to_host(W[1]).tolist() == [[[9.0] * 2] * 4] * 2
    assert [w.shape for w in net.W] == [(2, 3, 4), (2, 4, 2)]
    assert [b.shape for b in net.b] == [(2, 1, 4), (2, 1, 2)]


def test_blocks_name_the_pieces_of_any_buffer_like_theta():
    net = MLP([3, 4, 2])
    assert [block.name for block in net.blocks] == ["W0", "b0", "W1", "b1"]
    moments = xp.arange(net.n_parameters)
    assert net.view(moments, "b0").tolist() == [[12, 13, 14, 15]]
    W, b = net.views(moments)
    assert W[1].shape == (4, 2)
    assert b[1].tolist() == [[24, 25]]


def test_a_new_network_is_zero_everywhere(backend):
    assert not to_host(MLP([3, 4, 2], replicas=2).theta).any()


# What users meet ---------------------------------------------------------------------------------


def test_the_trace_shows_every_array(backend):
    net, X, _ = case("three hidden layers", "relu")
    trace = net.forward(X)
    assert [a.shape for a in trace.A] == [(N, 4), (N, 5), (N, 6), (N, 5), (N, 2)]
    assert [z.shape for z in trace.Z] == [(N, 5), (N, 6), (N, 5), (N, 2)]
    assert trace.logits is trace.A[-1]
    assert [a.shape[-1] for a in trace.hidden] == [5, 6, 5]
    close(trace.A[2], np.maximum(to_host(trace.Z[1]), 0))
    close(trace.Z[1], to_host(trace.A[1]) @ to_host(net.W[1]) + to_host(net.b[1]))


def test_predict_names_the_class_with_the_largest_output(backend):
    net, X, _ = case("three networks")
    predicted = to_host(net.predict(X))
    assert predicted.shape == (3, N)
    assert predicted.tolist() == to_host(net.forward(X).logits).argmax(axis=-1).tolist()


@pytest.mark.parametrize(
    ("net", "text"),
    [
        (lambda: MLP([784, 16, 10]), "MLP(784-16-10, relu, 12,730 parameters, float32)"),
        (
            lambda: MLP([3, 4, 2], "tanh", 5, "float64", layers=[Gain("after")]),
            "MLP(3-4-2, tanh, 5 networks, 30 parameters each, float64, gain)",
        ),
    ],
)
def test_the_repr_of_a_network_names_its_parts(net, text):
    assert repr(net()) == text


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"sizes": [4]}, r"at least inputs and outputs, \[784, 10\], got \[4\]"),
        ({"sizes": [4, 0, 2]}, "every size must be a whole number from 1 up, got 0"),
        ({"sizes": [4, 2], "replicas": 0}, "replicas must be a whole number from 1 up, got 0"),
        ({"sizes": [4, 2], "dtype": "float16"}, "'float32' or 'float64', got 'float16'"),
        (
            {"sizes": [4, 2], "activation": "rleu"},
            "no activation called 'rleu': did you mean 'relu'",
        ),
        ({"sizes": [4, 3, 2], "layers": [Gain("after")] * 2}, r"twice at one place: g\[gain.1\]"),
    ],
)
def test_what_makes_no_network_is_one_sentence(arguments, sentence):
    with pytest.raises(UsageError, match=sentence):
        MLP(**arguments)


@pytest.mark.parametrize(
    ("replicas", "shape", "sentence"),
    [
        (None, (7, 5), r"layer 0 has weights W\[0\] \(4, 6\) .* shape \(N, 4\), got \(7, 5\)"),
        (None, (4,), r"shape \(N, 4\), got \(4,\)"),
        (None, (2, 7, 4), r"shape \(N, 4\), got \(2, 7, 4\)"),
        (3, (7, 5), r"W\[0\] \(3, 4, 6\) .* \(N, 4\) or \(3, N, 4\), got \(7, 5\)"),
        (3, (2, 7, 4), r"\(N, 4\) or \(3, N, 4\), got \(2, 7, 4\)"),
    ],
)
def test_inputs_that_do_not_fit_name_the_layer_and_both_shapes(backend, replicas, shape, sentence):
    with pytest.raises(UsageError, match=sentence):
        network([4, 6, 3], replicas=replicas, dtype="float64").forward(numbers(*shape))


def test_inputs_of_another_dtype_are_refused_with_the_conversion(backend):
    with pytest.raises(UsageError, match=r"in float32 and X is float64: use X.astype\('float32'\)"):
        network([4, 3]).forward(numbers(7, 4))


@pytest.mark.parametrize(
    ("shapes", "sentence"),
    [
        (((7, 4), {}), r"dlogits has shape \(7, 4\), but layer 2 .* \(3, 7, 3\)"),
        (((3, 7, 3), {1: (7, 6)}), r"dA\[1\] has shape \(7, 6\), but layer 1 .* \(3, 7, 6\)"),
        (((3, 7, 3), {2: (3, 7, 3)}), r"dA\[2\] is the gradient at the outputs: add it to dlogits"),
        (((3, 7, 3), {5: (3, 7, 3)}), r"no activations belong to dA\[5\]: layers run from 0 to 2"),
        (((3, 7, 3), {-1: (3, 7, 3)}), r"no activations belong to dA\[-1\]"),
    ],
)
def test_upstream_gradients_that_do_not_fit_name_the_layer_and_both_shapes(
    backend, shapes, sentence
):
    net = network([4, 6, 3], replicas=3, dtype="float64")
    trace = net.forward(numbers(7, 4))
    dlogits, dA = shapes
    with pytest.raises(UsageError, match=sentence):
        net.backward(trace, numbers(*dlogits), {l: numbers(*s) for l, s in dA.items()})


def test_rows_may_be_lists(backend):
    net = network([2, 3, 2], dtype="float64")
    close(
        net.forward([[1, 2], [3, 4]]).logits,
        net.forward(xp.asarray([[1.0, 2.0], [3.0, 4.0]])).logits,
    )
