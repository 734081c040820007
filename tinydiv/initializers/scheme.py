"""Base class of schemes: rules that change drawn weights, layer by layer, for all networks at once.

All of it is computed on the host in float64 and rounded once at the end, each network by itself: equal
seeds and equal probe batches give equal starts on every backend and for any number of networks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

ROUNDING = 1e-14
"""A variance below this share of the mean square of the inputs counts as rounding error."""

LEAST_VARIANCE = 1e-9
"""A direction whose variance is below this share of the largest counts as having none."""


class Inputs:
    """A layer's inputs on the probe batch: (1, N, n) shared by all networks, or (R, N, n).

    With their covariance a thousand starts are cheap: the responses Z = A W of any network have the
    covariance W' S W, so the N samples are read only once.
    """

    def __init__(self, rows: Callable[[], np.ndarray]) -> None:
        self.rows = rows

    @cached_property
    def A(self) -> np.ndarray:
        """The inputs themselves, computed on first use."""
        return self.rows()

    @cached_property
    def mean(self) -> np.ndarray:
        """The mean over the samples, (., 1, n)."""
        return np.asarray(self.A.mean(axis=-2, keepdims=True, dtype=np.float64))

    @cached_property
    def covariance(self) -> np.ndarray:
        """(A - mean)' (A - mean) / N, (., n, n)."""
        C = self.A - self.mean
        return np.asarray(C.mT @ C / C.shape[-2])

    @cached_property
    def principal(self) -> tuple[np.ndarray, np.ndarray]:
        """Variances (., n), falling, and the directions as columns (., n, n)."""
        variances, directions = np.linalg.eigh(self.covariance)
        falling = np.ascontiguousarray(directions[..., ::-1])  # products of reversed views are slow
        size = (self.mean**2).sum(axis=-1) + variances.sum(axis=-1, keepdims=True)
        noise = ROUNDING * size  # equal samples differ only by rounding errors
        return np.where(variances > noise, variances, 0)[..., ::-1], falling

    @cached_property
    def rank(self) -> int:
        """In how many directions the inputs vary (the smallest number over the networks)."""
        variances, _ = self.principal
        return int((variances > LEAST_VARIANCE * variances[..., :1]).sum(axis=-1).min())

    @cached_property
    def peak(self) -> np.ndarray:
        """The largest eigenvalue (.,) of the second moment E[a a'], the mean included."""
        second = self.covariance + self.mean.mT @ self.mean
        return np.asarray(np.linalg.eigvalsh(second)[..., -1])

    def response_covariance(self, W: np.ndarray) -> np.ndarray:
        """W' S W (., n_out, n_out): the covariance of the pre-activations of weights W."""
        return np.asarray(W.mT @ (self.covariance @ W))


@dataclass
class LayerInfo:
    """What a scheme can read about one layer of some networks."""

    rngs: list[np.random.Generator]
    """One generator per network, after the base draw of the whole network."""
    bare: bool
    """Whether the spec named no base: only then may a scheme choose the scale."""
    layer: int = 0
    """Which of the network's layers this is, from 0."""
    depth: int = 1
    """How many layers the network has, the output layer included."""
    outputs: int = 1
    """How many outputs the network has."""
    inputs: Inputs | None = None
    """This layer's inputs, for schemes that need data."""
    first: Inputs | None = None
    """The network's inputs."""

    @property
    def seen(self) -> Inputs:
        """The inputs, for schemes whose needs_data is true."""
        assert self.inputs is not None
        return self.inputs


class Scheme:
    """A rule with its settings; subclasses are frozen dataclasses, settings their fields.

    Arrays carry a leading axis of networks: W (R, n_in, n_out), b (R, 1, n_out).
    """

    name = ""
    base = "he-normal"
    """Its base where the spec names none."""

    @property
    def needs_data(self) -> bool:
        """Whether it reads a probe batch."""
        return False

    def hidden(self, W: np.ndarray, b: np.ndarray, at: LayerInfo) -> tuple[np.ndarray, np.ndarray]:
        """New weights and biases of a hidden layer."""
        return W, b

    def output(self, W: np.ndarray, b: np.ndarray, at: LayerInfo) -> tuple[np.ndarray, np.ndarray]:
        """New weights and biases of the output layer: the base's own, unless a scheme changes them."""
        return W, b


# Pieces that several schemes share ---------------------------------------------------------------


class DataScheme(Scheme):
    """A scheme that needs a probe batch."""

    @property
    def needs_data(self) -> bool:
        return True


def centring_bias(W: np.ndarray, inputs: Inputs) -> np.ndarray:
    """b = -(mean of the inputs) W: every pre-activation has mean 0 on the batch."""
    return np.asarray(-(inputs.mean @ W))


def norms(W: np.ndarray) -> np.ndarray:
    """The norm of every neuron's incoming weights, (., 1, n_out)."""
    return np.asarray(np.linalg.norm(W, axis=-2, keepdims=True))


def with_norms(W: np.ndarray, wanted: np.ndarray, instead: np.ndarray) -> np.ndarray:
    """The columns of W at the wanted norms; where a column is zero, that of `instead`."""
    return rescaled(W, norms(W), wanted, instead)


def rescaled(
    W: np.ndarray, found: np.ndarray, wanted: np.ndarray | float, instead: np.ndarray
) -> np.ndarray:
    """W scaled so that the size found becomes the wanted one; where it was 0, `instead`."""
    return np.where(found > 0, W * (wanted / np.where(found > 0, found, 1)), instead)


def directions(W: np.ndarray) -> np.ndarray:
    """The columns of W at norm 1 (a column of zeros stays zero)."""
    return with_norms(W, np.ones(()), W)


def reduced(U: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """U = Q R with orthonormal Q (n_in, r) and small R (r, n_out), r = min(n_in, n_out).

    What depends only on inner products can be computed on R, whose columns have the same inner products.
    Signs are fixed by a positive diagonal of R: with normal draws, Q is then a Haar rotation (Mezzadri,
    2007).
    """
    Q, R = np.linalg.qr(U)
    signs = np.where(np.diagonal(R, axis1=-2, axis2=-1) < 0, -1.0, 1.0)
    return Q * signs[..., None, :], R * signs[..., :, None]


def polar(U: np.ndarray) -> np.ndarray:
    """The nearest matrix with orthonormal columns (n_in >= n_out) or rows: U (U'U)^{-1/2}."""
    left, values, right = np.linalg.svd(U, full_matrices=False)
    present = values > 1e-7 * values[..., :1]
    return np.asarray((left * present[..., None, :]) @ right)


def inverse_root(S: np.ndarray) -> np.ndarray:
    """S^{-1/2} of symmetric S >= 0 (., h, h); directions without variance give 0, not 1/0."""
    variances, U = np.linalg.eigh(S)
    present = variances > LEAST_VARIANCE * np.maximum(variances[..., -1:], 0)
    root = np.where(present, 1 / np.sqrt(np.where(present, variances, 1)), 0)
    return np.asarray((U * root[..., None, :]) @ U.mT)
