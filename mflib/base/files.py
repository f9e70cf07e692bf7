"""Files that are there whole or not at all, and folders that belong to one process at a time."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from mflib.base.errors import BusyError, FileError
from mflib.base.language import say

# Files that systems and spreadsheets leave in folders, hidden ones, and halves that a kill left behind.
PASSED_OVER = re.compile(r"\.|~\$|partial-|(?i:thumbs\.db|ehthumbs\w*\.db|desktop\.ini)$")
# A file that names each file written whole by this process and its children: who runs notebooks asks what they left.
LOG = "MFLIB_WRITTEN"
# What file systems without locks answer, some network shares among them.
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside ``path`` to write to; what was written takes its place when the block ends without an error.

    The folder is made where there is none.

    Raises
    ------
    OSError
        What was written could not be brought to the disk. ``path`` is as it was, and nothing lies beside it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Nobody else writes to a name drawn at random, on whatever machine. The name's end stays: writers read the format
    # from it; a whole long one would be longer than a disk takes. Readers of cohorts pass over what begins so, which is
    # all that a kill can leave.
    partial = path.with_name(f"partial-{uuid4().hex[:12]}-{path.name[-12:]}")
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
        if log := os.environ.get(LOG):
            with Path(log).open("a", encoding="utf-8") as names:
                names.write(f"{path.resolve()}\n")
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None and error.filename in (None, str(partial)):
            # A full disk does not say by itself which file it had no room for; the partial one tells nobody anything.
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def check_names(*names: str | Path) -> None:
    """Refuse names whose bytes are not UTF-8: the library that reads volumes would end the whole process.

    Raises
    ------
    FileError
        The first of them, with a ? for each such byte.
    """
    for name in map(str, names):
        if (shown := name.encode(errors="replace").decode()) != name:
            raise FileError(f"{shown}: found a name that is not UTF-8; rename the file or its folder")


def short(name: str) -> str:
    """A name to which something is added; where a disk might not take both, its beginning and a digest."""
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:6]
    return name if len(os.fsencode(name)) <= 120 else f"{name[:25]}-{digest}"


def check_writable(folder: Path) -> None:
    """Make a folder and try to write into it, so that after long work nobody learns that it had no place to go.

    Raises
    ------
    OSError
        It cannot be made, or not be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def write_array(path: Path, values: NDArray[Any]) -> None:
    """Write an array in NumPy's format, whole or not at all."""
    content = io.BytesIO()
    np.save(content, values)
    with replacing(path) as partial:
        # ``np.save`` to a full disk would only say how many bytes it did not write.
        partial.write_bytes(content.getbuffer())


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_new(path: Path, text: str) -> None:
    """Write a text that is not there yet, whole or not at all."""
    if not path.exists():
        write_text(path, text)


@contextmanager
def locked(folder: Path, patience: float = 0.0) -> Iterator[None]:
    """Hold a folder for one process; the lock goes with the process, however it ends.

    Parameters
    ----------
    folder : made where it is missing
    patience : seconds to wait for another process to let it go

    Raises
    ------
    BusyError
        Another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # A soft lock would outlive a killed process: on a file system without real locks there is none.
    held: AbstractContextManager[object]
    try:
        held = FileLock(folder / ".lock", timeout=patience, fallback_to_soft=False).acquire()
    except Timeout:
        raise BusyError(f"another mflib is writing to {folder}") from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        print(say(f"warning: no locks where {folder} lies; let one mflib at a time write there"), file=sys.stderr)
        held = nullcontext()
    with held:
        yield


def sha256(path: Path) -> str:
    """Digest of a file's content; one that has not changed since is not read again."""
    stat = path.stat()
    return _sha256(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=4096)
def _sha256(path: Path, _changed_ns: int, _size: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


ROOT = Path(__file__).resolve().parents[2]
ASSETS = Path(__file__).parents[1] / "_assets"
