"""On a real GPU: equal numbers, no hidden wait, flat memory, and launches as the stand-in counts them.

(Every test that takes the `backend` fixture runs on CuPy too; here is what only a GPU can show.)
"""

import contextlib
import ctypes
import gc

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


SPIN = r"""
extern "C" __global__ void spin(long long ticks) {
    long long began = clock64();
    while (clock64() - began < ticks) { }
}
"""


@contextlib.contextmanager
def no_waiting():
    """What is handed over inside returns while a kernel of half a second, launched before, still runs.

    By the clock, so that no way of waiting is left out: .get(), a sort, a solver, new memory. At most
    some hundred launches: a queue of 1,024 waits by itself.
    """
    spin = xp.RawKernel(SPIN, "spin")
    spin((1,), (1,), (1,))  # compiles
    xp.cuda.Device().synchronize()
    spin((1,), (1,), (xp.cuda.Device().attributes["ClockRate"] * 500,))
    spun = xp.cuda.Event()
    spun.record()
    yield
    waited = spun.done
    xp.cuda.Device().synchronize()
    assert not waited, "the host waited for the device"


def test_a_wait_is_seen():
    use("cupy")
    one = xp.ones(1)
    with pytest.raises(AssertionError, match="the host waited"), no_waiting():
        float(one[0])


@pytest.mark.parametrize("optimizer", optimizers.OPTIMIZERS)
@pytest.mark.parametrize("replicas", [None, 16])
def test_a_plain_step_never_waits_for_the_device(replicas, optimizer):
    """Ten steps at a time; 70 contain a flush of the moments."""
    use("cupy")
    net, X, Y = case(replicas)
    moves = optimizers.get(optimizer)(net, weight_decay=0.01)
    for _ in range(64):
        step(net, moves, X, Y)  # compiles, a flush too, and fills the memory pool
    for _ in range(7):
        with no_waiting():
            for _ in range(10):
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
    reductions = sum(counts.names["launches"][name] for name in (".sum", ".max"))
    assert counts.launches <= real <= counts.launches + reductions
