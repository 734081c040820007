# %% [markdown]
# # 10. Escape local minima: count many seeds, not one
#
# **You will do:** train hundreds of networks at once on three tasks whose every case is listed, find out where
# they get stuck and why, and measure which techniques get them out.
#
# **You will learn:** that success is a *share of seeds*; how to tell a plateau from a dead end; why a technique
# helps only against the fault that it was made for.
#
# **You need:** tutorials 2 to 4.
#
# **Reading time:** 15 minutes. It runs in a few seconds.

# %%
import matplotlib.pyplot as plt
import numpy as np
from checks import check

from tinydiv.data import load
from tinydiv.initializers import PROBE, initialize
from tinydiv.loop import DeviceData, train
from tinydiv.mlp import MLP
from tinydiv.optimizers import Adam
from tinydiv.stats import mean_difference_interval, wilson_interval

xor = load("xor")
print(xor.train_x.tolist(), xor.train_y.tolist())

# %% [markdown]
# ## One seed says nothing
#
# XOR has four cases, and a network has *found the rule* when all four are right. No test set is needed: every
# case is in the training part. Two ReLU neurons are enough for it: $|x_1 - x_2|$ is
# $\max(0, x_1 - x_2) + \max(0, x_2 - x_1)$.
#
# The function below trains `seeds` networks at once, as replicas. All start differently, and each is one
# trial.
#
# *Predict: of 500 networks with two hidden neurons, how many find the rule? And with four, or eight?*


# %%
def attempt(
    data, width, seeds=500, steps=1000, rate=0.05, init="he-normal", technique=(), every=10, **more
):
    """Train many networks on all cases at once: which found the rule, their losses, and the networks."""
    on_device = DeviceData(data, dtype="float64")
    sizes = [data.n_inputs, width, data.n_classes]
    net = MLP(sizes, replicas=seeds, dtype="float64", **more)
    initialize(net, init, seed=0, X=on_device.probe(PROBE))
    records = train(
        net,
        on_device,
        Adam(net, lr=rate),
        list(technique),
        epochs=steps,
        batch_size=on_device.n_train,
        every=every,
        metrics=[],
    )
    found = np.array(records[-1].test_accuracy) == 1
    return found, np.array([record.test_loss for record in records]), net


by_width = {width: attempt(xor, width) for width in (2, 4, 8)}
for width, (found, _, _) in by_width.items():
    share = wilson_interval(int(found.sum()), len(found))
    print(
        f"{width} neurons: {found.sum()} of 500, 95 % interval {share.low:.0%} to {share.high:.0%}"
    )

# %% [asserts]
assert [int(found.sum()) for found, _, _ in by_width.values()] == [70, 299, 467]
assert len(by_width[2][0]) == 500

# %% [markdown]
# With the number of neurons that is enough in theory, 70 of 500 succeed; with four 299, with eight 467. Whoever
# tries one seed and writes "it works" or "it does not work" has thrown a coin once. And *width* is the
# first technique: more neurons are more chances that the needed ones are among them.
#
# ## Where the others stand
#
# *Predict: do the losses of the failed networks lie anywhere, or in a few places?*

# %% mystnb={"image": {"alt": "Loss over steps of sixty networks with four neurons on XOR. Within about a hundred steps each falls to one of four levels: many to zero, the others to flat lines near 0.35, near 0.48 and near 0.69."}}
found, losses, stuck_net = by_width[4]
fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
ax.plot(10 * np.arange(len(losses)), losses[:, :60], color="tab:blue", alpha=0.4, lw=1)
ax.set_xlim(0, 500)
ax.set_ylim(-0.02, 1)
ax.set_xlabel("step")
ax.set_ylabel("loss")
ax.set_title("XOR, four neurons: 60 seeds")
plt.show()

# %%
levels, counts = np.unique(losses[-1].round(2), return_counts=True)
for level, count in zip(levels, counts, strict=True):
    print(f"loss {level:.2f}: {count} networks")

# %% [asserts]
assert [f"{level:.2f}" for level in levels] == ["0.00", "0.35", "0.48", "0.69"]
assert counts.tolist() == [299, 105, 80, 16]
alike = [0.5 * np.log(2), 0.75 * np.log(3) - 0.5 * np.log(2), np.log(2)]
assert np.allclose(alike, [0.35, 0.48, 0.69], atol=0.005)

