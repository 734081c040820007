"""How a rate or a strength changes over training: a factor between 0 and 1 for every step.

`factor(step, total)` is plain Python on the host and depends on nothing but the two numbers, so a
resumed run continues exactly. step counts from 0, total is the number of steps planned.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from tinydiv.errors import UsageError, check_known


def constant(step: int, total: int) -> float:
    """The factor is 1 throughout."""
    return 1.0


def linear(step: int, total: int) -> float:
    """1 - t/T: it falls to 0 in a straight line."""
    return max(0.0, 1.0 - step / max(total, 1))


def cosine(step: int, total: int) -> float:
    """(1 + cos(pi t/T)) / 2: it falls to 0 slowly, fast, slowly (Loshchilov and Hutter, ICLR 2017)."""
    return 0.5 * (1.0 + math.cos(math.pi * min(step / max(total, 1), 1.0)))


SHAPES: dict[str, Callable[[int, int], float]] = {
    "constant": constant,
    "linear": linear,
    "cosine": cosine,
}


@dataclass(frozen=True)
class Schedule:
    """A shape, optionally after a warm-up: "cosine", "linear:warmup=100", "constant:warmup=50".

    During the first `warmup` steps the factor rises in a straight line, (t + 1) / warmup; the shape
    runs over the steps that remain.
    """

    shape: str = "constant"
    warmup: int = 0

    def __call__(self, step: int, total: int) -> float:
        if step < self.warmup:
            return (step + 1) / self.warmup
        return SHAPES[self.shape](step - self.warmup, total - self.warmup)

    def __str__(self) -> str:
        return self.shape if not self.warmup else f"{self.shape}:warmup={self.warmup}"


def parse(text: "str | Schedule") -> Schedule:
    """Read "shape" or "shape:warmup=STEPS". Raises UsageError for anything else."""
    if isinstance(text, Schedule):
        return text
    shape, colon, rest = text.partition(":")
    check_known("schedule", shape, SHAPES)
    if not colon:
        return Schedule(shape)
    key, _, value = rest.partition("=")
    if key != "warmup" or not value.isdecimal():
        raise UsageError(
            f"a schedule is SHAPE or SHAPE:warmup=STEPS with a whole number of steps, got {text!r}"
        )
    return Schedule(shape, int(value))
