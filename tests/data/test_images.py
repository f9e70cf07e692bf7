"""Files that are not DICOM: read exactly, or refused for the right reason."""

from __future__ import annotations

import gzip
import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mflib.base.errors import FileError
from mflib.data.intake.acquisition import acquire, spaced
from tests.data.dicoms import screen, speckle, with_text
from tests.data.images import SWEEP, itk, metaimage

VOXELS = speckle()
SPACING = (0.2, 0.25, 0.4)


@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz", "v.nrrd", "v.mha"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float64])
def test_whole_grey_levels_of_any_type_are_kept_exactly(tmp_path: Path, name: str, dtype: type) -> None:
    path = itk(tmp_path / name, VOXELS.astype(dtype), SPACING)
    # The content decides, whatever the file is called.
    path = path.rename(tmp_path / "export 7")
    found = acquire(path)
    assert found.voxels.dtype == np.uint8
    np.testing.assert_array_equal(found.voxels, VOXELS)
    np.testing.assert_allclose(spaced(found), SPACING, rtol=1e-6)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_metaimages_written_by_others_are_read(tmp_path: Path, packed: bool, ending: str) -> None:
    rgb = np.repeat(VOXELS[..., None], 3, -1)
    for voxels in (VOXELS, rgb):
        found = acquire(metaimage(tmp_path / "v.mha", voxels, packed=packed, ending=ending))
        np.testing.assert_array_equal(found.voxels, VOXELS)


def test_equal_channels_become_grey_and_a_trailing_axis_of_one_goes(tmp_path: Path) -> None:
    rgb = np.repeat(VOXELS[..., None], 3, -1)
    for name in ("v.nii.gz", "v.nrrd", "v.mha"):
        np.testing.assert_array_equal(acquire(itk(tmp_path / name, rgb, vector=True)).voxels, VOXELS)
        four = itk(tmp_path / f"4{name}", VOXELS[..., None], (*SPACING, 1))
        np.testing.assert_array_equal(acquire(four).voxels, VOXELS)


def test_channels_are_as_equal_as_those_of_dicom_must_be(tmp_path: Path) -> None:
    grabbed = np.repeat(VOXELS[..., None], 3, -1)
    grabbed[..., 0] += np.random.default_rng(0).integers(0, 4, VOXELS.shape, dtype=np.uint8)
    found = acquire(metaimage(tmp_path / "v.mha", grabbed))
    assert np.abs(found.voxels.astype(int) - VOXELS).max() <= 2


@pytest.mark.parametrize("name", ["v.nii.gz", "v.nrrd", "v.mha"])
def test_names_burnt_into_any_kind_of_file_are_masked(tmp_path: Path, name: str) -> None:
    frames = screen(VOXELS)
    path = itk(tmp_path / name, with_text(frames, "DOE JANE").T, SPACING)
    found = acquire(path)
    np.testing.assert_array_equal(found.voxels, frames.T)
    assert any("looks like burnt-in text: rows" in notice for notice in found.notices)
    static = itk(tmp_path / name, np.repeat(with_text(frames, "DOE JANE").T[..., :1], 12, axis=2), SPACING)
    with pytest.raises(FileError, match="burnt-in names cannot be told from tissue"):
        acquire(static)


def nifti(path: Path, voxels: np.ndarray, datatype: int, **fields: tuple[int, str, tuple[float, ...]]) -> Path:
    """A NIfTI-1 of ``voxels`` with neither qform nor sform; each field is a place in the header, a code and numbers."""
    header = bytearray(352)
    sizes = (3, *voxels.shape, 1, 1, 1, 1)
    plain = {
        "size": (0, "i", (348,)), "dim": (40, "8h", sizes), "datatype": (70, "h", (datatype,)),
        "bitpix": (72, "h", (8 * voxels.itemsize,)), "pixdim": (76, "8f", (1, *SPACING, 0, 0, 0, 0)),
        "offset": (108, "f", (352,)), "units": (123, "b", (2,)), "magic": (344, "4s", (b"n+1\0",)),
    }  # fmt: skip
    for place, code, numbers in (plain | fields).values():
        struct.pack_into(f"<{code}", header, place, *numbers)
    return raw(path, bytes(header) + voxels.tobytes("F"))


