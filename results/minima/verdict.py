"""The planned tests of the minima study: do techniques make more seeds succeed, or shorten plateaus?

    python results/minima/verdict.py runs/minima   from the folder of the study, or from several, each
                                                   with some of its settings
    python results/minima/verdict.py               from the runs.csv.gz that lies beside this file

Success: an arm against its base over all seeds. Plateau: over the seeds in which both succeed. Sign-flip
tests over seeds, with Holm's correction over the arms of one setting, regime and readout. A setting in
which plain succeeds in CERTAIN or more of its seeds cannot show a gain and counts neither way. The spirals
of the default regime, whose criterion was a mistake, are described and count neither way.

Writes verdict.md and minima.png beside this file, and from a folder runs.csv.gz: the regimes and
seeds that are finished in every arm and setting, beside the other regime if that is kept already.
"""

import csv
import functools
import gzip
import io
import sys
from pathlib import Path

import numpy as np

from tinydiv import stats
from tinydiv.command.cli import run
from tinydiv.errors import UsageError
from tinydiv.plots.style import colour, describe, new_figure, page, save
from tinydiv.study import load_study
from tinydiv.study.comparing import p_values_of_groups
from tinydiv.study.plan import arms_in

HERE = Path(__file__).parent
KEPT = HERE / "runs.csv.gz"
REGIMES = ("default", "tuned")
AGAIN = "A/A"
TASKS = ("xor", "parity", "life", "spirals")
WIDTHS = ("1x", "2x", "4x", "8x")
TECHNIQUES = {  # each arm that a claim is made of, and what it is compared with
    "orthogonal start": "plain",
    "response-ZCA start": "plain",
    "decov": "plain",
    "decov on plateaus": "plain",
    "pearson on plateaus": "plain",
    "cosine": "plain",
    "merge and recycle on plateaus": "plain",
    "redo": "plain",
    "orthogonal noise on plateaus": "plain",
    "similar start, decov on plateaus": "similar start",
    "similar start, merge and recycle on plateaus": "similar start",
}
OTHERS = {  # controls, cheap baselines and the start that is bad on purpose
    "eight times as wide": "plain",
    "decov, lambda 0": "plain",
    "momentum": "plain",
    "batch norm": "plain",
    "similar start": "plain",
}
PLANNED = 200
"""Seeds of the plan."""
CERTAIN = 0.95
"""A share of success from which a gain cannot be shown."""
LARGE = 0.20
"""A gain in success that refutes nothing if an interval still contains it."""
REACHABLE = 0.9975
"""The best accuracy on the spirals, 399 of 400: both arms begin in one point, with two labels."""
DESCRIBED = ("default", "spirals")
"""The regime and task whose criterion was found wrong in its results: no verdict is made of it."""


def rows_of(path):
    """The rows of a runs.csv, with success on the spirals by the accuracy that can be reached."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if row["setting"].startswith("spirals") and row["final"]:
            row["success"] = str(float(float(row["final"]) >= REACHABLE - 1e-6))
    return rows


def read(rows):
    """{(regime, task, width): {arm: {seed: row}}}, of the regimes and seeds that are finished."""
    found = {}
    for row in rows:
        if row["arm"] != AGAIN:
            place = (row["regime"], *row["setting"].split())
            found.setdefault(place, {}).setdefault(row["arm"], {})[int(row["seed"])] = row
    return finished(found)


def again_values(rows):
    """A/A: the p values of plain against itself under other seeds, by groups of five of them in one setting
    in turn; and the regime in which it was trained, or None."""
    regime = next((row["regime"] for row in rows if row["arm"] == AGAIN), None)
    both = {arm: {} for arm in ("plain", AGAIN)}
    for row in sorted(rows, key=lambda row: int(row["seed"])):
        if row["regime"] == regime and row["arm"] in both:
            both[row["arm"]].setdefault(row["setting"], []).append(float(row["success"] or "nan"))
    p_values = []
    settings = [" ".join(place) for place in planned()]
    for turn, setting in enumerate(settings if regime else ()):
        apart = np.array(both[AGAIN][setting]) - np.array(both["plain"][setting])
        p_values += p_values_of_groups(apart, [setting, "minima"], turn, len(settings))
    return p_values, regime


def finished(found):
    """The regimes that have every arm in every setting, with the seeds that all of them have."""
    kept = {}
    for regime in REGIMES:
        here = {place: arms for place, arms in found.items() if place[0] == regime}
        if any(set(here.get((regime, *place), {})) < arms for place, arms in planned().items()):
            continue
        seeds = set.intersection(*(set(rows) for arms in here.values() for rows in arms.values()))
        for place, arms in here.items():
            kept[place] = {
                arm: {s: row for s, row in rows.items() if s in seeds} for arm, rows in arms.items()
            }
    return kept


@functools.cache
def planned():
    """{(task, width): the names of the arms that the study compares there}."""
    study = load_study("minima")
    return {
        tuple(setting.name.split()): {arm.name for arm in arms_in(study, setting)} - {AGAIN}
        for setting in study.all_settings
    }


def regimes_of(found):
    """The regimes that are finished, in the plan's order."""
    return [regime for regime in REGIMES if any(place[0] == regime for place in found)]


