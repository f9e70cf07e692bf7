"""A second cohort as the models of a run see it, and its tables for the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from mflib.base import parallel
from mflib.base.errors import FileError
from mflib.base.progress import Progress
from mflib.base.words import KEY, label
from mflib.data import volume as volumes
from mflib.data.cohort import Cohort
from mflib.data.volume import Annotation
from mflib.models.dcnn import compute
from mflib.stats import clinical, performance
from mflib.stats.performance.predictions import with_interval
from mflib.study.applicability import Applicability
from mflib.study.predict import LEARNT, VERDICTS, ModelResult, Models, load

Item = tuple[Path, Annotation]
Outcome = tuple[dict[str, ModelResult], Applicability]
# Segments that are done before other processes have imported torch and read all models once more.
FEW = 60
# A worker reads the models of a run once.
_models = lru_cache(maxsize=1)(load)


@dataclass(frozen=True, eq=False)
class External:
    """A second cohort as the models of a run see it.

    Parameters
    ----------
    predictions : the predictions table with split "patient", repeat 0, fold 0, and ``probability``
    probabilities : KEY, model, probability, low, high; missing where a model has none
    applicability : KEY, verdict, distance, percentile, reasons (sentences joined by a blank)
    features : KEY, feature, value, low, high, outside; the rows that are outside only
    failures : KEY, reason; segments that could not be assessed
    """

    predictions: pd.DataFrame
    probabilities: pd.DataFrame
    applicability: pd.DataFrame
    features: pd.DataFrame
    failures: pd.DataFrame


def score_cohort(models: Models, cohort: Cohort, *, workers: int, scheduler: str = "") -> External:
    """Score every segment of a cohort that the models have never seen.

    Every segment is looked at alone: what is said of it does not depend on the others.

    Parameters
    ----------
    models : of a run
    cohort : with labels, which only stand beside the scores
    workers, scheduler : processes here, or a Dask cluster in their place, for what would take this process long

    Raises
    ------
    FileError
        No segment could be assessed.
    """
    items = [(cohort.root / one["path"], cohort.annotation(one)) for one in cohort.segments.to_dict("records")]
    progress = Progress("external volumes", len(items))
    done: dict[int, Outcome] = {}
    failures: dict[int, str] = {}
    for n, outcome in _outcomes(models, items, workers, scheduler):
        if not isinstance(outcome, Exception):
            done[n] = outcome
        else:
            expected = isinstance(outcome, FileError)
            failures[n] = str(outcome) if expected else f"{type(outcome).__name__}: {outcome}"
        progress.advance(note=f"{len(failures)} failed" if failures else "")
    if not done:
        raise FileError(f"no segment of {cohort.name} could be assessed; the first: {failures[min(failures)]}")
    return _gathered(cohort.segments, done, failures)


def _outcomes(
    models: Models, items: Sequence[Item], workers: int, scheduler: str
) -> Iterator[tuple[int, Outcome | Exception]]:
    """Position and outcome of each segment, as it is done."""
    # A GPU serves one process; networks of several would not find room on it.
    if not scheduler and (workers == 1 or len(items) <= FEW or compute.device().type == "cuda"):
        return parallel.outcomes(_assessed, models, items, workers=1)
    return parallel.outcomes(_assessed_elsewhere, models.run, items, workers=workers, scheduler=scheduler)


def _assessed(models: Models, item: Item) -> Outcome:
    path, annotation = item
    found = models.assess(volumes.read(path), annotation, salient=False)
    if LEARNT in found.notices:
        raise FileError(LEARNT)
    return found.results, found.applicability


def _assessed_elsewhere(run: Path, item: Item) -> Outcome:
    """Runs in a worker."""
    return _assessed(_models(run), item)


def _gathered(segments: pd.DataFrame, done: Mapping[int, Outcome], failures: Mapping[int, str]) -> External:
    """The tables, in the order of the segments."""
    keys, order = segments[KEY].to_dict("records"), sorted(done)
    scored, applicable, features = [], [], []
    for n in order:
        results, verdict = done[n]
        segment = {**keys[n], "split": "patient", "repeat": 0, "fold": 0, "y_true": int(segments["label"].iloc[n])}
        scored += [segment | asdict(result) for result in results.values()]
        told = {"verdict": verdict.verdict, "distance": verdict.distance, "percentile": verdict.percentile}
        applicable.append({**keys[n], **told, "reasons": " ".join(verdict.reasons)})
        features.append(verdict.features[verdict.features["outside"]].assign(**keys[n]))
    columns = [*KEY, "feature", "value", "low", "high", "outside"]
    scores, probability = pd.DataFrame(scored), ["probability", "low", "high"]
    return External(
        predictions=performance.validate(scores),
        probabilities=scores[[*KEY, "model", *probability]].astype(dict.fromkeys(probability, float)),
        applicability=pd.DataFrame(applicable),
        features=pd.concat(features, ignore_index=True)[columns],
        failures=pd.DataFrame([{**keys[n], "reason": failures[n]} for n in sorted(failures)], columns=[*KEY, "reason"]),
    )


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
    sizes = [("patients", own.patients, external.patients), ("segments", own.segments, external.segments)]
    counts = [[name, "n", "count", str(len(here)), str(len(there)), "0, 0"] for name, here, there in sizes]
    return pd.concat([pd.DataFrame(counts, columns=rows.columns), rows], ignore_index=True)


def outcomes(found: External) -> pd.DataFrame:
    """How many segments were scored, and how many were not for each reason."""
    reasons = found.failures["reason"].value_counts(sort=False)
    rows = [("scored", len(found.applicability)), *((f"not scored: {why}", n) for why, n in reasons.items())]
    return pd.DataFrame(rows, columns=["outcome", "segments"])


def verdicts(found: External) -> pd.DataFrame:
    """How many segments, and of how many patients, lie inside, at the edge and outside; one row for each verdict."""
    verdict = pd.Categorical(found.applicability["verdict"], list(VERDICTS))
    of_verdict = found.applicability.groupby(verdict, observed=False)
    table = of_verdict.agg(segments=("verdict", "size"), patients=("participant_id", "nunique"))
    total = len(found.applicability)
    table["share"] = [f"{100 * n / total:.0f} %" if total else "n/a" for n in table["segments"]]
    table["median percentile"] = of_verdict["percentile"].median()
    names = ["verdict", "segments", "share", "patients", "median percentile"]
    return table.assign(verdict=list(VERDICTS)).reset_index(drop=True)[names]


def frequent(features: pd.DataFrame, most: int = 20) -> pd.DataFrame:
    """The features that leave the training range most often, and how far they reach; a row that says so if none does.

    Parameters
    ----------
    features : of ``External.features``
    most : rows
    """
    if features.empty:
        return pd.DataFrame([{"feature": "none", "segments": 0}])
    training = {"training_from": ("low", "first"), "training_to": ("high", "first")}
    here = {"here_from": ("value", "min"), "here_to": ("value", "max")}
    table = features.groupby("feature", sort=True).agg(segments=("feature", "size"), **training, **here)
    return table.sort_values("segments", ascending=False, kind="stable").head(most).reset_index()


def uncalibrated(found: External) -> list[str]:
    """The models, by their names for a reader, that the run gives no probabilities."""
    lacking = found.probabilities.loc[found.probabilities["probability"].isna(), "model"]
    return [label(model) for model in dict.fromkeys(lacking)]


def lost(moved: pd.DataFrame) -> pd.DataFrame:
    """The table of ``performance.transport`` for a reader."""
    p_values = moved["p"].map(performance.p_value).str.removeprefix("P ").str.removeprefix("= ")
    table = pd.DataFrame(
        {
            "model": moved["model"].map(label),
            "metric": moved["metric"].replace({name: name.upper() for name in ("auc", "ppv", "npv")}),
            "own": with_interval(moved, "own", "own_"),
            "external": with_interval(moved, "external", "external_"),
            "external minus own": with_interval(moved, "difference"),
            "P": p_values.mask(moved["p"].isna(), "n/a"),
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


def in_words(found: External, moved: pd.DataFrame, compared: pd.DataFrame, split: str) -> str:
    """What the external test says, as a paragraph.

    Parameters
    ----------
    found : what the models say of the external cohort
    moved : of ``performance.transport``
    compared : of ``performance.comparison`` on the external cohort, network minus forest
    split : of the own cohort's folds
    """
    total, counts = len(found.applicability), found.applicability["verdict"].value_counts()
    outside, edge = (int(counts.get(verdict, 0)) for verdict in ("outside", "at the edge"))
    said = [f"Of {total} scored segments **{outside} lie outside** what the models have seen, {edge} at the edge."]
    if 2 * outside > total:
        said.append("With more than half outside, what follows says little about volumes like those of the training.")
    said += [_lost_in_words(row) for row in moved[moved["metric"] == "auc"].to_dict("records")]
    row = compared.set_index("method").loc[performance.FOLDS]
    if pd.isna(row["difference"]):
        said.append(f"Network and forest cannot be compared here: {row['note']}.")
    else:
        difference = f"{performance.estimate(row, 'difference', '+.2f')}, {performance.p_value(row['p'])}"
        said.append(f"Network minus forest on the same external segments: {difference}.")
    if split == "segment":
        said.append("The own results come from folds that part segments, not patients, and are optimistic.")
    return " ".join(said)


def _lost_in_words(row: Mapping[str, Any]) -> str:
    name = label(row["model"])
    if pd.isna(row["low"]):
        return f"{name}: no AUC can be compared ({row['note']})."
    own, external = (performance.estimate(row, side, ends=f"{side}_") for side in ("own", "external"))
    change = "lower" if row["difference"] < 0 else "higher"
    surer = "excludes" if row["low"] > 0 or row["high"] < 0 else "includes"
    return (
        f"{name}: AUC **{external}** here, {own} on its own patients, {abs(row['difference']):.2f} {change}; the "
        f"interval of the difference from {row['low']:+.2f} to {row['high']:+.2f} {surer} zero "
        f"({performance.p_value(row['p'])})."
    )
