"""Intraclass correlation and design effects of segments, against the theory of large samples."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.stats import norm

from mflib.base.errors import InputError
from mflib.base.words import LEVELS
from mflib.stats import clinical, reliability

PATIENTS, EACH = 46, 8


def alike(rng, patients, correlation):
    """Normal values of eight segments for each patient that correlate inside a patient."""
    shared, own = rng.normal(size=(patients, 1)), rng.normal(size=(patients, EACH))
    return (np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own).ravel()


@pytest.fixture
def segments():
    rng = np.random.default_rng(0)
    grade = np.digitize(alike(rng, PATIENTS, 0.5), norm.ppf([0.565, 0.8, 0.93]))
    keys = [(f"sub-{n:03}", level, lat) for n in range(PATIENTS) for level in LEVELS for lat in "LR"]
    table = pd.DataFrame(keys, columns=["participant_id", "level", "lat"])
    return table.assign(grade=grade, label=(grade > 0).astype(int))


def predicted(segments, score, model="dcnn"):
    fold = segments["participant_id"].str[-3:].astype(int) % 5 + 1
    constant = {"model": model, "split": "patient", "repeat": 0, "threshold": 0.5}
    table = segments[["participant_id", "level", "lat"]].assign(**constant, fold=fold)
    return table.assign(y_true=segments["label"], score=score)


def test_labels_grades_and_scores_have_their_effective_numbers(segments):
    rng = np.random.default_rng(1)
    two = [predicted(segments, alike(rng, PATIENTS, 0.9)), predicted(segments, rng.normal(size=368), "coin")]
    table = clinical.clustering(segments, pd.concat(two)).set_index("quantity")
    assert table.index.tolist() == ["infiltrated (yes/no)", "grade (0-3)", "score: 3D network", "score: coin"]
    label = table.loc["infiltrated (yes/no)"]
    assert_allclose(label["design_effect"], 1 + 7 * label["icc"])
    assert_allclose(label["effective_segments"] * label["design_effect"], 368)
    assert label["low"] < label["icc"] < label["high"]
    assert table.loc["score: 3D network", "icc"] > 0.8 > 0.1 > table.loc["score: coin", "icc"]
    assert table.loc["score: 3D network", "effective_segments"] < 60
    same = clinical.clustering(segments.assign(label=1)).iloc[0]
    assert np.isnan(same["icc"]) and same["note"] == "all values are the same"
    with pytest.raises(InputError, match="all values are the same"):
        clinical.design_effects(segments.assign(label=1))


@pytest.mark.parametrize("labels", [0.0, 0.6, 1.0, "balanced"])
def test_the_design_effect_of_an_auc_is_moultons_in_large_samples(labels):
    rng = np.random.default_rng(2)
    n = 3000
    latent = np.tile(np.arange(EACH) - 3.5, n) if labels == "balanced" else alike(rng, n, labels)
    y, scores, groups = (latent > 0).astype(int), alike(rng, n, 0.5), np.repeat(np.arange(n), EACH)
    r_labels, r_scores = (reliability.one_way_icc(values, groups).icc for values in (y, scores))
    table = pd.DataFrame({"model": "dcnn", "split": "patient", "repeat": 0, "y_true": y, "score": scores})
    found, alone = (clinical.auc_design_effects(table.assign(participant_id=of)) for of in (groups, np.arange(len(y))))
    assert_allclose(found["design_effect"], 1 + (EACH - 1) * r_labels * r_scores, rtol=0.08)
    assert_allclose(alone["design_effect"], 1)


def test_models_without_a_design_effect_say_why(segments):
    rng = np.random.default_rng(3)
    perfect = predicted(segments, segments["label"], "oracle")
    table = clinical.auc_design_effects(pd.concat([perfect, predicted(segments, rng.normal(size=368))]))
    network, oracle = table.iloc[0], table.iloc[1]
    assert network["model"] == "3D network" and network["note"] == ""
    assert_allclose(network["effective_segments"], 368 / network["design_effect"])
    assert np.isnan(oracle["design_effect"]) and oracle["note"].startswith("found an area of 1 with variance 0")
    assert clinical.auc_design_effects(perfect.assign(y_true=1))["note"].str.contains("class").all()
    with pytest.raises(InputError, match="one split and repeat of the model 'oracle'"):
        clinical.auc_design_effects(pd.concat([perfect, perfect.assign(repeat=1)]))
