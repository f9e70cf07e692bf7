"""Table 1 in the paper's form: the patients, and the MRI grades of their segments."""

from __future__ import annotations

import pandas as pd

from mflib.clinical import forms
from mflib.clinical.forms import GRADES, MEASURED, NOT_RECORDED, SECTIONS, YES_NO

Row = dict[str, object]


def table_one(patients: pd.DataFrame, segments: pd.DataFrame) -> pd.DataFrame:
    """The cohort in the form of the paper's table 1.

    Parameters
    ----------
    patients : one row per patient, the columns of ``Cohort.patients``
    segments : one row per segment with ``grade`` 0-3

    Returns
    -------
    DataFrame
        ``section``, ``variable``, ``unit``, ``statistic``, ``value``, ``n_missing``, ``normality``. Where Shapiro-Wilk
        does not reject normality at 0.05, a variable is given as mean ± sample SD, otherwise, or where it cannot be
        tested, as median (Q1, Q3). Counts are of the recorded. What nobody recorded stays, as "not recorded".
    """
    rows = [_sex(patients)]
    rows += [_measured(patients, *variable) for variable in MEASURED]
    rows += [_yes_no(patients, *variable) for variable in YES_NO]
    table = pd.DataFrame([*rows, *_grades(segments)])
    order = table["section"].map(SECTIONS.index).sort_values(kind="stable").index
    return table.loc[order].reset_index(drop=True)


def _sex(patients: pd.DataFrame) -> Row:
    known = forms.column(patients, "sex").dropna()
    return _row(patients, known, ("demographics", "male/female", "n"), "count", forms.sexes(known))


def _measured(patients: pd.DataFrame, column: str, section: str, variable: str, unit: str, decimals: int) -> Row:
    known = forms.recorded_numbers(patients, column)
    statistic, normality = forms.form(known)
    value = forms.measured(known, statistic, decimals)
    return _row(patients, known, (section, variable, unit), statistic, value, normality)


def _yes_no(patients: pd.DataFrame, column: str, variable: str) -> Row:
    known = forms.column(patients, column).dropna()
    return _row(patients, known, ("lifestyle", variable, "n"), "n/N (%)", forms.share(known))


def _row(
    patients: pd.DataFrame,
    known: pd.Series,
    what: tuple[str, str, str],
    statistic: str,
    value: str,
    normality: str = "",
) -> Row:
    row = dict(zip(("section", "variable", "unit"), what, strict=True))
    said = {"statistic": statistic, "value": value} if len(known) else {"statistic": "", "value": NOT_RECORDED}
    return {**row, **said, "n_missing": len(patients) - len(known), "normality": normality if len(known) else ""}


def _grades(segments: pd.DataFrame) -> list[Row]:
    """Segments with and without infiltration, and its degrees."""
    counts = segments["grade"].value_counts().reindex(range(4), fill_value=0)
    n, infiltrated = int(counts.sum()), int(counts[1:].sum())
    shares = [("no fat infiltration", counts[0], n, "n (%)"), ("fat infiltration", infiltrated, n, "n (%)")]
    shares += [(GRADES[grade], counts[grade], infiltrated, "n (% of infiltrated)") for grade in (1, 2, 3)]
    missing = segments["grade"].isna().sum()
    return [
        {
            "section": "mri",
            "variable": variable,
            "unit": "segments",
            "statistic": statistic,
            "value": f"{count} ({100 * count / of:.1f})" if of else f"{count}",
            "n_missing": missing,
            "normality": "",
        }
        for variable, count, of, statistic in shares
    ]
