"""Optimizers on the flat buffer: each is a few lines on theta, dtheta and arrays like them.

The update of every optimizer is written once, as an elementwise function. On CuPy it is compiled into one
kernel over the whole buffer (backend.fuse). On NumPy it runs as it is written, piece by piece: each line
is a pass over memory, and a piece stays in the cache from the first line to the last.

A rate is one number, or one per network; a schedule multiplies it by a factor at every step. On a GPU,
numbers that change from step to step are written into small arrays first (`prepare`), so that the update
itself (`move`) makes the same calls with the same arrays in every step: what a CUDA graph would need.
"""

from collections.abc import Sequence
from numbers import Real
from typing import Any

from tinydiv.backend import Array, fuse, in_pieces, on_cpu, to_device, xp
from tinydiv.errors import UsageError, check_known
from tinydiv.mlp import MLP

FLUSH_EVERY = 64
"""Steps between two clearings of subnormal moments, see Optimizer.flush."""


class Optimizer:
    """Moves net.theta along net.dtheta.

    lr: one number or one per network (R,). weight_decay: the same; it acts on the weight matrices W
    only, not on biases or scale parameters. None stands for the class's own default. clip: the largest
    norm that a network's whole gradient may have, one number or one per network (see clip_factor).
    Raises UsageError for rates that are negative, not finite, or not as many as networks.
    """

    name = ""
    default_lr = 0.1
    default_weight_decay = 0.0
    moment_names: tuple[str, ...] = ()
    counts: tuple[str, ...] = ()
    """Moments that exist only after `forget` was called."""

    def __init__(
        self,
        net: MLP,
        lr: float | Sequence[float] | None = None,
        weight_decay: float | Sequence[float] | None = None,
        clip: float | Sequence[float] | None = None,
    ) -> None:
        self.net = net
        self.steps = 0
        self.lr = column_or_number(net, self.default_lr if lr is None else lr, "the learning rate")
        weight_decay = self.default_weight_decay if weight_decay is None else weight_decay
        decay = column_or_number(net, weight_decay, "the weight decay")
        self.decay = None if isinstance(decay, float) and decay == 0.0 else decay * weight_mask(net)
        self.clip = None if clip is None else column_or_number(net, clip, "the largest norm")
        self.moments = {
            key: xp.zeros(net.theta.shape, dtype=net.dtype) for key in self.moment_names
        }
        self.ranges = [(0, net.n_parameters)]
        self.paced: dict[str, float] = {}
        self.now: dict[float, dict[str, Any]] = {}
        """This step's numbers, by the multiple of the rate that a part of theta has."""

    def release(self, block: str) -> None:
        """Stop updating one block of theta ("W0"), because a technique updates it."""
        piece = self.net.block(block)
        kept = []
        for start, stop in self.ranges:
            kept += [(start, min(stop, piece.start)), (max(start, piece.stop), stop)]
        self.ranges = [(start, stop) for start, stop in kept if start < stop]

    def pace(self, block: str, multiple: float) -> None:
        """Move one block of theta at a multiple of the learning rate."""
        if multiple != 1:
            self.release(block)
            self.paced[block] = multiple

    def step(self, factor: float = 1.0) -> None:
        """One update of theta from dtheta; `factor` is the schedule's for this step."""
        self.steps += 1
        self.prepare(factor)
        self.move()
        if self.steps % FLUSH_EVERY == 0:
            self.flush()

    def numbers(self, factor: float) -> dict[str, float | Array]:
        """What the update needs of this step beside the arrays: "rate", a number or a column (R, 1)."""
        return {"rate": self.lr * factor}

    def prepare(self, factor: float) -> None:
        """Write this step's numbers into arrays that stay where they are. On a CPU, where no graph repeats
        the calls, they are used as they are, which is quicker."""
        for multiple in (1.0, *self.paced.values()):
            numbers = self.numbers(factor * multiple)
            if on_cpu():
                self.now[multiple] = numbers
                continue
            now = self.now.setdefault(multiple, {})
            for key, value in numbers.items():
                if key not in now:
                    now[key] = xp.empty(getattr(value, "shape", ()), dtype=self.net.dtype)
                now[key][...] = value

    def move(self) -> None:
        """The update itself, with the numbers of the last `prepare`."""
        net, parts = self.net, [(self.ranges, 1.0)]
        if self.clip is not None:
            net.dtheta[...] *= clip_factor(net.dtheta, self.clip)
        for name, multiple in self.paced.items():
            block = net.block(name)
            parts.append(([(block.start, block.stop)], multiple))
        theta, dtheta, moments = net.theta, net.dtheta, self.moments.values()
        for ranges, multiple in parts:
            for pick in in_pieces(theta, ranges):
                now = {key: part_of(value, pick) for key, value in self.now[multiple].items()}
                some = [moment[pick] for moment in moments]
                self.update(theta[pick], dtheta[pick], some, part_of(self.decay, pick), now)

    def update(
        self,
        theta: Array,
        dtheta: Array,
        moments: list[Array],
        decay: Array | None,
        now: dict[str, Array],
    ) -> None:
        """Change theta and the moments, or one piece of them all; decay is added to the gradient."""
        g = dtheta if decay is None else dtheta + decay * theta
        self.rule(theta, g, moments, now)

    def rule(self, theta: Array, g: Array, moments: list[Array], now: dict[str, Array]) -> None:
        """The optimizer's update, given the gradient g and this step's numbers."""
        raise NotImplementedError

    def forget(self, block: str, mask: Array) -> None:
        """Zero the moments of one block of theta where mask, which broadcasts to the block, is true."""
        for moment in self.moments.values():
            xp.copyto(self.net.view(moment, block), 0, where=mask)

    def flush(self) -> None:
        """Set moments too small for a normal floating-point number to zero.

        Where a gradient is exactly zero for long (dead neurons, border pixels) moments decay into
        subnormal numbers, on which a CPU computes many times slower. No step is changed by more
        than the smallest normal number.
        """
        for moment in self.moments.values():
            tiny = xp.finfo(moment.dtype).tiny
            for pick in in_pieces(moment, [(0, moment.shape[-1])]):
                moment[pick] *= abs(moment[pick]) >= tiny

    def state(self) -> dict[str, Array]:
        """What a checkpoint must keep: the step count and the moments."""
        return {"steps": self.steps, **self.moments}

    def load_state(self, state: dict[str, Array]) -> None:
        """Restore what `state` returned."""
        self.steps = int(state["steps"])
        for key in [*self.moments, *self.counts]:
            if key in state or key in self.moment_names:
                self.moments.setdefault(key, xp.zeros_like(self.net.theta))
                self.moments[key][...] = to_device(state[key])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.net!r})"


