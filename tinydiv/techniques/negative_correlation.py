"""Negative correlation learning, in its generalised form that fits any convex loss."""

from tinydiv.backend import Array, matmul, xp
from tinydiv.techniques.base import EnsemblePenalty, Step


class NegativeCorrelation(EnsemblePenalty):
    """Generalised negative correlation learning (Liu and Yao, 1999; Buschjaeger et al., 2020).

    The hidden neurons are an ensemble: member h outputs o_h = H a_h V_h + c, the network outputs their
    mean, f = mean_h o_h = A V + c. With a convex loss l the objective is

        lambda l(f) + (1 - lambda) mean_h l(o_h)  =  l(f) + (1 - lambda) [ mean_h l(o_h) - l(f) ]

    The bracket is the penalty; by Jensen it is never negative. For squared error it is the ambiguity
    of Krogh and Vedelsby (1995): half the members' mean squared distance from f. Its strength is
    1 - lambda: strength 0 (lambda = 1) is ordinary backpropagation, strength 1 (lambda = 0) trains each
    neuron alone. Liu and Yao (1999) is the squared-error case.

        G_h = dl/do_h (N, K),  G = dl/df
        dA[:, h] = G_h V_h' - (G V')[:, h];   dV_h = a_h' G_h - a_h' G;   dc = mean_h sum G_h - sum G

    A (..., N, H), V (..., H, K), c (..., 1, K). lambda above 1 (a negative strength) would reward
    disagreement without bound, and is refused. Members are compared with targets, which only the outputs
    have: so it acts on the last hidden layer, and takes no layers.

    What it teaches: backpropagation through a hidden layer *is* negative correlation learning with lambda
    = 1: training the members as one network already lets them disagree where that lowers the loss of their
    mean, and every strength above 0 rewards less diversity, not more. How a network cheats it: members
    agree if everything except the bias c is small. Cost: H losses of the outputs, N H K each.
    """

    name = "negative-correlation"
    family = "ensemble"
    default_strength = 0.01
    strength_limits = (0.0, 1.0)
    strength_reason = (
        "strength is 1 - lambda; lambda above 1 rewards disagreement without bound, below 0 turns "
        "against the network's own loss"
    )
    one_minus_strength = "lambda"

    def __call__(
        self, A: Array, V: Array, c: Array, step: Step
    ) -> tuple[Array, Array, Array, Array]:
        H = A.shape[-1]
        targets = step.targets
        own = targets.ndim == 3 or (targets.ndim == 2 and targets.dtype.kind in "iu")
        if own:  # targets of each network's own get an axis for its members
            targets = targets[:, None]

        O = H * A.mT[..., :, :, None] * V[..., :, None, :] + c[..., None, :, :]  # (..., H, N, K)
        members, G_h = step.loss_function(O, targets)  # (..., H), (..., H, N, K)
        whole, G = step.loss_function(outputs(A, V, c), step.targets)  # (...,), (..., N, K)
        value = xp.mean(members, axis=-1) - whole

        D = G_h - G[..., None, :, :]  # how each member's gradient differs from the network's
        dA = xp.sum(D * V[..., :, None, :], axis=-1).mT
        dV = xp.sum(D * A.mT[..., :, :, None], axis=-2)
        dc = xp.sum(xp.mean(D, axis=-3), axis=-2, keepdims=True)
        return value, dA, dV, dc


def outputs(A: Array, V: Array, c: Array) -> Array:
    """f = A V + c, from the given arrays, which a gradient check changes (and not those of the trace)."""
    return matmul(A, V) + c
