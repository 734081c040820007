"""Decorrelated batch normalisation: whitening by eigenvectors, with a backward that is stable for equal
eigenvalues."""

from tinydiv.backend import Array, matmul, xp
from tinydiv.techniques.whitening import Whitening


class ZCANorm(Whitening):
    """Whiten pre-activations by S^(-1/2), the least change that decorrelates (Huang, Yang, Lang and Deng,
    CVPR 2018).

        S = U diag(l) U',   M = U diag(l^-1/2) U'
        backward of M:   K_ij = -1 / (sqrt(l_i l_j) (sqrt(l_i) + sqrt(l_j)))
                         gS = U (K * (U' sym(gM) U)) U'

    Forward: M = f(S) with f(l) = l^-1/2 on every eigenvalue. In the basis U a change of S changes M in
    two ways, and K has both:

        1. eigenvalues move (i = j):    K_ii = f'(l_i) = -1/2 l_i^-3/2
        2. eigenvectors turn (i != j):  K_ij = (f(l_i) - f(l_j)) / (l_i - l_j), which is the formula above

    S (..., H, H) with eps on its diagonal. The usual backward through eigenvectors divides by
    l_i - l_j; for a function of the whole matrix those poles cancel, and K is what is left: repeated
    eigenvalues are no problem. Cost: an H x H eigendecomposition, 5 products of N H^2, 5 of H^3.
    """

    name = "zca-norm"

    def matrix(self, S: Array) -> tuple[Array, Array]:
        values, U = xp.linalg.eigh(S)
        roots = xp.sqrt(xp.maximum(values, self.eps / 2))[..., None, :]  # (..., 1, H)
        return matmul(U / roots, U.mT), (U, roots)

    def back(self, gM: Array, cache: Array) -> Array:
        U, roots = cache
        K = -1 / (roots.mT * roots * (roots.mT + roots))
        inner = matmul(matmul(U.mT, (gM + gM.mT) / 2), U)
        return matmul(matmul(U, K * inner), U.mT)
