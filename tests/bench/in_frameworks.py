"""Five techniques as users of PyTorch and JAX would write them: autograd does backward.

Written with what tensors of both have in common, for one network or, with a first axis of networks, for
many; every function is pure, so that both can compile it and map it over networks. Each does the arithmetic
of tinydiv's technique at its usual settings, so the losses of the steps agree.
"""

from collections.abc import Callable
from typing import Any

Values = Callable[[Any, Any], Any]
"""(values, eye) -> the penalty of each network; eye is the identity matrix (H, H)."""


def decov(A: Any, eye: Any) -> Any:
    """1/2 |off S|^2 of activations A (..., N, H), S their covariance."""
    C = A - A.mean(axis=-2, keepdims=True)
    S = C.mT @ C / A.shape[-2] * (1 - eye)
    return (S * S).sum(axis=(-2, -1)) / 2


def pearson(A: Any, eye: Any) -> Any:
    """The mean squared correlation of neurons whose deviation is 1e-3 or more."""
    C = A - A.mean(axis=-2, keepdims=True)
    variance = (C * C).mean(axis=-2, keepdims=True)
    alive = (variance**0.5 >= 1e-3) * 1.0
    Z = C / (variance + 1e-4) ** 0.5 * alive
    n = alive.sum(axis=(-2, -1))
    S = Z.mT @ Z / A.shape[-2] * (1 - eye)
    return (S * S).sum(axis=(-2, -1)) / (n * (n - 1)).clip(min=1)


def cosine(W: Any, eye: Any) -> Any:
    """The mean squared cosine between the columns of W (..., D, H)."""
    U = W / (W * W).sum(axis=-2, keepdims=True) ** 0.5
    S, H = U.mT @ U * (1 - eye), W.shape[-1]
    return (S * S).sum(axis=(-2, -1)) / (H * (H - 1))


OF_ACTIVATIONS: dict[str, tuple[float, Values]] = {"decov": (0.1, decov), "pearson": (0.2, pearson)}
"""Strength and value of penalties on the activations of every hidden layer."""
OF_WEIGHTS: dict[str, tuple[float, Values]] = {"cosine": (1.0, cosine)}
"""The same of penalties on the weights into every hidden layer."""
NAMES = (*OF_ACTIVATIONS, *OF_WEIGHTS, "iter-norm", "muon")


def penalty(name: str, W: Any, A: Any, eye: Any) -> Any:
    """Strength times value of one hidden layer's penalty; 0 for a technique that is none."""
    for known, values in ((OF_ACTIVATIONS, A), (OF_WEIGHTS, W)):
        if name in known:
            strength, value = known[name]
            return strength * value(values, eye)
    return 0.0


def iter_norm(Z: Any, gamma: Any, beta: Any, eye: Any) -> tuple[Any, tuple[Any, Any]]:
    """Z (..., N, H) whitened by five steps of Newton's iteration, times gamma plus beta; with the mean and
    the unbiased covariance of the batch, for the running ones."""
    N = Z.shape[-2]
    mean = Z.mean(axis=-2, keepdims=True)
    C = Z - mean
    S = C.mT @ C / N
    batch = mean, S * (N / max(N - 1, 1))
    S = S + 1e-3 * eye
    trace = (S * eye).sum(axis=(-2, -1))[..., None, None]
    P = eye
    for _ in range(5):
        P = 1.5 * P - 0.5 * (P @ P @ P @ (S / trace))
    return gamma * (C @ (P / trace**0.5)) + beta, batch


def muon_update(M: Any, dW: Any) -> Any:
    """What muon subtracts from W (..., D, H), M its momentum with dW already in it: dW + 0.95 M made
    orthogonal by five steps of Jordan's quintic, times its rate."""
    G = dW + 0.95 * M
    D, H = G.shape[-2:]
    X = G if D >= H else G.mT
    X = X / ((X * X).sum(axis=(-2, -1), keepdims=True) ** 0.5 + 1e-7)
    for _ in range(5):
        S = X.mT @ X
        X = 3.4445 * X + X @ (-4.7750 * S + 2.0315 * (S @ S))
    return 0.02 * max(1.0, H / D) ** 0.5 * (X if D >= H else X.mT)
