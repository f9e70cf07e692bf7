"""The same numbers twice: segments as if independent, as the paper has them, and patients as units."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mflib.performance.differences import comparison, mcnemar
from mflib.performance.metrics import METRICS, summary
from mflib.performance.table import LABELS, RUN, PredictionsError, validate

ALPHA = 0.05
_NAIVE = {"low": "naive_low", "high": "naive_high", "p": "naive_p"}
_NUMBERS = ["estimate", "naive_low", "naive_high", "naive_p", "low", "high", "p"]


def both_ways(predictions: pd.DataFrame, model_a: str, model_b: str, level: float = 0.95) -> pd.DataFrame:
    """Every pooled metric of two models and their differences, naive beside clustered.

    Parameters
    ----------
    predictions : the predictions table, narrowed to one split and repeat
    model_a, model_b : the two models; differences are a minus b
    level : confidence

    Returns
    -------
    DataFrame
        One row per quantity: ``quantity``, ``estimate``; ``naive_low``, ``naive_high``, ``naive_p`` with segments as if
        independent (Wilson, DeLong 1988, McNemar); ``low``, ``high``, ``p`` with patients as clusters (ratio
        estimators, Obuchowski 1997 and 1998); ``width``, how many times as wide the clustered interval is, NaN where
        one of the two is missing or has no width. ``p`` is NaN for a metric, which nothing is tested against.

    Raises
    ------
    PredictionsError
        As ``validate`` and ``comparison``; several splits or repeats.
    roc.RocError
        As ``comparison``.
    """
    table = validate(predictions)
    table = table[table["model"].isin((model_a, model_b))]
    runs = table[RUN[1:]].drop_duplicates()
    if len(runs) != 1:
        raise PredictionsError(f"found {runs.to_dict('records')}, expected one split and repeat of both models")
    pooled = summary(table, level).set_index(["model", "metric"])
    rows = [_metric(pooled.loc[(model, metric)], model, metric) for metric in METRICS for model in (model_a, model_b)]
    areas = comparison(table, model_a, model_b, level).assign(metric="auc")
    decisions = mcnemar(table, model_a, model_b, level)
    for metric, tests in pd.concat([areas, decisions]).groupby("metric", sort=False):
        rows.append(_difference(tests, str(metric), model_a, model_b))
    both = pd.DataFrame(rows)[["quantity", *_NUMBERS]].astype(dict.fromkeys(_NUMBERS, np.float64))
    naive, clustered = both["naive_high"] - both["naive_low"], both["high"] - both["low"]
    return both.assign(width=(clustered / naive).where((naive > 0) & (clustered > 0)))


def in_words(both: pd.DataFrame) -> str:
    """What changes where patients are the units, from the table of ``both_ways``."""
    widths = both["width"].dropna()
    spread = (
        f"With patients as units the intervals are {widths.min():.1f} to {widths.max():.1f} times as wide as those of "
        f"the naive analysis, {widths.median():.1f} times in the median of {len(widths)}."
        if len(widths)
        else "No interval has a width both ways, so nothing can be compared."
    )
    tested = both.dropna(subset=["naive_p", "p"])
    turned = tested[(tested["naive_p"] < ALPHA) != (tested["p"] < ALPHA)]
    changes = [
        f"{row.quantity}: P {row.naive_p:.3f} naive, {row.p:.3f} with patients as units" for row in turned.itertuples()
    ]
    if not changes:
        return f"{spread} None of {len(tested)} tests crosses {ALPHA}."
    cross = "crosses" if len(changes) == 1 else "cross"
    return f"{spread} {len(changes)} of {len(tested)} tests {cross} {ALPHA}: {'; '.join(changes)}."


def _metric(row: pd.Series, model: str, metric: str) -> dict[str, object]:
    numbers = row[["low", "high", "naive_low", "naive_high"]].to_dict()
    name = f"{LABELS.get(model, model)}: {_name(metric)}"
    return {"quantity": name, "estimate": row["pooled"], "naive_p": np.nan, "p": np.nan, **numbers}


def _difference(tests: pd.DataFrame, metric: str, model_a: str, model_b: str) -> dict[str, object]:
    clustered, naive = (tests[(tests["method"] == "clustered") == honest].iloc[0] for honest in (True, False))
    name = f"{LABELS.get(model_a, model_a)} minus {LABELS.get(model_b, model_b)}: {_name(metric)}"
    numbers = {column: clustered[column] for column in ("low", "high", "p")}
    return {"quantity": name, "estimate": clustered["difference"], **numbers} | {
        renamed: naive[column] for column, renamed in _NAIVE.items()
    }


def _name(metric: str) -> str:
    return metric.upper() if metric in ("auc", "ppv", "npv") else metric
