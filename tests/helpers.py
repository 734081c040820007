"""Small things that several tests need: networks with random weights, data from a seed."""

import numpy as np

from tinydiv import losses
from tinydiv.backend import to_device, to_host
from tinydiv.mlp import MLP


def network(sizes, seed=0, scale=0.7, **settings):
    """An MLP with random weights *and* biases, drawn on the host: the same on every backend."""
    net = MLP(sizes, **settings)
    draws = np.random.default_rng(seed).normal(scale=scale, size=net.theta.shape)
    net.theta[...] = to_device(draws.astype(net.dtype))
    return net


def numbers(*shape, seed=0, dtype="float64"):
    """Normal numbers on the device."""
    return to_device(np.random.default_rng(seed).normal(size=shape).astype(dtype))


def labels(*shape, classes, seed=0):
    """Class numbers on the device."""
    return to_device(np.random.default_rng(seed).integers(classes, size=shape).astype("int32"))


def targets_for(loss, *shape, seed=0, dtype="float64"):
    """Targets (..., N, K) that mean something to a loss: class numbers, yes or no, or any number."""
    if loss == "cross-entropy":
        return labels(*shape[:-1], classes=shape[-1], seed=seed)
    if loss == "binary-cross-entropy":
        return labels(*shape, classes=2, seed=seed).astype(dtype)
    return numbers(*shape, seed=seed, dtype=dtype)


def step(net, optimizer, X, Y, loss="cross-entropy", factor=1.0):
    """One plain training step; the loss before it, still on the device."""
    trace = net.forward(X)
    value, dlogits = losses.get(loss)(trace.logits, Y)
    net.backward(trace, dlogits)
    optimizer.step(factor)
    return value


def close(actual, desired, rtol=1e-9, atol=1e-12):
    """assert_allclose for arrays of any backend, and lists."""
    actual, desired = (a if isinstance(a, list) else to_host(a) for a in (actual, desired))
    np.testing.assert_allclose(actual, desired, rtol=rtol, atol=atol)
