"""Stacks, workers and data: a network is the same wherever it is trained, and with any others."""

import dataclasses
import os
import sys
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import standin
from studies import SMALL, TABLES, assert_same_tables, run, small_study, tuned_study, without_times

from tinydiv import backend, data, optimizers
from tinydiv.errors import RunError, UsageError
from tinydiv.initializers import initialize
from tinydiv.loop import DeviceData, batches, train
from tinydiv.mlp import MLP
from tinydiv.runs import pool as pools
from tinydiv.runs.build import build
from tinydiv.runs.config import TrainConfig
from tinydiv.study import Arm, Controls, Measure, executors, read_study, running, sharing, stacks
from tinydiv.study.keys import Training
from tinydiv.study.plan import TEST, Trial, final_trials, own_candidate
from tinydiv.study.running import Task, carry_out
from tinydiv.study.sharing import Origin
from tinydiv.study.stacks import Stack, cut, gpu_size, network_bytes

NO_CONTROLS = Controls(aa=False, planted=False)


def trials_of(study, *arms):
    here = study.all_settings[0]
    chosen = [arm for arm in study.arms if not arms or arm.name in arms]
    return [r for a in chosen for r in final_trials(study, here, a, own_candidate(study, here, a))]


@pytest.fixture
def source(tmp_path):
    """A function from a trial to the source of its samples."""

    def at(one):
        origin = Origin.of(one.training, one.validation)
        return sharing.share(origin, sharing.load(origin), tmp_path / "data")

    return at


# Stacks --------------------------------------------------------------------------------------------


def test_stacks_hold_every_trial_once_and_only_trials_of_one_kind():
    trials = trials_of(tuned_study(seeds=7))
    for size in (1, 2, 5, 100):
        cuts = cut([*trials, *trials], lambda trial, size=size: size)
        assert sorted(r.key for b in cuts for r in b.trials) == sorted(r.key for r in trials)
        assert all(len(b.trials) <= size for b in cuts)
        assert all(len({r.kind for r in b.trials}) == 1 for b in cuts)
        assert len({b.key for b in cuts}) == len(cuts)


def test_a_seed_with_many_arms_stands_alone_and_shares_its_batches():
    arms = [Arm(f"rate {i}", {"lr": 0.01 * (i + 1)}) for i in range(6)]
    cuts = cut(trials_of(small_study(arms, seeds=3)), lambda trial: 8)
    assert [(len(b.trials), b.one_seed) for b in cuts] == [(6, True)] * 3
    few = cut(trials_of(small_study(arms[:2], seeds=3)), lambda trial: 8)
    assert [(len(b.trials), b.one_seed) for b in few] == [(6, False)]


def test_stacks_come_in_the_order_of_seeds_so_that_a_stopped_study_has_whole_pairs():
    study = small_study(seeds=8)
    cuts = cut(trials_of(study), lambda trial: 2)
    first = [min(r.seed for r in b.trials) for b in cuts]
    assert first == sorted(first)


# A network alone, beside others, in any order ------------------------------------------------------


def curves(trials, source, size):
    found = {}
    for stack in cut(trials, lambda trial: size):
        out = running.carry_out(running.Task(stack, source(trials[0])))
        for i, one in enumerate(stack.trials):
            found[one.key] = {name: values[:, i] for name, values in out.values.items()}
            found[one.key]["diverged"] = out.diverged_step[i]
    return found


EVERYTHING = [
    Arm("plain"),
    Arm("slow", {"lr": 0.01}),
    Arm("other start", {"init": "glorot-uniform"}),
    Arm("start that reads data", {"init": "response-zca@he-normal"}),
    Arm("adam", {"optimizer": "adam", "weight_decay": 0.01}),
    Arm("decov", {"technique": ["decov:strength={strength}"], "strength": 0.3}),
    Arm("more", {"technique": ["decov:strength={strength}"], "strength": 0.7}),
    Arm("fading", {"technique": ["decov:strength={strength},schedule=linear"], "strength": 0.7}),
    Arm("batch norm", {"technique": ["batch-norm"]}),
    Arm("dropout", {"technique": ["dropout:p={strength}"], "strength": 0.2}),
    Arm("muon", {"technique": ["muon"]}),
    Arm("recycle", {"technique": ["merge-recycle:every=5,threshold=0.3"]}),
    Arm("too fast", {"lr": 1000.0, "activation": "identity", "loss": "squared-error"}),
]


