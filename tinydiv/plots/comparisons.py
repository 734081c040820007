"""Comparisons over seeds: a point for every seed, an interval for every mean."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from tinydiv.errors import UsageError
from tinydiv.plots.neurons import color_bar
from tinydiv.plots.style import (
    DEAD,
    DIVERGING,
    SEQUENTIAL,
    Floats,
    brightness,
    colour,
    describe,
    frame,
    in_its_ink,
    ink,
    mark,
    symmetric,
)
from tinydiv.settings import rounded
from tinydiv.stats import bca_interval
from tinydiv.stats.comparison import written

MOST_JOINED = 60
"""Seeds that are joined by lines; more lines could not be distinguished."""


@in_its_ink
def forest(
    ax: Axes,
    names: Sequence[str],
    estimates: ArrayLike,
    lows: ArrayLike,
    highs: ArrayLike,
    *,
    points: Sequence[ArrayLike] | None = None,
    shown: Sequence[bool] | None = None,
    unit: str = "difference in test accuracy, points",
    digits: int = 2,
) -> Axes:
    """One row per arm: the estimated difference and its interval, beside a line at zero.

    A mark is filled where `shown` is true or, without `shown`, where the interval does not contain zero.
    points: each arm's differences seed by seed, drawn as small dots on its row. The numbers are at the
    right. The first row is at the top. Returns the axis.
    Raises UsageError if the lists differ in length or an interval does not hold its estimate.
    """
    middle, low, high = (np.asarray(v, dtype=np.float64) for v in (estimates, lows, highs))
    n = len(names)
    if {len(middle), len(low), len(high), n if points is None else len(points)} != {n} or n == 0:
        raise UsageError("a forest plot needs one estimate, low and high for each name")
    if not ((low <= middle) & (middle <= high)).all():
        raise UsageError("each interval must hold its estimate: low <= estimate <= high")
    for row in range(n):
        found = bool(low[row] > 0 or high[row] < 0) if shown is None else shown[row]
        if points is not None:
            dots = np.asarray(points[row], dtype=float)
            heights = row + 0.22 * spread_out(len(dots))
            ax.plot(dots, heights, ".", color=DEAD, markersize=4, zorder=1)
        ax.plot((low[row], high[row]), (row, row), color=ink(ax), linewidth=2, zorder=2)
        ax.plot(
            *([middle[row]], [row]),
            marker="D",
            markersize=8,
            color=colour(0),
            markerfacecolor=colour(0) if found else ax.get_facecolor(),
            markeredgewidth=1.6,
            zorder=3,
        )
        ax.annotate(
            f"{middle[row]:+.{digits}f} [{low[row]:+.{digits}f}, {high[row]:+.{digits}f}]",
            xy=(1.02, row),
            xycoords=ax.get_yaxis_transform(),
            va="center",
            fontsize="small",
        )
    ax.axvline(0, color=ink(ax), linewidth=1, linestyle="--", zorder=0)
    ax.set_yticks(range(n), list(names))
    ax.set_ylim(n - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_xlabel(unit)
    apart = [name for name, l, h in zip(names, low, high, strict=True) if l > 0 or h < 0]
    describe(ax, f"{unit.capitalize()}, {n} arms; apart from zero: {', '.join(apart) or 'none'}.")
    return ax


def spread_out(n: int) -> Floats:
    """n positions in [-1, 1] without a visible order: multiples of the golden ratio, modulo 1."""
    return np.array([2 * (k * 0.6180339887498949 % 1) - 1 for k in range(n)])


@in_its_ink
def paired_dots(
    ax: Axes,
    arms: Mapping[str, ArrayLike],
    *,
    intervals: Mapping[str, tuple[float, float]] | None = None,
    unit: str = "test accuracy",
) -> Axes:
    """One column per arm, one dot per seed; a thin line joins the dots of the same seed.

    Next to each column is its mean with an interval: the given one, or the 95 % bootstrap interval (BCa)
    of the mean. Where lines cross, the order of the arms depends on the seed. Returns the axis.
    Raises UsageError unless all arms have as many seeds, at least two.
    """
    values = {name: np.asarray(v, dtype=float) for name, v in arms.items()}
    sizes = {v.shape for v in values.values()}
    n = max(map(np.size, values.values()), default=0)
    if sizes != {(n,)} or n < 2:
        raise UsageError(f"paired dots need arms with the same seeds, 2 or more; got {sizes}")
    table = np.array(list(values.values()))  # (arms, seeds)
    if n <= MOST_JOINED:
        ax.plot(np.arange(len(table)), table, color=DEAD, linewidth=0.6, alpha=0.7, zorder=1)
    summary = []
    for place, (name, column) in enumerate(values.items()):
        shade, sideways = colour(place), 0.05 * spread_out(n)
        ax.plot(place + sideways, column, mark(place), color=shade, markersize=4, alpha=0.7)
        mean = float(column.mean())
        if intervals is not None:
            low, high = intervals[name]
        else:
            found = bca_interval(lambda sample: np.mean(sample, axis=-1), column)
            low, high = found.low, found.high
        beside = place + 0.17
        ax.plot((beside, beside), (low, high), color=ink(ax), linewidth=2.2, zorder=4)
        ax.plot(
            *([beside], [mean]),
            marker=mark(place),
            markersize=9,
            color=shade,
            markeredgecolor=ink(ax),
            zorder=5,
        )
        summary.append(f"{name} {rounded(mean, 4)} [{rounded(low, 4)}, {rounded(high, 4)}]")
    ax.set_xticks(np.arange(len(table)), list(values))
    ax.set_xlim(-0.5, len(table) - 0.5)
    ax.set_ylabel(unit)
    ax.set_title(f"{n} seeds; large marks: mean and 95 % interval", fontsize="small")
    describe(ax, f"{unit.capitalize()} over {n} seeds: {'; '.join(summary)}.")
    return ax


@in_its_ink
def heat_map(
    ax: Axes,
    values: ArrayLike,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    signed: bool = True,
    marked: ArrayLike | None = None,
    label: str = "",
    digits: int = 2,
    limit: float | None = None,
) -> Axes:
    """A table of coloured cells with a number in each.

    signed: blue below zero, red above, limits symmetric; otherwise dark to light. marked: cells with
    a bold number in a frame (for example those whose interval does not contain zero). NaN cells are grey.
    limit: the size from which on signed cells have the full colour; by default the largest.
    Returns the axis. Raises UsageError if the table does not fit its names.
    """
    table = np.asarray(values, dtype=float)
    if table.shape != (len(rows), len(columns)):
        raise UsageError(
            f"a table of {len(rows)} rows and {len(columns)} columns cannot be {table.shape}"
        )
    chosen = np.zeros(table.shape, bool) if marked is None else np.asarray(marked, bool)
    ax.set_facecolor(DEAD)
    limit = limit or symmetric(table)
    low, high = (-limit, limit) if signed else (np.nanmin(table), np.nanmax(table))
    colours = DIVERGING if signed else SEQUENTIAL
    picture = ax.imshow(table, cmap=colours, vmin=low, vmax=high, aspect="auto")
    for (i, j), value in np.ndenumerate(table):
        if not np.isfinite(value):
            continue
        text = ax.text(j, i, written(float(value), digits, signed=signed))
        dark = brightness(picture.to_rgba(np.array([value]))[0]) < 0.45
        text.set(ha="center", va="center", color="#ffffff" if dark else "#1a1a1a")
        if chosen[i, j]:
            text.set(fontweight="bold", bbox={"facecolor": "none", "edgecolor": text.get_color()})
    ax.set_xticks(np.arange(len(columns)), list(columns))
    ax.set_yticks(np.arange(len(rows)), list(rows))
    if max(map(len, columns)) > 10:
        ax.tick_params(axis="x", labelrotation=25)
    ax.tick_params(length=0)
    frame(ax, False)
    color_bar(ax, picture, label)
    i, j = divmod(int(np.nanargmax(table)), len(columns))
    top = f"largest {rounded(table[i, j])} at {rows[i]}, {columns[j]}"
    describe(ax, f"{label or 'Values'} for {len(rows)} rows and {len(columns)} columns; {top}.")
    return ax
