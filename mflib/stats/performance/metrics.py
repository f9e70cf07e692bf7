"""Metrics of each model per fold, over folds, pooled with patients as clusters, and in the paper's form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import roc_auc_score
from statsmodels.stats.inter_rater import cohens_kappa
from statsmodels.stats.proportion import proportion_confint

from mflib.base.errors import InputError
from mflib.stats import roc
from mflib.stats.performance.predictions import RUN, check_one_run, runs, undefined
from mflib.stats.roc.area import ROUNDING
from mflib.stats.roc.cases import Floats, one_column

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
    """
    counted = (wholes > 0).sum(axis=0)
    if counted.min() < 2:
        raise InputError(f"found {counted.min()} patients with segments to count over, expected at least 2")
    part, whole = parts.sum(axis=0), wholes.sum(axis=0)
    # Whole numbers until here, so that patients who all have the pooled proportion have a variance of exactly 0.
    residuals = (parts * whole - wholes * part) / whole.astype(np.float64) ** 2
    patients = np.full((len(counted), len(counted)), (wholes > 0).any(axis=1).sum())
    np.fill_diagonal(patients, counted)
    return part / whole, patients / (patients - 1) * (residuals.T @ residuals)


def combined_variance(weights: ArrayLike, covariance: Floats) -> float:
    """Variance of a weighted sum of estimates; where the terms cancel, what rounding leaves is no variance."""
    by = np.asarray(weights, dtype=np.float64)
    variance = float(by @ covariance @ by)
    return variance if variance > ROUNDING * float(np.abs(by) @ np.abs(covariance) @ np.abs(by)) else 0.0


