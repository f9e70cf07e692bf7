"""Each kind of file gives back the voxels and spacing that were written, or is refused for the right reason."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

from mflib.base.errors import FileError
from mflib.data.intake.acquisition import acquire, spaced
from mflib.data.intake.dicom import read
from mflib.data.intake.elements import is_dicom
from tests.data import dicoms as files

SPACING = (0.21, 0.32, 0.53)
VOXELS = files.speckle()


def changed(path: Path, change: Callable[[pydicom.Dataset], Any]) -> Path:
    """The file with its dataset changed."""
    ds = pydicom.dcmread(path)
    change(ds)
    return files.write(path, ds, ds.file_meta.TransferSyntaxUID)


@pytest.mark.parametrize(
    ("write", "options", "source"),
    [
        (files.enhanced_us, {}, "per-frame plane positions"),
        (files.enhanced_us, {"orientation": (0, 0.6, 0.8, 1, 0, 0)}, "per-frame plane positions"),
        (files.affiniti, {}, "private element of the vendor"),
        (files.affiniti, {"block": 0x42, "syntax": files.ImplicitVRLittleEndian}, "private element of the vendor"),
        (files.cartesian, {}, "private elements of the Cartesian export"),
        (files.cartesian, {"bare": True}, "private elements of the Cartesian export"),
        (files.region_multiframe, {}, "region calibration"),
    ],
)
def test_voxels_and_spacing_come_back(tmp_path: Path, write: Callable[..., Path], options: dict, source: str) -> None:
    path = write(tmp_path / "a", VOXELS, SPACING, **options)
    assert is_dicom(path)
    acquisition = read(path)
    np.testing.assert_array_equal(acquisition.voxels, VOXELS)
    assert acquisition.spacing_mm == pytest.approx(SPACING, rel=1e-9)
    assert acquisition.in_plane_mm == pytest.approx(SPACING[:2], rel=1e-9)
    assert acquisition.spacing_source == source


def test_frames_are_put_in_the_order_of_their_positions(tmp_path: Path) -> None:
    shuffled = np.random.default_rng(1).permutation(VOXELS.shape[2])
    positions = np.zeros((len(shuffled), 3))
    positions[:, 2] = 7 + shuffled * SPACING[2]
    path = files.enhanced_us(tmp_path / "a.dcm", VOXELS[:, :, shuffled], SPACING, positions=positions)
    acquisition = read(path)
    np.testing.assert_array_equal(acquisition.voxels, VOXELS)
    assert acquisition.spacing_mm == pytest.approx(SPACING)
    assert "frames were put in the order of their positions" in acquisition.notices


@pytest.mark.parametrize(
    ("heights", "sideways", "message"),
    [
        ([*range(11), 11.2], 0, "planes lie 0.53 to 0.636 mm apart, expected equal distances"),
        ([0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5], 0, "found 12 frames at 6 positions (2 time points)"),
        (range(12), 0.5, "planes are shifted sideways by up to 5.5 mm"),
        ([*range(11), 1e200], 0, "a plane lies farther than 10000 mm away"),
    ],
)
def test_planes_that_are_no_even_stack_are_refused(
    tmp_path: Path, heights: list[float], sideways: float, message: str
) -> None:
    positions = np.array([[sideways * n, 0, h * SPACING[2]] for n, h in enumerate(heights)])
    path = files.enhanced_us(tmp_path / "a.dcm", VOXELS, SPACING, positions=positions)
    for stated in (None, SPACING):
        with pytest.raises(FileError, match=re.escape(message)):
            acquire(path, stated=stated)


def test_planes_that_are_not_parallel_are_refused(tmp_path: Path) -> None:
    def tilt(ds: pydicom.Dataset) -> None:
        for n, group in enumerate(ds.PerFrameFunctionalGroupsSequence):
            group.PlaneOrientationVolumeSequence = [plane := pydicom.Dataset()]
            plane.ImageOrientationVolume = [np.cos(n / 10), 0.0, np.sin(n / 10), 0.0, 1.0, 0.0]

    path = changed(files.enhanced_us(tmp_path / "a.dcm", VOXELS, SPACING), tilt)
    with pytest.raises(FileError, match="different plane orientations"):
        read(path)


def test_spacing_is_never_guessed(tmp_path: Path) -> None:
    path = files.region_multiframe(tmp_path / "a.dcm", VOXELS, SPACING, distance=False)
    found = read(path)
    assert (found.spacing_mm, found.spacing_source) == (None, "region calibration")
    assert found.in_plane_mm == pytest.approx(SPACING[:2])
    # Thickness is how thick a slice is, not how far the next one lies.
    thick = read(changed(path, lambda ds: setattr(ds, "SliceThickness", "0.5")))
    assert thick.spacing_mm is None
    stated = acquire(path, stated=(0.3, 0.3, 0.7))
    assert (stated.spacing_mm, stated.spacing_source) == ((0.3, 0.3, 0.7), "stated by the user")


def test_a_stated_spacing_stands_above_the_files_and_says_both(tmp_path: Path) -> None:
    found = acquire(files.affiniti(tmp_path / "a.dcm", VOXELS, SPACING), stated=(0.3, 0.3, 0.7))
    assert found.spacing_mm == (0.3, 0.3, 0.7)
    said = "the file says 0.21 x 0.32 x 0.53 mm (private element of the vendor); the stated 0.3 x 0.3 x 0.7 mm stand"
    assert any(notice.startswith(said) for notice in found.notices)


def test_a_stated_spacing_that_contradicts_the_frames_says_so(tmp_path: Path) -> None:
    path = files.region_multiframe(tmp_path / "a.dcm", VOXELS, SPACING, distance=False)
    said = (
        "the file says 0.21 x 0.32 mm within frames (region calibration); the stated 0.21 x 0.33 x 0.7 mm stand above"
    )
    assert any(notice.startswith(said) for notice in acquire(path, stated=(0.21, 0.33, 0.7)).notices)
    rounded = acquire(path, stated=(0.213, 0.318, 0.7))
    assert not any("stand above" in notice for notice in rounded.notices)


def test_one_one_one_is_missing(tmp_path: Path) -> None:
    for write in (files.affiniti, files.enhanced_us, files.cartesian):
        found = read(write(tmp_path / "a.dcm", VOXELS, (1, 1, 1)))
        assert found.spacing_mm is None
        assert any("how a missing one reads" in notice for notice in found.notices)


def test_centimetres_and_micrometres_in_the_place_of_millimetres_are_refused(tmp_path: Path) -> None:
    for factor in (1e-3, 1e3):
        path = files.affiniti(tmp_path / "a.dcm", VOXELS, (0.21 * factor, 0.32 * factor, 0.53 * factor))
        with pytest.raises(FileError, match=r"expected 0\.01 to 5 mm"):
            spaced(read(path))
        assert acquire(path, stated=SPACING).spacing_mm == SPACING


def test_a_film_is_no_volume_unless_a_person_says_so(tmp_path: Path) -> None:
    path = files.region_multiframe(tmp_path / "a.dcm", VOXELS, SPACING, film=True, distance=False)
    for change in (lambda ds: None, lambda ds: delattr(ds, "FrameIncrementPointer")):
        with pytest.raises(FileError, match="12 frames follow each other in time"):
            spaced(read(changed(path, change)))
    found = acquire(path, stated=SPACING)
    assert found.spacing_mm == SPACING
    assert any("steps of time" in notice for notice in found.notices)


def test_several_volumes_in_time_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="found 3 time frames of 12 slices, expected one volume"):
        read(files.cartesian(tmp_path / "a.dcm", VOXELS, SPACING, times=3))


def test_a_private_element_that_speaks_of_another_volume_is_refused(tmp_path: Path) -> None:
    path = files.affiniti(tmp_path / "a.dcm", VOXELS, SPACING)
    path = changed(path, lambda ds: ds.add_new(0x200D1001, "LO", ["416", "412", "256"]))
    with pytest.raises(FileError, match="speaks of 416 x 412 x 256 voxels, the pictures hold 40 x 32 x 12"):
        read(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"RegionLocationMaxX1": 500}, "declared at columns 30-500 and rows 30-61, expected it within 100 columns"),
        ({"RegionSpatialFormat": 2}, "found 0 regions of 2D tissue among 1 declared"),
        ({"RegionDataType": 2}, "found 0 regions of 2D tissue among 1 declared"),
    ],
)
def test_regions_that_are_no_tissue_of_this_picture_are_refused(
    tmp_path: Path, change: dict[str, int], message: str
) -> None:
    path = files.region_multiframe(tmp_path / "a.dcm", VOXELS, SPACING)
    path = changed(path, lambda ds: [setattr(ds.SequenceOfUltrasoundRegions[0], *pair) for pair in change.items()])
    with pytest.raises(FileError, match=message):
        read(path)


def test_two_tissue_regions_are_refused(tmp_path: Path) -> None:
    def add(ds: pydicom.Dataset) -> None:
        other = files.tissue_region((10, 10, 12), SPACING, 5)
        ds.SequenceOfUltrasoundRegions = [*ds.SequenceOfUltrasoundRegions, other]

    with pytest.raises(FileError, match="found 2 regions of 2D tissue among 2 declared"):
        read(changed(files.region_multiframe(tmp_path / "a.dcm", VOXELS, SPACING), add))


def test_pixels_not_calibrated_in_centimetres_have_no_spacing(tmp_path: Path) -> None:
    path = files.region_multiframe(tmp_path / "a.dcm", VOXELS, SPACING)
    found = read(changed(path, lambda ds: setattr(ds.SequenceOfUltrasoundRegions[0], "PhysicalUnitsXDirection", 4)))
    assert (found.spacing_mm, found.in_plane_mm) == (None, None)


def test_what_is_no_volume_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"found one picture \(Ultrasound Image Storage\), expected a volume$"):
        read(files.single(tmp_path / "a.dcm", VOXELS[:, :, 0].T))
    with pytest.raises(FileError, match=r"found CT Image Storage, expected Enhanced US Volume.*: export one of these"):
        read(Path(get_testdata_file("CT_small.dcm")))
    with pytest.raises(FileError, match="found Media Storage Directory Storage"):
        read(Path(get_testdata_file("DICOMDIR")))
    path = changed(files.single(tmp_path / "a.dcm", VOXELS[:, :, 0].T), lambda ds: ds.add_new(0x7FE10010, "LO", "X"))
    with pytest.raises(FileError, match="only GE's software reads"):
        read(path)


def test_what_does_not_say_how_many_pictures_it_holds_is_told_so(tmp_path: Path) -> None:
    path = files.region_multiframe(tmp_path / "a.dcm", VOXELS, SPACING)
    with pytest.raises(FileError, match="found pixels of 12 pictures, but a Number of Frames of 1 or none"):
        read(changed(path, lambda ds: delattr(ds, "NumberOfFrames")))
    path = changed(files.affiniti(path, VOXELS, SPACING), lambda ds: setattr(ds, "SOPClassUID", files.SINGLE))
    with pytest.raises(FileError, match=r"found 12 frames in .*Ultrasound Image Storage, .* holds one"):
        read(path)


UNREADABLE: dict[str, tuple[Callable[..., Path], dict[str, Any], bytes, bytes]] = {
    "pixel spacing": (files.enhanced_us, {}, b"0.32\\0.21 ", b"0,32\\0,21 "),
    "private size": (files.affiniti, {}, b"0.21\\0.32\\0.53", b"0,21\\0,32\\0,53"),
    "two private sizes": (files.affiniti, {}, b"0.21\\0.32\\0.53", b"0.21\\0.32     "),
    "region": (files.region_multiframe, {}, np.float64(SPACING[0] / 10).tobytes(), np.float64(np.nan).tobytes()),
    "export": (files.cartesian, {}, np.float64(SPACING[1] / 10).tobytes(), np.float64(np.inf).tobytes()),
    "distance of an export": (files.cartesian, {}, np.float64(SPACING[2] / 10).tobytes(), np.float64(np.nan).tobytes()),
    "distance": (files.region_multiframe, {}, b"0.53", b"0,53"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_a_person_states_overrules_what_cannot_be_read(tmp_path: Path, case: str) -> None:
    write, options, sound, spoilt = UNREADABLE[case]
    path = write(tmp_path / "a.dcm", VOXELS, SPACING, **options)
    assert sound in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(sound, spoilt))
    with pytest.raises(FileError, match=r"cannot be read|not a finite number|2 voxel sizes"):
        spaced(acquire(path))
    for found in (acquire(path, stated=SPACING), acquire(path, otherwise=SPACING)):
        np.testing.assert_array_equal(found.voxels, VOXELS)
        assert found.spacing_mm == SPACING


def test_elements_that_nothing_hangs_on_may_hold_anything(tmp_path: Path) -> None:
    path = files.region_multiframe(tmp_path / "a.dcm", VOXELS, SPACING)
    path = changed(path, lambda ds: setattr(ds, "DepthOfScanField", 456789))
    path.write_bytes(path.read_bytes().replace(b"456789", b"4.5 cm").replace(b"0.53", b"0,53"))
    with pytest.raises(FileError, match="SpacingBetweenSlices cannot be read"):
        spaced(read(path))
    found = acquire(path, stated=SPACING)
    assert found.spacing_mm == SPACING
    assert "DepthMM" not in found.technical


def test_a_pixel_spacing_that_contradicts_the_region_is_told(tmp_path: Path) -> None:
    path = files.region_multiframe(tmp_path / "a.dcm", VOXELS, SPACING)
    found = read(changed(path, lambda ds: setattr(ds, "PixelSpacing", [0.5, 0.5])))
    assert found.spacing_mm == pytest.approx(SPACING)
    assert any("0.5 x 0.5 mm, contradicts the region calibration" in notice for notice in found.notices)


def test_original_files_are_only_read(tmp_path: Path) -> None:
    path = files.region_multiframe(tmp_path / "a.dcm", VOXELS, SPACING)
    before = (path.read_bytes(), path.stat().st_mtime_ns)
    copy = Path(shutil.copy2(path, tmp_path / "b.dcm"))
    copy.chmod(0o400)
    assert read(copy).voxels.shape == VOXELS.shape
    assert (copy.read_bytes(), copy.stat().st_mtime_ns) == before


def test_the_file_tells_of_its_machine_in_known_words_only(tmp_path: Path) -> None:
    def tell(ds: pydicom.Dataset) -> None:
        ds.TransducerData, ds.DepthOfScanField, ds.TransducerFrequency = ["XL14-3", "DOE"], 40, 6800
        ds.PatientOrientation = ["L", "P"]
        files.overlay(ds, (32, 40))

    found = read(changed(files.affiniti(tmp_path / "a.dcm", VOXELS, SPACING), tell))
    assert found.technical == {
        "Manufacturer": "Philips",
        "ManufacturersModelName": "Affiniti",
        "ProbeModel": "XL14-3",
        "ProbeCentralFrequency": 6.8,
        "DepthMM": 40,
        "SourceFormat": "DICOM, Ultrasound Multi-frame Image, Explicit VR Little Endian",
    }
    assert any("columns run towards the patient's left" in notice for notice in found.notices)
    assert any("overlay planes were left out" in notice for notice in found.notices)
