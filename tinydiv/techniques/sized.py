"""Layers that gate a hidden layer by one learned number, its size: what they share.

    Y_h = g_h(N) A_h                       after the activation function
    Y_h = Z_h + N w_h                      before it, with size_input=true: the size is one more input

    dA_h = g_h dY_h;   dN = sum_h g'_h(N) sum_n A_nh dY_nh + sum_h w_h sum_n dZ_nh;   dw_h = N sum_n dZ_nh

N (1, 1) and w (1, H) are numbers in theta, one set per network, so replicas of different sizes live in
one array and dN lies beside dW. The width of the layer is the largest N.
"""

from collections.abc import Sequence

from tinydiv.backend import Array, sum_over_samples, xp
from tinydiv.layers import Context, Layer
from tinydiv.mlp import MLP
from tinydiv.techniques.base import LayerTechnique


class Sized(LayerTechnique):
    """Base of the layers that learn a size: fill in `gates` and declare start, rate and size_input."""

    place = "after"
    family = "growing"
    key = "N"
    start: float = 1.0
    rate: float = 1.0
    size_input: bool = False

    def gates(self) -> tuple[Array, Array]:
        """(g, dg/dN), each (..., 1, H): how far every neuron is open."""
        raise NotImplementedError

    def room(self) -> float:
        """The largest size that opens more than a smaller one does."""
        return self.width

    def reaching(self) -> float:
        """The share of the task's gradient that reaches the size."""
        return 1.0

    @property
    def size(self) -> Array:
        """The size, (..., 1, 1)."""
        return self.parameters[self.key]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {self.key: (1, 1)}

    @property
    def paces(self) -> dict[str, float]:
        return {self.key: self.rate}

    def reset_parameters(self) -> None:
        self.size[...] = self.start

    def spread(self, sizes: Sequence[int]) -> list[Layer]:
        gates = super().spread(sizes)
        if not self.size_input:
            return gates
        return [*gates, *(SizeInput(gate) for gate in gates if isinstance(gate, Sized))]

    def openness(self) -> Array:
        return self.gates()[0]

    def forward(self, x: Array, context: Context) -> tuple[Array, Array]:
        g, slope = self.gates()
        return x * g, (x, g, slope)

    def backward(self, dy: Array, cache: Array) -> tuple[Array, dict[str, Array]]:
        x, g, slope = cache
        dN = xp.sum(sum_over_samples(dy * x) * slope, axis=-1, keepdims=True)
        return dy * g, {self.key: self.reaching() * dN}

    def fold(self, W: Array, b: Array) -> tuple[Array, Array]:
        return W * self.gates()[0].mT, b


class SizeInput(Layer):
    """The size as one more input of every neuron of the layer: Y = Z + N w, w (1, H) starts at zero."""

    place = "before"

    def __init__(self, gate: Sized) -> None:
        self.gate, self.label = gate, gate.label
        self.depth, self.width = gate.depth, gate.width

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"w": (1, self.width)}

    def forward(self, x: Array, context: Context) -> tuple[Array, Array]:
        return x + self.gate.size * self.parameters["w"], None

    def backward(self, dy: Array, cache: Array) -> tuple[Array, dict[str, Array]]:
        """The gate's own backward ran just before and wrote dN: this adds the gradient through the
        input."""
        q = sum_over_samples(dy)
        through = xp.sum(self.parameters["w"] * q, axis=-1, keepdims=True)
        self.gate.gradients[self.gate.key] += self.gate.reaching() * through
        return dy, {"w": self.gate.size * q}

    def fold(self, W: Array, b: Array) -> tuple[Array, Array]:
        return W, b + self.gate.size * self.parameters["w"]


def sized_at(net: MLP, layer: int) -> Sized | None:
    """The layer that learns the size of one hidden layer (1 is the first), if there is one."""
    for one in net.layers:
        if isinstance(one, Sized) and one.depth == layer - 1:
            return one
    return None
