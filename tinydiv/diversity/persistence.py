"""Neural persistence: a measure of a layer from its strongest tree of connections."""

from tinydiv.backend import Array, xp
from tinydiv.diversity.neurons import Neurons, safe
from tinydiv.similarity import minimum_spanning_tree


def relative(W: Array) -> Array:
    """|W| over its largest entry, (..., D, H) in [0, 1]."""
    size = abs(W)
    return size / safe(xp.max(size, axis=(-2, -1), keepdims=True))


def persistence(w: Array) -> Array:
    """2-norm of 1 - w over the maximum spanning tree of a two-sided graph, over sqrt(D + H - 1).

    w (..., D, H) in [0, 1]: the weight between node d on the left and node h on the right. It is built in
    two steps, because Prim's algorithm over D + H nodes would take D + H - 1 rounds. First every node of
    the larger side takes its strongest edge, which some maximum spanning tree contains. The nodes that
    took the same partner are now one group, and Prim's algorithm joins only these groups.
    """
    if w.shape[-1] > w.shape[-2]:
        w = w.mT
    D, H = w.shape[-2:]
    strongest = xp.max(w, axis=-1)  # (..., D)
    partner = xp.argmax(w, axis=-1)[..., None]  # (..., D, 1)
    rows = [xp.max(xp.where(partner == g, w, 0 * w), axis=-2) for g in range(H)]
    between = xp.stack(rows, axis=-2)  # (..., H, H): from any node of group g to node h
    between = xp.maximum(between, between.mT)
    all_alive = xp.ones((*w.shape[:-2], 1, H), dtype=w.dtype)
    tree = minimum_spanning_tree(1 - between, all_alive)
    squares = xp.sum((1 - strongest) ** 2, axis=-1) + xp.sum(
        tree * (1 - between) ** 2, axis=(-2, -1)
    )
    return xp.sqrt(squares / (D + H - 1))


def neural_persistence(n: Neurons) -> Array:
    """Strongest tree of connections into the layer; tracks weight variance (Rieck et al., ICLR 2019).

    Persistence of |W| / max|W| between inputs and neurons, in [0, 1]: low where a few strong connections
    join everything. It mostly tracks the variance of the weights (Girrbach et al., 2023), so compare it
    with that variance before you draw other conclusions.
    """
    return persistence(relative(n.W))


def deep_graph_persistence(n: Neurons) -> Array:
    """Strongest tree of paths through the layer (Girrbach et al., 2023).

    Paths lead from the layer's inputs to the next layer's neurons. A path is as strong as its weaker
    connection, and between two ends the strongest path counts: w_dk = max_h min(|W_dh|, |V_hk|), each
    over its largest entry.
    """
    W, V = relative(n.W), relative(n.V)
    through = xp.zeros((*W.shape[:-1], V.shape[-1]), dtype=W.dtype)
    for h in range(n.H):
        through = xp.maximum(through, xp.minimum(W[..., :, h : h + 1], V[..., h : h + 1, :]))
    return persistence(through)
