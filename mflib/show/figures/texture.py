"""Plots of volumes and their texture: planes, grey levels, co-occurrence, Nakagami, features by grade."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MultipleLocator
from mpl_toolkits.mplot3d.art3d import Poly3DCollection
from numpy.typing import NDArray
from skimage.measure import marching_cubes

from mflib.base import words
from mflib.base.words import AXES, GRADE_NAMES, KEY, PLANES, Plane
from mflib.data.volume import Annotation, Volume
from mflib.models.texture import intensity
from mflib.show import planes, style

Voxels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Example:
    """A segment to be looked at.

    Parameters
    ----------
    label : what it is an example of
    volume : the whole volume, gain-normalised or as recorded
    annotation : its reference points and region of interest
    muscle : (ni, nj, nk) bool, where the multifidus is; None where nobody knows
    """

    label: str
    volume: Volume
    annotation: Annotation
    muscle: NDArray[np.bool_] | None = None

    @property
    def corners_mm(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Both ends of the region of interest."""
        first, spacing = np.array(self.annotation.roi_start), self.volume.spacing_mm
        return tuple(first * spacing), tuple((first + self.annotation.roi_size) * spacing)


@style.styled
def outlined(examples: Sequence[Example], plane: Plane = PLANES[0], at: float = 0.5) -> Figure:
    """Segments beside each other in one plane, on one scale, with the muscle outlined in colour.

    Parameters
    ----------
    examples : one panel each; the region of interest is a box, the edge of the muscle a line where it is known
    plane : transverse, unless said otherwise
    at : where it cuts the region of interest, from 0 to 1
    """
    figure, axes = style.panels(1, len(examples), 3.3, sharex=True, sharey=True)
    for panel, example in zip(axes[0], examples, strict=True):
        cut = _cut(example.annotation, plane, at)
        planes.draw(panel, example.volume.voxels, example.volume.spacing_mm, plane, cut)
        planes.region(panel, plane, *example.corners_mm)
        if example.muscle is not None:
            planes.outline(panel, example.muscle, example.volume.spacing_mm, plane, cut)
        panel.set(title=example.label, xlabel=f"{AXES[plane[1]]} (mm)")
        panel.set_anchor("N")
    axes[0, 0].set_ylabel(f"{AXES[plane[2]]} (mm)")
    largest = _largest_mm(examples)
    axes[0, 0].set(xlim=(0, largest[plane[1]]), ylim=(largest[plane[2]], 0))
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


@style.styled
def three_planes(examples: Sequence[Example]) -> Figure:
    """Transverse, sagittal and coronal planes through the middle of regions of interest, in mm on one scale.

    Parameters
    ----------
    examples : one row of planes each; the region of interest is a box, the reference points are projected
    """
    largest = _largest_mm(examples)
    figure, axes = style.triplets(len(examples), largest, 0.95)
    for row, example in zip(axes, examples, strict=True):
        spacing, marks = example.volume.spacing_mm, example.annotation
        for panel, plane in zip(row, PLANES, strict=True):
            planes.draw(panel, example.volume.voxels, spacing, plane, _cut(marks, plane))
            planes.region(panel, plane, *example.corners_mm)
            for name, at in (("shadow", marks.shadow), ("bone", marks.bone)):
                planes.point(panel, plane, name, tuple(np.add(at, 0.5) * spacing))
            panel.set(xlim=(0, largest[plane[1]]), ylim=(largest[plane[2]], 0))
        row[0].set_title(example.label, loc="left")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="lower center", ncols=3)
    return figure


def _largest_mm(examples: Sequence[Example]) -> NDArray[np.float64]:
    """Extent (3,) that holds every example's volume."""
    return np.max([np.multiply(one.volume.voxels.shape, one.volume.spacing_mm) for one in examples], axis=0)


