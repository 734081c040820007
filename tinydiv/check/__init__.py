"""The gradient checker and the doctor. Read judge.py for what is checked, patterns.py for the faults
that the doctor recognises; `python -m tinydiv.check` is the command.

    from tinydiv.check import check_technique
    print(check_technique(Mine))
"""

from typing import TYPE_CHECKING

from tinydiv import when_used

if TYPE_CHECKING:
    from tinydiv.check.evidence import Facts, Finding
    from tinydiv.check.judge import Case, Verdict
    from tinydiv.check.own import check_file
    from tinydiv.check.report import Report, Row
    from tinydiv.check.suite import (
        check_activation,
        check_backward,
        check_gradients,
        check_loss,
        check_network,
        check_technique,
        run,
    )
else:
    __getattr__ = when_used(
        __name__,
        {
            "evidence": "Facts Finding",
            "judge": "Case Verdict",
            "own": "check_file",
            "report": "Report Row",
            "suite": "check_activation check_backward check_gradients check_loss check_network "
            "check_technique run",
        },
    )

__all__ = [
    "Case",
    "Facts",
    "Finding",
    "Report",
    "Row",
    "Verdict",
    "check_activation",
    "check_backward",
    "check_file",
    "check_gradients",
    "check_loss",
    "check_network",
    "check_technique",
    "run",
]
