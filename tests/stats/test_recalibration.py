"""The logistic update, against scikit-learn in a loop over patients, a formula of statsmodels, and what stays."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from numpy.testing import assert_allclose
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from mflib.stats import performance
from mflib.stats.performance.predictions import COLUMNS
from tests.stats.toy import probabilities, simulated


def coefficients(found):
    return found.update.set_index("quantity")


@pytest.mark.parametrize("method", performance.UPDATES)
def test_each_patient_is_updated_by_a_fit_to_the_others(method):
    table = probabilities("dcnn")
    updated = performance.recalibrate(table, method).predictions
    x, y = logit(table["score"].to_numpy()), table["y_true"].to_numpy()
    for patient in ("sub-000", "sub-007", "sub-019"):
        own = (table["participant_id"] == patient).to_numpy()
        if method == "intercept":
            shift = logit(updated.loc[own, "score"]) - x[own]
            assert_allclose(shift, shift.iloc[0], rtol=1e-9)
            # At the best shift the others' mean probability is their share of positives.
            assert_allclose(expit(shift.iloc[0] + x[~own]).mean(), y[~own].mean(), rtol=1e-7)
        else:
            fitted = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(x[~own, None], y[~own])
            assert_allclose(updated.loc[own, "score"], fitted.predict_proba(x[own, None])[:, 1], rtol=1e-5)
    kept = [name for name in COLUMNS if name not in ("score", "threshold")]
    assert updated[kept].equals(performance.validate(table)[kept])


def test_a_patient_does_not_influence_its_own_update():
    table = probabilities("dcnn")
    own = table["participant_id"] == "sub-004"
    turned = table.assign(y_true=np.where(own, 1 - table["y_true"], table["y_true"]))
    for method in performance.UPDATES:
        before, after = (performance.recalibrate(t, method).predictions["score"] for t in (table, turned))
        assert_allclose(after[own], before[own], rtol=1e-12)
        assert (after[~own] != before[~own]).all()


def test_coefficients_are_those_of_a_formula_with_patients_as_clusters():
    table = probabilities("dcnn")
    found = coefficients(performance.recalibrate(table, "intercept and slope"))
    data = table.assign(log_odds=logit(table["score"]), patient=table["participant_id"].factorize()[0])
    fitted = smf.logit("y_true ~ log_odds", data).fit(disp=0, cov_type="cluster", cov_kwds={"groups": data["patient"]})
    assert_allclose(found["value"], fitted.params, rtol=1e-6)
    assert_allclose(found[["low", "high"]], fitted.conf_int(0.05), rtol=1e-4)
    # With the slope held at 1 it is the calibration in the large.
    alone = coefficients(performance.recalibrate(table, "intercept")).loc["intercept", ["value", "low", "high"]]
    large = (
        performance.calibration(table, resamples=10).set_index("quantity").loc["intercept", ["value", "low", "high"]]
    )
    assert_allclose(alone.astype(float), large.astype(float), rtol=1e-6)


def test_right_probabilities_stay_and_wrong_ones_are_mended():
    right, wrong = simulated(0, 1, 150), simulated(1, 0.5, 150)
    found = performance.recalibrate(right, "intercept and slope")
    assert (found.update["low"] < [0, 1]).all() and (found.update["high"] > [0, 1]).all()
    assert_allclose(found.predictions["score"], right["score"], atol=0.05)
    mended = performance.recalibrate(wrong, "intercept and slope")
    assert_allclose(mended.update["value"], [1, 0.5], atol=0.15)
    before, after = (
        performance.calibration(table, resamples=10).set_index("quantity")["value"]
        for table in (wrong, mended.predictions)
    )
    assert after["brier"] < before["brier"] - 0.03
    assert abs(after["intercept"]) < 0.02 and abs(after["slope"] - 1) < 0.05
    # A shift alone cannot mend a wrong spread.
    assert performance.calibration(performance.recalibrate(wrong, "intercept").predictions, resamples=10).set_index(
        "quantity"
    ).loc["slope", "value"] == pytest.approx(0.5, abs=0.1)


def test_the_scale_of_the_scores_is_forgotten():
    """A model that says 2 + 3 x the log odds of another is, after intercept and slope, the same model."""
    table = probabilities("dcnn").assign(score=lambda t: expit(0.2 * logit(t["score"])))
    stretched = table.assign(score=lambda t: expit(0.5 + 3 * logit(t["score"])))
    one, other = (performance.recalibrate(t, "intercept and slope").predictions["score"] for t in (table, stretched))
    assert_allclose(one, other, rtol=1e-6)


def test_what_cannot_be_updated_has_a_reason():
    table = probabilities("dcnn", n_patients=4)
    few = table[table["participant_id"].isin(["sub-000", "sub-001"])]
    only = few.assign(y_true=(few["participant_id"] == "sub-000").astype(int))
    parted = table.assign(score=np.where(table["y_true"] == 1, 0.8, 0.3))
    cases = [
        (table.assign(y_true=1), "intercept", "the label 1 only"),
        (table.assign(score=table["score"] + 1), "intercept", r"probabilities in \[0, 1\]"),
        (only, "intercept", "without sub-000 there is one class only"),
        (parted, "intercept and slope", "no finite slope"),
    ]
    for wrong, method, reason in cases:
        # Beside a model that can be updated, so that one does not keep the other from it.
        found = performance.recalibrate(pd.concat([wrong, probabilities("clinical")]), method)
        assert set(found.predictions["model"]) == {"clinical"}
        notes = found.update.loc[found.update["model"] == "dcnn", ["value", "note"]]
        assert notes["value"].isna().all() and notes["note"].str.contains(reason).all()
