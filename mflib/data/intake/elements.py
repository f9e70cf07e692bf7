"""DICOM files opened: their elements as numbers and words, their pixel data as grey levels.

A damaged or hostile file ends as one error, and what it declares is checked before anything is unpacked.
"""

from __future__ import annotations

import logging
import math
import mmap
import re
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from pydicom import config, dcmread, uid
from pydicom.dataset import Dataset
from pydicom.encaps import generate_fragments, generate_frames
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.pixels import apply_color_lut, convert_color_space, get_decoder, pixel_array
from pydicom.pixels.utils import get_expected_length
from pydicom.tag import Tag

from mflib.base.errors import FileError
from mflib.base.words import percent
from mflib.data.stored import LARGEST_BYTES

T = TypeVar("T")
# What pydicom, its decoders and zlib raise on damaged data.
DAMAGE = (
    ArithmeticError, AttributeError, BytesLengthException, EOFError, InvalidDicomError, LookupError, MemoryError,
    OSError, RuntimeError, TypeError, ValueError, struct.error, zlib.error,
)  # fmt: skip


@contextmanager
def guarded(what: str) -> Iterator[None]:
    """Turn every way in which reading ``what`` can fail into a ``FileError`` that holds no value of the file.

    pydicom's warnings and log lines quote values, names of patients among them. They are silenced here: each fault
    that matters is looked for and refused by this package itself.
    """
    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings(), config.disable_value_validation():
            warnings.simplefilter("ignore")
            yield
    except FileError:
        raise
    except DAMAGE as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        raise FileError(f"{what} cannot be read: damaged, cut short or not as the standard has it ({reason})") from None
    finally:
        logger.setLevel(level)


def numbers(ds: Dataset, name: str | int, binary: str = "fd") -> tuple[float, ...]:
    """The numbers in an element; empty where the file does not have it.

    Parameters
    ----------
    ds : dataset
    name : keyword, or tag of a private element
    binary : ``struct`` codes to read undeclared bytes by, chosen by their length

    Raises
    ------
    FileError
        The element holds something else than finite numbers.
    """
    with guarded(_named(name)):
        value = _value(ds, name)
        if isinstance(value, bytes):
            value = _unpacked(value, binary)
        values = [value] if isinstance(value, str | int | float) or not hasattr(value, "__iter__") else list(value)
        found = tuple(float(v) for v in values if v is not None and v != "")
        if not all(map(math.isfinite, found)):
            raise FileError(f"{_named(name)} is not a finite number")
        return found


def number(ds: Dataset, name: str | int, binary: str = "fd") -> float | None:
    """The one number in an element; None where the file does not have it.

    Raises
    ------
    FileError
        The element holds something else.
    """
    found = numbers(ds, name, binary)
    if len(found) > 1:
        raise FileError(f"{_named(name)} holds {len(found)} numbers, expected one")
    return found[0] if found else None


def readable(ds: Dataset, name: str) -> float | None:
    """The one number in an element that nothing hangs on; None where there is none, or something else."""
    return doubted([], number, ds, name)


def doubted(doubts: list[FileError], read: Callable[..., T], *arguments: Any) -> T | None:
    """What ``read`` finds; None, and the reason among the doubts, where it cannot be read: a person may state it."""
    try:
        return read(*arguments)
    except FileError as error:
        doubts.append(error)
        return None


def count(ds: Dataset, name: str | int) -> int | None:
    """A number of things; None where the file does not have it.

    Raises
    ------
    FileError
        The element holds something else than one whole number from 0.
    """
    found = number(ds, name, "HI")
    if found is not None and (found < 0 or found != int(found)):
        raise FileError(f"{_named(name)} is {found:g}, expected a whole number")
    return None if found is None else int(found)


def word(ds: Dataset, name: str) -> str:
    """A text in capitals, for comparison with known words only; empty where the file does not have it."""
    with guarded(_named(name)):
        value = _value(ds, name)
        parts = [value] if isinstance(value, str) else list(value) if hasattr(value, "__iter__") else []
        return "\\".join(str(part).strip().upper() for part in parts)


