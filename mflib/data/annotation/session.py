"""An annotator's way through a cohort, without a screen: where they are, their marks, undo, and what is on disk."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from mflib.base.errors import BusyError, InputError
from mflib.data import volume as volumes
from mflib.data.annotation.marks import MISSING, Marks, Roi, Row, from_cells, read_rows, to_cells, write_row
from mflib.data.annotation.suggestion import Suggestion, suggest
from mflib.data.cohort_tables import Key
from mflib.data.volume import Index, Volume


@dataclass(frozen=True, eq=False)
class Loaded:
    """A volume, and what is suggested for it."""

    volume: Volume
    suggestion: Suggestion | None


class Reader:
    """Reads volumes one at a time and holds at most one that nobody asked for yet.

    Parameters
    ----------
    suggesting : whether marks are to be computed too
    """

    def __init__(self, suggesting: bool) -> None:
        self.suggesting = suggesting
        self._pool = ThreadPoolExecutor(1, "reading ahead")
        self._ahead: tuple[Path, Future[Loaded]] | None = None

    def read(self, path: Path) -> Loaded:
        """One volume, at once where it was read ahead.

        Raises
        ------
        FileError
            The file cannot be used.
        """
        ahead, self._ahead = self._ahead, None
        return ahead[1].result() if ahead is not None and ahead[0] == path else self._load(path)

    def read_ahead(self, path: Path) -> None:
        """Begin to read the volume that will be asked for next."""
        if self._ahead is None or self._ahead[0] != path:
            self._ahead = (path, self._pool.submit(self._load, path))

    def _load(self, path: Path) -> Loaded:
        volume = volumes.read(path)
        return Loaded(volume, suggest(volume) if self.suggesting else None)


@dataclass
class History:
    """The states of one volume's marks, and which of them counts now."""

    states: list[Marks]
    at: int = 0

    @property
    def now(self) -> Marks:
        """The marks as they are shown."""
        return self.states[self.at]

    def saved(self) -> Marks | None:
        """The last marks up to now that were confirmed: what the table on disk holds. None where there are none."""
        at = self._saved_at()
        return None if at is None else self.states[at]

    def roi_by_hand(self) -> Roi | None:
        """Region of the saved marks where a hand has changed it; Enter alone only agrees with it."""
        upto = self.states[: (self._saved_at() or 0) + 1]
        by_hand = any(one.roi != before.roi and "roi" not in one.suggested for before, one in pairwise(upto))
        return upto[-1].roi if by_hand and not upto[-1].excluded else None

    def _saved_at(self) -> int | None:
        return next((at for at in range(self.at, -1, -1) if self.states[at].confirmed), None)


