"""python -m tests.fuzz: whatever lies in a file or is typed, the answer is a value or one sentence.

Files: every kind that tinydiv reads is written once as it should be, then spoiled at random: bits, bytes
and numbers in the file, values in its JSON, members of its archive (with checksums that are right). Each
must be read, or refused by a UsageError or RunError of one line, in a few seconds and with 3 GiB.
Command lines: flags and values at random, for every command; each must end with an exit code from 0 to 2
and, unless that is 0, one sentence on stderr. Requests to play's server: the address, the headers, the
set-up that a page's query string holds, and all other requests of a page; each must get a reply, and
none may be an error in tinydiv. It prints how many inputs there were, and fails if one ended otherwise.
"""

import argparse
import io
import json
import os
import random
import re
import sys
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from contextlib import chdir, redirect_stderr, redirect_stdout, suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from made_sets import an_image_set
from studies import TOML, run, small_study

import tinydiv
from tinydiv.command import cli
from tinydiv.data import files
from tinydiv.data.idx import idx_bytes, parse_idx
from tinydiv.errors import RunError, UsageError
from tinydiv.files import read
from tinydiv.play.server import Handler, Server
from tinydiv.predictions.command import networks_that_learned
from tinydiv.runs import folder as run_folder
from tinydiv.runs.build import build
from tinydiv.runs.checkpoint import load_checkpoint
from tinydiv.runs.config import TrainConfig
from tinydiv.settings import from_toml
from tinydiv.study import read_study
from tinydiv.study.reading import load_study
from tinydiv.train import command as train
from tinydiv.train.animation import Frames
from tinydiv.train.snapshots import Snapshots

SECONDS = 5
"""The most time of a processor that one input may take."""
MEMORY = 3 * 2**30
CHUNK = 800
"""Inputs per piece of work."""
STRANGE = [
    *(None, True, -1, 0, 1.5, 10**30, -(10**400), 1e308, "", "x", "é\x1b[31m", "NaN"),
    *([], {}, [[]], ["x"] * 5, {"x": None}, [1e999]),
]
WORDS = [
    *(
        "",
        "-1",
        "0",
        "1",
        "2",
        "1e-3",
        "1e400",
        "-inf",
        "nan",
        "1_0",
        "9" * 30,
        "1/2",
        "none",
        "all",
    ),
    *(
        "/",
        ",",
        ":",
        "=",
        "--",
        "-",
        "16,0",
        "true",
        "٣",
        "-h",
        "...",
        "\x1b[2J",
        "x" * 5000,
        "é",
        "\ud800",
    ),
    *(
        "decov",
        "he-normal",
        "xor",
        "no.toml",
        "./",
        "mine.py:Mine",
        "a.npz",
        "t.csv:target=x",
        "\n",
    ),
]
TABLE = "p,q,kind\n" + "".join(f"{i},{i * i / 7:.3f},{'ab'[i % 2]}\n" for i in range(20))
COMMANDS = {  # gallery and starts get a value that they refuse after reading the flags: nothing is trained
    "train": ["--data", "xor", "--hidden", "3", "--epochs", "1", "--no-plot"],
    "check": ["--only", "softmax"],
    "trace": ["--data", "xor", "--hidden", "3"],
    "study": ["mine.toml", "--dry-run"],
    "gallery": [
        "--technique",
        "decov",
        "--epochs",
        "1",
        "--data",
        "xor",
        "--hidden",
        "3",
        "--out",
        "x.exe",
    ],
    "starts": ["--data", "xor", "--hidden", "3", "--init", "zeros"],
    "predictions": ["run", "--no-plot"],
    "grow": ["condense", "no-such-run"],
}


# Files as they should be ---------------------------------------------------------------------------


