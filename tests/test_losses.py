"""Losses: values and gradients against PyTorch, large logits, every form of targets, and mistakes."""

from functools import partial

import numpy as np
import pytest
from helpers import close, labels, numbers, targets_for

from tinydiv import losses
from tinydiv.backend import to_device, to_host, xp
from tinydiv.errors import UsageError

N, K, R = 6, 4, 3


def probabilities(*shape, seed=0):
    weights = np.random.default_rng(seed).random(shape)
    return to_device(weights / weights.sum(axis=-1, keepdims=True))


@pytest.mark.parametrize("loss", losses.LOSSES)
@pytest.mark.parametrize("lead", ["one network", "targets shared", "targets of their own"])
def test_values_and_gradients_are_those_of_torch(backend, torch_reference, loss, lead):
    outputs = numbers(N, K) if lead == "one network" else numbers(R, N, K)
    targets = targets_for(loss, *((R, N, K) if "own" in lead else (N, K)), seed=1)
    value, doutputs = losses.get(loss)(outputs, targets)
    assert value.shape == outputs.shape[:-2]
    assert doutputs.shape == outputs.shape
    for r in range(R if lead != "one network" else 1):
        pick = (lambda a: to_host(a)[r]) if lead != "one network" else to_host  # noqa: B023
        mine = pick(targets) if "own" in lead else to_host(targets)
        wanted, gradient = torch_reference.loss_and_gradient(loss, pick(outputs), mine)
        close(pick(value), wanted)
        close(pick(doutputs), gradient)


@pytest.mark.parametrize("kind", ["int8", "uint8", "int32", "int64"])
@pytest.mark.parametrize("loss", losses.LOSSES)
def test_class_numbers_stand_for_rows_with_a_one(backend, loss, kind):
    outputs, classes = numbers(R, N, K), labels(N, classes=K).astype(kind)
    rows = to_device(np.eye(K)[to_host(classes)])
    by_number, by_row = (losses.get(loss)(outputs, t) for t in (classes, rows))
    for one, other in zip(by_number, by_row, strict=True):
        close(one, other)


def test_cross_entropy_takes_rows_of_probabilities(backend, torch_reference):
    logits, targets = numbers(N, K), probabilities(N, K)
    value, dlogits = losses.cross_entropy(logits, targets)
    wanted, gradient = torch_reference.loss_and_gradient(
        "cross-entropy", to_host(logits), to_host(targets)
    )
    close(value, wanted)
    close(dlogits, gradient)


def test_cross_entropy_s_gradient_is_right_for_rows_that_do_not_add_up_to_one(
    backend, torch_reference
):
    logits, targets = numbers(N, K), 2.5 * probabilities(N, K)
    wanted, gradient = torch_reference.loss_and_gradient(
        "cross-entropy", to_host(logits), to_host(targets)
    )
    value, dlogits = losses.cross_entropy(logits, targets)
    close(value, wanted)
    close(dlogits, gradient)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("large", [100.0, 1e4, 1e30])
def test_cross_entropy_of_huge_logits_is_exact(backend, dtype, large):
    logits = to_device([[large, 0.0, 0.0], [-large, 0.0, -large]], dtype=dtype)
    sure, dsure = losses.cross_entropy(logits, to_device([0, 1]))
    assert float(to_host(sure)) < 1e-40
    assert np.abs(to_host(dsure)).max() < 1e-40
    wrong, dwrong = losses.cross_entropy(logits, to_device([1, 1]))
    close(wrong, large / 2, rtol=1e-6)
    close(dwrong, [[0.5, -0.5, 0.0], [0.0, 0.0, 0.0]], atol=1e-40)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("large", [100.0, 1e4, 1e30])
def test_binary_cross_entropy_of_huge_logits_is_exact(backend, dtype, large):
    logits = to_device([[large, -large, large, -large]], dtype=dtype)
    value, dlogits = losses.binary_cross_entropy(logits, to_device([[1, 0, 0, 1]], dtype=dtype))
    close(value, 2 * large, rtol=1e-6)
    close(dlogits, [[0, 0, 1, -1]], atol=1e-40)


def test_a_wide_spread_of_logits_keeps_small_probabilities(backend):
    """-log p of an improbable class in float32: exact, where log(softmax) would be log(0)."""
    value, _ = losses.cross_entropy(
        to_device([[0.0, -150.0]], dtype="float32"), to_device(np.array([1]))
    )
    close(value, 150.0, rtol=1e-6)


@pytest.mark.parametrize("loss", losses.LOSSES)
def test_the_mean_over_samples_is_inside(backend, loss):
    outputs, targets = numbers(N, K), targets_for(loss, N, K)
    value, doutputs = losses.get(loss)(outputs, targets)
    parts = [losses.get(loss)(outputs[i : i + 1], targets[i : i + 1]) for i in range(N)]
    close(value, sum(to_host(v) for v, _ in parts) / N)
    close(doutputs, np.concatenate([to_host(d) for _, d in parts]) / N)


