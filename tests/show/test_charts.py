"""Charts: whole specifications without a warning, and numbers that are those of other libraries."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import vl_convert
from numpy.testing import assert_allclose
from PIL import Image
from scipy.stats import pearsonr
from sklearn.metrics import confusion_matrix, roc_auc_score

from mflib.base.words import KEY, LEVEL_NAMES, LEVELS, SIDE_NAMES
from mflib.models.texture import glcm
from mflib.show import charts
from mflib.stats import clinical, performance

MODELS = ["random_forest", "dcnn"]
RNG = np.random.default_rng(4)
SEGMENTS = pd.DataFrame(
    [(f"sub-{n:03}", level, side) for n in range(1, 25) for level in LEVELS for side in "LR"], columns=KEY
)
SEGMENTS["grade"] = RNG.choice(4, len(SEGMENTS), p=[0.55, 0.25, 0.12, 0.08])
SEGMENTS["label"] = (SEGMENTS["grade"] > 0).astype(int)
# As a cohort has them: in a table of their own.
GRADES = SEGMENTS[KEY].assign(
    grade_reader1=SEGMENTS["grade"],
    grade_reader2=SEGMENTS["grade"].astype(float).where(RNG.random(len(SEGMENTS)) > 0.1),
    grade_final=SEGMENTS["grade"],
)
PATIENTS = pd.DataFrame(
    {
        "participant_id": SEGMENTS["participant_id"].unique(),
        "bmi": RNG.normal(23, 3, 24),
        "vas": RNG.integers(0, 9, 24).astype(float),
        "age": RNG.normal(33, 9, 24),
        "sex": RNG.choice(["M", "F"], 24),
    }
)
HISTORY = pd.DataFrame(
    [(fold, epoch, 0.7 / epoch, 0.8 / epoch, 0.5, epoch == 3) for fold in (1, 2) for epoch in (1, 2, 3)],
    columns=["fold", "epoch", "train_loss", "validation_loss", "validation_auc", "kept"],
)
FROZEN = pd.DataFrame({"fold": [1, 1], "C": [0.01, 1.0], "inner_auc": [0.6, 0.7], "kept": [False, True]})
COMPARED = pd.DataFrame(
    {"variant": ["as it is", "by segments"], "patients": [15.0, 15.0], "mean": [0.7, 0.8], "low": [0.6, 0.7],
     "high": [0.8, 0.9], "pooled": [0.69, 0.81]}
)  # fmt: skip
CHOICES = pd.DataFrame({"levels": [8, 8, 32], "step": [1, 1, 2]})


def predictions() -> pd.DataFrame:
    tables = []
    for model, strength in zip(MODELS, (1.5, 1.0), strict=True):
        z = strength * (SEGMENTS["label"] - 0.5) + RNG.normal(size=len(SEGMENTS))
        score = 1 / (1 + np.exp(-z))
        own = SEGMENTS[KEY].assign(model=model, split="patient", repeat=0, fold=1 + SEGMENTS.index % 3)
        tables.append(own.assign(y_true=SEGMENTS["label"], score=score, threshold=0.5, probability=score**1.2))
    return performance.validate(pd.concat(tables))


def texture() -> pd.DataFrame:
    names = [
        f"glcm_{levels}_{step}_{way}_{name}"
        for levels in (8, 32) for step in (1, 2) for way in ("1.0.0", "1.-1.0") for name in glcm.PROPERTIES
    ]  # fmt: skip
    shift = SEGMENTS["label"].to_numpy()[:, None]
    return pd.DataFrame(RNG.normal(size=(len(SEGMENTS), len(names))) + shift, columns=names)


PREDICTIONS, TEXTURE = predictions(), texture()
ON_SCALE = performance.calibrated(PREDICTIONS)


def planes(wanted: pd.DataFrame) -> list[np.ndarray]:
    """A plane of each row's own grey level, wider than high."""
    places = wanted[KEY].merge(SEGMENTS.reset_index(), on=KEY, validate="one_to_one")["index"]
    return [np.full((12, 8), place, np.uint8) for place in places]


MADE: dict[str, Callable[[], charts.Chart]] = {
    "threshold": lambda: charts.threshold(PREDICTIONS, MODELS),
    "segments": lambda: charts.segments(PREDICTIONS, GRADES, MODELS),
    "segments with planes": lambda: charts.segments(PREDICTIONS, GRADES, MODELS, planes),
    "texture": lambda: charts.texture(TEXTURE, SEGMENTS, CHOICES),
    "learning": lambda: charts.learning(HISTORY),
    "learning of repeats": lambda: charts.learning(HISTORY.assign(repeat=[0, 0, 0, 1, 1, 1])),
    "learning of a frozen network": lambda: charts.learning(FROZEN),
    "comparisons": lambda: charts.comparisons(COMPARED),
    "calibration": lambda: charts.calibration(ON_SCALE),
    "decision": lambda: charts.decision(performance.decision_curve(ON_SCALE, resamples=20)),
    "power": lambda: charts.power(SEGMENTS, (0.68, 0.8), clinical.design_effects(SEGMENTS)),
    "bmi_vas": lambda: charts.bmi_vas(PATIENTS),
    "bmi_vas of nobody": lambda: charts.bmi_vas(PATIENTS.assign(vas=np.nan)),
    "bmi_vas without age": lambda: charts.bmi_vas(PATIENTS.drop(columns=["age", "sex"])),
    "grades": lambda: charts.grades(SEGMENTS),
}


