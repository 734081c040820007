"""Check any function that also returns its gradients, from a script or a notebook.

    report = check_function(neuron, {"w": w, "b": b})
    print(report)

(For techniques, losses, backward passes and networks of your own: suite.py.)
"""

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
    """Check a function's gradients at one point, and describe what is wrong with them.

    function: called with the arrays of `at` by name; returns its value, one number, and a dict with a
    gradient for each of them. samples: N, if the value is a mean over N samples: the doctor then
    recognises that factor.

    Raises UsageError for arrays that are empty or not float64, for a function that does not return (value,
    gradients), and for a value that is more than one number.
    """
    point: Point = {name: xp.array(x) for name, x in at.items()}  # copies
    for name, x in point.items():
        if x.dtype != "float64":
            raise UsageError(f"gradients are checked in float64, but {name} is {x.dtype}")
        if not x.size:
            raise UsageError(f"{name} is empty, shape {x.shape}: it has no entry to check")
    if not point:
        raise UsageError("no arrays were given: write at={'w': w}, with the names of the arguments")
    called = getattr(function, "__name__", "function")
    found = function(**{name: x.copy() for name, x in point.items()})
    if not isinstance(found, tuple) or len(found) != 2 or not isinstance(found[1], Mapping):
        kinds = ", ".join(type(one).__name__ for one in found) if isinstance(found, tuple) else ""
        returned = f"({kinds})" if kinds else type(found).__name__
        raise UsageError(
            f"{called} must return (value, gradients), a number and a dict with a gradient for "
            f"{', '.join(point)}, and it returned {returned}"
        )
    shape = xp.asarray(found[0]).shape
    if shape:
        raise UsageError(f"{called} should return one number as its value, got shape {shape}")

    def value(here: Point) -> list[Array]:
        return [xp.asarray(function(**here)[0])]

    def gradients(here: Point, weights: Sequence[Array]) -> Point:
        return {name: weights[0] * xp.asarray(d) for name, d in function(**here)[1].items()}

    def facts(here: Point, weights: Sequence[Array]) -> Facts:
        known = {
            f"the length of {name}'s axis {i}": n
            for name, x in here.items()
            for i, n in enumerate(x.shape)
        }
        return Facts(samples=samples, sizes={} if samples else known)

    where = ", ".join(f"{name} {tuple(x.shape)}" for name, x in point.items())
    case = Case("function", called, where, point, value, gradients, facts, divided=True)
    report = Report(seed)
    with report.timing():
        report.add(judge(case, seed))
    report.note_limits(one_point=True)
    return report
