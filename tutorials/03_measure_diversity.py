# %% [markdown]
# # 3. Measure when neurons agree, and push them apart
#
# **You will do:** build a network whose neurons can never differ, measure how much those of a normal one
# agree, derive a penalty that pushes them apart (DeCov), have it checked, and watch what it does and how it
# is cheated.
#
# **You will learn:** what redundancy, symmetry and dead units are; why the angle between weights is not the
# correlation between neurons; how a penalty joins backpropagation in one line; why a falling penalty is no
# proof of diversity.
#
# **You need:** tutorials 1 and 2, and what a covariance is.
#
# **Reading time:** 18 minutes. It runs in about five seconds.

# %%
import matplotlib.pyplot as plt
import numpy as np
from checks import check, reported

from tinydiv.data import load
from tinydiv.initializers import initialize
from tinydiv.loop import DeviceData, train
from tinydiv.mlp import MLP
from tinydiv.optimizers import Adam

data = DeviceData(load("fashion-mini"), dtype="float64")
probe = data.probe()  # 512 training samples, always the same ones: what diversity is measured on

# %% [asserts]
assert probe.shape == (512, 784)

# %% [markdown]
# ## Symmetry: neurons that can never differ
#
# Give all 16 hidden neurons the same incoming and the same outgoing weights, and train.
#
# *Predict: after five epochs, how different are they? Does the network learn at all?*

# %%
twins = MLP([784, 16, 10], "tanh", dtype="float64")
initialize(twins, "he-normal", seed=0)
for W, axis in ((twins.W[0], 1), (twins.W[1], 0)):
    first = W[:, :1] if axis == 1 else W[:1, :]
    W[...] = first
twins_run = train(twins, data, Adam(twins), epochs=5, metrics=["correlation"])

spread = np.abs(twins.W[0] - twins.W[0][:, :1]).max()
print(f"largest difference between two neurons: {spread}")
print(f"test accuracy: {twins_run[-1].test_accuracy[0]:.1%}")

# %% [asserts]
assert spread < 1e-9  # rounding: the same sums may be added in another order
assert f"{100 * twins_run[-1].test_accuracy[0]:.1f}" == "22.0"

# %% [markdown]
# Equal neurons get equal gradients, so they make equal steps, for ever. Sixteen neurons do the work of one.
# Gradient descent cannot break this *symmetry*; the random start must. That is the extreme case. The
# question of this tutorial is how near to it ordinary networks are.

# %% [markdown]
# ## How much do the neurons of a normal network agree?
#
# Two measures, on a fixed *probe set* of 512 samples:
#
# - the **cosine** between two neurons' incoming weights: do they look for the same thing?
# - the **correlation** of their activations: do they *respond* alike to our data?
#
# *Predict: can weights be nearly at right angles and the neurons agree all the same? And does training
# bring neurons nearer to each other, or does it part them?*

# %%
from tinydiv.diversity import measure

NAMES = ["weight_cosine", "correlation", "participation_ratio", "dead_fraction"]


def look(net):
    """Four measures of diversity on the probe set."""
    return {name: float(value) for name, value in measure(net, net.forward(probe), NAMES).items()}


net = MLP([784, 16, 10], dtype="float64")
initialize(net, "he-normal", seed=0)
before = look(net)
plain_run = train(net, data, Adam(net), epochs=5, metrics=NAMES)
after = look(net)
for name in NAMES:
    print(f"{name:20} before training {before[name]:.3f}   after {after[name]:.3f}")

# %% mystnb={"image": {"alt": "Matrix of correlations between the sixteen hidden neurons of the trained network, blue for opposite and red for alike. Many cells are clearly coloured, most of them red. The rows and columns of the dead neurons are grey, as is the diagonal."}}
from tinydiv import plots
from tinydiv.similarity import correlations

fig, ax = plt.subplots(figsize=(6, 5), layout="constrained")
plots.similarity_matrix(ax, correlations(net.forward(probe).A[1], eps=1e-12).R)
plt.show()

# %%
random_cosine = np.sqrt(2 / (np.pi * 784))
dead = round(16 * after["dead_fraction"])
print(f"mean |cosine| of random weights {random_cosine:.3f}; dead neurons {dead}")

# Shuffle each pixel's values among the samples: the same brightnesses, but pixels no longer go together.
shuffle = np.random.default_rng(0).permutation
shuffled = np.stack([shuffle(pixel) for pixel in probe.T], axis=1)
apart = float(measure(net, net.forward(shuffled), ["correlation"])["correlation"])
print(f"correlation of the trained network's neurons on such inputs {apart:.3f}")

