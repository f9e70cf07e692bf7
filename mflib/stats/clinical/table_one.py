"""Table 1 in the paper's form, the same by worst grade, and what was not recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import shapiro

from mflib.base.words import GRADE_NAMES, NOT_RECORDED, READERS
from mflib.stats.performance.predictions import p_value

ALPHA = 0.05
MEAN_SD, MEDIAN = "mean ± SD", "median (Q1, Q3)"


class Variable(NamedTuple):
    """A line of table 1; measured ones have ``decimals``, the others count."""

    column: str
    section: str
    name: str
    unit: str
    decimals: int | None = None


# In the order of the paper's table 1.
VARIABLES = (
    Variable("sex", "demographics", "male/female", "n"),
    Variable("age", "demographics", "age", "years", 1),
    Variable("height_cm", "demographics", "height", "cm", 1),
    Variable("weight_kg", "demographics", "weight", "kg", 1),
    Variable("bmi", "demographics", "BMI", "kg/m2", 2),
    Variable("exercise_hours", "lifestyle", "exercise", "hours/week", 1),
    Variable("vas", "pain", "VAS", "score", 1),
    Variable("pain_months", "pain", "pain duration", "months", 1),
    Variable("bed_rest_months", "pain", "bed rest due to pain", "months", 1),
    Variable("sedentary", "lifestyle", "sedentary (>= 30 min/session)", "n"),
    Variable("labour", "lifestyle", "physical labour (waist effort)", "n"),
    Variable("night_shift", "lifestyle", "night shifts (>= 4/month)", "n"),
)
SECTIONS = ("demographics", "lifestyle", "pain", "mri")


def column_of(table: pd.DataFrame, name: str) -> pd.Series:
    """A column of a clinic's table; all missing where the clinic has no such column."""
    return table.reindex(columns=[name])[name]


def _recorded(patients: pd.DataFrame, variable: Variable) -> pd.Series:
    known = column_of(patients, variable.column).dropna()
    return known if variable.decimals is None else known.astype(np.float64)


def _statistic(variable: Variable, known: pd.Series) -> tuple[str, str]:
    """Statistic that suits the recorded values, and on what ground: the Shapiro-Wilk test at 0.05."""
    if variable.decimals is None:
        return "count" if variable.column == "sex" else "n/N (%)", ""
    if len(known) < 3 or known.nunique() == 1:
        return MEDIAN, f"not tested ({known.nunique()} different values of {len(known)})"
    p = float(shapiro(known).pvalue)
    return MEAN_SD if p > ALPHA else MEDIAN, f"Shapiro-Wilk {p_value(p)}"


def _value(variable: Variable, known: pd.Series, statistic: str) -> str:
    """The recorded values as that statistic: men and women, how many said yes, mean and sample SD, or quartiles."""
    n, decimals = len(known), variable.decimals
    if n == 0:
        return NOT_RECORDED
    if variable.column == "sex":
        return f"{(known == 'M').sum()}/{(known == 'F').sum()}"
    if decimals is None:
        yes = int(known.astype(bool).sum())
        return f"{yes}/{n} ({100 * yes / n:.1f})"
    if n == 1:
        return f"{known.iloc[0]:.{decimals}f} (one value)"
    if statistic == MEAN_SD:
        return f"{known.mean():.{decimals}f} ± {known.std():.{decimals}f}"
    q1, median, q3 = (f"{round(q, decimals):g}" for q in known.quantile([0.25, 0.5, 0.75]))
    return f"{median} ({q1}, {q3})"


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
    table = pd.DataFrame([*(_row(patients, variable) for variable in VARIABLES), *_grades(segments)])
    order = table["section"].map(SECTIONS.index).sort_values(kind="stable").index
    return table.loc[order].reset_index(drop=True)


def _row(patients: pd.DataFrame, variable: Variable) -> dict[str, object]:
    known = _recorded(patients, variable)
    statistic, normality = _statistic(variable, known) if len(known) else ("", "")
    what = {"section": variable.section, "variable": variable.name, "unit": variable.unit, "statistic": statistic}
    value, n_missing = _value(variable, known, statistic), len(patients) - len(known)
    return {**what, "value": value, "n_missing": n_missing, "normality": normality}


def _grades(segments: pd.DataFrame) -> list[dict[str, object]]:
    """Segments with and without infiltration, and its degrees."""
    counts = segments["grade"].value_counts().reindex(range(4), fill_value=0)
    n, infiltrated = int(counts.sum()), int(counts[1:].sum())
    shares = [("no fat infiltration", counts[0], n, "n (%)"), ("fat infiltration", infiltrated, n, "n (%)")]
    shares += [(GRADE_NAMES[grade], counts[grade], infiltrated, "n (% of infiltrated)") for grade in (1, 2, 3)]
    missing = segments["grade"].isna().sum()
    rows: list[dict[str, object]] = []
    for variable, count, of, statistic in shares:
        what = {"section": "mri", "variable": variable, "unit": "segments", "statistic": statistic}
        value = f"{count} ({100 * count / of:.1f})" if of else f"{count}"
        rows.append({**what, "value": value, "n_missing": missing, "normality": ""})
    return rows