def test_no_network_depends_on_the_others_in_its_stack(source):
    study = small_study(EVERYTHING, seeds=3)
    trials = trials_of(study)
    alone = curves(trials, source, 1)
    assert any(found["diverged"] >= 0 for found in alone.values())
    for size in (2, 5, 64):
        together = curves(trials, source, size)
        for key, found in alone.items():
            for name, values in found.items():
                np.testing.assert_array_equal(values, together[key][name], err_msg=f"{size} {name}")


def test_a_network_of_a_study_is_the_one_that_train_makes(source):
    """The same seed with MLP, initialize, SGD and train."""
    study = small_study([Arm("plain")], seeds=2)
    trials = trials_of(study)
    out = running.carry_out(running.Task(Stack(tuple(trials)), source(trials[0])))
    for i, one in enumerate(trials):
        net = MLP([2, 6, 2])
        initialize(net, "he-normal", one.seed)
        dataset = data.load("moons", n_train=256, n_test=200)
        records = train(
            net, dataset, optimizers.SGD(net, 0.1), epochs=3, batch_size=32, seed=one.seed
        )
        at_epochs = out.values["test_accuracy"][out.epoch >= 0, i]
        np.testing.assert_allclose(at_epochs, [r.test_accuracy[0] for r in records], atol=1e-6)
        losses = out.values["train_loss"][out.epoch >= 0, i]
        np.testing.assert_allclose(losses, [r.train_loss[0] for r in records], rtol=1e-5)


def test_arms_are_paired_same_draw_same_outgoing_weights_same_batches(source):
    arms = [
        Arm("plain"),
        Arm("start", {"init": "response-zca@he-normal"}),
        Arm("off", {"technique": ["decov:strength={strength}"], "strength": 0}),
        Arm("norm", {"technique": ["batch-norm"]}),
    ]
    study = small_study(arms, seeds=3)
    dataset = sharing.on_device(source(trials_of(study)[0]), "raw", "float32", "numpy")
    nets = {arm.name: running.build(trials_of(study, arm.name), dataset)[0] for arm in arms}
    for name in ("off", "norm"):
        np.testing.assert_array_equal(nets[name].W[0], nets["plain"].W[0])
        np.testing.assert_array_equal(nets[name].W[1], nets["plain"].W[1])
    np.testing.assert_array_equal(nets["start"].W[1], nets["plain"].W[1])
    length = np.linalg.norm(nets["start"].W[0], axis=-2)
    np.testing.assert_allclose(length, np.linalg.norm(nets["plain"].W[0], axis=-2), rtol=1e-5)
    assert not np.allclose(nets["start"].W[0], nets["plain"].W[0])
    # A penalty of strength 0 does the same work and changes nothing: equal to the last bit, batches too.
    by_arm = {
        arm.name: list(curves(trials_of(study, arm.name), source, 64).values()) for arm in arms
    }
    for plain, off in zip(by_arm["plain"], by_arm["off"], strict=True):
        np.testing.assert_array_equal(plain["test_loss"], off["test_loss"])
    assert not np.array_equal(by_arm["plain"][0]["test_loss"], by_arm["plain"][1]["test_loss"])


def test_networks_of_one_seed_share_batches_and_those_of_another_have_their_own():
    on_device = DeviceData(data.load("moons", n_train=64, n_test=8), "float32")
    seeds = [3, 3, 8, 3, 8]
    together = list(batches(on_device, 16, seeds, epoch=2))
    assert len(together) == 4
    for r, seed in enumerate(seeds):
        for (X, Y), (x, y) in zip(together, batches(on_device, 16, seed, epoch=2), strict=True):
            assert X.shape == (5, 16, 2)
            np.testing.assert_array_equal(X[r], x)
            np.testing.assert_array_equal(Y[r], y)
    assert not np.array_equal(together[0][0][0], together[0][0][2])


def test_a_head_start_is_training_that_is_not_counted(source):
    ahead = trials_of(small_study([Arm("ahead", {"head_start": 1})], seeds=1))
    plain = trials_of(small_study([Arm("plain", {"epochs": 4})], seeds=1))
    early = running.carry_out(running.Task(Stack(tuple(ahead)), source(ahead[0])))
    whole = running.carry_out(running.Task(Stack(tuple(plain)), source(plain[0])))
    assert early.epoch[early.epoch >= 0].tolist() == [0, 1, 2, 3]
    assert early.step[early.epoch >= 0].tolist() == [0, 8, 16, 24]
    np.testing.assert_array_equal(
        early.values["test_loss"][early.epoch >= 0], whole.values["test_loss"][whole.epoch >= 1]
    )
    middle = early.values["test_accuracy"][early.step == 5]
    assert middle.shape == (1, 1)
    assert np.isfinite(middle).all()


