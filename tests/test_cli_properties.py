"""Whatever is typed, written into a config file or into a technique: a result, or one sentence.

Hypothesis makes up command lines, config files, technique specs and files of Python; none of them may
end in a traceback, in a sentence that calls it an error in tinydiv, or in half a run folder.
"""

import io
import json
import math
import shutil
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict, fields
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tinydiv import settings as declared
from tinydiv.diversity import METRICS
from tinydiv.errors import UsageError, printable
from tinydiv.initializers import BASES, SCHEMES
from tinydiv.optimizers import OPTIMIZERS
from tinydiv.runs.config import TrainConfig
from tinydiv.techniques import TECHNIQUES
from tinydiv.techniques.placing import COMMON, kind_of
from tinydiv.train import command as train

QUICK = ["--data", "xor", "--hidden", "3", "--epochs", "1", "--no-plot"]


def outcome(*flags):
    """Run the command in a folder of its own; check what must hold of every run; give its code."""
    folder = Path(tempfile.mkdtemp())
    out, err = io.StringIO(), io.StringIO()
    try:
        flags = [word.replace("OUT", str(folder / "run")) for word in flags]
        with redirect_stdout(out), redirect_stderr(err):
            code = train.main([*flags])
        stdout, stderr = out.getvalue(), err.getvalue()
        assert "Traceback" not in stderr
        assert "error in tinydiv" not in stderr, stderr
        assert code in (0, 1, 2), stderr
        if code:
            assert stdout == ""
            assert stderr.splitlines()[-1].startswith("tinydiv.train: ")
            assert len(stderr.splitlines()[-1]) > len("tinydiv.train: ") + 10
        if code == 0 and (folder / "run").exists() and "--help" not in flags:
            names = {path.name for path in (folder / "run").iterdir()}
            assert {"config.json", "checkpoint.npz", "metrics.csv", "model.npz"} <= names
            assert not any(name.startswith(".") for name in names - {".lock"})
        return code, stderr
    finally:
        shutil.rmtree(folder)


# Command lines -------------------------------------------------------------------------------------

words = st.text(max_size=12) | st.sampled_from(
    [
        *("-1", "0", "1", "2", "3", "1e-3", "1e400", "-inf", "nan", "1_0", "0x10", "9" * 30, "1/2"),
        *("none", "all", "/", ",", ":", "=", "--", "-", "16,0", "1.5", "true", "٣", "-h", "..."),
    ]
)
good = {
    "--data": st.sampled_from(["xor", "life", "parity:bits=3", "moons:n_train=70,n_test=5"]),
    "--inputs": st.sampled_from(["raw", "centred", "standardised"]),
    "--hidden": st.sampled_from(["1", "3", "4,2", "none"]),
    "--activation": st.sampled_from(["relu", "tanh", "gelu"]),
    "--init": st.sampled_from([*SCHEMES, *BASES]),
    "--technique": st.sampled_from(sorted(TECHNIQUES)),
    "--loss": st.sampled_from(["cross-entropy", "binary-cross-entropy", "squared-error"]),
    "--optimizer": st.sampled_from(sorted(OPTIMIZERS)),
    "--lr": st.sampled_from(["0", "0.1", "1/2", "1000"]),
    "--schedule": st.sampled_from(["cosine", "linear:warmup=1", "constant:warmup=99999"]),
    "--weight-decay": st.sampled_from(["0", "0.1", "1000"]),
    "--batch-size": st.sampled_from(["1", "2", "64"]),
    "--epochs": st.sampled_from(["0", "1", "2"]),
    "--replicas": st.sampled_from(["1", "2", "3"]),
    "--seed": st.sampled_from(["0", "7", str(2**63 - 1)]),
    "--shuffle": st.sampled_from(["shared", "own"]),
    "--metrics": st.sampled_from(["none", "all", *METRICS]),
    "--backend": st.sampled_from(["numpy"]),
    "--dtype": st.sampled_from(["float32", "float64"]),
    "--checkpoint-every": st.sampled_from(["1", "3"]),
    "--list": st.sampled_from(["all", "techniques"]),
}
flag_names = st.sampled_from(
    [*good, "--json", "--quiet", "--config", "--resume", "--help", "--version", "--lrr", "-x"]
)


@st.composite
def command_lines(draw):
    """Mostly sense, here and there nonsense."""
    line = []
    for flag in draw(st.lists(flag_names, max_size=6)):
        line.append(flag)
        if flag in good and draw(st.integers(0, 3)):
            line.append(draw(good[flag]))
        elif draw(st.booleans()):
            line.append(draw(words))
    return line


@given(command_lines())
@example(["--resume", ".."])
@example(["--config", "/dev/null"])
@example(["--data", "xor:seed=" + "9" * 5000])
@example(["--technique", "decov:strength=1e300"])
@example(["--technique", "decov:patience=" + "9" * 900 + ",schedule=plateau"])
@example(["--schedule", "cosine:warmup=" + "9" * 900])
@example(
    ["--lr", "1000", "--loss", "squared-error", "--optimizer", "sgd", "--weight-decay", "1000"]
)
@settings(max_examples=150)
def test_no_command_line_ends_in_a_traceback(line):
    outcome(*QUICK, *line, "--out", "OUT")