def column(rows, seeds, name):
    """One readout over the seeds; NaN where there is none."""
    return np.array([float(rows[seed][name] or "nan") for seed in seeds])


def comparisons(arms, readout):
    """{arm: PairedComparison} of one setting and regime; Holm over all of them."""
    found = []
    for arm, base in (TECHNIQUES | OTHERS).items():
        if arm not in arms:
            continue
        seeds = sorted(set(arms[arm]) & set(arms[base]))
        a, b = (column(arms[name], seeds, readout) for name in (arm, base))
        if readout == "plateau":
            both = [column(arms[name], seeds, "success") == 1 for name in (arm, base)]
            chosen = both[0] & both[1] & np.isfinite(a) & np.isfinite(b)
            a, b = a[chosen], b[chosen]
        if len(a):
            found.append(stats.compare(a, b, names=(arm, base), seed=0))
    return {one.arm: one for one in stats.adjust(found)} if found else {}


def base_of(arm):
    """What an arm is compared with."""
    return (TECHNIQUES | OTHERS)[arm]


def share(arms, name):
    """The share of seeds that succeed."""
    return float(np.mean(column(arms[name], arms[name], "success")))


def is_certain(arms, arm):
    """Whether the arm's base succeeds so often that no gain can be shown."""
    return share(arms, base_of(arm)) >= CERTAIN


def has_its_bases_rate(arms, arm):
    """Whether an arm and its base were trained at one rate. Where not, the rate alone changes a plateau."""
    rates = [{row["lr"] for row in arms[name].values()} for name in (arm, base_of(arm))]
    return rates[0] == rates[1]


def verdicts(found):
    """What the plan asks, as {question: {regime: answer}}; an answer is a list of arms and tasks."""
    tests = {
        name: {place: comparisons(arms, name) for place, arms in found.items()}
        for name in ("success", "plateau")
    }
    answers = {"helps": {}, "faster": {}, "open": {}}
    for regime in regimes_of(found):
        helps, faster, still_open = [], [], []
        for arm in TECHNIQUES:
            shorter, fair = [], []
            for task in TASKS:
                if (regime, task) == DESCRIBED:
                    continue
                here = [(regime, task, width) for width in WIDTHS if (regime, task, width) in found]
                gains = [
                    place[2]
                    for place in here
                    if (one := tests["success"][place].get(arm))
                    and one.shown
                    and one.difference > 0
                    and not is_certain(found[place], arm)
                ]
                if len(gains) >= 2:
                    helps.append((arm, task, tuple(gains)))
                times = [
                    place
                    for place in here
                    if (one := tests["plateau"][place].get(arm))
                    and one.shown
                    and one.difference < 0
                ]
                if times:
                    shorter.append(task)
                if any(has_its_bases_rate(found[place], arm) for place in times):
                    fair.append(task)
                for place in here:
                    one = tests["success"][place].get(arm)
                    if one is None or place[2] not in ("1x", "2x") or is_certain(found[place], arm):
                        continue
                    if one.interval.high >= LARGE:
                        still_open.append((arm, task, place[2]))
            if len(shorter) >= 2:
                faster.append((arm, tuple(shorter), tuple(fair)))
        answers["helps"][regime] = helps
        answers["faster"][regime] = faster
        answers["open"][regime] = still_open
    return tests, answers


