"""Starts: the property of each scheme, on ordinary data and on data of low rank."""

import time

import numpy as np
import pytest
from helpers import close

from tinydiv import data
from tinydiv.backend import matmul, to_device, to_host
from tinydiv.errors import UsageError
from tinydiv.initializers import BASES, PROBE, SCHEMES, initialize, needs_data
from tinydiv.loop import DeviceData
from tinydiv.mlp import MLP

KEEP_NORMS = sorted(set(SCHEMES) - {"lsuv", "scaled"})
KEEP_OUTGOING = sorted(set(KEEP_NORMS) - {"decorrelated"})
SPECS = [*sorted(SCHEMES), "greedy:by=responses", "pca-white:white=no", "lowdin:mix=0.5"]


def correlated(N, D, seed=0):
    """Inputs (N, D) as images have them: a mean far from 0, a few directions with most of the variance."""
    rng = np.random.default_rng(seed)
    spread = 3.0 / np.arange(1, D + 1)
    X = rng.normal(size=(N, D)) * spread @ np.linalg.qr(rng.normal(size=(D, D)))[0] + 0.5
    return X.astype("float32")


def started(spec, sizes=(40, 8, 5), seed=0, X=None, dtype="float64", **settings):
    """A network after `initialize`; X on the host, correlated() where it is not given."""
    net = MLP(list(sizes), dtype=dtype, **settings)
    X = correlated(600, sizes[0]) if X is None else X
    initialize(net, spec, seed, to_device(X))
    return net


def host(net, layer=0):
    """(W, b) of one layer on the host."""
    return to_host(net.W[layer]), to_host(net.b[layer])


def norms(W):
    return np.linalg.norm(W, axis=-2)


def cosines(W):
    U = W / np.linalg.norm(W, axis=-2, keepdims=True)
    return U.T @ U


def off(M):
    return M[~np.eye(len(M), dtype=bool)]


def correlation(Z):
    return np.abs(off(np.corrcoef(Z, rowvar=False))).mean()


# The base draws ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(BASES))
def test_base_draws_have_the_moments_that_they_state(name):
    n_in, n_out = 300, 200
    net = MLP([n_in, n_out], dtype="float64")
    initialize(net, name, 3)
    W, b = host(net)
    kind, shape = [*name.split("-"), "uniform"][:2]
    variance = {
        "he": 2 / n_in,
        "glorot": 2 / (n_in + n_out),
        "lecun": 1 / n_in,
        "pytorch": 1 / (3 * n_in),
    }[kind]
    assert abs(W.mean()) < 4 * (variance / W.size) ** 0.5
    assert W.var() == pytest.approx(variance, rel=0.03)
    fourth = (W**4).mean() / variance**2  # 3 for a normal, 9/5 for a uniform
    assert fourth == pytest.approx(3 if shape == "normal" else 1.8, rel=0.06)
    if kind == "pytorch":
        assert b.var() == pytest.approx(variance, rel=0.25)
        assert np.abs(b).max() <= n_in**-0.5
    else:
        assert not b.any()


# What every scheme guarantees ---------------------------------------------------------------------


@pytest.mark.parametrize("base", ["pytorch", "glorot-uniform", "response-zca@he-normal"])
@pytest.mark.parametrize("name", KEEP_NORMS)
def test_a_scheme_on_a_base_keeps_every_incoming_norm(name, base):
    for sizes in ((40, 8, 5), (40, 8, 7, 5), (6, 9, 3)):
        plain, net = started(base, sizes), started(f"{name}@{base}", sizes)
        for layer in range(len(sizes) - 2):
            close(norms(host(net, layer)[0]), norms(host(plain, layer)[0]), rtol=1e-12)
        changed = np.abs(host(net)[0] - host(plain)[0]).max() > 1e-3
        assert changed or name == "centring" or name in base


@pytest.mark.parametrize("name", KEEP_OUTGOING)
def test_a_scheme_on_a_base_keeps_its_outgoing_weights(name):
    plain, net = started("pytorch"), started(f"{name}@pytorch")
    for mine, base in zip(host(net, 1), host(plain, 1), strict=True):
        assert (mine == base).all()


