"""A gallery of planted faults: what people get wrong in a gradient, and what the doctor must call it.

Each fault is one edit of a right piece of code. A table has three lines for each:

    its name: the array that is wrong there: the expected code: words that the sentence must have
    - the right code
    + the wrong code
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One wrong edit, and the doctor's expected finding about one array."""

    name: str
    array: str
    code: str
    words: str
    right: str
    wrong: str

    def source(self, right):
        """The whole piece of code with the fault in it."""
        assert right.count(self.right) == 1, (self.name, "is no single edit")
        return right.replace(self.right, self.wrong)


def faults(table):
    """The faults in a table, as above."""
    lines = table.strip().split("\n")
    return tuple(
        Fault(*head.split(": ", 3), right.removeprefix("- "), wrong.removeprefix("+ "))
        for head, right, wrong in zip(lines[::3], lines[1::3], lines[2::3], strict=True)
    )


IMPORTS = """
from tinydiv.backend import matmul, xp
from tinydiv.activations import Activation
from tinydiv.layers import Context
from tinydiv.losses import one_hot
from tinydiv.techniques import ActivationPenalty, LayerTechnique, WeightPenalty
"""

BACKWARD = """
def backward(net, trace, dlogits, dA=None):
    dZ = dlogits
    for l in reversed(range(net.depth)):
        A = trace.A[l]
        dW = A.mT @ dZ
        db = xp.sum(dZ, axis=-2, keepdims=True)
        if l > 0:
            dH = dZ @ net.W[l].mT
            if dA is not None and l in dA:
                dH = dH + dA[l]
            dZ = dH * net.activation.derivative(trace.Z[l - 1])
        net.dW[l][...] = dW
        net.db[l][...] = db
"""

IN_BACKWARD = faults("""
the sign of dlogits: dW[2]: sign: sign flipped
- dZ = dlogits
+ dZ = -dlogits
twice: dW[1]: scaled: 2.000x too large
- dW = A.mT @ dZ
+ dW = 2 * A.mT @ dZ
half: dW[1]: scaled: 2.000x too small
- dW = A.mT @ dZ
+ dW = A.mT @ dZ / 2
a sum over the batch without the mean: dW[0]: not-averaged: not averaged over the batch: 7.000x too large
- dW = A.mT @ dZ
+ dW = A.mT @ dZ * len(dZ)
averaged where the loss has averaged: dW[0]: averaged-twice: averaged over the batch once too often
- dW = A.mT @ dZ
+ dW = A.mT @ dZ / dZ.shape[-2]
the bias's mean: db[1]: averaged-twice: 7.000x too small
- db = xp.sum(
+ db = xp.mean(
a bias that is not summed: value: bias-not-summed: summed over the samples
- db = xp.sum(dZ, axis=-2, keepdims=True)
+ db = dZ
a bias from the first sample: db[0]: bias-not-summed: one sample's alone
- db = xp.sum(dZ, axis=-2, keepdims=True)
+ db = dZ[..., :1, :]
no mask: dW[0]: mask-missing: mask missing where the neuron is off
- dZ = dH * net.activation.derivative(trace.Z[l - 1])
+ dZ = dH
the mask of a well-known tutorial, read from the output: dW[0]: mask-missing: A >= 0, is always true
- net.activation.derivative(trace.Z[l - 1])
+ (trace.A[l] >= 0)
f' taken at the activations: dW[0]: slope-of-activations: at the activations
- derivative(trace.Z[l - 1])
+ derivative(trace.A[l])
the mask twice: dW[0]: slope-twice: twice
- dZ = dH * net.activation.derivative(trace.Z[l - 1])
+ dZ = dH * net.activation.derivative(trace.Z[l - 1]) ** 2
pre-activations for activations: dW[1]: pre-activations: in place of the activations
- A = trace.A[l]
+ A = trace.Z[l - 1] if l else trace.A[0]
an activation on the outputs: dW[2]: activation-on-outputs: no activation function
- dZ = dlogits
+ dZ = dlogits * net.activation.derivative(trace.Z[-1])
extra gradients left out: dW[0]: upstream-ignored: is not added
- dH = dH + dA[l]
+ pass
extra gradients twice: dW[0]: upstream-twice: added twice
- dH = dH + dA[l]
+ dH = dH + 2 * dA[l]
extra gradients after the mask: dW[0]: upstream-after-mask: it is a gradient of A, not of Z
- dZ = dH * net.activation.derivative(trace.Z[l - 1])
+ dZ = (dZ @ net.W[l].mT) * net.activation.derivative(trace.Z[l - 1]) + (0 if dA is None else dA.get(l, 0))
a block that is never written: db[0]: never-filled: still has its old content
- net.db[l][...] = db
+ pass
added to the old content: dW[0]: not-replaced: instead of replacing
- net.dW[l][...] = dW
+ net.dW[l][...] += dW
a way that is cut: dW[0]: all-zero: what it is computed from is zero
- dH = dZ @ net.W[l].mT
+ dH = 0 * (dZ @ net.W[l].mT); dA = None
a sample that is left out: dW[1]: sample-left-out: left out
- dW = A.mT @ dZ
+ dW = A[..., :-1, :].mT @ dZ[..., :-1, :]
one neuron's factor: dW[0]: one-part: wrong only in neuron 0: there, 3.000x too large
- net.dW[l][...] = dW
+ net.dW[l][...] = dW; net.dW[l][..., 0] *= 3
biases one place off: db[0]: shifted: one place off
- net.db[l][...] = db
+ net.db[l][...] = xp.roll(db, 1, axis=-1)
a transpose in the way: value: raised: is a transpose missing
- dH = dZ @ net.W[l].mT
+ dH = dZ @ net.W[l]
weight decay in the gradient: dW[1]: extra-term: contains +0.01 times W
- net.dW[l][...] = dW
+ net.dW[l][...] = dW + 0.01 * net.W[l]
NaN: db[0]: nan: not finite
- net.db[l][...] = db
+ net.db[l][...] = db / 0.0 * 0
""")
"""Each is tried on several networks of several sizes; the first point that fails is shown."""

