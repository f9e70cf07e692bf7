"""The table of annotations on disk, as text: what others wrote into it stays as they wrote it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mflib import atomic
from mflib.annotation.marks import MISSING, VOXELS, AnnotationError
from mflib.cohort.files import Key
from mflib.lock import locked
from mflib.volume import KEY

COLUMNS = (*KEY, *VOXELS, "annotator", "annotated_at", "quality", "quality_reason")
PATIENCE_S = 10.0

Cells = Mapping[str, str]


class ConflictError(RuntimeError):
    """Somebody else has changed a row meanwhile; ``found`` is what stands there now."""

    def __init__(self, key: Key, found: Cells | None) -> None:
        self.found = found
        who = "removed" if found is None else f"changed by {found.get('annotator', MISSING)}"
        super().__init__(f"not saved: {' '.join(key)} was {who} on disk meanwhile; do it again to replace that")


@dataclass(frozen=True)
class Table:
    """The table's cells.

    Parameters
    ----------
    columns : all columns of the file, and those of ``COLUMNS`` that it lacks
    rows : cells by column, by key, in the file's order
    """

    columns: tuple[str, ...]
    rows: dict[Key, dict[str, str]]


def read(path: Path) -> Table:
    """Read a table of annotations; one that is not there yet has no rows.

    Raises
    ------
    AnnotationError
        The file is no such table. To go on would lose rows that somebody wrote.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return Table(COLUMNS, {})
    except (OSError, UnicodeDecodeError) as error:
        raise AnnotationError(f"{path.name}: cannot be read ({error})") from error
    lines = [(number, line.split("\t")) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    header = tuple(cell.strip() for cell in lines[0][1]) if lines else COLUMNS
    missing = [column for column in KEY if column not in header]
    if missing or len(set(header)) < len(header):
        raise AnnotationError(
            f"{path.name}, row 1: found columns {', '.join(header)[:80]}; expected {', '.join(KEY)}, ..."
        )
    rows: dict[Key, dict[str, str]] = {}
    for number, cells in lines[1:]:
        if len(cells) != len(header):
            raise AnnotationError(f"{path.name}, row {number}: found {len(cells)} cells, expected {len(header)}")
        row = dict(zip(header, map(str.strip, cells), strict=True))
        key = (row["participant_id"], row["level"], row["lat"])
        if key in rows:
            raise AnnotationError(f"{path.name}, row {number}: found {' '.join(key)} again, expected each key once")
        rows[key] = row
    return Table(header + tuple(column for column in COLUMNS if column not in header), rows)


def write_row(path: Path, key: Key, wanted: Cells | None, seen: Cells | None) -> Table:
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
        The file is no such table any more.
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
        now = Table(table.columns, rows)
        atomic.write_text(path, _text(now))
    return now


def _said(cells: Cells | None) -> dict[str, str] | None:
    """A row without its empty cells: a column added by somebody else changes nothing in it."""
    return None if cells is None else {name: cell for name, cell in cells.items() if cell not in ("", MISSING)}


def _text(table: Table) -> str:
    rows = [[_one_line(row.get(column, MISSING)) for column in table.columns] for row in table.rows.values()]
    return "".join("\t".join(cells) + "\n" for cells in [list(table.columns), *rows])


def _one_line(cell: str) -> str:
    """A cell that cannot break the table: no tabs and no line ends."""
    return " ".join(cell.split())
