"""What NIfTI, NRRD and MetaImage files store, without SimpleITK's trust in them.

SimpleITK opens whatever file a header names, takes the voxels of ``a.nii.gz`` from an ``a.nii`` that lies beside it,
fills with zeros what is missing, and checks no sum of an NRRD file. So headers are examined here before it sees them.
"""

from __future__ import annotations

import gzip
import math
import os
import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mflib.base.errors import FileError

NIFTI, NRRD, META = "NIfTI", "NRRD", "MetaImage"
READERS = {NIFTI: "NiftiImageIO", NRRD: "NrrdImageIO", META: "MetaImageIO"}
"""SimpleITK's name of the reader of each kind; left to itself it chooses by the content and can take any other."""
LARGEST_BYTES = 2**30
"""Bytes of the largest voxels that are read."""
LONGEST = 2**24
"""Bytes of the longest header that is read; the text of a sweep of 10 000 frames has about 2**23."""
TOO_LONG = re.compile(rb"(?!#|[^:]*:=).{500}", re.DOTALL)
"""A line of an NRRD header, neither comment nor key and value, that may end the whole process when ITK reads it."""
NIFTI_BYTES = {
    2: 1, 4: 2, 8: 4, 16: 4, 32: 8, 64: 8, 128: 3, 256: 1, 512: 2, 768: 4, 1024: 8, 1280: 8, 1792: 16, 2304: 4,
}  # fmt: skip
"""Bytes of a voxel by the datatype of NIfTI, those of 16 bytes a number left out."""
AGREES_WITHIN = 0.01
CHUNK = 2**16
GZIP = b"\x1f\x8b"
DAMAGED = "damaged or cut short: cannot be unpacked"
DETACHED = "a header whose voxels lie in another file, expected both in one file (.nii.gz, .nrrd or .mha)"
AS_TEXT = "voxels written as text, expected binary ones"
NOT_FINITE = "values that are not finite, expected grey levels 0 to 255"


@dataclass(frozen=True)
class Layout:
    """Where a file keeps its voxels.

    Parameters
    ----------
    start : byte of the file where the voxels, or what they are packed in, begin
    skip : bytes to pass over from there, after unpacking
    packed : whether zlib or gzip streams begin there
    floats : NumPy's name of the floating-point type of a NIfTI file, None for any other
    declared : bytes of the voxels of a NIfTI file as stored; ITK tells what they become when they are scaled
    spacing_fault : what makes the spacing unbelievable, in words; SimpleITK shows 1 mm, or one of two, without a word
    fields : text header of an NRRD or MetaImage file by field in small letters
    """

    start: int
    skip: int
    packed: bool
    floats: str | None = None
    declared: int | None = None
    spacing_fault: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)


def is_nifti(path: Path) -> bool:
    """Whether a file, packed or not, begins with the header of NIfTI-1 or NIfTI-2.

    Raises
    ------
    FileError
        Its voxels lie in another file, or it cannot be unpacked.
    """
    with path.open("rb") as file:
        return _is_nifti(_nifti_head(file)[0])


def examine(path: Path, kind: str) -> Layout:
    """Where the voxels of a file lie, once it is known that SimpleITK can be left alone with its header.

    Parameters
    ----------
    kind : what the file must be, ``NIFTI``, ``NRRD`` or ``META``

    Raises
    ------
    FileError
        It is not of that kind, its voxels lie in another file (whichever that is), or are written as text.
    """
    with path.open("rb") as file:
        return {NIFTI: _nifti, NRRD: _nrrd, META: _meta}[kind](file)


def voxels(path: Path, layout: Layout, expected: int) -> bytes:
    """The voxels as the file stores them, unpacked and whole.

    Parameters
    ----------
    layout : as ``examine`` found it
    expected : bytes of voxels that the header declares; no more than these and a little are ever unpacked

    Raises
    ------
    FileError
        Damaged, cut short, more than ``LARGEST_BYTES``, or floating-point values that are not finite.
    """
    if expected > LARGEST_BYTES:
        raise FileError(f"{expected} bytes of voxels declared, expected at most {LARGEST_BYTES}")
    end = layout.skip + expected
    with path.open("rb") as file:
        file.seek(layout.start)
        content = (_unpacked(file, end + LONGEST) if layout.packed else file.read(end))[layout.skip : end]
    if len(content) < expected:
        raise FileError(f"cut short: found {len(content)} of {expected} bytes of voxels")
    # The library under ITK turns what is not finite into 0 without a word.
    if layout.floats and not np.isfinite(np.frombuffer(content, layout.floats)).all():
        raise FileError(NOT_FINITE)
    return content


