"""The variables of a patient, and how the values of one of them are written in a cell of a table."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import shapiro

from mflib.performance import p_value

GRADES = ("none", "mild", "moderate", "severe")
NOT_RECORDED = "not recorded"
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


def column(patients: pd.DataFrame, name: str) -> pd.Series:
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
    return column(patients, name).astype(np.float64).dropna()
