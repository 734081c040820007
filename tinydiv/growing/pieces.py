"""Long comparisons in pieces: each is computed once, kept, and not computed again after a stop.

folder/config.json      what is compared; another comparison is refused in the same folder
folder/pieces/NAME.npz  what came of one piece
"""

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from tinydiv.errors import RunError, UsageError
from tinydiv.files import atomic
from tinydiv.settings import shown

Arrays = dict[str, np.ndarray]
Work = Callable[..., Arrays]

CONFIG = "config.json"


@dataclass(frozen=True)
class Piece:
    """One piece of work: its name, and what the function that does it is called with."""

    name: str
    work: Work
    arguments: tuple[object, ...]


def open_folder(folder: Path, facts: Mapping[str, object]) -> None:
    """Make a folder for a comparison, or go on in one that was begun with the same settings.

    Raises UsageError if the folder holds something else, RunError if it cannot be made.
    """
    path = folder / CONFIG
    facts = json.loads(json.dumps(facts))
    try:
        if path.is_file():
            before = json.loads(path.read_bytes())
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
    except (OSError, ValueError) as error:
        if isinstance(error, UsageError):
            raise
        raise RunError(f"{folder} cannot be used: {error}") from error
    atomic.write_json(path, facts)


def path_of(folder: Path, piece: Piece) -> Path:
    return folder / "pieces" / f"{piece.name}.npz"


def run(
    folder: Path,
    pieces: Sequence[Piece],
    processes: int = 1,
    on_piece: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Compute the pieces that are missing, some at a time. on_piece(done, total) is called after each."""
    left = [piece for piece in pieces if not path_of(folder, piece).is_file()]
    done = len(pieces) - len(left)
    on_piece(done, len(pieces))
    if processes == 1 or len(left) < 2:
        for piece in left:
            keep(folder, piece, piece.work(*piece.arguments))
            done += 1
            on_piece(done, len(pieces))
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(piece.work, *piece.arguments): piece for piece in left}
        try:
            for future in as_completed(waiting):
                keep(folder, waiting[future], future.result())
                done += 1
                on_piece(done, len(pieces))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def keep(folder: Path, piece: Piece, arrays: Arrays) -> None:
    with atomic.replacing(path_of(folder, piece)) as part, open(part, "wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def read(folder: Path, piece: Piece) -> Arrays:
    """What came of a piece. Raises RunError if it cannot be read."""
    try:
        with np.load(path_of(folder, piece), allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except (OSError, ValueError, KeyError) as error:
        raise RunError(f"{path_of(folder, piece)} cannot be read: {error}") from error
