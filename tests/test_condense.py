"""Fewer neurons after training: what must not change an output does not, and the command on real runs."""

import numpy as np
import pytest
from helpers import close, network, numbers, refused

from tinydiv.backend import to_device, to_host
from tinydiv.errors import UsageError
from tinydiv.files.model import load_model
from tinydiv.grow.command import main
from tinydiv.growing.condense import asleep_from, compacted, condense, counted, merge, prune
from tinydiv.techniques.grow import awake
from tinydiv.train import command as train


def aligned(replicas=None, activation="relu"):
    """Eight neurons, of which 5 and 6 are 2 and 0.5 times neuron 1 (bias too), and 7 sleeps."""
    net = network([6, 8, 5, 3], replicas=replicas, dtype="float64", activation=activation)
    for j, scale in ((5, 2.0), (6, 0.5), (7, 0.0)):
        net.W[0][..., j] = scale * net.W[0][..., 1]
        net.b[0][..., j] = scale * net.b[0][..., 1]
    net.W[1][..., 7, :] = 0
    return net


@pytest.mark.parametrize("replicas", [None, 2])
@pytest.mark.parametrize("activation", ["relu", "leaky-relu"])
def test_aligned_neurons_become_one_and_nothing_changes(replicas, activation, backend):
    net, X = aligned(replicas, activation), numbers(30, 6, seed=3)
    before = to_host(net.forward(X).logits)
    counts = condense(net, 1, 0.999)
    assert counts.tolist() == [5] * (replicas or 1)
    assert counted(net, 1).tolist() == counts.tolist()
    close(net.forward(X).logits, before, rtol=1e-10)
    kept = to_host(net.W[0])[..., 5]  # the longest of the group stays
    assert abs(kept).max() > 0


def test_a_lower_tau_merges_more(backend):
    counts = []
    for tau in (0.9, 0.5, 0.2, 0.01):
        net = network([2, 20, 3], dtype="float64", activation="relu")
        counts.append(int(condense(net, 1, tau)[0]))
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] < 6


@pytest.mark.parametrize(
    ("activation", "factor"),
    [
        ("tanh", -1),  # a_j = -a_i
        ("sigmoid", -1),  # a_j = 1 - a_i
        ("relu", 3),  # a_j = 3 a_i
    ],
)
def test_neurons_of_affine_responses_merge_without_loss(activation, factor, backend):
    net = network([6, 8, 3], replicas=2, dtype="float64", activation=activation)
    net.W[0][..., 4] = factor * net.W[0][..., 2]
    net.b[0][..., 4] = factor * net.b[0][..., 2]
    X = numbers(30, 6, seed=3)
    before = to_host(net.forward(X).logits)
    merge(net, 1, X, [7, 7])
    assert counted(net, 1).tolist() == [7, 7]
    close(net.forward(X).logits, before, rtol=1e-9, atol=1e-11)


def test_merging_keeps_the_mean_outputs(backend):
    """Least squares leaves no mean; of a constant neuron the mean is all that there is."""
    net, X = network([6, 8, 3], dtype="float64", activation="tanh"), numbers(30, 6, seed=3)
    net.W[0][:, 5] = 0
    before = to_host(net.forward(X).logits)
    merge(net, 1, X, [4])
    after = to_host(net.forward(X).logits)
    close(after.mean(axis=0), before.mean(axis=0))
    assert abs(after - before).max() > 1e-3


def test_a_constant_neuron_goes_first_and_nothing_changes(backend):
    """Its response is a bias of the next layer; a mean of one half is exact."""
    net, X = network([6, 8, 3], dtype="float64", activation="relu"), numbers(30, 6, seed=3)
    net.W[0][:, 5], net.b[0][:, 5] = 0, 0.5
    before = to_host(net.forward(X).logits)
    merge(net, 1, X, [7])
    assert to_host(awake(net, 1)).tolist() == [True] * 5 + [False] + [True] * 2
    close(net.forward(X).logits, before, rtol=1e-12)


def test_merging_is_the_fit_of_least_squares(backend):
    """Two neurons become one: the outputs are the best that an affine function of its response can do."""
    for tried in range(4):
        net = network([6, 2, 3], tried, dtype="float64", activation="tanh")
        X = numbers(30, 6, seed=3)
        before = to_host(net.forward(X).logits)
        strength = to_host(net.forward(X).A[1]).std(axis=0) * np.linalg.norm(
            to_host(net.W[1]), axis=1
        )
        merge(net, 1, X, [1])
        assert to_host(awake(net, 1)).argmax() == strength.argmax()  # the stronger one stays
        a = to_host(net.forward(X).A[1])[:, strength.argmax()]
        basis = np.stack([a, np.ones(30)], axis=1)
        fit = basis @ np.linalg.lstsq(basis, before, rcond=None)[0]
        close(net.forward(X).logits, fit, rtol=1e-9, atol=1e-11)


