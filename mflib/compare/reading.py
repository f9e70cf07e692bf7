"""Predictions files: read, joined, and refused with the file, line and column of each fault."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from mflib import performance
from mflib.performance import COLUMNS, RUN
from mflib.performance.table import check_same_segments, faults, listed, runs

_NAMES = dict.fromkeys(("participant_id", "level", "lat", "model", "split"), str)


class CompareError(ValueError):
    """Predictions files that cannot be compared; the message says which, where and why."""


def read(paths: Sequence[Path]) -> pd.DataFrame:
    """One valid predictions table from one or more CSV files.

    Parameters
    ----------
    paths : CSV files (UTF-8, commas, a header line) with ``performance.COLUMNS``; other columns are left out

    Returns
    -------
    DataFrame
        As ``performance.validate`` gives it.

    Raises
    ------
    CompareError
        A file that is missing, unreadable or empty, lacks columns or holds faulty values, each with its line; a model,
        split and repeat in two files; one with one class only; segments that not every model of a split and repeat
        scored, or that carry different labels.
    """
    tables: dict[Path, pd.DataFrame] = {}
    for path in paths:
        table = _read(path)
        for earlier, other in tables.items():
            twice = table[RUN].drop_duplicates().merge(other[RUN].drop_duplicates(), on=RUN)
            if len(twice):
                found = twice.iloc[0].to_dict()
                raise CompareError(f"{path}: found {found}, which {earlier} holds too, expected each in one file")
        tables[path] = table
    if not tables:
        raise CompareError("found no predictions file, expected at least one")
    joined = pd.concat(tables.values(), ignore_index=True)
    for _, rows in joined.groupby(["split", "repeat"]):
        try:
            check_same_segments(rows)
        except performance.PredictionsError as error:
            raise CompareError(str(error)) from error
    return joined


def _read(path: Path) -> pd.DataFrame:
    """The valid predictions table of one file."""
    lines = _lines(path)
    absent = [column for column in COLUMNS if column not in lines]
    if absent:
        raise CompareError(f"{path}, line 1: found the columns {list(lines)} without {absent}, expected {COLUMNS}")
    doubled = [column for column in COLUMNS if f"{column}.1" in lines]
    if doubled:
        raise CompareError(f"{path}, line 1: found the columns {doubled} twice, expected each once")
    if lines.empty:
        raise CompareError(f"{path}: found a header and no rows, expected a row per segment and model")
    found = [
        f"{path}, line {lines.index[f.row] + 2}, {f.column}: found {f.found}, expected {f.expected}"
        for f in faults(lines)
    ]
    if found:
        raise CompareError(listed(found))
    table = performance.validate(lines)
    for run, rows in runs(table):
        if rows["y_true"].nunique() < 2:
            found_class = f"the label {rows['y_true'].iloc[0]} only in {len(rows)} rows"
            raise CompareError(f"{path}: found {found_class} of {run}, expected positives (1) and negatives (0)")
    return table


def _lines(path: Path) -> pd.DataFrame:
    """The rows of a file, indexed by line - 2; blank lines are left out."""
    try:
        table = pd.read_csv(path, dtype=_NAMES, encoding="utf-8-sig", skip_blank_lines=False)
    except FileNotFoundError as error:
        raise CompareError(f"{path}: found no such file, expected a CSV file of predictions") from error
    except pd.errors.EmptyDataError as error:
        raise CompareError(f"{path}: found an empty file, expected a header line and rows") from error
    except (OSError, UnicodeDecodeError, pd.errors.ParserError) as error:
        raise CompareError(f"{path}: not readable as CSV in UTF-8: {error}") from error
    if not isinstance(table.index, pd.RangeIndex):
        raise CompareError(f"{path}: found rows with more fields than the header line, expected as many")
    return table.dropna(how="all")
