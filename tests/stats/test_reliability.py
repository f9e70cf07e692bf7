"""ICC against the published example, against an analysis of variance by another library, and in simulated patients."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy.stats import t as student
from statsmodels.formula.api import ols

from mflib.base.errors import InputError
from mflib.base.words import KEY
from mflib.stats import reliability

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
    # Two rows that changed their segment leave as many rows as before.
    moved = table.assign(
        participant_id=["sub-001" if n in (3, 4) else p for n, p in enumerate(table["participant_id"])]
    )
    for broken in (moved, table.drop(index=[3, 4])):
        with pytest.raises(InputError, match="sub-000 L45 L: found 0 rows of ROI -1, expected one"):
            reliability.repeatability(broken)


def test_one_way_of_shrout_and_fleiss():
    found = reliability.one_way_icc(SHROUT_FLEISS.ravel(), np.repeat(np.arange(6), 4))
    assert round(found.icc, 2) == 0.17  # ICC(1,1), their table 4
    assert (found.n, found.groups, found.size) == (24, 6, 4)


def test_one_way_of_unequal_groups_is_an_analysis_of_variance():
    rng = np.random.default_rng(0)
    groups = rng.permutation(np.repeat(np.arange(15), rng.integers(1, 9, 15)))
    values = 1e6 + rng.normal(size=15)[groups] + rng.normal(size=len(groups))
    table = sm.stats.anova_lm(ols("y ~ C(g)", pd.DataFrame({"y": values, "g": groups})).fit())
    between, inside = table["mean_sq"]
    sizes, n = np.bincount(groups), len(groups)
    m0 = (n - (sizes**2).sum() / n) / 14
    found = reliability.one_way_icc(values, groups)
    assert found.icc == pytest.approx((between - inside) / (between + (m0 - 1) * inside), rel=1e-7)
    assert found.low < found.icc < found.high and found.problem == ""
    # The size of a value's group, averaged over values.
    assert found.size == pytest.approx(sizes[groups].mean())
    # The jackknife by hand: every group left out in turn.
    logs = []
    for group in range(15):
        rest = pd.DataFrame({"y": values, "g": groups})[groups != group]
        mean_squares = sm.stats.anova_lm(ols("y ~ C(g)", rest).fit())["mean_sq"]
        logs.append(np.log(mean_squares.iloc[0] / mean_squares.iloc[1]))
    reach = student.ppf(0.975, 14) * np.sqrt(14 * np.var(logs))
    ratio = between / inside * np.exp(-reach)
    assert found.low == pytest.approx((ratio - 1) / (ratio + m0 - 1), rel=1e-6)


def test_one_way_interval_covers_in_binary_labels():
    # Labels of 46 patients x 8 cut from normal values that correlate by .6: their own correlation is tetrachoric.
    rng, groups, covered = np.random.default_rng(1), np.repeat(np.arange(46), 8), 0
    truth = 2 / np.pi * np.arcsin(0.6)
    for _ in range(300):
        latent = np.sqrt(0.6) * rng.normal(size=(46, 1)) + np.sqrt(0.4) * rng.normal(size=(46, 8))
        found = reliability.one_way_icc((latent > 0).ravel(), groups)
        covered += found.low <= truth <= found.high
    assert 0.91 <= covered / 300 <= 0.98  # binomial error of 95 % in 300: 1.3 %


def test_values_that_avoid_their_own_group_are_negative_and_add_nothing():
    found = reliability.one_way_icc([0, 1, 0, 1, 1, 0, 1, 0, 0, 0], np.repeat(np.arange(5), 2))
    assert -1 <= found.icc < 0
    assert found.design_effect == 1 and found.effective_n == 10


@pytest.mark.parametrize(
    ("values", "groups", "icc", "problem"),
    [
        ([0, 0, 1, 1, 1, 1], "aabbcc", 1.0, "no interval: nothing varies inside the groups"),
        ([0, 1, 0, 1, 0, 1], "aabbcc", -1.0, "no interval: nothing varies between the groups"),
        ([0, 1, 1, 1, 0, 0], "aabbcc", 0.5, "no interval: without a there is nothing to compare"),
        ([0, 1, 1, 1], "aabb", 0.0, "no interval: 2 groups, at least 3 needed"),
        ([1, 1, 1, 1], "aabb", None, "all values are the same"),
        ([0, 1, 1], "abc", None, "no group has two values"),
        ([0, 1, 1], "aaa", None, "1 groups, at least 2 needed"),
        ([], "", None, "0 groups, at least 2 needed"),
    ],
)
def test_what_one_way_cannot_say_is_said(values, groups, icc, problem):
    found = reliability.one_way_icc(values, list(groups))
    assert found.icc == (None if icc is None else pytest.approx(icc)) and found.problem == problem
    assert found.low is None and found.high is None


def test_the_reading_names_what_repeats_poorly_and_whether_it_is_offered():
    values = {"nakagami_omega": 0.1, "first_order_mean": 0.9, "glcm_8_1_1.0.0_ASM": 0.08, "glcm_8_1_1.0.0_energy": 0.45}
    repeats = pd.DataFrame({"perturbation": reliability.ALL, "feature": list(values), "icc": list(values.values())})
    told = reliability.poor_in_words(repeats, 0.0)
    assert (
        "**3 of 4 features repeat poorly** (ICC below 0.5): Nakagami Ω 0.10, GLCM ASM, 8 levels, step 1, lateral 0.08, "
        in told
    )
    assert told.endswith("and 1 more of the GLCM. The forest is offered 3 of them nevertheless (`minimum_icc` is 0).")
    assert "offered 1 of them nevertheless" in reliability.poor_in_words(repeats, 0.3)
    assert reliability.poor_in_words(repeats, 0.75).endswith("offered none of them.")
    assert "**0 of 1 features" in (none := reliability.poor_in_words(repeats[1:2], 0.0)) and none.endswith("none.")
