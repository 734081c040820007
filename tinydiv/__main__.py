"""python -m tinydiv: the commands, with one line each."""

import sys
from collections.abc import Sequence

from tinydiv.command import cli
from tinydiv.errors import UsageError, nearest

PROG = "tinydiv"
COMMANDS = {
    "train": "train networks, and keep a run folder with numbers, weights and a picture",
    "check": "compare every gradient with numerical derivatives, also those of a file of yours",
    "trace": "print one training step of a small network, array by array",
    "study": "compare arms on paired seeds, with tables, intervals and figures",
    "grow": "compare networks that grow with networks that start at full size",
    "gallery": "draw one small network under each technique of a family",
    "starts": "draw what each initializer does to weights, responses and the first steps",
    "predictions": "show how the neurons' diversity affects what a trained network predicts",
    "play": "a page where two networks train side by side, one of them kept diverse",
}


def command(argv: Sequence[str]) -> None:
    """Show the commands. Raises UsageError for any argument: each command is a module of its own."""
    words = [word for word in argv if word not in ("-h", "--help")]
    if words:
        known = words[0] in COMMANDS
        hint = f"write python -m tinydiv.{words[0]}" if known else nearest(words[0], COMMANDS)
        raise UsageError(f"python -m tinydiv takes no {words[0]!r}: {hint}")
    lines = [f"  python -m tinydiv.{name:12} {what}" for name, what in COMMANDS.items()]
    cli.print_result("\n".join(["commands, each with --help:", *lines]))


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Returns the exit code."""
    return cli.run(PROG, command, argv)


if __name__ == "__main__":
    sys.exit(main())
