"""The paper's tables and claims: read, computed again, audited, and ours beside them."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pandas as pd

from mflib.base.files import ROOT
from mflib.base.words import LABELS, LEVELS, SIDES, heading
from mflib.stats.performance.predictions import estimate
from mflib.stats.published import audit, claims, confusion
from mflib.stats.published.audit import Audit
from mflib.stats.published.printed import NAMES, STATUSES, Finding, FoldTable, Printed, Summary, read_folds

FOLDER = ROOT / "data" / "published"


def read(name: str) -> pd.DataFrame:
    """One of the paper's tables by its file name without suffix, such as ``table1_cohort``."""
    return pd.read_csv(FOLDER / f"{name}.csv")


def claim(place: str, name: str) -> str:
    """What the paper's text says at ``place`` of ``name``.

    Raises
    ------
    KeyError
        The paper makes no such claim there.
    """
    claims = read("claims").set_index(["place", "claim"])["value"]
    return str(claims[place, name])


def cohort_counts() -> tuple[int, int]:
    """Segments with and without infiltration, from the counts of table 1."""
    counts = read("table1_cohort").set_index("variable")["value"].str.extract(r"^(\d+)")[0]
    return int(counts["fat infiltration"]), int(counts["no fat infiltration"])


def infiltrated_share() -> float:
    """Share of the paper's segments with infiltration."""
    with_fat, without = cohort_counts()
    return with_fat / (with_fat + without)


SEGMENTS_PER_PATIENT = len(LEVELS) * len(SIDES)
# Label of each model, its table of folds, its name in table 4 and in the text.
MODELS = ((LABELS["random_forest"], "table2_random_forest", "RF"), (LABELS["dcnn"], "table3_dcnn", "DCNN"))


def printed_folds() -> dict[str, FoldTable]:
    """Tables 2 and 3 as printed, by the model's label."""
    return {model: read_folds(FOLDER / f"{name}.csv") for model, name, _ in MODELS}


def printed_summaries() -> dict[str, Summary]:
    """Mean and SD of each metric as table 4 prints them, by the model's label."""
    table = pd.read_csv(FOLDER / "table4_comparison.csv", dtype=str).set_index("metric")
    return {
        model: {
            metric: (Printed.of(row[f"{short.lower()}_mean"]), Printed.of(row[f"{short.lower()}_sd"]))
            for metric, row in table.iterrows()
        }
        for model, _, short in MODELS
    }


def fold_audits() -> dict[str, Audit]:
    """The audit of each model's table of folds and of its column in table 4, by the model's label."""
    counts, summaries = cohort_counts(), printed_summaries()
    return {
        model: audit.examine(folds, *counts, segments_per_patient=SEGMENTS_PER_PATIENT, summary=summaries[model])
        for model, folds in printed_folds().items()
    }


def means_and_sds() -> pd.DataFrame:
    """Table 4 beside the means and both SDs of the printed folds.

    Returns
    -------
    DataFrame
        Text in percent, but for the AUC: ``model``, ``metric``, ``printed mean``, ``mean``, ``printed SD``,
        ``population SD``, ``sample SD``, ``which`` (what the printed SD can be) and ``mean reproduced``.
    """
    rows, summaries = [], printed_summaries()
    for model, folds in printed_folds().items():
        for r in audit.recompute(folds, summaries[model]):
            kinds = [kind for kind, fits in zip(("population", "sample"), r.sd_fits, strict=True) if fits]
            numbers = [r.printed_mean.text, f"{r.mean:.2f}", r.printed_sd.text, *(f"{sd:.2f}" for sd in r.sds)]
            which = " or ".join(kinds) or "neither"
            rows.append([model, NAMES[r.metric], *numbers, which, "yes" if r.mean_fits else "no"])
    names = ["printed mean", "mean", "printed SD", "population SD", "sample SD", "which", "mean reproduced"]
    return pd.DataFrame(rows, columns=["model", "metric", *names])


