"""Quality of volumes: numbers against their definition, flags where they were planted, no volume left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mflib.base.words import KEY
from mflib.data import cohort, phantom, preprocess, quality
from mflib.data import volume as volumes
from mflib.data.preprocess import GainSettings
from mflib.data.volume import Annotation, Volume

POINTS = "derivatives/annotations/refpoints_roi.tsv"
MakeCohort = Callable[..., Path]
ANNOTATION = Annotation((4, 6, 9), (4, 14, 9), (10, 8, 2), (18, 18, 14))


def path(root: Path, name: str) -> Path:
    participant, level, lat = name.split()
    return root / participant / "us" / f"{participant}_level-{level}_lat-{lat}_bmode.nii.gz"


def edit(root: Path, name: str, change: Callable[[Volume], Volume]) -> None:
    volumes.write(change(volumes.read(path(root, name))), path(root, name))


def annotate(root: Path, name: str, **values: str) -> None:
    """Overwrite cells of the annotations, in columns that are there or not."""
    frame = pd.read_csv(root / POINTS, sep="\t", dtype=str, keep_default_na=False)
    names = [" ".join(key) for key in frame[KEY].itertuples(index=False)]
    for column, value in values.items():
        frame[column] = frame.get(column, pd.Series("n/a", frame.index)).mask([n == name for n in names], value)
    frame.to_csv(root / POINTS, sep="\t", index=False)


def looked(root: Path) -> pd.DataFrame:
    """The table of a folder, by the name of the volume."""
    table = quality.measure(cohort.read_folder(root), progress=False).table
    return table.set_axis([" ".join(key) for key in table[KEY].itertuples(index=False)])


def speckle(bone: int = 200, shadow: int = 20) -> Volume:
    voxels = np.random.default_rng(1).normal(90, 20, (30, 28, 18)).clip(1, 254)
    voxels[1:8, 4:9] = bone
    voxels[1:8, 9:21] = shadow
    return Volume(
        voxels.astype(np.uint8), (0.4, 0.5, 0.6), {"DynamicRangeDB": 60, "GainPercent": "50 %", "DepthMM": 45}
    )


def test_numbers_are_what_they_are_called() -> None:
    volume, settings = speckle(), GainSettings()
    volume.voxels[12:14, 10, 4] = 255, 0
    row = quality.of_volume(volume) | quality.of_annotated(volume, ANNOTATION, settings)
    roi, size = volume.voxels[10:28, 8:26, 2:16], volume.voxels.size
    assert (row["bone"], row["shadow"]) == (200, 20)
    assert row["roi_mean_raw"] == pytest.approx(roi.mean())
    assert row["roi_mean"] == pytest.approx(preprocess.region(volume, ANNOTATION, settings).voxels.mean())
    assert row["roi_black_pct"] == pytest.approx(100 / roi.size)
    assert row["saturated_pct"] == pytest.approx(100 / size)
    assert row["grey_levels"] == len(np.unique(volume.voxels))
    assert row["roi_grey_levels"] == len(np.unique(roi))
    assert (row["spacing_j_mm"], row["field_j_mm"], row["depth_mm"]) == (0.5, 14, 45)
    assert np.isnan(row["gain_percent"])  # words are no number, and nobody guesses
    # Bone at voxel 6, dark until voxel 20 of 0.5 mm: a patch's smoothing may move the edge by a voxel.
    assert row["shadow_mm"] == pytest.approx((21 - 6) * 0.5, abs=0.5)


@pytest.mark.parametrize("gain_db", [-3.0, 2.0, 4.0])
def test_gain_is_measured_in_decibels(gain_db: float) -> None:
    volume = speckle(bone=180, shadow=40)
    louder = preprocess.change_gain(volume, gain_db, GainSettings())
    before, after = (quality.of_annotated(v, ANNOTATION, GainSettings())["gain_db"] for v in (volume, louder))
    assert after - before == pytest.approx(gain_db, abs=60 / 255 / 2)  # half a grey level


def test_the_simulators_gain_knob_is_measured_in_decibels() -> None:
    quiet, loud = (
        quality.of_annotated(*phantom.simulate(phantom.Parameters(0.2, gain_percent=gain), seed=5), GainSettings())
        for gain in (48.0, 51.0)
    )
    assert loud["gain_db"] - quiet["gain_db"] == pytest.approx(3 * 0.6, abs=0.2)  # the knob turns 0.6 dB per percent


def test_no_volume_of_an_unfinished_and_broken_folder_is_left_out(make_cohort: MakeCohort) -> None:
    root = make_cohort(patients=2)
    annotate(root, "sub-001 L23 L", bone_i="n/a")
    annotate(root, "sub-001 L23 R", bone_i="99")
    annotate(root, "sub-001 L34 L", quality="exclude", quality_reason="bone not visible")
    path(root, "sub-001 L34 R").write_bytes(b"no volume")
    (root / "participants.tsv").unlink()
    table = looked(root)
    assert len(table) == 16
    assert list(table["status"][:5]) == ["not annotated", "wrongly annotated", "excluded", "unreadable", "annotated"]
    assert table["reason"].iloc[2] == "bone not visible"
    assert "expected inside a volume" in table["flags"].iloc[1]
    assert "sub-001_level-L34_lat-R_bmode.nii.gz" in table["flags"].iloc[3]
    assert table["grey_levels"].iloc[:3].notna().all() and table["bone"].iloc[:2].isna().all()
    assert looked(root / "nowhere").empty


def squeezed(volume: Volume) -> Volume:
    return replace(volume, voxels=volume.voxels // 4 * 4)


def overdriven(volume: Volume) -> Volume:
    return preprocess.change_gain(volume, 12, GainSettings())


def brighter(volume: Volume) -> Volume:
    voxels = volume.voxels.copy()
    voxels[10:] = voxels[10:].clip(0, 150) + 100
    return replace(volume, voxels=voxels)


def holey(volume: Volume) -> Volume:
    voxels = volume.voxels.copy()
    voxels[10:, :, ::3] = 0
    return replace(volume, voxels=voxels)


PLANTED = {
    "black ROI": holey,
    "few grey levels": squeezed,
    "saturated bone": overdriven,
    "unusual spacing": lambda volume: replace(volume, spacing_mm=(0.4, 0.4, 0.8)),
    "normalised ROI mean": brighter,
}


@pytest.mark.parametrize("flag", PLANTED)
def test_what_was_planted_is_flagged_and_nothing_else(make_cohort: MakeCohort, flag: str) -> None:
    root = make_cohort(patients=2)
    before = looked(root)["flags"]
    edit(root, "sub-002 L45 R", PLANTED[flag])
    after = looked(root)["flags"]
    assert flag in after["sub-002 L45 R"]
    others = after.drop("sub-002 L45 R")
    assert (others == before.drop("sub-002 L45 R")).all() and not others.str.contains(flag).any()


def test_thumbnails_mark_the_places_of_the_annotation(make_cohort: MakeCohort) -> None:
    root = make_cohort(patients=1)
    edit(root, "sub-001 L23 L", lambda volume: replace(volume, spacing_mm=(0.4, 0.8, 0.5)))
    measured = quality.measure(cohort.read_folder(root), progress=False)
    assert set(measured.thumbnails) == set(measured.table["path"])
    picture = measured.thumbnails[measured.table["path"][0]]
    assert picture.pixels.shape == (100, round(100 * 30 * 0.4 / (28 * 0.8)))  # depth down, true to scale
    assert picture.roi == pytest.approx((10 / 30, 8 / 28, 18 / 30, 18 / 28))
    assert picture.bone == pytest.approx((4.5 / 30, 6.5 / 28))
    (x, y), (height, width) = picture.shadow, picture.pixels.shape
    assert picture.pixels[int(y * height), int(x * width)] < 60 < picture.pixels[int(y * height), int(0.7 * width)]
