"""How diversity affects predictions: the identities, each number by loops, the words, the command."""

import json
from dataclasses import replace

import numpy as np
import pytest
from helpers import close, network, refused, step

from tinydiv.backend import to_host
from tinydiv.data import load
from tinydiv.diversity import METRICS
from tinydiv.errors import UsageError
from tinydiv.loop import DeviceData
from tinydiv.optimizers import Adam
from tinydiv.plots import alt_text
from tinydiv.predictions import command as predictions
from tinydiv.predictions.command import in_words
from tinydiv.predictions.effects import effects
from tinydiv.predictions.effects_picture import predictions_picture
from tinydiv.stats import spearman
from tinydiv.techniques import layers_of
from tinydiv.train import command as train

R, H, K = 5, 6, 5


@pytest.fixture
def case():
    """Five networks on small spirals; a dead neuron, and two that are alike."""
    dataset = load("spirals", n_train=300, n_test=300)
    net = network([2, 7, H, K], replicas=R, dtype="float64", activation="tanh", seed=4)
    data, adam = DeviceData(dataset, "float64"), Adam(net, 0.02)
    X = data.floats(data.train_x)
    for _ in range(60):
        step(net, adam, X, data.train_y)
    net.b[1][2, 0, 1] = -1000
    net.W[1][..., 3], net.b[1][..., 3] = 0.9 * net.W[1][..., 2], 0.9 * net.b[1][..., 2]
    return net, dataset


def hosts(net, dataset):
    """The last hidden layer's parts on the test set, as plain arrays."""
    data = DeviceData(dataset, net.dtype)
    test = net.forward(data.floats(data.test_x))
    probe = net.forward(data.probe())
    arrays = (test.A[-2], probe.A[-2], net.W[-1], net.b[-1])
    return *(to_host(a) for a in arrays), np.asarray(dataset.test_y)


def test_ablation_is_removing_neurons_one_by_one(case):
    net, dataset = case
    A, probe, V, c, y = hosts(net, dataset)
    found = effects(net, dataset).ablation
    relations = []
    for r in range(R):
        right = ((A[r] @ V[r] + c[r]).argmax(-1) == y).mean()
        for h in range(H):
            without = A[r].copy()
            without[:, h] = probe[r][:, h].mean()
            lost = right - ((without @ V[r] + c[r]).argmax(-1) == y).mean()
            assert found.drop[r][h] == pytest.approx(lost, abs=1e-12)
            alive = probe[r].std(axis=0) >= 1e-3
            assert found.alive[r][h] == alive[h]
            others = [g for g in range(H) if g != h and alive[g] and alive[h]]
            alike = max((abs(np.corrcoef(probe[r].T[[g, h]])[0, 1]) for g in others), default=0)
            assert found.alike[r][h] == pytest.approx(alike, abs=1e-6)
        drop, alike, on = (np.array(v[r]) for v in (found.drop, found.alike, found.alive))
        if on.sum() >= 4 and len(set(drop[on])) > 1:
            relations.append(spearman(alike[on], drop[on]).estimate)
    assert len(relations) >= 4
    assert not all(map(all, found.alive))
    assert max(map(max, found.alike)) > 0.95
    assert found.relation.estimate == pytest.approx(np.mean(relations))
    assert found.relation.low < found.relation.estimate < found.relation.high


def written_out(net, dataset):
    """o (R, H, N, K) and targets (N, K)."""
    A, _, V, c, y = hosts(net, dataset)
    o = H * np.einsum("rnh,rhk->rhnk", A, V) + c[:, None]
    return o, np.eye(K)[y]


def test_the_ambiguity_identity_is_exact_and_its_terms_are_right(case):
    net, dataset = case
    found = effects(net, dataset).ambiguity
    o, target = written_out(net, dataset)

    def size(x):
        return (x**2).sum(-1).mean(-1)

    close(found.error, size(o.mean(1) - target), rtol=1e-9)
    close(found.members, size(o - target).mean(1), rtol=1e-9)
    close(found.ambiguity, size(o - o.mean(1, keepdims=True)).mean(1), rtol=1e-9)
    close(found.error, np.array(found.members) - found.ambiguity, rtol=1e-9)
    assert min(found.ambiguity) > 0