def good_files(folder):
    """Write one of each; returns {name: (path, how it is read)}."""
    out = folder / "run"
    flags = ["--data", "xor", "--hidden", "4,3", "--epochs", "2", "--replicas", "2"]
    flags += [
        "--technique",
        "batch-norm",
        "--technique",
        "decov:strength=0.1",
        "--quiet",
        "--no-plot",
    ]
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        assert train.main([*flags, "--out", str(out)]) == 0
    config = run_folder.settings_of(out)[0]
    built = build(config)
    kept = {}
    for name, seen in (
        ("frames", Frames(built.net, built.data, 2)),
        ("snapshots", Snapshots(built.net, built.data, [0, 1])),
    ):
        kept[name] = seen
    kept["frames"].look(0)
    kept["snapshots"](built_record(built))
    for seen in kept.values():
        seen.save(out)
    run(small_study(seeds=2), folder / "study")
    (block,) = sorted((folder / "study" / "blocks").iterdir())[:1]
    rng = np.random.default_rng(0)
    np.savez(folder / "own.npz", X=rng.normal(size=(20, 3)), y=np.arange(20) % 2)
    np.savez_compressed(folder / "packed.npz", X=np.zeros((20, 300)), y=np.array(["a", "b"] * 10))
    (folder / "table.csv").write_text(TABLE)
    (folder / "images.idx").write_bytes(idx_bytes(rng.integers(0, 9, (5, 3, 4), dtype=np.uint8)))
    made, payloads = an_image_set("tiny", 1)
    (folder / "known.idx").write_bytes(payloads[1])
    (folder / "train.toml").write_text(
        'data = "xor"\nhidden = [4, 3]\nlr = 0.1\ntechnique = ["decov"]\n'
    )
    (folder / "study.toml").write_text(TOML)

    def checkpoint(path):
        load_checkpoint(path, built.standing, run_folder.asdict(built.config))

    def study(path):
        read_study(folder / "study").markdown()

    return {
        "model.npz": (out / "model.npz", tinydiv.load),
        "checkpoint.npz": (out / "checkpoint.npz", checkpoint),
        "frames.npz": (out / "frames.npz", lambda path: kept["frames"].load(out, 2)),
        "snapshots.npz": (out / "snapshots.npz", lambda path: reloaded(kept["snapshots"], out)),
        "config.json": (out / "config.json", lambda path: run_folder.settings_of(out)),
        "metrics.csv": (out / "metrics.csv", lambda path: networks_that_learned(path, 2)),
        "study.json": (folder / "study" / "study.json", study),
        "block.npz": (block, study),
        "costs.json": (folder / "study" / "costs.json", study),
        "own.npz": (folder / "own.npz", lambda path: tinydiv.load_data(str(path))),
        "packed.npz": (folder / "packed.npz", lambda path: tinydiv.load_data(str(path))),
        "table.csv": (folder / "table.csv", lambda path: tinydiv.load_data(f"{path}:target=kind")),
        "images.idx": (folder / "images.idx", lambda path: in_words(parse_idx, path.read_bytes())),
        "known.idx": (folder / "known.idx", lambda path: files.read_payload(path, made.files[1])),
        "train.toml": (folder / "train.toml", lambda path: from_toml(TrainConfig, str(path))),
        "study.toml": (folder / "study.toml", lambda path: load_study(str(path))),
    }


def built_record(built):
    """A record of epoch 0, which is all that snapshots look at."""
    return type("Record", (), {"epoch": 0})()


def reloaded(seen, folder):
    seen.correlations.clear()
    seen.weights.clear()
    seen.load(folder, 1)


def in_words(parse, payload):
    """A parser whose callers turn its ValueError into their own sentence."""
    try:
        parse(payload)
    except ValueError as error:
        raise UsageError(str(error)) from None


# Spoiling ------------------------------------------------------------------------------------------


def spoiled(content, name, dice):
    """The bytes of a file, changed in one to three ways."""
    if name.endswith(".npz") and dice.random() < 0.6:
        content = spoiled_archive(content, dice)
    elif name.endswith(".json") and dice.random() < 0.6:
        content = json.dumps(spoiled_value(json.loads(content), dice)).encode()
    else:
        for _ in range(dice.randint(1, 3)):
            content = spoiled_bytes(content, dice)
    return content


