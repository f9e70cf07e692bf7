"""The four-grade view, against scikit-learn, single cuts and a loop over a fold's ranks."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.metrics import cohen_kappa_score

from mflib.base.errors import InputError
from mflib.base.words import KEY
from mflib.stats import performance, roc
from mflib.stats.performance.subgroups import CUTS, KAPPA, grades_by_rank
from tests.stats.toy import predictions


def graded(table):
    grades = np.where(
        table["y_true"] == 1, np.random.default_rng(2).choice([1, 2, 3], len(table), p=[0.5, 0.3, 0.2]), 0
    )
    return table[KEY].assign(grade=grades)


def test_each_cut_is_an_area_and_the_kappa_is_scikit_learns():
    table = predictions("dcnn").sample(frac=1, random_state=0)
    grades = graded(table)
    found = performance.by_grade(table, grades.sample(frac=1, random_state=1), resamples=100).set_index("quantity")
    for cut, name in CUTS.items():
        auc, variance = roc.auc_covariance(grades["grade"] >= cut, table["score"], table["participant_id"])
        expected = [auc[0], *roc.auc_interval(auc[0], variance[0, 0])]
        assert_allclose(found.loc[name, ["value", "low", "high"]].astype(float), expected)
    predicted = grades_by_rank(*(np.asarray(v) for v in (grades["grade"], table["score"], table["fold"])))
    kappa = cohen_kappa_score(grades["grade"], predicted, weights="quadratic")
    assert_allclose(found.loc[KAPPA, "value"], kappa)
    assert found.loc[KAPPA, "low"] < kappa < found.loc[KAPPA, "high"]


def test_predicted_grades_follow_the_other_folds():
    table = predictions("dcnn")
    grades = graded(table)["grade"].to_numpy()
    scores, folds = table["score"].to_numpy(), table["fold"].to_numpy()
    predicted = grades_by_rank(grades, scores, folds)
    for fold in range(1, 6):
        here = folds == fold
        shares = np.bincount(grades[~here], minlength=4) / (~here).sum()
        assert abs(np.bincount(predicted[here], minlength=4) / here.sum() - shares).max() <= 1 / here.sum() + 1e-12
        assert (np.diff(predicted[here][np.argsort(scores[here])]) >= 0).all()
    # The fold's own grades play no part.
    other = np.where(folds == 2, 3, grades)
    assert (grades_by_rank(other, scores, folds)[folds == 2] == predicted[folds == 2]).all()
    assert (grades_by_rank(grades, np.exp(scores), folds) == predicted).all()


def test_what_is_undefined_has_a_note():
    table = predictions("dcnn")
    grades = graded(table)
    few = grades.assign(grade=grades["grade"].clip(upper=1))
    found = performance.by_grade(table.assign(fold=1), few).set_index("quantity")
    assert "found 160 cases of class [0.0]" in found.loc[CUTS[3], "note"] and np.isnan(found.loc[CUTS[3], "value"])
    assert "found one fold" in found.loc[KAPPA, "note"]
    with pytest.raises(InputError, match=r"found 2 segments .* sub-000 L23 L with the grade none"):
        performance.by_grade(table, grades.iloc[2:])
    with pytest.raises(InputError, match=r"found 1 segments .* sub-000 L23 R with the grade 1\.5"):
        performance.by_grade(table, grades.assign(grade=[0, 1.5, *grades["grade"][2:]]))
