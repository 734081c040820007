"""What a technique is: one of three kinds, each with only its maths.

    penalty        a function at *unit* strength: its value per network and its gradients
    layer          a piece of the network with forward and backward of its own (layers.py)
    intervention   an action during training: edits gradients, owns an update, moves weights

The framework (framework.py) owns everything else: strength, one number or one per network; which
hidden layers; schedules and triggers; the replica axis; logging; checkpoints. A penalty acts on hidden
layers only, unless its settings name others: the columns of the output layer are classes, which need not
be diverse.

A technique of your own is a subclass in your own file, with settings as annotated attributes:

    class Quiet(ActivationPenalty):
        "Small activations: L = 1/(2N) sum A^2, dL/dA = A/N."
        def __call__(self, A, step):
            N = A.shape[-2]
            return xp.sum(A**2, axis=(-2, -1)) / (2 * N), A / N
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, dataclass_transform

from tinydiv.backend import Array, matmul, to_device, xp
from tinydiv.errors import UsageError
from tinydiv.layers import Context, Layer
from tinydiv.losses import Loss
from tinydiv.mlp import MLP, Trace
from tinydiv.optimizers import Optimizer
from tinydiv.philox import Draws
from tinydiv.settings import check_fields, setting


@dataclass
class View:
    """A second forward pass of a step, on changed inputs, with upstream gradients of its own.

    Backward is linear in the upstream gradients and can add to dtheta, so the gradient of a value of two
    passes is the sum of two backward passes.
    """

    trace: Trace
    dA: dict[int, Array] = field(default_factory=dict)

    def add_dA(self, layer: int, dA: Array) -> None:
        """Add to the upstream gradient at A[layer] of this view."""
        self.dA[layer] = self.dA[layer] + dA if layer in self.dA else dA


@dataclass
class Step:
    """All that a technique can read of the training step in progress, and where its gradients go."""

    net: MLP
    trace: Trace
    targets: Array
    loss_function: Loss
    loss: Array
    """The task's loss per network, before any penalty."""
    task_dlogits: Array
    """The task's own upstream gradient, unchanged."""
    dlogits: Array
    """The upstream gradient that backward will get: the task's plus what penalties on the outputs add."""
    dA: dict[int, Array] = field(default_factory=dict)
    """The upstream gradients of penalties on activations, by layer."""
    number: int = 0
    epoch: int = 0
    total: int = 1
    """How many steps are planned: the horizon of schedules."""
    factor: float = 1.0
    """The schedule's factor on the learning rate."""
    optimizer: Optimizer | None = None
    draws: Draws | None = None
    """Random numbers, by step and layer (philox.py)."""
    noise: Draws | None = None
    """Random numbers from a separate stream, for noise on the inputs."""
    views: dict[float, View] = field(default_factory=dict)
    """Second passes by the noise on their inputs; each gets a backward pass of its own."""
    probe_inputs: Array | None = None
    penalties: dict[str, Array] = field(default_factory=dict)
    """Each penalty's value per network, strength included, for the record."""
    others: "list[Technique]" = field(default_factory=list)
    late: list[tuple[Array, Array]] = field(default_factory=list)
    """(block of dtheta, gradient) pairs that are added once backward has filled dtheta."""
    _probe: Trace | None = None

    def probe(self) -> Trace:
        """A forward pass on the fixed probe set, in evaluation mode, computed once per step."""
        if self._probe is None:
            inputs = self.trace.inputs if self.probe_inputs is None else self.probe_inputs
            self._probe = self.net.forward(inputs)
        return self._probe

    def weights_moved(self) -> None:
        """Call this after weights changed: the trace on the probe set is discarded."""
        self._probe = None

    def add_dA(self, layer: int, dA: Array) -> None:
        """Add to the upstream gradient at A[layer]."""
        self.dA[layer] = self.dA[layer] + dA if layer in self.dA else dA

    def noisy_view(self, deviation: float) -> View:
        """The network's pass on inputs with noise of that standard deviation: made once per step, so
        that techniques with the same noise share it. For layers it is a training pass: the same masks,
        and running statistics that include both passes."""
        if deviation not in self.views:
            assert self.noise is not None
            X = self.trace.inputs
            noise = self.noise.symmetric(X.shape[-2:], self.number, 0, self.net.dtype)
            noisy = X + deviation * noise
            trace = self.net.forward(noisy, Context(training=True, step=self.number))
            self.views[deviation] = View(trace)
        return self.views[deviation]

    def reset_moments(self, layer: int, chosen: Array) -> None:
        """Set to zero the moments of chosen neurons of a hidden layer: chosen (..., H) is True for them.

        Incoming weights, bias, outgoing weights and what a layer before the activation learned about
        them; in the optimizer, and in every technique that keeps moments of its own. When weights are
        replaced, old moments would move the new neuron in the old one's direction.
        """
        for name in self.around(layer):
            outgoing = name == f"W{layer}"
            mask = chosen[..., :, None] if outgoing else chosen[..., None, :]
            if self.optimizer is not None:
                self.optimizer.forget(name, mask)
            for technique in self.others:
                if name in technique.moments:
                    xp.copyto(technique.moments[name], 0, where=mask)

    def neurons_replaced(self, layer: int, chosen: Array) -> None:
        """Call this after the weights of chosen neurons (..., H) were replaced.

        The state that batch norm and techniques keep of a neuron belongs to the old one. The statistics
        of the new one are computed on the probe set.
        """
        for technique in self.others:
            technique.forget(layer, chosen)
        found = [one for one in self.net.layers if (one.place, one.depth) == ("before", layer - 1)]
        if found:
            self.weights_moved()
            X = self.probe().A[layer - 1]
            Z = matmul(X, self.net.W[layer - 1]) + self.net.b[layer - 1]
            for one in found:
                one.renew(chosen, Z)
            self.weights_moved()

    def around(self, layer: int) -> list[str]:
        """The blocks of theta that touch the neurons of a hidden layer."""
        return [f"W{layer - 1}", f"b{layer - 1}", f"W{layer}"] + [
            f"{key}{one.tag}"
            for one in self.net.layers
            for key in one.shapes
            if (one.place, one.depth) == ("before", layer - 1)
        ]


