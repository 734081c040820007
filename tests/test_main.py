"""python -m tinydiv lists the commands."""

from tinydiv.__main__ import COMMANDS, main


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
