"""The same models on a second cohort: what is lost on the way, and probabilities brought to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import norm

from mflib.base.errors import InputError
from mflib.base.words import KEY
from mflib.stats import roc
from mflib.stats.performance import probability
from mflib.stats.performance.differences import comparison
from mflib.stats.performance.metrics import METRICS, Floats, per_patient, ratio_covariance, summary
from mflib.stats.performance.predictions import COLUMNS, RUN, models, runs, validate
from mflib.stats.performance.probability import Labels, unfit

_TEST = ("difference", "low", "high", "p")


def transport(own: pd.DataFrame, external: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """Every metric of each model on its own cohort and on an external one, and what is lost on the way.

    Parameters
    ----------
    own : predictions table of the cohort that the models learnt from, out of fold, one split and repeat
    external : predictions table of patients that are not in it, one split and repeat
    level : confidence

    Returns
    -------
    DataFrame
        One row per model that stands in both and metric: ``model``, ``metric``, ``own``, ``own_low``, ``own_high``,
        ``external``, ``external_low``, ``external_high`` (pooled over segments, clustered by patient as ``summary``),
        ``difference`` (external minus own), ``low``, ``high``, ``p`` (normal, two-sided; the variances of two
        independent cohorts add; missing where one of them is 0), ``note`` (why a number is missing or an interval has
        no width; empty otherwise).

        The two are not quite the same thing: out of fold each segment is scored by one fold's model, elsewhere by what
        all folds' models say together.

    Raises
    ------
    InputError
        As ``validate``; several splits or repeats of one cohort; no model in common.
    InputError
        A level outside (0, 1).
    """
    roc.check_level(level)
    tables = [_one_run(table) for table in (own, external)]
    common = [model for model in models(tables[0]) if model in set(tables[1]["model"])]
    if not common:
        raise InputError(f"found the models {models(own)} and {models(external)}, expected one in common")
    of_own, of_external = (summary(table, level).set_index(["model", "metric"]) for table in tables)
    rows = []
    for model in common:
        first, second = (table[table["model"] == model] for table in tables)
        for metric in METRICS:
            here, there = of_own.loc[(model, metric)], of_external.loc[(model, metric)]
            tested = _auc_lost(first, second, level) if metric == "auc" else _lost(first, second, metric, level)
            if here["low"] == here["high"] or there["low"] == there["high"]:
                # A side without variance is not known for certain, as a sum of variances would take it.
                tested = (tested[0], np.nan, np.nan, np.nan)
            row = {"model": model, "metric": metric, **_side(here, "own"), **_side(there, "external")}
            notes = [f"{side}: {of['note']}" for side, of in (("own", here), ("external", there)) if of["note"]]
            rows.append({**row, **dict(zip(_TEST, tested, strict=True)), "note": "; ".join(notes)})
    return pd.DataFrame(rows)


def paired_areas(predictions: pd.DataFrame, model_a: str, model_b: str, level: float = 0.95) -> pd.DataFrame:
    """As ``comparison``, with a ``note`` in place of the numbers where a cohort is too small or of one class.

    Raises
    ------
    InputError
        As ``comparison``.
    InputError
        A level outside (0, 1).
    """
    roc.check_level(level)
    try:
        return comparison(predictions, model_a, model_b, level).assign(note="")
    except InputError as error:
        row: dict[str, object] = {"model_a": model_a, "model_b": model_b, "method": "clustered"}
        row |= {"n": len(predictions.drop_duplicates(KEY)), "n_patients": predictions["participant_id"].nunique()}
        nothing = dict.fromkeys(("auc_a", "auc_b", "difference", "se", "z", "p", "low", "high"), np.nan)
        return pd.DataFrame([{**row, **nothing, "note": str(error)}])


def _one_run(predictions: pd.DataFrame) -> pd.DataFrame:
    table = validate(predictions)
    found = table[RUN[1:]].drop_duplicates()
    if len(found) != 1:
        raise InputError(f"found {found.to_dict('records')}, expected one split and repeat of a cohort")
    return table


def _side(row: pd.Series, side: str) -> dict[str, float]:
    return {side: row["pooled"], f"{side}_low": row["low"], f"{side}_high": row["high"]}


def _auc_lost(own: pd.DataFrame, external: pd.DataFrame, level: float) -> tuple[float, ...]:
    there, here = ([of[column] for column in ("y_true", "score", "participant_id")] for of in (external, own))
    try:
        test = roc.unpaired(there[0], there[1], here[0], here[1], there[2], here[2], level)
    except InputError:
        return (np.nan,) * len(_TEST)
    return test.difference, test.low, test.high, test.p


def _lost(own: pd.DataFrame, external: pd.DataFrame, metric: str, level: float) -> tuple[float, ...]:
    try:
        (here, of_here), (there, of_there) = (ratio_covariance(*per_patient(t, [metric])) for t in (own, external))
    except InputError:
        return (np.nan,) * len(_TEST)
    difference, se = float(there[0] - here[0]), float(np.sqrt(of_here[0, 0] + of_there[0, 0]))
    reach = float(norm.ppf((1 + level) / 2)) * se
    p = float(2 * norm.sf(abs(difference) / se)) if se else np.nan
    return difference, difference - reach, difference + reach, p


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
    InputError
        As ``validate``, or an unknown method.
    InputError
        A level outside (0, 1).
    """
    roc.check_level(level)
    if method not in UPDATES:
        raise InputError(f"found the method {method!r}, expected one of {', '.join(UPDATES)}")
    updated, rows = [], []
    for run, table in runs(validate(predictions)):
        reason = unfit(table) or _unfit_without(table, method)
        note = reason or probability.to_log_odds(table["score"])[1]
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
        model = probability.logistic_regression(x[~own], y[~own], slope="slope" in UPDATES[method])
        coefficients = model.fit(_start(x[~own], y[~own], method)).params
        slope = 1.0 if len(coefficients) == 1 else coefficients[1]
        scores[own] = expit(coefficients[0] + slope * x[own])
    return table.assign(score=scores)


