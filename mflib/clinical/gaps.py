"""What was not recorded: counted, variable by variable, never dropped in silence."""

from __future__ import annotations

import pandas as pd

from mflib.clinical import forms
from mflib.clinical.forms import MEASURED, NOT_RECORDED, YES_NO

READERS = ["grade_reader1", "grade_reader2"]


def missing(patients: pd.DataFrame, grades: pd.DataFrame) -> pd.DataFrame:
    """Where values are missing.

    Parameters
    ----------
    patients : one row per patient, the columns of ``Cohort.patients``
    grades : one row per segment with, where recorded, ``grade_reader1``, ``grade_reader2``, ``grade_adjudicator``,
        ``grade_final``

    Returns
    -------
    DataFrame
        ``variable``, ``of`` (patients or segments), ``expected``, ``missing``, ``missing_pct``, ``note``. The
        adjudicator's grade is expected only where the readers differ. The share of nothing expected is NaN, and the
        note says so.
    """
    variables = [("sex", "sex"), *((name, variable) for name, _, variable, *_ in MEASURED), *YES_NO]
    rows = [_row(variable, "patients", forms.column(patients, name)) for name, variable in variables]
    rows += [_row(name.replace("_", " "), "segments", forms.column(grades, name)) for name in READERS]
    first, second = (forms.column(grades, name) for name in READERS)
    differ = grades[(first.notna() & second.notna() & (first != second)).to_numpy(bool)]
    adjudicator = forms.column(differ, "grade_adjudicator")
    rows.append(_row("grade adjudicator", "segments", adjudicator, "where the readers differ"))
    rows.append(_row("grade final", "segments", forms.column(grades, "grade_final")))
    return pd.DataFrame(rows)


def _row(variable: str, of: str, values: pd.Series, note: str = "") -> dict[str, object]:
    expected, gaps = len(values), int(values.isna().sum())
    if expected and gaps == expected:
        note = f"{NOT_RECORDED} {note}".strip()
    if not expected:
        note = "none expected"
    share = 100 * gaps / expected if expected else float("nan")
    return {
        "variable": variable,
        "of": of,
        "expected": expected,
        "missing": gaps,
        "missing_pct": share,
        "note": note,
    }