def test_pruning_takes_the_least_and_keeps_its_mean(backend):
    net, X = network([6, 8, 3], dtype="float64", activation="tanh"), numbers(30, 6, seed=3)
    net.W[1][3] *= 1e-4
    before = to_host(net.forward(X).logits)
    prune(net, 1, X, [7])
    assert not to_host(net.W[0])[:, 3].any()
    after = to_host(net.forward(X).logits)
    close(after, before, rtol=0, atol=1e-3)
    close(after.mean(axis=0), before.mean(axis=0))


def test_pruning_takes_a_quiet_neuron_with_large_outgoing_weights(backend):
    """What counts is std(a) |V|, not |V| alone."""
    net, X = network([6, 8, 3], dtype="float64", activation="tanh"), numbers(30, 6, seed=3)
    net.W[0][:, 3] *= 1e-4
    net.W[1][3] *= 9
    prune(net, 1, X, [7])
    assert to_host(awake(net, 1)).tolist() == [True] * 3 + [False] + [True] * 4


def test_networks_may_keep_different_numbers(backend):
    net, X = network([6, 8, 3], replicas=2, dtype="float64"), numbers(30, 6, seed=3)
    prune(net, 1, X, [3, 6])
    assert counted(net, 1).tolist() == [3, 6]
    asleep_from(net, 1, [2, 8])
    assert counted(net, 1)[0] <= 2


def test_a_single_network_loses_its_sleepers(backend):
    net, X = aligned(), numbers(30, 6, seed=3)
    condense(net, 1, 0.999)
    small = compacted(net, 1)
    assert small.sizes == [6, 5, 5, 3]
    close(small.forward(X).logits, to_host(net.forward(X).logits))
    with pytest.raises(UsageError, match="compact one at a time"):
        compacted(aligned(2), 1)
    net.W[0][...] = net.b[0][...] = net.W[1][...] = to_device(np.zeros(1))
    with pytest.raises(UsageError, match="no neuron of layer 1 is awake"):
        compacted(net, 1)


@pytest.mark.parametrize("tau", [0, -1, 1.5])
def test_tau_is_a_cosine(tau):
    with pytest.raises(UsageError, match="tau is a cosine above 0 and up to 1"):
        condense(aligned(), 1, tau)


# The command ---------------------------------------------------------------------------------------

TOY = ["--data", "moons:n_train=200,n_test=100", "--epochs", "3", "--no-plot", "--quiet"]


def trained(folder, *more):
    assert train.main([*TOY, *more, "--out", str(folder)]) == 0
    return str(folder)


def test_condense_works_on_any_run(tmp_path, capsys):
    run = trained(tmp_path / "run", "--hidden", "12", "--technique", "batch-norm")
    out = tmp_path / "out"
    assert main(["condense", run, "--taus", "0.9/0.3", "--out", str(out), "--workers", "1"]) == 0
    text = capsys.readouterr().out
    for way in ("condense", "merge", "prune", "scratch"):
        assert text.count(f"| {way} |") == 2
    small = load_model(out / "model-0.3.npz")
    assert 1 <= small.sizes[1] < 12


def test_condense_takes_many_networks_and_deep_ones(tmp_path, capsys):
    run = trained(tmp_path / "run", "--hidden", "12,6", "--replicas", "3")
    out = tmp_path / "out"
    flags = ["condense", run, "--taus", "0.5", "--layer", "2", "--epochs", "0", "--out", str(out)]
    assert main(flags) == 0
    assert "[" in capsys.readouterr().out  # an interval over the networks
    assert load_model(out / "model-0.5.npz").replicas == 3


def test_the_help_names_the_folder_and_taus_that_can_be_given(capsys):
    assert main(["condense", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "RUN_DIR a finished run of tinydiv.train" in shown
    assert "(default: 0.95/0.9/0.7/0.5)" in shown


def test_mistakes_are_one_sentence(tmp_path, capsys):
    run = trained(tmp_path / "run", "--hidden", "6", "--activation", "tanh")
    capsys.readouterr()
    for flags, sentence in (
        ([], "needs the folder of a run"),
        (["--taus", "0.5"], "needs the folder of a run"),
        ([str(tmp_path)], "is not a run folder"),
        ([run, "--layer", "2"], "there is no hidden layer 2"),
        ([run, "--taus", "1.5"], "--taus must be a number from 0 to 1"),
        ([run, "--taus", "0"], "tau is a cosine above 0"),
        ([run, "--taus", "0.9,0.5"], "--taus takes numbers with / between them: '0.9/0.5', not"),
        ([run], "needs f(s z) = s f(z)"),
    ):
        if "tau is" in sentence:
            flags = [trained(tmp_path / "relu", "--hidden", "6"), *flags[1:]]
            capsys.readouterr()
        refused(capsys, main, ["condense", *flags, "--out", str(tmp_path / "o")], sentence)
        assert not (tmp_path / "o").exists()
