"""Optimizers: every step against the papers' formulas, one number at a time, and against PyTorch; decay,
rates, blocks left alone, subnormal moments, state."""

import tracemalloc

import numpy as np
import pytest
from helpers import close, network, numbers, step, targets_for

from tinydiv import backend as backend_module
from tinydiv import optimizers, schedules
from tinydiv.backend import to_device, to_host, xp
from tinydiv.errors import UsageError
from tinydiv.mlp import MLP
from tinydiv.techniques import Techniques

SIZES, STEPS = [4, 5, 3], 50


def case(replicas=None, dtype="float64", seed=0):
    net = network(SIZES, seed=seed, replicas=replicas, dtype=dtype)
    return net, numbers(9, 4, seed=1, dtype=dtype), targets_for("cross-entropy", 9, 3, seed=2)


def torchs(torch, name, parameters, lr, decay):
    """PyTorch's optimizer; the weight matrices decay, the biases do not."""
    make = {
        "sgd": lambda groups: torch.optim.SGD(groups, lr=lr),
        "momentum": lambda groups: torch.optim.SGD(groups, lr=lr, momentum=0.9),
        "nesterov": lambda groups: torch.optim.SGD(groups, lr=lr, momentum=0.9, nesterov=True),
        "adam": lambda groups: torch.optim.Adam(groups, lr=lr),
        "adamw": lambda groups: torch.optim.AdamW(groups, lr=lr),
    }[name]
    W, b = parameters
    return make([{"params": W, "weight_decay": decay}, {"params": b, "weight_decay": 0.0}])


@pytest.mark.parametrize(("decay", "schedule"), [(0.0, "constant"), (0.03, "cosine:warmup=5")])
@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_fifty_steps_are_those_of_torch(backend, torch_reference, name, decay, schedule):
    """With schedules and decay, on a real loss: the gradients follow the weights."""
    torch, tensor = torch_reference.torch, torch_reference.tensor
    net, X, Y = case()
    W, b = ([tensor(to_host(p), grad=True) for p in group] for group in (net.W, net.b))
    lr, plan = 0.05, schedules.parse(schedule)
    ours = optimizers.get(name)(net, lr, decay)
    theirs = torchs(torch, name, (W, b), lr, decay)
    for t in range(STEPS):
        factor = plan(t, STEPS)
        step(net, ours, X, Y, factor=factor)
        for group in theirs.param_groups:
            group["lr"] = lr * factor
        theirs.zero_grad()
        outputs = torch_reference.forward(W, b, tensor(to_host(X)), "relu")
        torch_reference.cross_entropy(outputs, tensor(to_host(Y))).backward()
        theirs.step()
    for mine, other in zip([*net.W, *net.b], [*W, *b], strict=True):
        close(mine, other.detach().numpy(), rtol=1e-9)


def by_hand(name, theta, gradients, lr, decay):
    """The path of one parameter, as the papers state the updates, in plain Python numbers.

    gradients: one a step; lr: one a step; decay: the weight decay of this parameter.
    """
    m = v = 0.0
    path = []
    for t, (g, rate) in enumerate(zip(gradients, lr, strict=True), start=1):
        if name == "adamw":
            theta = theta - rate * decay * theta
        else:
            g = g + decay * theta
        if name == "sgd":
            theta = theta - rate * g
        elif name in ("momentum", "nesterov"):
            m = 0.9 * m + g
            theta = theta - rate * (m if name == "momentum" else g + 0.9 * m)
        else:
            m = 0.9 * m + 0.1 * g
            v = 0.999 * v + 0.001 * g**2
            m_hat, v_hat = m / (1 - 0.9**t), v / (1 - 0.999**t)
            theta = theta - rate * m_hat / (v_hat**0.5 + 1e-8)
        path.append(theta)
    return path


@pytest.mark.parametrize("size", [1.0, 1e-8], ids=["gradients of 1", "gradients as small as eps"])
@pytest.mark.parametrize("replicas", [None, 3])
@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_every_step_is_that_of_the_formulas_by_hand(backend, name, replicas, size):
    """Gradients given, a factor for every step, rates and decays per network; biases do not decay.

    Gradients of 1e-8 are as large as Adam's eps, so that a wrong eps shows.
    """
    R, steps = replicas or 1, 6
    rates, decays = [0.02, 0.005, 0.1][:R], [0.3, 0.0, 0.7][:R]
    factors = [1.0, 0.5, 2.0, 0.25, 1.5, 1.0]
    net = network([3, 2], seed=5, replicas=replicas, dtype="float64")
    start = to_host(net.theta).copy().reshape(R, -1)
    drawn = size * np.random.default_rng(6).normal(size=(steps, *start.shape))
    ours = optimizers.get(name)(net, rates if replicas else rates[0], decays)
    found = []
    for t in range(steps):
        net.dtheta[...] = to_device(drawn[t].reshape(net.dtheta.shape))
        ours.step(factors[t])
        found.append(to_host(net.theta).reshape(R, -1).copy())
    for r in range(R):
        lr = [rates[r] * factor for factor in factors]
        for p in range(start.shape[1]):
            decay = decays[r] if p < 3 * 2 else 0.0  # W0 has 3 x 2 entries, then comes b0
            wanted = by_hand(name, start[r, p], drawn[:, r, p], lr, decay)
            close([one[r, p] for one in found], wanted, rtol=1e-12, atol=1e-13)


