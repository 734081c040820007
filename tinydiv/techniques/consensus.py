"""Consensus averaging, an exhibit: networks that imitate each other lose their diversity."""

from tinydiv.backend import Array, xp
from tinydiv.errors import UsageError
from tinydiv.mlp import MLP
from tinydiv.settings import setting
from tinydiv.techniques.base import Intervention, Step


class Consensus(Intervention):
    """Networks that are trained together average their weights (after Peer-to-Peer Learning Dynamics of
    Wide Neural Networks, 2024).

        theta_r <- (1 - gamma) theta_r + gamma mean of its peers          theta <- A theta

    theta (R, P). peers=all: the mean over all networks; peers=ring: over the two neighbours r - 1 and
    r + 1. A is doubly stochastic, so the networks' mean is kept while their differences shrink: by the
    factor 1 - gamma with peers=all. A network that diverged, or does not act (when=plateau), is not a
    peer. This is the only technique under which a network's training depends on the other networks.
    """

    name = "consensus"
    family = "exhibits"
    invariant = "the mean of the networks' weights"
    acts_on = "whole network"
    fewest_networks = 2

    gamma: float = setting(0.1, low=0, high=1, help="how far towards the peers")
    peers: str = setting("all", choices=("all", "ring"), help="all networks, or two neighbours")

    def prepare(self, net: MLP, layer: int, probe_inputs: Array | None) -> None:
        if (net.replicas or 1) < self.fewest_networks:
            raise UsageError(
                f"{self.name} averages over networks trained together: train at least "
                f"{self.fewest_networks} (replicas)"
            )

    def move(self, step: Step, layer: int, mask: Array | None) -> None:
        theta = step.net.theta
        act = xp.isfinite(xp.sum(theta, axis=-1, keepdims=True))  # (R, 1)
        if mask is not None:
            act = act & mask[:, None]
        acting = xp.where(act, theta, xp.zeros_like(theta))
        if self.peers == "all":
            count = xp.maximum(xp.sum(act, axis=0, keepdims=True), 1)
            mean = xp.sum(acting, axis=0, keepdims=True) / count.astype(theta.dtype)
        else:
            mean = sum(  # in place of a neighbour that does not act, the network itself
                xp.where(xp.roll(act, shift, 0), xp.roll(acting, shift, 0), theta) / 2
                for shift in (1, -1)
            )
        theta[...] = xp.where(act, theta + self.gamma * (mean - theta), theta)