@given(st.lists(words, max_size=5))
def test_no_heap_of_words_ends_in_a_traceback(line):
    outcome(*QUICK, "--out", "OUT", *line)


# Technique specs -----------------------------------------------------------------------------------


def settings_of(cls):
    """What a technique understands: its own settings and those of its kind."""
    return [*(field.name for field in fields(cls)), *COMMON[kind_of(cls)]]


setting_names = sorted(
    {"lambda", *(name for cls in TECHNIQUES.values() for name in settings_of(cls))}
)
setting_values = st.sampled_from(
    [
        *("0", "0.5", "1", "2", "3", "7", "0.1", "10", "0.01", "0.1/0.2/0.3", "1+2", "true"),
        *("linear", "cosine", "plateau", "always", "-1", "1/2", "x", "", "9" * 200),
        *("1e-9", "1e9", "1e39", "1e308", "nan", "inf"),
    ]
)


@st.composite
def specs(draw):
    """decov:strength=0.5,layers=1 and worse."""
    name = draw(st.sampled_from(sorted(TECHNIQUES)))
    names = st.sampled_from(settings_of(TECHNIQUES[name]))
    if draw(st.integers(0, 9)) == 0:
        name, names = draw(words), st.sampled_from(setting_names)
    pairs = draw(st.dictionaries(names, setting_values, max_size=2))
    listed = ",".join(f"{key}={value}" for key, value in pairs.items())
    return f"{name}:{listed}" if listed else name


@given(st.lists(specs(), min_size=1, max_size=3), st.sampled_from(["1", "2", "3"]))
@settings(max_examples=200)
def test_no_technique_spec_ends_in_a_traceback(texts, replicas):
    flags = [word for text in texts for word in ("--technique", text)]
    outcome(*QUICK, "--replicas", replicas, *flags, "--out", "OUT")


@st.composite
def starts(draw):
    """lowdin:mix=0.5@pytorch and worse."""
    parts = []
    for name in draw(st.lists(st.sampled_from([*SCHEMES, *BASES]), min_size=1, max_size=3)):
        names = [field.name for field in fields(SCHEMES[name])] if name in SCHEMES else []
        pairs = draw(
            st.dictionaries(st.sampled_from(names or ["gain"]), setting_values, max_size=2)
        )
        listed = ",".join(f"{key}={value}" for key, value in pairs.items())
        parts.append(f"{name}:{listed}" if listed else name)
    return "@".join(parts)


@given(starts(), st.sampled_from(["1", "5", "4,2", "none"]))
@example("decorrelated@orthogonal:gain=1e39", "1")
def test_no_start_ends_in_a_traceback(spec, hidden):
    outcome(*QUICK, "--init", spec, "--hidden", hidden, "--replicas", "2", "--out", "OUT")


# A reader's own file -------------------------------------------------------------------------------

OWN = """\
from tinydiv.backend import xp
from tinydiv.techniques import ActivationPenalty, WeightPenalty, OutputPenalty, Intervention, setting
class Mine({base}):
    {attribute}
    def {method}(self, {arguments}):
        {body}
"""


@given(
    st.sampled_from(["ActivationPenalty", "WeightPenalty", "OutputPenalty", "Intervention"]),
    st.sampled_from(["pass", "a: int = 1", "a: int", "a: float = setting(1)", "name = 3", "x = y"]),
    st.sampled_from(["__call__", "move", "edit", "state", "__init__"]),
    st.sampled_from(["", "A, step", "A, step, more", "*given, **more"]),
    st.sampled_from(
        [
            *("return A", "return A.sum(), A", "return 0, 0", "return None, A", "return 1 / 0"),
            *("raise KeyError('k')", "import nothing", "return {'a': 'b'}", "return {'a': None}"),
            *("return xp.sum(A, axis=(-2, -1)), A.T", "step.nothing", "raise SystemExit(3)"),
            *("A[...] = xp.nan; return A.sum(axis=(-2, -1)), A", "def", "return 'a', 'b'"),
        ]
    ),
)
@settings(max_examples=150)
def test_no_own_technique_ends_in_a_traceback(base, attribute, method, arguments, body):
    with tempfile.TemporaryDirectory() as folder:
        mine = Path(folder) / "mine.py"
        mine.write_text(
            OWN.format(
                base=base, attribute=attribute, method=method, arguments=arguments, body=body
            )
        )
        outcome(*QUICK, "--technique", f"{mine}:Mine", "--out", "OUT", "--replicas", "2")


@given(st.text(max_size=60) | st.binary(max_size=60))
@example("class Mine: pass")
@example(b"\xff")
@example("\0")
@example("from tinydiv.techniques import *\nclass Mine(Technique): pass")
def test_no_file_of_python_ends_in_a_traceback(source):
    with tempfile.TemporaryDirectory() as folder:
        mine = Path(folder) / "mine.py"
        content = source if isinstance(source, bytes) else source.encode(errors="replace")
        mine.write_bytes(content)
        outcome(*QUICK, "--technique", f"{mine}:Mine", "--out", "OUT")


