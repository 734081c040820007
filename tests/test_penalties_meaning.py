"""What each penalty lowers, which networks it cannot distinguish, and how a network cheats it.

The sentences of the docstrings, one by one, with the numbers that they quote.
"""

import numpy as np
import pytest
from helpers import labels, network, numbers
from penalty_lab import ALL, Bench, made, name_of, run_step
from scipy.sparse.csgraph import minimum_spanning_tree
from technique_table import TABLE, corr, cosine_of, off

from tinydiv import losses
from tinydiv.errors import UsageError
from tinydiv.optimizers import Adam
from tinydiv.similarity import correlations, off_diagonal
from tinydiv.similarity import minimum_spanning_tree as our_tree
from tinydiv.techniques import Techniques, place


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def value(spec, **arrays):
    return float(Bench(**arrays)(spec).value)


# Trained on alone, each lowers its measure ---------------------------------------------------------------
#
# A network of 6 neurons that begin nearly alike is trained on the penalty alone; what must fall is a
# measure from technique_table.py, not the penalty's own value.


LOWERED = {spec: lowered for row in TABLE.values() for spec, lowered in row.lowers.items()}
"""spec: (measure, the largest share of it that may be left)."""


def test_every_penalty_has_a_measure_that_it_lowers():
    assert {name_of(spec) for spec in LOWERED} == {name_of(spec) for spec in ALL}


class OnBatch:
    """A network's arrays on a fixed batch, for the measures."""

    def __init__(self, net, X, Y):
        trace = net.forward(X)
        noisy = net.forward(X + 0.3 * numbers(*X.shape, seed=8))
        self.A, self.B, self.W, self.V = trace.A[1], noisy.A[1], net.W[0], net.W[1]
        self.logits, self.Y = trace.logits, Y


@pytest.mark.parametrize("spec", LOWERED)
def test_training_on_it_alone_lowers_its_measure(spec):
    measure, share = LOWERED[spec]
    net = network([10, 6, 3], seed=1, scale=0.3, activation="tanh", dtype="float64")
    net.W[0][...] += 0.4 * normal(10, 1, seed=2)  # a direction that all share
    net.W[1][...] += 0.5 * normal(1, 3, seed=3)
    X, Y = numbers(120, 10, seed=4), labels(120, classes=3, seed=5)
    X[:, :3] += 2 * (Y[:, None] == np.arange(3))
    before = measure(OnBatch(net, X, Y))
    optimizer = Adam(net, lr=0.02)
    for number in range(300):
        run_step(net, X, Y, spec, task=False, number=number)
        optimizer.step(1 - number / 300)
    after = measure(OnBatch(net, X, Y))
    assert before > 0.2
    assert after < share * before, f"{before:.3g} -> {after:.3g}"


# What holds for many -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spec",
    [
        s
        for s in ALL
        if s != "coherence" and name_of(s) not in ("spectral-decoupling", "spanning-tree")
    ],
)
def test_identical_neurons_get_identical_gradients(spec):
    """Two neurons with equal weights and activations: no penalty can separate them.

    Left out: the peak of coherence and the spanning tree, which choose one of several equal pairs.
    """
    A, W, V, B = normal(16, 5), normal(8, 5, seed=1), normal(5, 3, seed=2), normal(16, 5, seed=3)
    for M in (A.T, W.T, V, B.T):
        M[1] = M[0]
    seen = Bench(A=A, B=B, W=W, V=V)(spec)
    for key, gradient in seen.gradients().items():
        one, other = (gradient[0], gradient[1]) if key == "dV" else (gradient[:, 0], gradient[:, 1])
        np.testing.assert_allclose(one, other, atol=1e-9 * max(1, np.abs(gradient).max()))


DYING_RAISES = {"vicreg", "spanning-tree", "barlow"}
"""The penalties on activations that rise if a redundant neuron is switched off."""


@pytest.mark.parametrize(
    "spec",
    [
        *("decov", "pearson", "mean-abs-pearson", "logdet-correlation", "class-decov"),
        *("vicreg", "barlow", "spanning-tree", "spanning-tree:form=t2"),
    ],
)
def test_switching_a_redundant_neuron_off_raises_or_lowers_the_penalty(spec):
    A = normal(400, 6)
    A[:, 1] = A[:, 0] + 0.3 * A[:, 1]
    B = A + 0.2 * normal(400, 6, seed=1)
    alive = value(spec, A=A, B=B)
    A[:, 1], B[:, 1] = 0, 0
    assert (value(spec, A=A, B=B) > alive) == (spec in DYING_RAISES)