def implied_prevalences() -> pd.DataFrame:
    """The prevalence in each fold that accuracy, PPV and NPV each imply with sensitivity and specificity.

    Returns
    -------
    DataFrame
        ``model``, ``fold``; ``by accuracy``, ``by PPV``, ``by NPV`` (percent, text: the range that rounding leaves);
        ``agree``, whether one prevalence is in all three ranges; ``note``, how the percentages were read for that.
    """
    rows = []
    for model, folds in printed_folds().items():
        for fold, row in folds.folds.items():
            implied, note = confusion.implied(row)
            line: dict[str, object] = {"model": model, "fold": fold}
            for name, (low, high) in implied.items():
                line[f"by {NAMES[name]}"] = f"{100 * low:.2f} to {100 * high:.2f}"
            rows.append({**line, "agree": "yes" if confusion.agree(implied) else "no", "note": note})
    return pd.DataFrame(rows)


def matrices() -> pd.DataFrame:
    """The confusion matrix that the search finds for each fold of each model.

    Returns
    -------
    DataFrame
        ``model``, ``fold``, ``tp``, ``fp``, ``fn``, ``tn``, ``n``, ``positives``, ``prevalence_pct``, ``fits`` (how
        many matrices give the printed percentages), ``note`` (how the percentages were read, or what the nearest
        matrix gives instead).
    """
    rows = []
    for model, found in fold_audits().items():
        for fit in found.fits:
            tp, fp, fn, tn = map(int, fit.chosen)
            n, positives = int(fit.chosen.sum()), tp + fn
            note = f"no matrix fits; the nearest gives {', '.join(fit.missed)}" if fit.missed else fit.assumption
            counts = {"tp": tp, "fp": fp, "fn": fn, "tn": tn, "n": n, "positives": positives}
            share = {"prevalence_pct": 100 * positives / n, "fits": len(fit.matrices), "note": note}
            rows.append({"model": model, "fold": fit.fold, **counts, **share})
    return pd.DataFrame(rows)


def p_by_correlation() -> pd.DataFrame:
    """P of the difference of the two AUCs, as abstract and results print them, by the correlation of their errors.

    Returns
    -------
    DataFrame
        ``areas`` (the two AUCs and where they are printed), ``correlation`` from 0 to 0.95, ``p``.
    """
    correlation = np.linspace(0, 0.95, 96)
    tables = []
    for place, name in (("abstract", "AUC"), ("results 3", "mean AUC")):
        first, second = (claim(place, f"{short} {name}") for _, _, short in MODELS)
        p = claims.p_of_difference(float(first), float(second), *cohort_counts(), correlation)
        pair = f"{first} and {second} ({place})"
        tables.append(pd.DataFrame({"areas": pair, "correlation": correlation, "p": p}))
    return pd.concat(tables, ignore_index=True)


def printed_p_values() -> dict[str, float]:
    """The P values of that difference, by how and where they are printed; of "below" the limit."""
    places = ("abstract", "results 3")
    texts = {place: claim(place, "P, DCNN vs RF") for place in places}
    return {f"P {text} ({place})": float(text.lstrip("<")) for place, text in texts.items()}


SHORT_NAMES = [short for _, _, short in MODELS]


def audit_paper() -> list[Finding]:
    """Every finding about the paper's numbers, in the order of the paper."""
    return [*cohort_findings(), *fold_findings(), *comparison_findings(), *agreement_findings()]


def cohort_findings() -> list[Finding]:
    """Patients, segments, percentages and the correlation of table 1 and its text."""
    with_fat, without = cohort_counts()
    patients, excluded = int(claim("results 1", "patients collected")), claim("results 1", "patients excluded")
    ((out, by_bmi, relation, limit, unclear),) = re.findall(r"(\d+) \((\d+) BMI ([<>=]+) ?(\d+), (\d+) ", excluded)
    segments, left, each = with_fat + without, patients - int(out), SEGMENTS_PER_PATIENT
    analysed = f"the {patients} patients are those analysed, {each} segments each"
    included = f"the {patients} patients include the {out} excluded, which leaves {left}; {each} segments each"
    counted = f"{by_bmi} + {unclear}", int(by_bmi) + int(unclear), int(out)
    limits = ("methods", claim("methods 1", "exclusion BMI (kg/m2)")), ("results", f"{relation}{limit}")
    r, p = claim("results 1", "BMI-VAS Pearson r"), claim("results 1", "BMI-VAS P")
    return [
        claims.equal("segments of the patients", f"{patients} × {each}", patients * each, segments, analysed),
        claims.equal("segments after exclusion", f"{left} × {each}", left * each, segments, included),
        claims.equal("reasons of exclusion", *counted, "one reason for each patient"),
        claims.agreement("BMI that excludes", *limits, criterion=True),
        *_table_one_findings(),
        claims.correlation("BMI and VAS", r, patients, p),
    ]


