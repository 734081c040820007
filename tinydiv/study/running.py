"""What a worker does: train one block of networks from start to end, and look at them on the way.

`carry_out` is a plain function of plain data, so that any executor can run it anywhere. Everything that
a network needs comes from its own run: where it stands in the block, and beside whom, changes
nothing about it.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tinydiv import backend, losses, optimizers
from tinydiv.backend import Array, to_host
from tinydiv.divergence import Guard
from tinydiv.diversity import measure
from tinydiv.initializers import PROBE, initialize, needs_data
from tinydiv.loop import DeviceData, Record, evaluate, train
from tinydiv.mlp import MLP
from tinydiv.runs.build import assemble
from tinydiv.runs.environment import environment
from tinydiv.stats import Floats
from tinydiv.study import sharing
from tinydiv.study.blocks import Block, widths
from tinydiv.study.energy import Meter
from tinydiv.study.plan import Run, specs_for
from tinydiv.study.sharing import Source
from tinydiv.techniques import Techniques, place


@dataclass(frozen=True)
class Task:
    """A block and what a worker must know to carry it out. alone: nothing else runs on the machine,
    so that what an energy counter counts is this block's."""

    block: Block
    source: Source
    backend: str = "numpy"
    alone: bool = False


@dataclass
class Outcome:
    """What a block left behind. M moments (looks at the networks), R networks in the order of runs.

    step, epoch (M,); epoch is -1 for looks in the middle of one. values: (M, R) by name, NaN where
    nothing was measured or the network has diverged. diverged_step, diverged_layer (R,), -1 where
    it did not. facts: where and how fast it ran.
    """

    step: npt.NDArray[np.int64]
    epoch: npt.NDArray[np.int64]
    values: dict[str, Floats]
    diverged_step: npt.NDArray[np.int64]
    diverged_layer: npt.NDArray[np.int64]
    facts: dict[str, object]


