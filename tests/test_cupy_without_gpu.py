"""CuPy itself, where it is installed, on arrays that have an address and no memory.

Whatever CuPy does on the host needs no GPU: shapes, strides, views, and turning a fused function into
the source of a kernel. (It was seen here that cupy.fuse makes 1 - beta a half-precision number.)
"""

import sys

import numpy as np
import pytest

import tinydiv.training  # and with it all that runs in a step  # noqa: F401
from tinydiv import backend, optimizers, philox
from tinydiv.products import describe


@pytest.fixture
def cupy():
    return pytest.importorskip("cupy", reason="CuPy is not installed")


def without_memory(cupy, shape, dtype):
    """A CuPy array at a made-up address: no kernel can run on it."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = cupy.cuda.UnownedMemory(4096, size, None, device_id=0)
    return cupy.ndarray(shape, dtype, cupy.cuda.MemoryPointer(memory, 0))


def test_views_of_theta_and_their_transposes_are_views_in_cupy(cupy):
    """And lie as NumPy's do, so plans proven there hold here. A copy would need a GPU and raise."""
    for lead in ((), (1,), (3,)):
        theirs = without_memory(cupy, (*lead, 50), "float32")
        ours = np.zeros((*lead, 50), "float32")
        pairs = [[a[..., 7:27].reshape(*lead, 4, 5) for a in (theirs, ours)]]
        pairs += [[a.mT for a in pairs[0]], [a[..., 1:3] for a in pairs[0]]]
        pairs += [
            [
                module.broadcast_to(a[:1], (*a.shape[:-2], 4, 5))
                for module, a in zip((cupy, np), pairs[0], strict=True)
            ]
            if lead
            else pairs[0]
        ]
        for a, b in pairs:
            assert (a.shape, describe(a, *lead or (1,))) == (b.shape, describe(b, *lead or (1,)))
            assert describe(a, *lead or (1,)) is not None
            assert a.data.ptr - theirs.data.ptr == b.ctypes.data - ours.ctypes.data


FUSED = {  # every fused function, with "a" for each array and "n" for each number
    optimizers.sgd_update: "aan",
    optimizers.momentum_update: "aaann",
    optimizers.nesterov_update: "aaann",
    optimizers.adam_update: "aaaannnn",
    philox.ten_rounds: "uuuuuu",
}


def test_the_table_names_every_fused_function():
    modules = [module for name, module in sys.modules.items() if name.startswith("tinydiv.")]
    found = {f for module in modules for f in vars(module).values() if hasattr(f, "plain")}
    assert found == set(FUSED)


@pytest.mark.parametrize("rate", ["one", "per network"])
@pytest.mark.parametrize("function", FUSED, ids=lambda f: f.__name__)
def test_every_operation_of_a_fused_function_has_the_arrays_dtype(cupy, function, rate):
    """Nothing falls to float16 or rises to float64 between float32 arrays."""
    fusion = pytest.importorskip("cupy._core.fusion", reason="CuPy is not installed")
    if not hasattr(fusion, "_FusionHistory"):
        pytest.skip("CuPy is not installed in a version whose fusion can be read")
    kinds, dtype = FUSED[function], "uint64" if "u" in FUSED[function] else "float32"
    arguments = [0.5 if kind == "n" else without_memory(cupy, (3, 5), dtype) for kind in kinds]
    if rate == "per network" and "n" in kinds:
        arguments[kinds.index("n")] = without_memory(cupy, (3, 1), dtype)
    backend.xp._choose(cupy, None)
    history, local = fusion._FusionHistory(), fusion._thread_local
    local.history, local.is_old_fusing = history, True
    try:
        history.get_fusion(function.plain, arguments, function.__name__)
    finally:
        local.history, local.is_old_fusing = None, False
    dtypes = {str(d) for operation in history.op_list for d in operation.dtypes}
    assert dtypes == {dtype}
