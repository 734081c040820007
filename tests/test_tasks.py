"""The growing-networks paper's tasks: Bessel functions against SciPy, curves, and data sets by name."""

import numpy as np
import pytest

from tinydiv.data import load, tasks
from tinydiv.errors import UsageError
from tinydiv.runs.build import build, load_data
from tinydiv.runs.config import CURVES, TrainConfig
from tinydiv.study.specification import resolve


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
def test_a_curve_is_a_data_set_by_name(name):
    data = load(name, seed=3, n_train=64, n_test=16)
    trial = tasks.points(name, [3], 64, 16)
    assert data.train_x.dtype == np.float32
    assert data.regression == (name != "step")
    for part in ("train", "test"):
        x, y = (getattr(trial, axis if part == "train" else f"test_{axis}") for axis in "xy")
        np.testing.assert_array_equal(getattr(data, f"{part}_x"), x.astype(np.float32))
        np.testing.assert_array_equal(getattr(data, f"{part}_y").reshape(-1, 1), y)
    assert (load(name, seed=4).train_x != load(name, seed=3).train_x).all()
    assert load(name).train_x.shape == (32, 1)
    assert load(name).test_x.shape == (8, 1)


@pytest.mark.parametrize("name", ["cubic", "step"])
def test_a_curve_is_learned_with_the_defaults(name):
    """Ten seeds at once: the loss falls to a fraction of the untrained networks'."""
    run = build(TrainConfig(data=f"{name}:seed=1", replicas=10, metrics=()))
    run.train()
    first, last = (np.mean(run.records[i].train_loss) for i in (0, -1))
    assert last < {"cubic": 0.05, "step": 0.6}[name] * first
    assert (run.config.lr, run.config.epochs) == ((0.03,), 1000)


def test_a_study_takes_a_curve_for_all_arms():
    resolved = resolve([("[train]", {"data": "cubic:seed=2"})])
    assert (resolved.lr, resolved.epochs) == (0.03, 1000)


def test_a_mixture_has_its_clusters():
    settings = {"seed": 1, "classes": 3, "dimensions": 4, "clusters": 1, "spread": 0.01}
    data = load("mixture", **settings)
    assert data.train_x.shape == (2000, 4)
    assert data.classes == ("class 0", "class 1", "class 2")
    for k in range(3):
        mine = data.train_x[data.train_y == k]
        assert len(mine) > 500
        assert (mine.std(axis=0) < 0.02).all()
        tested = data.test_x[data.test_y == k]
        np.testing.assert_allclose(tested.mean(axis=0), mine.mean(axis=0), atol=5e-3)
    np.testing.assert_array_equal(load("mixture", **settings).test_x, data.test_x)
    assert (load("mixture", **settings | {"seed": 2}).test_x != data.test_x).all()


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("mixture:classes=1", "classes is a whole number from 2 to 1000, got 1"),
        ("mixture:dimensions=0", "dimensions is a whole number from 1 to 1000, got 0"),
        ("mixture:clusters=0", "clusters is a whole number from 1 to 1000, got 0"),
        ("mixture:spread=-1", "spread is a number from 0 to 100, got -1"),
        ("mixture:n_train=0", "n_train is a whole number from 1 to"),
        ("cubic:n_test=0", "n_test is a whole number from 1 to"),
        ("cubic:arms=3", "there is no setting of the toy set 'cubic' called 'arms'|'arms'"),
        ("cubik", "'cubic'"),
    ],
)
def test_a_task_that_cannot_be_is_one_sentence(spec, sentence):
    with pytest.raises(UsageError, match=sentence) as caught:
        load_data(spec, "raw")
    assert "\n" not in str(caught.value)


def test_every_curve_has_its_epochs():
    assert list(tasks.CURVES) == CURVES
