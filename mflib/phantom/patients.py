"""Synthetic patients: who they are, how they live, what hurts, and who is screened out.

Distributions follow Table 1 of the paper (doi:10.3969/j.issn.1006-9852.2025.06.007) for the population from which
patients are drawn; a drawn cohort differs from it as any sample does.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr

BMI_LIMIT = 28.0
BMI_VAS_CORRELATION = 0.42
SCREENED_OUT = {"unclear ultrasound": 6, "incomplete data": 5, "lumbar surgery": 1, "acute spasm": 1}
OBESE = 3

Floats = NDArray[np.float64]


def population(n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Draw ``n`` people with chronic low-back pain, before anybody is excluded.

    Returns
    -------
    DataFrame
        ``sex age height_cm weight_kg bmi vas pain_months bed_rest_months sedentary labour night_shift exercise_hours
        pain_side``; BMI and VAS are correlated at 0.42.
    """
    male = rng.random(n) < 0.5
    bmi_score = (rng.standard_normal(n) + np.where(male, 0.25, -0.25)) / np.hypot(1, 0.25)
    bmi = np.clip(23.17 + 3.76 * bmi_score, 15.5, 40)
    height = np.where(male, 174.6, 164.4) + rng.normal(0, 6.0, n)
    # Rounded as recorded; the BMI is computed from what is recorded, so that the three agree.
    height, weight = height.round(), (bmi * (height / 100) ** 2).round(1)
    people = pd.DataFrame(
        {
            "sex": np.where(male, "M", "F"),
            "age": np.minimum(18 + rng.gamma(2.1, 14.2 / 2.1, n), 79).astype(int),
            "height_cm": height.astype(int),
            "weight_kg": weight,
            "bmi": (weight / (height / 100) ** 2).round(2),
        }
    )
    return people.join(_complaints(bmi_score, rng))


def _complaints(bmi_score: Floats, rng: np.random.Generator) -> pd.DataFrame:
    """Pain and habits of the people whose standardised BMI is given."""
    n = len(bmi_score)
    pain = BMI_VAS_CORRELATION * bmi_score + np.sqrt(1 - BMI_VAS_CORRELATION**2) * rng.standard_normal(n)
    duration, rest = rng.standard_normal(n), rng.standard_normal(n)
    return pd.DataFrame(
        {
            "vas": np.clip(3.6 + 1.8 * pain, 0, 10).round(1),
            "pain_months": _by_quartiles(ndtr(duration), (1, 1, 12, 32, 120)).round().astype(int),
            "bed_rest_months": _halves(_by_quartiles(ndtr(0.4 * duration + np.sqrt(0.84) * rest), (0, 1, 2, 3, 9))),
            "sedentary": _yes_no(26 / 46, n, rng),
            "labour": _yes_no(16 / 46, n, rng),
            "night_shift": _yes_no(11 / 46, n, rng),
            "exercise_hours": _halves(_by_quartiles(rng.random(n), (0, 1, 2, 3, 10))),
            "pain_side": rng.choice(["L", "R", "both"], n, p=[0.3, 0.3, 0.4]),
        }
    )


def _by_quartiles(uniform: Floats, quartiles: tuple[float, float, float, float, float]) -> Floats:
    """Values whose minimum, quartiles and maximum are given, straight between them."""
    return np.interp(uniform, (0, 0.25, 0.5, 0.75, 1), quartiles)


def _halves(values: Floats) -> Floats:
    return (2 * values).round() / 2


def _yes_no(share: float, n: int, rng: np.random.Generator) -> NDArray[np.str_]:
    return np.where(rng.random(n) < share, "yes", "no")


def screened(analysed: int, rng: np.random.Generator) -> pd.DataFrame:
    """A clinic's list: the patients to be analysed, then those who are excluded.

    Parameters
    ----------
    analysed : patients to be analysed; 46 come with 3 obese and 13 otherwise excluded, other counts in proportion
    rng : source of randomness

    Returns
    -------
    DataFrame
        :func:`population` with ``participant_id``, ``site`` and ``screening`` (``eligible`` or the reason against;
        a BMI of 28 or more is left for the reader of the cohort to find).
    """
    pool = population(20 * analysed + 200, rng)
    slim = pool["bmi"] < BMI_LIMIT
    reasons = [reason for reason, count in SCREENED_OUT.items() for _ in range(_scaled(count, analysed))]
    people = pd.concat(
        [
            pool[slim].head(analysed + len(reasons)).assign(screening=["eligible"] * analysed + reasons),
            pool[~slim].head(max(1, _scaled(OBESE, analysed))).assign(screening="eligible"),
        ],
        ignore_index=True,
    )
    people.insert(0, "participant_id", [f"sub-{number:03d}" for number in range(1, len(people) + 1)])
    for column in ("bed_rest_months", "exercise_hours"):
        people[column] = people[column].mask(rng.random(len(people)) < 0.03)
    return people.assign(site="phantom")


def _scaled(count: int, analysed: int) -> int:
    return round(count * analysed / 46)
