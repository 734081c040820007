"""Copy what a test holds from the folders of finished comparisons into results/growing.

    python results/growing/collect.py RUNS_DIR

RUNS_DIR holds folders that python -m tinydiv.grow wrote; each is copied under its own name: the raw file
with every trial or seed, the table, the settings and the figures. Of condense, whose pieces are small and
its only raw files, they are copied too.
"""

import shutil
import sys
from pathlib import Path

from tinydiv.command.cli import run
from tinydiv.errors import UsageError

HERE = Path(__file__).parent
KEPT = ("trials.csv.gz", "seeds.csv.gz", "table.md", "config.json", "*.png", "*.gif")


def main(words: list[str]) -> None:
    """Copy what is finished. Raises UsageError if it is not one folder, or holds no finished comparison."""
    if len(words) != 1:
        raise UsageError(f"this script takes one folder; got {len(words)}")
    finished = sorted(path.parent for path in Path(words[0]).glob("*/table.md"))
    if not finished:
        raise UsageError(
            f"{words[0]} holds no folder with a table.md that python -m tinydiv.grow wrote"
        )
    for folder in finished:
        (HERE / folder.name).mkdir(exist_ok=True)
        for pattern in KEPT:
            for file in folder.glob(pattern):
                shutil.copy(file, HERE / folder.name / file.name)
        if folder.name.startswith("condense"):
            shutil.copytree(folder / "pieces", HERE / folder.name / "pieces", dirs_exist_ok=True)
        print(HERE / folder.name)


if __name__ == "__main__":
    sys.exit(run(Path(__file__).name, main))
