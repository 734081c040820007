"""The checker: what it measures, what it lets pass, and the command around it."""

import itertools
import json
from pathlib import Path

import numpy as np
import planted
import pytest
from helpers import refused

from tinydiv import activations, losses
from tinydiv.backend import to_device, to_host, xp
from tinydiv.check import command as check
from tinydiv.check import points, suite
from tinydiv.check.interventions import failure_in_training
from tinydiv.check.judge import Case, judge
from tinydiv.check.network import activation_cases, network_case, network_cases
from tinydiv.check.numeric import Probe, complex_step, cotangents, directions
from tinydiv.check.own import check_file
from tinydiv.check.techniques import layer_cases, penalty_cases, settings_of
from tinydiv.errors import UsageError
from tinydiv.mlp import MLP
from tinydiv.settings import setting
from tinydiv.techniques import TECHNIQUES, ActivationPenalty, Intervention, OutputPenalty
from tinydiv.techniques.base import Penalty


def case_of(function, gradient, x, kind="function"):
    """A case of one array; gradient(x) is the derivative of the sum of the outputs, entry by entry."""
    return Case(
        kind,
        "f",
        "",
        {"x": to_device(np.asarray(x, dtype="float64"))},
        lambda at: [function(at["x"])],
        lambda at, weights: {"x": weights[0] * gradient(at["x"])},
    )


def status(*arguments):
    return judge(case_of(*arguments))[0].status


# What is measured --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "derivative"),
    [
        (np.exp, np.exp),
        (lambda x: np.log(x**2 + 1e-3), lambda x: 2 * x / (x**2 + 1e-3)),
        (lambda x: np.sqrt(x**2 + 1e-6), lambda x: x / np.sqrt(x**2 + 1e-6)),
        (lambda x: 1e6 * x**3, lambda x: 3e6 * x**2),
        (lambda x: 1e-9 * np.sin(5 * x), lambda x: 5e-9 * np.cos(5 * x)),
        (lambda x: x**2 + 1e3, lambda x: 2 * x),
    ],
)
def test_smooth_functions_are_measured_to_eight_digits(function, derivative):
    x = np.array([0.3, -1.2, 0.011, 2.0])
    (verdict,) = judge(case_of(function, derivative, x))
    assert verdict.status == "right"
    assert verdict.error < 1e-8


@pytest.mark.parametrize("error", [1e-5, 1e-6, 3e-7])
def test_an_error_in_the_seventh_digit_is_found(error):
    assert status(np.sin, lambda x: np.cos(x) * (1 + error), [0.3, 0.8]) == "wrong"
    assert status(np.sin, lambda x: np.cos(x), [0.3, 0.8]) == "right"


def test_the_complex_step_finds_an_error_in_the_ninth_digit():
    """Below what differences can see; np.sin takes complex numbers."""
    (verdict,) = judge(case_of(np.sin, lambda x: np.cos(x) * (1 + 5e-9), [0.3, 0.8]))
    assert verdict.error < 1e-7
    assert verdict.complex_error == pytest.approx(5e-9, rel=1e-3)
    assert verdict.status == "wrong"


def test_complex_steps_are_exact_and_left_out_where_code_refuses_them():
    case = case_of(lambda x: x**3, lambda x: 3 * x**2, [0.7])
    weights = cotangents(case.function(case.point), 0)
    probe = Probe(case.function, weights, case.point, "x")
    (slope,) = complex_step(probe, directions(probe.x))
    assert slope == pytest.approx(float(weights[0][0]) * 3 * 0.7**2, rel=1e-15)
    refusing = case_of(lambda x: np.array([float(x[0])]), lambda x: x * 0 + 1, [0.7])
    assert judge(refusing)[0].complex_error is None
    assert judge(refusing)[0].status == "right"


def test_the_complex_step_is_left_out_of_functions_that_are_not_analytic():
    (verdict,) = judge(case_of(np.abs, np.sign, [0.5, -2.0]))  # |x + ih| loses the imaginary part
    assert (verdict.status, verdict.complex_error) == ("right", None)


