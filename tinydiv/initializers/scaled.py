"""Factors on any start: the control that separates scale from everything else."""

from dataclasses import dataclass

import numpy as np

from tinydiv.initializers.scheme import LayerInfo, Scheme
from tinydiv.settings import setting


@dataclass(frozen=True)
class Scaled(Scheme):
    """The start named after the @, with all weights and biases of a layer times a factor (a control of
    this project's).

        hidden layers:  W <- inner W,  b <- inner b         output layer:  V <- outer V,  c <- outer c

    Biases are scaled too: a centred pre-activation stays centred.
    """

    name = "scaled"
    inner: float = setting(1.0, above=0, help="factor on the hidden layers")
    outer: float = setting(1.0, above=0, help="factor on the output layer")

    def hidden(self, W: np.ndarray, b: np.ndarray, at: LayerInfo) -> tuple[np.ndarray, np.ndarray]:
        return W * self.inner, b * self.inner

    def output(self, W: np.ndarray, b: np.ndarray, at: LayerInfo) -> tuple[np.ndarray, np.ndarray]:
        return W * self.outer, b * self.outer
