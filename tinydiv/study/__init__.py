"""Studies: many small networks compared on the same seeds, with paired statistics.

    from tinydiv.study import Arm, Study, run_study

    study = Study("mine", [Arm("plain"), Arm("adam", {"optimizer": "adam"})], seeds=20)
    report = run_study(study, "runs/mine")
    print(report.markdown())

Read in this order: specification.py (what a study is), plan.py (which networks it needs), running.py
(how a stack of them is trained), engine.py (from beginning to end), comparing.py (the comparisons).
"""

from typing import TYPE_CHECKING

from tinydiv import when_used

if TYPE_CHECKING:
    from tinydiv.study.engine import StudyReport, read_study, run_study
    from tinydiv.study.keys import Controls, Measure, Tuning
    from tinydiv.study.reading import NAMED, load_study
    from tinydiv.study.specification import Arm, Setting, Study
else:
    __getattr__ = when_used(
        __name__,
        {
            "engine": "StudyReport read_study run_study",
            "reading": "NAMED load_study",
            "keys": "Controls Measure Tuning",
            "specification": "Arm Setting Study",
        },
    )

__all__ = [
    "NAMED",
    "Arm",
    "Controls",
    "Measure",
    "Setting",
    "Study",
    "StudyReport",
    "Tuning",
    "load_study",
    "read_study",
    "run_study",
]
