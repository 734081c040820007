"""What a training run computes: every setting with its default, its bounds and one line of help.

The same class defines the flags of python -m tinydiv.train, the keys of its --config file, and the
config.json of a run folder. Names (of techniques, initializers, ...) are looked up where the run is
built: this file imports nothing heavy, so that --help is quick.
"""

from dataclasses import dataclass, field, fields
from typing import Any

from tinydiv.settings import (
    choice,
    maybe,
    number,
    per_network,
    separated,
    setting,
    sizes,
    text,
    whole,
    words,
)

CURVES = ["bessel-window", "bessel-sum", "cubic", "quadratic", "cubic-2", "quadratic-2", "step"]
"""Toys of 32 points on a curve: a pass over them is one step."""
USUAL_EPOCHS = {"xor": 200, "parity": 500, "life": 100, "moons": 20, "spirals": 20, "mixture": 20}
USUAL_EPOCHS |= dict.fromkeys(CURVES, 1000)
"""Enough passes on each toy: a small set has few steps in an epoch. Other sets: EPOCHS."""
EPOCHS = 10
USUAL_BATCH = 64
"""Samples per step, where the training set is not smaller."""
TOY_RATE, CURVE_RATE = 10, 30
"""On a toy the default rate is this many times the optimizer's own: toys have few inputs."""
LARGEST_RATE = 0.1
"""The largest default rate on a curve of numbers: at larger ones plain descent diverges there."""


def class_weights(what: str, value: object) -> str | tuple[float, ...]:
    """The word balanced, or a number for each class: 1,2,5 as text, a list in a file."""
    if value == "balanced":
        return "balanced"
    return tuple(number(0, 1e6)(what, part) for part in separated(what, value, ","))


def usual_epochs(data: str) -> int:
    """How many passes over a data set are the default: "spirals:arms=3" -> 20."""
    return USUAL_EPOCHS.get(data.partition(":")[0], EPOCHS)


def usual_rate(data: str, own: float) -> float:
    """The default learning rate on a data set, from the optimizer's own."""
    name = data.partition(":")[0]
    if name not in CURVES:
        return own * (TOY_RATE if name in USUAL_EPOCHS else 1)
    return own * CURVE_RATE if name == "step" else min(own * CURVE_RATE, LARGEST_RATE)


def usual_activation(data: str) -> str:
    """The default activation on a data set: tanh on a curve, relu elsewhere.

    A curve has one input and starts have no biases: all kinks of relu neurons then lie at x = 0, and many
    networks never learn a curve that turns often.
    """
    return "tanh" if data.partition(":")[0] in CURVES else "relu"


