"""The network's backward pass with one known fault in it, and the gradients that it then computes.

`Pass` is the right pass, in pieces. A known fault replaces one or two of the pieces, at one layer or at
all. The doctor compares a wrong gradient with the results of all faults.

Layers are counted as in mlp.py: A[l] are the activations of hidden layer l (1 is the first), Z[l-1] their
pre-activations, W[l-1] the weights that lead to it and W[l] those that lead on.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tinydiv.backend import Array, matmul, to_host, xp
from tinydiv.check.evidence import Finding
from tinydiv.mlp import MLP, Trace

EVERYWHERE = -1
"""As the layer of a fault: all layers at once."""


class ImpossibleError(Exception):
    """This fault cannot be made: the shapes do not fit."""


def neighbour(arrays: Sequence[Array | None], l: int) -> Array:
    """The next array above or below number l that has the same shape."""
    for other in (l + 1, l - 1):
        if 0 <= other < len(arrays):
            near, own = arrays[other], arrays[l]
            if near is not None and own is not None and near.shape == own.shape:
                return near
    raise ImpossibleError


@dataclass(frozen=True)
class KnownFault:
    """A mistake in a backward pass: its code and words for the doctor, and the pieces that it replaces.

    pieces: by the name of a method of Pass, a function (pass, l, ...) that takes its place. into: whether
    layer l is the layer into which W[l-1] and b[l-1] lead; if not, it is the one whose A[l] or Z[l-1] is
    used. everywhere_only: it is not made at one layer alone.
    """

    code: str
    words: str
    pieces: Mapping[str, Callable[..., Array]]
    into: bool = False
    everywhere_only: bool = False


class Pass:
    """The backward pass in pieces, with a fault at layer `at` (0: the inputs), or without one."""

    def __init__(
        self,
        net: MLP,
        trace: Trace,
        dlogits: Array,
        dA: Mapping[int, Array],
        fault: KnownFault | None = None,
        at: int = EVERYWHERE,
    ) -> None:
        self.net, self.trace, self.dlogits, self.dA = net, trace, dlogits, dA
        self.fault, self.at = fault, at

    def piece(self, name: str, l: int, *arrays: Array) -> Array:
        """One piece at layer l: the fault's function if it is made there, else the right method."""
        wrong = self.fault and self.fault.pieces.get(name)
        if self.fault and wrong:
            layer = l + 1 if self.fault.into else l
            # The inputs are no hidden layer: faults in the use of A, Z or W begin at layer 1.
            hidden = layer > 0 or name == "upstream"
            if self.at in (EVERYWHERE, layer) and hidden:
                return wrong(self, l, *arrays)
        return getattr(self, name)(l, *arrays)

    def dZ_of_outputs(self, l: int) -> Array:
        """dZ of the output layer, (..., N, K): dlogits, since outputs have no activation function."""
        return self.dlogits

    def dW(self, l: int, dZ: Array, dH: Array) -> Array:
        """dW[l] = A[l]' dZ. dH (..., N, H): the gradient of A[l+1], before the factor f'."""
        return matmul(self.trace.A[l].mT, dZ)

    def db(self, l: int, dZ: Array, dH: Array) -> Array:
        """db[l] (..., 1, H): the sum of dZ over samples."""
        return xp.sum(dZ, axis=-2, keepdims=True)

    def back(self, l: int, dZ: Array) -> Array:
        """The gradient of A[l], (..., N, n_l), through the product Z[l] = A[l] W[l] + b[l]: dZ W[l]'."""
        return matmul(dZ, self.net.W[l].mT)

    def upstream(self, l: int) -> Array | float:
        """The extra gradient dA[l] that penalties add, 0 where there is none."""
        return self.dA.get(l, 0.0)

    def slope(self, l: int) -> Array:
        """f' at hidden layer l."""
        return self.net.activation.derivative(self.trace.Z[l - 1])

    def through(self, l: int, dH: Array) -> Array:
        """dZ[l-1] from the gradient dH of A[l]: (dH + dA[l]) * f'(Z[l-1])."""
        return (dH + self.piece("upstream", l)) * self.piece("slope", l)

    def run(self) -> dict[str, Array]:
        """All gradients by name: "W[0]", "b[0]", ..., "X". Raises ImpossibleError."""
        found: dict[str, Array] = {}
        dZ = dH = self.piece("dZ_of_outputs", self.net.depth)
        for l in reversed(range(self.net.depth)):
            found[f"W[{l}]"] = self.piece("dW", l, dZ, dH)
            found[f"b[{l}]"] = self.piece("db", l, dZ, dH)
            dH = self.piece("back", l, dZ)
            if l > 0:
                dZ, dH = self.piece("through", l, dH), dH + self.piece("upstream", l)
        found["X"] = dH + self.piece("upstream", 0)
        return found


def not_transposed(p: Pass, l: int, dZ: Array) -> Array:
    """dZ W[l] in place of dZ W[l]'."""
    W = p.net.W[l]
    if W.shape[-1] != W.shape[-2]:
        raise ImpossibleError
    return matmul(dZ, W)


def samples_left_out(kept: slice) -> Mapping[str, Callable[..., Array]]:
    """dW and db of some of the samples."""
    return {
        "dW": lambda p, l, dZ, dH: matmul(p.trace.A[l][..., kept, :].mT, dZ[..., kept, :]),
        "db": lambda p, l, dZ, dH: p.db(l, dZ[..., kept, :], dH),
    }


ONE_SAMPLE = "not summed over the samples: db{z} is one sample's alone"

