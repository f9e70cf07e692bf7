"""Every table that a comparison consists of, and what a reader should know besides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import pandas as pd

from mflib import performance, roc

FEW_PATIENTS = 20


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
    return Comparison(table, tables | differences, [*_notices(table), *untested])


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
            found["comparison"] += [performance.comparison(rows, *pair) for pair in pairs]
            lacking = "joint test of the AUCs"
            found["several"].append(performance.several(rows))
        except roc.RocError as error:
            reasons.append(f"{where}: no {lacking}: {error}")
        if len(pairs) > 1:
            reasons.append(f"{where}: {len(pairs)} pairs are tested, P values are not adjusted; the joint test is one")
    return {name: pd.concat(parts, ignore_index=True) for name, parts in found.items() if parts}, reasons


def _notices(table: pd.DataFrame) -> list[str]:
    found = []
    for where, rows in _by_split(table):
        patients = rows["participant_id"].nunique()
        if patients < FEW_PATIENTS:
            found.append(
                f"{where}: found {patients} patients; below {FEW_PATIENTS} the clustered intervals are too narrow"
            )
        if rows["split"].iloc[0] == "segment":
            found.append(f"{where}: folds by segment: patients train and test, so these numbers are optimistic")
        for model, of_model in rows.groupby("model"):
            several = (of_model.groupby("participant_id")["fold"].nunique() > 1).sum()
            if several and rows["split"].iloc[0] == "patient":
                found.append(
                    f"{where}: {model} has {several} patients in several folds, so it was not split by patient"
                )
    return found


def _by_split(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for (split, repeat), rows in table.groupby(["split", "repeat"], sort=True):
        yield f"split by {split}, repeat {repeat}", rows
