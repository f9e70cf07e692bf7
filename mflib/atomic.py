"""Files that are there whole or not at all: a kill, a full disk or a power cut never leaves half a table."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write to; what was written takes its place when the block ends without an error.

    Raises
    ------
    OSError
        What was written could not be brought to the disk. ``path`` is as it was, and nothing lies beside it.
    """
    # The name's end stays: writers read the format from it. Readers of cohorts pass over what begins so.
    partial = path.with_name("partial-" + path.name)
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")
