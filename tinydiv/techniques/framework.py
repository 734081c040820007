"""The framework around the techniques: what a user sets, when each acts, and where gradients go.

    techniques = Techniques(net, ["decov:strength=0.1", "muon:lr=0.02"], optimizer)
    step = techniques.step(trace, targets, loss, dlogits, number, epoch)
    techniques.before_backward(step)                   # penalties: values, and seeds for backward
    net.backward(trace, step.dlogits, step.dA)
    techniques.after_backward(step)                    # gradients of weights; edited gradients
    optimizer.step()
    techniques.after_update(step)                      # owned updates; moved weights

Settings that every technique of a kind understands:

    penalty        strength=0.1 or 0.1/0.2/0.3 (one per network), layers=1+2, schedule=constant|
                   linear|cosine|plateau, steps=T (where the schedule ends; all of training),
                   patience=K (plateau: so many steps without a better smoothed loss)
    layer          layers=1+2
    intervention   layers=1+2, every=K steps, after=E epochs, when=always|plateau, patience=K
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import inf, isfinite

from tinydiv import schedules
from tinydiv.backend import Array, to_device, xp
from tinydiv.errors import UsageError, nearest
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
from tinydiv.techniques.plateau import Plateau
from tinydiv.techniques.registry import technique_class
from tinydiv.techniques.settings import check_fields, convert, refuse_type, split

COMMON = {
    "penalty": ("strength", "layers", "schedule", "steps", "patience"),
    "layer": ("layers",),
    "intervention": ("layers", "every", "after", "when", "patience"),
}
"""The settings that the framework understands for each kind."""


def kind_of(cls: type[Technique]) -> str:
    """ "penalty", "layer" or "intervention"."""
    if issubclass(cls, Penalty):
        return "penalty"
    return "layer" if issubclass(cls, LayerTechnique) else "intervention"


@dataclass
class Placed:
    """One technique with what the framework owns about it."""

    technique: Technique
    text: str
    strength: tuple[float, ...] = (0.0,)
    layers: tuple[int, ...] | None = None
    schedule: str = "constant"
    steps: int = 0
    every: int = 1
    after: int = 0
    when: str = "always"
    patience: int = 200

    @property
    def label(self) -> str:
        return self.technique.name


def place(spec: "str | Technique | Placed") -> Placed:
    """Read one spec: text, an instance with its own settings, or what was read before.

    Raises UsageError with one sentence for anything that is not understood, not allowed, or idle.
    """
    if isinstance(spec, str):
        placed, given = _read(spec)
    else:
        placed = spec if isinstance(spec, Placed) else _defaults(spec, spec.name)
        usual = _defaults(placed.technique, placed.text)
        given = {
            f.name for f in fields(Placed) if getattr(placed, f.name) != getattr(usual, f.name)
        }
    _check(placed, given - {"technique", "text"})
    return placed


def _read(spec: str) -> tuple[Placed, set[str]]:
    """What a text says, and which of the framework's settings it names."""
    parts = split(spec)
    cls = technique_class(parts.name, parts.file)
    kind = kind_of(cls)
    alias = getattr(cls, "strength_alias", None)
    keys = (*COMMON[kind], alias.key) if alias else COMMON[kind]
    for key in cls.__dataclass_fields__:  # type: ignore[attr-defined]
        if key in keys:
            raise UsageError(f"{cls.name} declares {key!r}, which every {kind} has: rename its own")
    common = {key: value for key, value in parts.settings.items() if key in keys}
    own = {key: value for key, value in parts.settings.items() if key not in keys}
    for key in own:
        declared = [*(field.name for field in fields(cls)), *keys]  # type: ignore[arg-type]
        if key not in declared:
            raise UsageError(f"{cls.name} has no setting {key!r}: {nearest(key, declared)}")
    placed = _defaults(cls(**convert(cls.name, cls, own)), spec)
    if alias and alias.key in common:
        if "strength" in common:
            raise UsageError(f"{cls.name}: set {alias.key} or strength, not both")
        values = _numbers(cls.name, alias.key, common[alias.key])
        common["strength"] = "/".join(repr(alias.to_strength(v)) for v in values)
    _read_common(placed, common)
    return placed, set(common) & set(COMMON[kind])


def _defaults(technique: Technique, text: str) -> Placed:
    placed = Placed(technique, text)
    if isinstance(technique, Penalty):
        placed.strength = (technique.default_strength,)
    if isinstance(technique, Intervention):
        placed.every = technique.default_every
    return placed


