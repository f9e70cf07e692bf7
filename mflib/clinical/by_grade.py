"""Table 1 again, with the patients parted by the worst grade that they have anywhere."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from mflib.clinical import forms
from mflib.clinical.forms import GRADES, MEASURED, YES_NO

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
    parts = {ALL: patients} | {name: patients[worst == grade] for grade, name in enumerate(GRADES)}
    rows = [_patients(parts, worst)]
    rows.append(_counted(parts, segments, "segments", len))
    rows.append(_counted(parts, segments, "of them infiltrated", lambda of_part: int((of_part["grade"] > 0).sum())))
    rows.append(_row(parts, "sex", "male/female", "n", "count", forms.sexes))
    rows += [_measured(parts, column, variable, unit, decimals) for column, _, variable, unit, decimals in MEASURED]
    rows += [_row(parts, column, variable, "n", "n/N (%)", forms.share) for column, variable in YES_NO]
    return pd.DataFrame(rows)


def _patients(parts: dict[str, pd.DataFrame], worst: pd.Series) -> dict[str, str]:
    cells = {name: str(len(part)) for name, part in parts.items()}
    ungraded = {ALL: int(worst.isna().sum())}
    return {"variable": "patients", "unit": "n", "statistic": "count", **cells, "missing": _gaps(ungraded)}


def _measured(parts: dict[str, pd.DataFrame], column: str, variable: str, unit: str, decimals: int) -> dict[str, str]:
    statistic, _ = forms.form(forms.recorded_numbers(parts[ALL], column))
    return _row(parts, column, variable, unit, statistic, lambda known: forms.measured(known, statistic, decimals))


def _row(
    parts: dict[str, pd.DataFrame], column: str, variable: str, unit: str, statistic: str, cell: Cell
) -> dict[str, str]:
    known = {name: forms.column(part, column).dropna() for name, part in parts.items()}
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
