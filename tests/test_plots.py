"""Pictures show the numbers that they are given, their text can be read, and no warning is raised."""

import io

import matplotlib
import numpy as np
import pytest
from helpers import network
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from tinydiv import data, plots
from tinydiv.backend import to_device, xp
from tinydiv.errors import UsageError
from tinydiv.initializers import initialize
from tinydiv.loop import Record, train
from tinydiv.mlp import MLP
from tinydiv.optimizers import Adam
from tinydiv.plots import style
from tinydiv.plots.curves import cloud, in_words, spread
from tinydiv.plots.style import title_of
from tinydiv.similarity import correlations
from tinydiv.techniques.grow import put_to_sleep
from tinydiv.trace.command import TraceConfig, traced
from tinydiv.trace.picture import in_cell, step_picture
from tinydiv.train.run_picture import confusion, confusion_picture, run_picture


def axis(**figure):
    """An axis on a figure of its own; drawing it is part of every test."""
    return Figure(layout="constrained", **figure).subplots()


def drawn(ax_or_figure):
    """Draw everything, to find errors that occur only then; returns the figure."""
    figure = ax_or_figure if isinstance(ax_or_figure, Figure) else ax_or_figure.figure
    figure.savefig(io.BytesIO(), dpi=40)
    return figure


def record(epoch, accuracy, *, loss=1.0, diversity=None):
    R = len(accuracy)
    return Record(
        *(epoch, 10 * epoch, 0.5 * epoch, 1.0, [loss] * R, [loss] * R, list(accuracy)),
        diversity=diversity or {},
    )


RECORDS = [
    record(0, [0.1, 0.2, 0.3], diversity={"correlation": [0.5, 0.6, 0.7]}),
    record(1, [0.5, 0.7, 0.6], diversity={"correlation": [0.4, 0.3, 0.2]}),
]


def trained(name="moons", hidden=(5,), replicas=3, epochs=2, dtype="float32", **settings):
    dataset = data.load(name, **settings)
    net = MLP([dataset.n_inputs, *hidden, dataset.n_classes], replicas=replicas, dtype=dtype)
    initialize(net)
    batch = min(64, len(dataset.train_x))
    return train(net, dataset, Adam(net), epochs=epochs, batch_size=batch), net, dataset


# Curves --------------------------------------------------------------------------------------------


def test_a_curve_is_the_mean_and_its_band_the_range():
    ax = axis()
    assert plots.learning_curves(ax, RECORDS) is ax
    drawn(ax)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [0.2, 0.6])
    np.testing.assert_allclose(ax.lines[0].get_xdata(), [0, 1])
    edges = ax.collections[0].get_paths()[0].vertices
    for x, low, high in ((0, 0.1, 0.3), (1, 0.5, 0.7)):
        heights = edges[edges[:, 0] == x, 1]
        assert (heights.min(), heights.max()) == pytest.approx((low, high))
    assert "mean of 3 networks" in title_of(ax)


def test_bands_are_what_their_labels_state():
    seen = np.array([1.0, 2.0, 6.0])
    assert spread(seen, "range") == (3.0, 1.0, 6.0)
    assert spread(seen, "deviation") == pytest.approx((3.0, 3 - 7**0.5, 3 + 7**0.5))
    many = np.random.default_rng(0).normal(size=400)
    middle, low, high = spread(many, "interval")
    assert low < middle < high
    assert high - low == pytest.approx(2 * 1.96 * many.std(ddof=1) / 20, rel=0.1)
    assert np.isnan(spread(np.array([]), "range")).all()
    assert spread(np.array([2.0]), "interval") == (2.0, 2.0, 2.0)


def test_quantiles_are_the_median_and_two_bands():
    ax = axis()
    many = np.random.default_rng(0).normal(size=(2, 400))
    plots.curve(ax, [0, 1], many, band="quantiles")
    drawn(ax)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), np.median(many, axis=1))
    for patch, (low, high) in zip(ax.collections, ((0.25, 0.75), (0.05, 0.95)), strict=True):
        edges = patch.get_paths()[0].vertices
        for x in (0, 1):
            heights = edges[edges[:, 0] == x, 1]
            wanted = np.quantile(many[x], (low, high))
            assert (heights.min(), heights.max()) == pytest.approx(tuple(wanted))


