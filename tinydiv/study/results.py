"""The results of a study so far: its curves by cell, the choices of tuning, and numbers read from them.

Made from the study and the finished stacks alone, so it can be made at any time: while the study runs,
after a crash, on another machine. A cell without its curve is not finished yet.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from tinydiv.errors import UsageError, check_known
from tinydiv.stats import Floats
from tinydiv.study.keys import Measure, Training
from tinydiv.study.plan import (
    Candidate,
    Trial,
    arms_in,
    final_trials,
    own_candidate,
    tuned_as,
    tuning_seeds,
    tuning_trials,
)
from tinydiv.study.readouts import NAN, Circumstances, Readout, readouts_of
from tinydiv.study.specification import Arm, Setting, Study
from tinydiv.study.store import Curve


@dataclass(frozen=True)
class DataFacts:
    """What the tables need of a data set, so that they can be made without it."""

    fingerprint: str
    n_train: int
    n_inputs: int
    n_classes: int
    entropy: float
    """Of the test labels, in nats: the loss of the best prediction that is the same for every sample."""


@dataclass(frozen=True)
class Choice:
    """What tuning chose for one arm in one setting, and the scores of the whole grid."""

    chosen: Candidate | None
    scores: Mapping[Candidate, float]
    """Mean of the primary readout over tuning seeds; -infinity where a network diverged."""
    seeds: int
    at_edge: bool
    """Whether the best rate is the grid's smallest or largest: a rate outside may be better."""

    @property
    def trials(self) -> int:
        """Networks trained for this choice."""
        return self.seeds * len(self.scores)


@dataclass(frozen=True)
class Cell:
    """One row of a table: an arm in a setting and a regime."""

    setting: str
    regime: str
    arm: str


