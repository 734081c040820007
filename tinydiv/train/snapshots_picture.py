"""How one network's hidden neurons became different, on one page: python -m tinydiv.train --snapshots"""

from collections.abc import Sequence

import numpy as np

from tinydiv.errors import UsageError
from tinydiv.loop import Record
from tinydiv.plots.curves import dead_units, diversity_over_training
from tinydiv.plots.neurons import MOST_ACROSS, neuron_responses, similarity_gallery, size_of
from tinydiv.plots.plane import neurons_parting
from tinydiv.plots.spectra import correlation_spectrum
from tinydiv.plots.style import Picture, new_figure, page, title_of
from tinydiv.train.run_picture import heading
from tinydiv.train.snapshots import Snapshots

MOST_SPECTRA = 4
"""The largest number of curves in one axis; of more epochs, the first, the last and some between are
drawn."""


def snapshots_picture(
    seen: Snapshots, records: Sequence[Record] = (), *, kind: str = "light"
) -> Picture:
    """Above: what the neurons respond to at each chosen epoch (images), and how alike they are.

    Below: the spectrum of the correlations, the paths of the weights from the first snapshot to the
    last, and, where the records have them, diversity and dead neurons after every epoch (of all
    networks; the rest is one network's). kind: "light" or "dark", the page.
    Raises UsageError if nothing was recorded.
    """
    if not seen.correlations:
        raise UsageError("no snapshot was taken: none of the chosen epochs was reached")
    names = list(seen.correlations)
    measured = {key.partition(".")[0] for key in records[-1].diversity} if records else set()
    wanted = [("correlation", diversity_over_training), ("dead_fraction", dead_units)]
    curves = [draw for metric, draw in wanted if metric in measured]
    n_inputs = seen.weights[0].shape[0]
    below = 1 + (n_inputs > 1) + len(curves)
    down = -(-len(names) // MOST_ACROSS)
    across = -(-len(names) // down)
    imaged = len(seen.responses) == len(names)  # images, and none kept by an older version
    rows = [0.85, 1.0] if imaged else [1.0]
    above = 2.1 * down * sum(rows)
    lines = -(-below // 2)
    with page(kind):
        figure = new_figure(8.0, above + 3.1 * lines + 0.4)
        heights = (above, 3.1 * lines)
        top, bottom = np.asarray(figure.subfigures(2, 1, height_ratios=heights, hspace=0.02))
        grid = top.subplots(len(rows) * down, across, squeeze=False, height_ratios=rows * down)
        matrices = list(grid[len(rows) - 1 :: len(rows)].ravel())
        asleep = {name: ~W.any(axis=0) for name, W in zip(names, seen.weights, strict=True)}
        similarity_gallery(matrices, seen.correlations, asleep=asleep)
        if imaged:
            assert seen.dataset.image_shape is not None
            pictures = grid[::2].ravel()
            for ax in pictures[len(names) :]:
                ax.set_axis_off()
            for ax, under, inputs in zip(pictures, matrices, seen.responses, strict=False):
                neuron_responses(ax, inputs, seen.dataset.image_shape, captions=False)
                head, _, mean = title_of(under).rpartition("\n")
                ax.set_title(f"{head}: responses", fontsize="small")
                under.set_title(mean, fontsize=size_of(mean))
        axes = list(bottom.subplots(lines, 2, squeeze=False).ravel())
        correlation_spectrum(
            axes.pop(0), {name: seen.correlations[name] for name in spaced(names, MOST_SPECTRA)}
        )
        if n_inputs > 1:  # one weight per neuron cannot be drawn in a plane
            neurons_parting(axes.pop(0), seen.weights)
        for draw in curves:
            draw(axes.pop(0), records)
        for ax in axes:
            ax.set_axis_off()
        of = f", hidden layer {seen.layer} of network {seen.network}"
        title = heading(seen.net, seen.dataset, seen.network).partition(" networks (")[0]
        figure.suptitle(title + (" networks" if seen.net.replicas else "") + of, x=0.01, ha="left")
    return figure


def spaced(names: Sequence[str], most: int) -> list[str]:
    """At most `most` of the names, with the first and the last."""
    if len(names) <= most:
        return list(names)
    return [names[round(i * (len(names) - 1) / (most - 1))] for i in range(most)]
