"""Products without copies: every layout that a step needs, held against numpy.matmul."""

import numpy as np
import pytest
from helpers import close, numbers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tinydiv import backend as backends
from tinydiv import products
from tinydiv.backend import matmul, to_device, to_host, xp
from tinydiv.products import Operand, operand

# How operands lie in memory ----------------------------------------------------------------------
#
# Each layout takes (values, replicas) -> a device array with these values, lying in its own way.
# Values are (R, rows, cols), or (rows, cols) for the layouts that all networks share.


def plain(values):
    return to_device(values)


def transposed(values):
    return to_device(np.ascontiguousarray(values.swapaxes(-1, -2))).mT


def in_theta(values):
    """A block of a wider buffer, one row per network, as W[l] lies in theta."""
    lead, size = values.shape[:-2], int(np.prod(values.shape[-2:]))
    buffer = np.full((*lead, size + 5), np.nan, values.dtype)
    buffer[..., 3 : 3 + size] = values.reshape(*lead, size)
    return to_device(buffer)[..., 3 : 3 + size].reshape(values.shape)


def in_theta_transposed(values):
    return in_theta(np.ascontiguousarray(values.swapaxes(-1, -2))).mT


def some_columns(values):
    wide = np.full((*values.shape[:-1], values.shape[-1] + 4), np.nan, values.dtype)
    wide[..., 2:-2] = values
    return to_device(wide)[..., 2:-2]


def every_second(values):
    wide = np.full((*values.shape[:-2], *(2 * n for n in values.shape[-2:])), np.nan, values.dtype)
    wide[..., ::2, ::2] = values
    return to_device(wide)[..., ::2, ::2]


def backwards(values):
    return to_device(np.ascontiguousarray(values[::-1]))[::-1]


def repeated(values):
    """One matrix for all networks, by a stride of 0 (the first network's, for all)."""
    return xp.broadcast_to(to_device(values[:1].copy()), values.shape)


IN_PLACE = [plain, transposed, in_theta, in_theta_transposed, some_columns]
"""Layouts that cuBLAS takes as they are."""
COPIED = [every_second, backwards]
"""Layouts that have no leading dimension, or run backwards."""

sizes = st.integers(1, 5)
dtypes = st.sampled_from(["float32", "float64"])


def drawn(shape, dtype, seed):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def assert_product(result, a, b):
    tolerance = 1e-5 if a.dtype == np.float32 else 1e-13
    np.testing.assert_allclose(to_host(result), np.matmul(a, b), rtol=tolerance, atol=tolerance)
    assert to_host(result).dtype == a.dtype


