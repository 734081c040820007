"""The time of a training step, compared with other libraries: python -m tests.bench

Every contender takes the same steps (job.py), and its losses are first compared with tinydiv's: in
float64, 50 steps must agree, for a few of the networks; in float32, which is timed, the first steps of all
of them: there, sums in another order differ by rounding errors that grow from step to step and reach 1e-3
after 50 steps of the same work. The contenders take turns, round after round, so that other load on the
machine affects all of them; the result is the ratio of medians, and the quartiles show its spread. The
floor is shown too: the time of the products and of one pass over the optimizer's arrays on this machine,
measured in turns with the contenders. They are an extra: python -m pip install -e ".[bench]".
"""

import csv
import io
import json
import os
import statistics
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinydiv.command import cli
from tinydiv.errors import RunError, UsageError
from tinydiv.settings import choice, sizes, whole

if TYPE_CHECKING:
    from .job import Job

PROG = "tests.bench"
EXAMPLES = """examples:
  python -m tests.bench --quick                    1 and 32 networks beside what is installed, a minute
  python -m tests.bench --replicas 1 32 256 --hidden 64 --out bench
  python -m tests.bench --optimizer sgd --batch-size 256
  python -m tests.bench --technique decov
  python -m tests.bench --backend cupy --replicas 1000
  python -m tests.bench --techniques               a step with each technique; no contender is needed
  python -m tests.bench --growth --out growth      time and memory for more networks, width, depth, data
  python -m tests.bench --all --out results/speed   every figure of results/speed.md, twenty minutes

Contenders: PyTorch, JAX and scikit-learn, python -m pip install -e ".[bench]".
"""
AGREE = {"float64": (50, 1e-9), "float32": (5, 1e-4)}
"""By the type of the numbers: how many steps' losses must agree before a time is printed, how closely."""
PROVEN = 4
"""How many of the networks are compared in float64."""
ROUND = 0.15
"""Seconds that a contender is timed in one round."""
FLOOR = "floor"


@dataclass(frozen=True)
class Timing:
    """Seconds per step and network over several rounds."""

    name: str
    replicas: int
    seconds: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        low, _, high = statistics.quantiles(self.seconds, n=4)
        return low, high


def agree(name: str, losses: Any, ours: Any) -> None:
    """Raise RunError if a contender's losses (steps, R) differ from tinydiv's."""
    import numpy as np

    _, rtol = AGREE[str(ours.dtype)]
    if losses.shape != ours.shape or not np.allclose(losses, ours, rtol=rtol, atol=rtol / 100):
        worst = np.abs(losses - ours).max() if losses.shape == ours.shape else losses.shape
        raise RunError(
            f"{name} and tinydiv compute different losses in {len(ours)} steps: {worst} apart"
        )


def measure(steppers: dict[str, Any], replicas: int, rounds: int, seconds: float) -> list[Timing]:
    """Time the contenders in turns; each takes as many steps in a round as fit into `seconds`.

    One that fails is left out, as in `contenders`.
    """
    counts: dict[str, int] = {}
    found: dict[str, list[float]] = {}
    for turn in range(-1, rounds):
        for name, one in list(steppers.items()):
            try:
                if turn < 0:
                    one.steps(2)
                    counts[name] = max(4, int(4 * seconds / max(timed(one, 4), 1e-9)))
                    one.steps(counts[name])  # what compiles for a number of steps does so here
                else:
                    found.setdefault(name, []).append(timed(one, counts[name]))
            except Exception as error:
                leave_out(name, error)
                del steppers[name]
    return [
        Timing(name, replicas, [took / counts[name] / replicas for took in found[name]])
        for name in steppers
    ]


def timed(one: Any, n: int) -> float:
    """Seconds that n steps take; the floor gives its own."""
    if isinstance(one, Floor):
        return one.steps(n)
    began = time.perf_counter()
    one.steps(n)  # the losses are on the host, so all work has finished
    return time.perf_counter() - began


def leave_out(name: str, error: Exception) -> None:
    """One line for a contender that failed. Raises RunError if it is tinydiv's own."""
    what = f"{type(error).__name__}: {error}"[:300]
    if name.startswith("tinydiv"):
        raise RunError(f"{name} failed: {what}") from error
    cli.print_message(PROG, f"{name} is left out: {what}")


class Floor:
    """A lower bound on the time of a step: its products at the speed of large ones, and one pass over
    the optimizer's arrays, on all cores."""

    def __init__(self, job: "Job", cores: int) -> None:
        import numpy as np

        n = 768
        self.product = np.ones((n, n), dtype="float32"), np.empty((n, n), dtype="float32")
        self.arrays = [np.ones(1 << 20, dtype="float32") for _ in range(2)]
        passes = {"adam": 7, "sgd": 3}[
            job.optimizer
        ]  # theta, m, v read and written, the gradient read
        self.products = job.replicas * job.flops / (2 * n**3) / cores
        self.passes = job.replicas * passes * job.parameters / (2 * len(self.arrays[0]))

    def steps(self, n: int) -> float:
        """The seconds that n steps would take, measured on a sample of each part."""
        import numpy as np

        (a, out), (one, other) = self.product, self.arrays
        began = time.perf_counter()
        np.matmul(a, a, out=out)
        middle = time.perf_counter()
        other[...] = one
        end = time.perf_counter()
        return n * (self.products * (middle - began) + self.passes * (end - middle))


