"""Data sets: every byte checked, statistics from the training part only, no set in place of another."""

import gzip
import itertools
import math
import os
import re
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from made_sets import an_image_set, put

from tinydiv import data
from tinydiv.data import catalogue, files
from tinydiv.data.dataset import feature_statistics
from tinydiv.data.idx import idx_bytes, parse_idx
from tinydiv.errors import RunError, UsageError

byte_arrays = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=4, max_side=6))


# ---------------------------------------------------------------- the IDX format


def test_an_idx_file_written_by_hand_is_read():
    payload = (
        bytes([0, 0, 8, 2]) + bytes([0, 0, 0, 2, 0, 0, 0, 3]) + bytes([1, 2, 3, 250, 251, 252])
    )
    assert parse_idx(payload).tolist() == [[1, 2, 3], [250, 251, 252]]
    assert parse_idx(payload).dtype == np.uint8


@given(byte_arrays)
def test_writing_and_reading_idx_give_the_array_back(array):
    again = parse_idx(idx_bytes(array))
    assert again.shape == array.shape
    assert np.array_equal(again, array)


@given(byte_arrays, st.data())
def test_an_idx_file_that_is_cut_or_lengthened_is_refused(array, draw):
    payload = idx_bytes(array)
    cut = draw.draw(st.integers(0, len(payload) - 1))
    with pytest.raises(ValueError, match="IDX"):
        parse_idx(payload[:cut])
    with pytest.raises(ValueError, match=r"announces \d+ numbers"):
        parse_idx(payload + b"\0")


@given(st.binary(max_size=64))
def test_arbitrary_bytes_are_parsed_or_refused_with_a_sentence(payload):
    try:
        array = parse_idx(payload)
    except ValueError as error:
        array, refusal = None, str(error)
    if array is None:
        assert "IDX" in refusal
    else:
        assert idx_bytes(array) == payload


# ---------------------------------------------------------------- scaling of inputs


def a_dataset(train_x, test_x=None, inputs="raw", classes=("a", "b")):
    test_x = train_x if test_x is None else test_x
    return data.Dataset(
        name="own",
        train_x=train_x,
        train_y=np.arange(len(train_x)) % len(classes),
        test_x=test_x,
        test_y=np.arange(len(test_x)) % len(classes),
        classes=classes,
        inputs=inputs,
    )


stored = st.one_of(
    hnp.arrays(np.uint8, (7, 5)),
    hnp.arrays(np.float32, (7, 5), elements=st.floats(-100, 100, width=32)),
)


