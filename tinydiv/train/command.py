"""Train networks and keep the results: python -m tinydiv.train

With no flags: 784-16-10 on the embedded tenth of Fashion-MNIST, ten epochs of Adam, a few seconds. The run
in the folder (its files: runs/folder.py) can be resumed after Ctrl-C, a kill or a full disk.
"""

import json
import math
import os
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tinydiv.command import cli
from tinydiv.errors import UsageError
from tinydiv.files import technique_files
from tinydiv.runs.config import TrainConfig
from tinydiv.settings import from_flags, from_toml, mean_text, number, whole

if TYPE_CHECKING:  # the heavy parts are imported where they are used, so that --help is quick
    from tinydiv.loop import Record
    from tinydiv.runs.build import Run
    from tinydiv.runs.workers import Started
    from tinydiv.train.animation import Frames
    from tinydiv.train.snapshots import Snapshots

PROG = "tinydiv.train"
CHECKPOINT_SHARE = 0.05
"""Checkpoints after epochs may take at most this share of the time, so short epochs skip some."""

MOST_NAMED = 5
"""How many diverged networks get a message each."""
METRIC = "correlation"
"""The measure of diversity that is shown during training; all of them are recorded."""

WHAT = """\
Train networks, and keep the results in a run folder: settings, metrics.csv, model.npz (tinydiv.load
reads it), a picture, and a checkpoint. With no flags: 784-16-10 on the embedded tenth of Fashion-MNIST,
ten epochs of Adam, a few seconds. The result goes to stdout, progress to stderr.
"""
EXAMPLES = """\
examples:
  python -m tinydiv.train                                         a first run, a few seconds
  python -m tinydiv.train --technique decov:strength=0.1          with a penalty on covariance
  python -m tinydiv.train --hidden 32,16 --activation tanh --epochs 20
  python -m tinydiv.train --replicas 8 --lr 1e-3                  eight networks from eight starts
  python -m tinydiv.train --replicas 3 --lr 1e-4/1e-3/1e-2        a rate for each network
  python -m tinydiv.train --technique mine.py:Mine:strength=0.1   a technique of your own
  python -m tinydiv.train --data spirals:arms=3 --hidden 32 --seed 7
  python -m tinydiv.train --config run.toml --epochs 3            flags override the file
  python -m tinydiv.train --validation 0.1 --keep best            the weights of the best epoch
  python -m tinydiv.train --animate                               neurons.gif: the neurons during training
  python -m tinydiv.train --snapshots 0,1,5,10                    neurons.png: the same at chosen epochs
  python -m tinydiv.train --resume runs/20261121-143015-3f2a      continue after Ctrl-C or a kill
  python -m tinydiv.train --list techniques                       every technique, with its paper
  python -m tinydiv.train --resume runs/20261121-143015-3f2a --epochs 20    continue with more epochs

A config file has the flags' names as keys: hidden = [32, 16], technique = ["decov:strength=0.1"].
Products run on one CPU thread, which is fastest for small networks and gives equal bits on every
number of cores; OPENBLAS_NUM_THREADS=4 (or OMP_, MKL_) allows more.
Exit codes: 0 done, 1 failed on this machine, 2 wrong usage, 130 stopped by Ctrl-C. A mistake gives
one sentence; TINYDIV_TRACEBACK=1 also shows where in the code it was found.
"""


def parser() -> cli.Parser:
    """Every flag of the command."""
    flags = cli.Parser(PROG, WHAT, EXAMPLES)
    flags.add_settings(TrainConfig)
    group = flags.add_argument_group("how it is run")
    group.add_argument("--config", metavar="FILE.toml", help="read settings from a file")
    cli.add_read(
        group,
        "--out",
        cli.folder,
        "DIR",
        "the run's folder, new or empty (default: runs/DATE-TIME-ID)",
    )
    cli.add_read(
        group,
        "--resume",
        cli.folder,
        "RUN_DIR",
        "continue a run that was stopped, to the same bits; with a larger --epochs, beyond its end",
    )
    group.add_argument(
        technique_files.FLAG,
        action="store_true",
        help="run the technique files that RUN_DIR or FILE.toml names; without it, only those that "
        "--technique names here",
    )
    cli.add_read(
        group,
        "--checkpoint-every",
        whole(1, 10**9),
        "STEPS",
        "write a checkpoint every so many steps (default: after epochs)",
    )
    cli.add_read(
        group,
        "--workers",
        whole(1, 1024),
        "N",
        "processes that share the networks, to the same bits (default: as many as save time, one "
        "for a short run)",
    )
    cli.add_read(
        group,
        "--memory",
        number(0.01, 1e6),
        "GIB",
        "memory that the run may take; networks that do not fit at once are trained in groups, to the "
        "same bits (default: four fifths of the machine's)",
    )
    group.add_argument("--no-plot", action="store_true", help="leave out the picture")
    group.add_argument(
        "--animate",
        action="store_true",
        help="write neurons.gif too: the hidden neurons while they learn",
    )
    cli.add_read(
        group,
        "--snapshots",
        epochs_of,
        "E[,E...]",
        "write neurons.png too: how alike the first hidden layer's neurons are after these epochs "
        "(0: before the first), the spectrum, the paths of their weights, dead ones (default: none)",
    )
    group.add_argument(
        "--json", action="store_true", help="print the result as one JSON object on stdout"
    )
    group.add_argument("--quiet", action="store_true", help="no progress, no line per epoch")
    flags.add_list(group=group)
    return flags


