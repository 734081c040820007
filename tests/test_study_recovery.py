"""Nothing lost: Ctrl-C, SIGKILL, dead workers, full disks, damaged files, changed studies, two at once."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest
from helpers import python
from studies import TOML, assert_same_tables, command, environment, run, small_study, tuned_study

from tinydiv.errors import RunError, UsageError
from tinydiv.runs.processes import Interrupt
from tinydiv.study import Arm, executors, read_study, running
from tinydiv.study.store import Store

on_linux = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="reads /proc")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The study file, and the folder of a run that was not interrupted."""
    base = tmp_path_factory.mktemp("whole")
    (base / "mine.toml").write_text(TOML)
    began = time.monotonic()
    done = command("mine.toml", "--out", "out", "--no-figures", "--workers", "2", cwd=base)
    assert done.returncode == 0, done.stderr
    return base, time.monotonic() - began


def begin(base, out, *more):
    """Start the same study in another folder, with --resume."""
    words = ["mine.toml", "--out", str(out), "--resume", "--no-figures", "--workers", "2", *more]
    return subprocess.Popen(
        [sys.executable, "-m", "tinydiv.study", *words],
        cwd=base,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def children(pid):
    """Processes that a process has started."""
    found = []
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(word) for word in thread.read_text().split()]
        except OSError:
            continue
    return found


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] != "Z"
    except OSError:
        return False


