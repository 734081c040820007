"""Merge and recycle: of two neurons with the same responses one is kept, the other starts anew."""

from tinydiv.backend import Array, matmul, xp
from tinydiv.settings import setting
from tinydiv.similarity import correlations, lengths, off_diagonal
from tinydiv.techniques.base import Intervention, Step
from tinydiv.techniques.recycling import centring_bias, usual_length


class MergeRecycle(Intervention):
    """Merge the two most correlated neurons of a layer and recycle the one that is left over (ours, after
    Srinivas and Babu, 2015, and Sokar et al., ICML 2023).

    Our definition, built from neuron merging as in the pruning literature (Srinivas and Babu, BMVC
    2015) and recycling as in ReDo (Sokar et al., ICML 2023). On the probe set, for each network:

        (i, j) = the pair of alive neurons with the largest |r_ij|; nothing if it is below threshold
        a_j ~ alpha a_i + beta                                       least squares
        V_i <- V_i + alpha V_j;   c <- c + beta V_j;   V_j <- 0        the function hardly changes
        w_j <- a new draw, its responses uncorrelated with all others', its old length kept
        b_j <- - mean(X w_j);     moments of i's and j's weights <- 0

    j is the neuron of the pair that contributes less (smaller standard deviation times outgoing length).
    Its outgoing weights are zero and its incoming ones new: were both zero, it could not learn.

    A (..., N, H) on the probe set, V (..., H, K). The part of a_j that a_i does not explain is lost:
    sqrt(1 - r^2) of its contribution, so a high threshold keeps the function.
    Cost, every `every` steps: a forward pass on the probe set, and one H x H solve.
    """

    name = "merge-recycle"
    family = "interventions"
    invariant = (
        "the outputs on the probe set, to a relative 1e-2 where the merged pair are near-duplicates"
    )
    default_every = 100

    threshold: float = setting(0.95, low=0, high=1, help="smallest |correlation| that is merged")

    def move(self, step: Step, layer: int, mask: Array | None) -> None:
        net, probe = step.net, step.probe()
        A, X = probe.A[layer], probe.A[layer - 1]
        W, b, V, c = net.W[layer - 1], net.b[layer - 1], net.W[layer], net.b[layer]
        H = A.shape[-1]
        if H < 2:
            return
        keep, drop, largest = self.pair(A, V)
        act = (largest >= self.threshold) & (largest > 0)  # (..., 1); zero: there is no pair
        if mask is not None:
            act = act & mask[..., None]
        act2 = act[..., None]  # (..., 1, 1), to broadcast over matrices

        # Regress the dropped neuron on the kept one: a_j ~ alpha a_i + beta.
        a_i, a_j = matmul(A, keep), matmul(A, drop)  # (..., N, 1)
        mean_i = xp.mean(a_i, axis=-2, keepdims=True)
        mean_j = xp.mean(a_j, axis=-2, keepdims=True)
        variance = xp.mean((a_i - mean_i) ** 2, axis=-2, keepdims=True)
        covariance = xp.mean((a_i - mean_i) * (a_j - mean_j), axis=-2, keepdims=True)
        alpha = covariance / xp.maximum(variance, xp.finfo(A.dtype).tiny)
        beta = mean_j - alpha * mean_i

        V_j = matmul(drop.mT, V)  # (..., 1, K)
        new_V = V + alpha * keep * V_j - drop * V_j
        c[...] = xp.where(act2, c + beta * V_j, c)
        V[...] = xp.where(act2, new_V, V)

        w, bias = self.fresh(step, layer, X, W, b, drop)
        W[...] = xp.where(act2 & (drop.mT > 0), w, W)
        b[...] = xp.where(act2 & (drop.mT > 0), bias, b)
        step.reset_moments(layer, act & ((drop + keep)[..., 0] > 0))
        step.neurons_replaced(layer, act & (drop[..., 0] > 0))

    @staticmethod
    def pair(A: Array, V: Array) -> tuple[Array, Array, Array]:
        """The most correlated pair: columns (..., H, 1) with a one at i and at j, and |r| (..., 1)."""
        found = correlations(A, eps=1e-12)
        similarity = abs(off_diagonal(found.R))
        H = A.shape[-1]
        flat = similarity.reshape(*similarity.shape[:-2], H * H)
        best = xp.argmax(flat, axis=-1)[..., None]  # (..., 1)
        neurons = xp.arange(H)
        first, second = (neurons == best // H), (neurons == best % H)  # (..., H)
        # Which contributes less? Standard deviation times outgoing length bounds the contribution.
        contributes = found.s[..., 0, :] * xp.sqrt(xp.sum(V**2, axis=-1))
        zero = xp.zeros_like(contributes)
        of_first = xp.sum(xp.where(first, contributes, zero), axis=-1, keepdims=True)
        of_second = xp.sum(xp.where(second, contributes, zero), axis=-1, keepdims=True)
        first_stays = of_first >= of_second
        keep = xp.where(first_stays, first, second).astype(A.dtype)[..., None]
        drop = xp.where(first_stays, second, first).astype(A.dtype)[..., None]
        return keep, drop, xp.max(flat, axis=-1)[..., None]

    @staticmethod
    def fresh(
        step: Step, layer: int, X: Array, W: Array, b: Array, drop: Array
    ) -> tuple[Array, Array]:
        """New incoming weights (..., D, 1) and bias (..., 1, 1) for the dropped neuron.

        A random w, minus the combination of the other neurons' weights that makes its responses on
        the probe set uncorrelated with theirs: w <- w - W t, S t = cov(Z, X w), S = cov(Z).
        """
        assert step.draws is not None
        D = W.shape[-2]
        w = step.draws.symmetric((D, 1), step.number, layer, step.net.dtype)
        Xc = X - xp.mean(X, axis=-2, keepdims=True)
        N = X.shape[-2]
        others = 1 - drop  # (..., H, 1)
        Zc = matmul(Xc, W) * others.mT
        S = matmul(Zc.mT, Zc) / N
        H = W.shape[-1]
        identity = xp.eye(H, dtype=W.dtype)
        trace = xp.sum(S * identity, axis=(-2, -1), keepdims=True)
        ridge = 1e-5 * trace / H + xp.finfo(W.dtype).tiny
        q = matmul(Zc.mT, matmul(Xc, w)) / N
        t = xp.linalg.solve(S + (ridge + drop * trace / H) * identity, q) * others
        w = w - matmul(W, t)
        length = lengths(matmul(W, drop))
        length = xp.where(length > 0, length, usual_length(W))
        w = w * (length / lengths(w))
        return w, centring_bias(X, w)
