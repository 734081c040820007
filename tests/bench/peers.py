"""The same work in PyTorch, JAX and scikit-learn, as their users would write it for speed.

Each class is imported with its framework only when it is timed. Many networks are batched products or the
framework's own vmap; each may use all cores. (PyTorch would take one thread, as it reads the limit that
tinydiv's commands set for NumPy; scikit-learn's products are NumPy's, and stay on one.)
"""

import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np

from tinydiv.errors import RunError
from tinydiv.runs.processes import cores

from . import in_frameworks
from .job import Floats, Job


class Torch:
    """nn.functional on parameters (R, n, m): linear for one network, baddbmm for many.

    kind: "eager", "fused" (Adam's or SGD's fused kernel), "compiled" (torch.compile of the loss), "vmap"
    (torch.func.vmap over networks). gpu: on the first CUDA device.
    """

    def __init__(self, job: Job, kind: str, gpu: bool) -> None:
        import torch

        torch.set_num_threads(cores())
        self.torch, self.job, self.at = torch, job, 0
        device = "cuda" if gpu else "cpu"
        self.images = torch.from_numpy(job.images).to(device)
        self.labels = torch.from_numpy(job.labels).to(device)
        self.order = torch.from_numpy(job.order).to(device)
        W, b = ([torch.tensor(a, device=device) for a in arrays] for arrays in job.start)
        if job.replicas == 1:
            W, b = [w[0] for w in W], [v[0, 0] for v in b]
        self.W, self.b = ([p.requires_grad_() for p in group] for group in (W, b))
        self.eyes = [torch.eye(v.shape[-1], dtype=v.dtype, device=device) for v in b[:-1]]
        normed = self.b[:-1] if job.technique == "iter-norm" else []
        self.gamma = [torch.ones_like(v).requires_grad_() for v in normed]
        self.beta = [torch.zeros_like(v).requires_grad_() for v in normed]
        lead = (job.replicas,) if job.replicas > 1 else ()
        self.running = [
            (torch.zeros_like(v), eye.expand(*lead, *eye.shape).clone())
            for v, eye in zip(normed, self.eyes, strict=False)
        ]
        owned = self.W[:-1] if job.technique == "muon" else []
        self.momenta = [torch.zeros_like(w) for w in owned]
        make = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[job.optimizer]
        moved = [*self.W[len(owned) :], *self.b, *self.gamma, *self.beta]
        self.optimizer = make(moved, lr=job.rate, fused=kind == "fused")
        self.loss: Callable[..., Any] = self.one if job.replicas == 1 else self.many
        if kind == "vmap":
            self.loss = torch.func.vmap(self.one, in_dims=(None, None, 0, 0, 0, 0))
        if kind == "compiled":
            self.loss = torch.compile(self.loss)

    def forward(self, A: Any, parameters: Any, linear: Callable[[Any, Any, Any], Any]) -> Any:
        """(logits, penalties, statistics for iter-norm)."""
        W, b, gamma, beta = parameters
        penalties, batches = 0.0, []
        for l, (w, v) in enumerate(zip(W, b, strict=True)):
            A = linear(A, w, v)
            if l < len(W) - 1:
                if gamma:
                    A, batch = in_frameworks.iter_norm(A, gamma[l], beta[l], self.eyes[l])
                    batches.append(batch)
                A = A.relu()
                penalties = penalties + in_frameworks.penalty(
                    self.job.technique, w, A, self.eyes[l]
                )
        return A, penalties, batches

    def one(self, X: Any, Y: Any, *parameters: Any) -> Any:
        """(what is minimised, the loss, statistics) of one network."""
        A, penalties, batches = self.forward(X, parameters, lambda A, w, v: A @ w + v)
        loss = self.torch.nn.functional.cross_entropy(A, Y)
        return loss + penalties, loss, batches

    def many(self, X: Any, Y: Any, *parameters: Any) -> Any:
        """The same of all networks, (R,)."""
        R, N = self.job.replicas, len(Y)
        linear = self.torch.baddbmm
        A, penalties, batches = self.forward(
            X.expand(R, *X.shape), parameters, lambda A, w, v: linear(v, A, w)
        )
        each = self.torch.nn.functional.cross_entropy(
            A.reshape(R * N, -1), Y.repeat(R), reduction="none"
        )
        loss = each.reshape(R, N).mean(dim=1)
        return loss + penalties, loss, batches

    def steps(self, n: int) -> Floats:
        losses = []
        for _ in range(n):
            rows = self.order[self.at % len(self.order)]
            self.at += 1
            X, Y = self.images[rows].to(self.W[0].dtype) / 255, self.labels[rows]
            self.optimizer.zero_grad()
            whole, loss, batches = self.loss(X, Y, self.W, self.b, self.gamma, self.beta)
            whole.sum().backward()
            self.optimizer.step()
            with self.torch.no_grad():
                self.keep(batches)
            losses.append(loss.detach())
        found: Floats = self.torch.stack(losses).reshape(n, -1).cpu().numpy()
        return found

    def keep(self, batches: Any) -> None:
        """Running statistics of iter-norm; muon's own update."""
        for kept, batch in zip(self.running, batches, strict=True):
            for old, new in zip(kept, batch, strict=True):
                old.lerp_(new.reshape(old.shape), 0.1)
        for w, M in zip(self.W, self.momenta, strict=False):
            M.mul_(0.95).add_(w.grad)
            w.sub_(in_frameworks.muon_update(M, w.grad))
            w.grad = None


