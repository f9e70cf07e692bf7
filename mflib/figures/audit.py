"""Plots of what follows from published tables: confusion matrices, folds, P values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mflib.figures.style import BLUE, GREEN, GREY, ORANGE, VERMILION, heat_map, panels, single, styled

_LINES: tuple[tuple[str, Any], ...] = ((BLUE, "-"), (VERMILION, "--"), (GREEN, "-."))
_LEVELS: tuple[tuple[str, Any], ...] = ((GREY, (0, (4, 2))), ("black", (0, (1, 1))))


@styled
def confusion_matrices(found: pd.DataFrame) -> Figure:
    """Confusion matrix of each fold, a row of them for each model; rows are the truth, columns the call.

    Parameters
    ----------
    found : ``model``, ``fold``, ``tp``, ``fp``, ``fn``, ``tn``, ``n``, ``fits`` (0 where the matrix is only the
        nearest one), as ``published.matrices``
    """
    models, most = list(found["model"].unique()), int(found[["tp", "fp", "fn", "tn"]].max(axis=None))
    figure, axes = panels(len(models), int(found.groupby("model").size().max()), 0.4 + 1.75 * len(models))
    for row, (model, folds) in enumerate(found.groupby("model", sort=False)):
        for place, fold in enumerate(folds.itertuples()):
            cells = pd.DataFrame([[fold.tp, fold.fn], [fold.fp, fold.tn]], ["+", "\u2212"], ["+", "\u2212"])
            heat_map(axes[row, place], cells, ".0f", cmap="Blues", vmin=0, vmax=most)
            nearest = "" if fold.fits else ", nearest"
            axes[row, place].set_title(f"fold {fold.fold}{nearest}\nN = {fold.n}")
        for empty in axes[row, len(folds) :]:
            empty.set_axis_off()
        axes[row, 0].set_ylabel(f"{model}\ntruth")
    figure.supxlabel("called", fontsize=9)
    return figure


@styled
def fold_composition(found: pd.DataFrame, positives: int, negatives: int) -> Figure:
    """Cases and prevalence of each fold as found, beside those of a stratified partition of the cohort.

    Parameters
    ----------
    found : ``model``, ``fold``, ``n``, ``positives``, ``fits`` (0 where the size is that of the nearest matrix), as
        ``published.matrices``
    positives, negatives : of the cohort
    """
    groups = list(found.groupby("model", sort=False))
    figure, axes = panels(2, len(groups), 4.2, sharey="row", sharex="col")
    for column, (model, folds) in enumerate(groups):
        _sizes(axes[0, column], folds, positives / len(folds), negatives / len(folds))
        _prevalences(axes[1, column], folds, positives / (positives + negatives))
        axes[0, column].set_title(model)
        names = [f"{fold.fold}" + ("" if fold.fits else "*") for fold in folds.itertuples()]
        axes[1, column].set_xticks(range(len(names)), names)
    axes[0, 0].set_ylabel("cases")
    axes[1, 0].set_ylabel("positives (%)")
    figure.supxlabel("fold (* no matrix fits: the nearest)", fontsize=9)
    handles, labels = (
        [*first, *second]
        for first, second in zip(
            axes[0, 0].get_legend_handles_labels(), axes[1, 0].get_legend_handles_labels(), strict=True
        )
    )
    figure.legend(handles, labels, loc="outside upper center", ncols=2)
    return figure


@styled
def p_by_correlation(curves: pd.DataFrame, printed: Mapping[str, float]) -> Figure:
    """P of the difference of two AUCs by the correlation of their errors; horizontal lines are printed P values.

    Parameters
    ----------
    curves : ``areas`` (a name for each pair), ``correlation``, ``p``, as ``published.p_by_correlation``
    printed : P values by their names
    """
    figure, axes = single(3.4)
    for position, (areas, curve) in enumerate(curves.groupby("areas", sort=False)):
        colour, line = _LINES[position % len(_LINES)]
        axes.plot(curve["correlation"], curve["p"], color=colour, linestyle=line, lw=2, label=f"AUC {areas}")
    for position, (name, p) in enumerate(printed.items()):
        colour, line = _LEVELS[position % len(_LEVELS)]
        axes.axhline(p, color=colour, linestyle=line, lw=1.2, label=name)
    axes.set(yscale="log", ylim=(1e-6, 1), xlim=(0, float(curves["correlation"].max())))
    axes.set(xlabel="correlation of the two estimates", ylabel="two-sided P")
    axes.legend(loc="lower left")
    return figure


def _sizes(axes: Axes, folds: pd.DataFrame, positives: float, negatives: float) -> None:
    """Stacked bars of both classes; lines where a partition of the cohort would end them."""
    place = np.arange(len(folds))
    axes.bar(place, folds["positives"], width=0.7, color=ORANGE, edgecolor="black", lw=0.6, label="positives")
    rest = folds["n"] - folds["positives"]
    axes.bar(
        place, rest, bottom=folds["positives"], width=0.7, color="white", hatch="///", edgecolor=GREY, lw=0.6,
        label="negatives",
    )  # fmt: skip
    axes.axhline(positives, color="black", lw=1.2, ls="--", label="cohort in equal parts")
    axes.axhline(positives + negatives, color="black", lw=1.2, ls="--")


def _prevalences(axes: Axes, folds: pd.DataFrame, prevalence: float) -> None:
    """Share of positives of each fold; a band of one case around the cohort's."""
    place = np.arange(len(folds))
    one_case = 100 / folds["n"].to_numpy(dtype=np.float64)
    axes.bar(
        place, 2 * one_case, bottom=100 * prevalence - one_case, width=0.9, color="#BBBBBB", label="within one case"
    )
    axes.plot(place, 100 * folds["positives"] / folds["n"], "D", color=VERMILION, ms=6, label="found prevalence")
    axes.axhline(100 * prevalence, color="black", lw=1.2, ls="--")
    axes.margins(y=0.15)
