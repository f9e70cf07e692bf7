"""The import from end to end: exact, without names, never over anything, and continued after a kill."""

from __future__ import annotations

import csv
import gzip
import json
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mflib.base.errors import CohortError
from mflib.cli import app
from mflib.data import cohort as cohorts
from mflib.data import intake
from mflib.data import volume as volumes
from tests.data import dicoms
from tests.data.images import SWEEP, itk, metaimage, named_nifti

SPACING = (0.2, 0.25, 0.4)
NAME = "Jane^Doe"
TEXTS = dict.fromkeys(("descrip", "aux_file", "intent_name", "db_name", "DICOM_PatientName"), f"{NAME} {dicoms.MARKER}")
MAKERS: dict[str, Callable[[Path, np.ndarray], Path]] = {
    "L23 left.dcm": lambda path, voxels: dicoms.enhanced_us(path, voxels, SPACING, marker=True),
    "L23 right.dcm": lambda path, voxels: dicoms.affiniti(path, voxels, SPACING, marker=True),
    "L34 left": lambda path, voxels: dicoms.cartesian(path, voxels, SPACING, marker=True),
    "L34 right.dcm": lambda path, voxels: dicoms.region_multiframe(path, voxels, SPACING, marker=True),
    "L45 left.nii.gz": lambda path, voxels: named_nifti(path, voxels, SPACING, f"{dicoms.MARKER} {NAME}"),
    "L45 right.nrrd": lambda path, voxels: itk(path, voxels, SPACING, TEXTS),
    "L5S1 left.mha": lambda path, voxels: metaimage(path, voxels, SPACING, fields={**TEXTS, "Comment": NAME}),
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two patients' exports, every text in them an identifier."""
    root = tmp_path / "source"
    for seed, person in enumerate(["Doe Jane", "Marx Karl"]):
        (root / person).mkdir(parents=True)
        for n, (name, make) in enumerate(MAKERS.items()):
            make(root / person / f"{NAME} {name}", dicoms.speckle(seed=10 * seed + n))
    return root


def template(source: Path, cohort: Path) -> Path:
    path = source.parent / "map.csv"
    intake.template(source, path, cohort)
    return path


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def one(tmp_path: Path, path: Path, *, spacing: str = ",,", key: str = "sub-001,L45,L") -> intake.Plan:
    """The plan that makes one file one segment."""
    table = tmp_path / "one.csv"
    table.write_text(
        f"file,participant_id,level,lat,spacing_i_mm,spacing_j_mm,spacing_k_mm\n{path.name},{key},{spacing}\n"
    )
    return intake.plan(path, table)


def content(root: Path) -> dict[str, bytes]:
    """Every byte below a folder, packed ones unpacked, and every name."""
    found = {}
    for path in sorted(root.rglob("*")):
        if path.is_file() and not path.name.startswith("partial-"):
            data = path.read_bytes()
            found[path.relative_to(root).as_posix()] = gzip.decompress(data) if path.suffix == ".gz" else data
    return found


def test_a_folder_becomes_a_cohort_and_nothing_of_its_names_comes_along(
    source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in source.rglob("*") if path.is_file()}
    for path in [*source.rglob("*"), source]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    planted = content(source)
    assert len(planted) == 14
    assert all(dicoms.MARKER.encode() in data for data in planted.values())
    cohort = tmp_path / "cohort"
    path = template(source, cohort)
    assert not cohort.exists()
    assert not any(row["problem"] for row in rows(path))
    outcome = intake.run(intake.plan(source, path), cohort)
    assert (len(outcome.imported), outcome.failures) == (14, [])

    for seed, person in enumerate(["sub-001", "sub-002"]):
        for n, name in enumerate(MAKERS):
            level, side = name.split(".")[0].split()
            stem = f"{person}_level-{level}_lat-{side[0].upper()}_bmode"
            volume = volumes.read(cohort / person / "us" / f"{stem}.nii.gz")
            np.testing.assert_array_equal(volume.voxels, dicoms.speckle(seed=10 * seed + n))
            np.testing.assert_allclose(volume.spacing_mm, SPACING, rtol=1e-6)
            assert (volume.sidecar["SpinalLevel"], volume.sidecar["Laterality"]) == (level, side[0].upper())

    said = capfd.readouterr()
    everything = content(cohort) | {"said": "\n".join([said.out, said.err, *outcome.lines()]).encode()}
    for marker in (*dicoms.MARKERS, NAME, "Doe", "Jane", "Marx", "Karl", str(source)):
        for name, data in everything.items():
            assert marker.encode() not in data, (marker, name)
            assert marker.encode("utf-16-le") not in data
            assert marker not in name
    after = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in source.rglob("*") if path.is_file()}
    assert after == before


