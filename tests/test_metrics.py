"""Diversity metrics: each against other code, in loops; none depends on the order of the neurons."""

import itertools

import numpy as np
import pytest
from helpers import close, labels, network, numbers
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

from tinydiv import data
from tinydiv.backend import to_device, to_host
from tinydiv.data import load
from tinydiv.diversity import METRICS, Neurons, measure, neurons_of, one_network, responses
from tinydiv.errors import UsageError
from tinydiv.loop import train
from tinydiv.mlp import MLP
from tinydiv.optimizers import SGD
from tinydiv.techniques import layers_of, place

CLASSES = 4


def layer(D=7, H=6, N=60, K=4, R=None, seed=0, kind="usual"):
    """Random neurons as plain arrays; with settings for some alike and some dead."""
    rng = np.random.default_rng(seed)
    lead = () if R is None else (R,)
    W, b = rng.normal(size=(*lead, D, H)), rng.normal(size=(*lead, 1, H))
    V, X = rng.normal(size=(*lead, H, K)), rng.normal(size=(N, D)) + 0.4
    if kind == "alike":
        for i, j in ((1, 0), (4, 3), (5, 4)):
            W[..., j] = 1.3 * W[..., i] + 0.05 * rng.normal(size=W[..., i].shape)
            b[..., j] = 1.3 * b[..., i]
    if kind == "dead":
        b[..., 2] = -1000
    A = np.maximum(X @ W + b, 0)
    y = rng.integers(CLASSES, size=N)
    return {"W": W, "b": b, "A": A, "V": V, "labels": y, "classes": CLASSES}


def neurons(parts):
    return Neurons(**{k: v if k == "classes" else to_device(v) for k, v in parts.items()})


def value(name, parts):
    return to_host(METRICS[name](neurons(parts)))


# Independent implementations, one network, in loops ------------------------------------------------


def pairs(H):
    return list(itertools.combinations(range(H), 2))


def cosine(u, v):
    return u @ v / np.linalg.norm(u) / np.linalg.norm(v)


def alive(A):
    return [h for h in range(A.shape[1]) if A[:, h].std() >= 1e-3]


def off_correlations(A):
    kept = alive(A)
    return [np.corrcoef(A[:, i], A[:, j])[0, 1] for i, j in itertools.combinations(kept, 2)]


def spectrum_entropy(A):
    sigma = np.linalg.svd(A - A.mean(0), compute_uv=False) ** 2
    p = sigma[sigma > 0] / sigma.sum()
    return np.exp(-(p * np.log(p)).sum())


def energy(W, half):
    U = W / np.linalg.norm(W, axis=0)

    def inverse(v):
        return 1 / np.sqrt(v @ v + 1e-6)

    one = [inverse(U[:, i] - U[:, j]) for i, j in pairs(W.shape[1])]
    two = [inverse(U[:, i] + U[:, j]) for i, j in pairs(W.shape[1])]
    return (np.mean(one) + np.mean(two)) / 2 if half else np.mean(one)


def grouped(vectors, threshold=0.95):
    """Connected groups of rows by cosine, by SciPy's graph routine."""
    U = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return connected_components(threshold < U @ U.T)[0]


def codes(parts):
    A, y = parts["A"], parts["labels"]
    rows = np.array([[A[y == c, h].mean() for c in range(CLASSES)] for h in range(A.shape[1])])
    rows -= rows.mean(axis=1, keepdims=True)
    rows = rows[np.linalg.norm(rows, axis=1) > 1e-9]
    if len(rows) < 2:
        return len(rows) / A.shape[1]
    found = fcluster(linkage(rows, "single", "cosine"), 0.05 * (1 - 1e-12), "distance")
    return len(set(found)) / A.shape[1]


def hsic(P, Q):
    """Song et al.'s estimator, term by term, from N x N kernels."""
    N = len(P)
    K, L = P @ P.T, Q @ Q.T
    np.fill_diagonal(K, 0)
    np.fill_diagonal(L, 0)
    one = np.ones(N)
    terms = np.trace(K @ L) + (one @ K @ one) * (one @ L @ one) / ((N - 1) * (N - 2))
    return (terms - 2 / (N - 2) * (one @ K @ L @ one)) / (N * (N - 3))


def group_cka(A):
    order = sorted(range(A.shape[1]), key=lambda h: -A[:, h].var())
    P, Q = A[:, order[0::2]], A[:, order[1::2]]  # not centred: the estimate is the same
    return hsic(P, Q) / np.sqrt(hsic(P, P) * hsic(Q, Q))


