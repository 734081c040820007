"""Growing networks: gradients by PyTorch, neurons that sleep, waking them, and refused settings."""

import numpy as np
import pytest
from helpers import close, labels, network, numbers

from tinydiv.backend import to_device, to_host, xp
from tinydiv.diversity import METRICS, measure
from tinydiv.errors import UsageError
from tinydiv.layers import Context
from tinydiv.losses import cross_entropy
from tinydiv.optimizers import SGD, Adam
from tinydiv.similarity import correlations, off_diagonal
from tinydiv.techniques import TECHNIQUES, Techniques, layers_of
from tinydiv.techniques.conflicts import CONFLICTS
from tinydiv.techniques.grow import awake, put_to_sleep
from tinydiv.techniques.sized import sized_at

GROWERS = ["grow", "gradmax", "net2net", "residual-fitting"]
SIZES = [6, 5, 4, 3]


def parts(specs, sizes=SIZES, replicas=None, seed=0, activation="tanh"):
    net = network(sizes, seed, replicas=replicas, dtype="float64", activation=activation,
                  layers=layers_of(specs))  # fmt: skip
    return net, numbers(30, sizes[0], seed=1), labels(30, classes=sizes[-1], seed=2)


def one_step(net, techniques, X, Y, number=0):
    trace = net.forward(X, Context(training=True, step=number))
    loss, dlogits = cross_entropy(trace.logits, Y)
    step = techniques.backward(techniques.step(trace, Y, loss, dlogits, number))
    if techniques.optimizer is not None:
        techniques.optimizer.step()
        techniques.after_update(step)
    return step


# Learned sizes -----------------------------------------------------------------------------------


def gates(torch, spec, size, H):
    """How far each neuron is open, from the description alone."""
    neurons = torch.arange(H, dtype=torch.float64)
    if spec.startswith("learned-size"):
        delta = 0.7 if "delta=0.7" in spec else 1.0
        u = torch.clip(size - neurons, 0, delta)
        return torch.sin(torch.pi * u / (2 * delta)) ** 2
    p = torch.sin(torch.pi * size / 2) ** 2
    return p + 0 * neurons if "form=gate" in spec else torch.clip(p * H - neurons, 0, 1)


@pytest.mark.parametrize(
    ("spec", "sizes_of_networks"),
    [
        ("learned-size", (0.3, 2.6, 4.45)),
        ("learned-size:size_input=true,delta=0.7", (0.3, 2.6, 4.45)),
        ("size-mask:size_input=true", (0.2, 0.45, 0.9)),
        ("size-mask:form=gate,size_input=true", (0.2, 0.45, 0.9)),
    ],
)
@pytest.mark.parametrize("replicas", [None, 3])
def test_every_gradient_of_a_learned_size_is_pytorchs(
    spec, sizes_of_networks, replicas, backend, torch
):
    goal, strength = (2, 0.3) if spec.startswith("learned") else (1, 0.3)
    loss_spec = f"size-loss:goal={goal},strength={strength}"
    net, X, Y = parts([spec], replicas=replicas)
    for layer in (1, 2):
        size = sized_at(net, layer).size
        size[...] = to_device(np.array(sizes_of_networks[: replicas or 1]).reshape(size.shape))
    one_step(net, Techniques(net, [spec, loss_spec]), X, Y)
    Xt, Yt = torch.tensor(to_host(X)), torch.tensor(to_host(Y)).long()
    for r in range(replicas or 1):
        own = {
            block.name: torch.tensor(
                to_host(net.view(net.theta, block.name)).reshape(-1, *block.shape)[r].copy(),
                requires_grad=True,
            )
            for block in net.blocks
        }
        A, total = Xt, 0
        for l in range(3):
            Z = A @ own[f"W{l}"] + own[f"b{l}"]
            if l == 2:
                break
            name = f"[{spec.partition(':')[0]}.{l + 1}]"
            size = own[("N" if "learned" in spec else "c") + name]
            if "size_input" in spec:
                Z = Z + size * own["w" + name]
            A = torch.tanh(Z) * gates(torch, spec, size, Z.shape[1])
            total = total + strength * (size[0, 0] - goal) ** 2
        (torch.nn.functional.cross_entropy(Z, Yt) + total).backward()
        for name, value in own.items():
            mine = to_host(net.view(net.dtheta, name)).reshape(-1, *value.shape)[r]
            np.testing.assert_allclose(
                mine, value.grad.numpy(), rtol=1e-9, atol=1e-11, err_msg=name
            )


def test_the_tasks_gradient_reaches_the_controller_by_its_share(backend):
    found = {}
    for share in (0, 0.5, 1):
        spec = f"size-mask:size_input=true,share={share}"
        net, X, Y = parts([spec])
        sized_at(net, 1).size[...] = 0.4
        one_step(net, Techniques(net, [spec]), X, Y)
        found[share] = float(to_host(net.view(net.dtheta, "c[size-mask.1]")).item())
    assert found[0] == 0
    assert abs(found[1]) > 1e-4
    assert found[0.5] == pytest.approx(found[1] / 2, rel=1e-12)


