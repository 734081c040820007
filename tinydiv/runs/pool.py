"""Work in parts, several at once: in processes of this machine, or one after the other in this process.

    with processes(4) as pool, Interrupt("...") as interrupt:
        finish(parts, lambda part: (train, part), pool, keep, interrupt)

A part is kept as soon as it is done. Ctrl-C and a failure leave all parts that were kept.
"""

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from tinydiv.errors import RunError
from tinydiv.runs.processes import Interrupt, follow_parent, spawning

Part = TypeVar("Part")

STOP_CHECK = 0.2
"""Seconds between two looks at whether the work should stop (in this process: after each part)."""
IN_FLIGHT = 2
"""Parts per process that are submitted at once, so that the next is ready when one is done."""


class Serial(Executor):
    """Runs every submitted function immediately, in this process."""

    def submit(self, function, /, *args, **kwargs):  # type: ignore[no-untyped-def]
        """Return a future that is done already."""
        future: Future[object] = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


@dataclass(frozen=True)
class Pool:
    """An executor, how many parts it works on at once, and how many it is given at once."""

    executor: Executor
    workers: int
    window: int

    @property
    def alone(self) -> bool:
        """Whether one part has this machine for itself."""
        return isinstance(self.executor, Serial)


SERIAL = Pool(Serial(), 1, 1)
"""One part after the other, in this process."""


class Processes(ProcessPoolExecutor):
    """Processes of one BLAS thread each, which do not run the script that started them."""

    def submit(self, function, /, *args, **kwargs):  # type: ignore[no-untyped-def]
        """As usual; this is where new processes are made."""
        with spawning():
            return super().submit(function, *args, **kwargs)

    def stop(self) -> None:
        """End all processes, without waiting for the parts that they work on."""
        processes = list((self._processes or {}).values())
        self.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        for process in processes:
            process.join(timeout=10)


@contextmanager
def processes(workers: int) -> Iterator[Pool]:
    """So many processes of this machine; they end with the block."""
    executor = Processes(
        workers,
        # Spawned, not forked: a fork copies locks and a GPU's context in whatever state they are.
        mp_context=multiprocessing.get_context("spawn"),
        initializer=follow_parent,
    )
    try:
        yield Pool(executor, workers, IN_FLIGHT * workers)
    finally:
        executor.stop()


def finish(
    parts: Iterable[Part],
    call: Callable[[Part], tuple[Any, ...]],
    pool: Pool,
    keep: Callable[[Part, Any], None],
    interrupt: Interrupt,
    *,
    smaller: Callable[[Part], Sequence[Part]] = lambda part: (),
    died: str = "a worker died (killed, or too little memory?)",
) -> None:
    """Do every part somewhere and keep it as soon as it is done, in whatever order that is.

    call(part) -> (function, *arguments); keep(part, what the function returned). smaller(part): what
    to do in place of a part that does not fit in memory, nothing if it cannot be cut. Any other failure
    ends the work, after all parts that are done were kept. Raises RunError(died) for a process that
    died, and KeyboardInterrupt when the work should stop.
    """
    waiting, flying = deque(parts), dict[Future[Any], Part]()
    failure: BaseException | None = None
    try:
        while (waiting or flying) and failure is None:
            if interrupt.why:
                raise KeyboardInterrupt(interrupt.why)
            try:
                while waiting and len(flying) < pool.window:
                    flying[pool.executor.submit(*call(waiting[0]))] = waiting[0]
                    waiting.popleft()
            except BrokenExecutor as error:
                failure = error
            for future in wait(flying, timeout=STOP_CHECK, return_when=FIRST_COMPLETED).done:
                part = flying.pop(future)
                try:
                    keep(part, future.result())
                except MemoryError as error:
                    halves = smaller(part)
                    failure = failure if halves else error
                    waiting.extendleft(reversed(halves))
                except (Exception, CancelledError) as error:
                    failure = error
    finally:
        for future in flying:
            future.cancel()
    if failure is not None and worker_died(failure):
        raise RunError(died) from failure
    if failure is not None:
        raise failure


def worker_died(error: BaseException) -> bool:
    """Whether a failure is the worker's and not the part's."""
    names = {cls.__name__ for cls in type(error).__mro__}
    return isinstance(error, BrokenExecutor | CancelledError) or "KilledWorker" in names