# What each guarantees -----------------------------------------------------------------------------


def with_gradient(value, replicas=None):
    net = MLP(SIZES, replicas=replicas, dtype="float64")
    net.theta[...] = 1.0
    net.dtheta[...] = value
    return net


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_the_first_step_goes_against_the_gradient_at_the_rate(backend, name):
    net = with_gradient(2.0)
    optimizers.get(name)(net, lr=0.1, weight_decay=0.0).step()
    size = {"sgd": 0.2, "momentum": 0.2, "nesterov": 0.2 * 1.9, "adam": 0.1, "adamw": 0.1}[name]
    close(net.theta, np.full(net.n_parameters, 1 - size), rtol=1e-7)


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_weight_decay_pulls_on_weights_and_not_on_biases(backend, name):
    net = with_gradient(0.0)
    optimizers.get(name)(net, lr=0.1, weight_decay=0.5).step()
    assert all((to_host(W) < 1.0 - 1e-3).all() for W in net.W)
    assert all((to_host(b) == 1.0).all() for b in net.b)


def test_adamw_s_decay_is_not_divided_by_the_root_of_v(backend):
    """A gradient of 0 leaves only the decay: theta (1 - lr * decay), whatever v is."""
    net = with_gradient(0.0)
    optimizers.AdamW(net, lr=0.1, weight_decay=0.5).step()
    close(net.W[0], np.full((4, 5), 1 - 0.1 * 0.5))
    adam = with_gradient(0.0)
    optimizers.Adam(adam, lr=0.1, weight_decay=0.5).step()
    close(adam.W[0], np.full((4, 5), 1 - 0.1), rtol=1e-6)  # through v: a full step of Adam


def test_adamw_decays_a_hundredth_by_default(backend):
    net = with_gradient(0.0)
    optimizers.AdamW(net, lr=1.0).step()
    close(net.W[0], np.full((4, 5), 0.99))
    assert optimizers.Adam(net).decay is None


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_a_factor_of_zero_stands_still(backend, name):
    net = with_gradient(2.0)
    optimizers.get(name)(net, weight_decay=0.1).step(0.0)
    close(net.theta, np.ones(net.n_parameters), rtol=0, atol=0)


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_a_rate_per_network(backend, name):
    rates = [0.0, 0.1, 0.2]
    net = with_gradient(2.0, replicas=3)
    optimizers.get(name)(net, lr=rates, weight_decay=0.0).step()
    moved = 1 - to_host(net.theta)
    close(moved, np.array(rates)[:, None] / 0.1 * moved[1], rtol=1e-12)
    assert moved[1].min() > 0.05


# A technique may own a block ---------------------------------------------------------------------


@pytest.mark.parametrize("blocks", [["W0"], ["b0"], ["W1", "W0"], ["b1"], ["W0", "b0", "W1", "b1"]])
@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_a_released_block_stays_and_all_others_move_as_before(backend, name, blocks):
    (net, *_), (free, *_) = case(replicas=2), case(replicas=2)
    ours, other = (
        optimizers.get(name)(n, [0.02, 0.03], weight_decay=[0.1, 0.2]) for n in (net, free)
    )
    for block in blocks:
        ours.release(block)
    for n, optimizer in ((net, ours), (free, other)):
        n.dtheta[...] = numbers(*n.theta.shape, seed=4)
        start = to_host(n.theta).copy()
        optimizer.step()
        optimizer.step(0.5)
    for block in net.blocks:
        mine, as_before = net.view(net.theta, block.name), net.view(free.theta, block.name)
        if block.name in blocks:
            close(mine, net.view(to_device(start), block.name), rtol=0, atol=0)
            assert np.abs(to_host(mine) - to_host(as_before)).min() > 0
        else:
            close(mine, as_before, rtol=0, atol=0)


# Subnormal moments -------------------------------------------------------------------------------


