"""The buffer: all learned numbers lie in one array, and W, b, dW, db are named views of it.

    theta (P,) or (R, P)     all weights and biases, one row per network
    dtheta                   the gradient, in the same layout
    W[0] = theta[..., 0 : n_0 n_1] seen as (n_0, n_1);   then b[0], W[1], b[1], ..., what layers learn

So an optimizer is a few lines on one array, and one learning rate per network is a column (R, 1).
(products.py describes what this layout means for products on a GPU.)

An assignment fills the view that it names: net.dW[0] = net.dW[0] / 2 changes dtheta, and so the next
step. An assignment never replaces a view by another array; copies and pickles get views of their own
buffer.
"""

from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from math import prod
from operator import attrgetter
from typing import Any

from tinydiv.backend import Array, to_device, xp
from tinydiv.errors import UsageError
from tinydiv.layers import Layer


@dataclass(frozen=True)
class Block:
    """One named piece of theta: its columns [start, stop) and the shape of one network's part."""

    name: str
    start: int
    stop: int
    shape: tuple[int, ...]


def indexed(name: str) -> str:
    """A block's name as formulas and reports have it: W0 -> W[0]; gamma[batch-norm.1] stays."""
    return f"{name[0]}[{name[1:]}]" if name[1:].isdecimal() else name


def fill(view: Array, value: Any, name: str) -> None:
    """Put an array, a list or a number into a view. Raises UsageError if its shape does not fit."""
    if value is view:  # net.dW[0] *= 2 has changed the view in place already
        return
    try:
        view[...] = value if isinstance(value, int | float) else to_device(value)
    except (TypeError, ValueError) as error:
        found = getattr(value, "shape", None)
        what = f"an array of shape {found}" if found is not None else f"a {type(value).__name__}"
        raise UsageError(
            f"{name} has shape {view.shape} and cannot be filled from {what}: {error}"
        ) from None


class Views(Sequence[Array]):
    """W, b, dW or db: one view per layer. net.W[l] = array fills the view."""

    def __init__(self, name: str, views: list[Array]) -> None:
        self.name, self.views = name, views

    def __getitem__(self, l: Any) -> Any:
        return self.views[l]

    def __setitem__(self, l: Any, value: Any) -> None:
        if not isinstance(l, slice):
            fill(self.views[l], value, f"{self.name}[{l}]")
            return
        found = list(value)
        if len(found) != len(self.views[l]):
            raise UsageError(f"{self.name} has {len(self.views[l])} arrays there, got {len(found)}")
        for place, one in zip(range(len(self.views))[l], found, strict=True):
            self[place] = one

    def __len__(self) -> int:
        return len(self.views)

    def __repr__(self) -> str:
        return repr(self.views)


class NamedViews(MutableMapping[str, Array]):
    """What a layer learns, or its gradients, by name. layer.parameters["gamma"] = array fills the view."""

    def __init__(self, name: str, views: dict[str, Array]) -> None:
        self.name, self.views = name, views

    def __getitem__(self, key: str) -> Array:
        return self.views[key]

    def __setitem__(self, key: str, value: Any) -> None:
        fill(self.views[key], value, f"{self.name}[{key!r}]")

    def __delitem__(self, key: str) -> None:
        raise UsageError(f"{self.name}[{key!r}] is part of the network and cannot be deleted")

    def __iter__(self) -> Iterator[str]:
        return iter(self.views)

    def __len__(self) -> int:
        return len(self.views)

    def __repr__(self) -> str:
        return repr(self.views)


def filled(name: str) -> Any:
    """A property for the array kept as self._name: an assignment fills it and never replaces it."""

    place = f"_{name}"

    def put(self: "Parameters", value: Any) -> None:
        kept = getattr(self, place)
        if isinstance(kept, Views):
            kept[:] = value
        else:
            fill(kept, value, name)

    return property(attrgetter(place), put)


