"""The network: forward and backward, each gradient in an array of its own. Read this file first.

Notation: A[0] = X are the inputs, Z[l] = A[l] W[l] + b[l] the pre-activations, A[l+1] = f(Z[l]) the
activations, Z[last] the outputs (logits). A leading `d` reads "gradient of the loss with respect to":
dW[l] has the shape of W[l]. Rows are samples, columns are neurons: column h of W[l] holds the
incoming weights of neuron h.

The replica axis: with `replicas=R` every array carries a leading axis, W[l] is (R, n_l, n_{l+1}), and
the same lines train R independent networks. X may be shared, (N, n_0), or one per network, (R, N, n_0).

W, b, dW, db are views of two flat arrays, theta and dtheta (buffer.py). You may print them, change them
and assign to them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tinydiv import activations
from tinydiv.backend import Array, matmul, matmul_by_rows, sum_over_samples, to_device, xp
from tinydiv.buffer import Parameters
from tinydiv.errors import UsageError, check_whole
from tinydiv.layers import Context, Layer


@dataclass
class Trace:
    """What one forward pass computed. Nothing is stored on the network: two traces can live at once."""

    A: list[Array]
    """A[0] = X (..., N, n_0), then the activations (..., N, n_l), last the outputs."""
    Z: list[Array]
    """Z[l] (..., N, n_{l+1}): what the activation function was applied to."""
    caches: dict[tuple[str, int, int], Array] = field(default_factory=dict)
    """What layers keep for their backward, by (place, depth, position)."""
    inputs: Array = None
    """X as it was given; A[0] is X after the layers at the inputs, if there are any."""

    @property
    def logits(self) -> Array:
        """The network's outputs (..., N, n_L), before any softmax."""
        return self.A[-1]

    @property
    def hidden(self) -> list[Array]:
        """The activations of the hidden layers."""
        return self.A[1:-1]