def test_a_histogram_counts_every_network_once():
    ax = axis()
    values = [*np.linspace(0.5, 0.6, 101), float("nan")]
    plots.histogram(ax, values)
    drawn(ax)
    assert sum(bar.get_height() for bar in ax.patches) == 101
    assert [line.get_xdata()[0] for line in ax.lines] == pytest.approx([0.505, 0.55, 0.595])
    assert "1 diverged" in title_of(ax)
    with pytest.raises(UsageError, match="at least one number"):
        plots.histogram(axis(), [float("nan")])


@pytest.mark.parametrize("n", [20, 1000])
def test_many_pairs_are_drawn_as_quantiles(n):
    ax = axis()
    x = np.random.default_rng(0).permutation(n) / n
    cloud(ax, x, 2 * x)
    drawn(ax)
    if n == 20:
        np.testing.assert_allclose(ax.collections[0].get_offsets(), np.stack([x, 2 * x], axis=1))
    else:
        np.testing.assert_allclose(*(ax.lines[0].get_ydata(), 2 * ax.lines[0].get_xdata()))
        assert len(ax.lines[0].get_xdata()) == 10


def test_networks_that_diverged_are_left_out():
    ax = axis()
    records = [RECORDS[0], record(1, [0.5, np.nan, 0.7]), record(2, [np.nan] * 3)]
    plots.learning_curves(ax, records)
    drawn(ax)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [0.2, 0.6, np.nan])


def test_several_runs_differ_in_colour_dash_and_mark():
    ax = axis(figsize=(9, 5))
    names = list("abcdefgh")
    plots.learning_curves(ax, dict.fromkeys(names, RECORDS))
    drawn(ax)
    looks = {(line.get_color(), line.get_linestyle(), line.get_marker()) for line in ax.lines}
    assert len(looks) == len(names)
    assert len({(line.get_linestyle(), line.get_marker()) for line in ax.lines}) == len(names)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == names


def test_a_metric_draws_one_line_per_layer():
    ax = axis()
    diversity = {"correlation.1": [0.1], "correlation.2": [0.2], "dead_fraction.1": [0.0]}
    records = [record(e, [0.5], diversity=diversity) for e in (0, 1)]
    plots.diversity_over_training(ax, records)
    assert [line.get_label() for line in ax.lines] == ["layer 1", "layer 2"]
    np.testing.assert_allclose(ax.lines[1].get_ydata(), [0.2, 0.2])
    drawn(ax)


def test_penalties_begin_where_they_were_measured():
    records = [record(e, [0.5, 0.5]) for e in (0, 1, 2)]
    for one in records[1:]:
        one.penalties = {"decov": [0.25, 0.75]}
    ax = axis()
    plots.learning_curves(ax, records, value="penalty.decov", over="step")
    np.testing.assert_allclose(ax.lines[0].get_xdata(), [10, 20])
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [0.5, 0.5])
    assert ax.get_ylabel() == "penalty decov"


def test_dead_units_are_shares():
    ax = axis()
    records = [record(e, [0.5], diversity={"dead_fraction": [d]}) for e, d in ((0, 0.0), (1, 0.25))]
    plots.dead_units(ax, records)
    drawn(ax)
    assert ax.yaxis.get_major_formatter()(0.25).startswith("25")
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [0, 0.25])
    low, high = ax.get_ylim()
    assert low < 0 < 0.25 < high


def test_wrong_values_and_bands_are_named():
    with pytest.raises(UsageError, match="did you mean 'test_accuracy'"):
        plots.learning_curves(axis(), RECORDS, value="test_acuracy")
    with pytest.raises(UsageError, match="did you mean 'range'"):
        plots.learning_curves(axis(), RECORDS, band="rangee")
    with pytest.raises(UsageError, match="no records"):
        plots.learning_curves(axis(), {"a": []})
    with pytest.raises(UsageError, match=r"shape \(2, R\)"):
        plots.curve(axis(), [0, 1], [[1.0]])