@given(stored)
def test_statistics_equal_numpys_own_in_float64(x):
    unit = 255 if x.dtype == np.uint8 else 1
    mean, std = feature_statistics(x)
    np.testing.assert_allclose(mean, (x.astype(np.float64) / unit).mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(std, (x.astype(np.float64) / unit).std(axis=0), atol=1e-12)


def test_statistics_of_more_rows_than_one_chunk():
    x = np.random.default_rng(0).integers(0, 256, (10_000, 3), dtype=np.uint8)
    mean, std = feature_statistics(x)
    np.testing.assert_allclose(mean, (x / 255).mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(std, (x / 255).std(axis=0), rtol=1e-12)


@given(stored, stored, st.sampled_from(data.INPUTS))
def test_inputs_follow_their_formula_and_the_training_part_alone(train_x, test_x, inputs):
    test_x = test_x.astype(train_x.dtype)
    dataset = a_dataset(train_x, test_x, inputs)
    unit = 255 if train_x.dtype == np.uint8 else 1
    train = train_x.astype(np.float64) / unit
    test = test_x.astype(np.float64) / unit
    if inputs != "raw":
        test = test - train.mean(axis=0)
    if inputs == "standardised":
        test = test / np.maximum(train.std(axis=0), 0.1)
    np.testing.assert_allclose(dataset.floats("test", "float64"), test, rtol=1e-5, atol=1e-4)
    assert dataset.floats("test").dtype == np.float32
    assert dataset.floats("train", "float64").dtype == np.float64


def test_a_batch_becomes_the_same_floats_as_the_whole_part():
    dataset = data.load("fashion-mini", "standardised").take(50, 10)
    batch = dataset.transform.apply(dataset.train_x[3:9])
    assert np.array_equal(batch, dataset.floats("train")[3:9])
    assert dataset.transform.scale.dtype == dataset.transform.shift.dtype == np.float32
    assert dataset.transform.scale.shape == dataset.transform.shift.shape == (784,)


def test_floats_belong_to_the_caller():
    for name in ("fashion-mini", "moons"):
        dataset = data.load(name).take(20, 10)
        before = dataset.train_x.copy()
        dataset.floats("train")[...] = 7
        assert np.array_equal(dataset.train_x, before)


def test_standardised_images_stay_small_and_ordinary_pixels_have_deviation_one():
    dataset = data.load("fashion-mini", "standardised")
    _, std = feature_statistics(dataset.train_x)
    ordinary = std > 0.1
    assert 600 < ordinary.sum() < 784  # both kinds of pixels occur
    train = dataset.floats("train", "float64")
    np.testing.assert_allclose(train.std(axis=0)[ordinary], 1, rtol=1e-5)
    assert train.std(axis=0)[~ordinary].max() < 1
    assert np.abs(dataset.floats("test")).max() <= 10


def test_a_feature_that_never_changes_becomes_zero():
    x = np.full((4, 2), 3, np.float32)
    x[:, 1] = [0, 1, 0, 1]
    assert a_dataset(x, inputs="standardised").floats("train").tolist() == [
        [0, -1],
        [0, 1],
        [0, -1],
        [0, 1],
    ]


def test_a_wrong_part_or_dtype_is_named():
    dataset = data.load("xor")
    with pytest.raises(UsageError, match="'tran': did you mean 'train'"):
        dataset.floats("tran")
    with pytest.raises(UsageError, match="'float16'"):
        dataset.floats("test", "float16")


# ---------------------------------------------------------------- splitting and taking

labels = st.lists(st.integers(0, 3), min_size=2, max_size=60)


def from_labels(y):
    x = np.arange(len(y), dtype=np.float32)[:, None]  # each input names its own row
    y = np.array(y, dtype=np.int64)
    return data.Dataset("own", x, y, x, y, classes=("a", "b", "c", "d"))


@given(labels, st.data(), st.integers(0, 5))
def test_a_split_is_a_partition_that_keeps_the_shares_of_the_classes(y, draw, seed):
    dataset = from_labels(y)
    n = draw.draw(st.integers(1, len(y) - 1))
    split = dataset.split(n, seed)
    assert len(split.test_y) == n
    rows = np.concatenate([split.train_x, split.test_x])[:, 0]
    assert sorted(rows.tolist()) == list(range(len(y)))
    for k in range(4):
        share = n * y.count(k) / len(y)
        assert math.floor(share) <= (split.test_y == k).sum() <= math.ceil(share)
    for x, labels_of_x in ((split.train_x, split.train_y), (split.test_x, split.test_y)):
        assert np.array_equal(dataset.train_y[x[:, 0].astype(int)], labels_of_x)
    again = dataset.split(n, seed)
    assert np.array_equal(split.test_x, again.test_x)


def test_a_split_never_touches_the_test_part_and_depends_on_the_seed():
    dataset = data.load("fashion-mini")
    split = dataset.split(1000, seed=1)
    assert np.bincount(split.test_y).tolist() == [100] * 10
    assert np.bincount(split.train_y).tolist() == [500] * 10
    other = dataset.split(1000, seed=2)
    assert not np.array_equal(split.test_x, other.test_x)
    test_rows = {row.tobytes() for row in dataset.test_x}
    train_rows = {row.tobytes() for row in dataset.train_x}
    held_out = {row.tobytes() for row in split.test_x}
    assert held_out <= train_rows
    assert not held_out <= test_rows
    assert "1000 held-out" in split.source


def test_statistics_after_a_split_are_those_of_what_is_left():
    dataset = data.load("moons", "standardised").split(500, seed=0)
    np.testing.assert_allclose(dataset.floats("train", "float64").mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(dataset.floats("train", "float64").std(axis=0), 1, rtol=1e-6)
    assert np.abs(dataset.floats("test", "float64").mean(axis=0)).min() > 1e-6


@given(labels, st.data())
def test_taking_gives_the_first_of_each_class(y, draw):
    dataset = from_labels(y)
    n = draw.draw(st.integers(1, len(y)))
    taken = dataset.take(n, 1)
    assert len(taken.train_y) == n
    assert len(taken.test_y) == 1
    rows = taken.train_x[:, 0].astype(int)
    assert np.all(np.diff(rows) > 0)
    for k in range(4):
        of_class = np.flatnonzero(np.array(y) == k)
        count = (taken.train_y == k).sum()
        assert rows[taken.train_y == k].tolist() == of_class[:count].tolist()
        assert abs(count - n * len(of_class) / len(y)) < 1


def test_taking_nothing_in_particular_keeps_the_part():
    dataset = data.load("moons")
    taken = dataset.take(n_test=10)
    assert np.array_equal(taken.train_x, dataset.train_x)
    assert len(taken.test_y) == 10


@pytest.mark.parametrize("n", [0, -1, 5])
def test_sizes_out_of_range_are_refused(n):
    xor = data.load("xor")
    with pytest.raises(UsageError, match="1 to 4 can be taken"):
        xor.take(n, 1)
    with pytest.raises(UsageError, match="1 to 3 of its 4"):
        xor.split(n, seed=0)


# ---------------------------------------------------------------- a reader's own arrays


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"train_x": np.full((4, 2), "a")}, "a matrix of numbers, .* not <U1"),
        ({"train_x": np.zeros(4, np.float32)}, "should be a matrix"),
        (
            {"train_y": np.zeros(3, np.int64)},
            "should be 4 whole numbers, the class of each row, not int64 of shape",
        ),
        ({"train_y": np.zeros(4)}, r"not float64 .* Write y.astype\(int\), or classes=\(\)"),
        ({"train_y": np.eye(4, 2)}, r"of shape \(4, 2\). Write y.argmax\(axis=1\)"),
        ({"train_y": ["a", "b", "b", "a"]}, "np.unique\\(y, return_inverse=True\\)"),
        ({"classes": "ab"}, r"one text: write \['ab'\]"),
        ({"classes": ()}, "4 floats, or 4 rows .* not int64 .* Class numbers need classes="),
        (
            {"test_x": [[0, 0], [0, np.nan], [1, 0], [np.inf, 1]]},
            r"test inputs .* NaN or infinity at 2 places, the first at \[1, 1\]",
        ),
        ({"image_shape": (1, 1, 2)}, r"\(rows, columns\) of one grey picture, got \(1, 1, 2\)"),
        ({"train_y": np.array([0, 1, 2, 0])}, "run from 0 to 2, but there are 2 classes"),
        ({"test_y": np.array([0, -1, 0, 0])}, "test labels .* run from -1"),
        ({"test_x": np.zeros((4, 3), np.float32)}, "trains on 2 .* tests on 3"),
        ({"test_x": np.zeros((4, 2), np.uint8)}, "float32 inputs but tests on 2 uint8"),
        (
            {"test_x": np.zeros((0, 2), np.float32), "test_y": np.zeros(0, np.int64)},
            "test .* empty",
        ),
        ({"image_shape": (3, 3)}, "2 inputs do not form a picture of shape"),
        ({"inputs": "centered"}, "did you mean 'centred'"),
    ],
)
def test_arrays_that_do_not_fit_are_named(change, sentence):
    with pytest.raises(UsageError, match=sentence):
        replace(data.load("xor"), **change)


