"""Open a DICOM file: is it one, what does it say before its pixels, and is it small enough to go on."""

from __future__ import annotations

import mmap
import zlib
from pathlib import Path
from typing import BinaryIO, cast

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from mflib.dicom.elements import DicomError, guarded
from mflib.stored import LARGEST_BYTES

TEXT_TYPES = {b"UI", b"CS", b"DA", b"TM", b"LO", b"SH", b"UL", b"DT", b"PN", b"AE"}


def is_dicom(path: Path) -> bool:
    """Whether a file holds DICOM, by its content: the prefix ``DICM``, or an element of group 2 or 8 at its start."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.read(132)
    if start[128:] == b"DICM":
        return True
    if len(start) < 16 or start[:2] not in (b"\x02\x00", b"\x08\x00") or start[3] > 0x01:
        return False
    length = int.from_bytes(start[4:8], "little")
    return start[4:6] in TEXT_TYPES or (length <= 64 and length % 2 == 0)


def header(path: Path) -> Dataset:
    """Everything that a file says before its pixels.

    Raises
    ------
    DicomError
        Not DICOM, damaged, or larger than ``LARGEST_BYTES`` when unpacked.
    """
    return _dataset(path, stop_before_pixels=True)


def whole(path: Path) -> Dataset:
    """A file with its pixel data as stored; call ``header`` and check what it declares before.

    Raises
    ------
    DicomError
        As ``header``.
    """
    return _dataset(path, stop_before_pixels=False)


def _dataset(path: Path, *, stop_before_pixels: bool) -> Dataset:
    with guarded("the file"):
        if not is_dicom(path):
            raise DicomError("not a DICOM file")
        if path.stat().st_size > 2 * LARGEST_BYTES:
            raise DicomError(f"found {path.stat().st_size} bytes, expected at most {2 * LARGEST_BYTES}")
        _refuse_bomb(path)
        # A map does not take memory for what an element declares beyond the file's end.
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            ds = dcmread(cast(BinaryIO, content), stop_before_pixels=stop_before_pixels, force=True)
        if "TransferSyntaxUID" not in ds.file_meta:
            implicit, _ = ds.original_encoding
            ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
        return ds


def _refuse_bomb(path: Path) -> None:
    """Refuse a deflated file that would not fit into memory: pydicom inflates it in one piece."""
    with path.open("rb") as file:
        if file.read(132)[128:] != b"DICM":
            return
        meta = read_file_meta_info(path)
        if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
            return
        # Preamble, prefix and the element that says how long the rest of the group is.
        file.seek(132 + 12 + meta.FileMetaInformationGroupLength)
        unpacker, unpacked, left = zlib.decompressobj(-zlib.MAX_WBITS), 0, file.read()
    while left and not unpacker.eof:
        unpacked += len(unpacker.decompress(left, 2**24))
        left = unpacker.unconsumed_tail
        if unpacked > LARGEST_BYTES:
            raise DicomError(f"unpacks to more than {LARGEST_BYTES} bytes")
