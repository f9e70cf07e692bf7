"""Frames of pixel data as grey levels: what they declare is checked before anything is unpacked."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels import apply_color_lut, get_decoder, pixel_array
from pydicom.pixels.utils import get_expected_length
from pydicom.uid import UID, JPEGLSTransferSyntaxes, JPEGTransferSyntaxes, RLELossless

from mflib.base.errors import FileError
from mflib.data.intake.elements import count, guarded, word
from mflib.data.stored import LARGEST_BYTES

JPEG, JPEG_2000 = b"\xff\xd8", b"\xff\x4f\xff\x51"
# Start-of-frame markers: all of C0-CF but Huffman tables, a reserved one and arithmetic conditioning; F7 is JPEG-LS.
START_OF_FRAME = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
SLACK = 2**16
MOST_COMPONENTS = 4


def check_codestream(code: bytes, rows: int, columns: int, frame: int, syntax: UID) -> None:
    """Refuse a compressed frame that unpacks to another size than ``rows`` x ``columns``.

    Raises
    ------
    FileError
        Another size, none at all, or far more code than pixels (run lengths have no size of their own).
    """
    if len(code) > 4 * rows * columns + SLACK:
        raise FileError(f"frame {frame} has {len(code)} bytes of code for {rows} x {columns} pixels")
    if syntax == RLELossless:
        return
    start = JPEG if syntax in JPEGTransferSyntaxes + JPEGLSTransferSyntaxes else JPEG_2000
    # A decoder would look further: into the boxes of a JP2 file, or behind bytes that are no picture.
    if not code.startswith(start):
        raise FileError(f"frame {frame} does not begin as {syntax.name} does (PS3.5 A.4): damaged, or another kind")
    found = _jpeg_2000(code) if start == JPEG_2000 else _jpeg(code)
    if found != (rows, columns):
        raise FileError(
            f"frame {frame} unpacks to {found[0]} x {found[1]} pixels, its file declares {rows} x {columns}"
        )


def _jpeg_2000(code: bytes) -> tuple[int, int]:
    """Rows and columns from the size segment, which comes first."""
    if len(code) < 42:
        raise FileError("a JPEG 2000 frame does not say its size: damaged or cut short")
    right, bottom, left, top = struct.unpack_from(">4I", code, 8)
    (components,) = struct.unpack_from(">H", code, 40)
    if components > MOST_COMPONENTS:
        raise FileError(f"a JPEG 2000 frame has {components} components, expected 1 or 3")
    return bottom - top, right - left


def _jpeg(code: bytes) -> tuple[int, int]:
    """Rows and columns from the start-of-frame segment."""
    at = 2
    while at + 9 <= len(code):
        marker, length = code[at + 1], int.from_bytes(code[at + 2 : at + 4], "big")
        if code[at] != 0xFF:
            break
        if marker in START_OF_FRAME:
            rows, columns = struct.unpack(">2H", code[at + 5 : at + 9])
            return rows, columns
        # A marker may be preceded by any number of fill bytes.
        at += 1 if marker == 0xFF else 2 + length
    raise FileError("a JPEG frame does not say its size: damaged or cut short")


GREY = {"MONOCHROME1", "MONOCHROME2"}
COLOUR = {"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"}


@dataclass(frozen=True)
class PixelLayout:
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


def pixel_layout(ds: Dataset) -> PixelLayout:
    """What the header declares of the pixels.

    Raises
    ------
    FileError
        Not 8-bit pixels of a known kind, or more than ``LARGEST_BYTES`` of them.
    """
    declared = {name: count(ds, name) for name in ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored")}
    missing = [name for name, value in declared.items() if not value]
    if missing:
        raise FileError(f"no picture: {', '.join(missing)} missing or 0")
    rows, columns, samples, allocated, bits = (value or 0 for value in declared.values())
    frames = count(ds, "NumberOfFrames") or 1
    # A video has other colours too, and what to do about it is to export something else.
    with guarded("the transfer syntax"):
        syntax = UID(ds.file_meta.TransferSyntaxUID)
        _refuse_syntax(syntax)
    _refuse_kind(word(ds, "PhotometricInterpretation"), samples, allocated, bits, count(ds, "PixelRepresentation") or 0)
    unpacked = rows * columns * frames * samples * allocated // 8
    if unpacked > LARGEST_BYTES:
        raise FileError(
            f"declares {columns} x {rows} x {frames} pixels, which unpack to {unpacked} bytes; "
            f"expected at most {LARGEST_BYTES}"
        )
    return PixelLayout(rows, columns, frames, word(ds, "PhotometricInterpretation"), bits, syntax)


def _refuse_kind(photometric: str, samples: int, allocated: int, bits: int, signed: int) -> None:
    if photometric not in GREY | COLOUR | {"PALETTE COLOR"}:
        expected = ", ".join(sorted(GREY | COLOUR | {"PALETTE COLOR"}))
        raise FileError(f"its photometric interpretation is unknown, expected one of {expected}")
    if samples != (3 if photometric in COLOUR else 1):
        raise FileError(f"found {samples} samples a pixel, which does not fit {photometric}")
    if bits > 8 or signed or allocated not in (8, 16):
        sign = "signed" if signed else "unsigned"
        raise FileError(
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
        raise FileError(
            f"its pixels are compressed as {kind}, which cannot be decoded; export uncompressed, JPEG or JPEG 2000"
        )


def frames(ds: Dataset, stored: PixelLayout) -> Iterator[NDArray[np.uint8]]:
    """Frames in stored order: (rows, columns) of grey, or (rows, columns, 3) of red, green and blue.

    Parameters
    ----------
    ds : the whole dataset; its ``NumberOfFrames`` counts planes
    stored : its layout

    Raises
    ------
    FileError
        Cut short, damaged, or frames of another size than declared.
    """
    if "PixelData" not in ds:
        raise FileError("no pixel data found: the file holds none, or was cut short before them")
    if stored.syntax.is_encapsulated:
        _check_compressed(ds, stored)
    elif len(ds.PixelData) < get_expected_length(ds):
        raise FileError(f"cut short, found {len(ds.PixelData)} of {get_expected_length(ds)} bytes of pixels")
    for index in range(stored.frames):
        # Not ``iter_pixels``: pydicom 3.0.2 takes all but the first frame of YBR_FULL_422 for YBR_FULL there.
        yield _grey_or_rgb(ds, stored, pixel_array(ds, index=index))


def _check_compressed(ds: Dataset, stored: PixelLayout) -> None:
    found = 0
    for code in generate_frames(ds.PixelData, number_of_frames=stored.frames):
        found += 1
        check_codestream(code, stored.rows, stored.columns, found, stored.syntax)
    if found != stored.frames:
        raise FileError(f"cut short or wrong, found {found} of {stored.frames} frames")


def _grey_or_rgb(ds: Dataset, stored: PixelLayout, frame: NDArray[Any]) -> NDArray[np.uint8]:
    if stored.photometric == "PALETTE COLOR":
        looked_up = apply_color_lut(frame, ds)[..., :3]
        # Entries of 16 bits keep the grey level in the upper half, though some machines write it into the lower.
        return (looked_up >> 8 if looked_up.max() > 255 else looked_up).astype(np.uint8)
    # Unused upper bits may hold an old kind of overlay.
    levels = (frame & (2**stored.bits - 1)).astype(np.uint8)
    return np.uint8(2**stored.bits - 1) - levels if stored.photometric == "MONOCHROME1" else levels


EQUAL_WITHIN = 4
"""Channels that differ by no more are grey: conversion from YBR rounds, and lossy compression blurs."""
BLACK = 32
"""What is no brighter has no colour: lossy compression spreads that of a mark over the black around it."""


def grey_of_colour(frame: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
    """Grey levels, and where the frame is coloured.

    Parameters
    ----------
    frame : (rows, columns) grey, or (rows, columns, 3)

    Returns
    -------
    tuple
        Luminance (rows, columns; ITU-R BT.601), which is the channels' own value where they are equal, and the
        brightest channel where they are not, so that coloured text stays as bright as it is. Then the mask of coloured
        pixels, None where there is none.
    """
    if frame.ndim == 2:
        return frame, None
    red, green, blue = (frame[..., c].astype(np.uint32) for c in range(3))
    levels = ((299 * red + 587 * green + 114 * blue + 500) // 1000).astype(np.uint8)
    brightest = frame.max(axis=-1)
    coloured = (brightest - frame.min(axis=-1) > EQUAL_WITHIN) & (brightest > BLACK)
    return np.where(coloured, brightest, levels), coloured if coloured.any() else None
