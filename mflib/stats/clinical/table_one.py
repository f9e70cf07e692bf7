"""Table 1 in the paper's form, the same by worst grade, and what was not recorded."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy.stats import shapiro

from mflib.base.words import GRADE_NAMES, NOT_RECORDED
from mflib.stats.performance.predictions import p_value

ALPHA = 0.05
MEAN_SD, MEDIAN = "mean ± SD", "median (Q1, Q3)"
# column, section, variable, unit, decimals: order and sections of the paper's table 1.
MEASURED = (
    ("age", "demographics", "age", "years", 1),
    ("height_cm", "demographics", "height", "cm", 1),
    ("weight_kg", "demographics", "weight", "kg", 1),
    ("bmi", "demographics", "BMI", "kg/m2", 2),
    ("exercise_hours", "lifestyle", "exercise", "hours/week", 1),
    ("vas", "pain", "VAS", "score", 1),
    ("pain_months", "pain", "pain duration", "months", 1),
    ("bed_rest_months", "pain", "bed rest due to pain", "months", 1),
)
YES_NO = (
    ("sedentary", "sedentary (>= 30 min/session)"),
    ("labour", "physical labour (waist effort)"),
    ("night_shift", "night shifts (>= 4/month)"),
)
SECTIONS = ("demographics", "lifestyle", "pain", "mri")


def column_of(patients: pd.DataFrame, name: str) -> pd.Series:
    """A column of a clinic's table; all missing where the clinic has no such column."""
    return patients.reindex(columns=[name])[name]


def form(known: pd.Series) -> tuple[str, str]:
    """Statistic that suits the recorded values, and on what ground: the Shapiro-Wilk test at 0.05."""
    if len(known) < 3 or known.nunique() == 1:
        return MEDIAN, f"not tested ({known.nunique()} different values of {len(known)})"
    p = float(shapiro(known).pvalue)
    return MEAN_SD if p > ALPHA else MEDIAN, f"Shapiro-Wilk {p_value(p)}"


def measured(known: pd.Series, statistic: str, decimals: int) -> str:
    """Recorded values as mean ± sample SD or as median (Q1, Q3)."""
    if len(known) == 0:
        return NOT_RECORDED
    if len(known) == 1:
        return f"{known.iloc[0]:.{decimals}f} (one value)"
    if statistic == MEAN_SD:
        return f"{known.mean():.{decimals}f} ± {known.std():.{decimals}f}"
    q1, median, q3 = (f"{round(q, decimals):g}" for q in known.quantile([0.25, 0.5, 0.75]))
    return f"{median} ({q1}, {q3})"


def share(known: pd.Series) -> str:
    """How many of the recorded said yes, and their percentage."""
    yes, n = int(known.astype(bool).sum()), len(known)
    return f"{yes}/{n} ({100 * yes / n:.1f})" if n else NOT_RECORDED


def sexes(known: pd.Series) -> str:
    """Men and women among the recorded."""
    return f"{(known == 'M').sum()}/{(known == 'F').sum()}" if len(known) else NOT_RECORDED


def recorded_numbers(patients: pd.DataFrame, name: str) -> pd.Series:
    """The values of a measured column that were recorded."""
    return column_of(patients, name).astype(np.float64).dropna()


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
    known = column_of(patients, "sex").dropna()
    return _row(patients, known, ("demographics", "male/female", "n"), "count", sexes(known))


def _measured(patients: pd.DataFrame, column: str, section: str, variable: str, unit: str, decimals: int) -> Row:
    known = recorded_numbers(patients, column)
    statistic, normality = form(known)
    value = measured(known, statistic, decimals)
    return _row(patients, known, (section, variable, unit), statistic, value, normality)


def _yes_no(patients: pd.DataFrame, column: str, variable: str) -> Row:
    known = column_of(patients, column).dropna()
    return _row(patients, known, ("lifestyle", variable, "n"), "n/N (%)", share(known))


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
    shares += [(GRADE_NAMES[grade], counts[grade], infiltrated, "n (% of infiltrated)") for grade in (1, 2, 3)]
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


ALL, NO_PATIENTS = "all", "no patients"
Cell = Callable[[pd.Series], str]


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
    rows = [_patients(parts, worst)]
    rows.append(_counted(parts, segments, "segments", len))
    rows.append(_counted(parts, segments, "of them infiltrated", lambda of_part: int((of_part["grade"] > 0).sum())))
    rows.append(_row_by(parts, "sex", "male/female", "n", "count", sexes))
    rows += [_measured_by(parts, column, variable, unit, decimals) for column, _, variable, unit, decimals in MEASURED]
    rows += [_row_by(parts, column, variable, "n", "n/N (%)", share) for column, variable in YES_NO]
    return pd.DataFrame(rows)


def _patients(parts: dict[str, pd.DataFrame], worst: pd.Series) -> dict[str, str]:
    cells = {name: str(len(part)) for name, part in parts.items()}
    ungraded = {ALL: int(worst.isna().sum())}
    return {"variable": "patients", "unit": "n", "statistic": "count", **cells, "missing": _gaps(ungraded)}


def _measured_by(
    parts: dict[str, pd.DataFrame], column: str, variable: str, unit: str, decimals: int
) -> dict[str, str]:
    statistic, _ = form(recorded_numbers(parts[ALL], column))
    return _row_by(parts, column, variable, unit, statistic, lambda known: measured(known, statistic, decimals))


def _row_by(
    parts: dict[str, pd.DataFrame], column: str, variable: str, unit: str, statistic: str, cell: Cell
) -> dict[str, str]:
    known = {name: column_of(part, column).dropna() for name, part in parts.items()}
    cells = {name: cell(known[name]) if len(part) else NO_PATIENTS for name, part in parts.items()}
    gaps = {name: len(part) - len(known[name]) for name, part in parts.items()}
    return {"variable": variable, "unit": unit, "statistic": statistic, **cells, "missing": _gaps(gaps)}


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
    rows = [_missing_row(variable, "patients", column_of(patients, name)) for name, variable in variables]
    rows += [_missing_row(name.replace("_", " "), "segments", column_of(grades, name)) for name in READERS]
    first, second = (column_of(grades, name) for name in READERS)
    differ = grades[(first.notna() & second.notna() & (first != second)).to_numpy(bool)]
    adjudicator = column_of(differ, "grade_adjudicator")
    rows.append(_missing_row("grade adjudicator", "segments", adjudicator, "where the readers differ"))
    rows.append(_missing_row("grade final", "segments", column_of(grades, "grade_final")))
    return pd.DataFrame(rows)


def _missing_row(variable: str, of: str, values: pd.Series, note: str = "") -> dict[str, object]:
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
