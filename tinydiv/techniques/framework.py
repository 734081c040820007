"""The framework around the techniques: when each acts, and where gradients go.

    techniques = Techniques(net, ["decov:strength=0.1", "muon:lr=0.02"], optimizer)
    trace = net.forward(X, Context(training=True, step=number))
    loss, dlogits = cross_entropy(trace.logits, Y)
    step = techniques.step(trace, Y, loss, dlogits, number)
    techniques.backward(step)                              # net.backward, with what techniques add and edit
    optimizer.step()
    techniques.after_update(step)                          # owned updates; moved weights

What a user sets, and how it is read and checked, is in placing.py.
"""

from collections.abc import Sequence

from tinydiv import schedules
from tinydiv.backend import Array, to_device, xp
from tinydiv.errors import UsageError
from tinydiv.losses import Loss, cross_entropy
from tinydiv.mlp import MLP, Trace
from tinydiv.optimizers import Optimizer
from tinydiv.philox import Draws
from tinydiv.techniques.base import (
    EnsemblePenalty,
    Intervention,
    LayerTechnique,
    OutputPenalty,
    Penalty,
    Step,
    Strength,
    Technique,
)
from tinydiv.techniques.conflicts import refuse_conflicts
from tinydiv.techniques.placing import Placed, place
from tinydiv.techniques.plateau import Plateau


