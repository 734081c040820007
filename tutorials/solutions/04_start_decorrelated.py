"""Solutions to the exercises of tutorial 4. Run me: every answer is checked.

python tutorials/solutions/04_start_decorrelated.py
"""

import tempfile

import numpy as np

from tinydiv.stats import mean_difference_interval
from tinydiv.study import Arm, Controls, Measure, Study, run_study
from tinydiv.study.comparing import compare_all


def study(arms, seeds=10, first_seed=0, **train):
    """As in the tutorial: the first arm is what the others are compared with."""
    settings = {
        "data": "fashion-mini",
        "n_train": 2000,
        "hidden": [16],
        "batch_size": 32,
        "epochs": 5,
        "optimizer": "sgd",
        "lr": 0.01,
        "dtype": "float64",
    }
    made = Study(
        "starts",
        [Arm(name, changes) for name, changes in arms.items()],
        seeds=seeds,
        first_seed=first_seed,
        train={**settings, **train},
        measure=Measure(steps=(), metrics=("correlation",), early=5),
        controls=Controls(aa=False, planted=False),
    )
    with tempfile.TemporaryDirectory() as folder:
        report = run_study(made, folder + "/study", executor="serial", show=False, figures=False)
    results = report.results
    early = results.readout("all", "early")
    compared = compare_all(results, "all", "default", early)
    each_seed = {cell.arm: results.numbers(cell, early) for cell in results.cells}
    return {one.cell.arm: one for one in compared}, each_seed


# Exercise 1: between the rates ----------------------------------------------------------------------

left, _ = study(
    {
        "PyTorch's default": {"init": "pytorch"},
        "decorrelated, paired": {"init": "response-zca@pytorch"},
        "decorrelated on both sides": {"init": "decorrelated@pytorch"},
    },
    lr=0.03,
)
print("at a rate of 0.03:")
for one in left.values():
    print("  " + one.sentence)
shown = {name for name, one in left.items() if 0 not in one.paired.interval}
assert shown == {"decorrelated, paired", "decorrelated on both sides"}

# Exercise 2: scale against decorrelation ------------------------------------------------------------

START = "scaled:inner=0.25,outer=3@glorot-uniform"
found, _ = study(
    {
        "decorrelated on both sides": {"init": "decorrelated@pytorch"},
        "scale alone": {"init": START},
    },
    first_seed=100,
)
scale = found["scale alone"]
print("\nat the rate of 0.01, on fresh seeds:\n  " + scale.sentence)
assert scale.paired.n == 10
assert scale.paired.interval.low > 0

# Exercise 3: what pairing buys ----------------------------------------------------------------------
#
# Pair every seed of the arm with another seed of the base: the same numbers, the pairing destroyed. One
# shift is one accident, so take all nine.

_, each_seed = study({"base": {"init": "pytorch"}, "arm": {"init": "response-zca@pytorch"}})
arm, base = each_seed["arm"], each_seed["base"]


def width(one, other):
    interval = mean_difference_interval(one, other)
    return interval.high - interval.low


unpaired = np.mean([width(arm, np.roll(base, shift)) for shift in range(1, len(base))])
times = unpaired / width(arm, base)
print(f"\nwithout its pairing the interval is {times:.1f} times as wide")
assert times > 1.2

answer_1, answer_2, answer_3 = shown, START, times
