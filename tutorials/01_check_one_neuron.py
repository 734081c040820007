# %% [markdown]
# # 1. Check one neuron: its gradient, and how to know that it is right
#
# **You will do:** derive the gradient of a single neuron by hand, measure it in two ways, break it, and let the
# gradient checker (the *doctor*, for short) name the fault.
#
# **You will learn:** what a gradient promises; why finite differences have a best step; what a complex
# number has to do with it; why a falling loss does *not* show that a gradient is right.
#
# **You need:** the chain rule, and NumPy arrays. Nothing about neural networks.
#
# **Reading time:** 17 minutes. It runs in a few seconds.
#
# *Predict before you run.* Wherever a question stands in italics, write your answer down first. Being wrong on
# paper is the cheapest way to learn.

# %%
import matplotlib.pyplot as plt
import numpy as np
from checks import check, reported

from tinydiv.data import load

# %% [markdown]
# ## One neuron
#
# A neuron takes a weighted sum of its inputs, adds a bias, and bends the result:
#
# $$z_n = \sum_d x_{nd} w_d + b, \qquad a_n = \tanh(z_n).$$
#
# Our samples are points in the plane, two half circles that reach into each other. The neuron should give
# $+1$ on one of them and $-1$ on the other, and we measure how far it is from that by half the mean squared
# error:
#
# $$L = \frac{1}{2N} \sum_n (a_n - y_n)^2 .$$

# %%
moons = load("moons")
# float64, because we are about to measure small differences
X = moons.train_x.astype(np.float64)  # (N, 2)
y = 2.0 * moons.train_y - 1.0  # (N,): -1 or +1
N = len(y)
print(moons)

# %% [asserts]
assert X.shape == (2000, 2)
assert set(y) == {-1.0, 1.0}

# %% [markdown]
# ## The gradient by hand
#
# The chain rule goes through the same three lines in reverse. Write $dz$ for "the gradient of $L$ with
# respect to $z$"; in the code it is `dz`, and so for every name.
#
# $$
# da_n = \frac{a_n - y_n}{N}, \qquad
# dz_n = da_n \,(1 - a_n^2), \qquad
# dw_d = \sum_n x_{nd}\, dz_n, \qquad
# db = \sum_n dz_n .
# $$
#
# Two things are easily forgotten: the mean's $1/N$, and the factor $1 - a^2$, the slope of tanh. Forward and
# backward stand side by side, line against line; all of tinydiv is written so.


# %%
def neuron(w, b):
    """The loss of one neuron on all samples, and its gradient."""
    z = X @ w + b
    a = np.tanh(z)
    loss = np.sum((a - y) ** 2) / (2 * N)

    da = (a - y) / N
    dz = da * (1 - a**2)
    return loss, {"w": X.T @ dz, "b": np.sum(dz)}


w, b = np.array([0.5, -0.3]), np.array(0.1)
loss, gradient = neuron(w, b)
print(f"loss {loss:.4f}   dw {gradient['w'].round(4)}   db {gradient['b']:.4f}")

# %% [asserts]
assert f"{loss:.4f}" == "0.3072"

# %% [markdown]
# ## First measurement: finite differences
#
# A gradient is a promise: *if you move $w_1$ by a small $h$, the loss changes by $h \cdot dw_1$.* So move
# it, and look. Moving to both sides cancels the curvature:
#
# $$D(h) = \frac{L(w_1 + h) - L(w_1 - h)}{2h} = dw_1 + O(h^2).$$
#
# *Predict: the smaller $h$, the better? What happens at $h = 10^{-12}$?*


# %%
def to_one_side(h):
    step = np.array([h, 0.0])
    return (neuron(w + step, b)[0] - neuron(w, b)[0]) / h


def to_both_sides(h):
    step = np.array([h, 0.0])
    return (neuron(w + step, b)[0] - neuron(w - step, b)[0]) / (2 * h)


steps = 10.0 ** -np.arange(1, 13)
exact = gradient["w"][0]
error_one = np.array([abs(to_one_side(h) - exact) for h in steps])
error_both = np.array([abs(to_both_sides(h) - exact) for h in steps])
print("step h    error to one side    to both sides")
for h, one, both in zip(steps, error_one, error_both, strict=True):
    print(f"{h:.0e}   {one:17.1e}   {both:13.1e}")

# %% [asserts]
# Ten times smaller a step: ten times better to one side, a hundred times better to both ...
assert 9 < error_one[1] / error_one[2] < 11
assert 95 < error_both[1] / error_both[2] < 105
# ... until rounding takes over.
assert error_both[11] > 1000 * error_both.min()

