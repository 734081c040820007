"""Techniques that keep hidden neurons diverse: one file each, registered by name.

base.py says what a technique is; framework.py what surrounds it; blocks.py holds the two gradients that
most penalties share.
"""

from tinydiv.techniques.base import (
    ActivationPenalty,
    EnsemblePenalty,
    Intervention,
    LayerTechnique,
    OutputPenalty,
    Penalty,
    Step,
    Technique,
    WeightPenalty,
)
from tinydiv.techniques.framework import Placed, Techniques, layers_of, place
from tinydiv.techniques.registry import TECHNIQUES, technique_class
from tinydiv.techniques.settings import setting

__all__ = [
    "TECHNIQUES",
    "ActivationPenalty",
    "EnsemblePenalty",
    "Intervention",
    "LayerTechnique",
    "OutputPenalty",
    "Penalty",
    "Placed",
    "Step",
    "Technique",
    "Techniques",
    "WeightPenalty",
    "layers_of",
    "place",
    "setting",
    "technique_class",
]
