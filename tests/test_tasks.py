"""The growing-networks paper's tasks: Bessel functions against SciPy, curves at their given points."""

import numpy as np
import pytest

from tinydiv.data import tasks
from tinydiv.errors import UsageError


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_bessel_functions_are_scipys(n):
    special = pytest.importorskip("scipy.special")
    x = np.linspace(-2 * np.pi, 2 * np.pi, 401)
    np.testing.assert_allclose(tasks.bessel(n, x), special.jv(n, x), rtol=0, atol=1e-13)


def test_bessel_of_what_is_easy():
    assert tasks.bessel(0, 0.0) == 1
    assert tasks.bessel(3, 0.0) == 0


def test_curves_pass_through_their_points():
    at = {name: lambda x, f=one.y: float(f(np.array([x]))[0]) for name, one in tasks.CURVES.items()}
    assert at["bessel-window"](-1) == pytest.approx(1)
    assert at["bessel-window"](1) == pytest.approx(-1)
    assert [at["cubic-2"](x) for x in (-1, 1)] == [-1, -1]
    assert at["cubic-2"](1 / 3) == pytest.approx(2 / 3)
    assert [at["quadratic-2"](x) for x in (-1, 1)] == [1, -0.5]
    for name, x in (("cubic-2", 1 / 3), ("quadratic-2", 1 / 2)):
        slope = (at[name](x + 1e-6) - at[name](x - 1e-6)) / 2e-6
        assert slope == pytest.approx(0, abs=1e-8)
    assert at["cubic"](0.4) == pytest.approx(-at["cubic-2"](0.4))
    assert [at["step"](x) for x in (-0.9, -0.25, 0.2, 0.75)] == [1, 0, 1, 0]


def test_points_are_drawn_anew_or_shared():
    anew, shared = tasks.points("cubic", [3, 4]), tasks.points("cubic", [3, 4], shared=True)
    assert anew.x.shape == (32, 2)
    assert anew.test_x.shape == (8, 2)
    np.testing.assert_array_equal(anew.x[:, 0], shared.x[:, 0])
    np.testing.assert_array_equal(shared.x[:, 0], shared.x[:, 1])
    assert (anew.x[:, 0] != anew.x[:, 1]).all()
    assert abs(anew.x).max() <= 1
    np.testing.assert_array_equal(anew.y, tasks.CURVES["cubic"].y(anew.x))


def test_what_cannot_be_is_one_sentence():
    with pytest.raises(UsageError, match="cubic"):
        tasks.points("cubik", [1])
    with pytest.raises(UsageError, match="got 0 and 8: one at least"):
        tasks.points("cubic", [1], 0)


@pytest.mark.parametrize("name", list(tasks.CURVES))
def test_a_curve_is_a_data_set_that_trains(name):
    from tinydiv.loop import train
    from tinydiv.mlp import MLP
    from tinydiv.optimizers import Adam

    data = tasks.dataset(name, seed=3, n_train=64, n_test=16)
    x = data.train_x.astype(float)
    np.testing.assert_allclose(
        data.train_y.reshape(-1), tasks.CURVES[name].y(x[:, 0]), rtol=0, atol=1e-5
    )
    net = MLP([1, 12, max(data.n_classes, 1)], "tanh")
    net.theta[...] = np.random.default_rng(0).normal(size=net.theta.shape)
    loss = "cross-entropy" if data.n_classes else "squared-error"
    records = train(net, data, Adam(net, 0.02), epochs=60, batch_size=16, loss=loss, metrics=[])
    assert records[-1].test_loss[0] < 0.5 * records[0].test_loss[0]


def test_a_mixture_has_its_clusters():
    data = tasks.mixture(seed=1, classes=3, inputs=4, clusters=1, spread=0.01)
    assert data.train_x.shape == (2000, 4)
    for k in range(3):
        mine = data.train_x[data.train_y == k]
        assert len(mine) > 500
        assert (mine.std(axis=0) < 0.02).all()
    again = tasks.mixture(seed=1, classes=3, inputs=4, clusters=1, spread=0.01)
    np.testing.assert_array_equal(again.test_x, data.test_x)
    with pytest.raises(UsageError, match="classes must be at least 2, got 1"):
        tasks.mixture(classes=1)
