"""The network's backward pass with one known fault in it, and the gradients that it then computes.

`Pass` is the right pass, in pieces; each fault is a subclass that replaces one piece, and `words` describes
it. The doctor compares a wrong gradient with the results of all of them.

Layers are counted as in mlp.py: A[l] are the activations of hidden layer l (1 is the first), Z[l-1] their
pre-activations, W[l-1] the weights that lead to it and W[l] those that lead on.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from tinydiv.backend import Array, matmul, to_host, xp
from tinydiv.check.evidence import Finding
from tinydiv.mlp import MLP, Trace


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


EVERYWHERE = -1


class Pass:
    """The backward pass in pieces. `at`: the layer where a fault is made (0: the inputs), or EVERYWHERE."""

    code: ClassVar[str] = ""
    words: ClassVar[str] = ""
    everywhere_only: ClassVar[bool] = False

    def __init__(
        self, net: MLP, trace: Trace, dlogits: Array, dA: Mapping[int, Array], at: int
    ) -> None:
        self.net, self.trace, self.dlogits, self.dA, self.at = net, trace, dlogits, dA, at

    def here(self, l: int) -> bool:
        """Whether the fault is made at layer l."""
        return self.at in (EVERYWHERE, l)

    def dZ_of_outputs(self) -> Array:
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
        return (dH + self.upstream(l)) * self.slope(l)

    def run(self) -> dict[str, Array]:
        """All gradients by name: "W[0]", "b[0]", ..., "X". Raises ImpossibleError."""
        found: dict[str, Array] = {}
        dZ = dH = self.dZ_of_outputs()
        for l in reversed(range(self.net.depth)):
            found[f"W[{l}]"] = self.dW(l, dZ, dH)
            found[f"b[{l}]"] = self.db(l, dZ, dH)
            dH = self.back(l, dZ)
            if l > 0:
                dZ, dH = self.through(l, dH), dH + self.upstream(l)
        found["X"] = dH + self.upstream(0)
        return found


class MaskMissing(Pass):
    code = "mask-missing"
    words = (
        "mask missing where the neuron is off: the factor f'(Z{z}) is left out (a mask that is read from "
        "the output, A >= 0, is always true and leaves it out too)"
    )

    def slope(self, l: int) -> Array:
        right = super().slope(l)
        return xp.ones_like(right) if self.here(l) else right


class SlopeOfActivations(Pass):
    code = "slope-of-activations"
    words = "f' is taken at the activations A{a}, not at the pre-activations Z{z}"

    def slope(self, l: int) -> Array:
        f = self.net.activation
        return f.derivative(self.trace.A[l]) if self.here(l) else super().slope(l)


class SlopeTwice(Pass):
    code = "slope-twice"
    words = "multiplied by f'(Z{z}) twice"

    def slope(self, l: int) -> Array:
        return super().slope(l) ** (2 if self.here(l) else 1)


class SlopeOfNeighbour(Pass):
    code = "wrong-layer"
    words = "f' is taken at another layer's Z, not at Z{z}"

    def slope(self, l: int) -> Array:
        if not self.here(l):
            return super().slope(l)
        return self.net.activation.derivative(neighbour(self.trace.Z[:-1], l - 1))


class PreActivations(Pass):
    code = "pre-activations"
    words = "dW{a} is made with the pre-activations Z{z} in place of the activations A{a}"

    def dW(self, l: int, dZ: Array, dH: Array) -> Array:
        if l == 0 or not self.here(l):
            return super().dW(l, dZ, dH)
        return matmul(self.trace.Z[l - 1].mT, dZ)


class ActivationsOfNeighbour(Pass):
    code = "wrong-layer"
    words = "dW{a} is made with another layer's A, not with A{a}"

    def dW(self, l: int, dZ: Array, dH: Array) -> Array:
        if l == 0 or not self.here(l):
            return super().dW(l, dZ, dH)
        return matmul(neighbour(self.trace.A[:-1], l).mT, dZ)


class WeightsNotTransposed(Pass):
    code = "weights-not-transposed"
    words = "goes back through W{a} as it is, not through its transpose"

    def back(self, l: int, dZ: Array) -> Array:
        W = self.net.W[l]
        if l == 0 or not self.here(l):
            return super().back(l, dZ)
        if W.shape[-1] != W.shape[-2]:
            raise ImpossibleError
        return matmul(dZ, W)


class WeightsOfNeighbour(Pass):
    code = "wrong-layer"
    words = "goes back through another layer's W, not through W{a}"

    def back(self, l: int, dZ: Array) -> Array:
        if l == 0 or not self.here(l):
            return super().back(l, dZ)
        return matmul(dZ, neighbour(self.net.W, l).mT)


class SlopeLeftOutOfBias(Pass):
    code = "bias-before-mask"
    words = "db{z} is the sum of dA{a}, before f'(Z{z}): it is the sum of dZ{z}"

    def db(self, l: int, dZ: Array, dH: Array) -> Array:
        return super().db(l, dH if self.here(l + 1) else dZ, dH)


class SlopeLeftOutOfWeights(Pass):
    code = "weights-before-mask"
    words = "dW{z} is made with dA{a}, before f'(Z{z}): it is made with dZ{z}"

    def dW(self, l: int, dZ: Array, dH: Array) -> Array:
        return super().dW(l, dH if self.here(l + 1) else dZ, dH)


class OneSampleOnly(Pass):
    code = "bias-not-summed"
    words = "not summed over the samples: db{z} is one sample's alone"
    sample: ClassVar[slice] = slice(0, 1)

    def db(self, l: int, dZ: Array, dH: Array) -> Array:
        if not self.here(l + 1):
            return super().db(l, dZ, dH)
        return dZ[..., self.sample, :]


class LastSampleOnly(OneSampleOnly):
    sample = slice(-1, None)


class SampleLeftOut(Pass):
    code = "sample-left-out"
    words = "one sample is left out"
    kept: ClassVar[slice] = slice(None, -1)

    def dW(self, l: int, dZ: Array, dH: Array) -> Array:
        kept = self.kept if self.here(l + 1) else slice(None)
        return matmul(self.trace.A[l][..., kept, :].mT, dZ[..., kept, :])

    def db(self, l: int, dZ: Array, dH: Array) -> Array:
        kept = self.kept if self.here(l + 1) else slice(None)
        return super().db(l, dZ[..., kept, :], dH)


class FirstSampleLeftOut(SampleLeftOut):
    kept = slice(1, None)


class UpstreamIgnored(Pass):
    code = "upstream-ignored"
    words = "the extra gradient dA{a} is not added"

    def upstream(self, l: int) -> Array | float:
        return 0.0 if self.here(l) else super().upstream(l)


class UpstreamTwice(Pass):
    code = "upstream-twice"
    words = "the extra gradient dA{a} is added twice"

    def upstream(self, l: int) -> Array | float:
        return (2 if self.here(l) else 1) * super().upstream(l)


class UpstreamOfNeighbour(Pass):
    code = "wrong-layer"
    words = "the extra gradient of another layer is put in at A{a}"

    def upstream(self, l: int) -> Array | float:
        if not self.here(l):
            return super().upstream(l)
        return neighbour([self.dA.get(i) for i in range(self.net.depth)], l)


class UpstreamAfterMask(Pass):
    code = "upstream-after-mask"
    words = "dA{a} is added after f'(Z{z}) instead of before: it is a gradient of A, not of Z"

    def through(self, l: int, dH: Array) -> Array:
        if not self.here(l):
            return super().through(l, dH)
        return dH * self.slope(l) + self.upstream(l)


class ActivationOnOutputs(Pass):
    code = "activation-on-outputs"
    words = "dlogits is multiplied by f' at the outputs, which have no activation function"
    everywhere_only = True

    def dZ_of_outputs(self) -> Array:
        return self.dlogits * self.net.activation.derivative(self.trace.Z[-1])


FAULTS: tuple[type[Pass], ...] = (
    *(MaskMissing, SlopeOfActivations, SlopeTwice, SlopeOfNeighbour, PreActivations),
    *(ActivationsOfNeighbour, WeightsNotTransposed, WeightsOfNeighbour),
    *(SlopeLeftOutOfBias, SlopeLeftOutOfWeights, OneSampleOnly, LastSampleOnly),
    *(SampleLeftOut, FirstSampleLeftOut),
    *(UpstreamIgnored, UpstreamTwice, UpstreamOfNeighbour, UpstreamAfterMask, ActivationOnOutputs),
)


def variants(
    net: MLP, trace: Trace, dlogits: Array, dA: Mapping[int, Array]
) -> Iterator[tuple[Finding, dict[str, Array]]]:
    """Every fault, at each layer alone and at all layers at once, with the arrays that it changes."""
    right = on_host(Pass(net, trace, dlogits, dA, EVERYWHERE).run(), net, trace)
    for fault in FAULTS:
        for at in (*range(net.depth + 1), EVERYWHERE):
            if at != EVERYWHERE and fault.everywhere_only:
                continue
            try:
                made = on_host(fault(net, trace, dlogits, dA, at).run(), net, trace)
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
    alone = {"dlogits": Pass(net, trace, dlogits, {}, EVERYWHERE)}
    alone |= {f"dA[{l}]": Pass(net, trace, nothing, {l: one}, EVERYWHERE) for l, one in dA.items()}
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