@cli.main(PROG)
def main(argv: Sequence[str]) -> None:
    """Run what the flags describe: list names, or train and report."""
    options = parser().parse(argv)
    if cli.print_lists(options):
        return
    given = from_toml(TrainConfig, options.config) if options.config is not None else {}
    typed = from_flags(TrainConfig, vars(options))
    if not options.allow_code:
        specs, named = ((*cast(Sequence[str], g.get("technique", ())),) for g in (given, typed))
        technique_files.refuse_code(specs, named, options.config)
    given |= typed
    epochs, every = options.snapshots, options.checkpoint_every
    if options.out is not None and options.resume is not None:
        raise UsageError("--resume continues in the run's own folder: leave out --out")
    if options.animate or epochs or not options.no_plot:
        cli.needs_matplotlib("the picture", ", or --no-plot")
    from tinydiv.backend import quiet
    from tinydiv.runs.folder import abandon, result

    files: list[str] = []
    # Output of a user's own technique is not a result, and an error may come from it. NumPy's warnings of
    # overflow are off: the guard finds these networks, and the report names them.
    with redirect_stdout(sys.stderr), cli.naming_own_files(files), quiet(), ExitStack() as held:
        files += technique_files.paths(TrainConfig(**given).technique)
        made_here = options.out is None or not os.path.isdir(options.out)
        ready = early(options, given, held)
        folder, run, workers = begin(options, given, held)
        files[:] = technique_files.paths(run.config.technique)
        try:
            frames = watched(folder, run) if options.animate else None
            seen = snapshots(folder, run, epochs) if epochs else None
            train(folder, run, every, options.quiet, frames, seen, workers, ready)
        except BaseException as error:
            if isinstance(error, Exception | SystemExit) or cli.line_in_own_file(error):
                abandon(folder, made_here)  # if nothing was trained, --out can be used again
            raise
        finish(folder, run, plot=not options.no_plot, frames=frames, seen=seen)
    cli.print_result(json.dumps(result(folder, run)) if options.json else summary(folder, run))


def early(options: Namespace, given: dict[str, Any], held: ExitStack) -> "list[Started]":
    """Processes that load their modules while the data are read, if it is known that they save time.

    held: ends them when the run is done.
    """
    from tinydiv.runs.splitting import usual_before_reading

    if options.resume is not None:
        return []
    config = TrainConfig(**given)
    count = min(options.workers or usual_before_reading(config), config.replicas)
    if count == 1:
        return []
    from tinydiv.runs import workers  # only where it is used: shared memory, pickles

    ready = workers.start(count)
    held.callback(workers.end, ready)
    return ready


def begin(options: Namespace, given: dict[str, Any], held: ExitStack) -> "tuple[Path, Run, int]":
    """A new run in its own folder, or the run that --resume names in its last state; and how many other
    processes will train its networks, in groups (0: none, all at once in this one).

    held: keeps the folder from other processes until the run is done.
    """
    from tinydiv.runs import folder as run_folder
    from tinydiv.runs.build import build
    from tinydiv.runs.splitting import usual

    if options.resume is not None:
        folder = Path(options.resume)
        held.enter_context(run_folder.locked(folder))
        run = run_folder.reopen(folder, given, options.memory, options.allow_code)
    else:
        run = build(TrainConfig(**given), options.memory, split=True)
    workers = options.workers
    if workers is None:
        workers = usual(run.config, run.net.n_parameters, run.steps - run.standing.loop.step)
    workers = 0 if workers == 1 and run.at_once else workers
    if options.resume is None:
        folder = run_folder.begin(options.out, run)
        held.enter_context(run_folder.locked(folder))
    return folder, run, workers


