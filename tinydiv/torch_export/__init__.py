"""Weights to and from PyTorch: the state dict of a torch.nn.Sequential, made without PyTorch.

    net = tinydiv.load("runs/...")
    print(torch_export.recipe(net))                 the Python lines that build the same in PyTorch
    arrays = torch_export.state_dict(net)           {"0.weight": ..., "0.bias": ..., "2.weight": ...}
    numpy.savez("torch.npz", **arrays)              if PyTorch is on another machine
    net = torch_export.from_state_dict(model.state_dict(), activation="relu")
    torch_export.initialize(model, X, seed=0)       a decorrelated start for a model of PyTorch's own

torch.nn.Linear keeps its weights transposed, (n_out, n_in), and its biases as a vector:

    weight = W'     bias = b[0]

Batch norm becomes torch.nn.BatchNorm1d, with its running statistics; other layers are folded into the
weights by fold=True, which computes the same in evaluation mode.
"""

import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from tinydiv.backend import Array, to_device, to_host
from tinydiv.errors import UsageError, check_known, nearest
from tinydiv.initializers import initialize as initialize_network
from tinydiv.layers import Layer
from tinydiv.mlp import MLP
from tinydiv.techniques import layers_of

ACTIVATIONS = {
    "relu": "ReLU()",
    "leaky-relu": "LeakyReLU(0.01)",
    "tanh": "Tanh()",
    "sigmoid": "Sigmoid()",
    "gelu": 'GELU(approximate="tanh")',
    "identity": "Identity()",
}
"""What each activation is called in torch.nn."""
BATCH_NORM = "batch-norm"


# From tinydiv to PyTorch ---------------------------------------------------------------------------


def recipe(net: MLP, fold: bool = False) -> str:
    """Python lines that build one of these networks in PyTorch and fill it from `arrays`.

    Raises UsageError for an activation or a layer that torch.nn does not have.
    """
    net = net.folded() if fold else net
    double = ".double()" if net.dtype == "float64" else ""
    lines = [f"    torch.nn.{module}," for module in modules(net)]
    return "\n".join(
        [
            "import torch",
            "",
            "model = torch.nn.Sequential(",
            *lines,
            f"){double}.eval()",
            "tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}",
            "model.load_state_dict(tensors)",
            "",
        ]
    )


def modules(net: MLP) -> list[str]:
    """What stands in the Sequential, in order: "Linear(784, 16)", "ReLU()", "Linear(16, 10)"."""
    check_known("activation in torch.nn", net.activation.name, ACTIVATIONS)
    found = []
    for l in range(net.depth):
        found.append(f"Linear({net.sizes[l]}, {net.sizes[l + 1]})")
        for layer in batch_norms(net, l):
            eps, momentum = layer.eps, layer.momentum  # type: ignore[attr-defined]
            found.append(f"BatchNorm1d({net.sizes[l + 1]}, eps={eps}, momentum={momentum})")
        if l < net.depth - 1:
            found.append(ACTIVATIONS[net.activation.name])
    return found


def state_dict(net: MLP, replica: int = 0, fold: bool = False) -> dict[str, Array]:
    """NumPy arrays under the names that the Sequential of `recipe` gives them, copies all.

    replica: which of R networks. Raises UsageError for a replica that there is not, or a layer that
    torch.nn does not have.
    """
    if not 0 <= replica < (net.replicas or 1):
        raise UsageError(
            f"there is no network {replica}: they run from 0 to {net.replicas or 1} - 1"
        )
    net = net.folded() if fold else net

    def one(array: Array) -> Array:
        host = to_host(array)
        return host if net.replicas is None else host[replica]

    state: dict[str, Array] = {}
    place = 0
    for l in range(net.depth):
        state[f"{place}.weight"] = np.ascontiguousarray(one(net.W[l]).T)
        state[f"{place}.bias"] = one(net.b[l])[0].copy()
        for layer in batch_norms(net, l):
            place += 1
            state[f"{place}.weight"] = one(layer.parameters["gamma"])[0].copy()
            state[f"{place}.bias"] = one(layer.parameters["beta"])[0].copy()
            state[f"{place}.running_mean"] = one(layer.state()["mean"])[0].copy()
            state[f"{place}.running_var"] = one(layer.state()["variance"])[0].copy()
            state[f"{place}.num_batches_tracked"] = np.array(0)
        place += 2  # past the activation
    return state


