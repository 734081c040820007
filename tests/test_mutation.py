"""The mutation tests (tests/mutation): a sample of the mutants, and the tests of the tests.

Is right code seen right, is each kind of edit noticed, can a mutant survive at all, is everything put
back? And the mutants that no test notices: does each compute the same as the original?

All mutants: python -m tests.mutation
"""

import argparse
import ast
import random
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from mutation import __main__ as command
from mutation.edits import edits_of
from mutation.equivalence import difference
from mutation.noticing import Noticed, by_checker, find_all, noticed
from mutation.survivors import known_survivors
from mutation.targets import Mutant, all_mutants, definition, targets

from tinydiv.check import suite
from tinydiv.techniques import TECHNIQUES
from tinydiv.techniques.placing import kind_of

ROOT = Path(__file__).parent.parent
SURVIVORS = known_survivors()


@pytest.fixture(scope="module")
def mutants():
    """All of them, by name."""
    return {mutant.name: mutant for mutant in all_mutants()}


def results_of(chosen, **how):
    """Name -> what found it."""
    answers = {}
    find_all(chosen, lambda mutant, answer: answers.update({mutant.name: answer}), workers=1, **how)
    return answers


def planted(change, function="techniques.decov.DeCov.__call__"):
    """A mutant made by hand: `change` edits the syntax tree of a function."""
    target = next(target for target in targets() if target.name == function)
    tree = ast.parse(ast.unparse(definition(target))).body[0]
    change(tree)
    return Mutant(target, "planted", "", "", 1, lambda: ast.fix_missing_locations(tree))


def times_one(tree):
    """Return 1 * value: a change of the code, and none of what it computes."""
    value = tree.body[-1].value.elts
    value[0] = ast.BinOp(ast.Constant(1), ast.Mult(), value[0])


def without_end(tree):
    tree.body.insert(-1, ast.parse("while True: pass").body[0])


# What is mutated ---------------------------------------------------------------------------------


def test_every_gradient_has_mutants(mutants):
    """Every penalty, layer, activation and loss; the network's backward; every optimizer's update; and
    every function of growing networks that holds maths."""
    subjects = {name for target in targets() for name in target.subjects}
    known = {name for name, group in suite.subjects().items() if group != "interventions"}
    assert subjects == known
    functions = {mutant.target.name for mutant in mutants.values()}
    assert {"mlp.MLP.forward", "mlp.MLP.backward", "optimizers.Adam.rule"} <= functions
    assert {"growing.auxiliary.train", "growing.condense.merge", "growing.mask.work"} <= functions
    assert {"techniques.grow.GradMax.wake", "techniques.grow.Grow.directions"} <= functions
    for name, cls in TECHNIQUES.items():
        file = cls.__module__.removeprefix("tinydiv.")
        if kind_of(cls) == "penalty" and name != "merge-recycle":
            assert any(f.startswith(f"{file}.{cls.__name__}.") for f in functions), name
    assert len(mutants) > 2000


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        ("x = a + b", {"x = a - b", "x = a", "x = b", "x = 2 * (a + b)"}),
        ("x = a - b", {"x = a + b", "x = a", "x = -b", "x = 2 * (a - b)"}),
        ("x = a * b", {"x = a", "x = b", "x = 2 * (a * b)"}),
        ("x = a / b", {"x = a", "x = b / a", "x = 2 * (a / b)"}),
        ("x = a.mT", {"x = a"}),
        ("x = -a", {"x = a"}),
        ("matmul(a, b, out=c)", {"matmul(b, a, out=c)", "pass"}),
        ("x = xp.mean(a, axis=-2)", {"x = xp.sum(a, axis=-2)", "x = 2 * xp.mean(a, axis=-2)"}),
        ("x = off_diagonal(a)", {"x = a", "x = 2 * off_diagonal(a)"}),
        ("x = xp.maximum(a, b)", {"x = xp.minimum(a, b)", "x = a", "x = 2 * xp.maximum(a, b)"}),
        ("x = a > 0", {"x = a < 0"}),
        ("x = a ** 2", {"x = a", "x = a ** 4", "x = 2 * a ** 2"}),
        ("x += a", {"x -= a", "pass"}),
        (
            "return a, b",
            {"return (2 * a, b)", "return (-a, b)", "return (a, 2 * b)", "return (a, -b)"},
        ),
        # Left alone: places, what refuses input, masks, nothing at all, a product with itself.
        ("x = a[i - 1]", set()),
        ("self._check_inputs(a)", set()),
        ("raise UsageError(a + b)", set()),
        ("x = xp.isfinite(a)", {"x = a"}),
        ("x = inside | joined", set()),
        ("return xp.zeros_like(a)", {"return xp.ones_like(a)", "return a"}),
        ("matmul(a, a)", {"pass"}),
    ],
)
def test_edits_are_those(code, wanted):
    tree = ast.parse(f"def f():\n    {code}").body[0]
    assert {ast.unparse(edited().body[0]) for _, _, _, edited in edits_of(tree)} == wanted