def column_or_number(net: MLP, value: float | Sequence[float], what: str) -> float | Array:
    """One number as it is; one per network as a column (R, 1), which broadcasts over the parameters.

    Raises UsageError for another count, or a number that is negative or not finite.
    """
    single = isinstance(value, Real)
    try:
        values = [float(v) for v in ([value] if single else value)]  # type: ignore[union-attr,arg-type]
    except (TypeError, ValueError):
        raise UsageError(f"{what} is one number or one per network, got {value!r}") from None
    if not single and len(values) != (net.replicas or 1):
        raise UsageError(
            f"{what} is one number or one per network ({net.replicas or 1}), got {len(values)}"
        )
    for v in values:
        if not 0 <= v < float("inf"):
            raise UsageError(f"{what} must be a finite number from 0 up, got {v}")
    if single or net.replicas is None:
        return values[0]
    # A list stays a column even if all its numbers are equal: a network then gets the same rounding errors
    # whatever the rates of the other networks are.
    return to_device([[v] for v in values], dtype=net.dtype)


def clip_factor(dtheta: Array, clip: float | Array) -> Array:
    """The factor that shortens a long gradient to the norm `clip` (Pascanu, Mikolov and Bengio, ICML
    2013).

        c = min(1, clip / (|g| + 1e-6)),   |g| = sqrt(sum g^2) over all weights of a network

    dtheta (..., P) -> (..., 1). The norm is taken of g / max|g|, so that squares cannot overflow.
    """
    largest = xp.max(abs(dtheta), axis=-1, keepdims=True)
    largest = xp.maximum(largest, xp.finfo(dtheta.dtype).tiny)
    norm = largest * xp.sqrt(xp.sum((dtheta / largest) ** 2, axis=-1, keepdims=True))
    return xp.minimum(1, clip / (norm + 1e-6))


