"""The still picture of a volume: three planes with their overlays, where no script runs and on paper."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import patheffects, style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image

from mflib.base.words import AXES, PLANES, Plane
from mflib.show.viewer.scene import Place, Scene, Veil

WIDTH = 6.4  # inches, 640 pixels at 100 dpi
# Okabe M, Ito K. Color universal design, 2008: https://jfly.uni-koeln.de/color/
LOOKS = {"bone": ("#E69F00", "o"), "shadow": ("#56B4E9", "D")}
REGION = "#00C895"  # their bluish green, lighter: it lies on black
NEAR_MM = 2.0  # a point is drawn in planes as near as this
OPACITY = 0.75
_LEFT, _RIGHT, _TOP, _BELOW, _TALLEST = 0.56, 0.08, 0.3, 0.5, 2.6  # inches
_LEAST = 0.9  # inches that a plane takes, however thin, so that its names have room


def veil_colours() -> NDArray[np.uint8]:
    """Colours (256, 3) of a saliency map, dark to light and without the darkest, which would look like tissue."""
    return np.rint(255 * mpl.colormaps["inferno"](np.linspace(0.35, 0.95, 256))[:, :3]).astype(np.uint8)


def png(scene: Scene) -> bytes:
    """Three planes through the scene's start as a small PNG, 640 pixels wide on white."""
    with style.context(["default", {"font.size": 8.5}]):
        figure = draw(scene)
        content = io.BytesIO()
        figure.savefig(content, dpi=125, format="png", facecolor="white")
    # A palette takes a third of the room.
    picture = Image.open(content).convert("RGB").quantize(128, dither=Image.Dither.NONE)
    small = io.BytesIO()
    picture.save(small, format="PNG", optimize=True)
    return small.getvalue()


def draw(scene: Scene) -> Figure:
    """Three planes through the scene's start, on one scale; depth points down."""
    extents = np.array(scene.extent_mm)
    across, down = extents[[plane[1] for plane in PLANES]], extents[[plane[2] for plane in PLANES]]
    scale = _scale(across, float(down.max()))
    height = _TOP + max(float(down.max()) * scale, _LEAST) + _BELOW
    figure = Figure(figsize=(WIDTH, height))
    left = 0.0
    for plane, wide, high in zip(PLANES, across * scale, down * scale, strict=True):
        left += _LEFT
        bottom = height - _TOP - high
        axes = figure.add_axes((left / WIDTH, bottom / height, wide / WIDTH, high / height))
        _draw_plane(axes, scene, plane)
        axes.xaxis.set_major_locator(MaxNLocator(max(1, int(wide / 0.4)), integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(max(1, int(high / 0.3)), integer=True))
        left += max(wide, _LEAST) + _RIGHT
    return figure


def _scale(across: NDArray[np.float64], highest: float) -> float:
    """Inches per mm at which three planes fit beside each other, thin ones with room for their names."""
    room = WIDTH - 3 * (_LEFT + _RIGHT)
    scale = min(room / float(across.sum()), _TALLEST / highest)
    while np.maximum(across * scale, _LEAST).sum() > room * 1.001:
        scale *= 0.98
    return scale


def _draw_plane(axes: Axes, scene: Scene, plane: Plane) -> None:
    name, right, down, _ = plane
    cut = scene.middle_mm(scene.start)
    grey = _slice(scene.voxels, (0, 0, 0), scene.spacing_mm, plane, cut)
    axes.imshow(grey.values, extent=grey.extent, aspect="auto", cmap="gray", vmin=0, vmax=255)
    _lay_veil(axes, scene.veil, plane, cut)
    for line in (axes.axvline(cut[right]), axes.axhline(cut[down])):
        line.set(color="white", lw=0.7, alpha=0.6, linestyle=(0, (4, 3)))
    _mark(axes, scene, plane, cut)
    axes.set_xlim(0, scene.extent_mm[right])
    axes.set_ylim(scene.extent_mm[down], 0)
    axes.set_xlabel(f"{AXES[right]} (mm)", loc="left")
    axes.set_ylabel(f"{AXES[down]} (mm)", loc="top")
    axes.set_title(name, loc="left", fontsize=8.5)


def _mark(axes: Axes, scene: Scene, plane: Plane, cut: Place) -> None:
    """The region where the plane meets it, and the points near the plane."""
    _, right, down, through = plane
    halo = [patheffects.withStroke(linewidth=3, foreground="black")]
    if scene.roi_mm is not None and scene.roi_mm[0][through] <= cut[through] <= scene.roi_mm[1][through]:
        first, last = scene.roi_mm
        box: dict[str, Any] = {"fill": False, "edgecolor": REGION, "lw": 1.4, "path_effects": halo}
        corner = first[right], first[down]
        axes.add_patch(Rectangle(corner, last[right] - first[right], last[down] - first[down], **box))
    for point, place in scene.points_mm.items():
        if abs(place[through] - cut[through]) <= NEAR_MM:
            colour, marker = LOOKS[point]
            where = place[right], place[down]
            axes.plot(*where, marker, color=colour, ms=6, mfc="none", mew=1.6, path_effects=halo)
            right_half = place[right] > scene.extent_mm[right] / 2
            text: dict[str, Any] = {"xytext": (-7 if right_half else 7, 0), "textcoords": "offset points"}
            text |= {"ha": "right" if right_half else "left", "va": "center", "color": colour, "path_effects": halo}
            axes.annotate(point, where, **text)


def _lay_veil(axes: Axes, veil: Veil | None, plane: Plane, cut: Place) -> None:
    if veil is None or not _meets(veil, plane[3], cut):
        return
    flat = _slice(veil.parts, veil.origin_mm, veil.spacing_mm, plane, cut)
    colours = np.dstack([veil_colours()[flat.values], OPACITY * flat.values])
    axes.imshow(np.rint(colours).astype(np.uint8), extent=flat.extent, aspect="auto")


def _meets(veil: Veil, through: int, cut: Place) -> bool:
    depth = cut[through] - veil.origin_mm[through]
    return 0 <= depth < veil.parts.shape[through] * veil.spacing_mm[through]


@dataclass(frozen=True, eq=False)
class _Slice:
    """Rows and columns of one plane, and its left, right, lower and upper edge in mm."""

    values: NDArray[np.uint8]
    extent: tuple[float, float, float, float]


def _slice(values: NDArray[np.uint8], origin: Place, spacing: Place, plane: Plane, cut: Place) -> _Slice:
    """The plane of an array that begins at ``origin``, depth or elevation down."""
    _, right, down, through = plane
    flat = np.take(values, int((cut[through] - origin[through]) // spacing[through]), axis=through)
    flat = flat.swapaxes(0, 1) if right < down else flat
    rows, columns = flat.shape
    across = origin[right], origin[right] + columns * spacing[right]
    return _Slice(flat, (*across, origin[down] + rows * spacing[down], origin[down]))


def describe(scene: Scene) -> str:
    """What the still picture shows, for somebody who cannot see it."""
    size = " x ".join(f"{extent:.1f}" for extent in scene.extent_mm)
    cut = ", ".join(f"{axis} {at:.1f}" for axis, at in zip(AXES, scene.middle_mm(scene.start), strict=True))
    shown = f"Ultrasound volume{scene.name and ' ' + scene.name}, {size} mm ({' x '.join(AXES)}): "
    marks = ["region of interest", "bone and shadow points"] if scene.annotation else []
    marks += ["saliency"] if scene.veil else []
    drawn = f" Overlay where a plane meets it: {', '.join(marks)}." if marks else ""
    return f"{shown}transverse, sagittal and coronal plane through {cut} mm.{drawn}"