ALL, NO_PATIENTS = "all", "no patients"


def table_one_by(patients: pd.DataFrame, segments: pd.DataFrame) -> pd.DataFrame:
    """Table 1 of all patients, and of those whose worst segment is of each grade.

    A patient's variables belong to the patient, not to eight segments: whoever repeats them for each segment counts
    every patient eight times. So each patient stands in one column, that of the highest grade.

    There are no P values on purpose. A dozen tests over four small groups would find something by chance, and what
    they do not find would say nothing (STROBE, doi:10.1371/journal.pmed.0040297, asks for none in a descriptive
    table). Read the size of a difference against the spread, and the number of patients above it.

    Parameters
    ----------
    patients : one row per patient, the columns of ``Cohort.patients``
    segments : one row per segment with ``participant_id`` and ``grade`` 0-3

    Returns
    -------
    DataFrame
        ``variable``, ``unit``, ``statistic``, ``all``, one column for each grade, ``missing`` (in which column how
        many). Whether mean or median, all patients together decide, so that a row can be read across. A patient
        without a graded segment is in ``all`` alone.
    """
    highest = segments.dropna(subset="grade").groupby("participant_id")["grade"].max()
    worst = patients["participant_id"].map(highest)
    parts = {ALL: patients} | {name: patients[worst == grade] for grade, name in enumerate(GRADE_NAMES)}
    sizes = {name: str(len(part)) for name, part in parts.items()}
    ungraded = _gaps({ALL: int(worst.isna().sum())})
    rows = [{"variable": "patients", "unit": "n", "statistic": "count", **sizes, "missing": ungraded}]
    rows.append(_counted(parts, segments, "segments", len))
    rows.append(_counted(parts, segments, "of them infiltrated", lambda of_part: int((of_part["grade"] > 0).sum())))
    rows += [_row_by(parts, variable) for variable in VARIABLES]
    return pd.DataFrame(rows)


def _row_by(parts: dict[str, pd.DataFrame], variable: Variable) -> dict[str, str]:
    known = {name: _recorded(part, variable) for name, part in parts.items()}
    statistic, _ = _statistic(variable, known[ALL])
    cells = {
        name: _value(variable, known[name], statistic) if len(part) else NO_PATIENTS for name, part in parts.items()
    }
    gaps = {name: len(part) - len(known[name]) for name, part in parts.items()}
    row = {"variable": variable.name, "unit": variable.unit, "statistic": statistic}
    return {**row, **cells, "missing": _gaps(gaps)}


def _counted(
    parts: dict[str, pd.DataFrame], segments: pd.DataFrame, variable: str, count: Callable[[pd.DataFrame], int]
) -> dict[str, str]:
    """A row that counts over the segments of each part's patients."""
    of_part = {name: segments[segments["participant_id"].isin(part["participant_id"])] for name, part in parts.items()}
    cells = {name: str(count(of_part[name])) if len(part) else NO_PATIENTS for name, part in parts.items()}
    ungraded = {name: int(part["grade"].isna().sum()) for name, part in of_part.items()}
    return {"variable": variable, "unit": "n", "statistic": "count", **cells, "missing": _gaps(ungraded)}


def _gaps(gaps: dict[str, int]) -> str:
    return ", ".join(f"{name} {gap}" for name, gap in gaps.items() if gap) or "0"


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
    rows = []
    for variable in VARIABLES:
        name = "sex" if variable.column == "sex" else variable.name
        rows.append(_missing_row(name, "patients", column_of(patients, variable.column)))
    rows += [_missing_row(name.replace("_", " "), "segments", column_of(grades, name)) for name in READERS]
    first, second = (column_of(grades, name) for name in READERS)
    differ = grades[(first.notna() & second.notna() & (first != second)).to_numpy(bool)]
    adjudicator = column_of(differ, "grade_adjudicator")
    rows.append(_missing_row("grade adjudicator", "segments", adjudicator, "where the readers differ"))
    rows.append(_missing_row("grade final", "segments", column_of(grades, "grade_final")))
    return pd.DataFrame(rows)


GAPS = "Of {variables} variables **{gaps}** have gaps."
COMPLETE = "Nothing is missing: all {variables} variables were recorded for everybody."


def missing_in_words(table: pd.DataFrame) -> str:
    """How many variables have gaps; of the table of `missing`."""
    gaps = int((table["missing"] > 0).sum())
    return (GAPS if gaps else COMPLETE).format(variables=len(table), gaps=gaps)


def _missing_row(variable: str, of: str, values: pd.Series, note: str = "") -> dict[str, object]:
    expected, gaps = len(values), int(values.isna().sum())
    if expected and gaps == expected:
        note = f"{NOT_RECORDED} {note}".strip()
    if not expected:
        note = "none expected"
    share = 100 * gaps / expected if expected else float("nan")
    counts = {"expected": expected, "missing": gaps, "missing_pct": share}
    return {"variable": variable, "of": of, **counts, "note": note}
