"""The hidden neurons while a network learns, as a GIF: python -m tinydiv.train --animate

    frames = Frames(net, data, total=steps)
    frames.look(0)                              before training, then after every step:
    frames.look(step)                           keeps the numbers of a picture at some fifty moments
    frames.write("neurons.gif")

Moments lie close together at first, when neurons change most. Where inputs are images, what each neuron
responds to is drawn as an image; for inputs in the plane an arrow with its path; for other inputs a heat
map of how far the weights have moved from their start. Next to them is the neurons' mean |correlation| on
the probe set. Of several networks, the first is shown.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from PIL import Image

from tinydiv.backend import to_host
from tinydiv.diversity import METRICS, neurons_of, one_network, responses
from tinydiv.errors import UsageError
from tinydiv.files import atomic, npz, read
from tinydiv.loop import DeviceData
from tinydiv.mlp import MLP
from tinydiv.plots.neurons import MOST, SMALLEST_IMAGE, mosaic, signed_image, tiled
from tinydiv.plots.style import Floats, Picture, colour, ink, new_figure, one, page, symmetric

MOMENTS = 48
"""How many frames a run has, besides the first."""
MILLISECONDS = 80
"""How long a frame is shown."""
LINGER = 18
"""How many times longer the last frame is shown."""
SIZE, DOTS_PER_INCH = (8.0, 4.5), 100
"""Products that are whole numbers: matplotlib before 3.11 cuts 4.6 * 100 = 459.99... to 459 dots."""
KEPT = "frames.npz"
Draw = Callable[[int], object]
"""Turns the left axis to a frame."""


def moments(total: int) -> set[int]:
    """Steps from 0 to total, dense at first: total (i / MOMENTS)^2."""
    return {round(total * (i / MOMENTS) ** 2) for i in range(MOMENTS + 1)}


@dataclass
class Frames:
    """What was recorded of one network's first hidden layer at each moment."""

    net: MLP
    data: DeviceData
    total: int
    steps: list[int] = field(default_factory=list)
    weights: list[Floats] = field(default_factory=list)
    """W (D, H) at each of them."""
    correlation: list[float] = field(default_factory=list)
    responses: list[Floats] = field(default_factory=list)
    """Where inputs are images: what each neuron responds to, (D, H)."""

    def __post_init__(self) -> None:
        if self.net.depth < 2:
            raise UsageError("a network without hidden layers has no neurons to animate")
        self.moments = moments(self.total)
        self.probe = self.data.probe()
        shape = self.data.dataset.image_shape
        self.images = shape is not None and min(shape) >= SMALLEST_IMAGE

    def look(self, step: int) -> None:
        """Keep the weights if this step is one of the moments."""
        if step not in self.moments or step in self.steps:
            return
        net = one_network(self.net)
        layer = neurons_of(net, net.forward(self.probe), 1)
        self.steps.append(step)
        self.weights.append(one(self.net.W[0], 2).copy())
        found = to_host(METRICS["correlation"](layer)).reshape(-1)
        self.correlation.append(float(found[0]))
        if self.images:
            self.responses.append(one(responses(net, self.probe).inputs, 2))

    def save(self, folder: Path) -> None:
        """Write what was recorded into a run's folder, for a run that is resumed."""
        arrays = {
            "steps": np.array(self.steps),
            "weights": np.array(self.weights, dtype="float32"),
            "correlation": np.array(self.correlation),
        }
        if self.images:
            arrays["responses"] = np.array(self.responses, dtype="float32")
        npz.write(folder / KEPT, arrays, {})

    def load(self, folder: Path, step: int) -> None:
        """Read it again, up to the run's present step. Does nothing if nothing was written."""
        if not (folder / KEPT).is_file():
            return
        with read.reading(folder / KEPT, "delete it and resume: the earlier moments are lost"):
            arrays, _ = read.npz_arrays(folder / KEPT)
            seen = [i for i, s in enumerate(arrays["steps"]) if int(s) <= step]
            weights, correlation = arrays["weights"][seen], arrays["correlation"][seen]
            if (seen and weights[0].shape != self.net.W[0].shape[-2:]) or correlation.ndim != 1:
                raise ValueError(f"it holds weights of the shape {weights.shape[1:]}")
            self.weights = [W.astype(float) for W in read.refuse_nan("weights", weights)]
            self.correlation = [float(c) for c in read.refuse_nan("correlation", correlation)]
            if self.images:
                kept = arrays["responses" if "responses" in arrays else "answers"]  # its older name
                found = read.refuse_nan("responses", kept[seen])
                if seen and found[0].shape != weights[0].shape:
                    raise ValueError(f"it holds responses of the shape {found.shape[1:]}")
                self.responses = [a.astype(float) for a in found]
            self.steps = [int(s) for s in arrays["steps"][seen]]

    def write(self, path: str | Path, kind: str = "light") -> None:
        """Draw every frame and write the GIF. Raises UsageError if nothing was recorded yet."""
        if not self.steps:
            raise UsageError("an animation needs at least one moment: call look(step)")
        with page(kind):
            film = Film(self)
            pictures = [film.picture(i) for i in range(len(self.steps))]
        durations = [MILLISECONDS] * (len(pictures) - 1) + [LINGER * MILLISECONDS]
        with atomic.replacing(Path(path)) as part:
            first, rest = pictures[0], pictures[1:]
            first.save(part, save_all=True, append_images=rest, duration=durations, loop=0)


