"""What growing networks compute, at odd points too: the checker has no cases of it.

Each is a function without arguments that returns arrays: neurons that wake, fall asleep, are merged and
pruned; learned sizes, trained for a few steps; and the points and the weights that a controller's mask
starts with.
"""

import dataclasses
from functools import partial

import numpy as np
from helpers import labels, network, numbers

from tinydiv.backend import to_device
from tinydiv.growing import auxiliary, condense, mask
from tinydiv.layers import Context
from tinydiv.losses import cross_entropy
from tinydiv.optimizers import Adam
from tinydiv.techniques import Techniques

WAYS = ("grow:number=2,drop=1", "grow:number=3,drop=2,incoming=decorrelated", "gradmax:number=2")
WAYS += ("net2net:number=2,noise=0.1", "residual-fitting:number=2")


def runs(change, seed):
    """(what it is, the function); change: what makes inputs and every weight matrix odd."""
    for spec in WAYS:
        yield spec, partial(woken, spec, change, seed)
    yield "merge, prune and condense", partial(reduced, change, seed)
    for arm in auxiliary.ARMS:
        yield arm, partial(trained, arm, change, seed)
    for task in mask.TASKS:
        yield f"mask on {task}", partial(masked, task, seed)


def woken(spec, change, seed):
    """Weights and moments after one move of a technique that grows, in three networks."""
    X, Y = change(numbers(30, 6, seed=seed)), labels(30, classes=3, seed=2)
    net = network([6, 8, 3], seed, replicas=3, dtype="float64", activation="tanh")
    specs = [f"{spec},first=4,every=1"]
    techniques = Techniques(net, specs, Adam(net, 0.01), probe_inputs=X, seeds=[4, 5, 6])
    odd(net, change)
    techniques.placed[0].technique.update_layer(net, 1)
    trace = net.forward(X, Context(training=True, step=0))
    step = techniques.backward(techniques.step(trace, Y, *cross_entropy(trace.logits, Y), 0))
    techniques.optimizer.step()
    techniques.after_update(step)
    return [net.theta, *techniques.optimizer.moments.values()]


def reduced(change, seed):
    """Weights after merging, pruning and condensing."""
    found, X = [], numbers(30, 6, seed=seed)
    for reduce in (condense.merge, condense.prune):
        net = odd(network([6, 8, 3], seed, replicas=2, dtype="float64", activation="relu"), change)
        reduce(net, 1, X, [3, 6])
        found.append(net.theta)
    net = odd(network([6, 8, 3], seed, replicas=2, dtype="float64", activation="relu"), change)
    return [*found, to_device(condense.condense(net, 1, 0.3)), net.theta]


def odd(net, change):
    for W in net.W:
        W[...] = change(W)
    return net


def trained(arm, change, seed):
    """All results of three trials, and the effective rank of odd activations."""
    setting = dataclasses.replace(auxiliary.PUBLISHED["cubic"], epochs=20, rate=0.01)
    found = auxiliary.train(auxiliary.ARMS[arm], auxiliary.Trials(setting, [seed, 1, 2]), moments=4)
    arrays = [value for value in vars(found).values() if isinstance(value, np.ndarray)]
    S = change(numbers(30, 12, 5, seed=seed))
    return [*map(to_device, arrays), auxiliary.effective_rank(S)]


def masked(task, seed):
    """The points of a few seeds, and the results of a few steps."""
    setting = mask.MaskSetting(task, 4, 0.01, epochs=5, points=40)
    found = mask.work(setting, "mask", [seed, 5], moments=2)
    return [*mask.data_of(setting, [seed, 5]), *map(to_device, found.values())]