# %% [markdown]
# ## Second measurement: the complex step
#
# Smaller is better only at first. At a tiny $h$ the two losses agree in nearly all their digits, and the subtraction
# removes just these; what is left is rounding, divided by $h$. The cure is to subtract nothing. Step into the
# *imaginary* direction:
#
# $$L(w_1 + ih) = L(w_1) + ih\,L'(w_1) - \tfrac{h^2}{2}L'' - \dots
# \qquad\Rightarrow\qquad L'(w_1) = \frac{\operatorname{Im} L(w_1 + ih)}{h} + O(h^2).$$
#
# No subtraction, so $h$ can be absurdly small. It works for every function that NumPy can compute for complex
# numbers, and tanh is one.


# %%
def complex_step(h):
    return neuron(w + 1j * h * np.array([1.0, 0.0]), b)[0].imag / h


tiny = complex_step(1e-200)
print(f"by hand {exact:.12f}\ncomplex {tiny:.12f}")

# %% [asserts]
assert abs(tiny - exact) < 1e-15

# %% mystnb={"image": {"alt": "Error of three numerical derivatives against the step, both axes logarithmic. The one-sided and the two-sided difference fall with the step, then rise again as rounding takes over, in the shape of a V; the two-sided one reaches lower. The complex step falls and then stays at the rounding floor."}}
error_complex = np.array([abs(complex_step(h) - exact) for h in steps])
floor = 1e-17  # an error of zero has no logarithm

fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
for error, mark, label in (
    (error_one, "s--", "difference to one side"),
    (error_both, "o-", "difference to both sides"),
    (error_complex, "^:", "complex step"),
):
    ax.loglog(steps, np.maximum(error, floor), mark, label=label)
ax.invert_xaxis()
ax.set_xlabel("step h (smaller to the right)")
ax.set_ylabel("error of the derivative")
ax.set_title("Three measurements of one derivative")
ax.legend()
plt.show()

least = error_both.argmin()
best = steps[least]
print(f"best step {best:.0e}, relative error there {error_both[least] / exact:.0e}")

# %% [asserts]
assert 1e-7 < best < 1e-3
assert 1e-9 < error_both[least] / exact < 1e-8  # more than eight digits, not nine
assert error_both[-1] > 1e6 * error_both[least]
assert error_complex[5:].max() < 1e-12

# %% [markdown]
# Each difference is good only down to a best step, and the complex step at every small one. Read the left half
# from the formulas: one side's error falls tenfold with each tenfold smaller step, both
# sides' a hundredfold. The right half is rounding. It *grows*, by jumps rather than evenly, and more than a
# millionfold in the end: the same few wrong digits of $L$ are divided by an ever smaller $h$. Where the two
# halves meet is the best step.
#
# ## What a wrong gradient looks like
#
# Now forget the factor $1 - a^2$, as everybody has done once, and train both neurons.
#
# *Predict: will the wrong one learn? How would you notice?*


# %%
def wrong_neuron(w, b):
    """The same, with one factor forgotten."""
    z = X @ w + b
    a = np.tanh(z)
    loss = np.sum((a - y) ** 2) / (2 * N)

    da = (a - y) / N
    dz = da  # here: the slope of tanh is missing
    return loss, {"w": X.T @ dz, "b": np.sum(dz)}


def descend(function, steps=200, rate=0.5):
    w, b, losses = np.array([0.5, -0.3]), np.array(0.1), []
    for _ in range(steps):
        loss, gradient = function(w, b)
        losses.append(loss)
        w, b = w - rate * gradient["w"], b - rate * gradient["b"]
    right = np.mean((X @ w + b > 0) == (y > 0))
    return np.array(losses), right


right_losses, right_accuracy = descend(neuron)
wrong_losses, wrong_accuracy = descend(wrong_neuron)

# %% mystnb={"image": {"alt": "Loss over gradient steps of two neurons. Both curves fall steeply and flatten at almost the same height; for most of the way the dashed curve, neuron B, lies a little below the other."}}
fig, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
ax.plot(right_losses, label="neuron A")
ax.plot(wrong_losses, "--", label="neuron B")
ax.set_xlabel("step")
ax.set_ylabel("loss")
ax.set_title("Which one is wrong?")
ax.legend()
plt.show()

# %% [markdown]
# *Decide before you go on: which of the two has the wrong gradient?*

# %%
for name, losses, accuracy in (
    ("A, right", right_losses, right_accuracy),
    ("B, wrong", wrong_losses, wrong_accuracy),
):
    print(
        f"{name}: loss after 10 steps {losses[10]:.4f}, at the end {losses[-1]:.4f}, {accuracy:.1%} right"
    )

