"""How fast is a training step, beside what users would pick instead? python -m tinydiv.bench

Every contender does the same step (784-16-10, ReLU, batch 64, cross-entropy, Adam) on the same numbers,
and is first checked to compute the same losses. They are timed in turns in one process, round after
round, so that whatever else the machine does falls on all of them; the ratio of medians is the result,
the quartiles say how sure it is. PyTorch is an extra: python -m pip install "tinydiv[torch]".
"""

import itertools
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tinydiv import backend
from tinydiv.backend import to_device, to_host
from tinydiv.command import cli
from tinydiv.errors import RunError, UsageError
from tinydiv.initializers import initialize
from tinydiv.layers import Context
from tinydiv.losses import cross_entropy
from tinydiv.mlp import MLP
from tinydiv.optimizers import Adam
from tinydiv.settings import whole
from tinydiv.techniques import TECHNIQUES, Techniques, layers_of

PROG = "tinydiv.bench"
EXAMPLES = """examples:
  python -m tinydiv.bench --replicas 1 32      beside PyTorch: python -m pip install "tinydiv[torch]"
  python -m tinydiv.bench --techniques         a step with each technique; PyTorch is not needed
"""
SIZES = (784, 16, 10)
BATCH = 64
RATE = 1e-3
Stepper = Callable[[], object]


@dataclass(frozen=True)
class Timing:
    """Seconds per step and network over several rounds."""

    name: str
    replicas: int
    seconds: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        low, _, high = statistics.quantiles(self.seconds, n=4)
        return low, high


def numbers(replicas: int) -> tuple[np.ndarray, np.ndarray]:
    """A batch that has the look of images (a fifth of the pixels lit), and labels."""
    rng = np.random.default_rng(0)
    X = rng.random((BATCH, SIZES[0]), dtype=np.float32) * (rng.random((BATCH, SIZES[0])) < 0.2)
    return X.astype(np.float32), rng.integers(0, SIZES[-1], BATCH)


def tinydiv_step(replicas: int, specs: Sequence[str] = ()) -> tuple[Stepper, MLP]:
    """The learner's loop of the README, with techniques if there are any."""
    net = MLP(SIZES, replicas=None if replicas == 1 else replicas, layers=layers_of(specs))
    initialize(net, "he-normal", seed=0)
    optimizer = Adam(net, lr=RATE)
    host_X, host_Y = numbers(replicas)
    X, Y = to_device(host_X), to_device(host_Y.astype("int32"))
    if not specs:

        def plain() -> object:
            trace = net.forward(X)
            loss, dlogits = cross_entropy(trace.logits, Y)
            net.backward(trace, dlogits)
            optimizer.step()
            return loss

        return plain, net

    techniques = Techniques(net, specs, optimizer, probe_inputs=X, total=1000)
    count = iter(range(10**12))

    def step() -> object:
        number = next(count)
        trace = net.forward(X, Context(training=True, step=number))
        loss, dlogits = cross_entropy(trace.logits, Y)
        now = techniques.step(trace, Y, loss, dlogits, number)
        techniques.before_backward(now)
        net.backward(trace, now.dlogits, now.dA)
        techniques.after_backward(now)
        optimizer.step()
        techniques.after_update(now)
        return loss

    return step, net


def torch_step(replicas: int, fused: bool) -> Stepper:
    """The same step in PyTorch: nn.Sequential for one network, batched products for many."""
    try:
        import torch
    except ImportError:
        raise RunError(
            'the comparison needs PyTorch, which is not installed: python -m pip install "tinydiv[torch]"'
        ) from None
    _, net = tinydiv_step(replicas)
    host_X, host_Y = numbers(replicas)
    X, Y = torch.from_numpy(host_X), torch.from_numpy(host_Y)
    W = [torch.tensor(to_host(w)) for w in net.W]
    b = [torch.tensor(to_host(v)) for v in net.b]
    if replicas == 1:
        hidden, output = (torch.nn.Linear(n, m) for n, m in itertools.pairwise(SIZES))
        model = torch.nn.Sequential(hidden, torch.nn.ReLU(), output)
        with torch.no_grad():
            for layer, w, v in zip((hidden, output), W, b, strict=True):
                layer.weight.copy_(w.T)
                layer.bias.copy_(v[0])
        optimizer = torch.optim.Adam(model.parameters(), lr=RATE, fused=fused)

        def single() -> object:
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(X), Y)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            return loss.detach()

        return single

    parameters = [p.requires_grad_() for p in (*W, *b)]
    batched = torch.optim.Adam(parameters, lr=RATE, fused=fused)
    shared, labels = X.expand(replicas, *X.shape), Y.repeat(replicas)

    def many() -> object:
        batched.zero_grad()
        A = torch.relu(torch.baddbmm(b[0], shared, W[0]))
        logits = torch.baddbmm(b[1], A, W[1])
        losses = torch.nn.functional.cross_entropy(
            logits.reshape(-1, SIZES[-1]), labels, reduction="none"
        )
        per_network = losses.reshape(replicas, BATCH).mean(dim=1)
        per_network.sum().backward()  # type: ignore[no-untyped-call]
        batched.step()
        return per_network.detach()

    return many


