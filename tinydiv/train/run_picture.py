"""The picture of a training run: how it learned, and what its neurons became."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from tinydiv.backend import Array, to_device, to_host
from tinydiv.data.dataset import Dataset
from tinydiv.diversity import TINY_EPS, one_network, responses
from tinydiv.errors import UsageError
from tinydiv.loop import EVALUATION_ROWS, DeviceData, Record
from tinydiv.mlp import MLP
from tinydiv.plots.curves import (
    MANY,
    Band,
    curve,
    histogram,
    in_words,
    learning_curves,
    numbers,
)
from tinydiv.plots.neurons import (
    SMALLEST_IMAGE,
    neuron_responses,
    neuron_weights,
    similarity_matrix,
)
from tinydiv.plots.plane import decision_regions
from tinydiv.plots.style import SEQUENTIAL, Picture, describe, new_figure, one, page, title_of
from tinydiv.similarity import correlations, cosines
from tinydiv.techniques.grow import awake

SIZE = (8.0, 8.4)
"""Inches; shown 400 pixels wide, the letters are still 7 pixels high."""
MOST_WRITTEN = 16
"""How many classes fit into a confusion matrix with names and numbers."""


def run_picture(
    records: Sequence[Record],
    net: MLP,
    dataset: Dataset | DeviceData,
    *,
    similarity: str | Array | None = None,
    layer: int = 1,
    kind: str = "light",
) -> Picture:
    """One run on one page: its hidden neurons after training, how alike they are, how it learned.

    Large: what every neuron responds to (diversity.responses), as images for image data; for inputs in
    the plane, the class that the network predicts at every point; else the incoming weights. Beside it:
    the matrix of the neurons' similarity on the probe set, and test accuracy. Below: loss, and the
    neurons' mean correlation if it was measured, over epochs; for many networks a histogram of their
    accuracy. Neurons of images are ordered by the class that they respond to most. Of several
    networks, the neurons of the first that did not diverge are shown.

    similarity: None or "activations" (Pearson correlation), "weights" (cosine), or a matrix (H, H).
    layer: which hidden layer, 1 is the first. kind: "light" or "dark", the page.
    Raises UsageError where there are no records, no such layer, or no such similarity.
    """
    if not records:
        raise UsageError("a run without records has no picture")
    hidden = max(net.depth - 1, 1)  # without hidden layers, the outputs are shown
    if not 1 <= layer <= hidden:
        raise UsageError(f"there is no hidden layer {layer}: they run from 1 to {hidden}")
    data = dataset if isinstance(dataset, DeviceData) else DeviceData(dataset, net.dtype)
    replica = healthy(records[-1])
    single = one_network(net, replica)
    W = one(single.W[layer - 1], 2, replica)
    A = one(single.forward(data.probe()).A[layer], 2, replica)
    found = correlations(to_device(A), TINY_EPS)
    dead = to_host(found.alive)[0] == 0
    asleep = dead & (one(awake(single, layer), 1, replica) == 0) if net.depth > 1 else None
    measure, matrix = "correlation", found.R
    if isinstance(similarity, str) and similarity == "weights":
        measure, matrix = "cosine", cosines(net.W[layer - 1]).G
    elif isinstance(similarity, str) and similarity != "activations":
        raise UsageError(f"similarity is that of activations or weights, got {similarity!r}")
    elif similarity is not None and not isinstance(similarity, str):
        measure, matrix = "similarity", similarity
    shape, order, labels = data.dataset.image_shape, None, data.probe_labels()

    with page(kind):
        figure = new_figure(*SIZE)
        upper, lower = np.asarray(figure.subfigures(2, 1, height_ratios=(2.1, 1), hspace=0.02))
        left, beside = upper.subfigures(1, 2, width_ratios=(1.45, 1), wspace=0.02)
        ax = left.subplots()
        right, accuracy = beside.subplots(2, 1, height_ratios=(1.5, 1))
        if len(W) == data.dataset.n_inputs == 2 and layer == 1 and not data.dataset.regression:
            decision_regions(ax, net, data.dataset, replica=replica)
        elif labels is not None and shape and min(shape) >= SMALLEST_IMAGE and net.depth > 1:
            seen = responses(single, data.probe(), labels, layer)
            best = one(seen.classes, 2, replica).argmax(axis=0)
            order = [int(h) for h in np.lexsort((best, dead))]
            classes = data.dataset.classes
            names = ["dead" if off else classes[k] for k, off in zip(best, dead, strict=True)]
            inputs = one(seen.inputs, 2, replica)
            neuron_responses(ax, inputs, shape, names=names, order=order, dead=dead)
        else:
            images = shape is not None and len(W) == data.dataset.n_inputs
            neuron_weights(ax, W, image_shape=shape if images else None, dead=dead, asleep=asleep)
        similarity_matrix(
            right,
            one(matrix, 2, replica),
            dead=dead if measure == "correlation" else None,
            asleep=asleep,
            title="hidden neurons" if net.depth > 1 else "outputs",
            measure=measure,
            order=order,
        )
        title = title_of(right).replace(", ", "\n", 1)  # the colour bar stands beside it
        right.set_title(title, fontsize="small")
        score, scores = records[-1].score
        many = len(scores) >= MANY
        places = lower.subplots(1, 1 + bool(diversity_keys(records)) + many, squeeze=False)[0]
        curves([accuracy, *places], records, "quantiles" if many else "range")
        if many:
            histogram(places[-1], scores, unit=in_words(score))
        figure.suptitle(heading(net, data.dataset, replica), x=0.01, ha="left", fontsize="large")
    return figure


def confusion(net: MLP, dataset: Dataset | DeviceData) -> Array:
    """Counts (..., K, K), on the host: test samples of class k that are predicted as class j."""
    data = dataset if isinstance(dataset, DeviceData) else DeviceData(dataset, net.dtype)
    K, n = data.dataset.n_classes, data.test_x.shape[0]
    counts = np.zeros((*net.lead, K, K), dtype=np.int64)
    for start in range(0, n, EVALUATION_ROWS):
        part = slice(start, start + EVALUATION_ROWS)
        predicted = to_host(net.predict(data.floats(data.test_x[part])))
        labels = to_host(data.test_y[part])
        for lead in np.ndindex(*net.lead):
            np.add.at(counts[lead], (labels, predicted[lead]), 1)
    return counts


def confusion_picture(
    net: MLP,
    dataset: Dataset | DeviceData,
    *,
    only: Sequence[int] | None = None,
    kind: str = "light",
) -> Picture:
    """What the test samples of each class are predicted as: a row per class, in percent of its samples.

    Of several networks the mean share is drawn; only: these networks of them (those that did not diverge).
    Raises UsageError where the targets are numbers.
    """
    data = dataset if isinstance(dataset, DeviceData) else DeviceData(dataset, net.dtype)
    names = data.dataset.classes
    if not names:
        raise UsageError("a data set with numbers to learn has no confusion matrix")
    counts = confusion(net, data).reshape(-1, len(names), len(names))
    counts = (counts if only is None else counts[list(only)]).sum(axis=0)
    percent = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    written = len(names) <= MOST_WRITTEN
    with page(kind):
        figure = new_figure(6.4, 6.4)
        ax = figure.subplots()
        ax.imshow(percent, cmap=SEQUENTIAL, vmin=0, vmax=100)
        places = range(0, len(names), -(-len(names) // MOST_WRITTEN))
        short = [names[k] if len(names[k]) <= 12 else f"{names[k][:11]}…" for k in places]
        ax.set_xticks(list(places), short, rotation=90)
        ax.set_yticks(list(places), short)
        ax.set_xlabel("predicted")
        ax.set_ylabel("class")
        ax.set_title("test part, percent of each class")
        ax.tick_params(length=0)
        for k, j in np.ndindex(*percent.shape):
            if written and percent[k, j] > 0.5:
                ink = "white" if percent[k, j] < 60 else "black"
                number = f"{percent[k, j]:.0f}"
                ax.text(float(j), float(k), number, ha="center", va="center", color=ink)
        wrong = percent - np.diag(np.diag(percent))
        k, j = np.unravel_index(int(wrong.argmax()), wrong.shape)
        describe(
            ax,
            f"Confusion matrix of {len(names)} classes on the test part; the most frequent mistake is "
            f"{names[k]} taken for {names[j]}, {wrong[k, j]:.0f} percent.",
        )
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


def curves(axes: Sequence[Axes], records: Sequence[Record], band: Band) -> None:
    """Accuracy, losses, and correlation if it was measured, each on an axis of its own."""
    learning_curves(axes[0], records, value=records[0].score[0], band=band)
    flat = [record.flat() for record in records]
    epochs = [float(record.epoch) for record in records]
    keys = ["train_loss", "test_loss", *["validation_loss"] * bool(records[0].validation_loss)]
    for index, key in enumerate(keys):
        values = [numbers(one[key]) for one in flat]
        label = in_words(key).removesuffix(" loss")
        curve(axes[1], epochs, values, label=label, index=index, band=band)
    axes[1].set_xlabel("epoch")
    axes[1].set_ylabel("loss")
    axes[1].grid(True, axis="y", linewidth=0.6)
    axes[1].legend()
    axes[1].xaxis.set_major_locator(MaxNLocator(5, integer=True))
    parts = "the training, the test and the validation part"
    if len(keys) == 2:
        parts = "the training and the test part"
    describe(axes[1], f"Loss on {parts} over {len(records) - 1} epochs.")
    if diversity_keys(records):
        learning_curves(axes[2], records, value="correlation", band=band)
        axes[2].set_ylabel("mean |correlation|")
        axes[2].set_ylim(bottom=0)
        axes[2].set_title("")
        if axes[2].get_legend() is not None:
            axes[2].legend(fontsize="small")
