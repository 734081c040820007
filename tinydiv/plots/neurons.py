"""What hidden neurons look like: their weights as images, how similar they are, how they part."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from tinydiv.backend import Array
from tinydiv.errors import UsageError
from tinydiv.plots.style import (
    DEAD,
    DIVERGING,
    Floats,
    Picture,
    describe,
    flags,
    frame,
    in_its_ink,
    new_figure,
    one,
    page,
    row_and_column_ticks,
    symmetric,
)

GAP = 2
"""Empty pixels between two neurons' images."""
MOST_ACROSS = 5
"""Matrices side by side in one row of a gallery."""
MOST_MINUS_SIGNS = 24
"""Larger matrices have no room for a minus in each negative cell."""


@in_its_ink
def neuron_weights(
    ax: Axes,
    W: Array,
    *,
    image_shape: tuple[int, int] | None = None,
    dead: Array | Sequence[bool] | None = None,
    most: int = 64,
    columns: int | None = None,
    bar: bool = True,
) -> Axes:
    """Each hidden neuron's incoming weights: blue below zero, white at zero, red above.

    W (D, H), or (R, D, H) of which network 0 is shown. With an image_shape (rows, columns) every
    neuron is an image as large as an input; otherwise one heat map with a column per neuron. All
    share their limits, symmetric about zero, that 99.5 % of the weights stay within. dead (H,) is
    true for neurons that never move: they are crossed out. Returns the axis.
    Raises UsageError if the weights do not form such images.
    """
    weights = one(W, 2)
    D, H = weights.shape
    off = flags(dead, H)
    limit = symmetric(weights, 0.995)
    if image_shape is None:
        picture = signed_image(ax, weights, limit)
        ax.set_aspect("auto")
        row_and_column_ticks(ax, weights.shape)
        ax.set_xlabel("hidden neuron")
        ax.set_ylabel("input")
        for h in np.flatnonzero(off):
            cross_out(ax, float(h) - 0.5, -0.5, 1, D)
    else:
        if image_shape[0] * image_shape[1] != D:
            raise UsageError(f"{D} weights per neuron do not form an image of shape {image_shape}")
        picture = mosaic(ax, weights, image_shape, limit, off, most, columns)
    if bar:
        beyond = bool((np.abs(weights) > limit).any())
        color_bar(ax, picture, "weight", extend="both" if beyond else "neither")
    gone = f", {off.sum()} dead" if off.any() else ""
    shown = f"The first {most} of {H}" if image_shape is not None and most < H else f"All {H}"
    ax.set_title(f"incoming weights of {H} neurons{gone}", fontsize="medium")
    describe(ax, f"{shown} hidden neurons' incoming weights{gone}, within ±{limit:.2g}.")
    return ax