def test_words_for_keys():
    assert in_words("test_accuracy") == "test accuracy"
    assert in_words("weight_cosine.2") == "weight cosine, layer 2"
    assert in_words("penalty.decov") == "penalty decov"


# Neurons -------------------------------------------------------------------------------------------


def test_a_mosaic_holds_every_neurons_image(backend):
    W = to_device(np.arange(12.0 * 5).reshape(12, 5) - 30)
    ax = axis()
    dead = to_device(np.array([False, True, False, False, False]))
    plots.neuron_weights(ax, W, image_shape=(3, 4), dead=dead)
    drawn(ax)
    canvas = np.asarray(ax.images[0].get_array().filled(np.nan))
    across = (canvas.shape[1] + 2) // 6
    for h in range(5):
        top, left = h // across * 5, h % across * 6
        tile = canvas[top : top + 3, left : left + 4]
        np.testing.assert_array_equal(tile.ravel(), np.arange(12) * 5.0 + h - 30)
    assert len(ax.patches) == 5
    assert len(ax.lines) == 2  # the cross over the dead one
    low, high = ax.images[0].get_clim()
    assert low == -high


def test_what_neurons_answer_to_is_named_and_each_neuron_has_its_own_limits(backend):
    inputs = np.random.default_rng(0).normal(size=(64, 4)) * [1, 0.01, 0, 5]
    ax = axis()
    order, names = [3, 1, 0, 2], ["Bag", "Coat", "Bag", "Coat"]
    dead = [False, False, True, False]
    plots.neuron_responses(ax, to_device(inputs), (8, 8), names=names, order=order, dead=dead)
    drawn(ax)
    assert [text.get_text() for text in ax.texts] == ["3 Coat", "1 Coat", "0 Bag", "2 Bag"]
    canvas = np.asarray(ax.images[0].get_array().filled(np.nan))
    np.testing.assert_allclose(canvas[:8, 10:18].ravel(), inputs[:, 1] / abs(inputs[:, 1]).max())
    assert len(ax.lines) == 2  # the cross over the dead one
    assert "2 to Coat, 1 to Bag" in ax.get_label()
    many = axis()
    plots.neuron_responses(many, np.ones((64, 64)), (8, 8), names=["a"] * 64)
    assert not many.texts


def test_a_matrix_can_be_drawn_in_another_order():
    M = np.arange(9.0).reshape(3, 3) / 10 + np.eye(3)
    ax = axis()
    plots.similarity_matrix(ax, M, order=[2, 0, 1])
    drawn(ax)
    shown = ax.images[0].get_array()
    assert (shown[0, 1], shown[1, 2]) == (M[2, 0], M[0, 1])
    assert [text.get_text() for text in ax.get_yticklabels()] == ["2", "0", "1"]


def test_weights_that_are_no_images_are_a_heat_map():
    W = np.random.default_rng(0).normal(size=(7, 4))
    ax = axis()
    plots.neuron_weights(ax, np.stack([W, -W]), dead=np.array([0, 0, 1, 0]))
    drawn(ax)
    np.testing.assert_array_equal(ax.images[0].get_array(), W)
    assert title_of(ax).endswith("4 neurons, 1 dead")
    ax = axis()
    plots.neuron_weights(ax, W, dead=[True, False, True, True], asleep=[True, False, False, True])
    assert title_of(ax).endswith("4 neurons, 1 dead, 2 asleep")
    with pytest.raises(UsageError, match="7 weights"):
        plots.neuron_weights(axis(), W, image_shape=(2, 3))


