"""The first ten losses of a fixed run, against the same run written down once more.

The second version shares nothing with the first but the numbers that it starts from: one network, one
sample and one neuron at a time, in float64, with Adam as the paper states it.
"""

from itertools import pairwise

import numpy as np
import pytest
from helpers import close, labels, network, numbers, step

from tinydiv import optimizers
from tinydiv.backend import to_host, xp

SIZES, SAMPLES, BATCH, STEPS, RATE = (6, 5, 4, 3), 40, 8, 10, 0.02


def batch(t, X, Y):
    rows = slice(t * BATCH % SAMPLES, t * BATCH % SAMPLES + BATCH)
    return X[rows], Y[rows]


def run(replicas=None, dtype="float64"):
    """Ten steps of the project: losses (10,) or (10, R), still on the device, and the last theta."""
    net = network(SIZES, seed=3, replicas=replicas, dtype=dtype)
    optimizer = optimizers.Adam(net, lr=RATE)
    X = numbers(SAMPLES, SIZES[0], seed=1, dtype=dtype)
    Y = labels(SAMPLES, classes=SIZES[-1], seed=2)
    values = [step(net, optimizer, *batch(t, X, Y)) for t in range(STEPS)]
    return xp.stack(values), net.theta


def neuron_by_neuron(theta):
    """Ten steps, with nothing but loops over numbers. theta: the start, (P,)."""
    X = np.random.default_rng(1).normal(size=(SAMPLES, SIZES[0]))
    Y = np.random.default_rng(2).integers(SIZES[-1], size=SAMPLES)
    theta, m, v = list(map(float, theta)), [0.0] * len(theta), [0.0] * len(theta)
    offsets, at = [], 0
    for fan_in, fan_out in pairwise(SIZES):
        offsets.append((at, at + fan_in * fan_out))
        at += fan_in * fan_out + fan_out
    losses = []
    for t in range(STEPS):
        rows, answers = batch(t, X, Y)
        gradient, loss = [0.0] * len(theta), 0.0
        for x, answer in zip(rows, answers, strict=True):
            signals = [[float(value) for value in x]]
            for l, (w, b) in enumerate(offsets):
                out = []
                for j in range(SIZES[l + 1]):
                    z = theta[b + j]
                    for i, signal in enumerate(signals[l]):
                        z += signal * theta[w + i * SIZES[l + 1] + j]
                    out.append(max(z, 0.0) if l < len(offsets) - 1 else z)
                signals.append(out)
            shares = [float(np.exp(z)) for z in signals[-1]]
            loss -= float(np.log(shares[answer] / sum(shares))) / BATCH
            error = [(s / sum(shares) - (k == answer)) / BATCH for k, s in enumerate(shares)]
            for l in range(len(offsets) - 1, -1, -1):
                w, b = offsets[l]
                below = [0.0] * SIZES[l]
                for j, e in enumerate(error):
                    gradient[b + j] += e
                    for i, signal in enumerate(signals[l]):
                        gradient[w + i * SIZES[l + 1] + j] += e * signal
                        below[i] += e * theta[w + i * SIZES[l + 1] + j]
                error = [
                    e if signal > 0 else 0.0 for e, signal in zip(below, signals[l], strict=True)
                ]
        losses.append(loss)
        for p, g in enumerate(gradient):
            m[p] = 0.9 * m[p] + 0.1 * g
            v[p] = 0.999 * v[p] + 0.001 * g**2
            m_hat, v_hat = m[p] / (1 - 0.9 ** (t + 1)), v[p] / (1 - 0.999 ** (t + 1))
            theta[p] -= RATE * m_hat / (np.sqrt(v_hat) + 1e-8)
    return losses, theta


def start(replicas):
    return to_host(network(SIZES, seed=3, replicas=replicas, dtype="float64").theta)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-11), ("float32", 1e-5)])
def test_ten_losses_are_those_of_the_run_by_hand(backend, dtype, tolerance):
    wanted, theta = neuron_by_neuron(start(None))
    losses, last = run(dtype=dtype)
    assert len(set(np.round(wanted, 3))) == STEPS, "every loss is another one"
    close(losses, wanted, rtol=tolerance)
    close(last, theta, rtol=100 * tolerance, atol=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-11), ("float32", 1e-5)])
def test_ten_losses_of_three_networks_at_once(backend, dtype, tolerance):
    losses, _ = run(replicas=3, dtype=dtype)
    for r, theta in enumerate(start(3)):
        close(losses[:, r], neuron_by_neuron(theta)[0], rtol=tolerance)
