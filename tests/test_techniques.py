"""The framework around techniques: settings, strengths, layers, triggers, conflicts, state.

The maths of each technique is proven elsewhere (test_penalties*.py, check.py, test_<name>.py).
"""

from dataclasses import field
from types import SimpleNamespace

import numpy as np
import pytest

from tinydiv import data
from tinydiv.activations import ACTIVATIONS
from tinydiv.backend import to_device, to_host, xp
from tinydiv.diversity import METRICS
from tinydiv.errors import UsageError
from tinydiv.initializers import BASES, SCHEMES, initialize
from tinydiv.layers import Context
from tinydiv.loop import train
from tinydiv.losses import LOSSES, cross_entropy
from tinydiv.mlp import MLP
from tinydiv.optimizers import OPTIMIZERS, SGD, Adam
from tinydiv.runs.build import build
from tinydiv.runs.config import TrainConfig
from tinydiv.schedules import SHAPES, parse
from tinydiv.settings import sentence_and_paper
from tinydiv.techniques import (
    TECHNIQUES,
    ActivationPenalty,
    Intervention,
    Techniques,
    layers_of,
    place,
    setting,
)
from tinydiv.techniques.placing import Placed, kind_of
from tinydiv.techniques.plateau import Plateau

SIZES = [6, 5, 4, 3]


def make(specs, replicas=None, sizes=SIZES, lr=0.1, optimizer=SGD, **more):
    """A float64 network with its optimizer and techniques, and a batch."""
    rng = np.random.default_rng(7)
    net = MLP(sizes, "tanh", replicas, "float64", layers_of(specs))
    initialize(net, "glorot-normal", seed=3)
    opt = optimizer(net, lr)
    techniques = Techniques(net, specs, opt, **more)
    X = to_device(rng.standard_normal((8, sizes[0])))
    Y = to_device(rng.integers(0, sizes[-1], 8).astype("int32"))
    return net, opt, techniques, X, Y


def one_step(net, opt, techniques, X, Y, number=0, epoch=0):
    """What the training loop does, for one batch; returns the Step."""
    trace = net.forward(X, Context(training=True, step=number))
    loss, dlogits = cross_entropy(trace.logits, Y)
    step = techniques.backward(techniques.step(trace, Y, loss, dlogits, number, epoch))
    opt.step()
    techniques.after_update(step)
    return step


def gradient(specs, replicas=None, **more):
    """dtheta of one step, and the step."""
    net, opt, techniques, X, Y = make(specs, replicas, **more)
    step = one_step(net, opt, techniques, X, Y)
    return to_host(net.dtheta).copy(), step


(
    BatchNorm,
    Coherence,
    Consensus,
    DeCov,
    HypersphericalEnergy,
    Muon,
    NegativeCorrelation,
    Pearson,
) = (
    TECHNIQUES[name]
    for name in (
        *("batch-norm", "coherence", "consensus", "decov", "hyperspherical-energy", "muon"),
        *("negative-correlation", "pearson"),
    )
)
ReDo, SRIP, WLDReg = (TECHNIQUES[name] for name in ("redo", "srip", "wld-reg"))

PENALTIES = sorted(n for n, c in TECHNIQUES.items() if kind_of(c) == "penalty" and not c.needs)


class Quiet(ActivationPenalty):
    """Small activations: L = 1/(2N) sum A^2, dL/dA = A/N."""

    def __call__(self, A, step):
        N = A.shape[-2]
        return xp.sum(A**2, axis=(-2, -1)) / (2 * N), A / N


def test_strength_scales_value_and_gradient(backend):
    plain, _ = gradient([])
    one, first = gradient(["decov:strength=0.5"])
    two, second = gradient(["decov:strength=1.0"])
    np.testing.assert_allclose(two - plain, 2 * (one - plain), rtol=1e-9, atol=1e-14)
    assert np.abs(one - plain).max() > 1e-4
    for layer in (1, 2):
        a, b = (float(to_host(s.penalties[f"decov.{layer}"])) for s in (first, second))
        assert b == pytest.approx(2 * a)
        assert a > 0


