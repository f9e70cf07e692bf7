"""ROC curves: their vertices and their operating points."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import confusion_matrix_at_thresholds, roc_curve

from mflib.base.errors import InputError
from mflib.stats.roc.cases import Floats, one_column


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

    Raises
    ------
    InputError
        As ``check``, or more than one column of scores.
    """
    positive, column = one_column(y_true, scores)
    false_positive_rate, true_positive_rate, threshold = roc_curve(positive, column)
    return false_positive_rate, true_positive_rate, threshold


def sensitivity_at(y_true: ArrayLike, scores: ArrayLike, specificity: float) -> tuple[float, float]:
    """Highest sensitivity at which the specificity is still at least so high, and its threshold.

    Parameters
    ----------
    y_true, scores : (n,)
    specificity : in [0, 1]

    Returns
    -------
    sensitivity, threshold
        Of an operating point that exists, without interpolation: a score >= threshold is called positive. Of thresholds
        with the same sensitivity it is the highest. It is infinite where the best that can be done is to call none.

    Raises
    ------
    InputError
        As ``curve``, or a specificity outside [0, 1].
    """
    sensitivities, specificities, thresholds = _operating_points(y_true, scores)
    return _best(sensitivities, specificities, thresholds, specificity, "specificity")


def specificity_at(y_true: ArrayLike, scores: ArrayLike, sensitivity: float) -> tuple[float, float]:
    """Highest specificity at which the sensitivity is still at least so high, and its threshold.

    Parameters
    ----------
    y_true, scores : (n,)
    sensitivity : in [0, 1]

    Returns
    -------
    specificity, threshold
        Of an operating point that exists, without interpolation: a score >= threshold is called positive. Of thresholds
        with the same specificity it is the lowest, which has the highest sensitivity.

    Raises
    ------
    InputError
        As ``curve``, or a sensitivity outside [0, 1].
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
