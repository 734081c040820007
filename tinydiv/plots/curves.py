"""Numbers over training: learning curves, diversity, dead neurons, with bands over networks.

`runs` is a list of records, as train() returns it, or several lists by name: {"none": records,
"decov": records}. Every key of Record.flat() can be drawn.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from tinydiv.diversity import METRICS
from tinydiv.errors import UsageError, check_known, unknown
from tinydiv.loop import Record
from tinydiv.plots.style import (
    SEQUENTIAL,
    Floats,
    colour,
    dash,
    describe,
    in_its_ink,
    ink,
    mark,
    title_of,
)
from tinydiv.settings import rounded, sentence_and_paper
from tinydiv.stats import bca_interval

Records = Mapping[str, Sequence[Record]] | Sequence[Record]
Band = Literal["range", "deviation", "interval", "quantiles"]

BANDS: dict[str, str] = {
    "range": "smallest to largest",
    "deviation": "mean ± standard deviation",
    "interval": "95 % interval of the mean",
    "quantiles": "middle half, and 5 % to 95 %",
}
"""The kinds of band, with their descriptions in the title."""

WORDS = {
    "test_accuracy": "test accuracy",
    "test_error": "test error (mean squared)",
    "train_loss": "training loss",
    "test_loss": "test loss",
    "seconds": "seconds",
    "rate": "factor on the rate",
}
MOST_INSIDE = 3
"""Entries of a legend inside an axis; a longer one is placed beside it."""
MANY = 20
"""From this many networks on, quantiles are drawn in place of the smallest and the largest."""
MOST_POINTS = 250
"""Points in a scatter plot; more would hide each other."""
MOST_MARKS = 12
"""Marks on a line; more would hide it."""


def in_words(key: str) -> str:
    """A record's key as the label of an axis: "weight_cosine.2" -> "weight cosine, layer 2"."""
    if key in WORDS:
        return WORDS[key]
    if key.startswith("penalty."):
        return f"penalty {key.removeprefix('penalty.')}"
    name, _, layer = key.partition(".")
    return name.replace("_", " ") + (f", layer {layer}" if layer else "")


