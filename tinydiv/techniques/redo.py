"""ReDo: dormant neurons are recycled."""

from tinydiv.backend import Array
from tinydiv.settings import setting
from tinydiv.similarity import dormancy
from tinydiv.techniques.base import Intervention, Step
from tinydiv.techniques.recycling import recycle

STREAM = 1000
"""Added to the layer's number: draws that no other technique uses."""


class ReDo(Intervention):
    """Recycle dormant neurons (Sokar, Agarwal, Castro and Evci, ICML 2023).

        score_h = mean_n |a_nh| / mean_k mean_n |a_nk|;          dormant where score_h <= tau
        w_h <- new random weights;   b_h <- - mean(X w_h);   V_h <- 0;   moments <- 0

    A (..., N, H) on the probe set. New weights are as long as the layer's usually are; the bias is
    ours (theirs starts at zero): with it no recycled ReLU neuron is dead at first. At tau = 0 only silent
    neurons are dormant and no output changes; above, outputs lose what dormant neurons contributed. Cost,
    every `every` steps: a forward pass on the probe set.
    """

    name = "redo"
    family = "interventions"
    invariant = (
        "the outputs on the probe set, but for what dormant neurons contributed: exactly at tau = 0; "
        "afterwards no neuron of the layer is dormant for good"
    )
    default_every = 100

    tau: float = setting(0.025, low=0, high=0.999, help="largest score of a dormant neuron")

    def move(self, step: Step, layer: int, mask: Array | None) -> None:
        dormant = dormancy(step.probe().A[layer]) <= self.tau
        if mask is not None:
            dormant = dormant & mask[..., None]
        recycle(step, layer, dormant, STREAM)
