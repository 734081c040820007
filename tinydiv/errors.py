"""The two kinds of failure that a user meets, how each ends a command, and how text gets to a terminal.

A UsageError is a mistake in the request (exit code 2); a RunError is something that the
machine could not do (exit code 1). Both carry one clear sentence, and no command shows a traceback
for either.
"""

import re
import sys
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from difflib import get_close_matches
from typing import TextIO

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Characters that control a terminal, or change the direction of text."""

FEW = 10
"""The most names that a message lists."""
LISTS = {"technique": "techniques", "initializer": "initializers", "metric": "metrics"}
LISTS |= {"data set": "data"}
"""Kinds with more names than that, as python -m tinydiv.train --list has them."""


class UsageError(ValueError):
    """The request is wrong: the message names what was wrong and what is allowed."""


class RunError(RuntimeError):
    """The request was right but failed here: the message names the cause and what to do."""


def check_whole(what: str, value: object, low: int = 1) -> int:
    """A whole number from low up, of any kind of number: 2, 2.0, np.int64(2). Raises UsageError."""
    try:
        number = int(value)  # type: ignore[call-overload]
    except (TypeError, ValueError, OverflowError):
        number = None
    if isinstance(value, str | bool) or number is None or number != value or number < low:
        raise UsageError(f"{what} must be a whole number from {low} up, got {value!r}")
    return int(number)


def nearest(name: str, allowed: Iterable[str], place: str = "") -> str:
    """The end of an error message: the closest allowed spelling, and what is allowed.

    place: what shows all names, if there are more than FEW; without it, the first of them are listed.

    >>> nearest("rleu", ["relu", "tanh"])
    "did you mean 'relu'? Allowed: relu, tanh"
    >>> nearest("zzz", ["relu", "tanh"])
    'allowed: relu, tanh'
    """
    names = list(dict.fromkeys(allowed))  # a name of two kinds is listed once
    close, more = " or ".join(map(repr, near(name, names))), len(names) - FEW
    if place and more > 0:
        return f"did you mean {close}? " * bool(close) + f"{place} shows all {len(names)}"
    listed = ", ".join(names[:FEW]) + (f", and {more} more" if more > 0 else "")
    return f"did you mean {close}? Allowed: {listed}" if close else f"allowed: {listed}"


def near(name: str, names: Sequence[str]) -> list[str]:
    """The first name that begins with this one, and the one with the most similar spelling.

    Any word of a name may match, its first word before others: "he" finds he-normal, "energy" finds
    hyperspherical-energy. At least two letters are needed. Upper and lower case count as the same.
    """
    wanted = name.strip().lower()
    words = {known: known.lower().replace("_", "-") for known in names}
    start = wanted.replace("_", "-")
    longer = [known for known, word in words.items() if word.startswith(start)]
    longer += [known for known, word in words.items() if f"-{start}" in word]
    spelt = {known.lower(): known for known in names}
    alike = [spelt[word] for word in get_close_matches(wanted, spelt, n=1, cutoff=0.5)]
    return list(dict.fromkeys((longer[:1] if len(start) > 1 else []) + alike))


def unknown(kind: str, name: str, allowed: Iterable[str], where: str = "") -> UsageError:
    """The error for a name that does not exist: unknown("activation", "rleu", [...]).

    where: the place of the name, in words, " (in ...)".
    """
    place = f"python -m tinydiv.train --list {LISTS[kind]}" if kind in LISTS else ""
    return UsageError(f"there is no {kind} called {name!r}{where}: {nearest(name, allowed, place)}")


def check_known(kind: str, name: str, allowed: Collection[str]) -> None:
    """Raise UsageError for a name that is none of those that exist."""
    if name not in allowed:
        raise unknown(kind, name, allowed)


def visible(text: str) -> str:
    """Text with its control characters written as escapes: the name of a file may hold any."""
    return CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


def printable(text: str, stream: TextIO | None) -> str:
    """The same, in the characters that a stream can take."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return visible(text).encode(encoding, "backslashreplace").decode(encoding)


def note(text: str) -> None:
    """One line on stderr."""
    with suppress(OSError, ValueError):
        print(printable(text, sys.stderr), file=sys.stderr, flush=True)
