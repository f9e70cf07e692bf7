"""Damaged and hostile files end as a ``FileError``, at once and without a name in it."""

from __future__ import annotations

import logging
import os
import struct
import tracemalloc
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import DeflatedExplicitVRLittleEndian

from mflib.base.errors import FileError
from mflib.data.intake import elements
from mflib.data.intake.dicom import read
from mflib.data.intake.elements import is_dicom
from mflib.data.intake.geometry import Acquisition
from tests.data import dicoms as files

SPACING = (0.2, 0.3, 0.5)
VOXELS = files.speckle((40, 36, 9))


def attempt(path: Path) -> str:
    """What the reader says: the reason, or that it read the file."""
    try:
        assert isinstance(read(path), Acquisition)
    except FileError as error:
        assert error.__suppress_context__ or error.__cause__ is None
        return str(error)
    return "read"


@pytest.fixture
def little_memory() -> Iterator[None]:
    tracemalloc.start()
    yield
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 300e6, f"{peak / 1e6:.0f} MB were taken"


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("declared", [{"Rows": 65535, "Columns": 65535}, {"NumberOfFrames": 10**9}])
def test_a_huge_declared_size_is_refused_before_memory_is_taken(tmp_path: Path, declared: dict[str, int]) -> None:
    path = files.affiniti(tmp_path / "a.dcm", VOXELS, SPACING)
    ds = pydicom.dcmread(path)
    ds.update(declared)
    files.write(path, ds, ds.file_meta.TransferSyntaxUID)
    with pytest.raises(FileError, match=r"declares .* pixels, which unpack to \d+ bytes; expected at most 1073741824"):
        read(path)


@pytest.mark.usefixtures("little_memory")
def test_an_element_longer_than_its_file_is_refused(tmp_path: Path) -> None:
    path = files.affiniti(tmp_path / "a.dcm", VOXELS, SPACING)
    content = bytearray(path.read_bytes())
    at = content.rindex(b"\xe0\x7f\x10\x00OB")
    content[at + 8 : at + 12] = struct.pack("<I", 2**32 - 2)
    path.write_bytes(content[: at + 100])
    assert attempt(path) == "cut short, found 88 of 12960 bytes of pixels"


@pytest.mark.usefixtures("little_memory")
def test_a_deflated_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elements, "LARGEST_BYTES", 2**26)
    path = files.affiniti(tmp_path / "a.dcm", VOXELS, SPACING, syntax=DeflatedExplicitVRLittleEndian)
    content = path.read_bytes()
    start = 144 + int.from_bytes(content[140:144], "little")
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    zeros = bytes(2**24)
    bomb = b"".join(packer.compress(zeros) for _ in range(5)) + packer.flush()
    path.write_bytes(content[:start] + bomb)
    assert path.stat().st_size < 2e5
    with pytest.raises(FileError, match="unpacks to more than 67108864 bytes"):
        read(path)


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("syntax", [files.JPEGBaseline8Bit, files.JPEG2000Lossless])
def test_a_compressed_frame_larger_than_declared_is_refused(tmp_path: Path, syntax: str) -> None:
    path = files.affiniti(tmp_path / "a.dcm", VOXELS, SPACING, syntax=syntax)
    ds = pydicom.dcmread(path)
    frames = [bytearray(f) for f in generate_frames(ds.PixelData, number_of_frames=9)]
    if syntax == files.JPEGBaseline8Bit:
        at = frames[4].index(b"\xff\xc0") + 5
        frames[4][at : at + 4] = struct.pack(">2H", 65500, 65500)
    else:
        at = frames[4].index(b"\xff\x4f\xff\x51") + 8
        frames[4][at : at + 8] = struct.pack(">2I", 10**6, 10**6)
    ds.PixelData = encapsulate([bytes(f) for f in frames])
    files.write(path, ds, syntax)
    with pytest.raises(FileError, match=r"frame 5 unpacks to \d+ x \d+ pixels, its file declares 36 x 40"):
        read(path)


def test_a_frame_of_a_thousand_components_is_refused(tmp_path: Path) -> None:
    path = files.affiniti(tmp_path / "a.dcm", VOXELS, SPACING, syntax=files.JPEG2000Lossless)
    ds = pydicom.dcmread(path)
    frames = [bytearray(f) for f in generate_frames(ds.PixelData, number_of_frames=9)]
    at = frames[4].index(b"\xff\x4f\xff\x51") + 40
    frames[4][at : at + 2] = struct.pack(">H", 1000)
    ds.PixelData = encapsulate([bytes(f) for f in frames])
    files.write(path, ds, files.JPEG2000Lossless)
    with pytest.raises(FileError, match="frame 5 has 1000 components, expected 1 as in MONOCHROME2"):
        read(path)


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("length", [0, 7, 70008])
def test_a_picture_behind_the_boxes_of_a_jp2_file_is_not_looked_for(tmp_path: Path, length: int) -> None:
    path = files.region_multiframe(tmp_path / "a.dcm", VOXELS, SPACING, border=80, syntax=files.JPEG2000Lossless)
    ds = pydicom.dcmread(path)
    frames = list(generate_frames(ds.PixelData, number_of_frames=9))
    signature = bytes.fromhex("0000000c6a5020200d0a870a")
    box = struct.pack(">I", length) + b"free" + bytes(max(0, length - 8))
    ds.PixelData = encapsulate([signature + box + frame for frame in frames])
    files.write(path, ds, files.JPEG2000Lossless)
    assert "frame 1 does not begin as JPEG 2000" in attempt(path)


