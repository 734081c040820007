"""How one network's hidden neurons came apart, on one page: python -m tinydiv.train --snapshots"""

from collections.abc import Sequence

import numpy as np

from tinydiv.errors import UsageError
from tinydiv.loop import Record
from tinydiv.plots.curves import dead_units, diversity_over_training
from tinydiv.plots.neurons import similarity_gallery
from tinydiv.plots.plane import neurons_parting
from tinydiv.plots.spectra import correlation_spectrum
from tinydiv.plots.style import Picture, new_figure, page
from tinydiv.train.picture import heading
from tinydiv.train.snapshots import Snapshots

MOST_SPECTRA = 4
"""Curves in one axis; of more epochs the first, the last and some between are drawn."""


def snapshots_picture(
    seen: Snapshots, records: Sequence[Record] = (), *, kind: str = "light"
) -> Picture:
    """Above: the neurons' similarity at each chosen epoch. Below: what became of it.

    The spectrum of the correlations, the paths of the weights from the first snapshot to the last, and,
    where the records have them, diversity and dead neurons after every epoch (of all networks; the rest
    is one network's). kind: "light" or "dark", the page. Raises UsageError if nothing was seen.
    """
    if not seen.correlations:
        raise UsageError("no snapshot was taken: none of the chosen epochs was seen")
    names = list(seen.correlations)
    measured = {key.partition(".")[0] for key in records[-1].diversity} if records else set()
    wanted = [("correlation", diversity_over_training), ("dead_fraction", dead_units)]
    curves = [draw for metric, draw in wanted if metric in measured]
    inputs = seen.weights[0].shape[0]
    below = 1 + (inputs > 1) + len(curves)
    with page(kind):
        figure = new_figure(max(2.9 * len(names) + 1, 4.4 * below), 8.4)
        top, bottom = np.asarray(figure.subfigures(2, 1, height_ratios=(1, 1.2), hspace=0.04))
        similarity_gallery(list(top.subplots(1, len(names), squeeze=False)[0]), seen.correlations)
        axes = list(bottom.subplots(1, below, squeeze=False)[0])
        correlation_spectrum(
            axes.pop(0), {name: seen.correlations[name] for name in spaced(names, MOST_SPECTRA)}
        )
        if inputs > 1:  # one weight per neuron has no plane to part in
            neurons_parting(axes.pop(0), seen.weights)
        for ax, draw in zip(axes, curves, strict=True):
            draw(ax, records)
        of = f", hidden layer {seen.layer} of network {seen.network}"
        title = heading(seen.net, seen.dataset, seen.network).partition(" networks (")[0]
        figure.suptitle(title + (" networks" if seen.net.replicas else "") + of, x=0.01, ha="left")
    return figure


def spaced(names: Sequence[str], most: int) -> list[str]:
    """At most so many of the names, the first and the last among them."""
    if len(names) <= most:
        return list(names)
    return [names[round(i * (len(names) - 1) / (most - 1))] for i in range(most)]
