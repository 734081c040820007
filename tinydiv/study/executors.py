"""Where blocks run: in processes of this machine, in this process, or wherever an Executor reaches.

    processes       one process per core (or --workers), started by spawn, one BLAS thread each
    serial          in this process, one block after the other: the way for one GPU
    dask:ADDRESS    the workers of a Dask cluster (extra `dask`)
    an object       any concurrent.futures.Executor, from Python: study.run(executor=...)

A worker may die at any time (out of memory, a cluster that takes its machine back): its blocks are
given to others. Only when nothing at all gets done any more is that the end.
"""

import importlib
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
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
from multiprocessing.connection import wait as wait_for_any
from types import FrameType, ModuleType
from urllib.parse import urlsplit

from tinydiv.backend import Array
from tinydiv.command.cli import THREADS
from tinydiv.errors import RunError, UsageError, nearest
from tinydiv.files import atomic
from tinydiv.options import shown
from tinydiv.study.blocks import Block
from tinydiv.study.running import Outcome, Task, carry_out

NAMES = ("processes", "serial", "dask:ADDRESS")
DASK_IN_FLIGHT = 2000
"""The same for a cluster, whose workers may come and go while a study runs."""
LISTEN_EVERY = 0.2
"""Seconds after which a wish to stop is heard, at the latest (in this process: after its block)."""
MOST_BREAKS = 3
"""So many times may workers die in a row without one block getting done."""
IN_FLIGHT = 2
"""Blocks per worker that are handed out at once: the next is there when one is done."""


class Serial(Executor):
    """Runs what it is given, at once, in this process."""

    def submit(self, function, /, *args, **kwargs):  # type: ignore[no-untyped-def]
        """A future that is done already."""
        future: Future[object] = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class Pool:
    """An executor that can be made anew when it breaks, and how much it takes at once."""

    def __init__(self, make: Callable[[], Executor], workers: int, own: bool, name: str) -> None:
        self.make, self.workers, self.own, self.name = make, workers, own, name
        self.window = workers if name == "serial" else IN_FLIGHT * workers
        self.executor = make()

    def renew(self) -> None:
        """Let a broken executor go and make another."""
        if not self.own:
            raise RunError(
                f"the executor {type(self.executor).__name__} is broken; finished blocks are kept: "
                "mend it and go on by --resume"
            )
        self.close()
        self.executor = self.make()

    def close(self) -> None:
        """Stop, without waiting for what is not finished."""
        if not self.own:
            return
        processes = list((getattr(self.executor, "_processes", None) or {}).values())
        self.executor.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        for process in processes:
            process.join(timeout=10)


@contextmanager
def opened(which: str | Executor, workers: int) -> Iterator[Pool]:
    """A pool for a name (see above) or for an Executor of the caller's, closed afterwards.

    Raises UsageError for an unknown name, RunError if it cannot be reached.
    """
    if isinstance(which, Executor):
        yield Pool(lambda: which, workers, own=False, name=type(which).__name__)
        return
    if which == "serial":
        pool = Pool(Serial, 1, own=True, name=which)
    elif which == "processes":
        pool = Pool(lambda: processes(workers), workers, own=True, name=which)
    elif which.startswith("dask:"):
        with dask(which.removeprefix("dask:")) as pool:
            yield pool
        return
    else:
        raise UsageError(f"there is no executor called {shown(which)}: {nearest(which, NAMES)}")
    with one_thread_per_worker():
        try:
            yield pool
        finally:
            pool.close()


def usable_cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


# Processes -----------------------------------------------------------------------------------------


class Processes(ProcessPoolExecutor):
    """Processes that do not import the script that started them.

    A spawned process runs its parent's script once more, to find what the script defines; a script
    without `if __name__ == "__main__":` would start its study again in every worker. Blocks need
    nothing of the script, so while processes are made there is none to be seen. That also lets
    studies start from a notebook or from standard input.

    One at a time: of two studies in two threads, the second would take the first one's empty module for
    the script, and leave it there.
    """

    hiding = threading.Lock()

    def submit(self, function, /, *args, **kwargs):  # type: ignore[no-untyped-def]
        """As usual; this is where new processes are made."""
        with self.hiding:
            script = sys.modules["__main__"]
            sys.modules["__main__"] = ModuleType("__main__")
            try:
                return super().submit(function, *args, **kwargs)
            finally:
                sys.modules["__main__"] = script


def processes(workers: int) -> ProcessPoolExecutor:
    """Spawned, not forked: a fork copies locks and a GPU's context in whatever state they are."""
    return Processes(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=begin_worker
    )


@contextmanager
def one_thread_per_worker() -> Iterator[None]:
    """Workers that are born meanwhile use one BLAS thread each (NumPy reads this when it loads)."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def begin_worker() -> None:
    """In a new worker: leave Ctrl-C to the parent, and end when the parent is gone.

    A parent that was killed cannot tell anybody; without this its workers would wait for ever.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:

        def end_with_parent() -> None:
            wait_for_any([parent.sentinel])
            os._exit(1)

        threading.Thread(target=end_with_parent, daemon=True).start()


# Dask ----------------------------------------------------------------------------------------------


