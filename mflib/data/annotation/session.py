"""An annotator's pass over a cohort, without a screen: where it begins, their marks, undo, and what is on disk."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np

from mflib.base import files, tables
from mflib.base.errors import BusyError, FileError, InputError
from mflib.data import cohort as cohorts
from mflib.data.annotation.marks import MISSING, SECOND, Marks, Roi, Row, from_cells, read_rows, to_cells, write_row
from mflib.data.cohort_tables import ANNOTATIONS, Key
from mflib.data.volume import Index

INITIALS = re.compile(r"[A-Za-z]{2,8}", re.ASCII)


@dataclass
class History:
    """The states of one volume's marks, its row on disk as it was first and is now, and which state counts now."""

    states: list[Marks]
    opened: Row | None
    seen: Row | None
    at: int = 0

    @property
    def now(self) -> Marks:
        """The marks as they are shown."""
        return self.states[self.at]

    def saved(self) -> Marks | None:
        """The last marks up to now that were confirmed: what the table on disk holds. None where there are none."""
        return next((state for state in self.states[self.at :: -1] if state.confirmed), None)

    def roi_by_hand(self) -> Roi | None:
        """Region of the saved marks where a hand has changed it; Enter alone only agrees with it."""
        upto = self.states[: self.at + 1]
        while len(upto) > 1 and not upto[-1].confirmed:
            upto.pop()
        by_hand = any(one.roi != before.roi and "roi" not in one.suggested for before, one in pairwise(upto))
        return upto[-1].roi if by_hand and not upto[-1].excluded else None


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
    position: int = field(default=0, init=False)
    _histories: dict[Key, History] = field(default_factory=dict, repr=False, init=False)

    def __post_init__(self) -> None:
        self.keys = list(self.paths)
        table = read_rows(self.path)
        for key in self.keys:
            self._adopt(key, table.rows.get(key))
        if self.position not in self.left:
            self.go_to_open()

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
        if saved := history.saved():
            return "changed" if not history.now.confirmed else "excluded" if saved.excluded else "confirmed"
        return "begun" if history.at > 0 else "open"

    @property
    def left(self) -> list[int]:
        """Places of the segments that are not confirmed."""
        return [at for at, key in enumerate(self.keys) if self.state_of(key) not in ("confirmed", "excluded")]

    def progress(self) -> str:
        """How far the pass is, such as ``37 of 368 confirmed, 2 marked but not confirmed``."""
        states = [self.state_of(key) for key in self.keys]
        done = sum(state in ("confirmed", "excluded", "changed") for state in states)
        left = sum(state in ("changed", "begun") for state in states)
        if left:
            return f"{done} of {len(states)} confirmed, {left} changed but not confirmed"
        return f"{done} of {len(states)} confirmed"

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
        edited = self.marks.edited(**{name: at})
        self._append(edited if roi is None else edited.edited(roi=roi, suggested=edited.suggested | {"roi"}))

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
        behind_first = sorted(self.left, key=lambda at: at <= self.position)
        self.position = next(iter(behind_first), self.position)
        return bool(behind_first)

    def _append(self, state: Marks) -> None:
        history = self._histories[self.key]
        self._move(history.at + 1, [*history.states[: history.at + 1], state])

    def _move(self, at: int, states: list[Marks] | None = None) -> None:
        """Go to another state; where that changes what is confirmed, the disk comes first."""
        history = self._histories[self.key]
        changed = replace(history, states=history.states if states is None else states, at=at)
        if changed.saved() != history.saved():
            self._write(history, changed)
        self._histories[self.key] = changed

    def _write(self, history: History, changed: History) -> None:
        saved = changed.saved()
        try:
            table = write_row(self.path, self.key, to_cells(saved) if saved else history.opened, history.seen)
        except BusyError as conflict:
            if conflict.changed:
                history.seen = conflict.found
            raise
        changed.seen = table.rows.get(self.key)
        for key, other in self._histories.items():
            if key != self.key and other.at == 0:
                self._adopt(key, table.rows.get(key))

    def _adopt(self, key: Key, cells: Row | None) -> None:
        """Begin with what the table says; marks that were only suggested stay where it still says nothing."""
        if key in self._histories and cells == self._histories[key].seen:
            return
        try:
            found = None if cells is None else from_cells(cells)
        except InputError as error:
            raise InputError(f"{self.path.name}, {' '.join(key)}: {error}") from error
        self._histories[key] = History([found or Marks()], cells, cells)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def open_session(root: Path, annotator: str, *, second: bool = False, seed: int = 0) -> Session:
    """Begin a pass, or go on with it.

    Parameters
    ----------
    root : cohort folder, finished or not: volumes are all it needs
    annotator : initials, 2 to 8 letters
    second : blinded second pass in shuffled order; of the first one only its annotators are read
    seed : of the shuffling

    Raises
    ------
    InputError
        No initials, or those of an annotator of the first pass; no volumes, a table that is none, or a disk that cannot
        be written.
    """
    if not INITIALS.fullmatch(annotator):
        raise InputError(f"annotator: found {annotator!r}, expected initials of 2 to 8 letters, not a name")
    folder = cohorts.read_folder(root)
    if not folder.volumes:
        faults = cohorts.find_volumes(root)[1] or folder.faults[:1]
        raise InputError(f"no volume to annotate: {'; '.join(map(str, faults))}")
    if second:
        _check_blinded(root / ANNOTATIONS, annotator.upper())
    in_us = [fault for fault in folder.faults if fault.file.startswith("sub-")]
    notices = [str(fault) for fault in in_us if "no volume" not in fault.found]
    paths = {key: folder.volumes[key] for key in _order(folder, seed if second else None)}
    try:
        path = tables.find(root / (SECOND if second else ANNOTATIONS))
        if path.suffix == ".xlsx":
            raise FileError("a workbook, into which nothing is written", "the table saved as text (.tsv)")
        files.check_writable(path.parent)
    except (FileError, OSError) as error:
        raise InputError(f"annotations cannot be saved: {error}") from error
    return Session(root, path, annotator.upper(), second, paths, notices)


def _check_blinded(first: Path, annotator: str) -> None:
    """Nobody is blind to their own marks."""
    if theirs := sum(cells.get("annotator", "").upper() == annotator for cells in read_rows(first).rows.values()):
        found = f"{annotator}, who has marked {theirs} volumes of the first pass"
        raise InputError(f"annotator: found {found}; expected somebody else for the blinded second one")


def _order(folder: cohorts.Folder, seed: int | None) -> list[Key]:
    """Segments of all patients who are not excluded, by patient, level and side, or shuffled."""
    keys = sorted(key for key in folder.volumes if key[0] not in folder.excluded)
    if not keys:
        raise InputError(f"no volume to annotate in {folder.root}: the patients of all of them are excluded")
    return keys if seed is None else [keys[n] for n in np.random.default_rng(seed).permutation(len(keys))]
