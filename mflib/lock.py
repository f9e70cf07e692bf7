"""A folder belongs to one process at a time."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class LockError(RuntimeError):
    """Another process holds the folder."""


@contextmanager
def locked(folder: Path, patience: float = 0.0) -> Iterator[None]:
    """Hold a folder for one process; the lock goes with the process, however it ends.

    Parameters
    ----------
    folder : made where it is missing
    patience : seconds to wait for another process to let it go

    Raises
    ------
    LockError
        Another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    last = time.monotonic() + patience
    with (folder / ".lock").open("w") as file:
        while not _taken(file.fileno()):
            if time.monotonic() >= last:
                raise LockError(f"another mflib is writing to {folder}")
            time.sleep(0.2)
        yield


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