def test_a_similarity_matrix_counts_living_pairs_only(backend):
    rng = np.random.default_rng(0)
    A = rng.normal(size=(50, 5)).astype("float32")
    A[:, 3] = 1  # constant: dead
    A[:, 1] = -A[:, 0]
    R = correlations(to_device(A), 1e-12).R
    ax = axis()
    plots.similarity_matrix(ax, R)
    drawn(ax)
    shown = ax.images[0].get_array()
    assert np.ma.getmaskarray(np.ma.masked_invalid(shown)).sum() == 5 + 8  # diagonal, dead
    living = np.corrcoef(np.delete(A, 3, axis=1).T)
    mean = np.abs(living[~np.eye(4, dtype=bool)]).mean()
    assert f"mean |correlation| = {mean:.2f}, 1 dead" in title_of(ax)
    assert ax.images[0].get_clim() == (-1, 1)
    assert [text.get_position() for text in ax.texts if text.get_text() == "−"].count((1, 0)) == 1


def test_a_single_neuron_has_no_pair():
    ax = axis()
    plots.similarity_matrix(ax, np.ones((1, 1)))
    drawn(ax)
    assert "no pair" in title_of(ax)
    with pytest.raises(UsageError, match="H x H"):
        plots.similarity_matrix(axis(), np.ones((2, 3)))


def test_a_gallery_shares_limits_and_shows_each_name():
    matrices = {name: np.eye(4) + 0.1 * k for k, name in enumerate("abcdefg")}
    figure = plots.gallery_picture(matrices, title="seven")
    drawn(figure)
    titles = [title_of(ax).splitlines()[0] for ax in figure.axes if title_of(ax)]
    assert titles == list("abcdefg")
    assert {ax.images[0].get_clim() for ax in figure.axes if title_of(ax)} == {(-1, 1)}
    with pytest.raises(UsageError, match="7 matrices"):
        plots.similarity_gallery([axis()], matrices)
    with pytest.raises(UsageError, match="no picture"):
        plots.gallery_picture({})


def test_a_spectrum_is_the_eigenvalues_of_the_living():
    R = np.array([[1, 0.5, 0, 0], [0.5, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1.0]])
    ax = axis()
    plots.correlation_spectrum(ax, {"one": R, "three": np.stack([np.eye(4)] * 3)})
    drawn(ax)
    np.testing.assert_allclose(ax.lines[0].get_ydata()[:3], [1.5, 1, 0.5])
    assert np.isnan(ax.lines[0].get_ydata()[3])
    assert ax.get_legend().get_window_extent().y0 >= ax.bbox.y1  # above: it covers no curve
    words = [text.get_text() for text in ax.get_legend().get_texts()]
    ratio = 9 / (1.5**2 + 1 + 0.25)
    assert words == [f"one: {ratio:.1f} of 3 directions", "three: 4.0 of 4 directions"]
    with pytest.raises(UsageError, match=r"\(H, H\)"):
        plots.correlation_spectrum(axis(), np.ones(3))


# The plane -----------------------------------------------------------------------------------------


def test_decision_regions_are_the_networks_predictions():
    net = MLP([2, 2, 2], activation="identity", dtype="float64")
    net.W[0][...] = np.eye(2)
    net.W[1][...] = [[1, 0], [0, 1]]  # class 1 where y > x
    dataset = data.load("moons", inputs="standardised")
    ax = axis()
    plots.decision_regions(ax, net, dataset)
    drawn(ax)
    classes = np.asarray(ax.images[0].get_array())
    left, right, bottom, top = ax.images[0].get_extent()
    x, y = np.meshgrid(np.linspace(left, right, 201), np.linspace(bottom, top, 201))
    shift, scale = dataset.transform.shift, dataset.transform.scale
    expected = (y - shift[1]) * scale[1] > (x - shift[0]) * scale[0]
    assert (classes == expected).mean() > 0.999
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["upper", "lower", "a neuron's zero"]
    right = (np.asarray(net.predict(dataset.floats("test", "float64"))) == dataset.test_y).mean()
    assert f"right on {right:.0%}" in title_of(ax)


