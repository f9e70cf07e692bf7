"""Tables for the report: a second cohort beside the one that the models learnt from."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mflib import clinical, performance
from mflib.cohort import Cohort
from mflib.performance import LABELS
from mflib.performance.readable import with_interval
from mflib.predict.results import External
from mflib.predict.words import VERDICTS
from mflib.volume import KEY

METRICS = ["auc", "sensitivity", "specificity", "ppv", "npv"]


def people(own: Cohort, external: Cohort) -> pd.DataFrame:
    """Table 1 of both cohorts.

    Returns
    -------
    DataFrame
        ``variable``, ``unit``, ``statistic`` (of both where they differ), ``own``, ``external``, ``missing`` (in each).
    """
    tables = [clinical.table_one(cohort.patients, cohort.segments) for cohort in (own, external)]
    both = tables[0].merge(tables[1], on=["section", "variable", "unit"], suffixes=("_own", "_external"))
    first, second = both["statistic_own"], both["statistic_external"]
    named = first.where(first == second, first + "; " + second).str.strip("; ")
    missing = both["n_missing_own"].astype(str) + ", " + both["n_missing_external"].astype(str)
    values = {"own": both["value_own"], "external": both["value_external"], "missing": missing}
    rows = both[["variable", "unit"]].assign(statistic=named, **values)
    sizes = [("patients", *(len(c.patients) for c in (own, external)))]
    sizes += [("segments", *(len(c.segments) for c in (own, external)))]
    counts = [[name, "n", "count", str(here), str(there), "0, 0"] for name, here, there in sizes]
    return pd.concat([pd.DataFrame(counts, columns=rows.columns), rows], ignore_index=True)


def outcomes(found: External) -> pd.DataFrame:
    """How many segments were scored, and how many were not for each reason."""
    reasons = found.failures["reason"].value_counts(sort=False)
    rows = [("scored", len(found.applicability)), *((f"not scored: {why}", n) for why, n in reasons.items())]
    return pd.DataFrame(rows, columns=["outcome", "segments"])


def verdicts(found: External) -> pd.DataFrame:
    """How many segments, and of how many patients, lie inside, at the edge and outside; one row for each verdict."""
    table, total = found.applicability, len(found.applicability)
    rows = []
    for verdict in VERDICTS:
        those = table[table["verdict"] == verdict]
        share = f"{100 * len(those) / total:.0f} %" if total else "n/a"
        row = {
            "verdict": verdict,
            "segments": len(those),
            "share": share,
            "patients": those["participant_id"].nunique(),
        }
        rows.append({**row, "median percentile": those["percentile"].median() if len(those) else np.nan})
    return pd.DataFrame(rows)


def frequent(features: pd.DataFrame, most: int = 20) -> pd.DataFrame:
    """The features that leave the training range most often, and how far they reach; a row that says so if none does.

    Parameters
    ----------
    features : of ``External.features``
    most : rows
    """
    if features.empty:
        return pd.DataFrame([{"feature": "none", "segments": 0}])
    groups = features.groupby("feature", sort=True)
    names = {"segments": ("feature", "size"), "low": ("low", "first"), "high": ("high", "first")}
    table = groups.agg(**names, lowest=("value", "min"), highest=("value", "max"))
    table = table.sort_values("segments", ascending=False, kind="stable").head(most).reset_index()
    return table.rename(
        columns={"low": "training_from", "high": "training_to", "lowest": "here_from", "highest": "here_to"}
    )


def as_probabilities(found: External) -> pd.DataFrame:
    """The predictions table with the run's calibrated probability as score; the score itself where the run has none.

    The threshold is the probability of one half, which no result here depends on.
    """
    table = found.predictions.merge(found.probabilities[[*KEY, "model", "probability"]], on=[*KEY, "model"])
    score = table["probability"].fillna(table["score"])
    return table.assign(score=score, threshold=0.5).drop(columns="probability")


def uncalibrated(found: External) -> list[str]:
    """The models, by their names for a reader, that the run gives no probabilities."""
    lacking = found.probabilities.loc[found.probabilities["probability"].isna(), "model"]
    return [LABELS.get(model, model) for model in dict.fromkeys(lacking)]


def lost(moved: pd.DataFrame) -> pd.DataFrame:
    """The table of ``performance.transport`` for a reader."""
    table = pd.DataFrame(
        {
            "model": moved["model"].map(lambda name: LABELS.get(name, name)),
            "metric": moved["metric"].map(lambda name: name.upper() if name in ("auc", "ppv", "npv") else name),
            "own": with_interval(moved, "own", "own_"),
            "external": with_interval(moved, "external", "external_"),
            "external minus own": with_interval(moved, "difference"),
            "P": [
                "n/a" if pd.isna(p) else performance.p_value(p).removeprefix("P ").removeprefix("= ")
                for p in moved["p"]
            ],
            "note": moved["note"],
        }
    )
    return table if table["note"].any() else table.drop(columns="note")


def without_outside(found: External) -> pd.DataFrame:
    """Each model on all segments of the cohort, and on those that do not lie outside what it has seen."""
    told = found.predictions.merge(found.applicability[[*KEY, "verdict"]], on=KEY, validate="many_to_one")
    rows = []
    for name, table in (("all", told), ("without those outside", told[told["verdict"] != "outside"])):
        sizes = {"n": len(table.drop_duplicates(KEY)), "n_patients": table["participant_id"].nunique()}
        if table.empty:
            rows.append(pd.DataFrame([{"segments are": name, "model": "any", **sizes, "note": "no segment is left"}]))
            continue
        summary = performance.summary(table)
        wide = performance.by_model(summary[summary["metric"].isin(METRICS)], columns="metric", value="pooled")
        rows.append(wide.assign(**{"segments are": name}, **sizes))
    table = pd.concat(rows, ignore_index=True)
    columns = ["segments are", "model", "n", "n_patients", *METRICS, "note"]
    return table[[column for column in columns if column in table]].fillna("")
