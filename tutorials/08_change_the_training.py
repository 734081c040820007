# %% [markdown]
# # 8. Change the training itself: recycle, orthogonal gradients, whitening
#
# **You will do:** give every network two neurons that are exact twins, train it with four techniques that change the
# training itself, and see which of them can part the twins and which of them help for another reason.
#
# **You will learn:** what an intervention and a layer are, as opposed to a penalty; why whatever treats equal neurons
# equally keeps them equal; that a technique can help without doing what its name promises.
#
# **You need:** tutorials 3 and 5.
#
# **Reading time:** 10 minutes. It runs in a few seconds.

# %%
import matplotlib.pyplot as plt
import numpy as np
from checks import check

from tinydiv.data import load
from tinydiv.initializers import initialize
from tinydiv.loop import DeviceData, train
from tinydiv.losses import cross_entropy
from tinydiv.mlp import MLP
from tinydiv.optimizers import SGD
from tinydiv.techniques import Techniques, layers_of
from tinydiv.techniques.orthogonal_gradient import polar_factor

data = DeviceData(load("fashion-mini"), dtype="float64")
RATES, SEEDS = (0.03, 0.1, 0.3), 3


def run(spec=None, epochs=2):
    """Nine networks with twins, three rates and three seeds each; the networks, and what was measured."""
    layers = layers_of([spec]) if spec else []
    nets = MLP([784, 16, 10], replicas=len(RATES) * SEEDS, dtype="float64", layers=layers)
    initialize(nets, "he-normal", seed=list(range(SEEDS)) * len(RATES))
    nets.W[0][:, :, 1] = nets.W[0][:, :, 0]  # neuron 1 gets the incoming weights of neuron 0,
    nets.W[1][:, 1] = nets.W[1][:, 0]  # and its outgoing weights; all biases are still zero
    optimizer = SGD(nets, lr=[rate for rate in RATES for _ in range(SEEDS)])
    techniques = Techniques(nets, [spec] if spec and not layers else [], optimizer)
    records = train(nets, data, optimizer, techniques, epochs=epochs, metrics=["correlation"])
    last = records[-1].flat()
    return nets, {name: by_rate(last[name]) for name in ("test_accuracy", "correlation")}


def by_rate(values):
    """The mean over the seeds, one number for each rate."""
    return np.asarray(values).reshape(len(RATES), SEEDS).mean(axis=1)


def twins(nets):
    """The cosine between the incoming weights of neurons 0 and 1, of each network."""
    w, v = nets.W[0][:, :, 0], nets.W[0][:, :, 1]
    return (w * v).sum(-1) / np.linalg.norm(w, axis=-1) / np.linalg.norm(v, axis=-1)


# %% [markdown]
# ## Two kinds besides the penalty
#
# A penalty adds a term to the loss. There are two other places where a technique can act:
#
# - An **intervention** changes weights or gradients directly, and keeps something fixed while it does. *merge-recycle* looks
#   for two neurons with the same responses, adds the outgoing weights of one to those of the other, and starts the one that
#   became free anew: the network's outputs stay as they were. *orthogonal-gradient* replaces the gradient of the hidden
#   weights, $dW = U S V^\top$, by $U V^\top$: all singular values become equal. *muon* does
#   the same to the momentum, a running sum of the gradients, and moves the hidden weights by the result itself, with a
#   rate of its own; the learning rate of the run is left for the biases and the output layer.
# - A **layer** is a part of the network, with a forward and a backward pass of its own. *iter-norm* whitens: it makes the
#   pre-activations of each batch uncorrelated and equally large, before the ReLU bends them.
#
# Neurons 0 and 1 of every network start as twins: same incoming and same outgoing weights.
#
# *Predict: after training, for which of the four are the twins no longer twins?*

# %%
SPECS = {
    "none": None,
    "merge-recycle": "merge-recycle:every=20",
    "orthogonal-gradient": "orthogonal-gradient:scale=kept",
    "muon": "muon:lr=0.02",
    "iter-norm": "iter-norm",
}
nets, found, cosines = {}, {}, {}
MIDDLE = slice(SEEDS, 2 * SEEDS)  # the networks with the rate 0.1
for name, spec in SPECS.items():
    nets[name], found[name] = run(spec)
    cosines[name] = twins(nets[name])[MIDDLE]
    print(f"{name:20} cosine of the twins, three seeds: {np.round(cosines[name], 3)}")

# %% [asserts]
assert all(np.allclose(cosines[n], 1) for n in ("none", "orthogonal-gradient", "muon", "iter-norm"))
assert max(abs(cosines["merge-recycle"])) < 0.5