class Techniques:
    """All techniques of one run, bound to a network and its optimizer.

    specs: texts, instances or Placed. optimizer: needed by interventions that own an update.
    probe_inputs: a fixed set of inputs (N, n_0) by which interventions decide. seeds: one per network.
    total: planned steps, the horizon of schedules.

    Raises UsageError for unknown names and settings, layers that do not exist, strengths that are
    not one per network, and pairs that exclude each other.
    """

    def __init__(
        self,
        net: MLP,
        specs: Sequence["str | Technique | Placed"] = (),
        optimizer: Optimizer | None = None,
        *,
        loss: Loss = cross_entropy,
        probe_inputs: Array | None = None,
        seeds: Sequence[int] | None = None,
        total: int = 1,
    ) -> None:
        self.net, self.optimizer, self.loss = net, optimizer, loss
        self.probe_inputs, self.total = probe_inputs, total
        specs = [specs] if isinstance(specs, str) else specs
        self.placed = [place(spec) for spec in specs]
        seeds, replicated = seeds or range(net.replicas or 1), net.replicas is not None
        self.draws = Draws(seeds, "redraw", replicated)
        self.noise = Draws(seeds, "noise", replicated)
        self.layers_at = [self._layers(p) for p in self.placed]
        refuse_conflicts(self.placed, self.layers_at)
        for layer in net.layers:
            layer.seed(seeds)
        for p, layers in zip(self.placed, self.layers_at, strict=True):
            p.technique.refuse(net, layers)
        if optimizer is not None:
            for layer in net.layers:
                for key, multiple in layer.paces.items():
                    optimizer.pace(f"{key}{layer.tag}", multiple)
        self.strengths = [self._strength(p) for p in self.placed]
        self.plateaus = [
            Plateau(p.patience, net) if "plateau" in (p.schedule, p.when) else None
            for p in self.placed
        ]
        for p, layers in zip(self.placed, self.layers_at, strict=True):
            if isinstance(p.technique, Intervention):
                self._bind(p.technique, layers)

    def refuse_batch(self, samples: int) -> None:
        """Raise UsageError where a technique needs more samples per batch."""
        for placed in self.placed:
            fewest = placed.technique.fewest_samples
            if samples < fewest:
                raise UsageError(
                    f"{placed.label} compares the samples of a batch: it needs at least {fewest} of "
                    f"them, and the batch size is {samples}"
                )

    def go_on_after(self, steps: int) -> None:
        """Continue the random numbers after this many earlier steps, also in layers such as dropout."""
        drawn = [getattr(layer, "draws", None) for layer in self.net.layers]
        for draws in (self.draws, self.noise, *drawn):
            if draws is not None:
                draws.first = steps

    def _layers(self, placed: Placed) -> tuple[int, ...]:
        """Which hidden layers one technique acts on."""
        technique, hidden = placed.technique, tuple(range(1, self.net.depth))
        inputs_only = isinstance(technique, LayerTechnique) and technique.place == "inputs"
        if not (hidden or inputs_only or isinstance(technique, OutputPenalty)):
            raise UsageError(f"{placed.label} acts on hidden layers, and this network has none")
        if isinstance(technique, LayerTechnique):
            if not any(type(layer) is type(technique) for layer in self.net.layers):
                raise UsageError(
                    f"{placed.label} is part of the network: build it with "
                    f"MLP(..., layers=layers_of([{placed.text!r}]))"
                )
            return ()
        if isinstance(technique, OutputPenalty):
            return (self.net.depth,)
        if technique.acts_on == "last hidden layer" and isinstance(technique, Intervention):
            return hidden[-1:]
        if isinstance(technique, Intervention) and technique.acts_on == "whole network":
            return (1,)
        for layer in placed.layers or ():
            if layer not in hidden:
                raise UsageError(
                    f"{placed.label} cannot act on layer {layer}: the hidden layers are "
                    f"{', '.join(map(str, hidden))}"
                )
        usual = hidden[-1:] if isinstance(technique, EnsemblePenalty) else hidden
        return placed.layers or usual

    def _strength(self, placed: Placed) -> float | Array:
        values = placed.strength
        if len(values) == 1 and self.net.replicas != 1:
            return values[0]
        if len(values) != (self.net.replicas or 1):
            raise UsageError(
                f"{placed.label}'s strength is one number or one per network "
                f"({self.net.replicas or 1}), got {len(values)}"
            )
        return to_device(list(values), dtype=self.net.dtype)

    def _bind(self, technique: Intervention, layers: tuple[int, ...]) -> None:
        for layer in layers:
            owned = technique.owns(layer)
            if owned and self.optimizer is None:
                raise UsageError(f"{technique.name} owns the update of {owned[0]}: pass optimizer=")
            for block in owned:
                assert self.optimizer is not None
                self.optimizer.release(block)
            technique.prepare(self.net, layer, self.probe_inputs)

    # The moments of a step -----------------------------------------------------------------------

    def step(
        self,
        trace: Trace,
        targets: Array,
        loss: Array,
        dlogits: Array,
        number: int = 0,
        epoch: int = 0,
        factor: float = 1.0,
    ) -> Step:
        """Gather what techniques read in this step."""
        return Step(
            *(self.net, trace, targets, self.loss, loss, dlogits, dlogits),
            number=number,
            epoch=epoch,
            total=self.total,
            factor=factor,
            optimizer=self.optimizer,
            draws=self.draws,
            noise=self.noise,
            probe_inputs=self.probe_inputs,
            others=[p.technique for p in self.placed],
        )

    def backward(self, step: Step) -> Step:
        """The backward pass of a step with all its techniques: fills net.dtheta and returns the step.

        Penalties add their gradients to those of activations and logits before the pass; gradients of
        weights are added, and interventions edit gradients, after it.
        """
        self.before_backward(step)
        self.net.backward(step.trace, step.dlogits, step.dA)
        self.after_backward(step)
        return step

    def before_backward(self, step: Step) -> None:
        """Evaluate every penalty; its gradients go into step.dA and step.dlogits."""
        for p, layers, base, plateau in self._all():
            if plateau is not None:
                plateau.watch(step.loss)
            if not isinstance(p.technique, Penalty):
                continue
            strength = self._strength_now(p, base, plateau, step)
            if strength is None:
                continue
            for layer in layers:
                value = p.technique.apply(step, layer, strength)
                label = p.label if len(layers) == 1 else f"{p.label}.{layer}"
                while label in step.penalties:
                    label += "'"
                step.penalties[label] = value

    def after_backward(self, step: Step) -> None:
        """Add to dtheta the gradients of weights and those from second passes; let interventions edit."""
        for block, gradient in step.late:
            block += gradient
        for view in step.views.values():
            nothing = xp.zeros_like(view.trace.logits)
            self.net.backward(view.trace, nothing, view.dA, accumulate=True)
        interventions = [
            (p, p.technique, layers, plateau)
            for p, layers, _, plateau in self._all()
            if isinstance(p.technique, Intervention)
        ]
        for p, technique, layers, plateau in sorted(
            interventions, key=lambda one: not one[1].edits_first
        ):
            for layer in layers:
                technique.watch(step, layer)
            if self._due(p, step):
                mask = None if plateau is None else plateau.reached()
                for layer in layers:
                    technique.edit(step, layer, mask)

    def after_update(self, step: Step) -> None:
        """Run owned updates; let interventions move weights where their trigger allows it."""
        step.weights_moved()
        for p, layers, _, plateau in self._all():
            if not isinstance(p.technique, Intervention):
                continue
            for layer in layers:
                p.technique.update(step, layer)
            if not self._due(p, step) or type(p.technique).move is Intervention.move:
                continue
            mask = None if plateau is None else plateau.reached()
            for layer in layers:
                p.technique.move(step, layer, mask)
                step.weights_moved()
            if plateau is not None:  # it has moved weights: wait for the next plateau; edits go on
                plateau.restart(mask)

    def _due(self, placed: Placed, step: Step) -> bool:
        """Whether an intervention's trigger lets it act in this step."""
        return (step.number + 1) % placed.every == 0 and step.epoch >= placed.after

    def _all(self) -> list[tuple[Placed, tuple[int, ...], float | Array, Plateau | None]]:
        return list(zip(self.placed, self.layers_at, self.strengths, self.plateaus, strict=True))

    def _strength_now(
        self, placed: Placed, base: float | Array, plateau: Plateau | None, step: Step
    ) -> Strength | None:
        """strength * schedule (* 1 for networks on a plateau, 0 for others); None if it is zero."""
        value = base
        if placed.shape in schedules.SHAPES:
            factor = schedules.parse(placed.schedule)
            value = value * factor(step.number, placed.steps or self.total)
        if isinstance(value, float) and value == 0.0:
            return None
        if plateau is not None:
            value = value * plateau.reached().astype(self.net.dtype)
        if isinstance(value, float) or self.net.replicas is None:
            return Strength(value, value)
        return Strength(value, value[:, None, None])

    # Checkpoints ---------------------------------------------------------------------------------

    def state(self) -> dict[str, Array]:
        """The state of all techniques, flat: "0.decov.key" by position and name."""
        flat: dict[str, Array] = {}
        for i, (p, _, _, plateau) in enumerate(self._all()):
            if not isinstance(p.technique, LayerTechnique):  # layers are saved below
                for key, value in p.technique.state().items():
                    flat[f"{i}.{p.label}.{key}"] = value
            if plateau is not None:
                flat |= {f"{i}.plateau.{key}": value for key, value in plateau.state().items()}
        for layer in self.net.layers:
            flat |= {f"layer{layer.tag}.{key}": value for key, value in layer.state().items()}
        return flat

    def load_state(self, flat: dict[str, Array]) -> None:
        """Restore what `state` returned."""

        def part(prefix: str) -> dict[str, Array]:
            return {k[len(prefix) :]: v for k, v in flat.items() if k.startswith(prefix)}

        for i, (p, _, _, plateau) in enumerate(self._all()):
            if not isinstance(p.technique, LayerTechnique):
                p.technique.load_state(part(f"{i}.{p.label}."))
            if plateau is not None:
                plateau.load_state(part(f"{i}.plateau."))
        for layer in self.net.layers:
            layer.load_state(part(f"layer{layer.tag}."))