class Film:
    """The figure whose contents change: made once, so that each frame is drawn quickly."""

    def __init__(self, frames: Frames) -> None:
        self.frames = frames
        self.figure: Picture = new_figure(*SIZE)
        self.figure.set_layout_engine("none")
        grid = self.figure.add_gridspec(
            1, 2, width_ratios=(1.5, 1), left=0.06, right=0.97, top=0.86
        )
        self.left: Axes = self.figure.add_subplot(grid[0])
        self.right: Axes = self.figure.add_subplot(grid[1])
        D, H = frames.weights[0].shape
        shape = frames.data.dataset.image_shape
        if D == 2:
            self.draw: Draw = self.arrows(H)
        elif frames.images and shape is not None:
            self.draw = self.images(shape)
        else:
            self.draw = self.heat_map()
        self.point, self.line = self.curve()

    def show(self, i: int) -> None:
        """Turn to frame i."""
        step, total = self.frames.steps[i], self.frames.total
        self.figure.suptitle(f"step {step:,} of {total:,}", x=0.06, ha="left")
        self.draw(i)
        self.line.set_data(self.frames.steps[: i + 1], self.frames.correlation[: i + 1])
        self.point.set_data([step], [self.frames.correlation[i]])

    def picture(self, i: int) -> Image.Image:
        """Frame i as an image."""
        self.show(i)
        stream = io.BytesIO()
        face = self.figure.get_facecolor()
        self.figure.savefig(stream, format="rgba", dpi=DOTS_PER_INCH, facecolor=face)
        size = (round(SIZE[0] * DOTS_PER_INCH), round(SIZE[1] * DOTS_PER_INCH))
        return Image.frombytes("RGBA", size, stream.getvalue()).convert("RGB")

    def curve(self) -> tuple[Line2D, Line2D]:
        """The mean |correlation| so far, and its present value."""
        ax, top = self.right, max(self.frames.correlation)
        (line,) = ax.plot([], [], color=colour(0))
        (point,) = ax.plot([], [], color=colour(0), marker="o", markersize=8)
        ax.set_xlim(-0.02 * self.frames.total, 1.02 * max(self.frames.total, 1))
        ax.set_ylim(0, 1.1 * max(top, 0.05))
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        ax.set_xlabel("step")
        ax.set_title("mean |correlation| of the neurons", fontsize="medium")
        return point, line

    def images(self, shape: tuple[int, int]) -> Draw:
        """What every neuron responds to; each frame has its own colour limits."""
        shown = min(self.frames.responses[0].shape[1], MOST)

        def scaled(i: int) -> Floats:
            found = self.frames.responses[i]
            scale: Floats = np.maximum(np.abs(found).max(axis=0), 1e-30)
            return found / scale

        alive = np.zeros(self.frames.responses[0].shape[1], bool)
        picture = mosaic(self.left, scaled(0), shape, 1.0, alive)
        self.left.set_title("what each neuron responds to", fontsize="medium")
        return lambda i: picture.set_data(tiled(scaled(i), shape, shown)[0])

    def heat_map(self) -> Draw:
        """A column per neuron, a row per input: how far each weight is from its start."""
        moved = np.stack(self.frames.weights) - self.frames.weights[0]
        picture = signed_image(self.left, moved[0], symmetric(moved, 0.995))
        self.left.set_aspect("auto")
        self.left.set_xlabel("hidden neuron")
        self.left.set_ylabel("input")
        self.left.set_title("weights less their start, red above, blue below", fontsize="medium")
        return lambda i: picture.set_data(moved[i])

    def arrows(self, H: int) -> Draw:
        """An arrow per neuron in the plane of its two weights, with the path behind it."""
        ax, paths = self.left, np.stack(self.frames.weights)  # (T, 2, H)
        reach = 1.1 * np.maximum(np.maximum.accumulate(np.abs(paths).max(axis=(1, 2))), 1e-6)
        ax.set_aspect("equal")
        for line in (ax.axhline, ax.axvline):
            line(0, color=ink(ax), linewidth=0.5)
        shades = [colour(h) for h in range(H)]
        trails = [ax.plot([], [], color=shade, linewidth=1, alpha=0.7)[0] for shade in shades]
        heads = ax.quiver(
            *(np.zeros(H), np.zeros(H), *paths[0]),
            angles="xy",
            scale_units="xy",
            scale=1,
            color=shades,
            width=0.008,
        )
        ax.set_xlabel("weight of the first input")
        ax.set_ylabel("weight of the second input")
        ax.set_title(f"where {H} neurons point", fontsize="medium")

        def draw(i: int) -> None:
            ax.set_xlim(-reach[i], reach[i])  # the plane grows with the neurons
            ax.set_ylim(-reach[i], reach[i])
            heads.set_UVC(*paths[i])
            for h, trail in enumerate(trails):
                trail.set_data(paths[: i + 1, 0, h], paths[: i + 1, 1, h])

        return draw
