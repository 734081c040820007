"""What the tests of penalties share: every variant, a bench to put one on, and torch's word for each.

VARIANTS lists the specs under which each registered penalty is examined; REFERENCES gives its value
in PyTorch, written from the formula alone, for one network. A penalty that is registered without an
entry in both fails test_penalties.py, so what is added later is examined as well.
"""

from dataclasses import dataclass, field

import numpy as np

from tinydiv import losses
from tinydiv.backend import to_device, to_host
from tinydiv.layers import Context
from tinydiv.mlp import MLP
from tinydiv.similarity import FLOOR
from tinydiv.techniques import TECHNIQUES, Techniques, place
from tinydiv.techniques.base import EnsemblePenalty, Penalty, Strength
from tinydiv.techniques.wld_reg import DELTA

NAMES = sorted(
    name for name, cls in TECHNIQUES.items() if issubclass(cls, Penalty) and not cls.needs
)  # a penalty on what another technique adds to the network is tested beside that one
FAMILIES = {family: [n for n in NAMES if TECHNIQUES[n].family == family] for family in
            ("activations", "weights", "ensemble")}  # fmt: skip

VARIANTS = {
    "decov": ["decov"],
    "pearson": ["pearson", "pearson:debiased=true"],
    "mean-abs-pearson": ["mean-abs-pearson"],
    "vicreg": ["vicreg:target=0.5,variance=2", "vicreg:variance=0", "vicreg:covariance=0,target=2"],
    "logdet-correlation": ["logdet-correlation", "logdet-correlation:delta=0.1"],
    "wld-reg": [f"wld-reg:form={f},gamma=2" for f in ("direct", "det", "logdet", "aggregated")],
    "spanning-tree": [
        "spanning-tree",
        "spanning-tree:form=t2",
        "spanning-tree:form=t2,balance=0.9",
    ],
    "class-decov": [
        f"class-decov:form={form},measure={measure}"
        for form in ("pooled", "conditional")
        for measure in ("covariance", "correlation")
    ],
    "barlow": ["barlow:redundancy=0.5", "barlow:noise=0.7"],
    "spectral-decoupling": ["spectral-decoupling"],
    "cosine": ["cosine"],
    "orthoreg": ["orthoreg", "orthoreg:sharpness=3"],
    "soft-orthogonality": ["soft-orthogonality", "soft-orthogonality:scaled=false"],
    "srip": ["srip", "srip:iterations=300"],
    "coherence": ["coherence", "coherence:form=smooth"],
    "hyperspherical-energy": [
        f"hyperspherical-energy:space={space},s={s}"
        for space in ("full", "half")
        for s in (0, 1, 2)
    ],
    "logdet-weights": ["logdet-weights", "logdet-weights:delta=0.1"],
    "l1-gates": ["l1-gates", "l1-gates:gate=path"],
    "negative-correlation": ["negative-correlation"],
    "contribution-coherence": ["contribution-coherence"],
    "contribution-gram": ["contribution-gram"],
}
"""By 300 iterations srip's power steps have arrived; test_penalties_meaning.py says what fewer do."""

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
    step = techniques.step(trace, Y, value, dlogits if task else 0 * dlogits, number)
    techniques.before_backward(step)
    net.backward(trace, step.dlogits, step.dA)
    techniques.after_backward(step)
    return step


# One penalty, on arrays of the test's choice ----------------------------------------------------


@dataclass
class Seen:
    """What one penalty said about some arrays: its value and its gradients, on the host."""

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


# Torch's word -----------------------------------------------------------------------------------


@dataclass
class Layer:
    """What a reference may look at: torch tensors of one network and one hidden layer."""

    A: object
    B: object
    W: object
    V: object
    c: object
    logits: object
    targets: object
    loss: str


def pairs(torch, M):
    """The entries off the diagonal, both orders."""
    return M[~torch.eye(len(M), dtype=torch.bool)]


def moving(A):
    """The activations of neurons that are not constant."""
    return A[:, A.std(dim=0, correction=0) >= 1e-3]


def correlation(torch, A, eps=1e-4):
    A = moving(A)
    covariance = torch.cov(A.T, correction=0)
    s = torch.sqrt(torch.diagonal(covariance) + eps)
    return covariance / torch.outer(s, s)


def directions(torch, W):
    return torch.nn.functional.normalize(W, dim=0)


def decov(torch, t, x):
    return pairs(torch, torch.cov(x.A.T, correction=0)).square().sum() / 2


def pearson(torch, t, x):
    mean = pairs(torch, correlation(torch, x.A, t.eps)).square().mean()
    chance = 1 / max(len(x.A) - 1, 2)
    return (mean - chance) / (1 - chance) if t.debiased else mean


def mean_abs_pearson(torch, t, x):
    return pairs(torch, correlation(torch, x.A)).abs().mean()


def vicreg(torch, t, x):
    covariance = torch.cov(x.A.T)
    off = pairs(torch, covariance).square().sum() / moving(x.A).shape[1]
    hinge = torch.relu(t.target - torch.sqrt(x.A.var(dim=0) + 1e-4)).mean()
    return t.covariance * off + t.variance * hinge


def logdet_of_eigenvalues(torch, S, delta):
    return -torch.log(torch.linalg.eigvalsh(S) + delta).mean()


def logdet_correlation(torch, t, x):
    return logdet_of_eigenvalues(torch, correlation(torch, x.A), t.delta)


def logdet_weights(torch, t, x):
    U = directions(torch, x.W)
    return logdet_of_eigenvalues(torch, U.T @ U, t.delta)


