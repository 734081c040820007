"""Random numbers: the published vectors, equal bits everywhere, and no pattern that a test can see."""

import numpy as np
import pytest
import standin
from helpers import close
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tinydiv import backend as backends
from tinydiv import philox, randomness
from tinydiv.backend import to_device, to_host, use
from tinydiv.errors import UsageError
from tinydiv.philox import Draws

# Philox4x32-10 -----------------------------------------------------------------------------------

KNOWN_ANSWERS = [  # (counter, key, answer), as published with the generator
    (
        [0, 0, 0, 0],
        [0, 0],
        [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8],
    ),
    (
        [0xFFFFFFFF] * 4,
        [0xFFFFFFFF] * 2,
        [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD],
    ),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_the_published_answers(backend, counter, key, answer):
    words = [to_device([[word]], dtype="uint64") for word in (*counter, *key)]
    assert [int(to_host(w)[0, 0]) for w in philox.ten_rounds(*words)] == answer


def by_hand(counter, key):
    """Philox once more, on Python's own whole numbers."""
    c, k = list(counter), list(key)
    for _ in range(10):
        high0, low0 = divmod(0xD2511F53 * c[0], 2**32)
        high1, low1 = divmod(0xCD9E8D57 * c[2], 2**32)
        c = [high1 ^ c[1] ^ k[0], low1, high0 ^ c[3] ^ k[1], low0]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return c


word = st.integers(0, 2**32 - 1)


@given(st.lists(st.tuples(word, word, word, word, word, word), min_size=1, max_size=5))
def test_any_counter_and_key_as_by_hand(rows):
    columns = [np.array(column, dtype="uint64") for column in zip(*rows, strict=True)]
    found = np.stack(philox.ten_rounds(*columns), axis=-1)
    assert found.tolist() == [by_hand(row[:4], row[4:]) for row in rows]


def test_the_counter_is_element_step_layer_and_the_key_is_the_seeds(backend):
    draws = Draws([5], "mask", replicated=False)
    key = randomness.seed_sequence(5, "mask").generate_state(2).tolist()
    wanted = [w for element in range(3) for w in by_hand((element, 7, 2, 0), key)]
    assert to_host(draws.bits((11,), step=7, layer=2)).tolist() == wanted[:11]


@pytest.mark.parametrize("step", [2**31, 2**32 - 1, 2**32, 2**40 + 7])
def test_after_a_month_of_steps_the_counter_s_last_word_counts_on(backend, step):
    draws = Draws([5], "mask", replicated=False)
    key = randomness.seed_sequence(5, "mask").generate_state(2).tolist()
    wanted = by_hand((0, step % 2**32, 2, step // 2**32), key)
    assert to_host(draws.bits((4,), step=step, layer=2)).tolist() == wanted
    draws.first = step - 1
    assert to_host(draws.bits((4,), step=1, layer=2)).tolist() == wanted


# Equal draws -------------------------------------------------------------------------------------


def test_every_backend_draws_the_same_bits():
    def drawn(module):
        use(module)
        draws = Draws([3, 4], "mask", replicated=True)
        return [
            to_host(a)
            for a in (
                draws.bits((5, 3), 9, 1),
                draws.keep(0.7, (5, 3), 9, 1),
                draws.uniform((5, 3), 9, 1, "float32"),
                draws.symmetric((5, 3), 9, 1, "float32"),
            )
        ]

    for one, other in zip(drawn("numpy"), drawn(standin), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def test_a_network_among_many_draws_what_it_draws_alone(backend):
    seeds = [11, 12, 13]
    together = Draws(seeds, "mask", replicated=True)
    for r, seed in enumerate(seeds):
        alone = Draws([seed], "mask", replicated=False)
        for shape in ((7,), (4, 5), (2, 3, 3)):
            mine = to_host(together.keep(0.4, shape, step=3, layer=1))[r]
            np.testing.assert_array_equal(mine, to_host(alone.keep(0.4, shape, 3, 1)))
    assert to_host(alone.bits((2, 3), 0)).shape == (2, 3)


@pytest.mark.parametrize("piece", [1, 3, 40, 1000])
def test_numbers_do_not_depend_on_the_pieces_they_are_drawn_in(monkeypatch, piece):
    draws = Draws([1, 2, 3], "noise", replicated=True)
    whole = draws.symmetric((5, 7), 2**33, 1, "float32")
    monkeypatch.setattr(backends, "PIECE", piece)
    np.testing.assert_array_equal(draws.symmetric((5, 7), 2**33, 1, "float32"), whole)


def test_drawing_needs_no_state_and_no_host(on_standin):
    draws = Draws([1, 2], "mask", replicated=True)
    with on_standin.counting() as counts:
        first = draws.keep(0.5, (64, 16), step=5, layer=1)
    draws.keep(0.5, (64, 16), step=6, layer=1)
    close(draws.keep(0.5, (64, 16), step=5, layer=1), first, rtol=0, atol=0)
    assert (counts.stops, counts.uploads) == (0, 0)
    assert counts.launches <= 12, counts.names["launches"]
    assert counts.names["launches"]["ten_rounds"] == 1


def test_a_longer_draw_begins_with_the_shorter_one(backend):
    draws = Draws([1], "mask", replicated=False)
    short, long = (to_host(draws.bits((n,), 0)) for n in (5, 50))
    assert short.tolist() == long[:5].tolist()


# No pattern --------------------------------------------------------------------------------------

MANY = 100_000


def uniform(seed=0, purpose="mask", step=0, layer=0):
    return Draws([seed], purpose, replicated=False).uniform((MANY,), step, layer, "float64")


def test_uniform_numbers_are_uniform():
    values = uniform()
    assert (values >= 0).all()
    assert (values < 1).all()
    assert stats.kstest(values, "uniform").pvalue > 0.01
    counts = np.bincount((values * 256).astype(int), minlength=256)
    assert stats.chisquare(counts).pvalue > 0.01


def test_every_bit_is_set_half_of_the_time():
    bits = Draws([0], "mask", replicated=False).bits((MANY,), 0)
    shares = [((bits >> i) & 1).mean() for i in range(32)]
    assert max(abs(share - 0.5) for share in shares) < 4 * 0.5 / MANY**0.5


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1},
        {"purpose": "redraw"},
        {"step": 1},
        {"layer": 1},
    ],
    ids=lambda other: next(iter(other)),
)
def test_another_seed_purpose_step_or_layer_is_independent(other):
    a, b = uniform(), uniform(**other)
    assert (a == b).mean() < 1e-4
    assert abs(np.corrcoef(a, b)[0, 1]) < 4 / MANY**0.5


def test_neighbours_are_independent():
    values = uniform()
    for lag in (1, 2, 3, 4, 16, 256):
        assert abs(np.corrcoef(values[:-lag], values[lag:])[0, 1]) < 4 / MANY**0.5


@pytest.mark.parametrize("probability", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_masks_keep_the_stated_share(probability):
    mask = Draws([0], "mask", replicated=False).keep(probability, (MANY,), 0, 0)
    spread = (probability * (1 - probability) / MANY) ** 0.5
    assert abs(mask.mean() - probability) <= 4 * spread
    assert mask.dtype == bool


def test_a_mask_keeps_exactly_the_uniform_numbers_below_the_probability():
    draws = Draws([0], "mask", replicated=False)
    first = float(draws.uniform((9,), 0, 0, "float64")[0])
    for probability, kept in ((first, False), (first + 2.0**-24, True)):
        assert draws.keep(probability, (9,), 0, 0)[0] == kept


def test_symmetric_numbers_have_mean_0_and_variance_1():
    values = Draws([0], "noise", replicated=False).symmetric((MANY,), 0, 0, "float64")
    assert abs(values.mean()) < 4 / MANY**0.5
    assert abs(values.var() - 1) < 0.01
    assert np.abs(values).max() < 3**0.5


def test_uniform_is_exact_in_both_dtypes(backend):
    draws = Draws([0], "noise", replicated=False)
    single, double = (to_host(draws.uniform((1000,), 0, 0, d)) for d in ("float32", "float64"))
    assert single.dtype == np.float32
    np.testing.assert_array_equal(single.astype("float64"), double)


# On the host -------------------------------------------------------------------------------------


def test_purposes_are_the_children_that_spawn_would_give():
    children = np.random.SeedSequence(42).spawn(len(randomness.PURPOSES))
    for purpose, child in zip(randomness.PURPOSES, children, strict=True):
        mine = randomness.seed_sequence(42, purpose)
        assert mine.generate_state(4).tolist() == child.generate_state(4).tolist()
        drawn = randomness.generator(42, purpose).random(3).tolist()
        assert drawn == np.random.default_rng(child).random(3).tolist()


def test_the_purposes_keep_their_places():
    """Their position is a part of every stream: a new one goes to the end."""
    first = ("start", "shuffle", "mask", "redraw", "noise", "split", "probe", "toy")
    assert randomness.PURPOSES[: len(first)] == first


@given(st.integers(0, 2**64), st.integers(0, 1000), st.integers(1, 50))
def test_an_epoch_s_order_is_a_permutation_that_needs_no_replay(seed, epoch, n):
    order = randomness.permutation(seed, epoch, n)
    assert sorted(order.tolist()) == list(range(n))
    np.testing.assert_array_equal(order, randomness.permutation(seed, epoch, n))


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = [tuple(randomness.permutation(s, e, 50)) for s in range(5) for e in range(5)]
    assert len(set(orders)) == 25


def test_orders_are_uniform():
    """All six orders of three samples, over epochs."""
    orders = [tuple(randomness.permutation(0, epoch, 3)) for epoch in range(3000)]
    counts = [orders.count(order) for order in sorted(set(orders))]
    assert len(counts) == 6
    assert stats.chisquare(counts).pvalue > 0.01


def test_replica_r_of_seed_s_is_the_network_of_seed_s_plus_r():
    assert randomness.replica_seeds(7, 3) == [7, 8, 9]
    assert randomness.replica_seeds(7, None) == [7]
    assert randomness.replica_seeds([5, 1, 5], 3) == [5, 1, 5]
    with pytest.raises(UsageError, match="3 networks need 3 seeds, got 2"):
        randomness.replica_seeds([1, 2], 3)


@pytest.mark.parametrize("seed", [-1, 1.5, True, "7", None])
def test_a_seed_is_a_whole_number_from_0_up(seed):
    with pytest.raises(UsageError, match="a seed is a whole number from 0 up"):
        randomness.seed_sequence(seed, "start")