def test_decorrelated_on_a_base_keeps_the_size_of_outgoing_weights_or_all_of_them():
    plain, net = started("pytorch"), started("decorrelated@pytorch")
    close(np.linalg.norm(host(net, 1)[0]), np.linalg.norm(host(plain, 1)[0]), rtol=1e-12)
    assert np.abs(host(net, 1)[0] - host(plain, 1)[0]).max() > 1e-3
    assert (host(net, 1)[1] == host(plain, 1)[1]).all()
    kept = started("decorrelated:outgoing=no@pytorch")
    assert (host(kept, 1)[0] == host(plain, 1)[0]).all()


@pytest.mark.parametrize("name", sorted(set(SCHEMES) - {"centring", "response-zca", "pca-white"}))
def test_only_centring_schemes_touch_biases(name):
    plain, net = started("pytorch"), started(f"{name}@pytorch")
    same = (host(net)[1] == host(plain)[1]).all()
    assert same == (name not in ("decorrelated", "lsuv"))


@pytest.mark.parametrize("spec", SPECS)
def test_two_seeds_differ_and_a_network_starts_alone_as_among_many(backend, spec):
    many = started(spec, replicas=20, dtype="float32", seed=3)  # more than are worked on at once
    theta = to_host(many.theta)
    assert np.isfinite(theta).all()
    assert np.abs(theta[0] - theta[1]).max() > 1e-2
    for r in (0, 1, 17):
        alone = started(spec, dtype="float32", seed=3 + r)
        assert (to_host(alone.theta) == theta[r]).all()


@pytest.mark.parametrize("spec", SPECS)
def test_equal_seeds_give_equal_bits_on_every_backend(on_standin, spec):
    from tinydiv import backend

    there = to_host(started(spec, (40, 8, 7, 5), dtype="float32", replicas=2).theta)
    backend.use("numpy")
    here = started(spec, (40, 8, 7, 5), dtype="float32", replicas=2).theta
    assert (there == here).all()


@pytest.mark.parametrize("spec", SPECS)
def test_float32_is_float64_rounded_once(spec):
    single, double = (started(spec, dtype=dtype).theta for dtype in ("float32", "float64"))
    if spec == "lsuv":  # reads the responses of the hidden layer, in the network's own precision
        close(single, double, rtol=1e-5, atol=1e-7)
    else:
        assert (single == double.astype("float32")).all()


def test_the_base_draw_does_not_depend_on_the_scheme():
    """Outgoing weights are drawn before any scheme draws, so arms of a comparison are paired."""
    plain = started("he-normal", (40, 8, 7, 5))
    for name in KEEP_OUTGOING:
        assert (host(started(name + "@he-normal", (40, 8, 7, 5)), 2)[0] == host(plain, 2)[0]).all()


# Schemes by weights ------------------------------------------------------------------------------


def test_orthogonal_columns_and_blocks():
    W = host(started("orthogonal@glorot-normal", (40, 8, 5)))[0]
    assert np.abs(off(cosines(W))).max() < 1e-12
    G = cosines(host(started("orthogonal@glorot-normal", (6, 15, 5)))[0])
    for block in (slice(0, 6), slice(6, 12), slice(12, 15)):
        assert np.abs(off(G[block, block])).max() < 1e-12
    assert np.abs(G[:6, 6:12]).max() > 0.1


def test_bare_orthogonal_is_orthonormal_in_every_layer():
    net = started("orthogonal:gain=1.5", (40, 8, 5))
    close(host(net)[0].T @ host(net)[0], 1.5**2 * np.eye(8), atol=1e-12)
    close(host(net, 1)[0].T @ host(net, 1)[0], np.eye(5), atol=1e-12)


def test_orthogonal_is_uniform_over_rotations():
    """Without the sign of R's diagonal, the first entry of the first column would have one sign."""
    nets = started("orthogonal", (3, 3, 2), replicas=400)
    assert abs((host(nets)[0][:, 0, 0] > 0).mean() - 0.5) < 0.1