def test_the_outputs_and_targets_are_left_as_they_were(backend):
    for loss in losses.LOSSES:
        outputs, targets = numbers(N, K), targets_for(loss, N, K)
        before = to_host(outputs).copy(), to_host(targets).copy()
        losses.get(loss)(outputs, targets)
        close(outputs, before[0], rtol=0, atol=0)
        close(targets, before[1], rtol=0, atol=0)


@pytest.mark.parametrize(
    "targets",
    [
        lambda: labels(N + 1, classes=K),
        lambda: labels(N, K, classes=K),
        lambda: numbers(N, K + 1),
        lambda: numbers(N + 1, K),
        lambda: numbers(N),
    ],
)
@pytest.mark.parametrize("loss", losses.LOSSES)
def test_targets_that_do_not_fit_are_one_sentence_with_both_shapes(backend, loss, targets):
    targets = targets()
    sentence = (
        rf"outputs \({N}, {K}\) need targets .*got {targets.dtype} of shape \({targets.shape[0]},"
    )
    with pytest.raises(UsageError, match=sentence):
        losses.get(loss)(numbers(N, K), targets)


@pytest.mark.parametrize("wrong", [[0, 1, K], [0, -1, 1]])
@pytest.mark.parametrize("loss", losses.LOSSES)
def test_class_numbers_out_of_range_are_one_sentence(loss, wrong):
    with pytest.raises(UsageError, match=f"from 0 to {K - 1} for {K} outputs, got {min(wrong)} to"):
        losses.get(loss)(numbers(3, K), np.array(wrong))


@pytest.mark.parametrize("loss", losses.LOSSES)
def test_on_a_device_value_and_gradient_of_a_number_out_of_range_agree(on_standin, loss):
    outputs, targets = numbers(3, K), to_device([0, -1, K])
    direction, h = numbers(3, K, seed=1), 1e-6
    up, down = (losses.get(loss)(outputs + s * h * direction, targets)[0] for s in (1, -1))
    _, gradient = losses.get(loss)(outputs, targets)
    close((up - down) / (2 * h), xp.sum(gradient * direction), rtol=1e-7)


@pytest.mark.parametrize("loss", losses.LOSSES)
def test_one_output_takes_no_class_numbers(backend, loss):
    """Binary cross-entropy once learned them inverted: class 0 stood for a one at output 0."""
    with pytest.raises(UsageError, match=r"one output: build a network with two, or .* \(N, 1\)"):
        losses.get(loss)(numbers(N, 1), labels(N, classes=2))


@pytest.mark.parametrize("n", [2, 3, 4, 5])
@pytest.mark.parametrize("many", [False, True])
def test_integer_rows_with_a_one_are_pointed_out(many, n):
    outputs, rows = numbers(*[n] * many, n, n), np.eye(n, dtype=int)
    with pytest.raises(UsageError, match=r"targets.astype\(float\)"):
        losses.cross_entropy(outputs, rows)
    value, _ = losses.cross_entropy(outputs, rows.astype(float))
    close(value, losses.cross_entropy(outputs, np.arange(n))[0])


@pytest.mark.parametrize("kind", [float, bool])
@pytest.mark.parametrize("loss", losses.LOSSES)
def test_class_numbers_that_are_not_whole_numbers_by_type_are_pointed_out(loss, kind):
    for lead in [(), (R,)]:
        with pytest.raises(UsageError, match=r"Class numbers are whole: targets.astype\(int\)"):
            losses.get(loss)(numbers(*lead, N, K), to_host(labels(N, classes=2)).astype(kind))


@pytest.mark.parametrize("n", [2, 3, 4])
def test_a_data_sets_labels_are_class_numbers_even_where_they_look_like_rows(n):
    outputs, rows = numbers(n, n, n), np.eye(n, dtype="int32")  # as DeviceData keeps labels
    close(
        losses.cross_entropy(outputs, rows)[0],
        losses.cross_entropy(outputs, np.eye(n)[rows])[0],
    )


def test_targets_may_be_lists_and_one_hot_takes_the_number_of_classes(backend):
    outputs = numbers(3, K)
    close(
        losses.cross_entropy(outputs, [0, 2, 1])[0],
        losses.cross_entropy(outputs, to_device([0, 2, 1]))[0],
    )
    close(losses.one_hot(to_device([0, 2, 1]), 3), np.eye(3)[[0, 2, 1]])
    close(losses.accuracy(outputs, np.argmax(to_host(outputs), axis=-1).tolist()), 1)


@pytest.mark.parametrize("class_weights", [None, [1.0, 0.5, 2.0, 0.0]])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("lead", [(), (R,)])
def test_softened_cross_entropy_is_torchs(backend, torch, lead, smoothing, class_weights):
    loss = partial(losses.softened_cross_entropy, smoothing=smoothing, class_weights=class_weights)
    logits, targets = numbers(*lead, N, K), labels(N, classes=K, seed=3)
    value, gradient = loss(logits, targets)
    weight = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float64)
    for r in range(R if lead else 1):
        x = torch.tensor(to_host(logits)[r] if lead else to_host(logits), requires_grad=True)
        wanted = (
            torch.nn.functional.cross_entropy(
                *(x, torch.tensor(to_host(targets)).long()),
                weight=weight,
                label_smoothing=smoothing,
                reduction="sum",
            )
            / N
        )
        wanted.backward()
        close(to_host(value).reshape(-1)[r], wanted.item())
        close(to_host(gradient)[r] if lead else gradient, x.grad.numpy())


