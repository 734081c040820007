"""Other processes: how many, how they begin and end; and how Ctrl-C stops work between two steps."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from types import FrameType, ModuleType

from tinydiv.command.cli import THREADS

_one_at_a_time = threading.Lock()


def cores() -> int:
    """How many cores this process may use."""
    known = getattr(os, "sched_getaffinity", None)  # not on every system
    return len(known(0)) if known else os.cpu_count() or 1


@contextmanager
def spawning() -> Iterator[None]:
    """Processes that are started inside have one BLAS thread each, and do not run the caller's script.

    NumPy reads the number of threads when it loads. A spawned process runs its parent's script once
    more, to find what the script defines; a script without `if __name__ == "__main__":` would start
    its work again in every process. Here an empty module replaces the script meanwhile, so that work can
    also be started from a notebook or from standard input. If two threads start processes, one waits:
    otherwise it would take the other's empty module for the script, and leave it there.
    """
    with _one_at_a_time:
        script, before = sys.modules["__main__"], {name: os.environ.get(name) for name in THREADS}
        sys.modules["__main__"] = ModuleType("__main__")
        os.environ.update(dict.fromkeys(THREADS, "1"))
        try:
            yield
        finally:
            sys.modules["__main__"] = script
            for name, value in before.items():
                os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def follow_parent() -> None:
    """In a new process: leave Ctrl-C to the parent, and end when the parent has ended.

    Without this the processes of a parent that was killed would wait for ever.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent.sentinel,), daemon=True).start()


def _end_after(process: int) -> None:
    wait([process])
    os._exit(1)


class Interrupt:
    """Inside `with`, the first Ctrl-C or SIGTERM is only recorded, and the second one stops at once.

    An exception in the middle of a step, or while a file is written, would leave work half done, so the
    caller reads `why` between two steps ("" if no signal came). Only the main thread receives signals; in
    another thread nothing changes.

        with Interrupt("after this step") as interrupt:
            ...
            if interrupt.why: raise KeyboardInterrupt(interrupt.why)

    when: a part of the notice on stderr; None for no notice. Raises KeyboardInterrupt at the second signal.
    """

    def __init__(self, when: str | None) -> None:
        self.when, self.why = when, ""
        self.before: dict[signal.Signals, object] = {}

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self.before[number] = signal.signal(number, self.note)
        return self

    def note(self, number: int, frame: FrameType | None) -> None:
        """The handler of the signals."""
        if self.why:
            raise KeyboardInterrupt(f"{self.why} at once; what was saved last is kept")
        self.why = "stopped" + (
            "" if number == signal.SIGINT else f" by {signal.Signals(number).name}"
        )
        if self.when is not None:
            with suppress(OSError):  # no print: the signal may have come in the middle of one
                os.write(2, f"\nstopping {self.when} (once more: at once)\n".encode())

    def __exit__(self, *ending: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
