"""Measures of how different the neurons of a layer are, one number per network.

Every metric reads one hidden layer (neurons.py): its incoming weights, its activations on a fixed probe
set, its outgoing weights; it returns (...,), computed in whole arrays on the device. None of them changes
when neurons are permuted. A neuron that is constant on the probe set has no correlation: it is left out of
correlations and counted by dead_fraction, never counted as an independent one. However many neurons die,
every metric stays finite and within its range: with nothing left to measure, correlations, ranks and
group_cka are 0.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tinydiv.backend import Array
from tinydiv.diversity import of_activations, of_ensemble, of_weights, persistence
from tinydiv.diversity.neurons import TINY_EPS, Neurons
from tinydiv.diversity.responses import Responses, one_network, responses
from tinydiv.errors import UsageError, check_known
from tinydiv.mlp import MLP, Trace

__all__ = [
    "METRICS",
    "TINY_EPS",
    "Metric",
    "Neurons",
    "Responses",
    "measure",
    "neurons_of",
    "one_network",
    "responses",
]


@dataclass(frozen=True)
class Metric:
    """A measure of one layer, `measure`(neurons) -> (...,); its docstring's first sentence describes it."""

    measure: Callable[[Neurons], Array]
    needs_labels: bool = False

    @property
    def name(self) -> str:
        """Its name in commands."""
        return self.measure.__name__


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(of_weights.weight_cosine),
        Metric(of_weights.weight_cosine_max),
        Metric(of_activations.correlation),
        Metric(of_activations.correlation_squared),
        Metric(of_activations.participation_ratio),
        Metric(of_activations.effective_rank),
        Metric(of_weights.awake),
        Metric(of_activations.dead_fraction),
        Metric(of_activations.dormant_fraction),
        Metric(of_activations.group_cka),
        Metric(of_activations.codes, needs_labels=True),
        Metric(of_weights.stable_rank),
        Metric(of_weights.hyperspherical_energy),
        Metric(of_weights.half_space_energy),
        Metric(of_weights.condensation),
        Metric(of_ensemble.ambiguity),
        Metric(of_ensemble.coherence),
        Metric(persistence.neural_persistence),
        Metric(persistence.deep_graph_persistence),
    )
}
"""Every metric by name."""


def neurons_of(net: MLP, trace: Trace, layer: int, labels: Array = None) -> Neurons:
    """What metrics read of one hidden layer (1 is the first), from a trace on the probe set.

    A neuron whose gate is shut gets weights of zero here, like a sleeping neuron.
    """
    W, b, V = net.W[layer - 1], net.b[layer - 1], net.W[layer]
    for one in net.layers:
        g = one.openness() if (one.place, one.depth) == ("after", layer - 1) else None
        if g is not None:
            W, b, V = W * (g > 0), b * (g > 0), V * g.mT
    return Neurons(W, b, trace.A[layer], V, labels, net.sizes[-1])


def measure(
    net: MLP, trace: Trace, names: Sequence[str] | None = None, labels: Array = None
) -> dict[str, Array]:
    """Chosen metrics (all by default) of every hidden layer, from a trace on the probe set.

    labels (N,): the probe set's classes; without them, the default is all metrics that need none. Keys are
    the metric's name, followed by .1, .2, ... where there are several hidden layers.
    Raises UsageError for an unknown name, and for one that needs labels where there are none.
    """
    if names is None:
        names = [m.name for m in METRICS.values() if labels is not None or not m.needs_labels]
    for name in names:
        check_known("metric", name, METRICS)
        if METRICS[name].needs_labels and labels is None:
            raise UsageError(f"the metric {name} needs the probe set's labels: pass labels=")
    found = {}
    for layer in range(1, net.depth):
        neurons = neurons_of(net, trace, layer, labels)
        for name in names:
            key = name if net.depth == 2 else f"{name}.{layer}"
            found[key] = METRICS[name].measure(neurons)
    return found
