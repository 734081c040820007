"""The Markdown page of a study: controls first, then a table per setting and regime."""

import math
from collections.abc import Callable

import numpy as np

from tinydiv.divergence import where_diverged
from tinydiv.files.table import Row, as_markdown
from tinydiv.settings import rounded
from tinydiv.study.comparing import (
    Checks,
    Comparison,
    check_controls,
    compare_all,
    relations,
    share,
)
from tinydiv.study.cost import GPU_TIMED_NETWORKS, TIMED_NETWORKS, TIMED_ROUNDS
from tinydiv.study.plan import tuned_as
from tinydiv.study.readouts import Readout
from tinydiv.study.results import Cell, Results
from tinydiv.study.tidy import cost_rows

MOST_COSTS = 4
"""How many settings' costs are on the page; costs.csv has all."""


def markdown(results: Results) -> str:
    """The whole page."""
    study = results.study
    done, planned = results.done()
    parts = [f"# {study.title or study.name}"]
    if study.question:
        parts.append(" ".join(study.question.split()))
    if done < planned:
        parts.append(
            f"**Not finished:** {done} of {planned} networks so far. Every line below compares the "
            "seeds that both arms have."
        )
    parts.append(
        f"{study.seeds} paired seeds; base arm: {study.base_arm.name}; regimes: "
        f"{', '.join(study.regimes)}. Differences are means over pairs, with the 95 % interval that "
        "inverts the sign-flip test (none below 6 pairs); p values are those of that test, corrected "
        "by Holm's rule over the arms of a table; \\* marks what is shown: 10 pairs or more, an "
        "interval without 0, and p < .05. "
        "All readouts: comparisons.csv; every seed: runs.csv and curves.csv."
    )
    if study.seeds < 10:
        parts.append("**Fewer than 10 seeds support no claim:** read this as a trial run.")
    parts.append(controls_text(results, check_controls(results)))
    for setting, regime in results.tables:
        parts += table_text(results, setting, regime)
    related = relation_text(results)
    if related:
        parts += ["## Diversity and accuracy over the seeds of the base arm", related]
    tuning = tuning_text(results)
    if tuning:
        parts += ["## What tuning chose", tuning]
    parts += ["## Cost per training step and network", cost_text(results)]
    return "\n\n".join(part for part in parts if part) + "\n"


def controls_text(results: Results, checks: Checks) -> str:
    """The results of the A/A arm and of the planted effects, as checks of the study itself."""
    lines = []
    if results.study.controls.aa:
        if checks.aa is None:
            lines.append(
                f"- A/A: {len(checks.aa_p)} independent p values of the base against itself, too few "
                "to test whether they are uniform (at least 5 are needed)."
            )
        else:
            words = "no sign that they are not uniform"
            if checks.aa.p < 0.01:
                words = "**they are not uniform: do not rely on this study**"
            lines.append(
                f"- A/A: {checks.aa.n} independent p values of the base against itself under other "
                f"seeds: {words} (p = {checks.aa.p:.2g}). The A/A rows below are not corrected: one in "
                "twenty may be marked."
            )
    if checks.planted:
        shown = len(checks.planted) - len(checks.lost)
        lines.append(f"- Planted effects: found in {shown} of {len(checks.planted)} tables.")
    for one in checks.lost:
        where = title(one.cell.setting, one.cell.regime)
        lines.append(f"- **Planted effect NOT found** ({where}): {one.sentence}.")
    return "## Controls\n\n" + "\n".join(lines) if lines else ""


def table_text(results: Results, setting: str, regime: str) -> list[str]:
    """The tables of one setting and regime, and their sentences."""
    primary = results.readout(setting, results.study.primary)
    rows = {one.cell.arm: one for one in compare_all(results, setting, regime, primary)}
    cells = results.cells_of(setting, regime)
    differences, levels = secondary_readouts(results, setting, primary)
    # Each column: its heading, and a function from a cell to its text.
    columns: list[Column] = [
        ("arm", lambda cell: arm_text(results, cell)),
        (primary.title, lambda cell: level_text(results, cell, primary)),
        (f"Δ {primary.unit or primary.name} [95 %]", lambda p: difference_text(rows.get(p.arm))),
        ("relative", lambda cell: relative_text(rows.get(cell.arm))),
        ("p, Holm", lambda cell: p_text(rows.get(cell.arm))),
        *(difference_column(results, setting, regime, readout) for readout in differences),
        ("diverged", lambda cell: diverged_text(results, cell)),
    ]
    more: list[Column] = [("arm", lambda cell: cell.arm)]
    more += [(r.title, lambda cell, r=r: level_text(results, cell, r)) for r in levels]  # type: ignore[misc]
    where = [line for cell in cells for line in divergences(results, cell)]
    parts = [
        f"## {title(setting, regime)}",
        target_text(results, cells[0]),
        as_markdown(
            [name for name, _ in columns], [[text(p) for _, text in columns] for p in cells]
        ),
        "\n".join(f"- {one.sentence}{detectable_text(one)}." for one in rows.values()),
        as_markdown([name for name, _ in more], [[text(p) for _, text in more] for p in cells]),
        "Diverged, and left out on both sides:\n\n" + "\n".join(where) if where else "",
    ]
    return [part for part in parts if part]


