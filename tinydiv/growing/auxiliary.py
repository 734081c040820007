"""Networks whose size is one more weight, in one array for all trials (Radhakrishnan et al., 2025, B1).

    yhat(x) = b3 + sum_h w3_h g_h tanh(b_h + I w1_h + x w2_h),   g_h = theta(G - h),  h = 0, 1, ...
    L       = mean (yhat - y)^2 + lambda (N - goal)^2             or cross-entropy of a sigmoid

In the paper the gates and the input both follow the learned size, G = I = N; the growing arm starts at
N = 0 and the grown one at N = goal. The controls hold the gates, the input, or both at a fixed value,
which shows which of them has an effect. Plain full-batch gradient descent, one rate for all.

Gradients, with d = dL/dyhat per point, s = tanh, q_h = w3_h g_h sum_p d (1 - s_h^2):

    db3 = sum d;   dw3_h = g_h sum d s_h;   db_h = q_h;   dw1_h = I q_h
    dw2_h = w3_h g_h sum_p x d (1 - s_h^2)
    dN = [G is N] sum_h w3_h theta'(N - h) sum_p d s_h + [I is N] sum_h w1_h q_h + 2 lambda (N - goal)

The same as MLP([1, H, 1]) with learned-size and size-loss, which a test compares to 1e-12; an array per
weight with the trials along the last axis makes it many times faster for networks as small as these.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import pi

from tinydiv.backend import Array, to_device, to_host, xp
from tinydiv.data import tasks
from tinydiv.diversity.of_activations import spectral_rank
from tinydiv.errors import UsageError
from tinydiv.randomness import generator
from tinydiv.settings import rounded

CHUNK = 128
"""How many trials are computed at once: their arrays fit into a core's cache."""


@dataclass(frozen=True)
class AuxiliaryArm:
    """One arm of the comparison: where N starts, and which value gates and input follow.

    gates, fed: "size" for N, "goal" for the goal; fed also "nothing" and "one".
    """

    line: str
    start: str
    gates: str = "size"
    fed: str = "size"


ARMS: dict[str, AuxiliaryArm] = {
    "growing": AuxiliaryArm("the paper's growing arm: N from 0, which gates and is an input", "0"),
    "grown": AuxiliaryArm("the paper's control: N starts at the goal", "goal"),
    "growing-plain": AuxiliaryArm("growing without the input N", "0", fed="nothing"),
    "grown-plain": AuxiliaryArm("grown without the input N", "goal", fed="nothing"),
    "gate-ramps": AuxiliaryArm("only the gates grow; the input stays at the goal", "0", fed="goal"),
    "input-ramps": AuxiliaryArm("only the input grows; all neurons are open", "0", gates="goal"),
    "grown-input-1": AuxiliaryArm("grown, with an input of 1 in place of N", "goal", fed="one"),
}
"""Every arm by name."""


@dataclass(frozen=True)
class AuxiliarySetting:
    """The settings that one comparison keeps fixed."""

    task: str
    epochs: int
    rate: float
    lam: float
    goal: float = 5.0
    room: int = 9
    n_train: int = 32
    n_test: int = 8
    delta: float = 1.0

    def check(self) -> None:
        """Raise UsageError for settings that cannot make a network."""
        tasks.curve(self.task)
        if self.room < 1:
            raise UsageError(f"there must be at least one neuron, got room = {self.room}")
        if not 0 <= self.goal <= self.room:
            raise UsageError(
                f"the goal {rounded(self.goal, 6)} is too large: there are {self.room} neurons"
            )
        if self.lam < 0:
            raise UsageError(
                f"lambda must be 0 or more, got {rounded(self.lam, 6)}: below 0 it moves N away "
                "from the goal"
            )


PUBLISHED: dict[str, AuxiliarySetting] = {
    "bessel-window": AuxiliarySetting("bessel-window", 40_000, 0.001, 0.1),
    "bessel-sum": AuxiliarySetting("bessel-sum", 20_000, 0.001, 0.1),
    "cubic": AuxiliarySetting("cubic", 20_000, 0.001, 0.1),
    "quadratic": AuxiliarySetting("quadratic", 20_000, 0.001, 0.1),
    "cubic-2": AuxiliarySetting("cubic-2", 20_000, 0.001, 0.1),
    "quadratic-2": AuxiliarySetting("quadratic-2", 20_000, 0.001, 0.1),
    "step": AuxiliarySetting("step", 10_000, 0.08, 0.01, n_train=40, n_test=10),
}
"""The paper's settings of each task."""


class Trials:
    """Networks and their points for a list of seeds: equal seeds start equal in every arm."""

    def __init__(
        self, setting: AuxiliarySetting, seeds: Sequence[int], *, shared: bool = False
    ) -> None:
        setting.check()
        self.setting, H = setting, setting.room
        self.points = tasks.points(
            setting.task, seeds, setting.n_train, setting.n_test, shared=shared
        )
        self.classes = tasks.curve(setting.task).classes
        start = to_device(
            [generator(seed, "start").uniform(-1, 1, 4 * H + 1).tolist() for seed in seeds]
        ).T.copy()
        self.w1, self.w2, self.w3, self.b = start[:-1].reshape(4, H, -1)
        self.b3 = start[-1]
        self.N = xp.zeros(len(seeds))


def theta(u: Array, delta: float) -> tuple[Array, Array]:
    """The gate and its derivative: sin^2(pi u / 2 delta) between 0 and delta, 0 before and 1 after."""
    inside = xp.clip(u, 0, delta)
    slope = xp.sin(inside * (pi / delta)) * (pi / (2 * delta))
    return xp.sin(inside * (pi / (2 * delta))) ** 2, slope * ((u > 0) & (u < delta))