def _unpacked(file: BinaryIO, most: int) -> bytes:
    """The content of the zlib or gzip streams from here on, whose check sums must fit."""
    parts, left, stream = [], most, zlib.decompressobj(zlib.MAX_WBITS | 32)
    while chunk := file.read(CHUNK):
        # Behind a stream there may be zeros, and in gzip another stream.
        while chunk := chunk.lstrip(b"\0") if stream.eof else chunk:
            stream = zlib.decompressobj(zlib.MAX_WBITS | 32) if stream.eof else stream
            try:
                parts.append(stream.decompress(chunk, left + 1))
            except zlib.error as error:
                raise FileError(DAMAGED) from error
            left -= len(parts[-1])
            if left < 0:
                raise FileError("more bytes than its header declares, expected as many")
            chunk = stream.unused_data
    if not stream.eof:
        raise FileError(DAMAGED)
    return b"".join(parts)


def _nifti(file: BinaryIO) -> Layout:
    """The layout by the header of NIfTI-1, or by that of NIfTI-2, which has other places."""
    head, packed = _nifti_head(file)
    if not _is_nifti(head):
        raise FileError("no NIfTI header, expected one")
    order = "<" if int.from_bytes(head[:4], "little") in (348, 540) else ">"
    size: int = struct.unpack_from(f"{order}i", head)[0]

    def at(first: tuple[str, int], second: tuple[str, int]) -> tuple[Any, ...]:
        code, place = second if size == 540 else first
        return struct.unpack_from(f"{order}{code}", head.ljust(540, b"\0"), place)

    (offset,), (datatype,) = at(("f", 108), ("q", 168)), at(("h", 70), ("h", 12))
    if not size <= offset < LONGEST:
        raise FileError("a header that says no place of its voxels, expected NIfTI")
    axes, *sizes = at(("8h", 40), ("8q", 16))
    if datatype not in NIFTI_BYTES or not 1 <= axes <= 7 or min(sizes[:axes]) < 1:
        raise FileError("voxels of an unknown type or number, expected NIfTI of grey levels")
    fault = _nifti_spacing(at(("3f", 80), ("3d", 112)), at(("h", 254), ("i", 348))[0], at(("12f", 280), ("12d", 400)))
    floats = {16: f"{order}f4", 64: f"{order}f8"}.get(datatype)
    return Layout(0, int(offset), packed, floats, math.prod(sizes[:axes]) * NIFTI_BYTES[datatype], fault)


def _nifti_spacing(pixdim: Sequence[float], sform: int, rows: Sequence[float]) -> str:
    """What is wrong with the voxel sizes ``pixdim``; the columns of a matrix that is in use must be as long."""
    fault = _spacing_fault(pixdim)
    lengths = np.linalg.norm(np.reshape(rows, (3, 4))[:, :3], axis=0)
    # A comparison that fails with what is not finite is wanted here.
    if fault or sform <= 0 or (np.abs(lengths / np.abs(pixdim) - 1) <= AGREES_WITHIN).all():
        return fault
    return f"voxel sizes of {_listed(pixdim)} in pixdim and {_listed(lengths)} in sform"


def _spacing_fault(steps: Sequence[float]) -> str:
    """Zero, or no number, for some axis; where all are, ITK shows 1, 1, 1, and that is known as missing."""
    missing = [not (math.isfinite(step) and step != 0) for step in steps]
    return f"voxel sizes of {_listed(steps)}" if any(missing) and not all(missing) else ""


def _listed(steps: Iterable[float]) -> str:
    return ", ".join(f"{step:.4g}" for step in steps)


def _nifti_head(file: BinaryIO) -> tuple[bytes, bool]:
    """The first bytes after unpacking, and whether the file is packed."""
    packed = file.read(2) == GZIP
    file.seek(0)
    if not packed:
        return file.read(540), False
    try:
        with gzip.GzipFile(fileobj=file) as unpacked:
            return unpacked.read(540), True
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise FileError(DAMAGED) from error


