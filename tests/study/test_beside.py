"""Tables of an external test made by hand, counted by hand; cohorts that are too small say so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mflib.base.errors import RunError
from mflib.base.words import KEY
from mflib.data import cohort as cohorts
from mflib.stats import performance
from mflib.study import external as external_tables
from mflib.study.external import External
from mflib.study.run import Study
from tests.stats.toy import predictions, probabilities


def found(**changes: Any) -> External:
    """Two models on 20 patients: the last five lie outside, the first at the edge."""
    table = pd.concat([probabilities(model, n) for n, model in enumerate(("dcnn", "random_forest"))], ignore_index=True)
    table = table.assign(fold=0, probability=table["score"] ** 2)
    segments = table.loc[table["model"] == "dcnn", KEY].reset_index(drop=True)
    number = segments["participant_id"].str[-3:].astype(int)
    verdicts = np.select([number >= 15, number == 0], ["outside", "at the edge"], "inside")
    far = segments[number >= 15].assign(feature="nakagami_m", value=2.0, low=0.3, high=0.9, outside=True)
    values: dict[str, Any] = {
        "predictions": table,
        "probabilities": table[[*KEY, "model", "probability"]].assign(low=0.0, high=1.0),
        "applicability": segments.assign(verdict=verdicts, distance=number + 1.0, percentile=50.0, reasons=""),
        "features": far,
        "failures": pd.DataFrame([{**dict.fromkeys(KEY, "x"), "reason": "no bone"}] * 3),
    }
    return External(**values | changes)


def test_counts_are_those_of_the_hand() -> None:
    external = found()
    verdicts = external_tables.verdicts(external).set_index("verdict")
    assert verdicts["segments"].to_dict() == {"inside": 112, "at the edge": 8, "outside": 40}
    assert verdicts["patients"].to_dict() == {"inside": 14, "at the edge": 1, "outside": 5}
    assert external_tables.outcomes(external).to_numpy().tolist() == [["scored", 160], ["not scored: no bone", 3]]
    (row,) = external_tables.frequent(external.features).to_dict("records")
    assert (row["feature"], row["segments"], row["training_to"], row["here_to"]) == ("nakagami_m", 40, 0.9, 2.0)
    assert external_tables.frequent(external.features.iloc[:0])["segments"].tolist() == [0]


def test_without_those_outside_only_they_are_missing() -> None:
    external = found()
    table = external_tables.without_outside(external).set_index(["segments are", "model"])
    assert table["n"].tolist() == [160, 160, 120, 120]
    kept = external.predictions[external.predictions["participant_id"] < "sub-015"]
    auc = performance.summary(kept).query("model == 'dcnn' and metric == 'auc'").iloc[0]
    assert table.loc[("without those outside", "3D network"), "auc"] == performance.estimate(auc, "pooled")
    all_out = replace(external, applicability=external.applicability.assign(verdict="outside"))
    assert external_tables.without_outside(all_out)["note"].iloc[-1] == "no segment is left"


def test_probabilities_take_the_place_of_scores_only_where_there_are_any() -> None:
    external = found()
    lacking, scored = (
        table.assign(probability=table["probability"].where(table["model"] == "dcnn"))
        for table in (external.probabilities, external.predictions)
    )
    external = replace(external, probabilities=lacking, predictions=performance.validate(scored))
    table = performance.calibrated(external.predictions)
    own = external.predictions.set_index([*KEY, "model"])["score"]
    new = table.set_index([*KEY, "model"])["score"]
    power = np.where(new.index.get_level_values("model") == "dcnn", 2, 1)
    np.testing.assert_allclose(new, own.loc[new.index] ** power)
    assert external_tables.uncalibrated(external) == ["Random forest"]


def test_words_and_table_one_follow_the_numbers(make_cohort: Callable[..., Path]) -> None:
    external, own = found(), pd.concat([predictions("dcnn", 5, 30), predictions("random_forest", 6, 30)])
    moved = performance.transport(own, external.predictions)
    compared = performance.comparison(external.predictions, "dcnn", "random_forest")
    said = external_tables.in_words(external, moved, compared, "segment")
    assert "Of 160 scored segments **40 lie outside**" in said and "optimistic" in said
    row = moved.query("model == 'dcnn' and metric == 'auc'").iloc[0]
    assert f"3D network: AUC **{performance.estimate(row, 'external', ends='external_')}** here" in said
    healthy = external.predictions.assign(y_true=0)
    moved = performance.transport(own, healthy)
    said = external_tables.in_words(
        external, moved, performance.comparison(healthy, "dcnn", "random_forest"), "patient"
    )
    assert said.count("no AUC can be compared") == 2 and "cannot be compared here" in said and "nan" not in said
    cohort = cohorts.load(make_cohort(3))
    people = external_tables.people(cohort, cohort).set_index("variable")
    assert (people["own"] == people["external"]).all() and people.loc["segments", "own"] == "24"


def test_a_study_without_another_cohort_says_how_to_give_one() -> None:
    study = Study.open()
    with pytest.raises(RunError, match="mflib report --external"):
        _ = study.external