IN_SQUARE_BACKWARD = faults("""
W as it is: dW[0]: weights-not-transposed: not through its transpose
- dH = dZ @ net.W[l].mT
+ dH = dZ @ net.W[l]
dW turned: dW[0]: transposed: transposed
- dW = A.mT @ dZ
+ dW = dZ.mT @ A
another layer's activations: dW[1]: wrong-layer: another layer's A
- A = trace.A[l]
+ A = trace.A[l + 1 if l == 1 else l]
another layer's weights: dW[0]: wrong-layer: another layer's W
- net.W[l].mT
+ net.W[l - 1 if l == 2 else l].mT
another layer's Z: dW[0]: wrong-layer: another layer's Z
- trace.Z[l - 1]
+ trace.Z[1]
gradients in each other's place: dW[0]: wrong-array: holds the gradient of W[1]
- net.dW[l][...] = dW
+ net.dW[1 - l if l < 2 else l][...] = dW
networks added up: db[0]: networks-summed: each must get its own
- net.db[l][...] = db
+ net.db[l][...] = xp.sum(db, axis=0, keepdims=True)
one network for all: dW[0]: one-network-for-all: the gradient of network 2
- net.dW[l][...] = dW
+ net.dW[l][...] = dW[2]
right in one network alone: dW[0]: one-part: wrong only in network 3: there, sign flipped
- net.dW[l][...] = dW
+ net.dW[l][...] = dW; net.dW[l][3] *= -1
""")
"""Each is found only where all sizes are 4: networks, inputs, neurons, outputs."""

LOSS = """
def loss(outputs, targets):
    N = outputs.shape[-2]
    Y = one_hot(targets, outputs)
    E = xp.exp(outputs)
    p = E / xp.sum(E, axis=-1, keepdims=True)
    value = -xp.sum(Y * xp.log(p), axis=(-2, -1)) / N
    return value, (p - Y) / N
"""

IN_LOSS = faults("""
a loss without its mean: doutputs: not-averaged: not averaged over the batch
- (p - Y) / N
+ p - Y
targets first: doutputs: sign: sign flipped
- (p - Y) / N
+ (Y - p) / N
no targets: doutputs: extra-term: times the targets too much
- (p - Y) / N
+ p / N
divided by all entries: doutputs: scaled: the number of outputs is 4: divided by it once too often
- (p - Y) / N
+ (p - Y) / (N * outputs.shape[-1])
""")

