"""The base draws: random weights whose scale depends on the layer's size alone.

Drawn in float64 on the host and rounded once, so a float32 network starts at the rounded values of the
float64 one, on every backend. n_in and n_out are a layer's inputs and outputs; Z = A W + b.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Draw = Callable[[np.random.Generator, int, int], tuple[np.ndarray, np.ndarray]]
"""(rng, n_in, n_out) -> W (n_in, n_out), b (1, n_out)"""


@dataclass(frozen=True)
class Base:
    """A base draw with its name, one line and its paper."""

    name: str
    summary: str
    paper: str
    draw: Draw


def normal(variance: Callable[[int, int], float]) -> Draw:
    """W ~ N(0, variance(n_in, n_out)), b = 0."""

    def draw(rng: np.random.Generator, n_in: int, n_out: int) -> tuple[np.ndarray, np.ndarray]:
        W = rng.standard_normal((n_in, n_out)) * variance(n_in, n_out) ** 0.5
        return W, np.zeros((1, n_out))

    return draw


def uniform(variance: Callable[[int, int], float]) -> Draw:
    """W ~ U(-a, a) with a^2 / 3 = variance(n_in, n_out), b = 0."""

    def draw(rng: np.random.Generator, n_in: int, n_out: int) -> tuple[np.ndarray, np.ndarray]:
        a = (3 * variance(n_in, n_out)) ** 0.5
        return rng.uniform(-a, a, (n_in, n_out)), np.zeros((1, n_out))

    return draw


def pytorch_linear(
    rng: np.random.Generator, n_in: int, n_out: int
) -> tuple[np.ndarray, np.ndarray]:
    """torch.nn.Linear's default: W and b ~ U(-1/sqrt(n_in), 1/sqrt(n_in)), a variance of 1/(3 n_in)."""
    a = n_in**-0.5
    return rng.uniform(-a, a, (n_in, n_out)), rng.uniform(-a, a, (1, n_out))


def he(n_in: int, n_out: int) -> float:
    return 2 / n_in


def glorot(n_in: int, n_out: int) -> float:
    return 2 / (n_in + n_out)


def lecun(n_in: int, n_out: int) -> float:
    return 1 / n_in


HE = "He, Zhang, Ren and Sun, ICCV 2015"
GLOROT = "Glorot and Bengio, AISTATS 2010"
LECUN = "LeCun, Bottou, Orr and Mueller, 1998"

BASES: dict[str, Base] = {
    base.name: base
    for base in (
        Base("he-normal", "N(0, 2/n_in), biases 0", HE, normal(he)),
        Base("he-uniform", "uniform of variance 2/n_in, biases 0", HE, uniform(he)),
        Base("glorot-normal", "N(0, 2/(n_in + n_out)), biases 0", GLOROT, normal(glorot)),
        Base(
            "glorot-uniform",
            "uniform of variance 2/(n_in + n_out), biases 0",
            GLOROT,
            uniform(glorot),
        ),
        Base("lecun-normal", "N(0, 1/n_in), biases 0", LECUN, normal(lecun)),
        Base("lecun-uniform", "uniform of variance 1/n_in, biases 0", LECUN, uniform(lecun)),
        Base(
            "pytorch",
            "weights and biases uniform within 1/sqrt(n_in): torch.nn.Linear's default",
            "PyTorch, torch.nn.Linear",
            pytorch_linear,
        ),
    )
}
"""Every base draw by name."""
