"""A trained run with fewer neurons: condensed, merged, pruned, or trained from scratch at that size.

What is computed, and the tables, of python -m tinydiv.grow condense.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinydiv import optimizers
from tinydiv.errors import UsageError
from tinydiv.files import atomic
from tinydiv.files.model import NAME, load_model, save_model
from tinydiv.files.table import as_markdown
from tinydiv.growing.comparing import bounded, difference
from tinydiv.growing.condense import BESIDE, asleep_from, compacted, condense, copied, counted
from tinydiv.growing.pieces import Arrays, Piece, read
from tinydiv.initializers import PROBE, initialize, needs_data
from tinydiv.loop import DeviceData, evaluate, listed, train
from tinydiv.losses import get
from tinydiv.mlp import MLP
from tinydiv.runs.build import load_data, one_or_all
from tinydiv.runs.config import TrainConfig
from tinydiv.runs.folder import settings_of

METHODS = ("condense", *BESIDE, "scratch")


@dataclass(frozen=True)
class Condense:
    """What is done to a run."""

    run: str
    taus: tuple[float, ...] = (0.95, 0.9, 0.7, 0.5)
    layer: int = 1
    epochs: int = 1

    def config(self) -> TrainConfig:
        """The run's settings. Raises UsageError if the folder is not a finished run or there is no such
        layer."""
        config = settings_of(Path(self.run))[0]
        if not (Path(self.run) / NAME).is_file():
            raise UsageError(f"the run in {self.run} has not finished: there is no {NAME} in it")
        if not 1 <= self.layer <= len(config.hidden):
            raise UsageError(
                f"there is no hidden layer {self.layer}: the run in {self.run} has {len(config.hidden)}"
            )
        return config

    def settings(self) -> list[float]:
        """The taus. Raises UsageError for a wrong run or tau."""
        self.config()
        for tau in self.taus:
            condense(copied(load_model(self.run)), self.layer, tau)
        return list(self.taus)

    def pieces(self) -> list[Piece]:
        """All the work: a piece for each tau."""
        return [Piece(f"tau-{tau:g}", work, (self, tau)) for tau in self.taus]


def work(study: Condense, tau: float) -> Arrays:
    """One tau: every way to the same number of neurons; accuracies before and after short retraining."""
    config, full = study.config(), load_model(study.run)
    data = DeviceData(load_data(config.data, config.inputs), full.dtype)
    X, layer = data.probe(), study.layer

    def accuracy(net: MLP) -> np.ndarray:
        return np.asarray(
            listed(evaluate(net, data.test_x, data.test_y, data, get(str(config.loss)))[1])
        )

    found: Arrays = {"full": accuracy(full)}
    nets = {"condense": copied(full)}
    counts = condense(nets["condense"], layer, tau)
    found["neurons"] = counts
    for name, reduce in BESIDE.items():
        nets[name] = copied(full)
        reduce(nets[name], layer, X, counts)
    scratch = MLP(full.sizes, full.activation, full.replicas, full.dtype)
    sample = data.probe(PROBE) if needs_data(config.init) else None
    initialize(scratch, config.init, config.seed, sample)
    asleep_from(scratch, layer, counts)
    nets["scratch"] = scratch
    for name, net in nets.items():
        found[f"{name}-raw"] = accuracy(net)
        epochs = config.epochs if name == "scratch" else study.epochs
        if epochs:
            learn(net, data, config, epochs)
        found[f"{name}-retrained"] = accuracy(net)
        found[f"{name}-awake"] = counted(net, layer)
    return found


def learn(net: MLP, data: DeviceData, config: TrainConfig, epochs: int | None) -> None:
    """Train with the run's own optimizer, rate and batches."""
    assert config.lr is not None
    assert config.batch_size is not None
    assert epochs is not None
    optimizer = optimizers.get(config.optimizer)(net, one_or_all(config.lr))
    train(
        net, data, optimizer, epochs=epochs, batch_size=config.batch_size, seed=config.seed,
        loss=config.loss, metrics=(), every=epochs,
    )  # fmt: skip


def table(study: Condense, folder: Path) -> str:
    """Markdown: a line per tau and way."""
    heads = ["tau", "way", "neurons", "accuracy before", "at once", "after retraining"]
    body = []
    for piece, tau in zip(study.pieces(), study.taus, strict=True):
        found = read(folder, piece)
        for name in METHODS:
            raw, after = found[f"{name}-raw"], found[f"{name}-retrained"]
            change = difference(after, found["full"])
            shown = (
                bounded(change, 3, signed=True)
                if change
                else f"{(after - found['full']).mean():+.4f}"
            )
            cells = [
                f"{tau:g}",
                name,
                f"{found['neurons'].mean():.1f}",
                f"{found['full'].mean():.4f}",
            ]
            cells += [
                "-" if name == "scratch" else f"{raw.mean():.4f}",
                f"{after.mean():.4f}",
                shown,
            ]
            body.append(cells)
    return as_markdown([*heads, "after - before"], body) + "\n"


def report(study: Condense, folder: Path) -> str:
    """Write table.md, and the condensed network of each tau as model-TAU.npz; return the table."""
    config, text = study.config(), table(study, folder)
    dataset = load_data(config.data, config.inputs)
    for tau in study.taus:
        net = copied(load_model(study.run))
        condense(net, study.layer, tau)
        if study.epochs:
            learn(net, DeviceData(dataset, net.dtype), config, study.epochs)
        small = compacted(net, study.layer) if net.replicas is None else net
        save_model(folder / f"model-{tau:g}.npz", small, dataset)
    atomic.write_text(folder / "table.md", text)
    return text
