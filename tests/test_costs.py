"""What layers and interventions say they cost is what they do, counted as it happens.

Penalties are counted in test_penalties.py, by the same rules (counted.py).
"""

from types import SimpleNamespace

import numpy as np
import pytest
from counted import Flops
from helpers import labels, network, numbers

from tinydiv import losses
from tinydiv.command import listing
from tinydiv.gallery import command as gallery
from tinydiv.layers import Context
from tinydiv.loop import PROBE_ROWS
from tinydiv.optimizers import SGD
from tinydiv.techniques import TECHNIQUES, Techniques, layers_of, place, toeplitz
from tinydiv.techniques.cost import REFERENCE, Shape, cost_text, relative_cost
from tinydiv.techniques.placing import kind_of

SETTINGS = [
    *("iter-norm:iterations=2", "decorrelated-inputs:k=1", "muon:nesterov=false"),
    *("orthogonal-gradient:scale=kept", "reorthogonalise:iterations=9", "consensus:peers=ring"),
    *("redo:every=7", "continual-backprop:every=3"),
]
"""Settings that change what is done."""
SPECS = [
    spec
    for spec in (*TECHNIQUES, *SETTINGS)
    if kind_of(cls := TECHNIQUES[spec.partition(":")[0]]) != "penalty" and cls.family != "growing"
]  # what growing costs depends on how many neurons are awake
SHAPES = [REFERENCE, Shape(100, 60, 40, 5, P=30), Shape(20, 61, 10, 8, P=200)]


def of_layer(technique, spec, at):
    """A layer's arithmetic per step, forward and backward."""
    (layer,) = network([at.D, at.H, at.K], dtype="float64", layers=layers_of([spec])).layers
    flops, steps = Flops(), getattr(technique, "k", 1)
    if hasattr(layer, "draws"):
        layer.draws.key0, layer.draws.key1 = map(flops.watch, (layer.draws.key0, layer.draws.key1))
    x, dy = (flops.watch(numbers(at.N, layer.width, seed=seed)) for seed in (1, 2))
    for number in range(steps):
        _, cache = layer.forward(x, Context(training=True, step=number))
        if layer.place != "inputs" or layer.shapes:  # else the backward pass ends before it
            layer.backward(dy, cache)
    return flops.count / steps


def of_intervention(technique, every, at, monkeypatch):
    """An intervention's arithmetic per step and network, with what it does every few steps shared out."""
    networks = 2 if technique.name == "consensus" else None
    net = network([at.D, at.H, at.K], replicas=networks, dtype="float64")
    X, Y = numbers(at.N, at.D), labels(at.N, classes=at.K)
    techniques = Techniques(net, [technique], SGD(net, 0.1))
    trace = net.forward(X, Context(training=True, step=0))
    step = techniques.step(trace, Y, *losses.cross_entropy(trace.logits, Y))
    net.backward(trace, step.dlogits)
    technique.edit(step, 1, None)  # what is drawn in the first step is no cost of every step

    flops = Flops()
    for name in ("W", "b", "dW", "db"):
        setattr(net, name, [flops.watch(block) for block in getattr(net, name)])
    net.theta, net.dtheta = flops.watch(net.theta), flops.watch(net.dtheta)
    trace.A, trace.Z = ([flops.watch(a) for a in found] for found in (trace.A, trace.Z))
    step.dlogits, step.task_dlogits = flops.watch(step.dlogits), flops.watch(step.task_dlogits)
    step.draws.key0, step.draws.key1 = map(flops.watch, (step.draws.key0, step.draws.key1))
    step.probe_inputs = flops.watch(numbers(at.P, at.D, seed=5))
    for kept in vars(technique).values():
        if isinstance(kept, dict):
            kept.update({key: flops.watch(a) for key, a in kept.items()})
    counted = SimpleNamespace(  # toeplitz fills an array of its own before it adds
        zeros=lambda *a, **k: flops.watch(np.zeros(*a, **k)), sum=np.sum, arange=np.arange
    )
    monkeypatch.setattr(toeplitz, "xp", counted)

    technique.edit(step, 1, None)
    technique.move(step, 1, None)
    seldom, flops.count = flops.count, 0
    technique.watch(step, 1)
    technique.update(step, 1)
    return (flops.count + seldom / every) / (networks or 1)


@pytest.mark.parametrize("at", SHAPES, ids=str)
@pytest.mark.parametrize("spec", SPECS)
def test_the_stated_cost_is_what_is_done(spec, at, monkeypatch):
    placed = place(spec)
    technique = placed.technique
    if kind_of(type(technique)) == "layer":
        counted = of_layer(technique, spec, at)
    else:
        counted = of_intervention(technique, placed.every, at, monkeypatch)
    assert relative_cost(technique, at, placed.every) == pytest.approx(counted / at.step, rel=0.08)


def test_every_technique_has_a_number():
    text = listing.as_text(listing.entries("techniques"))
    assert "?" not in text
    assert "flops are those beside a plain step of 784-16-10 in batches of 64" in text
    assert text.count("% flops]") == len(TECHNIQUES) == len(listing.techniques())
    for entry in listing.techniques():
        assert 0 < entry["relative_cost"] < 100, entry["name"]


def test_what_is_done_every_k_steps_counts_by_its_kth_part():
    redo = place("redo").technique
    assert relative_cost(redo) == pytest.approx(redo.flops(REFERENCE) / 100 / REFERENCE.step)
    assert relative_cost(redo, every=10) == pytest.approx(10 * relative_cost(redo))
    assert cost_text(redo, every=1) == "+425 %"
    assert cost_text(redo) == "+4.2 %"


def test_the_gallery_counts_the_trigger_that_was_asked_for():
    config = gallery.GalleryConfig(technique=("redo", "redo:every=1"))
    _, seldom, often = gallery.gallery(config)
    at_all = [cost_text(place("redo").technique, every) for every in (100, 1)]
    assert [seldom.cost, often.cost] == at_all


def test_the_probe_set_is_as_large_as_costs_take_it_for():
    assert REFERENCE.P == PROBE_ROWS


def test_dropout_of_nothing_costs_nothing():
    assert place("dropout:p=0").technique.flops(REFERENCE) == 0
