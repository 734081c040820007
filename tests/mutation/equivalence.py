"""Does a mutant compute the same? Compared on many points, the odd ones among them, to the last digits.

The points are the checker's own, of every subject that runs through the function, and what training may
make of them: neurons that are dead in some networks, constant, alike, mirrored; values far smaller and
far larger; nothing but zeros.
"""

import warnings
from itertools import islice

from tinydiv.backend import xp
from tinydiv.check import suite
from tinydiv.check.numeric import cotangents

from . import growth

CLOSE = 1e-11
"""Results are the same if no entry differs by more than this, times the largest of them all if that is
above 1. (The gradients of some arrays are zero but for rounding: their own size is no measure.)"""


def difference(mutant, seed=0, most_subjects=None, every=1):
    """Where a mutant and the original differ, in words; None if they do so nowhere.

    every: at every so-many-th point alone. There are 14 for each case: 5 leaves no oddity out.
    Raises LookupError if nothing that is compared runs through the function.
    """
    if not mutant.target.subjects:
        return difference_in_growth(mutant, seed, every)
    for subject in mutant.target.subjects[:most_subjects]:
        for case, name, point in islice(points_of(subject, seed), 0, None, every):
            right = computed(case, point)
            with mutant.in_place():
                found = computed(case, point)
            if not same(right, found):
                return f"{subject}, {case.kind}, {case.where}, {name}"
    return None


def difference_in_growth(mutant, seed, every):
    """The same for what the checker has no cases of."""
    met = False
    for oddity, change in list(ODD.items())[:: 1 if every == 1 else 3]:
        for name, run in growth.runs(change, seed):
            called, right = mutant.target.calls_of(lambda run=run: arrays_of(run))
            if not called:
                continue
            met = True
            with mutant.in_place():
                found = arrays_of(run)
            if not same(right, found):
                return f"{name}, {oddity}"
    if not met:
        raise LookupError(f"no run goes through {mutant.target.name}")
    return None


def points_of(subject, seed):
    """(case, what is odd about the point, point)"""
    for item in suite.cases_of(subject, seed):
        case = item[0] if isinstance(item, list) else item
        for name, change in ODD.items():
            yield case, name, {key: change(array) for key, array in case.point.items()}


def computed(case, point):
    """All outputs and gradients at a point; or the exception's name."""

    def run():
        outputs = [xp.asarray(output) for output in case.function(point)]
        return [*outputs, *case.gradients(point, cotangents(outputs, seed=3)).values()]

    return arrays_of(run)


def arrays_of(run):
    """What a function returns; or the exception's name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of infinite numbers: they are compared too
        try:
            return run()
        except Exception as error:
            return type(error).__name__


def same(one, other):
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    allowed = CLOSE * max(1.0, *(_largest(a) for a in one))
    return all(_same(a, b, allowed) for a, b in zip(one, other, strict=True))


def _largest(a):
    return float(xp.max(abs(xp.where(xp.isfinite(a), a, 0)), initial=0.0))


def _same(a, b, allowed):
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    finite = xp.isfinite(a)
    if not bool(xp.all(finite == xp.isfinite(b))):
        return False
    return _largest(xp.where(finite, a - b, 0)) <= allowed


# Odd points --------------------------------------------------------------------------------------
#
# A neuron is a column of activations and of incoming weights, and a row of outgoing weights: each kind
# of oddity is made of columns, and of rows as well.


def columns(of_column):
    """Change the first columns of every network's matrix."""

    def change(array):
        array = array.copy()
        if array.ndim > 1 and array.shape[-1] > 1:
            array[..., :, 0] = of_column(array)
        return array

    return change


def rows(of_column):
    """The same with rows."""
    change = columns(of_column)
    return lambda array: change(array.mT).mT if array.ndim > 1 else array.copy()


def dead(array):
    return 0.0 * array[..., 0]


def constant(array):
    return 0.0 * array[..., 0] + 3.0


def twin(array):
    return array[..., 1]


def mirrored(array):
    return -array[..., 1]


def quiet(array):
    """The deviation below which a neuron counts as dead, less or more a little, by network."""
    return 1e-3 * array[..., 0]


def all_but_one_dead(array):
    array = array.copy()
    if array.ndim > 1:
        array[..., 1:] = 0
    return array


def dead_in_one_network(array):
    array = array.copy()
    if array.ndim > 2:
        array[0, ..., 0] = 0
        array[-1] = 0
    return array


def diverged_in_one_network(array):
    array = array.copy()
    if array.ndim > 2:
        array[-1] = xp.nan
    return array


def larger(by):
    return lambda array: by * array


ODD = {"as it is": larger(1.0), "small": larger(1e-3), "large": larger(30.0), "zeros": larger(0.0)}
ODD |= {f"{f.__name__} column": columns(f) for f in (dead, constant, twin, mirrored, quiet)}
ODD |= {f"{f.__name__} row": rows(f) for f in (dead, twin)}
ALL = (all_but_one_dead, dead_in_one_network, diverged_in_one_network)
ODD |= {f.__name__.replace("_", " "): f for f in ALL}