@pytest.mark.parametrize("name", PENALTIES)
def test_strength_per_network_is_each_network_alone(name, backend):
    """R equal to the width of both hidden layers: a strength that multiplies neurons would show."""
    R, sizes = 4, [6, 4, 4, 3]
    strengths = [0.0, 0.25, 0.5, 1.0]
    text = f"{name}:strength=" + "/".join(map(str, strengths))
    together, step = gradient([text], R, sizes=sizes)
    for r, strength in enumerate(strengths):
        net, opt, techniques, X, Y = make([f"{name}:strength={strength}"], sizes=sizes, seeds=[r])
        initialize(net, "glorot-normal", seed=3 + r)
        alone = one_step(net, opt, techniques, X, Y)
        np.testing.assert_allclose(together[r], to_host(net.dtheta), rtol=1e-9, atol=1e-12)
        for label, value in alone.penalties.items():
            assert float(to_host(step.penalties[label])[r]) == pytest.approx(float(to_host(value)))


def test_layers_choose_where_a_penalty_acts(backend):
    plain, _ = gradient([])
    second, step = gradient(["cosine:layers=2"])
    net = make([])[0]
    changed = np.abs(second - plain) > 1e-12
    W1 = net.block("W1")
    assert changed[W1.start : W1.stop].any()
    assert not changed[: W1.start].any()
    assert not changed[W1.stop :].any()
    assert list(step.penalties) == ["cosine"]


@pytest.mark.parametrize(
    "specs",
    [
        ("decov:strength=0.5", "pearson:strength=0.7"),
        ("barlow:strength=0.5", "barlow:redundancy=0.4,strength=0.7"),
    ],
    ids=["one pass", "a second pass that both share"],
)
def test_two_penalties_on_the_same_activations_add_up(specs, backend):
    plain, _ = gradient([])
    one, other = (gradient([spec])[0] for spec in specs)
    both, _ = gradient(specs)
    np.testing.assert_allclose(both - plain, one + other - 2 * plain, rtol=1e-9, atol=1e-13)
    assert min(np.abs(part - plain).max() for part in (one, other)) > 1e-4


def test_the_second_pass_sees_the_inputs_and_noise_of_that_deviation(backend):
    net, opt, techniques, X, Y = make(["barlow:noise=0.3"])
    step = one_step(net, opt, techniques, X, Y, number=2)
    numbers = step.noise.symmetric(X.shape, 2, 0, "float64")
    noisy = to_host(step.views[0.3].trace.inputs)
    np.testing.assert_allclose(noisy, to_host(X + 0.3 * numbers), rtol=1e-12)
    assert 0.2 < (noisy - to_host(X)).std() < 0.4


def test_two_of_a_name_are_recorded_apart(backend):
    _, step = gradient(["cosine:layers=1,strength=1", "cosine:layers=1,strength=2"])
    values = [float(to_host(v)) for v in step.penalties.values()]
    assert len(values) == 2
    assert values[1] == pytest.approx(2 * values[0])


