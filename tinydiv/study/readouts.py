"""From a curve to numbers: the readouts of a network, by name.

    step100           test accuracy after 100 steps
    epoch1            test accuracy after epoch 1
    early             mean test accuracy over epochs 1 to 5 (measure.early): primary by default
    final             test accuracy at the end
    success           1 if the trial ends at measure.success or above, else 0
    reached           1 if the trial ever passes the target accuracy, else 0
    steps_to_target   steps until it does, interpolated linearly between two measurements
    seconds_to_target the same in seconds: steps times the arm's time per step (cost.py); not tested, since
                      that time was measured once per arm, and its error would be in every seed
    plateau           steps until the test loss is a tenth below that of the best constant prediction
    METRIC@step100    a diversity metric at that moment; METRIC@epoch1, METRIC@final

A network that diverged has no numbers, except 0 for success and reached.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tinydiv.errors import check_known
from tinydiv.stats import Floats
from tinydiv.study.keys import Measure, Training
from tinydiv.study.store import Curve

PLATEAU_SHARE = 0.9
"""A plateau ends when the loss falls below this share of the best constant prediction's."""
NAN = float("nan")


@dataclass(frozen=True)
class Circumstances:
    """What a readout needs in addition to the curve."""

    measure: Measure
    target: float = NAN
    constant_loss: float = NAN
    """The loss of the best constant prediction: the entropy of the test labels."""
    seconds_per_step: float = NAN


@dataclass(frozen=True)
class Readout:
    """A readout's name and its title in tables. A table shows scale * value, in this unit."""

    name: str
    title: str
    unit: str = "points"
    scale: float = 100.0
    lower_is_better: bool = False
    timed: bool = False
    """Whether it depends on the machine's speed: such a readout is shown, and not tested."""

    @property
    def is_count(self) -> bool:
        """Whether the value of each trial is 0 or 1."""
        return self.name in ("success", "reached")

    def read(self, curve: Curve, here: Circumstances) -> float:
        """The number, NaN where there is none."""
        if curve.diverged:
            return 0.0 if self.is_count else NAN
        return value(self.name, curve, here)


def readouts_of(training: Training, measure: Measure, per_epoch: int) -> list[Readout]:
    """Every readout that trials of this kind allow, in the order of tables."""
    total = training.epochs * per_epoch
    measured = {e for e in range(1, training.epochs + 1) if e % measure.every == 0}
    early = [e for e in sorted({*measured, training.epochs}) if e <= measure.early]
    steps = [s for s in measure.steps if s <= total]
    found = [Readout(f"step{s}", f"after {s} steps") for s in steps]
    found += [Readout(f"epoch{e}", f"after epoch {e}") for e in early]
    if early:
        span = f"epochs {early[0]} to {early[-1]}" if len(early) > 1 else f"epoch {early[0]}"
        found.append(Readout("early", f"mean over {span}"))
    found.append(Readout("final", f"at the end, after epoch {training.epochs}"))
    found.append(Readout("success", f"share that ends at {measure.success:.4g} or above"))
    if measure.target != "none":
        found.append(Readout("reached", "share that reaches the target"))
        found.append(Readout("steps_to_target", "steps to the target", "steps", 1.0, True))
        title = "seconds to the target (not tested)"
        found.append(Readout("seconds_to_target", title, "seconds", 1.0, True, timed=True))
    if training.loss == "cross-entropy":
        found.append(Readout("plateau", "steps on the first plateau", "steps", 1.0, True))
    hidden = len(training.hidden)
    for metric in measure.metrics if hidden else ():
        for layer in range(1, hidden + 1):
            name = metric if hidden == 1 else f"{metric}.{layer}"
            moments = [f"step{s}" for s in steps] + (["epoch1"] if 1 in early else []) + ["final"]
            lower = metric not in ("effective_rank", "participation_ratio", "stable_rank")
            found += [
                Readout(f"{name}@{moment}", f"{name} @ {moment}", "", 1.0, lower)
                for moment in moments
            ]
    if measure.readouts:
        known = {readout.name: readout for readout in found}
        for name in measure.readouts:
            check_known("readout", name, known)
        found = [known[name] for name in measure.readouts]
    return found


def value(name: str, curve: Curve, here: Circumstances) -> float:
    """A readout by name from a curve that did not diverge."""
    accuracy = curve.values["test_accuracy"]
    if "@" in name:
        metric, _, moment = name.partition("@")
        return at(moment, curve, curve.values[metric]) if metric in curve.values else NAN
    if name == "early":
        chosen = (curve.epoch >= 1) & (curve.epoch <= here.measure.early)
        return float(np.mean(accuracy[chosen])) if chosen.any() else NAN
    if name == "success":
        return float(at("final", curve, accuracy) >= here.measure.success - 1e-9)
    if name == "reached":
        return float(np.isfinite(first_crossing(curve.step, accuracy, here.target)))
    if name == "steps_to_target":
        return first_crossing(curve.step, accuracy, here.target)
    if name == "seconds_to_target":
        return first_crossing(curve.step, accuracy, here.target) * here.seconds_per_step
    if name == "plateau":
        threshold = PLATEAU_SHARE * here.constant_loss
        return first_crossing(curve.step, -curve.values["test_loss"], -threshold)
    return at(name, curve, accuracy)


def at(moment: str, curve: Curve, values: Floats) -> float:
    """A value at "step100", "epoch1" or "final"; NaN if nothing was measured then."""
    if moment == "final":
        chosen: Sequence[int] = np.flatnonzero(curve.epoch == np.max(curve.epoch)).tolist()
    elif moment.startswith("step"):
        chosen = np.flatnonzero(curve.step == int(moment[4:])).tolist()
    else:
        chosen = np.flatnonzero(curve.epoch == int(moment[5:])).tolist()
    return float(values[chosen[0]]) if chosen else NAN


def first_crossing(steps: Floats, values: Floats, threshold: float) -> float:
    """The step at which values first reach a threshold, interpolated linearly; NaN if they never do."""
    if not np.isfinite(threshold):
        return NAN
    above = np.flatnonzero(values >= threshold)
    if not len(above):
        return NAN
    i = int(above[0])
    if i == 0:
        return float(steps[0])
    rise = float(values[i] - values[i - 1])
    share = (threshold - float(values[i - 1])) / rise if rise > 0 else 1.0
    return float(steps[i - 1] + share * (steps[i] - steps[i - 1]))
