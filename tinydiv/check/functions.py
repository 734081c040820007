"""Any function that gives its gradients too, checked where it stands: in a script, in a notebook.

    report = check_function(neuron, {"w": w, "b": b})
    print(report)

(For techniques, losses, backward passes and networks of your own: suite.py.)
"""

import time
from collections.abc import Callable, Mapping, Sequence

from tinydiv.backend import Array, xp
from tinydiv.check.evidence import Facts
from tinydiv.check.judge import Case, judge
from tinydiv.check.numeric import Point
from tinydiv.check.report import Report
from tinydiv.errors import UsageError

WithGradients = Callable[..., tuple[Array, Mapping[str, Array]]]
"""(arrays by name) -> (value, gradient for each array by name)."""


def check_function(
    function: WithGradients, at: Mapping[str, Array], *, samples: int = 0, seed: int = 0
) -> Report:
    """Are a function's gradients right at one point, and if not, how are they wrong?

    function: called with the arrays of `at` by name; returns its value, one number, and a dict with a
    gradient for each of them. samples: N, if the value is a mean over N samples: the doctor then
    knows that factor.

    Raises UsageError for arrays that are not float64, and for a value that is more than one number.
    """
    point: Point = {name: xp.asarray(x) for name, x in at.items()}
    for name, x in point.items():
        if x.dtype != "float64":
            raise UsageError(f"gradients are checked in float64, but {name} is {x.dtype}")
    called = getattr(function, "__name__", "function")
    shape = xp.asarray(function(**point)[0]).shape
    if shape:
        raise UsageError(f"{called} should return one number as its value, got shape {shape}")

    def value(here: Point) -> list[Array]:
        return [xp.asarray(function(**here)[0])]

    def gradients(here: Point, weights: Sequence[Array]) -> Point:
        return {name: weights[0] * xp.asarray(d) for name, d in function(**here)[1].items()}

    def facts(here: Point, weights: Sequence[Array]) -> Facts:
        return Facts(samples=samples)

    where = ", ".join(f"{name} {tuple(x.shape)}" for name, x in point.items())
    case = Case("function", called, where, point, value, gradients, facts)
    report, began = Report(seed), time.perf_counter()
    report.add(judge(case, seed))
    report.seconds = time.perf_counter() - began
    return report
