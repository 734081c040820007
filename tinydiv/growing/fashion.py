"""Images at equal flops: networks that grow beside one that has its full size from the start.

A step costs in proportion to the neurons that are awake, so a network that is smaller for a while takes
more steps for the same flops. Every arm gets the flops of `steps` steps at full size, and the rate falls
over its own steps. One seed is one replica, with a start and an order of batches of its own.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinydiv import schedules
from tinydiv.backend import to_host
from tinydiv.diversity import measure
from tinydiv.errors import UsageError, check_known
from tinydiv.files import atomic
from tinydiv.files.table import Row, as_markdown
from tinydiv.growing import raw
from tinydiv.growing.comparing import bounded, difference
from tinydiv.growing.pieces import Arrays, Piece, read
from tinydiv.growing.settings import FashionConfig
from tinydiv.initializers import PROBE, initialize, needs_data
from tinydiv.layers import Context
from tinydiv.loop import DeviceData, batches, evaluate
from tinydiv.losses import cross_entropy
from tinydiv.mlp import MLP
from tinydiv.optimizers import Adam
from tinydiv.runs.build import load_data
from tinydiv.settings import rounded
from tinydiv.techniques import Techniques, layers_of

WAYS: dict[str, str] = {
    "full": "",
    "random": "grow",
    "decorrelated": "grow:incoming=decorrelated",
    "gradmax": "gradmax",
    "net2net": "net2net",
    "residual": "residual-fitting",
}
"""The technique of each arm; full has none."""

COLUMNS = ("accuracy", "correlation", "rank")


@dataclass(frozen=True)
class Fashion(FashionConfig):
    """What is compared: arms by name, and how often the networks are looked at."""

    arms: tuple[str, ...] = tuple(WAYS)
    looks: int = 20

    def settings(self) -> list[tuple[int, int, str]]:
        """(width, every, arm) for all that is trained; full has no every. Raises UsageError."""
        for arm in self.arms:
            check_known("arm", arm, WAYS)
        schedules.parse(self.schedule)
        for width in self.widths:
            if self.first > width:
                raise UsageError(
                    f"--first {self.first} is more than the width {width}: take fewer neurons"
                )
        if not self.arms or not self.widths or not self.every:
            raise UsageError("nothing to compare: name an arm, a width, and how often neurons wake")
        for arm in self.arms:
            layers_of(self.specs(arm, self.every[0]))
        return [
            (width, every, arm)
            for width in self.widths
            for arm in self.arms
            for every in (self.every if WAYS[arm] else self.every[:1])
        ]

    def specs(self, arm: str, every: int) -> list[str]:
        """The techniques of an arm."""
        way = WAYS[arm]
        if not way:
            return list(self.beside)
        growth = f"first={self.first},number={self.number},every={every}"
        return [way + (":" if ":" not in way else ",") + growth, *self.beside]

    def awake(self, width: int, every: int, arm: str, step: int) -> int:
        """How many neurons are awake in a step."""
        if not WAYS[arm]:
            return width
        return min(width, self.first + self.number * (step // every))

    def cost(self, width: int, every: int, arm: str) -> np.ndarray:
        """The flops after each step, in steps of the full size; as many steps as the budget allows."""
        most = self.steps * -(-width // self.first) + 1
        share = [self.awake(width, every, arm, t) / width for t in range(most)]
        spent: np.ndarray = np.cumsum(share)
        return spent[: int(np.searchsorted(spent, self.steps - 1e-9)) + 1]

    def pieces(self) -> list[Piece]:
        """All the work: a piece for each width, arm and time between wakings."""
        return [
            Piece(f"{width}-{every}-{arm}", work, (self, width, every, arm))
            for width, every, arm in self.settings()
        ]


def work(study: Fashion, width: int, every: int, arm: str) -> Arrays:
    """One arm: accuracy, diversity and cost at equal distances of flops, (looks + 1, seeds)."""
    data = DeviceData(load_data(study.data, "raw"), "float32")
    seeds = list(range(study.seeds))
    specs, spent = study.specs(arm, every), study.cost(width, every, arm)
    sizes = [data.dataset.n_inputs, width, data.dataset.n_classes]
    net = MLP(sizes, "relu", study.seeds, layers=layers_of(specs))
    initialize(net, study.init, 0, data.probe(PROBE) if needs_data(study.init) else None)
    optimizer, plan, total = Adam(net, study.lr), schedules.parse(study.schedule), len(spent)
    probe = data.probe()
    techniques = Techniques(
        net, specs, optimizer, probe_inputs=probe, seeds=seeds, total=total, loss=cross_entropy
    )
    moments = np.searchsorted(spent, np.linspace(0, spent[-1], study.looks + 1)[1:] - 1e-9)
    seen: list[list[np.ndarray]] = []
    number = epoch = 0
    while number < total:
        for X, Y in batches(data, 64, seeds, epoch):
            trace = net.forward(X, Context(training=True, step=number))
            value, dlogits = cross_entropy(trace.logits, Y)
            factor = plan(number, total)
            step = techniques.backward(
                techniques.step(trace, Y, value, dlogits, number, epoch, factor)
            )
            optimizer.step(factor)
            techniques.after_update(step)
            for _ in range(int((moments == number).sum())):
                found = measure(net, net.forward(probe), ["correlation", "effective_rank"])
                accuracy = evaluate(net, data.test_x, data.test_y, data, cross_entropy)[1]
                row = (accuracy, found["correlation"], found["effective_rank"])
                seen.append([to_host(a).copy() for a in row])
            number += 1
            if number == total:
                break
        epoch += 1
    columns = {key: np.stack([r[i] for r in seen]) for i, key in enumerate(COLUMNS)}
    return {"spent": spent[moments], "steps": np.asarray(total), **columns}


def arms_of(study: Fashion, folder: Path) -> dict[tuple[int, int, str], Arrays]:
    """The results of each arm, by (width, every, arm)."""
    pieces = zip(study.settings(), study.pieces(), strict=True)
    return {key: read(folder, piece) for key, piece in pieces}


def rows(study: Fashion, folder: Path) -> Iterator[Row]:
    """Every seed at every moment that is kept, as a row of the raw file."""
    for (width, every, arm), found in arms_of(study, folder).items():
        key = {"width": width, "every": every, "arm": arm}
        for i, spent in enumerate(found["spent"]):
            for seed in range(study.seeds):
                numbers = {name: found[name][i, seed] for name in COLUMNS}
                yield {**key, "seed": seed, "spent": round(float(spent)), **numbers}


Looks = dict[tuple[int, int, str], Arrays]
"""(width, every, arm) -> spent (looks,), and each of COLUMNS as (looks, seeds)."""


def read_seeds(path: Path) -> Looks:
    """seeds.csv.gz as columns."""
    keys = {"width": int, "every": int, "arm": str}
    arms: Looks = {}
    for key, columns in raw.read(path, keys, ("seed", "spent", *COLUMNS)).items():
        seeds = len(np.unique(columns["seed"]))
        looks = {name: values.reshape(-1, seeds) for name, values in columns.items()}
        arms[key] = {name: looks[name] for name in COLUMNS} | {"spent": looks["spent"][:, 0]}
    return arms


def table(study: Fashion, arms: Looks) -> str:
    """Markdown: every arm beside full size, at a tenth of the flops and at the end."""
    heads = ["H", "every", "arm", "steps", "accuracy", "accuracy - full"]
    heads += ["the same at 10 % of the flops", "correlation", "effective rank", "rank - full"]
    body = []
    early = max(study.looks // 10, 1) - 1
    for (width, every, arm), found in arms.items():
        full = arms.get((width, study.every[0], "full"))
        late = soon = rank = "-"
        if full is not None and arm != "full":
            late = bounded(difference(found["accuracy"][-1], full["accuracy"][-1]), 2, signed=True)
            soon = bounded(
                difference(found["accuracy"][early], full["accuracy"][early]), 2, signed=True
            )
            rank = bounded(difference(found["rank"][-1], full["rank"][-1]), 2, signed=True)
        steps = len(study.cost(width, every, arm))
        cells = [str(width), str(every) if WAYS[arm] else "-", arm, str(steps)]
        cells += [f"{found['accuracy'][-1].mean():.4f}", late, soon]
        cells += [rounded(found[key][-1].mean()) for key in ("correlation", "rank")]
        body.append([*cells, rank])
    return as_markdown(heads, body) + "\n"


def report(study: Fashion, folder: Path) -> str:
    """Write seeds.csv.gz and table.md, and return the table."""
    raw.write(folder / "seeds.csv.gz", rows(study, folder))
    text = table(study, read_seeds(folder / "seeds.csv.gz"))
    atomic.write_text(folder / "table.md", text)
    return text
