"""What the source may contain: names that CuPy has, no NumPy in the core, arrows that point down.

These tests read the code and run nothing of it, so they see the lines that no other test reaches.
"""

import ast
import re
from collections import Counter
from pathlib import Path

import cupy_names
import numpy as np
import pytest
from helpers import python

PACKAGE = Path(__file__).parent.parent / "tinydiv"
FILES = {str(path.relative_to(PACKAGE)): path for path in sorted(PACKAGE.rglob("*.py"))}

MODULES = {
    "tinydiv." + name.removesuffix(".py").replace("/", ".").removesuffix(".__init__"): name
    for name in FILES
    if name != "__init__.py"
}
# The files at the top: each may import those before it.
LESSON = (
    "errors",
    "settings",
    "products",
    "backend",
    "schedules",
    "randomness",
    "philox",
    "similarity",
    "activations",
    "losses",
    "layers",
    "buffer",
    "mlp",
    "divergence",
    "optimizers",
    "loop",
)
ROOMS = {  # which rooms a room may import, beside the files at the top
    "data": (),
    "stats": (),
    "files": ("data", "techniques"),
    "techniques": (),
    "initializers": (),
    "diversity": (),
    "plots": ("data", "diversity", "files", "stats"),
    "torch_export": ("initializers", "techniques"),
    "runs": ("command", "data", "diversity", "files", "initializers", "techniques"),
    "command": ("data", "diversity", "initializers", "techniques"),
    "growing": (
        "data",
        "diversity",
        "files",
        "initializers",
        "plots",
        "runs",
        "stats",
        "techniques",
    ),
}
COMMANDS = (
    "train",
    "check",
    "trace",
    "study",
    "gallery",
    "starts",
    "predictions",
    "grow",
    "play",
)
"""Each may import every room and every file at the top, and no other command."""
UNDER_THE_LOOP = ("data", "techniques", "initializers", "diversity")
"""What loop.py brings together, so these rooms may not import it."""
HOST = {  # files of the core that may use NumPy, and why
    "backend.py": "the switch itself",
    "products.py": "the two numbers that cuBLAS reads from the host",
    "randomness.py": "starts and shuffles are drawn on the host",
    "initializers/": "starts are drawn and computed on the host, in float64, then moved",
    "data/": "sets are read and made on the host, then moved",
    "techniques/counting.py": "its arrays are NumPy's own, which count what is done to them",
}


def module_of(name):
    """ "techniques" for techniques/decov.py, "mlp" for mlp.py."""
    return name.split("/")[0].removesuffix(".py")


CORE = [name for name in FILES if module_of(name) in (*LESSON, *UNDER_THE_LOOP)]


def tree(name):
    return ast.parse(FILES[name].read_text())


def imported(node):
    """The modules that an import statement names; of `from a import b`, a.b where that is a module."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        inside = [f"{node.module}.{alias.name}" for alias in node.names]
        names = [name for name in inside if name in MODULES]
        return names + [node.module] * (len(names) < len(inside))
    return []


def dotted(node):
    """ "xp.linalg.solve" for an attribute of a name; None for anything else."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else None


ONLY_ON_A_GPU = {"cuda", "get_default_memory_pool"}


def uses_of_xp(source):
    """{dotted name without xp: {keywords it is called with}} in a syntax tree.

    What only a GPU has is left out: such calls stand behind a test of the backend's name.
    """
    found = {}
    for node in ast.walk(source):
        called = isinstance(node, ast.Call)
        name = dotted(node.func if called else node) or ""
        if name.startswith("xp.") and not name.startswith("xp._"):
            keywords = {k.arg for k in node.keywords if k.arg} if called else set()
            found.setdefault(name.removeprefix("xp."), set()).update(keywords)
    on_both = (name for name in found if name.split(".")[0] not in ONLY_ON_A_GPU)
    return {name: found[name] for name in on_both if name != "linalg"}


def lacking(uses, names):
    """What a list of CuPy's names lacks among some uses: names, and keywords of functions."""
    wrong = []
    for name, keywords in uses.items():
        owner = names["linalg"] if name.startswith("linalg.") else names["module"]
        last = name.removeprefix("linalg.")
        if last not in owner:
            wrong.append(name)
        elif owner[last] is not None:
            wrong += [f"{name}({keyword}=)" for keyword in keywords - set(owner[last])]
    return wrong


@pytest.mark.parametrize("names", [cupy_names.frozen, cupy_names.own_names])
@pytest.mark.parametrize("name", FILES)
def test_every_name_of_xp_is_one_that_cupy_has(name, names):
    assert lacking(uses_of_xp(tree(name)), names()) == []