def test_measurements_in_the_middle_of_an_epoch_equal_those_of_records(source):
    """Step 8 ends epoch 1; measured in the middle of a longer epoch it must be the same."""
    small = trials_of(small_study([Arm("plain")], seeds=2, measure=Measure(steps=(5, 8))))
    out = running.carry_out(running.Task(Stack(tuple(small)), source(small[0])))
    assert out.step.tolist() == [0, 5, 8, 16, 24]
    assert out.epoch.tolist() == [0, -1, 1, 2, 3]
    measured = {"test_loss", "test_accuracy", *Measure().metrics}
    assert measured < set(out.values)
    for name in measured:
        assert np.isfinite(out.values[name]).all(), name
    assert np.isnan(out.values["train_loss"][1]).all()


def test_a_network_that_diverges_has_no_numbers_but_its_step_and_layer(source):
    study = small_study(
        [Arm("fast", {"lr": 1000.0, "activation": "identity", "loss": "squared-error"})], seeds=2
    )
    trials = trials_of(study)
    out = running.carry_out(running.Task(Stack(tuple(trials)), source(trials[0])))
    assert (out.diverged_step >= 0).all()
    assert (out.diverged_layer >= 0).all()
    assert np.isnan(out.values["test_accuracy"][-1]).all()
    assert np.isfinite(out.values["test_accuracy"][0]).all()


# The whole study, by whatever executor --------------------------------------------------------------


def test_results_depend_on_no_executor_stack_size_or_number_of_workers(tmp_path):
    study = tuned_study(seeds=5)
    run(study, tmp_path / "one")
    run(study, tmp_path / "small stacks", stack_size=1)
    run(study, tmp_path / "large stacks", stack_size=1000)
    run(study, tmp_path / "processes", executor="processes", workers=2)
    with ThreadPoolExecutor(1) as pool:  # any Executor of the caller's
        run(study, tmp_path / "threads", executor=pool, workers=1, stack_size=7)
    assert len(list((tmp_path / "small stacks/blocks").iterdir())) > 60
    for other in ("small stacks", "large stacks", "processes", "threads"):
        assert_same_tables(tmp_path / "one", tmp_path / other)


def test_the_stand_in_for_a_gpu_gives_the_same_to_rounding(tmp_path):
    study = small_study([*EVERYTHING[:6], *EVERYTHING[8:10]], seeds=3)
    backend.use(standin)
    run(study, tmp_path / "device")
    assert backend.name() == "standin"  # counting costs took NumPy, and gave it back
    backend.use("numpy")
    run(study, tmp_path / "host")
    for name in ("curves.csv", "runs.csv"):
        one, other = ((tmp_path / p / name).read_text() for p in ("device", "host"))
        for a, b in zip(without_times(one)[1:], without_times(other)[1:], strict=True):
            numbers = [
                (float(x), float(y)) for x, y in zip(a, b, strict=True) if x and x[0].isdigit()
            ]
            ours, theirs = np.array(numbers).T
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=0.02)


def test_processes_have_one_blas_thread_each_and_the_environment_is_left_alone(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "3")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    study = small_study([Arm("plain")], seeds=2, controls=NO_CONTROLS)
    report = run(study, tmp_path / "o", executor="processes", workers=1)
    facts = next(iter(report.results.curves.values())).facts
    assert facts["machine"]["blas_threads"]["OPENBLAS_NUM_THREADS"] == "1"
    assert os.environ["OPENBLAS_NUM_THREADS"] == "3"
    assert "MKL_NUM_THREADS" not in os.environ


def test_the_main_module_is_restored_if_two_threads_start_processes(monkeypatch):
    """Two threads begin one after the other and end in the same order; the script is __main__ again."""
    script, seen = sys.modules["__main__"], []
    second_waits = threading.Event()

    def submit(self, which):
        seen.append(sys.modules["__main__"])
        if which == 1:  # as long as the second is in here too, if it can be
            second_waits.wait(0.3)
        else:
            second_waits.set()
            time.sleep(0.3)

    monkeypatch.setitem(sys.modules, "__main__", script)  # if it is not restored, then only here
    monkeypatch.setattr(pools.ProcessPoolExecutor, "submit", submit)
    pool = pools.Processes.__new__(pools.Processes)
    threads = [threading.Thread(target=pool.submit, args=(which,)) for which in (1, 2)]
    threads[0].start()
    while not seen:
        time.sleep(0.001)
    threads[1].start()
    for thread in threads:
        thread.join()
    assert sys.modules["__main__"] is script
    assert len(seen) == 2
    assert script not in seen


