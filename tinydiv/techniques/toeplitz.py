"""Toeplitz weights, an exhibit: imposed redundancy, to show what it costs."""

from tinydiv.backend import Array, xp
from tinydiv.mlp import MLP
from tinydiv.techniques.base import Intervention, Step


class Toeplitz(Intervention):
    """Every neuron is the one before it, shifted by one input (after Araujo, Building Compact and Robust
    Networks, 2021).

        W[d, h] = t[d - h]                   D + H - 1 numbers in place of D H
        dL/dt[k] = sum over d - h = k of dW[d, h],   and every W[d, h] gets dL/dt[d - h]

    W (..., D, H). The start keeps the drawn first row and column; equal entries with equal gradients stay
    equal under every optimizer. So the sharing is exact at every step, and the step is that of the shared
    numbers t (an optimizer whose step grows with the gradient sees sums over
    up to H entries: with sgd a smaller rate fits).
    The opposite of diversity: neurons may differ by a shift and by their bias, by nothing else.
    """

    name = "toeplitz"
    family = "exhibits"
    invariant = "W[d, h] depends on d - h alone, to the last bit"
    in_every_step = True

    def prepare(self, net: MLP, layer: int, probe_inputs: Array | None) -> None:
        W = net.W[layer - 1]
        row, column = W[..., 0, :], W[..., :, 0]
        W[...] = spread(xp.concatenate([row[..., :0:-1], column], axis=-1), *W.shape[-2:])

    def edit(self, step: Step, layer: int, mask: Array | None) -> None:
        dW = step.net.dW[layer - 1]
        dW[...] = spread(diagonal_sums(dW), *dW.shape[-2:])


def diagonal_sums(M: Array) -> Array:
    """Sums over d - h = k, (..., D, H) -> (..., D + H - 1), from k = -(H - 1) to D - 1.

    Neuron H - 1 - h, followed by H zeros: read in rows that are one shorter, every neuron is one place
    further to the right than the one above it, so diagonals become columns.
    """
    *lead, D, H = M.shape
    rows = xp.zeros((*lead, H, D + H), dtype=M.dtype)
    rows[..., :D] = M.mT[..., ::-1, :]
    flat = rows.reshape(*lead, H * (D + H))[..., : H * (D + H - 1)]
    return xp.sum(flat.reshape(*lead, H, D + H - 1), axis=-2)


def spread(t: Array, D: int, H: int) -> Array:
    """The Toeplitz matrix (..., D, H) of t (..., D + H - 1)."""
    return t[..., xp.arange(D)[:, None] - xp.arange(H)[None, :] + (H - 1)]
