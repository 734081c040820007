"""Which pair of factors suits each start best? Chosen on validation, before any test set is read.

    python results/initializers/best_scales.py > results/initializers/scales.csv

Every base and the decorrelated start at Glorot's scale, its incoming weights multiplied by `inner` and its
outgoing ones by `outer`, trains as in the studies: 784-16-10, ReLU, batch 1024, 5 epochs, SGD 0.01 and Adam
0.001, on three tuning seeds. Of the training set 10,000 samples are held out; mean accuracy on them
over the five epochs is the last column. The full sets are needed (data_scripts/download.py).
"""

import csv
import sys
from pathlib import Path

import numpy as np

from tinydiv import data, optimizers
from tinydiv.backend import quiet
from tinydiv.command.cli import run
from tinydiv.errors import UsageError
from tinydiv.initializers import PROBE, initialize
from tinydiv.loop import DeviceData
from tinydiv.losses import accuracy, cross_entropy
from tinydiv.mlp import MLP

SEEDS, BATCH, EPOCHS, HELD_OUT = (1000, 1001, 1002), 1024, 5, 10_000
BASES = (
    "pytorch",
    "glorot-uniform",
    "he-normal",
    "orthogonal",
    "lsuv",
    "decorrelated@glorot-uniform",
)
SHIPPED = ((1, 1), (1, 2), (0.5, 1))
PAIRS = ((0.5, 2), (0.5, 3), (0.25, 3), (0.25, 4), (0.25, 6), (0.1, 3), (0.1, 4), (0.1, 6))
COLUMNS = ("data", "optimizer", "base", "inner", "outer", "seeds", "early_validation_accuracy")


def pairs(base):
    """The pairs that are tried. PyTorch's default draws weights of about half of He's size: twice them."""
    factor = 2 if base == "pytorch" else 1
    return [*SHIPPED, *((factor * inner, factor * outer) for inner, outer in PAIRS)]


def early(images, base, optimizer, rate):
    """Pair -> mean validation accuracy over epochs and seeds. All pairs of a seed train at once."""
    X, Y = images.floats("train"), images.train_y.astype("int32")
    held_X, held_Y = images.floats("test"), images.test_y.astype("int32")
    probe, tried = DeviceData(images, "float32").probe(PROBE), pairs(base)
    seen = np.zeros((len(SEEDS), EPOCHS, len(tried)))
    for s, seed in enumerate(SEEDS):
        net, one = MLP([784, 16, 10], replicas=len(tried)), MLP([784, 16, 10])
        for r, (inner, outer) in enumerate(tried):
            initialize(one, f"scaled:inner={inner},outer={outer}@{base}", seed, probe)
            net.theta[r] = one.theta
        steps = optimizers.get(optimizer)(net, rate)
        for epoch in range(EPOCHS):
            order = np.random.default_rng([seed, epoch, 11]).permutation(len(X))
            for start in range(0, len(X) - BATCH + 1, BATCH):
                rows = order[start : start + BATCH]
                trace = net.forward(X[rows])
                _, dlogits = cross_entropy(trace.logits, Y[rows])
                net.backward(trace, dlogits)
                steps.step()
            seen[s, epoch] = accuracy(net.forward(held_X).logits, held_Y)
    return dict(zip(tried, seen.mean(axis=(0, 1)), strict=True))


def main(words):
    if words:
        raise UsageError(f"this script takes no argument; got {words[0]}")
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(COLUMNS)
    for name in ("fashion-mnist", "mnist"):
        images = data.load(name).split(HELD_OUT, seed=123)
        for optimizer, rate in (("sgd", 0.01), ("adam", 0.001)):
            for base in BASES:
                with quiet():
                    found = early(images, base, optimizer, rate)
                for (inner, outer), value in found.items():
                    row = (name, optimizer, base, f"{inner:g}", f"{outer:g}", len(SEEDS))
                    out.writerow([*row, f"{value:.4f}"])
                sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(run(Path(__file__).name, main))