def agree(first: Stepper, second: Stepper, names: tuple[str, str]) -> None:
    """Five steps of both must give the same losses; a faster wrong step is no result."""
    for _ in range(5):
        a, b = (np.asarray(to_host_any(step())) for step in (first, second))
        if not np.allclose(a, b, rtol=1e-4):
            raise RunError(f"{names[0]} and {names[1]} compute different losses: {a} and {b}")


def to_host_any(loss: object) -> object:
    """A loss of either framework as something NumPy reads."""
    return loss.numpy() if hasattr(loss, "numpy") else to_host(loss)


def measure(steppers: dict[str, Stepper], replicas: int, rounds: int, steps: int) -> list[Timing]:
    """Time the contenders in turns: each does `steps` steps in each of `rounds` rounds."""
    seconds: dict[str, list[float]] = {name: [] for name in steppers}
    for step in steppers.values():
        for _ in range(max(steps // 4, 5)):
            step()
    for _ in range(rounds):
        for name, step in steppers.items():
            backend.synchronize()
            began = time.perf_counter()
            for _ in range(steps):
                step()
            backend.synchronize()
            seconds[name].append((time.perf_counter() - began) / steps / replicas)
    return [Timing(name, replicas, values) for name, values in seconds.items()]


def compare(replicas: int, rounds: int) -> list[Timing]:
    """tinydiv and PyTorch, eager and fused, on the same step."""
    agree(tinydiv_step(replicas)[0], torch_step(replicas, False), ("tinydiv", "PyTorch"))
    steppers = {
        "tinydiv": tinydiv_step(replicas)[0],
        "PyTorch eager": torch_step(replicas, False),
        "PyTorch, fused Adam": torch_step(replicas, True),
    }
    return measure(steppers, replicas, rounds, max(400 // replicas, 10))


def technique_costs(rounds: int) -> list[Timing]:
    """One network's step with each built-in technique in turn, beside the plain one.

    A technique that one network alone cannot have (consensus) is left out, and stderr says so.
    """
    steppers = {"plain": tinydiv_step(1)[0]}
    for name, cls in TECHNIQUES.items():
        try:
            steppers[name] = tinydiv_step(1, [*cls.needs, name])[0]
        except UsageError as error:
            cli.complain(PROG, f"{name} is left out: {error}")
    return measure(steppers, 1, rounds, 100)


def table(timings: Sequence[Timing], base: str) -> str:
    """Lines with microseconds per step and network, quartiles, and the ratio to one of them."""
    reference = next(t for t in timings if t.name == base)
    width = max(len(t.name) for t in timings)
    lines = [f"{'':{width}}  us/step/network  (quartiles)      time / {base}"]
    for t in timings:
        low, high = (1e6 * q for q in t.quartiles)
        lines.append(
            f"{t.name:{width}}  {1e6 * t.median:15.1f}  ({low:.1f} to {high:.1f})"
            f"{t.median / reference.median:14.2f}"
        )
    return "\n".join(lines)


def parser() -> cli.Parser:
    """The flags."""
    found = cli.Parser(
        PROG,
        "Time one training step (784-16-10, batch 64, Adam) beside PyTorch, in one run.",
        EXAMPLES,
    )
    found.add_argument(
        "--replicas", nargs="+", default=["1", "32"], metavar="R", help="networks (default: 1 32)"
    )
    found.add_argument("--rounds", default="15", metavar="N", help="rounds of timing (default: 15)")
    found.add_argument("--techniques", action="store_true", help="time every technique instead")
    found.add_argument(
        "--backend", default="numpy", metavar="NAME", help="numpy, cupy or auto (default: numpy)"
    )
    found.add_argument("--json", action="store_true", help="one JSON list on stdout")
    return found


def command(argv: Sequence[str]) -> None:
    """Time what was asked for and print it."""
    options = parser().parse(argv)
    each = whole(1, 100_000)
    sizes = list(dict.fromkeys(each("--replicas", text) for text in options.replicas))
    rounds = whole(3, 100_000)("--rounds", options.rounds)  # fewer have no quartiles
    backend.use(options.backend)
    if options.techniques:
        base, groups = "plain", [technique_costs(rounds)]
    else:
        base, groups = "tinydiv", [compare(replicas, rounds) for replicas in sizes]
    if options.json:
        rows = [row for group in groups for row in as_data(group, base)]
        cli.say(json.dumps(rows, allow_nan=False))
        return
    for group in groups:
        many = group[0].replicas
        cli.say(f"\n{many} network{'s' if many > 1 else ''} at once\n{table(group, base)}")


def as_data(group: Sequence[Timing], base: str) -> list[dict[str, object]]:
    """The numbers of a table, for a program."""
    reference = next(t for t in group if t.name == base)
    return [
        {
            "name": t.name,
            "replicas": t.replicas,
            "median_us": 1e6 * t.median,
            "quartiles_us": [1e6 * q for q in t.quartiles],
            "ratio": t.median / reference.median,
        }
        for t in group
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Returns the exit code."""
    return cli.run(PROG, command, argv)
