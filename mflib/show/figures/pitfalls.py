"""Plots of the pitfalls laboratory and of what follows from published tables."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from textwrap import wrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mflib.show import style

# Colour, marker and place in the row of the wrong way and the right one.
_LOOKS = {False: (style.VERMILION, "s", -0.18), True: (style.BLUE, "o", 0.18)}


@style.styled
def right_and_wrong(table: pd.DataFrame, name: str = "AUC", nothing: float | None = 0.5) -> Figure:
    """The wrong way and the right one of each case: every repetition as a point, the mean as a large one.

    Parameters
    ----------
    table : ``data``, ``case``, ``way``, ``right``, ``value``, ``note`` of an experiment, one row per repetition; a case
        without values keeps its place and says so
    name : what the values are
    nothing : the value of a model that knows nothing, as a line; None for no line
    """
    cases = table[["data", "case"]].drop_duplicates().itertuples(index=False, name=None)
    places = {case: row for row, case in enumerate(cases)}
    figure, axes = style.single(1.0 + 0.62 * len(places))
    if nothing is not None:
        axes.axvline(nothing, color=style.GREY, lw=0.8, ls="--")
    named: set[str] = set()
    for (data, case, way, right), rows in table.groupby(["data", "case", "way", "right"], sort=False):
        colour, marker, aside = _LOOKS[bool(right)]
        values, height = rows["value"].dropna(), places[data, case] + aside
        if values.empty:
            axes.annotate("not made", (0.5, height), xycoords=("axes fraction", "data"), va="center", color=colour)
            continue
        points = height + 0.3 * style.spread(len(values))
        axes.plot(values, points, marker, color=colour, ms=3, mew=0, alpha=0.4)
        label = None if way in named else str(way)
        axes.plot(values.mean(), height, marker, color=colour, ms=7, mec=style.INK, mew=0.8, ls="", label=label)
        named.add(str(way))
    labels = ["\n".join([*wrap(case, 26), f"({data})"]) for data, case in places]
    axes.set_yticks(list(places.values()), labels)
    axes.set(xlabel=name, ylabel="case", ylim=(len(places) - 0.5, -0.5))
    if named:
        figure.legend(loc="outside upper center", ncols=2)
    return figure


@style.styled
def null_distribution(table: pd.DataFrame, name: str = "AUC") -> Figure:
    """The value with the true labels as a line, and those with permuted labels as points and bars.

    Parameters
    ----------
    table : ``right`` (the true labels), ``value``; NaN is left out
    name : what the values are
    """
    import seaborn as sns

    known = table.dropna(subset="value")
    permuted, true = (known.loc[known["right"] == kind, "value"].to_numpy() for kind in (False, True))
    figure, axes = style.single(2.6)
    sns.histplot(permuted, bins="sqrt", color=style.ORANGE, ec=style.PAPER, alpha=1, label="permuted labels", ax=axes)
    sns.rugplot(permuted, height=0.07, color=style.INK, ax=axes)
    for value in true:
        axes.axvline(value, color=style.BLUE, lw=2, label="true labels")
    axes.set(xlabel=name, ylabel="permutations")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside upper center", ncols=2)
    return figure


@style.styled
def predictive_values_over_prevalence(table: pd.DataFrame, marked: dict[str, float]) -> Figure:
    """What a positive and a negative call of one test mean, by how common the disease is.

    Parameters
    ----------
    table : ``prevalence``, ``ppv``, ``npv``, in [0, 1]
    marked : prevalences to mark, by what to call them
    """
    figure, axes = style.single(3.0)
    axes.plot(table["prevalence"], table["ppv"], color=style.BLUE, label="PPV")
    axes.plot(table["prevalence"], table["npv"], "--", color=style.VERMILION, label="NPV")
    for share in sorted(set(marked.values())):
        names = ", ".join(name for name, its_share in marked.items() if its_share == share)
        axes.axvline(share, color=style.GREY, lw=0.8, ls=":")
        axes.annotate(names, (share, 0.02), xytext=(3, 0), textcoords="offset points", rotation=90, color=style.GREY)
    axes.set(xlabel="prevalence", ylabel="predictive value", ylim=(0, 1.02))
    axes.legend(loc="lower right")
    return figure


@style.styled
def ceiling_over_kappa(table: pd.DataFrame) -> Figure:
    """The AUC that is left of a perfect model and of a good one, by how far the readers of the reference agree.

    Parameters
    ----------
    table : ``data``, ``kappa``, ``reference``, ``auc``, ``auc_sd``, ``auc_of_good``; rows of the cohort are marked,
        those without a kappa left out
    """
    figure, axes = style.panels(1, 2, 3.0, sharex=True, sharey=True)
    good = (style.PURPLE, "--", "model with a true AUC of 0.8")
    looks = {"auc": (style.BLUE, "-", "perfect model"), "auc_of_good": good}
    for panel, (reference, rows) in zip(axes[0], table.groupby("reference", sort=False), strict=True):
        simulated = rows[rows["data"] == "simulated"].sort_values("kappa")
        measured = rows[(rows["data"] != "simulated") & rows["kappa"].notna()]
        for column, (colour, line, label) in looks.items():
            panel.plot(simulated["kappa"], simulated[column], line, color=colour, label=label)
            panel.plot(measured["kappa"], measured[column], "D", color=style.INK, ms=5)
        low, high = (simulated["auc"] + way * simulated["auc_sd"] for way in (-1, 1))
        panel.fill_between(simulated["kappa"], low, high, color=style.BLUE, alpha=0.15, lw=0)
        panel.set(title=f"reference: {reference}", xlabel="kappa of two readers", ylabel="AUC against the reference")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


_LEVELS: tuple[tuple[str, Any], ...] = ((style.GREY, (0, (4, 2))), (style.INK, (0, (1, 1))))


@style.styled
def confusion_matrices(found: pd.DataFrame) -> Figure:
    """Confusion matrix of each fold, a row of them for each model; rows are the truth, columns the call.

    Parameters
    ----------
    found : ``model``, ``fold``, ``tp``, ``fp``, ``fn``, ``tn``, ``n``, ``fits`` (0 where the matrix is only the
        nearest one), as ``published.matrices``
    """
    models, most = list(found["model"].unique()), int(found[["tp", "fp", "fn", "tn"]].max(axis=None))
    figure, axes = style.panels(len(models), int(found.groupby("model").size().max()), 0.4 + 1.75 * len(models))
    for row, (model, folds) in enumerate(found.groupby("model", sort=False)):
        for place, fold in enumerate(folds.itertuples()):
            cells = pd.DataFrame([[fold.tp, fold.fn], [fold.fp, fold.tn]], ["+", "\u2212"], ["+", "\u2212"])
            style.heat_map(axes[row, place], cells, ".0f", cmap="Blues", vmin=0, vmax=most)
            nearest = "" if fold.fits else ", nearest"
            axes[row, place].set_title(f"fold {fold.fold}{nearest}\nN = {fold.n}")
        for empty in axes[row, len(folds) :]:
            empty.set_axis_off()
        axes[row, 0].set_ylabel(f"{model}\ntruth")
    figure.supxlabel("called", fontsize=9)
    return figure


@style.styled
def fold_composition(found: pd.DataFrame, positives: int, negatives: int) -> Figure:
    """Cases and prevalence of each fold as found, beside those of a stratified partition of the cohort.

    Parameters
    ----------
    found : ``model``, ``fold``, ``n``, ``positives``, ``fits`` (0 where the size is that of the nearest matrix), as
        ``published.matrices``
    positives, negatives : of the cohort
    """
    groups = list(found.groupby("model", sort=False))
    figure, axes = style.panels(2, len(groups), 4.2, sharey="row", sharex="col")
    line: dict[str, Any] = {"color": style.INK, "lw": 1.2, "ls": "--"}
    for column, (model, folds) in enumerate(groups):
        place, above, below = np.arange(len(folds)), *axes[:, column]
        # Stacked bars of both classes; lines where a partition of the cohort would end them.
        look: dict[str, Any] = {"width": 0.7, "lw": 0.6}
        above.bar(place, folds["positives"], color=style.ORANGE, edgecolor=style.INK, label="positives", **look)
        look |= {"bottom": folds["positives"], "color": style.PAPER, "hatch": "///", "edgecolor": style.GREY}
        above.bar(place, folds["n"] - folds["positives"], label="negatives", **look)
        above.axhline(positives / len(folds), label="cohort in equal parts", **line)
        above.axhline((positives + negatives) / len(folds), **line)
        # Share of positives of each fold; a band of one case around the cohort's.
        prevalence, case = 100 * positives / (positives + negatives), 100 / folds["n"].to_numpy(dtype=np.float64)
        below.bar(place, 2 * case, bottom=prevalence - case, width=0.9, color="#BBBBBB", label="within one case")
        shares = 100 * folds["positives"] / folds["n"]
        below.plot(place, shares, "D", color=style.VERMILION, ms=6, label="found prevalence")
        below.axhline(prevalence, **line)
        below.margins(y=0.15)
        above.set_title(model)
        names = [f"{fold.fold}" + ("" if fold.fits else "*") for fold in folds.itertuples()]
        below.set_xticks(range(len(names)), names)
    axes[0, 0].set_ylabel("cases")
    axes[1, 0].set_ylabel("positives (%)")
    figure.supxlabel("fold (* no matrix fits: the nearest)", fontsize=9)
    named = [panel.get_legend_handles_labels() for panel in axes[:, 0]]
    figure.legend(named[0][0] + named[1][0], named[0][1] + named[1][1], loc="outside upper center", ncols=2)
    return figure


@style.styled
def p_by_correlation(curves: pd.DataFrame, printed: Mapping[str, float]) -> Figure:
    """P of the difference of two AUCs by the correlation of their errors; horizontal lines are printed P values.

    Parameters
    ----------
    curves : ``areas`` (a name for each pair), ``correlation``, ``p``, as ``published.p_by_correlation``
    printed : P values by their names
    """
    figure, axes = style.single(3.4)
    axes.set_prop_cycle(**style.LINES)
    for areas, curve in curves.groupby("areas", sort=False):
        axes.plot(curve["correlation"], curve["p"], lw=2, label=f"AUC {areas}")
    for (name, p), (colour, line) in zip(printed.items(), cycle(_LEVELS), strict=False):
        axes.axhline(p, color=colour, linestyle=line, lw=1.2, label=name)
    axes.set(yscale="log", ylim=(1e-6, 1), xlim=(0, float(curves["correlation"].max())))
    axes.set(xlabel="correlation of the two estimates", ylabel="two-sided P")
    axes.legend(loc="lower left")
    return figure
