"""How does the neurons' diversity affect a network's predictions? Four measurements.

    found = effects(net, dataset)

    ablation       accuracy lost without a neuron, against its largest |correlation| with another
    ambiguity      E = mean_h E_h - A: the neurons as an ensemble (Krogh and Vedelsby, 1995)
    bias-variance  E = bias^2 + var / H + (1 - 1/H) cov over starts (Ueda and Nakano, 1996)
    relations      diversity against test accuracy over networks, rank correlation with interval

Layers are folded into the weights first (MLP.folded), and the last hidden layer is measured: its
neuron h has the output o_h = H a_h V_h + c, so that the network's output f is the mean of the o_h.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tinydiv.backend import Array, to_device, to_host, xp
from tinydiv.data.dataset import Dataset
from tinydiv.diversity import METRICS, TINY_EPS, measure
from tinydiv.errors import UsageError
from tinydiv.loop import DeviceData, listed
from tinydiv.losses import accuracy, one_hot
from tinydiv.mlp import MLP
from tinydiv.similarity import correlations, off_diagonal
from tinydiv.stats import Interval, bca_interval, intervals, spearman

ROWS = 1000
"""Samples in one forward pass."""
FEWEST = 4
"""The fewest networks, or neurons, for a rank correlation."""


@dataclass(frozen=True)
class Ablation:
    """Per network and neuron, (R, H) as nested lists."""

    drop: list[list[float]]
    """Test accuracy lost when the neuron's activation is replaced by its mean on the probe set."""
    alike: list[list[float]]
    """The neuron's largest |correlation| with another one, 0 for dead neurons."""
    alive: list[list[bool]]
    """Whether the neuron is not constant on the probe set."""
    relation: Interval | None
    """Rank correlation of the two: the mean over networks with its interval; of one network, that of
    its neurons. None for too few networks or neurons, or for values that do not vary."""


@dataclass(frozen=True)
class Ambiguity:
    """Per network (R,): squared errors against targets of 0 and 1, summed over classes."""

    error: list[float]
    members: list[float]
    """The neurons' mean error; error = members - ambiguity, exactly."""
    ambiguity: list[float]


@dataclass(frozen=True)
class BiasVariance:
    """Over networks that differ in their start: error = bias + variance / H + (1 - 1/H) covariance."""

    error: float
    bias: float
    """Squared, as it enters the sum."""
    variance: float
    covariance: float
    H: int


@dataclass(frozen=True)
class Effects:
    """The results of effects()."""

    accuracy: list[float]
    ablation: Ablation
    ambiguity: Ambiguity
    bias_variance: BiasVariance | None
    """None for a single network."""
    diversity: dict[str, list[float]]
    """Every metric of the last hidden layer, per network."""
    relations: dict[str, Interval]
    """Rank correlation of each with test accuracy; {} below four networks."""
    loss: str | None = None
    """The loss with which the networks were trained, if it is known."""


def effects(
    net: MLP,
    dataset: Dataset | DeviceData,
    networks: Sequence[int] | None = None,
    *,
    loss: str | None = None,
) -> Effects:
    """Measure how diversity affects predictions, on the test part.

    networks: which networks to use (for example those that did not diverge); all by default.
    Raises UsageError where there is no hidden layer, no network left, or a layer cannot be folded.
    """
    if net.depth < 2:
        raise UsageError(
            "a network without hidden layers has no neurons whose diversity could matter"
        )
    data = dataset if isinstance(dataset, DeviceData) else DeviceData(dataset, net.dtype)
    plain = chosen(net.folded(), networks)
    probe = plain.forward(data.probe())
    last = plain.depth - 1
    keys = {name: name if plain.depth == 2 else f"{name}.{last}" for name in METRICS}
    found = measure(plain, probe, labels=data.probe_labels())
    diversity = {name: listed(found[key]) for name, key in keys.items()}
    right = accuracies(plain, data)
    return Effects(
        right,
        ablation(plain, data, probe.A[last]),
        ambiguity(plain, data),
        bias_variance(plain, data) if len(right) > 1 else None,
        diversity,
        relations(diversity, right),
        loss,
    )


def chosen(net: MLP, networks: Sequence[int] | None) -> MLP:
    """The chosen networks alone, always with a replica axis."""
    theta = net.theta if net.replicas is not None else net.theta[None]
    if networks is not None:
        if not networks or not all(0 <= r < len(theta) for r in networks):
            raise UsageError(
                f"networks are numbers from 0 to {len(theta) - 1}, at least one; got {list(networks)}"
            )
        theta = theta[to_device(list(networks), dtype="int64")]
    some = MLP(net.sizes, net.activation, len(theta), net.dtype)
    some.theta[...] = theta
    return some


def parts(data: DeviceData) -> list[tuple[Array, Array]]:
    """The test part in pieces of ROWS samples: inputs (n, n_0) and labels (n,)."""
    starts = range(0, len(data.test_y), ROWS)
    return [(data.floats(data.test_x[s : s + ROWS]), data.test_y[s : s + ROWS]) for s in starts]