FAULTS = (
    KnownFault(
        "mask-missing",
        "mask missing where the neuron is off: the factor f'(Z{z}) is left out (a mask that is read from "
        "the output, A >= 0, is always true and leaves it out too)",
        {"slope": lambda p, l: xp.ones_like(p.slope(l))},
    ),
    KnownFault(
        "slope-of-activations",
        "f' is taken at the activations A{a}, not at the pre-activations Z{z}",
        {"slope": lambda p, l: p.net.activation.derivative(p.trace.A[l])},
    ),
    KnownFault(
        "slope-twice", "multiplied by f'(Z{z}) twice", {"slope": lambda p, l: p.slope(l) ** 2}
    ),
    KnownFault(
        "wrong-layer",
        "f' is taken at another layer's Z, not at Z{z}",
        {"slope": lambda p, l: p.net.activation.derivative(neighbour(p.trace.Z[:-1], l - 1))},
    ),
    KnownFault(
        "pre-activations",
        "dW{a} is made with the pre-activations Z{z} in place of the activations A{a}",
        {"dW": lambda p, l, dZ, dH: matmul(p.trace.Z[l - 1].mT, dZ)},
    ),
    KnownFault(
        "wrong-layer",
        "dW{a} is made with another layer's A, not with A{a}",
        {"dW": lambda p, l, dZ, dH: matmul(neighbour(p.trace.A[:-1], l).mT, dZ)},
    ),
    KnownFault(
        "weights-not-transposed",
        "goes back through W{a} as it is, not through its transpose",
        {"back": not_transposed},
    ),
    KnownFault(
        "wrong-layer",
        "goes back through another layer's W, not through W{a}",
        {"back": lambda p, l, dZ: matmul(dZ, neighbour(p.net.W, l).mT)},
    ),
    KnownFault(
        "bias-before-mask",
        "db{z} is the sum of dA{a}, before f'(Z{z}): it is the sum of dZ{z}",
        {"db": lambda p, l, dZ, dH: p.db(l, dH, dH)},
        into=True,
    ),
    KnownFault(
        "weights-before-mask",
        "dW{z} is made with dA{a}, before f'(Z{z}): it is made with dZ{z}",
        {"dW": lambda p, l, dZ, dH: p.dW(l, dH, dH)},
        into=True,
    ),
    KnownFault(
        "bias-not-summed", ONE_SAMPLE, {"db": lambda p, l, dZ, dH: dZ[..., :1, :]}, into=True
    ),
    KnownFault(
        "bias-not-summed", ONE_SAMPLE, {"db": lambda p, l, dZ, dH: dZ[..., -1:, :]}, into=True
    ),
    KnownFault(
        "sample-left-out", "one sample is left out", samples_left_out(slice(None, -1)), into=True
    ),
    KnownFault(
        "sample-left-out", "one sample is left out", samples_left_out(slice(1, None)), into=True
    ),
    KnownFault(
        "upstream-ignored", "the extra gradient dA{a} is not added", {"upstream": lambda p, l: 0.0}
    ),
    KnownFault(
        "upstream-twice",
        "the extra gradient dA{a} is added twice",
        {"upstream": lambda p, l: 2 * p.upstream(l)},
    ),
    KnownFault(
        "wrong-layer",
        "the extra gradient of another layer is put in at A{a}",
        {"upstream": lambda p, l: neighbour([p.dA.get(i) for i in range(p.net.depth)], l)},
    ),
    KnownFault(
        "upstream-after-mask",
        "dA{a} is added after f'(Z{z}) instead of before: it is a gradient of A, not of Z",
        {"through": lambda p, l, dH: dH * p.slope(l) + p.upstream(l)},
    ),
    KnownFault(
        "activation-on-outputs",
        "dlogits is multiplied by f' at the outputs, which have no activation function",
        {"dZ_of_outputs": lambda p, l: p.dlogits * p.net.activation.derivative(p.trace.Z[-1])},
        everywhere_only=True,
    ),
)


def variants(
    net: MLP, trace: Trace, dlogits: Array, dA: Mapping[int, Array]
) -> Iterator[tuple[Finding, dict[str, Array]]]:
    """Every fault, at each layer alone and at all layers at once, with the arrays that it changes."""
    right = on_host(Pass(net, trace, dlogits, dA).run(), net, trace)
    for fault in FAULTS:
        for at in (*range(net.depth + 1), EVERYWHERE):
            if at != EVERYWHERE and fault.everywhere_only:
                continue
            try:
                made = on_host(Pass(net, trace, dlogits, dA, fault, at).run(), net, trace)
            except ImpossibleError:
                continue
            changed = {k: v for k, v in made.items() if abs(v - right[k]).max() > 1e-9}
            if changed:
                z, a = ("[l-1]", "[l]") if at == EVERYWHERE else (f"[{at - 1}]", f"[{at}]")
                yield Finding(fault.code, fault.words.format(z=z, a=a)), changed


def parts(
    net: MLP, trace: Trace, dlogits: Array, dA: Mapping[int, Array]
) -> dict[str, dict[str, Array]]:
    """The right pass with one upstream gradient at a time: {"W[0]": {"dlogits": ..., "dA[1]": ...}}."""
    nothing = xp.zeros_like(dlogits)
    alone = {"dlogits": Pass(net, trace, dlogits, {})}
    alone |= {f"dA[{l}]": Pass(net, trace, nothing, {l: one}) for l, one in dA.items()}
    found: dict[str, dict[str, Array]] = {}
    for upstream, one in alone.items():
        for name, array in on_host(one.run(), net, trace).items():
            found.setdefault(name, {})[upstream] = array
    return found


def on_host(arrays: dict[str, Array], net: MLP, trace: Trace) -> dict[str, Array]:
    """NumPy arrays; where all networks share their inputs, X is summed over networks."""
    if net.replicas is not None and trace.A[0].ndim == 2:
        arrays["X"] = xp.sum(arrays["X"], axis=0)
    return {name: to_host(array) for name, array in arrays.items()}
