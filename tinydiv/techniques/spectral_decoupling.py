"""Spectral decoupling: small outputs, so that no feature of the data starves the others."""

from tinydiv.backend import Array, xp
from tinydiv.techniques.base import OutputPenalty, Step


class SpectralDecoupling(OutputPenalty):
    """Half the mean squared length of the logits (Pezeshki et al., NeurIPS 2021).

        L = 1/(2N) sum_nk logits_nk^2;   dL/dlogits = logits / N

    logits (..., N, K). Cross-entropy stops caring for a sample once one strong feature decides it, so
    weaker features are never learned: gradient starvation. This keeps the outputs small, and the
    gradient alive, until all features had their turn.

    What it teaches: diversity need not be a penalty on neurons; it may follow from not being finished too
    soon. How a network cheats it: it cannot, but it pays: outputs are shrunk, so confidence is too, and a
    large strength is label smoothing by another name. It does not choose *which* neurons differ, and
    with squared error it only biases the fit. Cost: two passes over the outputs.
    """

    name = "spectral-decoupling"
    family = "activations"
    default_strength = 0.01

    def __call__(self, logits: Array, step: Step) -> tuple[Array, Array]:
        N = logits.shape[-2]
        return xp.sum(logits**2, axis=(-2, -1)) / (2 * N), logits / N
