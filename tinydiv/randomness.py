"""Random numbers that are drawn before training: on the host, by NumPy, for every backend alike.

Starts and shuffles are drawn here and then moved, so equal seeds give equal networks on every
backend, bit for bit. Each purpose has a stream of its own: another initializer does not change the
order of the batches, and a technique that draws does not change the start. What is drawn *during*
training (masks, redraws) comes from philox.py, which needs no host.

Replica r of a run with seed s is the network of seed s + r: train it alone with that seed and it
starts the same.
"""

from collections.abc import Sequence

import numpy as np

from tinydiv.errors import UsageError

PURPOSES = ("start", "shuffle", "mask", "redraw", "noise", "split", "probe", "toy")
"""What random numbers are for. The position is part of the stream's key: append only."""


def seed_sequence(seed: int, purpose: str) -> np.random.SeedSequence:
    """The stream of one seed for one purpose: the child that SeedSequence(seed).spawn would give.

    Raises UsageError for a seed that is not a whole number from 0 up.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise UsageError(f"a seed is a whole number from 0 up, got {seed!r}")
    return np.random.SeedSequence(int(seed), spawn_key=(PURPOSES.index(purpose),))


def generator(seed: int, purpose: str) -> np.random.Generator:
    """A NumPy generator for one seed and purpose."""
    return np.random.default_rng(seed_sequence(seed, purpose))


def replica_seeds(seed: int | Sequence[int], replicas: int | None) -> list[int]:
    """One seed per network: s, s + 1, ... from one number, or the list that was given.

    Raises UsageError if a list has another length than there are networks.
    """
    count = 1 if replicas is None else replicas
    if isinstance(seed, int | np.integer):
        return [int(seed) + r for r in range(count)]
    seeds = [int(s) for s in seed]
    if len(seeds) != count:
        raise UsageError(f"{count} networks need {count} seeds, got {len(seeds)}")
    return seeds


def permutation(seed: int, epoch: int, n: int) -> np.ndarray:
    """The order of n samples in one epoch. Each epoch has a stream of its own, so a resumed run
    continues with the same order without replaying the earlier ones."""
    parent = seed_sequence(seed, "shuffle")
    child = np.random.SeedSequence(parent.entropy, spawn_key=(*parent.spawn_key, epoch))
    return np.random.default_rng(child).permutation(n)


def permutations(seeds: Sequence[int], epoch: int, n: int) -> np.ndarray:
    """One order per seed, (seeds, n), in 32 bits: thousands of them go to a GPU at once."""
    return np.stack([permutation(seed, epoch, n).astype(np.int32) for seed in seeds])
