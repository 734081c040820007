"""What both whitening layers share: centre, multiply by a matrix from the covariance, learn a scale.

    mu = mean(Z);  C = Z - mu;  S = C'C / N + eps I;  M = S^(-1/2);  Y = gamma (C M) + beta

zca_norm.py gets M from eigenvectors, iter_norm.py by an iteration; each has its own backward from the
gradient of M to that of S.
"""

from tinydiv.backend import Array, matmul, sum_over_samples, to_device, xp
from tinydiv.layers import Context
from tinydiv.settings import setting
from tinydiv.techniques.base import LayerTechnique


class Whitening(LayerTechnique):
    """Base of the layers that decorrelate pre-activations over the batch.

        forward    Y = gamma (C M) + beta
        backward   g = gamma dY;   gM = C'g;   gS = back(gM), through M;
                   gC = g M' + C (gS + gS') / N;   dZ = gC - mean(gC)
                   dgamma = sum dY (C M);   dbeta = sum dY

    Forward: C M with C = Z - mu and M = S^(-1/2), S = C'C / N + eps I, so dZ has three parts:

        1. through C directly, M held constant:   g M'
        2. through M, by S:    gM = C'g, back() gives gS, and S has C twice:   C (gS + gS') / N
        3. through mu:         mu enters every row of C with a minus:   - mean(part 1 + part 2)

    Z (..., N, H). With N <= H the batch's covariance has no inverse without eps: in the directions that eps
    adds, C is zero anyway.

    Running statistics are those of mu and of S (unbiased), not of M: the mean of many S has full rank
    even where each batch has too few samples, and M is made of it when the network is evaluated. In
    evaluation mode mu and M are constants: dZ is part 1, and the layer folds into W and b.
    Fill in matrix(S) -> (M, cache) and back(gM, cache) -> gS.
    """

    family = "layers"
    fewest_samples = 2
    place = "before"

    momentum: float = setting(0.1, above=0, high=1, help="weight of the newest batch")
    eps: float = setting(1e-3, above=0, help="added to the variances")

    def matrix(self, S: Array) -> tuple[Array, Array]:
        """(M, cache): M = S^(-1/2) of S (..., H, H), and what `back` needs."""
        raise NotImplementedError

    def back(self, gM: Array, cache: Array) -> Array:
        """gS = dL/dS from gM = dL/dM, both (..., H, H), and the cache of `matrix`."""
        raise NotImplementedError

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"gamma": (1, self.width), "beta": (1, self.width)}

    def attach(self, lead: tuple[int, ...], dtype: str) -> None:
        super().attach(lead, dtype)
        H = self.width
        self.mean = xp.zeros((*lead, 1, H), dtype=dtype)
        self.covariance = xp.zeros((*lead, H, H), dtype=dtype) + xp.eye(H, dtype=dtype)

    def reset_parameters(self) -> None:
        self.parameters["gamma"][...] = 1
        self.parameters["beta"][...] = 0

    def ridged(self, S: Array) -> Array:
        """S + eps I; that of a network that diverged is replaced, so that no routine fails for all."""
        identity = xp.eye(self.width, dtype=S.dtype)
        finite = xp.isfinite(xp.sum(S, axis=(-2, -1), keepdims=True))
        return xp.where(finite, S, identity) + self.eps * identity

    def forward(self, x: Array, context: Context) -> tuple[Array, Array]:
        N = x.shape[-2]
        if context.training:
            mean = sum_over_samples(x) / N
            C = x - mean
            S = matmul(C.mT, C) / N
            self.mean += self.momentum * (mean - self.mean)
            self.covariance += self.momentum * (S * (N / max(N - 1, 1)) - self.covariance)
        else:
            C, S = x - self.mean, self.covariance
        M, cache = self.matrix(self.ridged(S))
        white = matmul(C, M)
        y = self.parameters["gamma"] * white + self.parameters["beta"]
        return y, (C, M, white, cache, context.training)

    def backward(self, dy: Array, cache: Array) -> tuple[Array, dict[str, Array]]:
        C, M, white, of_matrix, training = cache
        gradients = {"gamma": sum_over_samples(dy * white), "beta": sum_over_samples(dy)}
        g = dy * self.parameters["gamma"]
        if not training:
            return matmul(g, M.mT), gradients
        gS = self.back(matmul(C.mT, g), of_matrix)
        gC = matmul(g, M.mT) + matmul(C, gS + gS.mT) / C.shape[-2]
        return gC - sum_over_samples(gC) / C.shape[-2], gradients

    def fold(self, W: Array, b: Array) -> tuple[Array, Array]:
        M, _ = self.matrix(self.ridged(self.covariance))
        scaled = M * self.parameters["gamma"]
        return matmul(W, scaled), matmul(b - self.mean, scaled) + self.parameters["beta"]

    def state(self) -> dict[str, Array]:
        return {"mean": self.mean, "covariance": self.covariance}

    def load_state(self, state: dict[str, Array]) -> None:
        self.mean[...] = to_device(state["mean"])
        self.covariance[...] = to_device(state["covariance"])
