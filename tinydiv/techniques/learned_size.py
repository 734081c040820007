"""Learned size: the number of neurons that take part is learned by gradient descent."""

from math import pi

from tinydiv.backend import Array, xp
from tinydiv.settings import setting
from tinydiv.techniques.sized import Sized


class LearnedSize(Sized):
    """The number of open neurons is learned, by a gate on each (Radhakrishnan et al., 2025).

        Y_h = theta(N - h) A_h,   h = 0, 1, ..., H - 1
        theta(u) = 0 (u < 0);   sin^2(pi u / 2 delta) (0 <= u <= delta);   1 (u > delta)
        theta'(u) = pi / (2 delta) sin(pi u / delta)   between 0 and delta, else 0
        dA_h = theta(N - h) dY_h;   dN = sum_h theta'(N - h) sum_n A_nh dY_nh

    A (..., N_samples, H); the size N (..., 1, 1) lies in theta beside W and b. Neurons open in order, and
    one at a time if delta = 1. A gate that is fully open or shut has derivative 0: at a whole N the task's
    loss does not change N, but the penalty size-loss does. size_input=true also feeds N to the neurons,
    Z_h + N w_h, as the paper does; w starts at zero here and uniform there. rate multiplies the learning
    rate for N alone. The layer folds into the outgoing weights.
    """

    name = "learned-size"

    start: float = setting(1.0, low=0, help="the size before the first step")
    delta: float = setting(1.0, above=0, help="how far N moves while one gate opens")
    rate: float = setting(10.0, low=0, help="the learning rate of N, as a multiple of the others'")
    size_input: bool = setting(False, help="feed N to the neurons as one more input")

    def room(self) -> float:
        return self.width - 1 + self.delta

    def gates(self) -> tuple[Array, Array]:
        u = self.size - xp.arange(self.width, dtype=self.dtype)
        inside = xp.clip(u, 0, self.delta)
        g = xp.sin(inside * (pi / (2 * self.delta))) ** 2
        slope = xp.sin(inside * (pi / self.delta)) * (pi / (2 * self.delta))
        return g, xp.where((u > 0) & (u < self.delta), slope, xp.zeros_like(slope))
