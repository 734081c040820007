"""The same work in PyTorch, JAX and scikit-learn, as their users would write it for speed.

Each class is imported with its framework only when it is timed. Many networks are batched products or the
framework's own vmap; threads are the framework's default, which is all cores.
"""

import itertools
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np

from tinydiv.errors import RunError

from . import in_torch
from .job import Floats, Job


class Torch:
    """nn.functional on parameters (R, n, m): linear for one network, baddbmm for many.

    kind: "eager", "fused" (Adam's or SGD's fused kernel), "compiled" (torch.compile of the loss), "vmap"
    (torch.func.vmap over networks). gpu: on the first CUDA device.
    """

    def __init__(self, job: Job, kind: str, gpu: bool) -> None:
        import torch

        self.torch, self.job, self.at = torch, job, 0
        device = "cuda" if gpu else "cpu"
        self.images = torch.from_numpy(job.images).to(device)
        self.labels = torch.from_numpy(job.labels).to(device)
        self.order = torch.from_numpy(job.order).to(device)
        W, b = ([torch.tensor(a, device=device) for a in arrays] for arrays in job.start)
        if job.replicas == 1 and kind != "vmap" and not job.technique:
            W, b = [w[0] for w in W], [v[0, 0] for v in b]
        self.W, self.b = ([p.requires_grad_() for p in group] for group in (W, b))
        make = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[job.optimizer]
        self.layers, self.muon = [], in_torch.Muon(torch, [])
        if job.technique == "iter-norm":
            self.layers = [in_torch.IterNorm(torch, v) for v in self.b[:-1]]
        if job.technique == "muon":
            self.muon = in_torch.Muon(torch, self.W[:-1])
        moved = self.W[-1:] if self.muon.W else self.W
        moved = [*moved, *self.b, *(p for layer in self.layers for p in (layer.gamma, layer.beta))]
        self.optimizer = make(moved, lr=job.rate, fused=kind == "fused")
        self.extra: Any = 0.0
        self.loss: Callable[..., Any] = self.one if W[0].ndim == 2 else self.many
        if kind == "vmap":
            self.loss = torch.func.vmap(self.one, in_dims=(None, None, 0, 0))
        if kind == "compiled":
            self.loss = torch.compile(self.loss)

    def one(self, X: Any, Y: Any, W: list[Any], b: list[Any]) -> Any:
        """The loss of one network."""
        A = X
        for l, (w, v) in enumerate(zip(W, b, strict=True)):
            A = A @ w + v
            if l < len(W) - 1:
                A = A.relu()
        return self.torch.nn.functional.cross_entropy(A, Y)

    def many(self, X: Any, Y: Any, W: list[Any], b: list[Any]) -> Any:
        """The losses (R,) of all networks."""
        R, N, self.extra = self.job.replicas, len(Y), 0.0
        of_A, of_W = in_torch.OF_ACTIVATIONS, in_torch.OF_WEIGHTS
        A = X.expand(R, *X.shape)
        for l, (w, v) in enumerate(zip(W, b, strict=True)):
            A = self.torch.baddbmm(v, A, w)
            if l < len(W) - 1:
                A = (self.layers[l](A) if self.layers else A).relu()
                for known, looked_at in ((of_A, A), (of_W, w)):
                    if self.job.technique in known:
                        strength, value = known[self.job.technique]
                        self.extra = self.extra + strength * value(looked_at)
        each = self.torch.nn.functional.cross_entropy(
            A.reshape(R * N, -1), Y.repeat(R), reduction="none"
        )
        return each.reshape(R, N).mean(dim=1)

    def steps(self, n: int) -> Floats:
        losses = []
        for _ in range(n):
            rows = self.order[self.at % len(self.order)]
            self.at += 1
            X, Y = self.images[rows].to(self.W[0].dtype) / 255, self.labels[rows]
            self.optimizer.zero_grad()
            loss = self.loss(X, Y, self.W, self.b)
            (loss + self.extra).sum().backward()
            self.optimizer.step()
            self.muon.step()
            losses.append(loss.detach())
        found: Floats = self.torch.stack(losses).reshape(n, -1).cpu().numpy()
        return found


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
        alone = job.replicas == 1
        arrays = [a[0] if alone else a for a in itertools.chain(*job.start)]
        L = len(arrays) // 2

        def loss(P: Any, X: Any, Y: Any) -> Any:
            A = X
            for l in range(L):
                A = A @ P[l] + P[L + l]
                if l < L - 1:
                    A = jax.nn.relu(A)
            return -(jax.nn.one_hot(Y, A.shape[-1]) * jax.nn.log_softmax(A)).sum(axis=-1).mean()

        both = jax.value_and_grad(loss)
        if not alone:
            both = jax.vmap(both, in_axes=(0, None, None))

        def adam(P: Any, M: Any, V: Any, G: Any, t: Any) -> Any:
            M = [0.9 * m + 0.1 * g for m, g in zip(M, G, strict=True)]
            V = [0.999 * v + 0.001 * g * g for v, g in zip(V, G, strict=True)]
            root = jnp.sqrt(1 - 0.999**t)
            rate = job.rate * root / (1 - 0.9**t)
            moved = zip(P, M, V, strict=True)
            return [p - rate * m / (jnp.sqrt(v) + 1e-8 * root) for p, m, v in moved], M, V

        def step(state: Any, rows: Any) -> Any:
            P, M, V, t = state
            X, Y = images[rows].astype(job.dtype) * (1 / 255), labels[rows]
            value, G = both(P, X, Y)
            t = t + 1
            if job.optimizer == "adam":
                P, M, V = adam(P, M, V, G, t)
            else:
                P = [p - job.rate * g for p, g in zip(P, G, strict=True)]
            return (P, M, V, t), value

        def scan(state: Any, rows: Any) -> Any:
            return jax.lax.scan(step, state, rows, unroll=4)

        self.scan = jax.jit(scan, donate_argnums=0)
        P, M, V = ([jnp.asarray(f * a) for a in arrays] for f in (1, 0, 0))
        self.state: Any = (P, M, V, jnp.asarray(0, job.dtype))

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
    for long."""
    found: dict[str, Callable[[], Any]] = {}
    if find_spec("torch"):
        kinds = ["eager", "fused"]
        if not job.technique:
            kinds += ["compiled"] * (not quick) + ["vmap"] * (job.replicas > 1)
        if gpu and not _torch_sees_a_gpu():
            raise RunError(
                "PyTorch sees no GPU, and a comparison with it on the CPU would mean nothing"
            )
        for kind in kinds:
            found[f"PyTorch {kind}"] = lambda kind=kind: Torch(job, kind, gpu)  # type: ignore[misc]
    if job.technique:
        return found
    if find_spec("jax"):
        found["JAX jit + scan" + " + vmap" * (job.replicas > 1)] = lambda: Jax(job)
    if find_spec("sklearn") and job.replicas == 1 and not gpu:
        found["scikit-learn"] = lambda: ScikitLearn(job)
    return found


def _torch_sees_a_gpu() -> bool:
    import torch

    return bool(torch.cuda.is_available())
