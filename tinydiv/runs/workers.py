"""A run's networks in groups, each group trained by one of several processes.

    with Workers(run, count=2) as workers:
        workers.train(on_step, on_epoch, stop_after)

Networks do not depend on each other, so a group of them takes the same steps as among all, to the bit.
Groups of 16 to 32 networks keep a step's arrays in a core's cache, and one BLAS thread per process
scales with the cores, where threads in one process wait for the interpreter.

The data, the weights and the moments lie in memory that all processes share: nothing large is sent, and
the first process reads the weights as they change. Everything else that a checkpoint needs (the state of
techniques, sums of the epoch in progress) is fetched by `sync`. All groups are at the same step whenever
the first process acts: it sends the step up to which to train, and waits for all.
"""

import contextlib
import io
import multiprocessing
import os
import pickle
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.shared_memory import SharedMemory
from typing import Any, TypeAlias

import numpy as np

from tinydiv import backend
from tinydiv.backend import Array
from tinydiv.errors import RunError, UsageError
from tinydiv.files import atomic
from tinydiv.loop import Loop, Record
from tinydiv.mlp import MLP
from tinydiv.runs.build import Run, run_of, slice_of
from tinydiv.runs.processes import follow_parent, spawning
from tinydiv.runs.splitting import reason_against_split, split

PAUSE = 0.5
"""Seconds between two moments at which all groups are at the same step: Ctrl-C acts within this time."""
SHARED = 100_000
"""Arrays of at least this many bytes are shared, not sent."""


