"""DeCov: the covariance between hidden neurons."""

from tinydiv.backend import Array, matmul, sum_over_samples
from tinydiv.similarity import off_diagonal
from tinydiv.techniques.base import ActivationPenalty, Step


class DeCov(ActivationPenalty):
    """Covariance between hidden neurons (Cogswell et al., ICLR 2016).

        C = A - mean(A);  S = C'C / N;  L = 1/2 |off S|^2;  dL/dA = 2/N C off(S)

    A (..., N, H) activations; S (..., H, H); off() sets the diagonal to zero. Forward: S = C'C / N with
    C = A - mean(A), so with M = dL/dS = off(S) dA has three parts:

        1. through the left C:    C M' / N
        2. through the right C:   C M / N;   M = M', so both together are 2/N C off(S) = dC
        3. through the mean:      -mean(dC), which is zero: the columns of C sum to zero

    What it teaches: the simplest decorrelation penalty, and why scale matters.
    How a network cheats it: L is of degree 4 in A (<A, dA> = 4 L), so a ReLU network lowers it by smaller
    activations and larger outgoing weights, with the same outputs; and a dead neuron has no covariance.
    For independent neurons of unit variance L is on average H (H-1) (N-1) / (2 N^2), not zero, so a
    strength suits one batch size only. Cost: two products of N H^2.
    """

    name = "decov"
    family = "activations"
    fewest_samples = 2
    default_strength = 0.1

    def __call__(self, A: Array, step: Step) -> tuple[Array, Array]:
        N = A.shape[-2]
        C = A - sum_over_samples(A) / N
        off_S = off_diagonal(matmul(C.mT, C) / N)
        value = (off_S**2).sum(axis=(-2, -1)) / 2
        dA = (2 / N) * matmul(C, off_S)
        return value, dA