@given(
    st.sampled_from(IN_PLACE + COPIED),
    st.sampled_from(IN_PLACE + COPIED),
    st.tuples(st.integers(1, 4), sizes, sizes, sizes),
    dtypes,
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
def test_networks_each_with_their_own_operands(backend, layout_a, layout_b, shape, dtype):
    R, m, k, n = shape
    a, b = drawn((R, m, k), dtype, 1), drawn((R, k, n), dtype, 2)
    assert_product(matmul(layout_a(a), layout_b(b)), a, b)


@given(
    st.sampled_from(IN_PLACE),
    st.sampled_from(IN_PLACE),
    st.tuples(st.integers(1, 4), sizes, sizes, sizes),
    st.sampled_from(["first", "second", "both", "first of one", "second of one", "repeated"]),
    dtypes,
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
def test_operands_that_networks_share(backend, layout_a, layout_b, shape, shared, dtype):
    R, m, k, n = shape
    a, b = drawn((R, m, k), dtype, 1), drawn((R, k, n), dtype, 2)
    if shared in ("first", "both"):
        a = a[0]
    if shared in ("second", "both"):
        b = b[0]
    if shared == "first of one":
        a = a[:1]
    if shared == "second of one":
        b = b[:1]
    if shared == "repeated":
        assert_product(matmul(repeated(a), layout_b(b)), np.broadcast_to(a[:1], a.shape), b)
    else:
        assert_product(matmul(layout_a(a), layout_b(b)), a, b)


@given(
    st.sampled_from(IN_PLACE),
    st.sampled_from(IN_PLACE + COPIED),
    st.tuples(st.sampled_from([(), (1,), (3,)]), sizes, sizes, sizes),
    dtypes,
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
def test_the_result_is_written_to_out_and_nowhere_else(backend, layout, place, shape, dtype):
    lead, m, k, n = shape
    if place is backwards and not lead:
        place = transposed
    a, b = drawn((*lead, m, k), dtype, 1), drawn((*lead, k, n), dtype, 2)
    out = place(np.zeros((*lead, m, n), dtype))
    assert matmul(layout(a), layout(b), out=out) is out
    assert_product(out, a, b)


def test_the_neighbours_of_a_block_of_theta_stay_as_they_were(backend):
    a, b = drawn((3, 2, 4), "float32", 1), drawn((3, 4, 5), "float32", 2)
    buffer = xp.full((3, 30), 7.0, dtype="float32")
    matmul(to_device(a), to_device(b), out=buffer[:, 8:18].reshape(3, 2, 5))
    host = to_host(buffer)
    np.testing.assert_allclose(host[:, 8:18].reshape(3, 2, 5), a @ b, rtol=1e-5)
    assert (np.delete(host, np.s_[8:18], axis=1) == 7.0).all()


# What is copied ----------------------------------------------------------------------------------


@pytest.mark.parametrize("layout_b", IN_PLACE)
@pytest.mark.parametrize("layout_a", IN_PLACE)
@pytest.mark.parametrize("place", [plain, in_theta, some_columns])
def test_a_step_s_layouts_are_one_launch_without_a_copy(on_standin, layout_a, layout_b, place):
    a, b = layout_a(drawn((3, 4, 5), "float32", 1)), layout_b(drawn((3, 5, 2), "float32", 2))
    out = place(np.zeros((3, 4, 2), "float32"))
    with on_standin.counting() as counts:
        matmul(a, b, out=out)
        matmul(a[0], b)
        matmul(a, b[0])
        matmul(repeated(drawn((3, 4, 5), "float32", 1)), b)
    assert (counts.copies, counts.names["launches"]["product"]) == (0, 4)
    assert counts.stops == 0


@pytest.mark.parametrize("layout", COPIED)
def test_only_the_operand_that_lies_in_no_order_is_copied(on_standin, layout):
    a, b = layout(drawn((3, 4, 5), "float32", 1)), plain(drawn((3, 5, 2), "float32", 2))
    for product in (lambda: matmul(a, b), lambda: matmul(b.mT, a.mT)):
        with on_standin.counting() as counts:
            product()
        assert counts.copies == 1


@pytest.mark.parametrize("place", [transposed, every_second, backwards])
def test_a_result_that_no_product_can_write_is_copied_into_place(on_standin, place):
    a, b = plain(drawn((3, 4, 5), "float32", 1)), plain(drawn((3, 5, 2), "float32", 2))
    out = place(np.zeros((3, 4, 2), "float32"))
    with on_standin.counting() as counts:
        matmul(a, b, out=out)
    assert counts.copies == 1


# What goes another way ---------------------------------------------------------------------------


@pytest.mark.parametrize("out", [False, True])
@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.arange(6).reshape(2, 3), np.arange(12).reshape(3, 4)),
        (drawn((2, 3, 4, 5), "float32", 1), drawn((2, 3, 5, 2), "float32", 2)),
        (drawn((2, 3, 4, 5), "float64", 1), drawn((5, 2), "float64", 2)),
        (drawn((3, 0), "float32", 1), drawn((0, 4), "float32", 2)),
        (drawn((2, 0, 3), "float32", 1), drawn((3, 4), "float32", 2)),
        (drawn((2, 3), "float32", 1), drawn((3, 4), "float64", 2)),
    ],
    ids=["integers", "two leading axes", "shared", "nothing to sum", "no rows", "two dtypes"],
)
def test_products_that_need_several_cublas_calls_are_right(backend, a, b, out):
    expected = np.matmul(a, b)
    place = xp.ones(expected.shape, dtype=expected.dtype) if out else None
    result = matmul(to_device(a), to_device(b), out=place)
    np.testing.assert_allclose(to_host(result), expected, rtol=1e-5)
    assert result.dtype == expected.dtype
    assert result is place or not out


@pytest.mark.parametrize(
    ("shape_a", "shape_b"), [((2, 3), (4, 2)), ((2, 2, 3), (3, 3, 4)), ((2, 2, 3), (2, 4, 3))]
)
def test_shapes_that_do_not_fit_are_refused(backend, shape_a, shape_b):
    with pytest.raises(ValueError, match=r"(?i)shape|mismatch|broadcast"):
        matmul(xp.ones(shape_a), xp.ones(shape_b))


