"""Plots of what the models chose, learned and scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mflib.base import words
from mflib.base.errors import InputError
from mflib.base.words import GRADE_NAMES, KEY, MINUS, WHOLE_FAMILY
from mflib.show import style
from mflib.stats import performance, roc
from mflib.stats.performance.predictions import RUN

_CAPS: dict[str, Any] = {"capsize": 3, "lw": 1.4}  # of intervals


@style.styled
def choices(separation: pd.DataFrame, chosen: pd.DataFrame) -> Figure:
    """How well single GLCM features separate the classes over grey levels and steps, and what the folds chose there.

    Parameters
    ----------
    separation : (levels, steps) mean of max(AUC, 1 - AUC), as ``forest.univariate_auc_map``; NaN stays white
    chosen : ``levels`` and ``step`` of each fold's choice, as ``forest.Result.choices``
    """
    counts = chosen.groupby(["levels", "step"]).size().unstack("step")
    counts = counts.reindex(index=separation.index, columns=separation.columns)
    figure, axes = style.panels(2, 1, 1.4 + 0.66 * len(separation), sharex=True)
    (above,), (below,) = axes
    highest = max(0.6, float(separation.max(axis=None)))
    style.heat_map(above, separation, ".2f", "mean univariate AUC", vmin=0.5, vmax=highest)
    most = max(2, counts.max(axis=None))
    style.heat_map(below, counts, ".0f", "times chosen", cmap="Blues", vmin=0, vmax=most)
    figure.axes[-1].yaxis.set_major_locator(MaxNLocator(integer=True))
    for panel in (above, below):
        panel.set(xlabel="", ylabel="grey levels")
    figure.supxlabel("step (voxels)", fontsize=9)
    return figure


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
def learning_curves(history: pd.DataFrame) -> Figure:
    """Loss and validation AUC by epoch, a line per fold; a dot marks what was kept.

    Parameters
    ----------
    history : ``fold``, ``epoch``, ``train_loss``, ``validation_loss``, ``validation_auc``, ``kept``; also ``repeat``
        where there are several. Of a frozen network ``C`` and ``inner_auc`` in place of the middle four: the AUC on
        inner folds by the penalty of the head
    """
    import seaborn as sns

    if "C" in history:
        figure, panel = style.single(3.0)
        _of_folds(panel, history, "C", "inner_auc")
        panel.set(xscale="log", xlabel="C of the head (inverse penalty)", ylabel="AUC on inner folds", ylim=(0, 1.03))
        return figure
    figure, axes = style.panels(1, 2, 3.0)
    losses, aucs = axes[0]
    _of_folds(aucs, history, "epoch", "validation_auc")
    names = {"train_loss": "training", "validation_loss": "validation"}
    loss = _by_run(history).rename(columns=names).melt(["run", "epoch"], list(names.values()), "part", "loss")
    look: dict[str, Any] = {"palette": [style.BLUE, style.VERMILION], "dashes": ["", (4, 2)], "lw": 1}
    sns.lineplot(loss, x="epoch", y="loss", hue="part", style="part", units="run", estimator=None, ax=losses, **look)
    losses.set(xlabel="epoch", ylabel="binary cross-entropy")
    losses.legend(title="")
    aucs.set(xlabel="epoch", ylabel="validation AUC", ylim=(0, 1.03))
    return figure


@style.styled
def network_comparisons(table: pd.DataFrame) -> Figure:
    """AUC of the network and of its variants, over folds with its interval and pooled; beside it, by training patients.

    Parameters
    ----------
    table : ``variant``, ``share``, ``patients``, ``mean``, ``low``, ``high``, ``pooled``, as
        ``comparisons.Result.table``, the study's own network first
    """
    fewer = table["share"] < 1
    others, curve = table[~fewer].reset_index(), table[fewer | (table.index == 0)].sort_values("patients")
    height, count = 1.1 + max(1.7, 0.42 * len(others)), 1 + bool(fewer.any())
    figure, axes = style.panels(1, count, height, width_ratios=[2, 1][:count])
    left = axes[0, 0]
    looks = (
        (others[:1], {"color": style.VERMILION, "fmt": "s", "label": "mean of folds, 95 % interval"}),
        (others[1:], {"color": style.BLUE, "fmt": "o", "mfc": style.PAPER}),
    )
    for rows, look in looks:
        style.intervals(left, rows["mean"], rows.index, rows, along="x", **_CAPS, **look)
    left.plot(others["pooled"], range(len(others)), "D", color=style.INK, ms=4, label="pooled")
    left.axvline(others["mean"].iloc[0], color=style.VERMILION, lw=0.8, ls=":")
    left.set_yticks(range(len(others)), ["\n".join(wrap(name, 20)) for name in others["variant"]])
    left.set(xlabel="AUC", ylabel="network", ylim=(len(others) - 0.5, -0.5))
    left.axvline(0.5, color=style.GREY, lw=0.8)
    for right in axes[0, 1:]:
        look = {"color": style.VERMILION, "fmt": "s-", **_CAPS}
        style.intervals(right, curve["patients"], curve["mean"], curve, **look)
        right.plot(curve["patients"], curve["pooled"], "D", color=style.INK, ms=4)
        right.set(xlabel="training patients", ylabel="AUC", xlim=(0, 1.1 * curve["patients"].max()))
        right.axhline(0.5, color=style.GREY, lw=0.8)
    figure.legend(loc="outside upper center", ncols=2)
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


@style.styled
def score_by_grade(predictions: pd.DataFrame, segments: pd.DataFrame) -> Figure:
    """Scores of the test folds by MRI grade, a panel per model, every segment a point.

    Parameters
    ----------
    predictions : the predictions table, narrowed to one split and repeat
    segments : KEY and ``grade`` (0-3)
    """
    table = predictions.merge(segments[[*KEY, "grade"]], on=KEY, validate="many_to_one")
    models = list(dict.fromkeys(table["model"]))
    kind = "score" if "threshold" in table else "probability"
    figure, axes = style.grid(models, 2.6)
    for position, (panel, model) in enumerate(zip(axes, models, strict=True)):
        of_model = table[table["model"] == model]
        groups = [of_model.loc[of_model["grade"] == grade, "score"].to_numpy() for grade in range(4)]
        style.box_and_points(panel, groups, GRADE_NAMES)
        for threshold in of_model.get("threshold", pd.Series()).unique():
            panel.axhline(threshold, color=style.VERMILION, lw=0.7, ls="--")
        panel.set_ylabel(f"{kind}, {style.model_look(model, position)['label']}")
    figure.supxlabel("fatty infiltration on MRI, segments", fontsize=9)
    return figure


def _of_folds(axes: Axes, history: pd.DataFrame, x: str, y: str) -> None:
    """A dashed line for each fold, a dot at what was kept of it, and the line of a model that knows nothing."""
    import seaborn as sns

    look: dict[str, Any] = {"color": style.VERMILION, "lw": 1, "linestyle": "--"}
    sns.lineplot(_by_run(history), x=x, y=y, units="run", estimator=None, ax=axes, **look)
    best = history[history["kept"]]
    axes.plot(best[x], best[y], "o", color=style.INK, ms=4)
    axes.axhline(0.5, color=style.GREY, lw=0.8)


def _by_run(history: pd.DataFrame) -> pd.DataFrame:
    """The history with a number for each fold of each repeat."""
    return history.assign(run=history.groupby([name for name in ("repeat", "fold") if name in history]).ngroup())


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
