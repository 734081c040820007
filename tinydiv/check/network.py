"""Cases of the whole network: every dW[l], db[l] and dX, with random upstream gradients at every layer."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from tinydiv import activations
from tinydiv.activations import Activation
from tinydiv.backend import Array, to_host, xp
from tinydiv.check import points
from tinydiv.check.evidence import Facts
from tinydiv.check.judge import Case
from tinydiv.check.numeric import Point
from tinydiv.check.points import Dimensions, Memory
from tinydiv.check.variants import parts, variants
from tinydiv.layers import Context
from tinydiv.mlp import MLP, Trace

Backward = Callable[..., Array]
"""backward(net, trace, dlogits, dA=None, *, accumulate=False, to_inputs=False), as in MLP."""

UPSTREAM = ("everywhere", "at the outputs alone", "at hidden layers alone")
"""Where the upstream gradients are not zero: dlogits, dA[l] of the hidden layers, or both."""


def network_cases(
    seed: int = 0, kind: type[MLP] = MLP, backward: Backward | None = None, subject: str = "network"
) -> Iterator[Case]:
    """Several depths and sizes, all activations, many networks, one sample; upstream gradients at all
    layers at once, at the outputs alone, and at hidden layers alone."""
    names = list(activations.ACTIVATIONS)
    dimensions = [points.LINEAR, points.SHALLOW, points.MANY, points.SQUARE, points.ONE_SAMPLE]
    dimensions.append(points.LARGE)
    plan: list[tuple[Dimensions, str]] = [(points.DEEP, name) for name in names]
    plan += [(dims, names[i % len(names)]) for i, dims in enumerate(dimensions)]
    for dims, activation in plan:
        net = points.network(dims, activation, seed, kind=kind)
        scale = 30.0 if dims is points.LARGE else 1.0
        yield network_case(net, dims, seed, subject=subject, backward=backward, scale=scale)
    back = backward or kind.backward
    for upstream in UPSTREAM[1:] if points.takes(back, "dA") else ():
        net = points.network(points.DEEP, "tanh", seed, kind=kind)
        yield network_case(
            net, points.DEEP, seed, subject=subject, backward=backward, upstream=upstream
        )
    if points.takes(back, "accumulate"):
        net = points.network(points.MANY, "sigmoid", seed, kind=kind)
        yield network_case(
            net, points.MANY, seed, subject=subject, backward=backward, accumulate=True
        )


def network_case(
    net: MLP,
    dims: Dimensions,
    seed: int,
    *,
    kind: str = "network",
    subject: str = "network",
    backward: Backward | None = None,
    upstream: str = UPSTREAM[0],
    scale: float = 1.0,
    accumulate: bool = False,
    context: Context | None = None,
    memory: Memory | None = None,
) -> Case:
    """One network at one point. The function's outputs are all A[l] and the logits. Their weighted sum,
    with random weights, has the gradient that backward computes from these weights as upstream gradients.

    A backward without the argument dA is checked with dlogits alone; without the argument to_inputs its
    dX is not checked. dtheta is filled with other numbers first, so that a missing block is noticed.
    scale: of the inputs.
    """
    back: Backward = backward or type(net).backward
    extra = points.takes(back, "dA") and upstream != UPSTREAM[1]
    to_inputs = points.takes(back, "to_inputs")
    point = points.parameters(net)
    X = scale * points.inputs(dims, seed)
    # dA[0] too, where dX is checked; but if R networks share their inputs, dX is a sum over networks.
    at_inputs = to_inputs and (not dims.replicas or dims.own_inputs)
    layers = range(0 if at_inputs else 1, net.depth) if extra else range(0)
    if to_inputs:
        point["X"] = X

    def forward(at: Point) -> list[Array]:
        points.put(net, at)
        if memory is not None:
            memory.restore()
        trace = net.forward(at.get("X", X), context)
        outputs = [trace.A[l] for l in layers]
        return [*outputs, *([] if upstream == UPSTREAM[2] else [trace.logits])]

    def gradients(at: Point, weights: Sequence[Array]) -> Point:
        points.put(net, at)
        if memory is not None:
            memory.restore()
        trace = net.forward(at.get("X", X), context)
        before = fill(net)
        dlogits, dA = split(weights)
        if dlogits is None:
            dlogits = xp.zeros_like(trace.logits)
        # Only what is used is handed over: a backward of the user's own may lack these arguments.
        options = {"dA": dA, "to_inputs": to_inputs, "accumulate": accumulate}
        dX = back(net, trace, dlogits, **{key: value for key, value in options.items() if value})
        if accumulate:
            net.dtheta -= before
        found = points.gradients(net)
        if to_inputs and dX is not None:
            found["X"] = xp.sum(dX, axis=0) if len(dX.shape) > X.ndim else dX
        return found

    def fill(net: MLP) -> Array:
        """Fill dtheta with numbers that no gradient may contain afterwards; returns a copy."""
        net.dtheta[...] = points.numbers(*net.theta.shape, seed=seed + 5)
        return net.dtheta.copy()

    def split(weights: Sequence[Array]) -> tuple[Array | None, dict[int, Array]]:
        """Cotangents -> (dlogits, dA)."""
        dlogits = None if upstream == UPSTREAM[2] else weights[-1]
        return dlogits, dict(zip(layers, weights, strict=False))

    def facts(at: Point, weights: Sequence[Array]) -> Facts:
        dlogits, dA = split(weights)
        points.put(net, at)
        found = facts_of_network(net, net.forward(at.get("X", X), context), dlogits, dA)
        fill(net)
        before = {} if accumulate else points.gradients(net)
        found.before = {name: to_host(array) for name, array in before.items()}
        return found

    words = [f"{net.activation}, {dims}"]
    if net.depth > 1 and upstream != UPSTREAM[0]:
        words.append(f"upstream gradients {upstream}")
    if accumulate:
        words.append("accumulate")
    if context is not None:
        words.append("training" if context.training else "evaluation")
    return Case(kind, subject, ", ".join(words), point, forward, gradients, facts)


def facts_of_network(
    net: MLP, trace: Trace, dlogits: Array | None, dA: Mapping[int, Array]
) -> Facts:
    """The facts about a backward pass; dlogits is None where only hidden layers get a gradient."""
    found = Facts(
        samples=trace.logits.shape[-2],
        rows={"X": "samples", **{f"W[{l}]": "inputs" for l in range(net.depth)}},
        columns={**{f"{key}[{net.depth - 1}]": "output" for key in "Wb"}, "X": "input"},
        upstream=True,
        lead=net.replicas is not None,
    )
    if dlogits is not None and not net.layers:  # variants.py computes passes without layers only
        found.parts = parts(net, trace, dlogits, dA)
        found.variants = list(variants(net, trace, dlogits, dA))
    return found


def present_case(
    net: MLP, trace: Trace, dlogits: Array, dA: Mapping[int, Array], subject: str
) -> Case:
    """What is in dtheta now, as the gradient of sum(dlogits * outputs) + sum_l sum(dA[l] * A[l])."""
    present = points.gradients(net)
    upstream = {**dA, net.depth: dlogits}

    def forward(at: Point) -> list[Array]:
        points.put(net, at)
        A = net.forward(trace.inputs).A
        return [sum(xp.sum(d * A[l]) for l, d in upstream.items())]

    def gradients(at: Point, weights: Sequence[Array]) -> Point:
        return {name: weights[0] * d for name, d in present.items()}

    def facts(at: Point, weights: Sequence[Array]) -> Facts:
        points.put(net, at)
        return facts_of_network(net, trace, dlogits, dA)

    sizes = Dimensions(tuple(net.sizes), trace.logits.shape[-2], net.replicas)
    point, where = points.parameters(net), f"{net.activation}, {sizes}"
    return Case("network", subject, where, point, forward, gradients, facts, divided=True)


def activation_cases(activation: Activation, seed: int, subject: str = "") -> Iterator[Case]:
    """f and its derivative, near its kinks and far from them."""

    def values(at: Point) -> list[Array]:
        return [activation(at["Z"])]

    def gradients(at: Point, weights: Sequence[Array]) -> Point:
        return {"Z": weights[0] * activation.derivative(at["Z"])}

    def facts(at: Point, weights: Sequence[Array]) -> Facts:
        return Facts(off={"Z": to_host(at["Z"] <= 0)})

    for where, Z in (
        ("6 x 5", points.numbers(6, 5, seed=seed, scale=1.5)),
        ("40 x 20, up to 60", points.numbers(40, 20, seed=seed, scale=20.0)),
    ):
        case = Case(
            "activation", subject or activation.name, where, {"Z": Z}, values, gradients, facts
        )
        case.divided, case.variant = True, where
        yield case
