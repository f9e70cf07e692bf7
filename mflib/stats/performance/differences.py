"""Differences between models on the same segments, naive and clustered, and between two cohorts."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import norm

from mflib.base.errors import InputError
from mflib.base.words import label
from mflib.stats import roc
from mflib.stats.performance import metrics
from mflib.stats.performance.predictions import check_one_run, estimate, models, p_value, paired, together, undefined

# Ways to compare two AUCs. The first ranks scores within folds only, so it asks for no common scale of the folds.
FOLDS, POOLED, NAIVE = METHODS = ("mean of folds", "pooled, clustered", "pooled, naive DeLong")
# Which labels each proportion of right decisions counts over.
_DECISIONS = {"accuracy": (0, 1), "sensitivity": (1,), "specificity": (0,)}
_TEST = ("difference", "se", "z", "p", "low", "high")


def comparison(predictions: pd.DataFrame, model_a: str, model_b: str) -> pd.DataFrame:
    """Difference of the AUCs of two models on the same segments, within folds and pooled.

    Returns
    -------
    DataFrame
        Three rows per split and repeat that both models scored, ``method`` "mean of folds" (the primary comparison:
        influence curves summed over patients, see ``roc.fold_mean``), "pooled, clustered" (Obuchowski 1997, patients as
        clusters) and "pooled, naive DeLong" (segments as if independent, as the paper has it): ``model_a``,
        ``model_b``, ``split``, ``repeat``, ``method``, ``n``, ``n_patients``, ``auc_a``, ``auc_b``, and from
        ``roc.compare`` ``difference``, ``se``, ``z``, ``p`` (not adjusted for other comparisons), ``low``, ``high``,
        then ``note`` (why numbers are missing, such as a fold with one patient with positives; empty otherwise).

    Raises
    ------
    InputError
        No split and repeat in common; segments that only one of the two scored, or that carry different labels.
    """
    rows = []
    for run, both in paired(predictions, model_a, model_b):
        patients, folds = both["participant_id"], both[["fold_a", "fold_b"]]
        ways = zip(METHODS, (patients, patients, None), (folds, None, None), strict=True)
        for method, groups, within in ways:
            row = {"model_a": model_a, "model_b": model_b, **run, "method": method}
            row |= {"n": len(both), "n_patients": patients.nunique()}
            try:
                test = roc.compare(both["y_true_a"], both[["score_a", "score_b"]], groups, within)
                rows.append({**row, **test, "note": ""})
            except InputError as error:
                rows.append(row | undefined(str(error), ("auc_a", "auc_b", *_TEST)))
    return pd.DataFrame(rows)


def against(predictions: pd.DataFrame, model: str) -> pd.DataFrame:
    """Each model beside one of them, for a reader: the AUC within folds first, the pooled one second.

    Parameters
    ----------
    predictions : the predictions table, narrowed to one split and repeat
    model : from whose AUC the others' are taken
    """
    areas = metrics.summary(predictions).query("metric == 'auc'").set_index("model")
    rows = []
    for row in metrics.fold_mean_auc(predictions).to_dict("records"):
        name, tests = row["model"], {}
        if name != model:
            tests = comparison(predictions, model, name).set_index("method").to_dict("index")
        shown = {"model": label(name), f"AUC, {FOLDS} [95 %]": estimate(row, "mean")}
        shown |= _apart(tests.get(FOLDS), model, FOLDS)
        shown["AUC, pooled [95 %]"] = estimate(areas.loc[name], "pooled")
        shown |= _apart(tests.get(POOLED), model, "pooled")
        rows.append(shown | {"note": row["note"]})
    table = pd.DataFrame(rows)
    return table if table["note"].any() else table.drop(columns="note")


def _apart(test: dict[str, Any] | None, model: str, way: str) -> dict[str, str]:
    """The difference and its P as two cells; empty where nothing was tested."""
    cells = ("", "")
    if test is not None and pd.notna(test["difference"]):
        cells = (estimate(test, "difference", "+.2f"), p_value(test["p"]))
    names = (f"{label(model)} minus it, {way} [95 %]", f"P, {way}, unadjusted")
    return dict(zip(names, cells, strict=True))


def variants(predictions: pd.DataFrame, own: str, names: Mapping[str, str] | None = None) -> pd.DataFrame:
    """The AUC of each model, and how far it lies from that of one of them, a row each in their order.

    Parameters
    ----------
    predictions : the predictions table, one repeat of each model
    own : the model that the others are held against; it comes first
    names : what the models are called

    Returns
    -------
    DataFrame
        ``variant``, mean of the folds' AUCs (``mean``, ``low``, ``high``), ``pooled``, and the difference of the means
        to the own one: ``difference``, ``difference_low``, ``difference_high``, ``p``; these are missing where the
        split is another one, since other patients were tested in other ways.
    """
    areas = metrics.fold_mean_auc(predictions).set_index("model")
    rows = []
    for model in dict.fromkeys([own, *predictions["model"]]):
        row = {"variant": (names or {}).get(model, model)}
        row |= areas.loc[model, ["mean", "low", "high", "pooled"]].to_dict()
        if model != own and areas.loc[model, "split"] == areas.loc[own, "split"]:
            test = comparison(predictions, model, own).set_index("method").loc[FOLDS]
            row |= {"difference": test["difference"], "p": test["p"]}
            row |= {f"difference_{end}": test[end] for end in ("low", "high")}
        rows.append(row)
    tested = ["difference", "difference_low", "difference_high", "p"]
    return pd.DataFrame(rows).reindex(columns=["variant", "mean", "low", "high", "pooled", *tested])


def variants_for_reader(table: pd.DataFrame, name: str, *beside: str) -> pd.DataFrame:
    """The table of `variants` with each value and its interval in one cell.

    Parameters
    ----------
    table : of `variants`
    name : head of the column of variants
    beside : columns to show as they are
    """
    rows = [
        {
            name: row["variant"],
            **{column: row[column] for column in beside},
            f"AUC, {FOLDS} [95 %]": estimate(row, "mean"),
            "difference [95 %]": estimate(row, "difference", "+.2f", "difference_"),
            "P, unadjusted": p_value(row["p"]) if pd.notna(row["p"]) else "n/a",
            "AUC, pooled": f"{row['pooled']:.2f}",
        }
        for row in table.to_dict("records")
    ]
    return pd.DataFrame(rows)


VERDICT = (
    "Within folds the AUC of the {a} {stands} that of the {b} (mean of folds; 95 % interval of the difference "
    "{low:+.2f} to {high:+.2f}, {p}): the interval **{surer} zero**."
)
STANDS = {True: "is **{by:.2f} {way}**", False: "is **the same as**"}
APART = (
    "Pooled, the difference is {pooled:+.2f} ({p}). Pooling ranks scores of different folds' models against each "
    "other; they do not share a scale, which changes the AUC of the {a} by {of_a:+.2f} and that of the {b} by "
    "{of_b:+.2f}."
)
NO_FOLDS = "Within folds {a} and {b} cannot be compared: {note}."
SEEN = 0.005  # what two decimals show


def verdict(compared: pd.DataFrame) -> str:
    """Which of two models is better and how sure that is; and why pooling says otherwise, where it does.

    Parameters
    ----------
    compared : of ``comparison``, of one split and repeat
    """
    tests = compared.set_index("method")
    folds, pooled = tests.loc[FOLDS], tests.loc[POOLED]
    names = {"a": _inside(folds["model_a"]), "b": _inside(folds["model_b"])}
    if pd.isna(folds["difference"]):
        return NO_FOLDS.format(**names, note=folds["note"])
    by, surer = folds["difference"], "excludes" if folds["low"] > 0 or folds["high"] < 0 else "includes"
    stands = STANDS[abs(by) >= SEEN].format(by=abs(by), way="above" if by > 0 else "below")
    ends = {"low": folds["low"], "high": folds["high"], "p": p_value(folds["p"])}
    said = VERDICT.format(**names, **ends, stands=stands, surer=surer)
    if pd.isna(pooled["difference"]) or abs(pooled["difference"] - by) < SEEN:
        return said
    # What rounds to nothing is shown without a sign of its own.
    moved = {f"of_{one}": round(pooled[f"auc_{one}"] - folds[f"auc_{one}"], 2) + 0.0 for one in ("a", "b")}
    return f"{said} {APART.format(**names, **moved, pooled=pooled['difference'], p=p_value(pooled['p']))}"


CHANCE = "Trained {trained} times, the {model} reached {lowest:.2f} to {highest:.2f} (SD {sd:.3f}). "
ONCE = "The {model} was trained once: what chance in its training does was not measured in this run (profile `full`). "
CHANCE_AGAINST = "The difference of {by:.2f} is {size} the {model}'s SD of {sd:.3f} from training to training."
NO_CHANCE = (
    "How far chance in training moves an AUC was not measured in this run; the profile `full` trains again to see."
)


def chance_in_words(chance: pd.DataFrame, compared: pd.DataFrame) -> str:
    """What training again says of the difference, from the tables of ``metrics.chance`` and ``comparison``."""
    again = chance[chance["trained"] > 1]
    if again.empty:
        return NO_CHANCE
    said = [CHANCE.format(**{**row, "model": _inside(row["model"])}) for row in again.to_dict("records")]
    said += [ONCE.format(model=_inside(model)) for model in chance.loc[chance["trained"] == 1, "model"]]
    widest, by = again.loc[again["sd"].idxmax()], compared.set_index("method").loc[FOLDS, "difference"]
    if pd.notna(by):
        size = "within twice" if abs(by) < 2 * widest["sd"] else "more than twice"
        name = _inside(widest["model"])
        said.append(CHANCE_AGAINST.format(by=abs(by), size=size, model=name, sd=widest["sd"]))
    return "".join(said)


def _inside(model: str) -> str:
    """A model's name inside a sentence."""
    name = label(model)
    return name if name != name.capitalize() else name.lower()