@pytest.mark.parametrize(
    ("stored", "datatype", "slope", "shift"),
    [
        ((VOXELS // 2).astype("u1"), 2, 2, 0),
        ((VOXELS - 128).view("i1"), 256, 1, 128),
        (VOXELS * np.int16(2), 4, 0.5, 0),
    ],
)
def test_scaled_whole_numbers_are_what_they_are_scaled_to(
    tmp_path: Path, stored: np.ndarray, datatype: int, slope: float, shift: float
) -> None:
    path = nifti(tmp_path / "v.nii", stored, datatype, scale=(112, "2f", (slope, shift)))
    np.testing.assert_array_equal(acquire(path).voxels, stored.astype(float) * slope + shift)
    raw(path, path.read_bytes()[:-1])
    with pytest.raises(FileError, match="cut short"):
        acquire(path)


NO_THIRD = "voxel sizes of 0.2, 0.25, (0|nan), expected one size along each axis; .*state the spacing"
UNBELIEVABLE: dict[str, tuple[Callable[[Path], Path], str]] = {
    "zero": (lambda p: nifti(p, VOXELS, 2, pixdim=(76, "8f", (1, 0.2, 0.25, 0, 0, 0, 0, 0))), NO_THIRD),
    "matrix": (
        lambda p: nifti(
            p, VOXELS, 2, sform=(254, "h", (1,)), rows=(280, "12f", (0.5, 0, 0, 0, 0, 0.5, 0, 0, 0, 0, 0.5, 0))
        ),
        "0.2, 0.25, 0.4 in pixdim and 0.5, 0.5, 0.5 in sform",
    ),
    "no number": (lambda p: nrrd(p, "spacings: 0.2 0.25 nan"), NO_THIRD),
    "no vector": (lambda p: nrrd(p, "space: RAS\nspace directions: (0.2,0,0) (0,0.25,0) (0,0,0)"), NO_THIRD),
    "no step": (lambda p: metaimage(p, VOXELS, (0.2, 0.25, 0)), NO_THIRD),
}


def nrrd(path: Path, *lines: str) -> Path:
    head = ["NRRD0004", "type: uchar", "dimension: 3", "sizes: 40 32 12", "encoding: raw", *lines, "\n"]
    return raw(path, "\n".join(head).encode() + VOXELS.tobytes("F"))


@pytest.mark.parametrize("case", UNBELIEVABLE)
def test_a_size_that_would_be_invented_is_refused(tmp_path: Path, case: str) -> None:
    make, reason = UNBELIEVABLE[case]
    path = make(tmp_path / {"n": "v.nrrd", "m": "v.nii", "z": "v.nii"}[case[0]])
    with pytest.raises(FileError, match=reason):
        spaced(acquire(path))
    # ITK itself refuses the others.
    if case not in ("no vector", "no step"):
        assert spaced(acquire(path, stated=SPACING)) == SPACING


def coloured() -> np.ndarray:
    rgb = np.repeat(VOXELS[..., None], 3, -1)
    rgb[3, 4, 5, 0] ^= 64
    rgb[3, 4, 7, 0] ^= 64
    return rgb


REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "colour": (lambda p: itk(p / "v.mha", coloured(), vector=True), r"true colour in 2 voxels \(0.01 %\) of 2 frames"),
    "two channels": (lambda p: itk(p / "v.mha", coloured()[..., :2], vector=True), "2 values in each voxel"),
    "signed": (lambda p: itk(p / "v.nrrd", VOXELS.astype(np.int16) * 40 - 1000), r"values from -\d+ to \d+ \(int16\)"),
    "fractions": (lambda p: itk(p / "v.nii", (VOXELS / 3).astype("f4")), "fractions"),
    "nan": (lambda p: itk(p / "v.nii", np.where(VOXELS < 30, np.nan, VOXELS)), "not finite"),
    "mask": (lambda p: itk(p / "v.nii.gz", (VOXELS > 100).astype("u1")), "2 distinct values as in a mask"),
    "film": (lambda p: itk(p / "v.nii", np.stack([VOXELS] * 3, -1), (*SPACING, 1)), "3 time points"),
    "picture": (lambda p: itk(p / "v.mha", VOXELS[:, :, 0], SPACING[:2]), "40 x 32 voxels, expected three axes"),
    "rf": (
        lambda p: metaimage(p / "v.mha", VOXELS, fields={"UltrasoundImageType": "RF_REAL"}),
        "radio-frequency data",
    ),
    "transposed": (
        lambda p: metaimage(p / "v.mha", VOXELS, fields={"UltrasoundImageOrientation": "FMA"}),
        "columns that do not run along the beam",
    ),
    "film in space": (lambda p: nrrd(p / "v.nrrd", "kinds: domain domain time"), "12 entries of a list or film"),
    "segments": (lambda p: nrrd(p / "v.seg.nrrd", "Segment0_ID:=one"), "a segmentation"),
    "kretz": (lambda p: raw(p / "v.vol", b"KRETZFILE 1.0   " + bytes(99)), "only GE's software reads.*Cartesian DICOM"),
    "text": (lambda p: metaimage(p / "v.mha", VOXELS, fields={"BinaryData": "False"}), "written as text"),
    "metres": (lambda p: itk(p / "v.mha", VOXELS, (0.0002, 0.0002, 0.0004)), "spacing 0.0002 x 0.0002 x 0.0004 mm"),
    "micrometres": (lambda p: metaimage(p / "v.mha", VOXELS, fields={"DistanceUnits": "um"}), "spacing 0.0002 x "),
    "frame of a sweep": (lambda p: itk(p / "v.mha", VOXELS[:, :, :1], texts=SWEEP), "40 x 32 x 1 voxels, expected"),
    "2D sweep": (lambda p: itk(p / "v.mha", VOXELS[:, :, 0], SPACING[:2], SWEEP), "40 x 32 voxels, expected"),
    "film in inches": (
        lambda p: nrrd(p / "v.nrrd", "kinds: domain domain time", 'units: "in" "in" "s"'),
        "of a list or film",
    ),
    "huge": (lambda p: metaimage(p / "v.mha", VOXELS, fields={"DimSize": "99999 99999 999"}), "expected at most"),
    "packed": (lambda p: packed(p / "v.mha.gz"), "an archive"),
    "zip": (lambda p: raw(p / "v.nii.gz", b"PK\3\4" + bytes(99)), "an archive"),
    "empty": (lambda p: raw(p / "v.nii.gz", b""), "an empty file"),
    "jpeg": (lambda p: raw(p / "v.mha", b"\xff\xd8\xff\xe0" + bytes(99)), "a picture"),
    "unknown": (lambda p: raw(p / "Thumbs.db", os.urandom(3) + b"x" * 999), "no kind of file"),
    "detached nifti": (lambda p: raw(p / "v.hdr", nifti_magic(p, b"ni1\0")), "voxels lie in another file"),
}


def raw(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def packed(path: Path) -> Path:
    return raw(path, gzip.compress(metaimage(path.with_name("inner"), VOXELS).read_bytes()))


def nifti_magic(folder: Path, magic: bytes) -> bytes:
    content = bytearray(itk(folder / "v.nii", VOXELS).read_bytes())
    content[344:348] = magic
    return bytes(content)


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_grey_volume_is_refused_with_the_reason(tmp_path: Path, case: str) -> None:
    make, reason = REFUSED[case]
    with pytest.raises(FileError, match=reason):
        spaced(acquire(make(tmp_path)))


def test_a_missing_spacing_is_asked_for_and_a_stated_one_stands_above_the_files(tmp_path: Path) -> None:
    bare = itk(tmp_path / "bare.nii.gz", VOXELS, (1, 1, 1))
    with pytest.raises(FileError, match="no spacing"):
        spaced(acquire(bare))
    assert spaced(acquire(bare, otherwise=(0.3, 0.3, 0.5))) == (0.3, 0.3, 0.5)
    own = itk(tmp_path / "own.mha", VOXELS, SPACING)
    assert spaced(acquire(own, otherwise=(0.3, 0.3, 0.5))) == SPACING
    above = acquire(own, stated=(0.3, 0.3, 0.5))
    assert (above.spacing_mm, above.spacing_source) == ((0.3, 0.3, 0.5), "stated by the user")
    assert any("0.2 x 0.25 x 0.4 mm" in notice for notice in above.notices)


def test_rows_that_run_towards_the_probe_are_turned(tmp_path: Path) -> None:
    found = acquire(metaimage(tmp_path / "v.mha", VOXELS, fields={"UltrasoundImageOrientation": "UNA"}))
    np.testing.assert_array_equal(found.voxels, VOXELS[:, ::-1])
    assert any("towards the probe" in notice for notice in found.notices)
    unknown = acquire(metaimage(tmp_path / "v.mha", VOXELS, fields={"UltrasoundImageOrientation": "XX"}))
    assert any("does not name its axes" in notice for notice in unknown.notices)


def test_a_sheared_matrix_is_named(tmp_path: Path) -> None:
    content = bytearray(itk(tmp_path / "v.nii", VOXELS, SPACING).read_bytes())
    content[252:256] = struct.pack("<2h", 0, 1)
    content[280:328] = struct.pack("<12f", 0.2, 0.02, 0, 0, 0, 0.25, 0, 0, 0, 0, 0.4, 0)
    with pytest.raises(FileError, match=r"sheared .* resample it"):
        acquire(raw(tmp_path / "v.nii", bytes(content)))


def test_nifti_units_are_heeded(tmp_path: Path) -> None:
    path = itk(tmp_path / "v.nii", VOXELS, SPACING)
    content = bytearray(path.read_bytes())
    content[80:92] = struct.pack("<3f", 200, 250, 400)
    content[252:256] = bytes(4)  # neither qform nor sform: pixdim decides
    content[123] = 3  # micrometres
    np.testing.assert_allclose(spaced(acquire(raw(path, bytes(content)))), SPACING, rtol=1e-5)
    content[80:92] = struct.pack("<3f", *SPACING)
    content[123] = 0
    assert any("no unit" in notice for notice in acquire(raw(path, bytes(content))).notices)


@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.2, 0.2, 1)])
def test_a_tracked_sweep_is_no_volume_until_a_person_says_so(tmp_path: Path, spacing: tuple[float, ...]) -> None:
    path = metaimage(tmp_path / "sweep.mha", VOXELS, spacing, fields=SWEEP, packed=True)
    with pytest.raises(FileError, match=r"tracked freehand sweep.*reconstruct it"):
        spaced(acquire(path))
    found = acquire(path, otherwise=(0.2, 0.25, 0.4))
    np.testing.assert_array_equal(found.voxels, VOXELS)
    assert spaced(found) == (0.2, 0.25, 0.4)
    assert any("poses were not used" in notice for notice in found.notices)
    lost = SWEEP | {"Seq_Frame0001_ImageStatus": "INVALID", "Seq_Frame0001_ProbeToTrackerTransformStatus": "INVALID"}
    lost_path = metaimage(tmp_path / "lost.mha", VOXELS, spacing, fields=lost)
    assert any("INVALID, and perhaps out of place: 1 of" in n for n in acquire(lost_path, stated=SPACING).notices)


