"""Matrix products on a GPU without copies: strides and transpose flags handed to cuBLAS.

The weights of R networks are rows of one buffer theta (R, P), so W[l] is a view (R, n, m) whose
matrices lie P entries apart, and backward needs A[l].mT and W[l].mT. CuPy's matmul would make all
of these contiguous first (it copies), write a temporary when `out` is strided, and build arrays of
pointers when one side is shared by all replicas. cuBLAS needs none of that: for each operand it takes
a transpose flag, a leading dimension and a stride from one matrix to the next (0 for a shared one).

cuBLAS stores matrices column by column. The memory of a row-major matrix, read column by column, is its
transpose, so the row-major product C = A B is computed as C' = B' A' and no operand is copied.

`plan` is pure arithmetic on shapes and strides. The tests check it without a GPU: they run its plans
through a column-major product written out in loops.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeAlias

Array: TypeAlias = Any
"""backend.Array, which cannot be imported from here: backend imports this file."""


@dataclass(frozen=True)
class Operand:
    """How cuBLAS finds one operand: its flag, leading dimension and distance between matrices."""

    transposed: bool
    leading: int
    stride: int


@dataclass(frozen=True)
class Plan:
    """One strided-batched call C' = op(B') op(A'), in cuBLAS's own order of arguments.

    m, n, k: columns of C, rows of C, inner length. `first` is B, `second` is A, `result` is C.
    """

    m: int
    n: int
    k: int
    first: Operand
    second: Operand
    result: Operand
    batch: int


def operand(shape: tuple[int, ...], strides: tuple[int, ...], batch: int) -> Operand | None:
    """Describe an array (rows, cols) or (batch, rows, cols), strides in entries; None: copy it first.

    A row-major matrix needs no flag (column-major, it is the transpose that C' = B' A' needs); a
    transposed view needs the flag. Anything else has no leading dimension and must be copied.
    """
    rows, cols = shape[-2:]
    row_step, col_step = strides[-2:]
    stride = strides[0] if len(shape) == 3 and shape[0] > 1 else 0
    if stride < 0 or (len(shape) == 3 and shape[0] not in (1, batch)):
        return None
    if (col_step == 1 or cols == 1) and (row_step >= cols or rows == 1):
        return Operand(False, max(row_step if rows > 1 else 0, cols), stride)
    if (row_step == 1 or rows == 1) and (col_step >= rows or cols == 1):
        return Operand(True, max(col_step if cols > 1 else 0, rows), stride)
    return None


def plan(a: Operand, b: Operand, c: Operand, rows: int, cols: int, inner: int, batch: int) -> Plan:
    """The call that computes C (rows, cols) = A (rows, inner) B (inner, cols), batch times."""
    return Plan(m=cols, n=rows, k=inner, first=b, second=a, result=c, batch=batch)


MOST_PLANS = 4096
"""Layouts that are remembered; a step of training has about ten."""

Gemm: TypeAlias = Callable[[Plan, Array, Array, Array], None]
"""Runs a plan on (first, second, result)."""


class StridedBatchedProduct:
    """matmul(a, b, out=None) for an array module, by its strided-batched product.

    Falls back to the module's own matmul for what cuBLAS cannot compute in one call: several leading
    axes, integer types, empty arrays. Copies only operands that are neither row-major nor column-major.
    The plan is computed once for each layout and kept: a training step repeats the same few products, and
    on a GPU the host's time decides how long a small network's step takes.
    """

    def __init__(self, module: ModuleType, gemm: Gemm) -> None:
        self.module = module
        self.gemm = gemm
        self.plans: dict[object, tuple[Plan, tuple[int, ...]]] = {}
        """By the operands' shapes, strides and dtypes: the call, and the result's shape."""

    def __call__(self, a: Array, b: Array, out: Array | None = None) -> Array:
        key = (
            *(a.shape, a.strides, a.dtype, b.shape, b.strides, b.dtype),
            out if out is None else (out.shape, out.strides, out.dtype),
        )
        known = self.plans.get(key)
        if known is not None:
            call, shape = known
            result = self.module.empty(shape, dtype=a.dtype) if out is None else out
            self.gemm(call, b, a, result)
            return result
        simple = a.ndim in (2, 3) and b.ndim in (2, 3) and a.dtype == b.dtype
        if not simple or a.dtype.name not in ("float32", "float64") or 0 in (a.size, b.size):
            return self._plain(a, b, out)
        (rows, inner), (inner_b, cols) = a.shape[-2:], b.shape[-2:]
        batches = [x.shape[0] for x in (a, b) if x.ndim == 3]
        batch = max(batches, default=1)
        if inner != inner_b or any(size not in (1, batch) for size in batches):
            return self._plain(a, b, out)  # it raises an error about the shapes
        shape = (batch, rows, cols) if batches else (rows, cols)
        result = self.module.empty(shape, dtype=a.dtype) if out is None else out
        if result.shape != shape or result.dtype != a.dtype:
            return self._plain(a, b, out)
        c = describe(result, batch)
        if c is None or c.transposed or (batch > 1 and c.stride == 0):
            result[...] = self(a, b)  # the product cannot be written into this `out` directly
            return result
        left, described_a = described_or_copied(self.module, a, batch)
        right, described_b = described_or_copied(self.module, b, batch)
        call = plan(described_a, described_b, c, rows, cols, inner, batch)
        if left is a and right is b and len(self.plans) < MOST_PLANS:
            self.plans[key] = call, shape
        self.gemm(call, right, left, result)
        return result

    def _plain(self, a: Array, b: Array, out: Array | None) -> Array:
        if out is None:
            return self.module.matmul(a, b)
        out[...] = self.module.matmul(a, b)
        return out


def describe(a: Array, batch: int) -> Operand | None:
    """`operand` for an array: its strides counted in entries."""
    return operand(a.shape, tuple(s // a.itemsize for s in a.strides), batch)


def described_or_copied(module: ModuleType, a: Array, batch: int) -> tuple[Array, Operand]:
    """The array and its description, made contiguous first if it has none."""
    found = describe(a, batch)
    if found is None:
        a = module.ascontiguousarray(a)
        found = describe(a, batch)
        assert found is not None  # a contiguous array always has one
    return a, found


def cublas_gemm(cupy: Array) -> Gemm:
    """Run plans by cuBLAS through CuPy. Scalars stay on the host, so nothing is uploaded and nothing
    waits."""
    import numpy
    from cupy.cuda import cublas, device

    numbers = {t: numpy.array([0, 1], dtype=t) for t in ("float32", "float64")}
    # Their positions are found once, because a look-up takes 1 us:
    zero = {t: a.ctypes.data for t, a in numbers.items()}
    one = {t: a[1:].ctypes.data for t, a in numbers.items()}
    calls = {"float32": cublas.sgemmStridedBatched, "float64": cublas.dgemmStridedBatched}

    def flag(x: Operand) -> int:
        return int(cublas.CUBLAS_OP_T if x.transposed else cublas.CUBLAS_OP_N)

    def gemm(p: Plan, first: Array, second: Array, result: Array) -> None:
        kind = result.dtype.name
        assert kind in numbers  # and keeps the two numbers where they are
        handle = device.get_cublas_handle()  # bound to the current stream
        mode = cublas.getPointerMode(handle)
        cublas.setPointerMode(handle, cublas.CUBLAS_POINTER_MODE_HOST)
        try:
            calls[kind](
                *(handle, flag(p.first), flag(p.second), p.m, p.n, p.k, one[kind]),
                *(first.data.ptr, p.first.leading, p.first.stride),
                *(second.data.ptr, p.second.leading, p.second.stride),
                zero[kind],
                *(result.data.ptr, p.result.leading, p.result.stride, p.batch),
            )
        finally:
            cublas.setPointerMode(handle, mode)

    return gemm
