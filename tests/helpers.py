"""Small things that several tests need: random networks and data, processes, refused commands."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from tinydiv import losses
from tinydiv.backend import to_device, to_host
from tinydiv.mlp import MLP

ROOT = Path(__file__).parent.parent

WITNESS = """
from pathlib import Path
from tinydiv.techniques import Intervention
Path(__file__).with_name("was_run").touch()
class Mine(Intervention):
    def edit(self, step, layer, mask):
        pass
"""
"""A technique of one's own that leaves a file beside it when its code is run."""


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


# Commands ------------------------------------------------------------------------------------------


def environment(**more):
    """That of a user who installed tinydiv, whatever folder they are in."""
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


def python(*words, env=None, **how):
    """A process of Python, waited for; with env, in another environment than a user's."""
    how = {"capture_output": True, "text": True, "timeout": 300, **how}
    env = environment() if env is None else env
    return subprocess.run([sys.executable, *map(str, words)], env=env, **how)


def refused(capsys, main, words, sentence, code=2):
    """A command's one line on stderr, which has the sentence; nothing on stdout, and no traceback."""
    assert main(list(words)) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert sentence in printed.err
    assert printed.err.count("\n") == 1, printed.err
    assert "error in tinydiv" not in printed.err
    return printed.err
