"""Writes small DICOM files of every kind that the reader knows, sound or spoilt on purpose."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from pydicom import config
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import pack_bits
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

ENHANCED, MULTIFRAME, SINGLE = (
    "1.2.840.10008.5.1.4.1.1.6.2",
    "1.2.840.10008.5.1.4.1.1.3.1",
    "1.2.840.10008.5.1.4.1.1.6.1",
)
CARTESIAN = "1.2.840.113543.6.6.1.3.10002"
PLAIN = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
COMPRESSED = (RLELossless, JPEG2000Lossless, JPEGBaseline8Bit)
MARKER = "QZIDENTQZ"
MARKERS = (MARKER, "19570413", "2.25.31415926535", "27182818")

Spacing = tuple[float, float, float]


def speckle(shape: tuple[int, int, int] = (40, 32, 12), seed: int = 0) -> np.ndarray:
    """Voxels (ni, nj, nk) of grey noise that differ from frame to frame."""
    return np.random.default_rng(seed).integers(20, 200, shape).astype(np.uint8)


def screen(voxels: np.ndarray, border: int = 30) -> np.ndarray:
    """Frames (nk, rows, columns) with the voxels in a black border."""
    return np.pad(voxels.T, ((0, 0), (border, border), (border, border)))


def with_text(
    frames: np.ndarray, text: str, at: tuple[int, int] = (2, 2), size: int = 14, grey: int = 255
) -> np.ndarray:
    """The frames with a text drawn into each of them, its upper left corner at (row, column)."""
    drawn = []
    for frame in frames:
        picture = Image.fromarray(np.ascontiguousarray(frame))
        ImageDraw.Draw(picture).text(at[::-1], text, fill=grey, font=ImageFont.load_default(size))
        drawn.append(np.asarray(picture))
    return np.stack(drawn)


def enhanced_us(
    path: Path,
    voxels: np.ndarray,
    spacing: Spacing,
    *,
    positions: np.ndarray | None = None,
    orientation: Sequence[float] = (1, 0, 0, 0, 1, 0),
    marker: bool = False,
    **pixels: Any,
) -> Path:
    """An Enhanced US Volume; ``positions`` (frames, 3) in mm stand for planes one spacing apart along the normal."""
    ds = _dataset(ENHANCED)
    if positions is None:
        normal = np.cross(orientation[:3], orientation[3:])
        positions = np.arange(voxels.shape[2])[:, None] * normal * spacing[2]
    ds.DimensionOrganizationType = "3D"
    ds.SharedFunctionalGroupsSequence = [shared := Dataset()]
    shared.PixelMeasuresSequence = [measures := Dataset()]
    measures.PixelSpacing, measures.SliceThickness = [spacing[1], spacing[0]], spacing[2]
    shared.PlaneOrientationVolumeSequence = [plane := Dataset()]
    plane.ImageOrientationVolume = list(map(float, orientation))
    ds.PerFrameFunctionalGroupsSequence = [Dataset() for _ in positions]
    for group, position in zip(ds.PerFrameFunctionalGroupsSequence, positions, strict=True):
        group.PlanePositionVolumeSequence = [place := Dataset()]
        place.ImagePositionVolume = list(map(float, position))
    return finish(path, ds, voxels.T, marker, **pixels)


def affiniti(
    path: Path, voxels: np.ndarray, spacing: Spacing, *, block: int = 0x10, marker: bool = False, **pixels: Any
) -> Path:
    """An ultrasound multi-frame image with spacing in Philips' private element; ``block`` is where its creator sits."""
    ds = _dataset(MULTIFRAME)
    ds.Manufacturer, ds.ManufacturerModelName = "Philips Medical Systems", "Affiniti 70G"
    ds.add_new((0x200D, block), "LO", "Philips US Imaging DD 036")
    ds.add_new((0x200D, block * 256 + 1), "LO", [str(n) for n in voxels.shape])
    ds.add_new((0x200D, block * 256 + 3), "LO", [f"{step:.15g}" for step in spacing])
    return finish(path, ds, voxels.T, marker, **pixels)


def cartesian(
    path: Path, voxels: np.ndarray, spacing: Spacing, *, times: int = 1, bare: bool = False, marker: bool = False
) -> Path:
    """A Philips Cartesian export; ``bare`` leaves out preamble and file meta, as old exports do."""
    ds = _dataset(CARTESIAN)
    del ds.SOPInstanceUID, ds.StudyInstanceUID, ds.SeriesInstanceUID
    ds.PhysicalUnitsXDirection = ds.PhysicalUnitsYDirection = 3
    ds.PhysicalDeltaX, ds.PhysicalDeltaY = spacing[0] / 10, spacing[1] / 10
    ds.FrameTime = 50
    ds.add_new((0x3001, 0x0010), "LO", "PHILIPS LIVE 3D")
    ds.add_new((0x3001, 0x1001), "UL", voxels.shape[2])
    ds.add_new((0x3001, 0x1003), "FD", spacing[2] / 10)
    ds.add_new((0x3001, 0x1004), "LO", MARKER if marker else "0")
    finish(path, ds, np.tile(voxels.T, (times, 1, 1)), marker, count=times)
    if bare:
        content = path.read_bytes()
        # The file meta group says its own length in its first element.
        path.write_bytes(content[144 + int.from_bytes(content[140:144], "little") :])
    return path


