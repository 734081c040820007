"""Starts by name: initialize(net, "decorrelated", seed=0, X=probe) fills a network's weights and biases.

Everything is drawn on the host and then copied to the device; network r of a run with seed s has seed s +
r. Equal seeds give equal starts on every backend, for one network alone or among many. Read in this order:
classic.py (base draws), scheme.py (what a scheme is), by_weights.py, by_responses.py, decorrelated.py.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np

from tinydiv.backend import Array, to_device, to_host
from tinydiv.errors import UsageError
from tinydiv.initializers.classic import BASES
from tinydiv.initializers.scheme import Inputs, LayerInfo, Scheme
from tinydiv.initializers.specs import SCHEMES, Start, needs_data, parse
from tinydiv.mlp import MLP
from tinydiv.randomness import generator, replica_seeds

__all__ = ["BASES", "DEFAULT", "PROBE", "SCHEMES", "Scheme", "initialize", "needs_data"]

DEFAULT = "he-normal"
PROBE = 4096
"""How many training samples a start that reads data is given: DeviceData.probe(PROBE)."""

AT_ONCE = 16
"""How many networks are worked on at once: their arrays then take some hundred MB at most."""


def initialize(
    net: MLP, spec: str = DEFAULT, seed: int | Sequence[int] = 0, X: Array | None = None
) -> MLP:
    """Fill W and b of every layer by a spec such as "response-zca@glorot-uniform" (specs.py); return net.

    seed: one number (network r uses seed + r) or one per network. X (N, n_0): a probe batch of training
    inputs, for starts that read data; needs_data(spec) is True for those. Layers are filled in order, each
    by the inputs that it gets from the filled layers before it; layers between the products (batch norm,
    dropout) are ignored, and their parameters get their first values.

    Weights that do not depend on data are equal bit for bit on every backend. With equal X so are the
    others, except in deep networks, where the device computes activations (relative 1e-5 in float32).

    Raises UsageError for an unknown name or setting, a seed that is no whole number from 0 up, and
    inputs that are missing, of another width, or not finite.
    """
    start = parse(spec)
    seeds = replica_seeds(seed, net.replicas)
    inputs = probe_inputs(net, spec, X) if start.needs_data else None
    theta = net.theta if net.replicas else net.theta[None]
    for begin in range(0, len(seeds), AT_ONCE):
        some = seeds[begin : begin + AT_ONCE]
        drawn = np.zeros((len(some), net.n_parameters), dtype=net.dtype)
        for name, values in initialized(net, start, some, inputs).items():
            block = net.block(name)
            drawn[:, block.start : block.stop] = values.reshape(len(values), -1)
        theta[begin : begin + AT_ONCE] = to_device(drawn)
    for layer in net.layers:
        layer.reset_parameters()
    return net


def probe_inputs(net: MLP, spec: str, X: Array | None) -> Inputs:
    """The probe batch on the host, as the inputs of the first layer of all networks.

    Raises UsageError if it is missing, of another width, or not finite.
    """
    if X is None:
        raise UsageError(
            f"the start {spec!r} reads data: give initialize a batch of training inputs, X=..., "
            f"of about {PROBE} rows"
        )
    rows = to_host(X)
    if rows.ndim != 2 or rows.shape[0] < 1 or rows.shape[1] != net.sizes[0]:
        raise UsageError(
            f"a probe batch has the shape (N, {net.sizes[0]}) for this network, got {rows.shape}"
        )
    if not np.isfinite(rows).all():
        raise UsageError(
            "the probe batch holds numbers that are not finite: clean the inputs first"
        )
    return Inputs(lambda: rows[None])


def initialized(
    net: MLP, start: Start, seeds: Sequence[int], first: Inputs | None
) -> dict[str, np.ndarray]:
    """W0, b0, W1, ... of some networks (R, ., .): all base draws, then the schemes, layer by layer."""
    rngs = [generator(seed, "start") for seed in seeds]
    drawn = [
        [
            start.base(rng, n_in, n_out)
            for n_in, n_out in zip(net.sizes, net.sizes[1:], strict=False)
        ]
        for rng in rngs
    ]
    filled: dict[str, np.ndarray] = {}
    inputs = first
    for l in range(net.depth):
        W = np.stack([layers[l][0] for layers in drawn])
        b = np.stack([layers[l][1] for layers in drawn])
        for i, scheme in enumerate(start.schemes):
            at = LayerInfo(rngs, start.bare and i == 0, l, net.depth, net.sizes[-1], inputs, first)
            W, b = (scheme.output if l == net.depth - 1 else scheme.hidden)(W, b, at)
        filled[f"W{l}"], filled[f"b{l}"] = W, b
        if inputs is not None and l < net.depth - 1:
            inputs = Inputs(partial(responses, net, inputs, W, b))
    return filled


def responses(net: MLP, inputs: Inputs, W: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The inputs of the next layer, f(A W + b) (R, N, n_out), in the network's own precision."""
    A = inputs.A.astype(net.dtype, copy=False)
    Z = A @ W.astype(net.dtype) + b.astype(net.dtype)
    return np.asarray(to_host(net.activation(to_device(Z))))
