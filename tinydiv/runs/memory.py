"""How much memory a run needs, computed before it begins; what does not fit at once is trained in groups.

Besides the data, a network needs memory for its weights and moments as long as the run lasts; for its
gradient and its weights before the step (divergence.py) while it is trained; and for what the layers
compute on EVALUATION_ROWS samples while it is evaluated. In groups (workers.py) the last two are needed
for a few networks at a time.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import numpy as np

from tinydiv import loop, optimizers
from tinydiv.errors import RunError
from tinydiv.runs.config import TrainConfig
from tinydiv.settings import rounded

SHARE = 0.8
"""Share of the machine's memory that a run may take without --memory."""
BASE = 150 * 2**20
"""Bytes of Python, NumPy and other small objects in one process."""


def machine() -> int | None:
    """Bytes that this machine (or the container around this process) has; None where it is not known."""
    found = []
    with suppress(AttributeError, ValueError, OSError):
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    with suppress(ValueError, OSError):  # "max" where there is no limit
        found.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(found, default=None)


def needed(
    config: TrainConfig, sizes: Sequence[int], data: int, in_groups: int | None = None
) -> int:
    """Bytes of a run on `data` bytes of samples; in_groups: how many networks are worked on at a time, None
    for all."""
    number = np.dtype(config.dtype).itemsize
    parameters = sum((n_in + 1) * n_out for n_in, n_out in pairwise(sizes))
    lasting = 1 + len(optimizers.get(config.optimizer).moment_names)
    if config.keep == "best":
        lasting += 2  # the best weights so far, and a copy of them while a checkpoint is written
    some = config.replicas if in_groups is None else min(in_groups, config.replicas)
    shown = min(some, loop.evaluated_at_once(sizes))
    # Z and A of every hidden layer; outputs, targets as rows, and what a loss makes of them.
    row = sizes[0] / max(shown, 1) + 2 * sum(sizes[1:-1]) + 6 * sizes[-1]
    numbers = config.replicas * lasting * parameters + some * 2 * parameters
    numbers += int(shown * max(loop.EVALUATION_ROWS, config.batch_size or 0) * row)
    return BASE + data + number * numbers


def fits_at_once(
    config: TrainConfig, sizes: Sequence[int], data: int, budget: float | None, group: int | None
) -> bool:
    """Whether a run fits when all its networks are trained at once, not in groups.

    budget: GiB (--memory), None for a share of the machine's. group: networks in a group, None where they
    must be trained at once. Raises RunError if it fits neither way.
    """
    has = machine()
    limit = None if has is None else SHARE * has
    if budget is not None:
        limit = budget * 2**30
    if limit is None or needed(config, sizes, data) <= limit:
        return True
    least = needed(config, sizes, data, group)
    if least <= limit:
        return False
    allowed = f"this machine has {(has or 0) / 2**30:,.1f}, of which a run takes {SHARE:.0%}"
    if budget is not None:
        allowed = f"--memory allows {rounded(budget, 6)}"
    raise RunError(
        f"{config.replicas:,} networks {'-'.join(map(str, sizes))} need {least / 2**30:,.1f} GiB and "
        f"{allowed}: choose fewer --replicas or smaller --hidden layers"
    )
