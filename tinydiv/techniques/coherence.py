"""Coherence: only the most similar pair of weights counts, or nearly only it."""

from tinydiv.backend import Array, xp
from tinydiv.settings import setting
from tinydiv.similarity import as_matrix, cosines, pair_mask
from tinydiv.techniques.base import Step, WeightPenalty


class Coherence(WeightPenalty):
    """Mutual coherence of the incoming weights (after Bansal, Chen and Wang, NeurIPS 2018).

        peak     L = max_{i != j} |G_ij|;   M = sign(G_ij) at one such entry
        smooth   L = 1/beta log mean_{i != j} exp(beta G_ij^2);   M = 2 G softmax(beta G^2)
        G_ij = cos(w_i, w_j);   dL/dW from M as in Cosines.backward

    W (..., D, H); columns of zeros are left out. The paper takes the largest entry of W'W - I, which for
    the usual draws lies on the diagonal: that penalises lengths. Cosines have no diagonal. smooth lies
    between the mean of cos^2 (beta to 0) and the largest (beta to infinity).

    What it teaches: a maximum moves one pair per step, and then another pair is the most similar;
    smoothing moves several at once. How a network cheats it: all other pairs may be as similar as the
    worst; no set of H > D directions gets below sqrt((H - D) / (D (H - 1))), the Welch bound. Cost: two
    products of D H^2.
    """

    name = "coherence"
    family = "weights"
    default_strength = 0.1

    form: str = setting("peak", choices=("peak", "smooth"), help="the largest, or a soft maximum")
    beta: float = setting(
        20.0, above=0, only=("form", "smooth"), help="smooth: how close to the maximum"
    )

    def __call__(self, W: Array, step: Step) -> tuple[Array, Array]:
        c = cosines(W)
        mask = pair_mask(c.alive)
        if self.form == "peak":
            size = mask * abs(c.G)
            flat = size.reshape(*size.shape[:-2], -1)
            first = xp.arange(flat.shape[-1]) == xp.argmax(flat, axis=-1)[..., None]
            return xp.max(flat, axis=-1), c.backward(
                mask * xp.sign(c.G) * first.reshape(size.shape)
            )
        squares = mask * c.G**2
        top = xp.max(squares, axis=(-2, -1))
        weights = mask * xp.exp(self.beta * (squares - as_matrix(top)))
        total = xp.sum(weights, axis=(-2, -1))
        safe = xp.where(total > 0, total, 1)  # no pair at all: value and gradient are zero
        value = top + xp.log(safe / c.pairs) / self.beta
        return value, c.backward(2 * c.G * weights / as_matrix(safe))
