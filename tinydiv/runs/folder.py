"""The folder of a training run, from which it can be resumed.

    runs/20261121-143015-3f2a/
        config.json       every setting, and the environment that results may depend on
        checkpoint.npz    the state of the run (checkpoint.py): --resume continues from it
        metrics.csv       one row per epoch (or moment, --metrics-every) and network
        model.npz         the trained network (files/model.py): tinydiv.load reads it
        picture.png       learning curve, neurons' weights, their similarity
        confusion.png     which class is predicted as which, on the test part
        neurons.gif       the hidden neurons while they learn, and frames.npz: with --animate
        neurons.png       the same at chosen epochs, and snapshots.npz: with --snapshots

Every file is written completely or not at all, and a folder holds one run: a folder with other files in it
is refused.
"""

import os
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

from tinydiv.errors import RunError, UsageError, note
from tinydiv.files import atomic, locking, read, table, technique_files
from tinydiv.loop import Record
from tinydiv.runs import checkpoint
from tinydiv.runs.build import Run, build, with_full_path
from tinydiv.runs.config import TrainConfig
from tinydiv.runs.environment import environment
from tinydiv.runs.own_data import OwnData
from tinydiv.settings import from_table
from tinydiv.techniques import layers_of

CONFIG = "config.json"
LOCK = ".lock"
METRICS = "metrics.csv"
PICTURE = "picture.png"
CONFUSION = "confusion.png"
ANIMATION = "neurons.gif"
SNAPSHOTS = "neurons.png"


def make_folder(out: str | None) -> Path:
    """An empty folder for a run: the given one, or a new one under runs/.

    Raises UsageError if it holds something already, RunError if it cannot be made.
    """
    try:
        folder = new_folder() if out is None else Path(out)
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"--out {folder} is a file: name a folder that is new or empty")
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            again = (folder / CONFIG).is_file()
            hint = f", or go on with that run by --resume {folder}" if again else ""
            raise UsageError(f"--out {folder} is not empty: name one that is new or empty{hint}")
        return folder
    except OSError as error:
        raise RunError(f"cannot make the folder {out or 'runs'}: {atomic.reason(error)}") from error


def new_folder() -> Path:
    """A folder under runs/ that no other run has, not even one begun in the same second."""
    Path("runs").mkdir(exist_ok=True)
    while True:
        folder = Path("runs", f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}")
        with suppress(FileExistsError):
            folder.mkdir()
            return folder


def begin(out: str | None, run: Run) -> Path:
    """Make the run's folder, with config.json in it. Raises what make_folder raises."""
    made = out is None or not os.path.isdir(out)
    folder = make_folder(out)
    facts = {
        "config": asdict(run.config),
        "environment": environment(),
        "own_files": technique_files.digests(run.config.technique) | data_digests(run.config),
    }
    try:
        atomic.write_json(folder / CONFIG, facts)
    except RunError:
        abandon(folder, made)
        raise
    return folder


def data_digests(config: TrainConfig) -> dict[str, str]:
    """The files of the user's own data, each with its digest; none for a built-in set."""
    data = OwnData.named(config.data)
    return {} if data is None else {str(file): technique_files.digest(file) for file in data.files}


def abandon(folder: Path, made: bool) -> None:
    """Empty a folder again if its run failed before its first checkpoint, and remove it if we made it."""
    if not (folder / checkpoint.NAME).is_file():
        with suppress(OSError):
            for name in (CONFIG, LOCK):
                (folder / name).unlink(missing_ok=True)
            if made:
                folder.rmdir()


def save_progress(folder: Path, run: Run) -> None:
    """Write checkpoint.npz, and metrics.csv with the epochs so far."""
    checkpoint.save_checkpoint(folder / checkpoint.NAME, run.standing, asdict(run.config))
    atomic.write_text(folder / METRICS, metrics_csv(run.records))


def save_model(folder: Path, run: Run) -> None:
    """Write model.npz, when the last epoch is over."""
    from tinydiv.files import model  # not needed before

    layer_specs = [spec for spec in run.config.technique if layers_of([spec])]
    model.save_model(folder / model.NAME, run.net, run.data.dataset, layer_specs)


def metrics_csv(records: Sequence[Record]) -> str:
    """One row per moment and network; empty where there is no number (a network that diverged).

    A moment is the end of an epoch, or one within it at which only diversity was measured.
    """
    rows = [row for record in records for row in (*record.between, record.flat())]
    columns = list(dict.fromkeys(key for record in records for key in record.flat()))
    return table.as_csv(
        {"network": network, **{key: of_network(row.get(key), network) for key in columns}}
        for row in rows
        for network in range(len(records[0].train_loss))
    )


def of_network(value: float | list[float] | None, network: int) -> float | None:
    """The epoch's number, or the network's."""
    return value[network] if isinstance(value, list) else value


