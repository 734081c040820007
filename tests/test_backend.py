"""One array module: choosing it, the sentences where it cannot work, and the calls of cuBLAS."""

import sys
import types

import fake_cupy
import numpy as np
import pytest
import standin

from tinydiv import backend
from tinydiv.backend import fuse, matmul, sum_over_samples, to_device, to_host, use, xp
from tinydiv.errors import RunError, UsageError

# Choosing ----------------------------------------------------------------------------------------


def test_the_proxy_follows_a_switch_made_after_its_import():
    assert use("numpy") == "numpy"
    assert isinstance(xp.zeros(2), np.ndarray)
    assert use(standin) == "standin" == backend.name()
    assert isinstance(xp.zeros(2), standin.ndarray)
    assert repr(xp) == "<tinydiv array module: standin>"
    use("numpy")
    assert isinstance(xp.zeros(2), np.ndarray)
    assert backend.name() == "numpy"


def test_the_proxy_looks_a_name_up_in_its_module_once():
    names = []
    module = types.ModuleType("counted")
    module.matmul = np.matmul
    module.__getattr__ = lambda name: names.append(name) or getattr(np, name)
    use(module)
    assert [float(xp.sqrt(4.0)) for _ in range(3)] == [2.0, 2.0, 2.0]
    assert names.count("sqrt") == 1


def test_a_module_without_a_strided_batched_product_is_used_with_its_own():
    module = types.ModuleType("plain")
    module.__getattr__ = lambda name: getattr(np, name)
    module.matmul = lambda a, b, out=None: "its own product"
    assert use(module) == "plain"
    assert matmul(1, 2) == "its own product"


def test_an_unknown_backend_is_one_sentence_with_the_nearest_name():
    with pytest.raises(UsageError, match=r"no backend called 'nunpy'.*did you mean 'numpy'"):
        use("nunpy")
    assert backend.name() == "numpy"


def test_a_name_that_the_module_lacks_is_an_attribute_error(backend):
    with pytest.raises(AttributeError):
        _ = xp.no_such_function


# Moving ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [[[1.5, 2.5]], [1, 2, 3], 4.0, True, np.arange(6).reshape(2, 3)])
def test_values_survive_the_way_to_the_device_and_back(backend, value):
    there = to_device(value)
    assert isinstance(there, xp.ndarray) or np.ndim(value) == 0
    np.testing.assert_array_equal(to_host(there), value)
    assert isinstance(to_host(there), np.ndarray)
    assert to_device(value, dtype="float32").dtype == np.float32


@pytest.mark.parametrize("number", [1, 2.0, True, np.float32(3)])
def test_plain_numbers_are_on_the_host_already(backend, number):
    assert to_host(number) == number


def test_synchronize_waits_for_the_device_and_is_nothing_on_a_cpu(monkeypatch):
    waited = []
    module = types.ModuleType("waiting")
    stream = types.SimpleNamespace(synchronize=lambda: waited.append(True))
    module.cuda = types.SimpleNamespace(get_current_stream=lambda: stream)
    module.matmul = np.matmul
    use(module)
    backend.synchronize()
    use("numpy")
    backend.synchronize()
    assert waited == [True]


def test_quiet_code_overflows_without_a_warning():
    with backend.quiet():
        assert np.isinf(np.exp(np.array([1000.0]))).all()
    with pytest.warns(RuntimeWarning, match="overflow"):
        np.exp(np.array([1000.0]))


# fuse --------------------------------------------------------------------------------------------


@fuse
def halved_sum(a, b):
    """Half the sum."""
    return 0.5 * (a + b)


def test_a_fused_function_gives_what_its_plain_version_gives(backend):
    a, b = to_device([1.0, 2.0]), to_device([3.0, 4.0])
    assert to_host(halved_sum(a, b)).tolist() == [2.0, 3.0]
    assert to_host(halved_sum.plain(a, b)).tolist() == [2.0, 3.0]
    assert halved_sum.__doc__ == "Half the sum."


def test_fuse_compiles_once_per_module_and_follows_a_switch():
    compiled = []
    module = types.ModuleType("compiling")
    module.matmul = np.matmul
    module.fuse = lambda function: compiled.append(function) or (lambda a, b: "compiled")
    assert halved_sum(1.0, 3.0) == 2.0
    use(module)
    assert [halved_sum(1.0, 3.0), halved_sum(1.0, 3.0)] == ["compiled", "compiled"]
    assert compiled == [halved_sum.plain]
    use("numpy")
    assert halved_sum(1.0, 3.0) == 2.0


def test_fuse_runs_the_plain_function_where_nothing_can_compile():
    module = types.ModuleType("simple")
    module.matmul = np.matmul
    use(module)
    assert halved_sum(1.0, 3.0) == 2.0


# Where CuPy cannot work --------------------------------------------------------------------------


def no_cupy(monkeypatch):
    fake_cupy.forget(monkeypatch)
    monkeypatch.setitem(sys.modules, "cupy", None)


def with_failure(**failure):
    return lambda monkeypatch: fake_cupy.install(monkeypatch, **failure)


