"""Measures of how different the neurons of a layer are, one number per network.

Every metric reads one hidden layer (neurons.py): its incoming weights, its activations on a fixed probe
set, its outgoing weights; it returns (...,), computed in whole arrays on the device. None of them changes
when neurons are permuted. A neuron that is constant on the probe set has no correlation: it is left out of
correlations and counted by dead_fraction, never counted as an independent one. However many neurons die,
every metric stays finite and within its range: with nothing left to measure, correlations, ranks and
group_cka are 0.
"""

from collections.abc import Callable, Sequence

from tinydiv.backend import Array
from tinydiv.diversity import of_activations, of_ensemble, of_weights, persistence
from tinydiv.diversity.neurons import TINY_EPS, Neurons
from tinydiv.diversity.responses import Responses, one_network, responses
from tinydiv.errors import UsageError, check_known
from tinydiv.mlp import MLP, Trace

__all__ = [
    "METRICS",
    "NEED_LABELS",
    "TINY_EPS",
    "Neurons",
    "Responses",
    "measure",
    "neurons_of",
    "one_network",
    "responses",
]


METRICS: dict[str, Callable[[Neurons], Array]] = {
    metric.__name__: metric
    for metric in (
        of_weights.weight_cosine,
        of_weights.weight_cosine_max,
        of_activations.correlation,
        of_activations.correlation_squared,
        of_activations.participation_ratio,
        of_activations.effective_rank,
        of_weights.awake,
        of_activations.dead_fraction,
        of_activations.dormant_fraction,
        of_activations.group_cka,
        of_activations.codes,
        of_weights.stable_rank,
        of_weights.hyperspherical_energy,
        of_weights.half_space_energy,
        of_weights.condensation,
        of_ensemble.ambiguity,
        of_ensemble.coherence,
        persistence.neural_persistence,
        persistence.deep_graph_persistence,
    )
}
"""Every metric by name: neurons -> (...,). The first sentence of its docstring describes it."""
NEED_LABELS = ("codes",)
"""Those that need the classes of the probe set."""


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
        names = [name for name in METRICS if labels is not None or name not in NEED_LABELS]
    for name in names:
        check_known("metric", name, METRICS)
        if name in NEED_LABELS and labels is None:
            raise UsageError(f"the metric {name} needs the probe set's labels: pass labels=")
    found = {}
    for layer in range(1, net.depth):
        neurons = neurons_of(net, trace, layer, labels)
        for name in names:
            key = name if net.depth == 2 else f"{name}.{layer}"
            found[key] = METRICS[name](neurons)
    return found
