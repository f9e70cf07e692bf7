"""DICOM files opened, and their elements as numbers and words; a damaged or hostile file ends as one error."""

from __future__ import annotations

import logging
import math
import mmap
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import Any, BinaryIO, cast

from pydicom import config, dcmread
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.tag import Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from mflib.base.errors import FileError
from mflib.data.stored import LARGEST_BYTES

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
    try:
        return number(ds, name)
    except FileError:
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
    FileError
        Not DICOM, damaged, or larger than ``LARGEST_BYTES`` when unpacked.
    """
    return _dataset(path, stop_before_pixels=True)


def whole(path: Path) -> Dataset:
    """A file with its pixel data as stored; call ``header`` and check what it declares before.

    Raises
    ------
    FileError
        As ``header``.
    """
    return _dataset(path, stop_before_pixels=False)


def _dataset(path: Path, *, stop_before_pixels: bool) -> Dataset:
    with guarded("the file"):
        if not is_dicom(path):
            raise FileError("not a DICOM file")
        if path.stat().st_size > 2 * LARGEST_BYTES:
            raise FileError(f"found {path.stat().st_size} bytes, expected at most {2 * LARGEST_BYTES}")
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
            raise FileError(f"unpacks to more than {LARGEST_BYTES} bytes")
