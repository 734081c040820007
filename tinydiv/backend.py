"""One array module for the whole project: NumPy on the CPU, CuPy on the GPU, the same code.

Every core file writes `from tinydiv.backend import xp` and calls `xp.exp`, `xp.sum`, ... What `xp`
stands for is decided by `use("numpy" | "cupy" | "auto" | a module)`, at any time before the arrays
are made. `xp` is a proxy and no plain module, because a plain `from backend import xp` would keep
NumPy after `use("cupy")`.
"""

import contextlib
import functools
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy

from tinydiv.errors import RunError, UsageError, nearest

Array: TypeAlias = Any
"""An array of the current backend. No single array type covers both NumPy's and CuPy's."""

NAMES = ("numpy", "cupy", "auto")


class ArrayModule:
    """Looks up every attribute in the chosen module and keeps it, so later uses cost nothing extra.

    A name that was found becomes an attribute of this object, so Python calls `__getattr__` only once.
    """

    def __init__(self) -> None:
        self._choose(numpy, numpy.matmul)

    def _choose(self, module: types.ModuleType, product: Callable[..., Array]) -> None:
        self.__dict__.clear()
        self.__dict__["_module"] = module
        self.__dict__["_product"] = product

    def __getattr__(self, name: str) -> Array:
        value = getattr(self.__dict__["_module"], name)
        self.__dict__[name] = value
        return value

    def __repr__(self) -> str:
        return f"<tinydiv array module: {self.__dict__['_module'].__name__}>"


xp = ArrayModule()


def use(backend: str | types.ModuleType) -> str:
    """Choose the array module; return its name ("numpy", "cupy", or the module's own).

    "auto" takes CuPy where a GPU works and NumPy otherwise. A module (a stand-in for tests, another
    array library) is used as it is; if it offers `strided_batched_gemm`, `matmul` calls that.
    Arrays made before the switch stay arrays of the old module: choose first, then build networks.

    Raises UsageError for an unknown name, and RunError with the cause if CuPy cannot work here.
    """
    if isinstance(backend, str):
        if backend not in NAMES:
            raise UsageError(f"there is no backend called {backend!r}: {nearest(backend, NAMES)}")
        if backend == "auto":
            try:
                return use("cupy")
            except RunError:
                return use("numpy")
        if backend == "numpy":
            xp._choose(numpy, numpy.matmul)
            return "numpy"
        cupy = _working_cupy()
        xp._choose(cupy, cublas_product(cupy))
        return "cupy"
    gemm = getattr(backend, "strided_batched_gemm", None)
    if gemm is None:
        xp._choose(backend, backend.matmul)
    else:
        from tinydiv.products import StridedBatchedProduct

        xp._choose(backend, StridedBatchedProduct(backend, gemm))
    return backend.__name__


def name() -> str:
    """The current backend's name."""
    module: types.ModuleType = xp.__dict__["_module"]
    return module.__name__


def _working_cupy() -> types.ModuleType:
    """Import CuPy and try a tiny kernel, product and eigenvalue, or raise an error about what is missing.

    A successful import is not enough: `import cupy` succeeds without a driver, and a driver without the
    toolkit's libraries (a compiler, cuBLAS, cuSOLVER) fails only at the first kernel, product or
    eigenvalue.
    """
    extras = 'python -m pip install "tinydiv[cuda13]" (or [cuda12], to match the driver)'
    try:
        import cupy
    except Exception as error:  # a broken installation may raise anything
        if isinstance(error, ImportError) and error.name == "cupy":
            raise RunError(
                f"the cupy backend needs CuPy, which is not installed: {extras}"
            ) from None
        raise RunError(
            f"CuPy is installed but its import fails ({_first_line(error)}): reinstall it, {extras}"
        ) from None
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:
        raise RunError(
            f"CuPy is installed but finds no working CUDA driver ({_first_line(error)}): install or "
            "update the NVIDIA driver, or use --backend numpy"
        ) from None
    if count == 0:
        raise RunError(
            "CuPy is installed but this machine shows no CUDA GPU (look at CUDA_VISIBLE_DEVICES): "
            "use --backend numpy"
        )
    try:
        ones = cupy.ones((2, 2), dtype=cupy.float32)
        kernel = float((ones + 1).sum())
        product = float(cublas_product(cupy)(ones, ones).sum())
        largest = float(cupy.linalg.eigvalsh(ones)[1])
    except Exception as error:
        raise RunError(
            f"CuPy sees a GPU but the CUDA toolkit's libraries do not work ({_first_line(error)}): "
            f"install the toolkit that matches the driver, {extras}"
        ) from None
    if kernel != 8.0 or product != 8.0 or abs(largest - 2.0) > 1e-5:
        raise RunError(
            f"CuPy runs but computes wrongly (a sum gave {kernel}, a product {product}, both should "
            f"be 8; an eigenvalue {largest:g}, it should be 2): the CUDA toolkit and the driver do "
            f"not fit together; reinstall, {extras}"
        )
    module: types.ModuleType = cupy
    return module


def cublas_product(cupy: Array) -> Callable[..., Array]:
    """matmul by cuBLAS, the routine that computes every product on a GPU."""
    from tinydiv.products import StridedBatchedProduct, cublas_gemm  # not needed on a CPU

    return StridedBatchedProduct(cupy, cublas_gemm(cupy))


def _first_line(error: BaseException) -> str:
    """The first line that contains letters; in a banner of CuPy's, the original error that it names."""
    text = str(error)
    _, banner, original = text.partition("Original error:")
    lines = [line.strip() for line in (original if banner else text).splitlines()]
    worded = [line for line in lines if any(c.isalnum() for c in line)]
    return worded[0].rstrip(".: ") if worded else type(error).__name__


