"""Pictures: functions that draw on an axis and return it. A command's own picture is in its folder.

    import matplotlib.pyplot as plt
    from tinydiv import plots

    with plots.page("light"):
        fig, ax = plt.subplots()
    plots.learning_curves(ax, {"none": records, "decov": others})
    plots.save(fig, "curves.png")

Nothing here calls plt.show(), and no core file imports this package.
"""

from tinydiv.plots.comparisons import forest, heat_map, paired_dots
from tinydiv.plots.curves import (
    curve,
    dead_units,
    diversity_over_training,
    histogram,
    learning_curves,
)
from tinydiv.plots.neurons import (
    gallery_picture,
    neuron_responses,
    neuron_weights,
    similarity_gallery,
    similarity_matrix,
)
from tinydiv.plots.plane import decision_regions, neurons_parting
from tinydiv.plots.spectra import correlation_spectrum
from tinydiv.plots.style import alt_text, page, save

__all__ = [
    "alt_text",
    "correlation_spectrum",
    "curve",
    "dead_units",
    "decision_regions",
    "diversity_over_training",
    "forest",
    "gallery_picture",
    "heat_map",
    "histogram",
    "learning_curves",
    "neuron_responses",
    "neuron_weights",
    "neurons_parting",
    "page",
    "paired_dots",
    "save",
    "similarity_gallery",
    "similarity_matrix",
]
