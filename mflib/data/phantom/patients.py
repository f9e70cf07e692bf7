"""Synthetic patients and their segments: what hurts, fatty infiltration, grades and readers, how each volume looks."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, ndtr

from mflib.base.words import KEY, LEVELS, SIDES
from mflib.data.phantom.anatomy import Parameters
from mflib.data.preprocess import CLEFT_MM

# What the phantom was given from the paper; everything else comes from other literature or from the physics.
GIVEN = (
    "Sex, age, height, weight, BMI and VAS have the means and standard deviations of the paper's table 1.",
    "Months of pain and bed rest and hours of sport have its quartiles; sitting, labour and night shifts its shares.",
    "BMI and VAS correlate at r = 0.42.",
    "Of every 62 people screened 46 are analysed: 3 are excluded for their BMI and 13 for other reasons.",
    "Gain is 45 to 55 %, depth 4 to 7 cm, the dynamic range 55 dB and the centre frequency 6.8 MHz.",
    "No grade, texture or area under a curve was given: grades follow from the fat and from readers who err.",
)
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


# Median share of visible fat at the age of 32, L2/3 to L5/S1, and its SD, both on the logit scale. They make 75, 60, 40
# and 25 % of the segments have less than 10 % fat and 1, 2, 6 and 12 % more than 50 %, as people of 32 have by Kjaer's
# grades (2007, doi:10.1186/1741-7015-5-2).
LEVEL_LOGIT = (-3.05, -2.50, -1.90, -1.40)
FAT_LOGIT_SD = 1.2
# Parts of the variance: of a patient, of a level, which its neighbours share (correlation 0.72), and of a side; so left
# and right agree at .88, neighbouring levels at .75, L2/3 and L5/S1 at .58.
PATIENT, LEVEL, SIDE, NEIGHBOUR = 0.40, 0.48, 0.12, 0.72
# Correlation of a patient's tendency with age, BMI and female sex, of the whole latent fat; and what pain adds to it.
AGE, BMI, FEMALE, PAIN = 0.40, 0.30, 0.28, 0.15
# A grade by the share of fat in the muscle. 10 and 50 % are Kjaer's; 25 % parts mild from moderate and is our choice.
GRADE_CUTS = (0.10, 0.25, 0.50)
# Muscle between fascia and lamina, L2/3 to L5/S1 (our estimate), and what a wholly fatty one lacks of it; the share of
# volumes in which the probe lifts off somewhere; SD of its tilt.
THICKNESS_MM, ATROPHY_MM = (20.0, 23.5, 27.0, 30.0), 9.0
LIFTED, TILT_DEG = 0.12, 3.0
READER_NOISE = 0.05  # SD of a reader's estimate of the share of fat


def segments(patients: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Fat and fibrosis of the eight segments of each patient.

    Parameters
    ----------
    patients : ``participant_id age sex bmi pain_side``
    rng : source of randomness

    Returns
    -------
    DataFrame
        KEY, ``patient`` and ``segment`` (positions), ``fat`` (share of the multifidus), ``fibrosis`` (0 to 1).
    """
    n = len(patients)
    painful = np.stack([patients["pain_side"].isin([side, "both"]) for side in SIDES], axis=1)[:, None, :]
    latent = (
        _tendency(patients, rng)[:, None, None]
        + np.sqrt(LEVEL) * _neighbours(n, rng)[:, :, None]
        + np.sqrt(SIDE) * rng.standard_normal((n, len(LEVELS), len(SIDES)))
        + PAIN * painful
    )
    logit = np.asarray(LEVEL_LOGIT)[None, :, None] + FAT_LOGIT_SD * latent
    age = (patients["age"].to_numpy() - 32.2) / 9.8
    own = (0.4 * age + 0.7 * rng.standard_normal(n))[:, None, None] + 0.5 * rng.standard_normal(logit.shape)
    fat, fibrosis = np.clip(expit(logit), 0.005, 0.75), np.clip(0.35 + 0.2 * own, 0, 1)
    return _index(patients).assign(fat=fat.ravel(), fibrosis=fibrosis.ravel())


