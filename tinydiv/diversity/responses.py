"""What a neuron responds to: its activations show it better than its weights, which stay near their start.

found = responses(net, X, labels, layer=1)
found.inputs        (..., D, H)   one image per neuron, where inputs are images
found.classes       (..., K, H)   how its response divides among the classes
"""

from dataclasses import dataclass

from tinydiv.backend import Array, matmul, xp
from tinydiv.diversity.neurons import safe
from tinydiv.errors import UsageError
from tinydiv.mlp import MLP


@dataclass(frozen=True)
class Responses:
    """What the H neurons of one hidden layer respond to; zeros for a neuron that is constant."""

    inputs: Array
    """(..., D, H) the mean input, weighted by the neuron's activation, less the mean input."""
    classes: Array = None
    """(..., K, H) each class's share of the responses, sums to 1 over K; None without labels."""


def responses(net: MLP, X: Array, labels: Array = None, layer: int = 1) -> Responses:
    """The inputs and the classes that each neuron of a hidden layer responds to.

    With w_n = A_n - min_m A_m, how strongly a neuron responds to sample n (for ReLU nearly always its
    activation), and m_k the mean of w over the samples of class k:

        inputs  = (sum_n w_n x_n) / (sum_n w_n) - mean_n x_n
        classes = m_k / (sum_j m_j)

    X (N, D): the samples, as the network takes them. labels (N,): their classes. layer: 1 is the first.
    Raises UsageError where there is no such hidden layer.
    After de Boer and Kuyper, Triggered correlation, 1968.
    """
    if not 1 <= layer < net.depth:
        raise UsageError(f"there is no hidden layer {layer}: this network has {net.depth - 1}")
    A = net.forward(X).A[layer]
    w = A - xp.min(A, axis=-2, keepdims=True)  # (..., N, H), all zero for a constant neuron
    total = xp.sum(w, axis=-2, keepdims=True)
    inputs = matmul(X.mT, w - total / w.shape[-2]) / safe(total)
    inputs = inputs * (total > 0)
    if labels is None:
        return Responses(inputs)
    member = (labels[:, None] == xp.arange(net.sizes[-1])).astype(w.dtype)  # (N, K)
    means = matmul(member.mT, w) / xp.maximum(xp.sum(member, axis=0), 1)[:, None]
    return Responses(inputs, means / safe(xp.sum(means, axis=-2, keepdims=True)))


def one_network(net: MLP, replica: int = 0) -> MLP:
    """One of R networks as a network of its own, so that a picture computes only what it shows.

    Its layers are folded into its weights. The network itself where it is the only one, or where a
    layer cannot be folded: then its arrays still have an axis over networks.
    """
    if net.replicas is None:
        return net
    if net.layers:
        try:
            net = net.folded()
        except UsageError:
            return net
    single = MLP(net.sizes, net.activation, dtype=net.dtype)
    single.theta[...] = net.theta[replica]
    return single
