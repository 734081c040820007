"""L1 gates: a penalty on every open neuron, the sum of the neurons' gates."""

from tinydiv.backend import Array, xp
from tinydiv.settings import setting
from tinydiv.similarity import lengths
from tinydiv.techniques.base import NeuronPenalty, Step


class L1Gates(NeuronPenalty):
    """The sum of the neurons' gates, each implied by the weights (ours, after Yuan and Lin, 2006; Yuan et
    al., 2020).

        a gate per neuron:   outputs = sum_h g_h a_h v_h + c,   |v_h| = 1,  g_h >= 0
        is an MLP with V_h = g_h v_h, so the weights give the gate:
        outgoing   g_h = |V_h|          dV_h = V_h / |V_h|
        path       g_h = |w_h| |V_h|    dV_h = |w_h| V_h / |V_h|,   dw_h = |V_h| w_h / |w_h|
        L = sum_h g_h

    W (..., D, H), V (..., H, K); a gate of exactly zero gets no gradient. Our definition: learned
    connectivity (Yuan et al., 2020) puts an L1 penalty on trainable edges; one per neuron is, without new
    parameters, the group lasso on outgoing weights (Yuan and Lin, 2006).

    What it teaches: the opposite of diversification, and its baseline. Redundancy can be pruned as well
    as repaired: of two neurons with the same responses, one is closed. How a network cheats it: with
    outgoing, a ReLU network moves its scale into the incoming weights, which cost nothing; path is
    unchanged by that. Gradient descent never stays at zero: a closed gate oscillates by about the rate
    times the strength, so prune below that. Cost: a few passes over the weights.
    """

    name = "l1-gates"
    family = "weights"
    default_strength = 0.03

    gate: str = setting(
        "outgoing", choices=("outgoing", "path"), help="length of outgoing, or of both"
    )

    def __call__(self, W: Array, V: Array, step: Step) -> tuple[Array, Array, Array]:
        outgoing = xp.sqrt(xp.sum(V**2, axis=-1, keepdims=True))  # (..., H, 1)
        v = V / xp.where(outgoing > 0, outgoing, 1)
        if self.gate == "outgoing":
            return xp.sum(outgoing, axis=(-2, -1)), xp.zeros_like(W), v
        incoming = lengths(W)  # (..., 1, H)
        w = W / xp.where(incoming > 0, incoming, 1)
        value = xp.sum(incoming * outgoing.mT, axis=(-2, -1))
        return value, outgoing.mT * w, incoming.mT * v
