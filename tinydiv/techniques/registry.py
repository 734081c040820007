"""Every technique by name, and your own by the path of their file."""

import hashlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from tinydiv.errors import UsageError, nearest, unknown
from tinydiv.techniques.barlow import Barlow
from tinydiv.techniques.base import Technique
from tinydiv.techniques.batch_norm import BatchNorm
from tinydiv.techniques.cayley import Cayley
from tinydiv.techniques.class_decov import ClassDeCov
from tinydiv.techniques.coherence import Coherence
from tinydiv.techniques.consensus import Consensus
from tinydiv.techniques.continual_backprop import ContinualBackprop
from tinydiv.techniques.contributions import ContributionCoherence, ContributionGram
from tinydiv.techniques.cosine import CosineSquared
from tinydiv.techniques.decorrelated_inputs import DecorrelatedInputs
from tinydiv.techniques.decov import DeCov
from tinydiv.techniques.dropout import Dropout
from tinydiv.techniques.gradient_projection import GradientProjection
from tinydiv.techniques.grow import GradMax, Grow, Net2Net, ResidualFitting
from tinydiv.techniques.hyperspherical_energy import HypersphericalEnergy
from tinydiv.techniques.iter_norm import IterNorm
from tinydiv.techniques.l1_gates import L1Gates
from tinydiv.techniques.learned_size import LearnedSize
from tinydiv.techniques.local_alignment import LocalAlignment
from tinydiv.techniques.logdet import LogdetCorrelation, LogdetWeights
from tinydiv.techniques.merge_recycle import MergeRecycle
from tinydiv.techniques.muon import Muon
from tinydiv.techniques.negative_correlation import NegativeCorrelation
from tinydiv.techniques.orthogonal_gradient import OrthogonalGradient
from tinydiv.techniques.orthogonal_noise import OrthogonalNoise
from tinydiv.techniques.orthoreg import OrthoReg
from tinydiv.techniques.pearson import MeanAbsPearson, Pearson
from tinydiv.techniques.redo import ReDo
from tinydiv.techniques.reorthogonalise import Reorthogonalise
from tinydiv.techniques.shared_direction import SharedDirection
from tinydiv.techniques.size_loss import SizeLoss
from tinydiv.techniques.size_mask import SizeMask
from tinydiv.techniques.soft_orthogonality import SRIP, SoftOrthogonality
from tinydiv.techniques.spanning_tree import SpanningTree
from tinydiv.techniques.spectral_decoupling import SpectralDecoupling
from tinydiv.techniques.toeplitz import Toeplitz
from tinydiv.techniques.vicreg import VICReg
from tinydiv.techniques.wld_reg import WLDReg
from tinydiv.techniques.zca_norm import ZCANorm

PENALTIES: tuple[type[Technique], ...] = (
    *(DeCov, Pearson, MeanAbsPearson, VICReg, LogdetCorrelation, WLDReg, SpanningTree),
    *(ClassDeCov, Barlow, SpectralDecoupling),
    *(CosineSquared, OrthoReg, SoftOrthogonality, SRIP, Coherence, HypersphericalEnergy),
    *(LogdetWeights, L1Gates, SizeLoss),
    *(NegativeCorrelation, ContributionCoherence, ContributionGram),
)
LAYERS: tuple[type[Technique], ...] = (
    *(DecorrelatedInputs, BatchNorm, ZCANorm, IterNorm, Dropout, LearnedSize, SizeMask),
)
INTERVENTIONS: tuple[type[Technique], ...] = (
    *(Muon, OrthogonalGradient, SharedDirection, GradientProjection),
    *(Cayley, Reorthogonalise, OrthogonalNoise),
    *(MergeRecycle, ReDo, ContinualBackprop),
    *(Grow, ResidualFitting),
)
EXHIBITS: tuple[type[Technique], ...] = (Toeplitz, Consensus, LocalAlignment, GradMax, Net2Net)
"""Interventions that demonstrate an effect; they are not meant to improve a network."""
OTHERS = (*LAYERS, *INTERVENTIONS, *EXHIBITS)
"""Layers and interventions."""

TECHNIQUES: dict[str, type[Technique]] = {cls.name: cls for cls in (*PENALTIES, *OTHERS)}


IMPORTED: dict[str, str] = {}
"""The digest of each user's file that was imported, by the name of its module."""


def technique_class(name: str, file: str | None = None) -> type[Technique]:
    """The class of that name, built in or in a file. Raises UsageError if there is none."""
    if file is not None:
        return class_from_file(file, name)
    if name not in TECHNIQUES:
        raise unknown("technique", name, TECHNIQUES)
    return TECHNIQUES[name]


def class_from_file(file: str, name: str) -> type[Technique]:
    """A user's own technique. Raises UsageError if the file cannot be imported or lacks the class."""
    found = classes_in_file(file)
    if name not in found:
        what = nearest(name, found) if found else "it defines no subclass of a technique"
        raise UsageError(f"{file} has no technique {name!r}: {what}")
    return found[name]


def classes_in_file(file: str) -> dict[str, type[Technique]]:
    """All techniques that a file defines, by class name."""
    module = module_of_file(file)
    return {
        key: value
        for key, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, Technique)
        and value.__module__ == module.__name__
    }


def module_of_file(file: str) -> ModuleType:
    """A user's own file as a module, imported again only if it changed, so that its classes stay the same.

    Raises UsageError if it is not there or its code fails.
    """
    path = Path(file)
    if not path.is_file():
        raise UsageError(f"there is no file {file}")
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UsageError(f"{file} cannot be imported: {error.strerror or error}") from error
    # A module name of its own per path, so that two files called mine.py are two modules.
    key = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]
    module_name = f"tinydiv_own_{path.stem}_{key}"
    if IMPORTED.get(module_name) == digest and module_name in sys.modules:
        return sys.modules[module_name]
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{file} is no Python file: its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[module_name]
        reason = getattr(error, "strerror", None) or error  # no [Errno 13]
        raise UsageError(f"{file} cannot be imported: {type(error).__name__}: {reason}") from error
    IMPORTED[module_name] = digest
    return module