def test_the_sidecar_holds_listed_fields_only(source: Path, tmp_path: Path) -> None:
    cohort = tmp_path / "cohort"
    intake.run(intake.plan(source, template(source, cohort)), cohort)
    listed = {
        "Manufacturer", "ManufacturersModelName", "ProbeModel", "ProbeCentralFrequency", "DepthMM", "SourceFormat",
        "BodyPart", "SpinalLevel", "Laterality", "AxisNames", "SpacingSource",
    }  # fmt: skip
    for sidecar in cohort.rglob("us/*.json"):
        assert json.loads(sidecar.read_text()).keys() <= listed
    for volume in cohort.rglob("*.nii.gz"):
        head = gzip.decompress(volume.read_bytes())[:352]
        texts = head[4:39] + head[148:252] + head[328:344]  # data_type, db_name, descrip, aux_file, intent_name
        assert texts.strip(b"\0r") == b""
        assert head[348] == 0, "no extension follows the header"


def test_an_unfinished_cohort_lacks_only_what_a_person_must_fill_in(source: Path, tmp_path: Path) -> None:
    cohort = tmp_path / "clinic"
    intake.run(intake.plan(source, template(source, cohort)), cohort)
    folder = cohorts.read_folder(cohort)
    assert folder.description["Name"] == "clinic"
    assert len(folder.volumes) == 14
    allowed = {("phenotype/mri_grades.tsv", "grade_final"), ("derivatives/annotations/refpoints_roi.tsv", None)}
    assert {(fault.file, fault.column) for fault in folder.faults} <= allowed
    assert list(folder.tables["participants.tsv"]["participant_id"]) == ["sub-001", "sub-002"]
    assert set(folder.tables["phenotype/clinical.tsv"]["screening"]) == {"eligible"}


KILLED = """
import os, signal, sys
from pathlib import Path
import SimpleITK as sitk
from mflib.base import files
from mflib.data import intake
module, name, turn = {"volume": (sitk, "WriteImage", 4), "sidecar": (files, "write_text", 7), "table": (
    files.Path, "write_bytes", 2)}[sys.argv[4]]
write, calls = getattr(module, name), []
def killing(*arguments, **named):
    calls.append(1)
    if len(calls) == turn:
        if name == "WriteImage":
            Path(arguments[1]).write_bytes(b"half a volume")
        os.kill(os.getpid(), signal.SIGKILL)
    return write(*arguments, **named)
setattr(module, name, killing)
intake.run(intake.plan(Path(sys.argv[1]), Path(sys.argv[2])), Path(sys.argv[3]))
"""


@pytest.mark.parametrize("moment", ["volume", "sidecar", "table"])
def test_a_killed_import_goes_on_to_the_same_bytes(source: Path, tmp_path: Path, moment: str) -> None:
    whole, cut = tmp_path / "a" / "cohort", tmp_path / "b" / "cohort"
    plan = intake.plan(source, template(source, whole))
    intake.run(plan, whole)
    command = [sys.executable, "-c", KILLED, str(source), str(plan.map_path), str(cut), moment]
    killed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    there = set(cut.rglob("*.nii.gz")) - set(cut.rglob("partial-*"))
    kept = {path: path.stat().st_mtime_ns for path in there if volumes.find_sidecar(path).exists()}
    assert len(there) >= 3
    outcome = intake.run(plan, cut)
    assert (len(outcome.kept), len(outcome.imported)) == (len(kept), 14 - len(kept))
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert content(cut) == content(whole)


