"""The doctor: every planted fault is named, and no right gradient is reported as wrong."""

import itertools

import numpy as np
import planted
import pytest
from right_cases import right_case

from tinydiv.activations import Activation
from tinydiv.backend import xp
from tinydiv.check import points
from tinydiv.check.doctor import diagnose
from tinydiv.check.evidence import Evidence, Facts, Finding
from tinydiv.check.judge import Case, judge
from tinydiv.check.losses import loss_cases
from tinydiv.check.network import activation_cases, network_case, network_cases
from tinydiv.check.suite import check_technique
from tinydiv.check.techniques import layer_cases, objective_case, penalty_cases
from tinydiv.techniques import ActivationPenalty, LayerTechnique
from tinydiv.techniques.base import Penalty
from tinydiv.techniques.registry import module_of_file


@pytest.fixture
def own(tmp_path):
    """Whatever the last definition in some source is, as tinydiv loads it from a user's file."""

    def load(source):
        file = tmp_path / "mine.py"
        file.write_text(planted.IMPORTS + source)
        module = module_of_file(str(file))
        return list(vars(module).values())[-1]

    return load


def cases_of(thing):
    """The cases of a class or a function, in the checker's order."""
    if not isinstance(thing, type):
        if thing.__name__ == "backward":
            return network_cases(backward=thing)
        return loss_cases(thing, "loss", 0)
    if issubclass(thing, Penalty):
        return (group[0] for group in penalty_cases(thing, 0))
    if issubclass(thing, LayerTechnique):
        return layer_cases(thing, 0)
    assert issubclass(thing, Activation)
    return activation_cases(thing(), 0)


def named(cases, array):
    """The first verdict about an array that does not pass."""
    verdicts = itertools.chain.from_iterable(judge(case) for case in cases)
    return next(v for v in verdicts if v.array == array and not v.passes)


def expect(verdict, fault):
    assert verdict.finding.code == fault.code, verdict.words
    assert fault.words in verdict.words


# The gallery -------------------------------------------------------------------------------------

FAULTS = [
    pytest.param(right, fault, id=f"{kind}: {fault.name}")
    for kind, (right, faults) in planted.GALLERY.items()
    for fault in faults
]


def test_the_gallery_is_large_and_every_name_is_used_once():
    names = [fault.name for _, faults in planted.GALLERY.values() for fault in faults]
    assert len(names) >= 50
    codes = {fault.code for _, faults in planted.GALLERY.values() for fault in faults}
    codes |= {fault.code for fault in planted.IN_SQUARE_BACKWARD}
    assert len(codes) >= 25


@pytest.mark.parametrize("kind", planted.GALLERY)
def test_without_a_fault_nothing_is_found(own, kind):
    right, _ = planted.GALLERY[kind]
    for case in itertools.islice(cases_of(own(right)), 8):
        assert [v.words for v in judge(case) if v.status in ("wrong", "nan", "error")] == []


@pytest.mark.parametrize(("right", "fault"), FAULTS)
def test_a_planted_fault_gets_its_name(own, right, fault):
    expect(named(cases_of(own(fault.source(right))), fault.array), fault)


@pytest.mark.parametrize("fault", planted.IN_SQUARE_BACKWARD, ids=lambda fault: fault.name)
def test_faults_are_named_where_everything_is_square(own, fault):
    backward = own(fault.source(planted.BACKWARD))
    net = points.network(points.SQUARE, "tanh", seed=0)
    expect(named([network_case(net, points.SQUARE, 0, backward=backward)], fault.array), fault)


class Squares(ActivationPenalty):
    """L = 1/(2N) sum A^2, with three ways to get the strength wrong."""

    way = "right"

    def __call__(self, A, step):
        N = A.shape[-2]
        return xp.sum(A**2, axis=(-2, -1)) / (2 * N), A / N

    def apply(self, step, layer, strength):
        value, dA = self(step.trace.A[layer], step)
        s = strength.of_values
        factors = {"neurons": s, "twice": s[:, None, None] ** 2, "missing": 1.0}
        step.dA[layer] = factors.get(self.way, strength.of_matrices) * dA
        return s * value


@pytest.mark.parametrize(
    ("way", "code"),
    [
        ("neurons", "strength-on-neurons"),
        ("twice", "strength-twice"),
        ("missing", "strength-missing"),
    ],
)
def test_strengths_on_the_wrong_axis_are_named(way, code):
    """With as many networks as neurons, a strength of shape (R,) raises no error: it multiplies neurons."""
    penalty = Squares()
    penalty.way = way
    case = objective_case(penalty, {}, points.SQUARE, "tanh", 0)
    assert named([case], "dW[1]").finding.code == code  # the weights into the last hidden layer
    penalty.way = "right"
    assert all(v.passes for v in judge(case))


def test_one_fault_is_named_for_every_array_that_it_makes_wrong(own):
    fault = next(f for f in planted.IN_BACKWARD if f.name == "no mask")
    net = points.network(points.DEEP, "relu", seed=0)
    case = network_case(net, points.DEEP, 0, backward=own(fault.source(planted.BACKWARD)))
    found = {v.array: v.finding.code for v in judge(case) if v.status == "wrong"}
    assert found == dict.fromkeys(["dW[0]", "db[0]", "dW[1]", "db[1]"], "mask-missing")


