"""What a CUDA graph needs of a training step, without a GPU: every step is the same sequence of calls.

A graph repeats recorded launches: the same functions on the same addresses with the same numbers. So two
successive steps are recorded on the stand-in and compared, launch by launch. Arrays that are made on the
way count by their place in the sequence (a memory pool gives each the same address again); all others by
their address. X and Y are fixed arrays into which each batch is copied. Outside a graph stay: the batch,
`optimizer.prepare` (this step's numbers, into arrays that stay), and the flush every 64 steps.
"""

import itertools
import re
from pathlib import Path

import pytest
from helpers import labels, network, numbers

from tinydiv import losses, optimizers
from tinydiv.backend import xp
from tinydiv.divergence import Guard
from tinydiv.layers import Context
from tinydiv.schedules import parse
from tinydiv.techniques import TECHNIQUES, Techniques, layers_of

CHANGES = {
    "the number of the step, in random numbers": (
        "dropout",
        "barlow",
        "orthogonal-noise",
        "merge-recycle",
        "redo",
        "continual-backprop",
    ),
    "new arrays for who is asleep": ("grow", "residual-fitting", "gradmax", "net2net"),
}
"""Techniques with which two successive steps differ, by what differs; all others can be part of a graph."""
RARELY = (
    "reorthogonalise",
    "orthogonal-noise",
    "merge-recycle",
    "redo",
    "grow",
    "residual-fitting",
    "gradmax",
    "net2net",
)
"""Techniques that act every so many steps only: such a step makes more calls than the one before."""
SPEED = Path(__file__).parent.parent / "results" / "speed.md"


class Training:
    """A network with all that acts in a step of loop.train, the guard included."""

    def __init__(self, specs=(), replicas=None, optimizer="adam", **settings):
        self.net = network([6, 5, 4, 3], replicas=replicas, layers=layers_of(specs))
        self.optimizer = optimizers.get(optimizer)(self.net, **settings)
        self.X, self.Y = numbers(8, 6, dtype="float32"), labels(8, classes=3)
        self.techniques = Techniques(
            self.net,
            specs,
            self.optimizer,
            probe_inputs=numbers(16, 6, dtype="float32"),
            total=1000,
        )
        self.guard, self.sum_loss = Guard(self.net), xp.zeros(self.net.lead, dtype="float32")
        self.number = 0

    def step(self, standin, factor=1.0):
        """One step; what was counted in the part that a graph would repeat."""
        net, techniques, self.optimizer.steps = self.net, self.techniques, self.number + 1
        self.optimizer.prepare(factor)
        with standin.counting(standin.Recorded) as counts:
            trace = net.forward(self.X, Context(training=True, step=self.number))
            loss, dlogits = losses.cross_entropy(trace.logits, self.Y)
            step = techniques.step(trace, self.Y, loss, dlogits, self.number, factor=factor)
            techniques.backward(step)
            self.guard.after_backward(trace, loss)
            self.optimizer.move()
            techniques.after_update(step)
            self.guard.after_update()
            self.sum_loss += loss
        self.number += 1
        return counts

    def two_steps(self, standin, factor=lambda number: 1.0):
        """The calls of two successive steps, after one in which things are prepared."""
        three = [self.step(standin, factor(number)) for number in range(3)]
        assert all((c.stops, c.uploads, c.copies) == (0, 0, 0) for c in three)
        return three[1].calls, three[2].calls


@pytest.mark.parametrize("replicas", [None, 3])
@pytest.mark.parametrize("optimizer", optimizers.OPTIMIZERS)
def test_two_steps_are_the_same_calls_on_the_same_arrays(optimizer, replicas, on_standin):
    """Though Adam corrects by the number of the step, and the rate follows a schedule."""
    training = Training((), replicas, optimizer)
    before = training.net.theta.copy()
    schedule = parse("cosine:warmup=2")
    one, other = training.two_steps(on_standin, lambda number: schedule(number, 10))
    assert len(one) > 50
    assert one == other
    assert not bool((training.net.theta == before).all())


@pytest.mark.parametrize(
    "settings", [{"lr": [0.1, 0.2, 0.3]}, {"weight_decay": 0.1}, {"clip": 1.0}]
)
@pytest.mark.parametrize("optimizer", optimizers.OPTIMIZERS)
def test_also_with_rates_of_their_own_decay_and_clipping(optimizer, settings, on_standin):
    one, other = Training((), 3, optimizer, **settings).two_steps(on_standin)
    assert one == other


@pytest.mark.parametrize("replicas", [None, 3])
@pytest.mark.parametrize("name", TECHNIQUES)
def test_which_techniques_make_the_same_calls_in_every_step(name, replicas, on_standin):
    if name == "consensus" and replicas is None:
        replicas = 2  # it compares networks
    specs = [f"{name}:every=1" if name in RARELY else name]
    specs += [*TECHNIQUES[name].needs[:1]]
    one, other = Training(specs, replicas).two_steps(on_standin)
    assert (one == other) == (name not in itertools.chain(*CHANGES.values()))


@pytest.mark.parametrize(("schedule", "same"), [("plateau", True), ("cosine", False)])
def test_a_plateau_is_watched_on_the_device_and_a_schedule_on_the_host(schedule, same, on_standin):
    one, other = Training([f"decov:schedule={schedule}"], 3).two_steps(on_standin)
    assert (one == other) == same


def test_the_lists_of_those_that_cannot_are_whole_and_stand_in_the_notes_on_speed():
    assert tuple(n for n, c in TECHNIQUES.items() if getattr(c, "default_every", 1) > 1) == RARELY
    paragraph = SPEED.read_text(encoding="utf-8").partition("A CUDA graph")[2].partition("\n## ")[0]
    named = set(re.findall(r"`([a-z0-9-]+)`", paragraph)) & set(TECHNIQUES)
    assert named == {*itertools.chain(*CHANGES.values()), *RARELY}


def test_a_number_of_the_step_an_upload_or_a_new_array_that_stays_is_noticed(on_standin):
    """Or the tests above would be green over anything."""
    a, kept = numbers(4, dtype="float32"), [numbers(4, dtype="float32")]

    def calls(work):
        found = []
        for number in range(2):
            with on_standin.counting(on_standin.Recorded) as counts:
                work(number)
            found.append(counts)
        return found

    same, again = calls(lambda number: xp.exp(a * 2.0))
    assert same.calls == again.calls
    assert same.calls[1][0] == "exp"
    first, second = calls(lambda number: xp.exp(a * float(number)))
    assert first.calls != second.calls

    def rebind(number):
        kept[0] = kept[0] * 0.5

    first, second = calls(rebind)
    assert first.calls != second.calls
