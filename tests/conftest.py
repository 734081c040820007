"""What all tests share: the backends, the settings of the tools, and which skips are allowed.

pytest --strict-skips      a skip that .ci/allowed_skips.txt does not allow is a failure
                           (on by itself where the environment says CI=true)
pytest --list-passed FILE  write the names of the tests that passed, one a line
pytest --but-not FILE      leave out the tests that FILE names
"""

import argparse
import os
from collections import Counter

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy: tests are small, cores are few
os.environ.setdefault("MPLBACKEND", "Agg")

import re
import shutil
import signal
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import standin

from tinydiv import backend as backends

ALLOWED_SKIPS = Path(__file__).parent.parent / ".ci" / "allowed_skips.txt"

hypothesis.settings.register_profile("tinydiv", deadline=None, max_examples=60)
hypothesis.settings.register_profile(
    "ci", parent=hypothesis.settings.get_profile("tinydiv"), derandomize=True, database=None
)


# Backends ----------------------------------------------------------------------------------------


@pytest.fixture(params=["numpy", "standin", pytest.param("cupy", marks=pytest.mark.gpu)])
def backend(request):
    """Run the test on NumPy, on the strict stand-in for CuPy, and on CuPy where there is a GPU."""
    backends.use(standin if request.param == "standin" else request.param)
    return request.param


@pytest.fixture
def on_standin():
    """Run the test on the stand-in; gives the module, whose `counting()` counts.

    A GPU never warns of invalid values, so the stand-in does not either. Rarely a product of finite numbers
    is reported by NumPy: the kernel computed on lanes that it then threw away.
    """
    backends.use(standin)
    with np.errstate(all="ignore"):
        yield standin


@pytest.fixture(autouse=True)
def numpy_again():
    """Whatever a test chose, the next one starts on NumPy."""
    yield
    backends.use("numpy")


@pytest.fixture(scope="session")
def torch():
    """PyTorch, an extra of its own: a judge that shares no line with the project."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: extra [torch]")
    torch.set_num_threads(1)
    return torch


@pytest.fixture(scope="session")
def torch_reference(torch):
    """tests/torch_reference.py: our networks, losses and gradients by PyTorch's autograd."""
    import torch_reference

    return torch_reference


@pytest.fixture(scope="module")
def browser():
    """Chromium without a window, for the pages that the project makes."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="no browser to be driven here")
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        pytest.skip("no browser to be driven here")
    options = webdriver.ChromeOptions()
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"):
        options.add_argument(flag)
    for flag in ("--disable-background-networking", "--disable-component-update", "--disable-sync"):
        options.add_argument(flag)
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


def why_no_gpu():
    """None where CuPy sees a GPU; else the reason. A GPU that does not work is no reason to skip."""
    try:
        import cupy
    except ImportError:
        return "CuPy is not installed"
    try:
        return None if cupy.cuda.runtime.getDeviceCount() else "no GPU to be seen"
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return str(error)


def pytest_collection_modifyitems(config, items):
    leave_out_named(config, items)
    for_gpu = [item for item in items if item.get_closest_marker("gpu")]
    reason = why_no_gpu() if for_gpu else None
    for item in for_gpu if reason else []:
        item.add_marker(pytest.mark.skip(reason=f"needs a CUDA GPU: {reason}"))


# Which tests are left out, because another run has passed them -------------------------------------


def file_there(name):
    """The path of a file, for an option."""
    if not Path(name).is_file():
        raise argparse.ArgumentTypeError(f"there is no file {name}")
    return Path(name)


def leave_out_named(config, items):
    """Take the tests that --but-not names from the list, and report how many."""
    if config.option.but_not is None:
        return
    named = set(config.option.but_not.read_text("utf-8").splitlines())
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid in named])
    items[:] = [item for item in items if item.nodeid not in named]


def list_passed(reporter):
    """Write the names of the tests that passed, and whose setup and end raised nothing."""
    stats = reporter.stats
    failed = {report.nodeid for key in ("failed", "error") for report in stats.get(key, [])}
    passed = [report.nodeid for report in stats.get("passed", []) if report.nodeid not in failed]
    reporter.config.option.list_passed.write_text(
        "".join(f"{nodeid}\n" for nodeid in sorted(passed)), encoding="utf-8"
    )


# Skips -------------------------------------------------------------------------------------------


def pytest_addoption(parser):
    in_ci = os.environ.get("CI", "").lower() in ("1", "true")
    parser.addoption("--strict-skips", action="store_true", default=in_ci)
    parser.addoption("--list-passed", type=Path, metavar="FILE")
    parser.addoption("--but-not", type=file_there, metavar="FILE")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """With -n, the tests of one tutorial, and of the site, stay in one process, which makes it once."""
    from xdist.scheduler import LoadScopeScheduling

    class ByTutorial(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            of_tutorial = re.search(r"test_tutorials\.py::.*(\[\d\d\]|the_site).*$", nodeid)
            return of_tutorial[1] if of_tutorial else nodeid

    return ByTutorial(config, log) if config.option.dist == "load" else None


def pytest_configure(config):
    os.environ.pop("PYTEST_ADDOPTS", None)  # a pytest that a test starts has its own options
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A job in the background ignores Ctrl-C, and so would the processes to which tests send it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    hypothesis.settings.load_profile("ci" if config.getoption("--strict-skips") else "tinydiv")


def allowed_skips():
    """Regular expressions, one a line; # begins a comment."""
    lines = ALLOWED_SKIPS.read_text().splitlines() if ALLOWED_SKIPS.exists() else []
    return [line for line in lines if line.strip() and not line.startswith("#")]


def fail_unless_allowed(report, strict):
    """Turn a skip whose reason is on no list into a failure."""
    if not (strict and report.skipped) or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if not any(re.search(pattern, reason) for pattern in allowed_skips()):
        report.outcome = "failed"
        report.longrepr = f"{reason}\nThis skip is not allowed here: see {ALLOWED_SKIPS}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    fail_unless_allowed(report, item.config.getoption("--strict-skips"))
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    report = yield
    fail_unless_allowed(report, collector.config.getoption("--strict-skips"))
    return report


def pytest_terminal_summary(terminalreporter):
    """Why tests were skipped, one line for each reason with how many there were."""
    if terminalreporter.config.option.list_passed is not None:
        list_passed(terminalreporter)
    reports = terminalreporter.stats.get("skipped", [])
    reasons = [r.longrepr[2] if isinstance(r.longrepr, tuple) else str(r.longrepr) for r in reports]
    for reason, count in Counter(reasons).most_common():
        terminalreporter.write_line(f"skipped {count}: {reason.removeprefix('Skipped: ')}")
