"""The training loop, from top to bottom: batches, epochs, records.

    records = train(net, dataset, Adam(net), techniques, epochs=5)

The data lie on the device as they are stored (bytes for images) and become floats batch by batch. The
order of an epoch is drawn on the host and uploaded once. Nothing inside a step waits for the device;
the host fetches numbers once per epoch.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import SupportsInt

from tinydiv import losses, randomness, schedules
from tinydiv.backend import Array, quiet, to_device, to_host, xp
from tinydiv.data.dataset import Dataset
from tinydiv.divergence import Guard
from tinydiv.diversity import measure
from tinydiv.errors import UsageError, check_known, check_whole
from tinydiv.layers import Context
from tinydiv.losses import Loss
from tinydiv.mlp import MLP
from tinydiv.optimizers import Optimizer
from tinydiv.settings import rounded
from tinydiv.techniques import Technique, Techniques

EVALUATION_ROWS = 2000
"""How many samples go through the network at once when it is evaluated."""
EVALUATION_NUMBERS = 2**25
"""How many numbers a layer may compute for that: with more networks, they are evaluated in several
groups."""
KEEP = ("last", "best")
"""Which weights a network has after training: of its last epoch, or of its best one."""
PROBE_ROWS = 512
"""Size of the fixed probe set, on which diversity is measured and interventions decide."""


class DeviceData:
    """A data set on the device: stored inputs, labels, and the transform that makes them floats.

    validation: the share of the training part that is drawn, from the stream of `seed`, for a validation
    part; the networks do not learn from it. Raises UsageError for a share that leaves either part empty.
    """

    def __init__(
        self, dataset: Dataset, dtype: str, validation: float = 0.0, seed: int = 0
    ) -> None:
        held_out = None
        if validation:
            held_out = dataset.split(validation_size(dataset, validation), seed)
            dataset = replace(held_out, test_x=dataset.test_x, test_y=dataset.test_y)
        self.dataset, self.dtype = dataset, dtype
        self.train_x, self.test_x = to_device(dataset.train_x), to_device(dataset.test_x)
        kind = dtype if dataset.regression else "int32"
        self.train_y = to_device(dataset.train_y.astype(kind))
        self.test_y = to_device(dataset.test_y.astype(kind))
        self.weights = None
        if dataset.weights is not None:
            self.weights = to_device(dataset.weights.astype(dtype))
        self.validation_x = None if held_out is None else to_device(held_out.test_x)
        self.validation_y = None if held_out is None else to_device(held_out.test_y.astype(kind))
        scale, shift = dataset.transform.scale.astype("float64"), dataset.transform.shift
        unit = 255.0 if dataset.train_x.dtype == "uint8" else 1.0
        # (x / unit - shift) * scale = x * (scale / unit) - shift * scale: two passes, not three.
        scale = (scale / unit).astype(dtype)
        same = bool((scale == scale[0]).all())  # a number in place of a row is half the time
        self.scale = float(scale[0]) if same else to_device(scale)
        self.offset = to_device((shift * scale).astype(dtype)) if (shift != 0).any() else None

    def floats(self, stored: Array) -> Array:
        """Stored inputs (..., n_0) as the network's inputs."""
        x = xp.multiply(stored, self.scale, dtype=self.dtype)
        if self.offset is not None:
            x -= self.offset
        return x

    @property
    def n_train(self) -> int:
        """How many samples the training part has."""
        return int(self.train_x.shape[0])

    @property
    def n_validation(self) -> int:
        """How many samples the validation part has."""
        return 0 if self.validation_x is None else int(self.validation_x.shape[0])

    def probe(self, rows: int = PROBE_ROWS) -> Array:
        """The fixed probe set, (rows, n_0): training samples, the same ones in every run.

        From the training part, because interventions decide by these samples.
        """
        return self.floats(self.train_x[self._probe_rows(rows)])

    def probe_labels(self, rows: int = PROBE_ROWS) -> Array | None:
        """The classes of the probe set, (rows,); None where the targets are numbers."""
        if self.dataset.regression:
            return None
        return self.train_y[self._probe_rows(rows)]

    def _probe_rows(self, rows: int) -> Array:
        return to_device(randomness.generator(0, "probe").permutation(self.n_train)[:rows])


