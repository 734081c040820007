"""What a technique costs, beside a plain training step: flops that are counted while it runs.

A network takes steps with and without the technique, on arrays that count (counting.py). A relative cost
of 0.05 means 5 % more arithmetic than the plain step; what an intervention does every k steps counts by
its k-th part. Flops are not time: short rows and many small operations take longer than one large product
(`python -m tests.bench` measures time).
"""

from dataclasses import replace
from functools import cache

from tinydiv.backend import Array, to_device, xp
from tinydiv.layers import Context
from tinydiv.losses import cross_entropy
from tinydiv.mlp import MLP
from tinydiv.optimizers import SGD
from tinydiv.techniques.counting import counting
from tinydiv.techniques.framework import Techniques
from tinydiv.techniques.placing import layers_of, place

SIZES, BATCH, PROBE = (784, 16, 10), 64, 512
"""What relative costs are computed for: the network, the batch, and the samples of the probe set."""


def relative_cost(spec: str) -> float:
    """A technique's flops per step over those of a plain step, by its spec ("decov:strength=0.1").

    Techniques that it needs in the same run are part of the plain step.
    """
    placed = place(spec)
    technique = placed.technique
    rare, often = placed.every, int(getattr(technique, "k", 1))
    plain = flops_of_steps(technique.needs, technique.fewest_networks, 1, 1)[-1]
    due, *others = flops_of_steps((*technique.needs, spec), technique.fewest_networks, rare, often)
    usual = sum(others) / len(others)
    mean = usual if rare == 1 else usual + (due - usual) / rare
    return mean / plain - 1


def cost_text(spec: str) -> str:
    """The relative cost for a table: "+4.2 %"."""
    cost = relative_cost(spec)
    return f"{100 * cost:+.2g} %" if abs(cost) < 0.1 else f"{100 * cost:+.0f} %"


@cache
def flops_of_steps(specs: tuple[str, ...], networks: int, rare: int, often: int) -> list[float]:
    """Flops of a step in which a trigger of every `rare` steps is due, then of the `often` after it.

    Draws of the first step are left out: they are made once. Where the trigger is due in every step,
    the others are, too.
    """
    with counting() as counts:
        net = MLP(SIZES, "relu", replicas=networks, layers=layers_of(specs))
        for W in net.W:
            W[...] = 0.05 * uneven(*W.shape[-2:])
        X = uneven(PROBE, SIZES[0])
        Y = to_device([i % SIZES[-1] for i in range(BATCH)], dtype="int32")
        optimizer = SGD(net, 0.0)
        techniques = Techniques(net, specs, optimizer, probe_inputs=X, total=10**6)
        found = []
        for number in (0, *range(2 * rare - 1, 2 * rare + often)):
            before = replace(counts)
            trace = net.forward(X[:BATCH], Context(training=True, step=number))
            loss, dlogits = cross_entropy(trace.logits, Y)
            step = techniques.backward(techniques.step(trace, Y, loss, dlogits, number))
            optimizer.step()
            techniques.after_update(step)
            found.append(counts.minus(before).flops / networks)
    return found[1:]


def uneven(rows: int, columns: int) -> Array:
    """Irregular numbers (rows, columns) in [-1, 1]; their values change no count."""
    return xp.sin(xp.arange(rows * columns, dtype="float32") ** 1.5).reshape(rows, columns)