@dataclass
class Session:
    """One annotator's pass over a cohort. Every change of what is confirmed is on disk before the method returns.

    Parameters
    ----------
    root : the cohort folder
    path : the table that is written
    annotator : initials
    second : whether this is the blinded second pass
    paths : volume of each segment, relative to ``root``, in the order of the pass
    notices : files of the cohort that cannot be annotated, and why
    """

    root: Path
    path: Path
    annotator: str
    second: bool
    paths: dict[Key, str]
    notices: list[str]
    position: int = 0
    _histories: dict[Key, History] = field(default_factory=dict, repr=False)
    _seen: dict[Key, Row | None] = field(default_factory=dict, repr=False)
    _opened: dict[Key, Row | None] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.keys = list(self.paths)
        table = read_rows(self.path)
        for key in self.keys:
            self._adopt(key, table.rows.get(key))
        self._go_to_open()

    @property
    def key(self) -> Key:
        """The segment in hand."""
        return self.keys[self.position]

    @property
    def marks(self) -> Marks:
        """Its marks."""
        return self._histories[self.key].now

    @property
    def can_undo(self) -> bool:
        """Whether there is a state before this one."""
        return self._histories[self.key].at > 0

    @property
    def can_redo(self) -> bool:
        """Whether a state was undone."""
        history = self._histories[self.key]
        return history.at < len(history.states) - 1

    def state_of(self, key: Key) -> str:
        """``excluded``, ``confirmed``, ``changed`` (not as saved), ``begun`` (marked, not saved) or ``open``."""
        history = self._histories[key]
        saved = history.saved()
        if saved is not None:
            return "changed" if not history.now.confirmed else "excluded" if saved.excluded else "confirmed"
        return "begun" if history.at > 0 else "open"

    def progress(self) -> str:
        """How far the pass is, such as ``37 of 368 confirmed, 2 marked but not confirmed``."""
        states = [self.state_of(key) for key in self.keys]
        done = sum(state in ("confirmed", "excluded", "changed") for state in states)
        left = sum(state in ("changed", "begun") for state in states)
        return f"{done} of {len(states)} confirmed" + (f", {left} changed but not confirmed" if left else "")

    def roi_sizes_by_hand(self) -> dict[Key, Index]:
        """Extent in voxels of the confirmed regions that were moved or resized by hand since the session began."""
        regions = {key: history.roi_by_hand() for key, history in self._histories.items()}
        return {key: roi[1] for key, roi in regions.items() if roi is not None}

    def offer(self, suggested: Marks) -> None:
        """Take computed marks as the beginning of a volume that nobody has touched."""
        history = self._histories[self.key]
        if len(history.states) == 1 and history.saved() is None:
            history.states = [suggested]

    def set_point(self, name: str, at: Index, roi: Roi | None = None) -> None:
        """Mark ``bone`` or ``shadow``; ``roi`` is the region to suggest with it."""
        region = {} if roi is None else {"roi": roi}
        edited = self.marks.edited(**{name: at}, **region)
        self._append(edited if roi is None else edited.edited(suggested=edited.suggested | {"roi"}))

    def set_roi(self, roi: Roi) -> None:
        """Place the region of interest."""
        self._append(self.marks.edited(roi=roi))

    def include(self) -> None:
        """Take back an exclusion; the marks wait to be confirmed."""
        self._append(self.marks.edited(excluded=""))

    def exclude(self, reason: str) -> None:
        """Say that the volume cannot be used, and save that.

        Raises
        ------
        InputError
            Without a reason.
        BusyError, OSError
            It could not be saved; nothing has changed.
        """
        reason = " ".join(reason.split())
        if reason.lower() in ("", MISSING):
            raise InputError(f"found {reason!r} as the reason, expected why the volume is excluded")
        self._append(self.marks.edited(excluded=reason).confirm(self.annotator, _now()))

    def confirm(self) -> None:
        """Confirm and save the marks in hand; those that are confirmed already stay as they are, with their annotator.

        Raises
        ------
        InputError
            A mark is missing.
        BusyError, OSError
            They could not be saved; nothing has changed.
        """
        if not self.marks.confirmed:
            self._append(self.marks.confirm(self.annotator, _now()))

    def undo(self) -> None:
        """Back to the state before, on disk too. Raises as ``confirm`` does."""
        if self.can_undo:
            self._move(self._histories[self.key].at - 1)

    def redo(self) -> None:
        """Forward again, on disk too. Raises as ``confirm`` does."""
        if self.can_redo:
            self._move(self._histories[self.key].at + 1)

    def go(self, position: int) -> None:
        """To a segment by its place in the pass; beyond the ends, to the first or last."""
        self.position = min(max(position, 0), len(self.keys) - 1)

    def go_to_open(self) -> bool:
        """To the next segment that is not confirmed, from the beginning again after the last; False where none is."""
        return self._go_to_open(self.position + 1)

    def _go_to_open(self, start: int = 0) -> bool:
        for step in range(len(self.keys)):
            position = (start + step) % len(self.keys)
            if self.state_of(self.keys[position]) not in ("confirmed", "excluded"):
                self.position = position
                return True
        return False

    def _append(self, state: Marks) -> None:
        history = self._histories[self.key]
        self._move(history.at + 1, [*history.states[: history.at + 1], state])

    def _move(self, at: int, states: list[Marks] | None = None) -> None:
        """Go to another state; where that changes what is confirmed, the disk comes first."""
        key = self.key
        history = self._histories[key]
        changed = History(history.states if states is None else states, at)
        if changed.saved() != history.saved():
            self._write(key, changed.saved())
        self._histories[key] = changed

    def _write(self, key: Key, saved: Marks | None) -> None:
        wanted = self._opened[key] if saved is None else to_cells(saved)
        try:
            table = write_row(self.path, key, wanted, self._seen[key])
        except BusyError as conflict:
            if conflict.changed:
                self._seen[key] = conflict.found
            raise
        self._seen[key] = table.rows.get(key)
        for other in self.keys:
            if other != key and self._histories[other].at == 0:
                self._adopt(other, table.rows.get(other))

    def _adopt(self, key: Key, cells: Row | None) -> None:
        """Begin with what the table says; marks that were only suggested stay where it still says nothing."""
        if key in self._seen and cells == self._seen[key]:
            return
        try:
            found = None if cells is None else from_cells(cells)
        except InputError as error:
            raise InputError(f"{self.path.name}, {' '.join(key)}: {error}") from error
        self._seen[key] = self._opened[key] = cells
        self._histories[key] = History([found or Marks()])


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
