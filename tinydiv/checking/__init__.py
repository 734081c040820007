"""The gradient checker and the doctor. Read judge.py for what is checked, patterns.py for what the doctor
knows; `python -m tinydiv.check` is the command.

    from tinydiv.checking import check_technique
    print(check_technique(Mine))
"""

from tinydiv.checking.evidence import Facts, Finding
from tinydiv.checking.judge import Case, Verdict, judge
from tinydiv.checking.own import check_file
from tinydiv.checking.report import Report, Row
from tinydiv.checking.suite import (
    check_activation,
    check_backward,
    check_loss,
    check_network,
    check_technique,
    run,
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
    "check_loss",
    "check_network",
    "check_technique",
    "judge",
    "run",
]
