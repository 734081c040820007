"""A study from beginning to end: data, tuning, the trials that are compared, tables and figures.

    report = run_study(study, "runs/mine", workers=4)
    print(report.markdown())

Stacks are trained in two waves: first the tuning trials and the trials with a fixed rate, then those at
tuned rates. Each stack is saved as soon as it is trained. Tables are made from time to time and at the end.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from tinydiv import backend as backends
from tinydiv import diversity
from tinydiv.data.dataset import Dataset, check_inputs_name
from tinydiv.errors import RunError, UsageError, check_known
from tinydiv.files import atomic, read, technique_files
from tinydiv.loop import DeviceData, train
from tinydiv.runs.build import loss_of
from tinydiv.runs.pool import Pool
from tinydiv.runs.processes import Interrupt, cores
from tinydiv.settings import whole
from tinydiv.study import page, sharing, tables
from tinydiv.study.cost import start_key, start_seconds, step_cost, step_seconds
from tinydiv.study.executors import carry_out_all, opened
from tinydiv.study.keys import PLACEHOLDER, Training
from tinydiv.study.plan import TEST, Trial, check_parts, specs_for
from tinydiv.study.progress import Progress, in_words
from tinydiv.study.reading import from_dict
from tinydiv.study.results import DataFacts, Results, check_readable, data_key, entropy
from tinydiv.study.running import Outcome, Task, build
from tinydiv.study.sharing import Origin, Source
from tinydiv.study.specification import Study, in_setting
from tinydiv.study.stacks import Stack, cpu_size, cut, free_gpu_bytes, gpu_size, parameters
from tinydiv.study.store import FORMER, STUDY_FILE, Store, digest
from tinydiv.techniques import place
from tinydiv.techniques.consensus import Consensus

TABLES_EVERY = 60.0
"""The least number of seconds between two updates of the tables while a study runs."""
COSTS_FILE = "costs.json"
TRIAL_SAMPLES = 64
"""Samples of the one step that every arm takes as a test, before the study begins."""


@dataclass(frozen=True)
class StudyReport:
    """The results of a study, and its folder."""

    results: Results
    folder: Path

    def markdown(self) -> str:
        """The tables, as in table.md."""
        return page.markdown(self.results)


def run_study(
    study: Study,
    out: str | Path,
    *,
    backend: str | None = None,
    executor: str | Executor | None = None,
    workers: int | None = None,
    resume: bool = False,
    show: bool = True,
    figures: bool = True,
    stack_size: int | None = None,
) -> StudyReport:
    """Train all that is missing of a study, and make its tables and figures.

    out: the folder. backend: "numpy", "cupy" or "auto" (None: the current one). executor: see
    executors.py; None takes processes on a CPU and this process on a GPU. workers: processes, one per
    usable core by default. resume: continue with what is in the folder. show: progress on stderr.
    stack_size: networks per stack, by default as many as suit this machine.

    Raises UsageError for a study that cannot be trained or is not the one in the folder, RunError for
    failures on this machine, KeyboardInterrupt with a sentence; finished stacks are always kept.
    """
    backend = backends.name() if backend is None else backends.use(backend)
    if workers is not None:
        whole(1, 4096)("workers", workers)
    if stack_size is not None:
        whole(1, 1_000_000)("stack_size", stack_size)
    store = Store(Path(out))
    if resume and (found := store.read_facts()):  # before any is run
        technique_files.refuse_changes(found.get("files", {}), f"the study in {out}")
    loaded = load_all(study)
    results = checked(study, loaded, store)
    which = executor or ("serial" if backend == "cupy" else "processes")
    with opened(which, workers or cores()) as pool, store.locked():
        resumed = store.begin(study, backend, results.data, own_files(study), resume)
        worker = Worker(results, store, backend, show, stack_size)
        worker.report_state(resumed, resume)
        with shared_data(study, loaded, store.folder / ".data") as sources:
            loaded.clear()
            results.costs |= count_costs(results, sources, store.folder / COSTS_FILE)
            worker.work(sources, pool)
        tables.write(results, store.folder, figures=figures)
    return StudyReport(results, store.folder)


def read_study(out: str | Path, allow_code: bool = False) -> StudyReport:
    """The report on the finished part of the study in a folder; nothing is trained.

    allow_code: whether the technique files that the study names may be run. They are needed where a
    setting of theirs is {strength}.
    Raises UsageError if there is no study, or one that needs code without allow_code=True, or whose code
    has changed; RunError if study.json is damaged.
    """
    store = Store(Path(out))
    found = store.read_facts()
    if found is None:
        raise UsageError(f"{out} holds no study (there is no {Path(out) / 'study.json'})")
    store.load()
    with read.reading(store.folder / STUDY_FILE, "no table can be made from it"):
        facts = {key: DataFacts(**values) for key, values in found["data"].items()}
        if found["format"] == 1:
            found["study"]["train"] = FORMER | found["study"]["train"]
        study = from_dict(found["study"])
        needed = [spec for spec in specs(study) if PLACEHOLDER in spec]
        digests = dict(found.get("files", {}))
        before = {file: digests.get(file) for file in technique_files.paths(needed)}
    if not allow_code:
        how = f"read_study(..., allow_code=True), or {technique_files.FLAG}"
        technique_files.refuse_code(needed, (), f"the study in {out}", how)
    technique_files.refuse_changes(before, f"the study in {out}")
    results = Results(study, store.curves, facts)
    results.costs |= read_costs(store.folder / COSTS_FILE)
    return StudyReport(results, store.folder)


# Before the study begins ---------------------------------------------------------------------------


def load_all(study: Study) -> dict[str, tuple[Origin, Dataset]]:
    """Every data set of a study by its name in study.json, with its test part."""
    found: dict[str, tuple[Origin, Dataset]] = {}
    for setting in study.all_settings:
        training = study.training(setting, study.base_arm)
        key = data_key(training)
        if key not in found:
            origin = Origin.of(training, TEST)
            found[key] = origin, sharing.load(origin)
        check_parts(study, len(found[key][1].train_x), setting)
    return found


def checked(study: Study, loaded: Mapping[str, tuple[Origin, Dataset]], store: Store) -> Results:
    """The results of a study so far. Raises UsageError if the study cannot be trained."""
    results = Results(
        study, store.curves, {key: facts_of(dataset) for key, (_, dataset) in loaded.items()}
    )
    check_readable(results)
    check_trainable(results, loaded)
    check_candidates(results)
    return results


def facts_of(dataset: Dataset) -> DataFacts:
    """What the tables need of a data set."""
    return DataFacts(
        sharing.fingerprint(dataset),
        len(dataset.train_x),
        dataset.n_inputs,
        dataset.n_classes,
        entropy(dataset.test_y),
    )


def own_files(study: Study) -> dict[str, str]:
    """Digests of the user's own technique files that arms name, by their path."""
    return {file: digest[:20] for file, digest in technique_files.digests(specs(study)).items()}


