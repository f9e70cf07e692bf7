"""Frames of pixel data: what they declare is checked before anything is unpacked, then pydicom decodes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels import apply_color_lut, get_decoder, pixel_array
from pydicom.pixels.utils import get_expected_length
from pydicom.uid import UID

from mflib.dicom import codestream
from mflib.dicom.elements import DicomError, count, guarded, word
from mflib.stored import LARGEST_BYTES

GREY = {"MONOCHROME1", "MONOCHROME2"}
COLOUR = {"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"}


@dataclass(frozen=True)
class Layout:
    """How a file says that its pixels are stored.

    Parameters
    ----------
    rows, columns, frames : size
    photometric : photometric interpretation
    bits : bits stored
    syntax : transfer syntax
    """

    rows: int
    columns: int
    frames: int
    photometric: str
    bits: int
    syntax: UID


def layout(ds: Dataset) -> Layout:
    """What the header declares of the pixels.

    Raises
    ------
    DicomError
        Not 8-bit pixels of a known kind, or more than ``LARGEST_BYTES`` of them.
    """
    declared = {name: count(ds, name) for name in ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored")}
    missing = [name for name, value in declared.items() if not value]
    if missing:
        raise DicomError(f"no picture: {', '.join(missing)} missing or 0")
    rows, columns, samples, allocated, bits = (value or 0 for value in declared.values())
    frames = count(ds, "NumberOfFrames") or 1
    # A video has other colours too, and what to do about it is to export something else.
    with guarded("the transfer syntax"):
        syntax = UID(ds.file_meta.TransferSyntaxUID)
        _refuse_syntax(syntax)
    _refuse_kind(word(ds, "PhotometricInterpretation"), samples, allocated, bits, count(ds, "PixelRepresentation") or 0)
    unpacked = rows * columns * frames * samples * allocated // 8
    if unpacked > LARGEST_BYTES:
        raise DicomError(
            f"declares {columns} x {rows} x {frames} pixels, which unpack to {unpacked} bytes; "
            f"expected at most {LARGEST_BYTES}"
        )
    return Layout(rows, columns, frames, word(ds, "PhotometricInterpretation"), bits, syntax)


def _refuse_kind(photometric: str, samples: int, allocated: int, bits: int, signed: int) -> None:
    if photometric not in GREY | COLOUR | {"PALETTE COLOR"}:
        expected = ", ".join(sorted(GREY | COLOUR | {"PALETTE COLOR"}))
        raise DicomError(f"its photometric interpretation is unknown, expected one of {expected}")
    if samples != (3 if photometric in COLOUR else 1):
        raise DicomError(f"found {samples} samples a pixel, which does not fit {photometric}")
    if bits > 8 or signed or allocated not in (8, 16):
        sign = "signed" if signed else "unsigned"
        raise DicomError(
            f"found {sign} pixels of {bits} bits in {allocated}, expected 8-bit grey levels: "
            "export at 8 bits, nothing is rescaled silently"
        )


def _refuse_syntax(syntax: UID) -> None:
    try:
        known = get_decoder(syntax).is_available
    except NotImplementedError:
        known = False
    if not known:
        kind = syntax.name if syntax.name != str(syntax) else "unknown kind"
        raise DicomError(
            f"its pixels are compressed as {kind}, which cannot be decoded; export uncompressed, JPEG or JPEG 2000"
        )


def frames(ds: Dataset, stored: Layout) -> Iterator[NDArray[np.uint8]]:
    """Frames in stored order: (rows, columns) of grey, or (rows, columns, 3) of red, green and blue.

    Parameters
    ----------
    ds : the whole dataset; its ``NumberOfFrames`` counts planes
    stored : its layout

    Raises
    ------
    DicomError
        Cut short, damaged, or frames of another size than declared.
    """
    if "PixelData" not in ds:
        raise DicomError("no pixel data found: the file holds none, or was cut short before them")
    if stored.syntax.is_encapsulated:
        _check_compressed(ds, stored)
    elif len(ds.PixelData) < get_expected_length(ds):
        raise DicomError(f"cut short, found {len(ds.PixelData)} of {get_expected_length(ds)} bytes of pixels")
    for index in range(stored.frames):
        # Not ``iter_pixels``: pydicom 3.0.2 takes all but the first frame of YBR_FULL_422 for YBR_FULL there.
        yield _grey_or_rgb(ds, stored, pixel_array(ds, index=index))


def _check_compressed(ds: Dataset, stored: Layout) -> None:
    found = 0
    for code in generate_frames(ds.PixelData, number_of_frames=stored.frames):
        found += 1
        codestream.check(code, stored.rows, stored.columns, found, stored.syntax)
    if found != stored.frames:
        raise DicomError(f"cut short or wrong, found {found} of {stored.frames} frames")


def _grey_or_rgb(ds: Dataset, stored: Layout, frame: NDArray[Any]) -> NDArray[np.uint8]:
    if stored.photometric == "PALETTE COLOR":
        looked_up = apply_color_lut(frame, ds)[..., :3]
        # Entries of 16 bits keep the grey level in the upper half, though some machines write it into the lower.
        return (looked_up >> 8 if looked_up.max() > 255 else looked_up).astype(np.uint8)
    # Unused upper bits may hold an old kind of overlay.
    levels = (frame & (2**stored.bits - 1)).astype(np.uint8)
    return np.uint8(2**stored.bits - 1) - levels if stored.photometric == "MONOCHROME1" else levels
