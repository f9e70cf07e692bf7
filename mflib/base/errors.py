"""What goes wrong, in five words: every message says what was found, where, and what was expected."""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from typing import Any


class _Plain(Exception):
    """In a notebook it is shown by its words alone: where in the code it was raised helps nobody who reads them."""

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]


class InputError(_Plain, ValueError):
    """Arguments, settings or a table that cannot be used; the message says what was found and what was expected."""


class FileError(InputError):
    """A file that is not what it should be; where one message serves several readers, it is kept in its two halves.

    Parameters
    ----------
    found : the whole message, or what was found
    expected : what was expected
    """

    def __init__(self, found: str, expected: str | None = None) -> None:
        self.found, self.expected = found, expected
        super().__init__(found if expected is None else f"found {found}; expected {expected}")

    def __reduce__(self) -> tuple[type, tuple[str, str | None]]:
        return type(self), (self.found, self.expected)


class CohortError(InputError):
    """A cohort folder, or a map of one, with faults.

    Parameters
    ----------
    message : what has them
    faults : every one of them
    shown : how many the message lists
    """

    def __init__(self, message: str, faults: Sequence[Any] = (), shown: int | None = None) -> None:
        self.faults = list(faults)
        listed = self.faults[:shown]
        more = [f"  and {len(self.faults) - len(listed)} more"] if len(listed) < len(self.faults) else []
        super().__init__("\n".join([message, *(f"  {fault}" for fault in listed), *more]))


class BusyError(_Plain, RuntimeError):
    """Another process holds what was asked for, or has changed it meanwhile.

    Parameters
    ----------
    message : what happened
    changed : whether it was changed, and ``found`` is what stands there now
    """

    def __init__(self, message: str, *, changed: bool = False, found: Mapping[str, str] | None = None) -> None:
        self.changed, self.found = changed, found
        super().__init__(message)


class RunError(_Plain, RuntimeError):
    """A step that cannot begin, or a worker, a fold or a scheduler that failed; what is finished stays."""


_FULL = "no space is left there. Free some, and the same command goes on"
_CLOSED = "this user may not do that there. Change its permissions, or name another place"
_IN_THE_WAY = "a file lies where a folder was expected. Name another place, or move the file"
_HELP = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EACCES: _CLOSED,
    errno.EPERM: _CLOSED,
    errno.EROFS: "it can only be read there. Name another place",
    errno.ENOTDIR: _IN_THE_WAY,
    errno.EEXIST: _IN_THE_WAY,
    errno.ENAMETOOLONG: "the name is longer than this disk takes. Name a shorter one",
}


def explained(error: OSError) -> str:
    """What the operating system refused, where, and what helps."""
    said = _HELP.get(error.errno or 0) or error.strerror or str(error)
    return f"{error.filename or 'the folder that this command works in'}: {said}"
