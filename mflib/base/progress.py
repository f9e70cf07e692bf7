"""One line of progress at a time, readable in a terminal, in JupyterLab and in a log.

Bars that redraw themselves become a line per update under papermill, so plain lines with rate and time left it is.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from mflib.base.language import say

Item = TypeVar("Item")


class Progress:
    """Print ``label 120/368, 14.2/s, 17 s left`` at most every ``every`` seconds, and once at the end.

    Parameters
    ----------
    label : what is counted
    total : how many there are
    every : seconds between lines
    """

    def __init__(self, label: str, total: int, every: float = 5.0) -> None:
        self.label, self.total, self.every = label, total, every
        self.done = 0
        self.start = self.last = time.monotonic()

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count ``count`` more as done; ``note`` is added to the line."""
        self.done += count
        now = time.monotonic()
        if self.done < self.total and now - self.last < self.every:
            return
        self.last = now
        seconds, left = max(now - self.start, 1e-9), self.total - self.done
        told = f"{self.done}/{self.total}"
        if self.done:  # else all that was told of had been done before, and there is no rate yet
            tail = f"{left * seconds / self.done:.0f} s left" if left > 0 else f"{seconds:.0f} s"
            told += f", {self.done / seconds:.3g}/s, {tail}"
        print(say(self.label), say(f"{told}, {note}" if note else told), flush=True)


def counted(label: str, total: int, items: Iterable[Item]) -> Iterator[Item]:
    """The items, each counted as done when the next one is asked for."""
    progress = Progress(label, total)
    for item in items:
        yield item
        progress.advance()
