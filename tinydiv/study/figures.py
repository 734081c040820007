"""Pictures of a study, from the raw curves: three for every setting and regime, one over all settings.

curves-*.png      test accuracy over steps, the base and up to seven arms, a band over seeds
paired-*.png      the primary readout, every seed a dot, equal seeds joined
forest-*.png      differences to the partner with intervals, and every pair
heat-*.png        arms x settings: the primary difference
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from tinydiv import plots
from tinydiv.errors import RunError
from tinydiv.files import atomic
from tinydiv.plots.style import describe, new_figure
from tinydiv.study.comparing import Comparison, compare_all
from tinydiv.study.page import title
from tinydiv.study.results import Results

T = TypeVar("T")
MOST_CURVES = 8
"""Lines in one picture of curves; more would hide each other."""
CONTROL_WORDS = {
    "A/A": "(control: the base again, no effect)",
    "planted": "(control: must be found better)",
}
MOST_COLUMNS = 12
"""Arms in one picture of dots."""


def draw_all(results: Results, folder: Path) -> list[Path]:
    """Draw every picture for which there are numbers; returns their paths.

    Raises RunError if they cannot be written.
    """
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot make {folder}: {atomic.reason(error)}") from error
    paths = []
    with plots.page("light"):
        for name, figure in pictures(results):
            path = folder / f"{name}.png"
            plots.save(figure, path)
            paths.append(path)
    return paths


def pictures(results: Results) -> Iterator[tuple[str, Figure]]:
    """(name of the file, picture), one after the other."""
    for setting, regime in results.tables:
        where = file_name(f"{setting} {regime}" if setting != "all" else regime)
        yield from curve_pictures(results, setting, regime, where)
        primary = results.readout(setting, results.study.primary)
        rows = compare_all(results, setting, regime, primary)
        if rows:
            controls = {arm.name: arm.control for arm in results.arms[setting]}
            yield f"forest-{where}", forest_picture(rows, title(setting, regime), controls)
        if not primary.is_count:
            yield from dot_pictures(results, setting, regime, where)
    if len(results.study.all_settings) > 1:
        for regime in results.study.regimes:
            figure = heat_picture(results, regime)
            if figure is not None:
                yield f"heat-{regime}", figure


def file_name(words: str) -> str:
    """Words as part of a file's name: "spirals:arms=2 tuned" -> "spirals-arms-2-tuned"."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", words).strip("-")


def curve_pictures(
    results: Results, setting: str, regime: str, where: str
) -> Iterator[tuple[str, Figure]]:
    """Test accuracy over steps: the base in every picture, with up to seven other arms in each."""
    cells = results.cells_of(setting, regime)
    whole = {p: [c for c in results.found(p) if c is not None and not c.diverged] for p in cells}
    seen = [p for p in cells if whole[p]]
    if not seen:
        return
    base = [p for p in seen if p.arm == results.study.base_arm.name]
    others = [p for p in seen if p not in base]
    for end, group in in_groups(base, others, MOST_CURVES):
        figure = new_figure(8.5, 5)
        ax = figure.add_subplot()
        ends = []
        for index, one in enumerate(group):
            curves = whole[one]
            table = np.array([curve.values["test_accuracy"] for curve in curves]).T
            plots.curve(ax, curves[0].step, table, label=one.arm, index=index, band="interval")
            ends.append(f"{one.arm} ends at {100 * table[-1].mean():.1f} %")
        ax.set_xlabel("steps")
        ax.set_ylabel("test accuracy")
        ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
        ax.grid(True, axis="y", linewidth=0.6)
        ax.set_title(f"{title(setting, regime)}; band: 95 % interval of the mean", fontsize="small")
        ax.legend(loc="lower right")
        describe(ax, f"Test accuracy over steps: {'; '.join(ends)}.")
        yield f"curves-{where}{end}", figure


def in_groups(base: Sequence[T], others: Sequence[T], most: int) -> Iterator[tuple[str, list[T]]]:
    """The base with some of the others, at most so many in all; with the end of the picture's name."""
    room = most - len(base)
    starts = range(0, max(len(others), 1), room)
    for i, start in enumerate(starts, 1):
        yield f"-{i}" if len(starts) > 1 else "", [*base, *others[start : start + room]]


