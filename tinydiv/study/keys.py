"""The settings of a study's tables, each with its default, its bounds and one line.

    [train]     Training    how networks are trained; arms and settings change single keys of it
    [measure]   Measure     what is measured, and when
    [tuning]    Tuning      how rates and strengths are chosen in the tuned regime
    [controls]  Controls    comparisons whose result is known beforehand

The keys of [train] are the flags of python -m tinydiv.train, with a few that only comparisons need.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from tinydiv.errors import UsageError
from tinydiv.runs.config import EPOCHS, USUAL_BATCH, like_train
from tinydiv.settings import Reader, maybe, number, setting, shown, text, whole, words

PLACEHOLDER = "{strength}"
"""Stands in a technique's settings for the number that is fixed by `strength` and may be tuned."""


def numbers(low: float, high: float, most: int = 100) -> Reader[tuple[float, ...]]:
    """A list of numbers, one or more."""
    one = number(low, high)

    def read(what: str, value: object) -> tuple[float, ...]:
        parts = value if isinstance(value, list | tuple) else [value]
        if not 1 <= len(parts) <= most:
            raise UsageError(f"{what} takes 1 to {most} numbers, got {len(parts)}")
        return tuple(one(what, part) for part in parts)

    return read


@dataclass(frozen=True)
class ByOptimizer:
    """Rates by optimizer; it becomes one number when it is known which optimizer trains."""

    rates: Mapping[str, float]


def rate(what: str, value: object) -> float | ByOptimizer:
    """A learning rate: one number, or a table of them by optimizer, {sgd = 0.1, adam = 0.001}."""
    one = number(0, 1000)
    if isinstance(value, Mapping):
        return ByOptimizer({str(key): one(f"{key} in {what}", v) for key, v in value.items()})
    return one(what, value)


BASE: float | str = "base"


