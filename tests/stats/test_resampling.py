"""Patients drawn again: whole, within their kind, and as wide apart as the clustered standard error says."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.metrics import roc_auc_score

from mflib.stats import roc
from tests.stats.samples import drawn, tied_sample


def test_patients_are_drawn_whole_and_within_their_kind():
    y_true, _, groups = tied_sample(3, n=40, n_groups=15)
    weights = drawn(groups, y_true, 4000, 1)
    assert weights.shape == (4000, 40)
    kinds = {g: frozenset(y_true[groups == g]) for g in groups}
    for g in kinds:
        assert (weights[:, groups == g] == weights[:, groups == g][:, :1]).all()
    representative = {g: int(np.argmax(groups == g)) for g in kinds}
    for kind in set(kinds.values()):
        members = [representative[g] for g in kinds if kinds[g] == kind]
        assert (weights[:, members].sum(axis=1) == len(members)).all()
        # A patient of s is drawn 1 time on average, with variance 1 - 1/s; five standard errors of a mean of 4000.
        assert_allclose(weights[:, members].mean(axis=0), 1, atol=5 / np.sqrt(4000))
        assert_allclose(weights[:, members].var(axis=0), 1 - 1 / len(members), atol=0.2)
    assert (weights == drawn(groups, y_true, 4000, 1)).all()
    assert (weights != drawn(groups, y_true, 4000, 2)).any()
    unstratified = drawn(groups, None, 50, 1)[:, list(representative.values())]
    assert (unstratified.sum(axis=1) == len(kinds)).all()


@pytest.mark.slow
def test_resampled_areas_spread_as_the_clustered_standard_error_says():
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(80), 6)
    y_true = (rng.normal(size=80)[groups] + rng.normal(size=480) > 0).astype(int)
    scores = 0.9 * y_true[:, None] + rng.normal(size=(80, 2))[groups] + rng.normal(size=(480, 2))
    weights = drawn(groups, y_true, 1000, 4)
    resampled = np.array([[roc_auc_score(y_true, s, sample_weight=w) for s in scores.T] for w in weights])
    _, covariance = roc.auc_covariance(y_true, scores, groups)
    assert_allclose(resampled.std(axis=0), np.sqrt(np.diag(covariance)), rtol=0.1)
    differences = resampled[:, 0] - resampled[:, 1]
    assert_allclose(differences.std(), roc.compare(y_true, scores, groups)["se"], rtol=0.1)
