"""Many trials of learned sizes at once: the numbers of the general network, and gradients of each arm."""

import dataclasses

import numpy as np
import pytest

from tinydiv import diversity
from tinydiv.backend import to_device, to_host
from tinydiv.errors import UsageError
from tinydiv.growing.auxiliary import (
    ARMS,
    PUBLISHED,
    AuxiliarySetting,
    Trials,
    effective_rank,
    forward,
    theta,
    train,
)
from tinydiv.losses import binary_cross_entropy, squared_error
from tinydiv.mlp import MLP
from tinydiv.optimizers import SGD
from tinydiv.techniques import Techniques, layers_of
from tinydiv.techniques.sized import sized_at

STEPS = 300


def general(arm, setting, seeds):
    """The same training by MLP, learned-size and size-loss: half the squared error, so twice the rate."""
    half = 1 if setting.task == "step" else 2
    specs = [f"learned-size:rate=1,size_input={str(arm.fed == 'size').lower()}"]
    specs += [f"size-loss:goal={setting.goal:g},strength={setting.lam / half!r}"]
    trials = Trials(setting, seeds)
    net = MLP([1, setting.room, 1], "tanh", len(seeds), "float64", layers_of(specs))
    net.W[0][:, 0, :] = to_device(to_host(trials.w2).T)
    net.b[0][:, 0, :] = to_device(to_host(trials.b).T)
    net.W[1][:, :, 0] = to_device(to_host(trials.w3).T)
    net.b[1][:, 0, 0] = to_device(to_host(trials.b3))
    if arm.fed == "size":
        net.view(net.theta, "w[learned-size.1]")[:, 0, :] = to_device(to_host(trials.w1).T)
    sized_at(net, 1).size[...] = 0 if arm.start == "0" else setting.goal
    optimizer = SGD(net, setting.rate * half)
    loss = binary_cross_entropy if setting.task == "step" else squared_error
    techniques = Techniques(net, specs, optimizer, loss=loss)
    X, Y, test_x, _ = (to_device(np.ascontiguousarray(a.T[:, :, None])) for a in trials.points)
    for number in range(setting.epochs):
        trace = net.forward(X)
        value, dlogits = loss(trace.logits, Y)
        techniques.backward(techniques.step(trace, Y, value, dlogits, number))
        optimizer.step()
    grid = to_device(np.linspace(-1, 1, 101)[:, None])
    rank = to_host(diversity.measure(net, net.forward(grid), ["effective_rank"])["effective_rank"])
    outputs, size = net.forward(test_x).logits[:, :, 0], sized_at(net, 1).size
    return to_host(outputs).T, to_host(size).ravel(), rank


@pytest.mark.parametrize("arm", ["growing", "grown", "growing-plain", "grown-plain"])
@pytest.mark.parametrize("task", ["cubic", "step"])
def test_trials_are_the_general_networks(arm, task, backend):
    setting = dataclasses.replace(PUBLISHED[task], epochs=STEPS, rate=0.05, goal=3.5, lam=0.2)
    trials = Trials(setting, [3, 8, 9])
    outcome = train(ARMS[arm], trials)
    outputs, sizes, rank = general(ARMS[arm], setting, [3, 8, 9])
    np.testing.assert_allclose(outcome.size, sizes, rtol=1e-12)
    np.testing.assert_allclose(outcome.rank, rank, rtol=1e-6)
    y = trials.points.test_y
    if task == "step":
        wanted = np.mean(np.logaddexp(0, outputs) - outputs * y, axis=0)
    else:
        wanted = np.mean((outputs - y) ** 2, axis=0)
    np.testing.assert_allclose(outcome.test, wanted, rtol=1e-11)
    assert outcome.size[0] > 0.5


@pytest.mark.parametrize("arm", list(ARMS))
def test_every_arms_gradient_is_the_losses(arm, backend):
    """One step of gradient descent, against numerical derivatives of the loss."""
    setting = AuxiliarySetting("cubic", 1, 1e-3, 0.1, goal=2.3, room=4)
    one = ARMS[arm]
    before = Trials(setting, [5])

    def total(**moved):
        from tinydiv.growing.auxiliary import loss

        trials = Trials(setting, [5])
        trials.N[...] = 0 if one.start == "0" else setting.goal
        for name, change in moved.items():
            getattr(trials, name)[...] += to_device(change)
        size = float(to_host(trials.N)[0])
        return loss(one, trials, "train")[0][0] + setting.lam * (size - setting.goal) ** 2

    after = Trials(setting, [5])
    train(one, after)
    start = 0 if one.start == "0" else setting.goal
    for name in ("w1", "w2", "w3", "b", "b3", "N"):
        old = np.full(1, float(start)) if name == "N" else to_host(getattr(before, name))
        step = (old - to_host(getattr(after, name))) / setting.rate
        numeric = np.zeros_like(old)
        for i in np.ndindex(old.shape):
            nudge = np.zeros_like(old)
            nudge[i] = 1e-6
            numeric[i] = float(total(**{name: nudge}) - total(**{name: -nudge})) / 2e-6
        np.testing.assert_allclose(step, numeric, atol=2e-8, err_msg=name)


@pytest.mark.parametrize("delta", [0.6, 1.0, 2.5])
def test_a_gate_opens_over_delta_with_the_slope_of_its_curve(delta, backend):
    u = np.linspace(-1, 3.5, 91)
    g, slope = map(to_host, theta(to_device(u), delta))
    inside = (u > 0) & (u < delta)
    np.testing.assert_allclose(
        g, np.where(inside, 0.5 - 0.5 * np.cos(np.pi * u / delta), u > 0), atol=1e-15
    )
    assert (slope[~inside] == 0).all()  # exactly: a neuron that is shut, or open, moves no size
    step = 1e-6
    above, below = (to_host(theta(to_device(u + by), delta)[0]) for by in (step, -step))
    numeric = (above - below) / (2 * step)
    np.testing.assert_allclose(slope, numeric, atol=1e-5)


