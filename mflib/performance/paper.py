"""The metrics in the form of the paper's tables."""

from __future__ import annotations

import pandas as pd

from mflib.performance.metrics import metrics_per_fold
from mflib.performance.table import PredictionsError

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


def _paper_units(metrics: pd.DataFrame) -> pd.DataFrame:
    """Percent but for the AUC, with the names of the published tables."""
    percent = metrics.drop(columns="auc").mul(100).add_suffix("_pct")
    return percent.assign(auc=metrics["auc"])
