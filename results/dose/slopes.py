"""The planned test of the dose study: does accuracy follow the correlation, within each family of arms?

    python results/dose/slopes.py runs/dose        from the folder of the study
    python results/dose/slopes.py                  from the runs.csv.gz that lies beside this file

Every network is compared with plain's of the same seed: x is the change of correlation, y the change of
accuracy, after epoch 1 and at the end. In each seed a line of least squares goes through the points of a
family's four strengths and plain, which is (0, 0) by definition. A sign-flip test over the slopes, one per
seed; Holm's correction over all families, sets and moments of a reading. The second reading leaves out
strengths at which dead neurons rise by DEAD or more.

Writes slopes.md and dose.png beside this file.
"""

import csv
import gzip
import sys
from pathlib import Path

import numpy as np

from tinydiv import stats
from tinydiv.command.cli import run
from tinydiv.plots.style import colour, describe, new_figure, page, save

HERE = Path(__file__).parent
KEPT = HERE / "runs.csv.gz"
SETS = ("fashion-mnist", "mnist")
FAMILIES = ("decov", "pearson", "alike", "cosine", "logdet", "ambiguity")
MOMENTS = {"epoch 1": ("correlation@epoch1", "epoch1"), "the end": ("correlation@final", "final")}
DEAD = 0.1
"""A rise of the share of dead neurons from which a strength is left out of the second reading."""


def read(path):
    """{set: {arm: {seed: row}}}, of networks that did not diverge."""
    found = {name: {} for name in SETS}
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        for row in csv.DictReader(file):
            if not row["diverged_step"]:
                found[row["setting"]].setdefault(row["arm"], {})[int(row["seed"])] = row
    return found


def strengths(arms, family):
    """The arms of a family, from the smallest strength to the largest."""
    mine = [arm for arm in arms if arm.split()[0] == family]
    return sorted(mine, key=lambda arm: float(arm.split()[1]))


def seeds_of(arms, names):
    """The seeds that plain and all these arms have."""
    return sorted(set.intersection(*(set(arms[name]) for name in ("plain", *names))))


def changes(arms, names, column, seeds):
    """The differences to plain of one column, (arms, seeds)."""
    of = {
        name: np.array([float(arms[name][s][column]) for s in seeds]) for name in ("plain", *names)
    }
    return np.array([of[name] - of["plain"] for name in names])


def slopes_of(x, y):
    """The slope in each seed, points of accuracy per 0.1 of correlation. x, y: (arms, seeds)."""
    x, y = (np.concatenate([np.zeros_like(a[:1]), a]) for a in (x, y))
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    return 10 * (x * y).sum(axis=0) / (x**2).sum(axis=0)


def readings(arms_of):
    """Every slope: [(reading, set, family, moment, strengths, slopes per seed)]."""
    found = []
    for reading in ("all strengths", "without dead neurons"):
        for name, arms in arms_of.items():
            for family in FAMILIES:
                chosen = strengths(arms, family)
                if reading == "without dead neurons":
                    seeds = seeds_of(arms, chosen)
                    rise = changes(arms, chosen, "dead_fraction@final", seeds).mean(axis=1)
                    chosen = [arm for arm, more in zip(chosen, rise, strict=True) if more < DEAD]
                for moment, (correlation, accuracy) in MOMENTS.items():
                    slopes = None
                    if chosen:
                        seeds = seeds_of(arms, chosen)
                        x = changes(arms, chosen, correlation, seeds)
                        slopes = slopes_of(x, changes(arms, chosen, accuracy, seeds))
                    found.append((reading, name, family, moment, len(chosen), slopes))
    return found


def table(found):
    """One line per slope, Holm within each reading."""
    lines = []
    for reading in dict.fromkeys(row[0] for row in found):
        rows = [row for row in found if row[0] == reading]
        p = [1.0 if row[5] is None else stats.sign_flip_test(row[5]) for row in rows]
        lines += [
            f"## {reading[0].upper()}{reading[1:]}\n",
            "| set | family | moment | strengths | seeds | points per 0.1 of correlation | p, Holm |",
            "|---|---|---|---|---|---|---|",
        ]
        for row, adjusted in zip(rows, stats.holm(p), strict=True):
            _, name, family, moment, n, slopes = row
            if slopes is None:
                lines.append(
                    f"| {name} | {family} | {moment} | 0 | | every strength kills neurons | |"
                )
                continue
            ends = stats.sign_flip_interval(slopes)
            value = f"{slopes.mean():+.2f} [{ends.low:.2f}, {ends.high:.2f}]"
            shown = "< .0001" if adjusted < 1e-4 else f"{adjusted:.4f}"
            lines.append(
                f"| {name} | {family} | {moment} | {n} | {len(slopes)} | {value} | {shown} |"
            )
        lines.append("")
    return "\n".join(lines)


def picture(arms_of):
    """Mean change of accuracy against mean change of correlation, one line per family."""
    figure = new_figure(7.5, 6.5)
    axes = figure.subplots(2, 2)
    for row, (name, arms) in zip(axes, arms_of.items(), strict=True):
        for ax, (moment, (correlation, accuracy)) in zip(row, MOMENTS.items(), strict=True):
            for place, family in enumerate(FAMILIES):
                chosen = strengths(arms, family)
                seeds = seeds_of(arms, chosen)
                x = changes(arms, chosen, correlation, seeds).mean(axis=1)
                y = 100 * changes(arms, chosen, accuracy, seeds).mean(axis=1)
                at = {"color": colour(place), "marker": "o", "markersize": 5, "label": family}
                ax.plot([0, *x], [0, *y], **at)
            ax.axhline(0, color="grey", linewidth=0.6)
            ax.axvline(0, color="grey", linewidth=0.6)
            ax.set_yscale("symlog", linthresh=1)
            ax.set_yticks([-30, -10, -3, -1, 0, 1], ["-30", "-10", "-3", "-1", "0", "+1"])
            ax.set_ylim(-70, 2)
            ax.set_title(f"{name}, {moment}", fontsize="medium")
            describe(ax, f"Change of accuracy against change of correlation, {name}, {moment}.")
    for ax in axes[:, 0]:
        ax.set_ylabel("change of accuracy, points")
    for ax in axes[-1]:
        ax.set_xlabel("change of the neurons' correlation")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=6)
    return figure


def main(folders):
    """Write the table and the figure."""
    arms_of = read(Path(folders[0]) / "runs.csv" if folders else KEPT)
    title = "# Slopes of accuracy against correlation, within seeds\n\n"
    (HERE / "slopes.md").write_text(title + table(readings(arms_of)), encoding="utf-8")
    with page("light"):
        save(picture(arms_of), HERE / "dose.png")


if __name__ == "__main__":
    sys.exit(run(Path(__file__).name, main))
