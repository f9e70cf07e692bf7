"""Patients drawn again: weights against repeated rows, intervals against the clustered standard error."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.metrics import roc_auc_score

from mflib import roc
from tests.roc.samples import tied_sample


def test_patients_are_drawn_whole_and_within_their_kind():
    y_true, _, groups = tied_sample(3, n=40, n_groups=15)
    weights = roc.patient_weights(groups, y_true, resamples=4000, seed=1)
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
    assert (weights == roc.patient_weights(groups, y_true, resamples=4000, seed=1)).all()
    assert (weights != roc.patient_weights(groups, y_true, resamples=4000, seed=2)).any()
    unstratified = roc.patient_weights(groups, None, resamples=50, seed=1)[:, list(representative.values())]
    assert (unstratified.sum(axis=1) == len(kinds)).all()


def test_weighted_areas_are_those_of_repeated_rows_and_of_scikit_learn():
    y_true, scores, groups = tied_sample(5)
    weights = roc.patient_weights(groups, y_true, resamples=20, seed=3)
    found = roc.weighted_auc(y_true, scores, weights)
    for row, areas in zip(weights, found, strict=True):
        repeated, _ = roc.auc_covariance(np.repeat(y_true, row), np.repeat(scores, row, axis=0))
        assert_allclose(areas, repeated, rtol=1e-13)
    fractions = np.random.default_rng(0).random((4, 60))
    for row, areas in zip(fractions, roc.weighted_auc(y_true, scores, fractions), strict=True):
        assert_allclose(areas, [roc_auc_score(y_true, s, sample_weight=row) for s in scores.T], rtol=1e-12)


def test_the_bootstrap_agrees_with_the_clustered_standard_error():
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(80), 6)
    y_true = (rng.normal(size=80)[groups] + rng.normal(size=480) > 0).astype(int)
    scores = 0.9 * y_true[:, None] + rng.normal(size=(80, 2))[groups] + rng.normal(size=(480, 2))
    found = roc.bootstrap_interval(y_true, scores, groups, level=0.9, resamples=2000, seed=4)
    auc, covariance = roc.auc_covariance(y_true, scores, groups)
    pair = roc.compare(y_true, scores, groups, level=0.9).iloc[0]
    assert_allclose(found.resampled.std(axis=0), np.sqrt(np.diag(covariance)), rtol=0.1)
    assert_allclose(found.areas["auc"], auc, rtol=1e-14)
    assert_allclose(found.areas["high"] - found.areas["low"], 2 * 1.645 * np.sqrt(np.diag(covariance)), rtol=0.1)
    assert_allclose(
        found.differences[["difference", "low", "high"]].iloc[0], pair[["difference", "low", "high"]].astype(float),
        atol=0.1 * pair["se"] * 2 * 1.645,
    )  # fmt: skip
    assert roc.bootstrap_interval(y_true, scores[:, 0], resamples=5).differences.empty


def test_wrong_weights_are_named():
    y_true, scores = [0, 1, 0, 1], [1, 2, 3, 4]
    for weights, message in (
        ([[1, 1, 1]], r"weights \(1, 3\) for 4 cases"),
        ([[1, 1, -1, 1]], "negative or non-finite weights"),
        ([[1, 1, 1, 1], [0, 1, 0, 1]], "weights, row 1: found no negatives"),
    ):
        with pytest.raises(roc.RocError, match=message):
            roc.weighted_auc(y_true, scores, weights)
    with pytest.raises(roc.RocError, match="found 0 resamples"):
        roc.patient_weights([1, 2], None, 0)
    with pytest.raises(roc.RocError, match="groups that are no column of names"):
        roc.patient_weights([[1, 2], [3]], None, 5)
    with pytest.raises(roc.RocError, match="found 3 groups for 2 cases"):
        roc.patient_weights([1, 2], [1, 2, 3])
    with pytest.raises(roc.RocError, match="1 groups with positives"):
        roc.bootstrap_interval([0, 0, 1, 1], scores, ["a", "b", "c", "c"])
