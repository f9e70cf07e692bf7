"""Synthetic patients and their segments: what hurts, fatty infiltration, grades and readers, how each volume looks."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr

from mflib.base.words import KEY, LEVELS, SIDES
from mflib.data.phantom.anatomy import Parameters

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


QUOTAS = (208, 87, 48, 25)
LEVEL_EFFECT = (-0.5, -0.25, 0.25, 0.5)
READER_NOISE = 0.38
READER_CUTS = (0.165, 0.849, 1.490)  # standard normal quantiles of the quotas
# SD of the latent infiltration between patients, segments of one and sides of one, and what is added where it hurts.
PATIENT_SD, SEGMENT_SD, SIDE_SD = 0.70, 0.42, 0.38
PAIN_EFFECT = 0.25
TEXTURE_CORRELATION = 0.65  # of what ultrasound sees with what MRI grades


def segments(patients: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Latent infiltration of the eight segments of each patient.

    Parameters
    ----------
    patients : ``participant_id age bmi pain_side``
    rng : source of randomness

    Returns
    -------
    DataFrame
        KEY, ``patient`` and ``segment`` (positions), ``infiltration`` (standardised), ``severity`` (what the muscle's
        texture shows, 0 to 1.05), ``grade_final`` (by rank, in the paper's proportions).
    """
    n = len(patients)
    table = _index(patients)
    effect = np.asarray(LEVEL_EFFECT)[None, :, None]
    painful = np.stack([patients["pain_side"].isin([side, "both"]) for side in SIDES], axis=1)[:, None, :]
    latent = (
        effect
        + PATIENT_SD * _susceptibility(patients, rng)[:, None, None]
        + SEGMENT_SD * rng.standard_normal((n, len(LEVELS), 1))
        + SIDE_SD * rng.standard_normal((n, len(LEVELS), len(SIDES)))
        + PAIN_EFFECT * painful
    ).ravel()
    table["infiltration"] = (latent - latent.mean()) / latent.std()
    table["severity"] = _severity(table["infiltration"].to_numpy(), n, rng)
    table["grade_final"] = grade_by_rank(table["infiltration"].to_numpy())
    return table


def _index(patients: pd.DataFrame) -> pd.DataFrame:
    """KEY and positions of all segments, in order."""
    rows = [
        (participant, level, lat, patient, segment)
        for patient, participant in enumerate(patients["participant_id"])
        for segment, (level, lat) in enumerate((level, lat) for level in LEVELS for lat in SIDES)
    ]
    return pd.DataFrame(rows, columns=[*KEY, "patient", "segment"])


def _susceptibility(patients: pd.DataFrame, rng: np.random.Generator) -> Floats:
    """A patient's own tendency, about SD 1: older and heavier people have more fat in the muscle."""
    bmi = (patients["bmi"].to_numpy() - 23.17) / 3.76
    age = (patients["age"].to_numpy() - 32.2) / 9.8
    own = np.sqrt(1 - 0.3**2 - 0.3**2)
    return np.asarray(0.3 * bmi + 0.3 * age + own * rng.standard_normal(len(patients)))


def _severity(infiltration: Floats, patients: int, rng: np.random.Generator) -> Floats:
    """Texture severity, correlated with the infiltration and clustered by patient and segment as it is."""
    shape = (patients, len(LEVELS), len(SIDES))
    other = 0.6 * rng.standard_normal((patients, 1, 1)) + 0.5 * rng.standard_normal((*shape[:2], 1))
    other = (other + 0.62 * rng.standard_normal(shape)).ravel()
    texture = TEXTURE_CORRELATION * infiltration + np.sqrt(1 - TEXTURE_CORRELATION**2) * other
    return np.clip(0.22 + 0.33 * texture, 0, 1.05)


def quotas(n: int) -> tuple[int, ...]:
    """Segments of each grade out of ``n``, in the proportions 208 : 87 : 48 : 25 by largest remainder."""
    share = np.asarray(QUOTAS) * n / sum(QUOTAS)
    counts = np.floor(share).astype(int)
    counts[np.argsort(counts - share, kind="stable")[: n - counts.sum()]] += 1
    return tuple(int(count) for count in counts)


def grade_by_rank(infiltration: Floats) -> NDArray[np.int64]:
    """Grades 0 to 3 so that the counts are exactly :func:`quotas`."""
    grades = np.empty(len(infiltration), np.int64)
    grades[np.argsort(infiltration, kind="stable")] = np.repeat(np.arange(4), quotas(len(infiltration)))
    return grades


def read(table: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Two readers and an adjudicator, whose final word is the truth.

    Each reader sees the latent infiltration with noise. Where both agree on a wrong grade nobody would adjudicate, so
    there the second reader is given the truth.

    Returns
    -------
    DataFrame
        KEY, ``grade_reader1 grade_reader2 grade_adjudicator grade_final``; the adjudicator is missing where the
        readers agree.
    """
    truth = table["grade_final"].to_numpy()
    seen = table["infiltration"].to_numpy()[:, None] + rng.normal(0, READER_NOISE, (len(table), 2))
    first, second = np.digitize(seen, READER_CUTS).T
    second = np.where((first == second) & (first != truth), truth, second)
    adjudicated = pd.Series(truth, dtype="Int64", index=table.index).mask(first == second)
    return table[KEY].assign(
        grade_reader1=first, grade_reader2=second, grade_adjudicator=adjudicated, grade_final=truth
    )


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
    of = table["patient"].to_numpy()
    man = np.where(patients["sex"] == "M", 1.0, -1.0)
    heavy = patients["bmi"].to_numpy() - 23.17
    fat = 6.6 - 0.5 * man + 0.5 * heavy + rng.normal(0, 1.0, n)
    muscle = 27.5 + 1.2 * man + 0.15 * heavy + rng.normal(0, 2.0, n)
    level = table["segment"].to_numpy() // len(SIDES)
    subcutis = np.clip(fat[of] + 0.4 * level + rng.normal(0, 0.3, rows), 2.5, 14)
    thickness = np.clip(muscle[of] + 0.8 * (level - 1.5) + rng.normal(0, 0.7, rows), 20, 36)
    # In steps of 5 mm, so that the lamina and the region of interest are inside.
    needed = np.maximum((subcutis + thickness) / 0.76, (subcutis + 2) / 0.29)
    severity = table["severity"].to_numpy()
    columns = {
        "severity": severity,
        "side": table["lat"].to_numpy(),
        "depth_mm": np.clip(np.ceil(needed / 5) * 5, 40, 70),
        "subcutis_mm": subcutis,
        "thickness_mm": thickness,
        "spinous_mm": rng.uniform(4.6, 6.2, rows),
        "echo_db": rng.normal(0, 1.3, n)[of] + rng.normal(0, 0.6, rows),
        "bone_db": rng.normal(0, 1.2, rows),
        "attenuation": rng.normal(0.70, 0.045, n)[of] + 0.05 * severity,
        "spacing_mm": np.clip(1.1 * np.exp(rng.normal(0, 0.12, n)[of] + rng.normal(0, 0.05, rows)), 0.75, 1.9),
        "obliquity_deg": rng.uniform(9, 22, rows),
        "dip_deg": rng.uniform(1, 8, rows),
        "gain_percent": rng.uniform(45, 55, rows).round(1),
        "widening": np.clip(1 + 0.02 * (subcutis - 7), 0.9, 1.2),
    }
    frame = pd.DataFrame(columns)
    return [Parameters(**{str(k): v for k, v in row.items()}) for row in frame.to_dict("records")]