ACTIVATION = """
class Rectified(Activation):
    name = "rectified"

    def __call__(self, Z):
        return xp.maximum(Z, 0)

    def derivative(self, Z):
        return (Z > 0).astype(Z.dtype)
"""

IN_ACTIVATION = faults("""
a mask from the output: dZ: mask-missing: mask missing where the neuron is off
- (Z > 0)
+ (self(Z) >= 0)
the mask turned round: dZ: elsewhere: differs in
- (Z > 0)
+ (Z < 0)
a flipped sign: dZ: sign: sign flipped
- (Z > 0)
+ -1 * (Z > 0)
""")

PENALTY = """
class Mine(ActivationPenalty):
    def __call__(self, A, step):
        N, H = A.shape[-2:]
        C = A - xp.mean(A, axis=-2, keepdims=True)
        S = C.mT @ C / N
        off_S = S * (1 - xp.eye(H))
        value = xp.sum(off_S**2, axis=(-2, -1)) / 2
        return value, (2 / N) * C @ off_S
"""
"""DeCov in plain NumPy operators."""

IN_PENALTY = faults("""
half: dA: scaled: only one of M + M'
- (2 / N)
+ (1 / N)
no mean over the batch: dA: not-averaged: not averaged
- (2 / N)
+ 2
N - 1: dA: n-minus-one: are mixed up
- (2 / N)
+ (2 / (N - 1))
the diagonal kept: dA: diagonal: pairs of a neuron with itself
- C @ off_S
+ C @ S
half the pairs: dA: half-of-pairs: M and M'
- C @ off_S
+ C @ xp.triu(off_S)
not centred: dA: mean-missing: the mean's own
- (2 / N) * C @
+ (2 / N) * A @
one neuron off: dA: shifted: off
- C @ off_S
+ xp.roll(C @ off_S, 1, axis=-1)
a value over all networks: value: raised: one number per network
- axis=(-2, -1)) / 2
+ axis=(-2, -1)).sum() / 2
no gradient: value: raised: (value, dA)
- return value, (2
+ return value + 0 * (2
chance: value: noisy: draw random numbers from step.draws
- / 2
+ / 2 * float(__import__('random').random())
an eps in one place only: dA: nearly: an eps
- (2 / N) * C @ off_S
+ (2 / N) * C @ off_S / (1 + 1e-4 * xp.mean(C**2, axis=-2, keepdims=True))
a hinge that never acts: dA: zero: proves nothing
- value = xp
+ off_S = 0 * off_S; value = xp
the wrong shape: dA: transposed: transposed
- C @ off_S
+ (C @ off_S).mT
""")

PEARSON = """
class Mine(ActivationPenalty):
    def __call__(self, A, step):
        N, H = A.shape[-2:]
        C = A - xp.mean(A, axis=-2, keepdims=True)
        s = xp.sqrt(xp.mean(C**2, axis=-2, keepdims=True) + 1e-9)
        Z = C / s
        off_R = (Z.mT @ Z / N) * (1 - xp.eye(H))
        dZ = (4 / N) * Z @ off_R
        along = xp.mean(dZ * Z, axis=-2, keepdims=True)
        return xp.sum(off_R**2, axis=(-2, -1)), (dZ - Z * along) / s
"""

IN_PEARSON = faults("""
the deviation taken for a constant: dA: normalisation-missing: the normalisation's derivative is missing
- (dZ - Z * along) / s
+ dZ / s
the deviation forgotten: dA: factor-per-neuron: each neuron has a factor of its own
- (dZ - Z * along) / s
+ dZ - Z * along
""")

COSINE = """
class Mine(WeightPenalty):
    def __call__(self, W, step):
        n = xp.sqrt(xp.sum(W**2, axis=-2, keepdims=True))
        U = W / n
        off_G = (U.mT @ U) * (1 - xp.eye(W.shape[-1]))
        dU = 4 * U @ off_G
        return xp.sum(off_G**2, axis=(-2, -1)), (dU - U * xp.sum(U * dU, axis=-2, keepdims=True)) / n
"""

