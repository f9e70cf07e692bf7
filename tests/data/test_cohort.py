"""Sound cohort folders load; broken ones are caught with the place of each fault."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from typer.testing import CliRunner

from mflib.base.errors import CohortError
from mflib.base.words import KEY
from mflib.cli import app
from mflib.data import check, cohort
from mflib.data import volume as volumes
from mflib.data.volume import FORMATS
from mflib.study import report
from mflib.study.report import Checked
from mflib.study.run import Study

PEOPLE, CLINICAL, GRADES = "participants.tsv", "phenotype/clinical.tsv", "phenotype/mri_grades.tsv"
POINTS = "derivatives/annotations/refpoints_roi.tsv"
QUALITY = ("quality", "quality_reason")
FIRST = "sub-001/us/sub-001_level-L23_lat-L_bmode"
MakeCohort = Callable[..., Path]


def cell(table: str, row: int, column: str, value: object) -> Callable[[Path], None]:
    """Overwrite one cell; ``row`` is the line of the file."""

    def change(root: Path) -> None:
        frame = pd.read_csv(root / table, sep="\t", dtype=str, keep_default_na=False)
        frame.loc[row - 2, column] = str(value)
        frame.to_csv(root / table, sep="\t", index=False)

    return change


def drop(table: str, row: int) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        lines = (root / table).read_text().splitlines(keepends=True)
        (root / table).write_text("".join(lines[: row - 1] + lines[row:]))

    return change


def double(table: str, row: int) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        lines = (root / table).read_text().splitlines(keepends=True)
        (root / table).write_text("".join([*lines, lines[row - 1]]))

    return change


def voxels(name: str, edit: Callable[[np.ndarray], np.ndarray], spacing: tuple[float, ...] = (0.4, 0.4, 0.5)):
    def change(root: Path) -> None:
        path = root / (name + ".nii.gz")
        image = sitk.GetImageFromArray(edit(sitk.GetArrayFromImage(sitk.ReadImage(str(path)))))
        image.SetSpacing(spacing)
        sitk.WriteImage(image, str(path))

    return change


def swap_points(root: Path) -> None:
    """The points of line 3 under each other's name."""
    for axis, bone, shadow in (("i", 4, 4), ("j", 20, 6), ("k", 9, 9)):
        cell(POINTS, 3, f"bone_{axis}", bone)(root)
        cell(POINTS, 3, f"shadow_{axis}", shadow)(root)


def flat(array: np.ndarray) -> np.ndarray:
    array[:, :, 8:] = 90
    return array


def copy_volume(root: Path) -> None:
    shutil.copy(root / (FIRST + ".nii.gz"), root / (FIRST.replace("L23", "L34") + ".nii.gz"))


def truncate(root: Path) -> None:
    path = root / (FIRST + ".nii.gz")
    path.write_bytes(path.read_bytes()[:2000])


def remove(name: str) -> Callable[[Path], None]:
    return lambda root: (root / name).unlink()


def write_text(name: str, content: str) -> Callable[[Path], None]:
    return lambda root: (root / name).write_text(content)


def table_as_folder(root: Path) -> None:
    (root / CLINICAL).unlink()
    (root / CLINICAL).mkdir()


def exclude(row: int, reason: str, *, points: bool = True) -> Callable[[Path], None]:
    """Exclude the segment in a line of the annotations, before or after its points were set."""

    def change(root: Path) -> None:
        frame = pd.read_csv(root / POINTS, sep="\t", dtype=str, keep_default_na=False)
        frame = frame.assign(**{name: frame.get(name, "ok" if name == "quality" else "n/a") for name in QUALITY})
        frame.loc[row - 2, list(QUALITY)] = ["exclude", reason]
        if not points:
            frame.loc[row - 2, [column for column in frame if column[-2:] in ("_i", "_j", "_k") or "roi" in column]] = (
                "n/a"
            )
        frame.to_csv(root / POINTS, sep="\t", index=False)

    return change


def undecided(root: Path) -> None:
    exclude(3, "bone not visible", points=False)(root)
    cell(POINTS, 3, "quality", "n/a")(root)


def exclude_all(root: Path) -> None:
    for row in range(2, 26):
        exclude(row, "wrong probe", points=False)(root)


