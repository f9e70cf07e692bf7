"""Differences between models on the same segments, naive and clustered, and in the paper's form."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from mflib.base.errors import InputError
from mflib.base.words import LABELS
from mflib.stats import roc
from mflib.stats.performance.metrics import METRICS, metrics_per_fold, ratio_covariance, summary
from mflib.stats.performance.predictions import RUN, models, paired, together, validate

# Which labels each proportion of right decisions counts over.
_DECISIONS = {"accuracy": (0, 1), "sensitivity": (1,), "specificity": (0,)}


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
    InputError
        As ``validate``; no split and repeat in common; or segments that only one of the two scored, or that carry
        different labels.
    InputError
        Fewer than two patients with positives or with negatives, or a level outside (0, 1).
    """
    table = validate(predictions)
    rows = []
    for run, both in paired(table, model_a, model_b):
        scores = both[["score_a", "score_b"]]
        for method, groups in (("clustered", both["participant_id"]), ("naive DeLong", None)):
            test = roc.compare(both["y_true_a"], scores, groups, level).iloc[0]
            rows.append(
                {"model_a": model_a, "model_b": model_b, **run, "method": method}
                | {"n": len(both), "n_patients": both["participant_id"].nunique()}
                | {"auc_a": test["auc_first"], "auc_b": test["auc_second"]}
                | test[["difference", "se", "z", "p", "low", "high"]].to_dict()
            )
    return pd.DataFrame(rows)


def mcnemar(predictions: pd.DataFrame, model_a: str, model_b: str, level: float = 0.95) -> pd.DataFrame:
    """Difference of two models' right decisions on the same segments, at their frozen thresholds.

    Parameters
    ----------
    predictions : the predictions table
    model_a, model_b : the two models
    level : confidence

    Returns
    -------
    DataFrame
        For each split and repeat that both scored, each ``metric`` (accuracy, sensitivity, specificity) and each
        ``method``: ``model_a``, ``model_b``, ``split``, ``repeat``, ``metric``, ``method``, ``n``, ``n_patients``,
        ``only_a`` and ``only_b`` (segments that only one of the two decided rightly), ``difference`` (a minus b),
        ``low``, ``high``, ``z``, ``p`` (two-sided), ``note`` (why numbers are missing; empty otherwise).

        "clustered" is Obuchowski 1998 (Stat Med 17:1495), in the form of Yang, Sun & Hardin 2010: with d the
        patient's only_a minus only_b, z^2 = (I - 1) / I (sum d)^2 / sum d^2 over I patients. Its interval is that of
        a difference of ratio estimators. "naive McNemar" takes segments as independent: z^2 is McNemar's chi-square
        without continuity correction (Fagerland, Lydersen & Laake 2013), the interval Wald's. The variance of a test
        holds under no difference, that of an interval does not, so the two can disagree at the edge.

    Raises
    ------
    InputError
        As ``comparison``.
    InputError
        A level outside (0, 1).
    """
    roc.check_level(level)
    table = validate(predictions)
    rows = []
    for run, both in paired(table, model_a, model_b):
        for metric, labels in _DECISIONS.items():
            counted = both[both["y_true_a"].isin(labels)]
            right_a, right_b = (_right(counted, suffix) for suffix in ("_a", "_b"))
            discordant = {"only_a": int((right_a & ~right_b).sum()), "only_b": int((right_b & ~right_a).sum())}
            sizes = {"n": len(counted), "n_patients": counted["participant_id"].nunique()}
            excess = right_a.astype(int) - right_b.astype(int)
            for method, groups in (("clustered", counted["participant_id"]), ("naive McNemar", None)):
                row = {"model_a": model_a, "model_b": model_b, **run, "metric": metric, "method": method}
                rows.append({**row, **sizes, **discordant, **_decided(excess, groups, level)})
    return pd.DataFrame(rows)


