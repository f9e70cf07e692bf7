"""The segments that a model gets wrong most confidently: what to look at first."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from mflib.performance.proportions import Floats
from mflib.performance.table import PredictionsError, runs, validate
from mflib.volume import KEY

_COLUMNS = ["fold", "y_true", "score", "threshold", "margin"]


def mistakes(predictions: pd.DataFrame, per_kind: int = 3) -> pd.DataFrame:
    """The most confident wrong segments of each model, false positives and false negatives.

    Parameters
    ----------
    predictions : the predictions table
    per_kind : how many of each kind, at most

    Returns
    -------
    DataFrame
        ``RUN``, ``kind`` (false positive, false negative), KEY, ``fold``, ``y_true``, ``score``, ``threshold``,
        ``margin``, the widest margin first. The margin is the share of the fold's segments whose scores lie between
        threshold and score (a score that equals one of the two counts one half), so models with different scales
        compare. A model without mistakes of a kind has no rows of it.

    Raises
    ------
    PredictionsError
        As ``validate``, or ``per_kind`` below 1.
    """
    if per_kind < 1:
        raise PredictionsError(f"found per_kind = {per_kind}, expected at least 1")
    found = []
    for run, table in runs(validate(predictions)):
        table = table.assign(margin=_margins(table), **run)
        called = table["score"] >= table["threshold"]
        wrong = {"false positive": called & (table["y_true"] == 0), "false negative": ~called & (table["y_true"] == 1)}
        for kind, rows in wrong.items():
            widest = table[rows].sort_values(["margin", *KEY], ascending=[False, True, True, True]).head(per_kind)
            found.append(widest.assign(kind=kind)[[*run, "kind", *KEY, *_COLUMNS]])
    return pd.concat(found, ignore_index=True)


def _margins(table: pd.DataFrame) -> pd.Series:
    """Distance of each score from its threshold in shares of the fold's scores, 0 to 1."""
    margins = pd.Series(0.0, index=table.index)
    for _, fold in table.groupby("fold"):
        ranked = np.sort(fold["score"].to_numpy())
        margins[fold.index] = np.abs(_place(ranked, fold["score"]) - _place(ranked, fold["threshold"]))
    return margins


def _place(ranked: Floats, values: ArrayLike) -> Floats:
    """Share of the ranked scores below each value, half of those equal to it."""
    below, up_to = (np.searchsorted(ranked, values, side=side) for side in ("left", "right"))
    return (below + up_to) / (2 * len(ranked))
