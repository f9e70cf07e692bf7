"""What the headers of NIfTI, NRRD and MetaImage files say that SimpleITK keeps to itself or believes too easily."""

from __future__ import annotations

import gzip
import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from mflib.importing.errors import Refusal
from mflib.importing.grey import NOT_FINITE
from mflib.importing.kinds import DETACHED, GZIP, META, NIFTI

LONGEST = 2**24
"""Bytes of the longest text header that is read; a sweep of 10 000 frames has about 2**23."""

CHUNK = 2**20
MILLIMETRES = {"mm", "millimeter", "millimeters", "millimetre", "millimetres"}


def fields(path: Path, kind: str) -> dict[str, str]:
    """The text header of an NRRD or MetaImage file by field in small letters; empty for NIfTI, which has none.

    Raises
    ------
    Refusal
        The voxels lie in another file (whichever that is), or are written as text.
    """
    if kind == NIFTI:
        return {}
    with path.open("rb") as file:
        lines = _meta_lines(file) if kind == META else _nrrd_lines(file)
        found = {_text(name).casefold(): _text(value) for name, value in lines}
    if found.get("binarydata", "true").casefold() == "false" or found.get("encoding") in ("text", "txt", "ascii"):
        raise Refusal("voxels written as text, expected binary ones")
    return found


def _meta_lines(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Fields of a MetaImage header, up to the one that says where the voxels are.

    ITK opens whatever file that one names, so nothing may be left that ITK could read otherwise than this.
    """
    left = LONGEST
    while line := file.readline(left):
        left -= len(line)
        if re.fullmatch(rb"ElementDataFile *[=:] *(LOCAL|Local|local)[ \r]*\n", line):
            return
        if b"elementdatafile" in line.lower():
            raise Refusal(DETACHED)
        name, separator, value = _split(line)
        if line.strip() and not separator:
            break
        yield name, value
    raise Refusal("a MetaImage header that does not end with ElementDataFile = LOCAL, expected one that does")


def _nrrd_lines(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Fields and key-value pairs of an NRRD header, which ends with an empty line; none may name another file."""
    left = LONGEST
    while (line := file.readline(left)) not in (b"", b"\n", b"\r\n"):
        left -= len(line)
        for part in line.split(b"\r"):
            name, _, value = _split(part)
            if name.lower().replace(b" ", b"") == b"datafile":
                raise Refusal(DETACHED)
            yield name, value.removeprefix(b"=")


def _split(line: bytes) -> tuple[bytes, bytes, bytes]:
    name, separator, value = re.fullmatch(rb"([^=:]*)([=:]?)(.*)", line, re.DOTALL).groups()  # type: ignore[union-attr]
    return name.strip(), separator, value.strip()


def _text(content: bytes) -> str:
    return content.decode("latin-1").strip()


def is_sweep(found: Mapping[str, str]) -> bool:
    """Whether frames of a tracked probe lie in the file, each with its own pose, and no volume."""
    return any(re.match(r"seq_frame\d+_|customframetransform", name) for name in found)


def refuse_meaning(found: Mapping[str, str]) -> None:
    """Refuse what a header says its numbers are, where that is no grey volume in mm with depth along j."""
    mode = found.get("ultrasoundimagetype", "BRIGHTNESS").upper()
    if mode not in ("BRIGHTNESS", "") and not mode.startswith("RGB"):
        raise Refusal("radio-frequency data, expected grey levels: export the B-mode picture")
    if found.get("ultrasoundimageorientation", "MF").upper()[1:2] not in ("F", "N"):
        raise Refusal("columns that do not run along the beam, expected UltrasoundImageOrientation MF, UF, MN or UN")
    if not units(found) <= MILLIMETRES:
        raise Refusal("lengths in another unit than mm, expected mm")


def is_upside_down(found: Mapping[str, str]) -> bool:
    """Whether the header says that the rows run towards the probe (N for near) and not away from it (F for far)."""
    return found.get("ultrasoundimageorientation", "").upper()[1:2] == "N"


def units(found: Mapping[str, str]) -> set[str]:
    """Units of length that a text header names, in small letters."""
    quoted = re.findall(r'"([^"]*)"', found.get("space units", "") + found.get("units", ""))
    return {unit.strip().casefold() for unit in [*quoted, found.get("distanceunits", "")]} - {"", "?"}


def refuse_short(path: Path, kind: str, found: Mapping[str, str], expected: int) -> None:
    """Refuse a damaged file where ITK would fill what is missing with zeros: NIfTI and MetaImage.

    Parameters
    ----------
    expected : bytes of the voxels that the header declares
    """
    if kind == NIFTI:
        stored = _nifti_bytes(path, expected)
    elif kind == META:
        stored = _meta_bytes(path, found, expected)
    else:  # the NRRD reader itself raises
        return
    if stored < expected:
        raise Refusal(f"cut short: found {stored} of {expected} bytes of voxels")


def _nifti_bytes(path: Path, expected: int) -> int:
    with path.open("rb") as file:
        packed = file.read(2) == GZIP
    try:
        with gzip.open(path) if packed else path.open("rb") as stream:
            head = stream.read(540)
            start, floats = _nifti_layout(head)
            content = head + stream.read(start + expected + LONGEST)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise Refusal("damaged or cut short: cannot be unpacked") from error
    if len(content) > start + expected + LONGEST:
        raise Refusal("more bytes than its header declares, expected as many")
    voxels = content[start : start + expected]
    # The library under ITK turns what is not finite into 0 without a word.
    if floats and len(voxels) == expected and not np.isfinite(np.frombuffer(voxels, floats)).all():
        raise Refusal(NOT_FINITE)
    return len(content) - start


def _nifti_layout(head: bytes) -> tuple[int, str | None]:
    """Where the voxels start, and their type where it is floating-point; NIfTI-2 has other places than NIfTI-1."""
    order = "<" if int.from_bytes(head[:4], "little") in (348, 540) else ">"
    if struct.unpack_from(f"{order}i", head)[0] == 540:
        offset, datatype = struct.unpack_from(f"{order}q", head, 168)[0], struct.unpack_from(f"{order}h", head, 12)[0]
    else:
        offset, datatype = struct.unpack_from(f"{order}f", head, 108)[0], struct.unpack_from(f"{order}h", head, 70)[0]
    if not 0 <= offset < LONGEST:
        raise Refusal("a header that says no place of its voxels, expected NIfTI")
    return int(offset), {16: f"{order}f4", 64: f"{order}f8"}.get(datatype)


def _meta_bytes(path: Path, found: Mapping[str, str], expected: int) -> int:
    with path.open("rb") as file:
        for _ in _meta_lines(file):
            pass
        if found.get("compresseddata", "false").casefold() != "true":
            return path.stat().st_size - file.tell()
        unpacker, stored = zlib.decompressobj(zlib.MAX_WBITS | 32), 0
        try:
            while stored <= expected and not unpacker.eof and (packed := unpacker.unconsumed_tail or file.read(CHUNK)):
                stored += len(unpacker.decompress(packed, CHUNK))
        except zlib.error as error:
            raise Refusal("damaged or cut short: cannot be unpacked") from error
    return stored