@dataclass_transform(field_specifiers=(setting, dataclasses.field))
class Technique:
    """Base class of all three kinds. Annotated class attributes of a subclass are its settings."""

    name = ""
    family = "own"
    acts_on = "hidden layers"
    """Any other value: the technique takes no layers=."""
    fewest_networks = 1
    """The smallest number of networks that must be trained together."""
    fewest_samples = 1
    """The smallest batch size with which it works."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Specs of techniques that it needs in the same run."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "name" not in cls.__dict__:
            cls.name = cls.__name__
        dataclasses.dataclass(cls)

    def __post_init__(self) -> None:
        """Check the settings, here and again when the technique is placed in a network."""
        check_fields(self.name, self)

    def refuse(self, net: MLP, layers: Sequence[int]) -> None:
        """Raise UsageError if the technique cannot work on these hidden layers of this network."""

    @property
    def moments(self) -> dict[str, Array]:
        """Moments with the shapes of blocks of theta ("W0"), reset for neurons that are replaced."""
        return {}

    def forget(self, layer: int, chosen: Array) -> None:
        """Discard the state kept of chosen neurons (..., H) of a hidden layer: they were replaced."""

    def state(self) -> dict[str, Array]:
        """What a checkpoint must keep, by name; {} if nothing is remembered between steps."""
        return {}

    def load_state(self, state: dict[str, Array]) -> None:
        """Restore what `state` returned."""


class Penalty(Technique):
    """A value per network and its gradients, at unit strength. Subclass one of the six below.

    default_strength: used where the user names none. strength_limits: what is allowed, and strength_reason
    why, where mathematics sets a limit. one_minus_strength: the literature's name of 1 - strength, which a
    spec may set in its place.
    """

    default_strength = 0.1
    one_minus_strength = ""
    strength_limits = (0.0, float("inf"))
    strength_reason = "a negative strength would reward what the penalty punishes"

    def apply(self, step: Step, layer: int, strength: "Strength") -> Array:
        """Evaluate at one hidden layer, add the gradients to the step, return the value."""
        raise NotImplementedError

    def fitting(self, step: Step, layer: int, found: object, **arrays: Array) -> tuple[Array, ...]:
        """Return what __call__ returned, if it is (value, a gradient of the shape of each array).

        Arrays of other shapes are often broadcast without an error, to a wrong result.
        Raises UsageError that names the technique, the layer, the array and both shapes.
        """
        wanted = f"(value, {', '.join(f'd{name}' for name in arrays)})"
        if not isinstance(found, tuple) or len(found) != 1 + len(arrays):
            what = f"{len(found)} things" if isinstance(found, tuple) else type(found).__name__
            raise UsageError(f"{self.name} must return {wanted}, and it returned {what}")
        lead = step.net.lead
        if getattr(found[0], "shape", ()) != lead or isinstance(found[0], list | tuple):
            raise UsageError(
                f"{self.name}'s value at layer {layer} must have shape {lead}, one number per network, "
                f"and it has {getattr(found[0], 'shape', 'none: it is a ' + type(found[0]).__name__)}"
            )
        for (name, array), gradient in zip(arrays.items(), found[1:], strict=True):
            if getattr(gradient, "shape", None) != array.shape:
                has = getattr(gradient, "shape", "none: it is a " + type(gradient).__name__)
                raise UsageError(
                    f"{self.name}'s d{name} at layer {layer} must have the shape of {name}, "
                    f"{array.shape}, and it has {has}"
                )
        return found


@dataclass(frozen=True)
class Strength:
    """A strength in the two shapes that are needed: for values (...,) and for matrices (..., 1, 1).

    Numbers per network must be (R, 1, 1) to multiply matrices: a plain (R,) would multiply the *neurons*,
    without an error, whenever R equals the width.
    """

    of_values: float | Array
    of_matrices: float | Array


class ActivationPenalty(Penalty):
    """A penalty on the activations of a hidden layer: fill in __call__(A, step) -> (value, dA).

    A (..., N, H), value (...,), dA (..., N, H).
    """

    def __call__(self, A: Array, step: Step) -> tuple[Array, Array]:
        raise NotImplementedError

    def apply(self, step: Step, layer: int, strength: Strength) -> Array:
        A = step.trace.A[layer]
        value, dA = self.fitting(step, layer, self(A, step), A=A)
        step.add_dA(layer, strength.of_matrices * dA)
        return strength.of_values * value


class TwoViewPenalty(Penalty):
    """A penalty on a hidden layer's activations for the same inputs, clean and with noise.

    Fill in __call__(A, B, step) -> (value, dA, dB): A (..., N, H) from the step's own pass, B (..., N, H)
    from a second pass on X + noise * (random numbers of variance 1), which is sent backward too.
    """

    noise: float = setting(0.1, low=0, help="standard deviation of the noise on the inputs")

    def __call__(self, A: Array, B: Array, step: Step) -> tuple[Array, Array, Array]:
        raise NotImplementedError

    def apply(self, step: Step, layer: int, strength: Strength) -> Array:
        view = step.noisy_view(self.noise)
        A, B = step.trace.A[layer], view.trace.A[layer]
        value, dA, dB = self.fitting(step, layer, self(A, B, step), A=A, B=B)
        step.add_dA(layer, strength.of_matrices * dA)
        view.add_dA(layer, strength.of_matrices * dB)
        return strength.of_values * value


class WeightPenalty(Penalty):
    """A penalty on the incoming weights of a hidden layer: fill in __call__(W, step) -> (value, dW).

    W (..., D, H), column h belongs to neuron h; value (...,), dW (..., D, H).
    """

    def __call__(self, W: Array, step: Step) -> tuple[Array, Array]:
        raise NotImplementedError

    def apply(self, step: Step, layer: int, strength: Strength) -> Array:
        W = step.net.W[layer - 1]
        value, dW = self.fitting(step, layer, self(W, step), W=W)
        step.late.append((step.net.dW[layer - 1], strength.of_matrices * dW))
        return strength.of_values * value


class NeuronPenalty(Penalty):
    """A penalty on the incoming and outgoing weights of a hidden layer.

    Fill in __call__(W, V, step) -> (value, dW, dV): W (..., D, H) incoming weights, neuron h has column
    h; V (..., H, K) outgoing weights, neuron h has row h.
    """

    def __call__(self, W: Array, V: Array, step: Step) -> tuple[Array, Array, Array]:
        raise NotImplementedError

    def apply(self, step: Step, layer: int, strength: Strength) -> Array:
        net = step.net
        W, V = net.W[layer - 1], net.W[layer]
        value, dW, dV = self.fitting(step, layer, self(W, V, step), W=W, V=V)
        step.late.append((net.dW[layer - 1], strength.of_matrices * dW))
        step.late.append((net.dW[layer], strength.of_matrices * dV))
        return strength.of_values * value


class OutputPenalty(Penalty):
    """A penalty on the outputs: fill in __call__(logits, step) -> (value, dlogits)."""

    acts_on = "outputs"

    def __call__(self, logits: Array, step: Step) -> tuple[Array, Array]:
        raise NotImplementedError

    def apply(self, step: Step, layer: int, strength: Strength) -> Array:
        logits = step.trace.logits
        value, dlogits = self.fitting(step, layer, self(logits, step), logits=logits)
        step.dlogits = step.dlogits + strength.of_matrices * dlogits
        return strength.of_values * value


class EnsemblePenalty(Penalty):
    """A penalty on the last hidden layer's contributions to the outputs, f = A V + c.

    Fill in __call__(A, V, c, step) -> (value, dA, dV, dc): A (..., N, H) activations, V (..., H, K)
    outgoing weights, c (..., 1, K) biases. The neurons are read as an ensemble whose member h has the
    output o_h = H a_h V_h + c, so that f is the members' mean.

    One that needs no targets makes sense at every hidden layer, where f is the next layer's input: it
    sets acts_on = "hidden layers", and layers= chooses; without layers= it is the last one.
    """

    acts_on = "last hidden layer"

    def __call__(
        self, A: Array, V: Array, c: Array, step: Step
    ) -> tuple[Array, Array, Array, Array]:
        raise NotImplementedError

    def apply(self, step: Step, layer: int, strength: Strength) -> Array:
        net = step.net
        A, V, c = step.trace.A[layer], net.W[layer], net.b[layer]
        value, dA, dV, dc = self.fitting(step, layer, self(A, V, c, step), A=A, V=V, c=c)
        step.add_dA(layer, strength.of_matrices * dA)
        step.late.append((net.dW[layer], strength.of_matrices * dV))
        step.late.append((net.db[layer], strength.of_matrices * dc))
        return strength.of_values * value


class LayerTechnique(Technique, Layer):
    """A layer with a registered name: see layers.Layer for what to fill in."""

    @property
    def label(self) -> str:  # type: ignore[override]
        return self.name


class Intervention(Technique):
    """An action during training. Override any of the six methods below; each gets all networks at once.

    `layer` is a hidden layer's number (1 is the first), `mask` (...,) is True for the networks to act on
    (None: all): combine old and new with xp.where, for weights and moments. `invariant` describes what the
    action keeps; a test checks it. One that acts_on the "whole network" is called once, with layer 1.
    `edits_first`: its edit comes before those of all others.
    """

    invariant = ""
    default_every = 1
    in_every_step = False
    """True where it acts in every step, without a trigger: it owns an update or maintains a property."""
    edits_first = False

    @cached_property
    def kept(self) -> dict[str, Array]:
        """The arrays that it keeps from step to step, by name; checkpoints hold them."""
        return {}

    def state(self) -> dict[str, Array]:
        return dict(self.kept)

    def load_state(self, state: dict[str, Array]) -> None:
        for key in list(self.kept or state):
            found = to_device(state[key]).copy()
            self.kept[key] = found.reshape(self.kept[key].shape) if key in self.kept else found

    def prepare(self, net: MLP, layer: int, probe_inputs: Array | None) -> None:
        """Once, before the first step."""

    def owns(self, layer: int) -> list[str]:
        """Blocks of theta that this technique updates in place of the optimizer."""
        return []

    def watch(self, step: Step, layer: int) -> None:
        """In every step, after backward: keep what later steps need."""

    def edit(self, step: Step, layer: int, mask: Array | None) -> None:
        """After backward, before the optimizer, in steps that the trigger allows: change dtheta."""

    def update(self, step: Step, layer: int) -> None:
        """In place of the optimizer, for the blocks that are owned."""

    def move(self, step: Step, layer: int, mask: Array | None) -> None:
        """After the optimizer's step, in steps that the trigger allows: change weights."""
