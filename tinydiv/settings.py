"""Settings, each declared once with `setting`: its default, what is allowed, and one line of help.

A command declares them in a dataclass: a field is the flag, the key of a TOML or JSON file, the line of
--help, and has the same limits and the same sentences in each of them.

    @dataclass(frozen=True)
    class Config:
        epochs: int = setting(10, whole(0, 1_000_000), "N", "passes over the training set")

A technique declares them beside its maths, and they are read from `name:key=value,key=value`:

    class VarianceHinge(ActivationPenalty):
        target: float = setting(1.0, above=0, help="the standard deviation wanted")

A spec names a built-in technique, `decov:strength=0.1`, or a class in a file, `mine.py:Mine:strength=0.1`
(any path that ends in .py; the colon of a Windows drive, C:, is part of it). Nothing here imports NumPy,
so that --help is quick.
"""

import dataclasses
import inspect
import math
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, get_type_hints

from tinydiv.errors import UsageError, nearest

Value = bool | int | float | str
T = TypeVar("T")
Reader: TypeAlias = Callable[[str, object], T]
"""(what is read, as the sentence names it; the value) -> the value in its type, or UsageError"""

LONGEST_TEXT = 1000
LONGEST_LIST = 1_000_000


def setting(
    default: Any,
    read: "Reader[Any] | None" = None,
    metavar: str = "",
    help: str = "",
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    choices: tuple[str, ...] = (),
    only: tuple[str, str] | None = None,
    checked: bool = True,
    repeat: bool = False,
) -> Any:
    """A setting with its default, how it is read, what is allowed, and one line of help.

    read: takes the text of a flag or the value of a TOML or JSON key; a technique's settings need none:
    they are read by their type. low <= value <= high, value > above, choices. only: another setting, and
    the value of it that this one needs to have an effect. checked: False where the gradient is exact only
    at the default value, which tinydiv.check then uses. repeat: the flag may be given several times.
    """
    limits = {"low": low, "high": high, "above": above, "choices": choices, "only": only}
    limits["checked"] = checked
    described = {"read": read, "metavar": metavar, "help": help, "repeat": repeat}
    return dataclasses.field(default=default, metadata=limits | described)


def sentence_and_paper(thing: object) -> tuple[str, str]:
    """The first sentence of the docstring of a function or class, and the paper in its parentheses.

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


def parse_spec(text: str) -> Spec:
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
            f"{owner}'s `{key} = {value!r}` needs a type to be a setting: write `{wanted}`"
        )
    names = list(declared)
    known = nearest(key, names) if names else "it has no settings of its own"
    return UsageError(f"{owner} has no setting {key!r}: {known}")


def check_fields(owner: str, made: object) -> None:
    """Check the settings of an object made in Python in the same way as those read from text.

    Raises UsageError with the same sentences. Other fields (such as a list) are left to the class.
    """
    cls = type(made)
    declared = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    try:
        types = get_type_hints(cls)
    except NameError:  # a type that is imported only for type checking
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
    """Raise UsageError for a setting that was given but has no effect with the values of the others."""
    for field in dataclasses.fields(cls):
        only = field.metadata.get("only")
        if field.name in given and only and values[only[0]] != only[1]:
            raise UsageError(
                f"{owner}'s {field.name} has an effect only with {only[0]}={only[1]}, and "
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
    """Compare one value with its bounds. Raises UsageError that names the bound that it exceeds."""
    if limits.get("choices") and value not in limits["choices"]:
        raise UsageError(f"{what} cannot be {value!r}: {nearest(str(value), limits['choices'])}")
    if isinstance(value, bool | str):
        return
    if not math.isfinite(value):
        raise UsageError(f"{what} must be finite, got {value}")
    low, high, above = limits.get("low"), limits.get("high"), limits.get("above")
    if low is not None and value < low:
        raise UsageError(f"{what} must be at least {rounded(low, 6)}, got {rounded(value, 6)}")
    if above is not None and value <= above:
        raise UsageError(f"{what} must be above {rounded(above, 6)}, got {rounded(value, 6)}")
    if high is not None and value > high:
        raise UsageError(f"{what} must be at most {rounded(high, 6)}, got {rounded(value, 6)}")


# Settings of commands: flags and files -----------------------------------------------------------------


def flag(name: str) -> str:
    """The flag of a field: batch_size -> --batch-size."""
    return "--" + name.replace("_", "-")


def shown(value: object) -> str:
    """A value as error messages quote it: shortened, and without control characters."""
    quoted = repr(value)
    return quoted if len(quoted) <= 60 else quoted[:57] + "..."


def rounded(value: float, digits: int = 3, sign: str = "") -> str:
    """A number to some significant digits, as a person writes it: 0.0042, 12.3, 5,000, -1,230,000.

    (f"{5000:.3g}" is 5e+03.) sign: "+" to show it for positive numbers too. From 1e12 up, and below 1e-4,
    powers of ten are shorter.
    """
    short = float(f"{value:.{digits}g}")
    long = 10**digits <= abs(short) < 1e12
    return f"{short:{sign},.0f}" if long else f"{short:{sign},.{digits}g}"


def mean_text(values: Iterable[float], form: str = ".4f", none: str = "diverged") -> str:
    """The mean over networks that have a number, those that did not diverge, or a word if none has."""
    numbers = [v for v in values if v == v]
    return format(sum(numbers) / len(numbers), form) if numbers else none


# Readers -------------------------------------------------------------------------------------------


def text(what: str, value: object) -> str:
    """Any text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise UsageError(f"{what} must be some text, got {shown(value)}")
    if len(value) > LONGEST_TEXT:
        raise UsageError(f"{what} may have up to {LONGEST_TEXT} characters, got {len(value)}")
    return value.strip()


