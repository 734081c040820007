"""Neurons while they learn, as a GIF and at chosen epochs: which moments, what is shown, what is kept."""

import io
import itertools
import re
import signal

import numpy as np
import pytest
from helpers import network, refused
from PIL import Image

from tinydiv import loop as training
from tinydiv.data import load
from tinydiv.diversity import measure
from tinydiv.errors import UsageError
from tinydiv.loop import DeviceData
from tinydiv.optimizers import SGD
from tinydiv.plots import alt_text, gallery_picture, page
from tinydiv.train import animation, snapshots
from tinydiv.train import command as train
from tinydiv.train.animation import KEPT, LINGER, Film, Frames, moments
from tinydiv.train.snapshots import Snapshots
from tinydiv.train.snapshots_picture import snapshots_picture

SPIRALS = {"n_train": 100, "n_test": 20}


def frames_of(name="spirals", hidden=5, replicas=None, dtype="float64", total=40, **settings):
    """Frames of a network whose weights grow by a tenth at each step."""
    dataset = load(name, **settings)
    sizes = [dataset.n_inputs, hidden, dataset.n_classes]
    net = network(sizes, replicas=replicas, dtype=dtype)
    frames = Frames(net, DeviceData(dataset, dtype), total)
    return net, frames


def test_moments_are_dense_at_first_and_hold_both_ends():
    steps = sorted(moments(10_000))
    assert (steps[0], steps[-1]) == (0, 10_000)
    assert len(steps) == animation.MOMENTS + 1
    assert (np.diff(np.diff(steps)) >= -1).all()
    assert sorted(moments(3)) == [0, 1, 2, 3]
    assert moments(0) == {0}


def test_what_older_runs_kept_is_still_read(tmp_path):
    """They called responses answers."""
    net, frames = frames_of("fashion-mini", total=1)
    seen = Snapshots(net, frames.data, [0])
    frames.look(0)
    seen(training.Record(0, 0, 0.0, 1.0, [], [], []))
    for one, file in ((frames, KEPT), (seen, snapshots.KEPT)):
        one.save(tmp_path)
        with np.load(tmp_path / file) as saved:
            older = {k.replace("responses", "answers"): saved[k] for k in saved.files}
        np.savez(tmp_path / file, **older)
        expected, one.responses = one.responses, []
        if one is seen:
            seen.correlations, seen.weights = {}, []
        one.load(tmp_path, 1)
        np.testing.assert_allclose(one.responses, expected, rtol=1e-6)


