"""Checking an exercise: hints, one at a time, and never the solution.

    check(answer_1, (lambda a: callable(a), "answer_1 is a function of w and b"), ...)

Every step is a function of the answer that gives true or false, and the hint that is printed where it
gives false. The first step that fails ends the check.
"""

from collections.abc import Callable


def check(answer: object, *steps: tuple[Callable[[object], object], str]) -> bool:
    """Try an answer step by step; print "Done." or the hint of the first step that it fails."""
    if answer is ...:
        print("Nothing to check yet: put your answer in the place of the dots, and run this cell.")
        return False
    for passes, hint in steps:
        try:
            passed = bool(passes(answer))
        except Exception as error:  # whatever a learner's code raises is a reason to try again
            print(f"Not yet. It stopped with {type(error).__name__}: {error}\nHint: {hint}")
            return False
        if not passed:
            print(f"Not yet. Hint: {hint}")
            return False
    print("Done.")
    return True


def reported(report: object) -> bool:
    """Print a report of the gradient checker, which names the fault; whether all gradients are right."""
    print(report)
    return report.right  # type: ignore[attr-defined, no-any-return]
