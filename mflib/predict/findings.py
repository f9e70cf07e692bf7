"""The external test in one screen and in one paragraph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from mflib import performance
from mflib.cohort import Cohort
from mflib.performance import LABELS
from mflib.predict.results import External

_METRICS = {"auc": "AUC", "sensitivity": "sensitivity", "specificity": "specificity"}


def key_results(
    own: Cohort, external: Cohort, found: External, moved: pd.DataFrame, calibration: pd.DataFrame
) -> pd.DataFrame:
    """The external test in one screen: each result, own and external.

    Parameters
    ----------
    own, external : the cohorts
    found : what the models say of the external one
    moved : of ``performance.transport``
    calibration : of ``performance.calibration`` on the external cohort
    """
    cohorts = (own, external)
    rows = [("analysed patients", *(str(len(cohort.patients)) for cohort in cohorts))]
    rows += [("analysed segments", *(str(len(cohort.segments)) for cohort in cohorts))]
    rows += [("segments with infiltration", *(f"{100 * cohort.segments['label'].mean():.1f} %" for cohort in cohorts))]
    outside = (found.applicability["verdict"] == "outside").mean()
    rows += [("segments outside what the models have seen", "n/a", f"{100 * outside:.1f} %")]
    rows += [("segments that could not be scored", "n/a", str(len(found.failures)))]
    for model in dict.fromkeys(moved["model"]):
        of_model = moved[moved["model"] == model].set_index("metric")
        for metric, name in _METRICS.items():
            sides = (performance.estimate(of_model.loc[metric], side, ends=f"{side}_") for side in ("own", "external"))
            rows.append((f"{LABELS.get(model, model)}: {name}", *sides))
    for row in calibration[calibration["quantity"].isin(["intercept", "slope"])].to_dict("records"):
        name = f"{LABELS.get(row['model'], row['model'])}: calibration {row['quantity']}"
        rows.append((name, "n/a", performance.estimate(row, "value")))
    return pd.DataFrame(rows, columns=["result", "own", "external"])


def in_words(found: External, moved: pd.DataFrame, compared: pd.DataFrame, split: str) -> str:
    """What the external test says, as a paragraph.

    Parameters
    ----------
    found : what the models say of the external cohort
    moved : of ``performance.transport``
    compared : of ``performance.paired_areas`` on the external cohort, network minus forest
    split : of the own cohort's folds
    """
    total, counts = len(found.applicability), found.applicability["verdict"].value_counts()
    outside, edge = (int(counts.get(verdict, 0)) for verdict in ("outside", "at the edge"))
    said = [f"Of {total} scored segments **{outside} lie outside** what the models have seen, {edge} at the edge."]
    if 2 * outside > total:
        said.append("With more than half outside, what follows says little about volumes like those of the training.")
    said += [_lost_in_words(row) for row in moved[moved["metric"] == "auc"].to_dict("records")]
    row = compared.set_index("method").loc["clustered"]
    if pd.isna(row["difference"]):
        said.append(f"Network and forest cannot be compared here: {row['note']}.")
    else:
        difference = performance.estimate(row, "difference", "+.2f")
        said.append(
            f"Network minus forest on the same external segments: {difference}, {performance.p_value(row['p'])}."
        )
    if split == "segment":
        said.append("The own results come from folds that part segments, not patients, and are optimistic.")
    return " ".join(said)


def _lost_in_words(row: Mapping[str, Any]) -> str:
    name = LABELS.get(row["model"], row["model"])
    if pd.isna(row["difference"]):
        return f"{name}: no AUC can be compared ({row['note']})."
    own, external = (performance.estimate(row, side, ends=f"{side}_") for side in ("own", "external"))
    change = "lower" if row["difference"] < 0 else "higher"
    surer = "excludes" if row["low"] > 0 or row["high"] < 0 else "includes"
    return (
        f"{name}: AUC **{external}** here, {own} on its own patients, {abs(row['difference']):.2f} {change}; the "
        f"interval of the difference from {row['low']:+.2f} to {row['high']:+.2f} {surer} zero "
        f"({performance.p_value(row['p'])})."
    )