def specs(study: Study) -> list[str]:
    """The technique specs of all arms in all settings."""
    return [
        spec
        for setting in study.all_settings
        for arm in study.arms
        for spec in study.training(setting, arm).technique
    ]


def check_trainable(results: Results, loaded: Mapping[str, tuple[Origin, Dataset]]) -> None:
    """Try every arm of every setting: build it and take one step.

    Raises UsageError that names the arm, so that a long study does not fail at its last arm.
    """
    study, tried = results.study, set[str]()
    for name in study.measure.metrics:
        check_known("metric", name, diversity.METRICS)
    small: dict[tuple[str, str], DeviceData] = {}
    for setting in study.all_settings:
        for arm in results.arms[setting.name]:
            training = study.training(setting, arm)
            trial = Trial(training, study.first_seed, study.measure)
            if start_key(trial) in tried:
                continue
            tried.add(start_key(trial))
            try:
                check_inputs_name(training.inputs)
                check_independent(training)
                key = data_key(training)
                if (key, training.inputs) not in small:
                    whole_set = loaded[key][1]
                    parts = (whole_set.train_x, whole_set.test_x)
                    few = whole_set.take(*(min(TRIAL_SAMPLES, len(part)) for part in parts))
                    few = replace(few, inputs=training.inputs)
                    small[key, training.inputs] = DeviceData(few, training.dtype)
                data = small[key, training.inputs]
                net, optimizer, techniques = build([trial], data)
                train(
                    *(net, data, optimizer, techniques),
                    epochs=1,
                    batch_size=data.n_train,
                    seed=[trial.seed],
                    loss=loss_of(training, data.dataset),
                    schedule=training.schedule,
                    metrics=study.measure.metrics,
                )
            except UsageError as error:
                where = in_setting(setting.name)
                raise UsageError(f"the arm {arm.name!r}{where}: {error}") from None