def test_the_plane_is_computed_for_the_network_that_is_shown(monkeypatch):
    _, net, dataset = trained("moons", (4,), 3, n_train=64, n_test=20)
    rows, real = [], MLP.forward

    def forward(self, X, context=None):
        rows.append((self.replicas or 1) * X.shape[-2])
        return real(self, X, context)

    monkeypatch.setattr(MLP, "forward", forward)
    plots.decision_regions(axis(), net, dataset, replica=2)
    assert max(rows) == 201**2


def test_decision_regions_need_a_plane():
    net = MLP([9, 2])
    with pytest.raises(UsageError, match="need 2 inputs"):
        plots.decision_regions(axis(), net, data.load("life"))


def test_neurons_part_from_start_to_end(backend):
    snapshots = [np.array([[0.0, 1.0], [0.5, 0.0]]) + 0.1 * t for t in range(4)]
    ax = axis()
    plots.neurons_parting(ax, [to_device(W) for W in snapshots], dead=[False, True])
    drawn(ax)
    path = ax.lines[0].get_xydata()
    np.testing.assert_allclose(path, [[0.1 * t, 0.5 + 0.1 * t] for t in range(4)])
    assert ax.lines[2].get_color() == style.DEAD
    ax = axis()
    wide = np.random.default_rng(0).normal(size=(3, 6, 4))
    plots.neurons_parting(ax, wide)
    drawn(ax)
    assert "principal" in ax.get_xlabel()
    U = np.linalg.svd(wide[-1])[0][:, :2]
    np.testing.assert_allclose(np.abs(ax.lines[0].get_xydata()), np.abs(wide[:, :, 0] @ U))
    with pytest.raises(UsageError, match="D >= 2"):
        plots.neurons_parting(axis(), [])


# Studies -------------------------------------------------------------------------------------------


def test_a_forest_fills_what_leaves_zero_out():
    ax = axis()
    points = [[1.0, 3.0], [-1.0, 1.0], [-2.0, -4.0]]
    plots.forest(ax, ["up", "none", "down"], [2, 0, -3], [1, -1, -4], [3, 1, -2], points=points)
    drawn(ax)
    diamonds = [line for line in ax.lines if line.get_marker() == "D"]
    filled = [line.get_markerfacecolor() == style.colour(0) for line in diamonds]
    assert filled == [True, False, True]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["up", "none", "down"]
    assert "+2.00 [+1.00, +3.00]" in [text.get_text() for text in ax.texts]
    assert "apart from zero: up, down." in ax.get_label()
    with pytest.raises(UsageError, match="hold its estimate"):
        plots.forest(axis(), ["a"], [2], [3], [4])
    with pytest.raises(UsageError, match="for each name"):
        plots.forest(axis(), ["a", "b"], [2], [1], [4])


def test_paired_dots_join_the_same_seed():
    ax = axis()
    arms = {"none": [1.0, 2.0, 3.0], "decov": [2.0, 4.0, 3.5]}
    plots.paired_dots(ax, arms, intervals={"none": (1.5, 2.5), "decov": (2.5, 4.0)})
    drawn(ax)
    joined = [line.get_ydata() for line in ax.lines[:3]]
    np.testing.assert_allclose(joined, [[1, 2], [2, 4], [3, 3.5]])
    assert "none 2 [1.5, 2.5]" in ax.get_label()
    ax = axis()
    plots.paired_dots(ax, arms)  # intervals of its own
    assert "[" in ax.get_label()
    with pytest.raises(UsageError, match="same seeds"):
        plots.paired_dots(axis(), {"a": [1.0, 2.0], "b": [1.0]})


