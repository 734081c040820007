"""A controller that opens a layer, for all seeds at once (Radhakrishnan et al., 2025, B2).

    input [x, c], one tanh hidden layer of H neurons, Adam, full batch;   L = task loss + 0.32 (c - 1)^2

Built from MLP, size-mask and size-loss; a seed is a replica. The static arm has c = 1 from the start, so
that its gate is open and its extra input is 1. The loss of a regression is the mean square (without the
factor 1/2).
"""

from dataclasses import dataclass

import numpy as np

from tinydiv import diversity
from tinydiv.backend import Array, to_device, to_host, xp
from tinydiv.data import tasks
from tinydiv.data.toys import make_toy
from tinydiv.errors import UsageError, check_known
from tinydiv.growing.pieces import Arrays
from tinydiv.layers import Context
from tinydiv.losses import accuracy, cross_entropy, squared_error
from tinydiv.mlp import MLP
from tinydiv.optimizers import Adam
from tinydiv.randomness import generator
from tinydiv.techniques import Techniques, layers_of
from tinydiv.techniques.sized import sized_at


@dataclass(frozen=True)
class MaskArm:
    """One way to open a layer: the size-mask's settings, and whether c starts at 1."""

    line: str
    settings: str
    static: bool = False


ARMS: dict[str, MaskArm] = {
    "static": MaskArm("full size from the start, c = 1", "form=gate,share=0,size_input=true", True),
    "static-plain": MaskArm("the same without the input c", "form=gate,share=0", True),
    "gate": MaskArm(
        "one gate on the layer, a schedule: as released", "form=gate,share=0,size_input=true"
    ),
    "gate-plain": MaskArm("the same without the input c", "form=gate,share=0"),
    "gate-closed": MaskArm("one gate, which the task moves too", "form=gate,size_input=true"),
    "mask": MaskArm("a mask per neuron, a schedule", "share=0,size_input=true"),
    "mask-plain": MaskArm("the same without the input c", "share=0"),
    "mask-closed": MaskArm("a mask per neuron, which the task moves too", "size_input=true"),
}
"""Every arm by name."""

TASKS = ("bessel", "spirals")
SIZE_STRENGTH = 0.32
PUBLISHED = {
    "bessel": {"static": 1.2e-3, "gate": 1.9e-4},
    "spirals": {"static": 0.839, "gate": 0.863},
}
"""Means of 100 seeds at H = 10, read off plots in the authors' repository (32,768 points, rate 1e-3)."""


@dataclass(frozen=True)
class MaskSetting:
    """The settings that one comparison keeps fixed."""

    task: str = "bessel"
    width: int = 10
    lr: float = 1e-3
    epochs: int = 5000
    points: int = 1024

    def check(self) -> None:
        """Raise UsageError for settings that cannot be trained."""
        check_known("task", self.task, TASKS)
        if self.width < 1:
            raise UsageError(f"there must be at least one neuron, got width {self.width}")
        if self.points < 10:
            raise UsageError(f"{self.points} points are too few to split: take at least 10")


def mean_square(outputs: Array, targets: Array) -> tuple[Array, Array]:
    """The mean square of the paper: twice squared_error."""
    value, gradient = squared_error(outputs, targets)
    return 2 * value, 2 * gradient


def data_of(setting: MaskSetting, seeds: list[int]) -> tuple[Array, Array, Array, Array]:
    """Training and test part of each seed, (R, N, n_0) and targets, 80 and 20 % of the points."""
    n = setting.points
    n_train = round(0.8 * n)
    parts: list[tuple[Array, Array, Array, Array]] = []
    for seed in seeds:
        if setting.task == "spirals":
            toy = make_toy("spirals", seed, {"n_train": n_train, "n_test": n - n_train})
            parts.append((toy.train_x, toy.train_y, toy.test_x, toy.test_y))
            continue
        x = np.linspace(-1, 1, n)
        y = tasks.bessel_sum(x)
        y = 2 * (y - y.min()) / np.ptp(y) - 1
        order = generator(seed, "split").permutation(n)
        train, test = order[:n_train], order[n_train:]
        parts.append((x[train, None], y[train, None], x[test, None], y[test, None]))
    stacked = [np.stack([part[i] for part in parts]) for i in range(4)]
    kinds = (
        ["float32", "int32", "float32", "int32"] if setting.task == "spirals" else ["float32"] * 4
    )
    return tuple(to_device(a.astype(k)) for a, k in zip(stacked, kinds, strict=True))


