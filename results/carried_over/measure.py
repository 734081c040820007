"""The decorrelated start in PyTorch's own training loop, beside the starts that a user would pick.

    python results/carried_over/measure.py runs.csv      a row per run, all that it lacks
    python results/carried_over/measure.py runs.csv --sets iris wine --seeds 10

Needs torch and scikit-learn (extra bench). Four small tables that come with scikit-learn and played no
part in choosing the start, and both image sets (TINYDIV_DATA_DIR). Every start sees the same split, the
same batches and the same seed. Rates are untuned (SGD 0.01 and 0.1, Adam 0.001), or tuned: the rate of
RATES with the best mean accuracy over epochs 1 to 5 on a quarter of the training part, seeds 1000 to 1004,
for each start, set and optimizer. A file that exists is gone on with.
"""

import argparse
import csv
import itertools
import sys
from functools import cache
from pathlib import Path

import numpy as np
import sklearn.datasets
import torch

from tinydiv import torch_export
from tinydiv.data import load

STARTS = (
    "pytorch",
    "he-normal",
    "orthogonal",
    "lsuv",
    "preferential-attachment",
    "decorrelated",
    "decorrelated@pytorch",
    "decorrelated@he-normal",
)
"""All by torch_export.initialize; "pytorch" is what torch.nn.Linear does, drawn with the run's seed."""
TABLES = ("iris", "wine", "breast_cancer", "digits")
IMAGES = ("fashion-mnist", "mnist")
REGIMES = {
    "sgd 0.01": ("sgd", 0.01),
    "sgd 0.1": ("sgd", 0.1),
    "adam 0.001": ("adam", 0.001),
    "sgd tuned": ("sgd", None),
    "adam tuned": ("adam", None),
}
RATES = {"sgd": (0.01, 0.03, 0.1, 0.3, 1.0), "adam": (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)}
TUNING_SEEDS = range(1000, 1005)
HIDDEN = 16
EPOCHS = {**dict.fromkeys(TABLES, 20), **dict.fromkeys(IMAGES, 5)}
BATCH = {**dict.fromkeys(TABLES, 16), **dict.fromkeys(IMAGES, 1024)}
COLUMNS = ("set", "regime", "start", "rate", "seed", "early", "final")


@cache
def raw(name):
    """(X, y) of a table, or the parts of an image set, pixels as float32."""
    if name in TABLES:
        return getattr(sklearn.datasets, f"load_{name}")(return_X_y=True)
    found = load(name)
    x, ex = ((part / 255).astype("float32") for part in (found.train_x, found.test_x))
    return x, np.asarray(found.train_y), ex, np.asarray(found.test_y)


def split(name, seed, tuning):
    """Tensors (train x, y, test x, y), standardised by the training part; tables are split by the seed.

    tuning: a quarter of the training part stands in for the test part, which is not touched.
    """
    rng = np.random.default_rng([seed, 7])
    if name in TABLES:
        X, y = raw(name)
        order = rng.permutation(len(y))
        cut = len(y) * 7 // 10
        train, test = order[:cut], order[cut:]
        x, t, ex, et = X[train], y[train], X[test], y[test]
    else:
        x, t, ex, et = raw(name)
    if tuning:
        order = rng.permutation(len(t))
        cut = len(t) * 3 // 4
        x, t, ex, et = x[order[:cut]], t[order[:cut]], x[order[cut:]], t[order[cut:]]
    if name in TABLES:
        mean, deviation = x.mean(axis=0), x.std(axis=0)
        deviation = np.where(deviation > 0, deviation, 1)
        x, ex = (x - mean) / deviation, (ex - mean) / deviation
    tensor = torch.from_numpy
    return (
        tensor(x.astype("float32", copy=False)),
        tensor(t.astype("int64")),
        tensor(ex.astype("float32", copy=False)),
        tensor(et.astype("int64")),
    )


def train(name, optimizer, rate, start, seed, tuning=False):
    """(mean test accuracy over epochs 1 to 5, after the last epoch) of one network."""
    x, t, ex, et = split(name, seed, tuning)
    torch.manual_seed(seed)
    classes = int(t.max()) + 1
    model = torch.nn.Sequential(
        torch.nn.Linear(x.shape[1], HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, classes)
    )
    if start != "pytorch":
        probe = torch.from_numpy(np.random.default_rng([seed, 8]).permutation(len(x))[:4096])
        torch_export.initialize(model, x[probe], seed, start)
    make = torch.optim.SGD if optimizer == "sgd" else torch.optim.Adam
    moves = make(model.parameters(), lr=rate)
    loss = torch.nn.CrossEntropyLoss()
    order = torch.Generator().manual_seed(seed)
    accuracy = []
    for _ in range(5 if tuning else EPOCHS[name]):
        rows = torch.randperm(len(x), generator=order)
        for first in range(0, len(x) - BATCH[name] + 1, BATCH[name]):
            batch = rows[first : first + BATCH[name]]
            moves.zero_grad()
            loss(model(x[batch]), t[batch]).backward()
            moves.step()
        with torch.no_grad():
            accuracy.append(float((model(ex).argmax(dim=1) == et).double().mean()))
    return float(np.mean(accuracy[:5])), accuracy[-1]


def tuned_rate(name, optimizer, start):
    """The best rate of RATES on the tuning seeds and the validation split."""
    found = {
        rate: np.mean(
            [train(name, optimizer, rate, start, s, tuning=True)[0] for s in TUNING_SEEDS]
        )
        for rate in RATES[optimizer]
    }
    return max(found, key=found.get)


def finished(file):
    """{(set, regime, start): {seed: rate}} of the rows that a file holds; {} where there is none."""
    found = {}
    for row in csv.DictReader(file.open(newline="")) if file.exists() else []:
        key = row["set"], row["regime"], row["start"]
        found.setdefault(key, {})[int(row["seed"])] = float(row["rate"])
    return found


def main():
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("file", type=Path)
    flags.add_argument("--sets", nargs="+", default=[*TABLES, *IMAGES], choices=[*TABLES, *IMAGES])
    flags.add_argument("--seeds", type=int, default=50)
    options = flags.parse_args()
    torch.set_num_threads(1)
    done, new = finished(options.file), not options.file.exists()
    with options.file.open("a", newline="") as out:
        table = csv.writer(out)
        if new:
            table.writerow(COLUMNS)
        for name, regime, start in itertools.product(options.sets, REGIMES, STARTS):
            known = done.get((name, regime, start), {})
            missing = [seed for seed in range(options.seeds) if seed not in known]
            if not missing:
                continue
            optimizer, fixed = REGIMES[regime]
            rate = fixed or next(iter(known.values()), None) or tuned_rate(name, optimizer, start)
            for seed in missing:
                early, final = train(name, optimizer, rate, start, seed)
                table.writerow([name, regime, start, rate, seed, f"{early:.6f}", f"{final:.6f}"])
                out.flush()
            print(name, regime, start, "rate", rate, file=sys.stderr)


if __name__ == "__main__":
    main()