def batch_norms(net: MLP, l: int) -> list[Layer]:
    """The batch norms after product l. Raises UsageError for any other layer."""
    for layer in net.layers:
        if layer.label != BATCH_NORM:
            raise UsageError(
                f"torch.nn has no {layer.label}: fold=True makes plain weights that compute the same "
                "in evaluation mode"
            )
    return [layer for layer in net.layers if layer.depth == l]


# A start for a model that is trained in PyTorch ----------------------------------------------------

SAME_AS = {module.partition("(")[0]: name for name, module in ACTIVATIONS.items()}
"""The name in tinydiv of each activation class of torch.nn."""
PASSED_BY = ("Flatten", "Dropout", "BatchNorm1d", "Softmax", "LogSoftmax")
"""Modules that a start ignores."""


def initialize(model: Iterable[Any], X: Array, seed: int = 0, init: str = "decorrelated") -> MLP:
    """Give a torch.nn.Sequential of linear layers a start of this project, in place.

    model: Linear layers with activations of one kind between them; Flatten, Dropout and BatchNorm1d may
    stand there too. X (N, ...): some hundred to some thousand training inputs, as the model is given
    them, tensor or array. init: a start by its spec (`python -m tinydiv.train --list initializers`).
    Weights and biases of the linear layers are replaced, nothing else. Equal seeds give equal starts, the
    same as for a tinydiv network of these sizes, which is returned with the same weights.

    Raises UsageError for a module that is none of these, two kinds of activation, a linear layer without
    a bias, and inputs that do not fit.
    """
    linear, kinds = linear_layers(model)
    sizes = [int(linear[0].weight.shape[1]), *(int(one.weight.shape[0]) for one in linear)]
    net = MLP(sizes, kinds[0] if kinds else "relu")
    rows = host_array("X", X)
    initialize_network(net, init, seed, to_device(rows.reshape(len(rows), -1), dtype=net.dtype))
    for module, W, b in zip(linear, net.W, net.b, strict=True):
        # new_tensor makes a tensor of the parameter's own type and device, and needs no import of torch.
        module.weight.data.copy_(module.weight.data.new_tensor(to_host(W).T))
        module.bias.data.copy_(module.bias.data.new_tensor(to_host(b)[0]))
    return net


def linear_layers(model: Iterable[Any]) -> tuple[list[Any], list[str]]:
    """The linear layers of a Sequential, and the activations between them by their names here."""
    linear: list[Any] = []
    kinds: list[str] = []
    for place, module in enumerate(model):
        name = type(module).__name__
        if name == "Linear":
            if module.bias is None:
                raise UsageError(f"module {place} is a Linear without a bias, which a start needs")
            if linear and linear[-1].weight.shape[0] != module.weight.shape[1]:
                raise UsageError(
                    f"module {place} takes {module.weight.shape[1]} inputs, and the layer before it "
                    f"has {linear[-1].weight.shape[0]} neurons"
                )
            linear.append(module)
        elif name in SAME_AS:
            kinds.append(SAME_AS[name])
        elif name not in PASSED_BY:
            known = ("Linear", *SAME_AS, *PASSED_BY)
            raise UsageError(
                f"module {place}, {name}, has no place in a start: {nearest(name, known)}"
            )
    if not linear:
        raise UsageError("the model has no Linear layer")
    inner = kinds[: len(linear) - 1]  # what follows the last linear layer belongs to the loss
    if len(set(inner)) > 1:
        raise UsageError(f"a start is for one kind of activation, the model has {', '.join(inner)}")
    return linear, inner


# From PyTorch to tinydiv ---------------------------------------------------------------------------


