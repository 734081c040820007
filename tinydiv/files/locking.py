"""One process at a time: a lock on a file, which the system releases when its holder ends."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tinydiv.errors import RunError, UsageError
from tinydiv.files import atomic


@contextmanager
def locked(file: Path, advice: str) -> Iterator[None]:
    """Keep other processes out of the folder in which `file` lies, for as long as the block runs.

    The file stays afterwards: if it were removed, two other processes could lock two different files.
    Raises UsageError, ending with the advice, if another process holds it, RunError if it cannot be
    opened.
    """
    try:
        held = open(file, "a+")  # noqa: SIM115
    except OSError as error:
        raise RunError(f"cannot write into {file.parent}: {atomic.reason(error)}") from error
    with held:
        if not take(held.fileno()):
            raise UsageError(f"another process is at work in {file.parent}: {advice}")
        yield


def take(file: int) -> bool:
    """Lock an open file for this process, without waiting; False if another one has it."""
    try:
        if os.name == "nt":  # pragma: no cover
            import msvcrt

            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