def ensemble(parts):
    """mean over samples and members of |o - f|^2, and of |o|^2, with the members written out."""
    A, V = parts["A"], parts["V"]
    members = np.stack([A.shape[1] * np.outer(A[:, h], V[h]) for h in range(A.shape[1])])
    f = members.mean(axis=0)

    def size(x):
        return (x**2).sum(axis=-1).mean()

    return size(members - f), size(f) / size(members)


def kruskal(w):
    """2-norm of 1 - w over the maximum spanning tree of a bipartite graph, by Kruskal's way."""
    D, H = w.shape
    parent = list(range(D + H))

    def root(v):
        while parent[v] != v:
            v = parent[v]
        return v

    total = 0.0
    for d, h in sorted(np.ndindex(D, H), key=lambda e: -w[e]):
        a, b = root(d), root(D + h)
        if a != b:
            parent[a] = b
            total += (1 - w[d, h]) ** 2
    return (total / (D + H - 1)) ** 0.5


def relative(W):
    return np.abs(W) / np.abs(W).max()


def deep(W, V):
    w, v = relative(W), relative(V)
    through = [
        [max(min(w[d, h], v[h, k]) for h in range(len(v))) for k in range(v.shape[1])]
        for d in range(len(w))
    ]
    return kruskal(np.array(through))


def chance_free(A):
    b = 1 / (len(A) - 1)
    return (np.mean(np.square(off_correlations(A))) - b) / (1 - b)


REFERENCES = {
    "weight_cosine": lambda p: np.mean(
        [abs(cosine(p["W"][:, i], p["W"][:, j])) for i, j in pairs(p["W"].shape[1])]
    ),
    "weight_cosine_max": lambda p: max(
        abs(cosine(p["W"][:, i], p["W"][:, j])) for i, j in pairs(p["W"].shape[1])
    ),
    "correlation": lambda p: np.mean(np.abs(off_correlations(p["A"]))),
    "correlation_squared": lambda p: chance_free(p["A"]),
    "participation_ratio": lambda p: (
        np.trace(np.cov(p["A"].T)) ** 2 / (np.cov(p["A"].T) ** 2).sum()
    ),
    "effective_rank": lambda p: spectrum_entropy(p["A"]),
    "awake": lambda p: sum(p["W"][:, h].any() or p["V"][h].any() for h in range(len(p["V"]))),
    "dead_fraction": lambda p: 1 - len(alive(p["A"])) / p["A"].shape[1],
    "dormant_fraction": lambda p: np.mean(np.abs(p["A"]).mean(0) / np.abs(p["A"]).mean() <= 0.025),
    "group_cka": lambda p: group_cka(p["A"]),
    "codes": codes,
    "stable_rank": lambda p: (p["W"] ** 2).sum() / np.linalg.norm(p["W"], 2) ** 2,
    "hyperspherical_energy": lambda p: energy(p["W"], half=False),
    "half_space_energy": lambda p: energy(p["W"], half=True),
    "condensation": lambda p: grouped(np.concatenate([p["W"], p["b"]]).T),
    "ambiguity": lambda p: ensemble(p)[0],
    "coherence": lambda p: ensemble(p)[1],
    "neural_persistence": lambda p: kruskal(relative(p["W"])),
    "deep_graph_persistence": lambda p: deep(p["W"], p["V"]),
}
"""By name: the same number from one network's arrays, another way."""


@pytest.mark.parametrize("kind", ["usual", "alike", "dead"])
@pytest.mark.parametrize("shape", [(7, 6), (4, 9), (5, 2)])
@pytest.mark.parametrize("name", list(METRICS))
def test_every_metric_is_what_loops_compute(name, shape, kind, backend):
    D, H = shape
    if kind != "usual" and H < 6:
        kind = "usual"
    parts = layer(D, H, R=3, kind=kind, seed=D)
    found = value(name, parts)
    assert found.shape == (3,)
    for r in range(3):
        one = {k: v if k in ("labels", "classes") else v[r] for k, v in parts.items()}
        close(found[r], REFERENCES[name](one), rtol=1e-9, atol=1e-10)


