"""Every penalty of the catalogue, by the registry: gradients against torch's autograd and central
differences, replicas, odd shapes, odd neurons, float32, the order of neurons, the stand-in, costs.

What each penalty's docstring states, and how a network cheats it, is in test_penalties_meaning.py.
"""

import numpy as np
import pytest
from helpers import labels, network, numbers, targets_for
from penalty_lab import (
    ALL,
    FAMILIES,
    NAMES,
    VARIANTS,
    Bench,
    made,
    name_of,
    run_step,
    torch_gradient,
    with_strength,
)
from technique_table import TABLE

from tinydiv import losses
from tinydiv.backend import to_host, xp
from tinydiv.errors import UsageError
from tinydiv.techniques import TECHNIQUES, Techniques, place

NEEDS_NO_NEURONS = {"spectral-decoupling"}


def test_every_penalty_is_examined():
    assert {name for name, row in TABLE.items() if row.reference} == set(NAMES)
    assert sorted(n for names in FAMILIES.values() for n in names) == NAMES
    for name, specs in VARIANTS.items():
        assert all(name_of(spec) == name for spec in specs)


@pytest.mark.parametrize("name", NAMES)
def test_every_choice_of_every_penalty_is_examined(name):
    """A setting with named choices, or a switch, has a variant for each."""
    for key, f in TECHNIQUES[name].__dataclass_fields__.items():
        choices = f.metadata.get("choices") or ((False, True) if f.type in (bool, "bool") else ())
        seen = {getattr(made(spec), key) for spec in VARIANTS[name]}
        assert set(choices) <= seen, f"{name}: {key} is never {set(choices) - seen}"


@pytest.mark.parametrize("name", NAMES)
def test_every_penaltys_docstring_has_its_parts(name):
    cls = TECHNIQUES[name]
    text = cls.__doc__
    assert "What it teaches:" in text
    assert "cheats it:" in text
    assert "Cost:" in text
    assert cls.family in FAMILIES


# Gradients ---------------------------------------------------------------------------------------

SHAPES = {
    "two hidden layers": ([6, 5, 4, 3], 12),
    "more neurons than inputs": ([3, 7, 5, 2], 11),
    "fewer samples than neurons": ([5, 6, 7, 3], 4),
}


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("spec", ALL)
def test_gradient_is_that_of_autograd(torch, spec, shape, activation):
    sizes, N = SHAPES[shape]
    net = network(sizes, seed=1, activation=activation, dtype="float64")
    X, Y = numbers(N, sizes[0], seed=2), labels(N, classes=sizes[-1], seed=3)
    step = run_step(net, X, Y, with_strength(spec, 0.7))
    second = [view.trace.inputs for view in step.views.values()]
    expected, values = torch_gradient(torch, net, X, Y, spec, 0.7, *second)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(net.dtheta, expected, rtol=1e-9, atol=1e-9 * scale)
    np.testing.assert_allclose([float(v) / 0.7 for v in step.penalties.values()], values, rtol=1e-9)
    run_step(net, X, Y, None)
    assert np.abs(expected - net.dtheta).max() > 1e-7 * scale, "the penalty added nothing"


@pytest.mark.parametrize("layers", ["1", "2", "1+2"])
@pytest.mark.parametrize("name", ["contribution-coherence", "contribution-gram"])
def test_contributions_to_any_layer_are_those_of_autograd(torch, name, layers):
    """Contributions to the next layer; without layers= those of the last hidden one, as before."""
    net = network([4, 5, 6, 3], seed=1, activation="tanh", dtype="float64")
    X, Y = numbers(9, 4, seed=2), labels(9, classes=3, seed=3)
    spec = f"{name}:layers={layers}"
    step = run_step(net, X, Y, with_strength(spec, 0.6))
    found = net.dtheta.copy()
    expected, values = torch_gradient(torch, net, X, Y, spec, 0.6)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose([float(v) / 0.6 for v in step.penalties.values()], values, rtol=1e-9)
    assert len(values) == len(layers.split("+"))
    run_step(net, X, Y, with_strength(name, 0.6))
    assert np.allclose(net.dtheta, found) == (layers == "2")