def cell(one, scale, certain=False):
    """A difference with its interval; a star where it is shown."""
    if one is None or one.n < stats.MIN_SEEDS:
        return ""
    middle, low, high = (
        round(scale * value) + 0  # + 0: never -0
        for value in (one.difference, one.interval.low, one.interval.high)
    )
    star = " \\*" if one.shown else ""
    text = f"{middle:+d} [{low}, {high}]{star}"
    return f"({text})" if certain else text


def tables(found, tests):
    """Success and plateau: a table for each regime and task, one line per arm."""
    lines = []
    for regime in regimes_of(found):
        for task in TASKS:
            here = {w: (regime, task, w) for w in WIDTHS if (regime, task, w) in found}
            if not here:
                continue
            lines += [
                f"## {task}, {regime} regime\n",
                "| arm | " + " | ".join(f"success, {width}" for width in here) + " |",
                "|---" * (len(here) + 1) + "|",
                "| plain, share in % | "
                + " | ".join(f"{100 * share(found[p], 'plain'):.0f}" for p in here.values())
                + " |",
            ]
            for name, scale in (("success", 100), ("plateau", 1)):
                if name == "plateau":
                    lines += [
                        "",
                        "| arm | "
                        + " | ".join(f"steps on plateau, {width}" for width in here)
                        + " |",
                        "|---" * (len(here) + 1) + "|",
                    ]
                for arm in TECHNIQUES | OTHERS:
                    cells = []
                    for place in here.values():
                        one = tests[name][place].get(arm)
                        certain = name == "success" and one and is_certain(found[place], arm)
                        cells.append(cell(one, scale, certain))
                    if any(cells):
                        lines.append(f"| {arm} | " + " | ".join(cells) + " |")
            lines.append("")
    return "\n".join(lines)


def words(answers):
    """The verdict of the plan in lines."""
    lines = []
    for regime in answers["helps"]:
        lines.append(f"**{regime.capitalize()} regime**\n")
        for arm, task, widths in answers["helps"][regime]:
            lines.append(f"- helps: {arm}, {task} at {', '.join(widths)}")
        for arm, tasks, fair in answers["faster"][regime]:
            line = f"- shorter plateau: {arm}, {', '.join(tasks)}"
            at_its_rate = f"; where its rate is its base's: {', '.join(fair) or 'nowhere'}"
            lines.append(line + at_its_rate * (fair != tasks))
        for arm, task, width in answers["open"][regime]:
            lines.append(
                f"- a gain of {100 * LARGE:.0f} points is not excluded: {arm}, {task} {width}"
            )
        if not any(answers[question][regime] for question in answers):
            lines.append("- nothing helps, nothing is faster, and no large gain is left open")
        lines.append("")
    return "\n".join(lines)


def picture(found):
    """Share of success against width, a panel for each task and regime."""
    shown = ("plain", "decov on plateaus", "merge and recycle on plateaus", "redo")
    shown += ("response-ZCA start", "batch norm", "similar start")
    figure = new_figure(7.0, 9.5)
    regimes = regimes_of(found)
    axes = figure.subplots(len(TASKS), len(regimes), sharex=True, sharey=True, squeeze=False)
    for row, task in zip(axes, TASKS, strict=True):
        for ax, regime in zip(row, regimes, strict=True):
            for place, arm in enumerate(shown):
                here = [
                    (x, 100 * share(arms, arm))
                    for x, width in enumerate(WIDTHS)
                    if arm in (arms := found.get((regime, task, width), {}))
                ]
                if here:
                    style = {"marker": "o", "markersize": 4, "color": colour(place), "label": arm}
                    ax.plot(*zip(*here, strict=True), **style)
            ax.set_title(f"{task}, {regime}", fontsize="medium")
            ax.set_xticks(range(len(WIDTHS)), WIDTHS)
            ax.set_ylim(-4, 104)
            describe(ax, f"Share of seeds that succeed against width: {task}, {regime} regime.")
        row[0].set_ylabel("success, % of seeds")
    for ax in axes[-1]:
        ax.set_xlabel("width, times one that suffices")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def seeds_of(found, regime):
    """The seeds of a regime: every arm in every setting has the same."""
    return next(
        set(rows) for place, arms in found.items() if place[0] == regime for rows in arms.values()
    )