def test_lists_frames_and_the_usual_kinds_of_numbers_are_taken_by_position():
    """A column of a frame keeps the order of its rows: a shuffled index plays no part."""

    class Column:  # what np.asarray sees of a pandas Series
        def __init__(self, values):
            self.values = np.array(values)

        def __array__(self, dtype=None, copy=None):
            return self.values if dtype is None else self.values.astype(dtype)

        def __getitem__(self, key):
            raise KeyError("by index")

    rows = [[0, 1], [2, 3], [4, 5]]
    made = data.Dataset(
        "own", rows, Column([0, 1, 1]), Column(rows), np.array([[1], [0], [1]], "int8"), ["a", "b"]
    )
    assert made.train_x.dtype == np.float32
    assert made.train_x.tolist() == made.test_x.tolist() == rows
    assert (made.train_y.tolist(), made.test_y.tolist()) == ([0, 1, 1], [1, 0, 1])
    assert made.train_y.dtype == made.test_y.dtype == np.int64
    assert made.classes == ("a", "b")


@pytest.mark.parametrize("shape", [(3, 2), (3, 2, 1), None])
def test_images_become_rows_and_keep_their_shape(shape):
    images = np.arange(24, dtype=np.uint8).reshape(4, 3, 2)
    made = data.Dataset("own", images, [0] * 4, images, [0] * 4, ("a",), image_shape=shape)
    assert made.train_x.tolist() == images.reshape(4, 6).tolist()
    assert (made.train_x.dtype, made.image_shape) == (np.uint8, (3, 2))


