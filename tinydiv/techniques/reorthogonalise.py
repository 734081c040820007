"""Re-orthogonalise: every k steps the neurons move towards the nearest set of orthogonal vectors."""

from tinydiv.backend import Array, matmul, xp
from tinydiv.errors import UsageError
from tinydiv.mlp import MLP
from tinydiv.settings import setting
from tinydiv.similarity import cosines, lengths
from tinydiv.techniques.base import Intervention, Step


def newton_schulz(Y: Array, iterations: int) -> Array:
    """Y <- 1.5 Y - 0.5 Y Y'Y: singular values between 0 and sqrt(3) go to 1, zero stays zero."""
    for _ in range(iterations):
        Y = 1.5 * Y - 0.5 * matmul(Y, matmul(Y.mT, Y))
    return Y


def nearest_frame(U: Array, iterations: int) -> Array:
    """U (U'U)^-1/2 of U (..., D, H), H <= D: the orthonormal columns nearest to U (Loewdin, 1950).

        Y = U / |U|;   Y <- 1.5 Y - 0.5 Y Y'Y       (Newton-Schulz: singular values go to 1)

    From Y = U / |U| every singular value lies in (0, 1] and grows, by 1.5 a step at first; started at U
    itself, the iteration gives a wrong result, without an error, if a singular value exceeds sqrt(3).

    Linearly dependent columns (equal ones, for example) have singular values of zero, which stay zero: Q'Q
    is then a projection, and P = I - Q'Q projects on what is missing. Fixed irregular columns E are added
    there, orthogonal to Q:

        Q <- (E - Q Q'E) P + Q, and then the same iteration
    """
    D, H = U.shape[-2:]
    size = xp.sqrt(xp.sum(U**2, axis=(-2, -1), keepdims=True))
    Q = newton_schulz(U / xp.maximum(size, xp.finfo(U.dtype).tiny), iterations)
    P = xp.eye(H, dtype=U.dtype) - matmul(Q.mT, Q)
    lacks = xp.sum(P * P, axis=(-2, -1), keepdims=True) > 0.1
    E = xp.sin(xp.arange(D * H, dtype=U.dtype) ** 1.5).reshape(D, H) * (2 / D) ** 0.5
    filled = newton_schulz(Q + matmul(E - matmul(Q, matmul(Q.mT, E)), P), iterations)
    return xp.where(lacks, filled, Q)


class Reorthogonalise(Intervention):
    """Periodic re-orthogonalisation of incoming weights, lengths kept (after Loewdin, 1950, and Bansal et
    al., NeurIPS 2018).

        U = W / n;   Q = U (U'U)^-1/2 by Newton-Schulz
        W <- (1 - kappa) W + kappa n Q;   then every neuron gets its old length n_h back

    W (..., D, H), H <= D. At kappa = 1 the neurons are orthogonal afterwards; below, each moves a part
    of the way. Q is the frame nearest to U, so no neuron moves farther than it must.
    After Loewdin (1950); Bansal et al. (NeurIPS 2018) aim at the same by a penalty.
    Cost, every `every` steps: 2 * iterations products of D H^2.
    """

    name = "reorthogonalise"
    family = "interventions"
    invariant = (
        "the length of every neuron's weights; at kappa = 1 the weights are orthogonal afterwards"
    )
    default_every = 50

    kappa: float = setting(1.0, above=0, high=1, help="how far to go, 1 is all the way")
    iterations: int = setting(20, low=8, high=40, help="Newton-Schulz steps")

    def prepare(self, net: MLP, layer: int, probe_inputs: Array | None) -> None:
        refuse_wide(self.name, net, layer)

    def move(self, step: Step, layer: int, mask: Array | None) -> None:
        W = step.net.W[layer - 1]
        c = cosines(W)
        Q = nearest_frame(c.U, self.iterations)
        moved = (1 - self.kappa) * c.U + self.kappa * Q
        moved = c.n * moved / xp.maximum(lengths(moved), xp.finfo(W.dtype).tiny)
        new = xp.where(c.alive > 0, moved, W)
        W[...] = new if mask is None else xp.where(mask[..., None, None], new, W)


def refuse_wide(name: str, net: MLP, layer: int) -> None:
    """Raise UsageError where a layer has more neurons than inputs: they cannot all be orthogonal."""
    D, H = net.sizes[layer - 1], net.sizes[layer]
    if H > D:
        raise UsageError(
            f"{name} makes neurons orthogonal, and {H} neurons cannot be with {D} inputs: choose "
            f"layers with at most as many neurons as inputs (layers=...)"
        )