# %% [markdown]
# All networks end at one of four levels of the loss, and each of the upper three has a meaning. A network that gives the same output for a group of cases can
# do no better than give their average:
#
# - all four cases look the same: $\ln 2$, that is 0.69;
# - three look the same, one is known: $\tfrac34 \ln 3 - \tfrac12 \ln 2$, that is 0.48;
# - two look the same, two are known: $\tfrac12 \ln 2$, that is 0.35.
#
# Cases look the same if no neuron tells them apart. Then it should be visible in the neurons.
#
# ## Plateau or dead end?
#
# On a *plateau* the loss is flat, but training gets through in time. In a *dead end* it never does. Two
# measurements: how many neurons respond to none of the four cases, and what happens if we push all weights a
# little and train on.
#
# *Predict: will a push free them?*

# %%
X = xor.train_x.astype("float64")
responses = stuck_net.forward(X).A[1].max(axis=1)  # (networks, neurons): the largest response
silent = (responses == 0).sum(axis=1)
print(
    f"silent neurons: {silent[found].mean():.1f} where the rule was found, "
    f"{silent[~found].mean():.1f} where not"
)

pushed = MLP(stuck_net.sizes, replicas=500, dtype="float64")
noise = np.random.default_rng(0).standard_normal(stuck_net.theta.shape)
pushed.theta[...] = stuck_net.theta + 0.1 * noise
train(pushed, xor, Adam(pushed, lr=0.05), epochs=1000, batch_size=4, every=1000, metrics=[])
right = (pushed.predict(X) == xor.train_y).all(axis=1)
freed = int((right & ~found).sum())
print(f"freed by a push: {freed} of {(~found).sum()}")

# %% [asserts]
assert f"{silent[found].mean():.1f}" == "1.0"
assert f"{silent[~found].mean():.1f}" == "2.1"
assert (freed, int((~found).sum())) == (45, 201)

# %% [markdown]
# Failed networks have 2.1 silent neurons of four on average, the others 1.0. A silent ReLU neuron has slope zero on
# every case, so its gradient is zero as well, and it stays silent: what is left is a smaller network. A push of this
# size frees 45 of 201. For the rest it is a dead end, and more steps are wasted on it.
#
# ## What does a technique change?
#
# Now the same 500 starts, each with and without a technique. Since the seeds are paired, count two groups: networks
# that fail without it and succeed with it (*rescued*), and the reverse (*lost*). The interval is that of the difference
# of the two shares.
#
# - `decov` and `pearson`: penalties on correlated activations; once always, once on plateaus alone;
# - `merge-recycle` on plateaus: of two neurons that agree, one starts anew;
# - `redo`: a neuron that is silent starts anew;
# - a start with decorrelated responses (`response-zca`); and tanh in place of ReLU.
#
# *Predict: which help, and which do harm? You know what the fault is.*

# %%
TRIALS = {
    "decov": {"technique": ["decov:strength=0.1"]},
    "decov on plateaus": {"technique": ["decov:strength=0.1,schedule=plateau"]},
    "pearson": {"technique": ["pearson:strength=0.2"]},
    "merge-recycle": {"technique": ["merge-recycle:when=plateau"]},
    "redo": {"technique": ["redo"]},
    "response-zca start": {"init": "response-zca@he-normal"},
    "tanh": {"activation": "tanh"},
}
effects, trained = {}, {}
for name, changes in TRIALS.items():
    with_it, _, trained[name] = attempt(xor, 4, every=1000, **changes)
    interval = mean_difference_interval(with_it.astype(float), found.astype(float))
    effects[name] = (with_it, interval)
    print(
        f"{name:20} {with_it.sum()} of 500   rescued {(with_it & ~found).sum():3}   lost "
        f"{(found & ~with_it).sum():3}   {100 * interval.low:+.0f} to {100 * interval.high:+.0f} points"
    )

# %% mystnb={"image": {"alt": "Change in the share of networks that find XOR, with intervals, seven rows. Redo and tanh are furthest right, then the start with decorrelated responses, then merge-recycle; decov on plateaus sits exactly at zero, decov a little below it, pearson clearly below zero."}}
from tinydiv import plots

fig, ax = plt.subplots(figsize=(7, 4.2), layout="constrained")
plots.forest(
    ax,
    list(effects),
    [100 * interval.estimate for _, interval in effects.values()],
    [100 * interval.low for _, interval in effects.values()],
    [100 * interval.high for _, interval in effects.values()],
    unit="change in the share that finds XOR, points",
    digits=0,
)
plt.show()

