"""Mutants that no test can find, because they compute the same: listed by name in survivors.txt."""

from pathlib import Path

FILE = Path(__file__).with_name("survivors.txt")


def known_survivors():
    """Name -> why it cannot be found. In the file, the reason stands in # lines above its names."""
    found = {}
    for paragraph in FILE.read_text().split("\n\n"):
        lines = paragraph.strip().splitlines()
        reason = " ".join(line.lstrip("# ") for line in lines if line.startswith("#"))
        found |= {line: reason for line in lines if not line.startswith("#")}
    return found
