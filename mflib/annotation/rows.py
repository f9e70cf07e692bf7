"""The table of annotations on disk, as text: what others wrote into it stays as they wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mflib import atomic
from mflib.annotation.marks import MISSING, AnnotationError
from mflib.cohort import cells
from mflib.cohort.cells import CellsError, Dialect
from mflib.cohort.files import Key
from mflib.cohort.tables import ANNOTATION_COLUMNS
from mflib.lock import locked
from mflib.volume import KEY

PATIENCE_S = 10.0

Row = Mapping[str, str]


class ConflictError(RuntimeError):
    """Somebody else has changed a row meanwhile; ``found`` is what stands there now."""

    def __init__(self, key: Key, found: Row | None) -> None:
        self.found = found
        who = "removed" if found is None else f"changed by {found.get('annotator', MISSING)}"
        super().__init__(f"not saved: {' '.join(key)} was {who} on disk meanwhile; do it again to replace that")


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


def read(path: Path) -> Table:
    """Read a table of annotations; one that is not there yet has no rows.

    Raises
    ------
    AnnotationError
        The file is no such table. To go on would lose rows that somebody wrote.
    """
    if not path.exists():
        return Table(ANNOTATION_COLUMNS, {}, Dialect())
    try:
        found = cells.read(path)
    except CellsError as error:
        raise AnnotationError(f"{path.name}: {error}") from error
    header = tuple(found.header) or ANNOTATION_COLUMNS
    if not set(KEY) <= set(header) or len(set(header)) < len(header):
        raise AnnotationError(
            f"{path.name}, row 1: found columns {', '.join(header)[:80]}; expected {', '.join(KEY)}, ..."
        )
    rows: dict[Key, dict[str, str]] = {}
    for number, row in found.rows.items():
        if len(row) != len(header):
            raise AnnotationError(f"{path.name}, row {number}: found {len(row)} cells, expected {len(header)}")
        named = dict(zip(header, row, strict=True))
        key = (named["participant_id"], named["level"], named["lat"])
        if key in rows:
            raise AnnotationError(f"{path.name}, row {number}: found {' '.join(key)} again, expected each key once")
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
    ConflictError
        The row on disk is not the one that was seen.
    AnnotationError
        The file is no such table any more, or its encoding lacks a letter of the row.
    LockError, OSError
        Another process is writing, or the disk does not take it. The file is as it was.
    """
    with locked(path.parent, PATIENCE_S):
        table = read(path)
        found = table.rows.get(key)
        if _said(found) != _said(seen):
            raise ConflictError(key, found)
        rows = dict(table.rows)
        if wanted is None:
            rows.pop(key, None)
        else:
            rows[key] = {**rows.get(key, {}), **wanted, **dict(zip(KEY, key, strict=True))}
        now = Table(table.columns, rows, table.dialect)
        content = _bytes(path, now)
        with atomic.replacing(path) as partial:
            partial.write_bytes(content)
    return now


def _said(cells: Row | None) -> dict[str, str] | None:
    """A row without its empty cells: a column added by somebody else changes nothing in it."""
    return None if cells is None else {name: cell for name, cell in cells.items() if cell not in ("", MISSING)}


def _bytes(path: Path, table: Table) -> bytes:
    rows = [[row.get(column, MISSING) for column in table.columns] for row in table.rows.values()]
    try:
        return table.dialect.mark + table.dialect.encode([table.columns, *rows])
    except CellsError as error:
        raise AnnotationError(f"not saved in {path.name}: {error}") from error
