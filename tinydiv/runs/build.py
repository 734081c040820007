"""One training run, built from its settings: data, networks, optimizer, techniques.

    run = build(TrainConfig(hidden=(32,), epochs=3))
    run.train()
    run.records[-1].test_accuracy

Its folder is written by folder.py.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from tinydiv import backend, data, losses, optimizers
from tinydiv import loop as training
from tinydiv.data.dataset import Dataset
from tinydiv.divergence import Guard
from tinydiv.diversity import METRICS, NEED_LABELS
from tinydiv.errors import UsageError, check_known
from tinydiv.initializers import PROBE, initialize, needs_data
from tinydiv.loop import DeviceData, Loop, Record
from tinydiv.mlp import MLP
from tinydiv.randomness import replica_seeds
from tinydiv.runs import memory, own_data
from tinydiv.runs.checkpoint import Standing
from tinydiv.runs.config import USUAL_BATCH, TrainConfig, usual_activation, usual_epochs, usual_rate
from tinydiv.runs.splitting import GROUP, separable
from tinydiv.schedules import parse
from tinydiv.settings import flag, parse_spec, shown
from tinydiv.techniques import Placed, Techniques, layers_of, place


@dataclass
class Run:
    """All parts of a run, ready for loop.train."""

    config: TrainConfig
    data: DeviceData
    standing: Standing
    networks: range
    """Which networks of the run it holds: all, or a group of them (workers.py)."""
    at_once: bool = True
    """Whether there is memory to train all of them at once."""

    @property
    def net(self) -> MLP:
        """The networks."""
        return self.standing.net

    @property
    def records(self) -> list[Record]:
        """One record per epoch so far; the first is of the untrained networks."""
        return self.standing.loop.records

    @property
    def loss(self) -> losses.Loss:
        """The loss that is minimised."""
        return loss_of(self.config, self.data.dataset)

    @property
    def shuffle_seed(self) -> int | list[int]:
        """The seed for loop.train: one order of samples, or one per network."""
        if self.config.shuffle != "own" or self.net.replicas is None:
            return self.config.seed
        return replica_seeds(self.config.seed, self.config.replicas)[slice_of(self.networks)]

    @property
    def epochs(self) -> int:
        """How many passes over the training set are planned."""
        assert self.config.epochs is not None  # build fills it in
        return self.config.epochs

    @property
    def per_epoch(self) -> int:
        """How many steps an epoch has."""
        assert self.config.batch_size is not None
        return self.data.n_train // self.config.batch_size

    @property
    def steps(self) -> int:
        """How many steps are planned."""
        return self.epochs * self.per_epoch

    @property
    def finished(self) -> bool:
        """Whether the last epoch is over."""
        return bool(self.records) and self.standing.loop.epoch >= self.epochs

    @property
    def kept(self) -> list[int]:
        """The epoch whose weights each network has in the end: the last, or with keep="best" its best."""
        best, last = self.standing.loop.best, self.records[-1]
        if not best:
            return [last.epoch] * len(last.train_loss)
        return [int(epoch) for epoch in training.listed(best["epoch"])]

    @property
    def score(self) -> tuple[str, list[float]]:
        """The test part's score of the weights that are kept, by its name; see Record.score."""
        by_epoch = {record.epoch: record for record in self.records}
        name = self.records[-1].score[0]
        return name, [by_epoch[e].score[1][r] for r, e in enumerate(self.kept)]

    def train(
        self,
        on_step: Callable[[int, int], None] | None = None,
        on_epoch: Callable[[Record], None] | None = None,
    ) -> list[Record]:
        """Train from the run's present state to its end; see loop.train."""
        config, now = self.config, self.standing
        assert config.batch_size is not None
        return training.train(
            *(now.net, self.data, now.optimizer, now.techniques),
            epochs=self.epochs,
            batch_size=config.batch_size,
            seed=self.shuffle_seed,
            loss=self.loss,
            schedule=config.schedule,
            metrics=config.metrics,
            metrics_every=config.metrics_every,
            keep=config.keep,
            on_step=on_step,
            on_epoch=on_epoch,
            loop=now.loop,
            guard=now.guard,
        )


