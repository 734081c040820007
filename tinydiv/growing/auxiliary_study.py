"""What python -m tinydiv.grow auxiliary computes: networks that learn their size, and the tables."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tinydiv.errors import UsageError, check_known
from tinydiv.files import atomic
from tinydiv.files.table import Row, as_markdown
from tinydiv.growing import raw
from tinydiv.growing.auxiliary import ARMS, CHUNK, PUBLISHED, AuxiliarySetting, Trials, train
from tinydiv.growing.comparing import bounded, difference, ratio
from tinydiv.growing.pieces import Arrays, Piece, read

MOMENTS = 40

COMPARISONS = (
    ("growing", "grown", "the paper's two arms"),
    ("growing-plain", "grown-plain", "the same without the input N"),
    ("gate-ramps", "grown", "only the gates grow"),
    ("input-ramps", "grown", "only the input grows"),
    ("grown-input-1", "grown", "grown with the input 1"),
    ("growing", "grown-plain", "the paper's growing arm, beside the plain control"),
    ("growing", "grown-input-1", "the paper's growing arm, beside the control with input 1"),
)
"""Which arms are compared: (arm, control, what it shows)."""

PUBLISHED_BANDS = (
    ((0.01, 0.02), 11.4),
    ((0.03, 0.05), 4.5),
    ((0.09, 0.11), 0.58),
    ((0.1, 0.15), 0.37),
    ((0.15, 0.2), 0.23),
    ((0.2, 0.3), 0.29),
    ((0.3, 0.5), 0.47),
    ((0.5, 1), 0.53),
    ((1, 10), 0.75),
    ((10, 100), 0.93),
)
"""The paper's sweep on bessel-window, growing/grown as geometric means by band of lambda."""


@dataclass(frozen=True)
class Auxiliary:
    """What is compared."""

    tasks: tuple[str, ...] = ("bessel-window",)
    arms: tuple[str, ...] = tuple(ARMS)
    lams: tuple[float, ...] | None = None
    trials: int = 1000
    goal: float = 5.0
    room: int = 9
    epochs: int | None = None
    shared: bool = False
    seed: int = 0

    def settings(self) -> list[AuxiliarySetting]:
        """One per task and lambda. Raises UsageError for settings that cannot make a network."""
        found = []
        for task in self.tasks:
            check_known("task", task, PUBLISHED)
            usual = PUBLISHED[task]
            for lam in self.lams or (usual.lam,):
                epochs = self.epochs or usual.epochs
                setting = replace(usual, lam=lam, goal=self.goal, room=self.room, epochs=epochs)
                setting.check()
                found.append(setting)
        for arm in self.arms:
            check_known("arm", arm, ARMS)
        if not found or not self.arms:
            raise UsageError("nothing to compare: name a task and an arm")
        return found

    def pieces(self) -> list[Piece]:
        """All the work, in pieces of up to CHUNK trials; the arms take turns."""
        return [
            Piece(name_of(s, arm, first), work, (s, arm, self.seeds(first), self.shared))
            for s in self.settings()
            for first in range(0, self.trials, CHUNK)
            for arm in self.arms
        ]

    def seeds(self, first: int) -> list[int]:
        """The seeds of the piece that begins with trial `first`, in every task and arm alike."""
        last = min(first + CHUNK, self.trials)
        return list(range(self.seed + first, self.seed + last))

    def arm(self, folder: Path, setting: AuxiliarySetting, arm: str) -> Arrays:
        """The results of one arm: arrays over all trials, and (moments, trials)."""
        firsts = range(0, self.trials, CHUNK)
        found = [read(folder, Piece(name_of(setting, arm, first), work, ())) for first in firsts]
        together = {key: np.concatenate([one[key] for one in found], axis=-1) for key in found[0]}
        return together | {"epochs": found[0]["epochs"]}


def name_of(setting: AuxiliarySetting, arm: str, first: int) -> str:
    """The name of a piece's file: task, lambda, arm, and its first trial."""
    return f"{setting.task}-{setting.lam:g}-{arm}-{first}"


def work(setting: AuxiliarySetting, arm: str, seeds: Sequence[int], shared: bool) -> Arrays:
    """One piece: train, and keep a few numbers of each trial."""
    with np.errstate(over="ignore", invalid="ignore"):  # a trial that diverges is counted as such
        outcome = train(ARMS[arm], Trials(setting, seeds, shared=shared), moments=MOMENTS)
    return {
        "seed": np.asarray(seeds),
        "test": outcome.test,
        "train": outcome.train,
        "size": outcome.size,
        "rank": outcome.rank,
        "epochs": np.asarray(outcome.epochs),
        "sizes": outcome.sizes.astype("float32"),
        "losses": outcome.losses.astype("float32"),
    }


COLUMNS = ("test", "train", "size", "rank")


def rows(study: Auxiliary, folder: Path) -> Iterator[Row]:
    """Every trial: task, lambda, arm, seed, test and training loss, N, effective rank."""
    for setting in study.settings():
        for arm in study.arms:
            found = study.arm(folder, setting, arm)
            key = {"task": setting.task, "lambda": f"{setting.lam:g}", "arm": arm}
            for i, seed in enumerate(found["seed"]):
                yield {**key, "seed": seed, **{name: found[name][i] for name in COLUMNS}}


Losses = dict[tuple[str, str, str], dict[str, np.ndarray]]
"""(task, lambda, arm) -> columns."""


def read_trials(path: Path) -> Losses:
    """trials.csv.gz as columns."""
    return raw.read(path, {"task": str, "lambda": str, "arm": str}, ("seed", *COLUMNS))


def table(losses: Losses) -> str:
    """Markdown: each comparison with its intervals, the published figure beside it."""
    heads = ["task", "lambda", "arm / control", "what it shows", "trials", "ratio of means"]
    heads += ["geometric", "wins", "rank, arm - control", "published"]
    body = []
    for task, lam in dict.fromkeys((task, lam) for task, lam, _ in losses):
        for a, b, what in COMPARISONS:
            one, other = losses.get((task, lam, a)), losses.get((task, lam, b))
            if one is None or other is None:
                continue
            found = ratio(one["test"], other["test"])
            if found is None:
                continue
            ranks = bounded(difference(one["rank"], other["rank"]), 2, signed=True)
            known = published(task, float(lam)) if (a, b) == ("growing", "grown") else ""
            cells = [task, lam, f"{a} / {b}", what, str(found.trials), bounded(found.means)]
            body.append([*cells, bounded(found.geometric), f"{found.wins:.0%}", ranks, known])
    return as_markdown(heads, body) + "\n"


def published(task: str, lam: float) -> str:
    """The paper's growing/grown at this lambda, where it is known."""
    if task != "bessel-window":
        return ""
    bands = [f"{value:g}" for (low, high), value in PUBLISHED_BANDS if low <= lam <= high]
    return f"geometric {' to '.join(bands)}" if bands else ""


def report(study: Auxiliary, folder: Path) -> str:
    """Write trials.csv.gz and table.md, and return the table."""
    raw.write(folder / "trials.csv.gz", rows(study, folder))
    text = table(read_trials(folder / "trials.csv.gz"))
    atomic.write_text(folder / "table.md", text)
    return text
