"""The map as a plan: which file becomes which segment. Every fault is found before anything is written."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mflib.base.errors import CohortError, FileError
from mflib.base.tables import read
from mflib.base.words import KEY, LEVELS
from mflib.data.cohort_tables import Fault, Key
from mflib.data.intake import sources
from mflib.data.intake.dicom import PLAUSIBLE_MM, Spacing
from mflib.data.intake.sources import SHOWN

SPACING = tuple(f"spacing_{axis}_mm" for axis in "ijk")
RANGE = "dynamic_range_db"
REQUIRED = ("file", *KEY)
OPTIONAL = (*SPACING, RANGE)
COLUMNS = (*REQUIRED, *OPTIONAL, "found", "problem")
FORMULA = ("=", "+", "-", "@")
Cells = dict[str, str]


def map_cells(path: Path) -> tuple[dict[int, Cells], list[Fault]]:
    """The cells of each row by the row's number, as a spreadsheet counts (the header is row 1), and their faults.

    Raises
    ------
    CohortError
        There is no such map, it is no text, or its columns are not those of a map.
    """
    name = path.name
    try:
        table = read(path)
    except FileError as error:
        raise CohortError(f"{name}: found {error.found}, expected the map as CSV, as a spreadsheet saves it") from error
    header = [cell.casefold() for cell in table.header]
    missing = [column for column in REQUIRED if column not in header]
    doubled = [column for column in (*REQUIRED, *OPTIONAL) if header.count(column) > 1]
    faults = [Fault(name, 1, column, "no such column", "a column of this name") for column in missing]
    faults += [Fault(name, 1, column, "the column twice", "each column once") for column in doubled]
    if faults:
        raise CohortError("the map cannot be read:", faults, SHOWN)
    found = {}
    for number, row in table.rows.items():
        # A spreadsheet leaves out empty cells at the end of a row.
        if len(row) > len(header):
            faults.append(Fault(name, number, None, f"{len(row)} cells", f"{len(header)}, as in the header"))
        else:
            found[number] = dict.fromkeys([*OPTIONAL, *header], "") | dict(zip(header, row, strict=False))
    return {number: _filled(row) for number, row in found.items()}, faults + _formulas(name, found)


def _filled(row: Cells) -> Cells:
    """Cells as they are meant; a lone dash is how people leave one empty."""
    return {column: "" if cell in ("-", "n/a") else cell for column, cell in row.items()}


def _formulas(name: str, rows: dict[int, Cells]) -> list[Fault]:
    return [
        Fault(
            name, number, column or "without a name", "a cell that a spreadsheet would run as a formula", "plain text"
        )
        for number, row in rows.items()
        for column, cell in row.items()
        if cell.startswith(FORMULA) and cell != "-"
    ]


SIDE_WORDS = {
    "L": {"l", "left", "lt", "li", "links", "左"},
    "R": {"r", "right", "rt", "re", "rechts", "右"},
}
LEVEL_WORDS = re.compile(r"(?:lwk|l)?\s*([2345])\s*[-–_/.]?\s*(l|lwk|s|swk)?\s*([1345])", re.IGNORECASE)
# In a name a bare "4-5" may be a date or a count, so the letter must be there.
NAMED_LEVEL = re.compile(r"(?<![a-z0-9])l(?:wk)?[ _]?([2345])[-–_ ]?(l|s)?([1345])(?![0-9])", re.IGNORECASE)
# Surnames too, so they are sides only where they end a name right behind the level, or are an inner folder's name.
SHORT = {"li", "re"}
SHORT_BEHIND = re.compile(NAMED_LEVEL.pattern + r"[\W_]*(li|re)[\W\d_]*$", re.IGNORECASE)
MONTH = r"(?:jan|feb|m[aä]r|mrz|apr|ma[iy])[a-zä]*"
DATE = re.compile(
    rf"\d{{1,2}}[-. ]+{MONTH}\.?(?:[-. ]+\d+)?|{MONTH}[-. ]+\d+|\d{{1,4}}([-./])\d{{1,2}}\1(?:\d{{1,4}})?|\d+月\d+日",
    re.IGNORECASE,
)


def to_level(text: str) -> str | None:
    """The level that a cell means (L4-5, L4/L5, 4/5 and L45 are the same); None where it means none."""
    match = LEVEL_WORDS.fullmatch(text.strip())
    return _canonical(match) if match else None


def is_date(text: str) -> bool:
    """Whether a cell holds a date, as spreadsheets make of 4-5 (04. Mai, 5-Apr, 04.05.2024)."""
    return DATE.fullmatch(text.strip()) is not None


def to_side(text: str) -> str | None:
    """L or R for a side as people write it; None where it is none."""
    word = text.strip().rstrip(".").casefold()
    return next((side for side, words in SIDE_WORDS.items() if word in words), None)


def named_in(path: PurePosixPath) -> tuple[str | None, str | None]:
    """Level and side that a path names without contradiction; the file's own name counts before its folders."""
    levels = [{found for match in NAMED_LEVEL.finditer(part) if (found := _canonical(match))} for part in _parts(path)]
    *inner, outermost = _parts(path)
    # The outermost folder may be called after the patient.
    sides = [{found} if (found := to_side(part)) else _sides(part) for part in inner]
    return _first(levels), _first([*sides, _sides(outermost)])


