"""All figures of results/speed.md in one run: python -m tests.bench --all --out results/speed

Twenty minutes on two cores that do nothing else. Writes steps.csv (every contender on every job),
parts.csv (the profile), command.csv (whole commands), growth.csv and growth.png, techniques.csv,
machine.csv, and then the tables in results/speed.md (tables.py), which a test compares with these files.
"""

import csv
import io
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from tinydiv.command import cli
from tinydiv.data import search_folders
from tinydiv.files import atomic
from tinydiv.runs.processes import cores

from . import growth, parts, tables
from .in_frameworks import NAMES
from .job import Job

SHAPES = [
    *[Job(R, (784, H, 10)) for H in (16, 64) for R in (1, 32, 256)],
    *[Job(R, optimizer="sgd") for R in (1, 32, 256)],
    *[Job(R, batch=B) for B in (32, 256) for R in (1, 32, 256)],
    *[Job(R, batch=B, optimizer="sgd") for B in (32, 256) for R in (1, 32, 256)],
    *[Job(R, (784, 16, 16, 10)) for R in (1, 32, 256)],
]
TECHNIQUES = [Job(R, technique=name) for name in NAMES for R in (1, 32)]
COMPILED = {(1, (784, 16, 10)), (32, (784, 16, 10)), (32, (784, 64, 10))}
"""Where torch.compile is timed, too, with Adam and batches of 64: it compiles for half a minute."""
ROUNDS = 7

COMMAND = "--data fashion-mnist --init he-normal --replicas 32 --epochs 1 --metrics none --no-plot --quiet"
START = "import sys; from tinydiv.train.command import main; "
VARIANTS = {
    "as it is": START,
    "processes started after the data are read": START
    + "from tinydiv.runs import splitting; splitting.usual_before_reading = lambda config: 1; ",
    "one process": START + "sys.argv += ['--workers', '1']; ",
}
"""Programs that run the command, by what is done in them."""


def measure_all(out: Path, quick: bool) -> None:
    """Measure everything, write the files and the tables. quick: few rounds, nothing that compiles."""
    out.mkdir(parents=True, exist_ok=True)
    load = os.getloadavg()[0]
    began = time.perf_counter()
    write(out / "machine.csv", ["what", "value"], machine(load))
    rows = [
        (*words_of(job), name, share) for job in parts.JOBS for name, share in profile(job, quick)
    ]
    write(out / "parts.csv", [*tables.JOB, "part", "us"], rows)
    write(out / "steps.csv", [*tables.JOB, "name", "median_us", "low_us", "high_us"], steps(quick))
    write(out / "command.csv", ["variant", "seconds", "processor"], commands(1 if quick else 7))
    growth.grow(3 if quick else ROUNDS, quick, out)
    write(out / "techniques.csv", ["name", "median_us", "ratio"], techniques(quick))
    tables.write(out)
    cli.print_result(f"all of it in {(time.perf_counter() - began) / 60:.0f} minutes: {out}")


def write(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A CSV file, whole after every row; numbers with four digits."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        writer.writerow([f"{v:.4g}" if isinstance(v, float) else v for v in row])
        cli.print_result("  ".join(map(str, row)))
        atomic.write_text(path, file.getvalue())


def machine(load: float) -> list[tuple[str, object]]:
    """What figures depend on."""
    import numpy as np

    found = [(name, version(name)) for name in ("torch", "jax", "scikit-learn") if installed(name)]
    limits = ", ".join(
        f"{k}={os.environ[k]}" for k in sorted(os.environ) if k.startswith("OPENBLAS_C")
    )
    return [
        ("date", time.strftime("%Y-%m-%d", time.gmtime())),
        ("cores", cores()),
        ("load before", load),
        ("python", platform.python_version()),
        ("numpy", np.__version__),
        ("NumPy's kernels", limits or "chosen by OpenBLAS"),
        *found,
    ]


def installed(name: str) -> bool:
    return find_spec({"scikit-learn": "sklearn"}.get(name, name)) is not None


def words_of(job: Job) -> tuple[object, ...]:
    """The columns that name a job."""
    hidden = "-".join(map(str, job.sizes[1:-1]))
    return job.replicas, hidden, job.batch, job.optimizer, job.technique


def profile(job: Job, quick: bool) -> list[tuple[str, float]]:
    return list(parts.parts(job, 3 if quick else 15).items())


def steps(quick: bool) -> Iterable[tuple[object, ...]]:
    """Every contender on every job; a job that fails is named on stderr by `compare`."""
    from .command import compare

    for job in [*SHAPES, *TECHNIQUES]:
        usual = job == replace(Job(job.replicas), sizes=job.sizes)
        compiled = usual and (job.replicas, job.sizes) in COMPILED and not quick
        timings = compare(job, 3 if quick else ROUNDS, gpu=False, quick=not compiled)
        for t in timings:
            low, high = t.quartiles
            yield (*words_of(job), t.name, 1e6 * t.median, 1e6 * low, 1e6 * high)


def commands(rounds: int) -> Iterable[tuple[object, ...]]:
    """Seconds and processor time of the command and its variants, in turns."""
    import resource

    if not any((folder / "fashion-mnist").is_dir() for folder in search_folders()):
        cli.print_message(
            "tests.bench", "fashion-mnist is not on this machine: no command is timed"
        )
        return
    for turn in range(rounds):
        for name, program in list(VARIANTS.items())[:: 1 if turn % 2 else -1]:
            with tempfile.TemporaryDirectory() as folder:
                before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
                words = [*COMMAND.split(), "--out", f"{folder}/run"]
                code = f"{program}sys.exit(main(sys.argv[1:]))"
                subprocess.run(
                    [sys.executable, "-c", code, *words], check=True, capture_output=True
                )
                took, after = (
                    time.perf_counter() - began,
                    resource.getrusage(resource.RUSAGE_CHILDREN),
                )
            processor = sum(
                getattr(after, k) - getattr(before, k) for k in ("ru_utime", "ru_stime")
            )
            yield name, took, processor


def techniques(quick: bool) -> Iterable[tuple[object, ...]]:
    """A step with each technique, and its ratio to a plain one."""
    from .command import as_data, technique_costs

    for row in as_data(technique_costs(3 if quick else ROUNDS), "plain"):
        yield row["name"], row["median_us"], row["ratio"]