def wld_reg(torch, t, x):
    H = x.A.shape[1]
    squares = torch.stack([torch.stack([(x.A[:, n] - x.A[:, m]) ** 2 for m in range(H)])
                           for n in range(H)])  # fmt: skip
    if t.form == "aggregated":
        return pairs(torch, torch.exp(-t.gamma * squares.mean(-1))).sum()
    S = torch.exp(-t.gamma * squares).mean(-1)
    if t.form == "direct":
        return pairs(torch, S).sum()
    determinant = torch.linalg.det(S + DELTA * torch.eye(H, dtype=S.dtype))
    return -determinant if t.form == "det" else -torch.log(determinant)


def spanning_tree(torch, t, x):
    from scipy.sparse.csgraph import minimum_spanning_tree

    distance = 1 - correlation(torch, x.A).abs()
    found = minimum_spanning_tree(distance.detach().numpy() + 10).nonzero()
    d = distance[found]
    if t.form == "t1":
        return -d.sum()
    return t.balance * d.std(correction=0) - (1 - t.balance) * d.mean()


def class_decov(torch, t, x):
    classes = [x.A[x.targets == k] for k in x.targets.unique()]

    def measure(A):
        if t.measure == "covariance":
            return pairs(torch, torch.cov(A.T, correction=0)).square().sum() / 2
        if moving(A).shape[1] < 2:
            return 0 * A.sum()
        return pairs(torch, correlation(torch, A)).square().mean()

    if t.form == "pooled":
        return measure(torch.cat([A - A.mean(dim=0) for A in classes]))
    return sum(len(A) * measure(A) for A in classes) / len(x.A)


def barlow(torch, t, x):
    views = []
    for A in (x.A, x.B):
        C = A - A.mean(dim=0)
        views.append(C / torch.sqrt(C.square().mean(dim=0) + t.eps))
    R = views[0].T @ views[1] / len(x.A)
    return (1 - torch.diagonal(R)).square().sum() + t.redundancy * pairs(torch, R).square().sum()


def spectral_decoupling(torch, t, x):
    return x.logits.norm(dim=1).square().mean() / 2


def cosine(torch, t, x):
    U = directions(torch, x.W)
    return pairs(torch, U.T @ U).square().mean()


def orthoreg(torch, t, x):
    U = directions(torch, x.W)
    return torch.nn.functional.softplus(t.sharpness * (pairs(torch, U.T @ U) - 1)).sum()


def isometry(torch, W, scaled=True):
    S = W.T @ W
    a = torch.diagonal(S).mean() if scaled else 1.0
    return S - a * torch.eye(len(S), dtype=S.dtype)


def soft_orthogonality(torch, t, x):
    return torch.linalg.matrix_norm(isometry(torch, x.W, t.scaled)).square()


def srip(torch, t, x):
    return torch.linalg.eigvalsh(isometry(torch, x.W)).abs().max()


def coherence(torch, t, x):
    U = directions(torch, x.W)
    cos = pairs(torch, U.T @ U)
    if t.form == "peak":
        return cos.abs().max()
    return torch.log(torch.exp(t.beta * cos.square()).mean()) / t.beta


def hyperspherical_energy(torch, t, x):
    U = directions(torch, x.W).T

    def energy(other):
        square = pairs(torch, (U[:, None] - other[None]).square().sum(-1)) + FLOOR
        return -torch.log(square).mean() / 2 if t.s == 0 else (square ** (-t.s / 2)).mean()

    return energy(U) if t.space == "full" else (energy(U) + energy(-U)) / 2


def l1_gates(torch, t, x):
    gates = x.V.norm(dim=1)
    return (gates if t.gate == "outgoing" else gates * x.W.norm(dim=0)).sum()


def torch_loss(torch, loss, outputs, targets):
    if loss == "cross-entropy":
        return torch.nn.functional.cross_entropy(outputs, targets)
    return (outputs - targets).square().sum(dim=1).mean() / 2


def negative_correlation(torch, t, x):
    H = x.A.shape[1]
    members = [H * torch.outer(x.A[:, h], x.V[h]) + x.c for h in range(H)]
    whole = torch_loss(torch, x.loss, sum(members) / H, x.targets)
    return sum(torch_loss(torch, x.loss, o, x.targets) for o in members) / H - whole


def contributions(torch, x):
    """(H, N K): what each neuron adds to the outputs."""
    return torch.einsum("nh,hk->hnk", x.A, x.V).reshape(x.A.shape[1], -1)


def contribution_coherence(torch, t, x):
    said = contributions(torch, x)
    n = int((said.norm(dim=1) > 0).sum())
    return said.sum(dim=0).square().sum() / (n * said.square().sum())


def contribution_gram(torch, t, x):
    said = contributions(torch, x)
    return pairs(torch, said @ said.T / len(x.A)).square().sum() / 2


REFERENCES = {
    function.__name__.replace("_", "-"): function
    for function in (
        *(decov, pearson, mean_abs_pearson, vicreg, logdet_correlation, wld_reg, spanning_tree),
        *(class_decov, barlow, spectral_decoupling, cosine, orthoreg, soft_orthogonality, srip),
        *(coherence, hyperspherical_energy, logdet_weights, l1_gates),
        *(negative_correlation, contribution_coherence, contribution_gram),
    )
}


def torch_gradient(torch, net, X, Y, spec, strength, second=None, loss="cross-entropy"):
    """(dtheta, penalty values by layer) of task + strength * penalty for one network, by autograd.

    second: the inputs of the second view, where the penalty has one.
    """
    technique = made(spec)
    reference = REFERENCES[technique.name]

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
