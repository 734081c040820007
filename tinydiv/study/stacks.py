"""Which trials share one array of networks, and how many fit: in the cache of a core, on a GPU.

Trials of one kind (Trial.kind) may share one array; start, rate, strength and seed may differ. If a seed
has many trials of a kind, an array holds the networks of one seed, which share its batches. If it has few,
an array holds several seeds, and every network gets its own batches, which takes a fifth more time, and
memory for the batches.

How trials are divided into stacks has no effect on results (equal to the last bit on a CPU, up to rounding
on a GPU), so it may depend on the machine.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from tinydiv import optimizers
from tinydiv.backend import name as backend_name
from tinydiv.backend import xp
from tinydiv.loop import EVALUATION_ROWS, PROBE_ROWS
from tinydiv.study.keys import Training
from tinydiv.study.plan import Trial
from tinydiv.study.specification import digest

CACHE_BYTES = 4 * 2**20
"""Memory of a stack of small networks on a CPU: 16 networks 784-16-10 with SGD."""
USUAL = 16
"""Networks of a stack whose memory exceeds that: stacks of 16 to 32 were fastest (784-16-10, 784-64-10),
since an optimizer goes through its arrays in pieces that fit the cache."""
FEWEST, MOST = 4, 512
"""Networks of a stack on a CPU: with fewer, calls take most of the time; with more, a stack takes long."""
GPU_SHARE = 0.8
"""Share of a GPU's free memory that a stack may take."""
GPU_MOST = 4096
"""Networks of a stack on a GPU: with more, launches save no more time, and a stack takes longer."""
STACKS_PER_WORKER = 4
"""At least so many stacks per worker, so that no worker is idle for long at the end."""


@dataclass(frozen=True)
class Stack:
    """Trials of one kind that are trained as one array of networks."""

    trials: tuple[Trial, ...]

    @property
    def key(self) -> str:
        """A digest of its trials: the name of its file."""
        return digest([trial.key for trial in self.trials])

    @property
    def one_seed(self) -> bool:
        """Whether all its networks see the same batches."""
        return len({trial.seed for trial in self.trials}) == 1

    def halves(self) -> "list[Stack]":
        """Two stacks with half the networks each, for a machine with less memory than was reported."""
        middle = len(self.trials) // 2
        return [Stack(self.trials[:middle]), Stack(self.trials[middle:])]


def cut(trials: Sequence[Trial], size_of: Callable[[Trial], int]) -> list[Stack]:
    """Divide trials into stacks of at most size_of(trial) networks; equal trials are trained once.

    The stacks are in the order of seeds: if a study is stopped, the finished seeds are finished in (nearly)
    all arms, and can be compared.
    """
    rank = {seed: i for i, seed in enumerate(dict.fromkeys(trial.seed for trial in trials))}
    unique = {trial.key: trial for trial in trials}.values()
    ordered = sorted(unique, key=lambda trial: (trial.kind, rank[trial.seed]))
    stacks = []
    for _, group in groupby(ordered, key=lambda trial: trial.kind):
        alike = list(group)
        size = max(size_of(alike[0]), 1)
        by_seed = [list(of_seed) for _, of_seed in groupby(alike, key=lambda trial: trial.seed)]
        if (
            2 * max(map(len, by_seed)) > size
        ):  # a seed fills half a stack or more: it gets stacks of its own
            stacks += [part for of_seed in by_seed for part in even_parts(of_seed, size)]
        else:
            stacks += even_parts(alike, size)
    stacks.sort(key=lambda part: rank[part[0].seed])
    return [Stack(tuple(part)) for part in stacks]


def even_parts(trials: list[Trial], size: int) -> list[list[Trial]]:
    """Lists of at most `size` trials that differ by at most one in length."""
    count = -(-len(trials) // size)
    bounds = [round(i * len(trials) / count) for i in range(count + 1)]
    return [trials[start:stop] for start, stop in pairwise(bounds)]


def cpu_size(training: Training, n_inputs: int, n_classes: int, total: int, workers: int) -> int:
    """Networks per stack on a CPU: as many as fit in the cache, but enough stacks for every worker."""
    fit = max(USUAL, CACHE_BYTES // step_bytes(training, n_inputs, n_classes))
    return max(FEWEST, min(fit, total // (STACKS_PER_WORKER * workers), MOST))


def gpu_size(training: Training, n_inputs: int, n_classes: int, free: int) -> int:
    """Networks per stack on a GPU with so many free bytes."""
    one = network_bytes(training, n_inputs, n_classes)
    return max(1, min(int(GPU_SHARE * free) // one, GPU_MOST))


def free_gpu_bytes() -> int | None:
    """Free memory of the current GPU, that in CuPy's pool included; None on another backend."""
    if backend_name() != "cupy":
        return None
    free, _ = xp.cuda.runtime.memGetInfo()
    pool = xp.get_default_memory_pool()  # memory that earlier stacks released is free for the next
    return int(free) + int(pool.total_bytes()) - int(pool.used_bytes())


def widths(training: Training, n_inputs: int, n_classes: int) -> list[int]:
    """The sizes of the layers, [n_0, ..., n_L]."""
    return [n_inputs, *training.hidden, n_classes]


def parameters(training: Training, n_inputs: int, n_classes: int) -> int:
    """Numbers in W and b of one network."""
    sizes = widths(training, n_inputs, n_classes)
    return sum((a + 1) * b for a, b in pairwise(sizes))


def step_bytes(training: Training, n_inputs: int, n_classes: int) -> int:
    """Bytes that one network reads and writes in a training step, without its batch.

    Weights: theta, dtheta, the copy of the guard (divergence.py), the update and the optimizer's moments.
    Per sample and neuron about six numbers: Z, A, their gradients and temporaries.
    """
    moments = len(optimizers.get(training.optimizer).moment_names)
    weights = (4 + moments) * parameters(training, n_inputs, n_classes)
    activations = 6 * training.batch_size * sum(widths(training, 0, n_classes))
    return item_bytes(training) * (weights + activations)


def network_bytes(training: Training, n_inputs: int, n_classes: int) -> int:
    """The most bytes that one network needs: in a step on batches of its own, or in an evaluation."""
    batch = training.batch_size * n_inputs * (2 * item_bytes(training) + 1)
    step = step_bytes(training, n_inputs, n_classes) + batch
    rows = EVALUATION_ROWS + PROBE_ROWS
    evaluation = 3 * item_bytes(training) * rows * sum(widths(training, 0, n_classes))
    kept = 4 * item_bytes(training) * parameters(training, n_inputs, n_classes)
    return max(step, kept + evaluation)


def item_bytes(training: Training) -> int:
    """Bytes of one number."""
    return 8 if training.dtype == "float64" else 4