@pytest.mark.parametrize(
    "spec", [s for s in ALL if name_of(s) in
             ("cosine", "orthoreg", "coherence", "hyperspherical-energy", "logdet-weights")],
)  # fmt: skip
def test_a_gradient_of_cosines_is_at_right_angles_to_the_weights(spec):
    """So every step of plain descent lengthens them: |w - r g|^2 = |w|^2 + r^2 |g|^2."""
    W = normal(9, 5) + normal(9, 1, seed=1)
    dW = Bench(W=W)(spec).dW
    np.testing.assert_allclose(np.sum(W * dW, axis=0), 0, atol=1e-12 * np.abs(dW).max() * 100)
    assert (np.linalg.norm(W - 0.1 * dW, axis=0) >= np.linalg.norm(W, axis=0)).all()
    np.testing.assert_allclose(value(spec, W=3 * W), value(spec, W=W), rtol=1e-9)


@pytest.mark.parametrize("spec", ["decov", "class-decov", "contribution-gram"])
def test_of_degree_four_in_the_activations(spec):
    """L(2 A) = 16 L(A), and <A, dA> = 4 L: smaller activations lower it most easily."""
    A = normal(20, 5) + normal(20, 1, seed=1)
    seen = Bench(A=A)(spec)
    assert value(spec, A=2 * A) == pytest.approx(16 * seen.value)
    assert np.sum(A * seen.dA) == pytest.approx(4 * seen.value)


@pytest.mark.parametrize(
    ("spec", "cheap"),
    [
        *(("decov", True), ("vicreg", False), ("pearson", False), ("mean-abs-pearson", False)),
        *(("logdet-correlation", False), ("barlow", False)),
    ],
)
def test_rescaling_a_relu_network_lowers_only_decov(spec, cheap):
    """W, b / 10 and V * 10: the same function. DeCov becomes a ten-thousandth; the others do not fall."""
    net = network([5, 6, 3], seed=3, activation="relu", dtype="float64")
    net.b[0][...] += 1
    X, Y = numbers(64, 5), labels(64, classes=3)
    widest = net.forward(X).A[1].std(axis=0).max()
    net.W[0][...] /= widest  # at VICReg's target: no neuron moves by more than 1
    net.b[0][...] /= widest
    step = run_step(net, X, Y, spec)
    before, outputs = sum(step.penalties.values()), step.trace.logits
    net.W[0][...] /= 10
    net.b[0][...] /= 10
    net.W[1][...] *= 10
    step = run_step(net, X, Y, spec)
    np.testing.assert_allclose(step.trace.logits, outputs, rtol=1e-9, atol=1e-12)
    after = sum(step.penalties.values())
    if cheap:
        assert after == pytest.approx(1e-4 * before)
    else:
        assert after > 0.9 * before


# Activations -------------------------------------------------------------------------------------


def test_decov_of_independent_neurons_depends_on_the_batch():
    """On average H (H-1) (N-1) / (2 N^2), so a strength belongs to a batch size."""
    for N in (8, 64):
        mean = np.mean([value("decov", A=normal(N, 6, seed=s)) for s in range(400)])
        assert mean == pytest.approx(6 * 5 * (N - 1) / (2 * N**2), rel=0.1)


def test_debiased_pearson_of_independent_neurons_is_zero_at_every_batch_size():
    for N in (8, 64):
        values = [
            value("pearson:debiased=true,eps=1e-9", A=normal(N, 6, seed=s)) for s in range(400)
        ]
        raw = np.mean([value("pearson:eps=1e-9", A=normal(N, 6, seed=s)) for s in range(400)])
        assert abs(np.mean(values)) < 0.2 / N
        assert raw == pytest.approx(1 / (N - 1), rel=0.1)


def test_debiased_pearson_of_a_single_living_neuron_is_zero():
    """Without a pair there is nothing that chance could have made."""
    A = normal(8, 3)
    A[:, 1:] = 2.0
    assert value("pearson:debiased=true", A=A) == 0


@pytest.mark.parametrize(("shared", "low", "high"), [(0.0, 0.85, 0.95), (1.0, 0.6, 0.8)])
def test_the_derivative_of_the_normalisation_matters(shared, low, high):
    """With the deviation taken for constant, the gradient has a cosine of .9 or .7 to the true one."""
    for seed in range(5):
        A = normal(64, 16, seed=seed) + shared * normal(64, 1, seed=seed + 50)
        c = correlations(A)
        M = 2 * off_diagonal(c.R) / c.pairs
        true, short = c.backward(M), c.Z @ (M + M.T) / c.N / c.s
        assert low < np.sum(true * short) / np.linalg.norm(true) / np.linalg.norm(short) < high


@pytest.mark.parametrize("spec", ["pearson", "mean-abs-pearson"])
def test_a_neuron_that_shrinks_lowers_a_penalty_on_correlations(spec):
    """Its responses are the same at a hundredth of the size: eps hides that, below sqrt(eps)."""
    A = normal(64, 4)
    A[:, 1] = A[:, 0] + 0.1 * A[:, 1]
    before = value(spec, A=A)
    A[:, 1] *= 0.005
    assert np.abs(corr(A)[0, 1]) > 0.99
    assert value(spec, A=A) < 0.6 * before


