"""What every command of tinydiv has in common: flags, errors in one sentence, exit codes.

    @cli.main("tinydiv.train")
    def main(argv): ...

    exit code 0    done
              1    it failed on this machine (RunError): no GPU, no such file, a full disk
              2    the command line or a file is wrong (UsageError)
              130  stopped by Ctrl-C

Results go to stdout, everything else to stderr. A user's mistake gives one sentence and no traceback;
TINYDIV_TRACEBACK=1 prints the traceback too. Nothing here imports NumPy: --help is quick.
"""

import argparse
import dataclasses
import functools
import json
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from tinydiv import __version__
from tinydiv.errors import RunError, UsageError, nearest, note, printable
from tinydiv.settings import Reader
from tinydiv.settings import flag as flag_of

Command = Callable[[Sequence[str]], int | None]
"""The function of a command; returns an exit code, or None for 0."""

LONGEST = 1500
"""The longest message, in characters: a list of names is shorter (errors.FEW)."""

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


class Parser(argparse.ArgumentParser):
    """argparse that raises UsageError, with the nearest flag, in place of printing and exiting."""

    def __init__(self, prog: str, description: str, examples: str = "") -> None:
        super().__init__(
            prog=f"python -m {prog}",
            description=description,
            epilog=examples,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.add_argument("--version", action="version", version=f"tinydiv {__version__}")

    def error(self, message: str) -> NoReturn:
        """Called by argparse for any mistake."""
        flag, _, rest = message.removeprefix("argument ").partition(": ")
        if rest == "expected one argument":
            raise UsageError(f"{flag} needs a value: {flag} VALUE, or {flag}=VALUE")
        raise UsageError(f"{message} (--help shows what is allowed)")

    def _print_message(self, message: str, file: object = None) -> None:
        """Called by argparse for --help and --version; argparse's own function ignores a full disk."""
        print_result(message.removesuffix("\n"))

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """The flags of a command line. Raises UsageError for one that does not exist."""
        if any("\0" in word for word in argv):
            raise UsageError("a flag or value holds a zero character, which no file or name can")
        for flag, _, value in (word.partition("=") for word in argv):
            if value == "--":  # argparse would drop it
                raise UsageError(f"{flag} cannot be '--'")
        options, rest = self.parse_known_args(argv)
        if rest:
            wrong = rest[0].partition("=")[0]
            if not wrong.startswith("-"):
                raise UsageError(f"{wrong!r} is not a flag: --help lists them")
            known = [name for name in self._option_string_actions if name.startswith("--")]
            raise UsageError(f"there is no flag {wrong}: {nearest(wrong, known, '--help')}")
        return options

    def add_settings(self, settings: type) -> None:
        """One flag per field of a settings dataclass (settings.py), as text; absent if not given."""
        group = self.add_argument_group("what is computed")
        for field in dataclasses.fields(settings):
            default = field.default
            if isinstance(default, tuple):
                between = "/" if "[/" in field.metadata["metavar"] else ","
                default = between.join(map(str, default)) or "none"
            shown = "" if default is None else f" (default: {default})"
            group.add_argument(
                flag_of(field.name),
                metavar=field.metadata["metavar"],
                help=(field.metadata["help"] + shown).replace("%", "%%"),
                action="append" if field.metadata["repeat"] else "store",
                default=argparse.SUPPRESS,
            )

    def add_list(self, *, group: "argparse._ArgumentGroup | None" = None) -> None:
        """--list [KIND or NAME], named in the help of settings: see `listed`."""
        (group or self).add_argument(
            "--list",
            nargs="?",
            const="all",
            metavar="KIND|NAME",
            help="show every name with one line and its paper, and stop: techniques, initializers, "
            "data, activations, losses, optimizers, schedules, metrics, backends, or all; of one "
            "name all its settings and what they may be; with --json as data",
        )


class Read(argparse.Action):
    """Keeps what a reader of settings.py makes of a flag's text; used by add_read."""

    def __init__(
        self, option_strings: list[str], dest: str, read: Reader[Any], **more: Any
    ) -> None:
        super().__init__(option_strings, dest, **more)
        self.read = read

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        found: argparse.Namespace,
        text: Any,
        _: object = None,
    ) -> None:
        setattr(found, self.dest, self.read(self.option_strings[0], text))