def started(arm: MaskArm, setting: MaskSetting, n_in: int, n_out: int, seeds: list[int]) -> MLP:
    """Networks with all weights U(+-1/sqrt(fan-in)), with c counted as an input in every arm."""
    H = setting.width
    net = MLP(
        [n_in, H, n_out],
        "tanh",
        len(seeds),
        "float32",
        layers_of([f"size-mask:{arm.settings}"]),
    )
    inner, outer = 1 / np.sqrt(n_in + 1), 1 / np.sqrt(H)
    for r, seed in enumerate(seeds):
        draw = generator(seed, "start")
        first = draw.uniform(-inner, inner, (n_in + 2, H)).astype("float32")
        last = draw.uniform(-outer, outer, (H + 1, n_out)).astype("float32")
        net.W[0][r] = to_device(first[:n_in])
        net.b[0][r] = to_device(first[n_in : n_in + 1])
        net.W[1][r] = to_device(last[:H])
        net.b[1][r] = to_device(last[H:])
        if "size_input" in arm.settings:
            net.view(net.theta, "w[size-mask.1]")[r] = to_device(first[n_in + 1 :])
        c = net.view(net.theta, "c[size-mask.1]")
        c[r] = 1.0 if arm.static else float(1e-5 * draw.standard_normal())
    return net


def work(setting: MaskSetting, arm: str, seeds: list[int], moments: int = 50) -> Arrays:
    """Train one arm from all seeds, and keep a few numbers of each.

    test, train (T,): losses, for spirals test is the accuracy; size (T,): c; correlation, rank (T,):
    of the open neurons on the test points; epochs, sizes, tests: (moments, T) during training.
    """
    setting.check()
    X, Y, test_x, test_y = data_of(setting, seeds)
    n_out = 5 if setting.task == "spirals" else 1
    loss = cross_entropy if setting.task == "spirals" else mean_square
    net = started(ARMS[arm], setting, X.shape[-1], n_out, seeds)
    specs = [f"size-mask:{ARMS[arm].settings}", f"size-loss:goal=1,strength={SIZE_STRENGTH}"]
    optimizer = Adam(net, setting.lr)
    techniques = Techniques(net, specs, optimizer, loss=loss, seeds=seeds, total=setting.epochs)
    size = sized_at(net, 1)
    assert size is not None
    seen: list[tuple[int, Array, Array]] = []
    every = max(setting.epochs // moments, 1)

    def test() -> Array:
        logits = net.forward(test_x).logits
        return accuracy(logits, test_y) if setting.task == "spirals" else loss(logits, test_y)[0]

    value = xp.zeros(len(seeds))
    for number in range(setting.epochs):
        if number % every == 0:
            seen.append((number, size.size[:, 0, 0].copy(), test()))
        trace = net.forward(X, Context(training=True, step=number))
        value, dlogits = loss(trace.logits, Y)
        techniques.backward(techniques.step(trace, Y, value, dlogits, number))
        optimizer.step()
    found = diversity.measure(net, net.forward(test_x), ["correlation", "effective_rank"])
    return {
        "seed": np.asarray(seeds),
        "test": to_host(test()),
        "train": to_host(value),
        "size": to_host(size.size[:, 0, 0]).copy(),
        "correlation": to_host(found["correlation"]),
        "rank": to_host(found["effective_rank"]),
        "epochs": np.asarray([row[0] for row in seen]),
        "sizes": np.stack([to_host(row[1]) for row in seen]).astype("float32"),
        "tests": np.stack([to_host(row[2]) for row in seen]).astype("float32"),
    }
