# %% [markdown]
# # 7. A layer is an ensemble: ambiguity, negative correlation, and what backpropagation has to do with it
#
# **You will do:** read sixteen hidden neurons as sixteen small networks whose mean is taken, split their error into two parts, and train
# with everything between "all together" and "each alone".
#
# **You will learn:** what ambiguity is; why a team can be right although nobody in it is; that ordinary backpropagation *is*
# negative correlation learning, at one end of its scale.
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
X, Y = data.floats(data.test_x), data.test_y

# %% [markdown]
# ## Sixteen members and their mean
#
# The network's outputs are $f = \sum_h a_h V_h + c$. Give each neuron the output $o_h = H a_h V_h + c$ with $H$ neurons, and
# $f$ is the mean of all $o_h$: the layer is an ensemble that takes the mean of its members.
#
# For squared errors Krogh and Vedelsby (1995) split the members' mean error into that of the team and what they disagree:
#
# $$\frac1H \sum_h \lVert o_h - y \rVert^2 = \lVert f - y \rVert^2 + \underbrace{\frac1H \sum_h \lVert o_h - f \rVert^2}_{\text{ambiguity}}.$$
#
# *Predict: in a trained network, how often is a single member right, and how often the team?*

# %%
LAMBDAS, SEEDS = (1.0, 0.99, 0.9, 0.5, 0.0), 3


def run_many():
    """Fifteen networks: five values of lambda, three seeds of each. The strength is 1 - lambda."""
    nets = MLP([784, 16, 10], replicas=len(LAMBDAS) * SEEDS, dtype="float64")
    initialize(nets, "he-normal", seed=list(range(SEEDS)) * len(LAMBDAS))
    optimizer = Adam(nets)
    strengths = "/".join(f"{1 - value:g}" for value in LAMBDAS for _ in range(SEEDS))
    techniques = Techniques(nets, [f"negative-correlation:strength={strengths}"], optimizer)
    train(nets, data, optimizer, techniques, epochs=4, metrics=["correlation"])
    return nets


nets = run_many()


def members(n):
    """The output of each neuron of network n, (samples, neurons, classes)."""
    A = nets.forward(X).A[1][n]
    return 16 * A[:, :, None] * nets.W[1][n] + nets.b[1][n]


def right(outputs, Y):
    return float((outputs.argmax(axis=-1) == Y).mean())


O = members(0)
f = O.mean(axis=1)
alone, team = right(O, Y[:, None]), right(f, Y)
print(f"a single member is right {alone:.1%}, their mean {team:.1%}")

y = np.eye(10)[Y]
mean_error = ((O - y[:, None]) ** 2).sum(-1).mean()
team_error = ((f - y) ** 2).sum(-1).mean()
ambiguity = ((O - f[:, None]) ** 2).sum(-1).mean()
print(f"members {mean_error:.1f} = team {team_error:.1f} + ambiguity {ambiguity:.1f}")

# %% [asserts]
assert np.allclose(f, nets.forward(X).logits[0])
assert np.isclose(mean_error, team_error + ambiguity)
assert (f"{100 * alone:.1f}", f"{100 * team:.1f}") == ("10.6", "80.3")

# %% [markdown]
# A single member is right in 10.6 % of the cases, which is guessing. Their mean is right in 80.3 %. Nearly all of the members' error is
# ambiguity: they contradict each other, and the contradictions cancel.
#
# ## From together to alone
#
# Negative correlation learning mixes two wishes: the team shall be right, and each member shall be right,
#
# $$\lambda \, \ell(f) + (1 - \lambda)\, \frac1H \sum_h \ell(o_h).$$
#
# At $\lambda = 1$ only the team counts. *But that is the ordinary loss of the network*: **backpropagation is negative
# correlation learning with $\lambda = 1$.** Every smaller $\lambda$ rewards *less* disagreement.
#
# *Predict: what happens to a single member, and what to the team, as $\lambda$ falls to 0?*

# %%
rows = {}
print("lambda   a member   the team   ambiguity")
for i, value in enumerate(LAMBDAS):
    numbers = []
    for n in range(SEEDS * i, SEEDS * (i + 1)):
        O = members(n)
        f = O.mean(axis=1)
        apart = ((O - f[:, None]) ** 2).sum(-1).mean()
        numbers.append((right(O, Y[:, None]), right(f, Y), apart))
    rows[value] = np.mean(numbers, axis=0)
    print(f"{value:6g}   {rows[value][0]:8.1%}   {rows[value][1]:8.1%}   {rows[value][2]:9.1f}")

