"""What python -m tinydiv.grow mask computes: networks opened by a controller, and full size, in tables."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinydiv.errors import UsageError, check_known
from tinydiv.files import atomic
from tinydiv.files.table import Row, as_markdown
from tinydiv.growing import raw
from tinydiv.growing.comparing import bounded, difference, ratio
from tinydiv.growing.mask import ARMS, PUBLISHED, MaskSetting, work
from tinydiv.growing.pieces import Arrays, Piece, read
from tinydiv.growing.settings import MaskConfig
from tinydiv.settings import rounded

GROUP = 25
"""Seeds that are trained together."""

COLUMNS = ("test", "train", "size", "correlation", "rank")


@dataclass(frozen=True)
class Mask(MaskConfig):
    """What is compared: tasks and arms by name."""

    def settings(self) -> list[MaskSetting]:
        """One per task, width and rate. Raises UsageError for settings that cannot be trained."""
        for arm in self.arms:
            check_known("arm", arm, ARMS)
        found = [
            MaskSetting(task, width, lr, self.epochs, self.points)
            for task in self.tasks
            for width in self.widths
            for lr in self.lrs
        ]
        for setting in found:
            setting.check()
        if not found or not self.arms:
            raise UsageError("nothing to compare: name a task, a width, a rate and an arm")
        return found

    def pieces(self) -> list[Piece]:
        """All the work, in pieces of up to GROUP seeds; the arms take turns."""
        return [
            Piece(name_of(s, arm, first), work, (s, arm, self.group(first)))
            for s in self.settings()
            for first in range(0, self.seeds, GROUP)
            for arm in self.arms
        ]

    def group(self, first: int) -> list[int]:
        """The seeds of the piece that begins with seed `first`, in every setting and arm alike."""
        return list(range(first, min(first + GROUP, self.seeds)))

    def arm(self, folder: Path, setting: MaskSetting, arm: str) -> Arrays:
        """The results of one arm: arrays over all seeds, and (moments, seeds)."""
        firsts = range(0, self.seeds, GROUP)
        found = [read(folder, Piece(name_of(setting, arm, first), work, ())) for first in firsts]
        together = {key: np.concatenate([one[key] for one in found], axis=-1) for key in found[0]}
        return together | {"epochs": found[0]["epochs"]}


def name_of(setting: MaskSetting, arm: str, first: int) -> str:
    """The name of a piece's file: task, width, rate, arm, and its first seed."""
    return f"{setting.task}-{setting.width}-{setting.lr:g}-{arm}-{first}"


Key = tuple[str, int, float, str]
Losses = dict[Key, dict[str, np.ndarray]]
"""(task, width, rate, arm) -> columns."""


def rows(study: Mask, folder: Path) -> Iterator[Row]:
    """Every seed, as a row of the raw file."""
    for s in study.settings():
        for arm in study.arms:
            found = study.arm(folder, s, arm)
            key = {"task": s.task, "width": s.width, "lr": s.lr, "arm": arm}
            for i, seed in enumerate(found["seed"]):
                yield {**key, "seed": seed, **{name: found[name][i] for name in COLUMNS}}


def read_seeds(path: Path) -> Losses:
    """seeds.csv.gz as columns."""
    keys = {"task": str, "width": int, "lr": float, "arm": str}
    return raw.read(path, keys, ("seed", *COLUMNS))


def table(losses: Losses) -> str:
    """Markdown: every arm beside the static one, at each rate, and at its own best rate."""
    heads = ["task", "H", "rate", "arm", "seeds", "mean", "ratio of means to static"]
    heads += ["geometric ratio, or accuracy - static", "effective rank - static", "published mean"]
    body = []
    for task, width in dict.fromkeys((task, width) for task, width, _, _ in losses):
        here = {key[2:]: value for key, value in losses.items() if key[:2] == (task, width)}
        rates = list(dict.fromkeys(lr for lr, _ in here))
        arms = list(dict.fromkeys(arm for _, arm in here))
        for lr in rates:
            for arm in arms:
                body.append(
                    row(task, width, f"{lr:g}", arm, here[lr, arm], here.get((lr, "static")))
                )
        if len(rates) > 1 and len(here[rates[0], arms[0]]["seed"]) > 3:
            best = {arm: best_rate(task, arm, rates, here) for arm in arms}
            odd = {arm: held_out(here[best[arm], arm]) for arm in arms}
            for arm in arms:
                rate = f"{best[arm]:g}, best of {len(rates)}"
                body.append(row(task, width, rate, arm, odd[arm], odd.get("static")))
    return as_markdown(heads, body) + "\n"


def best_rate(
    task: str,
    arm: str,
    rates: Sequence[float],
    here: dict[tuple[float, str], dict[str, np.ndarray]],
) -> float:
    """The rate at which an arm is best on the even seeds; the table then shows the odd ones at it."""

    def score(lr: float) -> float:
        values = here[lr, arm]["test"][::2]
        good = float(np.mean(values) if task == "spirals" else -np.mean(np.log(values)))
        return good if np.isfinite(good) else -np.inf

    return max(rates, key=score)


def held_out(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The columns at the odd seeds, which did not choose the rate."""
    return {key: values[1::2] for key, values in columns.items()}


def row(
    task: str,
    width: int,
    lr: str,
    arm: str,
    found: dict[str, np.ndarray],
    static: dict[str, np.ndarray] | None,
) -> list[str]:
    """One line of the table."""
    means = beside = rank = "-"
    if static is not None and arm != "static":
        rank = bounded(difference(found["rank"], static["rank"]), 2, signed=True)
        if task == "spirals":
            beside = bounded(difference(found["test"], static["test"]), 2, signed=True)
        else:
            both = ratio(found["test"], static["test"])
            if both is not None:
                means, beside = bounded(both.means), bounded(both.geometric)
    known = PUBLISHED[task].get(arm) if width == 10 else None
    cells = [task, str(width), lr, arm, str(len(found["seed"])), rounded(found["test"].mean())]
    return [*cells, means, beside, rank, "" if known is None else f"{known:g}"]


def report(study: Mask, folder: Path) -> str:
    """Write seeds.csv.gz and table.md, and return the table."""
    raw.write(folder / "seeds.csv.gz", rows(study, folder))
    text = table(read_seeds(folder / "seeds.csv.gz"))
    atomic.write_text(folder / "table.md", text)
    return text
