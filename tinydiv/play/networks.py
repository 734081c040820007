"""Two networks from the same seed that train together: plain on the left, the user's choice on the right.

    pair = Pair(Setup(technique="decov", strength=0.3))
    pair.advance(100)
    pair.view("responses")["right"]["accuracy"]
    pair.gradient("right", neuron=3)["technique"]        the technique's part of dW[0][:, 3]

Each side is a run as `python -m tinydiv.train` builds it, with the same batches and the same numbers in
each step. In addition the user can remove a neuron, scale its gradient, and change rate, batch size,
technique and strength between two steps.
"""

import base64
import copy
import inspect
import shlex
import threading
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import numpy as np

from tinydiv import losses
from tinydiv.backend import quiet, to_device, to_host, xp
from tinydiv.data import NAMES
from tinydiv.data.dataset import Dataset
from tinydiv.data.tasks import CURVES
from tinydiv.diversity import neurons_of, responses
from tinydiv.errors import UsageError
from tinydiv.layers import Context
from tinydiv.loop import batches
from tinydiv.mlp import MLP
from tinydiv.runs.build import Run, build
from tinydiv.runs.config import TrainConfig
from tinydiv.settings import from_table
from tinydiv.techniques import LayerTechnique, Techniques, place

SIDES = ("left", "right")
DATA = [name for name in NAMES if name not in CURVES or CURVES[name].classes]
"""The data sets that a page offers: those with classes."""
PLAIN_START = "he-normal"
MOST_NEURONS = 64
TESTED = 1000
"""Accuracy is measured on this many test samples."""
GRID = 40
"""Decision regions are drawn on GRID x GRID points."""
POINTS = 300
"""How many training points are drawn in a plane."""
MOST_ROWS = 150
"""How many points of a curve are kept: beyond that every second one is dropped and fewer are added."""


@dataclass(frozen=True)
class Setup:
    """The settings of a page; a link holds the same names and values.

    technique: "" for none, or a spec without strength. None stands for the default of the technique
    (strength) or of train (lr, batch_size).
    """

    data: str = "fashion-mini"
    hidden: int = 16
    activation: str = "relu"
    init: str = PLAIN_START
    technique: str = ""
    strength: float | None = None
    optimizer: str = "adam"
    lr: float | None = None
    batch_size: int | None = None
    seed: int = 0

    @property
    def spec(self) -> str:
        """The technique as train takes it, strength included; "" for none."""
        if not self.technique or self.strength is None:
            return self.technique
        joint = "," if ":" in self.technique.rpartition(".py:")[2] else ":"
        return f"{self.technique}{joint}strength={self.strength:g}"

    def table(self, side: str) -> dict[str, Any]:
        """The settings of train for one side, without those that have train's defaults."""
        right = side == "right"
        table = {
            "data": self.data,
            "hidden": [self.hidden],
            "activation": self.activation,
            "init": self.init if right else PLAIN_START,
            "technique": [self.spec] if right and self.spec else [],
            "optimizer": self.optimizer,
            "lr": self.lr,
            "batch_size": self.batch_size,
            "seed": self.seed,
        }
        return {key: value for key, value in table.items() if value is not None}


def read_setup(values: dict[str, Any], data: str | None = None) -> Setup:
    """A set-up from a page's values, text or numbers. Raises UsageError for an unknown name or a wrong
    value.

    data: the data set named on the command line, used where the page names none. A page can request it and
    the built-in sets, but no other file of this machine.
    """
    known = {one.name: one for one in fields(Setup)}
    for key in values:
        if key not in known:
            raise UsageError(f"this page has no setting {key!r}: it has {', '.join(known)}")
    given: dict[str, Any] = {} if data is None else {"data": data}
    for key, value in values.items():
        kind = {"strength": float, "lr": float, "hidden": int, "batch_size": int, "seed": int}
        if key in ("strength", "lr", "batch_size") and value in ("", None):
            continue
        try:
            given[key] = kind.get(key, str)(value)
        except (TypeError, ValueError, OverflowError):
            what = "a whole number" if kind.get(key) is int else "a number"
            raise UsageError(f"{key} must be {what}, got {str(value)[:40]!r}") from None
    setup = Setup(**given)
    if not 1 <= setup.hidden <= MOST_NEURONS:
        raise UsageError(f"this page shows 1 to {MOST_NEURONS} hidden neurons, got {setup.hidden}")
    if ".py" in setup.technique:
        raise UsageError(
            "this page runs no code from files: use python -m tinydiv.train for your own technique"
        )
    if setup.data != data and setup.data.partition(":")[0] not in DATA:
        raise UsageError(
            f"this page shows {', '.join(DATA)}, not {setup.data[:40]!r}: own data are named to the "
            "command, python -m tinydiv.play --data FILE"
        )
    return setup