class Jax:
    """jit of a lax.scan over the steps, vmap over many networks; the update is written out.

    What made it faster here: class numbers as one-hot rows, the state donated to the next call, four steps
    unrolled in the loop, no vmap for one network.
    """

    def __init__(self, job: Job) -> None:
        import jax
        import jax.numpy as jnp

        self.job, self.at = job, 0
        jax.config.update("jax_enable_x64", job.dtype == "float64")
        images, labels = jnp.asarray(job.images), jnp.asarray(job.labels.astype("int32"))
        self.order = jnp.asarray(job.order.astype("int32"))
        alone, name = job.replicas == 1, job.technique
        W, b = ([jnp.asarray(a[0] if alone else a) for a in arrays] for arrays in job.start)
        each = jax.tree.map
        P = {"W": W, "b": b, "gamma": [], "beta": []}
        eyes = [jnp.eye(v.shape[-1], dtype=job.dtype) for v in b[:-1]]
        if name == "iter-norm":
            P["gamma"], P["beta"] = each(jnp.ones_like, b[:-1]), each(jnp.zeros_like, b[:-1])

        def loss(P: Any, X: Any, Y: Any) -> Any:
            A, penalties, batches = X, 0.0, []
            for l, (w, v) in enumerate(zip(P["W"], P["b"], strict=True)):
                A = A @ w + v
                if l < len(eyes):
                    if P["gamma"]:
                        A, batch = in_frameworks.iter_norm(A, P["gamma"][l], P["beta"][l], eyes[l])
                        batches.append(batch)
                    A = jax.nn.relu(A)
                    penalties = penalties + in_frameworks.penalty(name, w, A, eyes[l])
            rows = jax.nn.one_hot(Y, A.shape[-1])
            value = -(rows * jax.nn.log_softmax(A)).sum(axis=-1).mean()
            return value + penalties, (value, batches)

        both = jax.value_and_grad(loss, has_aux=True)
        if not alone:
            both = jax.vmap(both, in_axes=(0, None, None))

        def adam(P: Any, M: Any, V: Any, G: Any, t: Any) -> Any:
            M = each(lambda m, g: 0.9 * m + 0.1 * g, M, G)
            V = each(lambda v, g: 0.999 * v + 0.001 * g * g, V, G)
            root = jnp.sqrt(1 - 0.999**t)
            rate = job.rate * root / (1 - 0.9**t)
            return each(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + 1e-8 * root), P, M, V), M, V

        def step(state: Any, rows: Any) -> Any:
            P, M, V, t, momenta, running = state
            X, Y = images[rows].astype(job.dtype) * (1 / 255), labels[rows]
            (_, (value, batches)), G = both(P, X, Y)
            t, old = t + 1, P["W"]
            if job.optimizer == "adam":
                P, M, V = adam(P, M, V, G, t)
            else:
                P = each(lambda p, g: p - job.rate * g, P, G)
            running = each(lambda kept, new: 0.9 * kept + 0.1 * new, running, batches)
            if momenta:  # muon moves the hidden layers' W in place of the optimizer
                momenta = [0.95 * m + g for m, g in zip(momenta, G["W"], strict=False)]
                moved = [
                    w - in_frameworks.muon_update(m, g)
                    for w, m, g in zip(old, momenta, G["W"], strict=False)
                ]
                P = {**P, "W": [*moved, P["W"][-1]]}
            return (P, M, V, t, momenta, running), value

        def scan(state: Any, rows: Any) -> Any:
            return jax.lax.scan(step, state, rows, unroll=4)

        self.scan = jax.jit(scan, donate_argnums=0)
        zeros = [each(jnp.zeros_like, P) for _ in range(2)]
        momenta = each(jnp.zeros_like, W[:-1]) if name == "muon" else []
        lead = () if alone else (job.replicas,)
        running = [
            (jnp.zeros((*lead, 1, len(eye)), job.dtype), jnp.broadcast_to(eye, (*lead, *eye.shape)))
            for eye in eyes
        ]
        self.state: Any = (
            *(P, *zeros, jnp.asarray(0, job.dtype), momenta),
            running if name == "iter-norm" else [],
        )

    def steps(self, n: int) -> Floats:
        rows = self.order[(self.at + np.arange(n)) % len(self.order)]
        self.at += n
        self.state, losses = self.scan(self.state, rows)
        return np.asarray(losses).reshape(n, -1)


