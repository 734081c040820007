"""One training step with every array kept: names, formulas, numbers. The command is tinydiv.trace.

entries.py holds what is kept, watch.py how it is seen, shares.py what each technique adds,
updates.py what each optimizer does, step.py the step itself, text.py how it is printed.
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