def _index(patients: pd.DataFrame) -> pd.DataFrame:
    """KEY and positions of all segments, in order."""
    rows = pd.MultiIndex.from_product([patients["participant_id"], LEVELS, SIDES], names=KEY).to_frame(index=False)
    of_each = len(LEVELS) * len(SIDES)
    return rows.assign(patient=rows.index // of_each, segment=rows.index % of_each)


def _tendency(patients: pd.DataFrame, rng: np.random.Generator) -> Floats:
    """A patient's part of the latent fat: the older, the heavier and women have more."""
    age = (patients["age"].to_numpy() - 32.2) / 9.8
    bmi = (patients["bmi"].to_numpy() - 23.17) / 3.76
    woman = np.where(patients["sex"] == "F", 1.0, -1.0)
    own = np.sqrt(PATIENT - AGE**2 - BMI**2 - FEMALE**2)
    return np.asarray(AGE * age + BMI * bmi + FEMALE * woman + own * rng.standard_normal(len(patients)))


def _neighbours(patients: int, rng: np.random.Generator) -> Floats:
    """(patients, levels) numbers of SD 1 that are alike in neighbouring levels."""
    away = np.abs(np.subtract.outer(np.arange(len(LEVELS)), np.arange(len(LEVELS))))
    root = np.linalg.cholesky(NEIGHBOUR**away)
    return np.asarray(rng.standard_normal((patients, len(LEVELS))) @ root.T)


def grade(fat: Floats) -> NDArray[np.int64]:
    """Grades 0 to 3 of shares of fat, by ``GRADE_CUTS``."""
    return np.digitize(fat, GRADE_CUTS)


def read(table: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Two readers who estimate the share of fat with an error, and a third where they disagree.

    The third errs as they do, and nobody knows the truth: a final grade may be wrong, and is left so.

    Returns
    -------
    DataFrame
        KEY, ``grade_reader1 grade_reader2 grade_adjudicator grade_final``; the adjudicator is missing where the
        readers agree.
    """
    seen = table["fat"].to_numpy()[:, None] + rng.normal(0, READER_NOISE, (len(table), 3))
    first, second, third = grade(seen).T
    adjudicated = pd.Series(third, dtype="Int64", index=table.index).mask(first == second)
    final = np.where(first == second, first, third)
    grades = {"reader1": first, "reader2": second, "adjudicator": adjudicated, "final": final}
    return table[KEY].assign(**{f"grade_{whose}": values for whose, values in grades.items()})


def acquisitions(patients: pd.DataFrame, table: pd.DataFrame, rng: np.random.Generator) -> list[Parameters]:
    """Draw what sets each segment's volume apart.

    Parameters
    ----------
    patients : ``sex bmi``, one row per patient
    table : of :func:`segments`
    rng : source of randomness

    Returns
    -------
    list of Parameters
        In the order of ``table``.
    """
    n, rows = len(patients), len(table)
    of, level = table["patient"].to_numpy(), table["segment"].to_numpy() // len(SIDES)

    def drawn(between: float, within: float) -> Floats:
        """Numbers around 0 that the segments of a patient share in part."""
        return np.asarray(rng.normal(0, between, n)[of] + rng.normal(0, within, rows))

    man = np.where(patients["sex"] == "M", 1.0, -1.0)[of]
    heavy = (patients["bmi"].to_numpy() - 23.17)[of]
    fat = table["fat"].to_numpy()
    subcutis = np.clip(6.6 - 0.7 * man + 0.75 * heavy + 0.4 * level + drawn(1.6, 0.3), 2.5, 14)
    muscle = np.asarray(THICKNESS_MM)[level] + 1.2 * man + 0.1 * heavy - ATROPHY_MM * (fat - fat.mean())
    thickness = np.clip(muscle + drawn(1.4, 0.7), 16, 36)
    # In steps of 5 mm, so that the lamina and the paper's region of interest are inside.
    needed = np.maximum((subcutis + thickness) / 0.76, (subcutis + 2.5) / 0.29)
    columns = {
        "fat": fat,
        "fibrosis": table["fibrosis"].to_numpy(),
        "side": table["lat"].to_numpy(),
        "depth_mm": np.clip(np.ceil(needed / 5) * 5, 40, 70),
        "subcutis_mm": subcutis,
        "thickness_mm": thickness,
        "cleft_mm": np.asarray(list(CLEFT_MM.values()))[level] * np.clip(1 + drawn(0.10, 0.04), 0.75, 1.25),
        "spinous_mm": rng.uniform(4.6, 6.2, rows),
        "echo_db": drawn(1.5, 0.7),
        "lamellae_db": drawn(1.6, 1.2),
        "bone_db": drawn(0.6, 1.1),
        "haze_db": np.clip(-50 + drawn(0.8, 1.0), -54, -46),
        "contact_db": np.where(rng.random(rows) < LIFTED, rng.uniform(3, 12, rows), 0),
        "attenuation": 0.77 + 0.006 * heavy + drawn(0.03, 0.01),
        "spacing_mm": np.clip(1.1 * np.exp(drawn(0.14, 0.07)), 0.75, 1.9),
        "lamella_mm": np.clip(0.045 * np.exp(drawn(0.35, 0.2)), 0.02, 0.1),
        "obliquity_deg": rng.uniform(9, 22, rows),
        "dip_deg": 6 + drawn(1.5, 1.5),
        "tilt_deg": rng.normal(0, TILT_DEG, rows),
        "gain_percent": rng.uniform(45, 55, rows).round(1),
        "widening": np.clip(1 + 0.02 * (subcutis - 7), 0.9, 1.2),
    }
    frame = pd.DataFrame(columns)
    return [Parameters(**{str(k): v for k, v in row.items()}) for row in frame.to_dict("records")]