def fold_findings() -> list[Finding]:
    """What tables 2, 3 and 4 say of each other, and of the cohort; that both models were tested on the same cases."""
    found = fold_audits()
    findings = [replace(one, what=f"{model}, {one.what}") for model, of in found.items() for one in of.findings]
    totals = {model: next(f for f in of.findings if f.what == audit.TOTAL) for model, of in found.items()}
    whole = sum(cohort_counts())
    paired = Finding(
        "both models were tested on the same segments",
        min((total.status for total in totals.values()), key=STATUSES.index),  # the worse of the two
        f"a paired DeLong test of the {whole} segments, each tested once; {audit.FITTING}, or the nearest",
        f"{whole} segments in both",
        ", ".join(f"{model} {total.computed}" for model, total in totals.items()),
    )
    return [*findings, paired]


def comparison_findings() -> list[Finding]:
    """Which P value and which interval each claim would need."""
    cases = cohort_counts()
    findings = []
    for p_place, auc_place in (("abstract", "abstract"), ("abstract", "results 3"), ("results 3", "results 3")):
        name = "AUC" if auc_place == "abstract" else "mean AUC"
        first, second = (claim(auc_place, f"{short} {name}") for short in SHORT_NAMES)
        what, p = f"P of {p_place} with the AUCs of {auc_place}", claim(p_place, "P, DCNN vs RF")
        findings.append(claims.area_difference(what, first, second, p, *cases))
    low, high = claim("methods 3", "DCNN AUC 95% CI").split("-")
    for place in ("methods 3", "results 3"):
        auc = claim(place, "DCNN mean AUC")
        findings.append(claims.area_interval(f"interval of the DCNN with the AUC of {place}", auc, (low, high), *cases))
    return findings


def agreement_findings() -> list[Finding]:
    """The abstract, the methods and the discussion beside the results."""
    pairs = [
        *((f"accuracy of the {m}", "abstract", f"{m} accuracy (%)", f"{m} mean accuracy (%)") for m in SHORT_NAMES),
        *((f"AUC of the {m}", "abstract", f"{m} AUC", f"{m} mean AUC") for m in SHORT_NAMES),
        ("AUC of the DCNN", "methods 3", "DCNN mean AUC", "DCNN mean AUC"),
        ("AUC of the DCNN", "discussion", "DCNN AUC", "DCNN mean AUC"),
        ("P of the difference", "abstract", "P, DCNN vs RF", "P, DCNN vs RF"),
    ]
    findings = []
    for what, place, name, of in pairs:
        places = (place, claim(place, name)), ("results 3", claim("results 3", of))
        findings.append(claims.agreement(f"{what}, {place} and results", *places))
    return findings


def _table_one_findings() -> list[Finding]:
    """Sums, percentages and BMI of table 1."""
    values = read("table1_cohort").set_index("variable")["value"]
    with_fat, without = cohort_counts()
    patients = int(claim("results 1", "patients collected"))
    counts = values.str.extract(r"^(?P<count>\d+)(?:/(?P<of>\d+))? \((?P<percent>[\d.]+)\)$").dropna(subset="percent")
    infiltrated = ["mild", "moderate", "severe"]
    shares = {}
    for name, row in counts.iterrows():
        whole = with_fat if name in infiltrated else with_fat + without
        shares[str(name)] = int(row["count"]), whole if pd.isna(row["of"]) else int(row["of"]), row["percent"]
    men, women = map(int, values["male/female"].split("/"))
    grades = [shares[name][0] for name in infiltrated]
    summed = " + ".join(map(str, grades)), sum(grades), with_fat
    measured = (values[name].split(" ± ") for name in ("height", "weight", "bmi"))
    height, weight, bmi = ((Printed.of(mean), Printed.of(sd)) for mean, sd in measured)
    return [
        claims.equal("male and female patients", f"{men} + {women}", men + women, patients, "each patient once"),
        claims.equal("grades of infiltration", *summed, "each infiltrated segment has one grade"),
        *claims.shares("percentages of table 1", shares),
        claims.body_mass_index(height, weight, bmi),
    ]


