"""Every name that a command takes, with one line and its paper: --list, as text or as data.

For a single name (--list decov) everything is shown: its settings, their limits, and its docstring.
"""

import dataclasses
import inspect
import textwrap
from collections.abc import Callable, Mapping
from typing import Any

from tinydiv import activations, data, diversity, losses, optimizers, schedules
from tinydiv.errors import UsageError, near
from tinydiv.initializers import BASES, SCHEMES, Scheme
from tinydiv.settings import sentence_and_paper
from tinydiv.techniques import TECHNIQUES, Placed, Technique
from tinydiv.techniques.base import EnsemblePenalty, Intervention, Penalty
from tinydiv.techniques.cost import BATCH, SIZES, cost_text, relative_cost
from tinydiv.techniques.placing import COMMON, SHARED, kind_of

Entry = dict[str, object]
"""One name: name, summary, paper, perhaps settings; for techniques family, kind and relative cost."""

Limits = dict[str, object]
"""Of one setting: default, help, and where there are any: low, high, above, choices, only."""
INFINITE = float("inf")

BACKENDS = (
    ("numpy", "the CPU", "Harris et al., Nature 585, 2020"),
    ("cupy", "an NVIDIA GPU; needs the extra cuda12 or cuda13", "Okuta et al., LearningSys 2017"),
    ("auto", "cupy where a GPU works, else numpy", ""),
)


def entry(name: str, summary: str, paper: str) -> Entry:
    """An entry with the three parts that every name has."""
    return {"name": name, "summary": summary, "paper": paper}


def described(things: Mapping[str, object]) -> list[Entry]:
    """Functions and classes, each with the first sentence of its docstring."""
    return [entry(name, *sentence_and_paper(thing)) for name, thing in things.items()]


def initializers() -> list[Entry]:
    """The initializers: schemes with their settings, then base draws, which have none."""
    schemes = [
        one | {"settings": own_settings(SCHEMES[str(one["name"])])} for one in described(SCHEMES)
    ]
    bases = [one | {"settings": {}} for one in described(BASES)]
    return schemes + bases


def own_settings(cls: type[Technique | Scheme]) -> dict[str, Limits]:
    """What a technique or a start declares: default, limits and help of each setting."""
    found: dict[str, Limits] = {}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        found[field.name] = {"default": field.default} | limits_of(field.metadata)
    return found


def limits_of(metadata: Mapping[str, Any]) -> Limits:
    """The limits and help of a setting, from its declaration."""
    limits = {key: metadata.get(key) for key in ("low", "high", "above", "help")}
    limits["choices"] = metadata.get("choices") or None
    if only := metadata.get("only"):
        limits["only"] = f"{only[0]}={only[1]}"
    return given(limits)


def given(limits: Limits) -> Limits:
    """The limits without those that are None."""
    return {key: value for key, value in limits.items() if value not in (None, "", INFINITE)}


def common_settings(cls: type[Technique]) -> dict[str, Limits]:
    """The framework's settings of a technique: strength, layers, schedule, trigger."""
    kind = kind_of(cls)
    keys = [key for key in COMMON[kind] if key != "layers" or cls.acts_on == "hidden layers"]
    usual = {field.name: field.default for field in dataclasses.fields(Placed)}
    found = {key: {"default": usual[key]} | limits_of(SHARED[key]) for key in keys}
    if "steps" in found:
        found["steps"]["only"] = "schedule=linear or schedule=cosine"
    if issubclass(cls, EnsemblePenalty) and "layers" in found:
        found["layers"]["help"] = "hidden layers, as 1 or 1+2; the last one if not given"
    if issubclass(cls, Penalty):
        low, high = cls.strength_limits
        found["strength"] |= given({"default": cls.default_strength, "low": low, "high": high})
        if alias := cls.one_minus_strength:
            limits: Limits = {"default": 1 - cls.default_strength, "low": 1 - high, "high": 1 - low}
            found[alias] = given(limits) | {"help": f"in place of strength: strength = 1 - {alias}"}
        found["patience"]["only"] = "schedule=plateau"
    if issubclass(cls, Intervention):
        if cls.in_every_step:
            return {key: found[key] for key in ("layers",) if key in found}
        found["every"]["default"] = cls.default_every
        found["patience"]["only"] = "when=plateau"
    return found


def techniques() -> list[Entry]:
    """The techniques, with family, kind, settings, and what they cost beside a plain step."""
    entries = []
    for cls in TECHNIQUES.values():
        more = {
            "family": cls.family,
            "kind": kind_of(cls),
            "settings": own_settings(cls) | common_settings(cls),
            "relative_cost": relative_cost(cls.name),
        }
        entries.append(entry(cls.name, *sentence_and_paper(cls)) | more)
    return entries


