"""Proportions of segments, and their variance with patients as clusters."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mflib import roc
from mflib.performance.table import PredictionsError

Floats = NDArray[np.float64]

# What each proportion divides: cells of the confusion matrix counted, and those counted over.
PROPORTIONS = {
    "sensitivity": (["tp"], ["tp", "fn"]),
    "specificity": (["tn"], ["tn", "fp"]),
    "ppv": (["tp"], ["tp", "fp"]),
    "npv": (["tn"], ["tn", "fn"]),
    "accuracy": (["tp", "tn"], ["tp", "fp", "fn", "tn"]),
}


def confusion(table: pd.DataFrame) -> pd.DataFrame:
    """Which cell of the confusion matrix each row falls in: (n, 4) 0 or 1."""
    positive, called = table["y_true"] == 1, table["score"] >= table["threshold"]
    cells = {"tp": positive & called, "fp": ~positive & called, "fn": positive & ~called, "tn": ~positive & ~called}
    return pd.DataFrame(cells).astype(int)


def ratio(part: float, whole: float) -> float:
    """A share; NaN where there is nothing to divide by."""
    return part / whole if whole else np.nan


def ratio_covariance(parts: NDArray[np.integer], wholes: NDArray[np.integer]) -> tuple[Floats, Floats]:
    """Proportions over clustered segments and their covariance: ratio estimators (Rao & Scott 1992).

    Parameters
    ----------
    parts, wholes : (I, k) segments counted and counted over, of each patient and proportion

    Returns
    -------
    proportions : (k,)
    covariance : (k, k) of ``x - m p`` over patients, times I / (I - 1) where I is the number of patients that have
        segments to count over; of two different proportions the number that have any, as in Obuchowski 1997

    Raises
    ------
    PredictionsError
        Fewer than two patients have segments to count over.
    """
    counted = (wholes > 0).sum(axis=0)
    if counted.min() < 2:
        raise PredictionsError(f"found {counted.min()} patients with segments to count over, expected at least 2")
    part, whole = parts.sum(axis=0), wholes.sum(axis=0)
    # Whole numbers until here, so that patients who all have the pooled proportion have a variance of exactly 0.
    residuals = (parts * whole - wholes * part) / whole.astype(np.float64) ** 2
    patients = np.full((len(counted), len(counted)), (wholes > 0).any(axis=1).sum())
    np.fill_diagonal(patients, counted)
    return part / whole, patients / (patients - 1) * (residuals.T @ residuals)


def per_patient(table: pd.DataFrame, names: list[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Segments counted and counted over (I, k) by each patient, for the proportions of these names."""
    counts = confusion(table).groupby(table["participant_id"].to_numpy()).sum()
    parts = [counts[PROPORTIONS[name][0]].sum(axis=1) for name in names]
    wholes = [counts[PROPORTIONS[name][1]].sum(axis=1) for name in names]
    return np.column_stack(parts), np.column_stack(wholes)


def interval(estimate: float, variance: float, level: float) -> dict[str, object]:
    """``low`` and ``high`` on the logit scale, and a ``note`` where they have no width."""
    low, high = roc.auc_interval(estimate, variance, level=level)
    note = "" if variance > 0 else "no variance between patients: the clustered interval has no width"
    return {"low": low, "high": high, "note": note}
