"""A controller that opens a layer, for all seeds at once: its starts, its points, and its training."""

import numpy as np
import pytest
from helpers import close, numbers

from tinydiv.backend import to_host
from tinydiv.data import tasks
from tinydiv.data.toys import make_toy
from tinydiv.growing import mask
from tinydiv.growing.mask import MaskSetting


def test_mask_arms_start_alike_and_are_paired():
    setting = MaskSetting(points=60)
    nets = {
        name: mask.started(mask.ARMS[name], setting, 1, 1, [3, 4])
        for name in ("static", "gate", "mask", "mask-plain")
    }
    for l in range(2):
        for name in ("gate", "mask", "mask-plain"):
            close(nets[name].W[l], to_host(nets["static"].W[l]))
            close(nets[name].b[l], to_host(nets["static"].b[l]))


def test_weights_start_uniformly_and_the_controller_near_zero(backend):
    """Up to 1/sqrt(fan-in), where c counts as an input; c from N(0, 1e-5^2), or 1 for full size."""
    seeds, n_in, H = list(range(60)), 2, 20
    nets = {
        arm: mask.started(mask.ARMS[arm], MaskSetting("spirals", H), n_in, 5, seeds)
        for arm in ("static", "mask")
    }
    for net in nets.values():
        for names, limit in (
            (("W0", "b0", "w[size-mask.1]"), 1 / np.sqrt(n_in + 1)),
            (("W1", "b1"), 1 / np.sqrt(H)),
        ):
            for name in names:
                drawn = to_host(net.view(net.theta, name))
                assert 0.98 * limit < drawn.max() <= limit * (1 + 1e-6)
                assert 0.98 * limit < -drawn.min() <= limit * (1 + 1e-6)
                assert abs(drawn.mean()) < 0.1 * limit
        theta = to_host(net.theta)
        assert len(np.unique(theta[0])) > 0.99 * theta.shape[1]  # no block is drawn twice
    found = {arm: to_host(net.view(net.theta, "c[size-mask.1]")) for arm, net in nets.items()}
    assert (found["static"] == 1).all()
    assert 0.8e-5 < found["mask"].std() < 1.2e-5


def test_every_seed_splits_the_curve_anew(backend):
    """All points of the curve, which is stretched to [-1, 1]; 4 of 5 to train."""
    X, Y, test_x, test_y = map(to_host, mask.data_of(MaskSetting(points=60), [3, 4]))
    assert X.shape == Y.shape == (2, 48, 1)
    assert test_x.shape == test_y.shape == (2, 12, 1)
    assert not np.array_equal(X[0], X[1])
    x = np.linspace(-1, 1, 60)
    curve = tasks.bessel_sum(x)
    y = np.interp(curve, (curve.min(), curve.max()), (-1, 1))
    for r in range(2):
        mine, values = (np.concatenate(p)[:, 0] for p in ((X[r], test_x[r]), (Y[r], test_y[r])))
        order = np.argsort(mine)
        np.testing.assert_allclose(mine[order], x, atol=1e-6)
        np.testing.assert_allclose(values[order], y, atol=1e-6)


def test_every_seed_has_spirals_of_its_own(backend):
    found = list(map(to_host, mask.data_of(MaskSetting("spirals", points=50), [3, 4])))
    for r, seed in enumerate((3, 4)):
        toy = make_toy("spirals", seed, {"n_train": 40, "n_test": 10})
        for mine, right in zip(
            found, (toy.train_x, toy.train_y, toy.test_x, toy.test_y), strict=True
        ):
            np.testing.assert_allclose(mine[r], right, rtol=1e-6)


def test_the_mean_square_has_no_half(backend):
    outputs, targets = numbers(2, 7, 3, seed=1), numbers(2, 7, 3, seed=2)
    value, gradient = mask.mean_square(outputs, targets)
    difference = to_host(outputs) - to_host(targets)
    close(value, (difference**2).sum(axis=-1).mean(axis=-1))
    close(gradient, 2 * difference / 7)


@pytest.mark.parametrize("task", mask.TASKS)
def test_the_results_are_those_of_the_last_step_and_the_moments(task):
    """Shapes, kinds, and the first moment: what the start itself gives."""
    setting, seeds = MaskSetting(task, 4, 0.01, epochs=7, points=50), [3, 4]
    found = mask.work(setting, "mask", seeds, moments=3)
    assert {type(value) for value in found.values()} == {np.ndarray}
    assert found["seed"].tolist() == seeds
    assert found["epochs"].tolist() == [0, 2, 4, 6]
    assert found["sizes"].shape == found["tests"].shape == (4, 2)
    X, _, test_x, test_y = mask.data_of(setting, seeds)
    net = mask.started(
        mask.ARMS["mask"], setting, X.shape[-1], 5 if task == "spirals" else 1, seeds
    )
    logits, right = to_host(net.forward(test_x).logits), to_host(test_y)
    if task == "spirals":
        wanted = (logits.argmax(axis=-1) == right).mean(axis=-1)
    else:
        wanted = ((logits - right) ** 2).mean(axis=(-2, -1))
    np.testing.assert_allclose(found["tests"][0], wanted, rtol=1e-6)
    longer = mask.work(MaskSetting(task, 4, 0.01, epochs=8, points=50), "mask", seeds, moments=8)
    np.testing.assert_allclose(found["test"], longer["tests"][7], rtol=1e-6)
    np.testing.assert_allclose(found["size"], longer["sizes"][7], rtol=1e-6)


def test_an_open_schedule_does_not_depend_on_the_task():
    """The controllers of all seeds go the same way in the released form, not with the task's gradient."""
    spread = {}
    for arm in ("gate", "gate-closed"):
        found = mask.work(MaskSetting(epochs=400, points=60), arm, [0, 1, 2, 3])
        spread[arm] = np.ptp(found["sizes"][-1])
    assert spread["gate"] < 1e-3 < spread["gate-closed"]
