"""Shared-direction removal: the common part of all neurons' gradients is reduced."""

from tinydiv.backend import Array, matmul, xp
from tinydiv.settings import setting
from tinydiv.techniques.base import Intervention, Step


class SharedDirection(Intervention):
    """Take a part of the neurons' common direction out of their gradients (ours, a rank-one form of
    Tuddenham et al., 2022).

        m = mean_h dW_h / |mean_h dW_h|;        dW <- dW - alpha m m'dW

    dW (..., D, H), one column per neuron. Neurons that all follow the mean gradient become alike; at
    alpha = 1 none follows it. It is a cheap form of gradient orthogonalisation, which does this for all
    directions. Where the neurons' gradients add up to zero there is no common direction, and nothing
    changes.
    Cost: two passes over dW.
    """

    name = "shared-direction"
    family = "interventions"
    invariant = (
        "the gradient's part orthogonal to the neurons' mean; what lies along it is times 1 - alpha"
    )

    alpha: float = setting(0.5, low=0, high=1, help="which part of it is taken out")

    def edit(self, step: Step, layer: int, mask: Array | None) -> None:
        dW = step.net.dW[layer - 1]
        m = xp.mean(dW, axis=-1, keepdims=True)  # (..., D, 1)
        size = xp.sqrt(xp.sum(m**2, axis=-2, keepdims=True))
        m = m / xp.maximum(size, xp.finfo(dW.dtype).tiny)
        common = self.alpha * m * matmul(m.mT, dW)
        if mask is not None:
            common = xp.where(mask[..., None, None], common, xp.zeros_like(common))
        dW -= common
