"""BMI and pain against known correlations, a linear model by another library, and every patient left out in turn."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.stats import norm, spearmanr
from statsmodels.formula.api import ols

from mflib.stats import clinical
from mflib.stats.clinical import correlation

N = 46


@pytest.fixture
def people():
    """BMI grows with age and differs between the sexes, pain with BMI and age; some values are missing."""
    rng = np.random.default_rng(5)
    table = pd.DataFrame({"participant_id": [f"sub-{n:03}" for n in range(N)], "sex": rng.choice(["M", "F"], N)})
    table["age"] = rng.integers(20, 60, N).astype(float)
    table["bmi"] = 18 + 0.08 * table["age"] + (table["sex"] == "M") + rng.normal(0, 2, N)
    table["vas"] = 0.2 * table["bmi"] + 0.03 * table["age"] + rng.normal(0, 1.5, N)
    table.loc[3, "age"], table.loc[4, "vas"], table.loc[5, "sex"] = np.nan, np.nan, None
    return table


def test_bmi_vas_gives_the_interval_of_a_known_correlation():
    # Two orthogonal vectors mixed to r = 0.42 exactly, n = 46 as in the paper: P .0037, interval .15 to .63.
    rng = np.random.default_rng(0)
    a, b = np.linalg.qr(np.column_stack([np.ones(N), rng.normal(size=(N, 2))]))[0][:, 1:].T
    table = pd.DataFrame({"bmi": 23 + a, "vas": 4 + 0.42 * a + np.sqrt(1 - 0.42**2) * b})
    result = clinical.bmi_vas(pd.concat([table, pd.DataFrame({"bmi": [22.0, np.nan], "vas": [np.nan, 3.0]})]))
    assert (result.n, result.n_missing) == (46, 2)
    reach = norm.ppf(0.975) / np.sqrt(43)
    expected = [0.42, np.tanh(np.arctanh(0.42) - reach), np.tanh(np.arctanh(0.42) + reach)]
    assert_allclose([result.r, result.low, result.high], expected, rtol=1e-10)
    assert str(result) == "r = 0.42 (95 % interval 0.15 to 0.63), P = 0.004, n = 46"


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"bmi": [20.0, 21, 22, np.nan], "vas": [1.0, 2, 3, 4]}, "3 patients with both BMI and VAS, at least 4 needed"),
        ({"bmi": [20.0, 21, 22, 23]}, "0 patients with both"),
        ({"bmi": [20.0, 21, 22, 23], "vas": [3.0] * 4}, "vas the same in all 4 patients"),
        ({"bmi": [20.0, 21, 22, np.inf], "vas": [1.0, 2, 3, 4]}, "bmi infinite in 1 of 4 patients"),
    ],
)
def test_too_little_for_a_correlation_is_said(columns, problem):
    result = clinical.bmi_vas(pd.DataFrame(columns))
    assert result.r is None and result.p is None
    assert str(result).startswith(f"no correlation: {problem}")


def test_the_partial_correlation_is_the_test_of_a_linear_model(people):
    found = clinical.bmi_vas_given_age_and_sex(people)
    assert (found.n, found.n_missing) == (N - 3, 3)
    model = ols("vas ~ bmi + age + C(sex)", people).fit()
    t, freedom = model.tvalues["bmi"], model.df_resid
    assert_allclose(found.p, model.pvalues["bmi"], rtol=1e-9)
    assert_allclose(found.r, t / np.sqrt(t**2 + freedom), rtol=1e-9)
    reach = norm.ppf(0.975) / np.sqrt(N - 3 - 2 - 3)
    assert_allclose([found.low, found.high], np.tanh(np.arctanh(found.r) + np.array([-reach, reach])))
    # Confounding was built in, so holding it constant takes something away.
    assert found.r < clinical.bmi_vas(people).r


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"sex": "F"}, "sex the same in all 44 patients"),
        ({"age": np.nan}, "0 patients with BMI, VAS, age and sex, at least 6 needed"),
        ({"age": lambda t: t["sex"].map({"M": 40.0, "F": 30.0})}, "age and sex say the same of every patient"),
        ({"bmi": lambda t: 0.1 * t["age"] + 18}, "age and sex leave nothing of bmi to correlate"),
    ],
)
def test_what_cannot_be_held_constant_is_said(people, change, problem):
    found = clinical.bmi_vas_given_age_and_sex(people.assign(**change))
    assert found.r is None and found.p is None
    assert str(found).startswith(f"no partial correlation: {problem}")
    table = clinical.correlations(people.assign(**change)).set_index("coefficient")
    assert table.loc["Pearson, age and sex held constant", "note"].startswith(problem)


def test_spearmans_interval_covers():
    # Latent normal pairs with Pearson r = .5, whose Spearman is 6 / pi asin(r / 2) in truth; ranks do not see the exp.
    truth = 6 / np.pi * np.arcsin(0.25)
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(150):
        a, b = rng.multivariate_normal([0, 0], [[1, 0.5], [0.5, 1]], N).T
        found = correlation.bmi_vas_by_rank(pd.DataFrame({"bmi": np.exp(a), "vas": b}))
        covered += found.low <= truth <= found.high
    assert_allclose(found.r, spearmanr(a, b).statistic)
    assert 0.9 <= covered / 150 <= 0.99  # binomial error of 95 % in 150: 1.8 %


def test_one_far_patient_is_found(people):
    far = people.assign(
        bmi=people["bmi"].where(people.index != 20, 45.0), vas=people["vas"].where(people.index != 20, 0)
    )
    found = clinical.bmi_vas_influence(far)
    without = [clinical.bmi_vas(far.drop(index=n)).r for n in far.index if n != 4]
    assert found.patient == "sub-020"
    assert_allclose([found.low, found.high], [min(without), max(without)])
    assert_allclose(found.change, clinical.bmi_vas(far.drop(index=20)).r - clinical.bmi_vas(far).r)
    assert "leaving out sub-020 moves it the most" in str(found)
    assert clinical.bmi_vas_influence(far.set_axis([0] * N)) == found
    # Without the one who differs, BMI is constant.
    same = pd.DataFrame({"participant_id": list("abcde"), "bmi": [20.0, 20, 20, 20, 25], "vas": [1.0, 2, 3, 4, 5]})
    assert str(clinical.bmi_vas_influence(same)) == "no influence: bmi the same in all 4 patients"
