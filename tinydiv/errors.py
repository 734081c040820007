"""The two kinds of failure that a user meets, and how each ends a command.

A UsageError is a mistake in what was asked (exit code 2); a RunError is something that the
machine could not do (exit code 1). Both carry one clear sentence, and no command shows a traceback
for either.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class UsageError(ValueError):
    """What was asked for cannot be right: says what was wrong and what is allowed."""


class RunError(RuntimeError):
    """The request was fine but could not be carried out here: says why and what to do."""


def nearest(name: str, allowed: Iterable[str]) -> str:
    """A half sentence that names the closest allowed spelling, or lists what is allowed.

    >>> nearest("rleu", ["relu", "tanh"])
    "did you mean 'relu'? Allowed: relu, tanh"
    >>> nearest("zzz", ["relu", "tanh"])
    'allowed: relu, tanh'
    """
    names = list(allowed)
    close = get_close_matches(name, names, n=1, cutoff=0.5)
    listed = ", ".join(names)
    return f"did you mean {close[0]!r}? Allowed: {listed}" if close else f"allowed: {listed}"


def unknown(kind: str, name: str, allowed: Iterable[str]) -> UsageError:
    """The error for a name that does not exist: unknown("activation", "rleu", [...])."""
    return UsageError(f"there is no {kind} called {name!r}: {nearest(name, allowed)}")