def test_nothing_in_a_cohort_is_overwritten(tmp_path: Path) -> None:
    cohort = tmp_path / "cohort"
    first, second = (itk(tmp_path / f"{n}.mha", dicoms.speckle(seed=n), SPACING) for n in range(2))
    intake.run(one(tmp_path, first), cohort)
    before = content(cohort)
    assert intake.run(one(tmp_path, first), cohort).kept == [2]
    for plan in (one(tmp_path, second), one(tmp_path, first, spacing="0.3,0.3,0.3")):
        ((row, reason),) = intake.run(plan, cohort).failures
        assert row == 2
        assert "delete it first" in reason
    assert content(cohort) == before


def test_tables_that_people_filled_in_only_get_the_rows_they_lack(tmp_path: Path) -> None:
    cohort = tmp_path / "cohort"
    (cohort / "phenotype").mkdir(parents=True)
    mine = b'\xef\xbb\xbfsex\tparticipant_id\tnote\r\nF\tsub-001\t"odd\xc3\xa9\r\nM\tsub-007\t'
    (cohort / "participants.tsv").write_bytes(mine)
    for n, key in enumerate(("sub-001,L45,L", "sub-002,L45,R", "sub-001,L5S1,R")):
        path = itk(tmp_path / f"{n}.mha", dicoms.speckle(seed=n), SPACING)
        intake.run(one(tmp_path, path, key=key), cohort)
    assert (cohort / "participants.tsv").read_bytes() == mine + b"\r\nn/a\tsub-002\tn/a\r\n"
    grades = (cohort / "phenotype" / "mri_grades.tsv").read_text().splitlines()
    assert [line.split("\t")[:3] for line in grades[1:]] == [
        ["sub-001", "L45", "L"], ["sub-002", "L45", "R"], ["sub-001", "L5S1", "R"],
    ]  # fmt: skip


def test_what_cannot_be_imported_is_listed_and_the_rest_is_imported(tmp_path: Path) -> None:
    source, cohort = tmp_path / "source", tmp_path / "cohort"
    source.mkdir()
    itk(source / "good.mha", dicoms.speckle(), SPACING)
    itk(source / "bare.mha", dicoms.speckle(seed=1), (1, 1, 1))
    metaimage(source / "sweep.mha", dicoms.speckle(seed=2), (1, 1, 1), fields=SWEEP)
    (source / "cut.dcm").write_bytes(
        dicoms.enhanced_us(tmp_path / "whole.dcm", dicoms.speckle(), SPACING).read_bytes()[:-5000]
    )
    ds_bomb = dicoms.enhanced_us(source / "bomb.dcm", dicoms.speckle(), SPACING).read_bytes()
    frames = ds_bomb.index(b"\x28\x00\x08\x00IS")
    (source / "bomb.dcm").write_bytes(ds_bomb[: frames + 6] + b"\x08\x0099999999" + ds_bomb[frames + 10 :])
    names = ["good.mha", "bare.mha", "sweep.mha", "cut.dcm", "bomb.dcm"]
    table = tmp_path / "map.csv"
    table.write_text(
        "file,participant_id,level,lat\n"
        + "".join(f"{name},sub-00{n},L45,L\n" for n, name in enumerate(names))
        + "good.mha,,,\n"
    )
    plan = intake.plan(source, table)
    dry = intake.run(plan, cohort, dry=True)
    assert not cohort.exists()
    outcome = intake.run(plan, cohort)
    assert dry.imported == outcome.imported == [2]
    assert dry.failures == outcome.failures
    assert (outcome.skipped, [row for row, _ in outcome.failures]) == (1, [3, 4, 5, 6])
    reasons = [reason for _, reason in outcome.failures]
    for reason, words in zip(reasons, ["no spacing", "tracked freehand sweep", "", ""], strict=True):
        assert words in reason
    assert not any(name in line for line in outcome.lines() for name in names)
    assert [path.name for path in cohort.rglob("us/*.nii.gz")] == ["sub-000_level-L45_lat-L_bmode.nii.gz"]

    stated = intake.run(intake.plan(source, table, (0.3, 0.3, 0.5)), cohort)
    assert (stated.kept, stated.imported) == ([2], [3, 4])
    sidecar = json.loads((cohort / "sub-001" / "us" / "sub-001_level-L45_lat-L_bmode.json").read_text())
    assert sidecar["SpacingSource"] == "stated by the user"