def ungraded(root: Path) -> None:
    """Line 4 without a final grade, and readers that differ."""
    reader = pd.read_csv(root / GRADES, sep="\t").loc[2, "grade_reader1"]
    cell(GRADES, 4, "grade_reader2", (reader + 1) % 4)(root)
    cell(GRADES, 4, "grade_final", "n/a")(root)


BROKEN = {
    "grade out of range": (cell(GRADES, 3, "grade_reader1", 4), GRADES, 3, "grade_reader1"),
    "grade not whole": (cell(GRADES, 4, "grade_final", 1.5), GRADES, 4, "grade_final"),
    "grade missing": (ungraded, GRADES, 4, "grade_final"),
    "final against readers": (cell(GRADES, 2, "grade_final", 1), GRADES, 2, "grade_final"),
    "adjudicator missing": (cell(GRADES, 2, "grade_reader2", 1), GRADES, 2, "grade_adjudicator"),
    "doubled participant": (double(PEOPLE, 3), PEOPLE, 5, "participant_id"),
    "doubled segment": (double(GRADES, 3), GRADES, 26, "participant_id/level/lat"),
    "missing key": (cell(GRADES, 5, "lat", ""), GRADES, 5, "lat"),
    "unknown participant": (cell(CLINICAL, 2, "participant_id", "sub-x9"), CLINICAL, 2, "participant_id"),
    "no clinical row": (drop(CLINICAL, 3), CLINICAL, None, "participant_id"),
    "level unknown": (cell(POINTS, 6, "level", "L12"), POINTS, 6, "level"),
    "age is no number": (cell(PEOPLE, 2, "age", "forty"), PEOPLE, 2, "age"),
    "height in metres": (cell(PEOPLE, 2, "height_cm", 1.7), PEOPLE, 2, "height_cm"),
    "VAS out of range": (cell(CLINICAL, 4, "vas", 45), CLINICAL, 4, "vas"),
    "volume without grade": (drop(GRADES, 2), GRADES, None, None),
    "row without volume": (remove(FIRST + ".nii.gz"), FIRST, None, None),
    "annotation missing": (drop(POINTS, 2), POINTS, None, None),
    "wrong dtype": (voxels(FIRST, lambda a: a.astype(np.int16)), FIRST + ".nii.gz", None, None),
    "spacing 1,1,1": (voxels(FIRST, lambda a: a, (1.0, 1.0, 1.0)), FIRST + ".nii.gz", None, None),
    "ROI outside": (cell(POINTS, 2, "roi_ni", 25), POINTS, 2, "roi_ni"),
    "ROI negative": (cell(POINTS, 2, "roi_i", -1), POINTS, 2, "roi_i"),
    "bone outside": (cell(POINTS, 7, "bone_k", 18), POINTS, 7, "bone_k"),
    "bone darker": (swap_points, POINTS, 3, "bone_i/j/k"),
    "flat ROI": (voxels(FIRST, flat), POINTS, 2, "roi_i/j/k"),
    "same voxels": (copy_volume, FIRST.replace("L23", "L34") + ".nii.gz", None, None),
    "truncated volume": (truncate, FIRST + ".nii.gz", None, None),
    "sidecar broken": (write_text(FIRST + ".json", "{"), FIRST + ".nii.gz", None, None),
    "misnamed volume": (
        write_text("sub-001/us/sub-001_L23_L.nii.gz", ""),
        "sub-001/us/sub-001_L23_L.nii.gz",
        None,
        None,
    ),
    "spaces": (write_text(PEOPLE, "participant_id age\nsub-001 4\n"), PEOPLE, 1, None),
    "lost separator": (write_text(PEOPLE, "participant_id\tage\nsub-001 4\n"), PEOPLE, 2, None),
    "thousands or decimals": (cell(CLINICAL, 2, "pain_months", "1,200"), CLINICAL, 2, "pain_months"),
    "huge number": (cell(POINTS, 2, "roi_ni", "1e20"), POINTS, 2, "roi_ni"),
    "table is a folder": (table_as_folder, CLINICAL, None, None),
    "dynamic range": (write_text(FIRST + ".json", '{"DynamicRangeDB": 0}'), FIRST + ".nii.gz", None, None),
    "synthetic in quotes": (
        write_text("dataset_description.json", '{"Synthetic": "true"}'),
        "dataset_description.json",
        None,
        "Synthetic",
    ),
    "excluded without a reason": (exclude(4, "n/a"), POINTS, 4, "quality_reason"),
    "quality unknown": (cell(POINTS, 4, "quality", "bad"), POINTS, 4, "quality"),
    "points missing, not excluded": (undecided, POINTS, 3, "shadow_k"),
    "every segment excluded": (exclude_all, POINTS, None, "quality"),
    "no table": (remove(GRADES), GRADES, None, None),
    "no description": (remove("dataset_description.json"), "dataset_description.json", None, None),
}


