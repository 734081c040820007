"""Neurons that wake, fall asleep and are copied: every weight as computed by loops, network by network."""

import numpy as np
import pytest
from helpers import labels, network, numbers

from tinydiv.backend import to_device, to_host
from tinydiv.layers import Context
from tinydiv.losses import cross_entropy
from tinydiv.optimizers import Adam
from tinydiv.techniques import Techniques, layers_of
from tinydiv.techniques.grow import STREAM, awake, put_to_sleep

SIZES = [6, 5, 8, 3]
LAYER = 2
AWAKE = (
    np.array([[1, 0, 1, 1, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0, 0, 1], [0, 1, 0, 1, 1, 0, 1, 0]]) == 1
)
"""Which neurons of layer 2 are awake in each of three networks; the third's have no incoming weights."""


def before_waking(spec, X=None):
    """(technique, step, net) just before neurons of layer 2 wake; the third network's are constant."""
    layers = "" if spec.startswith("gradmax") else ",layers=2"
    spec = f"{spec}{layers},every=1000"
    X = numbers(30, 6, seed=1) if X is None else X
    net = network(SIZES, replicas=3, dtype="float64", activation="tanh", layers=layers_of([spec]))
    techniques = Techniques(net, [spec], Adam(net, 0.0), probe_inputs=X, seeds=[4, 5, 6])
    technique = techniques.placed[0].technique
    net.theta[...] = to_device(np.random.default_rng(8).normal(size=net.theta.shape))
    technique.kept["awake2"] = to_device(AWAKE)
    if "free2" in technique.kept:
        technique.kept["free2"] = to_device(AWAKE)
    put_to_sleep(net, LAYER, to_device(~AWAKE))
    net.W[1][2] = 0
    trace = net.forward(X, Context(training=True, step=7))
    loss, dlogits = cross_entropy(trace.logits, Y := labels(30, classes=3, seed=2))
    step = techniques.backward(techniques.step(trace, Y, loss, dlogits, 7))
    techniques.optimizer.step()  # with moments, and without a move
    return technique, step, net


def parts(net, r):
    """W, b, V, c around layer 2 of one network, as copies on the host."""
    blocks = (net.W[1], net.b[1], net.W[2], net.b[2])
    return [np.array(to_host(block)[r]) for block in blocks]


def draws(step, r):
    found = to_host(step.draws.symmetric((5, 8), step.number, STREAM + LAYER, "float64"))
    return found[r] if found.ndim == 3 else found


def rms(lengths):
    return np.sqrt(np.mean(np.square(lengths))) or 1.0


def woken(number, r):
    return np.flatnonzero(~AWAKE[r])[:number]


def compare(net, wanted):
    for r, blocks in enumerate(wanted):
        for name, mine, right in zip("WbVc", parts(net, r), blocks, strict=True):
            np.testing.assert_allclose(mine, right, rtol=1e-9, atol=1e-12, err_msg=f"{name}, {r}")


def placed(net, step, r, number, directions):
    """The blocks after waking: directions (5, number) get the usual length, biases centre them."""
    W, b, V, c = parts(net, r)
    X = to_host(step.probe().A[1])[r]
    usual = rms(np.linalg.norm(W[:, AWAKE[r]], axis=0))
    for h, w in zip(woken(number, r), directions.T, strict=True):
        W[:, h] = w / np.linalg.norm(w) * usual
        b[:, h] = -X.mean(axis=0) @ W[:, h]
        V[h] = 0
    return W, b, V, c


def decorrelated(net, step, r, number):
    X, W = to_host(step.probe().A[1])[r], parts(net, r)[0][:, AWAKE[r]]
    w = draws(step, r)[:, woken(number, r)]
    Xc = X - X.mean(axis=0)
    Z = Xc @ W
    S = Z.T @ Z / len(X)
    ridge = max(1e-5 * np.trace(S) / 8, np.finfo(float).tiny)
    w = w - W @ np.linalg.solve(S + ridge * np.eye(len(S)), Z.T @ (Xc @ w) / len(X))
    w = w / np.linalg.norm(w, axis=0)
    values, U = np.linalg.eigh((Xc @ w).T @ (Xc @ w) / len(X))
    floor = max(1e-6 * values.max(), np.finfo(float).tiny)
    return w @ (U / np.sqrt(np.maximum(values, floor))) @ U.T


