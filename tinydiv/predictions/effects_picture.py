"""How diversity affects predictions: four axes, one for each measurement of effects.py."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from tinydiv.errors import UsageError
from tinydiv.plots.curves import cloud, in_words
from tinydiv.plots.style import DEAD, Picture, colour, describe, ink, new_figure, page
from tinydiv.predictions.effects import Ablation, Ambiguity, BiasVariance, Effects
from tinydiv.settings import rounded
from tinydiv.stats import Interval


def ablation_scatter(ax: Axes, found: Ablation) -> Axes:
    """Accuracy lost without each neuron, against its largest correlation with another one.

    A point for each neuron of all networks (if there are many, their density and quantiles); grey crosses
    are dead neurons. Returns the axis.
    """
    drop, alike = np.array(found.drop).ravel(), np.array(found.alike).ravel()
    alive = np.array(found.alive).ravel()
    ax.axhline(0, color=ink(ax), linewidth=0.8)
    cloud(ax, alike[alive], drop[alive])
    if (~alive).any():
        ax.scatter(alike[~alive], drop[~alive], s=26, color=DEAD, marker="x", label="dead")
    if ax.get_legend_handles_labels()[0]:
        ax.legend(fontsize="small", loc="upper left")
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    ax.set_xlim(-0.03, 1.03)
    ax.set_xlabel("largest |correlation| with another neuron")
    ax.set_ylabel("accuracy lost without it")
    relation = interval_words(found.relation)
    ax.set_title(f"what each neuron is worth\n{relation}", fontsize="small")
    describe(ax, f"Accuracy lost without each of {len(drop)} neurons, {relation}.")
    return ax


def write_above(ax: Axes, x: float, y: float, number: str) -> None:
    """Write a bar's number just above its end."""
    text = ax.annotate(number, (x, y), (0, 3), textcoords="offset points", ha="center")
    text.set_fontsize("small")


def ambiguity_bars(ax: Axes, found: Ambiguity) -> Axes:
    """Three bars: a neuron's own error, the part that disagreement cancels, and the network's error.

    Returns the axis.
    """
    members, apart, error = (
        float(np.mean(v)) for v in (found.members, found.ambiguity, found.error)
    )
    ax.bar([0], [members], color=colour(0), width=0.6)
    ax.bar([1], [apart], bottom=[error], color=colour(1), width=0.6, hatch="//", edgecolor=ink(ax))
    ax.bar([2], [error], color=colour(2), width=0.6)
    for x, y, height in ((0, members, members), (1, members, apart), (2, error, error)):
        write_above(ax, x, y, rounded(height))
    ax.set_xticks([0, 1, 2], ["one neuron\n(mean)", "cancelled", "network"])
    ax.set_ylabel("squared error")
    ax.set_ylim(0, 1.14 * max(members, error))
    ax.set_title("neurons as an ensemble\n(Krogh and Vedelsby)", fontsize="small")
    describe(
        ax,
        f"A neuron's mean squared error {rounded(members)}, less ambiguity {rounded(apart)}, is the "
        f"network's {rounded(error)}.",
    )
    return ax


def bias_variance_bars(ax: Axes, found: BiasVariance) -> Axes:
    """bias^2, var/H and (1 - 1/H) cov, one after the other, up or down to the error. Returns the axis."""
    steps = (found.bias, found.variance / found.H, (1 - 1 / found.H) * found.covariance)
    base, reached = 0.0, [0.0, found.error]
    for x, height in enumerate(steps):
        ax.bar([x], [height], bottom=[base], color=colour(x), width=0.6, hatch=("", "//", "..")[x])
        ax.plot([x - 0.3, x + 1.3], [base + height] * 2, color=ink(ax), linewidth=0.8)
        write_above(ax, x, max(base, base + height), rounded(height, sign="+"))
        base += height
        reached.append(base)
    room = 0.14 * (max(reached) - min(reached))
    ax.set_ylim(min(reached) - (room if min(reached) < 0 else 0), max(reached) + room)
    ax.bar([3], [found.error], color=DEAD, width=0.6)
    write_above(ax, 3, found.error, rounded(found.error))
    ax.set_xticks(range(4), ["bias²", "var / H", "cov ×\n(1 − 1/H)", "error"])
    ax.set_ylabel("squared error")
    ax.set_title("over starts\n(Ueda and Nakano)", fontsize="small")
    words = ", ".join(rounded(v) for v in steps)
    describe(ax, f"Bias, variance and covariance terms {words} add up to {rounded(found.error)}.")
    return ax


def diversity_scatter(ax: Axes, found: Effects, metric: str = "correlation") -> Axes:
    """Test accuracy of every network against its diversity. Returns the axis.

    Raises UsageError for a metric that was not measured.
    """
    if metric not in found.diversity:
        raise UsageError(f"{metric!r} was not measured")
    cloud(ax, np.array(found.diversity[metric]), np.array(found.accuracy))
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.set_xlabel(in_words(metric))
    ax.set_ylabel("test accuracy")
    relation = interval_words(found.relations.get(metric))
    ax.set_title(f"{len(found.accuracy)} networks\n{relation}", fontsize="small")
    describe(
        ax,
        f"Test accuracy against {in_words(metric)} of {len(found.accuracy)} networks, {relation}.",
    )
    return ax


def interval_words(interval: Interval | None) -> str:
    """A rank correlation as text: "rank corr. -0.31 [-0.52, -0.07]"; None: too few for one."""
    if interval is None:
        return "too few for a rank correlation"
    return f"rank corr. {interval.estimate:+.2f} [{interval.low:+.2f}, {interval.high:+.2f}]"


def predictions_picture(
    found: Effects, *, metric: str = "correlation", kind: str = "light"
) -> Picture:
    """All measurements on one page; for a single network, without those over networks."""
    several = found.bias_variance is not None
    with page(kind):
        figure = new_figure(8, 7.6) if several else new_figure(8, 4)
        axes = np.asarray(figure.subplots(2 if several else 1, 2)).ravel()
        ablation_scatter(axes[0], found.ablation)
        ambiguity_bars(axes[1], found.ambiguity)
        if found.bias_variance is not None:
            bias_variance_bars(axes[2], found.bias_variance)
            diversity_scatter(axes[3], found, metric)
    return figure