def validation_size(dataset: Dataset, share: float) -> int:
    """How many training samples a share of them is. Raises UsageError unless 0 < share < 1 and both the
    training part and the validation part get samples."""
    n = len(dataset.train_y)
    if not 0 < share < 1 or not 1 <= round(share * n) < n:
        raise UsageError(
            f"validation is a share of the {n} training samples, above 0 and below 1, that leaves some of "
            f"them to learn from: got {rounded(share, 6)}"
        )
    return round(share * n)


def batches(
    data: DeviceData, batch_size: int, seeds: int | Sequence[int], epoch: int, done: int = 0
) -> Iterator[tuple[Array, Array]]:
    """One epoch of (X, Y), without the last partial batch, in an order drawn for this epoch.

    As `weighted_batches`, for sets whose samples all count alike. Raises UsageError for others.
    """
    if data.weights is not None:
        raise UsageError(
            f"the samples of {data.dataset.name!r} have weights, which would be left out here: take a set "
            "without, or weighted_batches and losses.with_weights"
        )
    for X, Y, _ in weighted_batches(data, batch_size, seeds, epoch, done):
        yield X, Y


def weighted_batches(
    data: DeviceData, batch_size: int, seeds: int | Sequence[int], epoch: int, done: int = 0
) -> Iterator[tuple[Array, Array, Array | None]]:
    """One epoch of (X, Y, weights), without the last partial batch, in an order drawn for this epoch.

    seeds: one number, the same batches X (B, n_0) for every network; or one per network, each with an
    order of its own, X (R, B, n_0). weights: how much the samples count in the loss, (B,) or (R, B), None
    where all count alike. done: how many batches of this epoch to leave out, because a resumed run has
    used them already. Raises UsageError if a batch is larger than the training set.
    """
    n = data.n_train
    if not 1 <= batch_size <= n:
        raise UsageError(
            f"the batch size must lie between 1 and {n} (the training set), got {batch_size}"
        )
    whose = None  # which order each network uses, where networks share a seed
    if isinstance(seeds, SupportsInt):
        order = to_device(randomness.permutation(int(seeds), epoch, n))
    else:
        seeds = [int(seed) for seed in seeds]
        distinct = {seed: place for place, seed in enumerate(dict.fromkeys(seeds))}
        order = to_device(randomness.permutations(list(distinct), epoch, n))
        if len(distinct) < len(seeds):
            whose = to_device([distinct[seed] for seed in seeds], dtype="int64")
    for start in range(done * batch_size, n - batch_size + 1, batch_size):
        rows = order[..., start : start + batch_size]
        X = data.floats(xp.take(data.train_x, rows, axis=0))
        Y = xp.take(data.train_y, rows, axis=0)
        weights = None if data.weights is None else xp.take(data.weights, rows)
        if whose is not None:
            X, Y, weights = X[whose], Y[whose], None if weights is None else weights[whose]
        yield X, Y, weights