def metric_differences(predictions: pd.DataFrame, model_a: str, model_b: str) -> pd.DataFrame:
    """Difference of every metric of two models on the same segments, at their frozen thresholds.

    Parameters
    ----------
    predictions : the predictions table
    model_a, model_b : the two models

    Returns
    -------
    DataFrame
        For each split and repeat that both scored, each ``metric`` (accuracy, sensitivity, specificity, ppv, npv) and
        each ``method``: ``model_a``, ``model_b``, ``split``, ``repeat``, ``metric``, ``method``, ``n``, ``n_patients``,
        ``only_a`` and ``only_b`` (segments that only one of the two decided rightly; missing for predictive values,
        which count over other segments in each model), ``difference`` (a minus b), ``low``, ``high``, ``z``, ``p``
        (two-sided, not adjusted for other comparisons), ``note`` (why numbers are missing; empty otherwise).

        "clustered" is Obuchowski 1998 (Stat Med 17:1495), in the form of Yang, Sun & Hardin 2010: with d the
        patient's only_a minus only_b, z^2 = (I - 1) / I (sum d)^2 / sum d^2 over I patients. Its interval is that of
        a difference of ratio estimators. "naive McNemar" takes segments as independent: z^2 is McNemar's chi-square
        without continuity correction (Fagerland, Lydersen & Laake 2013), the interval Wald's. The variance of a test
        holds under no difference, that of an interval does not, so the two can disagree at the edge.

        Predictive values are ratio estimators (Rao & Scott 1992) and their difference is tested by its interval's
        variance (Wald), with patients or with segments as clusters; the first is what the marginal regression of
        Leisenring, Alonzo & Pepe 2000 (Biometrics 56:345) tests, with a small-sample factor.
    """
    rows = []
    for run, both in paired(predictions, model_a, model_b):
        named = {"model_a": model_a, "model_b": model_b, **run}
        for metric, labels in _DECISIONS.items():
            counted = both[both["y_true_a"].isin(labels)]
            right_a, right_b = (_right(counted, suffix) for suffix in ("_a", "_b"))
            discordant = {"only_a": int((right_a & ~right_b).sum()), "only_b": int((right_b & ~right_a).sum())}
            sizes = {"n": len(counted), "n_patients": counted["participant_id"].nunique()}
            excess = right_a.astype(int) - right_b.astype(int)
            for method, groups in (("clustered", counted["participant_id"]), ("naive McNemar", None)):
                what = {**named, "metric": metric, "method": method}
                rows.append({**what, **sizes, **discordant, **_decided(excess, groups)})
        for metric, method in product(("ppv", "npv"), ("clustered", "naive Wald")):
            units = both["participant_id"] if method == "clustered" else pd.Series(both.index)
            sizes = {"n": len(both), "n_patients": both["participant_id"].nunique()}
            rows.append({**named, "metric": metric, "method": method, **sizes, **_predicted(both, units, metric)})
    return pd.DataFrame(rows)


