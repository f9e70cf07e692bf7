"""ICC(2,1) against the published example and against an analysis of variance by another library."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from statsmodels.formula.api import ols

from mflib import reliability
from mflib.volume import KEY

# Shrout & Fleiss 1979, table 2: six targets, four judges.
SHROUT_FLEISS = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float)


def test_shrout_and_fleiss():
    estimate, low, high = (bound[0] for bound in reliability.icc(SHROUT_FLEISS[:, :, None]))
    assert round(estimate, 2) == 0.29  # their table 4
    # The interval in the help page of R's psych::ICC, on these data.
    assert (round(low, 3), round(high, 3)) == (0.019, 0.761)


def test_equal_to_an_analysis_of_variance():
    rng = np.random.default_rng(0)
    values = (
        rng.normal(size=(15, 1, 4)) * [2, 1, 0.2, 5] + rng.normal(size=(1, 5, 4)) + rng.normal(size=(15, 5, 4)) + 1e4
    )
    estimate, low, high = reliability.icc(values)
    for feature in range(4):
        cases, raters = np.indices((15, 5))
        frame = pd.DataFrame({"y": values[..., feature].ravel(), "case": cases.ravel(), "rater": raters.ravel()})
        table = sm.stats.anova_lm(ols("y ~ C(case) + C(rater)", frame).fit())
        rows, columns, error = table["mean_sq"]
        expected = (rows - error) / (rows + 4 * error + 5 / 15 * (columns - error))
        assert estimate[feature] == pytest.approx(expected, rel=1e-8)
    assert (low < estimate).all() and (estimate < high).all()


def test_scale_and_shift_change_nothing():
    values = np.random.default_rng(1).normal(size=(10, 3, 1)) + np.arange(10)[:, None, None]
    np.testing.assert_allclose(reliability.icc(values), reliability.icc(values * 1e-9 - 5e-9), rtol=1e-6)


def test_perfect_and_constant_features_are_one_and_noise_is_none():
    cases = np.arange(8.0)[:, None]
    values = np.stack(
        [np.repeat(cases, 3, 1), np.full((8, 3), 7.0), np.random.default_rng(2).normal(size=(8, 3))], axis=2
    )
    estimate, low, high = reliability.icc(values)
    assert estimate[:2].tolist() == low[:2].tolist() == high[:2].tolist() == [1, 1]
    assert estimate[2] < 0.6 and low[2] < 0.1


@pytest.mark.parametrize("noise", [1e-6, 1e-9, 1e-11, 1e-13])
def test_nearly_perfect_features_have_an_interval(noise):
    cases = np.arange(8.0)[:, None] + noise * np.random.default_rng(2).normal(size=(8, 3))
    for bound in reliability.icc(cases[:, :, None]):
        assert bound[0] == pytest.approx(1, abs=10 * noise)


@pytest.mark.parametrize("shape", [(2, 2), (3, 2), (2, 5), (6, 3)])
def test_cases_that_do_not_differ_have_an_interval(shape):
    values = np.random.default_rng(3).normal(size=shape)
    values -= values.mean(axis=1, keepdims=True)
    estimate, low, high = (bound[0] for bound in reliability.icc(values[:, :, None]))
    assert -1 <= low <= estimate + 1e-12 <= high + 2e-12 <= 1 + 2e-12


def test_one_case_is_refused():
    with pytest.raises(ValueError, match="1 cases and 3 measurements"):
        reliability.icc(np.zeros((1, 3, 2)))


def test_each_perturbation_is_held_against_the_measurement_as_annotated():
    rng = np.random.default_rng(3)
    rows = []
    for n in range(12):
        truth = rng.normal(size=2)
        for kind, way, noise in (
            ("as annotated", 0, 0),
            ("gain", -1, 0.1),
            ("gain", 1, 0.1),
            ("ROI", -1, 3),
            ("ROI", 1, 3),
        ):
            rows.append([f"sub-{n:03}", "L45", "L", kind, way, *(truth + noise * rng.normal(size=2)), 200])
    table = pd.DataFrame(rows, columns=[*KEY, "perturbation", "direction", "a", "b", "grey_levels"])
    found = reliability.repeatability(table.sample(frac=1, random_state=0))
    assert set(found["feature"]) == {"a", "b"}
    assert found.groupby("perturbation")["measurements"].first().to_dict() == {"gain": 3, "ROI": 3, "all": 5}
    assert (found["segments"] == 12).all()
    icc = found.pivot(index="feature", columns="perturbation", values="icc")
    assert (icc["gain"] > 0.95).all() and (icc["ROI"] < 0.5).all()
    ordered = table[table["perturbation"] != "ROI"].sort_values([*KEY, "perturbation", "direction"])
    by_hand = reliability.icc(ordered[["a"]].to_numpy().reshape(12, 3, 1))[0][0]
    assert icc.loc["a", "gain"] == pytest.approx(by_hand)
