"""Predictive values and operating points, against the published formula, the cohort's own and a search."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.special import expit, logit
from scipy.stats import norm

from mflib.stats import performance
from mflib.stats.performance import decisions
from tests.stats.toy import alone, predictions


def values_at(table, prevalence):
    """Predictive values, a row for each metric."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decisions, "PREVALENCES", (prevalence,))
        return performance.predictive_values(table).set_index("metric")


def test_at_the_cohorts_own_prevalence_they_are_its_own():
    table = predictions("dcnn")
    found = values_at(table, table["y_true"].mean())
    pooled = performance.summary(table).set_index("metric")["pooled"]
    assert_allclose(found["value"], pooled[found.index])
    assert (found["low"] < found["value"]).all() and (found["value"] < found["high"]).all()


def test_independent_segments_give_the_published_interval():
    """Mercaldo, Lau & Zhou 2007, with m / (m - 1) in the binomial variances as the ratio estimator has it."""
    table = alone(predictions("dcnn"))
    found = values_at(table, 0.1)
    positive, called = table["y_true"] == 1, table["score"] >= table["threshold"]
    m, n = positive.sum() - 1, (~positive).sum() - 1
    se, sp = called[positive].mean(), (~called[~positive]).mean()
    for name, centre, variance in (
        ("ppv", logit(0.1) + np.log(se / (1 - sp)), (1 - se) / se / m + sp / (1 - sp) / n),
        ("npv", logit(0.9) + np.log(sp / (1 - se)), se / (1 - se) / m + (1 - sp) / sp / n),
    ):
        reach = norm.ppf(0.975) * np.sqrt(variance)
        expected = expit([centre, centre - reach, centre + reach])
        assert_allclose(found.loc[name, ["value", "low", "high"]].astype(float), expected)


def test_the_same_patient_adds_to_both():
    """The covariance against leaving out one patient at a time."""
    table = predictions("dcnn", n_patients=60)
    row = values_at(table, 0.3).loc["ppv"]
    se = (logit(row["high"]) - logit(row["low"])) / 2 / norm.ppf(0.975)
    called, positive = table["score"] >= table["threshold"], table["y_true"] == 1
    cells = pd.DataFrame({"tp": called & positive, "p": positive, "fp": called & ~positive, "n": ~positive})
    own = cells.astype(int).groupby(table["participant_id"]).sum()
    left_out = own.sum() - own
    ratio = np.log(left_out["tp"] / left_out["p"]) - np.log(left_out["fp"] / left_out["n"])
    assert_allclose(se, np.sqrt(59 / 60 * ((ratio - ratio.mean()) ** 2).sum()), rtol=0.05)


@pytest.mark.parametrize("n_patients", range(4, 20))
def test_a_variance_that_cancels_is_none(n_patients):
    # Each patient has as many false positives as true ones, so where one ratio moves the other does too.
    table = predictions("dcnn", n_patients=n_patients)
    called = np.arange(8) // 2 < np.random.default_rng(n_patients).permutation(np.arange(n_patients) % 3 + 1)[:, None]
    table = table.assign(y_true=np.arange(len(table)) % 2, score=called.ravel() * 1.0, threshold=0.5)
    ppv = values_at(table, 0.3).loc["ppv"]
    assert_allclose(ppv[["value", "low", "high"]].astype(float), 0.3)
    assert ppv["low"] == ppv["high"] and "no width" in ppv["note"]


def test_what_is_undefined_has_a_note():
    table = predictions("dcnn")
    none = values_at(table.assign(threshold=99), 0.2)
    assert np.isnan(none.loc["ppv", "value"]) and "no segment is called so" in none.loc["ppv", "note"]
    assert_allclose(none.loc["npv", "value"], 0.8)
    perfect = values_at(table.assign(score=table["y_true"]), 0.2)
    assert perfect["value"].eq(1).all() and perfect["note"].str.contains("no interval").all()


def test_operating_points_are_the_best_that_exist(monkeypatch):
    table = predictions("dcnn").round({"score": 1})
    found = performance.operating_points(table)
    positive = table["y_true"] == 1
    candidates = [
        ((table["score"][positive] >= t).mean(), (table["score"][~positive] < t).mean())
        for t in [*table["score"].unique(), np.inf]
    ]
    assert_allclose(found["sensitivity"].iloc[0], max(se for se, sp in candidates if sp >= 0.8))
    assert_allclose(found["specificity"].iloc[3], max(sp for se, sp in candidates if se >= 0.9))
    assert found["note"].str.contains("optimistic").all()
    monkeypatch.setattr(decisions, "FIXED", (("specificity", 1.0),))
    upside_down = performance.operating_points(table.assign(score=-table["y_true"]))
    assert upside_down["threshold"].isna().all() and upside_down["note"].str.contains("no segment is called").all()
