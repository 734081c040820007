"""Solutions to the exercises of tutorial 9. Run me: every answer is checked.

python tutorials/solutions/09_does_it_help.py
"""

import tempfile

import numpy as np

from tinydiv.stats import sign_flip_test
from tinydiv.study import Arm, Controls, Measure, Study, run_study

# Exercise 1: the smallest p ------------------------------------------------------------------------
#
# If all differences have one sign, only the flip that turns none and the flip that turns all of them give
# a mean as far from zero: two of 2^n.


def smallest(n):
    return 2 / 2**n


for n in (4, 10):
    print(f"{n} pairs: the smallest p value is {smallest(n):.4f}")
    assert np.isclose(smallest(n), sign_flip_test(np.ones(n)))

# Exercise 2: scale without a penalty ---------------------------------------------------------------
#
# Larger outgoing weights send larger gradients to the hidden neurons.

START = "scaled:outer=3@he-normal"
plan = Study(
    "scale",
    [
        Arm("plain", {}),
        Arm("hinge", {"technique": ["vicreg:strength=0.1,covariance=0"]}),
        Arm("scale", {"init": START}),
    ],
    seeds=10,
    train={
        "data": "fashion-mini",
        "n_train": 1000,
        "hidden": [16],
        "init": "he-normal",
        "batch_size": 50,
        "epochs": 5,
        "optimizer": "sgd",
        "lr": 0.01,
        "dtype": "float64",
    },
    measure=Measure(steps=(), metrics=(), early=5),
    controls=Controls(aa=False, planted=False),
)
with tempfile.TemporaryDirectory() as folder:
    report = run_study(plan, folder + "/study", executor="serial", show=False, figures=False)
results = report.results
early = results.readout("all", "early")
mean = {cell.arm: 100 * np.mean(results.numbers(cell, early)) for cell in results.cells}
print(
    f"hinge {mean['hinge'] - mean['plain']:+.1f} points, scale {mean['scale'] - mean['plain']:+.1f}"
)
assert mean["scale"] >= mean["hinge"]

answer_1, answer_2 = smallest, START
