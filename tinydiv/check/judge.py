"""One case: a function, a point, and hand-written gradients. Is each of them right?

Verdicts about one array:

    right       agrees with the numerical derivative
    no effect   correctly zero: moving the array far does not change the value (a bias before
                batch norm); accepted only beside other arrays that are right
    wrong       disagrees; doctor.py describes how
    zero        all zeros on both sides: proves nothing (an inactive hinge, dead neurons), and fails
    kink        every entry lies at a kink: proves nothing, and fails
    nan         not finite
    error       could not be computed: the code raised an error, or the shape is wrong
    noisy       the value changes between two calls at the same point, so it has no derivative
"""

import warnings
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field

from tinydiv.backend import Array, to_device, to_host, xp
from tinydiv.check.doctor import diagnose, raised_finding, shape_finding
from tinydiv.check.evidence import CLOSE, Evidence, Facts, Finding
from tinydiv.check.numeric import (
    Function,
    Point,
    Probe,
    Slopes,
    along,
    complex_step,
    cotangents,
    directions,
    random_directions,
    slopes,
)
from tinydiv.randomness import generator

TOLERANCE = 1e-7
"""Largest relative error of an array (by its largest entry) against central differences."""
COMPLEX_TOLERANCE = 1e-9
"""The same against the complex step, which is exact to the last digits."""
ENTRIES = 30
"""Arrays up to this size are measured entry by entry, larger ones along random directions."""
DIRECTIONS = 3
LARGEST = 4000
"""For a wrong gradient with more entries than this, the doctor does not measure every entry."""

PASSING = ("right", "no effect")

Gradients = Callable[[Point, Sequence[Array]], dict[str, Array]]
"""(point, cotangents of the outputs) -> the gradient for every array of the point, by name."""


@dataclass
class Case:
    """What is to be checked: a function at a point, and its gradients."""

    kind: str
    subject: str
    where: str
    """The point in words: sizes, activation, settings."""
    point: Point
    function: Function
    gradients: Gradients
    facts: Callable[[Point, Sequence[Array]], Facts] = lambda point, weights: Facts()
    """Facts for the doctor; computed only where something is wrong."""
    divided: bool = False
    """Whether the gradients can be divided by the cotangents: where the output is one value, or one per
    network, or one per entry of the array. The doctor then shows the same numbers as the code computes."""
    variant: str = ""
    """The settings in words. A point that proves nothing passes if another point with the same settings
    proves the gradient right."""


@dataclass
class Verdict:
    """About one array of one case."""

    case: Case = field(repr=False)
    array: str
    status: str
    error: float | None = None
    """The largest difference over the largest entry."""
    complex_error: float | None = None
    """The same against the complex step; None where the code does not take complex numbers."""
    finding: Finding | None = None
    entries: int = 0
    at_kink: int = 0
    ratio: float | None = None
    """f, where the gradient is f times what was measured (along all measured directions)."""

    @property
    def passes(self) -> bool:
        """Whether the array is right, or correctly zero."""
        return self.status in PASSING

    @property
    def words(self) -> str:
        """The verdict in words."""
        if self.finding is not None:
            return self.finding.words
        if self.status == "no effect":
            return "correctly zero: it has no effect"
        some = f"; {self.at_kink} of {self.entries} entries are at a kink" if self.at_kink else ""
        return self.status + some


