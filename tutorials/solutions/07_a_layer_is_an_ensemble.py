"""Solutions to the exercises of tutorial 7. Run me: every answer is checked.

python tutorials/solutions/07_a_layer_is_an_ensemble.py
"""

import numpy as np

from tinydiv.data import load
from tinydiv.initializers import initialize
from tinydiv.loop import DeviceData, train
from tinydiv.mlp import MLP
from tinydiv.optimizers import Adam

# Exercise 1: prove the split ------------------------------------------------------------------------
#
# o - y = (o - f) + (f - y). Squared and averaged over members, the mixed term is zero: f is their mean.


def split(O, y):
    f = O.mean(axis=1)
    return ((f - y) ** 2).sum(-1).mean(), ((O - f[:, None]) ** 2).sum(-1).mean()


rng = np.random.default_rng(1)
O, y = rng.normal(size=(9, 4, 2)), rng.normal(size=(9, 2))
print("team {:.4f}, ambiguity {:.4f}".format(*split(O, y)))
assert np.isclose(sum(split(O, y)), ((O - y[:, None]) ** 2).sum(-1).mean())

# Exercise 2: who can be spared? ---------------------------------------------------------------------

data = DeviceData(load("fashion-mini"), dtype="float64")
net = MLP([784, 16, 10], replicas=3, dtype="float64")
initialize(net, "he-normal", seed=[0, 1, 2])
train(net, data, Adam(net), epochs=4, metrics=["correlation"])
A, V, c = net.forward(data.floats(data.test_x)).A[1][0], net.W[1][0], net.b[1][0]
accuracy = [
    float(((A * (np.arange(16) != h) @ V + c).argmax(-1) == data.test_y).mean()) for h in range(16)
]
most = int(np.argmin(accuracy))
print(f"without neuron {most} the team is right {accuracy[most]:.1%}")
assert accuracy[most] < max(accuracy)

answer_1, answer_2 = split, most
