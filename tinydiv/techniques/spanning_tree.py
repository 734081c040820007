"""Spanning-tree persistence: only the strongest correlations between neurons count."""

from tinydiv.backend import Array, xp
from tinydiv.settings import setting
from tinydiv.similarity import as_matrix, correlations, minimum_spanning_tree
from tinydiv.techniques.base import ActivationPenalty, Step


class SpanningTree(ActivationPenalty):
    """Persistence of the neurons' correlation (Ballester, Casacuberta and Escalera, PMLR 228, 2024).

        d_ij = 1 - |r_ij|;   e runs over the m = H - 1 edges of the minimum spanning tree under d
        t1:  L = -sum_e d_e                              dL/dd_e = -1
        t2:  L = balance std_e d - (1 - balance) mean_e d
             dL/dd_e = balance (d_e - mean d) / (m std d) - (1 - balance) / m
        M = dL/dR = -sign(r_e) dL/dd_e on the edges, each in one order;  then Correlations.backward

    A (..., N, H), R as in Pearson; std divides by m. The lengths of the tree's edges are the times at
    which clusters of neurons merge when a threshold on d rises: zero-dimensional persistent homology.
    t1 moves every neuron away from its nearest neighbour, t2 also makes edges equally long. Neurons that
    are nearly constant stay out of the tree: as "uncorrelated" ones they would give the longest edges of
    all.

    What it teaches: H - 1 of the H (H - 1) / 2 pairs carry the gradient, the ones that matter for
    connectedness. How a network cheats it: pairs off the tree may stay correlated, just less than
    those on it; t2 with a large balance is lowered by edges that are equally *short*. Which edges form the
    tree changes in jumps: kinks. Cost: two products of N H^2, and H rounds of small operations, each a
    kernel launch on a GPU.
    """

    name = "spanning-tree"
    family = "activations"
    fewest_samples = 2
    default_strength = 0.01

    form: str = setting("t1", choices=("t1", "t2"), help="sum of edges, or their mean and spread")
    balance: float = setting(
        0.5, low=0, high=1, only=("form", "t2"), help="t2: weight of the spread against the mean"
    )
    eps: float = setting(1e-4, above=0, help="added to variances; smaller is unsafe in float32")

    def __call__(self, A: Array, step: Step) -> tuple[Array, Array]:
        c = correlations(A, self.eps)
        distance = 1 - abs(c.R)
        tree = minimum_spanning_tree(distance, c.alive)
        edges = tree * distance
        total = xp.sum(edges, axis=(-2, -1))
        if self.form == "t1":
            value, slope = -total, -tree
        else:
            m = xp.maximum(xp.sum(tree, axis=(-2, -1)), 1)
            mean = total / m
            deviation = tree * (distance - as_matrix(mean))
            std = xp.sqrt(xp.sum(deviation**2, axis=(-2, -1)) / m)
            value = self.balance * std - (1 - self.balance) * mean
            some = std > xp.finfo(A.dtype).eps  # edges all of one length: a kink, zero is right
            steepness = xp.where(some, self.balance / (m * xp.where(some, std, 1)), 0)
            slope = as_matrix(steepness) * deviation - as_matrix((1 - self.balance) / m) * tree
        return value, c.backward(-xp.sign(c.R) * slope)