def _is_nifti(head: bytes) -> bool:
    sizes = int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big")
    magic = head[344:348] if 348 in sizes else head[4:8] if 540 in sizes else b""
    if magic in (b"ni1\0", b"ni2\0"):
        raise FileError(DETACHED)
    return magic in (b"n+1\0", b"n+2\0")


def _meta(file: BinaryIO) -> Layout:
    fields = _texts(_meta_lines(file))
    if not _holds(fields.get("binarydata", "true")):
        raise FileError(AS_TEXT)
    if fields.get("headersize", "0") != "0":
        raise FileError("a HeaderSize, expected the voxels right behind the header")
    start, packed = file.tell(), _holds(fields.get("compresseddata", "false"))
    behind = os.fstat(file.fileno()).st_size - start
    # ITK unpacks only as many bytes as stated, none where the number lacks, and shows memory for the rest.
    if not re.fullmatch(rf"{behind if packed else 0}(\.0*)?", fields.get("compresseddatasize", "0")):
        raise FileError(f"damaged or cut short: found {behind} bytes, expected the CompressedDataSize of the header")
    steps = [_number(step) for step in fields.get("elementspacing", fields.get("elementsize", "")).split()]
    return Layout(start, 0, packed, spacing_fault=_spacing_fault(steps), fields=fields)


def _holds(value: str) -> bool:
    """Whether ITK takes a text for true."""
    return value[:1] in ("T", "t", "1")


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
            raise FileError(DETACHED)
        name, separator, value = _split(line)
        if line.strip() and not separator:
            break
        # Other numbers of axes hang ITK, or end the whole process.
        if name.lower() == b"ndims" and not re.fullmatch(rb"[1-9]", value):
            raise FileError("an unusual number of axes, expected 3")
        yield name, value
    raise FileError("a MetaImage header that does not end with ElementDataFile = LOCAL, expected one that does")


def _nrrd(file: BinaryIO) -> Layout:
    if file.read(5) != b"NRRD0":
        raise FileError("no NRRD header, expected one")
    fields = _texts(_nrrd_lines(file))
    encoding = fields.get("encoding", "").casefold()
    if encoding in ("text", "txt", "ascii", "hex"):
        raise FileError(AS_TEXT)
    if encoding not in ("raw", "gzip", "gz"):
        raise FileError("voxels packed in a way that is not read, expected encoding raw or gzip")
    if {"lineskip", "byteskip"} & {name.replace(" ", "") for name, value in fields.items() if value != "0"}:
        raise FileError("lines or bytes to skip, expected the voxels right behind the header")
    return Layout(file.tell(), 0, encoding != "raw", spacing_fault=_nrrd_spacing(fields), fields=fields)


def _nrrd_spacing(fields: Mapping[str, str]) -> str:
    """What is wrong with the voxel sizes; an axis that is no place in space has none."""
    vectors = re.findall(r"\(([^)]*)\)|none", fields.get("space directions", ""))
    steps = [math.hypot(*map(_number, vector.split(","))) for vector in vectors if vector]
    steps = steps or [_number(word) for word in fields.get("spacings", "").split()]
    kinds = fields.get("kinds", "").casefold().split()
    if len(kinds) == len(steps):
        steps = [step for step, kind in zip(steps, kinds, strict=True) if kind in ("domain", "space", "???", "none")]
    return _spacing_fault(steps)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _nrrd_lines(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Fields and key-value pairs of an NRRD header, which ends with an empty line; none may name another file."""
    left = LONGEST
    while (line := file.readline(left)) not in (b"", b"\n", b"\r\n"):
        left -= len(line)
        parts = line.split(b"\r")
        if any(TOO_LONG.match(part) for part in (line, *parts)):
            raise FileError("a header line of more than 500 bytes, expected a shorter one")
        for part in parts:
            name, _, value = _split(part)
            if name.lower().replace(b" ", b"") == b"datafile":
                raise FileError(DETACHED)
            yield name, value.removeprefix(b"=")


def _split(line: bytes) -> tuple[bytes, bytes, bytes]:
    name, separator, value = re.fullmatch(rb"([^=:]*)([=:]?)(.*)", line, re.DOTALL).groups()  # type: ignore[union-attr]
    return name.strip(), separator, value.strip()


def _texts(lines: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode("latin-1").casefold(): value.decode("latin-1") for name, value in lines}
