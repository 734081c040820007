"""Widths and depth: the planned tests of the study widths, the most telling arms in other networks.

    python results/widths.py runs/widths   from the folder of the study, whose runs are kept
    python results/widths.py               from what lies in results/widths

The rules are those of early.py, applied to each size by itself; 784-16-10 comes from paper and atlas.
Writes verdict.md and widths.png into results/widths.
"""

import sys
from pathlib import Path

import early
from early import NAMES, WIDTHS, cell, over_settings, short, table

from tinydiv import plots
from tinydiv.command.cli import run
from tinydiv.errors import UsageError
from tinydiv.plots.style import new_figure, page, save

HERE = Path(__file__).parent / WIDTHS
SEEDS = 20
SIZES = {  # the network: its name among the settings; 784-16-10 is that of paper and atlas
    "784-8-10": "hidden 8",
    "784-16-10": "",
    "784-64-10": "hidden 64",
    "784-16-16-10": "hidden 16-16",
}
NEW = {size: f"{WIDTHS}, {name}" for size, name in SIZES.items() if name}


def is_whole(name):
    """Whether every arm and control of one size has all seeds in every setting."""
    every = ("plain", *arms(), "A/A", "one epoch ahead")
    rows = early.runs(name)
    return all(
        len(rows.get(("default", setting, arm), ())) >= SEEDS for setting in NAMES for arm in every
    )


def new():
    """{size: its name for early.py}, of the sizes that are finished."""
    return {size: name for size, name in NEW.items() if is_whole(name)}


def sizes():
    """The sizes that are shown: those that are finished, and 784-16-10."""
    return [size for size in SIZES if size not in NEW or size in new()]


def name_of(size, arm):
    """The name under which early.py has this arm at this size."""
    return NEW.get(size) or next(one for one in early.PLANNED if arm in early.arms_of(one))


def arms():
    """The ten arms, as the study lists them."""
    return list(early.arms_of(WIDTHS))


def over(size, arm, readout):
    """The arm less plain in one size, each seed's difference averaged over the settings."""
    return over_settings(name_of(size, arm), "default", arm, readout)


def effects_table(readout, *how, cells=short):
    """Arms x sizes: the mean over the settings, written by cells(comparison, *how)."""
    rows = [[arm, *(cells(over(size, arm, readout), *how) for size in sizes())] for arm in arms()]
    return table(["arm", *sizes()], rows)


def in_points(one):
    """A difference with its interval."""
    return cell(one, star=False)


def verdicts_table():
    """Arms x sizes: the word of the plan's rules."""
    rows = [
        [arm, *(early.verdict(name_of(size, arm), "default", arm) for size in sizes())]
        for arm in arms()
    ]
    return table(["arm", *sizes()], rows)


def written():
    """verdict.md: every size by itself, and side by side."""
    missing = [size for size in NEW if size not in new()]
    finished = f"**not finished:** {', '.join(missing)}, of which nothing is shown" * bool(missing)
    text = [
        "# Widths and depth, by the rules of the plan\n",
        f"{SEEDS} paired seeds, {len(arms())} arms beside plain, three sizes: {finished or 'finished'}.\n",
        early.controls_words(*new().values()),
        "## Side by side\n",
        "Mean test accuracy over epochs 1 to 5, default regime, in points more than plain: each seed's",
        f"difference averaged over the four settings, with its 95 % interval over {SEEDS} seeds",
        "(784-16-10: 50 seeds of paper or 30 of atlas), not corrected for the number of arms.\n",
        effects_table("early", cells=in_points),
        "",
        "By the rules (see ../early.py), each size by itself:\n",
        verdicts_table(),
        "",
        "The same, at the end (epoch 5):\n",
        effects_table("final", cells=in_points),
        "",
        "Correlation of the neurons at the end, less plain's (two layers: their mean):\n",
        effects_table("correlation@final", 1, 3),
        "",
        "Dead neurons at the end in points, less plain's:\n",
        effects_table("dead_fraction@final", 100, 1),
        "",
    ]
    for size, name in new().items():
        text += [
            f"## {size}\n",
            "Differences to plain in points, mean over epochs 1 to 5; \\* is shown after Holm's",
            "correction over the arms of a column. Where nothing is shown, a true effect of so many points",
            f"would have been with a chance of .8 (median over arms): {early.smallest(name, 'default')}.\n",
            early.early_table(name, "default"),
            "",
            early.verdict_words(name, "default"),
            "",
            "Was it diversity? The arms that are supported:\n",
            early.claims_table(name),
            "",
        ]
    return "\n".join(text)


def picture():
    """A panel for each setting, arms x sizes: the primary difference, framed where it is shown."""
    hidden = [size[4:-3] for size in sizes()]
    figure = new_figure(9.5, 8)
    panels = figure.subplots(2, 2, sharex=True, sharey=True)
    for ax, (setting, title) in zip(panels.flat, NAMES.items(), strict=True):
        gains, shown = early.differences(
            [[(name_of(size, arm), "default", setting, arm) for size in sizes()] for arm in arms()]
        )
        plots.heat_map(
            ax, gains, arms(), hidden, marked=shown, label="Δ points", digits=1, limit=early.LIMIT
        )
        ax.set_title(title, fontsize="medium")
    for ax in panels[1]:
        ax.set_xlabel("hidden neurons")
    figure.suptitle(
        "Mean test accuracy over epochs 1 to 5, points more than plain\n"
        f"framed: shown after Holm's correction; full colour from {early.LIMIT:g} points on",
        fontsize="medium",
    )
    return figure


def main(folders):
    """Keep the runs of the folder; write the verdict and the figure."""
    if len(folders) > 1:
        raise UsageError(f"this script takes one folder; got {len(folders)}")
    for folder in folders:
        early.keep(Path(folder), [early.WIDTHS])
    if not (HERE / "runs.csv.gz").exists():
        raise UsageError(f"no runs are kept in {HERE}: give the folder of the study")
    (HERE / "verdict.md").write_text(written(), encoding="utf-8")
    with page("light"):
        save(picture(), HERE / "widths.png")


if __name__ == "__main__":
    sys.exit(run(Path(__file__).name, main))