def matmul(a: Array, b: Array, out: Array | None = None) -> Array:
    """a @ b over any leading axes, into `out` if given: the one place where products happen.

    a (..., m, k), b (..., k, n) -> (..., m, n). NumPy takes strided views and `out` as they are.
    CuPy's own matmul would copy every `.mT` and every strided weight, so on CuPy the call goes to
    cuBLAS's strided-batched product, with flags and strides in place of copies (products.py).
    """
    return xp.__dict__["_product"](a, b, out=out)


SMALL, MOST_PARTS = 1_000_000, 8
"""OpenBLAS's kernels for AVX-512 compute a product of at most SMALL multiplications as it lies, and copy
both factors of a larger one first. More parts than MOST_PARTS cost more than that."""


def matmul_by_rows(a: Array, b: Array, out: Array) -> Array:
    """matmul(a, b, out=out) for an `a` with many rows, as in dW = A' dZ.

    On a CPU the rows are cut into parts that are small products: a quarter faster than one large product
    that copies A', which many networks may share, for each of them.
    """
    rows, inner = a.shape[-2:]
    whole, n = rows * inner * b.shape[-1], 1
    if on_cpu() and SMALL < whole <= SMALL * MOST_PARTS:
        n = next((n for n in range(2, MOST_PARTS + 1) if rows % n == 0 and whole <= n * SMALL), 1)
    if n == 1:
        return matmul(a, b, out=out)
    cut_a, cut_out = (x.reshape(*x.shape[:-2], n, rows // n, x.shape[-1]) for x in (a, out))
    matmul(cut_a, b[..., None, :, :], out=cut_out)
    return out


def to_host(a: Array) -> Array:
    """A NumPy array with the same entries. On a GPU this waits for the device and copies: not for use
    inside a step."""
    if isinstance(a, numpy.ndarray | numpy.generic | int | float | bool):
        return numpy.asarray(a)
    return a.get()


def to_device(a: Array, dtype: str | None = None) -> Array:
    """The same entries as an array of the current backend (a copy only where one is needed)."""
    return xp.asarray(a, dtype=dtype) if dtype is not None else xp.asarray(a)


def quiet() -> contextlib.AbstractContextManager[object]:
    """No warnings on the host for overflow and the like: for code that tests for them itself.

    A GPU computes inf and NaN silently anyway.
    """
    return numpy.errstate(over="ignore", invalid="ignore", divide="ignore")


def fuse(function: Callable[..., Array]) -> Callable[..., Array]:
    """On CuPy, compile an elementwise function into one kernel; elsewhere call it as it is written.

    The plain version stays beside it as `function.plain`. Inside, combine numbers with arrays only: CuPy
    (14.2) computes an expression of two numbers, such as 1 - beta, in half precision.
    """
    compiled: dict[types.ModuleType, Callable[..., Array]] = {}

    @functools.wraps(function)
    def call(*arrays: Array) -> Array:
        module: types.ModuleType = xp.__dict__["_module"]
        if module is numpy:
            return function(*arrays)
        if module not in compiled:
            compiler = getattr(module, "fuse", None)
            compiled[module] = compiler(function) if compiler else function
        return compiled[module](*arrays)

    call.plain = function  # type: ignore[attr-defined]
    return call


PIECE = 30_000
"""How many numbers one piece has: a few arrays of this size fit into a core's cache, and making another
is cheap (the allocator takes the memory that was freed last)."""


def in_pieces(buffer: Array, ranges: Sequence[tuple[int, int]]) -> Iterator[tuple[slice, ...]]:
    """Indices that cut columns [start, stop) of a buffer (P,) or (R, P) into pieces; on a GPU, not cut.

    An elementwise computation on the pieces, one after the other, gives the same bits as one on the whole.
    """
    rows = buffer.shape[0] if buffer.ndim == 2 else 1
    for start, stop in ranges:
        columns = stop - start
        if on_cpu():
            columns = min(columns, PIECE)
        height = max(1, PIECE // columns) if on_cpu() else rows
        for row in range(0, rows, height):
            for column in range(start, stop, columns):
                across = slice(column, min(column + columns, stop))
                yield (across,) if buffer.ndim == 1 else (slice(row, row + height), across)


def on_cpu() -> bool:
    """Whether arrays are NumPy's: then passes over memory take the time, and reading a value waits for
    nothing."""
    return xp.__dict__["_module"] is numpy


def quick_sum(a: Array) -> Array:
    """The sum over the last axis, for a look at whether all is finite. NumPy's own sum adds in pairs, which
    loses fewer digits and takes three times as long."""
    return numpy.einsum("...i->...", a) if on_cpu() else a.sum(axis=-1)


def sum_over_samples(a: Array, out: Array | None = None) -> Array:
    """The sum over samples, (..., N, H) -> (..., 1, H), into `out` if given.

    On a CPU a row of N ones times `a`: NumPy's own sum over this axis takes up to twenty times as long
    where H is small, since it adds short rows one after the other.
    """
    if not on_cpu():
        return a.sum(axis=-2, keepdims=True, out=out)
    return matmul(numpy.ones((1, a.shape[-2]), a.dtype), a, out=out)


def synchronize() -> None:
    """Wait until the device has finished all its work: for timing, never inside a step."""
    cuda = getattr(xp.__dict__["_module"], "cuda", None)
    if cuda is not None:
        cuda.get_current_stream().synchronize()
