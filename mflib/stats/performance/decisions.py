"""What follows from acting on a score: predictive values, operating points, net benefit."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from mflib.base.errors import InputError
from mflib.base.words import KEY
from mflib.stats import roc
from mflib.stats.performance.metrics import (
    NO_WIDTH,
    PROPORTIONS,
    combined_variance,
    confusion,
    estimated,
    per_patient,
    ratio_covariance,
)
from mflib.stats.performance.predictions import RUN, check_one_run, check_same_segments, runs, undefined
from mflib.stats.performance.probability import unfit
from mflib.stats.roc.cases import Floats

FIXED = tuple(product(("specificity", "sensitivity"), (0.8, 0.9)))
PREVALENCES = (0.1, 0.2, 0.3, 0.4, 0.5)
OPTIMISTIC = "threshold chosen on the test scores: optimistic"


def predictive_values(predictions: pd.DataFrame) -> pd.DataFrame:
    """Predictive values where the share of positives is another than in this cohort.

    Parameters
    ----------
    predictions : the predictions table; sensitivity and specificity are pooled over its test folds

    Returns
    -------
    DataFrame
        One row per model, split, repeat, one of ``PREVALENCES`` and ``metric`` (ppv, npv): ``RUN``, ``prevalence``,
        ``metric``, ``value``, ``low``, ``high``, ``note`` (why a number is missing; empty otherwise). By Bayes' theorem
        from sensitivity and specificity; the interval by the delta method on the logit scale (Mercaldo, Lau & Zhou
        2007, Stat Med 26:2170), here with the covariance of sensitivity and specificity over patients: the same patient
        adds to both. It takes both as the same at every prevalence.
    """
    rows = []
    for run, table in runs(predictions):
        try:
            (se, sp), covariance = ratio_covariance(*per_patient(table, ["sensitivity", "specificity"]))
        except InputError as error:
            for prevalence, name in product(PREVALENCES, ("ppv", "npv")):
                rows.append({**run, "prevalence": prevalence, "metric": name, **undefined(str(error))})
            continue
        for prevalence in PREVALENCES:
            ppv = _predictive(prevalence, (se, 1 - sp), covariance)
            npv = _predictive(1 - prevalence, (sp, 1 - se), covariance[::-1, ::-1])
            for name, value in (("ppv", ppv), ("npv", npv)):
                rows.append({**run, "prevalence": prevalence, "metric": name, **value})
    return pd.DataFrame(rows)


def operating_points(predictions: pd.DataFrame) -> pd.DataFrame:
    """Sensitivity at a fixed specificity, and specificity at a fixed sensitivity, on the pooled curve.

    The threshold is chosen on the very scores that it is judged by, so the point is optimistic, as the note says.

    Returns
    -------
    DataFrame
        One row per model, split, repeat and ``FIXED`` value: ``RUN``, ``fixed`` (specificity or sensitivity),
        ``at_least``, ``sensitivity``, ``specificity`` and ``threshold`` of the best point of the empirical curve that
        reaches it, ``note``. An infinite threshold, NaN here, calls no segment positive.
    """
    rows = []
    for run, table in runs(predictions):
        y_true, scores = table["y_true"].to_numpy(), table["score"].to_numpy()
        for fixed, least in FIXED:
            threshold = roc.threshold_at(y_true, scores, fixed, least)
            called = scores >= threshold
            reached = {"sensitivity": called[y_true == 1].mean(), "specificity": (~called[y_true == 0]).mean()}
            point = {"threshold": threshold, "note": OPTIMISTIC}
            if np.isinf(threshold):
                point = {"threshold": np.nan, "note": f"no segment is called positive; {OPTIMISTIC}"}
            rows.append({**run, "fixed": fixed, "at_least": least, **reached, **point})
    return pd.DataFrame(rows)


def _predictive(prior: float, shares: tuple[float, float], covariance: Floats) -> dict[str, object]:
    """Share of the truly such among those called so.

    ``shares`` are those of the truly such and of the others that are called so; ``covariance`` that of sensitivity and
    specificity, the one of the truly such first.
    """
    hit, miss = shares
    if hit == 0 or miss == 0:
        value = np.nan if hit == miss else float(hit > 0)
        reason = "no segment is called so" if hit == miss else "only one class is called so"
        return {**undefined(f"no interval: {reason}"), "value": value}
    centre = float(logit(prior) + np.log(hit) - np.log(miss))
    # d logit / d sensitivity = 1 / hit, d logit / d specificity = 1 / miss, for NPV the other way round.
    variance = combined_variance([1 / hit, 1 / miss], covariance)
    reach = roc.REACH * np.sqrt(variance)
    low, high = expit([centre - reach, centre + reach]).tolist()
    return {"value": float(expit(centre)), "low": low, "high": high, "note": "" if variance > 0 else NO_WIDTH}


TREAT_ALL, TREAT_NONE = "treat_all", "treat_none"
# From which a segment would be called infiltrated, or treated.
PROBABILITIES = np.array([percent / 100 for percent in range(2, 99, 2)])


def over_thresholds(predictions: pd.DataFrame) -> pd.DataFrame:
    """What each threshold would make of the out-of-fold probabilities; models without probabilities are left out.

    Parameters
    ----------
    predictions : of ``calibrated``, one split and repeat

    Returns
    -------
    DataFrame
        One row per model, threshold (``PROBABILITIES``), ``metric`` and ``prevalence`` (NaN: the cohort's own; others,
        of PPV and NPV, as `predictive_values`): ``model``, ``threshold``, ``metric``, ``prevalence``, ``value``,
        ``low``, ``high``, ``note``; of the metrics tp, fp, fn and tn the value is a count. A threshold that a reader
        chooses here is chosen on the test scores: optimistic, as `operating_points`.
    """
    check_one_run(predictions, "every model")
    rows = []
    for run, table in runs(predictions):
        if unfit(table) is not None:
            continue
        for threshold in PROBABILITIES:
            at = table.assign(threshold=threshold)
            found = confusion(at).sum().to_dict()
            known = {"model": run["model"], "threshold": threshold, "prevalence": np.nan, "note": ""}
            rows += [{**known, "metric": cell, "value": count} for cell, count in found.items()]
            parts, wholes = per_patient(at, list(PROPORTIONS))
            for n, name in enumerate(PROPORTIONS):
                ends = estimated("value", ratio_covariance, parts[:, [n]], wholes[:, [n]])
                rows.append({**known, "metric": name, **ends})
            others = predictive_values(at).drop(columns=["split", "repeat"])
            rows += others.assign(threshold=threshold).to_dict("records")
    return pd.DataFrame(rows, columns=["model", "threshold", "metric", "prevalence", "value", "low", "high", "note"])


def decision_curve(predictions: pd.DataFrame, resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Net benefit of every model whose scores are probabilities, beside treating all and treating none.

    Parameters
    ----------
    predictions : the predictions table; its own thresholds play no part here
    resamples, seed : of the bootstrap of patients

    Returns
    -------
    DataFrame
        One row per model, split, repeat and threshold (``PROBABILITIES``), also of the models "treat_all" and
        "treat_none": ``RUN``, ``threshold``, ``net_benefit``, ``low``, ``high`` (percentile interval over resampled
        patients), ``note``. Net benefit is TP / n - FP / n x t / (1 - t) (Vickers & Elkin 2006): true positives per
        segment, less the false ones at the exchange rate that the threshold implies. A model with scores outside [0, 1]
        has one row with a note and no numbers.

    Raises
    ------
    InputError
        A model with the name of a strategy; models of one split and repeat on different segments.
    """
    taken = sorted({TREAT_ALL, TREAT_NONE} & set(predictions["model"]))
    if taken:
        raise InputError(f"found models called {taken}, which are the strategies here, expected other names")
    numbers = ["threshold", "net_benefit", "low", "high"]
    tables = []
    for run, of_run in [*runs(predictions), *_treated(predictions)]:
        reason = unfit(of_run)
        if reason is None:
            tables.append(_net_benefits(of_run, resamples, seed).assign(**run))
        else:
            tables.append(pd.DataFrame([{**run, **undefined(reason, numbers)}]))
    return pd.concat(tables, ignore_index=True)[[*RUN, *numbers, "note"]]


