"""Volumes find their row of the annotations; what cannot be asked about is named, and keeps nothing from the rest."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from mflib.base.errors import FileError
from mflib.cli import app
from mflib.data.volume import find_sidecar, read
from mflib.study import volumes
from mflib.study.predict import Models
from mflib.study.run import Study
from mflib.study.volumes import find
from tests.conftest import BONE, ROI_SIZE

TABLE = "derivatives/annotations/refpoints_roi.tsv"


@pytest.fixture
def volume(study: Study) -> Path:
    return study.cohort.root / "sub-002/us/sub-002_level-L34_lat-R_bmode.nii.gz"


def changed(study: Study, path: Path, where: str = "lat != ''", **columns: object) -> Path:
    """The cohort's table with other cells in the rows that a query finds."""
    table = pd.read_csv(study.cohort.root / TABLE, sep="\t", dtype=str, keep_default_na=False)
    table = table.assign(**{name: table.get(name, "n/a") for name in columns})
    table.loc[table.query(where).index, list(columns)] = list(columns.values())
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, sep="\t", index=False)
    return path


def reason(volume: Path, table: Path | None = None) -> str:
    """Why a volume that is named cannot be asked about."""
    asked = find([volume], table)
    assert not asked.annotated
    (why,) = asked.failures.values()
    return why


def test_a_volume_finds_the_annotations_of_its_cohort(study: Study, volume: Path) -> None:
    asked = find([volume])
    ((path, annotation),) = asked.annotated.items()
    assert path == volume and not asked.failures
    assert (annotation.bone, annotation.roi_size) == (BONE, ROI_SIZE)
    whole = find([study.cohort.root, volume]).annotated
    assert sorted(path.relative_to(study.cohort.root).as_posix() for path in whole) == sorted(
        study.cohort.segments["path"]
    )


