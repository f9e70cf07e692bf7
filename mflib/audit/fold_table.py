"""Tables of fold results as they are printed: read as text, since the decimals say how exact a value is."""

from __future__ import annotations

import csv
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path

from mflib.audit.findings import AuditError
from mflib.audit.rounding import Printed

PERCENT = ("accuracy_pct", "ppv_pct", "npv_pct", "sensitivity_pct", "specificity_pct")
METRICS = (*PERCENT, "auc")
SUMMARIES = ("mean", "average", "total", "sd", "overall")  # rows over the folds, which are no folds
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
    """

    folds: Mapping[str, Mapping[str, Printed]]
    ignored: tuple[str, ...] = ()

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that are there, in the order of ``METRICS``."""
        present = next(iter(self.folds.values()))
        return tuple(metric for metric in METRICS if metric in present)

    def column(self, metric: str) -> list[Printed]:
        """The printed values of one metric, fold by fold."""
        return [row[metric] for row in self.folds.values()]


Summary = Mapping[str, tuple[Printed, Printed]]


def read_folds(path: Path) -> FoldTable:
    """Read a CSV with ``fold`` and any of ``METRICS``; percent but for the AUC, as many decimals as printed.

    Raises
    ------
    AuditError
        With file, line, column, what was found and what was expected; also of a row of means, totals or SDs.
    """
    header, rows = _read(path)
    present = [metric for metric in METRICS if metric in header]
    if "fold" not in header or not present:
        raise AuditError(f"{path}: found columns {header}, expected fold and any of {list(METRICS)}")
    folds: dict[str, dict[str, Printed]] = {}
    for line, row in rows:
        expected = _no_fold(row["fold"], folds)
        if expected:
            raise AuditError(f"{path}, line {line}, column fold: found {row['fold']!r}, expected {expected}")
        folds[row["fold"]] = {metric: _value(path, line, metric, metric, row[metric]) for metric in present}
    percent = [row[metric] for row in folds.values() for metric in present if metric in PERCENT]
    if percent and 0 < max(printed.value for printed in percent) <= 1:
        raise AuditError(f"{path}: found no percentage above 1, expected percent from 0 to 100, not shares")
    return FoldTable(folds, tuple(name for name in header if name not in ("fold", *METRICS)))


def read_summary(path: Path, folds: FoldTable) -> Summary:
    """Read a CSV with ``metric``, ``mean`` and ``sd``, the printed mean and SD over the folds of each metric.

    Raises
    ------
    AuditError
        As ``read_folds``; or a metric that the table of folds has not.
    """
    header, rows = _read(path)
    if not {"metric", "mean", "sd"} <= set(header):
        raise AuditError(f"{path}: found columns {header}, expected metric, mean and sd")
    summary: dict[str, tuple[Printed, Printed]] = {}
    for line, row in rows:
        metric = row["metric"]
        if metric not in folds.metrics or metric in summary:
            expected = f"each of {list(folds.metrics)} once at most"
            raise AuditError(f"{path}, line {line}, column metric: found {metric!r}, expected {expected}")
        mean = _value(path, line, "mean", metric, row["mean"])
        summary[metric] = mean, _value(path, line, "sd", metric, row["sd"])
    return summary


def _read(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """The header, and each row with its line; every cell is text."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if any(cells)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AuditError(f"{path}: found {error}, expected a CSV table in UTF-8") from error
    if len(lines) < 2:
        raise AuditError(f"{path}: found {len(lines)} lines, expected a header and one row or more")
    header = lines[0][1]
    if twice := sorted({name for name in header if header.count(name) > 1}):
        raise AuditError(f"{path}: found the column {twice[0]!r} twice, expected each once")
    for line, cells in lines[1:]:
        if len(cells) != len(header):
            raise AuditError(f"{path}, line {line}: found {len(cells)} cells, expected {len(header)}: {header}")
    return header, [(line, dict(zip(header, cells, strict=True))) for line, cells in lines[1:]]


def _no_fold(name: str, earlier: Container[str]) -> str:
    """What is expected instead of a name that no further fold can have; empty where one can."""
    if name in earlier:
        return "each fold once"
    words = re.findall(r"[a-z]+", name.casefold())
    if not name or (words and words[0] in SUMMARIES):
        return "the name of a fold; leave out rows over the folds, a summary of means and SDs is a table of its own"
    return ""


def _value(path: Path, line: int, column: str, metric: str, text: str) -> Printed:
    """One cell as a printed number in the metric's range."""
    highest = 100 if metric in PERCENT else 1
    expected = f"a number from 0 to {highest}"
    try:
        printed = Printed.of(text)
    except AuditError as error:
        message = f"found {text!r}, expected {expected}; leave out a fold or a column that is not defined"
        raise AuditError(f"{path}, line {line}, column {column}: {message}") from error
    if printed.value > highest:
        raise AuditError(f"{path}, line {line}, column {column}: found {text!r}, expected {expected}")
    return printed
