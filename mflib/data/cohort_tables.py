"""The tables of a cohort folder: what they must hold, and every cell that does not."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
import pandera.pandas as pa

from mflib.base import tables
from mflib.base.errors import FileError
from mflib.base.words import KEY, LEVELS, SIDES

PARTICIPANTS = "participants.tsv"
CLINICAL = "phenotype/clinical.tsv"
GRADES = "phenotype/mri_grades.tsv"
ANNOTATIONS = "derivatives/annotations/refpoints_roi.tsv"
MISSING = {"n/a", "na", "nan", ""}
WORDS = {
    "sex": {"m": "M", "male": "M", "männlich": "M", "f": "F", "female": "F", "w": "F", "weiblich": "F"},
    "pain_side": {
        "l": "L", "left": "L", "links": "L", "r": "R", "right": "R", "rechts": "R", "b": "both", "bilateral": "both",
        "beidseits": "both", "beide": "both", "keine": "none",
    },
    "quality": {"ok": "ok", "exclude": "exclude", "excluded": "exclude"},
}  # fmt: skip
YES_NO = {
    "yes": True, "no": False, "true": True, "false": False, "1": True, "0": False, "ja": True, "nein": False,
}  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong in a cohort folder, and where.

    Parameters
    ----------
    file : path relative to the cohort folder
    row : line of the file (the header is line 1), None where the fault is not of one row
    column : name of the column, None where the fault is not of one column
    found, expected : what stands there and what should
    """

    file: str
    row: int | None
    column: str | None
    found: str
    expected: str

    def __str__(self) -> str:
        row = "" if self.row is None else f", row {self.row}"
        column = "" if self.column is None else f", column {self.column}"
        return f"{self.file}{row}{column}: found {self.found}; expected {self.expected}"

    def as_dict(self) -> dict[str, str | int | None]:
        """The fault as plain values for JSON."""
        return asdict(self)


def _text(pattern: str, expected: str) -> pa.Column:
    return pa.Column(str, pa.Check.str_matches(pattern, error=expected))


def _optional_number(low: float, high: float, unit: str, *, required: bool = False) -> pa.Column:
    expected = f"{low:g} to {high:g} {unit}"
    return pa.Column(float, pa.Check.in_range(low, high, error=expected), nullable=True, required=required)


def _optional_choice(choices: Sequence[str], *, required: bool = False) -> pa.Column:
    expected = "one of " + ", ".join(choices) + " or n/a"
    return pa.Column(str, pa.Check.isin(choices, error=expected), nullable=True, required=required)


def _yes_no() -> pa.Column:
    return pa.Column("boolean", nullable=True, required=False)


def _grade() -> pa.Column:
    return pa.Column("Int64", pa.Check.isin(range(4), error="0, 1, 2 or 3"), nullable=True)


def _voxel(low: int) -> pa.Column:
    return pa.Column("Int64", pa.Check.ge(low, error=f"a voxel count of at least {low}"))