def test_the_bias_variance_covariance_identity(case):
    """Ueda and Nakano's sum over starts, with every covariance of every pair written out."""
    net, dataset = case
    found = effects(net, dataset).bias_variance
    o, target = written_out(net, dataset)
    centred = o - o.mean(0)

    def total(x):
        return x.sum(-1).mean(-1)

    variance = np.mean([total((centred[:, h] ** 2).mean(0)) for h in range(H)])
    pairs = [(h, k) for h in range(H) for k in range(H) if h != k]
    covariance = np.mean([total((centred[:, h] * centred[:, k]).mean(0)) for h, k in pairs])
    f = o.mean(1)
    close(found.bias, total((f.mean(0) - target) ** 2), rtol=1e-9)
    close(found.variance, variance, rtol=1e-9)
    close(found.covariance, covariance, rtol=1e-9)
    close(found.error, total(((f - target) ** 2).mean(0)), rtol=1e-9)
    close(found.error, found.bias + found.variance / H + (1 - 1 / H) * found.covariance, rtol=1e-9)
    assert found.H == H


def test_diversity_and_accuracy_per_network(case):
    net, dataset = case
    found = effects(net, dataset)
    A, _, V, c, y = hosts(net, dataset)
    close(found.accuracy, ((A @ V + c).argmax(-1) == y).mean(-1))
    assert set(found.diversity) == set(METRICS)
    for name, interval in found.relations.items():
        wanted = spearman(found.diversity[name], found.accuracy)
        assert (interval.estimate, interval.low) == (wanted.estimate, wanted.low)
    assert "correlation" in found.relations


def test_layers_are_folded_and_networks_chosen(case):
    _, dataset = case
    layers = layers_of(["batch-norm", "dropout"])
    net = network([2, 7, H, K], replicas=R, dtype="float64", layers=layers)
    whole, some = effects(net, dataset), effects(net, dataset, [3, 1])
    data = DeviceData(dataset, "float64")
    predicted = to_host(net.predict(data.floats(data.test_x)))
    close(whole.accuracy, (predicted == dataset.test_y).mean(-1))
    assert some.accuracy == [whole.accuracy[3], whole.accuracy[1]]
    close(some.ambiguity.error, [whole.ambiguity.error[r] for r in (3, 1)])
    assert some.relations == {}
    with pytest.raises(UsageError, match="from 0 to 4"):
        effects(net, dataset, [7])
    with pytest.raises(UsageError, match="without hidden layers"):
        effects(network([2, K]), dataset)


def test_one_network_has_the_effects_that_need_no_others(case):
    _, dataset = case
    found = effects(network([2, 8, K], dtype="float64"), dataset)
    assert found.bias_variance is None
    printed = in_words(found)
    assert "The network is right on" in printed
    assert "train several" in printed
    assert "fewer than four networks" in printed
    figure = predictions_picture(found)
    assert len(figure.axes) == 2


# Words -------------------------------------------------------------------------------------------


def test_the_words_follow_the_numbers(case):
    net, dataset = case
    found = effects(net, dataset)
    printed = in_words(found)
    assert f"{np.mean(found.accuracy):.1%}" in printed
    assert f"{np.mean(found.ambiguity.members):.3g}" in printed
    assert f"{found.bias_variance.bias:.3g} bias" in printed
    dead = sum(not on for row in found.ablation.alive for on in row)
    assert f"{dead} of {R * H} neurons are dead" in printed
    assert "\n" not in printed
    up, down, unsure = (
        spearman(x, range(20)) for x in (range(20), range(20, 0, -1), [3, 1, 2, 0] * 5)
    )
    endings = {
        "relation": [
            (up, "more is lost, not less"),
            (down, "the less is lost without it"),
            (unsure, "shows no clear relation"),
        ],
        "relations": [
            ({"correlation": up}, "more correlation have higher test accuracy"),
            ({"correlation": down}, "more correlation have lower test accuracy"),
            ({"correlation": unsure}, "and test accuracy show no clear relation"),
            ({}, "numbers that do not vary"),
        ],
    }
    for interval, words in endings["relation"]:
        ablation = replace(found.ablation, relation=interval)
        assert words in in_words(replace(found, ablation=ablation))
    for relations, words in endings["relations"]:
        assert words in in_words(replace(found, relations=relations))
    for covariance, words in ((-1.0, "make up for each other"), (1.0, "deviate together")):
        bias = replace(found.bias_variance, covariance=covariance)
        assert words in in_words(replace(found, bias_variance=bias))
    for loss in ("cross-entropy", "binary-cross-entropy"):
        assert f"({loss.capitalize()} does not teach" in in_words(replace(found, loss=loss))
    for loss in (None, "squared-error"):
        assert "does not teach" not in in_words(replace(found, loss=loss))


