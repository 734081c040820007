"""What an arm costs per training step of one network: counted, and timed under equal conditions.

    flops in products    2 m k n for every product (m, k) (k, n)
    other flops          one for every number that an elementwise operation makes or a reduction reads,
                         exp and log included; decompositions by textbook figures
    bytes                all operands that are read and all results that are written, as if no cache were
    calls                operations on arrays; on a GPU each is at least one kernel launch

One network takes some steps of the real training loop on arrays that count operations. So a technique needs
no formula for its cost, and what acts every 100 steps costs a hundredth per step. For a plain network the
flops in products are 3 x forward - 2 B n_0 n_1, with forward = 2 B sum n_in n_out.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from tinydiv.backend import name as backend_name
from tinydiv.backend import to_host
from tinydiv.loop import DeviceData, train
from tinydiv.runs.build import loss_of
from tinydiv.study.plan import Trial
from tinydiv.study.running import build, start
from tinydiv.study.sharing import Source, mapped
from tinydiv.techniques.counting import Counts, counting

MIN_COUNTED, MIN_TIMED, MOST_STEPS = 2, 30, 1000
"""Steps that are counted and timed, unless a technique acts more rarely; and the largest number."""
TIMED_NETWORKS, GPU_TIMED_NETWORKS, TIMED_ROUNDS = 16, 256, 3


class EnoughError(Exception):
    """Raised to end training when enough steps were counted."""


def step_cost(trial: Trial, source: Source) -> Counts:
    """What one training step of one network costs, on average over the steps that differ."""
    with counting() as counts:
        spent, seen = Counts(), 0
        mark = replace(counts)

        def begin() -> None:
            nonlocal mark
            mark = replace(counts)

        def end(step: int) -> None:
            nonlocal spent, seen
            spent, seen = spent.plus(counts.minus(mark)), step

        take_steps([trial], source, MIN_COUNTED, begin, end)
        return spent.over(seen)


def step_seconds(trial: Trial, source: Source) -> float:
    """Measured time of one training step of one network, among TIMED_NETWORKS that share batches.

    Every arm has the same number of networks, in one process, and the best of TIMED_ROUNDS rounds counts:
    the time per step in the pool of workers would depend on what else runs there.
    """
    many = GPU_TIMED_NETWORKS if backend_name() == "cupy" else TIMED_NETWORKS
    trials = [replace(trial, seed=trial.seed + r) for r in range(many)]
    return min(round_seconds(trials, source) for _ in range(TIMED_ROUNDS)) / many


def round_seconds(trials: Sequence[Trial], source: Source) -> float:
    """Seconds per step of one round."""
    spent, seen, mark = 0.0, 0, 0.0

    def begin() -> None:
        nonlocal mark
        mark = time.perf_counter()

    def end(step: int) -> None:
        nonlocal spent, seen
        spent, seen = spent + time.perf_counter() - mark, step

    take_steps(trials, source, MIN_TIMED, begin, end)
    return spent / seen


def start_key(trial: Trial) -> str:
    """The key in costs.json for the time of a start."""
    return f"{trial.kind} {trial.training.init}"


def start_seconds(trial: Trial, source: Source) -> float:
    """Measured time to initialise one network, among TIMED_NETWORKS: spent once per trial."""
    data = DeviceData(mapped(source, trial.training.inputs), trial.training.dtype)
    trials = [replace(trial, seed=trial.seed + r) for r in range(TIMED_NETWORKS)]
    net, _, _ = build(trials, data)
    best = float("inf")
    for _ in range(TIMED_ROUNDS):
        began = time.perf_counter()
        start(net, trials, data)
        to_host(net.theta[:1, :1])
        best = min(best, time.perf_counter() - began)
    return best / TIMED_NETWORKS


def take_steps(
    trials: Sequence[Trial],
    source: Source,
    fewest: int,
    begin: Callable[[], None],
    end: Callable[[int], None],
) -> None:
    """Take steps of the real training loop until every technique has acted at least once.

    begin() and end(step) are called before and after each step; records between steps are not included.
    """
    training = trials[0].training
    dataset = mapped(source, training.inputs)
    data = DeviceData(dataset, training.dtype)
    batch = min(training.batch_size, data.n_train)
    net, optimizer, techniques = build(trials, data)
    wanted = min(max([fewest, *(p.every for p in techniques.placed)]), MOST_STEPS)

    def on_step(step: int, total: int) -> None:
        if step == wanted or step % (data.n_train // batch) == 0:
            to_host(net.theta[:1, :1])  # on a GPU: steps end only when the host waits for them
        end(step)
        if step >= wanted:
            raise EnoughError
        begin()

    with suppress(EnoughError):
        train(
            *(net, data, optimizer, techniques),
            epochs=-(-wanted // (data.n_train // batch)),
            batch_size=batch,
            seed=trials[0].seed,
            loss=loss_of(training, data.dataset),
            metrics=(),
            every=10**9,
            on_step=on_step,
            on_epoch=lambda record: begin(),
        )
