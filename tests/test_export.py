"""Networks that leave tinydiv and come back: model.npz for NumPy, state dicts for PyTorch."""

import io
import json
import re
import zipfile
from itertools import pairwise

import numpy as np
import pytest
from helpers import close, network, python

import tinydiv
from tinydiv import activations, data, initializers, torch_export
from tinydiv.backend import to_device, to_host
from tinydiv.errors import RunError, UsageError
from tinydiv.files import model as model_file
from tinydiv.initializers import initialize
from tinydiv.layers import Context, Layer
from tinydiv.mlp import MLP
from tinydiv.techniques import layers_of
from tinydiv.train import command as train

SMALL = ["--data", "moons:n_train=200,n_test=50", "--hidden", "6,5", "--epochs", "2"]


def run(*flags):
    assert train.main([*flags, "--quiet", "--no-plot"]) == 0


def trained_norm(replicas=None, sizes=(7, 6, 5, 3), dtype="float64", activation="tanh"):
    """A network with batch norms whose weights and statistics are all different from the defaults."""
    net = network(
        sizes,
        replicas=replicas,
        dtype=dtype,
        activation=activation,
        layers=layers_of(["batch-norm"]),
    )
    X = to_device(np.random.default_rng(5).normal(1, 2, (40, sizes[0])).astype(dtype))
    for step in range(3):
        net.forward(X, Context(training=True, step=step))
    return net


def some(n, dtype="float64"):
    return np.random.default_rng(9).normal(size=(11, n)).astype(dtype)


# model.npz -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", [[], ["--replicas", "3"], ["--technique", "batch-norm"]])
def test_a_trained_network_is_loaded_with_its_layers(flags, tmp_path, monkeypatch, capsys):
    run(*SMALL, *flags, "--inputs", "standardised", "--out", str(tmp_path / "run"), "--json")
    shown = json.loads(capsys.readouterr().out)
    monkeypatch.chdir("/")
    for where in (tmp_path / "run", str(tmp_path / "run" / "model.npz")):
        net = tinydiv.load(where)
        moons = data.load("moons", "standardised", n_train=200, n_test=50)
        hits = net.predict(moons.floats("test")) == moons.test_y
        np.testing.assert_allclose(np.mean(hits, axis=-1).reshape(-1), shown["test_accuracy"])


def test_a_layer_of_the_readers_own_is_loaded_too(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "from tinydiv.techniques.base import LayerTechnique\n"
        "from tinydiv.techniques import setting\n"
        "class Scaled(LayerTechnique):\n"
        "    factor: float = setting(2.0)\n"
        "    def forward(self, x, context):\n"
        "        return self.factor * x, None\n"
        "    def backward(self, dy, cache):\n"
        "        return self.factor * dy, {}\n"
    )
    monkeypatch.chdir(tmp_path)
    run(*SMALL, "--technique", "mine.py:Scaled:factor=3", "--technique", "decov", "--out", "run")
    monkeypatch.chdir("/")
    net = tinydiv.load(tmp_path / "run", allow_code=True)
    assert [layer.label for layer in net.layers] == ["Scaled", "Scaled"]
    x = some(2, "float32")
    assert np.any(net.forward(x).logits != plain_numpy(tmp_path / "run" / "model.npz", x))
    (tmp_path / "mine.py").unlink()
    with pytest.raises(UsageError, match=r"mine.py, which is missing"):
        tinydiv.load(tmp_path / "run", allow_code=True)


def plain_numpy(path, x):
    """The recipe of model_file's docstring, word for word."""
    m = dict(np.load(path))  # dict: the file is closed at once
    A = (x - m["input_shift"]) * m["input_scale"]
    for l in range(2):
        A = np.maximum(A @ m[f"W{l}"] + m[f"b{l}"], 0)
    return A @ m["W2"] + m["b2"]


@pytest.mark.parametrize("replicas", ["1", "4"])
def test_numpy_alone_reads_a_model(replicas, tmp_path):
    out = tmp_path / "run"
    run(*SMALL, "--inputs", "standardised", "--replicas", replicas, "--out", str(out))
    moons = data.load("moons", "standardised", n_train=200, n_test=50)
    logits = tinydiv.load(out).forward(moons.floats("test")).logits
    np.testing.assert_allclose(plain_numpy(out / "model.npz", moons.test_x), logits, atol=1e-5)
    facts = json.loads(str(np.load(out / "model.npz")["metadata"]))
    assert facts["sizes"] == [2, 6, 5, 2]
    assert facts["classes"] == ["upper", "lower"]


