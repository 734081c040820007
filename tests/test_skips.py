"""In CI a skip is a failure, unless .ci/allowed_skips.txt has its reason; no test runs there twice."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import conftest
import pytest

HERE = Path(__file__).parent


def skipped(reason):
    return SimpleNamespace(skipped=True, outcome="skipped", longrepr=("test.py", 1, reason))


@pytest.mark.parametrize(
    ("reason", "allowed"),
    [
        ("Skipped: needs a CUDA GPU: no GPU to be seen", True),
        ("Skipped: CuPy is not installed in version 14.2.0", True),
        ("Skipped: CuPy is not installed", False),
        ("Skipped: PyTorch is not installed: extra [torch]", False),
        ("Skipped: somehow it failed here", False),
    ],
)
def test_only_reasons_on_the_list_pass_where_skips_are_strict(reason, allowed):
    strict, lenient = skipped(reason), skipped(reason)
    conftest.fail_unless_allowed(strict, strict=True)
    conftest.fail_unless_allowed(lenient, strict=False)
    assert (strict.outcome == "skipped") == allowed
    assert lenient.outcome == "skipped"
    assert allowed or "This skip is not allowed here" in strict.longrepr


def test_what_failed_or_passed_stays_so():
    report = SimpleNamespace(skipped=False, outcome="passed", longrepr=None)
    conftest.fail_unless_allowed(report, strict=True)
    assert report.outcome == "passed"


def test_a_test_for_the_gpu_is_skipped_with_the_reason(monkeypatch):
    monkeypatch.setattr(conftest, "why_no_gpu", lambda: "no GPU to be seen")
    marks = []
    item = SimpleNamespace(get_closest_marker=lambda name: name == "gpu", add_marker=marks.append)
    other = SimpleNamespace(get_closest_marker=lambda name: None, add_marker=marks.append)
    config = SimpleNamespace(option=SimpleNamespace(but_not=None))
    conftest.pytest_collection_modifyitems(config, [item, other])
    assert [mark.kwargs["reason"] for mark in marks] == ["needs a CUDA GPU: no GPU to be seen"]
    monkeypatch.setattr(conftest, "why_no_gpu", lambda: None)
    conftest.pytest_collection_modifyitems(config, [item])
    assert len(marks) == 1, "where there is a GPU, nothing is skipped"


@pytest.mark.parametrize("processes", ["0", "2"])
def test_what_one_run_passed_another_leaves_out(tmp_path, processes):
    """Of one file: a test that passes, one that fails, one that is skipped, one whose end fails."""
    (tmp_path / "conftest.py").write_text(Path(conftest.__file__).read_text("utf-8"), "utf-8")
    (tmp_path / "test_four.py").write_text(
        "import pytest\n"
        "@pytest.fixture\n"
        "def ends_badly():\n"
        "    yield\n"
        "    raise OSError\n"
        "@pytest.mark.parametrize('name', ['a b', 'é'])\n"
        "def test_passes(name): pass\n"
        "def test_fails(): assert not 1\n"
        "def test_is_skipped(): pytest.skip('PyTorch is not installed')\n"
        "def test_passes_with_a_bad_end(ends_badly): pass\n",
        "utf-8",
    )

    def run(*options):
        words = [
            sys.executable,
            "-m",
            "pytest",
            "-n",
            processes,
            "-p",
            "no:cacheprovider",
            *options,
        ]
        return subprocess.run(
            words, cwd=tmp_path, env=conftest.os.environ | {"PYTHONPATH": str(HERE)}, text=True,
            encoding="utf-8", stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ).stdout  # fmt: skip

    first, second = run("--list-passed", "passed.txt"), run("--but-not", "passed.txt")
    assert " 1 failed, 3 passed, 1 skipped, 1 error" in first
    assert " 1 failed, 1 passed, 1 skipped, " in second
    assert ", 1 error" in second
    names = (tmp_path / "passed.txt").read_text("utf-8").splitlines()
    assert len(names) == 2
    assert all("test_passes[" in name for name in names)
    assert "error: argument --but-not: there is no file passed" in run("--but-not", "passed")
