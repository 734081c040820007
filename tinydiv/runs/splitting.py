"""Whether the networks of a run may be trained in groups, and in how many processes (by workers.py)."""

from dataclasses import replace
from itertools import pairwise
from math import prod

from tinydiv.data.catalogue import FULL_SETS
from tinydiv.runs.config import USUAL_BATCH, TrainConfig, usual_epochs
from tinydiv.runs.processes import cores
from tinydiv.techniques import place

GROUP = 32
"""The most networks that are trained together where a run is split."""
FEWEST = 16
"""With fewer networks than this, starting a process takes longer than it saves."""
PAYS = 1.5
"""Seconds of work below which one process is as fast, because starting others takes time."""
SECONDS = 1e-10
"""Seconds of one core per sample, step and weight (Adam): 784-16-10, batch 64: 80 us per step."""


def reason_against_split(config: TrainConfig) -> str | None:
    """Why the networks of a run must be trained in one process; None if they need not be."""
    if config.backend != "numpy":
        return f"the backend is {config.backend}"
    for spec in config.technique:
        technique = place(spec).technique
        if getattr(technique, "fewest_networks", 1) > 1:
            return f"{technique.name} lets networks depend on each other"
        if getattr(technique, "place", None) == "inputs":
            return f"{technique.name} learns from inputs that networks share"
    return None


def separable(config: TrainConfig) -> bool:
    """Whether a run may be split without --workers: a technique in the user's own file may use all networks
    at once."""
    return reason_against_split(config) is None and not any(
        ".py" in spec for spec in config.technique
    )


def usual(config: TrainConfig, weights: int, steps: int) -> int:
    """How many processes to use: one for a short run, for few networks, or where a run cannot be split.

    weights: of one network. steps: that are left.
    """
    if not separable(config):
        return 1
    work = SECONDS * config.replicas * weights * (config.batch_size or 1) * steps
    return max(1, min(cores(), config.replicas // FEWEST)) if work > PAYS else 1


def usual_before_reading(config: TrainConfig) -> int:
    """The same before the data are read, so that processes load their modules meanwhile: for the full image
    sets, whose size is known and which take long to read; 1 for all others."""
    if config.data not in FULL_SETS:
        return 1
    images = FULL_SETS[config.data]
    n, *image = images.files[0].shape
    sizes = [prod(image), *config.hidden, len(images.classes)]
    weights = sum((a + 1) * b for a, b in pairwise(sizes))
    epochs = usual_epochs(config.data) if config.epochs is None else config.epochs
    batch = config.batch_size or USUAL_BATCH
    steps = epochs * (round((1 - config.validation) * n) // batch)
    return usual(replace(config, batch_size=batch), weights, steps)


def split(replicas: int, count: int) -> list[range]:
    """Groups of at most GROUP networks, as many for each of `count` processes, of nearly equal size."""
    groups = count * -(-replicas // (count * GROUP))
    ends = [replicas * i // groups for i in range(groups + 1)]
    return [range(a, b) for a, b in pairwise(ends) if a < b]