@pytest.mark.parametrize("name", BROKEN)
def test_every_broken_folder_is_caught_with_its_place(make_cohort: MakeCohort, name: str) -> None:
    change, *place = BROKEN[name]
    root = make_cohort()
    change(root)
    faults = check.inspect(root).faults
    assert tuple(place) in {(fault.file, fault.row, fault.column) for fault in faults}, faults
    assert all(fault.found and fault.expected for fault in faults)


def test_a_sound_folder_has_no_fault(make_cohort: MakeCohort) -> None:
    inspection = check.inspect(make_cohort())
    assert inspection.faults == []
    assert inspection.summary()["segments"] == 24


def test_a_faulty_cell_is_one_fault(make_cohort: MakeCohort) -> None:
    root = make_cohort()
    cell(GRADES, 3, "grade_reader1", 7)(root)
    cell(PEOPLE, 2, "age", 400)(root)
    assert [(f.file, f.row, f.column) for f in check.inspect(root).faults] == [
        (PEOPLE, 2, "age"),
        (GRADES, 3, "grade_reader1"),
    ]


def test_faults_of_every_kind_are_listed_together(make_cohort: MakeCohort) -> None:
    root = make_cohort()
    for name in ("grade out of range", "age is no number", "bone darker", "ROI outside", "same voxels"):
        BROKEN[name][0](root)
    places = {(fault.file, fault.row, fault.column) for fault in check.inspect(root).faults}
    for name in ("grade out of range", "age is no number", "bone darker", "ROI outside", "same voxels"):
        assert tuple(BROKEN[name][1:]) in places
    with pytest.raises(CohortError, match=r"mri_grades.tsv, row 3, column grade_reader1: found 4; expected 0, 1, 2"):
        cohort.load(root)


@pytest.mark.parametrize("suffix", FORMATS)
def test_formats_give_the_same_cohort(make_cohort: MakeCohort, suffix: str) -> None:
    loaded = cohort.load(make_cohort(patients=1, suffix=suffix))
    segment = loaded.segments.iloc[3]
    volume = loaded.volume(segment)
    assert volume.voxels.shape == (30, 28, 18)
    assert volume.spacing_mm == (0.4, 0.4, 0.5)
    assert volume.voxels[4, 6, 9] == 215
    assert loaded.annotation(segment).bone == (4, 6, 9)
    assert list(loaded.segments["level"]) == ["L23", "L23", "L34", "L34", "L45", "L45", "L5S1", "L5S1"]
    assert not loaded.synthetic


def test_exclusions_go_to_the_flow_with_their_reason(make_cohort: MakeCohort) -> None:
    root = make_cohort(patients=6)
    for row, column, value in (
        (2, "age", 17),
        (3, "age", 81),
        (4, "bmi", 28),
        (5, "bmi", "n/a"),
        (5, "weight_kg", "n/a"),
    ):
        cell(PEOPLE, row, column, value)(root)
    cell(CLINICAL, 6, "screening", "unclear ultrasound")(root)
    shutil.rmtree(root / "sub-005")
    inspection = check.inspect(root)
    assert inspection.faults == []
    flow = inspection.cohort.flow
    reasons = dict(zip(flow["reason"], flow["participants"], strict=True))
    assert [reasons[r] for r in ("BMI >= 28 kg/m2", "older than 80 years", "younger than 18 years")] == [1, 1, 1]
    assert reasons["unclear ultrasound"] == 1
    assert list(inspection.cohort.patients["participant_id"]) == ["sub-004", "sub-006"]
    assert "sub-004: no bmi, so below 28 kg/m2 cannot be judged; kept" in inspection.notices
    assert inspection.summary()["segments"] == 16


