"""What a person need not write, because other columns say it: the BMI, and the final grade."""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd

from mflib.cohort.files import Key
from mflib.volume import KEY


def with_bmi(people: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Participants with a BMI wherever height and weight are known (weight in kg / height in m squared).

    Returns
    -------
    participants : DataFrame
    notices : how many were computed
    """
    computed = people["weight_kg"] / (people["height_cm"] / 100) ** 2
    new = people["bmi"].isna() & computed.notna()
    if not new.any():
        return people, []
    notice = f"bmi computed from height and weight ({_number(int(new.sum()), 'patient')})"
    return people.assign(bmi=people["bmi"].fillna(computed)), [notice]


def with_final_grades(grades: pd.DataFrame, unusable: Collection[Key]) -> tuple[pd.DataFrame, list[str]]:
    """Grades with a final one wherever it follows: the readers' where they agree, else the adjudicator's.

    The grade of a single reader stands alone.

    Parameters
    ----------
    grades : table of grades
    unusable : excluded segments, which need no grade

    Returns
    -------
    grades : DataFrame
    notices : how many final grades were derived
    """
    first, second, third = (grades[f"grade_{who}"] for who in ("reader1", "reader2", "adjudicator"))
    agreed = first.fillna(second).where((first == second) | first.isna() | second.isna())
    derived = agreed.where((first == second), third.fillna(agreed))
    wanted = ~pd.MultiIndex.from_frame(grades[KEY]).isin(list(unusable)) if unusable else True
    new = grades["grade_final"].isna() & derived.notna() & wanted
    if not new.any():
        return grades, []
    notice = f"grade_final derived from the readers' grades ({_number(int(new.sum()), 'segment')})"
    return grades.assign(grade_final=grades["grade_final"].mask(new, derived)), [notice]


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"
