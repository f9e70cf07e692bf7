"""One reader of tables: what Python's own writer of CSV quotes comes back, and what is no table is said to be none."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import numpy as np
import openpyxl
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mflib.base import encodings, tables, vocabulary
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


WRITTEN = {
    "gb18030": "编号\t性别\t备注\nsub-001\t男\t腰椎手术史，图像不清\n",
    "cp950": "編號\t性別\t備註\nsub-001\t男\t腰椎手術史，影像不清\n",
    "cp932": "participant_id\tsex\tnote\nsub-001\tM\t腰椎の手術の既往があります\n",
    "cp949": "participant_id\tsex\tnote\nsub-001\tM\t요추 수술 과거력이 있습니다\n",
    "cp1252": "participant_id;sex;note\nsub-001;männlich;Größe fehlt – Krämpfe\n",
    "cp1250": "participant_id;sex;note\nsub-001;M;operacja kręgosłupa, ból ostry\n",
    "cp1251": "participant_id;sex;note\nsub-001;M;операция на поясничном отделе позвоночника\n",
    "mac_roman": "participant_id;sex;note\nsub-001;männlich;Größe fehlt\n",
    "cp850": "participant_id;sex;note\nsub-001;männlich;Größe fehlt\n",
    "utf-16": "编号\t性别\t备注\nsub-001\t男\t腰椎手术史\n",
    "utf-8-sig": "编号\t性别\t备注\nsub-001\t男\t\ufeff腰椎手术史\n",
}


@pytest.mark.parametrize("encoding", WRITTEN)
def test_a_code_page_is_told_by_its_text_and_said(tmp_path: Path, encoding: str) -> None:
    path, text = tmp_path / "t.tsv", WRITTEN[encoding]
    path.write_bytes(text.encode(encoding))
    found = tables.read(path)
    assert [found.header, *found.rows.values()] == [
        re.split("[\t;]", line) for line in text.replace("\ufeff", "").splitlines()
    ]
    assert any("since it is no UTF-8" in notice for notice in found.notices) != encoding.startswith("utf")


@pytest.mark.parametrize("stated", ["", "cp949", "gb18030", "ascii"])
def test_what_its_bytes_do_not_tell_is_asked_for(tmp_path: Path, stated: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.tsv"
    path.write_bytes("participant_id\tsite\nsub-001\t남\n".encode("cp949"))
    monkeypatch.setenv(encodings.STATED, stated)
    if stated in ("", "ascii"):
        with pytest.raises(FileError, match="'남' in EUC-KR.*--encoding" if not stated else "in ascii, as stated"):
            tables.read(path)
    else:
        assert tables.read(path).rows[2][1] == "남".encode("cp949").decode(stated)


ALPHABET = st.text(st.sampled_from("abÄß男左L45,;\t\"'\n\r 1.0\0\ufeff\u3000"), max_size=60)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=200), ALPHABET.map(lambda t: t.encode("gb18030")), ALPHABET.map(str.encode)))
def test_any_bytes_are_a_table_or_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "t.tsv"
    path.write_bytes(content)
    try:
        found = tables.read(path, ["participant_id", "sex"], "participant_id")
    except FileError as error:
        assert "\n" not in str(error)
    else:
        assert all(any(cells) and len(cells) >= 1 for cells in found.rows.values())
    assert path.read_bytes() == content and list(tmp_path.iterdir()) == [path]


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 6000), st.integers(0, 255)), min_size=1, max_size=8), st.integers(100, 6000))
def test_a_damaged_workbook_is_a_table_or_one_line(tmp_path: Path, changes: list[tuple[int, int]], length: int) -> None:
    path = tmp_path / "t.xlsx"
    pd.DataFrame({"participant_id": ["sub-001"], "sex": ["男"]}).to_excel(path, index=False)
    content = bytearray(path.read_bytes())
    for place, value in changes:
        content[place % len(content)] = value
    path.write_bytes(content[:length] if length % 2 else content)
    try:
        tables.read(path, ["participant_id", "sex"])
    except FileError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("cells", "unit", "expected"),
    [
        (["33岁", "３３", "33 Jahre", "33 yrs."], "years", [33, 33, 33, 33]),
        (["1.70 m", "170,5 cm", "1,7m", "172"], "cm", [170, 170.5, 170, 172]),
        (["1,200", "3,5"], "months", [1.2, 3.5]),
        (["1,200", "3.5"], "months", [1200, 3.5]),
        (["1,200", "3"], "months", [None, 3]),
        (["1.200", "3,5"], "months", [None, 3.5]),
        ([".5", ",5", "2"], "months", [0.5, 0.5, 2]),
        (["1.200", "3"], "months", [1.2, 3]),
        (["2年", "1 Jahr", "18个月"], "months", [24, 12, 18]),
        (["62,500", "70"], "kg", [62.5, 70]),
        (["150 lb", "70斤", "seventy", "4-5", "1.2.3", "1 200"], "kg", [None, 35, None, None, None, 1200]),
        (["1'234.5", "1.234,5", "12,34,5", "1e3", "-0,5"], "", [1234.5, 1234.5, None, 1000, -0.5]),
    ],
)
def test_numbers_are_read_as_people_write_them_where_it_is_certain(
    cells: list[str], unit: str, expected: list[float | None]
) -> None:
    text = pd.Series(cells, dtype="str")
    found, why = vocabulary.numbers(text, lambda values: values.between(-1, 1300 if unit != "kg" else 1250), unit)
    assert [None if np.isnan(value) else value for value in found] == expected
    assert all(why[row] for row in found.index[found.isna()])


@pytest.mark.parametrize(
    "said", ["2026-03-01T09:30:00", "2026/3/1 9:30", "2026年3月1日 09:30", "01.03.2026 9:30", "46082.3958333333333"]
)
def test_a_moment_is_read_as_spreadsheets_and_people_write_it(said: str) -> None:
    assert abs(vocabulary.moment(said) - pd.Timestamp("2026-03-01T09:30Z")) < pd.Timedelta(seconds=1)


@pytest.mark.parametrize("said", ["3/1/2026", "46", "n/a", "", "2026-13-01", "morgen"])
def test_what_is_no_certain_moment_is_none(said: str) -> None:
    assert pd.isna(vocabulary.moment(said))


def test_a_cell_over_several_lines_and_blank_rows_and_columns(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('sep=;\n"height\n(cm)";;note\n170;;"one\nline"\n;;\n171;;"two ""words"""\n')
    found = tables.read(path, ["height_cm"])
    assert (found.header, list(found.rows.values())) == (
        ["height_cm", "note"],
        [["170", "one line"], ["171", 'two "words"']],
    )
    tables.append(path, [["172", "x"]], found.dialect)
    assert path.read_text().endswith("172;;x\n")