_PARTICIPANT = _text(r"^sub-[0-9A-Za-z]+$", "sub- and letters or digits")
_SEGMENT = {
    "participant_id": _PARTICIPANT,
    "level": pa.Column(str, pa.Check.isin(LEVELS, error="one of " + ", ".join(LEVELS))),
    "lat": pa.Column(str, pa.Check.isin(SIDES, error="L or R")),
}
VOXELS = {
    **{f"{point}_{axis}": 0 for point in ("bone", "shadow", "roi") for axis in "ijk"},
    **{f"roi_n{axis}": 2 for axis in "ijk"},
}
"""The least that each column of voxels in a table of annotations may hold."""
ANNOTATION_COLUMNS = (*KEY, *VOXELS, "annotator", "annotated_at", "quality", "quality_reason")
"""The columns of a table of annotations as this package writes it."""
SCHEMAS = {
    PARTICIPANTS: pa.DataFrameSchema(
        {
            "participant_id": _PARTICIPANT,
            "sex": _optional_choice(["M", "F"], required=True),
            "age": _optional_number(0, 120, "years", required=True),
            "height_cm": _optional_number(100, 230, "cm", required=True),
            "weight_kg": _optional_number(25, 300, "kg", required=True),
            "bmi": _optional_number(10, 80, "kg/m2", required=True),
        }
    ),
    CLINICAL: pa.DataFrameSchema(
        {
            "participant_id": _PARTICIPANT,
            "vas": _optional_number(0, 10, "points"),
            "pain_months": _optional_number(0, 1200, "months"),
            "bed_rest_months": _optional_number(0, 1200, "months"),
            "sedentary": _yes_no(),
            "labour": _yes_no(),
            "night_shift": _yes_no(),
            "exercise_hours": _optional_number(0, 100, "hours a week"),
            "pain_side": _optional_choice(["L", "R", "both", "none"]),
            "screening": pa.Column(str, nullable=True, required=False),
        }
    ),
    GRADES: pa.DataFrameSchema(
        {
            **_SEGMENT,
            "grade_reader1": _grade(),
            "grade_reader2": _grade(),
            "grade_adjudicator": _grade(),
            "grade_final": _grade(),
        }
    ),
    ANNOTATIONS: pa.DataFrameSchema(
        {
            **_SEGMENT,
            **{column: _voxel(least) for column, least in VOXELS.items()},
            "quality": _optional_choice(["ok", "exclude"]),
            "quality_reason": pa.Column(str, nullable=True, required=False),
        }
    ),
}


def excludes(quality: str) -> bool:
    """Whether a cell of the column quality, as somebody has written it, takes its segment out."""
    return WORDS["quality"].get(quality.lower()) == "exclude"


def read(root: Path, name: str) -> tuple[pd.DataFrame, list[Fault]]:
    """One table of the cohort folder with every faulty cell.

    Parameters
    ----------
    root : cohort folder
    name : one of the keys of ``SCHEMAS``

    Returns
    -------
    table : DataFrame
        Typed as its schema says, indexed by the line of the file. Faulty cells are missing.
    faults : list of Fault
    """
    raw, faults, separator = _cells(root, name)
    schema = SCHEMAS[name]
    typed = {}
    for column in raw.columns:
        dtype = str(schema.columns[column].dtype) if column in schema.columns else "str"
        typed[column], wrong = _typed(name, raw[column], dtype, separator)
        faults += wrong
    # Without rows the columns are unknown or idle: the one fault that says why is enough.
    if raw.empty:
        return pd.DataFrame(columns=list(schema.columns)), faults
    table = pd.DataFrame(typed, index=raw.index)
    seen = {(fault.row, fault.column) for fault in faults}
    for fault in _schema_faults(name, schema, table):
        if (fault.row, fault.column) not in seen:
            faults.append(fault)
            table.loc[fault.row, fault.column] = pd.NA
    return table.reindex(columns=[*schema.columns, *(c for c in table if c not in schema.columns)]), faults


def _cells(root: Path, name: str) -> tuple[pd.DataFrame, list[Fault], str]:
    """The table's cells as text, indexed by line, with faults, and what separates them."""
    try:
        table = tables.read(root / name)
    except FileError as error:
        return pd.DataFrame(), [Fault(name, None, None, error.found, error.expected or "a table")], ""
    header, separator = table.header, table.dialect.separator
    if not header:
        return pd.DataFrame(), [Fault(name, None, None, "an empty file", "a header line and rows")], separator
    faults = _header_faults(name, header)
    for number, row in table.rows.items():
        if len(row) != len(header):
            faults.append(Fault(name, number, None, f"{len(row)} cells", f"{len(header)} cells, as in the header"))
    rows = {number: row for number, row in table.rows.items() if len(row) == len(header)}
    if not rows and not faults:
        faults.append(Fault(name, None, None, "no rows", "at least one row under the header"))
    if len(set(header)) < len(header):
        return pd.DataFrame(), faults, separator
    return pd.DataFrame.from_dict(rows, orient="index", columns=header, dtype="str"), faults, separator


