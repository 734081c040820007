"""Where stacks run: in processes of this machine, in this process, or wherever an Executor reaches.

    processes       one process per core (or --workers), started by spawn, one BLAS thread each
    serial          in this process, one stack after the other: the way for one GPU
    dask:ADDRESS    the workers of a Dask cluster (extra `dask`)
    an object       any concurrent.futures.Executor, from Python: run_study(study, executor=...)

A process that dies (out of memory, killed) ends the study with a sentence: finished stacks are kept, and
--resume trains the others. Dask gives the stacks of a lost worker to other workers by itself.
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
from dataclasses import dataclass
from multiprocessing.connection import wait as wait_for_any
from types import FrameType, ModuleType
from urllib.parse import urlsplit

from tinydiv.backend import Array
from tinydiv.command.cli import THREADS
from tinydiv.errors import RunError, UsageError, nearest
from tinydiv.files import atomic
from tinydiv.settings import shown
from tinydiv.study.running import Outcome, Task, carry_out
from tinydiv.study.stacks import Stack

NAMES = ("processes", "serial", "dask:ADDRESS")
DASK_IN_FLIGHT = 2000
"""Stacks that a cluster is given at once, whose workers may come and go while a study runs."""
STOP_CHECK = 0.2
"""Seconds between two looks at whether the study should stop (in this process: after each stack)."""
IN_FLIGHT = 2
"""Stacks per process that are handed out at once: the next is there when one is done."""


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


@dataclass(frozen=True)
class Pool:
    """An executor, how many stacks it works on at once, and how many it is given at once."""

    executor: Executor
    workers: int
    window: int

    @property
    def alone(self) -> bool:
        """Whether one stack has this machine for itself."""
        return isinstance(self.executor, Serial)


@contextmanager
def opened(which: str | Executor, workers: int) -> Iterator[Pool]:
    """A pool for a name (see above) or for an Executor of the caller's.

    Raises UsageError for an unknown name, RunError if it cannot be reached.
    """
    if isinstance(which, Executor):
        yield Pool(which, workers, IN_FLIGHT * workers)
    elif which == "serial":
        with one_thread_per_worker():
            yield Pool(Serial(), 1, 1)
    elif which == "processes":
        with one_thread_per_worker():
            executor = Processes(
                workers,
                # Spawned, not forked: a fork copies locks and a GPU's context in whatever state they are.
                mp_context=multiprocessing.get_context("spawn"),
                initializer=begin_worker,
            )
            try:
                yield Pool(executor, workers, IN_FLIGHT * workers)
            finally:
                executor.stop()
    elif which.startswith("dask:"):
        with dask(which.removeprefix("dask:")) as pool:
            yield pool
    else:
        raise UsageError(f"there is no executor called {shown(which)}: {nearest(which, NAMES)}")


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
    without `if __name__ == "__main__":` would start its study again in every worker. Stacks need
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

    def stop(self) -> None:
        """End all processes, without waiting for the stacks that they work on."""
        processes = list((self._processes or {}).values())
        self.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        for process in processes:
            process.join(timeout=10)


@contextmanager
def one_thread_per_worker() -> Iterator[None]:
    """Processes that start meanwhile use one BLAS thread each (NumPy reads this when it loads)."""
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
    """In a new process: leave Ctrl-C to the parent, and end when the parent has ended.

    Without this the processes of a parent that was killed would wait for ever.
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
    check_address(address)  # a Client that cannot connect lives on, half made
    try:
        client = distributed.Client(address, timeout=30, set_as_default=False)
    except (OSError, ValueError, TypeError, TimeoutError) as error:
        reason = str(error).splitlines()[0].rstrip(". ") if str(error) else type(error).__name__
        raise RunError(f"no Dask scheduler answers at {address!r}: {reason}") from None
    try:
        workers = len(client.scheduler_info(n_workers=-1)["workers"])
        executor = client.get_executor(pure=False)
        yield Pool(executor, max(workers, 1), DASK_IN_FLIGHT)
        executor.shutdown(wait=False)
    finally:
        client.close()


def check_address(address: str) -> None:
    """Find out whether anything listens at a scheduler's address, SCHEME://HOST:PORT or HOST:PORT.

    Raises UsageError if it is no such address, RunError if there is no answer.
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
    """Whether the study should stop, because of Ctrl-C or SIGTERM.

    The first signal is only noted, and looked at between two stacks: an exception in the middle of
    writing a file, or of handing out work, would leave things half done. The second one raises.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.why, self.say = "", say

    def note(self, number: int, frame: FrameType | None) -> None:
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
        before = {number: signal.signal(number, self.note) for number in numbers}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


# Carrying out --------------------------------------------------------------------------------------


def carry_out_all(
    stacks: Sequence[Stack],
    task_for: Callable[[Stack], Task],
    pool: Pool,
    keep: Callable[[Stack, Outcome], None],
    stop: Stop,
) -> None:
    """Run every stack somewhere and keep it as soon as it is done, in whatever order that is.

    A stack that does not fit in memory is halved. Any other failure ends the study, after all stacks
    that are finished were kept. Raises RunError for a worker that died, and KeyboardInterrupt when the
    study should stop.
    """
    waiting, flying = deque(stacks), dict[Future[Outcome], Stack]()
    failure: BaseException | None = None
    try:
        while (waiting or flying) and failure is None:
            if stop.why:
                raise KeyboardInterrupt(stop.why)
            try:
                while waiting and len(flying) < pool.window:
                    flying[pool.executor.submit(carry_out, task_for(waiting[0]))] = waiting[0]
                    waiting.popleft()
            except BrokenExecutor as error:
                failure = error
            for future in wait(flying, timeout=STOP_CHECK, return_when=FIRST_COMPLETED).done:
                stack = flying.pop(future)
                try:
                    keep(stack, future.result())
                except MemoryError as error:
                    if len(stack.trials) == 1:
                        failure = error
                    else:
                        waiting.extendleft(reversed(stack.halves()))
                except (Exception, CancelledError) as error:
                    failure = error
    finally:
        for future in flying:
            future.cancel()
    if failure is not None and worker_died(failure):
        raise RunError(
            "a worker died (killed, or too little memory?); finished networks are kept: go on with "
            "--resume, perhaps with fewer --workers"
        ) from failure
    if failure is not None:
        raise failure


def worker_died(error: BaseException) -> bool:
    """Whether a failure is the worker's and not the stack's."""
    names = {cls.__name__ for cls in type(error).__mro__}
    return isinstance(error, BrokenExecutor | CancelledError) or "KilledWorker" in names