# Config files --------------------------------------------------------------------------------------

toml_values = st.recursive(
    st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["xor", "none", "relu", "float32"]),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


def toml(value):
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else f"{'-' * (value < 0)}inf"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value) if isinstance(value, str) else repr(value)


TABLE_KEYS = [field.name for field in fields(TrainConfig)]


@st.composite
def tables(draw):
    """Mostly sense again."""
    names = draw(st.lists(st.sampled_from([*TABLE_KEYS, "batch-size", "epoch", "out"]), max_size=4))
    table = {}
    for name in names:
        flag = declared.flag(name)
        sense = flag in good and draw(st.integers(0, 4))
        table[name] = draw(good[flag] if sense else toml_values)
        if sense and name in ("epochs", "replicas", "batch_size", "batch-size", "seed"):
            table[name] = int(table[name])
    return table


@given(tables())
@settings(max_examples=100)
def test_no_config_file_ends_in_a_traceback(table):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "run.toml"
        lines = [f"{key} = {toml(value)}" for key, value in table.items()]
        file.write_text("\n".join(lines), errors="replace")
        outcome("--config", str(file), *QUICK, "--out", "OUT")


@given(st.binary(max_size=80))
def test_no_bytes_of_a_config_file_end_in_a_traceback(content):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "run.toml"
        file.write_bytes(content)
        outcome("--config", str(file), *QUICK, "--out", "OUT")


# Readers -------------------------------------------------------------------------------------------

anything = (
    toml_values | st.none() | st.binary() | st.dictionaries(st.text(max_size=3), st.integers())
)


@given(anything | words)
@example("9" * 5000)
@example(10**400)
@example("1e-400")
def test_a_reader_gives_a_value_within_bounds_or_one_sentence(value):
    for read, fits in (
        (declared.whole(2, 9), lambda v: isinstance(v, int) and 2 <= v <= 9),
        (declared.number(-1, 9), lambda v: isinstance(v, float) and -1 <= v <= 9),
        (declared.per_network(0, 9), lambda v: v and all(0 <= x <= 9 for x in v)),
        (declared.sizes(3, 9), lambda v: len(v) <= 3 and all(1 <= x <= 9 for x in v)),
        (declared.text, lambda v: v == v.strip() and 0 < len(v) <= declared.LONGEST_TEXT),
        (declared.words(","), lambda v: all(x.strip() for x in v)),
        (declared.choice("a", "b"), lambda v: v in ("a", "b")),
    ):
        try:
            found = read("--flag", value)
        except UsageError as refusal:
            stdout = str(refusal)
        else:
            assert fits(found)
            continue
        assert "--flag" in stdout
        assert "\n" not in stdout
        assert len(stdout) < 300


@given(st.integers(-5, 15))
def test_whole_numbers_are_read_as_text_and_as_numbers_alike(number):
    read = declared.whole(0, 9)
    for value in (number, str(number), f" {number} "):
        if 0 <= number <= 9:
            assert read("x", value) == number
        else:
            with pytest.raises(UsageError, match="x must be a whole number from 0 to 9, got"):
                read("x", value)


def given_fields():
    """Settings as they may stand in a config.json."""
    rates = st.lists(st.floats(0, 1000), min_size=1, max_size=4).map(tuple)
    names = st.text("abc-:=0.1", min_size=1, max_size=9).filter(lambda s: s != "none")
    return st.fixed_dictionaries(
        {},
        optional={
            "data": names,
            "hidden": st.lists(st.integers(1, 65_536), max_size=4).map(tuple),
            "technique": st.lists(names, max_size=3).map(tuple),
            "lr": rates,
            "weight_decay": rates | st.none(),
            "epochs": st.integers(0, 1_000_000),
            "seed": st.integers(0, 2**63 - 1),
            "metrics": st.none() | st.lists(names, max_size=3).map(tuple),
        },
    )


@given(given_fields())
def test_settings_come_back_from_json_as_they_were(values):
    config = TrainConfig(**values)
    table = json.loads(json.dumps(asdict(config)))
    assert TrainConfig(**declared.from_table(TrainConfig, table, "config.json")) == config


@given(st.sampled_from([field.name for field in fields(TrainConfig)]), st.data())
def test_a_flag_with_a_letter_wrong_is_refused_with_the_right_one(name, data):
    flag = declared.flag(name)
    place = data.draw(st.integers(2, len(flag) - 1))
    wrong = flag[:place] + flag[place + 1 :]
    if len(flag) < 6 or wrong in (declared.flag(field.name) for field in fields(TrainConfig)):
        return
    code, stderr = outcome(wrong, "1")
    assert code == 2
    assert f"there is no flag {wrong}: did you mean '--" in stderr


@given(st.text(max_size=200))
def test_any_text_can_be_printed_anywhere(text):
    for encoding in ("ascii", "cp1252", "utf-8"):
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")
        stream.write(printable(text, stream))
