"""The paper's tables 2 to 4 computed again from what they print: means and SDs, prevalences, confusion matrices."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mflib import audit as audits
from mflib.audit import NAMES, Audit, FoldTable, Printed, Summary, areas, relations, summaries
from mflib.performance import LABELS
from mflib.published.tables import FOLDER, claim, cohort_counts
from mflib.volume import LEVELS, SIDES

SEGMENTS_PER_PATIENT = len(LEVELS) * len(SIDES)
# Label of each model, its table of folds, its name in table 4 and in the text.
MODELS = ((LABELS["random_forest"], "table2_random_forest", "RF"), (LABELS["dcnn"], "table3_dcnn", "DCNN"))


def printed_folds() -> dict[str, FoldTable]:
    """Tables 2 and 3 as printed, by the model's label."""
    return {model: audits.read_folds(FOLDER / f"{name}.csv") for model, name, _ in MODELS}


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
    positives, negatives = cohort_counts()
    return {
        model: audits.examine(
            folds,
            positives,
            negatives,
            segments_per_patient=SEGMENTS_PER_PATIENT,
            summary=printed_summaries()[model],
        )
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
    rows = []
    for model, folds in printed_folds().items():
        for r in summaries.recompute(folds, printed_summaries()[model]):
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
            implied = relations.implied(row)
            texts = {
                f"by {NAMES[name]}": f"{100 * low:.2f} to {100 * high:.2f}"
                for name, (low, high) in implied.bounds.items()
            }
            agree = "yes" if implied.agree else "no"
            rows.append({"model": model, "fold": fold, **texts, "agree": agree, "note": implied.assumption})
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
            n, positives = tp + fp + fn + tn, tp + fn
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
        p = areas.p_of_difference(float(first), float(second), *cohort_counts(), correlation)
        pair = f"{first} and {second} ({place})"
        tables.append(pd.DataFrame({"areas": pair, "correlation": correlation, "p": p}))
    return pd.concat(tables, ignore_index=True)


def printed_p_values() -> dict[str, float]:
    """The P values of that difference, by how and where they are printed; of "below" the limit."""
    places = ("abstract", "results 3")
    texts = {place: claim(place, "P, DCNN vs RF") for place in places}
    return {f"P {text} ({place})": float(text.lstrip("<")) for place, text in texts.items()}
