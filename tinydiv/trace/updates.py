"""What each optimizer does to one block of weights, as formulas with this step's numbers in them."""

from tinydiv.backend import Array, to_host
from tinydiv.optimizers import SGD, Adam, AdamW, Momentum, Nesterov, Optimizer


def update_formulas(
    optimizer: Optimizer, block: str, name: str, factor: float, network: int
) -> list[tuple[str, str]] | None:
    """(array, formula of its new value), in order, for one block of theta; None for an optimizer without
    formulas here.

    block, name: "W0" and "W[0]". factor: the schedule's. Moments are m.W[0] and v.W[0]; the step
    count t, from 1, is the optimizer's after the step.
    """
    factor *= optimizer.paced.get(block, 1.0)
    rate = text(of_network(optimizer.lr, network) * factor)
    decay = decay_of(optimizer, block, network)
    g, t = f"d{name}" if optimizer.clip is None else f"c d{name}", optimizer.steps
    decoupled = isinstance(optimizer, AdamW)
    if optimizer.clip is not None:
        g = f"({g})"
    if decay and not decoupled:
        g = f"({g} + {text(decay)} {name})"
    m, v = f"m.{name}", f"v.{name}"
    if type(optimizer) is SGD:
        return [(name, f"{name} - {rate} {g}")]
    if type(optimizer) in (Momentum, Nesterov):
        beta = text(optimizer.beta)  # type: ignore[attr-defined]
        step = f"({g} + {beta} {m})" if isinstance(optimizer, Nesterov) else m
        return [(m, f"{beta} {m} + {g}"), (name, f"{name} - {rate} {step}")]
    if type(optimizer) in (Adam, AdamW):
        assert isinstance(optimizer, Adam)
        b1, b2 = text(optimizer.beta1), text(optimizer.beta2)
        before = f"(1 - {rate} * {text(decay)}) {name}" if decay and decoupled else name
        mhat, vhat = f"{m} / (1 - {b1}^{t})", f"{v} / (1 - {b2}^{t})"
        counts: list[tuple[str, str]] = []
        if optimizer.counts[0] in optimizer.moments:  # after a reset: a count for each entry
            c1, c2 = f"c1.{name}", f"c2.{name}"
            mhat, vhat = f"{m} / {c1}", f"{v} / {c2}"
            counts = [(c1, f"{b1} {c1} + (1 - {b1})"), (c2, f"{b2} {c2} + (1 - {b2})")]
        return [
            (m, f"{b1} {m} + (1 - {b1}) {g}"),
            (v, f"{b2} {v} + (1 - {b2}) {g}^2"),
            *counts,
            (name, f"{before} - {rate} ({mhat}) / (sqrt({vhat}) + {text(optimizer.eps)})"),
        ]
    return None


def text(number: float) -> str:
    """A number as short as it can be written without loss."""
    return f"{number:.12g}"


def of_network(value: float | Array, network: int) -> float:
    """A rate of one network: one number for all, or a column (R, 1)."""
    if isinstance(value, int | float):
        return float(value)
    return float(to_host(value)[network].item())


def decay_of(optimizer: Optimizer, block: str, network: int) -> float:
    """The weight decay that acts on one block of one network; 0 where it does not act."""
    if optimizer.decay is None:
        return 0.0
    piece = optimizer.net.block(block)
    rows = to_host(optimizer.decay).reshape(-1, optimizer.net.n_parameters)
    return float(rows[network if len(rows) > 1 else 0, piece.start])
