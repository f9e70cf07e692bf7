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
# Of every interval, and how many standard errors a normal one reaches to either side.
CONFIDENCE = 0.95
REACH = float(norm.ppf((1 + CONFIDENCE) / 2))


def check(y_true: ArrayLike, scores: ArrayLike) -> tuple[Bools, Floats]:
    """Which labels (n,) are 1, and scores (n, k), or an error that says what is wrong with them."""
    labels, columns = (np.asarray(values, dtype=np.float64) for values in (y_true, scores))
    columns = columns[:, None] if columns.ndim == 1 else columns
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
    codes, distinct = pd.factorize(pd.Series(groups))  # numpy would make the text "nan" of a missing name
    if len(codes) != n:
        raise InputError(f"found {len(codes)} groups for {n} cases, expected one for each")
    if (codes < 0).any():
        raise InputError(f"found no group at position {int(np.argmin(codes))}, expected one for each case")
    return codes, len(distinct)


def percentiles(values: Floats) -> tuple[Floats, Floats]:
    """Percentile interval of resampled values (resamples, ...): its lower and its upper ends."""
    low, high = np.percentile(values, [50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)], axis=0)
    return low, high


def resampled_sums(
    patients: pd.Series, labels: pd.Series | None, values: ArrayLike, resamples: int, seed: int
) -> Floats:
    """Sums (resamples, k) of values (n, k) over the cases of patients that are drawn with replacement.

    All cases of a patient go together. Patients are drawn in the order of their names: the same patients and seed give
    the same draws for every model. With ``labels`` (n,) of 0 and 1 they are drawn among those of their kind: those with
    positives only, with negatives only, and with both. So every resample has as many patients of each kind as the data,
    and both classes.
    """
    codes, names = pd.factorize(patients, sort=True)
    columns, count = np.asarray(values, dtype=np.float64), len(names)
    sums = np.stack([np.bincount(codes, column, count) for column in columns.T], axis=1)
    rng = np.random.default_rng(seed)
    if labels is None:
        drawn = rng.multinomial(count, np.full(count, 1 / count), resamples)
    else:
        positives, negatives = (np.bincount(codes, of, count) > 0 for of in (labels, 1 - labels))
        drawn = _within_kinds(positives + 2 * negatives, resamples, rng)
    return drawn.astype(np.float64) @ sums  # as numbers of one kind the product is fast


def _within_kinds(kinds: NDArray[np.intp], resamples: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """How often each patient (resamples, I) is drawn among those of its kind (I,)."""
    drawn = np.zeros((resamples, len(kinds)), dtype=np.int64)
    row = np.arange(resamples)[:, None]
    for kind in pd.unique(kinds)[::-1]:
        members = np.flatnonzero(kinds == kind)
        picks = row * len(members) + rng.integers(len(members), size=(resamples, len(members)))
        counts = np.bincount(picks.ravel(), minlength=resamples * len(members))
        drawn[:, members] = counts.reshape(resamples, len(members))
    return drawn


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


def threshold_at(y_true: ArrayLike, scores: ArrayLike, fixed: str, least: float) -> float:
    """Where one of sensitivity and specificity is as high as it can be while the other is ``fixed`` at the least.

    A score >= threshold is called positive. The point exists, without interpolation. Of thresholds that are as good in
    the one, it is that with the highest value of the fixed one: infinite where the best that can be done is to call
    none positive.

    Parameters
    ----------
    y_true, scores : (n,)
    fixed, least : which of the two, "sensitivity" or "specificity", is not to be lower than what, from 0 to 1
    """
    positive, column = one_column(y_true, scores)
    _, false_positives, _, true_positives, thresholds = confusion_matrix_at_thresholds(positive, column)
    m, n = np.count_nonzero(positive), np.count_nonzero(~positive)
    # Whole numbers are divided once, so that four of five is 0.8 as it is written.
    sensitivity = np.concatenate([[0], true_positives]) / m
    specificity = (n - np.concatenate([[0], false_positives])) / n
    # From none called positive to all.
    points = np.stack([sensitivity, specificity, np.concatenate([[np.inf], thresholds])])
    wanted, given, threshold = points if fixed == "specificity" else points[[1, 0, 2], ::-1]
    return float(threshold[np.argmax(np.where(given >= least, wanted, -1))])