def test_lowdin_is_the_nearest_orthonormal_frame():
    base = host(started("he-normal"))[0]
    U = base / norms(base)
    near = host(started("lowdin@he-normal"))[0] / norms(base)
    gram_schmidt = host(started("orthogonal@he-normal"))[0] / norms(base)
    assert np.abs(off(cosines(near))).max() < 1e-12
    assert np.linalg.norm(near - U) < np.linalg.norm(gram_schmidt - U)
    left, _, right = np.linalg.svd(U, full_matrices=False)
    close(near, left @ right, atol=1e-12)
    half = host(started("lowdin:mix=0.5@he-normal"))[0]
    close(half / norms(half), (near + U) / norms(near + U), atol=1e-12)
    nothing = host(started("lowdin:mix=0@he-normal"))[0]
    close(nothing, base, atol=1e-12)


def test_cosine_descent_goes_down_step_by_step_and_to_the_end():
    for sizes, least in (((40, 8, 5), 0.0), ((6, 15, 5), 15 * 15 / 6 - 15)):
        loss = [
            (off(cosines(host(started(f"cosine-descent:steps={n}", sizes))[0])) ** 2).sum()
            for n in (0, 1, 5, 50, 3000)
        ]
        assert (np.diff(loss) < 1e-12).all()
        assert loss[-1] == pytest.approx(least, rel=1e-3, abs=1e-6)


def test_preferential_attachment_moves_weights_and_evens_out_the_strength_of_inputs():
    """Every neuron keeps its weights; the sums of outgoing weights of the inputs vary less."""
    nets = [
        started(spec, (30, 40, 3)) for spec in ("he-normal", "preferential-attachment@he-normal")
    ]
    (base, _), (new, _) = (host(net) for net in nets)
    np.testing.assert_array_equal(np.sort(new, axis=0), np.sort(base, axis=0))
    # Outgoing weights are those of the base draw.
    np.testing.assert_array_equal(host(nets[1], 1)[0], host(nets[0], 1)[0])
    assert new.sum(axis=1).std() < 0.6 * base.sum(axis=1).std()
    bare, _ = host(started("preferential-attachment", (30, 20, 3)), 1)
    orthogonal, _ = host(started("orthogonal", (30, 20, 3)), 1)
    np.testing.assert_array_equal(np.sort(bare, axis=0), np.sort(orthogonal, axis=0))


def test_simplex_and_tight_frame():
    for sizes in ((40, 8, 5), (7, 8, 5), (40, 2, 5)):
        G = cosines(host(started("simplex", sizes))[0])
        close(off(G), np.full(len(G) * (len(G) - 1), -1 / (len(G) - 1)), atol=1e-12)
    W = host(started("simplex", (6, 15, 5)))[0]
    U = W / norms(W)
    close(U @ U.T, 15 / 6 * np.eye(6), atol=1e-6)


def test_adversarial_neurons_share_their_direction():
    G = cosines(host(started("adversarial:shared=0.9"))[0])
    assert off(G).mean() == pytest.approx(0.81, abs=0.02)
    assert off(cosines(host(started("adversarial"))[0])).min() > 0.95


def test_greedy_beats_chance_in_what_it_looks_at():
    X = correlated(600, 40)
    few = {by: started(f"greedy:by={by}", replicas=20) for by in ("weights", "responses")}
    plain = started("he-normal", replicas=20)

    def cosine(net):
        return np.mean([np.abs(off(cosines(W))).mean() for W in host(net)[0]])

    def response(net):
        return np.mean([correlation(X @ W) for W in host(net)[0]])

    assert cosine(few["weights"]) < 0.9 * cosine(plain)
    assert response(few["responses"]) < 0.8 * response(plain)
    one = started("greedy:candidates=1")
    close(host(one)[0], host(started("he-normal"))[0], rtol=1e-12)