def test_logdet_grows_while_a_neuron_dies():
    """eps lowers its diagonal entry; below a deviation of .001 it is not counted any more."""
    A = normal(64, 4)
    A[:, 0] /= A[:, 0].std()
    values = [value("logdet-correlation", A=A * [size, 1, 1, 1]) for size in (1, 0.005, 0.0005)]
    assert values[1] > values[0] + 0.2
    assert values[2] < values[0] + 0.1


def test_pearson_does_not_depend_on_scale():
    A = normal(64, 6) + normal(64, 1, seed=1)
    seen = Bench(A=A)("pearson")
    assert abs(np.sum(A * seen.dA)) < 1e-3 * seen.value
    assert value("pearson:eps=1e-12", A=100 * A) == pytest.approx(value("pearson:eps=1e-12", A=A))


def test_mean_abs_pearson_pushes_every_pair_with_the_same_force():
    """The force on a pair of small correlation is that on a pair of large one; squared, it fades."""
    forces = {}
    for r in (0.5, 0.05):
        A = normal(4000, 2)
        A -= A.mean(axis=0)
        A = A @ np.linalg.inv(np.linalg.cholesky(A.T @ A / 4000)).T  # exactly white
        A[:, 1] = r * A[:, 0] + np.sqrt(1 - r**2) * A[:, 1]
        for spec in ("pearson", "mean-abs-pearson"):
            forces[spec, r] = np.linalg.norm(Bench(A=A)(spec).dA)
    assert forces["mean-abs-pearson", 0.05] == pytest.approx(
        forces["mean-abs-pearson", 0.5], rel=0.2
    )
    assert forces["pearson", 0.05] < 0.15 * forces["pearson", 0.5]
    chance = np.mean([value("mean-abs-pearson", A=normal(64, 6, seed=s)) for s in range(50)])
    assert chance == pytest.approx(np.sqrt(2 / (np.pi * 64)), rel=0.05)


def test_the_hinge_raises_small_variances_but_not_of_a_dead_relu():
    A = normal(32, 4)
    A[:, 0] *= 0.1
    seen = Bench(A=A)("vicreg:covariance=0")
    assert np.sum(A[:, 0] * seen.dA[:, 0]) < 0  # descent increases the variance of the first neuron
    net = network([5, 4, 3], activation="relu", dtype="float64")
    net.b[0][0, 2] = -1e3
    X, Y = numbers(16, 5), labels(16, classes=3)
    run_step(net, X, Y, "vicreg", task=False)
    assert not net.dW[0][:, 2].any()
    assert net.dW[0].any()


@pytest.mark.parametrize(("deviation", "counted"), [(2e-3, 3), (5e-4, 2)])
def test_vicregs_mean_is_over_neurons_that_move(deviation, counted):
    A = normal(40, 3)
    A[:, 2] *= deviation / A[:, 2].std(ddof=1)
    covariance = np.sum(off(np.cov(A, rowvar=False)) ** 2)
    found = value("vicreg:variance=0,covariance=1", A=A)
    assert found == pytest.approx(covariance / counted)


@pytest.mark.parametrize("form", ["direct", "aggregated"])
def test_the_similarity_of_large_identical_neurons_is_at_most_1(form):
    """A similarity is at most 1: in float32, squares of thousands cancel to a little less than nothing."""
    for seed in range(20):
        A = 3e3 * normal(50, 1, seed=seed)
        twins = np.concatenate([A, A], axis=1) + 1e3
        found = Bench(A=twins, dtype="float32")(f"wld-reg:form={form},gamma=10").value
        assert found <= 2.0


def test_logdet_sees_redundancy_that_no_pair_shows():
    """c = a + b: no pair correlates above .72, and yet one of the three is redundant."""
    A = normal(2000, 3)
    A[:, 2] = A[:, 0] + A[:, 1] + 0.01 * A[:, 2]
    r = np.abs(off(corr(A))).max()
    assert r < 0.74
    same_pairs = normal(2000, 3, seed=1)
    same_pairs[:, 2] += same_pairs[:, 0]  # the same largest pair, nothing else
    assert value("logdet-correlation", A=A) > 5 * value("logdet-correlation", A=same_pairs)
    assert value("pearson", A=A) < 2.5 * value("pearson", A=same_pairs)


def test_logdet_is_twice_the_total_correlation_per_neuron():
    """Two Gaussian neurons with correlation r share -1/2 log(1 - r^2) nats."""
    A = normal(50, 2) @ np.array([[1, 0.7], [0, 1]])
    r = corr(A)[0, 1]
    nats = 2 * value("logdet-correlation:delta=1e-9,eps=1e-9", A=A) / 2
    assert nats == pytest.approx(-np.log(1 - r**2) / 2, rel=1e-6)


def test_with_fewer_samples_than_neurons_logdet_cannot_fall_below_a_floor():
    """4 samples span 3 directions; the other 5 of 8 give log(1/delta) each, whatever the weights."""
    for seed in range(5):
        spread = value("logdet-correlation", A=normal(4, 8, seed=seed))
        assert spread > 5 / 8 * np.log(1e3) - 3 / 8 * np.log(8 / 3) - 0.05


