"""Layers: backward passes against PyTorch, evaluation mode, running statistics, folding, odd batches."""

import itertools

import numpy as np
import pytest
from helpers import close, labels, network, numbers

from tinydiv.backend import to_device, to_host, xp
from tinydiv.errors import UsageError
from tinydiv.layers import Context
from tinydiv.losses import cross_entropy
from tinydiv.optimizers import SGD, Adam
from tinydiv.techniques import TECHNIQUES, Techniques, layers_of
from tinydiv.techniques.placing import kind_of

LAYERS = sorted(name for name, cls in TECHNIQUES.items() if kind_of(cls) == "layer")
WHITENING = ["zca-norm", "iter-norm"]
NORMS = ["batch-norm", *WHITENING]
TRAINING = Context(training=True, step=4)


def net_with(*specs, sizes=(6, 5, 4, 3), replicas=None, dtype="float64", **more):
    net = network(list(sizes), replicas=replicas, dtype=dtype, layers=layers_of(specs), **more)
    return net


def layer_with(spec, width=5, replicas=None, dtype="float64"):
    """One layer, alone, with learned parameters that are not their first values."""
    place = layers_of([spec])[0].place
    sizes = (width, 4, 3) if place == "inputs" else (6, width, 3)
    return net_with(spec, sizes=sizes, replicas=replicas, dtype=dtype).layers[0]


def trained(specs, steps=6, replicas=None, dtype="float64", seeds=None, own_batches=False):
    """A network after some steps with its layers at work, its techniques and the inputs."""
    net = net_with(*specs, replicas=replicas, dtype=dtype, scale=0.5)
    optimizer = SGD(net, 0.05)
    techniques = Techniques(net, specs, optimizer, seeds=seeds)
    shape = (replicas, 12, 6) if own_batches else (12, 6)
    for number in range(steps):
        X = numbers(*shape, seed=number, dtype=dtype) + 0.5
        Y = labels(*shape[:-1], classes=3, seed=number)
        trace = net.forward(X, Context(training=True, step=number))
        _, dlogits = cross_entropy(trace.logits, Y)
        net.backward(trace, dlogits)
        optimizer.step()
    return net, techniques


# The maths, by PyTorch ---------------------------------------------------------------------------


def inverse_root(torch, S, steps=60):
    """S^(-1/2) by Denman and Beavers' product form: differentiable where eigenvalues repeat, too."""
    size = S.trace()
    identity = torch.eye(len(S), dtype=S.dtype)
    Y, Z = S / size, identity
    for _ in range(steps):
        T = (3 * identity - Z @ Y) / 2
        Y, Z = Y @ T, T @ Z
    return Z / size**0.5


def reference(torch, spec, layer, x, parts):
    """What the layer should compute while training, from its description alone."""
    gamma, beta = parts.get("gamma"), parts.get("beta")
    if spec == "learned-size":
        u = torch.clip(parts["N"][0] - torch.arange(x.shape[1]), 0, 1)
        return x * torch.sin(torch.pi * u / 2) ** 2
    if spec == "size-mask":
        p = torch.sin(torch.pi * parts["c"][0] / 2) ** 2
        return x * torch.clip(p * x.shape[1] - torch.arange(x.shape[1]), 0, 1)
    if spec == "batch-norm":
        return torch.nn.functional.batch_norm(
            x, None, None, gamma[0], beta[0], training=True, eps=1e-5
        )
    if spec in WHITENING:
        C = x - x.mean(0)
        S = C.T @ C / len(x) + 1e-3 * torch.eye(x.shape[1], dtype=x.dtype)
        if spec == "zca-norm":
            M = inverse_root(torch, S)
        else:
            M = torch.eye(len(S), dtype=x.dtype)
            for _ in range(5):
                M = (3 * M - M @ M @ M @ S / S.trace()) / 2
            M = M / S.trace().sqrt()
        return gamma * (C @ M) + beta
    if spec == "dropout":
        keep = layer.draws.keep(0.8, tuple(x.shape), 4, layer.depth + 1)
        return x * torch.tensor(to_host(keep)) / 0.8
    assert spec == "decorrelated-inputs"
    return x @ torch.tensor(to_host(layer.R)).T