@pytest.mark.parametrize("incoming", ["random", "decorrelated"])
@pytest.mark.parametrize("number", [1, 3])
def test_a_woken_neuron_has_the_weights_of_the_description(incoming, number, backend):
    technique, step, net = before_waking(f"grow:number={number},incoming={incoming}")
    wanted = []
    for r in range(3):
        random = draws(step, r)[:, woken(number, r)]
        w = random if incoming == "random" else decorrelated(net, step, r, number)
        wanted.append(placed(net, step, r, number, w))
    technique.move(step, LAYER, None)
    compare(net, wanted)


def test_more_neurons_than_inputs_wake_with_finite_weights(backend):
    """Five inputs have room for five independent responses: what is drawn beyond has a small one, and
    none responds to what is constant, or zero."""
    for X in (None, numbers(30, 6, seed=1) * 0 + 1, numbers(30, 6, seed=1) * 0):
        technique, step, net = before_waking("grow:number=5,incoming=decorrelated", X)
        if X is not None and not to_host(X).any():
            net.b[0][...] = 0
            step.weights_moved()
        technique.move(step, LAYER, None)
        assert np.isfinite(to_host(net.theta)).all()
        assert to_host(awake(net, LAYER)).all()


def test_gradmax_places_singular_vectors(backend):
    technique, step, net = before_waking("gradmax:number=2,size=0.7,start=0.01")
    X, Y = to_host(step.trace.A[1]), to_host(step.targets)
    logits = to_host(net.forward(step.trace.inputs).logits)
    p = np.exp(logits - logits.max(axis=-1, keepdims=True))
    dZ = (p / p.sum(axis=-1, keepdims=True) - np.eye(3)[Y]) / len(Y)
    wanted = []
    before = [parts(net, r) for r in range(3)]
    technique.move(step, LAYER, None)
    for r, (W, b, V, c) in enumerate(before):
        P, _, Qt = np.linalg.svd(X[r].T @ dZ[r], full_matrices=False)
        usual = rms(np.linalg.norm(V[AWAKE[r]], axis=1))
        for k, h in enumerate(woken(2, r)):
            sign = np.sign(to_host(net.W[2])[r, h] @ Qt[k])  # of a pair of singular vectors
            V[h], W[:, h] = sign * 0.7 * usual * Qt[k], -sign * 0.01 * P[:, k]
        wanted.append((W, b, V, c))
    compare(net, wanted)


def test_net2net_copies_in_turn_and_halves(backend):
    technique, step, net = before_waking("net2net:number=2,noise=0.1")
    net.W[1][2] = to_device(np.where(AWAKE[2], np.random.default_rng(3).normal(size=(5, 8)), 0))
    wanted = []
    for r in range(3):
        W, b, V, c = parts(net, r)
        draw = draws(step, r)
        for h, j in zip(woken(2, r), np.flatnonzero(AWAKE[r]), strict=False):
            noise = 0.1 * np.linalg.norm(W[:, j]) * draw[:, j] / np.linalg.norm(draw[:, j])
            W[:, h], b[:, h] = W[:, j] + noise, b[:, j]
            V[h] = V[j] = V[j] / 2
        wanted.append((W, b, V, c))
    technique.move(step, LAYER, None)
    compare(net, wanted)


@pytest.mark.parametrize("drop", [1, 2])
def test_the_neurons_that_contribute_least_fall_asleep(drop, backend):
    """Least std(a) |V|: neither the smallest outgoing weights nor the quietest neuron alone."""
    technique, step, net = before_waking(f"grow:number=0,drop={drop}")
    net.W[1][...] = net.W[1] * to_device(np.array([0.05, 1, 1, 2, 1, 1, 0.3, 1]))
    net.W[2][...] = net.W[2] * to_device(np.array([9, 1, 0.8, 0.5, 2, 1, 2, 0.9])[:, None])
    step.weights_moved()
    A, wanted = to_host(step.probe().A[LAYER]), []
    for r in range(3):
        W, b, V, c = parts(net, r)
        contributes = A[r].std(axis=0) * np.linalg.norm(V, axis=1)
        order = [h for h in np.argsort(contributes, kind="stable") if AWAKE[r, h]]
        for h in order[:drop]:
            c = c + A[r, :, h].mean() * V[h]
            W[:, h], b[:, h], V[h] = 0, 0, 0
        wanted.append((W, b, V, c))
    technique.move(step, LAYER, None)
    compare(net, wanted[:2])  # the third network's neurons are all constant: any may go
    for mine, right in zip(technique.kept["awake2"], wanted, strict=True):
        assert to_host(mine).sum() == (right[0].any(axis=0) | right[2].any(axis=1)).sum()


