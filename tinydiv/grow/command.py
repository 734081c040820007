"""Compare networks that grow with networks that start full size: python -m tinydiv.grow

    auxiliary   the size is one more weight, for all trials at once
    mask        a controller opens the layer, as a whole or neuron by neuron
    condense    a trained run with fewer neurons: aligned ones merged
    fashion     ways to grow on images, at equal flops

Every comparison is paired over start and data, keeps each piece in its folder, and continues after an
interruption when the same command is run again. Each has flags of its own: python -m tinydiv.grow NAME
--help
"""

import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from tinydiv.command import cli
from tinydiv.errors import UsageError, nearest, note
from tinydiv.growing.settings import AuxiliaryConfig, CondenseConfig, FashionConfig, MaskConfig
from tinydiv.runs.processes import cores
from tinydiv.settings import from_flags, whole

if TYPE_CHECKING:
    from tinydiv.growing.pieces import Piece


T = TypeVar("T")

PROG = "tinydiv.grow"
EXAMPLES = """examples:
  python -m tinydiv.grow auxiliary --quick                          under a minute
  python -m tinydiv.grow auxiliary --tasks all --trials 1000 --out runs/auxiliary
  python -m tinydiv.grow mask --quick                               under a minute
  python -m tinydiv.grow condense runs/mine --taus 0.9/0.7          a run of tinydiv.train
  python -m tinydiv.grow mask --lrs 1e-3/3e-3/1e-2 --arms all --out runs/mask
  python -m tinydiv.grow fashion --widths 16,32 --every 50,200      needs the full data set
  python -m tinydiv.grow auxiliary --sweep 41 --trials 50 --arms growing,grown --out runs/sweep
"""


def parser() -> cli.Parser:
    """The command line as a whole: what is compared, then that comparison's own flags."""
    flags = cli.Parser(PROG, __doc__ or "", EXAMPLES)
    flags.add_argument("comparison", help=", ".join(COMPARISONS))
    return flags


@cli.main(PROG)
def main(argv: Sequence[str]) -> None:
    """Run the comparison that is named."""
    if not argv:
        raise UsageError(f"name a comparison: {', '.join(COMPARISONS)}")
    if argv[0].startswith("-"):
        parser().parse(argv)
    name, *rest = argv
    if name not in COMPARISONS:
        raise UsageError(f"there is no comparison {name!r}: {nearest(name, COMPARISONS)}")
    folder = COMPARISONS[name](rest)
    note(f"everything is in {folder}")


def flags_of(name: str, config: type) -> cli.Parser:
    """The flags of one comparison."""
    flags = cli.Parser(f"{PROG} {name}", config.__doc__ or "")
    flags.add_settings(config)
    group = flags.add_argument_group("how it is run")
    group.add_argument("--quick", action="store_true", help="a small version, under a minute")
    cli.add_read(group, "--out", cli.folder, "DIR", f"folder (default: runs/grow-{name})")
    cli.add_read(
        group, "--workers", whole(1, 4096), "N", "processes (default: one per usable core)"
    )
    group.add_argument("--no-figures", action="store_true", help="tables without figures")
    return flags


def read(
    settings: type[T], flags: cli.Parser, argv: Sequence[str], small: dict[str, object]
) -> tuple[Namespace, T]:
    """The parsed flags of one comparison, and its settings; small: what --quick changes."""
    options = flags.parse(argv)
    given = from_flags(settings, vars(options))
    if not options.no_figures:
        cli.needs_matplotlib("every figure", ", or --no-figures")
    return options, settings(**(small if options.quick else {}) | given)


class GrowthComparison(Protocol):
    """What every comparison has: its checked settings, and its pieces."""

    def settings(self) -> Sequence[object]:
        """What is compared. Raises UsageError for what cannot be."""

    def pieces(self) -> list["Piece"]:
        """The work in pieces, each kept in a file of its own."""


Compared = TypeVar("Compared", bound=GrowthComparison)


def compute(
    name: str,
    options: Namespace,
    study: Compared,
    report: Callable[[Compared, Path], str],
    drawn: bool = True,
) -> Path:
    """Compute the pieces of a comparison that are missing, print its report, draw it; return its folder."""
    from tinydiv.growing import pieces

    study.settings()
    folder = cli.out_folder(options.out, f"grow-{name}", options.quick)
    facts = {"comparison": name, **asdict(study)}  # type: ignore[call-overload]
    with pieces.opened(folder, facts):
        pieces.run(folder, study.pieces(), options.workers or cores(), bar())
    cli.print_result(report(study, folder))
    if drawn and not options.no_figures:
        from tinydiv.growing import pictures

        getattr(pictures, name)(study, folder)
    return folder