IN_COSINE = faults("""
the length taken for a constant: dW: normalisation-missing: the size of a neuron's weights
- (dU - U * xp.sum(U * dU, axis=-2, keepdims=True)) / n
+ dU / n
weight decay: dW: extra-term: contains +0.1 times W
- keepdims=True)) / n
+ keepdims=True)) / n + 0.1 * W
""")

NORM = """
class Mine(LayerTechnique):
    place = "before"

    @property
    def shapes(self):
        return {"gamma": (1, self.width)}

    def reset_parameters(self):
        self.parameters["gamma"][...] = 1

    def forward(self, x, context):
        if not context.training:
            return self.parameters["gamma"] * x, (x, None)
        mean = xp.mean(x, axis=-2, keepdims=True)
        s = xp.sqrt(xp.mean((x - mean) ** 2, axis=-2, keepdims=True) + 1e-9)
        z = (x - mean) / s
        return self.parameters["gamma"] * z, (z, s)

    def backward(self, dy, cache):
        z, s = cache
        dz = dy * self.parameters["gamma"]
        if s is None:
            return dz, {"gamma": (dy * z).sum(axis=-2, keepdims=True)}
        mean = xp.mean(dz, axis=-2, keepdims=True)
        along = xp.mean(dz * z, axis=-2, keepdims=True)
        return (dz - mean - z * along) / s, {"gamma": xp.sum(dy * z, axis=-2, keepdims=True)}
"""

IN_NORM = faults("""
the mean taken for a constant: dx: mean-missing: the mean's own derivative is missing
- dz - mean - z * along
+ dz - z * along
the deviation taken for a constant: dx: normalisation-missing: the normalisation's derivative is missing
- dz - mean - z * along
+ dz - mean
both taken for constants: dx: mean-and-normalisation-missing: are both missing
- dz - mean - z * along
+ dz
gamma forgotten: dx: factor-per-neuron: each neuron has a factor of its own
- dz = dy * self.parameters["gamma"]
+ dz = dy
a parameter's mean: dgamma: averaged-twice: once too often
- xp.sum(dy * z, axis
+ xp.mean(dy * z, axis
a parameter without a gradient: dgamma: missing: no gradient for gamma
- {"gamma": xp.sum(dy * z, axis=-2, keepdims=True)}
+ {}
""")

HINGE = """
class Mine(ActivationPenalty):
    def __call__(self, A, step):
        N = A.shape[-2]
        short = xp.maximum(0.5 - A, 0)
        return xp.sum(short**2, axis=(-2, -1)) / (2 * N), -short / N
"""

IN_HINGE = faults("""
a mask that is left out: dA: mask-missing: must be zero and are not
- -short / N
+ -(0.5 - A) / N
a mask that is too wide: dA: mask-too-wide: must not be
- -short / N
+ -short * (A < 0.2) / N
""")

APPLY = """
class Mine(ActivationPenalty):
    def __call__(self, A, step):
        N = A.shape[-2]
        return xp.sum(A**2, axis=(-2, -1)) / (2 * N), A / N

    def apply(self, step, layer, strength):
        value, dA = self(step.trace.A[layer], step)
        step.add_dA(layer, strength.of_matrices * dA)
        return strength.of_values * value
"""

GALLERY = {
    "loss": (LOSS, IN_LOSS),
    "activation": (ACTIVATION, IN_ACTIVATION),
    "DeCov": (PENALTY, IN_PENALTY),
    "Pearson": (PEARSON, IN_PEARSON),
    "cosine": (COSINE, IN_COSINE),
    "batch norm": (NORM, IN_NORM),
    "hinge": (HINGE, IN_HINGE),
    "backward": (BACKWARD, IN_BACKWARD),
}
"""Right code by name, and the faults that are planted in it."""


@dataclass(frozen=True)
class Gap:
    """A technique with a fault that shows at some points only, and what the report must have about it."""

    name: str
    code: str
    words: str
    source: str


W4 = """
class Mine(WeightPenalty):
    {setting}
    def __call__(self, W, step):
        value = xp.sum(W**2, axis=(-2, -1)) / 2 + {value}
        return value, W + {gradient}
"""

DECAY = """
class Mine(ActivationPenalty):
    def __call__(self, A, step):
        N = A.shape[-2]
        dA = A / N
        {line}
        return xp.sum(A**2, axis=(-2, -1)) / (2 * N), dA
"""