def items(ds: Dataset, name: str) -> list[Dataset]:
    """The items of a sequence; none where the file does not have it."""
    with guarded(_named(name)):
        return [item for item in _value(ds, name) or () if isinstance(item, Dataset)]


def groups(ds: Dataset) -> set[int]:
    """Groups of elements that a dataset has, without a look at their values."""
    return set(map(attrgetter("group"), ds.keys()))


def _value(ds: Dataset, name: str | int) -> Any:
    return ds[name].value if name in ds else None


def _unpacked(value: bytes, binary: str) -> list[float] | list[str]:
    """Numbers in an element whose type the file leaves open: decimal text, else binary by its length."""
    text = value.strip(b"\0 ")
    if text and not set(text) - set(b"0123456789+-.eE\\ "):
        return text.decode("ascii").split("\\")
    codes = {struct.calcsize(code): code for code in binary}
    return list(struct.unpack("<" + codes[len(value)], value)) if value else []


def _named(name: str | int) -> str:
    return name if isinstance(name, str) else str(Tag(name))


# An element of group 2 or 8 with its type, or with a length of at most 64 bytes.
FIRST_ELEMENT = re.compile(
    rb"[\x02\x08]\x00.[\x00\x01](?:UI|CS|DA|TM|LO|SH|UL|DT|PN|AE|[\x00-\x40]\x00{3}).{8}", re.DOTALL
)


