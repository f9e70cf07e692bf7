"""Tables of cells, as an editor, a spreadsheet, a hospital or this package writes them."""

from __future__ import annotations

import csv
import io
import re
import warnings
import zipfile
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from mflib.base import encodings, files, vocabulary
from mflib.base.errors import FileError

LARGEST_BYTES = 2**24
LARGEST_UNPACKED = 2**28
FURTHEST = 20  # lines among which the header is looked for
KINDS = (".tsv", ".csv", ".xlsx")
SEPARATORS = ("\t", ";", ",")
LINE_END = re.compile(r"\r\n|\n|\r")
# How a zip archive and an old or locked workbook begin.
ZIP, OLD_WORKBOOK = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"
DECIMALS = re.compile(r"0(?:\.(0+))?(%?)")
Lines = dict[int, list[str]]


@dataclass(frozen=True)
class Dialect:
    """How a file holds its cells: what is added to it must be written the same way.

    Parameters
    ----------
    encoding : codec of the text behind the mark
    mark : bytes at the start that tell the encoding, often none
    separator : between cells; empty for a workbook, to which nothing is added
    ending : of a line
    names : of columns that are called otherwise here, as the file has them
    blank : places of columns without name and cells
    """

    encoding: str = "utf-8"
    mark: bytes = b""
    separator: str = "\t"
    ending: str = "\n"
    names: Mapping[str, str] = field(default_factory=dict)
    blank: tuple[int, ...] = ()

    def encode(self, lines: Iterable[Sequence[str]]) -> bytes:
        """Lines of cells as bytes, without the mark that a new file starts with.

        Raises
        ------
        FileError
            A workbook, or a letter that the file's encoding does not know.
        """
        if not self.separator:
            raise FileError("a workbook, to which no row is added", "the table saved as text (UTF-8)")
        text = "".join(self.separator.join(map(self._quoted, self._spread(cells))) + self.ending for cells in lines)
        try:
            return text.encode(self.encoding)
        except UnicodeEncodeError as error:
            letter = repr(error.object[error.start])
            raise FileError(f"{letter} for a table in {self.encoding}", "a table that is saved as UTF-8") from error

    def _spread(self, cells: Sequence[str]) -> list[str]:
        """The cells with empty ones in the blank columns."""
        spread = list(cells)
        for place in self.blank:
            spread.insert(place, "")
        return spread

    def _quoted(self, cell: str) -> str:
        """A cell with quotes where it could not be told from two, or from a quoted one."""
        return '"' + cell.replace('"', '""') + '"' if self.separator in cell or '"' in cell else cell


@dataclass(frozen=True)
class Cells:
    """The cells of a table, without the space around them.

    Parameters
    ----------
    header : names of the columns, as they are called here where they mean one that is known
    rows : cells of each row that has any, by line of the file. A row is longer than the header only by cells that hold
        something; it may be shorter, as spreadsheets leave out empty cells at the end, or as somebody lost a separator
    dialect : how the file writes them
    line : of the header; 1 where nothing stands above it
    units : that the header states, by column
    notices : what was understood otherwise than it is written, or left out
    """

    header: list[str]
    rows: Lines
    dialect: Dialect
    line: int = 1
    units: Mapping[str, str] = field(default_factory=dict)
    notices: Sequence[str] = ()

    def check_columns(self, needed: Iterable[str]) -> None:
        """Refuse a header that lacks one of the columns, or names any column twice: of two nobody knows which holds.

        Raises
        ------
        FileError
            With those that do not stand there once.
        """
        counts = Counter(self.header)
        if wrong := [name for name in dict.fromkeys([*needed, *filter(None, self.header)]) if counts[name] != 1]:
            found = f"columns {', '.join(self.header)[:80]} in row {self.line}" if self.header else "an empty file"
            raise FileError(found, f"{', '.join(wrong)[:80]} once")

    def records(self) -> dict[int, dict[str, str]]:
        """The cells of each row by column, by line of the file.

        Raises
        ------
        FileError
            The first row that is longer or shorter than the header.
        """
        for number, cells in self.rows.items():
            if len(cells) != len(self.header):
                raise FileError(f"{len(cells)} cells in row {number}", f"{len(self.header)}, as in the header")
        return {number: dict(zip(self.header, cells, strict=True)) for number, cells in self.rows.items()}


