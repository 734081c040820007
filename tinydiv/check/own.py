"""A user's own file: everything in it that has a gradient is found and checked.

The command's help (command.py) lists what that may be. What the file imports is not checked.
"""

import inspect
from collections.abc import Callable
from types import ModuleType

from tinydiv.activations import Activation
from tinydiv.check.losses import loss_cases
from tinydiv.check.network import activation_cases, network_cases
from tinydiv.check.report import Report
from tinydiv.check.suite import OnSubject, examine, technique_into
from tinydiv.errors import UsageError, nearest
from tinydiv.mlp import MLP
from tinydiv.techniques.base import Technique
from tinydiv.techniques.placing import place
from tinydiv.techniques.registry import module_of_file

FUNCTIONS = ("backward", "loss")
WANTED = (
    "a technique, an Activation, an MLP, a function backward(net, trace, dlogits, dA) or a function "
    "loss(outputs, targets)"
)

Check = Callable[[Report, int], None]


def parts_of(text: str) -> tuple[str, str, str]:
    """FILE.py, FILE.py:Name or FILE.py:Name:key=value,... -> (file, name, settings). The colon
    after a Windows drive belongs to the file."""
    if ".py:" not in text:
        return text, "", ""
    file, _, rest = text.partition(".py:")
    name, _, settings = rest.partition(":")
    return file + ".py", name, settings


def check_file(text: str, seed: int = 0, on_subject: OnSubject | None = None) -> Report:
    """Check what a file defines, or one name in it: "mine.py", "mine.py:Mine".

    Raises UsageError if the file cannot be imported, or defines nothing that has a gradient.
    """
    file, name, settings = parts_of(text)
    found = checks_in(module_of_file(file), text if settings else "")
    if not found:
        raise UsageError(f"{file} defines nothing to check: it may define {WANTED}")
    if name and name not in found:
        raise UsageError(f"{file} defines no {name!r} to check: {nearest(name, found)}")
    report = Report(seed)
    for own in [name] if name else list(found):
        with report.timing():
            found[own](report, seed)
        if on_subject is not None:
            on_subject(own, report)
    report.note_limits()
    return report


def checks_in(module: ModuleType, spec: str = "") -> dict[str, Check]:
    """The check of everything that a module defines, by its name there."""
    found: dict[str, Check] = {}
    for name, value in vars(module).items():
        if getattr(value, "__module__", None) != module.__name__:
            continue
        if isinstance(value, type):
            check = _of_class(name, value, spec)
            if check is not None:
                found[name] = check
        elif callable(value) and name in FUNCTIONS:
            found[name] = _of_function(name, value)
    return found


def without_annotation(cls: type[Technique]) -> list[str]:
    """A sentence for each number, text or boolean in a class that is no setting, because it has no type."""
    known = {name for base in Technique.__mro__ for name in vars(base)}
    known |= {name for kind in cls.__mro__[1:] for name in vars(kind)}
    return [
        f"{cls.__name__}: `{name} = {value!r}` needs a type to be a setting: write "
        f"`{name}: {type(value).__name__} = {value!r}`"
        for name, value in vars(cls).items()
        if isinstance(value, bool | int | float | str)
        and not name.startswith("_")
        and name not in known
        and name not in inspect.get_annotations(cls)
    ]


def _of_class(name: str, cls: type, spec: str) -> Check | None:
    if issubclass(cls, Technique):

        def technique(report: Report, seed: int) -> None:
            report.notes += without_annotation(cls)
            settings = dict(vars(place(spec).technique)) if spec else None
            technique_into(report, cls, seed, name, settings)

        return technique
    if issubclass(cls, Activation):

        def activation(report: Report, seed: int) -> None:
            examine(report, activation_cases(cls(), seed, name), seed)

        return activation
    if issubclass(cls, MLP) or name == "MLP":
        kind: type[MLP] = cls  # type: ignore[assignment]

        def network(report: Report, seed: int) -> None:
            examine(report, network_cases(seed, kind, subject=name), seed)

        return network
    return None


def _of_function(name: str, function: Callable[..., object]) -> Check:
    def check(report: Report, seed: int) -> None:
        if name == "backward":
            examine(report, network_cases(seed, backward=function, subject=name), seed)
        else:
            examine(report, loss_cases(function, name, seed), seed)  # type: ignore[arg-type]

    return check
