"""From a study to single trials: which networks must be trained, for comparisons and for tuning.

A trial is one network: how it is trained, from which seed, and what is measured. Its key is a digest of
these, so a trial that two arms or two regimes have in common is trained once.

Seeds: the study's own (first_seed, first_seed + 1, ...) for what is compared; AA_SEEDS + the same for
the A/A arm; TUNING_SEEDS + 0, 1, ... for the choice of rates and strengths. They never overlap.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from tinydiv.errors import UsageError
from tinydiv.settings import parse_spec
from tinydiv.study.keys import PLACEHOLDER, Measure, Training
from tinydiv.study.specification import Arm, Setting, Study, check_names, digest
from tinydiv.techniques import Penalty, technique_class

AA_SEEDS = 10**10
TUNING_SEEDS = 2 * 10**10
TEST = -1
"""A value of Trial.validation: the network is measured on the test part."""


@dataclass(frozen=True)
class Trial:
    """One network to be trained and measured.

    validation: TEST, or how many training samples are held out to measure on (0: the training part).
    """

    training: Training
    seed: int
    measure: Measure
    validation: int = TEST

    @cached_property
    def key(self) -> str:
        """A digest of everything that this network's numbers depend on."""
        return digest([self.training, self.seed, recorded(self.measure), self.validation])

    @cached_property
    def kind(self) -> str:
        """A digest that is equal for trials that may share one array of networks: see shared."""
        return digest([shared(self.training), recorded(self.measure), self.validation])


def recorded(measure: Measure) -> list[object]:
    """What a trial records; the rest of [measure] defines the readouts that are computed from it."""
    return [measure.steps, measure.every, measure.metrics]


def shared(training: Training) -> Training:
    """What networks of one array have in common: all but start, rate, and strength where it may differ.

    A penalty's strength is one number per network. Another setting of a technique (muon:lr={strength}) is
    one number for the whole array, and is written into the spec here.
    """
    return replace(
        training,
        init="",
        lr=0.0,
        technique=tuple(_written(spec, training.strength) for spec in training.technique),
        strength=None,
    )


def _written(spec: str, strength: float | None) -> str:
    if strength is None or PLACEHOLDER not in spec or may_differ(spec):
        return spec
    return spec.replace(PLACEHOLDER, f"{strength:.12g}")


def may_differ(spec: str) -> bool:
    """Whether {strength} is a setting that may be different for every network."""
    parts = parse_spec(spec)
    cls = technique_class(parts.name, parts.file)
    places = {key for key, value in parts.settings.items() if PLACEHOLDER in value}
    return issubclass(cls, Penalty) and places <= {"strength", cls.one_minus_strength}


def specs_for(training: Training, strengths: Sequence[float | None]) -> list[str]:
    """The techniques of an array of networks: {strength} replaced by one number per network."""
    listed = "/".join(f"{s:.12g}" for s in strengths if s is not None)
    return [spec.replace(PLACEHOLDER, listed) for spec in shared(training).technique]


# What is compared ----------------------------------------------------------------------------------


def all_arms(study: Study) -> list[Arm]:
    """The study's arms, and the controls that come with it."""
    base = study.base_arm
    arms = list(study.arms)
    if study.controls.aa:
        arms.append(Arm("A/A", base.changes, only=base.only, control="A/A"))
    if study.controls.planted and not any(arm.control == "planted" for arm in arms):
        ahead = {**base.changes, "head_start": 1}
        arms.append(Arm("one epoch ahead", ahead, only=base.only, control="planted"))
    check_names("arm", [arm.name for arm in arms])
    return arms


def arms_in(study: Study, setting: Setting) -> list[Arm]:
    """The arms that take part in a setting; those that train as their partner does are left out.

    (An arm "adam" equals its partner in a setting that uses Adam.)
    """
    found = []
    for arm in all_arms(study):
        partner = study.partner(arm)
        if not study.takes_part(setting, arm) or not study.takes_part(setting, partner):
            continue
        same = study.training(setting, arm) == study.training(setting, partner)
        if same and arm != partner and not arm.control:
            continue
        found.append(arm)
    return found


@dataclass(frozen=True)
class Candidate:
    """A rate and a strength of the tuning grid."""

    lr: float
    strength: float | None

    def put(self, training: Training) -> Training:
        """The same way to train, at this rate and strength."""
        return replace(training, lr=self.lr, strength=self.strength)


def own_candidate(study: Study, setting: Setting, arm: Arm) -> Candidate:
    """An arm's rate and strength in the default regime."""
    training = study.training(setting, arm)
    assert isinstance(training.lr, float)
    return Candidate(training.lr, training.strength)


def final_trials(study: Study, setting: Setting, arm: Arm, chosen: Candidate) -> list[Trial]:
    """The trials that are compared: one per seed, in the order of seeds."""
    training = chosen.put(study.training(setting, arm))
    first = study.first_seed + (AA_SEEDS if arm.control == "A/A" else 0)
    return [Trial(training, first + i, study.measure) for i in range(study.seeds)]


# Tuning --------------------------------------------------------------------------------------------


def tuned_as(study: Study, arm: Arm) -> Arm:
    """The arm whose tuning an arm uses: its own, or for the built-in controls the base's."""
    return arm if arm in study.arms else study.base_arm


def candidates(study: Study, setting: Setting, arm: Arm) -> list[Candidate]:
    """The grid of one arm: every rate, and with every strength where it has one (0 stays 0)."""
    own = own_candidate(study, setting, arm)
    rates = sorted({own.lr * factor for factor in study.tuning.rates})
    strengths: list[float | None] = [own.strength]
    if own.strength:
        strengths = [*sorted({own.strength * factor for factor in study.tuning.strengths})]
    return [Candidate(lr, strength) for strength in strengths for lr in rates]


def tuning_seeds(study: Study, arms: Sequence[tuple[Setting, Arm]]) -> dict[tuple[str, str], int]:
    """How many tuning seeds each arm gets, so that all spend the same number of trials.

    The largest grid gets `tuning.seeds` of them. An arm with a smaller grid gets more seeds for each of its
    candidates.
    """
    sizes = {(s.name, a.name): len(candidates(study, s, a)) for s, a in arms}
    budget = study.tuning.seeds * max(sizes.values(), default=0)
    return {key: max(budget // size, 1) for key, size in sizes.items()}


def tuning_trials(
    study: Study, setting: Setting, arm: Arm, seeds: int
) -> Mapping[Candidate, list[Trial]]:
    """The trials by which an arm's rate and strength are chosen, by candidate."""
    training = study.training(setting, arm)
    return {
        candidate: [
            Trial(candidate.put(training), TUNING_SEEDS + i, study.measure, study.tuning.validation)
            for i in range(seeds)
        ]
        for candidate in candidates(study, setting, arm)
    }


def check_parts(study: Study, n_train: int, setting: Setting) -> None:
    """Raises UsageError if the validation part would leave no training part."""
    if "tuned" in study.regimes and study.tuning.validation >= n_train:
        raise UsageError(
            f"tuning holds out {study.tuning.validation} samples, but {setting.name!r} trains on "
            f"{n_train}: set tuning.validation lower (0 chooses by the training part itself)"
        )