def test_wld_counts_another_bias_as_a_difference():
    """Copies with other biases are far apart; so is everything if it is only large enough."""
    a = normal(32, 1)
    copies = np.repeat(a, 4, axis=1)
    assert value("wld-reg", A=copies) == pytest.approx(12)
    apart = copies + 3 * np.arange(4)
    np.testing.assert_allclose(corr(apart), 1)
    for form in ("direct", "aggregated"):
        assert value(f"wld-reg:form={form}", A=apart) < 1e-6
    assert value("wld-reg:form=logdet", A=apart) < 0
    similar = copies + 0.1 * normal(32, 4, seed=1)
    assert value("wld-reg", A=100 * similar) < 0.1 * value("wld-reg", A=similar)
    dead = np.concatenate([4 + similar, np.zeros((32, 1))], axis=1)
    assert value("wld-reg", A=dead) == pytest.approx(value("wld-reg", A=similar), rel=1e-6)


def test_wld_det_has_no_gradient_where_redundancy_is_large():
    sizes = {}
    for noise in (1.0, 0.1):
        A = normal(32, 1) + noise * normal(32, 10, seed=1)
        for form in ("det", "logdet"):
            sizes[form, noise] = np.linalg.norm(Bench(A=A)(f"wld-reg:form={form},gamma=2").dA)
    assert sizes["logdet", 0.1] > sizes["logdet", 1.0]
    assert sizes["det", 0.1] < 1e-8 * sizes["det", 1.0]


@pytest.mark.parametrize("R", [None, 5])
def test_the_spanning_tree_is_scipys(R):
    """For five networks at once, of which two have dead neurons."""
    rng = np.random.default_rng(1)
    d = rng.uniform(0.1, 1, size=(R or 1, 9, 9))
    d = (d + d.mT) / 2
    alive = np.ones((R or 1, 1, 9))
    if R:
        alive[1, 0, [0, 4]] = alive[3, 0, 2] = 0
    tree = our_tree(d, alive) if R else our_tree(d[0], alive[0])[None]
    for r in range(R or 1):
        live = alive[r, 0] > 0
        expected = minimum_spanning_tree(d[r][np.ix_(live, live)]).toarray()
        ours = tree[r] + tree[r].T
        assert not ours[~live].any()
        np.testing.assert_array_equal(ours[np.ix_(live, live)] > 0, (expected + expected.T) > 0)
        assert tree[r].sum() == live.sum() - 1  # each edge in one order


def test_only_the_ties_of_the_tree_count():
    A = normal(500, 4)
    A[:, 1] += 2 * A[:, 0]
    A[:, 2] += 2 * A[:, 0]
    r = np.abs(corr(A))
    edges = 1 - value("spanning-tree", A=A) * -1 / 3
    assert edges == pytest.approx(
        (r[0, 1] + r[0, 2] + max(r[0, 3], r[1, 3], r[2, 3])) / 3, abs=1e-3
    )
    assert r[1, 2] > 0.7  # not on the tree, so it does not count


def test_t2_with_much_balance_is_lowered_by_ties_of_equal_length():
    equal = normal(400, 3) + 10 * normal(400, 1, seed=1)
    mixed = normal(400, 3)
    mixed[:, 1] += 0.5 * mixed[:, 0]
    spec = "spanning-tree:form=t2,balance=1"
    assert np.abs(off(corr(equal))).min() > 0.98
    assert value(spec, A=equal) < 0.1 * value(spec, A=mixed)


def test_what_follows_the_label_costs_nothing_in_class_decov():
    """Neurons that all follow the label: DeCov penalises them, class-decov does not."""
    targets = np.arange(60) % 3
    A = 3 * targets[:, None] + 0.3 * normal(60, 5)
    for measure, blind in (("covariance", "decov"), ("correlation", "pearson")):
        for form in ("pooled", "conditional"):
            spec = f"class-decov:form={form},measure={measure}"
            within = value(spec, A=A, targets=targets)
            assert within < 0.15 * value(blind, A=A), spec


def test_collapse_within_classes_cheats_class_decov():
    targets = np.arange(60) % 3
    A = np.repeat(3.0 * targets[:, None], 5, axis=1)  # five equal neurons that code the class
    for form in ("pooled", "conditional"):
        for measure in ("covariance", "correlation"):
            spec = f"class-decov:form={form},measure={measure}"
            assert value(spec, A=A, targets=targets) == 0


def test_conditional_correlations_in_a_small_batch_are_chance():
    """64 samples, 10 classes: independent neurons look as if r^2 were about 1/5."""
    targets = np.arange(64) % 10
    spec = "class-decov:form=conditional,measure=correlation"
    V = np.ones((8, 10))
    values = [value(spec, A=normal(64, 8, seed=s), V=V, targets=targets) for s in range(20)]
    assert np.mean(values) == pytest.approx(1 / 5.4, rel=0.1)


