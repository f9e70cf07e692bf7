"""Plots of what the models chose, learned and scored."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mflib import performance, roc
from mflib.figures.style import (
    BLUE,
    GRADE_NAMES,
    GREY,
    VERMILION,
    box_and_points,
    heat_map,
    model_look,
    panels,
    single,
    styled,
)
from mflib.volume import KEY


@styled
def auc_map(separation: pd.DataFrame) -> Figure:
    """How well single GLCM features separate the classes, over grey levels and steps.

    Parameters
    ----------
    separation : (levels, steps) mean of max(AUC, 1 - AUC), as ``forest.univariate_auc_map``; NaN stays white
    """
    figure, axes = single(0.9 + 0.38 * len(separation))
    image = heat_map(axes, separation, ".2f", vmin=0.5, vmax=max(0.6, float(separation.max(axis=None))))
    axes.set(xlabel="step (voxels)", ylabel="grey levels")
    figure.colorbar(image, ax=axes, label="mean univariate AUC")
    return figure


@styled
def choices(chosen: pd.DataFrame) -> Figure:
    """How many folds chose each GLCM combination.

    Parameters
    ----------
    chosen : one row per fold: ``levels``, ``step``, ``direction``, as ``forest.Result.choices``
    """
    names = chosen["levels"].astype(str) + " levels, step " + chosen["step"].astype(str) + ", " + chosen["direction"]
    counts = names.value_counts().sort_values()
    figure, axes = single(1.2 + 0.26 * len(counts))
    axes.barh(counts.index, counts, color=BLUE, height=0.7)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="folds", ylabel="GLCM combination")
    return figure


@styled
def importance(table: pd.DataFrame) -> Figure:
    """Permutation importance of each feature: the mean over folds as a bar, each fold as a point.

    Parameters
    ----------
    table : ``feature``, ``importance`` (fall of the AUC), one row per feature and fold, as ``forest.Result.importance``
    """
    means = table.groupby("feature")["importance"].mean().sort_values()
    figure, axes = single(1.0 + 0.26 * len(means))
    axes.barh(means.index, means, color=BLUE, alpha=0.6, height=0.7)
    position = table["feature"].map({feature: row for row, feature in enumerate(means.index)})
    axes.plot(table["importance"], position, "o", color="black", ms=3, mew=0, alpha=0.7)
    axes.axvline(0, color="black", lw=0.8)
    axes.set(xlabel="fall of the AUC when the feature is shuffled", ylabel="feature")
    return figure


@styled
def learning_curves(history: pd.DataFrame) -> Figure:
    """Loss and validation AUC by epoch, a line per fold; a dot marks the epoch whose weights were kept.

    Parameters
    ----------
    history : ``fold``, ``epoch``, ``train_loss``, ``validation_loss``, ``validation_auc``, ``kept``; also ``repeat``
        where there are several
    """
    figure, axes = panels(1, 2, 3.0)
    losses, aucs = axes[0]
    runs = [name for name in ("repeat", "fold") if name in history]
    for number, (_, fold) in enumerate(history.groupby(runs)):
        first = number == 0
        losses.plot(fold["epoch"], fold["train_loss"], color=BLUE, lw=1, label="training" if first else None)
        losses.plot(
            fold["epoch"], fold["validation_loss"], "--", color=VERMILION, lw=1, label="validation" if first else None
        )
        aucs.plot(fold["epoch"], fold["validation_auc"], "--", color=VERMILION, lw=1)
        best = fold[fold["kept"]].iloc[0]
        aucs.plot(best["epoch"], best["validation_auc"], "o", color="black", ms=4)
    losses.set(xlabel="epoch", ylabel="binary cross-entropy")
    losses.legend()
    aucs.set(xlabel="epoch", ylabel="validation AUC", ylim=(0, 1.03))
    aucs.axhline(0.5, color=GREY, lw=0.8)
    return figure


@styled
def roc_curves(predictions: pd.DataFrame, models: Sequence[str]) -> Figure:
    """Pooled ROC curve of each model, each fold's as a thin line, the AUC with its clustered interval in the legend.

    Parameters
    ----------
    predictions : the predictions table, narrowed to one split and repeat
    models : which to show, in this order

    Raises
    ------
    performance.PredictionsError
        As ``performance.validate``; a model is not there; or several splits or repeats.
    """
    table = performance.validate(predictions)
    table = table[table["model"].isin(models)]
    runs = table[performance.RUN].drop_duplicates()
    if sorted(runs["model"]) != sorted(models) or len(runs[["split", "repeat"]].drop_duplicates()) != 1:
        raise performance.PredictionsError(
            f"found {runs.to_dict('records')}, expected {models} in one split and repeat"
        )
    summary = performance.summary(table).query("metric == 'auc'").set_index("model")
    figure, axes = single(4.6)
    for position, model in enumerate(models):
        _model_curve(axes, table[table["model"] == model], summary.loc[model], position)
    axes.plot([0, 1], [0, 1], color=GREY, lw=0.8)
    axes.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.legend(loc="lower right", title="pooled AUC [95 % interval, clustered]")
    return figure


@styled
def auc_forest(summary: pd.DataFrame) -> Figure:
    """Pooled AUC of each model with its clustered and its naive interval.

    Parameters
    ----------
    summary : of ``performance.summary``; one row of dots per model, split and repeat
    """
    rows = summary[summary["metric"] == "auc"].reset_index(drop=True)
    figure, axes = single(0.9 + 0.5 * len(rows))
    kinds = (("clustered by patient", "", -0.14, BLUE, "o"), ("naive DeLong", "naive_", 0.14, GREY, "s"))
    for label, prefix, shift, colour, marker in kinds:
        reach = np.stack([rows["pooled"] - rows[f"{prefix}low"], rows[f"{prefix}high"] - rows["pooled"]])
        fill = colour if not prefix else "white"
        at = np.arange(len(rows)) + shift
        axes.errorbar(
            rows["pooled"], at, xerr=reach, fmt=marker, color=colour, mfc=fill, capsize=3, lw=1.4, label=label
        )
    axes.axvline(0.5, color=GREY, lw=0.8)
    axes.set_yticks(range(len(rows)), _run_names(rows))
    axes.set(xlabel="pooled AUC, 95 % interval", ylabel="model", ylim=(len(rows) - 0.5, -0.5))
    figure.legend(loc="outside upper center", ncols=2)
    return figure


@styled
def score_by_grade(predictions: pd.DataFrame, segments: pd.DataFrame) -> Figure:
    """Scores of the test folds by MRI grade, a panel per model, every segment a point.

    Parameters
    ----------
    predictions : the predictions table, narrowed to one split and repeat
    segments : KEY and ``grade`` (0-3)
    """
    table = performance.validate(predictions).merge(segments[[*KEY, "grade"]], on=KEY, validate="many_to_one")
    models = list(dict.fromkeys(table["model"]))
    rows = -(-len(models) // 2)
    figure, axes = panels(rows, min(2, len(models)), 0.3 + 2.6 * rows)
    for position, (panel, model) in enumerate(zip(axes.flat, models, strict=False)):
        of_model = table[table["model"] == model]
        groups = [of_model.loc[of_model["grade"] == grade, "score"].to_numpy() for grade in range(4)]
        box_and_points(panel, groups, GRADE_NAMES)
        for threshold in of_model["threshold"].unique():
            panel.axhline(threshold, color=VERMILION, lw=0.7, ls="--")
        panel.set_ylabel(f"score, {model_look(model, position)['label']}")
    for panel in axes.flat[len(models) :]:
        panel.remove()
    figure.supxlabel("fatty infiltration on MRI, segments", fontsize=9)
    return figure


def _model_curve(axes: Axes, predictions: pd.DataFrame, auc: pd.Series, position: int) -> None:
    look = model_look(predictions["model"].iloc[0], position)
    for _, fold in predictions.groupby("fold"):
        if fold["y_true"].nunique() == 2:
            x, y, _ = roc.curve(fold["y_true"], fold["score"])
            axes.plot(x, y, color=look["color"], linestyle=look["linestyle"], lw=0.7, alpha=0.35)
    x, y, _ = roc.curve(predictions["y_true"], predictions["score"])
    interval = f" [{auc['low']:.2f}, {auc['high']:.2f}]" if auc[["low", "high"]].notna().all() else ""
    label = f"{look['label']} {auc['pooled']:.2f}{interval}"
    axes.plot(x, y, color=look["color"], linestyle=look["linestyle"], lw=2.2, label=label)


def _run_names(rows: pd.DataFrame) -> list[str]:
    """The models' names, with split and repeat where there are several."""
    names = [str(model_look(model)["label"]) for model in rows["model"]]
    for column, prefix in (("split", "split by "), ("repeat", "repeat ")):
        if rows[column].nunique() > 1:
            names = [f"{name}\n{prefix}{value}" for name, value in zip(names, rows[column], strict=True)]
    return names
