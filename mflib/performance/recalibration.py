"""Probabilities brought to another cohort: a logistic update, judged on patients that it has not seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, logit
from statsmodels.genmod.families import Binomial
from statsmodels.genmod.generalized_linear_model import GLM

from mflib import roc
from mflib.performance.probability import EPSILON, unfit
from mflib.performance.proportions import Floats
from mflib.performance.table import COLUMNS, RUN, PredictionsError, runs, validate

# What each method fits to the labels.
UPDATES = {"intercept": ("intercept",), "intercept and slope": ("intercept", "slope")}

Labels = NDArray[np.integer]


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
        note = reason or _moved(table)
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
    x, y = _log_odds(table), table["y_true"].to_numpy()
    scores = np.empty(len(table))
    for own in _of_patients(table).values():
        coefficients = _model(x[~own], y[~own], method).fit(_start(x[~own], y[~own], method)).params
        slope = 1.0 if len(coefficients) == 1 else coefficients[1]
        scores[own] = expit(coefficients[0] + slope * x[own])
    return table.assign(score=scores)


def _update(table: pd.DataFrame, method: str, level: float) -> list[dict[str, Any]]:
    """Coefficients of the fit to all patients, with patients as clusters."""
    x, y = _log_odds(table), table["y_true"].to_numpy()
    groups = pd.factorize(table["participant_id"])[0]
    fitted = _model(x, y, method).fit(_start(x, y, method), cov_type="cluster", cov_kwds={"groups": groups})
    return [
        {"quantity": name, "value": float(value), "low": float(low), "high": float(high)}
        for name, value, (low, high) in zip(UPDATES[method], fitted.params, fitted.conf_int(1 - level), strict=True)
    ]


def _model(x: Floats, y: Labels, method: str) -> GLM:
    ones = np.ones((len(x), 1))
    if method == "intercept":
        return GLM(y, ones, family=Binomial(), offset=x)
    return GLM(y, np.column_stack([ones, x]), family=Binomial())


def _start(x: Floats, y: Labels, method: str) -> list[float]:
    """The shift at which the mean score is the share of positives; from elsewhere the fit can run away."""
    share, centre = y.mean(), logit(y.mean())
    shift = brentq(lambda a: expit(a + x).mean() - share, centre - x.max() - 1, centre - x.min() + 1)
    return [shift] if method == "intercept" else [shift, 1.0]


def _unfit_without(table: pd.DataFrame, method: str) -> str:
    """Why no finite update fits where one patient is left out; empty where one does for each."""
    x, positive = _log_odds(table), table["y_true"].to_numpy() == 1
    for patient, own in _of_patients(table).items():
        above, below = x[positive & ~own], x[~positive & ~own]
        if not len(above) or not len(below):
            return f"no update: without {patient} there is one class only"
        # With one covariate the likelihood has its maximum only where each class reaches beyond the other's end.
        if method != "intercept" and (below.max() <= above.min() or above.max() <= below.min()):
            return f"no update: without {patient} one score parts the classes, so no finite slope fits"
    return ""


def _of_patients(table: pd.DataFrame) -> dict[str, NDArray[np.bool_]]:
    """Which rows (n,) are each patient's."""
    return {
        str(patient): (table["participant_id"] == patient).to_numpy() for patient in table["participant_id"].unique()
    }


def _log_odds(table: pd.DataFrame) -> Floats:
    return logit(np.clip(table["score"].to_numpy(), EPSILON, 1 - EPSILON))


def _moved(table: pd.DataFrame) -> str:
    moved = int(((table["score"] < EPSILON) | (table["score"] > 1 - EPSILON)).sum())
    return f"{moved} scores moved to {EPSILON:g} from 0 or 1" if moved else ""