# %% [asserts]
assert f"{right_losses[10]:.4f}" == "0.2007"
assert f"{wrong_losses[10]:.4f}" == "0.1967"
assert f"{right_losses[-1]:.4f}" == "0.1686"
assert f"{wrong_losses[-1]:.4f}" == "0.1689"
assert abs(right_accuracy - wrong_accuracy) < 0.002

# %% [markdown]
# After 10 steps the *wrong* gradient is ahead: 0.1967 against 0.2007. At the end it is a little behind, 0.1689
# against 0.1686, and both classify the points equally well. No curve would have told you. A step along a
# wrong gradient still goes downhill as long as it makes an acute angle with the right one; it only goes to a
# place that is not a minimum of $L$. This is why gradients are *checked*, and not judged by how a training run
# looks.
#
# ## Meet the doctor
#
# `check_function` measures every entry of a gradient (of a large array some random directions), by finite
# differences on a whole ladder of steps, and by the complex step where it can. A function that returns its
# value and its gradients is all that it needs.

# %%
from tinydiv.check.functions import check_function

print(check_function(neuron, {"w": w, "b": b}, samples=N))

# %% [asserts]
assert check_function(neuron, {"w": w, "b": b}, samples=N).right

# %% [markdown]
# The right gradient passes; the columns are relative errors against the two measurements. Now the wrong one:

# %%
report = check_function(wrong_neuron, {"w": w, "b": b}, samples=N)
print(report)

# %% [asserts]
assert not report.right
assert len(report.faults) == 2

# %% [markdown]
# The doctor finds the wrong gradient, and it names the fault wherever it can. A missing factor that differs from sample
# to sample leaves no simple trace in the sum $dw$, so here it can only say where, and by how much; and for a
# single number such as $db$ every fault looks like a factor. Give it the broken part by itself, and it sees
# more. tinydiv's own parts are classes with a function and a derivative, and everything of that kind can be
# checked, by
#
#     python -m tinydiv.check mine.py
#
# from the shell, or as here:

# %%
from tinydiv.activations import Activation
from tinydiv.check.suite import check_activation


class Softsign(Activation):
    """f(z) = z / (1 + |z|);  f'(z) = 1 / (1 + |z|)^2, once it is right."""

    name = "softsign"
    kinks = (0.0,)

    def __call__(self, Z):
        return Z / (1 + abs(Z))

    def derivative(self, Z):
        return -1 / (1 + abs(Z)) ** 2  # a sign too many


report = check_activation(Softsign())
print(report)

# %% [asserts]
assert report.faults[0].worst.finding.code == "sign"

# %% [markdown]
# ## Break it
#
# Here is `neuron` with another line for `da`, broken in three ways. *Predict what the doctor will say to each
# before you run the cell:*
#
# 1. the mean's $1/N$ is left out;
# 2. `y - a` in place of `a - y`;
# 3. the loss's ½ is forgotten: the square gives its 2, and nothing cancels it.


# %%
def broken(da_of):
    """The neuron with a `da` of your own."""

    def broken_neuron(w, b):
        a = np.tanh(X @ w + b)
        loss = np.sum((a - y) ** 2) / (2 * N)
        dz = da_of(a) * (1 - a**2)
        return loss, {"w": X.T @ dz, "b": np.sum(dz)}

    return broken_neuron


findings = []
for da_of in (lambda a: a - y, lambda a: (y - a) / N, lambda a: 2 * (a - y) / N):
    report = check_function(broken(da_of), {"w": w, "b": b}, samples=N)
    findings.append([row.worst.finding for row in report.faults])
    print(f"{len(findings)}. {findings[-1][0].words}")

# %% [asserts]
assert [{finding.code for finding in both} for both in findings] == [
    {"not-averaged"},
    {"sign"},
    {"scaled"},
]
assert all("2.000x too large" in finding.words for finding in findings[2])

# %% [markdown]
# All three are one factor for the whole gradient, and a factor has a name. Now a fault of your own: give
# `broken` another `da`, and see whether the doctor finds the word for it.
#
# ## The same in a network: assign, and check
#
# A look ahead. In tinydiv the gradients of a network are arrays of yours, `net.dW[0]` and so on: print them,
# and change them by plain assignment. *Here the first layer's is halved; what will the doctor say about the
# other arrays?*

# %%
from tinydiv.check import check_backward


def halved(net, trace, dlogits, dA=None):
    net.backward(trace, dlogits, dA)  # fills net.dW and net.db
    net.dW[0] = net.dW[0] * 0.5