def _predicted(both: pd.DataFrame, units: pd.Series, metric: str) -> dict[str, object]:
    """Test and interval of the difference of a predictive value, the units taken as independent."""
    counts = []
    for suffix in ("_a", "_b"):
        own = {name: both[f"{name}{suffix}"] for name in ("y_true", "score", "threshold")}
        counts.append(metrics.per_patient(pd.DataFrame({"participant_id": units, **own}), [metric]))
    parts, wholes = (np.hstack(one) for one in zip(*counts, strict=True))
    try:
        values, covariance = metrics.ratio_covariance(parts, wholes)
    except InputError as error:
        return undefined(str(error), ("difference", "low", "high", "z", "p"))
    test = roc.normal_test(float(values[0] - values[1]), metrics.combined_variance([1, -1], covariance))
    return {name: test[name] for name in ("difference", "low", "high", "z", "p")} | {"note": ""}


def several(predictions: pd.DataFrame) -> pd.DataFrame:
    """One test of whether the AUCs of all models are equal: chi-square on the same segments.

    Returns
    -------
    DataFrame
        A row per split and repeat with two models or more, and ``method``, as ``comparison`` has them: ``split``,
        ``repeat``, ``method``, ``models``, ``n``, ``n_patients``, ``statistic``, ``df``, ``p``.

    Raises
    ------
    InputError
        No split and repeat with two models; segments that not all scored, or with different labels; areas that differ
        where their difference has no variance.
    """
    rows = []
    for run, segments, scores, folds in together(predictions):
        names, patients = list(scores), segments["participant_id"]
        sizes = {"models": ", ".join(map(label, names)), "n": len(segments), "n_patients": patients.nunique()}
        ways = zip(METHODS, (patients, patients, None), (folds, None, None), strict=True)
        for method, groups, within in ways if len(names) >= 2 else ():
            rows.append({**run, "method": method, **sizes, **roc.joint(segments["y_true"], scores, groups, within)})
    if not rows:
        raise InputError(f"found the models {models(predictions)}, expected two or more in one split and repeat")
    return pd.DataFrame(rows)