def _cut(annotation: Annotation, plane: Plane, at: float = 0.5) -> int:
    """Where a plane cuts the region of interest, in the middle unless said otherwise."""
    size = annotation.roi_size[plane[3]]
    return annotation.roi_start[plane[3]] + min(int(at * size), size - 1)


# Where the corner towards the reader begins, as shares of the block along i, j, k; it is cut out up to the top.
CORNER = (0.25, 0.75, 0.25)


@style.styled
def cut_open(examples: Sequence[Example]) -> Figure:
    """Regions of interest as blocks, cut open: inside stand lines and sheets that are brighter than what is around.

    Parameters
    ----------
    examples : one block each, on one scale in mm; faces are grey voxels, lines as ``intensity.lines`` finds them
    """
    figure = Figure(figsize=(style.WIDTH, 3.6))
    figure.subplots_adjust(0.02, 0.1, 0.93, 0.95, wspace=0.1)
    extents = [np.multiply(e.annotation.roi_size, e.volume.spacing_mm) for e in examples]
    largest = max(np.linalg.norm(extent) for extent in extents)
    for position, (example, (i, j, k)) in enumerate(zip(examples, extents, strict=True)):
        # Seen from there, the corner hides nothing and nothing hides it: what is drawn later is nearer.
        panel: Any = figure.add_subplot(1, len(examples), position + 1, projection="3d", computed_zorder=False)
        voxels, spacing = example.volume.voxels[example.annotation.roi], example.volume.spacing_mm
        corner = (np.array(voxels.shape) * CORNER).astype(int)
        squares, grey = _faces(voxels, corner)
        plain: dict[str, Any] = {"lw": 0, "antialiased": False, "rasterized": True}
        blocks = _upright(squares * spacing)
        panel.add_collection3d(Poly3DCollection(blocks, facecolors=mpl.colormaps["gray"](grey), zorder=1, **plain))
        found = intensity.lines(voxels, spacing)[corner[0] :, : corner[1], corner[2] :]
        if found.max() > intensity.LINE:
            # Padded, so that surfaces are closed where the cut ends; half, since values stand for middles of voxels.
            points, triangles, _, _ = marching_cubes(np.pad(found, 1, constant_values=found.min()), intensity.LINE)
            surface = _upright((points - 0.5 + corner * (1, 0, 1))[triangles[:, ::-1]] * spacing)
            gold = {"facecolors": style.ORANGE, "edgecolors": style.ORANGE, "shade": True}
            panel.add_collection3d(Poly3DCollection(surface, zorder=2, **gold, **plain))
        panel.set(xlim=(0, i), ylim=(0, k), zlim=(j, 0), title=example.label)
        panel.set(xlabel="lateral (mm)", ylabel="along the spine (mm)", zlabel="depth (mm)")
        panel.set_box_aspect((i, k, j), zoom=np.linalg.norm((i, j, k)) / largest)
        panel.set_proj_type("ortho")
        panel.view_init(elev=26, azim=40)
        panel.grid(visible=False)
        for axis in (panel.xaxis, panel.yaxis, panel.zaxis):
            axis.set_pane_color("none")
            axis.set_major_locator(MultipleLocator(5))
    return figure


def _faces(voxels: Voxels, corner: NDArray[np.intp]) -> tuple[NDArray[np.intp], Voxels]:
    """Faces seen of a block without its corner at the ends of i and k and the top of j: squares (n, 4, 3), greys."""
    solid = np.ones(voxels.shape, bool)
    solid[corner[0] :, : corner[1], corner[2] :] = False
    around, squares, greys = np.pad(solid, 1), [], []
    for axis, step in ((0, 1), (1, -1), (2, 1)):
        seen = solid & ~np.roll(around, -step, axis)[1:-1, 1:-1, 1:-1]
        square = np.insert([(0, 0), (1, 0), (1, 1), (0, 1)], axis, max(step, 0), axis=1)
        squares.append(np.argwhere(seen)[:, None] + square)
        greys.append(voxels[seen])
    return np.concatenate(squares), np.concatenate(greys)


