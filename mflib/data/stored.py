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
from typing import Any, BinaryIO, Literal

import numpy as np

from mflib.base.errors import FileError

NIFTI, NRRD, META = "NIfTI", "NRRD", "MetaImage"
# SimpleITK's name of the reader of each kind; left to itself it chooses by the content and can take any other.
READERS = {NIFTI: "NiftiImageIO", NRRD: "NrrdImageIO", META: "MetaImageIO"}
# Bytes of the largest voxels that are read.
LARGEST_BYTES = 2**30
# Bytes of the longest header that is read; the text of a sweep of 10 000 frames has about 2**23.
LONGEST = 2**24
# A line of an NRRD header, neither comment nor key and value, that may end the whole process when ITK reads it.
TOO_LONG = re.compile(rb"(?!#|[^:]*:=).{500}", re.DOTALL)
# NumPy's name of the datatypes of NIfTI, those of 16 bytes a number left out.
NIFTI_TYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 32: "c8", 64: "f8", 128: "3u1", 256: "i1", 512: "u2", 768: "u4", 1024: "i8",
    1280: "u8", 1792: "c16", 2304: "4u1",
}  # fmt: skip
NIFTI_UNITS = {0: "", 1: "m", 2: "mm", 3: "um"}
TIME = {"s", "ms", "us", "μs", "sec", "secs", "msec", "second", "seconds", "milliseconds", "microseconds", "min", "hz"}
# What NIfTI calls the labels of a segmentation.
LABELS = 1002
AGREES_WITHIN = 0.01
# Voxel sizes of ultrasound; whatever lies outside is in another unit or something else.
PLAUSIBLE_MM = (0.01, 5.0)
PLAUSIBLE = "{:g} to {:g} mm".format(*PLAUSIBLE_MM)
CHUNK = 2**16
# Zeros up to which a file may be filled up.
BLOCK = 512
GZIP = b"\x1f\x8b"
DAMAGED = "damaged or cut short: cannot be unpacked"
SEGMENTATION = "a segmentation, expected a picture"
SHEARED = "with a sheared orientation matrix, expected axes at right angles: resample it (3D Slicer, Resample Image)"
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
    numbers : type of the voxels that a NIfTI file stores, None for any other file
    scaled : whether a NIfTI header makes other numbers of them; ITK adds an intercept even where the slope is 0
    declared : bytes of the voxels of a NIfTI file as stored; ITK tells what they become when they are scaled
    spacing_fault : what makes the spacing unbelievable, in words; SimpleITK shows 1 mm, or one of two, without a word
    unit : of the lengths in small letters, empty where the header names none; ITK converts those of NIfTI
    fields : text header of an NRRD or MetaImage file by field in small letters without blanks
    """

    start: int
    skip: int
    packed: bool
    numbers: np.dtype[Any] | None = None
    scaled: bool = False
    declared: int | None = None
    spacing_fault: str = ""
    unit: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)

    @property
    def sweep(self) -> bool:
        """Whether the frames are those of a tracked probe, each with its own pose, and no volume."""
        return any(re.match(r"seq_frame\d+_|customframetransform", name) for name in self.fields)

    @property
    def orientation(self) -> str:
        """Where the axes of an ultrasound picture run, in PLUS's letters; empty where the header does not know.

        The second is that of the rows: F where they run away from the probe (far), N where towards it (near).
        """
        letters = self.fields.get("ultrasoundimageorientation", "").upper()
        return "" if letters.startswith("XX") else letters

    def spacing_mm(self, steps: Iterable[float]) -> tuple[float, ...]:
        """Voxel sizes in mm of the numbers that SimpleITK shows."""
        factor = 1.0 if self.numbers else _units().get(self.unit, 1.0)
        return tuple(round(abs(step) * factor, 6) for step in steps)

    def doubt(self, spacing_mm: Sequence[float]) -> tuple[str, str] | None:
        """Why the file's own spacing is not believed, as found and expected; what a person states stands above it."""
        if self.sweep:
            return SWEEP, RECONSTRUCT
        if self.unit and self.unit not in _units():
            return "lengths in another unit than mm", "mm"
        return (self.spacing_fault, "one size along each axis") if self.spacing_fault else implausible(spacing_mm)