def test_pixels_as_floats_from_0_to_255_give_a_warning():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 16))
    with pytest.warns(UserWarning, match=r"whole numbers from 0 to 255 .* x.astype\('uint8'\)"):
        data.Dataset("own", pixels.astype(float), [0] * 5, pixels, [0] * 5, ("a",))
    for x, inputs in (
        (pixels.astype("uint8"), "raw"),
        (pixels / 255, "raw"),
        (pixels, "standardised"),
    ):
        data.Dataset("own", x, [0] * 5, x, [0] * 5, ("a",), inputs=inputs)


# ---------------------------------------------------------------- the embedded set


def test_fashion_mini_is_a_balanced_tenth_of_the_full_set():
    dataset = data.load("fashion-mini")
    assert dataset.train_x.shape == (6000, 784)
    assert dataset.test_x.shape == (1000, 784)
    assert dataset.train_x.dtype == dataset.test_x.dtype == np.uint8
    assert np.bincount(dataset.train_y).tolist() == [600] * 10
    assert np.bincount(dataset.test_y).tolist() == [100] * 10
    assert (dataset.n_inputs, dataset.n_classes, dataset.image_shape) == (784, 10, (28, 28))
    assert dataset.classes[9] == "Ankle boot"
    assert dataset.train_y[0] == 9  # the full set begins with an ankle boot, and so does this one
    # the full set's pixels: mean 0.2860, standard deviation 0.3530
    assert dataset.floats("train").mean() == pytest.approx(0.2860, abs=0.005)
    assert dataset.floats("train").std() == pytest.approx(0.3530, abs=0.005)


def test_fashion_mini_carries_its_licence():
    notice = (catalogue.DATASETS_FOLDER / "fashion-mini-LICENSE.txt").read_text(encoding="utf-8")
    assert "Zalando SE" in notice
    assert "THE SOFTWARE IS PROVIDED" in notice
    assert data.load("fashion-mini").licence == "MIT, Zalando SE 2017"


def test_fashion_mini_loads_in_less_than_a_third_of_a_second():
    def seconds():
        start = time.process_time()  # not of the clock: other programs may run
        assert data.load("fashion-mini", "standardised").transform.scale.shape == (784,)
        return time.process_time() - start

    assert min(seconds() for _ in range(3)) < 0.3


def test_one_flipped_bit_in_the_embedded_set_is_found(tmp_path, monkeypatch):
    folder = tmp_path / "fashion-mini"
    folder.mkdir()
    for file in catalogue.FASHION_MINI.files:
        payload = bytearray((catalogue.DATASETS_FOLDER / "fashion-mini" / file.name).read_bytes())
        if file.name == "t10k-images-idx3-ubyte":
            payload[400_000] ^= 1
        (folder / file.name).write_bytes(payload)
    monkeypatch.setattr(files, "DATASETS_FOLDER", tmp_path)
    with pytest.raises(RunError, match=r"t10k-images-idx3-ubyte is damaged.*install tinydiv again"):
        data.load("fashion-mini")


def test_a_change_of_one_loaded_set_does_not_change_the_next():
    data.load("fashion-mini").train_x[...] = 0
    assert data.load("fashion-mini").train_x.any()


# ---------------------------------------------------------------- full sets, on small made files


@pytest.fixture
def made(monkeypatch):
    """Two made sets in place of the full ones; returns the first and its payloads."""
    first, payloads = an_image_set("first", 1)
    second, _ = an_image_set("second", 2)
    monkeypatch.setattr(files, "FULL_SETS", {"first": first, "second": second})
    return first, payloads