def dot_pictures(
    results: Results, setting: str, regime: str, where: str
) -> Iterator[tuple[str, Figure]]:
    """The primary readout: every seed a dot, equal seeds joined."""
    primary = results.readout(setting, results.study.primary)
    numbers = {p.arm: results.numbers(p, primary) for p in results.cells_of(setting, regime)}
    numbers = {arm: values for arm, values in numbers.items() if np.isfinite(values).sum() >= 2}
    base = results.study.base_arm.name
    if base not in numbers:
        return
    for end, arms in in_groups([base], [arm for arm in numbers if arm != base], MOST_COLUMNS):
        there = np.all([np.isfinite(numbers[arm]) for arm in arms], axis=0)
        if there.sum() < 2:
            continue
        figure = new_figure(max(4.0, 1.1 * len(arms) + 1), 5)
        ax = figure.add_subplot()
        plots.paired_dots(
            ax,
            {arm: primary.scale * numbers[arm][there] for arm in arms},
            unit=f"{primary.title}, %" if primary.unit == "points" else primary.title,
        )
        if max(map(len, arms)) * len(arms) > 40:
            ax.tick_params(axis="x", labelrotation=30)
            for label in ax.get_xticklabels():
                label.set_horizontalalignment("right")
        yield f"paired-{where}{end}", figure


def row_name(one: Comparison, usual: str, control: str) -> str:
    """An arm's name, its partner if that is not the usual one, and the purpose of a control."""
    lines = [one.cell.arm] + [f"against {one.partner}"] * (one.partner != usual)
    return "\n".join([*lines, CONTROL_WORDS[control]] if control else lines)


def forest_picture(rows: list[Comparison], above: str, controls: Mapping[str, str]) -> Figure:
    """Differences with intervals; a filled mark where the table has a star. controls: kinds by arm."""
    figure = new_figure(9.5, 1.6 + 0.38 * len(rows))
    ax = figure.add_subplot()
    readout = rows[0].readout
    scale = readout.scale
    # Of five pairs or fewer the interval is infinite: the range of the pairs is drawn.
    lows = [max(one.paired.interval.low, one.pairs.min()) for one in rows]
    highs = [min(one.paired.interval.high, one.pairs.max()) for one in rows]
    plots.forest(
        ax,
        [row_name(one, rows[0].partner, controls.get(one.cell.arm, "")) for one in rows],
        [scale * one.paired.difference for one in rows],
        [scale * low for low in lows],
        [scale * high for high in highs],
        points=[scale * one.pairs for one in rows],
        shown=[one.paired.shown for one in rows],
        unit=f"difference to {rows[0].partner}: {readout.title}, {readout.unit}".rstrip(", "),
    )
    n = sorted({one.paired.n for one in rows})
    pairs = f"{n[0]} pairs" if len(n) == 1 else f"{n[0]} to {n[-1]} pairs"
    bars = "bars: the range of the pairs" if n[0] < 6 else "bars: 95 % intervals"
    ax.set_title(
        f"{above}; {pairs}; {bars}\nfilled: shown after Holm's correction (controls: without it)",
        fontsize="small",
    )
    return figure


def heat_picture(results: Results, regime: str) -> Figure | None:
    """Arms x settings: the primary difference, framed where it is shown."""
    settings = [setting.name for setting in results.study.all_settings]
    found: dict[tuple[str, str], Comparison] = {}
    for setting in settings:
        primary = results.readout(setting, results.study.primary)
        for one in compare_all(results, setting, regime, primary):
            found[one.cell.arm, setting] = one
    arms = list(dict.fromkeys(arm for arm, _ in found))
    if not arms:
        return None
    table = np.full((len(arms), len(settings)), np.nan)
    shown = np.zeros(table.shape, bool)
    for (arm, setting), one in found.items():
        cell = arms.index(arm), settings.index(setting)
        table[cell] = one.readout.scale * one.paired.difference
        shown[cell] = one.paired.shown
    below = 0.05 * max(map(len, settings))
    figure = new_figure(3.5 + 0.85 * len(settings), 1.8 + below + 0.42 * len(arms))
    ax = figure.add_subplot()
    primary = results.readout(settings[0], results.study.primary)
    unit = primary.unit or primary.name
    plots.heat_map(ax, table, arms, settings, marked=shown, label=f"Δ {unit}", digits=1)
    if max(map(len, settings)) > 10:
        for label in ax.get_xticklabels():
            label.set(rotation=40, horizontalalignment="right", rotation_mode="anchor")
    ax.set_title(
        f"{regime} regime: {primary.title}, difference to the partner\n"
        "framed: shown after Holm's correction (controls: without it)",
        fontsize="small",
    )
    return figure
