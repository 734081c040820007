"""Long comparisons in pieces: each is computed once and kept, so an interrupted one can continue.

folder/config.json      the settings; a comparison with others is refused in the same folder
folder/pieces/NAME.npz  the results of one piece
"""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinydiv.errors import RunError, UsageError
from tinydiv.files import atomic
from tinydiv.files.read import json_object, reading
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


def open_folder(folder: Path, facts: Mapping[str, object]) -> None:
    """Make a folder for a comparison, or continue in one that was begun with the same settings.

    Raises UsageError if the folder holds something else, RunError if it cannot be made.
    """
    path = folder / CONFIG
    facts = json.loads(json.dumps(facts))
    try:
        if path.is_file():
            with reading(path, "correct it, or name another --out"):
                before = json_object(path)
            if "comparison" not in before:
                raise UsageError(f"--out {folder} holds other files: name one that is new or empty")
            for key in sorted({*before, *facts}):
                if before.get(key) != facts.get(key):
                    raise UsageError(
                        f"{folder} was begun with {key} {shown(before.get(key))}, not "
                        f"{shown(facts.get(key))}: name another --out, or the same settings"
                    )
        elif folder.is_dir() and any(folder.iterdir()):
            raise UsageError(f"--out {folder} holds other files: name one that is new or empty")
        (folder / "pieces").mkdir(parents=True, exist_ok=True)
        atomic.sweep(folder / "pieces")
    except OSError as error:
        raise RunError(f"{folder} cannot be used: {error}") from error
    atomic.write_json(path, facts)


def path_of(folder: Path, piece: Piece) -> Path:
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
    left = [piece for piece in pieces if not path_of(folder, piece).is_file()]
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
    with atomic.replacing(path_of(folder, piece)) as part, open(part, "wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def read(folder: Path, piece: Piece) -> Arrays:
    """The results of a piece. Raises RunError if they cannot be read."""
    path = path_of(folder, piece)
    with (
        reading(path, "delete it, and the same command computes it again"),
        path.open("rb") as file,
        np.load(file, allow_pickle=False) as arrays,
    ):
        return {key: arrays[key] for key in arrays.files}
