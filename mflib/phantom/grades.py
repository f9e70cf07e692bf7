"""Fatty infiltration of every segment: the latent truth, the MRI grades and the readers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mflib.volume import KEY, LEVELS, SIDES

QUOTAS = (208, 87, 48, 25)
LEVEL_EFFECT = (-0.5, -0.25, 0.25, 0.5)
READER_NOISE = 0.38
READER_CUTS = (0.165, 0.849, 1.490)  # standard normal quantiles of the quotas

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Settings:
    """Sizes of the random effects.

    Parameters
    ----------
    patient, segment, side : SD of the latent infiltration between patients, segments of one, sides of one
    pain_side : added where it hurts
    texture : correlation of what ultrasound sees with what MRI grades
    """

    patient: float = 0.70
    segment: float = 0.42
    side: float = 0.38
    pain_side: float = 0.25
    texture: float = 0.65


def segments(patients: pd.DataFrame, settings: Settings, rng: np.random.Generator) -> pd.DataFrame:
    """Latent infiltration of the eight segments of each patient.

    Parameters
    ----------
    patients : ``participant_id age bmi pain_side``
    settings : sizes of the random effects
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
        + settings.patient * _susceptibility(patients, rng)[:, None, None]
        + settings.segment * rng.standard_normal((n, len(LEVELS), 1))
        + settings.side * rng.standard_normal((n, len(LEVELS), len(SIDES)))
        + settings.pain_side * painful
    ).ravel()
    table["infiltration"] = (latent - latent.mean()) / latent.std()
    table["severity"] = _severity(table["infiltration"].to_numpy(), n, settings.texture, rng)
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


def _severity(infiltration: Floats, patients: int, correlation: float, rng: np.random.Generator) -> Floats:
    """Texture severity, correlated with the infiltration and clustered by patient and segment as it is."""
    shape = (patients, len(LEVELS), len(SIDES))
    other = 0.6 * rng.standard_normal((patients, 1, 1)) + 0.5 * rng.standard_normal((*shape[:2], 1))
    other = (other + 0.62 * rng.standard_normal(shape)).ravel()
    texture = correlation * infiltration + np.sqrt(1 - correlation**2) * other
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
