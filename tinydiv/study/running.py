"""The work of one worker: train one stack of networks from start to end, and measure them.

`carry_out` is a plain function of plain data, so that any executor can run it, on any machine. A network
depends on its own trial only: its position in the stack and the other networks there have no effect on it.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tinydiv import backend, optimizers
from tinydiv.backend import to_host
from tinydiv.divergence import Guard
from tinydiv.diversity import measure
from tinydiv.initializers import PROBE, initialize, needs_data
from tinydiv.loop import DeviceData, Record, evaluate, listed, train
from tinydiv.mlp import MLP
from tinydiv.runs.build import assemble, loss_of
from tinydiv.runs.environment import environment
from tinydiv.stats import Floats
from tinydiv.study import sharing
from tinydiv.study.energy import Meter
from tinydiv.study.plan import Trial, specs_for
from tinydiv.study.sharing import Source
from tinydiv.study.stacks import Stack, widths
from tinydiv.techniques import Techniques, place


@dataclass(frozen=True)
class Task:
    """A stack and what a worker needs to train it. alone: no other stack is trained at the same time, so an
    energy counter measures this one."""

    stack: Stack
    source: Source
    backend: str = "numpy"
    alone: bool = False


@dataclass
class Outcome:
    """The results of a stack. M moments of measurement, R networks in the order of trials.

    step, epoch (M,); epoch is -1 for moments in the middle of an epoch. values: (M, R) by name, NaN where
    nothing was measured or the network had diverged. diverged_step, diverged_layer (R,), -1 for networks
    that did not diverge. facts: the machine, times and energy.
    """

    step: npt.NDArray[np.int64]
    epoch: npt.NDArray[np.int64]
    values: dict[str, Floats]
    diverged_step: npt.NDArray[np.int64]
    diverged_layer: npt.NDArray[np.int64]
    facts: dict[str, object]


def carry_out(task: Task) -> Outcome:
    """Train the networks of a stack and return what was measured.

    Raises RunError if the data are not on this machine, MemoryError if the stack is too large.
    """
    if backend.name() != task.backend:
        backend.use(task.backend)
    trials, shared = task.stack.trials, task.stack.trials[0].training
    data = sharing.on_device(task.source, shared.inputs, shared.dtype, task.backend)
    batch_size = min(shared.batch_size, data.n_train)
    order: int | list[int] = [trial.seed for trial in trials]
    if batch_size == data.n_train:
        order = 0  # every batch is the whole set: all networks can share it
    elif task.stack.one_seed:
        order = trials[0].seed
    net, optimizer, techniques = build(trials, data)
    recorder = Recorder(trials, net, data, data.n_train // batch_size)
    meter = Meter() if task.alone else None
    train(
        *(net, data, optimizer, techniques),
        epochs=shared.head_start + shared.epochs,
        batch_size=batch_size,
        seed=order,
        loss=loss_of(shared, data.dataset),
        schedule=shared.schedule,
        metrics=trials[0].measure.metrics,
        every=trials[0].measure.every if not shared.head_start else 1,
        on_step=recorder.on_step,
        on_epoch=recorder.on_epoch,
        guard=recorder.guard,
    )
    return recorder.outcome(task, None if meter is None else meter.joules())


def build(
    trials: Sequence[Trial], data: DeviceData
) -> tuple[MLP, optimizers.Optimizer, Techniques]:
    """The networks of a stack, untrained, with their optimizer and techniques."""
    shared = trials[0].training
    strengths = [trial.training.strength for trial in trials]
    return assemble(
        data,
        lambda net: start(net, trials, data),
        sizes=widths(shared, data.dataset.n_inputs, data.dataset.n_classes),
        activation=shared.activation,
        replicas=len(trials),
        specs=[place(spec) for spec in specs_for(shared, strengths)],
        optimizer=shared.optimizer,
        lr=[rate_of(trial) for trial in trials],
        weight_decay=shared.weight_decay,
        loss=loss_of(shared, data.dataset),
        clip=shared.clip,
        seeds=[trial.seed for trial in trials],
    )


def rate_of(trial: Trial) -> float:
    """The learning rate of a trial, which is one number."""
    assert isinstance(trial.training.lr, float)
    return trial.training.lr


def start(net: MLP, trials: Sequence[Trial], data: DeviceData) -> None:
    """Initialise every network by the scheme and the seed of its own trial."""
    groups: dict[str, list[int]] = {}
    for r, trial in enumerate(trials):
        groups.setdefault(trial.training.init, []).append(r)
    for spec, rows in groups.items():
        seeds = [trials[r].seed for r in rows]
        X = data.probe(PROBE) if needs_data(spec) else None
        if len(rows) == len(trials):
            initialize(net, spec, seeds, X)
            return
        # Other networks of the stack have another scheme: initialise these alone, and copy their rows.
        part = MLP(net.sizes, net.activation, replicas=len(rows), dtype=net.dtype)
        initialize(part, spec, seeds, X)
        for i, r in enumerate(rows):
            net.theta[r, : part.n_parameters] = part.theta[i]
    for layer in net.layers:
        layer.reset_parameters()


@dataclass
class Recorder:
    """Measures the networks of a stack at the moments in [measure], and the time of the training."""

    trials: Sequence[Trial]
    net: MLP
    data: DeviceData
    per_epoch: int
    guard: Guard = field(init=False)

    def __post_init__(self) -> None:
        self.guard = Guard(self.net)
        training, wanted = self.trials[0].training, self.trials[0].measure
        self.first = training.head_start * self.per_epoch  # the step that counts as step 0
        self.steps = {self.first + s for s in wanted.steps if s % self.per_epoch}
        self.loss = loss_of(training, self.data.dataset)
        self.probe = self.data.probe()
        self.moments: list[tuple[int, int, dict[str, list[float]]]] = []
        self.training_seconds, self.mark = 0.0, time.perf_counter()
        self.began = self.mark

    def on_step(self, step: int, total: int) -> None:
        """After every step: add its time, and measure if this is one of the moments."""
        here = step in self.steps
        if here or step % self.per_epoch == 0:
            to_host(self.guard.alive)  # on a GPU, steps end only when the host waits for them
        now = time.perf_counter()
        self.training_seconds += now - self.mark
        if here:
            self.measure_at(step - self.first)
        self.mark = time.perf_counter()

    def measure_at(self, step: int) -> None:
        """Measure in the middle of an epoch what a record measures at its end."""
        net, data = self.net, self.data
        loss, accuracy = evaluate(net, data.test_x, data.test_y, data, self.loss)
        found = {"test_loss": loss, "test_accuracy": accuracy}
        names, labels = self.trials[0].measure.metrics, self.data.probe_labels()
        found |= measure(net, net.forward(self.probe), names, labels)
        values = {
            name: listed(self.guard.nan_where_diverged(value)) for name, value in found.items()
        }
        self.moments.append((step, -1, values))

    def on_epoch(self, record: Record) -> None:
        """At the end of an epoch: keep its record; the time for it does not count as training."""
        epoch = record.epoch - self.trials[0].training.head_start
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
        """Everything that was measured, as arrays."""
        R = len(self.trials)
        names = list(dict.fromkeys(name for _, _, values in self.moments for name in values))
        nothing = [float("nan")] * R
        training = self.trials[0].training
        steps = (training.head_start + training.epochs) * self.per_epoch
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
    """Steps counted from step `first`; -1 stays -1, and earlier steps become 0."""
    return np.where(steps < 0, -1, np.maximum(steps - first, 0))
