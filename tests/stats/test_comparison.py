"""Differences of areas: pairs, and several at once."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import chi2

from mflib.base.errors import InputError
from mflib.stats import roc
from tests.stats.samples import obuchowski_by_loops, tied_sample


def test_only_the_ranks_count_and_models_that_rank_alike_do_not_differ():
    y_true, scores, groups = tied_sample(3)
    alike = np.column_stack([scores[:, 0], np.exp(scores[:, 0])])
    for clusters in (groups, None):
        pair = roc.compare(y_true, alike, clusters)
        assert (pair["difference"], pair["se"], pair["p"]) == (0, 0, 1)
    auc, _ = roc.auc_covariance(y_true, -scores, groups)
    assert_allclose(auc, 1 - roc.auc_covariance(y_true, scores, groups)[0], rtol=1e-14)


def test_nothing_to_test_with_is_said():
    pair = roc.compare([0, 0, 1, 1], [[1, 4], [2, 3], [3, 2], [4, 1]])
    assert pair["difference"] == 1 and pair["se"] == 0 and np.isnan(pair["p"])


@pytest.mark.parametrize("clustered", [True, False])
def test_the_joint_test_is_walds_with_any_contrast(clustered):
    y_true, scores, groups = tied_sample(6)
    theta, covariance = obuchowski_by_loops(y_true, scores, groups if clustered else np.arange(60))
    for contrast in ([[1, -1, 0], [0, 1, -1]], [[2, -1, -1], [0, 3, -3]]):
        rows = np.array(contrast)
        difference = rows @ theta
        expected = difference @ np.linalg.inv(rows @ covariance @ rows.T) @ difference
        found = roc.joint(y_true, scores, groups if clustered else None)
        assert_allclose([found["statistic"], found["p"]], [expected, chi2.sf(expected, 2)], rtol=1e-10)
        assert found["df"] == 2


def test_the_joint_test_of_two_is_the_square_of_the_paired_one():
    y_true, scores, groups = tied_sample(7)
    pair, found = roc.compare(y_true, scores[:, :2], groups), roc.joint(y_true, scores[:, :2], groups)
    assert_allclose([found["statistic"], found["df"], found["p"]], [pair["z"] ** 2, 1, pair["p"]], rtol=1e-12)


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 0, 2, 1], [1, 3, 0, 2]])
def test_a_model_that_ranks_as_another_adds_no_degree_of_freedom(order):
    y_true, scores, groups = tied_sample(9)
    doubled = np.column_stack([scores, np.exp(scores[:, 1])])[:, order]
    expected, found = roc.joint(y_true, scores, groups), roc.joint(y_true, doubled, groups)
    assert found["df"] == expected["df"] == 2
    assert_allclose([found["statistic"], found["p"]], [expected["statistic"], expected["p"]], rtol=1e-9)
    assert roc.joint(y_true, scores[:, [0, 0, 0]], groups) == {"statistic": 0.0, "df": 0, "p": 1.0}


def test_equal_areas_of_different_curves_are_tested():
    y_true = np.array([0, 1, 0, 0, 1, 0, 1, 1])
    scores = np.array([[3, 2, 0], [3, 0, 0], [3, 3, 3], [2, 1, 3], [2, 3, 0], [0, 2, 2], [0, 2, 1], [0, 0, 3]])
    theta, covariance = obuchowski_by_loops(y_true, scores, np.arange(8))
    assert theta[0] == theta[1]
    rows = np.array([[1, -1, 0], [1, 0, -1]])
    expected = rows @ theta @ np.linalg.inv(rows @ covariance @ rows.T) @ rows @ theta
    found = roc.joint(y_true, scores)
    assert_allclose([found["statistic"], found["df"]], [expected, 2], rtol=1e-9)


def test_areas_that_differ_without_variance_are_no_joint_test():
    with pytest.raises(InputError, match=r"found areas .1.0, 0.0., which differ where"):
        roc.joint([0, 0, 1, 1], [[1, 4], [2, 3], [3, 2], [4, 1]])
    with pytest.raises(InputError, match=r"found areas .1.0, 0.0, 0.75., which differ where"):
        roc.joint([0, 0, 1, 1], [[1, 4, 1], [2, 3, 3], [3, 2, 2], [4, 1, 4]])


def test_a_difference_without_variance_is_tested_only_where_there_is_none():
    same, other = roc.normal_test(0.0, 0.0), roc.normal_test(0.1, 0.0)
    assert (same["difference"], same["se"], same["p"]) == (0, 0, 1)
    assert other["se"] == 0 and np.isnan(other["p"])
