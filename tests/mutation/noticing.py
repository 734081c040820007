"""Who notices a mutant? First the checker, at the points where it checks; then the tests.

Every mutant lives in a process of its own, forked from this one: what it breaks dies with it, and one that
never ends is stopped.
"""

import os
import select
import signal
import sys
import time
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tinydiv.checking import suite
from tinydiv.checking.judge import judge

TESTS = Path(__file__).parent.parent
PATIENCE = 120
"""Seconds after which a mutant counts as noticed: it does not end."""

MOST_SUBJECTS = 5
"""Of the subjects that run through a shared function, this many are asked."""

FIRST, THEN = "asked about the subjects alone", "asked as a whole"
WHERE = {
    "optimizers": {THEN: ("test_optimizers.py",)},
    "activations": {THEN: ("test_mlp.py",)},
    "losses": {THEN: ("test_losses.py", "test_mlp.py")},
    "mlp": {THEN: ("test_mlp.py", "test_layers.py", "test_techniques.py")},
    "techniques": {
        FIRST: ("test_penalties.py", "test_layers.py", "test_techniques.py"),
        THEN: ("test_penalties_meaning.py", "test_layers.py", "test_techniques.py"),
    },
}
"""The tests that could notice a mutant, by the first part of its name: the likeliest first."""


@dataclass(frozen=True)
class Noticed:
    """Who noticed a mutant, and how it showed; nobody if `by` is empty."""

    by: str = ""
    how: str = ""


def by_checker(subjects, seed=0):
    """How the first failing gradient shows, or None if the checker sees nothing wrong."""
    for subject in subjects[:MOST_SUBJECTS]:
        try:
            for item in suite.cases_of(subject, seed):
                for verdict in suite.active(item, lambda case: judge(case, seed, doctor=False)):
                    if not verdict.passes:
                        return f"{subject}, {verdict.array}: {verdict.status}"
        except Exception as error:
            return f"{subject}: {type(error).__name__}"
    return None


def by_tests(mutant):
    """The name of the first test that fails, or None."""
    for stage, names in WHERE[mutant.target.name.split(".")[0]].items():
        files = [str(TESTS / name) for name in names if (TESTS / name).exists()]
        chosen = ["-k", " or ".join(mutant.target.subjects)] if stage is FIRST else []
        listener = Listener()
        asked = ["-x", "-q", "-p", "no:cacheprovider", *chosen, *files]
        code = pytest.main(asked, plugins=[listener])
        if listener.failed:
            return listener.failed[0]
        if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            return f"pytest ended with {code!r}"
    return None


class Listener:
    """Keeps the names of tests that failed."""

    def __init__(self):
        self.failed = []

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.failed.append(report.nodeid.split("/")[-1])


def noticed(mutant, tests=True):
    """Ask the checker, then the tests, in this very process."""
    with mutant.in_place():
        how = by_checker(mutant.target.subjects)
        if how is not None:
            return Noticed("the checker", how)
        how = by_tests(mutant) if tests else None
        return Noticed("a test", how) if how is not None else Noticed()


# One process each --------------------------------------------------------------------------------


def run(mutants, workers=None, tests=True, patience=PATIENCE):
    """Yield (mutant, Noticed) for every mutant, as they come in; `workers` of them at a time."""
    workers = workers or len(os.sched_getaffinity(0))
    with suppress(ImportError):  # once, here, and not in every process that tests run in
        import torch

        torch.set_num_threads(1)
    waiting, running = list(mutants)[::-1], {}
    while waiting or running:
        while waiting and len(running) < workers:
            mutant = waiting.pop()
            child, end = _fork(mutant, tests)
            running[end] = (mutant, child, time.monotonic() + patience)
        ready, _, _ = select.select(list(running), [], [], 1.0)
        late = [end for end, (_, _, limit) in running.items() if time.monotonic() > limit]
        for end in {*ready, *late}:
            mutant, child, _ = running.pop(end)
            if end in ready:
                by, _, how = os.read(end, 4000).decode().partition("\n")
            else:
                os.kill(child, signal.SIGKILL)
                by, how = "the clock", "did not end"
            os.close(end)
            os.waitpid(child, 0)
            yield mutant, Noticed(by, how)


def _fork(mutant, tests):
    """Start a process that writes who noticed, and how, into a pipe."""
    sys.stdout.flush()
    sys.stderr.flush()
    end, start = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of threads: BLAS has one here, and pytest none
        child = os.fork()
    if child:
        os.close(start)
        return child, end
    try:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        answer = noticed(mutant, tests)
        os.write(start, f"{answer.by}\n{answer.how}"[:3000].encode())
    except BaseException as error:
        os.write(start, f"an exception\n{type(error).__name__}: {error}"[:3000].encode())
    finally:
        os._exit(0)