def test_lambda_is_one_minus_strength():
    assert place("negative-correlation:lambda=0.75").strength == (0.25,)
    assert place("negative-correlation:lambda=1/0.5").strength == (0.0, 0.5)
    with pytest.raises(UsageError, match="without bound"):
        place("negative-correlation:lambda=1.5")
    with pytest.raises(UsageError, match="not both"):
        place("negative-correlation:lambda=0.5,strength=0.5")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("decof", "did you mean 'decov'"),
        ("decov:strenght=1", "did you mean 'strength'"),
        ("decov:strength=lots", "one number, or one per network"),
        ("decov:strength=-1", "reward what the penalty punishes"),
        ("decov:strength=inf", "must be a finite number"),
        ("decov:strength", "is not key=value"),
        ("decov:strength=1,strength=2", "set twice"),
        ("decov:layers=0", "hidden layers as 1 or 1"),
        ("decov:layers=9", "the hidden layers are 1, 2"),
        ("decov:schedule=linaer", "did you mean 'linear'"),
        ("decov:patience=0", "from 1 up"),
        ("decov:strength=1/2", "one per network"),
        ("muon:lr=0", "must be above 0"),
        ("muon:lr=nan", "must be finite"),
        ("muon:nesterov=perhaps", "true or false"),
        ("muon:strength=1", "no setting 'strength'"),
        ("muon:when=sometimes", "always or plateau"),
        ("merge-recycle:every=0", "from 1 up"),
        ("merge-recycle:threshold=2", "at most 1"),
        ("negative-correlation:layers=1", "takes no layers"),
        ("decov:layers=1+1", "name layer 1 twice"),
        ("decov:layers=", "is not key=value"),
        ("decov:patience=9", "only with schedule=plateau"),
        ("redo:patience=200", "only with when=plateau"),
        (
            "decov:steps=9",
            "only with schedule=linear or schedule=cosine, and the schedule is constant",
        ),
        ("decov:schedule=plateau,steps=9", "and the schedule is plateau"),
        ("coherence:beta=20", "only with form=smooth, and form is peak"),
        ("spanning-tree:form=t1,balance=0.5", "only with form=t2, and form is t1"),
        ("class-decov:eps=0.1", "only with measure=correlation"),
        ("", "names no technique"),
        ("nowhere.py:Mine", "no file"),
        ("nowhere.py", "no class"),
    ],
)
def test_a_mistake_gets_one_sentence(text, sentence):
    with pytest.raises(UsageError) as caught:
        make([text])
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("make_it", "sentence"),
    [
        (lambda: HypersphericalEnergy(space="quarter"), "cannot be 'quarter': allowed: full, half"),
        (lambda: WLDReg(form="logdett"), "did you mean 'logdet'"),
        (lambda: Pearson(eps=-1.0), "must be above 0"),
        (lambda: Pearson(eps=float("nan")), "must be finite"),
        (lambda: Pearson(eps="much"), "must be a number, got 'much'"),
        (lambda: Pearson(debiased=1), "must be true or false, got 1"),
        (lambda: SRIP(iterations=2.5), "must be a whole number, got 2.5"),
        (lambda: SRIP(iterations=True), "must be a whole number, got True"),
        (lambda: Coherence(beta=3.0), "only with form=smooth"),
        (lambda: BatchNorm(momentum=2.0), "at most 1"),
        (lambda: Muon(lr=0.0), "must be above 0"),
        (lambda: changed(Pearson(), eps=-1.0), "must be above 0"),
        (lambda: placed_by_hand(NegativeCorrelation(), strength=(-1.0,)), "without bound"),
        (lambda: placed_by_hand(DeCov(), strength=(0.1, float("nan"))), "finite number"),
        (lambda: placed_by_hand(DeCov(), strength=0.1), "one or one per network"),
        (lambda: placed_by_hand(DeCov(), strength=()), "one or one per network"),
        (lambda: placed_by_hand(DeCov(), schedule="linaer"), "did you mean 'linear'"),
        (lambda: placed_by_hand(DeCov(), layers=(2, 2)), "name layer 2 twice"),
        (lambda: placed_by_hand(DeCov(), layers=()), "hidden layers as 1 or 1+2"),
        (lambda: placed_by_hand(DeCov(), every=3), "is of kind penalty, which has no every"),
        (lambda: placed_by_hand(DeCov(), patience=3), "only with schedule=plateau"),
        (lambda: placed_by_hand(ReDo(), every=0), "from 1 up"),
        (lambda: placed_by_hand(ReDo(), when="never"), "always or plateau"),
        (lambda: placed_by_hand(Consensus(), layers=(1,)), "takes no layers"),
        (lambda: changed(Diary(), often=0), "Diary's often must be at least 1"),
    ],
)
def test_what_is_made_in_python_is_held_to_the_same(make_it, sentence):
    with pytest.raises(UsageError) as caught:
        make([make_it()])
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def changed(technique, **settings):
    """A technique whose settings were overwritten after it was made."""
    for key, value in settings.items():
        setattr(technique, key, value)
    return technique