def subnormal(a):
    values = np.abs(to_host(a))
    return int(((values > 0) & (values < np.finfo(values.dtype).tiny)).sum())


@pytest.mark.parametrize("name", ["momentum", "nesterov", "adam", "adamw"])
def test_moments_never_stay_subnormal_and_weights_are_unchanged(backend, monkeypatch, name):
    """One gradient, and then none for long: moments decay through the subnormal numbers, on which a
    CPU is several times slower, unless they are flushed."""
    ends = {}
    for every in (optimizers.FLUSH_EVERY, 10**9):
        monkeypatch.setattr(optimizers, "FLUSH_EVERY", every)
        net = network(SIZES, dtype="float32")
        optimizer = optimizers.get(name)(net, lr=0.01)
        net.dtheta[...] = numbers(*net.theta.shape, dtype="float32")
        optimizer.step()
        net.dtheta[...] = 0.0
        seen = []
        for _ in range(15 * 64):
            optimizer.step()
            seen.append(subnormal(optimizer.moments["m"]))
        ends[every] = to_host(net.theta).copy(), seen
    flushed, unflushed = ends.values()
    if backend != "cupy":  # whose kernels flush to zero by themselves
        assert max(unflushed[1]) > 20  # this run does have subnormal moments
    assert max(flushed[1][62::64]) == 0  # right after each flush
    assert sum(map(bool, flushed[1])) <= 128  # at most the way from one flush to the next
    np.testing.assert_array_equal(flushed[0], unflushed[0])


def test_the_flush_keeps_every_normal_number_and_zero(backend):
    net = network([1, 6], dtype="float32")
    optimizer = optimizers.Momentum(net)
    tiny = float(np.finfo("float32").tiny)
    kept = [tiny, -tiny, 1.0, -1e-30, 0.0, 3e38]
    flushed = [tiny / 2, -tiny / 2, 1e-45, -1e-40, tiny * 0.999, 1e-41]
    optimizer.moments["m"][...] = to_device(np.array(kept + flushed, "float32"))
    optimizer.flush()
    expected = np.array(kept + [0.0] * 6, "float32")
    np.testing.assert_array_equal(to_host(optimizer.moments["m"]), expected)


# State -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_state_taken_in_the_middle_continues_bit_for_bit(backend, name):
    net, X, Y = case(replicas=2, dtype="float32")
    through = optimizers.get(name)(net, lr=[0.01, 0.02])
    for _ in range(5):
        step(net, through, X, Y)
    saved = {
        key: value if isinstance(value, int) else to_host(value).copy()
        for key, value in through.state().items()
    }
    theta = to_host(net.theta).copy()
    for _ in range(5):
        step(net, through, X, Y)

    resumed_net, *_ = case(replicas=2, dtype="float32", seed=7)
    resumed_net.theta[...] = to_device(theta)
    resumed = optimizers.get(name)(resumed_net, lr=[0.01, 0.02])
    resumed.load_state(saved)
    assert resumed.steps == 5
    for _ in range(5):
        step(resumed_net, resumed, X, Y)
    close(resumed_net.theta, net.theta, rtol=0, atol=0)
    for key, moment in through.moments.items():
        close(resumed.moments[key], moment, rtol=0, atol=0)


# Mistakes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["adam", "adamw"])
@pytest.mark.parametrize("replicas", [None, 3])
@pytest.mark.parametrize("after", [1, 7, 300])
def test_neurons_that_were_reset_move_as_with_a_new_optimizer(backend, name, replicas, after):
    """With a constant gradient every step of Adam is lr long: reset neurons once took up to 6.4 lr."""
    net, lr = network([4, 5, 3], replicas=replicas, dtype="float64"), 0.01
    optimizer = optimizers.get(name)(net, lr, weight_decay=0)
    net.dtheta = numbers(*net.theta.shape, seed=1)
    for _ in range(after):
        optimizer.step()
    chosen = to_device(np.broadcast_to([True, False, False, True, False], (*net.lead, 5)).copy())
    Techniques(net, [], optimizer).step(None, None, None, None).reset_moments(1, chosen)
    for number in range(1, 40):
        before = net.theta.copy()
        optimizer.step()
        close(abs(net.theta - before), xp.full_like(before, lr), rtol=1e-5)
        if number == 20:  # through a checkpoint, into an optimizer that never forgot anything
            state = {
                key: to_host(value) if key != "steps" else value
                for key, value in optimizer.state().items()
            }
            optimizer = optimizers.get(name)(net, lr, weight_decay=0)
            optimizer.load_state(state)
    assert {"c1", "c2"} <= set(optimizer.moments)


