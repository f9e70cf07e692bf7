"""Differences between models on the same segments, naive and clustered, and between two cohorts."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from mflib.base.errors import InputError
from mflib.base.words import KEY, LABELS
from mflib.stats import roc
from mflib.stats.performance.metrics import METRICS, per_patient, ratio_covariance, summary
from mflib.stats.performance.predictions import check_one_run, models, paired, together, undefined

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
        No split and repeat in common; segments that only one of the two scored, or that carry different labels; fewer
        than two patients with positives or with negatives.
    """
    rows = []
    for run, both in paired(predictions, model_a, model_b):
        scores = both[["score_a", "score_b"]]
        for method, groups in (("clustered", both["participant_id"]), ("naive DeLong", None)):
            test = roc.compare(both["y_true_a"], scores, groups, level).iloc[0]
            row = {"model_a": model_a, "model_b": model_b, **run, "method": method}
            row |= {"n": len(both), "n_patients": both["participant_id"].nunique()}
            row |= {"auc_a": test["auc_first"], "auc_b": test["auc_second"]}
            rows.append(row | test[["difference", "se", "z", "p", "low", "high"]].to_dict())
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
    """
    rows = []
    for run, both in paired(predictions, model_a, model_b):
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
        No split and repeat with two models; segments that not all scored, or with different labels; areas that differ
        where their difference has no variance.
    """
    rows = []
    for run, segments, scores in together(predictions):
        names, patients = list(scores), segments["participant_id"]
        sizes = {"models": ", ".join(names), "n": len(segments), "n_patients": patients.nunique()}
        for method, groups in (("clustered", patients), ("naive DeLong", None)):
            if len(names) >= 2:
                rows.append({**run, "method": method, **sizes, **roc.joint(segments["y_true"], scores, groups)})
    if not rows:
        raise InputError(f"found the models {models(predictions)}, expected two or more in one split and repeat")
    return pd.DataFrame(rows)


def _right(both: pd.DataFrame, suffix: str) -> NDArray[np.bool_]:
    """Which segments (n,) a model decides rightly."""
    called = both[f"score{suffix}"] >= both[f"threshold{suffix}"]
    return (called == (both[f"y_true{suffix}"] == 1)).to_numpy()


def _decided(excess: NDArray[np.int64], groups: pd.Series | None, level: float) -> dict[str, object]:
    """Test and interval of the mean of ``excess`` (n,), 1 where only a is right, -1 where only b is."""
    codes = np.arange(len(excess)) if groups is None else pd.factorize(groups)[0]
    d, m = np.bincount(codes, excess), np.bincount(codes)
    if len(m) < 2:
        unit = "segments" if groups is None else "patients with segments"
        note = f"found {len(m)} {unit} to count over, expected at least 2"
        return undefined(note, ("difference", "low", "high", "z", "p"))
    squares, small_sample = float(d @ d), (len(d) - 1) / len(d)
    difference, variance = ratio_covariance(d[:, None], m[:, None])
    # Obuchowski's variances have the factor I / (I - 1), McNemar's and Wald's of single segments have none.
    of_test, of_interval = (small_sample, 1.0) if groups is not None else (1.0, small_sample)
    z = float(d.sum() * np.sqrt(of_test / squares)) if squares else 0.0
    reach = roc.z_value(level) * float(np.sqrt(of_interval * variance[0, 0]))
    centre = float(difference[0])
    note = "" if squares else "no patient in whom one model is right more often"
    numbers = {"difference": centre, "low": centre - reach, "high": centre + reach}
    return {**numbers, "z": z, "p": float(2 * norm.sf(abs(z))), "note": note}