# The description of one operand ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "strides", "batch", "expected"),
    [
        ((4, 5), (5, 1), 1, Operand(False, 5, 0)),
        ((4, 5), (9, 1), 1, Operand(False, 9, 0)),
        ((4, 5), (1, 4), 1, Operand(True, 4, 0)),
        ((4, 5), (1, 7), 1, Operand(True, 7, 0)),
        ((3, 4, 5), (100, 5, 1), 3, Operand(False, 5, 100)),
        ((3, 4, 5), (0, 5, 1), 3, Operand(False, 5, 0)),
        ((1, 4, 5), (100, 5, 1), 3, Operand(False, 5, 0)),
        ((1, 5), (77, 1), 1, Operand(False, 5, 0)),
        ((5, 1), (6, 1), 1, Operand(False, 6, 0)),
        ((5, 1), (1, 1), 1, Operand(False, 1, 0)),
        ((1, 5), (1, 3), 1, Operand(True, 3, 0)),
        ((4, 5), (10, 2), 1, None),
        ((4, 5), (-5, 1), 1, None),
        ((4, 5), (0, 1), 1, None),
        ((4, 5), (3, 1), 1, None),
        ((3, 4, 5), (-20, 5, 1), 3, None),
        ((2, 4, 5), (20, 5, 1), 3, None),
    ],
)
def test_an_operand_is_described_by_its_strides(shape, strides, batch, expected):
    assert operand(shape, strides, batch) == expected


def test_a_layout_is_worked_out_once(on_standin, monkeypatch):
    """A second product of the same layout goes straight to the call, with its own operands and result."""
    product = products.StridedBatchedProduct(on_standin, on_standin.strided_batched_gemm)
    rng = np.random.default_rng(0)
    first, second = (
        [in_theta(rng.normal(size=(3, 4, 5))), transposed(rng.normal(size=(3, 5, 2)))]
        for _ in range(2)
    )
    into = in_theta(np.zeros((3, 4, 2)))
    for out in (None, into):
        product(*first, out=out)
    described = []
    monkeypatch.setattr(products, "describe", lambda *args: described.append(args))
    for out in (None, into):
        result = product(*second, out=out)
        a, b = map(to_host, second)
        np.testing.assert_allclose(to_host(result), a @ b, rtol=1e-13, atol=1e-13)
        assert out is None or result is out
    assert described == []
    assert len(product.plans) == 2


def test_a_copied_operand_is_copied_every_time(on_standin):
    product = products.StridedBatchedProduct(on_standin, on_standin.strided_batched_gemm)
    for seed in range(2):
        a, b = drawn((2, 3, 4), "float64", seed), drawn((2, 4, 5), "float64", seed + 9)
        assert_product(product(every_second(a), plain(b)), a, b)
    assert product.plans == {}


@pytest.mark.parametrize("lead", [(), (3,)])
@pytest.mark.parametrize(("rows", "parts"), [(8, 1), (12, 2), (28, 4), (70, 7), (71, 1), (90, 1)])
def test_a_product_by_rows_is_the_product(backend, monkeypatch, rows, parts, lead):
    """Cut into as few equal parts as are small; not at all where no number up to eight divides the rows."""
    monkeypatch.setattr(backends, "SMALL", 10 * 5 * 4)
    made, product = [], backends.matmul
    monkeypatch.setattr(
        backends, "matmul", lambda a, b, out: made.append(a.shape) or product(a, b, out=out)
    )
    a, b = numbers(5, rows, dtype="float32").mT, numbers(*lead, 5, 4, seed=1, dtype="float32")
    out = xp.zeros((*lead, rows + 1, 4), dtype="float32")
    found = backends.matmul_by_rows(a, b, out=out[..., :rows, :])
    close(out[..., :rows, :], matmul(a, b), rtol=1e-6)
    assert to_host(found).tolist() == to_host(out[..., :rows, :]).tolist()
    assert not to_host(out[..., rows:, :]).any()
    cut = (parts, rows // parts) if parts > 1 and backend == "numpy" else (rows,)
    assert made == [(*cut, 5)]
