"""python -m tinydiv.gallery: the same small network under each technique of a family, side by side.

Every network begins with the same weights and gets the same batches. After training two pictures of its
hidden neurons are drawn: what they respond to (for image data), and a matrix of how similar they are. The
network without a technique comes first, then the others from the least to the most similar neurons, and
last those with fewer than two neurons alive. The printed table adds the cost of each technique. One seed is
an illustration, no measurement (for that see tinydiv.study). Where a technique needs several networks
(consensus), the smallest possible number of them is trained, and the first is shown.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tinydiv.command import cli
from tinydiv.errors import RunError, UsageError, nearest
from tinydiv.runs.config import TrainConfig
from tinydiv.settings import (
    choice,
    from_flags,
    maybe,
    mean_text,
    rounded,
    setting,
    sizes,
    text,
    whole,
    words,
)

if TYPE_CHECKING:
    from tinydiv.backend import Array
    from tinydiv.runs.build import Run
    from tinydiv.techniques import Placed

PROG = "tinydiv.gallery"
MEASURES = ("correlation", "cosine", "overlap")

EXAMPLES = """examples:
  python -m tinydiv.gallery --family activations --out activations.png
  python -m tinydiv.gallery --family weights --out weights.png
  python -m tinydiv.gallery --family all --out all.png
  python -m tinydiv.gallery --technique decov:strength=0.01 --technique decov:strength=1 --out two.png
  python -m tinydiv.gallery --family weights --data fashion-mini --hidden 16 --epochs 5 --out w.png

measures:
  correlation  Pearson correlation of the neurons' activations on a fixed probe set
  cosine       cosine between the neurons' incoming weights
  overlap      cosine between what the neurons contribute to the outputs, a_h V_h
"""


@dataclass(frozen=True)
class Defaults:
    """A family's defaults: the measure of similarity, and how its networks are trained."""

    measure: str
    data: str
    hidden: tuple[int, ...]
    epochs: int


# With as many inputs as an image has, random weights are nearly orthogonal; with nine (life) they are not.
PLAIN = Defaults("correlation", "fashion-mini", (16,), 5)
DEFAULTS = {
    "weights": Defaults("cosine", "life", (8,), 100),
    "ensemble": Defaults("overlap", "fashion-mini", (16,), 5),
}

OF_FAMILY = "(default: as suits the family)"


@dataclass(frozen=True)
class GalleryConfig:
    """The settings. None stands for the family's default."""

    family: str = setting(
        "activations",
        text,
        "NAME",
        "family of techniques, with their default settings; all: every technique",
    )
    technique: tuple[str, ...] = setting(
        (), words(""), "SPEC", "this technique, in place of a family; may be repeated", repeat=True
    )
    measure: str | None = setting(
        *(None, maybe(choice(*MEASURES)), "|".join(MEASURES)),
        f"how similarity is measured {OF_FAMILY}",
    )
    data: str | None = setting(None, maybe(text), "NAME", f"data set {OF_FAMILY}")
    hidden: tuple[int, ...] | None = setting(
        *(None, maybe(sizes(64, 1024)), "H[,H...]"),
        f"neurons per hidden layer; the last one is drawn {OF_FAMILY}",
    )
    epochs: int | None = setting(
        None, maybe(whole(0, 100_000)), "N", f"passes over the training set {OF_FAMILY}"
    )
    activation: str | None = setting(
        None, maybe(text), "NAME", "activation of the hidden neurons (default: that of train)"
    )
    seed: int = setting(0, whole(0, 2**63 - 1), "S", "the start and the batches of every network")