report = check_backward(halved)
print(report)

# %% [asserts]
assert [row.array for row in report.faults] == ["dW[0]"]
assert report.faults[0].words.startswith("2.000x too small")

# %% [markdown]
# Only `dW[0]` is wrong: halving came after the whole backward pass, so nothing else went through it. (A fault
# *inside* the pass spreads to all layers below. Tutorial 2 makes such ones.)
#
# ## Exercises
#
# Each ends with something that a program can check; ours are in `tutorials/solutions/01_check_one_neuron.py`.
# Put your answer in the place of the dots and run the cell: it gives a hint, or says "Done."
#
# 1. **Another loss.** Replace tanh and the squared error by a sigmoid, $p = 1/(1 + e^{-z})$, and the
#    cross-entropy $L = -\frac1N \sum_n [t_n \log p_n + (1 - t_n)\log(1 - p_n)]$ with targets $t$ of zero
#    and one. Derive $dz$. It becomes astonishingly short. *Done when* `check_function` says "all right".

# %%
t = (y + 1) / 2  # targets 0 and 1
answer_1 = ...  # your function of w and b: it returns the loss and {"w": ..., "b": ...}

check(
    answer_1,
    (callable, "answer_1 is a function of w and b, like `neuron`"),
    (
        lambda f: np.isclose(f(w, b)[0], np.mean(np.logaddexp(0, -y * (X @ w + b)))),
        "the loss is not the cross-entropy: is its sign right, and is it a mean over the samples?",
    ),
    (
        lambda f: reported(check_function(f, {"w": w, "b": b}, samples=N)),
        "multiply dL/dp by the slope of the sigmoid, p (1 - p): what cancels, and where is the mean's 1/N?",
    ),
)

# %% [markdown]
# 2. **The best step.** Rounding makes an error of about $\epsilon L / h$ with $\epsilon \approx 10^{-16}$,
#    curvature one of about $h^2$ (to both sides). For which $h$ is the sum least? *Done when* your $h$ lies
#    within a factor of ten of the best step in the figure.

# %%
answer_2 = ...  # your h

check(
    answer_2,
    (lambda h: h > 0, "a step is a positive number"),
    (
        lambda h: best / 10 <= h <= best * 10,
        "write the sum as a function of h, take its derivative, and set it to zero; L is of the order of 1",
    ),
)

# %% [markdown]
# 3. **A gradient at a kink.** Use $a = \max(0, z)$ in place of tanh. Keep a single sample, the first one,
#    and choose $b$ so that its $z$ is exactly zero. What does a difference to both sides give there, and which
#    $dw$ would be right? What should a checker say? *Done when* `check_function` calls neither $dw$ nor $db$
#    right or wrong, but says that the point proves nothing.

# %%
answer_3 = ...  # (your function of w and b for the first sample, your value of b)

check(
    answer_3,
    (lambda a: len(a) == 2 and callable(a[0]), "a pair: the function, and the number b"),
    (
        lambda a: X[0] @ w + a[1] == 0,
        "z of the first sample is not exactly zero: solve X[0] @ w + b = 0 for b",
    ),
    (
        lambda a: (
            {row.worst.status for row in check_function(a[0], {"w": w, "b": a[1]}, samples=1).rows}
            == {"kink"}
        ),
        "the report should call both entries a kink: is a = max(0, z), of the first sample alone?",
    ),
)

# %% [markdown]
# ## What you have now
#
# A gradient is right when it agrees with measurements at random points, to many digits. Here finite differences
# gave between eight and nine digits at their best step, the complex step nearly all. A falling loss gives none.
#
# **Next:** many neurons in layers, and the mistakes that everyone makes there.
#
# > **For teachers**
# >
# > The heart is the section with the two curves: let students vote which is the wrong one before the legend
# > is shown. The derivation fits on one board, in the same order as the code. A common stumbling block is
# > $1/N$: ask who averages, the loss or the step? With more time, exercise 2 leads to the fourth-order
# > differences that the checker uses. All numbers are computed in double precision and the data are drawn
# > from a fixed seed, so every student sees the same ones.
#
# ## Further reading
#
# - J. N. Lyness and C. B. Moler, *Numerical differentiation of analytic functions*, SIAM Journal on Numerical
#   Analysis, 1967: where the complex step comes from.
# - W. Squire and G. Trapp, *Using complex variables to estimate derivatives of real functions*, SIAM
#   Review, 1998.
# - `tinydiv/check/numeric.py`: the measurements that the doctor makes.