# %% [markdown]
# Only merge-recycle parts the twins. The three others cannot, and a line of algebra tells why. Exchange the twins: nothing in the
# network changes, so nothing in the gradient may change, and the two gradients are equal. $U V^\top$ and whitening treat all
# neurons by one rule, without looking at their numbers; equal columns go in, equal columns come out. Gradient descent has
# the same property, and so has every penalty that does not depend on the order of the neurons. To part twins something has
# to *choose* one of the two: a random draw.
#
# Does recycling disturb what the network has learned? Make one move by hand, in the three
# networks with the rate 0.03 that were trained without a technique.

# %%
moved = nets["none"]
X, Y = data.floats(data.test_x), data.test_y
before = moved.forward(X)
outputs = before.logits.copy()
loss, dlogits = cross_entropy(before.logits, Y)
techniques = Techniques(moved, ["merge-recycle:every=1"], probe_inputs=data.probe())
techniques.after_update(techniques.step(before, Y, loss, dlogits))
after = moved.forward(X)
change = np.abs(after.logits - outputs).max()
print("cosine of the twins:", np.round(twins(moved)[:SEEDS], 3))
print(f"largest change of an output: {change:.0e}, among outputs up to {abs(outputs).max():.0f}")

# %% [asserts]
assert change < 1e-9
assert max(abs(twins(moved)[:SEEDS])) < 0.1
assert RATES[0] == 0.03

# %% [markdown]
# Recycling changes no output, to rounding: one of the two now does the work of both, and the other is free to learn something
# new. (Twins that are dead are left alone, for merge-recycle compares responses, and dead neurons have none.)
#
# ## What an orthogonal gradient does
#
# *Predict: of the sixteen singular values of the plain gradient, how large is the second beside the first?*

# %%
start = MLP([784, 16, 10], dtype="float64")
initialize(start, "he-normal", seed=0)
X, Y = data.floats(data.train_x[:512]), data.train_y[:512]
trace = start.forward(X)
start.backward(trace, cross_entropy(trace.logits, Y)[1])
plain = np.linalg.svd(start.dW[0], compute_uv=False)
equal = np.linalg.svd(polar_factor(start.dW[0]), compute_uv=False)
print("plain     ", np.round(plain / plain[0], 3)[:6], "...")
print("orthogonal", np.round(equal / equal[0], 3)[:6], "...")

# %% mystnb={"image": {"alt": "Two panels. Above, on a logarithmic axis: the singular values of the plain gradient, relative to the first, fall steeply with their number, and those of the orthogonal gradient lie on a horizontal line at one. Below: test accuracy over the three learning rates, a line for each of the five runs; at the largest rate the lines of none and of merge-recycle fall steeply, those of orthogonal-gradient, muon and iter-norm stay above 80 percent."}}
fig, axes = plt.subplots(2, 1, figsize=(6.4, 6.4), layout="constrained")
axes[0].semilogy(range(1, 17), plain / plain[0], "o-", label="plain")
axes[0].semilogy(range(1, 17), equal / equal[0], "s--", label="orthogonal")
axes[0].set_ylim(1e-3, 2)
axes[0].set_xticks([1, 4, 8, 12, 16])
axes[0].set_xlabel("number of the singular value")
axes[0].set_ylabel("size beside the first")
axes[0].legend()
for (name, f), line in zip(found.items(), ("o-", "s--", "^-", "D-.", "v:"), strict=True):
    axes[1].plot(range(len(RATES)), 100 * f["test_accuracy"], line, label=name)
axes[1].set_xticks(range(len(RATES)), [str(rate) for rate in RATES])
axes[1].set_xlabel("learning rate")
axes[1].set_ylabel("test accuracy, %")
axes[1].legend(fontsize=9)
plt.show()

print("technique             accuracy at the rates 0.03, 0.1, 0.3    |correlation| at 0.1")
for name, f in found.items():
    shares = "   ".join(f"{share:.1%}" for share in f["test_accuracy"])
    print(f"{name:20}  {shares}                     {f['correlation'][1]:.3f}")

# %% [asserts]
shares = {n: [f"{100 * s:.1f}" for s in f["test_accuracy"]] for n, f in found.items()}
assert shares["none"] == ["72.1", "74.1", "49.8"]
assert shares["merge-recycle"] == ["71.6", "74.2", "55.1"]
assert shares["orthogonal-gradient"] == ["75.6", "81.4", "80.9"]
assert shares["muon"] == ["82.2", "82.5", "83.3"]
assert shares["iter-norm"] == ["74.8", "81.5", "80.4"]
assert [f"{f['correlation'][1]:.3f}" for f in found.values()] == [
    "0.249",
    "0.243",
    "0.285",
    "0.231",
    "0.124",
]
assert f"{plain[1] / plain[0]:.2f}" == "0.38"
assert f"{plain[5] / plain[0]:.2f}" == "0.08"
assert np.allclose(equal[equal > 0.5], 1, atol=1e-3)
assert [RATES[1], RATES[2]] == [0.1, 0.3]