# %% [asserts]
assert f"{before['correlation']:.2f}" == "0.14"
assert f"{after['correlation']:.2f}" == "0.32"
assert f"{after['weight_cosine']:.2f}" == "0.07"
assert f"{random_cosine:.2f}" == "0.03"
assert f"{after['participation_ratio']:.1f}" == "2.9"
assert dead == 2
assert f"{apart:.2f}" == "0.09"

# %% [markdown]
# Training made these neurons agree, mostly because their inputs go together. Four things to see:
#
# - **In training these neurons came to agree.** The mean |correlation| was 0.14 at the start and is 0.32 now.
# - **Right angles are no protection.** The weights' mean |cosine| is only 0.07; for random weights in 784
#   dimensions it would be 0.03. But neighbouring pixels go together, and two weight vectors at right angles
#   can respond to the same bright jacket. The last lines of the cell make the test: the same network, the same
#   brightness of every pixel, but each pixel shuffled among the samples by itself. The correlation falls from
#   0.32 to 0.09. *It is mostly the inputs' covariance, and not the angle, that makes these neurons agree.*
# - **Few directions carry everything.** The participation ratio, $(\operatorname{tr} S)^2 / \lVert S
#   \rVert^2$ of the covariance $S$ of the activations, counts directions: here 2.9, with 16 neurons.
# - **Dead units.** 2 neurons never fire on the probe set. A constant has no correlation. If it were counted
#   as zero, *killing neurons would look like diversity*. tinydiv leaves dead neurons out of correlations,
#   and counts them.
#
# ## A penalty against agreement: DeCov
#
# We want uncorrelated neurons. For activations $A$ (samples × neurons):
#
# $$C = A - \bar A, \qquad S = \frac{1}{N} C^\top C, \qquad L_{\text{DeCov}} = \tfrac12 \sum_{i \ne j} S_{ij}^2 .$$
#
# The gradient, in three steps. Write $M$ for $S$ with its diagonal set to zero.
#
# 1. $\partial L / \partial S = M$.
# 2. $S$ is a product in which $C$ stands twice and $M$ is symmetric, so $dC = \frac{2}{N} C M$.
# 3. $C$ is $A$ less its mean, so $dA$ is $dC$ less *its* mean. But the columns of $C M$ are sums of centred
#    columns: their mean is zero already. So $dA = dC$.
#
# In tinydiv a penalty is a class whose call returns the value and the gradient with respect to $A$:

# %%
from tinydiv.backend import xp
from tinydiv.check.suite import check_technique
from tinydiv.techniques import ActivationPenalty


class MyDeCov(ActivationPenalty):
    """Covariance between neurons (Cogswell et al., 2016)."""

    def __call__(self, A, step):
        N, H = A.shape[-2:]
        C = A - xp.mean(A, axis=-2, keepdims=True)
        M = (C.mT @ C / N) * (1 - xp.eye(H, dtype=A.dtype))
        return xp.sum(M**2, axis=(-2, -1)) / 2, 2 / N * C @ M


report = check_technique(MyDeCov)
print(report)

# %% [asserts]
assert report.right

# %% [markdown]
# The penalty's gradient is right; into backpropagation it gets by an addition. Backward is *linear* in what is put in at the top. The penalty's
# $dA$ is added where the task's own $dA$ passes by, and both travel down together: `dH += dA[l]` in
# `tinydiv/mlp.py`.
#
# ## Watch it
#
# Five strengths, three seeds of each: fifteen networks. tinydiv trains them at once, with the strength as a
# number per network.
#
# *Predict: will the neurons agree less? Will the accuracy rise?*

# %%
from tinydiv.techniques import Techniques

STRENGTHS, SEEDS = (0.0, 0.01, 0.1, 1.0, 10.0), 3


def run_many():
    strengths = [s for s in STRENGTHS for _ in range(SEEDS)]
    nets = MLP([784, 16, 10], replicas=len(strengths), dtype="float64")
    initialize(
        nets, "he-normal", seed=list(range(SEEDS)) * len(STRENGTHS)
    )  # paired: the same starts
    optimizer = Adam(nets)
    spec = "decov:strength=" + "/".join(str(s) for s in strengths)
    techniques = Techniques(nets, [spec], optimizer)
    return nets, train(nets, data, optimizer, techniques, epochs=5, metrics=NAMES)


nets, records = run_many()


def over_training(name):
    """(moments, strengths, seeds) of one measure."""
    values = [record.flat()[name] for record in records]
    return np.array(values).reshape(len(records), len(STRENGTHS), SEEDS)


def at_the_end(name):
    """Mean over the seeds, for each strength."""
    return over_training(name)[-1].mean(axis=-1)