def test_a_heat_map_writes_its_numbers():
    ax = axis(figsize=(7, 4))
    values = np.array([[1.0, -2.0, np.nan], [0.5, -0.001, 3.0]])
    plots.heat_map(ax, values, ["a", "b"], ["x", "y", "z"], marked=values > 2)
    drawn(ax)
    assert [t.get_text() for t in ax.texts] == ["+1.00", "-2.00", "+0.50", "0.00", "+3.00"]
    assert [t.get_fontweight() for t in ax.texts] == ["normal"] * 4 + ["bold"]
    assert ax.images[0].get_clim() == (-3, 3)
    ax = axis(figsize=(7, 4))
    # With a limit one large number does not hide the others.
    plots.heat_map(ax, values, ["a", "b"], ["x", "y", "z"], limit=0.5)
    assert ax.images[0].get_clim() == (-0.5, 0.5)
    dark, pale = "#ffffff", "#1a1a1a"
    assert [t.get_color() for t in ax.texts] == [dark, dark, dark, pale, dark]
    with pytest.raises(UsageError, match="2 rows and 3 columns"):
        plots.heat_map(axis(), values.T, ["a", "b"], ["x", "y", "z"])


# Whole pictures ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "hidden", "replicas", "settings"),
    [
        ("moons", (4, 3), None, {}),
        ("parity", (6,), 2, {}),
        ("life", (4,), 1, {}),
        ("xor", (), None, {}),
        ("xor", (3,), 25, {}),
        ("spirals", (8,), 2, {"arms": 11, "n_train": 500, "n_test": 200}),
    ],
)
def test_the_picture_of_a_run(name, hidden, replicas, settings):
    records, net, dataset = trained(name, hidden, replicas, **settings)
    figure = run_picture(records, net, dataset)
    drawn(figure)
    assert len(figure.axes) >= 4
    assert "-".join(map(str, net.sizes)) in figure.get_suptitle()
    printed = plots.alt_text(figure)
    assert "Test accuracy over epochs" in printed
    assert "by" in printed


def test_the_picture_of_a_run_shows_the_first_healthy_network():
    records, net, dataset = trained("parity", (3,), 3)
    records[-1].train_loss[0] = float("nan")
    net.W[0][0] = np.nan
    figure = run_picture(records, net, dataset)
    drawn(figure)
    assert "neurons of network 1" in figure.get_suptitle()
    weights = next(ax for ax in figure.axes if "incoming weights" in title_of(ax))
    np.testing.assert_allclose(weights.images[0].get_array(), net.W[0][1])


def test_a_runs_picture_counts_sleeping_neurons_as_asleep():
    records, net, dataset = trained(hidden=(6,))
    put_to_sleep(net, 1, np.array([False, False, True, False, True, False]))
    figure = run_picture(records, net, dataset, similarity="activations")
    (title,) = [title_of(ax) for ax in figure.axes if "|correlation|" in title_of(ax)]
    assert title.endswith("\n2 asleep")


def test_the_picture_of_a_run_takes_another_similarity():
    records, net, dataset = trained("parity", (4, 3), None)
    own = np.full((4, 4), 0.25)
    for similarity, words in (("weights", "|cosine|"), (own, "|similarity| = 0.25")):
        figure = run_picture(records, net, dataset, similarity=similarity)
        assert any(words in title_of(ax) for ax in figure.axes)
    second = run_picture(records, net, dataset, layer=2)
    assert any("3 neurons" in title_of(ax) for ax in second.axes)
    with pytest.raises(UsageError, match="no hidden layer 3"):
        run_picture(records, net, dataset, layer=3)
    with pytest.raises(UsageError, match="activations or weights"):
        run_picture(records, net, dataset, similarity="nothing")
    with pytest.raises(UsageError, match="without records"):
        run_picture([], net, dataset)


def test_the_picture_of_a_run_on_another_backend(backend):
    """Device arrays become host arrays at the edge, and nowhere else."""
    records, net, dataset = trained("moons", (4,), 2)
    assert isinstance(net.W[0], type(xp.zeros(1)))
    drawn(run_picture(records, net, dataset))


def test_a_step_is_drawn_with_every_array_once():
    shown, title = traced(TraceConfig(technique=("decov", "cosine"), activation="tanh"))
    figure = step_picture(shown, title=title)
    drawn(figure)
    names = [text.get_text() for ax in figure.axes for text in ax.texts]
    for name in ("A[0]", "W[0], b[0]", "Z[0]", "dW[0], db[0]", "dZ[1]", "p", "y"):
        assert name in names
    titles = [title_of(ax) for ax in figure.axes]
    assert "= dZ[1] W[1]' +\n   techniques" in titles
    assert titles.count("from decov") == 1
    assert titles.count("from cosine") == 1
    image = next(ax.images[0] for ax in figure.axes if title_of(ax) == "= tanh(Z[0])")
    np.testing.assert_array_equal(image.get_array(), shown["A[1]"].values)


