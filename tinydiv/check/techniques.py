"""Cases of the techniques: penalties at unit strength and within the whole objective, and layers.

The settings that change the maths (choices, true or false, numbers) are read from the class, and the arrays
that a penalty takes from its arguments: no list here has to be kept up to date.
"""

import copy
import dataclasses
import inspect
import itertools
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import get_type_hints

from tinydiv import activations
from tinydiv.backend import Array, to_host, xp
from tinydiv.check import points
from tinydiv.check.evidence import Facts
from tinydiv.check.judge import Case
from tinydiv.check.network import network_case
from tinydiv.check.numeric import Point
from tinydiv.check.points import Dimensions, Memory
from tinydiv.errors import UsageError
from tinydiv.layers import Context, Layer
from tinydiv.mlp import MLP
from tinydiv.settings import rounded
from tinydiv.techniques.base import (
    EnsemblePenalty,
    LayerTechnique,
    Penalty,
    Step,
    Strength,
    Technique,
)
from tinydiv.techniques.framework import Techniques
from tinydiv.techniques.placing import layers_of, place

Settings = dict[str, object]

MOST_VARIANTS = 12
NUMBERS, EPOCH = (3, 0, 1, 40), 1
"""The step numbers with which a technique is computed."""

SCALES = (1.0, 0.3, 3.0, 0.1, 10.0)
LARGE_SCALES = (15.0, *SCALES)
"""Of the large point: first with activations and weights beyond 30."""

UNIT_DIMENSIONS = (
    Dimensions((5, 4, 6, 3), 9),
    Dimensions((5, 4, 3, 3), 7, replicas=3),
    points.SQUARE,
    points.WIDE,
)


# Settings ----------------------------------------------------------------------------------------


def settings_of(cls: type[Technique]) -> Iterator[Settings]:
    """Settings that change what is computed: every choice, true and false, whole numbers of a short
    range. All combinations if these are at most MOST_VARIANTS, else one change at a time."""
    options: dict[str, list[object]] = {}
    types = get_type_hints(cls)
    for field in cls.__dataclass_fields__.values():  # type: ignore[attr-defined]
        limits, default = field.metadata, field.default
        values: list[object] = []
        if limits.get("choices"):
            values = list(limits["choices"])
        elif types[field.name] is bool:
            values = [False, True]
        elif types[field.name] is int and limits.get("high") is not None:
            low = limits.get("low")
            if low is not None and limits["high"] - low <= 4:
                values = list(range(int(low), int(limits["high"]) + 1))
        if len(values) > 1:
            options[field.name] = [default, *(v for v in values if v != default)]
    combinations = [
        dict(zip(options, chosen, strict=True)) for chosen in itertools.product(*options.values())
    ]
    if len(combinations) > MOST_VARIANTS:
        first = combinations[0]
        changed = [{**first, key: v} for key, values in options.items() for v in values[1:]]
        combinations = [first, *changed]
    yield from combinations


def second_values(cls: type[Technique]) -> Iterator[Settings]:
    """All other numbers at a second value, since a default of 1 or 2 hides faults: all at once, but one
    by one where the class refuses the combination; those that act only with a choice of another setting
    together with that choice."""
    types, first = get_type_hints(cls), next(settings_of(cls))
    together: dict[tuple[str, str] | None, Settings] = {}
    for field in cls.__dataclass_fields__.values():  # type: ignore[attr-defined]
        if types[field.name] in (int, float) and field.name not in first:
            other = second_value(field)
            if other is not None:
                together.setdefault(field.metadata.get("only"), {})[field.name] = other
    for only, numbers in together.items():
        base: Settings = {**first, **({only[0]: only[1]} if only else {})}
        tries = [{**base, **numbers}, *({**base, key: value} for key, value in numbers.items())]
        for chosen in tries if len(numbers) > 1 else tries[:1]:
            try:
                cls(**chosen)
            except UsageError:  # these numbers are not allowed together
                continue
            yield chosen
            if chosen is tries[0]:
                break


def second_value(field: "dataclasses.Field[object]") -> object:
    """Another value than the default, within the limits; None if there is none, or no default."""
    default, limits = field.default, field.metadata
    if isinstance(default, bool) or not isinstance(default, int | float):
        return None
    if not limits.get("checked", True):
        return None
    step: float = 1 if isinstance(default, int) else abs(default) / 2 or 0.5
    for value in (default + step, default - step):
        low, high, above = (limits.get(key) for key in ("low", "high", "above"))
        inside = (low is None or value >= low) and (high is None or value <= high)
        if inside and (above is None or value > above):
            return value
    return None


def in_words(chosen: Settings) -> str:
    """Settings as text: "form=b,power=3"."""
    return ",".join(f"{key}={str(value).lower()}" for key, value in chosen.items())