def test_the_template_says_what_was_found_and_what_is_wrong(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for folder in ("Doe", "Marx/.hidden"):
        (source / folder).mkdir(parents=True)
    dicoms.region_multiframe(source / "Doe" / "L45 li.dcm", dicoms.speckle(), SPACING, distance=False)
    dicoms.region_multiframe(source / "Doe" / "L34 re.dcm", dicoms.speckle(), SPACING, film=True)
    dicoms.single(source / "Marx" / "L23 L.dcm", dicoms.speckle()[:, :, 0])
    itk(source / "=cmd L45 left.mha", dicoms.speckle(), SPACING)
    (source / "Marx" / "scans.zip").write_bytes(b"PK\3\4" + bytes(99))
    (source / "Marx" / "line\nbreak.dcm").write_bytes(b"x")
    for passed_over in ("DICOMDIR", "Doe/partial-1.mha", "Marx/.hidden/x.dcm", ".DS_Store"):
        (source / passed_over).write_bytes(b"x")
    (source / "Doe" / "link.dcm").symlink_to(itk(tmp_path / "outside.mha", dicoms.speckle(), SPACING))
    said, *_ = intake.template(source, tmp_path / "map.csv", tmp_path / "cohort")
    found = {row["file"]: row for row in rows(tmp_path / "map.csv")}
    assert said.startswith("7 files looked at, 1 can be imported as they are:") and len(found) == 7
    keys = {name: (row["participant_id"], row["level"], row["lat"]) for name, row in found.items()}
    assert keys == {
        "./=cmd L45 left.mha": ("", "L45", "L"),
        "Doe/L34 re.dcm": ("sub-001", "L34", "R"),
        "Doe/L45 li.dcm": ("sub-001", "L45", "L"),
        "Doe/link.dcm": ("", "", ""),
        "Marx/L23 L.dcm": ("", "", ""),
        "Marx/line?break.dcm": ("", "", ""),
        "Marx/scans.zip": ("", "", ""),
    }
    known = found["Doe/L45 li.dcm"]
    assert [known[f"spacing_{axis}_mm"] for axis in "ijk"] == ["0.2", "0.25", ""]
    assert "40 x 32 x 12 voxels" in known["found"]
    assert "no distance between frames" in known["problem"]
    assert "time" in found["Doe/L34 re.dcm"]["problem"]
    assert "one picture" in found["Marx/L23 L.dcm"]["problem"]
    assert "unpack it first" in found["Marx/scans.zip"]["problem"]
    with pytest.raises(CohortError, match="there is a map already"):
        intake.template(source, tmp_path / "map.csv", tmp_path / "cohort")


def test_folders_that_are_numbered_already_keep_their_numbers(tmp_path: Path) -> None:
    for person in ("sub-003", "sub-012"):
        (tmp_path / "source" / person).mkdir(parents=True)
        itk(tmp_path / "source" / person / "L45_L.mha", dicoms.speckle(), SPACING)
    path = template(tmp_path / "source", tmp_path / "cohort")
    assert [row["participant_id"] for row in rows(path)] == ["sub-003", "sub-012"]


@pytest.mark.parametrize(
    ("encoding", "separator", "ending"), [("utf-16", "\t", "\r\n"), ("cp1252", ";", "\r\n"), ("utf-8-sig", ",", "\n")]
)
def test_rows_are_added_as_the_spreadsheet_writes_them(
    tmp_path: Path, encoding: str, separator: str, ending: str
) -> None:
    cohort = tmp_path / "cohort"
    cohort.mkdir()
    lines = [["participant_id", "sex", "note"], ["sub-001", "w", f'"Röntgen{separator} ""neu"""']]
    mine = "".join(separator.join(line) + ending for line in lines).encode(encoding)
    (cohort / "participants.tsv").write_bytes(mine)
    path = itk(tmp_path / "a.mha", dicoms.speckle(), SPACING)
    intake.run(one(tmp_path, path, key="sub-002,L45,R"), cohort)
    now = (cohort / "participants.tsv").read_bytes()
    assert now.startswith(mine)
    assert now.decode(encoding) == mine.decode(encoding) + separator.join(["sub-002", "n/a", "n/a"]) + ending


def test_the_dynamic_range_is_the_rows_or_else_the_one_for_all(tmp_path: Path) -> None:
    source, cohort = tmp_path / "source", tmp_path / "cohort"
    source.mkdir()
    for n, name in enumerate("ab"):
        itk(source / f"{name}.mha", dicoms.speckle(seed=n), SPACING)
    table = tmp_path / "map.csv"
    table.write_text("file;participant_id;level;lat;dynamic_range_db\na.mha;sub-001;L45;L;62,5\nb.mha;sub-001;L45;R;\n")
    intake.run(intake.plan(source, table, None, 70), cohort)
    stated = [json.loads(path.read_text())["DynamicRangeDB"] for path in sorted(cohort.rglob("us/*.json"))]
    assert stated == [62.5, 70]
    assert intake.run(intake.plan(source, table), cohort).kept == [2, 3]
    changed = intake.run(intake.plan(source, table, None, 60), cohort)
    assert [row for row, _ in changed.failures] == [3]
    with pytest.raises(CohortError, match="10 to 200 dB"):
        intake.plan(source, table, None, 5)


def test_the_map_lies_beside_the_source_and_each_command_says_the_next(source: Path, tmp_path: Path) -> None:
    runner, cohort, path = CliRunner(), tmp_path / "a cohort", tmp_path / f"import_map_{source.name}.csv"
    bare = ["import", str(source), str(cohort)]
    assert "no map of the files" in runner.invoke(app, bare).output
    first = runner.invoke(app, [*bare, "--dry-run", "--dynamic-range", "60"]).output
    assert path.exists()
    assert f"then: mflib {shlex.join([*bare, '--dynamic-range', '60.0'])}\n" in first
    assert "14 can be imported as they are\n" in first
    assert "14 would be imported" in runner.invoke(app, [*bare, "--dry-run"]).output
    assert not cohort.exists()
    assert runner.invoke(app, bare).exit_code == 0
    assert len(list(cohort.rglob("*.nii.gz"))) == 14


def test_a_map_that_cannot_be_written_is_said_before_the_look(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        intake.template(source, tmp_path / "file" / "map.csv", tmp_path / "cohort")
    assert "looked at" not in capsys.readouterr().out


def test_source_map_and_cohort_are_kept_apart(source: Path, tmp_path: Path) -> None:
    path = template(source, tmp_path / "cohort")
    plan = intake.plan(source, path)
    for cohort in (source / "cohort", source, tmp_path):
        with pytest.raises(CohortError, match="found"):
            intake.run(plan, cohort)
    cohort = tmp_path / "cohort"
    cohort.mkdir()
    shutil.copy(path, cohort / "map.csv")
    with pytest.raises(CohortError, match="inside the cohort"):
        intake.run(intake.plan(source, cohort / "map.csv"), cohort)
    with pytest.raises(CohortError, match="inside the cohort"):
        intake.template(source, cohort / "new.csv", cohort)
    (cohort / "dataset_description.json").write_text('{"Name": "x", "Synthetic": true}')
    with pytest.raises(CohortError, match="synthetic"):
        intake.run(plan, cohort)


def test_a_full_disk_ends_in_words(source: Path, tmp_path: Path, small_disk: Path) -> None:
    plan = intake.plan(source, template(source, tmp_path / "cohort"))
    with pytest.raises(OSError, match=r"No space left.*cohort"):
        intake.run(plan, small_disk / "cohort")
    for volume in set(small_disk.rglob("*.nii.gz")):
        volumes.read(volume)


def test_a_file_that_went_away_is_not_named(tmp_path: Path) -> None:
    plan = one(tmp_path, path := itk(tmp_path / "Doe.mha", dicoms.speckle(), SPACING))
    path.unlink()
    ((row, reason),) = intake.run(plan, tmp_path / "cohort").failures
    assert (row, reason) == (2, "a file that cannot be read (No such file or directory)")


@pytest.mark.parametrize("text", ["0.2,0.2", "0.2,0.2,x", "0.2,0.2,0", "nan,0.2,0.2", "200,200,400", ""])
def test_a_spacing_is_three_plausible_numbers(text: str) -> None:
    assert intake.spacing("0.2,0.25,0.4") == SPACING
    with pytest.raises(CohortError):
        intake.spacing(text)