def mosaic(
    ax: Axes,
    weights: Floats,
    image_shape: tuple[int, int],
    limit: float,
    off: "np.ndarray[tuple[int], np.dtype[np.bool_]]",
    most: int,
    columns: int | None,
) -> AxesImage:
    """Neurons' images side by side, as one image with gaps, their numbers in the corners."""
    rows, cols = image_shape
    shown = min(weights.shape[1], most)
    canvas, across = tiled(weights, image_shape, shown, columns)
    picture = signed_image(ax, canvas, limit)
    for h in range(shown):
        y, x = (h // across) * (rows + GAP) - 0.5, (h % across) * (cols + GAP) - 0.5
        ax.add_patch(Rectangle((x, y), cols, rows, fill=False, edgecolor=DEAD, linewidth=0.6))
        if off[h]:
            cross_out(ax, x, y, cols, rows)
        if shown <= 36 and min(image_shape) >= 8:
            corner = ax.text(x + 0.04 * cols, y + 0.04 * rows, str(h), va="top", fontsize=7)
            corner.set(
                color="#1a1a1a", bbox={"facecolor": "white", "lw": 0, "alpha": 0.75, "pad": 1}
            )
    ax.set_xticks([])
    ax.set_yticks([])
    frame(ax, False)
    return picture


def tiled(
    weights: Floats, image_shape: tuple[int, int], shown: int, columns: int | None = None
) -> tuple[Floats, int]:
    """The first neurons' images side by side with gaps (NaN), and how many stand in a row."""
    rows, cols = image_shape
    across = columns or int(np.ceil(np.sqrt(shown * rows / cols)))
    down = -(-shown // across)
    canvas = np.full((down * (rows + GAP) - GAP, across * (cols + GAP) - GAP), np.nan)
    for h in range(shown):
        top, left = (h // across) * (rows + GAP), (h % across) * (cols + GAP)
        canvas[top : top + rows, left : left + cols] = weights[:, h].reshape(image_shape)
    return canvas, across


def signed_image(ax: Axes, values: Floats, limit: float) -> AxesImage:
    """A matrix as coloured cells, blue below zero and red above; NaN stays empty."""
    return ax.imshow(values, cmap=DIVERGING, vmin=-limit, vmax=limit, interpolation="none")


def cross_out(ax: Axes, left: float, top: float, width: float, height: float) -> None:
    """A grey cross over one neuron: it is dead."""
    for y in ((top, top + height), (top + height, top)):
        ax.plot((left, left + width), y, color="#4d4d4d", linewidth=1.4, scalex=False, scaley=False)


def color_bar(
    axes: Axes | list[Axes], picture: AxesImage, label: str, extend: str = "neither"
) -> None:
    """A slim bar beside the axis (or several) that says which number a colour is."""
    first = axes if isinstance(axes, Axes) else axes[0]
    bar = first.figure.colorbar(
        picture, ax=axes, shrink=0.8, aspect=24, pad=0.02, extend=extend, label=label
    )
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize="small")
    bar.ax.set_label("")


@in_its_ink
def similarity_matrix(
    ax: Axes,
    M: Array,
    *,
    dead: Array | Sequence[bool] | None = None,
    title: str = "similarity of hidden neurons",
    measure: str = "correlation",
    limit: float | None = 1.0,
    bar: bool = True,
) -> Axes:
    """How alike each two neurons are: white for not at all, red for alike, blue for opposite.

    M (H, H) correlations or cosines, or (R, H, H) of which network 0 is shown. The diagonal, where a
    neuron meets itself, is grey and not counted; so are dead neurons (dead (H,), by default those
    with a zero on the diagonal): they must not pass for independent ones. Negative cells carry a minus
    while there is room, so a greyscale print keeps the sign. The title says the mean size over pairs
    of living neurons. limit: colours run from -limit to limit; None takes the largest entry. Returns
    the axis.
    """
    matrix = one(M, 2)
    H = len(matrix)
    if matrix.shape != (H, H):
        raise UsageError(f"similarities of H neurons are an H x H matrix, got {matrix.shape}")
    # A zero on the diagonal: so blocks.correlations and blocks.cosines mark a neuron without any.
    off = np.diag(matrix) == 0 if dead is None else flags(dead, H)
    hidden = np.eye(H, dtype=bool) | off[:, None] | off[None, :]
    pairs = np.where(hidden, np.nan, matrix)
    limit = symmetric(pairs) if limit is None else limit
    ax.set_facecolor(DEAD)
    picture = signed_image(ax, pairs, limit)
    if H <= MOST_MINUS_SIGNS:
        size = 9 if H <= 12 else 6
        for i, j in np.argwhere(pairs < -0.1 * limit):
            shade = "#ffffff" if pairs[i, j] < -0.6 * limit else "#1a1a1a"
            ax.text(j, i, "−", ha="center", va="center", fontsize=size, color=shade)
    row_and_column_ticks(ax, matrix.shape, most=10)
    frame(ax, False)
    if bar:
        color_bar(ax, picture, measure)
    mean = f"{np.nanmean(np.abs(pairs)):.2f}" if (~hidden).any() else "none (no pair)"
    gone = f", {off.sum()} dead" if off.any() else ""
    ax.set_title(f"{title}\nmean |{measure}| = {mean}{gone}", fontsize="medium")
    describe(ax, f"{title}: {H} by {H} {measure}s, their mean size is {mean}{gone}.")
    return ax


def similarity_gallery(
    axes: Sequence[Axes], matrices: Mapping[str, Array], *, measure: str = "correlation"
) -> Sequence[Axes]:
    """The same small network under several techniques: one similarity matrix each, side by side.

    As many axes as matrices; all share the limits -1 to 1 and one colour bar. Returns the axes.
    Raises UsageError if the two numbers differ.
    """
    flat = list(np.asarray(axes, dtype=object).reshape(-1))
    if len(flat) < len(matrices) or not matrices:
        raise UsageError(f"{len(matrices)} matrices need as many axes, got {len(flat)}")
    for ax, (name, M) in zip(flat, matrices.items(), strict=False):
        similarity_matrix(ax, M, title=name, measure=measure, bar=False)
    for ax in flat[len(matrices) :]:
        ax.set_axis_off()
    shared_bar(flat[0], flat[: len(matrices)], measure)
    return axes


@in_its_ink
def shared_bar(ax: Axes, axes: list[Axes], label: str) -> None:
    """One colour bar for several axes with the limits of the first."""
    color_bar(axes, ax.images[0], label)


def gallery_picture(
    matrices: Mapping[str, Array],
    *,
    measure: str = "correlation",
    title: str = "",
    kind: str = "light",
) -> Picture:
    """similarity_gallery on a page of its own, up to five matrices in a row; dead neurons are grey."""
    if not matrices:
        raise UsageError("a gallery without matrices has no picture")
    down = -(-len(matrices) // MOST_ACROSS)
    across = -(-len(matrices) // down)
    with page(kind):
        figure = new_figure(2.9 * across + 1.0, 3.2 * down + (0.4 if title else 0))
        axes = figure.subplots(down, across, squeeze=False).ravel()
        similarity_gallery(list(axes), matrices, measure=measure)
        if title:
            figure.suptitle(title, x=0.01, ha="left")
    return figure