@contextmanager
def dask(address: str) -> Iterator[Pool]:
    """The workers of a Dask cluster. pure=False: equal tasks are no reason to skip one."""
    try:
        distributed: Array = importlib.import_module("distributed")
    except ImportError:
        raise RunError(
            'the executor dask needs Dask: python -m pip install "tinydiv[dask]"'
        ) from None
    knock(address)  # a Client that cannot connect lives on, half made
    try:
        client = distributed.Client(address, timeout=30, set_as_default=False)
    except (OSError, ValueError, TypeError, TimeoutError) as error:
        said = str(error).splitlines()[0].rstrip(". ") if str(error) else type(error).__name__
        raise RunError(f"no Dask scheduler answers at {address!r}: {said}") from None
    try:
        workers = len(client.scheduler_info(n_workers=-1)["workers"])
        executor = client.get_executor(pure=False)
        pool = Pool(lambda: executor, max(workers, 1), own=False, name=f"dask:{address}")
        pool.window = DASK_IN_FLIGHT
        yield pool
        executor.shutdown(wait=False)
    finally:
        client.close()


def knock(address: str) -> None:
    """See whether anything listens at a scheduler's address, SCHEME://HOST:PORT or HOST:PORT.

    Raises UsageError if it is no such address, RunError if nobody answers.
    """
    parts = urlsplit(address if "://" in address else f"tcp://{address}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:  # a port that is no number
        host, port = None, None
    if not host or not port:
        raise UsageError(
            f"a Dask scheduler's address is written tcp://HOST:PORT, got {shown(address)}"
        )
    try:
        socket.create_connection((host, port), timeout=30).close()
    except UnicodeError:
        raise UsageError(f"{shown(host)} is no name of a machine") from None
    except OSError as error:
        raise RunError(
            f"no Dask scheduler answers at {address!r}: {atomic.reason(error)}"
        ) from None


# Stopping ----------------------------------------------------------------------------------------------


class Stop:
    """Whether somebody asked to stop, by Ctrl-C or SIGTERM.

    A signal only leaves a note here, and the note is read between two blocks: an exception in the
    middle of writing a file, or of handing out work, would leave things half done. Who asks twice is
    taken at their word.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.why, self.say = "", say

    def ask(self, number: int, frame: FrameType | None) -> None:
        """The signals' handler."""
        name = "stopped" if number == signal.SIGINT else f"stopped by {signal.Signals(number).name}"
        if self.why:
            raise KeyboardInterrupt(name)
        self.why = name
        self.say("stopping as soon as nothing is half done; once more to stop at once")

    @contextmanager
    def listening(self) -> Iterator["Stop"]:
        """Take the signals as long as this lasts. Only a main thread can; elsewhere nothing changes."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.ask) for number in numbers}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


# Carrying out --------------------------------------------------------------------------------------


def carry_out_all(
    blocks: Sequence[Block],
    task_for: Callable[[Block], Task],
    pool: Pool,
    keep: Callable[[Block, Outcome], None],
    stop: Stop,
) -> None:
    """Run every block somewhere and keep it as soon as it is done, in whatever order that is.

    A block whose worker died is given to another; one that does not fit in memory is halved. Any
    other failure ends it, with what is finished kept.
    Raises RunError when workers die MOST_BREAKS times in a row with nothing done in between, and
    KeyboardInterrupt when it was asked to stop.
    """
    waiting, flying = deque(blocks), dict[Future[Outcome], Block]()
    breaks = 0
    try:
        while waiting or flying:
            if stop.why:
                raise KeyboardInterrupt(stop.why)
            broken = False
            while waiting and len(flying) < pool.window and not broken:
                block = waiting.popleft()
                try:
                    flying[pool.executor.submit(carry_out, task_for(block))] = block
                except BrokenExecutor:
                    waiting.appendleft(block)
                    broken = True
            patience = 0 if broken else LISTEN_EVERY
            done, _ = wait(flying, timeout=patience, return_when=FIRST_COMPLETED)
            for future in done:
                block = flying.pop(future)
                try:
                    outcome = future.result()
                except MemoryError:
                    if len(block.runs) == 1:
                        raise
                    waiting.extendleft(reversed(block.halves()))
                except BaseException as error:
                    if not worker_died(error):
                        raise
                    waiting.appendleft(block)
                    broken = True
                else:
                    keep(block, outcome)
                    breaks = 0
            if broken:
                breaks += 1
                if breaks >= MOST_BREAKS:
                    raise RunError(
                        f"workers died {breaks} times with nothing done in between (too little "
                        "memory?); finished blocks are kept: try fewer --workers with --resume"
                    )
                if isinstance(pool.executor, ProcessPoolExecutor):
                    waiting.extendleft(reversed(flying.values()))  # they fell with the pool
                    flying.clear()
                    pool.renew()
    finally:
        for future in flying:
            future.cancel()


def worker_died(error: BaseException) -> bool:
    """Whether a failure is the worker's and not the block's."""
    names = {cls.__name__ for cls in type(error).__mro__}
    return isinstance(error, BrokenExecutor | CancelledError) or "KilledWorker" in names
