"""Which functions gradients run through, found by watching the checker at work, and their mutants.

Nothing is listed by hand: whatever function of these files is called while a subject's values and
gradients are computed is a target, and that subject is asked about its mutants. Functions that only keep
books are left out by their names. The checker does not run the optimizers' updates, which come from their
registry, and what growing networks do, all functions of their files: tests do.
"""

import ast
import contextlib
import inspect
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import tinydiv
from tinydiv import optimizers
from tinydiv.check import suite
from tinydiv.growing import auxiliary, condense, mask
from tinydiv.techniques import grow

from .edits import REFUSE, edits_of

PACKAGE = Path(tinydiv.__file__).parent
FILES = ("mlp.py", "activations.py", "losses.py", "similarity.py", "techniques/*.py")
GROWING = (grow, auxiliary, condense, mask)
BOOKKEEPING_FILES = (
    "framework",
    "placing",
    "settings",
    "registry",
    "conflicts",
    "plateau",
    "cost",
)
BOOKKEEPING = ("state", "load_state", "attach", "shapes", "view", "views", "block", "flops", "_at")
BOOKKEEPING += ("_learns_at_inputs", "fits", "fitting", "kept")
"""Names of functions that hold no maths; so are all that begin with one of REFUSE."""


@dataclass
class Target:
    """One function, and the subjects whose values or gradients run through it."""

    code: types.CodeType
    functions: list[types.FunctionType]
    subjects: list[str] = field(default_factory=list)

    @property
    def file(self):
        return Path(self.code.co_filename)

    @property
    def name(self):
        """techniques.decov.DeCov.__call__"""
        module = ".".join(self.file.relative_to(PACKAGE).with_suffix("").parts)
        return f"{module}.{self.code.co_qualname}"

    def calls_of(self, run):
        """(whether the function is called while `run` runs, what that returns)"""
        seen, found = watched(run, lambda code: code is self.code)
        return bool(seen), found


@cache
def targets():
    """All targets in a fixed order."""
    found = {}
    for subject in suite.subjects():
        for code in codes_run_by(subject):
            key = (code.co_filename, code)  # equal lines of two files are equal code
            if key not in found:
                functions = functions_with(code)
                if not functions:
                    continue
                found[key] = Target(code, functions)
            found[key].subjects.append(subject)
    for code in (*optimizer_codes(), *growing_codes()):
        found[code.co_filename, code] = Target(code, functions_with(code))
    return sorted(found.values(), key=lambda target: target.name)


def watched(run, chosen):
    """(the chosen code objects that are called while `run` runs, what that returns)"""
    seen = set()

    def watch(frame, event, argument):
        if event == "call" and chosen(frame.f_code):
            seen.add(frame.f_code)

    sys.setprofile(watch)
    try:
        return seen, run()
    finally:
        sys.setprofile(None)


def codes_run_by(subject):
    """The code objects of the chosen files that run when the first cases of a subject are computed."""
    seen = set()
    allowed = {str(path) for pattern in FILES for path in PACKAGE.glob(pattern)}
    allowed -= {str(PACKAGE / "techniques" / f"{name}.py") for name in BOOKKEEPING_FILES}
    for item in suite.cases_of(subject, seed=0):
        case = item if hasattr(item, "point") else item[0]

        def run(case=case):
            case.gradients(case.point, case.function(case.point))

        seen |= watched(run, lambda code: code.co_filename in allowed)[0]
    return sorted((c for c in seen if _holds_maths(c.co_name)), key=lambda c: c.co_qualname)


def _holds_maths(name):
    return name not in BOOKKEEPING and not name.startswith((*REFUSE, "<"))


def optimizer_codes():
    """The updates of all optimizers."""
    functions = [f.plain for f in vars(optimizers).values() if hasattr(f, "plain")]
    for cls in (optimizers.Optimizer, *optimizers.OPTIMIZERS.values()):
        functions += [f for key, f in vars(cls).items() if key in ("update", "rule", "numbers")]
    return [function.__code__ for function in functions]