IN_DECAY = """
samples beyond 16: mask-too-wide: N=40
+ dA[..., 16:, :] = 0
activations beyond 30: elsewhere: N=40
+ dA[abs(A) > 30] = 30 / N
neurons beyond 8: one-part: N=40
+ dA[..., 8:] *= 2
a step of its own: all-zero: step 0
+ dA = dA if step.number else 0 * dA
a constant factor that is N / (N - 1) at one of the points: scaled: 1.125x too large at every point
+ dA = 1.125 * dA
N - 1 once too often: n-minus-one: divided by N - 1
+ dA = dA / (N - 1)
two columns swapped: swapped: its columns 1, 2 are exchanged
+ dA = xp.concatenate([dA[..., :1], dA[..., 2:3], dA[..., 1:2], dA[..., 3:]], -1)
float32 inside: float32: rounded to 7 digits
+ dA = dA.astype("float32").astype("float64")
float32 outside: float32: float32
+ dA = dA.astype("float32")
float32 on the way: float32: rounded to 7 digits
+ dA = dA + 0.01 * (A.astype("float32") - A)
a value in float32: float32: the value is float32
+ A = A.astype("float32"); N = xp.asarray(N, dtype="float32")
written into what was given: changed-input: work on a copy, A = A.copy()
+ A -= A.mean(axis=-2, keepdims=True)
"""


def decay_gaps(table):
    """The gaps in a table of two lines each: NAME: CODE: WORDS, then the line that is put into DECAY."""
    lines = table.strip().split("\n")
    for head, line in zip(lines[::2], lines[1::2], strict=True):
        yield Gap(*head.split(": ", 2), DECAY.format(line=line.removeprefix("+ ")))


GAPS = (
    Gap(
        "a setting whose default hides it",
        "elsewhere",
        "mix=1.5",
        W4.format(
            setting="mix: float = 1.0",
            value="self.mix * xp.sum(W**4, axis=(-2, -1)) / 4",
            gradient="W**3",
        ),
    ),
    Gap(
        "a whole number without an upper limit",
        "elsewhere",
        "power=3",
        W4.format(setting="power: int = 2", value="0", gradient="0").replace(
            "xp.sum(W**2, axis=(-2, -1)) / 2",
            "xp.sum(abs(W)**self.power, axis=(-2, -1)) / self.power",
        ),
    ),
    Gap(
        "a gradient kept from the first call",
        "kept",
        "the call before",
        """
class Mine(ActivationPenalty):
    def __call__(self, A, step):
        kept = self.__dict__.setdefault("kept", {})
        dA = kept.setdefault(A.shape, A / A.shape[-2])
        return xp.sum(A**2, axis=(-2, -1)) / (2 * A.shape[-2]), dA
""",
    ),
    Gap(
        "a gradient kept from the call before",
        "kept",
        "the call before",
        """
class Mine(ActivationPenalty):
    def __call__(self, A, step):
        now = A / A.shape[-2]
        kept, self.kept = getattr(self, "kept", now), now
        return xp.sum(A**2, axis=(-2, -1)) / (2 * A.shape[-2]), kept if kept.shape == A.shape else now
""",
    ),
    Gap(
        "a length that is missing",
        "factor-per-neuron",
        "length |x| is missing",
        """
class Mine(WeightPenalty):
    def __call__(self, W, step):
        n = xp.sqrt(xp.sum(W**2, axis=-2) + 1e-30)
        return xp.sum(n, axis=-1), W
""",
    ),
    *decay_gaps(IN_DECAY),
)
"""Each is right at most points."""

RIGHT = {
    "L1 of the negative part": DECAY.replace("A**2", "abs(xp.minimum(A, 0))")
    .replace("(2 * N)", "N")
    .format(line="dA = -1.0 * (A < 0) / N"),
    "half the square of the negative part": DECAY.replace("A**2", "xp.minimum(A, 0)**2").format(
        line="dA = xp.minimum(A, 0) / N"
    ),
    "a hinge that many points do not reach": DECAY.replace(
        "A**2", "xp.maximum(abs(A) - 2.5, 0)**2"
    ).format(line="dA = xp.maximum(abs(A) - 2.5, 0) * xp.sign(A) / N"),
}
"""Right penalties that are zero at some of the points."""
