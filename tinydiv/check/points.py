"""Points at which gradients are checked: small float64 networks with random weights, inputs and labels.

All sizes of a point differ (7 samples, 4 neurons, 3 classes), so that the size of a wrong factor shows its
origin, and a transpose changes the shape. In one point all sizes are equal, the number of networks too:
there a wrong order of axes raises no error.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tinydiv.activations import Activation
from tinydiv.backend import Array, to_device
from tinydiv.buffer import indexed
from tinydiv.check.numeric import Point
from tinydiv.layers import Context, Layer
from tinydiv.mlp import MLP
from tinydiv.randomness import generator


@dataclass(frozen=True)
class Dimensions:
    """One network's sizes, how many networks, the batch, and whether each has inputs of its own."""

    sizes: tuple[int, ...]
    samples: int
    replicas: int | None = None
    own_inputs: bool = False

    def __str__(self) -> str:
        many = f", {self.replicas} networks" if self.replicas else ""
        own = " with inputs of their own" if self.own_inputs else ""
        return f"{'-'.join(map(str, self.sizes))}, N={self.samples}{many}{own}"


LINEAR = Dimensions((4, 3), 7)
SHALLOW = Dimensions((5, 4, 3), 7)
DEEP = Dimensions((5, 4, 6, 3), 7)
MANY = Dimensions((5, 4, 2, 3), 6, replicas=3)
SQUARE = Dimensions((4, 4, 4, 4), 6, replicas=4, own_inputs=True)
"""Everything is 4: networks, inputs, neurons, outputs. Broadcasting along a wrong axis raises no error."""
ONE_SAMPLE = Dimensions((3, 4, 2), 1)
WIDE = Dimensions((3, 5, 7, 2), 9, replicas=2)
"""More neurons than inputs: their weights cannot all be orthogonal."""

LARGE = Dimensions((6, 20, 9, 3), 40)
"""Large enough for faults that occur only with many samples or neurons."""

DEAD = Dimensions((3, 3, 2), 5, replicas=3)
"""For dead neurons: one in the first network, all but one in the second, all in the third."""
EQUAL = Dimensions((3, 4, 2), 5)
"""For two neurons that are equal to the last bit."""


def numbers(*shape: int, seed: int, scale: float = 1.0) -> Array:
    """Normal numbers in float64, drawn on the host."""
    return to_device(scale * generator(seed, "probe").standard_normal(shape))


def labels(*shape: int, classes: int, seed: int) -> Array:
    """Class numbers."""
    return to_device(generator(seed, "split").integers(classes, size=shape).astype("int32"))


def network(
    dims: Dimensions,
    activation: str | Activation,
    seed: int,
    layers: Sequence[Layer] = (),
    kind: type[MLP] = MLP,
) -> MLP:
    """A network whose weights, biases and layer parameters are all random: none is 0 or 1."""
    net = kind(dims.sizes, activation, dims.replicas, "float64", layers)
    net.theta[...] = numbers(*net.theta.shape, seed=seed, scale=0.7)
    return net


def inputs(dims: Dimensions, seed: int) -> Array:
    """Inputs (N, n_0), or (R, N, n_0) where each network has its own."""
    lead = (dims.replicas,) if dims.own_inputs and dims.replicas else ()
    return numbers(*lead, dims.samples, dims.sizes[0], seed=seed + 1)


def targets(dims: Dimensions, seed: int) -> Array:
    """Class numbers (N,), or (R, N) where each network has its own inputs."""
    lead = (dims.replicas,) if dims.own_inputs and dims.replicas else ()
    return labels(*lead, dims.samples, classes=dims.sizes[-1], seed=seed + 2)


def parameters(net: MLP, buffer: Array | None = None) -> Point:
    """Copies of all parameters by name: "W[0]", "b[0]", "gamma[batch-norm.1]".

    buffer: read this buffer, which has the layout of theta, in place of theta.
    """
    buffer = net.theta if buffer is None else buffer
    return {indexed(b.name): net.view(buffer, b.name).copy() for b in net.blocks}


def put(net: MLP, point: Point) -> None:
    """Write the parameters of a point into the network; other arrays, such as X, are left out."""
    for block in net.blocks:
        net.view(net.theta, block.name)[...] = point[indexed(block.name)]


def gradients(net: MLP) -> Point:
    """Copies of the gradients in dtheta, by the same names."""
    return parameters(net, net.dtheta)


class Stateful(Protocol):
    """An object whose state changes when it is used: a layer, a technique."""

    def state(self) -> dict[str, Array]: ...
    def load_state(self, state: dict[str, Array], /) -> None: ...


class Memory:
    """The state of layers or techniques (running statistics), restored before every evaluation, so that
    equal points give equal values."""

    def __init__(self, *owners: Stateful) -> None:
        kept = [(owner, owner.state()) for owner in owners]
        self.kept = [
            (owner, {key: _copied(value) for key, value in state.items()})
            for owner, state in kept
            if state
        ]

    def restore(self) -> None:
        """Give every owner the state back that it had at first."""
        for owner, state in self.kept:
            owner.load_state({key: _copied(value) for key, value in state.items()})


def _copied(value: Array) -> Array:
    return value.copy() if hasattr(value, "copy") else value


def warm_up(net: MLP, dims: Dimensions, seed: int) -> Memory:
    """Run a few training passes, so that running statistics differ from those of a new layer."""
    for step in range(3):
        net.forward(2.0 * inputs(dims, seed + 10 * step) + 0.3, Context(training=True, step=step))
    return Memory(*net.layers)


def takes(function: Callable[..., object], name: str) -> bool:
    """Whether a function takes an argument of that name."""
    parameters = inspect.signature(function).parameters.values()
    return any(p.name == name or p.kind is p.VAR_KEYWORD for p in parameters)