@pytest.mark.parametrize("spec", ["learned-size:size_input=true", "size-mask:size_input=true"])
def test_a_learned_size_folds_into_plain_weights(spec, backend):
    net, X, _ = parts([spec], replicas=3)
    sized_at(net, 1).size[...] = to_device(np.array([0.3, 0.6, 0.9]).reshape(3, 1, 1))
    plain = net.folded()
    assert not plain.layers
    close(plain.forward(X).logits, net.forward(X).logits)


@pytest.mark.parametrize("optimizer", [SGD, Adam])
def test_a_size_has_a_rate_of_its_own(optimizer, backend):
    moved = {}
    for rate in (1, 20):
        specs = [f"learned-size:rate={rate},start=2", "size-loss:goal=4"]
        net, X, Y = parts(specs)
        before = to_host(net.theta).copy()
        one_step(net, Techniques(net, specs, optimizer(net, 1e-3)), X, Y)
        after = to_host(net.theta)
        block = net.block("N[learned-size.1]")
        moved[rate] = (
            (after - before)[block.start],
            np.delete(after, [block.start, block.start + 1]),
        )
    assert moved[20][0] == pytest.approx(20 * moved[1][0], rel=1e-9)
    np.testing.assert_array_equal(moved[20][1], moved[1][1])


