"""Models on their own cohort and on another one, against a copy, a textbook and a bootstrap of both cohorts."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from mflib.base.errors import InputError
from mflib.stats import performance, roc
from tests.stats.samples import drawn
from tests.stats.toy import alone, predictions


def elsewhere(seed=3, n_patients=15):
    """The same models, worse, on other patients that happen to have the same names."""
    tables = [predictions(model, seed + n, n_patients) for n, model in enumerate(("dcnn", "random_forest"))]
    table = pd.concat(tables, ignore_index=True).assign(fold=0)
    return table.assign(score=table["score"] - 0.3 * table["y_true"])


def test_a_copy_loses_nothing():
    own = predictions("dcnn")
    found = performance.transport(own, own)
    assert (found["difference"] == 0).all() and (found["p"] == 1).all()
    width, alike = found["high"] - found["low"], found["own_high"] - found["own_low"]
    assert (width > 1.2 * alike).all()  # two cohorts are less sure than one
    assert found["note"].eq("").all()


@pytest.mark.slow
def test_the_loss_of_auc_is_that_of_a_bootstrap_of_patients():
    own, other = predictions("dcnn").assign(fold=0), elsewhere()
    row = performance.transport(own, other).set_index(["model", "metric"]).loc[("dcnn", "auc")]
    other = other[other["model"] == "dcnn"]
    expected = roc_auc_score(other["y_true"], other["score"]) - roc_auc_score(own["y_true"], own["score"])
    assert_allclose(row["difference"], expected)
    resampled = [
        [
            roc_auc_score(t["y_true"], t["score"], sample_weight=weights)
            for weights in drawn(t["participant_id"], t["y_true"], 2000, seed)
        ]
        for seed, t in enumerate((own, other))
    ]
    low, high = np.percentile(np.subtract(resampled[1], resampled[0]), [2.5, 97.5])
    assert_allclose([row["low"], row["high"]], [low, high], atol=0.03)
    assert row["p"] < 0.05 and row["high"] < 0


def test_the_loss_of_auc_has_the_variances_of_both_cohorts():
    own, other = predictions("dcnn"), elsewhere()
    row = performance.transport(own, other).set_index(["model", "metric"]).loc[("dcnn", "auc")]
    areas, covariances = zip(
        *(
            roc.fold_mean(t["y_true"], t["score"], t["fold"], t["participant_id"])
            for t in (other[other["model"] == "dcnn"], own)
        ),
        strict=True,
    )
    difference, se = areas[0][0] - areas[1][0], np.sqrt(covariances[0][0, 0] + covariances[1][0, 0])
    assert_allclose([row["difference"], row["p"]], [difference, 2 * norm.cdf(-abs(difference / se))], rtol=1e-9)
    ends = difference + np.array([-1, 1]) * 1.959963984540054 * se
    assert_allclose([row["low"], row["high"]], ends, rtol=1e-9)


def test_a_difference_of_proportions_is_the_textbooks_where_every_segment_is_a_patient():
    own, other = alone(predictions("dcnn")), alone(elsewhere())
    row = performance.transport(own, other).set_index(["model", "metric"]).loc[("dcnn", "accuracy")]
    shares, variance = [], 0.0
    for table in (own, other[other["model"] == "dcnn"]):
        right = ((table["score"] >= table["threshold"]) == (table["y_true"] == 1)).mean()
        shares.append(right)
        variance += right * (1 - right) / (len(table) - 1)
    assert_allclose(row["difference"], shares[1] - shares[0])
    assert_allclose(row["high"] - row["difference"], 1.959964 * np.sqrt(variance), rtol=1e-6)


def test_a_cohort_of_one_class_keeps_what_can_be_said():
    healthy = elsewhere().assign(y_true=0)
    found = performance.transport(predictions("dcnn"), healthy).set_index("metric")
    assert np.isnan(found.loc["auc", ["external", "difference", "p"]].astype(float)).all()
    assert "external: " in found.loc["auc", "note"]
    assert 0 < found.loc["specificity", "external"] < 1 and np.isfinite(found.loc["specificity", "p"])
    paired = performance.comparison(healthy, "dcnn", "random_forest")
    assert paired["difference"].isna().all() and paired["note"].str.contains("positives").all()
    assert "cannot be compared" in performance.verdict(paired)


def test_where_every_patient_is_decided_alike_nothing_is_tested():
    right = elsewhere().assign(score=lambda t: t["y_true"] + 0.0, threshold=0.5)
    found = performance.transport(predictions("dcnn"), right)
    assert (found["external"] == 1).all() and (found["difference"] > 0).all()
    assert found[["low", "high", "p"]].isna().all(axis=None) and found["note"].str.contains("no variance").all()


def test_cohorts_without_a_model_in_common_are_refused():
    with pytest.raises(InputError, match="expected one in common"):
        performance.transport(predictions("clinical"), elsewhere())
    with pytest.raises(InputError, match="one split and repeat"):
        performance.transport(pd.concat([predictions("dcnn"), predictions("dcnn", repeat=1)]), elsewhere())
