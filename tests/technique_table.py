"""What the tests of all techniques need for each: ONE row per technique, at the end of this file.

A penalty's row names its value in PyTorch, written from the formula alone, and measures that training on
the penalty alone must lower. An intervention's row names what it keeps, and settings with which it acts.
A technique that is registered without a row fails in test_penalties.py or test_interventions.py.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from helpers import close
from scipy.sparse.csgraph import minimum_spanning_tree

from tinydiv.backend import to_device, to_host
from tinydiv.similarity import FLOOR, correlations, dormancy, off_diagonal
from tinydiv.techniques.wld_reg import DELTA


@dataclass(frozen=True)
class Row:
    """What the tests need for one technique."""

    reference: Callable | None = None
    """Penalty: reference(torch, technique, Layer) is its value for one network."""
    variants: Sequence[str] = ()
    """Penalty: specs to examine, one per named choice; none: the technique as it is."""
    lowers: Mapping[str, tuple[Callable, float]] = field(default_factory=dict)
    """Penalty: spec -> (a measure, the largest share of it that is left after training on it alone)."""
    keeps: Callable | None = None
    """Intervention: keeps(lab, technique, layer, before) asserts its invariant beside other techniques."""
    moment: str = ""
    """Intervention: the method after which that holds: edit, update or move; "end": after every step."""
    settings: str = ""
    """Settings with which it acts in (nearly) every step, and neurons are open and awake."""


# Penalties: values in PyTorch ----------------------------------------------------------------------


@dataclass
class Layer:
    """What a reference can read: torch tensors of one network and one hidden layer."""

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
    contributed = contributions(torch, x)
    n = int((contributed.norm(dim=1) > 0).sum())
    return contributed.sum(dim=0).square().sum() / (n * contributed.square().sum())


def contribution_gram(torch, t, x):
    contributed = contributions(torch, x)
    return pairs(torch, contributed @ contributed.T / len(x.A)).square().sum() / 2


# Penalties: measures -------------------------------------------------------------------------------
#
# Written here, not the penalties' own values. x: test_penalties_meaning.Looked.


def off(M):
    return M[~np.eye(len(M), dtype=bool)]


def corr(A):
    return np.corrcoef(A, rowvar=False)


def cosine_of(W):
    U = W / np.linalg.norm(W, axis=0)
    return U.T @ U


def mean_r(x):
    return np.abs(off(corr(x.A))).mean()


def mean_covariance(x):
    return np.abs(off(np.cov(x.A, rowvar=False))).mean()


def total_correlation(x):
    return -np.linalg.slogdet(corr(x.A))[1] / 2


def closeness(x):
    """1 - mean distance between the activations of two neurons, in units of what tanh allows."""
    return 1 - np.abs(x.A[:, :, None] - x.A[:, None, :]).mean() / 2


def tie_of_tree(x):
    """Mean |r| along the spanning tree."""
    tree = minimum_spanning_tree(1 - np.abs(corr(x.A)))
    return 1 - tree.data.mean()


def within_classes(x):
    return np.mean([np.abs(off(np.cov(x.A[k == x.Y], rowvar=False))).mean() for k in range(3)])


def overlap_of_views(x):
    """Mean |r| between neurons of the clean and the noisy pass, less what a neuron keeps of itself."""
    R = np.corrcoef(x.A, x.B, rowvar=False)[:6, 6:]
    return np.abs(off(R)).mean() + (1 - np.diagonal(R)).mean()


def largest_output(x):
    return np.abs(x.logits).max()


def mean_cosine(x):
    return np.abs(off(cosine_of(x.W))).mean()


def largest_cosine(x):
    return np.abs(off(cosine_of(x.W))).max()


def positive_cosine(x):
    return off(cosine_of(x.W)).max()


def condition(x):
    return np.linalg.cond(x.W)


def nearness(x):
    return np.exp(-np.linalg.norm(x.W / np.linalg.norm(x.W, axis=0), axis=0)).mean()


def lost_volume(x):
    return 1 - np.linalg.det(cosine_of(x.W))


def open_gates(x):
    return np.linalg.norm(x.V, axis=1).max()


def open_paths(x):
    return (np.linalg.norm(x.V, axis=1) * np.linalg.norm(x.W, axis=0)).max()


def contributed(x):
    """(N K, H): what each neuron contributes to the outputs."""
    return np.einsum("nh,hk->nkh", x.A, x.V).reshape(-1, x.A.shape[1])


def disagreement(x):
    members = 6 * contributed(x)
    return ((members - members.mean(axis=1, keepdims=True)) ** 2).mean()


def agreement(x):
    return off(cosine_of(contributed(x))).mean()


def overlap(x):
    S = contributed(x)
    return np.abs(off(S.T @ S)).mean()


# Interventions: what each keeps --------------------------------------------------------------------
#
# old: what test_interventions.watch_invariant copied before the intervention acted.


def column_lengths(W):
    return np.linalg.norm(W, axis=-2)


def next_layer(lab, layer):
    """A of a layer on the probe set, its outgoing V and c, and what the next layer gets: A V + c."""
    A = to_host(lab.net.forward(lab.X).A[layer])
    V, c = (to_host(part[layer]).copy() for part in (lab.net.W, lab.net.b))
    return A, V, c, A @ V + c


def frame(W):
    return np.swapaxes(W, -1, -2) @ W


def those_that_moved(update):
    """Singular values of an update (R, D, H), neurons without one left out: they have no direction."""
    return [np.linalg.svd(u[:, u.any(axis=0)], compute_uv=False) for u in update]


def holds_muon(lab, technique, layer, old):
    D, H = old["W"].shape[-2:]
    G = old["dW"] + 0.95 * to_host(technique.moments[f"W{layer - 1}"])
    updates = (lab.W(layer - 1) - old["W"]) / (0.02 * max(1, H / D) ** 0.5)
    for values, before in zip(those_that_moved(updates), those_that_moved(G), strict=True):
        large = (before >= np.linalg.norm(before) / 500).sum()
        assert values[0] < 1.3
        assert values[large - 1] > 0.6


def holds_orthogonal_gradient(lab, technique, layer, old):
    for values in those_that_moved(to_host(lab.net.dW[layer - 1])):
        close(values, np.ones_like(values), rtol=1e-6)


def holds_shared_direction(lab, technique, layer, old):
    m = old["dW"].mean(axis=-1, keepdims=True)
    m /= np.linalg.norm(m, axis=-2, keepdims=True)
    along = m @ (np.swapaxes(m, -1, -2) @ old["dW"])
    close(lab.net.dW[layer - 1], old["dW"] - 0.5 * along, atol=1e-10)


def holds_gradient_projection(lab, technique, layer, old):
    both = to_host(lab.net.dtheta).copy()
    lab.net.backward(old["step"].trace, old["step"].task_dlogits)
    task = to_host(lab.net.dtheta).copy()
    lab.net.dtheta[...] = to_device(both)
    assert ((both * task).sum(axis=-1) >= (task**2).sum(axis=-1) * (1 - 1e-9)).all()


def holds_local_alignment(lab, technique, layer, old):
    found, theta = to_host(lab.net.dtheta).copy(), to_host(lab.net.theta).copy()
    for W in lab.net.W[1:]:
        W[...] *= -3.0
    type(technique).edit(technique, old["step"], layer, None)
    np.testing.assert_array_equal(to_host(lab.net.dtheta), found)
    lab.net.theta[...] = to_device(theta)


def holds_lengths(lab, technique, layer, old):
    close(column_lengths(lab.W(layer - 1)), column_lengths(old["W"]), rtol=1e-9)
    if technique.name == "reorthogonalise":
        gram = frame(lab.W(layer - 1))
        close(gram * (1 - np.eye(gram.shape[-1])), 0 * gram, atol=1e-6)


def holds_merge_recycle(lab, technique, layer, old):
    """Outputs lose no more than the part of the dropped neuron that the kept one does not explain."""
    A, V, _, received = old["next"]
    found = correlations(to_device(A), 1e-12)
    s, largest = to_host(found.s)[:, 0], np.abs(to_host(off_diagonal(found.R))).max(axis=(-2, -1))
    lost = np.sqrt(((next_layer(lab, layer)[-1] - received) ** 2).mean(axis=-2).sum(axis=-1))
    dropped = ~to_host(lab.net.W[layer]).any(axis=-1) & V.any(axis=-1)
    assert (dropped.sum(axis=-1) == 1).all()
    close(
        lost, np.sqrt(1 - largest**2) * s[dropped] * np.linalg.norm(V[dropped], axis=-1), rtol=1e-6
    )


def holds_redo(lab, technique, layer, old):
    A, V, c, _ = old["next"]
    awake = to_host(dormancy(to_device(A))) > technique.tau
    close(next_layer(lab, layer)[-1], (A * awake[:, None, :]) @ V + c, rtol=1e-9, atol=1e-10)


def holds_continual_backprop(lab, technique, layer, old):
    before, after = (found[-1].mean(axis=-2) for found in (old["next"], next_layer(lab, layer)))
    close(after, before, rtol=1e-9, atol=1e-10)
    new = to_host(technique.kept[f"age{layer}"]) == 0
    assert (old["age"][new] > technique.maturity).all()


def holds_consensus(lab, technique, layer, old):
    close(to_host(lab.net.theta).mean(axis=0), old["theta"].mean(axis=0))


def holds_cayley(lab, technique, layer, old):
    W, s = lab.W(layer - 1), to_host(technique.kept[f"scale{layer}"])
    close(frame(W), s**2 * np.eye(W.shape[-1]) * np.ones_like(s), rtol=0, atol=1e-9)


def holds_toeplitz(lab, technique, layer, old):
    W = lab.W(layer - 1)
    np.testing.assert_array_equal(W[..., 1:, 1:], W[..., :-1, :-1])


# The table -----------------------------------------------------------------------------------------

TABLE: dict[str, Row] = {
    "decov": Row(
        reference=decov,
        lowers={"decov": (mean_covariance, 0.2)},
    ),
    "pearson": Row(
        reference=pearson,
        variants=["pearson", "pearson:debiased=true"],
        lowers={"pearson": (mean_r, 0.2)},
    ),
    "mean-abs-pearson": Row(
        reference=mean_abs_pearson,
        lowers={"mean-abs-pearson": (mean_r, 0.2)},
    ),
    "vicreg": Row(
        reference=vicreg,
        variants=[
            "vicreg:target=0.5,variance=2",
            "vicreg:variance=0",
            "vicreg:covariance=0,target=2",
        ],
        lowers={"vicreg:target=0.5": (mean_covariance, 0.2)},
    ),
    "logdet-correlation": Row(
        reference=logdet_correlation,
        variants=["logdet-correlation", "logdet-correlation:delta=0.1"],
        lowers={"logdet-correlation": (total_correlation, 0.2)},
    ),
    "wld-reg": Row(
        reference=wld_reg,
        variants=[f"wld-reg:form={f},gamma=2" for f in ("direct", "det", "logdet", "aggregated")],
        lowers={
            "wld-reg:gamma=2": (closeness, 0.7),
            "wld-reg:form=det,gamma=2": (closeness, 0.9),
            "wld-reg:form=logdet,gamma=2": (closeness, 0.8),
            "wld-reg:form=aggregated,gamma=2": (closeness, 0.8),
        },
    ),
    "spanning-tree": Row(
        reference=spanning_tree,
        variants=[
            "spanning-tree",
            "spanning-tree:form=t2",
            "spanning-tree:form=t2,balance=0.9",
        ],
        lowers={"spanning-tree": (tie_of_tree, 0.3), "spanning-tree:form=t2": (tie_of_tree, 0.3)},
    ),
    "class-decov": Row(
        reference=class_decov,
        variants=[
            f"class-decov:form={form},measure={measure}"
            for form in ("pooled", "conditional")
            for measure in ("covariance", "correlation")
        ],
        lowers={
            "class-decov": (within_classes, 0.2),
            "class-decov:measure=correlation": (within_classes, 0.4),
            "class-decov:form=conditional": (within_classes, 0.2),
            "class-decov:form=conditional,measure=correlation": (within_classes, 0.4),
        },
    ),
    "barlow": Row(
        reference=barlow,
        variants=["barlow:redundancy=0.5", "barlow:noise=0.7"],
        lowers={"barlow:redundancy=0.5,noise=0.3": (overlap_of_views, 0.4)},
    ),
    "spectral-decoupling": Row(
        reference=spectral_decoupling,
        lowers={"spectral-decoupling": (largest_output, 0.1)},
    ),
    "cosine": Row(
        reference=cosine,
        lowers={"cosine": (mean_cosine, 0.1)},
    ),
    "orthoreg": Row(
        reference=orthoreg,
        variants=["orthoreg", "orthoreg:sharpness=3"],
        lowers={"orthoreg": (positive_cosine, 0.5)},
    ),
    "soft-orthogonality": Row(
        reference=soft_orthogonality,
        variants=["soft-orthogonality", "soft-orthogonality:scaled=false"],
        lowers={
            "soft-orthogonality": (condition, 0.3),
            "soft-orthogonality:scaled=false": (condition, 0.3),
        },
    ),
    "srip": Row(
        reference=srip,
        variants=["srip", "srip:iterations=300"],
        lowers={"srip": (condition, 0.6), "srip:iterations=5": (condition, 0.6)},
    ),
    "coherence": Row(
        reference=coherence,
        variants=["coherence", "coherence:form=smooth"],
        lowers={"coherence": (largest_cosine, 0.5), "coherence:form=smooth": (largest_cosine, 0.2)},
    ),
    "hyperspherical-energy": Row(
        reference=hyperspherical_energy,
        variants=[
            f"hyperspherical-energy:space={space},s={s}"
            for space in ("full", "half")
            for s in (0, 1, 2)
        ],
        lowers={
            "hyperspherical-energy": (positive_cosine, 0.2),
            "hyperspherical-energy:s=0": (positive_cosine, 0.2),
            "hyperspherical-energy:space=half,s=1": (largest_cosine, 0.3),
        },
    ),
    "logdet-weights": Row(
        reference=logdet_weights,
        variants=["logdet-weights", "logdet-weights:delta=0.1"],
        lowers={"logdet-weights": (lost_volume, 0.2)},
    ),
    "l1-gates": Row(
        reference=l1_gates,
        variants=["l1-gates", "l1-gates:gate=path"],
        lowers={"l1-gates": (open_gates, 0.1), "l1-gates:gate=path": (open_paths, 0.1)},
    ),
    "negative-correlation": Row(
        reference=negative_correlation,
        lowers={"negative-correlation": (disagreement, 0.3)},
    ),
    "contribution-coherence": Row(
        reference=contribution_coherence,
        lowers={"contribution-coherence": (agreement, 0.2)},
    ),
    "contribution-gram": Row(
        reference=contribution_gram,
        lowers={"contribution-gram": (overlap, 0.1)},
    ),
    "muon": Row(keeps=holds_muon, moment="update"),
    "orthogonal-gradient": Row(keeps=holds_orthogonal_gradient, moment="edit"),
    "shared-direction": Row(keeps=holds_shared_direction, moment="edit"),
    "gradient-projection": Row(keeps=holds_gradient_projection, moment="edit"),
    "local-alignment": Row(keeps=holds_local_alignment, moment="edit", settings="shrink=1"),
    "reorthogonalise": Row(keeps=holds_lengths, moment="move", settings="every=1"),
    "orthogonal-noise": Row(keeps=holds_lengths, moment="move", settings="every=1"),
    "merge-recycle": Row(keeps=holds_merge_recycle, moment="move", settings="threshold=0,every=1"),
    "redo": Row(keeps=holds_redo, moment="move", settings="tau=0.9,every=1"),
    "continual-backprop": Row(
        keeps=holds_continual_backprop, moment="move", settings="rate=0.2,maturity=2"
    ),
    "consensus": Row(keeps=holds_consensus, moment="move", settings="gamma=0.3"),
    "cayley": Row(keeps=holds_cayley, moment="end"),
    "toeplitz": Row(keeps=holds_toeplitz, moment="end"),
    "learned-size": Row(settings="start=9"),
    "size-mask": Row(settings="start=0.9"),
    "grow": Row(settings="first=5"),
    "residual-fitting": Row(settings="first=5"),
    "gradmax": Row(settings="first=5"),
    "net2net": Row(settings="first=5"),
}
"""By 300 iterations srip's power steps have arrived; test_penalties_meaning.py tests what fewer do."""
