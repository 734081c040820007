"""On a real GPU: equal numbers, no hidden wait, flat memory, and launches as the stand-in counts them.

(Every test that takes the `backend` fixture runs on CuPy too; here is what only a GPU can show.)
"""

import contextlib
import ctypes
import gc
import warnings

import numpy as np
import pytest
import standin
from helpers import close, labels, network, numbers, step

from tinydiv import losses, optimizers
from tinydiv.backend import to_host, use, xp

pytestmark = pytest.mark.gpu

SIZES, BATCH = [784, 16, 10], 64


def case(replicas, seed=0):
    net = network(SIZES, seed=seed, scale=0.05, replicas=replicas)
    X = numbers(BATCH, SIZES[0], seed=1, dtype="float32")
    return net, X, labels(BATCH, classes=SIZES[-1], seed=2)


@pytest.mark.parametrize("replicas", [None, 1, 16, 33])
def test_forward_gradients_and_ten_losses_agree_with_numpy(replicas):
    found = {}
    for module in ("numpy", "cupy"):
        use(module)
        net, X, Y = case(replicas)
        trace = net.forward(X)
        _, dlogits = losses.cross_entropy(trace.logits, Y)
        net.backward(trace, dlogits)
        logits, gradient = to_host(trace.logits), to_host(net.dtheta).copy()
        optimizer = optimizers.Adam(net, lr=1e-3)
        ten = to_host(xp.stack([step(net, optimizer, X, Y) for _ in range(10)]))
        found[module] = logits, gradient, ten
    for on_cpu, on_gpu in zip(found["numpy"], found["cupy"], strict=True):
        close(on_gpu, on_cpu, rtol=1e-5, atol=1e-5 * float(np.abs(on_cpu).max()))


@contextlib.contextmanager
def no_waiting():
    """CuPy raises at any wait of its own. Its switch warns, for good, that it may be taken away."""
    import cupyx

    if not hasattr(cupyx, "allow_synchronize"):
        pytest.fail("this CuPy cannot refuse waits any more: prove it by other means")
    with contextlib.ExitStack() as stack:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "cupyx.allow_synchronize")
            stack.enter_context(cupyx.allow_synchronize(False))
        yield


def test_the_switch_that_refuses_waits_works():
    use("cupy")
    one = xp.ones(1)
    with no_waiting(), pytest.raises(RuntimeError, match="synchronization was detected"):
        float(one[0])


@pytest.mark.parametrize("optimizer", optimizers.OPTIMIZERS)
@pytest.mark.parametrize("replicas", [None, 16])
def test_a_plain_step_never_waits_for_the_device(replicas, optimizer):
    """70 steps contain a flush of the moments."""
    use("cupy")
    net, X, Y = case(replicas)
    moves = optimizers.get(optimizer)(net, weight_decay=0.01)
    step(net, moves, X, Y)  # compiles
    with no_waiting():
        for _ in range(70):
            step(net, moves, X, Y)
    assert np.isfinite(to_host(net.theta)).all()


def test_memory_is_flat_over_epochs():
    use("cupy")
    gc.collect()  # what earlier tests left behind may not be freed in between
    pool = xp.get_default_memory_pool()
    net, X, Y = case(16)
    optimizer = optimizers.Adam(net)
    seen = []
    for _ in range(4):
        for _ in range(100):
            step(net, optimizer, X, Y)
        seen.append((pool.used_bytes(), pool.total_bytes()))
    assert seen[1:] == seen[:1] * 3


def graph_nodes(work):
    """How many launches `work` really is: nodes of the CUDA graph that it is captured into."""
    stream = xp.cuda.Stream(non_blocking=True)
    with stream:
        for _ in range(3):  # compiles, and fills this stream's part of the memory pool
            work()
        stream.synchronize()
        stream.begin_capture()
        work()
        graph = stream.end_capture()
    count = ctypes.c_size_t()
    get_nodes = ctypes.CDLL("libcuda.so.1").cuGraphGetNodes
    assert get_nodes(ctypes.c_void_p(graph.graph), None, ctypes.byref(count)) == 0
    return count.value


def test_launches_are_those_that_the_stand_in_counts():
    """All but the products, which cannot be captured: loss, activation, chain rule, update.

    A reduction may be two kernels, everything else is one.
    """

    def prepared():
        net, X, Y = case(3)
        optimizer = optimizers.Adam(net)
        trace = net.forward(X)

        def work():
            losses.cross_entropy(trace.logits, Y)
            net.activation(trace.Z[0])
            trace.A[1] * net.activation.derivative(trace.Z[0])
            optimizer.step()

        return work

    use(standin)
    work = prepared()
    with standin.counting() as counts:
        work()
    use("cupy")
    real = graph_nodes(prepared())
    reductions = sum(counts.names["launches"][name] for name in ("sum", "max"))
    assert counts.launches <= real <= counts.launches + reductions