def read(path: Path, known: Collection[str] = (), key: str = "") -> Cells:
    """Read a text separated by tabs, semicolons or commas, or the first sheet of a workbook.

    A pair of quotes around a cell is the spreadsheet's and is taken off. It ends in the same line, unless the whole
    text is sound CSV: a stray quote must not swallow the lines after it. What stands above the header, blank rows and
    columns, and rows that sum up others are left out; notices name them, but for the blank ones.

    Parameters
    ----------
    known : columns that the table may have, under whatever name in English, German or Chinese
    key : column that names the rows, by which those that sum up others are told; none is where it is empty

    Raises
    ------
    FileError
        No such file, one that cannot be read, no text, or one whose encoding its bytes do not tell.
    """
    content = _content(path)
    lines, dialect, notices = _sheet(content, known) if content.startswith(ZIP) else _text(content)
    lines = {number: cells for number, cells in lines.items() if any(cells)}
    first = _header_line(lines, known)
    notices += [f"row {number} ({lines[number][0]:.40}) stands above the header" for number in lines if number < first]
    written = _without_end(lines.get(first, []), 0)
    rows = {number: _without_end(cells, len(written)) for number, cells in lines.items() if number > first}
    filled = {n for row in rows.values() for n, cell in enumerate(row) if cell}
    blank = {n for n, name in enumerate(written) if not name} - filled
    written, rows = _without(blank, written), {number: _without(blank, cells) for number, cells in rows.items()}
    header, units = vocabulary.columns(written, known)
    names = {name: old for name, old in zip(header, written, strict=True) if name != old}
    if foreign := {name: old for name, old in names.items() if vocabulary.joined(name) != vocabulary.joined(old)}:
        notices.append(f"{', '.join(foreign.values())} taken for {', '.join(foreign)}")
    place = header.index(key) if key in header else None
    summaries = {n: row[place] for n, row in rows.items() if place is not None and vocabulary.is_summary(row[place])}
    if summaries:
        notices.append(
            f"row {', '.join(map(str, summaries))} ({', '.join(summaries.values())}) sums up others: left out"
        )
    rows = {number: cells for number, cells in rows.items() if number not in summaries}
    return Cells(header, rows, replace(dialect, names=names, blank=tuple(sorted(blank))), first, units, notices)


def find(path: Path) -> Path:
    """The file that holds a table: it may be saved as ``.tsv``, ``.csv`` or ``.xlsx``.

    Raises
    ------
    FileError
        There are two of them.
    """
    there = [other for kind in KINDS if (other := path.with_suffix(kind)).exists()]
    if len(there) > 1:
        raise FileError(f"{there[1].name} beside {there[0].name}", "one of them")
    return there[0] if there else path


def append(path: Path, lines: Iterable[Sequence[str]], dialect: Dialect) -> None:
    """Add lines of cells to a table, whose bytes stay as they are.

    Raises
    ------
    FileError
        A workbook, or a letter that the table's encoding does not know.
    OSError
        The file is as it was.
    """
    added, content = dialect.encode(lines), path.read_bytes()
    if not content.decode(dialect.encoding).endswith(("\n", "\r")):
        content += dialect.ending.encode(dialect.encoding)
    write(path, content + added)


def write(path: Path, content: bytes) -> None:
    """Write a table that can be read again, whole or not at all.

    Raises
    ------
    FileError
        With what was added nobody could tell its encoding any more.
    OSError
        The file is as it was.
    """
    try:
        encodings.decoded(content)
    except FileError as error:
        raise FileError(f"{error.found} with what is added", "a table that is saved as UTF-8") from error
    with files.replacing(path) as partial:
        partial.write_bytes(content)


def _content(path: Path) -> bytes:
    try:
        if path.is_file() and path.stat().st_size > LARGEST_BYTES:
            raise FileError(f"more than {LARGEST_BYTES} bytes", "a table")
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise FileError("a pipe or a device", "a table")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise FileError("no such file", "a table") from error
    except OSError as error:
        raise FileError(f"a file that cannot be read ({error.strerror})", "a table") from error


def _text(content: bytes) -> tuple[Lines, Dialect, list[str]]:
    """Cells of each line, how they are written, and what is to be said of it."""
    if content.startswith(OLD_WORKBOOK):
        raise FileError("a workbook of old Excel, or one with a password", "one saved as .xlsx, or a text")
    text, encoding, mark = encodings.decoded(content)
    lines = {number: line for number, line in enumerate(LINE_END.split(text), 1) if line.strip()}
    counts = {mark: Counter(len(_split(line, mark)) for line in lines.values()) for mark in SEPARATORS}
    # That in which most lines have as many cells; of those that are alike, the first.
    separator = max(SEPARATORS, key=lambda mark: max((n for cells, n in counts[mark].items() if cells > 1), default=0))
    ending = match[0] if (match := LINE_END.search(text)) else "\n"
    named = encodings.NAMES.get(encoding, encoding)
    notices = [] if encoding.startswith("utf") else [f"read as {named}, since it is no UTF-8"]
    found = _as_csv(text, separator) or {number: _split(line, separator) for number, line in lines.items()}
    return found, Dialect(encoding, mark, separator, ending), notices


