# %% [markdown]
# # 2. Push gradients back, layer by layer, and meet the mistakes that everyone makes
#
# **You will do:** write the forward and the backward pass of a network yourself, have it checked, then make
# four classic mistakes on purpose and see which of them spoil training, and which hardly show.
#
# **You will learn:** that backpropagation is three lines, repeated; what shape everything has; how to know
# a wrong gradient by its symptoms, and why accuracy does not show it.
#
# **You need:** tutorial 1, and matrix products.
#
# **Reading time:** 17 minutes. It runs in about five seconds.

# %%
import matplotlib.pyplot as plt
import numpy as np
from checks import check, reported

from tinydiv.data import load
from tinydiv.initializers import initialize
from tinydiv.mlp import MLP

# %% [markdown]
# ## A network is the neuron of tutorial 1, many times
#
# Put $n_1$ neurons side by side and their weights become the columns of a matrix $W_0$. Let their outputs
# be the inputs of the next layer, and so on. With the samples as rows:
#
# $$Z_l = A_l W_l + b_l, \qquad A_{l+1} = f(Z_l), \qquad A_0 = X.$$
#
# The last $Z$ is left as it is: these are the *logits*, one column per class.
#
# *Predict the shape of each array for a network with 2 inputs, 3 hidden neurons and 2 classes, on 4 samples.*

# %%
xor = load("xor")
X = xor.floats("train", "float64")
Y = xor.train_y
net = MLP([2, 3, 2], activation="tanh", dtype="float64")
initialize(net, "glorot-normal", seed=1)
trace = net.forward(X)

for name, array in (
    ("A[0] = X", trace.A[0]),
    ("W[0]", net.W[0]),
    ("b[0]", net.b[0]),
    ("Z[0]", trace.Z[0]),
    ("A[1]", trace.A[1]),
    ("W[1]", net.W[1]),
    ("Z[1] = logits", trace.Z[1]),
):
    print(f"{name:14} {array.shape}")

# %% [asserts]
assert X.shape == (4, 2)
assert net.W[0].shape == (2, 3)
assert trace.A[1].shape == (4, 3)

# %% [markdown]
# ## Backward: how much does each array matter?
#
# Backpropagation computes for every entry of every array: *if it changed a little, how much would the loss
# change?* It begins at the end. For softmax and cross-entropy the answer at the logits is short, $p - y$
# per sample, divided by $N$ because the loss is a mean:

# %%
from tinydiv.losses import cross_entropy

loss, dlogits = cross_entropy(trace.logits, Y)
print(f"loss {loss:.4f}, and dlogits sums to zero in each row:")
print(dlogits.round(3))

# %% [asserts]
assert f"{loss:.4f}" == "0.7340"
assert np.allclose(dlogits.sum(axis=1), 0)

# %% [markdown]
# From there the gradient goes down one layer at a time. Suppose that we know $dZ_l$. Then
#
# $$
# dW_l = A_l^\top dZ_l, \qquad
# db_l = \sum_{\text{samples}} dZ_l, \qquad
# dA_l = dZ_l W_l^\top, \qquad
# dZ_{l-1} = dA_l \circ f'(Z_{l-1}).
# $$
#
# You need not remember where the transposes stand: **a gradient has the shape of what it is the gradient
# of**, and unless sizes happen to be equal, there is only one way for each product to fit the shapes. $dW_0$
# must be inputs × neurons, so it is $A_0^\top$ (inputs × samples) times $dZ_0$ (samples × neurons).
#
# Here it is, whole. `net.dW[l]` and `net.db[l]` are arrays that you fill, and `check_backward` of tutorial 1
# measures them.

# %%
from tinydiv.check import check_backward


def backward(net, trace, dlogits):
    """From the outputs to the inputs."""
    dZ = dlogits
    for l in reversed(range(net.depth)):
        net.dW[l][...] = trace.A[l].mT @ dZ
        net.db[l][...] = dZ.sum(axis=-2, keepdims=True)
        if l > 0:
            dA = dZ @ net.W[l].mT
            dZ = dA * net.activation.derivative(trace.Z[l - 1])


report = check_backward(backward)
print(report)

# %% [asserts]
assert report.right

# %% [markdown]
# These three lines are right: the doctor tried them on networks of several depths, all activation functions, one sample, several networks
# at once (`.mT` transposes the last two axes, so the same lines serve many networks with one more axis in front), and
# measured every single entry. That is the whole algorithm: `MLP.backward` in `tinydiv/mlp.py` is these
# lines and the extras that later tutorials need.
#
# ## Watch one step
#
# All arrays of one training step of a network of the same size: the forward pass along the top, below each
# array its gradient, and the new weights at the bottom. Follow one neuron's column through the picture.