def contenders(job: "Job", gpu: bool, quick: bool, names: Sequence[str] = ()) -> dict[str, Any]:
    """The contenders that can do the job, tinydiv first, with the losses of the first steps checked.

    names: only these. What is left out is printed on stderr. Raises RunError if tinydiv itself fails.
    """
    from tinydiv.runs.processes import cores

    from .ours import ours
    from .peers import peers

    makers: dict[str, Callable[[], Any]] = ours(job, 1 if gpu else cores())
    makers |= peers(job, gpu, quick)
    if len(makers) <= 2 and not names:
        cli.print_message(PROG, 'no contender is installed: python -m pip install -e ".[bench]"')
    steppers, first = {}, None
    for name, make in makers.items():
        if names and name not in names:
            continue
        try:
            one = make()
            losses = one.steps(AGREE[job.dtype][0])
        except Exception as error:  # a contender that fails here must not stop the benchmark
            leave_out(name, error)
            continue
        first = losses if first is None else first
        agree(name, losses, first)
        steppers[name] = one
    return steppers


def close(steppers: dict[str, Any]) -> None:
    """End the processes of the contenders that have some."""
    for one in steppers.values():
        getattr(one, "close", int)()


def compare(job: "Job", rounds: int, gpu: bool, quick: bool) -> list[Timing]:
    """tinydiv and what is installed, on the same job, after the losses of each were compared."""
    from tinydiv.runs.processes import cores

    proof = replace(job, dtype="float64", replicas=min(job.replicas, PROVEN))
    proven = contenders(proof, gpu, quick)
    close(proven)
    steppers = contenders(job, gpu, quick, tuple(proven))
    if not gpu:
        steppers[FLOOR] = Floor(job, cores())
    try:
        return measure(dict(steppers), job.replicas, rounds, ROUND / 3 if quick else ROUND)
    finally:
        close(steppers)


def technique_costs(rounds: int) -> list[Timing]:
    """One network's step with each built-in technique in turn, beside the plain one.

    A technique that needs several networks (consensus) is left out, with a message on stderr.
    """
    from tinydiv.techniques import TECHNIQUES

    from .job import Job
    from .ours import Ours

    job = Job(1)
    steppers = {"plain": Ours(job)}
    for name in TECHNIQUES:
        try:
            steppers[name] = Ours(job, specs=[name])
        except UsageError as error:
            cli.print_message(PROG, f"{name} is left out: {error}")
    return measure(steppers, 1, rounds, ROUND / 10)


def table(timings: Sequence[Timing], base: str) -> str:
    """Lines with microseconds per step and network, quartiles, and the ratio to the line `base`."""
    reference = next(t for t in timings if t.name == base)
    width = max(len(t.name) for t in timings)
    lines = [f"{'':{width}}  us/step/network  (quartiles)      time / {base}"]
    for t in timings:
        low, high = (1e6 * q for q in t.quartiles)
        lines.append(
            f"{t.name:{width}}  {1e6 * t.median:15.1f}  ({low:.1f} to {high:.1f})"
            f"{t.median / reference.median:14.2f}"
        )
    return "\n".join(lines)


def as_data(group: Sequence[Timing], base: str) -> list[dict[str, object]]:
    """The numbers of a table, for a program."""
    reference = next(t for t in group if t.name == base)
    return [
        {
            "name": t.name,
            "replicas": t.replicas,
            "median_us": 1e6 * t.median,
            "quartiles_us": [1e6 * q for q in t.quartiles],
            "ratio": t.median / reference.median,
        }
        for t in group
    ]


def write(folder: Path, groups: Sequence[Sequence[Timing]], base: str) -> None:
    """bench.csv, and bench.png where matplotlib is installed."""
    from tinydiv.files import atomic
    from tinydiv.plots.style import new_figure, page, save

    folder.mkdir(parents=True, exist_ok=True)
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["name", "replicas", "median_us", "low_us", "high_us", "ratio"])
    for group in groups:
        for t, row in zip(group, as_data(group, base), strict=True):
            low, high = t.quartiles
            writer.writerow(
                [t.name, t.replicas, row["median_us"], 1e6 * low, 1e6 * high, row["ratio"]]
            )
    atomic.write_text(folder / "bench.csv", file.getvalue())
    with page("light"):
        figure = new_figure(10, 1.2 + sum(0.3 * len(group) + 0.5 for group in groups))
        heights = [len(group) for group in groups]
        axes = figure.subplots(len(groups), 1, squeeze=False, height_ratios=heights)[:, 0]
        for ax, group in zip(axes, groups, strict=True):
            names = [t.name for t in group][::-1]
            ax.barh(names, [1e6 * t.median for t in group][::-1])
            ax.set_title(f"{group[0].replicas} networks", fontsize="medium")
            ax.set_xlabel("us per step and network")
        with atomic.replacing(folder / "bench.png") as part:
            save(figure, part)