def add_read(
    where: "argparse._ActionsContainer",
    flag: str,
    read: Reader[Any],
    metavar: str,
    help: str,
    default: object = None,
) -> None:
    """A flag that is no setting of what is computed, such as --workers, read as those are."""
    where.add_argument(flag, action=Read, read=read, metavar=metavar, help=help, default=default)


def folder(what: str, value: object) -> str:
    """Reader of the name of a folder."""
    if not str(value).strip():
        raise UsageError(f"{what} needs the name of a folder")
    return str(value)


def print_lists(options: argparse.Namespace) -> bool:
    """Print what --list names; False if it was not given. Raises UsageError for an unknown name."""
    if options.list is None:
        return False
    from tinydiv.command import listing

    found = listing.entries(options.list)
    print_result(json.dumps(found, indent=2) if options.json else listing.as_text(found))
    return True


def main(prog: str) -> Callable[[Command], Callable[..., int]]:
    """Decorator of a command: without arguments it reads those of the command line; see run."""

    def framed(command: Command) -> Callable[..., int]:
        @functools.wraps(command)
        def of_words(argv: Sequence[str] | None = None) -> int:
            return run(prog, command, argv)

        return of_words

    return framed


def run(prog: str, command: Command, argv: Sequence[str] | None = None) -> int:
    """Run a command and turn every outcome into an exit code, with one sentence on stderr."""
    one_blas_thread()
    if sys.stderr is None:  # started without stderr: messages are dropped, not sent to stdout
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    with interrupts() as seen:
        return carry_out(prog, command, sys.argv[1:] if argv is None else argv, seen)


def carry_out(prog: str, command: Command, argv: Sequence[str], seen: list[int]) -> int:
    """The same; `seen` is not empty once Ctrl-C was pressed."""
    try:
        code = command(argv)
        with writing():
            if sys.stdout is not None:  # None where the program was started without stdout
                sys.stdout.flush()
        return code or 0
    except KeyboardInterrupt as stop:
        print_message(prog, str(stop) or "stopped")
        return 130
    except BrokenPipeError:  # the program that reads the output has ended, as in `| head`
        close_stdout()
        return 1
    except BaseException as error:
        if not isinstance(error, Exception) and not line_in_own_file(error):
            if isinstance(error, SystemExit):  # --help and --version
                return error.code if isinstance(error.code, int) else 0
            raise
        if seen:  # an interrupted import raises another error
            print_message(prog, "stopped")
            return 130
        if os.environ.get("TINYDIV_TRACEBACK", "") not in ("", "0"):
            traceback.print_exc()
        print_message(prog, sentence(error))
        return 2 if isinstance(error, UsageError) else 1


@contextmanager
def interrupts() -> Iterator[list[int]]:
    """Ctrl-C raises KeyboardInterrupt as usual and is recorded, because NumPy's import turns it into
    other errors."""
    seen: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        raise KeyboardInterrupt

    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if ours:
        signal.signal(signal.SIGINT, note)
    try:
        yield seen
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def needs_matplotlib(what: str, otherwise: str = "") -> None:
    """Raise RunError, before any work, if matplotlib is missing and a picture is wanted."""
    if find_spec("matplotlib") is None:
        raise RunError(f"{what} needs matplotlib: python -m pip install matplotlib{otherwise}")


def out_folder(given: str | None, name: str, quick: bool) -> Path:
    """The folder of --out; without it runs/NAME, with --quick runs/NAME-quick."""
    return Path("runs") / f"{name}{'-quick' * quick}" if given is None else Path(given)


def one_blas_thread() -> None:
    """Let products run on one thread, unless the user's environment sets how many.

    For networks of this size one thread is several times faster than two, and equal seeds then give
    equal bits on machines with another number of cores. It works only before NumPy is loaded.
    """
    if "numpy" not in sys.modules and not any(name in os.environ for name in THREADS):
        os.environ.update(dict.fromkeys(THREADS, "1"))


