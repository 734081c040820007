"""Pictures of networks with two inputs: the predicted class at each point, and the neurons' weights."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.lines import Line2D

from tinydiv.backend import Array, to_device
from tinydiv.data.dataset import Dataset
from tinydiv.diversity import one_network
from tinydiv.errors import UsageError
from tinydiv.mlp import MLP
from tinydiv.plots.style import (
    DEAD,
    Dash,
    Floats,
    colour,
    dash,
    describe,
    flags,
    in_its_ink,
    ink,
    mark,
    one,
)

NO_GAP = {"shrinkA": 0, "shrinkB": 0}
"""Settings of an arrow that begins and ends exactly at its points."""
GRID = 201
"""Points along each side of the plane at which the network is evaluated."""
MOST_POINTS = 600
"""Samples that are drawn, the first of the test part; more would hide the regions."""


@in_its_ink
def decision_regions(ax: Axes, net: MLP, dataset: Dataset, *, replica: int = 0) -> Axes:
    """The class that a network predicts at every point of a 2-D set's plane, with its samples.

    Each class has a colour (its region lighter) and a mark. Dashed lines are where each neuron of the
    first hidden layer crosses zero: its pre-activation is negative on one side and positive on the
    other. Of several networks, `replica` is shown. Returns the axis.
    Raises UsageError if the set's inputs are not two numbers.
    """
    if dataset.n_inputs != 2:
        raise UsageError(
            f"decision regions need 2 inputs, and {dataset.name!r} has {dataset.n_inputs}"
        )
    x, y = dataset.test_x[:MOST_POINTS].astype(float), dataset.test_y[:MOST_POINTS]
    low, high = x.min(axis=0), x.max(axis=0)
    margin = 0.15 * np.maximum(high - low, 1e-6)
    across, along = (np.linspace(low[i] - margin[i], high[i] + margin[i], GRID) for i in (0, 1))
    points = np.stack(np.meshgrid(across, along), axis=-1).reshape(-1, 2).astype(np.float32)
    net = one_network(net, replica)
    trace = net.forward(to_device(dataset.transform.apply(points, net.dtype)))
    classes = one(trace.logits, 2, replica).argmax(axis=-1).reshape(GRID, GRID)

    K = dataset.n_classes
    shades = ListedColormap([colour(k) for k in range(K)])
    extent = (across[0], across[-1], along[0], along[-1])
    ax.imshow(
        *(classes, shades),
        origin="lower",
        aspect="equal",
        extent=extent,
        vmin=-0.5,
        vmax=K - 0.5,
        alpha=0.25,
        interpolation="none",
    )
    for k in range(K):
        zero_line(ax, across, along, (classes == k) - 0.5, ink(ax), "-", 0.7)
    if net.depth > 1:
        for Z in one(trace.Z[0], 2, replica).T:
            width = 1.1 if net.sizes[1] <= 12 else 0.6
            zero_line(ax, across, along, Z.reshape(GRID, GRID), ink(ax), dash(1), width)
    for k in np.unique(y):
        here = x[y == k]
        name = dataset.classes[k]
        ax.scatter(
            *(here[:, 0], here[:, 1], 60 if len(x) < 40 else 14),
            color=colour(k),
            marker=mark(k),
            edgecolor="white",
            linewidth=0.5,
            label=name,
            zorder=3,
        )
    ax.set_xlim(extent[:2])
    ax.set_ylim(extent[2:])
    ax.set_xlabel("first input")
    ax.set_ylabel("second input")
    handles, _ = ax.get_legend_handles_labels()
    if net.depth > 1:
        handles.append(Line2D([], [], color=ink(ax), linestyle=dash(1), label="a neuron's zero"))
    ax.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.16),
        ncols=3 if K < 4 else 4,
        fontsize="small",
        frameon=False,
    )
    X = to_device(dataset.floats("test", "float64" if net.dtype == "float64" else "float32"))
    right = (one(net.predict(X), 1, replica) == dataset.test_y).mean()
    ax.set_title(f"predictions, right on {right:.0%} of the test samples", fontsize="medium")
    describe(
        ax, f"The plane of {dataset.name} in {K} classes' regions, {right:.0%} of samples right."
    )
    return ax


def zero_line(
    ax: Axes, across: Floats, along: Floats, values: Floats, shade: str, dashes: Dash, width: float
) -> None:
    """A line where values on the grid cross zero, if they do."""
    if values.min() < 0 < values.max():
        ax.contour(
            *(across, along, values),
            levels=[0.0],
            colors=shade,
            linestyles=[dashes],
            linewidths=width,
        )


@in_its_ink
def neurons_parting(
    ax: Axes, snapshots: Sequence[Array] | Array, *, dead: Array | Sequence[bool] | None = None
) -> Axes:
    """How the hidden neurons' weights move apart while a network learns: a path per neuron.

    snapshots: W (D, H) at several moments, first to last, as a sequence or as an array (T, D, H). A
    hollow circle marks the start, an arrow from the origin the end. With two inputs the plane is that
    of the weights; with more it is the plane of the last weights' two largest principal directions.
    dead (H,): neurons drawn in grey. Returns the axis.
    Raises UsageError for no snapshot, or fewer than two inputs.
    """
    paths = np.stack([one(W, 2) for W in snapshots]) if len(snapshots) else np.empty((0, 0, 0))
    if paths.ndim != 3 or not len(paths) or paths.shape[1] < 2:
        raise UsageError(f"snapshots of W (D, H) with D >= 2 are needed, got {paths.shape}")
    T, D, H = paths.shape
    names = ("weight of the first input", "weight of the second input")
    if D > 2:
        U, sizes, _ = np.linalg.svd(paths[-1], full_matrices=False)
        directions = np.zeros((D, 2))
        directions[:, : min(2, U.shape[1])] = U[:, :2]
        kept = (sizes[:2] ** 2).sum() / max((sizes**2).sum(), np.finfo(float).tiny)
        paths = np.einsum("dk,tdh->tkh", directions, paths)
        names = (f"1st principal direction ({kept:.0%} in both)", "2nd principal direction")
    off = flags(dead, H)
    for h in range(H):
        shade = DEAD if off[h] else colour(h)
        ax.plot(*paths[:, :, h].T, color=shade, linestyle=dash(h), linewidth=1.2)
        ax.plot(*paths[0, :, h], marker="o", markersize=6, fillstyle="none", color=shade)
        ax.annotate(
            "",
            xy=tuple(paths[-1, :, h]),
            xytext=(0, 0),
            arrowprops={"arrowstyle": "-|>", "color": shade, "linewidth": 1.8, **NO_GAP},
        )
        if H <= 24:
            ax.annotate(
                str(h),
                xy=tuple(paths[-1, :, h]),
                xytext=tuple(4 * outward(paths[-1, :, h])),
                textcoords="offset points",
                fontsize="small",
                ha="center",
                va="center",
            )
    reach = 1.12 * max(np.abs(paths).max(), 1e-6)
    ax.set_xlim(-reach, reach)
    ax.set_ylim(-reach, reach)
    ax.set_aspect("equal")
    ax.axhline(0, color=ink(ax), linewidth=0.5)
    ax.axvline(0, color=ink(ax), linewidth=0.5)
    ax.set_xlabel(names[0])
    ax.set_ylabel(names[1])
    ax.set_title(f"{H} neurons: start o, end arrow", fontsize="medium")
    describe(ax, f"Paths of {H} hidden neurons' weights over {T} moments, from circle to arrow.")
    return ax


def outward(point: Floats) -> Floats:
    """A vector of length 2 in the direction of a point: the offset of its label from the arrow's end."""
    length = float(np.hypot(*point))
    return 2 * point / length if length > 0 else np.array([0.0, 2.0])