def sigmoid(z: Array) -> Array:
    """1 / (1 + e^-z), which cannot overflow."""
    return 0.5 * (1 + xp.tanh(0.5 * z))


@dataclass
class AuxiliaryResult:
    """The results of each trial, as plain arrays (T,); moments: see train."""

    test: Array
    """The loss on the test points, without the size term."""
    train: Array
    size: Array
    rank: Array
    """Effective rank of the gated activations over [-1, 1]: how many independent neurons they equal."""
    epochs: list[int]
    """The moments."""
    sizes: Array
    """(moments, T): N during training."""
    losses: Array
    """(moments, T): the test loss during training."""


def train(
    arm: AuxiliaryArm,
    trials: Trials,
    *,
    moments: int = 0,
    on_moment: Callable[[int, Trials], None] | None = None,
) -> AuxiliaryResult:
    """Train all trials of one arm from their present state; the trials' arrays are changed in place.

    moments: how many times, at equal distances, size and test loss are kept. on_moment(epoch, trials) is
    called at those times, the first before the first step.
    """
    s = trials.setting
    x, y = (to_device(a) for a in trials.points[:2])
    w1, w2, w3, b, b3, N = trials.w1, trials.w2, trials.w3, trials.b, trials.b3, trials.N
    neurons = xp.arange(s.room, dtype="float64")[:, None]
    N[...] = 0 if arm.start == "0" else s.goal
    fixed_gates = theta(s.goal - neurons, s.delta)[0]
    fixed_input = {"goal": s.goal, "one": 1.0, "nothing": 0.0}.get(arm.fed)
    P, rate = x.shape[0], s.rate
    Z = xp.empty((P, s.room, len(N)))
    every = max(s.epochs // max(moments, 1), 1)
    seen: list[tuple[int, Array, Array]] = []

    def look(epoch: int) -> None:
        seen.append((epoch, N.copy(), loss(arm, trials)[0]))
        if on_moment is not None:
            on_moment(epoch, trials)

    if moments:
        look(0)
    for epoch in range(s.epochs):
        if arm.gates == "size":
            g, slope = theta(N - neurons, s.delta)
        else:
            g = fixed_gates
        fed = N if fixed_input is None else fixed_input
        v = w3 * g
        xp.multiply(x[:, None, :], w2, out=Z)
        Z += b + fed * w1
        S = xp.tanh(Z, out=Z)
        out = xp.einsum("pht,ht->pt", S, v)
        out += b3
        d = sigmoid(out) - y if trials.classes else 2 * (out - y)
        d /= P
        ds = xp.einsum("pht,pt->ht", S, d)
        xp.multiply(S, S, out=Z)
        xp.subtract(1, Z, out=Z)
        q = v * xp.einsum("pht,pt->ht", Z, d)
        dw2 = v * xp.einsum("pht,pt->ht", Z, d * x)
        dN = (2 * s.lam) * (N - s.goal)
        if arm.gates == "size":
            dN += xp.sum(w3 * slope * ds, axis=0)
        if fixed_input is None:
            dN += xp.sum(w1 * q, axis=0)
        w1 -= (rate * fed) * q
        w2 -= rate * dw2
        w3 -= rate * (g * ds)
        b -= rate * q
        b3 -= rate * xp.sum(d, axis=0)
        N -= rate * dN
        if moments and (epoch + 1) % every == 0:
            look(epoch + 1)
    test, hidden = loss(arm, trials)
    inner, _ = loss(arm, trials, part="train")
    kept = [to_host(xp.stack([row[i] for row in seen])) if seen else None for i in (1, 2)]
    return AuxiliaryResult(
        test=to_host(test),
        train=to_host(inner),
        size=to_host(N).copy(),
        rank=to_host(effective_rank(hidden)),
        epochs=[row[0] for row in seen],
        sizes=kept[0],
        losses=kept[1],
    )


def forward(arm: AuxiliaryArm, trials: Trials, x: Array) -> tuple[Array, Array]:
    """(outputs (P, T), gated activations (P, H, T)) at x (P, T) or (P, 1)."""
    s, N = trials.setting, trials.N
    neurons = xp.arange(s.room, dtype="float64")[:, None]
    size = N if arm.gates == "size" else s.goal
    fed = {"size": N, "goal": s.goal, "one": 1.0, "nothing": 0.0}[arm.fed]
    S = xp.tanh(x[:, None, :] * trials.w2 + (trials.b + fed * trials.w1))
    S *= theta(size - neurons, s.delta)[0]
    return xp.einsum("pht,ht->pt", S, trials.w3) + trials.b3, S


def loss(arm: AuxiliaryArm, trials: Trials, part: str = "test") -> tuple[Array, Array]:
    """(loss (T,) without the size term, gated activations on 101 points of [-1, 1])."""
    x, y = trials.points[2:] if part == "test" else trials.points[:2]
    out, _ = forward(arm, trials, to_device(x))
    y = to_device(y)
    if trials.classes:
        softplus = xp.maximum(out, 0) + xp.log1p(xp.exp(-abs(out)))
        value = xp.mean(softplus - out * y, axis=0)
    else:
        value = xp.mean((out - y) ** 2, axis=0)
    grid = to_device([[-1 + i / 50] for i in range(101)])
    return value, forward(arm, trials, grid)[1]


def effective_rank(S: Array) -> Array:
    """exp(entropy) of the variances along principal directions, (P, H, T) -> (T,); 0 if all is constant."""
    C = xp.moveaxis(S - xp.mean(S, axis=0, keepdims=True), -1, 0)  # (T, P, H)
    return spectral_rank(xp.matmul(C.mT, C))
