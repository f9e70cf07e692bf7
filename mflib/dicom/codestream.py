"""What a compressed frame says of its own size, so that one that would fill the memory is never unpacked.

JPEG and JPEG-LS: ITU-T T.81 B.2.2 and T.87 C.2.2; JPEG 2000: ITU-T T.800 A.5.1.
"""

from __future__ import annotations

import struct

from pydicom.uid import UID, JPEGLSTransferSyntaxes, JPEGTransferSyntaxes, RLELossless

from mflib.dicom.elements import DicomError

JPEG, JPEG_2000 = b"\xff\xd8", b"\xff\x4f\xff\x51"
# Start-of-frame markers: all of C0-CF but Huffman tables, a reserved one and arithmetic conditioning; F7 is JPEG-LS.
START_OF_FRAME = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
SLACK = 2**16
MOST_COMPONENTS = 4


def check(code: bytes, rows: int, columns: int, frame: int, syntax: UID) -> None:
    """Refuse a compressed frame that unpacks to another size than ``rows`` x ``columns``.

    Raises
    ------
    DicomError
        Another size, none at all, or far more code than pixels (run lengths have no size of their own).
    """
    if len(code) > 4 * rows * columns + SLACK:
        raise DicomError(f"frame {frame} has {len(code)} bytes of code for {rows} x {columns} pixels")
    if syntax == RLELossless:
        return
    start = JPEG if syntax in JPEGTransferSyntaxes + JPEGLSTransferSyntaxes else JPEG_2000
    # A decoder would look further: into the boxes of a JP2 file, or behind bytes that are no picture.
    if not code.startswith(start):
        raise DicomError(f"frame {frame} does not begin as {syntax.name} does (PS3.5 A.4): damaged, or another kind")
    found = _jpeg_2000(code) if start == JPEG_2000 else _jpeg(code)
    if found != (rows, columns):
        raise DicomError(
            f"frame {frame} unpacks to {found[0]} x {found[1]} pixels, its file declares {rows} x {columns}"
        )


def _jpeg_2000(code: bytes) -> tuple[int, int]:
    """Rows and columns from the size segment, which comes first."""
    if len(code) < 42:
        raise DicomError("a JPEG 2000 frame does not say its size: damaged or cut short")
    right, bottom, left, top = struct.unpack_from(">4I", code, 8)
    (components,) = struct.unpack_from(">H", code, 40)
    if components > MOST_COMPONENTS:
        raise DicomError(f"a JPEG 2000 frame has {components} components, expected 1 or 3")
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
    raise DicomError("a JPEG frame does not say its size: damaged or cut short")
