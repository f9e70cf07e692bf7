"""The map: what people write is understood, and every fault is named with its row and column, and no name with it."""

from __future__ import annotations

import csv
import itertools
import os
from pathlib import Path, PurePosixPath

import pandas as pd
import pytest

from mflib.base import vocabulary
from mflib.base.errors import CohortError
from mflib.base.words import LEVELS
from mflib.data import intake
from mflib.data.intake import listing
from tests.data.dicoms import speckle
from tests.data.images import metaimage

HEADER = "file,participant_id,level,lat,spacing_i_mm,spacing_j_mm,spacing_k_mm,dynamic_range_db"
GOOD = "a.dcm,sub-001,L45,L,,,"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    (root / "Doe Jane").mkdir(parents=True)
    for name in ("a.dcm", "b.dcm", "Doe Jane/c.dcm", "scans.zip"):
        (root / name).write_bytes(b"x")
    (tmp_path / "outside.dcm").write_bytes(b"x")
    (root / "link.dcm").symlink_to(tmp_path / "outside.dcm")
    (root / "inner.dcm").symlink_to(root / "b.dcm")
    (root / "out").symlink_to(tmp_path)
    os.mkfifo(root / "pipe.dcm")
    return root


def written(source: Path, *rows: str, header: str = HEADER, encoding: str = "utf-8") -> Path:
    path = source.parent / "map.csv"
    path.write_bytes("\r\n".join([header, *rows, ""]).encode(encoding))
    return path