agreement, right, dead = map(at_the_end, ("correlation", "test_accuracy", "dead_fraction"))
size = np.abs(nets.forward(probe).A[1]).mean(axis=(-2, -1)).reshape(len(STRENGTHS), SEEDS).mean(-1)
print("strength   |correlation|   accuracy   dead   size of activations")
for i, s in enumerate(STRENGTHS):
    print(f"{s:8g}   {agreement[i]:13.3f}   {right[i]:8.1%}   {dead[i]:4.0%}   {size[i]:8.2f}")

# %% mystnb={"image": {"alt": "Two panels over five epochs, a line with its band for each of five strengths of the penalty. Left: the correlation between neurons rises without the penalty and stays lower the stronger the penalty. Right: test accuracy rises for all, and the strongest penalty stays far below the others."}}
fig, axes = plt.subplots(1, 2, figsize=(7, 3.6), layout="constrained")
epochs = [record.epoch for record in records]
for ax, name in zip(axes, ("correlation", "test_accuracy"), strict=True):
    for i, s in enumerate(STRENGTHS):
        plots.curve(ax, epochs, over_training(name)[:, i], label=f"strength {s:g}", index=i)
    ax.set_xlabel("epoch")
axes[0].set_title("mean |correlation| of neurons")
axes[1].set_title("test accuracy")
axes[1].legend()
plt.show()

# %% [asserts]
assert [f"{r:.2f}" for r in agreement] == ["0.34", "0.18", "0.14", "0.13", "0.08"]
assert [f"{100 * r:.1f}" for r in right] == ["82.1", "81.3", "80.7", "79.4", "64.0"]
assert STRENGTHS[2] == 0.1
assert f"{size[0]:.2f}" == "2.45"
assert f"{size[2]:.2f}" == "0.61"
assert f"{100 * dead[0]:.0f}" == "10"
assert f"{100 * dead[4]:.0f}" == "33"

# %% [markdown]
# The penalty does what it says: the correlation falls from 0.34 to 0.18, 0.14, 0.13 and 0.08. And the
# accuracy? 82.1 % without it, then 81.3, 80.7, 79.4 and 64.0 %. **In this setting, at these strengths, it
# buys nothing**, and the strongest also kills neurons: 33 % are dead in place of 10 %. Less agreement is
# not the same as a better network. (Three seeds and one setting: enough to be warned, not enough for a
# verdict.)
#
# ## How a network cheats
#
# Look at the last column of the table. At a strength of 0.1 the activations shrank from a mean size of 2.45
# to 0.61. Small activations are a cheap way to a small penalty, and one that need not change anything: ReLU
# lets a network halve all its activations and double its outgoing weights, and every output stays the same.
#
# *Predict: what does that do to DeCov? To the correlation?*

# %%
cheat = MLP([784, 16, 10], dtype="float64")
cheat.theta[...] = net.theta
cheat.W[0][...] /= 2
cheat.b[0][...] /= 2
cheat.W[1][...] *= 2

honest_trace, cheat_trace = net.forward(probe), cheat.forward(probe)
penalty = MyDeCov()
ratio = float(penalty(honest_trace.A[1], None)[0] / penalty(cheat_trace.A[1], None)[0])
same_outputs = np.abs(honest_trace.logits - cheat_trace.logits).max()
same_agreement = abs(look(cheat)["correlation"] - look(net)["correlation"])
print(f"DeCov is {ratio:.1f} times smaller")
print(f"outputs differ by {same_outputs:.0e}, the correlation by {same_agreement:.0e}")

# %% [asserts]
assert f"{ratio:.0f}" == "16"
assert same_outputs < 1e-9
assert same_agreement < 1e-9

# %% [markdown]
# The same network, the same outputs, the same correlations, and a penalty 16 times smaller. DeCov is of
# fourth degree in $A$, and half to the fourth power is a sixteenth. So **watch a measure that the network
# cannot cheat** (here the correlation), not the penalty itself. Penalties on correlations are free of this:
# see exercise 2.
#
# ## Break it
#
# Break the gradient of `MyDeCov`, *predict what the doctor says*, and run it. The next cell mixes up $N$ and
# $N - 1$: training would only see a slightly larger strength. Then try: keep the diagonal of $S$ in the gradient; use
# $\frac1N$ in place of $\frac2N$.


# %%
class Broken(ActivationPenalty):
    def __call__(self, A, step):
        N, H = A.shape[-2:]
        C = A - xp.mean(A, axis=-2, keepdims=True)
        M = (C.mT @ C / N) * (1 - xp.eye(H, dtype=A.dtype))
        return xp.sum(M**2, axis=(-2, -1)) / 2, 2 / (N - 1) * C @ M  # broken


report = check_technique(Broken)
print(report.faults[0].words)