def refuse_numbers(dataset: Dataset) -> None:
    """Raises UsageError for a data set with numbers to learn: the page shows classes."""
    if dataset.regression:
        raise UsageError(f"this page shows classes, and {dataset.name} has numbers to learn")


def command_of(setup: Setup) -> str:
    """The line that trains the right-hand network."""
    words = ["python", "-m", "tinydiv.train"]
    for key, value in setup.table("right").items():
        listed = value if isinstance(value, list) else [value]
        for one in listed:
            words += ["--" + key.replace("_", "-"), str(one)]
    return shlex.join(words)


def python_of(setup: Setup) -> str:
    """Python lines that do the same."""
    table = setup.table("right")
    table |= {"hidden": (setup.hidden,), "lr": (setup.lr,), "technique": tuple(table["technique"])}
    settings = "\n".join(f"    {key}={value!r}," for key, value in table.items())
    return (
        "from tinydiv.runs.build import build\nfrom tinydiv.runs.config import TrainConfig\n\n"
        f"run = build(TrainConfig(\n{settings}\n))\nrun.train()\nprint(run.records[-1].test_accuracy)\n"
    )


@dataclass
class Side:
    """One of the two networks, with the user's changes to it."""

    run: Run
    removed: set[int] = field(default_factory=set)
    factors: dict[int, float] = field(default_factory=dict)
    """What the gradient of a neuron's incoming weights is multiplied by."""
    accuracy: list[float] = field(default_factory=list)
    correlation: list[float] = field(default_factory=list)
    penalties: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        data = self.run.data
        refuse_numbers(data.dataset)
        self.start = self.run.net.W[0].copy()
        self.probe, self.labels = data.probe(), data.probe_labels()
        self.test = data.floats(data.test_x[:TESTED]), data.test_y[:TESTED]

    def step(self, X: Any, Y: Any, number: int, epoch: int) -> None:
        """One training step, as loop.train does it."""
        now, net = self.run.standing, self.run.net
        trace = net.forward(X, Context(training=True, step=number))
        loss, dlogits = self.run.loss(trace.logits, Y)
        step = now.techniques.backward(now.techniques.step(trace, Y, loss, dlogits, number, epoch))
        self.scale_gradients(net)
        now.guard.count_from(number)
        now.guard.after_backward(trace, loss)
        now.optimizer.step()
        now.techniques.after_update(step)
        now.guard.after_update()
        self.silence()
        self.penalties = {name: float(value) for name, value in step.penalties.items()}

    def scale_gradients(self, net: MLP) -> None:
        """Multiply the gradients of chosen neurons, of this side's network or of a copy of it."""
        for neuron, factor in self.factors.items():
            net.dW[0][..., neuron] *= factor
            net.db[0][..., neuron] *= factor

    def silence(self) -> None:
        """A neuron that was removed sends nothing on."""
        for neuron in self.removed:
            self.run.net.W[1][..., neuron, :] = 0

    def tested(self) -> float:
        """Accuracy on the first test samples."""
        X, Y = self.test
        return float(losses.accuracy(self.run.net.forward(X).logits, Y))

    @property
    def diverged(self) -> bool:
        """Whether the guard has frozen this network."""
        return not bool(self.run.standing.guard.alive)


