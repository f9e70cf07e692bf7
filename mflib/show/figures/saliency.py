"""Plots of where the network looks, and of the segments that models get wrong."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mflib.base.words import PLANES
from mflib.show import planes, style

VISIBLE_FROM = 0.4  # of the maximum; what is below would veil the picture


@dataclass(frozen=True, eq=False)
class Case:
    """One region of interest with its saliency.

    Parameters
    ----------
    label : what stands above the row
    voxels : (ni, nj, nk) uint8, the region
    map : (ni, nj, nk) float32, saliency; negative values are not shown
    spacing_mm : voxel size along i, j, k
    """

    label: str
    voxels: NDArray[np.uint8]
    map: NDArray[np.float32]
    spacing_mm: tuple[float, float, float]


@style.styled
def saliency_gallery(
    cases: Sequence[Case], visible_from: float = VISIBLE_FROM, opacity: float = planes.OPACITY
) -> Figure:
    """Three planes through the most salient voxel of each region, the saliency laid over the grey picture.

    Parameters
    ----------
    cases : one row each; thin lines show where the planes of a row cut each other
    visible_from, opacity : of the colours, see ``planes.veil``
    """
    widest = np.max([np.multiply(case.voxels.shape, case.spacing_mm) for case in cases], axis=0)
    figure, rows = style.triplets(len(cases), widest, 1.28)
    veil = planes.veil(visible_from, opacity)
    for row, case in zip(rows, cases, strict=True):
        cut, salient = _most_salient(case.map), case.map / (max(float(case.map.max()), 0) or 1)
        for panel, plane in zip(row, PLANES, strict=True):
            planes.draw(panel, case.voxels, case.spacing_mm, plane, cut[plane[3]])
            look: dict[str, Any] = {"cmap": veil, "vmax": 1, "interpolation": "nearest"}
            planes.draw(panel, salient, case.spacing_mm, plane, cut[plane[3]], **look)
            planes.crosshair(panel, plane, tuple(np.add(cut, 0.5) * case.spacing_mm))
        row[0].set_title(case.label, loc="left")
    height = figure.get_figheight()
    bar = figure.add_axes((0.1, 0.5 / height, 0.88, 0.12 / height), label="<colorbar>", facecolor="dimgrey")
    mapped = ScalarMappable(Normalize(0, 1), veil)
    figure.colorbar(mapped, bar, orientation="horizontal", label="saliency / its maximum")
    return figure


@style.styled
def saliency_checks(table: pd.DataFrame, baseline: Mapping[str, float]) -> Figure:
    """Likeness of saliency maps to the original ones while the network's weights are forgotten from the top.

    Parameters
    ----------
    table : ``randomised volume similarity``, as ``saliency.weight_check``
    baseline : likeness of other maps, by what they are of; a horizontal line each
    """
    steps = list(dict.fromkeys(table["randomised"]))
    figure, axes = style.single(3.4)
    for position, step in enumerate(steps):
        values = table.loc[table["randomised"] == step, "similarity"].to_numpy(np.float64)
        axes.plot(position + style.spread(len(values)), values, "o", color=style.BLUE, ms=3, alpha=0.45, mew=0)
    means = table.groupby("randomised")["similarity"].mean()[steps]
    axes.plot(range(len(steps)), means, "o-", color=style.BLUE, mfc=style.PAPER, mew=1.6)
    axes.set_ylim(min(-0.25, table["similarity"].min() - 0.05, *(v - 0.05 for v in baseline.values())), 1.05)
    _name_levels(axes, {"no likeness": 0.0, **baseline})
    axes.set_xticks(range(len(steps)), [steps[0], *(f"+ {step}" for step in steps[1:])])
    axes.set(xlabel="layers with fresh weights", ylabel="rank correlation with the original map")
    axes.set_xlim(-0.5, len(steps) - 0.5)
    return figure


@style.styled
def saliency_depth(profile: NDArray[np.float64], size_mm: float, groups: Mapping[str, NDArray[np.float64]]) -> Figure:
    """Share of the saliency along the depth of the region of interest, beside an even one.

    Parameters
    ----------
    profile : (n,) share of all maps at each depth, as ``saliency.by_depth``
    size_mm : extent of the region in depth
    groups : the same by group, (m,) each; may be empty
    """
    figure, axes = style.single(3.0)
    axes.axhline(100 / size_mm, color=style.GREY, linestyle="--", lw=1.2, label="even")
    axes.plot(*_per_mm(profile, size_mm), color=style.INK, lw=2.4, label="all regions")
    axes.set_prop_cycle(**style.LINES)
    for label, values in groups.items():
        axes.plot(*_per_mm(values, size_mm), label=label)
    axes.set(xlabel="depth below the top of the region (mm)", ylabel="saliency (% per mm)", xlim=(0, size_mm))
    axes.set_ylim(bottom=0)
    axes.legend()
    return figure


def _most_salient(map: NDArray[np.float32]) -> tuple[int, ...]:
    """The first voxel of the maximum, the middle where nothing is salient."""
    if map.max() <= 0:
        return tuple(n // 2 for n in map.shape)
    return tuple(int(index) for index in np.unravel_index(map.argmax(), map.shape))


def _name_levels(axes: Axes, levels: Mapping[str, float]) -> None:
    """A horizontal line at each level, named beside the axes; names that would meet move up."""
    low, high = axes.get_ylim()
    free, looks = low, cycle(list(zip(*style.LINES.values(), strict=True))[1:])
    for name, level in sorted(levels.items(), key=lambda item: item[1]):
        colour, line = (style.GREY, "-") if level == 0 else next(looks)
        axes.axhline(level, color=colour, linestyle=line, lw=1.2, zorder=1)
        lines = textwrap.wrap(name, 20)
        half = 0.03 * len(lines) * (high - low)
        middle = max(level, free + half)
        axes.text(1.015, middle, "\n".join(lines), transform=axes.get_yaxis_transform(), va="center", color=colour)
        free = middle + half


def _per_mm(profile: NDArray[np.float64], size_mm: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Depth of the voxels' centres in mm, and their share in per cent per mm."""
    step = size_mm / len(profile)
    return np.arange(0.5, len(profile)) * step, 100 * profile / step
