"""What follows from acting on a score: predictive values, operating points, net benefit."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from mflib.base.errors import InputError
from mflib.base.words import KEY
from mflib.stats import roc
from mflib.stats.performance.metrics import NO_WIDTH, combined_variance, per_patient, ratio_covariance
from mflib.stats.performance.predictions import RUN, check_same_segments, runs, undefined
from mflib.stats.performance.probability import unfit
from mflib.stats.roc.cases import Floats

OPTIMISTIC = "threshold chosen on the test scores: optimistic"


def predictive_values(
    predictions: pd.DataFrame, prevalences: Sequence[float] = (0.1, 0.2, 0.3, 0.4, 0.5), level: float = 0.95
) -> pd.DataFrame:
    """Predictive values where the share of positives is another than in this cohort.

    Parameters
    ----------
    predictions : the predictions table; sensitivity and specificity are pooled over its test folds
    prevalences : in (0, 1)
    level : confidence

    Returns
    -------
    DataFrame
        One row per model, split, repeat, prevalence and ``metric`` (ppv, npv): ``RUN``, ``prevalence``, ``metric``,
        ``value``, ``low``, ``high``, ``note`` (why a number is missing; empty otherwise). By Bayes' theorem from
        sensitivity and specificity; the interval by the delta method on the logit scale (Mercaldo, Lau & Zhou 2007,
        Stat Med 26:2170), here with the covariance of sensitivity and specificity over patients: the same patient
        adds to both. It takes both as the same at every prevalence.
    """
    wrong = [prevalence for prevalence in prevalences if not 0 < prevalence < 1]
    if wrong:
        raise InputError(f"found prevalences {wrong}, expected numbers between 0 and 1")
    rows = []
    for run, table in runs(predictions):
        try:
            (se, sp), covariance = ratio_covariance(*per_patient(table, ["sensitivity", "specificity"]))
        except InputError as error:
            for prevalence, name in product(prevalences, ("ppv", "npv")):
                rows.append({**run, "prevalence": prevalence, "metric": name, **undefined(str(error))})
            continue
        for prevalence in prevalences:
            ppv = _predictive(prevalence, (se, 1 - sp), covariance, level)
            npv = _predictive(1 - prevalence, (sp, 1 - se), covariance[::-1, ::-1], level)
            for name, value in (("ppv", ppv), ("npv", npv)):
                rows.append({**run, "prevalence": prevalence, "metric": name, **value})
    return pd.DataFrame(rows)


def operating_points(
    predictions: pd.DataFrame, specificities: Sequence[float] = (0.8, 0.9), sensitivities: Sequence[float] = (0.8, 0.9)
) -> pd.DataFrame:
    """Sensitivity at a fixed specificity, and specificity at a fixed sensitivity, on the pooled curve.

    The threshold is chosen on the very scores that it is judged by, so the point is optimistic, as the note says.

    Parameters
    ----------
    predictions : the predictions table
    specificities, sensitivities : at least to be reached

    Returns
    -------
    DataFrame
        One row per model, split, repeat and asked value: ``RUN``, ``fixed`` (specificity or sensitivity), ``at_least``,
        ``sensitivity``, ``specificity`` and ``threshold`` of the best point of the empirical curve that reaches it,
        ``note``. An infinite threshold, NaN here, calls no segment positive.
    """
    asked = [("specificity", least) for least in specificities] + [("sensitivity", least) for least in sensitivities]
    rows = []
    for run, table in runs(predictions):
        y_true, scores = table["y_true"].to_numpy(), table["score"].to_numpy()
        for fixed, least in asked:
            best = roc.sensitivity_at if fixed == "specificity" else roc.specificity_at
            threshold = best(y_true, scores, least)[1]
            called = scores >= threshold
            reached = {"sensitivity": called[y_true == 1].mean(), "specificity": (~called[y_true == 0]).mean()}
            point = {"threshold": threshold, "note": OPTIMISTIC}
            if np.isinf(threshold):
                point = {"threshold": np.nan, "note": f"no segment is called positive; {OPTIMISTIC}"}
            rows.append({**run, "fixed": fixed, "at_least": least, **reached, **point})
    return pd.DataFrame(rows)


def _predictive(prior: float, shares: tuple[float, float], covariance: Floats, level: float) -> dict[str, object]:
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
    reach = roc.z_value(level) * np.sqrt(variance)
    low, high = expit([centre - reach, centre + reach]).tolist()
    return {"value": float(expit(centre)), "low": low, "high": high, "note": "" if variance > 0 else NO_WIDTH}


TREAT_ALL, TREAT_NONE = "treat_all", "treat_none"
PROBABILITIES = tuple(percent / 100 for percent in range(2, 99, 2))


def decision_curve(
    predictions: pd.DataFrame,
    thresholds: Sequence[float] = PROBABILITIES,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """Net benefit of every model whose scores are probabilities, beside treating all and treating none.

    Parameters
    ----------
    predictions : the predictions table; its own thresholds play no part here
    thresholds : probabilities in (0, 1) from which a segment would be treated
    resamples, seed : of the bootstrap of patients
    level : confidence

    Returns
    -------
    DataFrame
        One row per model, split, repeat and threshold, also of the models "treat_all" and "treat_none": ``RUN``,
        ``threshold``, ``net_benefit``, ``low``, ``high`` (percentile interval over resampled patients), ``note``. Net
        benefit is TP / n - FP / n x t / (1 - t) (Vickers & Elkin 2006): true positives per segment, less the false
        ones at the exchange rate that the threshold implies. A model with scores outside [0, 1] has one row with a
        note and no numbers.

    Raises
    ------
    InputError
        Thresholds outside (0, 1); a model with the name of a strategy; models of one split and repeat on different
        segments.
    """
    wrong = [threshold for threshold in thresholds if not 0 < threshold < 1]
    if wrong or not len(thresholds):
        raise InputError(f"found thresholds {wrong}, expected numbers between 0 and 1")
    taken = sorted({TREAT_ALL, TREAT_NONE} & set(predictions["model"]))
    if taken:
        raise InputError(f"found models called {taken}, which are the strategies here, expected other names")
    asked, numbers = np.asarray(thresholds, dtype=np.float64), ["threshold", "net_benefit", "low", "high"]
    tables = []
    for run, of_run in [*runs(predictions), *_treated(predictions)]:
        reason = unfit(of_run)
        if reason is None:
            tables.append(_net_benefits(of_run, asked, resamples, seed, level).assign(**run))
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


def _net_benefits(run: pd.DataFrame, thresholds: Floats, resamples: int, seed: int, level: float) -> pd.DataFrame:
    called = run["score"].to_numpy()[:, None] >= thresholds
    positive = run["y_true"].to_numpy()[:, None] == 1
    gains = np.where(positive, called, called * -thresholds / (1 - thresholds))
    values = np.column_stack([gains, np.ones(len(run))])
    drawn = roc.resampled_sums(run["participant_id"], run["y_true"], values, resamples, seed)
    low, high = roc.percentiles(_per_segment(drawn), level)
    benefit = _per_segment(values.sum(axis=0)[None])[0]
    return pd.DataFrame({"threshold": thresholds, "net_benefit": benefit, "low": low, "high": high, "note": ""})


def _per_segment(sums: Floats) -> Floats:
    """Net benefit (r, t) from the sums of gains and the number of segments (r, t + 1)."""
    return sums[:, :-1] / sums[:, -1:]