def accuracies(net: MLP, data: DeviceData) -> list[float]:
    """Test accuracy per network."""
    right = xp.zeros(net.lead, dtype=net.dtype)
    for X, y in parts(data):
        right += accuracy(net.forward(X).logits, y) * len(y)
    return listed(right / len(data.test_y))


def ablation(net: MLP, data: DeviceData, A: Array) -> Ablation:
    """What is lost without each neuron of the last hidden layer; A (R, N, H) on the probe set.

    Its activation is replaced by its mean, so it adds a constant still: f - (a_h - mean a_h) V_h.
    """
    V, mean = net.W[-1], xp.mean(A, axis=-2, keepdims=True)
    H = V.shape[-2]
    lost = xp.zeros((*net.lead, H), dtype=net.dtype)
    for X, y in parts(data):
        trace = net.forward(X)
        moves = trace.A[-2] - mean
        before = accuracy(trace.logits, y)
        for h in range(H):
            without = trace.logits - moves[..., :, h : h + 1] * V[..., h : h + 1, :]
            lost[..., h] += (before - accuracy(without, y)) * len(y)
    found = correlations(A, TINY_EPS)
    alike, alive = xp.max(abs(off_diagonal(found.R)), axis=-1), found.alive[..., 0, :] > 0
    drop, alike, alive = (to_host(a) for a in (lost / len(data.test_y), alike, alive))
    return Ablation(
        drop.astype(float).tolist(),
        alike.astype(float).tolist(),
        alive.tolist(),
        relation_of_neurons(drop, alike, alive),
    )


def relation_of_neurons(drop: Array, alike: Array, alive: Array) -> Interval | None:
    """Rank correlation within each network, averaged over networks. If the neurons of all networks were
    pooled, differences between networks would count as differences between neurons."""
    every = []
    for d, a, on in zip(drop, alike, alive, strict=True):
        d, a = d[on], a[on]
        if len(d) >= FEWEST and len(set(d.tolist())) > 1 and len(set(a.tolist())) > 1:
            every.append(spearman(a, d))
    if len(every) < FEWEST:  # too few for an interval over networks
        return every[0] if len(every) == 1 else None
    return bca_interval(intervals.mean, [one.estimate for one in every])


def members(net: MLP, A: Array, h: int) -> Array:
    """o_h = H a_h V_h + c of one neuron, (R, N, K)."""
    V, c = net.W[-1], net.b[-1]
    return V.shape[-2] * A[..., :, h : h + 1] * V[..., h : h + 1, :] + c


def ambiguity(net: MLP, data: DeviceData) -> Ambiguity:
    """Krogh and Vedelsby's three terms, each computed directly."""
    H = net.W[-1].shape[-2]
    error, single, apart = (xp.zeros(net.lead, dtype="float64") for _ in range(3))
    for X, y in parts(data):
        trace = net.forward(X)
        target = one_hot(y, trace.logits)
        error += sum_of_squares(trace.logits - target)
        for h in range(H):
            o = members(net, trace.A[-2], h)
            single += sum_of_squares(o - target) / H
            apart += sum_of_squares(o - trace.logits) / H
    N = len(data.test_y)
    return Ambiguity(*(listed(total / N) for total in (error, single, apart)))


def sum_of_squares(x: Array) -> Array:
    """Over samples and outputs, in double precision: (R, N, K) -> (R,)."""
    return xp.sum(x.astype("float64") ** 2, axis=(-2, -1))


def bias_variance(net: MLP, data: DeviceData) -> BiasVariance:
    """Ueda and Nakano's terms: moments over networks, then means over samples, sums over outputs.

        bias^2 = (mean_r f - y)^2;   var = mean_h Var_r(o_h);   cov = mean_{h != k} Cov_r(o_h, o_k)

    The covariances come from the variance of the sum: sum_hk Cov(o_h, o_k) = Var(sum_h o_h).
    """
    H, K = net.W[-1].shape[-2:]
    sums = {"error": 0.0, "bias": 0.0, "variance": 0.0, "covariance": 0.0}
    for X, y in parts(data):
        trace, target = net.forward(X), one_hot(y, K).astype("float64")
        f = trace.logits.astype("float64")
        total = xp.zeros_like(f)
        own = xp.zeros(f.shape[1:], dtype="float64")
        for h in range(H):
            o = members(net, trace.A[-2], h).astype("float64")
            own += xp.var(o, axis=0)
            total += o
        pairs = (xp.var(total, axis=0) - own) / max(H * (H - 1), 1)
        found = {
            "error": xp.mean((f - target) ** 2, axis=0),
            "bias": (xp.mean(f, axis=0) - target) ** 2,
            "variance": own / H,
            "covariance": pairs,
        }
        for name, value in found.items():
            sums[name] += float(to_host(xp.sum(value)))
    N = len(data.test_y)
    return BiasVariance(**{name: value / N for name, value in sums.items()}, H=int(H))


def relations(diversity: dict[str, list[float]], right: list[float]) -> dict[str, Interval]:
    """Rank correlation of every metric with test accuracy, where both vary over enough networks."""
    if len(right) < FEWEST or len(set(right)) < 2:
        return {}
    return {
        name: spearman(values, right) for name, values in diversity.items() if len(set(values)) > 1
    }