def test_a_missing_bmi_is_computed_and_excludes(make_cohort: MakeCohort) -> None:
    root = make_cohort()
    for column, value in (("height_cm", 165), ("weight_kg", 95), ("bmi", "n/a")):
        cell(PEOPLE, 3, column, value)(root)
    inspection = check.inspect(root)
    assert inspection.faults == []
    assert inspection.notices[:2] == [
        "bmi computed from height and weight (1 patient)",
        "sub-002: excluded, BMI >= 28 kg/m2",
    ]
    assert inspection.cohort.participants["bmi"][1] == pytest.approx(34.894, abs=1e-3)


def test_a_missing_final_grade_follows_from_the_readers(make_cohort: MakeCohort) -> None:
    root = make_cohort()
    rows = {3: (2, 2, "n/a"), 4: (1, 3, 3), 5: ("n/a", 1, "n/a"), 6: (0, "n/a", "n/a"), 7: ("n/a", "n/a", 2)}
    for row, grades in rows.items():
        for column, grade in zip(("reader1", "reader2", "adjudicator"), grades, strict=True):
            cell(GRADES, row, f"grade_{column}", grade)(root)
        cell(GRADES, row, "grade_final", "n/a")(root)
    inspection = check.inspect(root)
    assert inspection.faults == []
    assert "grade_final derived from the readers' grades (5 segments)" in inspection.notices
    assert inspection.cohort.grades["grade_final"][1:6].tolist() == [2, 3, 1, 0, 2]
    cell(GRADES, 4, "grade_adjudicator", "n/a")(root)
    (fault,) = check.inspect(root).faults
    assert (fault.row, fault.expected) == (4, "0 to 3; both readers' grade where they agree, else the adjudicator's")


EXCEL = [("utf-8-sig", ";", "\r\n"), ("utf-16", "\t", "\r\n"), ("cp1252", "\t", "\r\n"), ("cp1252", ";", "\r\n")]


@pytest.mark.parametrize(("encoding", "separator", "ending"), [*EXCEL, ("utf-8", ",", "\n")])
def test_what_spreadsheets_make_of_the_tables_is_the_same_cohort(
    make_cohort: MakeCohort, encoding: str, separator: str, ending: str
) -> None:
    root = make_cohort()
    cell(CLINICAL, 3, "screening", "Rücken: zu dick, unruhig")(root)
    before = cohort.load(root)
    for name in (PEOPLE, CLINICAL, GRADES, POINTS):
        frame = pd.read_csv(root / name, sep="\t", dtype=str, keep_default_na=False)
        if separator != "," and name == PEOPLE:
            for column in ("height_cm", "weight_kg", "bmi"):
                frame[column] = frame[column].str.replace(".", ",")
        frame = pd.concat([frame, pd.DataFrame([[""] * len(frame.columns)], columns=frame.columns)]).assign(**{"": ""})
        frame.to_csv(root / name, sep=separator, index=False, encoding=encoding, lineterminator=ending)
    inspection = check.inspect(root)
    assert inspection.faults == []
    for part in ("participants", "clinical", "grades", "segments", "flow"):
        pd.testing.assert_frame_equal(getattr(inspection.cohort, part), getattr(before, part))


def test_german_words_are_understood(make_cohort: MakeCohort) -> None:
    root = make_cohort()
    for row, sex, side, sits in (
        (2, "w", "links", "ja"),
        (3, "männlich", "beidseits", "nein"),
        (4, "W", "Rechts", "n/a"),
    ):
        cell(PEOPLE, row, "sex", sex)(root)
        cell(CLINICAL, row, "pain_side", side)(root)
        cell(CLINICAL, row, "sedentary", sits)(root)
    loaded = cohort.load(root)
    assert loaded.participants["sex"].tolist() == ["F", "M", "F"]
    assert loaded.clinical["pain_side"].tolist() == ["L", "both", "R"]
    assert loaded.clinical["sedentary"].tolist() == [True, False, pd.NA]


