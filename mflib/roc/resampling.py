"""Patients drawn with replacement: weights of the cases in each resample.

A resample is a whole number for each case, how often it was drawn. So nothing is copied or sorted again, and whatever
can be computed with weights can be resampled.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mflib.roc.cases import RocError, clusters, numbered

Counts = NDArray[np.int64]


def patient_weights(groups: ArrayLike, strata: ArrayLike | None, resamples: int = 2000, seed: int = 0) -> Counts:
    """How often each case is drawn when patients are drawn with replacement, all cases of a patient together.

    Parameters
    ----------
    groups : (n,) the patient of each case
    strata : (n,) a value of each case, such as its label, or None. With labels patients are drawn among those of their
        kind: those with positives only, with negatives only, and with both. So every resample has as many patients of
        each kind as the data, and both classes.
    resamples, seed : how many, and what decides them

    Returns
    -------
    (resamples, n)

    Raises
    ------
    RocError
        Not one group and one stratum for each case, or fewer than one resample.
    """
    if resamples < 1:
        raise RocError(f"found {resamples} resamples, expected at least one")
    patient, n_patients = numbered(groups)
    kinds = _kinds(patient, n_patients, strata)
    rng = np.random.default_rng(seed)
    drawn = np.zeros((resamples, n_patients), dtype=np.int64)
    row = np.arange(resamples)[:, None]
    for kind in np.unique(kinds):
        members = np.flatnonzero(kinds == kind)
        picks = row * len(members) + rng.integers(len(members), size=(resamples, len(members)))
        counts = np.bincount(picks.ravel(), minlength=resamples * len(members))
        drawn[:, members] = counts.reshape(resamples, len(members))
    return drawn[:, patient]


def _kinds(patient: NDArray[np.intp], n_patients: int, strata: ArrayLike | None) -> NDArray[np.intp]:
    """Number (n_patients,) of each patient's kind: which of the strata its cases have."""
    if strata is None:
        return np.zeros(n_patients, dtype=np.intp)
    stratum, n_strata = clusters(strata, len(patient))
    has = np.zeros((n_patients, n_strata), dtype=bool)
    has[patient, stratum] = True
    return np.unique(has, axis=0, return_inverse=True)[1].ravel()
