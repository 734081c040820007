"""Decorrelated backpropagation: a matrix that learns, without labels, to decorrelate the inputs."""

from tinydiv.backend import Array, matmul, sum_over_samples, to_device, xp
from tinydiv.layers import Context
from tinydiv.settings import setting
from tinydiv.techniques.base import LayerTechnique


class DecorrelatedInputs(LayerTechnique):
    """Decorrelate the network's inputs by a learned matrix R (Dalm, Offergeld, Ahmad and van Gerven, 2024).

        Y = X R',   C = Y'Y / B
        every k steps:   R <- R - rate [(1 - kappa) off(C) + kappa (diag C - I)] R
        dX = dY R

    X (B, D), or (R, B, D) where every network has its own batches; R is (D, D), one for all networks
    that share their inputs. With off(C) R = Y'(Y R)/B - diag(c) R, c = diag C, no D x D product is
    needed: O(B D^2). R follows a local rule, not a gradient of the loss; kappa also moves variances to 1.
    The rule diverges where the rate exceeds 2 over the largest eigenvalue of C, so the rate is capped at
    1 over its trace. R folds into the first weights: W <- R'W.

    It decorrelates the network's inputs only, where Dalm et al. decorrelate every layer's: the neurons'
    correlation comes mostly from that of the inputs, so this lowers it more than penalties do.
    Cost: 2 B D^2 for Y in every step, 4 B D^2 for the rule every k steps. At D = 784 that is many
    times a small network's own step.
    """

    name = "decorrelated-inputs"
    family = "layers"
    fewest_samples = 2
    place = "inputs"

    rate: float = setting(0.01, above=0, high=1, help="rate of R's own rule")
    kappa: float = setting(0.1, low=0, high=1, help="0 decorrelates only, 1 scales only")
    k: int = setting(4, low=1, help="R moves every k steps")

    def attach(self, lead: tuple[int, ...], dtype: str) -> None:
        super().attach(lead, dtype)
        self.R = xp.eye(self.width, dtype=dtype)

    def forward(self, x: Array, context: Context) -> tuple[Array, Array]:
        y, R = matmul(x, self.R.mT), self.R
        if context.training and context.step % self.k == 0:
            self.R = self.moved(y, R)
        return y, R  # backward needs the matrix that was used here, not a later one

    def moved(self, y: Array, R: Array) -> Array:
        """R after one step of its rule; y (..., B, D) are the decorrelated inputs.

            R <- (1 + rate (kappa + (1 - 2 kappa) c)) R - Y' (rate (1 - kappa) / B  Y R)

        This is the rule above with its terms collected: -(1 - kappa) c R of the off-diagonal part and
        kappa (c - 1) R of the diagonal one become a single factor for each row of R. So R, which is
        large, is passed over three times and not ten.
        """
        B = y.shape[-2]
        c = sum_over_samples(y**2).mT / B  # (..., D, 1), the diagonal of C
        trace = xp.sum(c, axis=-2, keepdims=True)
        rate = xp.minimum(self.rate, 1 / xp.maximum(trace, xp.finfo(y.dtype).tiny))
        moved = (1 + rate * (self.kappa + (1 - 2 * self.kappa) * c)) * R
        moved -= matmul(y.mT, rate * (1 - self.kappa) / B * matmul(y, R))
        return moved

    def backward(self, dy: Array, cache: Array) -> tuple[Array, dict[str, Array]]:
        return matmul(dy, cache), {}

    def fold(self, W: Array, b: Array) -> tuple[Array, Array]:
        return matmul(self.R.mT, W), b

    def state(self) -> dict[str, Array]:
        return {"R": self.R}

    def load_state(self, state: dict[str, Array]) -> None:
        self.R = to_device(state["R"])