def test_bytes_are_divided_as_in_the_docstring(tmp_path):
    net, mini = MLP([784, 4, 10]), data.load("fashion-mini", "centred")
    initializers.initialize(net, "he-normal", 1)
    model_file.save_model(tmp_path / "model.npz", net, mini)
    m = dict(np.load(tmp_path / "model.npz"))
    x = (mini.test_x[:20] / 255 - m["input_shift"]) * m["input_scale"]
    logits = np.maximum(x @ m["W0"] + m["b0"], 0) @ m["W1"] + m["b1"]
    np.testing.assert_allclose(logits, net.forward(mini.floats("test")[:20]).logits, atol=1e-5)


def test_the_same_network_gives_the_same_bytes(tmp_path, monkeypatch):
    import time

    net = trained_norm(replicas=2)
    for name, now in (("a", 1e9), ("b", 1.7e9)):
        monkeypatch.setattr(time, "time", lambda now=now: now)
        monkeypatch.setattr(time, "localtime", lambda *a, now=now: time.gmtime(now))
        model_file.save_model(tmp_path / name, net, None, ["batch-norm"])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_no_pickle_is_written_or_read(tmp_path):
    model_file.save_model(tmp_path / "model.npz", trained_norm(), None, ["batch-norm"])
    with np.load(tmp_path / "model.npz", allow_pickle=False) as found:
        assert {found[name].dtype.kind for name in found.files} == {"f", "U"}
    np.savez(tmp_path / "evil.npz", metadata=np.array([print], dtype=object))
    with pytest.raises(RunError, match="is damaged: an array holds object"):
        tinydiv.load(tmp_path / "evil.npz")


def test_a_model_survives_a_change_of_backend(backend, tmp_path):
    net = trained_norm(replicas=2)
    model_file.save_model(tmp_path / "model.npz", net, None, ["batch-norm"])
    again = tinydiv.load(tmp_path / "model.npz")
    x = to_device(some(7))
    close(again.forward(x).logits, to_host(net.forward(x).logits), rtol=0, atol=0)
    assert repr(again) == repr(net)


def changed(path, **changes):
    with np.load(path) as found:
        arrays = {name: found[name] for name in found.files}
    facts = json.loads(str(arrays["metadata"]))
    for key, value in changes.items():
        if key in arrays:
            arrays[key] = value
        else:
            facts[key] = value
    arrays["metadata"] = np.array(json.dumps(facts))
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"format": "another"}, "it is no 'tinydiv model 1' but 'another'"),
        ({"W0": None}, "W0"),
        ({"W0": np.zeros((1, 6))}, "W0 has the shape (1, 6), not (7, 6)"),
        ({"layer[batch-norm.1].mean": None}, "mean"),
        ({"sizes": "many"}, "model.npz is damaged"),
        ({"replicas": [1]}, "model.npz is damaged"),
    ],
)
def test_a_damaged_model_is_one_sentence(changes, sentence, tmp_path):
    path = tmp_path / "model.npz"
    model_file.save_model(path, trained_norm(), None, ["batch-norm"])
    changed(path, **changes)
    with pytest.raises(RunError, match=re.escape(sentence)):
        tinydiv.load(path)


OWN_LAYER = """\
from pathlib import Path
from tinydiv.techniques import LayerTechnique
Path("was_run").touch()
class Mine(LayerTechnique):
    def forward(self, A, step):
        return 2 * A, None
    def backward(self, dB, saved):
        return 2 * dB
"""


