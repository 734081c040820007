"""The stand-in is strict: it refuses, keeps CuPy's habits, and counts. (If it did not, no test on it
would prove anything.)"""

import cupy_names
import numpy as np
import pytest
import standin as xp


def dev(*shape):
    return xp.asarray(np.arange(float(np.prod(shape))).reshape(shape))


@pytest.mark.parametrize(
    "mistake",
    [
        lambda a: np.asarray(a),
        lambda a: np.exp(a),
        lambda a: np.sum(a),
        lambda a: a + np.ones(3),
        lambda a: np.ones(3) + a,
        lambda a: xp.add(a, np.ones(3)),
        lambda a: xp.concatenate([a, np.ones(3)]),
        lambda a: a - [1, 2, 3],
        lambda a: xp.exp([1.0, 2.0]),
        lambda a: range(10)[xp.argmax(a)],
        lambda a: a.__setitem__(slice(None), np.ones(3)),
        lambda a: a[np.array([0, 1])],
        lambda a: xp.sum(a, where=a > 1),
        lambda a: xp.maximum(a, 0, where=a > 1),
        lambda a: a.sum(initial=0.0),
        lambda a: a.max(where=a > 1),
        lambda a: xp.sum([a, a]),
        lambda a: xp.max([1.0, 2.0]),
        lambda a: xp.where(True, a, 0.0),
        lambda a: hash(a),
    ],
)
def test_what_cupy_refuses_is_a_type_error(mistake):
    with pytest.raises(TypeError):
        mistake(dev(3))


def test_solve_shares_no_matrix_among_right_hand_sides():
    """CuPy 14.2 compares the leading axes, NumPy broadcasts them."""
    matrix, many = xp.eye(3), xp.ones((2, 3, 1))
    with pytest.raises(ValueError, match="does not broadcast"):
        xp.linalg.solve(matrix, many)
    same = xp.linalg.solve(xp.broadcast_to(matrix, (2, 3, 3)), many)
    assert same.get().tolist() == many.get().tolist()


def test_an_assignment_drops_no_leading_axes():
    a = dev(3)
    with pytest.raises(ValueError, match="leading axes"):
        a[...] = xp.ones((1, 3))
    a[...] = xp.ones(1)
    assert a.get().tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("name", ["vecdot", "unstack", "errstate", "nditer", "block", "random"])
def test_names_that_cupy_lacks_are_missing(name):
    with pytest.raises(AttributeError, match=name):
        getattr(xp, name)


@pytest.mark.parametrize("name", ["vector_norm", "svdvals", "multi_dot"])
def test_names_that_cupys_linalg_lacks_are_missing(name):
    with pytest.raises(AttributeError, match=name):
        getattr(xp.linalg, name)


def test_attributes_that_cupys_arrays_lack_are_missing():
    with pytest.raises(AttributeError, match="itemset"):
        dev(3).itemset(0)


def test_the_frozen_names_are_those_of_the_installed_cupy():
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    frozen = cupy_names.frozen()
    if cupy.__version__ != frozen["version"]:
        pytest.skip(f"CuPy is not installed in version {frozen['version']}")
    assert cupy_names.read(cupy) == frozen, "run python tests/cupy_names.py"


def test_reductions_and_single_entries_are_arrays_on_the_device():
    a = dev(2, 3)
    for result in (xp.sum(a), a.sum(), a.max(), xp.mean(a), a[0, 0], xp.sqrt(4.0), a.sum() / 2):
        assert isinstance(result, xp.ndarray)
        assert result.shape == ()
    a[0][1] = 7.0  # one number is a view, too
    entry = a[1, 2]
    entry += 10.0
    assert a.get().tolist() == [[0.0, 7.0, 2.0], [3.0, 4.0, 15.0]]


@pytest.mark.parametrize(
    "stop",
    [
        lambda a: float(a[0]),
        lambda a: int(a[0]),
        lambda a: bool(a[0] > 1),
        lambda a: f"{a[0]:.3f}",
        lambda a: str(a),
        lambda a: repr(a),
        lambda a: a.get(),
        lambda a: a[0].item(),
        lambda a: a.tolist(),
        lambda a: a[a > 1],
        lambda a: a.__setitem__(a > 1, 0.0),
        lambda a: xp.nonzero(a),
        lambda a: xp.where(a > 1),
        lambda a: xp.unique(a),
        lambda a: max(a[0], a[1]),
    ],
)
def test_what_waits_for_the_device_counts_as_one_stop(stop):
    a = dev(3)
    with xp.counting() as counts:
        stop(a)
    assert counts.stops == 1