def _treated(table: pd.DataFrame) -> list[tuple[dict[str, object], pd.DataFrame]]:
    """The two strategies that ask no model, as runs: every score is 1, or 0."""
    found = []
    for (split, repeat), rows in table.groupby(["split", "repeat"], sort=True):
        check_same_segments(rows)
        segments = rows.drop_duplicates(KEY)
        for name, score in ((TREAT_ALL, 1.0), (TREAT_NONE, 0.0)):
            found.append(({"model": name, "split": split, "repeat": int(repeat)}, segments.assign(score=score)))
    return found


def _net_benefits(run: pd.DataFrame, resamples: int, seed: int) -> pd.DataFrame:
    called = run["score"].to_numpy()[:, None] >= PROBABILITIES
    positive = run["y_true"].to_numpy()[:, None] == 1
    gains = np.where(positive, called, called * -PROBABILITIES / (1 - PROBABILITIES))
    values = np.column_stack([gains, np.ones(len(run))])
    drawn = roc.resampled_sums(run["participant_id"], run["y_true"], values, resamples, seed)
    low, high = roc.percentiles(_per_segment(drawn))
    benefit = _per_segment(values.sum(axis=0)[None])[0]
    return pd.DataFrame({"threshold": PROBABILITIES, "net_benefit": benefit, "low": low, "high": high, "note": ""})


def _per_segment(sums: Floats) -> Floats:
    """Net benefit (r, t) from the sums of gains and the number of segments (r, t + 1)."""
    return sums[:, :-1] / sums[:, -1:]
