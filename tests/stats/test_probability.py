"""Calibration, against simulated truth, statsmodels by its other door, scikit-learn and a loop."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from numpy.testing import assert_allclose
from scipy.special import expit, logit
from sklearn.calibration import _SigmoidCalibration
from sklearn.metrics import brier_score_loss

from mflib.stats import performance, roc
from mflib.stats.performance.metrics import youden_threshold
from mflib.stats.performance.probability import EPSILON, freeze
from tests.stats.samples import drawn
from tests.stats.toy import predictions, probabilities, simulated


def test_true_probabilities_are_calibrated():
    found = performance.calibration(simulated(0, 1, 400), resamples=50).set_index("quantity")
    assert_allclose(found.loc["slope", "value"], 1, atol=0.12)
    assert_allclose(found.loc["intercept", "value"], 0, atol=0.12)
    assert (found["low"] < found["value"]).all() and (found["value"] < found["high"]).all()
    assert (found["note"] == "").all()
    extreme = performance.calibration(simulated(1, 0.5, 400), resamples=50).set_index("quantity")
    assert_allclose(extreme.loc["slope", "value"], 0.5, atol=0.12)
    assert extreme.loc["intercept", "low"] > 0.5


def test_coefficients_and_their_intervals_are_those_of_a_formula():
    table = probabilities("dcnn")
    found = performance.calibration(table, resamples=20).set_index("quantity")
    data = table.assign(log_odds=logit(table["score"]), patient=table["participant_id"].factorize()[0])
    fitted = smf.logit("y_true ~ log_odds", data).fit(disp=0, cov_type="cluster", cov_kwds={"groups": data["patient"]})
    assert_allclose(found.loc["slope", "value"], fitted.params["log_odds"], rtol=1e-6)
    # The factor for few clusters counts parameters alike in both.
    assert_allclose(found.loc["slope", ["low", "high"]].astype(float), fitted.conf_int().loc["log_odds"], rtol=1e-5)
    assert_allclose(found.loc["brier", "value"], brier_score_loss(table["y_true"], table["score"]))
    prevalence = table["y_true"].mean()
    scaled = 1 - brier_score_loss(table["y_true"], table["score"]) / (prevalence * (1 - prevalence))
    assert_allclose(found.loc["scaled_brier", "value"], scaled)


@pytest.mark.parametrize("seed", range(4))
def test_the_scale_is_platts(seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, 60)
    scores = expit(rng.normal(size=60) + labels)
    frozen = freeze(labels, scores)
    platt = _SigmoidCalibration().fit(logit(scores), labels)
    assert_allclose(frozen.probability(scores), platt.predict(logit(scores)), atol=2e-5)
    assert frozen.threshold == youden_threshold(labels, scores)
    # Scores that leave [0, 1] are taken as they are, and their scale plays no part.
    raw = rng.normal(size=60) + labels
    one, other = freeze(labels, raw), freeze(labels, 1000 + 30 * raw)
    assert_allclose(one.probability(raw), other.probability(1000 + 30 * raw), rtol=1e-6)


def test_a_scale_is_finite_and_never_turns_the_order_round():
    labels = np.array([0] * 6 + [1] * 4)
    parted = freeze(labels, labels / 2 + 0.25)
    assert_allclose(parted.probability([0.25, 0.75]), [1 / 8, 5 / 6], atol=1e-4)  # the targets themselves
    upside_down, level = freeze(labels, 0.9 - labels / 2), freeze(labels, np.full(10, 0.3))
    for flat in (upside_down, level):
        assert flat.slope == 0
        assert_allclose(flat.probability([0, 1]), (4 * 5 / 6 + 6 / 8) / 10)
    assert "fold 2," in performance.thin(
        pd.DataFrame(
            [(1, "validation", 60, 30, 8), (2, "validation", 60, 9, 8), (2, "test", 3, 1, 1)],
            columns=["fold", "part", "segments", "infiltration", "patients"],
        )
    )


def test_the_bootstrap_draws_patients():
    table = probabilities("dcnn")
    found = performance.calibration(table, resamples=200, seed=3).set_index("quantity").loc["brier"]
    y, groups = table["y_true"], table["participant_id"]
    scores = [np.average((table["score"] - y) ** 2, weights=weights) for weights in drawn(groups, y, 200, 3)]
    assert_allclose(found[["low", "high"]].astype(float), np.percentile(scores, [2.5, 97.5]))


def test_what_has_no_calibration_has_a_note():
    outside = performance.calibration(predictions("dcnn"))
    assert outside["value"].isna().all() and outside["note"].str.contains(r"probabilities in \[0, 1\]").all()
    assert len(performance.calibration_curve(predictions("dcnn"))) == 1
    parted = predictions("dcnn").assign(score=lambda table: table["y_true"] * 1.0)
    found = performance.calibration(parted, resamples=20).set_index("quantity")
    assert "no finite slope" in found.loc["slope", "note"] and np.isnan(found.loc["slope", "value"])
    assert found.loc["intercept", "note"] == f"160 scores moved to {EPSILON:g} from 0 or 1"
    reversed_ = performance.calibration(parted.assign(score=1 - parted["score"]), resamples=20).set_index("quantity")
    assert reversed_.loc["intercept", ["low", "high"]].notna().all() and reversed_.loc["scaled_brier", "value"] < -1
    for score, said in ((0.3, ""), (0.0, ", 160 scores moved to 0.001 from 0 or 1")):
        constant = performance.calibration(parted.assign(score=score), resamples=20).set_index("quantity")
        assert constant.loc["slope", "note"] == f"no slope: all scores are equal{said}"
    one = performance.calibration(probabilities("dcnn").assign(y_true=1))
    assert one["value"].isna().all() and one["note"].str.contains("label 1 only").all()


@pytest.mark.parametrize("decimals", [1, 12])
def test_the_curve_counts_every_segment_once(decimals):
    table = probabilities("dcnn").round({"score": decimals})
    curve = performance.calibration_curve(table, bins=5)
    assert curve["n"].sum() == len(table) and curve["mean_score"].is_monotonic_increasing
    assert_allclose(np.average(curve["observed"], weights=curve["n"]), table["y_true"].mean())
    assert_allclose(np.average(curve["mean_score"], weights=curve["n"]), table["score"].mean())
    if decimals == 12:
        assert curve["n"].eq(32).all()
        lowest = table.nsmallest(32, "score")
        x = lowest.groupby("participant_id")["y_true"].agg(["sum", "size"])
        p, patients = x["sum"].sum() / 32, len(x)
        variance = patients / (patients - 1) * ((x["sum"] - x["size"] * p) ** 2).sum() / 32**2
        assert_allclose(curve[["low", "high"]].iloc[0].astype(float), roc.auc_interval(p, variance))
