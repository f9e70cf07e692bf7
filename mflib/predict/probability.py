"""From a score to a probability: a logistic fit of the run's own labels on its out-of-fold margins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import norm

from mflib.performance import logistic

LEVEL = 0.95
SINGLE = (
    "The probability is fitted on the margins of single models; those of their mean spread less, so it is rather too "
    "near to the share of infiltrated segments in training."
)


@dataclass(frozen=True, eq=False)
class Calibration:
    """P = expit(a + b margin), with the covariance of a and b.

    Parameters
    ----------
    coefficients, covariance : (2,) and (2, 2); empty where there is no fit
    note : why there is none, or what to know of it
    """

    coefficients: NDArray[np.float64]
    covariance: NDArray[np.float64]
    note: str

    def __call__(self, margin: float) -> tuple[float, float, float] | None:
        """Probability of infiltration with the 95 % interval of the fit, None where there is none.

        The interval says how sure the fit is, not how sure this patient's label is.
        """
        if not self.coefficients.size:
            return None
        point = np.array([1.0, margin])
        centre = float(point @ self.coefficients)
        reach = float(norm.ppf(0.5 + LEVEL / 2) * np.sqrt(point @ self.covariance @ point))
        probability, low, high = (float(expit(value)) for value in (centre, centre - reach, centre + reach))
        return probability, low, high


def fit(predictions: pd.DataFrame) -> Calibration:
    """Calibrate by the run's out-of-fold predictions, each at the margin to the threshold of its own fold.

    Every margin is of one fold's model, and the mean over the folds' models that a new patient is scored by spreads
    less. So probabilities of an ensemble are rather too near to the run's share of infiltrated segments than too far
    from it. Patients are clusters (sandwich covariance), as in ``performance.calibration``.

    Parameters
    ----------
    predictions : one model's predictions table
    """
    labels = predictions["y_true"].to_numpy()
    margins = (predictions["score"] - predictions["threshold"]).to_numpy()
    patients = predictions["participant_id"]
    reason = _unfit(labels, margins, patients)
    if reason:
        return _none(reason)
    fitted = logistic.clustered(logistic.regression(margins, labels, slope=True), patients)
    coefficients, covariance = np.asarray(fitted.params), np.asarray(fitted.cov_params())
    if not (np.isfinite(coefficients).all() and np.isfinite(covariance).all()):
        return _none("No probability: the fit of the run's own margins has no finite solution.")
    if coefficients[1] <= 0:
        return _none("No probability: in the run's own patients a higher score does not mean infiltration more often.")
    return Calibration(coefficients, covariance, SINGLE)


def _unfit(labels: NDArray[np.int64], margins: NDArray[np.float64], patients: pd.Series) -> str:
    """Why a logistic regression has no finite maximum, or no variance; empty where it has both."""
    if len(np.unique(labels)) < 2:
        return f"No probability: the run has segments of label {labels[0]} only."
    if patients.nunique() < 2:
        return "No probability: the run has one patient only."
    if logistic.separated(margins, labels):
        return "No probability: one margin parts the classes of the run, so no finite slope fits."
    return ""


def _none(note: str) -> Calibration:
    return Calibration(np.empty(0), np.empty((0, 0)), note)