def test_barlow_with_one_view_is_pearson():
    """L = redundancy H (H - 1) Pearson, and both views' gradients together make Pearson's."""
    A = normal(40, 6) + normal(40, 1, seed=1)
    twins = Bench(A=A, B=A)("barlow:noise=0,eps=1e-14,redundancy=0.3")
    pearson = Bench(A=A)("pearson:eps=1e-14")
    assert twins.value == pytest.approx(0.3 * 30 * pearson.value, rel=1e-9)
    np.testing.assert_allclose(twins.dA + twins.dB, 9 * pearson.dA, rtol=1e-7, atol=1e-10)


def test_barlows_noise_has_the_stated_deviation():
    """Its deviation, another draw in every step, the network's own, one pass for equal noise."""
    net = network([50, 4, 3], replicas=2, activation="tanh")
    X, Y = numbers(40, 50, dtype="float32"), labels(40, classes=3)
    seen = []
    for number, seeds in ((0, [0, 1]), (1, [0, 1]), (0, [1, 2])):
        techniques = Techniques(
            net, ["barlow:noise=0.3", "barlow:noise=0.3", "barlow"], seeds=seeds
        )
        trace = net.forward(X)
        step = techniques.step(trace, Y, *losses.cross_entropy(trace.logits, Y), number)
        techniques.before_backward(step)
        assert sorted(step.views) == [0.1, 0.3]
        seen.append(step.views[0.3].trace.inputs - X)
    assert seen[0].std() == pytest.approx(0.3, rel=0.03)
    assert abs(seen[0].mean()) < 0.02
    assert np.abs(seen[0] - seen[1]).mean() > 0.1
    # The network of seed 1, at whatever position.
    np.testing.assert_array_equal(seen[0][1], seen[2][0])


def test_small_noise_makes_barlows_diagonal_free():
    A = normal(64, 5)
    values = [value("barlow:redundancy=0", A=A, B=A + n * normal(64, 5, seed=1)) for n in (1, 0.01)]
    assert values[1] < 1e-3 * values[0]


# Weights -----------------------------------------------------------------------------------------


def test_random_weights_of_many_inputs_are_orthogonal_already():
    """E|cos| = sqrt(2 / (pi D)): .028 at 784 inputs."""
    W = normal(784, 60)
    assert np.abs(off(cosine_of(W))).mean() == pytest.approx(np.sqrt(2 / (np.pi * 784)), rel=0.03)
    assert np.sqrt(2 / (np.pi * 784)) == pytest.approx(0.0285, abs=1e-4)
    assert value("cosine", W=W) == pytest.approx(1 / 784, rel=0.1)


def test_the_mean_signed_cosine_is_least_for_neurons_on_one_line():
    """Six neurons on one line, three of them flipped: mean signed cosine -1/5, the least there is."""
    w = normal(8, 1)
    line = np.concatenate([w, w, w, -w, -w, -w], axis=1)
    least = off(cosine_of(line)).mean()
    assert least == pytest.approx(-1 / 5)
    for seed in range(20):
        assert off(cosine_of(normal(8, 6, seed=seed))).mean() > least
    assert value("cosine", W=line) == pytest.approx(1)


def test_penalties_ignore_favour_or_penalise_antipodal_neurons():
    """OrthoReg ignores them, energy in full space is lower, cosine and half space are higher."""
    w, v = np.eye(5)[:, :1], np.eye(5)[:, 1:2]
    mirrored, square = np.concatenate([w, -w], axis=1), np.concatenate([w, v], axis=1)

    def gain(spec):
        return value(spec, W=mirrored) - value(spec, W=square)

    assert abs(gain("orthoreg")) < 1e-3
    for s in (0, 1, 2):
        assert gain(f"hyperspherical-energy:s={s}") < -0.2
        assert gain(f"hyperspherical-energy:space=half,s={s}") > 0.2
    for spec in ("cosine", "coherence", "logdet-weights"):
        assert gain(spec) > 0.2


def test_orthoregs_force_fades_with_the_cosine():
    """5 at cosine 1, .07 at .5, gone below zero (as a derivative by one cosine)."""
    forces = []
    for cos in (1 - 1e-9, 0.5, -0.5):
        W = np.array([[1, cos], [0, np.sqrt(1 - cos**2)]])
        dW = Bench(W=W)("orthoreg").dW  # |dW| = 2 M sin(angle) for a pair in both orders
        forces.append(np.linalg.norm(dW[:, 0]) / (2 * np.sqrt(1 - cos**2)))
    assert forces[0] == pytest.approx(5, rel=1e-3)
    assert forces[1] == pytest.approx(0.07, abs=0.005)
    assert forces[2] < 1e-5


def test_double_soft_orthogonality_is_a_multiple_and_a_constant():
    """|W'W - I|^2 + |WW' - I|^2 = 2 L + (D - H), exactly."""
    W = normal(9, 4)
    double = np.sum((W.T @ W - np.eye(4)) ** 2) + np.sum((W @ W.T - np.eye(9)) ** 2)
    assert double == pytest.approx(2 * value("soft-orthogonality:scaled=false", W=W) + 5)


