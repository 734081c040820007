"""What all pictures share: colours, line styles, marks, and the two pages they are drawn on.

Colours are those of Okabe and Ito (2008), which stay distinct with every common kind of colour blindness;
the seventh and later ones are darker and lighter tones by Paul Tol. Line styles and marks change with the
colour, so that a greyscale print can be read too.

Signed numbers are drawn from blue (negative) over white (zero) to red (positive), matplotlib's RdBu
reversed, with limits symmetric about zero; sizes and shares in cividis, dark to light.

A function that draws takes an axis, uses the axis's own text colour (so that it can be used on a dark page
too) and returns the axis. It also stores a sentence that describes the picture for readers who cannot see
it: `alt_text(figure)` collects these sentences, and `save` writes them into the file.
"""

import functools
import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Concatenate, Literal, ParamSpec, TypeVar

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter

from tinydiv.backend import Array, to_host
from tinydiv.errors import UsageError, check_known, visible
from tinydiv.files import atomic

Floats = npt.NDArray[np.float64]
Dash = Literal["-", "--", "-.", ":"] | tuple[float, Sequence[float]]

COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"),
    *("#882255", "#999933", "#44AA99", "#AA4499", "#DDCC77"),
)
"""Blue, vermillion, green, pink, orange, sky (Okabe and Ito); wine, olive, teal, purple, sand (Tol)."""
DASHES: tuple[Dash, ...] = ("-", "--", "-.", ":", (0, (6, 1.5, 1, 1.5, 1, 1.5)))
MARKS = "osD^vP"
DIVERGING, SEQUENTIAL = "RdBu_r", "cividis"
DEAD = "#9a9a9a"
"""Grey, where there is no number (on a diagonal, for a dead neuron)."""

PAGES: dict[str, dict[str, str]] = {
    "light": {"face": "#ffffff", "ink": "#1a1a1a", "faint": "#d9d9d9"},
    "dark": {"face": "#15181d", "ink": "#e8e8e8", "faint": "#3a3f47"},
}
"""Colours of a page: of its opaque background, its text, and its grid."""


def colour(index: int) -> str:
    """The colour of the arm, class or line with this index; they repeat after eleven."""
    return COLOURS[index % len(COLOURS)]


def dash(index: int) -> Dash:
    """Its line style."""
    return DASHES[index % len(DASHES)]


def mark(index: int) -> str:
    """Its marker."""
    return MARKS[index % len(MARKS)]


class Picture(Figure):
    """A figure that pyplot does not keep open; a notebook shows it all the same."""

    def _repr_png_(self) -> bytes:
        stream = io.BytesIO()
        self.savefig(stream, format="png", facecolor=self.get_facecolor())
        return stream.getvalue()


@contextmanager
def page(kind: str = "light") -> Iterator[None]:
    """Make axes for a light or a dark page.

    with page("dark"):
        fig, ax = plt.subplots()

    Raises UsageError for another kind of page.
    """
    check_known("page", kind, PAGES)
    settings: dict[str, object] = {
        **inks(*(PAGES[kind][key] for key in ("face", "ink", "faint"))),
        **{"font.size": 11, "axes.titlesize": 12, "axes.labelsize": 11, "legend.fontsize": 10},
        **{"xtick.labelsize": 10, "ytick.labelsize": 10, "lines.linewidth": 1.8},
        **{"axes.spines.top": False, "axes.spines.right": False, "axes.titlelocation": "left"},
        **{"font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"], "hatch.linewidth": 0.8},
    }
    with matplotlib.rc_context(settings):  # type: ignore[arg-type]
        yield


def inks(face: str, ink: str, faint: str) -> dict[str, object]:
    """matplotlib's settings for a page: its background, the colour of text, and that of grids."""
    words = ("text.color", "axes.labelcolor", "axes.edgecolor", "axes.titlecolor")
    ticks = ("xtick.color", "ytick.color", "xtick.labelcolor", "ytick.labelcolor")
    faces = ("figure.facecolor", "axes.facecolor", "savefig.facecolor", "legend.facecolor")
    return {
        **dict.fromkeys((*words, *ticks, "legend.labelcolor"), ink),
        **dict.fromkeys(faces, face),
        **{"grid.color": faint, "legend.edgecolor": faint},
    }


P = ParamSpec("P")
T = TypeVar("T")


def in_its_ink(draw: Callable[Concatenate[Axes, P], T]) -> Callable[Concatenate[Axes, P], T]:
    """Decorator of a function that draws: legends, colour bars and text get the text colour of their axis.

    Without it matplotlib would take the colour in its present settings, perhaps those of another page.
    """

    @functools.wraps(draw)
    def call(ax: Axes, *args: P.args, **kwargs: P.kwargs) -> T:
        whole = ax.figure.canvas.figure  # a part of a figure has no background colour
        face, own = to_hex(whole.get_facecolor()), ink(ax)
        faint = PAGES["light" if brightness(np.array(to_rgb(face))) > 0.5 else "dark"]["faint"]
        with matplotlib.rc_context(inks(face, own, faint)):  # type: ignore[arg-type]
            return draw(ax, *args, **kwargs)

    return call  # type: ignore[return-value]