class Workers:
    """Processes that train a run's networks; they share the run's weights and moments.

    ready: processes that were started earlier; without them, `count` are started now.
    Raises UsageError if the networks cannot be split, RunError if there is no memory to share or if a
    process ends too early.
    """

    def __init__(self, run: Run, count: int, ready: "Sequence[Started]" = ()) -> None:
        self.processes = list(ready)
        reason = reason_against_split(run.config)
        if reason:
            raise UsageError(f"--workers {count} cannot split these networks: {reason}")
        self.run, self.shared = run, Shared()
        self.groups = split(run.config.replicas, count)
        net, moments = run.net, run.standing.optimizer.moments
        try:
            theta = self.shared.array(net.theta)
            net.lie_in(theta)
            for key, moment in moments.items():
                moments[key] = self.shared.array(moment)
            common = self.shared.dumps((run.config, run.data, theta, moments))
            states = [state_of(run, group) for group in self.groups]
            each = list(zip(self.groups, states, strict=True))
            count = min(count, len(each))
            self.processes = self.processes or start(count)
            self.connections = [connection for _, connection in self.processes[:count]]
            for w, connection in enumerate(self.connections):
                with contextlib.suppress(OSError):  # it has ended: request finds that out
                    connection.send((common, each[w::count]))
            self.request("ready")
        except BaseException:
            self.close()
            raise

    def train(
        self,
        on_step: Callable[[int, int], None],
        on_epoch: Callable[[Record], None],
        stop_after: Callable[[int], int],
    ) -> None:
        """Train to the end. on_step(step, total) is called whenever all groups have reached a step, at
        the latest at stop_after(the last of these)."""
        run, loop = self.run, self.run.standing.loop
        began, at_once = time.perf_counter() - loop.seconds, 1
        if not loop.records:
            self.reached(0, began)
            on_epoch(loop.records[-1])
        while not run.finished:
            end = (loop.epoch + 1) * run.per_epoch
            now, sent_at = loop.step, time.perf_counter()
            recorded = self.reached(min(now + at_once, end, stop_after(now)), began)
            took = max(time.perf_counter() - sent_at, 1e-6) / (loop.step - now)
            at_once = max(1, min(int(PAUSE / took), 8 * at_once))
            on_step(loop.step, run.steps)
            if recorded:
                on_epoch(loop.records[-1])

    def reached(self, step: int, began: float) -> bool:
        """Train all groups up to a step; True if that made a record."""
        loop = self.run.standing.loop
        records = [record for made in self.request("train", step) for record in made]
        loop.step, loop.seconds = step, time.perf_counter() - began
        if records:
            record = merged_records(records)
            record.seconds, loop.epoch = loop.seconds, record.epoch
            loop.records.append(record)
        return bool(records)

    def sync(self) -> None:
        """Copy the state of all groups into the first process's run."""
        now = self.run.standing
        whole = merged(self.request("state"), [len(group) for group in self.groups])
        now.optimizer.steps = whole["steps"]
        now.guard.load_state(whole["guard"])
        now.techniques.load_state(whole["techniques"])
        for key, value in whole["loop"].items():
            setattr(now.loop, key, value)

    def request(self, *question: Any) -> list[Any]:
        """Send a request to all processes; their replies in the order of the groups.

        Raises RunError if a process has ended.
        """
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.send(question)
        replies: dict[Connection, Any] = {}
        while len(replies) < len(self.connections):
            for ready in wait([c for c in self.connections if c not in replies]):
                assert isinstance(ready, Connection)
                try:
                    replies[ready] = ready.recv()
                except (EOFError, OSError):
                    raise RunError(
                        "a process that trained some of the networks has ended (killed, or out of "
                        "memory): go on by --resume, with fewer --workers if it happens again"
                    ) from None
                if isinstance(replies[ready], BaseException):
                    raise replies[ready]
        each = [replies[connection] for connection in self.connections]
        return [each[i % len(each)][i // len(each)] for i in range(len(self.groups))]

    def close(self) -> None:
        """End the processes; the weights stay in shared memory as long as the run exists."""
        end(self.processes)
        self.shared.unlink()

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *ending: object) -> None:
        self.close()


# The state of some networks, and of all ------------------------------------------------------------


KEPT = ("records", "seconds")
"""The fields of a Loop that only the first process has."""


def state_of(run: Run, group: range) -> dict[str, Any]:
    """What a group of networks needs to continue from the state of the run."""
    now, loop = run.standing, run.standing.loop
    R = run.config.replicas

    def part(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: part(one) for key, one in value.items()}
        if isinstance(value, list):
            return [part(one) for one in value]
        if isinstance(value, np.ndarray) and value.ndim and value.shape[0] == R:
            return value[group.start : group.stop]
        return value

    found: dict[str, Any] = part(
        {
            "steps": now.optimizer.steps,
            "guard": now.guard.state(),
            "techniques": now.techniques.state(),
            "recorded": bool(run.records),
            "loop": {f.name: getattr(loop, f.name) for f in fields(Loop) if f.name not in KEPT},
        }
    )
    return found


def merged(parts: Sequence[Any], sizes: Sequence[int]) -> Any:
    """The state of all networks from that of groups: arrays with a row per network are joined."""
    first = parts[0]
    if isinstance(first, dict):
        return {key: merged([part[key] for part in parts], sizes) for key in first}
    if isinstance(first, list):
        return [merged(each, sizes) for each in zip(*parts, strict=True)]
    rows = [part.shape[0] if isinstance(part, np.ndarray) and part.ndim else None for part in parts]
    return np.concatenate(parts) if rows == list(sizes) else first


def merged_records(records: Sequence[Record]) -> Record:
    """One record of all networks from those of groups: lists with a number per network are joined."""

    def whole(values: list[Any]) -> Any:
        first = values[0]
        if isinstance(first, dict):
            return {key: whole([value[key] for value in values]) for key in first}
        if isinstance(first, list) and first and isinstance(first[0], dict):  # moments in an epoch
            return [whole(list(rows)) for rows in zip(*values, strict=True)]
        return [one for value in values for one in value] if isinstance(first, list) else first

    names = [f.name for f in fields(Record)]
    return Record(**{name: whole([getattr(record, name) for record in records]) for name in names})


# What a worker does --------------------------------------------------------------------------------


class ReachedError(Exception):
    """Raised at the step up to which a group is trained."""


def advance(run: Run, step: int) -> list[Record]:
    """Train a group up to a step, and return the records made meanwhile."""
    before = len(run.records)
    run.standing.guard.before[...] = run.net.theta  # another group used this buffer

    def on_step(now: int, total: int) -> None:
        if now >= step and now % run.per_epoch:  # after the last step of an epoch comes its record
            raise ReachedError

    def on_epoch(record: Record) -> None:
        if record.step >= step:
            raise ReachedError

    with contextlib.suppress(ReachedError):
        run.train(on_step, on_epoch)
    return run.records[before:]


def work(connection: Connection) -> None:
    """The work of a worker: receive its groups with their states and build them, then reply to each request
    until the connection is closed."""
    follow_parent()
    sys.stdout = sys.stderr  # a user's technique may print, and stdout is for results
    backend.use("numpy")
    attached: list[LastingMemory] = []
    try:
        common, mine = connection.recv()
        config, data, theta, moments = loads(common, attached)
        runs: list[Run] = []
        for group, state in mine:
            rows = slice_of(group)
            run = run_of(config, data, group, partial(fill, values=theta[rows]))
            run.net.lie_in(theta[rows])
            for key, moment in moments.items():
                run.standing.optimizer.moments[key] = moment[rows]
            # Groups are trained in turn, so all of them use one gradient and one copy of the weights.
            if runs and len(group) <= len(runs[0].networks):
                run.net.lie_in(theta[rows], runs[0].net.dtheta[: len(group)])
                run.standing.guard.before = runs[0].standing.guard.before[: len(group)]
            begin_at(run, state)
            runs.append(run)
        while True:
            kind, *rest = connection.recv()
            if kind == "train":
                connection.send([advance(run, *rest) for run in runs])
            elif kind == "state":
                connection.send([state_of(run, range(len(run.networks))) for run in runs])
            else:
                connection.send([None for _ in runs])
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except BaseException as error:
        with contextlib.suppress(OSError):
            connection.send(sendable(error))


def fill(net: MLP, values: Array) -> None:
    """Start networks with given weights."""
    net.theta[...] = values


def begin_at(run: Run, state: dict[str, Any]) -> None:
    """Load the state into a freshly built group."""
    now = run.standing
    now.optimizer.steps = state["steps"]
    now.guard.load_state(state["guard"])
    now.techniques.load_state(state["techniques"])
    for key, value in state["loop"].items():
        setattr(now.loop, key, value)
    if state["recorded"]:  # one record replaces those that the first process keeps
        now.loop.records = [Record(now.loop.epoch, now.loop.step, 0.0, 1.0, [], [], [])]


def sendable(error: BaseException) -> BaseException:
    """The error itself where it can be pickled, with its class's name; else its message."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RunError(f"{type(error).__name__}: {error}")
    return error


Started: TypeAlias = tuple[multiprocessing.process.BaseProcess, Connection]


def start(count: int) -> list[Started]:
    """So many processes, which load their modules side by side."""
    return [started() for _ in range(count)]


def end(processes: Sequence[Started]) -> None:
    """End them, whatever they do."""
    for process, connection in processes:
        connection.close()
        process.terminate()
    for process, _ in processes:
        process.join()


def started() -> Started:
    """A new process and the connection to it, over which its work is sent.

    Not as arguments: beyond 64 KiB of them, `start` waits until the process has loaded its modules.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=work, args=(there,), daemon=True)
    with spawning():
        process.start()
    there.close()
    return process, here


