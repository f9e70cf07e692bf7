"""Metrics from the predictions table, against counts by hand, loops and the published tables' form."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.metrics import accuracy_score, precision_score, recall_score, roc_auc_score

from mflib import performance, roc

PUBLISHED = Path(__file__).parents[2] / "shared/published"


def predictions(model, seed=0, n_patients=20, repeat=0):
    """Eight segments of each of some patients in five folds by patient; the scores hold a patient effect."""
    rng = np.random.default_rng([7, seed])
    keys = [(f"sub-{p:03}", level, lat) for p in range(n_patients) for level in performance.LEVELS for lat in "LR"]
    patient = np.repeat(np.arange(n_patients), 8)
    y_true = (np.random.default_rng(1).random(len(keys)) < 0.45).astype(int)  # the same for every model
    scores = 0.5 * y_true + 0.4 * rng.normal(size=n_patients)[patient] + 0.4 * rng.normal(size=len(keys))
    return pd.DataFrame(keys, columns=performance.KEY).assign(
        model=model, split="patient", repeat=repeat, fold=patient % 5 + 1, y_true=y_true, score=scores, threshold=0.25
    )


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
        threshold = performance.youden_threshold(y_true, scores)
        assert np.isfinite(threshold)
        youden = np.mean(scores[y_true == 1] >= threshold) - np.mean(scores[y_true == 0] >= threshold)
        assert_allclose(youden, best_youden(y_true, scores), atol=1e-15)


def test_youden_threshold_lies_midway_and_separates():
    assert performance.youden_threshold([0, 0, 1, 1], [1, 2, 4, 5]) == 3
    assert performance.youden_threshold([0, 1, 0, 1], [1, 2, 3, 4]) == 3.5  # of two equally good ones the highest
    assert performance.youden_threshold([1, 1, 0, 0], [1, 2, 4, 5]) == 1  # upside down: everything positive
    assert performance.youden_threshold([0, 1], [0.5, 0.5]) == 0.5
    neighbour = np.nextafter(1.0, 2.0)
    assert performance.youden_threshold([0, 1], [1.0, neighbour]) == neighbour
    with pytest.raises(roc.RocError, match="expected positives and negatives"):
        performance.youden_threshold([1, 1], [0.2, 0.3])


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
    lonely = performance.summary(predictions("dcnn", n_patients=1)).set_index("metric")
    assert lonely["low"].isna().all() and lonely["pooled"].notna().all()
    assert lonely["note"].str.contains("at least 2").all()


def test_comparison_matches_segments_by_key():
    a, b = predictions("random_forest", seed=1), predictions("dcnn", seed=2).sample(frac=1, random_state=3)
    table = pd.concat([a, b, predictions("dcnn", seed=3, repeat=1)])
    result = performance.comparison(table, "random_forest", "dcnn").set_index("method")
    assert result["repeat"].tolist() == [0, 0]  # repeat 1 has one model only
    ordered = b.sort_index()
    expected = roc.compare(a["y_true"], np.column_stack([a["score"], ordered["score"]]), a["participant_id"]).iloc[0]
    columns = ["difference", "se", "z", "p", "low", "high"]
    assert_allclose(result.loc["clustered", columns].astype(float), expected[columns].astype(float))
    naive = roc.compare(a["y_true"], np.column_stack([a["score"], ordered["score"]])).iloc[0]
    assert_allclose(result.loc["naive DeLong", columns].astype(float), naive[columns].astype(float))
    with pytest.raises(performance.PredictionsError, match="1 segments scored by one model only"):
        performance.comparison(pd.concat([a, b.iloc[1:]]), "random_forest", "dcnn")
    with pytest.raises(performance.PredictionsError, match=r"dcnn in \[\('patient', 1\)\]"):
        performance.comparison(pd.concat([a, b.assign(repeat=1)]), "random_forest", "dcnn")


def test_every_fault_of_a_table_is_named_with_its_row():
    table = predictions("dcnn").astype({"y_true": object, "score": object})
    table.loc[3, "y_true"] = 2
    table.loc[4, "score"] = "high"
    table.loc[5, "threshold"] = np.inf
    table.loc[6, "level"] = "L1"
    table.loc[9, performance.KEY] = table.loc[8, performance.KEY]
    with pytest.raises(performance.PredictionsError) as error:
        performance.validate(table)
    lines = str(error.value).splitlines()
    assert lines[0] == "5 faults in the predictions table:"
    assert "row 3, y_true: found 2, expected one of (0, 1)" in lines
    assert "row 4, score: found high, expected a finite number" in lines
    assert "row 5, threshold: found inf, expected a finite number" in lines
    assert "row 6, level: found L1, expected one of ('L23', 'L34', 'L45', 'L5S1')" in lines
    assert lines[-1].startswith("row 9, key: found ['sub-001', 'L23', 'L'] again")
    with pytest.raises(performance.PredictionsError, match=r"without the columns \['threshold'\]"):
        performance.validate(table.drop(columns="threshold"))


def test_a_table_survives_its_csv(tmp_path):
    table = predictions("dcnn")
    table.to_csv(tmp_path / "predictions.csv", index=False)
    back = performance.validate(pd.read_csv(tmp_path / "predictions.csv"))
    pd.testing.assert_frame_equal(back, performance.validate(table), check_dtype=False)


def test_paper_tables_have_the_published_form_and_one_run():
    both = pd.concat([predictions("random_forest", seed=1), predictions("dcnn", seed=2)])
    table = performance.paper_table(both, "random_forest")
    assert table["fold"].tolist() == [1, 2, 3, 4, 5]
    first = performance.metrics_per_fold(both).query("model == 'random_forest' and fold == 1").iloc[0]
    assert_allclose(table.loc[0, "ppv_pct"], 100 * first["ppv"])
    assert table.loc[0, "auc"] == first["auc"]
    compared = performance.comparison_table(both, "random_forest", "dcnn").set_index("metric")
    assert_allclose(compared.loc["accuracy_pct", "random_forest_sd"], np.std(table["accuracy_pct"]))
    with pytest.raises(performance.PredictionsError, match="expected one split and repeat"):
        performance.paper_table(pd.concat([both, predictions("dcnn", repeat=1)]), "dcnn")


@pytest.mark.skipif(not PUBLISHED.exists(), reason="the published tables are not beside this checkout")
def test_columns_are_those_of_the_published_tables():
    table = performance.paper_table(predictions("dcnn"), "dcnn")
    assert table.columns.tolist() == pd.read_csv(PUBLISHED / "table2_random_forest.csv").columns.tolist()
    metrics = performance.comparison_table(predictions("dcnn"), "dcnn", "dcnn")["metric"]
    assert metrics.tolist() == pd.read_csv(PUBLISHED / "table4_comparison.csv")["metric"].tolist()
