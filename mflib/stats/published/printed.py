"""Printed numbers, tables of fold results, and what an audit says of them."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from mflib.base import tables, vocabulary
from mflib.base.errors import FileError, InputError

WITHIN = "printed values are exact to 1 unit of their last place"
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
        """Read the digits; raises ``InputError`` where they are no number of zero or more."""
        digits = text.strip()
        if not _NUMBER.fullmatch(digits):
            raise InputError(f"found {text!r}, expected a number such as 67.18")
        return cls(digits, float(digits), 10.0 ** -len(digits.partition(".")[2]))

    def bounds(self) -> tuple[float, float]:
        """Least and greatest value that it can stand for: one unit of the last place away."""
        reach = (1 + _SLACK) * self.unit
        return self.value - reach, self.value + reach

    def deviation(self, exact: ArrayLike) -> NDArray[np.float64]:
        """How far exact values lie from it, in units of its last place; NaN where the exact value is."""
        return np.abs(np.asarray(exact, dtype=np.float64) - self.value) / self.unit

    def fits(self, exact: ArrayLike, units: float = 1) -> NDArray[np.bool_]:
        """Whether it lies within so many units of its last place of each exact value; never of an undefined one."""
        return self.deviation(exact) <= units + _SLACK

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
        """Read "0.032", "= 0.032", "<0.001", "≥ 28"; raises ``InputError`` where it is no sign and number."""
        digits = text.lstrip(" <>=≤≥")
        sign = text.removesuffix(digits).replace(" ", "")
        if sign not in _RELATIONS:
            raise InputError(f"found {text!r}, expected a number such as 0.032, after one of <, <=, >, >= or none")
        return cls(_RELATIONS[sign], Printed.of(digits))

    def __str__(self) -> str:
        return f"{self.relation or '='} {self.number.text}"

    def bounds(self) -> tuple[float, float]:
        """Least and greatest value that it allows; a limit is exact, a number as ``Printed.bounds``."""
        if not self.relation:
            return self.number.bounds()
        return (-np.inf, self.number.value) if self.relation[0] == "<" else (self.number.value, np.inf)

    def meets(self, least: float, greatest: float) -> bool:
        """Whether it allows any of the values from ``least`` to ``greatest``."""
        low, high = self.bounds()
        return low <= greatest and least <= high

    def compatible(self, other: Claimed) -> bool:
        """Whether one value can be what both claim."""
        (low, high), (other_low, other_high) = self.bounds(), other.bounds()
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


Status = Literal["reproduced", "not reproducible", "impossible under the stated assumption"]
REPRODUCED: Status = "reproduced"
NOT_REPRODUCIBLE: Status = "not reproducible"
IMPOSSIBLE: Status = "impossible under the stated assumption"
STATUSES: tuple[Status, ...] = (IMPOSSIBLE, NOT_REPRODUCIBLE, REPRODUCED)
SIGNS: dict[Status, str] = {REPRODUCED: "✓", NOT_REPRODUCIBLE: "≠", IMPOSSIBLE: "✗"}


@dataclass(frozen=True)
class Finding:
    """One statement about printed numbers.

    Parameters
    ----------
    what : its subject
    status : "reproduced"; "not reproducible", where other printed numbers give another value or none; "impossible
        under the stated assumption", where no data at all can give what is printed
    assumption : under which that holds
    printed : what the publication says
    computed : what follows
    detail : what a reader wants to know besides
    """

    what: str
    status: Status
    assumption: str
    printed: str
    computed: str
    detail: str = ""


def table(findings: Sequence[Finding]) -> pd.DataFrame:
    """The findings as rows, in their order: a sign for the status, then the fields of each finding."""
    rows = [{"sign": SIGNS[finding.status], **asdict(finding)} for finding in findings]
    return pd.DataFrame(rows, columns=["sign", *Finding.__dataclass_fields__])


def brief(findings: pd.DataFrame) -> pd.DataFrame:
    """The rows of ``table`` for a page: the detail goes with the value, the tolerance is left to the caption."""
    assumption = findings["assumption"].str.replace(r"(; )?printed values are exact to [^;]* place", "", regex=True)
    computed = findings["computed"] + findings["detail"].map(lambda detail: f" ({detail})" if detail else "")
    table = findings.assign(computed=computed, assumption=assumption.str.removeprefix("; "))
    return table[["sign", "what", "printed", "computed", "assumption"]]


PERCENT = ("accuracy_pct", "ppv_pct", "npv_pct", "sensitivity_pct", "specificity_pct")
METRICS = (*PERCENT, "auc")
NAMES = {
    "accuracy_pct": "accuracy",
    "ppv_pct": "PPV",
    "npv_pct": "NPV",
    "sensitivity_pct": "sensitivity",
    "specificity_pct": "specificity",
    "auc": "AUC",
}


@dataclass(frozen=True)
class FoldTable:
    """The printed results of each fold.

    Parameters
    ----------
    folds : by the fold's name, its value of each metric; every fold has the same metrics
    ignored : columns of the file that are none of ``METRICS``
    notices : what was left out, or understood otherwise than it is written
    """

    folds: Mapping[str, Mapping[str, Printed]]
    ignored: tuple[str, ...] = ()
    notices: Sequence[str] = ()

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that are there, in the order of ``METRICS``."""
        present = next(iter(self.folds.values()))
        return tuple(metric for metric in METRICS if metric in present)