def check_candidates(results: Results) -> None:
    """Raises UsageError for a rate or strength of the grid that a technique does not allow."""
    for (setting, arm), tried in results.tuning.items():
        for trials in tried.values():
            training = trials[0].training
            try:
                for spec in specs_for(training, [training.strength]):
                    place(spec)
            except UsageError as error:
                where = in_setting(setting)
                raise UsageError(f"the tuning grid of the arm {arm!r}{where}: {error}") from None


def check_independent(training: Training) -> None:
    """Raises UsageError for a technique that makes a network depend on the others in its stack."""
    if Consensus.name in (spec.partition(":")[0] for spec in training.technique):
        raise UsageError(
            f"{Consensus.name} makes each network depend on the networks beside it, so that they are no "
            "independent trials: it cannot be part of a study"
        )


@contextmanager
def shared_data(
    study: Study, loaded: Mapping[str, tuple[Origin, Dataset]], base: Path
) -> Iterator[dict[Origin, Source]]:
    """Every data set that trials need, as files under `base` that are removed at the end."""
    parts = [TEST] + ([study.tuning.validation] if "tuned" in study.regimes else [])
    sources = {}
    try:
        for origin, dataset in loaded.values():
            for validation in parts:
                part = replace(origin, validation=validation)
                held = dataset if validation == TEST else sharing.hold_out(dataset, validation)
                sources[part] = sharing.share(part, held, base)
        yield sources
    finally:
        sharing.clear(base)


def count_costs(
    results: Results, sources: Mapping[Origin, Source], path: Path
) -> dict[str, dict[str, float]]:
    """The cost of every kind of trial that is compared; kept in the folder."""
    costs = read_costs(path)
    for setting in results.study.all_settings:
        for arm in results.arms[setting.name]:
            training = results.study.training(setting, arm)
            trial = Trial(training, results.study.first_seed, results.study.measure)
            source = sources[Origin.of(training, TEST)]
            if trial.kind not in costs:
                costs[trial.kind] = {
                    **vars(step_cost(trial, source)),
                    "step_seconds": step_seconds(trial, source),
                }
            if start_key(trial) not in costs:
                costs[start_key(trial)] = {"start_seconds": start_seconds(trial, source)}
            atomic.write_json(path, costs | {"sha256": digest(costs)})
    return costs


def read_costs(path: Path) -> dict[str, dict[str, float]]:
    """The costs that were counted before; none if the file does not exist or cannot be read."""
    with suppress(RunError), read.reading(path, "it is counted again"):
        costs = read.json_object(path)
        if costs.pop("sha256", None) not in (None, digest(costs)):  # older ones have none
            return {}
        return {
            kind: {name: float(value) for name, value in cost.items()}
            for kind, cost in costs.items()
        }
    return {}


# Training ------------------------------------------------------------------------------------------


