"""CuPy itself, where it is installed, on arrays that have an address and no memory.

Whatever CuPy does on the host needs no GPU: shapes, strides, views, and turning a fused function into
the source of a kernel. (It was seen here that cupy.fuse makes 1 - beta a half-precision number.)
"""

import ctypes
import itertools
import shutil
import subprocess
import sys
from types import FunctionType

import numpy as np
import pytest

import tinydiv.loop  # and with it all that runs in a step  # noqa: F401
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
    optimizers.counted_adam_update: "aaaaaannnn",
    philox.ten_rounds: "uuuuuu",
}


def test_the_table_names_every_fused_function():
    modules = [module for name, module in sys.modules.items() if name.startswith("tinydiv.")]
    functions = {f for m in modules for f in vars(m).values() if isinstance(f, FunctionType)}
    found = {f for f in functions if hasattr(f, "plain")}
    assert found == set(FUSED)


@pytest.fixture
def traced(cupy):
    """(a fused function, rate) -> CuPy's record of its operations, and the kernel made of them."""
    fusion = pytest.importorskip("cupy._core.fusion", reason="CuPy is not installed")
    if not hasattr(fusion, "_FusionHistory"):
        pytest.skip("CuPy is not installed in a version whose fusion can be read")

    def trace(function, rate):
        kinds, dtype = FUSED[function], dtype_of(function)
        arguments = [0.5 if kind == "n" else without_memory(cupy, (3, 5), dtype) for kind in kinds]
        if rate == "per network" and "n" in kinds:
            arguments[kinds.index("n")] = without_memory(cupy, (3, 1), dtype)
        backend.xp._choose(cupy, None)
        history, local = fusion._FusionHistory(), fusion._thread_local
        local.history, local.is_old_fusing = history, True
        try:
            kernel, _ = history.get_fusion(function.plain, arguments, function.__name__)
        finally:
            local.history, local.is_old_fusing = None, False
        return history, kernel

    return trace


def dtype_of(function):
    return "uint64" if "u" in FUSED[function] else "float32"


@pytest.mark.parametrize("rate", ["one", "per network"])
@pytest.mark.parametrize("function", FUSED, ids=lambda f: f.__name__)
def test_every_operation_of_a_fused_function_has_the_arrays_dtype(traced, function, rate):
    """Nothing falls to float16 or rises to float64 between float32 arrays."""
    history, _ = traced(function, rate)
    dtypes = {str(d) for operation in history.op_list for d in operation.dtypes}
    assert dtypes == {dtype_of(function)}


C_TYPES = {"float32": "float", "float64": "double", "uint64": "unsigned long long"}


def compiled(kernel, folder):
    """A kernel's body as a C++ function of one element: (pointers to the inputs and outputs)."""
    compiler = shutil.which("c++")
    if compiler is None:
        pytest.skip("no C++ compiler here")
    parameters = [(np.dtype(p.dtype).name, p.name) for p in (*kernel.in_params, *kernel.out_params)]
    signature = ", ".join(f"{C_TYPES[dtype]} &{name}" for dtype, name in parameters)
    pieces = [line for line in kernel.preamble.splitlines() if "#include" not in line]
    source = ["#include <cmath>", "using namespace std;", "#define __device__", *pieces]
    source += [f'extern "C" void element({signature}) {{', f"{kernel.operation};", "}"]
    (folder / "kernel.cpp").write_text("\n".join(source))
    flags = ["-ffp-contract=off", "-shared", "-fPIC", "-o", str(folder / "kernel.so")]
    subprocess.run([compiler, *flags, str(folder / "kernel.cpp")], check=True)
    return ctypes.CDLL(str(folder / "kernel.so")).element, [dtype for dtype, _ in parameters]


@pytest.mark.parametrize("function", FUSED, ids=lambda f: f.__name__)
def test_the_source_of_a_fused_kernel_computes_what_the_plain_function_does(
    traced, function, tmp_path
):
    """CuPy's own C++, run here element by element: equal to the last bit."""
    _, kernel = traced(function, "one")
    element, dtypes = compiled(kernel, tmp_path)
    backend.use("numpy")
    rng = np.random.default_rng(0)
    for _ in range(100):
        values = [
            rng.integers(2**32, size=1).astype(dtype)
            if dtype == "uint64"
            else rng.uniform(0.01, 0.99, size=1).astype(dtype)
            for dtype in dtypes
        ]
        given = values[: len(FUSED[function])]
        plain = [v.copy() if v.dtype == dtype_of(function) else v.item() for v in given]
        results = function.plain(*plain)
        element(*(ctypes.c_void_p(v.ctypes.data) for v in values))
        expected = [*plain, *(results or ())]
        assert [v.item() for v in values] == [getattr(v, "item", lambda v=v: v)() for v in expected]