FAULTS = {
    "unknown file": ("none.dcm,sub-001,L45,L,,,", "file", "no such file"),
    "no file": (",sub-001,L45,L,,,", "file", "no such file"),
    "folder": ("Doe Jane,sub-001,L45,L,,,", "file", "no such file"),
    "absolute": ("/etc/passwd,sub-001,L45,L,,,", "file", "absolute"),
    "drive": (r"C:\scans\a.dcm,sub-001,L45,L,,,", "file", "absolute"),
    "share": (r"\\server\scans\a.dcm,sub-001,L45,L,,,", "file", "absolute"),
    "climbs": ("Doe Jane/../../outside.dcm,sub-001,L45,L,,,", "file", "path with .."),
    "climbs backwards": (r"Doe Jane\..\..\outside.dcm,sub-001,L45,L,,,", "file", "path with .."),
    "climbs and returns": ("../source/a.dcm,sub-001,L45,L,,,", "file", "path with .."),
    "link": ("link.dcm,sub-001,L45,L,,,", "file", "a link that leaves SOURCE"),
    "folder link": ("out/outside.dcm,sub-001,L45,L,,,", "file", "a link that leaves SOURCE"),
    "zip": ("scans.zip/a.dcm,sub-001,L45,L,,,", "file", "a path into a file"),
    "pipe": ("pipe.dcm,sub-001,L45,L,,,", "file", "no such file"),
    "long": ("a" * 5000 + ",sub-001,L45,L,,,", "file", "cannot be followed"),
    "formula": ("=cmd|' /C calc'!A0,sub-001,L45,L,,,", "file", "as a formula"),
    "formula elsewhere": ("a.dcm,@SUM(1),L45,L,,,", "participant_id", "as a formula"),
    "participant": ("a.dcm,Jane Doe,L45,L,,,", "participant_id", "sub- and letters or digits"),
    "participant climbs": ("a.dcm,sub-../../x,L45,L,,,", "participant_id", "sub- and letters or digits"),
    "level": ("a.dcm,sub-001,L46,L,,,", "level", "one of L23, L34, L45, L5S1"),
    "no level": ("a.dcm,sub-001,,L,,,", "level", "found nothing"),
    "side": ("a.dcm,sub-001,L45,both,,,", "lat", "L or R"),
    "half a spacing": ("a.dcm,sub-001,L45,L,0.2,0.2,", "spacing_k_mm", "found nothing"),
    "no number": ("a.dcm,sub-001,L45,L,0.2,0.2,wide", "spacing_k_mm", "another text"),
    "metres": ("a.dcm,sub-001,L45,L,0.0002,0.2,0.2", "spacing_i_mm", "found 0.0002"),
    "range": ("a.dcm,sub-001,L45,L,,,,6", "dynamic_range_db", "10 to 200 dB"),
    "range in words": ("a.dcm,sub-001,L45,L,,,,wide", "dynamic_range_db", "another text"),
    "infinite": ("a.dcm,sub-001,L45,L,0.2,0.2,inf", "spacing_k_mm", "found inf"),
    "cells": ("a.dcm,sub-001,L45,L,,,,,,Doe", None, "10 cells"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_is_named_with_row_and_column(source: Path, case: str) -> None:
    row, column, words_of = FAULTS[case]
    path = written(source, "b.dcm,sub-002,L45,L,,,", row)
    with pytest.raises(CohortError) as caught:
        intake.plan(source, path)
    faults = [fault for fault in caught.value.faults if (fault.row, fault.column) == (3, column)]
    assert any(words_of in str(fault) for fault in faults)
    assert {fault.row for fault in caught.value.faults} == {3}
    assert not any(name in str(caught.value) for name in ("Doe", "outside", "passwd", "cmd"))


def test_what_a_template_calls_importable_can_be_imported(source: Path, tmp_path: Path) -> None:
    names = ["a:b.mha", "n:a", " first.mha", "last.mha ", "tab\t.mha", "back\\slash.mha", "-", "=f.mha", "q'\";,.mha"]
    for seed, name in enumerate(names):
        metaimage(tmp_path / "one", speckle((20, 20, 8), seed)).rename(source / name)
    (source / "n").mkdir()
    metaimage(source / "n" / "a", speckle((20, 20, 8), 99))
    intake.template(source, tmp_path / "template.csv", tmp_path / "cohort")
    with (tmp_path / "template.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    fine = [row["file"] for row in rows if not row["problem"]]
    assert {"./-", "./=f.mha", "q'\";,.mha", "./n/a"} <= set(fine)
    assert not {"a:b.mha", "n:a", " first.mha", "last.mha "} & set(fine)
    cells = ['"' + name.replace('"', '""') + f'",sub-{n},L45,L,,,' for n, name in enumerate(fine)]
    assert len(intake.plan(source, written(source, *cells)).rows) == len(fine)


def test_a_map_that_is_no_map_does_not_fill_the_screen(source: Path) -> None:
    table = written(source, *(f"./{'./' * n}a.dcm,sub-{n},L99,L,,," for n in range(1, 3001)))
    with pytest.raises(CohortError, match=r"^3000 faults in the map") as caught:
        intake.plan(source, table)
    assert str(caught.value).endswith("... and 2997 more of this kind")
    with pytest.raises(CohortError, match="64 at most"):
        intake.plan(source, written(source, f"b.dcm,sub-{'1' * 300},L45,L,,,"))


def test_a_map_of_another_source_is_said_once(source: Path) -> None:
    table = written(source, *(f"f{n}.dcm,sub-{n},L45,L,,," for n in range(32)))
    with pytest.raises(
        CohortError, match=r"^map\.csv: found none of its 32 files in SOURCE, expected this source's map$"
    ):
        intake.plan(source, table)
    assert listing.beside(source) != listing.beside(source.parent / "other")
    assert source.name in listing.beside(source).name


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("L14", None),
        ("XL14-3_volume", None),
        ("L12-5 probe", None),
        ("9L", None),
        ("R2", None),
        ("RT3D", None),
        ("sub-1_L14_right", "R"),
        ("L45_left", "L"),
        ("L4-5 links", "L"),
        ("L45L", "L"),
        ("L4-5_R_L14", "R"),
        ("腰4-5左", "L"),
        ("left2", "L"),
        ("l5s1_rt", "R"),
    ],
)
def test_a_side_is_suggested_by_words_that_stand_alone(name: str, side: str | None) -> None:
    assert listing.named_in(PurePosixPath(f"{name}.dcm"))[1] == side


def test_all_faults_are_listed_at_once(source: Path) -> None:
    path = written(source, *(row for row, _, _ in FAULTS.values()))
    with pytest.raises(CohortError) as caught:
        intake.plan(source, path)
    assert {fault.row for fault in caught.value.faults} == set(range(2, len(FAULTS) + 2))


def test_nothing_is_imported_twice(source: Path) -> None:
    rows = ("b.dcm,sub-001,L45,L,,,", "inner.dcm,sub-001,L34,L,,,", "a.dcm,SUB-001,L45,L,,,", "a.dcm,sub-001,L45,L,,,")
    with pytest.raises(CohortError) as caught:
        intake.plan(source, written(source, *rows))
    found = {(fault.row, fault.column): fault.found for fault in caught.value.faults}
    assert found[3, "file"] == "the same as in row 2"
    assert found[5, "participant_id/level/lat"] == "the same as in row 2"
    assert (4, "participant_id") in found


@pytest.mark.parametrize("header", ["file;participant_id;level", "file,participant_id,level,lat,level", "", '"file'])
def test_a_table_of_other_columns_is_no_map(source: Path, header: str) -> None:
    with pytest.raises(CohortError):
        intake.plan(source, written(source, GOOD, header=header))


@pytest.mark.parametrize("content", [HEADER.encode("utf-16-le"), b"file\x81\x8d\0", b"\x89PNG\0"])
def test_bytes_that_are_no_text_are_no_map(source: Path, content: bytes) -> None:
    path = source.parent / "map.csv"
    path.write_bytes(content)
    with pytest.raises(CohortError, match="no text"):
        intake.plan(source, path)


@pytest.mark.parametrize(
    ("separator", "encoding", "decimal"),
    [(",", "utf-8-sig", "."), (";", "cp1252", ","), ("\t", "utf-8", "."), ("\t", "utf-16", ",")],
)
def test_spreadsheets_of_all_countries_are_read(source: Path, separator: str, encoding: str, decimal: str) -> None:
    (source / "Müller.dcm").write_bytes(b"x")
    numbers = [f"0{decimal}2", f"0{decimal}25", f"0{decimal}4"]
    lines = [["Müller.dcm", "sub-001", "L4-L5", "links", *numbers], ["a.dcm", "", "", "", "", "", ""], [""] * 7]
    lines += [[r".\Doe Jane\c.dcm", "sub-002", " l5/s1 ", "Right", "-", "", ""]]
    path = written(source, *map(separator.join, lines), header=HEADER.replace(",", separator), encoding=encoding)
    plan = intake.plan(source, path)
    assert [(row.number, row.key, row.spacing_mm) for row in plan.rows] == [
        (2, ("sub-001", "L45", "L"), (0.2, 0.25, 0.4)),
        (5, ("sub-002", "L5S1", "R"), None),
    ]
    assert plan.rows[1].path.samefile(source / "Doe Jane" / "c.dcm")
    assert plan.skipped == 1


@pytest.mark.parametrize(
    "cell", ["04. Mai", "4. Mai", "05. Apr", "5-Apr", "May-4", "04.05.2026", "2026-05-04", "1. Mrz."]
)
def test_a_level_that_a_spreadsheet_made_a_date_is_said_to_be_one(source: Path, cell: str) -> None:
    with pytest.raises(CohortError) as caught:
        intake.plan(source, written(source, f"a.dcm,sub-001,{cell},L,,,"))
    assert "found a date, as a spreadsheet makes of 4-5" in str(caught.value)
    assert "write L45" in str(caught.value)
    assert not vocabulary.is_date("Doe") and not vocabulary.is_date("L4-5") and not vocabulary.is_date("4-5")


@pytest.mark.parametrize("form", ["gb18030", "utf-8", "xlsx"])
def test_a_map_that_a_chinese_excel_has_saved_finds_its_files(source: Path, form: str) -> None:
    names = ["张三/腰4-5左侧.dcm", "李四/横断面 2.dcm"]
    for name in names:
        (source / name).parent.mkdir()
        (source / name).write_bytes(b"x")
    header = "文件,编号,节段,侧别,spacing_i_mm,spacing_j_mm,spacing_k_mm,动态范围"
    path = written(source, f"{names[0]},sub-001,腰4-5,左,,,,55dB", f"{names[1]},sub-002,L5/S1,右侧,0.2,0.2毫米,0.3,",
                   header=header, encoding="utf-8" if form == "xlsx" else form)  # fmt: skip
    if form == "xlsx":
        pd.read_csv(path, dtype=str).to_excel(path.with_suffix(".xlsx"), index=False)
        path = path.with_suffix(".xlsx")
    plan = intake.plan(source, path)
    assert [row.path for row in plan.rows] == [source / name for name in names]
    assert [row.key for row in plan.rows] == [("sub-001", "L45", "L"), ("sub-002", "L5S1", "R")]
    assert [(row.spacing_mm, row.dynamic_range_db) for row in plan.rows] == [(None, 55), ((0.2, 0.2, 0.3), None)]
    assert any("read as GB18030" in notice for notice in plan.notices) == (form == "gb18030")


def test_one_file_may_be_the_source(source: Path) -> None:
    path = written(source, GOOD)
    assert len(intake.plan(source / "a.dcm", path).rows) == 1
    with pytest.raises(CohortError, match="another file than SOURCE"):
        intake.plan(source / "b.dcm", path)


def test_levels_and_sides_are_understood_as_people_write_them() -> None:
    for upper, separator, letter in itertools.product("2345", ["", "-", "/", " - ", "–"], ["l", "L", ""]):
        lower, name = ("1", "L5S1") if upper == "5" else (str(int(upper) + 1), f"L{upper}{int(upper) + 1}")
        second = {"": "", "l": "s" if upper == "5" else "l", "L": "S" if upper == "5" else "L"}[letter]
        assert vocabulary.to_level(f"{letter}{upper}{separator}{second}{lower}") == name
    assert {vocabulary.to_level(word) for word in ("L12", "L46", "S1", "L4", "L4-S1", "L5-L1", "45.", "Doe")} == {None}
    assert [vocabulary.meaning("side", word) for word in ("Left", "li.", "右", "both", "")] == [
        "L",
        "L",
        "R",
        None,
        None,
    ]
    assert {vocabulary.to_level(level) for level in LEVELS} == set(LEVELS)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("a/scan L4-5 left.dcm", ("L45", "L")),
        ("a/20240405_L45R.dcm", ("L45", "R")),
        ("L3_L4/re/IM0001", ("L34", "R")),
        ("L5S1_L/IM4", ("L5S1", "L")),
        ("L5-S1 rechts.mha", ("L5S1", "R")),
        ("L2-3 and L3-4 left.dcm", (None, "L")),
        ("left_right_L45.dcm", ("L45", None)),
        ("2024-4-5/IM_0045.dcm", (None, None)),
        ("Lee/XL45.dcm", (None, None)),
        ("HELLO L.dcm", (None, "L")),
        ("Li/Li Wei L45.dcm", ("L45", None)),
        ("Li Wei/LWK4-5_re_2.dcm", ("L45", "R")),
    ],
)
def test_names_suggest_only_what_they_say_once(path: str, found: tuple[str | None, str | None]) -> None:
    assert listing.named_in(PurePosixPath(path)) == found
