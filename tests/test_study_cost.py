"""Counted work: exact where it can be derived, unchanged numbers, rare actions by their share."""

from itertools import pairwise

import numpy as np
import pytest

from tinydiv import backend, optimizers
from tinydiv.backend import to_device, xp
from tinydiv.initializers import initialize
from tinydiv.losses import cross_entropy
from tinydiv.mlp import MLP
from tinydiv.study import sharing
from tinydiv.study.cost import start_seconds, step_cost, step_seconds
from tinydiv.study.keys import Measure, Training
from tinydiv.study.plan import TEST, Trial
from tinydiv.study.sharing import Origin
from tinydiv.techniques.counting import counting

DATA = "parity:bits=20,n_train=512,n_test=64"


@pytest.fixture
def cost_of(tmp_path):
    def cost(which=step_cost, **changes):
        training = Training(
            **{"data": DATA, "lr": 0.1, "batch_size": 32, "hidden": (8,), **changes}
        )
        origin = Origin.of(training, TEST)
        source = sharing.share(origin, sharing.load(origin), tmp_path)
        return which(Trial(training, 0, Measure()), source)

    return cost


@pytest.mark.parametrize(("hidden", "batch"), [((8,), 32), ((8, 5), 16), ((3, 4, 5), 64)])
def test_the_products_of_a_plain_step_are_three_forward_passes_less_one(cost_of, hidden, batch):
    sizes = [20, *hidden, 2]
    forward = 2 * batch * sum(a * b for a, b in pairwise(sizes))
    counted = cost_of(hidden=hidden, batch_size=batch)
    assert counted.product_flops == 3 * forward - 2 * batch * sizes[0] * sizes[1]
    assert counted.other_flops > 0
    assert counted.bytes > 0


def test_operations_are_counted_one_by_one():
    with counting() as counts:
        a = to_device(np.ones((3, 4, 5), np.float32))
        b = to_device(np.ones((5, 2), np.float32))
        before = counts.minus(type(counts)())
        c = backend.matmul(a, b)
        after = counts.minus(before)
        assert (after.product_flops, after.calls) == (2 * 3 * 4 * 5 * 2, 1)
        assert after.bytes == 4 * (60 + 10 + 24)

        before = counts.minus(type(counts)())
        total = xp.sum(xp.exp(c) * 2 + 1, axis=-1)
        after = counts.minus(before)
        assert (after.product_flops, after.other_flops, after.calls) == (0, 4 * 24, 4)
        assert total.shape == (3, 4)

        before = counts.minus(type(counts)())
        view = a.mT[0, :, 1:3].reshape(-1)
        a[:, 0] = 7
        gathered = a[:, to_device(np.array([0, 2]))]
        after = counts.minus(before)
        assert view.shape == (10,)
        assert gathered.shape == (3, 2, 5)
        assert after.other_flops == 0

        before = counts.minus(type(counts)())
        xp.linalg.eigvalsh(to_device(np.eye(6)))
        after = counts.minus(before)
        assert after.other_flops == pytest.approx(4 / 3 * 6**3)


def test_counting_changes_numbers_by_rounding_alone_and_gives_the_backend_back():
    X = np.random.default_rng(0).normal(size=(16, 6)).astype(np.float32)
    Y = np.arange(16) % 3

    def trained():
        net = MLP([6, 4, 3], replicas=2)
        initialize(net, "he-normal", 0)
        optimizer = optimizers.Adam(net, [0.01, 0.02])
        for _ in range(5):
            trace = net.forward(to_device(X))
            net.backward(trace, cross_entropy(trace.logits, to_device(Y))[1])
            optimizer.step()
        return np.asarray(backend.to_host(net.theta))

    plain = trained()
    with counting() as counts:
        # Sums over samples are products on NumPy, and sums where they are counted.
        np.testing.assert_allclose(trained(), plain, rtol=1e-5, atol=1e-7)
        assert backend.name() == "counting"
    assert counts.product_flops > 0
    assert backend.name() == "numpy"
    assert type(xp.zeros(3)) is np.ndarray


def test_what_a_technique_adds_is_counted_and_rare_actions_cost_their_share(cost_of):
    plain = cost_of()
    decov = cost_of(technique=("decov:strength={strength}",), strength=0.1)
    # Two more products on the activations: C'C and C S, 2 B H H flops each.
    assert decov.product_flops - plain.product_flops == 2 * 2 * 32 * 8 * 8
    assert decov.calls > plain.calls
    often = cost_of(technique=("merge-recycle:every=5,threshold=0",))
    seldom = cost_of(technique=("merge-recycle:every=50,threshold=0",))
    extra = often.product_flops - plain.product_flops
    assert extra > 0
    assert seldom.product_flops - plain.product_flops == pytest.approx(extra / 10)
    sgd = cost_of(optimizer="sgd", lr=0.1)
    assert sgd.product_flops == plain.product_flops
    assert sgd.bytes < plain.bytes


def test_times_are_measured(cost_of):
    assert 1e-7 < cost_of(step_seconds) < 0.1
    assert 1e-7 < cost_of(start_seconds) < 0.1
    deeper = cost_of(step_seconds, hidden=(256, 256), batch_size=128)
    assert deeper > 2 * cost_of(step_seconds)
