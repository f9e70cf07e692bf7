"""Patients drawn with replacement, all segments of one together."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from mflib import roc
from mflib.performance.proportions import Floats


def resampled_sums(run: pd.DataFrame, values: ArrayLike, resamples: int, seed: int) -> Floats:
    """Sums of values over the segments of resampled patients.

    Patients are drawn among those with positives only, with negatives only, and with both, each as often as there are,
    so that every resample holds both classes. The same patients and seed give the same draws for every model.

    Parameters
    ----------
    run : n rows with ``participant_id`` and ``y_true``
    values : (n, k)
    resamples, seed : of the bootstrap

    Returns
    -------
    (resamples, k)
    """
    codes, patients = pd.factorize(run["participant_id"], sort=True)
    columns = np.asarray(values, dtype=np.float64)
    sums = np.stack([np.bincount(codes, column, len(patients)) for column in columns.T], axis=1)
    positives = np.bincount(codes, run["y_true"], len(patients)) > 0
    negatives = np.bincount(codes, 1 - run["y_true"], len(patients)) > 0
    drawn = roc.patient_weights(np.arange(len(patients)), positives + 2 * negatives, resamples, seed)
    return drawn.astype(np.float64) @ sums  # as numbers of one kind the product is fast


def percentiles(values: Floats, level: float) -> tuple[Floats, Floats]:
    """Percentile interval of resampled values (resamples, ...): its lower and its upper ends."""
    low, high = np.percentile(values, [50 * (1 - level), 50 * (1 + level)], axis=0)
    return low, high
