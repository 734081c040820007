"""Where the time of a training step goes: processor time of its parts, on one core.

Each part runs alone on the arrays of a step, so its numbers lie in the cache more often than in the whole
step: the parts add up to less. "loop" is a step of loop.train, with its guard, records and frame.
"""

import time
from collections.abc import Callable

from tinydiv import loop, optimizers
from tinydiv.backend import matmul, matmul_by_rows, xp
from tinydiv.data.dataset import Dataset
from tinydiv.initializers import initialize
from tinydiv.layers import Context
from tinydiv.losses import cross_entropy
from tinydiv.mlp import MLP

from .job import Job
from .ours import Ours

JOBS = [
    Job(1),
    Job(32),
    Job(32, optimizer="sgd"),
    Job(32, batch=32),
    Job(32, batch=256),
    Job(32, (784, 64, 10)),
]
"""With 256 networks each process trains blocks of 32."""
SAMPLE = 0.01
"""Seconds of one measurement."""


def parts(job: Job, turns: int) -> dict[str, float]:
    """Microseconds per step and network by part, the least of so many turns."""
    one = Ours(job)
    one.steps(3)
    net, rows = one.net, one.order[0]

    def gather() -> tuple[object, object]:
        X = xp.multiply(xp.take(one.images, rows, axis=0), 1 / 255, dtype=job.dtype)
        return X, xp.take(one.labels, rows, axis=0)

    X, Y = gather()
    trace = net.forward(X, Context(training=True))
    _, dlogits = cross_entropy(trace.logits, Y)
    works: dict[str, Callable[[], object]] = {
        "gathering": gather,
        "forward": lambda: net.forward(X, Context(training=True)),
        "of it the first product": lambda: matmul(X, net.W[0]),
        "loss": lambda: cross_entropy(trace.logits, Y),
        "backward": lambda: net.backward(trace, dlogits),
        "of it the first layer's product": lambda: matmul_by_rows(
            trace.A[0].mT, trace.Z[0], net.dW[0]
        ),
        "optimizer": one.optimizer.step,
    }
    n, looped = len(one.order), Looped(job)
    counts = {
        name: max(1, int(SAMPLE / max(seconds(work, 3), 1e-7))) for name, work in works.items()
    }
    each: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(turns):
        for name, work in works.items():
            each[name].append(seconds(work, counts[name]))
        each.setdefault("whole step", []).append(seconds(lambda: one.steps(n), 1) / n)
        each.setdefault("step of the loop", []).append(looped.step())
    return {name: 1e6 * min(found) / job.replicas for name, found in each.items()}


def seconds(work: Callable[[], object], n: int) -> float:
    """Processor time of one call, over n of them."""
    began = time.process_time()
    for _ in range(n):
        work()
    return (time.process_time() - began) / n


class Looped:
    """The job in loop.train, an epoch at a time."""

    def __init__(self, job: Job) -> None:
        few = slice(job.batch)
        names = tuple(map(str, range(job.sizes[-1])))
        parts = (job.images, job.labels, job.images[few], job.labels[few])
        self.job, self.data = job, loop.DeviceData(Dataset("bench", *parts, names), job.dtype)
        self.net = MLP(
            job.sizes, replicas=None if job.replicas == 1 else job.replicas, dtype=job.dtype
        )
        initialize(self.net, "he-normal", seed=0)
        self.optimizer = optimizers.get(job.optimizer)(self.net, lr=job.rate)

    def step(self) -> float:
        """Processor time of a step, over an epoch's; evaluation and records left out."""
        ends: list[float] = []
        loop.train(
            *(self.net, self.data, self.optimizer),
            epochs=1,
            batch_size=self.job.batch,
            metrics=(),
            on_step=lambda step, total: ends.append(time.process_time()),
        )
        return (ends[-1] - ends[0]) / (len(ends) - 1)