def _right(both: pd.DataFrame, suffix: str) -> NDArray[np.bool_]:
    """Which segments (n,) a model decides rightly."""
    called = both[f"score{suffix}"] >= both[f"threshold{suffix}"]
    return (called == (both[f"y_true{suffix}"] == 1)).to_numpy()


def _decided(excess: NDArray[np.int64], groups: pd.Series | None) -> dict[str, object]:
    """Test and interval of the mean of ``excess`` (n,), 1 where only a is right, -1 where only b is."""
    codes = np.arange(len(excess)) if groups is None else pd.factorize(groups)[0]
    d, m = np.bincount(codes, excess), np.bincount(codes)
    if len(m) < 2:
        unit = "segments" if groups is None else "patients with segments"
        note = f"found {len(m)} {unit} to count over, expected at least 2"
        return undefined(note, ("difference", "low", "high", "z", "p"))
    squares, small_sample = float(d @ d), (len(d) - 1) / len(d)
    difference, variance = metrics.ratio_covariance(d[:, None], m[:, None])
    # Obuchowski's variances have the factor I / (I - 1), McNemar's and Wald's of single segments have none.
    of_test, of_interval = (small_sample, 1.0) if groups is not None else (1.0, small_sample)
    z = float(d.sum() * np.sqrt(of_test / squares)) if squares else 0.0
    reach = roc.REACH * float(np.sqrt(of_interval * variance[0, 0]))
    centre = float(difference[0])
    note = "" if squares else "no patient in whom one model is right more often"
    numbers = {"difference": centre, "low": centre - reach, "high": centre + reach}
    return {**numbers, "z": z, "p": float(2 * norm.sf(abs(z))), "note": note}


ALPHA = 0.05
TURNED = "{quantity}: P {naive_p:.3f} naive, {p:.3f} with patients as units"
_ENDS = ["low", "high", "naive_low", "naive_high"]
_NUMBERS = ["estimate", "naive_low", "naive_high", "naive_p", "low", "high", "p"]