# %% mystnb={"image": {"alt": "One training step of a network with two inputs, three hidden neurons and two classes as a grid of small heat maps with their numbers: the forward pass in the top row, the gradient of each array below it, the updated weights at the bottom. Each gradient has the shape of the array above it."}}
from tinydiv.trace.command import TraceConfig, traced
from tinydiv.trace.picture import step_picture

step, title = traced(TraceConfig(data="xor", hidden=(3,), activation="tanh", init="glorot-normal"))
step_picture(step)

# %% [markdown]
# The same as text, for any network, data set and technique: `python -m tinydiv.trace --help`.
#
# ## Four mistakes that everyone makes
#
# 1. **mask from the output**: for ReLU, the slope is 1 where the neuron is on. Written as `A >= 0` it is
#    true *everywhere*, since ReLU's output is never negative. (It should be `Z > 0`.)
# 2. **slope at A**: $f'$ is taken at the output $A_l$ and not at $Z_{l-1}$.
# 3. **mean bias**: the bias gradient is averaged over the samples, though $1/N$ is in $dZ$ already.
# 4. **moved too early**: the weights are updated while the gradient is still on its way down, so it goes
#    through the *new* $W$.
#
# *Predict, for a ReLU network and for a tanh network: which of the four will the doctor catch? Which will ruin
# training? Write down eight verdicts.*

# %%
from tinydiv.check import points
from tinydiv.check.judge import judge
from tinydiv.check.network import network_case

RATE = 0.05


def backward_with(mistake):
    """Our backward pass, with one mistake."""

    def backward(net, trace, dlogits):
        dZ = dlogits
        for l in reversed(range(net.depth)):
            net.dW[l][...] = trace.A[l].mT @ dZ
            db = dZ.mean if mistake == "mean bias" else dZ.sum
            net.db[l][...] = db(axis=-2, keepdims=True)
            if l == 0:
                return
            W = net.W[l]
            if mistake == "moved too early":
                W = W - RATE * net.dW[l]
            slope = net.activation.derivative(trace.Z[l - 1])
            if mistake == "mask from the output":
                slope = (trace.A[l] >= 0).astype(trace.A[l].dtype)
            if mistake == "slope at A":
                slope = net.activation.derivative(trace.A[l])
            dZ = (dZ @ W.mT) * slope

    return backward


MISTAKES = ("none", "mask from the output", "slope at A", "mean bias", "moved too early")
ACTIVATIONS = ("relu", "tanh")


def verdict(mistake, activation):
    """What the doctor says about the lowest layer that is wrong, or "right"."""
    net = points.network(points.DEEP, activation, seed=0)
    found = judge(network_case(net, points.DEEP, seed=0, backward=backward_with(mistake)))
    wrong = [v for v in found if not v.passes]
    return wrong[0].finding if wrong else None


doctor = {(m, a): verdict(m, a) for m in MISTAKES for a in ACTIVATIONS}
for (mistake, activation), finding in doctor.items():
    print(f"{mistake:21} {activation:5} {'right' if finding is None else finding.words[:92]}")

caught = {key for key, finding in doctor.items() if finding is not None}

# %% [asserts]
assert ("none", "relu") not in caught
assert ("none", "tanh") not in caught
assert ("slope at A", "relu") not in caught
assert len(caught) == 7
assert len(doctor) - len(ACTIVATIONS) == 8
assert doctor["mask from the output", "relu"].code == "mask-missing"
assert doctor["slope at A", "tanh"].code == "slope-of-activations"
assert {doctor["mean bias", a].code for a in ACTIVATIONS} == {"averaged-twice"}
assert {key for key in caught if doctor[key].code == "elsewhere"} == {
    ("mask from the output", "tanh"),
    ("moved too early", "relu"),
    ("moved too early", "tanh"),
}

# %% [markdown]
# The doctor catches 7 of the 8. The one that escapes is no mistake at all: for ReLU, $A > 0$ exactly where $Z > 0$,
# so the slope at $A$ *is* the slope at $Z$. It becomes one as soon as somebody changes the
# activation. Three of the 7 it catches without a name: the last mistake, with either activation, and ReLU's mask
# in a tanh network. There it can only say that the entries differ, and where.
#
# Now train each of them on real pictures, a tenth of Fashion-MNIST that lies in the package.

# %%
from tinydiv.backend import quiet
from tinydiv.loop import DeviceData, batches
from tinydiv.losses import accuracy

data = DeviceData(load("fashion-mini"), dtype="float64")
test = data.floats(data.test_x)


