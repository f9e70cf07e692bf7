"""Differences between models, against loops, statsmodels and the tests that they reduce to."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.stats import norm
from statsmodels.stats.contingency_tables import mcnemar

from mflib.base.errors import InputError
from mflib.base.words import KEY
from mflib.stats import performance, roc
from tests.stats.toy import alone, predictions, probabilities


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
    with pytest.raises(
        InputError,
        match=r"1 segments not scored by every model, the first sub-008 L5S1 L \(not by dcnn\)",
    ):
        performance.comparison(pd.concat([a, b.iloc[1:]]), "random_forest", "dcnn")
    with pytest.raises(InputError, match=r"dcnn in \[\('patient', 1\)\]"):
        performance.comparison(pd.concat([a, b.assign(repeat=1)]), "random_forest", "dcnn")


def test_mcnemar_is_obuchowskis_and_reduces_to_mcnemars():
    a, b = predictions("random_forest", seed=1), predictions("dcnn", seed=2)
    table = pd.concat([a, b.sample(frac=1, random_state=0)])
    found = performance.mcnemar(table, "random_forest", "dcnn").set_index(["metric", "method"])
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
    single = performance.mcnemar(alone(table), "random_forest", "dcnn").set_index(["method", "metric"])
    clustered, naive = single.loc["clustered"], single.loc["naive McNemar"]
    assert_allclose(clustered["z"] ** 2, naive["z"] ** 2 * (naive["n"] - 1) / naive["n"])


def test_mcnemar_says_why_there_is_nothing_to_test():
    same = pd.concat([predictions("random_forest"), predictions("dcnn")])
    found = performance.mcnemar(same, "random_forest", "dcnn")
    assert found["p"].eq(1).all() and found["note"].str.contains("right more often").all()
    lonely = pd.concat([predictions("random_forest", 1, n_patients=1), predictions("dcnn", 2, n_patients=1)])
    found = performance.mcnemar(lonely, "random_forest", "dcnn").set_index("method")
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
    assert three["models"].eq("random_forest, dcnn, theirs").all()
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
    assert len(performance.comparison(numbered, "1", "zero")) == 2


@pytest.mark.parametrize("level", [1.5, 95, float("nan"), 0])
def test_a_level_that_is_none_is_refused_everywhere(level):
    table = probabilities("dcnn")
    both = pd.concat([table, probabilities("random_forest", 1)])
    grades = table[KEY].assign(grade=table["y_true"])
    for call in (
        *(lambda f=f: f(both, "dcnn", "random_forest", level) for f in (performance.comparison, performance.mcnemar)),
        lambda: performance.both_ways(both, "dcnn", "random_forest", level),
        *(
            lambda f=f: f(table, level=level)
            for f in (
                *(performance.summary, performance.fold_mean_auc, performance.predictive_values, performance.subgroups),
                *(performance.calibration, performance.calibration_curve, performance.decision_curve),
            )
        ),
        lambda: performance.by_grade(table, grades, level),
    ):
        with pytest.raises(InputError, match=f"found level {level}, expected a confidence between 0 and 1"):
            call()
