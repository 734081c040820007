"""The picture that a training run leaves behind: how it learned, and what its neurons became."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from tinydiv.backend import Array
from tinydiv.data.dataset import Dataset
from tinydiv.errors import UsageError
from tinydiv.loop import DeviceData, Record
from tinydiv.mlp import MLP
from tinydiv.plots.curves import curve, in_words, learning_curves, numbers
from tinydiv.plots.neurons import neuron_weights, similarity_matrix
from tinydiv.plots.plane import decision_regions
from tinydiv.plots.style import Picture, describe, new_figure, one, page
from tinydiv.similarity import correlations, cosines

TINY_EPS = 1e-12


def run_picture(
    records: Sequence[Record],
    net: MLP,
    dataset: Dataset | DeviceData,
    *,
    similarity: str | Array | None = None,
    layer: int = 1,
    kind: str = "light",
) -> Picture:
    """One run on one page: learning curves, the hidden neurons' weights, how similar they are.

    Left, over epochs: test accuracy, loss, and the neurons' mean correlation if it was measured; the
    mean over networks, the band from the smallest to the largest. Middle: every neuron's incoming
    weights, as images for image data, as decision regions for inputs in the plane, else as a heat map.
    Right: the matrix of the neurons' similarity on the probe set. Of several networks, the first that
    did not diverge is shown.

    similarity: None or "activations" (Pearson correlation), "weights" (cosine), or a matrix (H, H).
    layer: which hidden layer, 1 is the first. kind: "light" or "dark", the page.
    Raises UsageError where there are no records, no such layer, or no such similarity.
    """
    if not records:
        raise UsageError("a run without records has no picture")
    hidden = max(net.depth - 1, 1)  # without hidden layers, the outputs are looked at
    if not 1 <= layer <= hidden:
        raise UsageError(f"there is no hidden layer {layer}: they run from 1 to {hidden}")
    data = dataset if isinstance(dataset, DeviceData) else DeviceData(dataset, net.dtype)
    replica = healthy(records[-1])
    W = one(net.W[layer - 1], 2, replica)
    A = net.forward(data.probe()).A[layer]
    found = correlations(A, TINY_EPS)
    dead = one(found.alive, 2, replica)[0] == 0
    measure, matrix = "correlation", found.R
    if isinstance(similarity, str) and similarity == "weights":
        measure, matrix = "cosine", cosines(net.W[layer - 1]).G
    elif isinstance(similarity, str) and similarity != "activations":
        raise UsageError(f"similarity is that of activations or weights, got {similarity!r}")
    elif similarity is not None and not isinstance(similarity, str):
        measure, matrix = "similarity", similarity

    with page(kind):
        figure = new_figure(14, 5.4)
        widths = (1.05, 1.25, 1.15)
        parts = np.asarray(figure.subfigures(1, 3, width_ratios=widths, wspace=0.03))
        curves(parts[0].subplots(n_curves(records), 1, sharex=True, squeeze=False)[:, 0], records)
        middle, right = parts[1].subplots(), parts[2].subplots()
        shape = data.dataset.image_shape
        images = shape is not None and len(W) == data.dataset.n_inputs
        if len(W) == data.dataset.n_inputs == 2 and layer == 1:
            decision_regions(middle, net, data.dataset, replica=replica)
        else:
            neuron_weights(middle, W, image_shape=shape if images else None, dead=dead)
        similarity_matrix(
            right,
            one(matrix, 2, replica),
            dead=dead if measure == "correlation" else None,
            title="similarity of hidden neurons" if net.depth > 1 else "similarity of outputs",
            measure=measure,
        )
        figure.suptitle(heading(net, data.dataset, replica), x=0.01, ha="left", fontsize="large")
    return figure


def heading(net: MLP, dataset: Dataset, replica: int) -> str:
    """Which run this is: "fashion-mini, 784-16-10, relu, 8 networks (neurons of network 0)"."""
    words = [dataset.name, "-".join(map(str, net.sizes)), repr(net.activation)]
    words += [layer.label for layer in net.layers]
    if net.replicas is not None:
        words.append(f"{net.replicas} networks (neurons of network {replica})")
    return ", ".join(words)


def healthy(record: Record) -> int:
    """The first network that did not diverge (0 if all did)."""
    fine = [r for r, loss in enumerate(record.train_loss) if np.isfinite(loss)]
    return fine[0] if fine else 0


def diversity_keys(records: Sequence[Record]) -> list[str]:
    """The records' keys of the neurons' mean correlation, one per hidden layer; [] if not measured."""
    return [key for key in records[-1].diversity if key.partition(".")[0] == "correlation"]


def n_curves(records: Sequence[Record]) -> int:
    """Accuracy and loss, and correlation where it was measured."""
    return 3 if diversity_keys(records) else 2


def curves(axes: Sequence[Axes], records: Sequence[Record]) -> None:
    """Accuracy, losses and correlation over epochs, one above the other."""
    learning_curves(axes[0], records)
    flat = [record.flat() for record in records]
    epochs = [float(record.epoch) for record in records]
    for place, key in enumerate(("train_loss", "test_loss")):
        values = [numbers(one[key]) for one in flat]
        curve(axes[1], epochs, values, label=in_words(key).removesuffix(" loss"), place=place)
    axes[1].set_ylabel("loss")
    axes[1].legend()
    if len(axes) > 2:
        learning_curves(axes[2], records, value="correlation")
        axes[2].set_ylabel("mean |correlation|")
        if axes[2].get_legend() is not None:
            axes[2].legend(fontsize="small")
    for ax in axes[1:]:
        ax.set_title("")
        ax.grid(True, axis="y", linewidth=0.6)
    for ax in axes[:-1]:
        ax.set_xlabel("")
    axes[-1].set_xlabel("epoch")
    describe(axes[1], f"Loss on the training and the test part over {len(records) - 1} epochs.")