def placed_by_hand(technique, **settings):
    return Placed(technique, technique.name, **settings)


def test_what_is_set_in_python_and_allowed_is_taken():
    Lists = type(
        "Lists", (Quiet,), {"__annotations__": {"seen": list}, "seen": field(default_factory=list)}
    )
    specs = [
        *(Lists(), Coherence(form="smooth", beta=3), WLDReg(gamma=np.float64(2))),
        *(changed(place(DeCov()), strength=(1,), schedule="linear", steps=9, layers=(2,)),),
        changed(place(ReDo()), when="plateau", patience=9, every=1),
    ]
    assert [p.label for p in make(specs)[2].placed][1:] == ["coherence", "wld-reg", "decov", "redo"]


def test_two_owners_of_one_update_are_refused():
    with pytest.raises(UsageError, match="both own the update of W0"):
        make(["muon", "muon:layers=1"])


def test_a_technique_that_owns_an_update_needs_the_optimizer():
    net = MLP(SIZES)
    with pytest.raises(UsageError, match="pass optimizer="):
        Techniques(net, ["muon"])


def test_a_layer_must_be_built_into_the_network():
    net = MLP(SIZES)
    with pytest.raises(UsageError, match="build it with"):
        Techniques(net, ["batch-norm"])


@pytest.mark.parametrize("name", sorted(TECHNIQUES))
def test_no_hidden_layer_is_one_sentence(name):
    """Only what acts on the inputs or the outputs makes sense there."""
    if name in ("decorrelated-inputs", "spectral-decoupling"):
        one_step(*make([name], sizes=[4, 2]))
        return
    with pytest.raises(UsageError, match="acts on hidden layers, and this network has none"):
        make([name], replicas=2, sizes=[4, 2])


def test_linear_schedule_falls_to_zero(backend):
    net, _opt, techniques, X, Y = make(["decov:strength=1,schedule=linear,steps=4"])
    values = []
    for number in range(6):
        trace = net.forward(X)
        loss, dlogits = cross_entropy(trace.logits, Y)
        step = techniques.step(trace, Y, loss, dlogits, number)
        techniques.before_backward(step)
        values.append(float(to_host(step.penalties["decov.1"])) if step.penalties else 0.0)
    np.testing.assert_allclose(values, np.array([1, 0.75, 0.5, 0.25, 0, 0]) * values[0], rtol=1e-9)


def test_plateau_opens_per_network_and_closes_again(backend):
    net = MLP(SIZES, replicas=2, dtype="float64")
    plateau = Plateau(3, net)
    for t in range(6):  # the first network stalls, the second falls fast
        plateau.watch(to_device(np.array([1.0, 0.5**t])))
    assert to_host(plateau.reached()).tolist() == [True, False]
    plateau.restart(plateau.reached())
    assert not to_host(plateau.reached()).any()
    again = Plateau(3, net)
    again.load_state({k: v if k == "seen" else to_host(v) for k, v in plateau.state().items()})
    plateau.watch(to_device(np.array([1.0, 0.5])))
    again.watch(to_device(np.array([1.0, 0.5])))
    for key, value in plateau.state().items():
        np.testing.assert_array_equal(to_host(again.state()[key]), to_host(value))