def test_the_trace_shows_the_rate_of_a_size(capsys):
    from tinydiv.trace.command import main

    flags = ["--technique", "learned-size:rate=4", "--technique", "size-loss:goal=2"]
    assert main([*flags, "--optimizer", "sgd", "--lr", "0.5"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "N[learned-size.1] <- N[learned-size.1] - 2 " in shown
    assert "W[0] <- W[0] - 0.5 dW[0]" in shown


def test_size_loss_drives_a_size_to_its_goal_from_nothing(backend):
    specs = ["learned-size:start=0", "size-loss:goal=3,strength=0.5"]
    net, X, Y = parts(specs, replicas=2)
    for layer in (1, 2):
        sized_at(net, layer).reset_parameters()
    techniques = Techniques(net, specs, SGD(net, 0.05))
    for number in range(60):
        one_step(net, techniques, X, Y, number)
    assert to_host(sized_at(net, 1).size).min() > 2.5


# Neurons that sleep ------------------------------------------------------------------------------


def growing(spec, *more, replicas=None, optimizer=SGD, lr=0.1, sizes=(6, 8, 3), **settings):
    specs = [spec, *more]
    net, X, Y = parts(specs, sizes, replicas=replicas, **settings)
    seeds = range(replicas or 1)
    techniques = Techniques(net, specs, optimizer(net, lr), probe_inputs=X, seeds=seeds)
    return net, techniques, X, Y


def count(net, layer=1):
    return to_host(xp.sum(awake(net, layer), axis=-1)).tolist()


@pytest.mark.parametrize("name", GROWERS)
@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
def test_neurons_sleep_exactly_until_they_are_woken(name, activation, backend):
    net, techniques, X, Y = growing(
        f"{name}:first=2,number=3,every=4", optimizer=Adam, replicas=2, activation=activation
    )
    found = []
    for number in range(12):
        one_step(net, techniques, X, Y, number)
        found.append(count(net)[0])
    # gradmax wakes at most min(D, K) = 3 at a time, net2net copies each awake neuron once at a time.
    second, third = (4, 7) if name == "net2net" else (5, 8)
    assert found == [2] * 3 + [second] * 4 + [third] * 4 + [8]
    assert np.isfinite(to_host(net.theta)).all()


@pytest.mark.parametrize(
    ("spec", "exact"),
    [
        ("grow", 1e-13),
        ("grow:incoming=decorrelated", 1e-13),
        ("residual-fitting", 1e-13),
        ("net2net:noise=0", 1e-12),
        ("gradmax:start=1e-9", 1e-7),
    ],
)
def test_waking_changes_no_output(spec, exact, backend):
    net, techniques, X, Y = growing(spec + (",every=5" if ":" in spec else ":every=5"), replicas=2)
    for number in range(4):
        step = one_step(net, techniques, X, Y, number)
    technique = techniques.placed[0].technique
    before = to_host(net.forward(X).logits)
    technique.move(step, 1, None)
    assert count(net) == [8, 8] if "gradmax" not in spec else [7, 7]
    np.testing.assert_allclose(to_host(net.forward(X).logits), before, atol=exact)


def test_a_woken_neuron_learns(backend):
    net, techniques, X, Y = growing("grow:first=2,number=2,every=1")
    for number in range(6):
        one_step(net, techniques, X, Y, number)
    V = abs(to_host(net.W[1])).sum(axis=-1)
    assert (V[:8] > 0).all()


def test_decorrelated_incoming_weights_have_uncorrelated_responses(backend):
    def largest(incoming):
        net, techniques, X, Y = growing(
            f"grow:first=2,number=3,every=1,incoming={incoming}", replicas=4
        )
        step = one_step(net, techniques, X, Y)
        assert count(net) == [5] * 4
        Z = step.net.forward(X).Z[0][..., :5]
        R = abs(to_host(off_diagonal(correlations(Z, 1e-12).R)))
        R[..., :2, :2] = 0  # the two old ones were not chosen
        return R.max()

    assert largest("decorrelated") < 1e-3
    assert largest("random") > 0.1


def test_nodes_are_subtracted_too(backend):
    net, techniques, X, Y = growing("grow:first=8,number=0,drop=3,every=1", replicas=2)
    counts = [count(net)]
    for number in range(4):
        one_step(net, techniques, X, Y, number)
        counts.append(count(net))
    assert counts == [[8, 8], [5, 5], [2, 2], [1, 1], [1, 1]]


def test_the_least_neuron_falls_asleep_and_its_mean_stays(backend):
    net, techniques, X, Y = growing("grow:first=8,number=0,drop=1,every=1", lr=0.0)
    net.W[1][3] *= 1e-3
    before = to_host(net.forward(X).logits)
    one_step(net, techniques, X, Y)
    assert not bool(to_host(awake(net, 1))[3])
    after = to_host(net.forward(X).logits)
    np.testing.assert_allclose(after.mean(axis=0), before.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(after, before, atol=1e-2)


def test_growth_stops_at_its_setting_most(backend):
    net, techniques, X, Y = growing("grow:first=2,number=3,most=6,every=1")
    for number in range(4):
        one_step(net, techniques, X, Y, number)
    assert count(net) == 6


def test_on_a_plateau_networks_come_to_differ_in_size(backend):
    net, techniques, X, Y = growing(
        "grow:first=2,number=2,when=plateau,patience=2,every=1", replicas=2
    )
    for number in range(6):
        trace = net.forward(X, Context(training=True, step=number))
        _, dlogits = cross_entropy(trace.logits, Y)
        loss = to_device(np.array([1.0, 0.5**number]))
        step = techniques.backward(techniques.step(trace, Y, loss, dlogits, number))
        techniques.optimizer.step()
        techniques.after_update(step)
    stalled, fell = count(net)
    assert stalled > 2
    assert fell == 2


@pytest.mark.parametrize("name", GROWERS)
def test_many_networks_are_each_alone(name, backend):
    spec = f"{name}:first=2,number=2,every=2"
    many, techniques, X, Y = growing(spec, replicas=3, optimizer=Adam)
    start = np.random.default_rng(5).normal(scale=0.5, size=many.theta.shape)

    def run(net, techniques, theta):
        net.theta[...] = to_device(theta)
        techniques.placed[0].technique.prepare(net, 1, X)
        for number in range(5):
            one_step(net, techniques, X, Y, number)
        return to_host(net.theta)

    together = run(many, techniques, start)
    for r in (0, 2):
        net, _, _, _ = growing(spec, optimizer=Adam)
        alone = Techniques(net, [spec], Adam(net, 0.1), probe_inputs=X, seeds=[r])
        np.testing.assert_allclose(run(net, alone, start[r]), together[r], rtol=1e-7, atol=1e-9)


def test_residual_fitting_holds_the_older_neurons_fixed(backend):
    net, techniques, X, Y = growing("residual-fitting:first=2,number=2,every=3", optimizer=Adam)
    for number in range(3):
        one_step(net, techniques, X, Y, number)
    old = to_host(net.W[0])[:, :2].copy(), to_host(net.W[1])[:2].copy()
    new = to_host(net.W[1])[2:4].copy()
    for number in range(3, 5):
        one_step(net, techniques, X, Y, number)
    np.testing.assert_array_equal(to_host(net.W[0])[:, :2], old[0])
    np.testing.assert_array_equal(to_host(net.W[1])[:2], old[1])
    assert (to_host(net.W[1])[2:4] != new).all()


def test_gradmax_gives_new_neurons_the_largest_gradient(backend):
    """Of all outgoing weights of that length: the incoming gradient is the singular value."""
    sizes, length = {}, 0.0
    for spec in ("gradmax", "grow"):
        net, techniques, X, Y = growing(f"{spec}:first=2,number=1,every=1", lr=0.0)
        one_step(net, techniques, X, Y)
        if spec == "grow":  # a random direction of the same length
            v = np.array([1.0, -1.0, 0.3])
            net.W[1][2] = to_device(v * length / np.linalg.norm(v))
            net.W[0][:, 2] *= 1e-6
            net.b[0][:, 2] *= 0
        else:
            length = np.linalg.norm(to_host(net.W[1])[2])
        trace = net.forward(X)
        net.backward(trace, cross_entropy(trace.logits, Y)[1])
        sizes[spec] = np.linalg.norm(to_host(net.dW[0])[:, 2])
    assert sizes["gradmax"] > sizes["grow"]


@pytest.mark.parametrize("partner", sorted(set(TECHNIQUES) - set(GROWERS)))
def test_sleepers_stay_asleep_beside_every_technique(partner, backend):
    """Or the pair is refused in one sentence."""
    specs = ("grow:first=2,every=1000", *TECHNIQUES[partner].needs, partner)
    names = {frozenset(("grow", spec.partition(":")[0])) for spec in specs[1:]}
    if names & set(CONFLICTS):
        with pytest.raises(UsageError, match="exclude each other"):
            growing(*specs, replicas=2)
        return
    net, techniques, X, Y = growing(*specs, replicas=2, optimizer=Adam, lr=0.01)
    for number in range(4):
        one_step(net, techniques, X, Y, number)
    assert count(net) == [2, 2]


# What is measured --------------------------------------------------------------------------------


BY_CONNECTIONS = {"neural_persistence", "deep_graph_persistence"}
"""Measures that are normalised by the number of possible connections, sleeping neurons' too."""


@pytest.mark.parametrize("name", sorted(set(METRICS) - BY_CONNECTIONS))
def test_metrics_count_the_neurons_that_are_awake(name, backend):
    """A network with sleepers, and one with shut gates, measures as the small network alone."""
    small, X, Y = parts([], (6, 4, 3))
    large, _, _ = parts([], (6, 9, 3))
    gated, _, _ = parts(["learned-size"], (6, 9, 3), seed=4)
    sized_at(gated, 1).size[...] = 4
    for net in (large, gated):
        if net is large:
            put_to_sleep(net, 1, xp.arange(9) >= 4)
        net.W[0][:, :4], net.b[0][:, :4] = small.W[0], small.b[0]
        net.W[1][:4], net.b[1][...] = small.W[1], small.b[1]
    found = [
        to_host(measure(net, net.forward(X), [name], Y)[name]) for net in (small, large, gated)
    ]
    close(found[1], found[0], rtol=1e-9, atol=1e-12)
    close(found[2], found[0], rtol=1e-9, atol=1e-12)
    if name == "awake":
        assert found[0] == 4


# Settings that are refused -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("specs", "sentence"),
    [
        (["grow:first=0"], "grow's first must be at least 1, got 0"),
        (["grow:first=9"], "grow's first is 9 and layer 1 has room for 8 neurons"),
        (["grow:most=9"], "grow's most is 9 and layer 1 has room for 8 neurons"),
        (["grow:first=4,most=3"], "grow's most is 3, fewer than the 4 it begins with"),
        (["grow:number=0"], "number=0 and drop=0 changes nothing"),
        (["grow", "redo"], "grow and redo exclude each other: sleeping neurons have no weights"),
        (["grow", "net2net"], "both decide which neurons are awake"),
        (["learned-size", "size-mask"], "both decide how many neurons take part"),
        (["size-loss"], "layer 1 has none: add learned-size or size-mask"),
        (["learned-size", "size-loss:goal=9"], "goal 9 is too large for layer 1"),
        (["size-mask", "size-loss:goal=2"], "goal 2 is too large for layer 1"),
        (["learned-size", "size-loss:strength=-1"], "strength must be a number from 0 up, got -1"),
    ],
)
def test_what_cannot_be_is_one_sentence(specs, sentence):
    with pytest.raises(UsageError) as raised:
        growing(*specs)
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", GROWERS)
def test_no_neuron_can_sleep_under_the_sigmoid(name):
    with pytest.raises(UsageError, match="f\\(0\\) = 0"):
        growing(name, activation="sigmoid")


@pytest.mark.parametrize("form", ["learned-size", "size-mask"])
def test_a_gate_that_is_open_or_shut_has_no_slope_at_all(form, backend):
    net, _, _ = parts([form])
    layer = sized_at(net, 1)
    layer.size[...] = 2.25 if form == "learned-size" else 0.4
    g, slope = (to_host(a)[0] for a in layer.gates())
    still = (g == 0) | (g == 1)
    assert 1 < still.sum() < len(g)
    assert (slope[still] == 0).all()
    assert (slope[~still] > 0).all()


def test_one_gate_for_all_neurons_has_a_value_and_a_slope_for_each(backend):
    net, _, _ = parts(["size-mask:form=gate"])
    g, slope = sized_at(net, 1).gates()
    assert g.shape == slope.shape == (1, net.sizes[1])
