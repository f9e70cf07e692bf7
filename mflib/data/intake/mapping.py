"""The map as a plan: which file becomes which segment. Every fault is found before anything is written."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from mflib.base.errors import CohortError, Fault, FileError
from mflib.base.tables import read
from mflib.base.vocabulary import is_date, is_nothing, numbers
from mflib.base.words import KEY, LEVELS, SIDES
from mflib.data.cohort_tables import Key, key_of
from mflib.data.intake import listing
from mflib.data.intake.geometry import Spacing
from mflib.data.intake.listing import COLUMNS, FORMULA, OPTIONAL, RANGE, REQUIRED, SPACING, Cells
from mflib.data.stored import PLAUSIBLE, PLAUSIBLE_MM, implausible

PLAUSIBLE_DB = (10, 200)
BOUNDS = {**dict.fromkeys(SPACING, (*PLAUSIBLE_MM, "mm")), RANGE: (*PLAUSIBLE_DB, "dB")}
# Longer ones make file names that no disk takes.
PARTICIPANT = re.compile(r"sub-[0-9A-Za-z]{1,64}", re.ASCII)
Wrong = tuple[str, str, str]


def map_cells(path: Path) -> tuple[dict[int, Cells], list[Fault], Sequence[str]]:
    """The cells of each row by the row's number, their faults, and what was understood otherwise than it is written.

    Raises
    ------
    CohortError
        There is no such map, it is no text, or its columns are not those of a map.
    """
    name = path.name
    try:
        table = read(path, COLUMNS)
        header = table.header
        table.check_columns(REQUIRED)
    except FileError as error:
        # What the reader shows of a text may be a name.
        said = f"found {error.found.partition(' (')[0]}; expected {error.expected}"
        raise CohortError(f"{name}: {said}; the map is CSV, as a spreadsheet saves it") from error
    found: dict[int, Cells] = {}
    faults = []
    for number, row in table.rows.items():
        # A spreadsheet leaves out empty cells at the end of a row.
        if len(row) > len(header):
            faults.append(Fault(name, number, None, f"{len(row)} cells", f"{len(header)}, as in the header"))
            continue
        found[number] = dict.fromkeys(OPTIONAL, "") | dict.fromkeys(header, "")
        for column, cell in zip(header, row, strict=False):
            empty = column != "file" and is_nothing(cell)
            if cell.startswith(FORMULA) and not empty:
                said = "a cell that a spreadsheet would run as a formula"
                faults.append(Fault(name, number, column or "without a name", said, "plain text"))
            found[number][column] = "" if empty or cell in ("-", "n/a") else cell
    return found, faults, table.notices


@dataclass(frozen=True)
class Row:
    """One row of the map: a file and the segment that it becomes.

    Parameters
    ----------
    number : row of the map, the header being row 1
    path : the file
    key : participant, level, side
    spacing_mm : voxel size along i, j, k as the row states it, None where it states none
    dynamic_range_db : of the log compression, None where neither the row nor the plan states it
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
    notices : what of the map was understood otherwise than it is written
    """

    source: Path
    map_path: Path
    rows: tuple[Row, ...]
    skipped: int
    spacing_mm: Spacing | None
    notices: Sequence[str]


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
    CohortError
        No such source or map, or faulty cells; all of them are listed.
    """
    start, (low, high) = listing.root(source), PLAUSIBLE_DB
    if dynamic_range_db is not None and not low <= dynamic_range_db <= high:
        raise CohortError(f"--dynamic-range: found {dynamic_range_db:g}, expected {low} to {high} dB")
    table, faults, notices = map_cells(map_path)
    used = {number: cells for number, cells in table.items() if cells["participant_id"]}
    rows: list[Row] = []
    for number, cells in used.items():
        row, wrong = _row(start, source, number, cells, dynamic_range_db)
        rows += [row] if row else []
        faults += [Fault(map_path.name, number, *fault) for fault in wrong]
    astray = {fault.row for fault in faults if (fault.column, fault.found) == ("file", "no such file")}
    if used and astray >= used.keys():
        raise CohortError(f"{map_path.name}: found none of its {len(used)} files in SOURCE, expected this source's map")
    faults += _doubled(map_path.name, rows, "file", lambda row: (row.path.stat().st_dev, row.path.stat().st_ino))
    faults += _doubled(map_path.name, rows, "/".join(KEY), lambda row: tuple(word.casefold() for word in row.key))
    if not used and not faults:
        faults.append(Fault(map_path.name, None, "participant_id", "no row with a participant", "at least one"))
    if faults:
        ordered = sorted(faults, key=lambda fault: fault.row or 0)
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        raise CohortError(f"{count} in the map, nothing was imported:", ordered)
    return Plan(source, map_path, tuple(rows), len(table) - len(used), spacing_mm, notices)


