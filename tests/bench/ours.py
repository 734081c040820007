"""The job in tinydiv: the training loop in this process, or many networks in one process per core."""

import multiprocessing
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from tinydiv import backend, optimizers
from tinydiv.backend import to_device, to_host, xp
from tinydiv.layers import Context
from tinydiv.losses import cross_entropy
from tinydiv.mlp import MLP
from tinydiv.runs.processes import spawning
from tinydiv.runs.splitting import split
from tinydiv.techniques import Techniques, layers_of

from .job import Floats, Job


class Ours:
    """Some networks of a job; specs: techniques that act in every step."""

    def __init__(self, job: Job, networks: range | None = None, specs: Sequence[str] = ()) -> None:
        self.job, self.at = job, 0
        specs = specs or [job.technique] * bool(job.technique)
        rows = networks or range(job.replicas)
        alone = job.replicas == 1
        many = None if alone else len(rows)
        self.net = MLP(job.sizes, replicas=many, dtype=job.dtype, layers=layers_of(specs))
        for l, (W, b) in enumerate(zip(*job.start, strict=True)):
            some = 0 if alone else slice(rows.start, rows.stop)
            self.net.W[l], self.net.b[l] = W[some], b[some]
        self.images, self.order = to_device(job.images), to_device(job.order)
        self.labels = to_device(job.labels.astype("int32"))
        self.optimizer = optimizers.get(job.optimizer)(self.net, lr=job.rate)
        probe = self.images[:512].astype(job.dtype) / 255
        self.techniques = (
            Techniques(self.net, specs, self.optimizer, probe_inputs=probe, total=1000)
            if specs
            else None
        )

    def steps(self, n: int) -> Floats:
        """The training loop by hand, as in tinydiv/README.md."""
        net, techniques, losses = self.net, self.techniques, []
        for _ in range(n):
            rows = self.order[self.at % len(self.order)]
            X = xp.multiply(xp.take(self.images, rows, axis=0), 1 / 255, dtype=self.job.dtype)
            Y = xp.take(self.labels, rows, axis=0)
            trace = net.forward(X, Context(training=True, step=self.at))
            loss, dlogits = cross_entropy(trace.logits, Y)
            if techniques is None:
                net.backward(trace, dlogits)
                self.optimizer.step()
            else:
                step = techniques.backward(techniques.step(trace, Y, loss, dlogits, self.at))
                self.optimizer.step()
                techniques.after_update(step)
            losses.append(loss)
            self.at += 1
        return np.asarray(to_host(xp.stack(losses)).reshape(n, -1))


class InProcesses:
    """Blocks of networks in one process per core, as train --workers has them."""

    def __init__(self, job: Job, count: int) -> None:
        context = multiprocessing.get_context("spawn")
        blocks = split(job.replicas, count)
        self.blocks, self.lines, self.processes = blocks, [], []
        with spawning():
            for w in range(min(count, len(blocks))):
                here, there = context.Pipe()
                args = (there, job, blocks[w::count])
                process = context.Process(target=serve, args=args, daemon=True)
                process.start()
                there.close()
                self.lines.append(here)
                self.processes.append(process)
        self.steps(0)

    def steps(self, n: int) -> Floats:
        """All processes take n steps with each of their blocks."""
        for line in self.lines:
            line.send(n)
        each = [line.recv() for line in self.lines]
        parts = [each[i % len(each)][i // len(each)] for i in range(len(self.blocks))]
        return np.concatenate(parts, axis=1)

    def close(self) -> None:
        """End the processes."""
        for line, process in zip(self.lines, self.processes, strict=True):
            line.close()
            process.join()


def serve(line: Connection, job: Job, blocks: list[range]) -> None:
    """The loop of a process: take as many steps as each message requests, until the connection is
    closed."""
    backend.use("numpy")
    mine = [Ours(job, block) for block in blocks]
    empty = np.zeros((0, 0), dtype=np.float32)
    while True:
        try:
            n = line.recv()
        except EOFError:
            return
        line.send([one.steps(n) if n else empty[:, : len(one.net.theta)] for one in mine])


def ours(job: Job, count: int) -> dict[str, Callable[[], Any]]:
    """tinydiv in one process, and in several where there are networks for them."""
    found: dict[str, Callable[[], Any]] = {"tinydiv": lambda: Ours(job)}
    if count > 1 and job.replicas > 1:
        found[f"tinydiv, {count} processes"] = lambda: InProcesses(job, count)
    return found