def test_of_two_layers_only_the_faulty_one_is_named(own):
    source = planted.BACKWARD.replace(
        "* net.activation.derivative(trace.Z[l - 1])",
        "* (net.activation.derivative(trace.Z[l - 1]) if l == 1 else 1)",
    )
    net = points.network(points.DEEP, "relu", seed=0)
    case = network_case(net, points.DEEP, 0, backward=own(source))
    words = {v.words for v in judge(case) if v.status == "wrong"}
    assert len(words) == 1
    assert "f'(Z[1]) is left out" in words.pop()


def test_a_difference_without_a_known_cause_is_shown_where_it_is_largest():
    rng = np.random.default_rng(0)
    n = rng.normal(size=(5, 3))
    a = n + 0.2 * rng.normal(size=n.shape)
    a[3, 1] += 7
    e = Evidence("W[0]", a, n, np.zeros(n.shape, dtype=bool), n * 0 + 1)
    found = diagnose([e], Facts())["W[0]"]
    assert found.code == "elsewhere"
    assert "most at [3, 1]" in found.words
    assert f"{a[3, 1]:.6g} where {n[3, 1]:.6g} was measured" in found.words


def test_a_right_array_gets_no_finding():
    n = np.arange(6.0).reshape(2, 3)
    e = Evidence("W[0]", n + 1e-12, n, np.zeros(n.shape, dtype=bool), n)
    assert diagnose([e], Facts(variants=[(Finding("x", "x"), {"W[0]": n})])) == {}


# Faults that few points show, and right penalties that many points cannot prove -------------------


@pytest.mark.parametrize("gap", planted.GAPS, ids=lambda gap: gap.name)
def test_a_fault_that_shows_at_some_points_only_is_named(own, gap):
    report = check_technique(own(gap.source))
    found = [row.worst for row in report.faults]
    assert gap.code in {verdict.finding.code for verdict in found}, report
    assert gap.words in str(report), report


@pytest.mark.parametrize("name", planted.RIGHT)
def test_a_right_penalty_that_is_zero_at_some_points_passes(own, name):
    report = check_technique(own(planted.RIGHT[name]))
    assert report.right, report


# Kinks -------------------------------------------------------------------------------------------


def rectified_at(Z, derivative):
    """max(0, z) at given points, with some convention for its derivative at zero."""

    def gradients(at, weights):
        return {"Z": weights[0] * derivative(at["Z"])}

    Z = np.array(Z)
    return Case("activation", "relu", "", {"Z": Z}, lambda at: [np.maximum(at["Z"], 0)], gradients)


@pytest.mark.parametrize("at_zero", [0.0, 0.5, 1.0])
def test_any_convention_at_a_kink_is_right_elsewhere(at_zero):
    case = rectified_at([-1.0, 0.0, 2.0, 0.0], lambda z: (z > 0) + at_zero * (z == 0))
    (verdict,) = judge(case)
    assert verdict.status == "right"
    assert verdict.at_kink == (0 if at_zero == 0.5 else 2)  # the mean of both slopes is measured


def test_a_fault_beside_a_kink_is_still_a_fault():
    (verdict,) = judge(rectified_at([-1.0, 0.0, 2.0], lambda z: 2.0 * (z > 0)))
    assert verdict.status == "wrong"
    assert "2.000x too large" in verdict.words


def test_nothing_but_kinks_proves_nothing():
    (verdict,) = judge(rectified_at([0.0, 0.0], lambda z: 1.0 * (z > 0)))
    assert (verdict.status, verdict.passes) == ("kink", False)
    assert "at a kink" in verdict.words
    assert "not wrong" in verdict.words


@pytest.mark.parametrize("distance", [1e-2, 1e-3, 3e-4, 1e-4, 2e-5, 4e-6, 1e-6])
def test_a_kink_near_the_point_does_not_disturb(distance):
    case = rectified_at([-distance, distance, 1.0], lambda z: 1.0 * (z > 0))
    assert judge(case)[0].status == "right"
    wrong = rectified_at([-distance, distance, 1.0], lambda z: 1.0 * (z > -1))
    assert judge(wrong)[0].status == "wrong"


def test_a_jump_of_the_value_is_no_fault_of_the_gradient():
    """The value counts something: where the count changes there is no derivative either."""

    def value(at):
        return [np.where(at["x"] > 0, at["x"] + 1, 3 * at["x"])]

    def gradients(at, weights):
        return {"x": weights[0] * np.where(at["x"] > 0, 1.0, 3.0)}

    case = Case("activation", "f", "", {"x": np.array([-1.0, 0.0, 1.0])}, value, gradients)
    (verdict,) = judge(case)
    assert (verdict.status, verdict.at_kink) == ("right", 1)


# Numbers are those of the user's code ---------------------------------------------------------------