def spoiled_bytes(content, dice):
    """One change of bytes, wherever it falls."""
    content, n = bytearray(content), len(content)
    at, length = dice.randrange(n + 1), dice.choice([1, 2, 8, 100, n])
    kind = dice.randrange(9)
    if kind == 0 and n:
        content[at % n] ^= 1 << dice.randrange(8)
    elif kind == 1 and n:
        content[at % n] = dice.randrange(256)
    elif kind == 2:
        del content[at:]
    elif kind == 3:
        del content[at : at + length]
    elif kind == 4:
        content[at:at] = content[at : at + length]
    elif kind == 5:
        content[at:at] = dice.randbytes(min(length, 100))
    elif kind == 6:
        content[at : at + length] = bytes(min(length, n - at))
    elif kind == 7:
        content[at:at] = dice.choice(
            [b"[" * 5000, b"{" * 9, b"NaN", b"\xff\xfe", b'"', b"-" * 3000]
        )
    else:
        numbers = list(re.finditer(rb"-?\d+\.?\d*", content[:20_000]))
        if numbers:
            found = dice.choice(numbers)
            new = dice.choice([b"NaN", b"1e999", b"-1", b"9" * 30, b"0.5", b"", b"99999999999"])
            content[slice(*found.span())] = new
    return bytes(content)


def spoiled_value(value, dice):
    """One value within JSON data, replaced or left out."""
    if isinstance(value, dict) and value and dice.random() < 0.9:
        key = dice.choice(list(value))
        if dice.random() < 0.1:
            return {k: v for k, v in value.items() if k != key}
        return {**value, key: spoiled_value(value[key], dice)}
    if isinstance(value, list) and value and dice.random() < 0.8:
        at = dice.randrange(len(value))
        return [*value[:at], spoiled_value(value[at], dice), *value[at + 1 :]]
    return dice.choice(STRANGE)


