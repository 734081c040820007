"""The reader's own data: .npz, tables, IDX folders; from the command line and from Python."""

import csv
import gzip
import json
import pickle
import re
from dataclasses import replace

import numpy as np
import pytest
from helpers import network

import tinydiv
from tinydiv.backend import to_host
from tinydiv.data.dataset import Dataset
from tinydiv.data.idx import idx_bytes
from tinydiv.errors import RunError, UsageError
from tinydiv.loop import DeviceData, batches
from tinydiv.loop import train as train_here
from tinydiv.optimizers import SGD
from tinydiv.predictions import command as predictions
from tinydiv.runs.own_data import OwnData
from tinydiv.study import sharing
from tinydiv.train import command as train

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 4))
Y = np.arange(50) % 3


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def table(path, header, rows, delimiter=","):
    with open(path, "w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file, delimiter=delimiter).writerows([header, *rows])


def idx_folder(folder, ending="", images=None):
    folder.mkdir()
    images = RNG.integers(0, 256, (20, 5, 6), dtype=np.uint8) if images is None else images
    for name, part in (("train", images), ("t10k", images[:10])):
        labels = (np.arange(len(part)) % 2).astype(np.uint8)
        pack = gzip.compress if ending.endswith(".gz") else bytes
        (folder / f"{name}-images-idx3-ubyte{ending}").write_bytes(pack(idx_bytes(part)))
        (folder / f"{name}-labels-idx1-ubyte{ending}").write_bytes(pack(idx_bytes(labels)))


# What is read --------------------------------------------------------------------------------------


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("names", [("train_x", "train_y"), ("x_train", "y_train")])
def test_an_npz_of_two_parts(save, names, capsys):
    x, y = names
    arrays = {x: X, y: Y, x.replace("train", "test"): X[:9] + 1, y.replace("train", "test"): Y[:9]}
    save("mine.npz", **arrays)
    dataset = tinydiv.load_data("mine.npz")
    np.testing.assert_array_equal(dataset.train_x, X.astype(np.float32))
    np.testing.assert_array_equal(dataset.test_x, (X[:9] + 1).astype(np.float32))
    np.testing.assert_array_equal(dataset.test_y, Y[:9])
    assert dataset.classes == ("0", "1", "2")
    assert capsys.readouterr().err == ""


def test_a_test_part_that_is_drawn_is_reported_and_always_the_same(capsys):
    np.savez("mine.npz", X=np.arange(50.0)[:, None], y=Y)
    one = tinydiv.load_data("mine.npz")
    assert "10 of its 50 samples were drawn for one (test=0.2,seed=0)" in capsys.readouterr().err
    again, other = (tinydiv.load_data(f"mine.npz:test=0.2,seed={seed}") for seed in (0, 1))
    assert capsys.readouterr().err == ""
    np.testing.assert_array_equal(one.test_x, again.test_x)
    assert np.any(one.test_x != other.test_x)
    assert sorted([*one.train_x[:, 0], *one.test_x[:, 0]]) == list(range(50))
    assert np.bincount(one.test_y).tolist() == [4, 3, 3]


def test_class_numbers_that_leave_gaps_and_class_names_are_put_in_order():
    np.savez("numbers.npz", X=X, y=np.array([7, -1, 40])[Y])
    assert tinydiv.load_data("numbers.npz:test=0.3").classes == ("-1", "7", "40")
    np.savez("names.npz", X=X, y=np.array(["pear", "apple", "fig"])[Y])
    dataset = tinydiv.load_data("names.npz:test=0.1")
    assert dataset.classes == ("apple", "fig", "pear")
    row = dataset.train_x[0]
    (at,) = np.flatnonzero((X.astype(np.float32) == row).all(axis=1))
    assert dataset.classes[dataset.train_y[0]] == ["pear", "apple", "fig"][Y[at]]


@pytest.mark.parametrize("shape", [(50, 5, 6), (50, 5, 6, 1)])
def test_images_keep_their_bytes_and_their_shape(shape):
    images = RNG.integers(0, 256, shape, dtype=np.uint8)
    np.savez("images.npz", X=images, y=Y)
    dataset = tinydiv.load_data("images.npz:test=0.2")
    assert dataset.image_shape == (5, 6)
    assert dataset.train_x.dtype == np.uint8
    assert dataset.train_x.shape == (40, 30)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table(delimiter):
    rows = [[x[0], ["a", "b c", "ä"][y], *x[1:]] for x, y in zip(X, Y, strict=True)]
    table("flowers.csv", ["long", "kind", "wide", "p", "q"], rows, delimiter)
    dataset = tinydiv.load_data("flowers.csv:target=kind,test=0.5,seed=3")
    assert dataset.classes == ("a", "b c", "ä")
    assert dataset.n_inputs == 4
    found = {tuple(row) for row in [*dataset.train_x, *dataset.test_x]}
    assert found == {tuple(row) for row in X.astype(np.float32)}


WEIGHTS = np.arange(50) / 10
FLAGS = ["--hidden", "4", "--batch-size", "10", "--epochs", "2", "--no-plot", "--quiet"]


def theta(folder):
    with np.load(f"{folder}/checkpoint.npz") as kept:
        return kept["theta"]


def test_weights_of_samples_from_an_array_and_from_a_column_are_the_same():
    np.savez("mine.npz", X=X, y=Y, w=WEIGHTS)
    rows = [[*map(repr, map(float, x)), f"c{y}", w] for x, y, w in zip(X, Y, WEIGHTS, strict=True)]
    table("mine.csv", ["a", "b", "c", "d", "kind", "w"], rows)
    one = tinydiv.load_data("mine.npz:weights=w,test=0.2")
    other = tinydiv.load_data("mine.csv:target=kind,weights=w,test=0.2")
    assert other.n_inputs == 4
    for dataset in (one, other):
        at = [np.flatnonzero((X.astype(np.float32) == x).all(axis=1))[0] for x in dataset.train_x]
        np.testing.assert_array_equal(dataset.weights, WEIGHTS[at])
    np.savez("parts.npz", train_x=X, train_y=Y, test_x=X, test_y=Y, w=WEIGHTS)
    assert tinydiv.load_data("parts.npz:weights=w").take(n_train=10).weights.shape == (10,)


@pytest.mark.parametrize(
    "more", [[], ["--replicas", "3", "--shuffle", "own"], ["--validation", "0.2"]]
)
def test_weights_by_class_are_class_weights(more):
    np.savez("mine.npz", X=X, y=Y, w=np.array([1, 0.5, 3])[Y])
    flags = [*FLAGS, "--dtype", "float64", *more]
    assert train.main(["--data", "mine.npz:weights=w", *flags, "--out", "one"]) == 0
    assert (
        train.main(["--data", "mine.npz", *flags, "--class-weights", "1,0.5,3", "--out", "two"])
        == 0
    )
    assert train.main(["--data", "mine.npz", *flags, "--out", "plain"]) == 0
    np.testing.assert_allclose(theta("one"), theta("two"), rtol=1e-9)
    assert not np.allclose(theta("one"), theta("plain"), rtol=1e-3)


def test_weights_stay_with_the_samples_in_several_processes_and_after_a_stop():
    np.savez("mine.npz", X=X, y=X[:, :1], w=WEIGHTS)
    flags = [*FLAGS, "--data", "mine.npz:weights=w", "--replicas", "4"]
    assert train.main([*flags, "--out", "one"]) == 0
    assert train.main([*flags, "--out", "two", "--workers", "2"]) == 0
    assert train.main([*flags[2:], "--hidden", "4", "--epochs", "1", "--out", "three"]) == 0
    assert train.main(["--resume", "three", "--epochs", "2", "--no-plot", "--quiet"]) == 0
    np.testing.assert_array_equal(theta("one"), theta("two"))
    np.testing.assert_array_equal(theta("one"), theta("three"))


@pytest.mark.parametrize(
    ("spec", "weights", "sentence"),
    [
        ("mine.npz:weights=v", WEIGHTS, "there is no array of"),
        ("mine.npz:weights=w", WEIGHTS[1:], "should be 50 numbers, one per training sample"),
        (
            "mine.npz:weights=w",
            -WEIGHTS,
            "should be numbers from 0 up, not all 0: they run from -4.9 to",
        ),
        ("mine.npz:weights=w", 0 * WEIGHTS, "not all 0"),
        ("mine.npz:weights=w", np.append(WEIGHTS[1:], np.inf), "hold NaN or infinity"),
        ("table.csv:target=b,weights=v", WEIGHTS, "there is no column of"),
        ("table.csv:target=b,weights=b", WEIGHTS, "'b' cannot be targets and weights at once"),
        ("idx:weights=w", WEIGHTS, "a folder of IDX files has no weights"),
    ],
)
def test_weights_that_cannot_be_are_one_sentence(tmp_path, spec, weights, sentence):
    np.savez("mine.npz", X=X, y=Y, w=weights)
    table("table.csv", ["a", "b"], [[i, i / 2] for i in range(20)])
    idx_folder(tmp_path / "idx")
    with pytest.raises(UsageError, match=sentence):
        tinydiv.load_data(spec)


def test_techniques_and_every_backend_take_the_weighted_loss(backend):
    """Two networks on orders of their own; negative correlation computes the loss itself."""
    dataset = Dataset("mine", X, Y, X, Y, classes=("a", "b", "c"), weights=WEIGHTS)
    losses_seen = []
    for one in (dataset, replace(dataset, weights=np.ones(50)), replace(dataset, weights=None)):
        net = network([4, 3, 3], replicas=2, dtype="float64")
        spec = ["negative-correlation:strength=0.5"]
        train_here(net, one, SGD(net), spec, epochs=2, batch_size=10, seed=[0, 1], metrics=[])
        losses_seen.append(to_host(net.theta))
    assert abs(losses_seen[0] - losses_seen[1]).max() > 1e-3
    np.testing.assert_allclose(losses_seen[1], losses_seen[2], rtol=1e-9, atol=1e-12)
    with pytest.raises(
        UsageError, match=r"samples of 'mine' have weights, which would be left out"
    ):
        next(batches(DeviceData(dataset, "float64"), 10, 0, 0))


def test_a_study_shares_the_weights_with_its_processes(tmp_path):
    np.savez("mine.npz", X=X, y=Y, w=WEIGHTS)
    origin = sharing.Origin("mine.npz:weights=w,test=0.2", 30, None, 0)
    dataset = sharing.load(origin)
    source = sharing.share(origin, dataset, tmp_path)
    np.testing.assert_array_equal(sharing.mapped(source, "raw").weights, dataset.weights)
    assert source.fingerprint != sharing.fingerprint(replace(dataset, weights=None))


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_folder_of_idx_files(tmp_path, ending):
    idx_folder(tmp_path / "mine", ending)
    dataset = tinydiv.load_data("mine/")
    assert dataset.train_x.shape == (20, 30)
    assert dataset.image_shape == (5, 6)
    assert dataset.classes == ("0", "1")


@pytest.mark.parametrize("target", [X[:, :1] * 2, X[:, 0] - 1, X[:, :2]])
def test_broken_numbers_are_numbers_to_learn(target, capsys):
    np.savez("mine.npz", X=X, y=target)
    dataset = tinydiv.load_data("mine.npz:test=0.2")
    assert dataset.classes == ()
    assert len(dataset.test_y) == 10
    wanted = {tuple(np.atleast_1d(row)) for row in target}
    assert {tuple(row) for row in [*dataset.train_y, *dataset.test_y]} == wanted
    flags = ["--hidden", "4", "--epochs", "1", "--no-plot", "--quiet"]  # squared-error by itself
    assert train.main(["--data", "mine.npz", *flags, "--out", "run"]) == 0
    capsys.readouterr()
    assert predictions.main(["run", "--no-plot"]) == 2
    assert "run learns numbers, and predictions are analysed for classes" in capsys.readouterr().err
    table("t.csv", ["a", "b"], [[i, i / 2] for i in range(20)])
    assert tinydiv.load_data("t.csv:target=b").classes == ()
    assert tinydiv.load_data("t.csv:target=a").n_classes == 20


# Runs ----------------------------------------------------------------------------------------------


@pytest.fixture
def run(capsys):
    def command(*flags, main=train.main):
        code = main([*flags, "--no-plot"])
        return code, *capsys.readouterr()

    return command


SHORT = ("--hidden", "4", "--epochs", "1", "--quiet")


def test_a_run_keeps_what_was_drawn_and_refuses_changed_data(run, tmp_path, monkeypatch):
    np.savez("mine.npz", X=X, y=np.array(["no", "yes", "so"])[Y])
    code, _, printed = run("--data", "mine.npz", *SHORT, "--out", "run")
    assert code == 0
    assert printed.count("\n") == 1
    facts = json.loads((tmp_path / "run" / "config.json").read_text())
    assert facts["config"]["data"] == f"{tmp_path}/mine.npz:test=0.2,seed=0"
    assert list(facts["own_files"]) == [f"{tmp_path}/mine.npz"]
    with np.load("run/model.npz") as model:
        assert json.loads(str(model["metadata"]))["classes"] == ["no", "so", "yes"]
    assert run("--resume", "run", "--data", "mine.npz")[0] == 0  # equal settings may be repeated
    assert "keeps its settings" in run("--resume", "run", "--data", "mine.npz:test=0.3")[2]
    monkeypatch.chdir("/")
    folder = str(tmp_path / "run")
    code, words, printed = run(folder, main=predictions.main)
    assert (code, printed) == (0, "")
    assert "right on" in words
    np.savez(tmp_path / "mine.npz", X=X, y=np.array(["no", "yes", "so"])[Y[::-1]])
    for flags, main in ((["--resume", folder], train.main), ([folder], predictions.main)):
        code, _, printed = run(*flags, main=main)
        assert code == 2
        assert f"mine.npz was changed since the run in {folder} was made" in printed
    (tmp_path / "mine.npz").unlink()
    assert "mine.npz, which is missing" in run("--resume", folder)[2]


# What is refused -----------------------------------------------------------------------------------


def changed(array, at, value):
    array = array.copy()
    array[at] = value
    return array


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"X": X}, "should hold the arrays train_x, .*; it holds X"),
        ({"X": X, "y": Y[:9]}, "50 .*9"),
        (
            {"X": changed(X, (3, 2), np.nan), "y": Y},
            r"NaN or infinity at 1 place, the first at \[3, 2\]",
        ),
        ({"X": changed(X, (3, 2), 1e300), "y": Y}, "the first at"),
        ({"X": X[:0], "y": Y[:0]}, "is empty"),
        ({"X": X[:, :0], "y": Y}, "is empty"),
        ({"X": np.zeros((0, 5, 6)), "y": Y[:0]}, "is empty"),
        ({"X": X[:, 0], "y": Y}, "one row per sample"),
        ({"X": X.astype(complex), "y": Y}, "holds complex128, not numbers"),
        ({"X": X, "y": np.arange(5000)}, "5,000 different targets"),
        ({"X": X, "y": np.array(["a", ""] * 25)}, "without a class name"),
        ({"X": X[:1], "y": Y[:1]}, "validation part|1 to 0"),
        ({"X": X.astype(object), "y": Y}, "holds object, not numbers"),
    ],
)
def test_arrays_that_cannot_be_data_are_one_sentence(arrays, sentence):
    np.savez("mine.npz", **arrays)
    with pytest.raises((UsageError, RunError), match=sentence) as error:
        tinydiv.load_data("mine.npz")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("rows", "target", "sentence"),
    [
        ([["1", "2", "a"]] * 3, "kinds", "no column of .* called 'kinds': did you mean 'kind'"),
        ([["1", "2", "a"]] * 3, "", "name the column of the targets, .*:target=kind"),
        ([["1", "2", "a"], ["1", "x", "b"]], "kind", "row 3 has 'x' in the column 'q'"),
        ([["1", "2", "a"], ["1", "", "b"]], "kind", "row 3 has '' in the column 'q'"),
        ([["1", "2", "a"], ["1", "b"]], "kind", "row 3 has 2 cells, and the first row 3"),
        ([["1", "nan", "a"]] * 3, "kind", "row 2 has 'nan' in the column 'q'"),
        ([], "kind", "is empty"),
    ],
)
def test_tables_that_cannot_be_data_are_one_sentence(rows, target, sentence):
    table("t.csv", ["p", "q", "kind"], rows)
    with pytest.raises(UsageError, match=sentence):
        tinydiv.load_data(f"t.csv:target={target}" if target else "t.csv")