def title(setting: str, regime: str) -> str:
    """The heading of a table or a picture."""
    return f"{regime} regime" if setting == "all" else f"{setting}, {regime} regime"


Column = tuple[str, Callable[[Cell], str]]


def secondary_readouts(
    results: Results, setting: str, primary: Readout
) -> tuple[list[Readout], list[Readout]]:
    """(readouts whose differences are columns beside the primary one, readouts whose level is shown)."""
    found = [r for r in results.readouts(setting) if r.name != primary.name]
    last = f"epoch{results.base_training(setting).epochs}"
    differences = [r for r in found if r.unit == "points" and not r.is_count and r.name != last]
    metrics = [r for r in found if r.name.endswith("@final")]
    if primary.is_count:
        names = {"plateau"}
        differences = [r for r in differences if r.name == "final"]
    else:
        names = {"reached", "steps_to_target", "seconds_to_target"}
        # Success is an accuracy of 100 % by default, which no network reaches on images.
        names |= {"success"} if results.measure(setting).success < 1 else set()
    return differences, [r for r in found if r.name in names] + metrics


def difference_column(results: Results, setting: str, regime: str, readout: Readout) -> Column:
    """Differences in points, marked where they are shown; the base's own level in its row."""
    found = {one.cell.arm: one for one in compare_all(results, setting, regime, readout)}

    def text(cell: Cell) -> str:
        if cell.arm == results.study.base_arm.name:
            return level_text(results, cell, readout)
        one = found.get(cell.arm)
        if one is None:
            return ""
        star = " \\*" if one.paired.shown else ""
        return f"{readout.scale * one.paired.difference:+.1f}{star}"

    return f"Δ {readout.title.removeprefix('after ')}", text


def arm_text(results: Results, cell: Cell) -> str:
    """An arm's name, with the rate and strength that it had."""
    trials = results.trials(cell)
    control = results.arm(cell.setting, cell.arm).control
    name = f"*{cell.arm}* ({control})" if control and control != cell.arm else cell.arm
    if not trials:
        return name
    t = trials[0].training
    strength = "" if t.strength is None else f", {rounded(t.strength)}"
    return f"{name} ({t.optimizer} {t.lr:.3g}{strength})"


def level_text(results: Results, cell: Cell, readout: Readout) -> str:
    """A mean over seeds; for yes-or-no readouts the share with Wilson's interval."""
    if readout.is_count:
        found = share(results, cell, readout)
        if found is None:
            return ""
        return f"{100 * found.estimate:.0f} % [{100 * found.low:.0f}, {100 * found.high:.0f}]"
    numbers = results.numbers(cell, readout)
    seen = numbers[np.isfinite(numbers)]
    if readout.unit in ("steps", "seconds"):
        # A trial that never reaches the target counts as infinitely slow; it is not left out.
        done = [curve is not None for curve in results.found(cell)]
        waits = np.where(np.isfinite(numbers), numbers, np.inf)[done]
        if not waits.size:
            return ""
        middle = float(np.median(waits))
        return "never (median)" if math.isinf(middle) else f"{rounded(middle)} (median)"
    if not seen.size:
        return ""
    mean = float(seen.mean())
    return f"{100 * mean:.2f} %" if readout.unit == "points" else rounded(mean)


def difference_text(one: Comparison | None) -> str:
    """ "+1.23 [0.45, 2.01]" in the readout's unit."""
    if one is None:
        return ""
    p, scale = one.paired, one.readout.scale
    if math.isinf(p.interval.low):
        return f"{scale * p.difference:+.2f} [too few pairs]"
    return (
        f"{scale * p.difference:+.2f} [{scale * p.interval.low:.2f}, {scale * p.interval.high:.2f}]"
    )


def relative_text(one: Comparison | None) -> str:
    """A relative difference in percent."""
    if one is None or one.paired.relative is None:
        return ""
    return f"{100 * one.paired.relative:+.1f} %"


def p_text(one: Comparison | None) -> str:
    """The p value after Holm's correction, marked where the difference is shown."""
    if one is None:
        return ""
    p = one.paired.p if one.paired.p_holm is None else one.paired.p_holm
    return ("< .0001" if p < 0.0001 else f"{p:.2g}") + (" \\*" if one.paired.shown else "")


def diverged_text(results: Results, cell: Cell) -> str:
    """How many networks of a cell diverged."""
    found = [curve for curve in results.found(cell) if curve is not None]
    return f"{sum(curve.diverged for curve in found)} of {len(found)}" if found else ""


def divergences(results: Results, cell: Cell) -> list[str]:
    """A line for each diverged network of an arm: "- adam, seed 3: step 17, in layer 1"."""
    lines = []
    for trial, curve in zip(results.trials(cell) or [], results.found(cell), strict=False):
        if curve is not None and curve.diverged:
            where = where_diverged(curve.diverged_layer)
            lines.append(f"- {cell.arm}, seed {trial.seed}: step {curve.diverged_step}, {where}")
    return lines