def test_unknown_executors_and_absurd_numbers_are_refused_before_anything_is_written(tmp_path):
    study = small_study([Arm("plain")], seeds=2)
    with pytest.raises(UsageError, match="no executor called 'proceses': did you mean 'processes'"):
        run(study, tmp_path / "o", executor="proceses")
    with pytest.raises(UsageError, match="workers must be a whole number from 1"):
        run(study, tmp_path / "o", workers=0)
    with pytest.raises(UsageError, match="stack_size must be a whole number from 1"):
        run(study, tmp_path / "o", stack_size=0)
    assert not (tmp_path / "o").exists()


# Data ----------------------------------------------------------------------------------------------


def test_data_are_mapped_not_copied_and_gone_afterwards(tmp_path, source):
    one = trials_of(small_study([Arm("plain")]))[0]
    dataset = sharing.mapped(source(one), "raw")
    assert isinstance(dataset.train_x.base, np.memmap)
    assert not dataset.train_x.flags.writeable
    run(small_study([Arm("plain")], seeds=2), tmp_path / "out")
    assert not (tmp_path / "out/.data").exists()


def test_a_machine_that_does_not_see_the_folder_loads_the_same_samples_or_refuses(tmp_path, source):
    one = trials_of(small_study([Arm("plain")]))[0]
    here = source(one)
    elsewhere = dataclasses.replace(here, folder=str(tmp_path / "not here"))
    np.testing.assert_array_equal(
        sharing.mapped(elsewhere, "standardised").floats("test"),
        sharing.mapped(here, "standardised").floats("test"),
    )
    other = dataclasses.replace(elsewhere, fingerprint="0" * 20)
    with pytest.raises(RunError, match="differs from the one that the study began with"):
        sharing.mapped(other, "raw")


def test_rates_are_chosen_on_samples_that_no_final_trial_is_measured_on():
    training = Training(data="fashion-mini", lr=0.1)
    held = sharing.load(Origin.of(training, 1000))
    whole = sharing.load(Origin.of(training, TEST))
    assert (len(held.train_x), len(held.test_x)) == (5000, 1000)
    test = {row.tobytes() for row in whole.test_x}
    assert not test & {row.tobytes() for row in held.test_x}
    both = {row.tobytes() for row in held.train_x} & {row.tobytes() for row in held.test_x}
    assert len(both) < 5  # a few pictures are in the set twice
    every = sharing.load(Origin.of(training, 0))
    np.testing.assert_array_equal(every.test_x, every.train_x)


# Memory --------------------------------------------------------------------------------------------


def test_the_estimate_of_memory_holds(source):
    """Peak memory of 24 networks over that of 8, against the formula's."""
    study = small_study([Arm("adam", {"optimizer": "adam"})], seeds=24)
    study = dataclasses.replace(
        study,
        train={"data": "parity:bits=20,n_train=2048,n_test=2048", "hidden": [64], "epochs": 1},
    )
    trials = trials_of(study)
    at = source(trials[0])
    peaks = []
    for many in (8, 24):
        task = running.Task(Stack(tuple(trials[:many])), at)
        running.carry_out(task)
        tracemalloc.start()
        running.carry_out(task)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    each = (peaks[1] - peaks[0]) / 16
    estimate = network_bytes(trials[0].training, 20, 2)
    assert 0.7 < estimate / each < 2.0, (estimate, each)


def test_a_gpu_gets_as_many_networks_as_its_memory_holds():
    one = Training(lr=0.1, optimizer="adam"), 784, 10
    each = network_bytes(*one)
    assert gpu_size(*one, 100 * each) == 80
    assert gpu_size(*one, each) == 1
    assert gpu_size(*one, 10**9 * each) == stacks.GPU_MOST
    assert stacks.free_gpu_bytes() is None  # no GPU here


@pytest.mark.parametrize("batch_size", [4, 4096])
def test_a_batch_larger_than_the_set_makes_no_smaller_stacks(tmp_path, batch_size):
    """The four samples of XOR are the whole batch in both cases, so all 80 networks fit the cache."""
    arms = [Arm("plain"), Arm("other start", {"init": "orthogonal"})]
    settings = {**SMALL, "data": "xor", "batch_size": batch_size, "epochs": 1}
    study = small_study(
        arms, 40, Measure(metrics=("correlation",)), train=settings, controls=NO_CONTROLS
    )
    run(study, tmp_path / "out")
    assert len(list((tmp_path / "out/blocks").iterdir())) == stacks.STACKS_PER_WORKER


