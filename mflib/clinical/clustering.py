"""How alike the segments of one patient are, and how many independent segments they are worth."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from mflib import performance, reliability, roc

QUANTITIES = {"label": "infiltrated (yes/no)", "grade": "grade (0-3)"}


class ClinicalError(ValueError):
    """Segments or predictions that a clinical statistic cannot use; the message says what was found."""


def clustering(segments: pd.DataFrame, predictions: pd.DataFrame | None = None) -> pd.DataFrame:
    """Intraclass correlation of labels, grades and scores inside a patient, and what follows for a mean.

    The design effect 1 + (size - 1) icc, with the mean size of Kish, sum m_i^2 / sum m_i, is that of a mean or a
    share, such as the prevalence. It is not that of an AUC, which compares segments with each other: there it is the
    ratio of the clustered to the naive variance, see ``auc_design_effect``. Labels that all patients have in the same
    proportion can make that ratio less than 1, and labels that belong to whole patients make it larger than 4.

    Parameters
    ----------
    segments : one row per segment with ``participant_id``, ``label`` (0, 1) and ``grade`` (0-3)
    predictions : a predictions table with one split and repeat of each model, or None. Scores are taken as they are:
        where each fold has a model of its own, a difference in level between folds counts as between patients.

    Returns
    -------
    DataFrame
        ``quantity``, ``segments``, ``patients``, ``icc``, ``low``, ``high`` (95 %, ``reliability.one_way_icc``),
        ``segments_per_patient`` (Kish), ``design_effect`` (a negative icc counts as 0), ``effective_segments``,
        ``note`` (why numbers are NaN).

    Raises
    ------
    ClinicalError
        A model with several splits or repeats.
    """
    groups = segments["participant_id"]
    rows = [_row(name, segments[column], groups) for column, name in QUANTITIES.items()]
    if predictions is not None:
        runs = _one_run_each(predictions)
        rows += [_row(f"score: {name}", run["score"], run["participant_id"]) for name, run in runs.items()]
    return pd.DataFrame(rows)


def design_effects(segments: pd.DataFrame) -> dict[str, float]:
    """What an AUC's design effect may be in this cohort, to plan with before there are scores.

    In large samples with areas near 0.5 it is 1 + (m - 1) r_labels r_scores (Moulton 1986,
    doi:10.1016/0304-4076(86)90021-7), with the intraclass correlation of the labels and that of the scores inside a
    class, for m segments a patient. Larger areas differ somewhat: simulated with an area of 0.78 and m = 8, 1.26 for
    (0, .5) in place of 1.0, 2.51 for (.41, .5) in place of 2.43, and 4.23 for (1, .5) in place of 4.5.

    Parameters
    ----------
    segments : one row per segment with ``participant_id`` and ``label`` (0, 1)

    Returns
    -------
    dict
        1 for independent segments; that of the labels, about the most that these labels allow (r_scores = 1); and that
        of labels that whole patients share, with scores half alike (r_labels = 1, r_scores = 0.5).

    Raises
    ------
    ClinicalError
        The labels have no intraclass correlation.
    """
    labels = reliability.one_way_icc(segments["label"], segments["participant_id"])
    if labels.design_effect is None:
        raise ClinicalError(f"labels without an intraclass correlation: {labels.problem}")
    whole = 1 + (labels.size - 1) * 0.5
    return {"independent": 1.0, "as alike as the labels": labels.design_effect, "alike in whole patients": whole}


def auc_design_effect(y_true: ArrayLike, scores: ArrayLike, groups: ArrayLike) -> float:
    """Variance of an AUC that knows the patients, in units of the one that takes segments as independent.

    Obuchowski 1997 over DeLong 1988. ``design_effects`` says what to expect of it.

    Parameters
    ----------
    y_true : (n,) 0 or 1
    scores : (n,)
    groups : (n,) patients

    Raises
    ------
    ClinicalError
        The naive variance is 0, as with an area of 1: there is nothing to divide by.
    roc.RocError
        As ``roc.auc_covariance``, or several columns of scores.
    """
    auc, clustered = roc.auc_covariance(y_true, scores, groups)
    if len(auc) != 1:
        raise roc.RocError(f"found {len(auc)} columns of scores, expected one")
    naive = roc.auc_covariance(y_true, scores)[1]
    if naive[0, 0] == 0:
        raise ClinicalError(f"found an area of {auc[0]:g} with variance 0, expected one that varies")
    return float(clustered[0, 0] / naive[0, 0])


def auc_design_effects(predictions: pd.DataFrame) -> pd.DataFrame:
    """The design effect of each model's pooled AUC.

    Parameters
    ----------
    predictions : a predictions table with one split and repeat of each model

    Returns
    -------
    DataFrame
        ``model``, ``segments``, ``patients``, ``design_effect``, ``effective_segments``, ``note`` (why numbers are
        NaN).

    Raises
    ------
    ClinicalError
        A model with several splits or repeats.
    """
    return pd.DataFrame([_auc_row(name, run) for name, run in _one_run_each(predictions).items()])


def _row(quantity: str, values: pd.Series, groups: pd.Series) -> dict[str, object]:
    found = reliability.one_way_icc(values, groups)
    return {
        "quantity": quantity,
        "segments": found.n,
        "patients": found.groups,
        "icc": _number(found.icc),
        "low": _number(found.low),
        "high": _number(found.high),
        "segments_per_patient": found.size,
        "design_effect": _number(found.design_effect),
        "effective_segments": _number(found.effective_n),
        "note": found.problem,
    }


def _auc_row(model: str, run: pd.DataFrame) -> dict[str, object]:
    row = {"model": model, "segments": len(run), "patients": run["participant_id"].nunique()}
    try:
        effect = auc_design_effect(run["y_true"], run["score"], run["participant_id"])
    except (ClinicalError, roc.RocError) as error:
        return {**row, "design_effect": np.nan, "effective_segments": np.nan, "note": str(error)}
    effective = len(run) / effect if effect else np.nan
    note = "" if effect else "the areas of the patients do not vary"
    return {**row, "design_effect": effect, "effective_segments": effective, "note": note}


def _one_run_each(predictions: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of each model by its readable name."""
    table = performance.validate(predictions)
    runs = {model: table[table["model"] == model] for model in performance.models(table)}
    for model, rows in runs.items():
        found = rows[["split", "repeat"]].drop_duplicates().to_numpy().tolist()
        if len(found) > 1:
            raise ClinicalError(f"model {model}: found the splits and repeats {found}, expected one of each")
    return {performance.LABELS.get(model, model): rows for model, rows in runs.items()}


def _number(value: float | None) -> float:
    return np.nan if value is None else value
