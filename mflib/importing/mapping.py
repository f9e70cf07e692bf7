"""The map as a plan: which file becomes which segment. Every fault is found before anything is written."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path

from mflib.cohort.files import Key
from mflib.cohort.tables import Fault
from mflib.dicom.reading import PLAUSIBLE_MM, Spacing
from mflib.importing import sources, words
from mflib.importing.errors import Refusal, SourceError
from mflib.importing.table import RANGE, SPACING, Cells, cells
from mflib.volume import KEY, LEVELS

PLAUSIBLE_DB = (10, 200)
# Faults after which a map is looked at no further: another table, or a spreadsheet gone wrong.
ENOUGH = 1000
# Longer ones make file names that no disk takes.
PARTICIPANT = re.compile(r"sub-[0-9A-Za-z]{1,64}", re.ASCII)


@dataclass(frozen=True)
class Row:
    """One row of the map: a file and the segment that it becomes.

    Parameters
    ----------
    number : row of the map, the header being row 1
    path : the file
    key : participant, level, side
    spacing_mm : voxel size along i, j, k as the row states it, None where it states none
    dynamic_range_db : of the log compression as the row states it, None where it states none
    """

    number: int
    path: Path
    key: Key
    spacing_mm: Spacing | None
    dynamic_range_db: float | None


@dataclass(frozen=True)
class Plan:
    """What an import will do.

    Parameters
    ----------
    source : where the files lie
    map_path : the map
    rows : files to import
    skipped : rows without a participant
    spacing_mm : voxel size along i, j, k for files that state none
    dynamic_range_db : of the log compression, for rows that state none
    """

    source: Path
    map_path: Path
    rows: tuple[Row, ...]
    skipped: int
    spacing_mm: Spacing | None
    dynamic_range_db: float | None


def plan(
    source: Path, map_path: Path, spacing_mm: Spacing | None = None, dynamic_range_db: float | None = None
) -> Plan:
    """Read a map and hold it against the files.

    Parameters
    ----------
    source : folder that the map's paths start from, or one file in it
    map_path : CSV with file, participant_id, level, lat and, where wanted, spacing_i_mm, spacing_j_mm, spacing_k_mm and
        dynamic_range_db
    spacing_mm : voxel size along i, j, k in mm for files that state none; a row's stands above it
    dynamic_range_db : of the log compression in dB, for rows that state none

    Raises
    ------
    SourceError
        No such source or map, or faulty cells; all of them are listed.
    """
    start = sources.root(source)
    _refuse_spacing(spacing_mm)
    _refuse_range(dynamic_range_db)
    table, faults = cells(map_path)
    used = {number: row for number, row in table.items() if row["participant_id"]}
    rows: list[Row] = []
    for number, row in used.items():
        if len(faults) >= ENOUGH:
            break
        made = _row(start, source, number, row)
        if isinstance(made, Row):
            rows.append(made)
        else:
            faults += [Fault(map_path.name, number, *fault) for fault in made]
    faults += _doubled(map_path.name, rows, "file", lambda row: sources.identity(row.path))
    faults += _doubled(map_path.name, rows, "/".join(KEY), lambda row: tuple(word.casefold() for word in row.key))
    if not used and not faults:
        faults.append(Fault(map_path.name, None, "participant_id", "no row with a participant", "at least one"))
    if faults:
        ordered = sorted(faults, key=lambda fault: fault.row or 0)
        count = f"{'at least ' * (len(faults) >= ENOUGH)}{len(faults)} fault{'s' * (len(faults) != 1)}"
        raise SourceError(f"{count} in the map, nothing was imported:", ordered)
    return Plan(source, map_path, tuple(rows), len(table) - len(used), spacing_mm, dynamic_range_db)


def spacing(text: str) -> Spacing:
    """The voxel size in ``x,y,z`` (mm along lateral, depth, elevation).

    Raises
    ------
    SourceError
        The text is not three plausible numbers.
    """
    try:
        i, j, k = (float(part) for part in text.split(","))
    except ValueError as error:
        raise SourceError("--spacing: expected three numbers in mm such as 0.2,0.2,0.35") from error
    _refuse_spacing((i, j, k))
    return i, j, k


def _row(start: Path, source: Path, number: int, row: Cells) -> Row | list[tuple[str, str, str]]:
    """One row, or its faults as column, found, expected."""
    wrong: list[tuple[str, str, str]] = []
    path = start
    try:
        path = sources.locate(start, row["file"])
        if source.is_file() and not path.samefile(source):
            wrong.append(("file", "another file than SOURCE", "SOURCE, as it is one file"))
    except Refusal as refusal:
        found, _, expected = str(refusal).partition(", expected ")
        wrong.append(("file", found, expected or "a file below SOURCE"))
    level, lat = words.level(row["level"]), words.side(row["lat"])
    # What stands in a cell may be a name, so no fault repeats it.
    if not PARTICIPANT.fullmatch(row["participant_id"]):
        wrong.append(("participant_id", "another text", "sub- and letters or digits (64 at most), such as sub-001"))
    if level is None:
        wrong.append(("level", *_no_level(row["level"])))
    if lat is None:
        wrong.append(("lat", "another text" if row["lat"] else "nothing", "L or R"))
    stated, faulty = _spacing(row)
    range_db, out_of_range = _range(row[RANGE])
    wrong += faulty + out_of_range
    if wrong or level is None or lat is None:
        return wrong
    return Row(number, path, (row["participant_id"], level, lat), stated, range_db)


def _no_level(cell: str) -> tuple[str, str]:
    """Found and expected of a cell that is no level."""
    expected = "one of " + ", ".join(LEVELS)
    if words.is_date(cell):
        return "a date, as a spreadsheet makes of 4-5", f"{expected}: write L45 for 4-5"
    return "another text" if cell else "nothing", expected


def _range(cell: str) -> tuple[float | None, list[tuple[str, str, str]]]:
    """The dynamic range in dB that a row states, or its fault."""
    value, (low, high) = _number(cell), PLAUSIBLE_DB
    if low <= value <= high or not cell:
        return value if cell else None, []
    return None, [(RANGE, "another text" if math.isnan(value) else f"{value:g}", f"{low} to {high} dB")]


def _spacing(row: Cells) -> tuple[Spacing | None, list[tuple[str, str, str]]]:
    """The voxel size that a row states: all three numbers or none."""
    values = {column: _number(row[column]) for column in SPACING if row[column]}
    low, high = PLAUSIBLE_MM
    wrong = [
        (column, "another text" if math.isnan(value) else f"{value:g}", f"{low:g} to {high:g} mm")
        for column, value in values.items()
        if not low <= value <= high
    ]
    if values and len(values) < len(SPACING):
        wrong += [(column, "nothing", "a number, as the row states others") for column in SPACING if not row[column]]
    if wrong or not values:
        return None, wrong
    i, j, k = values.values()
    return (i, j, k), []


def _number(text: str) -> float:
    """A number with a decimal point or comma; NaN for anything else."""
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return math.nan


def _refuse_spacing(stated: Spacing | None) -> None:
    low, high = PLAUSIBLE_MM
    if stated and not all(low <= step <= high for step in stated):
        raise SourceError(f"--spacing: found {', '.join(f'{s:g}' for s in stated)}, expected {low:g} to {high:g} mm")


def _refuse_range(stated: float | None) -> None:
    low, high = PLAUSIBLE_DB
    if stated is not None and not low <= stated <= high:
        raise SourceError(f"--dynamic-range: found {stated:g}, expected {low} to {high} dB")


def _doubled(name: str, rows: Iterable[Row], column: str, what: Callable[[Row], Hashable]) -> list[Fault]:
    first: dict[Hashable, int] = {}
    return [
        Fault(name, row.number, column, f"the same as in row {earlier}", "each once")
        for row in rows
        if (earlier := first.setdefault(what(row), row.number)) != row.number
    ]
