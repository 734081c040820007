"""The data scripts: what a bad mirror may do, what a reader may type, and the same bytes each time."""

import gzip
import hashlib
import importlib.util
import os
import sys
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from helpers import python, refused
from hypothesis import given
from hypothesis import strategies as st
from made_sets import an_image_set, put

from tinydiv import data
from tinydiv.data import catalogue, files
from tinydiv.data.idx import parse_idx
from tinydiv.errors import RunError

SCRIPTS = Path(__file__).resolve().parent.parent / "data_scripts"


def script(name):
    """A script of data_scripts/ as a module."""
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    path = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = path  # the scripts put the source folder first
    return module


download = script("download")
build_fashion_mini = script("build_fashion_mini")


# ---------------------------------------------------------------- mirrors, good and bad

TINY, PAYLOADS = an_image_set("tiny", 5)
BODIES = {f"{f.name}.gz": gzip.compress(p) for f, p in zip(TINY.files, PAYLOADS, strict=True)}
IMAGES = TINY.files[0]  # the file that is requested first


class Mirror(BaseHTTPRequestHandler):
    """One server with a mirror for each fault: the first part of the path names the fault."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        _, fault, name = self.path.split("/", 2)
        self.server.requested.append(self.path)
        getattr(self, fault)(BODIES[name], name)

    def send(self, body, promised=None, sent=None):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body) if promised is None else promised))
        self.end_headers()
        self.wfile.write(body[:sent])
        self.close_connection = True

    def redirect(self, target, code=302):
        self.send_response(code)
        self.send_header("Location", target)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def good(self, body, name):
        self.send(body)

    def plain(self, body, name):
        self.send(gzip.decompress(body))

    def refuse(self, body, name):
        self.send_error(404)

    def truncate(self, body, name):
        self.send(body, sent=len(body) // 2)

    def truncate_unannounced(self, body, name):
        self.send(body[: len(body) // 2])

    def corrupt(self, body, name):
        payload = bytearray(gzip.decompress(body))
        payload[-1] ^= 1
        self.send(gzip.compress(bytes(payload)))

    def login_page(self, body, name):
        self.send(b"<html>log in to this network first</html>")

    def send_much(self, body, name):
        self.send_response(200)
        self.end_headers()  # no length: the body ends when the connection does, and it does not
        for _ in range(500):  # 32 MB: enough to differ from a server that stops by itself
            self.wfile.write(b"\0" * 65536)
        self.close_connection = True

    def bomb(self, body, name):
        self.send(gzip.compress(b"\0" * 10_000_000))

    def stall(self, body, name):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:10])
        self.wfile.flush()
        self.server.over.wait(30)
        self.close_connection = True

    def hang_up(self, body, name):
        self.close_connection = True

    def gibberish(self, body, name):
        self.wfile.write(b"\x1b[31mNO HTTP\r\n\r\n")
        self.close_connection = True

    def moved(self, body, name):
        self.redirect(f"/moved_again/{name}", code=301)

    def moved_again(self, body, name):
        self.redirect(f"http://{self.headers['Host']}/good/{name}", code=307)

    def loop(self, body, name):
        self.redirect(f"/loop/{name}")

    def to_file(self, body, name):
        self.redirect("file:///etc/hostname")

    def log_message(self, *arguments):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # a client that gives a bad mirror up breaks the connection: that is the point


@pytest.fixture(scope="module")
def server():
    with Server(("127.0.0.1", 0), Mirror) as running:
        running.over, running.requested = threading.Event(), []
        running.address = f"http://127.0.0.1:{running.server_port}"
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield running
        running.over.set()
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def tiny_set(monkeypatch):
    """The made set is one that can be downloaded, and no proxy stands in between."""
    monkeypatch.setitem(catalogue.FULL_SETS, "tiny", TINY)
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def fetch(server, monkeypatch):
    """Run `download.py tiny` with one mirror per fault; returns its exit code."""

    def run(folder, *faults):
        mirrors = tuple(f"{server.address}/{fault}/" for fault in faults)
        monkeypatch.setitem(catalogue.FULL_SETS, "tiny", replace(TINY, mirrors=mirrors))
        return download.main(["tiny", *(["--to", str(folder)] if folder else [])])

    return run


def names(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("mirror", ["good", "moved"])
def test_a_good_mirror_gives_files_that_the_package_reads(fetch, tmp_path, capsys, mirror):
    assert fetch(tmp_path, mirror) == 0
    assert names(tmp_path) == sorted(BODIES)
    parts = files.read_image_set(TINY, files.find(TINY, [tmp_path]))
    assert np.array_equal(parts.train_x, parse_idx(PAYLOADS[0]).reshape(20, 784))
    output = capsys.readouterr()
    assert f"tiny: complete in {tmp_path / 'tiny'} (4 new files)" in output.out
    assert f"TINYDIV_DATA_DIR={tmp_path}" in output.out
    assert output.err.count("checked and taken") == 4


def test_a_mirror_may_send_files_that_are_not_compressed(fetch, tmp_path):
    assert fetch(tmp_path, "plain") == 0
    assert names(tmp_path) == sorted(file.name for file in TINY.files)
    assert files.read_image_set(TINY, tmp_path / "tiny").train_x.shape == (20, 784)


BAD = {
    "refuse": "cannot be read: HTTP Error 404",
    "truncate": "is damaged: it is no whole gzip file",
    "truncate_unannounced": "is damaged: it is no whole gzip file",
    "corrupt": "its SHA-256 should begin with",
    "login_page": "and has only 41",
    "send_much": "has more than",
    "bomb": "and has more",
    "stall": "cannot be read: timed out",
    "hang_up": "cannot be read: Remote end closed",
    "gibberish": "cannot be read",
    "loop": "redirect",
    "to_file": "not allowed",
}


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_mirror_is_one_sentence_and_leaves_nothing_behind(
    server, fetch, tmp_path, capsys, fault, monkeypatch
):
    monkeypatch.setattr(download, "SILENCE", 0.4)
    start = time.monotonic()
    assert fetch(tmp_path / "new", fault) == 1
    assert time.monotonic() - start < 5
    assert list(tmp_path.rglob("*")) == []
    printed = capsys.readouterr()
    assert printed.out == ""
    (given_up, ending) = printed.err.splitlines()
    assert f"{server.address}/{fault}/{IMAGES.name}.gz " in given_up
    assert BAD[fault] in given_up
    assert "\x1b" not in printed.err
    assert "tiny: no mirror could give train-images-idx3-ubyte" in ending


@pytest.mark.parametrize("fault", ["refuse", "corrupt", "truncate", "loop", "hang_up"])
def test_after_a_bad_mirror_the_next_one_is_tried(fetch, tmp_path, capsys, fault):
    assert fetch(tmp_path, fault, "good") == 0
    assert names(tmp_path) == sorted(BODIES)
    assert capsys.readouterr().err.count("given up") == 4


def test_what_is_there_and_right_is_not_fetched_again(server, fetch, tmp_path, capsys):
    put(tmp_path / "tiny", TINY, PAYLOADS, compressed=False)
    server.requested.clear()
    assert fetch(tmp_path, "good") == 0
    assert server.requested == []
    assert "(0 new files)" in capsys.readouterr().out


def test_what_is_there_and_damaged_is_replaced(fetch, tmp_path, capsys):
    put(tmp_path / "tiny", TINY, PAYLOADS, compressed=False)
    damaged = tmp_path / "tiny" / IMAGES.name
    damaged.write_bytes(b"half")
    assert fetch(tmp_path, "corrupt") == 1
    assert damaged.read_bytes() == b"half"  # no other copy was available
    assert fetch(tmp_path, "good") == 0
    assert not damaged.exists()
    assert files.read_image_set(TINY, tmp_path / "tiny").train_x.shape == (20, 784)
    assert "(1 new files)" in capsys.readouterr().out


def test_the_default_is_the_users_cache_folder(fetch, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert fetch(None, "good") == 0
    assert names(tmp_path / "tinydiv" / "tiny") == sorted(BODIES)
    assert "TINYDIV_DATA_DIR" not in capsys.readouterr().out  # it is found there anyway


@pytest.mark.parametrize(
    "place", ["file", "new/" + "x" * 300, "x" * 5000, "file/below", "/proc/no"]
)
def test_a_folder_that_cannot_be_made_is_a_sentence_before_the_network_is_tried(
    server, fetch, tmp_path, capsys, place
):
    (tmp_path / "file").write_text("in the way")
    server.requested.clear()
    assert fetch(tmp_path / place, "good") == 1
    assert server.requested == []
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert "download.py: cannot write into /" in printed
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_without_a_home_folder_the_sentence_names_what_to_set(fetch, monkeypatch, capsys):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(catalogue.os.path, "expanduser", lambda path: path)
    assert fetch(None, "good") == 1
    assert "no home folder: set XDG_CACHE_HOME" in capsys.readouterr().err
    assert data.search_folders()[-1] == Path("/usr/share/datasets")


# ---------------------------------------------------------------- the command lines


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (["mnits"], "no set to download called 'mnits': did you mean 'mnist'"),
        (["fashion-mini"], "fashion-mini comes with tinydiv: there is nothing to download"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_code_2(command, sentence, capsys):
    refused(capsys, download.main, command, sentence)


@pytest.mark.parametrize("name", ["download", "build_fashion_mini"])
def test_help_shows_examples_from_an_empty_folder(name, tmp_path):
    done = python(SCRIPTS / f"{name}.py", "--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"python data_scripts/{name}.py" in done.stdout
    assert "exit codes" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_ends_with_130_and_leaves_nothing_half_written(fetch, tmp_path, monkeypatch, capsys):
    def stopped(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr(download, "decompressed", stopped)
    assert fetch(tmp_path, "good") == 130
    assert "stopped" in capsys.readouterr().err
    assert names(tmp_path) == []


# ---------------------------------------------------------------- building the embedded set


@given(st.permutations([0] * 4 + [1] * 7 + [2] * 5))
def test_the_rule_takes_the_first_of_each_class_in_order(labels):
    labels = np.array(labels)
    chosen = build_fashion_mini.first_of_each_class(labels, 4)
    expected = []
    counts = [0, 0, 0]
    for i, k in enumerate(labels):
        if counts[k] < 4:
            counts[k] += 1
            expected.append(i)
    assert chosen.tolist() == expected
    with pytest.raises(RunError, match="class 0 has 4 samples, 5 are needed"):
        build_fashion_mini.first_of_each_class(labels, 5)


def a_full_set_and_its_smaller_one():
    """A made set with every class often enough, and the set that takes 1 of each from it."""
    rng = np.random.default_rng(0)
    payloads, chosen, all_files, small_files = [], [], [], []
    for part, n in (("train", 30), ("t10k", 20)):
        images = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        labels = rng.permutation(np.arange(n, dtype=np.uint8) % 10)
        first = sorted(int(np.flatnonzero(labels == k)[0]) for k in range(10))
        for kind, array in (("images-idx3-ubyte", images), ("labels-idx1-ubyte", labels)):
            whole = build_fashion_mini.idx_bytes(array)
            small = build_fashion_mini.idx_bytes(array[first])
            payloads.append(whole)
            chosen.append(small)
            for target, payload, shape in (
                (all_files, whole, array.shape),
                (small_files, small, array[first].shape),
            ):
                checksum = hashlib.sha256(payload).hexdigest()
                target.append(catalogue.IdxFile(f"{part}-{kind}", shape, checksum))
    tens = tuple("0123456789")
    full = catalogue.ImageSet("fashion-mnist", "made", "none", "none", tens, tuple(all_files))
    small = catalogue.ImageSet("fashion-mini", "made", "none", "none", tens, tuple(small_files))
    return full, payloads, small, chosen


@pytest.fixture
def made_full(tmp_path, monkeypatch):
    full, payloads, small, chosen = a_full_set_and_its_smaller_one()
    put(tmp_path / "full", full, payloads)
    monkeypatch.setattr(build_fashion_mini, "FASHION_MNIST", full)
    monkeypatch.setattr(build_fashion_mini, "FASHION_MINI", small)
    return small, chosen


def test_building_writes_the_chosen_bytes_and_the_same_ones_again(made_full, tmp_path, capsys):
    small, chosen = made_full
    command = ["--from", str(tmp_path / "full"), "--to", str(tmp_path / "mini")]
    for _ in range(2):
        assert build_fashion_mini.main(command) == 0
        for file, payload in zip(small.files, chosen, strict=True):
            assert (tmp_path / "mini" / file.name).read_bytes() == payload
        assert len(names(tmp_path / "mini")) == 4
    assert build_fashion_mini.main([*command, "--check"]) == 0
    (tmp_path / "mini" / small.files[0].name).write_bytes(b"other")
    assert build_fashion_mini.main([*command, "--check"]) == 1
    assert "is damaged" in capsys.readouterr().err


def test_a_rule_that_gives_other_bytes_writes_nothing(made_full, tmp_path, monkeypatch, capsys):
    last = build_fashion_mini.first_of_each_class
    monkeypatch.setattr(build_fashion_mini, "first_of_each_class", lambda y, n: last(y[::-1], n))
    command = ["--from", str(tmp_path / "full"), "--to", str(tmp_path / "mini")]
    assert build_fashion_mini.main(command) == 1
    assert "nothing was written" in capsys.readouterr().err
    assert not (tmp_path / "mini").exists()


def test_building_without_the_full_set_is_refused_with_how_to_get_it(tmp_path, capsys):
    assert build_fashion_mini.main(["--from", str(tmp_path)]) == 1
    assert "download.py fashion-mnist" in capsys.readouterr().err
    assert build_fashion_mini.main(["--from", str(tmp_path / "none")]) == 2
    assert "--from takes a folder" in capsys.readouterr().err


def test_the_embedded_files_are_what_the_rule_builds_from_the_full_set(capsys):
    folder = os.environ.get("TINYDIV_DATA_DIR", "")
    if not folder or not (Path(folder) / "fashion-mnist").is_dir():
        pytest.skip("the full set fashion-mnist is not in TINYDIV_DATA_DIR")
    assert build_fashion_mini.main(["--check"]) == 0
    assert "are what the rule builds" in capsys.readouterr().out
