"""What a file is, by its first bytes: its name proves nothing."""

from __future__ import annotations

import re
from pathlib import Path

from mflib import dicom
from mflib.importing.errors import Refusal
from mflib.stored import GZIP, META, NIFTI, NRRD, StoredError, is_nifti

DICOM = "DICOM"
ARCHIVE = "an archive, expected volumes: unpack it first"
PICTURE = "a picture, expected a volume"
FILM = "a film, expected a volume"
OTHERS = [
    (0, b"PK\x03\x04", ARCHIVE), (0, b"PK\x05\x06", ARCHIVE), (0, b"7z\xbc\xaf\x27\x1c", ARCHIVE),
    (0, b"Rar!", ARCHIVE), (0, b"BZh", ARCHIVE), (0, b"\xfd7zXZ", ARCHIVE), (0, b"\x28\xb5\x2f\xfd", ARCHIVE),
    (257, b"ustar", ARCHIVE), (0, b"\xff\xd8\xff", PICTURE), (0, b"\x89PNG", PICTURE), (0, b"GIF8", PICTURE),
    (0, b"BM", PICTURE), (0, b"II*\0", PICTURE), (0, b"MM\0*", PICTURE), (4, b"ftyp", FILM), (8, b"AVI ", FILM),
    (0, b"KRETZFILE", "a volume that only GE's software reads, expected Cartesian DICOM: export it as that"),
    (0, b"%PDF", "a document, expected a volume"),
]  # fmt: skip
META_FIELD = re.compile(rb"^\s*(ObjectType|NDims)\s*[=:]", re.MULTILINE)


def identify(path: Path) -> str:
    """The kind of a file that can hold a volume: ``DICOM``, or ``NIFTI``, ``NRRD`` or ``META`` of ``stored``.

    Raises
    ------
    Refusal
        The file is something else, says what.
    """
    with path.open("rb") as file:
        start = file.read(4096)
    if not start:
        raise Refusal("an empty file")
    try:
        if is_nifti(path):
            return NIFTI
    except StoredError as error:
        raise Refusal(str(error)) from error
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
