"""Random cases in which every gradient is right: shapes, activations, techniques and settings at random.

Some are difficult on purpose: whole numbers as weights and inputs (many pre-activations are exactly zero),
one neuron, one sample, an array of one network.
"""

import numpy as np

from tinydiv import activations, losses
from tinydiv.backend import to_device, to_host
from tinydiv.check import points
from tinydiv.check.losses import loss_case
from tinydiv.check.network import network_case
from tinydiv.check.points import Dimensions, Memory
from tinydiv.check.techniques import layer_case, settings_of, unit_cases
from tinydiv.layers import Context
from tinydiv.techniques import TECHNIQUES
from tinydiv.techniques.placing import kind_of, layers_of

ACTIVATIONS = list(activations.ACTIVATIONS)
PENALTIES = [cls for cls in TECHNIQUES.values() if kind_of(cls) == "penalty" and not cls.needs]
LAYERS = [cls for cls in TECHNIQUES.values() if kind_of(cls) == "layer"]


def right_case(seed):
    """One random case, drawn from the seed."""
    rng = np.random.default_rng(seed)
    return (of_network, of_penalty, of_loss, of_layer, of_network)[seed % 5](rng, seed)


def pick(rng, options):
    return options[rng.integers(len(options))]


def dimensions(rng, hidden, least=1):
    """Random sizes, none larger than 5; one network or several, with inputs of their own or not."""
    sizes = tuple(int(n) for n in rng.integers(least, 6, size=hidden + 2))
    sizes = (*sizes[:-1], max(sizes[-1], 2))  # class numbers need two outputs
    replicas = pick(rng, [None, None, 1, 2, 3, sizes[1]])
    own = replicas is not None and bool(rng.integers(2))
    return Dimensions(sizes, int(rng.integers(1, 8)), replicas, own)


def of_network(rng, seed):
    dims = dimensions(rng, hidden=int(rng.integers(0, 3)))
    net = points.network(dims, pick(rng, ACTIVATIONS), seed)
    if rng.random() < 0.3:  # whole numbers: kinks everywhere
        net.theta[...] = to_device(np.round(to_host(net.theta)))
    case = network_case(net, dims, seed)
    if rng.random() < 0.3:
        case.point["X"] = to_device(np.round(to_host(case.point["X"])))
    return case


def of_penalty(rng, seed):
    cls = pick(rng, PENALTIES)
    chosen = pick(rng, list(settings_of(cls)))
    dims = dimensions(rng, hidden=2)
    cases = unit_cases(cls(**chosen), chosen, dims, pick(rng, ACTIVATIONS), seed)
    return pick(rng, cases[:3])


def of_loss(rng, seed):
    name = pick(rng, list(losses.LOSSES))
    lead = pick(rng, [(), (1,), (3,)])
    N, K = int(rng.integers(1, 7)), int(rng.integers(2, 7))  # class numbers need two outputs
    outputs = points.numbers(*lead, N, K, seed=seed, scale=pick(rng, [0.1, 1.0, 5.0]))
    targets = points.labels(N, classes=K, seed=seed)
    return loss_case(losses.get(name), name, f"{lead} {N} {K}", outputs, targets)


def of_layer(rng, seed):
    cls = pick(rng, LAYERS)
    chosen = pick(rng, list(settings_of(cls)))
    dims = dimensions(rng, hidden=1, least=2)
    net = points.network(dims, "tanh", seed, layers_of([cls(**chosen)]))
    memory: Memory = points.warm_up(net, dims, seed)
    context = Context(training=bool(rng.integers(2)), step=3)
    return layer_case(net, memory, chosen, dims, context, seed)
