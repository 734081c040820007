"""Losses, each with its gradient: (outputs, targets) -> (loss per network, doutputs).

outputs (..., N, K) are the network's last pre-activations (logits); the loss is the mean over the N
samples, so the 1/N is already inside the gradient; loss (...,) has one value per network.

targets are class numbers, (N,) or (..., N), or for the last two losses also numbers (N, K) or
(..., N, K). Class numbers stand for rows of zeros with a single one.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

from tinydiv.backend import Array, on_cpu, to_device, to_host, xp
from tinydiv.errors import UsageError, check_known

Loss: TypeAlias = Callable[[Array, Array], tuple[Array, Array]]


def one_hot(targets: Array, outputs: Array | int) -> Array:
    """Class numbers (..., N) as rows (..., N, K) of zeros with a one; numbers (..., N, K) as they are.

    outputs: the array (..., N, K) that the rows are for, or K alone.
    Raises UsageError if the samples do not fit the outputs' samples, or there is one output for class
    numbers; on the CPU, also for class numbers beyond 0 to K - 1. On a GPU, where looking at them would
    stop it, such a sample is a row of zeros: it has no loss and no gradient in cross_entropy.
    """
    targets = to_device(targets)
    integers = targets.dtype.kind in "iu"
    if isinstance(outputs, int):
        outputs = xp.empty((targets.shape[-1 if integers else -2], outputs), dtype="float32")
    *lead, N, K = outputs.shape
    wanted = (N,) if integers else (N, K)
    if targets.shape[-len(wanted) :] != wanted or (integers and targets.ndim >= outputs.ndim):
        advice = ""
        if integers and targets.ndim > 1:
            advice = ". One-hot rows must be floats: targets.astype(float)"
        elif not integers and targets.shape[-1:] == (N,) and targets.ndim < outputs.ndim:
            advice = ". Class numbers are whole: targets.astype(int)"
        raise UsageError(
            f"outputs {outputs.shape} need targets of shape (..., {N}) class numbers or (..., {N}, {K}) "
            f"numbers, got {targets.dtype} of shape {targets.shape}{advice}"
        )
    if not integers:
        return targets.astype(outputs.dtype, copy=False)
    if K == 1:
        raise UsageError(
            "class numbers need an output for every class, and there is one output: build a network with "
            "two, or give targets 0.0 and 1.0 of shape (N, 1)"
        )
    if on_cpu() and targets.size:
        # Read as unsigned, a negative number is a very large one: one pass instead of two.
        if targets.view(f"u{targets.itemsize}").max() >= K:
            raise UsageError(
                f"class numbers run from 0 to {K - 1} for {K} outputs, got {targets.min()} to "
                f"{targets.max()}"
            )
        # With few classes, class numbers can look like one-hot rows by chance: those of a data set are
        # int32 (loop.py) and never one-hot rows; one-hot rows that are made by hand are int64.
        can_be_rows = K > 4 or targets.dtype != "int32"
        if [*lead, N] == [*targets.shape] == [K, K] and can_be_rows and is_one_hot(targets):
            numbers = ", or targets.astype('int32') for class numbers" if K < 5 else ""
            raise UsageError(
                f"integers of shape {targets.shape} are the class numbers of {N} samples for each of {K} "
                f"networks, and these look like one-hot rows: write targets.astype(float){numbers}"
            )
    classes = xp.arange(K, dtype=targets.dtype)
    return (targets[..., None, :] == classes[:, None]).astype(outputs.dtype).mT


def is_one_hot(targets: Array) -> bool:
    """Whether every row holds zeros and a single one."""
    return bool((targets.sum(axis=-1) == 1).all() and (targets.max(axis=-1) == 1).all())


def softmax(logits: Array) -> Array:
    """Rows of numbers as rows of probabilities: p_k = exp(z_k - max z) / sum_j exp(z_j - max z)."""
    exponentials = xp.exp(logits - xp.max(logits, axis=-1, keepdims=True))
    return exponentials / xp.sum(exponentials, axis=-1, keepdims=True)


def cross_entropy(logits: Array, targets: Array) -> tuple[Array, Array]:
    """Softmax cross-entropy: one class per sample (Bridle, 1990).

        L = -1/N sum_n log p[n, y_n],   p = softmax(logits)
        log p_k = z_k - max z - log sum_j exp(z_j - max z)     no exp of a large number
        dL/dlogits = (p - y) / N       with y the targets as rows of zeros with a single one

    Targets that are rows of weights y_nk are allowed too: L = -1/N sum_nk y_nk log p_nk, and then
    dL/dlogits = (p sum_k y_nk - y) / N.
    """
    N = logits.shape[-2]
    # Classes first, (..., K, N): K long rows take a fraction of the time of N short ones.
    Y, log_p = one_hot(targets, logits).mT, logits.mT.copy()
    log_p -= log_p.max(axis=-2, keepdims=True)
    p = xp.exp(log_p)
    total = p.sum(axis=-2, keepdims=True)
    log_p -= xp.log(total)
    loss = (Y * log_p).sum(axis=(-2, -1)) / -N
    p /= total
    if not (on_cpu() and to_device(targets).dtype.kind in "iu"):  # one_hot's rows then add up to 1
        p *= Y.sum(axis=-2, keepdims=True)
    p -= Y
    p /= N
    return loss, p.mT


def softened_cross_entropy(
    logits: Array,
    targets: Array,
    smoothing: float = 0.0,
    class_weights: Sequence[float] | None = None,
) -> tuple[Array, Array]:
    """Cross-entropy with label smoothing and class weights (Szegedy et al., CVPR 2016).

        rows  q_nk = w_k [(1 - s) y_nk + s / K]          s = smoothing, w = class_weights (1 where None)
        L = -1/N sum_nk q_nk log p_nk,   dL/dlogits = (p sum_k q_nk - q) / N

    As a loss: train(..., loss=functools.partial(losses.softened_cross_entropy, smoothing=0.1)).
    Raises UsageError for a smoothing beyond 0 to 1, and unless there is one weight per class.
    """
    K = logits.shape[-1]
    if not 0 <= smoothing <= 1:
        raise UsageError(f"smoothing is a share from 0 to 1, got {smoothing}")
    if class_weights is not None and len(class_weights) != K:
        raise UsageError(
            f"class_weights needs {K} numbers, one per output, got {len(class_weights)}"
        )
    rows = (1 - smoothing) * one_hot(targets, logits) + smoothing / K
    if class_weights is not None:
        rows = rows * to_device(class_weights, dtype=str(logits.dtype))
    return cross_entropy(logits, rows)


def binary_cross_entropy(logits: Array, targets: Array) -> tuple[Array, Array]:
    """Binary cross-entropy: every output is a yes-or-no decision of its own, with its own sigmoid (Solla,
    Levin and Fleisher, 1988).

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


