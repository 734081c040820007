"""Every technique by name, and your own by the path of their file."""

import hashlib
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from tinydiv import WhenUsed
from tinydiv.errors import UsageError, check_known, nearest
from tinydiv.techniques.base import Technique

TECHNIQUES: Mapping[str, type[Technique]] = WhenUsed(
    "tinydiv.techniques",
    {
        # penalties
        "decov": "decov.DeCov",
        "pearson": "pearson.Pearson",
        "mean-abs-pearson": "pearson.MeanAbsPearson",
        "vicreg": "vicreg.VICReg",
        "logdet-correlation": "logdet.LogdetCorrelation",
        "wld-reg": "wld_reg.WLDReg",
        "spanning-tree": "spanning_tree.SpanningTree",
        "class-decov": "class_decov.ClassDeCov",
        "barlow": "barlow.Barlow",
        "spectral-decoupling": "spectral_decoupling.SpectralDecoupling",
        "cosine": "cosine.CosineSquared",
        "orthoreg": "orthoreg.OrthoReg",
        "soft-orthogonality": "soft_orthogonality.SoftOrthogonality",
        "srip": "soft_orthogonality.SRIP",
        "coherence": "coherence.Coherence",
        "hyperspherical-energy": "hyperspherical_energy.HypersphericalEnergy",
        "logdet-weights": "logdet.LogdetWeights",
        "l1-gates": "l1_gates.L1Gates",
        "size-loss": "size_loss.SizeLoss",
        "negative-correlation": "negative_correlation.NegativeCorrelation",
        "contribution-coherence": "contributions.ContributionCoherence",
        "contribution-gram": "contributions.ContributionGram",
        # layers
        "decorrelated-inputs": "decorrelated_inputs.DecorrelatedInputs",
        "batch-norm": "batch_norm.BatchNorm",
        "zca-norm": "zca_norm.ZCANorm",
        "iter-norm": "iter_norm.IterNorm",
        "dropout": "dropout.Dropout",
        "learned-size": "learned_size.LearnedSize",
        "size-mask": "size_mask.SizeMask",
        # interventions
        "muon": "muon.Muon",
        "orthogonal-gradient": "orthogonal_gradient.OrthogonalGradient",
        "shared-direction": "shared_direction.SharedDirection",
        "gradient-projection": "gradient_projection.GradientProjection",
        "cayley": "cayley.Cayley",
        "reorthogonalise": "reorthogonalise.Reorthogonalise",
        "orthogonal-noise": "orthogonal_noise.OrthogonalNoise",
        "merge-recycle": "merge_recycle.MergeRecycle",
        "redo": "redo.ReDo",
        "continual-backprop": "continual_backprop.ContinualBackprop",
        "grow": "grow.Grow",
        "residual-fitting": "grow.ResidualFitting",
        # interventions that demonstrate an effect; they are not meant to improve a network
        "toeplitz": "toeplitz.Toeplitz",
        "consensus": "consensus.Consensus",
        "local-alignment": "local_alignment.LocalAlignment",
        "gradmax": "grow.GradMax",
        "net2net": "grow.Net2Net",
    },
)
"""The class of each technique by its name; its file is imported at its first use."""

IMPORTED: dict[str, str] = {}
"""The digest of each user's file that was imported, by the name of its module."""


def technique_class(name: str, file: str | None = None) -> type[Technique]:
    """The class of that name, built in or in a file. Raises UsageError if there is none."""
    if file is not None:
        return class_from_file(file, name)
    check_known("technique", name, TECHNIQUES)
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
