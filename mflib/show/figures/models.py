"""Plots of what the models chose, learned and scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mflib.base import words
from mflib.base.errors import InputError
from mflib.base.words import MINUS, WHOLE_FAMILY
from mflib.show import style
from mflib.stats import performance, roc
from mflib.stats.performance.predictions import RUN

_CAPS: dict[str, Any] = {"capsize": 3, "lw": 1.4}  # of intervals


@style.styled
def importance(table: pd.DataFrame) -> Figure:
    """Permutation importance of each feature and of each family as a whole: the mean as a bar, each fold as a point.

    Parameters
    ----------
    table : ``family``, ``feature``, ``importance`` (fall of the AUC), one row per feature, family and fold, as
        ``forest.Result.importance``
    """
    import seaborn as sns

    names = (
        table["feature"].map(words.label).where(table["feature"] != WHOLE_FAMILY, table["family"] + ", " + WHOLE_FAMILY)
    )
    table = table.assign(feature=names, whole=table["feature"] == WHOLE_FAMILY)
    means = table.groupby(["whole", "feature"])["importance"].mean().reset_index().sort_values(["whole", "importance"])
    order: dict[str, Any] = {"x": "importance", "y": "feature", "order": means["feature"][::-1]}
    figure, axes = style.single(1.0 + 0.26 * len(means))
    look: dict[str, Any] = {"palette": [style.BLUE, style.ORANGE], "hue_order": [False, True], "saturation": 1}
    sns.barplot(table, hue="whole", errorbar=None, width=0.7, legend=False, ax=axes, **look, **order)
    sns.stripplot(table, jitter=False, color=style.INK, size=2.5, alpha=0.5, ax=axes, **order)
    axes.axhline(means["whole"].sum() - 0.5, color=style.GREY, lw=0.8)
    axes.axvline(0, color=style.INK, lw=0.8)
    axes.set(xlabel="fall of the AUC when shuffled", ylabel="feature")
    return figure


@style.styled
def roc_curves(predictions: pd.DataFrame, models: Sequence[str], reported: pd.DataFrame | None = None) -> Figure:
    """Pooled ROC curve of each model, each fold's as a thin line; beside them the AUCs, mean of folds, and the paper's.

    Parameters
    ----------
    predictions : the predictions table, narrowed to one split and repeat. The pooled curve is of its probabilities,
        which share a scale; folds' curves and their mean are of the scores, since a scale can be flat
    models : which to show, in this order
    reported : ``model``, ``place``, ``auc``, ``low``, ``high``: what others report, as ``published.reported_areas``

    Raises
    ------
    InputError
        A model is not there; or several splits or repeats.
    """
    table = predictions[predictions["model"].isin(models)]
    runs = table[RUN].drop_duplicates()
    if sorted(runs["model"]) != sorted(models) or len(runs[["split", "repeat"]].drop_duplicates()) != 1:
        raise InputError(f"found {runs.to_dict('records')}, expected {models} in one split and repeat")
    means = performance.fold_mean_auc(table).set_index("model")
    figure, axes = style.panels(1, 2, 3.5, width_ratios=(3.2, 1.6))
    left, right = axes[0]
    rows: list[tuple[str, float]] = []
    for position, model in enumerate(models):
        look = style.model_look(model, position)
        _model_curve(left, table[table["model"] == model], look)
        rows.append((str(look["label"]), means.loc[model, "mean"]))
        _area(right, len(rows), means.loc[model], rows[-1][1], look["color"], "o")
        others = pd.DataFrame() if reported is None else reported[reported["model"] == model]
        for other in others.to_dict("records"):
            rows.append((str(other["place"]), other["auc"]))
            _area(right, len(rows), other, other["auc"], look["color"], "D")
    left.plot([0, 1], [0, 1], color=style.GREY, lw=0.8)
    left.set(
        xlabel=f"1 {MINUS} specificity", ylabel="sensitivity", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal"
    )
    right.axvline(0.5, color=style.GREY, lw=0.8)
    right.yaxis.tick_right()
    right.set_yticks(range(1, len(rows) + 1), [f"{name}\n{value:.2f}" for name, value in rows])
    right.set(xlabel="AUC, 95 % interval", ylim=(len(rows) + 0.6, 0.4))
    return figure


def _area(axes: Axes, row: int, ends: Mapping[str, Any] | pd.Series, value: float, colour: str, marker: str) -> None:
    """An AUC with its interval where there is one; the paper's are open."""
    look = {"color": colour, "fmt": marker, "mfc": style.PAPER if marker == "D" else colour, **_CAPS}
    style.intervals(axes, value, row, ends, along="x", **look)


@style.styled
def auc_forest(summary: pd.DataFrame) -> Figure:
    """Pooled AUC of each model with its clustered and its naive interval.

    Parameters
    ----------
    summary : of ``performance.summary``; one row of dots per model, split and repeat
    """
    rows = summary[summary["metric"] == "auc"].reset_index(drop=True)
    figure, axes = style.single(0.9 + 0.5 * len(rows))
    kinds = (("clustered by patient", "", -0.14, style.BLUE, "o"), ("naive DeLong", "naive_", 0.14, style.GREY, "s"))
    for label, prefix, shift, colour, marker in kinds:
        ends = {"low": rows[f"{prefix}low"], "high": rows[f"{prefix}high"]}
        look = {"fmt": marker, "color": colour, "mfc": style.PAPER if prefix else colour, **_CAPS}
        style.intervals(axes, rows["pooled"], np.arange(len(rows)) + shift, ends, along="x", label=label, **look)
    axes.axvline(0.5, color=style.GREY, lw=0.8)
    axes.set_yticks(range(len(rows)), _run_names(rows))
    axes.set(xlabel="pooled AUC, 95 % interval", ylabel="model", ylim=(len(rows) - 0.5, -0.5))
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def _model_curve(axes: Axes, predictions: pd.DataFrame, look: Mapping[str, Any]) -> None:
    for _, fold in predictions.groupby("fold"):
        if fold["y_true"].nunique() == 2:
            x, y, _ = roc.curve(fold["y_true"], fold["score"])
            axes.plot(x, y, color=look["color"], linestyle=look["linestyle"], lw=0.7, alpha=0.35)
    on_scale = performance.calibrated(predictions)
    x, y, _ = roc.curve(on_scale["y_true"], on_scale["score"])
    axes.plot(x, y, color=look["color"], linestyle=look["linestyle"], lw=2.2)


def _run_names(rows: pd.DataFrame) -> list[str]:
    """The models' names, with split and repeat where there are several."""
    names = [str(style.model_look(model)["label"]) for model in rows["model"]]
    for column, prefix in (("split", "split by "), ("repeat", "repeat ")):
        if rows[column].nunique() > 1:
            names = [f"{name}\n{prefix}{value}" for name, value in zip(names, rows[column], strict=True)]
    return names