@pytest.mark.parametrize("spec", ALL)
def test_gradient_is_that_of_central_differences(spec):
    """Four networks of width 4, a strength each (a random cotangent), a random direction each."""
    R, sizes, h = 4, [5, 4, 4, 3], 1e-4
    net = network(sizes, seed=4, activation="tanh", replicas=R, dtype="float64")
    X, Y = numbers(9, 5, seed=5), labels(9, classes=3, seed=6)
    strengths = [0.3, 0.9, 0.5, 0.1]
    text = with_strength(spec, *strengths)

    def total():
        step = run_step(net, X, Y, text)
        return step.loss + sum(step.penalties.values())

    total()
    gradient, theta = net.dtheta.copy(), net.theta.copy()
    direction = numbers(*theta.shape, seed=7)
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    numeric = 0
    for steps, weight in ((1, 8), (-1, -8), (2, -1), (-2, 1)):
        net.theta[...] = theta + steps * h * direction
        numeric = numeric + weight * total() / (12 * h)
    analytic = np.sum(gradient * direction, axis=-1)
    np.testing.assert_allclose(analytic, numeric, rtol=2e-8, atol=2e-9)


@pytest.mark.parametrize("loss", ["cross-entropy", "squared-error"])
@pytest.mark.parametrize("name", FAMILIES["ensemble"])
def test_ensemble_penalties_fit_every_loss(torch, name, loss):
    net = network([4, 5, 3], seed=1, activation="tanh", dtype="float64")
    X, Y = numbers(7, 4, seed=2), targets_for(loss, 7, 3, seed=3)
    run_step(net, X, Y, with_strength(name, 0.6), loss)
    expected, _ = torch_gradient(torch, net, X, Y, name, 0.6, loss=loss)
    np.testing.assert_allclose(net.dtheta, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("spec", ALL)
def test_many_networks_are_each_network_alone(spec):
    """R = H = N = 4, where an axis taken for another would go unnoticed by shapes."""
    R, sizes = 4, [5, 4, 4, 4]
    strengths = [0.0, 0.3, 1.0, 0.6]
    net = network(sizes, seed=8, activation="tanh", replicas=R, dtype="float64")
    X, Y = numbers(R, 4, 5, seed=9), labels(R, 4, classes=4, seed=10)
    step = run_step(net, X, Y, with_strength(spec, *strengths))
    for r, strength in enumerate(strengths):
        one = network(sizes, activation="tanh", dtype="float64")
        one.theta[...] = net.theta[r]
        alone = run_step(one, X[r], Y[r], with_strength(spec, strength), seeds=[r])
        np.testing.assert_allclose(net.dtheta[r], one.dtheta, rtol=1e-9, atol=1e-11)
        for label, value in alone.penalties.items():
            np.testing.assert_allclose(step.penalties[label][r], value, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("spec", ALL)
def test_the_gradients_of_task_and_penalty_can_be_separated(spec):
    """Backward is linear in its upstream gradients: the two parts, run apart, add up."""
    net = network([5, 4, 4, 3], seed=11, activation="tanh", dtype="float64")
    X, Y = numbers(8, 5, seed=12), labels(8, classes=3, seed=13)
    run_step(net, X, Y, spec)
    both = net.dtheta.copy()
    run_step(net, X, Y, None)
    task = net.dtheta.copy()
    if place(spec).technique.acts_on == "outputs":
        return  # it adds to the same upstream gradient as the task
    run_step(net, X, Y, spec, task=False)
    np.testing.assert_allclose(task + net.dtheta, both, rtol=1e-12, atol=1e-15)


def penalty_part(spec, number=0, total=1, waited=0):
    """What one penalty adds to dtheta in one step of a run of `total` steps, by block of theta.

    waited: steps with the same loss that came before.
    """
    net = network([5, 4, 4, 3], seed=11, activation="tanh", dtype="float64")
    X, Y = numbers(8, 5, seed=12), labels(8, classes=3, seed=13)
    techniques = Techniques(net, [spec], total=total)
    trace = net.forward(X)
    for _ in range(waited + 1):
        step = techniques.step(trace, Y, *losses.cross_entropy(trace.logits, Y), number)
        techniques.before_backward(step)
    net.backward(trace, step.dlogits, step.dA)
    techniques.after_backward(step)
    part = net.dtheta.copy()
    net.backward(trace, step.task_dlogits)
    part -= net.dtheta
    return {block.name: part[block.start : block.stop] for block in net.blocks}


@pytest.mark.parametrize("name", [n for n in NAMES if n != "barlow"])
def test_a_schedule_scales_it(name):
    """Half-way through, linear decay leaves half of it; before a plateau there is nothing, at it all.

    Barlow is left out: it draws other noise in another step.
    """
    full = penalty_part(name)
    half = penalty_part(f"{name}:schedule=linear", number=5, total=10)
    none = penalty_part(f"{name}:schedule=plateau,patience=3", waited=2)
    stuck = penalty_part(f"{name}:schedule=plateau,patience=3", waited=3)
    assert max(np.abs(part).max() for part in full.values()) > 1e-6
    for block, part in full.items():
        np.testing.assert_allclose(half[block], part / 2, rtol=1e-9, atol=1e-14)
        assert np.abs(none[block]).max() < 1e-14
        np.testing.assert_allclose(stuck[block], part, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("name", FAMILIES["activations"] + FAMILIES["weights"])
def test_layers_choose_where_it_acts(name):
    """At layer 1 alone it cannot touch what leads from layer 2 to the outputs, and the other way on."""
    if made(name).acts_on != "hidden layers":
        return
    both = penalty_part(name)
    first, second = penalty_part(f"{name}:layers=1"), penalty_part(f"{name}:layers=2")
    for block, part in both.items():
        np.testing.assert_allclose(first[block] + second[block], part, rtol=1e-9, atol=1e-14)
    assert np.abs(first["W0"]).max() > 1e-9 or name == "l1-gates"  # which looks at outgoing weights
    assert not np.abs(first["W2"]).max() > 1e-14
    assert np.abs(second["W1"]).max() > 1e-9 or name == "l1-gates"


# Odd neurons -------------------------------------------------------------------------------------


def odd_bench(dtype, N=9):
    """Neurons that are off, constant, twins, near twins, mirror images, and usual ones."""
    rng = np.random.default_rng(3)
    A, W, V = rng.normal(size=(N, 8)), rng.normal(size=(5, 8)), rng.normal(size=(8, 3))
    A[:, 0], A[:, 1] = 0, 3
    W[:, 0], W[:, 1] = 0, 1e-4 * W[:, 1]
    V[0], V[1] = 0, 1e-4 * V[1]
    for M in (A.T, W.T, V):
        M[3] = M[2]
        M[4] = M[2] + 1e-6 * M[5]
        M[6] = -M[2]
    return Bench(A=A, W=W, V=V, dtype=dtype)


@pytest.mark.parametrize("N", [9, 2, 1])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("spec", ALL)
def test_odd_neurons_give_numbers(spec, dtype, N):
    seen = odd_bench(dtype, N)(spec)
    assert seen.gradients()
    for part in (seen.value, *seen.gradients().values()):
        assert np.isfinite(part).all()
        assert part.dtype == dtype


@pytest.mark.parametrize("spec", ALL)
def test_a_layer_of_dead_neurons_gives_numbers(spec):
    seen = Bench(A=np.zeros((6, 4)), W=np.zeros((5, 4)), V=np.zeros((4, 3)))(spec)
    assert np.isfinite(seen.value)
    assert np.isfinite(seen.flat()).all()


@pytest.mark.parametrize("spec", ALL)
def test_one_neuron_alone_gives_numbers(spec):
    seen = Bench(H=1)(spec)
    assert np.isfinite(seen.value)
    assert np.isfinite(seen.flat()).all()


@pytest.mark.parametrize("spec", ALL)
def test_a_diverged_network_does_not_stop_the_others(spec):
    """Infinite and undefined weights in two of three networks: the third one's gradient is its own.

    The record of a network that diverged is NaN, never a small number.
    """
    net = network([5, 4, 4, 3], seed=4, activation="tanh", replicas=3, dtype="float64")
    X, Y = numbers(9, 5, seed=5), labels(9, classes=3, seed=6)
    run_step(net, X, Y, spec)
    right = net.dtheta[0].copy()
    net.theta[1], net.theta[2] = np.nan, np.inf
    with np.errstate(all="ignore"):
        step = run_step(net, X, Y, spec)
    np.testing.assert_allclose(net.dtheta[0], right, rtol=1e-9, atol=1e-13)
    for value in step.penalties.values():
        assert np.isfinite(value).tolist() == [True, False, False]


@pytest.mark.parametrize("spec", [s for s in ALL if name_of(s) not in NEEDS_NO_NEURONS])
def test_a_dead_neuron_never_counts_as_independent(spec):
    """To add a neuron that is off (no activation, no weights) never lowers a penalty.

    A mean over H (H - 1) pairs, or a tree with an edge of length 1 to the dead neuron, would.
    """
    rng = np.random.default_rng(6)
    shared = rng.normal(size=(16, 1))
    A, W, V = rng.normal(size=(16, 5)) + shared, rng.normal(size=(7, 5)), rng.normal(size=(5, 3))
    W += rng.normal(size=(7, 1))
    wider = Bench(
        A=np.concatenate([A, np.zeros((16, 1))], axis=1),
        W=np.concatenate([W, np.zeros((7, 1))], axis=1),
        V=np.concatenate([V, np.zeros((1, 3))], axis=0),
    )
    before, after = Bench(A=A, W=W, V=V)(spec), wider(spec)
    assert before.value != 0
    # WLD's determinants carry delta = 1e-3 on the diagonal.
    room = 1e-3 if name_of(spec) == "wld-reg" else 1e-12
    assert after.value >= before.value - room * max(1.0, abs(before.value))


@pytest.mark.parametrize("spec", [s for s in ALL if name_of(s) not in NEEDS_NO_NEURONS])
def test_the_order_of_neurons_does_not_matter(spec):
    rng = np.random.default_rng(9)
    A, B = rng.normal(size=(11, 6)), rng.normal(size=(11, 6))
    W, V = rng.normal(size=(8, 6)), rng.normal(size=(6, 3))
    order = rng.permutation(6)
    before = Bench(A=A, B=B, W=W, V=V)(spec)
    after = Bench(A=A[:, order], B=B[:, order], W=W[:, order], V=V[order])(spec)
    np.testing.assert_allclose(after.value, before.value, rtol=1e-10)
    for key, gradient in before.gradients().items():
        moved = gradient[order] if key == "dV" else gradient[:, order]
        np.testing.assert_allclose(after.gradients()[key], moved, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("spec", ALL)
def test_float32_agrees_with_float64(spec):
    """With activations far from zero: E[ab] - E[a]E[b] would lose all digits here."""
    rng = np.random.default_rng(10)
    A = rng.normal(size=(64, 6)) + 30
    B = A + 0.1 * rng.normal(size=(64, 6))
    if name_of(spec) in ("wld-reg", "spectral-decoupling", *FAMILIES["ensemble"]):
        A, B = A - 30, B - 30  # these look at the activations themselves
    W, V = rng.normal(size=(20, 6)), rng.normal(size=(6, 3))
    single = Bench(A=A, B=B, W=W, V=V, dtype="float32")(spec)
    double = Bench(
        *(np.float32(M).astype("float64") for M in (A, W, V, B)),
    )(spec)
    np.testing.assert_allclose(single.value, double.value, rtol=3e-4)
    error = np.linalg.norm(single.flat() - double.flat()) / np.linalg.norm(double.flat())
    assert error < 1e-3


# On the GPU's stand-in -----------------------------------------------------------------------------


@pytest.mark.parametrize("spec", ALL)
def test_no_penalty_waits_for_the_device(on_standin, spec):
    net = network([6, 5, 4, 3], seed=1, activation="relu", replicas=3)
    X, Y = numbers(3, 8, 6, dtype="float32"), labels(8, classes=3)
    with_strengths = with_strength(spec, 0.1, 0.2, 0.3)
    run_step(net, X, Y, with_strengths)  # what is made once is made now
    with on_standin.counting() as counts:
        step = run_step(net, X, Y, with_strengths)
    assert counts.stops == 0
    assert net.dtheta.dtype == "float32"
    assert all(v.dtype == "float32" and v.shape == (3,) for v in step.penalties.values())
    assert bool(to_host(xp.isfinite(net.dtheta)).all())


# Settings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("pearson:eps=0", "must be above 0"),
        ("pearson:debiased=maybe", "true or false"),
        ("wld-reg:form=logdett", "did you mean 'logdet'"),
        ("spanning-tree:form=t3", "allowed: t1, t2|did you mean"),
        ("spanning-tree:balance=2", "at most 1"),
        ("hyperspherical-energy:s=3", "at most 2"),
        ("hyperspherical-energy:space=quarter", "full, half"),
        ("srip:iterations=-1", "at least 0"),
        ("l1-gates:gate=incoming", "did you mean 'outgoing'|allowed: outgoing, path"),
        ("barlow:noise=-1", "at least 0"),
        ("negative-correlation:lambda=1.5", "rewards disagreement without bound"),
        ("spectral-decoupling:layers=1", "takes no layers"),
        ("negative-correlation:layers=1", "takes no layers"),
        ("perason", "did you mean 'pearson'"),
    ],
)
def test_a_bad_setting_gets_one_sentence(spec, sentence):
    with pytest.raises(UsageError, match=sentence) as caught:
        place(spec)
    assert "\n" not in str(caught.value)


def test_class_decov_refuses_targets_that_are_no_classes():
    net = network([4, 5, 2], activation="tanh", dtype="float64")
    with pytest.raises(UsageError, match="class numbers"):
        run_step(net, numbers(6, 4), numbers(6, 2), "class-decov", "squared-error")


def test_a_technique_cannot_declare_a_setting_that_the_framework_owns(tmp_path):
    """Its value would be read as the framework's, in silence."""
    file = tmp_path / "mine.py"
    file.write_text(
        "from tinydiv.techniques import WeightPenalty\n"
        "class Mine(WeightPenalty):\n"
        "    steps: int = 3\n"
    )
    with pytest.raises(UsageError, match="Mine declares 'steps', which every penalty has"):
        place(f"{file}:Mine")
