"""What all recyclers of neurons share: new incoming weights, outgoing weights of zero, moments of zero.

A recycled neuron gets new incoming weights and outgoing weights of zero. Both must not be zero: the
gradient of the incoming weights is a product with the outgoing ones and vice versa, so such a neuron could
not learn. With zero outgoing weights it changes nothing at first, and its outgoing weights learn from the
first step on.
"""

from tinydiv.backend import Array, matmul, xp
from tinydiv.similarity import lengths
from tinydiv.techniques.base import Step


def usual_length(W: Array) -> Array:
    """The root mean square of the columns' lengths, (..., 1, 1); 1 where all weights are zero."""
    usual = xp.sqrt(xp.mean(xp.sum(W**2, axis=-2, keepdims=True), axis=-1, keepdims=True))
    return xp.where(usual > 0, usual, xp.ones_like(usual))


def centring_bias(X: Array, W: Array) -> Array:
    """b = - mean(X) W, (..., 1, H): pre-activations then have mean zero.

    So a recycled ReLU neuron is neither dead nor always active at first, whatever the inputs' mean.
    """
    return -matmul(xp.mean(X, axis=-2, keepdims=True), W)


def recycle(step: Step, layer: int, chosen: Array, stream: int) -> None:
    """Give chosen neurons of a hidden layer new weights: chosen (..., H) is True for them.

        w_h <- a random direction, as long as the layer's neurons usually are;   b_h <- - mean(X w_h)
        V_h <- 0;   moments <- 0;   the state that is kept of them is discarded

    stream: which random numbers; every technique that draws has streams of its own.
    """
    assert step.draws is not None
    net, X = step.net, step.probe().A[layer - 1]
    W, b, V = net.W[layer - 1], net.b[layer - 1], net.W[layer]
    draw = step.draws.symmetric(W.shape[-2:], step.number, stream + layer, net.dtype)
    fresh = draw * (usual_length(W) / lengths(draw))
    columns = chosen[..., None, :]
    b[...] = xp.where(columns, centring_bias(X, fresh), b)
    W[...] = xp.where(columns, fresh, W)
    V[...] = xp.where(chosen[..., :, None], xp.zeros_like(V), V)
    step.reset_moments(layer, chosen)
    step.neurons_replaced(layer, chosen)