def several(predictions: pd.DataFrame) -> pd.DataFrame:
    """One test of whether the pooled AUCs of all models are equal: chi-square on the same segments.

    Returns
    -------
    DataFrame
        Two rows per split and repeat with two models or more, ``method`` "clustered" (Obuchowski 1997) and "naive
        DeLong" (DeLong 1988): ``split``, ``repeat``, ``method``, ``models``, ``n``, ``n_patients``, ``statistic``,
        ``df``, ``p``.

    Raises
    ------
    InputError
        As ``validate``; no split and repeat with two models; segments that not all scored, or with different labels.
    InputError
        As ``roc.joint``.
    """
    table = validate(predictions)
    rows = []
    for run, segments, scores in together(table):
        names, patients = list(scores), segments["participant_id"]
        sizes = {"models": ", ".join(names), "n": len(segments), "n_patients": patients.nunique()}
        for method, groups in (("clustered", patients), ("naive DeLong", None)):
            if len(names) >= 2:
                test = roc.joint(segments["y_true"], scores, groups)
                numbers = {"statistic": test.statistic, "df": test.df, "p": test.p}
                rows.append({**run, "method": method, **sizes, **numbers})
    if not rows:
        raise InputError(f"found the models {models(table)}, expected two or more in one split and repeat")
    return pd.DataFrame(rows)


def _right(both: pd.DataFrame, suffix: str) -> NDArray[np.bool_]:
    """Which segments (n,) a model decides rightly."""
    called = both[f"score{suffix}"] >= both[f"threshold{suffix}"]
    return (called == (both[f"y_true{suffix}"] == 1)).to_numpy()


def _decided(excess: NDArray[np.int64], groups: pd.Series | None, level: float) -> dict[str, object]:
    """Test and interval of the mean of ``excess`` (n,), 1 where only a is right, -1 where only b is."""
    undefined = dict.fromkeys(("difference", "low", "high", "z", "p"), np.nan)
    codes = np.arange(len(excess)) if groups is None else pd.factorize(groups)[0]
    d, m = np.bincount(codes, excess), np.bincount(codes)
    if len(m) < 2:
        unit = "segments" if groups is None else "patients with segments"
        return {**undefined, "note": f"found {len(m)} {unit} to count over, expected at least 2"}
    squares, small_sample = float(d @ d), (len(d) - 1) / len(d)
    difference, variance = ratio_covariance(d[:, None], m[:, None])
    # Obuchowski's variances have the factor I / (I - 1), McNemar's and Wald's of single segments have none.
    of_test, of_interval = (small_sample, 1.0) if groups is not None else (1.0, small_sample)
    z = float(d.sum() * np.sqrt(of_test / squares)) if squares else 0.0
    reach = float(norm.ppf((1 + level) / 2)) * float(np.sqrt(of_interval * variance[0, 0]))
    centre = float(difference[0])
    note = "" if squares else "no patient in whom one model is right more often"
    numbers = {"difference": centre, "low": centre - reach, "high": centre + reach}
    return {**numbers, "z": z, "p": float(2 * norm.sf(abs(z))), "note": note}


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
    InputError
        As ``validate`` and ``comparison``; several splits or repeats.
    InputError
        As ``comparison``.
    """
    table = validate(predictions)
    table = table[table["model"].isin((model_a, model_b))]
    runs = table[RUN[1:]].drop_duplicates()
    if len(runs) != 1:
        raise InputError(f"found {runs.to_dict('records')}, expected one split and repeat of both models")
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


PAPER_ORDER = ["accuracy", "ppv", "npv", "sensitivity", "specificity", "auc"]


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
    InputError
        As ``validate``; the model is not there, or in several splits or repeats.
    """
    folds = metrics_per_fold(predictions)
    of_model = folds[folds["model"] == model]
    runs = of_model[["split", "repeat"]].drop_duplicates()
    if len(runs) != 1:
        found = runs.to_dict("records") or sorted(folds["model"].unique())
        raise InputError(f"found {found}, expected one split and repeat of the model {model!r}")
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
    InputError
        As ``paper_table``.
    """
    table = pd.DataFrame()
    for model in (model_a, model_b):
        folds = paper_table(predictions, model).set_index("fold")
        table[f"{model}_mean"] = folds.mean()
        table[f"{model}_sd"] = folds.std(ddof=0)
        table[f"{model}_folds"] = folds.count()
    return table.rename_axis("metric").reset_index()


def _paper_units(metrics: pd.DataFrame) -> pd.DataFrame:
    """Percent but for the AUC, with the names of the published tables."""
    percent = metrics.drop(columns="auc").mul(100).add_suffix("_pct")
    return percent.assign(auc=metrics["auc"])