def _units() -> Mapping[str, float]:
    # Its tables need pandas, which a process that trains need not wait for.
    from mflib.base.vocabulary import factors

    return factors("mm")


SWEEP = "frames of a tracked freehand sweep, each with its own pose"
RECONSTRUCT = "a volume: reconstruct it (3D Slicer, PLUS), unless its planes are parallel and equally spaced"


def implausible(spacing_mm: Sequence[float]) -> tuple[str, str] | None:
    """Voxel sizes that no ultrasound has, as found and expected."""
    low, high = PLAUSIBLE_MM
    if all(low <= step <= high for step in spacing_mm):
        return None
    return f"spacing {' x '.join(f'{step:.4g}' for step in spacing_mm)} mm", PLAUSIBLE


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
        It is not of that kind, its voxels lie in another file (whichever that is), are written as text, or are no grey
        levels of one picture.
    """
    with path.open("rb") as file:
        layout = {NIFTI: _nifti, NRRD: _nrrd, META: _meta}[kind](file)
    _refuse_meaning(layout)
    return layout


def _refuse_meaning(layout: Layout) -> None:
    """Refuse what a header says its numbers are, where that is no grey volume with depth along j."""
    found = layout.fields
    if any(re.match(r"segment\d+_|segmentation_", name) for name in found):
        raise FileError(SEGMENTATION)
    mode = found.get("ultrasoundimagetype", "BRIGHTNESS").upper()
    if mode not in ("BRIGHTNESS", "") and not mode.startswith("RGB"):
        raise FileError("radio-frequency data, expected grey levels: export the B-mode picture")
    if layout.orientation[1:2] not in ("", "F", "N"):
        raise FileError("columns that do not run along the beam, expected UltrasoundImageOrientation MF, UF, MN or UN")
    scaling = [found.get(f"elementtointensityfunction{name}", str(n)) for n, name in enumerate(("offset", "slope"))]
    if [_number(text) for text in scaling] != [0, 1]:
        raise FileError("grey levels that the header scales (ElementToIntensityFunction), expected them as they are")
    vectors = re.findall(r"\(([^)]*)\)", found.get("spacedirections", ""))
    rows = found.get("transformmatrix", "").split()
    _refuse_shear([vector.split(",") for vector in vectors] or [rows[n : n + 3] for n in range(0, 9, 3)])
    # ITK takes a list for the parts of a pixel, and time for elevation. PLUS calls the planes of a MetaImage a list.
    film, sizes = {"time", *TIME, *(["list"] if "sizes" in found else [])}, found.get("sizes", found.get("dimsize", ""))
    quoted = [_quoted_units(found, name) for name in ("units", "spaceunits")]
    named = [found.get("kinds", "").casefold().split(), *quoted]
    axes = (pair for words in named for pair in zip(words, sizes.split(), strict=False))
    if not layout.sweep and (listed := [size for word, size in axes if word in film and size != "1"]):
        raise FileError(f"{listed[0]:.9} entries of a list or film, expected one volume: export a single one")


def _refuse_shear(vectors: Sequence[Sequence[str]]) -> None:
    """Refuse axes of a text header that are not at right angles; ITK does so itself for NIfTI."""
    if {len(vector) for vector in vectors} == {3}:
        axes = np.array([[_number(word) for word in vector] for vector in vectors])
        products, lengths = axes @ axes.T, np.linalg.norm(axes, axis=1)
        # A comparison with what is no number, as of a missing axis, finds nothing.
        if (np.abs(np.triu(products, 1)) > AGREES_WITHIN * np.outer(lengths, lengths)).any():
            raise FileError(f"a header {SHEARED}")


def _quoted_units(fields: Mapping[str, str], name: str) -> list[str]:
    """The units of an NRRD header in small letters, axis by axis."""
    return [unit.strip() for unit in re.findall(r'"([^"]*)"', fields.get(name, "").casefold())]


def _text_unit(fields: Mapping[str, str]) -> str:
    """The unit of length that a text header names; several where the axes have different ones."""
    quoted = _quoted_units(fields, "spaceunits") + _quoted_units(fields, "units")
    named = {*quoted, fields.get("distanceunits", "").strip().casefold()} - {"", "?", *TIME}
    return " and ".join(sorted(named))


def voxels(path: Path, layout: Layout, expected: int) -> bytes:
    """The voxels as the file stores them, unpacked and whole.

    Parameters
    ----------
    layout : as ``examine`` found it
    expected : bytes of voxels that the header declares; no more than these and a little are ever unpacked

    Raises
    ------
    FileError
        Damaged, cut short, more than declared or than ``LARGEST_BYTES``, or floating-point values that are not finite.
    """
    if expected > LARGEST_BYTES:
        raise FileError(f"{expected} bytes of voxels declared, expected at most {LARGEST_BYTES}")
    end = layout.skip + expected
    with path.open("rb") as file:
        file.seek(layout.start)
        content = (_unpacked(file, end + LONGEST) if layout.packed else file.read(end + BLOCK + 1))[layout.skip :]
        found = len(content) if layout.packed else os.fstat(file.fileno()).st_size - layout.start - layout.skip
    if found < expected:
        raise FileError(f"cut short: found {max(found, 0)} of {expected} bytes of voxels")
    if found > expected + 1 and (found > expected + BLOCK or any(content[expected:])):
        raise FileError(f"more than its header declares: found {found} bytes of voxels, expected {expected}")
    content = content[:expected]
    # The library under ITK turns what is not finite into 0 without a word.
    if layout.numbers and layout.numbers.kind in "fc" and not np.isfinite(np.frombuffer(content, layout.numbers)).all():
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
    order: Literal["<", ">"] = "<" if int.from_bytes(head[:4], "little") in (348, 540) else ">"
    size: int = struct.unpack_from(f"{order}i", head)[0]

    def at(first: tuple[str, int], second: tuple[str, int]) -> tuple[Any, ...]:
        code, place = second if size == 540 else first
        return struct.unpack_from(f"{order}{code}", head.ljust(540, b"\0"), place)

    (offset,), (datatype,) = at(("f", 108), ("q", 168)), at(("h", 70), ("h", 12))
    if not size <= offset < LONGEST:
        raise FileError("a header that says no place of its voxels, expected NIfTI")
    axes, *sizes = at(("8h", 40), ("8q", 16))
    if datatype not in NIFTI_TYPES or not 1 <= axes <= 7 or min(sizes[:axes]) < 1:
        raise FileError("voxels of an unknown type or number, expected NIfTI of grey levels")
    fault = _nifti_spacing(at(("3f", 80), ("3d", 112)), at(("h", 254), ("i", 348))[0], at(("12f", 280), ("12d", 400)))
    if at(("h", 68), ("i", 504))[0] == LABELS:
        raise FileError(SEGMENTATION)
    slope, intercept = at(("2f", 112), ("2d", 176))
    scaled = math.isfinite(slope) and slope != 0 and (slope, intercept) != (1, 0)
    numbers = np.dtype(NIFTI_TYPES[datatype]).newbyteorder(order)
    if scaled and numbers.shape:
        raise FileError("colours that the header scales (scl_slope, scl_inter), expected them as they are")
    unit = NIFTI_UNITS.get(at(("B", 123), ("i", 500))[0] & 7, "unknown")
    declared = math.prod(sizes[:axes]) * numbers.itemsize
    return Layout(0, int(offset), packed, numbers, scaled, declared, fault, unit)


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
    return Layout(start, 0, packed, spacing_fault=_spacing_fault(steps), unit=_text_unit(fields), fields=fields)


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
    if any(fields.get(name, "0") != "0" for name in ("lineskip", "byteskip")):
        raise FileError("lines or bytes to skip, expected the voxels right behind the header")
    fault, unit = _nrrd_spacing(fields), _text_unit(fields)
    return Layout(file.tell(), 0, encoding != "raw", spacing_fault=fault, unit=unit, fields=fields)


def _nrrd_spacing(fields: Mapping[str, str]) -> str:
    """What is wrong with the voxel sizes; an axis that is no place in space has none."""
    vectors = re.findall(r"\(([^)]*)\)|none", fields.get("spacedirections", ""))
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
    named = ((name.decode("latin-1").casefold().replace(" ", ""), value) for name, value in lines)
    return {name: value.decode("utf-8", "replace") for name, value in named}
