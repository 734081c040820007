# %% [markdown]
# # 13. Write your own technique: check it, train with it, study it
#
# **You will do:** write a penalty and an intervention in a file of your own, let the checker find a mistake in
# it, train with it from Python and from the command line, and compare it fairly with doing nothing.
#
# **You will learn:** the few lines that a technique consists of; what a checker can promise and what it cannot;
# why a technique can be right and still not be useful.
#
# **You need:** tutorials 1, 2 and 4: gradients and their checker, paired seeds and intervals.
#
# **Reading time:** 19 minutes. It runs in a few seconds.

# %%
import atexit
import os
import shutil
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from checks import check, reported

from tinydiv.data import load
from tinydiv.initializers import initialize
from tinydiv.loop import DeviceData, train
from tinydiv.mlp import MLP
from tinydiv.optimizers import Adam

data = DeviceData(load("fashion-mini"), dtype="float64")

folder = (
    tempfile.mkdtemp()
)  # all files of this page are written to a folder that is deleted at the end
atexit.register(shutil.rmtree, folder, ignore_errors=True)
os.chdir(folder)

# %% [markdown]
# ## An idea, and its gradient
#
# Some hidden neurons respond to nearly every picture, others to few. Our idea: *every neuron should work the
# same amount*. Let $m_h$ be the mean activation of neuron $h$ over the $N$ samples of a batch, and $t$ a level
# that all neurons should reach:
#
# $$
# m_h = \frac1N \sum_n A_{nh}, \qquad
# L = \frac{1}{2H} \sum_h (m_h - t)^2, \qquad
# dA_{nh} = \frac{m_h - t}{H N} .
# $$
#
# $dA$ does not depend on the sample: all samples push the mean by the same amount.
#
# In tinydiv a penalty is a class with one method. It takes the activations `A`, and returns the value and the
# gradient at *unit* strength. Everything else (strengths, schedules, which layers, many networks at once, files)
# is done by the framework. One rule makes that possible: **sum over named axes from the end**, `-2` for samples
# and `-1` for neurons, so that an axis of networks may stand in front.
#
# An intervention is a class, too. Its method `edit` is called after backward and before the optimizer, and it may
# change the gradients in place. Ours gives the gradients of all neurons of a layer one length.
#
# Here are both, in a file `mine.py`. A number with a type is a setting that a user may change.

# %%
MINE = '''"""Techniques of my own."""

from tinydiv.backend import xp
from tinydiv.techniques import ActivationPenalty, Intervention


class Employed(ActivationPenalty):
    "Every neuron has the same mean activation: L = 1/(2H) sum (m - level)^2."

    level: float = 0.5

    def __call__(self, A, step):
        N, H = A.shape[-2:]
        gap = xp.mean(A, axis=-2, keepdims=True) - self.level
        value = xp.sum(gap**2, axis=(-2, -1)) / (2 * H)
        dA = gap / H + xp.zeros_like(A)
        return value, dA


class EqualPace(Intervention):
    "The gradients of all neurons of a layer get one length, their mean length."

    def edit(self, step, layer, mask):
        dW = step.net.dW[layer - 1]
        lengths = xp.sqrt(xp.sum(dW**2, axis=-2, keepdims=True)) + 1e-12
        dW *= xp.mean(lengths, axis=-1, keepdims=True) / lengths
'''
Path("mine.py").write_text(MINE)
print(MINE.count("class "), "techniques are in the file")

# %% [markdown]
# ## Let the checker read it
#
# The penalty above has a mistake in its gradient. *Predict: which one is it, and what will the checker say?*
#
# From the shell it is `python -m tinydiv.check mine.py:Employed`. Here is the same call in Python:

# %%
from tinydiv.check.own import check_file

report = check_file("mine.py:Employed")
print(report)

# %% [asserts]
assert report.faults[0].array == "dA"
assert report.faults[0].worst.finding.code == "not-averaged"

