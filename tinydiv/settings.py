"""Settings of techniques: declared beside the maths, read from `name:key=value,key=value`.

A technique declares a setting as an annotated class attribute; `setting` adds bounds or choices:

    class VarianceHinge(ActivationPenalty):
        target: float = setting(1.0, above=0, help="the standard deviation wanted")

A spec names a built-in technique, `decov:strength=0.1`, or a class in a file, `mine.py:Mine:strength=0.1`
(any path that ends in .py, so a drive letter's colon does no harm).
"""

import dataclasses
import inspect
import math
import re
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import Any, get_type_hints

from tinydiv.errors import UsageError, nearest

Value = bool | int | float | str


def setting(
    default: Value,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    choices: tuple[str, ...] = (),
    only: tuple[str, str] | None = None,
    checked: bool = True,
    help: str = "",
) -> Any:
    """A setting with its default and what is allowed: low <= value <= high, value > above, choices.

    only: another setting and the value of it with which this one has a meaning.
    checked: False where the gradient is exact at the default alone; tinydiv.check then keeps to it.
    """
    limits = {
        "low": low,
        "high": high,
        "above": above,
        "choices": choices,
        "only": only,
        "checked": checked,
        "help": help,
    }
    return dataclasses.field(default=default, metadata=limits)


def in_a_line(thing: object) -> tuple[str, str]:
    """What a docstring's first sentence says of a function or class, and the paper in its parentheses.

    "Covariance between hidden neurons (Cogswell et al., ICLR 2016)." gives the sentence without its full
    stop and "Cogswell et al., ICLR 2016". The paper is "" where no year stands at the end.
    """
    first = " ".join((inspect.getdoc(thing) or "").partition("\n\n")[0].split())
    found = re.fullmatch(r"(.*?) \(([^()]*(?:\([^()]*\)[^()]*)*)\)\.", first)
    if found and re.search(r"\d{4}|project|ours|torch", found[2]):
        return found[1], found[2]
    return first.removesuffix("."), ""


@dataclasses.dataclass(frozen=True)
class Spec:
    """A spec taken apart: a name, or a file and a class in it, and the settings as text."""

    name: str
    file: str | None
    settings: dict[str, str]


def split(text: str) -> Spec:
    """Take `name:key=value,...` or `path.py:Class:key=value,...` apart.

    Raises UsageError if a part is not key=value, or a key stands twice.
    """
    file, rest = None, text.strip()
    if ".py:" in rest:
        before, rest = rest.split(".py:", 1)
        file = before + ".py"
    elif rest.endswith(".py"):
        raise UsageError(f"{text!r} names a file but no class in it: write {text}:ClassName")
    name, _, listed = rest.partition(":")
    if not name:
        raise UsageError(f"{text!r} names no technique: write name or name:key=value,key=value")
    settings: dict[str, str] = {}
    for part in filter(None, (p.strip() for p in listed.split(","))):
        key, equals, value = part.partition("=")
        if not equals or not key or not value:
            raise UsageError(f"in {text!r}, {part!r} is not key=value")
        if key in settings:
            raise UsageError(f"in {text!r}, {key!r} is set twice")
        settings[key] = value
    return Spec(name, file, settings)


def convert(owner: str, cls: type, settings: dict[str, str]) -> dict[str, Value]:
    """Settings as text -> values of the declared types, within their bounds.

    Raises UsageError with one sentence for an unknown key (and the nearest one), a value of the wrong
    type, or a value out of bounds.
    """
    declared = {f.name: f for f in dataclasses.fields(cls)}
    types = get_type_hints(cls)
    values: dict[str, Value] = {}
    for key, text in settings.items():
        if key not in declared:
            raise no_setting(owner, cls, key, declared)
        values[key] = read(f"{owner}'s {key}", types[key], text)
        check(f"{owner}'s {key}", values[key], dict(declared[key].metadata))
    refuse_idle(owner, cls, set(values), {key: f.default for key, f in declared.items()} | values)
    return values


def no_setting(owner: str, cls: type, key: str, declared: Iterable[str]) -> UsageError:
    """The error for a setting that a class does not declare, or declares without its type."""
    value = vars(cls).get(key)
    if isinstance(value, bool | int | float | str):
        wanted = f"{key}: {type(value).__name__} = {value!r}"
        return UsageError(
            f"{owner}'s `{key} = {value!r}` is no setting without its type: write `{wanted}`"
        )
    names = list(declared)
    known = nearest(key, names) if names else "it has no settings of its own"
    return UsageError(f"{owner} has no setting {key!r}: {known}")


def check_fields(owner: str, made: object) -> None:
    """Hold the settings of something that was made in Python to what text is held to.

    Raises UsageError with the same sentences. Fields that are no setting (a list, say) are its own.
    """
    cls = type(made)
    declared = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    try:
        types = get_type_hints(cls)
    except NameError:  # a type that is known only while types are checked
        types = {}
    values = {key: getattr(made, key) for key in declared}
    for key, value in values.items():
        kind, what = types.get(key), f"{owner}'s {key}"
        if kind in WANTED:
            refuse_type(what, kind, value)
            check(what, value, dict(declared[key].metadata))
    sometimes = {key: f.default for key, f in declared.items() if f.metadata.get("only")}
    refuse_idle(owner, cls, {k for k, usual in sometimes.items() if values[k] != usual}, values)


def refuse_idle(owner: str, cls: type, given: set[str], values: Mapping[str, object]) -> None:
    """Raise UsageError for a setting that was given and changes nothing beside the others' values."""
    for field in dataclasses.fields(cls):
        only = field.metadata.get("only")
        if field.name in given and only and values[only[0]] != only[1]:
            raise UsageError(
                f"{owner}'s {field.name} has a meaning with {only[0]}={only[1]} alone, and "
                f"{only[0]} is {values[only[0]]}"
            )


WANTED = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}
"""The types of settings, in words."""


def refuse_type(what: str, kind: type, value: object) -> None:
    """Raise UsageError for a value of another type; whole numbers are numbers, too."""
    fits = {bool: bool, int: Integral, float: Real, str: str}[kind]
    if not isinstance(value, fits) or (kind in (int, float) and isinstance(value, bool)):
        raise UsageError(f"{what} must be {WANTED[kind]}, got {value!r}")


def read(what: str, kind: type, text: str) -> Value:
    """One value of one type from text."""
    if kind is bool:
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if text.lower() not in words:
            raise UsageError(f"{what} must be {WANTED[kind]}, got {text!r}")
        return words[text.lower()]
    if kind is str:
        return text
    try:
        return int(text) if kind is int else float(text)
    except ValueError:
        raise UsageError(f"{what} must be {WANTED[kind]}, got {text!r}") from None


def check(what: str, value: Value, limits: dict[str, Any]) -> None:
    """Hold one value against its bounds. Raises UsageError with the bound that it breaks."""
    if limits.get("choices") and value not in limits["choices"]:
        raise UsageError(f"{what} cannot be {value!r}: {nearest(str(value), limits['choices'])}")
    if isinstance(value, bool | str):
        return
    if not math.isfinite(value):
        raise UsageError(f"{what} must be finite, got {value}")
    low, high, above = limits.get("low"), limits.get("high"), limits.get("above")
    if low is not None and value < low:
        raise UsageError(f"{what} must be at least {low:g}, got {value:g}")
    if above is not None and value <= above:
        raise UsageError(f"{what} must be above {above:g}, got {value:g}")
    if high is not None and value > high:
        raise UsageError(f"{what} must be at most {high:g}, got {value:g}")
