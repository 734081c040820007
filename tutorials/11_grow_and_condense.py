# %% [markdown]
# # 11. Grow and condense, and how a control can be held back
#
# **You will do:** repeat a published comparison of networks that grow with networks of full size, see growing win, and find
# out which handicap the other arm had. Then make a trained network smaller.
#
# **You will learn:** that a comparison can be won by its control's handicap; which arms reveal it; why a ratio of means can
# mislead; what condensing needs.
#
# **You need:** tutorials 3 and 4.
#
# **Reading time:** 10 minutes. It runs in some ten seconds.

# %%
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
from checks import check

from tinydiv.growing.auxiliary import ARMS, PUBLISHED, Trials, train
from tinydiv.growing.comparing import ratio

SETTING = replace(PUBLISHED["bessel-window"], epochs=8_000, rate=0.005)
TRIALS = 20

# %% [markdown]
# ## The comparison
#
# A network of one input learns a curve. Its size $N$ is one more number that is learned: gates open neuron after neuron as $N$ grows
# (Radhakrishnan et al., 2025). Two arms, from equal weights:
#
# - **growing**: $N$ begins at zero, and a term of the loss pulls it to five;
# - **grown**: $N$ is five from the start.
#
# In both, $N$ is also fed to every neuron as an input. We take a fifth of the published steps, each five times as long: descent on all
# points at once follows the same path, and you wait a fifth of the time. *Predict which one has the smaller test error. And is anything odd about that
# input?*

# %%
NAMES = ("growing", "grown", "growing-plain", "grown-plain", "grown-input-1")
errors = {name: train(ARMS[name], Trials(SETTING, range(TRIALS))).test for name in NAMES[:2]}
first = ratio(errors["growing"], errors["grown"])


def in_words(r):
    g, m = r.geometric, r.means
    return (
        f"typical trial {g.estimate:.2f} [{g.low:.2f}, {g.high:.2f}], "
        f"means {m.estimate:.2f} [{m.low:.2f}, {m.high:.2f}]"
    )


print(f"error growing / grown: {in_words(first)}")

# %% [asserts]
assert f"{first.geometric.estimate:.2f}" == "0.35"
assert first.geometric.high < 1
published = PUBLISHED["bessel-window"]
assert np.isclose(SETTING.epochs * SETTING.rate, published.epochs * published.rate)
assert published.epochs == 5 * SETTING.epochs

# %% [markdown]
# Growing wins: in a typical trial the growing network has 0.35 of the grown one's error, and the interval ends below one.
# One could stop here. (*means* is the ratio of the two mean errors, which a single bad trial can decide. *typical trial* is
# the ratio of the geometric means: the average over the logarithms, where each trial counts by its factor.)
#
# ## What held the control back
#
# An input of five, into tanh neurons with weights between $-1$ and $1$: the grown network's neurons begin far out, where tanh is flat. The
# growing network's input begins at zero. So the arms differ in *two* things. The arms that tell them apart:
#
# - both without that input (`-plain`);
# - grown, with an input of one in place of five.

# %%
errors |= {name: train(ARMS[name], Trials(SETTING, range(TRIALS))).test for name in NAMES[2:]}
plain = ratio(errors["growing-plain"], errors["grown-plain"])
mended = ratio(errors["grown-input-1"], errors["grown"])
print(f"without the input, growing / grown: {in_words(plain)}")
print(f"grown, input one / input five:      {in_words(mended)}")

# %% mystnb={"image": {"alt": "Test errors of twenty trials for each of five arms on a logarithmic axis, with a line at the geometric mean. Growing and grown, which have the input N, lie high, grown the highest; the two arms without the input lie lower and close to each other; grown with an input of one lies between or as low."}}
fig, ax = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
for i, name in enumerate(NAMES):
    spread = i + np.linspace(-0.2, 0.2, TRIALS)
    ax.semilogy(spread, errors[name], ".", color=f"C{i}")
    middle = np.exp(np.log(errors[name]).mean())
    ax.hlines(middle, i - 0.3, i + 0.3, color="black", label="" if i else "geometric mean")
ax.set_xticks(range(len(NAMES)), [name.replace("-", "\n", 1) for name in NAMES])
ax.set_ylabel("test error")
ax.legend(loc="upper right")
plt.show()

# %% [asserts]
assert f"{plain.geometric.estimate:.2f}" == "0.85"
assert plain.geometric.low < 1 < plain.geometric.high
assert f"{mended.geometric.estimate:.2f}" == "0.44"
assert mended.geometric.high < 1
assert f"{mended.means.estimate:.2f}" == "0.03"