# %% [markdown]
# In the plain gradient the second singular value is 0.38 of the first and the sixth 0.08: a step goes mostly along one
# direction, which all neurons share. Made orthogonal, it moves every direction alike.
#
# ## Who helps, and is it by diversity?
#
# Compare each technique at *its own best* rate: none 74.1 %, merge-recycle 74.2 %, orthogonal-gradient 81.4 %, iter-norm
# 81.5 %, muon 83.3 % (its own rate was not tuned). Three of the four help. At the rate 0.3 the difference is larger
# still, 49.8 % against 80.9 % and 80.4 %, but a comparison there would only show that the plain network does not bear that
# rate.
#
# Now the last column. iter-norm takes the correlation of the activations from 0.249 to 0.124, as one would hope. With
# muon it is 0.231, nearly that of the plain network, and with orthogonal-gradient it *rises* to 0.285; both help as much
# or more. So the accuracy cannot come from less correlated neurons alone. (All three even out how fast the directions of
# the weights learn; whether that is the reason is not measured here.)
# And merge-recycle, the only one that parts the twins, gains next to nothing: one neuron in sixteen was little to lose.
#
# (Three seeds, two epochs, one data set: an illustration. Tutorial 9 is about verdicts.)
#
# ## Break it
#
# Lower the threshold of recycling, so that pairs are merged that agree only a little: `merge-recycle:every=20,threshold=0.3`
# in `SPECS`, and `merge-recycle:every=1,threshold=0.3` where one move is made by hand. *Predict what happens to the
# accuracy, and to the outputs at that move.*
#
# ## Exercises
#
# Ours are in `tutorials/solutions/08_change_the_training.py`. Put your answer in the place of the dots.
#
# 1. **Without iterations.** tinydiv makes a gradient orthogonal by products alone. Write a function of `dW` that returns
#    $U V^\top$ from NumPy's singular value decomposition. *Done when* it agrees with `polar_factor`.

# %%
answer_1 = ...  # your function of dW, (inputs, neurons); it returns U V'

check(
    answer_1,
    (callable, "answer_1 is a function"),
    (lambda f: f(start.dW[0]).shape == (784, 16), "full_matrices=False keeps U as narrow as dW"),
    (
        lambda f: np.allclose(f(start.dW[0][:, :4]), polar_factor(start.dW[0][:, :4]), atol=1e-3),
        "NumPy returns V already transposed; the singular values are left out",
    ),
)

# %% [markdown]
# 2. **Part them otherwise.** Find another intervention that parts the twins: `python -m tinydiv.train --list` names them all.
#    *Done when* the cosine of the twins is below `0.99` in the three networks with the rate `0.1`.

# %%
answer_2 = ...  # a text, as in SPECS


def largest_cosine(spec):
    found = twins(run(spec)[0])[MIDDLE].max()
    print(f"largest cosine of the twins: {found:.3f}")
    return found


check(
    answer_2,
    (lambda spec: not spec.startswith("merge-recycle"), "another one than merge-recycle"),
    (
        lambda spec: largest_cosine(spec) < 0.99,
        "it has to choose one of the two: which interventions draw a random number?",
    ),
)

# %% [markdown]
# ## What you have now
#
# Techniques act on the loss, on gradients and weights, or as a part of the network. Equal neurons stay equal until something
# chooses between them. And a technique can help for another reason than its name: measure what it is said to change, too.
#
# **Next:** how to find out whether a technique helps at all.
#
# > **For teachers**
# >
# > Let the class vote on the twins before the first run. The argument by exchange fits on the board in one line, and comes
# > back wherever neurons are copied, split or grown.
#
# ## Further reading
#
# - G. Sokar, R. Agarwal, P. S. Castro and U. Evci, *The dormant neuron phenomenon in deep reinforcement learning*, ICML 2023.
# - M. Tuddenham, A. Prügel-Bennett and J. Hare, *Orthogonalising gradients to speed up neural network optimisation*, 2022.
# - K. Jordan and others, *Muon: an optimizer for hidden layers in neural networks*, 2024.
# - L. Huang, Y. Zhou, F. Zhu, L. Liu and L. Shao, *Iterative normalization: beyond standardization towards efficient
#   whitening*, CVPR 2019.
# - `tinydiv/techniques/merge_recycle.py`, `tinydiv/techniques/orthogonal_gradient.py`, `tinydiv/techniques/muon.py`,
#   `tinydiv/techniques/iter_norm.py`.
