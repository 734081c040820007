"""Interventions: each keeps the invariant that it names, alone and beside every other technique.

What is common to all: R networks are each alone, masks hold, triggers, state, no stop at the host.
"""

import dataclasses
import itertools

import numpy as np
import pytest
from helpers import close, labels, network, numbers
from technique_table import TABLE, column_lengths, next_layer

from tinydiv.backend import to_device, to_host
from tinydiv.errors import UsageError
from tinydiv.layers import Context
from tinydiv.losses import cross_entropy
from tinydiv.optimizers import SGD, Adam, Momentum
from tinydiv.similarity import dormancy
from tinydiv.techniques import TECHNIQUES, Techniques, layers_of, place
from tinydiv.techniques.conflicts import CONFLICTS
from tinydiv.techniques.orthogonal_gradient import polar_factor
from tinydiv.techniques.placing import kind_of
from tinydiv.techniques.reorthogonalise import nearest_frame
from tinydiv.techniques.sized import Sized

NAMES = sorted(
    name
    for name, cls in TECHNIQUES.items()
    if kind_of(cls) == "intervention" and cls.family != "growing"
)  # those that put neurons to sleep change the network from the start: test_growing.py
TOGETHER = {"consensus"}
"""These mix networks on purpose."""


def active(name, more=""):
    settings = ",".join(filter(None, (TABLE[name].settings if name in TABLE else "", more)))
    return f"{name}:{settings}" if settings else name


class Lab:
    """A network with its techniques, that can take steps."""

    def __init__(self, *specs, sizes=(8, 6, 5, 3), replicas=None, optimizer=SGD, lr=0.1, **more):
        settings = {"dtype": "float64", "activation": "tanh"} | more.pop("net", {})
        seeds = more.pop("seeds", None)
        layers = layers_of(specs)
        self.net = network(list(sizes), replicas=replicas, layers=layers, **settings)
        for layer in self.net.layers:
            if isinstance(layer, Sized):  # a random size would leave neurons shut
                layer.reset_parameters()
        self.X = numbers(40, sizes[0], seed=21, dtype=settings["dtype"]) + 0.3
        self.Y = labels(40, classes=sizes[-1], seed=22)
        theta = more.pop("theta", None)
        if theta is not None:
            self.net.theta[...] = to_device(theta)
        self.optimizer = optimizer(self.net, lr)
        self.techniques = Techniques(
            self.net, specs, self.optimizer, probe_inputs=self.X, seeds=seeds, **more
        )

    def step(self, number=0, epoch=0, loss=None, until="end"):
        trace = self.net.forward(self.X, Context(training=True, step=number))
        task, dlogits = cross_entropy(trace.logits, self.Y)
        loss = task if loss is None else to_device(np.asarray(loss, dtype="float64"))
        step = self.techniques.step(trace, self.Y, loss, dlogits, number, epoch)
        self.techniques.before_backward(step)
        self.net.backward(trace, step.dlogits, step.dA)
        if until == "backward":
            return step
        self.techniques.after_backward(step)
        if until == "edit":
            return step
        self.optimizer.step()
        self.techniques.after_update(step)
        return step

    def move(self, number=0, mask=None):
        """Only the weights' move, at rest: no optimizer in between. Returns theta before and after."""
        before = to_host(self.net.theta).copy()
        trace = self.net.forward(self.X)
        task, dlogits = cross_entropy(trace.logits, self.Y)
        step = self.techniques.step(trace, self.Y, task, dlogits, number)
        for p, layers, _, _ in self.techniques._all():
            for layer in layers:
                p.technique.move(step, layer, mask)
                step.weights_moved()
        return before, to_host(self.net.theta).copy()

    def W(self, l=0):
        return to_host(self.net.W[l]).copy()


