"""The gallery: one network per technique, the same start, a matrix each; and what the matrices show."""

import errno
import os
import re

import numpy as np
import pytest
from helpers import refused
from matplotlib.image import imread

from tinydiv.errors import UsageError
from tinydiv.gallery.command import (
    DEFAULTS,
    PLAIN,
    GalleryConfig,
    gallery,
    main,
    specs_of,
    table,
    with_strength,
)
from tinydiv.runs.build import build
from tinydiv.runs.config import TrainConfig
from tinydiv.techniques import TECHNIQUES, Penalty, place

SMALL = {"data": "life", "hidden": (6,), "epochs": 3}


FAMILIES = sorted({cls.family for cls in TECHNIQUES.values()})


@pytest.mark.parametrize(
    ("family", "measure"),
    [
        *((family, DEFAULTS.get(family, PLAIN).measure) for family in FAMILIES),
        ("weights", "correlation"),
        ("activations", "overlap"),
        ("exhibits", "cosine"),
    ],
)
def test_a_family_is_shown_whole(family, measure):
    shown, image_shape = gallery(GalleryConfig(family=family, measure=measure, **SMALL))
    assert image_shape == (3, 3)
    names = [name for name, cls in TECHNIQUES.items() if cls.family == family]
    assert sorted(one.spec.partition(":")[0] for one in shown[1:]) == sorted(names)
    assert shown[0].spec == "none"
    order = [(one.alike == 0, one.alike) for one in shown[1:]]  # without a pair to compare: last
    assert order == sorted(order)
    for one in shown:
        penalty = issubclass(TECHNIQUES.get(one.spec.partition(":")[0], object), Penalty)
        assert ("strength=" in one.spec) == penalty
        assert one.inputs.shape == (9, 6)
        assert one.similarity.shape == (6, 6)
        assert np.isfinite(one.similarity).all()
        assert np.abs(one.similarity).max() <= 1 + 1e-5
        np.testing.assert_allclose(one.similarity, one.similarity.T, atol=1e-5)
        assert 0 <= one.score <= 1
    text = table(shown, measure)
    assert all(name in text for name in names)
    assert len(text.splitlines()) == len(names) + 2


@pytest.mark.parametrize("technique", [(), ("consensus",)])
def test_all_begin_alike(technique):
    """After no epoch at all every matrix is that of the plain network, of the first where they are many."""
    shown, _ = gallery(GalleryConfig(technique=technique, **{**SMALL, "epochs": 0}))
    assert len(shown) > 1
    for one in shown[1:]:
        np.testing.assert_allclose(one.similarity, shown[0].similarity, atol=1e-6)


def test_the_command_draws_and_prints(tmp_path, capsys):
    out = tmp_path / "two.png"
    flags = ["--data", "life", "--hidden", "5", "--epochs", "2", "--out", str(out)]
    assert main([*flags, "--technique", "decov", "--technique", "cosine:strength=3"]) == 0
    assert min(imread(out).shape[:2]) > 200
    assert imread(out)[..., :3].std() > 0.02  # something was drawn
    printed = capsys.readouterr().out
    assert "cosine:strength=3" in printed
    assert "+" in printed
    assert str(out) in printed
    assert [p.name for p in tmp_path.iterdir()] == ["two.png"]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_drawn_by_the_command(family, tmp_path):
    out = tmp_path / "family.svg"
    flags = ["--data", "life", "--hidden", "4", "--epochs", "1", "--out", str(out)]
    assert main([*flags, "--family", family]) == 0
    drawn = out.read_text()
    names = [name for name, cls in TECHNIQUES.items() if cls.family == family]
    assert all(re.search(rf"\b{name}(:strength=[\d.]+)?, \d", drawn) for name in names)


def test_a_full_disk_leaves_the_old_picture_and_names_it(tmp_path, monkeypatch, capsys):
    picture = tmp_path / "g.png"
    picture.write_bytes(b"old")
    flags = ["--technique", "decov", "--data", "xor", "--hidden", "3", "--epochs", "1"]

    def full(file):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    sentence = f"cannot write {picture}: no space left on device\n"
    refused(capsys, main, [*flags, "--out", str(picture)], sentence, code=1)
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"old"]


