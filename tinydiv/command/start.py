"""What `python -m tinydiv.NAME` runs first: it imports little, so that Ctrl-C is handled early."""

import sys
from importlib import import_module


def start(name: str) -> int:
    """Import the command of that name and run it. Returns its exit code; 130 if Ctrl-C stops the import."""
    try:
        command = import_module(f"tinydiv.{name}.command")
    except KeyboardInterrupt:
        if sys.stderr is not None:
            print(f"tinydiv.{name}: stopped", file=sys.stderr)
        return 130
    code: int = command.main()
    return code
