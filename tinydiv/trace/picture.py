"""One training step as one picture: every array a small heat map, in the order of the flow.

The forward pass runs along the top from left to right; below each array is its gradient, and the backward
pass runs from right to left; below that is what techniques add, and last the new weights. A long network
continues in a second band, below the first.
"""

import textwrap
from dataclasses import dataclass, field

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from tinydiv.errors import UsageError
from tinydiv.plots.neurons import signed_image
from tinydiv.plots.style import (
    Floats,
    Picture,
    brightness,
    describe,
    frame,
    ink,
    page,
    symmetric,
)
from tinydiv.trace.entries import Entry, StepTrace
from tinydiv.trace.text import number, shape

MOST_NUMBERS = (6, 5)
"""Arrays of up to this many rows and columns show their numbers in the cells."""
LONGEST_FORMULA = 46
WRAP = 21
"""Characters of a formula in one line above its array."""
GAP = 0.35
"""Empty space between a weight matrix and its biases, in rows."""

MOST_PLACES = 40

# Everything is laid out by hand, in inches and points, on a page about 10 inches wide: shown 400 pixels
# wide, formulas are 7 pixels high.
NAME_SIZE, TEXT_SIZE = 17, 13
BOX, SLOT = 1.7, 2.3
"""Width and greatest height of an array, and the width of a column, in inches."""
LINE, NAME_LINE, FOOTER, TOP, LEFT, RIGHT = 0.24, 0.36, 0.74, 0.25, 0.95, 0.2
MOST_ACROSS = 4
"""Columns in one band: further columns are in the next band below."""
ARROW = 26


@dataclass
class Column:
    """The arrays of one column, by row, each one or two entries (W and b)."""

    forward: list[Entry]
    backward: list[Entry] = field(default_factory=list)
    techniques: list[list[Entry]] = field(default_factory=list)
    update: list[Entry] = field(default_factory=list)

    def rows(self, n_techniques: int) -> list[list[Entry]]:
        """All rows, empty ones included."""
        padding: list[list[Entry]] = [[]] * (n_techniques - len(self.techniques))
        return [self.forward, self.backward, *self.techniques, *padding, self.update]


def step_picture(
    trace: StepTrace, *, title: str = "", digits: int = 3, kind: str = "light"
) -> Picture:
    """A training step's arrays as heat maps in the order of the flow, with names, formulas, shapes.

    Top row: forward, left to right. Second row: the gradient of each array, right to left. Then what
    techniques add, and the updated weights. Blue is negative, white zero, red positive; each array has
    limits of its own. Small arrays carry their numbers. kind: "light" or "dark", the page.
    Raises UsageError if the network is too deep, or the techniques are too many, for one page.
    """
    columns = columns_of(trace)
    n_techniques = max(len(column.techniques) for column in columns)
    if max(len(columns), n_techniques) > MOST_PLACES:
        raise UsageError(
            f"a picture of a step can show {MOST_PLACES} arrays in a row or a column, and this "
            f"network needs {max(len(columns), n_techniques)}: leave layers or techniques out"
        )
    bands = [Band(columns, chosen, n_techniques) for chosen in split(len(columns))]
    width = LEFT + SLOT * max(len(band.chosen) for band in bands) + RIGHT
    heading = textwrap.wrap(title, int(width * 7.2))
    tops = np.cumsum([TOP + 0.3 * len(heading), *[band.height for band in bands]])
    height = float(tops[-1])
    with page(kind):
        figure = Picture(figsize=(width, height))
        figure.text(
            *(0.15 / width, 1 - 0.15 / height, "\n".join(heading)), fontsize=NAME_SIZE, va="top"
        )
        for band, top in zip(bands, tops, strict=False):
            band.draw(figure, float(top), digits, len(columns))
        last = bands[-1]
        under = 2 if len(last.rows) > 2 else 1
        place = LEFT + SLOT * (len(last.chosen) - 1 + (under == 1))
        words(
            figure, losses(trace), place / width, 1 - (float(tops[-2]) + last.top(under)) / height
        )
        legend = ["dA: the gradient", "of the loss by A", "", "blue < 0 < red"]
        words(figure, legend, LEFT / width, 1 - (float(tops[0]) + bands[0].top(1)) / height)
    return figure


