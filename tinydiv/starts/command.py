"""python -m tinydiv.starts: what each start does to weights, to responses, and to the first 200 steps.

Three panels per start: cosines between the neurons' incoming weights, correlations of their responses
(pre-activations) on images that the start did not use, and test accuracy over the first steps. Each start
is compared with he-normal, and with he-normal plus a bias that centres responses. With 784 inputs random
weights are nearly orthogonal, but their responses are correlated, because the inputs are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tinydiv.command import cli
from tinydiv.errors import RunError, UsageError
from tinydiv.settings import (
    choice,
    from_flags,
    mean_text,
    number,
    rounded,
    setting,
    sizes,
    text,
    whole,
    words,
)

if TYPE_CHECKING:
    from tinydiv.backend import Array
    from tinydiv.loop import DeviceData
    from tinydiv.plots.style import Picture

PROG = "tinydiv.starts"
COMPARED = ("he-normal", "centring@he-normal")
"""Every start is compared with these: a plain one, and a control for starts that use data."""

EXAMPLES = """examples:
  python -m tinydiv.starts --out pictures                    every scheme, on the embedded images
  python -m tinydiv.starts --init decorrelated --init lowdin:mix=0.5@pytorch --out pictures
  python -m tinydiv.starts --optimizer adam --lr 0.001 --out pictures
"""


@dataclass(frozen=True)
class StartsConfig:
    """The settings."""

    init: tuple[str, ...] = setting(
        (), words(""), "SPEC", "this start, in place of all of them; may be repeated", repeat=True
    )
    data: str = setting("fashion-mini", text, "NAME", "data set")
    hidden: tuple[int, ...] = setting(
        (16,), sizes(64, 4096), "H[,H...]", "neurons per hidden layer"
    )
    activation: str = setting("relu", text, "NAME", "activation of the hidden neurons")
    optimizer: str = setting("sgd", choice("sgd", "adam"), "NAME", "sgd or adam")
    lr: float = setting(0.01, number(0, 1000), "RATE", "learning rate")
    batch_size: int = setting(256, whole(1, 10_000_000), "B", "samples per step")
    steps: int = setting(200, whole(10, 100_000), "N", "steps that are trained")
    networks: int = setting(8, whole(1, 1000), "R", "seeds; curves show their mean and range")


@dataclass(frozen=True)
class StartEffects:
    """The measurements of one start, over all networks."""

    spec: str
    cosines: "Array"
    """Of weights, one for each pair of neurons in the first layer of each network."""
    correlations: "Array"
    """Of responses, for the same pairs."""
    deviation: float
    """Mean standard deviation of a neuron's response."""
    steps: "Array"
    accuracy: "Array"
    """Test accuracy after these steps, (moments, networks)."""


def parser() -> cli.Parser:
    """The flags."""
    flags = cli.Parser(PROG, "Draw what each start does, a picture per start.", EXAMPLES)
    flags.add_settings(StartsConfig)
    cli.add_read(
        flags, "--out", cli.folder, "DIR", "folder for the pictures (default: starts)", "starts"
    )
    return flags


@cli.main(PROG)
def main(argv: Sequence[str]) -> None:
    """Initialise and train networks, draw a picture per start, print a table."""
    options = parser().parse(argv)
    config = StartsConfig(**from_flags(StartsConfig, vars(options)))
    cli.needs_matplotlib("every picture")
    from tinydiv.backend import quiet
    from tinydiv.initializers import SCHEMES
    from tinydiv.initializers.specs import parse
    from tinydiv.loop import DeviceData
    from tinydiv.plots import save
    from tinydiv.runs.build import load_data

    every = [*(name for name in SCHEMES if name != "scaled"), "decorrelated@he-normal"]
    specs = list(dict.fromkeys(config.init or every))
    for spec in specs:
        parse(spec)
    data = DeviceData(load_data(config.data, "raw"), "float32")
    if data.dataset.regression:
        raise UsageError(f"{config.data} has numbers to learn, and starts are compared on classes")
    folder = Path(options.out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"--out {folder} cannot be made: {error.strerror}") from None
    with quiet():  # what diverges is said
        beside = [measured(spec, config, data) for spec in COMPARED]
    cli.print_result(line("start", "|cos|", "|r|", "std", "accuracy"))
    for one in beside:
        cli.print_result(summary(one))
    for spec in specs:
        with quiet():
            seen = measured(spec, config, data)
        cli.print_result(summary(seen))
        save(picture(seen, beside, config, data.dataset.n_inputs), folder / file_name(spec))
    cli.print_result(f"{len(specs)} picture{'s' * (len(specs) != 1)} in {folder}")


def file_name(spec: str) -> str:
    """A spec as the name of a picture: lowdin:mix=0.5@pytorch -> lowdin-mix-0.5-on-pytorch.png."""
    plain = spec.replace("@", "-on-")
    return "".join(c if c.isalnum() or c in ".-" else "-" for c in plain) + ".png"