@pytest.mark.parametrize(
    ("launches", "work"),
    [
        (1, lambda a: a + 1),
        (1, lambda a: 1 - a),
        (1, lambda a: xp.sum(a, axis=-1)),
        (1, lambda a: a.mean(axis=0)),
        (1, lambda a: xp.maximum(a, 0)),
        (2, lambda a: xp.where(a > 1, a, 0.0)),
        (1, lambda a: a.__iadd__(a)),
        (2, lambda a: a @ (a * 2)),
        (0, lambda a: a.mT[1:, None].reshape(2, 3, 1)[..., 0]),
        (1, lambda a: a.mT.reshape(9)),
        (0, lambda a: xp.broadcast_to(a, (4, 3, 3))),
        (0, lambda a: (a.shape, a.dtype, len(a), xp.empty((2, 2)), xp.finfo(a.dtype).tiny)),
        (1, lambda a: a.__setitem__(0, 1.0)),
        (1, lambda a: a.__setitem__(..., a.mT)),
        (2, lambda a: a[xp.arange(2)]),
        (1, lambda a: a.copy()),
        (1, lambda a: a.astype("float32")),
        (0, lambda a: a.astype("float64", copy=False)),
    ],
)
def test_launches_are_counted(launches, work):
    a = dev(3, 3)
    with xp.counting() as counts:
        work(a)
    assert counts.launches == launches
    assert counts.stops == counts.uploads == 0


def test_adding_in_place_to_a_view_is_one_launch():
    a = dev(2, 2)
    with xp.counting() as counts:
        a[0][...] += 1.0
    assert counts.launches == 1
    assert a.get().tolist() == [[1.0, 2.0], [2.0, 3.0]]


def test_uploads_are_counted_and_copy():
    source = np.zeros(3)
    with xp.counting() as counts:
        a = xp.asarray(source)
        xp.array([1.0, 2.0])
        xp.asarray(a)
        a[[0, 1]]
    assert counts.uploads == 3
    source[:] = 1
    assert a.get().tolist() == [0.0, 0.0, 0.0]


def test_cupys_own_product_copies_transposed_batches_and_this_is_counted():
    a, b = dev(2, 3, 4), dev(2, 3, 4)
    with xp.counting() as counts:
        product = a.mT @ b
    assert counts.copies == 1
    np.testing.assert_array_equal(product.get(), a.get().swapaxes(1, 2) @ b.get())
    with xp.counting() as counts:
        a[0].mT @ b[0]
    assert counts.copies == 0


def test_blocks_of_counting_can_be_nested():
    a = dev(3)
    with xp.counting() as outer:
        a + 1
        with xp.counting() as inner:
            a + 1
    assert (outer.launches, inner.launches) == (2, 1)
    assert outer.names["launches"] == {"add": 2}
    assert repr(inner) == "launches 1, copies 0, uploads 0, stops 0"


def test_a_fused_function_is_one_launch():
    @xp.fuse
    def update(a, g, rate):
        step = rate * g
        a -= step
        return xp.sqrt(xp.abs(a)), xp.where(a > 0, a, 0.0)

    a, g = dev(3), dev(3)
    with xp.counting() as counts:
        root, _ = update(a, g, 2.0)
    assert counts.launches == 1
    assert a.get().tolist() == [0.0, -1.0, -2.0]
    assert root.get()[1] == 1.0


@pytest.mark.parametrize(
    "not_elementwise",
    [
        lambda a, rate: xp.sum(a),
        lambda a, rate: a.max(),
        lambda a, rate: a[0],
        lambda a, rate: a @ a,
        lambda a, rate: float(a),
        lambda a, rate: xp.asarray(1.0) * a,
        lambda a, rate: (1 - rate) * a,  # float16 in CuPy
        lambda a, rate: rate**2 * a,
        lambda a, rate: (a > 1) * rate,  # float16, too
        lambda a, rate: 2.0**a,
        lambda a, rate: abs(a),
        lambda a, rate: a * a.shape[0],
        lambda a, rate: a.mT * rate,
        lambda a, rate: xp.multiply(a, a, dtype="float64"),
    ],
)
def test_a_fused_function_is_elementwise_and_combines_no_two_scalars(not_elementwise):
    with pytest.raises(TypeError):
        xp.fuse(not_elementwise)(dev(2, 2), 0.5)
    assert (dev(2) + 1).get().tolist() == [1.0, 2.0]  # and we are outside again


def test_a_plan_that_reads_beyond_its_operand_is_refused():
    from tinydiv.products import Operand, Plan

    a = dev(2, 3)
    good = Operand(False, 3, 0)
    result = xp.empty((2, 2))
    right = Plan(2, 2, 3, Operand(True, 3, 0), good, Operand(False, 2, 0), 1)
    xp.strided_batched_gemm(right, a, a, result)
    np.testing.assert_array_equal(result.get(), a.get() @ a.get().T)
    for leading in (2, 4):  # 2 is less than a column, 4 runs beyond the end
        wrong = Plan(2, 2, 3, Operand(True, 3, 0), Operand(False, leading, 0), right.result, 1)
        with pytest.raises(AssertionError):
            xp.strided_batched_gemm(wrong, a, a, result)


def test_nothing_warns_as_on_a_gpu(on_standin):
    nothing = xp.zeros(2)
    assert xp.isnan(nothing / nothing).all().item()
    with np.errstate(invalid="warn"), pytest.raises(RuntimeWarning, match="invalid value"):
        nothing / nothing
