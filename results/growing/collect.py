"""Copy what a test holds from the folders of finished comparisons into results/growing.

    python results/growing/collect.py RUNS_DIR

RUNS_DIR holds folders that python -m tinydiv.grow wrote; each is copied under its own name: the raw file
with every trial or seed, the table, the settings and the figures. Of condense, whose pieces are small and
its only raw files, they are copied too.
"""

import shutil
import sys
from pathlib import Path

HERE = Path(__file__).parent
KEPT = ("trials.csv.gz", "seeds.csv.gz", "table.md", "config.json", "*.png", "*.gif")


def main(runs: Path) -> None:
    for folder in sorted(path.parent for path in runs.glob("*/table.md")):
        (HERE / folder.name).mkdir(exist_ok=True)
        for pattern in KEPT:
            for file in folder.glob(pattern):
                shutil.copy(file, HERE / folder.name / file.name)
        if folder.name.startswith("condense"):
            shutil.copytree(folder / "pieces", HERE / folder.name / "pieces", dirs_exist_ok=True)
        print(HERE / folder.name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
