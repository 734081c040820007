# %% [markdown]
# # 12. Train a thousand networks at once, and run the same lines on a GPU
#
# **You will do:** train a thousand networks in one array, make one run a whole sweep over rates, and count what a
# GPU would have to do for one network and for a thousand.
#
# **You will learn:** how a leading axis turns code for one network into code for many; how shapes go wrong
# silently; what launches, copies and stops are, and why they are counted and not timed here.
#
# **You need:** tutorial 2 (forward and backward), and broadcasting in NumPy.
#
# **Reading time:** 14 minutes. It runs in a few seconds.

# %%
import matplotlib.pyplot as plt
import numpy as np
from checks import check

from tinydiv.data import load
from tinydiv.initializers import initialize
from tinydiv.loop import DeviceData, train
from tinydiv.losses import cross_entropy
from tinydiv.mlp import MLP
from tinydiv.optimizers import SGD

data = DeviceData(load("moons"), dtype="float64")

# %% [markdown]
# ## One axis more
#
# A comparison needs many networks: many seeds, many rates. One could write a loop over them. But a network as
# small as ours keeps a computer busy with calling functions, hardly with computing. So put all networks into one
# array, with an axis $r$ in front:
#
# $$Z_{rnh} = \sum_d X_{nd}\, W_{rdh} + b_{rh} .$$
#
# `@` of NumPy works on the last two axes and repeats itself along all others. So `X @ W + b` needs no change at
# all, if every sum names its axes *from the end*: `-2` are samples, `-1` are neurons.
#
# *Predict the shapes of `W[0]`, `b[0]`, `A[1]` and the loss, for a thousand networks 2-8-2 and 64 samples.*

# %%
R, N = 1000, 64
many = MLP([2, 8, 2], replicas=R, dtype="float64")
initialize(many, "he-normal", seed=0)  # network r starts from seed 0 + r
X, Y = data.floats(data.train_x[:N]), data.train_y[:N]
trace = many.forward(X)
loss, dlogits = cross_entropy(trace.logits, Y)
many.backward(trace, dlogits)
for name, array in (
    ("X", X),
    ("W[0]", many.W[0]),
    ("b[0]", many.b[0]),
    ("A[1]", trace.A[1]),
    ("loss", loss),
    ("dW[0]", many.dW[0]),
):
    print(f"{name:6} {array.shape}")

# %% [asserts]
assert X.shape == (64, 2)
assert trace.A[1].shape == (1000, 64, 8)
assert loss.shape == (1000,)
assert many.sizes == [2, 8, 2]

# %% [markdown]
# Everything that depends on weights has an axis of networks; `X`, the 64 samples, has none. The loss is
# one number per network. Now a network by itself: does it get the same as it gets among the others?

# %%
alone = MLP([2, 8, 2], dtype="float64")
initialize(alone, "he-normal", seed=7)
own = alone.forward(X)
alone.backward(own, cross_entropy(own.logits, Y)[1])
gap = np.abs(alone.dW[0] - many.dW[0][7]).max()
print(f"largest difference of the gradients of network 7: {gap:.0e}")

# %% [asserts]
assert gap < 1e-14
assert np.array_equal(alone.W[0], many.W[0][7])

# %% [markdown]
# To rounding, network 7 gets the gradient that it gets alone.
#
# ## One run is a whole sweep
#
# If every network has numbers of its own, it may have a learning rate of its own. Ten rates, a hundred seeds each,
# and every rate with the *same* hundred starts and the same batches: one run.
#
# *Predict: where does the best rate lie, and what happens beyond it?*

# %%
RATES = [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300]
SEEDS = R // len(RATES)


def sweep(optimizer):
    """Test accuracies (rates, seeds) after three epochs, of a thousand networks trained in one run."""
    net = MLP([2, 8, 2], replicas=R, dtype="float64")
    initialize(net, "he-normal", seed=[*range(SEEDS)] * len(RATES))
    rates = np.repeat(RATES, SEEDS).tolist()  # one per network
    records = train(net, data, optimizer(net, lr=rates), epochs=3, metrics=[])
    return np.array(records[-1].test_accuracy).reshape(len(RATES), SEEDS)


accuracy = sweep(SGD)
middle = np.median(accuracy, axis=1)