HOSPITAL = {
    PEOPLE: {"participant_id": "受试者编号", "sex": "性别", "age": "年龄（岁）", "height_cm": "身高(m)",
             "weight_kg": "体重/kg", "bmi": "体质指数"},
    CLINICAL: {"participant_id": "编号", "vas": "VAS评分(0-10)", "sedentary": "久坐",
               "exercise_hours": "每周运动时间", "pain_side": "疼痛侧", "screening": "筛选"},
    GRADES: {"participant_id": "编号", "level": "节段", "lat": "侧别", "grade_reader1": "阅片者1",
             "grade_reader2": "阅片者2", "grade_adjudicator": "仲裁", "grade_final": "最终分级"},
}  # fmt: skip
SAID = {
    "sex": {"M": "男", "F": "女"}, "sedentary": {"yes": "是"}, "exercise_hours": {"n/a": "－"},
    "pain_side": {"both": "双侧"}, "screening": {"eligible": "合格"}, "lat": {"L": "左", "R": "右"},
    "level": {"L23": "腰2-3", "L34": "L3/4", "L45": "腰４－５", "L5S1": "腰5骶1"},
    **{f"grade_{whose}": {"0": "无", "1": "轻度", "2": "中度", "3": "重度", "n/a": "无数据"} for whose in
       ("reader1", "reader2", "adjudicator", "final")},
}  # fmt: skip


@pytest.mark.parametrize("form", ["utf-8", "gb18030", "xlsx"])
def test_a_chinese_hospitals_tables_are_the_same_cohort(make_cohort: MakeCohort, form: str) -> None:
    root = make_cohort()
    before = cohort.load(root)
    for name, columns in HOSPITAL.items():
        frame = pd.read_csv(root / name, sep="\t", dtype=str, keep_default_na=False).replace(SAID)
        if name == PEOPLE:
            frame["age"] += "岁"
            frame["weight_kg"] = frame["weight_kg"].str.translate({ord(str(n)): chr(0xFF10 + n) for n in range(10)})
            frame["height_cm"] = (frame["height_cm"].astype(float) / 100).round(4).astype(str)
            frame = pd.concat([frame, pd.DataFrame([{"participant_id": "平均值±标准差", "age": "32.2±9.8"}])]).fillna(
                ""
            )
        frame = frame.rename(columns=columns)
        (root / name).unlink()
        if form == "xlsx":
            frame.to_excel((root / name).with_suffix(".xlsx"), index=False, startrow=2)
        else:
            text = "腰痛患者登记表\n\n" + frame.to_csv(sep=",", index=False)
            (root / name).with_suffix(".csv").write_bytes(text.encode(form))
    inspection = check.inspect(root)
    assert inspection.faults == []
    assert inspection.cohort.digest() == before.digest()
    for part in ("participants", "clinical", "grades", "segments", "flow"):
        pd.testing.assert_frame_equal(getattr(inspection.cohort, part), getattr(before, part))
    said = [notice for notice in inspection.notices if notice.startswith((PEOPLE, CLINICAL, GRADES))]
    assert len(said) == len(set(said))
    for words in ("男 for M, 女 for F", "节段", "L3/4 for L34", "(平均值±标准差) sums up others", "合格 for eligible"):
        assert sum(words in notice for notice in said) == 1, words
    assert any("GB18030" in notice for notice in said) == (form == "gb18030")


def test_one_table_in_two_files_is_a_fault_and_no_choice(make_cohort: MakeCohort) -> None:
    root = make_cohort()
    pd.read_csv(root / GRADES, sep="\t").to_excel((root / GRADES).with_suffix(".xlsx"), index=False)
    (fault,) = (f for f in check.inspect(root).faults if f.file == GRADES)
    assert (fault.found, fault.expected) == ("mri_grades.xlsx beside mri_grades.tsv", "one of them")


@pytest.mark.parametrize(
    "word", ["-", "NULL", "#N/A", ".", "无", "ok", "yes", "合格", "keine Angabe", "k.A.", "\u3000"]
)
def test_a_screening_that_says_nothing_excludes_nobody(make_cohort: MakeCohort, word: str) -> None:
    root = make_cohort()
    before = cohort.load(root)
    cell(CLINICAL, 2, "screening", word)(root)
    assert len(cohort.load(root).segments) == len(before.segments)


def test_a_screening_that_says_no_is_asked_what_it_means(make_cohort: MakeCohort) -> None:
    root = make_cohort()
    cell(CLINICAL, 2, "screening", "否")(root)
    (fault,) = check.inspect(root).faults
    assert (fault.row, fault.column, fault.found) == (2, "screening", "'否'")


