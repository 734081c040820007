"""How different are the neurons of a layer? Measures of diversity, one number per network.

Every metric looks at one hidden layer (neurons.py): its incoming weights, its activations on a fixed
probe set, its outgoing weights; it returns (...,), computed in whole arrays on the device. None of them
changes when neurons are permuted. A neuron that is constant on the probe set has no correlation: it is
left out of correlations and counted by dead_fraction, never taken for an independent one. However many
neurons die, every metric stays finite and within its range: with nothing left to measure, correlations,
ranks and group_cka are 0 (correlation_squared, debiased, -1/(N-2)).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tinydiv.backend import Array
from tinydiv.diversity import of_activations, of_ensemble, of_weights, persistence
from tinydiv.diversity.answers import Answers, answers, one_network
from tinydiv.diversity.neurons import TINY_EPS, Neurons
from tinydiv.errors import UsageError, unknown
from tinydiv.mlp import MLP, Trace

__all__ = [
    "METRICS",
    "TINY_EPS",
    "Answers",
    "Metric",
    "Neurons",
    "answers",
    "measure",
    "neurons_of",
    "one_network",
]


@dataclass(frozen=True)
class Metric:
    """A measure with its name, one line, its paper and its function of a layer -> (...,)."""

    name: str
    summary: str
    paper: str
    measure: Callable[[Neurons], Array]
    needs_labels: bool = False


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "weight_cosine",
            "mean |cosine| between neurons' incoming weights",
            "after Rodriguez et al., ICLR 2017",
            of_weights.weight_cosine,
        ),
        Metric(
            "weight_cosine_max",
            "largest |cosine| between neurons' incoming weights",
            "coherence; after Bansal et al., NeurIPS 2018",
            of_weights.weight_cosine_max,
        ),
        Metric(
            "correlation",
            "mean |Pearson correlation| between neurons' activations",
            "after Cogswell et al., ICLR 2016",
            of_activations.correlation,
        ),
        Metric(
            "correlation_squared",
            "mean squared correlation, debiased for the probe set's size",
            "after Bao et al., 2013",
            of_activations.correlation_squared,
        ),
        Metric(
            "participation_ratio",
            "how many directions carry the activations' variance",
            "after Gao et al., 2017",
            of_activations.participation_ratio,
        ),
        Metric(
            "effective_rank",
            "exp(entropy) of the activations' spectrum",
            "Roy and Vetterli, 2007",
            of_activations.effective_rank,
        ),
        Metric(
            "dead_fraction",
            "share of neurons that are constant on the probe set",
            "after Lu et al., 2019",
            of_activations.dead_fraction,
        ),
        Metric(
            "dormant_fraction",
            "share of neurons that hardly speak, by ReDo's score",
            "Sokar et al., ICML 2023",
            of_activations.dormant_fraction,
        ),
        Metric(
            "group_cka",
            "linear CKA between two halves of the neurons, debiased",
            "Kornblith et al., ICML 2019; Song et al., 2012",
            of_activations.group_cka,
        ),
        Metric(
            "codes",
            "distinct views of the classes, per neuron",
            "after van Meegen and Sompolinsky, 2024",
            of_activations.codes,
            needs_labels=True,
        ),
        Metric(
            "stable_rank",
            "how many directions the weights fill: |W|^2 / sigma_1^2",
            "Rudelson and Vershynin, 2007",
            of_weights.stable_rank,
        ),
        Metric(
            "hyperspherical_energy",
            "mean inverse distance of neurons' directions on the sphere",
            "Liu et al., NeurIPS 2018",
            of_weights.hyperspherical_energy,
        ),
        Metric(
            "half_space_energy",
            "the same with mirror images (for tanh)",
            "Liu et al., NeurIPS 2018",
            of_weights.half_space_energy,
        ),
        Metric(
            "condensation",
            "groups of neurons that point the same way, cosine of [w; b] above 0.95",
            "after Chen et al., Condensation, 2024",
            of_weights.condensation,
        ),
        Metric(
            "ambiguity",
            "how much neurons, read as an ensemble, disagree with their mean",
            "Krogh and Vedelsby, 1995",
            of_ensemble.ambiguity,
        ),
        Metric(
            "coherence",
            "1 if all neurons answer alike, 1/H at right angles",
            "after Krogh and Vedelsby, 1995",
            of_ensemble.coherence,
        ),
        Metric(
            "neural_persistence",
            "strongest tree of connections into the layer; tracks weight variance",
            "Rieck et al., ICLR 2019",
            persistence.neural_persistence,
        ),
        Metric(
            "deep_graph_persistence",
            "the same over paths through the layer",
            "Girrbach et al., 2023",
            persistence.deep_graph_persistence,
        ),
    )
}
"""Every metric by name."""


def neurons_of(net: MLP, trace: Trace, layer: int, labels: Array = None) -> Neurons:
    """What metrics see of one hidden layer (1 is the first), from a trace on the probe set."""
    return Neurons(
        net.W[layer - 1],
        net.b[layer - 1],
        trace.A[layer],
        net.W[layer],
        labels,
        net.sizes[-1],
    )


def measure(
    net: MLP, trace: Trace, names: Sequence[str] | None = None, labels: Array = None
) -> dict[str, Array]:
    """Chosen metrics (all by default) of every hidden layer, from a trace on the probe set.

    labels (N,): the probe set's classes; without them, all means all that need none.
    Keys are the metric's name, followed by .1, .2, ... where there are several hidden layers.
    Raises UsageError for an unknown name, and for one that needs labels where there are none.
    """
    if names is None:
        names = [m.name for m in METRICS.values() if labels is not None or not m.needs_labels]
    for name in names:
        if name not in METRICS:
            raise unknown("metric", name, METRICS)
        if METRICS[name].needs_labels and labels is None:
            raise UsageError(f"the metric {name} needs the probe set's labels: pass labels=")
    found = {}
    for layer in range(1, net.depth):
        neurons = neurons_of(net, trace, layer, labels)
        for name in names:
            key = name if net.depth == 2 else f"{name}.{layer}"
            found[key] = METRICS[name].measure(neurons)
    return found