def test_a_strength_that_is_given_is_not_written_twice():
    specs = ("decov", "decov:strength=0.3", "vicreg:target=2", "dropout")
    written = [with_strength(place(spec)) for spec in specs]
    strength = TECHNIQUES["vicreg"].default_strength
    assert written == [
        *(f"decov:strength={TECHNIQUES['decov'].default_strength:g}", "decov:strength=0.3"),
        *(f"vicreg:target=2,strength={strength:g}", "dropout"),
    ]


def test_the_family_all_is_every_technique():
    assert specs_of(GalleryConfig(family="all")) == list(TECHNIQUES)


@pytest.mark.parametrize(
    ("flags", "code", "sentence"),
    [
        (["--family", "wieghts"], 2, "did you mean 'weights'"),
        (["--technique", "devoc"], 2, "did you mean 'decov'"),
        (["--measure", "similarity"], 2, "correlation"),
        (["--out", "picture.jpeg"], 2, ".png, .svg or .pdf"),
        (["--out", "/no/such/folder/a.png"], 1, "no folder"),
        (["--hidden", "none"], 2, "leaves no neurons"),
        (["--epochs", "-1"], 2, "whole number"),
    ],
)
def test_mistakes_get_a_sentence_and_a_code(flags, code, sentence, capsys):
    refused(capsys, main, flags, sentence, code)


def test_a_network_without_neurons_cannot_be_compared():
    with pytest.raises(UsageError, match="leaves no neurons"):
        gallery(GalleryConfig(hidden=()))


# What the pictures show, over four networks ------------------------------------------------------


def after_training(spec):
    """Means over four networks: share of dead neurons, correlation, accuracy."""
    run = build(TrainConfig(technique=(spec,) if spec else (), epochs=5, replicas=4))
    run.train()
    last = run.records[-1]
    found = {key: np.mean(last.diversity[key]) for key in ("dead_fraction", "correlation")}
    return found | {"accuracy": np.mean(last.test_accuracy)}


def test_correlation_penalties_kill_relu_neurons_and_logdet_does_not():
    """Their gradient grows as 1/s: the docstrings of Pearson and LogdetCorrelation."""
    plain, pearson = after_training(""), after_training("pearson:strength=1")
    logdet = after_training("logdet-correlation")
    assert pearson["dead_fraction"] > plain["dead_fraction"] + 0.15
    assert logdet["dead_fraction"] <= plain["dead_fraction"]
    assert logdet["correlation"] < 0.7 * plain["correlation"]
    assert logdet["accuracy"] > plain["accuracy"] - 0.01


def test_wld_parts_neurons_without_decorrelating_them():
    """Difference is not independence: at ten times its usual strength it raises the correlation."""
    assert (
        after_training("wld-reg:strength=0.03")["correlation"]
        > after_training("")["correlation"] + 0.05
    )


def test_numbers_to_learn_have_an_error_in_place_of_an_accuracy(tmp_path, capsys):
    x = np.random.default_rng(0).normal(size=(60, 3))
    np.savez(tmp_path / "mine.npz", X=x, y=x.sum(axis=1))
    flags = ["--data", str(tmp_path / "mine.npz"), "--technique", "decov", "--hidden", "4"]
    assert main([*flags, "--epochs", "2", "--out", str(tmp_path / "two.png")]) == 0
    captured = capsys.readouterr().out
    assert "error" in captured
    assert "accuracy" not in captured


def test_a_network_that_diverged_has_no_accuracy(tmp_path, capsys):
    """Warnings are errors here, also from counting the operations of a technique that overflows."""
    flags = ["--data", "moons", "--hidden", "6", "--technique", "decov:strength=1e30"]
    assert main([*flags, "--out", str(tmp_path / "x.svg")]) == 0
    assert re.search(r"\ndecov:strength=1e30 +diverged  ", capsys.readouterr().out)
    assert "1e30, diverged" in " ".join((tmp_path / "x.svg").read_text().split())
