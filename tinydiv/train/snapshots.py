"""The neurons at chosen epochs, for pictures of how they became different.

python -m tinydiv.train --snapshots 0,1,5,10          neurons.png in the run folder

seen = Snapshots(net, data, epochs=(0, 1, 5, 20))
train(net, data, optimizer, epochs=20, on_epoch=seen)
plots.gallery_picture(seen.correlations)              similarity at these epochs, side by side
plots.correlation_spectrum(ax, seen.correlations)     its spectrum: how many directions are left
plots.neurons_parting(ax, seen.weights)               the paths of the weights
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from tinydiv.backend import Array, to_device, to_host
from tinydiv.data.dataset import Dataset
from tinydiv.diversity import TINY_EPS, one_network, responses
from tinydiv.errors import UsageError
from tinydiv.files import npz, read
from tinydiv.loop import DeviceData, Record
from tinydiv.mlp import MLP
from tinydiv.similarity import correlations

KEPT = "snapshots.npz"


class Snapshots:
    """Call it after every epoch: it keeps a host copy at the chosen ones (0 is the untrained network).

    layer: which hidden layer, 1 is the first; network: which of several.
    Raises UsageError if there is no such layer or network.
    """

    def __init__(
        self,
        net: MLP,
        dataset: Dataset | DeviceData,
        epochs: Iterable[int],
        *,
        layer: int = 1,
        network: int = 0,
    ) -> None:
        if not 1 <= layer < net.depth:
            raise UsageError(
                f"there is no hidden layer {layer}: this network has {net.depth - 1} of them"
            )
        if not 0 <= network < (net.replicas or 1):
            raise UsageError(
                f"there is no network {network}: they run from 0 to {(net.replicas or 1) - 1}"
            )
        data = dataset if isinstance(dataset, DeviceData) else DeviceData(dataset, net.dtype)
        self.net, self.layer, self.network = net, layer, network
        self.dataset = data.dataset
        self.epochs, self.probe = set(epochs), data.probe()
        self.correlations: dict[str, Array] = {}
        """ "epoch 5" -> (H, H) correlations on the probe set; dead neurons have zeros."""
        self.weights: list[Array] = []
        """W (D, H), in the order of the epochs."""
        self.responses: list[Array] = []
        """Where inputs are images: what each neuron responds to, (n_0, H) as floats of 32 bits."""

    def __call__(self, record: Record) -> None:
        """Record this epoch, if it was chosen and is not recorded yet."""
        if record.epoch not in self.epochs or f"epoch {record.epoch}" in self.correlations:
            return
        net = one_network(self.net, self.network)
        pair = net.forward(self.probe).A[self.layer], self.net.W[self.layer - 1]
        A, W = (to_host(a).reshape(-1, *a.shape[-2:]) for a in pair)
        A = A[self.network if len(A) > 1 else 0]
        self.correlations[f"epoch {record.epoch}"] = to_host(correlations(to_device(A), TINY_EPS).R)
        self.weights.append(W[self.network].copy())
        if self.dataset.image_shape is not None:
            found = to_host(responses(net, self.probe, layer=self.layer).inputs)
            found = found.reshape(-1, *found.shape[-2:])
            self.responses.append(found[self.network if len(found) > 1 else 0].astype("float32"))

    @property
    def missed(self) -> list[int]:
        """Chosen epochs that were not recorded: they ended before the snapshots began."""
        return sorted(e for e in self.epochs if f"epoch {e}" not in self.correlations)

    def save(self, folder: Path) -> None:
        """Write what was recorded into a run's folder, for a run that is resumed."""
        arrays = {"epochs": np.array([int(name.split()[1]) for name in self.correlations])}
        if self.weights:
            arrays["correlations"] = np.stack(list(self.correlations.values()))
            arrays["weights"] = np.stack(self.weights)
        if self.responses:
            arrays["responses"] = np.stack(self.responses)
        npz.write(folder / KEPT, arrays, {})

    def load(self, folder: Path, epoch: int) -> None:
        """Read it again, up to the run's present epoch. Does nothing if nothing was written."""
        if not (folder / KEPT).is_file():
            return
        with read.reading(folder / KEPT, "delete it and resume: the earlier snapshots are lost"):
            arrays, _ = read.npz_arrays(folder / KEPT)
            D, H = self.net.W[self.layer - 1].shape[-2:]
            for i, e in enumerate(arrays["epochs"]):
                if int(e) > epoch or e not in self.epochs:
                    continue
                R, W = (read.refuse_nan(k, arrays[k][i]) for k in ("correlations", "weights"))
                if R.shape != (H, H) or W.shape != (D, H):
                    raise ValueError(f"it holds weights of the shape {W.shape}, not {(D, H)}")
                self.correlations[f"epoch {e}"] = R
                self.weights.append(W)
                kept = arrays.get(
                    "responses", arrays.get("answers")
                )  # the second is its older name
                if kept is not None:
                    found = read.refuse_nan("responses", kept[i])
                    if found.shape != (self.net.sizes[0], H):
                        raise ValueError(f"it holds responses of the shape {found.shape}")
                    self.responses.append(found)