def title_of(ax: Axes) -> str:
    """An axis's title, whether at the left, in the centre or at the right."""
    return ax.get_title(loc="left") or ax.get_title() or ax.get_title(loc="right")


def legend_above(ax: Axes, columns: int = 1) -> None:
    """A legend above an axis, and above its title if it has one, where it covers no curve."""
    height = 1.1 if title_of(ax) else 1.0
    ax.legend(
        frameon=False,
        loc="lower left",
        bbox_to_anchor=(-0.03, height),
        borderaxespad=0.2,
        ncols=columns,
    )


def new_figure(width: float, height: float) -> Picture:
    """An empty picture (inches) with constrained layout; make it inside `page`."""
    return Picture(figsize=(width, height), layout="constrained")


def ink(ax: Axes) -> str:
    """The text colour of an axis: near black on a light page, near white on a dark one."""
    return str(ax.xaxis.label.get_color())


def save(figure: Figure, path: str | Path, dpi: int = 130) -> None:
    """Write a picture with its own background, and its alt text in the file's metadata.

    Raises UsageError if matplotlib cannot write that kind of file, RunError if the file cannot be
    written; an earlier picture of that name is then left unchanged.
    """
    kind = Path(path).suffix.lower().lstrip(".")
    allowed = figure.canvas.get_supported_filetypes()
    if kind not in allowed:
        raise UsageError(
            f"{path} cannot be written as a picture: its name should end in one of "
            f"{', '.join('.' + name for name in sorted(allowed))}"
        )
    key = {"png": "Description", "svg": "Description", "pdf": "Subject"}.get(kind)
    metadata = {key: alt_text(figure)} if key else None
    plain_names(figure)
    with atomic.replacing(Path(path)) as part, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # it is drawn as a box
        figure.savefig(part, dpi=dpi, facecolor=figure.get_facecolor(), metadata=metadata)


def plain_names(figure: Figure) -> None:
    """Make all texts plain, which may hold the names of files: no control characters, and a dollar sign
    begins no formula. Only the numbers at ticks, which matplotlib writes, are formulas."""
    axes = [axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)]
    counted = [axis for axis in axes if not isinstance(axis.get_major_formatter(), FuncFormatter)]
    numbers = {label for axis in counted for label in axis.get_ticklabels(which="both")}
    for text in set(figure.findobj(Text)) - numbers:
        text.set_text(visible(text.get_text()))
        text.set_parse_math(False)


def describe(ax: Axes, sentence: str) -> None:
    """Store a sentence for alt_text: what this axis shows, with its main number."""
    ax.set_label(sentence)


def alt_text(figure: Figure) -> str:
    """What a picture shows, in words, one sentence per axis that one of our functions drew."""
    labels = [str(ax.get_label()) for ax in figure.axes]
    return " ".join(label for label in labels if label.endswith("."))


# Numbers for a picture -----------------------------------------------------------------------------


def one(a: Array, axes: int, replica: int = 0) -> Floats:
    """A host copy of one network's array with so many axes: (R, ...) gives the replica's part.

    Raises UsageError if the array has too few axes or no such replica.
    """
    host: Floats = np.asarray(to_host(a), dtype=np.float64)
    if host.ndim == axes:
        return host
    if host.ndim != axes + 1:
        raise UsageError(f"a picture needs {axes} axes (or one more, over networks): {host.shape}")
    if not 0 <= replica < len(host):
        raise UsageError(f"there is no network {replica}: they run from 0 to {len(host) - 1}")
    part: Floats = host[replica]
    return part


def flags(marked: Array | Sequence[bool] | None, n: int) -> npt.NDArray[np.bool_]:
    """Marks of n neurons (for example as dead) as booleans; None marks none of them."""
    if marked is None:
        return np.zeros(n, bool)
    found = np.asarray(marked if isinstance(marked, list | tuple) else to_host(marked), bool)
    if found.size != n:
        raise UsageError(f"{n} neurons need {n} marks, got an array of shape {found.shape}")
    return found.reshape(n)


def symmetric(values: Floats, share: float = 1.0) -> float:
    """m for colour limits -m to m: this share of the |values| is at most m; never 0."""
    sizes = np.abs(values[np.isfinite(values)])
    if not sizes.size:
        return 1.0
    return float(np.quantile(sizes, share)) or float(sizes.max()) or 1.0


def row_ticks(axis: Axis, n: int, most: int = 10, start: int = 1) -> None:
    """Whole numbers along an axis from `start`, so many of them that they do not overlap."""
    axis.set_ticks(list(range(start, n + start, max(1, -(-n // most)))))


def row_and_column_ticks(ax: Axes, shape: Sequence[int], most: int = 12) -> None:
    """Number the rows and columns of a matrix that imshow drew."""
    for axis, n in ((ax.yaxis, shape[0]), (ax.xaxis, shape[1])):
        row_ticks(axis, n, most, start=0)
        axis.set_tick_params(length=0)


def brightness(rgba: Floats) -> float:
    """How bright a colour looks, 0 to 1 (weights of ITU-R BT.709)."""
    return float(np.dot((0.2126, 0.7152, 0.0722), rgba[:3]))


def frame(ax: Axes, shown: bool) -> None:
    """Show or hide all four sides of an axis's frame."""
    ax.spines[:].set_visible(shown)
