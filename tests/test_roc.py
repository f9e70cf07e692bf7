"""ROC statistics against worked and published examples, and against the definitions written as double loops."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.special import logit
from sklearn.metrics import auc as trapezoids

from mflib import roc

WORKED = "A:1:3:2 A:1:5:4 A:0:2:3 B:1:4:4 B:0:1:1 B:0:4:2 C:0:3:1 D:1:2:5"
MRA = Path(__file__).parents[2] / "shared/reference/mra_obuchowski1997.csv"


@pytest.fixture
def worked():
    rows = [case.split(":") for case in WORKED.split()]
    groups, y_true = [row[0] for row in rows], [int(row[1]) for row in rows]
    return y_true, np.array([row[2:] for row in rows], dtype=float), groups


def tied_sample(seed, n=60, n_groups=9):
    rng = np.random.default_rng(seed)
    groups = rng.integers(n_groups, size=n)
    y_true = (rng.random(n) < 0.2 + 0.6 * groups / n_groups).astype(int)
    scores = np.round(rng.normal(size=(n, 3)) + 0.8 * y_true[:, None] + 0.3 * groups[:, None] / n_groups, 1)
    return y_true, scores, groups


def obuchowski_by_loops(y_true, scores, groups):
    """The formulas of Obuchowski 1997 read line by line, in whole loops over pairs and clusters."""
    positive, negative = np.flatnonzero(y_true == 1), np.flatnonzero(y_true == 0)
    m, n, k = len(positive), len(negative), scores.shape[1]

    def psi(x, y):
        return 1.0 if x > y else 0.5 if x == y else 0.0

    share = np.zeros((len(y_true), k))
    for r in range(k):
        for i in positive:
            share[i, r] = sum(psi(scores[i, r], scores[j, r]) for j in negative) / n
        for j in negative:
            share[j, r] = sum(psi(scores[i, r], scores[j, r]) for i in positive) / m
    theta = share[positive].mean(axis=0)
    clusters = sorted(set(groups))
    i10 = sum(any(groups[i] == c for i in positive) for c in clusters)
    i01 = sum(any(groups[j] == c for j in negative) for c in clusters)
    covariance = np.zeros((k, k))
    for r in range(k):
        for s in range(k):
            s10 = s01 = s11 = s11_back = 0.0
            for c in clusters:
                a, b = (
                    [sum(share[i, q] - theta[q] for i in cases if groups[i] == c) for q in (r, s)]
                    for cases in (positive, negative)
                )
                s10, s01 = s10 + a[0] * a[1], s01 + b[0] * b[1]
                s11, s11_back = s11 + a[0] * b[1], s11_back + a[1] * b[0]
            factor = len(clusters) / (len(clusters) - 1)
            covariance[r, s] = (
                i10 / ((i10 - 1) * m) * s10 / m + i01 / ((i01 - 1) * n) * s01 / n + factor * (s11 + s11_back) / (m * n)
            )
    return theta, covariance


def test_worked_example_in_exact_fractions(worked):
    auc, covariance = roc.auc_covariance(*worked)
    assert_allclose(auc, [23 / 32, 29 / 32], rtol=1e-15)
    expected = [[Fraction(575, 24576), Fraction(-319, 24576)], [Fraction(-319, 24576), Fraction(117, 8192)]]
    assert_allclose(covariance, np.array(expected, dtype=float), rtol=1e-13)
    pair = roc.compare(*worked).iloc[0]
    assert_allclose(
        pair[["difference", "se", "p"]].astype(float), [-0.1875, 0.252268354965, 0.457326629285], rtol=1e-11
    )


@pytest.mark.skipif(not MRA.exists(), reason="the published MRA readings are not beside this checkout")
def test_published_example_of_obuchowski_1997():
    mra = pd.read_csv(MRA)
    auc, covariance = roc.auc_covariance(mra["y"], mra[["reader1", "reader2"]], mra["cluster"])
    assert_allclose(auc, [0.9837164751, 0.9851532567], atol=5e-11)
    assert_allclose(np.sqrt(np.diag(covariance)), [0.0108362875, 0.0096864433], atol=5e-11)
    pair = roc.compare(mra["y"], mra[["reader1", "reader2"]], mra["cluster"]).iloc[0]
    assert_allclose(pair[["se", "p"]].astype(float), [0.0065768746, 0.8270710069], atol=5e-11)


@pytest.mark.parametrize("seed", range(5))
def test_equals_the_definition_with_ties_and_clusters(seed):
    y_true, scores, groups = tied_sample(seed)
    for clusters in (groups, np.arange(len(y_true))):
        expected_auc, expected = obuchowski_by_loops(y_true, scores, clusters)
        auc, covariance = roc.auc_covariance(y_true, scores, clusters)
        assert_allclose(auc, expected_auc, rtol=1e-14)
        assert_allclose(covariance, expected, rtol=1e-11, atol=1e-16)


def test_one_case_per_group_is_delong():
    y_true, scores, _ = tied_sample(11, n=200)
    auc, covariance = roc.auc_covariance(y_true, scores)
    # DeLong 1988 as sample covariances of the placement values, from the matrix of all pairs.
    pairs = [np.sign(s[y_true == 1, None] - s[None, y_true == 0]) / 2 + 0.5 for s in scores.T]
    delong = np.cov([p.mean(axis=1) for p in pairs]) / (y_true == 1).sum()
    delong += np.cov([p.mean(axis=0) for p in pairs]) / (y_true == 0).sum()
    assert_allclose(covariance, delong, atol=1e-14)
    grouped_auc, grouped = roc.auc_covariance(y_true, scores, [f"case {i}" for i in range(200)])
    assert_allclose(grouped, covariance, atol=1e-14)
    assert_allclose(grouped_auc, auc, atol=0)


def test_only_the_ranks_count_and_models_that_rank_alike_do_not_differ():
    y_true, scores, groups = tied_sample(3)
    alike = np.column_stack([scores[:, 0], np.exp(scores[:, 0])])
    for clusters in (groups, None):
        pair = roc.compare(y_true, alike, clusters).iloc[0]
        assert (pair["difference"], pair["se"], pair["p"]) == (0, 0, 1)
    auc, _ = roc.auc_covariance(y_true, -scores, groups)
    assert_allclose(auc, 1 - roc.auc_covariance(y_true, scores, groups)[0], rtol=1e-14)


def test_the_interval_covers_as_often_as_it_says_for_clustered_cases():
    rng = np.random.default_rng(5)
    y_true, groups = np.tile([0, 0, 0, 1, 1], 40), np.repeat(np.arange(40), 5)
    covered = []
    for _ in range(400):
        # Normal scores one SD apart, half of the variance shared within a patient: the true area is 0.76025.
        scores = y_true + np.sqrt(0.5) * (rng.normal(size=40)[groups] + rng.normal(size=200))
        auc, covariance = roc.auc_covariance(y_true, scores, groups)
        low, high = roc.auc_interval(auc[0], covariance[0, 0])
        covered.append(low < 0.7602499389065233 < high)
    assert 0.92 < np.mean(covered) < 0.98


def test_intervals_by_hand_and_at_the_edge():
    half_width = 1.959963984540054 * 0.04
    assert_allclose(roc.auc_interval(0.8, 0.0016, "wald"), [0.8 - half_width, 0.8 + half_width])
    low, high = roc.auc_interval(0.8, 0.0016)
    assert_allclose([logit(high) - logit(0.8), logit(0.8) - logit(low)], half_width / 0.16)
    assert roc.auc_interval(0.99, 0.0025)[1] < 1 < roc.auc_interval(0.99, 0.0025, "wald")[1]
    for perfect, expected in (([0, 0, 1, 1], 1.0), ([1, 1, 0, 0], 0.0)):
        auc, covariance = roc.auc_covariance(perfect, [1, 2, 3, 4])
        for method in ("logit", "wald"):
            assert roc.auc_interval(auc[0], covariance[0, 0], method) == (expected, expected)


def test_nothing_to_test_with_is_said():
    pair = roc.compare([0, 0, 1, 1], [[1, 4], [2, 3], [3, 2], [4, 1]]).iloc[0]
    assert pair["difference"] == 1 and pair["se"] == 0 and np.isnan(pair["p"])


def test_the_area_under_the_curve_is_the_auc():
    y_true, scores, _ = tied_sample(2)
    false_positive_rate, true_positive_rate, threshold = roc.curve(y_true, scores[:, 0])
    assert_allclose(trapezoids(false_positive_rate, true_positive_rate), roc.auc_covariance(y_true, scores[:, 0])[0])
    assert np.isinf(threshold[0]) and true_positive_rate[0] == 0 and false_positive_rate[-1] == 1


@pytest.mark.parametrize(
    ("y_true", "scores", "groups", "message"),
    [
        ([1, 1, 1], [1, 2, 3], None, "3 cases of class .1.0., expected positives and negatives"),
        ([0, 1, 2], [1, 2, 3], None, "labels .0.0, 1.0, 2.0., expected 0 and 1"),
        ([0, 1, np.nan], [1, 2, 3], None, "nan., expected 0 and 1"),
        ([0, 1, 1], [1, np.nan, 3], None, "1 non-finite scores, the first at 1"),
        ([0, 1], [1, 2, 3], None, "2 labels and 3 scores"),
        ([0, 0, 1], [1, 2, 3], None, "1 cases with positives and 2 with negatives"),
        ([0, 0, 1, 1], [1, 2, 3, 4], ["a", "b", "c", "c"], "1 groups with positives and 2 with negatives"),
        ([0, 0, 1, 1], [1, 2, 3, 4], ["a", "b", None, "c"], "no group at position 2"),
        ([0, 0, 1, 1], [1, 2, 3, 4], ["a", "b"], "2 groups for 4 cases"),
    ],
)
def test_wrong_input_is_named(y_true, scores, groups, message):
    with pytest.raises(roc.RocError, match=message):
        roc.auc_covariance(y_true, scores, groups)


@pytest.mark.parametrize("patients", [7, 11, 13, 23, 46])
def test_a_variance_that_cancels_is_zero_and_not_below(patients):
    # One score for the whole patient, half of whose segments are positive: every patient's influence is nothing.
    rng = np.random.default_rng(patients)
    groups = np.repeat(np.arange(patients), 6)
    y_true = np.tile([0, 1, 0, 1, 0, 1], patients)
    scores = rng.random(patients)[groups]
    auc, covariance = roc.auc_covariance(y_true, scores, groups)
    assert auc[0] == pytest.approx(0.5)
    assert 0 <= covariance[0, 0] < 1e-15
    low, high = roc.auc_interval(float(auc[0]), float(covariance[0, 0]))
    assert low <= auc[0] <= high
