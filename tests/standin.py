"""A strict stand-in for CuPy, made of NumPy: it shows what would fail, or be slow, on a GPU.

    backend.use(standin)
    with standin.counting() as counts:
        ...
    assert counts.stops == 0

It refuses what CuPy refuses: a device array as argument of NumPy, operations on arrays of both, names and
keywords that CuPy lacks. It also refuses what CuPy allows at a hidden cost: `__index__`, NumPy arrays as
indices, indices out of range. As in CuPy, reductions give 0-d arrays, and a[0] is a view even if it is
one number. It counts:

    launches  elementwise operations, reductions, products, fills, gathers; a fused function is one
    copies    arrays that are copied before or after a product, as CuPy's own matmul does
    uploads   host data turned into device arrays
    stops     whatever makes the host wait: float(), bool(), printing, .get(), masks as indices, ...

It also records the dtypes of all new arrays (counts.dtypes); counting(Recorded) stores the arguments of
each launch too (counts.calls). One call can be several kernels (a variance is), so the counts say little
about time.
"""

import functools
import inspect

import numpy as np
from standin_array import (
    NAMES,
    FusedNumber,
    Recorded,
    count,
    counting,
    device,
    fusing,
    host,
    is_view,
)
from standin_array import called_by_products as _called_by_products
from standin_array import launch as _launch
from standin_array import ndarray as ndarray
from standin_array import stop as _stop

__all__ = ["Recorded", "counting", "fuse", "ndarray", "strided_batched_gemm"]

FREE = {"empty", "empty_like", "finfo", "iinfo", "result_type", "can_cast", "promote_types", "ndim"}
FREE |= {"shape", "size", "isscalar", "issubdtype", "shares_memory", "may_share_memory"}
FREE |= {"broadcast_shapes", "iscomplexobj", "isrealobj", "min_scalar_type"}
VIEWS = {"broadcast_to", "broadcast_arrays", "expand_dims", "moveaxis", "squeeze", "swapaxes"}
VIEWS |= {"transpose", "reshape", "ravel", "atleast_1d", "atleast_2d", "atleast_3d", "split"}
VIEWS |= {"array_split", "diagonal", "rollaxis", "flip", "permute_dims", "matrix_transpose", "real"}
STOPS = {"nonzero", "flatnonzero", "argwhere", "unique", "compress", "extract", "bincount", "put"}
STOPS |= {"array_str", "array_repr", "array2string", "histogram", "save", "savez"}
FUSABLE = {"where", "clip"}
METHODS = {"sum", "prod", "mean", "var", "std", "max", "min", "amax", "amin", "argmax", "argmin"}
METHODS |= {"all", "any", "argsort", "cumsum", "cumprod", "clip", "diagonal", "ravel", "repeat"}
METHODS |= {"reshape", "roll", "sort", "squeeze", "swapaxes", "take", "take_along_axis", "trace"}
METHODS |= {"transpose", "moveaxis", "expand_dims", "where", "solve", "inv", "det", "slogdet"}
METHODS |= {"eigh", "eigvalsh", "svd", "qr", "cholesky", "pinv", "norm"}
"""Functions that need a method or the dtype of their first argument; numbers and lists have none."""
ABSENT = {"random", "fft", "cuda", "testing"}
"""Parts of CuPy that the stand-in does not offer: numbers come from randomness and philox."""


# Functions of NumPy, as CuPy offers them ---------------------------------------------------------


def __getattr__(name):
    return _lookup("module", np, name)


class _Linalg:
    def __getattr__(self, name):
        return _lookup("linalg", np.linalg, name)


linalg = _Linalg()


def _lookup(owner, module, name):
    if name not in NAMES[owner] or name in ABSENT:
        raise AttributeError(f"{'the stand-in' if name in ABSENT else 'CuPy'} has no {name!r}")
    found = getattr(module, name)
    if isinstance(found, type) or not callable(found) or inspect.ismodule(found):
        return found  # pi, newaxis, float32, ...
    return _function(name, found, keywords=NAMES[owner][name])


def _function(name, of_numpy, keywords):
    ufunc = isinstance(of_numpy, np.ufunc)

    def function(*args, **kwargs):
        unknown = set(kwargs) - set(kwargs if keywords is None else keywords)
        if unknown:
            raise TypeError(f"cupy.{name} has no keyword {', '.join(sorted(unknown))}")
        if ufunc and any(isinstance(a, tuple | list) for a in args):
            raise TypeError(f"cupy.{name} takes no lists: upload them first")
        if name in METHODS and not (args and isinstance(args[0], ndarray)):
            raise TypeError(f"cupy.{name} takes a device array first, and no number or list")
        if name == "solve":
            _refuse_to_broadcast(*args)
        if fusing[0] and ufunc and kwargs.keys() - {"out"}:
            raise TypeError(f"{name} takes no keyword but out in a fused function")
        hosts = host(args)
        if name in STOPS or (name == "where" and len(args) == 1):
            _stop(name)
        result = of_numpy(*hosts, **{key: host(value) for key, value in kwargs.items()})
        if name not in FREE and not (name in VIEWS and is_view(result, _flat(hosts))):
            _launch(name, args, kwargs, elementwise=ufunc or name in FUSABLE)
        return device(result)

    function.__name__ = function.__qualname__ = name
    return function