@pytest.mark.parametrize("loss", [*losses.LOSSES, "softened"])
@pytest.mark.parametrize("lead", ["one network", "targets shared", "targets of their own"])
def test_a_weighted_loss_is_the_weighted_mean_of_each_sample_s_own(backend, loss, lead):
    many, own = lead != "one network", lead == "targets of their own"
    outputs = numbers(*(R,) * many, N, K)
    plain = losses.LOSSES.get(loss, partial(losses.softened_cross_entropy, smoothing=0.2))
    kind = "cross-entropy" if loss == "softened" else loss
    targets = targets_for(kind, *(R,) * own, N, K, seed=1)
    weights = abs(numbers(*(R,) * own, N, seed=5))
    value, gradient = losses.weighted(outputs, targets, loss=plain, weights=weights)
    wanted, rows = np.zeros(outputs.shape[:-2]), np.zeros(outputs.shape)
    by_sample = (-2, -1)[to_host(targets).dtype.kind in "iu"]  # the targets' axis of samples
    for n in range(N):
        at = xp.take(targets, xp.asarray([n]), axis=by_sample)
        one, row = plain(outputs[..., n : n + 1, :], at)
        s = to_host(weights)[..., n] / N
        wanted += s * to_host(one)
        rows[..., n, :] = np.asarray(s)[..., None] * to_host(row)[..., 0, :]
    close(value, wanted)
    close(gradient, rows)
    close(losses.weighted(outputs, targets, plain, xp.ones(N))[1], plain(outputs, targets)[1])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"smoothing": 1.5}, "a share from 0 to 1, got 1.5"),
        ({"class_weights": [1, 2]}, f"needs {K} numbers, one per output, got 2"),
    ],
)
def test_softening_that_cannot_be_is_one_sentence(settings, sentence):
    with pytest.raises(UsageError, match=sentence):
        losses.softened_cross_entropy(numbers(N, K), labels(N, classes=K), **settings)


def test_balanced_weights_let_every_class_count_alike():
    labels = np.array([0, 0, 0, 1, 2, 2])
    weights = losses.balanced(labels, 3)
    close(weights, [6 / 9, 6 / 3, 6 / 6])
    close([sum(weights[y] for y in labels if y == k) for k in range(3)], [2.0, 2.0, 2.0])
    assert losses.balanced(labels, 4)[3] == 1.5  # as one sample would have it


def test_softened_is_the_plain_loss_where_nothing_is_softened():
    assert losses.softened("squared-error") is losses.squared_error
    loss = losses.softened("cross-entropy", 0.1, (1.0, 2.0))
    assert losses.without_softening(loss) is losses.cross_entropy
    assert losses.without_softening(losses.squared_error) is losses.squared_error
    with pytest.raises(UsageError, match="belong to the loss cross-entropy"):
        losses.softened("squared-error", 0.1)


def test_weights_of_samples_are_rows_that_add_up_to_them(torch_reference):
    torch, tensor = torch_reference.torch, torch_reference.tensor
    outputs, y = numbers(N, K), labels(N, classes=K)
    weights = np.random.default_rng(3).random(N)
    value, d = losses.cross_entropy(outputs, losses.one_hot(y, K) * weights[:, None])
    z = tensor(to_host(outputs)).requires_grad_()
    each = torch.nn.functional.cross_entropy(z, tensor(to_host(y)).long(), reduction="none")
    wanted = (each * tensor(weights)).sum() / N
    wanted.backward()
    close(value, wanted.item())
    close(d, z.grad.numpy())


def test_softmax_of_huge_logits(backend):
    close(
        losses.softmax(to_device([[1e4, 1e4, -1e4], [0.0, np.log(3.0), -1e4]])),
        [[0.5, 0.5, 0], [0.25, 0.75, 0]],
    )


def test_a_loss_is_found_by_name_or_given():
    assert losses.get("squared-error") is losses.squared_error
    assert losses.get(losses.squared_error) is losses.squared_error
    with pytest.raises(
        UsageError, match="no loss called 'cross-entrpy': did you mean 'cross-entropy'"
    ):
        losses.get("cross-entrpy")


def test_accuracy_is_the_share_of_right_predictions_per_network(backend):
    logits = xp.stack([to_device(np.eye(3)), to_device(np.eye(3)[[0, 2, 1]])])
    shared = losses.accuracy(logits, to_device([0, 1, 2]))
    close(shared, [1.0, 1 / 3])
    own = losses.accuracy(logits, to_device([[0, 1, 1], [0, 2, 1]]))
    close(own, [2 / 3, 1.0])