def carry_out(task: Task) -> Outcome:
    """Train the networks of a block and return what was seen.

    Raises RunError if the data cannot be had here, MemoryError if the block is too large.
    """
    if backend.name() != task.backend:
        backend.use(task.backend)
    runs, shared = task.block.runs, task.block.runs[0].training
    data = sharing.on_device(task.source, shared.inputs, shared.dtype, task.backend)
    batch_size = min(shared.batch_size, data.n_train)
    order: int | list[int] = [run.seed for run in runs]
    if batch_size == data.n_train:
        order = 0  # every batch is the whole set: its order means nothing, and one serves all
    elif task.block.one_seed:
        order = runs[0].seed
    net, optimizer, techniques = build(runs, data)
    watch = Watch(runs, net, data, data.n_train // batch_size)
    meter = Meter() if task.alone else None
    train(
        *(net, data, optimizer, techniques),
        epochs=shared.head_start + shared.epochs,
        batch_size=batch_size,
        seed=order,
        loss=shared.loss,
        schedule=shared.schedule,
        metrics=runs[0].measure.metrics,
        every=runs[0].measure.every if not shared.head_start else 1,
        on_step=watch.on_step,
        on_epoch=watch.on_epoch,
        guard=watch.guard,
    )
    return watch.outcome(task, None if meter is None else meter.joules())


def build(runs: Sequence[Run], data: DeviceData) -> tuple[MLP, optimizers.Optimizer, Techniques]:
    """The networks of a block, untrained, with their optimizer and techniques."""
    shared = runs[0].training
    strengths = [run.training.strength for run in runs]
    return assemble(
        data,
        lambda net: start(net, runs, data),
        sizes=widths(shared, data.dataset.n_inputs, data.dataset.n_classes),
        activation=shared.activation,
        replicas=len(runs),
        specs=[place(spec) for spec in specs_for(shared, strengths)],
        optimizer=shared.optimizer,
        lr=[rate_of(run) for run in runs],
        weight_decay=shared.weight_decay,
        loss=shared.loss,
        seeds=[run.seed for run in runs],
    )


def rate_of(run: Run) -> float:
    """A run's learning rate."""
    assert isinstance(run.training.lr, float)
    return run.training.lr


def start(net: MLP, runs: Sequence[Run], data: DeviceData) -> None:
    """Fill every network by the start and the seed of its own run."""
    groups: dict[str, list[int]] = {}
    for r, run in enumerate(runs):
        groups.setdefault(run.training.init, []).append(r)
    for spec, rows in groups.items():
        seeds = [runs[r].seed for r in rows]
        X = data.probe(PROBE) if needs_data(spec) else None
        if len(rows) == len(runs):
            initialize(net, spec, seeds, X)
            return
        # Networks beside them start otherwise: fill a net of these alone, and copy its rows.
        part = MLP(net.sizes, net.activation, replicas=len(rows), dtype=net.dtype)
        initialize(part, spec, seeds, X)
        for i, r in enumerate(rows):
            net.theta[r, : part.n_parameters] = part.theta[i]
    for layer in net.layers:
        layer.reset_parameters()


@dataclass
class Watch:
    """Looks at the networks of a block at the moments that were asked for, and times the rest."""

    runs: Sequence[Run]
    net: MLP
    data: DeviceData
    per_epoch: int
    guard: Guard = field(init=False)

    def __post_init__(self) -> None:
        self.guard = Guard(self.net)
        training, looks = self.runs[0].training, self.runs[0].measure
        self.first = training.head_start * self.per_epoch  # the step that counts as step 0
        self.steps = {self.first + s for s in looks.steps if s % self.per_epoch}
        self.loss = losses.get(training.loss)
        self.probe = self.data.probe()
        self.moments: list[tuple[int, int, dict[str, list[float]]]] = []
        self.training_seconds, self.mark = 0.0, time.perf_counter()
        self.began = self.mark

    def on_step(self, step: int, total: int) -> None:
        """After every step: count its time; look, if this is a moment for it."""
        here = step in self.steps
        if here or step % self.per_epoch == 0:
            to_host(self.guard.alive)  # on a GPU, steps end only when the host waits for them
        now = time.perf_counter()
        self.training_seconds += now - self.mark
        if here:
            self.look(step - self.first)
        self.mark = time.perf_counter()

    def look(self, step: int) -> None:
        """Measure in the middle of an epoch what a record measures at its end."""
        net, data = self.net, self.data
        loss, accuracy = evaluate(net, data.test_x, data.test_y, data, self.loss)
        found = {"test_loss": loss, "test_accuracy": accuracy}
        names, labels = self.runs[0].measure.metrics, self.data.probe_labels()
        found |= measure(net, net.forward(self.probe), names, labels)
        values = {name: self.listed(self.guard.marked(value)) for name, value in found.items()}
        self.moments.append((step, -1, values))

    @staticmethod
    def listed(values: Array) -> list[float]:
        """Numbers per network as a plain list."""
        return [float(v) for v in to_host(values)]

    def on_epoch(self, record: Record) -> None:
        """At the end of an epoch: keep its record, and leave its time out of the training's."""
        epoch = record.epoch - self.runs[0].training.head_start
        if epoch >= 0:
            values = {
                "train_loss": record.train_loss,
                "test_loss": record.test_loss,
                "test_accuracy": record.test_accuracy,
                **record.diversity,
                **{f"penalty.{name}": value for name, value in record.penalties.items()},
            }
            self.moments.append((record.step - self.first, epoch, values))
        self.mark = time.perf_counter()

    def outcome(self, task: Task, joules: float | None) -> Outcome:
        """Everything that was seen, as arrays."""
        R = len(self.runs)
        names = list(dict.fromkeys(name for _, _, values in self.moments for name in values))
        nothing = [float("nan")] * R
        steps = (self.runs[0].training.head_start + self.runs[0].training.epochs) * self.per_epoch
        facts: dict[str, object] = {
            "networks": R,
            "seconds": time.perf_counter() - self.began,
            "seconds_per_step": self.training_seconds / (steps * R),
            "joules": joules,
            "machine": environment(),
        }
        return Outcome(
            step=np.array([step for step, _, _ in self.moments]),
            epoch=np.array([epoch for _, epoch, _ in self.moments]),
            values={
                name: np.array([values.get(name, nothing) for _, _, values in self.moments])
                for name in names
            },
            diverged_step=shifted(to_host(self.guard.step).astype(np.int64), self.first),
            diverged_layer=to_host(self.guard.layer).astype(np.int64),
            facts=facts,
        )


def shifted(steps: npt.NDArray[np.int64], first: int) -> npt.NDArray[np.int64]:
    """Steps counted from the one that counts as 0; -1 stays -1, a divergence before it counts as 0."""
    return np.where(steps < 0, -1, np.maximum(steps - first, 0))
