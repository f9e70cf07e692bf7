"""Grey levels survive every way of storing them, and colour is never taken for grey."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.pixels import apply_color_lut

from mflib.base.errors import FileError
from mflib.data.intake import elements
from mflib.data.intake.acquisition import acquire, spaced
from mflib.data.intake.dicom import read
from tests.data import dicoms as files
from tests.data.test_dicom import changed

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


ODD = files.speckle((41, 33, 12))
ONE = 41 * 33


def stored(path: Path, content: bytes, frames: int = 12) -> Path:
    """Odd frames with other bytes of pixels."""
    path = files.region_multiframe(path, ODD[..., :frames], SPACING, border=0, text=None)
    return changed(path, lambda ds: ds.update({"PixelData": content}))


@pytest.mark.parametrize(("frames", "behind"), [(12, bytes(2)), (12, bytes(100)), (11, b"\7"), (11, bytes(21))])
def test_a_few_bytes_behind_the_pixels_stay_there(tmp_path: Path, frames: int, behind: bytes) -> None:
    voxels = ODD[..., :frames]
    path = stored(tmp_path / "a.dcm", voxels.T.tobytes() + behind, frames)
    np.testing.assert_array_equal(read(path).voxels, voxels)


@pytest.mark.parametrize("filler", [b"\0", b" "])
def test_frames_that_are_each_filled_up_to_even_are_read_as_they_are(tmp_path: Path, filler: bytes) -> None:
    content = b"".join(frame.tobytes() + filler for frame in ODD.T)
    np.testing.assert_array_equal(read(stored(tmp_path / "a.dcm", content)).voxels, ODD)


@pytest.mark.parametrize("filler", [b"", b"\0"])
@pytest.mark.parametrize(
    "dark", [(slice(2), slice(None)), (slice(-1, None), slice(None)), (slice(None), slice(-20, None))]
)
def test_black_does_not_shift_the_frames_whose_filling_is_zeros_too(
    tmp_path: Path, filler: bytes, dark: tuple[slice, slice]
) -> None:
    frames = ODD.T.copy()
    frames[:, *dark] = 0
    frames[:, -1, -13:] = 0
    content = b"".join(frame.tobytes() + filler for frame in frames)
    path = stored(tmp_path / "a.dcm", content.ljust(ODD.size + 12, b"\0"))
    np.testing.assert_array_equal(read(path).voxels, frames.T)


@pytest.mark.parametrize("filler", [b"", b"\0"])
def test_bytes_in_words_of_another_order_keep_their_filling(tmp_path: Path, filler: bytes) -> None:
    content = b"".join(frame.tobytes() + filler for frame in ODD[..., :11].T)
    swapped = np.frombuffer(content + b"\0" * (len(content) % 2), "<u2").astype(">u2").tobytes()
    path = files.affiniti(tmp_path / "a.dcm", ODD[..., :11], SPACING, syntax=files.ExplicitVRBigEndian)
    ds = pydicom.dcmread(path)
    ds.PixelData, ds["PixelData"].VR = swapped, "OW"
    np.testing.assert_array_equal(read(files.write(path, ds, files.ExplicitVRBigEndian)).voxels, ODD[..., :11])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (ODD.T.tobytes() * 2, r"32472 bytes of pixels \(24 frames\), expected 16236 \(12 frames"),
        (ODD.T.tobytes() + bytes(ONE + 1), r"\(13 frames\), expected 16236 \(12 frames"),
        (ODD.T.tobytes() + b"\7" * 10, r"16246 bytes .* expected 16236"),
        (b"".join(frame.tobytes() + bytes(3) for frame in ODD.T), r"16272 bytes .* expected 16236"),
        (bytes(ODD.size + 12), r"16248 bytes .* expected 16236"),
        (ODD.T.tobytes()[:-2], "cut short, found 16234 of 16236 bytes"),
    ],
)
def test_pixels_of_another_length_than_declared_are_refused(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(FileError, match=said):
        read(stored(tmp_path / "a.dcm", content))


@pytest.mark.parametrize("syntax", files.PLAIN)
@pytest.mark.parametrize("shift", range(9))
def test_bits_are_taken_from_where_the_file_says_they_lie(tmp_path: Path, syntax: str, shift: int) -> None:
    path = files.affiniti(tmp_path / "a.dcm", VOXELS, SPACING, bits=(16, 8), shift=shift, syntax=syntax)
    np.testing.assert_array_equal(read(path).voxels, VOXELS)


@pytest.mark.parametrize(("shift", "outside"), [(0, 8), (0, 15), (4, 2), (8, 7)])
def test_bits_outside_the_stored_ones_are_refused_unless_an_overlay_lies_there(
    tmp_path: Path, shift: int, outside: int
) -> None:
    path = files.affiniti(tmp_path / "a.dcm", VOXELS, SPACING, bits=(16, 8), shift=shift)
    numbers = VOXELS.T.astype("<u2") << shift
    numbers[3, 5, 7] |= 1 << outside
    path = changed(path, lambda ds: ds.update({"PixelData": numbers.tobytes()}))
    for position in (None, outside ^ 1):
        if position is not None:
            path = changed(path, lambda ds: ds.add_new(0x60020102, "US", position))  # noqa: B023
        with pytest.raises(FileError, match="found bits set outside the 8 of 16 that the file declares as stored"):
            read(path)
    path = changed(path, lambda ds: ds.add_new(0x60000102, "US", outside))
    np.testing.assert_array_equal(read(path).voxels, VOXELS)


def test_a_header_that_lies_about_its_bits_wraps_nothing(tmp_path: Path) -> None:
    path = files.affiniti(tmp_path / "a.dcm", VOXELS, SPACING, bits=(16, 8), shift=4)
    with pytest.raises(FileError, match="found bits set outside the 8 of 16"):
        read(changed(path, lambda ds: setattr(ds, "HighBit", 7)))


@pytest.mark.parametrize("high", [3, 6, 16, 99])
def test_bits_that_lie_nowhere_are_refused(tmp_path: Path, high: int) -> None:
    path = files.affiniti(tmp_path / "a.dcm", VOXELS, SPACING, bits=(16, 8))
    with pytest.raises(FileError, match=f"found High Bit {high}, which does not fit 8 bits stored in 16"):
        read(changed(path, lambda ds: setattr(ds, "HighBit", high)))


@pytest.mark.parametrize("photometric", ["MONOCHROME2", "RGB", "YBR_FULL"])
@pytest.mark.parametrize("syntax", files.COMPRESSED)
@pytest.mark.parametrize("planar", [1, None])
def test_compressed_frames_say_themselves_how_their_colours_lie(
    tmp_path: Path, syntax: str, photometric: str, planar: int | None
) -> None:
    path = files.affiniti(tmp_path / "a.dcm", VOXELS, SPACING, syntax=syntax, photometric=photometric)
    expected = read(path).voxels
    path = changed(path, lambda ds: ds.update({"PlanarConfiguration": planar}))
    np.testing.assert_array_equal(read(path).voxels, expected)


@pytest.mark.parametrize("said", ["RGB", "YBR_FULL", "YBR_FULL_422"])
@pytest.mark.parametrize("held", ["RGB", "YCbCr"])
def test_grey_jpeg_shows_by_itself_what_it_holds(tmp_path: Path, said: str, held: str) -> None:
    path = files.affiniti(tmp_path / "a.dcm", VOXELS, SPACING, syntax=files.JPEGBaseline8Bit, photometric=said)
    chroma = VOXELS.T if held == "RGB" else np.full_like(VOXELS.T, 128)
    frames = [files.bare_jpeg(np.stack(channels, -1)) for channels in zip(VOXELS.T, chroma, chroma, strict=True)]
    path = changed(path, lambda ds: ds.update({"PixelData": pydicom.encaps.encapsulate(frames)}))
    found = read(path)
    assert np.abs(found.voxels.astype(int) - VOXELS).max() <= 12
    assert not any("set to 0" in notice for notice in found.notices)


@pytest.mark.parametrize("frame", [0, 11])
def test_a_jpeg_frame_without_its_end_is_refused(tmp_path: Path, frame: int) -> None:
    path = files.affiniti(tmp_path / "a.dcm", VOXELS, SPACING, syntax=files.JPEGBaseline8Bit)

    def cut(ds: pydicom.Dataset) -> None:
        codes = list(pydicom.encaps.generate_frames(ds.PixelData, number_of_frames=12))
        codes[frame] = codes[frame][: len(codes[frame]) // 2]
        ds.PixelData = pydicom.encaps.encapsulate(codes)

    with pytest.raises(FileError, match=f"frame {frame + 1} is cut short"):
        read(changed(path, cut))


@pytest.mark.parametrize("element", [{"RescaleSlope": "2"}, {"RescaleIntercept": "-1000", "RescaleSlope": "1"}])
def test_grey_levels_that_the_file_rescales_are_refused(tmp_path: Path, element: dict[str, str]) -> None:
    plain = {"RescaleSlope": "1", "RescaleIntercept": "0"}
    for write in (files.affiniti, files.enhanced_us):
        path = changed(write(tmp_path / "a.dcm", VOXELS, SPACING), lambda ds: ds.update(plain))
        np.testing.assert_array_equal(read(path).voxels, VOXELS)
        with pytest.raises(FileError, match="grey levels that the file rescales"):
            read(changed(path, lambda ds: ds.update(element)))


@pytest.mark.parametrize("write", [files.affiniti, files.enhanced_us, files.cartesian, files.region_multiframe])
def test_a_volume_without_anything_to_see_is_refused(tmp_path: Path, write: Callable[..., Path]) -> None:
    for voxels in (VOXELS * 0, VOXELS // 100 * 100):
        with pytest.raises(FileError, match="distinct values as in a mask, expected a picture"):
            read(write(tmp_path / "a.dcm", voxels, SPACING))


def test_so_is_one_in_which_only_the_text_can_be_seen(tmp_path: Path) -> None:
    frames = files.with_text(files.screen(VOXELS // 50 * 50), "DOE^JANE 1957")
    assert len(np.unique(frames)) > 20
    with pytest.raises(FileError, match="4 distinct values where no burnt-in text stands"):
        read(files.affiniti(tmp_path / "a.dcm", frames.T, SPACING))


def bordered(path: Path, colours: list[tuple[int, int, int]]) -> Path:
    """A grey stack whose border holds a mark in one of the colours in each frame."""
    frames = np.repeat(files.screen(VOXELS)[..., None], 3, -1)
    for n, frame in enumerate(frames):
        frame[5:12, 20:60] = colours[n % len(colours)]
    path = files.affiniti(path, files.screen(VOXELS).T, SPACING)
    return files.finish(path, pydicom.dcmread(path), frames, False, photometric="RGB")


def test_a_mask_hides_a_mark_and_no_colour_that_changes(tmp_path: Path) -> None:
    still = read(bordered(tmp_path / "a.dcm", [(220, 30, 20)]))
    np.testing.assert_array_equal(still.voxels, files.screen(VOXELS).T)
    with pytest.raises(FileError, match=r"true colour in \d+ voxels"):
        read(bordered(tmp_path / "a.dcm", [(220, 30, 20), (20, 30, 220)]))


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


@pytest.mark.parametrize("levels", [VOXELS, VOXELS // 3, VOXELS // 8 + 100, VOXELS.clip(60, 120)])
def test_grey_that_is_called_another_colour_is_refused_as_colour(tmp_path: Path, levels: np.ndarray) -> None:
    path = files.affiniti(tmp_path / "a.dcm", levels, SPACING, photometric="RGB")
    with pytest.raises(FileError, match=r"true colour in \d+ voxels"):
        read(changed(path, lambda ds: setattr(ds, "PhotometricInterpretation", "YBR_FULL")))


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
    # A stated spacing would make planes of a film, so what it could not help is said first.
    with pytest.raises(FileError, match=r"tissue region is declared at .* scaled after the recording"):
        acquire(path)
    ds = pydicom.dcmread(path)
    truth = ds.pixel_array[..., 1]
    del ds.SequenceOfUltrasoundRegions
    files.write(tmp_path / "a.dcm", ds, ds.file_meta.TransferSyntaxUID)
    with pytest.raises(FileError, match="30 frames follow each other in time"):
        spaced(read(tmp_path / "a.dcm"))
    found = acquire(tmp_path / "a.dcm", stated=(0.5, 0.5, 0.5))
    assert (found.technical["Manufacturer"], found.voxels.shape) == ("SonoSite", (320, 240, 30))
    assert found.voxels[:, :16].max() == 0, "the name in the upper border is gone"
    assert found.voxels[:, 226:].max() == 0, "the buttons in the lower border are gone"
    sector = (slice(60, 270), slice(40, 195))
    assert np.abs(found.voxels[sector].astype(int) - truth.T[sector]).max() <= 4
