"""Our results with the paper's beside them."""

from __future__ import annotations

import pandas as pd

from mflib.performance import LABELS, estimate, models, p_value
from mflib.published.tables import claim, read


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

    def closing(table: pd.DataFrame) -> pd.Series:
        means, sds = table[metrics].mean(), table[metrics].std(ddof=0)
        return pd.Series({metric: f"{means[metric]:.2f} ± {sds[metric]:.2f}" for metric in metrics})

    folds = ours[["fold", *metrics]].astype({"fold": str}).map(_text)
    rows = [closing(ours).to_frame().T.assign(fold="ours"), closing(paper).to_frame().T.assign(fold="paper")]
    table = pd.concat([folds, *rows], ignore_index=True)
    return table.rename(columns=lambda name: name.removesuffix("_pct") + " (%)" if name.endswith("_pct") else name)


def beside_comparison(ours: pd.DataFrame) -> pd.DataFrame:
    """Fold means ± population SD of forest and network, ours and the paper's table 4; proportions in percent."""
    paper = read("table4_comparison").set_index("metric")
    ours = ours.set_index("metric")
    columns = {}
    for model, short in (("random_forest", "rf"), ("dcnn", "dcnn")):
        columns[LABELS[model]] = [
            f"{ours.loc[m, f'{model}_mean']:.2f} ± {ours.loc[m, f'{model}_sd']:.2f}" for m in paper.index
        ]
        columns[f"{LABELS[model]}, paper"] = [
            f"{paper.loc[m, f'{short}_mean']:.2f} ± {paper.loc[m, f'{short}_sd']:.2f}" for m in paper.index
        ]
    return pd.DataFrame({"metric": paper.index.str.replace("_pct", " (%)"), **columns})


def key_results(summary: pd.DataFrame, compared: pd.DataFrame, correlation: str) -> pd.DataFrame:
    """The study in one screen: each result, ours, the paper's.

    Parameters
    ----------
    summary : of ``performance.summary``, one split and repeat
    compared : of ``performance.comparison``, forest and network
    correlation : the BMI-VAS correlation in words
    """
    rows = []
    for model, short in (("random_forest", "RF"), ("dcnn", "DCNN")):
        auc, accuracy = _metric(summary, model, "auc"), _metric(summary, model, "accuracy")
        paper = claim("results 3", f"{short} mean AUC")
        rows.append((f"{LABELS[model]}: AUC, mean ± SD over folds", f"{auc['mean']:.2f} ± {auc['sd']:.2f}", paper))
        abstract = claim("abstract", f"{short} AUC")
        rows.append((f"{LABELS[model]}: AUC, pooled [95 % interval]", _interval(auc), f"{abstract} (abstract)"))
        percent = claim("results 3", f"{short} mean accuracy (%)")
        rows.append((f"{LABELS[model]}: accuracy, mean over folds", f"{100 * accuracy['mean']:.1f} %", f"{percent} %"))
    for model in [name for name in models(summary) if name not in ("random_forest", "dcnn")]:
        rows.append(
            (
                f"{LABELS.get(model, model)}: AUC, pooled [95 % interval]",
                _interval(_metric(summary, model, "auc")),
                "not reported",
            )
        )
    by_method = compared.set_index("method")
    clustered, naive = by_method.loc["clustered"], by_method.loc["naive DeLong"]
    difference = estimate(clustered, "difference", "+.2f")
    rows.append(
        ("Network minus forest: AUC, patients as clusters", f"{difference}, {p_value(clustered['p'])}", "not reported")
    )
    said = f"P {claim('results 3', 'P, DCNN vs RF')} (results), {claim('abstract', 'P, DCNN vs RF')} (abstract)"
    rows.append(("Network minus forest: naive DeLong", p_value(naive["p"]), said))
    rows.append(
        ("BMI and VAS: Pearson correlation", correlation, f"r = {claim('results 1', 'BMI-VAS Pearson r')}, P < 0.01")
    )
    return pd.DataFrame(rows, columns=["result", "ours", "paper"])


def _metric(summary: pd.DataFrame, model: str, metric: str) -> pd.Series:
    return summary[(summary["model"] == model) & (summary["metric"] == metric)].iloc[0]


def _interval(row: pd.Series) -> str:
    missing = f" (no interval: {row['note']})" if pd.isna(row["low"]) else ""
    return estimate(row, "pooled") + missing


def _text(cell: object) -> str:
    return f"{cell:.2f}" if isinstance(cell, float) else str(cell)