def train_with(mistake, activation, epochs=3):
    """Test accuracy after some epochs, and the cosine between the first dW[0] and the right one."""
    net = MLP([784, 32, 16, 10], activation, dtype="float64")
    initialize(net, "he-normal", seed=0)
    back, cosine = backward_with(mistake), None
    for epoch in range(epochs):
        for X, Y in batches(data, 64, seeds=0, epoch=epoch):
            trace = net.forward(X)
            _, dlogits = cross_entropy(trace.logits, Y)
            if cosine is None:
                net.backward(trace, dlogits)
                right = net.dW[0].copy()
            back(net, trace, dlogits)
            if cosine is None:
                cosine = (
                    np.sum(right * net.dW[0]) / np.linalg.norm(right) / np.linalg.norm(net.dW[0])
                )
            net.theta -= RATE * net.dtheta
    return float(accuracy(net.forward(test).logits, data.test_y)), float(cosine)


with quiet():  # one of them will overflow
    found = {(m, a): train_with(m, a) for m in MISTAKES for a in ACTIVATIONS}
for (mistake, activation), (right, cosine) in found.items():
    print(f"{mistake:21} {activation:5} accuracy {right:.1%}, cosine of dW[0] {cosine:.3f}")

# %% mystnb={"image": {"alt": "Table of test accuracies in percent: a row per mistake, a column for ReLU and one for tanh. Several mistakes reach almost the accuracy of the right gradient in the first row; the mask from the output is clearly worst for tanh. Cells with a wrong gradient are framed."}}
from tinydiv import plots

fig, ax = plt.subplots(figsize=(6, 3.8), layout="constrained")
table = np.array([[100 * found[m, a][0] for a in ACTIVATIONS] for m in MISTAKES])
marked = np.array([[(m, a) in caught for a in ACTIVATIONS] for m in MISTAKES])
plots.heat_map(
    ax,
    table,
    MISTAKES,
    ACTIVATIONS,
    signed=False,
    marked=marked,
    digits=1,
    label="test accuracy, %",
)
ax.set_title("framed: the gradient is wrong")
plt.show()

# %%
accuracies = {key: f"{100 * right:.1f}" for key, (right, _) in found.items()}

# %% [asserts]
assert accuracies["none", "relu"] == "75.0"
assert accuracies["none", "tanh"] == "77.7"
assert accuracies["mask from the output", "relu"] == "72.2"
assert accuracies["mask from the output", "tanh"] == "47.2"
assert accuracies["slope at A", "tanh"] == "77.0"
assert accuracies["mean bias", "tanh"] == "77.6"
assert accuracies["moved too early", "relu"] == "10.0"
assert accuracies["moved too early", "tanh"] == "77.9"
assert f"{found['mask from the output', 'relu'][1]:.3f}" == "0.688"
assert f"{found['moved too early', 'relu'][1]:.3f}" == "0.999"

# %% [markdown]
# With tanh, three of the four wrong gradients train about as well as the right one. The right gradient reaches 77.7 %, three wrong ones 77.0, 77.6 and 77.9 %: one
# mistake even comes out *ahead*, on this seed. Nobody would look for a fault there. For ReLU the mask from
# the output costs some points, 72.2 % in place of 75.0 %, and one would blame the learning rate, though its
# first step makes a cosine of only 0.688 with the right one. And the mistake that looks most harmless,
# moving too early, whose first step agrees to a cosine of 0.999, makes the ReLU network explode: 10.0 % is
# guessing.
#
# So a wrong gradient may hardly show in training, or ruin it, and in neither case does training tell what is wrong. Look at
# gradients, not at accuracies. (One seed per cell shows that these things *can* happen, not how often. How
# to compare fairly is the matter of tutorial 4.)
#
# ## Break it
#
# The doctor also takes losses. This one has the right value and a gradient that is wrong for whole batches
# only: it is right for a batch of one sample, which is why it survives in so many notebooks. *Predict what
# the doctor says.*


# %%
from tinydiv.check import check_loss


def loss(outputs, targets):
    """Softmax cross-entropy, and a gradient that was tried on one sample."""
    value, doutputs = cross_entropy(outputs, targets)
    return value, doutputs * outputs.shape[-2]  # broken


report = check_loss(loss)
print(report)

# %% [asserts]
assert report.faults[0].worst.finding.code == "not-averaged"

# %% [markdown]
# ## What a checker proves
#
# The doctor is right about the points at which it measured, and about nothing else. This backward pass cuts
# off whatever is larger than 100. *Predict: what does the doctor say? And is the gradient right?*


# %%
def cut(net, trace, dlogits, dA=None):
    """Right as long as no entry of dlogits is larger than 100."""
    net.backward(trace, np.clip(dlogits, -100, 100), dA)


print(check_backward(cut))

one = MLP([2, 3, 2], activation="tanh", dtype="float64")
initialize(one, seed=1)
trace = one.forward(X)
upstream = np.full((4, 2), 1000.0)  # such as a squared error of targets in the thousands gives
one.backward(trace, upstream)
right = one.dW[1].copy()
cut(one, trace, upstream)
too_small = float(np.linalg.norm(right) / np.linalg.norm(one.dW[1]))
print(f"with large upstream gradients dW[1] is {too_small:.0f} times too small")