class Results:
    """A study, and the networks of it that are finished."""

    def __init__(
        self, study: Study, curves: Mapping[str, Curve], data: Mapping[str, DataFacts]
    ) -> None:
        self.study, self.curves, self.data = study, curves, data
        self.costs: dict[str, dict[str, float]] = {}
        self._choices: dict[tuple[str, str], Choice | None] = {}
        self._trials: dict[Cell, list[Trial]] = {}

    # Plan ----------------------------------------------------------------------------------------

    @cached_property
    def arms(self) -> dict[str, list[Arm]]:
        """Arms by setting, controls last."""
        return {setting.name: arms_in(self.study, setting) for setting in self.study.all_settings}

    def setting(self, name: str) -> Setting:
        """The setting of that name."""
        return next(setting for setting in self.study.all_settings if setting.name == name)

    def arm(self, setting: str, name: str) -> Arm:
        """The arm of that name, controls included."""
        return next(arm for arm in self.arms[setting] if arm.name == name)

    @cached_property
    def tuning(self) -> dict[tuple[str, str], Mapping[Candidate, list[Trial]]]:
        """Tuning trials by setting and arm; empty without the tuned regime."""
        if "tuned" not in self.study.regimes:
            return {}
        tuned = [
            (setting, arm)
            for setting in self.study.all_settings
            for arm in self.arms[setting.name]
            if arm in self.study.arms
        ]
        seeds = tuning_seeds(self.study, tuned)
        return {
            (s.name, a.name): tuning_trials(self.study, s, a, seeds[s.name, a.name])
            for s, a in tuned
        }

    def trials(self, cell: Cell) -> list[Trial] | None:
        """The trials of a cell, one per seed; None while its rate is not chosen, or cannot be."""
        if cell not in self._trials:
            trials = self._find_trials(cell)
            if trials is None:
                return None
            self._trials[cell] = trials
        return self._trials[cell]

    def _find_trials(self, cell: Cell) -> list[Trial] | None:
        setting, arm = self.setting(cell.setting), self.arm(cell.setting, cell.arm)
        candidate: Candidate | None = own_candidate(self.study, setting, arm)
        if cell.regime == "tuned":
            choice = self.choice(cell.setting, tuned_as(self.study, arm).name)
            candidate = None if choice is None else choice.chosen
        if candidate is None:
            return None
        return final_trials(self.study, setting, arm, candidate)

    @cached_property
    def cells(self) -> list[Cell]:
        """Every cell of the study, in the order of tables."""
        return [
            Cell(setting.name, regime, arm.name)
            for setting in self.study.all_settings
            for regime in self.study.regimes
            for arm in self.arms[setting.name]
        ]

    @property
    def tables(self) -> list[tuple[str, str]]:
        """(setting, regime) of every table."""
        return list(dict.fromkeys((cell.setting, cell.regime) for cell in self.cells))

    def cells_of(self, setting: str, regime: str) -> list[Cell]:
        """The cells of one table."""
        return [c for c in self.cells if (c.setting, c.regime) == (setting, regime)]

    # Choices -------------------------------------------------------------------------------------

    def choice(self, setting: str, arm: str) -> Choice | None:
        """What tuning chose; None until all of its trials are finished.

        The best mean of the primary readout on the validation part; among equals, the better mean
        accuracy over all moments, then the first of the grid. A candidate is left out if any of its
        networks diverged; chosen is None if no candidate is left.
        """
        key = (setting, arm)
        if self._choices.get(key) is None:
            self._choices[key] = self._choose(setting, arm)
        return self._choices[key]

    def _choose(self, setting: str, arm: str) -> Choice | None:
        tried = self.tuning[setting, arm]
        primary = self.readout(setting, self.study.primary)
        here = Circumstances(self.measure(setting))
        scores, order, seeds = {}, {}, 0
        for place, (candidate, trials) in enumerate(tried.items()):
            curves = [self.curves.get(trial.key) for trial in trials]
            seeds = len(trials)
            found = [curve for curve in curves if curve is not None]
            if len(found) < len(trials):
                return None
            score = mean = -np.inf
            if not any(curve.diverged for curve in found):
                score = float(np.mean([primary.read(curve, here) for curve in found]))
                mean = float(np.mean([curve.values["test_accuracy"].mean() for curve in found]))
            scores[candidate] = score
            order[candidate] = (score, mean, -place)
        best = max(scores, key=lambda candidate: order[candidate])
        if not np.isfinite(scores[best]):
            return Choice(None, scores, seeds, False)
        rates = [candidate.lr for candidate in scores]
        edge = len(set(rates)) > 1 and best.lr in (min(rates), max(rates))
        return Choice(best, scores, seeds, edge)

    # Numbers -------------------------------------------------------------------------------------

    def found(self, cell: Cell) -> list[Curve | None]:
        """The curves of a cell in the order of seeds, None for those that are not finished."""
        trials = self.trials(cell)
        if trials is None:
            return [None] * self.study.seeds
        return [self.curves.get(trial.key) for trial in trials]

    def facts(self, setting: str) -> DataFacts:
        """The data of a setting."""
        return self.data[data_key(self.base_training(setting))]

    def base_training(self, setting: str) -> Training:
        """How the base arm trains in a setting."""
        return self.study.training(self.setting(setting), self.study.base_arm)

    def measure(self, setting: str) -> Measure:
        """What is measured in a setting."""
        return self.study.measure_in(self.setting(setting))

    def per_epoch(self, setting: str) -> int:
        """Steps per epoch."""
        n = self.facts(setting).n_train
        return n // min(self.base_training(setting).batch_size, n)

    def readouts(self, setting: str) -> list[Readout]:
        """The readouts of a setting's tables."""
        return readouts_of(
            self.base_training(setting), self.measure(setting), self.per_epoch(setting)
        )

    def readout(self, setting: str, name: str) -> Readout:
        """One of them by name. Raises UsageError for an unknown one."""
        known = {readout.name: readout for readout in self.readouts(setting)}
        check_known("readout", name, known)
        return known[name]

    def numbers(self, cell: Cell, readout: Readout) -> Floats:
        """One number per seed, NaN where there is none."""
        return read_all(self.found(cell), readout, self.circumstances(cell))

    def circumstances(self, cell: Cell) -> Circumstances:
        """Target, constant loss and speed of a cell."""
        return Circumstances(
            self.measure(cell.setting),
            self.target(cell),
            self.facts(cell.setting).entropy,
            self.seconds_per_step(cell),
        )

    def target(self, cell: Cell) -> float:
        """The accuracy to be reached: a number, or where the base arm ends on average over seeds."""
        target = self.study.measure.target
        if isinstance(target, float):
            return target
        if target == "none":
            return NAN
        base = Cell(cell.setting, cell.regime, self.study.base_arm.name)
        here = Circumstances(self.study.measure)
        ends = read_all(self.found(base), Readout("final", ""), here)
        seen = ends[np.isfinite(ends)]
        return float(seen.mean()) if seen.size else NAN

    def seconds_per_step(self, cell: Cell) -> float:
        """Measured time of one step of one network of an arm, see cost.step_seconds."""
        trials = self.trials(cell)
        cost = self.costs.get(trials[0].kind, {}) if trials else {}
        return cost.get("step_seconds", NAN)

    def joules_per_step(self, cell: Cell) -> float:
        """The same for energy; NaN where it was not measured for this arm alone."""
        per_step = []
        for curve in self.found(cell):
            joules = None if curve is None else curve.facts.get("joules")
            if curve is None or not isinstance(joules, float):
                return NAN
            steps = float(curve.step[-1]) * float(str(curve.facts["networks"]))
            per_step.append(joules / steps)
        return float(np.median(per_step)) if per_step else NAN

    def done(self) -> tuple[int, int]:
        """(finished trials, all trials) of the comparisons; tuning trials are not counted."""
        finished = sum(curve is not None for cell in self.cells for curve in self.found(cell))
        return finished, self.study.seeds * len(self.cells)


def read_all(curves: Sequence[Curve | None], readout: Readout, here: Circumstances) -> Floats:
    """One number per curve, NaN where there is none."""
    return np.array([NAN if curve is None else readout.read(curve, here) for curve in curves])


def data_key(training: Training) -> str:
    """The name of a data set in study.json: "fashion-mini", "fashion-mini, 1000 + all"."""
    if training.n_train is None and training.n_test is None:
        return training.data
    return f"{training.data}, {training.n_train or 'all'} + {training.n_test or 'all'}"


def entropy(labels: npt.NDArray[np.int64]) -> float:
    """The entropy of class labels, in nats."""
    counts = np.bincount(labels)
    shares = counts[counts > 0] / len(labels)
    return float(-np.sum(shares * np.log(shares)))


def check_readable(results: Results) -> None:
    """Raises UsageError if the primary readout does not exist, or cannot choose a rate."""
    for setting in results.study.all_settings:
        primary = results.readout(setting.name, results.study.primary)
        if primary.timed:
            raise UsageError(
                f"{primary.name} cannot be the primary readout, because it is not tested (one timing per "
                "arm): take steps_to_target"
            )
        if "tuned" in results.study.regimes and (
            primary.lower_is_better or primary.name == "reached"
        ):
            raise UsageError(
                f"rates cannot be tuned by {primary.name}: choose a primary readout that is larger "
                "where things are better"
            )
