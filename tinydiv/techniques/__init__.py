"""Techniques that keep hidden neurons diverse: one file each, registered by name.

base.py defines what a technique is; framework.py runs them; cost.py counts what a technique costs beside
a plain step. The gradients that most penalties share stand in tinydiv/similarity.py.
"""

from tinydiv.settings import setting
from tinydiv.techniques.base import (
    ActivationPenalty,
    EnsemblePenalty,
    Intervention,
    LayerTechnique,
    NeuronPenalty,
    OutputPenalty,
    Penalty,
    Step,
    Technique,
    TwoViewPenalty,
    WeightPenalty,
)
from tinydiv.techniques.framework import Techniques
from tinydiv.techniques.placing import Placed, layers_of, place
from tinydiv.techniques.registry import TECHNIQUES, technique_class

__all__ = [
    "TECHNIQUES",
    "ActivationPenalty",
    "EnsemblePenalty",
    "Intervention",
    "LayerTechnique",
    "NeuronPenalty",
    "OutputPenalty",
    "Penalty",
    "Placed",
    "Step",
    "Technique",
    "Techniques",
    "TwoViewPenalty",
    "WeightPenalty",
    "layers_of",
    "place",
    "setting",
    "technique_class",
]