def print_message(prog: str, text: str) -> None:
    """One line on stderr."""
    note(" ".join(f"{prog}: {text}".split()))


def print_result(text: str) -> None:
    """One result on stdout. Raises RunError where it cannot be written."""
    with writing():
        print(printable(text, sys.stdout), flush=True)


@contextmanager
def writing() -> Iterator[None]:
    """Inside, a failure to write to stdout (a full disk) is a RunError."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        close_stdout()
        raise RunError(
            f"the result could not be written to standard output: {error.strerror or error}"
        ) from None


def close_stdout() -> None:
    """Close stdout after it failed; otherwise Python would write again at exit, with a traceback."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def sentence(error: BaseException) -> str:
    """What went wrong and what to do, in one sentence."""
    text = " ".join(str(error).split())
    if len(text) > LONGEST:  # it may hold a very long name
        text = f"{text[: LONGEST // 2]} ... {text[-LONGEST // 2 :]}"
    if isinstance(error, UsageError | RunError):
        return text
    if isinstance(error, MemoryError):
        return (
            f"there is not enough memory ({text or 'an allocation failed'}): use fewer --replicas"
        )
    named = f"{type(error).__name__}: {text}" if text else type(error).__name__
    line = line_in_own_file(error)
    if line:
        return f"{line}: {named}"
    if type(error).__name__ == "LinAlgError":
        return (
            f"a decomposition failed ({text}): numbers have become too large for their type; "
            "a smaller --lr, milder settings or --dtype float64 may help"
        )
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror}"
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else "tinydiv"
    notes = "; ".join(getattr(error, "__notes__", []))
    return f"{named}, in {place}: {notes or too_old() or likely_cause(frames)}"


def likely_cause(frames: traceback.StackSummary) -> str:
    """Where an unexpected error came from: another package in this environment, or tinydiv."""
    report = "please report it with what TINYDIV_TRACEBACK=1 shows"
    _, inside, rest = frames[-1].filename.rpartition("site-packages") if frames else ("", "", "")
    package = rest.strip("/\\").replace("\\", "/").split("/")[0].removesuffix(".py")
    if inside and package != "tinydiv":
        return (
            f"this comes from {package} in this environment, perhaps from its settings or from a "
            f"program that it needs; if it happens in a fresh environment, too, {report}"
        )
    return f"this is an error in tinydiv, {report}"


def too_old() -> str:
    """Which package is older than tinydiv needs, because another one put it there; "" if none is."""
    from importlib import metadata  # here: it takes a while

    def numbers(version: str) -> list[int]:
        return [int(n) for n in re.findall(r"\d+", version)[:2]]

    with suppress(metadata.PackageNotFoundError):
        for needed in metadata.requires("tinydiv") or []:
            name, at_least, version = needed.partition(">=")
            if at_least and ";" not in needed:
                found = metadata.version(name)
                if numbers(found) < numbers(version):
                    return (
                        f"{name} {found} is installed and tinydiv needs {version} or newer (another "
                        f'package may have put it there): python -m pip install "{needed}"'
                    )
    return ""


@contextmanager
def naming_own_files(own: list[str]) -> Iterator[None]:
    """Add to an error raised inside which of the user's own files were in use, and how to check them."""
    try:
        yield
    except Exception as error:
        for file in own:
            error.add_note(f"{file} was in use, examine it with python -m tinydiv.check {file}")
        raise


def line_in_own_file(error: BaseException) -> str:
    """ "mine.py, line 7", the last line of a user's own file in an error's traceback; "" if there is
    none."""
    own = own_files()
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename in own:
            return f"{frame.filename}, line {frame.lineno}"
    return ""


def own_files() -> set[str]:
    """The user's own files that were loaded as techniques (techniques/registry.py)."""
    modules = [m for name, m in list(sys.modules.items()) if name.startswith("tinydiv_own_")]
    return {str(module.__file__) for module in modules}
