"""The result of a check: as a table, and as data for programs.

One row per array of a subject. It summarises the points at which it was checked: the largest error, and
the first point that failed.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from tinydiv.check import points
from tinydiv.check.evidence import Facts, Finding
from tinydiv.check.judge import TOLERANCE, Verdict, facts_of
from tinydiv.check.patterns import SIZE_CODES, name_factor, times

Data = dict[str, object]

SEVERITY = ("right", "no effect", "kink", "zero", "noisy", "wrong", "nan", "error")
"""The statuses of judge.py, the most serious last."""


@dataclass
class Row:
    """One array of one subject, over all points."""

    kind: str
    subject: str
    array: str
    verdicts: list[Verdict] = field(default_factory=list)

    @property
    def failed(self) -> list[Verdict]:
        """The verdicts that count as failures. A point that proves nothing (zero, or at kinks) is one of
        them only if no other point with the same settings proves the gradient right."""
        proven = {v.case.variant for v in self.verdicts if v.status == "right"}
        return [
            v
            for v in self.verdicts
            if not v.passes and not (v.status in ("zero", "kink") and v.case.variant in proven)
        ]

    @property
    def right(self) -> bool:
        """Whether no point failed."""
        return not self.failed

    @property
    def worst(self) -> Verdict:
        """The verdict that the row shows: the first of the most serious kind."""
        if self.failed:
            return max(self.failed, key=lambda v: SEVERITY.index(v.status))
        shown = [v for v in self.verdicts if v.status == "right"] or self.verdicts
        return max(shown, key=lambda v: v.error or 0.0)

    @property
    def error(self) -> float | None:
        """The largest relative error against central differences; None where none was measured."""
        return _largest(v.error for v in self.verdicts)

    @property
    def complex_error(self) -> float | None:
        """The same against the complex step."""
        return _largest(v.complex_error for v in self.verdicts)

    @property
    def at_kink(self) -> int:
        """How many entries lay at a kink, over all points."""
        return sum(v.at_kink for v in self.verdicts)

    @property
    def words(self) -> str:
        """The verdict in words."""
        if self.right:
            entries = "1 entry" if self.at_kink == 1 else f"{self.at_kink} entries"
            some = f"; {entries} at a kink left out" if self.at_kink else ""
            return (self.worst.status if self.error is not None else self.worst.words) + some
        return self.worst.words

    @property
    def where(self) -> str:
        """At how many points it fails, and the first of them."""
        many = f"at {len(self.failed)} of {len(self.verdicts)} points, first: "
        return (many if len(self.verdicts) > 1 else "at ") + self.worst.case.where

    def compare_points(self, seed: int) -> None:
        """Replace the named cause of a factor ("N and N - 1 are mixed up") if another point, with another
        N, contradicts it."""
        named = next((v for v in self.failed if v.finding and v.finding.code in SIZE_CODES), None)
        if named is None or named.ratio is None or named.finding is None:
            return
        here = facts_of(named.case, seed)
        for other in self.failed:
            if other.ratio is None or other is named:
                continue
            there = facts_of(other.case, seed)
            if sizes(here) == sizes(there):
                continue
            if name_factor(other.ratio, there).code != named.finding.code:
                more = "at every point, whatever N and the sizes"
                if abs(other.ratio - named.ratio) >= 1e-5 * abs(named.ratio):
                    more = f"here, {times(abs(other.ratio))} at {other.case.where}"
                sign = "sign flipped, and " if named.ratio < 0 else ""
                named.finding = Finding("scaled", f"{sign}{times(abs(named.ratio))} {more}")
            return

    def data(self) -> Data:
        """The row for --json."""
        finding = self.worst.finding
        return {
            "subject": self.subject,
            "kind": self.kind,
            "array": self.array,
            "right": self.right,
            "status": self.worst.status,
            "code": finding.code if finding else None,
            "words": self.words,
            "points": len(self.verdicts),
            "failed": len(self.failed),
            "setting": self.worst.case.where,
            "relative_error": self.error,
            "complex_step_error": self.complex_error,
            "entries_at_kink": self.at_kink,
        }


def sizes(facts: Facts) -> tuple[int, ...]:
    """The sizes that a factor may be made of."""
    return (facts.samples, *facts.sizes.values())


@dataclass(frozen=True)
class InterventionResult:
    """The result for one intervention, which has no gradient but an invariant that it keeps.

    tests/test_interventions.py tests the invariants of tinydiv's own interventions. A user's own one was
    run for a few steps of training.
    """

    subject: str
    invariant: str
    own: bool = False
    """Whether it is the user's."""
    fault: str = ""
    """What went wrong in these steps, in words."""

    @property
    def right(self) -> bool:
        """Whether nothing went wrong."""
        return not self.fault

    @property
    def words(self) -> str:
        """What was found, and what was not checked."""
        if self.fault:
            return self.fault
        if not self.own:
            return f"its invariant is tested: {self.invariant}"
        ran = "no gradient; ran for a few steps, alone and with other networks, with finite numbers"
        if self.invariant:
            return f"{ran}; not checked: {self.invariant}"
        return f"{ran}; note: describe in `invariant` what it keeps"

    def data(self) -> Data:
        """The intervention for --json."""
        return {
            "subject": self.subject,
            "invariant": self.invariant,
            "tested": not self.own,
            "right": self.right,
            "words": self.words,
        }


