"""Solutions to the exercises of tutorial 5. Run me: every answer is checked.

python tutorials/solutions/05_penalise_activations.py
"""

import numpy as np

from tinydiv.data import load
from tinydiv.initializers import initialize
from tinydiv.loop import DeviceData, train
from tinydiv.mlp import MLP
from tinydiv.optimizers import Adam
from tinydiv.techniques import Techniques
from tinydiv.techniques.decov import DeCov

# Exercise 1: another change -------------------------------------------------------------------------
#
# A covariance is computed from centred activations: a constant falls out, so the factor is 1.

A = np.random.default_rng(0).normal(size=(50, 16))
moved = A + 5.0 * (np.arange(16) == 0)
factor = float(DeCov()(moved, None)[0] / DeCov()(A, None)[0])
print(f"decov changes by a factor of {factor:.6f}")
assert np.isclose(factor, 1)

# Exercise 2: a strength -----------------------------------------------------------------------------

data = DeviceData(load("fashion-mini"), dtype="float64")


def run(spec):
    nets = MLP([784, 16, 10], replicas=3, dtype="float64")
    initialize(nets, "he-normal", seed=[0, 1, 2])
    optimizer = Adam(nets)
    techniques = Techniques(nets, [spec] if spec else [], optimizer)
    names = ["correlation", "dead_fraction"]
    last = train(nets, data, optimizer, techniques, epochs=4, metrics=names)[-1].flat()
    return [
        float(np.mean(last[name])) for name in ("correlation", "dead_fraction", "test_accuracy")
    ]


strength = 0.1
plain, pushed = run(None), run(f"vicreg:strength={strength}")
print("correlation, dead, accuracy:", np.round(plain, 3), np.round(pushed, 3))
assert pushed[0] < 0.2
assert pushed[1] == 0
assert pushed[2] > plain[2] - 0.02

answer_1, answer_2 = factor, strength
