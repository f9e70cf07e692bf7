"""What goes wrong, in five words: every message says what was found, where, and what was expected."""

from __future__ import annotations

import errno
import re
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mflib.base.language import say


class _Plain(Exception):
    """In a notebook it is shown by its words alone; whoever asks again, by ``%tb``, sees where in the code it arose."""

    def _render_traceback_(self) -> list[str]:
        words = (
            traceback.format_exception(self) if hasattr(self, "told") else [f"{type(self).__name__}: {say(str(self))}"]
        )
        self.told = True
        return words


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


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong in a cohort folder, or in a map of one, and where.

    Parameters
    ----------
    file : path relative to the cohort folder
    row : line of the file (the header is line 1), None where the fault is not of one row
    column : name of the column, None where the fault is not of one column
    found, expected : what stands there and what should
    """

    file: str
    row: int | None
    column: str | None
    found: str
    expected: str

    def __str__(self) -> str:
        row = [] if self.row is None else [f"row {self.row}"]
        column = [] if self.column is None else [f"column {self.column}"]
        return f"{', '.join([self.file, *row, *column])}: found {self.found}; expected {self.expected}"

    @property
    def kind(self) -> tuple[str, str | None, str]:
        """What faults of one kind share: the file of a table or what was found elsewhere, the column, what is expected.

        Words with a figure in them tell one file, segment or voxel from another, and no kind from another.
        """
        where = self.file if self.row is not None else self.found
        bare, expected = (re.sub(r"\S*\d\S*( [LR]\b)?", "#", text) for text in (where, self.expected))
        return bare, self.column, expected


SHOWN = 3  # faults of one kind


def listed(faults: Sequence[Fault], *, whole: bool = False) -> Iterator[str]:
    """A line for each fault, kind by kind: the first three of a kind and how many more there are, or all."""
    kinds: dict[tuple[str, str | None, str], list[Fault]] = {}
    for fault in faults:
        kinds.setdefault(fault.kind, []).append(fault)
    for same in kinds.values():
        # One more fault takes no more room than the line that would count it.
        shown = len(same) if whole or len(same) <= SHOWN + 1 else SHOWN
        yield from map(str, same[:shown])
        if shown < len(same):
            yield f"... and {len(same) - shown} more of this kind"


class CohortError(InputError):
    """A cohort folder, or a map of one, with faults.

    Parameters
    ----------
    message : what has them
    faults : every one of them; the message lists the first of each kind
    """

    def __init__(self, message: str, faults: Sequence[Fault] = ()) -> None:
        self.faults = list(faults)
        super().__init__("\n".join([message, *(f"  {line}" for line in listed(self.faults))]))


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