# Penalties ---------------------------------------------------------------------------------------


def settings_to_check(
    cls: type[Technique], given: Settings | None
) -> tuple[list[Settings], list[Settings]]:
    """(settings for the full check, settings for a shorter one); where some are given, these alone."""
    if given is not None:
        return [given], []
    return list(settings_of(cls)), list(second_values(cls))


def penalty_cases(
    cls: type[Penalty], seed: int, subject: str = "", settings: Settings | None = None
) -> Iterator[list[Case]]:
    """Groups of cases. The members of a group differ only in the scale of their point, and one counts (see
    suite.active). settings: check these alone, not all that change the maths."""
    kinds = list(activations.ACTIVATIONS)
    takes = takes_arrays(cls)
    usual, more = settings_to_check(cls, settings)
    for i, chosen in enumerate(usual + more):
        penalty, few = cls(**chosen), i >= len(usual)
        for k, dims in enumerate(UNIT_DIMENSIONS[: 2 if few else None] if takes else ()):
            # The defaults are checked with every activation in turn, other settings with one per size.
            for a in (i + k, i + k + 3)[: 2 if i == 0 else 1]:
                kind = kinds[a % len(kinds)]
                yield unit_cases(penalty, chosen, dims, kind, seed + k, subject)
        if few and takes:
            continue
        if i == 0 and takes:
            yield unit_cases(
                penalty, chosen, points.LARGE, "relu", seed, subject, scales=LARGE_SCALES
            )
        if any(NEURONS[role] is not None for role in roles(cls)):
            for dims in (points.DEAD, points.EQUAL)[: 2 if i == 0 else 1]:
                scales = SCALES if dims is points.DEAD else SCALES[:1]
                yield unit_cases(
                    penalty, chosen, dims, "tanh", seed, subject, special=True, scales=scales
                )
        for k, dims in enumerate((points.SQUARE, points.DEEP, points.MANY)[: 3 if i == 0 else 1]):
            kind = kinds[(i + 2 * k) % len(kinds)]
            number = NUMBERS[k % len(NUMBERS)]
            yield [objective_case(penalty, chosen, dims, kind, seed + k, subject, number=number)]
        if isinstance(penalty, EnsemblePenalty) and penalty.acts_on == "hidden layers":
            yield [
                objective_case(penalty, chosen, points.DEEP, "tanh", seed, subject, layers=(1, 2))
            ]


def takes_arrays(cls: type[Penalty]) -> bool:
    """Whether a penalty has its own __call__, and does not do everything in `apply`."""
    return any("__call__" in base.__dict__ for base in cls.__mro__)


def step_at(techniques: Techniques, X: Array, Y: Array, number: int = NUMBERS[0]) -> Step:
    """The step of training in which the penalties are computed."""
    trace = techniques.net.forward(X, Context(training=True, step=number))
    loss, dlogits = techniques.loss(trace.logits, Y)
    return techniques.step(trace, Y, loss, dlogits, number, EPOCH)


def arguments(penalty: Penalty, step: Step, layer: int) -> dict[str, Array]:
    """The arrays that the framework hands to a penalty at one layer, by their names there."""
    seen: list[tuple[Array, ...]] = []
    cls = type(penalty)

    class StopError(Exception):
        """Ends `apply` once the arguments of __call__ are recorded."""

    def record(self: Penalty, *given: Array) -> object:
        seen.append(given)
        raise StopError

    recording = copy.copy(penalty)
    recording.__class__ = type(cls.__name__, (cls,), {"__call__": record, "name": cls.name})
    with suppress(StopError):
        recording.apply(step, layer, Strength(1.0, 1.0))
    if not seen:
        return {}  # its `apply` does not use __call__: only the objective can be checked
    names = list(inspect.signature(cls.__call__).parameters)[1:]
    return {
        name: array.copy()
        for name, array in zip(names, seen[0], strict=False)
        if not isinstance(array, Step)
    }


NEURONS = {"A": -1, "B": -1, "W": -1, "V": -2, "c": None, "logits": None}
"""Along which axis of an array, by its name in base.py, the neurons of a layer lie."""


def roles(cls: type[Penalty]) -> list[str]:
    """The names that base.py gives the arrays of a penalty; its own arguments may have other names."""
    for base in cls.__mro__:
        if base.__module__ == Penalty.__module__ and "__call__" in base.__dict__:
            names = list(inspect.signature(base.__dict__["__call__"]).parameters)[1:]
            return [name for name in names if name in NEURONS]
    return []


