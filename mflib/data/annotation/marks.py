"""What one person says of one volume, and the table of it on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mflib.base import files, tables
from mflib.base.errors import BusyError, FileError, InputError
from mflib.base.files import locked
from mflib.base.tables import Dialect
from mflib.base.words import KEY
from mflib.data import cohort_tables
from mflib.data.cohort_tables import ANNOTATION_COLUMNS, VOXELS, Key
from mflib.data.volume import Annotation, Index

POINTS = ("bone", "shadow")
REASONS = ("bone not visible", "shadow not visible", "muscle cut off", "motion", "wrong level")
MISSING = "n/a"
Roi = tuple[Index, Index]


@dataclass(frozen=True)
class Marks:
    """The marks on one volume, in 0-based voxels (i, j, k).

    Parameters
    ----------
    bone, shadow : reference points
    roi : first voxel and extent of the region of interest
    suggested : which of ``bone``, ``shadow`` and ``roi`` are computed and not yet confirmed by anybody
    excluded : why the volume cannot be used; empty where it can
    annotator, annotated_at : who confirmed these marks, and when (UTC); ``n/a`` where a table does not say
    confirmed : whether somebody did
    """

    bone: Index | None = None
    shadow: Index | None = None
    roi: Roi | None = None
    suggested: frozenset[str] = frozenset()
    excluded: str = ""
    annotator: str = ""
    annotated_at: str = ""
    confirmed: bool = False

    @property
    def annotation(self) -> Annotation | None:
        """The marks as what the rest of the study takes, None where one is missing."""
        if self.bone is None or self.shadow is None or self.roi is None:
            return None
        return Annotation(self.bone, self.shadow, *self.roi)

    def edited(self, **changes: object) -> Marks:
        """Other marks, which nobody has confirmed yet; what is changed by hand is no suggestion any more."""
        kept = self.suggested - changes.keys()
        return replace(self, **{"suggested": kept, **changes}, annotator="", annotated_at="", confirmed=False)  # type: ignore[arg-type]

    def confirm(self, annotator: str, when: str) -> Marks:
        """The same marks, confirmed.

        Raises
        ------
        InputError
            A usable volume lacks a point or the region.
        """
        missing = [name for name in (*POINTS, "roi") if getattr(self, name) is None]
        if missing and not self.excluded:
            raise InputError(f"not marked yet: {', '.join(missing)}; mark it, or exclude the volume with a reason")
        return replace(self, suggested=frozenset(), annotator=annotator, annotated_at=when, confirmed=True)


def from_cells(cells: Mapping[str, str]) -> Marks | None:
    """The marks in a row of ``refpoints_roi.tsv``, None where it is neither complete nor an exclusion.

    Raises
    ------
    InputError
        A cell is no voxel.
    """
    excluded = cohort_tables.excludes(cells.get("quality", MISSING))
    given = {name: cells.get(name, MISSING) for name in VOXELS}
    given = {name: cell for name, cell in given.items() if cell.lower() not in cohort_tables.MISSING}
    reason = cells.get("quality_reason", MISSING) if excluded else ""
    signed = Marks(
        excluded=reason,
        annotator=cells.get("annotator", MISSING),
        annotated_at=cells.get("annotated_at", MISSING),
        confirmed=True,
    )
    if len(given) < len(VOXELS):
        return signed if excluded else None
    wrong = [f"{name} {cell!r}" for name, cell in given.items() if not cell.isdecimal()]
    if wrong:
        raise InputError(f"found {', '.join(wrong)}; expected whole numbers of voxels from 0")
    found = Annotation.from_row(given)
    return replace(signed, bone=found.bone, shadow=found.shadow, roi=(found.roi_start, found.roi_size))


def to_cells(marks: Marks) -> dict[str, str]:
    """The row of ``refpoints_roi.tsv``, without its key."""
    start, size = marks.roi or ((), ())
    cells = dict.fromkeys(VOXELS, MISSING)
    for prefix, place in (("bone_", marks.bone), ("shadow_", marks.shadow), ("roi_", start), ("roi_n", size)):
        cells |= {prefix + axis: str(at) for axis, at in zip("ijk", place or (), strict=False)}
    quality = {"quality": "exclude" if marks.excluded else "ok", "quality_reason": marks.excluded or MISSING}
    return {**cells, "annotator": marks.annotator, "annotated_at": marks.annotated_at, **quality}


def fit(roi: Roi, shape: tuple[int, ...]) -> Roi:
    """A region of interest moved and cut so that it lies inside a volume of this shape, at least 2 voxels wide."""
    size = [min(max(extent, 2), n) for extent, n in zip(roi[1], shape, strict=True)]
    start = [min(max(at, 0), n - extent) for at, extent, n in zip(roi[0], size, shape, strict=True)]
    return (start[0], start[1], start[2]), (size[0], size[1], size[2])


PATIENCE_S = 10.0
Row = Mapping[str, str]


@dataclass(frozen=True)
class Table:
    """The table's cells.

    Parameters
    ----------
    columns : all columns of the file, and those of ``ANNOTATION_COLUMNS`` that it lacks
    rows : cells by column, by key, in the file's order
    dialect : how the file writes them
    """

    columns: tuple[str, ...]
    rows: dict[Key, dict[str, str]]
    dialect: Dialect


def read_rows(path: Path) -> Table:
    """Read a table of annotations; one that is not there yet has no rows.

    Raises
    ------
    InputError
        The file is no such table. To go on would lose rows that somebody wrote.
    """
    if not path.exists():
        return Table(ANNOTATION_COLUMNS, {}, Dialect())
    try:
        found = tables.read(path)
    except FileError as error:
        raise InputError(f"{path.name}: {error}") from error
    header = tuple(found.header) or ANNOTATION_COLUMNS
    if not set(KEY) <= set(header) or len(set(header)) < len(header):
        raise InputError(f"{path.name}, row 1: found columns {', '.join(header)[:80]}; expected {', '.join(KEY)}, ...")
    rows: dict[Key, dict[str, str]] = {}
    for number, row in found.rows.items():
        if len(row) != len(header):
            raise InputError(f"{path.name}, row {number}: found {len(row)} cells, expected {len(header)}")
        named = dict(zip(header, row, strict=True))
        key = (named["participant_id"], named["level"], named["lat"])
        if key in rows:
            raise InputError(f"{path.name}, row {number}: found {' '.join(key)} again, expected each key once")
        rows[key] = named
    added = tuple(column for column in ANNOTATION_COLUMNS if column not in header)
    return Table(header + added, rows, found.dialect)


def write_row(path: Path, key: Key, wanted: Row | None, seen: Row | None) -> Table:
    """Put one row into the table, or take it out, and leave all others as they are on disk now.

    Parameters
    ----------
    wanted : cells of the row, None to take it out; columns that are not named keep what they hold
    seen : the row as the caller last saw it

    Returns
    -------
    Table
        As it is on disk now.

    Raises
    ------
    BusyError
        The row on disk is not the one that was seen.
    InputError
        The file is no such table any more, or its encoding lacks a letter of the row.
    BusyError, OSError
        Another process is writing, or the disk does not take it. The file is as it was.
    """
    with locked(path.parent, PATIENCE_S):
        table = read_rows(path)
        found = table.rows.get(key)
        if _said(found) != _said(seen):
            who = "removed" if found is None else f"changed by {found.get('annotator', MISSING)}"
            said = f"not saved: {' '.join(key)} was {who} on disk meanwhile; do it again to replace that"
            raise BusyError(said, changed=True, found=found)
        rows = dict(table.rows)
        if wanted is None:
            rows.pop(key, None)
        else:
            rows[key] = {**rows.get(key, {}), **wanted, **dict(zip(KEY, key, strict=True))}
        now = Table(table.columns, rows, table.dialect)
        content = _bytes(path, now)
        with files.replacing(path) as partial:
            partial.write_bytes(content)
    return now


def _said(cells: Row | None) -> dict[str, str] | None:
    """A row without its empty cells: a column added by somebody else changes nothing in it."""
    return None if cells is None else {name: cell for name, cell in cells.items() if cell not in ("", MISSING)}


def _bytes(path: Path, table: Table) -> bytes:
    rows = [[row.get(column, MISSING) for column in table.columns] for row in table.rows.values()]
    try:
        return table.dialect.mark + table.dialect.encode([table.columns, *rows])
    except FileError as error:
        raise InputError(f"not saved in {path.name}: {error}") from error