# %% [markdown]
# Without the input growing is no longer shown to win: the ratio is 0.85, and its interval holds one. And the grown network gains by
# an input of one, with no growing at all: 0.44 of its error. **The control was held back.** (The ratio of the means is 0.03: a few trials with very large errors
# decide it. So read the typical trial. Twenty trials, one task. Larger studies of the
# same arms stand in `results/`.)
#
# ## Condense
#
# The other way round: after training, neurons whose weights point the same way can be one. `condense` merges those whose cosine is
# above a threshold. *Predict: how many of 32 neurons of an ordinary network are left at a threshold of 0.7? And from a start a
# hundredth in size?*

# %%
from tinydiv.data import load
from tinydiv.growing.condense import condense, copied
from tinydiv.initializers import initialize
from tinydiv.loop import DeviceData
from tinydiv.loop import train as train_classes
from tinydiv.mlp import MLP
from tinydiv.optimizers import Adam

data = DeviceData(load("fashion-mini"), dtype="float64")
X, Y = data.floats(data.test_x), data.test_y
THRESHOLD, HIDDEN = 0.7, 32
kept, before, after = {}, {}, {}
for name, start in (("ordinary", "he-normal"), ("small", "scaled:inner=0.01,outer=0.01@he-normal")):
    net = MLP([784, HIDDEN, 10], dtype="float64")
    initialize(net, start, seed=0)
    train_classes(net, data, Adam(net), epochs=4, metrics=["correlation"])
    small = copied(net)
    kept[name] = int(condense(small, 1, THRESHOLD)[0])
    before[name], after[name] = (float((n.predict(X) == Y).mean()) for n in (net, small))
    print(
        f"{name:9} start: {kept[name]} of {HIDDEN} neurons left; accuracy {before[name]:.1%}, then {after[name]:.1%}"
    )

# %% [asserts]
assert kept == {"ordinary": 32, "small": 20}
assert (THRESHOLD, HIDDEN) == (0.7, 32)
assert f"{100 * before['small']:.1f}" == "76.3"
assert f"{100 * after['small']:.1f}" == "73.6"

# %% [markdown]
# Only the network from the small start can be condensed. From the ordinary start all 32 are left: nothing points the same way. From the small start neurons align while they grow, and 20 are left, at
# 73.6 % in place of 76.3 %.
#
# ## Break it
#
# Lower the threshold step by step to $0.3$. *Predict where accuracy breaks down, and what a few epochs of training mend.*
#
# ## Exercises
#
# Ours are in `tutorials/solutions/11_grow_and_condense.py`. Put your answer in the place of the dots.
#
# 1. **The third arm.** Which arm of `ARMS` lets only the input grow, with all neurons open? Predict, train it, and compare it with
#    `grown`. *Done when* you have the geometric ratio of the errors, over the same trials.

# %%
answer_1 = ...  # (name of the arm, geometric ratio to grown)

check(
    answer_1,
    (lambda a: a[0] in ARMS, "a name in ARMS: print(ARMS)"),
    (
        lambda a: ARMS[a[0]].gates == "goal" and ARMS[a[0]].fed == "size",
        "its gates stay at the goal, and it is fed the size: ARMS[name] has a line for each",
    ),
    (
        lambda a: np.isclose(
            a[1],
            ratio(
                train(ARMS[a[0]], Trials(SETTING, range(TRIALS))).test, errors["grown"]
            ).geometric.estimate,
            atol=0.01,
        ),
        "ratio(errors of the arm, errors['grown']).geometric.estimate",
    ),
)

# %% [markdown]
# 2. **Merging exactly.** Neuron $j$ has the weights and bias of neuron $i$ times $s > 0$. What must be added to the outgoing weights of $i$
#    so that $j$ can go and no output changes, for ReLU? *Done when* your function does it.

# %%
answer_2 = ...  # your function (V_i, V_j, s): the new outgoing weights of i

check(
    answer_2,
    (callable, "answer_2 is a function"),
    (
        lambda f: np.allclose(f(np.array([1.0, 2.0]), np.array([0.0, 0.0]), 3.0), [1.0, 2.0]),
        "if j passes on nothing, nothing changes",
    ),
    (
        lambda f: np.allclose(f(np.zeros(2), np.ones(2), 3.0), 3.0),
        "j responds s times as strongly as i: how much of i's activation does V_j get?",
    ),
)

# %% [markdown]
# ## What you have now
#
# Before you believe a win, look for a handicap of the loser, and run the arm without it. Neurons merge where they point the same way,
# and whether they do depends on the start.
#
# > **For teachers**
# >
# > Let the class find the handicap from the formula before the plain arms are shown. `python -m tinydiv.grow --help` has the full
# > comparisons.
#
# ## Further reading
#
# - A. Radhakrishnan et al., *When less is more: evolving large neural networks from small ones*, 2025.
# - U. Evci et al., *GradMax: growing neural networks using gradient information*, ICLR 2022.
# - `tinydiv/growing/auxiliary.py`, `tinydiv/growing/condense.py`.
