"""The same networks and losses in PyTorch, differentiated by its autograd: an independent reference.

Everything here takes and gives NumPy arrays in float64.
"""

import numpy as np
import torch
from torch.nn import functional

ACTIVATIONS = {
    "relu": torch.relu,
    "leaky-relu": lambda z: functional.leaky_relu(z, 0.01),
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "gelu": lambda z: functional.gelu(z, approximate="tanh"),
    "identity": lambda z: z,
}


def tensor(a, grad=False):
    a = np.asarray(a)
    kind = torch.int64 if a.dtype.kind in "iu" else torch.float64
    return torch.tensor(a, dtype=kind, requires_grad=grad)


def cross_entropy(logits, targets):
    return functional.cross_entropy(logits, targets)


def binary_cross_entropy(logits, targets):
    return functional.binary_cross_entropy_with_logits(logits, targets, reduction="sum") / len(
        logits
    )


def squared_error(outputs, targets):
    return functional.mse_loss(outputs, targets, reduction="sum") / (2 * len(outputs))


LOSSES = {
    "cross-entropy": cross_entropy,
    "binary-cross-entropy": binary_cross_entropy,
    "squared-error": squared_error,
}


def loss_and_gradient(loss, outputs, targets):
    """(value, gradient) of one network's loss: outputs (N, K)."""
    outputs = tensor(outputs, grad=True)
    value = LOSSES[loss](outputs, tensor(targets))
    value.backward()
    return value.item(), outputs.grad.numpy()


def forward(W, b, X, activation):
    A = X
    for l in range(len(W)):
        A = A @ W[l] + b[l]
        if l < len(W) - 1:
            A = ACTIVATIONS[activation](A)
    return A


def gradients(W, b, X, targets, activation, loss):
    """One network's (value, dW, db, dX) for lists of arrays W[l] (n, m), b[l] (1, m)."""
    W, b = [tensor(w, grad=True) for w in W], [tensor(v, grad=True) for v in b]
    X = tensor(X, grad=True)
    value = LOSSES[loss](forward(W, b, X, activation), tensor(targets))
    value.backward()
    found = [[p.grad.numpy() for p in parameters] for parameters in (W, b)]
    return value.item(), *found, X.grad.numpy()