# Who notices -------------------------------------------------------------------------------------


@pytest.mark.parametrize("subject", ["tanh", "squared-error", "decov", "batch-norm"])
def test_right_code_is_seen_right(subject):
    assert by_checker([subject]) is None


ONE_OF_EACH = (
    "mlp.MLP.backward: delete: dH += dA[l] -> pass",
    "mlp.MLP.backward: drop the transposition: self.W[l].mT -> self.W[l]",
    "techniques.batch_norm.BatchNorm.backward: delete the last term: "
    "dy - dbeta / N - xhat * (dgamma / N) -> dy - dbeta / N",
    "techniques.negative_correlation.NegativeCorrelation.__call__: mean to sum: "
    "xp.mean(members, axis=-1) -> xp.sum(members, axis=-1)",
    "techniques.decov.DeCov.__call__: delete the divisor: matmul(C.mT, C) / N -> matmul(C.mT, C)",
    "techniques.vicreg.VICReg.__call__: turn the comparison: short > 0 -> short < 0",
    "losses.squared_error: drop the power: difference ** 2 -> difference",
)


def test_one_mutant_of_each_kind_is_found(mutants):
    """Deleted, transposed, a term left out, a mean and a divisor dropped, a mask turned, a power."""
    answers = results_of([mutants[name] for name in ONE_OF_EACH], tests=False)
    assert {name: answer.by for name, answer in answers.items()} == dict.fromkeys(
        ONE_OF_EACH, "the checker"
    )


QUICK = (
    "(autograd and fewer and tanh) or dead_neurons or pytorchs or running_statistics or "
    "wherever_they_stand or first_step or weight_decay or formulas_by_hand or redundant_neuron or "
    "every_arms_gradient"
)
"""The tests that find the most in the least time."""


@pytest.mark.long
def test_a_sample_of_mutants_is_found(mutants):
    """Some at random, by the checker and the quick tests, then by all tests."""
    sample = random.Random(7).sample(sorted(set(mutants) - set(SURVIVORS)), 16)
    left = survivors_of(sample, "--tests", QUICK)
    assert len(left) < len(sample) / 2
    assert not (left and survivors_of(left))


