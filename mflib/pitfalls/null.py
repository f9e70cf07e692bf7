"""Data without anything to find: simulated segments of patients, and a cohort's labels handed to other patients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from mflib.volume import KEY

# The paper's: 46 patients of 8 segments, 160 of 368 infiltrated.
PATIENTS, SEGMENTS, PREVALENCE = 46, 8, 160 / 368

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Cohort:
    """Segments of simulated patients.

    Parameters
    ----------
    values : (n, features)
    labels : (n,) 0 or 1
    patients : (n,) number of the patient
    """

    values: Floats
    labels: Labels
    patients: NDArray[np.intp]


def clustered(shape: tuple[int, int, int], icc: float, rng: np.random.Generator) -> Floats:
    """Standard normal values whose correlation between two segments of one patient is ``icc``.

    Parameters
    ----------
    shape : patients, segments of each, columns
    icc : 0 to 1

    Returns
    -------
    (patients * segments, columns)
    """
    patients, _, columns = shape
    shared = rng.standard_normal((patients, 1, columns))
    own = rng.standard_normal(shape)
    return np.asarray((np.sqrt(icc) * shared + np.sqrt(1 - icc) * own).reshape(-1, columns))


def simulated(icc: float, label_icc: float, rng: np.random.Generator, *, features: int) -> Cohort:
    """Features and labels that have nothing to do with each other, both alike inside a patient.

    Parameters
    ----------
    icc : of the features
    label_icc : of the normal variable behind the labels; 1 gives all segments of a patient one label
    features : how many
    """
    values = clustered((PATIENTS, SEGMENTS, features), icc, rng)
    labels = infiltrated(clustered((PATIENTS, SEGMENTS, 1), label_icc, rng)[:, 0])
    return Cohort(values, labels, np.repeat(np.arange(PATIENTS), SEGMENTS))


def infiltrated(latent: Floats) -> Labels:
    """Labels of which the paper's share is 1: where a standard normal variable is high enough."""
    return (latent > norm.isf(PREVALENCE)).astype(np.int64)


def permuted_by_patient(keys: pd.DataFrame, labels: NDArray[np.integer], rng: np.random.Generator) -> Labels:
    """Every patient gets the labels of a patient drawn without replacement, segment for segment.

    Segments of a patient stay as alike as they are, and labels say nothing of the patient's volumes any more. What is
    true of every patient stays: lower levels are more often infiltrated, so that an honest AUC can lie a little above
    0.5 where texture tells levels apart. Where the other patient has no such segment, one of its labels is drawn.

    Parameters
    ----------
    keys : (n, ...) with KEY
    labels : (n,) 0 or 1
    """
    own = keys[KEY].reset_index(drop=True)
    patients = own["participant_id"].unique()
    donor = own["participant_id"].map(dict(zip(patients, rng.permutation(patients), strict=True)))
    given = own.assign(participant_id=donor).merge(own.assign(label=np.asarray(labels)), on=KEY, how="left")["label"]
    for row in np.flatnonzero(given.isna()):
        given[row] = rng.choice(np.asarray(labels)[own["participant_id"] == donor[row]])
    return given.to_numpy(np.int64)