def test_a_volume_of_any_name_finds_its_row_by_that_name(study: Study, volume: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "scan 7.nii.gz"
    shutil.copy(volume, foreign)
    shutil.copy(find_sidecar(volume), find_sidecar(foreign))
    assert re.match(r"scan 7\.nii\.gz: found no derivatives/.* --annotations", reason(foreign))
    own = pd.read_csv(study.cohort.root / TABLE, sep="\t").head(1).drop(columns=["participant_id", "level", "lat"])
    table = tmp_path / "points.csv"
    # As a spreadsheet saves it.
    own.assign(volume=foreign.name, bone_i=3).to_csv(table, sep=";", index=False, encoding="utf-16")
    ((_, annotation),) = find([foreign], table).annotated.items()
    assert annotation.bone == (3, *BONE[1:])
    assert re.search(r"bmode\.nii\.gz: found no annotation in points\.csv.*sub-002 L34 R", reason(volume, table))


@pytest.mark.parametrize("cell", ["-1", "4.5", "", "n/a", "9" * 12, "²"])
def test_a_cell_that_is_no_voxel_stops_its_own_volume_only(
    study: Study, volume: Path, tmp_path: Path, cell: str
) -> None:
    table = changed(study, tmp_path / "points.tsv", "participant_id == 'sub-001' and level == 'L23'", bone_j=cell)
    assert list(find([volume], table).annotated) == [volume]
    wrong = study.cohort.root / "sub-001/us/sub-001_level-L23_lat-L_bmode.nii.gz"
    assert re.match(
        rf"{wrong.name}: points\.tsv, row 2, column bone_j: found .*; expected a whole", reason(wrong, table)
    )


def test_what_is_excluded_is_left_out_of_a_folder_and_refused_by_name(
    study: Study, volume: Path, tmp_path: Path
) -> None:
    root = tmp_path / "clinic"
    for level in ("L34", "L45"):
        for side in "LR":
            name = f"sub-002/us/sub-002_level-{level}_lat-{side}_bmode.nii.gz"
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(study.cohort.root / name, root / name)
    told = {"bone_i": "n/a", "quality": "Excluded", "quality_reason": "no bone"}
    changed(study, root / TABLE, "participant_id == 'sub-002' and level == 'L34'", **told)
    asked = find([root])
    assert [path.name[8:17] for path in asked.annotated] == ["level-L45"] * 2 and not asked.failures
    assert set(asked.excluded.values()) == {"no bone"} and len(asked.excluded) == 2
    named = root / "sub-002/us" / volume.name
    assert re.search(r"excluded in refpoints_roi\.tsv, row \d+ \(no bone\)", reason(named))
    both = find([named, root])
    assert named in both.failures and named not in both.excluded


def test_tables_and_files_that_cannot_be_used_are_named(study: Study, volume: Path, tmp_path: Path) -> None:
    doubled = changed(study, tmp_path / "twice.tsv", lat="R")
    assert re.search(r"twice\.tsv, row \d+: found sub-002 L34 R again", reason(volume, doubled))
    short = tmp_path / "short.tsv"
    short.write_text("participant_id\tlevel\tlat\nsub-002\tL34\tR\n")
    assert re.match(
        r"short\.tsv: found columns participant_id, level, lat in row 1; expected bone_i, ", reason(volume, short)
    )
    text = tmp_path / "notes.txt"
    text.write_text("no volume")
    assert "not a volume format" in reason(text, study.cohort.root / TABLE)
    assert "no such file" in reason(tmp_path / "none.mha", study.cohort.root / TABLE)
    with pytest.raises(FileError, match="found no volume, expected a cohort folder"):
        find([tmp_path], study.cohort.root / TABLE)
    with pytest.raises(FileError, match=r"short\.tsv: found columns"):
        find([study.cohort.root], short)


def test_one_volume_that_fails_keeps_no_other_from_being_assessed(
    study: Study, models: Models, volume: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut, missing = tmp_path / volume.name.replace("L34", "L45"), tmp_path / "no\x1b[2J.mha"
    cut.write_bytes(volume.read_bytes()[:200])
    assessments, failures = volumes.assess_all(models, [missing, cut, volume], study.cohort.root / TABLE)
    (found,) = assessments
    alone = models.assess(read(volume), find([volume]).annotated[volume])
    assert found.results == alone.results
    # The kept part is the same picture around the same points.
    assert found.volume.voxels.size <= alone.volume.voxels.size
    np.testing.assert_array_equal(found.volume.voxels[found.annotation.roi], alone.volume.voxels[alone.annotation.roi])
    assert list(failures) == [missing, cut]
    lines = volumes.failed(failures, 3).splitlines()
    assert lines[0] == "2 of 3 volumes could not be assessed:" and cut.name in lines[2]
    assert all(line.isprintable() for line in lines)
    assert "left out" not in capsys.readouterr().out


def test_the_command_writes_what_it_can_and_fails_for_the_rest(models: Models, volume: Path, tmp_path: Path) -> None:
    missing = tmp_path / "none.mha"
    asked = ["predict", str(models.run), str(missing), str(volume), "--html", str(tmp_path), "--out"]
    done = CliRunner().invoke(app, [*asked, str(tmp_path / "out.csv")])
    assert done.exit_code == 1
    assert "1 of 2 volumes could not be assessed" in done.stderr and str(missing) in done.stderr
    assert set(pd.read_csv(tmp_path / "out.csv")["participant_id"]) == {"sub-002"}
    assert done.stdout.splitlines()[-2:] == [str(tmp_path / "sub-002.html"), str(tmp_path / "out.csv")]
    assert (tmp_path / "sub-002.html").exists()


def test_the_table_and_the_text_say_the_same(models: Models, volume: Path, tmp_path: Path) -> None:
    annotation = find([volume]).annotated[volume]
    named, hostile = (
        models.assess(read(volume), annotation, name) for name in ("sub-002_level-L34_lat-R_bmode", "x\x1b[2J")
    )
    table = volumes.table([named, hostile])
    assert table["participant_id"].tolist()[:2] == ["sub-002"] * 2
    assert table["participant_id"].isna().tolist() == [False, False, True, True]
    volumes.write(table, tmp_path / "out.csv")
    kept = pd.read_csv(tmp_path / "out.csv")
    volumes.write(table, tmp_path / "out.json")
    records = json.loads((tmp_path / "out.json").read_text())
    for row, (_, own) in enumerate(named.results.items()):
        assert kept["score"].iloc[row] == own.score
        assert records[row]["score"] == pytest.approx(own.score)
        assert records[row]["verdict"] == named.applicability.verdict
    lines = volumes.text([named, hostile]).splitlines()
    assert lines[0].startswith("Research use only")
    assert all(line.isprintable() for line in lines)
    assert lines.index("x?[2J") > lines.index("sub-002_level-L34_lat-R_bmode")
