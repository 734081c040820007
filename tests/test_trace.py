"""python -m tinydiv.trace: the printed numbers are the true ones, and they are what training does."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from formulas import evaluate
from helpers import refused

from tinydiv.backend import to_device, to_host
from tinydiv.divergence import Guard
from tinydiv.errors import UsageError
from tinydiv.initializers import initialize
from tinydiv.loop import batches
from tinydiv.mlp import MLP
from tinydiv.optimizers import Adam
from tinydiv.runs.build import build
from tinydiv.runs.config import TrainConfig
from tinydiv.techniques import Intervention, Techniques, layers_of
from tinydiv.trace import STAGES, as_json, as_text, trace_step
from tinydiv.trace import command as trace
from tinydiv.trace.command import TraceConfig, traced
from tinydiv.trace.text import aligned, matrix, number
from tinydiv.trace.watch import Watched


def known_layers(shown):
    """Batch norm and its backward pass for the formulas, from the arrays that the trace shows."""
    known = {}

    def forward(U, eps=1e-5):
        layer = next(k for k in range(1, 9) if f"gamma[batch-norm.{k}]" in values and k not in done)
        done.append(layer)
        s = np.sqrt(U.var(axis=0) + eps)
        known["xhat", layer] = (U - U.mean(axis=0)) / s, s
        gamma, beta = (values[f"{kind}[batch-norm.{layer}]"] for kind in ("gamma", "beta"))
        return known["xhat", layer][0] * gamma + beta

    def backward(dZ):
        layer = done.pop()
        xhat, s = known["xhat", layer]
        d = dZ * values[f"gamma[batch-norm.{layer}]"]
        return (d - d.mean(axis=0) - xhat * (d * xhat).mean(axis=0)) / s

    values, done = {e.name: e.values for e in shown.entries if e.stage == "given"}, []
    return {"batch-norm": forward, "batch-norm'": backward}


def recompute(shown):
    """Every formula of a trace from the numbers before it: [(entry, what it should be)]."""
    known, found = known_layers(shown), []
    for entry in shown.entries:
        for name in re.findall(r"[mv]\.\w+\[[\w.-]+\]", entry.formula):
            known.setdefault(name, np.zeros_like(entry.values))  # moments before the first step
        if not entry.given:
            found.append((entry, evaluate(entry.formula, known)))
        known[entry.name] = entry.values
    return found


CASES = {
    "softened and clipped": {
        "data": "moons",
        "label_smoothing": 0.1,
        "class_weights": (1.0, 3.0),
        "clip": (0.05,),
        "weight_decay": (0.01,),
        "technique": ("decov",),
    },
    "balanced, clipped, several": {
        "data": "moons",
        "class_weights": "balanced",
        "optimizer": "adam",
        "step": 3,
        "replicas": 2,
        "network": 1,
        "clip": (0.05, 0.02),
    },
    "default": {},
    "adam-later": {"optimizer": "adam", "step": 7, "activation": "tanh"},
    "adamw": {"optimizer": "adamw", "weight_decay": (0.3,), "activation": "gelu"},
    "decay": {"optimizer": "adam", "weight_decay": (0.2,), "step": 2, "hidden": (4, 3)},
    "momentum": {"optimizer": "momentum", "step": 3, "weight_decay": (0.1,)},
    "nesterov": {"optimizer": "nesterov", "step": 3, "activation": "leaky-relu"},
    "schedule": {"schedule": "linear", "step": 5, "data": "moons", "activation": "sigmoid"},
    "yes-or-no": {"loss": "binary-cross-entropy", "activation": "identity"},
    "squares": {"loss": "squared-error", "hidden": ()},
    "penalties": {
        "technique": ("decov:strength=0.3", "cosine", "negative-correlation", "decov:strength=2"),
        "hidden": (4, 3),
        "activation": "tanh",
    },
    "layers": {"technique": ("batch-norm", "decov"), "hidden": (3, 4), "activation": "tanh"},
    "many": {"replicas": 3, "network": 2, "lr": (0.1, 0.2, 0.3), "technique": ("decov",)},
    "many-adam": {"replicas": 2, "network": 1, "lr": (0.1, 0.2), "weight_decay": (0.5, 0.1)},
    "images": {"data": "fashion-mini", "hidden": (5,), "batch_size": 16},
}


@pytest.mark.parametrize("case", CASES)
def test_every_number_follows_from_its_formula_as_written(case):
    shown, _ = traced(TraceConfig(**CASES[case]))
    found = recompute(shown)
    assert len(found) >= 7
    for entry, value in found:
        np.testing.assert_allclose(
            entry.values, value, rtol=1e-9, atol=1e-12, err_msg=f"{entry.name} = {entry.formula}"
        )


def test_weights_of_samples_stand_in_the_formulas(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "mine.npz", X=rng.normal(size=(50, 4)), y=np.arange(50) % 3, w=rng.random(50)
    )
    data = f"{tmp_path}/mine.npz:weights=w,test=0.2"
    shown, _ = traced(TraceConfig(data=data, hidden=(3,), batch_size=8, replicas=2, step=2))
    assert shown["L"].formula == "-sum(s * (y * log(p))) / N"
    assert shown["dZ[1]"].formula == "s * (p - y) / N"
    for entry, value in recompute(shown):
        np.testing.assert_allclose(entry.values, value, rtol=1e-9, atol=1e-12, err_msg=entry.name)


def test_the_evaluator_finds_a_wrong_number():
    shown, _ = traced(TraceConfig())
    changed = next(e for e in shown.entries if e.name == "dW[0]")
    changed.values[0, 0] *= 1.001
    wrong = [e.name for e, value in recompute(shown) if not np.allclose(e.values, value, rtol=1e-9)]
    assert wrong == ["dW[0]", "W[0]"]


@pytest.mark.parametrize(
    "case",
    [
        {},
        {"technique": ("decov", "batch-norm", "muon:lr=0.1"), "hidden": (4, 3), "step": 4},
        {"optimizer": "adam", "step": 9, "data": "moons", "batch_size": 32, "replicas": 3},
        {"technique": ("merge-recycle:every=3,threshold=0.1",), "step": 3, "hidden": (6,)},
        {"technique": ("barlow", "cosine:schedule=linear"), "step": 2, "activation": "tanh"},
        {"technique": ("decov:schedule=plateau,patience=2",), "step": 6, "lr": (0.0,)},
    ],
)
def test_the_networks_move_exactly_as_in_training(case):
    config = TraceConfig(**case)
    shown, _ = traced(config)
    run = build(config.for_training())
    size = config.batch_size or 4
    per_epoch = run.data.n_train // size
    run.config = type(run.config)(**{**vars(run.config), "batch_size": size})

    class StopError(Exception):
        pass

    def stop(step, total):
        if step == config.step:
            raise StopError

    if config.step < run.config.epochs * per_epoch:
        with pytest.raises(StopError):
            run.train(on_step=stop)
    for l in range(run.net.depth):
        for name, W in ((f"W[{l}]", run.net.W[l]), (f"b[{l}]", run.net.b[l])):
            host = to_host(W)
            expected = host if config.replicas == 1 else host[config.network]
            assert shown[name].stage == "update"
            np.testing.assert_array_equal(shown[name].values, expected)


def test_looking_at_each_technique_alone_leaves_layers_as_they_were():
    """Barlow's second pass goes through batch norm: its running statistics must not move twice."""
    config = TraceConfig(technique=("barlow", "batch-norm"), activation="tanh").for_training()
    states = []
    for watched in (True, False):
        run = build(replace(config, epochs=1))
        net, now = run.net, run.standing
        if watched:
            X, Y = next(batches(run.data, 4, 0, 0))
            trace_step(net, now.optimizer, now.techniques, X, Y)
        else:
            run.train()
        states.append({key: np.array(value) for key, value in now.techniques.state().items()})
    assert any("batch-norm" in key for key in states[0])
    for key, value in states[0].items():
        np.testing.assert_array_equal(value, states[1][key], err_msg=key)