def watched(folder: Path, run: "Run") -> "Frames":
    """Frames for an animation, with those kept before the run was stopped."""
    from tinydiv.train.animation import Frames

    frames = Frames(run.net, run.data, run.steps)
    frames.load(folder, run.standing.loop.step)
    return frames


def epochs_of(what: str, value: object) -> list[int]:
    """Reader of "0,5,20" as epochs, in order."""
    read = whole(0, 10**9)
    return sorted({read(f"each epoch of {what}", part.strip()) for part in str(value).split(",")})


def snapshots(folder: Path, run: "Run", epochs: list[int]) -> "Snapshots":
    """Snapshots at these epochs, with those kept before the run was stopped."""
    from tinydiv.train.snapshots import Snapshots

    if epochs[-1] > run.epochs:
        raise UsageError(
            f"--snapshots names epoch {epochs[-1]}, and the last one is {run.epochs}: "
            f"they run from 0, before the first, to {run.epochs}"
        )
    seen = Snapshots(run.net, run.data, epochs)
    if run.records:
        seen.load(folder, run.records[-1].epoch)
    return seen


def train(
    folder: Path,
    run: "Run",
    every: int | None,
    quiet: bool,
    frames: "Frames | None" = None,
    seen: "Snapshots | None" = None,
    workers: int = 0,
    ready: "Sequence[Started]" = (),
) -> None:
    """Train to the end, with a progress bar, a line per epoch, and checkpoints.

    workers: how many other processes train the networks; ready: those that were started already.
    Ctrl-C stops at the end of the step, after a checkpoint; a second one stops at once.
    """
    from tqdm import tqdm

    from tinydiv.runs.folder import save_progress
    from tinydiv.runs.processes import Interrupt

    if run.finished:
        return
    loop, last = run.standing.loop, run.epochs
    here = os.getcwd()
    pace = Pace(CHECKPOINT_SHARE)
    if not quiet:
        cli.print_message(PROG, f"{run.net!r} on {run.config.data}, in {folder}")
        if run.data.n_validation:
            cli.print_message(
                PROG,
                f"{run.data.n_validation:,} of the {run.data.n_validation + run.data.n_train:,} training "
                f"samples were drawn for a validation part (seed {run.config.seed})",
            )
    bar = tqdm(
        total=run.steps,
        initial=loop.step,
        unit="step",
        leave=False,
        file=sys.stderr,
        disable=True if quiet else None,  # None: only where stderr is a terminal
    )

    def sync() -> None:
        if pool is not None:
            pool.sync()

    def keep() -> None:
        os.chdir(here)  # a user's technique may have changed the folder
        sync()
        save_progress(folder, run)
        for kept in (frames, seen):
            if kept is not None:
                kept.save(folder)

    def stop_if_interrupted() -> None:
        if interrupt.why:
            keep()
            permission = technique_files.paths(run.config.technique) and f" {technique_files.FLAG}"
            raise KeyboardInterrupt(
                f"{interrupt.why} after step {loop.step:,} of {run.steps:,}; to go on: "
                f"python -m {PROG} --resume {folder}{permission or ''}"
            )

    def on_step(step: int, total: int) -> None:
        bar.update(step - bar.n)
        if frames is not None and step in frames.moments:
            sync()
            frames.look(step)
        if every is not None and step % every == 0:
            keep()
        stop_if_interrupted()

    def on_epoch(record: "Record") -> None:
        if seen is not None:
            if record.epoch in seen.epochs:
                sync()
            seen(record)
        if not quiet:
            bar.write(line(record, last), file=sys.stderr)
        if record.epoch == last or (record.epoch > 0 and pace.allows()):
            with pace:
                keep()
        stop_if_interrupted()

    def stop_after(step: int) -> int:
        """The next step at which this process must act."""
        later = [run.steps] + [m for m in (frames.moments if frames else ()) if m > step]
        return min(later) if every is None else min(*later, step + every - step % every)

    with bar, Interrupt("after this step") as interrupt, ExitStack() as held:
        pool = None
        if workers:
            from tinydiv.runs.workers import Workers

            pool = held.enter_context(Workers(run, workers, ready))
        if frames is not None:
            frames.look(loop.step)
        if pool is None:
            run.train(on_step, on_epoch)
        else:
            pool.train(on_step, on_epoch, stop_after)
    os.chdir(here)
    report_divergence(run)


