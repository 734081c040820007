# %% [markdown]
# # 5. Penalties on activations, and how a network cheats each of them
#
# **You will do:** train the same network with three penalties that ask for uncorrelated neurons, and find out by which
# way out it makes each of them small.
#
# **You will learn:** that a penalty is fulfilled in the cheapest way, not in the way that was meant; how to read a
# penalty's formula for its way out; which measures show it.
#
# **You need:** tutorial 3.
#
# **Reading time:** 10 minutes. It runs in a few seconds.

# %%
import matplotlib.pyplot as plt
import numpy as np
from checks import check

from tinydiv.data import load
from tinydiv.initializers import initialize
from tinydiv.loop import DeviceData, train
from tinydiv.mlp import MLP
from tinydiv.optimizers import Adam
from tinydiv.techniques import Techniques

data = DeviceData(load("fashion-mini"), dtype="float64")
probe = data.probe()  # 512 training samples, always the same ones
MEASURES = ["correlation", "dead_fraction", "weight_cosine", "participation_ratio"]


def run(spec, seeds=3, epochs=4):
    """Train three networks at once with a technique; the networks, and the means of what was measured."""
    nets = MLP([784, 16, 10], replicas=seeds, dtype="float64")
    initialize(nets, "he-normal", seed=list(range(seeds)))
    optimizer = Adam(nets)
    techniques = Techniques(nets, [spec] if spec else [], optimizer)
    records = train(nets, data, optimizer, techniques, epochs=epochs, metrics=MEASURES)
    last = records[-1].flat()
    found = {name: float(np.mean(last[name])) for name in ["test_accuracy", *MEASURES]}
    found["size"] = float(np.abs(nets.forward(probe).A[1]).mean())
    return nets, found


# %% [markdown]
# ## Three ways to ask for the same
#
# $S$ is the covariance of the activations, $R$ their correlation, $s_h$ a neuron's standard deviation:
#
# - **decov**: $\tfrac12 \sum_{i \ne j} S_{ij}^2$, the covariances themselves;
# - **pearson**: the mean of $R_{ij}^2$, which does not depend on any neuron's size;
# - **vicreg**: the mean of $S_{ij}^2$, plus a hinge $\max(0, 1 - s_h)$ that asks every neuron to vary.
#
# *Predict for each: what is the cheapest way to make it small, that is not "look at different things"?*

# %%
SPECS = {
    "none": None,
    "decov": "decov:strength=1",
    "pearson": "pearson:strength=1",
    "vicreg": "vicreg:strength=0.03",
}
found = {}
print("penalty   |correlation|   size of activations   dead   accuracy")
for name, spec in SPECS.items():
    _, f = run(spec)
    found[name] = f
    print(
        f"{name:9} {f['correlation']:13.3f}   {f['size']:19.2f}   {f['dead_fraction']:4.0%}   "
        f"{f['test_accuracy']:8.1%}"
    )

# %% mystnb={"image": {"alt": "Three bar charts side by side, a bar for each of none, decov, pearson and vicreg. Correlation: none is by far the highest, decov the lowest. Size of activations: none is the highest, decov is tiny. Dead neurons: pearson has by far the most, vicreg none at all."}}
fig, axes = plt.subplots(1, 3, figsize=(6.6, 2.8), layout="constrained")
for ax, key, title in zip(
    axes,
    ("correlation", "size", "dead_fraction"),
    ("mean |correlation|", "mean size of activations", "share of dead neurons"),
    strict=True,
):
    ax.bar(list(found), [f[key] for f in found.values()], color=["0.6", "C0", "C1", "C2"])
    ax.set_title(title, fontsize=10)
    ax.tick_params(axis="x", rotation=40)
plt.show()

# %% [asserts]
assert [f"{f['correlation']:.3f}" for f in found.values()] == ["0.345", "0.128", "0.166", "0.218"]
assert f"{found['none']['size']:.2f}" == "2.34"
assert f"{found['decov']['size']:.2f}" == "0.33"
assert f"{100 * found['pearson']['dead_fraction']:.0f}" == "52"
assert f"{100 * found['none']['dead_fraction']:.0f}" == "10"
assert f"{100 * found['vicreg']['dead_fraction']:.0f}" == "0"
assert f"{found['vicreg']['size']:.2f}" == "1.21"
shares = [f"{100 * f['test_accuracy']:.1f}" for f in found.values()]
assert shares == ["79.6", "76.6", "76.3", "79.9"], shares