def test_a_backward_of_zeros_does_not_pass_for_centred_values():
    """Summed up, centred activations are constant: only random cotangents see their derivative."""

    def centre(x):
        return x - x.mean(axis=0)

    assert status(centre, lambda x: 0 * x, np.arange(6.0).reshape(3, 2)) == "wrong"
    case = case_of(centre, None, np.arange(6.0).reshape(3, 2))
    case.gradients = lambda at, weights: {"x": centre(weights[0])}
    assert judge(case)[0].status == "right"


def test_cotangents_are_random_of_both_signs_and_never_small():
    (drawn,) = cotangents([np.zeros((20, 20))], seed=0)
    assert np.abs(drawn).min() >= 0.5
    assert 0.3 < np.mean(drawn > 0) < 0.7
    assert not np.array_equal(drawn, cotangents([np.zeros((20, 20))], seed=1)[0])


# What proves nothing -----------------------------------------------------------------------------


def test_zero_on_both_sides_fails():
    hinge = case_of(lambda x: np.maximum(x - 5, 0) ** 2, lambda x: 2 * np.maximum(x - 5, 0), [1.0])
    (verdict,) = judge(hinge)
    assert (verdict.status, verdict.passes) == ("zero", False)
    assert "proves nothing" in verdict.words


def test_an_array_without_any_effect_may_have_a_gradient_of_zero():
    """A bias before batch norm: moved far, it changes nothing. An inactive hinge would become active."""

    def function(at):
        return [(at["x"] + at["b"]) - (at["x"] + at["b"]).mean() + np.maximum(at["c"] - 5, 0)]

    def gradients(at, weights):
        (w,) = weights
        return {"x": w - w.mean(), "b": np.zeros(1), "c": np.zeros(1)}

    point = {"x": np.array([1.0, 2.0, 4.0]), "b": np.array([0.3]), "c": np.array([1.0])}
    found = {v.array: v.status for v in judge(Case("f", "f", "", point, function, gradients))}
    assert found == {"dx": "right", "db": "no effect", "dc": "zero"}


@pytest.mark.parametrize(
    ("function", "gradient", "expected", "code"),
    [
        (lambda x: x * np.nan, lambda x: x, "nan", "value-nan"),
        (lambda x: x**2, lambda x: x * np.nan, "nan", "nan"),
        (lambda x: x * np.random.default_rng().random(), lambda x: x, "noisy", "noisy"),
        (lambda x: x**2, lambda x: np.ones((3, 2)), "error", "shape"),
        (lambda x: 1 / 0, lambda x: x, "error", "raised"),
        (lambda x: exit(), lambda x: x, "error", "raised"),
    ],
)
def test_a_gradient_that_cannot_be_compared_fails_with_a_reason(function, gradient, expected, code):
    (verdict,) = judge(case_of(function, gradient, [0.5, 0.25]))
    assert (verdict.status, verdict.passes) == (expected, False)
    assert verdict.finding.code == code
    assert verdict.words


# The network and everything registered -----------------------------------------------------------


def test_every_gradient_of_the_network_is_right_on_every_backend(backend):
    for shape in (points.DEEP, points.SQUARE):
        net = points.network(shape, "tanh", seed=1)
        verdicts = judge(network_case(net, shape, seed=1))
        assert [v.status for v in verdicts] == ["right"] * 7
        assert max(v.error for v in verdicts) < 1e-8


@pytest.mark.parametrize("name", ["decov", "cosine", "batch-norm"])
def test_penalties_and_layers_are_right_on_every_backend(backend, name):
    cls = TECHNIQUES[name]
    if issubclass(cls, Penalty):
        groups = list(penalty_cases(cls, 0))
        cases = [groups[0][0], groups[-1][0]]  # alone, and within the objective
    else:
        cases = list(itertools.islice(layer_cases(cls, 0), 3))
    for case in cases:
        assert [v.words for v in judge(case) if not v.passes] == []


def test_the_cases_of_the_network_cover_depths_activations_replicas_and_seeds():
    places = [case.where for case in network_cases()]
    for part in [*activations.ACTIVATIONS, "4-3,", "5-4-3,", "N=1", "3 networks", "4 networks"]:
        assert any(part in place for place in places), part
    for part in ("inputs of their own", "outputs alone", "hidden layers alone", "accumulate"):
        assert any(part in place for place in places), part