def unfinished(regime, seeds):
    """A line on what the plan asks for and what is there."""
    if seeds >= PLANNED:
        return f"{regime.capitalize()} regime: {seeds} seeds, finished.\n"
    there = f"{regime} regime, {seeds} of {PLANNED} seeds"
    return f"**Not finished:** {there}. By the plan this decides nothing.\n"


def checked(rows):
    """Two lines: whether the A/A arm finds a fault."""
    p_values, regime = again_values(rows)
    if len(p_values) < 5:
        return "**The A/A arm is not computed.**\n"
    p = stats.uniformity_check(p_values).p
    return (
        f"A/A ({regime} regime): {len(p_values)} p values of plain against itself; whether they are\n"
        f"uniform: p = {p:.3f}.{' **By the plan this study is void.**' * (p < 0.01)}\n"
    )


def written(rows):
    """verdict.md: the verdict with its tables."""
    found = read(rows)
    tests, answers = verdicts(found)
    seeds = {regime: seeds_of(found, regime) for regime in regimes_of(found)}
    text = [
        "# Success and plateaus, by the rules of the plan\n",
        *(unfinished(regime, len(seeds.get(regime, ()))) for regime in REGIMES),
        checked(rows),
        "Differences to the arm's base, with 95 % intervals: success in points, plateau in steps over the",
        f"seeds in which both succeed ({stats.MIN_SEEDS} or more). \\* marks what is shown after Holm; in",
        "brackets stands what counts neither way, since the base succeeds in",
        f"{100 * CERTAIN:.0f} % of the seeds or more. On the spirals {REACHABLE} (399 of 400 cases) is",
        "success: both arms begin in one point. In the default regime that was noticed in the results,",
        "so there the spirals are described only.\n",
        words(answers),
        tables(found, tests),
    ]
    return "\n".join(text)


def keep(*folders):
    """Write what folders hold together into runs.csv.gz, in place of what is kept of it: the regimes that
    are finished there, and the A/A arm."""
    new = [row for folder in folders for row in rows_of(folder / "runs.csv")]
    old = rows_of(KEPT) if KEPT.exists() else []
    found = read(new)
    rows = []
    for regime in REGIMES:
        if regime in regimes_of(found):
            seeds = seeds_of(found, regime)
            rows += [
                row
                for row in new
                if row["regime"] == regime
                and row["arm"] in planned()[tuple(row["setting"].split())]
                and int(row["seed"]) in seeds
            ]
        else:
            rows += [row for row in old if row["regime"] == regime and row["arm"] != AGAIN]
    again = [[row for row in these if row["arm"] == AGAIN] for these in (new, old)]
    rows += again[0] or again[1]
    if not regimes_of(found) and not again[0]:
        raise UsageError(
            f"neither a finished regime of minima nor its A/A arm in {', '.join(map(str, folders))}"
        )
    text = io.StringIO()
    out = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    out.writeheader()
    out.writerows(rows)
    KEPT.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))


def main(folders):
    """Keep the runs of folders; write the verdict with its tables, and the figure."""
    if folders:
        keep(*map(Path, folders))
    rows = rows_of(KEPT)
    (HERE / "verdict.md").write_text(written(rows), encoding="utf-8")
    with page("light"):
        save(picture(read(rows)), HERE / "minima.png")


if __name__ == "__main__":
    sys.exit(run(Path(__file__).name, main))
