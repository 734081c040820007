"""The command: a study by name or from a file, trained, compared, put into tables and figures.

    python -m tinydiv.study my_study.toml --out runs/mine
    python -m tinydiv.study paper --quick
    python -m tinydiv.study runs/mine --tables

In Python the same: `from tinydiv.study import Arm, Study, run_study`, see tinydiv/study/__init__.py.
"""

from collections.abc import Sequence
from pathlib import Path

from tinydiv.command import cli
from tinydiv.errors import UsageError, note
from tinydiv.files import technique_files
from tinydiv.settings import text, whole

FOLDER = Path(__file__).parent
"""The folder with the studies that are part of tinydiv; reading.py, which reads them, is slow to import."""

EXAMPLES = """examples:
  python -m tinydiv.study --init he-normal --init decorrelated --seeds 20       no file is needed
  python -m tinydiv.study --technique decov:strength=0.1 --technique batch-norm --seeds 10
  python -m tinydiv.study paper --quick              two minutes on two cores, embedded data
  python -m tinydiv.study paper --seeds 20 --out runs/paper --workers 8      needs the full data set
  python -m tinydiv.study --resume --out runs/paper paper --seeds 20
  python -m tinydiv.study runs/paper --tables        what is finished so far
  python -m tinydiv.study paper --quick --plan       what would be trained, without training
  python -m tinydiv.study my_study.toml --executor dask:tcp://scheduler:8786

A study that was stopped for any reason continues with --resume and the same study, --quick and --seeds.

A study in twelve lines, my_study.toml (every key: tinydiv/study/reading.py; a large one: paper.toml):
  title = "Does DeCov help?"
  seeds = 20
  [train]
  data = "fashion-mini"
  hidden = [16]
  epochs = 3
  [[arms]]
  name = "plain"
  [[arms]]
  name = "decov"
  technique = ["decov:strength={strength}"]
  strength = 0.1"""


def parser() -> cli.Parser:
    """The flags."""
    p = cli.Parser(
        "tinydiv.study", "Compare arms on paired seeds: train, test, tabulate.", EXAMPLES
    )
    names = ", ".join(sorted(path.stem for path in FOLDER.glob("*.toml")))
    p.add_argument("study", nargs="?", help=f"{names}, or a .toml file; with --tables a folder")
    start = "an arm with this start, in place of a study file; the base first (default: he-normal)"
    technique = "the same with a technique, against the base (default: none)"
    train = "a key of [train] for these arms, as data=moons or epochs=3 (default: none)"
    p.add_argument("--init", metavar="START", action="append", default=[], help=start)
    p.add_argument("--technique", metavar="SPEC", action="append", default=[], help=technique)
    p.add_argument("--train", metavar="KEY=VALUE", action="append", default=[], help=train)
    p.add_argument("--quick", action="store_true", help="the study's own small version")
    cli.add_read(p, "--seeds", whole(1, 1_000_000), "N", "paired seeds (default: the study's)")
    cli.add_read(p, "--out", cli.folder, "DIR", "folder (default: runs/study-NAME)")
    p.add_argument("--resume", action="store_true", help="continue with what is in the folder")
    cli.add_read(p, "--backend", text, "NAME", "numpy, cupy or auto (default: numpy)", "numpy")
    executor = "processes, serial or dask:ADDRESS (default: processes, on a GPU serial)"
    p.add_argument("--executor", metavar="NAME", help=executor)
    cli.add_read(p, "--workers", whole(1, 4096), "N", "processes (default: one per usable core)")
    p.add_argument(
        "--tables", action="store_true", help="only make tables and figures of what is finished"
    )
    p.add_argument(
        technique_files.FLAG,
        action="store_true",
        help="run the technique files that the study names; without it, only those that --technique "
        "names here",
    )
    p.add_argument("--plan", action="store_true", help="only print what would be trained")
    p.add_argument("--no-figures", action="store_true", help="tables without figures")
    return p


@cli.main("tinydiv.study")
def main(argv: Sequence[str]) -> int:
    """Run the study that the flags describe; the Markdown tables go to stdout."""
    options = parser().parse(argv)
    from tinydiv.study import engine, reading, tables  # here, so that --help is quick

    if options.study is None and not (options.init or options.technique):
        raise UsageError(
            "name a study or a .toml file, or arms by --init and --technique: see --help"
        )
    if options.study is not None and (options.init or options.technique or options.train):
        raise UsageError(
            "--init, --technique and --train define a study: leave out the study's name"
        )
    if options.tables:
        folder = Path(options.study or "arms.toml")
        if options.study in reading.NAMED or folder.suffix == ".toml":
            folder = cli.out_folder(options.out, f"study-{folder.stem}", options.quick)
        report = engine.read_study(folder, options.allow_code)
        tables.write(report.results, report.folder, figures=not options.no_figures)
        cli.print_result(report.markdown())
        return 0
    if options.study is None:
        if options.quick:
            raise UsageError("--quick belongs to a study file: give fewer --seeds")
        study = reading.study_of(
            options.init, options.technique, options.train, options.seeds or 20
        )
    else:
        study = reading.load_study(options.study, quick=options.quick, seeds=options.seeds)
        if not options.allow_code:
            technique_files.refuse_code(engine.specs(study), (), options.study)
    if options.plan:
        cli.print_result(engine.plan_text(study))
        return 0
    report = engine.run_study(
        study,
        cli.out_folder(options.out, f"study-{study.name}", options.quick),
        backend=options.backend,
        executor=options.executor,
        workers=options.workers,
        resume=options.resume,
        figures=not options.no_figures,
    )
    cli.print_result(report.markdown())
    note(f"everything is in {report.folder}")
    return 0
