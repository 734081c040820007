"""Five techniques as a PyTorch user would write them: autograd does backward, the first axis is networks.

Each does the arithmetic of tinydiv's technique at its usual settings, so the losses of the steps agree.
"""

from collections.abc import Callable
from typing import Any

Values = Callable[[Any], Any]


def off(S: Any) -> Any:
    """S (R, H, H) with its diagonal set to zero."""
    return S - S.diagonal(dim1=-2, dim2=-1).diag_embed()


def decov(A: Any) -> Any:
    """1/2 |off S|^2 (R,) of activations A (R, N, H), S their covariance."""
    C = A - A.mean(dim=-2, keepdim=True)
    return off(C.mT @ C / A.shape[-2]).square().sum(dim=(-2, -1)) / 2


def pearson(A: Any) -> Any:
    """The mean squared correlation (R,) of neurons whose deviation is 1e-3 or more."""
    C = A - A.mean(dim=-2, keepdim=True)
    variance = C.square().mean(dim=-2, keepdim=True)
    alive = (variance.sqrt() >= 1e-3).to(A.dtype)
    Z = C / (variance + 1e-4).sqrt() * alive
    n = alive.sum(dim=(-2, -1))
    return off(Z.mT @ Z / A.shape[-2]).square().sum(dim=(-2, -1)) / (n * (n - 1)).clamp(min=1)


def cosine(W: Any) -> Any:
    """The mean squared cosine (R,) between the columns of W (R, D, H)."""
    U = W / W.norm(dim=-2, keepdim=True)
    H = W.shape[-1]
    return off(U.mT @ U).square().sum(dim=(-2, -1)) / (H * (H - 1))


OF_ACTIVATIONS: dict[str, tuple[float, Values]] = {"decov": (0.1, decov), "pearson": (0.2, pearson)}
"""Strength and value of penalties on the activations of every hidden layer."""
OF_WEIGHTS: dict[str, tuple[float, Values]] = {"cosine": (1.0, cosine)}
"""The same of penalties on the weights into every hidden layer."""
NAMES = (*OF_ACTIVATIONS, *OF_WEIGHTS, "iter-norm", "muon")


class IterNorm:
    """Whitening by five steps of Newton's iteration; gamma and beta are learned."""

    def __init__(self, torch: Any, like: Any) -> None:
        R, H = like.shape[0], like.shape[-1]
        same = {"device": like.device, "dtype": like.dtype}
        self.identity = torch.eye(H, **same)
        self.gamma = torch.ones(R, 1, H, **same, requires_grad=True)
        self.beta = torch.zeros(R, 1, H, **same, requires_grad=True)
        self.mean = torch.zeros(R, 1, H, **same)
        self.covariance = self.identity.repeat(R, 1, 1)
        self.torch = torch

    def __call__(self, Z: Any) -> Any:
        N = Z.shape[-2]
        mean = Z.mean(dim=-2, keepdim=True)
        C = Z - mean
        S = C.mT @ C / N
        with self.torch.no_grad():
            self.mean.lerp_(mean, 0.1)
            self.covariance.lerp_(S * (N / max(N - 1, 1)), 0.1)
        S = S + 1e-3 * self.identity
        trace = S.diagonal(dim1=-2, dim2=-1).sum(dim=-1)[..., None, None]
        P = self.identity.expand_as(S)
        for _ in range(5):
            P = 1.5 * P - 0.5 * (P @ P @ P @ (S / trace))
        return self.gamma * (C @ (P / trace.sqrt())) + self.beta


class Muon:
    """Momentum made orthogonal by five steps of Jordan's quintic, for the weights of hidden layers."""

    def __init__(self, torch: Any, W: list[Any]) -> None:
        self.W, self.M = W, [torch.zeros_like(w) for w in W]

    def step(self) -> None:
        """One update, without a gradient of its own."""
        for W, M in zip(self.W, self.M, strict=True):
            M.mul_(0.95).add_(W.grad)
            G = W.grad + 0.95 * M
            tall = G.shape[-2] >= G.shape[-1]
            X = G if tall else G.mT
            X = X / (X.square().sum(dim=(-2, -1), keepdim=True).sqrt() + 1e-7)
            for _ in range(5):
                S = X.mT @ X
                X = 3.4445 * X + X @ (-4.7750 * S + 2.0315 * (S @ S))
            rate = 0.02 * max(1.0, W.shape[-1] / W.shape[-2]) ** 0.5
            W.data.sub_(X if tall else X.mT, alpha=rate)
            W.grad = None