# %% [asserts]
assert {name: int(with_it.sum()) for name, (with_it, _) in effects.items()} == {
    "decov": 286,
    "decov on plateaus": 299,
    "pearson": 218,
    "merge-recycle": 346,
    "redo": 474,
    "response-zca start": 370,
    "tanh": 492,
}
assert [name for name, (_, interval) in effects.items() if interval.low > 0] == [
    "merge-recycle",
    "redo",
    "response-zca start",
    "tanh",
]
assert [name for name, (_, interval) in effects.items() if interval.high < 0] == [
    "decov",
    "pearson",
]
assert (effects["decov on plateaus"][0] == found).all()
assert not np.allclose(
    trained["decov on plateaus"].theta, stuck_net.theta
)  # it did act, and to no avail

# %% [markdown]
# - `redo` repairs the very fault that we measured: 474 of 500 in place of 299. tanh, which is never quite flat, does
#   as much (492). The cheap change belongs in the table.
# - The decorrelated start (370) and `merge-recycle` (346) help, too, but less. The start has its losses as well: it is
#   another draw, better on average.
# - **`decov` on plateaus changes no network's result.** It does move the weights. But a penalty on activations sends its
#   gradient through the neuron's slope, and that of a silent neuron is zero: it cannot be woken that way.
# - Penalties that run all the time do *harm* at these strengths: `decov` a little (286), `pearson` much (218). One
#   reason may be that the solution at the top of this page is itself correlated, so that the penalty pulls against the
#   task. We did not test that.
#
# So "diversity helps to escape local minima" is too coarse to be true or false. What was the fault, which part of
# the technique touches it, in what share of seeds?
#
# ## Plateaus, and bad starts: parity
#
# Parity of four bits, eight tanh neurons: nothing falls silent here. *Predict: the same start, with incoming weights a
# tenth as long. And one where all neurons point nearly the same way (`adversarial`)?*

# %%
parity = load("parity", bits=4)
STARTS = (
    "he-normal",
    "response-zca@he-normal",
    "adversarial@he-normal",
    "scaled:inner=0.1@he-normal",
)
runs = {
    start: attempt(parity, 8, 100, 600, rate=0.03, init=start, activation="tanh")
    for start in STARTS
}
plateaus, solved = {}, {}
for start, (right, losses, _) in runs.items():
    below = losses < 0.9 * np.log(2)  # left the first plateau
    length = np.where(below.any(axis=0), 10 * below.argmax(axis=0), 600)
    plateaus[start], solved[start] = int(np.median(length)), int(right.sum())
    print(f"{start:27} median plateau {plateaus[start]:3} steps   found by {right.sum()} of 100")

# %% mystnb={"image": {"alt": "Share of one hundred networks that have left the first plateau of parity, against the step, for four starts. Three rise to one within about a hundred steps, the start whose neurons point the same way last of them; the start with small incoming weights begins to rise only after about two hundred and has not reached a half at the end."}}
fig, ax = plt.subplots(figsize=(7, 4), layout="constrained")
for (start, (_, losses, _)), style in zip(runs.items(), ("-", "--", "-.", ":"), strict=True):
    left = (np.minimum.accumulate(losses, axis=0) < 0.9 * np.log(2)).mean(axis=1)
    ax.plot(10 * np.arange(len(left)), left, style, label=start)
ax.set_xlabel("step")
ax.set_ylabel("share that left the plateau")
ax.legend(fontsize=9)
plt.show()

# %% [asserts]
assert list(plateaus.values()) == [40, 30, 40, 600]
assert list(solved.values()) == [98, 100, 74, 27]

# %% [markdown]
# Small weights make a long plateau: at least half of the networks are still on it after all 600 steps, and 27 of 100
# succeed. More steps might do for them what no technique needs to do. The start with similar neurons leaves the plateau
# as early as the plain one, after 40 steps in the median, yet only 74 of 100 find the rule, where the plain start has
# 98. Leaving a plateau and finding the rule are two questions. The decorrelated start has 100, and two seeds more than
# 98 show nothing.
#
# ## The Game of Life
#
# A cell lives on if three neighbours live, or if two do and it lives itself: 512 cases. Two neurons suffice.

# %%
life = load("life")
at_life = {}
for width, technique in ((2, ()), (2, ("redo",)), (8, ()), (8, ("redo",))):
    right, _, _ = attempt(life, width, 40, 400, rate=0.03, technique=technique, every=400)
    at_life[width, technique] = int(right.sum())
    print(f"{width} neurons, {' '.join(technique) or 'plain':5} {right.sum():2} of 40")

# %% [asserts]
assert list(at_life.values()) == [9, 21, 40, 40]
assert len(life.train_x) == 512

