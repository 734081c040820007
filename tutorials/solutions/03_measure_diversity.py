"""Solutions to the exercises of tutorial 3. Run me: every answer is checked.

python tutorials/solutions/03_measure_diversity.py
"""

import numpy as np

from tinydiv.backend import xp
from tinydiv.check.suite import check_technique
from tinydiv.data import load
from tinydiv.initializers import initialize
from tinydiv.loop import DeviceData, train
from tinydiv.mlp import MLP
from tinydiv.optimizers import Adam
from tinydiv.similarity import correlations, off_diagonal
from tinydiv.techniques import ActivationPenalty

data = DeviceData(load("fashion-mini"), dtype="float64")
probe = data.probe()

# Exercise 1: break the symmetry ---------------------------------------------------------------------


def twins(noise):
    """Test accuracy of the twins with noise on their incoming weights, relative to the weights' size."""
    net = MLP([784, 16, 10], "tanh", dtype="float64")
    initialize(net, "he-normal", seed=0)
    net.W[0][...] = net.W[0][:, :1]
    net.W[1][...] = net.W[1][:1, :]
    sigma = noise * net.W[0].std()
    net.W[0][...] += sigma * np.random.default_rng(0).standard_normal(net.W[0].shape)
    return train(net, data, Adam(net), epochs=5, metrics=["correlation"])[-1].test_accuracy[0]


equal, parted = twins(0.0), twins(0.01)
print(f"twins {equal:.1%}, with noise of a hundredth {parted:.1%}")
assert parted > 2 * equal

# Exercise 2: a penalty without the cheat ------------------------------------------------------------
#
# L = sum_{i != j} R_ij^2 / pairs, so M = dL/dR = 2 off(R) / pairs. `pairs` counts those of living neurons.


class MeanSquaredCorrelation(ActivationPenalty):
    """L = |off R|^2 / pairs;  dL/dR = 2 off(R) / pairs."""

    def __call__(self, A, step):
        c = correlations(A)
        off_R = off_diagonal(c.R)
        value = xp.sum(off_R**2, axis=(-2, -1)) / c.pairs
        return value, c.backward(2 * off_R / c.pairs[..., None, None])


report = check_technique(MeanSquaredCorrelation)
print(report)
assert report.right

net = MLP([784, 16, 10], dtype="float64")
initialize(net, "he-normal", seed=0)
train(net, data, Adam(net), epochs=5, metrics=["correlation"])
A = net.forward(probe).A[1]
penalty = MeanSquaredCorrelation()
ratio = float(penalty(A / 2, None)[0] / penalty(A, None)[0])
print(f"halving the activations changes the penalty by a factor of {ratio:.4f}")
assert abs(ratio - 1) < 0.01

# Exercise 3: a neuron too many ----------------------------------------------------------------------
#
# What j said, i can say: V_i <- V_i + V_j, V_j <- 0. This is how networks are condensed, and why a copied
# neuron adds nothing.


def without(net, i, j):
    """Neuron i takes over what j, its copy, has passed on."""
    net.W[1][i] += net.W[1][j]
    net.W[1][j] = 0


i, j = 3, 5
net.W[0][:, j] = net.W[0][:, i]
net.b[0][:, j] = net.b[0][:, i]
before = net.forward(probe).logits
without(net, i, j)
after = net.forward(probe).logits
print(f"largest change of a logit: {np.abs(after - before).max():.0e}")
assert np.abs(after - before).max() < 1e-9
assert np.abs(before).max() > 1

answer_1, answer_2, answer_3 = (0.01, parted), MeanSquaredCorrelation, without