def specialised(given: Point, cls: type[Penalty]) -> Point:
    """The same arrays with dead neurons (all zeros) at points.DEAD, with two equal ones at points.EQUAL.

    Dead neurons have no correlation, no direction and no gradient: code that divides by their size, or
    counts them among the pairs, is wrong here. The second view B keeps its numbers, because a dead neuron
    may be active with noise.
    """
    found = {}
    for (name, array), role in zip(given.items(), roles(cls), strict=True):
        array, axis = array.copy(), NEURONS[role]
        equal = array.ndim == 2  # points.EQUAL is one network
        if axis is not None and (equal or role != "B"):
            neurons = xp.moveaxis(array, axis, 0 if equal else 1)
            if equal:
                neurons[1] = neurons[0]
            else:
                neurons[0, 0] = 0
                neurons[1, 1:] = 0
                neurons[2] = 0
        found[name] = array
    return found


def unit_cases(
    penalty: Penalty,
    chosen: Settings,
    dims: Dimensions,
    activation: str,
    seed: int,
    subject: str = "",
    special: bool = False,
    scales: Sequence[float] = SCALES,
) -> list[Case]:
    """A penalty as a function of its arrays, at unit strength, at points of several scales.

    special: with neurons that are dead or equal (see specialised).
    """
    net = points.network(dims, activation, seed)
    X, Y = points.inputs(dims, seed), points.targets(dims, seed)
    where = joined(in_words(chosen), activation, str(dims))
    name = subject or penalty.name

    def broken(error: Exception) -> list[Case]:
        def function(at: Point) -> list[Array]:
            raise error

        return [Case("penalty", name, where, {}, function, lambda at, weights: {})]

    try:
        techniques = Techniques(net, [penalty])
        step = step_at(techniques, X, Y)
        layer = techniques.layers_at[0][-1]
        given = arguments(penalty, step, layer)
    except Exception as error:  # the user's own code may raise anything
        return broken(error)
    if not given:
        return []
    if special:
        given = specialised(given, type(penalty))
        where += ", some neurons dead" if dims.replicas else ", two neurons equal"

    def called(at: Point) -> tuple[Array, ...]:
        arrays = [at[key] for key in given]
        found = penalty(*arrays, step)  # type: ignore[operator]
        wanted = f"(value, {', '.join(f'd{key}' for key in given)})"
        if not isinstance(found, tuple) or len(found) != 1 + len(given):
            what = f"{len(found)} things" if isinstance(found, tuple) else type(found).__name__
            raise TypeError(f"__call__ must return {wanted}, got {what}")
        shape_of_value = getattr(found[0], "shape", ())
        if tuple(shape_of_value) != net.lead:
            many = "one number per network" if net.lead else "a single number"
            raise ValueError(
                f"the value must have shape {net.lead} ({many}), got {tuple(shape_of_value)}: sum "
                "over axis=(-2, -1), not over everything"
            )
        return found

    def gradients(at: Point, weights: Sequence[Array]) -> Point:
        _, *found = called(at)
        return {
            key: weights[0][..., None, None] * d if hasattr(d, "shape") else d
            for key, d in zip(given, found, strict=True)
        }

    def facts(at: Point, weights: Sequence[Array]) -> Facts:
        by_name = zip(given, roles(type(penalty)), strict=False)
        of_neurons = {key for key, role in by_name if NEURONS[role] == -1}
        return Facts(
            samples=dims.samples,
            sizes={"the number of neurons": net.sizes[layer]},
            rows={k: "samples" if x.shape[-2] == dims.samples else "inputs" for k, x in at.items()},
            columns=dict.fromkeys(set(given) - of_neurons, "output"),
            lead=net.replicas is not None,
        )

    def value(at: Point) -> list[Array]:
        return [xp.asarray(called(at)[0])]

    cases = []
    for scale in scales:
        point = {key: scale * array for key, array in given.items()}
        at_scale = where + (f", scale {rounded(scale, 6)}" if scale != 1 else "")
        case = Case("penalty", name, at_scale, point, value, gradients, facts)
        case.divided, case.variant = True, in_words(chosen)
        cases.append(case)
    return cases


def joined(*words: str) -> str:
    """Parts of a description with commas between them; empty parts are left out."""
    return ", ".join(filter(None, words))


def strengths_for(penalty: Penalty, replicas: int | None) -> tuple[float, ...]:
    """A strength per network, all different, within what the penalty allows."""
    low, high = penalty.strength_limits
    base = penalty.default_strength or 0.1
    return tuple(min(max(base * (1 + r) / 2, low), high) for r in range(replicas or 1))


