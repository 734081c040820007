"""IterNorm: whitening by a few products, no decomposition."""

from tinydiv.backend import Array, matmul, xp
from tinydiv.settings import setting
from tinydiv.techniques.whitening import Whitening


class IterNorm(Whitening):
    """Whiten pre-activations by Newton's iteration for S^(-1/2) (Huang, Zhou, Zhu, Liu and Shao, CVPR
    2019).

        t = tr S,  N = S / t,  P_0 = I;   P_{k+1} = 1.5 P_k - 0.5 P_k^3 N;   M = P_T / sqrt(t)
        backward of M:   Q = gM / sqrt(t),  gN = 0;   for k = T-1 ... 0, with P = P_k:
            gN -= 0.5 (P^3)' Q
            Q  <- 1.5 Q - 0.5 (Q N' (P^2)' + P' Q N' P' + (P^2)' Q N')
        gt = -<gM, P_T> / (2 t^1.5) - <gN, S> / t^2;    gS = gN / t + gt I

    One step forward: P_{k+1} = 1.5 P - 0.5 P P P N, with Q = dL/dP_{k+1}. It has five parts backward:

        1. through the P of 1.5 P:      1.5 Q
        2. through the first P:         -0.5 Q N' P' P'   = -0.5 Q N' (P^2)'
        3. through the second P:        -0.5 P' Q N' P'
        4. through the third P:         -0.5 P' P' Q N'   = -0.5 (P^2)' Q N'
        5. through N, added to gN:      -0.5 (P^3)' Q

    S enters N = S / t directly (gN / t), and through its trace t twice, in M = P_T / sqrt(t) and in N
    (the two terms of gt; dt/dS = I).

    S (..., H, H) with eps on its diagonal. Directions of large variance are whitened first; after T = 5
    small ones are not fully whitened, which amplifies noise less than zca-norm. Beyond T = 7 rounding
    errors grow.
    Cost: 3 T products of H^3 forward, 8 T backward.
    """

    name = "iter-norm"

    iterations: int = setting(5, low=1, high=7, help="T, Newton's steps")

    def matrix(self, S: Array) -> tuple[Array, Array]:
        identity = xp.eye(S.shape[-1], dtype=S.dtype)
        t = (S * identity).sum(axis=(-2, -1), keepdims=True)
        N = S / t
        P = [xp.zeros_like(S) + identity]
        for _ in range(self.iterations):
            P.append(1.5 * P[-1] - 0.5 * matmul(matmul(P[-1], matmul(P[-1], P[-1])), N))
        return P[-1] / xp.sqrt(t), (S, N, P, t)

    def back(self, gM: Array, cache: Array) -> Array:
        S, N, P, t = cache
        Q, gN = gM / xp.sqrt(t), xp.zeros_like(S)
        for Pk in reversed(P[:-1]):
            square = matmul(Pk, Pk)
            gN -= 0.5 * matmul(matmul(square, Pk).mT, Q)
            QN = matmul(Q, N.mT)
            around = matmul(matmul(Pk.mT, QN), Pk.mT)
            Q = 1.5 * Q - 0.5 * (matmul(QN, square.mT) + around + matmul(square.mT, QN))
        gt = -(gM * P[-1]).sum(axis=(-2, -1), keepdims=True) / (2 * t**1.5)
        gt = gt - (gN * S).sum(axis=(-2, -1), keepdims=True) / t**2
        return gN / t + gt * xp.eye(S.shape[-1], dtype=S.dtype)
