"""Cases of the whole network: every dW[l], db[l] and dX, through random seeds at every layer."""

from collections.abc import Callable, Iterator, Sequence

from tinydiv import activations
from tinydiv.activations import Activation
from tinydiv.backend import Array, to_host, xp
from tinydiv.check import points
from tinydiv.check.evidence import Facts
from tinydiv.check.judge import Case
from tinydiv.check.numeric import Point
from tinydiv.check.points import Memory, Shape
from tinydiv.check.variants import parts, variants
from tinydiv.layers import Context
from tinydiv.mlp import MLP

Backward = Callable[..., Array]
"""backward(net, trace, dlogits, dA=None, *, accumulate=False, to_inputs=False), as in MLP."""

SEEDS = ("everywhere", "on the outputs alone", "on hidden layers alone")


def network_cases(
    seed: int = 0,
    kind: type[MLP] = MLP,
    backward: Backward | None = None,
    subject: str = "network",
) -> Iterator[Case]:
    """Several depths, all activations, many networks, one sample; seeds together and apart."""
    names = list(activations.ACTIVATIONS)
    shapes = [points.LINEAR, points.SHALLOW, points.MANY, points.SQUARE, points.ONE_SAMPLE]
    plan: list[tuple[Shape, str]] = [(points.DEEP, name) for name in names]
    plan += [(shape, names[i % len(names)]) for i, shape in enumerate(shapes)]
    for shape, activation in plan:
        net = points.network(shape, activation, seed, kind=kind)
        yield network_case(net, shape, seed, subject=subject, backward=backward)
    back = backward or kind.backward
    for seeds in SEEDS[1:] if points.takes(back, "dA") else ():
        net = points.network(points.DEEP, "tanh", seed, kind=kind)
        yield network_case(net, points.DEEP, seed, subject=subject, backward=backward, seeds=seeds)
    if points.takes(back, "accumulate"):
        net = points.network(points.MANY, "sigmoid", seed, kind=kind)
        yield network_case(
            net, points.MANY, seed, subject=subject, backward=backward, accumulate=True
        )


def network_case(
    net: MLP,
    shape: Shape,
    seed: int,
    *,
    kind: str = "network",
    subject: str = "network",
    backward: Backward | None = None,
    seeds: str = SEEDS[0],
    accumulate: bool = False,
    context: Context | None = None,
    memory: Memory | None = None,
) -> Case:
    """One network at one point. The function's outputs are all A[l] and the logits, weighted at random,
    so its gradient is what backward gives for random seeds.

    A backward that takes no dA is checked with seeds on the outputs, one without to_inputs is not asked
    for dX. dtheta holds other numbers before, so that forgetting a block shows.
    """
    back: Backward = backward or type(net).backward
    hidden = points.takes(back, "dA") and seeds != SEEDS[1] and net.depth > 1
    to_inputs = points.takes(back, "to_inputs")
    point = points.parameters(net)
    X = points.inputs(shape, seed)
    if to_inputs:
        point["X"] = X

    def forward(at: Point) -> list[Array]:
        points.put(net, at)
        if memory is not None:
            memory.restore()
        trace = net.forward(at.get("X", X), context)
        outputs = trace.hidden if hidden else []
        return [*outputs, *([] if seeds == SEEDS[2] else [trace.logits])]

    def gradients(at: Point, weights: Sequence[Array]) -> Point:
        points.put(net, at)
        if memory is not None:
            memory.restore()
        trace = net.forward(at.get("X", X), context)
        before = fill(net)
        dlogits, dA = split(weights)
        if dlogits is None:
            dlogits = xp.zeros_like(trace.logits)
        options: dict[str, object] = {"dA": dA} if dA else {}
        if to_inputs:
            options["to_inputs"] = True
        if accumulate:
            options["accumulate"] = True
        dX = back(net, trace, dlogits, **options)
        if accumulate:
            net.dtheta -= before
        found = points.gradients(net)
        if to_inputs and dX is not None:
            found["X"] = xp.sum(dX, axis=0) if len(dX.shape) > X.ndim else dX
        return found

    def fill(net: MLP) -> Array:
        """Numbers that no gradient should hold afterwards."""
        net.dtheta[...] = points.numbers(*net.theta.shape, seed=seed + 5)
        return net.dtheta.copy()

    def split(weights: Sequence[Array]) -> tuple[Array | None, dict[int, Array]]:
        """Cotangents -> (dlogits, dA)."""
        dlogits = None if seeds == SEEDS[2] else weights[-1]
        rest = weights if seeds == SEEDS[2] else weights[:-1]
        return dlogits, {l + 1: w for l, w in enumerate(rest)} if hidden else {}

    def facts(at: Point, weights: Sequence[Array]) -> Facts:
        dlogits, dA = split(weights)
        points.put(net, at)
        trace = net.forward(at.get("X", X), context)
        simple = dlogits is not None and not net.layers  # a pass that variants.py can imitate
        rows = {"X": "samples", **{f"W[{l}]": "inputs" for l in range(net.depth)}}
        fill(net)
        before = {} if accumulate else points.gradients(net)
        return Facts(
            samples=shape.samples,
            rows=rows,
            lead=net.replicas is not None,
            before={name: to_host(array) for name, array in before.items()},
            parts=parts(net, trace, dlogits, dA) if simple else {},
            variants=list(variants(net, trace, dlogits, dA)) if simple else (),
        )

    said = [f"{net.activation}, {shape}"]
    if net.depth > 1 and seeds != SEEDS[0]:
        said.append(f"seeds {seeds}")
    if accumulate:
        said.append("accumulate")
    if context is not None:
        said.append("training" if context.training else "evaluation")
    return Case(kind, subject, ", ".join(said), point, forward, gradients, facts)


def activation_cases(activation: Activation, seed: int, subject: str = "") -> Iterator[Case]:
    """f and its derivative, at points on both sides of its kinks."""
    Z = points.numbers(6, 5, seed=seed, scale=1.5)

    def gradients(at: Point, weights: Sequence[Array]) -> Point:
        return {"Z": weights[0] * activation.derivative(at["Z"])}

    def facts(at: Point, weights: Sequence[Array]) -> Facts:
        extras = {"Z": {"the gradient that arrives": to_host(weights[0])}}  # f' + c in place of f'
        return Facts(off={"Z": to_host(at["Z"] <= 0)}, extras=extras)

    name = subject or activation.name
    yield Case(
        "activation", name, "6 x 5", {"Z": Z}, lambda at: [activation(at["Z"])], gradients, facts
    )
