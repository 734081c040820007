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
import socket
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
from urllib.parse import urlsplit

from tinydiv.backend import Array
from tinydiv.errors import RunError, UsageError, nearest
from tinydiv.files import atomic
from tinydiv.runs.processes import Interrupt, follow_parent, spawning
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
        yield Pool(Serial(), 1, 1)
    elif which == "processes":
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
    elif which.startswith("dask:"):
        with dask(which.removeprefix("dask:")) as pool:
            yield pool
    else:
        raise UsageError(f"there is no executor called {shown(which)}: {nearest(which, NAMES)}")


# Processes -----------------------------------------------------------------------------------------


class Processes(ProcessPoolExecutor):
    """Processes of one BLAS thread each, which do not run the script that started them."""

    def submit(self, function, /, *args, **kwargs):  # type: ignore[no-untyped-def]
        """As usual; this is where new processes are made."""
        with spawning():
            return super().submit(function, *args, **kwargs)

    def stop(self) -> None:
        """End all processes, without waiting for the stacks that they work on."""
        processes = list((self._processes or {}).values())
        self.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        for process in processes:
            process.join(timeout=10)


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
    check_address(address)  # a Client that cannot connect would keep trying
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
    """Test whether a scheduler can be reached at an address, SCHEME://HOST:PORT or HOST:PORT.

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


# Carrying out --------------------------------------------------------------------------------------


def carry_out_all(
    stacks: Sequence[Stack],
    task_for: Callable[[Stack], Task],
    pool: Pool,
    keep: Callable[[Stack, Outcome], None],
    interrupt: Interrupt,
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
            if interrupt.why:
                raise KeyboardInterrupt(interrupt.why)
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
