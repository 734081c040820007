"""Solutions to the exercises of tutorial 12. Run me: every answer is checked.

python tutorials/solutions/12_train_a_thousand_networks.py
"""

import numpy as np

from tinydiv.data import load
from tinydiv.initializers import initialize
from tinydiv.loop import DeviceData, train
from tinydiv.mlp import MLP
from tinydiv.optimizers import Adam

# Exercise 1: a measure for any number of networks ---------------------------------------------------
#
# A neuron is silent if no sample is above zero: over samples first, axis -2, then the mean over neurons.


def silent(A):
    return (A == 0).all(axis=-2).mean(axis=-1)


A = np.array([[[0.0, 1], [0, 0]], [[0, 0], [0, 0]]])
print("silent neurons of two networks:", silent(A))
assert silent(A).tolist() == [0.5, 1]
assert silent(A[0]) == 0.5

# Exercise 2: another optimizer, another rate --------------------------------------------------------
#
# Adam's steps have about the length of the rate, whatever the gradient: its best rate lies lower.

RATES, SEEDS = [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300], 100
data = DeviceData(load("moons"), dtype="float64")
net = MLP([2, 8, 2], replicas=len(RATES) * SEEDS, dtype="float64")
initialize(net, "he-normal", seed=[*range(SEEDS)] * len(RATES))
optimizer = Adam(net, lr=np.repeat(RATES, SEEDS).tolist())
records = train(net, data, optimizer, epochs=3, metrics=[])
medians = np.median(np.array(records[-1].test_accuracy).reshape(len(RATES), SEEDS), axis=1)
best = RATES[int(medians.argmax())]
print("medians:", medians.round(3), "best rate:", best)
assert best < 3  # gradient descent's best

answer_1, answer_2 = silent, best