# Memory that processes share -----------------------------------------------------------------------


class LastingMemory(SharedMemory):
    """Shared memory that stays mapped until the last array in it is deleted."""

    def close(self) -> None:
        """Close everything except the mapping."""
        self._buf = self._mmap = None
        super().close()


class Shared:
    """Arrays in memory that other processes see; a pickler that sends large arrays as such."""

    def __init__(self) -> None:
        self.kept: list[LastingMemory] = []
        self.names: dict[int, tuple[np.ndarray, str]] = {}

    def array(self, like: Array) -> np.ndarray:
        """A shared array with the same entries."""
        memory = self.memory(like.nbytes)
        found: np.ndarray = np.ndarray(like.shape, like.dtype, memory.buf)
        found[...] = like
        self.names[id(found)] = (found, memory.name)
        return found

    def memory(self, size: int) -> "LastingMemory":
        """`size` bytes of shared memory. Raises RunError where the system has no more."""
        try:
            # /dev/shm may be smaller than that, and writing beyond its end kills the process.
            if os.path.isdir("/dev/shm"):
                free = os.statvfs("/dev/shm")
                if free.f_bavail * free.f_frsize < size:
                    raise OSError("/dev/shm is full")
            memory = LastingMemory(create=True, size=max(size, 1))
        except OSError as error:
            raise RunError(
                f"{size / 2**20:,.0f} MiB of memory cannot be shared between processes "
                f"({atomic.reason(error)}): use --workers 1"
            ) from error
        self.kept.append(memory)
        return memory

    def dumps(self, thing: object) -> bytes:
        """Pickled, with every large array in shared memory in place of its bytes."""
        file = io.BytesIO()
        SharingPickler(file, self).dump(thing)
        return file.getvalue()

    def unlink(self) -> None:
        """Let the system free the memory when the last process has closed it."""
        for memory in self.kept:
            with contextlib.suppress(FileNotFoundError):
                memory.unlink()
            memory.close()
        self.kept = []


class SharingPickler(pickle.Pickler):
    """Puts every array from SHARED bytes up into shared memory, once."""

    def __init__(self, file: io.BytesIO, shared: Shared) -> None:
        super().__init__(file)
        self.shared = shared

    def persistent_id(self, thing: Any) -> Any:
        """(name, shape, dtype) of a large array; None for anything else."""
        known = id(thing) in self.shared.names
        if type(thing) is not np.ndarray or not (known or thing.nbytes >= SHARED):
            return None
        if not known:
            copy = self.shared.array(thing)
            self.shared.names[id(thing)] = (thing, self.shared.names[id(copy)][1])
        name = self.shared.names[id(thing)][1]
        return name, thing.shape, thing.dtype.str


class SharingUnpickler(pickle.Unpickler):
    """Finds these arrays again. A class, since Python 3.13 sets no persistent_load of an unpickler."""

    def __init__(self, file: io.BytesIO, attached: list[LastingMemory]) -> None:
        super().__init__(file)
        self.attached = attached

    def persistent_load(self, where: tuple[str, tuple[int, ...], str]) -> np.ndarray:
        """The array that SharingPickler put into shared memory."""
        name, shape, dtype = where
        memory = LastingMemory(name)
        self.attached.append(memory)
        return np.ndarray(shape, dtype, memory.buf)


def loads(pickled: bytes, attached: list[LastingMemory]) -> Any:
    """What Shared.dumps wrote, its large arrays shared; `attached` keeps their memory."""
    return SharingUnpickler(io.BytesIO(pickled), attached).load()