@dataclass(frozen=True)
class Shown:
    """One trained network: its technique, its accuracy, and its neurons."""

    spec: str
    score: float
    """Test accuracy, or the mean squared error where the targets are numbers."""
    regression: bool
    similarity: "Array"
    """(H, H); a row of zeros where a neuron is dead."""
    inputs: "Array"
    """(D, H): what each neuron responds to; with the measure cosine, how far its weights moved."""
    cost: str

    @property
    def title(self) -> str:
        """The title in the picture: spec and score."""
        score = f"error {rounded(self.score)}" if self.regression else f"{100 * self.score:.1f} %"
        return f"{self.spec}, {score if math.isfinite(self.score) else 'diverged'}"

    @property
    def dead(self) -> int:
        """How many neurons are constant on the probe set."""
        return int((self.similarity.diagonal() == 0).sum())

    @property
    def alike(self) -> float:
        """The mean |similarity| over pairs of neurons that are alive; 0 without a pair."""
        M, alive = abs(self.similarity), len(self.similarity) - self.dead
        return float((M.sum() - M.trace()) / max(alive * (alive - 1), 1))


def picture_file(what: str, value: object) -> str:
    """Reader of --out: refuses, before the training, a picture that could not be written after it."""
    path = Path(str(value))
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise UsageError(f"{what} should end in .png, .svg or .pdf, got {str(value)!r}")
    if not path.parent.is_dir():
        raise RunError(f"{what} {value}: there is no folder {path.parent}")
    return str(value)


def parser() -> cli.Parser:
    """The flags."""
    flags = cli.Parser(PROG, "Draw how alike neurons become under each technique.", EXAMPLES)
    flags.add_settings(GalleryConfig)
    help = ".png, .svg or .pdf (default: gallery.png)"
    cli.add_read(flags, "--out", picture_file, "FILE", help, "gallery.png")
    return flags


@cli.main(PROG)
def main(argv: Sequence[str]) -> None:
    """Train the networks, draw them, print a table."""
    options = parser().parse(argv)
    config = GalleryConfig(**from_flags(GalleryConfig, vars(options)))
    cli.needs_matplotlib("the gallery")
    from tinydiv.backend import quiet
    from tinydiv.plots import gallery_picture, save

    chosen = defaults_of(config)
    with quiet():  # of a network that diverges, its row says so
        shown, image_shape = gallery(config)
    widths = "-".join(map(str, chosen.hidden))
    title = (
        f"{chosen.data}, {widths} hidden neurons, the same start and batches (seed {config.seed}). "
        f"Matrices: {chosen.measure} between neurons, its mean size above."
    )
    if image_shape:
        moved = chosen.measure == "cosine" and len(chosen.hidden) == 1
        what = "the weights less their start" if moved else "what each neuron responds to"
        title += f" Images: {what}."
    picture = gallery_picture(
        {one.title: one.similarity for one in shown},
        measure=chosen.measure,
        title=title,
        inputs={one.title: one.inputs for one in shown} if image_shape else None,
        image_shape=image_shape,
    )
    save(picture, options.out)
    cli.print_result(table(shown, chosen.measure))
    cli.print_result(f"picture {options.out}")


def defaults_of(config: GalleryConfig) -> Defaults:
    """The family's defaults, except where the flags give a value."""
    given = {f.name: getattr(config, f.name) for f in fields(Defaults)}
    own = DEFAULTS.get(config.family, PLAIN)
    return replace(own, **{key: value for key, value in given.items() if value is not None})


def specs_of(config: GalleryConfig) -> list[str]:
    """The specs of the techniques to show: those of --technique, or all of a family.

    Raises UsageError for a family that does not exist.
    """
    from tinydiv.techniques import TECHNIQUES

    if config.technique:
        return list(dict.fromkeys(config.technique))
    if config.family == "all":
        return list(TECHNIQUES)
    families = list(dict.fromkeys(cls.family for cls in TECHNIQUES.values()))
    if config.family not in families:
        raise UsageError(
            f"there is no family {config.family!r}: {nearest(config.family, [*families, 'all'])}"
        )
    return [name for name, cls in TECHNIQUES.items() if cls.family == config.family]