ALPHA = 0.05
_ENDS = ["low", "high", "naive_low", "naive_high"]
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
    """
    table = predictions[predictions["model"].isin((model_a, model_b))]
    check_one_run(table, "both models")
    pooled = summary(table, level).set_index(["model", "metric"])
    rows = []
    for metric, model in product(METRICS, (model_a, model_b)):
        row = pooled.loc[(model, metric)]
        quantity = f"{LABELS.get(model, model)}: {_name(metric)}"
        rows.append({"quantity": quantity, "estimate": row["pooled"], **row[_ENDS].to_dict()})
    areas = comparison(table, model_a, model_b, level).assign(metric="auc")
    decisions = mcnemar(table, model_a, model_b, level)
    for metric, tests in pd.concat([areas, decisions]).groupby("metric", sort=False):
        rows.append(_difference(tests, str(metric), model_a, model_b))
    both = pd.DataFrame(rows).reindex(columns=["quantity", *_NUMBERS]).astype(dict.fromkeys(_NUMBERS, np.float64))
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


def _difference(tests: pd.DataFrame, metric: str, model_a: str, model_b: str) -> dict[str, object]:
    clustered, naive = (tests[(tests["method"] == "clustered") == honest].iloc[0] for honest in (True, False))
    name = f"{LABELS.get(model_a, model_a)} minus {LABELS.get(model_b, model_b)}: {_name(metric)}"
    ends = ["low", "high", "p"]
    numbers = {**clustered[ends].to_dict(), **naive[ends].add_prefix("naive_").to_dict()}
    return {"quantity": name, "estimate": clustered["difference"], **numbers}


def _name(metric: str) -> str:
    return metric.upper() if metric in ("auc", "ppv", "npv") else metric


_TEST = ("difference", "low", "high", "p")


def transport(own: pd.DataFrame, external: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """Every metric of each model on its own cohort and on an external one, and what is lost on the way.

    Parameters
    ----------
    own : predictions table of the cohort that the models learnt from, out of fold, one split and repeat
    external : predictions table of patients that are not in it, one split and repeat
    level : confidence

    Returns
    -------
    DataFrame
        One row per model that stands in both and metric: ``model``, ``metric``, ``own``, ``own_low``, ``own_high``,
        ``external``, ``external_low``, ``external_high`` (pooled over segments, clustered by patient as ``summary``),
        ``difference`` (external minus own), ``low``, ``high``, ``p`` (normal, two-sided; the variances of two
        independent cohorts add; missing where one of them is 0), ``note`` (why a number is missing or an interval has
        no width; empty otherwise).

        The two are not quite the same thing: out of fold each segment is scored by one fold's model, elsewhere by what
        all folds' models say together.

    Raises
    ------
    InputError
        Several splits or repeats of one cohort; no model in common.
    """
    for table in (own, external):
        check_one_run(table, "a cohort")
    common = [model for model in models(own) if model in set(external["model"])]
    if not common:
        raise InputError(f"found the models {models(own)} and {models(external)}, expected one in common")
    of_own, of_external = (summary(table, level).set_index(["model", "metric"]) for table in (own, external))
    rows = []
    for model in common:
        first, second = (table[table["model"] == model] for table in (own, external))
        for metric in METRICS:
            sides = {"own": of_own.loc[(model, metric)], "external": of_external.loc[(model, metric)]}
            tested = _lost(first, second, metric, level)
            if any(side["low"] == side["high"] for side in sides.values()):
                # A side without variance is not known for certain, as a sum of variances would take it.
                tested |= {"low": np.nan, "high": np.nan, "p": np.nan}
            row = {"model": model, "metric": metric}
            for name, side in sides.items():
                row |= {name: side["pooled"], f"{name}_low": side["low"], f"{name}_high": side["high"]}
            note = "; ".join(f"{name}: {side['note']}" for name, side in sides.items() if side["note"])
            rows.append({**row, **tested, "note": note})
    return pd.DataFrame(rows)


def _lost(own: pd.DataFrame, external: pd.DataFrame, metric: str, level: float) -> dict[str, float]:
    """What a model loses of a metric; NaN where one of the two has no variance to be estimated."""
    try:
        (here, of_here), (there, of_there) = (_pooled(table, metric) for table in (own, external))
    except InputError:
        return dict.fromkeys(_TEST, np.nan)
    test = roc.normal_test(float(there[0] - here[0]), float(of_here[0, 0] + of_there[0, 0]), level)
    return {name: test[name] for name in _TEST}


def _pooled(table: pd.DataFrame, metric: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A metric over all segments and its variance, (1,) and (1, 1)."""
    if metric == "auc":
        return roc.auc_covariance(table["y_true"], table["score"], table["participant_id"])
    return ratio_covariance(*per_patient(table, [metric]))


def paired_areas(predictions: pd.DataFrame, model_a: str, model_b: str) -> pd.DataFrame:
    """As ``comparison``, with a ``note`` in place of the numbers where a cohort is too small or of one class."""
    try:
        return comparison(predictions, model_a, model_b).assign(note="")
    except InputError as error:
        row: dict[str, object] = {"model_a": model_a, "model_b": model_b, "method": "clustered"}
        row |= {"n": len(predictions.drop_duplicates(KEY)), "n_patients": predictions["participant_id"].nunique()}
        numbers = ("auc_a", "auc_b", "difference", "se", "z", "p", "low", "high")
        return pd.DataFrame([{**row, **undefined(str(error), numbers)}])
