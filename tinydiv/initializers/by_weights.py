"""Schemes that read only the weights. None changes biases, and all keep every neuron's norm.

U are the weights of a layer with each neuron (column) at norm 1, U' U their cosines. With D inputs, two
random directions have an expected |cosine| of sqrt(2 / (pi D)), .0285 at D = 784: there these schemes
have almost nothing left to remove.
"""

from dataclasses import dataclass

import numpy as np

from tinydiv.initializers.scheme import (
    LayerInfo,
    Scheme,
    directions,
    norms,
    polar,
    reduced,
    with_norms,
)
from tinydiv.settings import setting


@dataclass(frozen=True)
class Orthogonal(Scheme):
    """Orthogonal columns by Gram-Schmidt from the draw (Saxe, McClelland and Ganguli, ICLR 2014).

        W = Q n,   base draw = Q R, diagonal of R positive, n the base's norms

    More neurons than inputs: independent blocks, each orthogonal in itself. Keeps norms, biases and
    outgoing weights of its base. With no base named, every layer is orthogonal, the output layer too,
    hidden neurons at norm `gain` and outputs at norm 1: the paper's own scale.
    """

    name = "orthogonal"
    gain: float = setting(1.0, above=0, help="norm of a hidden neuron where no base is named")

    def hidden(self, W: np.ndarray, b: np.ndarray, at: LayerInfo) -> tuple[np.ndarray, np.ndarray]:
        wanted = np.full((1, 1, 1), self.gain) if at.bare else norms(W)
        return orthogonal_blocks(W) * wanted, b

    def output(self, W: np.ndarray, b: np.ndarray, at: LayerInfo) -> tuple[np.ndarray, np.ndarray]:
        return (orthogonal_blocks(W) if at.bare else W), b


def orthogonal_blocks(W: np.ndarray) -> np.ndarray:
    """Orthonormal columns, in blocks of at most n_in."""
    n_in, n_out = W.shape[-2:]
    starts = range(0, n_out, n_in)
    return np.concatenate([reduced(W[..., s : s + n_in])[0] for s in starts], axis=-1)


@dataclass(frozen=True)
class Lowdin(Scheme):
    """The orthogonal frame that is nearest to the draw, all neurons alike (Loewdin, J. Chem. Phys. 18,
    1950).

        P = U (U'U)^{-1/2}  (H <= D),   (UU')^{-1/2} U  (H > D)
        W = n direction of (mix P + (1 - mix) U)

    Keeps norms, biases and outgoing weights of its base. Gram-Schmidt keeps the first neuron and changes
    the last one most; this treats all alike. For H > D it gives a tight frame, before the norms are
    restored.
    """

    name = "lowdin"
    mix: float = setting(1.0, low=0, high=1, help="share of the frame; the rest is the draw")

    def hidden(self, W: np.ndarray, b: np.ndarray, at: LayerInfo) -> tuple[np.ndarray, np.ndarray]:
        U = directions(W)
        Q, R = reduced(U)
        return with_norms(self.mix * (Q @ polar(R)) + (1 - self.mix) * U, norms(W), W), b


@dataclass(frozen=True)
class CosineDescent(Scheme):
    """Some steps of gradient descent on the squared cosines between neurons, from the draw (the frame
    potential: Benedetto and Fickus, 2003).

        L = sum_{i != j} cos_ij^2 / 2,   U <- direction of (U - rate U off(U'U))

    Keeps norms, biases and outgoing weights of its base. The steps stay in the span of the draw, so
    they are taken on the small factor R of U = Q R. The rate is divided by H / D where H > D.
    """

    name = "cosine-descent"
    steps: int = setting(60, low=0, high=100_000, help="how many steps")
    rate: float = setting(0.2, above=0, high=0.5, help="length of a step")

    def hidden(self, W: np.ndarray, b: np.ndarray, at: LayerInfo) -> tuple[np.ndarray, np.ndarray]:
        Q, R = reduced(directions(W))
        n_in, n_out = R.shape[-2:]
        rate, eye = self.rate / max(1.0, n_out / n_in), np.eye(n_out)
        for _ in range(self.steps):
            G = R.mT @ R
            R = directions(R - rate * (R @ (G * (1 - eye))))
        return with_norms(Q @ R, norms(W), W), b


@dataclass(frozen=True)
class Simplex(Scheme):
    """Neurons as far apart as possible: a regular simplex, or a tight frame (tight frames: Tropp, Dhillon,
    Heath and Strohmer, 2005).

        H <= D + 1:  cos_ij = -1 / (H - 1) for every pair, in a random position
        H >  D + 1:  U U' = (H / D) I, by alternating between the nearest frame and norms 1

    Keeps norms, biases and outgoing weights of its base. No lower mean signed cosine exists.
    """

    name = "simplex"
    rounds: int = setting(100, low=1, high=10_000, help="alternations towards the tight frame")

    def hidden(self, W: np.ndarray, b: np.ndarray, at: LayerInfo) -> tuple[np.ndarray, np.ndarray]:
        n_in, n_out = W.shape[-2:]
        if n_out == 1:
            return W, b
        if n_out <= n_in + 1:
            Q, _ = reduced(W[..., : n_out - 1])
            return with_norms(Q @ simplex_corners(n_out), norms(W), W), b
        U = directions(W)
        for _ in range(self.rounds):
            U = directions(polar(U))
        return with_norms(U, norms(W), W), b


def simplex_corners(n: int) -> np.ndarray:
    """n corners of a regular simplex as columns (n - 1, n): row i is (1, ..., 1, -i, 0, ...), scaled."""
    B = np.tri(n - 1, n) - np.diag(np.arange(1.0, n), 1)[: n - 1]
    return np.asarray(B / np.linalg.norm(B, axis=1, keepdims=True))


@dataclass(frozen=True)
class Adversarial(Scheme):
    """The control: all neurons share one direction, so that they start as near copies (a control of this
    project's).

        U_h = shared u + sqrt(1 - shared^2) v_h,   u random, v_h the draw's part orthogonal to u

    Keeps norms, biases and outgoing weights of its base. If diversity helps, this start must be worse than
    the others.
    """

    name = "adversarial"
    shared: float = setting(
        0.99, low=0, high=1, help="cosine of each neuron to the shared direction"
    )

    def hidden(self, W: np.ndarray, b: np.ndarray, at: LayerInfo) -> tuple[np.ndarray, np.ndarray]:
        n_in = W.shape[-2]
        u = directions(np.stack([rng.standard_normal((n_in, 1)) for rng in at.rngs]))
        own = directions(W - u @ (u.mT @ W))
        U = self.shared * u + (1 - self.shared**2) ** 0.5 * own
        return with_norms(U, norms(W), W), b
