"""Solutions to the exercises of tutorial 10. Run me: every answer is checked.

python tutorials/solutions/10_escape_local_minima.py
"""

import math

import numpy as np

from tinydiv.data import load
from tinydiv.initializers import initialize
from tinydiv.loop import train
from tinydiv.mlp import MLP
from tinydiv.optimizers import Adam
from tinydiv.stats import wilson_interval

xor = load("xor")


def attempt(data, width, activation="relu", technique=(), seeds=500, steps=1000, rate=0.05):
    """As in the tutorial: which of many networks found the rule, the records, and the networks."""
    net = MLP([2, width, 2], activation, replicas=seeds, dtype="float64")
    initialize(net, "he-normal", seed=0)
    records = train(
        *(net, data, Adam(net, lr=rate), list(technique)),
        epochs=steps,
        batch_size=4,
        every=steps,
        metrics=[],
    )
    return np.array(records[-1].test_accuracy) == 1, records, net


# Exercise 1: restarts --------------------------------------------------------------------------------
#
# All k attempts fail with (1 - share)^k, which shall be 0.01 at most: k >= log 0.01 / log(1 - share).

share = attempt(xor, 4)[0].mean()
attempts = math.ceil(math.log(0.01) / math.log(1 - share))
print(f"one attempt succeeds with {share:.3f}: {attempts} are enough")
assert 1 - (1 - share) ** attempts >= 0.99 > 1 - (1 - share) ** (attempts - 1)

# Exercise 2: two neurons -----------------------------------------------------------------------------
#
# Redo wakes silent neurons, which helps but is not enough; a tanh neuron is never quite silent.

found = {
    "redo": attempt(xor, 2, technique=["redo"])[0],
    "tanh": attempt(xor, 2, activation="tanh")[0],
}
low = {name: wilson_interval(int(right.sum()), 500).low for name, right in found.items()}
for name, right in found.items():
    print(f"{name}: {right.sum()} of 500, low end {low[name]:.2f}")
assert low["redo"] < 0.5 < low["tanh"]

answer_1, answer_2 = attempts, {"activation": "tanh"}
