"""Cases of the whole network: every dW[l], db[l] and dX, with random upstream gradients at every layer."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

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
    seed: int = 0,
    kind: type[MLP] = MLP,
    backward: Backward | None = None,
    subject: str = "network",
) -> Iterator[Case]:
    """Several depths and sizes, all activations, many networks, one sample; upstream gradients together
    and apart."""
    names = list(activations.ACTIVATIONS)
    shapes = [points.LINEAR, points.SHALLOW, points.MANY, points.SQUARE, points.ONE_SAMPLE]
    shapes.append(points.LARGE)
    plan: list[tuple[Dimensions, str]] = [(points.DEEP, name) for name in names]
    plan += [(shape, names[i % len(names)]) for i, shape in enumerate(shapes)]
    for shape, activation in plan:
        net = points.network(shape, activation, seed, kind=kind)
        scale = 30.0 if shape is points.LARGE else 1.0
        yield network_case(net, shape, seed, subject=subject, backward=backward, scale=scale)
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
    shape: Dimensions,
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
    """One network at one point. The function's outputs are all A[l] and the logits, weighted at random,
    so its gradient is what backward gives for random upstream gradients.

    A backward that takes no dA is checked with dlogits alone, and dX is not checked of one without
    to_inputs. dtheta is filled with other numbers first, so that a block that is left out is found.
    scale: of the inputs.
    """
    back: Backward = backward or type(net).backward
    extra = points.takes(back, "dA") and upstream != UPSTREAM[1]
    to_inputs = points.takes(back, "to_inputs")
    point = points.parameters(net)
    X = scale * points.inputs(shape, seed)
    # dA[0] too, where dX is wanted; of shared inputs, dX would be the sum over R networks.
    at_inputs = to_inputs and (not shape.replicas or shape.own_inputs)
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
        """Numbers that must not be in any gradient afterwards."""
        net.dtheta[...] = points.numbers(*net.theta.shape, seed=seed + 5)
        return net.dtheta.copy()

    def split(weights: Sequence[Array]) -> tuple[Array | None, dict[int, Array]]:
        """Cotangents -> (dlogits, dA)."""
        dlogits = None if upstream == UPSTREAM[2] else weights[-1]
        return dlogits, dict(zip(layers, weights, strict=False))

    def facts(at: Point, weights: Sequence[Array]) -> Facts:
        dlogits, dA = split(weights)
        points.put(net, at)
        trace = net.forward(at.get("X", X), context)
        simple = dlogits is not None and not net.layers  # a pass that variants.py can imitate
        rows = {"X": "samples", **{f"W[{l}]": "inputs" for l in range(net.depth)}}
        columns = {f"{key}[{net.depth - 1}]": "output" for key in "Wb"} | {"X": "input"}
        fill(net)
        before = {} if accumulate else points.gradients(net)
        return Facts(
            samples=shape.samples,
            rows=rows,
            columns=columns,
            upstream=True,
            lead=net.replicas is not None,
            before={name: to_host(array) for name, array in before.items()},
            parts=parts(net, trace, dlogits, dA) if simple else {},
            variants=list(variants(net, trace, dlogits, dA)) if simple else (),
        )

    words = [f"{net.activation}, {shape}"]
    if net.depth > 1 and upstream != UPSTREAM[0]:
        words.append(f"upstream gradients {upstream}")
    if accumulate:
        words.append("accumulate")
    if context is not None:
        words.append("training" if context.training else "evaluation")
    return Case(kind, subject, ", ".join(words), point, forward, gradients, facts)


def standing_case(
    net: MLP, trace: Trace, dlogits: Array, dA: Mapping[int, Array], subject: str
) -> Case:
    """What stands in dtheta now, as the gradient of sum(dlogits * outputs) + sum_l sum(dA[l] * A[l])."""
    standing = points.gradients(net)
    upstream = {**dA, net.depth: dlogits}

    def forward(at: Point) -> list[Array]:
        points.put(net, at)
        A = net.forward(trace.inputs).A
        return [sum(xp.sum(d * A[l]) for l, d in upstream.items())]

    def gradients(at: Point, weights: Sequence[Array]) -> Point:
        return {name: weights[0] * d for name, d in standing.items()}

    def facts(at: Point, weights: Sequence[Array]) -> Facts:
        points.put(net, at)
        simple = not net.layers  # a pass that variants.py can imitate
        return Facts(
            samples=trace.logits.shape[-2],
            rows={"X": "samples", **{f"W[{l}]": "inputs" for l in range(net.depth)}},
            columns={f"{key}[{net.depth - 1}]": "output" for key in "Wb"},
            upstream=True,
            lead=net.replicas is not None,
            parts=parts(net, trace, dlogits, dA) if simple else {},
            variants=list(variants(net, trace, dlogits, dA)) if simple else (),
        )

    where = f"{net.activation}, {'-'.join(map(str, net.sizes))}, N={trace.logits.shape[-2]}"
    many = f", {net.replicas} networks" if net.replicas else ""
    case = Case("network", subject, where + many, points.parameters(net), forward, gradients, facts)
    return replace(case, divided=True)


def activation_cases(activation: Activation, seed: int, subject: str = "") -> Iterator[Case]:
    """f and its derivative, on both sides of its kinks and far away from them."""

    def gradients(at: Point, weights: Sequence[Array]) -> Point:
        return {"Z": weights[0] * activation.derivative(at["Z"])}

    def facts(at: Point, weights: Sequence[Array]) -> Facts:
        return Facts(off={"Z": to_host(at["Z"] <= 0)})

    for setting, Z in (
        ("6 x 5", points.numbers(6, 5, seed=seed, scale=1.5)),
        ("40 x 20, up to 60", points.numbers(40, 20, seed=seed, scale=20.0)),
    ):
        yield Case(
            "activation",
            subject or activation.name,
            setting,
            {"Z": Z},
            lambda at: [activation(at["Z"])],
            gradients,
            facts,
            divided=True,
            variant=setting,
        )