@pytest.mark.parametrize("name", ["grow", "net2net"])
def test_batch_norm_takes_the_statistics_of_a_neuron_that_wakes(name, backend):
    specs, X = [f"{name}:first=2,number=2,every=1", "batch-norm"], numbers(30, 6, seed=1)
    net = network([6, 8, 3], dtype="float64", activation="tanh", layers=layers_of(specs))
    techniques = Techniques(net, specs, Adam(net, 0.0), probe_inputs=X, seeds=[4])
    norm = net.layers[0]
    trace, Y = net.forward(X, Context(training=True, step=0)), labels(30, classes=3, seed=2)
    step = techniques.backward(techniques.step(trace, Y, *cross_entropy(trace.logits, Y), 0))
    techniques.optimizer.step()
    norm.mean[...], norm.variance[...] = 7, 7
    techniques.after_update(step)
    Z = to_host(X) @ to_host(net.W[0]) + to_host(net.b[0])
    new = np.arange(8) // 2 == 1
    np.testing.assert_allclose(to_host(norm.mean)[0, new], Z.mean(axis=0)[new], atol=1e-12)
    np.testing.assert_allclose(to_host(norm.variance)[0, new], Z.var(axis=0)[new])
    assert (to_host(norm.mean)[..., ~new] == 7).all()


@pytest.mark.parametrize("spec", ["grow:number=2", "gradmax:number=2", "grow:number=0,drop=2"])
def test_moments_of_neurons_that_change_begin_anew(spec, backend):
    technique, step, net = before_waking(spec)
    before = to_host(technique.kept["awake2"])
    for moments in step.optimizer.moments.values():
        moments[...] = 1
    technique.move(step, LAYER, None)
    changed = to_host(technique.kept["awake2"]) != before
    assert changed.sum() == 6
    for moments in step.optimizer.moments.values():
        W, b, V = (to_host(net.view(moments, name)) for name in ("W1", "b1", "W2"))
        np.testing.assert_array_equal(V[..., 0] == 0, changed)
        np.testing.assert_array_equal(b[:, 0] == 0, changed)
        np.testing.assert_array_equal(W[:, 0] == 0, changed)


def test_a_later_layer_is_centred_on_what_the_earlier_one_became(backend):
    """grow at layers 1 and 2: a neuron that fell asleep in layer 1 is silent where layer 2 looks."""
    spec = "grow:first=5,number=2,drop=2,layers=1+2,every=1"
    X, Y = numbers(30, 6, seed=1), labels(30, classes=3, seed=2)
    net = network(SIZES, dtype="float64", activation="tanh")
    techniques = Techniques(net, [spec], Adam(net, 0.0), probe_inputs=X, seeds=[4])
    assert to_host(awake(net, 2)).sum() == 5  # before the first step already
    trace = net.forward(X)
    loss, dlogits = cross_entropy(trace.logits, Y)
    step = techniques.backward(techniques.step(trace, Y, loss, dlogits, 0))
    techniques.optimizer.step()
    techniques.after_update(step)
    A, W, b = to_host(net.forward(X).A[1]), to_host(net.W[1]), to_host(net.b[1])
    new = ~to_host(net.W[2]).any(axis=1) & W.any(axis=0)
    assert new.sum() == 2
    np.testing.assert_allclose(b[:, new], -A.mean(axis=0) @ W[:, new][None], atol=1e-12)


def test_residual_fitting_trains_the_newest_alone_and_goes_on_when_all_are_awake(backend):
    technique, step, net = before_waking("residual-fitting:number=8")
    technique.move(step, LAYER, None)
    np.testing.assert_array_equal(to_host(technique.kept["free2"]), ~AWAKE)
    technique.move(step, LAYER, None)  # none is left to wake
    np.testing.assert_array_equal(to_host(technique.kept["free2"]), ~AWAKE)
    full = numbers(3, 5, 8, seed=5)
    net.dW[1][...] = full
    technique.watch(step, LAYER)
    np.testing.assert_array_equal(to_host(net.dW[1]), to_host(full) * ~AWAKE[:, None, :])
