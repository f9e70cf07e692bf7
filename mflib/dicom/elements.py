"""Elements of a dataset as numbers and words; whatever a damaged or hostile file holds there ends as one error."""

from __future__ import annotations

import logging
import math
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter
from typing import Any

from pydicom import config
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.tag import Tag

# What pydicom, its decoders and zlib raise on damaged data.
DAMAGE = (
    ArithmeticError, AttributeError, BytesLengthException, EOFError, InvalidDicomError, LookupError, MemoryError,
    OSError, RuntimeError, TypeError, ValueError, struct.error, zlib.error,
)  # fmt: skip


class DicomError(ValueError):
    """A DICOM file that cannot be used; the message says what was found and expected, and names no person or file."""


@contextmanager
def guarded(what: str) -> Iterator[None]:
    """Turn every way in which reading ``what`` can fail into a ``DicomError`` that holds no value of the file.

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
    except DicomError:
        raise
    except DAMAGE as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        raise DicomError(
            f"{what} cannot be read: damaged, cut short or not as the standard has it ({reason})"
        ) from None
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
    DicomError
        The element holds something else than finite numbers.
    """
    with guarded(_named(name)):
        value = _value(ds, name)
        if isinstance(value, bytes):
            value = _unpacked(value, binary)
        values = [value] if isinstance(value, str | int | float) or not hasattr(value, "__iter__") else list(value)
        found = tuple(float(v) for v in values if v is not None and v != "")
        if not all(map(math.isfinite, found)):
            raise DicomError(f"{_named(name)} is not a finite number")
        return found


def number(ds: Dataset, name: str | int, binary: str = "fd") -> float | None:
    """The one number in an element; None where the file does not have it.

    Raises
    ------
    DicomError
        The element holds something else.
    """
    found = numbers(ds, name, binary)
    if len(found) > 1:
        raise DicomError(f"{_named(name)} holds {len(found)} numbers, expected one")
    return found[0] if found else None


def readable(ds: Dataset, name: str) -> float | None:
    """The one number in an element that nothing hangs on; None where there is none, or something else."""
    try:
        return number(ds, name)
    except DicomError:
        return None


def count(ds: Dataset, name: str | int) -> int | None:
    """A number of things; None where the file does not have it.

    Raises
    ------
    DicomError
        The element holds something else than one whole number from 0.
    """
    found = number(ds, name, "HI")
    if found is not None and (found < 0 or found != int(found)):
        raise DicomError(f"{_named(name)} is {found:g}, expected a whole number")
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
