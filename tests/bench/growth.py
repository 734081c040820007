"""How the cost of training grows: with networks, width, depth and data. python -m tests.bench --growth

Along each of the four, one thing grows and all else stays; a step's seconds (an epoch's, where the data
grow) and the largest memory are measured at every point. In a picture with logarithms on both axes a cost
that grows as x^s is a straight line of slope s: 1 is linear. The slope is that of the upper half of the
points, where what every step costs anyway (calls, records) counts little. Data are counted with the memory.
"""

import csv
import io
import statistics
import time
import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinydiv.command import cli

from .job import Job
from .ours import Ours

AXES = {
    "networks": [1, 4, 16, 64, 256],
    "width": [16, 64, 256, 1024],
    "depth": [1, 2, 4, 8, 16],
    "samples": [4_000, 16_000, 64_000],
}
QUICK = {
    "networks": [1, 4, 16],
    "width": [8, 16, 32],
    "depth": [1, 2, 4],
    "samples": [500, 1000, 2000],
}


@dataclass(frozen=True)
class Point:
    """One measurement: x is the number of what grows."""

    axis: str
    x: int
    seconds: float
    bytes: int


def job_at(axis: str, x: int) -> Job:
    """The work at one point: 784-16-10 but for what grows; hidden layers of 64 where that is depth."""
    if axis == "networks":
        return Job(x)
    if axis == "width":
        return Job(1, (784, x, 10))
    if axis == "depth":
        return Job(1, (784, *[64] * x, 10))
    return Job(1, samples=x)


def point(axis: str, x: int, rounds: int) -> Point:
    """The median processor time of a step (of an epoch, where samples grow), and the largest memory."""
    from .command import ROUND

    job = job_at(axis, x)
    data = job.images.nbytes + job.labels.nbytes + job.order.nbytes
    _ = job.start  # made before the counting: it belongs to the benchmark
    tracemalloc.start()
    one = Ours(job)
    one.steps(3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    steps = max(3, int(ROUND / 10 / max(processor_time(one, 3) / 3, 1e-9)))
    seconds = statistics.median(processor_time(one, steps) / steps for _ in range(rounds))
    return Point(axis, x, seconds * (len(job.order) if axis == "samples" else 1), data + peak)


def processor_time(one: Ours, n: int) -> float:
    """Seconds of the one core for n steps: what else the machine does counts little."""
    began = time.process_time()
    one.steps(n)
    return time.process_time() - began


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """s of y = c x^s, by least squares through the upper half of the points (three at least, or all)."""
    some = max(min(3, len(x)), (len(x) + 1) // 2)
    return float(np.polyfit(np.log(x[-some:]), np.log(y[-some:]), 1)[0])


def grow(rounds: int, quick: bool, out: Path | None) -> None:
    """Measure along all four, print a table with slopes, write growth.csv and growth.png."""
    groups = []
    for axis, xs in (QUICK if quick else AXES).items():
        group = [point(axis, x, rounds) for x in xs]
        groups.append(group)
        s, m = slopes(group)
        unit = "epoch" if axis == "samples" else "step"
        cli.print_result(f"\n{axis:>10}  us/{unit:6} MB      slopes: time {s:.2f}, memory {m:.2f}")
        for p in group:
            cli.print_result(f"{p.x:10}  {1e6 * p.seconds:8.1f} {p.bytes / 1e6:7.2f}")
    if out is not None:
        write(out, groups)


def slopes(group: Sequence[Point]) -> tuple[float, float]:
    """Those of time and of memory."""
    x = [p.x for p in group]
    return slope(x, [p.seconds for p in group]), slope(x, [p.bytes for p in group])


def write(folder: Path, groups: Sequence[Sequence[Point]]) -> None:
    """growth.csv, and growth.png: both axes count from each curve's first point."""
    from tinydiv.files import atomic
    from tinydiv.plots.style import colour, dash, mark, new_figure, page, save

    folder.mkdir(parents=True, exist_ok=True)
    file = io.StringIO()
    rows = csv.writer(file, lineterminator="\n")
    rows.writerow(["axis", "x", "seconds", "bytes"])
    rows.writerows([p.axis, p.x, p.seconds, p.bytes] for group in groups for p in group)
    atomic.write_text(folder / "growth.csv", file.getvalue())
    titles = ("processor time of a step\n(samples: of an epoch)", "largest memory")
    with page("light"):
        figure = new_figure(6, 3.8)
        both = figure.subplots(1, 2, sharex=True, sharey=True)
        for i, (ax, title) in enumerate(zip(both, titles, strict=True)):
            longest = max(group[-1].x / group[0].x for group in groups)
            ax.plot([1, longest], [1, longest], linestyle=":", color="grey", label="slope 1")
            for k, group in enumerate(groups):
                x = [p.x / group[0].x for p in group]
                y = [p.bytes if i else p.seconds for p in group]
                ax.plot(
                    x, [v / y[0] for v in y], marker=mark(k), color=colour(k), linestyle=dash(k)
                )
                ax.lines[-1].set_label(f"{group[0].axis}: slope {slopes(group)[i]:.2f}")
            ax.set(xscale="log", yscale="log", title=title, xlabel="times as many")
            ax.legend(fontsize=9, loc="upper left", frameon=False)
        both[0].set_ylabel("times as much")
        save(figure, folder / "growth.png")
