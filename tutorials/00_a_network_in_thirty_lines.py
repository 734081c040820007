# %% [markdown]
# # 0. A network in thirty lines
#
# **You will do:** write a neural network from an empty file, with NumPy alone: forward, backward, training on real
# pictures. Then look at what it gets wrong, and write the same lines once more with tinydiv.
#
# **You will learn:** that a network is two matrix products with a bend between them; that its gradient is the
# same products in reverse; what a loss and a step are.
#
# **You need:** NumPy arrays, and what a derivative is.
#
# **Reading time:** 12 minutes. It runs in a few seconds.
#
# *Predict before you run.* Wherever a question stands in italics, write your answer down first.

# %%
import matplotlib.pyplot as plt
import numpy as np

from tinydiv.data import load

images = load("fashion-mini")  # a part of Fashion-MNIST that lies in the package
X, Y = images.train_x / 255.0, images.train_y  # (N, 784) brightnesses from 0 to 1, and classes (N,)
test_X, test_Y = images.test_x / 255.0, images.test_y
mean = X.mean()
X, test_X = X - mean, test_X - mean
print(X.shape, test_X.shape)

# %% [markdown]
# ## The data: small pictures of clothes
#
# Each picture has 784 pixels and one of 10 classes. The network gets the pixels and gives ten numbers, one
# per class; the largest of them is its prediction.

# %% mystnb={"image": {"alt": "Ten grey pictures of 28 by 28 pixels in two rows, one of each class with its name above: T-shirt or top, trouser, pullover, dress, coat, sandal, shirt, sneaker, bag, ankle boot."}}
fig, axes = plt.subplots(2, 5, figsize=(7, 3.2), layout="constrained")
for k, ax in enumerate(axes.flat):
    ax.imshow(X[k == Y][0].reshape(28, 28), cmap="gray")
    ax.set_title(images.classes[k], fontsize=10)
    ax.axis("off")
plt.show()

# %% [asserts]
assert X.shape[1] == 784
assert len(images.classes) == 10

# %% [markdown]
# ## Forward
#
# Sixteen hidden neurons: each takes a weighted sum of all pixels, $Z = X W + b$, and passes on what is positive,
# $A = \max(0, Z)$. Then ten outputs, each a weighted sum of the hidden activations.
#
# *Predict: the weights are random numbers. How many of a hundred pictures will the network get right?*

# %%
rng = np.random.default_rng(0)
W, b = rng.normal(size=(784, 16)) * np.sqrt(2 / 784), np.zeros(16)
V, c = rng.normal(size=(16, 10)) * np.sqrt(2 / 16), np.zeros(10)


def forward(X):
    Z = X @ W + b  # (N, 16)
    A = np.maximum(0, Z)
    logits = A @ V + c  # (N, 10)
    return Z, A, logits


def right(X, Y):
    return np.mean(forward(X)[2].argmax(axis=1) == Y)


untrained = right(test_X, test_Y)
print(f"before training {untrained:.1%} right")

# %% [asserts]
assert W.shape == (784, 16)
assert untrained < 0.2

# %% [markdown]
# Before training the network is right about as often as by guessing.
#
# ## Backward
#
# The loss says how far the outputs are from the targets. The *softmax* makes shares $p$ of the ten outputs, and the loss
# is the mean of $-\log p_{\text{true class}}$. Its gradient at the outputs is short: $p$, less one at the true class,
# divided by the number of samples. From there everything goes back through the same lines, in reverse order. A
# leading `d` reads "gradient of the loss with respect to":


# %%
def backward(X, Y, Z, A, logits):
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    n = np.arange(len(Y))
    loss = -np.log(p[n, Y]).mean()

    dlogits = p.copy()
    dlogits[n, Y] -= 1
    dlogits /= len(Y)
    dV, dc = A.T @ dlogits, dlogits.sum(axis=0)
    dA = dlogits @ V.T
    dZ = dA * (Z > 0)  # where the neuron was silent, nothing passes
    dW, db = X.T @ dZ, dZ.sum(axis=0)
    return loss, dW, db, dV, dc


# %% [markdown]
# Every product forward gives two products backward: `A @ V` forward gives `A.T @ dlogits` and `dlogits @ V.T` backward. Each gradient has the
# shape of the array that it belongs to. That is all there is to backpropagation. (Is it right? Tutorial 1 is about
# how to know.)
#
# ## Train
#
# A step takes a batch of pictures, computes the gradient, and moves each weight a little against it.
#
# *Predict: how many steps until the network is right more often than not?*