@pytest.mark.parametrize("name", FILES)
def test_every_name_of_xp_is_one_that_numpy_has(name):
    for used in uses_of_xp(tree(name)):
        assert hasattr(np.linalg if used.startswith("linalg.") else np, used.split(".")[-1]), used


def test_the_scan_sees_names_and_keywords():
    """Or the tests above would be green over anything."""
    source = ast.parse("xp.vecdot(a)\nf = xp.linalg.svdvals\nxp.sum(a, where=m)\nxp.exp(b, out=c)")
    wrong = lacking(uses_of_xp(source), cupy_names.frozen())
    assert sorted(wrong) == ["linalg.svdvals", "sum(where=)", "vecdot"]
    assert {"exp", "sum", "maximum"} <= {u for name in FILES for u in uses_of_xp(tree(name))}


@pytest.mark.parametrize("name", [n for n in CORE if not n.startswith(tuple(HOST))])
def test_the_core_uses_xp_and_never_numpy(name):
    for node in ast.walk(tree(name)):
        assert not any(m.split(".")[0] in ("numpy", "cupy") for m in imported(node)), (
            f"line {node.lineno} imports an array module: use xp, or say in HOST why not"
        )


@pytest.mark.parametrize("name", FILES)
def test_random_numbers_never_come_from_xp(name):
    assert not [used for used in uses_of_xp(tree(name)) if used.startswith("random")]


def arrows(name):
    """The modules of tinydiv that a file imports, wherever the import stands in it."""
    found = [module for node in ast.walk(tree(name)) for module in imported(node)]
    return {module.removeprefix("tinydiv.") for module in found if module.startswith("tinydiv.")}


def allowed(name):
    """The files and rooms that a file may import."""
    place = module_of(name)
    if place == "__main__":  # the list of the commands
        return {"errors", "command"}
    if place in COMMANDS:
        return {place, *LESSON, *ROOMS}
    if place in ROOMS:
        top = set(LESSON) - ({"loop"} if place in UNDER_THE_LOOP else set())
        return {place, *top, *ROOMS[place]}
    rooms = UNDER_THE_LOOP if place == "loop" else ()
    return {*LESSON[: LESSON.index(place)], *rooms}


@pytest.mark.parametrize("name", [name for name in FILES if name != "__init__.py"])
def test_a_file_imports_only_what_its_room_may(name):
    places = {arrow.split(".")[0] for arrow in arrows(name)}
    assert places <= allowed(name)


def test_every_file_at_the_top_is_in_the_lesson_and_every_folder_is_a_room():
    assert {module_of(name) for name in FILES} == {
        *("__init__", "__main__"),
        *(*LESSON, *ROOMS, *COMMANDS),
    }


def test_the_readers_map_is_the_one_that_is_held():
    """tinydiv/README.md names for each room what it may import, and every command."""
    rows = re.findall(r"^\| `(\w+)` \|.*", (PACKAGE / "README.md").read_text(), re.M)
    assert rows == [*ROOMS, *COMMANDS]
    for line in (PACKAGE / "README.md").read_text().splitlines():
        if line.startswith("| `") and line.count("|") == 5:
            room, _, may, start = (cell.strip() for cell in line.split("|")[1:5])
            named = re.findall(r"`(\w+)`", may)
            assert tuple(named) == ROOMS[room.strip("`")]
            assert (PACKAGE / re.search(r"\((.+)\)", start)[1]).is_file()


def test_the_list_of_commands_has_all_of_them():
    from tinydiv import __main__ as listing

    assert set(listing.COMMANDS) == set(COMMANDS)


def reached_from(name, arrows):
    """Every file that a file imports, by itself or through others."""
    found, left = set(), list(arrows[name])
    while left:
        if (file := left.pop()) not in found:
            found.add(file)
            left += arrows[file]
    return found


def test_no_imports_run_in_a_circle():
    """Neither files of one room, nor imports inside functions, nor those for types alone."""
    files = {name: {MODULES[f"tinydiv.{m}"] for m in arrows(name)} for name in MODULES.values()}
    assert [name for name in files if name in reached_from(name, files)] == []


def test_a_class_s_name_has_one_meaning():
    """No two classes share a name."""
    classes = [
        node.name for name in FILES for node in tree(name).body if isinstance(node, ast.ClassDef)
    ]
    assert [name for name, count in Counter(classes).items() if count > 1] == []


def test_importing_the_core_loads_no_matplotlib_tqdm_or_argparse():
    script = (
        "import sys, numpy; before = set(sys.modules)\n"
        f"import {', '.join(f'tinydiv.{module}' for module in (*LESSON, *UNDER_THE_LOOP))}\n"
        "loaded = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(loaded & {'matplotlib', 'tqdm', 'argparse', 'scipy', 'torch', 'cupy'}))"
    )
    assert python("-c", script, check=True).stdout.strip() == "[]"
