"""The tests that are run on a mutant: collected once, and only those that run its function.

Which tests run which function is measured, not listed: every test runs once, in a process of its own,
while the calls are watched. A mutant then meets the tests that call its function, the quickest first.
"""

import json
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path

import pytest

from .targets import targets

TESTS = Path(__file__).parent.parent
FILES = ("test_penalties.py", "test_penalties_meaning.py", "test_layers.py", "test_techniques.py")
FILES += ("test_losses.py", "test_mlp.py", "test_optimizers.py", "test_growing.py")
FILES += ("test_waking.py", "test_auxiliary.py", "test_condense.py", "test_mask.py")
LEFT_OUT = "not standin and not stated_cost"
"""The stand-in for CuPy runs the same formulas: to run it again would cost twice the time. And a test
that counts operations fails for every edit, but not that a gradient is wrong."""


def in_the_pool(work, named=""):
    """Collect the tests, and call work(pool) in the midst of pytest's session.

    named: a pytest expression (-k) that chooses some of them. Raises RuntimeError if they cannot be
    collected, or if one fails before anything is spoiled.
    """
    chosen = f"{LEFT_OUT} and ({named})" if named else LEFT_OUT
    pool = Pool(work)
    options = ["-s", "-p", "no:cacheprovider", "-m", "not slow and not gpu", "-k", chosen]
    code = pytest.main([*options, *(str(TESTS / name) for name in FILES)], plugins=[pool])
    if not pool.worked or code != pytest.ExitCode.OK:
        raise RuntimeError(f"pytest did not get through: {code!r}")


class Pool:
    """A plugin of pytest that takes the place of its loop over the tests."""

    def __init__(self, work):
        self.work, self.worked = work, False
        self.items = []
        self.failed = []
        """Each test that failed: its name and what pytest says of it."""
        self.calls = {}
        """Function -> the tests that call it, by number, the quickest first."""

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self, config):
        """No report; and hypothesis stops at the first example that fails."""
        import hypothesis  # here, for pytest wants to import its plugins itself

        config.pluginmanager.unregister(name="terminalreporter")
        hypothesis.settings.register_profile(
            "mutation",
            parent=hypothesis.settings.get_profile("ci"),
            phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
        )
        hypothesis.settings.load_profile("mutation")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session):
        if session.testsfailed:
            return True
        self.items = session.items
        self.calls = self.measured()
        self.work(self)
        self.worked = True
        return True

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.failed.append((report.nodeid.split("/")[-1], report.longreprtext))

    def passes(self, number):
        """Run one test, with fixtures of its own."""
        item = self.items[number]
        item.ihook.pytest_runtest_protocol(item=item, nextitem=None)
        return not self.failed

    def first_failure(self, function):
        """The first test that fails of those that call a function, or None."""
        for number in self.calls.get(function, ()):
            if not self.passes(number):
                return self.failed[0][0]
        return None

    # Who calls what ----------------------------------------------------------------------------

    def measured(self):
        """What `calls` holds, from a process that watches every test."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "calls.json"
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                child = os.fork()
            if not child:
                try:
                    file.write_text(json.dumps(self.watched()))
                finally:
                    os._exit(0)
            os.waitpid(child, 0)
            found = json.loads(file.read_text())
        if isinstance(found, str):
            raise RuntimeError(f"fails before anything is spoiled: {found}")
        calls = {}
        for number, (_, names) in sorted(enumerate(found), key=lambda one: one[1][0]):
            for name in names:
                calls.setdefault(name, []).append(number)
        return calls

    def watched(self):
        """For each test, its seconds and the targets that it calls; or which one fails, and why."""
        names = {target.code: target.name for target in targets()}
        found = []
        for number in range(len(self.items)):
            seen, began = set(), time.perf_counter()

            def watch(frame, event, argument, seen=seen):
                if event == "call" and frame.f_code in names:
                    seen.add(names[frame.f_code])

            sys.setprofile(watch)
            passes = self.passes(number)
            sys.setprofile(None)
            if not passes:
                return "\n".join(self.failed[0])
            found.append((time.perf_counter() - began, sorted(seen)))
        return found
