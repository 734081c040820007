"""python -m tinydiv lists the commands."""

from tinydiv.__main__ import COMMANDS, main
from tinydiv.command import start


def test_every_command_has_a_line(capsys):
    for argv in ([], ["--help"]):
        assert main(argv) == 0
        out = capsys.readouterr().out
        assert len(out.splitlines()) == 1 + len(COMMANDS)
        assert all(f"python -m tinydiv.{name} " in out for name in COMMANDS)


def test_a_word_is_answered_by_what_to_write(capsys):
    assert main(["train"]) == 2
    assert "write python -m tinydiv.train" in capsys.readouterr().err
    assert main(["trian"]) == 2
    assert "did you mean 'train'" in capsys.readouterr().err


def test_ctrl_c_while_a_command_is_imported_is_one_sentence(capsys, monkeypatch):
    def stopped(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(start, "import_module", stopped)
    assert start.start("train") == 130
    assert capsys.readouterr() == ("", "tinydiv.train: stopped\n")