def test_a_step_too_deep_for_a_page_is_refused():
    shown, _ = traced(TraceConfig(hidden=(1,) * 15))
    with pytest.raises(UsageError, match="can show 40 arrays in a row"):
        step_picture(shown)


def test_numbers_in_cells_are_short():
    given = (0.0, 0.854, -0.9, 12.34, 0.00588, -2.2e-4, 12345.0, float("nan"))
    assert [in_cell(v) for v in given] == [
        *("0", "0.85", "-0.90", "12.3", "6e-3", "-2e-4", "1e4", "nan")
    ]


# Pages, files, words -------------------------------------------------------------------------------


def contrast(a, b):
    """WCAG's contrast of two colours: 1 to 21; 4.5 is enough for text."""

    def luminance(c):
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in to_rgb(c)]
        return float(np.dot((0.2126, 0.7152, 0.0722), linear))

    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def words_beside_data(figure):
    """All text of a figure but what stands in coloured cells, which lie inside their axis."""
    inside = {id(text) for ax in figure.axes for text in ax.texts if ax.images}
    return [t for t in figure.findobj(Text) if t.get_text().strip() and id(t) not in inside]


def test_ink_is_the_axis_own_even_outside_its_page():
    """Legends, bars and words are made after the page was left; they must not take another's ink."""
    with plots.page("dark"):
        figure = style.new_figure(12, 12)
        axes = figure.subplots(3, 3).ravel()
    plots.learning_curves(axes[0], {"a": RECORDS, "b": RECORDS})
    plots.neuron_weights(axes[1], np.eye(4))
    plots.similarity_matrix(axes[2], np.eye(4))
    plots.correlation_spectrum(axes[3], np.eye(4))
    plots.forest(axes[4], ["a"], [1], [0], [2])
    plots.paired_dots(axes[5], {"a": [1.0, 2.0], "b": [2.0, 2.5]})
    plots.heat_map(axes[6], np.eye(2), ["a", "b"], ["c", "d"])
    plots.neurons_parting(axes[7], np.random.default_rng(0).normal(size=(2, 2, 3)))
    plots.similarity_gallery([axes[8]], {"a": np.eye(3)})
    drawn(figure)
    words = words_beside_data(figure)
    assert len(words) > 60
    assert [t for t in words if contrast(t.get_color(), figure.get_facecolor()) < 7] == []
    legend = axes[0].get_legend().get_frame()
    assert contrast(legend.get_facecolor(), figure.get_facecolor()) < 1.2


@pytest.mark.parametrize("kind", ["light", "dark"])
def test_ink_stands_out_from_its_page(kind):
    figure = run_picture(*trained("moons", (3,), 2), kind=kind)
    face = figure.get_facecolor()
    assert face[3] == 1  # opaque, so that it does not matter where the picture is put
    drawn(figure)
    assert len(words_beside_data(figure)) > 30
    assert all(contrast(text.get_color(), face) > 7 for text in words_beside_data(figure))
    for line in style.COLOURS[:6]:
        assert contrast(line, face) > 1.9


def test_colours_stay_apart_for_colour_blind_eyes():
    """Machado, Oliveira and Fernandes (2009), full deuteranopia and protanopia, in linear light."""
    deutan = np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.01182, 0.04294, 0.968881],
        ]
    )
    protan = np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    )
    colours = np.array([to_rgb(c) for c in style.COLOURS[:6]]) ** 2.2
    for eye in (np.eye(3), deutan, protan):
        seen = np.clip(colours @ eye.T, 0, 1) ** (1 / 2.2)
        apart = np.linalg.norm(seen[:, None] - seen[None], axis=-1) + np.eye(6)
        assert apart.min() > 0.15


