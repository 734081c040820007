"""OrthoReg: only neurons that point the same way push each other apart."""

from tinydiv.backend import Array, xp
from tinydiv.settings import setting
from tinydiv.similarity import cosines, pair_mask
from tinydiv.techniques.base import Step, WeightPenalty


class OrthoReg(WeightPenalty):
    """Locally enforced orthogonality of weights (Rodriguez et al., ICLR 2017).

        G_ij = cos(w_i, w_j);  L = sum_{i != j} log(1 + exp(sharpness (G_ij - 1)))
        M = dL/dG = sharpness sigmoid(sharpness (G_ij - 1)), off the diagonal
        dL/dW from M as in Cosines.backward

    W (..., D, H); columns of zeros are left out. sharpness is the paper's lambda, 10: the force is 5
    at cos 1, .07 at cos .5, and nearly 0 for negative cosines.

    What it teaches: a negative cosine is neither always good nor always bad. For ReLU, w and -w are active
    on different halves of the inputs and no duplicates at all; for tanh they are duplicates, and cosine or
    half-space energy is the right choice. How a network cheats it: antipodal pairs are free; lengths grow
    as with cosine. Cost: two products of D H^2.
    """

    name = "orthoreg"
    family = "weights"
    default_strength = 0.03

    sharpness: float = setting(10.0, above=0, help="how fast the force fades below cosine 1")

    def __call__(self, W: Array, step: Step) -> tuple[Array, Array]:
        c = cosines(W)
        mask = pair_mask(c.alive)
        E = xp.exp(self.sharpness * xp.minimum(c.G - 1, 0))  # rounding can raise a cosine above 1
        value = xp.sum(mask * xp.log1p(E), axis=(-2, -1))
        return value, c.backward(self.sharpness * mask * E / (1 + E))
