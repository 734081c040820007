"""Recording arrays in a network: layers that change nothing and keep copies."""

from tinydiv.backend import Array
from tinydiv.layers import Context, Layer
from tinydiv.mlp import MLP, Trace


class Watch(Layer):
    """Passes its input on and keeps a copy: x in the forward pass, dx in the backward pass.

    The copies are in its cache, which is part of the trace of that pass: two passes do not mix.
    """

    label = "watch"

    def __init__(self, place: str, depth: int) -> None:
        self.place, self.depth = place, depth

    def forward(self, x: Array, context: Context) -> tuple[Array, Array]:
        return x, {"x": x.copy()}

    def backward(self, dy: Array, cache: Array) -> tuple[Array, dict[str, Array]]:
        cache["dx"] = dy.copy()
        return dy, {}


class Watched:
    """A network with a Watch on both sides of its layers, at every place, while `with` lasts."""

    def __init__(self, net: MLP) -> None:
        self.net, self.layers = net, net.layers

    def __enter__(self) -> "Watched":
        places = [(place, l) for place in ("before", "after") for l in range(self.net.depth - 1)]
        first, last = ([Watch(*place) for place in places] for _ in range(2))
        self.net.layers = [*first, *self.layers, *last]
        return self

    def __exit__(self, *error: object) -> None:
        self.net.layers = self.layers

    def at(self, place: str, depth: int) -> list[str]:
        """The names of the network's own layers at one place, in the order of the forward pass."""
        return [
            layer.label for layer in self.layers if (layer.place, layer.depth) == (place, depth)
        ]

    def entering(self, trace: Trace, place: str, depth: int) -> Array:
        """What entered the layers at a place: {"x": ..., "dx": ...}."""
        return trace.caches[place, depth, 0]

    def leaving(self, trace: Trace, place: str, depth: int) -> Array:
        """What left them."""
        return trace.caches[place, depth, 1 + len(self.at(place, depth))]