def per_patient(table: pd.DataFrame, names: list[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Segments counted and counted over (I, k) by each patient, for the proportions of these names."""
    counts = confusion(table).groupby(table["participant_id"].to_numpy()).sum()
    parts = [counts[PROPORTIONS[name][0]].sum(axis=1) for name in names]
    wholes = [counts[PROPORTIONS[name][1]].sum(axis=1) for name in names]
    return np.column_stack(parts), np.column_stack(wholes)


NO_WIDTH = "no variance between patients: the clustered interval has no width"


def estimated(name: str, estimator: Callable[..., tuple[Floats, Floats]], *arguments: Any) -> dict[str, object]:
    """An estimate with ``se``, ``low`` and ``high`` (logit scale); NaN and a ``note`` where it cannot be made."""
    try:
        value, covariance = estimator(*arguments)
    except InputError as error:
        return undefined(str(error), (name, "se", "low", "high"))
    estimate, variance = float(value[0]), float(covariance[0, 0])
    low, high = roc.auc_interval(estimate, variance)
    note = "" if variance > 0 else NO_WIDTH
    return {name: estimate, "se": float(np.sqrt(variance)), "low": low, "high": high, "note": note}


def kappa(table: ArrayLike, weights: str | None = None) -> float | None:
    """Cohen's kappa of a table of counts; None where both readers gave one and the same grade throughout: 0 / 0."""
    counts = np.asarray(table)
    if np.diag(counts).max() == counts.sum():
        return None
    # Rounding leaves 1e-16 of what cancels.
    return round(float(cohens_kappa(counts, wt=weights, return_results=False)), 12)


def grade_pairs(first: NDArray[np.integer], second: NDArray[np.integer]) -> Floats:
    """Which cell of the table of two gradings (0-3) each segment falls in: (n, 16) 0 or 1, its sum is that table."""
    return np.eye(16)[4 * first + second]


METRICS = [*PROPORTIONS, "auc"]
PAPER_ORDER = ["accuracy", "ppv", "npv", "sensitivity", "specificity", "auc"]
_NO_NAIVE = {"naive_low": np.nan, "naive_high": np.nan}


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
    """
    rows = [
        {**dict(zip([*RUN, "fold"], key, strict=True)), **_metrics(fold)}
        for key, fold in predictions.groupby([*RUN, "fold"], sort=True)
    ]
    return pd.DataFrame(rows)


def summary(predictions: pd.DataFrame) -> pd.DataFrame:
    """Every metric of each model, split and repeat: over its test folds and pooled, with intervals.

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
    """
    rows = []
    for key, run in predictions.groupby(RUN, sort=True):
        folds = pd.DataFrame([_metrics(fold) for _, fold in run.groupby("fold", sort=True)])
        for metric in METRICS:
            pooled = _pooled_auc(run) if metric == "auc" else pooled_proportion(run, metric)
            values = folds[metric]
            over = {"mean": values.mean(), "sd": values.std(ddof=0)}
            over |= {"folds": len(values), "folds_defined": values.count()}
            rows.append({**dict(zip(RUN, key, strict=True)), "metric": metric, **over, **pooled})
    return pd.DataFrame(rows).drop(columns="se")


def fold_mean_auc(predictions: pd.DataFrame) -> pd.DataFrame:
    """Mean of the folds' AUCs with an interval, beside the pooled AUC.

    A fold's AUC ranks only scores of one fitted model, so the mean asks for no common scale, as the pooled AUC does.

    Returns
    -------
    DataFrame
        One row per model, split and repeat: ``RUN``, ``n_folds``, ``mean``, ``se``, ``low``, ``high`` (influence curves
        summed over patients, LeDell, Petersen & van der Laan 2015, on the logit scale), ``pooled``, ``note`` (why
        numbers are missing, such as a fold in which one patient has all positives; empty otherwise).
    """
    rows = []
    for run, table in runs(predictions):
        cases = table["y_true"], table["score"], table["fold"], table["participant_id"]
        mean = estimated("mean", roc.fold_mean, *cases)
        rows.append({**run, "n_folds": table["fold"].nunique(), "pooled": _auc(table), **mean})
    return pd.DataFrame(rows)[[*RUN, "n_folds", "mean", "se", "low", "high", "pooled", "note"]]


def chance(trained: pd.DataFrame) -> pd.DataFrame:
    """How far the mean of the folds' AUCs moves where a model is trained again.

    Parameters
    ----------
    trained : predictions tables in one, each training of a model a ``repeat`` of its own

    Returns
    -------
    DataFrame
        One row per model: ``model``, ``trained`` (how often), ``mean``, ``sd`` (sample SD; missing for one training),
        ``lowest``, ``highest`` of the means of folds.
    """
    means = fold_mean_auc(trained).groupby("model", sort=False)["mean"]
    return means.agg(trained="size", mean="mean", sd="std", lowest="min", highest="max").reset_index()


def paper_table(predictions: pd.DataFrame, model: str) -> pd.DataFrame:
    """The metrics of one model in the form of the paper's tables 2 and 3.

    Parameters
    ----------
    predictions : the predictions table, narrowed to one split and repeat
    model : whose table

    Returns
    -------
    DataFrame
        One row per fold: ``fold``, ``accuracy_pct``, ``ppv_pct``, ``npv_pct``, ``sensitivity_pct``,
        ``specificity_pct`` (percent), ``auc``; NaN where undefined.

    Raises
    ------
    InputError
        The model is not there, or in several splits or repeats.
    """
    folds = metrics_per_fold(predictions)
    of_model = folds[folds["model"] == model]
    check_one_run(of_model, f"the model {model!r}")
    metrics = of_model.set_index("fold")[PAPER_ORDER]
    percent = metrics.drop(columns="auc").mul(100).add_suffix("_pct")
    return percent.assign(auc=metrics["auc"]).reset_index()


def comparison_table(predictions: pd.DataFrame, model_a: str, model_b: str) -> pd.DataFrame:
    """Mean and population SD over folds of two models, in the form of the paper's table 4.

    Parameters
    ----------
    predictions : the predictions table, narrowed to one split and repeat
    model_a, model_b : the two models

    Returns
    -------
    DataFrame
        One row per metric: ``metric``, and for each model ``{model}_mean``, ``{model}_sd``, ``{model}_folds`` (folds
        where the metric is defined).
    """
    table = pd.DataFrame()
    for model in (model_a, model_b):
        folds = paper_table(predictions, model).set_index("fold")
        table[f"{model}_mean"] = folds.mean()
        table[f"{model}_sd"] = folds.std(ddof=0)
        table[f"{model}_folds"] = folds.count()
    return table.rename_axis("metric").reset_index()


def _metrics(fold: pd.DataFrame) -> dict[str, float]:
    counts = confusion(fold).sum()
    shares = {name: _share(counts[of].sum(), counts[over].sum()) for name, (of, over) in PROPORTIONS.items()}
    sizes = {"n": len(fold), "n_positive": int(fold["y_true"].sum()), **counts.to_dict()}
    return {**sizes, **shares, "auc": _auc(fold)}


def _share(part: int, whole: int) -> float:
    """NaN where there is nothing to divide by."""
    return part / whole if whole else np.nan


def _auc(table: pd.DataFrame) -> float:
    """Area under the curve; NaN where there is one class only."""
    return float(roc_auc_score(table["y_true"], table["score"])) if table["y_true"].nunique() == 2 else np.nan


def _pooled_auc(run: pd.DataFrame) -> dict[str, object]:
    cases = run["y_true"], run["score"]
    found = estimated("pooled", roc.auc_covariance, *cases, run["participant_id"])
    if pd.isna(found["pooled"]):
        return {**found, "pooled": _auc(run), **_NO_NAIVE}
    naive = estimated("pooled", roc.auc_covariance, *cases)
    return {**found, "naive_low": naive["low"], "naive_high": naive["high"]}


def pooled_proportion(run: pd.DataFrame, metric: str) -> dict[str, object]:
    """A proportion over all segments, its interval by the ratio estimator."""
    parts, wholes = per_patient(run, [metric])
    x, m = int(parts.sum()), int(wholes.sum())
    found = estimated("pooled", ratio_covariance, parts, wholes)
    if pd.isna(found["pooled"]):
        return {**found, "pooled": _share(x, m), **_NO_NAIVE}
    low, high = proportion_confint(x, m, alpha=1 - roc.CONFIDENCE, method="wilson")
    return {**found, "naive_low": low, "naive_high": high}