def test_two_random_directions_in_784_are_orthogonal_already():
    W = host(started("he-normal", (784, 64, 10), X=correlated(10, 784)))[0]
    assert np.abs(off(cosines(W))).mean() == pytest.approx((2 / (np.pi * 784)) ** 0.5, rel=0.05)


# Schemes by responses ----------------------------------------------------------------------------

UNCORRELATED = ["response-zca", "pca-white", "decorrelated", "decorrelated@pytorch"]


@pytest.mark.parametrize("spec", UNCORRELATED)
@pytest.mark.parametrize("hidden", [(8,), (64,), (16, 12)])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_responses_start_uncorrelated_and_centred(backend, spec, hidden, activation):
    margin = 0.5 if spec == "decorrelated" else 0  # the scale rule's own mean, in deviations
    sizes, X = (100, *hidden, 5), correlated(2000, 100)
    net = started(spec, sizes, X=X, dtype="float32", activation=activation)
    trace = net.forward(to_device(X))
    for l in range(len(hidden)):
        Z = to_host(trace.Z[l]).astype("float64")
        assert correlation(Z) < 0.01
        assert np.abs(Z.mean(axis=0) / Z.std(axis=0) - margin).max() < 1e-3
    plain = to_host(matmul(to_device(X), started("he-normal", sizes, dtype="float32").W[0]))
    assert correlation(plain) > 0.1


def test_response_zca_stays_nearer_to_its_draw_than_a_new_draw_would():
    net, base = started("response-zca", (200, 8, 5)), started("he-normal", (200, 8, 5))
    W, W0 = host(net)[0], host(base)[0]
    assert ((W * W0).sum(axis=0) / norms(W) / norms(W0)).min() > 0.5


def test_pca_directions_span_the_leading_ones():
    X = correlated(600, 40).astype("float64")
    _, _, right = np.linalg.svd(X - X.mean(axis=0), full_matrices=False)
    for spec in ("pca-white", "pca-white:white=no"):
        W = host(started(spec, X=X))[0]
        assert np.abs(W - right[:8].T @ (right[:8] @ W)).max() < 1e-9


def test_lsuv_gives_unit_variance_in_every_layer():
    X = correlated(600, 40)
    for spec in ("lsuv", "lsuv@pytorch"):
        net = started(spec, (40, 8, 7, 5), X=X)
        for Z in net.forward(X.astype("float64")).Z:
            assert Z.std() == pytest.approx(1, rel=1e-9)
    assert np.abs(off(cosines(host(started("lsuv"))[0]))).max() < 1e-12


def test_centring_moves_biases_alone():
    X = correlated(600, 40).astype("float64")
    plain, net = started("pytorch", X=X), started("centring@pytorch", X=X)
    assert (host(net)[0] == host(plain)[0]).all()
    assert np.abs((X @ host(net)[0] + host(net)[1]).mean(axis=0)).max() < 1e-12


def test_scaled_multiplies_weights_and_biases_of_whatever_stands_behind_it():
    plain = started("centring@pytorch", (40, 8, 7, 5))
    net = started("scaled:inner=0.5,outer=3@centring@pytorch", (40, 8, 7, 5))
    for mine, base in zip(host(net), host(plain), strict=True):
        close(mine, 0.5 * base, rtol=1e-12)
    close(host(net, 2)[0], 3 * host(plain, 2)[0], rtol=1e-12)
    close(host(net, 2)[1], 3 * host(plain, 2)[1], rtol=1e-12)


# The project's own -------------------------------------------------------------------------------


def test_outgoing_weights_are_orthogonal_and_sum_to_zero_over_neurons():
    for spec in ("decorrelated", "decorrelated@glorot-uniform"):
        V = host(started(spec, (40, 16, 10)), 1)[0]
        assert np.abs(V.sum(axis=0)).max() < 1e-12
        assert np.abs(off(cosines(V))).max() < 1e-12
        assert norms(V).std() < 1e-12


