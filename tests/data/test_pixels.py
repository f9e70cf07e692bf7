"""Grey levels survive every way of storing them, and colour is never taken for grey."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.pixels import apply_color_lut

from mflib.base.errors import FileError
from mflib.data.intake import elements
from mflib.data.intake.dicom import read
from tests.data import dicoms as files

SPACING = (0.2, 0.3, 0.5)
VOXELS = files.speckle()
STORED = [
    (photometric, syntax)
    for photometric in ("MONOCHROME2", "MONOCHROME1", "RGB", "PALETTE COLOR", "YBR_FULL", "YBR_FULL_422", "YBR_RCT")
    for syntax in (*files.PLAIN, *files.COMPRESSED)
    if (photometric != "YBR_RCT" or syntax == files.JPEG2000Lossless)
    and (photometric != "YBR_FULL_422" or syntax in (*files.PLAIN, files.JPEGBaseline8Bit))
]


@pytest.mark.parametrize(("photometric", "syntax"), STORED)
def test_grey_levels_survive(tmp_path: Path, photometric: str, syntax: str) -> None:
    path = files.region_multiframe(tmp_path / "a.dcm", VOXELS, SPACING, photometric=photometric, syntax=syntax)
    difference = np.abs(read(path).voxels.astype(int) - VOXELS)
    # The noise itself is lost by JPEG at quality 95 by up to 9 grey levels, by nothing else at all.
    assert difference.max() <= (12 if syntax == files.JPEGBaseline8Bit else 0)
    assert difference.mean() < 3


def test_planes_of_colour_stored_one_after_another(tmp_path: Path) -> None:
    path = files.region_multiframe(tmp_path / "a.dcm", VOXELS, SPACING, photometric="RGB", planar=1)
    np.testing.assert_array_equal(read(path).voxels, VOXELS)


def test_eight_bits_in_sixteen_are_grey_and_twelve_are_refused(tmp_path: Path) -> None:
    path = files.affiniti(tmp_path / "a.dcm", VOXELS, SPACING, bits=(16, 8))
    np.testing.assert_array_equal(read(path).voxels, VOXELS)
    with pytest.raises(FileError, match="found unsigned pixels of 12 bits in 16, expected 8-bit grey levels"):
        read(files.affiniti(tmp_path / "a.dcm", VOXELS, SPACING, bits=(16, 12)))


def doppler(path: Path, syntax: str, photometric: str = "RGB") -> Path:
    """An Affiniti-like file in which 6 voxels of one frame are red."""
    path = files.affiniti(path, VOXELS, SPACING)
    ds = pydicom.dcmread(path)
    frames = np.repeat(ds.pixel_array[..., None], 3, -1)
    frames[3, 10:12, 20:23] = (220, 30, 20)
    return files.finish(path, ds, frames, False, photometric=photometric, syntax=syntax)


@pytest.mark.parametrize("syntax", [files.ExplicitVRLittleEndian, files.RLELossless])
def test_true_colour_is_refused_with_its_extent(tmp_path: Path, syntax: str) -> None:
    with pytest.raises(FileError, match=r"true colour in 6 voxels \(0\.04 %\) of 1 frames"):
        read(doppler(tmp_path / "a.dcm", syntax))


def test_colour_outside_the_region_goes_with_the_border(tmp_path: Path) -> None:
    path = files.region_multiframe(tmp_path / "a.dcm", VOXELS, SPACING, photometric="RGB")
    ds = pydicom.dcmread(path)
    frames = ds.pixel_array.copy()
    frames[:, 5:12, 60:80] = (37, 61, 194)
    files.finish(path, ds, frames, False, photometric="RGB")
    np.testing.assert_array_equal(read(path).voxels, VOXELS)


def test_a_video_cannot_be_decoded(tmp_path: Path) -> None:
    path = files.affiniti(tmp_path / "a.dcm", VOXELS, SPACING)
    ds = pydicom.dcmread(path)
    ds.PixelData = pydicom.encaps.encapsulate([b"\0\0\1\xb3" * 8])
    ds["PixelData"].VR, ds.file_meta.TransferSyntaxUID = "OB", pydicom.uid.MPEG4HP41
    ds.PhotometricInterpretation = "YBR_PARTIAL_420"
    files.write(path, ds, pydicom.uid.MPEG4HP41)
    with pytest.raises(FileError, match=r"compressed as MPEG-4 AVC/H\.264 High Profile"):
        read(path)


def test_a_real_palette_picture_holds_blue_and_a_grey_sector() -> None:
    ds = pydicom.dcmread(get_testdata_file("examples_palette.dcm"))
    rgb = (apply_color_lut(ds.pixel_array, ds) >> 8).astype(np.uint8)
    grey, coloured = elements.grey_of_colour(rgb)
    assert coloured is not None
    assert coloured[:58].mean() > 0.7  # the machine's title bar
    assert not coloured[100:, 120:770].any()  # the sector
    assert np.abs(grey[100:, 120:770].astype(int) - rgb[100:, 120:770, 1]).max() <= 2


def test_a_real_film_of_jpeg_ybr_is_refused_then_read(tmp_path: Path) -> None:
    path = Path(get_testdata_file("examples_ybr_color.dcm"))
    with pytest.raises(
        FileError, match=r"30 frames follow each other in time.*was the picture scaled after the recording"
    ):
        read(path)
    ds = pydicom.dcmread(path)
    truth = ds.pixel_array[..., 1]
    del ds.SequenceOfUltrasoundRegions
    files.write(tmp_path / "a.dcm", ds, ds.file_meta.TransferSyntaxUID)
    with pytest.raises(FileError, match="30 frames follow each other in time"):
        read(tmp_path / "a.dcm")
    found = read(tmp_path / "a.dcm", spacing_mm=(0.5, 0.5, 0.5))
    assert (found.technical["Manufacturer"], found.voxels.shape) == ("SonoSite", (320, 240, 30))
    assert found.voxels[:, :16].max() == 0, "the name in the upper border is gone"
    assert found.voxels[:, 226:].max() == 0, "the buttons in the lower border are gone"
    sector = (slice(60, 270), slice(40, 195))
    assert np.abs(found.voxels[sector].astype(int) - truth.T[sector]).max() <= 4
