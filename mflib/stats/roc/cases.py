"""Cases of an ROC analysis: checked, called at a threshold, and drawn again patient by patient."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm
from sklearn.metrics import confusion_matrix_at_thresholds, roc_curve

from mflib.base.errors import InputError

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def check(y_true: ArrayLike, scores: ArrayLike) -> tuple[Bools, Floats]:
    """Which labels (n,) are 1, and scores (n, k), or an error that says what is wrong with them."""
    labels, columns = _numbers(y_true, "labels"), _numbers(scores, "scores")
    columns = columns[:, None] if columns.ndim == 1 else columns
    if labels.ndim != 1 or columns.ndim != 2 or columns.shape[1] == 0:
        raise InputError(f"found labels {labels.shape} and scores {columns.shape}, expected (n,) and (n,) or (n, k)")
    if len(labels) != len(columns):
        raise InputError(f"found {len(labels)} labels and {len(columns)} scores, expected as many of each")
    positive = labels == 1
    if not (positive | (labels == 0)).all():
        raise InputError(f"found labels {np.unique(labels)[:5].tolist()}, expected 0 and 1")
    if positive.all() or not positive.any():
        classes = np.unique(labels).tolist()
        raise InputError(f"found {len(labels)} cases of class {classes}, expected positives and negatives")
    finite = np.isfinite(columns)
    if not finite.all():
        bad = np.flatnonzero(~finite.all(axis=1))
        raise InputError(f"found {len(bad)} non-finite scores, the first at {bad[0]}: {columns[bad[0]].tolist()}")
    return positive, columns


def one_column(y_true: ArrayLike, scores: ArrayLike) -> tuple[Bools, Floats]:
    """As ``check``, with the scores (n,) of one model."""
    positive, columns = check(y_true, scores)
    if columns.shape[1] != 1:
        raise InputError(f"found {columns.shape[1]} columns of scores, expected one")
    return positive, columns[:, 0]


def clusters(groups: ArrayLike | None, n: int) -> tuple[NDArray[np.intp], int]:
    """Number (n,) of each case's cluster, and how many clusters there are; without groups each case is its own."""
    if groups is None:
        return np.arange(n), n
    codes, count = numbered(groups)
    if len(codes) != n:
        raise InputError(f"found {len(codes)} groups for {n} cases, expected one for each")
    return codes, count


def numbered(groups: ArrayLike) -> tuple[NDArray[np.intp], int]:
    """Number (n,) of each group in the order in which they occur, and how many different ones there are."""
    try:
        codes, distinct = pd.factorize(pd.Series(groups))  # numpy would make the text "nan" of a missing name
    except (TypeError, ValueError) as error:
        raise InputError(f"found groups that are no column of names ({error}), expected one for each case") from error
    if (codes < 0).any():
        raise InputError(f"found no group at position {int(np.argmin(codes))}, expected one for each case")
    return codes, len(distinct)


def _numbers(values: ArrayLike, name: str) -> Floats:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"found {name} that are no numbers ({error}), expected an array of numbers") from error


def check_level(level: float) -> None:
    """Refuse what is no confidence."""
    if not 0 < level < 1:
        raise InputError(f"found level {level}, expected a confidence between 0 and 1, such as 0.95")


def z_value(level: float) -> float:
    """How many standard errors a normal interval of this confidence reaches to either side."""
    check_level(level)
    return float(norm.ppf((1 + level) / 2))


def percentiles(values: Floats, level: float) -> tuple[Floats, Floats]:
    """Percentile interval of resampled values (resamples, ...): its lower and its upper ends."""
    check_level(level)
    low, high = np.percentile(values, [50 * (1 - level), 50 * (1 + level)], axis=0)
    return low, high