def test_fewer_neurons_than_outputs_use_the_room_there_is():
    V = host(started("decorrelated", (40, 4, 10)), 1)[0]
    assert np.abs(V.sum(axis=0)).max() < 1e-12
    values = np.linalg.svd(V, compute_uv=False)
    close(values[:3], np.full(3, values[0]), rtol=1e-9)
    assert values[3] < 1e-12
    one = host(started("decorrelated", (40, 1, 10)), 1)[0]
    assert np.linalg.norm(one) > 0.1
    single = host(started("decorrelated", (40, 8, 1)), 1)[0]
    assert np.linalg.norm(single) > 0.1


@pytest.mark.parametrize("factor", [1 / 255, 1.0, 30.0])
def test_the_scale_rule_reads_any_scaling_of_the_inputs(factor):
    """The function at the start is the same; a step moves it as far: curvature is what it was."""
    X = correlated(600, 40).astype("float64")
    deviation, curvature = 0.05, 160.0
    net = started(
        f"decorrelated:deviation={deviation},curvature={curvature},gain=1e4",
        (40, 16, 10),
        X=factor * X,
    )
    (W, b), (V, c) = host(net), host(net, 1)
    Z = factor * X @ W + b
    close(Z.std(axis=0), np.full(16, deviation), rtol=1e-6)
    peak = np.linalg.eigvalsh(factor**2 * X.T @ X / len(X))[-1]
    largest = np.linalg.norm(V, ord=2)
    assert largest**2 * peak / 10 == pytest.approx(curvature, rel=1e-5)
    assert not c.any()


def test_the_scale_rule_shares_its_gain_between_the_layers_of_a_deep_network():
    X = correlated(600, 40).astype("float64")
    net = started("decorrelated:curvature=160,gain=1e4", (40, 8, 8, 5), X=X)
    peak = np.linalg.eigvalsh(X.T @ X / len(X))[-1]
    g = (160 * 5 / peak) ** 0.25
    close(norms(host(net, 1)[0]), np.full(8, g), rtol=1e-6)
    assert np.linalg.norm(host(net, 2)[0], ord=2) == pytest.approx(g, rel=1e-6)


@pytest.mark.parametrize("sizes", [(40, 16, 10), (40, 8, 8, 5)])
def test_inputs_that_hardly_vary_do_not_lead_to_huge_weights(sizes):
    X = 1e-3 * correlated(600, 40).astype("float64")
    free, bound = (started(f"decorrelated:gain={g}", sizes, X=X, dtype="float64") for g in (1e6, 3))
    last = len(sizes) - 2
    assert np.linalg.norm(host(free, last)[0], ord=2) > 30
    for l in range(1, last):
        close(norms(host(bound, l)[0]), np.full(sizes[l + 1], 3.0), rtol=1e-6)
    assert np.linalg.norm(host(bound, last)[0], ord=2) == pytest.approx(3)


def test_a_margin_keeps_relu_neurons_on_for_more_of_the_samples():
    X = correlated(600, 40).astype("float64")
    shares = []
    for margin in (0, 0.5, 2):
        W, b = host(started(f"decorrelated:margin={margin}", (40, 16, 10), X=X))
        shares.append((X @ W + b > 0).mean())
    assert shares == pytest.approx([0.5, 0.69, 0.977], abs=0.05)  # as for normal responses


def test_parts_of_the_decorrelation_can_be_left_out():
    plain = started("pytorch")
    rest = started("decorrelated:incoming=no,centre=no,outgoing=no@pytorch")
    assert (to_host(rest.theta) == to_host(plain.theta)).all()
    centred = started("decorrelated:incoming=no,outgoing=no@pytorch")
    assert (to_host(centred.theta) == to_host(started("centring@pytorch").theta)).all()


# Data that are short of directions ---------------------------------------------------------------


def short_of_directions():
    X = correlated(300, 20)
    constant, copied = X.copy(), X.copy()
    constant[:, 5:] = constant[0, 5:]
    copied[:, 10:] = copied[:, :10]
    return {
        "constant pixels": constant,
        "copied columns": copied,
        "few samples": X[:9],  # fewer than inputs
        "fewer directions than neurons": constant[:, :] * (np.arange(20) < 7),
        "one sample": X[:1],
        "the same sample again and again": np.repeat(X[:1].astype("float64") / 3, 301, axis=0),
        "nothing": np.zeros_like(X),
    }


