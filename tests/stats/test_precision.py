"""Sample sizes against simulated studies, and against themselves: what is needed has the power that was asked for."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from mflib.base.errors import InputError
from mflib.stats import clinical, roc

PATIENTS, EACH, POSITIVES = 46, 8, 160
SEGMENTS = pd.DataFrame(
    {
        "participant_id": np.repeat([f"sub-{n:03}" for n in range(PATIENTS)], EACH),
        "label": np.arange(PATIENTS * EACH) < POSITIVES,
    }
)
EFFECTS = {"independent": 1.0, "alike": 4.0}


def test_the_papers_question_in_the_papers_numbers():
    table = clinical.sample_size(SEGMENTS, [0.68], [(0.68, 0.79)], EFFECTS)
    assert len(table) == 2 + 2 * 2
    row = table.query("question == 'AUC 0.79, not 0.68' and correlation == '0.5' and segments_are == 'independent'")
    assert row["power_here"].item() == pytest.approx(roc.Question(0.79, 0.68, 0.5).power(160, 208))
    assert row["patients_needed"].item() == np.ceil(row["segments_needed"].item() / EACH)
    # Four times the variance takes four times the segments, one more where it is rounded.
    needed = table.pivot(index=["question", "correlation"], columns="segments_are", values="segments_needed")
    assert (needed["alike"] - 4 * needed["independent"]).between(-4, 0).all()


def test_what_is_needed_has_the_power_and_what_is_detectable_too():
    ratio = 208 / 160
    for row in clinical.sample_size(SEGMENTS, [0.6], [(0.68, 0.79)], EFFECTS).to_dict("records"):
        positives = row["segments_needed"] / (1 + ratio)
        effect = row["design_effect"]
        if row["correlation"]:
            asked = roc.Question(0.79, 0.68, float(row["correlation"]), effect)
        else:
            asked = roc.Question(0.6, design_effect=effect)
        power = asked.power(positives, ratio * positives)
        assert 0.8 <= power < 0.81  # segments are whole
    for row in clinical.detectable(SEGMENTS, 0.68, EFFECTS).to_dict("records"):
        asked = roc.Question(row["smallest_auc"], design_effect=row["design_effect"])
        if row["correlation"]:
            asked = replace(asked, reference=0.68, correlation=float(row["correlation"]))
        assert asked.power(160, 208) == pytest.approx(0.8, abs=1e-6)


def test_simulated_studies_find_as_often_as_promised():
    # Two binormal models of the paper's areas on 46 x 8 independent segments, scores correlated by .5.
    y = SEGMENTS["label"].to_numpy()
    rng = np.random.default_rng(4)
    shift = np.sqrt(2) * norm.ppf([0.68, 0.79])
    found = 0
    for _ in range(300):
        scores = rng.multivariate_normal([0, 0], [[1, 0.5], [0.5, 1]], len(y)) + np.outer(y, shift)
        found += roc.compare(y, scores)["p"] < 0.05
    table = clinical.power_by_patients(SEGMENTS, (0.68, 0.79), EFFECTS)
    promised = table.query("here and segments_are == 'independent'")["power"].item()
    # Binomial error of 300 studies is 1.4 %; the formula and DeLong's test differ a little.
    assert found / 300 == pytest.approx(promised, abs=0.05)
    assert table["patients"].agg(["min", "max"]).tolist() == [2, 4 * PATIENTS]
    assert table.groupby("segments_are")["power"].apply(lambda power: power.is_monotonic_increasing).all()


def test_too_small_or_one_sided_a_cohort_is_said():
    small = clinical.detectable(SEGMENTS.iloc[150:170], 0.9, EFFECTS)
    nothing = small[small["smallest_auc"].isna()]
    assert len(nothing) and nothing["note"].str.contains("even an AUC of 0.999 has a power of").all()
    with pytest.raises(InputError, match="0 segments with infiltration and 368 without"):
        clinical.sample_size(SEGMENTS.assign(label=0), [0.7], [], EFFECTS)
    with pytest.raises(InputError, match=r"found a reference AUC of 0\.4, expected at least 0\.5"):
        clinical.detectable(SEGMENTS, 0.4, EFFECTS)
