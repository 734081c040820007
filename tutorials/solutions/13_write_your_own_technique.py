"""Solutions to the exercises of tutorial 13. Run me: every answer is checked.

python tutorials/solutions/13_write_your_own_technique.py
"""

import tempfile
from pathlib import Path

import numpy as np

from tinydiv.check.own import check_file
from tinydiv.study import Arm, Controls, Measure, Study, run_study
from tinydiv.study.comparing import compare_all
from tinydiv.techniques.registry import module_of_file

# Exercise 1: a penalty of one's own -----------------------------------------------------------------
#
# The derivative of A^4 / (4 N) is A^3 / N: the 4 cancels, the mean's 1/N does not.

SILENT = """from tinydiv.backend import xp
from tinydiv.techniques import ActivationPenalty


class Silent(ActivationPenalty):
    "Small activations: L = 1/(4N) sum A^4, dL/dA = A^3 / N."

    def __call__(self, A, step):
        N = A.shape[-2]
        return xp.sum(A**4, axis=(-2, -1)) / (4 * N), A**3 / N
"""

with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "silent.py"
    file.write_text(SILENT)
    report = check_file(str(file))
    print(report)
    assert report.right
    A = np.array([[1.0, 2.0], [0.0, 2.0]])
    assert module_of_file(str(file)).Silent()(A, None)[0] == (1 + 16 + 16) / (4 * 2)

# Exercise 2: a rival for the winner -----------------------------------------------------------------
#
# No technique is needed: the start of tutorial 4 and another optimizer gain more than any of them.

CHANGES = {"init": "decorrelated", "optimizer": "adam", "lr": 0.003}
made = Study(
    "mine",
    [Arm("nothing"), Arm("yours", CHANGES)],
    seeds=10,
    first_seed=100,
    train={
        "data": "fashion-mini",
        "n_train": 1000,
        "init": "he-normal",
        "batch_size": 32,
        "epochs": 4,
        "optimizer": "sgd",
        "lr": 0.05,
        "dtype": "float64",
    },
    measure=Measure(steps=(), metrics=("correlation",), early=4),
    controls=Controls(aa=False, planted=False),
)
with tempfile.TemporaryDirectory() as folder:
    results = run_study(
        made, folder + "/study", executor="serial", show=False, figures=False
    ).results
(yours,) = compare_all(results, "all", "default", results.readout("all", "early"))
print(yours.sentence)
assert 100 * yours.paired.interval.low > 1.3

answer_1, answer_2 = SILENT, CHANGES