def test_what_is_utf_8_but_for_a_byte_is_said_with_its_row(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_bytes("编号\t备注\nsub-001\t腰椎手术史\nsub-002\t图像不清楚".encode() + b"\xc3\n")
    with pytest.raises(FileError, match="UTF-8 but for a byte in row 3"):
        tables.read(path)


@pytest.mark.parametrize(
    ("header", "names", "units"),
    [
        ("体重kg|Alter in Jahren|height_m|VAS (0–100)", "weight_kg|age|height_cm|vas", ["kg", "jahren", "m", "0-100"]),
        ("Gewicht|weight (lb)|Age_years|BMI (kg/m²)", "weight_kg|weight (lb)|age|bmi", ["years", "kg/m2"]),
        ("Reason for exclusion|Pain|Sport", "exclusion|Pain|Sport", []),
    ],
)
def test_names_of_columns_with_their_units(header: str, names: str, units: list[str]) -> None:
    known = ["age", "height_cm", "weight_kg", "bmi", "vas", "exercise_hours", "exclusion"]
    assert vocabulary.columns(header.split("|"), known) == (
        names.split("|"),
        dict(zip((name for name in names.split("|") if name in known and name != "exclusion"), units, strict=False))
        if "lb" not in header
        else {"age": "years", "bmi": "kg/m2"},
    )


@pytest.mark.parametrize(
    ("cell", "summary"),
    [
        *(
            (word, True)
            for word in (
                "Mean (SD)",
                "M±SD",
                "Std. Dev.",
                "CV mean",
                "5-fold mean",
                "95% CI",
                "标准差",
                "平均值±标准差",
            )
        ),
        *((word, False) for word in ("1", "fold 1", "第1折", "sub-001", "SD-01", "A", "Maxim", "")),
    ],
)
def test_a_row_that_sums_up_is_told_by_its_name(cell: str, summary: bool) -> None:
    assert vocabulary.is_summary(cell) == summary


def test_a_workbook_is_its_visible_sheet_of_data(tmp_path: Path) -> None:
    path, book = tmp_path / "t.xlsx", openpyxl.Workbook()
    hidden = book.active
    hidden.append(["participant_id", "sex"])
    hidden.append(["sub-001", "old"])
    hidden.sheet_state = "hidden"
    book.create_sheet("legend").append(["VAS", "疼痛评分 0-10"])
    data = book.create_sheet("data")
    for row in (["participant_id", "sex", "screening", "auc"], ["sub-001", "男", '=IF(1>0,"BMI","")', 0.8]):
        data.append(row)
    data["D2"].number_format, data["C3"] = "0.00%_ ", " "
    data.cell(row=90_000, column=40).fill = openpyxl.styles.PatternFill("solid", fgColor="FFFF00")
    book.save(path)
    found = tables.read(path, ["participant_id", "sex", "screening"])
    assert found.rows == {2: ["sub-001", "男", '#FORMULA! =IF(1>0,"BMI","")', "80.00%"]}
    assert found.notices == ["sheet data was read, legend not"]


def test_nothing_is_added_that_makes_a_table_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_bytes(before := "one\ttwo\nGröße\tRücken\n".encode("cp1252"))
    with pytest.raises(FileError, match="with what is added"):
        tables.append(path, [["š", "ž"], ["ÿ", "¿"]], tables.read(path).dialect)
    assert path.read_bytes() == before