def killed_again_and_again(base, longest, out, kills, seed):
    """Kill the study at random moments; begin again from nothing if it ends before that."""
    moments = random.Random(seed)
    orphans = []
    while kills:
        process = begin(base, out)
        try:
            _, message = process.communicate(timeout=moments.uniform(0.05, 1.1 * longest))
        except subprocess.TimeoutExpired:
            orphans += children(process.pid)
            process.kill()
            process.wait()
            process.stdout.close()  # not read to its end: a worker that lives on holds it open
            process.stderr.close()
            kills -= 1
            continue
        assert process.returncode == 0, message
        assert_same_tables(base / "out", out)
        for path in sorted(out.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
    last = begin(base, out)
    _, message = last.communicate(timeout=300)
    assert last.returncode == 0, message
    assert_same_tables(base / "out", out)
    assert not list(out.rglob("*.part.*"))
    patience = time.monotonic() + 20
    while any(map(alive, orphans)) and time.monotonic() < patience:
        time.sleep(0.1)
    left = [pid for pid in orphans if alive(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left, "workers outlived their parent"


@on_linux
def test_a_study_that_is_killed_at_random_moments_comes_out_the_same(whole, tmp_path):
    killed_again_and_again(*whole, tmp_path / "out", kills=4, seed=1)


@on_linux
@pytest.mark.slow
def test_a_study_that_is_killed_at_a_hundred_random_moments_comes_out_the_same(whole, tmp_path):
    killed_again_and_again(*whole, tmp_path / "out", kills=100, seed=2)


def wait_for_stacks(out, process=None):
    patience = time.monotonic() + 60
    while not list(out.glob("blocks/*.npz")):
        assert time.monotonic() < patience
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.005)


def test_a_study_that_is_killed_between_its_first_writes_can_be_resumed(tmp_path, monkeypatch):
    """Whichever of the first files exist, the next process continues with them."""
    from tinydiv.study import store

    study = small_study([Arm("plain")], seeds=2)
    run(study, tmp_path / "whole")
    for write in ("write_json", "sweep"):
        out = tmp_path / write

        def killed(*arguments, **settings):
            raise SystemExit("killed here")

        monkeypatch.setattr(store.atomic, write, killed)
        with pytest.raises(SystemExit):
            run(study, out)
        monkeypatch.undo()
        run(study, out, resume=True)
        assert_same_tables(tmp_path / "whole", out)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_leave_tables_and_print_how_to_go_on(whole, tmp_path, number):
    base, _ = whole
    out = tmp_path / "out"
    process = begin(base, out)
    wait_for_stacks(out, process)
    process.send_signal(number)
    printed, message = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "networks are kept in" in message
    assert "continue with --resume" in message
    assert "Traceback" not in message
    assert printed == ""
    assert "Not finished:" in (out / "table.md").read_text()
    last = begin(base, out)
    _, message = last.communicate(timeout=120)
    assert last.returncode == 0
    assert f"continuing in {out}" in message
    assert_same_tables(base / "out", out)


def test_a_worker_that_dies_ends_the_study_with_a_sentence_and_resume_goes_on(tmp_path):
    study = tuned_study(seeds=5)
    run(study, tmp_path / "whole")

    def kill_one():
        wait_for_stacks(tmp_path / "out")
        os.kill(children(os.getpid())[-1], signal.SIGKILL)

    killer = threading.Thread(target=kill_one)
    killer.start()
    with pytest.raises(RunError, match=r"a worker died .*are kept: go on with --res"):
        run(study, tmp_path / "out", executor="processes", workers=2, stack_size=2)
    killer.join()
    kept = len(list((tmp_path / "out/blocks").iterdir()))
    assert kept > 0
    run(study, tmp_path / "out", executor="processes", workers=2, stack_size=2, resume=True)
    assert_same_tables(tmp_path / "whole", tmp_path / "out")


@pytest.mark.parametrize("kind", ["killed", "broken"])
def test_a_lost_worker_and_a_failed_stack_give_different_errors(tmp_path, monkeypatch, kind):
    """As Dask reports it, KilledWorker, and as a pool does; stacks that were done are kept."""
    study = small_study(seeds=3)
    run(study, tmp_path / "whole")
    killed = type("KilledWorker", (Exception,), {})
    failures = iter([None, killed("lost") if kind == "killed" else BrokenExecutor("gone")])

    def carry_out(task):
        failure = next(failures, None)
        if failure is not None:
            raise failure
        return running.carry_out(task)

    monkeypatch.setattr(executors, "carry_out", carry_out)
    with pytest.raises(RunError, match="a worker died"):
        run(study, tmp_path / "out", stack_size=2)
    assert len(list((tmp_path / "out/blocks").iterdir())) == 1
    run(study, tmp_path / "out", stack_size=2, resume=True)
    assert_same_tables(tmp_path / "whole", tmp_path / "out")


@on_linux
@pytest.mark.slow
def test_a_study_of_a_thousand_stacks_whose_workers_are_killed_at_random_comes_out_the_same(
    tmp_path,
):
    study = small_study([Arm("plain"), Arm("adam", {"optimizer": "adam", "lr": 0.01})], seeds=250)
    run(study, tmp_path / "whole", stack_size=100)
    moments, over = random.Random(3), threading.Event()

    def kill():
        while not over.wait(moments.uniform(0.2, 4)):
            for pid in children(os.getpid()):
                if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)
                    break

    killer = threading.Thread(target=kill)
    killer.start()
    ends = 0
    try:
        while True:
            try:
                how = {"executor": "processes", "workers": 2, "stack_size": 1}
                run(study, tmp_path / "out", resume=True, **how)
                break
            except RunError as error:
                ends += "a worker died" in str(error)
    finally:
        over.set()
        killer.join()
    assert ends >= 3
    assert len(list((tmp_path / "out/blocks").iterdir())) == 1000
    assert_same_tables(tmp_path / "whole", tmp_path / "out")


def test_an_error_in_a_task_is_not_reported_as_a_dead_worker(tmp_path, monkeypatch):
    tries = []

    def carry_out(task):
        tries.append(task)
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr(executors, "carry_out", carry_out)
    with pytest.raises(ZeroDivisionError):
        run(small_study(seeds=2), tmp_path / "out")
    assert len(tries) == 1


FULL = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
from tinydiv.study import command as study
sys.exit(study.main(sys.argv[2:]))
"""


def test_a_full_disk_is_one_sentence_and_what_was_finished_stays(whole, tmp_path):
    """Files may not grow beyond a few kB: large stacks cannot be written, small ones were."""
    base, _ = whole
    words = [str(base / "mine.toml"), "--out", "out", "--resume", "--no-figures", "--workers", "1"]
    limited = python("-c", FULL, "8000", *words, cwd=tmp_path, env=environment())
    assert limited.returncode == 1
    assert "file too large" in limited.stderr
    assert "Traceback" not in limited.stderr
    assert not list((tmp_path / "out").rglob("*.part.*"))
    done = command(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert_same_tables(base / "out", tmp_path / "out")


def test_a_stack_that_cannot_be_written_is_not_kept(tmp_path, monkeypatch):
    from tinydiv.files import atomic

    study = small_study(seeds=4)
    run(study, tmp_path / "whole", stack_size=2)
    real, written = os.fsync, []

    def fsync(file):
        written.append(file)
        if len(written) == 17:  # five of the data that processes share, the study, then stacks
            raise OSError(28, "No space left on device")
        real(file)

    monkeypatch.setattr(atomic.os, "fsync", fsync)
    with pytest.raises(
        RunError, match=r"no space left on device; .* networks are kept: free some space"
    ):
        run(study, tmp_path / "out", stack_size=2)
    monkeypatch.undo()
    kept = len(list((tmp_path / "out/blocks").iterdir()))
    assert 0 < kept < len(list((tmp_path / "whole/blocks").iterdir()))
    run(study, tmp_path / "out", resume=True)
    assert_same_tables(tmp_path / "whole", tmp_path / "out")


def test_the_second_ctrl_c_stops_at_once(capfd):
    before = signal.getsignal(signal.SIGINT)
    with Interrupt("soon") as interrupt:
        signal.raise_signal(signal.SIGTERM)
        assert interrupt.why == "stopped by SIGTERM"
        assert "stopping soon (once more: at once)" in capfd.readouterr().err
        with pytest.raises(KeyboardInterrupt, match="at once"):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
    with ThreadPoolExecutor() as pool:  # in another thread no signal can be taken
        pool.submit(Interrupt("soon").__enter__).result()
    assert signal.getsignal(signal.SIGINT) is before


# What must not be mixed ----------------------------------------------------------------------------


def test_a_study_that_changed_is_refused_with_the_place(tmp_path):
    study = small_study(seeds=4)
    run(study, tmp_path / "out")
    before = sorted((p.name, p.read_bytes()) for p in (tmp_path / "out/blocks").iterdir())
    for other, message in (
        (small_study(seeds=5), "seeds was 4 then and is 5 now"),
        (small_study([*study.arms, Arm("x")], seeds=4), "arms had 3 entries then and has 4 now"),
        (
            small_study([Arm("plain"), Arm("adam", {"lr": 0.02}), study.arms[2]], seeds=4),
            r"arms\[adam\].changes.optimizer is gone",
        ),
        (
            small_study(seeds=4, train={**study.train, "epochs": 2}),
            "train.epochs was 3 then and is 2",
        ),
    ):
        with pytest.raises(UsageError, match=message):
            run(other, tmp_path / "out", resume=True)
    with pytest.raises(UsageError, match="holds a study already: continue it with --resume"):
        run(study, tmp_path / "out")
    after = sorted((p.name, p.read_bytes()) for p in (tmp_path / "out/blocks").iterdir())
    assert before == after


def test_other_software_and_other_data_are_refused(tmp_path, monkeypatch):
    from tinydiv.study import engine, store

    study = small_study([Arm("plain")], seeds=2)
    run(study, tmp_path / "out")
    monkeypatch.setattr(store, "__version__", "9.9")
    with pytest.raises(UsageError, match=r"another version of tinydiv, .*'9.9'"):
        run(study, tmp_path / "out", resume=True)
    monkeypatch.undo()
    monkeypatch.setattr(engine.sharing, "fingerprint", lambda dataset: "f" * 20)
    with pytest.raises(UsageError, match="begun with other data"):
        run(study, tmp_path / "out", resume=True)


OWN = """
from tinydiv.backend import xp
from tinydiv.techniques import ActivationPenalty


class Quiet(ActivationPenalty):
    "L = 1/(2N) sum A^2, dL/dA = A/N."

    def __call__(self, A, step):
        N = A.shape[-2]
        return xp.sum(A**2, axis=(-2, -1)) / (2 * N), A / N
"""


def test_a_technique_of_ones_own_can_be_an_arm_and_must_not_change_meanwhile(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(OWN)
    own = {"technique": [f"{file}:Quiet:strength={{strength}}"], "strength": 0.3}
    study = small_study([Arm("plain"), Arm("quiet", own)], seeds=3)
    run(study, tmp_path / "serial")
    report = run(study, tmp_path / "out", executor="processes", workers=1)
    assert_same_tables(tmp_path / "serial", tmp_path / "out")
    assert "quiet (sgd 0.1, 0.3)" in report.markdown()
    file.write_text(OWN.replace("A / N", "2 * A / N"))
    with pytest.raises(UsageError, match=r"mine.py was changed since the study in .* was made"):
        run(study, tmp_path / "out", resume=True)


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.tex").write_text("my only copy")
    with pytest.raises(UsageError, match="is not empty, and holds no study"):
        run(small_study(seeds=2), tmp_path / "out", resume=True)
    assert (tmp_path / "out/thesis.tex").read_text() == "my only copy"
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot write into"):
        run(small_study(seeds=2), tmp_path / "file")


def test_two_processes_do_not_work_in_one_folder(tmp_path):
    store = Store(tmp_path / "out")
    with store.locked(), pytest.raises(UsageError, match="another process is at work"):
        run(small_study(seeds=2), tmp_path / "out")
    run(small_study([Arm("plain")], seeds=2), tmp_path / "out")  # the lock went with its holder


def test_a_damaged_stack_is_trained_again(tmp_path, capsys):
    study = small_study(seeds=4)
    run(study, tmp_path / "whole", stack_size=2)
    run(study, tmp_path / "out", stack_size=2)
    first, second, *_ = sorted((tmp_path / "out/blocks").iterdir())
    first.write_bytes(first.read_bytes()[:1000])
    middle = bytearray(second.read_bytes())
    middle[len(middle) // 2] ^= 255
    second.write_bytes(bytes(middle))
    partial = read_study(tmp_path / "out")
    assert "Not finished" in partial.markdown()
    run(study, tmp_path / "out", resume=True, show=True)
    message = capsys.readouterr().err
    assert message.count("was damaged: its networks are trained again") == 2
    assert_same_tables(tmp_path / "whole", tmp_path / "out")
    (tmp_path / "out/study.json").write_text("{")
    with pytest.raises(RunError, match=r"is damaged: .*the study cannot be resumed"):
        run(study, tmp_path / "out", resume=True)


def test_resuming_a_finished_study_trains_nothing(tmp_path, monkeypatch):
    study = tuned_study(seeds=3)
    run(study, tmp_path / "out")

    def carry_out(task):
        raise AssertionError("there was nothing to do")

    monkeypatch.setattr(executors, "carry_out", carry_out)
    done, planned = run(study, tmp_path / "out", resume=True).results.done()
    assert done == planned > 0


def test_resuming_in_an_empty_folder_begins_with_a_note(tmp_path, capsys):
    run(small_study([Arm("plain")], seeds=2), tmp_path / "out", resume=True, show=True)
    assert "nothing to resume" in capsys.readouterr().err


def test_tables_can_be_read_while_a_study_runs(whole, tmp_path):
    base, _ = whole
    process = begin(base, tmp_path / "out")
    wait_for_stacks(tmp_path / "out", process)
    report = read_study(tmp_path / "out")
    done, planned = report.results.done()
    assert done < planned
    assert f"**Not finished:** {done} of {planned} networks so far" in report.markdown()
    process.communicate(timeout=60)


def test_a_flipped_bit_anywhere_in_a_study_is_a_sentence_or_a_stack_that_is_trained_again(tmp_path):
    study = small_study([Arm("plain"), Arm("adam", {"optimizer": "adam"})], seeds=3)
    run(study, tmp_path / "whole", stack_size=3)
    whole, readable, sentences = tmp_path / "whole", 0, []
    places = random.Random(5)
    files = [whole / "study.json", whole / "costs.json", *sorted((whole / "blocks").iterdir())]
    for path in files:
        content = path.read_bytes()
        for _ in range(25):
            place = places.randrange(len(content))
            bad = bytearray(content)
            bad[place] ^= 1 << places.randrange(8)
            path.write_bytes(bytes(bad))
            try:
                read_study(whole).markdown()
                readable += 1
            except (RunError, UsageError) as error:
                sentences.append(str(error))
        path.write_bytes(content)
    assert readable > 10
    assert len(sentences) > 10
    assert not [sentence for sentence in sentences if "\n" in sentence]
    for path in files[2:]:  # the directory at the end of a zip file, then its beginning
        for place in (-30, -20, 10, 200):
            bad = bytearray(path.read_bytes())
            bad[place] ^= 4
            path.write_bytes(bytes(bad))
    run(study, whole, resume=True)
    run(study, tmp_path / "again", stack_size=3)
    assert_same_tables(tmp_path / "again", whole)
