"""Print the commands of the README's first block that is indented, one a line, as they are written."""

import re
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def commands() -> list[str]:
    """The lines of the first run of lines that are indented by four spaces."""
    found = re.search(r"(?:^ {4}python .*\n)+", README.read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise SystemExit("README.md has no block of commands")
    return [line.strip() for line in found[0].splitlines()]


if __name__ == "__main__":
    print("\n".join(commands()))
