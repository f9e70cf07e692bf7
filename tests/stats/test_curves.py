"""Curves and points on them, against scikit-learn and against loops over all thresholds."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.metrics import auc as trapezoids

from mflib.base.errors import InputError
from mflib.stats import roc
from tests.stats.samples import tied_sample


def test_the_area_under_the_curve_is_the_auc():
    y_true, scores, _ = tied_sample(2)
    false_positive_rate, true_positive_rate, threshold = roc.curve(y_true, scores[:, 0])
    assert_allclose(trapezoids(false_positive_rate, true_positive_rate), roc.auc_covariance(y_true, scores[:, 0])[0])
    assert np.isinf(threshold[0]) and true_positive_rate[0] == 0 and false_positive_rate[-1] == 1


@pytest.mark.parametrize("seed", range(3))
def test_operating_points_are_the_best_of_all_thresholds(seed):
    y_true, scores, _ = tied_sample(seed)
    scores = scores[:, 0]
    points = [
        (np.mean(scores[y_true == 1] >= t), np.mean(scores[y_true == 0] < t), t) for t in [np.inf, *np.unique(scores)]
    ]
    for asked in [0, 0.3, 0.5, 0.8, 0.9, 1, *(p[0] for p in points), *(p[1] for p in points)]:
        best = max((se, sp, t) for se, sp, t in points if sp >= asked)
        assert roc.threshold_at(y_true, scores, "specificity", asked) == best[2]
        best = max((sp, se, t) for se, sp, t in points if se >= asked)
        assert roc.threshold_at(y_true, scores, "sensitivity", asked) == best[2]


def test_a_specificity_that_only_calling_none_reaches():
    assert roc.threshold_at([0, 1, 1, 0], [4, 3, 2, 1], "specificity", 1) == np.inf
    assert roc.threshold_at([0, 1, 1, 0], [4, 3, 2, 1], "sensitivity", 1) == 2
    # Four of five is 0.8, and asking for 0.8 gets it.
    assert roc.threshold_at([0, 0, 0, 0, 0, 1], [1, 2, 3, 4, 6, 5], "specificity", 0.8) == 5


def test_wrong_columns_are_named():
    y_true, scores, _ = tied_sample(1)
    with pytest.raises(InputError, match="found 3 columns of scores, expected one"):
        roc.curve(y_true, scores)