class MLP(Parameters):
    """A multi-layer perceptron n_0 -> n_1 -> ... -> n_L; any leading axis is independent networks.

        Z[l] = A[l] W[l] + b[l],   A[l+1] = f(Z[l]),   outputs = Z[last]

    sizes: [n_0, ..., n_L]. activation: a name or an Activation, for all hidden layers.
    replicas: None for one network, or R for R networks at once. dtype: "float32" or "float64".
    layers: objects that take part in forward and backward (layers.py): batch norm, dropout, ...
    All weights start at zero; an initializer fills them (tinydiv.initializers).

    Raises UsageError for sizes, replicas or a dtype that make no network.
    """

    def forward(self, X: Array, context: Context | None = None) -> Trace:
        """From inputs to outputs. X (N, n_0) or (R, N, n_0); the trace holds every array on the way.

        `context` holds whether this is training (batch statistics, masks) and which step it is;
        without it the network is evaluated. Raises UsageError if X does not fit.
        """
        if not hasattr(X, "shape"):  # a list of rows
            X = to_device(X, dtype=self.dtype)
        self._check_inputs(X)
        context = context or Context()
        trace = Trace([], [], inputs=X)
        trace.A.append(self._through("inputs", 0, X, trace, context))
        for l in range(self.depth):
            Z = matmul(trace.A[l], self.W[l])
            Z += self.b[l]
            if l < self.depth - 1:
                Z = self._through("before", l, Z, trace, context)
                A = self.activation(Z)
                A = self._through("after", l, A, trace, context)
            else:
                A = Z
            trace.Z.append(Z)
            trace.A.append(A)
        return trace

    def backward(
        self,
        trace: Trace,
        dlogits: Array,
        dA: dict[int, Array] | None = None,
        *,
        accumulate: bool = False,
        to_inputs: bool = False,
    ) -> Array | None:
        """From outputs to inputs: fill dtheta (that is dW, db) with the gradient.

            dZ[last] = dlogits
            dW[l] = A[l]' dZ[l]             db[l] = sum over samples of dZ[l]
            dH = dZ[l] W[l]' + dA[l]        dZ[l-1] = dH * f'(Z[l-1])

        dlogits (..., N, n_L): gradient with respect to the outputs. dA {l: (..., N, n_l)}: what techniques
        add to the gradient with respect to A[l], whose total is dH. The pass is *linear* in these upstream
        gradients: the task's part and each technique's part can be computed in separate passes, and their
        results add up.

        accumulate: add to dtheta. to_inputs: also return the gradient with respect to X, one per network
        (R, N, n_0) even where X is shared.
        Raises UsageError if an upstream gradient has not the shape of its array.
        """
        self.check_upstream(trace, dlogits, dA)
        dZ = dlogits
        for l in reversed(range(self.depth)):
            if accumulate:
                self.dW[l][...] += matmul(trace.A[l].mT, dZ)
                self.db[l][...] += sum_over_samples(dZ)
            else:
                matmul_by_rows(trace.A[l].mT, dZ, out=self.dW[l])
                sum_over_samples(dZ, out=self.db[l])
            if l == 0 and not (
                to_inputs or any(layer.place == "inputs" and layer.shapes for layer in self.layers)
            ):
                return None
            dH = matmul(dZ, self.W[l].mT)
            if dA is not None and l in dA:
                dH += dA[l]
            if l == 0:
                dX = self._back_through("inputs", 0, dH, trace, accumulate)
                return dX if to_inputs else None
            dH = self._back_through("after", l - 1, dH, trace, accumulate)
            dZ = dH * self.activation.derivative(trace.Z[l - 1])
            dZ = self._back_through("before", l - 1, dZ, trace, accumulate)
        return None

    # How it is made ----------------------------------------------------------------------------------

    def __init__(
        self,
        sizes: Sequence[int],
        activation: str | activations.Activation = "relu",
        replicas: int | None = None,
        dtype: str = "float32",
        layers: Sequence[Layer] = (),
    ) -> None:
        if isinstance(sizes, str | int) or len(sizes) < 2:
            raise UsageError(f"sizes need at least inputs and outputs, [784, 10], got {sizes!r}")
        self.sizes = [check_whole("every size", n) for n in sizes]
        self.replicas = None if replicas is None else check_whole("replicas", replicas)
        dtype = getattr(dtype, "__name__", str(dtype))  # np.float32 and np.dtype("float32") too
        if dtype not in ("float32", "float64"):
            raise UsageError(f"dtype must be 'float32' or 'float64', got {dtype!r}")
        self.activation = activations.get(activation)
        self.dtype = dtype
        self.epochs = self.steps = 0  # trained so far: where a second train() goes on
        if isinstance(layers, str) or not all(isinstance(layer, Layer) for layer in layers):
            raise UsageError(
                f"layers are objects: write layers=layers_of(['batch-norm']), got {layers!r}"
            )
        self.layers = [one for layer in layers for one in layer.spread(self.sizes)]
        self.transform: Callable[[Array], Array] | None = None
        """What turns stored inputs (bytes) into this network's inputs; tinydiv.load fills it in."""
        self.allocate()

    # Layers on the way -------------------------------------------------------------------------------

    def _at(self, place: str, depth: int) -> list[tuple[int, Layer]]:
        here = [layer for layer in self.layers if (layer.place, layer.depth) == (place, depth)]
        return list(enumerate(here))

    def _through(self, place: str, depth: int, x: Array, trace: Trace, context: Context) -> Array:
        """Through the layers that stand at one place, in order."""
        if not self.layers:
            return x
        for position, layer in self._at(place, depth):
            y, trace.caches[place, depth, position] = layer.forward(x, context)
            layer.fits("output", y, x)
            x = y
        return x

    def _back_through(
        self, place: str, depth: int, dy: Array, trace: Trace, accumulate: bool
    ) -> Array:
        """Back through the same layers, last one first."""
        if not self.layers:
            return dy
        for position, layer in reversed(self._at(place, depth)):
            dx, gradients = layer.backward(dy, trace.caches[place, depth, position])
            layer.fits("dx", dx, dy)
            dy = dx
            for key, gradient in gradients.items():
                layer.fits(f"d{key}", gradient, layer.gradients.get(key))
                if accumulate:
                    layer.gradients[key][...] += gradient
                else:
                    layer.gradients[key][...] = gradient
        return dy

    # For users ---------------------------------------------------------------------------------

    def predict(self, X: Array) -> Array:
        """The class with the largest output, (..., N).

        In a network from tinydiv.load, bytes are read as stored images and scaled as in training.
        """
        if self.transform is not None and X.dtype == "uint8":
            X = self.transform(X)
        return xp.argmax(self.forward(X).logits, axis=-1)

    def part(self, start: int, stop: int) -> "MLP":
        """Networks start to stop - 1 of a replicated network without layers, as views of the same
        memory."""
        some = MLP(self.sizes, self.activation, stop - start, self.dtype)
        some.lie_in(self.theta[start:stop], self.dtheta[start:stop])
        return some

    def folded(self) -> "MLP":
        """A plain network that computes the same in evaluation mode, its layers folded into W and b.

        Raises UsageError if a layer cannot be folded.
        """
        plain = MLP(self.sizes, self.activation, self.replicas, self.dtype)
        for l in range(self.depth):
            plain.W[l][...], plain.b[l][...] = self.W[l], self.b[l]
        for layer in self.layers:
            l = layer.depth + (layer.place == "after")
            plain.W[l][...], plain.b[l][...] = layer.fold(plain.W[l], plain.b[l])
        return plain

    def _check_inputs(self, X: Array) -> None:
        fits = X.ndim in (2, 2 + len(self.lead)) and X.shape[-1] == self.sizes[0]
        if fits and X.ndim == 3 and X.shape[0] not in (1, *self.lead):
            fits = False
        if not fits:
            shapes = f"(N, {self.sizes[0]})" + (
                f" or ({self.replicas}, N, {self.sizes[0]})" if self.replicas else ""
            )
            raise UsageError(
                f"layer 0 has weights W[0] {self.W[0].shape} and takes inputs X of shape {shapes}, "
                f"got {X.shape}"
            )
        if X.dtype != self.theta.dtype:
            advice = f"use X.astype({self.dtype!r})"
            if X.dtype == "uint8":  # astype would leave 0 .. 255, which no network was trained on
                advice = "scale images as the data set does, dataset.transform.apply(X)"
            raise UsageError(f"the network computes in {self.dtype} and X is {X.dtype}: {advice}")

    def check_upstream(self, trace: Trace, dlogits: Array, dA: Mapping[int, Array] | None) -> None:
        """Raise UsageError if an upstream gradient has not the shape of its array."""
        for l, upstream in {self.depth: dlogits, **(dA or {})}.items():
            if not 0 <= l <= self.depth:
                raise UsageError(
                    f"no activations belong to dA[{l}]: layers run from 0 to {self.depth}"
                )
            if l == self.depth and dA is not None and l in dA:
                raise UsageError(f"dA[{l}] is the gradient at the outputs: add it to dlogits")
            if upstream.shape != trace.A[l].shape:
                name = "dlogits" if l == self.depth else f"dA[{l}]"
                raise UsageError(
                    f"{name} has shape {upstream.shape}, but layer {l} has activations of shape "
                    f"{trace.A[l].shape}"
                )

    def __repr__(self) -> str:
        shape = "-".join(str(n) for n in self.sizes)
        extra = "".join(f", {layer!r}" for layer in self.layers)
        many = "" if self.replicas is None else f"{self.replicas} networks, "
        return (
            f"MLP({shape}, {self.activation!r}, {many}{self.n_parameters:,} parameters"
            f"{' each' if many else ''}, {self.dtype}{extra})"
        )
