"""The tables of the carried-over start, from the runs.

    python results/carried_over/tables.py      tables.md, comparisons.csv and early.png, beside the runs

`decorrelated` less every other start, and each start at equal scale less its own base, in points, paired by
seed; the interval inverts the sign-flip test, p is Holm's over the comparisons of one set and regime.
"""

import csv
import gzip
import sys
from pathlib import Path

import numpy as np
from measure import REGIMES, STARTS
from measure import train as measure_one  # noqa: F401  tests run one again

from tinydiv.command.cli import run
from tinydiv.errors import UsageError
from tinydiv.stats import adjust, compare

HERE = Path(__file__).parent
FILES = ("tables.csv.gz", "images.csv.gz")
READOUTS = {"early": "mean accuracy over epochs 1 to 5", "final": "accuracy after the last epoch"}
OTHERS = ("pytorch", "he-normal", "orthogonal", "lsuv", "preferential-attachment")
COLUMNS = ("set", "regime", "readout", "arm", "base", "n", "arm_mean", "base_mean", "difference")
COLUMNS += ("low", "high", "p", "p_holm", "shown")
PAIRS = [("decorrelated", other) for other in OTHERS]
PAIRS += [(start, start.split("@")[1]) for start in STARTS if "@" in start]


def runs():
    """{(set, regime, start): {readout: {seed: value}}} and {(set, regime, start): rate}."""
    values, rates = {}, {}
    for file in FILES:
        if not (HERE / file).exists():
            continue
        with gzip.open(HERE / file, "rt", newline="") as rows:
            for row in csv.DictReader(rows):
                key = row["set"], row["regime"], row["start"]
                rates[key] = float(row["rate"])
                for readout in READOUTS:
                    kept = values.setdefault(key, {}).setdefault(readout, {})
                    kept[int(row["seed"])] = float(row[readout])
    return values, rates


def comparisons(values):
    """(set, regime, readout, comparison) for every pair, Holm within each set, regime and readout."""
    for name in dict.fromkeys(key[0] for key in values):
        for regime in REGIMES:
            for readout in READOUTS:
                found = []
                for arm, base in PAIRS:
                    a, b = (values[name, regime, start][readout] for start in (arm, base))
                    seeds = sorted(a.keys() & b.keys())
                    found.append(
                        compare(
                            [a[s] for s in seeds], [b[s] for s in seeds], names=(arm, base), seed=0
                        )
                    )
                for one in adjust(found):
                    yield name, regime, readout, one


def cell(one):
    """ "+3.2* [2.9, 3.5]": the difference in points, a star where it is shown after Holm."""
    low, high = 100 * one.interval.low, 100 * one.interval.high
    return f"{100 * one.difference:+.1f}{'*' if one.shown else ''} [{low:.1f}, {high:.1f}]"


def markdown(found, readout):
    """One table: a row per set and regime, a column per pair."""
    head = [f"{arm} - {base}" for arm, base in PAIRS]
    lines = [f"| set, regime | {' | '.join(head)} |", "|---" * (len(head) + 1) + "|"]
    rows = {}
    for name, regime, which, one in found:
        if which == readout:
            rows.setdefault((name, regime), []).append(cell(one))
    lines += [
        f"| {name}, {regime} | {' | '.join(cells)} |" for (name, regime), cells in rows.items()
    ]
    return "\n".join(lines)


def picture(found):
    """Early differences of `decorrelated` to PyTorch's default and to the best other start."""
    import matplotlib.pyplot as plt

    from tinydiv.plots import forest, page, save

    early = [(n, r, one) for n, r, which, one in found if which == "early"]
    kinds = [
        ("decorrelated - pytorch", ("decorrelated", "pytorch")),
        ("decorrelated@pytorch - pytorch, equal scale", ("decorrelated@pytorch", "pytorch")),
    ]
    with page("light"):
        count = len({(n, r) for n, r, _ in early})
        figure, axes = plt.subplots(
            1, 2, figsize=(11, 0.3 * count + 1.2), layout="constrained", sharey=True
        )
        for ax, (title, pair) in zip(axes, kinds, strict=True):
            shown = [(n, r, one) for n, r, one in early if (one.arm, one.base) == pair]
            forest(
                ax,
                [f"{n}, {r}" for n, r, _ in shown],
                [100 * one.difference for *_, one in shown],
                [100 * one.interval.low for *_, one in shown],
                [100 * one.interval.high for *_, one in shown],
                shown=[one.shown for *_, one in shown],
            )
            ax.set_title(title)
            ax.set_xlabel("points, mean of epochs 1 to 5; filled: shown after Holm")
        save(figure, HERE / "early.png")
        plt.close(figure)


def main(words):
    if words:
        raise UsageError(f"this script takes no argument; got {words[0]}")
    values, rates = runs()
    found = list(comparisons(values))
    parts = [
        f"## {words.capitalize()}\n\n{markdown(found, key)}\n" for key, words in READOUTS.items()
    ]
    tuned = sorted((*key, rate) for key, rate in rates.items() if key[1].endswith("tuned"))
    lines = ["| set | regime | start | rate |", "|---|---|---|---|"]
    lines += [f"| {n} | {g} | {s} | {rate:g} |" for n, g, s, rate in tuned]
    parts.append("## Rates that were tuned\n\n" + "\n".join(lines) + "\n")
    (HERE / "tables.md").write_text("\n".join(parts), encoding="utf-8")
    with (HERE / "comparisons.csv").open("w", newline="", encoding="utf-8") as out:
        table = csv.writer(out, lineterminator="\n")
        table.writerow(COLUMNS)
        for name, regime, readout, one in found:
            numbers = (
                one.arm_mean,
                one.base_mean,
                one.difference,
                one.interval.low,
                one.interval.high,
            )
            row = [name, regime, readout, one.arm, one.base, one.n, *(f"{v:.6f}" for v in numbers)]
            table.writerow([*row, f"{one.p:.3g}", f"{one.p_holm:.3g}", int(one.shown)])
    picture(found)
    shown = [one for *_, which, one in found if which == "early" and one.shown]
    print(
        f"{len(found)} comparisons; early and shown: {len(shown)}, "
        f"{np.sum([one.difference > 0 for one in shown])} of them above 0"
    )


if __name__ == "__main__":
    sys.exit(run(Path(__file__).name, main))