def test_a_model_runs_the_code_of_an_own_layer_only_when_it_is_allowed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mine, model = tmp_path / "mine.py", tmp_path / "model.npz"
    mine.write_text(OWN_LAYER)
    spec = f"{mine}:Mine"
    net = MLP([4, 3, 2], layers=layers_of([spec]))
    model_file.save_model(model, net, layers=[spec])
    (tmp_path / "was_run").unlink()
    with pytest.raises(UsageError, match=r"names the code in .*mine.py.* allow_code=True"):
        tinydiv.load(model)
    assert not (tmp_path / "was_run").exists()
    x = np.ones((2, 4), "float32")
    close(tinydiv.load(model, allow_code=True).forward(x).logits, net.forward(x).logits)
    mine.write_text(OWN_LAYER.replace("2 *", "3 *"))
    with pytest.raises(UsageError, match=r"mine.py was changed since"):
        tinydiv.load(model, allow_code=True)
    mine.unlink()
    with pytest.raises(UsageError, match=r"mine.py, which is missing"):
        tinydiv.load(model, allow_code=True)
    assert not (tmp_path / "was_run").exists()


def test_announced_sizes_are_compared_before_memory_is_allocated(tmp_path):
    model_file.save_model(tmp_path / "model.npz", trained_norm(), None, ["batch-norm"])
    content = (tmp_path / "model.npz").read_bytes()
    old = b"(7, 6)"
    assert content.count(old) == 1
    # The checksum of the member is put right, as a person with bad intent would do.
    with zipfile.ZipFile(io.BytesIO(content)) as found:
        members = {name: found.read(name) for name in found.namelist()}
    huge = members["W0.npy"].replace(old + b", }" + b" " * 12, b"(99999999999, 6), }" + b"  ")
    for altered in ({**members, "W0.npy": huge}, {**members, "zeros.npy": bytes(2**25)}):
        kind = zipfile.ZIP_DEFLATED if "zeros.npy" in altered else zipfile.ZIP_STORED
        with zipfile.ZipFile(tmp_path / "model.npz", "w", kind) as made:
            for name, member in altered.items():
                made.writestr(name, member)
        with pytest.raises(RunError, match=r"model.npz is damaged: .* announces"):
            tinydiv.load(tmp_path / "model.npz")


def test_a_wrong_place_is_one_sentence(tmp_path):
    with pytest.raises(UsageError, match=r"there is no .*nothing: name a run folder"):
        tinydiv.load(tmp_path / "nothing")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UsageError, match=r"did not finish: python -m tinydiv.train --resume"):
        tinydiv.load(tmp_path)
    (tmp_path / "model.npz").write_bytes(b"PK nothing")
    with pytest.raises(RunError, match="is damaged"):
        tinydiv.load(tmp_path)


# PyTorch -------------------------------------------------------------------------------------------


def torch_model(torch, net, fold=False, replica=0):
    """The recipe, run as it is printed."""
    names = {"arrays": torch_export.state_dict(net, replica, fold), "torch": torch}
    exec(torch_export.recipe(net, fold), names)
    return names["model"]


def torch_logits(torch, model, x):
    with torch.no_grad():
        return model(torch.from_numpy(x)).numpy()


@pytest.mark.parametrize("activation", list(activations.ACTIVATIONS))
def test_the_recipe_computes_the_same(activation, torch):
    net = network((7, 6, 5, 3), activation=activation, dtype="float64")
    model, x = torch_model(torch, net), some(7)
    np.testing.assert_allclose(torch_logits(torch, model, x), net.forward(x).logits, atol=1e-12)


@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("replica", [0, 2])
def test_the_recipe_keeps_or_folds_batch_norm_for_every_replica(fold, replica, torch):
    net = trained_norm(replicas=3)
    model, x = torch_model(torch, net, fold, replica), some(7)
    logits = net.forward(x).logits[replica]
    np.testing.assert_allclose(torch_logits(torch, model, x), logits, atol=1e-12)
    assert any(isinstance(part, torch.nn.BatchNorm1d) for part in model) is not fold


def test_training_goes_on_alike_in_torch(torch):
    """Batch statistics and running statistics too: the same after a step in training mode."""
    net = trained_norm()
    model, x = torch_model(torch, net), some(7)
    logits = net.forward(x, Context(training=True)).logits
    model.train()
    np.testing.assert_allclose(torch_logits(torch, model, x), logits, atol=1e-12)
    model.eval()
    np.testing.assert_allclose(torch_logits(torch, model, x), net.forward(x).logits, atol=1e-12)