def build(config: TrainConfig, budget: float | None = None, split: bool = False) -> Run:
    """Load the data; make the networks, optimizer and techniques. Nothing is written.

    The run's config has every default filled in. budget: GiB that the run may take (None: a share of the
    machine's). split: whether it may be trained in groups (workers.py) if it does not fit at once.
    Raises UsageError for settings that do not fit, and RunError for what this machine lacks.
    """
    config = replace(config, backend=backend.use(config.backend))
    for key in ("lr", "weight_decay", "clip"):
        values = getattr(config, key)
        if values is not None and len(values) not in (1, config.replicas):
            raise UsageError(
                f"{flag(key)} has {len(values)} numbers, and --replicas is {config.replicas}: give one "
                f"number, or --replicas {len(values)}"
            )
    if config.loss is not None:
        losses.get(config.loss)
    parse(config.schedule)
    optimizers.get(config.optimizer)
    for spec in config.technique:
        place(spec)
    own = own_data.OwnData.named(config.data)
    if own is None:
        dataset = load_data(config.data, config.inputs)
    else:
        from tinydiv.runs import own_files

        dataset, spec = own_files.load(own, config.inputs)
        config = replace(config, data=spec)
    config = filled_in(config, dataset)

    sizes = [dataset.n_inputs, *config.hidden, dataset.n_outputs]
    group = GROUP if split and separable(config) else None
    at_once = memory.fits_at_once(config, sizes, dataset.nbytes, budget, group)
    if config.keep == "best" and not config.validation:
        raise UsageError("--keep best needs a validation part: --validation 0.1 draws one")
    on_device = DeviceData(dataset, config.dtype, config.validation, config.seed)
    sample = on_device.probe(PROBE) if needs_data(config.init) else None
    run = run_of(
        config,
        on_device,
        range(config.replicas),
        lambda net: initialize(net, config.init, config.seed, sample),
    )
    return replace(run, at_once=at_once)


def run_of(
    config: TrainConfig, data: DeviceData, networks: range, start: Callable[[MLP], object]
) -> Run:
    """Some networks of a run whose config has every default filled in; `start` fills them.

    Each network is the same as among all, to the bit.
    """
    some = slice_of(networks)
    replicas = None if config.replicas == 1 else len(networks)

    def theirs(values: tuple[float, ...] | None) -> float | list[float]:
        """The numbers of these networks, as a list even if it is one: a list gives other rounding
        errors than one number for all networks."""
        assert values is not None
        return values[0] if len(values) == 1 else list(values[some])

    placed = [place(spec) for spec in config.technique]
    net, optimizer, techniques = assemble(
        data,
        start,
        sizes=[data.dataset.n_inputs, *config.hidden, data.dataset.n_outputs],
        activation=str(config.activation),  # build fills it in
        replicas=replicas,
        specs=[
            replace(one, strength=one.strength[some])
            if len(one.strength) == config.replicas
            else one
            for one in placed
        ],
        optimizer=config.optimizer,
        lr=theirs(config.lr),
        clip=None if config.clip is None else theirs(config.clip),
        weight_decay=theirs(config.weight_decay),
        loss=loss_of(config, data.dataset),
        seeds=replica_seeds(config.seed, config.replicas)[some],
    )
    assert config.batch_size is not None
    techniques.refuse_batch(config.batch_size)
    standing = Standing(net, optimizer, techniques, Guard(net), Loop())
    return Run(config, data, standing, networks)


class LossSettings(Protocol):
    """What decides the loss, of a run or of a study's trial."""

    @property
    def loss(self) -> str | None: ...
    @property
    def label_smoothing(self) -> float: ...
    @property
    def class_weights(self) -> str | tuple[float, ...] | None: ...


def loss_of(config: LossSettings, dataset: Dataset) -> losses.Loss:
    """The loss that a run minimises. Raises UsageError for smoothing or weights that do not fit."""
    weights = config.class_weights
    if weights is not None and not dataset.classes:
        raise UsageError("--class-weights needs classes, and this data set has numbers to learn")
    if isinstance(weights, str):
        weights = tuple(losses.balanced(dataset.train_y, dataset.n_classes))
    if weights is not None and len(weights) != dataset.n_classes:
        raise UsageError(
            f"--class-weights needs {dataset.n_classes} numbers, one per class, got {len(weights)}"
        )
    return losses.softened(str(config.loss), config.label_smoothing, weights)