def spoiled_archive(content, dice):
    """An archive with right checksums, one member of which is not what it was."""
    with zipfile.ZipFile(io.BytesIO(content)) as found:
        members = {name: found.read(name) for name in found.namelist()}
        packing = found.infolist()[0].compress_type
    name = dice.choice(list(members))
    kind = dice.randrange(6)
    if kind == 0:
        del members[name]
    elif kind == 1:
        members[f"{name[:-4]}x.npy"] = members.pop(name)
    elif kind == 2:
        members[name] = spoiled_bytes(members[name][:128], dice) + members[name][128:]
    elif kind == 3:
        packing = dice.choice([zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    else:
        members[name] = npy(spoiled_array(read.npy_array(members[name]), dice))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", packing) as made:
        for each, member in members.items():
            made.writestr(each, member)
    return file.getvalue()


def spoiled_array(array, dice):
    """An array of another shape, type or content."""
    if array.dtype.kind == "U" and array.ndim == 0:  # the metadata
        with suppress(ValueError):
            return np.array(json.dumps(spoiled_value(json.loads(str(array)), dice)))
    kind = dice.randrange(7)
    if kind == 3 and array.dtype.kind != "U":
        new = dice.choice(["int8", "float16", "float64", "U3", "bool"])
        with np.errstate(all="ignore"):
            return array.astype(new, casting="unsafe")
    if kind == 0:
        return array.reshape(-1)
    if kind == 1:
        return array[None]
    if kind == 2:
        return array.reshape(-1)[: array.size // 2]
    if kind == 4 and array.dtype.kind == "f" and array.size:
        array = array.copy()
        array.reshape(-1)[dice.randrange(array.size)] = dice.choice([np.nan, np.inf, 3e38])
        return array
    if kind == 5:
        return np.zeros(array.shape, "complex64")
    return np.zeros((0,), array.dtype)


def npy(array):
    file = io.BytesIO()
    np.lib.format.write_array(file, array, allow_pickle=False)
    return file.getvalue()


# Trying --------------------------------------------------------------------------------------------


def try_file(good, name, dice):
    """Spoil one file and read it; what was wrong with the answer, or None."""
    path, how = good[name]
    content = path.read_bytes()
    path.write_bytes(spoiled(content, name, dice))
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("error")
            how(path)
    except (UsageError, RunError) as error:
        printed = cli.sentence(error)
        if len(printed) > 2000 or "not enough memory" in printed or str(error).count("\n") > 1:
            return f"says {printed[:300]!r}"
    except Exception as error:
        return f"raises {type(error).__name__}: {str(error)[:200]}"
    finally:
        path.write_bytes(content)
    return None


def try_command(dice):
    """One command line; what was wrong with its ending, or None."""
    name = dice.choice(list(COMMANDS))
    main = import_module(f"tinydiv.{name}.command").main
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        main(["--help"])
        known = sorted(
            set(re.findall(r"--[a-z-]+", out.getvalue()))
            - {"--epochs", "--replicas", "--steps", "--list"}
        )
        words = list(COMMANDS[name])
        for _ in range(dice.randint(1, 4)):
            flag = (
                dice.choice(known)
                if dice.random() < 0.9
                else dice.choice(["--" + "nix", "-x", "--"])
            )
            value = dice.choice(WORDS)
            words += dice.choice([[flag], [f"{flag}={value}"], [flag, value], [value]])
        out.truncate(0)
        err.truncate(0)
        began = time.process_time()
        code = main(words)
        seconds = time.process_time() - began
    printed = err.getvalue()
    wrong = code not in (0, 1, 2) or "Traceback" in printed or "error in tinydiv" in printed
    wrong = wrong or seconds > SECONDS
    if wrong or (code and not printed.splitlines()[-1].startswith(f"tinydiv.{name}: ")):
        typed = f"{name} {' '.join(word[:60] for word in words)!r}"
        return f"{typed} ends with {code} after {seconds:.1f} s: {printed[-400:]!r}"
    return None


class Connection:
    """A connection to play's server without a network: what was sent, and what is answered."""

    def __init__(self, request):
        self.request, self.answer = request, b""

    def makefile(self, mode, size):
        return io.BytesIO(self.request)

    def sendall(self, data):
        self.answer += bytes(data)

    def settimeout(self, seconds):
        pass


SETUP = {"data": "xor", "hidden": 3, "technique": "decov", "strength": "0.1", "seed": 1}
SETUP |= {"activation": "tanh", "init": "he-normal", "optimizer": "sgd", "lr": "", "batch_size": 2}
REQUESTS = [
    *({"do": "start", "setup": SETUP}, {"do": "change", "setup": SETUP | {"lr": 0.5}}),
    *({"do": "step", "steps": 2}, {"do": "run", "running": False, "speed": 5}, {"do": "close"}),
    *({"do": "view", "kind": kind} for kind in ("responses", "weights", "correlation")),
    *({"do": do, "side": "right", "neuron": 1} for do in ("gradient", "remove")),
    {"do": "scale", "side": "left", "neuron": 0, "factor": 2.0},
]


def try_request(server, dice):
    """One request to play's server; what was wrong with the answer, or None."""
    key = server.begin(SETUP)["session"]
    message = dice.choice(REQUESTS)
    if message["do"] != "start":
        message = message | {"session": key}
    for _ in range(dice.randint(0, 2)):
        message = spoiled_value(message, dice)
    if isinstance(message, dict) and isinstance(message.get("setup"), dict) and dice.random() < 0.5:
        name = dice.choice([*SETUP, "page"])
        message = message | {"setup": message["setup"] | {name: dice.choice(WORDS)}}
    try:
        body = json.dumps(message).encode()
    except ValueError:  # a whole number with too many digits to be written
        body = b"{"
    path = f"/{server.token}/api"
    kind = dice.random()
    if kind < 0.2:
        path = dice.choice([f"/{server.token}/?{dice.choice(list(SETUP))}=", "/", path, ""])
        path += dice.choice(WORDS).encode("utf-8", "replace").decode("latin-1")
    host = f"127.0.0.1:{server.server_address[1]}"
    head = f"{dice.choice(['GET', 'POST', 'POST', 'POST'])} {path} HTTP/1.1\r\nHost: {host}\r\n"
    length = dice.choice([len(body)] * 8 + [*WORDS[:12]])
    request = (
        f"{head}Content-Length: {length}\r\nConnection: close\r\n\r\n".encode("latin-1") + body
    )
    if kind > 0.8:
        request = spoiled_bytes(request, dice)
    connection, err = Connection(request), io.StringIO()
    try:
        with redirect_stderr(err):
            Handler(connection, ("127.0.0.1", 1), server)
    except Exception as error:
        return f"{request[-300:]!r} raises {type(error).__name__}: {str(error)[:200]}"
    finally:
        for open_page in list(server.sessions):
            server.end(open_page)
    wrong = b" 500 " in connection.answer.partition(b"\r\n")[0] or err.getvalue()
    whole = (
        kind <= 0.8 and "\n" not in path
    )  # a line that ends early is HTTP/0.9: no status is sent
    if wrong or (whole and not re.match(rb"HTTP/1.1 [2-5]|<!", connection.answer)):
        return f"{request[-300:]!r} gets {connection.answer[-300:]!r} {err.getvalue()[-300:]}"
    return None


def piece(kind, seed, count):
    """Some inputs of one kind; returns what went wrong, each with the seed that makes it again."""
    if MEMORY is not None and find_spec("resource") is not None:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    wrong = []
    with tempfile.TemporaryDirectory() as place, chdir(place), Server() as server:
        good = good_files(Path(place))
        (Path(place) / "mine.toml").write_text(TOML)
        for i in range(seed, seed + count):
            dice = random.Random(f"{kind} {i}")
            began = time.process_time()
            if kind == "commands":
                problem = try_command(dice)
            elif kind == "requests":
                problem = try_request(server, dice)
            else:
                problem = try_file(good, kind, dice)
            seconds = time.process_time() - began
            if problem is None and seconds > SECONDS:
                problem = f"took {seconds:.0f} s"
            if problem:
                wrong.append(f"{kind}, input {i}: {problem}")
    return kind, count, wrong


KINDS = (
    *("model.npz", "checkpoint.npz", "frames.npz", "snapshots.npz", "config.json", "metrics.csv"),
    *("study.json", "block.npz", "costs.json", "own.npz", "packed.npz", "table.csv", "images.idx"),
    *("known.idx", "train.toml", "study.toml", "commands", "requests"),
)


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=102_000, help="how many (default: 102,000)")
    parser.add_argument("--seed", type=int, default=0, help="number of the first input")
    parser.add_argument("--only", choices=KINDS, help="this kind alone")
    parser.add_argument("--workers", type=int, help="processes (default: all cores)")
    options = parser.parse_args(argv)
    kinds = [options.only] if options.only else KINDS
    slow = ("commands", "requests")
    share = {kind: 0.25 if kind in slow else 1.0 for kind in kinds}  # they take the longest
    each = {k: -(-options.inputs * share[k] // sum(share.values())) for k in kinds}
    work = [
        (kind, options.seed + start, min(CHUNK, int(each[kind]) - start))
        for start in range(0, int(max(each.values())), CHUNK)
        for kind in kinds
        if start < each[kind]
    ]
    counts, wrong, began = Counter(), 0, time.monotonic()
    with ProcessPoolExecutor(options.workers) as pool:
        for kind, count, problems in pool.map(piece, *zip(*work, strict=True)):
            counts[kind] += count
            wrong += len(problems)
            for problem in problems[:5]:
                print(problem, flush=True)
    for kind, count in counts.items():
        print(f"{count:8,} {kind}")
    minutes = (time.monotonic() - began) / 60
    print(f"{sum(counts.values()):8,} inputs in {minutes:.1f} minutes, {wrong} ended otherwise")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