def parser() -> cli.Parser:
    """The flags."""
    found = cli.Parser(
        PROG,
        "Time a training step on batches of images beside PyTorch, JAX and scikit-learn, in one run.",
        EXAMPLES,
    )
    found.add_argument(
        "--replicas", nargs="+", default=["1", "32"], metavar="R", help="networks (default: 1 32)"
    )
    found.add_argument(
        "--hidden", default="16", metavar="H[,H...]", help="hidden layers (default: 16)"
    )
    found.add_argument(
        "--batch-size", default="64", metavar="B", help="samples a step (default: 64)"
    )
    found.add_argument(
        "--optimizer", default="adam", metavar="NAME", help="adam or sgd (default: adam)"
    )
    found.add_argument("--rounds", default="15", metavar="N", help="rounds of timing (default: 15)")
    found.add_argument(
        "--quick", action="store_true", help="shorter rounds, nothing that compiles for long"
    )
    found.add_argument(
        "--technique",
        default="",
        metavar="NAME",
        help="one that acts in every step, beside the same in PyTorch and JAX: decov, pearson, cosine, "
        "iter-norm or muon (default: none)",
    )
    found.add_argument("--techniques", action="store_true", help="time every technique instead")
    found.add_argument(
        "--growth",
        action="store_true",
        help="measure how a step's time and memory grow with networks, width, depth and data instead",
    )
    found.add_argument(
        "--all",
        action="store_true",
        help="measure all that results/speed.md shows, for --out, instead",
    )
    found.add_argument(
        "--backend", default="numpy", metavar="NAME", help="numpy, cupy or auto (default: numpy)"
    )
    found.add_argument(
        "--out", metavar="DIR", help="write bench.csv and bench.png there (default: nowhere)"
    )
    found.add_argument("--json", action="store_true", help="one JSON list on stdout")
    return found


@cli.main(PROG)
def main(argv: Sequence[str]) -> None:
    """Time what the flags choose and print it."""
    options = parser().parse(argv)
    jobs, rounds = read(options)
    from tinydiv import backend

    gpu = backend.use(options.backend) == "cupy"
    if not gpu and os.environ.get("OPENBLAS_CORETYPE"):
        cli.print_message(
            PROG,
            f"OPENBLAS_CORETYPE={os.environ['OPENBLAS_CORETYPE']} chooses the kernels of NumPy's products "
            "alone: unset it for a comparison",
        )
    if options.all:
        from .everything import measure_all

        measure_all(Path(options.out), options.quick)
        return
    if options.growth:
        from .growth import grow

        grow(rounds, options.quick, None if options.out is None else Path(options.out))
        return
    if options.techniques:
        base, groups = "plain", [technique_costs(rounds)]
    else:
        base, groups = "tinydiv", [compare(job, rounds, gpu, options.quick) for job in jobs()]
    if options.out is not None:
        write(Path(options.out), groups, base)
    if options.json:
        rows = [row for group in groups for row in as_data(group, base)]
        cli.print_result(json.dumps(rows, allow_nan=False))
        return
    for group in groups:
        many = group[0].replicas
        cli.print_result(f"\n{many} network{'s' if many > 1 else ''} at once\n{table(group, base)}")


def read(options: Namespace) -> "tuple[Callable[[], list[Job]], int]":
    """The jobs that the flags choose, and the rounds. Raises UsageError for wrong values."""
    each = whole(1, 100_000)
    replicas = list(dict.fromkeys(each("--replicas", text) for text in options.replicas))
    rounds = whole(3, 100_000)("--rounds", options.rounds)  # fewer have no quartiles
    batch = whole(1, 4096)("--batch-size", options.batch_size)
    hidden = sizes(64, 65_536)("--hidden", options.hidden)
    optimizer = choice("adam", "sgd")("--optimizer", options.optimizer)

    if options.growth and (options.techniques or options.json or options.backend != "numpy"):
        raise UsageError(
            "--growth measures alone, on NumPy: leave out --techniques, --json and --backend"
        )
    if options.all and (options.out is None or options.growth or options.backend != "numpy"):
        raise UsageError(
            "--all writes its figures: name a folder with --out, without other choices"
        )
    technique = options.technique
    if technique:
        from .in_frameworks import NAMES

        technique = choice(*NAMES)("--technique", technique)

    def jobs() -> "list[Job]":
        from .job import Job

        return [Job(R, (784, *hidden, 10), batch, optimizer, technique) for R in replicas]

    return jobs, rounds