def test_nothing_is_counted_while_no_neuron_was_reset():
    net = network([4, 5, 3])
    optimizer = optimizers.Adam(net)
    Techniques(net, [], optimizer).step(None, None, None, None).reset_moments(1, np.zeros(5, bool))
    assert list(optimizer.moments) == ["m", "v"]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"lr": -0.1}, "the learning rate must be a finite number from 0 up, got -0.1"),
        ({"lr": float("nan")}, "the learning rate must be a finite number from 0 up, got nan"),
        ({"lr": float("inf")}, "the learning rate must be a finite number from 0 up, got inf"),
        ({"lr": [0.1, 0.2]}, r"the learning rate is one number or one per network \(3\), got 2"),
        ({"lr": "fast"}, "the learning rate is one number or one per network, got 'fast'"),
        ({"weight_decay": -1}, "the weight decay must be a finite number from 0 up, got -1"),
        (
            {"weight_decay": [1.0]},
            r"the weight decay is one number or one per network \(3\), got 1",
        ),
    ],
)
def test_rates_that_cannot_be_are_one_sentence(settings, sentence):
    with pytest.raises(UsageError, match=sentence):
        optimizers.Adam(network(SIZES, replicas=3), **settings)


def test_the_usual_kinds_of_numbers_are_rates():
    net = network(SIZES, replicas=3)
    assert optimizers.SGD(net, np.float32(0.5)).lr == 0.5
    assert optimizers.SGD(net, np.array([1, 2, 3])).lr.tolist() == [[1], [2], [3]]


def test_an_optimizer_is_found_by_name():
    assert optimizers.get("adam") is optimizers.Adam
    with pytest.raises(UsageError, match="no optimizer called 'adm': did you mean 'adam'"):
        optimizers.get("adm")
    assert repr(optimizers.Adam(MLP([2, 1]))) == "Adam(MLP(2-1, relu, 3 parameters, float32))"


@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_every_optimizer_has_a_default_rate_that_learns(backend, name):
    net, X, Y = case(dtype="float32")
    optimizer = optimizers.get(name)(net)
    values = [to_host(step(net, optimizer, X, Y)).item() for _ in range(60)]
    assert values[-1] < values[0] - 0.02
    assert xp.isfinite(net.theta).all()


# In pieces that fit in a CPU's cache ----------------------------------------------------------------


def plain_formulas(name, theta, g, m, v, lr, decay, t):
    """Every update as its docstring has it, on whole arrays in float64."""
    if name == "adamw":
        theta = theta * (1 - lr * decay)
    else:
        g = g + decay * theta
    if name == "sgd":
        return theta - lr * g, m, v
    if name in ("momentum", "nesterov"):
        m = 0.9 * m + g
        return theta - lr * (g + 0.9 * m if name == "nesterov" else m), m, v
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    mhat, vhat = m / (1 - 0.9**t), v / (1 - 0.999**t)
    return theta - lr * mhat / (np.sqrt(vhat) + 1e-8), m, v


@pytest.mark.parametrize("replicas", [None, 3])
@pytest.mark.parametrize("name", optimizers.OPTIMIZERS)
def test_pieces_give_the_bits_of_the_whole_and_both_are_the_formula(monkeypatch, name, replicas):
    lr = 0.05 if replicas is None else [0.03, 0.05, 0.07]
    decay = 0.1 if replicas is None else [0.1, 0.0, 0.2]
    ends = {}
    for piece in (7, 20, 10**9):  # shorter than a network, a few networks, all
        monkeypatch.setattr(backend_module, "PIECE", piece)
        net = network(SIZES, replicas=replicas, dtype="float32")
        optimizer = optimizers.get(name)(net, lr, decay)
        for t in range(5):
            net.dtheta[...] = numbers(*net.theta.shape, seed=t, dtype="float32")
            optimizer.step()
        optimizer.flush()
        ends[piece] = net.theta.copy()
    np.testing.assert_array_equal(ends[7], ends[10**9])
    np.testing.assert_array_equal(ends[20], ends[10**9])

    theta = network(SIZES, replicas=replicas, dtype="float64").theta
    m = v = np.zeros_like(theta)
    rates = np.array(lr, dtype=float).reshape(-1, 1) if replicas else lr
    decays = (np.array(decay, dtype=float).reshape(-1, 1) if replicas else decay) * (
        optimizers.weight_mask(net).astype(float)
    )
    for t in range(5):
        g = numbers(*theta.shape, seed=t)
        theta, m, v = plain_formulas(name, theta, g, m, v, rates, decays, t + 1)
    np.testing.assert_allclose(ends[7], theta, rtol=2e-5, atol=2e-6)