def test_other_mistakes_are_one_sentence(tmp_path):
    idx_folder(tmp_path / "mine")
    np.savez("mine.npz", X=X, y=Y)
    np.savez("two.npz", train_x=X, train_y=Y, test_x=X, test_y=Y)
    (tmp_path / "evil.npz").write_bytes(pickle.dumps([1]))
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    for spec, sentence in {
        "none.npz": "there is no file or folder none.npz",
        "sub/none": "there is no file or folder sub/none",
        "mine.npz:tset=0.1": "called 'tset': did you mean 'test'",
        "mine.npz:test=2": "test must be a number from 0.001 to 0.999, got '2'",
        "mine.npz:seed=x": "seed must be a whole number",
        "two.npz:test=0.1": "has a test part: leave out test=0.1",
        "evil.npz": "evil.npz is damaged: File is not a zip file",
        "bytes.csv:target=a": "bytes.csv is damaged: 'utf-8' codec",
    }.items():
        with pytest.raises((UsageError, RunError), match=re.escape(sentence)):
            tinydiv.load_data(spec)
    (tmp_path / "mine" / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(UsageError, match="lacks the IDX file t10k-labels-idx1-ubyte"):
        tinydiv.load_data("mine")
    (tmp_path / "mine" / "t10k-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01\xff\xff\xff\xff")
    with pytest.raises(RunError, match=r"is damaged: the IDX header announces 4294967295 numbers"):
        tinydiv.load_data("mine")


def test_a_set_of_tinydivs_comes_before_a_folder_of_its_name(tmp_path):
    (tmp_path / "xor").mkdir()
    assert OwnData.named("xor") is None
    assert OwnData.named("./xor").path == tmp_path / "xor"
    assert OwnData.named("spirals:arms=3") is None
