"""Files that are complete or absent: written under another name in the same folder, then renamed.

A reader of the folder never sees half a file, whatever happens to the writer: Ctrl-C, a kill, a full
disk, a power cut. A killed writer leaves a file called .PID.part.NAME, which `sweep` removes.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tinydiv.errors import RunError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives the path of a file to write; when that is done, it takes the place of `path`.

    Raises RunError with the cause if that fails (a full disk, no permission); `path` is then unchanged.
    """
    # In the same folder, because renaming does not work between disks:
    part = path.with_name(f".{os.getpid()}.part.{path.name}")
    try:
        yield part
        with open(part, "rb+") as file:
            os.fsync(
                file.fileno()
            )  # on the disk first: a power cut cannot leave an incomplete file
        os.replace(part, path)
    except OSError as error:
        raise RunError(f"cannot write {path}: {reason(error)}") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Put `content` at `path`, replacing what was there. Raises RunError as `replacing` does."""
    with replacing(path) as part:
        part.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """The same for text: UTF-8, lines end as they are written."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: object) -> None:
    """The same for JSON that a person may read: indented, strict (no NaN)."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def sweep(folder: Path) -> None:
    """Remove the files that killed writers left in a folder."""
    for part in folder.glob(".*.part.*"):
        with suppress(OSError):
            part.unlink()


def reason(error: OSError) -> str:
    """The system's message, without a capital: "no space left on device"."""
    message = error.strerror or str(error) or type(error).__name__
    return message[:1].lower() + message[1:]