def gallery(config: GalleryConfig) -> "tuple[list[Shown], tuple[int, int] | None]":
    """Train one network without a technique, and one with each, in the order in which they are drawn.

    Also returns the shape of the inputs where they are images.
    """
    from tinydiv.backend import to_host
    from tinydiv.diversity import one_network, responses
    from tinydiv.runs.build import build
    from tinydiv.techniques import place
    from tinydiv.techniques.cost import cost_text

    chosen, shown, image_shape = defaults_of(config), [], None
    plain = TrainConfig(
        data=chosen.data,
        hidden=chosen.hidden,
        epochs=chosen.epochs,
        activation=config.activation,
        seed=config.seed,
        metrics=(),
    )
    if not chosen.hidden:
        raise UsageError("--hidden none leaves no neurons to compare")
    for spec in ["", *specs_of(config)]:
        placed = place(spec) if spec else None
        settings = plain
        if placed:
            needs, fewest = placed.technique.needs, placed.technique.fewest_networks
            settings = replace(plain, technique=(*needs, spec), replicas=fewest)
        run = build(settings)
        start = one_network(run.net).W[0].copy()
        run.train()
        net, image_shape = one_network(run.net), run.data.dataset.image_shape
        if chosen.measure == "cosine" and net.depth == 2:
            drawn = net.W[0] - start
        else:
            drawn = responses(net, run.data.probe(), layer=net.depth - 1).inputs
        shown.append(
            Shown(
                with_strength(placed) if placed else "none",
                run.score[1][0],
                run.data.dataset.regression,
                to_host(similarity(run, chosen.measure)),
                to_host(drawn),
                cost_text(spec) if spec else "",
            )
        )
    # 0: fewer than two neurons are alive, so there is nothing to compare
    return [shown[0], *sorted(shown[1:], key=lambda one: (one.alike == 0, one.alike))], image_shape


def with_strength(placed: "Placed") -> str:
    """A technique's spec, with the strength that it has by default where the spec names none."""
    from tinydiv.techniques import Penalty

    if not isinstance(placed.technique, Penalty):
        return placed.text
    keys = filter(None, ("strength", placed.technique.one_minus_strength))
    if any(f"{key}=" in placed.text for key in keys):
        return placed.text
    strength = "/".join(f"{value:g}" for value in placed.strength)
    return f"{placed.text}{',' if ':' in placed.text else ':'}strength={strength}"


def similarity(run: "Run", measure: str) -> "Array":
    """How alike the neurons of the last hidden layer are, (H, H), on the fixed probe set."""
    from tinydiv.backend import matmul, xp
    from tinydiv.diversity import TINY_EPS
    from tinydiv.similarity import correlations, cosines

    net = run.net
    last = net.depth - 1
    arrays = (net.W[last - 1], net.forward(run.data.probe()).A[last], net.W[last])
    W, A, V = (array[0] if net.replicas else array for array in arrays)
    if measure == "cosine":
        return cosines(W).G
    if measure == "correlation":
        return correlations(A, TINY_EPS).R
    overlap = matmul(A.mT, A) * matmul(V, V.mT)
    size = xp.sqrt(xp.sum(overlap * xp.eye(overlap.shape[-1], dtype=overlap.dtype), axis=-1))
    size = xp.where(size > 0, size, 1)
    return overlap / (size[:, None] * size[None, :])


def table(shown: Sequence[Shown], measure: str) -> str:
    """A line per network: accuracy (or error), mean similarity of two neurons, extra flops."""
    width = max(32, *(len(one.spec) for one in shown))
    score = "   error" if shown[0].regression else "accuracy"
    lines = [f"{'technique':<{width}} {score}   mean |{measure}|   extra flops"]
    for one in shown:
        dead = f"   {one.dead} dead" if one.dead else ""
        numbers = f"{mean_text([one.score]):>8}   {one.alike:.3f}   {one.cost:>12}"
        lines.append(f"{one.spec:<{width}} {numbers}{dead}")
    return "\n".join(lines)
