"""Every table that a comparison consists of, and what a reader should know besides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import pandas as pd

from mflib import performance, roc

FEW_PATIENTS = 20
FEW_IN_FOLD = 5  # in 10 folds of 46 patients with both labels, intervals of 95 % covered 0.90 (see roc.fold_mean)


@dataclass(frozen=True, eq=False)
class Comparison:
    """Anybody's predictions, read in every way that ``performance`` knows.

    Parameters
    ----------
    predictions : as ``performance.validate`` gives them
    tables : by name, each as the function of that name in ``performance`` gives it; those of differences are left out
        where there is one model only
    notices : what a reader should know
    """

    predictions: pd.DataFrame
    tables: dict[str, pd.DataFrame]
    notices: list[str]


def run(predictions: pd.DataFrame, resamples: int = 2000, seed: int = 0) -> Comparison:
    """Read predictions in every way; each split and repeat by itself.

    Parameters
    ----------
    predictions : as ``read`` gives them
    resamples, seed : of the bootstrap of patients

    Raises
    ------
    performance.PredictionsError
        As ``performance.validate``; models of a split and repeat on different segments.
    roc.RocError
        One class only.
    """
    table = performance.validate(predictions)
    tables = {
        "summary": performance.summary(table),
        "metrics_per_fold": performance.metrics_per_fold(table),
        "fold_mean_auc": performance.fold_mean_auc(table),
        "predictive_values": performance.predictive_values(table),
        "operating_points": performance.operating_points(table),
        "calibration": performance.calibration(table, resamples=resamples, seed=seed),
        "calibration_curve": performance.calibration_curve(table),
        "decision_curve": performance.decision_curve(table, resamples=resamples, seed=seed),
        "subgroups": performance.subgroups(table),
        "mistakes": performance.mistakes(table),
    }
    differences, untested = _differences(table)
    notices = [f"{where}: {notice}" for where, rows in _by_split(table) for notice in _notices(rows)]
    return Comparison(table, tables | differences, [*notices, *untested])


def _differences(table: pd.DataFrame) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """The tables of differences, and why there are none."""
    found: dict[str, list[pd.DataFrame]] = {"comparison": [], "mcnemar": [], "several": []}
    reasons = []
    for where, rows in _by_split(table):
        pairs = list(combinations(performance.models(rows), 2))
        if not pairs:
            reasons.append(f"{where}: found one model, so there are no differences between models")
            continue
        found["mcnemar"] += [performance.mcnemar(rows, *pair) for pair in pairs]
        lacking = "differences of the AUCs"
        try:
            areas = [performance.comparison(rows, *pair) for pair in pairs]
            found["comparison"] += areas
            reasons += [f"{where}: {reason}" for reason in _untestable(pd.concat(areas))]
            lacking = "joint test of the AUCs"
            found["several"].append(performance.several(rows))
        except roc.RocError as error:
            reasons.append(f"{where}: no {lacking}: {error}")
        if len(pairs) > 1:
            reasons.append(f"{where}: {len(pairs)} pairs are tested, P values are not adjusted; the joint test is one")
    return {name: pd.concat(parts, ignore_index=True) for name, parts in found.items() if parts}, reasons


def _untestable(comparison: pd.DataFrame) -> list[str]:
    """Which differences of AUCs have no P value, and why."""
    lacking = comparison[comparison["p"].isna()]
    return [
        f"{a} and {b}: P undefined ({', '.join(rows['method'])}): their AUCs differ, the difference has no variance"
        for (a, b), rows in lacking.groupby(["model_a", "model_b"], sort=False)
    ]


def _notices(rows: pd.DataFrame) -> Iterator[str]:
    """What a reader should know of the patients and folds of one split and repeat."""
    patients, folds = rows["participant_id"].nunique(), rows.groupby("model")["fold"].nunique().max()
    if patients < FEW_PATIENTS:
        yield f"found {patients} patients; below {FEW_PATIENTS} the clustered intervals are too narrow"
    if rows["split"].iloc[0] == "segment":
        yield "folds by segment: patients train and test, so these numbers are optimistic"
        return
    mixed = int((rows.groupby("participant_id")["y_true"].nunique() > 1).sum())
    if mixed > patients / 2 and patients < FEW_IN_FOLD * folds:
        found = f"found {patients} patients in {folds} folds, {mixed} of them with both labels"
        yield f"{found}; below {FEW_IN_FOLD} a fold the interval of the AUC's mean of folds is too narrow"
    for model, of_model in rows.groupby("model"):
        several = (of_model.groupby("participant_id")["fold"].nunique() > 1).sum()
        if several:
            yield f"{model} has {several} patients in several folds, so it was not split by patient"


def _by_split(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for (split, repeat), rows in table.groupby(["split", "repeat"], sort=True):
        yield f"split by {split}, repeat {repeat}", rows