def _as_csv(text: str, separator: str) -> Lines | None:
    """Cells by the line on which their row begins, where cells run over lines and all rows are sound CSV."""
    if not any(line.count('"') % 2 for line in LINE_END.split(text)):
        return None
    found, start = {}, 1
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        for cells in reader:
            found[start] = [" ".join(cell.split()) for cell in cells]
            start = reader.line_num + 1
    except csv.Error:
        return None
    widths = [len(cells) for cells in found.values() if any(cells)]
    # What stands above the header has fewer cells.
    return found if len(set(widths[widths.index(max(widths)) :])) == 1 else None


def _sheet(content: bytes, known: Collection[str]) -> tuple[Lines, Dialect, list[str]]:
    """Cells, by row, of the first visible sheet that names two known columns, else of the first that has any."""
    try:
        if sum(part.file_size for part in zipfile.ZipFile(io.BytesIO(content)).infolist()) > LARGEST_UNPACKED:
            raise FileError(f"a workbook of more than {LARGEST_UNPACKED} bytes", "a table")
        sheets = _sheets(content)
    except FileError:
        raise
    except Exception as error:
        # Whatever openpyxl and its reader of XML raise of an archive that is no workbook, or damaged.
        raise FileError(f"an archive that is no sound workbook ({type(error).__name__})", "a table") from error
    filled = [title for title, rows in sheets.items() if rows] or [*sheets][:1]
    best = next((title for title in filled if _names(sheets[title], known)), filled[0] if filled else "")
    others = ", ".join(title for title in filled if title != best)
    return sheets.get(best, {}), Dialect(separator=""), [f"sheet {best} was read, {others} not"] if others else []


def _sheets(content: bytes) -> dict[str, Lines]:
    """The filled rows of every visible sheet, by its title."""
    # It takes a fifth of a second to import, which those without a workbook need not wait.
    import openpyxl

    with warnings.catch_warnings(action="ignore"):  # of styles and rules that it does not read
        # The values that were saved with formulas, and the formulas, of which some writers save no values.
        values, formulas = (
            openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=d) for d in (True, False)
        )
        found: dict[str, Lines] = {}
        for sheet in values.worksheets:
            if sheet.sheet_state != "visible":
                continue
            behind = formulas[sheet.title]
            for each in (sheet, behind):
                each.reset_dimensions()  # as the file has them they may be those of a whole page
            rows = enumerate(zip(sheet.iter_rows(), behind.iter_rows(), strict=True), 1)
            lines = {
                n: _without_end([_cell(*pair) for pair in zip(*both, strict=True)], 0) for n, both in rows if any(both)
            }
            found[sheet.title] = {n: cells for n, cells in lines.items() if cells}
    return found


def _cell(cell: Any, formula: Any) -> str:
    """A cell of a workbook as text, with at least the decimals that it shows."""
    value = cell.value
    if value is None:
        return f"#FORMULA! {formula.value}"[:60] if getattr(formula, "data_type", "") == "f" else ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.isoformat(" ").removesuffix(" 00:00:00")
    if not isinstance(value, int | float):
        return " ".join(str(value).split())
    shown = DECIMALS.search(str(cell.number_format).partition(";")[0])
    places, percent = (shown[1] or "", shown[2]) if shown else ("", "")
    # Excel keeps fifteen digits.
    text = f"{value * (100 if percent else 1):.15g}"
    missing = len(places) - len(text.partition(".")[2])
    padded = (text if "." in text else f"{text}.") + "0" * missing if missing > 0 and "e" not in text else text
    return padded + percent


def _header_line(lines: Mapping[int, Sequence[str]], known: Collection[str]) -> int:
    """The line that names most known columns, else the first with several cells, else the very first."""
    if named := _names(lines, known):
        return max(named, key=lambda number: named[number])
    return next((number for number, cells in lines.items() if sum(map(bool, cells)) > 1), next(iter(lines), 1))


def _names(lines: Mapping[int, Sequence[str]], known: Collection[str]) -> dict[int, int]:
    """How many known columns each of the first lines names, of those that name two or more."""
    counts = {n: len(set(vocabulary.columns(cells, known)[0]) & {*known}) for n, cells in [*lines.items()][:FURTHEST]}
    return {number: count for number, count in counts.items() if count > 1}


def _without(places: set[int], cells: Sequence[str]) -> list[str]:
    return [cell for place, cell in enumerate(cells) if place not in places]


def _without_end(cells: list[str], least: int) -> list[str]:
    """Without the empty cells that a spreadsheet adds behind the last column."""
    filled = max((place for place, cell in enumerate(cells, 1) if cell), default=0)
    return cells[: max(filled, least)]


def _split(line: str, separator: str) -> list[str]:
    """The cells of a line; a quote that has no partner before the next separator is a letter as any other."""
    cell = re.compile(rf' *"((?:[^"]|"")*)" *(?={separator}|$)|([^{separator}]*)')
    cells: list[str] = []
    place = 0
    while place <= len(line) and (match := cell.match(line, place)):
        written = match[2] if match[1] is None else match[1].replace('""', '"')
        cells.append(vocabulary.INVISIBLE.sub("", written).strip())
        place = match.end() + 1
    return cells