# %%
RATE, losses, accuracies = 0.1, [], []
for _ in range(10):
    order = rng.permutation(len(X))
    for start in range(0, len(X) - 63, 64):
        rows = order[start : start + 64]
        loss, dW, db, dV, dc = backward(X[rows], Y[rows], *forward(X[rows]))
        W -= RATE * dW
        b -= RATE * db
        V -= RATE * dV
        c -= RATE * dc
        losses.append(loss)
    accuracies.append(right(test_X, test_Y))
print(f"{len(losses)} steps; right after each epoch: " + ", ".join(f"{a:.0%}" for a in accuracies))

# %% mystnb={"image": {"alt": "The loss of each training step: it falls steeply within the first hundred steps and then slowly, with noise from batch to batch."}}
fig, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
ax.plot(losses, linewidth=0.7)
ax.set_xlabel("step")
ax.set_ylabel("loss of the batch")
plt.show()

# %% [asserts]
steps = len(X) // 64
assert accuracies[0] > 0.5
assert f"{100 * accuracies[-1]:.0f}" == "85"
assert f"{100 * accuracies[0]:.0f}" == "76"
assert (steps, len(accuracies)) == (93, 10)

# %% [markdown]
# After one epoch, which is 93 steps, 76 % of the test pictures are right; after 10 epochs 85 %.
#
# ## What does it get wrong?
#
# A *confusion matrix* has a row per true class and a column per prediction.
#
# *Predict the two classes that are confused most often.*

# %% mystnb={"image": {"alt": "Confusion matrix, true classes in rows and predictions in columns, in counts. The diagonal is dark. Off the diagonal the largest counts lie among T-shirt, pullover, coat and shirt, and among sandal, sneaker and ankle boot."}}
predicted = forward(test_X)[2].argmax(axis=1)
confusion = np.zeros((10, 10), dtype=int)
np.add.at(confusion, (test_Y, predicted), 1)

fig, ax = plt.subplots(figsize=(6, 5.4), layout="constrained")
ax.imshow(confusion, cmap="Blues")
for i in range(10):
    for j in range(10):
        shade = "white" if confusion[i, j] > confusion.max() / 2 else "black"
        ax.text(j, i, confusion[i, j], ha="center", va="center", color=shade, fontsize=9)
ax.set_xticks(range(10), images.classes, rotation=60, ha="right")
ax.set_yticks(range(10), images.classes)
ax.set_xlabel("predicted class")
ax.set_ylabel("true class")
plt.show()

# %%
mixed = confusion + confusion.T
np.fill_diagonal(mixed, 0)
i, j = np.unravel_index(mixed.argmax(), mixed.shape)
recall = confusion.diagonal() / confusion.sum(axis=1)
worst, best = recall.argmin(), recall.argmax()
print(f"most often confused: {images.classes[i]} and {images.classes[j]}, {mixed[i, j]} times")
print(
    f"worst {images.classes[worst]} {recall[worst]:.0%}, best {images.classes[best]} {recall[best]:.0%}"
)

# %% [asserts]
assert {images.classes[i], images.classes[j]} == {"Coat", "Shirt"}
assert mixed[i, j] == 25
assert images.classes[worst] == "Shirt"
assert f"{100 * recall[worst]:.0f}" == "57"
assert f"{100 * recall[best]:.0f}" == "96"

# %% [markdown]
# Coats and shirts are taken for each other 25 times. Only 57 % of the shirts are recognised, and 96 % of the trousers: what
# looks alike is confused, as you would.
#
# ## What did a neuron learn?
#
# The mean of all pictures, each weighted by how strongly the neuron responds to it, less the mean picture, shows what
# the neuron responds to.

# %% mystnb={"image": {"alt": "Sixteen small pictures in two rows, one per hidden neuron: what it responds to, bright where more than usual. Most show a recognisable piece of clothing, such as a shirt, trousers, a boot or a bag; several look alike."}}
_, A, _ = forward(X)
fig, axes = plt.subplots(2, 8, figsize=(8, 2.3), layout="constrained")
for h, ax in enumerate(axes.flat):
    weighted = A[:, h] @ X / max(A[:, h].sum(), 1e-9) - X.mean(axis=0)
    ax.imshow(weighted.reshape(28, 28), cmap="gray")
    ax.set_title(f"{h}", fontsize=9)
    ax.axis("off")
plt.show()