def test_fewer_frames_than_declared_are_refused(tmp_path: Path) -> None:
    path = files.affiniti(tmp_path / "a.dcm", VOXELS, SPACING, syntax=files.JPEGBaseline8Bit)
    ds = pydicom.dcmread(path)
    ds.PixelData = encapsulate(list(generate_frames(ds.PixelData, number_of_frames=9))[:7])
    files.write(path, ds, files.JPEGBaseline8Bit)
    assert attempt(path) == "cut short or wrong, found 7 of 9 frames"


def test_sequences_without_end_are_refused(tmp_path: Path) -> None:
    path = files.affiniti(tmp_path / "a.dcm", VOXELS, SPACING)
    content = path.read_bytes()
    at = 144 + int.from_bytes(content[140:144], "little")
    nested = (struct.pack("<2H2sHI", 0x0008, 0x1140, b"SQ", 0, 2**32 - 1) + b"\xfe\xff\x00\xe0\xff\xff\xff\xff") * 20000
    path.write_bytes(content[:at] + nested + content[at:])
    assert "damaged" in attempt(path)


@pytest.mark.parametrize("write", [files.enhanced_us, files.affiniti, files.cartesian, files.region_multiframe])
@pytest.mark.parametrize("syntax", [files.ExplicitVRLittleEndian, files.JPEG2000Lossless])
def test_a_file_cut_short_anywhere_is_refused(tmp_path: Path, write: object, syntax: str) -> None:
    options = {} if write is files.cartesian else {"syntax": syntax}
    whole = write(tmp_path / "a.dcm", VOXELS, SPACING, **options)  # type: ignore[operator]
    content = whole.read_bytes()
    for length in np.linspace(0, len(content) - 20, 40).astype(int):
        whole.write_bytes(content[:length])
        assert attempt(whole) != "read", f"{length} of {len(content)} bytes"


@pytest.mark.parametrize("write", [files.enhanced_us, files.affiniti, files.cartesian, files.region_multiframe])
def test_spoilt_bytes_are_refused_or_read_but_nothing_else(tmp_path: Path, write: object) -> None:
    whole = write(tmp_path / "a.dcm", VOXELS, SPACING, marker=True)  # type: ignore[operator]
    content = whole.read_bytes()
    rng = np.random.default_rng(0)
    said = set()
    for _ in range(150):
        spoilt = bytearray(content)
        # Most of a file is pixels and planted texts, which are hard to harm: the rest is aimed at.
        for at in rng.integers(128, 4000, 12).tolist() + rng.integers(0, len(content), 12).tolist():
            spoilt[at] = rng.integers(256)
        whole.write_bytes(spoilt)
        said.add(attempt(whole))
    assert len(said) > 1
    assert not [message for message in said for marker in files.MARKERS if marker in message]


def test_only_content_makes_a_file_dicom(tmp_path: Path) -> None:
    disguised = files.affiniti(tmp_path / "a.txt", VOXELS, SPACING)
    assert is_dicom(disguised)
    for name, content in {
        "empty": b"",
        "text": b"Patient,Level\n" * 99,
        "zeros": bytes(999),
        "zip": b"PK\3\4" * 99,
    }.items():
        path = tmp_path / f"{name}.dcm"
        path.write_bytes(content)
        assert not is_dicom(path)
        assert attempt(path) == "not a DICOM file"
    assert not is_dicom(tmp_path)
    assert attempt(tmp_path) == "not a DICOM file"


@pytest.mark.parametrize("write", [files.enhanced_us, files.affiniti, files.cartesian, files.region_multiframe])
def test_planted_identifiers_reach_neither_result_nor_log(
    tmp_path: Path, write: object, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "a.dcm", VOXELS, SPACING, marker=True)  # type: ignore[operator]
    planted = path.read_bytes()
    assert planted.count(files.MARKER.encode()) > 1000
    with caplog.at_level(logging.DEBUG):
        found = read(path)
    np.testing.assert_array_equal(found.voxels, VOXELS)
    assert found.technical.keys() == {"SourceFormat"}
    said = repr((found.technical, found.notices, found.spacing_source)) + caplog.text + "".join(capfd.readouterr())
    assert not [marker for marker in files.MARKERS if marker in said]


def test_reading_leaves_pydicom_as_it_was(tmp_path: Path) -> None:
    mode, level = pydicom.config.settings.reading_validation_mode, logging.getLogger("pydicom").level
    attempt(tmp_path)
    read(files.affiniti(tmp_path / "a.dcm", VOXELS, SPACING))
    assert (pydicom.config.settings.reading_validation_mode, logging.getLogger("pydicom").level) == (mode, level)


def test_a_file_that_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.dcm")
    assert attempt(tmp_path / "a.dcm") == "not a DICOM file"