# Common to all -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(set(NAMES) - TOGETHER))
def test_many_networks_are_each_alone(name, backend):
    R = 6  # as wide as a hidden layer
    theta = np.random.default_rng(0).normal(scale=0.5, size=(R, Lab().net.n_parameters))
    spec = active(name)
    many = Lab(
        spec, "decov:strength=1", replicas=R, optimizer=Adam, seeds=range(5, 5 + R), theta=theta
    )
    for number in range(5):
        many.step(number)
    for r in (0, 4):
        alone = Lab(spec, "decov:strength=1", optimizer=Adam, seeds=[5 + r], theta=theta[r])
        for number in range(5):
            alone.step(number)
        close(many.net.theta[r], alone.net.theta, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_it_acts_only_on_networks_of_the_mask(name, backend):
    """An intervention that waits for a plateau leaves other networks as they would have been."""
    cls = TECHNIQUES[name]
    if cls.in_every_step:
        with pytest.raises(UsageError, match="takes no every, after or when"):
            Lab(f"{name}:when=plateau")
        return
    spec = active(name, "when=plateau,patience=3")
    penalty = "decov:strength=5"
    plain, lab = Lab(penalty, replicas=3), Lab(spec, penalty, replicas=3)
    for number in range(6):  # the first two networks' losses stall, the third's falls
        losses = [1.0, 1.0, 0.5**number]
        for one in (plain, lab):
            one.step(number, loss=losses)
    moved = np.abs(to_host(lab.net.theta) - to_host(plain.net.theta)).max(axis=-1)
    assert moved[:2].max() > 1e-6
    assert moved[2] == 0


@pytest.mark.parametrize("name", NAMES)
def test_a_step_never_waits_uploads_or_copies(name, on_standin):
    lab = Lab(active(name), "decov", replicas=3, optimizer=Adam)
    lab.step(0)
    with on_standin.counting() as counts:
        lab.step(1)
    assert (counts.stops, counts.uploads, counts.copies) == (0, 0, 0)


@pytest.mark.parametrize("name", NAMES)
def test_state_goes_round(name, backend):
    spec = active(name)
    first, second = (Lab(spec, replicas=2, optimizer=Adam) for _ in range(2))
    for number in range(4):
        first.step(number)
    second.net.theta[...] = to_device(to_host(first.net.theta))
    second.optimizer.load_state({k: to_host(v) for k, v in first.optimizer.state().items()})
    second.techniques.load_state({k: to_host(v) for k, v in first.techniques.state().items()})
    for lab in (first, second):
        for number in range(4, 7):
            lab.step(number)
    np.testing.assert_array_equal(to_host(first.net.theta), to_host(second.net.theta))


@pytest.mark.parametrize("name", NAMES)
def test_single_precision_stays_single_and_finite(name):
    lab = Lab(active(name), replicas=2, optimizer=Momentum, net={"dtype": "float32"})
    for number in range(5):
        lab.step(number)
    assert lab.net.theta.dtype == "float32"
    assert np.isfinite(to_host(lab.net.theta)).all()
    for key, value in lab.techniques.state().items():
        assert to_host(value).dtype == "float32", key


@pytest.mark.parametrize("name", NAMES)
def test_neurons_and_networks_that_are_all_zero_do_no_harm(name):
    """Dead ReLU neurons with weights of zero, and a whole network of zeros."""
    lab = Lab(active(name), replicas=3, net={"activation": "relu"})
    theta = to_host(lab.net.theta).copy()
    for block in ("W0", "b0"):
        lab.net.view(lab.net.theta, block)[0, ..., 2] = 0
    lab.net.theta[1] = 0
    for number in range(4):
        lab.step(number)
    assert np.isfinite(to_host(lab.net.theta)).all()
    assert np.abs(to_host(lab.net.theta)[2] - theta[2]).max() > 0


@pytest.mark.parametrize("when", ["every=3", "after=2,every=1"])
def test_triggers(when, backend):
    lab, plain = Lab(f"reorthogonalise:{when}"), Lab()
    acted = []
    for number in range(9):
        lab.net.theta[...] = plain.net.theta
        lab.step(number, epoch=number // 3)
        plain.step(number)
        acted.append(np.abs(to_host(lab.net.theta) - to_host(plain.net.theta)).max() > 1e-9)
    assert acted == [(n + 1) % 3 == 0 if "3" in when else n >= 6 for n in range(9)]


def test_a_plateau_is_waited_for_anew_after_it_acted(backend):
    lab = Lab("redo:tau=0.9,every=1,when=plateau,patience=3")
    acted_at = []
    for number in range(12):
        before = to_host(lab.net.theta).copy()
        lab.optimizer.lr = 0.0
        lab.step(number, loss=1.0)
        acted_at.append(bool((to_host(lab.net.theta) != before).any()))
    assert acted_at.count(True) == 3
    assert all(b - a >= 3 for a, b in itertools.pairwise(np.flatnonzero(acted_at)))


# Recyclers ---------------------------------------------------------------------------------------


def outputs(lab):
    return to_host(lab.net.forward(lab.X).logits)


def twins(lab, factor=0.8, noise=0.005):
    """Make neuron 3 of the first hidden layer nearly neuron 1, times a factor."""
    W, b = to_host(lab.net.W[0]).copy(), to_host(lab.net.b[0]).copy()
    rng = np.random.default_rng(5)
    W[..., 3] = factor * W[..., 1] * (1 + noise * rng.normal(size=W[..., 3].shape))
    b[..., 3] = factor * b[..., 1]
    lab.net.W[0][...], lab.net.b[0][...] = to_device(W), to_device(b)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("layers", [(), ("batch-norm",)])
def test_merging_near_duplicates_keeps_the_function(activation, layers, backend):
    spec = "merge-recycle:threshold=0.98,layers=1"
    lab = Lab(spec, *layers, replicas=3, net={"activation": activation})
    twins(lab, -1 if activation == "tanh" and not layers else 0.8)  # tanh is odd, not homogeneous
    if layers:  # batch norm takes the factor out; give it statistics that are these neurons' own
        for part in lab.net.layers[0].parameters.values():
            part[..., 3] = part[..., 1]
        for number in range(40):
            lab.net.forward(lab.X, Context(training=True, step=number))
    before = outputs(lab)
    old = lab.W()
    lab.move()
    change = np.linalg.norm(outputs(lab) - before, axis=(-2, -1))
    assert (change / np.linalg.norm(before, axis=(-2, -1)) <= 1e-2).all()
    redrawn = np.abs(lab.W() - old).max(axis=-2) > 0.05
    assert (redrawn.sum(axis=-1) == 1).all()
    assert not to_host(lab.net.W[1])[redrawn].any()
    close(column_lengths(lab.W())[redrawn], column_lengths(old)[redrawn], rtol=1e-9)


def test_the_regression_is_what_keeps_the_function():
    """The merge by hand; deleting the neuron, or leaving out beta, changes the outputs far more."""
    lab = Lab("merge-recycle:threshold=0.98,layers=1", net={"activation": "relu"})
    twins(lab, noise=0.002)
    lab.net.b[0][0, 1] = 20.0  # both of the pair always fire, so one is the other's line: a + beta
    lab.net.b[0][0, 3] = 60.0
    lab.net.W[1][...] *= 0.02
    before = outputs(lab)
    A = to_host(lab.net.forward(lab.X).A[1])
    V, b1, W2, b2 = (
        to_host(a).copy() for a in (lab.net.W[1], lab.net.b[1], *lab.net.W[2:], *lab.net.b[2:])
    )
    drop = np.argmin([A[:, h].std() * np.linalg.norm(V[h]) for h in (1, 3)]) * 2 + 1
    keep = 4 - drop
    alpha = np.cov(A[:, keep], A[:, drop], bias=True)[0, 1] / A[:, keep].var()
    beta = A[:, drop].mean() - alpha * A[:, keep].mean()
    merged, deleted = V.copy(), V.copy()
    merged[keep] += alpha * V[drop]
    merged[drop] = deleted[drop] = 0

    def rest(A1, c=0.0):
        return np.maximum(A1 + b1 + c, 0) @ W2 + b2

    lab.move()
    # The freed neuron has no outgoing weights, so this is the whole function after the merge.
    close(outputs(lab), rest(A @ merged, beta * V[drop]), rtol=1e-9, atol=1e-12)
    error = [
        np.linalg.norm(y - before) / np.linalg.norm(before)
        for y in (outputs(lab), rest(A @ merged), rest(A @ deleted))
    ]
    assert error[0] < 0.01
    assert min(error[1:]) > 0.05


@pytest.mark.parametrize("spec", ["merge-recycle:threshold=0", "orthogonal-noise:threshold=0"])
def test_one_neuron_alone_is_no_pair(spec, backend):
    """All others are dead: what is most alike to it would be itself."""
    lab = Lab(f"{spec},layers=1", replicas=2, net={"activation": "relu"})
    for block in ("W0", "b0"):
        lab.net.view(lab.net.theta, block)[0, ..., 1:] = 0
    before, after = lab.move()
    np.testing.assert_array_equal(after[0], before[0])
    assert np.abs(after[1] - before[1]).max() > 1e-3


def test_the_freed_neurons_responses_are_new(backend):
    """Its responses on the probe set are uncorrelated with all others', before the activation."""
    lab = Lab("merge-recycle:threshold=0,layers=1", replicas=2)
    old = lab.W()
    lab.move()
    redrawn = np.abs(lab.W() - old).max(axis=-2) > 0
    Z = to_host(lab.X @ lab.net.W[0] + lab.net.b[0])
    for r in range(2):
        (j,) = np.flatnonzero(redrawn[r])
        correlations = np.delete(np.corrcoef(Z[r].T)[j], j)
        assert np.abs(correlations).max() < 1e-3
        assert abs(Z[r][:, j].mean()) < 1e-9


@pytest.mark.parametrize("name", ["merge-recycle", "redo", "continual-backprop"])
def test_moments_of_replaced_neurons_are_reset_and_no_others(name, backend):
    lab = Lab(active(name, "layers=1"), replicas=2, optimizer=Adam, lr=1e-4)
    ever = np.zeros((2, 6), bool)
    for number in range(7):
        old = lab.W()
        lab.step(number)
        replaced = np.abs(lab.W() - old).max(axis=-2) > 0.01
        ever |= replaced
        if number < 1 or not replaced.any():
            continue
        for moment in lab.optimizer.moments.values():
            incoming = (to_host(lab.net.view(moment, "W0")) == 0).all(axis=-2)
            outgoing = (to_host(lab.net.view(moment, "W1")) == 0).all(axis=-1)
            bias = to_host(lab.net.view(moment, "b0"))[..., 0, :] == 0
            for gone in (incoming, outgoing, bias):
                assert gone[replaced].all()
                assert not gone.all()
                if name != "merge-recycle":  # merging resets the other of the pair, too
                    assert not gone[~ever].any()
        assert not to_host(lab.net.view(lab.optimizer.moments["m"], "W2") == 0).any()
        return
    raise AssertionError("no neuron was replaced")


def with_dead_neurons(spec):
    """Three networks of ReLU neurons; some never fire."""
    lab = Lab(spec, replicas=3, net={"activation": "relu"})
    dead = np.zeros((3, 6), bool)
    dead[0, 1], dead[1, [0, 4]] = True, True
    b = to_host(lab.net.b[0]).copy()
    b[..., 0, :][dead] = -1000
    lab.net.b[0][...] = to_device(b)
    return lab, dead


def test_redo_replaces_dormant_neurons_and_keeps_the_function(backend):
    lab, dead = with_dead_neurons("redo:tau=0,layers=1")
    before, old, V = outputs(lab), lab.W(), to_host(lab.net.W[1]).copy()
    lab.move()
    close(outputs(lab), before, rtol=1e-9, atol=1e-12)
    changed = np.abs(lab.W() - old).max(axis=-2) > 0
    np.testing.assert_array_equal(changed, dead)
    assert not to_host(lab.net.W[1])[dead].any()
    np.testing.assert_array_equal(to_host(lab.net.W[1])[~dead], V[~dead])
    usual = np.sqrt((old**2).sum(axis=-2).mean(axis=-1, keepdims=True)) * np.ones((1, 6))
    close(column_lengths(lab.W())[dead], usual[dead], rtol=1e-9)


def test_redo_leaves_no_neuron_dead_for_good(backend):
    """Recycled neurons are active on the probe set, get a gradient, and have outgoing weights again."""
    lab, dead = with_dead_neurons("redo:every=5,layers=1")
    for number in range(30):
        lab.step(number)
    score = to_host(dormancy(lab.net.forward(lab.X).A[1]))
    assert (score > 0.025).all()
    largest = np.abs(to_host(lab.net.W[1])).max(axis=-1)
    assert (largest[dead] > 1e-3).all()
    plain, _ = with_dead_neurons("decov:strength=0")
    for number in range(30):
        plain.step(number)
    score = to_host(dormancy(plain.net.forward(plain.X).A[1]))
    np.testing.assert_array_equal(score == 0, dead)  # without it they stay dead


def test_dormancy_is_the_papers_score():
    A = np.abs(np.random.default_rng(0).normal(size=(2, 30, 4))) * [1, 2, 0, 0.01]
    size = np.abs(A).mean(axis=1)
    close(dormancy(to_device(A)), size / size.mean(axis=1, keepdims=True))
    close(dormancy(to_device(A * 0)), np.zeros((2, 4)))


def test_continual_backprop_by_hand():
    """The paper's loop in plain Python, a hundred steps: which neuron is replaced, and when."""
    lab = Lab(
        "continual-backprop:rate=0.05,maturity=3,eta=0.9,layers=1", net={"activation": "relu"}
    )
    u, age, due = np.zeros(6), np.zeros(6), 0.0
    replaced_at = []
    for number in range(100):
        A = to_host(lab.net.forward(lab.X).A[1])
        V, old = to_host(lab.net.W[1]), lab.W().copy()
        age += 1
        u = 0.9 * u + 0.1 * np.abs(A).mean(0) * np.abs(V).sum(1)
        ripe = np.flatnonzero(age > 3)
        due += 0.05 * len(ripe)
        lab.step(number)
        jumped = np.flatnonzero(np.abs(lab.W() - old).max(axis=0) > 0.2)
        if due >= 1 and len(ripe):
            scores = u[ripe] / (1 - 0.9 ** age[ripe])
            worst = ripe[np.argmin(scores)]
            assert jumped.tolist() == [worst]
            u[worst] = age[worst] = 0
            due -= 1
            replaced_at.append(number)
        else:
            assert jumped.size == 0
    assert len(replaced_at) > 5
    assert replaced_at[0] >= 3


def test_a_young_neurons_utility_is_corrected_for_its_age(backend):
    """u starts at zero, so u / (1 - eta^age) is compared: the young one is the more useful here."""
    lab = Lab("continual-backprop:maturity=3,eta=0.9,layers=1")
    kept = lab.techniques.placed[0].technique.kept
    kept["utility1"][...] = to_device(np.array([9.0, 0.5, 9.0, 0.6, 9.0, 9.0]))
    kept["age1"][...] = to_device(np.array([50.0, 4.0, 50.0, 100.0, 2.0, 50.0]))
    kept["due1"][...] = 1.0
    old = lab.W()
    lab.move()
    assert np.flatnonzero(np.abs(lab.W() - old).max(axis=0)).tolist() == [3]
    close(kept["age1"], [50, 4, 50, 0, 2, 50])
    close(kept["due1"], [0])


@pytest.mark.parametrize("other", ["redo", "merge-recycle"])
def test_continual_backprop_does_not_replace_what_another_recycler_has_made(other, backend):
    """The age of a replaced neuron starts at zero, whichever technique replaced it; no other age does."""
    spec = {"redo": "redo:tau=0.9,every=4", "merge-recycle": "merge-recycle:threshold=0,every=4"}
    ours = "continual-backprop:rate=0,maturity=5,layers=1"
    lab = Lab(f"{spec[other]},layers=1", ours, replicas=2, optimizer=Adam)
    kept = lab.techniques.placed[1].technique.kept
    since = np.zeros((2, 6), dtype=int)
    for number in range(10):
        lab.step(number)
        silent = ~to_host(lab.net.W[1]).any(
            axis=-1
        )  # exactly those that were replaced in this step
        since[silent] = number + 1
        np.testing.assert_array_equal(to_host(kept["age1"]), number + 1 - since)
        assert not to_host(kept["utility1"])[silent].any()
    assert (since > 0).any()
    assert (since == 0).any()


# Turning weights ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kappa", [0.1, 1.0])
def test_orthogonal_noise_turns_the_closest_pair_by_the_stated_angle(kappa, dtype, backend):
    lab = Lab(f"orthogonal-noise:kappa={kappa},layers=1", replicas=3, net={"dtype": dtype})
    W = lab.W().copy()
    W[1, :, 4] = -2 * W[1, :, 0]  # antipodal, exactly: |cos| = 1
    lab.net.W[0][...] = to_device(W)
    G = cosines_of(W)
    lab.move()
    after, tolerance = cosines_of(lab.W()), 1e-12 if dtype == "float64" else 2e-6
    close(column_lengths(lab.W()), column_lengths(W), rtol=tolerance)
    for r in range(3):
        i, j = np.unravel_index(np.argmax(np.abs(G[r] - np.eye(6))), (6, 6))
        assert abs(after[r, i, j] - G[r, i, j] / (1 + kappa**2) ** 0.5) < tolerance
        changed = np.flatnonzero(np.abs(lab.W()[r] - W[r]).max(axis=0) > 0)
        assert len(changed) == 1
        assert changed[0] in (i, j)
        V = column_lengths(to_host(lab.net.W[1])[r].T)
        assert changed[0] == min((i, j), key=lambda h: V[h])


def cosines_of(W):
    U = W / column_lengths(W)[..., None, :]
    return np.swapaxes(U, -1, -2) @ U


def test_orthogonal_noise_respects_its_threshold_and_needs_room():
    lab = Lab("orthogonal-noise:threshold=0.9999,layers=1")
    before, after = lab.move()
    np.testing.assert_array_equal(before, after)
    with pytest.raises(UsageError, match="at least 3 inputs"):
        Lab("orthogonal-noise", sizes=(2, 4, 3))


def test_reorthogonalise_goes_to_the_nearest_frame(backend):
    from scipy.linalg import polar

    lab = Lab("reorthogonalise:iterations=30", replicas=2)
    W, W1 = lab.W().copy(), lab.W(1).copy()
    lab.move()
    for old, new in ((W, lab.W()), (W1, lab.W(1))):
        close(column_lengths(new), column_lengths(old), rtol=1e-9)
        for r in range(2):
            lengths = column_lengths(old[r])
            frame, _ = polar(old[r] / lengths)
            close(new[r], frame * lengths, rtol=1e-7, atol=1e-7)


def test_reorthogonalise_part_of_the_way():
    """(1 - kappa) U + kappa Q, every column at its old length."""
    from scipy.linalg import polar

    lab = Lab("reorthogonalise:kappa=0.3,iterations=40,layers=1")
    W = lab.W().copy()
    lab.move()
    lengths = column_lengths(W)
    moved = 0.7 * W / lengths + 0.3 * polar(W / lengths)[0]
    close(lab.W(), lengths * moved / column_lengths(moved), rtol=1e-9)


@pytest.mark.parametrize("size", [0.01, 1, 100])
def test_the_nearest_frame_is_the_polar_factor_at_every_scale(size, backend):
    from scipy.linalg import polar

    U = size * to_host(numbers(9, 6))
    close(nearest_frame(to_device(U), 40), polar(U)[0], rtol=1e-9)


def test_the_nearest_frame_keeps_the_directions_that_there_are(backend):
    """U = P S R' of rank 4: the frame is P on R, and other orthonormal columns fill it up."""
    P, R = (np.linalg.qr(to_host(numbers(n, 4)))[0] for n in (9, 6))
    Q = to_host(nearest_frame(to_device(P * [1, 0.7, 0.5, 0.3] @ R.T), 40))
    close(Q.T @ Q, np.eye(6), atol=1e-9)
    close(Q @ R, P, atol=1e-9)


def test_a_column_of_zeros_stays_and_more_neurons_than_inputs_are_refused():
    lab = Lab("reorthogonalise:layers=1")
    lab.net.W[0][:, 2] = 0
    lab.move()
    assert not lab.W()[:, 2].any()
    for name in ("reorthogonalise", "cayley"):
        with pytest.raises(UsageError, match="9 neurons cannot be with 8 inputs"):
            Lab(name, sizes=(8, 9, 3))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_cayley_never_leaves_the_frames(dtype, backend):
    lab = Lab("cayley:lr=0.5", replicas=2, net={"dtype": dtype})
    raw = network([8, 6, 5, 3], replicas=2, dtype=dtype, activation="tanh")
    scale = (to_host(raw.W[0]) ** 2).sum(axis=(-2, -1)) / 6
    start = lab.W().copy()
    for number in range(60):
        lab.step(number)
    gram = np.swapaxes(lab.W(), -1, -2) @ lab.W()
    wanted = scale[:, None, None] * np.eye(6)
    close(gram, wanted, rtol=0, atol=1e-10 if dtype == "float64" else 1e-5)
    assert np.abs(lab.W() - start).max() > 0.1


def test_cayley_is_the_transform_of_the_textbook():
    lab = Lab("cayley:lr=0.2,layers=1")
    s = float(to_host(lab.techniques.placed[0].technique.kept["scale1"]).item())
    Q = lab.W() / s
    step = lab.step(until="backward")
    g = s * to_host(lab.net.dW[0])
    A = g @ Q.T - Q @ g.T
    wanted = np.linalg.solve(np.eye(8) + 0.1 * A, (np.eye(8) - 0.1 * A) @ Q)
    lab.techniques.after_update(step)
    close(lab.W() / s, wanted, rtol=1e-9, atol=1e-11)


def test_cayley_goes_downhill():
    lab = Lab("cayley:lr=0.05", optimizer=SGD, lr=0.0)
    values = [float(to_host(lab.step(n).loss)) for n in range(40)]
    assert values[-1] < 0.9 * values[0]
    assert all(b < a for a, b in itertools.pairwise(values))


# Edited gradients --------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(20, 6), (6, 20), (7, 7)])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_polar_factor_is_the_svds(shape, dtype, backend):
    G = np.random.default_rng(3).normal(size=(2, *shape))
    G[1] *= np.linspace(0.03, 1, shape[1])
    U, _, Vt = np.linalg.svd(G, full_matrices=False)
    close(polar_factor(to_device(G.astype(dtype))), U @ Vt, rtol=0, atol=1e-4)


def test_orthogonal_gradient_makes_singular_values_equal(backend):
    for scale in ("unit", "kept"):
        lab = Lab(f"orthogonal-gradient:scale={scale},layers=1", replicas=2)
        lab.step(until="backward")
        dW, others = to_host(lab.net.dW[0]).copy(), to_host(lab.net.dW[1]).copy()
        lab.step(until="edit")
        U, sizes, Vt = np.linalg.svd(dW, full_matrices=False)
        new = to_host(lab.net.dW[0])
        values = np.linalg.svd(new, compute_uv=False)
        size = 1 if scale == "unit" else np.linalg.norm(sizes, axis=-1)[:, None] / 6**0.5
        close(values, np.ones_like(values) * size, rtol=1e-4)
        close(new, U @ Vt * np.reshape(size, (-1, 1, 1) if scale == "kept" else ()), atol=1e-3)
        close(lab.net.dW[1], others)


def test_muon_is_torch_optim_like_momentum_when_it_does_not_orthogonalise(monkeypatch, torch):
    """The momentum around the orthogonalisation, by PyTorch's SGD with Nesterov momentum."""
    from tinydiv.techniques import muon

    monkeypatch.setattr(muon, "orthogonalise", lambda G: G)
    lab = Lab("muon:lr=0.03,momentum=0.9,layers=1")
    W = torch.tensor(lab.W().copy(), requires_grad=True)
    judge = torch.optim.SGD([W], lr=0.03, momentum=0.9, nesterov=True)
    for number in range(5):
        lab.step(number)
        W.grad = torch.tensor(to_host(lab.net.dW[0]).copy())
        judge.step()
    close(lab.W(), W.detach().numpy())


def test_shared_direction_shrinks_the_mean_and_nothing_else(backend):
    lab = Lab("shared-direction:alpha=0.4", replicas=2)
    lab.step(until="backward")
    old = [to_host(dW).copy() for dW in lab.net.dW]
    lab.step(until="edit")
    for l in (0, 1):
        new = to_host(lab.net.dW[l])
        m = old[l].mean(axis=-1, keepdims=True)
        m /= np.linalg.norm(m, axis=-2, keepdims=True)

        def along(G, m=m):
            return np.swapaxes(m, -1, -2) @ G

        close(along(new), 0.6 * along(old[l]), rtol=1e-9, atol=1e-12)
        close(new - m @ along(new), old[l] - m @ along(old[l]), rtol=1e-9, atol=1e-12)
    close(lab.net.dW[2], old[2])


def test_gradient_projection_protects_the_task(backend):
    """Per network: untouched where they agree, projected where they do not, both cases met."""
    penalties = ["decov:strength=1", "cosine:strength=0.5", "negative-correlation:lambda=0.3"]
    signs = []
    for seed in range(6):
        net = {"seed": seed, "scale": 1.2}
        lab, plain = (
            Lab(*first, *penalties, replicas=4, net=net)
            for first in (("shared-direction:alpha=0", "gradient-projection"), ())
        )
        step = plain.step(until="edit")
        both = to_host(plain.net.dtheta).copy()
        plain.net.backward(step.trace, step.task_dlogits)
        task = to_host(plain.net.dtheta).copy()
        lab.step(until="edit")
        new = to_host(lab.net.dtheta)
        for g, d, found in zip(task, both - task, new, strict=True):
            against = g @ d < 0
            wanted = g + d - (g @ d / (g @ g) * g if against else 0)
            close(found, wanted, rtol=1e-9, atol=1e-12)
            assert found @ g >= g @ g * (1 - 1e-9)
            signs.append(against)
    assert 0 < sum(signs) < len(signs)


def test_gradient_projection_comes_before_other_edits():
    penalty = "decov:strength=20"
    first, last = (
        Lab(*pair, penalty)
        for pair in (
            ("gradient-projection", "orthogonal-gradient"),
            ("orthogonal-gradient", "gradient-projection"),
        )
    )
    for lab in (first, last):
        lab.step(until="edit")
    close(first.net.dtheta, last.net.dtheta)


# Exhibits ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", [SGD, Momentum, Adam])
def test_toeplitz_neurons_stay_shifts_of_one_another(optimizer, backend):
    lab = Lab("toeplitz:layers=1", replicas=2, optimizer=optimizer, lr=0.01)
    start = lab.W().copy()
    for number in range(8):
        lab.step(number)
    W = lab.W()
    np.testing.assert_array_equal(W[..., 1:, 1:], W[..., :-1, :-1])
    assert np.abs(W - start).max() > 1e-3


def test_toeplitz_gradient_is_that_of_the_shared_numbers(torch):
    lab = Lab("toeplitz:layers=1")
    W = lab.W().copy()
    t = torch.tensor(np.concatenate([W[0, :0:-1], W[:, 0]]), requires_grad=True)
    place = np.arange(8)[:, None] - np.arange(6)[None] + 5
    A = torch.tensor(to_host(lab.X)) @ t[place] + torch.tensor(to_host(lab.net.b[0]))
    for l in (1, 2):
        W_, b_ = torch.tensor(to_host(lab.net.W[l])), torch.tensor(to_host(lab.net.b[l]))
        A = torch.tanh(A) @ W_ + b_
    Y = torch.tensor(to_host(lab.Y), dtype=torch.int64)
    torch.nn.functional.cross_entropy(A, Y).backward()
    lab.step(until="edit")
    close(lab.net.dW[0], t.grad.numpy()[place], rtol=1e-9)


@pytest.mark.parametrize("peers", ["all", "ring"])
def test_consensus_keeps_the_mean_and_takes_diversity(peers, backend):
    lab = Lab(f"consensus:gamma=0.4,peers={peers}", replicas=5)
    before, after = lab.move()
    close(after.mean(axis=0), before.mean(axis=0), rtol=1e-9, atol=1e-12)
    identity = np.eye(5)
    ring = (np.roll(identity, 1, 0) + np.roll(identity, -1, 0)) / 2
    A = 0.6 * identity + 0.4 * (1 / 5 if peers == "all" else ring)
    close(A.sum(axis=0), np.ones(5))
    close(after, A @ before, rtol=1e-9, atol=1e-12)
    assert after.std(axis=0).sum() < 0.8 * before.std(axis=0).sum()


@pytest.mark.parametrize("peers", ["all", "ring"])
def test_consensus_among_those_that_act_keeps_the_mean(peers, backend):
    lab = Lab(f"consensus:gamma=0.4,peers={peers}", replicas=6)
    mask = np.array([True, True, False, True, True, False])
    before, after = lab.move(mask=to_device(mask))
    np.testing.assert_array_equal(after[~mask], before[~mask])
    close(after.mean(axis=0), before.mean(axis=0), rtol=1e-9, atol=1e-12)
    assert after[mask].std(axis=0).sum() < 0.9 * before[mask].std(axis=0).sum()


@pytest.mark.parametrize("peers", ["all", "ring"])
def test_consensus_does_not_spread_what_diverged(peers, backend):
    lab = Lab(f"consensus:peers={peers}", replicas=4)
    theta = to_host(lab.net.theta).copy()
    theta[2] = np.nan
    lab.net.theta[...] = to_device(theta)
    lab.move()
    np.testing.assert_array_equal(np.isfinite(to_host(lab.net.theta)).all(axis=1), [1, 1, 0, 1])
    with pytest.raises(UsageError, match="at least 2"):
        Lab("consensus")


@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
@pytest.mark.parametrize(
    "penalties",
    [(), ("cosine:strength=9", "srip", "l1-gates:gate=path,strength=2"), ("decov", "barlow")],
    ids=["alone", "on weights", "on activations"],
)
def test_local_alignment_is_backprop_if_its_feedback_were_the_weights(
    activation, penalties, backend
):
    """With penalties beside it too: their gradients of weights, and what second passes bring."""
    net = {"activation": activation}
    lab, plain = (
        Lab(*first, *penalties, replicas=2, net=net)
        for first in (("local-alignment:beta=1e-5,shrink=1",), ())
    )
    feedback = lab.techniques.placed[0].technique.kept
    for l in (1, 2):
        feedback[f"E{l}"] = lab.net.W[l].mT.copy()
    plain.step(until="edit")
    wanted = to_host(plain.net.dtheta).copy()
    lab.step(until="edit")
    close(lab.net.dtheta, wanted, rtol=0, atol=2e-5 * np.abs(wanted).max())


def test_local_alignment_reads_no_weight_backwards(backend):
    """Other weights above, with the same error at the outputs: the same updates below."""
    found = []
    for factor in (1.0, -3.0):
        lab = Lab("local-alignment", "decov:strength=0")
        trace = lab.net.forward(lab.X)
        task, dlogits = cross_entropy(trace.logits, lab.Y)
        lab.net.W[1][...] *= factor
        lab.net.W[2][...] *= factor
        step = lab.techniques.step(trace, lab.Y, task, dlogits)
        lab.net.backward(trace, dlogits)
        lab.techniques.after_backward(step)
        found.append([to_host(lab.net.dW[l]).copy() for l in (0, 1)])
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
        assert np.abs(one).max() > 1e-4


def test_the_feedback_of_local_alignment_changes_as_the_weights_do(backend):
    lab = Lab("local-alignment", replicas=2, optimizer=Adam)
    start = Lab(replicas=2)
    close(lab.net.W[0], start.net.W[0])
    feedback = lab.techniques.placed[0].technique.kept
    for l in (1, 2):
        close(lab.net.W[l], 0.1 * start.net.W[l])
    lab.step(until="edit")
    apart = {l: to_host(feedback[f"E{l}"] - lab.net.W[l].mT) for l in (1, 2)}
    for number in range(5):
        lab.step(number)
        for l in (1, 2):
            close(feedback[f"E{l}"] - lab.net.W[l].mT, apart[l], rtol=1e-9, atol=1e-12)
    assert np.abs(to_host(lab.net.W[1]) - 0.1 * to_host(start.net.W[1])).max() > 0.1


def test_local_alignment_learns_and_refuses_layers_it_cannot_pass():
    lab = Lab("local-alignment", lr=0.3)
    values = [float(to_host(lab.step(n).loss)) for n in range(80)]
    assert values[-1] < 0.75 * values[0]
    with pytest.raises(UsageError, match="has no rule for batch-norm"):
        Lab("local-alignment", "batch-norm")


# Together ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", sorted(map(sorted, CONFLICTS)))
def test_pairs_that_exclude_each_other_are_refused_in_one_sentence(pair):
    with pytest.raises(UsageError) as caught:
        Lab(*pair, replicas=2)
    message = str(caught.value)
    assert "\n" not in message
    assert "exclude each other" in message or "both own" in message
    assert all(name in message for name in pair)


def test_settings_that_would_be_silently_ignored_are_refused():
    for spec in ("gradient-projection:layers=1", "consensus:layers=2", "local-alignment:layers=1"):
        with pytest.raises(UsageError, match="acts on the whole network: it takes no layers"):
            Lab(spec, replicas=2)


def test_on_different_layers_they_are_allowed():
    Lab("batch-norm:layers=1", "zca-norm:layers=2").step()
    Lab("muon:layers=1", "cayley:layers=2").step()
    Lab("redo:layers=2", "cayley:layers=1").step()
    with pytest.raises(UsageError, match="both own the update of W1"):
        Lab("muon", "cayley:layers=2")
    for below in ("cayley", "toeplitz"):  # a neuron's outgoing weights are the next one's incoming
        with pytest.raises(UsageError, match="exclude each other"):
            Lab("redo:layers=1", f"{below}:layers=2")


# Each intervention keeps its invariant beside every other technique (technique_table.py) ---------


def watch_invariant(lab, technique, kept):
    """Test an intervention's invariant whenever it acts; the layer is then added to `kept`."""
    moment, promise = TABLE[technique.name].moment, TABLE[technique.name].keeps
    act = getattr(technique, moment)

    def watched(step, layer, *mask):
        old = {"step": step, "W": lab.W(layer - 1), "dW": to_host(lab.net.dW[layer - 1]).copy()}
        old |= {"theta": to_host(lab.net.theta).copy(), "outputs": outputs(lab)}
        old["next"] = next_layer(lab, layer)
        old["age"] = to_host(getattr(technique, "kept", {}).get(f"age{layer}", 0)).copy()
        act(step, layer, *mask)
        promise(lab, technique, layer, old)
        kept.append(layer)

    setattr(technique, moment, watched)


def test_every_intervention_has_a_row():
    assert {name for name, row in TABLE.items() if row.keeps} == set(NAMES)
    assert all(row.moment for row in TABLE.values() if row.keeps)


def allowed(*specs, **settings):
    """A lab with these techniques, or None where they exclude each other."""
    try:
        return Lab(*specs, **settings)
    except UsageError as error:
        message = str(error)
        if "own the update" in message or "has no rule for" in message or "exclude each" in message:
            return None
        raise


@pytest.mark.parametrize("first", NAMES)
def test_allowed_pairs_work_together(first):
    """Every intervention beside every other technique: it keeps its invariant, and all stays finite."""
    moment, promise = TABLE[first].moment, TABLE[first].keeps
    partners = 0
    for second in sorted(name for name, cls in TECHNIQUES.items() if not cls.needs):
        if second == first:
            continue
        lab = allowed(active(first), active(second), replicas=2, optimizer=Adam, lr=0.001)
        if lab is None:
            continue
        technique, kept = lab.techniques.placed[0].technique, []
        if moment != "end":
            watch_invariant(lab, technique, kept)
        try:
            for number in range(3):
                lab.step(number)
                for layer in (1, 2) if moment == "end" else ():
                    promise(lab, technique, layer, {})
                    kept.append(layer)
        except AssertionError as broken:
            raise AssertionError(f"{first} beside {second}: {broken}") from broken
        assert kept, second
        assert np.isfinite(to_host(lab.net.theta)).all(), second
        partners += 1
    assert partners >= 25


PENALTIES = sorted(
    name for name, cls in TECHNIQUES.items() if kind_of(cls) == "penalty" and not cls.needs
)


@pytest.mark.parametrize(
    "partner", [n for n, c in sorted(TECHNIQUES.items()) if kind_of(c) != "penalty"]
)
def test_penalties_move_what_they_move_alone_beside_every_partner(partner):
    """Each W that a penalty moves by itself is moved by it beside a partner, too."""

    def after_a_step(*specs):
        lab = Lab(*specs, replicas=2)
        lab.step()
        return [lab.W(l) for l in range(3)]

    def moved(many, few):
        return [np.abs(new - old).max() for new, old in zip(many, few, strict=True)]

    alone, beside = after_a_step(), after_a_step(active(partner))
    for name in PENALTIES:
        spec = f"{name}:strength=1"
        wanted = moved(after_a_step(spec), alone)
        found = moved(after_a_step(active(partner), spec), beside)
        assert max(wanted) > 1e-5, name
        if partner == "cayley" and TECHNIQUES[name].family == "weights" and name != "l1-gates":
            assert max(found) < 1e-9, name  # orthonormal columns minimise these penalties
            continue
        for l in range(3):
            assert found[l] > 1e-4 * wanted[l] or wanted[l] < 1e-5, (name, l)


def test_every_invariant_is_named_and_every_own_setting_has_help():
    for name in NAMES:
        assert TECHNIQUES[name].invariant, name
        for field in dataclasses.fields(TECHNIQUES[name]):
            assert field.metadata["help"], (name, field.name)
    assert place("redo").every == 100


@pytest.mark.parametrize("name", ["cayley", "reorthogonalise:every=1"])
@pytest.mark.parametrize("replicas", [None, 2])
def test_twin_neurons_become_orthogonal_too(name, replicas, backend):
    """W[:, 1] = W[:, 0] leaves a singular value of zero, which Newton's iteration cannot raise."""
    net = network([9, 6, 3], replicas=replicas, dtype="float64")
    net.W[0][..., 1] = net.W[0][..., 0]
    net.W[0][..., 4] = 2 * net.W[0][..., 3]
    optimizer = SGD(net, 0.0)
    techniques = Techniques(net, [name], optimizer)
    X, Y = to_device(numbers(8, 9)), to_device(labels(8, classes=3))
    trace = net.forward(X)
    step = techniques.step(trace, Y, *cross_entropy(trace.logits, Y))
    techniques.after_update(step)
    W = to_host(net.W[0])
    U = W / np.linalg.norm(W, axis=-2, keepdims=True)
    away = np.swapaxes(U, -1, -2) @ U - np.eye(6)
    np.testing.assert_allclose(away, 0 * away, atol=1e-6)