def objective_case(
    penalty: Penalty,
    chosen: Settings,
    dims: Dimensions,
    activation: str,
    seed: int,
    subject: str = "",
    layers: tuple[int, ...] | None = None,
    number: int = NUMBERS[0],
) -> Case:
    """loss + strength * penalty as a function of all weights, through the framework and backward."""
    net = points.network(dims, activation, seed, layers_of(penalty.needs))
    X, Y = points.inputs(dims, seed), points.targets(dims, seed)
    strengths = strengths_for(penalty, dims.replicas)
    placed = dataclasses.replace(place(penalty), strength=strengths, layers=layers)
    techniques = Techniques(net, [*penalty.needs, placed])
    memory = Memory(techniques)

    def ahead(at: Point) -> Step:
        points.put(net, at)
        memory.restore()
        step = step_at(techniques, X, Y, number)
        techniques.before_backward(step)
        return step

    def function(at: Point) -> list[Array]:
        step = ahead(at)
        return [step.loss + sum(step.penalties.values())]

    def gradients(at: Point, weights: Sequence[Array]) -> Point:
        step = ahead(at)
        net.dtheta[...] = points.numbers(*net.theta.shape, seed=seed + 5)
        net.backward(step.trace, step.dlogits, step.dA)
        techniques.after_backward(step)
        net.dtheta *= weights[0][..., None]
        return points.gradients(net)

    def facts(at: Point, weights: Sequence[Array]) -> Facts:
        step = ahead(at)
        net.backward(step.trace, step.task_dlogits)
        return Facts(
            samples=dims.samples,
            rows={f"W[{l}]": "inputs" for l in range(net.depth)},
            lead=net.replicas is not None,
            task={name: to_host(array) for name, array in points.gradients(net).items()},
            strengths=to_host(xp.asarray(placed.strength)),
        )

    many = "strength per network" if dims.replicas else "one strength"
    at_layers = "layers " + " and ".join(map(str, layers)) if layers else ""
    when = f"step {number}" if number != NUMBERS[0] else ""
    where = joined(in_words(chosen), activation, str(dims), many, at_layers, when)
    name, point = subject or penalty.name, points.parameters(net)
    case = Case("objective", name, where, point, function, gradients, facts)
    case.divided, case.variant = True, in_words(chosen)
    return case


# Layers ------------------------------------------------------------------------------------------


def layer_cases(
    cls: type[LayerTechnique], seed: int, subject: str = "", settings: Settings | None = None
) -> Iterator[Case]:
    """A layer alone and inside a network; training and evaluation; one network and several."""
    dimensions = (
        Dimensions((5, 4, 3), 7),
        Dimensions((5, 4, 6, 3), 9, replicas=3),
        points.SQUARE,
        points.LARGE,
    )
    usual, more = settings_to_check(cls, settings)
    for i, chosen in enumerate(usual + more):
        for k, dims in enumerate(
            dimensions if i == 0 else dimensions[: 3 if i < len(usual) else 1]
        ):
            for training in (True, False):
                kind = ("tanh", "gelu", "relu")[(i + k) % 3]
                net = points.network(dims, kind, seed, layers_of([cls(**chosen)]))
                memory = points.warm_up(net, dims, seed)
                context = Context(training=training, step=NUMBERS[k])
                yield layer_case(net, memory, chosen, dims, context, seed, subject)
                name = subject or cls.name
                case = network_case(
                    net, dims, seed, kind="layer", subject=name, context=context, memory=memory
                )
                case.where = joined("in a network", in_words(chosen), case.where)
                yield case


def layer_case(
    net: MLP,
    memory: Memory,
    chosen: Settings,
    dims: Dimensions,
    context: Context,
    seed: int,
    subject: str = "",
) -> Case:
    """The first of a network's layers, as a function of its input and its parameters."""
    layer: Layer = net.layers[0]
    x = points.numbers(*net.lead, dims.samples, layer.width, seed=seed + 3, scale=1.5) + 0.3
    parameters = {key: layer.parameters[key].copy() for key in layer.shapes}

    def forward(at: Point) -> tuple[Array, Array]:
        memory.restore()
        for key in parameters:
            layer.parameters[key][...] = at[key]
        return layer.forward(at["x"], context)

    def outputs(at: Point) -> list[Array]:
        return [forward(at)[0]]

    def gradients(at: Point, weights: Sequence[Array]) -> Point:
        _, cache = forward(at)
        dx, found = layer.backward(weights[0], cache)
        return {"x": dx, **found}

    def facts(at: Point, weights: Sequence[Array]) -> Facts:
        return Facts(samples=dims.samples, rows={"x": "samples"}, lead=net.replicas is not None)

    mode = "training" if context.training else "evaluation"
    where = joined("alone", in_words(chosen), str(dims), mode)
    name, point, variant = subject or layer.label, {"x": x, **parameters}, in_words(chosen)
    return Case("layer", name, where, point, outputs, gradients, facts, variant=variant)