@pytest.mark.parametrize("arm", ["growing", "gate-ramps", "input-ramps", "grown-input-1"])
def test_the_activations_of_a_curve_are_gated(arm, backend):
    """forward's second result: what each neuron adds to the curve is its weight times this."""
    trials = Trials(dataclasses.replace(PUBLISHED["cubic"], goal=3.0), [5, 6])
    trials.N[...] = to_device(np.array([2.3, 1.5]))
    x = np.linspace(-1, 1, 7)
    outputs, S = map(to_host, forward(ARMS[arm], trials, to_device(x[:, None])))
    w1, w2, w3, b = (to_host(a) for a in (trials.w1, trials.w2, trials.w3, trials.b))
    for t, N in enumerate((2.3, 1.5)):
        fed = {"gate-ramps": 3.0, "grown-input-1": 1.0}.get(arm, N)
        for h in range(9):
            u = np.clip((3.0 if arm == "input-ramps" else N) - h, 0, 1)
            wanted = np.tanh(b[h, t] + fed * w1[h, t] + x * w2[h, t]) * np.sin(np.pi / 2 * u) ** 2
            np.testing.assert_allclose(S[:, h, t], wanted, atol=1e-14)
        np.testing.assert_allclose(outputs[:, t], S[:, :, t] @ w3[:, t] + to_host(trials.b3)[t])


def test_arms_are_paired_and_trials_alone():
    setting = dataclasses.replace(PUBLISHED["cubic"], epochs=20)
    many, few = (Trials(setting, seeds) for seeds in (range(5), [3]))
    outcomes = [train(ARMS["growing"], trials) for trials in (many, few)]
    assert outcomes[0].test[3] == outcomes[1].test[0]
    fresh = Trials(setting, range(5))
    for name, array in vars(Trials(setting, range(5))).items():
        if name.startswith(("w", "b")):  # no two arms may share an array that one of them moves
            np.testing.assert_array_equal(to_host(array), to_host(getattr(fresh, name)))
    assert (to_host(fresh.b3) != to_host(many.b3)).all()


def test_moments_show_the_size_on_its_way():
    setting = dataclasses.replace(PUBLISHED["cubic"], epochs=2000, rate=0.01)
    seen = []
    outcome = train(
        *(ARMS["growing"], Trials(setting, range(4))),
        moments=10,
        on_moment=lambda epoch, trials: seen.append((epoch, float(to_host(trials.N)[0]))),
    )
    assert outcome.epochs == list(range(0, 2001, 200))
    assert seen == list(zip(outcome.epochs, outcome.sizes[:, 0], strict=True))
    assert train(ARMS["growing"], Trials(setting, [1])).epochs == []
    assert outcome.sizes.shape == outcome.losses.shape == (11, 4)
    assert (np.diff(outcome.sizes.mean(axis=1)) > 0).all()
    assert (outcome.rank > 0).all()


def test_the_rank_counts_independent_neurons(backend):
    """Three neurons: two of them alike, all apart, of variances 4 and 1, constant, and diverged."""
    t = 2 * np.pi * np.arange(60) / 60
    waves = np.sqrt(2) * np.stack([np.sin(t), np.cos(t), np.sin(2 * t)], axis=1) + 5
    constant, one = 0 * waves[:, 0] + 3, waves[:, 0]
    trials = [
        np.stack([one, one, constant], axis=1),
        waves,
        np.stack([2 * one, waves[:, 1], constant], axis=1),
        np.stack([constant] * 3, axis=1),
        waves * np.nan,
    ]
    found = to_host(effective_rank(to_device(np.stack(trials, axis=-1))))
    halves = np.exp(-(0.8 * np.log(0.8) + 0.2 * np.log(0.2)))
    np.testing.assert_allclose(found, [1, 3, halves, 0, 0], rtol=1e-9)


def test_a_trial_that_diverges_leaves_the_others_alone():
    setting = dataclasses.replace(PUBLISHED["cubic"], epochs=30)
    alone, beside = Trials(setting, [1]), Trials(setting, [1, 2])
    beside.w3[:, 1] = np.nan
    found = train(ARMS["growing"], beside)
    assert np.isnan(found.test[1])
    outcome = train(ARMS["growing"], alone)
    for name in ("test", "train", "size", "rank"):
        np.testing.assert_allclose(getattr(found, name)[0], getattr(outcome, name)[0], rtol=1e-12)


def test_weights_start_uniformly_from_minus_one_to_one():
    trials = Trials(PUBLISHED["cubic"], range(200))
    assert trials.w1.shape == trials.w2.shape == trials.w3.shape == trials.b.shape == (9, 200)
    drawn = [to_host(getattr(trials, name)) for name in ("w1", "w2", "w3", "b", "b3")]
    for one in drawn:
        assert 0.98 < abs(one).max() <= 1
        assert abs(one.mean()) < 0.15
    together = np.concatenate([one.ravel() for one in drawn])
    assert len(np.unique(together)) == len(together)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"room": 0}, "at least one neuron, got room = 0"),
        ({"goal": 10}, "the goal 10 is too large"),
        ({"lam": -1}, "lambda must be 0 or more, got -1"),
        ({"task": "kubik"}, "task"),
        ({"n_test": 0}, "one at least"),
    ],
)
def test_what_cannot_be_is_one_sentence(change, sentence):
    with pytest.raises(UsageError, match=sentence):
        Trials(dataclasses.replace(PUBLISHED["cubic"], **change), [1])
