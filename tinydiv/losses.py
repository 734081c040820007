"""Losses, each with its gradient: (outputs, targets) -> (loss per network, doutputs).

outputs (..., N, K) are the network's last pre-activations (logits); the loss is the mean over the N
samples, so the 1/N is already inside the gradient; loss (...,) has one value per network.

targets are class numbers, (N,) or (..., N), or for the last two losses also numbers (N, K) or
(..., N, K). Class numbers stand for rows of zeros with a single one.
"""

from collections.abc import Callable
from typing import TypeAlias

from tinydiv.backend import Array, xp
from tinydiv.errors import UsageError, unknown

Loss: TypeAlias = Callable[[Array, Array], tuple[Array, Array]]


def one_hot(targets: Array, outputs: Array) -> Array:
    """Class numbers (..., N) as rows (..., N, K) of zeros with a one; numbers (..., N, K) as they are.

    Raises UsageError if the samples do not fit the outputs' samples.
    """
    integers = targets.dtype.kind in "iu"
    samples = targets.shape[-1] if integers else targets.shape[-2] if targets.ndim > 1 else None
    if samples != outputs.shape[-2] or (not integers and targets.shape[-1] != outputs.shape[-1]):
        wanted = f"(..., {outputs.shape[-2]}) class numbers or (..., {outputs.shape[-2]}, "
        raise UsageError(
            f"outputs {outputs.shape} need targets of shape {wanted}{outputs.shape[-1]}) numbers, "
            f"got {targets.dtype} of shape {targets.shape}"
        )
    if not integers:
        return targets.astype(outputs.dtype, copy=False)
    classes = xp.arange(outputs.shape[-1], dtype=targets.dtype)
    return (targets[..., None, :] == classes[:, None]).astype(outputs.dtype).mT


def cross_entropy(logits: Array, targets: Array) -> tuple[Array, Array]:
    """Softmax cross-entropy: one class per sample (Bridle, 1990).

        L = -1/N sum_n log p[n, y_n],   p = softmax(logits)
        log p_k = z_k - max z - log sum_j exp(z_j - max z)     no exp of a large number
        dL/dlogits = (p - y) / N       with y the targets as rows of zeros with a single one

    Targets that are rows of weights y_nk are allowed too: L = -1/N sum_nk y_nk log p_nk, and then
    dL/dlogits = (p sum_k y_nk - y) / N.
    """
    N = logits.shape[-2]
    # Classes first, (..., K, N): to go through K long rows takes a fraction of the time of N short ones.
    Y, log_p = one_hot(targets, logits).mT, logits.mT.copy()
    log_p -= xp.max(log_p, axis=-2, keepdims=True)
    p = xp.exp(log_p)
    total = xp.sum(p, axis=-2, keepdims=True)
    log_p -= xp.log(total)
    loss = xp.sum(Y * log_p, axis=(-2, -1)) / -N
    p /= total
    p *= xp.sum(Y, axis=-2, keepdims=True)
    p -= Y
    p /= N
    return loss, p.mT


def binary_cross_entropy(logits: Array, targets: Array) -> tuple[Array, Array]:
    """Binary cross-entropy: every output is a yes or a no, with a sigmoid of its own
    (Solla, Levin and Fleisher, 1988).

    L = 1/N sum_nk [ max(z, 0) - z y + log(1 + e^-|z|) ]      no exp of a large number
    dL/dlogits = (sigmoid(z) - y) / N
    """
    N = logits.shape[-2]
    Y = one_hot(targets, logits)
    softplus = xp.maximum(logits, 0) + xp.log1p(xp.exp(-abs(logits)))
    softplus -= logits * Y
    loss = xp.sum(softplus, axis=(-2, -1)) / N
    p = 0.5 * (1 + xp.tanh(0.5 * logits))
    p -= Y
    p /= N
    return loss, p


def squared_error(outputs: Array, targets: Array) -> tuple[Array, Array]:
    """Half the squared error, summed over outputs (Legendre, 1805).

    L = 1/(2N) sum_nk (f - y)^2
    dL/doutputs = (f - y) / N
    """
    N = outputs.shape[-2]
    difference = outputs - one_hot(targets, outputs)
    return xp.sum(difference**2, axis=(-2, -1)) / (2 * N), difference / N


LOSSES: dict[str, Loss] = {
    "cross-entropy": cross_entropy,
    "binary-cross-entropy": binary_cross_entropy,
    "squared-error": squared_error,
}


def get(loss: str | Loss) -> Loss:
    """The loss of that name (or the given function). Raises UsageError for an unknown name."""
    if callable(loss):
        return loss
    if loss not in LOSSES:
        raise unknown("loss", loss, LOSSES)
    return LOSSES[loss]


def accuracy(logits: Array, labels: Array) -> Array:
    """The share of samples whose largest output is the label's: (..., N, K), (..., N) -> (...,)."""
    return xp.mean(xp.argmax(logits, axis=-1) == labels, axis=-1)


def mean_squared_error(outputs: Array, targets: Array) -> Array:
    """mean over samples and outputs of (f - y)^2: (..., N, K), (..., N, K) -> (...,)."""
    return xp.mean((outputs - targets) ** 2, axis=(-2, -1))