def growing_codes():
    """All functions of the files of growing networks that hold maths, but those within functions."""
    for module in GROWING:
        for function in functions_of(module.__file__):
            if _holds_maths(function.__name__):
                yield function.__code__


def functions_with(code):
    """The functions that run a code object."""
    return [f for f in functions_of(code.co_filename) if f.__code__ is code]


def functions_of(file):
    """The functions of a file: a class's, a module's, behind a property or a decorator."""
    found = {}
    for name, module in sorted(sys.modules.items()):
        if name.split(".")[0] != "tinydiv" or getattr(module, "__file__", "") != file:
            continue
        for value in vars(module).values():
            members = list(vars(value).values()) if inspect.isclass(value) else [value]
            for member in members:
                member = getattr(member, "plain", member)  # backend.fuse
                member = getattr(member, "__func__", getattr(member, "fget", member))
                if inspect.isfunction(member) and member.__code__.co_filename == file:
                    found[id(member)] = member
    return list(found.values())


# Mutants -----------------------------------------------------------------------------------------


@dataclass
class Mutant:
    """One edit of one target."""

    target: Target
    what: str
    old: str
    new: str
    number: int
    """Of equal edits in one function, the how-manieth: 1 for the first."""
    edited: Callable[[], ast.FunctionDef]
    """Makes the edited function's syntax tree."""

    @property
    def name(self):
        again = f" ({self.number})" if self.number > 1 else ""
        return f"{self.target.name}: {self.what}{again}: {self.old} -> {self.new}"

    @contextlib.contextmanager
    def in_place(self):
        """The package with this mutant in it. Only the function's code is exchanged, so that whoever
        imported the function, or its class, runs the mutant."""
        code = compiled(self.edited(), self.target.code)
        functions = [f for f in self.target.functions if f.__code__ is self.target.code]
        assert functions, "another mutant is in place"
        for function in functions:
            function.__code__ = code
        try:
            yield
        finally:
            for function in functions:
                function.__code__ = self.target.code


def compiled(tree, code):
    """The code object of an edited function, fit to take the place of the original's."""
    module = ast.Module([tree], [])
    if "__class__" in code.co_freevars:  # it says super(): only a class gives it that cell
        module = ast.Module([ast.ClassDef("Home", [], [], [tree], [])], [])
    found = _code_in(compile(ast.fix_missing_locations(module), code.co_filename, "exec"), code)
    return found.replace(co_qualname=code.co_qualname)


def _code_in(outer, code):
    for constant in outer.co_consts:
        if isinstance(constant, types.CodeType):
            if constant.co_name == code.co_name and constant.co_freevars == code.co_freevars:
                return constant
            if inner := _code_in(constant, code):
                return inner
    return None


@cache
def _tree_of(file):
    return ast.parse(file.read_text())


def definition(target):
    """The syntax tree of a target's function."""
    for node in ast.walk(_tree_of(target.file)):
        if isinstance(node, ast.FunctionDef) and node.name == target.code.co_name:
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            if first == target.code.co_firstlineno:
                bare = ast.FunctionDef(node.name, node.args, node.body, [], None)
                return ast.fix_missing_locations(ast.copy_location(bare, node))
    raise LookupError(target.name)


def mutants_of(target):
    """Every mutant of one target, in the order of its source."""
    seen = {}
    for what, old, new, edited in edits_of(definition(target)):
        key = (what, old, new)
        seen[key] = seen.get(key, 0) + 1
        yield Mutant(target, what, old, new, seen[key], edited)


def all_mutants(only=()):
    """All mutants; or those of named subjects, modules, functions whose name ends so, or of that name."""
    for target in targets():
        places = [*target.subjects, *target.name.split(".")]
        whole = any(target.name.endswith(name) or name in places for name in only)
        for mutant in mutants_of(target):
            if whole or not only or mutant.name in only:
                yield mutant