def test_float32_stays_float32(torch):
    net = trained_norm(dtype="float32")
    model, x = torch_model(torch, net), some(7, "float32")
    assert model[0].weight.dtype == torch.float32
    np.testing.assert_allclose(torch_logits(torch, model, x), net.forward(x).logits, atol=2e-5)


def test_what_is_given_out_is_a_copy(torch):
    net = trained_norm()
    kept = net.theta.copy()
    for array in torch_export.state_dict(net).values():
        array[...] = 0
    np.testing.assert_array_equal(net.theta, kept)


@pytest.mark.parametrize("with_norm", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_there_and_back_again(with_norm, dtype, torch):
    net = trained_norm(dtype=dtype) if with_norm else network((4, 3, 2), dtype=dtype)
    model = torch_model(torch, net)
    back = torch_export.from_state_dict(model.state_dict(), net.activation.name)
    np.testing.assert_array_equal(back.theta, net.theta)
    assert back.dtype == dtype
    x = some(net.sizes[0], dtype)
    np.testing.assert_array_equal(back.forward(x).logits, net.forward(x).logits)
    parameters = dict(model.named_parameters()) | dict(model.named_buffers())
    np.testing.assert_array_equal(torch_export.from_state_dict(parameters, "tanh").theta, net.theta)


def test_a_model_made_in_torch_computes_the_same(torch):
    torch.manual_seed(0)
    nn = torch.nn
    model = nn.Sequential(
        *(nn.Flatten(), nn.Linear(7, 6, bias=False), nn.Tanh(), nn.Dropout(0.5)),
        *(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3)),
    ).double()
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(30, 7, dtype=torch.float64) * 2 + 1)
    model.eval()
    net = torch_export.from_state_dict(model.state_dict(), "tanh")
    x = some(7)
    np.testing.assert_allclose(net.forward(x).logits, torch_logits(torch, model, x), atol=1e-12)
    assert [layer.depth for layer in net.layers] == [1]


def square(*shape):
    return np.ones(shape)


NORM = {f"1.{name}": square(3) for name in ("weight", "bias", "running_mean", "running_var")}


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ({}, "the first module with weights should be a Linear"),
        ({"fc.weight": square(3, 2)}, "'fc.weight' is no name of a torch.nn.Sequential's"),
        ({"0.bias": square(3)}, "module 0 is neither Linear nor BatchNorm1d"),
        ({"0.weight": square(3, 2, 2, 2)}, "its weight has shape (3, 2, 2, 2)"),
        ({"0.weight": square(3)}, "should be a Linear"),
        ({"0.weight": square(3, 2), "0.bias": square(2)}, "0.bias has shape (2, 1), and (3, 1)"),
        (
            {"0.weight": square(3, 2), "2.weight": square(2, 4)},
            "2.weight has shape (2, 4), and (2, 3) would fit",
        ),
        (
            {"0.weight": square(3, 2), "1.weight": square(2, 3)},
            "no activation between modules 0 and 1",
        ),
        ({"0.weight": square(3, 2), "1.weight": square(3)}, "no BatchNorm1d that keeps"),
        ({"0.weight": square(3, 2), **NORM}, "not after the last one"),
        (
            {"0.weight": square(3, 2), **NORM, "2.weight": square(3, 3)},
            "no activation between modules 0 and 2",
        ),
        (
            {
                **{"0.weight": square(3, 2), "4.weight": square(2, 3)},
                **{name.replace("1.", "2."): array for name, array in NORM.items()},
            },
            "module 2, a BatchNorm1d, should stand right after a Linear",
        ),
        ({"0.weight": np.array([["a"]])}, "0.weight should hold numbers"),
        ({"0.weight": [[1.0], [1.0, 2.0]]}, "0.weight cannot be made an array"),
    ],
)
def test_a_state_dict_that_does_not_fit_is_one_sentence(state, sentence):
    with pytest.raises(UsageError, match=re.escape(sentence)):
        torch_export.from_state_dict(state)


class Foreign(Layer):
    label = "foreign"

    def forward(self, x, context):
        return x, None

    def backward(self, dy, cache):
        return dy, {}