def test_an_update_on_a_cpu_makes_no_array_larger_than_a_piece():
    """What makes it fast: temporaries of a piece, which come from the cache, never of all networks."""
    net = MLP([100, 40, 10], replicas=40)
    optimizer = optimizers.Adam(net, weight_decay=0.01)
    net.dtheta[...] = 1.0
    optimizer.step()
    tracemalloc.start()
    for _ in range(64):  # a flush of the moments is among them
        optimizer.step()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 4 * backend_module.PIECE < net.theta.nbytes


@pytest.mark.parametrize("clip", [0.01, 0.3, 100.0])
def test_clipping_is_torchs_for_each_network(backend, torch_reference, clip):
    torch, tensor = torch_reference.torch, torch_reference.tensor
    net, X, Y = case(replicas=3)
    limits = [clip, 2 * clip, 3 * clip]
    optimizer = optimizers.SGD(net, 0.1, clip=limits)
    before = to_host(net.theta).copy()
    step(net, optimizers.SGD(net, 0.0), X, Y)
    gradients = to_host(net.dtheta).copy()
    optimizer.step()
    for r in range(3):
        weights = tensor(before[r]).requires_grad_()
        weights.grad = tensor(gradients[r])
        torch.nn.utils.clip_grad_norm_([weights], limits[r])
        close(to_host(net.theta)[r], before[r] - 0.1 * weights.grad.numpy())


def test_clipping_one_network_and_gradients_of_any_size(backend):
    """Squares of 1e30 overflow in float32, squares of 1e-30 vanish, and a norm of zero divides nothing."""
    for size, wanted in ((1e30, 2e-30), (1e-30, 1.0), (0.0, 1.0)):
        g = xp.full((4,), size, dtype="float32")
        close(optimizers.clip_factor(g, 4.0), [wanted], rtol=1e-5)
    net, X, Y = case()
    with pytest.raises(UsageError, match="largest norm"):
        optimizers.SGD(net, clip=-1.0)
    optimizer = optimizers.Adam(net, clip=0.01)
    step(net, optimizer, X, Y)
    close(xp.sqrt(xp.sum(net.dtheta**2)), 0.01, rtol=1e-3)


@pytest.mark.parametrize("steps", [2**31 - 2, 2**32, 2**53])
def test_adam_after_a_month_of_steps_has_no_correction_left(steps):
    """Past 2^31 and 2^32 steps, 1 - b^t is 1, and a step is lr m / (sqrt(v) + eps)."""
    net = network([4, 5, 3])
    optimizer = optimizers.Adam(net, lr=0.1)
    optimizer.step()  # the moments are made
    for moment in optimizer.moments.values():
        moment[...] = 1.0
    optimizer.steps = steps
    net.dtheta[...] = 1.0
    before = to_host(net.theta).copy()
    optimizer.step()
    close(net.theta, before - 0.1, rtol=1e-5)
    assert optimizer.steps == steps + 1


def test_a_schedule_acts_on_adam_also_after_moments_were_reset():
    """From then on every entry has a correction of its own, and the rate is still lr times the factor."""
    moved = []
    for factor in (1.0, 0.5):
        net = network([4, 5, 3], dtype="float64")
        optimizer = optimizers.Adam(net, lr=0.1)
        net.dtheta[...] = 1.0
        optimizer.step()
        optimizer.forget("W0", xp.ones((4, 5), dtype=bool))
        before = net.theta.copy()
        optimizer.step(factor)
        moved.append(net.theta - before)
    close(moved[1], 0.5 * moved[0])


def test_adam_counts_the_steps_of_each_entry_from_where_its_moments_were_reset():
    """The published recursion with t of its own per entry, in plain NumPy; eps is large enough to count."""
    net = network([4, 5, 3], dtype="float64")
    optimizer = optimizers.Adam(net, lr=0.1)
    optimizer.eps = 0.5
    wanted, rng = to_host(net.theta).copy(), np.random.default_rng(0)
    m, v, t = np.zeros_like(wanted), np.zeros_like(wanted), np.zeros_like(wanted)
    for number in range(6):
        if number == 3:
            mask = xp.zeros((4, 5), dtype=bool)
            mask[:, 1] = True
            optimizer.forget("W0", mask)
            for kept in (m, v, t):
                net.view(kept, "W0")[:, 1] = 0
        g = rng.normal(size=wanted.shape)
        net.dtheta[...] = g
        optimizer.step()
        t += 1
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        wanted -= 0.1 * m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 0.5)
        close(net.theta, wanted)
