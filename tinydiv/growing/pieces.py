"""Long comparisons in pieces: each is computed once and kept, so an interrupted one can continue.

folder/config.json      the settings; a comparison with others is refused in the same folder
folder/pieces/NAME.npz  the results of one piece
"""

import json
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinydiv.errors import RunError, UsageError, note
from tinydiv.files import atomic, locking, npz
from tinydiv.files import read as reader
from tinydiv.runs.pool import SERIAL, finish, processes
from tinydiv.runs.processes import Interrupt
from tinydiv.settings import shown

Arrays = dict[str, np.ndarray]
Work = Callable[..., Arrays]

CONFIG = "config.json"


@dataclass(frozen=True)
class Piece:
    """One piece of work: its name, and the arguments of the function that computes it."""

    name: str
    work: Work
    arguments: tuple[object, ...]


@contextmanager
def opened(folder: Path, facts: Mapping[str, object]) -> Iterator[None]:
    """Make a folder for a comparison, or continue in one that was begun with the same settings; other
    processes are kept out of it until the block ends.

    Raises UsageError if the folder holds something else or another process is at work in it, RunError if
    it cannot be made or its settings are damaged.
    """
    facts = json.loads(json.dumps(facts))
    begun(folder)  # before anything is written: a folder with other files is left alone
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{folder} cannot be used: {atomic.reason(error)}") from error
    with locking.locked(folder / ".lock", "let it finish, or choose another --out"):
        before = begun(folder) or facts
        for key in sorted({*before, *facts}):
            if before.get(key) != facts.get(key):
                raise UsageError(
                    f"{folder} was begun with {key} {shown(before.get(key))}, not "
                    f"{shown(facts.get(key))}: name another --out, or the same settings"
                )
        atomic.write_json(folder / CONFIG, facts)
        (folder / "pieces").mkdir(exist_ok=True)
        atomic.sweep(folder)
        atomic.sweep(folder / "pieces")
        yield


def begun(folder: Path) -> dict[str, object] | None:
    """The settings of the comparison in a folder, None where none was begun.

    Raises UsageError if the folder holds other files, RunError if the settings are damaged.
    """
    path = folder / CONFIG
    with reader.reading(path, "correct it, or name another --out"):
        facts = reader.json_object(path) if path.is_file() else None
        files = sorted(folder.iterdir()) if folder.is_dir() else []
    if "comparison" not in (facts or {}) and any(not file.name.startswith(".") for file in files):
        raise UsageError(f"--out {folder} holds other files: name one that is new or empty")
    return facts


def path_of(folder: Path, piece: Piece) -> Path:
    """The file of a piece's results."""
    return folder / "pieces" / f"{piece.name}.npz"


def run(
    folder: Path,
    pieces: Sequence[Piece],
    workers: int = 1,
    on_piece: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Compute the pieces that are missing, some at a time. on_piece(done, total) is called after each.

    Raises KeyboardInterrupt with a sentence after Ctrl-C, and RunError for a process that died.
    """
    left = [piece for piece in pieces if not is_kept(folder, piece)]
    done, total = len(pieces) - len(left), len(pieces)
    on_piece(done, total)

    def finished(piece: Piece, arrays: Arrays) -> None:
        nonlocal done
        keep(folder, piece, arrays)
        done += 1
        on_piece(done, total)

    alone = workers == 1 or len(left) < 2
    when = "after this piece" if alone else "when nothing is half done"
    go_on = f"pieces are kept in {folder}: give the same command again to go on"
    with nullcontext(SERIAL) if alone else processes(workers) as pool, Interrupt(when) as interrupt:
        try:
            finish(
                *(left, lambda piece: (piece.work, *piece.arguments), pool, finished, interrupt),
                died="a worker died (killed, or too little memory?); finished "
                + go_on
                + ", perhaps with fewer --workers",
            )
        except KeyboardInterrupt as stop:
            why = str(stop) or "stopped"
            raise KeyboardInterrupt(f"{why}: {done} of {total} {go_on}") from None


def keep(folder: Path, piece: Piece, arrays: Arrays) -> None:
    """Write the results of a piece; an interruption leaves the file as it was."""
    npz.put(path_of(folder, piece), arrays, zipfile.ZIP_DEFLATED)


def is_kept(folder: Path, piece: Piece) -> bool:
    """Whether the results of a piece are there and can be read."""
    try:
        return path_of(folder, piece).is_file() and bool(read(folder, piece))
    except reader.DamagedError:
        note(f"note: {path_of(folder, piece)} was damaged: it is computed again")
        return False


def read(folder: Path, piece: Piece) -> Arrays:
    """The results of a piece. Raises RunError if they cannot be read, DamagedError if they are damaged."""
    path = path_of(folder, piece)
    with reader.reading(path, "give the same command again: it is computed again"):
        return reader.packed_arrays(path)
