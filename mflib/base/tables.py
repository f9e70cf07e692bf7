"""Tables of separated cells, as an editor, a spreadsheet or this package writes them."""

from __future__ import annotations

import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mflib.base import files
from mflib.base.errors import FileError

LARGEST_BYTES = 2**24
SEPARATORS = ("\t", ";", ",")
MARKS = {BOM_UTF8: "utf-8", BOM_UTF16_LE: "utf-16-le", BOM_UTF16_BE: "utf-16-be"}
LINE_END = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True)
class Dialect:
    """How a file holds its cells: what is added to it must be written the same way.

    Parameters
    ----------
    encoding : codec of the text behind the mark
    mark : bytes at the start that tell the encoding, often none
    separator : between cells
    ending : of a line
    """

    encoding: str = "utf-8"
    mark: bytes = b""
    separator: str = "\t"
    ending: str = "\n"

    def encode(self, lines: Iterable[Sequence[str]]) -> bytes:
        """Lines of cells as bytes, without the mark that a new file starts with.

        Raises
        ------
        FileError
            A letter that the file's encoding does not know.
        """
        text = "".join(self.separator.join(map(self._quoted, cells)) + self.ending for cells in lines)
        try:
            return text.encode(self.encoding)
        except UnicodeEncodeError as error:
            letter = repr(error.object[error.start])
            raise FileError(f"{letter} for a table in {self.encoding}", "a table that is saved as UTF-8") from error

    def _quoted(self, cell: str) -> str:
        """A cell with quotes where it could not be told from two, or from a quoted one."""
        return '"' + cell.replace('"', '""') + '"' if self.separator in cell or '"' in cell else cell


@dataclass(frozen=True)
class Cells:
    """The cells of a table, without the space around them.

    Parameters
    ----------
    header : names of the columns
    rows : cells of each row that has any, by line of the file (the header is line 1). A row is longer than the header
        only by cells that hold something; it may be shorter, as spreadsheets leave out empty cells at the end, or as
        somebody lost a separator
    dialect : how the file writes them
    """

    header: list[str]
    rows: dict[int, list[str]]
    dialect: Dialect

    def check_columns(self, needed: Iterable[str]) -> None:
        """Refuse a header that lacks one of the columns, or has any column twice.

        Raises
        ------
        FileError
            With those that do not stand there once.
        """
        if wrong := [name for name in dict.fromkeys([*needed, *self.header]) if self.header.count(name) != 1]:
            raise FileError(f"columns {', '.join(self.header)[:80]} in row 1", f"{', '.join(wrong)[:80]} once")


def read(path: Path) -> Cells:
    """Read a table in UTF-8, UTF-16 with its mark or Windows-1252, separated by tabs, semicolons or commas.

    A pair of quotes around a cell is the spreadsheet's and is taken off. It ends in the same line: a stray quote must
    not swallow the lines after it.

    Raises
    ------
    FileError
        No such file, one that cannot be read, or no text.
    """
    text, encoding, mark = _text(path)
    numbered = [(number, line) for number, line in enumerate(LINE_END.split(text), 1) if line.strip()]
    first = numbered[0][1] if numbered else ""
    separator = next((mark for mark in SEPARATORS if mark in first), SEPARATORS[0])
    ending = match[0] if (match := LINE_END.search(text)) else "\n"
    header = _without_end(_split(first, separator), 0)
    rows = {number: _without_end(_split(line, separator), len(header)) for number, line in numbered[1:]}
    filled = {number: cells for number, cells in rows.items() if any(cells)}
    return Cells(header, filled, Dialect(encoding, mark, separator, ending))


def append(path: Path, lines: Iterable[Sequence[str]], dialect: Dialect) -> None:
    """Add lines of cells to a table, whose bytes stay as they are.

    Raises
    ------
    FileError
        A letter that the table's encoding does not know.
    OSError
        The file is as it was.
    """
    content = path.read_bytes()
    if not content.decode(dialect.encoding).endswith(("\n", "\r")):
        content += dialect.ending.encode(dialect.encoding)
    with files.replacing(path) as partial:
        partial.write_bytes(content + dialect.encode(lines))


def _without_end(cells: list[str], least: int) -> list[str]:
    """Without the empty cells that a spreadsheet adds behind the last column."""
    while len(cells) > least and not cells[-1]:
        cells = cells[:-1]
    return cells


def _split(line: str, separator: str) -> list[str]:
    """The cells of a line; a quote that has no partner before the next separator is a letter as any other."""
    cell = re.compile(rf' *"((?:[^"]|"")*)" *(?={separator}|$)|([^{separator}]*)')
    cells: list[str] = []
    place = 0
    while place <= len(line) and (match := cell.match(line, place)):
        cells.append((match[2] if match[1] is None else match[1].replace('""', '"')).strip())
        place = match.end() + 1
    return cells


def _text(path: Path) -> tuple[str, str, bytes]:
    """A file's text, its encoding and its mark."""
    try:
        if path.is_file() and path.stat().st_size > LARGEST_BYTES:
            raise FileError(f"more than {LARGEST_BYTES} bytes", "a table")
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise FileError("no such file", "a table") from error
    except OSError as error:
        raise FileError(f"a file that cannot be read ({error.strerror})", "a table") from error
    mark = next((mark for mark in MARKS if content.startswith(mark)), b"")
    for encoding in [MARKS[mark]] if mark else ["utf-8", "cp1252"]:
        try:
            text = content.removeprefix(mark).decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text, encoding, mark
    raise FileError("bytes that are no text", "a table in UTF-8, or as a spreadsheet saves it")