def softened(
    loss: str | Loss, smoothing: float = 0.0, class_weights: Sequence[float] | None = None
) -> Loss:
    """The loss with label smoothing and class weights; the loss itself where there are neither.

    Raises UsageError for a loss other than cross_entropy, which alone has them.
    """
    plain = get(loss)
    if not smoothing and class_weights is None:
        return plain
    if plain is not cross_entropy:
        raise UsageError(
            "label smoothing and class weights belong to the loss cross-entropy, and this is another one: "
            f"{loss}"
        )
    return partial(softened_cross_entropy, smoothing=smoothing, class_weights=class_weights)


def weighted(logits: Array, targets: Array, loss: Loss, weights: Array) -> tuple[Array, Array]:
    """Any loss that is a mean over samples, where sample n counts s_n times.

        L = 1/N sum_n s_n l_n,   dL/dlogits[n] = s_n/N dl_n/dlogits[n]      l_n = loss of sample n alone

    weights s (N,), or (R, N) where every network has its own batch. As a loss:
    losses.with_weights(losses.squared_error, s).
    """
    *lead, N, _ = logits.shape
    s = weights.reshape(weights.shape[:-1] + (1,) * (len(lead) + 1 - weights.ndim) + (N,))
    alone = targets[..., None] if targets.dtype.kind in "iu" else targets[..., None, :]
    each, dlogits = loss(logits[..., None, :], alone)  # each sample as a batch of one
    return xp.sum(s * each, axis=-1) / N, dlogits[..., 0, :] * (s / N)[..., None]


def with_weights(loss: Loss, weights: Array | None) -> Loss:
    """The loss with these weights of the samples (see weighted); the loss itself where there are none."""
    return loss if weights is None else partial(weighted, loss=loss, weights=weights)


def without_softening(loss: Loss) -> Loss:
    """cross_entropy for softened_cross_entropy with any settings; every other loss as it is."""
    return cross_entropy if getattr(loss, "func", loss) is softened_cross_entropy else loss


def balanced(labels: Array, classes: int) -> list[float]:
    """Class weights under which every class counts alike: w_k = N / (K N_k), N_k samples of class k.

    labels (N,). A class without samples has the weight that one sample would give it.
    """
    counts = to_host(xp.bincount(to_device(labels), minlength=classes)).tolist()
    return [len(labels) / (classes * max(count, 1)) for count in counts]


LOSSES: dict[str, Loss] = {
    "cross-entropy": cross_entropy,
    "binary-cross-entropy": binary_cross_entropy,
    "squared-error": squared_error,
}


def get(loss: str | Loss) -> Loss:
    """The loss of that name (or the given function). Raises UsageError for an unknown name."""
    if callable(loss):
        return loss
    check_known("loss", loss, LOSSES)
    return LOSSES[loss]


def accuracy(logits: Array, labels: Array) -> Array:
    """The share of samples whose largest output is the label's: (..., N, K), (..., N) -> (...,)."""
    return xp.mean(xp.argmax(logits, axis=-1) == to_device(labels), axis=-1)


def mean_squared_error(outputs: Array, targets: Array) -> Array:
    """mean over samples and outputs of (f - y)^2: (..., N, K), (..., N, K) -> (...,)."""
    return xp.mean((outputs - to_device(targets)) ** 2, axis=(-2, -1))