@pytest.mark.parametrize(
    ("header", "word", "fate"),
    [
        ("排除原因", "是", "fault"), ("Exclusion", "yes", "fault"),
        ("Ausschlussgrund", "keine", "in"), ("excluded", "no", "in"),
        ("Reason for exclusion", "spinal surgery", "out"), ("screening", "#REF!", "fault"), ("筛选", "不合格", "out"),
    ],
)  # fmt: skip
def test_who_is_out_follows_from_what_the_column_asks(
    make_cohort: MakeCohort, header: str, word: str, fate: str
) -> None:
    root = make_cohort()
    frame = pd.read_csv(root / CLINICAL, sep="\t", dtype=str, keep_default_na=False)
    frame["screening"] = [word, "n/a", "n/a"]
    frame.rename(columns={"screening": header}).to_csv(root / CLINICAL, sep="\t", index=False)
    inspection = check.inspect(root)
    assert [(fault.row, fault.column) for fault in inspection.faults] == ([(2, "screening")] if fate == "fault" else [])
    assert list(inspection.folder.excluded) == (["sub-001"] if fate == "out" else [])


def test_nothing_means_what_its_column_asks(make_cohort: MakeCohort) -> None:
    root = make_cohort()
    for row, column, word in ((2, "exercise_hours", "无"), (3, "exercise_hours", "-"), (2, "pain_side", "无")):
        cell(CLINICAL, row, column, word)(root)
    cell(GRADES, 2, "grade_adjudicator", "无")(root)
    loaded = cohort.load(root)
    assert loaded.clinical["exercise_hours"].fillna(-1).tolist()[:2] == [0, -1]
    assert loaded.clinical["pain_side"][0] == "none"
    assert loaded.grades["grade_adjudicator"].isna().all()


def test_faults_of_one_kind_are_three_lines_and_a_count(make_cohort: MakeCohort) -> None:
    root = make_cohort()
    for row in range(2, 26):
        cell(GRADES, row, "level", "L6")(root)
    cell(PEOPLE, 2, "age", "forty")(root)
    shown = CliRunner().invoke(app, ["check", str(root)]).stdout
    assert shown.count("found 'L6'") == 3 and "... and 21 more of this kind" in shown and "found 'forty'" in shown
    assert CliRunner().invoke(app, ["check", str(root), "--all"]).stdout.count("found 'L6'") == 24
    assert len(json.loads(CliRunner().invoke(app, ["check", str(root), "--json"]).stdout)["faults"]) >= 25


@pytest.mark.parametrize("file", [None, "IM0001.dcm", "sub-001/notes.txt"])
def test_a_folder_that_is_no_cohort_is_one_fault(tmp_path: Path, file: str | None) -> None:
    if file:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(b"x")
    (fault,) = check.inspect(tmp_path).faults
    assert fault.found.startswith("no cohort here (no dataset_description.json")
    assert "mflib import" in fault.expected


def test_silent_sidecars_are_one_notice(make_cohort: MakeCohort) -> None:
    root = make_cohort()
    for sidecar in root.rglob("us/*.json"):
        sidecar.write_text("{}")
    (notice,) = check.inspect(root).notices
    assert notice == f"no DynamicRangeDB in 24 sidecars, the first {FIRST}.nii.gz: 55 dB will be assumed"


def test_the_result_of_a_check_is_json(make_cohort: MakeCohort) -> None:
    root = make_cohort()
    exclude(3, "motion")(root)
    cell(PEOPLE, 4, "age", 12)(root)
    result = CliRunner().invoke(app, ["check", str(root), "--json"])
    assert result.exit_code == 0
    assert json.loads(result.output)["summary"]["excluded_segments"] == {"motion": 1}


def test_every_volume_that_two_cohorts_share_is_a_fault(make_cohort: MakeCohort) -> None:
    inspection = check.inspect(make_cohort())
    own = Checked(inspection.cohort, "", [], inspection.voxels)
    with pytest.raises(CohortError, match=r"24 faults .*\n.*the voxels of sub-001"):
        report.check_apart(own, own)
    some = dict(list(inspection.voxels.items())[:2])
    with pytest.raises(CohortError, match=r"2 faults"):
        report.check_apart(Checked(inspection.cohort, "", [], some), own)