@dataclass(frozen=True)
class TrainConfig:
    """The settings of one run. None stands for a default that depends on another setting."""

    data: str = setting(
        "fashion-mini",
        text,
        "NAME",
        "data set (--list data); a toy's settings follow a colon: spirals:arms=3; or your own: mine.npz, "
        "table.csv:target=COLUMN, a folder of IDX files; weights=NAME: an array or column with the "
        "weight of each sample",
    )
    inputs: str = setting("raw", text, "SCALING", "raw, centred or standardised inputs")
    hidden: tuple[int, ...] = setting(
        (16,), sizes(64, 65_536), "H[,H...]", "neurons per hidden layer: 16, or 32,16, or none"
    )
    activation: str | None = setting(
        None,
        maybe(text),
        "NAME",
        "activation of the hidden neurons: relu, tanh, ... (--list activations) (default: relu; tanh "
        f"on the curves {', '.join(CURVES)})",
    )
    init: str = setting(
        "decorrelated",
        text,
        "NAME",
        "how the weights start (--list initializers): he-normal, lowdin:mix=0.5@pytorch",
    )
    technique: tuple[str, ...] = setting(
        (),
        words(""),
        "SPEC",
        "a technique with its settings, decov:strength=0.1 (--list techniques), or your own, "
        "mine.py:Mine:strength=0.1; may be given several times",
        repeat=True,
    )
    loss: str | None = setting(
        None,
        maybe(text),
        "NAME",
        "cross-entropy, binary-cross-entropy or squared-error (default: cross-entropy, and squared-error "
        "where the data set has numbers to learn)",
    )
    label_smoothing: float = setting(
        0.0, number(0, 1), "SHARE", "this share of each target is spread over all classes"
    )
    class_weights: str | tuple[float, ...] | None = setting(
        None,
        maybe(class_weights),
        "W[,W...]",
        "how much each class counts in the loss, a number for each; balanced: rare classes more (default: "
        "all alike)",
    )
    optimizer: str = setting("adam", text, "NAME", "sgd, momentum, adam, ... (--list optimizers)")
    lr: tuple[float, ...] | None = setting(
        None,
        maybe(per_network(0, 1000)),
        "RATE[/RATE...]",
        f"learning rate: one number, or one per network (default: the optimizer's own; {TOY_RATE} times "
        f"that on toys, {CURVE_RATE} times on the curves, at most {LARGEST_RATE} on those of numbers)",
    )
    schedule: str = setting(
        "constant", text, "SHAPE", "the rate over time: constant, linear:warmup=100, cosine"
    )
    weight_decay: tuple[float, ...] | None = setting(
        None,
        maybe(per_network(0, 1000)),
        "DECAY[/...]",
        "decay of the weights, one number or one per network (default: the optimizer's own)",
    )
    clip: tuple[float, ...] | None = setting(
        None,
        maybe(per_network(1e-12, 1e12)),
        "NORM[/...]",
        "the largest norm that a network's whole gradient may have, longer ones are shortened to it "
        "(default: none)",
    )
    batch_size: int | None = setting(
        None,
        maybe(whole(1, 10_000_000)),
        "B",
        f"samples per step (default: {USUAL_BATCH}, or the whole training set where that is smaller)",
    )
    epochs: int | None = setting(
        None,
        maybe(whole(0, 1_000_000)),
        "N",
        f"passes over the training set (default: {EPOCHS}; "
        + ", ".join(f"{name} {epochs}" for name, epochs in USUAL_EPOCHS.items())
        + ")",
    )
    replicas: int = setting(
        1, whole(1, 100_000), "R", "how many networks are trained at once, each from its own start"
    )
    seed: int = setting(
        0, whole(0, 2**63 - 1), "S", "network r starts from seed S + r; the batches come from S"
    )
    shuffle: str = setting(
        "shared",
        choice("shared", "own"),
        "HOW",
        "shared: all networks see the same batches; own: network r those of seed S + r",
    )
    validation: float = setting(
        0.0,
        number(0, 0.99),
        "SHARE",
        "share of the training set, drawn by --seed, that is held out to measure on",
    )
    keep: str = setting(
        "last",
        choice("last", "best"),
        "WHICH",
        "weights of the last epoch, or for each network of its best: the lowest loss on the --validation "
        "part",
    )
    metrics: tuple[str, ...] | None = setting(
        None,
        maybe(words(",")),
        "NAME[,NAME...]",
        "diversity metrics to record (--list metrics), or none (default: all)",
    )
    metrics_every: int | None = setting(
        None,
        maybe(whole(1, 1_000_000_000)),
        "STEPS",
        "measure diversity every so many steps too; all metrics at once are more operations than ten "
        "steps of training, so name a few by --metrics (default: after epochs only)",
    )
    backend: str = setting("numpy", text, "NAME", "numpy (CPU), cupy (GPU), or auto")
    dtype: str = setting("float32", choice("float32", "float64"), "TYPE", "float32 or float64")


def like_train(name: str, *default: object) -> Any:
    """A field of other settings: with the bounds and words of train, perhaps with another default."""
    known = next(f for f in fields(TrainConfig) if f.name == name)
    return field(default=default[0] if default else known.default, metadata=known.metadata)
