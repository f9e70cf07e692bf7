"""Performance of every model, from the predictions table alone.

A predictions table has one row per segment and model: KEY, ``model``, ``split``, ``repeat``, ``fold``, ``y_true``,
``score``, ``threshold``. A segment is called positive where ``score >= threshold``.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.metrics import roc_auc_score
from statsmodels.stats.proportion import proportion_confint

from mflib import roc
from mflib.volume import KEY, LEVELS, SIDES

LABELS = {
    "random_forest": "Random forest",
    "dcnn": "3D network",
    "echo_intensity": "Echo intensity alone",
    "clinical": "Age, sex and BMI",
}
RUN = ["model", "split", "repeat"]
COLUMNS = [*KEY, *RUN, "fold", "y_true", "score", "threshold"]
# What each proportion divides: cells of the confusion matrix counted, and those counted over.
PROPORTIONS = {
    "sensitivity": (["tp"], ["tp", "fn"]),
    "specificity": (["tn"], ["tn", "fp"]),
    "ppv": (["tp"], ["tp", "fp"]),
    "npv": (["tn"], ["tn", "fn"]),
    "accuracy": (["tp", "tn"], ["tp", "fp", "fn", "tn"]),
}
METRICS = [*PROPORTIONS, "auc"]
PAPER_ORDER = ["accuracy", "ppv", "npv", "sensitivity", "specificity", "auc"]
_NO_INTERVAL = dict.fromkeys(("low", "high", "naive_low", "naive_high"), np.nan)
_ALLOWED = {"level": LEVELS, "lat": SIDES, "split": ("patient", "segment"), "y_true": (0, 1)}


class PredictionsError(ValueError):
    """A predictions table that cannot be used; the message lists each fault with its row and column."""


def models(predictions: pd.DataFrame) -> list[str]:
    """The models of a predictions table: the study's own in their order, then anybody's by name."""
    present = set(predictions["model"])
    return [model for model in LABELS if model in present] + sorted(present - set(LABELS))


def youden_threshold(y_true: ArrayLike, scores: ArrayLike) -> float:
    """Threshold with the highest sensitivity + specificity - 1 (Youden 1950).

    Parameters
    ----------
    y_true : (n,) 0 or 1
    scores : (n,) higher means more likely positive

    Returns
    -------
    float
        A score >= threshold is called positive. It lies midway between two neighbouring distinct scores. Of equally
        good ones the highest is taken (the most specific). Where nothing beats calling every segment positive, it is
        the lowest score.

    Raises
    ------
    roc.RocError
        One class only, non-finite scores, lengths that differ.
    """
    positive, columns = roc.check(y_true, scores)
    distinct, position = np.unique(columns[:, 0], return_inverse=True)
    positives = np.bincount(position[positive], minlength=len(distinct))
    negatives = np.bincount(position[~positive], minlength=len(distinct))
    # Cases at or above each distinct score; in whole numbers equally good thresholds are exactly equal.
    true_positives = positives[::-1].cumsum()[::-1]
    false_positives = negatives[::-1].cumsum()[::-1]
    youden = true_positives * negatives.sum() - false_positives * positives.sum()
    best = len(distinct) - 1 - int(np.argmax(youden[::-1]))
    if youden[best] <= 0:
        return float(distinct[0])
    below, above = float(distinct[best - 1]), float(distinct[best])
    midway = below + (above - below) / 2
    return midway if midway > below else above  # neighbouring floats have no number between them


def validate(predictions: pd.DataFrame) -> pd.DataFrame:
    """The predictions table with its columns in order and its numbers as numbers.

    Returns
    -------
    DataFrame
        A copy with ``COLUMNS`` and a fresh index; other columns are left out.

    Raises
    ------
    PredictionsError
        No rows, missing columns, missing or unknown values, non-finite scores or thresholds, or a segment that occurs
        twice for one model, split and repeat. Each fault names its row (0-based) and column.
    """
    absent = [column for column in COLUMNS if column not in predictions.columns]
    if absent or predictions.empty:
        raise PredictionsError(
            f"found {len(predictions)} rows without the columns {absent}, expected rows with {COLUMNS}"
        )
    table = predictions[COLUMNS].reset_index(drop=True)
    for column in ("repeat", "fold", "y_true", "score", "threshold"):
        table[column] = pd.to_numeric(table[column], errors="coerce").astype(np.float64)
    checks = {column: (np.isfinite(table[column]), "a finite number") for column in ("score", "threshold")}
    checks |= {column: (table[column] % 1 == 0, "a whole number") for column in ("repeat", "fold")}
    checks |= {column: (table[column].notna(), "a name") for column in ("participant_id", "model")}
    checks |= {column: (table[column].isin(allowed), f"one of {allowed}") for column, allowed in _ALLOWED.items()}
    faults = [
        f"row {row}, {column}: found {predictions[column].iloc[row]}, expected {expected}"
        for column, (right, expected) in checks.items()
        for row in np.flatnonzero(~right)
    ]
    doubled = table.duplicated([*KEY, *RUN])
    faults += [
        f"row {row}, key: found {table.loc[row, KEY].tolist()} again, expected one row per model, split and repeat"
        for row in np.flatnonzero(doubled)
    ]
    if faults:
        more = f"\n... and {len(faults) - 20} more" if len(faults) > 20 else ""
        raise PredictionsError(f"{len(faults)} faults in the predictions table:\n" + "\n".join(faults[:20]) + more)
    return table.astype({"repeat": int, "fold": int, "y_true": int})


def metrics_per_fold(predictions: pd.DataFrame) -> pd.DataFrame:
    """Counts and metrics of each model, split, repeat and fold at the frozen thresholds.

    Returns
    -------
    DataFrame
        ``RUN``, ``fold``, ``n``, ``n_positive``, ``tp``, ``fp``, ``fn``, ``tn``, then ``METRICS`` in [0, 1]. NaN marks
        an undefined metric: nothing to divide by, or an AUC in a fold of one class. ``summary`` counts the rest.

    Raises
    ------
    PredictionsError
        As ``validate``.
    """
    table = validate(predictions)
    rows = [
        {**dict(zip([*RUN, "fold"], key, strict=True)), **_metrics(fold)}
        for key, fold in table.groupby([*RUN, "fold"], sort=True)
    ]
    return pd.DataFrame(rows)


def summary(predictions: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """Every metric of each model, split and repeat: over folds and pooled, with intervals.

    Parameters
    ----------
    predictions : the predictions table; fold means and pooled values are of its test folds
    level : confidence

    Returns
    -------
    DataFrame
        One row per model, split, repeat and metric: ``RUN``, ``metric``, ``mean`` and ``sd`` over the folds where it is
        defined (population SD, as the paper's), ``folds`` and ``folds_defined``, ``pooled`` over all segments,
        ``low`` and ``high`` (clustered by patient, logit scale), ``naive_low`` and ``naive_high`` (as if segments were
        independent), ``note`` (why a value or an interval is missing or has no width; empty otherwise).

        The pooled AUC ranks scores of different folds' models against each other, so it asks that they share a scale.
        Its intervals are Obuchowski 1997 and, naive, DeLong 1988. Those of proportions are the ratio estimator
        (Rao & Scott 1992) and, naive, Wilson's.

    Raises
    ------
    PredictionsError
        As ``validate``.
    """
    table = validate(predictions)
    folds = metrics_per_fold(table)
    rows = []
    for key, run in table.groupby(RUN, sort=True):
        of_run = folds[(folds[RUN] == list(key)).all(axis=1)]
        for metric in METRICS:
            pooled = _pooled_auc(run, level) if metric == "auc" else _pooled_proportion(run, metric, level)
            rows.append({**dict(zip(RUN, key, strict=True)), "metric": metric, **_over_folds(of_run[metric]), **pooled})
    return pd.DataFrame(rows)


def comparison(predictions: pd.DataFrame, model_a: str, model_b: str, level: float = 0.95) -> pd.DataFrame:
    """Difference of the pooled AUCs of two models on the same segments.

    Returns
    -------
    DataFrame
        Two rows per split and repeat that both models scored, ``method`` "clustered" (Obuchowski 1997, patients as
        clusters) and "naive DeLong" (segments as if independent): ``model_a``, ``model_b``, ``split``, ``repeat``,
        ``method``, ``n``, ``n_patients``, ``auc_a``, ``auc_b``, and from ``roc.compare`` ``difference``, ``se``, ``z``,
        ``p``, ``low``, ``high``.

    Raises
    ------
    PredictionsError
        As ``validate``; no split and repeat in common; or segments that only one of the two scored, or that carry
        different labels.
    roc.RocError
        Fewer than two patients with positives or with negatives.
    """
    table = validate(predictions)
    rows = []
    for run, paired in _paired(table, model_a, model_b):
        scores = paired[["score_a", "score_b"]]
        for method, groups in (("clustered", paired["participant_id"]), ("naive DeLong", None)):
            test = roc.compare(paired["y_true_a"], scores, groups, level).iloc[0]
            rows.append(
                {"model_a": model_a, "model_b": model_b, **run, "method": method}
                | {"n": len(paired), "n_patients": paired["participant_id"].nunique()}
                | {"auc_a": test["auc_first"], "auc_b": test["auc_second"]}
                | test[["difference", "se", "z", "p", "low", "high"]].to_dict()
            )
    return pd.DataFrame(rows)


def paper_table(predictions: pd.DataFrame, model: str) -> pd.DataFrame:
    """The metrics of one model in the form of the paper's tables 2 and 3.

    Parameters
    ----------
    predictions : the predictions table, narrowed to one split and repeat
    model : whose table

    Returns
    -------
    DataFrame
        One row per fold: ``fold``, ``accuracy_pct``, ``ppv_pct``, ``npv_pct``, ``sensitivity_pct``,
        ``specificity_pct`` (percent), ``auc``; NaN where undefined.

    Raises
    ------
    PredictionsError
        As ``validate``; the model is not there, or in several splits or repeats.
    """
    folds = metrics_per_fold(predictions)
    of_model = folds[folds["model"] == model]
    runs = of_model[["split", "repeat"]].drop_duplicates()
    if len(runs) != 1:
        found = runs.to_dict("records") or sorted(folds["model"].unique())
        raise PredictionsError(f"found {found}, expected one split and repeat of the model {model!r}")
    return _paper_units(of_model.set_index("fold")[PAPER_ORDER]).reset_index()


def comparison_table(predictions: pd.DataFrame, model_a: str, model_b: str) -> pd.DataFrame:
    """Mean and population SD over folds of two models, in the form of the paper's table 4.

    Parameters
    ----------
    predictions : the predictions table, narrowed to one split and repeat
    model_a, model_b : the two models

    Returns
    -------
    DataFrame
        One row per metric: ``metric``, and for each model ``{model}_mean``, ``{model}_sd``, ``{model}_folds`` (folds
        where the metric is defined).

    Raises
    ------
    PredictionsError
        As ``paper_table``.
    """
    table = pd.DataFrame()
    for model in (model_a, model_b):
        folds = paper_table(predictions, model).set_index("fold")
        table[f"{model}_mean"] = folds.mean()
        table[f"{model}_sd"] = folds.std(ddof=0)
        table[f"{model}_folds"] = folds.count()
    return table.rename_axis("metric").reset_index()


def _confusion(table: pd.DataFrame) -> pd.DataFrame:
    """Which cell of the confusion matrix each row falls in: (n, 4) 0 or 1."""
    positive, called = table["y_true"] == 1, table["score"] >= table["threshold"]
    cells = {"tp": positive & called, "fp": ~positive & called, "fn": positive & ~called, "tn": ~positive & ~called}
    return pd.DataFrame(cells).astype(int)


def _metrics(fold: pd.DataFrame) -> dict[str, float]:
    counts = _confusion(fold).sum()
    proportions = {name: _ratio(counts[of].sum(), counts[over].sum()) for name, (of, over) in PROPORTIONS.items()}
    return {
        "n": len(fold),
        "n_positive": int(fold["y_true"].sum()),
        **counts.to_dict(),
        **proportions,
        "auc": _auc(fold),
    }


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else np.nan


def _auc(table: pd.DataFrame) -> float:
    """Area under the curve; NaN where there is one class only."""
    return float(roc_auc_score(table["y_true"], table["score"])) if table["y_true"].nunique() == 2 else np.nan


def _over_folds(values: pd.Series) -> dict[str, float]:
    return {"mean": values.mean(), "sd": values.std(ddof=0), "folds": len(values), "folds_defined": values.count()}


def _pooled_auc(run: pd.DataFrame, level: float) -> dict[str, object]:
    y_true, scores = run["y_true"], run["score"]
    try:
        auc, clustered = roc.auc_covariance(y_true, scores, run["participant_id"])
    except roc.RocError as error:
        return {"pooled": _auc(run), **_NO_INTERVAL, "note": str(error)}
    _, naive = roc.auc_covariance(y_true, scores)
    low, high = roc.auc_interval(float(auc[0]), float(naive[0, 0]), level=level)
    return _clustered(float(auc[0]), float(clustered[0, 0]), level) | {"naive_low": low, "naive_high": high}


def _pooled_proportion(run: pd.DataFrame, metric: str, level: float) -> dict[str, object]:
    """A proportion over all segments, its interval by the ratio estimator: x_i of m_i segments in patient i."""
    of, over = PROPORTIONS[metric]
    counts = _confusion(run).groupby(run["participant_id"]).sum()
    x, m = counts[of].sum(axis=1).to_numpy(), counts[over].sum(axis=1).to_numpy()
    x, m = x[m > 0], m[m > 0]
    proportion = _ratio(x.sum(), m.sum())
    if len(m) < 2:
        note = f"found {len(m)} patients with segments to count over, expected at least 2"
        return {"pooled": proportion, **_NO_INTERVAL, "note": note}
    variance = len(m) / (len(m) - 1) * float(((x - m * proportion) ** 2).sum()) / float(m.sum()) ** 2
    low, high = proportion_confint(x.sum(), m.sum(), alpha=1 - level, method="wilson")
    return _clustered(proportion, variance, level) | {"naive_low": low, "naive_high": high}


def _clustered(estimate: float, variance: float, level: float) -> dict[str, object]:
    low, high = roc.auc_interval(estimate, variance, level=level)
    note = "" if variance > 0 else "no variance between patients: the clustered interval has no width"
    return {"pooled": estimate, "low": low, "high": high, "note": note}


def _paired(table: pd.DataFrame, model_a: str, model_b: str) -> Iterator[tuple[dict[str, object], pd.DataFrame]]:
    """Each split and repeat that both models scored, and its segments with the suffixes ``_a`` and ``_b``."""
    runs = {
        model: dict(iter(table[table["model"] == model].groupby(["split", "repeat"]))) for model in (model_a, model_b)
    }
    common = sorted(runs[model_a].keys() & runs[model_b].keys())
    if not common:
        found = "; ".join(f"{model} in {sorted(of_model)}" for model, of_model in runs.items())
        raise PredictionsError(f"found {found}; expected a split and repeat that both models scored")
    for run in common:
        paired = runs[model_a][run].merge(
            runs[model_b][run], on=KEY, how="outer", suffixes=("_a", "_b"), indicator=True
        )
        wrong = paired[(paired["_merge"] != "both") | (paired["y_true_a"] != paired["y_true_b"])]
        if len(wrong):
            first = wrong[[*KEY, "_merge", "y_true_a", "y_true_b"]].iloc[0].tolist()
            found = f"{len(wrong)} segments scored by one model only or with different labels, the first {first}"
            raise PredictionsError(f"split {run[0]}, repeat {run[1]}: found {found}; expected the same of both")
        yield dict(zip(("split", "repeat"), run, strict=True)), paired


def _paper_units(metrics: pd.DataFrame) -> pd.DataFrame:
    """Percent but for the AUC, with the names of the published tables."""
    percent = metrics.drop(columns="auc").mul(100).add_suffix("_pct")
    return percent.assign(auc=metrics["auc"])
