"""A CuPy that acts as if there were a GPU: the stand-in's arrays, and cuBLAS computed on host memory.

`install(monkeypatch)` puts it in the place of `import cupy`, with its failures chosen by the test.
It proves the road that the stand-in does not take: `use("cupy")`, the probe, and the order of the
twenty arguments of cuBLAS's call.
"""

import ctypes
import sys
import types

import numpy as np
import standin


def gemm_strided_batched(number):
    """cublas?gemmStridedBatched, with CuPy's arguments: pointers as integers, column-major memory."""

    def read(pointer, i):
        return ctypes.cast(pointer + i * ctypes.sizeof(number), ctypes.POINTER(number))

    def call(handle, op_a, op_b, m, n, k, alpha, a, lda, step_a, b, ldb, step_b, *rest):
        beta, c, ldc, step_c, batch = rest
        assert handle == HANDLE
        assert read(alpha, 0)[0] == 1
        assert read(beta, 0)[0] == 0
        assert lda >= (k if op_a else m)
        assert ldb >= (n if op_b else k)
        assert ldc >= m
        for which in range(batch):
            for row, column in np.ndindex(m, n):
                total = 0.0
                for inner in range(k):
                    at_a = inner + row * lda if op_a else row + inner * lda
                    at_b = column + inner * ldb if op_b else inner + column * ldb
                    total += read(a, which * step_a + at_a)[0] * read(b, which * step_b + at_b)[0]
                read(c, which * step_c + row + column * ldc)[0] = total

    return call


HANDLE = 4711


def install(
    monkeypatch,
    *,
    devices=1,
    driver_error=None,
    kernel_error=None,
    solver_error=None,
    wrong_by=0.0,
):
    """Make `import cupy` find this. devices: how many GPUs. The errors are raised where they belong."""

    def device_count():
        if driver_error:
            raise RuntimeError(driver_error)
        return devices

    def ones(shape, dtype):
        if kernel_error:
            raise OSError(kernel_error)
        return standin.ones(shape, dtype=dtype) + wrong_by

    def eigvalsh(a):
        if solver_error:
            raise ImportError(solver_error)
        return standin.linalg.eigvalsh(a)

    cublas = types.SimpleNamespace(
        CUBLAS_OP_N=0,
        CUBLAS_OP_T=1,
        CUBLAS_POINTER_MODE_HOST=0,
        getPointerMode=lambda handle: pointer_mode[-1],
        setPointerMode=lambda handle, mode: pointer_mode.append(mode),
        sgemmStridedBatched=gemm_strided_batched(ctypes.c_float),
        dgemmStridedBatched=gemm_strided_batched(ctypes.c_double),
    )
    pointer_mode = [1]
    cupy, cuda = types.ModuleType("cupy"), types.ModuleType("cupy.cuda")
    cupy.__getattr__ = lambda name: getattr(standin, name)
    cupy.cuda, cupy.ones = cuda, ones
    cupy.linalg = types.ModuleType("cupy.linalg")
    cupy.linalg.__getattr__ = lambda name: getattr(standin.linalg, name)
    cupy.linalg.eigvalsh = eigvalsh
    cuda.runtime = types.SimpleNamespace(getDeviceCount=device_count)
    cuda.cublas, cuda.device = cublas, types.SimpleNamespace(get_cublas_handle=lambda: HANDLE)
    cuda.pointer_mode = pointer_mode
    forget(monkeypatch)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setitem(sys.modules, "cupy.cuda", cuda)
    return cupy


def forget(monkeypatch):
    """Take any real CuPy out of the way, until the test ends."""
    for name in [name for name in sys.modules if name.split(".")[0] == "cupy"]:
        monkeypatch.delitem(sys.modules, name)
