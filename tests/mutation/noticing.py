"""What finds a mutant? First the checker, at its own points; then the tests.

Every mutant runs in a process of its own, forked from this one, so that it cannot break another one; a
process that does not end is stopped.
"""

import os
import select
import signal
import sys
import time
import warnings
from dataclasses import dataclass

from tinydiv.check import suite
from tinydiv.check.judge import judge
from tinydiv.check.report import Report

from .pool import Pool, in_the_pool

PATIENCE = 120
"""Seconds after which a mutant counts as noticed: it does not end."""

AT_FIRST, AT_MOST = 2, 12
"""Of the subjects that run through a shared function, so many are checked before the tests and in all."""


@dataclass(frozen=True)
class Noticed:
    """What found a mutant, and how it showed; `by` is empty if nothing did."""

    by: str = ""
    how: str = ""


def by_checker(subjects, seed=0):
    """How the first failing gradient shows, or None if the checker finds nothing wrong."""
    for subject in subjects:
        report = Report(seed)
        try:
            for item in suite.cases_of(subject, seed):
                verdicts = suite.active(item, lambda case: judge(case, seed, doctor=False))
                report.add(verdicts)
                for verdict in verdicts:
                    if not verdict.passes and verdict.status not in ("zero", "kink"):
                        return f"{subject}, {verdict.array}: {verdict.status}"
            for row in report.faults:
                return f"{subject}, {row.array}: {row.worst.status}"
        except Exception as error:
            return f"{subject}: {type(error).__name__}"
    return None


def noticed(mutant, pool=None):
    """Run the checker, then a pool of tests, in this process; at last the checker's other subjects."""
    subjects = mutant.target.subjects
    with mutant.in_place():
        if how := by_checker(subjects[:AT_FIRST]):
            return Noticed("the checker", how)
        if how := pool and pool.first_failure(mutant.target.name):
            return Noticed("a test", how)
        if how := by_checker(subjects[AT_FIRST:AT_MOST]):
            return Noticed("the checker", how)
    return Noticed()


# One process each --------------------------------------------------------------------------------


def find_all(mutants, on_result, workers=None, tests=True, patience=PATIENCE):
    """Call on_result(mutant, Noticed) for every mutant, as soon as it is known; `workers` run at a time.

    tests: whether the tests are run too; or a pytest expression (-k): only the tests that it names.
    """

    def all_of_them(pool=None):
        for result in _results(list(mutants), workers, pool, patience):
            on_result(*result)

    if tests:
        in_the_pool(all_of_them, named="" if tests is True else tests)
    else:
        all_of_them()


def _results(mutants, workers, pool, patience):
    workers = workers or len(os.sched_getaffinity(0))
    waiting, running = mutants[::-1], {}
    while waiting or running:
        while waiting and len(running) < workers:
            mutant = waiting.pop()
            child, end = _fork(mutant, pool)
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


def _fork(mutant, pool: Pool | None):
    """Start a process that writes what found the mutant, and how, into a pipe."""
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
        found = noticed(mutant, pool)
        os.write(start, f"{found.by}\n{found.how}"[:3000].encode())
    except BaseException as error:
        os.write(start, f"an exception\n{type(error).__name__}: {error}"[:3000].encode())
    finally:
        os._exit(0)
