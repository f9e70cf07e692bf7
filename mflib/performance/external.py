"""The same models on two cohorts: the one that they learnt from, out of fold, and one that they only predict."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import norm

from mflib import roc
from mflib.performance.differences import comparison
from mflib.performance.metrics import METRICS, summary
from mflib.performance.proportions import per_patient, ratio_covariance
from mflib.performance.table import RUN, PredictionsError, models, validate
from mflib.volume import KEY

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
    PredictionsError
        As ``validate``; several splits or repeats of one cohort; no model in common.
    roc.RocError
        A level outside (0, 1).
    """
    roc.check_level(level)
    tables = [_one_run(table) for table in (own, external)]
    common = [model for model in models(tables[0]) if model in set(tables[1]["model"])]
    if not common:
        raise PredictionsError(f"found the models {models(own)} and {models(external)}, expected one in common")
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
    PredictionsError
        As ``comparison``.
    roc.RocError
        A level outside (0, 1).
    """
    roc.check_level(level)
    try:
        return comparison(predictions, model_a, model_b, level).assign(note="")
    except roc.RocError as error:
        row: dict[str, object] = {"model_a": model_a, "model_b": model_b, "method": "clustered"}
        row |= {"n": len(predictions.drop_duplicates(KEY)), "n_patients": predictions["participant_id"].nunique()}
        nothing = dict.fromkeys(("auc_a", "auc_b", "difference", "se", "z", "p", "low", "high"), np.nan)
        return pd.DataFrame([{**row, **nothing, "note": str(error)}])


def _one_run(predictions: pd.DataFrame) -> pd.DataFrame:
    table = validate(predictions)
    found = table[RUN[1:]].drop_duplicates()
    if len(found) != 1:
        raise PredictionsError(f"found {found.to_dict('records')}, expected one split and repeat of a cohort")
    return table


def _side(row: pd.Series, side: str) -> dict[str, float]:
    return {side: row["pooled"], f"{side}_low": row["low"], f"{side}_high": row["high"]}


def _auc_lost(own: pd.DataFrame, external: pd.DataFrame, level: float) -> tuple[float, ...]:
    there, here = ([of[column] for column in ("y_true", "score", "participant_id")] for of in (external, own))
    try:
        test = roc.unpaired(there[0], there[1], here[0], here[1], there[2], here[2], level)
    except roc.RocError:
        return (np.nan,) * len(_TEST)
    return test.difference, test.low, test.high, test.p


def _lost(own: pd.DataFrame, external: pd.DataFrame, metric: str, level: float) -> tuple[float, ...]:
    try:
        (here, of_here), (there, of_there) = (ratio_covariance(*per_patient(t, [metric])) for t in (own, external))
    except PredictionsError:
        return (np.nan,) * len(_TEST)
    difference, se = float(there[0] - here[0]), float(np.sqrt(of_here[0, 0] + of_there[0, 0]))
    reach = float(norm.ppf((1 + level) / 2)) * se
    p = float(2 * norm.sf(abs(difference) / se)) if se else np.nan
    return difference, difference - reach, difference + reach, p
