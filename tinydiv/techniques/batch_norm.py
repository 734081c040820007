"""Batch normalisation: a baseline that every comparison should include."""

from tinydiv.backend import Array, sum_over_samples, to_device, xp
from tinydiv.layers import Context
from tinydiv.settings import setting
from tinydiv.techniques.base import LayerTechnique


class BatchNorm(LayerTechnique):
    """Batch normalisation of pre-activations (Ioffe and Szegedy, ICML 2015).

        m = mean(Z), v = mean((Z - m)^2)         over the batch while training, running otherwise
        s = sqrt(v + eps);   Zhat = (Z - m) / s;   Y = gamma Zhat + beta
        dgamma = sum dY Zhat;  dbeta = sum dY
        dZ = [dZhat - mean(dZhat) - Zhat mean(dZhat Zhat)] / s,   with dZhat = gamma dY
           = gamma / s [dY - dbeta / N - Zhat dgamma / N]

    Forward: Zhat = (Z - m) / s, and Z enters it three times, so dZ has three parts:

        1. through Z directly:   dZhat / s
        2. through m:            dm = -sum(dZhat) / s, and dm/dZ = 1/N:            -mean(dZhat) / s
        3. through s:            ds = -sum(dZhat Zhat) / s, ds/dZ = Zhat / N:   -Zhat mean(dZhat Zhat) / s

    Z (..., N, H); gamma, beta (..., 1, H), learned; running <- (1 - momentum) running + momentum batch,
    with the unbiased variance. In evaluation mode m and v are constants, so only part 1 of dZ
    stays, and the layer folds into W and b exactly. It fixes scales but leaves correlations as
    they are: what decorrelation adds is measured against it.
    """

    name = "batch-norm"
    family = "layers"
    fewest_samples = 2
    place = "before"

    momentum: float = setting(0.1, above=0, high=1, help="weight of the newest batch")
    eps: float = setting(1e-5, above=0, help="added to the variance")

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"gamma": (1, self.width), "beta": (1, self.width)}

    def attach(self, lead: tuple[int, ...], dtype: str) -> None:
        super().attach(lead, dtype)
        self.mean = xp.zeros((*lead, 1, self.width), dtype=dtype)
        self.variance = xp.ones((*lead, 1, self.width), dtype=dtype)

    def reset_parameters(self) -> None:
        self.parameters["gamma"][...] = 1
        self.parameters["beta"][...] = 0

    def forward(self, x: Array, context: Context) -> tuple[Array, Array]:
        if context.training:
            N = x.shape[-2]
            mean = sum_over_samples(x) / N
            centred = x - mean
            variance = sum_over_samples(centred**2) / N
            self.mean += self.momentum * (mean - self.mean)
            self.variance += self.momentum * (variance * (N / max(N - 1, 1)) - self.variance)
        else:
            centred, variance = x - self.mean, self.variance
        s = xp.sqrt(variance + self.eps)
        xhat = centred / s
        y = self.parameters["gamma"] * xhat + self.parameters["beta"]
        return y, (xhat, s, context.training)

    def backward(self, dy: Array, cache: Array) -> tuple[Array, dict[str, Array]]:
        xhat, s, training = cache
        N, scale = dy.shape[-2], self.parameters["gamma"] / s
        dgamma = sum_over_samples(dy * xhat)
        dbeta = sum_over_samples(dy)
        dx = dy - dbeta / N - xhat * (dgamma / N) if training else dy
        return scale * dx, {"gamma": dgamma, "beta": dbeta}

    def fold(self, W: Array, b: Array) -> tuple[Array, Array]:
        """W, b of a plain layer that computes the same in evaluation mode."""
        scale = self.parameters["gamma"] / xp.sqrt(self.variance + self.eps)
        return W * scale, (b - self.mean) * scale + self.parameters["beta"]

    def renew(self, chosen: Array, Z: Array) -> None:
        chosen = chosen[..., None, :]
        mean = sum_over_samples(Z) / Z.shape[-2]
        variance = sum_over_samples((Z - mean) ** 2) / Z.shape[-2]
        self.mean[...] = xp.where(chosen, mean, self.mean)
        self.variance[...] = xp.where(chosen, variance, self.variance)
        for key, first in (("gamma", 1), ("beta", 0)):
            self.parameters[key][...] = xp.where(chosen, first, self.parameters[key])

    def state(self) -> dict[str, Array]:
        return {"mean": self.mean, "variance": self.variance}

    def load_state(self, state: dict[str, Array]) -> None:
        self.mean[...] = to_device(state["mean"])
        self.variance[...] = to_device(state["variance"])