@given(
    seed=st.integers(0, 10_000),
    H=st.integers(2, 9),
    kind=st.sampled_from(["usual", "dead"]),
)
def test_no_metric_changes_when_neurons_are_permuted(seed, H, kind):
    parts = layer(5, max(H, 3), N=30, seed=seed, kind=kind)
    order = np.random.default_rng(seed + 1).permutation(max(H, 3))
    moved = parts | {k: parts[k][:, order] for k in "WbA"} | {"V": parts["V"][order]}
    for name in METRICS:
        close(value(name, moved), value(name, parts), rtol=1e-8, atol=1e-7)


def test_networks_are_measured_each_alone(backend):
    parts = layer(R=6)  # as many networks as neurons
    for name in METRICS:
        together = value(name, parts)
        for r in range(6):
            one = {k: v if k in ("labels", "classes") else v[r] for k, v in parts.items()}
            close(together[r], value(name, one), rtol=1e-10)


# What the numbers mean ---------------------------------------------------------------------------


def test_ends_of_the_scales(backend):
    """All neurons the same, and neurons that could not differ more."""
    base = layer(D=6, H=6, N=400, K=6)
    w, v = base["W"][:, :1], base["V"][:1]
    same = base | {
        "W": np.tile(w, 6),
        "b": np.tile(base["b"][:, :1], 6),
        "A": np.tile(base["A"][:, :1], 6),
        "V": np.tile(v, (6, 1)),
    }
    apart = base | {
        "W": np.eye(6),
        "b": np.zeros((1, 6)),
        "A": np.linalg.qr(base["A"] - base["A"].mean(0))[0] * 20,
        "V": np.eye(6),
    }
    ends = {
        "weight_cosine": (1, 0),
        "correlation": (1, 0),
        "correlation_squared": (1, -1 / 398),
        "participation_ratio": (1, 6),
        "effective_rank": (1, 6),
        "stable_rank": (1, 6),
        "condensation": (1, 6),
        "coherence": (1, 1 / 6),
        "group_cka": (1, None),
        "codes": (1 / 6, None),
        "ambiguity": (0, None),
        "neural_persistence": (None, (6 - 1) ** 0.5 / 11**0.5),
    }
    for name, wanted in ends.items():
        for parts, number in zip((same, apart), wanted, strict=True):
            if number is not None:
                close(value(name, parts), number, rtol=1e-9, atol=2e-9)


def test_debiased_where_independent_neurons_would_look_alike():
    """Plain r^2 and CKA of independent neurons are far from zero at N = 64; these are not."""
    squared, cka, plain_squared, plain_cka = [], [], [], []
    for seed in range(200):
        A = np.random.default_rng(seed).normal(size=(64, 32))
        parts = layer(H=32, N=64) | {"A": A}
        squared.append(value("correlation_squared", parts))
        cka.append(value("group_cka", parts))
        R = np.corrcoef(A.T) - np.eye(32)
        plain_squared.append((R**2).sum() / (32 * 31))
        C = A - A.mean(0)
        order = np.argsort(-C.var(0))
        P, Q = C[:, order[0::2]], C[:, order[1::2]]
        sizes = np.linalg.norm(P.T @ P) * np.linalg.norm(Q.T @ Q)
        plain_cka.append(np.linalg.norm(P.T @ Q) ** 2 / sizes)

    def error(x):
        return 4 * np.std(x) / len(x) ** 0.5

    assert abs(np.mean(squared)) < error(squared)
    assert abs(np.mean(cka)) < error(cka)
    assert np.mean(plain_squared) == pytest.approx(1 / 63, rel=0.03)
    assert np.mean(plain_cka) == pytest.approx(0.20, abs=0.01)


def test_dead_and_dormant_are_two_things(backend):
    parts = layer(N=50)
    A = parts["A"].copy()
    A[:, 0], A[:, 1] = 0, 5.0  # silent; and large but constant
    parts["A"] = A
    close(value("dead_fraction", parts), 2 / 6)
    close(value("dormant_fraction", parts), 1 / 6)


def test_chains_join_in_condensation(backend):
    """Neighbours 10 degrees apart all along a quarter turn: one group, though its ends are orthogonal."""
    angles = np.deg2rad(np.arange(0, 91, 10))
    W = np.stack([np.cos(angles), np.sin(angles)])
    parts = layer(D=2, H=10) | {"W": W, "b": np.zeros((1, 10))}
    close(value("condensation", parts), 1)
    close(value("condensation", parts | {"W": W[:, ::2]} | cut(parts, 5)), 5)  # 20 degrees: cos .94


