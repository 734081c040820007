"""Users' technique files that specs name: their paths, digests that detect a change, and who may name them.

A technique file is a program, and to import it is to run it. A spec that the user typed is a command. A
spec that was read from a file (a run's config.json, a study, settings, a model) may have been written by
somebody else: the code that it names is run only if the user typed its name too, or allowed it.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from tinydiv.errors import UsageError
from tinydiv.settings import parse_spec

FLAG = "--allow-code"


def paths(specs: Sequence[str]) -> list[str]:
    """The files that technique specs name, each once: ["mine.py"] for ["decov", "mine.py:Mine"]."""
    files = [parse_spec(spec).file for spec in specs]
    return list(dict.fromkeys(file for file in files if file is not None))


def digest(file: str | Path) -> str:
    """The SHA-256 of a file's content."""
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


def digests(specs: Sequence[str]) -> dict[str, str]:
    """The digest of each file that the specs name."""
    return {file: digest(file) for file in paths(specs)}


def refuse_code(specs: Sequence[str], typed: Sequence[str], what: str, how: str = FLAG) -> None:
    """Raise UsageError if specs that were read from a file name code that the user did not.

    typed: the specs on the command line. what: which file the specs are from. how: what gives permission.
    """
    mine = {Path(file).resolve() for file in paths(typed)}
    if code := [file for file in paths(specs) if Path(file).resolve() not in mine]:
        raise UsageError(
            f"{what} names the code in {', '.join(code)}, which is run only with your permission: {how}"
        )


def refuse_changes(before: Mapping[str, str | None], what: str) -> None:
    """Raise UsageError if a file is missing or has changed. what: what was made with them.

    A digest may be the beginning of one; None (written before digests were kept) matches every content.
    """
    for file, wanted in before.items():
        if not Path(file).is_file():
            raise UsageError(f"{what} needs {file}, which is missing")
        if wanted is not None and digest(file)[: len(wanted)] != wanted:
            raise UsageError(f"{file} was changed since {what} was made")