def test_excluded_segments_leave_with_their_reason_and_need_nothing_else(make_cohort: MakeCohort) -> None:
    root = make_cohort(patients=3)
    exclude(2, "bone not visible", points=False)(root)
    exclude(3, "motion")(root)
    swap_points(root)  # row 3: the shadow brighter than the bone is why somebody excluded it
    cell(GRADES, 2, "grade_final", "n/a")(root)
    (root / (FIRST.replace("lat-L", "lat-R") + ".nii.gz")).write_bytes(b"")
    for row in range(10, 18):  # all of sub-002
        exclude(row, "bone not visible", points=False)(root)
    shutil.rmtree(root / "sub-002")
    cell(PEOPLE, 4, "age", 12)(root)
    exclude(20, "of a patient who is out already")(root)
    for column in ("reader1", "reader2", "final"):
        cell(GRADES, 19, f"grade_{column}", "n/a")(root)
    inspection = check.inspect(root)
    assert inspection.faults == []
    found = inspection.cohort.flow.astype(object).itertuples(index=False, name=None)
    assert [tuple(None if pd.isna(value) else value for value in row) for row in found] == [
        ("screened", 3, None, ""),
        ("excluded", 1, None, "younger than 18 years"),
        ("eligible", 2, 16, ""),
        ("excluded", 0, 9, "bone not visible"),
        ("excluded", 0, 1, "motion"),
        ("excluded", 1, 0, "left without any segment (patients)"),
        ("analysed", 1, 6, ""),
    ]
    assert list(inspection.cohort.patients["participant_id"]) == ["sub-001"]
    assert len(inspection.cohort.grades) == 6
    assert "sub-001 L23 R: excluded, motion" in inspection.notices
    assert inspection.summary()["excluded_segments"] == {"bone not visible": 9, "motion": 1}


def test_the_columns_of_quality_change_nothing_where_all_is_well(make_cohort: MakeCohort) -> None:
    root = make_cohort(patients=2)
    before = cohort.load(root)
    frame = pd.read_csv(root / POINTS, sep="\t", dtype=str, keep_default_na=False)
    frame.assign(quality=["ok", "n/a"] * 8, quality_reason="n/a").to_csv(root / POINTS, sep="\t", index=False)
    after = cohort.load(root)
    pd.testing.assert_frame_equal(before.segments, after.segments)
    pd.testing.assert_frame_equal(before.flow, after.flow)
    assert list(before.flow["stage"]) == ["screened", "analysed"]


def test_a_word_that_is_no_quality_is_one_fault(make_cohort: MakeCohort) -> None:
    root = make_cohort()
    exclude(5, "bone not visible", points=False)(root)
    cell(POINTS, 5, "quality", "bad")(root)
    assert [(f.file, f.row, f.column) for f in check.inspect(root).faults] == [(POINTS, 5, "quality")]


def test_uneven_patients_and_missing_values_are_fine(make_cohort: MakeCohort) -> None:
    root = make_cohort(patients=2)
    for table in (GRADES, POINTS):
        for _ in range(2):
            drop(table, 2)(root)
    for side in "LR":
        (root / (FIRST.replace("lat-L", f"lat-{side}") + ".nii.gz")).unlink()
    cell(CLINICAL, 2, "vas", "n/a")(root)
    assert f"{FIRST}.json: a sidecar without its volume, so it is not read" in check.inspect(root).notices
    loaded = cohort.load(root)
    assert loaded.segments.groupby("participant_id").size().tolist() == [6, 8]
    assert loaded.patients["vas"].isna().tolist() == [True, False]
    assert loaded.patients["sedentary"].tolist() == [True, True]
    assert not loaded.segments[KEY].duplicated().any()


def test_voxel_spacing_in_the_sidecar_stands_above_the_header(make_cohort: MakeCohort) -> None:
    root = make_cohort(patients=1)
    voxels(FIRST, lambda a: a, (1.0, 1.0, 1.0))(root)
    (root / (FIRST + ".json")).write_text(json.dumps({"VoxelSpacing": [0.2, 0.3, 0.4], "DynamicRangeDB": 55}))
    assert check.inspect(root).faults == []
    assert volumes.read(root / (FIRST + ".nii.gz")).spacing_mm == (0.2, 0.3, 0.4)