def cut(parts, H):
    return {"b": parts["b"][:, :H] * 0, "A": parts["A"][:, :H], "V": parts["V"][:H]}


def test_persistence_against_scipys_tree():
    """The tree's edges by SciPy on the whole graph of D + H nodes."""
    w = relative(np.random.default_rng(4).normal(size=(30, 8)))
    rows, columns = np.indices(w.shape)
    edges = (2 - w).ravel()  # no zero, which SciPy takes for "no edge"
    graph = coo_matrix((edges, (rows.ravel(), columns.ravel() + 30)), shape=(38, 38))
    tree = minimum_spanning_tree(graph.tocsr()).data
    wanted = np.sqrt(((tree - 1) ** 2).sum() / 37)
    parts = layer(D=30, H=8) | {"W": w}
    close(value("neural_persistence", parts), wanted)


def test_the_ambiguity_decomposition_holds(backend):
    """Krogh and Vedelsby: E = mean E - ambiguity, for the squared error of any targets."""
    parts = layer()
    A, V, d = parts["A"], parts["V"], np.random.default_rng(9).normal(size=(60, 4))
    members = np.stack([6 * np.outer(A[:, h], V[h]) for h in range(6)])

    def error(x):
        return ((x - d) ** 2).sum(axis=-1).mean()

    close(error(members.mean(0)), error(members) - value("ambiguity", parts))


# Odd layers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(METRICS))
def test_odd_layers_give_finite_numbers(name, backend):
    zero = {k: v * 0 if k in "WbAV" else v for k, v in layer(R=2).items()}
    single = layer(H=1)
    twins = layer(R=2, kind="alike")
    twins["W"][..., 1] = twins["W"][..., 0]
    few = layer(N=2)
    for parts in (zero, single, twins, few):
        assert np.isfinite(value(name, parts)).all()


RANGES = {
    "awake": (0, 8),
    "correlation_squared": (-1 / 58, 1),
    "participation_ratio": (0, 8),
    "effective_rank": (0, 8),
    "group_cka": (-1, 1),
    "stable_rank": (0, 7),
    "hyperspherical_energy": (0, 1000),
    "half_space_energy": (0, 1000),
    "condensation": (0, 8),
    "ambiguity": (0, np.inf),
}
"""The range of a metric at H = 8, D = 7, N = 60, by its docstring; all others lie in [0, 1]."""


def dying(dtype):
    """Layers of which little is left, three networks each: name -> arrays."""
    parts = {k: v.astype(dtype) if k in "WbAV" else v for k, v in layer(H=8, R=3).items()}
    A, only = parts["A"], np.arange(8) == 2
    spike = np.zeros_like(A)
    spike[:, 3, 2] = 1
    pair = spike.copy()
    pair[:, 5, 6] = 2
    heights = 1 + np.arange(8, dtype=dtype) / 7
    yield "all dead", parts | {"A": A * 0}
    yield "all but one dead", parts | {"A": A * only}
    yield "one neuron, one sample", parts | {"A": spike}
    yield "two neurons, a sample each", parts | {"A": pair}
    for height in (0.1, 5.3, 3333.3):
        constant = np.full_like(A, height) * heights
        yield f"constant {height}", parts | {"A": constant}
        yield f"all but one constant {height}", parts | {"A": np.where(only, A, constant)}
    for scale in (1e-3, 1e-12, 1e-30, 1e10):
        small = (A * scale).astype(dtype)
        yield f"times {scale}", parts | {"A": small}
        yield f"one neuron, others times {scale}", parts | {"A": np.where(only, A, small)}
        yield f"one sample times {scale}", parts | {"A": (pair * scale).astype(dtype)}
    yield (
        "one neuron with weights",
        parts | {"W": parts["W"] * only, "A": A * only, "V": parts["V"] * only[:, None]},
    )
    yield "tiny weights", parts | {k: (parts[k] * 1e-25).astype(dtype) for k in "WV"}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", list(METRICS))
