"""Plots of who was studied, and of what they can show: flow of patients, BMI and pain, readers, grades, power."""

from __future__ import annotations

from itertools import cycle
from textwrap import wrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import linregress, t

from mflib.clinical import WANTED, Correlation
from mflib.figures.style import (
    BLUE,
    GRADE_COLOURS,
    GRADE_NAMES,
    GREEN,
    GREY,
    PURPLE,
    VERMILION,
    heat_map,
    panels,
    single,
    styled,
)
from mflib.volume import LEVELS, SIDES

_LINE, _GAP = 1.0, 0.9  # heights in the flow diagram, in lines of text


@styled
def flow_of_patients(flow: pd.DataFrame) -> Figure:
    """Boxes from top to bottom, exclusions to the side (STARD).

    Parameters
    ----------
    flow : rows in order, ``stage``, ``participants``, ``segments`` (nullable), ``reason``. Rows of the stage
        "excluded" that follow each other share one box beside the arrow; every other row is a box of its own. A row
        without participants counts segments.
    """
    boxes = _flow_boxes(flow)
    total = sum(_box_height(lines) + _GAP for _, lines in boxes)
    figure, axes = single(max(1.2, 0.19 * total))
    top, above = total, None
    for excluded, lines in boxes:
        height = _box_height(lines)
        middle = top - height / 2
        if excluded:
            axes.annotate("", (0.5, middle), (0.24, middle), arrowprops={"arrowstyle": "-|>", "color": "black"})
            _box(axes, 0.5, 0.98, middle, height, lines)
        else:
            if above is not None:
                axes.annotate("", (0.24, top), (0.24, above), arrowprops={"arrowstyle": "-|>", "color": "black"})
            _box(axes, 0.02, 0.46, middle, height, lines)
            above = top - height
        top -= height + _GAP
    axes.set(xlim=(0, 1), ylim=(0, total))
    axes.axis("off")
    return figure


@styled
def bmi_vas(patients: pd.DataFrame, result: Correlation) -> Figure:
    """Body mass index against pain, with the regression line and the 95 % band of its mean.

    Parameters
    ----------
    patients : one row per patient with ``bmi`` and ``vas``
    result : of ``clinical.bmi_vas``; where it found nothing to correlate, the reason stands in place of the line
    """
    figure, axes = single(3.6)
    pairs = patients.reindex(columns=["bmi", "vas"]).astype(np.float64).dropna()
    if result.r is not None:
        _regression(axes, pairs)
    if pairs.empty:
        axes.set_xlim(15, 30)
    axes.plot(pairs["bmi"], pairs["vas"], "o", color=BLUE, alpha=0.7, mew=0)
    axes.text(0.02, 0.98, "\n".join(wrap(str(result), 60)), transform=axes.transAxes, va="top")
    axes.set(xlabel="body mass index (kg/m²)", ylabel="pain, visual analogue scale (points)", ylim=(-0.5, 11.5))
    return figure


@styled
def reader_table(table: pd.DataFrame) -> Figure:
    """Segments by the grades of both readers.

    Parameters
    ----------
    table : (4, 4) counts, reader 1 in rows, reader 2 in columns, as ``Agreement.table``
    """
    figure, axes = single(3.2)
    image = heat_map(axes, table, ".0f", cmap="Blues", vmin=0, vmax=max(1, table.to_numpy().max()))
    axes.set(xlabel="grade by reader 2", ylabel="grade by reader 1")
    figure.colorbar(image, ax=axes, label="segments")
    return figure


@styled
def grades_overview(segments: pd.DataFrame) -> Figure:
    """Segments of each grade by level and side.

    Parameters
    ----------
    segments : ``level``, ``lat``, ``grade`` (0-3)
    """
    figure, axes = panels(1, len(LEVELS), 2.9, sharey=True)
    for panel, level in zip(axes[0], LEVELS, strict=True):
        of_level = segments[segments["level"] == level]
        counts = pd.crosstab(of_level["lat"], of_level["grade"]).reindex(index=SIDES, columns=range(4), fill_value=0)
        bottom = np.zeros(len(SIDES))
        for grade, (name, colour) in enumerate(zip(GRADE_NAMES, GRADE_COLOURS, strict=True)):
            height = counts[grade].to_numpy()
            panel.bar(SIDES, height, bottom=bottom, color=colour, edgecolor="black", linewidth=0.6, label=name)
            bottom += height
        panel.set_xlabel(level)
    axes[0, 0].set_ylabel("segments")
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles[::-1], names[::-1], loc="outside right center", title="infiltration")
    return figure