def survivors_of(names, *options):
    """What `python -m tests.mutation` reports: in a process of its own, since pytest runs within it."""
    process = subprocess.run(
        [sys.executable, "-m", "tests.mutation", "--workers", "1", *options, *names],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    marked = [line for line in process.stdout.splitlines() if line.startswith("SURVIVES: ")]
    assert process.returncode == (1 if marked else 0), process.stderr
    assert f"{len(names)} mutants in" in process.stdout, process.stderr
    return [line.removeprefix("SURVIVES: ") for line in marked]


def test_what_changes_nothing_survives():
    mutant = planted(times_one)
    assert results_of([mutant], tests=False) == {mutant.name: Noticed()}


def test_what_never_ends_is_stopped():
    mutant = planted(without_end)
    assert results_of([mutant], tests=False, patience=1)[mutant.name].by == "the clock"


OPTIONS = argparse.Namespace(workers=1, no_tests=True, tests=None, verbose=False)


def test_a_survivor_fails_the_command(capsys, monkeypatch):
    mutant = planted(times_one)
    assert command.report([mutant], OPTIONS) == 1
    assert f"SURVIVES: {mutant.name}" in capsys.readouterr().out
    monkeypatch.setattr(command, "known_survivors", lambda: {mutant.name: "times one"})
    assert command.report([mutant], OPTIONS) == 0
    assert "1 known survivors" in capsys.readouterr().out


def test_a_listed_survivor_that_is_found_fails_the_command(mutants, capsys, monkeypatch):
    name = ONE_OF_EACH[-1]
    monkeypatch.setattr(command, "known_survivors", lambda: {name: "no reason"})
    assert command.report([mutants[name]], OPTIONS) == 1
    assert "LISTED, BUT NOTICED by the checker" in capsys.readouterr().out


def test_everything_is_put_back(mutants):
    mutant = mutants[ONE_OF_EACH[4]]
    before = [function.__code__ for function in mutant.target.functions]
    assert noticed(mutant).by == "the checker"
    assert [function.__code__ for function in mutant.target.functions] == before
    with mutant.in_place():
        assert [function.__code__ for function in mutant.target.functions] != before
    with suppress(KeyError), mutant.in_place():
        raise KeyError
    assert [function.__code__ for function in mutant.target.functions] == before
    assert by_checker(mutant.target.subjects) is None


# What survives -----------------------------------------------------------------------------------


def test_survivors_are_few_exist_and_have_a_reason(mutants):
    assert set(SURVIVORS) <= set(mutants)
    assert all(len(reason) > 20 for reason in SURVIVORS.values())
    assert len(SURVIVORS) < 60


@pytest.mark.parametrize("name", SURVIVORS)
def test_a_survivor_computes_the_same(name, mutants):
    assert difference(mutants[name], most_subjects=1, every=5) is None


@pytest.mark.slow
@pytest.mark.parametrize("name", SURVIVORS)
def test_a_survivor_computes_the_same_wherever_it_is_used(name, mutants):
    assert difference(mutants[name], seed=1) is None


def test_another_computation_is_not_taken_for_an_equal_one(mutants):
    assert difference(planted(times_one)) is None
    without_mask = (
        "techniques.orthoreg.OrthoReg.__call__: delete the first factor: "
        "mask * xp.log1p(E) -> xp.log1p(E)"
    )
    assert "orthoreg" in difference(mutants[without_mask])
    only_where_dead = (
        "techniques.l1_gates.L1Gates.__call__: always the first: "
        "xp.where(outgoing > 0, outgoing, 1) -> outgoing"
    )
    assert difference(mutants[only_where_dead]) is not None


@pytest.mark.parametrize(
    ("begins", "place"),
    [
        ("techniques.grow.Grow.directions: drop the maximum: xp.maximum(1e-06 *", "zeros"),
        ("techniques.grow.Net2Net.wake: double the constant: 1 -> 2", "net2net"),
        ("growing.condense.merge: flip the sign: mean[j] - alpha", "merge, prune"),
        ("growing.auxiliary.effective_rank: delete the last term: S -", "growing"),
        ("growing.auxiliary.train: flip the sign: N - s.goal", "growing"),
        ("growing.mask.data_of: delete the first factor: 2 * (y", "mask on bessel"),
    ],
)
def test_another_computation_of_growth_is_not_taken_for_an_equal_one(begins, place, mutants):
    mutant = next(one for name, one in mutants.items() if name.startswith(begins))
    assert place in difference(mutant)


def test_what_nothing_compares_is_not_taken_for_an_equal_one(mutants):
    name = next(name for name in mutants if name.startswith("optimizers.Nesterov.rule"))
    with pytest.raises(LookupError, match="no run goes through"):
        difference(mutants[name])
