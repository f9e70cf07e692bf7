"""Differences between models on the same segments: of areas, of decisions, of several at once."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from mflib import roc
from mflib.performance.proportions import ratio_covariance
from mflib.performance.table import PredictionsError, models, paired, together, validate

# Which labels each proportion of right decisions counts over.
_DECISIONS = {"accuracy": (0, 1), "sensitivity": (1,), "specificity": (0,)}


def comparison(predictions: pd.DataFrame, model_a: str, model_b: str, level: float = 0.95) -> pd.DataFrame:
    """Difference of the pooled AUCs of two models on the same segments.

    Returns
    -------
    DataFrame
        Two rows per split and repeat that both models scored, ``method`` "clustered" (Obuchowski 1997, patients as
        clusters) and "naive DeLong" (segments as if independent): ``model_a``, ``model_b``, ``split``, ``repeat``,
        ``method``, ``n``, ``n_patients``, ``auc_a``, ``auc_b``, and from ``roc.compare`` ``difference``, ``se``, ``z``,
        ``p``, ``low``, ``high``.

    Raises
    ------
    PredictionsError
        As ``validate``; no split and repeat in common; or segments that only one of the two scored, or that carry
        different labels.
    roc.RocError
        Fewer than two patients with positives or with negatives, or a level outside (0, 1).
    """
    table = validate(predictions)
    rows = []
    for run, both in paired(table, model_a, model_b):
        scores = both[["score_a", "score_b"]]
        for method, groups in (("clustered", both["participant_id"]), ("naive DeLong", None)):
            test = roc.compare(both["y_true_a"], scores, groups, level).iloc[0]
            rows.append(
                {"model_a": model_a, "model_b": model_b, **run, "method": method}
                | {"n": len(both), "n_patients": both["participant_id"].nunique()}
                | {"auc_a": test["auc_first"], "auc_b": test["auc_second"]}
                | test[["difference", "se", "z", "p", "low", "high"]].to_dict()
            )
    return pd.DataFrame(rows)


def mcnemar(predictions: pd.DataFrame, model_a: str, model_b: str, level: float = 0.95) -> pd.DataFrame:
    """Difference of two models' right decisions on the same segments, at their frozen thresholds.

    Parameters
    ----------
    predictions : the predictions table
    model_a, model_b : the two models
    level : confidence

    Returns
    -------
    DataFrame
        For each split and repeat that both scored, each ``metric`` (accuracy, sensitivity, specificity) and each
        ``method``: ``model_a``, ``model_b``, ``split``, ``repeat``, ``metric``, ``method``, ``n``, ``n_patients``,
        ``only_a`` and ``only_b`` (segments that only one of the two decided rightly), ``difference`` (a minus b),
        ``low``, ``high``, ``z``, ``p`` (two-sided), ``note`` (why numbers are missing; empty otherwise).

        "clustered" is Obuchowski 1998 (Stat Med 17:1495), in the form of Yang, Sun & Hardin 2010: with d the
        patient's only_a minus only_b, z^2 = (I - 1) / I (sum d)^2 / sum d^2 over I patients. Its interval is that of
        a difference of ratio estimators. "naive McNemar" takes segments as independent: z^2 is McNemar's chi-square
        without continuity correction (Fagerland, Lydersen & Laake 2013), the interval Wald's. The variance of a test
        holds under no difference, that of an interval does not, so the two can disagree at the edge.

    Raises
    ------
    PredictionsError
        As ``comparison``.
    roc.RocError
        A level outside (0, 1).
    """
    roc.check_level(level)
    table = validate(predictions)
    rows = []
    for run, both in paired(table, model_a, model_b):
        for metric, labels in _DECISIONS.items():
            counted = both[both["y_true_a"].isin(labels)]
            right_a, right_b = (_right(counted, suffix) for suffix in ("_a", "_b"))
            discordant = {"only_a": int((right_a & ~right_b).sum()), "only_b": int((right_b & ~right_a).sum())}
            sizes = {"n": len(counted), "n_patients": counted["participant_id"].nunique()}
            excess = right_a.astype(int) - right_b.astype(int)
            for method, groups in (("clustered", counted["participant_id"]), ("naive McNemar", None)):
                row = {"model_a": model_a, "model_b": model_b, **run, "metric": metric, "method": method}
                rows.append({**row, **sizes, **discordant, **_decided(excess, groups, level)})
    return pd.DataFrame(rows)


def several(predictions: pd.DataFrame) -> pd.DataFrame:
    """One test of whether the pooled AUCs of all models are equal: chi-square on the same segments.

    Returns
    -------
    DataFrame
        Two rows per split and repeat with two models or more, ``method`` "clustered" (Obuchowski 1997) and "naive
        DeLong" (DeLong 1988): ``split``, ``repeat``, ``method``, ``models``, ``n``, ``n_patients``, ``statistic``,
        ``df``, ``p``.

    Raises
    ------
    PredictionsError
        As ``validate``; no split and repeat with two models; segments that not all scored, or with different labels.
    roc.RocError
        As ``roc.joint``.
    """
    table = validate(predictions)
    rows = []
    for run, segments, scores in together(table):
        names, patients = list(scores), segments["participant_id"]
        sizes = {"models": ", ".join(names), "n": len(segments), "n_patients": patients.nunique()}
        for method, groups in (("clustered", patients), ("naive DeLong", None)):
            if len(names) >= 2:
                test = roc.joint(segments["y_true"], scores, groups)
                numbers = {"statistic": test.statistic, "df": test.df, "p": test.p}
                rows.append({**run, "method": method, **sizes, **numbers})
    if not rows:
        raise PredictionsError(f"found the models {models(table)}, expected two or more in one split and repeat")
    return pd.DataFrame(rows)


def _right(both: pd.DataFrame, suffix: str) -> NDArray[np.bool_]:
    """Which segments (n,) a model decides rightly."""
    called = both[f"score{suffix}"] >= both[f"threshold{suffix}"]
    return (called == (both[f"y_true{suffix}"] == 1)).to_numpy()


def _decided(excess: NDArray[np.int64], groups: pd.Series | None, level: float) -> dict[str, object]:
    """Test and interval of the mean of ``excess`` (n,), 1 where only a is right, -1 where only b is."""
    undefined = dict.fromkeys(("difference", "low", "high", "z", "p"), np.nan)
    codes = np.arange(len(excess)) if groups is None else pd.factorize(groups)[0]
    d, m = np.bincount(codes, excess), np.bincount(codes)
    if len(m) < 2:
        unit = "segments" if groups is None else "patients with segments"
        return {**undefined, "note": f"found {len(m)} {unit} to count over, expected at least 2"}
    squares, small_sample = float(d @ d), (len(d) - 1) / len(d)
    difference, variance = ratio_covariance(d[:, None], m[:, None])
    # Obuchowski's variances have the factor I / (I - 1), McNemar's and Wald's of single segments have none.
    of_test, of_interval = (small_sample, 1.0) if groups is not None else (1.0, small_sample)
    z = float(d.sum() * np.sqrt(of_test / squares)) if squares else 0.0
    reach = float(norm.ppf((1 + level) / 2)) * float(np.sqrt(of_interval * variance[0, 0]))
    centre = float(difference[0])
    note = "" if squares else "no patient in whom one model is right more often"
    numbers = {"difference": centre, "low": centre - reach, "high": centre + reach}
    return {**numbers, "z": z, "p": float(2 * norm.sf(abs(z))), "note": note}
