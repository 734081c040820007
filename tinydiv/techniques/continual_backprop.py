"""Continual backpropagation: during all of training, the least useful neurons are replaced."""

from tinydiv.backend import Array, matmul, xp
from tinydiv.mlp import MLP
from tinydiv.settings import setting
from tinydiv.techniques.base import Intervention, Step
from tinydiv.techniques.recycling import recycle

STREAM = 2000


class ContinualBackprop(Intervention):
    """Replace the neuron of lowest utility, a few in a thousand steps (Dohare et al., Nature 632, 2024).

        u_h <- eta u_h + (1 - eta) mean_n |a_nh| sum_k |V_hk|             every step
        age_h <- age_h + 1;   eligible where age_h > maturity
        due <- due + rate * (number of eligible neurons)
        where due >= 1:  due <- due - 1, and the eligible neuron with the lowest u / (1 - eta^age)
            c <- c + mean_p(a_h) V_h;   V_h <- 0;   w_h, b_h <- new;   u_h, age_h <- 0;   moments <- 0

    V (..., H, K); mean_n runs over the step's batch, mean_p over the probe set: the neuron's mean
    contribution there is added to the next biases c. A new neuron is not replaced until it is mature,
    whichever technique made it: at first its outgoing weights are zero, and so is its utility.
    Cost: passes over A and V in every step, and a forward pass on the probe set.
    """

    name = "continual-backprop"
    family = "interventions"
    invariant = (
        "the mean of the next pre-activations over the probe set; it replaces no neuron younger than "
        "maturity, whichever technique made it"
    )

    rate: float = setting(1e-4, low=0, high=1, help="replacements per step and eligible neuron")
    maturity: int = setting(100, low=1, help="steps for which a new neuron is safe")
    eta: float = setting(0.99, low=0, high=0.99999, help="share of the old utility that is kept")

    def prepare(self, net: MLP, layer: int, probe_inputs: Array | None) -> None:
        H = net.sizes[layer]
        for name, width in (("utility", H), ("age", H), ("due", 1)):  # as u, age and due above
            self.kept[f"{name}{layer}"] = xp.zeros((*net.lead, width), dtype=net.dtype)

    def watch(self, step: Step, layer: int) -> None:
        A, V = step.trace.A[layer], step.net.W[layer]
        u, age, due = (self.kept[f"{name}{layer}"] for name in ("utility", "age", "due"))
        age += 1
        u *= self.eta
        u += (1 - self.eta) * xp.mean(abs(A), axis=-2) * xp.sum(abs(V), axis=-1)
        due += self.rate * xp.sum(age > self.maturity, axis=-1, keepdims=True)

    def move(self, step: Step, layer: int, mask: Array | None) -> None:
        u, age, due = (self.kept[f"{name}{layer}"] for name in ("utility", "age", "due"))
        eligible = age > self.maturity
        act = (due >= 1) & xp.any(eligible, axis=-1, keepdims=True)
        if mask is not None:
            act = act & mask[..., None]
        corrected = u / (1 - self.eta ** xp.maximum(age, 1))
        lowest = xp.argmin(xp.where(eligible, corrected, xp.inf), axis=-1)[..., None]
        chosen = (xp.arange(u.shape[-1]) == lowest) & act  # (..., H)

        V, c = step.net.W[layer], step.net.b[layer]
        means = xp.mean(step.probe().A[layer], axis=-2, keepdims=True)  # (..., 1, H)
        c += matmul(xp.where(chosen[..., None, :], means, xp.zeros_like(means)), V)
        recycle(step, layer, chosen, STREAM)
        due -= act

    def forget(self, layer: int, chosen: Array) -> None:
        """u, age <- 0 for neurons that any technique replaced."""
        for name in (f"utility{layer}", f"age{layer}"):
            if name in self.kept:
                kept = self.kept[name]
                kept[...] = xp.where(chosen, xp.zeros_like(kept), kept)