def test_techniques_shares_add_up_and_are_theirs():
    """A penalty's gradient in the trace is what the technique itself returns, times its strength."""
    spec = ("decov:strength=0.25", "cosine:strength=0.5")
    shown, _ = traced(TraceConfig(technique=spec, activation="tanh"))
    run = build(TraceConfig(technique=spec, activation="tanh").for_training())
    decov, cosine = (placed.technique for placed in run.standing.techniques.placed)
    value, dA = decov(shown["A[1]"].values, None)
    np.testing.assert_allclose(shown["decov.dA[1]"].values, 0.25 * dA)
    np.testing.assert_allclose(shown["decov"].values, 0.25 * value)
    value, dW = cosine(to_host(run.net.W[0]), None)
    np.testing.assert_allclose(shown["cosine.dW[0]"].values, 0.5 * dW)
    assert shown["dA[1]"].formula == "dZ[1] W[1]' + decov.dA[1]"
    assert shown["dW[0]"].formula == "A[0]' dZ[0] + cosine.dW[0]"
    assert shown["total"].formula == "L + decov + cosine"


def test_what_did_not_happen_is_noted():
    spec = ("decov:schedule=linear,steps=1", "merge-recycle")
    shown, _ = traced(TraceConfig(technique=spec, step=2))
    assert "decov.dA[1]" not in shown
    assert any("decov adds nothing" in note for note in shown.notes)
    assert any("merge-recycle did nothing" in note for note in shown.notes)
    adam, _ = traced(TraceConfig(optimizer="adam"))
    assert adam.notes == ["m and v are zero before the first step."]