def is_dicom(path: Path) -> bool:
    """Whether a file holds DICOM, by its content: the prefix ``DICM``, or an element of group 2 or 8 at its start."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.read(132)
    return start[128:] == b"DICM" or FIRST_ELEMENT.match(start) is not None


def opened(path: Path, *, pixels: bool = False) -> Dataset:
    """Everything that a file says before its pixels, or with its pixel data as stored: check what it declares before.

    Raises
    ------
    FileError
        Not DICOM, damaged, or larger than ``LARGEST_BYTES`` when unpacked.
    """
    with guarded("the file"):
        if not is_dicom(path):
            raise FileError("not a DICOM file")
        if path.stat().st_size > 2 * LARGEST_BYTES:
            raise FileError(f"found {path.stat().st_size} bytes, expected at most {2 * LARGEST_BYTES}")
        _refuse_bomb(path)
        # A map does not take memory for what an element declares beyond the file's end.
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            ds = dcmread(cast(BinaryIO, content), stop_before_pixels=not pixels, force=True)
        if "TransferSyntaxUID" not in ds.file_meta:
            implicit, _ = ds.original_encoding
            ds.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian if implicit else uid.ExplicitVRLittleEndian
        return ds


def _refuse_bomb(path: Path) -> None:
    """Refuse a deflated file that would not fit into memory: pydicom inflates it in one piece."""
    with path.open("rb") as file:
        if file.read(132)[128:] != b"DICM":
            return
        meta = read_file_meta_info(path)
        if meta.get("TransferSyntaxUID") != uid.DeflatedExplicitVRLittleEndian:
            return
        # Preamble, prefix and the element that says how long the rest of the group is.
        file.seek(132 + 12 + meta.FileMetaInformationGroupLength)
        unpacked = zlib.decompressobj(-zlib.MAX_WBITS).decompress(file.read(), LARGEST_BYTES + 1)
    if len(unpacked) > LARGEST_BYTES:
        raise FileError(f"unpacks to more than {LARGEST_BYTES} bytes")


JPEG, JPEG_2000, JPEG_END = b"\xff\xd8", b"\xff\x4f\xff\x51", b"\xff\xd9"
# Start-of-frame markers: all of C0-CF but Huffman tables, a reserved one and arithmetic conditioning; F7 is JPEG-LS.
START_OF_FRAME = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
# How a compressed frame begins; one of run lengths with the number of its planes.
STARTS = (JPEG, JPEG_2000, *(bytes([planes, 0, 0, 0]) for planes in (1, 2, 3)))
SLACK = 2**16


def check_codestream(code: bytes, stored: PixelLayout, frame: int) -> None:
    """Refuse a compressed frame that unpacks to another size than declared.

    Raises
    ------
    FileError
        Another size, none at all, or far more code than pixels (run lengths have no size of their own).
    """
    rows, columns, syntax = stored.rows, stored.columns, stored.syntax
    if len(code) > 4 * rows * columns + SLACK:
        raise FileError(f"frame {frame} has {len(code)} bytes of code for {rows} x {columns} pixels")
    if syntax == uid.RLELossless:
        return
    start = JPEG if syntax in uid.JPEGTransferSyntaxes + uid.JPEGLSTransferSyntaxes else JPEG_2000
    # A decoder would look further: into the boxes of a JP2 file, or behind bytes that are no picture.
    if not code.startswith(start):
        raise FileError(f"frame {frame} does not begin as {syntax.name} does (PS3.5 A.4): damaged, or another kind")
    if start == JPEG:
        height, width, components = _jpeg_size(code)
        # A decoder fills up with grey what is missing. Zeros may stand behind the end.
        if JPEG_END not in code[-64:]:
            raise FileError(f"frame {frame} is cut short: its end is missing")
    else:
        right, bottom, left, top = struct.unpack_from(">4I", code, 8)
        height, width = bottom - top, right - left
        (components,) = struct.unpack_from(">H", code, 40)
    if components != SAMPLES[stored.photometric]:
        expected = f"{SAMPLES[stored.photometric]} as in {stored.photometric}"
        raise FileError(f"frame {frame} has {components} components, expected {expected}")
    if (height, width) != (rows, columns):
        raise FileError(f"frame {frame} unpacks to {height} x {width} pixels, its file declares {rows} x {columns}")


def _jpeg_size(code: bytes) -> tuple[int, int, int]:
    """Rows, columns, components from the start-of-frame segment; libjpeg would unpack the whole frame to tell them."""
    at = 2
    while at + 10 <= len(code) and code[at] == 0xFF:
        marker, length = code[at + 1], int.from_bytes(code[at + 2 : at + 4], "big")
        if marker in START_OF_FRAME:
            rows, columns, components = struct.unpack_from(">2HB", code, at + 5)
            return rows, columns, components
        # A marker may be preceded by any number of fill bytes.
        at += 1 if marker == 0xFF else 2 + length
    raise FileError("a JPEG frame does not say its size: damaged or cut short")


# Numbers that each pixel of a photometric interpretation has.
SAMPLES = {
    **dict.fromkeys(("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"), 1),
    **dict.fromkeys(("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"), 3),
}


@dataclass(frozen=True)
class PixelLayout:
    """How a file says that its pixels are stored.

    Parameters
    ----------
    rows, columns, frames : size
    photometric : photometric interpretation
    allocated, bits : bits of a number, and those of them that are stored
    shift : unused bits below them
    syntax : transfer syntax
    """

    rows: int
    columns: int
    frames: int
    photometric: str
    allocated: int
    bits: int
    shift: int
    syntax: uid.UID


def pixel_layout(ds: Dataset) -> PixelLayout:
    """What the header declares of the pixels.

    Raises
    ------
    FileError
        Not 8-bit pixels of a known kind, or more than ``LARGEST_BYTES`` of them.
    """
    declared = {name: count(ds, name) for name in ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored")}
    if missing := [name for name, value in declared.items() if not value]:
        raise FileError(f"no picture: {', '.join(missing)} missing or 0")
    rows, columns, samples, allocated, bits = (value or 0 for value in declared.values())
    frames = count(ds, "NumberOfFrames") or 1
    # A video has other colours too, and what to do about it is to export something else.
    with guarded("the transfer syntax"):
        syntax = uid.UID(ds.file_meta.TransferSyntaxUID)
        _refuse_syntax(syntax)
    photometric, signed = word(ds, "PhotometricInterpretation"), count(ds, "PixelRepresentation")
    if photometric not in SAMPLES:
        raise FileError(f"its photometric interpretation is unknown, expected one of {', '.join(SAMPLES)}")
    if samples != SAMPLES[photometric]:
        raise FileError(f"found {samples} samples a pixel, which does not fit {photometric}")
    if bits > 8 or signed or allocated not in (8, 16):
        kind = f"{'signed' if signed else 'unsigned'} pixels of {bits} bits in {allocated}"
        raise FileError(f"found {kind}, expected 8-bit grey levels: export at 8 bits, nothing is rescaled silently")
    high = count(ds, "HighBit")
    shift = 0 if high is None or bits == allocated else high + 1 - bits
    if not 0 <= shift <= allocated - bits or (shift and syntax.is_encapsulated and syntax != uid.RLELossless):
        raise FileError(f"found High Bit {high}, which does not fit {bits} bits stored in {allocated}")
    refuse_rescaled(ds)
    size, unpacked = f"{columns} x {rows} x {frames}", rows * columns * frames * samples * allocated // 8
    if unpacked > LARGEST_BYTES:
        raise FileError(f"declares {size} pixels, which unpack to {unpacked} bytes; expected at most {LARGEST_BYTES}")
    return PixelLayout(rows, columns, frames, photometric, allocated, bits, shift, syntax)


def refuse_rescaled(holder: Dataset) -> None:
    """Refuse numbers of which the file makes other ones."""
    plain = {"RescaleIntercept": 0, "RescaleSlope": 1}
    unlike = [name for name, value in plain.items() if number(holder, name) not in (None, value)]
    if unlike or "ModalityLUTSequence" in holder:
        found = f"grey levels that the file rescales ({', '.join(unlike) or 'ModalityLUTSequence'})"
        raise FileError(f"{found}, expected them as they are: export the B-mode picture")


def _refuse_syntax(syntax: uid.UID) -> None:
    try:
        known = get_decoder(syntax).is_available
    except NotImplementedError:
        known = False
    if not known:
        kind = syntax.name if syntax.name != str(syntax) else "unknown kind"
        raise FileError(f"compressed as {kind}, which cannot be decoded; export uncompressed, JPEG or JPEG 2000")


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
    if stored.syntax.is_encapsulated or "PlanarConfiguration" not in ds:
        # Compressed frames say for themselves how their colours lie (PS3.5 8.2).
        ds.PlanarConfiguration = 0
    if stored.syntax.is_encapsulated:
        # A second table of frames, which the decoder would believe, is not needed to find them.
        ds.pop("ExtendedOffsetTable", None)
        found = 0
        for found, code in enumerate(generate_frames(ds.PixelData, number_of_frames=stored.frames), 1):
            check_codestream(code, stored, found)
        if found != stored.frames:
            raise FileError(f"cut short or wrong, found {found} of {stored.frames} frames")
    else:
        if ds["PixelData"].VR == "OW" and stored.allocated == 8 and not stored.syntax.is_little_endian:
            # Pairs of bytes lie the wrong way round, and the one that fills up the last pair lies inside it.
            ds.PixelData, ds["PixelData"].VR = np.frombuffer(ds.PixelData, np.uint16).byteswap().tobytes(), "OB"
        ds.PixelData = _fitted(ds.PixelData, get_expected_length(ds), stored.frames)
    for index in range(stored.frames):
        # Not ``iter_pixels``: pydicom 3.0.2 takes all but the first frame of YBR_FULL_422 for YBR_FULL there.
        yield _grey_or_rgb(ds, stored, _decoded(ds, stored, index))


def pictures_held(content: bytes, stored: PixelLayout) -> int:
    """How many pictures the pixel data hold, whatever the file declares."""
    if not stored.syntax.is_encapsulated:
        return len(content) // (stored.rows * stored.columns * SAMPLES[stored.photometric] * stored.allocated // 8)
    return sum(fragment.startswith(STARTS) for fragment in generate_fragments(content))


def _fitted(content: bytes, expected: int, frames: int) -> bytes:
    """Pixels that are not compressed without what fills them up: a byte behind each odd frame, or a few zeros."""
    one, extra = expected // frames, len(content) - expected
    if extra < 0:
        raise FileError(f"cut short, found {len(content)} of {expected} bytes of pixels")
    gap, rest = divmod(extra, frames)
    apart = np.frombuffer(content, np.uint8).reshape(frames, -1) if gap and not rest else None
    between = apart is not None and np.ptp(apart[:, one:]) == 0
    if apart is not None and between and gap == one % 2:
        readings = [apart[:, :one]]
        if not any(content[expected:]):
            readings.append(np.frombuffer(content, np.uint8, expected).reshape(frames, one))
        # Black can make both fit. The wrong one shifts each frame further, so that more of its pixels change; in five
        # frames or fewer, noise alone could bring that about.
        changing = {np.count_nonzero(np.ptp(reading, axis=0)): reading for reading in readings}
        if len(readings) == 1 or (len(changing) == 2 and frames > 5):
            return changing[min(changing)].tobytes()
    if extra > 1 and (extra >= one or between or any(content[expected:])):
        found = f"{len(content)} bytes of pixels ({len(content) / one:.4g} frames)"
        raise FileError(f"found {found}, expected {expected} ({frames} frames, as the file declares)")
    return content[:expected]


def _decoded(ds: Dataset, stored: PixelLayout, index: int) -> NDArray[Any]:
    """One frame as it is decoded; in JPEG a grey one shows by itself whether it is red, green and blue."""
    if SAMPLES[stored.photometric] == 3 and stored.syntax.is_encapsulated and stored.syntax != uid.RLELossless:
        numbers = pixel_array(ds, index=index, raw=True).astype(np.int16)
        if (np.abs(numbers[..., 1:] - NEUTRAL) <= EQUAL_WITHIN).all(axis=-1).mean() > MOSTLY:
            return convert_color_space(numbers.astype(np.uint8), "YBR_FULL", "RGB")
        if (np.ptp(numbers, axis=-1) <= EQUAL_WITHIN).mean() > MOSTLY:
            return numbers
    # pydicom takes the unused bits for the upper ones, and hides what is set there.
    return pixel_array(ds, index=index, correct_unused_bits=False)


def _grey_or_rgb(ds: Dataset, stored: PixelLayout, frame: NDArray[Any]) -> NDArray[np.uint8]:
    unused = int(np.bitwise_or.reduce(frame, axis=None)) & ~((2**stored.bits - 1) << stored.shift)
    # An old kind of overlay lies in bits that it names.
    overlays = {count(ds, group << 16 | 0x0102) or 0 for group in groups(ds) if unused and 0x6000 <= group <= 0x60FF}
    if unused & ~sum(1 << position for position in overlays):
        found = f"bits set outside the {stored.bits} of {stored.allocated} that the file declares as stored"
        raise FileError(f"found {found}, expected none: export at 8 bits, nothing is rescaled silently")
    levels = (frame >> stored.shift) & (2**stored.bits - 1)
    if stored.photometric == "PALETTE COLOR":
        looked_up = apply_color_lut(levels, ds)[..., :3]
        # Entries of 16 bits keep the grey level in the upper half, though some machines write it into the lower.
        return (looked_up >> 8 if looked_up.max() > 255 else looked_up).astype(np.uint8)
    return (2**stored.bits - 1 - levels if stored.photometric == "MONOCHROME1" else levels).astype(np.uint8)


# Channels that differ by no more are grey: conversion from YBR rounds, and lossy compression blurs.
EQUAL_WITHIN = 4
# What the colour of YBR is where there is none, and the share of a frame that must be grey to show what it is.
NEUTRAL, MOSTLY = 128, 0.9
# What is no brighter has no colour: lossy compression spreads that of a mark over the black around it.
BLACK = 32


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


def refuse_colour(coloured: Sequence[NDArray[np.bool_]], voxels: int) -> None:
    """Refuse a volume of so many voxels where some of its frames are coloured, and say how much of them is."""
    counts = [int(mask.sum()) for mask in coloured]
    if sum(counts):
        found = f"{sum(counts)} voxels ({percent(sum(counts) / voxels, 2)}) of {np.count_nonzero(counts)} frames"
        expected = "expected grey: export the B-mode without Doppler, coloured maps and marks"
        raise FileError(f"found true colour in {found}, {expected}")