def _upright(points: NDArray[np.floating]) -> NDArray[np.floating]:
    """(..., i, j, k) as matplotlib's x, y, z: depth becomes the vertical."""
    return points[..., [0, 2, 1]]


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
            panel.set_anchor("N")
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
def glcm(matrix: NDArray[np.integer], by_grade: pd.DataFrame, own: float, name: str) -> Figure:
    """A grey-level co-occurrence matrix with logarithmic colours, and where its segment lies among all, by grade.

    Parameters
    ----------
    matrix : (levels, levels) counts of voxel pairs; pairs that never occur stay grey
    by_grade : ``grade`` (0-3) and ``value`` of every segment; without rows where nobody has measured them
    own, name : the segment's own value, a line through all grades, and what it is of
    """
    # Places by hand: a layout engine takes most of the time that somebody waits who turns a control.
    figure = Figure(figsize=(style.WIDTH, 3.1))
    edges = {"left": 0.09, "right": 0.99, "bottom": 0.21, "top": 0.89, "wspace": 0.32}
    left, right = figure.subplots(1, 2, width_ratios=(1.05, 1), gridspec_kw=edges)
    left.set_facecolor("lightgrey")
    scale, counts = LogNorm(vmin=1, vmax=max(2, int(matrix.max()))), np.ma.masked_equal(matrix, 0)
    image = left.imshow(counts, origin="lower", norm=scale, interpolation="nearest")
    left.set(xlabel="grey level of the neighbour", ylabel="grey level of the voxel")
    figure.colorbar(image, ax=left, fraction=0.05, pad=0.03).ax.set_title("voxel pairs")
    groups = [by_grade.loc[by_grade["grade"] == grade, "value"].to_numpy(np.float64) for grade in range(4)]
    style.box_and_points(right, groups, GRADE_NAMES)
    right.axhline(own, color=style.VERMILION, linestyle="--")
    right.set_title(f"{name}, dashed: this segment", loc="left")
    right.set_xlabel("fatty infiltration on MRI, segments")
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
        panel.set_title(words.label(feature), loc="left")
    figure.supxlabel("change of gain (dB)", fontsize=9)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


@style.styled
def repeatability(table: pd.DataFrame) -> Figure:
    """ICC(2,1) of features by what was moved: the median over the GLCM grid for each of its properties.

    Parameters
    ----------
    table : ``perturbation``, ``feature``, ``icc``, as ``reliability.repeatability``
    """
    of_glcm = table["feature"].str.startswith("glcm_")
    names = table["feature"].where(~of_glcm, "glcm_" + table["feature"].str.rsplit("_").str[-1]).map(words.label)
    kinds, rows = list(dict.fromkeys(table["perturbation"])), list(dict.fromkeys(names))
    medians = table.assign(feature=names).pivot_table(
        index="feature", columns="perturbation", values="icc", aggfunc="median"
    )
    figure, axes = style.single(0.9 + 0.29 * len(rows))
    style.heat_map(axes, medians.loc[rows, kinds], ".2f", "ICC(2,1)", vmin=0, vmax=1)
    axes.set(xlabel="what was moved", ylabel="feature")
    return figure


@style.styled
def nakagami_fit(voxels: Voxels, fit: intensity.Fit, dynamic_range_db: float | None) -> Figure:
    """The histogram that a Nakagami fit saw, and the Gamma density that it found.

    Parameters
    ----------
    voxels : uint8, any shape: the region that was fitted
    fit : of ``nakagami.fit``
    dynamic_range_db : of the fit to intensities, shown in dB. None for the fit to grey levels without zeros.
    """
    x, share, density = intensity.densities(voxels, fit, dynamic_range_db)
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
        panel.set_title(words.label(column), loc="left")
    figure.supxlabel("fatty infiltration on MRI, segments", fontsize=9)
    return figure
