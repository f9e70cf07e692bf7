"""What a file is, by its first bytes: its name proves nothing."""

from __future__ import annotations

import gzip
import re
import zlib
from pathlib import Path

from mflib import dicom
from mflib.importing.errors import Refusal

DICOM, NIFTI, NRRD, META = "DICOM", "NIfTI", "NRRD", "MetaImage"
GZIP = b"\x1f\x8b"
ARCHIVE = "an archive, expected volumes: unpack it first"
PICTURE = "a picture, expected a volume"
FILM = "a film, expected a volume"
OTHERS = [
    (0, b"PK\x03\x04", ARCHIVE), (0, b"PK\x05\x06", ARCHIVE), (0, b"7z\xbc\xaf\x27\x1c", ARCHIVE),
    (0, b"Rar!", ARCHIVE), (0, b"BZh", ARCHIVE), (0, b"\xfd7zXZ", ARCHIVE), (0, b"\x28\xb5\x2f\xfd", ARCHIVE),
    (257, b"ustar", ARCHIVE), (0, b"\xff\xd8\xff", PICTURE), (0, b"\x89PNG", PICTURE), (0, b"GIF8", PICTURE),
    (0, b"BM", PICTURE), (0, b"II*\0", PICTURE), (0, b"MM\0*", PICTURE), (4, b"ftyp", FILM), (8, b"AVI ", FILM),
    (0, b"%PDF", "a document, expected a volume"),
]  # fmt: skip
META_FIELD = re.compile(rb"^\s*(ObjectType|NDims)\s*[=:]", re.MULTILINE)
DETACHED = "a header whose voxels lie in another file, expected both in one file (.nii.gz, .nrrd or .mha)"


def identify(path: Path) -> str:
    """The kind of a file that can hold a volume: ``DICOM``, ``NIFTI``, ``NRRD`` or ``META``.

    Raises
    ------
    Refusal
        The file is something else, says what.
    """
    with path.open("rb") as file:
        start = file.read(4096)
    if not start:
        raise Refusal("an empty file")
    if _is_nifti(_unpacked(path) if start.startswith(GZIP) else start):
        return NIFTI
    if start.startswith(GZIP):
        raise Refusal(ARCHIVE)
    if start.startswith(b"NRRD0"):
        return NRRD
    if dicom.is_dicom(path):
        return DICOM
    for offset, mark, words in OTHERS:
        if start[offset : offset + len(mark)] == mark:
            raise Refusal(words)
    if META_FIELD.search(start):
        return META
    raise Refusal("no kind of file that can be imported: expected DICOM, NIfTI, NRRD or MetaImage")


def _unpacked(path: Path) -> bytes:
    try:
        with gzip.open(path) as file:
            return file.read(540)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise Refusal("damaged or cut short: cannot be unpacked") from error


def _is_nifti(start: bytes) -> bool:
    """Whether a file begins with the header of NIfTI-1 (348 bytes) or NIfTI-2 (540)."""
    magic = start[344:348] if 348 in _sizes(start) else start[4:8] if 540 in _sizes(start) else b""
    if magic in (b"ni1\0", b"ni2\0"):
        raise Refusal(DETACHED)
    return magic in (b"n+1\0", b"n+2\0")


def _sizes(start: bytes) -> tuple[int, int]:
    return int.from_bytes(start[:4], "little"), int.from_bytes(start[:4], "big")
