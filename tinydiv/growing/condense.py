"""Fewer neurons after training: aligned ones merged (Chen and Xu, Entropy 26(7), 2024), and other ways.

    condense    neurons whose incoming weights [w; b] have a cosine above tau become one:
                V_k <- sum_j V_j |w_j| / |w_k| over the group, k the longest of it
    merge       the pairs of the most correlated responses: a_j ~ alpha a_i + beta by least squares,
                V_i <- V_i + alpha V_j,  c <- c + beta V_j
    prune       neurons of smallest std(a_h) |V_h| are removed, their mean is kept: c <- c + mean(a_h) V_h

Condensing is exact where cosines are 1 and f(s z) = s f(z) for s > 0. Removed neurons are put to sleep, so
networks with different numbers of neurons stay in one array; `compacted` deletes them from a single
network.
"""

from collections.abc import Callable

import numpy as np

from tinydiv.backend import Array, to_device, to_host, xp
from tinydiv.errors import UsageError
from tinydiv.mlp import MLP
from tinydiv.techniques.grow import awake

HOMOGENEOUS = ("relu", "leaky-relu", "identity")


def copied(net: MLP) -> MLP:
    """A plain network with the same weights, its layers folded in."""
    return net.folded()


def condense(net: MLP, layer: int, tau: float) -> Array:
    """Merge aligned neurons of a hidden layer in place; how many stay awake in each network, (R,) or (1,).

    Neurons are taken in order of length, longest first; each joins the first group with whose first member
    it is aligned.
    Raises UsageError for an activation that is not homogeneous, and a tau outside (0, 1].
    """
    if net.activation.name not in HOMOGENEOUS:
        raise UsageError(
            f"condensing merges neurons whose weights are aligned, which needs f(s z) = s f(z): "
            f"{' or '.join(HOMOGENEOUS)}, and this network has {net.activation.name}"
        )
    if not 0 < tau <= 1:
        raise UsageError(f"tau is a cosine above 0 and up to 1, got {tau:g}")
    kept = []
    for W, b, V, _ in networks(net, layer):
        incoming = np.concatenate([W, b])  # (D + 1, H)
        length = np.linalg.norm(incoming, axis=0)
        alive = (length > 0) & V.any(axis=1)
        unit = incoming / np.where(length > 0, length, 1)
        cosine = unit.T @ unit
        heads: list[int] = []
        for j in np.argsort(-length, kind="stable"):
            if not alive[j]:
                continue
            home = next((k for k in heads if cosine[j, k] > tau), None)
            if home is None:
                heads.append(int(j))
                continue
            V[home] += V[j] * (length[j] / length[home])
            W[:, j], b[:, j], V[j] = 0, 0, 0
        kept.append(len(heads))
    return np.asarray(kept)


def merge(net: MLP, layer: int, X: Array, counts: Array) -> None:
    """Merge the most correlated pairs of responses until `counts` neurons are left in each network."""
    A = hosted(net, net.forward(X).A[layer])
    for (W, b, V, c), a, count in zip(networks(net, layer), A, counts, strict=True):
        a = a.astype(float)
        mean, deviation = a.mean(axis=0), a.std(axis=0)
        centred = (a - mean) / np.where(deviation > 0, deviation, 1)
        R = centred.T @ centred / len(a)
        np.fill_diagonal(R, np.nan)
        for j in np.flatnonzero(deviation == 0):  # constant: only its mean contributes
            R[j, :], R[:, j] = np.nan, np.nan
            c += mean[j] * V[j]
            W[:, j], b[:, j], V[j] = 0, 0, 0
        left = int((deviation > 0).sum())
        while left > max(count, 1):
            i, j = divmod(int(np.nanargmax(abs(R))), R.shape[1])
            if deviation[i] * np.linalg.norm(V[i]) < deviation[j] * np.linalg.norm(V[j]):
                i, j = j, i
            alpha = R[i, j] * deviation[j] / deviation[i]
            V[i] += alpha * V[j]
            c += (mean[j] - alpha * mean[i]) * V[j]
            W[:, j], b[:, j], V[j] = 0, 0, 0
            R[j, :], R[:, j] = np.nan, np.nan
            left -= 1


def prune(net: MLP, layer: int, X: Array, counts: Array) -> None:
    """Put the neurons that contribute least to sleep until `counts` are left in each network."""
    A = hosted(net, net.forward(X).A[layer])
    for (W, b, V, c), a, count in zip(networks(net, layer), A, counts, strict=True):
        contributions = a.std(axis=0) * np.linalg.norm(V, axis=1)
        for j in np.argsort(contributions, kind="stable")[: len(contributions) - int(count)]:
            c += a[:, j].mean() * V[j]
            W[:, j], b[:, j], V[j] = 0, 0, 0


def hosted(net: MLP, a: Array) -> np.ndarray:
    """On the host, with an axis of networks in front, whether there is one or several."""
    host: np.ndarray = to_host(a)
    return host if net.replicas is not None else host[None]


def networks(net: MLP, layer: int):  # type: ignore[no-untyped-def]
    """(W, b, V, c) of each network on the host; changes are copied back at the end."""
    blocks = (net.W[layer - 1], net.b[layer - 1], net.W[layer], net.b[layer])
    hosts = [hosted(net, block) for block in blocks]
    for r in range(net.replicas or 1):
        yield tuple(host[r] for host in hosts)
    for block, host in zip(blocks, hosts, strict=True):
        block[...] = to_device(host if net.replicas is not None else host[0])


def compacted(net: MLP, layer: int) -> MLP:
    """A single network without the sleeping neurons of a layer.

    Raises UsageError for several networks in one array, or if none is awake.
    """
    if net.replicas is not None:
        raise UsageError("several networks in one array share their width: compact one at a time")
    on = np.flatnonzero(to_host(awake(net, layer)))
    if len(on) == 0:
        raise UsageError(f"no neuron of layer {layer} is awake")
    sizes = list(net.sizes)
    sizes[layer] = len(on)
    small = MLP(sizes, net.activation, None, net.dtype)
    picked = to_device(on)
    for l in range(net.depth):
        W, b = net.W[l], net.b[l]
        if l == layer - 1:
            W, b = W[:, picked], b[:, picked]
        if l == layer:
            W = W[picked]
        small.W[l][...], small.b[l][...] = W, b
    return small


def asleep_from(net: MLP, layer: int, counts: Array) -> None:
    """Leave the first `counts` neurons of each network awake, and put the others to sleep."""
    for (W, b, V, _), count in zip(networks(net, layer), counts, strict=True):
        W[:, int(count) :], b[:, int(count) :], V[int(count) :] = 0, 0, 0


def counted(net: MLP, layer: int) -> np.ndarray:
    """How many neurons of a hidden layer are awake, (R,) or (1,)."""
    found: np.ndarray = np.atleast_1d(to_host(xp.sum(awake(net, layer), axis=-1)))
    return found


Reduce = Callable[[MLP, int, Array, Array], None]
BESIDE: dict[str, Reduce] = {"merge": merge, "prune": prune}
"""Other ways to the same number of neurons."""
