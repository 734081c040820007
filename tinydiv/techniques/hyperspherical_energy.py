"""Hyperspherical energy: neurons' directions as charges on a sphere that repel each other."""

from tinydiv.backend import Array, xp
from tinydiv.settings import setting
from tinydiv.similarity import FLOOR, as_matrix, cosines, pair_mask, squared_distances
from tinydiv.techniques.base import Step, WeightPenalty


class HypersphericalEnergy(WeightPenalty):
    """Minimum hyperspherical energy of weight directions (Liu et al., NeurIPS 2018).

        u = w / |w|;  d_ij = |u_i - u_j|, e_ij = |u_i + u_j|;  P = H (H - 1) ordered pairs
        full   L = sum_{i != j} d^-s / P                   s = 0: -log d in place of d^-s
        half   L = sum_{i != j} (d^-s + e^-s) / (2 P)      every neuron with its mirror image
        M = dL/dG = s d^-(s+2) / P, half: s (d^-(s+2) - e^-(s+2)) / (2 P);  s = 0: without the factor s
        dL/dW from M as in Cosines.backward

    W (..., D, H); 1e-6 is added to d^2. Columns of zeros are left out.

    What it teaches: the force between neighbours grows without bound, so the nearest pairs separate first;
    and space matters. full *rewards* antipodal pairs, its minimum for two neurons; for tanh those are
    duplicates, so use half there. For ReLU they are not. How a network cheats it: lengths grow as with
    cosine; neurons that are exactly equal get no gradient. Cost: two products of D H^2, and 3/2 D H^2 for
    the distances (half: 3 D H^2).
    """

    name = "hyperspherical-energy"
    family = "weights"
    default_strength = 0.3

    space: str = setting("full", choices=("full", "half"), help="half: mirror images count too")
    s: int = setting(2, low=0, high=2, help="power of the inverse distance; 0 is the logarithm")

    def __call__(self, W: Array, step: Step) -> tuple[Array, Array]:
        c = cosines(W)
        mask = pair_mask(c.alive)
        energy, slope = self.repulsion(squared_distances(c.U, -1.0), mask)
        if self.space == "half":
            mirrored, mirrored_slope = self.repulsion(squared_distances(c.U, 1.0), mask)
            energy, slope = (energy + mirrored) / 2, (slope - mirrored_slope) / 2
        return energy / c.pairs, c.backward(slope / as_matrix(c.pairs))

    def repulsion(self, square: Array, mask: Array) -> tuple[Array, Array]:
        """The sum of d^-s over pairs (...,), and its derivative by the cosine (..., H, H)."""
        square = square + FLOOR
        if self.s == 0:
            return -xp.sum(mask * xp.log(square), axis=(-2, -1)) / 2, mask / square
        potential = mask * square ** (-self.s / 2)
        return xp.sum(potential, axis=(-2, -1)), self.s * potential / square