def _numbers(name: str, key: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split("/"))
    except ValueError:
        raise UsageError(
            f"{name}'s {key} is one number, or one per network as 0.1/0.2/0.3, got {text!r}"
        ) from None


def _read_common(placed: Placed, common: dict[str, str]) -> None:
    """Fill in what the framework owns; _check says whether it is allowed."""
    name = placed.label
    for key, text in common.items():
        if key == "strength":
            placed.strength = _numbers(name, key, text)
        elif key == "layers":
            if not all(part.isdecimal() for part in text.split("+")):
                raise UsageError(f"{name}'s layers are hidden layers as 1 or 1+2, got {text!r}")
            placed.layers = tuple(int(part) for part in text.split("+"))
        elif key in ("schedule", "when"):
            setattr(placed, key, text)
        elif key in LEAST:
            if not text.isdecimal():
                raise UsageError(
                    f"{name}'s {key} is a whole number from {LEAST[key]} up, got {text!r}"
                )
            setattr(placed, key, int(text))


LEAST = {"steps": 0, "every": 1, "after": 0, "patience": 1}
"""The framework's whole numbers, and where each begins."""


def _check(placed: Placed, given: set[str]) -> None:
    """Raise UsageError for what is not allowed, however it was set; given: what was set at all."""
    technique, name, kind = placed.technique, placed.label, kind_of(type(placed.technique))
    check_fields(name, technique)
    for key in sorted(given - set(COMMON[kind])):
        raise UsageError(
            f"{name} is of kind {kind}, which has no {key}: {nearest(key, COMMON[kind])}"
        )
    if isinstance(technique, Penalty):
        _check_strength(technique, placed.strength)
    if placed.layers is not None:
        _check_layers(placed)
    shapes = [*schedules.SHAPES, "plateau"]
    if placed.schedule not in shapes:
        raise UsageError(
            f"{name} knows no schedule {placed.schedule!r}: {nearest(placed.schedule, shapes)}"
        )
    if placed.when not in ("always", "plateau"):
        raise UsageError(f"{name}'s when is always or plateau, got {placed.when!r}")
    for key, least in LEAST.items():
        value = getattr(placed, key)
        if not isinstance(value, int) or value < least:
            raise UsageError(f"{name}'s {key} is a whole number from {least} up, got {value!r}")
    if "steps" in given and placed.schedule in ("constant", "plateau"):
        raise UsageError(
            f"{name}'s steps say where a schedule ends: they have a meaning with schedule=linear or "
            f"schedule=cosine alone, and it is {placed.schedule}"
        )
    if "patience" in given and "plateau" not in (placed.schedule, placed.when):
        key = "schedule" if kind == "penalty" else "when"
        raise UsageError(
            f"{name}'s patience says when a plateau is reached: it has a meaning with {key}=plateau alone"
        )


def _check_strength(technique: Penalty, strength: tuple[float, ...]) -> None:
    """One finite number or several, each within what the technique's mathematics allows."""
    name, (low, high) = technique.name, technique.strength_limits
    if not isinstance(strength, tuple) or not strength:
        raise UsageError(
            f"{name}'s strength is a tuple of numbers, one or one per network, got {strength!r}"
        )
    for value in strength:
        refuse_type(f"{name}'s strength", float, value)
        if not isfinite(value):
            raise UsageError(f"{name}'s strength must be a finite number, got {value:g}")
        if not low <= value <= high:
            bounds = f"from {low:g} up" if high == inf else f"from {low:g} to {high:g}"
            raise UsageError(
                f"{name}'s strength must be a number {bounds}, got {value:g}: "
                f"{technique.strength_reason}"
            )


def _check_layers(placed: Placed) -> None:
    """Hidden layers, each named once, of a technique that can choose among them."""
    name, layers, acts_on = placed.label, placed.layers or (), placed.technique.acts_on
    if not layers or not all(isinstance(layer, int) and layer > 0 for layer in layers):
        shown = "+".join(map(str, layers))
        raise UsageError(f"{name}'s layers are hidden layers as 1 or 1+2, got {shown!r}")
    for layer in layers:
        if layers.count(layer) > 1:
            raise UsageError(f"{name}'s layers name layer {layer} twice: once is enough")
    if acts_on != "hidden layers":
        raise UsageError(f"{name} acts on the {acts_on}: it takes no layers")


