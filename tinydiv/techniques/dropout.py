"""Dropout: a second baseline, noise under which no neuron can depend on others."""

from collections.abc import Sequence

from tinydiv.backend import Array
from tinydiv.layers import Context
from tinydiv.philox import Draws
from tinydiv.settings import setting
from tinydiv.techniques.base import LayerTechnique


class Dropout(LayerTechnique):
    """Silence each hidden neuron with probability p, per sample (Srivastava et al., JMLR 15, 2014).

        Y = A M / (1 - p),   M_nh = 1 with probability 1 - p, else 0;          dA = dY M / (1 - p)

    A (..., N, H), after the activation function. In evaluation mode it does nothing, and folds away.
    The mask's key: (the network's seed, "mask", step, hidden layer, n H + h) and nothing else, so a
    network has the same mask alone and among many, on every backend, and after a resume. The squared error
    that it adds on average is p / (1 - p) sum_h a_h^2 |V_h|^2: the first term of the ensemble's ambiguity
    without the factor H. It penalises neurons that depend on each other.
    """

    name = "dropout"
    family = "layers"
    place = "after"

    p: float = setting(0.2, low=0, high=0.99, help="probability of silence")

    def attach(self, lead: tuple[int, ...], dtype: str) -> None:
        super().attach(lead, dtype)
        self.seed(range(lead[0] if lead else 1))

    def seed(self, seeds: Sequence[int]) -> None:
        self.draws = Draws(seeds, "mask", replicated=bool(self.lead))

    def forward(self, x: Array, context: Context) -> tuple[Array, Array]:
        if not context.training or self.p == 0:
            return x, None
        keep = self.draws.keep(1 - self.p, x.shape[-2:], context.step, self.depth + 1)
        mask = keep.astype(x.dtype) / (1 - self.p)
        return x * mask, mask

    def backward(self, dy: Array, cache: Array) -> tuple[Array, dict[str, Array]]:
        return (dy if cache is None else dy * cache), {}

    def fold(self, W: Array, b: Array) -> tuple[Array, Array]:
        return W, b
