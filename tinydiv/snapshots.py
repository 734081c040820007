"""What the neurons were at chosen epochs, for pictures of how they came apart.

seen = Snapshots(net, data, epochs=(0, 1, 5, 20))
train(net, data, optimizer, epochs=20, on_epoch=seen)
plots.gallery_picture(seen.correlations)              similarity at these epochs, side by side
plots.correlation_spectrum(ax, seen.correlations)     its spectrum: how many directions are left
plots.neurons_parting(ax, seen.weights)               the paths of the weights
"""

from collections.abc import Iterable

from tinydiv.backend import Array, to_host
from tinydiv.data.dataset import Dataset
from tinydiv.diversity import TINY_EPS
from tinydiv.errors import UsageError
from tinydiv.mlp import MLP
from tinydiv.techniques.blocks import correlations
from tinydiv.training import DeviceData, Record


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
        self.epochs, self.probe = set(epochs), data.probe()
        self.correlations: dict[str, Array] = {}
        """ "epoch 5" -> (H, H) correlations on the probe set; dead neurons have zeros."""
        self.weights: list[Array] = []
        """W (D, H), in the order of the epochs."""

    def __call__(self, record: Record) -> None:
        """Look, if this epoch was chosen."""
        if record.epoch not in self.epochs:
            return
        A = self.net.forward(self.probe).A[self.layer]
        pair = correlations(A, TINY_EPS).R, self.net.W[self.layer - 1]
        R, W = (to_host(a).reshape(-1, *a.shape[-2:])[self.network].copy() for a in pair)
        self.correlations[f"epoch {record.epoch}"] = R
        self.weights.append(W)
