"""Volumes survive the round trip, and a damaged file is never read as if it were whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from mflib.base.errors import FileError, InputError
from mflib.data import volume as volumes
from mflib.data.volume import FORMATS, Annotation, Volume


@pytest.fixture
def speckle() -> Volume:
    voxels = np.random.default_rng(0).integers(0, 256, (40, 30, 20), dtype=np.uint8)
    return Volume(voxels, (0.2, 0.3, 0.4), {"DynamicRangeDB": 55, "Manufacturer": "none"})


@pytest.mark.parametrize("suffix", FORMATS)
def test_round_trip(tmp_path: Path, speckle: Volume, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    volumes.write(speckle, path)
    back = volumes.read(path)
    np.testing.assert_array_equal(back.voxels, speckle.voxels)
    assert back.spacing_mm == speckle.spacing_mm
    assert back.sidecar == speckle.sidecar
    assert back.dynamic_range_db == 55
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.json", f"a{suffix}"]


MARKS = Annotation((5, 0, 9), (5, 23, 0), (10, 4, 2), (20, 20, 16))  # up to the borders of (30, 24, 18)


@pytest.mark.parametrize(
    ("change", "leaves", "said"),
    [
        ({"bone": (30, 0, 9)}, [("bone", 0)], r"bone is at \(30, 0, 9\)"),
        ({"shadow": (5, -1, 18)}, [("shadow", 1), ("shadow", 2)], r"shadow is at \(5, -1, 18\)"),
        ({"roi_start": (10, 5, 2)}, [("roi", 1)], r"ROI spans \(10, 5, 2\) to \(30, 25, 18\)"),
        ({"roi_start": (-1, 4, 2)}, [("roi", 0)], r"ROI spans \(-1, 4, 2\)"),
        ({"roi_size": (20, 20, 0)}, [("roi", 2)], r"ROI spans .* to \(30, 24, 2\)"),
    ],
)
def test_marks_that_leave_their_volume_are_refused(
    change: dict[str, Any], leaves: list[tuple[str, int]], said: str
) -> None:
    shape = (30, 24, 18)
    MARKS.check_inside(shape)
    wrong = replace(MARKS, **change)
    assert wrong.outside(shape) == leaves
    with pytest.raises(InputError, match=rf"^{said}.*, expected inside a volume of \(30, 24, 18\)$"):
        wrong.check_inside(shape)


def test_only_finite_numbers_of_a_sidecar_are_stated(tmp_path: Path, speckle: Volume) -> None:
    volumes.write(speckle, tmp_path / "a.nrrd")
    huge = "1" + "0" * 400
    fields = f'{{"a": Infinity, "b": NaN, "c": true, "d": "5", "e": {huge}, "f": null, "g": 5, "h": -0.5}}'
    (tmp_path / "a.json").write_text(fields)
    back = volumes.read(tmp_path / "a.nrrd")
    assert [back.stated(field) for field in "abcdefghi"] == [None] * 6 + [5.0, -0.5, None]


def test_nifti_axes_are_right_anterior_superior(tmp_path: Path, speckle: Volume) -> None:
    volumes.write(speckle, tmp_path / "a.nii.gz")
    image = sitk.ReadImage(str(tmp_path / "a.nii.gz"))
    # In ITK's left-posterior-superior frame a diagonal RAS affine has these directions.
    assert image.GetDirection() == (-1, 0, 0, 0, -1, 0, 0, 0, 1)


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_cut_short_is_refused(tmp_path: Path, speckle: Volume, suffix: str, compressed: bool) -> None:
    path = tmp_path / f"a{suffix}"
    volumes.write(speckle, path)
    sitk.WriteImage(sitk.ReadImage(str(path)), str(path), compressed)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(FileError, match=f"a{suffix}: "):
        volumes.read(path)


def test_a_damaged_mha_is_refused(tmp_path: Path, speckle: Volume) -> None:
    path = tmp_path / "a.mha"
    volumes.write(speckle, path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    with pytest.raises(FileError, match="damaged"):
        volumes.read(path)


def test_patch_is_clipped_at_the_border(speckle: Volume) -> None:
    assert speckle.patch((0, 15, 19), 0.8).shape == (5, 7, 3)