def both_ways(predictions: pd.DataFrame, model_a: str, model_b: str) -> pd.DataFrame:
    """Every pooled metric of two models and their differences, naive beside clustered.

    Parameters
    ----------
    predictions : the predictions table, narrowed to one split and repeat
    model_a, model_b : the two models; differences are a minus b

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
    pooled = metrics.summary(table).set_index(["model", "metric"])
    rows = []
    for metric, model in product(metrics.METRICS, (model_a, model_b)):
        row = pooled.loc[(model, metric)]
        quantity = f"{label(model)}: {_name(metric)}"
        rows.append({"quantity": quantity, "estimate": row["pooled"], **row[_ENDS].to_dict()})
    name = f"{label(model_a)} minus {label(model_b)}"
    areas = comparison(table, model_a, model_b).set_index("method")
    rows.append({"quantity": f"{name}: AUC, {FOLDS}", **_tested(areas.loc[FOLDS])})
    rows.append({"quantity": f"{name}: AUC, pooled", **_tested(areas.loc[POOLED], areas.loc[NAIVE])})
    for metric, tests in metric_differences(table, model_a, model_b).groupby("metric", sort=False):
        clustered, naive = (tests[(tests["method"] == "clustered") == honest].iloc[0] for honest in (True, False))
        rows.append({"quantity": f"{name}: {_name(str(metric))}", **_tested(clustered, naive)})
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
    changes = [TURNED.format(**row) for row in turned.to_dict("records")]
    if not changes:
        return f"{spread} None of {len(tested)} tests crosses {ALPHA}."
    cross = "crosses" if len(changes) == 1 else "cross"
    return f"{spread} {len(changes)} of {len(tested)} tests {cross} {ALPHA}: {'; '.join(changes)}."


def _tested(clustered: pd.Series, naive: pd.Series | None = None) -> dict[str, object]:
    """A difference with its interval and P, and the naive ones beside them."""
    ends = ["low", "high", "p"]
    beside = {} if naive is None else naive[ends].add_prefix("naive_").to_dict()
    return {"estimate": clustered["difference"], **clustered[ends].to_dict(), **beside}


def _name(metric: str) -> str:
    return "AUC, pooled" if metric == "auc" else metric.upper() if metric in ("ppv", "npv") else metric


_LOST = ("difference", "low", "high", "p")


def transport(own: pd.DataFrame, external: pd.DataFrame) -> pd.DataFrame:
    """Every metric of each model on its own cohort and on an external one, and what is lost on the way.

    Parameters
    ----------
    own : predictions table of the cohort that the models learnt from, out of fold, one split and repeat
    external : predictions table of patients that are not in it, one split and repeat

    Returns
    -------
    DataFrame
        One row per model that stands in both and metric: ``model``, ``metric``, ``own``, ``own_low``, ``own_high``,
        ``external``, ``external_low``, ``external_high`` (clustered by patient; the AUC as the mean of folds, of which
        an external cohort has one, the others pooled over segments as ``summary``),
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
    rows = []
    for model, metric in product(common, metrics.METRICS):
        tables = {"own": own, "external": external}
        sides = {name: _over_all(table[table["model"] == model], metric) for name, table in tables.items()}
        row = {"model": model, "metric": metric}
        for name, side in sides.items():
            row |= {name: side["value"], f"{name}_low": side["low"], f"{name}_high": side["high"]}
        note = "; ".join(f"{name}: {side['note']}" for name, side in sides.items() if side["note"])
        rows.append({**row, **_lost(sides["own"], sides["external"]), "note": note})
    return pd.DataFrame(rows)


def _over_all(table: pd.DataFrame, metric: str) -> dict[str, Any]:
    """``value`` of a metric with ``se``, interval and note: the AUC over folds, the others pooled."""
    if metric != "auc":
        found = metrics.pooled_proportion(table, metric)
        return {**found, "value": found["pooled"]}
    cases = table["y_true"], table["score"], table["fold"], table["participant_id"]
    return metrics.estimated("value", roc.fold_mean, *cases)


def _lost(own: dict[str, Any], external: dict[str, Any]) -> dict[str, float]:
    """What a model loses of a metric; NaN where one of the two has no variance to be estimated."""
    if pd.isna(own["se"]) or pd.isna(external["se"]):
        return dict.fromkeys(_LOST, np.nan)
    test = roc.normal_test(external["value"] - own["value"], own["se"] ** 2 + external["se"] ** 2)
    if min(own["se"], external["se"]) == 0:
        # A side without variance is not known for certain, as a sum of variances would take it.
        test |= {"low": np.nan, "high": np.nan, "p": np.nan}
    return {name: test[name] for name in _LOST}