# %% [markdown]
# The checker names the mistake: *not averaged over the batch*. The value contains a mean, so the gradient needs its $1/N$, and we left it out.
# The rows below `dA` are the gradients of the whole objective; they are wrong only because `dA` is a part of
# them. Mend what stands first.
#
# Would training have shown it? No: a penalty that is too strong by a factor $N$ is still a penalty. It would only
# have been stronger than you believed, and differently so for every batch size.

# %%
right = MINE.replace("dA = gap / H +", "dA = gap / (H * N) +")
Path("mine.py").write_text(right)

report = check_file("mine.py")
print(report)

# %% [asserts]
assert report.right
assert right != MINE

# %% [markdown]
# Now both pass. Read the line about `EqualPace` with care: an intervention has no value, so there is no derivative to
# compare it with. The checker lets it act for a few steps, on one network and on several at once, and tests whether
# all numbers stay finite and every network gets what it would get alone. *What it does to the gradients is yours
# to test.* So test it:

# %%
from tinydiv.losses import cross_entropy
from tinydiv.techniques import Techniques


def new_network():
    net = MLP([784, 16, 10], dtype="float64")
    initialize(net, "he-normal", seed=0)
    return net


net = new_network()
techniques = Techniques(net, ["mine.py:EqualPace"])
X, Y = data.floats(data.train_x[:64]), data.train_y[:64]
trace = net.forward(X)
loss, dlogits = cross_entropy(trace.logits, Y)
step = techniques.step(trace, Y, loss, dlogits, 0)
net.backward(trace, step.dlogits, step.dA)
before = np.linalg.norm(net.dW[0], axis=0)
techniques.after_backward(step)
after = np.linalg.norm(net.dW[0], axis=0)
print("lengths before", before.round(2))
print("lengths after ", after.round(2))

# %% [asserts]
assert np.allclose(after, before.mean())
assert before.max() > 2 * before.min()

# %% [markdown]
# Before, the neurons' gradients had quite different lengths; after it they have one, the mean.
#
# ## Train with it
#
# From Python, a technique is given by the same text as on the command line: file, class, settings. Two networks
# from one start and with the same batches: one with the penalty, one without. *Predict what the penalty does to
# the mean activations.*

# %%
STRENGTH = 10
means, accuracies = {}, {}
for name, specs in (
    ("without", []),
    ("with the penalty", [f"mine.py:Employed:strength={STRENGTH}"]),
):
    net = new_network()
    records = train(net, data, Adam(net, lr=1e-3), specs, epochs=3, metrics=[])
    means[name] = net.forward(data.probe(1000)).A[1].mean(axis=0)
    accuracies[name] = float(np.mean(records[-1].test_accuracy))
    print(
        f"{name:17} test accuracy {accuracies[name]:.1%}   "
        f"means from {means[name].min():.2f} to {means[name].max():.2f}"
    )

# %% [asserts]
assert [f"{m.min():.2f}" for m in means.values()] == ["0.00", "0.40"]
assert [f"{m.max():.2f}" for m in means.values()] == ["6.40", "0.74"]
assert [f"{100 * accuracy:.1f}" for accuracy in accuracies.values()] == ["80.7", "78.0"]

# %% mystnb={"image": {"alt": "Mean activation of each of sixteen hidden neurons, sorted. Without the penalty the sixteen dots rise from zero to far above the dashed line of the level; with the penalty they lie close along the line."}}
fig, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
for (name, m), mark in zip(means.items(), "os", strict=True):
    ax.plot(np.sort(m), mark, label=name)
ax.axhline(0.5, color="grey", linestyle="--", label="the level")
ax.set_xlabel("hidden neuron, sorted by its mean")
ax.set_ylabel("mean activation")
ax.legend()
plt.show()

# %% [markdown]
# The penalty does what its formula says: the means lay between 0.00 and 6.40, and now they lie between 0.40 and 0.74.
# It was not free: 78.0 % of the test pictures are right in place of 80.7 %. (One seed, and a large strength.)
#
# The command line takes the same text. In a shell:
#
#     python -m tinydiv.train --technique mine.py:Employed:strength=10 --epochs 3 --out run
#
# A command is a function as well, so this page can call it. It leaves a folder with the settings, the network and a
# table of numbers; the penalty's own value has a column in it.