def test_what_torch_does_not_have_is_one_sentence():
    with pytest.raises(UsageError, match=r"torch.nn has no foreign: fold=True"):
        torch_export.recipe(network((3, 2, 2), layers=[Foreign()]))
    with pytest.raises(UsageError, match="there is no network 1"):
        torch_export.state_dict(network((3, 2, 2)), replica=1)


def test_no_torch_is_needed_at_run_time():
    """Neither by the export nor by anything that a training run imports."""
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from tinydiv import torch_export, mlp\n"
        "from tinydiv.command import listing\n"
        "from tinydiv.train import command\n"
        "net = torch_export.from_state_dict(torch_export.state_dict(mlp.MLP([3, 2, 2])))\n"
        "print(torch_export.recipe(net))\n"
    )
    assert "torch.nn.Linear(3, 2)" in python("-c", code, check=True).stdout


# A start for a model of PyTorch's own --------------------------------------------------------------


def sequential(torch, *hidden, activation="ReLU", inputs=20, outputs=4, extra=()):
    sizes, layers = [inputs, *hidden], [*extra]
    for n_in, n_out in pairwise(sizes):
        layers += [torch.nn.Linear(n_in, n_out), getattr(torch.nn, activation)()]
    return torch.nn.Sequential(*layers, torch.nn.Linear(sizes[-1], outputs))


@pytest.mark.parametrize("init", ["decorrelated", "lsuv", "he-normal", "preferential-attachment"])
@pytest.mark.parametrize("activation", ["ReLU", "Tanh"])
def test_a_model_of_pytorch_gets_the_start_of_the_same_network_here(torch, init, activation):
    X = np.random.default_rng(0).normal(size=(300, 20)).astype("float32")
    model = sequential(torch, 7, 5, activation=activation, extra=[torch.nn.Flatten()])
    torch_export.initialize(model, torch.from_numpy(X).reshape(300, 4, 5), seed=3, init=init)
    net = MLP([20, 7, 5, 4], activation.lower())
    initialize(net, init, 3, X)
    there = model(torch.from_numpy(X)).detach().numpy()
    np.testing.assert_allclose(there, net.forward(X).logits, rtol=0, atol=1e-5)


def test_the_start_in_pytorch_is_decorrelated_and_leaves_other_modules_alone(torch):
    X = np.random.default_rng(0).normal(size=(500, 20)) @ np.random.default_rng(1).normal(
        size=(20, 20)
    )
    model = torch.nn.Sequential(
        torch.nn.Linear(20, 6), torch.nn.BatchNorm1d(6), torch.nn.ReLU(), torch.nn.Linear(6, 3)
    ).double()
    model[1].weight.data.fill_(2.0)
    torch_export.initialize(model, torch.from_numpy(X), seed=1)
    R = np.corrcoef(model[0](torch.from_numpy(X)).detach().numpy().T)
    assert abs(R - np.eye(6)).max() < 0.05
    assert (model[1].weight == 2.0).all()
    assert model[0].weight.dtype == torch.float64


def test_models_without_a_start_are_refused_in_one_sentence(torch):
    X = np.zeros((5, 20), "float32")
    conv = torch.nn.Sequential(torch.nn.Conv1d(1, 2, 3))
    with pytest.raises(UsageError, match="module 0, Conv1d, has no place in a start"):
        torch_export.initialize(conv, X)
    bare = torch.nn.Sequential(torch.nn.Linear(20, 3, bias=False))
    with pytest.raises(UsageError, match="without a bias"):
        torch_export.initialize(bare, X)
    mixed = sequential(torch, 4, 4)
    mixed[1] = torch.nn.Tanh()
    with pytest.raises(UsageError, match="one kind of activation, the model has tanh, relu"):
        torch_export.initialize(mixed, X)
    wrong = torch.nn.Sequential(torch.nn.Linear(20, 3), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    with pytest.raises(UsageError, match="takes 4 inputs, and the layer before it has 3 neurons"):
        torch_export.initialize(wrong, X)
    with pytest.raises(UsageError, match="no Linear layer"):
        torch_export.initialize(torch.nn.Sequential(torch.nn.ReLU()), X)
    with pytest.raises(UsageError, match="a probe batch has the shape"):
        torch_export.initialize(sequential(torch, 3), np.zeros((5, 19), "float32"))
