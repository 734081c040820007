"""A user's own intervention has no gradient to compare. Networks are trained with it for a few steps.

Checked: it raises no error, all numbers stay finite, and each of several networks gets the same weights as
if it were trained alone. What the text in `invariant` claims is not tested.
"""

from tinydiv.backend import Array, xp
from tinydiv.check import points
from tinydiv.check.doctor import raised_finding
from tinydiv.check.points import Dimensions
from tinydiv.errors import RunError, UsageError
from tinydiv.layers import Context
from tinydiv.mlp import MLP
from tinydiv.optimizers import SGD
from tinydiv.techniques.base import Intervention
from tinydiv.techniques.framework import Techniques

SMALL = Dimensions((6, 5, 4, 3), 8, replicas=3)
STEPS = 6


def failure_in_training(cls: type[Intervention], seed: int, settings: dict[str, object]) -> str:
    """What goes wrong in a few steps with a technique of this class, in words; "" if nothing does."""
    try:
        together = trained(cls(**settings), seed, SMALL.replicas)
        if not bool(xp.all(xp.isfinite(together))):
            return "the weights are not finite after a few steps"
        if cls.acts_on == "whole network" or cls.fewest_networks > 1:
            return ""  # under such a technique networks may depend on each other
        alone = [trained(cls(**settings), seed, None, r) for r in range(SMALL.replicas or 0)]
    except (UsageError, RunError):
        raise
    except Exception as error:  # the user's own code may raise anything
        return raised_finding(error).words
    for r, theta in enumerate(alone):
        gap = float(xp.max(abs(together[r] - theta)))
        if not gap <= 1e-9 * float(xp.max(abs(theta))):
            return (
                f"network {r} of {len(alone)} ends with other weights than alone (they differ by "
                f"{gap:.2g}): networks influence each other, or random numbers are not drawn from "
                "step.draws"
            )
    return ""


def trained(technique: Intervention, seed: int, replicas: int | None, which: int = 0) -> Array:
    """theta after a few steps, of all networks at once; with replicas=None of network `which` alone."""
    net = MLP(SMALL.sizes, "tanh", replicas, "float64")
    theta = points.network(SMALL, "tanh", seed).theta
    net.theta[...] = theta if replicas else theta[which]
    X, Y = points.inputs(SMALL, seed), points.targets(SMALL, seed)
    optimizer = SGD(net, 0.05)
    seeds = list(range(seed, seed + replicas)) if replicas else [seed + which]
    techniques = Techniques(net, [technique], optimizer, probe_inputs=X, seeds=seeds)
    for number in range(STEPS):
        trace = net.forward(X, Context(training=True, step=number))
        loss, dlogits = techniques.loss(trace.logits, Y)
        step = techniques.backward(techniques.step(trace, Y, loss, dlogits, number))
        optimizer.step()
        techniques.after_update(step)
    return net.theta
