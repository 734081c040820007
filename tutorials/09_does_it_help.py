# %% [markdown]
# # 9. Ask whether it helps: pairs, rates, doses, and the parts of a technique
#
# **You will do:** test a diversity technique on ten paired seeds, compute the interval by hand, tune the rate, vary
# the technique's strength, and take the technique apart.
#
# **You will learn:** what a sign-flip interval is; why a gain at an untuned rate is not yet a gain; how a dose-response
# shows that a technique may work for another reason than its name says.
#
# **You need:** tutorials 3 and 4.
#
# **Reading time:** 12 minutes. It runs in some fifteen seconds.

# %%
import tempfile

import matplotlib.pyplot as plt
import numpy as np
from checks import check

from tinydiv.stats import mean_difference_interval
from tinydiv.study import Arm, Controls, Measure, Study, run_study

# %% [markdown]
# ## A study in eight lines
#
# The technique is `vicreg`, a penalty on the hidden activations with two parts: it pushes the *covariances* between
# neurons towards zero, and it holds each neuron's standard deviation up to a target, by a *hinge*. The network has
# 16 neurons and 1000 embedded pictures; the readout is the mean test accuracy over five epochs.
#
# A study is a list of arms, and every arm runs on the same seeds: the same start, the same batches. Here it is, as a
# function, so that we can run it again:


# %%
PICTURES, NEURONS = 1000, 16


def study(arms, rate, seeds=10, first_seed=0):
    """Accuracy and correlation, a number per seed, of each arm: {"name": changes}."""
    train = {"data": "fashion-mini", "hidden": [NEURONS], "init": "he-normal", "batch_size": 50}
    plan = Study(
        "help",
        [Arm(name, changes) for name, changes in arms.items()],
        seeds=seeds,
        first_seed=first_seed,
        train={
            **train,
            "n_train": PICTURES,
            "epochs": 5,
            "optimizer": "sgd",
            "lr": rate,
            "dtype": "float64",
        },
        measure=Measure(steps=(), metrics=("correlation",), early=5),
        controls=Controls(aa=False, planted=False),
    )
    with tempfile.TemporaryDirectory() as folder:
        report = run_study(plan, folder + "/study", executor="serial", show=False, figures=False)
    results = report.results
    numbers = {}
    for readout in ("early", "correlation@final"):
        read = results.readout("all", readout)
        numbers[readout] = {
            cell.arm: np.array(results.numbers(cell, read)) for cell in results.cells
        }
    return numbers["early"], numbers["correlation@final"]


STRENGTHS = ("0.01", "0.03", "0.1", "0.3", "1")
ARMS = {
    "plain": {},
    **{f"vicreg {s}": {"technique": [f"vicreg:strength={s}"]} for s in STRENGTHS},
    "hinge alone": {"technique": ["vicreg:strength=0.1,covariance=0"]},
    "covariances alone": {"technique": ["vicreg:strength=0.1,variance=0"]},
}
accuracy, correlation = study(ARMS, rate=0.01)
plain, ours = accuracy["plain"], accuracy["vicreg 0.1"]
print("seed      " + "".join(f"{seed:7}" for seed in range(10)))
print("plain     " + "".join(f"{100 * a:7.1f}" for a in plain))
print("vicreg 0.1" + "".join(f"{100 * a:7.1f}" for a in ours))

# %% [asserts]
assert len(plain) == 10
assert (NEURONS, PICTURES) == (16, 1000)

# %% [markdown]
# *Predict, from these two rows: is the gain real? How much of the spread within a row do the two rows share?*
#
# ## Pairs, and the interval by hand
#
# Take the difference in each column. If the technique did nothing, each difference could as well have had the other
# sign. So turn the signs in all $2^{10}$ ways, and see how often the mean is as far from zero as ours: that share is
# the *p value*. The **interval** holds every effect $m$ that would not be rejected at 5 %, if we subtracted it first.

# %%
differences = ours - plain
signs = np.array(np.meshgrid(*[[-1, 1]] * 10)).reshape(10, -1)  # (10, 1024)


def p_value(d):
    """The share of all sign flips whose mean is as far from zero as that of d."""
    means = np.abs(d @ signs) / len(d)
    return (means >= np.abs(d.mean()) - 1e-12).mean()


grid = np.linspace(-0.05, 0.25, 601)
kept = [m for m in grid if p_value(differences - m) > 0.05]
interval = mean_difference_interval(ours, plain)
print(f"mean difference {100 * differences.mean():+.1f} points, p = {p_value(differences):.3f}")
print(f"by hand {100 * kept[0]:.1f} to {100 * kept[-1]:.1f}")
print(f"tinydiv {100 * interval.low:.1f} to {100 * interval.high:.1f}")