def clusters(kind, N, H):
    """Inputs that are hard on a whitening layer."""
    x = np.random.default_rng(3).normal(size=(N, H))
    if kind == "repeated":  # the covariance is exactly a multiple of the identity
        Q, _ = np.linalg.qr(x - x.mean(0))
        return Q * N**0.5
    if kind == "twins":
        x[:, 1] = x[:, 0]
    if kind == "constant":
        x[:, 2] = 1.5
    return x


@pytest.mark.parametrize("kind", ["usual", "repeated", "twins", "constant", "few"])
@pytest.mark.parametrize("spec", LAYERS)
def test_forward_and_backward_are_pytorchs(spec, kind, torch):
    x = clusters(kind, 4 if kind == "few" else 11, 5)
    dy = np.random.default_rng(5).normal(size=x.shape)
    layer = layer_with(spec)
    if spec == "decorrelated-inputs":
        layer.R = numbers(5, 5, seed=8)
    xt = torch.tensor(x, requires_grad=True)
    parts = {
        key: torch.tensor(to_host(layer.parameters[key]).copy(), requires_grad=True)
        for key in layer.shapes
    }
    wanted = reference(torch, spec, layer, xt, parts)
    y, cache = layer.forward(to_device(x), TRAINING)
    close(y, wanted.detach().numpy(), atol=1e-9)
    wanted.backward(torch.tensor(dy))
    dx, gradients = layer.backward(to_device(dy), cache)
    size = np.abs(xt.grad.numpy()).max()
    assert size > 1e-3
    close(dx, xt.grad.numpy(), rtol=1e-9, atol=1e-9 * size)
    assert set(gradients) == set(parts)
    for key, part in parts.items():
        close(gradients[key], part.grad.numpy(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("spec", LAYERS)
def test_evaluation_mode_has_a_gradient_too(spec, torch):
    """In evaluation mode every layer is linear in x: its backward is the transposed map."""
    net, _ = trained([spec])
    layer = net.layers[0]
    x, dy, v = (numbers(7, layer.width, seed=s) for s in (1, 2, 3))
    y, cache = layer.forward(x, Context())
    moved, _ = layer.forward(x + v, Context())
    dx, _ = layer.backward(dy, cache)
    close(xp.sum((moved - y) * dy), xp.sum(dx * v), rtol=1e-9)


# Evaluation mode, running statistics, folding ----------------------------------------------------


@pytest.mark.parametrize("replicas", [None, 3])
@pytest.mark.parametrize("spec", LAYERS)
def test_layers_fold_into_plain_weights(spec, replicas, backend):
    net, _ = trained([spec], replicas=replicas)
    X = numbers(9, 6, seed=77)
    before = to_host(net.forward(X).logits)
    plain = net.folded()
    assert not plain.layers
    close(plain.forward(X).logits, before, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("spec", LAYERS)
def test_folding_in_single_precision(spec):
    net, _ = trained([spec], steps=40, replicas=2, dtype="float32")
    X = numbers(200, 6, seed=77, dtype="float32")
    before = to_host(net.forward(X).logits)
    close(net.folded().forward(X).logits, before, rtol=1e-5, atol=1e-5 * np.abs(before).max())


def test_all_places_fold_together():
    net, _ = trained(["decorrelated-inputs", "zca-norm:layers=1", "batch-norm:layers=2", "dropout"])
    X = numbers(9, 6, seed=77)
    close(net.folded().forward(X).logits, net.forward(X).logits, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("spec", LAYERS)
def test_evaluation_does_not_depend_on_the_other_samples(spec, backend):
    """One sample alone, a last batch of three, and all at once: the same outputs, nothing learned."""
    net, techniques = trained([spec])
    X = numbers(9, 6, seed=77)
    before = {k: to_host(v).copy() for k, v in techniques.state().items()}
    whole = to_host(net.forward(X).logits)
    for rows in (slice(0, 1), slice(6, 9)):
        close(net.forward(X[rows]).logits, whole[rows], rtol=1e-9, atol=1e-11)
    for key, value in techniques.state().items():
        np.testing.assert_array_equal(to_host(value), before[key])


@pytest.mark.parametrize("N", [1, 2, 5])
@pytest.mark.parametrize("spec", LAYERS)
def test_tiny_batches_give_finite_numbers(spec, N, backend):
    net = net_with(spec)
    X, Y = numbers(N, 6, seed=1), labels(N, classes=3)
    trace = net.forward(X, TRAINING)
    _, dlogits = cross_entropy(trace.logits, Y)
    net.backward(trace, dlogits)
    assert np.isfinite(to_host(net.dtheta)).all()
    assert np.isfinite(to_host(net.forward(X).logits)).all()


def test_running_statistics_of_batch_norm_are_pytorchs(torch):
    layer, judge = layer_with("batch-norm"), torch.nn.BatchNorm1d(5, dtype=torch.float64)
    for seed in range(4):
        x = np.random.default_rng(seed).normal(1, 2, size=(8, 5))
        layer.forward(to_device(x), TRAINING)
        judge(torch.tensor(x))
    close(layer.mean[0], judge.running_mean.numpy())
    close(layer.variance[0], judge.running_var.numpy())


@pytest.mark.parametrize("spec", WHITENING)
def test_running_statistics_of_whitening(spec, backend):
    layer = layer_with(spec)
    mean, covariance = np.zeros((1, 5)), np.eye(5)
    for seed in range(4):
        x = np.random.default_rng(seed).normal(1, 2, size=(8, 5))
        layer.forward(to_device(x), TRAINING)
        mean = 0.9 * mean + 0.1 * x.mean(0)
        covariance = 0.9 * covariance + 0.1 * np.cov(x.T)
    close(layer.mean, mean)
    close(layer.covariance, covariance)


@pytest.mark.parametrize(("spec", "off"), [("zca-norm", 1e-2), ("iter-norm", 0.35)])
def test_whitening_whitens(spec, off):
    """Covariance after it: the identity, but for eps (and for the steps that IterNorm saves)."""
    layer = layer_with(f"{spec}:eps=1e-4")
    layer.reset_parameters()
    x = np.random.default_rng(0).normal(size=(400, 5)) @ (np.eye(5) + 0.6)
    before = np.corrcoef(x.T) - np.eye(5)
    y = to_host(layer.forward(to_device(x), TRAINING)[0])
    S = np.cov(y.T, bias=True)
    assert np.abs(S - np.eye(5)).max() < off
    assert np.abs(before).max() > 0.5


def test_an_eigenvalue_that_rounding_made_negative_counts_as_half_of_eps(backend):
    layer = layer_with("zca-norm:eps=0.02", width=3)
    S = to_device(np.diag([4.0, 0.25, -0.3]))
    close(layer.matrix(S)[0], np.diag([0.5, 2.0, 10.0]), atol=1e-12)


def test_a_diverged_network_does_not_stop_the_others(backend):
    for spec in LAYERS:
        net = net_with(spec, replicas=2)
        theta = to_host(net.theta).copy()
        theta[1] = np.nan
        net.theta[...] = to_device(theta)
        trace = net.forward(numbers(9, 6), TRAINING)
        net.backward(trace, numbers(2, 9, 3, seed=1))
        assert np.isfinite(to_host(net.dtheta)[0]).all(), spec


# One network and many, state, other backends -----------------------------------------------------


@pytest.mark.parametrize("own_batches", [False, True])
@pytest.mark.parametrize("spec", LAYERS)
def test_many_networks_are_each_alone(spec, own_batches, backend):
    R = 5  # as wide as the first hidden layer
    many, _ = trained([spec], replicas=R, seeds=range(10, 10 + R), own_batches=own_batches)
    theta = np.random.default_rng(0).normal(scale=0.5, size=many.theta.shape)
    for r in (0, 3):
        one = net_with(spec)
        one.theta[...] = to_device(theta[r])
        optimizer = SGD(one, 0.05)
        Techniques(one, [spec], optimizer, seeds=[10 + r])
        for number in range(6):
            shape = (R, 12, 6) if own_batches else (12, 6)
            X, Y = numbers(*shape, seed=number) + 0.5, labels(*shape[:-1], classes=3, seed=number)
            X, Y = (X[r], Y[r]) if own_batches else (X, Y)
            trace = one.forward(X, Context(training=True, step=number))
            _, dlogits = cross_entropy(trace.logits, Y)
            one.backward(trace, dlogits)
            optimizer.step()
        close(many.theta[r], one.theta, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("spec", LAYERS)
def test_state_goes_round(spec, backend):
    net, techniques = trained([spec], replicas=2, own_batches=True)
    saved = {k: to_host(v).copy() for k, v in techniques.state().items()}
    theta = to_host(net.theta).copy()
    other, again = trained([spec], steps=0, replicas=2)
    other.theta[...] = to_device(theta)
    again.load_state(saved)
    X = numbers(9, 6, seed=5)
    for context in (Context(), TRAINING):
        a, b = net.forward(X, context).logits, other.forward(X, context).logits
        np.testing.assert_array_equal(to_host(a), to_host(b))


@pytest.mark.parametrize("spec", LAYERS)
def test_a_step_never_waits_and_never_copies(spec, on_standin):
    net = net_with(spec, replicas=3)
    X, Y = numbers(9, 6), labels(9, classes=3)
    with on_standin.counting() as counts:
        trace = net.forward(X, TRAINING)
        _, dlogits = cross_entropy(trace.logits, Y)
        net.backward(trace, dlogits)
    assert (counts.stops, counts.uploads, counts.copies) == (0, 0, 0)


# Dropout -----------------------------------------------------------------------------------------


def mask_of(seeds, step=3, layer=1, replicas=None, N=64):
    net = net_with("dropout:p=0.3", sizes=(6, 8, 8, 3), replicas=replicas)
    Techniques(net, ["dropout:p=0.3"], seeds=seeds)
    x = xp.ones((*net.lead, N, 8), dtype="float64")
    y, _ = net.layers[layer - 1].forward(x, Context(training=True, step=step))
    return to_host(y)


def test_masks_depend_on_seed_step_layer_and_place_alone(backend):
    many = mask_of([4, 5, 6], replicas=3)
    for r, seed in enumerate((4, 5, 6)):
        np.testing.assert_array_equal(mask_of([seed]), many[r])
    np.testing.assert_array_equal(mask_of([4], N=16), mask_of([4])[:16])  # not on the batch's size
    for other in (mask_of([9]), mask_of([4], step=4), mask_of([4], layer=2)):
        assert 0.3 < (other != mask_of([4])).mean() < 0.55  # 2 * 0.3 * 0.7 of independent masks


def test_masks_are_the_same_on_every_backend(backend):
    """The first numbers of one mask, written down: another backend must give these."""
    kept = (mask_of([7], N=2) > 0).astype(int).reshape(-1).tolist()
    assert kept == KNOWN_MASK


KNOWN_MASK = [0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1]


def test_dropout_keeps_the_mean():
    mask = np.stack([mask_of([s]) for s in range(40)])
    assert set(np.unique(mask)) == {0.0, 1 / 0.7}
    share = (mask == 0).mean()
    assert abs(share - 0.3) < 4 * (0.21 / mask.size) ** 0.5


def test_a_resumed_or_second_pass_sees_the_same_mask(backend):
    net = net_with("dropout")
    X = numbers(9, 6)
    a, b = (to_host(net.forward(X, TRAINING).logits) for _ in range(2))
    np.testing.assert_array_equal(a, b)
    assert np.abs(a - to_host(net.forward(X).logits)).max() > 1e-3


# Decorrelated inputs -----------------------------------------------------------------------------


def correlated(B, D, seed=0):
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(D, D)) + 1.0
    return to_device(rng.normal(size=(B, D)) @ mixing / D**0.5)


def off_size(y):
    C = to_host(y).T @ to_host(y) / len(y)
    return np.abs(C - np.diag(np.diag(C))).mean() / np.diag(C).mean()


@pytest.mark.parametrize("size", [1.0, 100.0, 0.0])
def test_its_rule_is_the_matrix_formula(backend, size):
    """At its own rate; with large inputs at 1 over the trace of C; with inputs that are all zero."""
    layer = layer_with("decorrelated-inputs:rate=1e-3,kappa=0.3,k=1")
    layer.R = numbers(5, 5, seed=2)
    R, x = to_host(layer.R).copy(), size * correlated(9, 5)
    y = to_host(layer.forward(x, TRAINING)[0])
    C = y.T @ y / 9
    rate = 1 / np.trace(C) if size == 100 else 1e-3
    assert (np.trace(C) > 1000) == (size == 100)
    diagonal = np.diag(np.diag(C))
    wanted = R - rate * (0.7 * (C - diagonal) + 0.3 * (diagonal - np.eye(5))) @ R
    close(layer.R, wanted, rtol=1e-10)


def test_it_decorrelates_inputs_without_labels(backend):
    layer = layer_with("decorrelated-inputs:rate=0.1", width=8)
    test = correlated(2000, 8, seed=1000)
    before = off_size(test)
    for step in range(3000):
        layer.forward(correlated(64, 8, seed=step % 200), Context(training=True, step=step))
    after = off_size(layer.forward(test, Context())[0])
    assert before > 0.2
    assert after < before / 10


def test_a_large_rate_is_capped_where_the_rule_would_diverge():
    layer = layer_with("decorrelated-inputs:rate=1,k=1", width=8)
    for step in range(300):
        layer.forward(100 * correlated(64, 8, seed=step), Context(training=True, step=step))
    assert np.isfinite(to_host(layer.R)).all()
    assert off_size(layer.forward(correlated(500, 8, seed=1), Context())[0]) < 0.2


def test_it_moves_every_k_steps_only():
    layer = layer_with("decorrelated-inputs:k=3")
    seen = [to_host(layer.R)]
    for step in range(7):
        layer.forward(correlated(9, 5), Context(training=True, step=step))
        seen.append(to_host(layer.R))
    moved = [not np.array_equal(a, b) for a, b in itertools.pairwise(seen)]
    assert moved == [True, False, False, True, False, False, True]
    layer.forward(correlated(9, 5), Context(training=False, step=0))
    np.testing.assert_array_equal(to_host(layer.R), seen[-1])


def test_one_matrix_where_networks_share_their_inputs(backend):
    shared, _ = trained(["decorrelated-inputs"], replicas=3)
    own, _ = trained(["decorrelated-inputs"], replicas=3, own_batches=True)
    assert shared.layers[0].R.shape == (6, 6)
    assert own.layers[0].R.shape == (3, 6, 6)


# Among other techniques --------------------------------------------------------------------------


@pytest.mark.parametrize("recycler", ["merge-recycle:threshold=0", "redo:tau=0.9"])
def test_batch_norm_resets_its_statistics_of_recycled_neurons(recycler, backend):
    specs = ["batch-norm", recycler + ",every=1,layers=1"]
    net = net_with(*specs, replicas=2)
    optimizer = Adam(net, 0.01)
    X, Y = numbers(30, 6), labels(30, classes=3)
    techniques = Techniques(net, specs, optimizer, probe_inputs=X)
    layer = net.layers[0]
    for number in range(3):
        old = to_host(net.W[0]).copy()
        trace = net.forward(X, Context(training=True, step=number))
        loss, dlogits = cross_entropy(trace.logits, Y)
        step = techniques.step(trace, Y, loss, dlogits, number)
        net.backward(trace, dlogits)
        techniques.after_backward(step)
        optimizer.step()
        techniques.after_update(step)
    new = np.abs(to_host(net.W[0]) - old).max(axis=-2) > 0.05  # Adam moves weights by 0.01 at most
    assert new.any()
    assert not new.all()
    Z = to_host(X @ net.W[0] + net.b[0])
    for have, fresh in (
        (layer.mean, Z.mean(axis=-2)),
        (layer.variance, Z.var(axis=-2)),
        (layer.parameters["gamma"], np.ones_like(new, dtype=float)),
        (layer.parameters["beta"], np.zeros_like(new, dtype=float)),
    ):
        same = np.isclose(to_host(have)[..., 0, :], fresh, rtol=1e-9, atol=1e-9)
        np.testing.assert_array_equal(same, new)
    for moment in optimizer.moments.values():
        for block in ("gamma[batch-norm.1]", "beta[batch-norm.1]"):
            still = to_host(net.view(moment, block))[..., 0, :]
            gone = still == 0
            assert gone[new].all()
            assert not gone.all()  # merging also resets the neuron that takes over
            assert recycler.startswith("merge") or not gone[~new].any()


def test_places_that_do_not_exist_are_one_sentence():
    with pytest.raises(UsageError, match="the hidden layers are 1, 2"):
        net_with("dropout:layers=3")
    with pytest.raises(UsageError, match="stands twice"):
        net_with("dropout", "dropout")
    with pytest.raises(UsageError, match=r"at most 0\.99"):
        net_with("dropout:p=1")
