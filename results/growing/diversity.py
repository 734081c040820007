"""Draw pictures/diversity.png: how diverse neurons are that grew, beside those that started full size.

    python results/growing/diversity.py

Reads the raw files of the comparisons on images that lie here: fashion (every way to grow, from the
decorrelated start), and where they are, fashion-decov (the same beside a technique) and fashion-he (from
He's start). One dot is the mean over seeds at the end of training, its line the 95 % interval.
"""

import sys
from pathlib import Path

import numpy as np

from tinydiv.command.cli import run
from tinydiv.errors import UsageError
from tinydiv.growing.comparing import difference
from tinydiv.growing.fashion import read_seeds
from tinydiv.plots.style import colour, describe, new_figure, page, save

HERE = Path(__file__).parent
WIDTH = 32
FOLDERS = {
    "fashion": "decorrelated start",
    "fashion-decov": "with decov",
    "fashion-he": "he-normal start",
}
PANELS = {
    "correlation": "Mean |correlation|",
    "rank": "Effective rank",
    "accuracy": "Test accuracy",
}


def main(words: list[str]) -> None:
    if words:
        raise UsageError(f"this script takes no argument; got {words[0]}")
    rows = []
    for number, folder in enumerate(FOLDERS):
        if (HERE / folder).is_dir():
            for (width, _, arm), found in read_seeds(HERE / folder / "seeds.csv.gz").items():
                if width == WIDTH:
                    rows.append((arm, number, arm == "full", found))
    with page():
        figure = new_figure(7.2, 1.6 + 0.34 * len(rows))
        axes = figure.subplots(1, len(PANELS), sharey=True)
        for ax, (key, title) in zip(axes, PANELS.items(), strict=True):
            for y, (_, number, full, found) in enumerate(rows):
                values = found[key][-1]
                interval = difference(values, np.zeros_like(values))
                ax.plot([interval.low, interval.high], [y, y], color=colour(number), lw=2)
                ax.plot(values.mean(), y, "s" if full else "o", ms=8, color=colour(number))
            ax.set_title(title)
            ax.margins(y=0.08)
            describe(ax, f"{title} at the end of training, a dot for every way to grow.")
        axes[0].set_yticks(range(len(rows)), [row[0] for row in rows])
        axes[0].invert_yaxis()
        for number, words in enumerate(FOLDERS.values()):
            axes[0].plot([], [], color=colour(number), lw=4, label=words)
        figure.legend(frameon=False, loc="outside lower left", ncols=3)
        heading = f"fashion-mnist, H = {WIDTH}, equal flops; squares: full size from the start"
        figure.suptitle(heading, x=0.01, ha="left", fontsize="medium")
        save(figure, HERE / "pictures" / "diversity.png")


if __name__ == "__main__":
    sys.exit(run(Path(__file__).name, main))
