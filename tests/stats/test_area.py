"""Areas and covariances against worked and published examples, and against the definitions written as double loops."""

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.special import logit

from benchmarks.roc_coverage import SCENARIOS, simulate
from mflib.base.errors import InputError
from mflib.stats import roc
from tests.stats.samples import MRA, obuchowski_by_loops, shares_by_loops, tied_sample, worked_example


def test_worked_example_in_exact_fractions():
    auc, covariance = roc.auc_covariance(*worked_example())
    assert_allclose(auc, [23 / 32, 29 / 32], rtol=1e-15)
    expected = [[Fraction(575, 24576), Fraction(-319, 24576)], [Fraction(-319, 24576), Fraction(117, 8192)]]
    assert_allclose(covariance, np.array(expected, dtype=float), rtol=1e-13)
    pair = roc.compare(*worked_example())
    assert_allclose([pair["difference"], pair["se"], pair["p"]], [-0.1875, 0.252268354965, 0.457326629285], rtol=1e-11)


@pytest.mark.skipif(not MRA.exists(), reason="the published MRA readings are not beside this checkout")
def test_published_example_of_obuchowski_1997():
    mra = pd.read_csv(MRA)
    auc, covariance = roc.auc_covariance(mra["y"], mra[["reader1", "reader2"]], mra["cluster"])
    assert_allclose(auc, [0.9837164751, 0.9851532567], atol=5e-11)
    assert_allclose(np.sqrt(np.diag(covariance)), [0.0108362875, 0.0096864433], atol=5e-11)
    pair = roc.compare(mra["y"], mra[["reader1", "reader2"]], mra["cluster"])
    assert_allclose([pair["se"], pair["p"]], [0.0065768746, 0.8270710069], atol=5e-11)


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
        ([0, 0, 1, 1], [1, 2, 3, 4], ["a", "b", "c", np.nan], "no group at position 3"),
    ],
)
def test_wrong_input_is_named(y_true, scores, groups, message):
    with pytest.raises(InputError, match=message):
        roc.auc_covariance(y_true, scores, groups)


@pytest.mark.parametrize("patients", [7, 11, 13, 23, 46])
def test_a_variance_that_cancels_is_zero_and_not_what_rounding_leaves(patients):
    # One score for the whole patient, half of whose segments are positive: every patient's influence is nothing.
    rng = np.random.default_rng(patients)
    groups = np.repeat(np.arange(patients), 6)
    y_true = np.tile([0, 1, 0, 1, 0, 1], patients)
    scores = rng.random(patients)[groups]
    auc, covariance = roc.auc_covariance(y_true, scores, groups)
    assert auc[0] == pytest.approx(0.5)
    assert covariance[0, 0] == 0
    low, high = roc.auc_interval(float(auc[0]), float(covariance[0, 0]))
    assert low <= auc[0] <= high


@pytest.mark.parametrize("split", ["patient", "segment"])
def test_fold_means_are_the_sums_of_influences_by_loops(split):
    y_true, scores, groups = tied_sample(8, n=90, n_groups=14)
    folds = groups % 3 if split == "patient" else np.arange(90) % 3
    mean, influence = np.zeros(3), {group: np.zeros(3) for group in groups}
    for fold in range(3):
        cases = np.flatnonzero(folds == fold)
        share, y = shares_by_loops(y_true[cases], scores[cases]), y_true[cases]
        area = share[y == 1].mean(axis=0)
        mean += area / 3
        for case, label, above in zip(cases, y, share - area, strict=True):
            # I(y) / P(y) times the excess is the influence; each fold is a mean of n of them, and there are 3 folds.
            curve = above / np.mean(y == label)
            with_label = len(set(groups[cases][y == label]))
            influence[groups[case]] += np.sqrt(with_label / (with_label - 1)) * curve / (3 * len(cases))
    auc, covariance = roc.fold_mean(y_true, scores, folds, groups)
    assert_allclose(auc, mean, rtol=1e-14)
    assert_allclose(covariance, sum(np.outer(c, c) for c in influence.values()), rtol=1e-12)


def test_one_fold_of_single_cases_is_delong():
    y_true, scores, _ = tied_sample(4)
    for found, expected in zip(
        roc.fold_mean(y_true, scores, np.zeros(60)), roc.auc_covariance(y_true, scores), strict=True
    ):
        assert_allclose(found, expected, rtol=1e-12)


def test_a_fold_with_one_group_of_a_class_is_named_with_its_counts():
    y_true, scores = [1, 0] * 4, [3, 1, 1, 2, 5, 2, 7, 1]
    with pytest.raises(InputError, match="fold 0: found 1 groups with positives and 1 with negatives"):
        roc.fold_mean(y_true, scores, [0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1, 2, 2])
    with pytest.raises(InputError, match="fold b: found 2 cases with positives and 0 with negatives"):
        roc.fold_mean([0, 1, 0, 1, 1, 1], [1, 2, 3, 4, 5, 6], list("aaaabb"))


def test_the_variance_of_a_fold_mean_that_cancels_is_zero():
    groups, y_true = np.repeat(np.arange(42), 6), np.tile([0, 1], 126)
    scores = np.random.default_rng(0).random(42)[groups]
    auc, covariance = roc.fold_mean(y_true, scores, groups % 3, groups)
    assert auc[0] == pytest.approx(0.5) and covariance[0, 0] == 0


@pytest.mark.slow
def test_clustered_intervals_and_tests_hold_their_level_and_naive_ones_do_not():
    # A share of 1000 simulations has a standard error of 0.0069 at .95 or .05: four of them are 0.028.
    shares = simulate(SCENARIOS["labels by patient, scores .5"], 1000)
    assert abs(shares.logit - 0.95) < 0.028
    assert abs(shares.clustered_error - 0.05) < 0.028
    # 4000 simulations of the benchmark cover .658 and err .341, here with a standard error of 0.015.
    assert abs(shares.naive - 0.658) < 0.06 and abs(shares.naive_error - 0.341) < 0.06