@styled
def power_curve(table: pd.DataFrame, wanted: float = WANTED) -> Figure:
    """Power by the number of patients, one curve for each assumption about how alike a patient's segments are.

    Parameters
    ----------
    table : of ``clinical.power_by_patients``; dots mark this cohort
    wanted : power that is marked by a line
    """
    figure, axes = single(3.4)
    looks = cycle([(BLUE, "-"), (VERMILION, "--"), (GREEN, "-."), (PURPLE, ":")])
    for (name, curve), (colour, line) in zip(table.groupby("segments_are", sort=False), looks, strict=False):
        label = f"{name}: design effect {curve['design_effect'].iloc[0]:.1f}"
        axes.plot(curve["patients"], curve["power"], color=colour, linestyle=line, label=label)
        here = curve[curve["here"]]
        axes.plot(here["patients"], here["power"], "o", color=colour, ms=6)
    axes.axhline(wanted, color=GREY, linewidth=0.8)
    axes.axvline(table.loc[table["here"], "patients"].iloc[0], color=GREY, linewidth=0.8, linestyle=":")
    axes.set(xlabel="patients", ylabel="power", ylim=(0, 1.02), xlim=(0, table["patients"].max()))
    axes.legend(loc="lower right", title="a patient's segments are")
    return figure


def _flow_boxes(flow: pd.DataFrame) -> list[tuple[bool, list[str]]]:
    """Whether each box holds exclusions, and its lines of text."""
    boxes: list[tuple[bool, list[str]]] = []
    for row in flow.to_dict("records"):
        excluded = row["stage"] == "excluded"
        if not excluded:
            segments = "" if pd.isna(row["segments"]) else f", {row['segments']} segments"
            boxes.append((False, [str(row["stage"]).capitalize(), f"{row['participants']} patients{segments}"]))
            continue
        count = row["participants"] or row["segments"]
        if not boxes or not boxes[-1][0]:
            boxes.append((True, ["Excluded" if row["participants"] else "Segments excluded"]))
        boxes[-1][1].extend(wrap(f"{count}  {row['reason']}", 44, subsequent_indent="     "))
    return boxes


def _box_height(lines: list[str]) -> float:
    return (len(lines) + 0.8) * _LINE


def _box(axes: Axes, left: float, right: float, middle: float, height: float, lines: list[str]) -> None:
    corners = ([left, right, right, left, left], [middle + side * height / 2 for side in (-1, -1, 1, 1, -1)])
    axes.fill(*corners, facecolor="white", edgecolor="black", linewidth=0.9, zorder=2)
    axes.text(left + 0.015, middle, "\n".join(lines), va="center", zorder=3, linespacing=1.25)


def _regression(axes: Axes, pairs: pd.DataFrame) -> None:
    """Least squares line and the 95 % confidence band of the mean."""
    x, y = pairs["bmi"].to_numpy(), pairs["vas"].to_numpy()
    fit = linregress(x, y)
    grid = np.linspace(x.min(), x.max(), 100)
    line = fit.intercept + fit.slope * grid
    residual = np.sqrt(np.sum((y - fit.intercept - fit.slope * x) ** 2) / (len(x) - 2))
    distance = (grid - x.mean()) ** 2 / np.sum((x - x.mean()) ** 2)
    reach = t.ppf(0.975, len(x) - 2) * residual * np.sqrt(1 / len(x) + distance)
    axes.fill_between(grid, line - reach, line + reach, color=VERMILION, alpha=0.2, linewidth=0)
    axes.plot(grid, line, color=VERMILION)
