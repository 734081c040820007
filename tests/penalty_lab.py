"""What the tests of penalties share: every variant, a bench to put one on, and its gradient by autograd.

What is wanted of each stands in technique_table.py; VARIANTS lists the specs to examine.
"""

from dataclasses import dataclass, field

import numpy as np
from technique_table import TABLE, Layer, torch_loss

from tinydiv import losses
from tinydiv.backend import to_device, to_host
from tinydiv.layers import Context
from tinydiv.mlp import MLP
from tinydiv.techniques import TECHNIQUES, Techniques, place
from tinydiv.techniques.base import EnsemblePenalty, Penalty, Strength

NAMES = sorted(
    name for name, cls in TECHNIQUES.items() if issubclass(cls, Penalty) and not cls.needs
)  # a penalty on what another technique adds to the network is tested beside that one
FAMILIES = {family: [n for n in NAMES if TECHNIQUES[n].family == family] for family in
            ("activations", "weights", "ensemble")}  # fmt: skip

VARIANTS = {name: list(TABLE[name].variants) or [name] for name in NAMES if name in TABLE}
ALL = [spec for specs in VARIANTS.values() for spec in specs]


def name_of(spec):
    return spec.split(":")[0]


def made(spec):
    """The technique that a spec stands for."""
    return place(spec).technique


# One training step, with penalties --------------------------------------------------------------


def with_strength(spec, *strengths):
    """A spec with a strength, or with one per network."""
    text = "/".join(repr(float(s)) for s in strengths)
    return f"{spec}{',' if ':' in spec else ':'}strength={text}"


def run_step(net, X, Y, spec, loss="cross-entropy", task=True, number=0, seeds=None):
    """Forward, penalties, backward: the Step, with the sum of task and penalty in net.dtheta."""
    function = losses.get(loss)
    techniques = Techniques(net, [spec] if spec else [], loss=function, seeds=seeds)
    trace = net.forward(X, Context(training=True, step=number))
    value, dlogits = function(trace.logits, Y)
    step = techniques.backward(
        techniques.step(trace, Y, value, dlogits if task else 0 * dlogits, number)
    )
    return step


# One penalty, on arrays of the test's choice ----------------------------------------------------


@dataclass
class Seen:
    """One penalty's value and its gradients for some arrays, on the host."""

    value: np.ndarray
    dA: np.ndarray | None = None
    dB: np.ndarray | None = None
    dW: np.ndarray | None = None
    dV: np.ndarray | None = None
    dlogits: np.ndarray | None = None

    def gradients(self):
        parts = {key: getattr(self, key) for key in ("dA", "dB", "dW", "dV", "dlogits")}
        return {key: part for key, part in parts.items() if part is not None}

    def flat(self):
        return np.concatenate([part.ravel() for part in self.gradients().values()])


@dataclass
class Bench:
    """A hidden layer whose activations and weights the test writes down itself.

    A (N, H), W (D, H), V (H, K), targets (N,): what is not given is drawn. B is the second view's A.
    """

    A: np.ndarray | None = None
    W: np.ndarray | None = None
    V: np.ndarray | None = None
    B: np.ndarray | None = None
    targets: np.ndarray | None = None
    H: int = 6
    dtype: str = "float64"
    loss: str = "cross-entropy"
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(5))

    def __call__(self, spec):
        given = [a.shape[i] for a, i in ((self.A, 1), (self.W, 1), (self.V, 0)) if a is not None]
        H = given[0] if given else self.H
        A = self.rng.normal(size=(12, H)) if self.A is None else self.A
        W = self.rng.normal(size=(7, H)) if self.W is None else self.W
        V = self.rng.normal(size=(H, 3)) if self.V is None else self.V
        net = MLP([W.shape[0], H, V.shape[1]], "tanh", dtype=self.dtype)
        net.W[0][...], net.W[1][...] = to_device(W), to_device(V)
        X = to_device(np.zeros((A.shape[0], W.shape[0])), dtype=self.dtype)
        A = to_device(A, dtype=self.dtype)
        targets = np.arange(A.shape[0]) % V.shape[1] if self.targets is None else self.targets
        Y = to_device(targets.astype("int32" if targets.ndim == 1 else self.dtype))
        technique, function = made(spec), losses.get(self.loss)
        trace = net.forward(X)
        trace.A[1] = A
        trace.A[2] = A @ net.W[1] + net.b[1]
        value, dlogits = function(trace.logits, Y)
        step = Techniques(net, loss=function).step(trace, Y, value, 0 * dlogits)
        if hasattr(technique, "noise"):
            view = step.noisy_view(technique.noise)
            view.trace.A[1] = A if self.B is None else to_device(self.B, dtype=self.dtype)
        seen = Seen(to_host(technique.apply(step, 1, Strength(1.0, 1.0))))
        seen.dA = to_host(step.dA[1]) if step.dA else None
        for view in step.views.values():
            seen.dB = to_host(view.dA[1])
        for block, gradient in step.late:
            if block.shape == net.dW[0].shape:
                seen.dW = to_host(gradient)
            elif block.shape == net.dW[1].shape:
                seen.dV = to_host(gradient)
        if technique.acts_on == "outputs":
            seen.dlogits = to_host(step.dlogits)
        return seen


def torch_gradient(torch, net, X, Y, spec, strength, second=None, loss="cross-entropy"):
    """(dtheta, penalty values by layer) of task + strength * penalty for one network, by autograd.

    second: the inputs of the second view, where the penalty has one.
    """
    technique = made(spec)
    reference = TABLE[technique.name].reference

    def tensor(a):
        return torch.tensor(np.asarray(to_host(a)))

    W = [tensor(w).requires_grad_() for w in net.W]
    b = [tensor(v).requires_grad_() for v in net.b]
    f = {"relu": torch.relu, "tanh": torch.tanh, "identity": lambda z: z}[net.activation.name]
    targets = tensor(Y)
    targets = targets.long() if not targets.is_floating_point() else targets

    def forward(x):
        A = [tensor(x)]
        for l in range(net.depth):
            Z = A[-1] @ W[l] + b[l]
            A.append(f(Z) if l < net.depth - 1 else Z)
        return A

    A = forward(X)
    B = forward(second) if second is not None else A
    last = technique.acts_on == "outputs" or isinstance(technique, EnsemblePenalty)
    usual = [net.depth - 1] if last else range(1, net.depth)
    values = {
        l: reference(
            torch, technique, Layer(A[l], B[l], W[l - 1], W[l], b[l], A[-1], targets, loss)
        )
        for l in place(spec).layers or usual
    }
    total = torch_loss(torch, loss, A[-1], targets) + strength * sum(values.values())
    total.backward()
    parts = [part for pair in zip(W, b, strict=True) for part in pair]
    dtheta = torch.cat([(p if p.grad is None else p.grad).reshape(-1) for p in parts])
    return dtheta.numpy(), [float(v.detach()) for v in values.values()]