def spacing(text: str) -> Spacing:
    """The voxel size in ``x,y,z`` (mm along lateral, depth, elevation).

    Raises
    ------
    CohortError
        The text is not three plausible numbers.
    """
    try:
        i, j, k = (float(part) for part in text.split(","))
        if implausible((i, j, k)):
            raise ValueError(text)
    except ValueError as error:
        expected = f"three numbers from {PLAUSIBLE} such as 0.2,0.2,0.35"
        raise CohortError(f"--spacing: found {text}, expected {expected}") from error
    return i, j, k


def _row(
    start: Path, source: Path, number: int, cells: Cells, range_db: float | None
) -> tuple[Row | None, list[Wrong]]:
    """One row, or its faults as column, found, expected; what stands in a cell may be a name, so none repeats it."""
    path, wrong = start, []
    try:
        path = listing.locate(start, cells["file"])
        if source.is_file() and not path.samefile(source):
            raise FileError("another file than SOURCE, expected SOURCE, as it is one file")
    except FileError as refusal:
        found, _, expected = str(refusal).partition(", expected ")
        wrong.append(("file", found, expected or "a file below SOURCE"))
    participant, level, lat = key_of(cells)
    understood = {
        "participant_id": (PARTICIPANT.fullmatch(participant), "sub- and letters or digits (64 at most)"),
        "level": (level in LEVELS, f"one of {', '.join(LEVELS)} (write L45 for 4-5)"),
        "lat": (lat in SIDES, "L or R"),
    }
    wrong += [(name, _kind(cells[name]), expected) for name, (meant, expected) in understood.items() if not meant]
    stated, faulty = _numbers(cells)
    wrong += faulty
    if wrong:
        return None, wrong
    i, j, k = (stated.get(column) for column in SPACING)
    size = (i, j, k) if i and j and k else None
    return Row(number, path, (participant, level, lat), size, stated.get(RANGE, range_db)), []


def _kind(cell: str) -> str:
    """What a cell is that was not understood."""
    if is_date(cell):
        return "a date, as a spreadsheet makes of 4-5"
    return "another text" if cell else "nothing"


def _numbers(cells: Cells) -> tuple[dict[str, float], list[Wrong]]:
    """The numbers that a row states by column, with a decimal point or comma, and what is wrong with them."""
    stated, wrong = {}, []
    for column, (low, high, unit) in BOUNDS.items():
        if not cells[column]:
            continue
        values, _ = numbers(pd.Series([cells[column]]), partial(pd.Series.between, left=low, right=high), unit)
        stated[column] = float(values[0])
        if not low <= stated[column] <= high:
            found = "another text" if math.isnan(stated[column]) else f"{stated[column]:g}"
            wrong.append((column, found, f"{low:g} to {high:g} {unit}"))
    missing = [column for column in SPACING if column not in stated]
    if 0 < len(missing) < len(SPACING):
        wrong += [(column, "nothing", "a number, as the row states others") for column in missing]
    return stated, wrong


def _doubled(name: str, rows: Iterable[Row], column: str, what: Callable[[Row], Hashable]) -> list[Fault]:
    first: dict[Hashable, int] = {}
    return [
        Fault(name, row.number, column, f"the same as in row {earlier}", "each once")
        for row in rows
        if (earlier := first.setdefault(what(row), row.number)) != row.number
    ]