def part_of(value: float | Array | None, pick: tuple[slice, ...]) -> float | Array | None:
    """The part of a rate or a decay that belongs to one piece: a number or a column (R, 1) is the same for
    all.

    value: a number, (R, 1), (P,) or (R, P).
    """
    if value is None or isinstance(value, float):
        return value
    sides = zip(value.shape[::-1], pick[::-1], strict=False)
    return value[tuple(slice(None) if n == 1 else side for n, side in sides)[::-1]]


def weight_mask(net: MLP) -> Array:
    """1 on the entries of theta that belong to a W, 0 elsewhere: what weight decay acts on. (P,)"""
    mask = xp.zeros(net.n_parameters, dtype=net.dtype)
    for block in net.blocks:
        if block.name[0] == "W":
            mask[block.start : block.stop] = 1
    return mask


# Below, `s` is the only array that a line makes: `s = g - m; s *= new1` takes half the memory traffic of
# `new1 * (g - m)`, and on a GPU, where all lines become one kernel, s is a register.


@fuse
def sgd_update(theta: Array, g: Array, rate: Array) -> None:
    """theta <- theta - rate g."""
    theta -= rate * g


@fuse
def momentum_update(theta: Array, g: Array, m: Array, rate: Array, beta: Array) -> None:
    """m <- beta m + g;  theta <- theta - rate m."""
    m *= beta
    m += g
    theta -= rate * m


@fuse
def nesterov_update(theta: Array, g: Array, m: Array, rate: Array, beta: Array) -> None:
    """m <- beta m + g;  theta <- theta - rate (g + beta m)."""
    m *= beta
    m += g
    s = beta * m
    s += g
    s *= rate
    theta -= s


@fuse
def adam_update(
    theta: Array, g: Array, m: Array, v: Array, rate: Array, new1: Array, new2: Array, eps: Array
) -> None:
    """m <- m + new1 (g - m);  v <- v + new2 (g^2 - v);  theta <- theta - rate m / (sqrt(v) + eps).

    new1 = 1 - beta1, new2 = 1 - beta2: see backend.fuse on scalars.
    """
    s = g - m
    s *= new1
    m += s
    s = g * g
    s -= v
    s *= new2
    v += s
    s = xp.sqrt(v)
    s += eps
    s = m / s
    s *= rate
    theta -= s


@fuse
def counted_adam_update(
    theta: Array,
    g: Array,
    m: Array,
    v: Array,
    c1: Array,
    c2: Array,
    rate: Array,
    new1: Array,
    new2: Array,
    eps: Array,
) -> None:
    """Adam with a bias correction for each entry: c1, c2 are what m, v would be if every g had been 1.

    m, v as in adam_update;  c1 <- c1 + new1 (1 - c1);  c2 <- c2 + new2 (1 - c2)
    theta <- theta - rate (m / c1) / (sqrt(v / c2) + eps)
    """
    s = g - m
    s *= new1
    m += s
    s = g * g
    s -= v
    s *= new2
    v += s
    s = 1 - c1
    s *= new1
    c1 += s
    s = 1 - c2
    s *= new2
    c2 += s
    s = v / c2
    s = xp.sqrt(s)
    s += eps
    s *= c1
    s = m / s
    s *= rate
    theta -= s


class SGD(Optimizer):
    """Plain stochastic gradient descent (Robbins and Monro, 1951).

    theta <- theta - lr (dtheta + weight_decay theta)
    """

    name = "sgd"
    default_lr = 0.1

    def rule(self, theta: Array, g: Array, moments: list[Array], now: dict[str, Array]) -> None:
        sgd_update(theta, g, now["rate"])