def test_a_true_spacing_of_one_millimetre_can_be_stated(make_cohort: MakeCohort) -> None:
    root = make_cohort(patients=1)
    voxels(FIRST, lambda a: a, (1.0, 1.0, 1.0))(root)
    (root / (FIRST + ".json")).write_text(json.dumps({"VoxelSpacing": [1, 1, 1]}))
    assert check.inspect(root).faults == []


def test_a_stray_quote_takes_no_other_line_with_it(make_cohort: MakeCohort) -> None:
    root = make_cohort()
    cell(CLINICAL, 2, "screening", "x")(root)
    text = (root / CLINICAL).read_text().replace("\tx\n", '\t"x\n').replace("\n", "\r\n")
    (root / CLINICAL).write_text(text, encoding="utf-8-sig", newline="")
    inspection = check.inspect(root)
    assert inspection.faults == []
    assert inspection.summary()["excluded"] == {'"x': 1}


def test_a_cohort_without_anybody_is_a_fault(make_cohort: MakeCohort) -> None:
    root = make_cohort(patients=1)
    cell(PEOPLE, 2, "age", 12)(root)
    assert [fault.file for fault in check.inspect(root).faults] == [PEOPLE]


def test_the_digest_follows_the_content_not_the_file_times(make_cohort: MakeCohort) -> None:
    root = make_cohort(patients=1)
    before = cohort.load(root).digest()
    (root / (FIRST + ".nii.gz")).touch()
    assert cohort.load(root).digest() == before
    voxels(FIRST, lambda a: a ^ 1)(root)
    assert cohort.load(root).digest() != before


def test_real_volumes_read_with_their_spacing(real_volumes: Path) -> None:
    spine = volumes.read(real_volumes / "SpinePhantomFreehandReconstructed.mha")
    assert spine.voxels.shape == (147, 106, 104)
    assert spine.spacing_mm == (0.5, 0.5, 0.5)
    liver = volumes.read(real_volumes / "MouseLiverB.mha")
    assert liver.voxels.shape == (128, 512, 4)
    assert liver.spacing_mm == (0.1, 0.038575, 0.1)


def test_a_name_steers_no_terminal(make_cohort: Callable[..., Path]) -> None:
    root = make_cohort(1, segments=1)
    (root / "dataset_description.json").write_text(json.dumps({"Name": "A \x1b[31mred\x07 clinic"}))
    assert cohort.load(root).name == "A [31mred clinic"


@pytest.mark.parametrize("name", ["Thumbs.db", "desktop.ini", ".DS_Store", "~$participants.xlsx"])
def test_what_systems_leave_in_folders_is_no_fault(make_cohort: MakeCohort, name: str) -> None:
    root = make_cohort()
    for folder in (root, root / "sub-001" / "us"):
        (folder / name).write_bytes(b"x")
    assert check.inspect(root).faults == []


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "gb18030"])
def test_json_is_read_as_windows_saves_it(make_cohort: MakeCohort, encoding: str) -> None:
    root = make_cohort()
    (root / f"{FIRST}.json").write_bytes('{"DynamicRangeDB": 60, "SpacingSource": "由技师填写"}'.encode(encoding))
    (root / "dataset_description.json").write_bytes('{"Name": "腰痛门诊", "BIDSVersion": "1.10.0"}'.encode(encoding))
    loaded = cohort.load(root)
    assert loaded.name == "腰痛门诊"
    assert loaded.volume(loaded.segments.to_dict("records")[0]).dynamic_range_db == 60


def test_a_table_written_otherwise_is_noticed_and_computes_nothing_again(
    make_cohort: MakeCohort, tmp_path: Path
) -> None:
    root = make_cohort()
    study = Study.open(cohort=str(root), run=str(tmp_path / "run"))
    first = report.look(study, root)
    for row, word in ((2, "男"), (3, "女"), (4, "男")):
        cell(PEOPLE, row, "sex", word)(root)
    second = report.look(study, root)
    assert second.digest == first.digest
    (noticed,) = set(second.notices) - set(first.notices)
    assert noticed == f"{PEOPLE}: column sex: taken 男 for M, 女 for F"