def detectable_text(one: Comparison) -> str:
    """Where no effect is shown: the smallest one that would have been."""
    if one.paired.shown or not 0 < one.detectable < math.inf:
        return ""
    r = one.readout
    least = rounded(r.scale * one.detectable, 2)
    return f"; {one.paired.n} pairs would have shown {least} {r.unit or r.title}"


def target_text(results: Results, cell: Cell) -> str:
    """The accuracy that is the target in this table."""
    target = results.target(cell)
    if not math.isfinite(target):
        return ""
    return f"Target: {100 * target:.2f} % test accuracy" + (
        " (where the base arm ends, on average)." if results.study.measure.target == "base" else "."
    )


def relation_text(results: Results) -> str:
    """The rank correlations of diversity and accuracy over seeds, in each setting's base arm."""
    regime = results.study.regimes[0]
    base = results.study.base_arm.name
    rows = {
        setting.name: relations(results, Cell(setting.name, regime, base))
        for setting in results.study.all_settings
        if any(arm.name == base for arm in results.arms[setting.name])
    }
    metrics = list(dict.fromkeys(metric for found in rows.values() for metric in found))
    if not metrics:
        return ""
    body = [
        [
            setting,
            *(
                f"{r.estimate:+.2f} [{r.low:.2f}, {r.high:.2f}]" if (r := found.get(m)) else ""
                for m in metrics
            ),
        ]
        for setting, found in rows.items()
    ]
    return as_markdown(["setting", *metrics], body) + (
        "\n\nSpearman's rank correlation of the metric with the test accuracy, both at the end, with 95 % "
        "intervals (not corrected for their number). A correlation over seeds is no proof of a cause."
    )


def tuning_text(results: Results) -> str:
    """One line per arm and setting: the chosen rate and strength, and a warning at the grid's edge."""
    body = []
    for setting, arm in results.tuning:
        choice = results.choice(setting, arm)
        if choice is None:
            continue
        if choice.chosen is None:
            body.append(
                [setting, arm, "none: every candidate diverged", "", str(choice.trials), ""]
            )
            continue
        c, edge = choice.chosen, "**yes**" if choice.at_edge else "no"
        strength = "" if c.strength is None else rounded(c.strength)
        body.append([setting, arm, rounded(c.lr), strength, str(choice.trials), edge])
    heads = ["setting", "arm", "rate", "strength", "runs spent", "at the grid's edge"]
    return as_markdown(heads, body) if body else ""


def cost_text(results: Results) -> str:
    """Counted work and measured time, and their ratio to the base's; built-in controls cost the same as the
    base, and are left out."""
    study = results.study
    rows = {
        (row["setting"], row["arm"]): row
        for row in cost_rows(results)
        if row["regime"] == study.regimes[0]
    }
    settings = [setting.name for setting in study.all_settings[:MOST_COSTS]]
    body = []
    for (setting, arm), row in rows.items():
        own = results.arm(str(setting), str(arm))
        if setting not in settings or tuned_as(study, own) != own:
            continue
        base = rows.get((setting, study.base_arm.name), {})
        flops = total(row, "product_flops", "other_flops")
        body.append(
            [
                str(setting),
                str(arm),
                number(flops),
                times(flops, total(base, "product_flops", "other_flops")),
                number(row["bytes"]),
                number(row["array_calls"]),
                microseconds(row["step_seconds"]),
                times(row["step_seconds"], base.get("step_seconds")),
                microseconds(row["start_seconds"]),
                number(row["joules_per_step"]) or "not measured",
            ]
        )
    heads = ["setting", "arm", "flops", "× base", "bytes", "array calls", "µs", "× base"]
    more = len(study.all_settings) - len(settings)
    return (
        as_markdown([*heads, "start, µs", "joules"], body)
        + (f"\n\n{more} more settings: costs.csv." if more else "")
        + "\n\nFlops, bytes and calls are counted, for one network alone. µs are measured among "
        f"{TIMED_NETWORKS} networks ({GPU_TIMED_NETWORKS} on a GPU) in one process, the best of "
        f"{TIMED_ROUNDS} rounds, beside whatever else the machine did; a start is paid once. Joules "
        "come from a hardware counter, with whatever else ran on the machine, or not at all."
    )


def total(row: Row, *keys: str) -> float | None:
    """The sum of some numbers of a row."""
    values = [row.get(key) for key in keys]
    known = [v for v in values if isinstance(v, int | float)]
    return sum(known) if len(known) == len(values) else None


def number(value: object) -> str:
    """A number as short text; empty for anything else."""
    return rounded(value) if isinstance(value, int | float) and math.isfinite(value) else ""


def times(value: object, base: object) -> str:
    """The ratio to the base's number."""
    if not isinstance(value, int | float) or not isinstance(base, int | float) or not base > 0:
        return ""
    return f"{value / base:.2f}" if math.isfinite(value) else ""


def microseconds(value: object) -> str:
    """Seconds as microseconds; empty where they were not measured."""
    return f"{1e6 * value:.0f}" if isinstance(value, int | float) and math.isfinite(value) else ""
