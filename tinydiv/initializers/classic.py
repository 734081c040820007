"""The base draws: random weights whose scale depends only on the layer's size.

Drawn in float64 on the host and rounded once, so a float32 network starts at the rounded values of the
float64 one, on every backend. n_in and n_out are a layer's inputs and outputs; Z = A W + b.
"""

from collections.abc import Callable

import numpy as np

Draw = Callable[[np.random.Generator, int, int], tuple[np.ndarray, np.ndarray]]
"""(rng, n_in, n_out) -> W (n_in, n_out), b (1, n_out)"""


def normal(
    rng: np.random.Generator, n_in: int, n_out: int, variance: float
) -> tuple[np.ndarray, np.ndarray]:
    """W ~ N(0, variance), b = 0."""
    return rng.standard_normal((n_in, n_out)) * variance**0.5, np.zeros((1, n_out))


def uniform(
    rng: np.random.Generator, n_in: int, n_out: int, variance: float
) -> tuple[np.ndarray, np.ndarray]:
    """W ~ U(-a, a) with a^2 / 3 = variance, b = 0."""
    a = (3 * variance) ** 0.5
    return rng.uniform(-a, a, (n_in, n_out)), np.zeros((1, n_out))


def he_normal(rng: np.random.Generator, n_in: int, n_out: int) -> tuple[np.ndarray, np.ndarray]:
    """N(0, 2/n_in), biases 0 (He, Zhang, Ren and Sun, ICCV 2015)."""
    return normal(rng, n_in, n_out, 2 / n_in)


def he_uniform(rng: np.random.Generator, n_in: int, n_out: int) -> tuple[np.ndarray, np.ndarray]:
    """Uniform of variance 2/n_in, biases 0 (He, Zhang, Ren and Sun, ICCV 2015)."""
    return uniform(rng, n_in, n_out, 2 / n_in)


def glorot_normal(rng: np.random.Generator, n_in: int, n_out: int) -> tuple[np.ndarray, np.ndarray]:
    """N(0, 2/(n_in + n_out)), biases 0 (Glorot and Bengio, AISTATS 2010)."""
    return normal(rng, n_in, n_out, 2 / (n_in + n_out))


def glorot_uniform(
    rng: np.random.Generator, n_in: int, n_out: int
) -> tuple[np.ndarray, np.ndarray]:
    """Uniform of variance 2/(n_in + n_out), biases 0 (Glorot and Bengio, AISTATS 2010)."""
    return uniform(rng, n_in, n_out, 2 / (n_in + n_out))


def lecun_normal(rng: np.random.Generator, n_in: int, n_out: int) -> tuple[np.ndarray, np.ndarray]:
    """N(0, 1/n_in), biases 0 (LeCun, Bottou, Orr and Mueller, 1998)."""
    return normal(rng, n_in, n_out, 1 / n_in)


def lecun_uniform(rng: np.random.Generator, n_in: int, n_out: int) -> tuple[np.ndarray, np.ndarray]:
    """Uniform of variance 1/n_in, biases 0 (LeCun, Bottou, Orr and Mueller, 1998)."""
    return uniform(rng, n_in, n_out, 1 / n_in)


def pytorch(rng: np.random.Generator, n_in: int, n_out: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights and biases uniform within 1/sqrt(n_in): torch.nn.Linear's default (PyTorch, torch.nn.Linear).

    Their variance is 1/(3 n_in).
    """
    a = n_in**-0.5
    return rng.uniform(-a, a, (n_in, n_out)), rng.uniform(-a, a, (1, n_out))


BASES: dict[str, Draw] = {
    draw.__name__.replace("_", "-"): draw
    for draw in (
        *(he_normal, he_uniform, glorot_normal, glorot_uniform, lecun_normal, lecun_uniform),
        pytorch,
    )
}
"""Every base draw by name; its docstring describes it and names its paper."""
