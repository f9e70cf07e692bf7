"""Volumes find their row of the annotations, or the message says what is missing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from mflib import predict
from mflib.predict import Models, PredictError
from mflib.study import Study
from mflib.volume import find_sidecar
from tests.conftest import BONE, ROI_SIZE

TABLE = "derivatives/annotations/refpoints_roi.tsv"


@pytest.fixture
def volume(study: Study) -> Path:
    return study.cohort.root / "sub-002/us/sub-002_level-L34_lat-R_bmode.nii.gz"


def changed(study: Study, path: Path, **columns: object) -> Path:
    table = pd.read_csv(study.cohort.root / TABLE, sep="\t").assign(**columns)
    table.to_csv(path, sep="\t", index=False)
    return path


def test_a_volume_finds_the_annotations_of_its_cohort(study: Study, volume: Path) -> None:
    ((path, read, annotation),) = predict.read_volumes([volume])
    assert path == volume
    assert read.voxels.shape == (30, 28, 18)
    assert (annotation.bone, annotation.roi_size) == (BONE, ROI_SIZE)
    whole = predict.read_volumes([study.cohort.root])
    assert [path.relative_to(study.cohort.root).as_posix() for path, _, _ in whole] == sorted(
        study.cohort.segments["path"]
    )


def test_a_volume_of_any_name_finds_its_row_by_that_name(study: Study, volume: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "scan 7.nii.gz"
    shutil.copy(volume, foreign)
    shutil.copy(find_sidecar(volume), find_sidecar(foreign))
    with pytest.raises(PredictError, match=r"scan 7\.nii\.gz: found no derivatives/.* --annotations"):
        predict.read_volumes([foreign])
    own = pd.read_csv(study.cohort.root / TABLE, sep="\t").head(1).drop(columns=["participant_id", "level", "lat"])
    table = tmp_path / "points.tsv"
    own.assign(volume=foreign.name, bone_i=3).to_csv(table, sep="\t", index=False)
    ((_, _, annotation),) = predict.read_volumes([foreign], table)
    assert annotation.bone == (3, *BONE[1:])
    with pytest.raises(PredictError, match=r"bmode\.nii\.gz: found no annotation in points\.tsv.*sub-002 L34 R"):
        predict.read_volumes([volume], table)


@pytest.mark.parametrize("cell", ["-1", "4.5", "", "x", "9" * 12, "²"])
def test_a_cell_that_is_no_voxel_is_named(study: Study, volume: Path, tmp_path: Path, cell: str) -> None:
    table = changed(study, tmp_path / "points.tsv", bone_j=cell)
    with pytest.raises(PredictError, match=r"points\.tsv, row 2, column bone_j: found .*; expected a whole number"):
        predict.read_volumes([volume], table)


def test_tables_and_files_that_cannot_be_used_are_named(study: Study, volume: Path, tmp_path: Path) -> None:
    doubled = changed(study, tmp_path / "twice.tsv", lat="R")
    with pytest.raises(PredictError, match=r"twice\.tsv, row 3: found sub-001 L23 R again"):
        predict.read_volumes([volume], doubled)
    commas = tmp_path / "commas.tsv"
    commas.write_text((study.cohort.root / TABLE).read_text().replace("\t", ","))
    with pytest.raises(PredictError, match=r"commas\.tsv: found the columns participant_id,level.* separated by tabs"):
        predict.read_volumes([volume], commas)
    text = tmp_path / "notes.txt"
    text.write_text("no volume")
    for path, said in ((text, "not a volume format"), (tmp_path / "none.mha", "no such file"), (tmp_path, "no volume")):
        with pytest.raises(PredictError, match=said):
            predict.read_volumes([path], study.cohort.root / TABLE)
    cut = tmp_path / volume.name
    cut.write_bytes(volume.read_bytes()[:200])
    with pytest.raises(PredictError, match=volume.name):
        predict.read_volumes([cut], study.cohort.root / TABLE)


def test_the_table_and_the_text_say_the_same(models: Models, volume: Path, tmp_path: Path) -> None:
    ((_, read, annotation),) = predict.read_volumes([volume])
    named, hostile = (models.assess(read, annotation, name) for name in ("sub-002_level-L34_lat-R_bmode", "x\x1b[2J"))
    table = predict.table([named, hostile])
    assert table["participant_id"].tolist()[:2] == ["sub-002"] * 2
    assert table["participant_id"].isna().tolist() == [False, False, True, True]
    predict.write(table, tmp_path / "out.csv")
    kept = pd.read_csv(tmp_path / "out.csv")
    predict.write(table, tmp_path / "out.json")
    records = json.loads((tmp_path / "out.json").read_text())
    for row, (_, own) in enumerate(named.results.items()):
        assert kept["score"].iloc[row] == own.score
        assert records[row]["score"] == pytest.approx(own.score)
        assert records[row]["verdict"] == named.applicability.verdict
    lines = predict.text([named, hostile]).splitlines()
    assert lines[0].startswith("Research use only")
    assert all(line.isprintable() for line in lines)
    assert lines.index("x?[2J") > lines.index("sub-002_level-L34_lat-R_bmode")
    with pytest.raises(PredictError, match=r"expected \.csv or \.json"):
        predict.write(table, tmp_path / "out.xlsx")
