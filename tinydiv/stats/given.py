"""Checks of the arguments: finite numbers on the host, as many of one arm as of the other."""

import operator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tinydiv.errors import UsageError

Floats = NDArray[np.float64]


def finite(values: ArrayLike, what: str) -> Floats:
    """The values as one float64 row. Raises UsageError for anything else."""
    try:
        row = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise UsageError(f"{what} must be plain numbers on the host, one per seed") from None
    if row.ndim != 1:
        raise UsageError(f"{what} must be one row of numbers; got shape {row.shape}")
    bad = np.flatnonzero(~np.isfinite(row))
    if len(bad):
        raise UsageError(
            f"{what}: {len(bad)} of {len(row)} values are NaN or infinite, the first at position "
            f"{bad[0]}; leave such seeds out of both arms and report how many there were"
        )
    return row


def pairs(a: ArrayLike, b: ArrayLike, names: tuple[str, str] = ("a", "b")) -> tuple[Floats, Floats]:
    """Two rows of one length, one value of each per seed. Raises UsageError if they are not."""
    first, second = finite(a, names[0]), finite(b, names[1])
    if len(first) != len(second):
        raise UsageError(
            f"pairs need one value of each per seed, but {names[0]} has {len(first)} "
            f"and {names[1]} has {len(second)}"
        )
    return first, second


def check_share(name: str, value: float) -> None:
    """Raises UsageError for a share that is not strictly between 0 and 1."""
    if not 0 < value < 1:
        raise UsageError(f"{name} is {value}, but it must lie strictly between 0 and 1, like 0.95")


def check_p_values(p: Floats) -> None:
    """Raises UsageError for a p value outside 0..1."""
    if np.any((p < 0) | (p > 1)):
        worst = p[np.argmax(np.abs(p - 0.5))]
        raise UsageError(f"p values lie between 0 and 1, but one is {worst}")


def generator_of(seed: int) -> np.random.Generator:
    """The random generator of a seed. Raises UsageError for a seed that is no whole number from 0 up."""
    try:
        return np.random.default_rng(operator.index(seed))
    except (TypeError, ValueError):
        raise UsageError(f"seed must be a whole number from 0 up; got {seed!r}") from None