@dataclass
class Report:
    """Everything that one check found."""

    seed: int = 0
    rows: list[Row] = field(default_factory=list)
    interventions: list[InterventionResult] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @contextmanager
    def timing(self) -> Iterator[None]:
        """Add the time that a part of the check takes to `seconds`."""
        began = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - began

    def add(self, verdicts: Iterable[Verdict]) -> None:
        """Sort verdicts into their rows."""
        for v in verdicts:
            key = (v.case.kind, v.case.subject, v.array)
            row = next((r for r in self.rows if (r.kind, r.subject, r.array) == key), None)
            if row is None:
                row = Row(*key)
                self.rows.append(row)
            row.verdicts.append(v)

    def named(self, kind: str, subject: str) -> set[str]:
        """The arrays whose fault has a name already; a point that proves nothing is no fault."""
        return {
            row.array
            for row in self.rows
            if (row.kind, row.subject) == (kind, subject)
            and any(v.status not in ("zero", "kink") and v.finding for v in row.verdicts)
        }

    @property
    def results(self) -> list[Row | InterventionResult]:
        """All rows and interventions."""
        return [*self.rows, *self.interventions]

    @property
    def right(self) -> bool:
        """Whether something was checked, and all of it is right."""
        return bool(self.results) and all(one.right for one in self.results)

    @property
    def faults(self) -> list[Row]:
        """The rows that fail."""
        return [row for row in self.rows if not row.right]

    def of(self, subject: str, failed: bool = False) -> list[Row]:
        """The rows of one subject; with failed=True only those that fail."""
        return [r for r in self.rows if r.subject == subject and not (failed and r.right)]

    def note_limits(self, one_point: bool = False) -> None:
        """Where all is right: add a note on the points that were not tried."""
        if not (self.right and self.rows):
            return
        if one_point:
            self.notes.append("Checked at this one point: other values and sizes were not tried.")
        else:
            network = {"network", "objective", "layer"} & {row.kind for row in self.rows}
            depth = f"{len(points.DEEP.sizes) - 1} layers of weights, " if network else ""
            self.notes.append(
                f"Tried in float64 with up to {depth}{max(points.LARGE.sizes)} columns and "
                f"{points.LARGE.samples} samples: a fault that needs larger sizes would not be found."
            )

    def data(self) -> Data:
        """The whole report for --json."""
        return {
            "right": self.right,
            "seed": self.seed,
            "tolerance": TOLERANCE,
            "gradients": [row.data() for row in self.rows],
            "faults": [row.data() for row in self.faults],
            "held_by_tests": [one.data() for one in self.interventions],
            "notes": self.notes,
            "seconds": round(self.seconds, 3),
        }

    def __str__(self) -> str:
        parts = [rows_text(self.of(s)) for s in dict.fromkeys(row.subject for row in self.rows)]
        parts += [interventions_text(self.interventions)] if self.interventions else []
        return "\n".join([HEADER, *parts, *self.notes, summary(self)])


def _largest(errors: Iterable[float | None]) -> float | None:
    known = [e for e in errors if e is not None]
    return max(known) if known else None


# As text -----------------------------------------------------------------------------------------

HEADER = f"{'':32}{'points':>7}{'rel. error':>12}{'complex step':>14}"


def rows_text(rows: Sequence[Row]) -> str:
    """The rows of one subject: its name, then a line per array."""
    lines = [rows[0].subject]
    kinds = {row.kind for row in rows}
    for row in rows:
        name = row.array if len(kinds) == 1 or row.kind != "objective" else f"{row.array} objective"
        numbers = f"{len(row.verdicts):7}{_number(row.error):>12}{_number(row.complex_error):>14}"
        mark = "" if row.right else "WRONG: " if row.worst.status == "wrong" else "FAILS: "
        lines.append(f"  {name:30}{numbers}  {mark}{row.words}")
        if not row.right:
            lines.append(f"  {'':30}{row.where}")
    wrong = [row for row in rows if not row.right]  # the array nearest to the outputs is last
    own = [row for row in wrong if row.kind != "objective"]
    layers = [row for row in wrong if row.array[-1] == "]"]
    if own and len(own) < len(wrong):
        lines.append(f"  Begin with {own[0].array}: it is a part of the objective's gradient.")
    elif len(layers) > 1:
        first = max(layers, key=lambda row: row.array[row.array.index("[") :])
        lines.append(
            f"  Begin with {first.array}: the gradient comes down from the outputs, so a fault there "
            "makes the layers below wrong, too."
        )
    return "\n".join(lines)


def interventions_text(results: Sequence[InterventionResult]) -> str:
    """The interventions: a heading, then a line for each."""
    lines = ["interventions (no gradient)"]
    for one in results:
        lines.append(f"  {one.subject:30}{'' if one.right else 'FAILS: '}{one.words}")
    return "\n".join(lines)


def summary(report: Report) -> str:
    """One sentence at the end."""
    took = f"{report.seconds:.1f} s"
    if not report.results:
        return "nothing was checked"
    if not report.right:
        wrong = sum(not one.right for one in report.results)
        return f"{wrong} of {len(report.results)} fail ({took})"
    known = [row for row in report.rows if row.error is not None]
    if not known:
        return f"no gradient to check ({took})"
    worst = max(known, key=lambda row: row.error or 0.0)
    points = sum(len(row.verdicts) for row in report.rows)
    return (
        f"all right: {len(report.rows)} gradients at {points} points; largest relative error "
        f"{worst.error:.1e} ({worst.subject}, {worst.array}; {took})"
    )


def _number(error: float | None) -> str:
    return "-" if error is None else f"{error:.1e}"
