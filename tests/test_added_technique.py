"""A technique is added by its file and its line in the registry, as CONTRIBUTING describes."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
ROW = re.search(r' *("decov": Row\(.*\),)\n', (ROOT / "CONTRIBUTING.md").read_text())[1]
FED = ("test_penalties.py", "test_penalties_meaning.py", "test_techniques.py", "test_names.py")
"""Files whose tests run over all techniques, all files, or all rows of the table."""


def insert(path, before, line):
    text = path.read_text()
    assert text.count(before) == 1
    path.write_text(text.replace(before, line + before))


def with_another_technique(root):
    """A copy of the project with DeCov a second time, under the name other-decov."""
    for name in ("tinydiv", "tests"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", root)
    folder = root / "tinydiv" / "techniques"
    source = (folder / "decov.py").read_text()
    source = source.replace("class DeCov", "class OtherDeCov").replace('"decov"', '"other-decov"')
    (folder / "other_decov.py").write_text(source)
    line = '        "other-decov": "other_decov.OtherDeCov",\n'
    insert(folder / "registry.py", '        "pearson": "pearson.Pearson",', line)
    row = ROW.replace('"decov"', '"other-decov"')
    insert(root / "tests" / "technique_table.py", '    "pearson": Row(', f"    {row}\n")


def python(root, *words):
    """Its standard output; it must end with exit code 0."""
    environment = {**os.environ, "PYTHONPATH": str(root), "OPENBLAS_NUM_THREADS": "1"}
    # A skip is judged in the real project, which has the list of allowed ones.
    environment["CI"] = ""
    done = subprocess.run(
        [sys.executable, *words], cwd=root, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_copy_of_decov_under_another_name_needs_its_file_its_line_and_its_row(tmp_path):
    with_another_technique(tmp_path)
    assert "all right" in python(tmp_path, "-m", "tinydiv.check", "--only", "other-decov")
    assert "other-decov" in python(tmp_path, "-m", "tinydiv.train", "--list", "techniques")
    files = [f"tests/{name}" for name in FED]
    names = "other-decov or other_decov"
    report = python(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", names, *files)
    passed = int(re.search(r"(\d+) passed", report)[1])
    assert passed >= 30