def choice(*allowed: str) -> Reader[str]:
    """One of a few words."""

    def read(what: str, value: object) -> str:
        if value not in allowed:
            raise UsageError(f"{what} cannot be {shown(value)}: {nearest(str(value), allowed)}")
        return str(value)

    return read


def whole(low: int, high: int) -> Reader[int]:
    """A whole number from low to high."""

    def read(what: str, value: object) -> int:
        try:
            number = int(value) if isinstance(value, str) else value
        except ValueError:
            number = None
        right = isinstance(number, Integral) and not isinstance(number, bool)
        if not right or not low <= number <= high:  # type: ignore[operator]
            raise UsageError(
                f"{what} must be a whole number from {low:,} to {high:,}, got {shown(value)}"
            )
        return int(number)  # type: ignore[call-overload,no-any-return]

    return read


def number(low: float, high: float) -> Reader[float]:
    """A number from low to high; text such as 1e-3 is read."""

    def read(what: str, value: object) -> float:
        try:
            found = float(value) if isinstance(value, str | Real) else None
        except (ValueError, OverflowError):
            found = None
        # Written with `not`, so that nan is refused too.
        if isinstance(value, bool) or found is None or not low <= found <= high:
            raise UsageError(
                f"{what} must be a number from {rounded(low, 6)} to {rounded(high, 6)}, got {shown(value)}"
            )
        return found

    return read


def per_network(low: float, high: float) -> Reader[tuple[float, ...]]:
    """One number, or one per network: 0.1 or 0.1/0.2/0.3 as text, a number or a list in a file."""
    one = number(low, high)

    def read(what: str, value: object) -> tuple[float, ...]:
        if isinstance(value, str) and "," in value:
            right = value.replace(",", "/")
            raise UsageError(
                f"{what} takes numbers with / between them: {shown(right)}, not {shown(value)}"
            )
        parts = separated(what, value, "/")
        return tuple(one(what, part) for part in parts)

    return read


def sizes(most: int, largest: int) -> Reader[tuple[int, ...]]:
    """Whole numbers separated by commas, or a list of them, or the word none."""

    def read(what: str, value: object) -> tuple[int, ...]:
        if value in ("none", [], ()):
            return ()
        parts = separated(what, value, ",")
        if len(parts) > most:
            raise UsageError(f"{what} may have up to {most} numbers, got {len(parts)}")
        return tuple(whole(1, largest)(f"every number of {what}", part) for part in parts)

    return read


def words(separator: str) -> Reader[tuple[str, ...]]:
    """Texts with a separator between them, or a list of texts, or the word none."""

    def read(what: str, value: object) -> tuple[str, ...]:
        if value in ("none", [], (), ["none"]):
            return ()
        return tuple(text(what, part) for part in separated(what, value, separator))

    return read


def maybe(read: Reader[T]) -> Reader[T | None]:
    """A reader that accepts None: a setting whose default is computed later."""
    return lambda what, value: None if value is None else read(what, value)


def separated(what: str, value: object, separator: str) -> list[object]:
    """Text taken apart at a separator ("" leaves it whole); a list as it is; a number alone.

    Raises UsageError for an empty or a very long list.
    """
    if isinstance(value, str):
        if len(value) > LONGEST_LIST:
            raise UsageError(f"{what} may have up to {LONGEST_LIST} characters, got {len(value)}")
        return [part.strip() for part in value.split(separator)] if separator else [value]
    if not isinstance(value, list | tuple):
        return [value]
    if not value:
        raise UsageError(f"{what} must not be an empty list")
    return list(value)


# From flags and files to settings ------------------------------------------------------------------


def from_flags(settings: type, given: Mapping[str, object]) -> dict[str, Any]:
    """The settings that flags gave, read: {"batch_size": 32}. `given` maps field names to text."""
    return {
        field.name: field.metadata["read"](flag(field.name), given[field.name])
        for field in dataclasses.fields(settings)
        if field.name in given
    }


def from_table(settings: type, table: Mapping[str, object], where: str) -> dict[str, Any]:
    """The settings that a TOML or JSON table gives, read. Keys may be written batch-size too.

    Raises UsageError for an unknown key (with the nearest one) and for a value that does not fit.
    """
    fields = {field.name: field for field in dataclasses.fields(settings)}
    values: dict[str, Any] = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in fields:
            raise UsageError(f"{where} has an unknown key {shown(key)}: {nearest(name, fields)}")
        if name in values:
            raise UsageError(f"{where} sets {name} twice, with - and with _")
        values[name] = fields[name].metadata["read"](f"{key} in {where}", value)
    return values


def from_toml(settings: type, file: str) -> dict[str, Any]:
    """The settings in a TOML file. Raises UsageError if it cannot be read or does not fit."""
    return from_table(settings, toml_table("config file", file), file)


def toml_table(what: str, file: str | Path) -> dict[str, object]:
    """What a TOML file holds. what: the kind of file, in words. Raises UsageError if it cannot be read."""
    try:
        if not Path(file).is_file():
            raise UsageError(f"there is no {what} {file}")
        return tomllib.loads(Path(file).read_bytes().decode())
    except UsageError:
        raise
    except (OSError, ValueError, RecursionError) as error:  # TOML's and UTF-8's are ValueErrors
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UsageError(f"the {what} {file} cannot be read: {reason}") from None