class Halve(Intervention):
    """Halves the gradient of the hidden weights."""

    def edit(self, step, layer, mask):
        step.net.dW[layer - 1] *= 0.5


def test_what_interventions_do_is_shown():
    spec = ("muon:lr=0.1", "merge-recycle:threshold=0,every=1")
    shown, _ = traced(TraceConfig(technique=spec, hidden=(6,), activation="tanh"))
    words = {entry.name: entry.formula for entry in shown.entries if entry.stage == "update"}
    assert words["W[1]"] == "moved by an intervention after the step"
    updates = [e.formula for e in shown.entries if e.name == "W[0]" and e.stage == "update"]
    assert updates == ["the update of muon, which owns it"]
    assert shown.notes == []

    run = build(TraceConfig().for_training())
    net, optimizer = run.net, run.standing.optimizer
    techniques = Techniques(net, [Halve()], optimizer)
    X, Y = next(batches(run.data, 4, 0, 0))
    shown = trace_step(net, optimizer, techniques, X, Y)
    first, last = [entry for entry in shown.entries if entry.name == "dW[0]"]
    assert (last.sign, last.formula) == ("<-", "edited by an intervention")
    np.testing.assert_allclose(last.values, first.values / 2)
    assert shown.notes == []


def test_a_layer_is_seen_from_both_sides():
    shown, _ = traced(TraceConfig(technique=("batch-norm",)))
    assert shown["Z[0]"].formula == "batch-norm(U[0])"
    assert shown["dU[0]"].formula == "batch-norm'(dZ[0])"
    assert shown["dW[0]"].formula == "A[0]' dU[0]"
    np.testing.assert_allclose(shown["Z[0]"].values.mean(axis=0), 0, atol=1e-12)
    assert "dgamma[batch-norm.1]" in shown


def test_recording_layers_are_removed_from_the_network():
    config = TraceConfig(technique=("batch-norm",), hidden=(3, 4)).for_training()
    run = build(config)
    before = list(run.net.layers)
    with pytest.raises(UsageError), Watched(run.net):
        run.net.forward(np.zeros((2, 5)))
    assert run.net.layers == before


def test_several_networks_show_the_chosen_one():
    shown, _ = traced(TraceConfig(replicas=3, network=1))
    alone, _ = traced(TraceConfig(seed=1))
    assert shown["W[0]"].shape == (3, 2, 3)
    assert shown["W[0]"].values.shape == (2, 3)
    first = next(entry for entry in shown.entries if entry.name == "W[0]")
    own = next(entry for entry in alone.entries if entry.name == "W[0]")
    np.testing.assert_array_equal(first.values, own.values)
    assert "3 networks" in as_text(shown)
    assert "network 1" in as_text(shown)


# Text and data -------------------------------------------------------------------------------------


def test_numbers_are_short_and_zero_is_zero():
    assert [number(v, 3) for v in (0.5, -1.3066, 2.4e-5, 0.0, -0.0, 123456.0)] == [
        "0.500",
        "-1.31",
        "2.40e-05",
        "0",
        "0",
        "123,000",
    ]
    assert aligned(["0.5", "-12.25", "0"]) == ["  0.5 ", "-12.25", "  0   "]


def test_a_matrix_is_cut_where_its_room_ends():
    table = np.arange(12.0).reshape(3, 4)
    assert matrix(table, 3, 2, 80) == [
        "0    1.0   2.0   3.0",
        "4.0  5.0   6.0   7.0",
        "8.0  9.0  10.   11.",
    ]
    assert matrix(table, 2, 2, 80)[-1] == "..."
    cut = matrix(table, 3, 2, 16)
    assert all(line.endswith("...") and len(line) <= 16 for line in cut)


@pytest.mark.parametrize("case", ["default", "penalties", "layers", "images", "adamw"])
@pytest.mark.parametrize("digits", [1, 3, 12])
def test_text_fits_a_hundred_columns(case, digits):
    shown, title = traced(TraceConfig(**CASES[case]))
    text = as_text(shown, title, rows=4, digits=digits)
    assert max(map(len, text.splitlines())) <= 100
    assert [line for line in text.splitlines() if line.startswith("==")] == [
        f"== {STAGES[stage]} ".ljust(100, "=")
        for stage in STAGES
        if any(entry.stage == stage for entry in shown.entries)
    ]
    for entry in shown.entries:
        assert f"\n{entry.name} {entry.sign} " in text


def test_text_shows_the_numbers_themselves():
    shown, _ = traced(TraceConfig())
    lines = as_text(shown, rows=4, digits=4).splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("dW[0] ="))
    printed = [float(word) for line in lines[at : at + 2] for word in line[48:].split()]
    np.testing.assert_allclose(printed, shown["dW[0]"].values.ravel(), rtol=5e-4)
    assert f"rms {shown['dW[0]'].rms:#.3g}" in lines[at + 1]
    assert f"max {np.abs(shown['dW[0]'].values).max():#.3g}" in lines[at + 1]


