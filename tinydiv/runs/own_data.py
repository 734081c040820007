"""The user's own data set, from a file or a folder that --data names.

    mine.npz                    arrays train_x, train_y, test_x, test_y; or X, y
    table.csv:target=species    a column per input, and one with the targets, named in the first line
    folder                      the four IDX files of MNIST-like images, plain or .gz

Where there is no test part, a fifth of the samples of each class is drawn as one: test=0.1 changes that
share, seed=1 the draw. weights=NAME names an array, or a column, with how much each training sample
counts in the loss: mine.npz:weights=w, table.csv:target=species,weights=w. own_files.py reads them.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path

from tinydiv import data
from tinydiv.data.catalogue import FASHION_MINI, IdxFile
from tinydiv.data.files import existing
from tinydiv.errors import UsageError, check_known
from tinydiv.settings import number, whole

KEYS = ("target", "weights", "test", "seed")
TEST_SHARE = 0.2


@dataclass(frozen=True)
class OwnData:
    """What a spec names: PATH:target=COLUMN,weights=NAME,test=SHARE,seed=S."""

    path: Path
    target: str | None = None
    test: float | None = None
    seed: int = 0
    weights: str | None = None

    @classmethod
    def named(cls, spec: str) -> "OwnData | None":
        """Read a spec; None if it names a built-in set. Raises UsageError if it is wrong."""
        place, colon, rest = spec.rpartition(":")
        if not colon or "=" not in rest:
            place, rest = spec, ""
        by_path = os.sep in place or "/" in place or place.lower().endswith((".npz", ".csv"))
        if place in data.NAMES or not (by_path or os.path.isdir(place)):
            return None
        path = Path(os.path.abspath(os.path.expanduser(place)))
        if not os.path.exists(path):
            raise UsageError(f"there is no file or folder {place}")
        given = dict(part.partition("=")[::2] for part in rest.split(",") if part)
        for key in given:
            check_known(f"setting of the data {place}", key, KEYS)
        return cls(
            path,
            given.get("target"),
            number(0.001, 0.999)("test", given["test"]) if "test" in given else None,
            whole(0, 2**63 - 1)("seed", given.get("seed", 0)),
            given.get("weights"),
        )

    @property
    def files(self) -> list[Path]:
        """The files that are read."""
        if self.path.is_dir():
            return [path for path in idx_paths(self.path).values() if path is not None]
        return [self.path]

    def spec(self, test: float | None) -> str:
        """The spec with a full path and with what was drawn, valid in every folder."""
        drawn = {} if test is None else {"test": f"{test:g}", "seed": str(self.seed)}
        named = {"target": self.target, "weights": self.weights}
        settings = {**{key: name for key, name in named.items() if name}, **drawn}
        listed = ",".join(f"{key}={value}" for key, value in settings.items())
        return f"{self.path}:{listed}" if listed else str(self.path)

    def agrees(self, kept: str) -> bool:
        """Whether a run's config names this set; there the test share and its seed are written out."""
        other = OwnData.named(kept)
        if other is not None and self.test is None and other.test == TEST_SHARE:
            return replace(self, test=TEST_SHARE) == other
        return self == other


def idx_paths(folder: Path) -> dict[str, Path | None]:
    """The four IDX files in a folder, under any of their usual names."""
    names = [file.name for file in FASHION_MINI.files]
    places = (folder, folder / "raw")
    found = {
        name: [existing(place, IdxFile(name, (0,) * name.count("3"), "")) for place in places]
        for name in names
    }
    return {name: next(filter(None, paths), None) for name, paths in found.items()}