class Parameters:
    """The part of a network that owns theta and dtheta; mlp.MLP is the rest."""

    sizes: list[int]
    replicas: int | None
    dtype: str
    layers: list[Layer]

    theta, dtheta = filled("theta"), filled("dtheta")
    W, b, dW, db = filled("W"), filled("b"), filled("dW"), filled("db")

    def allocate(self) -> None:
        """Lay out theta, make both buffers, and give every layer its views."""
        self.blocks = self._blocks()
        self.n_parameters = self.blocks[-1].stop
        self._theta = xp.zeros((*self.lead, self.n_parameters), dtype=self.dtype)
        # It takes no memory until it is written:
        self._dtheta = xp.zeros(self._theta.shape, dtype=self.dtype)
        for layer in self.layers:
            layer.attach(self.lead, self.dtype)
        self._make_views()
        for layer in self.layers:
            layer.reset_parameters()

    @property
    def lead(self) -> tuple[int, ...]:
        """The leading axes: () for one network, (R,) for R networks."""
        return () if self.replicas is None else (self.replicas,)

    @property
    def depth(self) -> int:
        """How many weight matrices there are."""
        return len(self.sizes) - 1

    def _blocks(self) -> list[Block]:
        """W0, b0, W1, ..., then what layers learn, one after the other."""
        shapes: list[tuple[str, tuple[int, ...]]] = []
        for l, (n_in, n_out) in enumerate(zip(self.sizes, self.sizes[1:], strict=False)):
            shapes += [(f"W{l}", (n_in, n_out)), (f"b{l}", (1, n_out))]
        for layer in self.layers:
            shapes += [(f"{key}{layer.tag}", shape) for key, shape in layer.shapes.items()]
        blocks, start = [], 0
        for name, shape in shapes:
            blocks.append(Block(name, start, start + prod(shape), shape))
            start += prod(shape)
        names = [block.name for block in blocks]
        names += [layer.tag for layer in self.layers if not layer.shapes]
        if len(set(names)) < len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            raise UsageError(f"the same layer stands twice at one place: {', '.join(twice)}")
        return blocks

    def block(self, name: str) -> Block:
        """The piece of theta with that name: "W0", "b0", "W1", ..."""
        return next(block for block in self.blocks if block.name == name)

    def view(self, buffer: Array, name: str) -> Array:
        """One named piece of any buffer that is laid out as theta (moments, gradients)."""
        block = self.block(name)
        return buffer[..., block.start : block.stop].reshape(*self.lead, *block.shape)

    def views(self, buffer: Array) -> tuple[list[Array], list[Array]]:
        """(W, b) of any buffer that is laid out as theta."""
        W = [self.view(buffer, f"W{l}") for l in range(self.depth)]
        b = [self.view(buffer, f"b{l}") for l in range(self.depth)]
        return W, b

    def lie_in(self, theta: Array, dtheta: Array | None = None) -> None:
        """Use this array as theta (and dtheta) from now on, without a copy, so that networks can share
        one."""
        self._theta = theta
        self._dtheta = self._dtheta if dtheta is None else dtheta
        self._make_views()

    def _make_views(self) -> None:
        """W, b, dW, db and the layers' own, as views of the two buffers."""
        (W, b), (dW, db) = self.views(self._theta), self.views(self._dtheta)
        self._W, self._b = Views("W", W), Views("b", b)
        self._dW, self._db = Views("dW", dW), Views("db", db)
        for layer in self.layers:
            for name, buffer in (("parameters", self._theta), ("gradients", self._dtheta)):
                views = {key: self.view(buffer, f"{key}{layer.tag}") for key in layer.shapes}
                setattr(layer, name, NamedViews(f"{layer.label}.{name}", views))

    # Copies: views are left out and made again from the copied buffer. Networks, optimizers and techniques
    # that are copied or pickled together still refer to each other.

    def __getstate__(self) -> dict[str, Any]:
        return {
            key: value for key, value in vars(self).items() if key not in ("_W", "_b", "_dW", "_db")
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._make_views()