@pytest.mark.parametrize("name", MADE)
def test_a_chart_is_drawn_without_a_warning(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    chart = MADE[name]()
    drawn = vl_convert.vegalite_to_svg(json.dumps(chart, allow_nan=False))
    assert drawn.startswith("<svg") and "NaN" not in drawn
    assert capfd.readouterr().err == ""
    assert len(chart["description"]) > 20 and chart["name"] == name.split()[0]


def rows(chart: charts.Chart, name: str, **values: Any) -> pd.DataFrame:
    found = pd.DataFrame(chart["datasets"][name])
    for column, value in values.items():
        found = found[found[column] == value]
    return found


@pytest.mark.parametrize("cut", [20, 50])
def test_a_threshold_gives_the_numbers_of_scikit_learn(cut: int) -> None:
    chart = charts.threshold(PREDICTIONS, MODELS)
    for model, name in zip(MODELS, ("Random forest", "3D network"), strict=True):
        own = PREDICTIONS[PREDICTIONS["model"] == model]
        cells = confusion_matrix(own["y_true"], own["probability"] >= cut / 100)
        (point,) = rows(chart, "points", model=name, cut=cut).to_dict("records")
        assert [[point["tn"], point["fp"]], [point["fn"], point["tp"]]] == cells.tolist()
        told = rows(chart, "metrics", model=name, cut=cut).set_index("metric")["text"]
        assert told["Sensitivity"].startswith(f"{cells[1, 1] / cells[1].sum():.2f} (")
        assert told["Accuracy"].startswith(f"{np.trace(cells) / cells.sum():.2f} (")
        # At the cohort's own prevalence Bayes' theorem gives what is counted.
        own_ppv = rows(chart, "metrics", model=name, cut=cut, metric="PPV", prevalence=charts.OWN)["text"].item()
        assert own_ppv.startswith(f"{cells[1, 1] / cells[:, 1].sum():.2f} (")
        sensitivity, specificity = cells[1, 1] / cells[1].sum(), cells[0, 0] / cells[0].sum()
        rare = rows(chart, "metrics", model=name, cut=cut, metric="PPV", prevalence="10%")["text"].item()
        assert rare.startswith(f"{0.1 * sensitivity / (0.1 * sensitivity + 0.9 * (1 - specificity)):.2f} (")


def test_the_correlation_follows_who_is_left_out() -> None:
    chart = charts.bmi_vas(PATIENTS)
    for left_out in ("nobody", "sub-003"):
        some = PATIENTS[PATIENTS["participant_id"] != left_out]
        r, p = pearsonr(some["bmi"], some["vas"])
        told = rows(chart, "found", without=left_out)["told"].item()
        assert told.startswith(f"r = {r:.2f} (".replace("-", "\u2212")) and f"P = {p:.3f}, n = {len(some)}" in told
        line = rows(chart, "lines", without=left_out)
        slope = np.polyfit(some["bmi"], some["vas"], 1)[0]
        assert_allclose(np.diff(line["vas"]) / np.diff(line["bmi"]), slope, atol=0.02)
        assert (line["low"] < line["vas"]).all() and (line["vas"] < line["high"]).all()


def test_a_cell_of_the_map_holds_its_values() -> None:
    chart = charts.texture(TEXTURE, SEGMENTS, CHOICES)
    cells = rows(chart, "map")
    place = cells.index[(cells["property"] == "energy") & (cells["levels"] == 32) & (cells["step"] == 2)].item()
    mean = TEXTURE[["glcm_32_2_1.0.0_energy", "glcm_32_2_1.-1.0_energy"]].mean(axis=1)
    shown = [row["values"][place] for row in chart["datasets"]["segments"]]
    assert_allclose(shown, mean, rtol=1e-3)
    auc = roc_auc_score(SEGMENTS["label"], mean)
    assert cells.loc[place, "told"].startswith(f"AUC {max(auc, 1 - auc):.2f} (")
    assert rows(chart, "map", levels=8, step=1)["chosen"].unique() == [2]
    assert sorted(rows(chart, "directions", property="energy", levels=8, step=1)["direction"]) == [
        "lateral",
        "lateral \u2212 depth",
    ]


def test_a_segment_has_its_own_plane() -> None:
    kept = rows(charts.segments(PREDICTIONS, GRADES, MODELS, planes), "segments")
    for at in (0, 77, 191):
        row = kept.iloc[at]
        picture = Image.open(io.BytesIO(base64.b64decode(row["plane"].partition(",")[2])))
        own = SEGMENTS[(SEGMENTS["participant_id"] == row["patient"])].reset_index()
        own = own[(own["level"].map(LEVEL_NAMES) == row["level"]) & (own["lat"].map(SIDE_NAMES) == row["side"])]
        assert picture.size == (12, 8) and abs(np.asarray(picture).mean() - own["index"].item()) <= 2


def test_large_cohorts_are_thinned_by_whole_patients_and_it_is_said() -> None:
    many, score = [f"sub-{n:04}" for n in range(900)], RNG.random(7200)
    keys = pd.DataFrame([(who, level, side) for who in many for level in LEVELS for side in "LR"], columns=KEY)
    grades = keys.assign(grade_final=RNG.choice(4, 7200), grade_reader1=0, grade_reader2=1)
    own = keys.assign(model=MODELS[0], split="patient", repeat=0, fold=1, y_true=1, score=score, threshold=0.5)
    chart = charts.segments(pd.concat([own, own.assign(model=MODELS[1])]), grades, MODELS, planes)
    kept = rows(chart, "segments")
    assert len(kept) <= charts.MOST and (kept["patient"].value_counts() == 8).all()
    assert f"Shown are {len(kept)} of 7200 segments, those of one patient in 2." in chart["usermeta"]["touch"]
    assert "plane" not in kept, "so many pictures would fill a page"
