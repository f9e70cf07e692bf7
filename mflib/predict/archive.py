"""Bytes of a stored model: the whole file, unchanged since it was made, and nothing that grows when it is unpacked."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from zipfile import ZIP_STORED, BadZipFile, ZipFile

from mflib.predict.results import PredictError

# Several times a ResNet-50 in float32.
LARGEST = 2**30
ENTRIES = 4096


def read(artifacts: Path, name: str, sha256: str) -> bytes:
    """Content of a model file.

    Raises
    ------
    PredictError
        The file is missing, too large or changed, or is not an archive whose parts are stored as they are.
    """
    path = artifacts / name
    try:
        size = path.stat().st_size
        if size > LARGEST:
            raise PredictError(f"{name}: found {size:,} bytes, expected at most {LARGEST:,}")
        content = path.read_bytes()
    except OSError as error:
        raise PredictError(f"{name}: cannot be read ({error.strerror}), expected it beside its manifest") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise PredictError(
            f"{name}: found the SHA-256 {found}, expected {sha256}: the file is damaged or was exchanged"
        )
    _check_parts(name, content)
    return content


def _check_parts(name: str, content: bytes) -> None:
    """Refuse compressed parts: a few kilobytes of them can fill the memory."""
    try:
        with ZipFile(io.BytesIO(content)) as archive:
            parts = archive.infolist()
    except (BadZipFile, ValueError, NotImplementedError) as error:
        raise PredictError(f"{name}: not an archive of arrays ({error})") from error
    packed = [part.filename for part in parts if part.compress_type != ZIP_STORED or part.flag_bits & 1]
    declared = sum(part.file_size for part in parts)
    if packed or declared > len(content) or len(parts) > ENTRIES:
        found = f"{len(parts)} parts of {declared:,} bytes in {len(content):,}, {len(packed)} of them compressed"
        raise PredictError(f"{name}: found {found}, expected at most {ENTRIES} parts that are stored as they are")