# %% [asserts]
assert report.faults[0].worst.finding.code == "n-minus-one"

# %% [markdown]
# ## Exercises
#
# Put your answer in the place of the dots. Ours are in `tutorials/solutions/03_measure_diversity.py`.
#
# 1. **Break the symmetry.** Start from the twins and add noise of size $\sigma$ to their incoming weights.
#    *Done when* you have a $\sigma$ of a hundredth of the weights' own size or less for which the network,
#    after five epochs, is more than twice as accurate as the twins.

# %%
answer_1 = ...  # (sigma / standard deviation of the weights, test accuracy after five epochs)

check(
    answer_1,
    (lambda a: len(a) == 2, "a pair: sigma as a share of the weights' size, and the accuracy"),
    (lambda a: 0 < a[0] <= 0.01, "sigma is at most a hundredth of net.W[0].std()"),
    (lambda a: np.mean(a[1]) <= 1, "the accuracy as a share, not in per cent"),
    (
        lambda a: 2 * twins_run[-1].test_accuracy[0] < np.mean(a[1]),
        "not twice the twins' accuracy: is the noise another number for every weight?",
    ),
)

# %% [markdown]
# 2. **A penalty without the cheat.** Write the mean squared correlation as a penalty. `correlations(A)` of
#    `tinydiv.similarity` gives $R$, and its `backward(M)` carries $M = \partial L/\partial R$ to
#    $A$. *Done when* `check_technique` says "all right", and halving the activations changes your penalty
#    by less than a per cent.

# %%
answer_2 = ...  # your class, an ActivationPenalty

check(
    answer_2,
    (lambda c: issubclass(c, ActivationPenalty), "answer_2 is the class, not an object of it"),
    (
        lambda c: (
            abs(
                c()(net.forward(probe).A[1] / 2, None)[0] / c()(net.forward(probe).A[1], None)[0]
                - 1
            )
            < 0.01
        ),
        "the value depends on the size of A: does it use correlations(A).R?",
    ),
    (
        lambda c: reported(check_technique(c)),
        "M is the derivative of your value by R: leave its diagonal out, and mind the 2 of the square",
    ),
)

# %% [markdown]
# 3. **A neuron too many.** Copy a neuron $i$ of the trained network over another neuron $j$ (incoming weights
#    and bias). Then do without $j$: give $i$ the outgoing weights with which the network has exactly the outputs of
#    before, and set those of $j$ to zero. *Done when* no logit changes by more than rounding.


# %%
def copied(i, j):
    """The trained network with neuron i copied over neuron j."""
    twin = MLP([784, 16, 10], dtype="float64")
    twin.theta[...] = net.theta
    twin.W[0][:, j], twin.b[0][:, j] = twin.W[0][:, i], twin.b[0][:, i]
    return twin


answer_3 = ...  # your function (net, i, j): it changes net.W[1] in place


def logits_after(f):
    twin = copied(3, 5)
    f(twin, 3, 5)
    return twin


check(
    answer_3,
    (callable, "answer_3 is a function"),
    (lambda f: not logits_after(f).W[1][5].any(), "row j of W[1] is not zero"),
    (
        lambda f: np.allclose(
            logits_after(f).forward(probe).logits, copied(3, 5).forward(probe).logits
        ),
        "i and j respond the same; what did both together add to each logit?",
    ),
)

# %% [markdown]
# ## What you have now
#
# Neurons agree mostly because their inputs do, and in our run training made it worse. Agreement is measured on
# activations, dead neurons apart. A penalty is a value and a $dA$, checked like any gradient. It does what it
# says, which need not be what you want.
#
# **Next:** do not push apart what agrees, but start apart; and how to find out honestly whether it helps.
#
# > **For teachers**
# >
# > The twins make a good opening without slides: ask for the accuracy before running. Section by section the
# > question is always "what would fool this number?": dead units fool the correlation, scale fools the
# > penalty, the angle fools the eye. Students who find the negative result disappointing should change one
# > thing (optimizer, width, inputs) and look again: `python -m tinydiv.train --help` has them all.
#
# ## Further reading
#
# - M. Cogswell, F. Ahmed, R. Girshick, L. Zitnick and D. Batra, *Reducing overfitting in deep networks by
#   decorrelating representations*, ICLR 2016: DeCov.
# - L. Lu, Y. Shin, Y. Su and G. E. Karniadakis, *Dying ReLU and initialization*, 2019: how neurons die.
# - Y. Bao, H. Jiang, L. Dai and C. Liu, *Incoherent training of deep neural networks to de-correlate bottleneck
#   features*, 2013: correlations in place of covariances.
# - `tinydiv/diversity/`: all measures, each with the trap that comes with it.