class Pair:
    """Both networks and the steps that they take together. Every method may be called from any thread."""

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.lock = threading.RLock()
        self.sides = {side: Side(build(self.config(side, setup))) for side in SIDES}
        self.left, self.right = (self.sides[side] for side in SIDES)
        self.setup = self.filled_in(setup)
        self.step = 0
        self.steps: list[int] = []
        self.every = 1
        self.ahead: Any = None
        self.coming: Any = None
        self.record()

    def config(self, side: str, setup: Setup) -> TrainConfig:
        """One side's settings as train reads them."""
        return TrainConfig(**from_table(TrainConfig, setup.table(side), "this page"))

    def filled_in(self, setup: Setup) -> Setup:
        """The set-up with the rate and the batch size that train chose where none was given."""
        config = self.left.run.config
        assert config.lr is not None
        return replace(setup, lr=config.lr[0], batch_size=config.batch_size)

    @property
    def batch_size(self) -> int:
        """How many samples a step takes."""
        assert self.setup.batch_size is not None
        return self.setup.batch_size

    # Training ----------------------------------------------------------------------------------------

    def advance(self, steps: int = 1) -> None:
        """Train both networks for some steps on the same batches."""
        with self.lock, quiet():
            for _ in range(steps):
                X, Y, epoch = self.batch()
                for side in self.sides.values():
                    side.step(X, Y, self.step, epoch)
                self.step += 1
                if self.step % self.every == 0:
                    self.record()

    def batch(self) -> tuple[Any, Any, int]:
        """The batch of this step: the same that loop.train would give it."""
        data, size = self.left.run.data, self.batch_size
        if self.ahead is None or self.ahead[0] != (self.step, size):
            epoch, place = divmod(self.step, data.n_train // size)
            if self.coming is None or self.coming[0] != (self.step, size):
                rest = batches(data, size, self.setup.seed, epoch, done=place)
            else:
                rest = self.coming[1]
            X, Y = next(rest)
            last = place + 1 == data.n_train // size
            self.coming = None if last else ((self.step + 1, size), rest)
            self.ahead = ((self.step, size), X, Y, epoch)
        _, X, Y, epoch = self.ahead
        return X, Y, epoch

    def record(self) -> None:
        """Add a point to the curves of both sides."""
        self.steps.append(self.step)
        for side in self.sides.values():
            side.accuracy.append(side.tested())
            side.correlation.append(mean_off_diagonal(*self.correlations(side, side.run.net)))
        if len(self.steps) > MOST_ROWS:
            self.every *= 2
            self.steps = self.steps[::2]
            for side in self.sides.values():
                side.accuracy, side.correlation = side.accuracy[::2], side.correlation[::2]

    def change(self, setup: Setup) -> bool:
        """Continue with other settings. True if that needed new networks, which then start again.

        Rate, batch size, technique and strength change without a restart; the optimizer's moments are
        kept.
        """
        with self.lock:
            live = ("lr", "batch_size", "technique", "strength")
            same = {key: value for key, value in asdict(self.setup).items() if key not in live}
            specs = [setup.spec, self.setup.spec]
            layered = any(s and isinstance(place(s).technique, LayerTechnique) for s in specs)
            if asdict(setup) != same | {key: getattr(setup, key) for key in live} or (
                layered and specs[0] != specs[1]
            ):
                fresh = Pair(setup)  # an error here leaves everything as it is
                fresh.lock = self.lock
                vars(self).update(vars(fresh))
                return True
            runs = {
                name: build(self.config(name, setup)) for name in SIDES
            }  # so does an error here
            for name, side in self.sides.items():
                self.rebuild(side, runs[name])
            self.setup = self.filled_in(setup)
            return False

    def rebuild(self, side: Side, fresh: Run) -> None:
        """A new optimizer and new techniques on the same network, with the old moments."""
        run, now = side.run, side.run.standing
        lr = fresh.config.lr
        optimizer = type(now.optimizer)(run.net, lr)
        optimizer.load_state(now.optimizer.state())
        now.techniques = Techniques(
            run.net,
            [place(spec) for spec in fresh.config.technique],
            optimizer,
            loss=run.loss,
            probe_inputs=side.probe,
            seeds=[self.setup.seed],
        )
        now.optimizer, run.config = optimizer, fresh.config

    # What the user does to a neuron --------------------------------------------------------------------

    def remove(self, side: str, neuron: int) -> dict[str, float]:
        """Take a neuron away: its activation is replaced by its mean, so that only its changes are lost.

        {"before": accuracy, "after": accuracy}. Raises UsageError for a neuron that does not exist.
        """
        with self.lock, quiet():
            one = self.neuron_of(side, neuron)
            before = one.tested()
            net = one.run.net
            A = net.forward(one.probe).A[1]
            mean = xp.mean(A[..., neuron], axis=-1)
            net.b[1][...] += mean * net.W[1][..., neuron, :]
            one.removed.add(neuron)
            one.silence()
            return {"before": before, "after": one.tested()}

    def scale(self, side: str, neuron: int, factor: float) -> None:
        """From now on multiply the gradient of a neuron's incoming weights and bias by a factor."""
        with self.lock:
            one = self.neuron_of(side, neuron)
            if not -10 <= factor <= 10:  # written with `not`, so that nan is refused
                raise UsageError(f"a gradient is scaled by a number from -10 to 10, got {factor}")
            one.factors[neuron] = float(factor)

    def neuron_of(self, side: str, neuron: int) -> Side:
        """The side of that name, if it has that neuron."""
        if side not in self.sides:
            raise UsageError(f"the networks are left and right, got {str(side)[:20]!r}")
        if not 0 <= neuron < self.setup.hidden:
            raise UsageError(f"neurons run from 0 to {self.setup.hidden - 1}, got {neuron}")
        return self.sides[side]

    # What the page shows -------------------------------------------------------------------------------

    def facts(self) -> dict[str, Any]:
        """What does not change while the networks train: names, points of a plane, the two recipes."""
        data = self.left.run.data
        dataset = data.dataset
        found: dict[str, Any] = {
            "setup": asdict(self.setup),
            "classes": list(dataset.classes),
            "image": list(dataset.image_shape) if dataset.image_shape else None,
            "inputs": int(dataset.n_inputs),
            "command": command_of(self.setup),
            "python": python_of(self.setup),
        }
        if dataset.n_inputs == 2:
            found["points"] = to_host(data.floats(data.train_x[:POINTS])).tolist()
            found["labels"] = to_host(data.train_y[:POINTS]).tolist()
            found["box"] = self.box
        return found

    @property
    def box(self) -> list[float]:
        """The part of the plane that is drawn: low x, low y, high x, high y."""
        data = self.left.run.data
        X = to_host(data.floats(data.train_x[:POINTS]))
        low, high = X.min(axis=0), X.max(axis=0)
        margin = 0.15 * (high - low)
        return [*(low - margin).tolist(), *(high + margin).tolist()]

    def view(self, kind: str = "responses") -> dict[str, Any]:
        """What changes while they train: curves, and for each side the neurons as images, correlations,
        dead neurons.

        kind: "responses" for what each neuron responds to, "weights" for its incoming weights, "change" for
        the difference from those at the start. Training waits only while the networks are copied.
        """
        with self.lock:
            nets = {name: copy.deepcopy(side.run.net) for name, side in self.sides.items()}
            found: dict[str, Any] = {
                "step": self.step,
                "epoch": self.step / (self.left.run.data.n_train // self.batch_size),
                "steps": list(self.steps),
            }
            for name, side in self.sides.items():
                found[name] = {
                    "accuracy": list(side.accuracy),
                    "correlation": list(side.correlation),
                    "removed": sorted(side.removed),
                    "diverged": side.diverged,
                    "penalties": dict(side.penalties),
                }
        with quiet():
            for name, side in self.sides.items():
                found[name] |= self.side_view(side, nets[name], kind)
        return found

    def side_view(self, side: Side, net: MLP, kind: str) -> dict[str, Any]:
        """What is computed for one side's network."""
        R, alive = self.correlations(side, net)
        dead = [h for h in range(len(alive)) if not alive[h]]
        found: dict[str, Any] = {"R": packed(R), "order": by_similarity(R, alive), "dead": dead}
        seen = responses(net, side.probe, side.labels)
        shares, names = to_host(seen.classes), side.run.data.dataset.classes
        # At least 1.5 times the share in a neuron that responds to all classes alike:
        clear = shares.max(axis=0) > 1.5 / len(names)
        found["responds_to"] = [
            names[k] if c else "" for k, c in zip(shares.argmax(axis=0), clear, strict=True)
        ]
        if side.run.data.dataset.n_inputs == 2:
            found |= self.plane(net)
        else:
            images = {
                "responses": lambda: to_host(seen.inputs),
                "weights": lambda: to_host(net.W[0]),
                "change": lambda: to_host(net.W[0] - side.start),
            }
            if kind not in images:
                raise UsageError(f"a neuron is drawn as one of {', '.join(images)}")
            found["images"] = packed(scaled_columns(images[kind]()).T)
        return found

    def plane(self, net: MLP) -> dict[str, Any]:
        """The classes on a grid, row by row from below, and the weights, which give each neuron's line."""
        low_x, low_y, high_x, high_y = self.box
        xs, ys = np.linspace(low_x, high_x, GRID), np.linspace(low_y, high_y, GRID)
        grid = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)
        regions = to_host(net.predict(to_device(grid, dtype=net.dtype))).astype("uint8")
        return {
            "regions": base64.b64encode(regions.tobytes()).decode(),
            "W": to_host(net.W[0]).tolist(),
            "b": to_host(net.b[0])[0].tolist(),
        }

    def correlations(self, side: Side, net: MLP) -> tuple[np.ndarray, np.ndarray]:
        """(R (H, H), alive (H,)) of the hidden neurons on the probe set."""
        found = neurons_of(net, net.forward(side.probe), 1).correlations
        alive = to_host(found.alive).reshape(-1).astype(bool)
        alive[list(side.removed)] = False
        R = np.where(np.isfinite(R := to_host(found.R)), R, 0)
        return R * alive[:, None] * alive, alive

    def gradient(self, side: str, neuron: int) -> dict[str, Any]:
        """The parts of the gradient that the next step would give a neuron's incoming weights.

            dW[0][:, h] = task + technique        task: the pass with the task's upstream gradient alone
            update                                what the step then adds to W[0][:, h]

        Everything is computed on copies: the networks do not change.
        """
        with self.lock, quiet():
            one = self.neuron_of(side, neuron)
            now = one.run.standing
            net, optimizer, techniques = copy.deepcopy((now.net, now.optimizer, now.techniques))
            X, Y, epoch = self.batch()
            trace = net.forward(X, Context(training=True, step=self.step))
            loss, dlogits = one.run.loss(trace.logits, Y)
            net.backward(trace, dlogits)
            task = to_host(net.dW[0])[:, neuron].astype("float64")
            step = techniques.backward(techniques.step(trace, Y, loss, dlogits, self.step, epoch))
            whole = to_host(net.dW[0])[:, neuron].astype("float64")
            before = to_host(net.W[0])[:, neuron].copy()
            one.scale_gradients(net)
            optimizer.step()
            techniques.after_update(step)
            update = to_host(net.W[0])[:, neuron] - before
            technique = whole - task
            size = float(np.linalg.norm(task) * np.linalg.norm(technique))
            limit = float(max(np.abs(task).max(), np.abs(technique).max())) or 1.0
            placed = techniques.placed
            return {
                "side": side,
                "neuron": neuron,
                "step": self.step,
                "task": task.tolist(),
                "technique": technique.tolist(),
                "whole": whole.tolist(),
                "update": update.astype("float64").tolist(),
                "limit": limit,
                "loss": float(loss),
                "penalties": {name: float(value) for name, value in step.penalties.items()},
                "norms": [float(np.linalg.norm(part)) for part in (task, technique, whole)],
                "cosine": float(task @ technique) / size if size else None,
                "name": placed[0].label if placed else "",
                "formula": inspect.getdoc(type(placed[0].technique)) or "" if placed else "",
                "factor": one.factors.get(neuron, 1.0),
            }


# Small pieces ----------------------------------------------------------------------------------------


def mean_off_diagonal(R: np.ndarray, alive: np.ndarray) -> float:
    """The mean |correlation| between different neurons that are alive; 0 with no pair."""
    count = int(alive.sum())
    off = np.abs(R).sum() - np.abs(np.diag(R)).sum()
    return float(off / (count * (count - 1))) if count > 1 else 0.0


def by_similarity(R: np.ndarray, alive: np.ndarray) -> list[int]:
    """Neurons in an order that puts similar ones side by side: each is followed by the most similar one
    left.

    The first two are the pair with the largest |correlation|; dead ones come last.
    """
    left = [h for h in range(len(alive)) if alive[h]]
    off = np.abs(R) * (1 - np.eye(len(R)))
    order: list[int] = []
    if left:
        order.append(max(left, key=lambda h: off[h].max()))
        left.remove(order[0])
    while left:
        order.append(max(left, key=lambda h: off[order[-1], h]))
        left.remove(order[-1])
    return order + [h for h in range(len(alive)) if not alive[h]]


def scaled_columns(images: np.ndarray) -> np.ndarray:
    """Each neuron's image (n_0, H) divided by its own largest size, so that all can be seen."""
    finite = np.where(np.isfinite(images), images, 0)
    limit = np.abs(finite).max(axis=0)
    return np.asarray(finite / np.where(limit > 0, limit, 1))


def packed(values: np.ndarray) -> str:
    """Numbers from -1 to 1 as bytes 0 to 254 around 127, in base64."""
    levels = np.clip(np.rint(values * 127) + 127, 0, 254)
    return base64.b64encode(levels.astype("uint8").tobytes()).decode()