def region_multiframe(
    path: Path,
    voxels: np.ndarray,
    spacing: Spacing,
    *,
    border: int = 30,
    text: str | None = "DOE^JANE 1957",
    region: bool = True,
    distance: bool = True,
    film: bool = False,
    burnt_in: str | None = None,
    marker: bool = False,
    **pixels: Any,
) -> Path:
    """A screen of an ultrasound machine over a stack: black border, burnt-in text, a calibrated region.

    Parameters
    ----------
    region : declare where the tissue is and how large its pixels are
    distance : state SpacingBetweenSlices
    film : frames are steps of time
    burnt_in : BurnedInAnnotation
    """
    ds = _dataset(MULTIFRAME)
    frames = screen(voxels, border)
    frames = with_text(frames, text) if text else frames
    if region:
        ds.SequenceOfUltrasoundRegions = [tissue_region(voxels.shape, spacing, border)]
    if distance:
        ds.SpacingBetweenSlices = f"{spacing[2]:.6g}"
    if film:
        ds.FrameTime, ds.FrameIncrementPointer = 33.3, 0x00181063
    if burnt_in:
        ds.BurnedInAnnotation = burnt_in
    return finish(path, ds, frames, marker, **pixels)


def tissue_region(shape: tuple[int, ...], spacing: Spacing, border: int) -> Dataset:
    """The calibration of a 2D tissue region of the screen."""
    region = Dataset()
    region.RegionSpatialFormat, region.RegionDataType, region.RegionFlags = 1, 1, 2
    region.RegionLocationMinX0 = region.RegionLocationMinY0 = border
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = border + shape[0] - 1, border + shape[1] - 1
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX, region.PhysicalDeltaY = spacing[0] / 10, spacing[1] / 10
    return region


def single(path: Path, frame: np.ndarray) -> Path:
    """One picture."""
    return finish(path, _dataset(SINGLE), frame[None], False)


def plant(ds: Dataset) -> None:
    """Put identifiers into every element that can hold a text, and into private ones.

    What decides how pixels and geometry are read stays, or there would be nothing to import. Search outputs for each
    of ``MARKERS``.
    """
    texts = dict.fromkeys(("PN", "LO", "SH", "LT", "ST", "UT", "UC", "UR", "AE", "CS"), MARKERS[0])
    planted = texts | {"DA": MARKERS[1], "DT": MARKERS[1], "UI": MARKERS[2], "IS": MARKERS[3]}
    for tag, (vr, _, _, retired, keyword) in DicomDictionary.items():
        if tag >> 16 > 4 and vr in planted and keyword and not retired and keyword not in NEEDED:
            ds.add_new(tag, vr, planted[vr])
    for group in (0x0009, 0x0019, 0x200D, 0x3001):
        block = ds.private_block(group, f"{MARKER} CREATOR", create=True)
        block.add_new(1, "LT", MARKER)
        block.add_new(2, "OB", MARKER.encode() + b" ")
    person = Dataset()
    person.PatientName, person.PatientID = MARKER, MARKER
    ds.OtherPatientIDsSequence = [person]
    for element in ds:
        for item in element.value if element.VR == "SQ" else ():
            item.ImageComments, item.ManufacturerModelName, item.RegionFlags = MARKER, MARKER, 27182818


NEEDED = {
    "SpecificCharacterSet", "SOPClassUID", "Modality", "PhotometricInterpretation", "NumberOfFrames",
    "FrameIncrementPointer", "DimensionOrganizationType", "BurnedInAnnotation",
}  # fmt: skip


def write(path: Path, ds: Dataset, syntax: str) -> Path:
    """Write a dataset as it is, sound or not."""
    with config.disable_value_validation():
        implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
        encoding: dict[str, Any] = {} if ds.get("file_meta") else {"implicit_vr": implicit, "little_endian": little}
        ds.save_as(path, enforce_file_format=True, **encoding)
    return path


def _dataset(sop_class: str) -> Dataset:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, "2.25.1"
    ds.StudyInstanceUID = ds.SeriesInstanceUID = "2.25.2"
    ds.Modality, ds.PatientName, ds.PatientID = "US", "Nobody", "0"
    return ds


