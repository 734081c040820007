"""What the source may say: names that CuPy has, no NumPy in the core, arrows that point down.

These tests read the code and run nothing of it, so they see the lines that no other test reaches.
"""

import ast
import subprocess
import sys
from pathlib import Path

import cupy_names
import numpy as np
import pytest

PACKAGE = Path(__file__).parent.parent / "tinydiv"
FILES = {str(path.relative_to(PACKAGE)): path for path in sorted(PACKAGE.rglob("*.py"))}

RANKS = {  # the core: an import must point to the same rank or below
    "errors": 0,
    "products": 1,
    "backend": 2,
    "schedules": 3,
    "randomness": 3,
    "activations": 3,
    "losses": 3,
    "layers": 3,
    "philox": 4,
    "mlp": 4,
    "optimizers": 5,
    "divergence": 5,
    "initializers": 6,
    "techniques": 6,
    "diversity": 6,
    "data": 6,
    "training": 7,
}
TOP = 8
"""Everything else: runs, files, pictures, commands."""
HOST = {  # files of the core that may use NumPy, and why
    "backend.py": "the switch itself",
    "products.py": "the two numbers that cuBLAS reads from the host",
    "randomness.py": "starts and shuffles are drawn on the host",
    "initializers/": "starts are drawn and computed on the host, in float64, then moved",
    "data/": "sets are read and made on the host, then moved",
}


def module_of(name):
    """ "techniques" for techniques/decov.py, "mlp" for mlp.py."""
    return name.split("/")[0].removesuffix(".py")


CORE = [name for name in FILES if module_of(name) in RANKS]


def tree(name):
    return ast.parse(FILES[name].read_text())


def imported(node):
    """The modules that an import statement names."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        names = [f"{node.module}.{a.name}" for a in node.names] if node.module == "tinydiv" else []
        return names or [node.module]
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

    What only a GPU has is left out: it is asked behind a question for the backend's name.
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


@pytest.mark.parametrize("name", CORE)
def test_imports_point_down(name):
    rank = RANKS[module_of(name)]
    for node in ast.walk(tree(name)):
        for module in imported(node):
            if module.startswith("tinydiv."):
                target = module.split(".")[1]
                assert RANKS.get(target, TOP) <= rank, f"line {node.lineno} imports {module}"


def test_every_rank_is_a_module():
    assert set(RANKS) <= {module_of(name) for name in FILES}


def test_importing_the_core_loads_no_matplotlib_tqdm_or_argparse():
    script = (
        "import sys, numpy; before = set(sys.modules)\n"
        f"import {', '.join(f'tinydiv.{module}' for module in RANKS)}\n"
        "loaded = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(loaded & {'matplotlib', 'tqdm', 'argparse', 'scipy', 'torch', 'cupy'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
