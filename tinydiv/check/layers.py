"""What a layer must do besides its gradient: evaluation, folding, running statistics, its state.

A gradient can be right while evaluation uses the statistics of the batch, or while a running variance is
never updated. Each requirement is checked on a small network with the layer in it.
"""

from tinydiv.backend import Array, xp
from tinydiv.check import points
from tinydiv.check.points import Dimensions, Memory
from tinydiv.errors import UsageError
from tinydiv.layers import Context
from tinydiv.mlp import MLP
from tinydiv.techniques.base import LayerTechnique
from tinydiv.techniques.placing import layers_of

SMALL = Dimensions((6, 5, 3), 40)
PASSES = 400
"""Training passes on one batch, after which running statistics are those of the batch."""


def unmet_requirement(cls: type[LayerTechnique], seed: int, settings: dict[str, object]) -> str:
    """The first requirement that a layer does not meet, in words; "" if it meets them all."""
    net, x = network(cls, seed, settings), points.inputs(SMALL, seed)
    points.warm_up(net, SMALL, seed)
    evaluated = net.forward(x).logits
    if differ(net.forward(x[:4]).logits, evaluated[:4]):
        return (
            "evaluation depends on the other samples of the batch: it must use what was kept from "
            "training, not the batch's own statistics"
        )
    try:
        folded = net.folded().forward(x).logits
    except UsageError:  # this layer cannot be folded
        folded = evaluated
    if differ(folded, evaluated):
        return "fold gives other outputs than evaluation"
    other = network(cls, seed, settings)
    for one, kept in zip(other.layers, net.layers, strict=True):
        one.load_state(kept.state())
    if differ(other.forward(x).logits, evaluated):
        return "a layer that loads the saved state computes other outputs: state() leaves something out"
    return statistics(net, x)


def statistics(net: MLP, x: Array) -> str:
    """Check that running statistics converge to those of a batch that is repeated."""
    memory = Memory(*net.layers)
    if not memory.kept:
        return ""
    first, second = (net.forward(x, Context(training=True, step=n)).logits for n in (0, 1))
    for number in range(PASSES):
        trained = net.forward(x, Context(training=True, step=number)).logits
    if differ(first, trained) or differ(second, trained):
        return ""  # random, or different in each pass: there is no output to compare with
    # The bound is a tenth, because N in place of N - 1 in a variance changes it by one in eighty.
    if differ(net.forward(x).logits, trained, 0.1):
        return (
            f"after {PASSES} training passes on one batch, evaluation differs from training by more than "
            "a tenth: a running mean or variance is not updated, or not used"
        )
    return ""


def network(cls: type[LayerTechnique], seed: int, settings: dict[str, object]) -> MLP:
    """A network with the layer, the same for the same seed."""
    return points.network(SMALL, "relu", seed, layers_of([cls(**settings)]))


def differ(a: Array, b: Array, share: float = 1e-9) -> bool:
    """Whether two arrays differ by more than a share of the largest entry."""
    return not float(xp.max(abs(a - b))) <= share * float(xp.max(abs(b)))