@in_its_ink
def curve(
    ax: Axes,
    x: Sequence[float] | Floats,
    values: Sequence[Sequence[float]] | Floats,
    *,
    label: str = "",
    index: int = 0,
    band: Band = "range",
) -> Axes:
    """One line with its band: the mean over networks at each x, and their spread.

    values (T, R): R numbers, one per network, at each of the T points. Networks that diverged (NaN)
    are left out where they are NaN. index chooses colour, line style and mark. Returns the axis.
    Raises UsageError for another kind of band, or where x and values do not fit.
    """
    check_known("band", band, BANDS)
    xs, table = np.asarray(x, dtype=float), np.asarray(values, dtype=float)
    if table.ndim != 2 or len(table) != len(xs):
        raise UsageError(f"{len(xs)} points need values of shape ({len(xs)}, R), got {table.shape}")
    middle, low, high = np.array([spread(row[np.isfinite(row)], band) for row in table]).T
    bands = [(low, high)] if table.shape[1] > 1 else []
    if bands and band == "quantiles":
        seen = [row[np.isfinite(row)] for row in table]
        edges = [np.quantile(row, (0.05, 0.95)) if row.size else (np.nan, np.nan) for row in seen]
        bands.append(tuple(np.array(edges).T))
    for edge in bands:
        ax.fill_between(xs, *edge, color=colour(index), alpha=0.18, linewidth=0)
    ax.plot(
        *(xs, middle),
        color=colour(index),
        linestyle=dash(index),
        marker=mark(index),
        markersize=5,
        markevery=max(1, -(-len(xs) // MOST_MARKS)),
        label=label or "_",
    )
    return ax


def spread(seen: Floats, band: Band) -> tuple[float, float, float]:
    """The middle of some networks' numbers with the band's lower and upper edge; NaN if there are none.

    The middle is the median for quantiles, with the quartiles as edges, and the mean for the others.
    """
    if not seen.size:
        return np.nan, np.nan, np.nan
    if band == "quantiles":
        low, median, high = np.quantile(seen, (0.25, 0.5, 0.75))
        return float(median), float(low), float(high)
    middle = float(seen.mean())
    if band == "range" or seen.size == 1:
        return middle, float(seen.min()), float(seen.max())
    if band == "deviation":
        width = float(seen.std(ddof=1))
        return middle, middle - width, middle + width
    found = bca_interval(lambda sample: np.mean(sample, axis=-1), seen, resamples=1999)
    return middle, found.low, found.high


@in_its_ink
def learning_curves(
    ax: Axes,
    runs: Records,
    *,
    value: str = "test_accuracy",
    over: Literal["epoch", "step", "seconds"] = "epoch",
    band: Band = "range",
) -> Axes:
    """One line per run: a value of the records over epochs, with a band over the run's networks.

    value: any key of Record.flat(): test_accuracy, train_loss, a metric's name, penalty.NAME. A
    metric's name alone draws one line per hidden layer. Returns the axis.
    Raises UsageError for a value that the records do not hold, and for runs without records.
    """
    named = runs if isinstance(runs, Mapping) else {"": runs}
    networks, index, summary = set[int](), 0, []
    for name, records in named.items():
        if not records:
            raise UsageError(f"there are no records to draw{f' for {name!r}' if name else ''}")
        flat = [record.flat() for record in records]
        for key in keys_of(value, [key for one in flat for key in one]):
            # A penalty has no value before the first step: begin where the key does.
            points = [(one[over], numbers(one[key])) for one in flat if key in one]
            layer = in_words(key).partition(", ")[2] if key != value else ""
            label = ", ".join(part for part in (name, layer) if part)
            xs = [float(x) for x, _ in points if isinstance(x, int | float)]
            table = [row for _, row in points]
            curve(ax, xs, table, label=label, index=index, band=band)
            networks.add(len(table[0]))
            last = spread(np.array([v for v in table[-1] if np.isfinite(v)]), "range")[0]
            summary.append(f"{label or 'the run'} ends at {rounded(last)}")
            index += 1
    finish(ax, value, over, networks, band, legend=index > 1)
    describe(ax, f"{in_words(value).capitalize()} over {over}s: {'; '.join(summary)}.")
    return ax


def keys_of(value: str, keys: Sequence[str]) -> list[str]:
    """The keys of the records for a value: its name, or one per layer: correlation.1, ..."""
    every = list(dict.fromkeys(keys))
    found = [key for key in every if key == value or key.rpartition(".")[0] == value]
    if not found:
        drawable = [key for key in every if key not in ("epoch", "step")]
        raise unknown("value in these records", value, drawable)
    return found


def numbers(value: float | list[float]) -> list[float]:
    """A record's entry as one number per network."""
    return value if isinstance(value, list) else [float(value)]


def finish(
    ax: Axes, value: str, over: str, networks: set[int], band: Band, *, legend: bool
) -> None:
    """Labels, ticks at whole epochs, percent for shares, the meaning of the band, and a legend."""
    ax.set_xlabel(over)
    ax.set_ylabel(in_words(value))
    if over == "epoch":
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    if value == "test_accuracy":
        ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    ax.grid(True, axis="y", linewidth=0.6)
    many = {n for n in networks if n > 1}
    count = str(many.pop()) if len(many) == 1 else "the"
    middle = "median" if band == "quantiles" else "mean"
    words = f"{middle} of {count} networks,\nband: {BANDS[band]}" if networks - {1} else ""
    if words:
        ax.set_title(words, fontsize="small")
    if legend:
        legend_beside(ax)


@in_its_ink
def histogram(ax: Axes, values: Sequence[float] | Floats, *, unit: str = "test accuracy") -> Axes:
    """A histogram of a number over many networks, with the median, 5 % and 95 % marked.

    Networks that diverged (NaN) are left out and counted in the title. Returns the axis.
    Raises UsageError if no network is left.
    """
    every = np.asarray(values, dtype=float).ravel()
    seen = every[np.isfinite(every)]
    if not seen.size:
        raise UsageError("a histogram needs at least one number")
    low, median, high = np.quantile(seen, (0.05, 0.5, 0.95))
    ax.hist(seen, bins=min(40, max(5, round(seen.size**0.5))), color=colour(0), alpha=0.8)
    for value, dashes in ((low, ":"), (median, "-"), (high, ":")):
        ax.axvline(float(value), color=ink(ax), linestyle=dashes, linewidth=1.4)
    ax.set_xlabel(unit)
    ax.set_ylabel("networks")
    ax.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    ax.xaxis.set_major_locator(MaxNLocator(3))
    gone = f", {every.size - seen.size} diverged" if seen.size < every.size else ""
    if unit == "test accuracy":
        ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    summary = f"median {rounded(median)}, 5 % to 95 %: {rounded(low)} to {rounded(high)}{gone}"
    ax.set_title(
        f"median {rounded(median)}{gone}\n5 to 95 %: {rounded(low)} to {rounded(high)}",
        fontsize="small",
    )
    describe(ax, f"{unit.capitalize()} of {every.size} networks: {summary}.")
    return ax


@in_its_ink
def cloud(ax: Axes, x: Floats, y: Floats) -> Axes:
    """Pairs of numbers as points; from MOST_POINTS on as their density, with quantiles of y.

    Many pairs are divided by x into ten parts of equal count. A line joins the medians of y; the bands
    contain its middle half, and 5 % to 95 %. Returns the axis.
    """
    if len(x) < MOST_POINTS:
        ax.scatter(x, y, s=26, alpha=0.7, color=colour(0), edgecolor="none")
        return ax
    ax.hexbin(x, y, gridsize=30, bins="log", cmap=SEQUENTIAL, mincnt=1, linewidths=0.1, alpha=0.6)
    parts = np.array_split(np.argsort(x, kind="stable"), 10)
    middles = [float(np.median(x[part])) for part in parts]
    low, q1, median, q3, high = np.transpose(
        [np.quantile(y[part], (0.05, 0.25, 0.5, 0.75, 0.95)) for part in parts]
    )
    for bottom, top in ((low, high), (q1, q3)):
        ax.fill_between(middles, bottom, top, color=colour(0), alpha=0.2, linewidth=0)
    ax.plot(
        middles, median, color=colour(0), marker=mark(0), markersize=4, label="median of a tenth"
    )
    return ax


def legend_beside(ax: Axes) -> None:
    """A legend: inside the axis if it is short, to the right of it if it would hide the lines."""
    _, labels = ax.get_legend_handles_labels()
    legend = ax.legend()
    if len(labels) > MOST_INSIDE:
        legend.set_loc("upper left")
        legend.set_bbox_to_anchor((1.01, 1.0))
        legend.set_frame_on(False)


@in_its_ink
def diversity_over_training(
    ax: Axes, runs: Records, *, metric: str = "correlation", band: Band = "range"
) -> Axes:
    """A diversity metric after each epoch, from the untrained network on.

    metric: any name of tinydiv.diversity.METRICS that was measured. Returns the axis.
    """
    learning_curves(ax, runs, value=metric, band=band)
    if metric in METRICS:
        lines = [sentence_and_paper(METRICS[metric])[0], title_of(ax)]
        ax.set_title("\n".join(filter(None, lines)), fontsize="small")
    return ax


@in_its_ink
def dead_units(ax: Axes, runs: Records, *, band: Band = "range") -> Axes:
    """The share of hidden neurons that are constant on the probe set, after each epoch.

    Returns the axis. Needs the metric dead_fraction in the records.
    """
    learning_curves(ax, runs, value="dead_fraction", band=band)
    ax.set_ylabel("dead neurons")
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    top = ax.get_ylim()[1]
    ax.set_ylim(-0.02 * max(top, 0.05), max(top, 0.05))
    return ax
