"""The most confident mistakes, against counting the scores between threshold and score."""

import numpy as np
import pandas as pd
from numpy.testing import assert_allclose

from mflib.base.words import KEY
from mflib.stats import performance
from tests.stats.toy import predictions


def test_margins_are_shares_of_the_fold():
    table = predictions("dcnn").round({"score": 1})
    found = performance.mistakes(table, per_kind=4)
    assert found["kind"].value_counts().to_dict() == {"false positive": 4, "false negative": 4}
    for row in found.to_dict("records"):
        scores = table.loc[table["fold"] == row["fold"], "score"]
        low, high = sorted((row["score"], row["threshold"]))
        between = ((scores > low) & (scores < high)).sum() + ((scores == low) | (scores == high)).sum() / 2
        assert_allclose(row["margin"], between / len(scores))
        assert (row["score"] >= row["threshold"]) == (row["kind"] == "false positive") == (row["y_true"] == 0)
    assert found.groupby("kind")["margin"].apply(lambda margins: margins.is_monotonic_decreasing).all()


def test_another_scale_changes_nothing_and_no_mistakes_give_no_rows():
    table = predictions("dcnn")
    scaled = table.assign(score=np.exp(table["score"]), threshold=np.exp(table["threshold"]))
    one, other = performance.mistakes(table), performance.mistakes(scaled)
    columns = ["kind", *KEY, "margin"]
    pd.testing.assert_frame_equal(one[columns], other[columns])
    assert performance.mistakes(table.assign(score=table["y_true"])).empty
