"""Solutions to the exercises of tutorial 8. Run me: every answer is checked.

python tutorials/solutions/08_change_the_training.py
"""

import numpy as np

from tinydiv.data import load
from tinydiv.initializers import initialize
from tinydiv.loop import DeviceData, train
from tinydiv.mlp import MLP
from tinydiv.optimizers import SGD
from tinydiv.techniques import Techniques
from tinydiv.techniques.orthogonal_gradient import polar_factor

# Exercise 1: without iterations ---------------------------------------------------------------------


def orthogonal(dW):
    U, _, Vt = np.linalg.svd(dW, full_matrices=False)
    return U @ Vt


G = np.random.default_rng(0).normal(size=(30, 5))
print(f"largest difference: {np.abs(orthogonal(G) - polar_factor(G)).max():.0e}")
assert np.allclose(orthogonal(G), polar_factor(G), atol=1e-3)

# Exercise 2: part them otherwise --------------------------------------------------------------------
#
# orthogonal-noise turns one neuron of the most similar pair away from the other, in a random direction.

spec = "orthogonal-noise:every=20,kappa=0.3"
data = DeviceData(load("fashion-mini"), dtype="float64")
nets = MLP([784, 16, 10], replicas=3, dtype="float64")
initialize(nets, "he-normal", seed=[0, 1, 2])
nets.W[0][:, :, 1] = nets.W[0][:, :, 0]
nets.W[1][:, 1] = nets.W[1][:, 0]
optimizer = SGD(nets, lr=0.1)
train(nets, data, optimizer, Techniques(nets, [spec], optimizer), epochs=2, metrics=["correlation"])
w, v = nets.W[0][:, :, 0], nets.W[0][:, :, 1]
cosines = (w * v).sum(-1) / np.linalg.norm(w, axis=-1) / np.linalg.norm(v, axis=-1)
print("cosines of the twins:", np.round(cosines, 3))
assert cosines.max() < 0.99

answer_1, answer_2 = orthogonal, spec