def test_dying_layers_give_numbers_within_the_range(name, dtype):
    low, high = RANGES.get(name, (0, 1))
    room = 1e-4 if dtype == "float32" else 1e-10  # for rounding
    for what, parts in dying(dtype):
        found = value(name, parts)
        assert found.shape == (3,)
        assert np.isfinite(found).all(), what
        assert (low - room <= found).all(), what
        assert (found <= high * (1 + room)).all(), what


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_constant_neurons_count_as_dead_and_measure_zero(dtype):
    """However large it is: the rounding error of a mean is no response."""
    layers = dict(dying(dtype))
    gone = [what for what in layers if what.startswith("constant")] + ["all dead"]
    assert len(gone) == 4
    for what in gone:
        close(value("dead_fraction", layers[what]), 1)
        for name in NOTHING:
            np.testing.assert_array_equal(value(name, layers[what]), 0, err_msg=f"{name} {what}")
    for what in (w for w in layers if w.startswith("all but one")):
        np.testing.assert_array_equal(value("correlation_squared", layers[what]), 0)
        close(value("dead_fraction", layers[what]), 7 / 8)
        np.testing.assert_array_equal(value("group_cka", layers[what]), 0)


NOTHING = (
    *("correlation", "correlation_squared", "participation_ratio", "effective_rank", "group_cka"),
)
"""Measures that are 0 where nothing is left to measure: a dead layer is no better than independent."""


def test_the_halves_of_group_cka_do_not_depend_on_numbering_where_variances_are_equal(backend):
    """Eight neurons whose activations hold the same numbers in another order, twins among them."""
    rng = np.random.default_rng(4)
    numbers = rng.normal(size=40)
    A = np.stack([rng.permutation(numbers) for _ in range(5)], axis=1)
    A = np.concatenate([A, -A[:, :2], A[:, :1]], axis=1)
    parts = layer(D=3, H=8, N=40)
    expected = value("group_cka", parts | {"A": A})
    assert abs(expected) > 1e-3
    for _ in range(20):
        found = value("group_cka", parts | {"A": A[:, rng.permutation(8)]})
        np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("scale", [1e-2, 1e10])
def test_the_scale_of_a_layer_does_not_matter(scale):
    parts = {k: v.astype("float32") if k in "WbAV" else v for k, v in layer().items()}
    larger = parts | {"A": (parts["A"] * scale).astype("float32")}
    for name in ("correlation", "participation_ratio", "effective_rank", "group_cka"):
        close(value(name, larger), value(name, parts), rtol=1e-3)


@pytest.mark.parametrize("name", list(METRICS))
def test_a_diverged_network_does_not_spoil_the_others(name, backend):
    parts = layer(R=2)
    clean = value(name, parts)
    for key in "WbAV":
        parts[key] = parts[key].copy()
        parts[key][1] = np.nan
    close(value(name, parts)[0], clean[0], rtol=1e-12)


@pytest.mark.parametrize("name", list(METRICS))
def test_metrics_keep_the_dtype_and_stay_on_the_device(name, on_standin):
    parts = layer(R=3)
    parts = {k: v.astype("float32") if k in "WbAV" else v for k, v in parts.items()}
    found = neurons(parts)
    with on_standin.counting() as counts:
        result = METRICS[name](found)
    assert (counts.stops, counts.uploads, counts.copies) == (0, 0, 0)
    assert result.dtype == "float32"


# From a network; within epochs -------------------------------------------------------------------


def test_measure_names_layers_and_refuses_in_one_sentence(backend):
    net = network([5, 4, 3, 2], replicas=2, dtype="float64")
    trace = net.forward(numbers(20, 5))
    found = measure(net, trace, ["correlation", "codes"], labels(20, classes=2))
    assert sorted(found) == ["codes.1", "codes.2", "correlation.1", "correlation.2"]
    second = neurons_of(net, trace, 2)
    close(second.W, net.W[1])
    close(second.V, net.W[2])
    close(second.A, trace.A[2])
    assert "codes.1" not in measure(net, trace)
    assert set(measure(net, trace, labels=labels(20, classes=2))) == {
        f"{name}.{l}" for name in METRICS for l in (1, 2)
    }
    with pytest.raises(UsageError, match="did you mean 'correlation'"):
        measure(net, trace, ["corelation"])
    with pytest.raises(UsageError, match="needs the probe set's labels"):
        measure(net, trace, ["codes"])


SPIRALS = {"n_train": 300, "n_test": 60}


def small_run(metrics_every=None, on_step=None, epochs=2):
    dataset = load("spirals", **SPIRALS)
    net = MLP([2, 8, dataset.n_classes], replicas=2)
    net.theta[...] = numbers(*net.theta.shape, seed=3, dtype="float32") * 0.4
    records = train(
        *(net, dataset, SGD(net, 0.2)),
        epochs=epochs,
        batch_size=30,
        metrics_every=metrics_every,
        on_step=on_step,
    )
    return net, records


