"""Metrics of each model per fold, over folds and pooled, and the threshold that a validation part gives."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.metrics import roc_auc_score
from statsmodels.stats.proportion import proportion_confint

from mflib import roc
from mflib.performance.proportions import PROPORTIONS, confusion, interval, per_patient, ratio, ratio_covariance
from mflib.performance.table import RUN, PredictionsError, runs, validate
from mflib.roc.cases import one_column

METRICS = [*PROPORTIONS, "auc"]
_NO_INTERVAL = dict.fromkeys(("low", "high", "naive_low", "naive_high"), np.nan)


def youden_threshold(y_true: ArrayLike, scores: ArrayLike) -> float:
    """Threshold with the highest sensitivity + specificity - 1 (Youden 1950).

    Parameters
    ----------
    y_true : (n,) 0 or 1
    scores : (n,) higher means more likely positive

    Returns
    -------
    float
        A score >= threshold is called positive. It lies midway between two neighbouring distinct scores. Of equally
        good ones the highest is taken (the most specific). Where nothing beats calling every segment positive, it is
        the lowest score.

    Raises
    ------
    roc.RocError
        One class only, non-finite scores, lengths that differ, more than one column of scores.
    """
    positive, column = one_column(y_true, scores)
    distinct, position = np.unique(column, return_inverse=True)
    positives = np.bincount(position[positive], minlength=len(distinct))
    negatives = np.bincount(position[~positive], minlength=len(distinct))
    # Cases at or above each distinct score; in whole numbers equally good thresholds are exactly equal.
    true_positives = positives[::-1].cumsum()[::-1]
    false_positives = negatives[::-1].cumsum()[::-1]
    youden = true_positives * negatives.sum() - false_positives * positives.sum()
    best = len(distinct) - 1 - int(np.argmax(youden[::-1]))
    if youden[best] <= 0:
        return float(distinct[0])
    below, above = float(distinct[best - 1]), float(distinct[best])
    midway = below / 2 + above / 2  # halved first, as the sum of two large numbers is infinite
    return midway if midway > below else above  # neighbouring floats have no number between them


def metrics_per_fold(predictions: pd.DataFrame) -> pd.DataFrame:
    """Counts and metrics of each model, split, repeat and fold at the frozen thresholds.

    Returns
    -------
    DataFrame
        ``RUN``, ``fold``, ``n``, ``n_positive``, ``tp``, ``fp``, ``fn``, ``tn``, then ``METRICS`` in [0, 1]. NaN marks
        an undefined metric: nothing to divide by, or an AUC in a fold of one class. ``summary`` counts the rest.

    Raises
    ------
    PredictionsError
        As ``validate``.
    """
    table = validate(predictions)
    rows = [
        {**dict(zip([*RUN, "fold"], key, strict=True)), **_metrics(fold)}
        for key, fold in table.groupby([*RUN, "fold"], sort=True)
    ]
    return pd.DataFrame(rows)


def summary(predictions: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """Every metric of each model, split and repeat: over folds and pooled, with intervals.

    Parameters
    ----------
    predictions : the predictions table; fold means and pooled values are of its test folds
    level : confidence

    Returns
    -------
    DataFrame
        One row per model, split, repeat and metric: ``RUN``, ``metric``, ``mean`` and ``sd`` over the folds where it is
        defined (population SD, as the paper's), ``folds`` and ``folds_defined``, ``pooled`` over all segments,
        ``low`` and ``high`` (clustered by patient, logit scale), ``naive_low`` and ``naive_high`` (as if segments were
        independent), ``note`` (why a value or an interval is missing or has no width; empty otherwise).

        The pooled AUC ranks scores of different folds' models against each other, so it asks that they share a scale.
        Its intervals are Obuchowski 1997 and, naive, DeLong 1988. Those of proportions are the ratio estimator
        (Rao & Scott 1992) and, naive, Wilson's.

    Raises
    ------
    PredictionsError
        As ``validate``.
    roc.RocError
        A level outside (0, 1).
    """
    roc.check_level(level)
    table = validate(predictions)
    folds = metrics_per_fold(table)
    rows = []
    for key, run in table.groupby(RUN, sort=True):
        of_run = folds[(folds[RUN] == list(key)).all(axis=1)]
        for metric in METRICS:
            pooled = _pooled_auc(run, level) if metric == "auc" else _pooled_proportion(run, metric, level)
            rows.append({**dict(zip(RUN, key, strict=True)), "metric": metric, **_over_folds(of_run[metric]), **pooled})
    return pd.DataFrame(rows)


def fold_mean_auc(predictions: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """Mean of the folds' AUCs with an interval, beside the pooled AUC.

    A fold's AUC ranks only scores of one fitted model, so the mean asks for no common scale, as the pooled AUC does.

    Parameters
    ----------
    predictions : the predictions table
    level : confidence

    Returns
    -------
    DataFrame
        One row per model, split and repeat: ``RUN``, ``n_folds``, ``mean``, ``se``, ``low``, ``high`` (influence curves
        summed over patients, LeDell, Petersen & van der Laan 2015, on the logit scale), ``pooled``, ``note`` (why
        numbers are missing, such as a fold in which one patient has all positives; empty otherwise).

    Raises
    ------
    PredictionsError
        As ``validate``.
    roc.RocError
        A level outside (0, 1).
    """
    roc.check_level(level)
    rows = []
    for run, table in runs(validate(predictions)):
        found = {**run, "n_folds": table["fold"].nunique(), "pooled": _auc(table)}
        try:
            auc, variance = roc.fold_mean(table["y_true"], table["score"], table["fold"], table["participant_id"])
        except roc.RocError as error:
            rows.append({**found, **dict.fromkeys(("mean", "se", "low", "high"), np.nan), "note": str(error)})
            continue
        mean, spread = float(auc[0]), float(variance[0, 0])
        rows.append({**found, "mean": mean, "se": float(np.sqrt(spread)), **interval(mean, spread, level)})
    return pd.DataFrame(rows)[[*RUN, "n_folds", "mean", "se", "low", "high", "pooled", "note"]]


def _metrics(fold: pd.DataFrame) -> dict[str, float]:
    counts = {cell: int(rows.sum()) for cell, rows in confusion(fold).items()}
    proportions = {
        name: ratio(sum(counts[cell] for cell in of), sum(counts[cell] for cell in over))
        for name, (of, over) in PROPORTIONS.items()
    }
    return {"n": len(fold), "n_positive": int(fold["y_true"].sum()), **counts, **proportions, "auc": _auc(fold)}


def _auc(table: pd.DataFrame) -> float:
    """Area under the curve; NaN where there is one class only."""
    return float(roc_auc_score(table["y_true"], table["score"])) if table["y_true"].nunique() == 2 else np.nan


def _over_folds(values: pd.Series) -> dict[str, float]:
    return {"mean": values.mean(), "sd": values.std(ddof=0), "folds": len(values), "folds_defined": values.count()}


def _pooled_auc(run: pd.DataFrame, level: float) -> dict[str, object]:
    y_true, scores = run["y_true"], run["score"]
    try:
        auc, clustered = roc.auc_covariance(y_true, scores, run["participant_id"])
    except roc.RocError as error:
        return {"pooled": _auc(run), **_NO_INTERVAL, "note": str(error)}
    _, naive = roc.auc_covariance(y_true, scores)
    low, high = roc.auc_interval(float(auc[0]), float(naive[0, 0]), level=level)
    return _clustered(float(auc[0]), float(clustered[0, 0]), level) | {"naive_low": low, "naive_high": high}


def _pooled_proportion(run: pd.DataFrame, metric: str, level: float) -> dict[str, object]:
    """A proportion over all segments, its interval by the ratio estimator."""
    parts, wholes = per_patient(run, [metric])
    x, m = int(parts.sum()), int(wholes.sum())
    try:
        proportion, variance = ratio_covariance(parts, wholes)
    except PredictionsError as error:
        return {"pooled": ratio(x, m), **_NO_INTERVAL, "note": str(error)}
    low, high = proportion_confint(x, m, alpha=1 - level, method="wilson")
    return _clustered(float(proportion[0]), float(variance[0, 0]), level) | {"naive_low": low, "naive_high": high}


def _clustered(estimate: float, variance: float, level: float) -> dict[str, object]:
    return {"pooled": estimate, **interval(estimate, variance, level)}