def test_every_registered_name_is_a_subject():
    names = set(suite.subjects())
    assert names == {"network", *activations.ACTIVATIONS, *losses.LOSSES, *TECHNIQUES}


@pytest.mark.parametrize("name", [n for n in suite.subjects() if n not in TECHNIQUES])
def test_the_core_is_right(name):
    report = suite.run([name])
    assert report.right, report
    assert max(row.error for row in report.rows) < 1e-8


def test_every_gradient_of_the_package_is_right(capsys):
    """All of them, as the README's command checks them."""
    assert check.main(["--json"]) == 0
    assert json.loads(capsys.readouterr().out)["right"] is True


def test_every_intervention_names_its_invariant():
    report = suite.run(["interventions"])
    wanted = {n for n, cls in TECHNIQUES.items() if issubclass(cls, Intervention)}
    assert {one.subject for one in report.interventions} == wanted
    assert report.right
    assert report.rows == []


class Halved(Intervention):
    def edit(self, step, layer, mask):
        step.net.dW[layer - 1][...] *= 0.5


def test_a_right_intervention_without_an_invariant_passes_with_a_note():
    report = suite.check_technique(Halved)
    assert report.right
    assert "note: describe in `invariant` what it keeps" in str(report)


def test_an_own_invariant_is_reported_as_not_checked():
    class Named(Halved):
        invariant = "the direction of the gradient"

    report = suite.check_technique(Named)
    assert report.right
    assert "not checked: the direction of the gradient" in str(report)
    assert "invariant is tested" not in str(report)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda step, layer: step.net.dW[layer - 1].fill(np.nan), "not finite"),
        (lambda step, layer: 1 / 0, "raised ZeroDivisionError"),
        (
            lambda step, layer: step.net.dW[layer - 1].__imul__(step.net.dW[layer - 1].mean()),
            "ends with other weights than alone",
        ),
    ],
)
def test_an_intervention_that_fails_in_training_fails(edit, words):
    class Wrong(Intervention):
        def edit(self, step, layer, mask):
            edit(step, layer)

    report = suite.check_technique(Wrong)
    assert not report.right
    assert words in str(report)


@pytest.mark.parametrize("name", [n for n, c in TECHNIQUES.items() if issubclass(c, Intervention)])
def test_tinydivs_own_interventions_pass_the_check_for_a_users(name):
    assert failure_in_training(TECHNIQUES[name], 0, {}) == ""


def test_settings_that_change_the_maths_are_read_from_the_class():
    class Mine(OutputPenalty):
        form: str = setting("a", choices=("a", "b"))
        twice: bool = False
        power: int = setting(2, low=0, high=2)
        eps: float = setting(0.1, above=0)
        steps: int = setting(0, low=0)

    found = [tuple(chosen.values()) for chosen in settings_of(Mine)]
    assert found[0] == ("a", False, 2)
    assert len(set(found)) == 12
    assert {chosen[0] for chosen in found} == {"a", "b"}
    assert {chosen[2] for chosen in found} == {0, 1, 2}


def test_a_hinge_that_is_inactive_is_tried_at_other_scales():
    class Far(ActivationPenalty):
        """Active only for activations beyond 4, which no first point has with tanh."""

        def __call__(self, A, step):
            beyond = xp.maximum(abs(A) - 4, 0)
            value = xp.sum(beyond**2, axis=(-2, -1))
            return value, 2 * beyond * xp.sign(A)

    report = suite.check_technique(Far)
    own = [row for row in report.rows if row.kind == "penalty"]
    assert [row.right for row in own] == [True]
    assert any("scale 10" in v.case.where for v in own[0].verdicts)


def test_a_penalty_that_never_acts_fails():
    class Never(ActivationPenalty):
        def __call__(self, A, step):
            return 0 * xp.sum(A, axis=(-2, -1)), 0 * A

    report = suite.check_technique(Never)
    assert not report.right
    assert report.faults[0].worst.status == "zero"


