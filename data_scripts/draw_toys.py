"""Draw every toy set into one picture, or save their arrays for another program."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # so that a fresh clone works before it is installed

try:
    import matplotlib as mpl

    mpl.use("Agg")  # files only: no window is opened, so no screen is needed
    import numpy as np
    import numpy.typing as npt
    from matplotlib import pyplot as plt
    from matplotlib.axes import Axes
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Rectangle

    from tinydiv import data
    from tinydiv.data import Dataset
    from tinydiv.errors import UsageError
except ImportError as error:
    sys.exit(f"error: {error}; install tinydiv first: python -m pip install -e .")

# Okabe and Ito's palette (2008), told apart with any colour vision
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
ROWS = (
    ("spirals", "moons", "xor", "parity"),
    ("life",),
    ("mixture", "step", "bessel-window", "bessel-sum"),
    ("cubic", "quadratic", "cubic-2", "quadratic-2"),
)
TOYS = tuple(name for row in ROWS for name in row)

EXAMPLES = """examples:
  python data_scripts/draw_toys.py
      draw into toys.png
  python data_scripts/draw_toys.py --seed 3 --to toys.pdf
      another draw, as a PDF (the ending chooses the format; .npz saves the arrays instead)

exit codes: 0 written, 1 could not be written, 2 wrong usage, 130 interrupted
"""


def draw_points(axis: Axes, toy: Dataset, most: int = 3000) -> Axes:
    """A toy in the plane as coloured points; of a large one, `most` of its training points."""
    shown = toy.take(min(most, len(toy.train_y)))
    few = len(shown.train_y) < 10
    for k, name in enumerate(shown.classes):
        x, y = shown.floats("train")[shown.train_y == k].T
        axis.scatter(
            x, y, s=200 if few else 4, color=COLOURS[k % len(COLOURS)], label=name, linewidths=0
        )
    axis.set_aspect("equal")
    axis.margins(0.25 if few else 0.05)
    axis.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.08),
        ncols=3,
        frameon=False,
        handletextpad=0.1,
        columnspacing=0.8,
        markerscale=1 if few else 4,
    )
    return axis


def draw_curve(axis: Axes, toy: Dataset) -> Axes:
    """The points of a curve: what is to be learned against the one input; test points are hollow."""
    for part, filled in (("train", COLOURS[0]), ("test", "none")):
        x, y = getattr(toy, f"{part}_x")[:, 0], getattr(toy, f"{part}_y")
        axis.scatter(x, y, s=14, facecolors=filled, edgecolors=COLOURS[0], label=part)
    axis.set_box_aspect(1)
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=2, frameon=False)
    return axis


def draw_parity(axis: Axes, toy: Dataset) -> Axes:
    """Every pattern of an even number of bits as one square: first half down, second half across."""
    half = toy.n_inputs // 2
    side = 2**half
    axis.imshow(toy.train_y.reshape(side, side), cmap=ListedColormap(COLOURS[:2]))
    names = [f"{number:0{half}b}" for number in range(side)]
    axis.set_xticks(range(side), names, rotation=90)
    axis.set_yticks(range(side), names)
    axis.set_xlabel(f"last {half} bits")
    axis.set_ylabel(f"first {half} bits")
    handles = [Rectangle((0, 0), 1, 1, color=c) for c in COLOURS[:2]]
    axis.legend(
        handles, toy.classes, loc="upper center", bbox_to_anchor=(0.5, -0.3), ncols=2, frameon=False
    )
    return axis


def draw_life(axis: Axes, toy: Dataset, columns: int = 32) -> Axes:
    """Every patch, living cells dark, on a ground that tells the centre's next state."""
    ground = np.array([mpl.colors.to_rgb(c) for c in COLOURS[:2]])
    rows = -(-len(toy.train_y) // columns)
    mosaic = np.ones((rows * 6, columns * 6, 3))
    for i, (patch, label) in enumerate(zip(toy.floats("train"), toy.train_y, strict=True)):
        top, left = 6 * (i // columns), 6 * (i % columns)
        mosaic[top : top + 5, left : left + 5] = ground[label]
        cells = 1 - 0.9 * patch.reshape(3, 3, 1)
        mosaic[top + 1 : top + 4, left + 1 : left + 4] = cells
    axis.imshow(mosaic, interpolation="nearest")
    axis.set_axis_off()
    handles = [Rectangle((0, 0), 1, 1, color=c) for c in COLOURS[:2]]
    names = [f"centre next {name}" for name in toy.classes]
    axis.legend(handles, names, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=2, frameon=False)
    return axis


def draw(toys: dict[str, Dataset], path: Path) -> None:
    """All toys on one page, written to a file whose ending names the format."""
    figure = plt.figure(figsize=(13, 20))
    grid = figure.add_gridspec(4, 4, height_ratios=[1, 2.2, 1, 1], hspace=0.32, wspace=0.35)
    for row, names in enumerate(ROWS):
        for column, name in enumerate(names):
            if name == "life":
                axis = draw_life(figure.add_subplot(grid[row, :]), toys["life"])
                axis.set_title("life: all 512 patches of 3 x 3 cells")
                continue
            axis = figure.add_subplot(grid[row, column])
            drawing = draw_parity if name == "parity" else draw_points
            (draw_curve if toys[name].n_inputs == 1 else drawing)(axis, toys[name])
            axis.set_title(f"{name}\n{len(toys[name].train_y)} training samples")
            axis.set_anchor("N")
    try:
        figure.savefig(path, dpi=120, bbox_inches="tight")
    finally:
        plt.close(figure)


def save(toys: dict[str, Dataset], path: Path) -> None:
    """All arrays in one .npz: spirals_train_x, spirals_train_y, spirals_test_x, and so on."""
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    for name, toy in toys.items():
        for part in ("train_x", "train_y", "test_x", "test_y"):
            arrays[f"{name}_{part}"] = getattr(toy, part)
    np.savez_compressed(path, allow_pickle=False, **arrays)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    formats = (".png", ".pdf", ".svg", ".npz")
    parser = argparse.ArgumentParser(
        prog="draw_toys.py",
        description="Draw every toy set of tinydiv into one picture, or save their arrays.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--to",
        metavar="FILE",
        type=Path,
        default=Path("toys.png"),
        help=f"the file to write, ending in {', '.join(formats)} (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", metavar="N", type=int, default=0, help="the seed of the draw (default: 0)"
    )
    options = parser.parse_args(argv)
    try:
        if options.to.suffix not in formats:
            raise UsageError(
                f"--to takes a file that ends in {', '.join(formats)}, got {options.to}"
            )
        toys = {name: data.load(name, seed=options.seed) for name in TOYS}
        (save if options.to.suffix == ".npz" else draw)(toys, options.to)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {options.to}: {error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    print(options.to)
    return 0


if __name__ == "__main__":
    sys.exit(main())
