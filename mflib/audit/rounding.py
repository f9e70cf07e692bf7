"""Printed numbers, and which exact values each can stand for.

Most printed values are rounded, some are cut, and some are off by one in their last digit. So a printed number is
taken to stand for everything within one unit of its last place; that is lenient, and a finding is then beyond doubt.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mflib.audit.findings import AuditError

LENIENT = 1.0  # units of the last place
_NUMBER = re.compile(r"\d+(\.\d*)?|\.\d+")
_RELATIONS = {"": "", "=": "", "<": "<", ">": ">", "<=": "<=", ">=": ">=", "≤": "<=", "≥": ">="}
# Percent of whole cases are often exactly one unit away; binary fractions must not decide that.
_SLACK = 1e-6


@dataclass(frozen=True)
class Printed:
    """A number as it is printed.

    Parameters
    ----------
    text : the digits
    value : as a number
    unit : of its last place, such as 0.01
    """

    text: str
    value: float
    unit: float

    @classmethod
    def of(cls, text: str) -> Printed:
        """Read the digits; raises ``AuditError`` where they are no number of zero or more."""
        digits = text.strip()
        if not _NUMBER.fullmatch(digits):
            raise AuditError(f"found {text!r}, expected a number such as 67.18")
        return cls(digits, float(digits), 10.0 ** -len(digits.partition(".")[2]))

    def bounds(self, tolerance: float = LENIENT) -> tuple[float, float]:
        """Least and greatest value that it can stand for; ``tolerance`` in units of the last place."""
        reach = (tolerance + _SLACK) * self.unit
        return self.value - reach, self.value + reach

    def deviation(self, exact: ArrayLike) -> NDArray[np.float64]:
        """How far exact values lie from it, in units of its last place; NaN where the exact value is."""
        return np.abs(np.asarray(exact, dtype=np.float64) - self.value) / self.unit

    def fits(self, exact: ArrayLike, tolerance: float = LENIENT) -> NDArray[np.bool_]:
        """Whether it can stand for each exact value; an undefined one (NaN) it does not stand for."""
        return self.deviation(exact) <= tolerance + _SLACK

    def without_padding(self) -> Printed:
        """The number without a last zero after the point: 80.50 may be 80.5, filled up to two decimals."""
        padded = "." in self.text and self.text.endswith("0")
        return Printed(self.text, self.value, 10 * self.unit) if padded else self


@dataclass(frozen=True)
class Claimed:
    """A number as a text claims it: itself, or a limit below or above which something lies.

    Parameters
    ----------
    relation : "<", "<=", ">", ">=", or empty for the number itself
    number : as printed
    """

    relation: str
    number: Printed

    @classmethod
    def of(cls, text: str) -> Claimed:
        """Read "0.032", "= 0.032", "<0.001", "≥ 28"; raises ``AuditError`` where it is no sign and number."""
        digits = text.lstrip(" <>=≤≥")
        sign = text.removesuffix(digits).replace(" ", "")
        if sign not in _RELATIONS:
            raise AuditError(f"found {text!r}, expected a number such as 0.032, after one of <, <=, >, >= or none")
        return cls(_RELATIONS[sign], Printed.of(digits))

    def __str__(self) -> str:
        return f"{self.relation or '='} {self.number.text}"

    def bounds(self, tolerance: float = LENIENT) -> tuple[float, float]:
        """Least and greatest value that it allows; a limit is exact, a number as ``Printed.bounds``."""
        if not self.relation:
            return self.number.bounds(tolerance)
        return (-np.inf, self.number.value) if self.relation[0] == "<" else (self.number.value, np.inf)

    def meets(self, least: float, greatest: float, tolerance: float = LENIENT) -> bool:
        """Whether it allows any of the values from ``least`` to ``greatest``."""
        low, high = self.bounds(tolerance)
        return low <= greatest and least <= high

    def compatible(self, other: Claimed, tolerance: float = LENIENT) -> bool:
        """Whether one value can be what both claim."""
        (low, high), (other_low, other_high) = self.bounds(tolerance), other.bounds(tolerance)
        least, greatest = max(low, other_low), min(high, other_high)
        return least < greatest or (least == greatest and {self.relation, other.relation} == {"<=", ">="})


def readings(row: Mapping[str, Printed]) -> list[tuple[str, Mapping[str, Printed]]]:
    """The ways to read a row, the strict one first: as printed, and with last zeros taken for padding.

    Returns
    -------
    list of (assumption, row)
        The assumption is empty for the row as printed. There is one way only where no value ends with a zero.
    """
    padded = {name: printed.without_padding() for name, printed in row.items()}
    filled = [printed.text for name, printed in row.items() if padded[name] != printed]
    ways: list[tuple[str, Mapping[str, Printed]]] = [("", row)]
    return [*ways, (f"the last zero of {', '.join(filled)} is padding", padded)] if filled else ways


def within(tolerance: float) -> str:
    """The tolerance in words."""
    return f"printed values are exact to {tolerance:g} unit{'' if tolerance == 1 else 's'} of their last place"