def test_pages_leave_the_readers_settings_alone():
    before = dict(matplotlib.rcParams)
    with plots.page("dark"):
        ax = axis()
    assert dict(matplotlib.rcParams) == before
    assert style.ink(ax) == style.PAGES["dark"]["ink"]
    with pytest.raises(UsageError, match="did you mean 'dark'"), plots.page("drak"):
        pass


def test_files_carry_their_alt_text(tmp_path):
    from PIL import Image

    ax = axis()
    plots.learning_curves(ax, RECORDS)
    printed = plots.alt_text(ax.figure)
    assert printed == "Test accuracy over epochs: the run ends at 0.6."
    plots.save(ax.figure, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.text["Description"] == printed
    plots.save(ax.figure, tmp_path / "a.svg")
    assert printed in (tmp_path / "a.svg").read_text()
    plots.save(ax.figure, tmp_path / "a.pdf")
    plots.save(ax.figure, tmp_path / "a.jpg")
    with pytest.raises(UsageError, match=r"\.png"):
        plots.save(ax.figure, tmp_path / "a.xyz")


def test_a_saved_picture_keeps_its_page_whatever_the_readers_style(tmp_path):
    from PIL import Image

    with plots.page("light"):
        figure = style.new_figure(2, 2)
        figure.subplots()
    with matplotlib.rc_context({"savefig.facecolor": "black"}):
        plots.save(figure, tmp_path / "a.png")
        shown = figure._repr_png_()
    for source in (tmp_path / "a.png", io.BytesIO(shown)):
        with Image.open(source) as image:
            assert image.convert("RGB").getpixel((1, 1)) == (255, 255, 255)


def test_no_picture_stays_open_in_pyplot():
    import matplotlib.pyplot as plt

    run_picture(*trained("xor", (2,), None))
    assert plt.get_fignums() == []


@pytest.mark.parametrize("replicas", [None, 3])
def test_the_confusion_matrix_counts_every_test_sample_once(replicas):
    dataset = data.load("spirals", n_train=60, n_test=45)
    net = network([2, 5, dataset.n_classes], replicas=replicas)
    counts = confusion(net, dataset)
    predicted = np.atleast_2d(net.predict(dataset.floats("test")))
    for r, found in enumerate(counts.reshape(-1, *counts.shape[-2:])):
        for k, j in np.ndindex(*found.shape):
            assert found[k, j] == ((dataset.test_y == k) & (predicted[r] == j)).sum()


def test_the_confusion_picture_names_classes_and_writes_percent():
    dataset = data.load("moons", n_train=60, n_test=40)
    net = network([2, 5, 2], replicas=2)
    figure = confusion_picture(net, dataset, only=[1])
    (ax,) = figure.axes
    assert [tick.get_text() for tick in ax.get_yticklabels()] == list(dataset.classes)
    shares = 100 * confusion(net, dataset)[1] / 20
    np.testing.assert_allclose(ax.images[0].get_array(), shares)
    written = {text.get_text() for text in ax.texts}
    assert written == {f"{share:.0f}" for share in shares.flat if share > 0.5}
    assert "most frequent mistake" in plots.alt_text(figure)


def test_names_of_files_are_drawn_as_they_are(tmp_path):
    """A dollar sign begins no formula, and what no font has is a box, without a warning; a number does."""
    name = "a $\\frac$ \x1b[31m \u6570"
    with plots.page():
        figure = style.new_figure(4, 3)
        ax = figure.subplots()
        ax.plot([0, 1], [1e-3, 1e3], label=name)
        ax.set(title=name, xlabel=name, yscale="log")
        ax.set_xticks([0, 1], [name, "b"])
        ax.legend()
    plots.save(figure, tmp_path / "x.svg")
    assert title_of(ax) == "a $\\frac$ \\x1b[31m \u6570"
    assert [label.get_parse_math() for label in ax.get_xticklabels()] == [False, False]
    assert all(label.get_parse_math() for label in ax.get_yticklabels())
