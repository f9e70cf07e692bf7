"""Plots of who was studied, how the volumes were recorded, and how far people agree."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from textwrap import wrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mflib.base.words import PLANES, segment
from mflib.data.preprocess import BLACK_SHADOW, SATURATED_BONE, WEAK_CONTRAST
from mflib.data.quality import VOXELS, Thumbnail, patients
from mflib.show import planes, style

_BORDER, _GAP = 0.8, 0.9  # inside and between the boxes of the flow diagram, in lines of text


@style.styled
def flow_of_patients(flow: pd.DataFrame) -> Figure:
    """Boxes from top to bottom, exclusions to the side (STARD).

    Parameters
    ----------
    flow : rows in order, ``stage``, ``participants``, ``segments`` (nullable), ``reason``. Rows of the stage
        "excluded" that follow each other share one box beside the arrow; every other row is a box of its own. A row
        without participants counts segments.
    """
    boxes = _flow_boxes(flow)
    total = sum(len(lines) + _BORDER + _GAP for _, lines in boxes)
    figure, axes = style.single(max(1.2, 0.19 * total))
    top, above = total, None
    for excluded, lines in boxes:
        bottom = top - len(lines) - _BORDER
        middle = (top + bottom) / 2
        left, right, start = (0.5, 0.98, middle) if excluded else (0.02, 0.46, above)
        end = (0.5, middle) if excluded else (0.24, top)
        if start is not None:
            axes.annotate("", end, (0.24, start), arrowprops={"arrowstyle": "-|>", "color": style.INK})
        edges = ([left, right, right, left, left], [bottom, bottom, top, top, bottom])
        axes.fill(*edges, facecolor=style.PAPER, edgecolor=style.INK, linewidth=0.9, zorder=2)
        axes.text(left + 0.015, middle, "\n".join(lines), va="center", zorder=3, linespacing=1.25)
        above = above if excluded else bottom
        top = bottom - _GAP
    axes.set(xlim=(0, 1), ylim=(0, total))
    axes.axis("off")
    return figure


@style.styled
def reader_table(table: pd.DataFrame) -> Figure:
    """Segments by the grades of both readers.

    Parameters
    ----------
    table : (4, 4) counts, reader 1 in rows, reader 2 in columns, as ``Agreement.table``
    """
    figure, axes = style.single(3.2)
    style.heat_map(axes, table, ".0f", "segments", cmap="Blues", vmin=0, vmax=max(1, table.to_numpy().max()))
    axes.set(xlabel="grade by reader 2", ylabel="grade by reader 1")
    return figure


def _flow_boxes(flow: pd.DataFrame) -> list[tuple[bool, list[str]]]:
    """Whether each box holds exclusions, and its lines of text."""
    boxes: list[tuple[bool, list[str]]] = []
    for row in flow.to_dict("records"):
        excluded = row["stage"] == "excluded"
        if not excluded:
            segments = "" if pd.isna(row["segments"]) else f", {row['segments']} segments"
            boxes.append((False, [str(row["stage"]).capitalize(), f"{row['participants']} patients" + segments]))
            continue
        count = row["participants"] or row["segments"]
        if not boxes or not boxes[-1][0]:
            boxes.append((True, ["Excluded" if row["participants"] else "Segments excluded"]))
        boxes[-1][1].extend(wrap(f"{count}  {row['reason']}", 44, subsequent_indent="     "))
    return boxes


_DOTS: dict[str, Any] = {"ms": 3.2, "mew": 0, "alpha": 0.7}
_ACROSS = 4  # thumbnails in a row
_TITLE_LINE = 0.15  # inches of a line of their titles, one of which stays empty


@style.styled
def quality_overview(table: pd.DataFrame) -> Figure:
    """Grey levels of bone and shadow of every volume, and its mean brightness by its gain.

    Parameters
    ----------
    table : of ``quality.measure``. Shaded are grey levels that a normalisation cannot be trusted with
    """
    figure, axes = style.panels(1, 2, 3.2)
    used = table.dropna(subset=["bone", "shadow"])
    _shade(axes[0, 0])
    looks = {False: ("nothing stands out", style.BLUE, "o"), True: ("flagged", style.VERMILION, "D")}
    for flagged, (name, colour, marker) in looks.items():
        rows = used[(used["flags"] != "") == flagged]
        label = f"{name} ({len(rows)})"
        axes[0, 0].plot(rows["shadow"], rows["bone"], marker, color=colour, label=label, **_DOTS)
    axes[0, 0].set(xlabel="grey level of the shadow", ylabel="grey level of the bone")
    axes[0, 0].set(xlim=(0, max([60, *used["shadow"] + 10])), ylim=(min([180, *used["bone"] - 10]), 260))
    axes[0, 0].legend(loc="lower right", handletextpad=0.2)
    for (column, label), (colour, marker) in zip(VOXELS.items(), ((style.GREY, "o"), (style.SKY, "^")), strict=True):
        axes[0, 1].plot(used["gain_db"], used[column], marker, color=colour, label=label, **_DOTS)
    axes[0, 1].set(xlabel="gain against the cohort's median (dB)", ylabel="mean grey level of the ROI")
    axes[0, 1].legend(loc="best", handletextpad=0.2)
    return figure


@style.styled
def intensity_drift(table: pd.DataFrame) -> Figure:
    """Mean brightness of each patient by the day of acquisition and by site.

    Parameters
    ----------
    table : of ``quality.measure``; a single day, or none, has no row
    """
    used = table[table["status"] == "annotated"]
    rows = ["day", "site"] if patients(used, "roi_mean_raw")["day"].nunique() > 1 else ["site"]
    figure, axes = style.panels(len(rows), len(VOXELS), 2.6 * len(rows), sharey="row")
    for row, by in zip(axes, rows, strict=True):
        for panel, (column, name) in zip(row, VOXELS.items(), strict=True):
            means = patients(used, column)
            if by == "day":
                panel.plot(means["day"], means["mean"], "o", color=style.BLUE, **_DOTS)
                panel.set_xlabel("days since the first acquisition")
            else:
                of_site = means.assign(site=means["site"].fillna("not stated")).groupby("site")["mean"]
                groups = {str(site): group.to_numpy() for site, group in of_site}
                style.box_and_points(panel, list(groups.values()), list(groups))
                panel.set_xlabel("site")
            panel.set_title(name)
        row[0].set_ylabel("mean grey level of the ROI")
    return figure


@style.styled
def volume_thumbnails(table: pd.DataFrame, pictures: Mapping[str, Thumbnail]) -> Figure:
    """The middle transverse plane of volumes, with region of interest and reference points, and what stands out.

    Parameters
    ----------
    table : rows of ``quality.measure``, in the order in which they are to be shown
    pictures : by path; a volume without one cannot be read
    """
    shown = table.to_dict("records")
    titles = [_title(row) for row in shown]
    # As high as the longest title and the tallest picture: what is left over would part the rows.
    lines = max((title.count("\n") + 1 for title in titles), default=1)
    shapes = [pictures[row["path"]].pixels.shape for row in shown if row["path"] in pictures]
    tallest = max((height / width for height, width in shapes), default=0.3)
    rows = max(1, -(-len(table) // _ACROSS))
    figure, axes = style.panels(rows, _ACROSS, rows * (_TITLE_LINE * (lines + 1) + style.WIDTH / _ACROSS * tallest))
    for panel in axes.flat:
        panel.axis("off")
    for panel, row, title in zip(axes.flat, shown, titles, strict=False):
        panel.set_title(title, loc="left", fontsize=style.SMALLEST)
        if row["path"] in pictures:
            _picture(panel, pictures[row["path"]])
    if table.empty:
        axes[0, 0].text(0, 0.5, "no volume stands out", va="center")
    return figure


def _title(row: Mapping[Hashable, Any]) -> str:
    """The key of a volume, and in the lines below it what stands out."""
    flags = [line for flag in row["flags"].split("; ") for line in wrap(flag, 29)]
    return "\n".join([segment(row), *flags])


def _shade(axes: Axes) -> None:
    """What the flags of ``preprocess.References`` call saturated, black or weak."""
    shade: dict[str, Any] = {"color": style.ORANGE, "alpha": 0.2, "linewidth": 0}
    axes.axhspan(SATURATED_BONE, 260, **shade)
    axes.axvspan(0, BLACK_SHADOW, **shade)
    grey = np.array([0, 260])
    axes.fill_between(grey, 0, grey + WEAK_CONTRAST, **shade)


def _picture(axes: Axes, thumbnail: Thumbnail) -> None:
    height, width = thumbnail.pixels.shape
    axes.imshow(thumbnail.pixels, cmap="gray", vmin=0, vmax=255, extent=(0, width, height, 0))
    if thumbnail.roi:
        left, top, wide, high = thumbnail.roi
        planes.region(axes, PLANES[0], (left * width, top * height), ((left + wide) * width, (top + high) * height))
    for name, place in (("shadow", thumbnail.shadow), ("bone", thumbnail.bone)):
        if place:
            planes.point(axes, PLANES[0], name, (place[0] * width, place[1] * height))


@style.styled
def bland_altman(segments: pd.DataFrame, limits: tuple[float, float, float] | None) -> Figure:
    """Difference of two annotators' normalised means over their average, with bias and limits of agreement.

    Parameters
    ----------
    segments : ``mean_first`` and ``mean_second`` of each segment, in grey levels
    limits : lower limit of agreement, bias, upper limit; None where there are too few segments
    """
    figure, axes = style.single(3.2)
    first, second = segments["mean_first"].astype(float), segments["mean_second"].astype(float)
    axes.axhline(0, color=style.GREY, lw=0.8)
    axes.plot((first + second) / 2, second - first, "o", color=style.BLUE, ms=4, alpha=0.6, mew=0)
    looks = (("lower limit", ":"), ("bias", "-"), ("upper limit", ":"))
    for (name, line), level in zip(looks, limits or (), strict=False):
        axes.axhline(level, color=style.VERMILION, ls=line)
        text = f"{name} {level:.1f}".replace("-", "−")
        where: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "ha": "right", "va": "bottom"}
        axes.text(1, level, text, color=style.VERMILION, fontsize=style.SMALLEST, **where)
    axes.margins(y=0.15)
    axes.set(xlabel="mean of both annotators (grey level)", ylabel="second − first (grey levels)")
    return figure
