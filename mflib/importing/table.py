"""The map's cells: a CSV as a spreadsheet or a person writes it."""

from __future__ import annotations

from pathlib import Path

from mflib.cohort.cells import CellsError, read
from mflib.cohort.tables import Fault
from mflib.importing.errors import SourceError
from mflib.volume import KEY

SPACING = tuple(f"spacing_{axis}_mm" for axis in "ijk")
RANGE = "dynamic_range_db"
REQUIRED = ("file", *KEY)
OPTIONAL = (*SPACING, RANGE)
COLUMNS = (*REQUIRED, *OPTIONAL, "found", "problem")
FORMULA = ("=", "+", "-", "@")

Cells = dict[str, str]


def cells(path: Path) -> tuple[dict[int, Cells], list[Fault]]:
    """The cells of each row by the row's number, as a spreadsheet counts (the header is row 1), and their faults.

    Raises
    ------
    SourceError
        There is no such map, it is no text, or its columns are not those of a map.
    """
    name = path.name
    try:
        table = read(path)
    except CellsError as error:
        raise SourceError(f"{name}: found {error.found}, expected the map as CSV, as a spreadsheet saves it") from error
    header = [cell.casefold() for cell in table.header]
    missing = [column for column in REQUIRED if column not in header]
    doubled = [column for column in (*REQUIRED, *OPTIONAL) if header.count(column) > 1]
    faults = [Fault(name, 1, column, "no such column", "a column of this name") for column in missing]
    faults += [Fault(name, 1, column, "the column twice", "each column once") for column in doubled]
    if faults:
        raise SourceError("the map cannot be read:", faults)
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
