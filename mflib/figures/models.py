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
    ORANGE,
    VERMILION,
    box_and_points,
    heat_map,
    model_look,
    panels,
    single,
    styled,
)
from mflib.forest.importance import WHOLE_FAMILY
from mflib.volume import KEY


@styled
def choices(separation: pd.DataFrame, chosen: pd.DataFrame) -> Figure:
    """How well single GLCM features separate the classes over grey levels and steps, and what the folds chose there.

    Parameters
    ----------
    separation : (levels, steps) mean of max(AUC, 1 - AUC), as ``forest.univariate_auc_map``; NaN stays white
    chosen : ``levels`` and ``step`` of each fold's choice, as ``forest.Result.choices``
    """
    counts = chosen.groupby(["levels", "step"]).size().unstack("step")
    counts = counts.reindex(index=separation.index, columns=separation.columns)
    figure, axes = panels(2, 1, 1.4 + 0.66 * len(separation), sharex=True)
    (above,), (below,) = axes
    image = heat_map(above, separation, ".2f", vmin=0.5, vmax=max(0.6, float(separation.max(axis=None))))
    figure.colorbar(image, ax=above, label="mean univariate AUC")
    image = heat_map(below, counts, ".0f", cmap="Blues", vmin=0, vmax=max(2, counts.max(axis=None)))
    figure.colorbar(image, ax=below, label="times chosen", ticks=MaxNLocator(integer=True))
    for panel in (above, below):
        panel.set_ylabel("grey levels")
    figure.supxlabel("step (voxels)", fontsize=9)
    return figure


@styled
def importance(table: pd.DataFrame) -> Figure:
    """Permutation importance of each feature and of each family as a whole: the mean as a bar, each fold as a point.

    Parameters
    ----------
    table : ``family``, ``feature``, ``importance`` (fall of the AUC), one row per feature, family and fold, as
        ``forest.Result.importance``
    """
    names = table["feature"].where(table["feature"] != WHOLE_FAMILY, table["family"] + ", " + WHOLE_FAMILY)
    table = table.assign(feature=names, whole=table["feature"] == WHOLE_FAMILY)
    means = table.groupby(["whole", "feature"])["importance"].mean().reset_index().sort_values(["whole", "importance"])
    figure, axes = single(1.0 + 0.26 * len(means))
    axes.barh(means["feature"], means["importance"], color=[ORANGE if w else BLUE for w in means["whole"]], height=0.7)
    position = table["feature"].map({feature: row for row, feature in enumerate(means["feature"])})
    axes.plot(table["importance"], position, "o", color="black", ms=2.5, mew=0, alpha=0.5)
    axes.axhline((~means["whole"]).sum() - 0.5, color=GREY, lw=0.8)
    axes.axvline(0, color="black", lw=0.8)
    axes.set(xlabel="fall of the AUC when shuffled", ylabel="feature")
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