def look_in(monkeypatch, *folders):
    monkeypatch.setattr(files, "search_folders", lambda: list(folders))


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("inside", ["first", "."])
def test_a_full_set_is_read_from_its_folder_or_from_the_folder_itself(
    made, tmp_path, monkeypatch, compressed, inside
):
    image_set, payloads = made
    put(tmp_path / inside, image_set, payloads, compressed)
    look_in(monkeypatch, tmp_path)
    parts = files.read_images("first")
    assert np.array_equal(parts.train_x, parse_idx(payloads[0]).reshape(20, 784))
    assert np.array_equal(parts.test_y, parse_idx(payloads[3]))
    assert parts.train_y.dtype == np.int64
    assert parts.folder == tmp_path / inside


def test_the_first_folder_wins(made, tmp_path, monkeypatch):
    for name in ("b", "c"):
        put(tmp_path / name / "first", *made)
    look_in(monkeypatch, tmp_path / "a", tmp_path / "b", tmp_path / "c")
    assert files.read_images("first").folder == tmp_path / "b" / "first"


def test_folders_are_searched_in_the_promised_order(tmp_path, monkeypatch):
    monkeypatch.setenv("TINYDIV_DATA_DIR", str(tmp_path / "mine"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert data.search_folders() == [
        tmp_path / "mine",
        tmp_path / "cache" / "tinydiv",
        Path("/usr/share/datasets"),
    ]
    monkeypatch.delenv("TINYDIV_DATA_DIR")
    assert data.search_folders()[0] == tmp_path / "cache" / "tinydiv"


@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        ("linux", {}, "HOME/.cache/tinydiv"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "HOME/.cache/tinydiv"),
        ("darwin", {}, "HOME/Library/Caches/tinydiv"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/tinydiv"),
        ("win32", {}, "HOME/.cache/tinydiv"),
    ],
)
def test_each_system_has_its_own_cache_folder(
    platform, environment, expected, tmp_path, monkeypatch
):
    for key in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(key, raising=False)
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr(catalogue.sys, "platform", platform)
    monkeypatch.setattr(catalogue.os.path, "expanduser", lambda path: str(tmp_path))
    assert data.cache_folder() == Path(expected.replace("HOME", str(tmp_path)))


def test_a_missing_set_is_refused_with_how_to_get_it_and_not_replaced(tmp_path, monkeypatch):
    look_in(monkeypatch, tmp_path)
    with pytest.raises(RunError) as caught:
        data.load("mnist")
    message = str(caught.value)
    assert "python data_scripts/download.py mnist" in message
    assert "TINYDIV_DATA_DIR" in message
    assert "'fashion-mini'" in message
    assert str(tmp_path) in message


def test_an_incomplete_folder_is_passed_over_and_named(made, tmp_path, monkeypatch):
    put(tmp_path / "half" / "first", *made)
    (tmp_path / "half" / "first" / "train-labels-idx1-ubyte.gz").unlink()
    look_in(monkeypatch, tmp_path / "half")
    with pytest.raises(RunError, match=r"first lacks train-labels-idx1-ubyte"):
        files.read_images("first")
    put(tmp_path / "whole" / "first", *made)
    look_in(monkeypatch, tmp_path / "half", tmp_path / "whole")
    assert files.read_images("first").folder == tmp_path / "whole" / "first"


def test_files_of_another_set_are_passed_over(made, tmp_path, monkeypatch):
    """All sets use the same file names, so a folder that holds them bare may hold another set."""
    put(tmp_path / "bare", *an_image_set("second", 2))
    look_in(monkeypatch, tmp_path / "bare")
    with pytest.raises(RunError, match="bare holds another set"):
        files.read_images("first")
    put(tmp_path / "right", *made)
    look_in(monkeypatch, tmp_path / "bare", tmp_path / "right")
    assert files.read_images("first").folder == tmp_path / "right"


def test_good_files_of_another_set_are_not_called_damaged(made, tmp_path, monkeypatch):
    put(tmp_path / "first", *an_image_set("second", 2))
    with pytest.raises(
        RunError, match="is undamaged but belongs to another set, 'second'"
    ) as printed:
        files.read_image_set(made[0], tmp_path / "first")
    assert "is damaged" not in str(printed.value)
    put(tmp_path / "first", *an_image_set("third", 3))  # a set that is not known here
    with pytest.raises(RunError, match="or of a set that only --data FOLDER reads"):
        files.read_image_set(made[0], tmp_path / "first")


@pytest.mark.parametrize("place", ["first/raw", "FIRST", "First/raw", "raw"])
@pytest.mark.parametrize("name", ["{}", "{}.gz", "{dot}", "{dot}.gz", "{}/{dot}", "{dot}/{}"])
def test_file_names_that_people_have(made, tmp_path, monkeypatch, place, name):
    image_set, payloads = made
    for file, payload in zip(image_set.files, payloads, strict=True):
        path = tmp_path / place / name.format(file.name, dot=file.name.replace("-idx", ".idx"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(payload) if name.endswith(".gz") else payload)
    look_in(monkeypatch, tmp_path)
    assert files.read_images("first").train_x.shape == (20, 784)


def damage(kind, payload):
    compressed = gzip.compress(payload)
    flipped = bytearray(payload)
    flipped[-1] ^= 1
    return {
        "flipped bit": gzip.compress(bytes(flipped)),
        "flipped bit, plain": bytes(flipped),
        "cut gzip": compressed[: len(compressed) // 2],
        "wrong gzip sum": compressed[:-8] + b"\0" * 8,
        "rubbish after gzip": compressed + b"rubbish",
        "rubbish in gzip": compressed[:10] + b"\xff" * 20,
        "cut payload": gzip.compress(payload[:-1]),
        "long payload": gzip.compress(payload + b"\0"),
        "bomb": gzip.compress(b"\0" * 10_000_000),
        "empty": b"",
        "a page": b"<html>log in to this network first</html>",
    }[kind]


@pytest.mark.parametrize(
    "kind",
    [
        "flipped bit",
        "flipped bit, plain",
        "cut gzip",
        "wrong gzip sum",
        "rubbish after gzip",
        "rubbish in gzip",
        "cut payload",
        "long payload",
        "bomb",
        "empty",
        "a page",
    ],
)
def test_a_damaged_file_is_one_sentence_with_a_way_out(made, tmp_path, monkeypatch, kind):
    put(tmp_path / "first", *made)
    path = tmp_path / "first" / "train-images-idx3-ubyte.gz"
    path.write_bytes(damage(kind, made[1][0]))
    look_in(monkeypatch, tmp_path)
    with pytest.raises(RunError) as caught:
        files.read_images("first")
    message = str(caught.value)
    assert f"{path} is damaged" in message
    assert "python data_scripts/download.py first" in message
    assert "\n" not in message


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(RunError, match=re.escape(f"{tmp_path} cannot be read: ")):
        files.read_payload(tmp_path, catalogue.FASHION_MINI.files[0])


FULL_FOLDER = os.environ.get("TINYDIV_DATA_DIR", "")


@pytest.mark.parametrize(
    ("name", "mean", "std"), [("fashion-mnist", 0.2860, 0.3530), ("mnist", 0.1307, 0.3081)]
)
def test_the_full_sets_have_their_known_pixels(name, mean, std):
    if not FULL_FOLDER or not (Path(FULL_FOLDER) / name).is_dir():
        pytest.skip(f"the full set {name} is not in TINYDIV_DATA_DIR")
    dataset = data.load(name)
    assert dataset.train_x.shape == (60000, 784)
    assert dataset.test_x.shape == (10000, 784)
    assert dataset.train_x.mean(dtype=np.float64) / 255 == pytest.approx(mean, abs=5e-5)
    assert dataset.train_x[:].std(dtype=np.float64) / 255 == pytest.approx(std, abs=5e-5)


# ---------------------------------------------------------------- toys


def test_xor_is_exclusive_or():
    xor = data.load("xor")
    rows = {(*x, y) for x, y in zip(xor.train_x.tolist(), xor.train_y.tolist(), strict=True)}
    assert rows == {(0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0)}
    assert np.array_equal(xor.train_x, xor.test_x)


@pytest.mark.parametrize("bits", [1, 2, 5, 9])
def test_parity_lists_every_pattern_once(bits):
    toy = data.load("parity", bits=bits)
    patterns = [tuple(map(int, row)) for row in toy.train_x]
    assert patterns == list(itertools.product((0, 1), repeat=bits))
    assert toy.train_y.tolist() == [sum(pattern) % 2 for pattern in patterns]
    assert np.array_equal(toy.test_x, toy.train_x)


def test_parity_of_many_bits_is_drawn():
    toy = data.load("parity", bits=40, n_train=500, n_test=200, seed=3)
    assert toy.train_x.shape == (500, 40)
    assert toy.test_x.shape == (200, 40)
    assert set(np.unique(toy.train_x)) == {0, 1}
    assert np.array_equal(toy.train_y, toy.train_x.sum(axis=1) % 2)
    assert 0.4 < toy.train_x.mean() < 0.6


def test_life_agrees_with_the_game_played_on_a_board():
    toy = data.load("life")
    assert toy.image_shape == (3, 3)
    assert len({tuple(row) for row in toy.train_x.tolist()}) == 512
    assert toy.train_y.sum() == 140
    for patch, label in zip(toy.train_x.reshape(-1, 3, 3), toy.train_y, strict=True):
        around = [patch[i, j] for i in range(3) for j in range(3) if (i, j) != (1, 1)]
        survives = patch[1, 1] == 1 and sum(around) in (2, 3)
        is_born = patch[1, 1] == 0 and sum(around) == 3
        assert label == (survives or is_born)


@pytest.mark.parametrize("arms", [2, 5, 11])
def test_spirals_without_noise_lie_on_the_papers_curve(arms):
    toy = data.load("spirals", arms=arms, noise=0.0, n_train=100 * arms, n_test=50 * arms)
    curve = []
    for k in range(arms):
        radius, angle = np.linspace(0, 5, 100), np.linspace(4 * k, 4 * k + 4, 100)
        curve.append(np.stack([radius * np.sin(angle), radius * np.cos(angle)], axis=1))
    low, high = np.concatenate(curve).min(axis=0), np.concatenate(curve).max(axis=0)
    unscaled = (toy.train_x.astype(np.float64) + 1) / 2 * (high - low) + low
    for k in range(arms):
        points = unscaled[toy.train_y == k]
        outwards = np.argsort(np.hypot(*points.T))
        np.testing.assert_allclose(points[outwards], curve[k], atol=1e-5)


def test_spirals_are_the_papers_by_default():
    toy = data.load("spirals")
    assert len(toy.train_y) + len(toy.test_y) == 32768
    assert len(toy.train_y) == round(0.8 * 32768)
    assert toy.n_classes == 5
    assert np.ptp(np.bincount(toy.train_y)) <= 1
    assert toy.train_x.min(axis=0).tolist() == [-1, -1]
    assert toy.train_x.max(axis=0).tolist() == [1, 1]
    assert len(np.unique(toy.train_y[:50])) == 5  # mixed, not one class after the other


def test_noise_of_the_spirals_is_on_the_angle_alone():
    """Eleven arms fill the disc, so the scaling is by 5 within a percent, and can be undone."""
    toy = data.load("spirals", arms=11, noise=0.2, n_train=22_000, seed=1)
    x, y = 5 * toy.train_x.astype(np.float64).T
    radius = np.hypot(x, y)
    np.testing.assert_allclose(np.sort(radius[toy.train_y == 3]), np.linspace(0, 5, 2000), atol=0.1)
    expected = 4 * toy.train_y + 4 * radius / 5
    deviation = np.angle(np.exp(1j * (np.arctan2(x, y) - expected)))[radius > 1]
    assert deviation.std() == pytest.approx(0.2, abs=0.01)
    assert deviation.mean() == pytest.approx(0, abs=0.02)


def test_moons_without_noise_are_half_circles():
    toy = data.load("moons", noise=0.0, n_train=201, n_test=10)
    x, y = toy.train_x.astype(np.float64).T
    upper, lower = toy.train_y == 0, toy.train_y == 1
    assert upper.sum() == 101
    np.testing.assert_allclose((x**2 + y**2)[upper], 1, rtol=1e-6)
    assert y[upper].min() >= 0
    np.testing.assert_allclose(((x - 1) ** 2 + (y - 0.5) ** 2)[lower], 1, rtol=1e-6)
    assert y[lower].max() <= 0.5


@pytest.mark.parametrize("name", ["spirals", "moons"])
def test_drawn_toys_depend_on_the_seed_alone_and_test_on_fresh_noise(name):
    one, again, other = (data.load(name, seed=s) for s in (4, 4, 5))
    assert np.array_equal(one.train_x, again.train_x)
    assert np.array_equal(one.test_x, again.test_x)
    assert not np.array_equal(one.train_x, other.train_x)
    train_rows = {row.tobytes() for row in one.train_x}
    assert sum(row.tobytes() in train_rows for row in one.test_x) <= 0.001 * len(one.test_x)
    longer = data.load(name, seed=4, n_train=3000)
    assert np.array_equal(one.test_y, longer.test_y)  # a longer training draw leaves it alone
    if name == "moons":  # spirals are scaled by their training part
        assert np.array_equal(one.test_x, longer.test_x)


@pytest.mark.parametrize("name", ["spirals", "moons", "xor", "parity", "life"])
@pytest.mark.parametrize("inputs", data.INPUTS)
def test_every_toy_is_float32_with_whole_labels_in_range(name, inputs):
    toy = data.load(name, inputs)
    assert toy.train_x.dtype == toy.test_x.dtype == np.float32
    assert toy.train_y.dtype == toy.test_y.dtype == np.int64
    assert set(toy.train_y) == set(range(toy.n_classes)) == set(toy.test_y)
    assert np.isfinite(toy.floats("test")).all()
    if inputs == "standardised":
        np.testing.assert_allclose(toy.floats("train", "float64").std(axis=0), 1, rtol=1e-5)


# ---------------------------------------------------------------- names, settings, sentences


@pytest.mark.parametrize(
    ("name", "settings", "sentence"),
    [
        (
            "spirals",
            {"arm": 3},
            r"no setting of the toy set 'spirals' called 'arm': did you mean 'arms'",
        ),
        ("spirals", {"arms": 1}, "arms is a whole number from 2 to 11, got 1"),
        ("spirals", {"arms": 12}, "arms is a whole number from 2 to 11, got 12"),
        ("spirals", {"arms": 2.5}, "arms is a whole number"),
        ("spirals", {"arms": True}, "arms is a whole number"),
        ("spirals", {"n_train": 4}, "n_train is a whole number from 5 to"),
        ("spirals", {"noise": -0.1}, "noise is a number from 0 to 100, got -0.1"),
        ("moons", {"noise": math.nan}, "noise is a number from 0 to 100, got nan"),
        ("moons", {"noise": "much"}, "noise is a number from 0 to 100, got 'much'"),
        ("moons", {"n_test": 1}, "n_test is a whole number from 2"),
        ("parity", {"bits": 0}, "bits is a whole number from 1 to 64, got 0"),
        ("parity", {"bits": 65}, "bits is a whole number from 1 to 64, got 65"),
        ("xor", {"noise": 1}, "'xor' takes no settings, got 'noise'"),
        ("fashion-mini", {"noise": 1}, "'fashion-mini' takes no settings, got 'noise'"),
        ("xor", {"seed": -1}, "seed"),
        ("moons", {"seed": "x"}, "seed"),
        ("fashion_mini", {}, "no data set called 'fashion_mini': did you mean 'fashion-mini'"),
        ("mnist", {"inputs": "standardized"}, "did you mean 'standardised'"),
        ("moons", {"inputs": "standardized"}, "did you mean 'standardised'"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_one_sentence(name, settings, sentence):
    with pytest.raises(UsageError, match=sentence) as caught:
        data.load(name, **settings)
    assert "\n" not in str(caught.value)


def test_the_list_describes_every_set_once():
    described = data.describe()
    assert tuple(entry.name for entry in described) == data.NAMES
    assert len(set(data.NAMES)) == len(data.NAMES) == 16
    for entry in described:
        assert entry.line
        assert entry.source
        assert "\n" not in entry.line + entry.source
    assert "arms=5" in described[data.NAMES.index("spirals")].line


def test_the_repr_of_a_dataset_is_one_line():
    assert repr(data.load("life")) == (
        "Dataset('life': 512 training and 512 test samples, 9 raw inputs as 3 x 3 pictures, "
        "2 classes)"
    )