def patient_weights(
    groups: ArrayLike, strata: ArrayLike | None, resamples: int = 2000, seed: int = 0
) -> NDArray[np.int64]:
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
    InputError
        Not one group and one stratum for each case, or fewer than one resample.
    """
    if resamples < 1:
        raise InputError(f"found {resamples} resamples, expected at least one")
    patient, n_patients = numbered(groups)
    rng = np.random.default_rng(seed)
    if strata is None:
        return rng.multinomial(n_patients, np.full(n_patients, 1 / n_patients), resamples)[:, patient]
    kinds = _kinds(patient, n_patients, strata)
    drawn = np.zeros((resamples, n_patients), dtype=np.int64)
    row = np.arange(resamples)[:, None]
    for kind in np.unique(kinds):
        members = np.flatnonzero(kinds == kind)
        picks = row * len(members) + rng.integers(len(members), size=(resamples, len(members)))
        counts = np.bincount(picks.ravel(), minlength=resamples * len(members))
        drawn[:, members] = counts.reshape(resamples, len(members))
    return drawn[:, patient]


def _kinds(patient: NDArray[np.intp], n_patients: int, strata: ArrayLike) -> NDArray[np.intp]:
    """Number (n_patients,) of each patient's kind: which of the strata its cases have."""
    stratum, n_strata = clusters(strata, len(patient))
    has = np.zeros((n_patients, n_strata), dtype=bool)
    has[patient, stratum] = True
    return np.unique(has, axis=0, return_inverse=True)[1].ravel()


def resampled_sums(
    patients: pd.Series, labels: pd.Series | None, values: ArrayLike, resamples: int, seed: int
) -> Floats:
    """Sums (resamples, k) of values (n, k) over the cases of resampled patients.

    Patients are drawn as by ``patient_weights``, in the order of their names: the same patients and seed give the same
    draws for every model. With ``labels`` (n,) of 0 and 1 every resample holds both classes.
    """
    codes, names = pd.factorize(patients, sort=True)
    columns = np.asarray(values, dtype=np.float64)
    sums = np.stack([np.bincount(codes, column, len(names)) for column in columns.T], axis=1)
    kinds = None
    if labels is not None:
        positives = np.bincount(codes, labels, len(names)) > 0
        negatives = np.bincount(codes, 1 - labels, len(names)) > 0
        kinds = positives + 2 * negatives
    drawn = patient_weights(np.arange(len(names)), kinds, resamples, seed)
    return drawn.astype(np.float64) @ sums  # as numbers of one kind the product is fast


def curve(y_true: ArrayLike, scores: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Vertices of the ROC curve.

    Parameters
    ----------
    y_true, scores : (n,)

    Returns
    -------
    false_positive_rate, true_positive_rate, threshold : (v,)
        From (0, 0) at an infinite threshold to (1, 1). Only points in the middle of a straight line are left out, so
        the trapezoids under the curve are the area exactly.
    """
    return roc_curve(*one_column(y_true, scores))


def sensitivity_at(y_true: ArrayLike, scores: ArrayLike, specificity: float) -> tuple[float, float]:
    """Highest sensitivity at which the specificity is still at least so high, and its threshold.

    A score >= threshold is called positive. The point exists, without interpolation; of thresholds with the same
    sensitivity it is the highest, infinite where the best that can be done is to call none.
    """
    sensitivities, specificities, thresholds = _operating_points(y_true, scores)
    return _best(sensitivities, specificities, thresholds, specificity, "specificity")


def specificity_at(y_true: ArrayLike, scores: ArrayLike, sensitivity: float) -> tuple[float, float]:
    """Highest specificity at which the sensitivity is still at least so high, and its threshold.

    As ``sensitivity_at``; of thresholds with the same specificity it is the lowest, which has the highest sensitivity.
    """
    sensitivities, specificities, thresholds = _operating_points(y_true, scores)
    return _best(specificities[::-1], sensitivities[::-1], thresholds[::-1], sensitivity, "sensitivity")


def _operating_points(y_true: ArrayLike, scores: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Sensitivity, specificity and threshold of every point, from none called positive to all."""
    positive, column = one_column(y_true, scores)
    _, false_positives, _, true_positives, threshold = confusion_matrix_at_thresholds(positive, column)
    m, n = np.count_nonzero(positive), np.count_nonzero(~positive)
    # Whole numbers are divided once, so that four of five is 0.8 as it is written.
    sensitivity = np.concatenate([[0], true_positives]) / m
    specificity = (n - np.concatenate([[0], false_positives])) / n
    return sensitivity, specificity, np.concatenate([[np.inf], threshold])


def _best(wanted: Floats, given: Floats, threshold: Floats, least: float, name: str) -> tuple[float, float]:
    """The first of the points with the highest wanted value among those whose given value is at least so high."""
    if not 0 <= least <= 1:
        raise InputError(f"found {name} {least}, expected a value from 0 to 1")
    best = int(np.argmax(np.where(given >= least, wanted, -1)))
    return float(wanted[best]), float(threshold[best])
