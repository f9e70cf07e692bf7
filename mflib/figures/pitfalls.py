"""Plots of the pitfalls laboratory: the wrong way and the right one beside each other."""

from __future__ import annotations

from textwrap import wrap

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mflib.figures.style import BLUE, GREY, ORANGE, PURPLE, VERMILION, panels, single, spread, styled

# Colour, marker and place in the row of the wrong way and the right one.
_LOOKS = {False: (VERMILION, "s", -0.18), True: (BLUE, "o", 0.18)}


@styled
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
    figure, axes = single(1.0 + 0.62 * len(places))
    if nothing is not None:
        axes.axvline(nothing, color=GREY, lw=0.8, ls="--")
    named: set[str] = set()
    for (data, case, way, right), rows in table.groupby(["data", "case", "way", "right"], sort=False):
        colour, marker, aside = _LOOKS[bool(right)]
        values, height = rows["value"].dropna(), places[data, case] + aside
        if values.empty:
            axes.annotate("not made", (0.5, height), xycoords=("axes fraction", "data"), va="center", color=colour)
            continue
        points = height + 0.3 * spread(len(values))
        axes.plot(values, points, marker, color=colour, ms=3, mew=0, alpha=0.4)
        label = None if way in named else str(way)
        axes.plot(values.mean(), height, marker, color=colour, ms=7, mec="black", mew=0.8, ls="", label=label)
        named.add(str(way))
    labels = ["\n".join([*wrap(case, 26), f"({data})"]) for data, case in places]
    axes.set_yticks(list(places.values()), labels)
    axes.set(xlabel=name, ylabel="case", ylim=(len(places) - 0.5, -0.5))
    if named:
        figure.legend(loc="outside upper center", ncols=2)
    return figure


@styled
def null_distribution(table: pd.DataFrame, name: str = "AUC") -> Figure:
    """The value with the true labels as a line, and those with permuted labels as points and bars.

    Parameters
    ----------
    table : ``right`` (the true labels), ``value``; NaN is left out
    name : what the values are
    """
    known = table.dropna(subset="value")
    permuted, true = (known.loc[known["right"] == kind, "value"].to_numpy() for kind in (False, True))
    figure, axes = single(2.6)
    counts, _, _ = axes.hist(permuted, bins="sqrt", color=ORANGE, ec="white", label="permuted labels")
    axes.plot(permuted, np.full(permuted.size, -0.06 * max(np.max(counts), 1)), "|", color="black", ms=7)
    for value in true:
        axes.axvline(value, color=BLUE, lw=2, label="true labels")
    axes.set(xlabel=name, ylabel="permutations")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside upper center", ncols=2)
    return figure


@styled
def predictive_values_over_prevalence(table: pd.DataFrame, marked: dict[str, float]) -> Figure:
    """What a positive and a negative call of one test mean, by how common the disease is.

    Parameters
    ----------
    table : ``prevalence``, ``ppv``, ``npv``, in [0, 1]
    marked : prevalences to mark, by what to call them
    """
    figure, axes = single(3.0)
    axes.plot(table["prevalence"], table["ppv"], color=BLUE, label="PPV")
    axes.plot(table["prevalence"], table["npv"], "--", color=VERMILION, label="NPV")
    for share in sorted(set(marked.values())):
        names = ", ".join(name for name, its_share in marked.items() if its_share == share)
        axes.axvline(share, color=GREY, lw=0.8, ls=":")
        axes.annotate(names, (share, 0.02), xytext=(3, 0), textcoords="offset points", rotation=90, color=GREY)
    axes.set(xlabel="prevalence", ylabel="predictive value", ylim=(0, 1.02))
    axes.legend(loc="lower right")
    return figure


@styled
def ceiling_over_kappa(table: pd.DataFrame) -> Figure:
    """The AUC that is left of a perfect model and of a good one, by how far the readers of the reference agree.

    Parameters
    ----------
    table : ``data``, ``kappa``, ``reference``, ``auc``, ``auc_sd``, ``auc_of_good``; rows of the cohort are marked,
        those without a kappa left out
    """
    figure, axes = panels(1, 2, 3.0, sharex=True, sharey=True)
    looks = {"auc": (BLUE, "-", "perfect model"), "auc_of_good": (PURPLE, "--", "model with a true AUC of 0.8")}
    for panel, (reference, rows) in zip(axes[0], table.groupby("reference", sort=False), strict=True):
        simulated = rows[rows["data"] == "simulated"].sort_values("kappa")
        measured = rows[(rows["data"] != "simulated") & rows["kappa"].notna()]
        for column, (colour, line, label) in looks.items():
            panel.plot(simulated["kappa"], simulated[column], line, color=colour, label=label)
            panel.plot(measured["kappa"], measured[column], "D", color="black", ms=5)
        low, high = (simulated["auc"] + way * simulated["auc_sd"] for way in (-1, 1))
        panel.fill_between(simulated["kappa"], low, high, color=BLUE, alpha=0.15, lw=0)
        panel.set(title=f"reference: {reference}", xlabel="kappa of two readers", ylabel="AUC against the reference")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure
