"""The tables of results/speed.md, from the files that everything.py writes: python -m tests.bench.tables

They stand between two marks in the page, so that all else on it can be written by hand.
"""

import csv
import statistics
from collections.abc import Sequence
from pathlib import Path

JOB = ("networks", "hidden", "batch", "optimizer", "technique")
"""The columns that name a job, in steps.csv and parts.csv."""
BEGIN, END = "<!-- tables: from results/speed -->", "<!-- end of the tables -->"
COLUMNS = {
    "PyTorch eager": "eager",
    "PyTorch fused": "fused",
    "PyTorch compiled": "compiled",
    "PyTorch vmap": "vmap",
    "JAX": "JAX",
    "scikit-learn": "scikit-learn",
    "floor": "floor",
}
LINEAR = 1.1
"""The steepest slope that counts as linear growth."""
COMMAND_AIM = 1.4
"""Seconds of the command."""
LOOP_AIM = 1.15
"""The loop's step over the bare one, for many networks."""

Row = dict[str, str]
Job = tuple[str, ...]


def read(path: Path) -> list[Row]:
    """The rows of a CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def by_job(rows: Sequence[Row], name: str, value: str) -> dict[Job, dict[str, float]]:
    """A number per job and name, in the order of the file."""
    found: dict[Job, dict[str, float]] = {}
    for row in rows:
        found.setdefault(tuple(row[key] for key in JOB), {})[row[name]] = float(row[value])
    return found


def line(cells: Sequence[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def table(header: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown."""
    return "\n".join([line(header), line(["---"] * len(header)), *map(line, rows)])


def short(name: str) -> str:
    """A contender's column: 'JAX jit + scan + vmap' stands under 'JAX'."""
    return next((c for full, c in COLUMNS.items() if name.startswith(full)), "tinydiv")


def contenders(times: dict[str, float]) -> dict[str, float]:
    """Microseconds by column; tinydiv's is the better one of one and several processes."""
    found: dict[str, float] = {}
    for name, us in times.items():
        found[short(name)] = min(us, found.get(short(name), us))
    return found


def aims(job: Job) -> dict[str, float]:
    """How many times tinydiv's time a peer should need; "best" is the fastest peer."""
    many, hidden, *_, technique = job
    small = hidden.startswith("16")
    if technique:
        return {"PyTorch": 1.0}
    if many == "1":
        return {"eager": 3.5, "JAX": 1.2 if small else 1.0}
    return {"best": {"32": 1.4, "256": 1.1}.get(many, 1.0) if small else 1.0}


def reached(job: Job, times: dict[str, float]) -> list[tuple[str, float, float]]:
    """(whom, the ratio that was reached, the aim) for each aim whose peer was measured."""
    us = contenders(times)
    peers = {name: t for name, t in us.items() if name not in ("tinydiv", "floor")}
    groups: dict[str, list[str]] = {
        "best": list(peers),
        "PyTorch": [n for n in ("eager", "fused", "compiled", "vmap") if n in peers],
    }
    found = []
    for whom, aim in aims(job).items():
        those = [name for name in groups.get(whom, [whom]) if name in peers]
        if those:
            first = min(those, key=lambda name: peers[name])
            found.append((first, peers[first] / us["tinydiv"], aim))
    return found


def steps_table(folder: Path) -> str:
    """A row per job, and how many aims were met."""
    rows, met, all_of = [], 0, 0
    for job, times in by_job(read(folder / "steps.csv"), "name", "median_us").items():
        us, results = contenders(times), reached(job, times)
        words = [
            f"{name} {r:.2f}, aim {aim:g}" + ": **missed**" * (r < aim) for name, r, aim in results
        ]
        cells = [f"{us[c]:.1f}" if c in us else "" for c in ("tinydiv", *COLUMNS.values())]
        many, hidden, batch, optimizer, technique = job
        rows.append([many, hidden, batch, technique or optimizer, *cells, "; ".join(words)])
        met, all_of = met + sum(r >= aim for _, r, aim in results), all_of + len(results)
    header = ["networks", "hidden", "B", "updates", "tinydiv", *COLUMNS.values(), "peer / tinydiv"]
    return f"Aims met: {met} of {all_of}.\n\n{table(header, rows)}"


def parts_table(folder: Path) -> str:
    """A column per job: the profile of its step."""
    found = by_job(read(folder / "parts.csv"), "part", "us")
    names = list(next(iter(found.values())))
    header = ["", *(f"{j[0]}, H = {j[1]}, B = {j[2]}, {j[3]}" for j in found)]
    rows = [[name, *(f"{times[name]:.1f}" for times in found.values())] for name in names]
    products = ("of it the first product", "of it the first layer's product")
    shares = {
        "these two products / whole step": [sum(t[p] for p in products) for t in found.values()],
        "optimizer / whole step": [t["optimizer"] for t in found.values()],
        "loop / whole step": [t["step of the loop"] for t in found.values()],
    }
    wholes = [times["whole step"] for times in found.values()]
    rows += [
        [name, *(f"{us / whole:.2f}" for us, whole in zip(share, wholes, strict=True))]
        for name, share in shares.items()
    ]
    return table(header, rows)


def command_table(folder: Path) -> str:
    """Medians of the command and its variants."""
    each: dict[str, list[Row]] = {}
    for row in read(folder / "command.csv"):
        each.setdefault(row["variant"], []).append(row)
    rows = []
    for name, found in each.items():
        wall = [float(row["seconds"]) for row in found]
        processor = statistics.median(float(row["processor"]) for row in found)
        rows.append(
            [name, f"{statistics.median(wall):.2f}", f"{min(wall):.2f}", f"{processor:.2f}"]
        )
    return table(["the command", "seconds, median", "least", "processor time"], rows)


def slopes(folder: Path) -> dict[str, tuple[float, float]]:
    """Those of time and memory, by what grows, from growth.csv."""
    from . import growth

    groups: dict[str, list[growth.Point]] = {}
    for row in read(folder / "growth.csv"):
        point = growth.Point(row["axis"], int(row["x"]), float(row["seconds"]), int(row["bytes"]))
        groups.setdefault(point.axis, []).append(point)
    return {axis: growth.slopes(group) for axis, group in groups.items()}


def growth_table(folder: Path) -> str:
    rows = [[axis, f"{s:.2f}", f"{m:.2f}"] for axis, (s, m) in slopes(folder).items()]
    return table(["what grows", "slope of time", "slope of memory"], rows)


def techniques_table(folder: Path) -> str:
    """Techniques by the ratio of their step to a plain one, in one line each ten."""
    rows = [row for row in read(folder / "techniques.csv") if row["name"] != "plain"]
    return ", ".join(f"{r['name']} {float(r['ratio']):.2f}" for r in rows) + "."


PARTS = {
    "steps.csv": (
        "### A step beside other libraries",
        "Microseconds per step and network, both cores for everybody, gathering included; `floor`: the "
        "products and one pass over the optimizer's arrays.",
        steps_table,
    ),
    "parts.csv": (
        "### Where the time of a step goes",
        "Processor time on one core, microseconds per step and network, least of several turns "
        "(`tests/bench/parts.py`). The columns: networks, width, batch, optimizer.",
        parts_table,
    ),
    "command.csv": (
        "### A whole command",
        f"The aim is {COMMAND_AIM:g} s.",
        command_table,
    ),
    "growth.csv": (
        "### How cost grows",
        "Slopes on logarithmic axes, of the upper half of the points; linear is 1, the aim at most "
        f"{LINEAR:g}.\n\n"
        "![time and memory for more networks, width, depth and samples](speed/growth.png)",
        growth_table,
    ),
    "techniques.csv": (
        "### A step with each technique",
        "One network, its step's time over that of a plain step.",
        techniques_table,
    ),
}


def text(folder: Path) -> str:
    """All tables for which there is a file."""
    made = [
        f"{heading}\n\n{words}\n\n{make(folder)}"
        for name, (heading, words, make) in PARTS.items()
        if (folder / name).is_file()
    ]
    facts = {row["what"]: row["value"] for row in read(folder / "machine.csv")}
    load = float(facts.pop("load before"))
    words = ", ".join(f"{what} {value}" for what, value in facts.items())
    state = "quiet" if load < 0.5 else "**busy: only processor times mean something**"
    return "\n\n".join([f"{words}; load {load:g} before the run: {state}.", *made])


def write(folder: Path) -> None:
    """Put the tables into the page beside the folder, if there is one with the two marks."""
    from tinydiv.files import atomic

    page = folder.with_suffix(".md")
    if page.is_file():
        before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
        _, end, after = rest.partition(END)
        if begin and end:
            atomic.write_text(page, f"{before}{begin}\n\n{text(folder)}\n\n{end}{after}")


if __name__ == "__main__":
    write(Path("results/speed"))
