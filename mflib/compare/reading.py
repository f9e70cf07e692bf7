"""Predictions files: read, joined, and refused with the file, line and column of each fault."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import pandas as pd

from mflib import performance
from mflib.performance import COLUMNS, RUN
from mflib.performance.table import check_same_segments, faults, listed, runs


class CompareError(ValueError):
    """Predictions files that cannot be compared; the message says which, where and why."""


def read(paths: Sequence[Path]) -> pd.DataFrame:
    """One valid predictions table from one or more CSV files.

    Parameters
    ----------
    paths : CSV files (UTF-8, commas, a header line) with ``performance.COLUMNS``; other columns are left out. No text
        stands for a missing value, so a model may be called NA; spaces around a field are no part of it

    Returns
    -------
    DataFrame
        As ``performance.validate`` gives it.

    Raises
    ------
    CompareError
        A file that is missing, unreadable or empty, lacks columns, has lines of unequal length or holds faulty values,
        each with its line; a model, split and repeat in two files; one with one class only; segments that not every
        model of a split and repeat scored, or that carry different labels, with the file of each model.
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
    joined = pd.concat(tables, names=["file"])
    for _, rows in joined.groupby(["split", "repeat"]):
        try:
            check_same_segments(rows)
        except performance.PredictionsError as error:
            models = rows.groupby("file", sort=False)["model"].unique()
            sources = "; ".join(f"{', '.join(of_file)} from {file}" for file, of_file in models.items())
            raise CompareError(f"{error} ({sources})") from error
    return joined.reset_index(drop=True)


def _read(path: Path) -> pd.DataFrame:
    """The valid predictions table of one file."""
    lines = _lines(path)
    found = [
        f"{path}, line {lines.index[f.row]}, {f.column}: found {f.found}, expected {f.expected}" for f in faults(lines)
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
    """The rows of a file as text, indexed by line; blank ones are left out."""
    (first, header), *rows = _fields(path) or [(1, [])]
    if not header:
        raise CompareError(f"{path}: found an empty file, expected a header line and rows")
    absent = [column for column in COLUMNS if column not in header]
    if absent:
        raise CompareError(f"{path}, line {first}: found the columns {header} without {absent}, expected {COLUMNS}")
    doubled = [column for column in COLUMNS if header.count(column) > 1]
    if doubled:
        raise CompareError(f"{path}, line {first}: found the columns {doubled} twice, expected each once")
    if not rows:
        raise CompareError(f"{path}: found a header and no rows, expected a row per segment and model")
    for line, fields in rows:
        if len(fields) != len(header):
            expected = f"{len(header)} as in the header line"
            raise CompareError(f"{path}, line {line}: found {len(fields)} fields, expected {expected}")
    return pd.DataFrame([fields for _, fields in rows], columns=header, index=[line for line, _ in rows])


def _fields(path: Path) -> list[tuple[int, list[str]]]:
    """Number and fields of each line that is not blank; a field that holds line breaks counts for its first line."""
    reader = csv.reader(StringIO(_text(path)), skipinitialspace=True, strict=True)
    found, line = [], 1
    try:
        for row in reader:
            fields = [field.strip() for field in row]
            if any(fields):
                found.append((line, fields))
            line = reader.line_num + 1
    except csv.Error as error:
        raise CompareError(f"{path}, line {line}: not readable as CSV ({error}), expected quotes in pairs") from error
    return found


def _text(path: Path) -> str:
    """A file's text, which does not look like a table of another kind."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise CompareError(f"{path}: found no such file, expected a CSV file of predictions") from error
    except (OSError, UnicodeDecodeError) as error:
        raise CompareError(f"{path}: not readable as CSV in UTF-8: {error}") from error
    header = text.lstrip("\n").partition("\n")[0]
    if header.startswith("#"):
        raise CompareError(f"{path}: found a comment before the header line, expected the columns {COLUMNS} first")
    for sign in ";\t":
        if sign in header and "," not in header:
            raise CompareError(f"{path}: found {sign!r} between the columns, expected commas")
    return text
