"""Plots of how the volumes were recorded: reference points and gain, drift of brightness, volumes that stand out."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from textwrap import wrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mflib.figures.style import BLUE, GREY, ORANGE, SKY, VERMILION, WIDTH, box_and_points, panels, styled
from mflib.preprocess import BLACK_SHADOW, SATURATED_BONE, WEAK_CONTRAST
from mflib.quality import Thumbnail
from mflib.quality.trend import VOXELS, patients

_ACROSS = 4  # thumbnails in a row
_LINE = 0.15  # inches of a line of their titles, one of which stays empty


@styled
def quality_overview(table: pd.DataFrame) -> Figure:
    """Grey levels of bone and shadow of every volume, and its mean brightness by its gain.

    Parameters
    ----------
    table : of ``quality.measure``. Shaded are grey levels that a normalisation cannot be trusted with
    """
    figure, axes = panels(1, 2, 3.2)
    used = table.dropna(subset=["bone", "shadow"])
    flagged = used["flags"] != ""
    _shade(axes[0, 0])
    for rows, look in ((~flagged, {"color": BLUE, "marker": "o"}), (flagged, {"color": VERMILION, "marker": "D"})):
        label = f"{'flagged' if look['marker'] == 'D' else 'nothing stands out'} ({rows.sum()})"
        axes[0, 0].plot(used["shadow"][rows], used["bone"][rows], ls="", ms=3.2, mew=0, alpha=0.7, label=label, **look)
    axes[0, 0].set(xlabel="grey level of the shadow", ylabel="grey level of the bone")
    axes[0, 0].set(xlim=(0, max([60, *used["shadow"] + 10])), ylim=(min([180, *used["bone"] - 10]), 260))
    axes[0, 0].legend(loc="lower right", handletextpad=0.2)
    for (column, label), (colour, marker) in zip(VOXELS.items(), ((GREY, "o"), (SKY, "^")), strict=True):
        look = {"color": colour, "marker": marker}
        axes[0, 1].plot(used["gain_db"], used[column], ls="", ms=3.2, mew=0, alpha=0.7, label=label, **look)
    axes[0, 1].set(xlabel="gain against the cohort's median (dB)", ylabel="mean grey level of the ROI")
    axes[0, 1].legend(loc="best", handletextpad=0.2)
    return figure


@styled
def intensity_drift(table: pd.DataFrame) -> Figure:
    """Mean brightness of each patient by the day of acquisition and by site.

    Parameters
    ----------
    table : of ``quality.measure``; a single day, or none, has no row
    """
    used = table[table["status"] == "annotated"]
    rows = ["day", "site"] if patients(used, "roi_mean_raw")["day"].nunique() > 1 else ["site"]
    figure, axes = panels(len(rows), len(VOXELS), 2.6 * len(rows), sharey="row")
    for row, by in zip(axes, rows, strict=True):
        for panel, (column, name) in zip(row, VOXELS.items(), strict=True):
            means = patients(used, column)
            _over_time(panel, means) if by == "day" else _by_site(panel, means)
            panel.set_title(name)
        row[0].set_ylabel("mean grey level of the ROI")
    return figure


@styled
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
    figure, axes = panels(rows, _ACROSS, rows * (_LINE * (lines + 1) + WIDTH / _ACROSS * tallest))
    for panel in axes.flat:
        panel.axis("off")
    for panel, row, title in zip(axes.flat, shown, titles, strict=False):
        panel.set_title(title, loc="left", fontsize=7)
        if row["path"] in pictures:
            _picture(panel, pictures[row["path"]])
    if table.empty:
        axes[0, 0].text(0, 0.5, "no volume stands out", va="center")
    return figure


def _title(row: Mapping[Hashable, Any]) -> str:
    """The key of a volume, and in the lines below it what stands out."""
    words = [line for flag in row["flags"].split("; ") for line in wrap(flag, 29)]
    return "\n".join([f"{row['participant_id']} {row['level']} {row['lat']}", *words])


def _shade(axes: Axes) -> None:
    """What the flags of ``preprocess.References`` call saturated, black or weak."""
    shade: dict[str, Any] = {"color": ORANGE, "alpha": 0.2, "linewidth": 0}
    axes.axhspan(SATURATED_BONE, 260, **shade)
    axes.axvspan(0, BLACK_SHADOW, **shade)
    grey = np.array([0, 260])
    axes.fill_between(grey, 0, grey + WEAK_CONTRAST, **shade)


def _over_time(axes: Axes, means: pd.DataFrame) -> None:
    axes.plot(means["day"], means["mean"], "o", color=BLUE, ms=3.5, mew=0, alpha=0.7)
    axes.set_xlabel("days since the first acquisition")


def _by_site(axes: Axes, means: pd.DataFrame) -> None:
    groups = list(means.assign(site=means["site"].fillna("not stated")).groupby("site")["mean"])
    box_and_points(axes, [group.to_numpy() for _, group in groups], [str(site) for site, _ in groups])
    axes.set_xlabel("site")


def _picture(axes: Axes, thumbnail: Thumbnail) -> None:
    height, width = thumbnail.pixels.shape
    axes.imshow(thumbnail.pixels, cmap="gray", vmin=0, vmax=255)
    if thumbnail.roi:
        left, top, wide, high = np.multiply(thumbnail.roi, (width, height, width, height)) - (0.5, 0.5, 0, 0)
        corners = [left, left + wide, left + wide, left, left], [top, top, top + high, top + high, top]
        axes.plot(*corners, color=SKY, linewidth=1)
    for point, marker, colour in ((thumbnail.bone, "o", ORANGE), (thumbnail.shadow, "s", VERMILION)):
        if point:
            x, y = point[0] * width - 0.5, point[1] * height - 0.5
            axes.plot([x], [y], marker, mfc="none", mec=colour, ms=5, mew=1.2)
