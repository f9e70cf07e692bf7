"""Plots of another cohort beside the one that the models learnt from."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter
from numpy.typing import NDArray

from mflib import performance, roc
from mflib.figures.style import BLUE, GREY, ORANGE, VERMILION, model_look, panels, single, spread, styled

# Colour and marker of each verdict, the same order from near to far.
_VERDICTS = {"inside": (BLUE, "o"), "at the edge": (ORANGE, "^"), "outside": ("black", "X")}
_MOST = 20  # features in one plot


@styled
def distances(own: NDArray[np.float64], applicability: pd.DataFrame) -> Figure:
    """Distance of each segment's texture to the training segments: the study's own, left out in turn, and another's.

    Parameters
    ----------
    own : (n,) distances of the training segments, each with its patient left out
    applicability : ``verdict`` and ``distance`` of each segment of the other cohort
    """
    figure, axes = single(2.9)
    axes.plot(own, spread(len(own)), "o", color=GREY, ms=3, alpha=0.5, mew=0, label=f"own, left out ({len(own)})")
    for verdict, (colour, marker) in _VERDICTS.items():
        found = applicability.loc[applicability["verdict"] == verdict, "distance"].to_numpy(dtype=np.float64)
        if len(found):
            label = f"external, {verdict} ({len(found)})"
            axes.plot(found, 1 + spread(len(found)), marker, color=colour, ms=4.5, alpha=0.8, mew=0, label=label)
    axes.axvline(float(np.percentile(own, 95)), color="black", lw=0.8, ls=":", label="95 % of the own lie left of it")
    axes.set_yticks([0, 1], ["own", "external"])
    axes.set(xlabel="Mahalanobis distance of the texture", ylabel="cohort", ylim=(1.5, -0.5), xscale="log")
    axes.xaxis.set_major_formatter(LogFormatter())
    axes.xaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1.5, 0.5)))
    figure.legend(loc="outside upper center", ncols=3)
    return figure


@styled
def out_of_range(features: pd.DataFrame, segments: int) -> Figure:
    """How many segments of another cohort leave the training range, feature by feature.

    Parameters
    ----------
    features : one row per segment and ``feature`` that is outside
    segments : how many there are in all
    """
    counts = features["feature"].value_counts().sort_index().sort_values(ascending=False, kind="stable")
    shown = counts.head(_MOST)
    figure, axes = single(1.0 + 0.22 * max(len(shown), 2))
    axes.barh(range(len(shown)), shown, color=BLUE, height=0.7)
    for row, count in enumerate(shown):
        axes.text(count, row, f" {count}", va="center", fontsize=8)
    axes.set_yticks(range(len(shown)), list(shown.index))
    more = f"; {len(counts) - len(shown)} more features not shown" if len(counts) > len(shown) else ""
    figure.supxlabel(f"segments outside the training range, of {segments}{more}", fontsize=9)
    axes.set_ylabel("feature")
    axes.set(xlim=(0, 1.08 * max(segments, 1)), ylim=(max(len(shown), 1) - 0.4, -0.6))
    if shown.empty:
        axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", color=GREY)
    return figure


@styled
def transported_roc(own: pd.DataFrame, external: pd.DataFrame) -> Figure:
    """ROC curve of each model on its own cohort, out of fold, and on another one.

    Parameters
    ----------
    own, external : predictions tables of one split and repeat each
    """
    named = [model for model in performance.models(own) if model in set(external["model"])]
    figure, axes = panels(1, len(named), 3.7, sharey=True)
    for position, (panel, model) in enumerate(zip(axes[0], named, strict=True)):
        look = model_look(model, position)
        for table, label, style in ((own, "own", ":"), (external, "external", "-")):
            _curve(panel, table[table["model"] == model], label, GREY if label == "own" else look["color"], style)
        panel.plot([0, 1], [0, 1], color=GREY, lw=0.6)
        panel.set(title=look["label"], xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
        panel.legend(loc="lower right")
    axes[0, 0].set_ylabel("sensitivity")
    figure.supxlabel("1 - specificity", fontsize=9)
    return figure


@styled
def recalibrated_curves(curves: dict[str, pd.DataFrame]) -> Figure:
    """Observed share of infiltrated segments by predicted probability, before and after an update, a panel per model.

    Parameters
    ----------
    curves : tables of ``performance.calibration_curve`` by what was done, the probabilities as they came first
    """
    looks = ((GREY, "o", ":"), (BLUE, "s", "-"), (VERMILION, "^", "--"))
    table = pd.concat(curves.values())
    named = performance.models(table[table["observed"].notna()]) or performance.models(table)
    figure, axes = panels(1, len(named), 4.0, sharey=True)
    for panel, model in zip(axes[0], named, strict=True):
        panel.plot([0, 1], [0, 1], color=GREY, lw=0.8)
        for (name, curve), (colour, marker, style) in zip(curves.items(), looks, strict=False):
            rows = curve[(curve["model"] == model) & curve["observed"].notna()]
            reach = np.stack([rows["observed"] - rows["low"], rows["high"] - rows["observed"]])
            panel.errorbar(rows["mean_score"], rows["observed"], yerr=reach, fmt="none", ecolor=colour, lw=0.7)
            label = name if model == named[0] else None
            panel.plot(rows["mean_score"], rows["observed"], marker, color=colour, ls=style, ms=4, label=label)
        panel.set(title=model_look(model)["label"], xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes[0, 0].set_ylabel("observed share")
    figure.supxlabel("predicted probability", fontsize=9)
    figure.legend(loc="outside upper center", ncols=3)
    return figure


def _curve(axes: Axes, table: pd.DataFrame, label: str, colour: str, style: str) -> None:
    auc = performance.summary(table).set_index("metric").loc["auc"]
    if table["y_true"].nunique() < 2:
        axes.plot([], [], color=colour, ls=style, label=f"{label}: one class only")
        return
    x, y, _ = roc.curve(table["y_true"], table["score"])
    axes.plot(x, y, color=colour, ls=style, label=f"{label} {performance.estimate(auc, 'pooled')}")