@pytest.mark.parametrize("replicas", [None, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_frames_keep_what_the_network_was(replicas, dtype):
    net, frames = frames_of(replicas=replicas, dtype=dtype, **SPIRALS)
    kept, found = [], []
    for step in range(41):
        if step in frames.moments:
            first = net.W[0] if replicas is None else net.W[0][0]
            kept.append(first.copy())
            value = measure(net, net.forward(frames.probe), ["correlation"])["correlation"]
            found.append(float(np.ravel(value)[0]))
        frames.look(step)
        frames.look(step)  # the same moment twice is one frame
        net.theta *= 1.1
    assert len(frames.steps) == len(frames.moments)
    np.testing.assert_array_equal(frames.weights, kept)
    np.testing.assert_allclose(frames.correlation, found)


def test_arrows_paths_and_curve_are_the_frames(tmp_path):
    net, frames = frames_of(**SPIRALS)
    for step in range(41):
        frames.look(step)
        net.theta *= 1.03
    with page("light"):
        film = Film(frames)
        film.show(7)
    (heads,) = (c for c in film.left.collections if hasattr(c, "U"))
    np.testing.assert_allclose([heads.U, heads.V], frames.weights[7])
    trails = [line.get_xydata() for line in film.left.lines if len(line.get_xydata()) == 8]
    np.testing.assert_allclose(np.stack(trails, axis=-1), frames.weights[:8])
    assert film.left.get_xlim()[1] == pytest.approx(1.1 * np.abs(frames.weights[:8]).max())
    np.testing.assert_allclose(
        film.line.get_xydata(), np.stack([frames.steps[:8], frames.correlation[:8]], axis=-1)
    )
    assert film.figure.get_suptitle() == f"step {frames.steps[7]} of 40"


def test_images_show_every_neuron():
    net, frames = frames_of("fashion-mini", hidden=4)
    for step in (0, 40):
        frames.look(step)
        net.theta *= -2
    with page("light"):
        film = Film(frames)
        film.show(1)
    (picture,) = film.left.images
    canvas = np.asarray(picture.get_array())
    X = frames.data.probe()
    A = np.maximum(X @ frames.weights[1] + net.b[0] / -2, 0)  # as it was before the last change
    for h, tile in ((0, canvas[:28, :28]), (3, canvas[30:58, 30:58])):
        wanted = X.T @ A[:, h] / A[:, h].sum() - X.mean(axis=0)
        np.testing.assert_allclose(tile.reshape(-1), wanted / np.abs(wanted).max(), atol=1e-6)
    assert picture.get_clim() == (-1, 1)  # one scale for all frames


@pytest.mark.parametrize("name", ["parity", "life"])
def test_other_inputs_and_small_patches_are_a_heat_map(name):
    net, frames = frames_of(name)
    frames.look(0)
    net.theta *= 3
    frames.look(40)
    with page("dark"):
        film = Film(frames)
        film.show(1)
    moved = frames.weights[1] - frames.weights[0]
    np.testing.assert_allclose(film.left.images[0].get_array(), moved)


def test_the_gif_has_a_picture_per_moment(tmp_path):
    net, frames = frames_of(total=9, **SPIRALS)
    for step in range(10):
        frames.look(step)
        net.theta += 0.1
    frames.write(tmp_path / "film.gif", kind="dark")
    with Image.open(tmp_path / "film.gif") as film:
        assert film.n_frames == len(frames.steps)  # the last one lingers
        seen, durations = [], []
        for i in range(film.n_frames):
            film.seek(i)
            seen.append(np.asarray(film.convert("RGB"), dtype=int))
            durations.append(film.info["duration"])
    assert all(np.abs(a - b).max() > 50 for a, b in itertools.pairwise(seen))
    assert durations[-1] >= LINGER * durations[0]
    assert seen[0].mean() < 80  # a dark page


def test_nothing_to_show_is_one_sentence(tmp_path):
    _, frames = frames_of(**SPIRALS)
    with pytest.raises(UsageError, match="at least one moment"):
        frames.write(tmp_path / "film.gif")
    dataset = load("spirals", **SPIRALS)
    with pytest.raises(UsageError, match="no neurons to animate"):
        Frames(network([2, dataset.n_classes]), DeviceData(dataset, "float32"), 9)


RUN = ["--data", "spirals:n_train=100,n_test=20", "--hidden", "4", "--epochs", "3", "--quiet"]


def test_a_stopped_run_goes_on_with_its_film(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(animation, "moments", lambda total: set(range(0, total + 1, 5)) | {13})
    flags = [*RUN, "--batch-size", "10", "--no-plot", "--animate"]
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert train.main([*flags, "--out", str(whole)]) == 0
    real = Frames.look

    def look(self, step):
        real(self, step)
        if step == 13:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Frames, "look", look)
        assert train.main([*flags, "--out", str(stopped)]) == 130
    assert not (stopped / "neurons.gif").exists()
    resume = ["--resume", str(stopped), "--animate", "--no-plot", "--quiet"]
    assert train.main(resume) == 0
    with np.load(whole / KEPT) as a, np.load(stopped / KEPT) as b:
        for key in ("steps", "weights", "correlation"):
            np.testing.assert_array_equal(a[key], b[key])
    assert (whole / "neurons.gif").read_bytes() == (stopped / "neurons.gif").read_bytes()
    assert re.search("run folder", capsys.readouterr().out)


def test_without_the_flag_nothing_is_kept(tmp_path):
    assert train.main([*RUN, "--no-plot", "--out", str(tmp_path / "run")]) == 0
    assert not (tmp_path / "run" / KEPT).exists()
    assert not (tmp_path / "run" / "neurons.gif").exists()


# Snapshots ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("replicas", [None, 3])
def test_snapshots_are_the_networks_at_chosen_epochs(replicas):
    dataset = load("spirals", **SPIRALS)
    net = network([2, 6, 5, dataset.n_classes], replicas=replicas)
    data, kept = DeviceData(dataset, "float32"), {}
    seen = Snapshots(net, data, (0, 2, 3), layer=2, network=2 if replicas else 0)

    def on_epoch(record):
        seen(record)
        kept[record.epoch] = net.W[1].reshape(-1, 6, 5)[seen.network].copy()

    training.train(net, data, SGD(net, 0.1), epochs=3, batch_size=25, on_epoch=on_epoch)
    np.testing.assert_array_equal(seen.weights, [kept[e] for e in (0, 2, 3)])
    assert list(seen.correlations) == ["epoch 0", "epoch 2", "epoch 3"]
    A = net.forward(data.probe()).A[2].reshape(-1, 100, 5)[seen.network].astype(float)
    alive = A.std(axis=0) >= 1e-3
    wanted = np.corrcoef(A[:, alive].T)
    np.testing.assert_allclose(seen.correlations["epoch 3"][alive][:, alive], wanted, atol=1e-4)
    figure = gallery_picture(seen.correlations)
    assert [ax.get_title(loc="left").splitlines()[0] for ax in figure.axes[:3]] == [
        *seen.correlations
    ]
    for wrong in ({"layer": 3}, {"layer": 0}, {"network": 3}):
        with pytest.raises(UsageError, match="there is no"):
            Snapshots(net, data, (0,), **wrong)


def seen_and_records(replicas=3, hidden=(6, 5), epochs=(0, 1, 3), metrics=None, **more):
    dataset = load("spirals", **SPIRALS)
    net = network([2, *hidden, dataset.n_classes], replicas=replicas)
    seen = Snapshots(net, dataset, epochs, **more)
    records = training.train(
        net, dataset, SGD(net, 0.1), epochs=3, batch_size=25, on_epoch=seen, metrics=metrics
    )
    return seen, records


def test_sleeping_neurons_are_not_counted_as_dead():
    seen, records = seen_and_records(layer=1, epochs=(0, 3))
    for number, silent in enumerate([3, 1]):
        seen.correlations[f"epoch {(0, 3)[number]}"][:silent] = 0
        seen.correlations[f"epoch {(0, 3)[number]}"][:, :silent] = 0
        seen.weights[number][:, 1:silent] = 0  # the first neuron has weights, and is dead
    titles = [ax.get_title(loc="left") for ax in snapshots_picture(seen, records).axes[:2]]
    assert titles[0].endswith(", 1 dead, 2 asleep")
    assert titles[1].endswith(" dead")


@pytest.mark.parametrize("kind", ["light", "dark"])
def test_one_page_shows_how_neurons_came_apart(kind):
    seen, records = seen_and_records(layer=2, network=1)
    figure = snapshots_picture(seen, records, kind=kind)
    figure.savefig(io.BytesIO(), dpi=40)
    titles = [ax.get_title(loc="left").splitlines()[0] for ax in figure.axes[:3]]
    assert titles == ["epoch 0", "epoch 1", "epoch 3"]
    found = np.ma.filled(figure.axes[2].images[0].get_array(), 0)
    off = ~np.eye(5, dtype=bool)
    np.testing.assert_allclose(found[off], seen.correlations["epoch 3"][off])
    labels = {ax.get_ylabel(): ax for ax in figure.axes}
    assert {"eigenvalue of the correlations", "correlation", "dead neurons"} <= set(labels)
    np.testing.assert_allclose(
        labels["dead neurons"].lines[-1].get_ydata(),
        [np.mean(r.diversity["dead_fraction.2"]) for r in records],
    )
    assert "hidden layer 2 of network 1" in figure.get_suptitle()
    assert "asleep" not in "".join(ax.get_title(loc="left") for ax in figure.axes)
    assert "3 by 3" not in alt_text(figure)
    assert "5 by 5 correlations" in alt_text(figure)
    legend = labels["eigenvalue of the correlations"].get_legend()
    page_is_light = sum(figure.get_facecolor()[:3]) > 1.5
    assert (sum(legend.get_frame().get_facecolor()[:3]) > 1.5) == page_is_light == (kind == "light")


def test_the_page_has_what_was_measured_and_no_more():
    seen, records = seen_and_records(replicas=None, hidden=(6,), metrics=("effective_rank",))
    labels = [ax.get_ylabel() for ax in snapshots_picture(seen, records).axes]
    assert "dead neurons" not in labels
    assert "eigenvalue of the correlations" in labels
    empty, _ = seen_and_records(epochs=())
    with pytest.raises(UsageError, match="no snapshot was taken"):
        snapshots_picture(empty)


def test_a_stopped_run_goes_on_with_its_snapshots(tmp_path, monkeypatch, capsys):
    flags = [*RUN, "--batch-size", "10", "--no-plot", "--snapshots", "0,1,3"]
    whole, stopped, late = (tmp_path / name for name in ("whole", "stopped", "late"))
    assert train.main([*flags, "--out", str(whole)]) == 0
    real = Snapshots.__call__

    def call(self, record):
        real(self, record)
        if record.epoch == 2:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Snapshots, "__call__", call)
        assert train.main([*flags, "--out", str(stopped)]) == 130
        assert train.main([*flags[:-2], "--out", str(late), "--snapshots", "3"]) == 130
    for folder in (stopped, late):
        assert not (folder / "neurons.png").exists()
        resume = ["--resume", str(folder), "--snapshots", "3,0,1", "--no-plot", "--quiet"]
        assert train.main(resume) == 0
        assert (folder / "neurons.png").stat().st_size > 10_000
    printed = capsys.readouterr().err
    assert printed.count("no snapshot of epoch 0, 1: it had ended before") == 1
    with np.load(whole / snapshots.KEPT) as a, np.load(stopped / snapshots.KEPT) as b:
        assert a["epochs"].tolist() == [0, 1, 3]
        for key in ("epochs", "correlations", "weights"):
            np.testing.assert_array_equal(a[key], b[key])
    with np.load(late / snapshots.KEPT) as a:
        assert a["epochs"].tolist() == [3]


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--snapshots", "0,9"], "names epoch 9, and the last one is 3"),
        (["--snapshots", "0,x"], "each epoch of --snapshots"),
        (["--snapshots", ""], "each epoch of --snapshots"),
        (["--snapshots", "1", "--hidden", "none"], "there is no hidden layer 1"),
    ],
)
def test_snapshots_that_cannot_be_are_one_sentence(flags, sentence, tmp_path, capsys):
    refused(capsys, train.main, [*RUN, "--out", str(tmp_path / "run"), *flags], sentence)
    assert not (tmp_path / "run").exists()
