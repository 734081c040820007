# %% [markdown]
# # 6. Penalties on weights, and why they hardly matter at 784 inputs
#
# **You will do:** drive the weights of sixteen neurons to right angles, see that their responses agree nearly as before, and
# compute from the inputs' covariance why.
#
# **You will learn:** how the cosine of two neurons' weights and the correlation of their responses are related; what the
# effective dimension of data is; when a penalty on weights can matter.
#
# **You need:** tutorials 3 and 5, and what an eigenvalue is.
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
# ## Right angles
#
# A penalty on activations costs products with the whole batch. A penalty on weights needs no data: **cosine** is the mean
# squared cosine between the incoming weights of two neurons, **soft-orthogonality** the distance of $W^\top W$ from a
# multiple of the identity.
#
# *Predict: by how much will the correlation of the responses fall?*

# %%
SPECS = {
    "none": None,
    "cosine": "cosine:strength=1",
    "cosine, strong": "cosine:strength=30",
    "soft-orthogonality": "soft-orthogonality:strength=0.1",
}
found, trained = {}, {}
print("penalty              |cosine of weights|   |correlation|   accuracy")
for name, spec in SPECS.items():
    nets, f = run(spec)
    trained[name], found[name] = nets, f
    print(
        f"{name:20} {f['weight_cosine']:19.3f}   {f['correlation']:13.3f}   {f['test_accuracy']:8.1%}"
    )

# %% [asserts]
assert [f"{f['weight_cosine']:.3f}" for f in found.values()] == ["0.076", "0.018", "0.003", "0.002"]
agreed = [f"{f['correlation']:.3f}" for f in found.values()]
assert agreed == ["0.345", "0.344", "0.319", "0.316"], agreed

# %% [markdown]
# The penalties do what they promise: the mean |cosine| falls from 0.076 to 0.018, 0.003 and 0.002. And the neurons agree as
# before: a correlation of 0.345 becomes 0.344, 0.319 and 0.316.
#
# ## Two neurons, two numbers
#
# A dot for each pair of neurons: the cosine of their weights against the correlation of what they compute *before* the ReLU.

# %% mystnb={"image": {"alt": "Scatter plot, a dot per pair of neurons: cosine of weights on the horizontal axis, correlation of pre-activations on the vertical one. Without a penalty cosines spread a little around zero; under the penalty they stand in one vertical line at zero. Correlations reach from strongly negative to strongly positive in both cases."}}
pairs = np.triu_indices(16, 1)
seen = {}
fig, ax = plt.subplots(figsize=(5.5, 4), layout="constrained")
for name, mark in (("none", "o"), ("cosine, strong", "x")):
    W = trained[name].W[0][0]
    unit = W / np.linalg.norm(W, axis=0)
    cosine = (unit.T @ unit)[pairs]
    correlation = np.corrcoef((probe @ W).T)[pairs]
    seen[name] = (cosine, correlation)
    ax.plot(cosine, correlation, mark, label=name, alpha=0.7)
ax.set_xlabel("cosine of the weights")
ax.set_ylabel("correlation of the pre-activations")
ax.set_xlim(-0.6, 0.6)
ax.legend()
plt.show()

# %% [asserts]
assert np.abs(seen["cosine, strong"][0]).max() < 0.05
assert np.ptp(seen["cosine, strong"][1]) > 1

# %% [markdown]
# ## Why: the inputs have few directions
#
# With $S_x$ the covariance of the inputs, two neurons with weights $w$ and $v$ have the correlation
#
# $$R = \frac{w^\top S_x v}{\sqrt{w^\top S_x w}\,\sqrt{v^\top S_x v}},$$
#
# and it is the cosine only if $S_x$ is a multiple of the identity. Pixels that lie side by side go together, so $S_x$ is far from
# that. Its participation ratio $(\operatorname{tr} S_x)^2 / \lVert S_x \rVert^2$ counts the directions that matter.
#
# *Predict: 784 pixels make how many directions?* And for random weights in $d$ equal directions the mean |correlation| is about
# $\sqrt{2 / (\pi d)}$: *what does that give for 784, and what for your number?*

# %%
S = np.cov(probe.T)
directions = np.trace(S) ** 2 / np.sum(S**2)
draws = np.random.default_rng(0).normal(size=(784, 200))
agreements = np.corrcoef((probe @ draws).T)[np.triu_indices(200, 1)]
measured = np.abs(agreements).mean()
expected = {d: np.sqrt(2 / (np.pi * d)) for d in (784, directions)}
print(f"directions that matter: {directions:.1f} of 784")
print(f"|correlation| of random neurons: {measured:.3f}")
print("expected for d directions: " + ", ".join(f"{d:.1f}: {e:.3f}" for d, e in expected.items()))

