"""Curves, parts of them and points on them, against scikit-learn and against loops over all thresholds."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.metrics import auc as trapezoids
from sklearn.metrics import roc_auc_score

from mflib import roc
from tests.roc.samples import tied_sample


def test_the_area_under_the_curve_is_the_auc():
    y_true, scores, _ = tied_sample(2)
    false_positive_rate, true_positive_rate, threshold = roc.curve(y_true, scores[:, 0])
    assert_allclose(trapezoids(false_positive_rate, true_positive_rate), roc.auc_covariance(y_true, scores[:, 0])[0])
    assert np.isinf(threshold[0]) and true_positive_rate[0] == 0 and false_positive_rate[-1] == 1


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("decimals", [0, 1, 8])
def test_the_first_part_is_scikit_learns(seed, decimals):
    rng = np.random.default_rng(seed)
    y_true = rng.integers(2, size=50)
    scores = np.round(rng.normal(size=50) + y_true, decimals)
    for high in (0.01, 0.1, 0.2, 0.5, 1.0):
        found = roc.partial_auc(y_true, scores, 0, high)
        expected = roc_auc_score(y_true, scores, max_fpr=high)
        assert_allclose(found.standardised, expected, rtol=1e-12)


def test_parts_add_up_on_either_axis_and_mirror_each_other():
    y_true, scores, _ = tied_sample(5)
    whole = roc.auc_covariance(y_true, scores[:, 0])[0][0]
    cuts = [0, 0.1, 0.23, 0.5, 0.8, 1]
    for over in ("false_positive_rate", "sensitivity"):
        parts = [roc.partial_auc(y_true, scores[:, 0], low, high, over=over).raw for low, high in pairwise(cuts)]
        assert_allclose(sum(parts), whole, rtol=1e-13)
    # Diseased called healthy and scores turned round: sensitivity becomes 1 - false positive rate.
    part = roc.partial_auc(y_true, scores[:, 0], 0.8, 1, over="sensitivity")
    turned = roc.partial_auc(1 - y_true, -scores[:, 0], 0, 0.2)
    assert_allclose([part.raw, part.standardised], [turned.raw, turned.standardised], rtol=1e-12)


def test_parts_by_hand_on_steps_and_on_a_tie():
    # Up to 1/2, right to 1/3, then aslant through a tie of one positive and one negative, then right to 1.
    y_true, scores = [1, 0, 1, 0, 0], [4, 3, 2, 2, 1]
    assert roc.partial_auc(y_true, scores, 0, 1 / 3).raw == pytest.approx(1 / 6)
    assert roc.partial_auc(y_true, scores, 1 / 3, 0.5).raw == pytest.approx((0.5 + 0.75) / 2 / 6)
    assert roc.partial_auc(y_true, scores, 0.5, 1).raw == pytest.approx((0.75 + 1) / 2 / 6 + 1 / 3)
    assert roc.partial_auc(y_true, scores, 0.5, 1, over="sensitivity").raw == pytest.approx(0.5 * (2 / 3 + 1 / 3) / 2)
    # Equal scores for all: the diagonal, whatever the part; no error at all: one.
    assert roc.partial_auc(y_true, np.ones(5), 0.3, 0.4).standardised == pytest.approx(0.5)
    assert roc.partial_auc(y_true, y_true, 0.3, 0.4).standardised == pytest.approx(1)


@pytest.mark.parametrize("seed", range(3))
def test_operating_points_are_the_best_of_all_thresholds(seed):
    y_true, scores, _ = tied_sample(seed)
    scores = scores[:, 0]
    points = [
        (np.mean(scores[y_true == 1] >= t), np.mean(scores[y_true == 0] < t), t) for t in [np.inf, *np.unique(scores)]
    ]
    for asked in [0, 0.3, 0.5, 0.8, 0.9, 1, *(p[0] for p in points), *(p[1] for p in points)]:
        best = max((se, sp, t) for se, sp, t in points if sp >= asked)
        assert roc.sensitivity_at(y_true, scores, asked) == (pytest.approx(best[0]), best[2])
        best = max((sp, se, t) for se, sp, t in points if se >= asked)
        assert roc.specificity_at(y_true, scores, asked) == (pytest.approx(best[0]), best[2])


def test_a_specificity_that_only_calling_none_reaches():
    assert roc.sensitivity_at([0, 1, 1, 0], [4, 3, 2, 1], 1) == (0, np.inf)
    assert roc.specificity_at([0, 1, 1, 0], [4, 3, 2, 1], 1) == (0.5, 2)
    # Four of five is 0.8, and asking for 0.8 gets it.
    assert roc.sensitivity_at([0, 0, 0, 0, 0, 1], [1, 2, 3, 4, 6, 5], 0.8) == (1, 5)


def test_wrong_ranges_and_columns_are_named():
    y_true, scores, _ = tied_sample(1)
    with pytest.raises(roc.RocError, match=r"found range 0\.5 to 0\.2"):
        roc.partial_auc(y_true, scores[:, 0], 0.5, 0.2)
    with pytest.raises(roc.RocError, match="found axis 'specificity'"):
        roc.partial_auc(y_true, scores[:, 0], over="specificity")
    with pytest.raises(roc.RocError, match="found specificity 80, expected a value from 0 to 1"):
        roc.sensitivity_at(y_true, scores[:, 0], 80)
    with pytest.raises(roc.RocError, match="found 3 columns of scores, expected one"):
        roc.curve(y_true, scores)
