"""Plots of what the models' scores are worth, here and on another cohort."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter
from numpy.typing import NDArray

from mflib.base import words
from mflib.base.words import LABELS
from mflib.show import style
from mflib.stats import performance, roc
from mflib.stats.performance.decisions import TREAT_ALL, TREAT_NONE
from mflib.stats.performance.predictions import check_one_run, models

_OPAQUE = {"facecolor": style.PAPER, "linewidth": 0, "pad": 1}
_TREATED: dict[str, dict[str, Any]] = {
    TREAT_ALL: {"label": "treat all", "color": style.GREY, "linestyle": "-"},
    TREAT_NONE: {"label": "treat none", "color": style.INK, "linestyle": ":"},
}


@style.styled
def subgroup_forest(table: pd.DataFrame) -> Figure:
    """AUC of each model in each part of the cohort with its clustered 95 % interval; small parts are named only.

    Parameters
    ----------
    table : of ``performance.subgroups``, one split and repeat

    Raises
    ------
    InputError
        Several splits or repeats.
    """
    table = table.assign(place=table.groupby(["variable", "group"], sort=False).ngroup())
    groups, named = table.drop_duplicates("place"), models(table)
    figure, axes = style.single(1.3 + (0.2 + 0.14 * len(named)) * len(groups))
    for number, (look, rows) in enumerate(_of_models(table, "auc")):
        at = rows["place"] + 0.6 * ((number + 0.5) / len(named) - 0.5)
        style.intervals(axes, rows["auc"], at, rows, along="x", ms=4, elinewidth=1.2, **(look | {"linestyle": ""}))
    # Where a part is too small, its row says so.
    small: dict[str, Any] = {"va": "center", "fontsize": style.SMALLEST, "color": style.GREY, "bbox": _OPAQUE}
    for row in table[table["auc"].isna()].drop_duplicates("place").itertuples():
        axes.text(0.02, row.place, row.note, **small)
    axes.axvline(0.5, color=style.GREY, lw=0.8)
    for edge in np.flatnonzero(groups["variable"].to_numpy()[1:] != groups["variable"].to_numpy()[:-1]):
        axes.axhline(edge + 0.5, color=style.GREY, lw=0.4)
    names = [f"{g.variable}: {g.group}\n{g.n} segments, {g.n_patients} patients" for g in groups.itertuples()]
    axes.set_yticks(range(len(groups)), names)
    axes.set(xlabel="AUC", ylabel="part of the cohort", xlim=(0, 1.01), ylim=(len(groups) - 0.5, -0.5))
    if table["auc"].notna().any():
        figure.legend(loc="outside upper center", ncols=2)
    return figure


def _of_models(table: pd.DataFrame, column: str) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    """Look and rows of each model that has numbers in a column."""
    check_one_run(table, "every model")
    foreign = [model for model in models(table) if model not in (*LABELS, *_TREATED)]
    places = dict.fromkeys(LABELS, 0) | {model: place for place, model in enumerate(foreign)}
    given = table[table[column].notna() & table["model"].isin(places)]
    return [(style.model_look(model, places[model]), given[given["model"] == model]) for model in models(given)]


def _left_out(table: pd.DataFrame, column: str) -> str | None:
    """Which models have no numbers in a column, in words."""
    named = [model for model in models(table) if table.loc[table["model"] == model, column].isna().all()]
    labels = [str(style.model_look(model)["label"]) for model in named]
    return f"without probabilities: {', '.join(labels)}" if labels else None


# Colour and marker of each verdict, the same order from near to far.
_VERDICTS = {"inside": (style.BLUE, "o"), "at the edge": (style.ORANGE, "^"), "outside": (style.INK, "X")}
_MOST = 20  # features in one plot


@style.styled
def distances(own: NDArray[np.float64], applicability: pd.DataFrame) -> Figure:
    """Distance of each segment's texture to the training segments: the study's own, left out in turn, and another's.

    Parameters
    ----------
    own : (n,) distances of the training segments, each with its patient left out
    applicability : ``verdict`` and ``distance`` of each segment of the other cohort
    """
    figure, axes = style.single(2.9)
    label = f"own, left out ({len(own)})"
    axes.plot(own, style.spread(len(own)), "o", color=style.GREY, ms=3, alpha=0.5, mew=0, label=label)
    for verdict, (colour, marker) in _VERDICTS.items():
        found = applicability.loc[applicability["verdict"] == verdict, "distance"].to_numpy(dtype=np.float64)
        if len(found):
            label = f"external, {verdict} ({len(found)})"
            axes.plot(found, 1 + style.spread(len(found)), marker, color=colour, ms=4.5, alpha=0.8, mew=0, label=label)
    axes.axvline(float(np.percentile(own, 95)), color=style.INK, lw=0.8, ls=":", label="95 % of the own lie left of it")
    axes.set_yticks([0, 1], ["own", "external"])
    axes.set(xlabel="Mahalanobis distance of the texture", ylabel="cohort", ylim=(1.5, -0.5), xscale="log")
    axes.xaxis.set_major_formatter(LogFormatter())
    axes.xaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1.5, 0.5)))
    figure.legend(loc="outside upper center", ncols=3)
    return figure


@style.styled
def out_of_range(features: pd.DataFrame, segments: int) -> Figure:
    """How many segments of another cohort leave the training range, feature by feature.

    Parameters
    ----------
    features : one row per segment and ``feature`` that is outside
    segments : how many there are in all
    """
    counts = features["feature"].value_counts().sort_index().sort_values(ascending=False, kind="stable")
    shown = counts.head(_MOST)
    figure, axes = style.single(1.0 + 0.22 * max(len(shown), 2))
    bars = axes.barh(
        range(len(shown)), shown, color=style.BLUE, height=0.7, tick_label=[*map(words.label, shown.index)]
    )
    axes.bar_label(bars, fmt=" %d", fontsize=style.SMALLEST)
    more = f"; {len(counts) - len(shown)} more features not shown" if len(counts) > len(shown) else ""
    figure.supxlabel(f"segments outside the training range, of {segments}{more}", fontsize=9)
    axes.set_ylabel("feature")
    axes.set(xlim=(0, 1.08 * max(segments, 1)), ylim=(max(len(shown), 1) - 0.4, -0.6))
    if shown.empty:
        axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", color=style.GREY)
    return figure


@style.styled
def transported_roc(own: pd.DataFrame, external: pd.DataFrame) -> Figure:
    """ROC curve of each model on its own cohort, out of fold, and on another one.

    Parameters
    ----------
    own, external : predictions tables of one split and repeat each
    """
    named = [model for model in performance.models(own) if model in set(external["model"])]
    figure, axes = style.panels(1, len(named), 3.7, sharey=True)
    for position, (panel, model) in enumerate(zip(axes[0], named, strict=True)):
        look = style.model_look(model, position)
        for table, label, line in ((own, "own", ":"), (external, "external", "-")):
            _curve(panel, table[table["model"] == model], label, style.GREY if label == "own" else look["color"], line)
        panel.plot([0, 1], [0, 1], color=style.GREY, lw=0.6)
        panel.set(title=look["label"], xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        panel.legend(loc="lower right")
    axes[0, 0].set_ylabel("sensitivity")
    figure.supxlabel("1 - specificity", fontsize=9)
    return figure


@style.styled
def recalibrated_curves(curves: dict[str, pd.DataFrame]) -> Figure:
    """Observed share of infiltrated segments by predicted probability, before and after an update, a panel per model.

    Parameters
    ----------
    curves : tables of ``performance.calibration_curve`` by what was done, the probabilities as they came first
    """
    looks = ((style.GREY, "o", ":"), (style.BLUE, "s", "-"), (style.VERMILION, "^", "--"))
    table = pd.concat(curves.values())
    named = performance.models(table[table["observed"].notna()]) or performance.models(table)
    figure, axes = style.panels(1, len(named), 4.0, sharey=True)
    for panel, model in zip(axes[0], named, strict=True):
        panel.plot([0, 1], [0, 1], color=style.GREY, lw=0.8)
        for (name, curve), (colour, marker, line) in zip(curves.items(), looks, strict=False):
            rows = curve[(curve["model"] == model) & curve["observed"].notna()]
            look: dict[str, Any] = {"color": colour, "fmt": marker + line, "ms": 4, "elinewidth": 0.7}
            label = name if model == named[0] else None
            style.intervals(panel, rows["mean_score"], rows["observed"], rows, label=label, **look)
        panel.set(title=style.model_look(model)["label"], xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes[0, 0].set_ylabel("observed share")
    figure.supxlabel("predicted probability", fontsize=9)
    figure.legend(loc="outside upper center", ncols=3)
    return figure


def _curve(axes: Axes, table: pd.DataFrame, label: str, colour: str, line: str) -> None:
    auc = performance.summary(table).set_index("metric").loc["auc"]
    if table["y_true"].nunique() < 2:
        axes.plot([], [], color=colour, ls=line, label=f"{label}: one class only")
        return
    x, y, _ = roc.curve(table["y_true"], table["score"])
    axes.plot(x, y, color=colour, ls=line, label=f"{label} {performance.estimate(auc, 'pooled')}")