class Momentum(Optimizer):
    """Gradient descent with a heavy ball, beta = 0.9 (Polyak, 1964).

    m <- beta m + g;  theta <- theta - lr m
    """

    name = "momentum"
    default_lr = 0.05
    moment_names = ("m",)
    beta = 0.9

    def rule(self, theta: Array, g: Array, moments: list[Array], now: dict[str, Array]) -> None:
        momentum_update(theta, g, moments[0], now["rate"], self.beta)


class Nesterov(Momentum):
    """Momentum that looks one step ahead, beta = 0.9 (Nesterov, 1983;
    Sutskever, Martens, Dahl and Hinton, 2013).

        m <- beta m + g;  theta <- theta - lr (g + beta m)
    """

    name = "nesterov"

    def rule(self, theta: Array, g: Array, moments: list[Array], now: dict[str, Array]) -> None:
        nesterov_update(theta, g, moments[0], now["rate"], self.beta)


class Adam(Optimizer):
    """Adaptive moments, beta = 0.9 and 0.999 (Kingma and Ba, 2015).

        m <- b1 m + (1-b1) g            mhat = m / (1 - b1^t)
        v <- b2 v + (1-b2) g^2          vhat = v / (1 - b2^t)
        theta <- theta - lr mhat / (sqrt(vhat) + eps)

    b1 = 0.9, b2 = 0.999, eps = 1e-8. The corrections are moved into the rate and eps (the same
    numbers, two passes over memory fewer): lr sqrt(1 - b2^t) / (1 - b1^t) and eps sqrt(1 - b2^t).
    Weight decay is added to the gradient (L2).

    t counts the steps since an entry's moments were zero. It is the same for all entries until a technique
    resets those of some neurons: with the old t, their first steps would be up to 6.4 lr long. From
    then on c1 = 1 - b1^t and c2 = 1 - b2^t are kept for every entry, zero where moments are zero.
    """

    name = "adam"
    default_lr = 1e-3
    moment_names = ("m", "v")
    counts = ("c1", "c2")
    beta1, beta2, eps = 0.9, 0.999, 1e-8

    def forget(self, block: str, mask: Array) -> None:
        if on_cpu() and not mask.any():
            return
        if not set(self.counts) <= set(self.moments):
            for key, beta in zip(self.counts, (self.beta1, self.beta2), strict=True):
                self.moments[key] = xp.full_like(self.net.theta, 1 - beta**self.steps)
        super().forget(block, mask)

    def numbers(self, factor: float) -> dict[str, float | Array]:
        if self.counts[0] in self.moments:
            return {"rate": self.lr * factor, "eps": self.eps}
        root = (1 - self.beta2**self.steps) ** 0.5
        rate = self.lr * (factor * root / (1 - self.beta1**self.steps))
        return {"rate": rate, "eps": self.eps * root}

    def rule(self, theta: Array, g: Array, moments: list[Array], now: dict[str, Array]) -> None:
        update = adam_update if len(moments) == 2 else counted_adam_update
        update(theta, g, *moments, now["rate"], 1 - self.beta1, 1 - self.beta2, now["eps"])


class AdamW(Adam):
    """Adam with weight decay apart from the gradient, 0.01 unless set (Loshchilov and Hutter, 2019).

    theta <- (1 - lr decay) theta before Adam's step, so the decay is not divided by sqrt(vhat)
    """

    name = "adamw"
    default_weight_decay = 0.01

    def numbers(self, factor: float) -> dict[str, float | Array]:
        return super().numbers(factor) | {"decay rate": self.lr * factor}

    def update(
        self,
        theta: Array,
        dtheta: Array,
        moments: list[Array],
        decay: Array | None,
        now: dict[str, Array],
    ) -> None:
        if decay is not None:
            theta *= 1 - now["decay rate"] * decay
        self.rule(theta, dtheta, moments, now)


OPTIMIZERS: dict[str, type[Optimizer]] = {o.name: o for o in (SGD, Momentum, Nesterov, Adam, AdamW)}


def get(name: str) -> type[Optimizer]:
    """The optimizer class of that name. Raises UsageError for an unknown one."""
    check_known("optimizer", name, OPTIMIZERS)
    return OPTIMIZERS[name]