def test_a_penalty_that_does_all_in_apply_is_checked_within_the_objective():
    class Direct(Penalty):
        wrong = 1.0

        def apply(self, step, layer, strength):
            W = step.net.W[layer - 1]
            step.late.append((step.net.dW[layer - 1], self.wrong * strength.of_matrices * W))
            return strength.of_values * xp.sum(W**2, axis=(-2, -1)) / 2

    assert suite.check_technique(Direct).right
    Direct.wrong = 1.5
    report = suite.check_technique(Direct)
    assert {row.kind for row in report.faults} == {"objective"}
    assert any("1.500x too large" in row.words for row in report.faults)


def test_strength_per_network_is_part_of_the_objective():
    class Bare(ActivationPenalty):
        """Its gradient is right; its strengths meet the neurons where their number is the same."""

        def __call__(self, A, step):
            return xp.sum(A**2, axis=(-2, -1)) / 2, A

        def apply(self, step, layer, strength):
            value, dA = self(step.trace.A[layer], step)
            s = strength.of_values
            matches = getattr(s, "shape", ()) == dA.shape[-1:]
            step.add_dA(layer, (s if matches else strength.of_matrices) * dA)
            return strength.of_values * value

    report = suite.check_technique(Bare)
    assert [row.right for row in report.rows if row.kind == "penalty"] == [True]
    assert any("was applied to the neuron axis" in row.words for row in report.faults)


@pytest.mark.parametrize(
    ("right", "wrong", "words"),
    [
        (
            "N = x.shape[-2]\n",
            "N = x.shape[-2]\n        N, context = x.shape[-2], Context(True)\n"
            "        if context.training:\n",
            "depends on the other samples",
        ),
        (
            "self.variance += self.momentum",
            "0 * self.variance + self.momentum",
            "a running mean or variance is not updated",
        ),
        (
            "self.mean += self.momentum",
            "0 * self.mean + self.momentum",
            "a running mean or variance is not updated",
        ),
        ("return W * scale, (b - self.mean)", "return W * scale, (b + self.mean)", "fold gives"),
        (
            'return {"mean": self.mean, "',
            'return {"mean": 0 * self.mean, "',
            "state() leaves something out",
        ),
    ],
)
def test_a_layer_that_fails_a_requirement_beside_its_gradient_fails(tmp_path, right, wrong, words):
    """An edited copy of batch norm; its gradient is right."""
    import tinydiv.techniques.batch_norm as batch_norm

    source = Path(batch_norm.__file__).read_text()
    assert source.count(right) == 1
    file = tmp_path / "mine.py"
    file.write_text(source.replace(right, wrong))
    report = check_file(f"{file}:BatchNorm")
    assert [row.array for row in report.faults] == ["evaluation"], report
    assert words in report.faults[0].words


def test_layers_with_running_statistics_give_the_same_value_twice():
    """Running statistics move with every training pass; the checker puts them back."""
    report = suite.run(["batch-norm"])
    assert report.right
    assert not any(v.status == "noisy" for row in report.rows for v in row.verdicts)


# The report --------------------------------------------------------------------------------------


def test_a_report_sums_up_points_and_shows_the_first_failure():
    def backward(net, trace, dlogits, dA=None):
        MLP.backward(net, trace, dlogits, dA)
        if net.activation.name == "relu":
            net.db[-1][...] *= -1

    report = suite.check_backward(backward)
    (row,) = [row for row in report.faults if row.array == "db[2]"]
    assert 0 < len(row.failed) < len(row.verdicts)
    assert "relu" in row.where
    assert row.worst.finding.code == "sign"
    text = str(report)
    assert "WRONG: sign flipped" in text
    assert f"at {len(row.failed)} of {len(row.verdicts)} points" in text
    assert not report.right


def test_the_report_names_the_array_to_begin_with():
    def backward(net, trace, dlogits, dA=None):
        MLP.backward(net, trace, 2 * dlogits, dA)

    assert "Begin with dW[2]" in str(suite.check_backward(backward))


def test_a_check_of_nothing_is_not_right():
    assert not suite.timed(lambda report: None, 0).right


# A file of one's own -----------------------------------------------------------------------------


def write(tmp_path, text, name="mine.py"):
    file = tmp_path / name
    file.write_text(planted.IMPORTS + text)
    return str(file)