def _update(table: pd.DataFrame, method: str, level: float) -> list[dict[str, Any]]:
    """Coefficients of the fit to all patients, with patients as clusters."""
    x, y = _covariate(table)
    model = probability.logistic_regression(x, y, slope="slope" in UPDATES[method])
    fitted = probability.fit_clustered(model, table["participant_id"], _start(x, y, method))
    return [
        {"quantity": name, "value": float(value), "low": float(low), "high": float(high)}
        for name, value, (low, high) in zip(UPDATES[method], fitted.params, fitted.conf_int(1 - level), strict=True)
    ]


def _covariate(table: pd.DataFrame) -> tuple[Floats, Labels]:
    """Log odds that the scores claim, and labels, (n,) each."""
    return probability.to_log_odds(table["score"])[0], table["y_true"].to_numpy()


def _start(x: Floats, y: Labels, method: str) -> list[float]:
    return [probability.shift(x, y), 1.0][: len(UPDATES[method])]


def _unfit_without(table: pd.DataFrame, method: str) -> str:
    """Why no finite update fits where one patient is left out; empty where one does for each."""
    x, y = _covariate(table)
    for patient, own in _of_patients(table).items():
        if len(np.unique(y[~own])) < 2:
            return f"no update: without {patient} there is one class only"
        if method != "intercept" and probability.separated(x[~own], y[~own]):
            return f"no update: without {patient} one score parts the classes, so no finite slope fits"
    return ""


def _of_patients(table: pd.DataFrame) -> dict[str, NDArray[np.bool_]]:
    """Which rows (n,) are each patient's."""
    return {
        str(patient): (table["participant_id"] == patient).to_numpy() for patient in table["participant_id"].unique()
    }
