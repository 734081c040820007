"""The work that every contender does: the same start, batches, loss and update.

Images of bytes are gathered by the order of an epoch and scaled to [0, 1], batch after batch, as in
training; R networks see the same batches. A contender is a class with steps(n), which takes the next n
steps and gives their losses (n, R).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from tinydiv.initializers import initialize
from tinydiv.mlp import MLP

Floats = npt.NDArray[np.floating]
IMAGES = 4096
"""How many images the set has: enough that an image has left the cache before it is used again."""
RATES = {"adam": 1e-3, "sgd": 0.1}


@dataclass(frozen=True)
class Job:
    """One line of the table: number and sizes of the networks, and how they are trained."""

    replicas: int
    sizes: tuple[int, ...] = (784, 16, 10)
    batch: int = 64
    optimizer: str = "adam"
    technique: str = ""
    """One that acts in every step, at its usual settings; "" for none."""
    dtype: str = "float32"
    """Of the arithmetic. Times are of float32; float64 is used to compare the losses."""
    samples: int = IMAGES

    @property
    def rate(self) -> float:
        """The learning rate."""
        return RATES[self.optimizer]

    @cached_property
    def images(self) -> npt.NDArray[np.uint8]:
        """(samples, n_0) bytes of which a fifth is not 0, as in pictures of clothes and digits."""
        rng = np.random.default_rng(0)
        shape = (self.samples, self.sizes[0])
        return (rng.integers(1, 256, shape) * (rng.random(shape) < 0.2)).astype(np.uint8)

    @cached_property
    def labels(self) -> npt.NDArray[np.int64]:
        """(samples,) classes."""
        return np.random.default_rng(1).integers(0, self.sizes[-1], self.samples)

    @cached_property
    def order(self) -> npt.NDArray[np.int64]:
        """(steps, batch): which images each step takes; after the last step the first one is repeated."""
        rows = np.random.default_rng(2).permutation(self.samples)
        steps = self.samples // self.batch
        return rows[: steps * self.batch].reshape(steps, self.batch)

    @cached_property
    def start(self) -> tuple[list[Floats], list[Floats]]:
        """W (R, n_in, n_out) and b (R, 1, n_out) of every layer, drawn by he-normal."""
        net = MLP(self.sizes, replicas=self.replicas, dtype=self.dtype)
        initialize(net, "he-normal", seed=0)
        return [np.array(W) for W in net.W], [np.array(b) for b in net.b]

    @property
    def parameters(self) -> int:
        """Weights and biases of one network."""
        return sum((n + 1) * m for n, m in zip(self.sizes, self.sizes[1:], strict=False))

    @property
    def flops(self) -> int:
        """Of one network's products in a step: forward, and backward without the inputs' gradient."""
        products = [
            2 * self.batch * n * m for n, m in zip(self.sizes, self.sizes[1:], strict=False)
        ]
        return 3 * sum(products) - products[0]