Summary = Mapping[str, tuple[Printed, Printed]]


def read_folds(path: Path) -> FoldTable:
    """Read a table with ``fold`` and any of ``METRICS``; percent but for the AUC, as many decimals as printed.

    Raises
    ------
    InputError
        With file, line, column, what was found and what was expected; a row of means, totals or SDs is left out.
    """
    header, rows, notices = _read(path, ["fold", *METRICS], "fold")
    present = [metric for metric in METRICS if metric in header]
    if "fold" not in header or not present:
        raise InputError(f"{path}: found columns {header}, expected fold and any of {list(METRICS)}")
    folds: dict[str, dict[str, Printed]] = {}
    for place, row in rows:
        _check_fold(place, row["fold"], folds)
        folds[row["fold"]] = {metric: _value(f"{place}, column {metric}", metric, row[metric]) for metric in present}
    percent = [row[metric] for row in folds.values() for metric in present if metric in PERCENT]
    if percent and 0 < max(printed.value for printed in percent) <= 1:
        raise InputError(f"{path}: found no percentage above 1, expected percent from 0 to 100, not shares")
    return FoldTable(folds, tuple(name for name in header if name not in ("fold", *METRICS)), notices)


def read_summary(path: Path, folds: FoldTable) -> Summary:
    """Read a table with ``metric``, ``mean`` and ``sd``, the printed mean and SD over the folds of each metric.

    Raises
    ------
    InputError
        As ``read_folds``; or a metric that the table of folds has not.
    """
    header, rows, _ = _read(path, ["metric", "mean", "sd"])
    if not {"metric", "mean", "sd"} <= set(header):
        raise InputError(f"{path}: found columns {header}, expected metric, mean and sd")
    summary: dict[str, tuple[Printed, Printed]] = {}
    for place, row in rows:
        metric = row["metric"]
        if metric not in folds.metrics or metric in summary:
            expected = f"each of {list(folds.metrics)} once at most"
            raise InputError(f"{place}, column metric: found {metric!r}, expected {expected}")
        mean, sd = (_value(f"{place}, column {name}", metric, row[name]) for name in ("mean", "sd"))
        summary[metric] = mean, sd
    return summary


def _read(
    path: Path, known: Sequence[str], key: str = ""
) -> tuple[list[str], list[tuple[str, dict[str, str]]], Sequence[str]]:
    """The header, each row with the words for its place, every cell text, and what is to be said of the file."""
    try:
        cells = tables.read(path, known, key)
    except FileError as error:
        raise InputError(f"{path}: {error}") from error
    header = cells.header
    if not cells.rows:
        raise InputError(f"{path}: found no rows, expected a header and one row or more")
    if twice := sorted({name for name in header if header.count(name) > 1}):
        raise InputError(f"{path}: found the column {twice[0]!r} twice, expected each once")
    for line, row in cells.rows.items():
        if len(row) != len(header):
            raise InputError(f"{path}, line {line}: found {len(row)} cells, expected {len(header)}: {header}")
    rows = [(f"{path}, line {line}", dict(zip(header, row, strict=True))) for line, row in cells.rows.items()]
    return header, rows, cells.notices


def _check_fold(place: str, name: str, earlier: Container[str]) -> None:
    """Refuse what no further fold can be called."""
    if not name or name in earlier:
        expected = "each fold once" if name else "the name of a fold"
        raise InputError(f"{place}, column fold: found {name!r}, expected {expected}")


def _value(place: str, metric: str, text: str) -> Printed:
    """One cell as a printed number in the metric's range."""
    highest = 100 if metric in PERCENT else 1
    expected = f"a number from 0 to {highest}"
    try:
        printed = Printed.of(_digits(text))
    except InputError as error:
        message = f"found {text!r}, expected {expected}; leave out a fold or a column that is not defined"
        raise InputError(f"{place}: {message}") from error
    if printed.value > highest:
        raise InputError(f"{place}: found {text!r}, expected {expected}")
    return printed


def _digits(text: str) -> str:
    """The digits as they are printed, with a decimal point and without the sign of percent."""
    return vocabulary.plain(text).removesuffix("%").rstrip().replace(",", ".")
