"""Spectral decoupling: small outputs, so that no feature of the data stops the learning of others."""

from tinydiv.backend import Array, xp
from tinydiv.techniques.base import OutputPenalty, Step


class SpectralDecoupling(OutputPenalty):
    """Half the mean squared length of the logits (Pezeshki et al., NeurIPS 2021).

        L = 1/(2N) sum_nk logits_nk^2;   dL/dlogits = logits / N

    logits (..., N, K). Cross-entropy gives a sample almost no gradient once one strong feature classifies
    it, so weaker features are never learned: gradient starvation. This keeps the outputs small, and the
    gradient large, until other features are learned too.

    What it teaches: diversity need not come from a penalty on neurons; it can come from gradients that
    stay large for longer. How a network cheats it: it cannot, but there is a cost: smaller outputs mean
    less confidence, and a large strength acts like label smoothing. It does not choose *which* neurons
    differ, and with squared error it only biases the fit. Cost: two passes over the outputs.
    """

    name = "spectral-decoupling"
    family = "activations"
    default_strength = 0.01

    def __call__(self, logits: Array, step: Step) -> tuple[Array, Array]:
        N = logits.shape[-2]
        return xp.sum(logits**2, axis=(-2, -1)) / (2 * N), logits / N
