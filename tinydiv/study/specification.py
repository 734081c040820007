"""What a study is: arms x paired seeds x settings. Built from a TOML file or in Python.

    study = Study(
        name="my-study",
        arms=[
            Arm("plain"),
            Arm("adam", {"optimizer": "adam"}),
            Arm("decov", {"technique": ["decov:strength={strength}"], "strength": 0.1}),
        ],
        train={"hidden": [16], "epochs": 3},
        seeds=20,
    )

Arms are compared with each other. A setting is where that is done (a data set, a width). Each seed gives
one pair: seed s has the same random draws and the same order of batches in every arm. A setting changes
keys of `train`, and an arm changes keys of the setting. If one of them names another optimizer and no rate,
the rate is that optimizer's default.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import ClassVar

from tinydiv import optimizers
from tinydiv.errors import UsageError, check_known, nearest, unknown
from tinydiv.runs.config import usual_activation, usual_epochs, usual_rate
from tinydiv.settings import from_table, number, shown, whole
from tinydiv.study.keys import (
    ELSEWHERE,
    PLACEHOLDER,
    ByOptimizer,
    Controls,
    Measure,
    Training,
    Tuning,
)

REGIMES = ("default", "tuned")
"""default: one fixed rate and strength, as a user would start. tuned: both chosen for each arm."""
CONTROLS = ("", "A/A", "planted")
LONGEST_NAME = 240


@dataclass(frozen=True)
class Arm:
    """One arm of a comparison: a name, and what it changes in the training.

    against: the arm that it is compared with (the study's base if empty). only: settings where it
    takes part, by what they train: {"inputs": "raw"} or {"optimizer": ["sgd", "momentum"]}.
    control: "planted" if the arm must be found better than its partner.
    """

    name: str
    changes: Mapping[str, object] = field(default_factory=dict)
    against: str = ""
    only: Mapping[str, object] = field(default_factory=dict)
    control: str = ""


@dataclass(frozen=True)
class Setting:
    """One setting in which all arms are compared: a name, and what it changes in the training.

    success: the accuracy at which a trial is a success there; None for that of [measure].
    """

    LATER: ClassVar = ("success",)

    name: str
    changes: Mapping[str, object] = field(default_factory=dict)
    success: float | None = None

    def __post_init__(self) -> None:
        if self.success is not None:
            read = number(0, 1)(f"success of the setting {self.name!r}", self.success)
            object.__setattr__(self, "success", read)


@dataclass(frozen=True)
class Study:
    """A whole comparison, checked when it is made. Raises UsageError with one sentence for a mistake: a
    name that is used twice or does not exist, an arm that cannot be trained.

    base: the arm that others are compared with (the first if empty). primary: the readout by which rates
    are chosen, and the first of every table. first_seed: seeds are first_seed, first_seed + 1, ...
    """

    name: str
    arms: Sequence[Arm]
    title: str = ""
    question: str = ""
    seeds: int = 10
    first_seed: int = 0
    base: str = ""
    regimes: Sequence[str] = ("default",)
    primary: str = "early"
    train: Mapping[str, object] = field(default_factory=dict)
    settings: Sequence[Setting] = ()
    grid: Mapping[str, Sequence[object]] = field(default_factory=dict)
    measure: Measure = field(default_factory=Measure)
    tuning: Tuning = field(default_factory=Tuning)
    controls: Controls = field(default_factory=Controls)

    def __post_init__(self) -> None:
        if not self.arms:
            raise UsageError(f"the study {self.name!r} has no arms")
        check_names("arm", [arm.name for arm in self.arms])
        check_names("setting", [setting.name for setting in self.settings])
        whole(1, 1_000_000)("seeds", self.seeds)
        whole(0, 10**9)("first_seed", self.first_seed)
        for regime in self.regimes:
            check_known("regime", regime, REGIMES)
        if not self.regimes or len(set(self.regimes)) < len(self.regimes):
            raise UsageError("regimes lists default, tuned or both, each once")
        names = [arm.name for arm in self.arms]
        for arm in self.arms:
            if arm.control not in CONTROLS:
                raise unknown("control", arm.control, [c for c in CONTROLS if c])
            if arm.against and arm.against not in names:
                raise unknown(f"partner of {arm.name!r}", arm.against, names)
            for key in ("data", "n_train", "n_test"):
                if key in arm.changes:
                    raise UsageError(
                        f"the arm {arm.name!r} changes {key}: arms are compared on the same samples, "
                        "so that belongs into a setting"
                    )
            if arm.against == arm.name:
                raise UsageError(f"the arm {arm.name!r} cannot be compared with itself")
        if self.base and self.base not in names:
            raise unknown("arm for the base", self.base, names)
        for setting in self.all_settings:
            for arm in self.arms:
                self.training(setting, arm)
        if all(not self.takes_part(setting, self.base_arm) for setting in self.all_settings):
            raise UsageError(f"the base arm {self.base_arm.name!r} takes part in no setting")

    # Arms and settings ---------------------------------------------------------------------------

    @property
    def base_arm(self) -> Arm:
        """The arm that others are compared with."""
        return self.arm(self.base) if self.base else self.arms[0]

    def arm(self, name: str) -> Arm:
        """The arm of that name."""
        return next(arm for arm in self.arms if arm.name == name)

    @property
    def idle_arms(self) -> list[str]:
        """A sentence for each arm whose `only` fits no setting; in a smaller study that can be intended."""
        return [
            f"the arm {arm.name!r} takes part in no setting: nothing fits its only"
            for arm in self.arms
            if not any(self.takes_part(setting, arm) for setting in self.all_settings)
        ]

    def partner(self, arm: Arm) -> Arm:
        """The arm that this one is compared with; the base has only itself."""
        return self.arm(arm.against) if arm.against else self.base_arm

    @cached_property
    def all_settings(self) -> list[Setting]:
        """Every setting: those listed, each with every combination of the grid."""
        combinations = [
            dict(zip(self.grid, values, strict=True)) for values in product(*self.grid.values())
        ]
        listed = list(self.settings) or [Setting("")]
        found = []
        for setting, combination in product(listed, combinations):
            words = [
                value if isinstance(value, str) else f"{key} {in_words(value)}"
                for key, value in combination.items()
                if len(self.grid[key]) > 1  # a key with one value does not distinguish settings
            ]
            name = ", ".join(part for part in (setting.name, *words) if part)
            found.append(
                Setting(name or "all", {**combination, **setting.changes}, setting.success)
            )
        check_names("setting", [setting.name for setting in found])
        return found

    def takes_part(self, setting: Setting, arm: Arm) -> bool:
        """Whether an arm is compared in a setting: see Arm.only."""
        here = self.training(setting, Arm("here"))
        fields = [f.name for f in dataclasses.fields(Training)]
        for key, allowed in arm.only.items():
            if key not in fields:
                raise UsageError(f"{arm.name!r} has only.{key}: {nearest(key, fields)}")
            listed = allowed if isinstance(allowed, list | tuple) else [allowed]
            if getattr(here, key) not in [tuple(v) if isinstance(v, list) else v for v in listed]:
                return False
        return True

    def measure_in(self, setting: Setting) -> Measure:
        """What is measured in a setting: [measure], with the setting's own success."""
        if setting.success is None:
            return self.measure
        return dataclasses.replace(self.measure, success=setting.success)

    def training(self, setting: Setting, arm: Arm) -> Training:
        """How an arm trains in a setting, in the default regime: every number filled in."""
        of_setting = f"the setting {setting.name!r}", setting.changes
        of_arm = f"the arm {arm.name!r}{in_setting(setting.name)}", arm.changes
        return resolve([("[train]", self.train), of_setting, of_arm])

    # What makes two studies the same -------------------------------------------------------------

    def as_dict(self) -> dict[str, object]:
        """The whole study as plain data, for study.json."""
        return {f.name: plain(getattr(self, f.name)) for f in dataclasses.fields(self)}

    @property
    def fingerprint(self) -> str:
        """A digest that is equal for equal studies; files and the order of keys play no part."""
        return digest(self.as_dict())


def resolve(layers: Sequence[tuple[str, Mapping[str, object]]]) -> Training:
    """One Training from several tables, [("[train]", {...}), ...]; a later table overrides earlier ones.

    Raises UsageError, naming the table, for what does not fit.
    """
    merged: dict[str, object] = {}
    for where, table in layers:
        for key in table:
            if why := ELSEWHERE.get(key.replace("-", "_")):
                raise UsageError(f"{where} takes no {shown(key)}: {why}")
        values = from_table(Training, table, where)
        if "optimizer" in values and values["optimizer"] != merged.get(
            "optimizer", Training.optimizer
        ):
            for key in ("lr", "weight_decay"):
                if not isinstance(merged.get(key), ByOptimizer):  # a table by optimizer still holds
                    merged.pop(key, None)
        merged |= values
    last = layers[-1][0]
    optimizer = optimizers.get(str(merged.get("optimizer", Training.optimizer)))
    rate = merged.get("lr")
    if isinstance(rate, ByOptimizer):
        rate = rate.rates.get(optimizer.name)
    data = str(merged.get("data", Training.data))
    merged["lr"] = usual_rate(data, optimizer.default_lr) if rate is None else rate
    merged.setdefault("epochs", usual_epochs(data))
    merged["activation"] = merged.get("activation") or usual_activation(data)
    training = Training(**merged)  # type: ignore[arg-type]
    placed = sum(spec.count(PLACEHOLDER) for spec in training.technique)
    if placed and training.strength is None:
        raise UsageError(f"{last} has a technique with {PLACEHOLDER} and needs strength = NUMBER")
    if training.strength is not None and not placed:
        raise UsageError(
            f"{last} sets strength, but none of its techniques uses it: write "
            f'technique = ["name:strength={PLACEHOLDER}"]'
        )
    return training


def check_names(kind: str, names: Sequence[str]) -> None:
    """Raises UsageError for a name that is empty, too long, or used twice."""
    for name in names:
        if not isinstance(name, str) or not name.strip() or len(name) > LONGEST_NAME:
            raise UsageError(
                f"the name of a {kind} is text of up to {LONGEST_NAME} characters, got {shown(name)}"
            )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"the {kind} {twice[0]!r} is used twice: names must differ")


def in_setting(name: str) -> str:
    """The end of an arm's description in messages: " in 'spirals'", "" for the one setting `all`."""
    return "" if name in ("", "all") else f" in {name!r}"


def in_words(value: object) -> str:
    """A value in the name of a setting: 16-16 for [16, 16]."""
    if isinstance(value, list | tuple):
        return "-".join(str(v) for v in value) or "none"
    return str(value)


def plain(value: object) -> object:
    """Dataclasses, tuples and mappings as dicts and lists, for JSON."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        later = getattr(value, "LATER", ())
        return {
            f.name: plain(getattr(value, f.name))
            for f in dataclasses.fields(value)
            if f.name not in later or getattr(value, f.name) != f.default
        }
    if isinstance(value, Mapping):
        return {str(key): plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value


def digest(value: object) -> str:
    """Twenty hexadecimal digits of the SHA-256 of plain data: equal for equal data."""
    text = json.dumps(plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:20]
