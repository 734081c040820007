"""The doctor: describes in words how a gradient is wrong.

Each pattern (patterns.py) compares the hand-written and the measured array of a gradient: is one twice the
other? its transpose? right except for a constant along the samples? The first pattern that explains
*every* entry names the fault. If none does, the largest difference is shown. Entries at a kink are left
out of every comparison.

A fault near the outputs makes everything below it wrong, since the gradient comes down from there. So a
known fault that explains several arrays at once (variants.py computes what it would give) is tried before
the patterns, which explain one array each.
"""

import re
import traceback
from collections.abc import Sequence
from pathlib import Path

from tinydiv.backend import Array
from tinydiv.check.evidence import Evidence, Facts, Finding
from tinydiv.check.patterns import PATTERNS, largest_difference

CHECKER = Path(__file__).parent  # its own lines are never named as the place of an error


def diagnose(evidence: Sequence[Evidence], facts: Facts) -> dict[str, Finding]:
    """A finding for every array that is wrong, by name."""
    for e in evidence:
        if e.name in facts.task:
            e.a, e.n = e.a - facts.task[e.name], e.n - facts.task[e.name]
    measured = {e.name: e.n for e in evidence}
    wrong = []
    for e in evidence:
        e.facts = facts
        e.others = {name: n for name, n in measured.items() if name != e.name}
        if not e.right:
            wrong.append(e)
    findings = common_cause(wrong, facts)
    for e in wrong:
        if e.name in findings:
            continue
        for pattern in PATTERNS:
            found = pattern(e)
            if found is not None:
                findings[e.name] = found
                break
        else:
            findings[e.name] = largest_difference(e)
    return findings


def common_cause(wrong: Sequence[Evidence], facts: Facts) -> dict[str, Finding]:
    """A finding for each wrong array that one known fault explains: the fault that explains the most."""
    best: dict[str, Finding] = {}
    for finding, arrays in facts.variants:
        fits = {e.name: finding for e in wrong if e.name in arrays and e.same(e.a, arrays[e.name])}
        if len(fits) > len(best):
            best = fits
    return best


def shape_finding(name: str, analytic: Array, x: Array) -> Finding:
    """What is wrong with a gradient's shape, or that it is not an array."""
    shape = getattr(analytic, "shape", None)
    if shape is None:
        return Finding("shape", f"is a {type(analytic).__name__}, not an array of shape {x.shape}")
    message = f"has shape {tuple(shape)}, but {name} has shape {tuple(x.shape)}"
    if len(shape) >= 2 and (*shape[:-2], shape[-1], shape[-2]) == tuple(x.shape):
        return Finding("transposed", f"transposed: {message}")
    rows = min(len(shape), x.ndim) >= 2
    if rows and x.shape[-2] == 1 < shape[-2] and shape[-1] == x.shape[-1]:
        return Finding("bias-not-summed", f"not summed over the samples: {message}")
    if len(shape) < x.ndim and tuple(shape) == tuple(x.shape[x.ndim - len(shape) :]):
        return Finding("summed-over-networks", f"the axis of the networks is missing: {message}")
    return Finding("shape", message)


def raised_finding(error: BaseException) -> Finding:
    """What the checked code raised, in which line, and the usual cause."""
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [f for f in frames if not Path(f.filename).is_relative_to(CHECKER)]
    where = f" ({theirs[-1].filename}, line {theirs[-1].lineno})" if theirs else ""
    message = " ".join(str(error).split())
    words = f"raised {type(error).__name__}: {message}{where}"
    shapes = re.findall(r"shape \(([\d, ]+)\)", message)
    if len(shapes) == 2:
        given, wanted = ([int(n) for n in re.findall(r"\d+", shape)] for shape in shapes)
        if min(len(given), len(wanted)) > 1 and wanted[-2] == 1 < given[-2]:
            return Finding(
                "bias-not-summed",
                f"{words}: {given[-2]} rows, one per sample, in place of one row; the gradient of "
                "a bias is summed over the samples",
            )
    if isinstance(error, NotImplementedError):
        missing = theirs[-1].name if theirs else "a function"
        return Finding("raised", f"{missing} is not filled in")
    if "matmul" in message and "mismatch" in message:
        words += ": is a transpose missing, or is there one too many?"
    return Finding("raised", words)