def bar() -> Callable[[int, int], None]:
    """Progress on stderr."""
    from tqdm import tqdm

    shown = tqdm(unit="piece", file=sys.stderr, disable=None, leave=False)

    def show(done: int, total: int) -> None:
        shown.total = total
        shown.n = done
        shown.refresh()

    return show


def auxiliary(argv: Sequence[str]) -> Path:
    """A learned size: growing, grown, and controls."""
    flags = flags_of("auxiliary", AuxiliaryConfig)
    flags.add_argument(
        "--animate", action="store_true", help="write TASK.gif: the curve as neurons arrive"
    )
    options, config = read(AuxiliaryConfig, flags, argv, {"trials": 24, "epochs": 2000})
    if config.sweep is not None and config.lam is not None:
        raise UsageError("--sweep sets the values of lambda: leave out --lam")
    from tinydiv.growing.auxiliary import ARMS, PUBLISHED
    from tinydiv.growing.auxiliary_study import Auxiliary, report

    lams = config.lam
    if config.sweep is not None:
        lams = tuple(
            float(f"{10 ** (-2 + 4 * i / (config.sweep - 1)):.4g}") for i in range(config.sweep)
        )
    study = Auxiliary(
        tuple(PUBLISHED) if config.tasks == ("all",) else config.tasks,
        tuple(ARMS) if config.arms == ("all",) else config.arms,
        lams,
        config.trials,
        config.goal,
        config.room,
        config.epochs,
        config.points == "shared",
        config.seed,
    )
    folder = compute("auxiliary", options, study, report)
    if options.animate and not options.no_figures:
        from tinydiv.growing import pictures

        for task in study.tasks:
            setting = next(s for s in study.settings() if s.task == task)
            pictures.curve_gif(folder / f"{task}.gif", setting, seed=study.seed)
    return folder


def mask(argv: Sequence[str]) -> Path:
    """A controller's mask or gate, open and closed, beside full size."""
    options, config = read(
        MaskConfig, flags_of("mask", MaskConfig), argv, {"seeds": 4, "epochs": 500, "points": 256}
    )
    from tinydiv.growing.mask import ARMS, TASKS
    from tinydiv.growing.mask_study import Mask, report

    tasks = TASKS if config.tasks == ("all",) else config.tasks
    arms = tuple(ARMS) if config.arms == ("all",) else config.arms
    return compute(
        "mask", options, Mask(**{**asdict(config), "tasks": tasks, "arms": arms}), report
    )


def condense(argv: Sequence[str]) -> Path:
    """A trained run with fewer neurons."""
    flags = flags_of("condense", CondenseConfig)
    flags.add_argument("run", nargs="?", metavar="RUN_DIR", help="a finished run of tinydiv.train")
    options, config = read(CondenseConfig, flags, argv, {"taus": (0.9, 0.5)})
    if options.run is None:
        raise UsageError("condense needs the folder of a run: tinydiv.grow condense RUN_DIR")
    from tinydiv.growing.condense_study import Condense, report

    study = Condense(options.run, config.taus, config.layer, config.epochs)
    return compute("condense", options, study, report, drawn=False)


def fashion(argv: Sequence[str]) -> Path:
    """Ways to grow on images, at equal flops."""
    small = {"data": "fashion-mini", "steps": 150, "every": (20,), "seeds": 3}
    options, config = read(FashionConfig, flags_of("fashion", FashionConfig), argv, small)
    from tinydiv.growing.fashion import WAYS, Fashion, report
    from tinydiv.runs.build import load_data

    arms = tuple(WAYS) if config.arms == ("all",) else config.arms
    study = Fashion(**{**asdict(config), "arms": arms})
    study.settings()
    if load_data(study.data, "raw").n_classes < 2:
        raise UsageError(f"{study.data} has no classes to tell apart")
    return compute("fashion", options, study, report)


COMPARISONS: dict[str, Callable[[Sequence[str]], Path]] = {
    "auxiliary": auxiliary,
    "mask": mask,
    "condense": condense,
    "fashion": fashion,
}
"""What can be compared."""