correlated = np.corrcoef(ours, plain)[0, 1]
print(f"correlation of the two rows: {correlated:.2f}")

# %% [asserts]
assert signs.shape == (10, 1024)
assert f"{100 * differences.mean():.1f}" == "8.0"
assert f"{p_value(differences):.3f}" == "0.002"
assert (f"{100 * interval.low:.1f}", f"{100 * interval.high:.1f}") == ("5.1", "10.9")
assert abs(kept[0] - interval.low) < 1e-3
assert abs(kept[-1] - interval.high) < 1e-3
assert interval.level == 1 - 5 / 100

# %% [markdown]
# A gain of 8.0 points, with an interval from 5.1 to 10.9. Ten pairs, no assumption of a bell curve. One could write:
# *diversity helps*. Three questions first.
#
# ## First question: at which rate?
#
# We took a rate of `0.01`, because it is a usual one. Give both arms their best rate of four, chosen on five *other*
# seeds, and compare again on the first ten.
#
# *Predict: what will be left of the 8.0 points?*

# %%
PAIR = {name: ARMS[name] for name in ("plain", "vicreg 0.1")}
RATES = (0.01, 0.03, 0.1, 0.3)
tuning = {rate: study(PAIR, rate, seeds=5, first_seed=100)[0] for rate in RATES}
best = {name: max(RATES, key=lambda rate: tuning[rate][name].mean()) for name in PAIR}
for rate in RATES:
    row = "   ".join(f"{name} {100 * tuning[rate][name].mean():.1f}" for name in PAIR)
    print(f"rate {rate:4}: {row}")
print("best:", best)

at_best = {name: study({name: PAIR[name]}, best[name])[0][name] for name in PAIR}
tuned = mean_difference_interval(at_best["vicreg 0.1"], at_best["plain"])
print(
    f"tuned: {100 * tuned.estimate:+.1f} points, {100 * tuned.low:+.1f} to {100 * tuned.high:+.1f}"
)

# %% [asserts]
assert best == {"plain": 0.1, "vicreg 0.1": 0.1}
assert RATES[0] == 0.01
assert list(tuning[0.1]) == list(PAIR)
assert f"{100 * tuned.estimate:.1f}" == "1.9"
assert (f"{100 * tuned.low:.1f}", f"{100 * tuned.high:.1f}") == ("-0.9", "4.7")
assert 0 in tuned

# %% [markdown]
# With tuned rates 1.9 points are left, and the interval, from -0.9 to 4.7, holds zero. That is *not* "no effect": it
# is "ten seeds cannot tell none from four points". Write the interval, and the reader can see which. (Tuning only your own arm is
# the most common unfair comparison that there is.)
#
# ## Second question: does the response follow the dose?
#
# If less correlation is what helps, then more strength should give less correlation, and less correlation more
# accuracy. Both can be looked at.
#
# *Predict: draw both curves before you run the cell.*

# %% mystnb={"image": {"alt": "Two panels against the strength of the penalty, with a dashed line for no penalty. Left, test accuracy rises to a strength of 0.3 and falls after it. Right, the correlation of the neurons does the same: it rises above that without a penalty up to 0.1, then falls."}}
fig, axes = plt.subplots(1, 2, figsize=(6.4, 3.2), layout="constrained")
for ax, numbers, scale, label in (
    (axes[0], accuracy, 100, "test accuracy, %"),
    (axes[1], correlation, 1, "mean |correlation|"),
):
    values = [scale * numbers[f"vicreg {s}"].mean() for s in STRENGTHS]
    ax.semilogx([float(s) for s in STRENGTHS], values, "o-")
    ax.axhline(scale * numbers["plain"].mean(), ls="--", color="0.4", label="no penalty")
    ax.set_xlabel("strength of vicreg")
    ax.set_title(label)
axes[0].legend(loc="lower center", bbox_to_anchor=(0.5, 0.08))
plt.show()

# %%
for name in ARMS:
    gain = mean_difference_interval(accuracy[name], plain)
    print(
        f"{name:18} correlation {correlation[name].mean():.2f}   accuracy {100 * gain.estimate:+5.1f} points, "
        f"{100 * gain.low:+.1f} to {100 * gain.high:+.1f}"
    )

gains = {name: f"{100 * (accuracy[name] - plain).mean():.1f}" for name in ARMS}
levels = {name: f"{correlation[name].mean():.2f}" for name in ARMS}