def line(record: "Record", epochs: int) -> str:
    """One epoch in one line; means over the networks that did not diverge."""
    parts = [
        f"epoch {record.epoch:{len(str(epochs))}}/{epochs}",
        f"loss {mean(record.train_loss)}",
        f"{record.score[0].removeprefix('test_')} {mean(record.score[1])}",
    ]
    if record.validation_loss:
        parts.append(f"validation loss {mean(record.validation_loss)}")
    shown = [mean(v) for key, v in record.diversity.items() if key.partition(".")[0] == METRIC]
    if shown:
        parts.append(f"{METRIC} {' '.join(shown)}")
    return "  ".join([*parts, f"{record.seconds:.1f} s"])


def mean(values: "list[float]") -> str:
    """The mean over networks that have a number, for a line."""
    return mean_text(values, none="none (diverged)")


def report_divergence(run: "Run") -> None:
    """Print which networks diverged, where, and whose penalties are not finite; also with --quiet."""
    from tinydiv.divergence import where_diverged

    last = run.records[-1]
    diverged = [network for network, step in enumerate(last.diverged_step) if step >= 0]
    for network in diverged[:MOST_NAMED]:
        where = where_diverged(last.diverged_layer[network])
        cli.print_message(
            PROG,
            f"network {network} diverged at step {last.diverged_step[network]} {where} and was frozen: "
            "a smaller --lr may help",
        )
    if len(diverged) > MOST_NAMED:
        cli.print_message(
            PROG, f"{len(diverged):,} of {len(last.diverged_step):,} networks diverged"
        )
    for name, values in last.penalties.items():
        lost = sum(
            not math.isfinite(value) and step < 0
            for value, step in zip(values, last.diverged_step, strict=True)
        )
        if lost:
            cli.print_message(
                PROG,
                f"the value of {name} is not finite for {lost:,} of {len(values):,} networks: a smaller "
                "strength may help",
            )


def finish(
    folder: Path,
    run: "Run",
    plot: bool,
    frames: "Frames | None" = None,
    seen: "Snapshots | None" = None,
) -> None:
    """Write the trained network, and the pictures and the animation if they are wanted."""
    from tinydiv.loop import restore_best
    from tinydiv.runs import folder as run_folder

    restore_best(run.standing.loop, run.net)
    run_folder.save_model(folder, run)
    if plot:
        from tinydiv.plots import save
        from tinydiv.train.run_picture import confusion_picture, run_picture

        save(run_picture(run.records, run.net, run.data), folder / run_folder.PICTURE)
        healthy = [r for r, step in enumerate(run.records[-1].diverged_step) if step < 0]
        if healthy and not run.data.dataset.regression:
            picture = confusion_picture(run.net, run.data, only=healthy)
            save(picture, folder / run_folder.CONFUSION)
    if frames is not None:
        frames.write(folder / run_folder.ANIMATION)
    if seen is not None:
        from tinydiv.plots import save
        from tinydiv.train.snapshots_picture import snapshots_picture

        if seen.missed:
            late = ", ".join(map(str, seen.missed))
            cli.print_message(
                PROG, f"no snapshot of epoch {late}: it had ended before --snapshots was given"
            )
        save(snapshots_picture(seen, run.records), folder / run_folder.SNAPSHOTS)


def summary(folder: Path, run: "Run") -> str:
    """The result in two lines."""
    last = run.records[-1]
    name, score = run.score
    healthy = [a for a in score if a == a]
    spread = f" ({min(healthy):.4f} to {max(healthy):.4f})" if len(healthy) > 1 else ""
    count = len(score)
    some = f"{len(healthy)} of {count}" if len(healthy) < count else f"{count}"
    kept = sorted({*run.kept})
    which = f" (best: {kept[0]}{f' to {kept[-1]}' * (len(kept) > 1)})" * (run.config.keep == "best")
    many = f", mean of {some} networks" if count > 1 else ""
    return (
        f"{name.replace('_', ' ')} {mean(score)}{many}{spread} after {last.epoch} "
        f"epoch{'s' * (last.epoch != 1)}{which} in {run.standing.loop.seconds:.1f} s\nrun folder {folder}"
    )


class Pace:
    """Keeps the time spent on something below a share of all time."""

    def __init__(self, share: float) -> None:
        self.share, self.began, self.spent = share, time.perf_counter(), 0.0

    def allows(self) -> bool:
        """Whether the share allows it now."""
        return self.spent <= self.share * (time.perf_counter() - self.began)

    def __enter__(self) -> None:
        self.entered = time.perf_counter()

    def __exit__(self, *ending: object) -> None:
        self.spent += time.perf_counter() - self.entered