# %% [markdown]
# All three reach what they ask for: the correlation falls from 0.345 to 0.128, 0.166 and 0.218. But look at the two other
# panels.
#
# - **decov makes neurons small.** Their mean size falls from 2.34 to 0.33. Covariances shrink with the square of the
#   size; nothing in the formula asks neurons to say anything.
# - **pearson kills neurons.** No size helps here, since a correlation has none. But 52 % of the neurons are dead, and 10 %
#   without a penalty: a neuron that never varies has no correlation with anything, and is left out of the mean.
# - **vicreg has closed both ways.** Its hinge asks every neuron to vary: 0 % are dead and the size stays at 1.21.
#
# Accuracy, in the same order as the table: 79.6, 76.6, 76.3 and 79.9 %. Only the one without a way out did not cost any.
# (Three seeds and one strength each: an illustration, no verdict. Tutorial 9 is about verdicts.)
#
# ## How to find the way out on paper
#
# Write down what leaves the network's answers as they are, or nearly so, and put it into the penalty. ReLU neurons can be
# scaled: $a_h \to a_h / s$, outgoing weights times $s$. A neuron can be switched off by its bias. A pair can become
# one. *Which of these makes decov smaller? Which pearson? Which vicreg?*

# %%
from tinydiv.techniques.decov import DeCov
from tinydiv.techniques.pearson import Pearson

nets, _ = run(None)
A = nets.forward(probe).A[1][0]
changes = {
    "as it is": A,
    "all neurons halved": A / 2,
    "half of them off": np.where(np.arange(16) < 8, A, 0.0),
}
values = {}
for name, changed in changes.items():
    values[name] = [float(penalty()(changed, None)[0]) for penalty in (DeCov, Pearson)]
    print(f"{name:20} decov {values[name][0]:9.3f}   pearson {values[name][1]:.4f}")

# %% [asserts]
assert np.isclose(values["all neurons halved"][0] * 16, values["as it is"][0])
assert abs(values["all neurons halved"][1] / values["as it is"][1] - 1) < 0.01

# %% [markdown]
# Halving takes decov down by a factor of 16 and leaves pearson where it is.
#
# ## Break it
#
# Set the hinge of vicreg to zero with `vicreg:strength=0.03,variance=0` and *predict* which of the two other columns it
# will resemble.
#
# ## Exercises
#
# Ours are in `tutorials/solutions/05_penalise_activations.py`. Put your answer in the place of the dots.
#
# 1. **Another change.** Add `5.0` to all activations of one neuron, as a larger bias would. By which factor does decov change?
#    *Done when* your number agrees with the formula.

# %%
answer_1 = ...  # decov after the change / decov before

check(
    answer_1,
    (lambda factor: factor >= 0, "a factor is no negative number"),
    (
        lambda factor: np.isclose(
            factor, DeCov()(A + 5.0 * (np.arange(16) == 0), None)[0] / DeCov()(A, None)[0]
        ),
        "what does the covariance do with a constant?",
    ),
)

# %% [markdown]
# 2. **A strength.** Find a strength of vicreg with a correlation below `0.2`, no dead neurons, and at most two points of accuracy
#    lost. *Done when* a run of the three seeds shows it.

# %%
answer_2 = ...  # the strength, a number


def tried(strength):
    _, f = run(f"vicreg:strength={strength}")
    print({name: round(f[name], 3) for name in ("correlation", "dead_fraction", "test_accuracy")})
    return (
        f["correlation"] < 0.2
        and f["dead_fraction"] == 0
        and f["test_accuracy"] > found["none"]["test_accuracy"] - 0.02
    )


check(
    answer_2,
    (lambda strength: strength > 0, "a strength is a positive number"),
    (tried, "correlation too high: more; accuracy too low: less"),
)

# %% [markdown]
# ## What you have now
#
# A penalty is a wish, and training looks for the cheapest way to fulfil it. Before you trust one, name its way out, and watch
# a measure that this way cannot fool: the size for decov, the dead neurons for pearson.
#
# **Next:** penalties on weights, which are cheaper, and what they miss.
#
# > **For teachers**
# >
# > Give each group one penalty and let it look for the way out on paper, before any code runs. To move the strength by hand
# > and see neurons fade: `python -m tinydiv.play`.
#
# ## Further reading
#
# - A. Bardes, J. Ponce and Y. LeCun, *VICReg: variance-invariance-covariance regularization*, ICLR 2022.
# - Y. Bao, H. Jiang, L. Dai and C. Liu, *Incoherent training of deep neural networks to de-correlate bottleneck features*,
#   2013.
# - The docstrings in `tinydiv/techniques/` say of each penalty how a network cheats it.