@pytest.mark.parametrize("replicas", [None, 4])
def test_the_words_for_one_neuron_are_singular(replicas):
    net = network([2, 1, K], replicas=replicas, dtype="float64", seed=2)
    found = effects(net, load("spirals", n_train=100, n_test=100))
    printed = in_words(found)
    assert "with one neuron in the last hidden layer" in printed
    assert "Without its neuron" in printed
    assert f"its squared error, {np.mean(found.ambiguity.error):.3g}, is the network's" in printed
    assert ("there is no second neuron" in printed) == (replicas is not None)
    for wrong in ("1 neurons", "cancel out", "covariance", "together", "one of its"):
        assert wrong not in printed


def test_the_picture_shows_the_numbers(case):
    net, dataset = case
    found = effects(net, dataset)
    for kind in ("light", "dark"):
        figure = predictions_picture(found, metric="effective_rank", kind=kind)
        assert len(figure.axes) == 4
    ablation, bars, starts, scatter = figure.axes
    drawn = np.concatenate([c.get_offsets() for c in ablation.collections])
    assert len(drawn) == R * H
    assert sorted(drawn[:, 1].round(9)) == sorted(np.ravel(found.ablation.drop).round(9))
    heights = [patch.get_height() for patch in bars.patches]
    close(heights[0] - heights[1], heights[2], rtol=1e-9)
    heights = [patch.get_height() for patch in starts.patches]
    close(sum(heights[:3]), heights[3], rtol=1e-9)
    close(scatter.collections[0].get_offsets()[:, 0], found.diversity["effective_rank"])
    assert "Test accuracy against effective rank of 5 networks" in alt_text(figure)
    with pytest.raises(UsageError, match="not measured"):
        predictions_picture(found, metric="nothing")


# The command -------------------------------------------------------------------------------------

RUN = ["--data", "spirals:n_train=200,n_test=60", "--hidden", "6", "--epochs", "4", "--quiet"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    where = tmp_path_factory.mktemp("runs") / "run"
    flags = [*RUN, *("--loss", "squared-error"), *("--replicas", "5"), "--no-plot"]
    flags += ["--lr", "1e-3/1e-2/1e-2/1e-2/1000"]
    assert train.main([*flags, "--optimizer", "sgd", "--out", str(where)]) == 0
    return where


def test_the_command_prints_words_and_draws(folder, capsys):
    assert predictions.main([str(folder)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("The 4 networks are on average right on")  # the fifth diverged
    assert printed.count("\n") == 1
    assert (folder / "predictions.png").read_bytes()[:4] == b"\x89PNG"
    assert printed.strip() == in_words(predictions.analyse(folder))


def test_the_command_prints_numbers(folder, capsys):
    assert predictions.main([str(folder), "--json", "--no-plot"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["accuracy"]) == 4
    assert set(found["diversity"]) == set(METRICS)
    assert found["loss"] == "squared-error"


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["nowhere"], "is not a run folder"),
        ([], "RUN_DIR"),
        (["RUN", "--metric", "corelation"], "did you mean 'correlation'"),
        (["RUN", "--plot"], "there is no flag --plot"),
    ],
)
def test_mistakes_get_one_sentence(flags, sentence, folder, capsys):
    flags = [str(folder) if f == "RUN" else f for f in flags]
    refused(capsys, predictions.main, flags, sentence)


def test_a_damaged_or_unfinished_run_is_one_sentence(folder, tmp_path, capsys):
    for name in ("config.json", "model.npz"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "config.json").write_text("{")
    refused(capsys, predictions.main, [str(tmp_path), "--no-plot"], "is damaged", code=1)
    (tmp_path / "model.npz").unlink()
    refused(capsys, predictions.main, [str(tmp_path), "--no-plot"], "did not finish")