# %% [markdown]
# With two neurons 9 of 40 find the rule, and `redo` makes it 21; with eight all 40 do, with and without `redo`. So here,
# too, the first help is width. Where width is there, nothing is left for a technique to improve: a tie at 40 of 40
# says nothing against it.
#
# ## Break it
#
# The worst start of all: every neuron the same. *Predict: what will the loss do, and what does the checker say
# about the gradients?*

# %%
from tinydiv.check import check_backward

equal = MLP([2, 8, 2], activation="tanh", dtype="float64")
initialize(equal, "he-normal", seed=0)
equal.W[0][...] = equal.W[0][:, :1]  # broken: all columns are the first one
equal.W[1][...] = equal.W[1][:1]
train(equal, xor, Adam(equal, lr=0.05), epochs=1000, batch_size=4, every=1000, metrics=[])
spread = np.ptp(equal.W[0], axis=1).max()
print(f"spread between the neurons after 1000 steps: {spread:.1e}")
print(f"right: {(equal.predict(X) == xor.train_y).sum()} of 4")


def backward(net, trace, dlogits, dA=None):
    net.backward(trace, dlogits, dA)


report = check_backward(backward)
print(report)

# %% [asserts]
assert spread < 1e-9
assert (equal.predict(X) == xor.train_y).sum() < 4
assert report.right

# %% [markdown]
# Equal neurons get equal gradients, so eight of them stay one neuron for ever. And every gradient is right: a
# checker proves gradients, not starts. Randomness is the first diversity technique of all.
#
# ## Exercises
#
# Ours are in `tutorials/solutions/10_escape_local_minima.py`. Put your answer in the place of the dots.
#
# 1. **Restarts.** The rival of every technique is to begin again. If one attempt succeeds with the share that four
#    neurons had, how many attempts with fresh seeds are needed, so that at least one succeeds with a chance of `0.99` or more?
#    *Done when* your number is the smallest one.

# %%
share = by_width[4][0].mean()
print(f"share of one attempt: {share:.3f}")
answer_1 = ...  # a whole number

check(
    answer_1,
    (lambda k: k == int(k) and k > 0, "a whole number of attempts"),
    (lambda k: 1 - (1 - share) ** k >= 0.99, "too few: all attempts fail with (1 - share)^k"),
    (lambda k: 1 - (1 - share) ** (k - 1) < 0.99, "fewer are enough: solve for k with logarithms"),
)

# %% [markdown]
# 2. **Two neurons.** XOR with two ReLU neurons was found by few seeds. Find keywords for `attempt(xor, 2, ...)`, such as
#    `rate`, `init`, `technique` or `activation`, with which more than half of 500 succeed. *Done when* the low end of the share's
#    interval is above one half: the check prints it.

# %%
answer_2 = ...  # a dict of keywords, such as {"rate": 0.1}


def low_end(changes):
    right, _, _ = attempt(xor, 2, **changes)
    low = wilson_interval(int(right.sum()), len(right)).low
    print(f"{right.sum()} of {len(right)}, low end {low:.2f}")
    return low


check(
    answer_2,
    (
        lambda changes: isinstance(changes, dict),
        "a dict: the names of the arguments and their values",
    ),
    (
        lambda changes: not {"data", "width", "seeds", "steps"} & set(changes),
        "leave data, width, seeds and steps as they are",
    ),
    (
        lambda changes: low_end(changes) > 0.5,
        "the fault is silence: which changes work against it?",
    ),
)

# %% [markdown]
# ## What you have now
#
# A way to turn "it got stuck" into a share with an interval, a look at why, and a list of what helps against which
# fault. `python -m tinydiv.study minima --quick` does the same for more tasks, widths and techniques.
#
# > **For teachers**
# >
# > Give each student one seed of XOR with two neurons, and let the class report "works" or "does not". The histogram
# > of the class is the first figure of this tutorial. The question that is worth the hour: why can a penalty on
# > activations not wake a silent neuron?
#
# ## Further reading
#
# - D. E. Rumelhart, G. E. Hinton and R. J. Williams, *Learning internal representations by error propagation*, 1986:
#   XOR and parity.
# - J. M. Springer and G. T. Kenyon, *It's hard for neural networks to learn the Game of Life*, 2020, arXiv 2009.01398.
# - G. Sokar, R. Agarwal, P. S. Castro and U. Evci, *The dormant neuron phenomenon in deep reinforcement learning*,
#   ICML 2023: `redo`.
# - `tinydiv/techniques/redo.py`, `tinydiv/techniques/merge_recycle.py`.
