"""The audit of the paper's tables and claims, assembled; every number is computed from what is printed."""

from __future__ import annotations

import re
from dataclasses import replace

import pandas as pd

from mflib.audit import IMPOSSIBLE, REPRODUCED, AuditError, Finding, Printed, areas, claims, partition
from mflib.published.recomputed import MODELS, SEGMENTS_PER_PATIENT, fold_audits
from mflib.published.tables import claim, cohort_counts, read

SHORT_NAMES = [short for _, _, short in MODELS]


def audit() -> list[Finding]:
    """Every finding about the paper's numbers, in the order of the paper."""
    return [*cohort_findings(), *fold_findings(), *comparison_findings(), *agreement_findings()]


def cohort_findings() -> list[Finding]:
    """Patients, segments, percentages and the correlation of table 1 and its text."""
    with_fat, without = cohort_counts()
    patients, excluded = int(claim("results 1", "patients collected")), claim("results 1", "patients excluded")
    reasons = re.fullmatch(r"(\d+) \((\d+) BMI ([<>=]+) ?(\d+), (\d+) .*\)", excluded)
    if reasons is None:
        raise AuditError(
            f"claims.csv, patients excluded: found {excluded!r}, expected a text like '9 (4 BMI > 28, 5 ...)'"
        )
    out, by_bmi, relation, limit, unclear = reasons.groups()
    segments, left = with_fat + without, patients - int(out)
    analysed = f"the {patients} patients are those analysed, {SEGMENTS_PER_PATIENT} segments each"
    included = (
        f"the {patients} patients include the {out} excluded, which leaves {left}; {SEGMENTS_PER_PATIENT} segments each"
    )
    methods = claim("methods 1", "exclusion BMI (kg/m2)")
    r, p = claim("results 1", "BMI-VAS Pearson r"), claim("results 1", "BMI-VAS P")
    return [
        claims.product("segments of the patients", SEGMENTS_PER_PATIENT, patients, segments, analysed),
        claims.product("segments after exclusion", SEGMENTS_PER_PATIENT, left, segments, included),
        claims.total("reasons of exclusion", [int(by_bmi), int(unclear)], int(out), "one reason for each patient"),
        claims.agreement("BMI that excludes", ("methods", methods), ("results", f"{relation}{limit}"), criterion=True),
        *_table_one_findings(),
        claims.correlation("BMI and VAS", r, patients, p),
    ]


def fold_findings() -> list[Finding]:
    """What tables 2, 3 and 4 say of each other, and of the cohort; that both models were tested on the same cases."""
    found = fold_audits()
    findings = [
        replace(finding, what=f"{model}, {finding.what}") for model, of in found.items() for finding in of.findings
    ]
    totals = {model: next(f for f in of.findings if f.what == partition.TOTAL) for model, of in found.items()}
    whole = sum(cohort_counts())
    paired = Finding(
        "both models were tested on the same segments",
        REPRODUCED if all(total.status == REPRODUCED for total in totals.values()) else IMPOSSIBLE,
        f"a paired DeLong test of the {whole} segments, each tested once; {partition.FITTING}, or the nearest",
        f"{whole} segments in both",
        ", ".join(f"{model} {total.computed}" for model, total in totals.items()),
    )
    return [*findings, paired]


def comparison_findings() -> list[Finding]:
    """Which P value and which interval each claim would need."""
    cases = cohort_counts()
    findings = []
    for p_place, auc_place, auc in (
        ("abstract", "abstract", "AUC"),
        ("abstract", "results 3", "mean AUC"),
        ("results 3", "results 3", "mean AUC"),
    ):
        first, second = (claim(auc_place, f"{short} {auc}") for short in SHORT_NAMES)
        p = claim(p_place, "P, DCNN vs RF")
        what = f"P of {p_place} with the AUCs of {auc_place}"
        findings.append(areas.difference(what, first, second, p, *cases))
    low, high = claim("methods 3", "DCNN AUC 95% CI").split("-")
    for place in ("methods 3", "results 3"):
        auc = claim(place, "DCNN mean AUC")
        findings.append(areas.interval(f"interval of the DCNN with the AUC of {place}", auc, (low, high), *cases))
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
    return [
        claims.agreement(
            f"{what}, {place} and results", (place, claim(place, name)), ("results 3", claim("results 3", other))
        )
        for what, place, name, other in pairs
    ]


def _table_one() -> pd.Series:
    return read("table1_cohort").set_index("variable")["value"]


def _table_one_findings() -> list[Finding]:
    """Sums, percentages and BMI of table 1."""
    values = _table_one()
    with_fat, without = cohort_counts()
    patients = int(claim("results 1", "patients collected"))
    counts = values.str.extract(r"^(?P<count>\d+)(?:/(?P<of>\d+))? \((?P<percent>[\d.]+)\)$").dropna(subset="percent")
    infiltrated = ["mild", "moderate", "severe"]
    whole = {name: with_fat if name in infiltrated else with_fat + without for name in counts.index}
    shares = {
        name: (int(row["count"]), whole[name] if pd.isna(row["of"]) else int(row["of"]), row["percent"])
        for name, row in counts.iterrows()
    }
    sexes = [int(n) for n in values["male/female"].split("/")]
    grades = [shares[name][0] for name in infiltrated]
    sizes = [
        (Printed.of(mean), Printed.of(sd)) for mean, sd in (values[n].split(" ± ") for n in ("height", "weight", "bmi"))
    ]
    return [
        claims.total("male and female patients", sexes, patients, "each patient once"),
        claims.total("grades of infiltration", grades, with_fat, "each infiltrated segment has one grade"),
        *claims.shares("percentages of table 1", shares),
        claims.body_mass_index(sizes[0], sizes[1], sizes[2]),
    ]
