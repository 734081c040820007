"""The folder of a study: finished networks are kept, also if the process is killed.

    OUT/study.json       the study with all defaults, and what must not change until it is finished
    OUT/blocks/*.npz     one file per finished stack of networks: every curve, as measured
    OUT/*.csv, table.md, figures/     made from the stacks, at any time, as often as wanted

A stack's file is written completely or not at all (atomic.py). To resume, the finished trials are read and
the others are trained. If the study was changed in between, it is refused, because one table would compare
trials of two studies. The number of seeds must not change either: adding seeds after seeing the p values
makes those p values wrong.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinydiv import __version__
from tinydiv.backend import Array
from tinydiv.errors import RunError, UsageError
from tinydiv.files import atomic, locking, npz, read
from tinydiv.optimizers import OPTIMIZERS
from tinydiv.settings import shown
from tinydiv.stats import Floats
from tinydiv.study.plan import shared
from tinydiv.study.running import Outcome
from tinydiv.study.specification import Study, plain
from tinydiv.study.stacks import Stack

STUDY_FILE = "study.json"
FORMAT = 2
FORMER = {
    "init": "he-normal",
    "optimizer": "sgd",
    "epochs": 5,
    "lr": {name: optimizer.default_lr for name, optimizer in OPTIMIZERS.items()},
}
"""The defaults of a study.json of format 1, for the keys that its [train] leaves out."""
OWN = ("init", "lr", "strength")
"""Keys of [train] in which the networks of one stack may differ."""
SAME = (
    ("backend", "another backend"),
    ("format", "another form of study.json"),
    ("tinydiv", "another version of tinydiv"),
    ("data", "other data"),
    ("files", "other technique files"),
)
"""Keys of study.json that must not change while a study is unfinished, and the words for a change."""


@dataclass(frozen=True)
class Curve:
    """What was measured of one network: values[name] (M,) at the moments step, epoch (M,), see Outcome."""

    step: Floats
    epoch: Floats
    values: Mapping[str, Floats]
    diverged_step: int
    diverged_layer: int
    facts: Mapping[str, object]

    @property
    def diverged(self) -> bool:
        """Whether this network diverged."""
        return self.diverged_step >= 0


class Store:
    """The folder of one study. curves: of finished networks, by trial key. damaged: files that are."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stacks = folder / "blocks"  # a name that must not change: older studies are still read
        self.curves: dict[str, Curve] = {}
        self.damaged: list[Path] = []

    # Beginning and resuming ----------------------------------------------------------------------

    def begin(
        self,
        study: Study,
        backend: str,
        data: Mapping[str, object],
        files: Mapping[str, str],
        resume: bool,
    ) -> bool:
        """Make the folder, or check that it holds this study. Returns whether a study is resumed.

        data: facts by set, files: digests of the user's own technique files. Raises UsageError if
        there is something else in the folder, or a study that differs from this one.
        """
        found = self.read_facts()
        if found is not None and not resume:
            raise UsageError(
                f"{self.folder} holds a study already: continue it with --resume, or choose another "
                "--out"
            )
        if found is None and self.folder.is_dir() and any(self.visible()):
            raise UsageError(
                f"{self.folder} is not empty, and holds no study: choose another --out"
            )
        facts = {
            "format": FORMAT,
            "tinydiv": __version__,
            "backend": backend,
            "data": plain(data),
            "files": dict(files),
            "fingerprint": study.fingerprint,
            "study": study.as_dict(),
        }
        if found is None:
            # This file first: a folder with other files and without it would be refused later.
            atomic.write_json(self.folder / STUDY_FILE, facts | {"sha256": digest(facts)})
        else:
            self._same(found, facts)
        try:
            self.stacks.mkdir(exist_ok=True)
        except OSError as error:
            raise RunError(f"cannot make {self.stacks}: {atomic.reason(error)}") from error
        atomic.sweep(self.folder)
        atomic.sweep(self.stacks)
        self.load(discard_damaged=True)
        return found is not None

    def read_facts(self) -> dict[str, Any] | None:
        """The content of study.json, None where there is none. Raises RunError if it is damaged."""
        path = self.folder / STUDY_FILE
        if not path.is_file():
            return None
        with read.reading(path, "the study cannot be resumed: choose another --out"):
            found = read.json_object(path)
            wanted = found.pop("sha256", None)
            if wanted != digest(found) and (wanted or found["format"] != 1):  # format 1 has none
                raise ValueError("its content does not fit the digest in it")
            return found

    def visible(self) -> Iterator[Path]:
        """The files in the folder, without the lock and the unfinished files of killed processes."""
        return (path for path in self.folder.iterdir() if not path.name.startswith("."))

    def _same(self, found: dict[str, object], now: dict[str, object]) -> None:
        """Raises UsageError unless the study in the folder is the one that is to be run."""
        where = difference(found.get("study"), plain(now["study"]), "")
        if where is not None:
            raise UsageError(
                f"{self.folder} was begun with another study: {where}. Give the study as it was "
                "then, or choose another --out"
            )
        for key, word in SAME:
            if found.get(key) != now[key]:
                raise UsageError(
                    f"{self.folder} was begun with {word}, {shown(found.get(key))}, than "
                    f"now, {shown(now[key])}: results of both must not be mixed; choose another --out"
                )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let no other process write into the same folder; the lock of a dead process is released."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"cannot write into {self.folder}: {atomic.reason(error)}") from error
        advice = "let it finish, or choose another --out (its tables so far: --tables)"
        with locking.locked(self.folder / ".lock", advice):
            yield

    # Stacks --------------------------------------------------------------------------------------

    def keep(self, stack: Stack, outcome: Outcome) -> None:
        """Write a finished stack. Raises RunError if that fails; the stack is then trained again."""
        arrays = {
            "step": outcome.step,
            "epoch": outcome.epoch,
            "diverged_step": outcome.diverged_step,
            "diverged_layer": outcome.diverged_layer,
            **{f"value.{name}": value for name, value in outcome.values.items()},
        }
        about = {
            "runs": [trial.key for trial in stack.trials],
            "own": [
                {"seed": t.seed, **{key: getattr(t.training, key) for key in OWN}}
                for t in stack.trials
            ],
            "shared": plain(shared(stack.trials[0].training)),
            "validation": stack.trials[0].validation,
            "values": sorted(outcome.values),
            "facts": outcome.facts,
        }
        try:
            npz.write(self.stacks / f"{stack.key}.npz", arrays, about)
        except RunError as error:
            raise RunError(
                f"{error}; {len(self.curves)} networks are kept: free some space and continue with --resume"
            ) from error
        self._take(arrays, about)

    def load(self, discard_damaged: bool = False) -> None:
        """Read every finished stack. Damaged files are listed in `damaged`, and removed if wanted."""
        for path in sorted(self.stacks.glob("*.npz")):
            try:
                with read.reading(path, "its networks must be trained again"):
                    self._take(*read.npz_arrays(path))
            except read.DamagedError:
                self.damaged.append(path)
                if discard_damaged:
                    with suppress(OSError):
                        path.unlink()

    def _take(self, arrays: Mapping[str, Array], about: Mapping[str, Any]) -> None:
        """Add the curves of a stack to `curves`. Raises an error, before any is added, if something is
        wrong with it."""
        step, epoch = np.asarray(arrays["step"]), np.asarray(arrays["epoch"])
        step_of, layer_of = arrays["diverged_step"], arrays["diverged_layer"]
        values = {name: v for name, v in arrays.items() if name.startswith("value.")}
        keys, facts = list(about["runs"]), dict(about["facts"])
        shapes = {v.shape for v in values.values()}
        if (
            shapes != {(len(step), len(keys))}
            or step.shape != epoch.shape
            or {step_of.shape, layer_of.shape} != {(len(keys),)}
            or {a.dtype.kind for a in (step, epoch, step_of, layer_of)} != {"i"}
            or {v.dtype.kind for v in values.values()} != {"f"}
            or sorted(about.get("values", [])) not in ([], sorted(n[6:] for n in values))
            or not {"value.test_accuracy", "value.test_loss"} <= set(values)
            or not len(step)
            or float(facts["networks"]) < 1
        ):
            raise ValueError("its arrays do not belong together")
        self.curves |= {
            key: Curve(
                step=step,
                epoch=epoch,
                values={name.removeprefix("value."): v[:, r] for name, v in values.items()},
                diverged_step=int(step_of[r]),
                diverged_layer=int(layer_of[r]),
                facts=facts,
            )
            for r, key in enumerate(map(str, keys))
        }


def digest(facts: Mapping[str, object]) -> str:
    """The SHA-256 of the content of study.json, or of costs.json."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def difference(then: object, now: object, where: str) -> str | None:
    """The first place where two pieces of plain data differ, in words; None if they do not."""
    if isinstance(then, dict) and isinstance(now, dict):
        for key in dict.fromkeys([*then, *now]):
            place = f"{where}.{key}" if where else str(key)
            if key not in now or key not in then:
                return f"{place} is {'gone' if key in then else 'new'}"
            found = difference(then[key], now[key], place)
            if found is not None:
                return found
        return None
    if isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        for i, (a, b) in enumerate(zip(then, now, strict=True)):
            name = a.get("name") if isinstance(a, dict) else None
            found = difference(a, b, f"{where}[{name or i}]")
            if found is not None:
                return found
        return None
    if then == now and type(then) is type(now):
        return None
    if isinstance(then, list) and isinstance(now, list):
        return f"{where} had {len(then)} entries then and has {len(now)} now"
    return f"{where} was {shown(then)} then and is {shown(now)} now"
