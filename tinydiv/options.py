"""Settings of a command, each said once: its default, how it is read, and one line of help.

    @dataclass(frozen=True)
    class Config:
        epochs: int = option(10, whole(0, 1_000_000), "N", "passes over the training set")

The same reader takes the text of a flag (--epochs 10) and the value of a TOML or JSON key (epochs = 10),
so both have the same bounds and the same sentences. Nothing here imports NumPy: --help is quick.
"""

import dataclasses
import tomllib
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import TypeAlias, TypeVar

from tinydiv.errors import UsageError, nearest

T = TypeVar("T")
Reader: TypeAlias = Callable[[str, object], T]
"""(what is read, as the sentence names it; the value) -> the value in its type, or UsageError"""

LONGEST_TEXT = 1000
LONGEST_LIST = 1_000_000


def option(default: T, read: Reader[T], metavar: str, help: str, *, repeat: bool = False) -> T:
    """A field of a settings dataclass. repeat: the flag may be given several times."""
    metadata = {"read": read, "metavar": metavar, "help": help, "repeat": repeat}
    field: T = dataclasses.field(default=default, metadata=metadata)
    return field


def flag(name: str) -> str:
    """The flag of a field: batch_size -> --batch-size."""
    return "--" + name.replace("_", "-")


def shown(value: object) -> str:
    """A value as a sentence quotes it: never long, never with control characters."""
    quoted = repr(value)
    return quoted if len(quoted) <= 60 else quoted[:57] + "..."


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
        if (
            isinstance(value, bool) or found is None or not low <= found <= high
        ):  # so that nan fails
            raise UsageError(
                f"{what} must be a number from {low:,g} to {high:,g}, got {shown(value)}"
            )
        return found

    return read


def per_network(low: float, high: float) -> Reader[tuple[float, ...]]:
    """One number, or one per network: 0.1 or 0.1/0.2/0.3 as text, a number or a list in a file."""
    one = number(low, high)

    def read(what: str, value: object) -> tuple[float, ...]:
        parts = listed(what, value, "/")
        return tuple(one(what, part) for part in parts)

    return read


def sizes(most: int, largest: int) -> Reader[tuple[int, ...]]:
    """Whole numbers separated by commas, or a list of them, or the word none."""

    def read(what: str, value: object) -> tuple[int, ...]:
        if value in ("none", [], ()):
            return ()
        parts = listed(what, value, ",")
        if len(parts) > most:
            raise UsageError(f"{what} may have up to {most} numbers, got {len(parts)}")
        return tuple(whole(1, largest)(f"every number of {what}", part) for part in parts)

    return read


def words(separator: str) -> Reader[tuple[str, ...]]:
    """Texts with a separator between them, or a list of texts, or the word none."""

    def read(what: str, value: object) -> tuple[str, ...]:
        if value in ("none", [], (), ["none"]):
            return ()
        return tuple(text(what, part) for part in listed(what, value, separator))

    return read


def maybe(read: Reader[T]) -> Reader[T | None]:
    """A reader that lets None pass: a setting whose default is found out later."""
    return lambda what, value: None if value is None else read(what, value)


def listed(what: str, value: object, separator: str) -> list[object]:
    """Text taken apart at a separator ("" leaves it whole); a list as it is; a number alone."""
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


def made(settings: type[T], values: Mapping[str, object]) -> T:
    """The settings object with some fields set from values that were read."""
    make: Callable[..., T] = settings
    return make(**values)


def from_flags(settings: type, given: Mapping[str, object]) -> dict[str, object]:
    """The settings that flags gave, read: {"batch_size": 32}. `given` maps field names to text."""
    return {
        field.name: field.metadata["read"](flag(field.name), given[field.name])
        for field in _fields(settings)
        if field.name in given
    }


def from_table(settings: type, table: Mapping[str, object], where: str) -> dict[str, object]:
    """The settings that a TOML or JSON table gives, read. Keys may be written batch-size too.

    Raises UsageError for an unknown key (with the nearest one) and for a value that does not fit.
    """
    fields = {field.name: field for field in _fields(settings)}
    values: dict[str, object] = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in fields:
            raise UsageError(f"{where} has an unknown key {shown(key)}: {nearest(name, fields)}")
        if name in values:
            raise UsageError(f"{where} sets {name} twice, with - and with _")
        values[name] = fields[name].metadata["read"](f"{key} in {where}", value)
    return values


def from_toml(settings: type, file: str) -> dict[str, object]:
    """The settings in a TOML file. Raises UsageError if it cannot be read or does not fit."""
    try:
        if not Path(file).is_file():
            raise UsageError(f"there is no config file {file}")
        table = tomllib.loads(Path(file).read_bytes().decode())
    except UsageError:
        raise
    except (OSError, ValueError, RecursionError) as error:  # TOML's and UTF-8's are ValueErrors
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UsageError(f"the config file {file} cannot be read: {said}") from None
    return from_table(settings, table, file)


def _fields(settings: type) -> tuple[dataclasses.Field[object], ...]:
    return dataclasses.fields(settings)
