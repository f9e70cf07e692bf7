"""Plots of volumes and their texture: planes, grey levels, co-occurrence, Nakagami, features by grade."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from mflib.base.words import GRADE_NAMES, KEY, PLANES
from mflib.data.volume import Annotation
from mflib.models.texture.intensity import Fit, densities
from mflib.show import planes, style

Voxels = NDArray[np.uint8]


@style.styled
def three_planes(
    volumes: Sequence[tuple[str, Voxels]], spacing_mm: tuple[float, float, float], annotation: Annotation
) -> Figure:
    """Transverse, sagittal and coronal planes through the middle of the region of interest, in mm.

    Parameters
    ----------
    volumes : (label, voxels (ni, nj, nk) uint8), one row of planes each, all of one shape and annotation
    spacing_mm : voxel size along i, j, k
    annotation : the ROI is drawn as a box, the reference points as projections onto each plane
    """
    figure, axes = style.triplets(len(volumes), np.multiply(volumes[0][1].shape, spacing_mm), 0.95)
    first = np.array(annotation.roi_start)
    corners = first * spacing_mm, (first + annotation.roi_size) * spacing_mm
    points = {"shadow": annotation.shadow, "bone": annotation.bone}
    for row, (label, voxels) in zip(axes, volumes, strict=True):
        for panel, plane in zip(row, PLANES, strict=True):
            cut = annotation.roi_start[plane[3]] + annotation.roi_size[plane[3]] // 2
            planes.draw(panel, voxels, spacing_mm, plane, cut)
            planes.region(panel, plane, *map(tuple, corners))
            for name, at in points.items():
                planes.point(panel, plane, name, tuple(np.add(at, 0.5) * spacing_mm))
        row[0].set_title(label, loc="left")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="lower center", ncols=3)
    return figure


@style.styled
def network_inputs(cases: Sequence[tuple[str, Voxels, Voxels, NDArray[np.float32]]]) -> Figure:
    """Transverse planes of regions of interest: as recorded, gain-normalised, and as the network sees them.

    Parameters
    ----------
    cases : (label, recorded and normalised region (ni, nj, nk) uint8, network input (mi, mj, mk) float32), one column
        each; the inputs have one grey scale, from -3 to 3
    """
    names = ("as recorded", "gain-normalised", "network input")
    figure, axes = style.panels(3, len(cases), 5.2, subplot_kw={"xticks": [], "yticks": []})
    for column, (label, raw, normalised, seen) in zip(axes.T, cases, strict=True):
        grey: tuple[tuple[NDArray[Any], int, int], ...] = ((raw, 0, 255), (normalised, 0, 255), (seen, -3, 3))
        for panel, (voxels, low, high) in zip(column, grey, strict=True):
            middle = planes.slab(voxels, PLANES[0], voxels.shape[2] // 2)
            panel.imshow(middle, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
        column[0].set_title(label)
    for panel, name in zip(axes[:, 0], names, strict=True):
        panel.set_ylabel(name)
    figure.supxlabel("lateral to the right, depth downwards", fontsize=9)
    return figure


@style.styled
def co_occurrence(patch: NDArray[np.integer], offset: tuple[int, int], matrix: NDArray[np.integer]) -> Figure:
    """How a co-occurrence matrix is counted: a patch of grey levels with one kind of pair marked, and its matrix.

    Parameters
    ----------
    patch : (right, down) grey levels of a few voxels
    offset : from the first voxel of a pair to the second, right and down
    matrix : (levels, levels) counts of that offset in the patch; the fullest cell off the diagonal is marked, with its
        pairs in the patch
    """
    figure, axes = style.panels(1, 2, 3.1)
    left, right = axes[0]
    style.heat_map(left, pd.DataFrame(patch.T), ".0f", cmap="gray", vmin=0, vmax=len(matrix) - 1)
    style.heat_map(right, pd.DataFrame(matrix), ".0f", vmin=0)
    off_diagonal = np.where(np.eye(len(matrix), dtype=bool), 0, matrix)
    row, column = np.unravel_index(off_diagonal.argmax(), matrix.shape)
    right.add_patch(Rectangle((float(column), float(row)), 1, 1, fill=False, ec=style.VERMILION, lw=2.5))
    for x, y in np.argwhere(patch[: len(patch) - offset[0], : patch.shape[1] - offset[1]] >= 0):
        there = patch[x + offset[0], y + offset[1]]
        if (patch[x, y], there) == (row, column):
            arrow = {"arrowstyle": "-|>", "color": style.VERMILION, "lw": 1.8, "shrinkA": 7, "shrinkB": 7}
            left.annotate("", (x + offset[0] + 0.5, y + offset[1] + 0.5), (x + 0.5, y + 0.5), arrowprops=arrow)
    left.set(xlabel="lateral (voxels)", ylabel="depth (voxels)")
    right.set(xlabel="grey level of the neighbour", ylabel="grey level of the voxel")
    return figure


@style.styled
def glcm(matrices: Mapping[str, NDArray[np.integer]]) -> Figure:
    """Grey-level co-occurrence matrices, counts on one logarithmic colour scale; pairs that never occur stay grey.

    Parameters
    ----------
    matrices : (levels, levels) counts of voxel pairs by what they are of, one or two
    """
    highest = max(2, *(matrix.max() for matrix in matrices.values()))
    figure, axes = style.panels(1, len(matrices), 4.2 if len(matrices) == 1 else 3.2)
    for panel, (label, matrix) in zip(axes[0], matrices.items(), strict=True):
        panel.set_facecolor("lightgrey")
        image = panel.imshow(
            np.ma.masked_equal(matrix, 0), origin="lower", norm=LogNorm(vmin=1, vmax=highest), interpolation="nearest"
        )
        panel.set_title(label)
        panel.set(xlabel="grey level of the neighbour", ylabel="grey level of the voxel")
    figure.colorbar(image, ax=axes, label="voxel pairs")
    return figure


@style.styled
def under_gain(series: pd.DataFrame) -> Figure:
    """Features of one region under another gain: as recorded, and after normalisation with the two points.

    Parameters
    ----------
    series : ``gain_db``, ``voxels`` ("as recorded" or "gain-normalised"), ``feature``, ``value``, as
        ``robustness.under_gain``
    """
    features = list(series["feature"].unique())
    figure, axes = style.grid(features, 1.9, 0.6)
    looks = {"as recorded": (style.VERMILION, "--", "s"), "gain-normalised": (style.BLUE, "-", "o")}
    for panel, feature in zip(axes, features, strict=True):
        for kind, (colour, line, marker) in looks.items():
            rows = series[(series["feature"] == feature) & (series["voxels"] == kind)]
            panel.plot(rows["gain_db"], rows["value"], marker + line, color=colour, ms=4, label=kind)
        panel.set_ylabel(feature)
    figure.supxlabel("change of gain (dB)", fontsize=9)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


@style.styled
def repeatability(table: pd.DataFrame) -> Figure:
    """ICC(2,1) of features by what was moved: the median over the GLCM style.grid for each of its properties.

    Parameters
    ----------
    table : ``perturbation``, ``feature``, ``icc``, as ``reliability.repeatability``
    """
    of_glcm = table["feature"].str.startswith("glcm_")
    names = table["feature"].where(~of_glcm, "GLCM " + table["feature"].str.rsplit("_").str[-1])
    kinds, rows = list(dict.fromkeys(table["perturbation"])), list(dict.fromkeys(names))
    medians = table.assign(feature=names).pivot_table(
        index="feature", columns="perturbation", values="icc", aggfunc="median"
    )
    figure, axes = style.single(0.9 + 0.29 * len(rows))
    style.heat_map(axes, medians.loc[rows, kinds], ".2f", "ICC(2,1)", vmin=0, vmax=1)
    axes.set(xlabel="what was moved", ylabel="feature")
    return figure


@style.styled
def nakagami_fit(voxels: Voxels, fit: Fit, dynamic_range_db: float | None) -> Figure:
    """The histogram that a Nakagami fit saw, and the Gamma density that it found.

    Parameters
    ----------
    voxels : uint8, any shape: the region that was fitted
    fit : of ``nakagami.fit``
    dynamic_range_db : of the fit to intensities, shown in dB. None for the fit to grey levels without zeros.
    """
    x, share, density = densities(voxels, fit, dynamic_range_db)
    figure, axes = style.single(3.0)
    label = "grey level" if dynamic_range_db is None else "intensity (dB re grey level 255)"
    axes.bar(x, share, width=x[1] - x[0], color=style.BLUE, alpha=0.5, label="region")
    axes.plot(x, density, color=style.VERMILION, label=f"Gamma, m = {fit.m:.2f}")
    axes.set(xlabel=label, ylabel="density")
    axes.legend()
    return figure


@style.styled
def feature_by_grade(texture: pd.DataFrame, segments: pd.DataFrame, columns: Sequence[str]) -> Figure:
    """Boxes of texture features by MRI grade, every segment a point, with the number of segments.

    Parameters
    ----------
    texture : the texture table: KEY, then features
    segments : KEY and ``grade`` (0-3)
    columns : features to show, two to a row
    """
    table = segments[[*KEY, "grade"]].merge(texture[[*KEY, *columns]], on=KEY, validate="one_to_one")
    figure, axes = style.grid(columns, 2.3)
    for panel, column in zip(axes, columns, strict=True):
        groups = [table.loc[table["grade"] == grade, column].to_numpy(np.float64) for grade in range(4)]
        style.box_and_points(panel, groups, GRADE_NAMES)
        panel.set_ylabel(column)
    figure.supxlabel("fatty infiltration on MRI, segments", fontsize=9)
    return figure
