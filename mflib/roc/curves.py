"""ROC curves: their vertices, the area under a part of them, and their operating points.

References
----------
McClish DK. Analyzing a portion of the ROC curve. Med Decis Making 1989;9:190-195.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import confusion_matrix_at_thresholds, roc_curve

from mflib.roc.cases import Floats, RocError, one_column

Axis = Literal["false_positive_rate", "sensitivity"]


@dataclass(frozen=True)
class PartialArea:
    """Area under a part of the ROC curve.

    Parameters
    ----------
    raw : the area itself, at most the width of the range
    standardised : McClish 1989: 0.5 where the curve runs along the diagonal and 1 where it is perfect, whatever the
        range; below 0.5 where the curve lies below the diagonal
    """

    raw: float
    standardised: float


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
    RocError
        As ``check``, or more than one column of scores.
    """
    positive, column = one_column(y_true, scores)
    false_positive_rate, true_positive_rate, threshold = roc_curve(positive, column)
    return false_positive_rate, true_positive_rate, threshold


def partial_auc(
    y_true: ArrayLike, scores: ArrayLike, low: float = 0.0, high: float = 0.2, *, over: Axis = "false_positive_rate"
) -> PartialArea:
    """Area under the part of the ROC curve between two false positive rates, or between two sensitivities.

    Over false positive rates it is the integral of the sensitivity: how good the model is where few healthy ones may be
    called positive. Over sensitivities it is the integral of the specificity: where few positives may be missed. The
    curve runs straight across tied scores.

    Parameters
    ----------
    y_true, scores : (n,)
    low, high : the range, 0 <= low < high <= 1
    over : what the range is of; a specificity of 0.8 to 1 is a false positive rate of 0 to 0.2

    Raises
    ------
    RocError
        As ``curve``, a range that is none, or an unknown axis.
    """
    if not 0 <= low < high <= 1:
        raise RocError(f"found range {low} to {high}, expected 0 <= low < high <= 1")
    if over not in ("false_positive_rate", "sensitivity"):
        raise RocError(f"found axis {over!r}, expected 'false_positive_rate' or 'sensitivity'")
    x, y, _ = curve(y_true, scores)
    if over == "sensitivity":
        # Seen from the other corner: the share of positives missed across, the specificity up.
        x, y, low, high = 1 - y[::-1], 1 - x[::-1], 1 - high, 1 - low
    raw, width = _area_between(x, y, low, high), high - low
    chance = width * (low + high) / 2
    return PartialArea(raw, (1 + (raw - chance) / (width - chance)) / 2)


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
    RocError
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
    RocError
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
        raise RocError(f"found {name} {least}, expected a value from 0 to 1")
    best = int(np.argmax(np.where(given >= least, wanted, -1)))
    return float(wanted[best]), float(threshold[best])


def _area_between(x: Floats, y: Floats, low: float, high: float) -> float:
    """Area under a line of vertices with ascending x, which may rise vertically, between two values of x."""
    run = np.diff(x)
    sloped = run > 0
    x, y, run, rise = x[:-1][sloped], y[:-1][sloped], run[sloped], np.diff(y)[sloped]
    left, right = np.clip(low, x, x + run), np.clip(high, x, x + run)
    middle = (left + right) / 2
    return float(np.sum((right - left) * (y + rise * (middle - x) / run)))
