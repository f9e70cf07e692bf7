"""Metrics from the predictions table, against scikit-learn, counts by hand and loops."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.metrics import accuracy_score, precision_score, recall_score, roc_auc_score

from mflib.base.errors import InputError
from mflib.stats import performance, roc
from mflib.stats.performance.metrics import ratio_covariance, youden_threshold
from tests.stats.toy import predictions


def best_youden(y_true, scores):
    """Every threshold tried."""
    candidates = [*np.unique(scores), np.inf]
    return max(np.mean(scores[y_true == 1] >= t) - np.mean(scores[y_true == 0] >= t) for t in candidates)


@pytest.mark.parametrize("decimals", [1, 12])
def test_youden_threshold_is_the_best_of_all(decimals):
    rng = np.random.default_rng(decimals)
    for _ in range(50):
        y_true = np.r_[0, 1, rng.integers(2, size=30)]
        scores = np.round(rng.normal(size=32) + rng.choice([-1, 0, 1]) * y_true, decimals)
        threshold = youden_threshold(y_true, scores)
        assert np.isfinite(threshold)
        youden = np.mean(scores[y_true == 1] >= threshold) - np.mean(scores[y_true == 0] >= threshold)
        assert_allclose(youden, best_youden(y_true, scores), atol=1e-15)


def test_youden_threshold_lies_midway_and_separates():
    assert youden_threshold([0, 0, 1, 1], [1, 2, 4, 5]) == 3
    assert youden_threshold([0, 1, 0, 1], [1, 2, 3, 4]) == 3.5  # of two equally good ones the highest
    assert youden_threshold([1, 1, 0, 0], [1, 2, 4, 5]) == 1  # upside down: everything positive
    assert youden_threshold([0, 1], [0.5, 0.5]) == 0.5
    neighbour = np.nextafter(1.0, 2.0)
    assert youden_threshold([0, 1], [1.0, neighbour]) == neighbour
    assert youden_threshold([0, 1], [-1e308, 1e308]) == 0
    assert youden_threshold([0, 1], [1e308, 1.6e308]) == 1.3e308
    with pytest.raises(InputError, match="expected positives and negatives"):
        youden_threshold([1, 1], [0.2, 0.3])
    with pytest.raises(InputError, match="found 2 columns of scores, expected one"):
        youden_threshold([0, 1], [[0.2, 0.3], [0.4, 0.5]])


def test_metrics_per_fold_are_those_of_scikit_learn():
    table = predictions("dcnn")
    for _, row in performance.metrics_per_fold(table).iterrows():
        fold = table[table["fold"] == row["fold"]]
        y, called = fold["y_true"], fold["score"] >= fold["threshold"]
        assert row["n"] == len(fold) == row[["tp", "fp", "fn", "tn"]].sum()
        assert row["n_positive"] == y.sum()
        assert_allclose(row["sensitivity"], recall_score(y, called))
        assert_allclose(row["specificity"], recall_score(1 - y, ~called))
        assert_allclose(row["ppv"], precision_score(y, called))
        assert_allclose(row["npv"], precision_score(1 - y, ~called))
        assert_allclose(row["accuracy"], accuracy_score(y, called))
        assert_allclose(row["auc"], roc_auc_score(y, fold["score"]))


def test_an_undefined_metric_is_counted_never_dropped():
    table = predictions("dcnn")
    table.loc[table["fold"] == 2, "threshold"] = 99.0  # nothing called positive in fold 2
    table.loc[table["fold"] == 3, "y_true"] = 0  # one class in fold 3
    folds = performance.metrics_per_fold(table).set_index("fold")
    assert np.isnan(folds.loc[2, "ppv"]) and folds.loc[2, "specificity"] == 1
    assert folds.loc[3, ["sensitivity", "auc"]].isna().all()
    over = performance.summary(table).set_index("metric")
    assert over["folds"].eq(5).all()
    assert over["folds_defined"].to_dict() == {
        "sensitivity": 4, "specificity": 5, "ppv": 4, "npv": 5, "accuracy": 5, "auc": 4
    }  # fmt: skip
    assert_allclose(over.loc["ppv", "mean"], folds["ppv"].dropna().mean())
    assert over["pooled"].notna().all()
    assert performance.comparison_table(table, "dcnn", "dcnn")["dcnn_folds"].tolist() == [5, 4, 5, 4, 5, 4]


def test_pooled_intervals_account_for_patients():
    table = predictions("dcnn")
    over = performance.summary(table).set_index("metric")
    x = m = squares = 0.0
    patients = [p[p["y_true"] == 1] for _, p in table.groupby("participant_id")]
    patients = [p for p in patients if len(p)]
    for p in patients:
        x, m = x + (p["score"] >= p["threshold"]).sum(), m + len(p)
    for p in patients:
        squares += ((p["score"] >= p["threshold"]).sum() - len(p) * x / m) ** 2
    variance = len(patients) / (len(patients) - 1) * squares / m**2
    assert_allclose(over.loc["sensitivity", ["low", "high"]].astype(float), roc.auc_interval(x / m, variance))
    assert (over["naive_low"] < over["pooled"]).all() and (over["pooled"] < over["naive_high"]).all()
    clustered, naive = over["high"] - over["low"], over["naive_high"] - over["naive_low"]
    assert clustered["sensitivity"] > 1.2 * naive["sensitivity"]  # the scores share a patient effect
    # Every segment its own patient: the two kinds of interval of the AUC agree.
    alone = table.assign(participant_id=[f"sub-{i}" for i in range(len(table))])
    auc = performance.summary(alone).set_index("metric").loc["auc"]
    assert_allclose(auc[["low", "high"]].astype(float), auc[["naive_low", "naive_high"]].astype(float))


def test_an_interval_without_width_or_patients_has_a_note():
    perfect = predictions("dcnn").assign(score=lambda table: table["y_true"] * 1.0)
    auc = performance.summary(perfect).set_index("metric").loc["auc"]
    assert (auc["pooled"], auc["low"], auc["high"]) == (1, 1, 1) and "no width" in auc["note"]
    # Fifteen of twenty-two right in every patient: 15 - 22 x 75 / 110 is not 0 in floats.
    parts, wholes = np.full((5, 1), 15), np.full((5, 1), 22)
    assert ratio_covariance(parts, wholes)[1] == 0
    lonely = performance.summary(predictions("dcnn", n_patients=1)).set_index("metric")
    assert lonely["low"].isna().all() and lonely["pooled"].notna().all()
    assert lonely["note"].str.contains("at least 2").all()


def test_the_mean_over_folds_stands_beside_the_pooled_auc():
    table = predictions("dcnn")
    (row,) = performance.fold_mean_auc(table).to_dict("records")
    over = performance.summary(table).set_index("metric").loc["auc"]
    assert_allclose([row["mean"], row["pooled"]], [over["mean"], over["pooled"]])
    assert row["low"] < row["mean"] < row["high"] and row["n_folds"] == 5
    table.loc[table["fold"] == 3, "y_true"] = 0
    (row,) = performance.fold_mean_auc(table).to_dict("records")
    assert np.isnan(row["mean"]) and "fold 3" in row["note"] and row["pooled"] > 0.5
