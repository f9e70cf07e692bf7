"""Plots of what the models' scores are worth: calibration, net benefit, parts of the cohort."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mflib.figures.style import GREY, model_look, single, styled
from mflib.performance import LABELS, RUN, TREAT_ALL, TREAT_NONE, PredictionsError, models

_OPAQUE = {"facecolor": "white", "linewidth": 0, "pad": 1}
_TREATED: dict[str, dict[str, Any]] = {
    TREAT_ALL: {"label": "treat all", "color": GREY, "linestyle": "-"},
    TREAT_NONE: {"label": "treat none", "color": "black", "linestyle": ":"},
}


@styled
def calibration_curves(table: pd.DataFrame) -> Figure:
    """Observed share of infiltrated segments by predicted probability, with clustered 95 % intervals.

    Parameters
    ----------
    table : of ``performance.calibration_curve``, one split and repeat; models without probabilities are named

    Raises
    ------
    PredictionsError
        Several splits or repeats.
    """
    figure, axes = single(4.6)
    axes.plot([0, 1], [0, 1], color=GREY, lw=0.8, label="perfect")
    for look, rows in _of_models(table, "observed"):
        reach = np.stack([rows["observed"] - rows["low"], rows["high"] - rows["observed"]])
        axes.errorbar(rows["mean_score"], rows["observed"], yerr=reach, fmt="none", ecolor=look["color"], lw=0.8)
        axes.plot(rows["mean_score"], rows["observed"], ms=4, **look)
    axes.set(xlabel="predicted probability", ylabel="observed share", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.set_aspect("equal")
    axes.legend(loc="upper left", title=_left_out(table, "observed"))
    return figure


@styled
def decision_curves(table: pd.DataFrame) -> Figure:
    """Net benefit of each model over the probability from which a segment is treated; bands are 95 % intervals.

    Parameters
    ----------
    table : of ``performance.decision_curve``, one split and repeat; models without probabilities are named

    Raises
    ------
    PredictionsError
        Several splits or repeats.
    """
    figure, axes = single(3.8)
    for look, rows in _of_models(table, "net_benefit"):
        axes.plot(rows["threshold"], rows["net_benefit"], **{**look, "marker": ""})
        axes.fill_between(rows["threshold"], rows["low"], rows["high"], color=look["color"], alpha=0.12, lw=0)
    for name, look in _TREATED.items():
        rows = table[table["model"] == name]
        axes.plot(rows["threshold"], rows["net_benefit"], lw=1.1, **look)
    # Treating all falls without end where thresholds are high; what matters lies above zero.
    top = max(0.05, float(table["high"].max()))
    axes.set(xlabel="threshold probability", ylabel="net benefit", xlim=(0, 1), ylim=(-0.3 * top, 1.08 * top))
    axes.legend(loc="upper right", title=_left_out(table, "net_benefit"))
    return figure


@styled
def subgroup_forest(table: pd.DataFrame) -> Figure:
    """AUC of each model in each part of the cohort with its clustered 95 % interval; small parts are named only.

    Parameters
    ----------
    table : of ``performance.subgroups``, one split and repeat

    Raises
    ------
    PredictionsError
        Several splits or repeats.
    """
    groups = table[["variable", "group", "n", "n_patients"]].drop_duplicates(["variable", "group"])
    named = models(table)
    figure, axes = single(1.3 + (0.2 + 0.14 * len(named)) * len(groups))
    place = {key: row for row, key in enumerate(groups[["variable", "group"]].itertuples(index=False, name=None))}
    for number, (look, rows) in enumerate(_of_models(table, "auc")):
        shift = 0.6 * ((number + 0.5) / len(named) - 0.5)
        at = [place[key] + shift for key in rows[["variable", "group"]].itertuples(index=False, name=None)]
        reach = np.stack([rows["auc"] - rows["low"], rows["high"] - rows["auc"]])
        axes.errorbar(rows["auc"], at, xerr=reach, fmt="none", ecolor=look["color"], lw=1.2)
        axes.plot(rows["auc"], at, ms=4, **{**look, "linestyle": ""})
    _withheld(axes, table, place)
    axes.axvline(0.5, color=GREY, lw=0.8)
    for edge in np.flatnonzero(groups["variable"].to_numpy()[1:] != groups["variable"].to_numpy()[:-1]):
        axes.axhline(edge + 0.5, color=GREY, lw=0.4)
    names = [f"{g.variable}: {g.group}\n{g.n} segments, {g.n_patients} patients" for g in groups.itertuples()]
    axes.set_yticks(range(len(groups)), names)
    axes.set(xlabel="AUC", ylabel="part of the cohort", xlim=(0, 1.01), ylim=(len(groups) - 0.5, -0.5))
    if table["auc"].notna().any():
        figure.legend(loc="outside upper center", ncols=2)
    return figure


def _of_models(table: pd.DataFrame, column: str) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    """Look and rows of each model that has numbers in a column."""
    runs = table[RUN[1:]].drop_duplicates()
    if len(runs) != 1:
        raise PredictionsError(f"found {runs.to_dict('records')}, expected one split and repeat")
    named = [model for model in models(table) if model not in _TREATED]
    foreign = [model for model in named if model not in LABELS]
    found = []
    for model in named:
        rows = table[(table["model"] == model) & table[column].notna()]
        if len(rows):
            found.append((model_look(model, foreign.index(model) if model in foreign else 0), rows))
    return found


def _left_out(table: pd.DataFrame, column: str) -> str | None:
    """Which models have no numbers in a column, in words."""
    named = [model for model in models(table) if table.loc[table["model"] == model, column].isna().all()]
    labels = [str(model_look(model)["label"]) for model in named]
    return f"without probabilities: {', '.join(labels)}" if labels else None


def _withheld(axes: Axes, table: pd.DataFrame, place: dict[Any, int]) -> None:
    """Say where a part is too small to show."""
    small = table[table["auc"].isna()].drop_duplicates(["variable", "group"])
    for row in small.itertuples():
        axes.text(0.02, place[row.variable, row.group], row.note, va="center", fontsize=7.5, color=GREY, bbox=_OPAQUE)