def from_state_dict(state: Mapping[str, Array], activation: str = "relu") -> MLP:
    """A network from the state dict of a Sequential of Linear, BatchNorm1d and activations.

    state: tensors or NumPy arrays by name. activation: for all hidden layers, since a state dict has
    none; nor has it the eps of a batch norm, taken to be the usual 1e-5. Modules without
    weights (Dropout, Flatten) leave only gaps in the numbers, and are ignored.
    Raises UsageError for a name, an order or a shape that no such Sequential has.
    """
    parts = by_module(state)
    linear = [place for place, part in parts.items() if part["weight"].ndim == 2]
    norms = [place for place in parts if place not in linear]
    refuse_other_orders(parts, linear, norms, activation)
    sizes = [parts[linear[0]]["weight"].shape[1]]
    sizes += [parts[place]["weight"].shape[0] for place in linear]
    at = "+".join(str(1 + linear.index(place - 1)) for place in norms)
    layers = layers_of([f"{BATCH_NORM}:layers={at}"]) if norms else []
    double = parts[linear[0]]["weight"].dtype == np.float64
    net = MLP(sizes, activation, dtype="float64" if double else "float32", layers=layers)
    for l, place in enumerate(linear):
        bias = parts[place].get("bias", np.zeros(sizes[l + 1]))
        fill(net.W[l], parts[place]["weight"].T, f"{place}.weight")
        fill(net.b[l], bias[None], f"{place}.bias")
    for layer, place in zip(net.layers, norms, strict=True):
        ones, zeros = np.ones(layer.width), np.zeros(layer.width)
        fill(layer.parameters["gamma"], parts[place].get("weight", ones)[None], f"{place}.weight")
        fill(layer.parameters["beta"], parts[place].get("bias", zeros)[None], f"{place}.bias")
        for key, name in (("mean", "running_mean"), ("variance", "running_var")):
            fill(layer.state()[key], parts[place][name][None], f"{place}.{name}")
    return net


def by_module(state: Mapping[str, Array]) -> dict[int, dict[str, Array]]:
    """A state dict's arrays by the number of their module, in the order of the Sequential."""
    modules: dict[int, dict[str, Array]] = {}
    for name, value in state.items():
        match = re.fullmatch(r"(\d+)\.(\w+)", name)
        if match is None:
            raise UsageError(
                f"{name!r} is no name of a torch.nn.Sequential's: those are 0.weight, 0.bias, ..."
            )
        modules.setdefault(int(match[1]), {})[match[2]] = host_array(name, value)
    for place, part in modules.items():
        if "weight" not in part or part["weight"].ndim not in (1, 2):
            shape = part["weight"].shape if "weight" in part else "none"
            raise UsageError(
                f"module {place} is neither Linear nor BatchNorm1d: its weight has shape {shape}"
            )
    return dict(sorted(modules.items()))


def refuse_other_orders(
    parts: Mapping[int, Mapping[str, Array]], linear: list[int], norms: list[int], activation: str
) -> None:
    """Raise UsageError unless the modules are Linear [BatchNorm1d] activation ... Linear."""
    if not linear or min(parts) != linear[0]:
        raise UsageError("the first module with weights should be a Linear, weight (n_out, n_in)")
    for place in norms:
        if not {"running_mean", "running_var"} <= parts[place].keys():
            raise UsageError(f"module {place} is no BatchNorm1d that keeps running statistics")
        if place - 1 not in linear or place > linear[-1]:
            raise UsageError(
                f"module {place}, a BatchNorm1d, should stand right after a Linear, and not after the "
                "last one"
            )
    for before, after in pairwise(linear):
        between = after - before - 1 - (before + 1 in norms)
        if between < 1 and activation != "identity":
            raise UsageError(
                f"there is no activation between modules {before} and {after}, so it is not "
                f"{activation}"
            )


def host_array(name: str, value: Array) -> Array:
    """A tensor, wherever it lies, or an array, as a NumPy array."""
    try:
        if hasattr(value, "detach"):
            value = value.detach().cpu().numpy()
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(f"{name} cannot be made an array: {error}") from error
    if array.dtype.kind not in "fiu":
        raise UsageError(f"{name} should hold numbers, not {array.dtype}")
    return array


def fill(view: Array, array: Array, what: str) -> None:
    """Put numbers into a view of theta. Raises UsageError if the shapes differ."""
    if view.shape != array.shape:
        raise UsageError(f"{what} has shape {array.T.shape}, and {view.T.shape} would fit")
    view[...] = to_device(np.ascontiguousarray(array))