def checked(*argv):
    return check.main([str(a) for a in argv])


RIGHT = [planted.PENALTY, planted.ACTIVATION, planted.LOSS, planted.NORM, planted.BACKWARD]


@pytest.mark.parametrize("source", RIGHT, ids=["penalty", "activation", "loss", "layer", "pass"])
def test_a_right_file_passes(tmp_path, capsys, source):
    assert checked(write(tmp_path, source)) == 0
    assert "all right" in capsys.readouterr().out


def test_several_things_in_one_file_and_one_by_name(tmp_path, capsys):
    wrong = planted.LOSS.replace("(p - Y) / N", "(Y - p) / N")
    file = write(tmp_path, planted.ACTIVATION + wrong)
    assert checked(file, "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert {fault["subject"]: fault["code"] for fault in found["faults"]} == {"loss": "sign"}
    assert checked(f"{file}:Rectified") == 0
    assert checked(f"{file}:loss") == 1


def test_an_edited_copy_of_the_network_s_file(tmp_path, capsys):
    import tinydiv.mlp

    source = Path(tinydiv.mlp.__file__).read_text()
    assert checked(write(tmp_path, source, "my_mlp.py") + ":MLP") == 0
    line = "dZ = dH * self.activation.derivative(trace.Z[l - 1])"
    assert line in source
    capsys.readouterr()
    assert checked(write(tmp_path, source.replace(line, "dZ = dH"), "my_mlp.py")) == 1
    assert "mask missing where the neuron is off" in capsys.readouterr().out


LOST = {
    "the extra gradient": """
class Mine(MLP):
    def backward(self, trace, dlogits, dA=None, *, accumulate=False, to_inputs=False):
        return super().backward(trace, dlogits, None, accumulate=accumulate, to_inputs=to_inputs)
""",
    "the extra gradient dA[0] is not added": """
def backward(net, trace, dlogits, dA=None, *, accumulate=False, to_inputs=False):
    dA = {l: one for l, one in (dA or {}).items() if l > 0}
    return MLP.backward(net, trace, dlogits, dA, accumulate=accumulate, to_inputs=to_inputs)
""",
}


@pytest.mark.parametrize("sentence", LOST)
def test_an_upstream_gradient_that_is_left_out_is_found(tmp_path, capsys, sentence):
    assert checked(write(tmp_path, f"from tinydiv.mlp import MLP\n{LOST[sentence]}")) == 1
    assert sentence in capsys.readouterr().out


def test_json_has_everything_that_a_grading_script_needs(tmp_path, capsys):
    file = write(tmp_path, planted.PENALTY.replace("(2 / N)", "(1 / N)"))
    assert checked(file, "--json") == 1
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    assert found["right"] is False
    assert found["file"] == file
    (fault,) = [f for f in found["faults"] if f["kind"] == "penalty"]
    assert fault["array"] == "dA"
    assert fault["code"] == "scaled"
    assert "2.000x too small" in fault["words"]
    assert fault["relative_error"] == pytest.approx(0.5)
    assert fault["failed"] == fault["points"] > 3
    assert "Mine" in shown.err  # progress


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("x = 1", "defines nothing to check"),
        ("import nothing_of_that_name", "cannot be imported: ModuleNotFoundError"),
        ("def f(:", "cannot be imported: SyntaxError"),
        ("exit(0)", "cannot be imported: SystemExit"),
    ],
)
def test_files_that_cannot_be_checked_are_one_sentence(tmp_path, capsys, source, sentence):
    refused(capsys, check.main, [write(tmp_path, source)], sentence)


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--only", "decof"], "did you mean 'decov'"),
        (["--only", "penalty"], "did you mean 'penalties'"),
        (["--seed", "-1"], "--seed must be a whole number"),
        (["nowhere.py"], "there is no file nowhere.py"),
        (["nowhere"], "nowhere"),
        (["--backend", "numpi"], "did you mean 'numpy'"),
        (["--jsn"], "did you mean '--json'"),
        (["a.py", "--only", "decov"], "write FILE.py:NAME"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(capsys, argv, sentence):
    refused(capsys, check.main, argv, sentence)


def test_a_name_that_the_file_lacks(tmp_path, capsys):
    assert checked(write(tmp_path, planted.ACTIVATION) + ":Rectifed") == 2
    assert "did you mean 'Rectified'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("class Mine(ActivationPenalty):\n    pass", "__call__ is not filled in"),
        (
            "class Mine(ActivationPenalty):\n    def __init__(self):\n        raise OSError('no')",
            "raised OSError: no",
        ),
        (
            "class Mine(ActivationPenalty):\n    def __call__(self, A, step):\n        return A",
            "must return (value, dA), got ndarray",
        ),
        ("class Mine(Activation):\n    pass", "__call__ is not filled in"),
    ],
)
def test_code_that_fails_while_it_is_checked_is_a_failed_check(tmp_path, capsys, source, sentence):
    assert checked(write(tmp_path, source)) == 1
    assert sentence in capsys.readouterr().out