def _sides(part: str) -> set[str]:
    """Sides that a name holds; a level's own letter is none."""
    words = {word for word in re.split(r"[\W\d_]+", NAMED_LEVEL.sub(" ", part)) if word.casefold() not in SHORT}
    behind = SHORT_BEHIND.search(part)
    return {found for word in [*words, *(behind.groups()[-1:] if behind else [])] if (found := to_side(word))}


def _parts(path: PurePosixPath) -> list[str]:
    return [path.name.split(".")[0], *(folder.name for folder in path.parents if folder.name)]


def _first(found: list[set[str]]) -> str | None:
    """The only word of the first part that has any."""
    words = next((part for part in found if part), set())
    return next(iter(words)) if len(words) == 1 else None


def _canonical(match: re.Match[str]) -> str | None:
    upper, letter, lower = match.groups()
    sacral = lower == "1"
    if letter and letter[0].casefold() != ("s" if sacral else "l"):
        return None
    name = f"L{upper}S1" if sacral else f"L{upper}{lower}"
    return name if name in LEVELS else None


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
    CohortError
        No such source or map, or faulty cells; all of them are listed.
    """
    start = sources.root(source)
    _refuse_spacing(spacing_mm)
    _refuse_range(dynamic_range_db)
    table, faults = map_cells(map_path)
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
        raise CohortError(f"{count} in the map, nothing was imported:", ordered, SHOWN)
    return Plan(source, map_path, tuple(rows), len(table) - len(used), spacing_mm, dynamic_range_db)


def spacing(text: str) -> Spacing:
    """The voxel size in ``x,y,z`` (mm along lateral, depth, elevation).

    Raises
    ------
    CohortError
        The text is not three plausible numbers.
    """
    try:
        i, j, k = (float(part) for part in text.split(","))
    except ValueError as error:
        raise CohortError("--spacing: expected three numbers in mm such as 0.2,0.2,0.35") from error
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
    except FileError as refusal:
        found, _, expected = str(refusal).partition(", expected ")
        wrong.append(("file", found, expected or "a file below SOURCE"))
    level, lat = to_level(row["level"]), to_side(row["lat"])
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
    if is_date(cell):
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
        raise CohortError(f"--spacing: found {', '.join(f'{s:g}' for s in stated)}, expected {low:g} to {high:g} mm")


def _refuse_range(stated: float | None) -> None:
    low, high = PLAUSIBLE_DB
    if stated is not None and not low <= stated <= high:
        raise CohortError(f"--dynamic-range: found {stated:g}, expected {low} to {high} dB")


def _doubled(name: str, rows: Iterable[Row], column: str, what: Callable[[Row], Hashable]) -> list[Fault]:
    first: dict[Hashable, int] = {}
    return [
        Fault(name, row.number, column, f"the same as in row {earlier}", "each once")
        for row in rows
        if (earlier := first.setdefault(what(row), row.number)) != row.number
    ]