def test_a_stack_that_does_not_fit_is_halved_until_it_does(tmp_path, monkeypatch):
    study = small_study(seeds=5)
    run(study, tmp_path / "whole")

    def carry_out(task):
        if len(task.stack.trials) > 3:
            raise MemoryError
        return running.carry_out(task)

    monkeypatch.setattr(executors, "carry_out", carry_out)
    run(study, tmp_path / "halved")
    assert_same_tables(tmp_path / "whole", tmp_path / "halved")


def test_one_network_that_does_not_fit_ends_the_study(tmp_path, monkeypatch):
    def carry_out(task):
        raise MemoryError

    monkeypatch.setattr(executors, "carry_out", carry_out)
    with pytest.raises(MemoryError):
        run(small_study(seeds=2), tmp_path / "out")


# Energy --------------------------------------------------------------------------------------------


def test_energy_comes_from_counters_or_not_at_all(tmp_path, monkeypatch):
    from tinydiv.study import energy

    zone = tmp_path / "intel-rapl:0"
    zone.mkdir()
    (zone / "name").write_text("package-0\n")
    (zone / "max_energy_range_uj").write_text("10000000\n")
    (zone / "energy_uj").write_text("9000000\n")
    sub = tmp_path / "intel-rapl:0:1"  # a part of the package: counted in it already
    sub.mkdir()
    (sub / "name").write_text("core\n")
    (sub / "energy_uj").write_text("5\n")
    counters = energy.rapl(tmp_path)
    assert len(counters) == 1
    meter = energy.Meter(counters)
    (zone / "energy_uj").write_text("9500000\n")
    assert meter.joules() == pytest.approx(0.5)
    (zone / "energy_uj").write_text("1500000\n")  # it has overflowed
    assert meter.joules() == pytest.approx(2.5)
    (zone / "energy_uj").unlink()
    assert meter.joules() is None
    assert energy.Meter([]).joules() is None

    joules = iter([3.0] * 1000)
    monkeypatch.setattr(running, "Meter", lambda: energy.Meter([(lambda: 0.0, 1.0)]))
    monkeypatch.setattr(energy.Meter, "joules", lambda self: next(joules))
    study = small_study([Arm("plain")], seeds=2, controls=NO_CONTROLS)
    report = run(study, tmp_path / "counted")
    cell = report.results.cells[0]
    assert report.results.joules_per_step(cell) == pytest.approx(3.0 / (2 * 24))
    report = run(study, tmp_path / "shared", executor="processes", workers=1)
    assert np.isnan(report.results.joules_per_step(cell))  # others may have been at work


def test_tables_need_nothing_but_the_folder(tmp_path):
    study = tuned_study(seeds=4)
    report = run(study, tmp_path / "out")
    again = read_study(tmp_path / "out")
    assert again.markdown() == report.markdown()
    assert again.results.study.fingerprint == study.fingerprint
    for name in TABLES:
        assert (tmp_path / "out" / name).is_file()
    with pytest.raises(UsageError, match="holds no study"):
        read_study(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"label_smoothing": 0.2},
        {"class_weights": (1.0, 3.0)},
        {"class_weights": "balanced", "label_smoothing": 0.1},
        {"clip": 0.05},
    ],
)
def test_a_network_of_a_study_learns_as_that_of_train_does(changes, source):
    same = {"data": "moons:n_train=40,n_test=20,noise=0.4", "hidden": (3,), "epochs": 3}
    same |= {"dtype": "float64", "batch_size": 40}
    trial = Trial(Training(**same, **changes, lr=0.05), 0, Measure(steps=(), metrics=()))
    found = carry_out(Task(Stack((trial,)), source(trial)))
    clip = {"clip": (changes["clip"],)} if "clip" in changes else {}
    run = build(TrainConfig(**same, **(changes | clip), lr=(0.05,), metrics=()))
    records = run.train()
    for name in ("train_loss", "test_loss"):
        wanted = [getattr(record, name)[0] for record in records]
        np.testing.assert_allclose(found.values[name][:, 0], wanted, rtol=1e-9)
    plain = build(TrainConfig(**same, lr=(0.05,), metrics=())).train()
    assert (records[-1].test_loss == plain[-1].test_loss) is (not changes)