def test_a_folder_named_as_the_checker_s_own_hides_no_line(tmp_path, capsys):
    (tmp_path / "check").mkdir()
    source = "class Mine(ActivationPenalty):\n    def __call__(self, A, step):\n        raise OSError('no')"
    file = write(tmp_path / "check", source)
    assert checked(file) == 1
    assert f"raised OSError: no ({file}, line" in capsys.readouterr().out


def test_settings_may_be_named_in_the_file_s_spec(tmp_path, capsys):
    source = """
from tinydiv.techniques import setting
class Mine(ActivationPenalty):
    form: str = setting("right", choices=("right", "wrong"))
    def __call__(self, A, step):
        return xp.sum(A**2, axis=(-2, -1)) / 2, A if self.form == "right" else 3 * A
"""
    file = write(tmp_path, source)
    assert checked(file) == 1
    assert checked(f"{file}:Mine:form=right,strength=0.5") == 0
    assert checked(f"{file}:Mine:form=wrong") == 1
    capsys.readouterr()
    assert checked(f"{file}:Mine:form=rihgt") == 2
    assert "did you mean 'right'" in capsys.readouterr().err


FORGOTTEN = """
class Mine(ActivationPenalty):
    target = 0.1
    def __call__(self, A, step):
        return xp.sum((A - self.target)**2, axis=(-2, -1)) / 2, A - self.target
"""


def test_a_setting_without_its_type_is_named_as_that(tmp_path, capsys):
    file = write(tmp_path, FORGOTTEN)
    wanted = "`target = 0.1` needs a type to be a setting: write `target: float = 0.1`"
    assert checked(file) == 0
    assert wanted in capsys.readouterr().out
    assert checked(f"{file}:Mine:target=0.2") == 2
    assert wanted in capsys.readouterr().err


def test_windows_paths_keep_their_drive():
    from tinydiv.check.own import parts_of

    assert parts_of("C:\\work\\mine.py") == ("C:\\work\\mine.py", "", "")
    assert parts_of("C:\\work\\mine.py:Mine") == ("C:\\work\\mine.py", "Mine", "")
    assert parts_of("mine.py:Mine:eps=1,s=2") == ("mine.py", "Mine", "eps=1,s=2")


def test_only_takes_names_and_groups(capsys):
    assert checked("--only", "activations", "--only", "squared-error") == 0
    out = capsys.readouterr().out
    assert "leaky-relu" in out
    assert "squared-error" in out
    assert "decov" not in out


def test_help_names_the_convention(capsys):
    assert checked("--help") == 0
    out = capsys.readouterr().out
    for part in ("def backward(net, trace, dlogits, dA=None)", "exit code 0", "--only", "mine.py"):
        assert part in out


def test_an_unknown_name_in_python_too():
    with pytest.raises(UsageError, match="did you mean 'decov'"):
        suite.run(["deco"])


def test_equal_seeds_check_the_same_points():
    one, two, other = (
        [to_host(case.point["X"]) for case in network_cases(seed)] for seed in (3, 3, 4)
    )
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert not np.array_equal(one[0], other[0])


def test_an_activation_without_kinks_is_judged_everywhere():
    case, _ = activation_cases(activations.get("gelu"), 0)
    (verdict,) = judge(case)
    assert verdict.at_kink == 0
    assert verdict.entries == 30