def finish(
    path: Path,
    ds: Dataset,
    frames: np.ndarray,
    marker: bool,
    *,
    photometric: str = "MONOCHROME2",
    syntax: str = ExplicitVRLittleEndian,
    planar: int = 0,
    count: int | None = None,
    bits: tuple[int, int] = (8, 8),
    shift: int = 0,
) -> Path:
    """Write frames (n, rows, columns[, 3]) as the named kind of pixels, ``shift`` bits above the lowest."""
    rgb = frames if frames.ndim == 4 else None
    ds.Rows, ds.Columns = frames.shape[1:3]
    ds.NumberOfFrames = count or len(frames)
    ds.PhotometricInterpretation = photometric
    ds.SamplesPerPixel = 1 if photometric.startswith(("MONO", "PAL")) else 3
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = *bits, bits[1] - 1 + shift, 0
    if ds.SamplesPerPixel == 3:
        ds.PlanarConfiguration = planar
    stored = [_stored(ds, frame, rgb is not None) for frame in frames]
    if bits[0] == 16 and syntax == ExplicitVRBigEndian:
        stored = [frame.astype(">u2") for frame in stored]
    if marker:
        plant(ds)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian if syntax in COMPRESSED else syntax
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, "2.25.1"
    if marker:
        ds.preamble = (MARKER * 20).encode()[:128]
        ds.file_meta.MediaStorageSOPInstanceUID = MARKERS[2]
        ds.file_meta.SourceApplicationEntityTitle = MARKER
    _store(ds, stored, syntax)
    return write(path, ds, syntax)


def _stored(ds: Dataset, frame: np.ndarray, coloured: bool) -> np.ndarray:
    """One frame as its photometric interpretation stores it; grey frames become equal channels."""
    kind = ds.PhotometricInterpretation
    if kind == "MONOCHROME1":
        return 255 - frame
    if kind == "PALETTE COLOR":
        table = (np.arange(256, dtype=np.uint16)[::-1] * 257).astype("<u2")
        for colour in ("Red", "Green", "Blue"):
            setattr(ds, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
            setattr(ds, f"{colour}PaletteColorLookupTableData", table.tobytes())
        return 255 - frame
    if kind == "MONOCHROME2":
        return frame if ds.BitsAllocated == 8 else frame.astype("<u2") << (ds.HighBit + 1 - ds.BitsStored)
    if kind.startswith("YBR_FULL") and not coloured:
        neutral = np.full_like(frame, 128)
        return np.stack([frame, neutral, neutral], -1)
    return frame if coloured else np.repeat(frame[..., None], 3, -1)


def _store(ds: Dataset, stored: list[np.ndarray], syntax: str) -> None:
    if syntax == JPEGBaseline8Bit:
        ds.PixelData = encapsulate([_jpeg(ds, frame) for frame in stored])
        ds["PixelData"].VR = "OB"
        ds.file_meta.TransferSyntaxUID = syntax
        ds.LossyImageCompression = "01"
        return
    if ds.PhotometricInterpretation == "YBR_FULL_422":
        stored = [_halved(frame) for frame in stored]
    if ds.get("PlanarConfiguration") == 1:
        stored = [np.moveaxis(frame, -1, 0) for frame in stored]
    content = b"".join(frame.tobytes() for frame in stored)
    ds.PixelData = content + b"\0" * (len(content) % 2)
    ds["PixelData"].VR = "OB" if ds.BitsAllocated == 8 else "OW"
    if syntax in COMPRESSED:
        ds.compress(syntax, generate_instance_uid=False)


def _jpeg(ds: Dataset, frame: np.ndarray) -> bytes:
    output = io.BytesIO()
    mode = "YCbCr" if ds.PhotometricInterpretation.startswith("YBR") else None
    subsampling = "4:2:2" if ds.PhotometricInterpretation.endswith("422") else "4:4:4"
    Image.fromarray(frame, mode).save(output, "JPEG", quality=95, subsampling=subsampling)
    return output.getvalue()


def bare_jpeg(channels: np.ndarray) -> bytes:
    """A JPEG of three channels as they are, without a marker that says what they are."""
    output = io.BytesIO()
    Image.fromarray(channels, "YCbCr").save(output, "JPEG", quality=100, subsampling="4:4:4")
    code = output.getvalue()
    at = code.index(b"\xff\xe0")
    return code[:at] + code[at + 2 + int.from_bytes(code[at + 2 : at + 4], "big") :]


def _halved(frame: np.ndarray) -> np.ndarray:
    """Two neighbours' luminance, then the colour that they share."""
    return np.concatenate([frame[:, ::2, :1], frame[:, 1::2, :1], frame[:, ::2, 1:]], -1)


def overlay(ds: Dataset, shape: tuple[int, int]) -> None:
    """Add an overlay plane that nothing burns into the picture."""
    ds.add_new(0x60000010, "US", shape[0])
    ds.add_new(0x60000011, "US", shape[1])
    ds.add_new(0x60003000, "OW", pack_bits(np.ones(shape[0] * shape[1], np.uint8)))