# %% [asserts]
assert f"{directions:.1f}" == "7.4"
assert [f"{e:.3f}" for e in expected.values()] == ["0.028", "0.293"]
assert f"{measured:.3f}" == "0.250"
assert len(S) == 784

# %% [markdown]
# Of 784 directions 7.4 matter. For so few, random neurons should have a mean |correlation| of about 0.293, and they have 0.250; by
# 784 directions it would be 0.028. So neurons whose weights stand at right angles by chance, as nearly all do in 784
# dimensions, respond alike all the same, and turning them from nearly to exactly right angles changes next to nothing.
#
# ## With white inputs it is another matter
#
# Make the inputs white, $x \to S_x^{-1/2} x$, and angles are correlations. The same weights, the same pairs:

# %%
values, vectors = np.linalg.eigh(S + 1e-3 * np.trace(S) / 784 * np.eye(784))
white = probe @ (vectors / np.sqrt(values)) @ vectors.T
W = trained["cosine, strong"].W[0][0]
on_white = np.abs(np.corrcoef((white @ W).T)[pairs]).mean()
on_pictures = np.abs(np.corrcoef((probe @ W).T)[pairs]).mean()
print(
    f"|correlation| of the same neurons: on pictures {on_pictures:.3f}, on white inputs {on_white:.3f}"
)

# %% [asserts]
assert f"{on_pictures:.3f}" == "0.391"
assert f"{on_white:.3f}" == "0.049"

# %% [markdown]
# The same neurons agree on pictures, 0.391, and hardly on white inputs, 0.049. This is why the decorrelated start of tutorial 4 works on responses, and why
# penalties on weights are kept for inputs that are white, or few.
#
# ## Break it
#
# Take only two inputs, `spirals`, and sixteen neurons. *Predict: how small can the mean |cosine| of sixteen directions in a
# plane become? Can a penalty reach zero?*
#
# ## Exercises
#
# Ours are in `tutorials/solutions/06_penalise_weights.py`. Put your answer in the place of the dots.
#
# 1. **At right angles, and still alike.** Build two weight vectors of length one that are at right angles and whose
#    responses on `probe` have a correlation above `0.9`. *Done when* both numbers are printed as asked for.

# %%
answer_1 = ...  # (w, v), each (784,)


def angle_and_agreement(pair):
    w, v = pair
    print(f"cosine {w @ v:.1e}, correlation {np.corrcoef(probe @ w, probe @ v)[0, 1]:.3f}")
    return np.corrcoef(probe @ w, probe @ v)[0, 1]


check(
    answer_1,
    (lambda pair: all(np.isclose(np.linalg.norm(x), 1) for x in pair), "both have the length one"),
    (lambda pair: abs(pair[0] @ pair[1]) < 1e-9, "their product is not zero"),
    (
        lambda pair: angle_and_agreement(pair) > 0.9,
        "both responses should be ruled by the direction of largest variance: give each a part of it",
    ),
)

# %% [markdown]
# 2. **How many neurons fit?** In $D$ dimensions at most how many neurons can be at right angles to each other? And what is the
#    least mean squared cosine of $H > D$ neurons, over pairs? *Done when* your function gives the value for $H = 16$, $D = 2$.

# %%
answer_2 = ...  # your function (H, D) for H > D

check(
    answer_2,
    (lambda f: 0 < f(16, 2) < 1, "between 0 and 1"),
    (
        lambda f: np.isclose(f(3, 2), 0.25),
        "three directions in a plane: angles of 60 degrees, squared cosine a quarter",
    ),
    (
        lambda f: np.isclose(f(4, 3), 1 / 9),
        "four directions in space: from the centre of a regular tetrahedron to its corners",
    ),
    (
        lambda f: np.isclose(f(16, 2), np.mean(np.cos(np.arange(1, 16) * np.pi / 16) ** 2)),
        "the sum of all squared cosines, the diagonal too, is |G|^2, G of rank D and trace H: at least H^2 / D",
    ),
)

# %% [markdown]
# ## What you have now
#
# Angles between weights are correlations of responses only where inputs are white. Pictures have few directions, and neurons at
# right angles can respond alike. So choose what you penalise by what you want to differ.
#
# **Next:** what all neurons contribute to the outputs together, and how much they disagree.
#
# > **For teachers**
# >
# > The scatter plot is the whole tutorial: let the class draw what they expect on the empty axes first.
#
# ## Further reading
#
# - P. Rodriguez, J. Gonzalez, G. Cucurull, J. Gonfaus and X. Roca, *Regularizing CNNs with locally constrained
#   decorrelations*, ICLR 2017.
# - N. Bansal, X. Chen and Z. Wang, *Can we gain more from orthogonality regularizations in training deep networks?*, NeurIPS
#   2018.
# - `tinydiv/techniques/cosine.py`, `tinydiv/techniques/soft_orthogonality.py`.
