"""Users' technique files that specs name: their paths, and digests that detect a change."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from tinydiv.errors import UsageError
from tinydiv.settings import split


def paths(specs: Sequence[str]) -> list[str]:
    """The files that technique specs name, each once: ["mine.py"] for ["decov", "mine.py:Mine"]."""
    files = [split(spec).file for spec in specs]
    return list(dict.fromkeys(file for file in files if file is not None))


def digest(file: str | Path) -> str:
    """The SHA-256 of a file's content."""
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


def digests(specs: Sequence[str]) -> dict[str, str]:
    """The digest of each file that the specs name."""
    return {file: digest(file) for file in paths(specs)}


def refuse_changes(before: Mapping[str, str | None], what: str) -> None:
    """Raise UsageError if a file is missing or has changed. what: what was made with them.

    A digest of None (written before digests were kept) matches every content.
    """
    for file, wanted in before.items():
        if not Path(file).is_file():
            raise UsageError(f"{what} needs {file}, which is missing")
        if wanted is not None and digest(file) != wanted:
            raise UsageError(f"{file} was changed since {what} was made")
