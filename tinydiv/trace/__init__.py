"""One training step with every array kept: names, formulas, numbers. The command is tinydiv.trace.

entries.py defines what is kept, watch.py copies it from the layers, shares.py computes what each technique
adds, updates.py has each optimizer's formulas, step.py is the step, text.py prints it.
"""

from typing import TYPE_CHECKING

from tinydiv import when_used

if TYPE_CHECKING:
    from tinydiv.trace.entries import STAGES, Entry, StepTrace
    from tinydiv.trace.step import trace_step
    from tinydiv.trace.text import as_json, as_text
else:
    __getattr__ = when_used(
        __name__,
        {
            "entries": "STAGES Entry StepTrace",
            "step": "trace_step",
            "text": "as_json as_text",
        },
    )

__all__ = ["STAGES", "Entry", "StepTrace", "as_json", "as_text", "trace_step"]