# %% mystnb={"image": {"alt": "Test accuracy against the learning rate on a logarithmic axis: the median of a hundred seeds as a line, a band from the tenth to the ninetieth percentile. The line rises slowly, then faster up to a peak, and drops steeply to one half at the largest rates."}}
low, high = np.quantile(accuracy, [0.1, 0.9], axis=1)
fig, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
ax.semilogx(RATES, middle, "o-", label="median of the seeds")
ax.fill_between(RATES, low, high, alpha=0.25, label="8 of 10 seeds")
ax.set_xlabel("learning rate")
ax.set_ylabel("test accuracy after three epochs")
ax.legend()
plt.show()

# %%
for rate, m in zip(RATES, middle, strict=True):
    print(f"rate {rate:<6} median {m:.3f}")

# %% [asserts]
assert RATES[int(middle.argmax())] == 3
assert f"{100 * middle.max():.1f}" == "95.7"
assert f"{100 * middle[RATES.index(10)]:.0f}" == "50"

# %% [markdown]
# The best of these rates is 3, with a median of 95.7 %; at 10 half of the networks and more are at 50 %, which is
# guessing. From the best rate to one that is far too large it is not far, and one seed would not show it.
#
# Strengths of techniques go the same way: one number for all, or one per network. On the command line a slash
# separates them:
#
#     python -m tinydiv.train --replicas 4 --lr 0.001/0.003/0.01/0.03
#     python -m tinydiv.train --replicas 3 --technique decov:strength=0/0.01/0.1
#     python -m tinydiv.train --replicas 1000 --workers 2
#
# `--workers` shares the networks out among processes. As no network sees another, the result is the same to the bit
# (`tests/test_workers.py` holds that); only the time changes.
#
# ## What a GPU has to do
#
# A GPU is a second computer. Python runs on the first one, the *host*, and sends orders: "multiply these two
# arrays". Three things cost time there:
#
# - a **launch**: one order. It costs some microseconds, whether it computes ten numbers or ten million;
# - a **copy** between host and device, or on the device where an array does not lie as an order wants it;
# - a **stop**: the host needs a number (`float(loss)`, `if loss > 1`), so it waits until the device has done all.
#
# None of these needs a GPU to be *counted*. Below is an array that counts: every operation on it is a launch, and
# everything that hands a number to Python is a stop. (tinydiv's own tests have a much stricter one, which counts
# copies too: `tests/standin.py`.)
#
# *Predict: how many launches for one network, and how many for a thousand?*

# %%
counts = {"launches": 0, "stops": 0}


class Counted(np.ndarray):
    """An array that counts operations (launches) and numbers handed to Python (stops)."""

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **keywords):
        counts["launches"] += 1
        if out is not None:
            keywords["out"] = tuple(plain(array) for array in out)
        result = getattr(ufunc, method)(*map(plain, inputs), **keywords)
        return np.asarray(result).view(Counted)

    def __float__(self):
        counts["stops"] += 1
        return float(plain(self))


def plain(array):
    return array.view(np.ndarray) if isinstance(array, Counted) else array


def gradients(networks, look=False):
    """The counts of forward and backward of some networks. look: read every loss, too."""
    net = MLP([2, 8, 2], replicas=networks, dtype="float64")
    initialize(net, "he-normal", seed=0)
    counts.update(launches=0, stops=0)
    trace = net.forward(X.view(Counted))
    loss, dlogits = cross_entropy(trace.logits, Y)
    net.backward(trace, dlogits)
    if look:
        for r in range(networks):
            float(loss[r, ...])  # the dots keep it an array
    return dict(counts)


for networks in (1, 10, R):
    print(f"{networks:5} networks: {gradients(networks)}")

# %% [asserts]
assert gradients(1) == gradients(R) == {"launches": 24, "stops": 0}

# %% [markdown]
# A thousand networks need as many launches as one: 24, and no stop. A loop over a thousand networks would send a thousand
# times as many orders; if each takes a few microseconds, the GPU would wait for Python nearly all the time. That is
# why one small network gains nothing on a GPU, and why many at once may. (May: nothing on these pages was timed on
# a GPU.)
#
# So what does "the same lines on a GPU" mean? In every core file of tinydiv stands
#
#     from tinydiv.backend import xp
#
# and `xp.sum`, `xp.exp` are NumPy's or CuPy's, a library with the same functions for NVIDIA GPUs. Which one is
# decided once, by `backend.use("cupy")` or `--backend cupy`. Data go there by `to_device` and come back by `to_host`.
# Both are copies, so they stand at the edges of a run and never in a step.