def test_a_sweep_in_nrrd_is_one_too(tmp_path: Path) -> None:
    head = (
        "NRRD0005\ntype: uchar\ndimension: 4\nspace: left-posterior-superior\nsizes: 12 40 32 1\nencoding: raw\n"
        "space directions: none (1,0,0) (0,1,0) (0,0,1)\nkinds: list domain domain domain\n"
        "Seq_Frame0000_ImageStatus:=OK\n\n"
    )
    listed = raw(tmp_path / "listed.seq.nrrd", head.encode() + VOXELS.transpose(1, 0, 2).tobytes())
    for path in (itk(tmp_path / "sweep.nrrd", VOXELS, (1, 1, 1), SWEEP), listed):
        with pytest.raises(FileError, match="tracked freehand sweep"):
            spaced(acquire(path))
        np.testing.assert_array_equal(acquire(path, stated=SPACING).voxels, VOXELS)


@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz", "v.nrrd", "v.mha"])
def test_a_file_cut_anywhere_is_refused(tmp_path: Path, name: str) -> None:
    content = itk(tmp_path / name, VOXELS, SPACING).read_bytes()
    for length in [1, 100, 347, 351, 500, *np.linspace(600, len(content) - 20, 12).astype(int)]:
        with pytest.raises(FileError):
            acquire(raw(tmp_path / f"cut {name}", content[:length]))