def judge(
    case: Case, seed: int = 0, known: Container[str] = (), doctor: bool = True
) -> list[Verdict]:
    """Check every array of a case. Errors in the checked code become verdicts.

    known: arrays whose fault was named at another point; here they are reported as wrong, without a
    cause. doctor: whether to find out *how* a gradient is wrong.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a NaN is reported by a verdict, not by a warning
        return _judge(case, seed, known, doctor)


def _judge(case: Case, seed: int, known: Container[str], doctor: bool) -> list[Verdict]:
    def value(status: str, finding: Finding) -> list[Verdict]:
        return [Verdict(case, "value", status, finding=finding)]

    def changed(before: Point) -> list[Verdict]:
        """A verdict if the code wrote into the arrays that it was given."""
        for name, x in before.items():
            now = case.point[name]
            if not bool(xp.all((now == x) | (x != x))):
                case.point = before
                words = f"changes the array {name} that it is given: work on a copy, {name} = {name}.copy()"
                return value("error", Finding("changed-input", words))
        return []

    try:
        # The code runs at another point first and once more in between: if it keeps a gradient from an
        # earlier call, that gradient is wrong here.
        _at_another_point(case, seed)
        before = {name: x.copy() for name, x in case.point.items()}
        outputs = case.function(case.point)
        if found := changed(before):
            return found
        again = case.function(case.point)
        if not all(bool(xp.all(xp.isfinite(output))) for output in outputs):
            return value("nan", VALUE_NAN)
        if not all(bool(xp.all(a == b)) for a, b in zip(outputs, again, strict=True)):
            return value("noisy", RANDOM)
        if any(getattr(output, "dtype", None) == "float32" for output in outputs):
            return value("error", Finding("float32", VALUE_FLOAT32))
        weights = cotangents(outputs, seed)
        earlier = _at_another_point(case, seed)
        gradients = case.gradients(case.point, weights)
        if found := changed(before):
            return found
    except (Exception, SystemExit) as error:
        return value("error", raised_finding(error))

    verdicts: list[Verdict] = []
    probes: dict[str, Probe] = {}
    for name, x in case.point.items():
        analytic = gradients.get(name)
        verdict = _unusable(case, name, analytic, x)
        if verdict is None:
            probes[name] = Probe(case.function, weights, case.point, name)
            verdict = _measured(case, probes[name], analytic, seed, known)
        verdicts.append(verdict)
    _zeros(verdicts, probes)
    _single_precision(case, verdicts, gradients, weights)
    for v in verdicts:
        name = v.array[1:]
        unnamed = v.status == "wrong" and v.finding is None and v.array not in known
        if unnamed and earlier and _is_that_of(earlier, case, name, gradients[name]):
            v.finding = KEPT
    if doctor and any(v.status == "wrong" and v.array not in known for v in verdicts):
        _name_faults(case, verdicts, probes, gradients, weights)
    return verdicts


OtherPoint = tuple[Point, Sequence[Array], dict[str, Array]]
"""Another point, cotangents there, and the gradients."""


def _at_another_point(case: Case, seed: int) -> OtherPoint | None:
    """The gradients near the point: every entry is moved by up to a quarter of its size and keeps its
    sign. None where the code cannot be run there."""
    rng = generator(seed, "redraw")
    moved = {
        name: x * (1 + to_device(rng.uniform(0.05, 0.25, x.shape)))
        for name, x in case.point.items()
    }
    try:
        weights = cotangents(case.function(moved), seed)
        return moved, weights, dict(case.gradients(moved, weights))
    except (Exception, SystemExit):
        return None


def _is_that_of(earlier: OtherPoint, case: Case, name: str, gradient: Array) -> bool:
    """Whether a gradient that is wrong here equals the one at another point, where it is right."""
    moved, weights, found = earlier
    kept = found.get(name)
    if getattr(kept, "shape", None) != gradient.shape or not bool(xp.all(kept == gradient)):
        return False
    probe = Probe(case.function, weights, moved, name)
    ways = random_directions(gradient, 1, seed=1)
    (expected,) = along(kept, ways)
    slope, doubt = probe.settled(ways[0])
    return abs(slope - expected) <= 1e-6 * abs(expected) + probe.floor + 3 * doubt


def _single_precision(
    case: Case, verdicts: list[Verdict], gradients: dict[str, Array], weights: Sequence[Array]
) -> None:
    """Find gradients that were computed in float32, in whole or in part.

    Moved by 1e-7, a smooth gradient in float64 is a straight line to about 1e-14: what is left of
    g(x + d) - 2 g(x) + g(x - d) is curvature, d^2, and rounding. float32 rounds to 6e-8 of the numbers.
    """
    candidates = [v for v in verdicts if v.status in ("right", "wrong") and v.finding is None]
    if not candidates:
        return
    rng = generator(1, "redraw")
    ways = {name: x * to_device(rng.uniform(0.5, 1.5, x.shape)) for name, x in case.point.items()}

    def jumps(d: float) -> dict[str, float]:
        up, down = (
            case.gradients({n: x + s * d * ways[n] for n, x in case.point.items()}, weights)
            for s in (1.0, -1.0)
        )
        return {
            v.array: float(xp.max(abs(up[n] - 2 * gradients[n] + down[n])))
            for v in candidates
            for n in [v.array[1:]]
        }

    try:
        near = jumps(1e-7)
        size = {v.array: float(xp.max(abs(gradients[v.array[1:]]))) for v in candidates}
        rough = [
            v for v in candidates if SMOOTH * size[v.array] < near[v.array] < 1e-4 * size[v.array]
        ]
        far = jumps(1e-5) if rough else {}
    except Exception:  # the code fails at a nearby point: nothing can be concluded
        return
    for v in candidates:
        # At a kink the jump grows with d.
        single = v in rough and far[v.array] < 20 * near[v.array]
        if gradients[v.array[1:]].dtype == "float32" or (single and (v.error or 0.0) < 1e-4):
            v.status, v.finding = "wrong", FLOAT32


SMOOTH = 3e-9
"""What a smooth gradient may jump by, relative to its largest entry: see `_single_precision`."""


def _unusable(case: Case, name: str, analytic: Array, x: Array) -> Verdict | None:
    """A gradient that cannot be compared: missing, of another shape, or not finite."""
    status = "error"
    if analytic is None:
        finding = Finding("missing", f"no gradient for {name} was given")
    elif getattr(analytic, "shape", None) != x.shape:
        finding = shape_finding(name, analytic, x)
    else:
        infinite = int(xp.sum(~xp.isfinite(analytic)))
        if not infinite:
            return None
        status, finding = "nan", Finding("nan", f"{infinite} of {x.size} entries are not finite")
    return Verdict(case, f"d{name}", status, finding=finding, entries=x.size)


KEPT = Finding(
    "kept",
    "this is the gradient at the point of the call before: it was kept, and must be computed again",
)
FLOAT32 = Finding(
    "float32",
    "float32 inside: rounded to 7 digits in between, although all arrays here are float64; look for "
    "astype, dtype= or an array that was made in float32",
)
VALUE_FLOAT32 = (
    "the value is float32, where the arrays are float64: look for astype, dtype= or an array that was "
    "made in float32"
)
VALUE_NAN = Finding("value-nan", "the value itself is not finite at the checked point")
RANDOM = Finding(
    "noisy",
    "the value changes between two calls with the same arrays: draw random numbers from step.draws, "
    "which gives the same ones for the same step",
)


# Measuring ---------------------------------------------------------------------------------------


def _measured(
    case: Case, probe: Probe, analytic: Array, seed: int, known: Container[str]
) -> Verdict:
    """Compare one array with the numerical derivative, and with the complex step where that works."""
    size = probe.x.size
    if size <= ENTRIES:
        verdict = _compared(case, probe, analytic, directions(probe.x))
    else:
        verdict = _compared(
            case, probe, analytic, random_directions(probe.x, DIRECTIONS, seed), quick=True
        )
        if verdict.status != "right" and f"d{probe.name}" not in known:
            # Some entries may lie at a kink: measure every entry.
            verdict = _compared(case, probe, analytic, directions(probe.x)[:LARGEST])
    verdict.entries = size
    return verdict


def _compared(
    case: Case, probe: Probe, analytic: Array, ways: list[Array], quick: bool = False
) -> Verdict:
    """quick: stop at the first direction that disagrees, because every entry is then measured."""
    name = f"d{probe.name}"
    expected = along(analytic, ways)
    found = slopes(probe, ways, expected, TOLERANCE, quick)
    if not quick:
        probe.entrywise = found
    elif found.stopped:
        return Verdict(case, name, "wrong", ratio=_ratio(expected, found))
    verdict = _of_slopes(case, probe, expected, found, probe.floor)
    if verdict.status in ("wrong", "noisy"):  # unless rounding is larger than the usual floor
        verdict = _of_slopes(case, probe, expected, found, probe.rounding())
    if verdict.status == "right":
        _against_complex_step(verdict, probe, expected, found, ways)
    verdict.ratio = _ratio(expected, found)
    return verdict


def _ratio(expected: list[float], found: Slopes) -> float | None:
    """f, where the expected derivative is f times the measured one along every direction."""
    pairs = [
        (e, v) for e, v, kink in zip(expected, found.values, found.kinks, strict=False) if not kink
    ]
    weight = sum(v * v for _, v in pairs)
    if weight == 0:
        return None
    f = sum(e * v for e, v in pairs) / weight
    largest = max(abs(e) for e, _ in pairs)
    return f if all(abs(e - f * v) <= CLOSE * largest for e, v in pairs) else None


def _of_slopes(
    case: Case, probe: Probe, expected: list[float], found: Slopes, floor: float
) -> Verdict:
    """The verdict about one array; differences below the floor count as rounding."""
    name = f"d{probe.name}"
    kinks = sum(found.kinks)
    smooth = [i for i, kink in enumerate(found.kinks) if not kink]
    if not smooth:
        return Verdict(case, name, "kink", at_kink=kinks, finding=AT_KINKS)
    largest = max(max(abs(expected[i]), abs(found.values[i])) for i in smooth)
    if largest <= floor:
        return Verdict(case, name, "zero", at_kink=kinks)
    gaps = [abs(expected[i] - found.values[i]) for i in smooth]
    doubts = [3 * found.doubts[i] + floor for i in smooth]
    error = max(gaps) / largest
    if max(abs(expected[i]) for i in smooth) <= floor and max(gaps) <= max(doubts):
        return Verdict(case, name, "zero", at_kink=kinks)  # a slope that goes to zero with the step
    if max(found.doubts[i] for i in smooth) > 1e-3 * largest:
        return Verdict(case, name, "noisy", error, finding=ROUGH)
    right = all(gap <= TOLERANCE * largest + doubt for gap, doubt in zip(gaps, doubts, strict=True))
    return Verdict(case, name, "right" if right else "wrong", error, at_kink=kinks)


def _against_complex_step(
    verdict: Verdict, probe: Probe, expected: list[float], found: Slopes, ways: list[Array]
) -> None:
    """A right gradient must also agree with the complex step to the last digits, where that can be
    computed: the code takes complex numbers, and its function is analytic (abs is not)."""
    smooth = [i for i, kink in enumerate(found.kinks) if not kink]
    exact = complex_step(probe, [ways[i] for i in smooth])
    if exact is None:
        return
    largest = max(max(abs(expected[i]), abs(found.values[i])) for i in smooth)
    meant = max(abs(e - found.values[i]) for e, i in zip(exact, smooth, strict=True))
    if meant > 10 * TOLERANCE * largest + probe.floor:
        return
    gap = max(abs(e - expected[i]) for e, i in zip(exact, smooth, strict=True))
    verdict.complex_error = gap / largest
    if verdict.complex_error > COMPLEX_TOLERANCE:
        verdict.status = "wrong"


AT_KINKS = Finding(
    "kink",
    "every entry lies at a kink, where no derivative exists: the gradient is not wrong there, but "
    "this point proves nothing",
)
ROUGH = Finding(
    "noisy",
    "the value is not smooth here: its numerical derivative differs at every size of the step",
)
ZERO = Finding(
    "zero",
    "zero everywhere, and so is the numerical derivative: this point proves nothing (an inactive "
    "hinge? dead neurons?)",
)


def _zeros(verdicts: list[Verdict], probes: dict[str, Probe]) -> None:
    """A gradient of zeros is right only if the array has no effect at all, also far from the point."""
    others = any(v.status in ("right", "wrong") for v in verdicts)
    for v in verdicts:
        if v.status != "zero":
            continue
        if others and _has_no_effect(probes[v.array[1:]]):
            v.status = "no effect"
        else:
            v.finding = ZERO


def _has_no_effect(probe: Probe) -> bool:
    """Whether the outputs stay the same when the array is moved far, several times."""
    for i, far in enumerate((1.0, -3.0, 10.0)):
        (v,) = random_directions(probe.x, 1, seed=i)
        moved = probe.at(v * probe.x.size**0.5, far)
        for f, g in zip(probe.middle, moved, strict=True):
            size = float(xp.max(abs(f))) if f.size else 0.0
            if f.size and not float(xp.max(abs(f - g))) <= 1e-9 * max(size, 1e-30):
                return False
    return True


def facts_of(case: Case, seed: int) -> Facts:
    """The facts about a case at its point."""
    return case.facts(case.point, cotangents(case.function(case.point), seed))


# When something is wrong -------------------------------------------------------------------------


def _name_faults(
    case: Case,
    verdicts: list[Verdict],
    probes: dict[str, Probe],
    gradients: dict[str, Array],
    weights: Sequence[Array],
) -> None:
    """Measure every array entry by entry, and name what is wrong with each (doctor.py)."""
    evidence: list[Evidence] = []
    for name, probe in probes.items():
        if probe.x.size > LARGEST:
            continue
        found = probe.entrywise
        if found is None:
            ways = directions(probe.x)
            found = slopes(probe, ways, along(gradients[name], ways), TOLERANCE)
        shape = probe.x.shape
        of_one = 1.0
        if case.divided:
            of_one = to_host(weights[0])
            of_one = of_one.reshape(of_one.shape + (1,) * (len(shape) - of_one.ndim))
        evidence.append(
            Evidence(
                name,
                to_host(gradients[name]) / of_one,
                to_host(xp.asarray(found.values)).reshape(shape) / of_one,
                to_host(xp.asarray(found.kinks)).reshape(shape),
                to_host(probe.x),
            )
        )
    findings = diagnose(evidence, case.facts(case.point, weights))
    for v in verdicts:
        if v.status == "wrong" and v.finding is None:
            v.finding = findings.get(v.array[1:], Finding("elsewhere", "differs"))
