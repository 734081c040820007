"""Pictures of hidden neurons: their weights as images, and how similar they are."""

import re
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

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
    title_of,
)
from tinydiv.settings import rounded

MOST = 64
"""Neurons that are drawn as images."""
GAP = 2
"""Empty pixels between two neurons' images."""
MOST_NAMED, MOST_NUMBERED = 16, 36
"""Images that are small enough for a name above each, and for a number."""
SMALLEST_IMAGE = 8
"""The fewest rows that an image needs; for smaller patches the weights are drawn as a matrix."""
MOST_ACROSS = 4
"""Networks side by side in one row of a gallery."""
LONGEST_BAR = 3.5
"""The length in inches of a colour bar for a whole page."""
LONGEST_LINE = 20
"""Characters in a line above a small picture."""
MOST_MINUS_SIGNS = 24
"""In larger matrices a minus in each negative cell would not fit."""


@in_its_ink
def neuron_weights(
    ax: Axes,
    W: Array,
    *,
    image_shape: tuple[int, int] | None = None,
    dead: Array | Sequence[bool] | None = None,
    asleep: Array | Sequence[bool] | None = None,
) -> Axes:
    """Each hidden neuron's incoming weights: blue below zero, white at zero, red above.

    W (D, H), or (R, D, H) of which network 0 is shown. With an image_shape (rows, columns) every
    neuron is an image as large as an input; otherwise one heat map with a column per neuron. All have the
    same limits, symmetric about zero, and 99.5 % of the weights lie within them. Neurons that are constant
    (dead (H,)) are crossed out; those of them whose weights are all zero (asleep (H,)) are counted as
    asleep. Returns the axis.
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
        numbers = [str(h) for h in range(H)] if H <= MOST_NUMBERED else []
        picture = mosaic(ax, weights, image_shape, limit, off, captions=numbers)
    beyond = bool((np.abs(weights) > limit).any())
    color_bar(ax, picture, "weight", extend="both" if beyond else "neither")
    gone = in_numbers(off, flags(asleep, H))
    shown = f"The first {MOST} of {H}" if image_shape is not None and H > MOST else f"All {H}"
    ax.set_title(f"incoming weights of {H} neurons{gone}", fontsize="medium")
    describe(ax, f"{shown} hidden neurons' incoming weights{gone}, within ±{rounded(limit, 2)}.")
    return ax


@in_its_ink
def neuron_responses(
    ax: Axes,
    inputs: Array,
    image_shape: tuple[int, int],
    *,
    names: Sequence[str] = (),
    order: Sequence[int] | None = None,
    dead: Array | Sequence[bool] | None = None,
    captions: bool = True,
) -> Axes:
    """What each neuron responds to, as an image: red where its inputs are brighter than the mean image.

    inputs (D, H) of diversity.responses, or (R, D, H) of which network 0 is shown. Every image has its own
    limits, so that weak neurons can be seen. names: the class that each of the H neurons responds to
    most, written above its image if there is room. order: which neurons are drawn, first to last.
    captions: whether names and numbers are written. Returns the axis.
    """
    found = one(inputs, 2)
    chosen = list(range(found.shape[1])) if order is None else list(order)
    off = flags(dead, found.shape[1])[chosen]
    images = found[:, chosen] / np.maximum(np.abs(found[:, chosen]).max(axis=0), 1e-30)
    words: list[str] = []
    if captions and len(chosen) <= MOST_NUMBERED:
        named = names if len(chosen) <= MOST_NAMED else ()
        words = [f"{h} {named[h]}" if named else str(h) for h in chosen]
    mosaic(ax, images, image_shape, 1.0, off, captions=words)
    ax.set_title("what each neuron responds to", fontsize="medium")
    alive = [names[h] for h, gone in zip(chosen, off, strict=True) if names and not gone]
    most = ", ".join(f"{alive.count(name)} to {name}" for name in dict.fromkeys(alive))
    describe(ax, f"The mean image of each neuron's responses; {most or f'{len(chosen)} neurons'}.")
    return ax


def mosaic(
    ax: Axes,
    images: Floats,
    image_shape: tuple[int, int],
    limit: float,
    off: "np.ndarray[tuple[int], np.dtype[np.bool_]]",
    captions: Sequence[str] = (),
) -> AxesImage:
    """Neurons' images side by side, as one image with gaps, a caption above each if there are any."""
    rows, cols = image_shape
    shown = min(images.shape[1], MOST)
    gap = max(GAP, rows // 4) if captions else GAP
    canvas, across = tiled(images, image_shape, shown, gap)
    picture = signed_image(ax, canvas, limit)
    size = 9 if len(captions) <= MOST_NAMED else 7
    for h in range(shown):
        y, x = (h // across) * (rows + gap) - 0.5, (h % across) * (cols + GAP) - 0.5
        ax.add_patch(Rectangle((x, y), cols, rows, fill=False, edgecolor=DEAD, linewidth=0.6))
        if off[h]:
            cross_out(ax, x, y, cols, rows)
        if captions:
            ax.text(x, y - 0.02 * rows, captions[h], fontsize=size, va="bottom")
    if captions:
        ax.set_ylim(len(canvas) - 0.5, -gap - 0.5)
    ax.set_xticks([])
    ax.set_yticks([])
    frame(ax, False)
    return picture


def tiled(
    images: Floats, image_shape: tuple[int, int], shown: int, gap: int = GAP
) -> tuple[Floats, int]:
    """(the first neurons' images side by side, with NaN between them; the number of images in a row).

    gap: empty rows between two images, one above the other.
    """
    rows, cols = image_shape
    across = int(np.ceil(np.sqrt(shown * rows / cols)))
    down = -(-shown // across)
    canvas = np.full((down * (rows + gap) - gap, across * (cols + GAP) - GAP), np.nan)
    for h in range(shown):
        top, left = (h // across) * (rows + gap), (h % across) * (cols + GAP)
        canvas[top : top + rows, left : left + cols] = images[:, h].reshape(image_shape)
    return canvas, across


def in_numbers(off: NDArray[np.bool_], asleep: NDArray[np.bool_]) -> str:
    """The numbers of dead and of sleeping neurons, as the end of a title: ", 1 dead, 2 asleep"."""
    counts = {"dead": int((off & ~asleep).sum()), "asleep": int((off & asleep).sum())}
    return "".join(f", {count} {word}" for word, count in counts.items() if count)


def signed_image(ax: Axes, values: Floats, limit: float) -> AxesImage:
    """A matrix as coloured cells, blue below zero and red above; a NaN cell is empty."""
    return ax.imshow(values, cmap=DIVERGING, vmin=-limit, vmax=limit, interpolation="none")


def cross_out(ax: Axes, left: float, top: float, width: float, height: float) -> None:
    """A grey cross over a dead neuron."""
    for y in ((top, top + height), (top + height, top)):
        ax.plot((left, left + width), y, color="#4d4d4d", linewidth=1.4, scalex=False, scaley=False)


def color_bar(
    axes: Axes | list[Axes], picture: AxesImage, label: str, extend: str = "neither"
) -> None:
    """A colour bar beside one axis or several."""
    first = axes if isinstance(axes, Axes) else axes[0]
    page = first.figure
    down = 0.0 if first is axes else page.bbox.height / page.get_dpi()  # inches
    bar = page.colorbar(
        picture,
        ax=axes,
        shrink=min(0.8, LONGEST_BAR / down) if down else 0.8,
        anchor=(0.0, 1.0 if down > 2 * LONGEST_BAR else 0.5),
        aspect=24,
        pad=0.02,
        extend=extend,
        label=label,
    )
    bar.outline.set_visible(False)
    bar.locator = MaxNLocator(4)
    bar.update_ticks()
    bar.ax.tick_params(labelsize="small")
    bar.ax.set_label("")


@in_its_ink
def similarity_matrix(
    ax: Axes,
    M: Array,
    *,
    dead: Array | Sequence[bool] | None = None,
    asleep: Array | Sequence[bool] | None = None,
    title: str = "similarity of hidden neurons",
    measure: str = "correlation",
    bar: bool = True,
    order: Sequence[int] | None = None,
) -> Axes:
    """How alike each two neurons are: white for not at all, red for alike, blue for opposite.

    M (H, H) correlations or cosines, or (R, H, H) of which network 0 is shown. The diagonal (a neuron
    with itself) is grey and does not count; nor do dead neurons (dead (H,), by default those with a zero
    on the diagonal), because they would look like independent ones. Those of them whose weights are all
    zero (asleep (H,)) are counted as asleep. In small matrices negative cells have a minus sign, for
    greyscale prints. The title has the mean |value| over pairs of alive neurons. order: the neurons in the
    order in which they are drawn. Returns the axis.
    Raises UsageError if M is not square.
    """
    matrix = one(M, 2)
    H = len(matrix)
    if matrix.shape != (H, H):
        raise UsageError(f"similarities of H neurons are an H x H matrix, got {matrix.shape}")
    # similarity.py marks a neuron without correlations or cosines by a zero on the diagonal.
    off = np.diag(matrix) == 0 if dead is None else flags(dead, H)
    gone = in_numbers(off, flags(asleep, H))
    if order is not None:
        matrix, off = matrix[np.ix_(order, order)], off[list(order)]
    hidden = np.eye(H, dtype=bool) | off[:, None] | off[None, :]
    pairs = np.where(hidden, np.nan, matrix)
    ax.set_facecolor(DEAD)
    picture = signed_image(ax, pairs, 1.0)
    if H <= MOST_MINUS_SIGNS:
        size = 9 if H <= 12 else 6
        for i, j in np.argwhere(pairs < -0.1):
            shade = "#ffffff" if pairs[i, j] < -0.6 else "#1a1a1a"
            ax.text(j, i, "−", ha="center", va="center", fontsize=size, color=shade)
    row_and_column_ticks(ax, matrix.shape, most=16 if order is not None else 8)
    if order is not None:
        places = [int(place) for place in ax.get_yticks()]
        ax.set_yticks(places, [str(order[place]) for place in places], fontsize="small")
        ax.set_xticks([])
    frame(ax, False)
    if bar:
        color_bar(ax, picture, "")
    mean = f"{np.nanmean(np.abs(pairs)):.2f}" if (~hidden).any() else "none (no pair)"
    ax.set_title(f"{title}\nmean |{measure}| = {mean}{gone}", fontsize="medium")
    describe(ax, f"{title}: {H} by {H} {measure}s, their mean size is {mean}{gone}.")
    return ax


def similarity_gallery(
    axes: Sequence[Axes],
    matrices: Mapping[str, Array],
    *,
    measure: str = "correlation",
    asleep: Mapping[str, Array] | None = None,
) -> Sequence[Axes]:
    """The same small network under several techniques: one similarity matrix each, side by side.

    As many axes as matrices; all have the limits -1 to 1 and one colour bar. asleep: by the same names,
    which neurons (H,) are asleep; these are not counted as dead. Returns the axes.
    Raises UsageError if there are too few axes, or no matrices.
    """
    flat = list(np.asarray(axes, dtype=object).reshape(-1))
    if len(flat) < len(matrices) or not matrices:
        raise UsageError(f"{len(matrices)} matrices need as many axes, got {len(flat)}")
    for ax, (name, M) in zip(flat, matrices.items(), strict=False):
        resting = None if asleep is None else asleep[name]
        similarity_matrix(ax, M, asleep=resting, title=name, measure=measure, bar=False)
        mean = title_of(ax).removeprefix(f"{name}\n").replace(f" |{measure}| =", "")
        mean = mean.replace("mean none (no pair)", "no pair")  # a small picture has little room
        ax.set_title(f"{wrapped(name)}\n{mean}", fontsize=size_of(mean))
        ax.set_xticks([])
        ax.set_yticks([])
    for ax in flat[len(matrices) :]:
        ax.set_axis_off()
    shared_bar(flat[0], flat[: len(matrices)], measure)
    return axes


def size_of(line: str) -> str:
    """The font size in which a line fits above a small matrix."""
    return "small" if len(line) <= LONGEST_LINE else "x-small"


def wrapped(name: str) -> str:
    """A name in lines short enough for a small picture, broken after blanks, commas, colons, hyphens."""
    lines = [""]
    for part in re.findall(r"[^ ,:-]*(?: %|[ ,:-])*", name):
        if lines[-1] and len(lines[-1] + part.rstrip()) > LONGEST_LINE:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.rstrip() for line in lines)


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
    inputs: Mapping[str, Array] | None = None,
    image_shape: tuple[int, int] | None = None,
) -> Picture:
    """similarity_gallery on a page of its own, up to four matrices in a row; dead neurons are grey.

    inputs: by the same names what each network's neurons respond to (diversity.responses), drawn as images
    of image_shape above the matrices.

    Raises UsageError if there are no matrices.
    """
    if not matrices:
        raise UsageError("a gallery without matrices has no picture")
    down = -(-len(matrices) // MOST_ACROSS)
    across = -(-len(matrices) // down)
    rows = [1.0] if inputs is None else [0.8, 1.0]  # heights: images above, matrices below
    with page(kind):
        size = (max(1.85 * across + 0.6, 5.0), 2.4 * sum(rows) * down + 0.4 * bool(title))
        figure = new_figure(*size)
        grid = figure.subplots(len(rows) * down, across, squeeze=False, height_ratios=rows * down)
        below = list(grid[len(rows) - 1 :: len(rows)].ravel())
        similarity_gallery(below, matrices, measure=measure)
        if inputs is not None:
            assert image_shape is not None
            for ax in grid[::2].ravel()[len(matrices) :]:
                ax.set_axis_off()
            for ax, under, name in zip(grid[::2].ravel(), below, matrices, strict=False):
                head, _, mean = title_of(under).rpartition("\n")
                neuron_responses(ax, inputs[name], image_shape, captions=False)
                ax.set_title(head, fontsize="small")
                under.set_title(mean, fontsize="small")
        if title:
            figure.suptitle(
                "\n".join(textwrap.wrap(title, int(10 * size[0]))),
                x=0.01,
                ha="left",
                fontsize="medium",
            )
    return figure