# %% [markdown]
# Several neurons respond to much the same thing. That is the subject of this course: how neurons come to differ, or
# fail to. (To watch it happen while you move a slider: `python -m tinydiv.play`.)
#
# ## The same lines, in tinydiv
#
# `MLP` is your `forward` and `backward` for any number of layers. The gradients lie in `net.dW` and `net.db`, where you
# can print and change them.

# %%
from tinydiv.losses import cross_entropy
from tinydiv.mlp import MLP

net = MLP([784, 16, 10], dtype="float64")
net.W[0], net.b[0], net.W[1], net.b[1] = W, b[None], V, c[None]
trace = net.forward(X[:64])
loss, dlogits = cross_entropy(trace.logits, Y[:64])
net.backward(trace, dlogits)

mine = backward(X[:64], Y[:64], *forward(X[:64]))
pairs = zip((loss, net.dW[0], net.db[0], net.dW[1], net.db[1]), mine, strict=True)
apart = max(float(np.abs(theirs - ours).max()) for theirs, ours in pairs)
print(f"largest difference between the two programs: {apart:.0e}")

# %% [asserts]
assert apart < 1e-12

# %% [markdown]
# ## Break it
#
# Leave out `* (Z > 0)` in `backward`, start anew, and train. *Predict: does the loss still fall?* Then set `RATE = 10`
# and *predict* again.
#
# ## Exercises
#
# Ours are in `tutorials/solutions/00_a_network_in_thirty_lines.py`. Put your answer in the place of the dots and run the
# cell: it gives a hint, or says "Done."
#
# 1. **Count.** How many numbers does the network learn? *Done when* your count is that of the arrays.

# %%
from checks import check

answer_1 = ...  # a whole number

check(
    answer_1,
    (lambda count: count == int(count), "a whole number"),
    (
        lambda count: count > W.size,
        "more than the weights of the first layer: there are four arrays",
    ),
    (
        lambda count: count == net.n_parameters,
        "W and V, and a bias for each neuron and each output",
    ),
)

# %% [markdown]
# 2. **Another bend.** Replace the ReLU by $\tanh$, whose slope is $1 - A^2$, in a forward and a backward pass of your
#    own. *Done when* your gradients of one batch are those of `MLP([784, 16, 10], "tanh")`.

# %%
answer_2 = ...  # your function (X, Y, W, b, V, c), which returns loss, dW, db, dV, dc


def tanh_net():
    """A tanh network of tinydiv with the weights of this page, its gradient filled in."""
    other = MLP([784, 16, 10], "tanh", dtype="float64")
    other.theta[...] = net.theta
    trace = other.forward(X[:64])
    loss, dlogits = cross_entropy(trace.logits, Y[:64])
    other.backward(trace, dlogits)
    return loss, other


check(
    answer_2,
    (callable, "answer_2 is a function"),
    (
        lambda f: np.isclose(f(X[:64], Y[:64], W, b, V, c)[0], tanh_net()[0]),
        "the loss differs: A = np.tanh(Z)",
    ),
    (
        lambda f: np.allclose(f(X[:64], Y[:64], W, b, V, c)[3], tanh_net()[1].dW[1]),
        "dV differs: is it A.T @ dlogits with the new A?",
    ),
    (
        lambda f: np.allclose(f(X[:64], Y[:64], W, b, V, c)[1], tanh_net()[1].dW[0]),
        "dW differs: where did (Z > 0) stand, and what is the slope now?",
    ),
    (
        lambda f: np.allclose(f(X[:64], Y[:64], W, b, V, c)[2], tanh_net()[1].db[0]),
        "db differs: it is a sum over the samples, as in `backward`",
    ),
    (
        lambda f: np.allclose(f(X[:64], Y[:64], W, b, V, c)[4], tanh_net()[1].db[1]),
        "dc differs: it is a sum over the samples, as in `backward`",
    ),
)

# %% [markdown]
# ## What you have now
#
# A network that reads pictures, in thirty lines that you can change. Forward: product, bend, product. Backward: the same
# products with transposed matrices, in reverse. A step: each weight a little against its gradient.
#
# **Next:** how to know that a gradient is right.
#
# > **For teachers**
# >
# > Type the two functions live, with the shapes as comments; the class says which way each matrix is transposed. The
# > confusion matrix is a good place to stop a first lecture: let the class bet on the worst pair.
#
# ## Further reading
#
# - H. Xiao, K. Rasul and R. Vollgraf, *Fashion-MNIST: a novel image dataset for benchmarking machine learning
#   algorithms*, 2017.
# - `tinydiv/mlp.py`: the same two functions, for any number of layers and of networks.