# Dtypes ------------------------------------------------------------------------------------------

DTYPES = ["bool", "uint8", "int32", "int64", "uint32", "uint64", "float32", "float64"]
NUMBERS = [True, 3, 0.5]
BINARY = ["add", "subtract", "multiply", "true_divide", "floor_divide", "remainder", "power"]
BINARY += ["maximum", "minimum", "greater", "greater_equal", "less", "less_equal", "equal"]
BINARY += ["not_equal", "bitwise_and", "bitwise_or", "bitwise_xor", "left_shift", "right_shift"]
UNARY = [
    "sqrt",
    "exp",
    "log",
    "log1p",
    "tanh",
    "absolute",
    "sign",
    "isfinite",
    "negative",
    "invert",
]


@pytest.fixture
def dtype_in_cupy(cupy):
    """(ufunc, arguments) -> the dtype of its result, from the code that chooses CuPy's kernels."""
    scalar = pytest.importorskip("cupy._core._scalar", reason="CuPy is not installed")
    if not hasattr(scalar, "CScalar") or not hasattr(cupy.add, "_ops"):
        pytest.skip("CuPy is not installed in a version whose choice of kernels can be read")

    def ask(ufunc, *dtypes_or_numbers, dtype=None):
        arguments = [
            without_memory(cupy, (3,), x) if isinstance(x, str) else scalar.CScalar(x)
            for x in dtypes_or_numbers
        ]
        try:
            chosen = ufunc._ops.guess_routine(ufunc.name, {}, arguments, dtype, None)
        except TypeError:
            return None  # as in NumPy: there is no such operation
        return np.dtype(chosen.out_types[0])

    return ask


def dtype_in_numpy(function, *dtypes_or_numbers):
    arguments = [np.ones(3, x) if isinstance(x, str) else x for x in dtypes_or_numbers]
    try:
        return function(*arguments).dtype
    except TypeError:
        return None


def pairs():
    """Every two dtypes, and every dtype with every kind of Python number, in both orders."""
    yield from itertools.product(DTYPES, DTYPES)
    for pair in itertools.product(DTYPES, NUMBERS):
        yield pair
        yield pair[::-1]


@pytest.mark.parametrize("name", BINARY)
def test_two_operands_give_the_dtype_that_numpy_gives(cupy, dtype_in_cupy, name):
    """So that the stand-in, which computes with NumPy, shows float64 wherever CuPy would have it."""
    ours, theirs = getattr(np, name), getattr(cupy, name)
    for pair in pairs():
        assert dtype_in_cupy(theirs, *pair) == dtype_in_numpy(ours, *pair), pair


def test_where_gives_the_dtype_that_numpy_gives(dtype_in_cupy):
    search = pytest.importorskip("cupy._sorting.search", reason="CuPy is not installed")
    for pair in pairs():
        expected = dtype_in_numpy(lambda a, b: np.where(np.ones(3, bool), a, b), *pair)
        assert dtype_in_cupy(search._where_ufunc, "bool", *pair) == expected, pair


@pytest.mark.parametrize("name", UNARY)
def test_one_operand_gives_the_dtype_that_numpy_gives(cupy, dtype_in_cupy, name):
    for dtype in DTYPES:
        if (name, dtype) != ("sign", "bool"):  # CuPy has one, NumPy has none
            expected = dtype_in_numpy(getattr(np, name), dtype)
            assert dtype_in_cupy(getattr(cupy, name), dtype) == expected, dtype


def test_stored_bytes_become_floats_in_one_kernel(cupy, dtype_in_cupy):
    """multiply(bytes, scale, dtype=float32), as the data come: no float64, no refusal."""
    found = dtype_in_cupy(cupy.multiply, "uint8", "float32", dtype=np.dtype("float32"))
    assert found == np.float32