# %% mystnb={"image": {"alt": "Two panels over lambda from 1 on the left to 0 on the right. Left: accuracy of the team falls from about 80 percent to below 40, that of a single member stays near 10 to 15 percent throughout. Right, on a logarithmic axis: the ambiguity falls by more than a factor of a hundred."}}
fig, axes = plt.subplots(1, 2, figsize=(6.4, 3), layout="constrained")
places = range(len(LAMBDAS))
table = np.array(list(rows.values()))
axes[0].plot(places, 100 * table[:, 1], "o-", label="the team")
axes[0].plot(places, 100 * table[:, 0], "s--", label="a single member")
axes[0].set_ylabel("test accuracy, %")
axes[0].legend()
axes[1].semilogy(places, table[:, 2], "o-")
axes[1].set_ylabel("ambiguity")
for ax in axes:
    ax.set_xticks(places, [f"{value:g}" for value in LAMBDAS])
    ax.set_xlabel("lambda")
plt.show()

# %% [asserts]
assert [f"{100 * r[1]:.1f}" for r in rows.values()] == ["79.6", "79.5", "78.1", "62.5", "36.0"]
assert max(r[0] for r in rows.values()) < 0.16
assert f"{100 * rows[0.9][0]:.1f}" == "15.4"
assert [LAMBDAS[0], LAMBDAS[-1], LAMBDAS[1]] == [1.0, 0.0, 0.99]
assert rows[1.0][2] / rows[0.0][2] > 100

# %% [markdown]
# As lambda falls the team gets worse, and its members hardly get better. The team is right in 79.6, 79.5, 78.1, 62.5 and 36.0 % of the cases. And the members, which the loss counts more and more? At best
# 15.4 %. A member has one number, its activation, to tell ten classes apart; it *cannot* be good alone. So what is
# gained by training members is nothing, and what is lost is the disagreement that the team lives on.
#
# (Three seeds. And the last word is not that disagreement is good: ambiguity also grows with the outputs' size. `coherence`
# among the measures of tinydiv is free of that.)
#
# ## Break it
#
# Ask for *more* disagreement than backpropagation, with a strength below zero: `negative-correlation:strength=-0.1`. *Predict
# what tinydiv says, and why a loss of that kind has no minimum.*
#
# ## Exercises
#
# Ours are in `tutorials/solutions/07_a_layer_is_an_ensemble.py`. Put your answer in the place of the dots.
#
# 1. **Prove the split.** Write a function that returns team error and ambiguity of any members' outputs `O` and targets `y`.
#    *Done when* they add up to the members' mean error for random numbers.

# %%
answer_1 = ...  # your function (O, y): it returns (team error, ambiguity)


def adds_up(function):
    rng = np.random.default_rng(0)
    O, y = rng.normal(size=(7, 5, 3)), rng.normal(size=(7, 3))
    return np.isclose(sum(function(O, y)), ((O - y[:, None]) ** 2).sum(-1).mean())


check(
    answer_1,
    (callable, "answer_1 is a function"),
    (
        lambda f: np.allclose(f(np.ones((7, 5, 3)), np.zeros((7, 3))), (3, 0)),
        "members that all give the same have no ambiguity: the team's error comes first",
    ),
    (adds_up, "sum over classes, mean over samples (and over members): is f the mean over axis 1?"),
)

# %% [markdown]
# 2. **Who can be spared?** Take one member out of network 0 by setting its outgoing weights to zero. *Done when* you have the
#    number of the member whose loss costs the team most, in test accuracy.

# %%
answer_2 = ...  # a number from 0 to 15


def without(h):
    A = nets.forward(X).A[1][0].copy()
    A[:, h] = 0
    return right(A @ nets.W[1][0] + nets.b[1][0], Y)


check(
    answer_2,
    (lambda h: h in range(16), "one of the sixteen neurons"),
    (
        lambda h: without(h) == min(without(k) for k in range(16)),
        "another one costs more: try all sixteen, on the test pictures",
    ),
)

# %% [markdown]
# ## What you have now
#
# A layer is a team whose members are useless alone. What training optimises is the team, and disagreement comes for free with
# it: backpropagation is the end of the scale where most of it is allowed.
#
# **Next:** techniques that are no penalties.
#
# > **For teachers**
# >
# > Ask for the accuracy of a single neuron first; hardly anyone guesses how poor it is. The identity is a good exercise at the
# > board: expand the square around the mean.
#
# ## Further reading
#
# - A. Krogh and J. Vedelsby, *Neural network ensembles, cross validation, and active learning*, NeurIPS 1995.
# - Y. Liu and X. Yao, *Ensemble learning via negative correlation*, Neural Networks, 1999.
# - S. Buschjäger, L. Pfahler and K. Morik, *Generalized negative correlation learning for deep ensembling*, 2020.
# - `tinydiv/techniques/negative_correlation.py`.