def split(n: int) -> list[range]:
    """n columns in bands of equal length, so that each band fits the width of a page."""
    size = -(-n // -(-n // MOST_ACROSS))
    return [range(start, min(start + size, n)) for start in range(0, n, size)]


class Band:
    """Some neighbouring columns on one strip of the page: forward, backward, techniques, update."""

    def __init__(self, columns: list[Column], chosen: range, n_techniques: int) -> None:
        self.chosen = chosen
        names = ["forward →", "← backward", *["techniques"] * n_techniques, "update"]
        table = [columns[c].rows(n_techniques) for c in chosen]
        wanted = [r for r in range(len(names)) if r < 2 or any(rows[r] for rows in table)]
        self.names = [names[r] for r in wanted]
        self.rows = [[rows[r] for rows in table] for r in wanted]
        self.headers = [
            NAME_LINE + LINE * max(len(formulas(entries)) for entries in row) for row in self.rows
        ]
        self.height = sum(header + BOX + FOOTER for header in self.headers)

    def top(self, r: int) -> float:
        """How far below the band's own top the arrays of a row begin, in inches."""
        return sum(header + BOX + FOOTER for header in self.headers[:r]) + self.headers[r]

    def draw(self, figure: Picture, top: float, digits: int, n_columns: int) -> None:
        """Draw the band; `top` is its distance from the page's top in inches."""
        width, height = figure.get_size_inches()
        for r, (name, row) in enumerate(zip(self.names, self.rows, strict=True)):
            begin = top + self.top(r)
            label(figure, name, 1 - (begin + BOX / 2) / height)
            for place, (c, entries) in enumerate(zip(self.chosen, row, strict=True)):
                if not entries:
                    continue
                tall = height_of(entries)
                left, bottom = (LEFT + SLOT * place) / width, 1 - (begin + tall) / height
                ax = figure.add_axes((left, bottom, BOX / width, tall / height))
                draw(ax, entries, digits)
                if r == 0 and c < n_columns - 1:
                    arrow(ax, 1)
                if r == 1 and c > 0 and entries[0].name != "y":
                    arrow(ax, -1)


def columns_of(trace: StepTrace) -> list[Column]:
    """The arrays in the order of the flow: A[0], W[0] and b[0], Z[0], A[1], ..., p."""
    found = [column_of(trace, "X", "")] if "X" in trace else []
    for l in range(len(trace.sizes) - 1):
        found.append(column_of(trace, f"A[{l}]", f"dA[{l}]"))
        found.append(column_of(trace, f"W[{l}]", f"dW[{l}]", f"b[{l}]", f"db[{l}]"))
        for name in (f"U[{l}]", f"Z[{l}]", f"H[{l + 1}]"):
            if name in trace:
                found.append(column_of(trace, name, f"d{name}"))
    if "p" in trace:
        found.append(Column([trace["p"]], [trace["y"]]))
    else:
        found.append(Column([trace["y"]]))
    return found


def column_of(
    trace: StepTrace, name: str, gradient: str, second: str = "", second_gradient: str = ""
) -> Column:
    """One array (or a matrix with its biases), its gradient, what techniques add, its new value."""
    pair = [(name, gradient)] + ([(second, second_gradient)] if second else [])
    first = {entry.name: entry for entry in reversed(trace.entries)}  # an update comes last
    column = Column([first[one] for one, _ in pair])
    column.backward = [trace[one] for _, one in pair if one in trace]
    for entry in trace.entries:
        if entry.stage == "techniques" and target(entry) in [one for _, one in pair]:
            column.techniques.append([entry])
    latest = [trace[one] for one, _ in pair]
    column.update = [entry for entry in latest if entry.stage == "update"]
    return column


def target(entry: Entry) -> str:
    """Where a technique's gradient enters: decov.dA[1] -> dA[1]."""
    return entry.name.rpartition(".")[2]


# One array -----------------------------------------------------------------------------------------


def height_of(entries: list[Entry]) -> float:
    """How tall the drawn arrays are, in inches: flat where there are few rows."""
    rows = sum(entry.values.reshape(-1, entry.values.shape[-1]).shape[0] for entry in entries)
    return BOX * min(1.0, max(0.25, (rows + GAP * (len(entries) - 1)) / 4))


def draw(ax: Axes, entries: list[Entry], digits: int) -> None:
    """One array as a heat map (biases below their weights), with its name, formula and shape."""
    tables = [entry.values.reshape(-1, entry.values.shape[-1]) for entry in entries]
    rows, columns = tables[0].shape
    unit = max(1.0, rows / 12)  # how tall a row of biases is, beside many rows of weights
    below = 0.0
    for table in tables:
        picture = signed_image(ax, table, symmetric(table))
        tall = unit if below else float(rows)
        picture.set_extent((-0.5, columns - 0.5, below + tall - 0.5, below - 0.5))
        if rows <= MOST_NUMBERS[0] and columns <= MOST_NUMBERS[1]:
            write_numbers(ax, picture, table, below)
        below += tall + GAP * unit
    ax.set_xlim(-0.5, columns - 0.5)
    ax.set_ylim(below - GAP * unit - 0.5, -0.5)
    ax.set_aspect("auto")
    ax.set_xticks([])
    ax.set_yticks([])
    frame(ax, False)
    lines = formulas(entries)
    ax.set_title("\n".join(lines), fontsize=TEXT_SIZE, linespacing=1.2)
    named = [target(e) if e.stage == "techniques" else e.name for e in entries]
    ax.annotate(
        *(", ".join(named), (0, 1), (0, 9 + 72 * LINE * len(lines))),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=NAME_SIZE,
        fontweight="bold",
    )
    sizes = ", ".join(shape(entry.shape) for entry in entries)
    size = f"{sizes}\nmax {number(entries[0].largest, digits)}"
    ax.set_xlabel(size, fontsize=TEXT_SIZE, loc="left")
    describe(ax, " and ".join(f"{e.name}, {shape(e.shape)}" for e in entries) + ".")


def formulas(entries: list[Entry]) -> list[str]:
    """The formulas of a place in short lines, each once."""
    each = dict.fromkeys(tuple(formula(entry)) for entry in entries)
    return [line for lines in each for line in lines]


def formula(entry: Entry) -> list[str]:
    """The formula in short lines; nothing where it is only words."""
    if entry.stage == "techniques":
        return textwrap.wrap(f"from {entry.name.removesuffix(f'.{target(entry)}')}", WRAP)
    text = entry.formula
    if entry.stage == "backward":  # decov.dA[1] is drawn in the row of the techniques
        terms = text.split(" + ")
        own = [term for term in terms if not term.endswith(f".{entry.name}")]
        text = " + ".join([*own, "techniques"] if len(own) < len(terms) else own)
    if entry.given or len(text) > LONGEST_FORMULA:
        text = "the update" if entry.stage == "update" else ""
    lines = textwrap.wrap(text, WRAP, subsequent_indent="   ", break_long_words=False)
    return [f"{'= ' if entry.sign == '=' else '← '}{lines[0]}", *lines[1:]] if lines else []


def write_numbers(ax: Axes, picture: AxesImage, table: Floats, below: float) -> None:
    """Each cell's number, dark on light cells and light on dark ones."""
    size = min(TEXT_SIZE, 72 * BOX / table.shape[1] / 3.1)  # five characters have room
    for (i, j), value in np.ndenumerate(table):
        dark = brightness(picture.to_rgba(np.array([value]))[0]) < 0.45
        text = ax.text(j, below + i, in_cell(float(value)), fontsize=size)
        text.set(ha="center", va="center", color="#ffffff" if dark else "#1a1a1a")


def in_cell(value: float) -> str:
    """A number in about five characters: 0.85, -0.90, 12.3, 6e-3."""
    if value == 0 or not np.isfinite(value):
        return "0" if value == 0 else f"{value}"
    if 0.01 <= abs(value) < 1000:
        return f"{value:.2f}" if abs(value) < 10 else f"{value:.3g}"
    mantissa, _, power = f"{value:.0e}".partition("e")
    return f"{mantissa}e{int(power)}"


# Words and arrows ----------------------------------------------------------------------------------


def arrow(ax: Axes, direction: int) -> None:
    """A short arrow beside an array, in the gap: to the right for 1, to the left for -1."""
    ax.annotate(
        "",
        xy=((1 + direction) / 2, 0.5),
        xycoords="axes fraction",
        xytext=(direction * ARROW, 0),
        textcoords="offset points",
        arrowprops={"arrowstyle": "<|-", "color": ink(ax), "lw": 2.2, "mutation_scale": 18},
    )


def label(figure: Figure, text: str, y: float) -> None:
    """The name of a row, upright at its left."""
    x = 0.3 / figure.get_figwidth()
    style = {"fontsize": NAME_SIZE, "fontweight": "bold", "rotation": 90}
    figure.text(x, y, text, ha="center", va="center").set(**style)


def words(figure: Figure, lines: list[str], x: float, y: float) -> None:
    """A few lines of text in a place without an array."""
    figure.text(x, y, "\n".join(lines), fontsize=TEXT_SIZE, va="top", linespacing=1.3)


def losses(trace: StepTrace) -> list[str]:
    """The loss, the penalties and their sum, and the loss after the step."""
    shown = [entry for entry in trace.entries if entry.stage == "loss" and not entry.values.ndim]
    shown += [trace["L after"]] if "L after" in trace else []
    lines = []
    for entry in shown:
        value = f"= {number(float(entry.values), 4)}"
        lines += [f"{entry.name} {value}"] if len(entry.name) < 12 else [entry.name, f"   {value}"]
    return lines
