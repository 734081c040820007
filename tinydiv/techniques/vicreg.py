"""VICReg's two terms within a layer: covariance, and a hinge that keeps every neuron's variance up."""

from tinydiv.backend import Array, matmul, sum_over_samples, xp
from tinydiv.settings import setting
from tinydiv.similarity import ALIVE_STD, as_matrix, off_diagonal
from tinydiv.techniques.base import ActivationPenalty, Step


class VICReg(ActivationPenalty):
    """Covariance with a variance hinge (Bardes, Ponce and LeCun, ICLR 2022).

        C = A - mean(A);  S = C'C / (N-1);  s_h = sqrt(S_hh + 1e-4)
        L_c = |off S|^2 / H                     dL_c/dA = 4 / (H (N-1)) C off(S)
        L_v = mean_h max(0, target - s_h)       dL_v/dA = -[s < target] C / (H (N-1) s)
        L = covariance L_c + variance L_v

    A (..., N, H). Of the paper's three terms these two need one view only; its weights are 25 for the
    variance and 1 for the covariance. H counts all neurons in L_v and the alive ones in L_c (standard
    deviation at least 1e-3), so that dead neurons do not lower L_c.

    What it teaches: DeCov without its weakness, because the hinge keeps every neuron's deviation near the
    target. How a network cheats it: as outgoing weights are not limited, the target only sets a scale; a
    ReLU neuron that is off for every sample costs target - .01 but gets no gradient, so the hinge wakes no
    dead neuron. With variance=0 it is DeCov.
    Cost: two products of N H^2.
    """

    name = "vicreg"
    family = "activations"
    fewest_samples = 2
    default_strength = 0.01

    covariance: float = setting(1.0, low=0, help="weight of the covariance term")
    variance: float = setting(25.0, low=0, help="weight of the variance hinge")
    target: float = setting(1.0, above=0, help="the standard deviation wanted")

    def __call__(self, A: Array, step: Step) -> tuple[Array, Array]:
        N, H = A.shape[-2:]
        dof = max(N - 1, 1)
        C = A - sum_over_samples(A) / N
        S = matmul(C.mT, C) / dof
        spread = sum_over_samples(C**2) / dof
        alive = xp.sum(spread >= ALIVE_STD**2, axis=(-2, -1)).astype(A.dtype)
        alive = xp.maximum(alive, 1)
        off_S = off_diagonal(S)
        covariance = xp.sum(off_S**2, axis=(-2, -1)) / alive
        s = xp.sqrt(spread + 1e-4)
        short = xp.maximum(self.target - s, 0)
        hinge = xp.sum(short, axis=(-2, -1)) / H

        value = self.covariance * covariance + self.variance * hinge
        pull = (4 * self.covariance / dof) * off_S / as_matrix(alive)
        push = (self.variance / (H * dof)) * (short > 0).astype(A.dtype) / s
        return value, matmul(C, pull) - C * push