def layers_of(specs: Sequence["str | Technique | Placed"]) -> list[LayerTechnique]:
    """The layers among some specs, for MLP(..., layers=...)."""
    found = []
    for placed in map(place, specs):
        if isinstance(placed.technique, LayerTechnique):
            placed.technique.only = placed.layers
            found.append(placed.technique)
    return found


class Techniques:
    """All techniques of one run, bound to a network and its optimizer.

    specs: texts, instances or Placed. optimizer: needed by interventions that own an update.
    probe_inputs: a fixed set of inputs (N, n_0) on which interventions look. seeds: one per network.
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
        self.placed = [place(spec) for spec in specs]
        seeds, replicated = seeds or range(net.replicas or 1), net.replicas is not None
        self.draws = Draws(seeds, "redraw", replicated)
        self.noise = Draws(seeds, "noise", replicated)
        self.layers_at = [self._layers(p) for p in self.placed]
        refuse_conflicts(self.placed, self.layers_at)
        for layer in net.layers:
            layer.seed(seeds)
        self.strengths = [self._strength(p) for p in self.placed]
        self.plateaus = [
            Plateau(p.patience, net) if "plateau" in (p.schedule, p.when) else None
            for p in self.placed
        ]
        for p, layers in zip(self.placed, self.layers_at, strict=True):
            if isinstance(p.technique, Intervention):
                self._bind(p.technique, layers)

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
        if isinstance(technique, EnsemblePenalty):
            return (hidden[-1],)
        if isinstance(technique, Intervention) and technique.acts_on == "whole network":
            return (1,)
        for layer in placed.layers or ():
            if layer not in hidden:
                raise UsageError(
                    f"{placed.label} cannot act on layer {layer}: the hidden layers are "
                    f"{', '.join(map(str, hidden))}"
                )
        return placed.layers or hidden

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
        """Gather what techniques may know about this step."""
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

    def before_backward(self, step: Step) -> None:
        """Evaluate every penalty; its seeds go into step.dA and step.dlogits."""
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
        deeds = [
            (p, p.technique, layers, plateau)
            for p, layers, _, plateau in self._all()
            if isinstance(p.technique, Intervention)
        ]
        for p, technique, layers, plateau in sorted(deeds, key=lambda d: not d[1].edits_first):
            for layer in layers:
                technique.watch(step, layer)
            if self._due(p, step):
                mask = None if plateau is None else plateau.reached()
                for layer in layers:
                    technique.edit(step, layer, mask)

    def after_update(self, step: Step) -> None:
        """Run owned updates; let interventions move weights when their trigger says so."""
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
            if plateau is not None:  # a deed was done, wait for the next; an edit goes on meanwhile
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
        if placed.schedule in schedules.SHAPES:
            value = value * schedules.SHAPES[placed.schedule](
                step.number, placed.steps or self.total
            )
        if isinstance(value, float) and value == 0.0:
            return None
        if plateau is not None:
            value = value * plateau.reached().astype(self.net.dtype)
        if isinstance(value, float) or self.net.replicas is None:
            return Strength(value, value)
        return Strength(value, value[:, None, None])

    # Checkpoints ---------------------------------------------------------------------------------

    def state(self) -> dict[str, Array]:
        """What all techniques remember, flat: "0.decov.key" by position and name."""
        flat: dict[str, Array] = {}
        for i, (p, _, _, plateau) in enumerate(self._all()):
            if not isinstance(p.technique, LayerTechnique):  # its copies in the network speak below
                for key, value in p.technique.state().items():
                    flat[f"{i}.{p.label}.{key}"] = value
            if plateau is not None:
                flat |= {f"{i}.plateau.{key}": value for key, value in plateau.state().items()}
        for layer in self.net.layers:
            flat |= {f"layer{layer.tag}.{key}": value for key, value in layer.state().items()}
        return flat

    def load_state(self, flat: dict[str, Array]) -> None:
        """Take back what `state` gave."""

        def part(prefix: str) -> dict[str, Array]:
            return {k[len(prefix) :]: v for k, v in flat.items() if k.startswith(prefix)}

        for i, (p, _, _, plateau) in enumerate(self._all()):
            if not isinstance(p.technique, LayerTechnique):
                p.technique.load_state(part(f"{i}.{p.label}."))
            if plateau is not None:
                plateau.load_state(part(f"{i}.plateau."))
        for layer in self.net.layers:
            layer.load_state(part(f"layer{layer.tag}."))
