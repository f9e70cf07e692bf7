"""Differences between models, against loops, statsmodels and the tests that they reduce to."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.stats import norm
from statsmodels.genmod.families import Gaussian
from statsmodels.genmod.generalized_estimating_equations import GEE
from statsmodels.stats.contingency_tables import mcnemar

from mflib.base.errors import InputError
from mflib.stats import performance, roc
from mflib.stats.performance.predictions import p_value
from mflib.stats.performance.probability import freeze
from tests.stats.toy import alone, predictions


def test_comparison_matches_segments_by_key():
    a, b = predictions("random_forest", seed=1), predictions("dcnn", seed=2).sample(frac=1, random_state=3)
    table = pd.concat([a, b, predictions("dcnn", seed=3, repeat=1)])
    result = performance.comparison(table, "random_forest", "dcnn").set_index("method")
    assert result["repeat"].tolist() == [0, 0, 0]  # repeat 1 has one model only
    ordered = b.sort_index()
    expected = roc.compare(a["y_true"], np.column_stack([a["score"], ordered["score"]]), a["participant_id"])
    assert_allclose(result.loc["pooled, clustered", list(expected)].astype(float), list(expected.values()))
    naive = roc.compare(a["y_true"], np.column_stack([a["score"], ordered["score"]]))
    assert_allclose(result.loc["pooled, naive DeLong", list(naive)].astype(float), list(naive.values()))
    scores, groups = np.column_stack([a["score"], ordered["score"]]), a["participant_id"]
    auc, covariance = roc.fold_mean(a["y_true"], scores, a["fold"], groups)
    se = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    primary = result.loc["mean of folds"]
    assert_allclose(primary[["auc_a", "auc_b"]].astype(float), auc)
    assert_allclose([primary["difference"], primary["se"]], [auc[0] - auc[1], se], rtol=1e-9)
    assert_allclose(primary["p"], 2 * norm.sf(abs((auc[0] - auc[1]) / se)), rtol=1e-9)
    with pytest.raises(
        InputError,
        match=r"1 segments not scored by every model, the first sub-008 L5S1 L \(not by dcnn\)",
    ):
        performance.comparison(pd.concat([a, b.iloc[1:]]), "random_forest", "dcnn")
    with pytest.raises(InputError, match=r"dcnn in \[\('patient', 1\)\]"):
        performance.comparison(pd.concat([a, b.assign(repeat=1)]), "random_forest", "dcnn")


def test_scales_of_the_folds_change_the_primary_comparison_by_nothing():
    table = pd.concat([predictions("random_forest", 1), predictions("dcnn", 2)])
    rng = np.random.default_rng(8)
    keys = table["model"] + table["fold"].astype(str)
    shift, stretch = (dict.fromkeys(sorted(set(keys)), value) for value in (0, 0))
    for key in shift:
        shift[key], stretch[key] = rng.normal(0, 3), rng.uniform(0.05, 20)
    moved = table.assign(
        score=keys.map(shift) + keys.map(stretch) * table["score"],
        threshold=keys.map(shift) + keys.map(stretch) * table["threshold"],
    )
    before, after = (performance.comparison(t, "dcnn", "random_forest").set_index("method") for t in (table, moved))
    numbers = ["auc_a", "auc_b", "difference", "se", "z", "p", "low", "high"]
    pd.testing.assert_series_equal(after.loc["mean of folds", numbers], before.loc["mean of folds", numbers])
    assert (after.loc["mean of folds", numbers] == before.loc["mean of folds", numbers]).all()
    assert abs(after.loc["pooled, clustered", "auc_a"] - before.loc["pooled, clustered", "auc_a"]) > 0.02
    joint = (performance.several(t).set_index("method").loc["mean of folds", "statistic"] for t in (table, moved))
    assert next(joint) == next(joint)
    # The common scale takes the shifts out again, where each fold has set its own on like segments.
    scaled = []
    for t in (table, moved):
        folds = [
            f.assign(probability=freeze(f["y_true"], f["score"]).probability(f["score"])) for _, f in t.groupby(keys)
        ]
        scaled.append(performance.calibrated(performance.validate(pd.concat(folds))))
    assert "threshold" not in scaled[0]
    assert_allclose(scaled[0]["score"], scaled[1]["score"], rtol=1e-4)


def test_models_tested_in_other_folds_are_compared_by_their_own_fold_means():
    a, b = predictions("a", 1), predictions("b", 2)
    b["fold"] = pd.factorize(b["participant_id"])[0] % 3
    found = performance.comparison(pd.concat([a, b]), "a", "b").set_index("method").loc["mean of folds"]
    alone_b = roc.fold_mean(b["y_true"], b["score"], b["fold"], b["participant_id"])
    assert_allclose(found["auc_b"], alone_b[0][0])
    same = pd.concat([b.assign(model="a"), b])
    assert performance.comparison(same, "a", "b")["p"].eq(1).all()


def test_what_is_said_follows_the_intervals_and_why_pooling_differs():
    tables = [predictions("random_forest", 1), predictions("dcnn", 2)]
    compared = performance.comparison(pd.concat(tables), "dcnn", "random_forest")
    row = compared.set_index("method").loc["mean of folds"]
    said = performance.verdict(compared)
    way = "above" if row["difference"] > 0 else "below"
    assert f"**{abs(row['difference']):.2f} {way}** that of the random forest" in said
    assert f"{row['low']:+.2f} to {row['high']:+.2f}" in said and "includes zero" in said
    tables[1]["score"] += tables[1]["fold"]
    moved = performance.comparison(pd.concat(tables), "dcnn", "random_forest")
    pooled = moved.set_index("method").loc["pooled, clustered"]
    apart = performance.verdict(moved)
    assert apart.startswith(said.split(" Pooled, ")[0])
    assert f"changes the AUC of the 3D network by {pooled['auc_a'] - row['auc_a']:+.2f}" in apart
    better = tables[1].assign(score=tables[1]["y_true"] + 0.1 * tables[1]["score"])
    surer = performance.verdict(performance.comparison(pd.concat([tables[0], better]), "dcnn", "random_forest"))
    assert "**excludes zero**" in surer and "above" in surer
    chance = performance.chance(
        pd.concat([*tables, predictions("dcnn", 3, repeat=1), predictions("dcnn", 4, repeat=2)])
    )
    assert chance.set_index("model")["trained"].to_dict() == {"random_forest": 1, "dcnn": 3}
    assert "Trained 3 times, the 3D network reached" in performance.chance_in_words(chance, compared)
    assert "The random forest was trained once" in performance.chance_in_words(chance, compared)
    assert "was not measured in this run" in performance.chance_in_words(chance[chance["trained"] == 1], compared)
    shown = performance.against(pd.concat(tables), "dcnn").set_index("model")
    assert shown.loc["Random forest", "P, mean of folds, unadjusted"] == p_value(row["p"])
    assert shown.loc["3D network", "P, mean of folds, unadjusted"] == ""


def test_predictive_values_are_compared_as_a_marginal_regression_has_it():
    a, b = predictions("a", 1), predictions("b", 2)
    for t in (a, b):  # so that each patient has segments of either call, and one small-sample factor serves all
        t["threshold"] = t.groupby("participant_id")["score"].transform("median")
    found = performance.metric_differences(pd.concat([a, b]), "a", "b").set_index(["metric", "method"])
    for metric, called in (("ppv", True), ("npv", False)):
        rows = [t[(t["score"] >= t["threshold"]) == called].assign(first=t is a) for t in (a, b)]
        long = pd.concat(rows)
        truth = (long["y_true"] == called).astype(float)
        design = np.column_stack([np.ones(len(long)), long["first"]])
        groups = pd.factorize(long["participant_id"])[0]
        fitted = GEE(truth, design, groups=groups, family=Gaussian()).fit()
        row = found.loc[(metric, "clustered")]
        assert_allclose(row["difference"], fitted.params.iloc[1], rtol=1e-9)
        patients = long["participant_id"].nunique()
        factor = np.sqrt(patients / (patients - 1))
        assert_allclose(row["difference"] / row["z"], fitted.bse.iloc[1] * factor, rtol=1e-6)
        assert found.loc[(metric, "naive Wald"), "p"] > 0 and row["note"] == ""
    none = performance.metric_differences(pd.concat([a, b.assign(threshold=1e9)]), "a", "b").set_index("metric")
    assert none.loc["ppv", "p"].isna().all() and none.loc["ppv", "note"].str.contains("found 0 patients").all()


def test_mcnemar_is_obuchowskis_and_reduces_to_mcnemars():
    a, b = predictions("random_forest", seed=1), predictions("dcnn", seed=2)
    table = pd.concat([a, b.sample(frac=1, random_state=0)])
    found = performance.metric_differences(table, "random_forest", "dcnn").set_index(["metric", "method"])
    right_a, right_b = ((t["score"] >= t["threshold"]) == (t["y_true"] == 1) for t in (a, b))
    for metric, counted in (("accuracy", a["y_true"] >= 0), ("sensitivity", a["y_true"] == 1)):
        n, excess, squares, spread, patients = counted.sum(), 0, 0, 0.0, 0
        shares = (right_a[counted].mean(), right_b[counted].mean())
        for patient in a.loc[counted, "participant_id"].unique():
            own = counted & (a["participant_id"] == patient)
            d = right_a[own].sum() - right_b[own].sum()
            excess, squares, patients = excess + d, squares + d**2, patients + 1
            spread += (d - own.sum() * (shares[0] - shares[1])) ** 2
        row = found.loc[(metric, "clustered")]
        assert (row["n"], row["n_patients"]) == (n, patients)
        z = excess * np.sqrt((patients - 1) / patients / squares)
        assert_allclose([row["z"], row["p"]], [z, 2 * norm.sf(abs(z))])
        reach = norm.ppf(0.975) * np.sqrt(patients / (patients - 1) * spread) / n
        difference = shares[0] - shares[1]
        assert_allclose(
            [row["low"], row["difference"], row["high"]], [difference - reach, difference, difference + reach]
        )
        cells = pd.crosstab(right_a[counted], right_b[counted]).to_numpy()
        naive = found.loc[(metric, "naive McNemar")]
        assert (naive["only_a"], naive["only_b"]) == (cells[1, 0], cells[0, 1])
        expected = mcnemar(cells, exact=False, correction=False)
        assert_allclose([naive["z"] ** 2, naive["p"]], [expected.statistic, expected.pvalue])
    # Every segment its own patient: McNemar's statistic times (n - 1) / n.
    single = performance.metric_differences(alone(table), "random_forest", "dcnn").set_index(["method", "metric"])
    assert_allclose(single.loc["clustered", "z"][["ppv", "npv"]], single.loc["naive Wald", "z"])
    naive = single.loc["naive McNemar"]
    clustered = single.loc["clustered"].loc[naive.index]
    assert_allclose(clustered["z"] ** 2, naive["z"] ** 2 * (naive["n"] - 1) / naive["n"])


def test_mcnemar_says_why_there_is_nothing_to_test():
    same = pd.concat([predictions("random_forest"), predictions("dcnn")])
    found = performance.metric_differences(same, "random_forest", "dcnn")
    decided = ~found["metric"].isin(["ppv", "npv"])
    assert found["p"].eq(1).all() and found.loc[decided, "note"].str.contains("right more often").all()
    lonely = pd.concat([predictions("random_forest", 1, n_patients=1), predictions("dcnn", 2, n_patients=1)])
    found = performance.metric_differences(lonely, "random_forest", "dcnn").set_index("method")
    assert found.loc["clustered", "note"].str.contains("found 1 patients").all()
    assert found.loc["clustered", "p"].isna().all() and found.loc["naive McNemar", "p"].notna().all()


def test_the_joint_test_of_two_is_the_paired_one():
    table = pd.concat([predictions("random_forest", 1), predictions("dcnn", 2), predictions("dcnn", 3, repeat=1)])
    first = table[table["repeat"] == 0]
    joint = performance.several(first).set_index("method")
    pair = performance.comparison(table, "random_forest", "dcnn").set_index("method")
    assert_allclose(joint["statistic"], pair["z"] ** 2)
    assert_allclose(joint["p"], pair["p"])
    three = performance.several(pd.concat([table, predictions("theirs", 4)])).set_index("method")
    assert three["df"].eq(2).all() and three["repeat"].eq(0).all()
    assert three["models"].eq("Random forest, 3D network, theirs").all()
    with pytest.raises(InputError, match=r"the models \['dcnn'\], expected two or more in one split"):
        performance.several(predictions("dcnn"))


def test_models_may_be_named_as_columns_or_numbered():
    names = ["y_true", "level", "participant_id", "lat", "model"]
    plain = pd.concat([predictions(f"model {n}", n) for n in range(5)])
    named = plain.assign(model=plain["model"].map({f"model {n}": name for n, name in enumerate(names)}))
    columns = ["method", "n", "n_patients", "df", "statistic", "p"]
    pd.testing.assert_frame_equal(performance.several(named)[columns], performance.several(plain)[columns])
    assert performance.several(named)["models"].iloc[0] == ", ".join(sorted(names))
    numbered = plain.assign(model=[int(name[-1]) or "zero" for name in plain["model"]])
    numbered["participant_id"] = numbered["participant_id"].str[-3:].astype(int)
    numbered = performance.validate(numbered)
    pd.testing.assert_frame_equal(performance.several(numbered)[columns], performance.several(plain)[columns])
    assert len(performance.comparison(numbered, "1", "zero")) == 3