@pytest.mark.parametrize("shortage", sorted(short_of_directions()))
@pytest.mark.parametrize("spec", SPECS)
def test_starts_stand_on_rank_deficient_data(spec, shortage):
    X = short_of_directions()[shortage]
    net = started(spec, (20, 6, 6, 4), X=X, dtype="float32")
    theta = to_host(net.theta)
    assert np.isfinite(theta).all()
    assert np.abs(theta).max() < 1e4
    assert (norms(host(net)[0]) > 1e-3).all()
    # These leave directions enough for six uncorrelated neurons.
    enough = shortage in ("copied columns", "few samples")
    if enough and spec in ("response-zca", "pca-white", "decorrelated"):
        assert correlation(X.astype("float64") @ host(net)[0].astype("float64")) < 0.01


def test_more_neurons_than_directions_become_a_tight_frame_of_responses():
    X = correlated(300, 5).astype("float64")
    W = host(started("decorrelated", (5, 12, 3), X=X))[0]
    Z = (X - X.mean(axis=0)) @ W
    values = np.linalg.eigvalsh(np.corrcoef(Z, rowvar=False))[::-1]
    assert values[4] / values[0] > 0.5
    assert values[5] < 1e-9


# Usage -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("he-nromal", "did you mean 'he-normal'"),
        ("decorelated@pytorch", "did you mean 'decorrelated'"),
        ("he-normal@pytorch", "can only stand last"),
        ("lowdin:mx=1", "did you mean 'mix'"),
        ("lowdin:mix=2", "at most 1"),
        ("greedy:by=luck", "allowed: weights, responses"),
        ("pytorch:gain=2", "no settings"),
        ("orthogonal@", "no initializer called ''"),
        ("lowdin:mix", "key=value"),
    ],
)
def test_a_wrong_spec_gets_one_clear_sentence(spec, sentence):
    with pytest.raises(UsageError, match=sentence) as caught:
        started(spec)
    assert "\n" not in str(caught.value)


def test_missing_or_unfit_inputs_get_one_clear_sentence():
    net = MLP([40, 8, 5])
    with pytest.raises(UsageError, match=r"reads data.*X=.*4096"):
        initialize(net, "response-zca")
    with pytest.raises(UsageError, match=r"shape \(N, 40\)"):
        initialize(net, "response-zca", X=np.zeros((5, 3), dtype="float32"))
    with pytest.raises(UsageError, match="not finite"):
        initialize(net, "response-zca", X=np.full((5, 40), np.nan, dtype="float32"))
    initialize(net, "orthogonal")  # reads none


def test_needs_data_is_what_a_scheme_truly_reads():
    for spec in SPECS:
        if not needs_data(spec):
            started(spec)
            initialize(MLP([40, 8, 5]), spec)
        else:
            with pytest.raises(UsageError, match="reads data"):
                initialize(MLP([40, 8, 5]), spec)
    assert needs_data("scaled@centring@pytorch")
    assert not needs_data("scaled:inner=2@pytorch")


@pytest.mark.parametrize("spec", [*sorted(SCHEMES), "decorrelated@pytorch"])
def test_a_network_without_hidden_layers_starts(spec):
    net = started(spec, (40, 5))
    assert np.isfinite(to_host(net.theta)).all()
    assert np.abs(host(net)[0]).max() > 0


@pytest.mark.slow
def test_a_thousand_networks_start_in_five_seconds_of_one_core():
    X = DeviceData(data.load("fashion-mini"), "float32").probe(PROBE)
    net = MLP([784, 16, 10], replicas=1000)
    for spec in ("decorrelated", "response-zca", "pca-white"):
        began = time.process_time()
        initialize(net, spec, 0, X)
        assert time.process_time() - began < 5, spec