def test_unscaled_soft_orthogonality_pushes_on_the_lengths_first():
    """Orthogonal weights of length 3: perfect when scaled; else most of the push is on lengths."""
    W = 3 * np.linalg.qr(normal(20, 5))[0]
    assert value("soft-orthogonality", W=W) == pytest.approx(0, abs=1e-20)
    seen = Bench(W=W)("soft-orthogonality:scaled=false")
    assert seen.value == pytest.approx(5 * 8**2)
    np.testing.assert_allclose(seen.dW / W, seen.dW[0, 0] / W[0, 0])  # parallel to the weights


@pytest.mark.parametrize(("spec", "degree"), [("soft-orthogonality", 4), ("srip", 2)])
def test_shorter_weights_lower_the_distance_from_an_isometry(spec, degree):
    W = normal(9, 4)
    seen = Bench(W=W)(spec)
    assert np.sum(W * seen.dW) == pytest.approx(degree * seen.value)
    assert value(spec, W=W / 2) == pytest.approx(seen.value / 2**degree)


def test_more_neurons_than_inputs_cannot_be_orthogonal():
    """The least scaled distance is |W|^4 (1/D - 1/H), reached by a tight frame of equal lengths."""
    angles = np.pi * np.arange(5) / 5
    frame = np.stack([np.cos(angles), np.sin(angles)])
    least = np.sum(frame**2) ** 2 * (1 / 2 - 1 / 5)
    assert value("soft-orthogonality", W=frame) == pytest.approx(least)
    for seed in range(20):
        W = normal(2, 5, seed=seed)
        assert value("soft-orthogonality", W=W) >= np.sum(W**2) ** 2 * (1 / 2 - 1 / 5)
    # And the volume that 5 vectors span in the plane is zero: logdet stands on delta's floor.
    assert value("logdet-weights", W=frame) > 3 / 5 * np.log(1e3) - 2 / 5 * np.log(2.6)


def srip_differences(share, iterations, seeds=20):
    """(shortfall of the value, difference of the gradient) of the power iteration, relative, mean."""
    found = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        W = rng.normal(size=(784, 16)) + share * rng.normal(size=(784, 1))
        exact = Bench(W=W)("srip")
        cheap = Bench(W=W)(f"srip:iterations={iterations}")
        far = np.linalg.norm(cheap.dW - exact.dW) / np.linalg.norm(exact.dW)
        found.append((1 - cheap.value / exact.value, far))
        assert found[-1][0] > -1e-12  # no unit vector is stretched by more than sigma
    return np.mean(found, axis=0)


def test_the_error_of_srips_power_iteration():
    """Random weights: two iterations are far off. With a direction that all share: right to 1 %."""
    value_short, gradient_far = srip_differences(share=0.0, iterations=2)
    assert value_short == pytest.approx(0.05, abs=0.01)
    assert gradient_far == pytest.approx(0.6, abs=0.05)
    value_short, gradient_far = srip_differences(share=0.3, iterations=2)
    assert value_short < 1e-3
    assert gradient_far < 0.01
    assert off(cosine_of(normal(784, 16) + 0.3 * normal(784, 1, seed=1))).mean() == (
        pytest.approx(0.08, abs=0.01)
    )
    assert srip_differences(share=0.3, iterations=10)[1] < 1e-6


def test_srips_start_vector_is_not_orthogonal_to_a_mirrored_pair():
    """w and -w: the worst direction is (1, -1), at right angles to a start of all ones."""
    W = np.concatenate([normal(9, 1), -normal(9, 1)], axis=1)
    assert value("srip:iterations=1", W=W) == pytest.approx(value("srip", W=W))


def test_a_maximum_moves_one_pair_and_its_smooth_form_all_neurons():
    W = normal(9, 6)
    peak, smooth = Bench(W=W)("coherence"), Bench(W=W)("coherence:form=smooth")
    assert (np.abs(peak.dW).sum(axis=0) > 0).sum() == 2
    assert (np.abs(smooth.dW).sum(axis=0) > 0).all()
    squares = off(cosine_of(W)) ** 2
    values = [value(f"coherence:form=smooth,beta={b}", W=W) for b in (1e-4, 20, 1e5)]
    assert values[0] == pytest.approx(squares.mean(), rel=1e-3)
    assert values[2] == pytest.approx(squares.max(), rel=1e-3)
    assert values[0] < values[1] < values[2]


def test_coherence_stays_above_the_welch_bound():
    D, H = 3, 7
    bound = np.sqrt((H - D) / (D * (H - 1)))
    assert min(value("coherence", W=normal(D, H, seed=s)) for s in range(50)) > bound


def test_textbook_coherence_depends_on_lengths():
    """The largest entry of |W'W - I| for the usual draws is on the diagonal: the reason for cosines."""
    for seed in range(20):
        W = normal(784, 16, seed=seed) * np.sqrt(2 / 784)
        G = np.abs(W.T @ W - np.eye(16))
        assert np.diagonal(G).max() > off(G).max()