def target(what: str, value: object) -> float | str:
    """An accuracy to be reached: a share above 0, or "base", or "none"."""
    if value in ("base", "none"):
        return str(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise UsageError(
            f'{what} is an accuracy above 0 and up to 1, or "base" (where the base arm ends), or '
            f'"none", got {shown(value)}'
        )
    return float(value)


def truth(what: str, value: object) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise UsageError(f"{what} is true or false, got {shown(value)}")
    return value


def steps(what: str, value: object) -> tuple[int, ...]:
    """Step numbers, rising; an empty list for none."""
    if not isinstance(value, list | tuple):
        raise UsageError(f"{what} is a list of step numbers, got {shown(value)}")
    found = tuple(whole(1, 100_000_000)(what, one) for one in value)
    if list(found) != sorted(set(found)):
        raise UsageError(f"{what} must rise from step to step, got {shown(value)}")
    return found


ELSEWHERE = {
    "validation": "a study holds out samples to choose rates and strengths, [tuning] validation = 1000",
    "keep": "a study compares all networks at the same moments, and does not go back to earlier weights",
    "replicas": "a study trains one network for each seed, seeds = 20 at the top",
    "seed": "a study's first seed is first_seed = 0 at the top",
    "shuffle": "every network has the batches of its own seed, the same in every arm",
    "metrics": "the metrics of a study are listed in [measure] metrics",
    "metrics_every": "a study measures at the moments in [measure] steps and every",
    "backend": "the backend of a study is chosen by the flag --backend",
}
"""Flags of train that are no keys of [train], and what a study has in place of each."""


@dataclass(frozen=True)
class Training:
    """One way to train, without the seed. None stands for a default that depends on another setting.

    like_train: the field has the default, the bounds and the help of train's setting (runs/config.py).
    """

    LATER: ClassVar = ("label_smoothing", "class_weights", "clip")
    """Keys that older studies do not have. At their defaults they are left out of every digest, so that an
    older study can be resumed."""

    data: str = like_train("data")
    n_train: int | None = setting(
        None, maybe(whole(1, 10_000_000)), "N", "only the first N training samples, in class shares"
    )
    n_test: int | None = setting(
        None, maybe(whole(1, 10_000_000)), "N", "the same for the test part"
    )
    inputs: str = like_train("inputs")
    hidden: tuple[int, ...] = like_train("hidden")
    activation: str = like_train("activation", "relu")
    init: str = like_train("init")
    technique: tuple[str, ...] = setting(
        (), words(""), "SPEC", "techniques, as for train; {strength} stands for the tuned number"
    )
    strength: float | None = setting(None, maybe(number(0, 1e9)), "X", "the number for {strength}")
    loss: str = setting("cross-entropy", text, "NAME", "loss of the outputs, which are classes")
    label_smoothing: float = like_train("label_smoothing")
    class_weights: str | tuple[float, ...] | None = like_train("class_weights")
    optimizer: str = like_train("optimizer")
    lr: float | ByOptimizer | None = setting(  # noqa: RUF009
        None, maybe(rate), "RATE", "learning rate, one number or a table by optimizer"
    )
    weight_decay: float | None = setting(
        None, maybe(number(0, 1000)), "DECAY", "decay of the weights (default: the optimizer's)"
    )
    clip: float | None = setting(
        None, maybe(number(1e-12, 1e12)), "NORM", "the largest norm of a network's whole gradient"
    )
    schedule: str = like_train("schedule")
    batch_size: int = setting(
        USUAL_BATCH, whole(1, 10_000_000), "B", "samples per step, at most the training set"
    )
    epochs: int = setting(
        EPOCHS, whole(1, 1_000_000), "N", "passes over the training set (default: as for train)"
    )
    head_start: int = setting(
        0, whole(0, 1000), "N", "epochs of training that are not counted, before step 0"
    )
    dtype: str = like_train("dtype")


@dataclass(frozen=True)
class Measure:
    """What is measured of each network, and when."""

    steps: tuple[int, ...] = setting((50, 100, 200), steps, "N,...", "steps after which to measure")
    every: int = setting(1, whole(1, 1_000_000), "N", "epochs between two further measurements")
    metrics: tuple[str, ...] = setting(
        ("correlation", "weight_cosine", "effective_rank", "dead_fraction"),
        words(","),
        "NAME,...",
        "diversity metrics, measured at the same moments",
    )
    early: int = setting(
        5, whole(1, 1000), "N", "the primary readout is the mean over epochs 1 to N"
    )
    target: float | str = setting(
        BASE,
        target,
        "ACCURACY",
        'accuracy to reach, the steps until then are counted; "base": where the base arm ends; "none"',
    )
    success: float = setting(
        1.0, number(0, 1), "ACCURACY", "a trial that ends here or above is a success"
    )
    readouts: tuple[str, ...] = setting(
        (), words(","), "NAME,...", "readouts in the tables (default: all that the trials allow)"
    )


@dataclass(frozen=True)
class Tuning:
    """How rates and strengths are chosen: the same grid and the same number of trials for every arm, other
    seeds and other samples than the comparisons."""

    rates: tuple[float, ...] = setting(
        (0.1, 0.3, 1.0, 3.0, 10.0), numbers(0, 1e6), "X,...", "factors on an arm's own rate"
    )
    strengths: tuple[float, ...] = setting(
        (0.1, 1.0, 10.0), numbers(0, 1e6), "X,...", "factors on an arm's own strength"
    )
    seeds: int = setting(2, whole(1, 10_000), "N", "tuning seeds per candidate, at the least")
    validation: int = setting(
        1000,
        whole(0, 1_000_000),
        "N",
        "training samples held out to choose on; with 0 the training part itself is used",
    )


@dataclass(frozen=True)
class Controls:
    """Comparisons whose result is known: if the study does not find it, its other results are not valid
    either."""

    aa: bool = setting(True, truth, "", "the base arm against itself under other seeds: no effect")
    planted: bool = setting(
        True, truth, "", "the base arm with one epoch's head start: an effect that must be found"
    )