def test_without_rows_each_array_is_one_line():
    shown, _ = traced(TraceConfig())
    text = as_text(shown, rows=0)
    line = next(line for line in text.splitlines() if line.startswith("dW[0] ="))
    assert line.split() == [
        *("dW[0]", "=", "A[0]'", "dZ[0]", "2", "x", "3"),
        *("rms", f"{shown['dW[0]'].rms:#.3g}", "max", f"{shown['dW[0]'].largest:#.3g}"),
    ]
    loss = next(line for line in text.splitlines() if line.startswith("L ="))
    assert float(loss.split()[-1]) == pytest.approx(float(shown["L"].values), rel=0.01)


def run_command(capsys, *argv):
    code = trace.main(argv)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_json_holds_every_number(capsys):
    code, out, err = run_command(capsys, "--json", "--technique", "decov", "--replicas", "2")
    assert (code, err) == (0, "")
    found = json.loads(out)
    shown, title = traced(TraceConfig(technique=("decov",), replicas=2))
    assert found["title"] == title
    assert [array["name"] for array in found["arrays"]] == [e.name for e in shown.entries]
    for array, entry in zip(found["arrays"], shown.entries, strict=True):
        np.testing.assert_array_equal(array["values"], entry.values)
        assert tuple(array["shape"]) == entry.shape


def test_json_of_a_network_that_diverged_is_json():
    shown, _ = traced(TraceConfig(lr=(1000.0,), activation="identity", hidden=(3, 3), step=40))
    assert not all(np.isfinite(entry.values).all() for entry in shown.entries)
    json.dumps(as_json(shown), allow_nan=False)
    as_text(shown)


def test_the_picture_is_written(capsys, tmp_path):
    code, out, _ = run_command(capsys, "--picture", str(tmp_path / "step.png"))
    assert code == 0
    assert (tmp_path / "step.png").read_bytes()[:4] == b"\x89PNG"
    assert "dW[0] = A[0]' dZ[0]" in out


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--data", "xro"], "'xor'"),
        (["--technique", "decvo"], "'decov'"),
        (["--network", "1"], "--network 1"),
        (["--batch-size", "5"], "--batch-size must lie between 1 and 4"),
        (["--rows", "-1"], "--rows"),
        (["--digits", "many"], "--digits"),
        (["--stepp", "3"], "--step"),
        (["--picture", "step.jgp"], ".jpg"),
        (["--loss", "cross"], "'cross-entropy'"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(capsys, argv, words):
    refused(capsys, trace.main, argv, words)


def test_help_has_examples_and_ends_well(capsys):
    code, out, _ = run_command(capsys, "--help")
    assert code == 0
    assert "examples:" in out
    assert "--technique" in out


def test_settings_are_those_of_training():
    """The defaults that are not smaller, or simpler, on purpose are the training command's own."""
    config, usual = TraceConfig().for_training(), TrainConfig()
    differ = {k for k, v in vars(config).items() if v != getattr(usual, k)}
    assert differ == {"data", "hidden", "init", "optimizer", "dtype", "metrics"}
    assert isinstance(build(config).standing.techniques, Techniques)


def test_a_step_is_traced_on_any_backend(backend):
    """Host arrays are made at the edge: the same step, the same numbers, wherever it was computed."""
    net = MLP([2, 4, 2], "tanh", replicas=2, dtype="float64", layers=layers_of(["batch-norm"]))
    initialize(net, seed=3)
    optimizer = Adam(net, lr=[0.1, 0.2], weight_decay=[0.1, 0.0])
    techniques = Techniques(net, ["decov:strength=0.1/0.5", "cosine"], optimizer)
    X = to_device(np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]))
    Y = to_device(np.array([1, 1, 0], dtype="int32"))
    shown = trace_step(net, optimizer, techniques, X, Y, network=1, guard=Guard(net))
    for entry, value in recompute(shown):
        np.testing.assert_allclose(entry.values, value, rtol=1e-9, atol=1e-12, err_msg=entry.name)
    as_text(shown)


def test_a_full_disk_leaves_the_picture_that_was_there(tmp_path, monkeypatch, capsys):
    def full(*given, **named):
        raise OSError(28, "No space left on device")

    picture = tmp_path / "step.png"
    picture.write_bytes(b"the old one")
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full)
    assert trace.main(["--data", "xor", "--hidden", "3", "--picture", str(picture)]) == 1
    assert "no space left on device" in capsys.readouterr().err
    assert picture.read_bytes() == b"the old one"
    assert len(list(tmp_path.iterdir())) == 1
