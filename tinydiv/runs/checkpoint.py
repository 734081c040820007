"""The state of a run in one file: written after every epoch, and enough to continue to the same bits.

    theta                     all weights, (P,) or (R, P)
    optimizer.m, .v, .steps   moments and the step count
    techniques.*              the state of techniques, plateaus and layers
    guard.*                   which networks diverged, and where
    loop.sum_loss, loop.sums.*    losses and penalties of the epoch in progress, summed
    loop.between.*            metrics measured since the last record, a row per moment
    loop.best.*               with keep="best": the weights of each network's best epoch, and which it is
    records                   the records so far, as JSON in bytes
    metadata                  a JSON string: epoch, step, seconds, and the settings of the run

No state of random numbers is kept: shuffles are drawn from (seed, epoch), masks from (seed, step).
"""

import json
import operator
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from tinydiv import schedules
from tinydiv.backend import Array, to_device, xp
from tinydiv.divergence import Guard
from tinydiv.errors import UsageError
from tinydiv.files import npz, read
from tinydiv.loop import Loop, Record
from tinydiv.mlp import MLP
from tinydiv.optimizers import Optimizer
from tinydiv.runs.config import TrainConfig
from tinydiv.techniques import Techniques, place

NAME = "checkpoint.npz"
FORMAT = "tinydiv checkpoint 1"

WORKED_OUT = ("activation", "loss", "lr", "epochs", "weight_decay", "batch_size", "metrics")
"""Settings whose default follows from other settings and the data (filled_in of build.py)."""


@dataclass
class Standing:
    """Everything that changes while a run is trained."""

    net: MLP
    optimizer: Optimizer
    techniques: Techniques
    guard: Guard
    loop: Loop


def save_checkpoint(path: Path, now: Standing, config: Mapping[str, object]) -> None:
    """Write the state of a run; only between two steps, where all parts have the same step.

    Raises RunError if the file cannot be written (the previous one is then kept), UsageError if a
    technique's state() holds something that is not a number.
    """
    loop = now.loop
    arrays: dict[str, Array] = {"theta": now.net.theta}
    arrays |= _named("optimizer", now.optimizer.state())
    arrays |= _named("techniques", now.techniques.state())
    arrays |= _named("guard", now.guard.state())
    if loop.sum_loss is not None:
        arrays["loop.sum_loss"] = loop.sum_loss
    arrays |= _named("loop.sums", loop.sums)
    arrays |= _named("loop.best", loop.best)
    arrays |= {f"loop.between.{key}": xp.stack(rows) for key, rows in loop.between.items()}
    records = json.dumps([asdict(record) for record in loop.records])
    arrays["records"] = np.frombuffer(records.encode(), dtype="uint8")
    metadata = {
        "format": FORMAT,
        "epoch": loop.epoch,
        "first_epoch": loop.first_epoch,
        "first_step": loop.first_step,
        "step": loop.step,
        "seconds": loop.seconds,
        "between_steps": loop.between_steps,
        "config": dict(config),
    }
    npz.write(path, arrays, metadata)


def load_checkpoint(path: Path, now: Standing, config: Mapping[str, object]) -> None:
    """Bring a freshly built run to the state in the file.

    Raises UsageError if the file belongs to other settings, RunError if it is damaged.
    """
    with read.reading(path, "delete its folder and start that run again"):
        arrays, facts = read.npz_arrays(path, FORMAT)
        before = dict(facts["config"])
    # A file from before a setting existed was made with its default, worked out then as it is now.
    usual = json.loads(json.dumps(asdict(TrainConfig())))
    wanted = usual | json.loads(json.dumps(dict(config)))
    before = usual | {key: wanted[key] for key in WORKED_OUT} | before
    if goes_on(before, config):
        before["epochs"] = config["epochs"]
    refuse_changes(before, wanted, f"{path} was made")

    part = partial(read.part, arrays)
    with read.reading(path, "delete its folder and start that run again"):
        if arrays["theta"].shape != now.net.theta.shape:
            raise ValueError(f"theta has shape {arrays['theta'].shape}")
        now.net.theta[...] = to_device(read.refuse_nan("theta", arrays["theta"]))
        now.optimizer.load_state(part("optimizer."))
        now.techniques.load_state(part("techniques."))
        now.guard.load_state(part("guard."))
        loop = now.loop
        loop.epoch, loop.step = operator.index(facts["epoch"]), operator.index(facts["step"])
        loop.seconds = float(facts["seconds"])
        loop.first_epoch = facts.get("first_epoch", 0)
        loop.first_step = facts.get("first_step", 0)
        loop.records[:] = [Record(**r) for r in json.loads(arrays["records"].tobytes())]
        loop.sum_loss = to_device(arrays["loop.sum_loss"]) if "loop.sum_loss" in arrays else None
        loop.sums = {name: to_device(value) for name, value in part("loop.sums.").items()}
        loop.best = {name: to_device(value) for name, value in part("loop.best.").items()}
        loop.between_steps = [operator.index(s) for s in facts.get("between_steps", [])]
        loop.between = {name: list(to_device(v)) for name, v in part("loop.between.").items()}


def goes_on(before: Mapping[str, object], now: Mapping[str, object]) -> bool:
    """Whether settings name more epochs than before, and nothing depends on how many are planned."""
    epochs = [settings.get("epochs") for settings in (before, now)]
    longer = all(isinstance(n, int) for n in epochs) and epochs[0] < epochs[1]  # type: ignore[operator]
    return longer and horizon(before) is None


def horizon(config: Mapping[str, object]) -> str | None:
    """The first setting of a run that depends on how many epochs are planned; None if none does."""
    schedule = schedules.parse(str(config["schedule"]))
    if schedule.shape != "constant":
        return f"schedule {schedule}"
    for spec in config["technique"]:  # type: ignore[attr-defined]
        placed = place(spec)
        if placed.shape in ("linear", "cosine") and not placed.steps:
            return f"technique {spec}"
    return None


def refuse_changes(before: Mapping[str, object], now: Mapping[str, object], made: str) -> None:
    """Raise UsageError for the first setting that differs: a resumed run must keep its settings."""
    for key in [*before, *now]:
        if before.get(key) != now.get(key):
            raise UsageError(
                f"{made} with {key} = {json.dumps(before.get(key))}, not "
                f"{json.dumps(now.get(key))}: a resumed run keeps its settings"
            )


def _named(prefix: str, state: Mapping[str, Array]) -> dict[str, Array]:
    return {f"{prefix}.{key}": value for key, value in state.items()}