def test_a_penalty_waits_for_the_plateau(backend):
    net, _opt, techniques, X, Y = make(["decov:strength=1,schedule=plateau,patience=2"], replicas=2)
    seen = []
    for number, losses in enumerate([[1, 1], [1, 0.1], [1, 0.01], [1, 0.001]]):
        trace = net.forward(X)
        _, dlogits = cross_entropy(trace.logits, Y)
        loss = to_device(np.array(losses, dtype="float64"))
        step = techniques.step(trace, Y, loss, dlogits, number)
        techniques.before_backward(step)
        seen.append(to_host(step.penalties["decov.1"] > 0).tolist())
    assert seen == [[False, False], [False, False], [True, False], [True, False]]


class Diary(Intervention):
    """Writes down when it acts."""

    often: int = setting(1, low=1)

    def __post_init__(self):
        self.days = []

    def watch(self, step, layer):
        self.days.append(("watch", step.number, layer))

    def edit(self, step, layer, mask):
        self.days.append(("edit", step.number, layer))

    def move(self, step, layer, mask):
        self.days.append(("move", step.number, layer))


def test_interventions_act_every_k_steps_after_an_epoch(backend):
    diary = Diary()
    placed = place(diary)
    placed.every, placed.after, placed.layers = 2, 1, (2,)
    net, opt, techniques, X, Y = make([placed])
    for number in range(6):
        one_step(net, opt, techniques, X, Y, number, epoch=number // 2)
    assert [d for d in diary.days if d[0] == "move"] == [("move", 3, 2), ("move", 5, 2)]
    assert [d for d in diary.days if d[0] == "edit"] == [("edit", 3, 2), ("edit", 5, 2)]
    assert [d for d in diary.days if d[0] == "watch"] == [("watch", n, 2) for n in range(6)]


def test_moments_are_reset_around_chosen_neurons_only(backend):
    net, opt, techniques, X, Y = make(["muon"], optimizer=Adam, replicas=2)
    step = one_step(net, opt, techniques, X, Y)
    before = {k: to_host(v).copy() for k, v in opt.moments.items()}
    muon = {k: to_host(v).copy() for k, v in techniques.placed[0].technique.moments.items()}
    chosen = np.zeros((2, 5), dtype=bool)
    chosen[1, 2] = True
    step.reset_moments(1, to_device(chosen))
    for key, old in before.items():
        keep = np.ones_like(old, dtype=bool)
        W0, b0, W1 = (keep[:, net.block(n).start : net.block(n).stop] for n in ("W0", "b0", "W1"))
        W0.reshape(2, 6, 5)[1, :, 2] = False
        b0[1, 2] = False
        W1.reshape(2, 5, 4)[1, 2, :] = False
        np.testing.assert_array_equal(to_host(opt.moments[key]), np.where(keep, old, 0))
    W0_now = to_host(techniques.placed[0].technique.moments["W0"])
    assert not W0_now[1, :, 2].any()
    np.testing.assert_array_equal(W0_now[0], muon["W0"][0])
    W1_now = to_host(techniques.placed[0].technique.moments["W1"])
    assert not W1_now[1, 2, :].any()
    assert W1_now[1, 1, :].any()


def test_readers_own_technique_by_path(tmp_path, backend):
    file = tmp_path / "mine.py"
    file.write_text(
        "from tinydiv.backend import xp\n"
        "from tinydiv.techniques import ActivationPenalty, setting\n"
        "class Mine(ActivationPenalty):\n"
        "    power: int = setting(2, low=1)\n"
        "    def __call__(self, A, step):\n"
        "        N = A.shape[-2]\n"
        "        value = xp.sum(abs(A) ** self.power, axis=(-2, -1)) / (self.power * N)\n"
        "        return value, xp.sign(A) * abs(A) ** (self.power - 1) / N\n"
    )
    own, _ = gradient([f"{file}:Mine:strength=0.3,power=2"])
    instance = place(Quiet())
    instance.strength = (0.3,)
    same, _ = gradient([instance])
    np.testing.assert_allclose(own, same, rtol=1e-12, atol=1e-15)
    with pytest.raises(UsageError, match="did you mean 'Mine'"):
        place(f"{file}:Mime")
    with pytest.raises(UsageError, match="at least 1"):
        place(f"{file}:Mine:power=0")
    file.write_text("import nothing_like_this\n")
    with pytest.raises(UsageError, match="cannot be imported: ModuleNotFoundError"):
        place(f"{file}:Mine")


def test_windows_paths_are_understood():
    with pytest.raises(UsageError, match=r"no file C:\\lab\\mine.py"):
        place(r"C:\lab\mine.py:Mine:strength=0.1")


def test_the_steps_gradients_of_task_and_penalty_are_separate(backend):
    """Backward is linear in its upstream gradients: task alone plus penalties alone is both."""
    specs = ["decov:strength=0.7", "negative-correlation:lambda=0.5", "cosine"]
    both, step = gradient(specs)
    net = make(specs)[0]
    rng = np.random.default_rng(7)
    trace = net.forward(to_device(rng.standard_normal((8, 6))))
    net.backward(trace, step.task_dlogits)
    task = to_host(net.dtheta).copy()
    net.backward(trace, step.task_dlogits * 0, step.dA)
    penalties = to_host(net.dtheta).copy()
    late = np.zeros_like(penalties)
    net.dtheta[...] = 0
    for block, g in make_late(net, step):
        block += g
    late = to_host(net.dtheta).copy()
    np.testing.assert_allclose(task + penalties + late, both, rtol=1e-9, atol=1e-13)


def make_late(net, step):
    """The weight terms of a step, aimed at another network of the same shape."""
    shapes = {tuple(a.shape): a for a in (*net.dW, *net.db)}
    return [(shapes[tuple(block.shape)], g) for block, g in step.late]


def test_state_goes_round(backend):
    specs = ["muon", "batch-norm", "decov:schedule=plateau,patience=2"]
    net, opt, techniques, X, Y = make(specs, optimizer=Adam, replicas=2)
    for number in range(4):
        one_step(net, opt, techniques, X, Y, number)
    saved = {k: to_host(v).copy() for k, v in techniques.state().items()}
    theta, moments = to_host(net.theta).copy(), {k: to_host(v) for k, v in opt.state().items()}
    other, opt2, again, X2, Y2 = make(specs, optimizer=Adam, replicas=2)
    other.theta[...] = to_device(theta)
    opt2.load_state(moments)
    again.load_state(saved)
    one_step(net, opt, techniques, X, Y, 4)
    one_step(other, opt2, again, X2, Y2, 4)
    np.testing.assert_array_equal(to_host(net.theta), to_host(other.theta))
    for key, value in techniques.state().items():
        np.testing.assert_array_equal(to_host(again.state()[key]), to_host(value))


def test_batch_norm_folds_into_the_weights(backend):
    net, opt, techniques, X, Y = make(["batch-norm"], replicas=3)
    for number in range(5):
        one_step(net, opt, techniques, X, Y, number)
    plain = net.folded()
    assert not plain.layers
    expected = to_host(net.forward(X).logits)
    np.testing.assert_allclose(to_host(plain.forward(X).logits), expected, rtol=1e-9, atol=1e-12)


def test_every_technique_has_a_name_and_a_family():
    for name, cls in TECHNIQUES.items():
        assert cls.name == name
        assert cls.family
        assert cls.__doc__
        if kind_of(cls) == "intervention":
            assert cls.invariant


def test_every_name_has_a_line_and_a_paper_in_its_docstring():
    things = [*TECHNIQUES.values(), *SCHEMES.values(), *BASES.values()]
    things += [*OPTIMIZERS.values(), *LOSSES.values()]
    things += [*METRICS.values(), *(type(a) for a in ACTIVATIONS.values())]
    for thing in [*things, *SHAPES.values()]:
        line, paper = sentence_and_paper(thing)
        assert 4 < len(line) < 100, thing
        assert "(" not in line or line.count("(") == line.count(")"), thing
        without = ("Identity", "constant", "linear")
        assert bool(paper) == (thing.__name__ not in without), thing


def test_a_line_is_the_first_sentence_and_its_parentheses_the_paper():
    assert sentence_and_paper(DeCov) == (
        "Covariance between hidden neurons",
        "Cogswell et al., ICLR 2016",
    )

    def half(x):
        """Half of x (rounded down)."""

    assert sentence_and_paper(half) == ("Half of x (rounded down)", "")
    assert sentence_and_paper(lambda: 0) == ("", "")


@pytest.mark.parametrize("name", sorted(TECHNIQUES))
def test_a_step_with_any_technique_never_stops_at_the_host(name, on_standin):
    """Nothing is read back, nothing is uploaded, no product copies its operands."""
    rng = np.random.default_rng(1)
    probe = to_device(rng.standard_normal((16, 6)))
    net, opt, techniques, X, Y = make(
        [*TECHNIQUES[name].needs, name], replicas=3, optimizer=Adam, probe_inputs=probe
    )
    for placed in techniques.placed:
        placed.every = 1  # so that every intervention acts in the counted step
    one_step(net, opt, techniques, X, Y, 0)
    with on_standin.counting() as counts:
        one_step(net, opt, techniques, X, Y, 1)
    assert counts.stops == 0
    assert counts.uploads == 0
    assert counts.copies == 0


def test_techniques_of_one_file_share_its_classes(tmp_path):
    file = tmp_path / "mine.py"
    text = (
        "from tinydiv.techniques import Intervention\n"
        "class Kept:\n    pass\n"
        "class One(Intervention):\n    kept = Kept\n"
        "class Two(Intervention):\n    kept = Kept\n"
    )
    file.write_text(text)
    one, two, again = (place(f"{file}:{n}").technique for n in ("One", "Two", "One"))
    assert one.kept is two.kept
    assert type(one) is type(again)
    file.write_text(text + "# changed\n")
    assert type(place(f"{file}:One").technique) is not type(one)


@pytest.mark.parametrize("name", sorted(n for n, c in TECHNIQUES.items() if c.fewest_samples > 1))
def test_a_technique_that_compares_samples_refuses_batches_of_one(name):
    dataset = data.load("xor")
    net = MLP([2, 4, 2], layers=layers_of([name]))
    optimizer = SGD(net, 0.1)
    techniques = Techniques(net, [name], optimizer)
    with pytest.raises(UsageError, match=f"{name} compares the samples of a batch: .* at least 2"):
        train(net, dataset, optimizer, techniques, epochs=1, batch_size=1)
    with pytest.raises(UsageError, match="the batch size is 1"):
        build(TrainConfig(data="xor", technique=(name,), batch_size=1, hidden=(4,)))


def test_which_techniques_compare_samples():
    """Everything that measures correlation over a batch, and nothing that looks at weights."""
    found = {name for name, cls in TECHNIQUES.items() if cls.fewest_samples > 1}
    assert found >= {"decov", "vicreg", "barlow", "batch-norm", "zca-norm", "iter-norm", "pearson"}
    assert not found & {n for n, c in TECHNIQUES.items() if c.family in ("weights", "growing")}


def test_a_strength_and_a_rate_have_their_schedules_spelled_alike():
    _, _, techniques, _, _ = make(["decov:strength=1,schedule=linear:warmup=4"], total=10)
    (placed,) = techniques.placed
    seen = []
    for number in range(10):
        step = SimpleNamespace(number=number)
        strength = techniques._strength_now(placed, 1.0, None, step)
        seen.append(strength.of_values)
    rate = parse("linear:warmup=4")
    np.testing.assert_allclose(seen, [rate(number, 10) for number in range(10)])
    with pytest.raises(UsageError, match="warmup=STEPS"):
        place("decov:schedule=linear:warm=4")
    with pytest.raises(UsageError, match="schedule=plateau has no settings"):
        place("decov:schedule=plateau:warmup=4")
