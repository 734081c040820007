"""Size loss: a penalty on the distance between the learned size and a goal."""

from collections.abc import Sequence

from tinydiv.backend import Array
from tinydiv.errors import UsageError
from tinydiv.mlp import MLP
from tinydiv.settings import rounded, setting
from tinydiv.techniques.base import Penalty, Step, Strength
from tinydiv.techniques.sized import sized_at


class SizeLoss(Penalty):
    """The squared distance of a learned size from a goal (Radhakrishnan et al., 2025).

        L = (N - goal)^2;   dL/dN = 2 (N - goal)

    N is the size of learned-size, or the controller of size-mask, whose full size is 1; strength is
    the paper's lambda. It drives growth: a network that starts at N = 0 has no other gradient in N.
    """

    name = "size-loss"
    family = "growing"
    needs = ("learned-size",)
    default_strength = 0.1

    goal: float = setting(1.0, low=0, help="the size that is wanted")

    def refuse(self, net: MLP, layers: Sequence[int]) -> None:
        for layer in layers:
            sized = sized_at(net, layer)
            if sized is None:
                raise UsageError(
                    f"size-loss acts on a learned size, and layer {layer} has none: add learned-size "
                    "or size-mask"
                )
            if self.goal > sized.room():
                raise UsageError(
                    f"size-loss's goal {rounded(self.goal, 6)} is too large for layer {layer}: "
                    f"{sized.label} reaches its full size at {rounded(sized.room(), 6)}"
                )

    def apply(self, step: Step, layer: int, strength: Strength) -> Array:
        sized = sized_at(step.net, layer)
        assert sized is not None
        away = sized.size - self.goal  # (..., 1, 1)
        step.late.append((sized.gradients[sized.key], 2 * strength.of_matrices * away))
        return strength.of_values * away[..., 0, 0] ** 2
