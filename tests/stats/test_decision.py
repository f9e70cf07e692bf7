"""Net benefit, against counting one threshold and one resample at a time."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from mflib.base.errors import InputError
from mflib.stats import performance
from mflib.stats.performance import decisions
from tests.stats.samples import drawn
from tests.stats.toy import predictions, probabilities


def net_benefit(table, threshold, weights=None):
    weights = np.ones(len(table)) if weights is None else weights
    benefit = 0.0
    for (_, row), weight in zip(table.iterrows(), weights, strict=True):
        if row["score"] >= threshold:
            benefit += weight * (1 if row["y_true"] else -threshold / (1 - threshold))
    return benefit / weights.sum()


def test_net_benefit_is_counted(monkeypatch):
    monkeypatch.setattr(decisions, "PROBABILITIES", np.array([0.2, 0.5, 0.8]))
    table = probabilities("dcnn", n_patients=12).iloc[3:]  # patients of different sizes
    found = performance.decision_curve(table, resamples=40, seed=1)
    own = found[found["model"] == "dcnn"].set_index("threshold")
    for threshold, row in own.iterrows():
        assert_allclose(row["net_benefit"], net_benefit(table, threshold))
    weights = drawn(table["participant_id"], table["y_true"], 40, 1)
    benefits = [net_benefit(table, 0.5, of_cases) for of_cases in weights]
    assert_allclose(own.loc[0.5, ["low", "high"]].astype(float), np.percentile(benefits, [2.5, 97.5]))


def test_treating_all_and_none_stand_beside_the_models(monkeypatch):
    monkeypatch.setattr(decisions, "PROBABILITIES", np.array([0.3]))
    both = pd.concat([probabilities("dcnn", 1), predictions("theirs", 2)])
    found = performance.decision_curve(both, resamples=20).set_index("model")
    prevalence = both["y_true"].mean()
    assert_allclose(found.loc["treat_all", "net_benefit"], prevalence - (1 - prevalence) * 0.3 / 0.7)
    assert found.loc["treat_none", ["net_benefit", "low", "high"]].eq(0).all()
    assert np.isnan(found.loc["theirs", "net_benefit"]) and "probabilities" in found.loc["theirs", "note"]


def test_a_model_may_not_be_called_like_a_strategy():
    with pytest.raises(InputError, match=r"\['treat_all'\]"):
        performance.decision_curve(probabilities("treat_all", 1), resamples=2)
