"""Mutants that nobody can notice, because they compute the same: listed by name in survivors.txt."""

from pathlib import Path

FILE = Path(__file__).with_name("survivors.txt")


def known_survivors():
    """Name -> why it cannot be noticed. In the file, the reason stands in a # line above its names."""
    found, reason = {}, ""
    for line in FILE.read_text().splitlines():
        if line.startswith("#"):
            reason = line.lstrip("# ")
        elif line.strip():
            found[line.strip()] = reason
    return found