@dataclass
class Record:
    """The results of one epoch: plain Python numbers, lists over networks."""

    epoch: int
    step: int
    seconds: float
    rate: float
    """The schedule's factor on the learning rate at the last step."""
    train_loss: list[float]
    """The task's loss, averaged over the epoch's steps while the weights moved; in record 0, where there
    were none, over the first EVALUATION_ROWS samples of the untrained network."""
    test_loss: list[float]
    test_accuracy: list[float]
    """The share of right predictions; [] where the targets are numbers."""
    diversity: dict[str, list[float]] = field(default_factory=dict)
    penalties: dict[str, list[float]] = field(default_factory=dict)
    diverged_step: list[int] = field(default_factory=list)
    """The step at which each network diverged, -1 where it did not (see divergence.py)."""
    diverged_layer: list[int] = field(default_factory=list)
    between: list[dict[str, float | list[float]]] = field(default_factory=list)
    """Diversity within the epochs since the last record, with metrics_every: step, epoch (a fraction),
    and metrics by name."""
    test_error: list[float] = field(default_factory=list)
    """The mean squared error, where the targets are numbers; [] where they are classes."""
    validation_loss: list[float] = field(default_factory=list)
    """The loss on the validation part; [] where there is none."""
    validation_score: list[float] = field(default_factory=list)
    """Its accuracy, or mean squared error, as `score` is that of the test part."""

    @property
    def score(self) -> tuple[str, list[float]]:
        """What the test part measures, by its name: test_accuracy, or test_error for regression."""
        if self.test_error:
            return "test_error", self.test_error
        return "test_accuracy", self.test_accuracy

    def flat(self) -> dict[str, float | list[float]]:
        """One level deep: epoch, train_loss, ..., then metrics by name and penalty.NAME.

        test_accuracy is there for classes, test_error for numbers to learn; with a validation part also
        validation_loss and validation_accuracy, or validation_error.
        """
        flat: dict[str, float | list[float]] = {
            key: getattr(self, key)
            for key in (
                "epoch",
                "step",
                "seconds",
                "rate",
                "train_loss",
                "test_loss",
                self.score[0],
            )
        }
        if self.validation_loss:
            flat["validation_loss"] = self.validation_loss
            flat[self.score[0].replace("test", "validation")] = self.validation_score
        flat |= self.diversity
        return flat | {f"penalty.{name}": values for name, values in self.penalties.items()}


def listed(a: Array) -> list[float]:
    """Numbers per network as a plain list (one network: a list of one)."""
    return [float(v) for v in to_host(a).reshape(-1)]


def check_fit(net: MLP, dataset: Dataset, loss: Loss) -> None:
    """Raise UsageError where outputs, loss and targets do not fit together; a loss function of your own
    may take anything."""
    K, classes, has = net.sizes[-1], dataset.n_classes, f"{dataset.name!r} has"
    loss = losses.without_softening(loss)
    if loss not in losses.LOSSES.values():
        return
    if dataset.regression:
        if dataset.n_outputs != K:
            raise UsageError(
                f"{has} {dataset.n_outputs} numbers to learn and the network {K} outputs: build "
                f"MLP([{net.sizes[0]}, ..., {dataset.n_outputs}])"
            )
        low, high = dataset.train_y.min(), dataset.train_y.max()
        rows = abs(dataset.train_y.sum(axis=1) - 1).max() < 1e-3
        fits = loss is losses.squared_error or (low >= 0 and high <= 1)
        if not fits or (loss is losses.cross_entropy and not rows):
            kind = "in rows of probabilities" if loss is losses.cross_entropy else "from 0 to 1"
            raise UsageError(
                f"{has} numbers from {rounded(low, 6)} to {rounded(high, 6)} to learn, and this "
                f"loss takes numbers {kind}: choose loss='squared-error'"
            )
    elif max(classes, 2) > K:
        raise UsageError(
            f"{has} {classes} classes and the network {K} output{'s' * (K > 1)}, but every class needs "
            f"one: build MLP([{net.sizes[0]}, ..., {max(classes, 2)}])"
            + (
                ", or give targets 0.0 and 1.0 as numbers (classes=()) for loss='binary-cross-entropy'"
                if (K, classes) == (1, 2)
                else ""
            )
        )


def evaluate(net: MLP, x: Array, y: Array, data: DeviceData, loss: Loss) -> tuple[Array, Array]:
    """(mean loss, score) per network over every sample of a part, in evaluation mode.

    The score is the accuracy, or the mean squared error where the targets are numbers.
    """
    n, R, some = x.shape[0], net.replicas or 1, evaluated_at_once(net.sizes)
    if some < R and not net.layers:
        parts = [net.part(i, min(i + some, R)) for i in range(0, R, some)]
        each = [evaluate(part, x, y, data, loss) for part in parts]
        return xp.concatenate([e[0] for e in each]), xp.concatenate([e[1] for e in each])
    score = losses.mean_squared_error if data.dataset.regression else losses.accuracy
    total_loss, scores = xp.zeros(net.lead, dtype=net.dtype), xp.zeros(net.lead, dtype=net.dtype)
    for start in range(0, n, EVALUATION_ROWS):
        labels = y[start : start + EVALUATION_ROWS]
        logits = net.forward(data.floats(x[start : start + EVALUATION_ROWS])).logits
        total_loss += loss(logits, labels)[0] * labels.shape[0]
        scores += score(logits, labels) * labels.shape[0]
    return total_loss / n, scores / n