FAILURES = {
    "no CuPy": (no_cupy, r"needs CuPy, which is not installed.*pip install.*cuda13"),
    "no driver": (
        with_failure(driver_error="cudaErrorInsufficientDriver: too old\nsecond line"),
        r"no working CUDA driver \(cudaErrorInsufficientDriver: too old\).*install or update",
    ),
    "no GPU": (with_failure(devices=0), r"shows no CUDA GPU.*CUDA_VISIBLE_DEVICES"),
    "no toolkit": (
        with_failure(kernel_error="libnvrtc.so.13: cannot open shared object file"),
        r"toolkit's libraries do not work \(libnvrtc.so.13: cannot open shared object file\).*pip",
    ),
    "no solver": (
        with_failure(solver_error="libcusolver.so.12: cannot open shared object file"),
        r"toolkit's libraries do not work \(libcusolver.so.12: cannot open.*pip",
    ),
    "wrong numbers": (with_failure(wrong_by=0.5), r"computes wrongly \(a sum gave 10.0.*reinstall"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_where_cupy_cannot_work_one_sentence_names_the_part_and_what_to_do(monkeypatch, failure):
    arrange, sentence = FAILURES[failure]
    arrange(monkeypatch)
    with pytest.raises(RunError, match=sentence) as raised:
        use("cupy")
    assert "\n" not in str(raised.value)
    assert raised.value.__cause__ is None
    assert backend.name() == "numpy"  # the choice that worked stays
    assert use("auto") == "numpy"


def test_a_cupy_whose_import_fails_gives_another_sentence_than_one_that_is_missing(
    monkeypatch, tmp_path
):
    (tmp_path / "cupy.py").write_text("raise ImportError('libcudart.so.13: no such file.\\nmore')")
    fake_cupy.forget(monkeypatch)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        RunError, match=r"import fails \(libcudart.so.13: no such file\): reinstall"
    ):
        use("cupy")


BANNER = """
================================================================
Failed to import CuPy.

If you installed CuPy via wheels (cupy-cudaXXX), make sure that it matches the version of CUDA.

Original error:
  ImportError: libcuda.so.1: cannot open shared object file
================================================================
"""


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (f"ImportError({BANNER!r})", "ImportError: libcuda.so.1: cannot open shared object file"),
        ("ImportError('====\\nno words above')", "no words above"),
        ("AttributeError('np.cfloat was removed')", "np.cfloat was removed"),
        ("OSError()", "OSError"),
    ],
)
def test_whatever_the_import_of_cupy_raises_its_cause_is_shown(
    monkeypatch, tmp_path, raised, words
):
    (tmp_path / "cupy.py").write_text(f"raise {raised}")
    fake_cupy.forget(monkeypatch)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RunError, match=rf"import fails \({words}\): reinstall"):
        use("cupy")
    assert use("auto") == "numpy"


def test_an_error_without_words_is_named_by_its_kind(monkeypatch):
    cupy = fake_cupy.install(monkeypatch)
    cupy.cuda.runtime.getDeviceCount = lambda: (_ for _ in ()).throw(OSError())
    with pytest.raises(RunError, match=r"no working CUDA driver \(OSError\)"):
        use("cupy")


# Where it can ------------------------------------------------------------------------------------


def test_a_working_cupy_is_chosen_by_name_and_by_auto(monkeypatch):
    fake_cupy.install(monkeypatch)
    assert use("cupy") == "cupy" == backend.name()
    use("numpy")
    assert use("auto") == "cupy"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shared", [False, True])
def test_cublas_gets_its_twenty_arguments_in_order(monkeypatch, dtype, shared):
    cupy = fake_cupy.install(monkeypatch)
    use("cupy")
    rng = np.random.default_rng(0)
    theta, X = rng.normal(size=(3, 40)).astype(dtype), rng.normal(size=(3, 2, 5)).astype(dtype)
    W_host, X_host = theta[:, 7:27].reshape(3, 4, 5), X[0] if shared else X
    W, X = to_device(theta)[:, 7:27].reshape(3, 4, 5), to_device(X_host)
    out = to_device(np.zeros((3, 2, 4), dtype))
    assert matmul(X, W.mT, out=out) is out
    np.testing.assert_allclose(to_host(out), X_host @ W_host.swapaxes(1, 2), rtol=1e-5)
    np.testing.assert_allclose(
        to_host(matmul(W, X.mT)), W_host @ X_host.swapaxes(-1, -2), rtol=1e-5
    )
    assert cupy.cuda.pointer_mode[-1] == 1, "the pointer mode is put back for CuPy's own calls"


@pytest.mark.parametrize("lead", [(), (3,)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_over_samples_keep_the_axis_and_the_dtype(backend, lead, dtype):
    """Of arrays as they lie, transposed, and of one sample; into an array that is there, too."""
    numbers = np.random.default_rng(0).normal(size=(*lead, 7, 5))
    a, across = (
        to_device(numbers, dtype=dtype),
        to_device(numbers.swapaxes(-2, -1).copy(), dtype=dtype).mT,
    )
    close = {"rtol": 1e-5, "atol": 1e-6} if dtype == "float32" else {"rtol": 1e-12}
    for each, right in ((a, numbers), (across, numbers), (a[..., :1, :], numbers[..., :1, :])):
        total = sum_over_samples(each)
        assert (total.shape, total.dtype) == ((*lead, 1, 5), dtype)
        np.testing.assert_allclose(to_host(total), right.sum(axis=-2, keepdims=True), **close)
    out = to_device(np.zeros((*lead, 1, 5)), dtype=dtype)
    sum_over_samples(a, out=out)
    np.testing.assert_array_equal(to_host(out), to_host(sum_over_samples(a)))
