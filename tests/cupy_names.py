"""What CuPy calls its own: names of the module, of cupy.linalg and of its arrays, with parameters.

The list is read from CuPy where it is installed (its import needs no GPU), and from cupy_names.json,
a copy of CuPy 14.2's, elsewhere. `python tests/cupy_names.py` writes the copy anew.
"""

import functools
import inspect
import json
import re
from pathlib import Path

FROZEN = Path(__file__).with_name("cupy_names.json")
UFUNC_KEYWORDS = ["out", "dtype", "casting"]


def parameters(thing):
    """The names of a function's parameters; None where they cannot be known."""
    try:
        found = inspect.signature(thing).parameters.values()
    except (ValueError, TypeError):
        return written(thing.__doc__ or "")
    return None if any(p.kind is p.VAR_KEYWORD for p in found) else [p.name for p in found]


def written(docstring):
    """The parameters of a compiled method, from its docstring's first line: `ndarray.sum(self, ...`."""
    line = re.match(
        r"_?ndarray(?:_base)?\.\w+\(self(?:, )?(.*?)\)(?: ->|$)", docstring.split("\n")[0]
    )
    if line is None:
        return None
    names = [part.split("=")[0].split()[-1] for part in line[1].split(", ") if part.strip("*")]
    return [name.lstrip("*") for name in names]


def read(cupy):
    """{"module": {name: parameters}, "linalg": {...}, "ndarray": {...}} of an imported CuPy."""

    def names(owner):
        found = {}
        for name in dir(owner):
            if not name.startswith("_"):
                thing = getattr(owner, name)
                ufunc = isinstance(thing, cupy.ufunc)
                checkable = callable(thing) and not isinstance(thing, type)
                known = parameters(thing) if checkable else None
                found[name] = UFUNC_KEYWORDS if ufunc else known
        return found

    owners = {"module": cupy, "linalg": cupy.linalg, "ndarray": cupy.ndarray}
    return {"version": cupy.__version__} | {key: names(owner) for key, owner in owners.items()}


@functools.cache
def own_names():
    """The list to hold code to: of the installed CuPy, or else the frozen one."""
    try:
        import cupy
    except ImportError:
        return frozen()
    return read(cupy)


def frozen():
    return json.loads(FROZEN.read_text())


if __name__ == "__main__":
    import cupy

    lists = read(cupy)
    lines = [f' "version": {json.dumps(lists.pop("version"))}']
    for owner, names in lists.items():
        entries = ",\n".join(f"  {json.dumps(n)}: {json.dumps(p)}" for n, p in names.items())
        lines.append(f" {json.dumps(owner)}: {{\n{entries}\n }}")
    FROZEN.write_text("{\n" + ",\n".join(lines) + "\n}\n")
