"""The map's cells: a CSV as a spreadsheet or a person writes it."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from mflib.cohort.tables import Fault
from mflib.importing.errors import SourceError

KEYS = ("participant_id", "level", "lat")
SPACING = tuple(f"spacing_{axis}_mm" for axis in "ijk")
REQUIRED = ("file", *KEYS)
COLUMNS = (*REQUIRED, *SPACING, "found", "problem")
FORMULA = ("=", "+", "-", "@")
LARGEST_BYTES = 2**24

Cells = dict[str, str]


def cells(path: Path) -> tuple[dict[int, Cells], list[Fault]]:
    """The cells of each row by the row's number, as a spreadsheet counts (the header is row 1), and their faults.

    Raises
    ------
    SourceError
        There is no such map, it is no text, or its columns are not those of a map.
    """
    name, rows = path.name, _rows(path)
    header = [cell.strip().casefold() for cell in rows[0]] if rows else []
    missing = [column for column in REQUIRED if column not in header]
    doubled = [column for column in (*REQUIRED, *SPACING) if header.count(column) > 1]
    faults = [Fault(name, 1, column, "no such column", "a column of this name") for column in missing]
    faults += [Fault(name, 1, column, "the column twice", "each column once") for column in doubled]
    if faults:
        raise SourceError("the map cannot be read:", faults)
    found = {}
    for number, row in enumerate(rows[1:], 2):
        # A spreadsheet leaves out empty cells at the end of a row.
        if len(row) > len(header):
            faults.append(Fault(name, number, None, f"{len(row)} cells", f"{len(header)}, as in the header"))
        elif any(cell.strip() for cell in row):
            found[number] = (
                dict.fromkeys(SPACING, "") | dict.fromkeys(header, "") | dict(zip(header, row, strict=False))
            )
    return {number: _stripped(row) for number, row in found.items()}, faults + _formulas(name, found)


def _stripped(row: Cells) -> Cells:
    """Cells without space around them; a lone dash is how people leave one empty."""
    return {column: "" if cell.strip() in ("-", "n/a") else cell.strip() for column, cell in row.items()}


def _formulas(name: str, rows: dict[int, Cells]) -> list[Fault]:
    return [
        Fault(
            name, number, column or "without a name", "a cell that a spreadsheet would run as a formula", "plain text"
        )
        for number, row in rows.items()
        for column, cell in row.items()
        if cell.strip().startswith(FORMULA) and cell.strip() != "-"
    ]


def _rows(path: Path) -> list[list[str]]:
    text = _text(path)
    first = text.partition("\n")[0]
    separator = max(",;\t", key=first.count)
    try:
        return list(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True))
    except csv.Error as error:
        raise SourceError(f"{path.name}: found no CSV ({error}), expected rows of cells with paired quotes") from error


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise SourceError(f"{path.name}: found more than {LARGEST_BYTES} bytes, expected a table of files")
        content = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path.name}: cannot be read ({error.strerror}), expected the map as CSV") from error
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise SourceError(f"{path.name}: found bytes that are no text, expected CSV in UTF-8 (or as Excel saves it)")
