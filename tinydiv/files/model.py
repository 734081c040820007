"""model.npz: a trained network that NumPy alone can read.

    W0, b0, W1, b1, ...   weights (n_l, n_{l+1}) and biases (1, n_{l+1}); with R networks (R, ...)
    gamma[batch-norm.1]   what layers learned, by name, layer and hidden layer's number
    layer[batch-norm.1].mean   their running statistics
    input_shift, input_scale   (n_0,): inputs are (x - input_shift) * input_scale, x = bytes / 255 for
                               images and x as it is for toys
    metadata              a JSON string: sizes, activation, replicas, dtype, layers, data, classes

So, for a network without layers, in plain NumPy:

    m = numpy.load("model.npz")
    A = numpy.maximum((x - m["input_shift"]) * m["input_scale"] @ m["W0"] + m["b0"], 0)     relu
    logits = A @ m["W1"] + m["b1"]

The same network gives the same bytes on every save.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from tinydiv.backend import Array, to_device
from tinydiv.data.dataset import Dataset
from tinydiv.errors import UsageError
from tinydiv.files import npz, read, technique_files
from tinydiv.mlp import MLP
from tinydiv.techniques import LayerTechnique, layers_of

NAME = "model.npz"
FORMAT = "tinydiv model 1"


def save_model(
    path: str | Path, net: MLP, dataset: Dataset | None = None, layers: Sequence[str] = ()
) -> None:
    """Write a network. layers: the specs that its layers were made from, as in layers_of(specs).

    dataset: where the inputs' transform and the classes' names come from.
    Raises RunError if the file cannot be written.
    """
    if not isinstance(net, MLP):
        raise UsageError(
            f"save_model takes a path and a network, got {type(net).__name__} for the network"
        )
    if net.layers and not layers:
        raise UsageError(
            f"the network has layers ({', '.join(layer.label for layer in net.layers)}), and a file needs "
            "the specs that they were made from: pass layers=['batch-norm', ...]"
        )
    metadata: dict[str, object] = {
        "format": FORMAT,
        "sizes": net.sizes,
        "activation": net.activation.name,
        "replicas": net.replicas,
        "dtype": net.dtype,
        "layers": list(layers),
        "own_files": technique_files.digests(layers),
    }
    arrays: dict[str, Array] = {block.name: net.view(net.theta, block.name) for block in net.blocks}
    for layer in net.layers:
        arrays |= {f"layer{layer.tag}.{key}": value for key, value in layer.state().items()}
    if dataset is not None:
        metadata |= {"data": dataset.name, "inputs": dataset.inputs, "classes": dataset.classes}
        arrays["input_shift"] = dataset.transform.shift
        arrays["input_scale"] = dataset.transform.scale
    npz.write(Path(path), arrays, metadata)


def load_model(where: str | Path, allow_code: bool = False) -> MLP:
    """The trained network in a run folder, or in a model.npz: with its layers, ready to predict.

    Its arrays are of the current backend. A user's own layer is Python code in a file that model.npz
    names: it is run only with allow_code=True, and only if the file has not changed.
    Raises UsageError if there is no model, or one that needs code without allow_code=True; RunError if the
    file is damaged.
    """
    path = Path(where)
    if path.is_dir():
        unfinished = (path / "config.json").is_file() and not (path / NAME).is_file()
        if unfinished:
            raise UsageError(
                f"the run in {path} did not finish: python -m tinydiv.train --resume {path}"
            )
        path = path / NAME
    if not path.is_file():
        raise UsageError(f"there is no {path}: name a run folder, or a {NAME}")
    with read.reading(path, "delete it, and train again or continue its run by --resume"):
        arrays, facts = read.npz_arrays(path, FORMAT)
        specs, files = [str(spec) for spec in facts["layers"]], dict(facts.get("own_files", {}))
        code = technique_files.paths(specs)
    if not allow_code:
        how = "tinydiv.load(..., allow_code=True), or --allow-code"
        technique_files.refuse_code(specs, (), str(path), how)
    technique_files.refuse_changes({file: files.get(file) for file in code}, str(path))
    layers = layers_of(specs) if code else None
    with read.reading(path, "delete it, and train again or continue its run by --resume"):
        return network(arrays, facts, layers_of(specs) if layers is None else layers)


def network(
    arrays: dict[str, Array], facts: dict[str, Any], layers: Sequence[LayerTechnique]
) -> MLP:
    """The network that a file describes. Raises ValueError and others if its parts do not fit."""
    sizes, replicas = facts["sizes"], facts["replicas"]
    for i, shape in enumerate(pairwise(sizes)):  # checked before a network of that size is made
        wanted = (*shape,) if replicas is None else (replicas, *shape)
        if arrays[f"W{i}"].shape != wanted:
            raise ValueError(f"W{i} has the shape {arrays[f'W{i}'].shape}, not {wanted}")
    net = MLP(
        sizes,
        activation=facts["activation"],
        replicas=replicas,
        dtype=facts["dtype"],
        layers=layers,
    )
    for block in net.blocks:
        view, array = net.view(net.theta, block.name), arrays[block.name]
        if view.shape != array.shape or view.dtype != array.dtype:
            raise ValueError(f"{block.name} is {array.dtype} of shape {array.shape}")
        view[...] = to_device(read.refuse_nan(block.name, array))
    for layer in net.layers:
        layer.load_state(read.part(arrays, f"layer{layer.tag}."))
    if "input_scale" in arrays:
        net.transform = Transform(arrays["input_scale"], arrays["input_shift"], net.dtype)
    return net


@dataclass(frozen=True)
class Transform:
    """Stored images, bytes, as a loaded network's inputs: x = (bytes / 255 - shift) * scale."""

    scale: Array
    shift: Array
    dtype: str

    def __call__(self, X: Array) -> Array:
        scale, shift = (to_device(a, dtype=self.dtype) for a in (self.scale, self.shift))
        return (to_device(X, dtype=self.dtype) / 255 - shift) * scale