def _refuse_to_broadcast(a, b):
    """CuPy's solve needs equal leading axes; NumPy's broadcasts them."""
    if b.ndim > 1 and a.shape[:-1] != b.shape[:-1]:
        raise ValueError(f"cupy.linalg.solve does not broadcast: {a.shape} with {b.shape}")


def _flat(values):
    return [x for value in values for x in (value if isinstance(value, tuple | list) else (value,))]


# Functions that differ from NumPy's --------------------------------------------------------------


def array(obj, dtype=None, copy=True, order="K"):
    """An upload, if the data are not on the device."""
    if fusing[0]:
        raise TypeError("no array can be made inside a fused function")
    if isinstance(obj, ndarray):
        if not copy and dtype in (None, obj.dtype):
            return obj
        _launch("array", obj, dtype)
        return ndarray(np.array(obj._host, dtype=dtype, order=order))
    if isinstance(obj, tuple | list) and any(isinstance(x, ndarray) for x in _flat(obj)):
        _launch("array", obj, dtype)
        return ndarray(np.array(host(obj), dtype=dtype))
    count("uploads", "array")
    return ndarray(np.array(obj, dtype=dtype, order=order))


def asarray(a, dtype=None, order="K"):
    return array(a, dtype, copy=False, order=order)


def ascontiguousarray(a, dtype=None):
    if isinstance(a, ndarray) and a.flags.c_contiguous and dtype in (None, a.dtype):
        return a
    if _called_by_products():
        count("copies", "ascontiguousarray")
    return array(a, dtype, order="C")


def matmul(a, b, out=None):
    """CuPy's own product: it copies operands whose memory layout cuBLAS cannot use."""
    operands = host([a, b])
    two_dimensional = max(x.ndim for x in operands) <= 2
    for x in operands:
        if not (x.flags.c_contiguous or (two_dimensional and x.flags.f_contiguous)):
            count("copies", "matmul")
            _launch("a copy for matmul")
    if out is not None and not out.flags.c_contiguous:
        count("copies", "matmul's out")
        _launch("a copy for matmul")
    _launch("matmul", a, b, out)
    return device(np.matmul(*operands, out=host(out)))


ndarray.__matmul__ = matmul


def fuse(function):
    """One launch, of elementwise operations only."""

    @functools.wraps(function)
    def fused(*args):
        for a in args:
            if not isinstance(a, ndarray | int | float | complex | np.generic | None):
                raise TypeError(f"cupy.fuse takes device arrays and numbers, not {type(a)}")
        if not any(isinstance(a, ndarray) for a in args):
            return function(*args)
        _launch(function.__name__, *args, elementwise=True)
        outer, fusing[0] = fusing[0], True
        try:
            return function(*(a if isinstance(a, ndarray | None) else FusedNumber(a) for a in args))
        finally:
            fusing[0] = outer

    return fused


# Products, by the plans of products.py -----------------------------------------------------------


def strided_batched_gemm(plan, first, second, result):
    """C' = op(B') op(A') out of raw memory, read column by column, as cuBLAS documents it.

    It is checked that every address lies in its operand, so that a wrong leading dimension or stride cannot
    read the numbers of another array.
    """
    _launch("product", plan, first, second, result)
    assert not plan.result.transposed, "cuBLAS has no flag for the result"
    assert plan.batch == 1 or plan.result.stride >= plan.m, "the results lie on top of each other"
    left = _operation(first, plan.first, plan.m, plan.k, plan.batch)
    right = _operation(second, plan.second, plan.k, plan.n, plan.batch)
    c = _operation(result, plan.result, plan.m, plan.n, plan.batch)
    for i in range(plan.batch):
        c[i] = left[i] @ right[i]


def _operation(array, operand, rows, cols, batch):
    """op(X), (batch, rows, cols)."""
    if operand.transposed:
        return _columns(array, operand, cols, rows, batch).swapaxes(-1, -2)
    return _columns(array, operand, rows, cols, batch)


def _columns(array, operand, rows, cols, batch):
    """X as cuBLAS sees it: `batch` matrices, each with its columns `leading` entries apart."""
    values, steps = array._host, (operand.stride, 1, operand.leading)
    assert operand.leading >= rows, f"leading dimension {operand.leading} below {rows} rows"
    assert operand.stride >= 0, "a negative stride between matrices"
    needed = sum((n - 1) * step for n, step in zip((batch, rows, cols), steps, strict=True))
    there = sum((n - 1) * step for n, step in zip(values.shape, values.strides, strict=True))
    assert needed * values.itemsize <= there, "the plan reads beyond its operand"
    return np.lib.stride_tricks.as_strided(
        values, (batch, rows, cols), [step * values.itemsize for step in steps]
    )