# %%
from tinydiv import backend
from tinydiv.backend import to_device, to_host, xp

print(backend.use("numpy"), xp)
there = to_device([1.0, 2.0])
print(type(there).__name__, to_host(xp.sum(there)))

# %% [asserts]
assert float(to_host(xp.sum(there))) == 3

# %% [markdown]
# ## Break it
#
# Two faults that one network never shows. *Predict for each: an error, a wrong result, or a slow one?*
#
# 1. Someone prints the loss of every network in every step.
# 2. Someone multiplies a gradient `dA` of shape $(R, N, H)$ by strengths of shape $(R)$, where $R$ happens to be $H$.

# %%
print("1.", gradients(R, look=True))

H = 8
strengths = np.array([0.0] * 7 + [1.0])  # the last of eight networks alone is to be penalised
dA = np.ones((H, N, H))
wrong = strengths * dA
right = strengths[:, None, None] * dA
print("2. networks that get a gradient, wrong:", int(wrong.any(axis=(1, 2)).sum()))
print("   networks that get a gradient, right:", int(right.any(axis=(1, 2)).sum()))

# %% [asserts]
looked = gradients(R, look=True)
assert looked["stops"] == 1000
assert int(wrong.any(axis=(1, 2)).sum()) == 8
assert int(right.any(axis=(1, 2)).sum()) == 1

# %% [markdown]
# The first fault is only slow, the second is silent. The first is right and slow: 1000 stops where there was none. (Keep the loss on the device, and look once per
# epoch.) The second is **silently wrong**: NumPy aligns shapes from the *end*, so the strengths met the neurons. All
# 8 networks got a gradient, each at its last neuron, where only 1 network should have. With nine networks it would
# have been an error, and you would have been lucky. tinydiv keeps a strength in the shape $(R, 1, 1)$ for this reason.
#
# ## Exercises
#
# Ours are in `tutorials/solutions/12_train_a_thousand_networks.py`.
#
# 1. **A measure for any number of networks.** Write a function of `A` that gives the share of hidden neurons which
#    respond to no sample (activation zero): one number for $(N, H)$, and one per network for $(R, N, H)$. *Done when* it gives
#    for all networks what it gives for each alone.

# %%
answer_1 = ...  # your function of A

check(
    answer_1,
    (callable, "answer_1 is a function of A"),
    (
        lambda f: np.shape(f(trace.A[1][0])) == (),
        "one network gives one number: which axes are left?",
    ),
    (lambda f: f(np.array([[0.0, 1], [0, 0]])) == 0.5, "one of two neurons is silent there: 0.5"),
    (
        lambda f: np.shape(f(trace.A[1])) == (R,),
        "name the axes from the end: -2 samples, -1 neurons",
    ),
    (
        lambda f: np.allclose(f(trace.A[1]), [f(A) for A in trace.A[1]]),
        "some network gets another number than alone",
    ),
)

# %% [markdown]
# 2. **Another optimizer, another rate.** Which of `RATES` has the best median under `Adam` of
#    `tinydiv.optimizers`? Predict, then use `sweep`. *Done when* your rate is the best one.

# %%
answer_2 = ...  # one of RATES


def best_of_adam():
    from tinydiv.optimizers import Adam

    return RATES[int(np.median(sweep(Adam), axis=1).argmax())]


check(
    answer_2,
    (lambda rate: rate in RATES, "one of the ten rates"),
    (lambda rate: rate == best_of_adam(), "print the medians of sweep(Adam), and take the largest"),
)

# %% [markdown]
# ## What you have now
#
# Code for one network that trains a thousand, a sweep in one run, and three things to count before anybody buys a
# GPU. Studies, the gallery and the growing networks of this project all work along this one axis.
#
# > **For teachers**
# >
# > Give every student a rate and a seed, let each train that one network, and collect the accuracies on the board;
# > then run the sweep. The broadcasting fault works well as a bet: most say that it raises an error.
#
# ## Further reading
#
# - `tinydiv/backend.py`: the whole of `xp`; `tinydiv/products.py`: products on a GPU without copies;
#   `results/speed.md`: what was tried and measured.
# - C. R. Harris et al., *Array programming with NumPy*, Nature 2020: broadcasting.