def _header_faults(name: str, header: list[str]) -> list[Fault]:
    if len(header) == 1 and len(SCHEMAS[name].columns) > 1:
        return [Fault(name, 1, None, f"one column {header[0][:60]!r}", "columns separated by tabs")]
    faults = [
        Fault(name, 1, column, "no such column", "a column of this name")
        for column, definition in SCHEMAS[name].columns.items()
        if definition.required and column not in header
    ]
    doubled = sorted({column for column in header if header.count(column) > 1})
    return faults + [Fault(name, 1, column, "the column twice", "each column once") for column in doubled]


def _typed(name: str, text: pd.Series, dtype: str, separator: str) -> tuple[pd.Series, list[Fault]]:
    """One column in the schema's type; a cell that does not fit becomes missing and a fault."""
    column = str(text.name)
    text = text.mask(text.str.lower().isin(MISSING))
    if dtype in ("float64", "Int64"):
        if separator != ",":
            text = text.str.replace(r"^([+-]?\d+),(\d+)$", r"\1.\2", regex=True)
        values = pd.to_numeric(text, errors="coerce")
        values = values.mask(values.abs() == float("inf"))
        if dtype == "Int64":
            # Beyond 2^53 a float is no longer a certain whole number.
            values = values.mask((values % 1 != 0) | (values.abs() > 2**53)).astype("Int64")
        expected = "a whole number" if dtype == "Int64" else "a number"
    elif dtype == "boolean":
        values = text.str.lower().map(YES_NO).astype("boolean")
        expected = "yes, no or n/a"
    else:
        words = WORDS.get(column, {})
        return text.map(lambda cell: words.get(cell.lower(), cell), na_action="ignore").astype("str"), []
    wrong = text[text.notna() & values.isna()]
    return values, [Fault(name, int(row), column, repr(cell), f"{expected}") for row, cell in wrong.items()]


def _schema_faults(name: str, schema: pa.DataFrameSchema, table: pd.DataFrame) -> list[Fault]:
    try:
        schema.validate(table, lazy=True)
    except pa.errors.SchemaErrors as error:
        cases = error.failure_cases[error.failure_cases["index"].notna()]
        return [_cell_fault(name, case) for case in cases.to_dict("records") if not _needless(case, table)]
    return []


def _needless(case: Mapping[Hashable, object], table: pd.DataFrame) -> bool:
    """Whether a cell may be empty because its row of annotations does not say that the segment is to be used."""
    if case["check"] != "not_nullable" or case["column"] not in VOXELS or "quality" not in table:
        return False
    quality = table["quality"][case["index"]]
    return bool(pd.notna(quality)) and quality != "ok"


def _cell_fault(name: str, case: dict[str, object]) -> Fault:
    empty = case["check"] == "not_nullable"
    found = "n/a" if empty else repr(case["failure_case"])
    return Fault(name, int(str(case["index"])), str(case["column"]), found, "a value" if empty else str(case["check"]))


def doubled_keys(name: str, table: pd.DataFrame) -> list[Fault]:
    """A fault for each row whose key stands in an earlier row too."""
    key = [column for column in KEY if column in SCHEMAS[name].columns]
    complete = table.dropna(subset=key)
    first: dict[tuple[str, ...], int] = {}
    faults = []
    for row, values in zip(complete.index, complete[key].itertuples(index=False, name=None), strict=True):
        if values in first:
            words = f"{' '.join(values)} again, first in row {first[values]}"
            faults.append(Fault(name, int(row), key[-1] if len(key) == 1 else "/".join(key), words, "each key once"))
        else:
            first[values] = int(row)
    return faults