def test_what_unpacks_to_more_than_it_declares_is_not_unpacked(tmp_path: Path) -> None:
    header = itk(tmp_path / "v.nii", VOXELS, SPACING).read_bytes()[:352]
    bomb = raw(tmp_path / "v.nii.gz", gzip.compress(header + bytes(2**27), 1))
    with pytest.raises(FileError, match="more bytes than its header declares"):
        acquire(bomb)


# ITK would follow each of these, and take the other file's bytes for voxels.
TRICKS = [
    ("ElementDataFile = {}\n", ""),
    ("ElementDataFile: {}\n", ""),
    ("  ElementDataFile = {}\n", "ElementDataFile = LOCAL\n"),
    ("elementdatafile = LOCAL\nElementDataFile = {}\n", ""),
    ("\xa0ElementDataFile = LOCAL\nElementDataFile = {}\n", ""),
    ("ElementDataFile\n= {}\n", "ElementDataFile = LOCAL\n"),
    ("junk\nElementDataFile = {}\n", "ElementDataFile = LOCAL\n"),
    ("Comment = x\rElementDataFile = {}\n", "ElementDataFile = LOCAL\n"),
    ("ElementDataFile = LIST\n{}\n", ""),
]


@pytest.mark.parametrize("trick", TRICKS)
def test_a_header_cannot_fetch_another_file(tmp_path: Path, trick: tuple[str, str]) -> None:
    secret = raw(tmp_path / "secret", VOXELS.tobytes())
    head = "ObjectType = Image\nNDims = 3\nDimSize = 40 32 12\nElementSpacing = 0.2 0.2 0.4\nElementType = MET_UCHAR\n"
    fake = speckle(seed=1).tobytes()
    text = head + trick[0].format(secret) + trick[1]
    with pytest.raises(FileError, match=r"another file|does not end with"):
        acquire(raw(tmp_path / "v.mha", text.encode("latin-1") + fake))


@pytest.mark.parametrize("line", ["data file: {}\n", "datafile: {}\n", "Data File: {}\n", "# x\rdata file: {}\n"])
def test_an_nrrd_header_cannot_either(tmp_path: Path, line: str) -> None:
    secret = raw(tmp_path / "secret", VOXELS.tobytes())
    head = "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 40 32 12\nspacings: 0.2 0.2 0.4\nencoding: raw\n"
    text = head + line.format(secret) + "\n"
    with pytest.raises(FileError, match="another file"):
        acquire(raw(tmp_path / "v.nrrd", text.encode() + speckle(seed=1).tobytes()))


def test_real_volumes_are_read_as_they_are(real_volumes: Path) -> None:
    for name, shape, spacing in (
        ("SpinePhantomFreehandReconstructed.mha", (147, 106, 104), (0.5, 0.5, 0.5)),
        ("MouseLiverB.mha", (128, 512, 4), (0.1, 0.038575, 0.1)),
    ):
        found = acquire(real_volumes / name)
        assert found.voxels.shape == shape
        assert found.spacing_mm == spacing