# %%
import csv

from tinydiv.train.command import main

spec = f"mine.py:Employed:strength={STRENGTH}"
flags = ["--technique", spec, "--epochs", "3", "--dtype", "float64", "--no-plot", "--quiet"]
main([*flags, "--out", "run"])
with open("run/metrics.csv") as file:
    rows = list(csv.DictReader(file))
column = "penalty.Employed"
for row in rows[1:]:
    print(f"epoch {row['epoch']}   {column} {float(row[column]):.4f}")

# %% [asserts]
assert float(rows[-1][column]) < float(rows[1][column])

# %% [markdown]
# ## Study it
#
# Does it help? One run cannot tell. We take ten paired seeds: in every pair both networks have the same start and
# the same batches. Plain gradient descent, a small part of the pictures, the mean test accuracy of the epochs as the
# readout. And beside our two techniques stands the cheapest rival that there is, as tutorial 4 taught us: nothing
# but twice the rate.
#
# *Predict: which of the three arms will be shown to beat the base?*

# %%
from tinydiv.study import Arm, Controls, Measure, Study, run_study
from tinydiv.study.comparing import compare_all

RATE, EPOCHS = 0.05, 4


def study(arms, first_seed=0):
    """Compare arms with doing nothing over ten paired seeds: {readout: {arm: comparison}}."""
    made = Study(
        "mine",
        [Arm("nothing"), *(Arm(name, changes) for name, changes in arms.items())],
        seeds=10,
        first_seed=first_seed,
        train={
            "data": "fashion-mini",
            "n_train": 1000,
            "init": "he-normal",
            "batch_size": 32,
            "epochs": EPOCHS,
            "optimizer": "sgd",
            "lr": RATE,
            "dtype": "float64",
        },
        measure=Measure(steps=(), metrics=("correlation",), early=EPOCHS),
        controls=Controls(aa=False, planted=False),
    )
    with tempfile.TemporaryDirectory() as place:
        report = run_study(made, place + "/study", executor="serial", show=False, figures=False)
    names = ("early", "correlation@final")
    readouts = {name: report.results.readout("all", name) for name in names}
    return {
        name: {one.cell.arm: one for one in compare_all(report.results, "all", "default", readout)}
        for name, readout in readouts.items()
    }


found = study(
    {
        "employed": {"technique": ["mine.py:Employed:strength=1"]},
        "equal pace": {"technique": ["mine.py:EqualPace"]},
        "twice the rate": {"lr": 2 * RATE},
    }
)
early, correlation = found["early"], found["correlation@final"]

# %% mystnb={"image": {"alt": "Forest plot: difference in mean test accuracy to the base in points, a row per arm with its interval and a dot per seed. The intervals of employed and of equal pace reach over zero; that of twice the rate lies to the right of zero."}}
from tinydiv import plots

fig, ax = plt.subplots(figsize=(6.4, 2.8), layout="constrained")
plots.forest(
    ax,
    list(early),
    [100 * one.paired.interval.estimate for one in early.values()],
    [100 * one.paired.interval.low for one in early.values()],
    [100 * one.paired.interval.high for one in early.values()],
    points=[100 * one.pairs for one in early.values()],
    unit="difference to doing nothing, points",
    digits=1,
)
plt.show()

# %%
print("mean test accuracy of the epochs:")
for one in early.values():
    print("  " + one.sentence)
print("mean |correlation| of the hidden neurons at the end:")
for one in correlation.values():
    print("  " + one.sentence)

# %% [asserts]
assert [name for name, one in early.items() if one.paired.shown] == ["twice the rate"]
assert [name for name, one in correlation.items() if one.paired.shown] == ["equal pace"]
assert correlation["equal pace"].paired.difference > 0
assert f"{100 * early['twice the rate'].paired.difference:.1f}" == "1.3"