class Worker:
    """Trains the missing trials, keeps them, and shows the progress."""

    def __init__(
        self, results: Results, store: Store, backend: str, show: bool, stack_size: int | None
    ) -> None:
        self.results, self.store, self.backend = results, store, backend
        self.stack_size, self.show = stack_size, show
        self.progress = Progress(0, 0.0, show=False)
        self.tables_made, self.tables_took = time.monotonic(), 0.0

    def report_state(self, resumed: bool, resume: bool) -> None:
        """Print what the folder holds already, if it matters."""
        folder = self.store.folder
        if resume and not resumed:
            self.print_line(f"nothing to resume in {folder}: the study begins")
        if resumed:
            self.print_line(f"continuing in {folder}: {len(self.store.curves)} networks are done")
        for sentence in self.results.study.idle_arms:
            self.print_line(sentence)
        for path in self.store.damaged:
            self.print_line(f"{path.name} was damaged: its networks are trained again")

    def print_line(self, sentence: str) -> None:
        """Print a line where no progress bar is."""
        Progress(0, 0.0, self.show).print_line(sentence)

    def work(self, sources: Mapping[Origin, Source], pool: Pool) -> None:
        """Train both waves. Raises what carry_out_all raises; after Ctrl-C a KeyboardInterrupt with a
        sentence."""
        first, second = self.first_wave(), self.second_wave_at_most()
        networks = len(first) + second
        work = sum(map(self.work_of, first)) * networks / max(len(first), 1)
        self.progress = Progress(networks, work, self.show)

        def task_for(stack: Stack) -> Task:
            trial = stack.trials[0]
            source = sources[Origin.of(trial.training, trial.validation)]
            return Task(stack, source, self.backend, alone=pool.alone)

        try:
            with Interrupt("when nothing is half done" if self.show else None) as interrupt:
                carry_out_all(
                    self.stacks(first, pool.workers), task_for, pool, self.keep, interrupt
                )
                rest = self.missing(self.final_trials())
                self.progress.expect(len(rest), sum(map(self.work_of, rest)))
                carry_out_all(self.stacks(rest, pool.workers), task_for, pool, self.keep, interrupt)
        except KeyboardInterrupt as stop:
            raise KeyboardInterrupt(self.stopped(str(stop))) from None
        finally:
            self.progress.close()

    def stopped(self, why: str) -> str:
        """Make the tables of a study that is stopped; returns the message about it."""
        with suppress(RunError):
            tables.write(self.results, self.store.folder, figures=False)
        return (
            f"{why or 'stopped'}: {len(self.store.curves)} networks are kept in "
            f"{self.store.folder}, continue with --resume"
        )

    # What is to be trained -----------------------------------------------------------------------

    def missing(self, trials: Sequence[Trial]) -> list[Trial]:
        """The trials that are not finished, each once."""
        left = {trial.key: trial for trial in trials if trial.key not in self.store.curves}
        return list(left.values())

    def first_wave(self) -> list[Trial]:
        """Tuning trials, and final ones whose rate is known."""
        tuning = [
            trial
            for tried in self.results.tuning.values()
            for trials in tried.values()
            for trial in trials
        ]
        return self.missing([*tuning, *self.final_trials()])

    def final_trials(self) -> list[Trial]:
        """All final trials whose rate is known by now."""
        cells = [self.results.trials(cell) for cell in self.results.cells]
        return [trial for trials in cells if trials is not None for trial in trials]

    def second_wave_at_most(self) -> int:
        """How many more final trials there may be."""
        open_cells = sum(self.results.trials(cell) is None for cell in self.results.cells)
        return open_cells * self.results.study.seeds

    def work_of(self, trial: Trial) -> float:
        """Roughly the seconds of one trial: only for the estimate of the time left."""
        t = trial.training
        facts = self.results.data[data_key(t)]
        batch = min(t.batch_size, facts.n_train)
        size = parameters(t, facts.n_inputs, facts.n_classes)
        steps = (t.epochs + t.head_start) * (facts.n_train // batch)
        return steps * (3e-5 + 2e-10 * batch * size * (1 + 0.2 * len(t.technique)))

    def stacks(self, trials: Sequence[Trial], workers: int) -> list[Stack]:
        """Trials cut into stacks whose size suits this machine."""
        free = free_gpu_bytes()

        def size_of(trial: Trial) -> int:
            if self.stack_size is not None:
                return self.stack_size
            t = trial.training
            facts = self.results.data[data_key(t)]
            t = replace(t, batch_size=min(t.batch_size, facts.n_train))
            network = t, facts.n_inputs, facts.n_classes
            if free is not None:
                return gpu_size(*network, free // workers)
            return cpu_size(*network, len(trials), workers)

        return cut(trials, size_of)

    # What is done --------------------------------------------------------------------------------

    def keep(self, stack: Stack, outcome: Outcome) -> None:
        """Save a finished stack, and write the tables again if that is due."""
        self.store.keep(stack, outcome)
        self.progress.step(len(stack.trials), sum(map(self.work_of, stack.trials)))
        if time.monotonic() - self.tables_made > max(TABLES_EVERY, 20 * self.tables_took):
            began = time.monotonic()
            tables.write(self.results, self.store.folder, figures=False)
            self.tables_made = time.monotonic()
            self.tables_took = self.tables_made - began


def plan_text(study: Study) -> str:
    """What a study would train, in words; nothing is trained."""
    store = Store(Path())
    results = checked(study, load_all(study), store)
    worker = Worker(results, store, "numpy", False, None)
    first, second = worker.first_wave(), worker.second_wave_at_most()
    seconds = sum(map(worker.work_of, first)) * (len(first) + second) / max(len(first), 1)
    arms = {arm.name for arms in results.arms.values() for arm in arms}
    planned = (
        f"{study.name}: {len(arms)} arms (controls included), {len(study.all_settings)} settings, "
        f"{study.seeds} paired seeds, regimes {', '.join(study.regimes)}: "
        f"{len(first) + second} networks, roughly {in_words(seconds)} on one core"
    )
    return "\n".join([planned, *study.idle_arms])
