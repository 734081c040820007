"""Starts by name: initialize(net, "he-normal", seed=0) fills a network's weights and biases.

Everything is drawn on the host, network r of a run with seed s from seed s + r, and then moved: equal
seeds give equal starts on every backend, for one network or as one of many.
"""

from collections.abc import Sequence

import numpy as np

from tinydiv.backend import to_device
from tinydiv.errors import unknown
from tinydiv.initializers.classic import BASES, Base
from tinydiv.mlp import MLP
from tinydiv.randomness import generator, replica_seeds

__all__ = ["BASES", "DEFAULT", "Base", "initialize"]

DEFAULT = "he-normal"


def initialize(net: MLP, name: str = DEFAULT, seed: int | Sequence[int] = 0) -> None:
    """Fill W and b of every layer by the named scheme; parameters of layers get their first values.

    seed: one number (network r uses seed + r) or one per network. Raises UsageError for an unknown
    name or a seed that is no whole number from 0 up.
    """
    if name not in BASES:
        raise unknown("initializer", name, BASES)
    base = BASES[name]
    theta = np.zeros((net.replicas or 1, net.n_parameters))
    for r, s in enumerate(replica_seeds(seed, net.replicas)):
        rng = generator(s, "start")
        for l, (n_in, n_out) in enumerate(zip(net.sizes, net.sizes[1:], strict=False)):
            W, b = base.draw(rng, n_in, n_out)
            for block, values in ((net.block(f"W{l}"), W), (net.block(f"b{l}"), b)):
                theta[r, block.start : block.stop] = values.ravel()
    net.theta[...] = to_device(theta.astype(net.dtype).reshape(net.theta.shape))
    for layer in net.layers:
        layer.reset_parameters()