def beside_table_one(ours: pd.DataFrame) -> pd.DataFrame:
    """Our table 1 with the paper's value of each variable beside ours."""
    paper = read("table1_cohort")
    paper["variable"] = paper["variable"].replace({"bmi": "BMI"})
    merged = ours.merge(paper[["section", "variable", "value"]], on=["section", "variable"], how="left")
    merged = merged.rename(columns={"value_x": "ours", "value_y": "paper", "n_missing": "missing"})
    return merged[["variable", "unit", "statistic", "ours", "paper", "missing", "normality"]]


def beside_folds(ours: pd.DataFrame, name: str) -> pd.DataFrame:
    """Our metrics per fold in the form of the paper's table ``name``, then mean and population SD of both."""
    paper = read(name)
    metrics = [column for column in paper if column != "fold"]
    rows = [
        {"fold": whose} | {m: f"{table[m].mean():.2f} ± {table[m].std(ddof=0):.2f}" for m in metrics}
        for whose, table in (("ours", ours), ("paper", paper))
    ]
    folds = ours[["fold", *metrics]].astype({"fold": str})
    folds[metrics] = folds[metrics].map("{:.2f}".format)
    table = pd.concat([folds, pd.DataFrame(rows)], ignore_index=True)
    return table.rename(columns=heading)


def beside_comparison(ours: pd.DataFrame) -> pd.DataFrame:
    """Fold means ± population SD of forest and network, ours and the paper's table 4; proportions in percent."""
    paper = read("table4_comparison").set_index("metric")
    ours = ours.set_index("metric")
    columns = {}
    for model, short in (("random_forest", "rf"), ("dcnn", "dcnn")):
        for whose, table, of in (("ours", ours, model), ("paper", paper, short)):
            columns[f"{LABELS[model]}, {whose}"] = [
                f"{table.loc[m, f'{of}_mean']:.2f} ± {table.loc[m, f'{of}_sd']:.2f}" for m in paper.index
            ]
    return pd.DataFrame({"metric": paper.index.map(heading), **columns})


def key_results(means: pd.DataFrame, summary: pd.DataFrame) -> pd.DataFrame:
    """Six metrics of forest and network with 95 % intervals over patients, and the paper's means of folds.

    Parameters
    ----------
    means : of ``performance.fold_mean_auc``, one split and repeat: the AUC is the mean of folds
    summary : of ``performance.summary``, one split and repeat: all others are pooled
    """
    areas, paper = means.set_index("model"), read("table4_comparison").set_index("metric")
    rows = []
    for metric in ("auc", "accuracy", "sensitivity", "specificity", "ppv", "npv"):
        row = {"metric": metric}
        for model, short in (("random_forest", "rf"), ("dcnn", "dcnn")):
            found = summary[(summary["model"] == model) & (summary["metric"] == metric)].iloc[0]
            row[f"{LABELS[model]}, ours"] = (
                _interval(areas.loc[model], "mean") if metric == "auc" else _interval(found, "pooled")
            )
            printed = paper[f"{short}_mean"]
            row[f"{LABELS[model]}, paper"] = (
                f"{printed['auc'] if metric == 'auc' else printed[f'{metric}_pct'] / 100:.2f}"
            )
        rows.append(row)
    return pd.DataFrame(rows)


def reported_areas() -> pd.DataFrame:
    """Every AUC that the paper gives: ``model``, ``place``, ``auc``, and its interval ``low`` to ``high`` or NaN."""
    low, high = map(float, claim("methods 3", "DCNN AUC 95% CI").split("-"))
    rows = [
        ("random_forest", "paper", float(claim("results 3", "RF mean AUC")), np.nan, np.nan),
        ("dcnn", "paper, results", float(claim("results 3", "DCNN mean AUC")), np.nan, np.nan),
        ("dcnn", "paper, abstract", float(claim("abstract", "DCNN AUC")), low, high),
    ]
    return pd.DataFrame(rows, columns=["model", "place", "auc", "low", "high"])


def _interval(row: pd.Series, value: str) -> str:
    missing = f" (no interval: {row['note']})" if pd.isna(row["low"]) else ""
    return estimate(row, value) + missing