def test_energy_keeps_its_digits_where_neurons_are_close():
    """An angle of .003 in float32: from 2 - 2 cos the energy would be off by a tenth or more."""
    rng = np.random.default_rng(0)
    for _ in range(5):
        W = rng.normal(size=(50, 2))
        W[:, 1] = W[:, 0] + 3e-3 * W[:, 1]
        W = np.float32(W)
        exact = Bench(W=W.astype("float64"))("hyperspherical-energy")
        single = Bench(W=W, dtype="float32")("hyperspherical-energy")
        assert single.value == pytest.approx(exact.value, rel=2e-3)
        far = np.linalg.norm(single.dW - exact.dW) / np.linalg.norm(exact.dW)
        assert far < 5e-3


def test_the_scale_of_outgoing_gates_can_move_to_incoming_weights():
    """outgoing: ReLU moves the scale into the incoming weights, which do not count. path: it cannot."""
    W, V = normal(6, 4), normal(4, 3, seed=1)
    assert value("l1-gates", W=W, V=V) == pytest.approx(np.linalg.norm(V, axis=1).sum())
    assert value("l1-gates", W=10 * W, V=V / 10) == pytest.approx(0.1 * value("l1-gates", W=W, V=V))
    path = "l1-gates:gate=path"
    assert value(path, W=10 * W, V=V / 10) == pytest.approx(value(path, W=W, V=V))


def test_gates_prune_neurons_that_repeat_each_other():
    """A task of one neuron for a network of eight: a penalty on gates closes most of them."""
    X = normal(64, 3)
    Y = np.tanh(X @ np.array([[1.0], [-0.5], [0.3]]))
    still_open = {}
    for spec in ("cosine:strength=0", "l1-gates:gate=path,strength=0.003"):
        net = network([3, 8, 1], seed=2, scale=0.5, activation="tanh", dtype="float64")
        optimizer = Adam(net, lr=0.02)
        for number in range(1500):
            step = run_step(net, X, Y, spec, "squared-error")
            optimizer.step(1 - number / 1500)
        gates = np.linalg.norm(net.W[0], axis=0) * np.linalg.norm(net.W[1], axis=1)
        still_open[name_of(spec)] = int((gates > 0.01).sum())
        assert step.loss < 0.01
    assert still_open["cosine"] >= 6
    assert still_open["l1-gates"] <= 3


# The ensemble view -------------------------------------------------------------------------------


def test_lambda_one_is_ordinary_backprop_to_the_last_bit():
    net = network([5, 6, 4, 3], activation="tanh", dtype="float64")
    X, Y = numbers(9, 5), labels(9, classes=3)
    run_step(net, X, Y, None)
    plain = net.dtheta.copy()
    step = run_step(net, X, Y, "negative-correlation:lambda=1")
    assert not step.penalties
    np.testing.assert_array_equal(net.dtheta, plain)


def liu_and_yao(A, V, c, d, lam):
    """mean_h e_h with e_h = 1/2 (o_h - d)^2 + 1/2 lambda p_h,  p_h = -(o_h - f)^2; mean over samples."""
    H = A.shape[1]
    o = H * np.einsum("nh,hk->hnk", A, V) + c
    f = o.mean(axis=0)
    np.testing.assert_allclose(f, A @ V + c, atol=1e-9)
    e = (o - d) ** 2 / 2 - lam * (o - f) ** 2 / 2
    return e.sum(axis=-1).mean()


@pytest.mark.parametrize("lam", [0.0, 0.3, 0.9, 1.0])
def test_squared_error_is_liu_and_yao(lam):
    """task + (1 - lambda) penalty = mean_h e_h, as Liu and Yao wrote it (1999), with its 1/2."""
    net = network([5, 6, 2], activation="tanh", dtype="float64")
    X, d = numbers(9, 5), numbers(9, 2, seed=1)
    step = run_step(net, X, d, f"negative-correlation:lambda={lam}", "squared-error")
    A = step.trace.A[1]
    total = step.loss + sum(step.penalties.values())
    assert total == pytest.approx(liu_and_yao(A, net.W[1], net.b[1], d, lam))


def test_krogh_and_vedelsby():
    """E = mean E_h - ambiguity, and the penalty is half of the ambiguity, which has a short form."""
    A, V, d = normal(9, 5), normal(5, 2, seed=1), normal(9, 2, seed=2)
    o = 5 * np.einsum("nh,hk->hnk", A, V)
    f = o.mean(axis=0)
    ambiguity = ((o - f) ** 2).sum(axis=-1).mean()
    E, E_h = ((f - d) ** 2).sum(axis=-1).mean(), ((o - d) ** 2).sum(axis=-1).mean()
    assert E_h - ambiguity == pytest.approx(E)
    short = 5 * np.sum(A**2 * np.sum(V**2, axis=1)) - np.sum((A @ V) ** 2)
    assert ambiguity == pytest.approx(short / 9)
    penalty = value("negative-correlation", A=A, V=V, targets=d)  # the bench's net has bias zero
    bench = Bench(A=A, V=V, targets=d, loss="squared-error")("negative-correlation")
    assert bench.value == pytest.approx(ambiguity / 2)
    assert penalty != pytest.approx(bench.value)  # cross-entropy's bracket is another number