KINDS: dict[str, Callable[[], list[Entry]]] = {
    "techniques": techniques,
    "initializers": initializers,
    "data": lambda: [entry(*found) for found in data.describe()],
    "activations": lambda: described({k: type(a) for k, a in activations.ACTIVATIONS.items()}),
    "losses": lambda: described(losses.LOSSES),
    "optimizers": lambda: described(optimizers.OPTIMIZERS),
    "schedules": lambda: described(schedules.SHAPES),
    "metrics": lambda: described(diversity.METRICS),
    "backends": lambda: [entry(*found) for found in BACKENDS],
}
"""What can be listed, and how."""


def entries(wanted: str = "all") -> dict[str, list[Entry]]:
    """The names of one kind, or of all, by kind; or one name, in every kind that has it.

    Raises UsageError for anything else.
    """
    if wanted in ("all", *KINDS):
        return {kind: make() for kind, make in KINDS.items() if wanted in ("all", kind)}
    every = {kind: make() for kind, make in KINDS.items()}
    found = {kind: [one for one in all if one["name"] == wanted] for kind, all in every.items()}
    if not any(found.values()):
        names = [str(one["name"]) for all in every.values() for one in all]
        close = near(wanted, ["all", *KINDS]) or near(wanted, names)
        meant = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
        raise UsageError(
            f"there is no list of {wanted!r} and no such name: {meant}Lists: all, {', '.join(KINDS)}"
        )
    return {kind: ones for kind, ones in found.items() if ones}


def as_text(found: dict[str, list[Entry]]) -> str:
    """The same for reading."""
    return "\n\n".join(
        section(kind, names) if len(names) > 1 else detail(kind, names[0])
        for kind, names in found.items()
    )


def wrapped(text: str, name: str, width: int) -> list[str]:
    """A name, and to its right a text, in lines of 100 characters."""
    left = f"  {name:{width}}  "
    return textwrap.wrap(text, 100, initial_indent=left, subsequent_indent=" " * len(left))


def section(kind: str, names: list[Entry]) -> str:
    """One kind: its name, then a line per entry with name, summary and paper."""
    width = max(len(str(one["name"])) for one in names)
    lines = [kind]
    for one in names:
        settings = defaults(one)
        text = line(kind, one) + (f"; settings {', '.join(settings)}" if settings else "")
        if one["paper"]:
            text += f" ({one['paper']})"
        lines += wrapped(text, str(one["name"]), width)
    if kind == "initializers":
        lines.append("  schemes change base draws or other schemes: lowdin:mix=0.5@glorot-uniform")
    if kind == "techniques":
        sizes = "-".join(map(str, SIZES))
        lines.append(f"  flops are those beside a plain step of {sizes} in batches of {BATCH}")
        lines += [f"  every {kind} also takes {', '.join(keys)}" for kind, keys in COMMON.items()]
        lines.append("  --list NAME shows the values and the effect of each setting: --list decov")
    return "\n".join(lines)


def line(kind: str, one: Entry) -> str:
    """The summary, and before it more about a technique."""
    if kind != "techniques":
        return str(one["summary"])
    cls = TECHNIQUES[str(one["name"])]
    return f"[{cls.family}, {kind_of(cls)}, {cost_text(cls.name)} flops] {one['summary']}"


def settings_of(one: Entry) -> dict[str, Limits]:
    """The settings of an entry; {} where there are none."""
    settings = one.get("settings", {})
    assert isinstance(settings, dict)
    return settings


def defaults(one: Entry) -> list[str]:
    """ "key=default" of its own settings, and of its own default strength or trigger."""
    short = [key for key in SHARED if key not in ("strength", "every")]
    return [
        f"{key}={as_written(limits['default'])}"
        for key, limits in settings_of(one).items()
        if key not in short
    ]


def detail(kind: str, one: Entry) -> str:
    """One name: its line, then a line per setting with its values and effect, then its docstring."""
    paper = f" ({one['paper']})" if one["paper"] else ""
    lines = textwrap.wrap(f"{kind}: {one['name']}  {line(kind, one)}{paper}", 100)
    settings = settings_of(one)
    names = {key: f"{key}={as_written(limits['default'])}" for key, limits in settings.items()}
    width = max(map(len, names.values()), default=0)
    for key, limits in settings.items():
        lines += wrapped("; ".join(filter(None, in_words(limits))), names[key], width)
    if kind == "techniques":
        lines += ["", inspect.getdoc(TECHNIQUES[str(one["name"])]) or ""]
    return "\n".join(lines)


def in_words(limits: Limits) -> list[str]:
    """A setting's help, its limits, and when it has an effect."""
    allowed: list[str] = []
    if isinstance(choices := limits.get("choices"), tuple):
        allowed = [" or ".join(choices)]
    elif isinstance(limits["default"], bool):
        allowed = ["true or false"]
    else:
        words = {"above": "above", "low": "from", "high": "to"}
        allowed = [f"{word} {limits[key]:g}" for key, word in words.items() if key in limits]
    only = f"only with {limits['only']}" if "only" in limits else ""
    return [str(limits.get("help", "")), " ".join(allowed), only]


def as_written(value: object) -> str:
    """A default as one writes it, true or 0.1; dots where it is not written at all."""
    if value is None:
        return "..."
    return str(value).lower() if isinstance(value, bool) else str(value)
