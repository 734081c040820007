"""The reverse of the penalty `pearson`: it rewards correlated neurons, and cannot run away.

L = 1 - (mean squared correlation of two hidden neurons), between 0 and 1
"""

from typing import ClassVar

from tinydiv.backend import Array
from tinydiv.techniques.base import Step
from tinydiv.techniques.pearson import Pearson


class Alike(Pearson):
    """1 - Pearson's penalty: hidden neurons are made more alike (the other side of the dose)."""

    name: ClassVar[str] = "alike"
    summary: ClassVar[str] = "one minus the squared correlation between hidden neurons"
    paper: ClassVar[str] = "the reverse of Bao et al., 2013"

    def __call__(self, A: Array, step: Step) -> tuple[Array, Array]:
        value, dA = super().__call__(A, step)
        return 1 - value, -dA