# %% [asserts]
assert check_backward(cut).right
assert f"{too_small:.0f}" == "10"
assert np.clip(101, -100, 100) == 100

# %% [markdown]
# "All right", and with targets in the thousands its gradients are 10 times too small. **A checker proves its
# points only.** So check at points like those of your training, and at the corners that you know: large values,
# zeros, one sample, a kink.
#
# ## Exercises
#
# Put your answer in the place of the dots. Ours are in `tutorials/solutions/02_push_gradients_back.py`.
#
# 1. **Back to the inputs.** Extend `backward` so that it also returns the gradient with respect to $X$.
#    *Done when* it takes a keyword `to_inputs=False`, returns $dX$ if that is true, and `check_backward`
#    shows a row for `dX` that is right.

# %%
answer_1 = ...  # your backward(net, trace, dlogits, to_inputs=False)

check(
    answer_1,
    (callable, "answer_1 is a function"),
    (
        lambda f: any(row.array == "dX" for row in check_backward(f).rows),
        "the report has no row for dX: the fourth argument must be called to_inputs, with the default False",
    ),
    (
        lambda f: reported(check_backward(f)),
        "X is A[0]: which line gives the gradient with respect to an A, and at l = 0 is there a slope?",
    ),
)

# %% [markdown]
# 2. **Squared error.** Write `loss(outputs, targets)` for $L = \frac{1}{2N}\sum_{nk}(o_{nk} - y_{nk})^2$
#    where $y$ has a row for each sample. Targets may come as class numbers or as rows of numbers:
#    `tinydiv.losses.one_hot(targets, outputs)` gives rows for both. *Done when* `check_loss` says "all right".

# %%
answer_2 = ...  # your loss(outputs, targets): it returns the value and the gradient

check(
    answer_2,
    (callable, "answer_2 is a function"),
    (lambda f: len(f(np.zeros((3, 2)), np.array([0, 1, 1]))) == 2, "return value and gradient"),
    (
        lambda f: np.isclose(f(np.zeros((3, 2)), np.array([0, 1, 1]))[0], 0.5),
        "for outputs of zero every sample contributes one half, and the mean over samples is one half",
    ),
    (
        lambda f: reported(check_loss(f)),
        "the report names the fault: is 1/N in the gradient, too, and does one_hot make the rows?",
    ),
)

# %% [markdown]
# 3. **Find the mistake.** A colleague's backward pass stands in the cell. Which gradients are right
#    nevertheless, in a network of three layers? Predict, then run. *Done when* your answer agrees with the
#    report.


# %%
def colleague(net, trace, dlogits):
    dZ = dlogits
    for l in reversed(range(net.depth)):
        net.dW[l][...] = trace.A[l].mT @ dZ
        net.db[l][...] = dZ.sum(axis=-2, keepdims=True)
        if l > 0:
            dZ = dZ * net.activation.derivative(trace.Z[l])
            dZ = dZ @ net.W[l].mT


answer_3 = ...  # a set of names, such as {"dW[0]", "db[0]"}

check(
    answer_3,
    (
        lambda names: set(names) <= {f"d{a}[{l}]" for a in "Wb" for l in range(3)},
        "names are dW[0] to dW[2] and db[0] to db[2]",
    ),
    (
        lambda names: (
            set(names) == {row.array for row in check_backward(colleague).rows if row.right}
        ),
        "which slope is multiplied in, and what has been filled before that happens for the first time?",
    ),
)

# %% [markdown]
# ## What you have now
#
# Backpropagation is: product with the transposed inputs, sum over samples, product with the transposed
# weights, times the slope. A gradient has the shape of its array. Wrong gradients train, and some train
# well. A check at the points that matter costs a second, and proves those points.
#
# **Next:** what goes wrong when all gradients are right: neurons that learn the same thing.
#
# > **For teachers**
# >
# > Let the class vote on the eight verdicts before the table appears, and keep the votes on the board: what
# > does the majority think of "moved too early"? The step picture fits on one page; before you show it, let the
# > students write down the shape of every array in it. The four mistakes are independent: with little time,
# > do the first one only. Rates, seeds and the data are fixed and everything is computed in double precision,
# > so the numbers on the board will be those of the students.
#
# ## Further reading
#
# - D. E. Rumelhart, G. E. Hinton and R. J. Williams, *Learning representations by back-propagating errors*,
#   Nature, 1986.
# - S. Linnainmaa, *Taylor expansion of the accumulated rounding error*, BIT, 1976: the same idea, earlier.
# - `tinydiv/mlp.py`: the network that tinydiv uses, forward and backward side by side.
# - `tinydiv/check/variants.py`: how the doctor recognises these mistakes.