def test_lambda_zero_trains_each_neuron_alone():
    """dV_h is then that of H separate models with outputs o_h, each on its own loss."""
    net = network([5, 4, 2], activation="tanh", dtype="float64")
    X, d = numbers(9, 5), numbers(9, 2, seed=1)
    step = run_step(net, X, d, "negative-correlation:lambda=0", "squared-error")
    A, V, c = step.trace.A[1], net.W[1], net.b[1]
    for h in range(4):
        error = 4 * A[:, h : h + 1] * V[h] + c - d
        np.testing.assert_allclose(net.dW[1][h], A[:, h] @ error / 9, rtol=1e-9)


def test_lambda_above_one_is_refused_because_it_has_no_minimum():
    with pytest.raises(UsageError, match="rewards disagreement without bound"):
        place("negative-correlation:lambda=1.01")
    with pytest.raises(UsageError, match="rewards disagreement without bound"):
        place("negative-correlation:strength=-0.01")
    A, V, d = normal(9, 5), normal(5, 2, seed=1), normal(9, 2, seed=2)
    A -= (A @ V) @ np.linalg.pinv(V)  # contributions that cancel: f = 0 whatever their size
    values = [liu_and_yao(size * A, V, 0, d, 1.1) for size in (1, 10, 100, 1000)]
    assert values[3] < values[2] < values[1] < values[0]
    assert values[3] < -1e3
    assert liu_and_yao(1000 * A, V, 0, d, 0.9) > 0


def test_the_bracket_is_never_negative():
    """By Jensen, for every convex loss."""
    for seed in range(30):
        A, V = normal(9, 5, seed=seed), normal(5, 3, seed=seed + 100)
        assert value("negative-correlation", A=A, V=V) >= 0


def test_coherence_of_contributions_is_bounded_and_independent_of_scale():
    for seed in range(30):
        A, V = normal(9, 5, seed=seed), normal(5, 3, seed=seed + 100)
        assert 0 <= value("contribution-coherence", A=A, V=V) <= 1
    seen = Bench(A=A, V=V)("contribution-coherence")
    assert value("contribution-coherence", A=7 * A, V=V / 3) == pytest.approx(seen.value)
    assert abs(np.sum(A * seen.dA)) < 1e-12
    a, v = normal(9, 1), normal(1, 3)
    assert value("contribution-coherence", A=np.repeat(a, 4, 1), V=np.repeat(v, 4, 0)) == (
        pytest.approx(1)
    )
    orthogonal = Bench(A=np.repeat(a, 3, 1), V=np.eye(3))("contribution-coherence")
    assert orthogonal.value == pytest.approx(1 / 3)


def test_the_least_coherent_network_contributes_nothing():
    A = normal(9, 4)
    V = normal(4, 3)
    A -= (A @ V) @ np.linalg.pinv(V)
    assert value("contribution-coherence", A=A, V=V) == pytest.approx(0, abs=1e-20)
    assert np.abs(A).max() > 0.1  # its neurons are active all the same


def test_other_activations_or_other_outgoing_weights_are_enough():
    """contribution-gram is zero for equal activations with orthogonal V, and the other way round."""
    same, different = np.repeat(normal(8, 1), 3, axis=1), np.linalg.qr(normal(8, 3))[0]
    assert value("contribution-gram", A=same, V=np.eye(3)) == pytest.approx(0, abs=1e-20)
    assert value("contribution-gram", A=different, V=np.ones((3, 3))) == pytest.approx(0, abs=1e-20)
    assert value("contribution-gram", A=same, V=np.ones((3, 3))) > 0.1
    positive = np.abs(normal(8, 3))  # what is never negative always overlaps
    assert value("contribution-gram", A=positive, V=np.ones((3, 3))) > 0.1


def test_spectral_decoupling_keeps_logits_and_confidence_small():
    """On a task that one feature decides, cross-entropy alone drives the logits on and on."""
    X = np.concatenate([normal(40, 2, seed=1) + 3, normal(40, 2, seed=2) - 3])
    Y = np.repeat([0, 1], 40).astype("int32")
    largest = {}
    for spec in (None, "spectral-decoupling:strength=0.1"):
        net = network([2, 4, 2], scale=0.3, activation="tanh", dtype="float64")
        optimizer = Adam(net, lr=0.02)
        for _ in range(500):
            step = run_step(net, X, Y, spec)
            optimizer.step()
        largest[spec] = np.abs(step.trace.logits).max()
        assert losses.accuracy(step.trace.logits, Y) == 1
    assert largest[None] > 3
    assert largest["spectral-decoupling:strength=0.1"] < 2.5


def test_defaults_are_the_papers():
    assert made("vicreg").variance / made("vicreg").covariance == 25
    assert made("barlow").redundancy == 0.0051
    assert made("orthoreg").sharpness == 10
    assert made("spanning-tree").balance == 0.5