def slice_of(networks: range) -> slice:
    """The rows of some networks among all."""
    return slice(networks.start, networks.stop)


def assemble(
    data: DeviceData,
    start: Callable[[MLP], object],
    *,
    sizes: Sequence[int],
    activation: str,
    replicas: int | None,
    specs: Sequence[Placed],
    optimizer: str,
    lr: float | list[float],
    weight_decay: float | list[float] | None,
    loss: str | losses.Loss,
    seeds: Sequence[int],
    clip: float | list[float] | None = None,
) -> tuple[MLP, optimizers.Optimizer, Techniques]:
    """Networks that `start` fills, with their optimizer and techniques: for a run and for a study's stack.

    lr, weight_decay, clip: one number, or one per network (None: the optimizer's own, no clip). seeds: one
    per network.
    """
    net = MLP(
        sizes, activation=activation, replicas=replicas, dtype=data.dtype, layers=layers_of(specs)
    )
    training.check_fit(net, data.dataset, losses.get(loss))
    start(net)
    optimizer_class = optimizers.get(optimizer)
    decay = optimizer_class.default_weight_decay if weight_decay is None else weight_decay
    updates = optimizer_class(net, lr, decay, clip)
    techniques = Techniques(
        net,
        specs,
        updates,
        loss=losses.get(loss),
        probe_inputs=data.probe(),
        seeds=seeds,
    )
    return net, updates, techniques


def load_data(spec: str, inputs: str) -> Dataset:
    """A data set by NAME, or NAME:setting=number,... for a toy; seed=S draws another one.

    A path is the user's own data: mine.npz, table.csv:target=COLUMN, a folder (own_data.py).

    Raises UsageError for an unknown name or setting, RunError for damaged files.
    """
    own = own_data.OwnData.named(spec)
    if own is not None:
        from tinydiv.runs import own_files

        return own_files.load(own, inputs)[0]
    name, _, rest = spec.partition(":")
    settings: dict[str, int | float] = {}
    for part in filter(None, (part.strip() for part in rest.split(","))):
        key, _, number = part.partition("=")
        try:
            settings[key] = int(number) if number.lstrip("-").isdecimal() else float(number)
        except ValueError:
            raise UsageError(
                f"a data set's settings are written {name}:key=number,key=number, got {shown(part)}"
            ) from None
    seed = settings.pop("seed", None)
    if seed is not None and not isinstance(seed, int):
        raise UsageError(f"a data set's seed is a whole number from 0 up, got {seed}")
    return data.load(name, inputs, seed=seed, **settings)


def filled_in(config: TrainConfig, dataset: Dataset) -> TrainConfig:
    """The settings with every None replaced by its value, and own files by full paths."""
    optimizer = optimizers.get(config.optimizer)
    metrics = config.metrics
    if metrics is None or metrics == ("all",):
        metrics = tuple(m for m in METRICS if dataset.classes or m not in NEED_LABELS)
    for name in metrics:
        check_known("metric", name, METRICS)
    n = len(dataset.train_x)
    if config.validation:
        n -= training.validation_size(dataset, config.validation)
    if config.batch_size is not None and config.batch_size > n:
        raise UsageError(
            f"--batch-size must lie between 1 and {n} (the training set), got {config.batch_size}"
        )
    return replace(
        config,
        activation=config.activation or usual_activation(config.data),
        loss=config.loss or ("cross-entropy" if dataset.classes else "squared-error"),
        lr=config.lr or (usual_rate(config.data, optimizer.default_lr),),
        epochs=usual_epochs(config.data) if config.epochs is None else config.epochs,
        weight_decay=config.weight_decay or (optimizer.default_weight_decay,),
        batch_size=config.batch_size or min(USUAL_BATCH, n),
        metrics=metrics,
        technique=tuple(with_full_path(spec) for spec in config.technique),
    )


def with_full_path(spec: str) -> str:
    """mine.py:Mine:strength=1 -> /home/me/mine.py:Mine:strength=1, valid in every folder."""
    file = parse_spec(spec).file
    return spec if file is None else spec.lstrip().replace(file, str(Path(file).resolve()), 1)


def one_or_all(values: tuple[float, ...]) -> float | list[float]:
    """One number for all networks as a number, several as a list."""
    return values[0] if len(values) == 1 else list(values)