WHOLE = """
from tinydiv.techniques.base import Penalty
class Mine(Penalty):
    "A penalty whose apply does everything, so that only the objective shows its faults."
    def apply(self, step, layer, strength):
        W = step.net.W[layer - 1]
        step.late.append((step.net.dW[layer - 1], strength.of_matrices * (GRADIENT)))
        return strength.of_values * xp.sum(W**2, axis=(-2, -1)) / 2
"""


@pytest.mark.parametrize("shape", [points.SQUARE, points.MANY], ids=str)
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    ("gradient", "code", "words"),
    [
        ("W + 0.01", "offset", "every entry is too large by the same 0.01 at strength 1"),
        ("W - 5", "offset", "every entry is too large by the same -5 at strength 1"),
        ("W + 1.0 * (W > 0)", "elsewhere", "differs in"),
        ("1.125 * W", "scaled", "1.125x too large"),
    ],
)
def test_figures_are_those_of_the_code_whatever_weights_and_strengths(
    own, gradient, code, words, shape, seed
):
    """Not scaled by the random cotangents, nor by a network's strength."""
    penalty = own(WHOLE.replace("GRADIENT", gradient))()
    case = objective_case(penalty, {}, shape, "tanh", seed)
    verdict = next(v for v in judge(case, seed) if v.array == "dW[0]")
    assert (verdict.finding.code, verdict.status) == (code, "wrong"), verdict.words
    assert words in verdict.words


def test_a_small_extra_term_is_not_reported_as_an_eps(own):
    """A term of a thousandth, like an eps, is small: which of the two it is cannot be decided."""
    penalty = own(WHOLE.replace("GRADIENT", "W + 0.003 * W**2"))()
    verdict = judge(objective_case(penalty, {}, points.SQUARE, "tanh", 0))[0]
    assert verdict.finding.code == "nearly"
    assert "may be an eps" in verdict.words
    assert "or a small term too many" in verdict.words


LENGTHS = """
class Mine(WeightPenalty):
    "The sum of the columns' lengths: L = sum_j |w_j|, dW = w_j / |w_j|."
    def __call__(self, W, step):
        s = xp.sqrt(xp.sum(W**2, axis=-2, keepdims=True))
        return xp.sum(s, axis=(-2, -1)), GRADIENT
"""


@pytest.mark.parametrize(
    ("gradient", "code", "words"),
    [
        ("W / (s + 0.3)", "factor-per-neuron", "+0.3 beside the column's length |x| in a denomin"),
        ("W * s / (s**2 + 0.5)", "factor-per-neuron", "+0.5 beside the column's length |x|^2 in"),
        ("W / s**2", "factor-per-neuron", "too often divided by the column's length |x|"),
        ("W / s + 0.1 * W", "extra-term", "a factor for each neuron explains as much"),
    ],
)
def test_where_a_factor_for_each_neuron_explains_as_much_there_are_several_causes(
    own, gradient, code, words
):
    verdict = named(cases_of(own(LENGTHS.replace("GRADIENT", gradient))), "dW")
    assert verdict.finding.code == code, verdict.words
    assert words in verdict.words
    assert "one of several causes" in verdict.words


def test_an_extra_term_that_no_factor_explains_is_the_one_cause(own):
    source = LENGTHS.replace("xp.sum(s, axis=(-2, -1))", "xp.sum(W**3, axis=(-2, -1)) / 3")
    verdict = named(cases_of(own(source.replace("GRADIENT", "W**2 + 0.1 * W"))), "dW")
    assert verdict.finding.code == "extra-term"
    assert "several" not in verdict.words


def test_an_activations_constant_is_reported_without_the_cotangent(own):
    cls = own(
        "class Mine(Activation):\n"
        "    name = 'mine'\n"
        "    def __call__(self, Z): return xp.tanh(Z)\n"
        "    def derivative(self, Z): return 1 - xp.tanh(Z)**2 + 0.01\n"
    )
    verdict = named(activation_cases(cls(), 0), "dZ")
    assert verdict.words == "every entry is too large by the same 0.01"


def test_one_neurons_fault_is_not_taken_for_a_diagonal(own):
    cls = own(
        "class Mine(ActivationPenalty):\n"
        "    def __call__(self, A, step):\n"
        "        N, d = A.shape[-2], A / A.shape[-2]\n"
        "        d[..., 0] = 3 * d[..., 0]\n"
        "        return xp.sum(A**2, axis=(-2, -1)) / (2 * N), d\n"
    )
    verdict = named(cases_of(cls), "dA")
    assert verdict.words == "wrong only in neuron 0: there, 3.000x too large"


# Right gradients ---------------------------------------------------------------------------------


@pytest.mark.parametrize("tenth", range(10))
def test_a_thousand_right_gradients_get_no_finding(tenth):
    for seed in range(100 * tenth, 100 * (tenth + 1)):
        verdicts = judge(right_case(seed), seed)
        reported = [
            f"{seed}: {v.case.subject}, {v.case.where}: {v.array} {v.words}"
            for v in verdicts
            if v.status in ("wrong", "nan", "error", "noisy")
        ]
        assert not reported