# %% [asserts]
assert (levels["plain"], levels["vicreg 0.1"]) == ("0.21", "0.43")
assert (levels["hinge alone"], levels["covariances alone"]) == ("0.51", "0.20")
assert (gains["hinge alone"], gains["covariances alone"]) == ("8.3", "0.1")
assert 0 in mean_difference_interval(accuracy["covariances alone"], plain)
assert 0 not in mean_difference_interval(accuracy["hinge alone"], plain)
assert max(STRENGTHS, key=lambda s: accuracy[f"vicreg {s}"].mean()) == "0.3"

# %% [markdown]
# The penalty that is to make neurons *less* alike made them *more* alike: 0.43 at the strength with the gain, 0.21
# without it. And accuracy rises along with the correlation. Whatever helped, it was not decorrelation.
#
# ## Third question: which part, and is it scale?
#
# The last two rows take the technique apart, each with the other part's weight at zero. The covariance part, which
# is the one about diversity, brings 0.1 points, with an interval that holds zero. The hinge alone brings 8.3, and
# the highest correlation of all, 0.51. The hinge asks for larger standard deviations: for **scale**. Larger
# activations make larger gradients for the outgoing weights, much as a higher rate does, and that fits with the first
# answer: at the tuned rate the gain can no longer be shown.
#
# So what may we write? *At a rate of 0.01, in five epochs on 1000 pictures, `vicreg` gains 8.0 points; its variance
# part alone accounts for it; with both rates tuned, no gain was shown.* That is longer than "diversity helps", and
# it is true.
#
# ## Break it
#
# A broken readout can fake a result as well as a broken gradient. *Suppose the rows are paired wrongly: the seeds of
# one arm are shifted by one. What happens to the mean difference, and what to the interval?*

# %%
shifted = mean_difference_interval(np.roll(ours, 1), plain)  # broken
print(f"paired {100 * interval.estimate:.1f}, width {100 * (interval.high - interval.low):.1f}")
print(f"broken {100 * shifted.estimate:.1f}, width {100 * (shifted.high - shifted.low):.1f}")

# %% [asserts]
assert np.isclose(shifted.estimate, interval.estimate)

# %% [markdown]
# Wrong pairs leave the mean as it is, so nothing looks wrong. The interval does: pairs that are none keep the differences
# between seeds within the noise. A study therefore takes care of the pairing, and not its reader.
#
# ## Exercises
#
# Ours are in `tutorials/solutions/09_does_it_help.py`. Put your answer in the place of the dots.
#
# 1. **The smallest p.** With $n$ pairs, what is the smallest p value that sign flips can give? *Done when* your function
#    of $n$ is right for ten pairs and for four.

# %%
answer_1 = ...  # a function of n

check(
    answer_1,
    (callable, "answer_1 is a function: lambda n: ..."),
    (
        lambda f: np.isclose(f(10), p_value(np.ones(10))),
        "if all differences have one sign, which of all flips give a mean as far from zero? Both ends count",
    ),
    (lambda f: np.isclose(f(4), 0.125), "there are 2^n flips"),
)

# %% [markdown]
# 2. **Scale without a penalty.** If the hinge works by scale, scale alone should do it. Find a start of the form
#    `scaled:inner=...,outer=...@he-normal` that gains at least as much on plain as the hinge did, at the same
#    rate. *Done when* its mean gain on ten seeds is at least that: the check prints both.

# %%
answer_2 = ...  # the name of your start


def gain_of(start):
    found, _ = study({"yours": {"init": start}}, rate=0.01)
    gain = 100 * (found["yours"] - plain).mean()
    print(f"yours {gain:+.1f} points, the hinge {gains['hinge alone']}")
    return gain


check(
    answer_2,
    (lambda start: start.startswith("scaled:"), "the name begins with scaled:"),
    (lambda start: start.endswith("@he-normal"), "the draw is that of plain: @he-normal"),
    (
        lambda start: gain_of(start) >= float(gains["hinge alone"]),
        "tutorial 4: which side's weights make the hidden neurons learn faster?",
    ),
)

# %% [markdown]
# ## What you have now
#
# Four habits: pair the seeds, tune both arms, vary the dose, and take the technique apart. `python -m tinydiv.study --help` does
# all of it for larger studies: `regimes = ["default", "tuned"]` in its file, and an arm per strength.
#
# > **For teachers**
# >
# > Stop after the first interval and let the class write one sentence about it. After each question they may change
# > one word. The sentence on the board at the end is the lesson.
#
# ## Further reading
#
# - J. A. Hartigan, *Using subsample values as typical values*, 1969: the interval that inverts sign flips.
# - A. Bardes, J. Ponce and Y. LeCun, *VICReg*, ICLR 2022.
# - `tinydiv/stats/intervals.py`, `tinydiv/techniques/vicreg.py`, `results/dose/dose.toml`.