def evaluated_at_once(sizes: Sequence[int]) -> int:
    """How many networks of these sizes are evaluated together."""
    return max(1, EVALUATION_NUMBERS // (EVALUATION_ROWS * max(sizes[1:])))


@dataclass
class Loop:
    """The progress of a run: all that a checkpoint needs beside weights, moments and technique state."""

    epoch: int = 0
    first_epoch: int = 0
    """How many epochs the network had trained before this run: the shuffles continue from there."""
    first_step: int = 0
    """The same in steps: masks and other random numbers continue from there."""
    step: int = 0
    seconds: float = 0.0
    """Time spent in the loop, over the first start and all resumptions."""
    records: list[Record] = field(default_factory=list)
    sum_loss: Array = None
    """The task's loss summed over this epoch's steps so far, per network; None between epochs."""
    sums: dict[str, Array] = field(default_factory=dict)
    """The same for the value of each penalty."""
    between_steps: list[int] = field(default_factory=list)
    """Steps at which diversity was measured since the last record."""
    between: dict[str, list[Array]] = field(default_factory=dict)
    """The values, per network and still on the device: fetched when the next record is made."""
    best: dict[str, Array] = field(default_factory=dict)
    """With keep="best", per network: epoch and loss of the best record so far, and what restores the
    networks to it: theta, and the state of their layers."""


def best_state(net: MLP) -> dict[str, Array]:
    """What makes a network compute what it computes: its weights and the state of its layers."""
    state = {"theta": net.theta}
    for layer in net.layers:
        state |= {f"layer{layer.tag}.{key}": value for key, value in layer.state().items()}
    return state


def note_best(loop: Loop, net: MLP, validation_loss: Array) -> None:
    """Keep a copy of each network whose validation loss (...,) is its lowest so far.

    Each network has its own best epoch. NaN is never lower: a network that diverged keeps an epoch before.

    Raises UsageError for a layer whose state all networks share.
    """
    now = best_state(net)
    shared = [key for key, value in now.items() if value.shape[: len(net.lead)] != net.lead]
    if shared:
        raise UsageError(
            f"keep='best' chooses an epoch for each network, and {shared[0]} is one for all of them: train "
            "one network, or keep='last'"
        )
    if not loop.best:
        loop.best = {key: xp.array(value) for key, value in now.items()}
        loop.best["epoch"] = xp.full(net.lead, loop.epoch, dtype="int32")
        loop.best["loss"] = xp.full(net.lead, xp.inf, dtype=net.dtype)
    better = validation_loss < loop.best["loss"]
    now |= {"epoch": xp.asarray(loop.epoch), "loss": validation_loss}
    for key, value in now.items():
        old = loop.best[key]
        chosen = better.reshape(better.shape + (1,) * (old.ndim - better.ndim))
        xp.copyto(old, value.astype(old.dtype, copy=False), where=chosen)


def restore_best(loop: Loop, net: MLP) -> None:
    """Give every network the weights of its best epoch; does nothing where none was kept."""
    if not loop.best:
        return
    net.theta[...] = loop.best["theta"]
    for layer in net.layers:
        start = f"layer{layer.tag}."
        state = {k[len(start) :]: v for k, v in loop.best.items() if k.startswith(start)}
        layer.load_state({key: xp.array(value) for key, value in state.items()})


def read_between(loop: Loop, per_epoch: int) -> list[dict[str, float | list[float]]]:
    """Fetch what was measured between two records (one wait per metric), and empty the lists."""
    columns = {name: to_host(xp.stack(values)) for name, values in loop.between.items()}
    rows: list[dict[str, float | list[float]]] = [
        {"step": step, "epoch": step / per_epoch}
        | {name: [float(v) for v in table[i].reshape(-1)] for name, table in columns.items()}
        for i, step in enumerate(loop.between_steps)
    ]
    loop.between_steps, loop.between = [], {}
    return rows


def train(
    net: MLP,
    dataset: Dataset | DeviceData,
    optimizer: Optimizer,
    techniques: Techniques | Sequence[str | Technique] | None = None,
    *,
    epochs: int = 5,
    batch_size: int = 64,
    seed: int | Sequence[int] = 0,
    loss: str | Loss | None = None,
    schedule: str | schedules.Schedule = "constant",
    metrics: Sequence[str] | None = None,
    metrics_every: int | None = None,
    every: int = 1,
    validation: float = 0.0,
    keep: str = "last",
    on_step: Callable[[int, int], None] | None = None,
    on_epoch: Callable[[Record], None] | None = None,
    loop: Loop | None = None,
    guard: Guard | None = None,
) -> list[Record]:
    """Train for some epochs and return one record per epoch; record 0 is the untrained network.

    seed: one number, all networks see the same batches in the same order; or one per network. A second
    call on the same network continues the sequence of shuffles, masks and draws.
    techniques: Techniques, or a list of specs such as ["decov:strength=0.1"].
    loss: None is cross-entropy for classes and squared-error for numbers to learn.
    schedule: a factor on the rate over all planned steps. metrics: names of diversity metrics, measured
    on the probe set after each epoch; None for all. metrics_every: measure them every so many steps
    too, for Record.between; what is found stays on the device until the record is made. every: epochs
    between two records; the first and the last are always kept.
    validation: the share of the training part that is held out, drawn from the seed's own stream (the
    first seed's, of several); records then hold its loss and accuracy. keep: "last", or "best": at the
    end every network gets the weights of its own record with the lowest validation loss.
    on_step(step, total) and on_epoch(record) are called along the way. loop and guard: the state to resume
    from, at any step (checkpoints).

    A network that diverges is frozen, its records are NaN, and diverged_step and diverged_layer hold
    where it happened; the others go on.

    Raises UsageError for numbers out of range, and where network, data, optimizer, techniques and loss do
    not fit together.
    """
    epochs = check_whole("epochs", epochs, 0)
    every = check_whole("every", every)
    if metrics_every is not None:
        metrics_every = check_whole("metrics_every", metrics_every)
    batch_size = check_whole("the batch size", batch_size)
    metrics = [metrics] if isinstance(metrics, str) else metrics
    if isinstance(dataset, DeviceData):
        data = dataset
        if validation:
            raise UsageError("a DeviceData draws the part itself: DeviceData(dataset, dtype, 0.1)")
    else:
        first = seed if isinstance(seed, SupportsInt) else seed[0]
        data = DeviceData(dataset, net.dtype, validation, int(first))
    check_known("way to keep weights", keep, KEEP)
    if keep == "best" and not data.n_validation:
        raise UsageError("keep='best' needs a validation part: validation=0.1 draws one")
    usual = "squared-error" if data.dataset.regression else "cross-entropy"
    loss_function, plan = losses.get(usual if loss is None else loss), schedules.parse(schedule)
    check_fit(net, data.dataset, loss_function)
    per_epoch = data.n_train // batch_size if batch_size > 0 else 0
    total = epochs * per_epoch
    probe, probe_labels = data.probe(), data.probe_labels()
    if not isinstance(techniques, Techniques):
        techniques = Techniques(net, techniques or [], optimizer, loss=loss_function)
    for what, other in (
        ("the optimizer belongs", optimizer.net),
        ("the techniques belong", techniques.net),
        ("the guard belongs", net if guard is None else guard.net),
    ):
        if other is not net:
            raise UsageError(f"{what} to another network than the one to train: {other!r}")
    if techniques.optimizer not in (None, optimizer):
        raise UsageError("the techniques were made with another optimizer: pass that one to train")
    techniques.refuse_batch(batch_size)
    techniques.total, techniques.loss = max(total, 1), loss_function
    if techniques.probe_inputs is None:
        techniques.probe_inputs = probe
    loop = loop or Loop(first_epoch=net.epochs, first_step=net.steps)
    guard = guard or Guard(net)
    guard.count_from(loop.step)
    techniques.go_on_after(loop.first_step)
    began = time.perf_counter() - loop.seconds

    def record(train_loss: Array, sums: dict[str, Array], steps: int, rate: float) -> Record:
        test_loss, found = evaluate(net, data.test_x, data.test_y, data, loss_function)
        losses_found, held_out, held_score = test_loss + train_loss, None, None
        if data.n_validation:
            held_out, held_score = evaluate(
                net, data.validation_x, data.validation_y, data, loss_function
            )
            losses_found = losses_found + held_out
        guard.before_record(losses_found)
        if held_out is not None and keep == "best":
            note_best(loop, net, guard.nan_where_diverged(held_out))
        score, numbers = listed(guard.nan_where_diverged(found)), data.dataset.regression
        diversity = measure(net, net.forward(probe), metrics, probe_labels)
        between = read_between(loop, per_epoch)
        loop.seconds = time.perf_counter() - began
        return Record(
            loop.epoch,
            loop.step,
            loop.seconds,
            rate,
            listed(guard.nan_where_diverged(train_loss)),
            listed(guard.nan_where_diverged(test_loss)),
            [] if numbers else score,
            {key: listed(guard.nan_where_diverged(value)) for key, value in diversity.items()},
            {key: listed(guard.nan_where_diverged(value / steps)) for key, value in sums.items()},
            [int(v) for v in listed(guard.step)],
            [int(v) for v in listed(guard.layer)],
            between,
            score if numbers else [],
            [] if held_out is None else listed(guard.nan_where_diverged(held_out)),
            [] if held_score is None else listed(guard.nan_where_diverged(held_score)),
        )

    def add(new: Record) -> None:
        loop.records.append(new)
        if on_epoch is not None:
            on_epoch(new)

    with quiet():  # the guard looks for overflow itself
        if loop.step == 0 and not loop.records:
            few = slice(EVALUATION_ROWS)
            weights = None if data.weights is None else data.weights[few]
            at_start = losses.with_weights(loss_function, weights)
            start_loss, _ = evaluate(net, data.train_x[few], data.train_y[few], data, at_start)
            add(record(start_loss, {}, 1, plan(0, total)))

        while loop.epoch < epochs:
            if loop.sum_loss is None:
                loop.sum_loss = xp.zeros(net.lead, dtype=net.dtype)
            done = loop.step - loop.epoch * per_epoch
            epoch = loop.first_epoch + loop.epoch
            for X, Y, weights in weighted_batches(data, batch_size, seed, epoch, done):
                factor = plan(loop.step, total)
                trace = net.forward(X, Context(training=True, step=loop.step))
                techniques.loss = losses.with_weights(loss_function, weights)
                task_loss, dlogits = techniques.loss(trace.logits, Y)
                # net.backward, with the gradients of penalties, edited by interventions
                step = techniques.step(trace, Y, task_loss, dlogits, loop.step, loop.epoch, factor)
                techniques.backward(step)
                guard.after_backward(trace, task_loss)
                optimizer.step(factor)
                techniques.after_update(step)
                guard.after_update()

                loop.sum_loss += task_loss
                for name, value in step.penalties.items():
                    if name not in loop.sums:
                        loop.sums[name] = xp.zeros(net.lead, dtype=net.dtype)
                    loop.sums[name] += value
                loop.step += 1
                if metrics_every is not None and loop.step % metrics_every == 0:
                    found = measure(net, net.forward(probe), metrics, probe_labels)
                    loop.between_steps.append(loop.step)
                    for name, value in found.items():
                        loop.between.setdefault(name, []).append(guard.nan_where_diverged(value))
                loop.seconds = time.perf_counter() - began
                if on_step is not None:
                    on_step(loop.step, total)
            loop.epoch += 1
            net.epochs, net.steps = loop.first_epoch + loop.epoch, loop.first_step + loop.step
            sum_loss, sums = loop.sum_loss, loop.sums
            loop.sum_loss, loop.sums = None, {}
            if loop.epoch % every == 0 or loop.epoch == epochs:
                rate = plan(loop.step - 1, total)
                add(record(sum_loss / per_epoch, sums, per_epoch, rate))
    restore_best(loop, net)
    return loop.records
