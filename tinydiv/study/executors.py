"""Where stacks run: in processes of this machine, in this process, or on any Executor.

    processes       one process per core (or --workers), started by spawn, one BLAS thread each
    serial          in this process, one stack after the other; the default on a GPU
    dask:ADDRESS    the workers of a Dask cluster (extra `dask`)
    an object       any concurrent.futures.Executor, from Python: run_study(study, executor=...)

If a process dies (out of memory, killed), the study ends with an error message. Finished stacks are kept,
and --resume trains the others. Dask itself gives the stacks of a lost worker to other workers.
"""

import importlib
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from urllib.parse import urlsplit

from tinydiv.backend import Array
from tinydiv.errors import RunError, UsageError, nearest
from tinydiv.files import atomic
from tinydiv.runs.pool import IN_FLIGHT, SERIAL, Pool, finish, processes
from tinydiv.runs.processes import Interrupt
from tinydiv.settings import shown
from tinydiv.study.running import Outcome, Task, carry_out
from tinydiv.study.stacks import Stack

NAMES = ("processes", "serial", "dask:ADDRESS")
DASK_IN_FLIGHT = 2000
"""How many stacks are submitted to a cluster at once; its workers may change while a study runs."""


@contextmanager
def opened(which: str | Executor, workers: int) -> Iterator[Pool]:
    """The pool of workers that a name (see above) or the caller's Executor stands for.

    Raises UsageError for an unknown name, RunError if a cluster cannot be reached.
    """
    if isinstance(which, Executor):
        yield Pool(which, workers, IN_FLIGHT * workers)
    elif which == "serial":
        yield SERIAL
    elif which == "processes":
        with processes(workers) as pool:
            yield pool
    elif which.startswith("dask:"):
        with dask(which.removeprefix("dask:")) as pool:
            yield pool
    else:
        raise UsageError(f"there is no executor called {shown(which)}: {nearest(which, NAMES)}")


# Dask ----------------------------------------------------------------------------------------------


@contextmanager
def dask(address: str) -> Iterator[Pool]:
    """The workers of a Dask cluster as a pool."""
    try:
        distributed: Array = importlib.import_module("distributed")
    except ImportError:
        raise RunError(
            'the executor dask needs Dask: python -m pip install "tinydiv[dask]"'
        ) from None
    check_address(address)  # without this, a Client that cannot connect would go on trying
    try:
        client = distributed.Client(address, timeout=30, set_as_default=False)
    except (OSError, ValueError, TypeError, TimeoutError) as error:
        reason = str(error).splitlines()[0].rstrip(". ") if str(error) else type(error).__name__
        raise RunError(f"there is no Dask scheduler at {address!r}: {reason}") from None
    try:
        workers = len(client.scheduler_info(n_workers=-1)["workers"])
        executor = client.get_executor(pure=False)  # equal tasks are all run
        yield Pool(executor, max(workers, 1), DASK_IN_FLIGHT)
        executor.shutdown(wait=False)
    finally:
        client.close()


def check_address(address: str) -> None:
    """Test whether a scheduler can be reached at an address, SCHEME://HOST:PORT or HOST:PORT.

    Raises UsageError if it is no such address, RunError if no connection can be made.
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
        raise UsageError(f"{shown(host)} is not the name of a machine") from None
    except OSError as error:
        raise RunError(
            f"there is no Dask scheduler at {address!r}: {atomic.reason(error)}"
        ) from None


# Carrying out --------------------------------------------------------------------------------------


def carry_out_all(
    stacks: Sequence[Stack],
    task_for: Callable[[Stack], Task],
    pool: Pool,
    keep: Callable[[Stack, Outcome], None],
    interrupt: Interrupt,
) -> None:
    """Run every stack on the pool and keep its outcome at once; a stack too large for memory is halved.

    Raises what tinydiv.runs.pool.finish raises.
    """
    finish(
        stacks,
        lambda stack: (carry_out, task_for(stack)),
        pool,
        keep,
        interrupt,
        smaller=lambda stack: stack.halves() if len(stack.trials) > 1 else (),
        died="a worker died (killed, or too little memory?); finished networks are kept: go on with "
        "--resume, perhaps with fewer --workers",
    )
