"""A study on a Dask cluster of two workers, one of which is killed while it runs."""

import os
import signal
import threading
import time

import pytest
from studies import TOML, assert_same_tables, command, run, small_study

from tinydiv.errors import RunError
from tinydiv.study import executors

distributed = pytest.importorskip("distributed", reason="Dask is not installed: extra [dask]")

pytestmark = pytest.mark.filterwarnings("ignore")  # Dask's own, of sockets and event loops


@pytest.fixture
def cluster():
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50
    ) as made:
        yield made


def test_a_cluster_gives_the_same_and_survives_the_death_of_a_worker(cluster, tmp_path):
    study = small_study(seeds=12)
    run(study, tmp_path / "whole")
    victim = next(iter(cluster.workers.values())).pid

    def kill():
        while len(list((tmp_path / "out").glob("blocks/*.npz"))) < 2:
            time.sleep(0.005)
        os.kill(victim, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    address = f"dask:{cluster.scheduler_address}"
    report = run(study, tmp_path / "out", executor=address, stack_size=2)
    killer.join()
    done, planned = report.results.done()
    assert done == planned
    facts = next(iter(report.results.curves.values())).facts
    assert facts["machine"]["blas_threads"]["OPENBLAS_NUM_THREADS"] == "1"
    assert facts["joules"] is None  # not alone on the machine
    assert_same_tables(tmp_path / "whole", tmp_path / "out")


def test_a_scheduler_that_cannot_be_reached_is_one_sentence(tmp_path, monkeypatch):
    client = distributed.Client
    monkeypatch.setattr(distributed, "Client", lambda *a, **k: client(*a, **{**k, "timeout": 0.3}))
    with pytest.raises(RunError, match=r"there is no Dask scheduler at 'tcp://127\.0\.0\.1:9'"):
        run(small_study(seeds=2), tmp_path / "out", executor="dask:tcp://127.0.0.1:9")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("address", "code", "sentence"),
    [
        ("foo", 2, "a Dask scheduler's address is written tcp://HOST:PORT, got 'foo'"),
        ("", 2, "a Dask scheduler's address is written tcp://HOST:PORT, got ''"),
        ("tcp://127.0.0.1:xx", 2, "a Dask scheduler's address is written tcp://HOST:PORT"),
        ("tcp://127.0.0.1:9", 1, "there is no Dask scheduler at 'tcp://127.0.0.1:9'"),
        ("tls://127.0.0.1:9", 1, "there is no Dask scheduler at 'tls://127.0.0.1:9'"),
    ],
)
def test_a_wrong_address_is_one_sentence_and_leaves_nothing_running(
    tmp_path, address, code, sentence
):
    (tmp_path / "mine.toml").write_text(TOML)
    finished = command("mine.toml", "--quick", "--executor", f"dask:{address}", cwd=tmp_path)
    assert finished.returncode == code
    assert sentence in finished.stderr
    assert "Traceback" not in finished.stderr
    assert "Exception ignored" not in finished.stderr


def test_without_dask_the_extra_is_named(tmp_path, monkeypatch):
    def lacking(name):
        raise ImportError(name)

    monkeypatch.setattr(executors.importlib, "import_module", lacking)
    with pytest.raises(RunError, match=r"needs Dask: python -m pip install .tinydiv\[dask\]"):
        run(small_study(seeds=2), tmp_path / "out", executor="dask:tcp://127.0.0.1:9")