# %% [markdown]
# Neither of our techniques is shown to help. Twice the rate is: it gains 1.3 points. (Not shown is not the same as
# shown to be nothing: look at how wide the intervals are.) And `EqualPace`, which treats all neurons alike, leaves
# them *more* correlated than they were: it does the opposite of what one might have hoped.
#
# A technique is **right** if it does what its formula says: a checker and a test can settle that in a second. It is
# **useful** if it beats the cheap rivals on fresh seeds, at a rate that suits each arm. Most ideas are right and not
# useful. That is why a study should be as easy as a training run.
#
# ## Break it
#
# The checker trains three networks at once and each of them alone. *Suppose that `EqualPace` forgets the axis in
# `xp.mean(lengths, axis=-1, keepdims=True)`. With one network nothing changes. What will the checker say?*

# %%
Path("broken.py").write_text(
    right.replace("xp.mean(lengths, axis=-1, keepdims=True)", "xp.mean(lengths)")
)
broken = check_file("broken.py:EqualPace")
print(broken)

# %% [asserts]
assert not broken.right
assert "networks influence each other" in str(broken)

# %% [markdown]
# The checker finds that networks influence each other: the mean went over all of them, so every network depended on the others. In a study, where many networks are
# trained in one array, the seeds would no longer have been independent, and every interval would have been too
# narrow or too wide. It is the most dangerous kind of fault: nothing fails, and the figures look fine.
#
# ## Exercises
#
# Ours are in `tutorials/solutions/13_write_your_own_technique.py`.
#
# 1. **A penalty of your own.** Write a file with a class `Silent(ActivationPenalty)` whose value is
#    $L = \frac{1}{4N} \sum_{nh} A_{nh}^4$. *Done when* the checker says "all right" and its value is that of the
#    formula.

# %%
answer_1 = ...  # the text of your file, between triple quotes


def checked(text):
    Path("silent.py").write_text(text)
    return reported(check_file("silent.py:Silent"))


def value_of(text):
    from tinydiv.techniques.registry import module_of_file

    Path("silent.py").write_text(text)
    A = np.arange(6.0).reshape(3, 2)
    return np.isclose(module_of_file("silent.py").Silent()(A, None)[0], np.sum(A**4) / (4 * len(A)))


check(
    answer_1,
    (lambda text: "class Silent" in text, "the text of a file, with a class Silent in it"),
    (value_of, "sum over samples and neurons, axis=(-2, -1); N is A.shape[-2]"),
    (
        checked,
        "dA is the derivative of a fourth power: which factor is left of 1/4, and where is N?",
    ),
)

# %% [markdown]
# 2. **A rival for the winner.** Find a change (any key of `study`'s `train`, such as `lr`, `optimizer`, `init`
#    or `technique`) that is shown to beat the base by more than twice the rate does, on fresh seeds. *Done when* the
#    low end of its interval is above 1.3 points: the check prints it.

# %%
answer_2 = ...  # the changes of your arm, {"lr": 0.2} or another


def low_end(changes):
    one = study({"yours": changes}, first_seed=100)["early"]["yours"]
    print(f"low end of the interval: {100 * one.paired.interval.low:+.1f} points")
    return 100 * one.paired.interval.low


check(
    answer_2,
    (lambda changes: isinstance(changes, dict), "a dictionary: a key of train, and its new value"),
    (
        lambda changes: low_end(changes) > 1.3,
        "what did tutorial 4 gain most with? A start has a scale, an optimizer has a rate",
    ),
)

# %% [markdown]
# ## What you have now
#
# A file with two techniques, checked, tested, trained with and studied. The same file works with every command
# (`python -m tinydiv.gallery --help`, `python -m tinydiv.trace --help`), for a thousand networks at once, and on a GPU.
#
# > **For teachers**
# >
# > Each group invents a technique on paper, with its gradient, before the file is opened. Let them write down a
# > prediction for the study and sign it. In the end collect how many were right (nearly all) and how many were useful
# > (few), and ask what a journal would have printed.
#
# ## Further reading
#
# - `tinydiv/techniques/base.py`: the kinds of techniques and what each must fill in; `tinydiv/techniques/decov.py`:
#   a short one to begin with.
# - S. Holm, *A simple sequentially rejective multiple test procedure*, 1979: why three arms need more than three tests.
