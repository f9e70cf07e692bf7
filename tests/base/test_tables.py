"""One reader of tables: what Python's own writer of CSV quotes comes back, and what is no table is said to be none."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from mflib.base import tables
from mflib.base.errors import FileError

HEADER = ["one", "two", "three"]


@pytest.mark.parametrize("separator", "\t;,")
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_what_the_csv_module_writes_is_read_and_added_to(tmp_path: Path, separator: str, encoding: str) -> None:
    rng, path = np.random.default_rng(0), tmp_path / "table.tsv"
    drawn = [["".join(rng.choice(list('abcdefgh",;\t ü'), 6)).strip() for _ in HEADER] for _ in range(300)]
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=separator).writerows([HEADER, *drawn[:200]])
    path.write_bytes(text.getvalue().encode(encoding))
    tables.append(path, drawn[200:], tables.read(path).dialect)
    found = tables.read(path)
    assert found.header == HEADER
    assert list(found.rows.values()) == drawn
    assert list(found.rows) == list(range(2, 302))
    assert list(csv.reader(io.StringIO(path.read_bytes().decode(encoding)), delimiter=separator)) == [HEADER, *drawn]


def test_a_stray_quote_is_a_letter_and_keeps_to_its_line(tmp_path: Path) -> None:
    path = tmp_path / "table.tsv"
    path.write_bytes(b'one\ttwo\tthree\r\n"a\tb"c\t"d\r\n\t\t\r\n\r\n"e"\t6"\tf\t\t\r\nlast')
    assert tables.read(path).rows == {2: ['"a', 'b"c', '"d'], 5: ["e", '6"', "f"], 6: ["last"]}


@pytest.mark.parametrize("content", [b"one\0two", "one\ttwo".encode("utf-16-le"), b"\xff\xfeo", b"\x89PNG\0"])
def test_bytes_that_are_no_text_are_no_table(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "table.tsv"
    path.write_bytes(content)
    with pytest.raises(FileError, match="no text"):
        tables.read(path)


def test_a_table_that_is_not_there_or_too_large_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no such file"):
        tables.read(tmp_path / "none.tsv")
    with (tmp_path / "large.tsv").open("wb") as file:
        file.truncate(tables.LARGEST_BYTES + 1)
    with pytest.raises(FileError, match="more than"):
        tables.read(tmp_path / "large.tsv")


def test_a_letter_that_the_file_cannot_hold_leaves_it_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "table.tsv"
    path.write_bytes(before := "one\ttwo\tthree\nü\t\t\n".encode("cp1252"))
    with pytest.raises(FileError, match="UTF-8"):
        tables.append(path, [["左", "", ""]], tables.read(path).dialect)
    assert path.read_bytes() == before


@pytest.mark.parametrize(("header", "wrong"), [("a\tb", "c"), ("a\tc\tb\ta", "a"), ("", "a, b, c")])
def test_each_needed_column_stands_there_once(tmp_path: Path, header: str, wrong: str) -> None:
    (tmp_path / "t.tsv").write_text(f"{header}\n1\t2\n")
    with pytest.raises(FileError, match=f"expected {wrong} once"):
        tables.read(tmp_path / "t.tsv").check_columns("abc")
