"""python -m tinydiv.trace: one training step of a small network, printed array by array.

step.py computes the step; here are the flags, the steps before it, and the output.
"""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tinydiv.command import cli
from tinydiv.errors import RunError, UsageError
from tinydiv.runs.config import TrainConfig, like_train
from tinydiv.settings import from_flags, maybe, rounded, setting, whole

if TYPE_CHECKING:
    from tinydiv.runs.build import Run
    from tinydiv.trace import StepTrace

PROG = "tinydiv.trace"
DESCRIPTION = (
    "Show one training step of a small network array by array: name, formula, shape, size of the\n"
    "entries, first numbers; from the inputs to the loss and back to every gradient and update.\n"
    "It is the same step that python -m tinydiv.train takes with the same settings."
)
USUAL_BATCH = 4

EXAMPLES = """examples:
  python -m tinydiv.trace                                 exclusive or, 2-3-2, plain descent
  python -m tinydiv.trace --technique decov --technique cosine:strength=0.5
  python -m tinydiv.trace --activation tanh --optimizer adam --step 200
  python -m tinydiv.trace --data fashion-mini --hidden 16 --batch-size 64 --rows 2
  python -m tinydiv.trace --picture step.png              the arrays as heat maps, in their order
  python -m tinydiv.trace --json > step.json              every number, for a program
"""


@dataclass(frozen=True)
class TraceConfig:
    """The settings of a traced step. Small defaults: all numbers of xor's four samples fit on the page."""

    data: str = like_train("data", "xor")
    inputs: str = like_train("inputs")
    hidden: tuple[int, ...] = like_train("hidden", (3,))
    activation: str | None = like_train("activation")
    init: str = like_train("init", "he-normal")
    technique: tuple[str, ...] = like_train("technique")
    loss: str | None = like_train("loss")
    label_smoothing: float = like_train("label_smoothing")
    class_weights: str | tuple[float, ...] | None = like_train("class_weights")
    optimizer: str = like_train("optimizer", "sgd")
    lr: tuple[float, ...] | None = like_train("lr")
    schedule: str = like_train("schedule")
    weight_decay: tuple[float, ...] | None = like_train("weight_decay")
    clip: tuple[float, ...] | None = like_train("clip")
    batch_size: int | None = setting(
        *(None, maybe(whole(1, 10_000_000)), "B"),
        "samples in the step (default: 4, or fewer if there are fewer)",
    )
    replicas: int = like_train("replicas")
    seed: int = like_train("seed")
    backend: str = like_train("backend")
    dtype: str = like_train("dtype", "float64")
    step: int = setting(1, whole(1, 1_000_000), "K", "which step of the training, from 1")
    network: int = setting(0, whole(0, 99_999), "R", "which of several networks is shown, from 0")
    rows: int = setting(4, whole(0, 100), "N", "rows shown of each array; 0 shows sizes only")
    digits: int = setting(3, whole(1, 12), "N", "significant digits of each number")

    def for_training(self) -> TrainConfig:
        """The run that this step belongs to."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name in TRAIN_FIELDS}
        return TrainConfig(**own, metrics=())


TRAIN_FIELDS = {f.name for f in fields(TrainConfig)}


def parser() -> cli.Parser:
    """The flags."""
    flags = cli.Parser(PROG, DESCRIPTION, EXAMPLES)
    flags.add_settings(TraceConfig)
    flags.add_argument("--json", action="store_true", help="print the step as one JSON object")
    flags.add_argument(
        "--picture", metavar="FILE", help="also draw the step: FILE.png, .svg or .pdf"
    )
    flags.add_list()
    return flags


@cli.main(PROG)
def main(argv: Sequence[str]) -> None:
    """Read the flags, do the step, print it."""
    options = parser().parse(argv)
    if cli.print_lists(options):
        return
    config = TraceConfig(**from_flags(TraceConfig, vars(options)))
    if options.picture is not None:
        cli.needs_matplotlib("--picture")
    if options.picture is not None and not Path(options.picture).parent.is_dir():
        folder = Path(options.picture).parent
        raise RunError(f"--picture {options.picture}: there is no folder {folder}")

    from tinydiv.trace import as_json, as_text

    trace, title = traced(config)
    if options.picture is not None:
        from tinydiv.plots import save
        from tinydiv.trace.picture import step_picture

        save(step_picture(trace, title=title), options.picture)
    if options.json:
        cli.print_result(json.dumps({"title": title, **as_json(trace)}, indent=1, allow_nan=False))
    else:
        cli.print_result(as_text(trace, title, rows=config.rows, digits=config.digits))


def traced(config: TraceConfig) -> "tuple[StepTrace, str]":
    """Build the run, train it up to the step before, trace the step; also return a title."""
    from tinydiv import schedules
    from tinydiv.loop import weighted_batches
    from tinydiv.runs.build import build
    from tinydiv.trace import trace_step

    if config.network >= config.replicas:
        raise UsageError(
            f"--network {config.network} is none of {config.replicas}: they count from 0, so the "
            f"last is {config.replicas - 1}"
        )
    run = build(config.for_training())
    n = run.data.n_train
    size = config.batch_size or min(USUAL_BATCH, n)
    number, per_epoch = config.step - 1, n // size
    epochs = max(run.epochs, -(-config.step // per_epoch))
    run.config = replace(run.config, batch_size=size, epochs=epochs)
    if number > 0:
        with suppress(Arrived):
            run.train(on_step=stop_after(number))
    epoch, done = divmod(number, per_epoch)
    total = epochs * per_epoch
    run.standing.techniques.total = total
    X, Y, weights = next(weighted_batches(run.data, size, run.shuffle_seed, epoch, done))
    trace = trace_step(
        *(run.net, run.standing.optimizer, run.standing.techniques, X, Y),
        loss=run.loss,
        number=number,
        epoch=epoch,
        factor=schedules.parse(config.schedule)(number, total),
        guard=run.standing.guard,
        network=config.network,
        weights=weights,
    )
    return trace, title(config, run, size)


class Arrived(Exception):  # noqa: N818 (no error)
    """Raised when the steps before the traced one are done."""


def stop_after(number: int) -> Callable[[int, int], None]:
    """An on_step that ends the training after `number` steps."""

    def on_step(step: int, total: int) -> None:
        if step >= number:
            raise Arrived

    return on_step


def title(config: TraceConfig, run: "Run", size: int) -> str:
    """What is shown, in one sentence."""
    rates = {float(rate) for rate in run.config.lr or ()}
    rate = f" at rate {rounded(rates.pop(), 6)}" if len(rates) == 1 else ""
    words = [
        "-".join(map(str, run.net.sizes)) + f" {run.config.activation}",
        f"{config.init} start from seed {config.seed}",
        *config.technique,
    ]
    return (
        f"Training step {config.step} on {config.data} ({size} samples): {', '.join(words)}; "
        f"{run.config.loss}, {config.optimizer}{rate}."
    )
