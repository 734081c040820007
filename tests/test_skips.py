"""In CI a skip is a failure, unless .ci/allowed_skips.txt has its reason."""

from types import SimpleNamespace

import conftest
import pytest


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
    conftest.pytest_collection_modifyitems([item, other])
    assert [mark.kwargs["reason"] for mark in marks] == ["needs a CUDA GPU: no GPU to be seen"]
    monkeypatch.setattr(conftest, "why_no_gpu", lambda: None)
    conftest.pytest_collection_modifyitems([item])
    assert len(marks) == 1, "where there is a GPU, nothing is skipped"
