"""Probabilities brought to another cohort: a logistic update, judged on patients that it has not seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from mflib import roc
from mflib.performance import logistic
from mflib.performance.logistic import Labels
from mflib.performance.probability import unfit
from mflib.performance.proportions import Floats
from mflib.performance.table import COLUMNS, RUN, PredictionsError, runs, validate

# What each method fits to the labels.
UPDATES = {"intercept": ("intercept",), "intercept and slope": ("intercept", "slope")}


@dataclass(frozen=True, eq=False)
class Recalibrated:
    """Probabilities after an update, and the update.

    Parameters
    ----------
    predictions : the predictions table, each score updated by the fit to all patients but its own; runs that cannot be
        updated are left out
    update : fitted to all patients: ``RUN``, ``method``, ``quantity``, ``value``, ``low``, ``high``, ``note`` (why
        there is none, or what was changed; empty otherwise)
    """

    predictions: pd.DataFrame
    update: pd.DataFrame


def recalibrate(predictions: pd.DataFrame, method: str, level: float = 0.95) -> Recalibrated:
    """Update the probabilities of each model to the cohort that they are held against.

    Logistic recalibration (Cox 1958; Steyerberg et al. 2004, Stat Med 23:2567): logit P = a + logit(score) with the
    method "intercept", logit P = a + b logit(score) with "intercept and slope". The fit to all patients is what the
    next patient of this cohort would get. On the patients that it was fitted to it looks better than it is, so each
    patient's scores are updated by the fit to all the others. That errs a little on the strict side: without a patient
    the fit moves away from that patient's labels.

    Parameters
    ----------
    predictions : the predictions table, its scores probabilities
    method : one of ``UPDATES``
    level : confidence of the update's coefficients, by the sandwich variance with patients as clusters

    Raises
    ------
    PredictionsError
        As ``validate``, or an unknown method.
    roc.RocError
        A level outside (0, 1).
    """
    roc.check_level(level)
    if method not in UPDATES:
        raise PredictionsError(f"found the method {method!r}, expected one of {', '.join(UPDATES)}")
    updated, rows = [], []
    for run, table in runs(validate(predictions)):
        reason = unfit(table) or _unfit_without(table, method)
        note = reason or logistic.log_odds(table["score"])[1]
        named = {**run, "method": method}
        if reason:
            nothing = {"value": np.nan, "low": np.nan, "high": np.nan, "note": note}
            rows += [{**named, "quantity": name, **nothing} for name in UPDATES[method]]
            continue
        updated.append(_left_out(table, method))
        rows += [{**named, **row, "note": note} for row in _update(table, method, level)]
    columns = [*RUN, "method", "quantity", "value", "low", "high", "note"]
    empty = pd.DataFrame(columns=COLUMNS)
    return Recalibrated(pd.concat(updated, ignore_index=True) if updated else empty, pd.DataFrame(rows)[columns])


def _left_out(table: pd.DataFrame, method: str) -> pd.DataFrame:
    """The table, each score updated by the fit to the other patients."""
    x, y = _covariate(table)
    scores = np.empty(len(table))
    for own in _of_patients(table).values():
        model = logistic.regression(x[~own], y[~own], slope="slope" in UPDATES[method])
        coefficients = model.fit(_start(x[~own], y[~own], method)).params
        slope = 1.0 if len(coefficients) == 1 else coefficients[1]
        scores[own] = expit(coefficients[0] + slope * x[own])
    return table.assign(score=scores)


def _update(table: pd.DataFrame, method: str, level: float) -> list[dict[str, Any]]:
    """Coefficients of the fit to all patients, with patients as clusters."""
    x, y = _covariate(table)
    model = logistic.regression(x, y, slope="slope" in UPDATES[method])
    fitted = logistic.clustered(model, table["participant_id"], _start(x, y, method))
    return [
        {"quantity": name, "value": float(value), "low": float(low), "high": float(high)}
        for name, value, (low, high) in zip(UPDATES[method], fitted.params, fitted.conf_int(1 - level), strict=True)
    ]


def _covariate(table: pd.DataFrame) -> tuple[Floats, Labels]:
    """Log odds that the scores claim, and labels, (n,) each."""
    return logistic.log_odds(table["score"])[0], table["y_true"].to_numpy()


def _start(x: Floats, y: Labels, method: str) -> list[float]:
    return [logistic.shift(x, y), 1.0][: len(UPDATES[method])]


def _unfit_without(table: pd.DataFrame, method: str) -> str:
    """Why no finite update fits where one patient is left out; empty where one does for each."""
    x, y = _covariate(table)
    for patient, own in _of_patients(table).items():
        if len(np.unique(y[~own])) < 2:
            return f"no update: without {patient} there is one class only"
        if method != "intercept" and logistic.separated(x[~own], y[~own]):
            return f"no update: without {patient} one score parts the classes, so no finite slope fits"
    return ""


def _of_patients(table: pd.DataFrame) -> dict[str, NDArray[np.bool_]]:
    """Which rows (n,) are each patient's."""
    return {
        str(patient): (table["participant_id"] == patient).to_numpy() for patient in table["participant_id"].unique()
    }