def replace_given(config: TrainConfig, given: dict[str, Any]) -> TrainConfig:
    """A run's settings with those that a command line names, written as config.json writes them."""
    wanted = TrainConfig(**asdict(config) | given)
    data = OwnData.named(wanted.data) if "data" in given else None
    if data is not None and data.agrees(config.data):
        wanted = replace(wanted, data=config.data)
    return replace(wanted, technique=tuple(map(with_full_path, wanted.technique)))


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from resuming the same run.

    The lock is a file of its own, because config.json is replaced when a run gets more epochs.
    Raises UsageError if the folder holds no run or another process uses it.
    """
    settings_file(folder)
    with locking.locked(folder / LOCK, "let it finish, or stop it first"):
        yield


def settings_file(folder: Path) -> Path:
    """Where a run's settings are. Raises UsageError if the folder holds no run."""
    path = folder / CONFIG
    if not path.is_file():
        raise UsageError(f"{folder} is not a run folder: there is no {CONFIG} in it")
    return path


def settings_of(folder: Path) -> tuple[TrainConfig, dict[str, dict[str, str]]]:
    """A run's settings; and its environment and own_files, as config.json has them.

    Raises UsageError if the folder holds no run, RunError if the file is damaged.
    """
    path = settings_file(folder)
    with read.reading(path, "correct it, or delete the folder and start that run again"):
        facts = read.json_object(path)
        config = TrainConfig(**from_table(TrainConfig, dict(facts["config"]), path.name))
        about = {key: dict(facts[key]) for key in ("environment", "own_files")}
        if missing := set(technique_files.paths(config.technique)) - set(about["own_files"]):
            raise ValueError(f"it has no digest of {min(missing)}")
    return config, about


def reopen(
    folder: Path,
    given: dict[str, Any],
    budget: float | None = None,
    allow_code: bool = False,
) -> Run:
    """The run in a folder, in its last state. given: settings named on the command line, which must be
    equal to the run's, except epochs: there may be more of them where every schedule is constant.
    budget: see build. allow_code: whether technique files that the run names may be run which `given`
    does not name.

    Raises UsageError if the folder holds no run, if it needs code that may not be run, or if a setting or
    an own file has changed since; RunError if a file is damaged.
    """
    config, facts = settings_of(folder)
    if not allow_code:
        named = cast(Sequence[str], given.get("technique", ()))
        technique_files.refuse_code(config.technique, named, f"the run in {folder}")
    technique_files.refuse_changes(facts["own_files"], f"the run in {folder}")  # before any is run
    kept, wanted = asdict(config), asdict(replace_given(config, given))
    longer = checkpoint.goes_on(kept, wanted)
    if longer:
        kept["epochs"] = wanted["epochs"]
        config = replace(config, epochs=wanted["epochs"])
    elif (wanted["epochs"] or 0) > (kept["epochs"] or 0):
        raise UsageError(
            f"the run in {folder} was begun with epochs = {kept['epochs']}, and its "
            f"{checkpoint.horizon(kept)} depends on that number: a run goes on with more epochs only where "
            "every schedule is constant"
        )
    checkpoint.refuse_changes(kept, wanted, f"the run in {folder} was begun")
    atomic.sweep(folder)
    try:
        run = build(config, budget, split=True)
    except UsageError as error:
        raise UsageError(f"{folder / CONFIG}: {error}") from error
    if (folder / checkpoint.NAME).is_file():
        checkpoint.load_checkpoint(folder / checkpoint.NAME, run.standing, asdict(run.config))
    if longer:
        atomic.write_json(folder / CONFIG, {"config": asdict(run.config), **facts})
    for key, value in environment().items():
        if facts["environment"].get(key) != value:
            note(
                f"note: the run began with {key} {facts['environment'].get(key)} and goes on with "
                f"{value}, so its last bits may differ"
            )
    return run


def result(folder: Path, run: Run) -> dict[str, object]:
    """What --json prints: strict JSON, null where there is no number.

    start is the record of the untrained networks, history has one record per epoch. The test part's score
    is that of the weights in model.npz, which are those of the epochs in kept_epoch.
    """
    flat = [as_json(record) for record in run.records]
    last = run.records[-1]
    return {
        "config": asdict(run.config),
        "start": flat[0],
        "history": flat[1:],
        run.score[0]: table.finite(run.score[1]),
        "kept_epoch": run.kept,
        "train_loss": table.finite(last.train_loss),
        "diverged": [
            {"network": network, "step": step, "layer": layer}
            for network, (step, layer) in enumerate(
                zip(last.diverged_step, last.diverged_layer, strict=True)
            )
            if step >= 0
        ],
        "seconds": run.standing.loop.seconds,
        "run_dir": str(folder),
    }


def as_json(record: Record) -> dict[str, object]:
    """One record; `between` holds what --metrics-every measured within the epoch."""
    flat: dict[str, object] = {key: table.finite(value) for key, value in record.flat().items()}
    if record.between:
        flat["between"] = [
            {key: table.finite(value) for key, value in row.items()} for row in record.between
        ]
    return flat
