"""What a user sets about a technique: read from text or made in Python, and checked.

Settings that every technique of a kind has:

    penalty        strength, layers, schedule, steps, patience
    layer          layers
    intervention   layers, every, after, when, patience

They are declared in `Placed`, each with its limits and its help.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import inf, isfinite

from tinydiv import schedules
from tinydiv.errors import UsageError, nearest
from tinydiv.settings import (
    check_fields,
    convert,
    no_setting,
    parse_spec,
    refuse_type,
    rounded,
    setting,
)
from tinydiv.techniques.base import Intervention, LayerTechnique, Penalty, Technique
from tinydiv.techniques.registry import technique_class

COMMON = {
    "penalty": ("strength", "layers", "schedule", "steps", "patience"),
    "layer": ("layers",),
    "intervention": ("layers", "every", "after", "when", "patience"),
}
"""The settings that the framework reads, for each kind."""


def kind_of(cls: type[Technique]) -> str:
    """Which of the three kinds a class is: "penalty", "layer" or "intervention"."""
    if issubclass(cls, Penalty):
        return "penalty"
    return "layer" if issubclass(cls, LayerTechnique) else "intervention"


@dataclass
class Placed:
    """One technique with the settings that the framework handles."""

    technique: Technique
    text: str
    strength: tuple[float, ...] = setting(
        (0.0,), help="how much it counts; one per network as 0.1/0.2/0.3"
    )
    layers: tuple[int, ...] | None = setting(
        None, help="hidden layers, as 1 or 1+2; all of them if not given"
    )
    schedule: str = setting(
        "constant",
        choices=(*schedules.SHAPES, "plateau"),
        help="how strength changes, spelled as the rate's (cosine:warmup=50); plateau: there only once "
        "learning has stalled",
    )
    steps: int = setting(0, low=0, help="where the schedule ends; 0: with the training")
    every: int = setting(1, low=1, help="acts every so many steps")
    after: int = setting(0, low=0, help="not before this epoch")
    when: str = setting(
        "always",
        choices=("always", "plateau"),
        help="plateau: only for networks that have stalled",
    )
    patience: int = setting(
        200, low=1, help="steps without a better smoothed loss that make a plateau"
    )

    @property
    def shape(self) -> str:
        """The schedule without its warm-up."""
        return self.schedule.partition(":")[0]

    @property
    def label(self) -> str:
        """The technique's name."""
        return self.technique.name


def place(spec: "str | Technique | Placed") -> Placed:
    """Read one spec: text, an instance with its own settings, or what was read before.

    Raises UsageError with one sentence for anything that is unknown, not allowed, or without effect.
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
    """A spec as a Placed, and which of the framework's settings it names."""
    parts = parse_spec(spec)
    cls = technique_class(parts.name, parts.file)
    kind = kind_of(cls)
    alias = cls.one_minus_strength if issubclass(cls, Penalty) else ""
    keys = (*COMMON[kind], alias) if alias else COMMON[kind]
    for key in cls.__dataclass_fields__:  # type: ignore[attr-defined]
        if key in keys:
            raise UsageError(f"{cls.name} declares {key!r}, which every {kind} has: rename its own")
    common = {key: value for key, value in parts.settings.items() if key in keys}
    own = {key: value for key, value in parts.settings.items() if key not in keys}
    for key in own:
        declared = [*(field.name for field in fields(cls)), *keys]  # type: ignore[arg-type]
        if key not in declared:
            raise no_setting(cls.name, cls, key, declared)
    placed = _defaults(cls(**convert(cls.name, cls, own)), spec)
    if alias in common:
        if "strength" in common:
            raise UsageError(f"{cls.name}: set {alias} or strength, not both")
        values = _numbers(cls.name, alias, common[alias])
        common["strength"] = "/".join(repr(1 - v) for v in values)
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
    """Fill in the framework's settings; _check refuses what is not allowed."""
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
        elif key in WHOLE:
            if not text.isdecimal():
                raise UsageError(
                    f"{name}'s {key} is a whole number from {WHOLE[key]} up, got {text!r}"
                )
            setattr(placed, key, int(text))


SHARED = {field.name: dict(field.metadata) for field in fields(Placed) if field.metadata}
"""What is allowed of the framework's settings, and what they do, by name."""
WHOLE = {key: declared["low"] for key, declared in SHARED.items() if declared["low"] is not None}
"""Those that are whole numbers, and where each begins."""


def _check(placed: Placed, given: set[str]) -> None:
    """Raise UsageError for what is not allowed, set in text or in Python; given: which settings were
    given."""
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
    shapes = SHARED["schedule"]["choices"]
    if placed.shape not in shapes:
        raise UsageError(
            f"{name} has no schedule {placed.shape!r}: {nearest(placed.shape, shapes)}"
        )
    if placed.shape in schedules.SHAPES:
        schedules.parse(placed.schedule)
    elif placed.schedule != placed.shape:
        raise UsageError(f"{name}'s schedule=plateau has no settings, got {placed.schedule!r}")
    if placed.when not in ("always", "plateau"):
        raise UsageError(f"{name}'s when is always or plateau, got {placed.when!r}")
    for key, least in WHOLE.items():
        value = getattr(placed, key)
        if not isinstance(value, int) or value < least:
            raise UsageError(f"{name}'s {key} is a whole number from {least} up, got {value!r}")
    if "steps" in given and placed.shape in ("constant", "plateau"):
        raise UsageError(
            f"{name}'s steps set where a schedule ends: they have an effect only with schedule=linear or "
            f"schedule=cosine, and the schedule is {placed.schedule}"
        )
    if "patience" in given and "plateau" not in (placed.schedule, placed.when):
        key = "schedule" if kind == "penalty" else "when"
        raise UsageError(
            f"{name}'s patience sets when a plateau is reached: it has an effect only with {key}=plateau"
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
            raise UsageError(f"{name}'s strength must be a finite number, got {rounded(value, 6)}")
        if not low <= value <= high:
            bounds = (
                f"from {rounded(low, 6)} up"
                if high == inf
                else f"from {rounded(low, 6)} to {rounded(high, 6)}"
            )
            raise UsageError(
                f"{name}'s strength must be a number {bounds}, got {rounded(value, 6)}: "
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