class ScikitLearn:
    """MLPClassifier.partial_fit, a batch a call: one network."""

    def __init__(self, job: Job) -> None:
        from sklearn.neural_network import MLPClassifier

        self.job, self.at = job, 0
        self.classes = np.arange(job.sizes[-1])
        self.net = MLPClassifier(
            job.sizes[1:-1],
            solver=job.optimizer,
            alpha=0.0,
            batch_size=job.batch,
            learning_rate_init=job.rate,
            momentum=0.0,
            nesterovs_momentum=False,
            epsilon=self.epsilon(1),
        )
        self.steps(1)  # makes the arrays into which the start is copied
        W, b = job.start
        self.net.coefs_, self.net.intercepts_ = (
            [w[0].copy() for w in W],
            [v[0, 0].copy() for v in b],
        )
        del self.net._optimizer
        self.at = 0

    @staticmethod
    def epsilon(t: int) -> float:
        """What scikit-learn's Adam adds to the root of v in step t, where all others add 1e-8 to the root
        of v / (1 - .999^t)."""
        return float(1e-8 * (1 - 0.999**t) ** 0.5)

    def steps(self, n: int) -> Floats:
        losses = []
        for _ in range(n):
            rows = self.job.order[self.at % len(self.job.order)]
            self.at += 1
            if hasattr(self.net, "_optimizer"):
                self.net._optimizer.epsilon = self.epsilon(self.at)
            X, Y = self.job.images[rows].astype(self.job.dtype) / 255, self.job.labels[rows]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.net.partial_fit(X, Y, classes=self.classes)
            losses.append([self.net.loss_])
        return np.array(losses, dtype=self.job.dtype)


def peers(job: Job, gpu: bool, quick: bool) -> dict[str, Callable[[], Any]]:
    """The frameworks that are installed and can do the job, by name. quick: without those that compile
    for long.

    Raises RunError if one of them would run on the CPU while tinydiv runs on a GPU.
    """
    found: dict[str, Callable[[], Any]] = {}
    for name in ("torch", "jax") if gpu else ():
        if find_spec(name) and not _sees_a_gpu(name):
            raise RunError(
                f"{FRAMEWORKS[name]} sees no GPU, and a comparison with it on the CPU would mean nothing"
            )
    if find_spec("torch"):
        kinds = ["eager", "fused"] + ["compiled"] * (not quick) + ["vmap"] * (job.replicas > 1)
        for kind in kinds:
            found[f"PyTorch {kind}"] = lambda kind=kind: Torch(job, kind, gpu)  # type: ignore[misc]
    if find_spec("jax"):
        found["JAX jit + scan" + " + vmap" * (job.replicas > 1)] = lambda: Jax(job)
    if find_spec("sklearn") and job.replicas == 1 and not gpu and not job.technique:
        found["scikit-learn"] = lambda: ScikitLearn(job)
    return found


FRAMEWORKS = {"torch": "PyTorch", "jax": "JAX"}


def _sees_a_gpu(name: str) -> bool:
    if name == "torch":
        import torch

        return bool(torch.cuda.is_available())
    import jax

    return bool(jax.default_backend() == "gpu")
