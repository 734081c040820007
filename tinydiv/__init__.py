"""tinydiv: neuron diversity in small networks, with every gradient written out by hand.

Read tinydiv/mlp.py first. Nothing here imports matplotlib, tqdm or argparse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tinydiv.check import check_gradients
    from tinydiv.data.dataset import Dataset
    from tinydiv.initializers import initialize
    from tinydiv.losses import cross_entropy
    from tinydiv.mlp import MLP

__version__ = "0.1.0"
T = TypeVar("T")


class WhenUsed(Mapping[str, T]):
    """Things by name, each imported from its file at its first use: only what a command needs is loaded.

    places: {"decov": "decov.DeCov"}, by the name that a user writes: the file in the package, and what it
    is called there.
    """

    def __init__(self, package: str, places: dict[str, str]) -> None:
        self.package, self.places = package, places

    def __getitem__(self, name: str) -> T:
        file, _, thing = self.places[name].partition(".")
        found: T = getattr(import_module(f"{self.package}.{file}"), thing)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)


def when_used(package: str, places: dict[str, str]) -> Callable[[str], object]:
    """A package's __getattr__ (PEP 562) that imports each public name from its file at its first use.

    So a command prints its --help without loading anything heavy. places: {"file": "its public names"}.
    """
    found = {name: f"{file}.{name}" for file, names in places.items() for name in names.split()}
    things = WhenUsed[object](package, found)

    def get(name: str) -> object:
        if name not in found:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return things[name]

    return get


if not TYPE_CHECKING:
    __getattr__ = when_used(
        __name__,
        {
            "check": "check_gradients",
            "initializers": "initialize",
            "losses": "cross_entropy",
            "mlp": "MLP",
        },
    )

__all__ = [
    "MLP",
    "check_gradients",
    "cross_entropy",
    "initialize",
    "load",
    "load_data",
    "save",
    "when_used",
]


def load(run_dir: str | Path, allow_code: bool = False) -> MLP:
    """The trained network of a run: load("runs/2026...").predict(X). See files/model.py."""
    from tinydiv.files.model import load_model  # here, so that `import tinydiv` stays light

    return load_model(run_dir, allow_code)


def save(
    path: str | Path, net: MLP, dataset: Dataset | None = None, layers: Sequence[str] = ()
) -> None:
    """Write a network to an .npz file that `load` and NumPy alone can read.

    dataset: whose inputs the network takes. layers: the specs that its layers were made from.
    """
    from tinydiv.files.model import save_model

    save_model(path, net, dataset, layers)


def load_data(name: str, inputs: str = "raw") -> Dataset:
    """A data set by what --data takes: "spirals:arms=3", "mine.npz", "table.csv:target=species".

    inputs: "raw", "centred" or "standardised". See runs/own_data.py for the reader's own files.
    """
    from tinydiv.runs.build import load_data as load_by_name

    return load_by_name(name, inputs)