def test_metrics_within_epochs(backend):
    plain_net, plain = small_run()
    net, records = small_run(metrics_every=4)
    np.testing.assert_array_equal(to_host(net.theta), to_host(plain_net.theta))
    assert [[row["step"] for row in r.between] for r in records] == [[], [4, 8], [12, 16, 20]]
    assert records[1].between[0]["epoch"] == 0.4
    last = records[2].between[-1]  # measured at step 20, where the second epoch ends, too
    for name, values in records[2].diversity.items():
        close(last[name], values)
        close(plain[2].diversity[name], values)
    assert records[1].between[0]["correlation"] != records[1].between[1]["correlation"]


def test_measuring_within_epochs_never_stops_a_step(on_standin):
    """Stops happen when a record is made, and only there."""
    stops = []
    with on_standin.counting() as counts:
        small_run(metrics_every=1, on_step=lambda *_: stops.append(counts.stops))
    assert stops[1:9] == [stops[0]] * 8  # within the first epoch
    assert stops[10:19] == [stops[10]] * 9  # and within the second
    assert stops[10] > stops[9]  # between them, the record


def test_probe_labels_belong_to_the_probe_set():
    from tinydiv.loop import DeviceData

    found = DeviceData(data.load("spirals", **SPIRALS), "float32")
    probe, y = to_host(found.probe(50)), to_host(found.probe_labels(50))
    inputs = to_host(found.floats(found.train_x))
    for x, label in zip(probe, y, strict=True):
        places = np.flatnonzero((inputs == x).all(axis=1))  # arms meet in the middle
        assert label in to_host(found.train_y)[places]


# What neurons respond to ---------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_a_neuron_responds_to_the_weighted_mean_input(backend, activation):
    """Against the sums written out, neuron by neuron; a constant neuron responds to nothing."""
    rng = np.random.default_rng(0)
    X, labels = rng.normal(size=(40, 5)), np.arange(40) % 3
    net = MLP([5, 4, 2, 3], activation, replicas=2, dtype="float64")
    net.theta[...] = to_device(rng.normal(size=net.theta.shape))
    net.W[0][:, :, 3] = 0
    for layer, H in ((1, 4), (2, 2)):
        A = to_host(net.forward(to_device(X)).A[layer])
        found = responses(net, to_device(X), to_device(labels), layer)
        assert found.inputs.shape == (2, 5, H)
        for r in range(2):
            for h in range(H):
                w = A[r, :, h] - A[r, :, h].min()
                inputs, shares = np.zeros(5), np.zeros(3)
                if w.sum() > 0:
                    inputs = (w[:, None] * X).sum(axis=0) / w.sum() - X.mean(axis=0)
                    shares = np.array([w[labels == k].mean() for k in range(3)])
                    shares /= shares.sum()
                np.testing.assert_allclose(to_host(found.inputs)[r, :, h], inputs, atol=1e-12)
                np.testing.assert_allclose(to_host(found.classes)[r, :, h], shares, atol=1e-12)
    assert not to_host(responses(net, to_device(X)).inputs)[:, :, 3].any()
    assert responses(net, to_device(X)).classes is None
    with pytest.raises(UsageError, match="no hidden layer 3"):
        responses(net, to_device(X), layer=3)


def test_one_network_of_several_computes_the_same(backend):
    rng = np.random.default_rng(0)
    X = to_device(rng.normal(size=(6, 5)))
    net = MLP([5, 4, 3], replicas=3, dtype="float64")
    net.theta[...] = to_device(rng.normal(size=net.theta.shape))
    single = one_network(net, 1)
    assert single.replicas is None
    logits = to_host(net.forward(X).logits)[1]
    np.testing.assert_allclose(to_host(single.forward(X).logits), logits, rtol=1e-12)
    assert one_network(single) is single
    for spec in ("batch-norm", "decorrelated-inputs", "dropout", "zca-norm"):
        layered = MLP([5, 4, 3], replicas=3, dtype="float64", layers=layers_of([place(spec)]))
        layered.theta[...] = to_device(rng.normal(size=layered.theta.shape))
        single = one_network(layered, 2)
        assert single.replicas is None
        logits = to_host(layered.forward(X).logits)[2]
        np.testing.assert_allclose(to_host(single.forward(X).logits), logits, rtol=1e-9)