def measured(spec: str, config: StartsConfig, data: "DeviceData") -> StartEffects:
    """Initialise some networks, measure their first layer, and train them for a few steps."""
    import numpy as np

    from tinydiv import losses, optimizers
    from tinydiv.backend import to_host
    from tinydiv.divergence import Guard
    from tinydiv.initializers import PROBE, initialize
    from tinydiv.layers import Context
    from tinydiv.loop import batches, evaluate
    from tinydiv.mlp import MLP

    sizes = [data.dataset.n_inputs, *config.hidden, data.dataset.n_classes]
    net = MLP(sizes, config.activation, replicas=config.networks)
    initialize(net, spec, 0, data.probe(PROBE))
    fresh = data.floats(data.test_x[:1000])
    W, Z = to_host(net.W[0]), to_host(net.forward(fresh).Z[0])
    pairs = np.triu_indices(W.shape[-1], 1)
    U = W / np.maximum(np.linalg.norm(W, axis=1, keepdims=True), 1e-30)
    cosines = np.concatenate([(u.T @ u)[pairs] for u in U])
    correlations = np.concatenate([np.corrcoef(z, rowvar=False)[pairs] for z in Z])

    optimizer = optimizers.get(config.optimizer)(net, config.lr)
    loss, size = losses.get("cross-entropy"), min(config.batch_size, data.n_train)
    every, guard = max(1, config.steps // 20), Guard(net)

    def tested() -> "Array":
        """The test accuracy of every network, NaN for those that diverged."""
        value, accuracy = evaluate(net, data.test_x, data.test_y, data, loss)
        guard.before_record(value)
        return to_host(guard.nan_where_diverged(accuracy))

    steps, accuracy, step, epoch = [0], [tested()], 0, 0
    while step < config.steps:
        for X, Y in batches(data, size, 0, epoch):
            trace = net.forward(X, Context(training=True, step=step))
            value, dlogits = loss(trace.logits, Y)
            net.backward(trace, dlogits)
            guard.after_backward(trace, value)
            optimizer.step()
            guard.after_update()
            step += 1
            if step % every == 0:
                steps.append(step)
                accuracy.append(tested())
            if step == config.steps:
                break
        epoch += 1
    deviation = float(Z.std(axis=1).mean())
    return StartEffects(spec, cosines, correlations, deviation, np.array(steps), np.array(accuracy))


def picture(
    seen: StartEffects, beside: Sequence[StartEffects], config: StartsConfig, n_inputs: int
) -> "Picture":
    """The three panels of one start."""
    import numpy as np

    from tinydiv.plots import page
    from tinydiv.plots.curves import curve
    from tinydiv.plots.style import colour, describe, new_figure

    chance = (2 / (np.pi * n_inputs)) ** 0.5
    shown = [*beside, seen] if seen.spec not in COMPARED else list(beside)
    with page("light"):
        figure = new_figure(8, 7)
        axes = figure.subplot_mosaic([["weights", "responses"], ["start", "start"]])
        weights, responses, start = axes["weights"], axes["responses"], axes["start"]
        cosines, correlations = (
            [getattr(o, k) for o in shown] for k in ("cosines", "correlations")
        )
        for ax, what, values in (
            (weights, "cosine of two neurons' weights", cosines),
            (responses, "correlation of two neurons' responses", correlations),
        ):
            bins = np.linspace(-1, 1, 81)
            for place, (one, found) in enumerate(zip(shown, values, strict=True)):
                if one.spec != "centring@he-normal":  # its weights and correlations are he-normal's
                    ax.hist(
                        found,
                        bins=bins.tolist(),
                        histtype="step" if one is not seen else "stepfilled",
                        color=colour(place),
                        alpha=1 if one is not seen else 0.6,
                        label=f"{one.spec}: {np.abs(found).mean():.3f}",
                        density=True,
                    )
            ax.set_xlabel(what)
            ax.set_yticks([])
            ax.legend(fontsize="small", loc="upper left", title="mean size", title_fontsize="small")
            ax.margins(y=0.45)
            sizes = [f"{o.spec} {np.abs(v).mean():.3f}" for o, v in zip(shown, values, strict=True)]
            describe(ax, f"Histogram, {what}, mean size: {', '.join(sizes)}.")
        weights.set_title(f"by chance |cosine| = {chance:.3f}", fontsize=10)
        responses.set_title(f"responses have std {rounded(seen.deviation)}", fontsize=10)
        for index, one in enumerate(shown):
            curve(start, one.steps.astype(float), one.accuracy, label=one.spec, index=index)
        start.set_xlabel(
            f"step ({config.optimizer} {rounded(config.lr, 6)}, batch {config.batch_size})"
        )
        start.set_ylabel("test accuracy")
        start.set_title(f"{config.data}, mean and range of {config.networks} seeds", fontsize=10)
        start.legend(fontsize="small", loc="lower right")
        ends = [f"{one.spec} {mean_text(one.accuracy[-1], '.3f')}" for one in shown]
        describe(start, f"Test accuracy after {config.steps} steps: {', '.join(ends)}.")
    return figure


def summary(seen: StartEffects) -> str:
    """The row of one start."""
    end = seen.accuracy[-1]
    diverged = sum(score != score for score in end)
    return line(
        seen.spec,
        f"{abs(seen.cosines).mean():.4f}",
        f"{abs(seen.correlations).mean():.4f}",
        f"{seen.deviation:.3f}",
        mean_text(end),
    ) + (f"   {diverged} of {len(end)} diverged" if diverged else "")


def line(name: str, *cells: str) -> str:
    """A row of the table."""
    return f"{name:28}" + "".join(f"{cell:>10}" for cell in cells)
