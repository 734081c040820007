"""The output made from finished stacks, at any time: CSV tables, the Markdown page, figures.

tidy.py makes the rows, page.py the page, figures.py the pictures; this file writes them into the folder.
"""

from pathlib import Path

from tinydiv.files import atomic, table
from tinydiv.study import tidy
from tinydiv.study.page import markdown
from tinydiv.study.results import Results


def write(results: Results, folder: Path, *, figures: bool) -> None:
    """Write all tables, and the figures if wanted, into the folder. Raises RunError if it cannot."""
    for name, rows in (
        ("curves.csv", tidy.curve_rows(results)),
        ("runs.csv", tidy.trial_rows(results)),
        ("comparisons.csv", tidy.comparison_rows(results)),
        ("tuning.csv", tidy.tuning_rows(results)),
        ("costs.csv", tidy.cost_rows(results)),
    ):
        atomic.write_text(folder / name, table.as_csv(rows))
    atomic.write_text(folder / "table.md", markdown(results))
    if figures:
        from tinydiv.study import figures as drawing  # matplotlib takes a second to import

        drawing.draw_all(results, folder / "figures")
