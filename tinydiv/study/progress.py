"""Progress of a study and the time left: a bar on a terminal, a line now and then in a log."""

import sys
import time
from typing import TextIO

from tqdm.auto import tqdm

from tinydiv.errors import printable

LINE_EVERY = 30.0
"""Seconds between two lines where there is no terminal."""


class Progress:
    """Counts networks, each weighted by its work.

    show: False for silence. Lines and bars go to stderr, so that stdout holds results alone.
    """

    def __init__(self, networks: int, work: float, show: bool = True, file: TextIO | None = None):
        self.file = file or sys.stderr
        self.networks, self.work, self.show = networks, max(work, 1e-9), show
        self.done_networks, self.done_work = 0, 0.0
        self.began = self.printed = time.monotonic()
        self.bar = None
        if show and networks and self.file.isatty():
            self.bar = tqdm(
                total=100.0,
                file=self.file,
                bar_format="{l_bar}{bar}| {postfix} [{elapsed}, {remaining} left]",
                dynamic_ncols=True,
            )
            self._show()

    def step(self, networks: int, work: float) -> None:
        """Add networks that are done, and their work."""
        self.done_networks += networks
        self.done_work += work
        self._show()

    def expect(self, networks: int, work: float) -> None:
        """Set the number of networks that are left, and their work."""
        self.networks = self.done_networks + networks
        self.work = max(self.done_work + work, 1e-9)
        self._show()

    @property
    def share(self) -> float:
        """Share of the work that is done."""
        return min(self.done_work / self.work, 1.0)

    def left(self) -> float:
        """Seconds until the end at the pace so far; NaN before anything is done."""
        spent = time.monotonic() - self.began
        return spent * (1 - self.share) / self.share if self.share else float("nan")

    def _show(self) -> None:
        words = f"{self.done_networks} of {self.networks} networks"
        if self.bar is not None:
            self.bar.set_postfix_str(words, refresh=False)
            self.bar.n = round(100 * self.share, 1)
            self.bar.refresh()
        elif self.show and time.monotonic() - self.printed >= LINE_EVERY:
            self.printed = time.monotonic()
            print(
                f"{words}, {100 * self.share:.0f} %, about {in_words(self.left())} left",
                file=self.file,
                flush=True,
            )

    def print_line(self, sentence: str) -> None:
        """Print one line above the bar."""
        if not self.show:
            return
        if self.bar is not None:
            tqdm.write(printable(sentence, self.file), file=self.file)
        else:
            print(printable(sentence, self.file), file=self.file, flush=True)

    def close(self) -> None:
        """End the progress bar."""
        if self.bar is not None:
            self.bar.close()


def in_words(seconds: float) -> str:
    """A time in words: "45 s", "3 min 20 s", "2 h 5 min", "?"."""
    if not seconds < float("inf"):
        return "?"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
