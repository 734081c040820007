"""The help of every command: what it prints must work as printed."""

import importlib
import re
import shlex
from contextlib import suppress

import pytest

from tinydiv.command import cli
from tinydiv.study import NAMED

COMMANDS = (
    "train",
    "check",
    "trace",
    "study",
    "predictions",
    "bench",
    "starts",
    "gallery",
    "grow",
    "play",
)


class ReadError(BaseException):
    """Raised when the flags were read: other tests check what the command does with them."""


def command_of(name):
    """The module of a command; the benchmark is a developer's, tests/bench."""
    return importlib.import_module(
        "bench.command" if name == "bench" else f"tinydiv.{name}.command"
    )


def shown(name, capsys):
    """What --help prints."""
    assert command_of(name).main(["--help"]) == 0
    return capsys.readouterr().out


def examples(text):
    """(command, words) of every example that a help prints, without the remark at its right."""
    for line in re.findall(r"^  python -m (?:tinydiv|tests)\.(.*)$", text, re.MULTILINE):
        name, *words = shlex.split(re.split(r"   +| > ", line)[0])
        yield name, words


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_are_read_as_printed(name, capsys, monkeypatch):
    text = shown(name, capsys)
    parse, read = cli.Parser.parse, []

    def listening(self, argv):
        read.append(parse(self, argv))
        raise ReadError

    monkeypatch.setattr(cli.Parser, "parse", listening)
    found = list(examples(text))
    assert name in [command for command, _ in found]
    for command, words in found:
        with suppress(ReadError):
            command_of(command).main(words)
        refused = capsys.readouterr().err
        assert refused == "", f"{command} {words}"
    assert len(read) == len(found)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_flag_in_a_help_text_exists(name, capsys):
    """As in "(--list data)": a flag of this command, unless another command is named with it."""
    text = re.sub(r"^  python -m .*$", "", shown(name, capsys), flags=re.MULTILINE)
    listed = set(re.findall(r"^  (?:-h, )?(--[a-z][a-z-]*)", text, re.MULTILINE))
    spoken = set(re.findall(r"(?<![-\w])--[a-z]+(?:-[a-z]+)*", text))
    assert spoken <= listed
    assert "--help" in listed


@pytest.mark.parametrize("name", COMMANDS)
def test_every_flag_with_a_value_shows_its_default(name, capsys):
    """Or what becomes of it if it is not given."""
    text = shown(name, capsys)
    options = re.split(r"^  (?=-)", text.partition("examples:")[0], flags=re.MULTILINE)[1:]
    for option in options:
        flag = re.match(r"--([a-z-]+) [A-Z\[{c]", option)
        unsaid = ("config", "resume", "out", "picture", "list", "only", "checkpoint-every")
        if flag and not (flag[1] in unsaid and name in ("train", "trace", "check")):
            assert re.search(r"\(default:", option), option


def test_the_help_of_studies_names_those_there_are(capsys):
    text = " ".join(shown("study", capsys).split())
    assert f"{', '.join(NAMED)}, or a .toml file" in text


def test_trace_lists_the_names_that_its_help_mentions(capsys):
    trace, train = command_of("trace"), command_of("train")
    for words in (["--list", "data"], ["--list", "optimizers", "--json"]):
        assert trace.main(words) == 0
        printed = capsys.readouterr().out
        assert train.main(words) == 0
        assert printed == capsys.readouterr().out != ""
